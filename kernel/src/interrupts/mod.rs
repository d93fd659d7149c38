//! Interrupts: who sends them, which vector they have, and what runs when one arrives.
//!
//! ```text
//! device ─► io_apic (or MSI) ─┐
//! other CPU ─► IPI ───────────┼─► local_apic ─► cpu::idt stub ─► taken() ─► registered handler
//! this CPU's timer ───────────┘
//! ```
//!
//! A handler acknowledges its device, wakes a task or sets a flag, and returns; the end of interrupt is
//! signalled for it. It runs with interrupts disabled on the stack that was in use. There are no nested
//! interrupts, and NMIs ([`nmi`]) do not come this way.
pub mod io_apic;
pub mod ipi;
pub mod local_apic;
pub mod nmi;
mod pic;

use crate::cpu::percpu;
use crate::machine::Machine;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use spin::Once;

/// An interrupt vector. The upper four bits are its priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vector(pub u8);

impl Vector {
    /// The 8259s' 16 inputs, of which only spurious ones can arrive.
    const PIC: u8 = 0x20;
    /// First of those that devices get.
    const FIRST_DEVICE: u8 = 0x30;
    /// First of those that are not for devices.
    const END_OF_DEVICES: u8 = 0xe0;
    /// COM1.
    pub const SERIAL: Self = Self(0xe0);
    /// This CPU's timer.
    pub const TIMER: Self = Self(0xe8);
    /// Another CPU wants this one's loop to look at its queues.
    pub const WAKE: Self = Self(0xf0);
    /// Another CPU has something for the vCPU that runs on this one.
    pub const NUDGE: Self = Self(0xf1);
    /// The local APIC's own; is not acknowledged (SDM vol. 3A, 11.9).
    pub const SPURIOUS: Self = Self(0xff);
}

static HANDLERS: [Once<fn()>; 256] = [const { Once::new() }; 256];

/// Devices' vectors that were given out.
static DEVICES: AtomicUsize = AtomicUsize::new(0);

/// Interrupts that nobody registered for.
static UNEXPECTED: AtomicU64 = AtomicU64::new(0);

/// Makes `handler` what runs when `vector` arrives, on any CPU. The first handler of a vector stays;
/// returns whether it was this one.
pub fn register(vector: Vector, handler: fn()) -> bool {
    core::ptr::fn_addr_eq(*HANDLERS[usize::from(vector.0)].call_once(|| handler), handler)
}

/// Gives a device's interrupt a vector of its own. `None` when all are taken.
pub fn allocate(handler: fn()) -> Option<Vector> {
    let count = usize::from(Vector::END_OF_DEVICES - Vector::FIRST_DEVICE);
    let taken =
        DEVICES.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < count).then_some(n + 1)).ok()?;
    let vector = Vector(Vector::FIRST_DEVICE + taken as u8);
    register(vector, handler).then_some(vector)
}

/// The end of an interrupt's way.
pub(crate) fn taken(vector: u8) {
    percpu::current().interrupts.fetch_add(1, Ordering::Relaxed);
    match HANDLERS[usize::from(vector)].get() {
        Some(handler) => handler(),
        None => {
            UNEXPECTED.fetch_add(1, Ordering::Relaxed);
        }
    }
    let from_pic = (Vector::PIC..Vector::FIRST_DEVICE).contains(&vector);
    if !from_pic && vector != Vector::SPURIOUS.0 {
        local_apic::end_of_interrupt();
    }
}

/// Interrupts that arrived with a vector that nobody registered for.
pub fn unexpected() -> u64 {
    UNEXPECTED.load(Ordering::Relaxed)
}

/// Sets up the interrupt controllers, on the booting CPU.
pub fn start(machine: &Machine) -> Result<(), crate::memory::NoMemory> {
    pic::disable();
    local_apic::find(machine.local_apic)?;
    local_apic::enable();
    io_apic::start(&machine.io_apics)?;
    register(Vector::WAKE, || percpu::current().attention.store(true, Ordering::Relaxed));
    // A nudge has done its work by ending the guest's run: the vCPU looks at its mailbox.
    register(Vector::NUDGE, || {});
    Ok(())
}
