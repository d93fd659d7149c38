//! Faults within emulated instructions, and string instructions between RAM and devices.
#![allow(unsafe_code)] // Instructions as they are.
use super::mmio::NOTHING;
use crate::catch::{Came, Caught, PF, catch};
use crate::instructions::discard;
use crate::paging::{self, DIRTY, NO_EXECUTE, PRESENT, WRITABLE, fill, ram};
use crate::strings::{self, Strings};
use crate::{Outcome, ensure, wrong};
use bare::memory::{load, store};
use core::arch::asm;

const RAM: u64 = ram(4);

fn byte(address: u64) -> u8 {
    load(address)
}

/// From `rsi` to `rdi`.
fn copy(rsi: u64, rdi: u64, rcx: u64) -> Strings {
    Strings { rsi, rdi, rcx, ..Strings::default() }
}

/// Two pages of RAM in the window, each mapped with these bits; nothing is behind them.
fn window(first: u64, second: u64) -> u64 {
    let base = paging::map(32, RAM, first);
    paging::map(33, RAM + 4096, second);
    paging::map(34, 0, 0);
    base
}

/// Fails unless it is a page fault at this address, with this error code.
fn is_page_fault(what: &str, came: Result<(), Caught>, address: u64, error: u32) -> Outcome {
    match came {
        Err(caught) if caught.vector == PF && caught.address == address && caught.error == error => Ok(()),
        came => wrong!("{what}: {}, expected #PF error {error:#x} CR2 {address:#x}", Came(came)),
    }
}

pub fn faults() -> Outcome {
    const NOT_THERE_WRITE: u32 = 2;
    const READ_ONLY_WRITE: u32 = 3;
    let all = PRESENT | WRITABLE;
    // From a device into a page that is not there, and one that is read-only (CR0.WP is on).
    for (bits, error) in [(0, NOT_THERE_WRITE), (PRESENT, READ_ONLY_WRITE)] {
        let base = window(bits, bits);
        let came = catch(|| discard(strings::movsb(copy(NOTHING, base + 0x123, 1))));
        is_page_fault("MOVSB from MMIO", came, base + 0x123, error)?;
        // SAFETY: writes nothing, because it faults, or to the page; RSP is put back, by an exception too.
        let came = catch(|| unsafe {
            asm!(
                "mov rax, rsp", "mov rsp, {stack}", "push qword ptr [{at}]", "mov rsp, rax",
                stack = in(reg) base + 0x208, at = in(reg) NOTHING, out("rax") _
            );
        });
        is_page_fault("PUSH of MMIO", came, base + 0x200, error)?;
    }
    // Across a page that is there and one that is not: nothing is written to the first.
    let base = window(all, 0);
    let edge = base + 4096;
    fill(base, 4096, 0x44);
    let came = catch(|| discard(strings::movsq(copy(NOTHING, edge - 3, 1))));
    is_page_fault("MOVSQ across into a missing page", came, edge, NOT_THERE_WRITE)?;
    ensure!(byte(edge - 3) == 0x44 && byte(edge - 1) == 0x44, "the first part of a faulting write was done");
    // The access to the device itself is mapped by a page with restrictions.
    let device = paging::map(40, NOTHING, PRESENT);
    let came = catch(|| store(device, 1u32));
    is_page_fault("a write to a read-only page of MMIO", came, device, READ_ONLY_WRITE)?;
    // From RAM with the device behind it, read as one operand.
    paging::map(41, 0, 0);
    let came = catch(|| discard(load::<u64>(device + 4092)));
    is_page_fault("a read from MMIO into a missing page", came, device + 4096, 0)?;
    // No execution where the page says so, device or not.
    let device = paging::map(40, NOTHING, PRESENT | NO_EXECUTE);
    // SAFETY: is not executed, or all ones, which are no instruction.
    let came = catch(|| unsafe { asm!("call {}", in(reg) device) });
    is_page_fault("code in a no-execute page of MMIO", came, device, 0x11)?;
    // An emulated write sets the dirty bit.
    let base = window(all, all);
    strings::movsb(copy(NOTHING, base, 1));
    ensure!(
        paging::entry(32) & DIRTY != 0,
        "MOVSB from MMIO left the page clean: entry {:#x}",
        paging::entry(32)
    );
    Ok(())
}

