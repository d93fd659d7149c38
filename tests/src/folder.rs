//! A folder for what belongs to one test.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use xtask::failure::Result;
use xtask::workspace;

/// A folder of its own, gone with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Where it is left behind, it goes as volumes do.
        workspace::target_folder(&format!("tests/volume-{}-folder{number}", std::process::id())).map(Self)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A place for a machine's monitor.
    pub fn monitor(&self) -> PathBuf {
        self.0.join("qmp")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
