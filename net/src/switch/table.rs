//! Where addresses were seen last: what the switch has learned, as much as it has room for.
//!
//! Sets of eight entries, of which a keyed hash of MAC address and VLAN chooses one. Where all eight are in use, the port
//! that has most of them loses its oldest: one that floods the table with addresses drives out its own, once it has as
//! many as any other.
use super::PortId;
use super::hash::hash;
use crate::frame::{Mac, VlanId};
use alloc::vec;
use alloc::vec::Vec;

/// Behind what an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A port.
    Port(PortId),
    /// Whichever uplink is active.
    Uplink,
}

/// An address that was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    pub mac: Mac,
    pub vlan: Option<VlanId>,
    pub place: Place,
    /// Seconds since a frame came from it.
    pub age: u32,
}

#[derive(Clone, Copy)]
struct Entry {
    /// MAC address and VLAN.
    key: u64,
    /// The second in which it was seen last.
    seen: u32,
    /// None: not in use.
    place: Option<Place>,
}

const WAYS: usize = 8;
const UNUSED: Entry = Entry { key: 0, seen: 0, place: None };
const SECOND: u64 = 1_000_000_000;

/// Two cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Set([Entry; WAYS]);

const _: () = assert!(size_of::<Set>() == 128);

pub(super) struct Table {
    sets: Vec<Set>,
    seed: [u64; 2],
    /// Seconds until what was not seen is forgotten.
    aging: u32,
}

fn key(mac: Mac, vlan: Option<VlanId>) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    let vlan = vlan.map_or(0, VlanId::number).to_be_bytes();
    u64::from_be_bytes([vlan[0], vlan[1], a, b, c, d, e, f])
}

fn second(now: u64) -> u32 {
    (now / SECOND) as u32
}

impl Table {
    /// Of at least `capacity` entries: the next power of two.
    pub(super) fn new(capacity: usize, aging: u64, seed: [u64; 2]) -> Self {
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        let aging = aging.div_ceil(SECOND).try_into().unwrap_or(u32::MAX);
        Self { sets: vec![Set([UNUSED; WAYS]); sets], seed, aging }
    }

    pub(super) fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    fn set(&self, key: u64) -> usize {
        hash(self.seed, key) as usize & (self.sets.len() - 1)
    }

    fn is_fresh(&self, entry: &Entry, second: u32) -> bool {
        entry.place.is_some() && second.saturating_sub(entry.seen) < self.aging
    }

    /// Behind what the address was seen last.
    pub(super) fn find(&self, now: u64, mac: Mac, vlan: Option<VlanId>) -> Option<Place> {
        let key = key(mac, vlan);
        let entry = self.sets[self.set(key)].0.iter().find(|entry| entry.key == key)?;
        entry.place.filter(|_| self.is_fresh(entry, second(now)))
    }

    /// The address is behind `place`.
    pub(super) fn learn(&mut self, now: u64, mac: Mac, vlan: Option<VlanId>, place: Place) {
        let (key, second) = (key(mac, vlan), second(now));
        let set = self.set(key);
        let entries = &self.sets[set].0;
        let known = entries.iter().position(|entry| entry.key == key);
        let free = || entries.iter().position(|entry| !self.is_fresh(entry, second));
        let way = known.or_else(free).unwrap_or_else(|| victim(entries, place));
        let learned = Entry { key, seen: second, place: Some(place) };
        let entry = &entries[way];
        // Most frames say nothing new: the cache line stays shared.
        if (entry.key, entry.seen, entry.place) != (learned.key, learned.seen, learned.place) {
            self.sets[set].0[way] = learned;
        }
    }

    /// Nothing is behind `place` any more.
    pub(super) fn forget(&mut self, place: Place) {
        for entry in self.sets.iter_mut().flat_map(|set| &mut set.0) {
            if entry.place == Some(place) {
                *entry = UNUSED;
            }
        }
    }

    /// Entry `index` below [`Self::capacity`], if it is in use and not too old.
    pub(super) fn get(&self, now: u64, index: usize) -> Option<Learned> {
        let entry = &self.sets.get(index / WAYS)?.0[index % WAYS];
        let second = second(now);
        let place = entry.place.filter(|_| self.is_fresh(entry, second))?;
        let [v, w, mac @ ..] = entry.key.to_be_bytes();
        let vlan = VlanId::new(u16::from_be_bytes([v, w]));
        Some(Learned { mac: Mac(mac), vlan, place, age: second.saturating_sub(entry.seen) })
    }
}

/// The oldest entry of the place that would have most of them with one more for `newcomer`.
fn victim(entries: &[Entry; WAYS], newcomer: Place) -> usize {
    let of = |place| entries.iter().filter(|entry| entry.place == place).count();
    let more = |place| usize::from(place == Some(newcomer));
    let rank = |entry: &Entry| (of(entry.place) + more(entry.place), u32::MAX - entry.seen);
    (0..WAYS).max_by_key(|&way| rank(&entries[way])).unwrap_or(0)
}
