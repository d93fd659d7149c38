//! What a guest says of its memory (virtio 1.2, 5.5.6.5).
use crate::virtio::queue::{Chain, Token};

/// Bytes of an entry: a tag of 16 bits and a value of 64.
const ENTRY: usize = 10;
/// Most entries that are looked at; there are some 16 tags.
const MOST: usize = 64;

/// Tags.
const FREE: u16 = 4;
const TOTAL: u16 = 5;
const AVAILABLE: u16 = 6;

/// Memory as the guest counts it, in bytes. Whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Unused.
    pub free: Option<u64>,
    /// All that it uses or could.
    pub total: Option<u64>,
    /// What it could use without swapping.
    pub available: Option<u64>,
}

/// The last statistics, and the buffer that brought them: the guest gets it back when new ones are wanted.
#[derive(Default)]
pub struct Statisticians {
    known: Option<Statistics>,
    buffer: Option<Token>,
}

impl Statisticians {
    /// The last ones.
    pub fn known(&self) -> Option<Statistics> {
        self.known
    }

    /// The buffer, to be given back.
    pub fn take_buffer(&mut self) -> Option<Token> {
        self.buffer.take()
    }

    /// Takes what a buffer brings, and keeps it. The one that was kept before.
    pub fn fill(&mut self, chain: &mut Chain) -> Option<Token> {
        let mut statistics = Statistics::default();
        let mut entry = [0; ENTRY];
        for _ in 0..MOST {
            if chain.readable.bytes() < ENTRY as u64 || !chain.readable.take_front(&mut entry) {
                break;
            }
            let [t0, t1, value @ ..] = entry;
            let value = Some(u64::from_le_bytes(value));
            match u16::from_le_bytes([t0, t1]) {
                FREE => statistics.free = value,
                TOTAL => statistics.total = value,
                AVAILABLE => statistics.available = value,
                _ => {}
            }
        }
        // The first buffer that Linux sends is as good as any.
        self.known = Some(statistics);
        self.buffer.replace(chain.token)
    }
}
