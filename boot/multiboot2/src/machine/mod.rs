//! The entry proper: what it is entered with, and the order in which it does things.
//!
//! ```text
//! boot information → CPU → memory map and modules → heap → kernel.elf → its segments
//!   → purevisor.toml and its files → page tables → final memory map → jump
//! ```
//!
//! Until the heap is open nothing allocates. Nothing is written but to memory that `Placement` gave.
#![allow(unsafe_code)] // Memory that the boot loader names; the jump.
use alloc::string::String;
use core::arch::x86_64::{__cpuid_count, _rdtsc};
use core::ops::Range;
use handover::{
    Array, BOOT_STACK_BYTES, BootInfo, DIRECT_MAP, Extent, Framebuffer, MAGIC, MemoryKind, MemoryRegion,
    PixelFormat, VERSION,
};
use loader::address_space::Plan;
use loader::cpu::Leaf;
use loader::elf::Kernel;
use loader::memory_map::{self, Claim, LEAST_USABLE};
use loader::obstacle::Obstacle;
use loader::volume_path::{CONFIG_PATH, KERNEL_PATH};
use loader::{config, cpu, jump};
use mm::PageSize;
use multiboot2::information::{self, Information, Screen};
use multiboot2::modules;
use multiboot2::placement::{self, Placement};
use multiboot2::refusal::Refusal;

mod boot_files;
mod entry;
mod heap;
mod memory;
mod output;
mod screen;

use memory::{Frames, Pages};
use output::say;

unsafe extern "C" {
    /// Where the entry is linked to be: `link.ld`.
    static PHYSICAL: u8;
    static VIRTUAL: u8;
    static virtual_end: u8;
}

/// Where the entry is, from `moved`, the distance from its linked physical address.
struct Own {
    /// Physical addresses.
    range: Range<u64>,
    /// From virtual to physical addresses, wrapping.
    from_virtual: u64,
}

impl Own {
    fn new(moved: u64) -> Self {
        let (physical, linked) = (&raw const PHYSICAL as u64, &raw const VIRTUAL as u64);
        let start = physical.wrapping_add(moved);
        let bytes = (&raw const virtual_end as u64) - linked;
        Self { range: start..start + bytes, from_virtual: start.wrapping_sub(linked) }
    }
}

/// Where the assembly of [`entry`] goes, in 64-bit mode: `magic` is EAX and `information` EBX as the boot
/// loader left them, `moved` how far from its linked physical address the entry is.
extern "sysv64" fn start(magic: u32, information: u64, moved: u64) -> ! {
    output::start();
    say(format_args!("PureVisor {}, Multiboot2 entry", env!("CARGO_PKG_VERSION")));
    let own = Own::new(moved);
    match prepare(magic, information, &own) {
        Ok(prepared) => prepared.go(&own),
        Err(refusal) => output::stop(&refusal),
    }
}

/// Everything in its place.
struct Prepared {
    entry: u64,
    info: BootInfo,
    info_at: u64,
}

fn cpuid(leaf: u32) -> Leaf {
    let r = __cpuid_count(leaf, 0);
    [r.eax, r.ebx, r.ecx, r.edx]
}

/// The boot information at `base`, and where it is.
fn read_information(base: u64) -> Result<(Information<'static>, Range<u64>), Refusal> {
    // SAFETY: a Multiboot2 loader passes the address of its information in EBX, which is below 4 GiB as all
    // 32-bit addresses are, and which nothing writes to before the kernel runs.
    let first = unsafe { (base as *const u32).read_unaligned() };
    let bytes = information::claimed_bytes(first).map_err(Refusal::Information)? as u64;
    let range = base..base + bytes;
    // SAFETY: as above; the claimed size is a sane one.
    let information = Information::parse(unsafe { memory::bytes(range.clone()) });
    Ok((information.map_err(Refusal::Information)?, range))
}

