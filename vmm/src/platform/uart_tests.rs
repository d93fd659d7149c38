//! What Linux's 8250 driver does with the port, and random accesses.
use super::*;
use crate::platform::fuzz::Random;
use std::vec::Vec;

fn uart() -> (Uart, Arc<ConsoleOutput>) {
    let console = Arc::new(ConsoleOutput::new(None));
    (Uart::new(console.clone()), console)
}

/// As the driver leaves it after start-up: 115200 8N1, FIFOs on with trigger level 8, interrupts on.
fn started() -> (Uart, Arc<ConsoleOutput>) {
    let (mut uart, console) = uart();
    uart.write(3, 0x83, 0);
    uart.write(0, 1, 0);
    uart.write(1, 0, 0);
    uart.write(3, 0x03, 0);
    uart.write(2, 0x81, 0);
    uart.write(4, 0x0b, 0);
    uart.write(1, 0x05, 0);
    (uart, console)
}

fn printed(console: &ConsoleOutput) -> Vec<u8> {
    let mut out = std::vec![0; 256];
    let got = console.read(0, &mut out);
    out.truncate(got.len);
    out
}

#[test]
fn the_autoconfiguration_of_linux_finds_a_16550a() {
    let (mut uart, _) = uart();
    // autoconfig(): the interrupt enable register keeps its lower four bits.
    uart.write(1, 0, 0);
    assert_eq!(uart.read(1, 0) & 0x0f, 0);
    uart.write(1, 0x0f, 0);
    assert_eq!(uart.read(1, 0) & 0x0f, 0x0f);
    uart.write(1, 0, 0);
    // The modem lines loop back.
    uart.write(4, 0x1a, 0);
    assert_eq!(uart.read(6, 0) & 0xf0, 0x90);
    uart.write(4, 0, 0);
    // No extended features of later chips.
    uart.write(3, 0xbf, 0);
    uart.write(2, 0, 0);
    uart.write(3, 0, 0);
    uart.write(2, 1, 0);
    assert_eq!(uart.read(2, 0) >> 6, 3, "both FIFOs");
    uart.write(2, 0x21, 0);
    assert_eq!(uart.read(2, 0) >> 5, 6, "no 64-byte FIFO as a 16750 has");
    uart.write(3, 0x80, 0);
    uart.write(2, 0x21, 0);
    assert_eq!(uart.read(2, 0) >> 5, 6);
    uart.write(3, 0, 0);
    // No XScale bit.
    uart.write(1, 0x40, 0);
    assert_eq!(uart.read(1, 0) & 0x40, 0);
    uart.write(7, 0x5a, 0);
    assert_eq!(uart.read(7, 0), 0x5a);
}

#[test]
fn linux_finds_no_defect_of_the_transmitter_interrupt() {
    // serial8250_do_startup: the interrupt must come back when it is disabled and enabled again.
    let (mut uart, _) = started();
    uart.write(1, 0, 0);
    uart.write(1, 2, 0);
    assert_eq!(uart.read(2, 0) & 0x0f, 2);
    assert_eq!(uart.read(2, 0) & 1, 1, "reading it clears it");
    uart.write(1, 0, 0);
    uart.write(1, 2, 0);
    assert_eq!(uart.read(2, 0) & 0x0f, 2);
}

#[test]
fn output_appears_at_once_and_asks_for_more() {
    let (mut uart, console) = started();
    uart.write(1, 7, 0);
    assert!(uart.interrupt());
    uart.read(2, 0);
    assert!(!uart.interrupt());
    for &byte in b"hello" {
        assert_eq!(uart.read(5, 0), 0x60);
        uart.write(0, byte, 0);
    }
    assert_eq!(printed(&console), b"hello");
    assert!(uart.interrupt());
}

#[test]
fn the_divisor_latch_hides_data_and_interrupt_enable() {
    let (mut uart, console) = started();
    uart.write(3, 0x83, 0);
    uart.write(0, 0x34, 0);
    uart.write(1, 0x12, 0);
    assert_eq!((uart.read(0, 0), uart.read(1, 0)), (0x34, 0x12));
    uart.write(3, 0x03, 0);
    assert_eq!(uart.read(1, 0), 5);
    assert!(printed(&console).is_empty());
}

#[test]
fn input_interrupts_at_the_trigger_level() {
    let (mut uart, _) = started();
    assert_eq!(uart.receive(b"1234567", 0), 7);
    assert!(!uart.interrupt());
    uart.receive(b"8", 0);
    assert!(uart.interrupt());
    assert_eq!(uart.read(2, 0), 0xc4);
    assert_eq!(uart.read(5, 0), 0x61);
    assert_eq!(uart.read(0, 0), b'1');
    assert!(!uart.interrupt());
}

#[test]
fn input_below_the_trigger_level_interrupts_after_four_characters_time() {
    let (mut uart, _) = started();
    uart.receive(b"ab", 1000);
    let at = uart.deadline().unwrap();
    assert!((at - 1000).abs_diff(347_200) < 100, "{at}");
    uart.expire(at - 1);
    assert!(!uart.interrupt());
    uart.expire(at);
    assert!(uart.interrupt());
    assert_eq!(uart.read(2, 0), 0xcc);
    assert_eq!(uart.read(0, at), b'a');
    assert!(!uart.interrupt() && uart.deadline().is_some_and(|next| next > at));
    assert_eq!(uart.read(0, at), b'b');
    assert_eq!((uart.deadline(), uart.read(5, 0)), (None, 0x60));
}

