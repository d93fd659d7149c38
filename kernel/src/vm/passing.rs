//! Waiting until every CPU has let go of what it may have of guests' memory.
//!
//! A host address of a guest's memory is held by the hypervisor for no longer than an exit or the poll of a task, and by
//! guests in TLBs ([`vmm::memory::chunks`]). Each CPU passes, in its loop and between turns' exits, places where it is in
//! neither ([`pass`]). Whoever wants to free such memory takes a new number, interrupts all CPUs, and waits until each
//! has been in such a place and seen the number there; when it sees a new one, a CPU also drops its translations.
//!
//! A CPU that has nothing to see pays a load and a comparison for each time round its loop, nothing for an exit.
use super::guest_cpu::GuestCpu;
use crate::cpu::percpu::{self, PerCpu};
use crate::interrupts::{Vector, ipi};
use core::sync::atomic::{AtomicU64, Ordering};
use executor::Signal;

/// The last number that was taken.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A CPU has seen a new number.
static SEEN: Signal = Signal::new();

/// The calling CPU, `cpu`, holds no address of guests' memory and runs no guest.
#[inline]
pub fn pass(cpu: &PerCpu, guest: Option<&mut GuestCpu>) {
    let number = NUMBER.load(Ordering::SeqCst);
    if cpu.passed.load(Ordering::Relaxed) != number {
        see(cpu, guest, number);
    }
}

#[cold]
fn see(cpu: &PerCpu, guest: Option<&mut GuestCpu>, number: u64) {
    if let Some(guest) = guest {
        guest.processor.drop_translations();
    }
    cpu.passed.store(number, Ordering::SeqCst);
    SEEN.raise();
}

/// Waits until every CPU has passed once since the call. One task at a time.
pub async fn all_have_passed() {
    let number = NUMBER.fetch_add(1, Ordering::SeqCst) + 1;
    for cpu in percpu::online() {
        cpu.attention.store(true, Ordering::SeqCst);
    }
    // The calling CPU passes when the task has been polled.
    ipi::send_to_others(Vector::WAKE);
    while percpu::online().any(|cpu| cpu.passed.load(Ordering::SeqCst) < number) {
        SEEN.wait().await;
    }
}
