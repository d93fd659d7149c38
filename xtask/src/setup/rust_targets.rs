//! The standard library for the targets that the image is built for.
use crate::failure::{Failure, Result};
use crate::progress;
use crate::workspace;
use std::path::Path;
use std::process::Command;

const TARGETS: [&str; 2] = ["x86_64-unknown-none", "x86_64-unknown-uefi"];

/// Adds the targets that the toolchain lacks.
pub fn ensure() -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(workspace::root());
    let sysroot = workspace::output(&mut rustc, "ask the compiler for its folder")?;
    let libraries = Path::new(sysroot.trim()).join("lib/rustlib");
    let missing: Vec<&str> =
        TARGETS.into_iter().filter(|t| !libraries.join(t).join("lib").is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress::step(&format!("adding the Rust targets {}", missing.join(" ")), || {
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add"]).args(&missing).current_dir(workspace::root());
        workspace::output(&mut rustup, "add Rust targets").map_err(|failure| {
            Failure::new(format!(
                "{failure}\nRun this and try again: rustup target add {}",
                missing.join(" ")
            ))
        })
    })?;
    Ok(())
}
