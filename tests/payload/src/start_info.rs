//! What the machine was started with: `struct hvm_start_info` (Xen, xen/include/public/arch-x86/hvm/
//! start_info.h).
use core::str;
use core::sync::atomic::{AtomicU64, Ordering};

const MAGIC: u32 = 0x336e_c578;
/// Offsets of the fields.
const CMDLINE: u64 = 24;
const MEMORY_MAP: u64 = 40;
const MEMORY_MAP_ENTRIES: u64 = 48;
const RAM: u32 = 1;

const LONGEST: usize = 4096;
static mut COPY: [u8; LONGEST] = [0; LONGEST];
static LOW_RAM_END: AtomicU64 = AtomicU64::new(0);

/// The command line, copied from where cases may overwrite it.
pub struct Cmdline(&'static str);

impl Cmdline {
    pub fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.0.split_ascii_whitespace()
    }
}

fn read<T: Copy>(address: u64) -> T {
    unsafe { (address as *const T).read_unaligned() }
}

/// Copies what is needed later.
pub fn adopt(info: u64) -> Cmdline {
    if read::<u32>(info) != MAGIC {
        return Cmdline("");
    }
    let (map, entries) = (read::<u64>(info + MEMORY_MAP), read::<u32>(info + MEMORY_MAP_ENTRIES));
    for entry in (0..u64::from(entries)).map(|i| map + 24 * i) {
        let (from, bytes, kind) = (read::<u64>(entry), read::<u64>(entry + 8), read::<u32>(entry + 16));
        // ACPI tables lie in RAM too.
        if from < 1 << 32 && (kind == RAM || kind == 3) && from >= 0x10_0000 {
            LOW_RAM_END.fetch_max(from + bytes, Ordering::Relaxed);
        }
    }
    let cmdline = read::<u64>(info + CMDLINE);
    let mut length = 0;
    while cmdline != 0 && length < LONGEST {
        let byte = read::<u8>(cmdline + length as u64);
        if byte == 0 {
            break;
        }
        unsafe { (&raw mut COPY).cast::<u8>().add(length).write(byte) };
        length += 1;
    }
    let copy = unsafe { core::slice::from_raw_parts((&raw const COPY).cast::<u8>(), length) };
    Cmdline(str::from_utf8(copy).unwrap_or(""))
}

/// Where the RAM below 4 GiB ends.
pub fn low_ram_end() -> u64 {
    LOW_RAM_END.load(Ordering::Relaxed)
}
