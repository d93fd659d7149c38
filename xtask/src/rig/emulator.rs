//! What differs between emulators once a machine runs: what its end means, and where it complains.
use crate::failure::{Failure, Result};
use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Lines of a log that a failure shows.
const SHOWN_LINES: usize = 10;

/// How a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off; or was reset, where the emulator does not tell.
    Off,
    /// It was reset.
    Reset,
}

/// Which emulator a machine runs in.
#[derive(Clone, Debug)]
pub(super) enum Emulator {
    /// Ends with success when the machine is off, or reset and told not to start anew.
    Qemu,
    /// Ends with a "panic" in any case, and says in its last words what that was.
    Bochs {
        /// Where it notes what it thinks is wrong.
        log: PathBuf,
    },
}

impl Emulator {
    /// The program.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Qemu => "qemu-system-x86_64",
            Self::Bochs { .. } => "bochs",
        }
    }

    /// What it means that the emulator ended with this status and these last words.
    pub fn end(&self, status: ExitStatus, words: &str) -> Result<End> {
        let end = match self {
            Self::Qemu => status.success().then_some(End::Off),
            Self::Bochs { .. } => bochs_end(words, &self.log()),
        };
        end.ok_or_else(|| {
            let (name, log) = (self.name(), self.log());
            Failure::new(format!("{name} ended with {status}:\n{}\n{log}", words.trim()))
        })
    }

    /// The end of its log, where it has one.
    pub fn log(&self) -> String {
        let Self::Bochs { log } = self else { return String::new() };
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
        if last.is_empty() { text } else { format!("its log's last lines:\n  {}", last.join("\n  ")) }
    }
}

/// Bochs' BIOS locks IA32_FEATURE_CONTROL, and does so again after a reset, which does not unlock it: #GP
/// without an IDT, a triple fault. So a reset is the end too, with other words.
fn bochs_end(words: &str, log: &str) -> Option<End> {
    if words.contains("ACPI control: soft power off") {
        Some(End::Off)
    } else if words.contains("exception with no resolution") && log.contains("VMX lock bit is set") {
        Some(End::Reset)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bochs_last_words_tell_off_from_reset_and_both_from_a_failure() {
        let locked = "1e[CPU0  ] WRMSR: IA32_FEATURE_CONTROL_MSR VMX lock bit is set !";
        let fault = "[CPU0  ] exception(): 3rd (13) exception with no resolution";
        assert_eq!(bochs_end("=\n[ACPI  ] ACPI control: soft power off\n=", ""), Some(End::Off));
        assert_eq!(bochs_end(fault, locked), Some(End::Reset));
        assert_eq!(bochs_end(fault, "something else"), None);
        assert_eq!(bochs_end("numerical parameter was set to 75", locked), None);
    }
}
