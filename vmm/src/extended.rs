//! Extended processor state: x87, SSE, AVX and what XSAVE knows, with the registers beside it that the
//! virtualization hardware does not switch (debug addresses, TSC_AUX, XCR0).
//!
//! The hypervisor is built without floating-point and vector instructions, so a guest's extended state
//! stays in the CPU across exits. It moves only when a CPU goes on to another vCPU.
#![allow(unsafe_code)] // XSAVE, XSETBV and vector registers are instructions.

use alloc::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use core::ptr::NonNull;

/// How a CPU saves extended state; the same on all CPUs of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SaveFormat {
    /// States that XCR0 enables for guests; 0 if the CPU has no XSAVE and FXSAVE is used.
    pub xcr0: u64,
    /// Bytes of the save area for these.
    pub bytes: u32,
    /// Whether TSC_AUX exists (RDTSCP).
    pub tsc_aux: bool,
    /// Whether x87's last instruction and operand are always saved and restored (CPUID Fn8000_0008_EBX bit
    /// 2). Older CPUs of AMD leave another guest's there unless an exception is pending.
    pub x87_pointers: bool,
}

impl SaveFormat {
    /// Bytes of the FXSAVE area.
    pub const FXSAVE_BYTES: u32 = 512;
}

/// One vCPU's extended state while it is not in a CPU.
pub struct ExtendedState {
    format: SaveFormat,
    area: NonNull<u8>,
    /// XCR0 as the guest set it.
    xcr0: u64,
    /// DR0 to DR3.
    #[cfg_attr(not(target_os = "none"), allow(dead_code))]
    debug_addresses: [u64; 4],
}

// SAFETY: the area is owned by the value.
unsafe impl Send for ExtendedState {}

fn layout(format: SaveFormat) -> Layout {
    let bytes = format.bytes.max(576) as usize;
    Layout::from_size_align(bytes, 64).expect("a save area has a few KiB")
}

impl ExtendedState {
    /// The state after a reset.
    pub fn new(format: SaveFormat) -> Self {
        let layout = layout(format);
        // SAFETY: the size is not 0.
        let area =
            NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        let mut state = Self { format, area, xcr0: 1, debug_addresses: [0; 4] };
        state.reset();
        state
    }

    /// Back to the state after a reset (APM vol. 2, 14.1.3).
    pub fn reset(&mut self) {
        // SAFETY: the area has at least 576 bytes: the legacy region and the XSAVE header.
        unsafe {
            self.area.as_ptr().write_bytes(0, layout(self.format).size());
            // FCW and MXCSR; XSTATE_BV stays 0, so XRSTOR initializes everything but MXCSR.
            self.area.cast::<u16>().write(0x037f);
            self.area.cast::<u32>().add(6).write(0x1f80);
        }
        self.xcr0 = 1;
        self.debug_addresses = [0; 4];
    }

    /// What INIT does to the state of the vCPU, which is in this CPU now: DR0 to DR3 become 0, all else
    /// stays.
    pub fn clear_debug_addresses(&mut self) {
        self.debug_addresses = [0; 4];
        #[cfg(target_os = "none")]
        instructions::set_debug_addresses([0; 4]);
    }

    /// Sets TSC_AUX (MSR C000_0103h), which RDTSCP and RDPID show to the guest that is in this CPU.
    pub fn set_tsc_aux(&self, value: u64) {
        #[cfg(target_os = "none")]
        if self.format.tsc_aux {
            instructions::set_tsc_aux(value);
        }
        #[cfg(not(target_os = "none"))]
        let _ = value;
    }

    /// XCR0 as the guest reads it, whose state is in this CPU now. Asked of the CPU itself, because not
    /// every one that claims to intercept XSETBV does (QEMU's emulation of AMD-V does not).
    pub fn xcr0(&self) -> u64 {
        #[cfg(target_os = "none")]
        if self.format.xcr0 != 0 {
            return instructions::xcr0();
        }
        self.xcr0
    }

    /// Sets XCR0 for the guest whose state is in this CPU now (APM vol. 2, 11.5.2: XSETBV).
    ///
    /// # Errors
    /// The value is one that raises #GP.
    pub fn set_xcr0(&mut self, value: u64) -> Result<(), InvalidXcr0> {
        const X87: u64 = 1 << 0;
        const SSE: u64 = 1 << 1;
        const AVX: u64 = 1 << 2;
        const AVX512: u64 = 7 << 5;
        let has = |bits| value & bits == bits;
        let valid = self.format.xcr0 != 0
            && value & !self.format.xcr0 == 0
            && has(X87)
            && (value & AVX == 0 || has(SSE))
            && (value & AVX512 == 0 || has(AVX512 | AVX));
        if !valid {
            return Err(InvalidXcr0);
        }
        self.xcr0 = value;
        #[cfg(target_os = "none")]
        instructions::set_xcr0(value);
        Ok(())
    }
}

