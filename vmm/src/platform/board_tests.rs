//! The board as a whole: dispatch, wires, power, and hostile accesses.
use super::*;
use crate::platform::apic::{LocalApic, Wake};
use crate::platform::fuzz::Random;
use crate::time::SECOND;
use std::time::Instant;

struct NoWake;
impl Wake for NoWake {
    fn wake(&self, _: usize) {}
}

fn board() -> (Board, LocalApic) {
    let fabric = Arc::new(ApicFabric::new(1, Box::new(NoWake)));
    let mut apic = LocalApic::new(fabric.clone(), 0, 40);
    apic.mmio_write(0xf0, 4, 0x1ff, 0);
    let config = BoardConfig {
        fabric,
        console: Arc::new(ConsoleOutput::new(None)),
        layout: Layout { low_end: 0x2000_0000, high_end: 1 << 32 },
        wall_clock: 1_795_305_600 * SECOND,
    };
    (Board::new(config, 0), apic)
}

fn outb(board: &Board, port: u16, value: u8) -> Option<BoardEvent> {
    board.port_write(port, 1, u32::from(value), 0)
}

fn redirect(board: &Board, pin: u64, entry: u64) {
    for (register, value) in [(0x11 + 2 * pin, entry >> 32), (0x10 + 2 * pin, entry & 0xffff_ffff)] {
        board.mmio_write(Gpa::new(0xfec0_0000), 4, register, 0);
        board.mmio_write(Gpa::new(0xfec0_0010), 4, value, 0);
    }
}

fn take(apic: &mut LocalApic) -> Option<u8> {
    apic.pull();
    let vector = apic.deliverable()?;
    apic.acknowledge(vector);
    apic.mmio_write(0xb0, 4, 0, 0);
    Some(vector)
}

#[test]
fn the_timer_interrupts_at_ioapic_pin_2() {
    let (board, mut apic) = board();
    redirect(&board, 2, 0x30);
    for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
        outb(&board, port, value);
    }
    for _ in 0..3 {
        let at = board.next_deadline().unwrap();
        board.expire(at - 1);
        assert_eq!(take(&mut apic), None);
        board.expire(at);
        assert_eq!(take(&mut apic), Some(0x30));
    }
}

#[test]
fn the_timer_interrupts_through_the_8259_in_virtual_wire_mode() {
    let (board, mut apic) = board();
    // LINT0 was masked with the software-disabled APIC's entries; as firmware does:
    apic.mmio_write(0x350, 4, 0x700, 0);
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xfe)] {
        outb(&board, port, value);
    }
    for (port, value) in [(0x43, 0x34), (0x40, 0xa9), (0x40, 0x04)] {
        outb(&board, port, value);
    }
    for _ in 0..3 {
        board.expire(board.next_deadline().unwrap());
        apic.pull();
        assert!(apic.ext_int());
        apic.acknowledge_ext_int();
        assert_eq!(board.acknowledge_ext_int(), 0x20);
        apic.pull();
        assert!(!apic.ext_int());
        outb(&board, 0x20, 0x20);
    }
}

#[test]
fn the_8259_interrupts_through_ioapic_pin_0_as_ext_int() {
    let (board, mut apic) = board();
    redirect(&board, 0, 0x700);
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xef)] {
        outb(&board, port, value);
    }
    outb(&board, 0x3fc, 0x0b);
    outb(&board, 0x3f9, 0x02);
    apic.pull();
    assert!(apic.ext_int());
    apic.acknowledge_ext_int();
    assert_eq!(board.acknowledge_ext_int(), 0x24);
    assert!(!apic.ext_int());
}

#[test]
fn two_requests_at_the_8259_are_both_told() {
    let (board, mut apic) = board();
    apic.mmio_write(0x350, 4, 0x700, 0);
    // Automatic end of interrupt: the second request is pending right after the first's acknowledgement.
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 3), (0x21, 0xee)] {
        outb(&board, port, value);
    }
    outb(&board, 0x3fc, 0x0b);
    outb(&board, 0x3f9, 0x02);
    for (port, value) in [(0x43, 0x30), (0x40, 0x10), (0x40, 0)] {
        outb(&board, port, value);
    }
    board.expire(SECOND);
    for vector in [0x20, 0x24] {
        apic.pull();
        assert!(apic.ext_int());
        apic.acknowledge_ext_int();
        assert_eq!(board.acknowledge_ext_int(), vector);
    }
    apic.pull();
    assert!(!apic.ext_int());
}

#[test]
fn the_uart_prints_and_interrupts_at_pin_4() {
    let (board, mut apic) = board();
    redirect(&board, 4, 0x34);
    outb(&board, 0x3fc, 0x0b);
    outb(&board, 0x3f9, 0x02);
    assert_eq!(take(&mut apic), Some(0x34));
    assert_eq!(board.port_read(0x3fa, 1, 0), 0x02);
    outb(&board, 0x3f8, b'!');
    let mut out = [0; 4];
    assert_eq!(board.console().read(0, &mut out).len, 1);
    assert_eq!(out[0], b'!');
    assert_eq!(take(&mut apic), Some(0x34));
}

