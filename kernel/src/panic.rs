//! The end: what the kernel says when it cannot go on.
//!
//! A Rust panic or an exception in the kernel stops the other CPUs by NMI, prints what happened, the
//! registers where there are any, and a back-trace with names, and halts. It works before the heap
//! exists, with any lock held, and on the separate stack of a double fault. A second failure while
//! reporting the first one halts without a word.
#![allow(unsafe_code)] // walks the stack by frame pointers, and reads the symbol table

use crate::boot_info;
use crate::console::Emergency;
use crate::cpu::idt::{Exception, Frame};
use crate::cpu::percpu;
use crate::cpu::registers::{self, halt_forever};
use crate::interrupts;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};
use mm::addr::Hva;
use mm::layout;

/// Nobody has panicked.
const NOBODY: usize = usize::MAX;

/// The CPU that reports; the first one wins.
static REPORTER: AtomicUsize = AtomicUsize::new(NOBODY);

/// Frames of a back-trace at most.
const DEEPEST: usize = 32;

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    let mut out = begin();
    let _ = write!(out, "\npanic on CPU {}: {}", percpu::current().index, info.message());
    if let Some(l) = info.location() {
        let _ = write!(out, "\n  at {}:{}", l.file(), l.line());
    }
    let _ = writeln!(out);
    backtrace(&mut out, None, registers::frame_pointer());
    end(out)
}

/// An exception in the kernel: always its own fault.
pub fn exception(vector: Exception, frame: &Frame) -> ! {
    let mut out = begin();
    let _ = write!(out, "\npanic on CPU {}: {}", percpu::current().index, vector.name());
    let cr2 = registers::cr2();
    match vector {
        Exception::PAGE_FAULT => {
            let how = match frame.error & 0x13 {
                0x10 | 0x11 => "executing",
                e if e & 2 != 0 => "writing",
                _ => "reading",
            };
            let why = if frame.error & 1 != 0 { "not permitted there" } else { "not mapped" };
            let _ = write!(out, ", {how} {cr2:#x}: {why}");
            if frame.error & 1 == 0 {
                name_overflow(&mut out, cr2);
            }
        }
        Exception::DOUBLE_FAULT => name_overflow(&mut out, cr2),
        _ if frame.error != 0 => {
            let _ = write!(out, ", error code {:#x}", frame.error);
        }
        _ => {}
    }
    let _ = writeln!(out);
    let f = frame;
    let _ = writeln!(
        out,
        "  rip {:016x} rsp {:016x} rflags {:08x}  cs {:04x}  ss {:04x}  error {:x}",
        f.rip, f.rsp, f.rflags, f.cs, f.ss, f.error
    );
    let _ = writeln!(out, "  rax {:016x} rbx {:016x} rcx {:016x} rdx {:016x}", f.rax, f.rbx, f.rcx, f.rdx);
    let _ = writeln!(out, "  rsi {:016x} rdi {:016x} rbp {:016x} r8  {:016x}", f.rsi, f.rdi, f.rbp, f.r8);
    let _ = writeln!(out, "  r9  {:016x} r10 {:016x} r11 {:016x} r12 {:016x}", f.r9, f.r10, f.r11, f.r12);
    let _ = writeln!(out, "  r13 {:016x} r14 {:016x} r15 {:016x}", f.r13, f.r14, f.r15);
    let (cr0, cr3, cr4) = (registers::cr0(), registers::cr3(), registers::cr4());
    let _ = writeln!(out, "  cr0 {cr0:016x} cr2 {cr2:016x} cr3 {cr3:016x} cr4 {cr4:016x}");
    backtrace(&mut out, Some(f.rip), f.rbp);
    end(out)
}

/// Says so if `address` lies in the unmapped part of a stack's slot.
fn name_overflow(out: &mut impl Write, address: u64) {
    let Some((cpu, slot)) = Hva::try_new(address).and_then(layout::stack_slot_at) else { return };
    let name = match slot {
        0 => "main",
        1 => "NMI",
        2 => "double-fault",
        3 => "machine-check",
        _ => "unused",
    };
    let _ = write!(out, "\n  the {name} stack of CPU {cpu} overflowed into its guard");
}

/// Becomes the reporter, or halts.
fn begin() -> Emergency {
    registers::disable_interrupts();
    let me = percpu::current().index;
    if REPORTER.compare_exchange(NOBODY, me, Ordering::AcqRel, Ordering::Acquire).is_err() {
        halt_forever();
    }
    interrupts::nmi::stop_others();
    Emergency
}

fn end(mut out: Emergency) -> ! {
    let _ = writeln!(out, "PureVisor has stopped. Restart the machine; the lines above say why.");
    halt_forever()
}

/// Prints the chain of callers: `first` if the innermost address is known, then from frame pointer `rbp`
/// up. Every frame must lie on the same stack, above the one before.
fn backtrace(out: &mut impl Write, first: Option<u64>, mut rbp: u64) {
    if let Some(rip) = first {
        print_address(out, rip, 0);
    }
    let Some(top) = stack_top(rbp) else { return };
    for _ in 0..DEEPEST {
        if rbp == 0 || !rbp.is_multiple_of(8) || rbp.checked_add(16).is_none_or(|end| end > top) {
            return;
        }
        // SAFETY: both words lie between a frame on a mapped stack and that stack's top.
        let (next, caller) = unsafe { ((rbp as *const u64).read(), (rbp as *const u64).add(1).read()) };
        if caller == 0 {
            return;
        }
        // A return address is behind the call; one less is inside of it.
        print_address(out, caller, 1);
        if next <= rbp {
            return;
        }
        rbp = next;
    }
    let _ = writeln!(out, "  ...");
}

/// Where the mapped stack that holds `address` ends.
fn stack_top(address: u64) -> Option<u64> {
    if let Some(slot) = Hva::try_new(address).and_then(layout::stack_slot_at)
        && slot.1 < layout::CPU_STACK_SLOTS
    {
        let base = layout::STACKS.base().get();
        return Some(base + (address - base) / layout::STACK_SLOT * layout::STACK_SLOT + layout::STACK_SLOT);
    }
    let boot = boot_info::get()?.boot_stack;
    let start = layout::DIRECT_MAP.base().get() + boot.base;
    (address >= start && address < start + boot.len).then_some(start + boot.len)
}

fn print_address(out: &mut impl Write, address: u64, back: u64) {
    let _ = match boot_info::symbols().lookup(address.wrapping_sub(back)) {
        Some((name, offset)) => {
            writeln!(out, "  {address:016x} {:#} +{:#x}", rustc_demangle::demangle(name), offset + back)
        }
        None => writeln!(out, "  {address:016x} ?"),
    };
}