/// XSETBV with a value that no CPU accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidXcr0;

#[cfg(target_os = "none")]
impl ExtendedState {
    /// Copies the state out of this CPU. It also stays in the CPU until another's is loaded.
    ///
    /// # Safety
    /// This vCPU's state is in this CPU.
    pub unsafe fn save(&mut self) {
        if self.format.xcr0 == 0 {
            // SAFETY: 512 bytes, 64-byte aligned.
            unsafe { instructions::fxsave(self.area.as_ptr()) };
        } else {
            self.xcr0 = instructions::xcr0() & self.format.xcr0;
            if self.xcr0 != self.format.xcr0 {
                // States that the guest has switched off keep their values and must be saved, too.
                instructions::set_xcr0(self.format.xcr0);
            }
            // SAFETY: the area has the size that CPUID gives for this XCR0, 64-byte aligned.
            unsafe { instructions::xsave(self.area.as_ptr(), self.format.xcr0) };
            if self.xcr0 != self.format.xcr0 {
                // The vCPU may go on here without a load.
                instructions::set_xcr0(self.xcr0);
            }
        }
        self.debug_addresses = instructions::debug_addresses();
    }

    /// Puts the state into this CPU, with TSC_AUX.
    ///
    /// # Safety
    /// No other vCPU's state is in this CPU that has not been saved.
    pub unsafe fn load(&mut self, tsc_aux: u64) {
        if !self.format.x87_pointers {
            instructions::forget_x87_pointers();
        }
        if self.format.xcr0 == 0 {
            // SAFETY: written by `save` or `reset`.
            unsafe { instructions::fxrstor(self.area.as_ptr()) };
        } else {
            instructions::set_xcr0(self.format.xcr0);
            // SAFETY: written by `save` or `reset`, so the header is valid.
            unsafe { instructions::xrstor(self.area.as_ptr(), self.format.xcr0) };
            if self.xcr0 != self.format.xcr0 {
                instructions::set_xcr0(self.xcr0);
            }
        }
        instructions::set_debug_addresses(self.debug_addresses);
        self.set_tsc_aux(tsc_aux);
    }
}

impl Drop for ExtendedState {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout.
        unsafe { dealloc(self.area.as_ptr(), layout(self.format)) }
    }
}

#[cfg(target_os = "none")]
mod instructions {
    use core::arch::asm;

    pub fn xcr0() -> u64 {
        let (low, high): (u32, u32);
        // SAFETY: reads XCR0, on a CPU that has OSXSAVE set.
        unsafe {
            asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
        }
        u64::from(high) << 32 | u64::from(low)
    }

    pub fn set_xcr0(value: u64) {
        // SAFETY: the callers pass values that were checked against what the CPU supports, on a CPU
        // that has OSXSAVE set.
        unsafe {
            asm!("xsetbv", in("ecx") 0, in("eax") value as u32, in("edx") (value >> 32) as u32,
                 options(nomem, nostack, preserves_flags));
        }
    }

