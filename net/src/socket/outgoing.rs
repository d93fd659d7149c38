//! What a socket sends with one priority: how much of it waits, and what became of it.
use super::counters::{Count, Outgoing, TrafficCount};
use super::{Limit, SendError};
use crate::switch::Traffic;
use core::array;
use executor::Changes;
use spin::Mutex;

/// See the module.
pub(super) struct Sends {
    limit: Limit,
    waiting: Mutex<Waiting>,
    /// Of `full`.
    changes: Changes,
    sent: TrafficCount,
    dropped: Count,
    refused: [Count; SendError::COUNT],
}

struct Waiting {
    frames: usize,
    bytes: usize,
    /// A sender has found no room, and there is not enough yet to tell him.
    full: bool,
}

impl Sends {
    pub fn new(limit: Limit) -> Self {
        Self {
            limit,
            waiting: Mutex::new(Waiting { frames: 0, bytes: 0, full: false }),
            changes: Changes::new(),
            sent: TrafficCount::default(),
            dropped: Count::default(),
            refused: array::from_fn(|_| Count::default()),
        }
    }

    /// A frame of so many bytes waits from now on, if there is room.
    pub fn enter(&self, bytes: usize) -> Result<(), SendError> {
        let mut waiting = self.waiting.lock();
        let fits =
            waiting.frames < self.limit.frames && bytes <= self.limit.bytes.saturating_sub(waiting.bytes);
        if fits || waiting.frames == 0 {
            waiting.frames += 1;
            waiting.bytes += bytes;
            return Ok(());
        }
        waiting.full = true;
        Err(SendError::Full)
    }

    /// A frame waits no longer.
    fn leave(&self, bytes: usize) {
        let mut waiting = self.waiting.lock();
        waiting.frames -= 1;
        waiting.bytes -= bytes;
        let half = waiting.frames <= self.limit.frames / 2 && waiting.bytes <= self.limit.bytes / 2;
        let tell = waiting.full && half;
        waiting.full &= !tell;
        drop(waiting);
        if tell {
            self.changes.announce();
        }
    }

    /// Waits until half of what may wait has gone, where a sender has found no room.
    pub async fn room(&self) {
        self.changes.until(|| (!self.waiting.lock().full).then_some(())).await;
    }

    /// The card has taken a frame.
    pub fn sent(&self, bytes: usize) {
        self.sent.add(bytes);
    }

    /// The card has taken a frame that had waited.
    pub fn sent_waiting(&self, bytes: usize) {
        self.leave(bytes);
        self.sent.add(bytes);
    }

    /// A frame that waited is dropped.
    pub fn dropped(&self, bytes: usize) {
        self.leave(bytes);
        self.dropped.add(1);
    }

    /// A frame was refused.
    pub fn refused(&self, error: SendError) {
        self.refused[error as usize].add(1);
    }

    pub fn counters(&self) -> Outgoing {
        let waiting = self.waiting.lock();
        let waiting = Traffic { frames: waiting.frames as u64, bytes: waiting.bytes as u64 };
        let refused = array::from_fn(|error| self.refused[error].get());
        Outgoing { sent: self.sent.get(), waiting, dropped: self.dropped.get(), refused }
    }
}
