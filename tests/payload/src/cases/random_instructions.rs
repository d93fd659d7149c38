//! Random bytes as instructions.
//!
//! Each attempt is one instruction of ring 0, single-stepped, with registers that point at devices, RAM and
//! nowhere. Whatever it raises ends the attempt; what it has changed of the CPU's tables and control
//! registers is put right before the next. Some attempts can't be survived by any program, like a load of
//! CR3: the result of the case is that nobody else noticed.
#![allow(unsafe_code)] // That is what it is about.
use super::mmio::NOTHING;
use crate::catch::{self, Frame, hook};
use crate::instructions as cpu_;
use crate::paging::ram;
use crate::{Outcome, cpu, paging, random, say};
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};

const ATTEMPTS: u64 = 20_000;

/// Two pages.
const CODE: u64 = ram(8);
/// What pointers into RAM point at: two pages.
const SCRATCH: u64 = ram(10);

static FAULTS: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Instructions that exit, or that an emulator meets, with random bytes around them.
const SEEDS: &[&[u8]] = &[
    &[0x0f, 0x01],
    &[0x0f, 0x00],
    &[0x0f, 0xae],
    &[0x0f, 0xc7],
    &[0x0f, 0xa2],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x0f, 0x33],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x23],
    &[0x0f],
    &[0x0f, 0x38],
    &[0x0f, 0x3a],
    &[0xf3, 0xa4],
    &[0xf2, 0xa6],
    &[0x6c],
    &[0x6e],
    &[0xf3, 0x6d],
    &[0xec],
    &[0xef],
    &[0xcf],
    &[0xf4],
    &[0xc4],
    &[0xc5],
    &[0x62],
    &[0x8f],
    &[0xf0],
    &[0x48],
    &[0x66],
];

/// Whether this is better left out: what would end the attempt's whole machine, and is no test of anybody.
fn ends_the_machine(code: &[u8]) -> bool {
    let body = code.iter().position(
        |b| !matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3),
    );
    let Some(body) = body.map(|at| &code[at..]) else { return false };
    match body {
        // OUT to an immediate port: keyboard controller, port A, and the neighbours that wide ones reach.
        [0xe6 | 0xe7, 0x60..=0x64 | 0x8f..=0x92, ..] => true,
        // MOV to CR3, LGDT, LIDT and LTR from random memory; no handler is left after them.
        [0x0f, 0x22, modrm, ..] => modrm >> 3 & 7 != 2,
        [0x0f, 0x01, modrm, ..] => modrm >> 6 != 3 && matches!(modrm >> 3 & 7, 2 | 3),
        [0x0f, 0x00, modrm, ..] => modrm >> 3 & 7 == 3,
        _ => false,
    }
}

fn on_step(frame: &mut Frame) -> bool {
    // The step, or whatever else came: `catch` takes it.
    if frame.vector as u8 == catch::DB {
        STEPS.fetch_add(1, Ordering::Relaxed);
    } else {
        FAULTS.fetch_add(1, Ordering::Relaxed);
    }
    false
}

/// A register's value: RAM mostly; devices and nowhere in some attempts, since the first instruction that
/// nobody emulates there ends the machine.
fn register(anywhere: bool) -> u64 {
    match random::below(if anywhere { 10 } else { 40 }) {
        0 if anywhere => NOTHING + random::below(0x1000),
        1 if anywhere => crate::apic::BASE + (random::below(0x40) << 4),
        2 if anywhere => crate::apic::IOAPIC + (random::below(3) << 4),
        3 => paging::WINDOW + random::below(1 << 21),
        4 if anywhere => 0xa_0000 - random::below(16),
        5 => 1 << 63 | random::next(),
        6 => random::below(0x100),
        _ => SCRATCH + random::below(4096),
    }
}

