//! MODE SENSE and MODE SELECT: the cache, the format of sense data, write protection (SPC-4, mode
//! parameters; SBC-3, caching mode page).
use super::command::Cdb;
use super::reply::Reply;
use super::sense::{Code, Sense};
use super::unit::Unit;

/// Most bytes of a parameter list that MODE SELECT takes: header, block descriptor and all pages.
pub const MAX_LIST: usize = 64;

const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0a;
const ALL: u8 = 0x3f;

/// WCE in the caching page, D_SENSE in the control page: both in byte 2.
const BIT: u8 = 0x04;

/// Which values of a page (PC of MODE SENSE).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Values {
    Current,
    Changeable,
    Default,
}

/// Form of header and block descriptor.
#[derive(Clone, Copy)]
struct Form {
    /// Of the commands with 10 bytes.
    long: bool,
    /// The block descriptor has room for large disks.
    large: bool,
}

impl Form {
    fn header(self) -> usize {
        if self.long { 8 } else { 4 }
    }
}

/// A page of `values`, as its bytes; `None` where there is no such page.
fn page(unit: &Unit, code: u8, values: Values) -> Option<([u8; 20], usize)> {
    let cached = unit.features().volatile_cache;
    let (current, default, changeable) = match code {
        CACHING => (unit.writeback(), cached, cached),
        CONTROL => (unit.descriptors(), false, true),
        _ => return None,
    };
    let bit = match values {
        Values::Current => current,
        Values::Changeable => changeable,
        Values::Default => default,
    };
    let length = if code == CACHING { 20 } else { 12 };
    let mut bytes = [0; 20];
    bytes[..3].copy_from_slice(&[code, length as u8 - 2, if bit { BIT } else { 0 }]);
    if code == CONTROL && values != Values::Changeable {
        // Queue algorithm: commands may be reordered.
        bytes[3] = 0x10;
    }
    Some((bytes, length))
}

/// The block descriptor: how many blocks, of what size.
fn descriptor(unit: &Unit, large: bool) -> ([u8; 16], usize) {
    let geometry = unit.geometry();
    let mut bytes = [0; 16];
    if large {
        bytes[..8].copy_from_slice(&geometry.blocks.to_be_bytes());
        bytes[12..].copy_from_slice(&geometry.block_size.to_be_bytes());
        return (bytes, 16);
    }
    bytes[..4].copy_from_slice(&u32::try_from(geometry.blocks).unwrap_or(u32::MAX).to_be_bytes());
    bytes[5..8].copy_from_slice(&geometry.block_size.to_be_bytes()[1..]);
    (bytes, 8)
}

/// MODE SENSE of 6 or 10 bytes.
///
/// # Errors
/// There are no such pages or values.
pub fn sense(cdb: &Cdb, unit: &Unit) -> Result<(Reply, u64), Sense> {
    const WRITE_PROTECTED: u8 = 0x80;
    const DPO_FUA: u8 = 0x10;
    let long = cdb.code() == 0x5a;
    let form = Form { long, large: long && cdb.bit(1, 4) };
    let values = match cdb.0[2] >> 6 {
        0 => Values::Current,
        1 => Values::Changeable,
        2 => Values::Default,
        _ => return Err(Sense::illegal(Code::SAVING_PARAMETERS_NOT_SUPPORTED)),
    };
    // No page has subpages, so that "all" is none more.
    if !matches!(cdb.0[3], 0 | 0xff) {
        return Err(Sense::bad_field(3));
    }
    let pages: &[u8] = match cdb.0[2] & 0x3f {
        ALL => &[CACHING, CONTROL],
        CACHING => &[CACHING],
        CONTROL => &[CONTROL],
        _ => return Err(Sense::bad_field(2)),
    };
    let mut reply = Reply::new(form.header());
    let mut blocks = 0;
    if !cdb.bit(1, 3) {
        let (bytes, length) = descriptor(unit, form.large);
        reply.append(&bytes[..length]);
        blocks = length as u8;
    }
    for &code in pages {
        if let Some((bytes, length)) = page(unit, code, values) {
            reply.append(&bytes[..length]);
        }
    }
    let device = DPO_FUA | if unit.features().read_only { WRITE_PROTECTED } else { 0 };
    let length = reply.length();
    if long {
        reply.put(0, &(length as u16 - 2).to_be_bytes());
        reply.put(3, &[device, form.large.into(), 0, 0, blocks]);
        Ok((reply, cdb.u16(7).into()))
    } else {
        reply.put(0, &[length as u8 - 1, 0, device, blocks]);
        Ok((reply, cdb.0[4].into()))
    }
}

/// What a MODE SELECT changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    writeback: Option<bool>,
    descriptors: Option<bool>,
}

impl Changes {
    /// Makes them. Whether what the disk's cache has is to be written before the command ends, since it is
    /// not used any more.
    pub fn make(self, unit: &Unit) -> bool {
        if let Some(descriptors) = self.descriptors {
            unit.set_descriptors(descriptors);
        }
        let flush = self.writeback == Some(false) && unit.writeback();
        if let Some(writeback) = self.writeback {
            unit.set_writeback(writeback);
        }
        flush
    }
}

/// Understands the parameter list of a MODE SELECT. Nothing is changed yet.
///
/// # Errors
/// It is cut off, or would change what can't be changed.
pub fn select(cdb: &Cdb, unit: &Unit, list: &[u8]) -> Result<Changes, Sense> {
    const CUT_OFF: Sense = Sense::illegal(Code::PARAMETER_LIST_LENGTH_ERROR);
    let mut changes = Changes::default();
    if list.is_empty() {
        return Ok(changes);
    }
    let long = cdb.code() == 0x55;
    let form = Form { long, large: long && list.get(4).is_some_and(|flags| flags & 1 != 0) };
    let (blocks, header) = match (long, list) {
        (true, [_, _, _, _, _, _, high, low, ..]) => (u16::from_be_bytes([*high, *low]), 8),
        (false, [_, _, _, blocks, ..]) => (u16::from(*blocks), 4),
        _ => return Err(CUT_OFF),
    };
    let mut at = header;
    if blocks != 0 {
        // The disk's size and blocks are what they are.
        let (bytes, length) = descriptor(unit, form.large);
        if usize::from(blocks) != length {
            return Err(Sense::bad_parameter(header - 1));
        }
        let given = list.get(at..at + length).ok_or(CUT_OFF)?;
        if given != &bytes[..length] {
            return Err(Sense::bad_parameter(at));
        }
        at += length;
    }
    while let Some(rest) = list.get(at..).filter(|rest| !rest.is_empty()) {
        let code = rest[0];
        let (current, length) = page(unit, code, Values::Current).ok_or(Sense::bad_parameter(at))?;
        let (changeable, _) = page(unit, code, Values::Changeable).ok_or(Sense::bad_parameter(at))?;
        if rest.len() < 2 {
            return Err(CUT_OFF);
        }
        if usize::from(rest[1]) + 2 != length {
            return Err(Sense::bad_parameter(at + 1));
        }
        let given = rest.get(..length).ok_or(CUT_OFF)?;
        let wrong = (2..length).find(|&i| (given[i] ^ current[i]) & !changeable[i] != 0);
        if let Some(i) = wrong {
            return Err(Sense::bad_parameter(at + i));
        }
        let on = Some(given[2] & BIT != 0);
        match code {
            CACHING => changes.writeback = on,
            _ => changes.descriptors = on,
        }
        at += length;
    }
    Ok(changes)
}
