//! Fetching, decoding, lengths of named instructions, and code that changes.
use super::rig::{CODE, DATA, DEVICE, DEVICE_GPA, Rig, Seen, no_hint};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Exception, Gpr, PageFaultCode, Registers, Rflags};
use crate::emulate::length::{ControlAccess, Miss, Named, control_access, instruction_length};
use crate::emulate::{Outcome, emulate, fetch};
use mm::addr::Gpa;

const DONE: Outcome = Outcome::Done { single_step: false };

/// Names with their bytes.
const NAMED: &[(Named, &[u8])] = &[
    (Named::Cpuid, &[0x0f, 0xa2]),
    (Named::Rdmsr, &[0x0f, 0x32]),
    (Named::Wrmsr, &[0x0f, 0x30]),
    (Named::Hlt, &[0xf4]),
    (Named::Hypercall, &[0x0f, 0x01, 0xd9]),
    (Named::Hypercall, &[0x0f, 0x01, 0xc1]),
    (Named::Invd, &[0x0f, 0x08]),
    (Named::Wbinvd, &[0x0f, 0x09]),
    (Named::Wbinvd, &[0xf3, 0x0f, 0x09]),
    (Named::Xsetbv, &[0x0f, 0x01, 0xd1]),
    (Named::Rdpmc, &[0x0f, 0x33]),
    (Named::Pause, &[0xf3, 0x90]),
    (Named::Rdtsc, &[0x0f, 0x31]),
    (Named::Rdtscp, &[0x0f, 0x01, 0xf9]),
    (Named::Monitor, &[0x0f, 0x01, 0xc8]),
    (Named::Mwait, &[0x0f, 0x01, 0xc9]),
    (Named::Clts, &[0x0f, 0x06]),
];

fn modes() -> [Rig; 3] {
    [
        Rig::long_mode(),
        Rig::unpaged(PlainRegisters::protected_32()),
        Rig::unpaged(PlainRegisters::real_mode()),
    ]
}

#[test]
fn named_instructions_have_their_length_in_every_mode_with_and_without_prefixes() {
    for rig in modes() {
        for &(named, bytes) in NAMED {
            rig.code(bytes);
            let length = |rig: &Rig| instruction_length(&rig.registers, &rig.memory, named);
            assert_eq!(length(&rig), Ok(bytes.len() as u8), "{named:?}");
            // A segment override is of no effect on any of them, but counts.
            rig.code(&[&[0x2e, 0x2e, 0x3e], bytes].concat());
            assert_eq!(length(&rig), Ok(bytes.len() as u8 + 3), "{named:?}");
        }
    }
}

#[test]
fn another_instruction_or_none_means_that_the_guest_runs_again() {
    for rig in modes() {
        for &(named, bytes) in NAMED {
            for &(other, _) in NAMED {
                rig.code(bytes);
                let length = instruction_length(&rig.registers, &rig.memory, other);
                assert_eq!(length.is_ok(), named == other, "{other:?} on {named:?}");
                assert!(length.is_ok() || length == Err(Miss::Changed));
            }
        }
        // No instruction, and one of more than 15 bytes.
        rig.code(&[0x0f, 0x04, 0x0f, 0x04]);
        let cpuid = || instruction_length(&rig.registers, &rig.memory, Named::Cpuid);
        assert_eq!(cpuid(), Err(Miss::Changed));
        rig.code(&[0x2e; 16]);
        assert!(cpuid().is_err());
    }
}

#[test]
fn an_instruction_across_pages_is_fetched_from_both() {
    let mut rig = Rig::long_mode();
    rig.registers.rip = CODE + 0xfff;
    rig.code(&[0x0f, 0xa2]);
    let cpuid = |rig: &Rig| instruction_length(&rig.registers, &rig.memory, Named::Cpuid);
    assert_eq!(cpuid(&rig), Ok(2));
    // The second page is elsewhere, or absent.
    rig.map(CODE + 0x1000, DATA | 7);
    rig.put_ram(DATA, &[0x32]);
    assert_eq!(cpuid(&rig), Err(Miss::Changed));
    rig.map(CODE + 0x1000, 0);
    let fault = Exception::page_fault(CODE + 0x1000, PageFaultCode::FETCH);
    assert_eq!(cpuid(&rig), Err(Miss::Exception(fault)));
}

#[test]
fn a_page_that_the_instruction_does_not_reach_is_not_touched() {
    let mut rig = Rig::long_mode();
    rig.map(CODE + 0x1000, (CODE + 0x1000) | 7);
    rig.registers.rip = CODE + 0xffe;
    rig.registers.gprs[0] = DEVICE;
    rig.code(&[0x89, 0x08]);
    assert_eq!(rig.step(), DONE);
    let entry = rig.entry(CODE + 0x1000);
    assert_eq!(entry & 1 << 5, 0, "accessed");
    rig.map(CODE + 0x1000, 0);
    rig.registers.rip = CODE + 0xffe;
    assert_eq!(rig.step(), DONE);
    // One byte more, and it is.
    rig.registers.rip = CODE + 0xfff;
    rig.code(&[0x89]);
    let fault = Exception::page_fault(CODE + 0x1000, PageFaultCode::FETCH);
    assert_eq!(rig.step(), Outcome::Exception(fault));
}