#[test]
fn a_paste_waits_in_order_until_the_guest_reads_it() {
    let (mut uart, _) = started();
    let text: Vec<u8> = (0..5000u32).map(|i| (i % 251) as u8).collect();
    let accepted = uart.receive(&text, 0);
    assert_eq!(accepted, INPUT_QUEUE);
    let more = uart.receive(&text[accepted..], 0);
    assert_eq!(more, FIFO, "the queue's head has moved to the FIFO");
    for &expected in &text[..accepted + more] {
        assert_eq!(uart.read(5, 0) & 1, 1);
        assert_eq!(uart.read(0, 0), expected);
    }
    assert_eq!((uart.read(5, 0) & 1, uart.read(0, 0)), (0, 0));
}

#[test]
fn without_fifos_one_byte_at_a_time_is_there() {
    let (mut uart, _) = started();
    uart.write(2, 0, 0);
    uart.receive(b"xy", 0);
    assert_eq!(uart.read(2, 0), 0x04);
    assert_eq!(uart.read(0, 0), b'x');
    assert_eq!(uart.read(0, 0), b'y');
    assert_eq!(uart.read(2, 0), 0x01);
}

#[test]
fn loop_back_returns_what_was_sent_and_overruns_when_full() {
    let (mut uart, console) = started();
    uart.write(4, 0x1b, 0);
    for i in 0..17 {
        uart.write(0, i, 0);
    }
    assert!(!uart.interrupt(), "the output is disconnected");
    assert_eq!(uart.read(5, 0), 0x63);
    assert_eq!(uart.read(5, 0), 0x61, "reading clears the error");
    assert_eq!((0..16).map(|_| uart.read(0, 0)).collect::<Vec<_>>(), (0..16).collect::<Vec<_>>());
    assert!(printed(&console).is_empty());
}

#[test]
fn input_during_loop_back_arrives_afterwards() {
    let (mut uart, _) = started();
    uart.write(4, 0x1b, 0);
    uart.receive(b"later", 0);
    assert_eq!(uart.read(5, 0) & 1, 0);
    uart.write(4, 0x0b, 0);
    assert_eq!(uart.read(0, 0), b'l');
}

#[test]
fn the_causes_are_told_in_order_of_priority() {
    let (mut uart, _) = started();
    uart.write(1, 0, 0);
    uart.write(4, 0x1b, 0);
    uart.write(4, 0x10, 0);
    for _ in 0..17 {
        uart.write(0, 0, 0);
    }
    uart.write(1, 0x0f, 0);
    assert_eq!(uart.read(2, 0), 0xc6, "line status");
    uart.read(5, 0);
    assert_eq!(uart.read(2, 0), 0xc4, "data");
    while uart.read(5, 0) & 1 != 0 {
        uart.read(0, 0);
    }
    assert_eq!(uart.read(2, 0), 0xc2, "transmitter");
    assert_eq!(uart.read(2, 0), 0xc0, "modem");
    uart.read(6, 0);
    assert_eq!(uart.read(2, 0), 0xc1, "none");
}

#[test]
fn changes_of_the_modem_lines_are_kept_until_they_are_read() {
    let (mut uart, _) = uart();
    uart.write(4, 0x10, 0);
    uart.read(6, 0);
    uart.write(4, 0x12, 0);
    uart.write(4, 0x13, 0);
    uart.write(4, 0x13, 0);
    assert_eq!(uart.read(6, 0), 0x33, "CTS and DSR are up and have changed");
    assert_eq!(uart.read(6, 0), 0x30);
    uart.write(4, 0x17, 0);
    assert_eq!(uart.read(6, 0), 0x70, "a ring that begins is not told");
    uart.write(4, 0x13, 0);
    assert_eq!(uart.read(6, 0), 0x34, "its end is");
}

#[test]
fn the_interrupt_is_connected_by_out2() {
    let (mut uart, _) = started();
    uart.write(1, 2, 0);
    assert!(uart.interrupt());
    uart.write(4, 0x03, 0);
    assert!(!uart.interrupt());
}

#[test]
fn a_reset_forgets_input_and_keeps_output() {
    let (mut uart, console) = started();
    uart.write(0, b'x', 0);
    uart.receive(b"typed", 0);
    uart.reset();
    assert_eq!((uart.read(5, 0), uart.read(1, 0), uart.interrupt()), (0x60, 0, false));
    assert_eq!(printed(&console), b"x");
}

#[test]
fn random_accesses_keep_the_fifo_within_its_bounds() {
    let (mut uart, _) = uart();
    let mut random = Random::new(16550);
    let mut now = 0;
    for _ in 0..400_000 {
        now += random.below(100_000);
        let r = random.next();
        match r & 7 {
            0 => {
                uart.receive(&r.to_le_bytes()[..(r >> 3 & 7) as usize], now);
            }
            1 => uart.expire(now),
            2..5 => {
                uart.read((r >> 3 & 15) as u16, now);
            }
            _ => uart.write((r >> 3 & 15) as u16, (r >> 8) as u8, now),
        }
        assert!(uart.len <= FIFO as u8 && uart.head < FIFO as u8 && uart.input.len() <= INPUT_QUEUE);
        assert!(uart.len != 0 || !uart.timed_out);
    }
}
