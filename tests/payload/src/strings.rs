//! String instructions, of devices and of RAM that a case has for itself.
#![allow(unsafe_code)] // Instructions that write to memory.
use bare::memory::is_free;
use core::arch::asm;

/// The registers that they use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    pub rsi: u64,
    pub rdi: u64,
    pub rcx: u64,
    /// What STOS stores and SCAS looks for.
    pub rax: u64,
    /// The port of INS and OUTS.
    pub rdx: u64,
}

impl Strings {
    /// Fails if anything of the program is as near to RDI as RCX elements of 8 bytes, in either direction.
    fn check(&self) {
        let reach = 8 * self.rcx.max(1);
        assert!(is_free(self.rdi.saturating_sub(reach), 2 * reach), "a string onto the program itself");
    }
}

macro_rules! string {
    ($(#[doc = $doc:literal] $name:ident = $($code:literal),+;)*) => {$(
        #[doc = $doc]
        /// The registers afterwards, and the flags.
        pub fn $name(mut registers: Strings) -> (Strings, u64) {
            registers.check();
            let Strings { rsi, rdi, rcx, rax, rdx } = &mut registers;
            let flags;
            // SAFETY: checked. The direction flag is clear before and after it; the stack is put back.
            unsafe {
                asm!(
                    $($code,)+ "pushfq", "pop {flags}", "cld", flags = out(reg) flags,
                    inout("rsi") *rsi, inout("rdi") *rdi, inout("rcx") *rcx, in("rax") *rax, in("rdx") *rdx
                );
            }
            (registers, flags)
        }
    )*};
}

string! {
    /// MOVSB.
    movsb = "movsb";
    /// MOVSQ.
    movsq = "movsq";
    /// REP MOVSB.
    rep_movsb = "rep movsb";
    /// REP MOVSD downwards.
    rep_movsd_down = "std", "rep movsd";
    /// REP STOSB.
    rep_stosb = "rep stosb";
    /// REP STOSW.
    rep_stosw = "rep stosw";
    /// REPE CMPSB.
    repe_cmpsb = "repe cmpsb";
    /// REPNE SCASD.
    repne_scasd = "repne scasd";
    /// REP INSB.
    rep_insb = "rep insb";
    /// REP INSD downwards.
    rep_insd_down = "std", "rep insd";
    /// REP OUTSB.
    rep_outsb = "rep outsb";
}
