//! INTx#: the interrupt pin of a function, wired to the IOAPIC.
use crate::platform::controllers::InterruptControllers;
use crate::platform::map;
use alloc::sync::Arc;
use spin::Mutex;

/// A device's INTA#.
pub struct Intx {
    controllers: Arc<Mutex<InterruptControllers>>,
    slot: u8,
}

impl Intx {
    /// For the device in slot `slot` of bus 0.
    pub(in crate::platform) fn new(controllers: Arc<Mutex<InterruptControllers>>, slot: u8) -> Self {
        Self { controllers, slot }
    }

    /// Of a device without a board.
    #[cfg(test)]
    pub fn unwired(fabric: Arc<crate::platform::apic::ApicFabric>) -> Self {
        Self::new(Arc::new(Mutex::new(InterruptControllers::new(fabric))), 1)
    }

    /// Global system interrupt that it is wired to.
    pub fn gsi(&self) -> u8 {
        map::intx_gsi(self.slot, 0)
    }

    /// Brings the pin to the level that `asserted` finds. It is asked under the wire's lock, so that of two CPUs
    /// that do this the later one leaves the level that is right then.
    pub fn update(&self, asserted: impl FnOnce() -> bool) {
        let mut controllers = self.controllers.lock();
        let level = asserted();
        controllers.set_pci(self.gsi(), self.slot, level);
    }
}
