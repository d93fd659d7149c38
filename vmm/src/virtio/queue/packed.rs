//! The packed ring: descriptors that both sides write, and an event structure of each (virtio 1.2, 2.8).
use super::chain::{Broken, Chain, Descriptor, IndirectTable, Token, crosses, flag, ring_words};
use super::{Place, RingFeatures};
use crate::memory::{GuestMemory, Window};
use core::sync::atomic::{Ordering, fence};

/// Flags of a descriptor that carry the wrap counters (2.8.1).
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// Event suppression structure: offset with wrap counter, then flags (2.8.14).
const OFFSET: u32 = 0;
const FLAGS: u32 = 2;
/// Values of its flags.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const AT_DESCRIPTOR: u16 = 2;

/// A place in the ring, and how often its end was passed, as one bit.
#[derive(Clone, Copy)]
pub(super) struct Position {
    index: u16,
    wrap: bool,
}

impl Position {
    const START: Self = Self { index: 0, wrap: true };

    /// `entries` (no more than the ring has) further on.
    #[inline]
    fn advance(&mut self, entries: u16, size: u16) {
        let next = u32::from(self.index) + u32::from(entries);
        let wraps = next >= u32::from(size);
        self.index = if wraps { (next - u32::from(size)) as u16 } else { next as u16 };
        self.wrap ^= wraps;
    }

    fn event(self) -> u16 {
        self.index | u16::from(self.wrap) << 15
    }
}

/// What takes buffers from the guest.
pub(super) struct Available {
    ring: Window,
    device: Window,
    size: u16,
    features: RingFeatures,
    next: Position,
}

/// What gives them back.
pub(super) struct Used {
    ring: Window,
    driver: Window,
    size: u16,
    features: RingFeatures,
    next: Position,
}

/// Both sides of a ring at `place`.
pub(super) fn open(place: &Place<'_>, features: RingFeatures) -> Result<(Available, Used), Broken> {
    let ring = place.window(place.descriptors, 16 * u32::from(place.size), 16)?;
    let driver = place.window(place.driver, 4, 4)?;
    let device = place.window(place.device, 4, 4)?;
    let (size, next) = (place.size, Position::START);
    let used = Used { ring: ring.clone(), driver, size, features, next };
    Ok((Available { ring, device, size, features, next }, used))
}

/// Flags and buffer ID are the other way round than in a split ring.
fn descriptor([address, rest]: [u64; 2]) -> Descriptor {
    Descriptor { address, bytes: rest as u32, next: (rest >> 32) as u16, flags: (rest >> 48) as u16 }
}

impl Available {
    /// Whether the guest has made something available that was not taken.
    #[inline]
    pub fn has_more(&mut self) -> bool {
        let flags = self.ring.load_u16(16 * u32::from(self.next.index) + 14);
        let (avail, used) = (flags & AVAIL != 0, flags & USED != 0);
        avail == self.next.wrap && used != self.next.wrap
    }

    /// Takes the next chain; `false` where there is none.
    #[inline]
    pub fn pop(&mut self, memory: &GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        // The flags of the first are written last, and so read before the others' (2.8.21).
        if !self.has_more() {
            return Ok(false);
        }
        chain.begin();
        let mut at = self.next;
        for entries in 1..=self.size {
            let descriptor = descriptor(ring_words(&self.ring, at.index));
            at.advance(1, self.size);
            let indirect = descriptor.flags & flag::INDIRECT != 0;
            if indirect {
                // Not within a chain of others, unlike in split rings (2.8.19).
                if entries != 1 {
                    return Err(Broken::Indirect);
                }
                self.indirect(memory, chain, descriptor)?;
            } else {
                chain.add(descriptor)?;
            }
            if descriptor.flags & flag::NEXT == 0 {
                chain.token = Token { id: descriptor.next, entries };
                self.next = at;
                return Ok(true);
            }
        }
        Err(Broken::Length)
    }

    /// A table has no order but its own, and no flags but the direction's (2.8.7).
    fn indirect(&self, memory: &GuestMemory, chain: &mut Chain, table: Descriptor) -> Result<(), Broken> {
        if !self.features.indirect {
            return Err(Broken::Indirect);
        }
        let entries = chain.table(table)?;
        let table = IndirectTable::new(memory, table.address)?;
        for index in 0..entries {
            let descriptor = descriptor(table.words(index)?);
            if descriptor.flags & flag::INDIRECT != 0 {
                return Err(Broken::Indirect);
            }
            chain.add(descriptor)?;
        }
        Ok(())
    }

    /// How far descriptors have been taken.
    #[inline]
    pub fn position(&self) -> Position {
        self.next
    }

    /// Takes back what was taken since `position`.
    pub fn rewind(&mut self, position: Position) {
        self.next = position;
    }

    /// Asks the guest to notify of the next entry. Look for one afterwards: it may just have come.
    #[inline]
    pub fn listen(&mut self) {
        if self.features.event_idx {
            self.device.store_u16(OFFSET, self.next.event());
            self.device.store_u16(FLAGS, AT_DESCRIPTOR);
        } else {
            self.device.store_u16(FLAGS, ENABLE);
        }
        fence(Ordering::SeqCst);
    }

    /// Asks the guest not to notify.
    #[inline]
    pub fn quiet(&mut self) {
        self.device.store_u16(FLAGS, DISABLE);
    }
}

impl Used {
    /// Gives chains back, all at once, each with how many bytes of its writable part were written. By how many entries that
    /// takes the ring on.
    #[inline]
    pub fn push(&mut self, chains: &[(Token, u32)]) -> u16 {
        let (mut entries, mut first) = (0u16, None);
        for (token, bytes) in chains {
            let at = 16 * u32::from(self.next.index);
            self.ring.store_u32(at + 8, *bytes);
            self.ring.store_u16(at + 12, token.id);
            let written = if *bytes != 0 { flag::WRITE } else { 0 };
            let flags = if self.next.wrap { AVAIL | USED } else { 0 } | written;
            // The guest sees none of them before the first, whose flags are written last.
            match first {
                None => first = Some((at + 14, flags)),
                Some(_) => self.ring.store_u16(at + 14, flags),
            }
            let taken = token.entries.min(self.size);
            self.next.advance(taken, self.size);
            entries = entries.wrapping_add(taken);
        }
        if let Some((at, flags)) = first {
            self.ring.store_u16(at, flags);
        }
        entries
    }

    /// Whether the guest wants an interrupt for the last so many entries.
    #[inline]
    pub fn wants(&self, entries: u16) -> bool {
        // The guest must see the descriptor before we see whether it wants to know.
        fence(Ordering::SeqCst);
        match self.driver.load_u16(FLAGS) {
            DISABLE => false,
            AT_DESCRIPTOR if self.features.event_idx => self.crosses_event(entries),
            _ => true,
        }
    }

    /// Whether the last `entries` went over the place that the guest waits for.
    fn crosses_event(&self, entries: u16) -> bool {
        let event = self.driver.load_u16(OFFSET);
        let mut offset = event & !(1 << 15);
        if (event >> 15 != 0) != self.next.wrap {
            // Of the round before.
            offset = offset.wrapping_sub(self.size);
        }
        let new = self.next.index;
        crosses(offset, new, new.wrapping_sub(entries))
    }
}
