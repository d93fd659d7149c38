//! The request queues: commands on their way to a disk, and their answers on the way back.
use super::Shared;
use super::command::{Cdb, MAX_CDB};
use super::config::MAX_SENSE_SIZE;
use super::header::{self, ANSWER, HEADER, Header, Response, Status};
use super::sense::{MAX_SENSE, Sense};
use super::task::{self, Asked, OnDisk, Refused};
use crate::memory::Room;
use crate::virtio::channel::{Blocks, Channel, Next, Protocol};
use crate::virtio::queue::{Broken, Chain, Token, Virtqueue};
use alloc::sync::Arc;
use block::{BlockError, Operation};
use core::sync::atomic::{AtomicU64, Ordering};
use spin::Mutex;

/// Most bytes of an answer, with its sense data.
const MAX_ANSWER: usize = ANSWER + MAX_SENSE_SIZE as usize;

/// What a request queue serves.
pub struct Requests {
    shared: Arc<Shared>,
    /// A bit for each logical unit whose disk was given something and is to be started.
    given: AtomicU64,
}

/// How a command is answered.
#[derive(Default)]
struct Reply {
    token: Token,
    /// Where the answer goes, sense data included.
    room: Room,
    /// Bytes of that.
    bytes: u32,
    /// Number of the logical unit.
    unit: usize,
    /// Bytes of data that the guest has sent or has room for.
    data: u32,
}

/// A command that a disk has.
#[derive(Default)]
pub struct Pending {
    reply: Reply,
    /// By which the guest knows it.
    id: u64,
    /// What the disk was asked; `None` once that was answered.
    on_disk: Option<OnDisk>,
    /// A bit for each task management function that waits for its end.
    awaited: u64,
}

impl Pending {
    /// Whether it is a task of this logical unit or any, with this ID or any, that was not answered yet.
    pub fn is(&self, unit: Option<usize>, id: Option<u64>) -> bool {
        self.on_disk.is_some()
            && unit.is_none_or(|unit| unit == self.reply.unit)
            && id.is_none_or(|id| id == self.id)
    }

    /// When it is answered, the function of this number is to be told.
    pub fn await_by(&mut self, function: usize) {
        self.awaited |= 1 << function;
    }
}

/// How a command ended.
struct Outcome {
    response: Response,
    status: Status,
    sense: Option<Sense>,
    /// Bytes of data that were moved.
    moved: u32,
    /// They were moved to the guest.
    to_guest: bool,
}

impl Outcome {
    /// It worked.
    const fn good(moved: u32, to_guest: bool) -> Self {
        Self { response: Response::OK, status: Status::GOOD, sense: None, moved, to_guest }
    }

    /// It was refused.
    const fn refused(why: Refused) -> Self {
        let nothing = Self::good(0, false);
        match why {
            Refused::Sense(sense) => Self { status: Status::CHECK_CONDITION, sense: Some(sense), ..nothing },
            Refused::Response(response) => Self { response, ..nothing },
        }
    }

    /// The disk has done it, or not.
    fn of(on_disk: &OnDisk, result: Result<(), BlockError>) -> Self {
        let Err(error) = result else {
            return Self::good(on_disk.moved, on_disk.operation == Operation::Read);
        };
        match Sense::of(error) {
            // Which of several blocks it is about is not known.
            Some(sense) => {
                let block = (on_disk.blocks.count == 1).then_some(on_disk.blocks.first);
                Self::refused(Refused::Sense(sense.at(block)))
            }
            None => Self { status: Status::TASK_SET_FULL, ..Self::good(0, false) },
        }
    }
}

