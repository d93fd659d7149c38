//! What the loader hands to the kernel.
//!
//! The loader (`boot.efi`, or the Multiboot2 entry) builds one [`BootInfo`] in memory that it
//! allocated, and passes its direct-map address to the kernel's entry point. The kernel reads it
//! through the direct map and trusts nothing of it before [`BootInfo::check`] has passed.
//!
//! Both sides are built from this crate. Because a boot volume can hold files of different builds,
//! the kernel carries a note ([`NOTE_SECTION`]) with the [`VERSION`] it was built for, and the loader
//! refuses a kernel of another version before it jumps.
//!
//! # State of the machine at the kernel's entry point
//!
//! - 64-bit long mode, interrupts disabled, one CPU running, the firmware's services gone.
//! - `EFER.NXE` and `CR0.WP` set; `CR3` is [`BootInfo::page_table`], of four levels. `CR4` is PAE,
//!   OSFXSR and OSXMMEXCPT, and nothing else.
//! - `GDTR`, `IDTR` and the segment registers are still the firmware's or the loader's, and their tables, if
//!   there are any, lie in memory that the map calls usable: the kernel loads its own before it lets anything else use memory, and
//!   before anything can fault.
//! - Mapped: all of physical memory (RAM and the 32-bit MMIO hole) at [`DIRECT_MAP`], writable, not
//!   executable; the kernel image's segments at their linked addresses, each with only the rights its
//!   program header asks for; and one identity-mapped trampoline in the lower half, which the kernel
//!   unmaps.
//! - `RSP` is the top of a stack of [`BOOT_STACK_BYTES`] in the direct map, with a return address of
//!   zero on it, aligned as after a `call` (System V ABI); `RBP` is zero. There is no guard page.
//! - `RDI` is the direct-map address of the [`BootInfo`].
#![no_std]

/// First field of every [`BootInfo`]: "PUREVISR".
pub const MAGIC: u64 = u64::from_le_bytes(*b"PUREVISR");

/// Raised whenever the layout or the meaning of anything here changes.
pub const VERSION: u32 = 1;

/// Virtual address at which all of physical memory is mapped.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;

/// Size of the stack that the loader gives to the kernel's first CPU.
pub const BOOT_STACK_BYTES: u64 = 64 * 1024;

/// ELF section (found by its name, so the file must keep its section headers) by which the loader recognises a kernel and its version.
pub const NOTE_SECTION: &str = ".note.purevisor";
/// Owner field of the note, with its terminating NUL, padded to a multiple of four.
pub const NOTE_NAME: [u8; 12] = *b"PureVisor\0\0\0";
/// Type field of the note: its descriptor is the `u32` hand-over version.
pub const NOTE_TYPE_VERSION: u32 = 1;

/// The ELF note that a kernel places in [`NOTE_SECTION`] (ELF, "Note Section").
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug)]
pub struct VersionNote {
    name_size: u32,
    desc_size: u32,
    kind: u32,
    name: [u8; 12],
    version: u32,
}

impl VersionNote {
    /// The note of a kernel built from this crate.
    pub const CURRENT: Self = Self {
        // The size counts the name and its NUL, not the padding.
        name_size: 10,
        desc_size: 4,
        kind: NOTE_TYPE_VERSION,
        name: NOTE_NAME,
        version: VERSION,
    };
}

/// A run of physical memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Physical address of the first byte.
    pub base: u64,
    /// Length in bytes.
    pub len: u64,
}

/// An array in physical memory: `count` elements of a type that the field's documentation names.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Array {
    /// Physical address of element 0.
    pub base: u64,
    /// Number of elements.
    pub count: u64,
}

/// What a [`MemoryRegion`] holds. Open: a value that this version does not name is to be left alone.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryKind(pub u32);

impl MemoryKind {
    /// Free RAM, the firmware's boot-services memory included.
    pub const USABLE: Self = Self(1);
    /// RAM that the kernel image occupies.
    pub const KERNEL: Self = Self(2);
    /// RAM that holds the hand-over itself: this block, its arrays, the page tables, the boot stack,
    /// the trampoline, the symbol table. Stays as long as the kernel uses any of it.
    pub const HANDOVER: Self = Self(3);
    /// RAM that holds the loaded boot files.
    pub const FILES: Self = Self(4);
    /// ACPI tables; free once they were read.
    pub const ACPI_RECLAIMABLE: Self = Self(5);
    /// ACPI firmware storage; never to be touched.
    pub const ACPI_NVS: Self = Self(6);
    /// RAM or address space that the firmware keeps.
    pub const RESERVED: Self = Self(7);
    /// Device registers named by the firmware.
    pub const MMIO: Self = Self(8);
    /// RAM that failed.
    pub const UNUSABLE: Self = Self(9);

    /// True for every kind that is backed by working RAM.
    pub const fn is_ram(self) -> bool {
        matches!(
            self,
            Self::USABLE
                | Self::KERNEL
                | Self::HANDOVER
                | Self::FILES
                | Self::ACPI_RECLAIMABLE
                | Self::ACPI_NVS
        )
    }
}

