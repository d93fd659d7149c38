//! Ports.
use crate::catch::{Came, PF, catch};
use crate::instructions::*;
use crate::paging::{self, PRESENT, WRITABLE, fill, ram};
use crate::strings::{self, Strings};
use crate::{Outcome, ensure, random, say, wrong};
use bare::com1;
use bare::memory::load;

/// Where no PC has a device: below are those of the board, from 0x1000 on PCI's.
const NOTHING: core::ops::Range<u16> = 0x250..0x270;

/// Whether a write to `size` bytes from this port on may end the machine, or the console: keyboard
/// controller, port A, COM1, power management, reset control.
fn is_dangerous(port: u16, size: u16) -> bool {
    let touches = |from: u16, to: u16| port <= to && port.saturating_add(size - 1) >= from;
    touches(0x60, 0x64)
        || touches(0x92, 0x92)
        || touches(0x3f8, 0x3ff)
        || touches(0x600, 0x63f)
        || touches(0xcf8, 0xcff)
        || touches(0xb2, 0xb3)
}

pub fn read() -> Outcome {
    for port in 0..=u16::MAX {
        let (one, two, four) = (inb(port), inw(port), inl(port));
        if NOTHING.contains(&port) && NOTHING.contains(&(port + 3)) {
            ensure!(
                (one, two, four) == (u8::MAX, u16::MAX, u32::MAX),
                "port {port:#x}, where nothing is: {one:#x} {two:#x} {four:#x}"
            );
        }
    }
    Ok(())
}

pub fn write() -> Outcome {
    for port in 0..=u16::MAX {
        for size in [1, 2, 4] {
            if is_dangerous(port, size) {
                continue;
            }
            let value = random::nasty() as u32;
            match size {
                1 => outb(port, value as u8),
                2 => outw(port, value as u16),
                _ => outl(port, value),
            }
        }
    }
    com1::set_up();
    Ok(())
}

pub fn flood() -> Outcome {
    let begin = rdtsc();
    for i in 0..20_000u32 {
        outl(0x1234, i);
        outb(0x80, i as u8);
    }
    ensure!(rdtsc() > begin, "the time-stamp counter went back");
    Ok(())
}

/// Two pages of RAM in the window, the second mapped with these bits; nothing is behind them.
fn window(second: u64) -> u64 {
    let first = paging::map(16, ram(2), PRESENT | WRITABLE);
    paging::map(17, ram(3), second);
    paging::map(18, 0, 0);
    first
}

fn byte(address: u64) -> u8 {
    load(address)
}

/// REP INSB and the like, from a port where nothing is.
fn input(rdi: u64, rcx: u64) -> Strings {
    Strings { rdi, rcx, rdx: 0x1234, ..Strings::default() }
}

pub fn strings() -> Outcome {
    let base = window(PRESENT | WRITABLE);
    let edge = base + 4096;
    // Upwards across the pages: exactly the bytes asked for.
    fill(base, 8192, 0x11);
    let (Strings { rdi, rcx, .. }, _) = strings::rep_insb(input(edge - 5, 11));
    ensure!((rdi, rcx) == (edge + 6, 0), "REP INSB: RDI {rdi:#x}, RCX {rcx}");
    for i in 0..32 {
        let (at, expected) = (edge - 16 + i, if (11..22).contains(&i) { 0xff } else { 0x11 });
        ensure!(byte(at) == expected, "REP INSB: {:#x} at {at:#x}, expected {expected:#x}", byte(at));
    }
    // Downwards, in 4 bytes of which one crosses.
    fill(base, 8192, 0x22);
    let (Strings { rdi, rcx, .. }, _) = strings::rep_insd_down(input(edge + 6, 4));
    ensure!((rdi, rcx) == (edge - 10, 0), "REP INSD downwards: RDI {rdi:#x}, RCX {rcx}");
    for i in 0..32 {
        let (at, expected) = (edge - 16 + i, if (10..26).contains(&i) { 0xff } else { 0x22 });
        ensure!(byte(at) == expected, "REP INSD: {:#x} at {at:#x}, expected {expected:#x}", byte(at));
    }
    // A count of 0 does nothing, not even a fault.
    let mut rcx = 1;
    let came = catch(|| rcx = strings::rep_insb(input(edge + 4096, 0)).0.rcx);
    ensure!(came.is_ok() && rcx == 0, "REP INSB of nothing: {}", Came(came));
    // Into a page that is not there: the iterations before it are done, and those behind it are left.
    let base = window(0);
    let edge = base + 4096;
    fill(base, 4096, 0x33);
    match catch(|| discard(strings::rep_insb(input(edge - 5, 11)))) {
        Err(caught) if caught.vector == PF => {
            ensure!(caught.address == edge, "CR2 is {:#x}, expected {edge:#x}", caught.address);
            ensure!(
                caught.error == 2,
                "error code {:#x}, expected 2, a write to a page that is not there",
                caught.error
            );
            ensure!(
                (caught.rcx, caught.rdi) == (6, edge),
                "RCX {}, RDI {:#x} at the fault",
                caught.rcx,
                caught.rdi
            );
        }
        came => wrong!("REP INSB into a missing page: {}", Came(came)),
    }
    ensure!(byte(edge - 5) == 0xff && byte(edge - 6) == 0x33, "the iterations before the fault are not done");
    // From a page that is not there.
    let output = Strings { rsi: edge - 2, rcx: 11, rdx: 0x80, ..Strings::default() };
    match catch(|| discard(strings::rep_outsb(output))) {
        Err(caught) if caught.vector == PF => {
            ensure!((caught.address, caught.error) == (edge, 0), "REP OUTSB: {caught}");
            ensure!(
                (caught.rcx, caught.rsi) == (9, edge),
                "RCX {}, RSI {:#x} at the fault",
                caught.rcx,
                caught.rsi
            );
        }
        came => wrong!("REP OUTSB from a missing page: {}", Came(came)),
    }
    text_across_pages();
    Ok(())
}

/// Writes a text that lies across two pages; whoever reads the console sees whether it came whole.
fn text_across_pages() {
    const TEXT: &[u8] = b"PAYLOAD text across pages\r\n";
    say!("PAYLOAD string output follows");
    let at = window(PRESENT | WRITABLE) + 4096 - 10;
    paging::write(at, TEXT);
    let output = Strings { rsi: at, rcx: TEXT.len() as u64, rdx: 0x3f8, ..Strings::default() };
    strings::rep_outsb(output);
}
