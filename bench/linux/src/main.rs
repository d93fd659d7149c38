//! The benchmark as an ordinary static program of a Linux guest: what exits cost a process in ring 3, what
//! memory costs that the kernel hands out for the first time, and how late a sleeper wakes. Other
//! hypervisors were measured by programs of this kind, so these figures compare with theirs; `bench/bare`
//! has more exits, and no Linux in its figures.
//!
//! With `disk DEVICE` it measures a disk instead, as it is told ([`disk`]); with `net PEER` a network, on whose other side
//! the same program has `listen ADDRESS` ([`net`]).
//!
//! Prints `BENCH name med=… min=… p90=… n=…` for each figure, in ticks of the time-stamp counter, the two
//! readings of the counter included. It must be root, and the kernel started with `iomem=relaxed` for
//! the registers of devices, and `nox2apic` for those of the local APIC.
mod disk;
mod filler;
mod kernel;
mod net;
mod stopwatch;

use kernel::{DeviceRegisters, FreshMemory};
use std::arch::asm;
use std::env;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use stopwatch::{rdtsc, report, time};

fn main() -> ExitCode {
    println!("BENCH-BEGIN");
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let measured = match words[..] {
        ["disk", path] => disk::serve(path),
        ["net", peer] => net::serve(peer),
        ["listen", address] => net::listen(address),
        [] => measure(),
        _ => Err(io::Error::other("usage: bench-linux [disk DEVICE | net PEER | listen ADDRESS]")),
    };
    match measured {
        Ok(()) => {
            println!("BENCH-END");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("BENCH-FAILED {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> io::Result<()> {
    time("floor", 5000, || {});
    time("cpuid", 5000, cpuid);
    time("vmmcall", 5000, vmmcall);
    kernel::allow_ports()?;
    time("port_in_nobody", 2000, || inb(0xed));
    time("port_out_0x80", 2000, || outb(0x80, 0));
    time("port_in_port_b", 2000, || inb(0x61));
    time("port_in_pic", 2000, || inb(0x21));
    time("port_in_rtc", 2000, || inb(0x71));
    time("uart_read_lsr", 2000, || inb(0x3fd));
    for (name, page, offset) in [
        ("lapic_mmio_read", 0xfee0_0000, 0x20),
        ("ioapic_read", 0xfec0_0000, 0x10),
        ("mmio_read_nobody", 0xfed8_0000, 0),
    ] {
        let registers = DeviceRegisters::map(page)?;
        time(name, 2000, || registers.read(offset));
    }
    time("syscall", 5000, std::os::unix::process::parent_id);
    fresh_memory()?;
    sleep();
    Ok(())
}

/// The first touch of 64 MiB in pages of 4 KiB, beyond the same after the kernel has got them back: what
/// is left is the hypervisor's part.
fn fresh_memory() -> io::Result<()> {
    let touch = || -> io::Result<u64> {
        let memory = FreshMemory::of(64 << 20)?;
        Ok((0..memory.pages()).map(|page| stopwatch::once(|| memory.touch(page))).sum())
    };
    let first = touch()?;
    report("touch_64mib_first", &mut [first.saturating_sub(touch()?)]);
    Ok(())
}

/// How much later than asked for a sleep of a millisecond ends: arming a timer, halting, the timer's
/// interrupt, and 50 µs by which Linux may round.
fn sleep() {
    const MILLISECOND: u64 = 1_000_000;
    let mut late: Vec<u64> = (0..200)
        .map(|_| {
            let begin = rdtsc();
            thread::sleep(Duration::from_millis(1));
            (rdtsc() - begin).saturating_sub(MILLISECOND)
        })
        .collect();
    report("sleep_1ms_late", &mut late);
}

#[allow(unsafe_code)] // an instruction that leaves the guest
#[inline(always)]
fn cpuid() {
    // SAFETY: changes nothing but the registers, of which RBX is put back.
    unsafe {
        asm!("mov r8, rbx", "cpuid", "mov rbx, r8",
             inout("eax") 0 => _, inout("ecx") 0 => _, out("edx") _, out("r8") _, options(nostack));
    }
}

/// A hypercall that does not exist, and is not for ring 3.
#[allow(unsafe_code)] // an instruction that leaves the guest
#[inline(always)]
fn vmmcall() {
    // SAFETY: does nothing but to answer in RAX.
    unsafe { asm!("vmmcall", inout("rax") 0x7fff_ffff_u64 => _, options(nostack, preserves_flags)) };
}

#[allow(unsafe_code)] // a port
#[inline(always)]
fn inb(port: u16) -> u8 {
    let value;
    // SAFETY: reading the ports above has no effect on memory; `allow_ports` was called.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nostack, preserves_flags)) };
    value
}

#[allow(unsafe_code)] // a port
#[inline(always)]
fn outb(port: u16, value: u8) {
    // SAFETY: the POST port drops what is written; `allow_ports` was called.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nostack, preserves_flags)) };
}
