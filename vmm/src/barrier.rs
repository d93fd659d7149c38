//! The indirect branch prediction barrier (APM vol. 2, 3.2.9; SDM vol. 4, IA32_PRED_CMD).
#![allow(unsafe_code)] // WRMSR

/// Drops what the CPU has learned of indirect branches. It must have IBPB.
pub fn forget_predictions() {
    #[cfg(target_os = "none")]
    // SAFETY: PRED_CMD (MSR 49h) exists where the CPU has IBPB, and holds no state.
    unsafe {
        core::arch::asm!("wrmsr", in("ecx") 0x49u32, in("eax") 1u32, in("edx") 0u32,
                         options(nostack, preserves_flags));
    }
}
