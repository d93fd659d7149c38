//! INQUIRY: what a logical unit is (SPC-4, 6.6 and 7.8; SBC-3, vital product data).
use super::command::Cdb;
use super::config::MAX_BYTES;
use super::reply::Reply;
use super::sense::Sense;
use super::unit::Unit;
use crate::virtio::channel::{MOST_DISCARDED, MOST_ZEROED};

/// Who made it, 8 characters.
const VENDOR: &str = "PureVisr";
/// What it is, 16.
const PRODUCT: &str = "Virtual disk";
/// Its revision, 4.
const REVISION: &str = "0001";

/// Peripheral device type of a disk.
const DISK: u8 = 0x00;
/// Qualifier and type of a logical unit that is not there.
const ABSENT: u8 = 0x7f;

/// Pages of vital product data.
mod page {
    pub const SUPPORTED: u8 = 0x00;
    pub const SERIAL: u8 = 0x80;
    pub const IDENTIFICATION: u8 = 0x83;
    pub const BLOCK_LIMITS: u8 = 0xb0;
    pub const CHARACTERISTICS: u8 = 0xb1;
    pub const PROVISIONING: u8 = 0xb2;
    pub const ALL: [u8; 6] = [SUPPORTED, SERIAL, IDENTIFICATION, BLOCK_LIMITS, CHARACTERISTICS, PROVISIONING];
}

/// Answers it for `unit`, or where there is none, and the most bytes of the answer that are wanted.
///
/// # Errors
/// The page does not exist.
pub fn inquiry(cdb: &Cdb, unit: Option<&Unit>) -> Result<(Reply, u64), Sense> {
    let reply = match (cdb.bit(1, 0), cdb.0[2], unit) {
        (false, 0, unit) => standard(unit),
        (true, code, Some(unit)) => vital(code, unit).ok_or(Sense::bad_field(2))?,
        _ => return Err(Sense::bad_field(2)),
    };
    Ok((reply, cdb.u16(3).into()))
}

fn standard(unit: Option<&Unit>) -> Reply {
    /// SAM-5, SPC-4, SBC-3, no version of each claimed.
    const STANDARDS: [u16; 3] = [0x00a0, 0x0460, 0x04c0];
    let mut reply = Reply::new(74);
    reply.put(0, &[if unit.is_some() { DISK } else { ABSENT }]);
    // SPC-4; the data's format, and HISUP: LUNs as REPORT LUNS tells them.
    reply.put(2, &[0x06, 0x12, 74 - 5]);
    // CMDQUE: takes several commands at once.
    reply.put(7, &[0x02]);
    reply.put_text(8, VENDOR, 8);
    reply.put_text(16, PRODUCT, 16);
    reply.put_text(32, REVISION, 4);
    for (i, standard) in STANDARDS.into_iter().enumerate() {
        reply.put(58 + 2 * i, &standard.to_be_bytes());
    }
    reply
}

fn vital(code: u8, unit: &Unit) -> Option<Reply> {
    let mut reply = Reply::new(4);
    match code {
        page::SUPPORTED => reply.append(&page::ALL),
        page::SERIAL => reply.append(unit.serial().as_bytes()),
        page::IDENTIFICATION => identification(&mut reply, unit),
        page::BLOCK_LIMITS => block_limits(&mut reply, unit),
        page::CHARACTERISTICS => {
            // Medium rotation rate: not rotating, or not reported.
            reply.put(4, &u16::from(unit.features().solid_state).to_be_bytes());
            reply.put(63, &[0]);
        }
        page::PROVISIONING => provisioning(&mut reply, unit),
        _ => return None,
    }
    let length = reply.length() as u16 - 4;
    reply.put(0, &[DISK, code]);
    reply.put(2, &length.to_be_bytes());
    Some(reply)
}

/// Device identification (SPC-4, page 83h): what tells this logical unit from all others, as text and as a number.
fn identification(reply: &mut Reply, unit: &Unit) {
    let serial = unit.serial().as_bytes();
    // Code set ASCII; of the logical unit, T10 vendor ID based.
    reply.append(&[2, 1, 0, (8 + serial.len()) as u8]);
    let at = reply.length();
    reply.put_text(at, VENDOR, 8);
    reply.append(serial);
    // Code set binary; of the logical unit, NAA: a locally assigned one.
    reply.append(&[1, 3, 0, 8]);
    reply.append(&(3 << 60 | hash(serial) >> 4).to_be_bytes());
}

/// FNV-1a, with its last step mixed so that the upper bits depend on all bytes.
fn hash(bytes: &[u8]) -> u64 {
    let hash = VENDOR.bytes().chain(bytes.iter().copied()).fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (hash ^ hash >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Block limits (SBC-3, page B0h).
fn block_limits(reply: &mut Reply, unit: &Unit) {
    let (geometry, of) = (unit.geometry(), unit.features());
    let block = u64::from(geometry.block_size);
    let physical = geometry.physical_block_size / geometry.block_size;
    // WSNZ: a length of 0 does not stand for all up to the end.
    reply.put(4, &[1]);
    reply.put(6, &(physical as u16).to_be_bytes());
    reply.put(8, &((MAX_BYTES / block) as u32).to_be_bytes());
    if of.discard {
        reply.put(20, &((MOST_DISCARDED / block) as u32).to_be_bytes());
        // Descriptors of one UNMAP.
        reply.put(24, &1u32.to_be_bytes());
        reply.put(28, &physical.to_be_bytes());
        // UGAVALID, and an alignment of 0.
        reply.put(32, &[0x80]);
    }
    if of.write_zeroes {
        reply.put(36, &(MOST_ZEROED / block).to_be_bytes());
    }
    reply.put(63, &[0]);
}

/// Logical block provisioning (SBC-3, page B2h).
fn provisioning(reply: &mut Reply, unit: &Unit) {
    const LBPU: u8 = 0x80;
    const LBPWS: u8 = 0x40;
    const LBPWS10: u8 = 0x20;
    let of = unit.features();
    let unmap = if of.discard { LBPU } else { 0 };
    // LBPRZ stays 0: what a discarded block reads as is the disk's choice.
    let write_same = if of.discard && of.write_zeroes { LBPWS | LBPWS10 } else { 0 };
    reply.put(5, &[unmap | write_same]);
    reply.put(7, &[0]);
}
