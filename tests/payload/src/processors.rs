//! The other CPUs: started by INIT and start-up IPIs (SDM vol. 3A, 9.4.4), then they do what they are told.
#![allow(unsafe_code)] // An order is a function's address.
use crate::boot::{TRAMPOLINE, place_trampoline};
use crate::instructions::{cli, rdtsc, sti_hlt};
use crate::{apic, cpu};
use core::sync::atomic::{AtomicU32, Ordering};

/// The interrupt that makes a halted CPU look for orders.
const WAKE: u32 = 0xe0;
const INIT: u32 = 5 << 8;
const STARTUP: u32 = 6 << 8;

static STARTED: AtomicU32 = AtomicU32::new(1);

/// Where a started CPU comes in, in long mode, on its own stack.
pub extern "sysv64" fn ap_main() -> ! {
    cpu::set_up();
    apic::enable();
    STARTED.fetch_add(1, Ordering::SeqCst);
    let me = cpu::this().shared();
    loop {
        cli();
        let order = me.order.swap(0, Ordering::SeqCst);
        if order == 0 {
            sti_hlt();
            continue;
        }
        // SAFETY: what `order` stored, from a function of this type.
        let order: fn() = unsafe { core::mem::transmute::<u64, fn()>(order) };
        order();
        me.orders_done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Starts all others; returns how many CPUs run. `expected` are waited for, and then a little for more.
pub fn start(expected: u32) -> u32 {
    if STARTED.load(Ordering::SeqCst) > 1 {
        return STARTED.load(Ordering::SeqCst);
    }
    apic::enable();
    place_trampoline();
    apic::send(0, INIT | apic::ASSERT | apic::TO_OTHERS);
    wait(20_000_000);
    for _ in 0..2 {
        apic::send(0, STARTUP | apic::ASSERT | apic::TO_OTHERS | (TRAMPOLINE >> 12) as u32);
        wait(1_000_000);
    }
    wait_until(|| STARTED.load(Ordering::SeqCst) >= expected);
    STARTED.load(Ordering::SeqCst)
}

/// Lets CPU `index` call `order`, and does not wait for it.
pub fn order(index: u32, order: fn()) {
    cpu::of(index as usize).order.store(order as *const () as u64, Ordering::SeqCst);
    apic::send(index, WAKE | apic::ASSERT);
}

/// Waits some ticks of the time-stamp counter.
pub fn wait(ticks: u64) {
    let begin = rdtsc();
    while rdtsc().wrapping_sub(begin) < ticks {
        core::hint::spin_loop();
    }
}

/// Waits until something holds, but not for ever: half a minute on a fast machine.
pub fn wait_until(holds: impl Fn() -> bool) -> bool {
    let begin = rdtsc();
    while rdtsc().wrapping_sub(begin) < 90_000_000_000 {
        if holds() {
            return true;
        }
        core::hint::spin_loop();
    }
    holds()
}