#[test]
fn console_input_arrives_by_interrupt_and_time_out() {
    let (board, mut apic) = board();
    redirect(&board, 4, 0x34);
    for (port, value) in [(0x3fa, 0x81), (0x3fc, 0x0b), (0x3f9, 0x01)] {
        outb(&board, port, value);
    }
    assert_eq!(board.console_input(b"ls", 0), 2);
    let at = board.next_deadline().unwrap();
    board.expire(at);
    assert_eq!(take(&mut apic), Some(0x34));
    assert_eq!((board.port_read(0x3f8, 1, at), board.port_read(0x3f8, 1, at)), (0x6c, 0x73));
}

#[test]
fn the_power_button_raises_the_sci_as_a_level() {
    let (board, mut apic) = board();
    redirect(&board, 9, 1 << 15 | 0x39);
    board.port_write(0x602, 2, 0x100, 0);
    board.power_button();
    assert_eq!(take(&mut apic), Some(0x39));
    board.end_of_interrupt(0x39);
    assert_eq!(take(&mut apic), Some(0x39), "still asserted");
    assert_eq!(board.port_read(0x600, 2, 0), 0x100);
    board.port_write(0x600, 2, 0x100, 0);
    board.end_of_interrupt(0x39);
    assert_eq!(take(&mut apic), None);
}

#[test]
fn the_registers_that_acpi_names_power_off_and_reset() {
    let (board, _) = board();
    let off = u32::from(map::SLP_TYP_S5) << 10 | 1 << 13;
    assert_eq!(board.port_write(map::PM1A_CONTROL, 2, off, 0), Some(BoardEvent::PowerOff));
    assert_eq!(
        outb(&board, map::RESET, map::RESET_VALUE),
        Some(BoardEvent::Reset(ResetCause::ResetRegister))
    );
    assert_eq!(outb(&board, 0x64, 0xfe), Some(BoardEvent::Reset(ResetCause::KeyboardController)));
    assert_eq!(outb(&board, 0x92, 0x01), Some(BoardEvent::Reset(ResetCause::PortA)));
    assert_eq!(outb(&board, 0x92, 0x01), None, "it does not rise");
}

#[test]
fn linux_probes_configuration_mechanism_1() {
    // pci_check_type1() and pci_sanity_check().
    let (board, _) = board();
    outb(&board, 0xcfb, 0x01);
    let before = board.port_read(0xcf8, 4, 0);
    board.port_write(0xcf8, 4, 0x8000_0000, 0);
    assert_eq!(board.port_read(0xcf8, 4, 0), 0x8000_0000);
    assert_eq!(board.port_read(0xcfc, 2, 0), 0x1b36);
    board.port_write(0xcf8, 4, 0x8000_0008, 0);
    assert_eq!(board.port_read(0xcfe, 2, 0), 0x0600);
    assert_eq!(board.port_read(0xcff, 1, 0), 0x06);
    board.port_write(0xcf8, 4, before, 0);
    assert_eq!(board.mmio_read(Gpa::new(map::ECAM.start), 4, 0), 0x0008_1b36);
}

#[test]
fn an_access_wider_than_its_registers_is_one_access_for_each_byte() {
    let (board, _) = board();
    let reset = Some(BoardEvent::Reset(ResetCause::ResetRegister));
    assert_eq!(board.port_write(0xcf9, 2, 0x0006, 0), reset, "the second byte does not hide it");
    // Index and data of the CMOS RAM in one go.
    board.port_write(0x70, 2, 0x5a40, 0);
    assert_eq!(board.port_read(0x71, 1, 0), 0x5a);
    board.port_write(0x20, 2, 0x3300, 0);
    assert_eq!(board.port_read(0x20, 4, 0), 0xffff_3300);
    assert_eq!(board.port_read(0x3ff, 2, 0), 0xff00, "scratch, and nothing behind it");
    assert_eq!(board.port_read(0xffff, 4, 0), 0xffff_ffff);
    board.port_write(0xffff, 4, 0, 0);
}

#[test]
fn the_pm_timer_is_read_in_one_piece() {
    let (board, _) = board();
    for now in [0, SECOND, 71_000_000_000] {
        assert_eq!(board.port_read(map::PM_TIMER, 4, now), PowerManagement::timer(now));
    }
}

