//! An emulator as a process that never outlives its owner.
use crate::failure::{Context, Result};
use std::ffi::OsStr;
use std::process::{Child, Command};

/// A running emulator. It ends with the value, and with the thread that started it: also when that is killed
/// and no destructor runs.
#[derive(Debug)]
pub(super) struct Process(pub Child);

/// A call of `program` that is killed with the thread that starts it. `setpriv` is in Debian's essential
/// package util-linux.
pub(super) fn bound(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Process {
    /// Starts `command`, which is to run `program`.
    pub fn spawn(mut command: Command, program: &str) -> Result<Self> {
        command.spawn().map(Self).context(|| format!("cannot start {program}; run 'cargo xtask setup'"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::Stdio;
    use std::thread;
    use std::time::{Duration, Instant};

    /// A process that would go on for long, and its number.
    fn sleeper() -> (Child, u32) {
        let mut command = bound("sh");
        let mut child =
            command.args(["-c", "echo $$; exec sleep 60"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (child, line.trim().parse().unwrap())
    }

    #[test]
    fn it_ends_with_the_value() {
        let (child, number) = sleeper();
        assert!(Path::new(&format!("/proc/{number}")).exists());
        drop(Process(child));
        assert!(!Path::new(&format!("/proc/{number}")).exists());
    }

    #[test]
    fn it_ends_with_the_thread_that_started_it_when_nobody_drops_the_value() {
        let mut child = thread::spawn(|| sleeper().0).join().unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it goes on");
            thread::sleep(Duration::from_millis(10));
        }
    }
}