/// One entry of the memory map. Entries are sorted by address and do not overlap; base and length are
/// multiples of 4 KiB.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Where it is.
    pub extent: Extent,
    /// What it holds.
    pub kind: MemoryKind,
    /// Zero.
    pub reserved: u32,
}

/// A file of the boot volume that the loader brought into memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    /// The path as `purevisor.toml` spells it (after TOML's escapes, without a `file:` before it), UTF-8,
    /// not terminated.
    pub name: Extent,
    /// The content; starts on a 4 KiB boundary. For a file that could not be read, the length is 0.
    pub data: Extent,
    /// Why the file has no content, or [`FileStatus::LOADED`].
    pub status: FileStatus,
    /// Zero.
    pub reserved: u32,
}

/// Whether a boot file was loaded.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus(pub u32);

impl FileStatus {
    /// The content is in memory.
    pub const LOADED: Self = Self(0);
    /// No such file on the boot volume, or a path that leaves the folder of `purevisor.toml`.
    pub const NOT_FOUND: Self = Self(1);
    /// The firmware reported an error while reading.
    pub const READ_ERROR: Self = Self(2);
    /// No memory left to hold it.
    pub const NO_MEMORY: Self = Self(3);
}

/// The layout of a framebuffer's 32-bit pixels.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat(pub u32);

impl PixelFormat {
    /// There is no framebuffer.
    pub const NONE: Self = Self(0);
    /// Bytes in memory order: red, green, blue, reserved.
    pub const RGB: Self = Self(1);
    /// Bytes in memory order: blue, green, red, reserved.
    pub const BGR: Self = Self(2);
}

/// A linear framebuffer (UEFI 2.10, 12.9 Graphics Output Protocol).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framebuffer {
    /// Where it is.
    pub extent: Extent,
    /// Visible pixels in a line.
    pub width: u32,
    /// Visible lines.
    pub height: u32,
    /// Pixels from one line to the next.
    pub stride: u32,
    /// Pixel layout; [`PixelFormat::NONE`] if the machine has no framebuffer.
    pub format: PixelFormat,
}

/// The boot-information block.
///
/// All addresses are physical. An absent [`Extent`] or [`Array`] has length 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BootInfo {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// `size_of::<BootInfo>()` as the loader was built.
    pub size: u32,
    /// The PML4 that `CR3` points at.
    pub page_table: u64,
    /// Bytes mapped at [`DIRECT_MAP`].
    pub direct_map_bytes: u64,
    /// Where the kernel's segments were loaded, one run of memory.
    pub kernel: Extent,
    /// Virtual address of `kernel.base`: the kernel image is mapped linearly.
    pub kernel_virtual: u64,
    /// The stack that the kernel was entered on.
    pub boot_stack: Extent,
    /// The identity-mapped trampoline in the lower half.
    pub trampoline: Extent,
    /// [`MemoryRegion`] elements.
    pub memory: Array,
    /// [`File`] elements: those that `purevisor.toml` names, in no particular order.
    pub files: Array,
    /// The content of `purevisor.toml`; length 0 if the boot volume has none.
    pub config: Extent,
    /// The kernel's ELF `.symtab` (`Elf64_Sym` elements, 24 bytes each).
    pub symbols: Extent,
    /// The kernel's ELF `.strtab`.
    pub symbol_names: Extent,
    /// The screen.
    pub framebuffer: Framebuffer,
    /// ACPI root pointer (ACPI 6.5, 5.2.5), 0 if the firmware has none.
    pub rsdp: u64,
    /// Time-stamp counter when the firmware was done with.
    pub handover_tsc: u64,
}

/// Why a kernel refuses a boot-information block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHandover {
    /// The block does not start with [`MAGIC`].
    Magic(u64),
    /// The loader speaks another version.
    Version(u32),
    /// The block is of another size than this version's.
    Size(u32),
}

impl core::fmt::Display for BadHandover {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Magic(m) => {
                write!(f, "the boot information starts with {m:#x}: not started by PureVisor's loader")
            }
            Self::Version(v) => write!(
                f,
                "the loader speaks hand-over version {v}, this kernel {VERSION}: take the loader and the kernel from one build"
            ),
            Self::Size(s) => write!(
                f,
                "the boot information has {s} bytes instead of {}: take the loader and the kernel from one build",
                size_of::<BootInfo>()
            ),
        }
    }
}

impl BootInfo {
    /// Accepts a block of this version only.
    pub const fn check(&self) -> Result<(), BadHandover> {
        if self.magic != MAGIC {
            return Err(BadHandover::Magic(self.magic));
        }
        if self.version != VERSION {
            return Err(BadHandover::Version(self.version));
        }
        if self.size as usize != size_of::<Self>() {
            return Err(BadHandover::Size(self.size));
        }
        Ok(())
    }
}
