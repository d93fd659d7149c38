//! What the guest is told of the controller, and the two sizes that it may change (virtio 1.2, 5.6.4).
use core::sync::atomic::{AtomicU32, Ordering};

/// Most segments of a command's data that the guest is told of; with header and answer they are 320. A request of 1 MiB
/// may have 256 pages.
pub const SEG_MAX: u32 = 318;
/// Most bytes of one command's data.
pub const MAX_BYTES: u64 = 16 << 20;

/// Offsets of what the guest may write.
const SENSE_SIZE: u32 = 20;
const CDB_SIZE: u32 = 24;

/// Sizes after a reset (5.6.4.1).
const DEFAULT_SENSE: u32 = 96;
const DEFAULT_CDB: u32 = 32;
/// Most bytes that they can be set to: of sense data as much as SCSI knows, of a CDB too.
pub const MAX_SENSE_SIZE: u32 = 252;
const MAX_CDB_SIZE: u32 = 260;

/// The configuration.
pub struct Config {
    /// Number of queues and logical units.
    bytes: [u8; 36],
    sense: AtomicU32,
    cdb: AtomicU32,
}

impl Config {
    /// Of a controller with so many request queues of so many entries, and so many logical units.
    pub fn new(queues: u16, queue_size: u16, units: usize) -> Self {
        let mut bytes = [0; 36];
        let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put(0, queues.into());
        put(4, SEG_MAX);
        put(8, (MAX_BYTES / 512) as u32);
        // Commands for one logical unit at once.
        put(12, queue_size.into());
        // Bytes of an event.
        put(16, 16);
        // One channel, one target, and
        put(32, units.saturating_sub(1) as u32);
        Self { bytes, sense: AtomicU32::new(DEFAULT_SENSE), cdb: AtomicU32::new(DEFAULT_CDB) }
    }

    /// Bytes that the guest has for sense data.
    #[inline]
    pub fn sense_size(&self) -> usize {
        self.sense.load(Ordering::Relaxed) as usize
    }

    /// Bytes of a CDB that it sends.
    #[inline]
    pub fn cdb_size(&self) -> usize {
        self.cdb.load(Ordering::Relaxed) as usize
    }

    /// Back to what they are at first.
    pub fn reset(&self) {
        self.sense.store(DEFAULT_SENSE, Ordering::Relaxed);
        self.cdb.store(DEFAULT_CDB, Ordering::Relaxed);
    }

    /// A byte of it.
    pub fn byte(&self, offset: u32) -> u8 {
        let of =
            |register: &AtomicU32, at: u32| register.load(Ordering::Relaxed).to_le_bytes()[at as usize & 3];
        match offset {
            SENSE_SIZE..CDB_SIZE => of(&self.sense, offset - SENSE_SIZE),
            CDB_SIZE..28 => of(&self.cdb, offset - CDB_SIZE),
            _ => self.bytes.get(offset as usize).copied().unwrap_or(0),
        }
    }

    /// The guest writes. What is not a whole register, or a size that can't be, changes nothing; it can read back
    /// which size counts.
    pub fn write(&self, offset: u32, size: u8, value: u64) {
        match (offset, size, value as u32) {
            (SENSE_SIZE, 4, bytes @ 0..=MAX_SENSE_SIZE) => self.sense.store(bytes, Ordering::Relaxed),
            (CDB_SIZE, 4, bytes @ 1..=MAX_CDB_SIZE) => self.cdb.store(bytes, Ordering::Relaxed),
            _ => {}
        }
    }
}
