//! `cargo xtask test`: set-up, build, and every test there is.
use crate::args::Args;
use crate::failure::{Context, Result};
use crate::{artifacts, setup, workspace};
use std::process::ExitCode;

/// The command. The test runner's output is the end of what is shown, and its result ours.
pub fn command(args: Args) -> Result<ExitCode> {
    let extra = args.finish()?;
    setup::everything()?;
    setup::debian_root::ensure()?;
    artifacts::build()?;
    let mut cargo = workspace::cargo();
    // Without --no-fail-fast the first crate that fails would hide the others.
    cargo.args(["test", "--no-fail-fast"]).args(extra);
    let status = cargo.status().context(|| "cannot call cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
