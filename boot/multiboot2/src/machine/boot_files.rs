//! The files that the configuration names, which are in memory already: as modules.
use super::extent;
use super::memory::Pages;
use super::output::say;
use alloc::string::String;
use handover::{Array, Extent, File, FileStatus, MemoryKind};
use loader::config::NamedFile;
use multiboot2::information::Information;
use multiboot2::modules;
use multiboot2::placement::Placement;
use multiboot2::refusal::Refusal;

/// What was found.
pub struct BootFiles {
    /// The array of [`File`].
    pub table: Array,
    /// Files in memory.
    pub count: usize,
    /// Their sizes' sum.
    pub bytes: u64,
}

/// Describes `named` to the kernel. A file that is no module is no error here: its entry says so, and the
/// kernel tells whose machine lacks it.
pub fn find(
    information: Information,
    named: &[NamedFile],
    placement: &mut Placement,
) -> Result<BootFiles, Refusal> {
    const WHAT: &str = "the table of files";
    let bytes = named.len() * size_of::<File>();
    let mut table = Pages::new(placement, bytes as u64, MemoryKind::HANDOVER, WHAT)?;
    let all_names: String = named.iter().map(|file| file.path.as_str()).collect();
    let names = Pages::copy_of(placement, all_names.as_bytes(), WHAT)?;
    let mut name_at = names.extent().base;
    let array = Array { base: table.extent().base, count: named.len() as u64 };
    let mut files = BootFiles { table: array, count: 0, bytes: 0 };
    for (entry, NamedFile { path, .. }) in table.items_mut::<File>().iter_mut().zip(named) {
        let name = Extent { base: name_at, len: path.len() as u64 };
        name_at += name.len;
        let (data, status) = match modules::find(information, path) {
            Some(module) => {
                let data = extent(&modules::range(&module));
                placement.claim(data, MemoryKind::FILES);
                files.count += 1;
                files.bytes += data.len;
                say(format_args!("{path}: {} KiB", data.len.div_ceil(1024)));
                (data, FileStatus::LOADED)
            }
            None => {
                say(format_args!("{path}: no module has this name"));
                (Extent::default(), FileStatus::NOT_FOUND)
            }
        };
        *entry = File { name, data, status, reserved: 0 };
    }
    Ok(files)
}
