//! A place for an emulator: more of them at once than processors make each other time out.
use std::fs::{File, TryLockError};
use std::thread;
use std::time::Duration;
use xtask::failure::{Context, Result};
use xtask::workspace;

/// Emulators at once, over all tests of all processes on this machine.
pub const SLOTS: usize = 2;

/// A place that is taken, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    _lock: File,
}

/// Waits for a place.
pub fn take() -> Result<Slot> {
    let folder = workspace::target_folder("tests")?;
    loop {
        for number in 0..SLOTS {
            let path = folder.join(format!("slot-{number}"));
            let file = File::create(&path).context(|| format!("cannot make {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => return Ok(Slot { _lock: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).context(|| format!("cannot lock {}", path.display()));
                }
            }
        }
        thread::sleep(Duration::from_millis(100));
    }
}
