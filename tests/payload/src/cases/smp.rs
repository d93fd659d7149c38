//! Several CPUs.
use crate::apic::{ASSERT, TO_ALL, TO_OTHERS};
use crate::instructions::{cpuid, discard, inb, invlpg, outb, take_interrupts, ud2};
use crate::paging::{self, PRESENT, WRITABLE, ram};
use crate::processors::{self, wait_until};
use crate::{Outcome, apic, cpu, ensure};
use bare::memory::{load, store};
use bare::{idt, power};
use core::sync::atomic::{AtomicU64, Ordering};

/// CPUs that CPUID shows (leaf 1 EBX bits 23:16; leaf 0xb has the exact number).
fn cpus() -> u32 {
    let [_, by_core, _, _] = cpuid(0xb, 1);
    if by_core & 0xffff != 0 { by_core & 0xffff } else { cpuid(1, 0)[1] >> 16 & 0xff }
}

fn all() -> Result<u32, crate::Wrong> {
    let started = processors::start(cpus());
    ensure_started(started)?;
    Ok(started)
}

fn ensure_started(started: u32) -> Outcome {
    ensure!(started == cpus() && started > 1, "{started} of {} CPUs run", cpus());
    Ok(())
}

fn count(index: u32, vector: u8) -> u64 {
    cpu::of(index as usize).taken[usize::from(vector)].load(Ordering::SeqCst)
}

pub fn start() -> Outcome {
    all().map(drop)
}

pub fn ipis() -> Outcome {
    const VECTOR: u8 = 0xd0;
    let cpus = all()?;
    let rounds = 50;
    for round in 1..=rounds {
        for index in 1..cpus {
            apic::send(index, ASSERT | u32::from(VECTOR));
            let came = wait_until(|| count(index, VECTOR) == 2 * round - 1);
            ensure!(came, "CPU {index} took {} IPIs, expected {}", count(index, VECTOR), 2 * round - 1);
        }
        apic::send(0, TO_OTHERS | ASSERT | u32::from(VECTOR));
        for index in 1..cpus {
            let came = wait_until(|| count(index, VECTOR) == 2 * round);
            ensure!(came, "CPU {index} took {} IPIs, expected {}", count(index, VECTOR), 2 * round);
        }
    }
    ensure!(cpu::taken(VECTOR) == 0, "the sender took an IPI for the others");
    apic::send(0, TO_ALL | ASSERT | u32::from(VECTOR));
    take_interrupts();
    ensure!(
        wait_until(|| {
            take_interrupts();
            cpu::taken(VECTOR) == 1
        }),
        "the sender took {} IPIs for all",
        cpu::taken(VECTOR)
    );
    for index in 1..cpus {
        ensure!(wait_until(|| count(index, VECTOR) == 2 * rounds + 1), "CPU {index} missed the IPI for all");
    }
    Ok(())
}

const OLD: u64 = ram(12);
const NEW: u64 = ram(13);
const SLOT: usize = 80;

static READ: AtomicU64 = AtomicU64::new(0);
static DONE: AtomicU64 = AtomicU64::new(0);

fn read_and_add() {
    let address = paging::WINDOW + 4096 * SLOT as u64;
    invlpg(address);
    let found = load::<u64>(address);
    READ.fetch_add(found, Ordering::SeqCst);
    DONE.fetch_add(1, Ordering::SeqCst);
}

pub fn shoot_down() -> Outcome {
    let cpus = all()?;
    store(OLD, 0x1du64);
    store(NEW, 0x2e3u64);
    for round in 0..50 {
        let (page, value) = if round % 2 == 0 { (OLD, 0x1d) } else { (NEW, 0x2e3) };
        paging::map(SLOT, page, PRESENT | WRITABLE);
        READ.store(0, Ordering::SeqCst);
        DONE.store(0, Ordering::SeqCst);
        for index in 1..cpus {
            processors::order(index, read_and_add);
        }
        ensure!(wait_until(|| DONE.load(Ordering::SeqCst) == u64::from(cpus - 1)), "not all CPUs answered");
        let (sum, expected) = (READ.load(Ordering::SeqCst), value * u64::from(cpus - 1));
        ensure!(sum == expected, "round {round}: the CPUs read a sum of {sum:#x}, expected {expected:#x}");
    }
    Ok(())
}

static SHARED: AtomicU64 = AtomicU64::new(0);
const CONTENTION: u64 = 2000;

fn contend() {
    for i in 0..CONTENTION {
        SHARED.fetch_add(1, Ordering::SeqCst);
        match i % 5 {
            0 => outb(0x80, i as u8),
            1 => discard(inb(0x71)),
            2 => discard(apic::ioapic_read((i % 0x40) as u8)),
            3 => outb(0x43, 0),
            _ => discard(load::<u32>(super::mmio::NOTHING)),
        }
    }
    DONE.fetch_add(1, Ordering::SeqCst);
}

pub fn contention() -> Outcome {
    let cpus = all()?;
    DONE.store(0, Ordering::SeqCst);
    SHARED.store(0, Ordering::SeqCst);
    for index in 1..cpus {
        processors::order(index, contend);
    }
    contend();
    ensure!(wait_until(|| DONE.load(Ordering::SeqCst) == u64::from(cpus)), "not all CPUs finished");
    let sum = SHARED.load(Ordering::SeqCst);
    ensure!(
        sum == CONTENTION * u64::from(cpus),
        "{sum} atomic additions of {}",
        CONTENTION * u64::from(cpus)
    );
    Ok(())
}

fn fault_thrice() {
    idt::forget();
    ud2();
}

pub fn triple_fault() -> Outcome {
    all()?;
    processors::order(1, fault_thrice);
    power::halt()
}
