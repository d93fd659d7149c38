//! The mode that the kernel runs a CPU in, set the same on every CPU (SDM vol. 3A, 2.5; APM vol. 2, 3.1).
#![allow(unsafe_code)] // writes control registers

use super::registers::{self, Msr, cpuid};
use core::fmt;
use mm::paging::x86_64::PAT;
use spin::Once;

mod cr0 {
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
}

mod cr4 {
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

const EFER_NXE: u64 = 1 << 11;

/// What this machine's CPUs can do, as far as the kernel itself cares.
#[derive(Clone, Copy, Debug)]
pub struct Features {
    /// x2APIC mode.
    pub x2apic: bool,
    /// The local APIC's timer can be set to a TSC value.
    pub tsc_deadline: bool,
    /// The TSC counts at one rate in all power states.
    pub invariant_tsc: bool,
    /// 1 GiB pages.
    pub huge_pages: bool,
    /// XSAVE, and the components that XCR0 can have.
    pub xcr0: Option<u64>,
    /// SMEP.
    pub smep: bool,
    /// SMAP.
    pub smap: bool,
    /// UMIP.
    pub umip: bool,
    /// The RDSEED instruction.
    pub rdseed: bool,
    /// The RDRAND instruction.
    pub rdrand: bool,
}

/// The CPU lacks something that the kernel cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing(&'static str);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this CPU has no {}: PureVisor cannot run on it (or enable it in the firmware's settings)",
            self.0
        )
    }
}

static FEATURES: Once<Features> = Once::new();

/// The machine's features; looked up once, on the booting CPU.
pub fn features() -> &'static Features {
    FEATURES.call_once(detect)
}

fn detect() -> Features {
    let basic = cpuid(1, 0);
    let extended = cpuid(7, 0);
    let xsave = basic.ecx & 1 << 26 != 0;
    let components = cpuid(0xd, 0);
    Features {
        x2apic: basic.ecx & 1 << 21 != 0,
        tsc_deadline: basic.ecx & 1 << 24 != 0,
        invariant_tsc: cpuid(0x8000_0007, 0).edx & 1 << 8 != 0,
        huge_pages: cpuid(0x8000_0001, 0).edx & 1 << 26 != 0,
        xcr0: xsave.then_some(u64::from(components.edx) << 32 | u64::from(components.eax)),
        smep: extended.ebx & 1 << 7 != 0,
        smap: extended.ebx & 1 << 20 != 0,
        umip: extended.ecx & 1 << 2 != 0,
        rdseed: cpuid(0, 0).eax >= 7 && extended.ebx & 1 << 18 != 0,
        rdrand: basic.ecx & 1 << 30 != 0,
    }
}

/// Checks what the kernel needs: a TSC, MSRs, a local APIC, no-execute pages, PAT, FXSAVE.
pub fn check() -> Result<(), Missing> {
    let basic = cpuid(1, 0).edx;
    let extended = cpuid(0x8000_0001, 0).edx;
    for (present, name) in [
        (basic & 1 << 4 != 0, "time-stamp counter (TSC)"),
        (basic & 1 << 5 != 0, "model-specific registers (MSR)"),
        (basic & 1 << 9 != 0, "local APIC"),
        (basic & 1 << 16 != 0, "page attribute table (PAT)"),
        (basic & 1 << 24 != 0, "FXSAVE/FXRSTOR"),
        (extended & 1 << 20 != 0, "no-execute pages (NX, XD)"),
    ] {
        if !present {
            return Err(Missing(name));
        }
    }
    Ok(())
}

/// Brings the calling CPU into the kernel's mode.
///
/// PSE means nothing in 64-bit mode, but nearly all guests set it: emulators that translate (QEMU's TCG) forget all
/// translations once more where a change of world changes it.
///
/// The guests' floating-point and vector state lives in the registers across exits, so everything that
/// the CPU can save is enabled in XCR0, and nothing traps (CR0.TS and EM clear).
pub fn set_up() {
    let f = features();
    let mut cr4 = registers::cr4() | cr4::DE | cr4::PSE | cr4::MCE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    for (present, bit) in
        [(f.smep, cr4::SMEP), (f.smap, cr4::SMAP), (f.umip, cr4::UMIP), (f.xcr0.is_some(), cr4::OSXSAVE)]
    {
        if present {
            cr4 |= bit;
        }
    }
    let clear = cr0::EM | cr0::TS | cr0::NW | cr0::CD;
    // SAFETY: the features were checked; the kernel maps nothing as user memory, so SMEP and SMAP
    // take nothing away, and it has no page that it needs to write but that is mapped read-only. PAT
    // entry 1 is used by no mapping before this.
    unsafe {
        registers::wrmsr(Msr::EFER, registers::rdmsr(Msr::EFER) | EFER_NXE);
        registers::write_cr0(registers::cr0() & !clear | cr0::MP | cr0::NE | cr0::WP);
        registers::write_cr4(cr4);
        registers::wrmsr(Msr::PAT, PAT);
        if let Some(components) = f.xcr0 {
            registers::xsetbv(components);
        }
    }
}
