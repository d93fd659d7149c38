//! The benchmark without an operating system: a guest of one vCPU, started through PVH, that counts the
//! ticks of the time-stamp counter from before an exit to after it. In an emulator whose counter counts
//! instructions that is the path through the guest and the hypervisor, to the instruction.
//!
//! It writes one line per figure to COM1 when all are taken, so that none is taken while the console
//! still has something to print, and powers its machine off:
//!
//! ```text
//! BENCH-BEGIN
//! BENCH cpuid med=… min=… p90=… n=…
//! BENCH-END
//! ```
//!
//! - `entry`: from the PVH start to 64-bit code on an identity mapping.
//! - `interrupts`: the interrupt table and its handlers.
//! - `machine`: the instructions that are measured, and the numbers of the virtual PC.
//! - `stopwatch`: measures, sorts, prints.
//! - `exits`: what is measured.
//!
//! An exception has no handler: the vCPU shuts down, and the hypervisor says where.
#![no_std]
#![no_main]

mod entry;
mod exits;
mod interrupts;
mod machine;
mod stopwatch;

use core::fmt::Write;
use core::panic::PanicInfo;
use machine::Serial;
use stopwatch::Results;

/// Where `entry` leads to.
extern "sysv64" fn main() -> ! {
    interrupts::load();
    let mut results = Results::new();
    exits::measure(&mut results);
    // COM1 drops nothing, so there is no error.
    let _ = write!(Serial, "{results}");
    machine::power_off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Serial, "BENCH-FAILED {info}");
    machine::power_off()
}
