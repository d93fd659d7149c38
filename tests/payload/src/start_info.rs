//! What the machine was started with: `struct hvm_start_info` (Xen, xen/include/public/arch-x86/hvm/
//! start_info.h).
use bare::memory::load;
use core::str::{self, SplitAsciiWhitespace};
use core::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u32 = 0x336e_c578;
/// Offsets of the fields.
const CMDLINE: u64 = 24;
const MEMORY_MAP: u64 = 40;
const MEMORY_MAP_ENTRIES: u64 = 48;
const RAM: u32 = 1;
const ACPI_TABLES: u32 = 3;

/// Longest command line that is taken.
pub const LONGEST: usize = 4096;
static LOW_RAM_END: AtomicU64 = AtomicU64::new(0);

/// Takes what is needed later, and the command line's words, by way of a copy: cases may overwrite it.
pub fn adopt(info: u64, copy: &mut [u8; LONGEST]) -> SplitAsciiWhitespace<'_> {
    if load::<u32>(info) != MAGIC {
        return "".split_ascii_whitespace();
    }
    let (map, entries) = (load::<u64>(info + MEMORY_MAP), load::<u32>(info + MEMORY_MAP_ENTRIES));
    for entry in (0..u64::from(entries)).map(|i| map + 24 * i) {
        let (from, bytes, kind) = (load::<u64>(entry), load::<u64>(entry + 8), load::<u32>(entry + 16));
        if from < 1 << 32 && (kind == RAM || kind == ACPI_TABLES) && from >= 0x10_0000 {
            LOW_RAM_END.fetch_max(from + bytes, Ordering::Relaxed);
        }
    }
    let cmdline = load::<u64>(info + CMDLINE);
    let mut length = 0;
    while cmdline != 0 && length < LONGEST {
        let byte = load::<u8>(cmdline + length as u64);
        if byte == 0 {
            break;
        }
        copy[length] = byte;
        length += 1;
    }
    str::from_utf8(&copy[..length]).unwrap_or("").split_ascii_whitespace()
}

/// Where the RAM below 4 GiB ends.
pub fn low_ram_end() -> u64 {
    LOW_RAM_END.load(Ordering::Relaxed)
}
