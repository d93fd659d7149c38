//! A fake bus: functions with configuration spaces whose registers behave as the tests say.
use crate::pci::{Address, BusRange, Config, ConfigSpace};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

/// A function: its space, which bits of it can be written, and which are cleared by writing ones.
#[derive(Clone)]
pub struct FakeFunction {
    pub bytes: [u8; 256],
    pub writable: [u8; 256],
    pub cleared: [u8; 256],
}

impl FakeFunction {
    /// An endpoint of this vendor, device and class.
    pub fn new(vendor: u16, device: u16, class: u32) -> Self {
        let mut function = Self { bytes: [0; 256], writable: [0; 256], cleared: [0; 256] };
        function.put16(0, vendor).put16(2, device).put32(8, class << 8);
        function.writable[4] = 0x47;
        function.writable[5] = 0x05;
        function
    }

    /// A bridge from its bus to others.
    pub fn bridge(secondary: u8, subordinate: u8) -> Self {
        let mut function = Self::new(0x8086, 0x244e, 0x060400);
        function.bytes[0x0e] = 1;
        function.bytes[0x19] = secondary;
        function.bytes[0x1a] = subordinate;
        function
    }

    /// A root port with a slot whose devices come and go. Its windows: 1 MiB at C010_0000h, and 16 MiB at
    /// 80_0000_0000h.
    pub fn port(secondary: u8) -> Self {
        let mut function = Self::bridge(secondary, secondary);
        function.capability(0x40, 0x10, 0);
        function.put16(0x42, 0x0142).put32(0x54, 1 << 6 | 1 << 1 | 1);
        function.writable[0x58] = 0xff;
        function.writable[0x59] = 0xff;
        function.cleared[0x5a] = 0x1f;
        function.put16(0x20, 0xc010).put16(0x22, 0xc010);
        function.put16(0x24, 0x0001).put16(0x26, 0x00f1).put32(0x28, 0x80).put32(0x2c, 0x80);
        function
    }

    pub fn put16(&mut self, at: usize, value: u16) -> &mut Self {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        self
    }

    pub fn put32(&mut self, at: usize, value: u32) -> &mut Self {
        self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    pub fn get16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub fn get32(&self, at: usize) -> u32 {
        u32::from(self.get16(at)) | u32::from(self.get16(at + 2)) << 16
    }

    /// Puts a capability at `at`, the next one at `next`; the first one put is the first of the list.
    pub fn capability(&mut self, at: u8, id: u8, next: u8) -> &mut Self {
        if self.bytes[0x34] == 0 {
            self.bytes[0x34] = at;
            self.bytes[6] |= 0x10;
        }
        self.bytes[usize::from(at)] = id;
        self.bytes[usize::from(at) + 1] = next;
        self
    }

    /// A memory BAR of `bytes` at `address`.
    pub fn memory_bar(
        &mut self,
        index: usize,
        address: u64,
        bytes: u64,
        wide: bool,
        prefetchable: bool,
    ) -> &mut Self {
        let at = 0x10 + 4 * index;
        let mask = !(bytes - 1);
        self.put32(at, address as u32 | u32::from(wide) << 2 | u32::from(prefetchable) << 3);
        self.writable[at..at + 4].copy_from_slice(&(mask as u32).to_le_bytes());
        if wide {
            self.put32(at + 4, (address >> 32) as u32);
            self.writable[at + 4..at + 8].copy_from_slice(&((mask >> 32) as u32).to_le_bytes());
        }
        self
    }
}

/// Looks at a function before a write to an offset.
pub type Watch = fn(&FakeFunction, u16);

/// All functions, by address.
#[derive(Default)]
pub struct FakeBus {
    pub functions: Mutex<BTreeMap<Address, FakeFunction>>,
    pub ranges: Vec<BusRange>,
    /// Called before each write.
    pub watch: Mutex<Option<Watch>>,
}

impl FakeBus {
    /// Buses 0 to `last`, empty.
    pub fn new(last: u8) -> Self {
        Self { ranges: Vec::from([BusRange { segment: 0, first: 0, last }]), ..Self::default() }
    }

    /// The same with functions: bus, device, function, and what is there.
    pub fn with<const N: usize>(last: u8, functions: [(u8, u8, u8, FakeFunction); N]) -> Arc<Self> {
        let bus = Self::new(last);
        for (b, d, f, function) in functions {
            bus.functions.lock().insert(Address::new(0, b, d, f), function);
        }
        Arc::new(bus)
    }

    pub fn change<R>(&self, at: Address, change: impl FnOnce(&mut FakeFunction) -> R) -> R {
        change(self.functions.lock().get_mut(&at).expect("the test put it there"))
    }

    fn write(&self, at: Address, offset: u16, bytes: &[u8]) {
        assert!(usize::from(offset) + bytes.len() <= 256 && usize::from(offset).is_multiple_of(bytes.len()));
        let mut functions = self.functions.lock();
        let Some(function) = functions.get_mut(&at) else { return };
        if let Some(watch) = *self.watch.lock() {
            watch(function, offset);
        }
        for (i, byte) in bytes.iter().enumerate() {
            let i = usize::from(offset) + i;
            let writable = function.writable[i];
            function.bytes[i] =
                (function.bytes[i] & !writable | byte & writable) & !(byte & function.cleared[i]);
        }
    }
}

impl ConfigSpace for FakeBus {
    fn ranges(&self) -> Vec<BusRange> {
        self.ranges.clone()
    }

    fn bytes(&self) -> u16 {
        256
    }

    fn read32(&self, at: Address, offset: u16) -> u32 {
        assert!(offset <= 252 && offset.is_multiple_of(4));
        self.functions.lock().get(&at).map_or(u32::MAX, |f| f.get32(offset.into()))
    }

    fn write8(&self, at: Address, offset: u16, value: u8) {
        self.write(at, offset, &[value]);
    }

    fn write16(&self, at: Address, offset: u16, value: u16) {
        self.write(at, offset, &value.to_le_bytes());
    }

    fn write32(&self, at: Address, offset: u16, value: u32) {
        self.write(at, offset, &value.to_le_bytes());
    }
}

/// The configuration space of a function on the bus.
pub fn config(bus: &Arc<FakeBus>, b: u8, d: u8, f: u8) -> Config {
    Config::new(bus.clone(), Address::new(0, b, d, f))
}
