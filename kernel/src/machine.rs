//! What the firmware's tables say about this machine, read once.
//!
//! Everything is copied out, so that the tables' memory can be used for other things afterwards. A machine
//! with damaged or no tables still runs: on the booting CPU, with what PCs have always had.
#![allow(unsafe_code)] // lends physical memory to the table parser

use crate::{boot_info, memory};
use alloc::string::String;
use alloc::vec::Vec;
use handover::{Extent, MemoryKind};
use mm::addr::Hpa;
use platform::acpi::{
    EcamWindow, Fadt, Hpet, IoApic, IrqRoute, Madt, Mcfg, PhysicalMemory, Polarity, Register, Signature,
    SleepType, Tables, Trigger, sleep_type_s5,
};
use platform::memory_map::MemoryMap;
use spin::Once;

/// Maker and model; see [`name`].
static NAME: Once<String> = Once::new();

/// Maker and model of the machine, as its FADT has them.
pub fn name() -> &'static str {
    NAME.get().map_or("unknown", |n| n)
}

/// The machine.
pub struct Machine {
    /// APIC ids of the CPUs that can run.
    pub cpus: Vec<u32>,
    /// Physical address of the local APICs' registers.
    pub local_apic: u64,
    /// The I/O APICs.
    pub io_apics: Vec<IoApic>,
    /// Where the 16 ISA interrupts arrive.
    pub isa: [IrqRoute; 16],
    /// Physical address of the HPET.
    pub hpet: Option<u64>,
    /// The PM timer and how many bits it counts in.
    pub pm_timer: Option<(Register, u32)>,
    /// PCI Express configuration space.
    pub ecam: Vec<EcamWindow>,
    /// How to switch the machine off and reset it.
    pub power: Power,
}

/// Registers for power-off and reset.
#[derive(Clone, Copy, Default)]
pub struct Power {
    /// PM1a control block.
    pub pm1a: Option<Register>,
    /// PM1b control block.
    pub pm1b: Option<Register>,
    /// Port and value that bring the machine into ACPI mode.
    pub acpi_enable: Option<(u16, u8)>,
    /// The sleep control register of a hardware-reduced machine.
    pub sleep_control: Option<Register>,
    /// The sleep type of soft-off.
    pub s5: Option<SleepType>,
    /// The reset register and its value.
    pub reset: Option<(Register, u8)>,
    /// Whether a keyboard controller can pulse the reset line.
    pub has_8042: bool,
}

/// Physical memory that may hold tables: what the loader's map calls memory of any kind.
struct FirmwareMemory<'a> {
    map: Option<MemoryMap<'a>>,
}

impl PhysicalMemory for FirmwareMemory<'_> {
    fn bytes(&self, base: Hpa, len: usize) -> Option<&[u8]> {
        let extent = Extent { base: base.get(), len: len as u64 };
        let holds = |k: MemoryKind| k.is_ram() || k == MemoryKind::RESERVED;
        // BIOS areas below 1 MiB may be missing from the map.
        let low = base.get() >= 0xa_0000 && base.get() + extent.len <= 0x10_0000;
        if !low && !self.map.as_ref()?.covers(extent, holds) {
            return None;
        }
        if base.get() + extent.len > boot_info::get()?.direct_map_bytes {
            return None;
        }
        // SAFETY: memory in the direct map. Firmware tables are not written while they are read at boot,
        // and memory that the heap hands out holds none.
        Some(unsafe { core::slice::from_raw_parts(memory::DIRECT.pointer::<u8>(base), len) })
    }
}

impl Machine {
    /// Reads the tables. What is damaged is logged and left out.
    pub fn read() -> Self {
        let memory = FirmwareMemory { map: MemoryMap::new(boot_info::memory()).ok() };
        let rsdp = boot_info::get().map_or(0, |i| i.rsdp);
        let tables = match Tables::find(&memory, rsdp) {
            Ok(tables) => Some(tables),
            Err(e) => {
                log::warn!("{e}: one CPU, no power-off");
                None
            }
        };
        let mut machine = Self::plain();
        let Some(tables) = tables else { return machine };
        for damaged in tables.iter().filter_map(Result::err) {
            log::warn!("{damaged}");
        }
        if let Some(madt) = tables.first(Signature::MADT).and_then(Madt::new) {
            machine.cpus = madt.cpus();
            machine.local_apic = madt.local_apic_address();
            machine.io_apics = madt.io_apics().collect();
            machine.isa = core::array::from_fn(|irq| madt.isa_route(irq as u8));
        }
        machine.hpet = tables.first(Signature::HPET).and_then(Hpet::new).map(|h| h.address);
        if let Some(mcfg) = tables.first(Signature::MCFG).and_then(Mcfg::new) {
            machine.ecam = mcfg.windows().collect();
        }
        let fadt = tables.first(Signature::FADT);
        if let Some(table) = fadt {
            NAME.call_once(|| table.oem());
        }
        if let Some(fadt) = fadt.and_then(Fadt::new) {
            machine.pm_timer = fadt.pm_timer().map(|r| (r, fadt.pm_timer_bits()));
            machine.power = power(&fadt, &tables);
        }
        machine
    }

    /// A PC without ACPI tables.
    fn plain() -> Self {
        Self {
            cpus: Vec::new(),
            local_apic: 0xfee0_0000,
            io_apics: Vec::new(),
            isa: core::array::from_fn(|irq| IrqRoute {
                gsi: irq as u32,
                polarity: Polarity::ActiveHigh,
                trigger: Trigger::Edge,
            }),
            hpet: None,
            pm_timer: None,
            ecam: Vec::new(),
            power: Power { has_8042: true, ..Power::default() },
        }
    }
}

fn power<M: PhysicalMemory>(fadt: &Fadt<'_>, tables: &Tables<'_, M>) -> Power {
    let dsdt = fadt.dsdt().and_then(|at| tables.at(at).ok()).and_then(|t| t.expect(Signature::DSDT));
    let ssdts = tables.iter().flatten().filter(|t| t.signature() == Signature::SSDT);
    Power {
        pm1a: fadt.pm1a_control(),
        pm1b: fadt.pm1b_control(),
        acpi_enable: fadt.acpi_enable(),
        sleep_control: if fadt.hardware_reduced() { fadt.sleep_control() } else { None },
        s5: dsdt.into_iter().chain(ssdts).find_map(|t| sleep_type_s5(t.body())),
        reset: fadt.reset(),
        has_8042: fadt.has_8042(),
    }
}
