//! Frames for the guest.
use super::config::feature;
use super::header::{self, HEADER};
use crate::memory::Room;
use crate::virtio::control::Control;
use crate::virtio::queue::{Filled, Filling, Virtqueue};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use net::frame::Mac;
use net::nic::{Abilities, Frame};
use spin::{Mutex, Once};

/// Most groups that a guest names one by one; with more it gets all.
pub(super) const MOST_GROUPS: usize = 64;

/// A card's side towards what it is plugged into.
pub struct Port {
    side: Once<Side>,
    /// The guest's driver works.
    active: AtomicBool,
    features: AtomicU64,
    /// Pairs of queues that the driver uses.
    pairs: AtomicU16,
    wanted: Mutex<Wanted>,
}

struct Side {
    queues: Vec<Arc<Virtqueue>>,
    control: Weak<Control>,
}

/// What the guest wants to receive.
pub(super) struct Wanted {
    /// All to groups, or only to these.
    pub all_groups: bool,
    pub groups: Vec<Mac>,
    /// Nothing to groups, or not even what is to everybody.
    pub no_groups: bool,
    pub no_broadcast: bool,
    /// Nothing to itself.
    pub no_own: bool,
    /// All there is.
    pub promiscuous: bool,
    /// VLANs, by a bit for each; all of them where it does not say.
    pub vlans: Option<alloc::boxed::Box<[u64; 64]>>,
}

impl Wanted {
    const fn everything() -> Self {
        Self {
            all_groups: true,
            groups: Vec::new(),
            no_groups: false,
            no_broadcast: false,
            no_own: false,
            promiscuous: false,
            vlans: None,
        }
    }

    fn takes(&self, destination: Mac, vlan: Option<u16>) -> bool {
        let of_vlan = |vlans: &[u64; 64], id: u16| vlans[usize::from(id / 64) % 64] & 1 << (id % 64) != 0;
        if let (Some(vlans), Some(id)) = (&self.vlans, vlan)
            && !of_vlan(vlans, id)
        {
            return false;
        }
        match destination {
            _ if self.promiscuous => true,
            Mac::BROADCAST => !self.no_broadcast,
            group if group.is_group() => !self.no_groups && (self.all_groups || self.groups.contains(&group)),
            _ => !self.no_own,
        }
    }
}

/// What became of a frame for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The guest has it.
    Done,
    /// It has not asked for such frames.
    Unwanted,
    /// It has no driver, or one that does not take such a frame: what is left to be done to it, or its length.
    Unable,
    /// It has offered too little room as yet. [`Wire::room`](super::Wire::room) tells of more.
    NoRoom,
}

