//! A guest that does anything at all: nothing panics, nothing runs on, nothing but its memory changes.
use super::fake::Fake;
use super::rig::{CODE, Rig, Seat};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Cr0, Cr4, Efer, Exception, Gpr, Rflags, Vector};
use crate::exit::{Direction, Event, Exit, Forbidden, MemoryFault, PortAccess};
use crate::policy::noise::Noise;
use crate::vcpu::Leave;
use mm::addr::Gpa;
use std::time::{Duration, Instant};

/// How long each test may take.
const TIME: Duration = Duration::from_millis(1_500);

/// Ports, addresses and registers where something is, and others.
const PORTS: [u16; 20] = [
    0x20, 0x21, 0x40, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x80, 0xa0, 0xa1, 0x3f8, 0x3f9, 0x3fc, 0x4d0,
    0x600, 0x608, 0xcf8, 0xcfc,
];
const PAGES: [u64; 6] = [0xfee0_0000, 0xfec0_0000, 0xe000_0000, 0xd000_0000, 0xa_0000, 0xffff_f000];
const MSRS: [u32; 16] = [
    0x10,
    0x1b,
    0x3b,
    0x6e0,
    0x800,
    0x8ff,
    0x277,
    0x2ff,
    0xc000_0080,
    0xc000_0082,
    0xc000_0103,
    0x4b56_4d00,
    0x4b56_4d01,
    0x4b56_4d04,
    0x200,
    0x1d9,
];
/// Instructions that exits are about, and those that reach memory.
const CODES: [&[u8]; 24] = [
    &[0x0f, 0xa2],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0xf4],
    &[0x0f, 0x01, 0xd9],
    &[0x0f, 0x22, 0xe3],
    &[0x44, 0x0f, 0x22, 0xc0],
    &[0x0f, 0x01, 0xd1],
    &[0x0f, 0x09],
    &[0xf1],
    &[0xf3, 0x90],
    &[0xf3, 0x6e],
    &[0xf3, 0x6d],
    &[0x89, 0x03],
    &[0x8b, 0x03],
    &[0x48, 0x8b, 0x03],
    &[0xc7, 0x03, 1, 2, 3, 4],
    &[0xf3, 0x48, 0xa5],
    &[0xf3, 0xaa],
    &[0x66, 0x0f, 0x6f, 0x03],
    &[0xff, 0x33],
    &[0xff, 0x13],
    &[0xf0, 0x0f, 0xb1, 0x0b],
    &[0xcd, 0x80],
];

fn any_event(noise: &mut Noise) -> Event {
    match noise.below(3) {
        0 => Event::Interrupt(Vector(noise.number() as u8)),
        1 => Event::Nmi,
        _ => Event::Exception(any_exception(noise)),
    }
}

fn any_exception(noise: &mut Noise) -> Exception {
    let vector = Vector(noise.below(32) as u8);
    let error_code = vector.has_error_code().then_some(noise.number() as u32);
    Exception { vector, error_code, fault_address: None }
}

fn any_address(noise: &mut Noise) -> u64 {
    match noise.below(4) {
        0 => noise.number(),
        1 => noise.below(2 << 20),
        _ => noise.pick(&PAGES) + noise.below(0x1008),
    }
}

/// An exit; rarely one that ends the VM.
fn any_exit(noise: &mut Noise) -> Exit {
    let forbidden = noise.pick(&[Forbidden::Vmrun, Forbidden::Skinit, Forbidden::Mwait, Forbidden::Other]);
    match noise.below(40) {
        0 => Exit::HostInterrupt,
        1 => Exit::InterruptWindow,
        2 => Exit::NmiWindow,
        3 | 4 => Exit::Cpuid,
        5 => Exit::Halt,
        6 => Exit::Pause,
        7..=9 => Exit::ReadMsr,
        10..=14 => Exit::WriteMsr,
        15..=21 => Exit::Port(PortAccess {
            port: if noise.below(4) == 0 { noise.number() as u16 } else { noise.pick(&PORTS) },
            size: if noise.below(8) == 0 { noise.below(8) as u8 } else { noise.pick(&[1, 2, 4]) },
            direction: noise.pick(&[Direction::In, Direction::Out]),
            string: noise.below(4) == 0,
            next_rip: CODE + 2,
        }),
        22..=30 => {
            let mut instruction = [0; 15];
            instruction.fill_with(|| noise.number() as u8);
            Exit::Memory(MemoryFault {
                gpa: Gpa::new_truncate(any_address(noise)),
                write: noise.below(2) == 0,
                fetch: noise.below(16) == 0,
                page_walk: noise.below(64) == 0,
                instruction,
                instruction_len: if noise.below(4) == 0 { noise.number() as u8 } else { 0 },
            })
        }
        31 | 32 => Exit::Hypercall,
        33 | 34 => {
            let source = (noise.below(2) == 0).then(|| Gpr::from_number(noise.number() as u8));
            Exit::WriteCr { cr: noise.pick(&[4, 4, 4, 8, 8, 8, 0, 15]), source }
        }
        35 => Exit::Xsetbv,
        36 => noise.pick(&[Exit::CacheFlush, Exit::Int1, Exit::ReadPmc]),
        37 => Exit::Exception(any_exception(noise)),
        38 => Exit::Forbidden(forbidden),
        _ => noise.pick(&[
            Exit::TaskSwitch,
            Exit::InitOrSmi,
            Exit::TripleFault,
            Exit::EntryFailed,
            Exit::Unknown(77),
            Exit::HostNmi,
        ]),
    }
}

