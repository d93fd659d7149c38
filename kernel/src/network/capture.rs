//! Frames of a network that an operator wants to see.
use super::memory::DirectMemory;
use super::network::Network;
use crate::time;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use mgmt::shell::node::{CAPTURED_BYTES, CaptureInfo};
use net::capture::{Capture, CaptureError, Cursor, Filter, RECORD};
use net::frame::Headers;
use net::nic::Frame;
use net::offload;
use spin::Mutex;

/// What is kept of a network.
#[derive(Default)]
pub(super) struct Captured {
    /// Frames are being kept: read by whoever carries one.
    running: AtomicBool,
    held: Mutex<Option<Held>>,
}

struct Held {
    capture: Capture,
    filter: Filter,
    most: usize,
}

impl Captured {
    /// Keeps a frame that comes, if somebody wants it.
    #[inline]
    pub fn look_at(&self, frame: &Frame<'_>, headers: &Headers) {
        if self.running.load(Ordering::Relaxed) {
            self.keep(frame, headers);
        }
    }

    #[cold]
    fn keep(&self, frame: &Frame<'_>, headers: &Headers) {
        let mut held = self.held.lock();
        let Some(Held { capture, most, .. }) = &mut *held else { return };
        if capture.recorded() < *most as u64 {
            let begin = frame.beginning.len();
            capture.record(time::now().0, Some(headers), frame.bytes(), frame.beginning, |at, into| {
                offload::read(frame, &DirectMemory, begin + at, into);
            });
        }
        if capture.recorded() >= *most as u64 {
            self.running.store(false, Ordering::Relaxed);
        }
    }
}

impl Network {
    /// From now on keeps what passes the filter, `most` frames at most, and none of an earlier capture.
    ///
    /// # Errors
    /// There is no memory for so many.
    pub fn start_capture(&self, filter: Filter, most: usize) -> Result<(), CaptureError> {
        let bytes = most.saturating_mul(RECORD + CAPTURED_BYTES);
        let capture = Capture::new(bytes, CAPTURED_BYTES, Some(filter.clone()))?;
        *self.captured.held.lock() = Some(Held { capture, filter, most });
        self.captured.running.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps no further frames. How many are kept; `None` where there was no capture.
    pub fn stop_capture(&self) -> Option<usize> {
        self.captured.running.store(false, Ordering::Relaxed);
        self.captured.held.lock().as_ref().map(|held| held.capture.recorded() as usize)
    }

    /// What is kept, as a pcap file; `None` where there was no capture.
    pub fn captured(&self) -> Option<Vec<u8>> {
        let held = self.captured.held.lock();
        let capture = &held.as_ref()?.capture;
        let (mut file, mut cursor, mut piece) = (Vec::new(), Cursor::default(), vec![0; capture.piece()]);
        loop {
            match capture.read(&mut cursor, &mut piece) {
                0 => return Some(file),
                bytes => file.extend_from_slice(&piece[..bytes]),
            }
        }
    }

    /// How a capture stands, if there is one.
    pub(super) fn capture_info(&self) -> Option<CaptureInfo> {
        let held = self.captured.held.lock();
        let Held { capture, filter, most } = held.as_ref()?;
        let (running, kept) = (self.captured.running.load(Ordering::Relaxed), capture.recorded() as usize);
        Some(CaptureInfo { running, filter: filter.clone(), kept, most: *most })
    }
}
