//! Commands on a disk's blocks: what is asked of the disk (SBC-3).
use super::command::Cdb;
use super::config::MAX_BYTES;
use super::header::Response;
use super::sense::{Code, Key, Sense};
use super::task::{Asked, OnDisk, Refused};
use super::unit::Unit;
use crate::memory::Scatter;
use crate::virtio::channel::{Blocks, MOST_DISCARDED, MOST_ZEROED};
use crate::virtio::queue::Chain;
use block::Operation;

/// READ.
#[inline]
pub fn read(cdb: &Cdb, unit: &Unit, chain: &mut Chain) -> Result<Asked, Refused> {
    let blocks = cdb.blocks();
    let bytes = transfer(cdb, unit, blocks, &mut chain.writable)?;
    if bytes == 0 {
        return Ok(Asked::Done);
    }
    // FUA: what is read from the cache is to be on the medium, too.
    let flush = fua(cdb) && unit.features().volatile_cache;
    Ok(Asked::Disk(OnDisk { operation: Operation::Read, blocks, moved: bytes, flush }))
}

/// WRITE.
#[inline]
pub fn write(cdb: &Cdb, unit: &Unit, chain: &mut Chain) -> Result<Asked, Refused> {
    writable(unit)?;
    let blocks = cdb.blocks();
    let bytes = transfer(cdb, unit, blocks, &mut chain.readable)?;
    if bytes == 0 {
        return Ok(Asked::Done);
    }
    let durable = unit.features().volatile_cache && (fua(cdb) || !unit.writeback());
    let operation = Operation::Write { durable };
    Ok(Asked::Disk(OnDisk { operation, blocks, moved: bytes, flush: false }))
}

/// SYNCHRONIZE CACHE: all of it, whichever blocks are named. Ended when it is done, IMMED or not.
pub fn flush(cdb: &Cdb, unit: &Unit) -> Result<Asked, Refused> {
    unit.check(cdb.blocks())?;
    Ok(Asked::Disk(OnDisk::FLUSH))
}

/// UNMAP, of one range as VPD page B0h tells.
pub fn unmap(cdb: &Cdb, unit: &Unit, chain: &mut Chain) -> Result<Asked, Refused> {
    const HEADER: usize = 8;
    const DESCRIPTOR: usize = 16;
    writable(unit)?;
    let length = usize::from(cdb.u16(7));
    let moved = length as u32;
    if u64::from(moved) > chain.readable.bytes() {
        return Err(Response::OVERRUN.into());
    }
    // SBC-3: a list without a whole header or descriptor does nothing.
    if length < HEADER {
        return if length == 0 { Ok(Asked::Taken(moved)) } else { Err(CUT_OFF.into()) };
    }
    let mut list = [0; HEADER + DESCRIPTOR];
    let there = length.min(list.len());
    take(&mut chain.readable, &mut list[..there])?;
    let [_, _, high, low, _, _, _, _, range @ ..] = list;
    match usize::from(u16::from_be_bytes([high, low])) {
        0..DESCRIPTOR => return Ok(Asked::Taken(moved)),
        _ if length < HEADER + DESCRIPTOR => return Err(CUT_OFF.into()),
        descriptors if descriptors >= 2 * DESCRIPTOR => return Err(Sense::bad_parameter(2).into()),
        _ => {}
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = range;
    let blocks = Blocks {
        first: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        count: u32::from_be_bytes([i, j, k, l]).into(),
    };
    unit.check(blocks)?;
    if blocks.count * u64::from(unit.geometry().block_size) > MOST_DISCARDED {
        return Err(Sense::bad_parameter(HEADER + 8).into());
    }
    if blocks.count == 0 {
        return Ok(Asked::Taken(moved));
    }
    Ok(Asked::Disk(OnDisk { operation: Operation::Discard, blocks, moved, flush: false }))
}

/// WRITE SAME, of zeroes. Of anything else it is refused: no guest is known to use that.
pub fn write_same(cdb: &Cdb, unit: &Unit, chain: &mut Chain) -> Result<Asked, Refused> {
    let (unmap, without_data) = (cdb.bit(1, 3), cdb.bit(1, 0));
    writable(unit)?;
    let blocks = cdb.blocks();
    let block = unit.geometry().block_size;
    // WSNZ, and the greatest length, as VPD page B0h tells.
    if blocks.count == 0 || blocks.count * u64::from(block) > MOST_ZEROED {
        return Err(Sense::bad_field(cdb.length_at()).into());
    }
    unit.check(blocks)?;
    let moved = if without_data { 0 } else { block };
    if u64::from(moved) > chain.readable.bytes() {
        return Err(Response::OVERRUN.into());
    }
    let mut left = moved as usize;
    while left > 0 {
        let mut piece = [0; 512];
        let now = left.min(piece.len());
        take(&mut chain.readable, &mut piece[..now])?;
        if piece != [0; 512] {
            return Err(Sense::bad_parameter(0).into());
        }
        left -= now;
    }
    let operation = Operation::WriteZeroes { deallocate: unmap && unit.features().discard };
    // There is no such operation that is durable by itself.
    let flush = unit.features().volatile_cache && !unit.writeback();
    Ok(Asked::Disk(OnDisk { operation, blocks, moved, flush }))
}

const CUT_OFF: Sense = Sense::illegal(Code::PARAMETER_LIST_LENGTH_ERROR);

/// FUA. READ and WRITE of 6 bytes have the address there.
#[inline]
fn fua(cdb: &Cdb) -> bool {
    cdb.code() >= 0x20 && cdb.bit(1, 3)
}

#[inline]
fn writable(unit: &Unit) -> Result<(), Sense> {
    if unit.features().read_only {
        return Err(Sense::new(Key::DATA_PROTECT, Code::WRITE_PROTECTED));
    }
    Ok(())
}

/// Leaves in `list` what a transfer of `blocks` moves; how many bytes that are.
#[inline]
fn transfer(cdb: &Cdb, unit: &Unit, blocks: Blocks, list: &mut Scatter) -> Result<u32, Refused> {
    unit.check(blocks)?;
    // Less than 2^32 blocks of at most 2^12 bytes.
    let bytes = blocks.count * u64::from(unit.geometry().block_size);
    // As VPD page B0h tells.
    if bytes > MAX_BYTES {
        return Err(Sense::bad_field(cdb.length_at()).into());
    }
    if bytes > list.bytes() {
        return Err(Response::OVERRUN.into());
    }
    if list.too_long() {
        return Err(Response::FAILURE.into());
    }
    list.truncate(bytes);
    Ok(bytes as u32)
}

/// Takes parameter data of which there are enough bytes, unless its list is too long.
fn take(list: &mut Scatter, out: &mut [u8]) -> Result<(), Refused> {
    if list.take_front(out) { Ok(()) } else { Err(Response::FAILURE.into()) }
}
