//! What the end-to-end tests are made of: machines that boot PureVisor, and guests in them.
//!
//! ```text
//!  prepared: loader, kernel, payload, Debian's files, built and fetched once; debian: its root file system
//!      │
//!      ▼
//!  Volume (purevisor.toml and the files it names) ──► Node::boot in an emulator ──► commands, consoles
//! ```
//!
//! Machines that share a network are plugged into a [`cable::Cable`], by which the test sees and sends [`frames`] itself.
//!
//! A test waits for texts, with patience for a machine that is several times slower than this one, and
//! never for time to pass. On failure it shows the console's last lines. At most [`slot::SLOTS`] emulators
//! run at once on a machine, however many tests are started.
//!
//! A test that is for both virtualization extensions takes a [`rig::Rig`], and does not look at it for what it
//! promises; where an emulator differs from the manuals is in [`payload::Case::unlike`].
pub mod cable;
pub mod debian;
pub mod drive;
pub mod folder;
pub mod frames;
pub mod guest;
pub mod node;
pub mod prepared;
pub mod rig;
pub mod shell;
pub mod slot;
pub mod terminal;
pub mod volume;

use std::time::Duration;

/// How long a text may take that comes within seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(120);
