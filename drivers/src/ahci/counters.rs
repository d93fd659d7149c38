//! What the disks of a controller have done so far.
use core::ops::AddAssign;

/// What a disk, or all of a controller, has done since it was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Reads that were completed, as commands.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
    /// Discards.
    pub discards: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Commands that failed for good.
    pub errors: u64,
    /// Commands that were given to the disk once more, be it for another's error.
    pub retries: u64,
    /// Commands whose data went through other memory.
    pub bounced: u64,
    /// Requests that had to wait for a free slot.
    pub waited: u64,
    /// Commands that took too long.
    pub timeouts: u64,
    /// Resets of the port.
    pub resets: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self { reads, writes, flushes, discards, bytes_read, bytes_written, .. } = other;
        let Self { errors, retries, bounced, waited, timeouts, resets, .. } = other;
        self.reads += reads;
        self.writes += writes;
        self.flushes += flushes;
        self.discards += discards;
        self.bytes_read += bytes_read;
        self.bytes_written += bytes_written;
        self.errors += errors;
        self.retries += retries;
        self.bounced += bounced;
        self.waited += waited;
        self.timeouts += timeouts;
        self.resets += resets;
    }
}
