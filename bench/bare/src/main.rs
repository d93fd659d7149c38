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
//! - [`bare`]: from the PVH start to 64-bit code on an identity mapping; instructions, console, power.
//! - `interrupts`: the handlers.
//! - `hypercalls`: the instructions that only this program executes.
//! - `stopwatch`: measures, sorts, prints.
//! - `exits`: what is measured.
//!
//! An exception has no handler: the vCPU shuts down, and the hypervisor says where.
#![no_std]
#![no_main]

mod exits;
mod hypercalls;
mod interrupts;
mod stopwatch;

use bare::com1::Com1;
use bare::entry::Stack;
use bare::power;
use core::fmt::Write;
use core::panic::PanicInfo;
use stopwatch::Results;

const STACK_BYTES: usize = 64 * 1024;
static STACK: Stack<STACK_BYTES> = Stack::new();

bare::entry!(crate::main, stack: crate::STACK, top: STACK_BYTES);

/// Where the program begins.
extern "sysv64" fn main(_start_info: u64) -> ! {
    interrupts::load();
    let mut results = Results::new();
    exits::measure(&mut results);
    // COM1 drops nothing, so there is no error.
    let _ = write!(Com1, "{results}");
    power::off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let _ = writeln!(Com1, "BENCH-FAILED {info}");
    power::off()
}
