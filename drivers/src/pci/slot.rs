//! Slots whose devices come and go while the machine runs (PCI Express Base, 6.7 and 7.5.3.9 to 7.5.3.11).
//!
//! A slot is asked now and then ([`Slot::poll`]); its interrupts are not used: a second's delay is nothing to a
//! hand that plugs, and a driver notices by itself that its device is gone.
use super::{Address, CapabilityId, Config, Found};

/// Offsets in the capability.
const FLAGS: u16 = 0x02;
const SLOT_CAPABILITIES: u16 = 0x14;
const SLOT_CONTROL: u16 = 0x18;
const SLOT_STATUS: u16 = 0x1a;

/// Flags: a slot belongs to the port.
const SLOT_IMPLEMENTED: u16 = 1 << 8;

/// Slot capabilities: the slot's power can be switched.
const POWER_CONTROLLER: u32 = 1 << 1;
/// Slot capabilities: devices may come and go.
const HOT_PLUG: u32 = 1 << 6;

/// Slot control: power indicator on, off.
const INDICATOR: u16 = 3 << 8;
const INDICATOR_ON: u16 = 1 << 8;
const INDICATOR_OFF: u16 = 3 << 8;
/// Slot control: no power.
const POWER_OFF: u16 = 1 << 10;

/// Slot status, cleared by writing ones: somebody pressed the button; something was plugged in or out.
const BUTTON: u16 = 1 << 0;
const PRESENCE_CHANGED: u16 = 1 << 3;
const COMMAND_DONE: u16 = 1 << 4;
/// Slot status: something is in the slot.
const PRESENT: u16 = 1 << 6;

/// A slot.
pub struct Slot {
    port: Config,
    /// Offset of the port's PCI Express capability.
    at: u16,
    /// Where a device appears.
    place: Address,
    has_power_controller: bool,
    /// The slot's registers tell of plugging. Without, only what answers is looked at.
    tells: bool,
    /// What was there when it was looked at last: vendor and device.
    known: Option<(u16, u16)>,
    /// Looks in a row at which it did not answer.
    silent: u8,
    /// The device was let go of: it is not looked at until it was out, or somebody presses the button again.
    released: bool,
}

/// What happened at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// A device has come, and answers.
    Came,
    /// The device is gone.
    Gone,
    /// Somebody wants to take the device out: [`Slot::release`] once its driver has let go.
    Wanted,
}

impl Slot {
    /// The slot of a port, if it has one that devices are plugged into. What is there now is known already.
    pub fn of(port: Config, found: &Found) -> Option<Self> {
        let bridge = found.bridge.as_ref().filter(|b| b.is_port && b.secondary != 0)?;
        let at = port.capability(CapabilityId::EXPRESS)?.offset;
        if port.read16(at + FLAGS) & SLOT_IMPLEMENTED == 0 {
            return None;
        }
        let capabilities = port.read32(at + SLOT_CAPABILITIES);
        let place = Address::new(found.address.segment(), bridge.secondary, 0, 0);
        let mut slot = Self {
            port,
            at,
            place,
            has_power_controller: capabilities & POWER_CONTROLLER != 0,
            tells: capabilities & HOT_PLUG != 0,
            known: None,
            silent: 0,
            released: false,
        };
        slot.known = slot.who();
        slot.acknowledge(slot.status());
        Some(slot)
    }

    /// Where a device appears: function 0 of it.
    pub fn place(&self) -> Address {
        self.place
    }

    /// The port's address.
    pub fn port(&self) -> Address {
        self.port.address()
    }

    fn status(&self) -> u16 {
        let status = self.port.read16(self.at + SLOT_STATUS);
        // A port that is gone itself has nothing in its slot.
        if status == u16::MAX { 0 } else { status }
    }

    fn acknowledge(&self, status: u16) {
        let seen = status & (BUTTON | PRESENCE_CHANGED | COMMAND_DONE);
        if seen != 0 {
            self.port.write16(self.at + SLOT_STATUS, seen);
        }
    }

    /// Who answers in the slot.
    fn who(&self) -> Option<(u16, u16)> {
        let config = self.port.elsewhere(self.place);
        if !config.is_present() {
            return None;
        }
        let id = config.read32(super::register::VENDOR);
        Some((id as u16, (id >> 16) as u16))
    }

    fn set_power(&self, on: bool) {
        let control = self.port.read16(self.at + SLOT_CONTROL) & !(INDICATOR | POWER_OFF);
        let wanted = if on { INDICATOR_ON } else { INDICATOR_OFF | POWER_OFF };
        self.port.write16(self.at + SLOT_CONTROL, control | wanted);
    }

    /// Looks at the slot; what happened since the last look. To be called about once a second.
    pub fn poll(&mut self) -> Option<SlotEvent> {
        let status = self.status();
        self.acknowledge(status);
        let here = self.who();
        if self.known.is_some() {
            // Another device, or one that was out for a moment: it has forgotten all that its driver told it.
            let swapped = here.is_some() && here != self.known;
            let changed = self.tells && status & (PRESENCE_CHANGED | PRESENT) != PRESENT;
            // One look without an answer may be a device in the middle of a reset.
            self.silent = if here.is_none() { self.silent + 1 } else { 0 };
            if swapped || changed || self.silent >= 2 {
                self.known = None;
                self.silent = 0;
                return Some(SlotEvent::Gone);
            }
            return (self.tells && status & BUTTON != 0).then_some(SlotEvent::Wanted);
        }
        if self.released {
            let out =
                if self.tells { status & (PRESENCE_CHANGED | PRESENT) != PRESENT } else { here.is_none() };
            self.released = !out && status & BUTTON == 0;
            return None;
        }
        if here.is_some() {
            self.known = here;
            return Some(SlotEvent::Came);
        }
        if self.tells && self.has_power_controller && status & PRESENT != 0 {
            let control = self.port.read16(self.at + SLOT_CONTROL);
            if control != u16::MAX && control & POWER_OFF != 0 {
                // It answers at one of the next looks.
                self.set_power(true);
            }
        }
        None
    }

    /// The device's driver has let go: the slot loses its power, and the device may be taken out.
    pub fn release(&mut self) {
        self.known = None;
        self.silent = 0;
        self.released = true;
        if self.has_power_controller {
            self.set_power(false);
        }
    }
}
