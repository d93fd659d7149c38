//! Code that changes right before it is executed, where an exit makes somebody else read it.
use crate::catch::{Came, catch};
use crate::instructions::cr4;
use crate::paging::{self, PRESENT, Pages, WRITABLE};
use crate::{Outcome, ensure};
use core::arch::asm;

static mut CODE: Pages<1> = Pages::NEW;

/// Writes code and calls it. RAX and RDX are what it is given and what it leaves.
fn call(write_at: u64, run_at: u64, code: &[u8], rax: u64, rdx: u64) -> Result<(u64, u64), Came> {
    for (i, byte) in code.iter().enumerate() {
        unsafe { ((write_at + i as u64) as *mut u8).write_volatile(*byte) };
    }
    let mut out = (rax, rdx);
    catch(|| unsafe {
        asm!(
            "push rbx", "call {at}", "pop rbx",
            at = in(reg) run_at, inout("rax") rax => out.0, inout("rdx") rdx => out.1,
            in("rdi") write_at, out("rcx") _, out("rsi") _
        );
    })
    .map_err(|caught| Came(Err(caught)))?;
    Ok(out)
}

fn run_all(write_at: u64, run_at: u64) -> Outcome {
    const RET: u8 = 0xc3;
    let say = |what: &str, came: Result<(u64, u64), Came>, expected: u64| match came {
        Ok((rax, _)) if rax == expected => Ok(()),
        Ok((rax, _)) => crate::wrong!("{what}: RAX {rax:#x}, expected {expected:#x}"),
        Err(came) => crate::wrong!("{what}: {came}"),
    };
    for _ in 0..50 {
        // IN AL, DX becomes NOPs in the middle of the same line: mov byte [rdi+7], 0x90; nop ...; the byte.
        let patched = [0xc6, 0x47, 0x04, 0x90, 0xec, RET];
        say("IN patched to NOP", call(write_at, run_at, &patched, 0x55, 0x1234), 0x55)?;
        let patched = [0xc6, 0x47, 0x04, 0xec, 0x90, RET];
        say("NOP patched to IN", call(write_at, run_at, &patched, 0x55, 0x1234), 0xff)?;
        // IN AL, DX becomes IN EAX, DX, one byte further on: a shorter or longer result.
        let patched = [0xc6, 0x47, 0x04, 0xed, 0xec, RET];
        say("IN AL patched to IN EAX", call(write_at, run_at, &patched, 0, 0x1234), 0xffff_ffff)?;
        // CPUID becomes RDTSC's neighbour: mov word [rdi+5], 0x9090 in front of 0f a2.
        let patched = [0x66, 0xc7, 0x47, 0x06, 0x90, 0x90, 0x0f, 0xa2, RET];
        say("CPUID patched to NOPs", call(write_at, run_at, &patched, 0x4000_0000, 0), 0x4000_0000)?;
        // An MMIO load into EAX becomes one into ESI's neighbour AL: 8b 02 (mov eax,[rdx]) to 8a 02.
        let patched = [0xc6, 0x47, 0x04, 0x8a, 0x8b, 0x02, RET];
        say(
            "MOV EAX patched to MOV AL",
            call(write_at, run_at, &patched, 0x1100, super::mmio::NOTHING),
            0x11ff,
        )?;
    }
    Ok(())
}

pub fn run() -> Outcome {
    let physical = &raw const CODE as u64;
    run_all(physical, physical)?;
    // Written by one address, executed by another: across the end of a page, the second far away.
    let alias = paging::map(64, physical, PRESENT | WRITABLE);
    paging::map(65, physical, PRESENT | WRITABLE);
    run_all(physical, alias)?;
    ensure!(cr4() & 1 << 20 == 0, "SMEP is on");
    Ok(())
}
