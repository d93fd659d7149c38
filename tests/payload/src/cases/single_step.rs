//! Single-stepping across what exits.
#![allow(unsafe_code)] // Code that is stepped through.
use super::mmio::NOTHING;
use crate::catch::{DB, Frame, hook};
use crate::instructions::{dr6, set_dr6};
use crate::paging::ram;
use crate::{Outcome, cpu, ensure};
use bare::memory::load;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const TF: u64 = 1 << 8;
const DR6_BS: u64 = 1 << 14;

static STEPS: AtomicUsize = AtomicUsize::new(0);
/// Where each step ended, and DR6 then.
static SEEN: [AtomicU64; 64] = [const { AtomicU64::new(0) }; 64];
static WRONG_DR6: AtomicU64 = AtomicU64::new(0);

fn on_step(frame: &mut Frame) -> bool {
    if frame.vector as u8 != DB {
        return false;
    }
    let step = STEPS.fetch_add(1, Ordering::SeqCst);
    if let Some(seen) = SEEN.get(step) {
        seen.store(frame.rip, Ordering::SeqCst);
    }
    if dr6() & DR6_BS == 0 {
        WRONG_DR6.store(frame.rip, Ordering::SeqCst);
    }
    set_dr6(0xffff_0ff0);
    if step >= SEEN.len() {
        frame.rflags &= !TF;
    }
    true
}

// Each label is where a step must end. RDX is MMIO, RSI and RDI are RAM.
global_asm!(
    r#"
    .section .text.stepped, "ax"
    .global stepped, stepped_ends, stepped_ends_end
stepped:
    push rbx
    pushfq
    or qword ptr [rsp], 0x100
    popfq
    nop
.Ls0:
    xor eax, eax
.Ls1:
    xor ecx, ecx
.Ls2:
    cpuid
.Ls3:
    mov edx, 0x1234
.Ls4:
    in al, dx
.Ls5:
    out dx, eax
.Ls6:
    mov ecx, 0xc0000080
.Ls7:
    rdmsr
.Ls8:
    wrmsr
.Ls9:
    mov edx, {nothing}
.Ls10:
    mov eax, [rdx]
.Ls11:
    mov [rdx], eax
.Ls12:
    mov ecx, 3
.Ls13:
    rep stosb
.Ls14:
    mov cr8, rcx
.Ls15:
    wbinvd
.Ls16:
    pushfq
.Ls17:
    and qword ptr [rsp], 0xfffffffffffffeff
.Ls18:
    popfq
.Ls19:
    nop
    pop rbx
    ret
    .balign 8
stepped_ends:
    .quad .Ls0, .Ls1, .Ls2, .Ls3, .Ls4, .Ls5, .Ls6, .Ls7, .Ls8, .Ls9, .Ls10, .Ls11, .Ls12
    .quad .Ls13, .Ls13, .Ls13 - 0, .Ls14, .Ls15, .Ls16, .Ls17, .Ls18, .Ls19
stepped_ends_end:
    "#,
    nothing = const NOTHING,
);

unsafe extern "C" {
    static stepped: u8;
    static stepped_ends: u64;
    static stepped_ends_end: u64;
}

pub fn run() -> Outcome {
    // Into RAM, and into a device: the emulator's iterations count like the CPU's.
    for target in [ram(14), NOTHING] {
        STEPS.store(0, Ordering::SeqCst);
        WRONG_DR6.store(0, Ordering::SeqCst);
        set_dr6(0xffff_0ff0);
        // SAFETY: stores three bytes at RDI, changes the registers that are named, and returns.
        hook(on_step, || unsafe {
            asm!(
                "call {f}", f = in(reg) &raw const stepped, inout("rdi") target => _,
                out("rax") _, out("rcx") _, out("rdx") _
            );
        });
        let ends = &raw const stepped_ends as u64;
        let count = (&raw const stepped_ends_end as u64 - ends) as usize / 8;
        let expected = |i: usize| load::<u64>(ends + 8 * i as u64);
        let steps = STEPS.load(Ordering::SeqCst);
        // The string instruction stays where it is for all iterations but the last.
        for (i, seen) in SEEN.iter().enumerate().take(steps.min(count)) {
            let seen = seen.load(Ordering::SeqCst);
            ensure!(seen == expected(i), "step {i} ended at {seen:#x}, expected {:#x}", expected(i));
        }
        ensure!(steps == count, "{steps} steps, expected {count}");
        let wrong = WRONG_DR6.load(Ordering::SeqCst);
        ensure!(wrong == 0, "DR6.BS was not set at {wrong:#x}");
    }
    ensure!(cpu::taken(DB) > 0, "no #DB at all");
    Ok(())
}
