//! Lines that tell what a command is doing, and for how long.
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// A step that lasts longer says so in this interval.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Prints a line about the command itself.
pub fn say(text: &str) {
    eprintln!("xtask: {text}");
}

/// Does `work`, and says `what` before it, how long it has been at it every ten seconds, and how long
/// it took if that was long.
pub fn step<T>(what: &str, work: impl FnOnce() -> T) -> T {
    say(&format!("{what} …"));
    let begin = Instant::now();
    let (done, ended) = mpsc::channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            while let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(HEARTBEAT) {
                say(&format!("  … {what}: {} s", begin.elapsed().as_secs()));
            }
        });
        let result = work();
        drop(done);
        result
    });
    if begin.elapsed() >= Duration::from_secs(1) {
        say(&format!("{what}: done in {:.1} s", begin.elapsed().as_secs_f32()));
    }
    result
}
