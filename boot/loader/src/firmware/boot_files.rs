//! The files that the configuration names, brought into memory.
use super::output::say;
use super::pages::Pages;
use super::refusal::Refusal;
use super::volume::{ReadError, Volume};
use alloc::format;
use alloc::vec::Vec;
use handover::{Array, Extent, File, FileStatus, MemoryKind};
use loader::config::NamedFile;
use loader::memory_map::Claim;

/// What was loaded.
pub struct BootFiles {
    /// The array of [`File`].
    pub table: Array,
    /// The files' memory.
    pub claims: Vec<Claim>,
    /// Files in memory.
    pub count: usize,
    /// Their sizes' sum.
    pub bytes: u64,
}

/// Loads `named`. A file that cannot be had is no error here: its entry says why, and the kernel tells
/// whose machine lacks it.
pub fn load(volume: &mut Volume, named: &[NamedFile]) -> Result<BootFiles, Refusal> {
    let mut table = Pages::new((named.len() * size_of::<File>()) as u64, "the table of files")?;
    let names: u64 = named.iter().map(|f| f.path.len() as u64).sum();
    let mut names = Pages::new(names, "the table of files")?;
    let mut name_at = 0;
    let mut files = BootFiles {
        table: Array { base: table.extent().base, count: named.len() as u64 },
        claims: Vec::new(),
        count: 0,
        bytes: 0,
    };
    for (entry, NamedFile { path, .. }) in table.items_mut::<File>().iter_mut().zip(named) {
        let name = name_at..name_at + path.len();
        name_at = name.end;
        names.bytes_mut()[name.clone()].copy_from_slice(path.as_bytes());
        let name = Extent { base: names.extent().base + name.start as u64, len: name.len() as u64 };
        let (data, status) = match volume.read(path) {
            Ok(pages) => {
                let data = pages.extent();
                files.claims.extend(Claim::new(data.base, data.len, MemoryKind::FILES));
                files.count += 1;
                files.bytes += data.len;
                say(&format!("{path}: {} KiB", data.len.div_ceil(1024)));
                (data, FileStatus::LOADED)
            }
            Err(error) => {
                say(&format!("{path}: {error}"));
                let status = match error {
                    ReadError::NotFound | ReadError::Path(_) => FileStatus::NOT_FOUND,
                    ReadError::Firmware(_) => FileStatus::READ_ERROR,
                    ReadError::NoMemory { .. } => FileStatus::NO_MEMORY,
                };
                (Extent::default(), status)
            }
        };
        *entry = File { name, data, status, reserved: 0 };
    }
    Ok(files)
}
