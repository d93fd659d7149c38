//! The header that all system description tables share (ACPI 6.5, 5.2.6).
use alloc::vec::Vec;

/// Bytes of the header.
pub(super) const HEADER_BYTES: usize = 36;
/// OEMID of every table.
pub(super) const OEM_ID: &[u8; 6] = b"PUREVM";

/// The byte that makes the sum of `bytes` zero where their checksum byte is zero.
pub(super) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, &b| sum.wrapping_add(b)).wrapping_neg()
}

/// A table with its header and checksum.
pub(super) fn build(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut table = Vec::with_capacity(HEADER_BYTES + body.len());
    table.extend(signature);
    table.extend(((HEADER_BYTES + body.len()) as u32).to_le_bytes());
    table.extend([revision, 0]);
    table.extend(OEM_ID);
    table.extend(b"VIRTUALP"); // OEM Table ID
    table.extend(1u32.to_le_bytes()); // OEM Revision
    table.extend(b"PURE"); // Creator ID
    table.extend(1u32.to_le_bytes()); // Creator Revision
    table.extend(body);
    table[9] = checksum(&table);
    table
}
