//! The boot volume: as a folder, as a disk image that a UEFI machine boots from, and as an [ISO image](iso)
//! that any machine boots from.
//!
//! ```text
//! EFI/BOOT/BOOTX64.EFI    the loader, where UEFI looks for it on a removable medium (UEFI 2.10, 3.5.1.1)
//! purevisor/kernel.elf    the kernel
//! purevisor.toml          the configuration
//! …                       the files that it names, at their paths relative to it
//! ```
//!
//! Which files those are is decided by the loader's own scan, so that what is copied here is what is
//! looked for at boot. Everything is checked before anything is written, and written under another name
//! before it takes its place: a failure leaves what was there.
use crate::artifacts::Artifacts;
use crate::failure::{Context, Failure, Result};
use crate::progress;
use loader::config;
use loader::volume_path::{self, CONFIG_PATH, KERNEL_PATH};
use mgmt::config::Config;
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process;

mod fat;
pub mod gpt;
pub mod iso;

const LOADER_PATH: &str = "EFI/BOOT/BOOTX64.EFI";

/// A file of the boot volume.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    /// Folders and name on the volume.
    path: Vec<String>,
    source: PathBuf,
}

/// A configuration and the files that it names, checked to be there.
#[derive(Clone, Debug)]
pub struct Contents {
    entries: Vec<Entry>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Image {
    /// The boot volume's files, in a folder.
    pub volume: PathBuf,
    /// The disk image.
    pub disk: PathBuf,
}

impl Contents {
    /// Reads the configuration at `file`. Its mistakes are printed, because the kernel will say the
    /// same and start what is sound; a file that it names and that cannot be had is an error.
    pub fn of(file: &Path) -> Result<Self> {
        let shown = file.display();
        let bytes = fs::read(file).context(|| format!("cannot read the configuration {shown}"))?;
        for problem in Config::parse(&bytes).problems {
            progress::say(&format!("warning: {shown}:{}: {}", problem.line, problem.text));
        }
        let folder = match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        // FAT does not tell upper from lower case.
        let mut taken: HashMap<String, String> = HashMap::new();
        for path in [LOADER_PATH, KERNEL_PATH, CONFIG_PATH] {
            taken.insert(path.to_lowercase(), format!("PureVisor's own {path}"));
        }
        let mut entries = vec![Entry { path: vec![CONFIG_PATH.into()], source: file.to_path_buf() }];
        for named in config::named_files(&String::from_utf8_lossy(&bytes)) {
            let refuse =
                |why: String| Failure::new(format!("{shown}:{}: \"{}\": {why}", named.line, named.path));
            let path: Vec<String> = match volume_path::components(&named.path) {
                Ok(components) => components.into_iter().map(String::from).collect(),
                Err(bad) => return Err(refuse(bad.to_string())),
            };
            let source = path.iter().fold(folder.to_path_buf(), |at, name| at.join(name));
            match fs::metadata(&source) {
                Ok(found) if found.is_file() && found.len() <= fat::MAX_FILE => {}
                Ok(found) if found.is_file() => {
                    return Err(refuse(
                        "larger than 4 GiB, which the boot volume's file system cannot hold".into(),
                    ));
                }
                Ok(_) => return Err(refuse(format!("{} is not a file", source.display()))),
                Err(error) => {
                    return Err(refuse(format!(
                        "cannot read {}: {error}; put the file there or correct the path",
                        source.display()
                    )));
                }
            }
            let key = path.join("/").to_lowercase();
            match taken.insert(key, format!("\"{}\"", named.path)) {
                None => entries.push(Entry { path, source }),
                // The same file, spelled twice.
                Some(_) if entries.iter().any(|e| e.path == path && path != [CONFIG_PATH]) => {}
                Some(other) => {
                    return Err(refuse(format!(
                        "its place on the boot volume is that of {other}; rename it"
                    )));
                }
            }
        }
        Ok(Self { entries })
    }
}

/// Writes `out/esp/` and `out/purevisor.img`.
pub fn write(contents: &Contents, built: &Artifacts, out: &Path) -> Result<Image> {
    let mut entries = contents.entries.clone();
    for (path, source) in [(LOADER_PATH, &built.loader), (KERNEL_PATH, &built.kernel)] {
        entries.push(Entry { path: path.split('/').map(String::from).collect(), source: source.clone() });
    }
    fs::create_dir_all(out).context(|| format!("cannot make the folder {}", out.display()))?;
    let unfinished = out.join(format!(".unfinished-{}", process::id()));
    let result = progress::step("writing the boot volume and the disk image", || {
        fs::create_dir(&unfinished).context(|| format!("cannot make {}", unfinished.display()))?;
        let volume = unfinished.join("esp");
        copy(&entries, &volume)?;
        let disk = unfinished.join("purevisor.img");
        write_disk(&entries, &disk).context(|| format!("cannot write {}", disk.display()))?;
        let image = Image { volume: out.join("esp"), disk: out.join("purevisor.img") };
        replace(&volume, &image.volume)?;
        replace(&disk, &image.disk)?;
        Ok(image)
    });
    // Of a failure nothing stays; of a success only the empty folder is left to remove.
    let _ = fs::remove_dir_all(&unfinished);
    result
}

fn copy(entries: &[Entry], volume: &Path) -> Result<()> {
    for entry in entries {
        let to = entry.path.iter().fold(volume.to_path_buf(), |at, name| at.join(name));
        let folder = to.parent().unwrap_or(volume);
        fs::create_dir_all(folder).context(|| format!("cannot make {}", folder.display()))?;
        fs::copy(&entry.source, &to)
            .context(|| format!("cannot copy {} to {}", entry.source.display(), to.display()))?;
    }
    Ok(())
}

fn write_disk(entries: &[Entry], path: &Path) -> std::io::Result<()> {
    let mut sizes = Vec::new();
    for entry in entries {
        sizes.push(fs::metadata(&entry.source)?.len());
    }
    let disk = File::options().read(true).write(true).create_new(true).open(path)?;
    let partition = gpt::write(&disk, fat::volume_bytes(&sizes))?;
    fat::write(&disk, partition, entries)
}

/// Puts `new` in the place of `old`.
fn replace(new: &Path, old: &Path) -> Result<()> {
    if old.is_dir() {
        fs::remove_dir_all(old).context(|| format!("cannot remove the old {}", old.display()))?;
    }
    fs::rename(new, old).context(|| format!("cannot put {} in place", old.display()))
}

#[cfg(test)]
mod tests;
