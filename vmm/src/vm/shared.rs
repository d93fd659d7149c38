//! What the vCPUs of one run of a VM share. A reset makes it anew.
use super::Clock;
use crate::memory::GuestMemory;
use crate::platform::Board;
use crate::platform::apic::ApicFabric;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

/// Memory, devices and interrupt fabric of one VM.
pub struct Shared {
    /// RAM.
    pub memory: GuestMemory,
    /// Devices.
    pub board: Board,
    /// Interrupts between vCPUs and devices.
    pub fabric: Arc<ApicFabric>,
    /// Time-stamp counter.
    pub clock: Clock,
    parking: AtomicBool,
}

impl Shared {
    /// A VM that may run.
    pub fn new(memory: GuestMemory, board: Board, fabric: Arc<ApicFabric>, clock: Clock) -> Self {
        Self { memory, board, fabric, clock, parking: AtomicBool::new(false) }
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
