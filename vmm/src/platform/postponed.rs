//! Devices that have more to do than one exit may take.
//!
//! A device that serves a guest's queue stops after so much work and asks to be called again. The first vCPU does
//! that as it runs the board's timers, so that the host and the guest get their turns between.
use super::apic::ApicFabric;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

/// The slots of those devices.
pub struct Postponed {
    slots: AtomicU32,
    fabric: Arc<ApicFabric>,
}

impl Postponed {
    /// Nobody.
    pub fn new(fabric: Arc<ApicFabric>) -> Self {
        Self { slots: AtomicU32::new(0), fabric }
    }

    /// The device in `slot` is to be called again.
    pub fn add(&self, slot: u8) {
        self.slots.fetch_or(1 << (slot & 31), Ordering::SeqCst);
        self.fabric.attention(0);
    }

    /// Whether there is one.
    #[inline]
    pub fn any(&self) -> bool {
        self.slots.load(Ordering::Relaxed) != 0
    }

    /// All of them, which are to be called now.
    pub fn take(&self) -> impl Iterator<Item = u8> + use<> {
        let slots = if self.any() { self.slots.swap(0, Ordering::SeqCst) } else { 0 };
        (0..32).filter(move |slot| slots & 1 << slot != 0)
    }
}
