//! Random code on random registers, and the two ways of a plain move against each other.
use super::rig::{CODE, DATA, DEVICE, DEVICE_GPA, Device, Random, Rig, Seen, no_hint};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Cr0, Cr4, Efer, Gpr, Registers, Rflags};
use crate::emulate::length::{Named, control_access, instruction_length};
use crate::emulate::{Code, Outcome, emulate, plain_move};
use crate::exit::{Direction, MemoryFault, PortAccess};
use mm::addr::Gpa;
use std::time::{Duration, Instant};

/// How long a fuzz test may take.
const TIME: Duration = Duration::from_millis(1_500);

/// Registers that lead to the device as often as elsewhere.
fn random_registers(random: &mut Random, registers: &mut PlainRegisters, device: u64) {
    for gpr in &mut registers.gprs {
        *gpr = match random.below(4) {
            0 => random.next(),
            1 => DATA + random.below(0x800),
            2 => random.below(0x100).wrapping_sub(0x80),
            _ => device + random.below(0x3010),
        };
    }
    for xmm in &mut registers.xmm {
        *xmm = u128::from(random.next()) << 64 | u128::from(random.next());
    }
    registers.rflags = Rflags::from_bits_retain(random.next() & 0x24_7fd5 | 2);
    registers.cpl = if random.below(2) == 0 { 0 } else { 3 };
}

/// Code that has a chance of being an instruction with a memory operand.
fn random_code(random: &mut Random) -> [u8; 15] {
    let mut code = [0; 15];
    for byte in &mut code {
        *byte = random.next() as u8;
    }
    const PREFIXES: [u8; 14] =
        [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x48, 0x4c, 0x41, 0x64, 0x2e, 0x0f, 0x0f, 0xc5, 0x40];
    for byte in code.iter_mut().take(random.below(4) as usize) {
        *byte = PREFIXES[random.below(PREFIXES.len() as u64) as usize];
    }
    code
}

#[test]
fn random_code_on_random_registers_never_panics_nor_runs_on() {
    let start = Instant::now();
    let mut random = Random(0xf0221);
    let mut done = 0;
    let mut paged = Rig::long_mode();
    let mut flat = Rig::unpaged(PlainRegisters::protected_32());
    while start.elapsed() < TIME {
        for _ in 0..500 {
            let long = random.below(2) == 0;
            let (rig, device) = if long { (&mut paged, DEVICE) } else { (&mut flat, DEVICE_GPA) };
            rig.registers = match (long, random.below(3)) {
                (true, _) => PlainRegisters::long_mode(0x1000),
                (false, 0) => PlainRegisters::real_mode(),
                (false, 1) => PlainRegisters::protected_16(),
                (false, _) => PlainRegisters::protected_32(),
            };
            random_registers(&mut random, &mut rig.registers, device);
            if !long {
                for segment in &mut rig.registers.segments {
                    if random.below(8) == 0 {
                        segment.base = random.next() & 0xffff_ffff;
                        segment.limit = random.next() as u32;
                        segment.attributes.0 ^= (random.next() & random.next() & 0xfff) as u16;
                    }
                }
            }
            if random.below(16) == 0 {
                rig.registers.cr0 ^= Cr0::from_bits_retain(1 << random.below(32));
                rig.registers.cr4 ^= Cr4::from_bits_retain(1 << random.below(26));
                rig.registers.efer ^= Efer::from_bits_retain(1 << random.below(16));
            }
            rig.registers.rip =
                if random.below(16) == 0 { random.next() } else { CODE + random.below(0x2000) };
            let code = random_code(&mut random);
            let _ = rig.memory.write(Gpa::new(rig.registers.rip & 0xf_ffff), &code);
            let mut fault = no_hint();
            if random.below(2) == 0 {
                fault = MemoryFault {
                    gpa: Gpa::new(DEVICE_GPA + random.below(0x3000)),
                    write: random.below(2) == 0,
                    fetch: false,
                    page_walk: random.below(16) == 0,
                    instruction: code,
                    instruction_len: random.below(17) as u8,
                };
            }
            rig.device.seen.clear();
            let before = rig.registers.rip;
            let outcome = emulate(&mut rig.registers, &rig.memory, &mut rig.device, &fault);
            assert!(rig.device.seen.len() <= 4 * crate::emulate::string::BATCH, "{code:02x?}");
            match outcome {
                Outcome::Done { .. } => done += 1,
                Outcome::Repeat { .. } | Outcome::Exception(_) | Outcome::Retry | Outcome::Unsupported(_) => {
                    assert_eq!(rig.registers.rip, before, "{code:02x?}")
                }
            }
            let size = 1 << random.below(3);
            let direction = if random.below(2) == 0 { Direction::In } else { Direction::Out };
            let port = rig.registers.gpr(Gpr::Rdx) as u16;
            let access = PortAccess { port, size, direction, string: true, next_rip: 0 };
            let _ = crate::emulate::emulate_port_string(
                &mut rig.registers,
                &rig.memory,
                &mut rig.device,
                &access,
            );
            let _ = instruction_length(&rig.registers, &rig.memory, Named::Hypercall);
            let _ = control_access(&rig.registers, &rig.memory);
        }
        // Writes may have hit the page tables.
        paged = Rig { device: Device::default(), ..Rig::long_mode() };
    }
    assert!(done > 1_000, "only {done} instructions were carried out");
}

