//! Doorbells in memory (NVMe 2.0, 5.8: Doorbell Buffer Config), which controllers in software have.
//!
//! To ring a doorbell of such a controller is an exit from the machine. So it is told in memory, and rung for
//! only where it asks for that: it writes at which value it wants to be rung. Whoever is told too little by a
//! controller that asks for the wrong value rings all the same after a tick ([`super::queue::Queue::tick`]).
use super::registers::PAGE_BYTES;
use crate::{DmaMemory, Kernel};
use core::sync::atomic::{AtomicBool, Ordering, fence};
use mm::Hpa;

/// The doorbells of all queues, and the values to ring at.
pub(super) struct Shadow {
    doorbells: DmaMemory,
    events: DmaMemory,
    /// The controller uses them.
    on: AtomicBool,
}

impl Shadow {
    /// `None` where there is no memory.
    pub fn new(kernel: &dyn Kernel) -> Option<Self> {
        let page = || kernel.allocate_dma(PAGE_BYTES as usize, false);
        Some(Self { doorbells: page()?, events: page()?, on: AtomicBool::new(false) })
    }

    /// The two pages, for the controller.
    pub fn addresses(&self) -> (Hpa, Hpa) {
        (self.doorbells.address(), self.events.address())
    }

    /// The controller uses them from now on, or not any more; all doorbells are at 0.
    pub fn turn(&self, on: bool) {
        for at in (0..PAGE_BYTES as usize).step_by(4) {
            self.doorbells.write(at, 0u32);
            self.events.write(at, 0u32);
        }
        self.on.store(on, Ordering::Release);
    }

    /// Tells in memory that the doorbell at `at` (from the first doorbell) goes from `old` to `new`. Whether it
    /// has to be rung, too.
    #[inline]
    pub fn tell(&self, at: u64, old: u16, new: u16) -> bool {
        let at = at as usize;
        if !self.on.load(Ordering::Acquire) || at + 4 > PAGE_BYTES as usize {
            return true;
        }
        self.doorbells.write(at, u32::from(new));
        // The controller says where it wants to be rung, then looks here; so this has to be seen before what
        // it says is read.
        fence(Ordering::SeqCst);
        passes(self.events.read::<u32>(at) as u16, old, new)
    }
}

/// Whether a doorbell passes `event` on its way from `old` to `new`.
#[inline]
pub(super) const fn passes(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
