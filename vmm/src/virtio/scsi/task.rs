//! One command: from its CDB to what the disk is asked, or the answer.
use super::command::{Cdb, Does};
use super::header::Response;
use super::reply::Reply;
use super::sense::{Code, Key, Sense};
use super::unit::Unit;
use super::{capacity, inquiry, medium, mode, opcodes};
use crate::virtio::channel::Blocks;
use crate::virtio::queue::Chain;
use block::{Features, Operation};

/// What a disk is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnDisk {
    /// The operation; its data is what the chain has left for its direction.
    pub operation: Operation,
    /// Its blocks.
    pub blocks: Blocks,
    /// Bytes that it moves.
    pub moved: u32,
    /// Afterwards the disk's cache is to be flushed.
    pub flush: bool,
}

impl OnDisk {
    /// All that is in the cache goes to the medium.
    pub const FLUSH: Self =
        Self { operation: Operation::Flush, blocks: Blocks { first: 0, count: 0 }, moved: 0, flush: false };
}

/// What becomes of a command.
pub enum Asked {
    /// It is done, without data.
    Done,
    /// It is done, and took so many bytes of data.
    Taken(u32),
    /// It is done, and sent so many.
    Sent(u32),
    /// It takes the disk.
    Disk(OnDisk),
}

/// Why nothing becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The logical unit tells why.
    Sense(Sense),
    /// The controller does.
    Response(Response),
}

impl From<Sense> for Refused {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<Response> for Refused {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}

/// Does what a command asks, of whose CDB `sent` bytes were sent, as far as no disk is needed. `unit` is `None` where
/// there is no such one among `units`.
///
/// # Errors
/// Why it can't be done.
#[inline]
pub fn ask(
    cdb: &Cdb,
    sent: usize,
    unit: Option<&Unit>,
    units: usize,
    chain: &mut Chain,
) -> Result<Asked, Refused> {
    // Without INOUT, data goes one way.
    if chain.readable.bytes() != 0 && chain.writable.bytes() != 0 {
        return Err(Response::FAILURE.into());
    }
    let Some(unit) = unit else { return ask_nobody(cdb, sent, units, chain) };
    let does = cdb.command(sent, unit.features());
    // These three tell what there is in any case (SAM-5, 5.14).
    if !matches!(does, Ok(Does::Inquiry | Does::ReportLuns | Does::RequestSense))
        && let Some(attention) = unit.take_attention()
    {
        return Err(attention.into());
    }
    let does = does?;
    if matches!(does, Does::Read | Does::Write | Does::Flush | Does::Unmap | Does::WriteSame) {
        // Whether the disk is there it says itself.
        unit.started()?;
    }
    match does {
        Does::Read => medium::read(cdb, unit, chain),
        Does::Write => medium::write(cdb, unit, chain),
        Does::Flush => medium::flush(cdb, unit),
        Does::Unmap => medium::unmap(cdb, unit, chain),
        Does::WriteSame => medium::write_same(cdb, unit, chain),
        Does::TestUnitReady => {
            unit.ready()?;
            Ok(Asked::Done)
        }
        // The medium is not removable.
        Does::PreventAllow => Ok(Asked::Done),
        Does::StartStop => {
            let start = cdb.bit(4, 0);
            let flush = !start && !cdb.bit(4, 2);
            unit.set_stopped(!start);
            Ok(if flush { Asked::Disk(OnDisk::FLUSH) } else { Asked::Done })
        }
        Does::ModeSelect => mode_select(cdb, unit, chain),
        Does::RequestSense => {
            let why = unit.take_attention().or_else(|| unit.ready().err());
            let why = why.unwrap_or(Sense::new(Key::NO_SENSE, Code::NONE));
            send(chain, request_sense(cdb, why))
        }
        Does::Inquiry => send(chain, inquiry::inquiry(cdb, Some(unit))?),
        Does::ReportLuns => send(chain, capacity::report_luns(cdb, units)?),
        Does::ModeSense => send(chain, mode::sense(cdb, unit)?),
        Does::ReadCapacity10 => send(chain, capacity::read_10(unit)),
        Does::ReadCapacity16 => send(chain, capacity::read_16(cdb, unit)),
        Does::ReportOpcodes => send(chain, opcodes::report(cdb, unit.features())?),
    }
}

/// A command for a logical unit that is not there (SAM-5, incorrect logical unit numbers).
#[cold]
fn ask_nobody(cdb: &Cdb, sent: usize, units: usize, chain: &mut Chain) -> Result<Asked, Refused> {
    let nobody = Sense::illegal(Code::LOGICAL_UNIT_NOT_SUPPORTED);
    match cdb.command(sent, &Features::default()) {
        Ok(Does::Inquiry) => send(chain, inquiry::inquiry(cdb, None)?),
        Ok(Does::ReportLuns) => send(chain, capacity::report_luns(cdb, units)?),
        Ok(Does::RequestSense) => send(chain, request_sense(cdb, nobody)),
        _ => Err(nobody.into()),
    }
}

/// REQUEST SENSE, in the format that it asks for.
fn request_sense(cdb: &Cdb, sense: Sense) -> (Reply, u64) {
    let mut bytes = [0; super::sense::MAX_SENSE];
    let length = sense.put(cdb.bit(1, 0), &mut bytes);
    let mut reply = Reply::new(0);
    reply.append(&bytes[..length]);
    (reply, cdb.0[4].into())
}

/// Sends parameter data, of which the CDB says the most bytes that are wanted.
fn send(chain: &mut Chain, (reply, wanted): (Reply, u64)) -> Result<Asked, Refused> {
    if wanted > chain.writable.bytes() {
        return Err(Response::OVERRUN.into());
    }
    let bytes = reply.bytes();
    let bytes = &bytes[..bytes.len().min(usize::try_from(wanted).unwrap_or(usize::MAX))];
    if chain.writable.write_front(bytes) != bytes.len() {
        return Err(Response::FAILURE.into());
    }
    Ok(Asked::Sent(bytes.len() as u32))
}

fn mode_select(cdb: &Cdb, unit: &Unit, chain: &mut Chain) -> Result<Asked, Refused> {
    let length = if cdb.code() == 0x55 { cdb.u16(7).into() } else { usize::from(cdb.0[4]) };
    if length as u64 > chain.readable.bytes() {
        return Err(Response::OVERRUN.into());
    }
    let mut list = [0; mode::MAX_LIST];
    let list = list.get_mut(..length).ok_or(Sense::illegal(Code::PARAMETER_LIST_LENGTH_ERROR))?;
    if !chain.readable.take_front(list) {
        return Err(Response::FAILURE.into());
    }
    let flush = mode::select(cdb, unit, list)?.make(unit);
    let moved = length as u32;
    Ok(if flush { Asked::Disk(OnDisk { moved, ..OnDisk::FLUSH }) } else { Asked::Taken(moved) })
}
