//! Where instructions are counted, the time in which a processor has nothing to do is no instructions, and such a
//! machine's clock jumps over it. There a thread fills that time, and counts its laps: what all else took is the rest.
use crate::kernel::run_when_idle;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};

/// What `work` gives, and the laps that fitted into the time that it left, if that is to be `filled`.
pub fn beside<T>(filled: bool, work: impl FnOnce() -> io::Result<T>) -> io::Result<(T, u64)> {
    let over = &AtomicBool::new(false);
    thread::scope(|scope| {
        let filling = filled.then(|| scope.spawn(move || fill(over)));
        let done = work();
        over.store(true, Ordering::Relaxed);
        Ok((done?, filling.map_or(Ok(0), joined)?))
    })
}

/// What a thread has to say that has ended or soon will.
pub fn joined<T>(thread: ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread panicked"))?
}

/// Runs in circles while nobody else wants to run. How many.
fn fill(over: &AtomicBool) -> io::Result<u64> {
    run_when_idle()?;
    let mut laps = 0;
    while !over.load(Ordering::Relaxed) {
        laps += 1;
    }
    Ok(laps)
}

/// Whether the last word of a turn asks for it.
pub fn is_wanted(word: Option<&str>) -> io::Result<bool> {
    match word {
        None => Ok(false),
        Some("filled") => Ok(true),
        Some(other) => Err(io::Error::other(format!("'{other}' is not 'filled'"))),
    }
}
