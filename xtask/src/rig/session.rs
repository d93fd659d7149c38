//! A machine that runs, and its serial console.
use super::Scratch;
use super::emulator::{Emulator, End};
use super::process::Process;
use crate::failure::{Context, Failure, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Lines of the console that a failure shows.
const SHOWN_LINES: usize = 30;

/// A running machine. It ends with the value.
#[derive(Debug)]
pub struct Session {
    process: Process,
    emulator: Emulator,
    /// What is typed goes here.
    keys: File,
    console: Arc<Console>,
    /// Reads the emulator's complaints to their end.
    complaints: Option<JoinHandle<()>>,
    /// Up to here the console's text was looked at.
    read: usize,
    begin: Instant,
    _scratch: Scratch,
}

/// A piece of the console's text that was waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// From where the last wait ended to the end of what was waited for.
    pub text: String,
    /// When its last part came, since the machine's start.
    pub at: Duration,
}

/// What the machine has written.
#[derive(Debug, Default)]
struct Console {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    text: Vec<u8>,
    /// When which lengths of `text` were reached.
    arrivals: Vec<(usize, Duration)>,
    /// The emulator's own complaints.
    complaints: Vec<u8>,
    closed: bool,
}

impl Console {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Starts `command`, the serial console of whose machine is its standard input and output.
    pub(super) fn start(mut command: Command, emulator: Emulator, scratch: Scratch) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command, emulator.name())?;
        let child = &mut process.0;
        let (Some(keys), Some(screen)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::new("the machine has no console"));
        };
        let (keys, screen) = (File::from(OwnedFd::from(keys)), File::from(OwnedFd::from(screen)));
        Ok(Self::new(process, emulator, keys, screen, scratch))
    }

    /// A machine that runs, what is typed on its serial console, and what comes from there.
    pub(super) fn new(
        mut process: Process,
        emulator: Emulator,
        keys: File,
        screen: File,
        scratch: Scratch,
    ) -> Self {
        let begin = Instant::now();
        let console = Arc::new(Console::default());
        follow(screen, Arc::clone(&console), move |state, bytes| {
            state.text.extend_from_slice(bytes);
            state.closed = bytes.is_empty();
            state.arrivals.push((state.text.len(), begin.elapsed()));
        });
        let complaints = process.0.stderr.take().map(|errors: ChildStderr| {
            follow(errors, Arc::clone(&console), |state, bytes| state.complaints.extend_from_slice(bytes))
        });
        Self { process, emulator, keys, console, complaints, read: 0, begin, _scratch: scratch }
    }

    /// Waits until `text` appears after what was last waited for.
    pub fn wait_for(&mut self, text: &str, patience: Duration) -> Result<Seen> {
        self.wait_for_any(&[text], patience).map(|(_, seen)| seen)
    }

    /// Waits for the first of several texts; returns also which it was.
    pub fn wait_for_any(&mut self, texts: &[&str], patience: Duration) -> Result<(usize, Seen)> {
        let end = Instant::now() + patience;
        let mut state = self.console.state();
        loop {
            let fresh = &state.text[self.read..];
            let hits =
                texts.iter().enumerate().filter_map(|(n, t)| Some((find(fresh, t.as_bytes())? + t.len(), n)));
            if let Some((len, which)) = hits.min() {
                let text = String::from_utf8_lossy(&fresh[..len]).into_owned();
                self.read += len;
                let at = state.arrivals.iter().find(|(reached, _)| *reached >= self.read).map(|(_, at)| *at);
                return Ok((which, Seen { text, at: at.unwrap_or_else(|| self.begin.elapsed()) }));
            }
            let left = end.saturating_duration_since(Instant::now());
            let why = match () {
                () if state.closed => "the machine ended",
                () if left.is_zero() => "it did not come in time",
                () => {
                    state = self
                        .console
                        .changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    continue;
                }
            };
            let waited = texts.join("\" or \"");
            let tail = tail(&state, &self.emulator);
            return Err(Failure::new(format!("waited for \"{waited}\": {why}{tail}")));
        }
    }

    /// Types `text` on the console.
    pub fn send(&mut self, text: &str) -> Result<()> {
        self.keys.write_all(text.as_bytes()).context(|| "cannot type on the console")
    }

    /// Waits until the machine has switched itself off, or was reset where that ends it. An end for another
    /// reason is a failure.
    pub fn wait_for_end(&mut self, patience: Duration) -> Result<End> {
        let until = Instant::now() + patience;
        loop {
            if let Some(status) = self.process.0.try_wait().context(|| "cannot wait for the machine")? {
                if let Some(complaints) = self.complaints.take() {
                    let _ = complaints.join();
                }
                let words = String::from_utf8_lossy(&self.console.state().complaints).into_owned();
                return self.emulator.end(status, &words);
            }
            if Instant::now() >= until {
                let tail = tail(&self.console.state(), &self.emulator);
                return Err(Failure::new(format!("the machine did not switch itself off in time{tail}")));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// All that the console has shown.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.console.state().text).into_owned()
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The emulator's process, for who measures it.
    pub fn process_id(&self) -> u32 {
        self.process.0.id()
    }
}

/// Hands all that `stream` gives to `take`, and at its end nothing.
fn follow(
    mut stream: impl Read + Send + 'static,
    console: Arc<Console>,
    take: impl Fn(&mut State, &[u8]) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        loop {
            let len = stream.read(&mut buffer).unwrap_or(0);
            take(&mut console.state(), &buffer[..len]);
            console.changed.notify_all();
            if len == 0 {
                return;
            }
        }
    })
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len().max(1)).position(|window| window == part)
}

