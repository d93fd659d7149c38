//! A boot volume for one test.
use crate::prepared::prepared;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use xtask::artifacts::Artifacts;
use xtask::failure::{Context, Failure, Result};
use xtask::image::{self, Contents, Image};
use xtask::workspace;

/// A configuration and its files, to be written.
#[derive(Clone, Debug)]
pub struct Volume {
    config: String,
    files: Vec<(String, Vec<u8>)>,
    artifacts: Artifacts,
    without_kernel: bool,
    iso_edits: Vec<(String, String)>,
}

impl Volume {
    /// A volume whose configuration is `config`, with the files `vmlinuz`, `initrd.img` and `payload`
    /// that it may name.
    pub fn new(config: impl Into<String>) -> Result<Self> {
        Ok(Self {
            config: config.into(),
            files: Vec::new(),
            artifacts: prepared()?.built.clone(),
            without_kernel: false,
            iso_edits: Vec::new(),
        })
    }

    /// The node's name, which its configuration begins with.
    pub fn node_name(&self) -> &str {
        let quoted = self.config.split_once("name = \"").map(|(_, rest)| rest);
        quoted.and_then(|rest| rest.split('"').next()).unwrap_or("node")
    }

    /// One more file.
    pub fn file(mut self, name: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// Another loader and kernel.
    pub fn artifacts(mut self, artifacts: Artifacts) -> Self {
        self.artifacts = artifacts;
        self
    }

    /// The folder, not the disk image, loses PureVisor's kernel.
    pub fn without_kernel(mut self) -> Self {
        self.without_kernel = true;
        self
    }

    /// The ISO image has `new` wherever it had `old`, which must be as long: in `grub.cfg`, for example.
    pub fn edit_iso(mut self, old: &str, new: &str) -> Self {
        self.iso_edits.push((old.into(), new.into()));
        self
    }

    /// Writes it, as a folder and as a disk image.
    pub fn write(&self) -> Result<Written> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = workspace::target_folder(&format!("tests/volume-{}-{number}", std::process::id()))?;
        // From here on the folder goes with the value.
        let mut written = Written { folder: folder.clone(), volume: None, iso_edits: self.iso_edits.clone() };
        let put = |name: &str, content: &[u8]| {
            fs::write(folder.join(name), content).context(|| format!("cannot write {name}"))
        };
        let prepared = prepared()?;
        let all = [
            ("vmlinuz", prepared.debian.kernel()),
            ("initrd.img", prepared.initrd.clone()),
            ("payload", prepared.payload.clone()),
        ];
        for (name, from) in all {
            if self.config.contains(&format!("\"{name}\"")) {
                fs::copy(&from, folder.join(name)).context(|| format!("cannot copy {}", from.display()))?;
            }
        }
        for (name, content) in &self.files {
            put(name, content)?;
        }
        put("purevisor.toml", self.config.as_bytes())?;
        let contents = Contents::of(&folder.join("purevisor.toml"))?;
        let image = image::write(&contents, &self.artifacts, &folder.join("out"))?;
        if self.without_kernel {
            let kernel = image.volume.join("purevisor/kernel.elf");
            fs::remove_file(&kernel).context(|| format!("cannot remove {}", kernel.display()))?;
        }
        written.volume = Some((image, contents, self.artifacts.clone()));
        Ok(written)
    }
}

/// Puts `new` in every place of `old`; `None` if there is none, or they are not as long.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) -> Option<()> {
    let places = bytes.windows(old.len()).enumerate().filter(|(_, found)| *found == old);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    for at in &places {
        bytes[*at..at + old.len()].copy_from_slice(new.get(..old.len())?);
    }
    if places.is_empty() || old.len() != new.len() { None } else { Some(()) }
}

/// A volume on disk, gone with the value.
#[derive(Debug)]
pub struct Written {
    folder: PathBuf,
    /// What was written, and from what. Always there once it is written.
    volume: Option<(Image, Contents, Artifacts)>,
    iso_edits: Vec<(String, String)>,
}

impl Written {
    /// Its files in a folder.
    pub fn folder(&self) -> PathBuf {
        self.volume.as_ref().map(|(image, ..)| image.volume.clone()).unwrap_or_default()
    }

    /// Its disk image.
    pub fn disk(&self) -> PathBuf {
        self.volume.as_ref().map(|(image, ..)| image.disk.clone()).unwrap_or_default()
    }

    /// Writes it as an ISO image too.
    pub fn iso(&self) -> Result<PathBuf> {
        let (_, contents, artifacts) =
            self.volume.as_ref().ok_or_else(|| Failure::new("the volume was not written"))?;
        let iso = image::iso::write(contents, artifacts, &self.folder.join("out"))?;
        if !self.iso_edits.is_empty() {
            let mut bytes = fs::read(&iso).context(|| format!("cannot read {}", iso.display()))?;
            for (old, new) in &self.iso_edits {
                replace(&mut bytes, old.as_bytes(), new.as_bytes())
                    .ok_or_else(|| Failure::new(format!("the ISO image has no \"{old}\" to be \"{new}\"")))?;
            }
            fs::write(&iso, bytes).context(|| format!("cannot write {}", iso.display()))?;
        }
        Ok(iso)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
