//! The user's terminal as a machine's serial console.
use crate::failure::{Context, Result};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// Ctrl-A, as in QEMU: X behind it ends the machine, a second one is sent to it.
const PREFIX: u8 = 0x01;

/// Why a machine's console was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The machine closed it.
    ByMachine,
    /// The user does not want the machine any more.
    ByUser,
}

/// What happens while a console is shown.
enum Event {
    Typed(Vec<u8>),
    Quit,
    Closed,
}

/// The terminal, which sends each key as it is typed until the value is dropped.
pub(super) struct Terminal {
    events: Receiver<Event>,
    notify: Sender<Event>,
    /// As `stty` saved it; none where the input is no terminal.
    settings: Option<String>,
}

impl Terminal {
    /// From here on keys are the machines'.
    pub fn take() -> Result<Self> {
        let (notify, events) = mpsc::channel();
        let mut terminal = Self { events, notify: notify.clone(), settings: None };
        if io::stdin().is_terminal() {
            terminal.settings = Some(stty(&["-g"])?);
            stty(&["raw", "-echo"])?;
        }
        thread::spawn(move || {
            let (mut keys, mut buffer) = (Keys::default(), [0; 256]);
            while let Ok(len @ 1..) = io::stdin().lock().read(&mut buffer) {
                let (typed, quit) = keys.take(&buffer[..len]);
                let _ = notify.send(Event::Typed(typed));
                if quit {
                    let _ = notify.send(Event::Quit);
                    return;
                }
            }
        });
        Ok(terminal)
    }

    /// Shows a machine's console until the machine closes it, or the user leaves.
    pub fn show(&mut self, console: File) -> Result<Left> {
        let mut screen = console.try_clone().context(|| "cannot read the console")?;
        let mut keys = console;
        let notify = self.notify.clone();
        let shown = thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = screen.read(&mut buffer) {
                let mut terminal = io::stdout().lock();
                if terminal.write_all(&buffer[..len]).and_then(|()| terminal.flush()).is_err() {
                    break;
                }
            }
            let _ = notify.send(Event::Closed);
        });
        loop {
            match self.events.recv().context(|| "cannot read the keyboard")? {
                // A machine that does not take it any more has ended, which is told on its own.
                Event::Typed(bytes) => drop(keys.write_all(&bytes)),
                Event::Quit => return Ok(Left::ByUser),
                Event::Closed => {
                    let _ = shown.join();
                    return Ok(Left::ByMachine);
                }
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(settings) = &self.settings {
            let _ = stty(&[settings]);
            // The machine may have left the cursor anywhere.
            println!();
        }
    }
}

/// Calls `stty` for our terminal; what it printed.
fn stty(args: &[&str]) -> Result<String> {
    let mut stty = Command::new("stty");
    let output = stty.args(args).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = output.context(|| "cannot call stty")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Takes what is for us out of what is typed.
#[derive(Default)]
struct Keys {
    prefix: bool,
}

impl Keys {
    /// What is for the machine, and whether the user leaves it behind that.
    fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::new();
        for &byte in typed {
            match (self.prefix, byte) {
                (false, PREFIX) => self.prefix = true,
                (true, b'x' | b'X') => return (passed, true),
                // Any other key behind a prefix is for the machine; so is a second prefix.
                (_, byte) => {
                    self.prefix = false;
                    passed.push(byte);
                }
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_machines_but_for_the_prefix() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r\x03x"), (b"ls\r\x03x".to_vec(), false));
        assert_eq!(keys.take(b"a\x01"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"\x01b"), (b"\x01b".to_vec(), false));
        assert_eq!(keys.take(b"\x01qx"), (b"qx".to_vec(), false));
        assert_eq!(keys.take(b"\x01"), (vec![], false));
        assert_eq!(keys.take(b"xlost"), (vec![], true));
        assert_eq!(keys.take(b""), (vec![], false));
    }
}
