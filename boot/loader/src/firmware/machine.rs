//! What the loader asks of the processor and the firmware.
#![allow(unsafe_code)] // Privileged instructions and firmware structures.
use core::arch::asm;
use core::arch::x86_64::{__cpuid_count, _rdtsc};
use handover::{Extent, Framebuffer, PixelFormat};
use loader::cpu::Leaf;
use loader::memory_map::{Claim, FirmwareType};
use mm::addr::PAGE;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams};
use uefi::mem::memory_map::{MemoryDescriptor, MemoryMapOwned, MemoryType};
use uefi::proto::console::gop::{GraphicsOutput, PixelFormat as Gop};
use uefi::system;
use uefi::table::cfg::ConfigTableEntry;

const CR4_LA57: u64 = 1 << 12;

/// One CPUID leaf, subleaf 0.
pub fn cpuid(leaf: u32) -> Leaf {
    let r = __cpuid_count(leaf, 0);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The time-stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: `cpu::NEEDED` has TSC, and the loader runs in ring 0.
    unsafe { _rdtsc() }
}

/// Whether the firmware left 5-level paging on, which cannot be left from within long mode.
pub fn five_level_paging() -> bool {
    let cr4: u64;
    // SAFETY: reads a register, in ring 0.
    unsafe { asm!("mov {}, cr4", out(reg) cr4, options(nomem, nostack, preserves_flags)) };
    cr4 & CR4_LA57 != 0
}

/// A descriptor of the firmware's memory map as a claim.
pub fn claim(descriptor: &MemoryDescriptor) -> Option<Claim> {
    let kind = FirmwareType(descriptor.ty.0).kind(descriptor.att.bits());
    Claim::new(descriptor.phys_start, descriptor.page_count.checked_mul(PAGE)?, kind)
}

/// The ACPI root pointer: that of ACPI 2.0 or later before that of 1.0 (UEFI 2.10, 4.6).
pub fn rsdp() -> u64 {
    system::with_config_table(|entries| {
        let find = |guid| entries.iter().find(|e| e.guid == guid).map(|e| e.address as u64);
        find(ConfigTableEntry::ACPI2_GUID).or_else(|| find(ConfigTableEntry::ACPI_GUID)).unwrap_or(0)
    })
}

/// The screen in the mode that the firmware set, if it has one that is a plain array of pixels.
pub fn framebuffer() -> Framebuffer {
    find_framebuffer().unwrap_or(Framebuffer {
        extent: Extent::default(),
        width: 0,
        height: 0,
        stride: 0,
        format: PixelFormat::NONE,
    })
}

fn find_framebuffer() -> Option<Framebuffer> {
    let handle = boot::get_handle_for_protocol::<GraphicsOutput>().ok()?;
    let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
    // SAFETY: not exclusive, because that would take the screen from the firmware's console; only the
    // current mode is read, and nothing changes it meanwhile.
    let mut gop =
        unsafe { boot::open_protocol::<GraphicsOutput>(params, OpenProtocolAttributes::GetProtocol) }.ok()?;
    let mode = gop.current_mode_info();
    let format = match mode.pixel_format() {
        Gop::Rgb => PixelFormat::RGB,
        Gop::Bgr => PixelFormat::BGR,
        Gop::Bitmask | Gop::BltOnly => return None,
    };
    let (width, height) = mode.resolution();
    let mut pixels = gop.frame_buffer();
    Some(Framebuffer {
        extent: Extent { base: pixels.as_mut_ptr() as u64, len: pixels.size() as u64 },
        width: width.try_into().ok()?,
        height: height.try_into().ok()?,
        stride: mode.stride().try_into().ok()?,
        format,
    })
}

/// Ends boot services; returns the final memory map.
pub fn exit_boot_services() -> MemoryMapOwned {
    // SAFETY: the caller (`Prepared::go`) holds no protocol, and from here on neither allocates, frees
    // nor uses the screen.
    unsafe { boot::exit_boot_services(Some(MemoryType::LOADER_DATA)) }
}