#[test]
fn code_ends_at_the_limit_of_its_segment() {
    let mut rig = Rig::unpaged(PlainRegisters::protected_32());
    rig.registers.gprs[0] = DEVICE_GPA;
    rig.code(&[0x89, 0x08]);
    rig.registers.segments[1].limit = CODE as u32 + 1;
    assert_eq!(rig.step(), DONE);
    rig.registers.rip = CODE;
    rig.registers.segments[1].limit = CODE as u32;
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
    rig.registers.segments[1].limit = CODE as u32 - 1;
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
}

#[test]
fn code_has_its_segments_base_outside_of_64_bit_mode() {
    let mut rig = Rig::unpaged(PlainRegisters::real_mode());
    rig.registers.rip = 0x10;
    rig.registers.segments[1].base = 0x7000;
    rig.registers.segments[3].base = DEVICE_GPA;
    rig.put_ram(0x7010, &[0xa2, 0x34, 0x12]);
    assert_eq!(rig.step(), DONE);
    assert_eq!(rig.device.seen, [Seen::Write(DEVICE_GPA + 0x1234, 1, 0)]);
    assert_eq!(rig.registers.rip, 0x13);
}

#[test]
fn a_rip_that_is_not_canonical_is_gp() {
    let mut rig = Rig::long_mode();
    rig.registers.rip = 1 << 60;
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
    assert_eq!(
        instruction_length(&rig.registers, &rig.memory, Named::Hlt),
        Err(Miss::Exception(Exception::gp(0)))
    );
}

#[test]
fn code_in_a_device_stops_the_vm() {
    let mut rig = Rig::long_mode();
    rig.registers.rip = DEVICE;
    assert!(matches!(rig.step(), Outcome::Unsupported(_)));
    assert!(matches!(instruction_length(&rig.registers, &rig.memory, Named::Hlt), Err(Miss::Unsupported(_))));
    assert_eq!(fetch(&rig.registers, &rig.memory), Err(None));
    assert!(rig.device.seen.is_empty());
}

