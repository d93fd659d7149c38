//! The PureVisor kernel: the image that the loader enters.
//!
//! [`boot`] reads as the list of what happens from the hand-over to a running machine. Each step is a
//! module; nothing in them is reachable before its step has run. After the last step every CPU is in
//! `cpu_loop` and stays there.
//!
//! What the kernel itself must touch (registers, ports, tables) is here; what can be computed without
//! touching anything is in `platform`, `mm`, `executor`, `sched`, `vmm` and `mgmt`, and tested on the host.
#![no_std]
#![no_main]
#![cfg_attr(feature = "boot-tests", allow(dead_code, unused_imports))] // orders take the shell's place

extern crate alloc;

mod boot_info;
#[cfg(feature = "boot-tests")]
mod boot_tests;
mod console;
mod cpu;
mod cpu_loop;
mod devices;
mod interrupts;
mod machine;
mod memory;
mod network;
mod node;
mod panic;
mod power;
mod random;
mod smp;
mod sync;
mod time;
mod vm;
mod wall_clock;

use crate::console::{framebuffer, log as console_log, serial};
use crate::cpu::registers::halt_forever;
use crate::cpu::{control, idt, percpu};
use crate::interrupts::{Vector, io_apic, local_apic};
use crate::machine::Machine;
use core::arch::naked_asm;
use core::fmt::{Display, Write};
use handover::{BootInfo, VersionNote};
use mm::addr::Hva;

/// By this the loader knows that the kernel speaks its version.
#[used]
#[unsafe(link_section = ".note.purevisor")]
#[allow(unsafe_code)] // a section of its own, which link.ld keeps
static NOTE: VersionNote = VersionNote::CURRENT;

/// Where the loader jumps to (`handover`: state of the machine at the kernel's entry point).
#[unsafe(naked)]
#[unsafe(no_mangle)]
#[unsafe(link_section = ".text._start")]
#[allow(unsafe_code)] // the entry point: assembly with a fixed name
unsafe extern "sysv64" fn _start(info: *const BootInfo) -> ! {
    naked_asm!("xor ebp, ebp", "jmp {boot}", boot = sym boot)
}

/// From the hand-over to the point where stacks have guards.
extern "sysv64" fn boot(info: *const BootInfo) -> ! {
    percpu::adopt_boot_cpu();
    idt::load();
    local_apic::park_others();
    serial::start();
    console_log::start();
    log::info!("PureVisor {}", env!("CARGO_PKG_VERSION"));
    #[allow(unsafe_code)] // the loader's pointer
    // SAFETY: what the loader passed to the entry point.
    or_stop(unsafe { boot_info::adopt(info) });
    or_stop(control::check());
    control::set_up();
    let found = or_stop(memory::start());
    log::info!("memory: {} MiB of RAM, {} MiB for use", found.ram >> 20, found.usable >> 20);
    if found.refused >= 1 << 20 {
        log::warn!("memory: {} MiB in too many separate pieces are left out", found.refused >> 20);
    }
    #[allow(unsafe_code)] // the CPU's own tables
    // SAFETY: the calling CPU, which runs on the loader's stack still.
    let stack = or_stop(unsafe { smp::give_stacks(percpu::current()) });
    #[allow(unsafe_code)] // leaves the loader's stack
    // SAFETY: the stack is mapped and nobody's yet.
    unsafe {
        continue_on(stack)
    }
}

/// Goes on in [`boot_on_own_stack`], on the stack whose top is `stack`.
#[unsafe(naked)]
#[allow(unsafe_code)] // changes the stack
unsafe extern "sysv64" fn continue_on(stack: Hva) -> ! {
    naked_asm!("mov rsp, rdi", "xor ebp, ebp", "push rbp", "jmp {next}", next = sym boot_on_own_stack)
}

