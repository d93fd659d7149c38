//! Interrupts from one CPU to another, by CPU index.
use super::Vector;
use super::local_apic::{self, Command};
use crate::cpu::percpu;

/// Makes CPU `cpu` look at its queues: ends its halt, or makes its guest exit. Nothing happens for a CPU
/// that does not run.
pub fn wake(cpu: usize) {
    send(Vector::WAKE, cpu);
}

/// Makes the guest that runs on CPU `cpu` exit, and its vCPU look at what came for it.
pub fn nudge(cpu: usize) {
    send(Vector::NUDGE, cpu);
}

/// Makes the guest that runs on CPU `cpu` take its posted interrupts, without an exit.
pub fn post(cpu: usize) {
    send(Vector::POSTED, cpu);
}

/// Sends `vector` to CPU `cpu`, if that runs.
pub fn send(vector: Vector, cpu: usize) {
    if let Some(c) = percpu::get(cpu)
        && c.is_online()
    {
        local_apic::send(Command::fixed(vector), c.apic_id());
    }
}

/// Sends `vector` to all CPUs that run, except this one.
pub fn send_to_others(vector: Vector) {
    let me = percpu::current().index;
    for c in percpu::online().filter(|c| c.index != me) {
        local_apic::send(Command::fixed(vector), c.apic_id());
    }
}
