//! Where things are, and how other programs are called.
use crate::failure::{Context, Failure, Result};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs};

/// The checkout's top folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A call of the cargo that called us.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Cargo's target folder.
pub fn target() -> Result<PathBuf> {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    if let Some(known) = TARGET.get() {
        return Ok(known.clone());
    }
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let text = output(&mut metadata, "ask cargo for its target folder")?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context(|| "cargo's metadata")?;
    let folder = metadata["target_directory"].as_str();
    let folder = folder.ok_or_else(|| Failure::new("cargo's metadata names no target folder"))?;
    Ok(TARGET.get_or_init(|| PathBuf::from(folder)).clone())
}

/// The folder `name` under the target folder; made if it is not there.
pub fn target_folder(name: &str) -> Result<PathBuf> {
    let folder = target()?.join(name);
    fs::create_dir_all(&folder).context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Runs `command` to its end and returns what it wrote. On failure the message has the end of what it
/// complained about.
pub fn output(command: &mut Command, what: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().context(|| format!("cannot {what}: {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = if complaint.trim().is_empty() { &text } else { &*complaint };
    let lines: Vec<&str> = complaint.trim().lines().collect();
    let last = lines[lines.len().saturating_sub(15)..].join("\n  ");
    Err(Failure::new(format!("cannot {what}: {program} ended with {}:\n  {last}", output.status)))
}