#[test]
fn page_tables_in_a_device_stop_the_vm() {
    let mut rig = Rig::long_mode();
    rig.registers.cr3 = DEVICE_GPA;
    match rig.step() {
        Outcome::Unsupported(unsupported) => assert_eq!(unsupported.reason, "its page tables are not in RAM"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_that_became_one_without_memory_operand_runs_again() {
    // NOP, MOV EAX, EBX, UD2, CPUID, JMP, JMP RAX, MOV CR3, RDMSR, INT3, INC EAX
    let all: [&[u8]; 10] = [
        &[0x90],
        &[0x89, 0xd8],
        &[0x0f, 0x0b],
        &[0x0f, 0xa2],
        &[0xeb, 0xfe],
        &[0xff, 0xe0],
        &[0x0f, 0x22, 0xd8],
        &[0x0f, 0x32],
        &[0xcc],
        &[0xff, 0xc0],
    ];
    for bytes in all {
        let mut rig = Rig::long_mode();
        rig.code(bytes);
        let before = rig.registers.clone();
        assert_eq!(rig.step(), Outcome::Retry, "{bytes:02x?}");
        assert_eq!(rig.registers, before);
    }
}

#[test]
fn an_instruction_may_change_itself_through_the_device_side_of_a_page() {
    // MOV [RAX], ECX writes RAM: the very code. It is carried out once, as it was.
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = CODE;
    rig.registers.gprs[1] = 0x9090_9090;
    rig.run(&[0x89, 0x08]);
    assert_eq!(rig.ram(CODE, 4), [0x90; 4]);
    rig.registers.rip = CODE;
    assert_eq!(rig.step(), Outcome::Retry);
}

#[test]
fn bytes_that_the_hardware_fetched_are_used_and_completed() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE;
    rig.registers.gprs[1] = 0x1234;
    // In memory there is something else.
    rig.code(&[0x90; 8]);
    let mut fault = no_hint();
    fault.instruction[..2].copy_from_slice(&[0x89, 0x08]);
    fault.instruction_len = 2;
    assert_eq!(emulate(&mut rig.registers, &rig.memory, &mut rig.device, &fault), DONE);
    assert_eq!(rig.device.seen, [Seen::Write(DEVICE_GPA, 4, 0x1234)]);
    // Only the first byte is known: the rest comes from memory.
    rig.registers.rip = CODE + 0x800;
    rig.code(&[0x89, 0x48, 0x04]);
    fault.instruction_len = 1;
    assert_eq!(emulate(&mut rig.registers, &rig.memory, &mut rig.device, &fault), DONE);
    assert_eq!(rig.device.seen[1], Seen::Write(DEVICE_GPA + 4, 4, 0x1234));
    // More than there can be.
    rig.registers.rip = CODE + 0x800;
    fault.instruction_len = 255;
    fault.instruction = [0x2e; 15];
    assert_eq!(
        emulate(&mut rig.registers, &rig.memory, &mut rig.device, &fault),
        Outcome::Exception(Exception::gp(0))
    );
}

#[test]
fn a_report_shows_the_bytes_of_both_pages() {
    let mut rig = Rig::long_mode();
    rig.registers.rip = CODE + 0xffd;
    rig.code(&[1, 2, 3, 4, 5]);
    let code = fetch(&rig.registers, &rig.memory).unwrap();
    assert_eq!(&code.as_slice()[..6], [1, 2, 3, 4, 5, 0]);
    assert_eq!(code.as_slice().len(), 15);
    assert!(code.to_string().starts_with("01 02 03 04 05 00"));
    rig.map(CODE + 0x1000, 0);
    assert_eq!(fetch(&rig.registers, &rig.memory).unwrap().as_slice(), [1, 2, 3]);
}

#[test]
fn resume_and_trap_flag_are_honoured() {
    for bytes in [&[0x89, 0x08][..], &[0x01, 0x08]] {
        for gpa in [0, DEVICE_GPA] {
            let mut rig = Rig::long_mode();
            rig.registers.gprs[0] = DEVICE;
            rig.registers.rflags |= Rflags::RF | Rflags::TF;
            rig.code(bytes);
            let mut fault = no_hint();
            (fault.gpa, fault.write, fault.fetch) = (Gpa::new(gpa), true, false);
            let outcome = emulate(&mut rig.registers, &rig.memory, &mut rig.device, &fault);
            assert_eq!(outcome, Outcome::Done { single_step: true });
            assert!(!rig.flag(Rflags::RF) && rig.flag(Rflags::TF));
        }
    }
}

#[test]
fn accesses_to_control_registers_name_their_registers() {
    type Answer = Result<(ControlAccess, u8), Miss>;
    let cases: &[(&[u8], Answer)] = &[
        (&[0x0f, 0x22, 0xd8], Ok((ControlAccess::Write { cr: 3, source: Gpr::Rax }, 3))),
        (&[0x41, 0x0f, 0x22, 0xe7], Ok((ControlAccess::Write { cr: 4, source: Gpr::R15 }, 4))),
        (&[0x44, 0x0f, 0x22, 0xc1], Ok((ControlAccess::Write { cr: 8, source: Gpr::Rcx }, 4))),
        (&[0x0f, 0x20, 0xc3], Ok((ControlAccess::Read { cr: 0, target: Gpr::Rbx }, 3))),
        (&[0x0f, 0x06], Ok((ControlAccess::Clts, 2))),
        (&[0x0f, 0x01, 0xf2], Ok((ControlAccess::Lmsw { source: Gpr::Rdx }, 3))),
        (&[0x0f, 0x01, 0x30], Err(Miss::Unsupported("LMSW from memory"))),
        (&[0x0f, 0x23, 0xc0], Err(Miss::Changed)),
        (&[0x89, 0xc8], Err(Miss::Changed)),
        (&[0x0f, 0x22, 0xc8], Err(Miss::Changed)),
    ];
    for (code, expected) in cases {
        let rig = Rig::long_mode();
        rig.code(code);
        assert_eq!(control_access(&rig.registers, &rig.memory), *expected, "{code:02x?}");
    }
    // In 32-bit mode the registers are the same.
    let rig = Rig::unpaged(PlainRegisters::protected_32());
    rig.code(&[0x0f, 0x22, 0xc0]);
    let access = ControlAccess::Write { cr: 0, source: Gpr::Rax };
    assert_eq!(control_access(&rig.registers, &rig.memory), Ok((access, 3)));
}

#[test]
fn what_is_not_supported_says_so_and_changes_nothing() {
    // FXSAVE, FLD, MOV SS, ADDPS, MOVQ MM0, LDS is none in 64-bit mode: VMOVUPS YMM0, PADDB
    let all: [&[u8]; 7] = [
        &[0x0f, 0xae, 0x00],
        &[0xd9, 0x00],
        &[0x8e, 0x10],
        &[0x0f, 0x58, 0x00],
        &[0x0f, 0x6f, 0x00],
        &[0xc5, 0xfc, 0x10, 0x00],
        &[0x66, 0x0f, 0xfc, 0x00],
    ];
    for bytes in all {
        let mut rig = Rig::long_mode();
        rig.registers.gprs[0] = DEVICE;
        rig.code(bytes);
        let before = rig.registers.clone();
        assert!(matches!(rig.step(), Outcome::Unsupported(_)), "{bytes:02x?}");
        assert_eq!(rig.registers, before);
        assert!(rig.device.seen.iter().all(|seen| matches!(seen, Seen::Read(..))), "{bytes:02x?}");
    }
    let mut registers = PlainRegisters::protected_32();
    registers.set_gpr(Gpr::Rax, DEVICE_GPA);
    let mut rig = Rig::unpaged(registers);
    // LDS, BOUND, LGDT
    for bytes in [&[0xc5, 0x00][..], &[0x62, 0x00], &[0x0f, 0x01, 0x10]] {
        rig.code(bytes);
        assert!(matches!(rig.step(), Outcome::Unsupported(_)), "{bytes:02x?}");
    }
}
