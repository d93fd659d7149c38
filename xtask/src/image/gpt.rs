//! A disk with one partition: protective MBR, and the GUID partition table twice (UEFI 2.10, 5.2 and 5.3).
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Where the partition begins: what every partitioning program does, whatever the medium's blocks are.
const FIRST: u64 = 2048;
/// Sectors of the array of partition entries: 128 entries of 128 bytes.
const ENTRIES: u64 = 32;
const ENTRY_BYTES: usize = 128;

/// "EFI System Partition", as its GUID is stored (UEFI 2.10, table 5.7).
const SYSTEM_PARTITION: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
/// Its name: a disk that is looked at says what it is.
const NAME: &str = "PureVisor boot volume";

/// A run of bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// First byte.
    pub start: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Makes `disk` large enough for one EFI system partition of `bytes` (rounded up to a MiB), and writes
/// the tables that describe it.
pub fn write(disk: &File, bytes: u64) -> io::Result<Partition> {
    let sectors = bytes.next_multiple_of(1 << 20) / SECTOR;
    let last = FIRST + sectors - 1;
    // Behind the partition: entries and header once more.
    let total = last + 1 + ENTRIES + 1;
    disk.set_len(total * SECTOR)?;
    disk.write_all_at(&protective_mbr(total), 0)?;

    let mut entries = vec![0u8; (ENTRIES * SECTOR) as usize];
    entries[0..16].copy_from_slice(&SYSTEM_PARTITION);
    entries[16..32].copy_from_slice(&random_guid()?);
    entries[32..40].copy_from_slice(&FIRST.to_le_bytes());
    entries[40..48].copy_from_slice(&last.to_le_bytes());
    for (unit, at) in NAME.encode_utf16().zip((56..ENTRY_BYTES).step_by(2)) {
        entries[at..at + 2].copy_from_slice(&unit.to_le_bytes());
    }
    let guid = random_guid()?;
    let (front, back) = (1, total - 1);
    for (header, other, table) in [(front, back, 2), (back, front, last + 1)] {
        disk.write_all_at(&entries, table * SECTOR)?;
        disk.write_all_at(&table_header(header, other, table, total, guid, &entries), header * SECTOR)?;
    }
    Ok(Partition { start: FIRST * SECTOR, bytes: sectors * SECTOR })
}

/// One partition over the whole disk, so that programs that know no GPT leave it alone.
fn protective_mbr(total: u64) -> [u8; SECTOR as usize] {
    let mut mbr = [0; SECTOR as usize];
    let covered = u32::try_from(total - 1).unwrap_or(u32::MAX);
    // Not active; from cylinder 0, head 0, sector 2; type 0xee; to the last that CHS can say.
    mbr[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    mbr[454..458].copy_from_slice(&1u32.to_le_bytes());
    mbr[458..462].copy_from_slice(&covered.to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

/// The header at sector `own`, whose twin is at `other` and whose entries begin at `table`.
fn table_header(
    own: u64,
    other: u64,
    table: u64,
    total: u64,
    guid: [u8; 16],
    entries: &[u8],
) -> [u8; SECTOR as usize] {
    const HEADER_BYTES: usize = 92;
    let mut header = [0; SECTOR as usize];
    header[0..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
    header[12..16].copy_from_slice(&(HEADER_BYTES as u32).to_le_bytes());
    header[24..32].copy_from_slice(&own.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[40..48].copy_from_slice(&(2 + ENTRIES).to_le_bytes());
    header[48..56].copy_from_slice(&(total - 1 - ENTRIES - 1).to_le_bytes());
    header[56..72].copy_from_slice(&guid);
    header[72..80].copy_from_slice(&table.to_le_bytes());
    header[80..84].copy_from_slice(&((entries.len() / ENTRY_BYTES) as u32).to_le_bytes());
    header[84..88].copy_from_slice(&(ENTRY_BYTES as u32).to_le_bytes());
    header[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    // Over the header with this field zero.
    let sum = crc32(&header[..HEADER_BYTES]);
    header[16..20].copy_from_slice(&sum.to_le_bytes());
    header
}

/// A version 4 GUID in its stored form (RFC 9562, 5.4; the first three fields are little-endian).
pub(super) fn random_guid() -> io::Result<[u8; 16]> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let digits: Vec<u8> = text.bytes().filter_map(|b| (b as char).to_digit(16)).map(|d| d as u8).collect();
    let mut guid = [0; 16];
    if digits.len() != 32 {
        return Err(io::Error::other("the system's random UUID is not one"));
    }
    for (byte, pair) in guid.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    Ok(guid)
}

/// CRC-32 as in ISO 3309 (UEFI 2.10, 4.2).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |sum, &byte| {
        (0..8).fold(
            sum ^ u32::from(byte),
            |sum, _| if sum & 1 != 0 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_random_guid_is_of_version_4() {
        let guid = random_guid().unwrap();
        assert_eq!((guid[7] >> 4, guid[8] >> 6), (4, 2));
        assert_ne!(guid, random_guid().unwrap());
    }
}
