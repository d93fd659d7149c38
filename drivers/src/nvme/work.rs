//! A request on its way into commands: what of it no command covers yet, and who is told at the end.
use super::pointers::Cursor;
use alloc::sync::Arc;
use block::{BlockError, Completion, Done, Operation, Request};
use core::sync::atomic::{AtomicU32, Ordering};
use spin::Mutex;

/// What a command needs to know of its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    /// Namespace identifier.
    pub namespace: u32,
    /// Bytes of a block, as a power of two.
    pub shift: u8,
    /// Most blocks of one Write Zeroes.
    pub zero_blocks: u32,
    /// Most blocks of one deallocation.
    pub discard_blocks: u32,
    /// Write Zeroes may deallocate.
    pub deallocate_zeroes: bool,
}

/// The part of a request that is not a command yet.
pub(super) struct Work {
    pub format: Format,
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
    pub fn new(format: Format, request: Request<'_>) -> Self {
        let Request { operation, block, blocks, done, .. } = request;
        Self { format, operation, block, blocks, at: Cursor::default(), target: Target::Whole(done) }
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
