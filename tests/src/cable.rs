//! A network cable between emulated machines, whose middle the test holds: it sees each frame that passes, and puts in
//! frames that no card would send.
//!
//! Each machine's card has QEMU's `stream` backend, which connects to a socket here. On it a frame is its length, of 32 bits
//! with the highest byte first, and its bytes; there are no check sequences, and nothing is padded.
use crate::folder::Folder;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use xtask::failure::{Context, Failure, Result};

/// Frames that are kept for whoever looks for one.
const KEPT: usize = 4096;
/// The longest frame that QEMU sends.
const LONGEST: usize = 4096 + 65536;

/// A cable. What is plugged in gets what all the others send.
#[derive(Debug)]
pub struct Cable {
    folder: Folder,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    plugs: Vec<Arc<Mutex<UnixStream>>>,
    /// What machines have sent, the last of it.
    passed: VecDeque<Vec<u8>>,
    cut: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cable {
    /// One that nothing is plugged into.
    pub fn new() -> Result<Self> {
        let cable = Self { folder: Folder::new()?, shared: Arc::default() };
        let listener = UnixListener::bind(cable.socket()).context(|| "cannot make a cable's socket")?;
        let shared = cable.shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // The last one is that of `drop`.
                let Ok(stream) = stream else { break };
                if shared.state().cut {
                    break;
                }
                let shared = shared.clone();
                thread::spawn(move || carry(&shared, stream));
            }
        });
        Ok(cable)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("cable")
    }

    /// QEMU's option `-netdev` for a card that it is plugged into.
    pub fn netdev(&self, id: &str) -> String {
        let socket = self.socket();
        format!("stream,id={id},server=off,addr.type=unix,addr.path={}", socket.display())
    }

    /// Sends a frame to all that is plugged in.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let plugs = self.shared.state().plugs.clone();
        plugs.iter().try_for_each(|plug| write(plug, frame)).context(|| "cannot send a frame by a cable")
    }

    /// What has passed is no longer looked at.
    pub fn forget(&self) {
        self.shared.state().passed.clear();
    }

    /// What has passed since the last look, the oldest first. Of very many only the last.
    pub fn passed(&self) -> Vec<Vec<u8>> {
        self.shared.state().passed.drain(..).collect()
    }

    /// Waits until a frame that is `wanted` has come from a machine; that frame, and only what came later is looked at then.
    pub fn wait_for(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>> {
        let end = Instant::now() + patience;
        let mut state = self.shared.state();
        loop {
            while let Some(frame) = state.passed.pop_front() {
                if wanted(&frame) {
                    return Ok(frame);
                }
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(Failure::new(format!("{what} never came by the cable")));
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.cut = true;
        for plug in state.plugs.drain(..) {
            let plug = plug.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = plug.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        let _ = UnixStream::connect(self.socket());
    }
}

fn write(plug: &Mutex<UnixStream>, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
    let mut stream = plug.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(&[&length.to_be_bytes(), frame].concat())
}

/// Hands on what comes from one that was plugged in, to its end.
fn carry(shared: &Shared, stream: UnixStream) {
    let Ok(mut reader) = stream.try_clone() else { return };
    let plug = Arc::new(Mutex::new(stream));
    shared.state().plugs.push(plug.clone());
    while let Ok(frame) = read(&mut reader) {
        let mut state = shared.state();
        let others: Vec<_> = state.plugs.iter().filter(|other| !Arc::ptr_eq(other, &plug)).cloned().collect();
        if state.passed.len() == KEPT {
            state.passed.pop_front();
        }
        state.passed.push_back(frame.clone());
        drop(state);
        shared.changed.notify_all();
        for other in others {
            // One that is gone gets nothing.
            let _ = write(&other, &frame);
        }
    }
    shared.state().plugs.retain(|other| !Arc::ptr_eq(other, &plug));
}

fn read(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::Error::other("a frame that is too long"));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn plugged(cable: &Cable, count: usize) -> UnixStream {
        let stream = UnixStream::connect(cable.socket()).unwrap();
        let end = Instant::now() + SOON;
        while cable.shared.state().plugs.len() < count && Instant::now() < end {
            thread::yield_now();
        }
        stream
    }

    #[test]
    fn a_frame_goes_to_all_but_its_sender_and_the_test_sees_it() {
        let cable = Cable::new().unwrap();
        let (mut one, mut two) = (plugged(&cable, 1), plugged(&cable, 2));
        one.write_all(&[0, 0, 0, 3, 1, 2, 3]).unwrap();
        assert_eq!(read(&mut two).unwrap(), [1, 2, 3]);
        assert_eq!(cable.wait_for("it", SOON, |frame| frame[0] == 1).unwrap(), [1, 2, 3]);
        cable.send(&[9]).unwrap();
        assert_eq!((read(&mut one).unwrap(), read(&mut two).unwrap()), (vec![9], vec![9]));
        let none = cable.wait_for("nothing", Duration::from_millis(1), |_| true).unwrap_err();
        assert_eq!(none.to_string(), "nothing never came by the cable");
    }

    #[test]
    fn a_length_that_no_frame_has_ends_a_connection_and_no_other() {
        let cable = Cable::new().unwrap();
        let (mut one, mut two, mut three) = (plugged(&cable, 1), plugged(&cable, 2), plugged(&cable, 3));
        one.write_all(&[0xff; 8]).unwrap();
        two.write_all(&[0, 0, 0, 1, 7]).unwrap();
        assert_eq!(read(&mut three).unwrap(), [7]);
    }
}
