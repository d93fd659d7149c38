//! Clocks of known frequency that a PC may have, as counters to be read.
#![allow(unsafe_code)] // reads timers' registers

use crate::cpu::port::Port;
use crate::machine::Machine;
use crate::memory;
use mm::addr::{Hpa, Hva, PAGE};
use platform::acpi::{AddressSpace, Register};
use platform::clock::Reference;

/// A counter.
#[derive(Clone, Copy)]
pub enum Counter {
    /// The HPET's registers.
    Hpet(Hva),
    /// The PM timer's port.
    PmPort(Port),
    /// The PM timer's register in memory.
    PmMemory(Hva),
    /// Channel 2 of the PIT.
    Pit,
}

/// A counter and its frequency.
#[derive(Clone, Copy)]
pub struct Source {
    pub name: &'static str,
    pub counter: Counter,
    pub reference: Reference,
}

/// HPET registers (HPET 1.0a, 2.3).
const CAPABILITIES: u64 = 0;
const CONFIGURATION: u64 = 0x10;
const MAIN_COUNTER: u64 = 0xf0;
/// HPET configuration: the main counter runs.
const ENABLE: u64 = 1;

/// The PIT's channel 2 (8254 data sheet), and the port that gates it.
const CHANNEL_2: Port = Port(0x42);
const COMMAND: Port = Port(0x43);
const GATE: Port = Port(0x61);

/// The machine's HPET, set running.
pub fn hpet(machine: &Machine) -> Option<Source> {
    let window = memory::map_device(Hpa::try_new(machine.hpet?)?, 1024).ok()?;
    let capabilities = read(window, CAPABILITIES);
    let reference = Reference::hpet(capabilities)?;
    let configuration = (window + CONFIGURATION).as_mut_ptr::<u64>();
    // SAFETY: the window maps the HPET; a running main counter disturbs nobody.
    unsafe { configuration.write_volatile(configuration.read_volatile() | ENABLE) };
    Some(Source { name: "HPET", counter: Counter::Hpet(window), reference })
}

/// The machine's PM timer.
pub fn pm_timer(machine: &Machine) -> Option<Source> {
    let (register, bits) = machine.pm_timer?;
    let counter = match register {
        Register { space: AddressSpace::MEMORY, address, .. } => {
            let at = Hpa::try_new(address).filter(|a| a.offset_in(PAGE) <= PAGE - 4)?;
            Counter::PmMemory(memory::map_device(at, 4).ok()?)
        }
        port => Counter::PmPort(Port(port.as_port()?)),
    };
    Some(Source { name: "ACPI PM timer", counter, reference: Reference::pm_timer(bits) })
}

/// The PIT, which every PC has (or its chip set pretends). Starts channel 2 from the top, silently.
pub fn pit() -> Source {
    // SAFETY: channel 2 drives the speaker only, which stays off.
    unsafe {
        GATE.write_u8(GATE.read_u8() & !2 | 1);
        COMMAND.write_u8(0xb4); // channel 2, low byte then high byte, mode 2
        CHANNEL_2.write_u8(0);
        CHANNEL_2.write_u8(0);
    }
    Source { name: "PIT", counter: Counter::Pit, reference: Reference::PIT }
}

impl Source {
    /// The counter, counting up in as many bits as the reference says.
    pub fn read(&self) -> u64 {
        match self.counter {
            Counter::Hpet(window) => read(window, MAIN_COUNTER),
            // SAFETY: reading the PM timer has no effect.
            Counter::PmPort(port) => unsafe { port.read_u32().into() },
            // SAFETY: the window maps the PM timer.
            Counter::PmMemory(at) => unsafe { at.as_ptr::<u32>().read_volatile().into() },
            Counter::Pit => {
                // SAFETY: latches channel 2 and reads it.
                let down = unsafe {
                    COMMAND.write_u8(0x80);
                    u64::from(CHANNEL_2.read_u8()) | u64::from(CHANNEL_2.read_u8()) << 8
                };
                0u64.wrapping_sub(down)
            }
        }
    }
}

fn read(window: Hva, register: u64) -> u64 {
    // SAFETY: the window maps the HPET's 1 KiB of registers, which are 64 bits wide.
    unsafe { (window + register).as_ptr::<u64>().read_volatile() }
}
