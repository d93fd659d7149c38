//! Code that changes right before it is executed, where an exit makes somebody else read it.
#![allow(unsafe_code)] // Calls of code that is written here.
use crate::catch::{Came, catch};
use crate::paging::{self, PRESENT, WRITABLE, ram};
use crate::{Outcome, ensure, wrong};
use core::arch::asm;

const CODE: u64 = ram(6);

/// Writes code and calls it. It is given RAX and RDX, and leaves RAX.
fn call(write_at: u64, run_at: u64, code: &[u8], rax: u64, rdx: u64) -> Result<u64, Came> {
    paging::write(write_at, code);
    let mut out = rax;
    // SAFETY: the code, of `patched`, changes RAX and itself, and returns.
    catch(|| unsafe {
        asm!(
            "push rbx", "call {at}", "pop rbx",
            at = in(reg) run_at, inout("rax") rax => out, inout("rdx") rdx => _,
            in("rdi") write_at, out("rcx") _, out("rsi") _
        );
    })
    .map_err(|caught| Came(Err(caught)))?;
    Ok(out)
}

const RET: u8 = 0xc3;
/// `jmp` to the next instruction.
const JUMP: [u8; 2] = [0xeb, 0];

/// Runs code that writes `new` over `old`, right in front of it or behind a jump, and then executes it.
fn patched(at: (u64, u64), jump: bool, old: &[u8], new: u8, rax: u64, rdx: u64) -> Result<u64, Came> {
    // mov byte [rdi + distance], new: RDI is the code's address.
    let between: &[u8] = if jump { &JUMP } else { &[] };
    let mut code = [RET; 16];
    code[..4].copy_from_slice(&[0xc6, 0x47, 4 + between.len() as u8, new]);
    code[4..4 + between.len()].copy_from_slice(between);
    code[4 + between.len()..4 + between.len() + old.len()].copy_from_slice(old);
    call(at.0, at.1, &code, rax, rdx)
}

/// Its name; old code, and what its first byte becomes; RAX and RDX before, RAX after.
type Patch = (&'static str, &'static [u8], u8, u64, u64, u64);

fn run_all(at: (u64, u64), jump: bool) -> Outcome {
    const IN_AL: u8 = 0xec;
    const IN_EAX: u8 = 0xed;
    const NOP: u8 = 0x90;
    const EMPTY_PORT: u64 = 0x1234;
    let device = super::mmio::NOTHING;
    for _ in 0..50 {
        let tests: [Patch; 5] = [
            ("IN made NOP", &[IN_AL], NOP, 0x55, EMPTY_PORT, 0x55),
            ("NOP made IN", &[NOP], IN_AL, 0x55, EMPTY_PORT, 0xff),
            ("IN AL made IN EAX", &[IN_AL], IN_EAX, 0, EMPTY_PORT, 0xffff_ffff),
            ("MOV EAX, [RDX] made MOV AL, [RDX]", &[0x8b, 0x02], 0x8a, 0x1100, device, 0x11ff),
            ("MOV AL, [RDX] made MOV EAX, [RDX]", &[0x8a, 0x02], 0x8b, 0x1100, device, 0xffff_ffff),
        ];
        for (what, old, new, rax, rdx, expected) in tests {
            match patched(at, jump, old, new, rax, rdx) {
                Ok(got) => ensure!(got == expected, "{what}: RAX {got:#x}, expected {expected:#x}"),
                Err(came) => wrong!("{what}: {came}"),
            }
        }
    }
    Ok(())
}

/// At its own address, and written by one address but executed by another.
fn at_both(jump: bool) -> Outcome {
    run_all((CODE, CODE), jump)?;
    run_all((CODE, paging::map(64, CODE, PRESENT | WRITABLE)), jump)
}

pub fn behind_a_jump() -> Outcome {
    at_both(true)
}

pub fn right_in_front() -> Outcome {
    at_both(false)
}
