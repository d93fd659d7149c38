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
    let names: Vec<String> = (0..SLOTS).map(|number| format!("slot-{number}")).collect();
    take_one_of(&names)
}

/// Waits for two places, for machines that need each other. Only one test at a time waits while it has one: two that each
/// had one would wait for ever.
pub fn take_two() -> Result<[Slot; 2]> {
    let _turn = take_one_of(&["slot-of-two".into()])?;
    Ok([take()?, take()?])
}

fn take_one_of(names: &[String]) -> Result<Slot> {
    let folder = workspace::target_folder("tests")?;
    loop {
        for name in names {
            let path = folder.join(name);
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
