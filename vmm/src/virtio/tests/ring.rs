//! The driver's side of a ring, in both formats.
use super::rig::Rig;
use crate::memory::GuestMemory;
use crate::virtio::Feature;
use mm::addr::Gpa;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::vec::Vec;

/// Guest-physical address, bytes, written by the device.
pub type Piece = (u64, u32, bool);

fn needs_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// A driver's ring.
pub struct DriverRing {
    memory: Arc<GuestMemory>,
    pub packed: bool,
    event_idx: bool,
    pub indirect: bool,
    pub size: u16,
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    /// Where indirect tables go, one page for each descriptor.
    tables: u64,
    /// Free descriptors, or buffer IDs.
    free: Vec<u16>,
    /// Descriptors that each chain takes.
    chains: BTreeMap<u16, Vec<u16>>,
    /// Entries made available; packed: place in the ring, and the wrap counter.
    next: u16,
    wrap: bool,
    /// Entries seen used.
    last_used: u16,
    used_wrap: bool,
    /// Descriptors that are free in a packed ring.
    room: u16,
}

impl DriverRing {
    pub fn new(rig: &mut Rig, size: u16, features: u64) -> Self {
        let descriptors = rig.allocate(16 * u64::from(size));
        let driver = rig.allocate(6 + 2 * u64::from(size));
        let device = rig.allocate(6 + 8 * u64::from(size));
        for (at, bytes) in [(descriptors, 16), (driver, 4), (device, 8)] {
            rig.memory.zero(Gpa::new(at), bytes * u64::from(size)).unwrap();
        }
        let indirect = features & Feature::INDIRECT_DESC != 0;
        let tables = if indirect { rig.allocate(4096 * u64::from(size)) } else { 0 };
        Self {
            memory: rig.memory.share(),
            packed: features & Feature::RING_PACKED != 0,
            event_idx: features & Feature::EVENT_IDX != 0,
            indirect,
            size,
            descriptors,
            driver,
            device,
            tables,
            free: (0..size).rev().collect(),
            chains: BTreeMap::new(),
            next: 0,
            wrap: true,
            last_used: 0,
            used_wrap: true,
            room: size,
        }
    }

    pub fn areas(&self) -> [u64; 3] {
        [self.descriptors, self.driver, self.device]
    }

    pub fn put(&self, at: u64, bytes: &[u8]) {
        self.memory.write(Gpa::new(at), bytes).unwrap();
    }

    fn get16(&self, at: u64) -> u16 {
        self.memory.read_uint(Gpa::new(at), 2).unwrap() as u16
    }

    /// Writes a descriptor: address, bytes, and two words of 16 bits.
    pub fn descriptor(&self, at: u64, address: u64, bytes: u32, low: u16, high: u16) {
        self.put(at, &address.to_le_bytes());
        self.put(at + 8, &bytes.to_le_bytes());
        self.put(at + 12, &low.to_le_bytes());
        self.put(at + 14, &high.to_le_bytes());
    }

    /// Descriptors that are free.
    pub fn room(&self) -> usize {
        if self.packed { self.room.into() } else { self.free.len() }
    }

    /// Makes a chain available; its ID, and whether the device wants to be notified of it.
    pub fn add(&mut self, pieces: &[Piece]) -> (u16, bool) {
        if self.packed { self.add_packed(pieces) } else { self.add_split(pieces) }
    }

    /// Makes the chain that was made available last available once more, in a split ring.
    pub fn repeat_last(&mut self) {
        let entry = |next: u16, ring: &Self| ring.driver + 4 + 2 * u64::from(next % ring.size);
        let head = self.get16(entry(self.next.wrapping_sub(1), self));
        self.put(entry(self.next, self), &head.to_le_bytes());
        self.next = self.next.wrapping_add(1);
        self.put(self.driver + 2, &self.next.to_le_bytes());
    }

    fn add_split(&mut self, pieces: &[Piece]) -> (u16, bool) {
        let head = *self.free.last().expect("a free descriptor");
        let mut taken = Vec::new();
        if self.indirect {
            taken.push(self.free.pop().unwrap());
            let table = self.tables + 4096 * u64::from(head);
            for (i, &(address, bytes, write)) in pieces.iter().enumerate() {
                let next = u16::from(i + 1 < pieces.len());
                let flags = next | u16::from(write) << 1;
                self.descriptor(table + 16 * i as u64, address, bytes, flags, (i + 1) as u16);
            }
            self.descriptor(self.descriptors + 16 * u64::from(head), table, 16 * pieces.len() as u32, 4, 0);
        } else {
            for (i, &(address, bytes, write)) in pieces.iter().enumerate() {
                let index = self.free.pop().expect("a free descriptor");
                let more = i + 1 < pieces.len();
                let flags = u16::from(more) | u16::from(write) << 1;
                let next = if more { *self.free.last().expect("a free descriptor") } else { 0 };
                self.descriptor(self.descriptors + 16 * u64::from(index), address, bytes, flags, next);
                taken.push(index);
            }
        }
        self.chains.insert(head, taken);
        self.put(self.driver + 4 + 2 * u64::from(self.next % self.size), &head.to_le_bytes());
        let old = self.next;
        self.next = self.next.wrapping_add(1);
        self.put(self.driver + 2, &self.next.to_le_bytes());
        // The device must see it before we see whether it wants to know.
        fence(Ordering::SeqCst);
        let kick = if self.event_idx {
            needs_event(self.get16(self.device + 4 + 8 * u64::from(self.size)), self.next, old)
        } else {
            self.get16(self.device) & 1 == 0
        };
        (head, kick)
    }