/// Opcodes of the plain moves, and some that are none.
fn random_move(random: &mut Random) -> [u8; 15] {
    let mut code = random_code(random);
    let mut at = 0;
    if random.below(3) == 0 {
        code[at] = 0x66;
        at += 1;
    }
    if random.below(2) == 0 {
        code[at] = 0x40 | random.next() as u8 & 0xf;
        at += 1;
    }
    const OPCODES: [u8; 12] = [0x88, 0x89, 0x8a, 0x8b, 0xc6, 0xc7, 0xa0, 0xa1, 0xa2, 0xa3, 0x0f, 0x0f];
    code[at] = OPCODES[random.below(12) as usize];
    match code[at] {
        0x0f => {
            at += 1;
            code[at] = [0xb6, 0xb7, 0xbe, 0xbf, 0xb8][random.below(5) as usize];
        }
        0xa0..=0xa3 => {
            code[at + 1..at + 9].copy_from_slice(&(DEVICE + random.below(0x3000)).to_le_bytes());
        }
        _ => {}
    }
    at += 1;
    // A displacement of four bytes mostly leads nowhere: make it a short one.
    if random.below(2) == 0 && at + 6 < 15 {
        code[at + 2..at + 6].copy_from_slice(&[0x10, 0, 0, 0]);
    }
    code
}

