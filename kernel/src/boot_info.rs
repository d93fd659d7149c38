//! What the loader handed over, once it was checked.
//!
//! The block and its arrays stay where the loader put them, in memory of kind `HANDOVER`, which is never
//! given to the frame allocator: a panic needs the symbols at any time.
#![allow(unsafe_code)] // reads memory whose address the loader named

use core::slice;
use handover::{Array, BootInfo, Extent, File, FileStatus, MemoryRegion};
use mgmt::config::normal_path;
use mm::layout::DIRECT_MAP;
use platform::symbols::Symbols;
use spin::Once;

static BOOT_INFO: Once<&'static BootInfo> = Once::new();

/// Takes the loader's block.
///
/// # Safety
/// `info` is what the loader passed to the entry point, and the direct map is in place.
pub unsafe fn adopt(info: *const BootInfo) -> Result<&'static BootInfo, handover::BadHandover> {
    // SAFETY: the loader keeps its contract (`handover`): the block is readable and stays.
    let info = unsafe { &*info };
    info.check()?;
    Ok(*BOOT_INFO.call_once(|| info))
}

/// The block; `None` before it was adopted.
pub fn get() -> Option<&'static BootInfo> {
    BOOT_INFO.get().copied()
}

/// The bytes of an extent that the loader described; empty where it does not lie in the direct map.
pub fn bytes(extent: Extent) -> &'static [u8] {
    let Some(info) = get() else { return &[] };
    let end = extent.base.checked_add(extent.len);
    if extent.len == 0 || end.is_none_or(|e| e > info.direct_map_bytes) {
        return &[];
    }
    // SAFETY: the loader owns these pieces of memory, describes them in the block that was checked, and
    // nothing writes to them: they are not handed to the frame allocator.
    unsafe { slice::from_raw_parts((DIRECT_MAP.base() + extent.base).as_ptr(), extent.len as usize) }
}

fn array<T>(array: Array) -> &'static [T] {
    let Some(len) = array.count.checked_mul(size_of::<T>() as u64) else { return &[] };
    let all = bytes(Extent { base: array.base, len });
    if all.is_empty() || !array.base.is_multiple_of(align_of::<T>() as u64) {
        return &[];
    }
    // SAFETY: `bytes` gave that many bytes, aligned; the element types are plain data for every bit pattern.
    unsafe { slice::from_raw_parts(all.as_ptr().cast(), array.count as usize) }
}

/// The memory map.
pub fn memory() -> &'static [MemoryRegion] {
    get().map_or(&[], |i| array(i.memory))
}

/// The boot files.
pub fn files() -> &'static [File] {
    get().map_or(&[], |i| array(i.files))
}

/// The content of the boot file that `purevisor.toml` calls `name`, or why it was not loaded. `None` if the
/// loader does not know the name.
pub fn file(name: &str) -> Option<Result<&'static [u8], &'static str>> {
    let file = files().iter().find(|file| {
        core::str::from_utf8(bytes(file.name)).is_ok_and(|path| normal_path(path).as_deref() == Ok(name))
    })?;
    Some(match file.status {
        FileStatus::LOADED => Ok(bytes(file.data)),
        FileStatus::NOT_FOUND => Err("there is no such file on the boot volume: copy it there and reboot"),
        FileStatus::READ_ERROR => Err("the firmware could not read it: check the boot volume and reboot"),
        FileStatus::NO_MEMORY => Err("there was no memory for it while booting: use a smaller file"),
        _ => Err("it was not loaded, for a reason that this kernel does not know"),
    })
}

/// The kernel's symbols.
pub fn symbols() -> Symbols<'static> {
    get().map_or(Symbols::default(), |i| Symbols::new(bytes(i.symbols), bytes(i.symbol_names)))
}
