//! Who is on the buses.
use super::register::*;
use super::{Address, Bridge, BusRange, Class, Config, ConfigSpace};
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// Most functions that are taken note of. Real machines have some hundreds.
const MOST_FUNCTIONS: usize = 4096;

/// A function that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub address: Address,
    /// The maker's id.
    pub vendor: u16,
    /// The maker's id of the model.
    pub device: u16,
    /// Vendor and device id of the board, 0 for bridges.
    pub subsystem: (u16, u16),
    /// What it is.
    pub class: Class,
    /// Revision.
    pub revision: u8,
    /// What is behind it, if it is a bridge.
    pub bridge: Option<Bridge>,
    /// The bridges on the way to it, the nearest last.
    pub path: Vec<Address>,
}

impl Found {
    /// What is at `config`, if anything is.
    pub fn read(config: &Config, path: Vec<Address>) -> Option<Self> {
        if !config.is_present() {
            return None;
        }
        let class = config.read32(CLASS);
        let is_bridge = config.read8(HEADER_TYPE) & !MULTI_FUNCTION == BRIDGE;
        let subsystem = if is_bridge { 0 } else { config.read32(SUBSYSTEM) };
        Some(Self {
            address: config.address(),
            vendor: config.read16(VENDOR),
            device: config.read16(DEVICE),
            subsystem: (subsystem as u16, (subsystem >> 16) as u16),
            class: Class(class >> 8),
            revision: class as u8,
            bridge: is_bridge.then(|| Bridge::read(config)),
            path,
        })
    }
}

/// A bus that is to be looked at.
struct Bus {
    segment: u16,
    number: u8,
    /// Behind a port: device 0 alone. (Some ports answer for all 32 numbers with the one that there is.)
    only_first: bool,
    path: Vec<Address>,
}

/// Looks for functions: from the first bus of each range down through its bridges, then on buses that no bridge
/// leads to, which belong to further host bridges.
///
/// Each [`Scan::next`] looks at one device number (a few accesses), so that a task can let others run in between.
pub struct Scan {
    space: Arc<dyn ConfigSpace>,
    ranges: Vec<BusRange>,
    buses: VecDeque<Bus>,
    device: u8,
    /// Buses that are or were on the list.
    known: BTreeSet<(u16, u8)>,
    /// Buses behind some bridge, whether there is anything on them or not: no host bridge begins there.
    behind: BTreeSet<(u16, u8)>,
    /// Buses on which another host bridge might begin.
    peers: VecDeque<(u16, u8)>,
    ready: VecDeque<Found>,
    count: usize,
}

/// What a step of a scan came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A function is there.
    Found(Found),
    /// Nothing is there; go on.
    Nothing,
    /// All was looked at.
    Done,
}

impl Scan {
    /// Begins to look.
    pub fn new(space: Arc<dyn ConfigSpace>) -> Self {
        let ranges = space.ranges();
        let mut scan = Self {
            space,
            ranges: ranges.clone(),
            buses: VecDeque::new(),
            device: 0,
            known: BTreeSet::new(),
            behind: BTreeSet::new(),
            peers: VecDeque::new(),
            ready: VecDeque::new(),
            count: 0,
        };
        for range in ranges {
            scan.add_root(range.segment, range.first);
            scan.peers.extend((range.first..=range.last).map(|bus| (range.segment, bus)));
        }
        scan
    }

    fn add_root(&mut self, segment: u16, number: u8) {
        if self.known.insert((segment, number)) {
            self.buses.push_back(Bus { segment, number, only_first: false, path: Vec::new() });
        }
    }

    /// Takes a step.
    pub fn step(&mut self) -> Step {
        if let Some(found) = self.ready.pop_front() {
            return Step::Found(found);
        }
        let Some(bus) = self.buses.front() else {
            let Some((segment, bus)) = self.peers.pop_front() else { return Step::Done };
            if !self.behind.contains(&(segment, bus)) {
                self.add_root(segment, bus);
            }
            return Step::Nothing;
        };
        let first = Address::new(bus.segment, bus.number, self.device, 0);
        let (path, last) = (bus.path.clone(), if bus.only_first { 0 } else { 31 });
        if self.device >= last {
            self.buses.pop_front();
            self.device = 0;
        } else {
            self.device += 1;
        }
        self.look_at(first, &path);
        self.ready.pop_front().map_or(Step::Nothing, Step::Found)
    }

    /// Everything there is, in one go.
    pub fn all(mut self) -> Vec<Found> {
        let mut all = Vec::new();
        loop {
            match self.step() {
                Step::Found(found) => all.push(found),
                Step::Nothing => {}
                Step::Done => return all,
            }
        }
    }

    /// Looks at the functions of a device.
    fn look_at(&mut self, first: Address, path: &[Address]) {
        for function in 0..8 {
            let config = Config::new(self.space.clone(), first.with_function(function));
            let Some(found) = Found::read(&config, path.to_vec()) else {
                if function == 0 {
                    return;
                }
                continue;
            };
            self.note(found);
            if function == 0 && config.read8(HEADER_TYPE) & MULTI_FUNCTION == 0 {
                return;
            }
        }
    }

    fn note(&mut self, found: Found) {
        if self.count == MOST_FUNCTIONS {
            log::warn!(
                "pci: more than {MOST_FUNCTIONS} functions: {} and later ones are left out",
                found.address
            );
            self.count += 1;
            self.buses.clear();
            self.peers.clear();
        }
        if self.count > MOST_FUNCTIONS {
            return;
        }
        self.count += 1;
        if let Some(bridge) = &found.bridge {
            self.follow(&found, bridge.clone());
        }
        self.ready.push_back(found);
    }

    /// Takes what is behind a bridge on the list, if the firmware has configured it soundly.
    fn follow(&mut self, found: &Found, bridge: Bridge) {
        let (segment, here) = (found.address.segment(), found.address.bus());
        let Bridge { secondary, subordinate, .. } = bridge;
        if secondary == 0 {
            log::info!(
                "pci: the firmware gave bridge {} no bus: what is behind it is not used",
                found.address
            );
            return;
        }
        let reachable =
            self.ranges.iter().any(|r| r.segment == segment && (r.first..=r.last).contains(&secondary));
        if secondary <= here
            || subordinate < secondary
            || !reachable
            || self.known.contains(&(segment, secondary))
        {
            log::warn!(
                "pci: bridge {} leads from bus {here:#04x} to {secondary:#04x}-{subordinate:#04x}, which can't be: \
                 what is behind it is not used",
                found.address
            );
            return;
        }
        self.known.insert((segment, secondary));
        self.behind.extend((secondary..=subordinate).map(|bus| (segment, bus)));
        let mut path = found.path.clone();
        path.push(found.address);
        self.buses.push_back(Bus { segment, number: secondary, only_first: bridge.is_port, path });
    }
}