impl Port {
    /// A port to which nothing is plugged yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            side: Once::new(),
            active: AtomicBool::new(false),
            features: AtomicU64::new(0),
            pairs: AtomicU16::new(1),
            wanted: Mutex::new(Wanted::everything()),
        })
    }

    pub(super) fn connect(&self, queues: Vec<Arc<Virtqueue>>, control: &Arc<Control>) {
        self.side.call_once(|| Side { queues, control: Arc::downgrade(control) });
    }

    pub(super) fn activate(&self, features: u64) {
        self.features.store(features, Ordering::SeqCst);
        *self.wanted.lock() = Wanted::everything();
        self.active.store(true, Ordering::SeqCst);
    }

    pub(super) fn reset(&self) {
        self.active.store(false, Ordering::SeqCst);
        self.pairs.store(1, Ordering::SeqCst);
    }

    pub(super) fn set_pairs(&self, pairs: u16) {
        self.pairs.store(pairs, Ordering::SeqCst);
    }

    pub(super) fn change_wanted<R>(&self, change: impl FnOnce(&mut Wanted) -> R) -> R {
        change(&mut self.wanted.lock())
    }

    /// The link went up or down: the guest is told.
    pub fn link_changed(&self) {
        if self.features.load(Ordering::SeqCst) & feature::STATUS != 0
            && let Some(control) = self.side.get().and_then(|side| side.control.upgrade())
        {
            control.config_changed();
        }
    }

    /// What the guest's driver lets others leave to it.
    pub fn abilities(&self) -> Abilities {
        let features = self.features.load(Ordering::SeqCst);
        let has = |bit: u64| features & bit != 0;
        Abilities {
            mtu: u16::MAX,
            checksum: has(feature::GUEST_CSUM),
            tcp4: has(feature::GUEST_TSO4),
            tcp6: has(feature::GUEST_TSO6),
            verifies: false,
            queues: self.pairs.load(Ordering::Relaxed),
        }
    }

    /// Copies a frame to the guest. `flow` is the same for all frames of a flow, which all go to one queue. `vlan` is that of
    /// the frame's tag, if the guest gets it with a tag.
    ///
    /// The memory of the frame can be read until this returns.
    pub fn receive(&self, frame: &Frame<'_>, flow: u32, vlan: Option<u16>) -> Delivery {
        let Some(side) = self.side.get().filter(|_| self.active.load(Ordering::Acquire)) else {
            return Delivery::Unable;
        };
        if !self.abilities().suffice(frame) {
            return Delivery::Unable;
        }
        let Some(destination) = frame.beginning.first_chunk().map(|mac| Mac(*mac)) else {
            return Delivery::Unable;
        };
        if !self.wanted.lock().takes(destination, vlan) {
            return Delivery::Unwanted;
        }
        let pairs = u32::from(self.pairs.load(Ordering::Relaxed).max(1));
        let Some(queue) = side.queues.get((flow % pairs) as usize) else { return Delivery::Unable };
        let merges = self.features.load(Ordering::Relaxed) & feature::MRG_RXBUF != 0;
        let fill = |filling: &mut Filling<'_>| {
            let mut source = Source { frame, taken: 0, segment: 0, within: 0 };
            let mut first = None;
            loop {
                let begins = first.is_none();
                let Some(chain) = filling.next_chain()? else {
                    return Ok(if filling.is_full() { Filled::Never } else { Filled::TooFew });
                };
                let room = &mut chain.writable;
                if begins {
                    let Some(header) = room.take_room(HEADER) else { return Ok(Filled::Never) };
                    first = Some(header);
                }
                let mut written = if begins { HEADER } else { 0 };
                while let Some((from, bytes)) = source.next(room.bytes()) {
                    let copied = match from {
                        Piece::Bytes(bytes) => room.write_front(bytes),
                        Piece::Segment(segment) => copy(room, segment),
                    };
                    written += copied;
                    source.advance(copied);
                    if copied < bytes {
                        break;
                    }
                }
                filling.wrote(written as u32);
                if source.is_empty() {
                    break;
                }
                // A buffer of nothing would never end.
                if !merges || written == 0 {
                    return Ok(Filled::Never);
                }
            }
            let header: Room = first.unwrap_or_default();
            header.write(queue.memory(), &header::emit(&frame.offload, filling.count() as u16));
            Ok(Filled::Given)
        };
        match queue.fill(fill) {
            Filled::Given => Delivery::Done,
            Filled::TooFew => Delivery::NoRoom,
            Filled::Never => Delivery::Unable,
        }
    }
}

/// Copies a segment into the guest's memory.
#[allow(unsafe_code)] // what is read is named by physical addresses
fn copy(room: &mut crate::memory::Scatter, segment: mm::Segment) -> usize {
    // SAFETY: who gives a frame promises that its memory is readable for as long (`net::nic`).
    unsafe { room.write_front_from(segment) }
}

/// What is left of a frame.
struct Source<'a> {
    frame: &'a Frame<'a>,
    /// Bytes of the beginning that are copied.
    taken: usize,
    /// The segment that is next, and bytes of it that are copied.
    segment: usize,
    within: u32,
}

enum Piece<'a> {
    Bytes(&'a [u8]),
    Segment(mm::Segment),
}

impl<'a> Source<'a> {
    fn is_empty(&self) -> bool {
        self.taken == self.frame.beginning.len() && self.segment == self.frame.rest.len()
    }

    /// The next piece, of at most `most` bytes, and how many they are. `None` where there is none, or no room.
    #[inline]
    fn next(&self, most: u64) -> Option<(Piece<'a>, usize)> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if most == 0 {
            return None;
        }
        let bytes = self.frame.beginning.get(self.taken..).unwrap_or(&[]);
        if !bytes.is_empty() {
            let bytes = &bytes[..bytes.len().min(most)];
            return Some((Piece::Bytes(bytes), bytes.len()));
        }
        let segment = self.frame.rest.get(self.segment)?;
        let bytes = ((segment.bytes - self.within) as usize).min(most);
        let address = segment.address + u64::from(self.within);
        Some((Piece::Segment(mm::Segment { address, bytes: bytes as u32 }), bytes))
    }

    /// So many bytes of the piece were copied.
    #[inline]
    fn advance(&mut self, bytes: usize) {
        if self.taken < self.frame.beginning.len() {
            self.taken += bytes;
            return;
        }
        self.within += bytes as u32;
        if self.frame.rest.get(self.segment).is_some_and(|segment| segment.bytes == self.within) {
            (self.segment, self.within) = (self.segment + 1, 0);
        }
    }
}
