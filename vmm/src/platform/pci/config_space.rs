//! A function's configuration space, and the functions that a bus hands accesses to.

/// A PCI function's configuration space, as the bus needs it.
pub trait PciFunction: Send {
    /// Reads `size` (1, 2 or 4) bytes at `offset`, below 4096. Never crosses a 4-byte boundary.
    fn config_read(&mut self, offset: u16, size: u8) -> u32;
    /// Writes likewise.
    fn config_write(&mut self, offset: u16, size: u8, value: u32);
    /// Back to the power-on state, with the addresses that the board's firmware gave it.
    fn reset(&mut self);
}

/// Offsets in a type 0 header, and bits of its registers (PCI 3.0, 6.1 and 6.2).
pub mod header {
    /// Command register.
    pub const COMMAND: u8 = 0x04;
    /// Status register.
    pub const STATUS: u8 = 0x06;
    /// The first of six base address registers.
    pub const BAR0: u8 = 0x10;
    /// Subsystem vendor; the subsystem's ID is behind it.
    pub const SUBSYSTEM: u8 = 0x2c;
    /// Offset of the first capability.
    pub const CAPABILITIES: u8 = 0x34;
    /// Interrupt line: what firmware says of where the pin goes. Nobody else reads it.
    pub const INTERRUPT_LINE: u8 = 0x3c;
    /// Interrupt pin: 1 for INTA#.
    pub const INTERRUPT_PIN: u8 = 0x3d;

    /// Command: decodes its I/O ports.
    pub const IO: u16 = 1 << 0;
    /// Command: decodes its memory.
    pub const MEMORY: u16 = 1 << 1;
    /// Command: may write to memory, message-signalled interrupts among that.
    pub const BUS_MASTER: u16 = 1 << 2;
    /// Command: INTx# stays released.
    pub const INTX_DISABLE: u16 = 1 << 10;
    /// Status: INTx# is asserted, or would be.
    pub const INTX_STATUS: u16 = 1 << 3;
    /// Status: there is a list of capabilities.
    pub const HAS_CAPABILITIES: u16 = 1 << 4;
}

/// 256 bytes of configuration space with a mask of what the guest can write.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    writable: [u8; 256],
}

impl ConfigSpace {
    /// The identification of a type 0 function: vendor, device, class code (24 bits), revision.
    pub fn new(vendor: u16, device: u16, class: u32, revision: u8) -> Self {
        let mut space = Self { bytes: [0; 256], writable: [0; 256] };
        space.set(0x00, &vendor.to_le_bytes());
        space.set(0x02, &device.to_le_bytes());
        space.set(0x08, &(class << 8 | u32::from(revision)).to_le_bytes());
        space
    }

    /// Sets what the guest reads; bytes beyond the space are dropped.
    pub fn set(&mut self, offset: u8, bytes: &[u8]) {
        for (to, from) in self.bytes[usize::from(offset)..].iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// Lets the guest write bits; a mask beyond the space is dropped.
    pub fn allow(&mut self, offset: u8, mask: &[u8]) {
        for (to, from) in self.writable[usize::from(offset)..].iter_mut().zip(mask) {
            *to = *from;
        }
    }

    /// A read. Beyond 256 bytes there is nothing: all ones, by which a kernel knows the space's size.
    pub fn read(&self, offset: u16, size: u8) -> u32 {
        (0..u16::from(size.min(4))).fold(0, |value, i| {
            let byte = self.bytes.get(usize::from(offset) + usize::from(i)).copied().unwrap_or(0xff);
            value | u32::from(byte) << (8 * i)
        })
    }

    /// A write.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) {
        for i in 0..usize::from(size.min(4)) {
            let at = usize::from(offset) + i;
            let (Some(byte), Some(&mask)) = (self.bytes.get_mut(at), self.writable.get(at)) else {
                return;
            };
            *byte = *byte & !mask | (value >> (8 * i)) as u8 & mask;
        }
    }

    /// The command register.
    pub fn command(&self) -> u16 {
        self.read(header::COMMAND.into(), 2) as u16
    }
}

/// A list of capabilities in the making, from the end of the header on (PCI 3.0, 6.7).
pub struct Capabilities {
    next: u8,
    /// Where the offset of the next one is to be written.
    link: u8,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self { next: 0x40, link: header::CAPABILITIES }
    }
}

impl Capabilities {
    /// Adds a capability: its ID, and what follows the pointer to the next one. Its offset.
    ///
    /// # Panics
    /// Where the space is full; what a function has is known when it is written.
    pub fn add(&mut self, space: &mut ConfigSpace, id: u8, body: &[u8]) -> u8 {
        let at = self.next;
        let end = usize::from(at) + 2 + body.len();
        assert!(end <= 256, "capabilities beyond the configuration space");
        space.set(self.link, &[at]);
        space.set(at, &[id, 0]);
        space.set(at + 2, body);
        let status = space.read(header::STATUS.into(), 2) as u16 | header::HAS_CAPABILITIES;
        space.set(header::STATUS, &status.to_le_bytes());
        self.link = at + 1;
        self.next = end.next_multiple_of(4).min(0xfc) as u8;
        at
    }
}
