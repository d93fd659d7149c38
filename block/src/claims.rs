//! Who uses which part of which device, so that two never write the same blocks.
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use spin::Mutex;

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading: any number of readers share a range, as long as nobody writes it.
    Read,
    /// Writing, alone.
    Write,
}

#[derive(Clone, Debug)]
struct Entry {
    number: u64,
    device: String,
    bytes: Range<u64>,
    access: Access,
    owner: String,
}

#[derive(Default)]
struct Book {
    next: u64,
    entries: Vec<Entry>,
}

/// All claims on all devices of the node.
#[derive(Clone, Default)]
pub struct Claims(Arc<Mutex<Book>>);

/// Somebody else's claim is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The device.
    pub device: String,
    /// The other's bytes.
    pub bytes: Range<u64>,
    /// What the other does with them.
    pub access: Access,
    /// Who it is.
    pub owner: String,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { device, bytes, access, owner } = self;
        let does = if *access == Access::Write { "writes" } else { "reads" };
        write!(
            f,
            "{owner} {does} bytes {} to {} of {device}: give each its own range, or make both readonly",
            bytes.start, bytes.end
        )
    }
}

/// A claim; it ends when this is dropped.
pub struct Claim {
    book: Claims,
    number: u64,
}

impl Claims {
    /// No claims.
    pub fn new() -> Self {
        Self::default()
    }

    /// Claims `bytes` of the device `device` for `owner`.
    ///
    /// # Errors
    /// Where they overlap somebody else's claim, and one of the two writes.
    pub fn claim(
        &self,
        device: &str,
        bytes: Range<u64>,
        access: Access,
        owner: &str,
    ) -> Result<Claim, Conflict> {
        let mut book = self.0.lock();
        let overlaps = |e: &&Entry| {
            e.device == device
                && e.bytes.start < bytes.end
                && bytes.start < e.bytes.end
                && (access == Access::Write || e.access == Access::Write)
        };
        if let Some(other) = book.entries.iter().find(overlaps) {
            let Entry { device, bytes, access, owner, .. } = other.clone();
            return Err(Conflict { device, bytes, access, owner });
        }
        let number = book.next;
        book.next += 1;
        let (device, owner) = (device.to_string(), owner.to_string());
        book.entries.push(Entry { number, device, bytes, access, owner });
        Ok(Claim { book: self.clone(), number })
    }

    /// Who uses a device: owner, bytes, what for.
    pub fn of(&self, device: &str) -> Vec<(String, Range<u64>, Access)> {
        let book = self.0.lock();
        let entries = book.entries.iter().filter(|e| e.device == device);
        entries.map(|e| (e.owner.clone(), e.bytes.clone(), e.access)).collect()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.book.0.lock().entries.retain(|e| e.number != self.number);
    }
}