impl Requests {
    /// A queue of the controller.
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: shared.clone(), given: AtomicU64::new(0) }
    }

    #[inline]
    fn answer(&self, queue: &Virtqueue, reply: &Reply, outcome: &Outcome) {
        let mut bytes = [0; MAX_ANSWER];
        let mut told = 0;
        if let Some(sense) = &outcome.sense {
            let mut all = [0; MAX_SENSE];
            let descriptors = self.shared.units.get(reply.unit).is_some_and(|unit| unit.descriptors());
            told = sense.put(descriptors, &mut all).min(reply.bytes as usize - ANSWER);
            bytes[ANSWER..ANSWER + told].copy_from_slice(&all[..told]);
        }
        bytes[..4].copy_from_slice(&(told as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&reply.data.saturating_sub(outcome.moved).to_le_bytes());
        bytes[10..12].copy_from_slice(&[outcome.status.0, outcome.response.0]);
        // All of the answer is written, so that the data counts as what it is: what follows on it.
        let written = reply.bytes + if outcome.to_guest { outcome.moved } else { 0 };
        queue.give_back(reply.token, written, |memory| {
            reply.room.write(memory, &bytes[..reply.bytes as usize]);
        });
    }

    #[inline]
    fn submit(
        channel: &Arc<Channel<Self>>,
        reply: Reply,
        id: u64,
        on_disk: OnDisk,
        chain: &Chain,
    ) -> Result<u32, Broken> {
        let Self { shared, given } = channel.protocol();
        // It was found before.
        let Some(unit) = shared.units.get(reply.unit) else { return Err(Broken::Request) };
        given.fetch_or(1 << reply.unit, Ordering::Relaxed);
        let segments = match on_disk.operation {
            Operation::Read => chain.writable.segments(),
            Operation::Write { .. } => chain.readable.segments(),
            _ => &[],
        };
        let OnDisk { operation, blocks, .. } = on_disk;
        channel.submit(unit.disk.as_ref(), operation, blocks, segments, |slot| {
            *slot.lock() = Pending { reply, id, on_disk: Some(on_disk), awaited: 0 };
        })
    }
}

impl Protocol for Requests {
    type Slot = Mutex<Pending>;

    #[inline]
    fn take(channel: &Arc<Channel<Self>>, chain: &mut Chain) -> Result<u32, Broken> {
        let this = channel.protocol();
        let Shared { config, units, .. } = &*this.shared;
        let mut header = [0; HEADER];
        let mut cdb = Cdb([0; MAX_CDB]);
        let (sent, answer) = (config.cdb_size(), ANSWER + config.sense_size());
        let whole = chain.readable.take_front(&mut header)
            && chain.readable.take_front(&mut cdb.0[..sent.min(MAX_CDB)])
            && chain.readable.skip(sent.saturating_sub(MAX_CDB));
        if !whole {
            return Err(Broken::Request);
        }
        let room = chain.writable.take_room(answer).ok_or(Broken::Request)?;
        let header = Header::parse(&header);
        let number = header::unit(&header.unit).unwrap_or(usize::MAX);
        let data = chain.readable.bytes() + chain.writable.bytes();
        let reply = Reply {
            token: chain.token,
            room,
            bytes: answer as u32,
            unit: number,
            data: u32::try_from(data).unwrap_or(u32::MAX),
        };
        let asked = match header::target(&header.unit) {
            Ok(()) => task::ask(&cdb, sent, units.get(number), units.len(), chain),
            Err(response) => Err(Refused::Response(response)),
        };
        let outcome = match asked {
            Ok(Asked::Disk(on_disk)) => return Self::submit(channel, reply, header.id, on_disk, chain),
            Ok(Asked::Done) => Outcome::good(0, false),
            Ok(Asked::Taken(bytes)) => Outcome::good(bytes, false),
            Ok(Asked::Sent(bytes)) => Outcome::good(bytes, true),
            Err(why) => Outcome::refused(why),
        };
        this.answer(channel.queue(), &reply, &outcome);
        Ok(0)
    }

    #[inline]
    fn start(&self) {
        let mut given = self.given.swap(0, Ordering::Relaxed);
        while given != 0 {
            if let Some(unit) = self.shared.units.get(given.trailing_zeros() as usize) {
                unit.disk.start();
            }
            given &= given - 1;
        }
    }

    #[inline]
    fn done(&self, queue: &Virtqueue, slot: &Mutex<Pending>, result: Result<(), BlockError>) -> Next<'_> {
        let mut pending = slot.lock();
        let Pending { reply, on_disk: Some(on_disk), .. } = &mut *pending else { return Next::Answered };
        if on_disk.flush
            && result.is_ok()
            && let Some(unit) = self.shared.units.get(reply.unit)
        {
            on_disk.flush = false;
            // An error of the flush is not about them.
            on_disk.blocks = Blocks::default();
            return Next::Flush(unit.disk.as_ref());
        }
        self.answer(queue, reply, &Outcome::of(on_disk, result));
        pending.on_disk = None;
        let awaited = core::mem::take(&mut pending.awaited);
        drop(pending);
        if awaited != 0 {
            self.shared.functions.task_ended(awaited);
        }
        Next::Answered
    }
}
