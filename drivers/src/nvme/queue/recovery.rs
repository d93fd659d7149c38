//! What a queue does when things go wrong: retries, time-outs, resets, the end.
use super::{Mode, Queue, Stage, State};
use crate::nvme::completion::Status;
use crate::nvme::ring::Nonsense;
use crate::nvme::wishes::Wish;
use alloc::vec::Vec;
use block::{BlockError, Done};
use core::sync::atomic::Ordering;
use core::time::Duration;

/// After so many completions that nobody waits for, the controller is reset.
const MOST_NONSENSE: u32 = 64;
/// Longest wait before a retry that a controller can ask for: CRDT counts to 109 minutes.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// Wait before a retry where the namespace is not ready and the controller does not say how long.
const NOT_READY_DELAY: Duration = Duration::from_millis(100);

/// What a tick has found in a queue.
#[derive(Default)]
pub(in crate::nvme) struct Overdue {
    /// Commands to abort.
    pub abort: Vec<u16>,
    /// Some were to be aborted long ago.
    pub hopeless: bool,
}

impl Queue {
    /// Gives a command that failed to the controller once more, if that may help.
    #[cold]
    pub(super) fn retry(&self, state: &mut State, slot: u8, status: Status) -> bool {
        let Some(issued) = state.ring.owner(slot) else { return false };
        let name = &self.terms.name;
        if !status.transient() || issued.attempts >= self.terms.retries {
            let errors = state.counters.errors + 1;
            if errors <= 8 || errors.is_power_of_two() {
                let (times, number) = (issued.attempts, state.ring.number());
                let command = state.ring.command(slot);
                log::warn!(
                    "{name}{command} failed with status {status} after {times} retries (errors of queue \
                     {number}: {errors})"
                );
            }
            return false;
        }
        issued.attempts += 1;
        let delay = match status.retry_delay() {
            0 if status.code() == Status::NAMESPACE_NOT_READY => NOT_READY_DELAY * issued.attempts.into(),
            0 => Duration::ZERO,
            which => self.terms.retry_delays[which - 1].min(LONGEST_DELAY),
        };
        state.counters.retries += 1;
        if delay.is_zero() && state.mode == Mode::Open {
            issued.stage = Stage::Sent;
            state.ring.resend(slot);
        } else {
            issued.stage = Stage::Delayed(self.terms.kernel.now() + delay.as_nanos() as u64);
            state.ring.hold(slot);
            self.terms.wishes.wish(Wish::RETRY);
        }
        true
    }

    #[cold]
    pub(super) fn wonder(&self, state: &mut State, nonsense: Nonsense) {
        state.counters.nonsense += 1;
        state.nonsense += 1;
        let count = state.counters.nonsense;
        let name = &self.terms.name;
        if count <= 4 || count.is_power_of_two() {
            log::warn!("{name}: a completion that no command waits for: {nonsense} (the {count}. of them)");
        }
        if state.nonsense == MOST_NONSENSE {
            log::warn!("{name}: queue {} has only nonsense left: reset", state.ring.number());
            self.terms.wishes.wish(Wish::RESET);
        }
    }

    /// Sends the commands whose wait for a retry is over. When the next one's will be.
    pub(in crate::nvme) fn send_delayed(&self, now: u64) -> Option<u64> {
        let mut state = self.state.lock();
        if state.mode != Mode::Open {
            return None;
        }
        let mut next: Option<u64> = None;
        for slot in state.ring.busy() {
            let Some(issued) = state.ring.owner(slot) else { continue };
            match issued.stage {
                Stage::Delayed(until) if until <= now => {
                    issued.stage = Stage::Sent;
                    state.ring.resend(slot);
                }
                Stage::Delayed(until) => next = Some(next.map_or(until, |n| n.min(until))),
                _ => {}
            }
        }
        state.ring.ring_submissions(&self.terms.window);
        next
    }

    /// A tick has gone by. Commands older than `command` ticks are to be aborted, and are hopeless after `abort`
    /// more.
    pub(in crate::nvme) fn tick(&self, command: u8, abort: u8) -> Overdue {
        let mut overdue = Overdue::default();
        let mut state = self.state.lock();
        let mut oldest = 0;
        for slot in state.ring.busy() {
            let age = state.ring.grow_older(slot);
            oldest = oldest.max(age);
            let cid = state.ring.cid(slot);
            let Some(issued) = state.ring.owner(slot) else { continue };
            match issued.stage {
                Stage::Sent if age > command => {
                    issued.stage = Stage::Aborted;
                    overdue.abort.push(cid);
                    state.counters.timeouts += 1;
                }
                Stage::Aborted if age > command.saturating_add(abort) => overdue.hopeless = true,
                _ => {}
            }
        }
        if oldest > 1 && state.mode == Mode::Open {
            state.ring.ring_again(&self.terms.window);
        }
        overdue
    }

    /// Lets requests wait from now on.
    pub(in crate::nvme) fn pause(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Paused;
        }
    }

    /// Empties the queues of a controller that is disabled.
    pub(in crate::nvme) fn restart(&self) {
        let mut state = self.state.lock();
        state.ring.restart();
        state.nonsense = 0;
        self.expected.store(state.ring.expected(), Ordering::Relaxed);
    }

    /// Gives the controller, which has this queue again, what it had before, and goes on. What was given to it
    /// too often is done with [`BlockError::TimedOut`].
    pub(in crate::nvme) fn resume(&self) {
        let mut told = Vec::new();
        let mut state = self.state.lock();
        if state.mode != Mode::Paused {
            return;
        }
        for slot in state.ring.busy() {
            let Some(issued) = state.ring.owner(slot) else { continue };
            if !matches!(issued.stage, Stage::Delayed(_)) {
                issued.attempts = issued.attempts.saturating_add(1);
            }
            issued.stage = Stage::Sent;
            if issued.attempts <= self.terms.retries {
                state.counters.retries += 1;
                state.ring.resend(slot);
            } else {
                state.counters.errors += 1;
                told.extend(state.end(slot));
            }
        }
        state.mode = Mode::Open;
        drop(state);
        for done in told {
            done.complete(Err(BlockError::TimedOut));
        }
        // What waits, and the doorbell.
        self.take_batch(false);
    }

    /// Ends all requests with `error`, and all that will come. The controller must not reach memory any more.
    pub(in crate::nvme) fn close(&self, error: BlockError) {
        let mut told = Vec::new();
        let mut state = self.state.lock();
        state.mode = Mode::Closed(error);
        for slot in state.ring.busy() {
            state.counters.errors += 1;
            told.extend(state.end(slot));
        }
        for (mut work, _) in core::mem::take(&mut state.waiting) {
            told.extend(work.next(true));
        }
        drop(state);
        for done in told {
            done.complete(Err(error));
        }
    }
}

impl State {
    /// Ends a command that has no completion.
    fn end(&mut self, slot: u8) -> Option<Done> {
        let issued = self.ring.release(slot)?;
        if let (Some(bounced), Some(buffers)) = (issued.bounced, self.bounce.as_mut()) {
            buffers.give_back(*bounced, false);
        }
        Some(issued.done)
    }
}
