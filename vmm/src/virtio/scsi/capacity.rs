//! READ CAPACITY and REPORT LUNS: how large, and how many.
use super::command::Cdb;
use super::header;
use super::reply::Reply;
use super::sense::Sense;
use super::unit::Unit;

/// READ CAPACITY (10) (SBC-3, 5.15). Who sees its greatest number asks by the other command.
pub fn read_10(unit: &Unit) -> (Reply, u64) {
    let geometry = unit.geometry();
    let last = geometry.blocks.saturating_sub(1);
    let mut reply = Reply::new(8);
    reply.put(0, &u32::try_from(last).unwrap_or(u32::MAX).to_be_bytes());
    reply.put(4, &geometry.block_size.to_be_bytes());
    (reply, 8)
}

/// READ CAPACITY (16) (SBC-3, 5.16).
pub fn read_16(cdb: &Cdb, unit: &Unit) -> (Reply, u64) {
    const LBPME: u8 = 0x80;
    let geometry = unit.geometry();
    let per_physical = (geometry.physical_block_size / geometry.block_size).max(1);
    let mut reply = Reply::new(32);
    reply.put(0, &geometry.blocks.saturating_sub(1).to_be_bytes());
    reply.put(8, &geometry.block_size.to_be_bytes());
    reply.put(13, &[per_physical.ilog2() as u8]);
    reply.put(14, &[if geometry.features.discard { LBPME } else { 0 }]);
    (reply, cdb.u32(10).into())
}

/// REPORT LUNS (SPC-4, 6.33).
///
/// # Errors
/// It asks for what is not defined, or for less than the least answer.
pub fn report_luns(cdb: &Cdb, units: usize) -> Result<(Reply, u64), Sense> {
    /// Those with addresses; well-known ones, of which there are none; all.
    const ADDRESSED: u8 = 0;
    const WELL_KNOWN: u8 = 1;
    const ALL: u8 = 2;
    let units = match cdb.0[2] {
        ADDRESSED | ALL => units,
        WELL_KNOWN => 0,
        _ => return Err(Sense::bad_field(2)),
    };
    let wanted = cdb.u32(6);
    if wanted < 16 {
        return Err(Sense::bad_field(6));
    }
    let mut reply = Reply::new(8);
    reply.put(0, &(8 * units as u32).to_be_bytes());
    (0..units).for_each(|unit| reply.append(&header::address(unit)));
    Ok((reply, wanted.into()))
}