fn prepare(magic: u32, base: u64, own: &Own) -> Result<Prepared, Refusal> {
    if magic != information::MAGIC {
        return Err(Refusal::NotMultiboot2(magic));
    }
    let (information, information_range) = read_information(base)?;
    output::use_screen(information.screen());
    say(format_args!("started by {} at {:#x}", information.loader(), own.range.start));
    if information.boot_services_run() {
        return Err(Refusal::BootServices);
    }
    cpu::check(cpuid).map_err(Obstacle::Cpu)?;
    let firmware = information.memory_map().ok_or(Refusal::NoMemoryMap)?.claims();
    let taken = [own.range.clone(), information_range];
    modules::check(information, &taken, firmware.clone()).map_err(Refusal::Module)?;

    // What must stay until the jump. The heap does not: nothing of it is left for the kernel.
    let in_use = taken.into_iter().chain(information.modules().map(|m| modules::range(&m)));
    let in_use = in_use.filter_map(|r| Claim::new(r.start, r.end - r.start, MemoryKind::HANDOVER));
    let before = firmware.clone().chain(in_use);
    let usable = memory_map::usable_bytes(before.clone());
    let too_little = Obstacle::TooLittleMemory { usable, needed: LEAST_USABLE };
    let heap = placement::heap(memory_map::regions(before.clone())).ok_or(too_little)?;
    // SAFETY: free by the firmware's map, below 4 GiB, and claimed for the heap in what follows.
    unsafe { heap::open(heap) };
    let before = before.chain(Claim::new(heap.base, heap.len, MemoryKind::HANDOVER));
    let mut placement = Placement::new(memory_map::regions(before));

    let kernel_file = modules::find(information, KERNEL_PATH).ok_or(Refusal::NoKernel)?;
    // SAFETY: `modules::check` found it in memory of its own, which nothing is placed into.
    let kernel_file = unsafe { memory::bytes(modules::range(&kernel_file)) };
    let kernel = Kernel::parse(kernel_file).map_err(Obstacle::Kernel)?;
    let span = kernel.pages();
    let mut image = Pages::new(&mut placement, span.end - span.start, MemoryKind::KERNEL, "the kernel")?;
    kernel.copy_to(image.items_mut());
    let symbols = Pages::copy_of(&mut placement, kernel.symbols, "the symbol table")?;
    let symbol_names = Pages::copy_of(&mut placement, kernel.symbol_names, "the symbol table")?;

    let configuration = match modules::find(information, CONFIG_PATH) {
        Some(module) => {
            let range = modules::range(&module);
            placement.claim(extent(&range), MemoryKind::HANDOVER);
            range
        }
        None => {
            say(format_args!("no module is named {CONFIG_PATH}: the kernel starts with defaults"));
            0..0
        }
    };
    // SAFETY: as for the kernel's file.
    let text = unsafe { memory::bytes(configuration.clone()) };
    // A longer one names nothing, and its conversion might not fit into the heap.
    let text = if text.len() > config::MAX_BYTES { &[] } else { text };
    let named = config::named_files(&String::from_utf8_lossy(text));
    let files = boot_files::find(information, &named, &mut placement)?;
    say(format_args!(
        "kernel {} KiB at {:#x}, {} files, {} MiB",
        image.extent().len >> 10,
        image.extent().base,
        files.count,
        files.bytes.div_ceil(1 << 20)
    ));

    let trampoline = jump::trampoline(own.from_virtual);
    placement.claim(trampoline, MemoryKind::HANDOVER);
    let usable = memory_map::usable_bytes(firmware.clone().chain(placement.claims().iter().copied()));
    if usable < LEAST_USABLE {
        return Err(Obstacle::TooLittleMemory { usable, needed: LEAST_USABLE }.into());
    }
    let mapped = memory_map::mapped_bytes(firmware.clone());
    let largest = if cpu::has_1gib_pages(cpuid) { PageSize::Huge } else { PageSize::Large };
    let plan = Plan { memory: mapped, largest, kernel: &kernel, image: image.extent().base, trampoline };
    let tables = plan.build(Frames(&mut placement)).map_err(Obstacle::Tables)?.root().get();
    let stack =
        Pages::new(&mut placement, BOOT_STACK_BYTES, MemoryKind::HANDOVER, "the kernel's first stack")?;
    let rsdp = match information.rsdp() {
        Some(copy) => Pages::copy_of(&mut placement, copy, "the ACPI root pointer")?.extent().base,
        None => 0,
    };
    let info_pages = size_of::<BootInfo>() as u64;
    let mut info_pages =
        Pages::new(&mut placement, info_pages, MemoryKind::HANDOVER, "the boot information")?;
    let regions = final_map(firmware, &mut placement)?;
    let info = BootInfo {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<BootInfo>() as u32,
        page_table: tables,
        direct_map_bytes: plan.direct_map_bytes(),
        kernel: image.extent(),
        kernel_virtual: span.start,
        boot_stack: stack.extent(),
        trampoline,
        memory: regions,
        files: files.table,
        config: extent(&configuration),
        symbols: symbols.extent(),
        symbol_names: symbol_names.extent(),
        framebuffer: framebuffer(information.screen()),
        rsdp,
        // SAFETY: `cpu::NEEDED` has TSC, and the entry runs in ring 0.
        handover_tsc: unsafe { _rdtsc() },
    };
    info_pages.items_mut::<BootInfo>()[0] = info;
    Ok(Prepared { entry: kernel.entry, info, info_at: info_pages.extent().base })
}

fn extent(range: &Range<u64>) -> Extent {
    Extent { base: range.start, len: range.end - range.start }
}

/// Writes the memory map: the firmware's, with all that was placed.
fn final_map(
    firmware: impl Iterator<Item = Claim> + Clone,
    placement: &mut Placement,
) -> Result<Array, Refusal> {
    let count = memory_map::regions(firmware.clone().chain(placement.claims().iter().copied())).count();
    // The array's own claim cuts one region in three.
    let bytes = (count + 2) * size_of::<MemoryRegion>();
    let mut array = Pages::new(placement, bytes as u64, MemoryKind::HANDOVER, "the memory map")?;
    let regions = memory_map::regions(firmware.chain(placement.claims().iter().copied()));
    let mut count = 0;
    for (slot, region) in array.items_mut::<MemoryRegion>().iter_mut().zip(regions) {
        *slot = region;
        count += 1;
    }
    Ok(Array { base: array.extent().base, count })
}

fn framebuffer(screen: Screen) -> Framebuffer {
    match screen {
        Screen::Pixels(framebuffer) => framebuffer,
        // A text mode is nothing that the kernel draws on.
        Screen::Text { .. } | Screen::None => Framebuffer {
            extent: Extent::default(),
            width: 0,
            height: 0,
            stride: 0,
            format: PixelFormat::NONE,
        },
    }
}

impl Prepared {
    fn go(self, own: &Own) -> ! {
        say(format_args!("entering the kernel"));
        output::finish();
        let Extent { base, len } = self.info.boot_stack;
        let target = jump::Target {
            page_table: self.info.page_table,
            stack_top: DIRECT_MAP + base + len,
            boot_info: DIRECT_MAP + self.info_at,
            entry: self.entry,
        };
        // SAFETY: `prepare` checked the processor and built the tables by the plan for this trampoline, which
        // the entry's own tables map one to one as they do all memory below 4 GiB; nobody else runs.
        unsafe { jump::enter(target, own.from_virtual) }
    }
}
