//! Runs in the counting machines: QEMU for AMD-V, Bochs for VT-x.
//!
//! QEMU hangs in about one of forty such runs, whatever it runs: a run that takes too long gets a second try,
//! and the report says how many there were.
use super::Values;
use super::guests::NAME;
use super::reading::{bench_lines, number, stamp};
use crate::failure::Result;
use crate::progress::{say, step};
use crate::rig::bochs::DELIVERS_INTERRUPTS;
use crate::rig::{Bochs, Medium, Qemu};
use std::path::Path;
use std::time::Duration;

/// Far more than a run takes on a slow computer.
const PATIENCE: Duration = Duration::from_secs(400);

/// Takes figures, and counts second tries.
pub(super) struct Counter {
    retries: u32,
    patience: Duration,
}

impl Counter {
    pub fn new() -> Self {
        Self { retries: 0, patience: PATIENCE }
    }

    /// How many runs were tried a second time.
    pub fn retries(&self) -> u32 {
        self.retries
    }

    /// The figures that a guest prints on the console, under `group`.
    pub fn lines(&mut self, medium: &Medium, group: &str) -> Result<Values> {
        self.run(&format!("counting the instructions of exits: {group}"), |patience| {
            let mut session = Qemu::new(medium.clone()).counted().start()?;
            session.wait_for("BENCH-BEGIN", patience)?;
            let seen = session.wait_for("BENCH-END", patience)?;
            Ok(bench_lines(&seen.text, group))
        })
    }

    /// The figures that a guest prints on the console of the machine with VT-x, under `vmx`.
    pub fn vmx_lines(&mut self, iso: &Path) -> Result<Values> {
        self.run("counting the instructions of exits: vmx", |patience| {
            let mut session = Bochs::new(iso).cpu(DELIVERS_INTERRUPTS).start()?;
            let begins = ["BENCH-BEGIN", "panic on CPU", &format!("vm {NAME}: cannot start")];
            let (which, _) = session.wait_for_any(&begins, patience)?;
            if which > 0 {
                // There is more to read about it than the console had shown yet.
                session.wait_for("BENCH-BEGIN", Duration::from_secs(1))?;
            }
            let seen = session.wait_for("BENCH-END", patience)?;
            let values = bench_lines(&seen.text, "vmx");
            Ok(values.into_iter().map(|(name, value)| (vmx_name(name), value)).collect())
        })
    }

    /// Instructions of a Linux guest from the order to start it to its power-off, and the guest's clock when
    /// its first program ran.
    pub fn boot(&mut self, medium: &Medium) -> Result<Values> {
        self.run("counting the instructions of a guest's boot", |patience| {
            let mut session = Qemu::new(medium.clone()).counted().start()?;
            session.wait_for(&format!("vm {NAME}: guest powered off"), patience)?;
            session.send(&format!("vm console {NAME}\r"))?;
            session.wait_for("GUEST-MARKER", patience)?;
            session.wait_for("kB", patience)?;
            let text = session.text();
            let seconds = stamp(&text, &format!("vm {NAME}: guest powered off"))?
                - stamp(&text, &format!("vm {NAME}: starting"))?;
            // The node's clock follows its own measurement of the counter's rate, which is a little off.
            let hertz = number(&text, "TSC ", "kHz")? * 1000.0;
            let clock = number(&text, "GUEST-MARKER up=", " ")? * 1000.0;
            Ok([("boot.instructions", (seconds * hertz).round()), ("boot.guest_clock", clock)]
                .map(|(name, value)| (name.to_string(), value))
                .into())
        })
    }

    /// Does `work`, which takes the time that a wait in it may last, and once more if it was not done in time.
    pub fn run<T>(&mut self, what: &str, work: impl Fn(Duration) -> Result<T>) -> Result<T> {
        let begin = std::time::Instant::now();
        match step(what, || work(self.patience)) {
            Err(failure) if begin.elapsed() >= self.patience => {
                say(&format!("{what}: {failure}"));
                say("trying a second time");
                self.retries += 1;
                step(what, || work(self.patience))
            }
            result => result,
        }
    }
}

/// The two figures that stand for all of their kind have short names.
fn vmx_name(name: String) -> String {
    match name.as_str() {
        "vmx.port_in_port_b" => "vmx.port".into(),
        "vmx.uart_read_lsr" => "vmx.uart".into(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;
    use std::cell::Cell;

    fn counter() -> Counter {
        Counter { retries: 0, patience: Duration::from_millis(20) }
    }

    #[test]
    fn what_hangs_once_is_done_at_the_second_try_and_counted() {
        let (mut counter, tries) = (counter(), Cell::new(0));
        let result = counter.run("testing a hang", |patience| {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                std::thread::sleep(patience);
                return Err(Failure::new("it did not come in time"));
            }
            Ok(tries.get())
        });
        assert_eq!((result.unwrap(), counter.retries()), (2, 1));
    }

    #[test]
    fn what_fails_at_once_is_not_tried_again() {
        let (mut counter, tries) = (counter(), Cell::new(0));
        let result: Result<()> = counter.run("testing a failure", |_| {
            tries.set(tries.get() + 1);
            Err(Failure::new("the machine ended"))
        });
        assert!(result.is_err());
        assert_eq!((tries.get(), counter.retries()), (1, 0));
    }
}