pub fn strings() -> Outcome {
    let all = PRESENT | WRITABLE;
    let base = window(all, all);
    let edge = base + 4096;
    // Device to RAM, across pages of both.
    fill(base, 8192, 0x55);
    let (Strings { rsi, rdi, rcx, .. }, _) = strings::rep_movsb(copy(NOTHING + 4096 - 7, edge - 9, 20));
    ensure!(
        (rsi, rdi, rcx) == (NOTHING + 4096 + 13, edge + 11, 0),
        "REP MOVSB from MMIO: RSI {rsi:#x} RDI {rdi:#x} RCX {rcx}"
    );
    for i in 0..40 {
        let (at, expected) = (edge - 20 + i, if (11..31).contains(&i) { 0xff } else { 0x55 });
        ensure!(byte(at) == expected, "REP MOVSB from MMIO: {:#x} at {at:#x}", byte(at));
    }
    // RAM to device, downwards.
    let (Strings { rsi, rdi, rcx, .. }, _) = strings::rep_movsd_down(copy(edge + 16, NOTHING + 256, 9));
    ensure!(
        (rsi, rdi, rcx) == (edge - 20, NOTHING + 220, 0),
        "REP MOVSD to MMIO downwards: RSI {rsi:#x} RDI {rdi:#x} RCX {rcx}"
    );
    // Device to device, and a store.
    let (Strings { rdi, rcx, .. }, _) = strings::rep_stosw(Strings { rax: 7, ..copy(0, NOTHING, 33) });
    ensure!((rdi, rcx) == (NOTHING + 66, 0), "REP STOSW to MMIO: RDI {rdi:#x} RCX {rcx}");
    // Compared until they differ: RAM has three bytes of what the device reads as.
    fill(base, 64, 0);
    fill(base, 3, 0xff);
    let (Strings { rsi, rdi, rcx, .. }, flags) = strings::repe_cmpsb(copy(base, NOTHING, 10));
    ensure!(
        (rsi, rdi, rcx, flags & 0x41) == (base + 4, NOTHING + 4, 6, 1),
        "REPE CMPSB: RSI {rsi:#x} RDI {rdi:#x} RCX {rcx} flags {flags:#x}"
    );
    let all_ones = Strings { rax: 0xffff_ffff, ..copy(0, NOTHING, 5) };
    let (Strings { rdi, rcx, .. }, _) = strings::repne_scasd(all_ones);
    ensure!((rdi, rcx) == (NOTHING + 4, 4), "REPNE SCASD: RDI {rdi:#x} RCX {rcx}");
    // Across from RAM to the device at the end of a mapping, and then to a page that is not there.
    let first = paging::map(48, RAM, all);
    paging::map(49, NOTHING, all);
    paging::map(50, 0, 0);
    fill(first, 4096, 0x66);
    let stores = Strings { rax: 0x77, ..copy(0, first + 4090, 6 + 4096 + 10) };
    match catch(|| discard(strings::rep_stosb(stores))) {
        Err(caught) if caught.vector == PF && caught.address == first + 8192 && caught.error == 2 => {
            ensure!(
                (caught.rdi, caught.rcx) == (first + 8192, 10),
                "RDI {:#x} RCX {} at the fault",
                caught.rdi,
                caught.rcx
            );
        }
        came => wrong!("REP STOSB from RAM over MMIO into nothing: {}", Came(came)),
    }
    ensure!(
        byte(first + 4089) == 0x66 && byte(first + 4090) == 0x77 && byte(first + 4095) == 0x77,
        "RAM before MMIO"
    );
    Ok(())
}
