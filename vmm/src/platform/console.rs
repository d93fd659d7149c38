//! What a VM printed: the last 64 KiB, kept for whoever attaches to its console.
//!
//! The UART or a virtio console writes, under its lock; any task reads, without one. Each byte has a sequence number, the
//! count of bytes before it, so a reader knows where it stopped and what it missed.
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Bytes that are kept.
pub const CAPACITY: usize = 64 << 10;

/// Told when output arrives that a reader waits for.
pub trait OutputWatcher: Send + Sync {
    /// There is new output since [`ConsoleOutput::watch`]. Called under the device's lock: short, and it
    /// must not access the board. Not called again until the next `watch`.
    fn output(&self);
}

/// A ring of output bytes.
pub struct ConsoleOutput {
    ring: Box<[AtomicU8]>,
    /// Bytes ever written.
    written: AtomicU64,
    watched: AtomicBool,
    watcher: Option<Box<dyn OutputWatcher>>,
}

/// What a read got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// Bytes copied.
    pub len: usize,
    /// Sequence number from which to read on.
    pub next: u64,
    /// Bytes that were overwritten before they were read.
    pub missed: u64,
}

impl ConsoleOutput {
    /// An empty ring.
    pub fn new(watcher: Option<Box<dyn OutputWatcher>>) -> Self {
        let ring: Vec<AtomicU8> = (0..CAPACITY).map(|_| AtomicU8::new(0)).collect();
        Self {
            ring: ring.into_boxed_slice(),
            written: AtomicU64::new(0),
            watched: AtomicBool::new(false),
            watcher,
        }
    }

    /// Appends a byte. One writer at a time.
    #[inline]
    pub(crate) fn push(&self, byte: u8) {
        let sequence = self.written.load(Ordering::Relaxed);
        self.ring[sequence as usize % CAPACITY].store(byte, Ordering::Relaxed);
        self.written.store(sequence + 1, Ordering::SeqCst);
        if self.watched.load(Ordering::SeqCst) {
            self.notify();
        }
    }

    #[cold]
    fn notify(&self) {
        if self.watched.swap(false, Ordering::SeqCst)
            && let Some(watcher) = &self.watcher
        {
            watcher.output();
        }
    }

    /// Sequence number of the next byte.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Asks for one call of the watcher with the next byte. Look at [`ConsoleOutput::sequence`]
    /// afterwards: what was written before is not told.
    pub fn watch(&self) {
        self.watched.store(true, Ordering::SeqCst);
    }

    /// Copies output from sequence number `from` on, or from the oldest that is kept.
    pub fn read(&self, from: u64, out: &mut [u8]) -> Output {
        let written = self.written.load(Ordering::Acquire);
        // The slot that is being written now is that of the oldest byte: it is not kept.
        let oldest = |written: u64| written.saturating_sub(CAPACITY as u64 - 1);
        let from = from.min(written);
        let start = from.max(oldest(written));
        let len = out.len().min((written - start) as usize);
        for (i, byte) in out[..len].iter_mut().enumerate() {
            *byte = self.ring[(start as usize).wrapping_add(i) % CAPACITY].load(Ordering::Relaxed);
        }
        // What the writer overtook meanwhile may be newer bytes: drop it.
        core::sync::atomic::fence(Ordering::Acquire);
        let overtaken = oldest(self.written.load(Ordering::SeqCst)).saturating_sub(start);
        let lost = (overtaken as usize).min(len);
        out.copy_within(lost..len, 0);
        let next = start + len as u64;
        Output { len: len - lost, next, missed: start - from + lost as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    fn print(console: &ConsoleOutput, text: &[u8]) {
        for &byte in text {
            console.push(byte);
        }
    }

    #[test]
    fn a_reader_goes_on_where_it_stopped() {
        let console = ConsoleOutput::new(None);
        print(&console, b"Linux version");
        let mut out = [0; 6];
        let first = console.read(0, &mut out);
        assert_eq!((&out[..], first), (&b"Linux "[..], Output { len: 6, next: 6, missed: 0 }));
        let mut out = [0; 64];
        let rest = console.read(first.next, &mut out);
        assert_eq!((&out[..rest.len], rest.next), (&b"version"[..], 13));
        assert_eq!(console.read(rest.next, &mut out).len, 0);
    }

    #[test]
    fn a_slow_reader_gets_the_newest_and_learns_what_it_missed() {
        let console = ConsoleOutput::new(None);
        for i in 0..CAPACITY * 2 {
            console.push(i as u8);
        }
        let mut out = std::vec![0; CAPACITY * 2];
        let got = console.read(0, &mut out);
        assert_eq!(got.len, CAPACITY - 1);
        assert_eq!(got.missed as usize, CAPACITY + 1);
        assert!(out[..got.len].iter().enumerate().all(|(i, &b)| b == (got.missed as usize + i) as u8));
    }

    #[test]
    fn a_sequence_number_from_the_future_reads_nothing() {
        let console = ConsoleOutput::new(None);
        print(&console, b"x");
        assert_eq!(console.read(u64::MAX, &mut [0; 8]), Output { len: 0, next: 1, missed: 0 });
    }

    struct Count(Arc<AtomicUsize>);
    impl OutputWatcher for Count {
        fn output(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_watcher_is_told_once_per_watch() {
        let count = Arc::new(AtomicUsize::new(0));
        let console = ConsoleOutput::new(Some(Box::new(Count(count.clone()))));
        print(&console, b"ab");
        assert_eq!(count.load(Ordering::SeqCst), 0);
        console.watch();
        print(&console, b"cd");
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_concurrent_reader_never_sees_a_byte_out_of_order() {
        let console = Arc::new(ConsoleOutput::new(None));
        let writer = console.clone();
        let total = CAPACITY as u64 * 8;
        let thread = std::thread::spawn(move || {
            for i in 0..total {
                // 251 is coprime with the capacity, so a wrong lap shows.
                writer.push((i % 251) as u8);
            }
        });
        let mut at = 0;
        let mut out = [0; 4096];
        while at < total {
            let got = console.read(at, &mut out);
            let first = got.next - got.len as u64;
            for (i, &byte) in out[..got.len].iter().enumerate() {
                assert_eq!(u64::from(byte), (first + i as u64) % 251);
            }
            assert_eq!(got.next, at + got.missed + got.len as u64);
            at = got.next;
        }
        thread.join().unwrap();
    }
}
