//! The memory that a port works with: command list, received FISes, command tables (AHCI 1.3.1, clause 4.2).
use super::fis::FIS_BYTES;
use crate::{DmaMemory, Kernel};
use mm::Hpa;

/// Most entries of a physical region descriptor table: with the rest of the table, and the ranges to trim,
/// it fills a page.
pub(super) const MOST_REGIONS: usize = 216;
/// Most bytes of a region (4.2.3.3).
pub(super) const REGION_BYTES: u64 = 4 << 20;

/// Offsets in a port's page: the command list, 1 KiB; received FISes, 256 bytes; the table of the driver's own
/// commands; the block that they read.
const LIST: usize = 0x000;
const RECEIVED: usize = 0x400;
const OWN_TABLE: usize = 0x500;
const OWN_DATA: usize = 0x600;
const OWN_DATA_BYTES: usize = 512;

/// Offsets in the received FISes: D2H register FIS, set device bits FIS.
const RECEIVED_D2H: usize = RECEIVED + 0x40;
const RECEIVED_SDB: usize = RECEIVED + 0x58;
/// The types of these FISes.
const D2H: u8 = 0x34;
const SDB: u8 = 0xa1;

/// Offsets in a command table: regions; after the last, the ranges to trim.
const REGIONS: usize = 0x80;
const RANGES: usize = REGIONS + MOST_REGIONS * 16;

const _: () = assert!(RANGES + 512 <= 4096);

/// The first word of a command header (4.2.2), without the number of regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header(u32);

impl Header {
    /// A command with `regions` regions, that writes to the device or does not.
    pub const fn new(regions: usize, write: bool) -> Self {
        // At most MOST_REGIONS.
        Self((FIS_BYTES / 4) | ((write as u32) << 6) | ((regions as u32) << 16))
    }
}

/// A port's own page.
pub(super) struct PortMemory(DmaMemory);

impl PortMemory {
    /// `None` where there is no memory. `low`: below 4 GiB.
    pub fn new(kernel: &dyn Kernel, low: bool) -> Option<Self> {
        Some(Self(kernel.allocate_dma(4096, low)?))
    }

    /// What PxCLB and PxFB are to be.
    pub fn addresses(&self) -> [Hpa; 2] {
        [LIST, RECEIVED].map(|offset| self.0.address() + offset as u64)
    }

    /// Fills a slot of the command list.
    #[inline]
    pub fn write_header(&self, slot: u32, header: Header, table: Hpa) {
        let (low, high) = (table.get() as u32, (table.get() >> 32) as u32);
        for (i, word) in [header.0, 0, low, high].into_iter().enumerate() {
            self.0.write(LIST + slot as usize * 32 + i * 4, word);
        }
    }

    /// How many bytes the HBA says that it has moved (PRDBC). Means nothing for queued commands.
    pub fn moved(&self, slot: u32) -> u32 {
        self.0.read(LIST + slot as usize * 32 + 4)
    }

    /// Fills a slot with a command of the driver's own, that reads a block or has no data.
    pub fn write_own(&self, slot: u32, fis: [u32; 5], reads: bool) {
        for (i, word) in fis.into_iter().enumerate() {
            self.0.write(OWN_TABLE + i * 4, word);
        }
        let data = self.0.address() + OWN_DATA as u64;
        write_region(&self.0, OWN_TABLE + REGIONS, data, OWN_DATA_BYTES as u64);
        let table = self.0.address() + OWN_TABLE as u64;
        self.write_header(slot, Header::new(reads.into(), false), table);
    }

    /// The block that such a command has read.
    pub fn own_data(&self) -> [u8; OWN_DATA_BYTES] {
        let mut data = [0; OWN_DATA_BYTES];
        self.0.copy_out(OWN_DATA, &mut data);
        data
    }

    /// Forgets the FISes that have come, and the block.
    pub fn forget(&self) {
        self.0.write(RECEIVED_D2H, 0u32);
        self.0.write(RECEIVED_SDB, 0u32);
        self.0.copy_in(OWN_DATA, &[0; OWN_DATA_BYTES]);
    }

    /// The status in the last D2H register FIS, if there was one.
    #[inline]
    pub fn received_status(&self) -> Option<u8> {
        let word: u32 = self.0.read(RECEIVED_D2H);
        (word as u8 == D2H).then_some((word >> 16) as u8)
    }

    /// Whether a set device bits FIS has come since this said so last. No access to the device.
    #[inline]
    pub fn take_device_bits(&self) -> bool {
        let come = self.0.read::<u8>(RECEIVED_SDB) == SDB;
        if come {
            self.0.write(RECEIVED_SDB, 0u8);
        }
        come
    }
}

fn write_region(memory: &DmaMemory, at: usize, address: Hpa, bytes: u64) {
    memory.write(at, address.get() as u32);
    memory.write(at + 4, (address.get() >> 32) as u32);
    memory.write(at + 8, 0u32);
    // One less; at most REGION_BYTES.
    memory.write(at + 12, bytes as u32 - 1);
}

/// A slot's command table, of a page.
pub(super) struct Table(DmaMemory);

impl Table {
    /// `None` where there is no memory.
    pub fn new(kernel: &dyn Kernel, low: bool) -> Option<Self> {
        Some(Self(kernel.allocate_dma(4096, low)?))
    }

    pub fn address(&self) -> Hpa {
        self.0.address()
    }

    #[inline]
    pub fn write_fis(&self, fis: [u32; 5]) {
        for (i, word) in fis.into_iter().enumerate() {
            self.0.write(i * 4, word);
        }
    }

    /// Names region `index`, below [`MOST_REGIONS`]; even bytes at an even address.
    #[inline]
    pub fn write_region(&self, index: usize, address: Hpa, bytes: u64) {
        write_region(&self.0, REGIONS + index * 16, address, bytes);
    }

    /// Names the range to trim, as the one region (ACS-3, 7.5.3): as many blocks as fit, at most
    /// [`TRIM_BLOCKS`].
    pub fn write_ranges(&self, block: u64, blocks: u64) {
        let (mut block, mut left) = (block, blocks);
        for i in 0..64 {
            let here = left.min(RANGE_BLOCKS);
            // Unused entries are 0.
            let entry = if here == 0 { 0 } else { block | here << 48 };
            self.0.write(RANGES + i * 8, entry);
            block += here;
            left -= here;
        }
        self.write_region(0, self.0.address() + RANGES as u64, 512);
    }
}

/// Most blocks of a range to trim.
const RANGE_BLOCKS: u64 = 0xffff;
/// Most blocks that one command trims.
pub(super) const TRIM_BLOCKS: u64 = 64 * RANGE_BLOCKS;
