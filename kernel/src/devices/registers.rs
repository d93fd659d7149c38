//! Windows on device registers.
#![allow(unsafe_code)] // volatile accesses to mapped registers

use crate::memory;
use crate::sync::IrqLock;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::sync::atomic::{Ordering, compiler_fence};
use drivers::Registers;
use mm::addr::{Hpa, Hva};

/// The local APICs and I/O APICs, and where messages are written: no device's registers.
const INTERRUPTS: core::ops::Range<u64> = 0xfec0_0000..0xff00_0000;

/// What was mapped once stays mapped, so a device that comes again finds its window here.
static MAPPED: IrqLock<BTreeMap<(Hpa, u64), Hva>> = IrqLock::new(BTreeMap::new());

/// Maps `bytes` of registers at `address`. `None` where memory or an interrupt controller is there, or no room is
/// left.
pub fn map(address: Hpa, bytes: u64) -> Option<Box<dyn Registers>> {
    let end = address.checked_add(bytes)?.get();
    let of_interrupts = address.get() < INTERRUPTS.end && INTERRUPTS.start < end;
    if bytes == 0 || of_interrupts || memory::is_ram(address, bytes) {
        return None;
    }
    let known = MAPPED.lock().get(&(address, bytes)).copied();
    let at = match known {
        Some(at) => at,
        None => {
            let at = memory::map_device(address, bytes).ok()?;
            MAPPED.lock().insert((address, bytes), at);
            at
        }
    };
    Some(Box::new(Window { at, bytes }))
}

struct Window {
    at: Hva,
    bytes: u64,
}

impl Window {
    /// Where an access of `T` at `offset` goes, if it is within the window and aligned.
    #[inline]
    fn place<T>(&self, offset: u64) -> Option<*mut T> {
        let width = size_of::<T>() as u64;
        let inside = offset < self.bytes && self.bytes - offset >= width && offset.is_multiple_of(width);
        inside.then(|| (self.at + offset).as_mut_ptr())
    }

    #[inline]
    fn read<T: Copy>(&self, offset: u64, absent: T) -> T {
        // SAFETY: within the window, which stays mapped for good; registers are integers.
        self.place::<T>(offset).map_or(absent, |place| unsafe { place.read_volatile() })
    }

    #[inline]
    fn write<T>(&self, offset: u64, value: T) {
        if let Some(place) = self.place::<T>(offset) {
            // The CPU keeps stores to memory before those to uncached registers (SDM vol. 3A, 9.2.2); the compiler
            // must as well.
            compiler_fence(Ordering::SeqCst);
            // SAFETY: as in `read`. What the device does on it is its driver's business.
            unsafe { place.write_volatile(value) };
        }
    }
}

impl Registers for Window {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn read8(&self, offset: u64) -> u8 {
        self.read(offset, u8::MAX)
    }

    fn read16(&self, offset: u64) -> u16 {
        self.read(offset, u16::MAX)
    }

    fn read32(&self, offset: u64) -> u32 {
        self.read(offset, u32::MAX)
    }

    fn read64(&self, offset: u64) -> u64 {
        self.read(offset, u64::MAX)
    }

    fn write8(&self, offset: u64, value: u8) {
        self.write(offset, value);
    }

    fn write16(&self, offset: u64, value: u16) {
        self.write(offset, value);
    }

    fn write32(&self, offset: u64, value: u32) {
        self.write(offset, value);
    }

    fn write64(&self, offset: u64, value: u64) {
        self.write(offset, value);
    }
}
