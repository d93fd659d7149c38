//! What a controller has done so far.
use core::ops::AddAssign;

/// What a controller has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that were completed, as commands.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Deallocations and writes of zeroes.
    pub others: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Commands that failed for good.
    pub errors: u64,
    /// Commands that were given to the controller once more.
    pub retries: u64,
    /// Commands whose data went through other memory.
    pub bounced: u64,
    /// Requests that had to wait for a free slot.
    pub waited: u64,
    /// Completions that no command had.
    pub nonsense: u64,
    /// Commands that took too long.
    pub timeouts: u64,
    /// Resets of the controller.
    pub resets: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self { reads, writes, flushes, others, bytes_read, bytes_written, .. } = other;
        let Self { errors, retries, bounced, waited, nonsense, timeouts, resets, .. } = other;
        self.reads += reads;
        self.writes += writes;
        self.flushes += flushes;
        self.others += others;
        self.bytes_read += bytes_read;
        self.bytes_written += bytes_written;
        self.errors += errors;
        self.retries += retries;
        self.bounced += bounced;
        self.waited += waited;
        self.nonsense += nonsense;
        self.timeouts += timeouts;
        self.resets += resets;
    }
}
