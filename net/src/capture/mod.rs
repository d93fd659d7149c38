//! Captures: frames kept in memory, in the form that Wireshark and tcpdump read.
//!
//! ```text
//!  record(time, headers, bytes) ─► Filter ─► ring of whole records ─► read(cursor) ─► a file's bytes, piece by piece
//! ```
//!
//! The file is libpcap's (<https://www.tcpdump.org/manpages/pcap-savefile.5.html>): little-endian, nanoseconds, Ethernet.
//!
//! Promises:
//! - A capture takes the memory that it was given at its beginning, and none after that.
//! - What was read is a file with whole records, whenever it is read and however slowly. Where the ring is full, the oldest
//!   records go; a reader that had not read them is told how many.
//! - [`Capture::record`] takes a time that is bounded by the frame's length, and copies its bytes once.
//!
//! Not here: who holds the frame's memory, what time it is, and where the file goes.
mod filter;
mod record;
mod ring;
#[cfg(test)]
mod tests;

pub use filter::{Filter, FilterError};
pub use record::{Record, records};

use crate::frame::Headers;
use crate::nic::Frame;
use core::fmt;
use ring::Ring;

/// Frames that were recorded.
pub struct Capture {
    ring: Ring,
    snap_length: usize,
    filter: Option<Filter>,
    /// The number of the oldest record.
    first: u64,
    /// The number that the next one gets.
    next: u64,
}

/// How far a reader has read. A new one is at the beginning of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Has read the file's header.
    begun: bool,
    at: u64,
    /// The number of the record there.
    next: u64,
    missed: u64,
}

impl Cursor {
    /// Records that it came too late for.
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

/// Why there is no capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// It would not hold a single frame of the length that was asked for, or frames would have none.
    Size,
    /// There is not so much memory.
    NoMemory,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Size => {
                "a capture has room for one frame at least, of one byte at least: give it more memory"
            }
            Self::NoMemory => "there is not so much free memory for a capture: give it less",
        })
    }
}

/// Bytes of the file's header.
const FILE: usize = 24;
/// Bytes of a record's, before those of its frame.
pub const RECORD: usize = 16;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const ETHERNET: u32 = 1;
const SECOND: u64 = 1_000_000_000;

impl Capture {
    /// One that keeps as many records as `bytes` hold, of each frame as much as `snap_length`, of those that pass the filter.
    ///
    /// # Errors
    /// It would hold none, or there is no memory.
    pub fn new(bytes: usize, snap_length: usize, filter: Option<Filter>) -> Result<Self, CaptureError> {
        let snap_length = snap_length.min(Frame::MOST);
        if snap_length == 0 || bytes < RECORD + snap_length {
            return Err(CaptureError::Size);
        }
        let ring = Ring::new(bytes).ok_or(CaptureError::NoMemory)?;
        Ok(Self { ring, snap_length, filter, first: 0, next: 0 })
    }

    /// Records a frame of `length` bytes, at so many nanoseconds, if it passes the filter; whether it did. Programs that read
    /// the file take them to be since 1970.
    /// One
    /// whose headers are malformed has none, and passes only where there is no filter.
    ///
    /// It begins with `beginning`; `rest` copies from what follows: to all of a slice, the bytes from a place on that is
    /// counted from where `beginning` ends. It is called twice at most.
    pub fn record(
        &mut self,
        now: u64,
        headers: Option<&Headers>,
        length: usize,
        beginning: &[u8],
        mut rest: impl FnMut(usize, &mut [u8]),
    ) -> bool {
        if let Some(filter) = &self.filter
            && !headers.is_some_and(|headers| filter.passes(headers))
        {
            return false;
        }
        let kept = length.min(self.snap_length);
        let beginning = &beginning[..kept.min(beginning.len())];
        while self.ring.room() < RECORD + kept {
            let mut oldest = [0; RECORD];
            self.ring.read(self.ring.start(), &mut oldest);
            self.ring.release(RECORD + kept_bytes(&oldest));
            self.first += 1;
        }
        // 32 bits of seconds, until 2106.
        let words = [(now / SECOND) as u32, (now % SECOND) as u32, kept as u32, length as u32];
        self.ring.write(words.map(u32::to_le_bytes).as_flattened());
        self.ring.write(beginning);
        let mut copied = 0;
        for slice in self.ring.extend(kept - beginning.len()) {
            if !slice.is_empty() {
                rest(copied, slice);
            }
            copied += slice.len();
        }
        self.next += 1;
        true
    }

    /// The next whole records of the file, and its header before the first: how many bytes of `into` they are. 0 where there
    /// are none yet; the reader may come again.
    ///
    /// Each record fits where `into` holds [`Self::piece`] bytes; one that does not fit is not read.
    pub fn read(&self, cursor: &mut Cursor, into: &mut [u8]) -> usize {
        let mut read = 0;
        if !cursor.begun {
            let Some(header) = into.first_chunk_mut() else { return 0 };
            *header = self.header();
            cursor.begun = true;
            read = FILE;
        }
        if cursor.next < self.first {
            cursor.missed += self.first - cursor.next;
            (cursor.next, cursor.at) = (self.first, self.ring.start());
        }
        while cursor.next < self.next {
            let mut record = [0; RECORD];
            self.ring.read(cursor.at, &mut record);
            let bytes = RECORD + kept_bytes(&record);
            let Some(slice) = into.get_mut(read..read + bytes) else { break };
            self.ring.read(cursor.at, slice);
            read += bytes;
            cursor.at += bytes as u64;
            cursor.next += 1;
        }
        read
    }

    /// Bytes that hold whatever comes next.
    pub fn piece(&self) -> usize {
        FILE + RECORD + self.snap_length
    }

    /// Frames that were recorded, those included that are overwritten.
    pub fn recorded(&self) -> u64 {
        self.next
    }

    /// Frames that are overwritten.
    pub fn overwritten(&self) -> u64 {
        self.first
    }

    fn header(&self) -> [u8; FILE] {
        let mut header = [0; FILE];
        // Its version is 2.4; then the time zone and the precision, which nobody sets.
        let words = [NANOSECONDS, 4 << 16 | 2, 0, 0, self.snap_length as u32, ETHERNET];
        header.copy_from_slice(words.map(u32::to_le_bytes).as_flattened());
        header
    }
}

/// Bytes of the frame behind a record's header.
fn kept_bytes(record: &[u8; RECORD]) -> usize {
    let [.., a, b, c, d, _, _, _, _] = *record;
    u32::from_le_bytes([a, b, c, d]) as usize
}
