//! What the commands need from outside, installed or fetched when it is missing.
//!
//! Each part first looks for the files that it would bring, and calls no other program where they are
//! there: a second call takes milliseconds.
use crate::failure::Result;

pub mod debian_root;
pub mod guest;
pub mod modules;
mod packages;
mod rust_targets;

/// What it takes to build the image.
pub fn toolchain() -> Result<()> {
    rust_targets::ensure()
}

/// What it takes to write the ISO image.
pub fn iso_tools() -> Result<()> {
    packages::ensure_for_iso()
}

/// All that every command needs: toolchain, emulator and firmware, tools, the guest's files.
pub fn everything() -> Result<guest::Guest> {
    toolchain()?;
    packages::ensure()?;
    guest::ensure()
}