pub fn run() -> Outcome {
    crate::apic::enable();
    let state = (cpu_::cr0(), cpu_::cr3(), cpu_::cr4(), cpu_::efer());
    for attempt in 0..ATTEMPTS {
        let mut bytes = [0u8; 15];
        for byte in &mut bytes {
            *byte = random::next() as u8;
        }
        if random::below(2) == 0 {
            let seed = random::one_of(SEEDS);
            let at = random::below(3) as usize;
            bytes[at..at + seed.len()].copy_from_slice(seed);
        }
        if ends_the_machine(&bytes) {
            continue;
        }
        // Now and then across a page.
        let at = CODE + if random::below(8) == 0 { 4096 - 1 - random::below(14) } else { 0 };
        paging::write(at, &bytes);
        paging::fill(at + bytes.len() as u64, 32, 0xcc);
        let mut registers = [0u64; 16];
        let anywhere = random::below(50) == 0;
        for value in &mut registers {
            *value = register(anywhere);
        }
        // A port for IN and OUT that does not end the machine.
        registers[2] = random::one_of(&[0x80, 0x71, 0x1234, 0x40, 0xcfc, 0x3fd, 0x21]);
        // A stack that is one, but for some.
        if random::below(64) != 0 {
            registers[4] = SCRATCH + 2048 + (random::below(64) << 3);
        }
        // A count that string instructions get through.
        registers[1] = random::below(64);
        let _ = hook(on_step, || catch::catch(|| enter(at, &registers)));
        restore(state);
        if attempt % 5000 == 4999 {
            say!("PAYLOAD random-instructions {} of {ATTEMPTS}", attempt + 1);
        }
    }
    say!(
        "PAYLOAD random-instructions: {} stepped, {} faulted",
        STEPS.load(Ordering::Relaxed),
        FAULTS.load(Ordering::Relaxed)
    );
    crate::apic::enable();
    Ok(())
}

/// Puts right what the program relies on.
fn restore((cr0, cr3, cr4, efer): (u64, u64, u64, u64)) {
    cpu_::cli();
    cpu::load_tables();
    if cpu_::cr0() != cr0 {
        // SAFETY: as it was before.
        unsafe { cpu_::set_cr0(cr0) };
    }
    if cpu_::cr3() != cr3 {
        // SAFETY: as it was before.
        unsafe { cpu_::set_cr3(cr3) };
    }
    if cpu_::cr4() != cr4 {
        cpu_::set_cr4(cr4);
    }
    if cpu_::efer() != efer {
        cpu_::set_efer(efer);
    }
    cpu_::set_dr7(0x400);
    cpu_::set_dr6(0xffff_0ff0);
    cpu_::set_cr8(0);
}

/// Continues at `at` with these registers, RSP among them, single-stepping. Only an exception comes back.
fn enter(at: u64, registers: &[u64; 16]) {
    // SAFETY: nothing keeps random instructions from overwriting this program. It then ends or fails, which is
    // one result of the test; what must not is the hypervisor.
    unsafe {
        asm!(
            "push rsi",
            "push [r15 + 0x20]",
            "push rdi",
            "push r8",
            "push r9",
            "mov rax, [r15]",
            "mov rcx, [r15 + 0x08]",
            "mov rdx, [r15 + 0x10]",
            "mov rbx, [r15 + 0x18]",
            "mov rbp, [r15 + 0x28]",
            "mov rsi, [r15 + 0x30]",
            "mov rdi, [r15 + 0x38]",
            "mov r8, [r15 + 0x40]",
            "mov r9, [r15 + 0x48]",
            "mov r10, [r15 + 0x50]",
            "mov r11, [r15 + 0x58]",
            "mov r12, [r15 + 0x60]",
            "mov r13, [r15 + 0x68]",
            "mov r14, [r15 + 0x70]",
            "mov r15, [r15 + 0x78]",
            "iretq",
            in("r15") registers.as_ptr(),
            in("rsi") u64::from(cpu::DATA),
            in("rdi") 0x102u64,
            in("r8") u64::from(cpu::CODE),
            in("r9") at,
            options(noreturn)
        )
    }
}