/// Registers as a guest could have them.
fn shuffle(noise: &mut Noise, fake: &mut Fake) {
    let long = PlainRegisters::long_mode(0x1000);
    let code_walk = fake.registers.code_walk.clone();
    fake.registers = match noise.below(8) {
        0 => PlainRegisters::real_mode(),
        1 => PlainRegisters::protected_16(),
        2 => PlainRegisters::protected_32(),
        _ => long,
    };
    let r = &mut fake.registers;
    r.code_walk = code_walk;
    for gpr in &mut r.gprs {
        *gpr = match noise.below(5) {
            0 => noise.number(),
            1 => u64::from(noise.pick(&MSRS)) + noise.below(0x40),
            2 => noise.below(0x100),
            _ => any_address(noise),
        };
    }
    if noise.below(2) == 0 {
        r.gprs[Gpr::Rcx as usize] = u64::from(noise.pick(&MSRS)) + noise.below(3);
    }
    r.rflags = Rflags::from_bits_retain(noise.number() & 0x25_7fd5 | 2);
    r.rip = if noise.below(16) == 0 { any_address(noise) } else { CODE };
    if noise.below(8) == 0 {
        r.cpl = 3;
    }
    if noise.below(16) == 0 {
        r.cr0 ^= Cr0::from_bits_retain(1 << noise.below(32));
        r.cr4 ^= Cr4::from_bits_retain(1 << noise.below(25));
        r.efer ^= Efer::from_bits_retain(1 << noise.below(16));
        r.cr3 ^= 1 << noise.below(64);
    }
    fake.shadow = noise.below(4) == 0;
    fake.next_rip = (noise.below(4) == 0).then(|| noise.number());
    if noise.below(16) == 0 {
        fake.interrupted = Some(any_event(noise));
    }
    if noise.below(4) == 0 {
        fake.nmi_masked = false;
    }
}

/// Plays `steps` random exits on a vCPU; how often that would have ended its VM, which goes on regardless.
fn torment(noise: &mut Noise, seat: &mut Seat, steps: u64) -> usize {
    let memory = seat.vcpu.shared().clone();
    for _ in 0..steps {
        let mut private = Noise::new(noise.number());
        let memory = memory.clone();
        seat.vcpu.backend.then(move |fake| {
            let noise = &mut private;
            shuffle(noise, fake);
            let mut code = [0; 15];
            code.fill_with(|| noise.number() as u8);
            if noise.below(8) != 0 {
                let real = noise.pick(&CODES);
                code[..real.len()].copy_from_slice(real);
            }
            let _ = memory.memory.write(Gpa::new(CODE), &code);
            any_exit(noise)
        });
    }
    let (mut ends, mut blocks) = (0, 0);
    loop {
        blocks += 1;
        assert!(blocks < 10_000, "it does not come to the end of the script");
        seat.host.timers.borrow_mut().clear();
        // A turn on the host's CPU takes time, so that timers come due.
        seat.host.now.set(seat.host.now.get() + noise.below(1 << 24));
        match seat.run() {
            Leave::Attention => return ends,
            Leave::Yield => {}
            Leave::Blocked { until } => {
                seat.host.now.set(seat.host.now.get().max(until.unwrap_or(0)));
                // Timers may go on for ever without an interrupt; an NMI gets it out of every halt.
                if until.is_none() || noise.below(2) == 0 {
                    seat.vcpu.backend.nmi_masked = false;
                    seat.vcpu.backend.shadow = false;
                    seat.vcpu.shared().fabric.nmi(seat.vcpu.index());
                }
                if seat.vcpu.apic.waiting_for_sipi() {
                    seat.start();
                }
            }
            Leave::Parked => seat.vcpu.shared().unpark(),
            Leave::Ended(_) => {
                seat.vcpu.shared().unpark();
                ends += 1;
            }
        }
    }
}

/// Entries since this was asked last.
fn entries(seat: &mut Seat) -> usize {
    std::mem::take(&mut seat.vcpu.backend.entries).len()
}

/// Exits that a VM is played in one go.
const STEPS: u64 = 8;

#[test]
fn a_vcpu_survives_whatever_its_guest_does() {
    let start = Instant::now();
    let mut noise = Noise::new(0x5eed_0001);
    let (mut played, mut ends) = (0, 0);
    while start.elapsed() < TIME {
        let mut rig = Rig::new(2);
        for _ in 0..1_000 {
            ends += torment(&mut noise, &mut rig.seats[0], STEPS);
            let entered = entries(&mut rig.seats[0]);
            assert!(entered as u64 == STEPS + 1, "{entered} entries for {STEPS} exits");
            played += entered;
        }
        rig.block.check();
    }
    assert!(played > 10_000 && ends > 100, "{played} exits, {ends} ends");
}

#[test]
fn two_vcpus_on_two_cpus_share_a_board() {
    let start = Instant::now();
    let mut noise = Noise::new(0x5eed_0002);
    let mut played = 0;
    while start.elapsed() < TIME {
        let mut rig = Rig::new(2);
        rig.seats[1].start();
        let seeds = [noise.number(), noise.number()];
        std::thread::scope(|scope| {
            for (seat, seed) in rig.seats.iter_mut().zip(seeds) {
                scope.spawn(move || {
                    let mut noise = Noise::new(seed);
                    for _ in 0..500 {
                        torment(&mut noise, seat, STEPS);
                    }
                });
            }
        });
        played += rig.seats.iter_mut().map(entries).sum::<usize>();
        rig.block.check();
    }
    assert!(played > 5_000, "{played} exits");
}
