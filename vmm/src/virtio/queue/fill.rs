//! Chains that a device fills with what it has for the guest, when it has it: several at once, or none.
use super::chain::{Broken, Chain, Token};
use super::{Available, Source, Used, Virtqueue, packed};

/// Most chains that are filled at once: a frame of 64 KiB in buffers of 1526 bytes, as guests offer them, takes 43.
pub const MOST_FILLED: usize = 64;

/// How far a ring was taken.
enum Position {
    Split(u16),
    Packed(packed::Position),
}

impl Available {
    fn position(&self) -> Position {
        match self {
            Self::Split(ring) => Position::Split(ring.position()),
            Self::Packed(ring) => Position::Packed(ring.position()),
        }
    }

    fn rewind(&mut self, position: &Position) {
        match (self, position) {
            (Self::Split(ring), Position::Split(position)) => ring.rewind(*position),
            (Self::Packed(ring), Position::Packed(position)) => ring.rewind(*position),
            _ => {}
        }
    }
}

/// Chains that are being filled.
pub struct Filling<'a> {
    queue: &'a Virtqueue,
    ring: &'a mut Available,
    chain: &'a mut Chain,
    filled: [(Token, u32); MOST_FILLED],
    count: usize,
}

impl Filling<'_> {
    /// The next chain, in the place of the one before; `None` where the guest has offered no more, or they are too many.
    ///
    /// # Errors
    /// The ring breaks the rules.
    #[inline]
    pub fn next_chain(&mut self) -> Result<Option<&mut Chain>, Broken> {
        if self.count == MOST_FILLED {
            return Ok(None);
        }
        let memory = &self.queue.memory;
        let found = match &mut *self.ring {
            Available::Split(ring) => ring.pop(memory, self.chain)?,
            Available::Packed(ring) => ring.pop(memory, self.chain)?,
        };
        Ok(found.then_some(&mut *self.chain))
    }

    /// So many bytes were written to the chain that [`Self::next_chain`] has returned.
    #[inline]
    pub fn wrote(&mut self, bytes: u32) {
        if let Some(slot) = self.filled.get_mut(self.count) {
            *slot = (self.chain.token, bytes);
            self.count += 1;
        }
    }

    /// Whether there can be no further chain, however many the guest offers.
    pub fn is_full(&self) -> bool {
        self.count == MOST_FILLED
    }

    /// How many chains were written to.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// What became of chains that were to be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The guest gets them.
    Given,
    /// There were too few: they are as if they had not been taken, and the guest notifies when it offers more.
    TooFew,
    /// They are as if they had not been taken, and more of them would not help. Also where there is no ring.
    Never,
}

impl Virtqueue {
    /// Lets `fill` write to chains, and gives them to the guest all at once if it returns [`Filled::Given`]. Else, and
    /// where the guest breaks the rules, they are as if they had not been taken. It may be called again, from the
    /// beginning, where the guest offers more meanwhile. Waits for another CPU that just does the same.
    #[inline]
    pub fn fill(&self, mut fill: impl FnMut(&mut Filling<'_>) -> Result<Filled, Broken>) -> Filled {
        let mut source = self.source.lock();
        let Source { ring: Some(ring), chain } = &mut *source else { return Filled::Never };
        if !self.control.running() {
            return Filled::Never;
        }
        let begin = ring.position();
        loop {
            let filled = [(Token::default(), 0); MOST_FILLED];
            let mut filling = Filling { queue: self, ring, chain, filled, count: 0 };
            let result = fill(&mut filling);
            let Filling { filled, count, .. } = filling;
            match result {
                Ok(Filled::Given) if self.give_back_all(filled.get(..count).unwrap_or(&[])) => {
                    // What the guest offers is looked at when there is something for it.
                    either!(Available, ring, r => r.quiet());
                    return Filled::Given;
                }
                Ok(Filled::TooFew) => {
                    // All that it offers was looked at: it is to notify of what it offers beyond.
                    either!(Available, ring, r => r.listen());
                    let more = either!(Available, ring, r => r.has_more());
                    ring.rewind(&begin);
                    if !more {
                        return Filled::TooFew;
                    }
                }
                result => {
                    ring.rewind(&begin);
                    either!(Available, ring, r => r.quiet());
                    drop(source);
                    if let Err(broken) = result {
                        self.control.needs_reset(broken);
                    }
                    return Filled::Never;
                }
            }
        }
    }

    fn give_back_all(&self, chains: &[(Token, u32)]) -> bool {
        let mut used = self.used.lock();
        let Some(ring) = used.as_mut() else { return false };
        let entries = either!(Used, ring, r => r.push(chains));
        if either!(Used, ring, r => r.wants(entries)) && self.control.queue_interrupt(self.vector()) {
            self.control.interrupts().told();
        }
        true
    }
}
