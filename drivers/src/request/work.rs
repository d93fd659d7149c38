//! A request on its way into commands: what of it no command covers yet, and who is told at the end.
use super::Cursor;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockError, Completion, Done, Operation, Request};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;

/// The part of a request that is not a command yet. `D` is what its commands need to know of the disk.
pub(crate) struct Work<D = ()> {
    pub disk: D,
    pub operation: Operation,
    pub block: u64,
    pub blocks: u64,
    pub at: Cursor,
    target: Target,
}

enum Target {
    /// Nothing of it is a command: whoever asked.
    Whole(Done),
    /// Some of it is.
    Split(Arc<Join>),
    /// All of it is.
    Nobody,
}

impl Work {
    /// A flush that tells `done`.
    pub fn flush(done: Done) -> Self {
        let target = Target::Whole(done);
        Self { disk: (), operation: Operation::Flush, block: 0, blocks: 0, at: Cursor::default(), target }
    }
}

impl<D> Work<D> {
    /// All of a request.
    #[inline]
    pub fn new(disk: D, request: Request<'_>) -> Self {
        let Request { operation, block, blocks, done, .. } = request;
        Self { disk, operation, block, blocks, at: Cursor::default(), target: Target::Whole(done) }
    }

    /// Whom the next command tells; `last`, if it covers all that is left.
    #[inline]
    pub fn next(&mut self, last: bool) -> Option<Done> {
        match core::mem::replace(&mut self.target, Target::Nobody) {
            Target::Whole(done) if last => Some(done),
            Target::Whole(done) => {
                let join = Arc::new(Join { left: AtomicU32::new(2), error: Mutex::new(None), done });
                self.target = Target::Split(join.clone());
                Some(Done { to: join, tag: 0 })
            }
            // The share of what was not a command yet goes with the last.
            Target::Split(join) if last => Some(Done { to: join, tag: 0 }),
            Target::Split(join) => {
                join.left.fetch_add(1, Ordering::Relaxed);
                self.target = Target::Split(join.clone());
                Some(Done { to: join, tag: 0 })
            }
            Target::Nobody => None,
        }
    }

    /// Whether a part has failed already, so that the rest need not be done.
    pub fn failed(&self) -> Option<BlockError> {
        match &self.target {
            Target::Split(join) => *join.error.lock(),
            _ => None,
        }
    }
}

/// A request that takes several commands: it is done when all are, with the first error.
struct Join {
    /// Commands that are not completed, and 1 as long as some of the request is not a command.
    left: AtomicU32,
    error: Mutex<Option<BlockError>>,
    done: Done,
}

impl Completion for Join {
    fn complete(&self, _tag: u64, result: Result<(), BlockError>) {
        if let Err(error) = result {
            self.error.lock().get_or_insert(error);
        }
        // Release and acquire: whoever is last sees the error of any other.
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let result = self.error.lock().map_or(Ok(()), Err);
            self.done.to.complete(self.done.tag, result);
        }
    }
}

/// Several requests that one command fulfils.
struct All(Vec<Done>);

impl Completion for All {
    fn complete(&self, _tag: u64, result: Result<(), BlockError>) {
        for Done { to, tag } in &self.0 {
            to.complete(*tag, result);
        }
    }
}

/// One to be told for many.
pub(crate) fn all(dones: Vec<Done>) -> Done {
    Done { to: Arc::new(All(dones)), tag: 0 }
}
