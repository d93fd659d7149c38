//! Linux bzImage (Linux, Documentation/arch/x86/boot.rst; offsets are those of the file).
use super::Piece;
use super::error::Problem;
use super::image::{Image, u16_at, u32_at, u64_at};
use super::place::{Extent, MEGABYTE, Plan, Room, Start};
use alloc::vec;

/// First byte of the setup header, here and in boot_params.
pub(super) const HEADER: usize = 0x1f1;
/// Where boot_params has something else after the header.
pub(super) const HEADER_MAX_END: usize = 0x290;

/// Where the header ends at least: behind `init_size`.
const HEADER_MIN_END: usize = INIT_SIZE + 4;

const SETUP_SECTS: usize = 0x1f1;
const SYSSIZE: usize = 0x1f4;
const JUMP_LENGTH: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADFLAGS: usize = 0x211;
const INITRD_ADDR_MAX: usize = 0x22c;
const KERNEL_ALIGNMENT: usize = 0x230;
const RELOCATABLE_KERNEL: usize = 0x234;
const XLOADFLAGS: usize = 0x236;
const CMDLINE_SIZE: usize = 0x238;
const PREF_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;

/// `loadflags`: the kernel loads at 1 MiB or above.
const LOADED_HIGH: u8 = 1 << 0;
/// `xloadflags`: there is a 64-bit entry point 0x200 bytes into the kernel.
const XLF_KERNEL_64: u16 = 1 << 0;
/// `xloadflags`: kernel, initrd, command line and boot_params may lie above 4 GiB.
const XLF_CAN_BE_LOADED_ABOVE_4G: u16 = 1 << 1;
/// The first protocol with `pref_address` and `init_size`.
const OLDEST: u16 = 0x20a;
/// The first protocol with `xloadflags`.
const WITH_XLOADFLAGS: u16 = 0x20c;

/// Finds the protected-mode part of a bzImage and where it wants to lie.
pub(super) fn load<'a>(room: &Room, image: Image<'a>) -> Result<Plan<'a>, Problem> {
    let first = image.part("setup sector", 0, 0x212).map_err(|_| Problem::UnknownFormat)?;
    if &first[MAGIC..MAGIC + 4] != b"HdrS" {
        return Err(Problem::UnknownFormat);
    }
    let version = u16_at(first, VERSION);
    if version < OLDEST {
        return Err(Problem::OldProtocol { version });
    }
    if first[LOADFLAGS] & LOADED_HIGH == 0 {
        return Err(Problem::LoadsLow);
    }
    // The header ends where the jump at its start leads.
    let end = (MAGIC + usize::from(first[JUMP_LENGTH])).min(HEADER_MAX_END);
    if end < HEADER_MIN_END {
        let expected = "0x62 or more";
        return Err(Problem::Field {
            name: "length of the setup header",
            value: (end - MAGIC) as u64,
            expected,
        });
    }
    let setup = image.part("setup header", 0, end as u64)?;

    let sectors = if setup[SETUP_SECTS] == 0 { 4 } else { u64::from(setup[SETUP_SECTS]) };
    let start = (sectors + 1) * 512;
    let bytes = u64::from(u32_at(setup, SYSSIZE)) * 16;
    if bytes == 0 {
        return Err(Problem::Field { name: "syssize", value: 0, expected: "the kernel's size" });
    }
    let code = image.part("protected-mode kernel", start, bytes)?;

    let alignment = u64::from(u32_at(setup, KERNEL_ALIGNMENT));
    let relocatable = setup[RELOCATABLE_KERNEL] != 0;
    if relocatable && !alignment.is_power_of_two() {
        let expected = "a power of two";
        return Err(Problem::Field { name: "kernel_alignment", value: alignment, expected });
    }
    let space = u64::from(u32_at(setup, INIT_SIZE)).max(bytes);
    let preferred = u64_at(setup, PREF_ADDRESS);
    let at = place(room, preferred, space, relocatable.then_some(alignment))?;

    let xloadflags = if version >= WITH_XLOADFLAGS { u16_at(setup, XLOADFLAGS) } else { 0 };
    let long = xloadflags & XLF_KERNEL_64 != 0;
    let cmdline_size = u64::from(u32_at(setup, CMDLINE_SIZE));
    Ok(Plan {
        start: Start::Linux {
            header: &setup[HEADER..],
            entry: if long { at.from + 0x200 } else { at.from },
            long,
            elf: false,
        },
        pieces: vec![Piece { at: at.start(), bytes: code }],
        kernel: vec![at],
        // Zero means that the field is missing: the limit before it existed.
        cmdline_max: (if cmdline_size == 0 { 255 } else { cmdline_size })
            .min(super::low_memory::CMDLINE_SPACE - 1),
        initrd_max: u64::from(u32_at(setup, INITRD_ADDR_MAX)),
        initrd_above_4_gib: xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G != 0,
    })
}

/// `space` bytes at `preferred`, or if the kernel can be moved, at the next multiple of its alignment.
///
/// Never below: whatever the boot protocol says of relocatable kernels, Linux does not run below the
/// address that it was built for, and decompresses itself to there (arch/x86/boot/compressed/head_64.S,
/// LOAD_PHYSICAL_ADDR), over the end of a RAM that has no room for it.
fn place(room: &Room, preferred: u64, space: u64, alignment: Option<u64>) -> Result<Extent, Problem> {
    let at = match alignment {
        None => Some(preferred),
        Some(alignment) => preferred.max(MEGABYTE).checked_next_multiple_of(alignment),
    };
    at.and_then(|at| Extent::sized(at, space)).filter(|extent| room.low.contains(extent)).ok_or(
        Problem::OutsideRam {
            start: at.unwrap_or(preferred),
            bytes: space,
            from: room.low.from,
            to: room.low.to,
        },
    )
}