    /// # Safety
    /// `area` has the size that CPUID gives for `mask`, 64-byte aligned.
    pub unsafe fn xsave(area: *mut u8, mask: u64) {
        // SAFETY: the caller's.
        unsafe {
            asm!("xsave64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                 options(nostack, preserves_flags));
        }
    }

    /// # Safety
    /// `area` was written by XSAVE, or is zero but for FCW and MXCSR.
    pub unsafe fn xrstor(area: *const u8, mask: u64) {
        // SAFETY: the caller's; the compiler keeps nothing in vector registers on this target.
        unsafe {
            asm!("xrstor64 [{}]", in(reg) area, in("eax") mask as u32, in("edx") (mask >> 32) as u32,
                 options(nostack, preserves_flags));
        }
    }

    /// # Safety
    /// `area` is 512 bytes, 16-byte aligned.
    pub unsafe fn fxsave(area: *mut u8) {
        // SAFETY: the caller's.
        unsafe { asm!("fxsave64 [{}]", in(reg) area, options(nostack, preserves_flags)) }
    }

    /// # Safety
    /// `area` was written by FXSAVE, or is zero but for FCW and MXCSR.
    pub unsafe fn fxrstor(area: *const u8) {
        // SAFETY: the caller's; the compiler keeps nothing in vector registers on this target.
        unsafe { asm!("fxrstor64 [{}]", in(reg) area, options(nostack, preserves_flags)) }
    }

    /// Makes the last x87 instruction and its operand those of the hypervisor: they are no secret.
    pub fn forget_x87_pointers() {
        let zero = 0u32;
        // SAFETY: the x87 state that this changes is loaded next. Pending exceptions are dropped first, so
        // that none is raised; a load of an integer raises none.
        unsafe {
            asm!("fnclex", "emms", "fild dword ptr [{}]", in(reg) &raw const zero,
                 options(nostack, preserves_flags, readonly));
        }
    }

    /// The CPU has RDTSCP.
    pub fn set_tsc_aux(value: u64) {
        // SAFETY: the register exists; the host does not use it; bits 63:32 are reserved and 0.
        unsafe {
            asm!("wrmsr", in("ecx") 0xc000_0103u32, in("eax") value as u32, in("edx") 0u32,
                 options(nomem, nostack, preserves_flags));
        }
    }

    pub fn debug_addresses() -> [u64; 4] {
        let (d0, d1, d2, d3);
        // SAFETY: reads registers that have no effect on the host, which arms no breakpoint.
        unsafe {
            asm!("mov {}, dr0", "mov {}, dr1", "mov {}, dr2", "mov {}, dr3",
                 out(reg) d0, out(reg) d1, out(reg) d2, out(reg) d3, options(nomem, nostack, preserves_flags));
        }
        [d0, d1, d2, d3]
    }

    pub fn set_debug_addresses([d0, d1, d2, d3]: [u64; 4]) {
        // SAFETY: DR7, which would arm them, is the guest's own and off while the host runs.
        unsafe {
            asm!("mov dr0, {}", "mov dr1, {}", "mov dr2, {}", "mov dr3, {}",
                 in(reg) d0, in(reg) d1, in(reg) d2, in(reg) d3, options(nomem, nostack, preserves_flags));
        }
    }
}

macro_rules! xmm_access {
    ($register:expr, $value:expr, $($number:literal)*) => {
        match $register & 15 {
            $($number => {
                // SAFETY: `$value` is 16 bytes; MOVUPS has no alignment demand.
                unsafe {
                    core::arch::asm!(concat!("movups [{}], xmm", $number), in(reg) $value,
                                     options(nostack, preserves_flags));
                }
            })*
            _ => {}
        }
    };
}

/// A vector register of the guest whose state is in this CPU.
pub fn read_xmm(register: u8) -> u128 {
    let mut value = 0u128;
    xmm_access!(register, &raw mut value, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    value
}

#[cfg(target_os = "none")]
macro_rules! xmm_load {
    ($register:expr, $value:expr, $($number:literal)*) => {
        match $register & 15 {
            $($number => {
                // SAFETY: `$value` is 16 bytes. The compiler uses no vector register on this target, so
                // the register is the guest's alone.
                unsafe {
                    core::arch::asm!(concat!("movups xmm", $number, ", [{}]"), in(reg) $value,
                                     options(nostack, preserves_flags, readonly));
                }
            })*
            _ => {}
        }
    };
}

#[cfg(target_os = "none")]
macro_rules! xmm_clear_above {
    ($register:expr, $($number:literal)*) => {
        match $register & 15 {
            $($number => {
                // SAFETY: as above; a VEX-encoded move to itself keeps the low part.
                unsafe {
                    core::arch::asm!(concat!("vmovups xmm", $number, ", xmm", $number),
                                     options(nomem, nostack, preserves_flags));
                }
            })*
            _ => {}
        }
    };
}

/// Replaces the low 128 bits of a vector register of the guest whose state is in this CPU.
pub fn write_xmm(register: u8, value: u128) {
    #[cfg(target_os = "none")]
    xmm_load!(register, &raw const value, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    // On the host the registers are the compiler's.
    #[cfg(not(target_os = "none"))]
    let _ = (register, value);
}

/// Clears a vector register above its low 128 bits, as an instruction with a VEX prefix does. The guest
/// whose state is in this CPU has just executed such an instruction, so the CPU and XCR0 have AVX.
pub fn clear_above_xmm(register: u8) {
    #[cfg(target_os = "none")]
    xmm_clear_above!(register, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    // On the host the registers are the compiler's.
    #[cfg(not(target_os = "none"))]
    let _ = register;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_that_depend_on_nothing_missing_can_be_enabled() {
        let format = SaveFormat { xcr0: 0xe7, bytes: 2696, tsc_aux: true, x87_pointers: true };
        let mut state = ExtendedState::new(format);
        assert_eq!(state.xcr0(), 1);
        for good in [1, 3, 7, 0xe7] {
            assert_eq!(state.set_xcr0(good), Ok(()));
            assert_eq!(state.xcr0(), good);
        }
        for bad in [0, 2, 5, 0x27, 0xe3, 1 << 9 | 7, u64::MAX] {
            assert_eq!(state.set_xcr0(bad), Err(InvalidXcr0), "{bad:#x}");
        }
        assert_eq!(state.xcr0(), 0xe7, "a refused value changes nothing");
    }
}
