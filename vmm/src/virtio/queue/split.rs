//! The split ring: descriptor table, available ring, used ring (virtio 1.2, 2.7).
use super::chain::{Broken, Chain, Descriptor, IndirectTable, Token, crosses, flag, ring_words};
use super::{Place, RingFeatures};
use crate::memory::{GuestMemory, Window};
use core::sync::atomic::{Ordering, fence};

/// Available ring, flags: no interrupts, please.
const NO_INTERRUPT: u16 = 1;
/// Used ring, flags: no notifications, please.
const NO_NOTIFY: u16 = 1;

/// Offsets in the available and the used ring; entries are of 2 and 8 bytes.
const FLAGS: u32 = 0;
const INDEX: u32 = 2;
const ENTRIES: u32 = 4;

/// What takes buffers from the guest.
pub(super) struct Available {
    descriptors: Window,
    driver: Window,
    device: Window,
    size: u16,
    features: RingFeatures,
    /// Entries taken.
    next: u16,
    /// Entries that the guest has made available, as last seen.
    seen: u16,
}

/// What gives them back.
pub(super) struct Used {
    driver: Window,
    device: Window,
    size: u16,
    features: RingFeatures,
    /// Entries given back.
    next: u16,
}

/// Both sides of a ring at `place`.
pub(super) fn open(place: &Place<'_>, features: RingFeatures) -> Result<(Available, Used), Broken> {
    let size = u32::from(place.size);
    if !place.size.is_power_of_two() {
        return Err(Broken::Place);
    }
    let descriptors = place.window(place.descriptors, 16 * size, 16)?;
    let driver = place.window(place.driver, 6 + 2 * size, 2)?;
    let device = place.window(place.device, 6 + 8 * size, 4)?;
    let used = Used { driver: driver.clone(), device: device.clone(), size: place.size, features, next: 0 };
    Ok((Available { descriptors, driver, device, size: place.size, features, next: 0, seen: 0 }, used))
}

fn descriptor([address, rest]: [u64; 2]) -> Descriptor {
    Descriptor { address, bytes: rest as u32, flags: (rest >> 32) as u16, next: (rest >> 48) as u16 }
}

impl Available {
    /// Whether the guest has made something available that was not taken.
    #[inline]
    pub fn has_more(&mut self) -> bool {
        if self.seen == self.next {
            self.seen = self.driver.load_u16(INDEX);
        }
        self.seen != self.next
    }

    /// Takes the next chain; `false` where there is none.
    #[inline]
    pub fn pop(&mut self, memory: &GuestMemory, chain: &mut Chain) -> Result<bool, Broken> {
        if !self.has_more() {
            return Ok(false);
        }
        if self.seen.wrapping_sub(self.next) > self.size {
            return Err(Broken::Index);
        }
        let head = self.driver.load_u16(ENTRIES + 2 * u32::from(self.next & (self.size - 1)));
        self.next = self.next.wrapping_add(1);
        chain.begin();
        chain.token = Token { id: head, entries: 1 };
        let mut index = head;
        for _ in 0..self.size {
            if index >= self.size {
                return Err(Broken::Head);
            }
            let descriptor = descriptor(ring_words(&self.descriptors, index));
            if descriptor.flags & flag::INDIRECT != 0 {
                return self.indirect(memory, chain, descriptor);
            }
            chain.add(descriptor)?;
            if descriptor.flags & flag::NEXT == 0 {
                return Ok(true);
            }
            index = descriptor.next;
        }
        Err(Broken::Length)
    }

    /// The rest of a chain, in a table of its own (2.7.5.3).
    fn indirect(&self, memory: &GuestMemory, chain: &mut Chain, table: Descriptor) -> Result<bool, Broken> {
        if !self.features.indirect {
            return Err(Broken::Indirect);
        }
        let entries = chain.table(table)?;
        let table = IndirectTable::new(memory, table.address)?;
        let mut index = 0;
        for _ in 0..entries {
            if index >= entries {
                return Err(Broken::Head);
            }
            let descriptor = descriptor(table.words(index)?);
            if descriptor.flags & flag::INDIRECT != 0 {
                return Err(Broken::Indirect);
            }
            chain.add(descriptor)?;
            if descriptor.flags & flag::NEXT == 0 {
                return Ok(true);
            }
            index = descriptor.next.into();
        }
        Err(Broken::Length)
    }

    /// How far entries have been taken.
    #[inline]
    pub fn position(&self) -> u16 {
        self.next
    }

    /// Takes back what was taken since `position`.
    pub fn rewind(&mut self, position: u16) {
        self.next = position;
    }

    /// Asks the guest to notify of the next entry. Look for one afterwards: it may just have come.
    #[inline]
    pub fn listen(&mut self) {
        if self.features.event_idx {
            self.device.store_u16(ENTRIES + 8 * u32::from(self.size), self.next);
        } else {
            self.device.store_u16(FLAGS, 0);
        }
        fence(Ordering::SeqCst);
    }

    /// Asks the guest not to notify.
    #[inline]
    pub fn quiet(&mut self) {
        if self.features.event_idx {
            // An entry that is made available only when the index has gone all the way round.
            self.device.store_u16(ENTRIES + 8 * u32::from(self.size), self.next.wrapping_sub(1));
        } else {
            self.device.store_u16(FLAGS, NO_NOTIFY);
        }
    }
}

impl Used {
    /// Gives chains back, all at once, each with how many bytes of its writable part were written. By how many entries that
    /// takes the ring on.
    #[inline]
    pub fn push(&mut self, chains: &[(Token, u32)]) -> u16 {
        let before = self.next;
        for (token, bytes) in chains {
            let at = ENTRIES + 8 * u32::from(self.next & (self.size - 1));
            self.device.store_u32(at, token.id.into());
            self.device.store_u32(at + 4, *bytes);
            self.next = self.next.wrapping_add(1);
        }
        self.device.store_u16(INDEX, self.next);
        self.next.wrapping_sub(before)
    }

    /// Whether the guest wants an interrupt for the last so many entries.
    #[inline]
    pub fn wants(&self, entries: u16) -> bool {
        // The guest must see the index before we see whether it wants to know (2.7.7.1).
        fence(Ordering::SeqCst);
        if !self.features.event_idx {
            return self.driver.load_u16(FLAGS) & NO_INTERRUPT == 0;
        }
        let event = self.driver.load_u16(ENTRIES + 2 * u32::from(self.size));
        crosses(event, self.next, self.next.wrapping_sub(entries))
    }
}
