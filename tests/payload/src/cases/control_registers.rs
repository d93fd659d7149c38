//! Control registers, EFER and XCR0: what must be refused, and that it is refused without effect.
#![allow(unsafe_code)] // CR0.
use crate::catch::{Came, GP, UD, catch, raises};
use crate::instructions as cpu;
use crate::{Outcome, ensure, wrong};
use core::arch::asm;

pub fn efer() -> Outcome {
    let before = cpu::efer();
    let extended = cpu::cpuid(0x8000_0001, 0);
    let svm = extended[2] & 1 << 2 != 0;
    // SCE, LME, LMA, NXE exist on every 64-bit CPU; the others as CPUID says.
    let mut known = 1u64 | 1 << 8 | 1 << 10 | 1 << 11;
    known |= u64::from(svm) << 12 | u64::from(svm) << 13;
    known |= u64::from(extended[3] >> 25 & 1) << 14;
    known |= u64::from(extended[2] >> 17 & 1) << 15;
    known |= 1 << 20 | 1 << 21;
    if cpu::cpuid(0x8000_0021, 0)[0] == 0 {
        known &= !(1 << 20 | 1 << 21);
    }
    for bit in (0..64).filter(|bit| known & 1 << bit == 0) {
        if let Err(came) = raises(GP, || cpu::set_efer(before | 1 << bit)) {
            wrong!("bit {bit} set: {came}, expected #GP");
        }
        let now = cpu::efer();
        ensure!(now == before, "bit {bit} was refused but EFER is {now:#x} after {before:#x}");
    }
    if let Err(came) = raises(GP, || cpu::set_efer(before & !(1 << 8))) {
        wrong!("LME cleared while paging is on: {came}, expected #GP");
    }
    Ok(())
}

/// Bits of CR4, and where CPUID shows their feature: leaf, register, bit. SDM vol. 3A, 2.5.
const CR4: [(u32, u32, usize, u32); 19] = [
    (0, 1, 3, 1),
    (1, 1, 3, 1),
    (2, 1, 3, 4),
    (3, 1, 3, 2),
    (4, 1, 3, 3),
    (5, 1, 3, 6),
    (6, 1, 3, 7),
    (7, 1, 3, 13),
    (9, 1, 3, 24),
    (10, 1, 3, 25),
    (11, 7, 2, 2),
    (12, 7, 2, 16),
    (13, 1, 2, 5),
    (14, 1, 2, 6),
    (16, 7, 1, 0),
    (17, 1, 2, 17),
    (18, 1, 2, 26),
    (20, 7, 1, 7),
    (21, 7, 1, 20),
];

pub fn cr4() -> Outcome {
    let before = cpu::cr4();
    let shown = |leaf, register: usize, bit: u32| cpu::cpuid(leaf, 0)[register] >> bit & 1 != 0;
    // PCE comes with every CPU; later features have bits that a guest may be shown too.
    let mut known = 1u64 << 8;
    for (bit, leaf, register, position) in CR4 {
        known |= u64::from(shown(leaf, register, position)) << bit;
    }
    known |= u64::from(shown(7, 2, 3)) << 22;
    known |= u64::from(shown(7, 2, 7) || shown(7, 3, 20)) << 23;
    known |= u64::from(shown(7, 2, 31)) << 24;
    for bit in (0..64).filter(|bit| known & 1 << bit == 0) {
        if let Err(came) = raises(GP, || cpu::set_cr4(before | 1 << bit)) {
            wrong!("bit {bit} set: {came}, expected #GP");
        }
        let now = cpu::cr4();
        ensure!(now == before, "bit {bit} was refused but CR4 is {now:#x} after {before:#x}");
    }
    if let Err(came) = raises(GP, || cpu::set_cr4(before & !(1 << 5))) {
        wrong!("PAE cleared in long mode: {came}, expected #GP");
    }
    // LA57 can't change in long mode, shown or not.
    if let Err(came) = raises(GP, || cpu::set_cr4(before ^ 1 << 12)) {
        wrong!("LA57 changed in long mode: {came}, expected #GP");
    }
    Ok(())
}

