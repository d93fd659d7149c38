//! Rings alone: hostile ones by name, all small ones, and random ones against a model of a driver.
mod exhaustive;
mod hostile;
mod random;

use super::{Addresses, Available, Broken, Chain, Place, RingFeatures, Used, Virtqueue, packed, split};
use crate::memory::on_heap::HeapMemory;
use crate::platform::Postponed;
use crate::platform::apic::{ApicFabric, Wake};
use crate::platform::pci::{Intx, msix::Msix};
use crate::virtio::{Control, Status};
use mm::addr::Gpa;
use std::sync::Arc;
use std::vec::Vec;

struct NoWake;
impl Wake for NoWake {
    fn wake(&self, _: usize) {}
}

/// A device's state in which queues are served.
fn control() -> Arc<Control> {
    let fabric = Arc::new(ApicFabric::new(1, Box::new(NoWake)));
    let postponed = Arc::new(Postponed::new(fabric.clone()));
    let control = Control::new(Msix::new(fabric.clone(), 2), Intx::unwired(fabric), postponed, 1);
    control.set_command(true, false);
    control.add_status(Status::DRIVER_OK);
    Arc::new(control)
}

/// Where the parts of a ring are in these tests.
const DESCRIPTORS: u64 = 0x1_0000;
const DRIVER: u64 = 0x2_0000;
const DEVICE: u64 = 0x3_0000;
/// RAM for buffers.
const DATA: u64 = 0x4_0000;

/// Split or packed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Format {
    Split,
    Packed,
}

/// A ring in a guest's memory, as its driver's own hands would write it.
struct Raw {
    memory: HeapMemory,
    format: Format,
    size: u16,
}

impl Raw {
    fn new(format: Format, size: u16) -> Self {
        Self { memory: HeapMemory::new(2), format, size }
    }

    fn open(&self, indirect: bool) -> Result<(Available, Used), Broken> {
        let features = RingFeatures { indirect, event_idx: false };
        let memory = self.memory.share();
        let place = Place {
            memory: &memory,
            size: self.size,
            descriptors: DESCRIPTORS,
            driver: DRIVER,
            device: DEVICE,
        };
        Ok(match self.format {
            Format::Split => {
                let (a, u) = split::open(&place, features)?;
                (Available::Split(a), Used::Split(u))
            }
            Format::Packed => {
                let (a, u) = packed::open(&place, features)?;
                (Available::Packed(a), Used::Packed(u))
            }
        })
    }

    fn addresses(&self) -> Addresses {
        Addresses { size: self.size, descriptors: DESCRIPTORS, driver: DRIVER, device: DEVICE }
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write(Gpa::new(at), bytes).unwrap();
    }

    /// A descriptor: `flags` as in both formats; `link` is the next one's number, or the buffer ID.
    fn descriptor(&self, at: u64, address: u64, bytes: u32, flags: u16, link: u16) {
        let (low, high) = if self.format == Format::Split { (flags, link) } else { (link, flags) };
        self.put(at, &address.to_le_bytes());
        self.put(at + 8, &bytes.to_le_bytes());
        self.put(at + 12, &low.to_le_bytes());
        self.put(at + 14, &high.to_le_bytes());
    }

    /// A descriptor of the ring that is available: in a packed one, in its first round.
    fn ring(&self, index: u16, address: u64, bytes: u32, flags: u16, link: u16) {
        let available = if self.format == Format::Packed { 1 << 7 } else { 0 };
        self.descriptor(DESCRIPTORS + 16 * u64::from(index), address, bytes, flags | available, link);
    }

    /// In a split ring: makes heads available.
    fn heads(&self, heads: &[u16]) {
        if self.format == Format::Split {
            for (i, head) in heads.iter().enumerate() {
                self.put(DRIVER + 4 + 2 * (i as u64 % u64::from(self.size)), &head.to_le_bytes());
            }
            self.put(DRIVER + 2, &(heads.len() as u16).to_le_bytes());
        }
    }

    fn chain(&self, segments: usize) -> Chain {
        Chain::new(&self.memory.share(), segments)
    }
}

impl Available {
    fn pop(&mut self, memory: &HeapMemory, chain: &mut Chain) -> Result<bool, Broken> {
        match self {
            Self::Split(ring) => ring.pop(memory, chain),
            Self::Packed(ring) => ring.pop(memory, chain),
        }
    }
}

/// The lengths of a chain's segments.
fn lengths(chain: &Chain) -> (Vec<u32>, Vec<u32>) {
    let of = |list: &crate::memory::Scatter| list.segments().iter().map(|s| s.bytes).collect();
    (of(&chain.readable), of(&chain.writable))
}