    fn add_packed(&mut self, pieces: &[Piece]) -> (u16, bool) {
        let id = self.free.pop().expect("a free ID");
        let list: Vec<(u64, u32, u16)> = if self.indirect {
            let table = self.tables + 4096 * u64::from(id);
            for (i, &(address, bytes, write)) in pieces.iter().enumerate() {
                self.descriptor(table + 16 * i as u64, address, bytes, 0, u16::from(write) << 1);
            }
            [(table, 16 * pieces.len() as u32, 4)].to_vec()
        } else {
            let last = pieces.len() - 1;
            let flags = |i, write| u16::from(i < last) | u16::from(write) << 1;
            pieces.iter().enumerate().map(|(i, &(a, b, write))| (a, b, flags(i, write))).collect()
        };
        assert!(list.len() <= usize::from(self.room), "room in the ring");
        self.room -= list.len() as u16;
        let first = (self.next, self.wrap);
        let old = self.next;
        let mut first_flags = 0;
        for (i, &(address, bytes, flags)) in list.iter().enumerate() {
            let wrap = u16::from(self.wrap) << 7 | u16::from(!self.wrap) << 15;
            let at = self.descriptors + 16 * u64::from(self.next);
            if i == 0 {
                first_flags = flags | wrap;
                // Not available yet.
                self.put(at, &address.to_le_bytes());
                self.put(at + 8, &bytes.to_le_bytes());
                self.put(at + 12, &id.to_le_bytes());
            } else {
                self.descriptor(at, address, bytes, id, flags | wrap);
            }
            self.next += 1;
            if self.next == self.size {
                self.next = 0;
                self.wrap = !self.wrap;
            }
        }
        self.put(self.descriptors + 16 * u64::from(first.0) + 14, &first_flags.to_le_bytes());
        self.chains.insert(id, std::vec![id; list.len()]);
        fence(Ordering::SeqCst);
        let (event, flags) = (self.get16(self.device), self.get16(self.device + 2));
        let kick = match flags {
            0 => true,
            1 => false,
            _ => {
                let mut offset = event & 0x7fff;
                if (event >> 15 != 0) != self.wrap {
                    offset = offset.wrapping_sub(self.size);
                }
                let new = self.next;
                let old = if new < old || (new == old && self.wrap != first.1) {
                    old.wrapping_sub(self.size)
                } else {
                    old
                };
                needs_event(offset, new, old)
            }
        };
        (id, kick)
    }

    /// The next chain that came back: its ID, and the bytes written.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        let found = if self.packed {
            let at = self.descriptors + 16 * u64::from(self.last_used);
            let flags = self.get16(at + 14);
            if (flags >> 7 & 1 != 0) != self.used_wrap || (flags >> 15 != 0) != self.used_wrap {
                return None;
            }
            (self.get16(at + 12), self.memory.read_uint(Gpa::new(at + 8), 4).unwrap() as u32)
        } else {
            if self.get16(self.device + 2) == self.last_used {
                return None;
            }
            let at = self.device + 4 + 8 * u64::from(self.last_used % self.size);
            let id = self.memory.read_uint(Gpa::new(at), 4).unwrap();
            (id as u16, self.memory.read_uint(Gpa::new(at + 4), 4).unwrap() as u32)
        };
        let chain = self.chains.remove(&found.0).expect("a chain that was made available");
        if self.packed {
            self.room += chain.len() as u16;
            self.free.push(found.0);
            self.last_used += chain.len() as u16;
            if self.last_used >= self.size {
                self.last_used -= self.size;
                self.used_wrap = !self.used_wrap;
            }
        } else {
            self.last_used = self.last_used.wrapping_add(1);
            self.free.extend(chain.into_iter().rev());
        }
        Some(found)
    }

    /// No interrupts for what comes back.
    pub fn disable_interrupts(&mut self) {
        if self.packed {
            self.put(self.driver + 2, &1u16.to_le_bytes());
        } else if !self.event_idx {
            self.put(self.driver, &1u16.to_le_bytes());
        }
    }

    /// An interrupt for the next that comes back.
    pub fn enable_interrupts(&mut self) {
        if self.packed {
            let event = self.last_used | u16::from(self.used_wrap) << 15;
            self.put(self.driver, &event.to_le_bytes());
            self.put(self.driver + 2, &(if self.event_idx { 2u16 } else { 0 }).to_le_bytes());
        } else if self.event_idx {
            self.put(self.driver + 4 + 2 * u64::from(self.size), &self.last_used.to_le_bytes());
        } else {
            self.put(self.driver, &0u16.to_le_bytes());
        }
    }
}