pub fn cr8() -> Outcome {
    for value in [0, 1, 9, 15] {
        let came = catch(|| cpu::set_cr8(value));
        ensure!(came.is_ok(), "{value} written to CR8: {}", Came(came));
        let found = cpu::cr8();
        ensure!(found == value, "CR8 is {found} after {value}");
    }
    for value in [16, 17, 0xff, 1 << 32, u64::MAX] {
        if let Err(came) = raises(GP, || cpu::set_cr8(value)) {
            wrong!("{value:#x} written to CR8: {came}, expected #GP");
        }
    }
    ensure!(cpu::cr8() == 15, "CR8 is {} after refused writes", cpu::cr8());
    cpu::set_cr8(0);
    Ok(())
}

const OSXSAVE: u64 = 1 << 18;

fn has_xsave() -> bool {
    cpu::cpuid(1, 0)[2] & 1 << 26 != 0
}

pub fn xsetbv() -> Outcome {
    let cr4 = cpu::cr4();
    if let Err(came) = raises(UD, || cpu::xsetbv(0, 1)) {
        wrong!("without CR4.OSXSAVE: {came}, expected #UD");
    }
    if !has_xsave() {
        return Ok(());
    }
    cpu::set_cr4(cr4 | OSXSAVE);
    let [low, _, _, high] = cpu::cpuid(0xd, 0);
    let supported = u64::from(high) << 32 | u64::from(low);
    let refused = [
        (1, 1),
        (0x8000_0000, 1),
        (u32::MAX, 1),
        (0, 0),
        (0, 2),
        (0, !supported | 1),
        (0, 1 << 63 | 1),
        (0, u64::MAX),
        // One half of MPX, and tiles without their configuration.
        (0, 1 | 1 << 3),
        (0, 1 | 1 << 18),
    ];
    for (index, value) in refused {
        if let Err(came) = raises(GP, || cpu::xsetbv(index, value)) {
            wrong!("{value:#x} to register {index:#x}: {came}, expected #GP");
        }
    }
    for value in [1, 3, supported & 7, 1] {
        let came = catch(|| cpu::xsetbv(0, value));
        ensure!(came.is_ok(), "{value:#x} to XCR0: {}", Came(came));
    }
    cpu::set_cr4(cr4);
    Ok(())
}

pub fn xsetbv_avx_alone() -> Outcome {
    if !has_xsave() || cpu::cpuid(0xd, 0)[0] & 4 == 0 {
        return Ok(());
    }
    let cr4 = cpu::cr4();
    cpu::set_cr4(cr4 | OSXSAVE);
    let came = raises(GP, || cpu::xsetbv(0, 5));
    cpu::set_cr4(cr4);
    if let Err(came) = came {
        wrong!("{came}, expected #GP");
    }
    Ok(())
}

pub fn cr0() -> Outcome {
    const PE: u64 = 1;
    const NW: u64 = 1 << 29;
    const PG: u64 = 1 << 31;
    let before = cpu::cr0();
    for (value, what) in [
        (before & !PE, "PG without PE"),
        (before | NW, "NW without CD"),
        (before | 1 << 32, "bit 32"),
        (before | 1 << 63, "bit 63"),
    ] {
        // SAFETY: the CPU refuses each. Where an emulator does not, the case has failed, if it goes on at all.
        if let Err(came) = raises(GP, || unsafe { cpu::set_cr0(value) }) {
            wrong!("{what}: {came}, expected #GP");
        }
        ensure!(cpu::cr0() == before, "{what} was refused but CR0 is {:#x} after {before:#x}", cpu::cr0());
    }
    // Where this is not refused the following code is taken for 32-bit code; it says so and ends there.
    let clear_pg = || {
        // SAFETY: as above.
        unsafe { asm!("mov cr0, {}", "nop", "nop", in(reg) before & !PG, options(nostack)) };
    };
    if let Err(came) = raises(GP, clear_pg) {
        wrong!("PG cleared in 64-bit code: {came}, expected #GP");
    }
    Ok(())
}
