//! A drive's content on the host: made before the machine starts, looked at when it has ended.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use xtask::failure::{Context, Failure, Result};
use xtask::workspace;

/// An image file, gone with the value.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
    before: Vec<u8>,
}

impl Image {
    /// An image of so many MiB in which every 8 bytes are different.
    pub fn new(mib: usize) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = workspace::target_folder(&format!("tests/volume-{}-drive{number}", std::process::id()))?;
        // A bijection of 64 bits (splitmix64, Steele et al. 2014), so no two words are the same.
        let word = |i: u64| {
            let mut z = i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        let before: Vec<u8> = (0..(mib as u64) << 17).flat_map(|i| word(i).to_le_bytes()).collect();
        let image = Self { folder, before };
        fs::write(image.path(), &image.before).context(|| "cannot write a drive's image")?;
        Ok(image)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join("drive.img")
    }

    /// A folder for what belongs to it, gone with it.
    pub fn folder(&self) -> PathBuf {
        self.folder.clone()
    }

    /// A place for a machine's monitor, unique as the image.
    pub fn monitor(&self) -> PathBuf {
        self.folder.join("qmp")
    }

    /// What was written at first.
    pub fn before(&self) -> &[u8] {
        &self.before
    }

    /// What is there now must be this.
    pub fn expect(&self, expected: &[u8]) -> Result<()> {
        let now = fs::read(self.path()).context(|| "cannot read a drive's image")?;
        let differs = |block: usize| {
            let at = |bytes: &[u8]| bytes.get(block * 512..(block + 1) * 512).map(<[u8]>::to_vec);
            at(&now) != at(expected)
        };
        let blocks = now.len().max(expected.len()).div_ceil(512);
        let wrong: Vec<usize> = (0..blocks).filter(|block| differs(*block)).collect();
        match wrong.first() {
            None => Ok(()),
            Some(first) => Err(Failure::new(format!(
                "{} of {blocks} blocks of the drive are not what they should be, the first is {first}",
                wrong.len()
            ))),
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The SHA-256 of these bytes, as `sha256sum` prints it.
pub fn sha256(folder: &Path, bytes: &[u8]) -> Result<String> {
    let file = folder.join("sum");
    fs::write(&file, bytes).context(|| "cannot write a file to be summed up")?;
    let text = workspace::output(std::process::Command::new("sha256sum").arg(&file), "sum up a file")?;
    let sum = text.split_whitespace().next().unwrap_or_default();
    Ok(sum.to_string())
}
