//! Instructions that a guest does not have.
#![allow(unsafe_code)] // Instructions.
use crate::catch::{Came, GP, UD, catch, raises};
use crate::instructions::cpuid;
use crate::paging::ram;
use crate::{Outcome, ensure, wrong};
use bare::memory::{load, store};
use core::arch::asm;

/// For instructions that take an address.
const PAGE: u64 = ram(0);

/// Fails unless the instruction, which gets the page's address in RAX, raises #UD.
macro_rules! undefined {
    ($name:literal, $($code:tt)*) => {
        let attempt = || {
            // SAFETY: does nothing but raise #UD. A CPU that has it fails the case, and may use the page.
            unsafe {
                asm!(
                    $($code)*,
                    inout("rax") PAGE => _, inout("ecx") 0 => _, inout("edx") 0 => _, options(nostack)
                );
            }
        };
        if let Err(came) = raises(UD, attempt) {
            wrong!(concat!($name, ": {}, expected #UD"), came);
        }
    };
}

pub fn svm() -> Outcome {
    undefined!("VMRUN", "vmrun rax");
    undefined!("VMLOAD", "vmload rax");
    undefined!("VMSAVE", "vmsave rax");
    undefined!("STGI", "stgi");
    undefined!("CLGI", "clgi");
    undefined!("SKINIT", ".byte 0x0f, 0x01, 0xde");
    undefined!("INVLPGA", ".byte 0x0f, 0x01, 0xdf");
    Ok(())
}

pub fn vmx() -> Outcome {
    undefined!("VMXON", "vmxon [rax]");
    undefined!("VMPTRLD", "vmptrld [rax]");
    undefined!("VMCLEAR", "vmclear [rax]");
    undefined!("VMLAUNCH", "vmlaunch");
    undefined!("VMREAD", "vmread rax, rcx");
    undefined!("VMWRITE", "vmwrite rax, rcx");
    undefined!("INVEPT", "invept rcx, [rax]");
    undefined!("INVVPID", "invvpid rcx, [rax]");
    undefined!("RSM", "rsm");
    undefined!("GETSEC", ".byte 0x0f, 0x37");
    Ok(())
}

pub fn monitor_mwait() -> Outcome {
    if cpuid(1, 0)[2] & 1 << 3 == 0 {
        undefined!("MONITOR", ".byte 0x0f, 0x01, 0xc8");
        undefined!("MWAIT", ".byte 0x0f, 0x01, 0xc9");
    }
    if cpuid(0x8000_0001, 0)[2] & 1 << 29 == 0 {
        undefined!("MONITORX", ".byte 0x0f, 0x01, 0xfa");
        undefined!("MWAITX", ".byte 0x0f, 0x01, 0xfb");
    }
    if cpuid(0x8000_0008, 0)[1] & 1 << 4 == 0 {
        undefined!("RDPRU", ".byte 0x0f, 0x01, 0xfd");
    }
    Ok(())
}

pub fn cache_flush() -> Outcome {
    for (round, name) in ["INVD", "WBINVD", "WBNOINVD"].into_iter().enumerate() {
        let value = 0x1234_5678_0000 + round as u64;
        store(PAGE, value);
        // SAFETY: of a virtual machine's memory no cache is emptied without being written back.
        let came = catch(|| unsafe {
            match round {
                0 => asm!("invd", options(nostack)),
                1 => asm!("wbinvd", options(nostack)),
                _ => asm!(".byte 0xf3, 0x0f, 0x09", options(nostack)),
            }
        });
        ensure!(came.is_ok(), "{name}: {}", Came(came));
        let found: u64 = load(PAGE);
        ensure!(found == value, "{name}: memory has {found:#x} where {value:#x} was written");
    }
    Ok(())
}

pub fn rdpmc() -> Outcome {
    for counter in [0u32, 1, 5, 0x4000_0000, 0xffff_ffff] {
        let attempt = || {
            // SAFETY: reads a counter.
            unsafe { asm!("rdpmc", in("ecx") counter, out("eax") _, out("edx") _, options(nostack)) };
        };
        if let Err(came) = raises(GP, attempt) {
            wrong!("counter {counter:#x}: {came}, expected #GP");
        }
    }
    Ok(())
}