#[test]
fn nothing_reads_as_all_ones_and_is_counted() {
    let (board, _) = board();
    for port in [0x2f8, 0x1f7, 0x5658, 0xcfb, 0x64 + 2] {
        assert_eq!(board.port_read(port, 1, 0), 0xff, "{port:#x}");
    }
    assert_eq!(board.port_read(0x1000, 4, 0), u32::MAX);
    for (address, size, ones) in [
        (0xfed0_0000, 8, u64::MAX),
        (map::PCI_WINDOWS[0].start, 4, 0xffff_ffff),
        (map::PCI_WINDOWS[1].start, 2, 0xffff),
        (0xa_0000, 1, 0xff),
    ] {
        assert_eq!(board.mmio_read(Gpa::new(address), size, 0), ones);
    }
    assert_eq!(board.unclaimed(), 5 + 4 + 4);
    outb(&board, 0x80, 0x12);
    assert_eq!(board.unclaimed(), 13, "POST codes are expected");
}

#[test]
fn a_reset_leaves_nothing_pending() {
    let (board, mut apic) = board();
    redirect(&board, 4, 0x34);
    redirect(&board, 9, 1 << 15 | 0x39);
    for (port, value) in
        [(0x43, 0x34), (0x40, 0xa9), (0x40, 4), (0x3fc, 0x0b), (0x3f9, 0x0f), (0x603, 1), (0x71, 0)]
    {
        outb(&board, port, value);
    }
    board.power_button();
    board.console_input(b"typed", 0);
    board.reset(SECOND);
    apic.power_on();
    apic.pull();
    assert_eq!((apic.deliverable(), apic.ext_int(), board.next_deadline()), (None, false, None));
    assert!(!board.fabric().outstanding(0));
    apic.mmio_write(0xf0, 4, 0x1ff, 0);
    redirect(&board, 9, 1 << 15 | 0x39);
    redirect(&board, 4, 1 << 15 | 0x34);
    assert_eq!(take(&mut apic), None, "no line is left asserted");
}

#[test]
fn the_8259s_output_does_not_survive_a_reset() {
    let (board, mut apic) = board();
    for (port, value) in [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0)] {
        outb(&board, port, value);
    }
    outb(&board, 0x3fc, 0x0b);
    outb(&board, 0x3f9, 0x02);
    assert!(board.fabric().pic_output());
    board.reset(0);
    apic.power_on();
    assert!(!apic.ext_int() && !board.fabric().pic_output());
}

#[test]
fn random_accesses_end_in_bounded_time_and_deadlines_stay_ahead() {
    let (board, mut apic) = board();
    let mut random = Random::new(0xb0a2d);
    let start = Instant::now();
    let mut now = 0;
    let interesting: &[u16] = &[
        0x20, 0x21, 0x40, 0x42, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0x92, 0xa0, 0xa1, 0x3f8, 0x3fa,
        0x4d0, 0x600, 0x604, 0x608, 0x620, 0xcf8, 0xcf9, 0xcfc, 0xcfe, 0xffff,
    ];
    let regions = [map::IOAPIC_BASE, map::ECAM.start, map::PCI_WINDOWS[0].start, 0xfed0_0000, 0xa_0000];
    for _ in 0..400_000 {
        now += random.below(200_000);
        let (r, value, size) = (random.next(), random.next(), random.size());
        let port = match r & 3 {
            0 => (r >> 16) as u16,
            _ => interesting[(r >> 16) as usize % interesting.len()].wrapping_add((r >> 32) as u16 & 3),
        };
        let address = regions[(r >> 8) as usize % regions.len()] + (r >> 40 & 0xfff);
        match r >> 2 & 15 {
            0..4 => {
                board.port_read(port, size, now);
            }
            4..9 => {
                board.port_write(port, size, value as u32, now);
            }
            9 => {
                board.mmio_read(Gpa::new(address), size, now);
            }
            10 | 11 => {
                board.mmio_write(Gpa::new(address), size, value, now);
            }
            12 => {
                board.console_input(&value.to_le_bytes(), now);
            }
            13 => board.set_gsi((r >> 16) as u8, r >> 32 & 1 == 0),
            _ => {
                apic.pull();
                if apic.ext_int() {
                    apic.acknowledge_ext_int();
                    board.acknowledge_ext_int();
                } else if let Some(vector) = apic.deliverable() {
                    apic.acknowledge(vector);
                    if let Some(vector) = apic.mmio_write(0xb0, 4, 0, now) {
                        board.end_of_interrupt(vector);
                    }
                }
            }
        }
        board.expire(now);
        assert!(board.next_deadline().is_none_or(|at| at > now));
    }
    assert!(start.elapsed().as_secs() < 60);
}

#[test]
fn two_threads_on_one_device_leave_its_line_as_it_is() {
    let (board, _) = board();
    outb(&board, 0x3fc, 0x0b);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for i in 0..50_000u32 {
                    outb(&board, 0x3f9, if i % 2 == 0 { 2 } else { 0 });
                    board.port_read(0x3fa, 1, 0);
                }
            });
        }
    });
    outb(&board, 0x3f9, 0);
    outb(&board, 0x3f9, 2);
    // The request register of the 8259 shows the line: IRQ 4 requests.
    assert_eq!(board.port_read(0x20, 1, 0) & 0x10, 0x10);
    assert!(board.uart.state.lock().1);
}
