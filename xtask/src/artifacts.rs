//! The loaders and the kernel, built for their targets with the image's profile.
use crate::failure::{Context, Failure, Result};
use crate::progress;
use crate::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The built files.
#[derive(Clone, Debug)]
pub struct Artifacts {
    /// `boot.efi`.
    pub loader: PathBuf,
    /// What GRUB loads: the Multiboot2 entry.
    pub entry: PathBuf,
    /// The kernel's ELF file.
    pub kernel: PathBuf,
}

/// Builds all; quick where nothing changed.
pub fn build() -> Result<Artifacts> {
    progress::step("building the loaders and the kernel", || {
        Ok(Artifacts {
            loader: build_one("loader", "boot", "x86_64-unknown-uefi", &[])?,
            entry: build_one("multiboot2", "start", "x86_64-unknown-none", &[])?,
            kernel: build_one("kernel", "kernel", "x86_64-unknown-none", &[])?,
        })
    })
}

/// Builds a binary of a package for `target` with the image's profile and these features; where it is.
pub fn build_one(package: &str, binary: &str, target: &str, features: &[&str]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--package", package, "--bin", binary, "--target", target]);
    cargo.args(["--profile", "image", "--message-format", "json-render-diagnostics"]);
    cargo.args(["--features", &features.join(",")]);
    // The compiler's messages go straight to the user.
    let output = cargo.stderr(Stdio::inherit()).output().context(|| "cannot call cargo")?;
    if !output.status.success() {
        return Err(Failure::new(format!("the {package} does not build; its errors are above")));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages, binary)
        .ok_or_else(|| Failure::new(format!("cargo did not say where it put the {package}")))
}

/// Builds the program of a package that has one, of the same name; `flags` are the compiler's.
pub fn build_with(package: &str, target: &str, profile: &str, flags: &[&str]) -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["rustc", "--quiet", "--package", package, "--target", target, "--profile", profile]);
    cargo.arg("--").args(flags);
    progress::step(&format!("building {package}"), || {
        workspace::output(&mut cargo, &format!("build {package}")).map(drop)
    })?;
    let program = workspace::target()?.join(target).join(profile).join(package);
    match program.exists() {
        true => Ok(program),
        false => Err(Failure::new(format!("cargo built no {}", program.display()))),
    }
}

/// As [`build_with`], a static program for a Linux guest.
pub fn build_for_guests(package: &str) -> Result<PathBuf> {
    // The C library goes into the program. The compiler driver is there: Rust itself links by it.
    let flags = ["-C", "target-feature=+crt-static", "-C", "strip=symbols"];
    build_with(package, "x86_64-unknown-linux-gnu", "release", &flags)
}

/// The executable of the binary target `name` in cargo's JSON messages.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let artifacts = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    artifacts
        .filter(|m| m["reason"] == "compiler-artifact" && m["target"]["name"] == name)
        .find_map(|m| m["executable"].as_str().map(PathBuf::from))
}

impl Artifacts {
    /// Each file with its size in bytes.
    pub fn sizes(&self) -> Result<[(&Path, u64); 3]> {
        let size = |path: &'_ PathBuf| {
            fs::metadata(path).map(|m| m.len()).context(|| format!("cannot read {}", path.display()))
        };
        Ok([
            (&self.loader, size(&self.loader)?),
            (&self.entry, size(&self.entry)?),
            (&self.kernel, size(&self.kernel)?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = concat!(
            "not json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"loader","kind":["lib"]},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"boot"},"executable":"/t/boot.efi"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(executable(messages, "boot"), Some(PathBuf::from("/t/boot.efi")));
        assert_eq!(executable(messages, "loader"), None);
    }
}
