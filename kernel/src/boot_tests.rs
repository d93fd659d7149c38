//! Failures on purpose, for the boot tests: what a healthy kernel never does must still be reported well.
//!
//! Only in kernels built with the feature `boot-tests`, in place of the shell. Each byte on COM1 is an order;
//! the test reads the report from the same port.
#![allow(unsafe_code)] // breaks things

use crate::console::{ACTIVITY, serial};
use crate::cpu::percpu;
use crate::cpu_loop::Runtime;
use crate::{power, time};

/// Starts the task that takes orders.
pub fn start(runtime: &'static Runtime) {
    runtime.executor.spawn("boot-tests", async {
        log::info!("boot-tests: waiting for an order");
        loop {
            while let Some(byte) = serial::take() {
                obey(byte);
            }
            ACTIVITY.wait().await;
        }
    });
}

fn obey(order: u8) {
    match order {
        b'p' => panic!("ordered to"),
        b'a' => on_last_cpu(|| panic!("ordered to, on another CPU")),
        b'g' => {
            overflow(0);
        }
        b'n' => {
            // SAFETY: none: the lower half is not mapped.
            unsafe { (0x1000 as *const u8).read_volatile() };
        }
        b'w' => {
            let text = overflow as *const () as *mut u8;
            // SAFETY: none: text is not writable.
            unsafe { text.write_volatile(0x90) };
        }
        b'x' => {
            let data = [0xc3u8; 16];
            // SAFETY: none: the stack is not executable.
            unsafe { core::mem::transmute::<*const u8, extern "C" fn()>(data.as_ptr())() };
        }
        // SAFETY: none: an invalid instruction.
        b'u' => unsafe { core::arch::asm!("ud2") },
        b'h' => {
            let mut kept = alloc::vec::Vec::new();
            loop {
                kept.push(alloc::vec![0u8; 1 << 20]);
            }
        }
        b't' => lose_a_timer(),
        b'o' => power::off(),
        b'r' => power::reset(),
        b'e' => log::info!("boot-tests: echo"),
        _ => log::warn!("boot-tests: no such order"),
    }
}

fn on_last_cpu(what: fn()) {
    match percpu::online().last().and_then(|c| c.spawner()) {
        Some(spawner) => spawner.spawn("boot-tests", async move { what() }),
        None => log::warn!("boot-tests: no other CPU"),
    }
}

/// A task of another CPU waits for a time, and the interrupt for it never comes. This CPU goes on meanwhile.
fn lose_a_timer() {
    const MILLISECOND: u64 = 1_000_000;
    let (this, Some(other)) = (percpu::current(), percpu::online().last()) else { return };
    let both = (this.spawner().zip(this.timers()), other.spawner().zip(other.timers()));
    let (Some((here, timers)), Some((there, theirs))) = both else { return };
    there.spawn("waits", async {
        theirs.sleep_until(time::now().0 + 100 * MILLISECOND).await;
        log::info!("boot-tests: the time has come");
    });
    here.spawn("goes on", async {
        // By then the other CPU's timer is armed for its task.
        timers.sleep_until(time::now().0 + 30 * MILLISECOND).await;
        there.spawn("loses", async { time::timer::lose() });
        loop {
            timers.sleep_until(time::now().0 + 20 * MILLISECOND).await;
        }
    });
}

/// Calls itself until the stack is used up.
#[inline(never)]
#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> u64 {
    let here = core::hint::black_box([depth; 64]);
    overflow(depth + 1) + here[3]
}
