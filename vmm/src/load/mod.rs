//! How a guest's kernel gets into its memory, and the state in which the first vCPU starts.
//!
//! # How data flows
//!
//! ```text
//!  kernel file ──► Format::detect ──► bzimage | elf ──► plan: where the kernel lies and how it starts
//!                                                         │
//!  acpi::build ──► tables in 0xe0000..0x100000 ───────────┤
//!  initrd, command line ──► placed, copied once ──────────┤
//!                                                         ▼
//!              e820 + boot_params (zero page) or hvm_start_info ──► InitialState of the first vCPU
//! ```
//!
//! | file | started by |
//! |---|---|
//! | bzImage with `XLF_KERNEL_64` | Linux 64-bit boot protocol |
//! | bzImage without (a 32-bit kernel) | Linux 32-bit boot protocol |
//! | ELF with the note `XEN_ELFNOTE_PHYS32_ENTRY` | PVH, 32-bit protected mode |
//! | any other ELF64 (vmlinux) | its entry point in long mode with Linux boot parameters |
//!
//! # What it promises
//!
//! Kernel and initrd are untrusted: every offset and length is checked before it is used, nothing is
//! written outside of the guest's RAM or over what the guest is started with, the work is bounded by the
//! sizes of the files and of the memory, and what is refused is refused with an error that names the file.
//!
//! Each file is copied once, from where the caller holds it to its place in the guest's memory, by the
//! caller ([`Piece`]): a CPU that does other things meanwhile copies a little at a time.
//!
//! # What it does not do
//!
//! No real-mode entry, no EFI entry, no decompression: a bzImage does that itself, faster than a copy
//! through us would be.
mod acpi;
mod boot_params;
mod bzimage;
mod e820;
mod elf;
mod entry;
mod error;
mod image;
mod low_memory;
mod place;
mod pvh;
#[cfg(test)]
mod tests;

pub use entry::{reset_vector, sipi};
pub use error::{LoadError, Problem};

use crate::backend::InitialState;
use crate::memory::GuestMemory;
use alloc::vec::Vec;
use core::fmt;
use image::Image;
use mm::addr::Gpa;

/// A file of the boot volume.
#[derive(Clone, Copy)]
pub struct File<'a> {
    /// Its name, for messages.
    pub name: &'a str,
    /// Its content, untrusted.
    pub bytes: &'a [u8],
}

/// What a guest is started with.
pub struct Boot<'a> {
    /// Kernel.
    pub kernel: File<'a>,
    /// Initial RAM disk.
    pub initrd: Option<File<'a>>,
    /// Kernel command line, without a terminating zero.
    pub cmdline: &'a [u8],
    /// vCPUs, at least 1. Their APIC IDs are 0, 1, 2 and so on.
    pub vcpus: u32,
    /// Random bytes for the guest's generator, which would otherwise have to wait for interrupts to be
    /// random enough. Handed to kernels of the Linux boot protocol.
    pub seed: Option<[u8; 32]>,
}

/// How a kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Linux 64-bit boot protocol.
    BzImage64,
    /// Linux 32-bit boot protocol.
    BzImage32,
    /// ELF with a PVH entry point.
    Pvh,
    /// ELF64 vmlinux, entered in long mode.
    Vmlinux,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BzImage64 => "Linux bzImage, 64-bit entry",
            Self::BzImage32 => "Linux bzImage, 32-bit entry",
            Self::Pvh => "ELF, PVH entry",
            Self::Vmlinux => "ELF vmlinux, 64-bit entry",
        })
    }
}

/// A part of a file and where in the guest's memory it goes. All of that place is RAM.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// First address.
    pub at: Gpa,
    /// What goes there.
    pub bytes: &'a [u8],
}

/// A guest that is ready to run as soon as the pieces are in its memory.
#[derive(Clone, Debug)]
pub struct Loaded<'a> {
    /// What the caller is to copy into the guest's memory, in any order and as slowly as it likes: the bulk
    /// of kernel and initrd.
    pub pieces: Vec<Piece<'a>>,
    /// What the kernel file was taken for.
    pub format: Format,
    /// Registers of the first vCPU. The others wait for INIT and SIPI ([`sipi`]).
    pub state: InitialState,
}

/// Puts a guest's boot parameters and firmware tables into its memory, and says where kernel and initrd go.
///
/// The memory may hold anything before: what the guest is promised to be zero is zeroed here.
///
/// # Errors
/// What is wrong with which file, or that it does not fit. The memory is then in no defined state.
pub fn load<'a>(memory: &GuestMemory, boot: &Boot<'a>) -> Result<Loaded<'a>, LoadError> {
    let image = Image(boot.kernel.bytes);
    let blame_kernel = |problem| LoadError::of(boot.kernel.name, problem);
    if boot.cmdline.contains(&0) {
        return Err(LoadError::command_line(Problem::CommandLineZero));
    }
    if image.0.is_empty() {
        return Err(blame_kernel(Problem::Empty));
    }
    let tables = acpi::place(memory.layout(), boot.vcpus)
        .ok_or_else(|| blame_kernel(Problem::NoRoom { bytes: acpi::SPACE, ram: memory.bytes() }))?;
    let room = place::Room::new(memory.layout(), &tables);

    let mut plan = if image.starts_with(&elf::MAGIC) {
        elf::load(memory, &room, image)
    } else {
        bzimage::load(&room, image)
    }
    .map_err(blame_kernel)?;

    if boot.cmdline.len() as u64 > plan.cmdline_max {
        let problem = Problem::CommandLineLong { length: boot.cmdline.len(), limit: plan.cmdline_max };
        return Err(LoadError::command_line(problem));
    }
    let initrd = match &boot.initrd {
        Some(file) if !file.bytes.is_empty() => {
            let range = room
                .for_initrd(file.bytes.len() as u64, &plan.kernel, plan.initrd_max, plan.initrd_above_4_gib)
                .ok_or_else(|| {
                    let problem = Problem::NoRoom { bytes: file.bytes.len() as u64, ram: memory.bytes() };
                    LoadError::of(file.name, problem)
                })?;
            plan.pieces.push(Piece { at: range.start(), bytes: file.bytes });
            range
        }
        _ => place::Extent::EMPTY,
    };

    let map = e820::map(memory.layout(), &tables);
    tables
        .write(memory)
        .and_then(|()| low_memory::write_bios_area(memory))
        .and_then(|()| low_memory::write_cmdline(memory, boot.cmdline))
        .and_then(|()| match &plan.start {
            place::Start::Linux { header, .. } => {
                boot_params::write(memory, header, &map, &initrd, &tables, boot.seed.as_ref())
            }
            place::Start::Pvh { .. } => pvh::write(memory, &map, &initrd, &tables),
        })
        .and_then(|()| low_memory::write_tables(memory, plan.start.is_long()))
        .map_err(|e| blame_kernel(e.into()))?;

    let (format, state) = match plan.start {
        place::Start::Linux { entry, long: true, elf, .. } => {
            (if elf { Format::Vmlinux } else { Format::BzImage64 }, entry::linux_64(entry))
        }
        place::Start::Linux { entry, .. } => (Format::BzImage32, entry::linux_32(entry)),
        place::Start::Pvh { entry } => (Format::Pvh, entry::pvh(entry)),
    };
    Ok(Loaded { pieces: plan.pieces, format, state })
}