extern "sysv64" fn boot_on_own_stack() -> ! {
    match or_stop(framebuffer::start()) {
        Some((columns, rows)) => {
            console_log::show_earlier();
            log::info!("screen: {columns} by {rows} characters");
        }
        None => log::info!("screen: none"),
    }
    let machine = Machine::read();
    power::start(machine.power);
    or_stop(interrupts::start(&machine));
    start_time(&machine);
    start_cpus(&machine);
    devices::find(&machine.ecam);
    start_serial_input(&machine);
    audit_memory();
    reclaim(machine);
    announce();
    #[cfg(feature = "boot-tests")]
    cpu_loop::run_with(boot_tests::start);
    #[cfg(not(feature = "boot-tests"))]
    cpu_loop::run_with(node::start)
}

/// The line by which a person, or a test, sees that the machine is up.
fn announce() {
    const GIB: u64 = 1 << 30;
    let tenths = (memory::ram_bytes() * 10 + GIB / 2) / GIB;
    log::info!(
        "purevisor: ready, {} CPUs, {}.{} GiB, {} ms after hand-over",
        percpu::online().count(),
        tenths / 10,
        tenths % 10,
        time::now().as_millis()
    );
}

fn start_time(machine: &Machine) {
    let handover = boot_info::get().map_or(0, |i| i.handover_tsc);
    let found = or_stop(time::start(machine, handover));
    log::info!(
        "time: TSC {} kHz by the {}, APIC timer {} kHz",
        found.tsc.hertz / 1000,
        found.reference,
        found.apic_timer.hertz / 1000
    );
    if let Some((name, hertz)) = found.disagrees {
        log::warn!("time: the {name} measures a TSC of {} kHz", hertz / 1000);
    }
    let f = control::features();
    if !f.invariant_tsc {
        log::info!("time: the CPU does not promise a constant TSC");
    }
    time::timer::set_up();
    wall_clock::start();
}

fn start_cpus(machine: &Machine) {
    let me = local_apic::id();
    let mut others: alloc::vec::Vec<u32> = machine.cpus.iter().copied().filter(|id| *id != me).collect();
    if !local_apic::is_x2apic() {
        others.retain(|id| *id < 255);
    }
    let most = mm::layout::MAX_CPUS - 1;
    if others.len() > most {
        log::warn!(
            "CPUs: {} of {} are left out: PureVisor serves {}",
            others.len() - most,
            others.len() + 1,
            most + 1
        );
        others.truncate(most);
    }
    percpu::create_all(me, &others);
    vm::start_scheduler(percpu::all().len());
    let started = or_stop(smp::start());
    let mode = if local_apic::is_x2apic() { "x2APIC" } else { "xAPIC" };
    log::info!("CPUs: {} of {} run, {mode}", started.online, others.len() + 1);
    if started.tsc_warp > 0 {
        let nanos = time::tsc_rate().nanos(started.tsc_warp);
        log::warn!("time: TSCs of CPUs differ by {nanos} ns: clocks may step back");
    }
}

fn start_serial_input(machine: &Machine) {
    const IRQ: usize = 4;
    interrupts::register(Vector::SERIAL, serial::interrupted);
    if io_apic::route(machine.isa[IRQ], Vector::SERIAL, 0) {
        serial::enable_interrupts();
    } else {
        log::warn!("console: COM1's interrupt cannot be routed: no serial input");
    }
}

fn audit_memory() {
    let audit = memory::audit();
    if let Some(page) = audit.writable_and_executable {
        panic!("the page at {page} is writable and executable");
    }
    if let Some(page) = audit.in_lower_half {
        panic!("the page at {page} is mapped in the lower half");
    }
    log::info!("memory: W^X holds over {} mappings", audit.mappings);
}

fn reclaim(machine: Machine) {
    drop(machine);
    #[allow(unsafe_code)] // gives memory away
    // SAFETY: `Machine` holds copies, and nothing else has read the tables.
    let bytes = unsafe { memory::reclaim_acpi() };
    if bytes > 0 {
        log::info!("memory: {} KiB of the firmware's tables for use", bytes >> 10);
    }
}

/// The value, or one line on screen and serial that says why the machine cannot run, and the end.
fn or_stop<T, E: Display>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(why) => {
            let _ = writeln!(console::Emergency, "PureVisor cannot start: {why}");
            halt_forever()
        }
    }
}