#[test]
fn a_plain_move_does_the_same_with_and_without_the_decoder() {
    let start = Instant::now();
    let mut random = Random(0xfa57);
    let mut compared = [0u32; 2];
    let mut slow = Rig::long_mode();
    let mut fast = Rig::long_mode();
    for rig in [&mut slow, &mut fast] {
        rig.device.put(0, &(0..0x3000u32).map(|i| (i * 7 / 4) as u8).collect::<Vec<u8>>());
    }
    while start.elapsed() < TIME {
        for _ in 0..1_000 {
            let mut registers = PlainRegisters::long_mode(0x1000);
            random_registers(&mut random, &mut registers, DEVICE);
            registers.rflags -= Rflags::TF;
            registers.rip = CODE;
            let code = random_move(&mut random);
            (slow.registers, fast.registers) = (registers.clone(), registers);
            slow.code(&code);
            slow.device.seen.clear();
            fast.device.seen.clear();
            let outcome = slow.step();
            if slow.device.seen.len() != 1 {
                continue;
            }
            // Where the decoder's way went is what the hardware would report.
            let (gpa, write) = match slow.device.seen[0] {
                Seen::Read(gpa, _) => (gpa, false),
                Seen::Write(gpa, _, _) => (gpa, true),
                other => panic!("{other:?}"),
            };
            let fault = MemoryFault { gpa: Gpa::new(gpa), write, fetch: false, ..no_hint() };
            let bytes = Code::from_slice(&code);
            let way =
                plain_move::try_move(&mut fast.registers, &fast.memory, &mut fast.device, &fault, &bytes);
            compared[usize::from(way.is_some())] += 1;
            let Some(way) = way else {
                // Only what is misaligned or names AH to BH is left to the decoder; keep both devices alike.
                fast.device.bytes.clone_from(&slow.device.bytes);
                continue;
            };
            assert_eq!(way, outcome, "{code:02x?}");
            assert_eq!(fast.registers, slow.registers, "{code:02x?}");
            assert_eq!(fast.device.seen, slow.device.seen, "{code:02x?}");
            assert_eq!(fast.device.bytes.get(&gpa), slow.device.bytes.get(&gpa));
        }
    }
    assert!(compared[1] > 1_000 && compared[0] > 10, "{compared:?}");
}

#[test]
fn the_plain_moves_of_drivers_do_not_need_the_decoder() {
    // MOV EAX, [RAX]; MOV [RDI + disp32], ESI; MOV [disp32], EAX; MOV dword [RAX + 0xb0], 0;
    // MOVZX EAX, byte [RDI]; MOV AL, [RDI]; MOV [RDI], R8W; MOV RAX, [RDI]
    let all: [&[u8]; 8] = [
        &[0x8b, 0x00],
        &[0x89, 0xb7, 0x30, 0x00, 0x00, 0x00],
        &[0x89, 0x04, 0x25, 0x00, 0x10, 0x01, 0x00],
        &[0xc7, 0x80, 0xb0, 0x00, 0x00, 0x00, 0, 0, 0, 0],
        &[0x0f, 0xb6, 0x07],
        &[0x8a, 0x07],
        &[0x66, 0x44, 0x89, 0x07],
        &[0x48, 0x8b, 0x07],
    ];
    for bytes in all {
        let mut rig = Rig::long_mode();
        rig.registers.gprs[0] = DEVICE;
        rig.registers.gprs[7] = DEVICE;
        let offset = match bytes[0] {
            0xc7 => 0xb0,
            0x89 if bytes[1] == 0xb7 => 0x30,
            _ => 0,
        };
        let write = matches!(bytes[0], 0x89 | 0xc7 | 0x66);
        let fault = MemoryFault { gpa: Gpa::new(DEVICE_GPA + offset), write, fetch: false, ..no_hint() };
        let code = Code::from_slice(bytes);
        let way = plain_move::try_move(&mut rig.registers, &rig.memory, &mut rig.device, &fault, &code);
        assert_eq!(way, Some(Outcome::Done { single_step: false }), "{bytes:02x?}");
        // Another offset, another direction, or the page tables: not what the hardware stopped at.
        let others = [
            MemoryFault { gpa: fault.gpa + 4, ..fault },
            MemoryFault { write: !write, ..fault },
            MemoryFault { page_walk: true, ..fault },
            MemoryFault { gpa: Gpa::new(DATA + offset), ..fault },
        ];
        rig.registers.gprs[0] = DEVICE;
        for other in others {
            let way = plain_move::try_move(&mut rig.registers, &rig.memory, &mut rig.device, &other, &code);
            assert_eq!(way, None, "{bytes:02x?}");
        }
        let short = Code::from_slice(&bytes[..bytes.len() - 1]);
        let way = plain_move::try_move(&mut rig.registers, &rig.memory, &mut rig.device, &fault, &short);
        assert_eq!(way, None, "{bytes:02x?}");
    }
}
