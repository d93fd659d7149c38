//! Where a function is.
use core::fmt;

/// Segment group, bus, device, function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    segment: u16,
    bus: u8,
    /// Device in bits 7:3, function in bits 2:0.
    device_function: u8,
}

impl Address {
    /// The function at this place. Of `device` the low five bits count, of `function` the low three.
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Self {
        Self { segment, bus, device_function: (device & 31) << 3 | function & 7 }
    }

    /// Segment group; 0 on all machines but very large ones.
    pub const fn segment(self) -> u16 {
        self.segment
    }

    /// Bus.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// Device, 0 to 31.
    pub const fn device(self) -> u8 {
        self.device_function >> 3
    }

    /// Function, 0 to 7.
    pub const fn function(self) -> u8 {
        self.device_function & 7
    }

    /// Bus, device and function as one number, as configuration mechanisms, requester ids and IOMMUs have it.
    pub const fn routing_id(self) -> u16 {
        (self.bus as u16) << 8 | self.device_function as u16
    }

    /// Another function of the same device.
    pub const fn with_function(self, function: u8) -> Self {
        Self::new(self.segment, self.bus, self.device(), function)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.segment != 0 {
            write!(f, "{:04x}:", self.segment)?;
        }
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device(), self.function())
    }
}