/// The console's last lines, and what the emulator complained about, for a failure's message.
fn tail(state: &State, emulator: &Emulator) -> String {
    let text = String::from_utf8_lossy(&state.text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n  ");
    let complaints = String::from_utf8_lossy(&state.complaints);
    format!("; the console's last lines:\n  {last}\n{complaints}{}", emulator.log())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(20);

    /// A shell in the place of the machine.
    fn shell(script: &str) -> Session {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Session::start(command, Emulator::Qemu, Scratch::new().unwrap()).unwrap()
    }

    #[test]
    fn texts_are_waited_for_one_after_the_other() {
        let mut session = shell("echo one; echo two; sleep 0.2; echo one more");
        assert_eq!(session.wait_for("one", LONG).unwrap().text, "one");
        assert_eq!(session.wait_for("two", LONG).unwrap().text, "\ntwo");
        let seen = session.wait_for("one", LONG).unwrap();
        assert_eq!(seen.text, "\none");
        assert!(seen.at >= Duration::from_millis(200));
        assert_eq!(session.wait_for_end(LONG).unwrap(), End::Off);
    }

    #[test]
    fn the_first_of_several_texts_wins() {
        let mut session = shell("echo panic; echo prompt");
        assert_eq!(session.wait_for_any(&["prompt", "panic"], LONG).unwrap().0, 1);
        assert_eq!(session.wait_for_any(&["prompt", "panic"], LONG).unwrap().0, 0);
    }

    #[test]
    fn what_is_typed_arrives() {
        let mut session = shell("read line; echo got $line");
        session.send("this\n").unwrap();
        session.wait_for("got this", LONG).unwrap();
    }

    #[test]
    fn a_text_that_does_not_come_fails_with_what_came_instead() {
        let mut session = shell("echo something else; sleep 60");
        let error = session.wait_for("text", SHORT).unwrap_err().to_string();
        assert!(error.contains("in time") && error.contains("something else"), "{error}");
        assert!(session.wait_for_end(SHORT).is_err());
    }

    #[test]
    fn an_emulator_that_fails_is_no_machine_that_switched_itself_off() {
        let error = shell("echo bad option >&2; exit 3").wait_for_end(LONG).unwrap_err().to_string();
        assert!(error.contains("qemu") && error.contains("3") && error.contains("bad option"), "{error}");
    }

    #[test]
    fn a_machine_that_ends_fails_the_wait_at_once_with_its_complaints() {
        let begin = Instant::now();
        let mut session = shell("echo bad option >&2; sleep 0.1; echo bye");
        let error = session.wait_for("prompt", LONG).unwrap_err().to_string();
        assert!(error.contains("ended") && error.contains("bad option") && error.contains("bye"), "{error}");
        assert!(begin.elapsed() < LONG);
    }
}
