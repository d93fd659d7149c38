//! What the port's task does to a disk's commands when something has gone wrong. Most of it is for a queue that is
//! held: nobody else gives the HBA commands then, nor takes completions.
use super::fis::{Verdict, final_error, judge};
use super::queue::Finished;
use super::queue::{Mode, Queue, State, bits};
use alloc::vec::Vec;
use block::BlockError;
use core::sync::atomic::Ordering;

impl Queue {
    /// Lets requests wait from now on.
    pub fn hold(&self) {
        let mut state = self.state.lock();
        if state.mode == Mode::Open {
            state.mode = Mode::Held;
        }
    }

    /// Takes what was completed before the error. `reported`: the disk reports it, so that the one command that is
    /// not queued is not completed, whatever the HBA says of its slot.
    pub fn collect(&self, reported: bool) {
        let mut finished = Finished::new();
        let mut state = self.state.lock();
        if reported && !self.queued_now(&state) {
            return;
        }
        for slot in bits(state.issued & !self.outstanding(&state)) {
            self.conclude(&mut state, slot, &mut finished);
        }
        drop(state);
        finished.tell();
    }

    /// What the HBA had when it stopped, and whether that is queued.
    pub fn in_flight(&self) -> (u32, bool) {
        let state = self.state.lock();
        (state.issued, self.queued_now(&state))
    }

    /// The disk has failed a command: it is done, or is to be given to it again. What became of it.
    pub fn fail(&self, slot: u32, status: u8, error: u8) -> Option<Verdict> {
        let mut state = self.state.lock();
        let opcode = state.slots.get(slot as usize)?.as_ref()?.opcode;
        let verdict = judge(opcode, status, error);
        let result = match verdict {
            Verdict::Failed(error) => Some(error),
            Verdict::Again => self.again(&mut state, slot).then(|| final_error(opcode, status, error)),
        };
        let errors = state.counters.errors + 1;
        if let (Some(issued), true) = (&state.slots[slot as usize], result.is_some())
            && (errors <= 8 || errors.is_power_of_two())
        {
            let name = &self.port.name;
            log::warn!(
                "{name}: {issued} failed with status {status:#04x}, error {error:#04x} (errors: {errors})"
            );
        }
        let done = result.and_then(|error| Some((self.end(&mut state, slot, Err(error))?, error)));
        drop(state);
        if let Some((done, error)) = done {
            done.complete(Err(error));
        }
        Some(verdict)
    }

    /// Gives a command to the disk once more. Whether that was too often.
    fn again(&self, state: &mut State, slot: u32) -> bool {
        let Some(issued) = &mut state.slots[slot as usize] else { return false };
        issued.retries = issued.retries.saturating_add(1);
        state.issued &= !(1 << slot);
        state.ready |= 1 << slot;
        issued.retries > self.port.limits.retries
    }

    /// The commands that are late, or `all` that the HBA had, may be to blame: they are given to the disk once more,
    /// or fail if that was too often.
    pub fn blame(&self, all: bool) {
        let error = BlockError::TimedOut;
        let mut finished = Finished::new();
        let mut state = self.state.lock();
        let blamed = if all { state.issued } else { state.issued & state.late };
        for slot in bits(blamed) {
            if self.again(&mut state, slot)
                && let Some(done) = self.end(&mut state, slot, Err(error))
            {
                finished.push(done, Err(error));
            }
        }
        state.late = 0;
        drop(state);
        finished.tell();
    }

    /// Goes on: the HBA gets all that it had and did not do; one at a time with `alone`.
    pub fn resume(&self, alone: bool) {
        let mut finished = Finished::new();
        let mut state = self.state.lock();
        if state.mode != Mode::Held {
            return;
        }
        state.ready |= core::mem::take(&mut state.issued);
        state.late = 0;
        state.alone |= alone;
        state.counters.retries += u64::from(state.ready.count_ones());
        for slot in bits(state.ready) {
            if let Some(issued) = &state.slots[slot as usize] {
                let table = state.tables[slot as usize].address();
                self.port.memory.write_header(slot, issued.header, table);
            }
        }
        self.port.memory.forget();
        state.mode = Mode::Open;
        let again = self.drain(&mut state, &mut finished);
        self.port.in_flight.store(0, Ordering::Relaxed);
        self.ring(&mut state);
        drop(state);
        finished.tell();
        if again {
            self.drain_all();
        }
    }

    #[cold]
    fn drain_all(&self) {
        let mut again = true;
        while again {
            let mut finished = Finished::new();
            let mut state = self.state.lock();
            if state.mode != Mode::Open {
                return;
            }
            again = self.drain(&mut state, &mut finished);
            self.ring(&mut state);
            drop(state);
            finished.tell();
        }
    }

    /// Ends all requests with `error`, and all that will come. The HBA must not reach their memory any more.
    pub fn close(&self, error: BlockError) {
        let mut told = Vec::new();
        let mut state = self.state.lock();
        state.mode = Mode::Closed;
        for slot in 0..32 {
            told.extend(self.end(&mut state, slot, Err(error)));
        }
        for (mut work, _) in core::mem::take(&mut state.waiting) {
            told.extend(work.next(true));
        }
        drop(state);
        for done in told {
            done.complete(Err(error));
        }
    }

    /// Whether a command has been with the HBA since before `time`.
    pub fn find_late(&self, time: u64) -> bool {
        let mut state = self.state.lock();
        if state.mode != Mode::Open {
            return false;
        }
        let is_late = |slot: &u32| state.slots[*slot as usize].as_ref().is_some_and(|i| i.since < time);
        let late = bits(state.issued).filter(is_late).fold(0u32, |late, slot| late | 1 << slot);
        state.counters.timeouts += u64::from(late.count_ones());
        state.late = late;
        late != 0
    }

    pub fn count_reset(&self) {
        self.state.lock().counters.resets += 1;
    }
}
