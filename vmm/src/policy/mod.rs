//! What a guest sees of the CPU: CPUID and the model-specific registers, each as one table, and the
//! paravirtual interface, which is KVM's, because Linux and the BSDs know it.
//!
//! # How data flows
//!
//! ```text
//!  host's CPUID ──┐
//!  VM's facts ────┴► CpuidTable::new ──► rows, once per vCPU ──► CpuidTable::get at each CPUID exit
//!
//!  RDMSR, WRMSR ──► MsrStore ──┬► a value that is kept here
//!                              ├► MsrRead::Owner, MsrWrite::Owner: the caller asks local APIC, clock, back end
//!                              └► Gp
//! ```
//!
//! - [`cpuid`]: leaf by leaf, what is passed through, what is set, what is computed.
//! - [`msr`]: register by register, what a read and a write do.
//! - [`paravirtual`]: the feature bits and register numbers of the paravirtual interface.
//! - [`pvclock`]: the paravirtual clock's pages.
//! - [`hypercall`]: what the guest asked for.
//!
//! # What it promises
//!
//! What is in no table does not exist: an unknown CPUID leaf reads as zero, an unknown register raises #GP,
//! as on a CPU that hasn't got it. CPUID shows a feature only if the registers that belong to it are in the
//! table of the MSRs, or the feature has none. No input panics.
//!
//! # Why a guest boots fast with it
//!
//! An unmodified Linux spends most of its boot time in a slow hypervisor on waiting for clocks. What is
//! shown here spares it each wait:
//!
//! | what a guest is shown | what it then does not do |
//! |---|---|
//! | `CLOCKSOURCE2` | measure the time-stamp counter against PIT, HPET or PM timer (10 to 50 ms each) |
//! | `CLOCKSOURCE_STABLE` | compare the clocks of its CPUs under a lock on each reading; the vDSO may read the clock |
//! | invariant TSC | watch the counter against another clock; it becomes the clock source at once |
//! | `TSC_DEADLINE` | calibrate the local APIC's timer; one register write, not three, sets a timer |
//! | `TSC_ADJUST` | compare the counters of a new CPU for 20 ms, it takes 2 ms |
//! | `NOP_IO_DELAY` | write to port 0x80, an exit, after each access to the 8259 and the RTC |
//! | ARAT | keep the PIT as a broadcast timer for idle CPUs |
//! | the KVM signature | test whether the timer's interrupt arrives through the IOAPIC; refuse x2APIC |
//! | leaf 0x40000010 | (FreeBSD and others) measure the frequencies of counter and local APIC |
pub mod cpuid;
pub mod hypercall;
pub mod msr;
#[cfg(test)]
pub(crate) mod noise;
pub mod paravirtual;
pub mod pvclock;
