//! The boot volume's FAT32 file system (Microsoft FAT specification, 2005), written in one go.
//!
//! The volume is made once and whole, so that this is a writer and nothing else: files and folders lie one
//! behind the other, each in one run of clusters, in the order of a walk through the tree.
use super::Entry;
use super::gpt::{Partition, SECTOR};
use names::{DIRECTORY_ENTRY, ShortName};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use tree::{Folder, Item};

mod names;
mod tree;

/// The largest file that FAT32 holds.
pub const MAX_FILE: u64 = u32::MAX as u64;
/// The least size of a volume: below 65525 clusters it would not be FAT32, which is what UEFI asks for.
const LEAST_BYTES: u64 = 64 << 20;
/// Room for the tables, the folders, and what the user wants to add by hand.
const SPARE_BYTES: u64 = 16 << 20;
/// No cluster is larger.
const MAX_CLUSTER_BYTES: u64 = 32 << 10;

/// Sectors before the first table: boot sector, FSInfo, their copies, room.
const RESERVED: u64 = 32;
const FS_INFO: u64 = 1;
const BOOT_COPY: u64 = 6;
const TABLES: u64 = 2;
/// Clusters are counted from here.
const FIRST_CLUSTER: u32 = 2;
const MEDIA: u8 = 0xf8;
const END_OF_CHAIN: u32 = 0x0fff_ffff;
const LABEL: &[u8; 11] = b"PUREVISOR  ";
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_FOLDER: u8 = 0x10;
const ATTRIBUTE_FILE: u8 = 0x20;
/// 1 January 1980: the same files make the same volume.
const DATE: u16 = 1 << 5 | 1;

/// How large the volume must be for files of these sizes.
pub fn volume_bytes(sizes: &[u64]) -> u64 {
    let content: u64 =
        sizes.iter().map(|size| size.next_multiple_of(MAX_CLUSTER_BYTES) + MAX_CLUSTER_BYTES).sum();
    // Two tables of four bytes for each cluster of at least 512.
    (content + content / 32 + SPARE_BYTES).max(LEAST_BYTES)
}

/// Makes the file system with `entries` in it. The partition must be zero, as a new file is.
pub fn write(disk: &File, partition: Partition, entries: &[Entry]) -> io::Result<()> {
    let mut volume = Volume::new(disk, partition)?;
    let root = Folder::of(entries)?;
    let first = volume.folder(&root, None)?;
    debug_assert_eq!(first, FIRST_CLUSTER);
    volume.finish()
}

struct Volume<'a> {
    disk: &'a File,
    partition: Partition,
    cluster_bytes: u64,
    table_sectors: u64,
    clusters: u32,
    /// The file allocation table as far as it is used.
    table: Vec<u32>,
}

impl<'a> Volume<'a> {
    fn new(disk: &'a File, partition: Partition) -> io::Result<Self> {
        let cluster_bytes = match partition.bytes >> 20 {
            0..=260 => SECTOR,
            261..=8192 => 4 << 10,
            8193..=16384 => 8 << 10,
            16385..=32768 => 16 << 10,
            _ => MAX_CLUSTER_BYTES,
        };
        let sectors = partition.bytes / SECTOR;
        // A little too long: as if the tables themselves were clusters, too.
        let table_sectors = ((sectors - RESERVED) * SECTOR / cluster_bytes + 2).div_ceil(SECTOR / 4);
        let clusters = (sectors - RESERVED - TABLES * table_sectors) * SECTOR / cluster_bytes;
        let clusters = u32::try_from(clusters).ok().filter(|c| (65525..0x0fff_fff0).contains(c));
        let clusters = clusters.ok_or_else(|| io::Error::other("the volume's size does not suit FAT32"))?;
        let table = vec![0x0fff_ff00 | u32::from(MEDIA), END_OF_CHAIN];
        Ok(Self { disk, partition, cluster_bytes, table_sectors, clusters, table })
    }

    /// A chain of clusters for `bytes`; 0 for none.
    fn allocate(&mut self, bytes: u64) -> io::Result<u32> {
        let count = bytes.div_ceil(self.cluster_bytes);
        if count == 0 {
            return Ok(0);
        }
        let first = self.table.len() as u32;
        if u64::from(first) + count > u64::from(self.clusters) + u64::from(FIRST_CLUSTER) {
            return Err(io::Error::other("the files do not fit on the volume"));
        }
        self.table.extend((1..count as u32).map(|n| first + n));
        self.table.push(END_OF_CHAIN);
        Ok(first)
    }

    /// The byte on the disk where `cluster` begins.
    fn at(&self, cluster: u32) -> u64 {
        let sectors = RESERVED + TABLES * self.table_sectors;
        self.partition.start + sectors * SECTOR + u64::from(cluster - FIRST_CLUSTER) * self.cluster_bytes
    }

