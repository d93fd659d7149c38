//! What the vCPUs of one run of a VM share. A reset makes it anew.
use super::Clock;
use crate::memory::GuestMemory;
use crate::platform::Board;
use crate::platform::apic::ApicFabric;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Number of the next VM, over the life of the node. 0 is none's.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Memory, devices and interrupt fabric of one VM.
pub struct Shared {
    /// RAM.
    pub memory: Arc<GuestMemory>,
    /// Devices.
    pub board: Board,
    /// Interrupts between vCPUs and devices.
    pub fabric: Arc<ApicFabric>,
    /// Time-stamp counter.
    pub clock: Clock,
    number: u64,
    parking: AtomicBool,
}

impl Shared {
    /// A VM that may run.
    pub fn new(
        memory: impl Into<Arc<GuestMemory>>,
        board: Board,
        fabric: Arc<ApicFabric>,
        clock: Clock,
    ) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Self { memory: memory.into(), board, fabric, clock, number, parking: AtomicBool::new(false) }
    }

    /// Unlike that of any other run of a VM on this node.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Stops all vCPUs: each gives its CPU back with [`crate::vcpu::Leave::Parked`] the next time that it
    /// looks, and is told to look.
    pub fn park(&self) {
        self.parking.store(true, Ordering::SeqCst);
        for vcpu in 0..self.fabric.vcpus() {
            self.fabric.attention(vcpu);
        }
    }

    /// Lets the vCPUs run again. The caller makes them runnable.
    pub fn unpark(&self) {
        self.parking.store(false, Ordering::SeqCst);
    }

    /// Whether the vCPUs are to stop.
    #[inline]
    pub fn parking(&self) -> bool {
        self.parking.load(Ordering::SeqCst)
    }
}
