//! `boot.efi` proper: what asks the firmware, and the order in which it does.
//!
//! ```text
//! check the CPU → read kernel.elf, purevisor.toml and its files → load the kernel's segments
//!   → page tables → memory map, screen, ACPI root → exit boot services → final memory map → jump
//! ```
//!
//! Everything is allocated before boot services end. After that nothing is allocated, freed or printed
//! on the screen.
use alloc::format;
use alloc::vec::Vec;
use handover::{
    Array, BOOT_STACK_BYTES, BootInfo, DIRECT_MAP, Extent, MAGIC, MemoryKind, MemoryRegion, VERSION,
};
use loader::address_space::Plan;
use loader::elf::Kernel;
use loader::memory_map::{self, Claim, LEAST_USABLE};
use loader::obstacle::Obstacle;
use loader::volume_path::{CONFIG_PATH, KERNEL_PATH};
use loader::{config, cpu, jump};
use mm::PageSize;
use uefi::mem::memory_map::{MemoryMap, MemoryMapOwned, MemoryType};
use uefi::{Status, boot};

mod boot_files;
mod kernel_image;
mod machine;
mod output;
mod pages;
mod refusal;
mod table_memory;
mod volume;

use output::say;
use pages::Pages;
use refusal::Refusal;
use table_memory::FirmwareFrames;
use volume::{ReadError, Volume};

#[uefi::entry]
fn main() -> Status {
    output::start();
    say(&format!("PureVisor {}, UEFI loader", env!("CARGO_PKG_VERSION")));
    // The firmware resets a machine whose loader takes longer than five minutes (UEFI 2.10, 3.1.2).
    let _ = boot::set_watchdog_timer(0, 0x1_0000, None);
    match prepare() {
        Ok(prepared) => prepared.go(),
        Err(refusal) => output::stop(&format!("{refusal}")),
    }
}

/// All that the kernel needs, in memory, while boot services still run.
struct Prepared {
    entry: u64,
    info: BootInfo,
    info_page: Pages,
    regions: Pages,
    claims: Vec<Claim>,
}

fn prepare() -> Result<Prepared, Refusal> {
    cpu::check(machine::cpuid).map_err(Obstacle::Cpu)?;
    if machine::five_level_paging() {
        return Err(Refusal::FiveLevelPaging);
    }
    let mut volume = Volume::of_this_image().map_err(Refusal::Volume)?;
    let kernel_file = volume.read(KERNEL_PATH).map_err(Refusal::KernelFile)?;
    let kernel = Kernel::parse(kernel_file.bytes()).map_err(Obstacle::Kernel)?;
    let image = kernel_image::load(&kernel)?;
    let symbols = Pages::copy_of(kernel.symbols, "the symbol table")?;
    let symbol_names = Pages::copy_of(kernel.symbol_names, "the symbol table")?;

    let configuration = match volume.read(CONFIG_PATH) {
        Ok(file) => file,
        Err(ReadError::NotFound) => {
            say("no purevisor.toml on the boot volume: the kernel starts with defaults");
            Pages::EMPTY
        }
        Err(error) => {
            say(&format!("purevisor.toml could not be read ({error}): the kernel starts with defaults"));
            Pages::EMPTY
        }
    };
    let named = config::named_files(&alloc::string::String::from_utf8_lossy(configuration.bytes()));
    let files = boot_files::load(&mut volume, &named)?;
    say(&format!(
        "kernel {} KiB at {:#x}, {} files, {} MiB",
        image.extent().len >> 10,
        image.extent().base,
        files.count,
        files.bytes.div_ceil(1 << 20)
    ));

    let mut claims = files.claims;
    let kernel_extent = image.extent();
    claims.extend(Claim::new(kernel_extent.base, kernel_extent.len, MemoryKind::KERNEL));
    let firmware_map =
        boot::memory_map(MemoryType::LOADER_DATA).map_err(|e| Refusal::MemoryMap(e.status()))?;
    let usable = memory_map::usable_bytes(all_claims(&firmware_map, &claims));
    if usable < LEAST_USABLE {
        return Err(Obstacle::TooLittleMemory { usable, needed: LEAST_USABLE }.into());
    }
    let mapped = memory_map::mapped_bytes(all_claims(&firmware_map, &claims));
    let largest = if cpu::has_1gib_pages(machine::cpuid) { PageSize::Huge } else { PageSize::Large };
    let plan = Plan {
        memory: mapped,
        largest,
        kernel: &kernel,
        image: kernel_extent.base,
        trampoline: jump::trampoline(0),
    };
    let tables = plan.build(FirmwareFrames).map_err(Obstacle::Tables)?;
    let stack = Pages::new(BOOT_STACK_BYTES, "the kernel's first stack")?;
    // Every claim has two edges, so that there are at most twice as many regions. The firmware's map
    // still grows a little until it is final.
    let most_regions = 2 * (firmware_map.len() + claims.len() + 64);
    let regions = Pages::new((most_regions * size_of::<MemoryRegion>()) as u64, "the memory map")?;
    let info_page = Pages::new(size_of::<BootInfo>() as u64, "the boot information")?;
    let info = BootInfo {
        magic: MAGIC,
        version: VERSION,
        size: size_of::<BootInfo>() as u32,
        page_table: tables.root().get(),
        direct_map_bytes: plan.direct_map_bytes(),
        kernel: kernel_extent,
        kernel_virtual: kernel.pages().start,
        boot_stack: stack.extent(),
        trampoline: plan.trampoline,
        memory: Array { base: regions.extent().base, count: 0 },
        files: files.table,
        config: configuration.extent(),
        symbols: symbols.extent(),
        symbol_names: symbol_names.extent(),
        framebuffer: machine::framebuffer(),
        rsdp: machine::rsdp(),
        handover_tsc: 0,
    };
    let entry = kernel.entry;
    kernel_file.free();
    Ok(Prepared { entry, info, info_page, regions, claims })
}

/// The firmware's descriptors and the loader's own claims.
fn all_claims<'a>(map: &'a MemoryMapOwned, own: &'a [Claim]) -> impl Iterator<Item = Claim> + Clone + 'a {
    map.entries().filter_map(machine::claim).chain(own.iter().copied())
}

impl Prepared {
    /// Ends boot services and enters the kernel.
    #[allow(unsafe_code)] // The jump.
    fn go(mut self) -> ! {
        say("entering the kernel");
        output::leave_the_screen();
        let map = machine::exit_boot_services();
        self.info.handover_tsc = machine::time_stamp();
        let array = self.regions.items_mut::<MemoryRegion>();
        let mut count = 0;
        for region in memory_map::regions(all_claims(&map, &self.claims)) {
            let Some(slot) = array.get_mut(count) else {
                output::stop_without_firmware(
                    "the firmware's memory map grew while boot services ended; start again",
                );
            };
            *slot = region;
            count += 1;
        }
        self.info.memory.count = count as u64;
        let info_at = self.info_page.extent().base;
        self.info_page.items_mut::<BootInfo>()[0] = self.info;
        let Extent { base, len } = self.info.boot_stack;
        let target = jump::Target {
            page_table: self.info.page_table,
            stack_top: DIRECT_MAP + base + len,
            boot_info: DIRECT_MAP + info_at,
            entry: self.entry,
        };
        // SAFETY: `prepare` checked the processor, and built the tables by the plan for this trampoline; boot
        // services have ended, so that nobody else runs.
        unsafe { jump::enter(target, 0) }
    }
}