    /// Writes a folder with all that is below it; returns its first cluster. `parent` is the first
    /// cluster of the folder above, with 0 for the root, which itself has none.
    fn folder(&mut self, folder: &Folder, parent: Option<u32>) -> io::Result<u32> {
        let names = ShortName::of_all(folder.items.iter().map(Item::name));
        // The label, or the folder itself and the one above.
        let own_entries = if parent.is_none() { 1 } else { 2 };
        let long_entries =
            names.iter().zip(&folder.items).map(|(short, item)| short.long_entries(item.name()));
        let entries = own_entries + folder.items.len() + long_entries.sum::<usize>();
        // The entry of zeros behind the last one needs no room where the last cluster is full.
        let first = self.allocate((entries * DIRECTORY_ENTRY) as u64)?;

        let mut content = Vec::with_capacity(entries * DIRECTORY_ENTRY);
        match parent {
            None => content.extend(entry(LABEL, ATTRIBUTE_LABEL, 0, 0)),
            Some(above) => {
                content.extend(entry(b".          ", ATTRIBUTE_FOLDER, first, 0));
                content.extend(entry(b"..         ", ATTRIBUTE_FOLDER, above, 0));
            }
        }
        for (short, item) in names.iter().zip(&folder.items) {
            short.write_long_entries(item.name(), &mut content);
            let short = short.bytes();
            match item {
                Item::Folder(below) => {
                    let above = if parent.is_none() { 0 } else { first };
                    let cluster = self.folder(below, Some(above))?;
                    content.extend(entry(short, ATTRIBUTE_FOLDER, cluster, 0));
                }
                Item::File { source, bytes, .. } => {
                    let cluster = self.allocate(*bytes)?;
                    self.copy(source, cluster, *bytes)?;
                    content.extend(entry(short, ATTRIBUTE_FILE, cluster, *bytes as u32));
                }
            }
        }
        self.disk.write_all_at(&content, self.at(first))?;
        Ok(first)
    }

    fn copy(&self, source: &std::path::Path, cluster: u32, bytes: u64) -> io::Result<()> {
        let mut source = File::open(source)?;
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        while done < bytes {
            let wanted = usize::try_from(bytes - done).unwrap_or(usize::MAX).min(buffer.len());
            source.read_exact(&mut buffer[..wanted])?;
            self.disk.write_all_at(&buffer[..wanted], self.at(cluster) + done)?;
            done += wanted as u64;
        }
        Ok(())
    }

    /// Writes the tables, the boot sector and FSInfo.
    fn finish(self) -> io::Result<()> {
        let table: Vec<u8> = self.table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        for copy in 0..TABLES {
            let at = (RESERVED + copy * self.table_sectors) * SECTOR;
            self.disk.write_all_at(&table, self.partition.start + at)?;
        }
        let next = self.table.len() as u32;
        let free = self.clusters + FIRST_CLUSTER - next;
        for copy in [0, BOOT_COPY] {
            let at = self.partition.start + copy * SECTOR;
            self.disk.write_all_at(&self.boot_sector(), at)?;
            self.disk.write_all_at(&fs_info(free, next), at + FS_INFO * SECTOR)?;
        }
        Ok(())
    }

    fn boot_sector(&self) -> [u8; SECTOR as usize] {
        let mut sector = [0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        // A jump to a loop that halts: started by a BIOS, the medium does nothing.
        put(0, &[0xeb, 0x58, 0x90]);
        put(90, &[0xf4, 0xeb, 0xfd]);
        put(3, b"MSWIN4.1");
        put(11, &(SECTOR as u16).to_le_bytes());
        put(13, &[(self.cluster_bytes / SECTOR) as u8]);
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[TABLES as u8]);
        put(21, &[MEDIA]);
        // Geometry that nobody uses any more, as every partitioning program gives it.
        put(24, &63u16.to_le_bytes());
        put(26, &255u16.to_le_bytes());
        put(28, &((self.partition.start / SECTOR) as u32).to_le_bytes());
        put(32, &((self.partition.bytes / SECTOR) as u32).to_le_bytes());
        put(36, &(self.table_sectors as u32).to_le_bytes());
        put(44, &FIRST_CLUSTER.to_le_bytes());
        put(48, &(FS_INFO as u16).to_le_bytes());
        put(50, &(BOOT_COPY as u16).to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, b"PURV");
        put(71, LABEL);
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        sector
    }
}

/// FSInfo: how many clusters are free, and where to look for one.
fn fs_info(free: u32, next: u32) -> [u8; SECTOR as usize] {
    let mut sector = [0; SECTOR as usize];
    for (at, value) in [(0, 0x4161_5252), (484, 0x6141_7272), (488, free), (492, next), (508, 0xaa55_0000u32)]
    {
        sector[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    sector
}

/// A directory entry.
fn entry(name: &[u8; 11], attribute: u8, cluster: u32, bytes: u32) -> [u8; DIRECTORY_ENTRY] {
    let mut entry = [0; DIRECTORY_ENTRY];
    entry[..11].copy_from_slice(name);
    entry[11] = attribute;
    // Created, used, changed.
    for at in [16, 18, 24] {
        entry[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    entry[20..22].copy_from_slice(&((cluster >> 16) as u16).to_le_bytes());
    entry[26..28].copy_from_slice(&(cluster as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&bytes.to_le_bytes());
    entry
}
