//! Model-specific registers, and hypercalls.
#![allow(unsafe_code)] // Random registers, random hypercalls.
use crate::catch::{Came, GP, UD, catch, raises};
use crate::instructions::{discard, rdmsr, wrmsr};
use crate::{Outcome, apic, ensure, random, wrong};
use core::arch::asm;
use core::hint::black_box;

/// Where CPUs and hypervisors have registers.
fn may_exist(msr: u32) -> bool {
    matches!(msr, 0..0x3000 | 0x4000_0000..0x4001_0000 | 0x4b56_4d00..0x4b56_4e00
        | 0xc000_0000..0xc000_3000 | 0xc001_0000..0xc001_3000)
}

pub fn unknown() -> Outcome {
    let mut tried = 0;
    while tried < 1000 {
        let msr = random::nasty() as u32;
        if may_exist(msr) {
            continue;
        }
        tried += 1;
        if let Err(came) = raises(GP, || discard(rdmsr(msr))) {
            wrong!("RDMSR {msr:#x}: {came}, expected #GP");
        }
        // SAFETY: there is no such register.
        if let Err(came) = raises(GP, || unsafe { wrmsr(msr, random::nasty()) }) {
            wrong!("WRMSR {msr:#x}: {came}, expected #GP");
        }
    }
    Ok(())
}

pub fn sweep() -> Outcome {
    let ranges = [0..0x2000, 0x4000_0000..0x4000_0200, 0x4b56_4d00..0x4b56_4d10];
    let amd = [0xc000_0000..0xc000_0400, 0xc001_0000..0xc001_0400, 0xc001_1000..0xc001_1100];
    let mut found = 0;
    for msr in ranges.into_iter().chain(amd).flatten() {
        match catch(|| discard(rdmsr(msr))) {
            Ok(()) => found += 1,
            Err(caught) => ensure!(caught.vector == GP && caught.error == 0, "RDMSR {msr:#x}: {caught}"),
        }
    }
    // Less than the 30 or so of the architecture would be no x86-64 CPU.
    ensure!((20..2000).contains(&found), "{found} registers");
    Ok(())
}

/// Registers whose change would end the test instead of testing anything: where the APIC is.
const LEFT_ALONE: [u32; 1] = [apic::IA32_APIC_BASE];

pub fn random() -> Outcome {
    for _ in 0..4000 {
        let msr = match random::below(4) {
            0 => random::below(0x2000) as u32,
            1 => 0xc000_0000 + random::below(0x200) as u32,
            2 => random::one_of(&[0x10, 0x3b, 0x174, 0x175, 0x176, 0x1d9, 0x277, 0x2ff, 0x200, 0x201, 0x6e0]),
            _ => random::one_of(&[0xc001_0000, 0x4b56_4d00, 0xc000_0080]) + random::below(0x20) as u32,
        };
        if LEFT_ALONE.contains(&msr) {
            continue;
        }
        let value = random::nasty();
        let came = catch(|| {
            if random::below(2) == 0 {
                // SAFETY: nothing keeps a random value from having a hypervisor write to this program. It then
                // ends or fails, which is one result of the test; what must not is the hypervisor.
                unsafe { wrmsr(msr, value) };
            }
            let _ = black_box(rdmsr(msr));
        });
        if let Err(caught) = came {
            ensure!(caught.vector == GP, "MSR {msr:#x} value {value:#x}: {caught}");
        }
    }
    // Pages that have lost their memory type still work.
    // SAFETY: memory types as after power-on.
    unsafe { wrmsr(0x277, 0x0007_0406_0007_0406) };
    Ok(())
}

pub fn hypercalls() -> Outcome {
    for _ in 0..500 {
        let number = if random::below(2) == 0 { random::below(16) } else { random::nasty() };
        let [rbx, rcx, rdx] = [random::nasty(), random::nasty(), random::nasty()];
        // Vectors of exceptions that push no error code would confuse the handlers of those that do.
        let rsi = u64::from(random::nasty() as u8 | 0x40);
        // SAFETY: PureVisor has no call that writes to memory; RBX is put back.
        let came = catch(|| unsafe {
            asm!(
                "xchg rbx, {rbx}", "vmmcall", "mov rbx, {rbx}",
                rbx = inout(reg) rbx => _, inout("rax") number => _, in("rcx") rcx, in("rdx") rdx,
                in("rsi") rsi, options(nostack)
            );
        });
        if let Err(caught) = came {
            ensure!(caught.vector == UD, "call {number:#x}: {}", Came(Err(caught)));
        }
    }
    apic::enable();
    crate::instructions::take_interrupts();
    Ok(())
}
