//! PUSH, POP, CALL, JMP, RET, ENTER and LEAVE with operands or stacks in a device.
use super::rig::{CODE, DATA, DEVICE, DEVICE_GPA, Rig, Seen};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Exception, Gpr, PageFaultCode, Registers, SegmentRegister};
use crate::emulate::Outcome;

const DONE: Outcome = Outcome::Done { single_step: false };

fn rig() -> Rig {
    let mut rig = Rig::long_mode();
    rig.registers.set_gpr(Gpr::Rax, DEVICE);
    rig.device.put(0, &0x1122_3344_5566_7788u64.to_le_bytes());
    rig
}

#[test]
fn push_from_a_device_goes_to_the_stack() {
    let mut rig = rig();
    let rsp = rig.registers.gpr(Gpr::Rsp);
    rig.run(&[0xff, 0x30]);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), rsp - 8);
    assert_eq!(rig.ram(rsp - 8, 8), 0x1122_3344_5566_7788u64.to_le_bytes());
    // With 66 two bytes.
    rig.registers.rip = CODE;
    rig.run(&[0x66, 0xff, 0x30]);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), rsp - 10);
    assert_eq!(rig.ram(rsp - 10, 2), [0x88, 0x77]);
}

#[test]
fn pop_into_a_device_comes_from_the_stack() {
    let mut rig = rig();
    let rsp = rig.registers.gpr(Gpr::Rsp);
    rig.put_ram(rsp, &[1, 2, 3, 4, 5, 6, 7, 8]);
    rig.run(&[0x8f, 0x40, 0x10]);
    assert_eq!(rig.device.get(0x10, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), rsp + 8);
}

#[test]
fn pop_addresses_its_operand_by_the_stack_pointer_after_the_pop() {
    let mut rig = rig();
    rig.registers.set_gpr(Gpr::Rsp, DEVICE + 0x20);
    rig.device.put(0x20, &[9; 8]);
    // POP [RSP + 8]
    rig.run(&[0x8f, 0x44, 0x24, 0x08]);
    assert_eq!(rig.device.get(0x30, 8), [9; 8]);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), DEVICE + 0x28);
}

#[test]
fn a_pop_whose_target_faults_leaves_the_stack_pointer() {
    let mut rig = rig();
    rig.registers.set_gpr(Gpr::Rsp, DEVICE + 0x20);
    rig.map(DATA, 0);
    rig.registers.set_gpr(Gpr::Rax, DATA);
    rig.code(&[0x8f, 0x00]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::page_fault(DATA, PageFaultCode::WRITE)));
    assert_eq!(rig.registers.gpr(Gpr::Rsp), DEVICE + 0x20);
    assert!(rig.device.seen.is_empty());
}

#[test]
fn a_push_whose_stack_faults_does_not_read_the_device() {
    let mut rig = rig();
    rig.map(DATA, 0);
    rig.code(&[0xff, 0x30]);
    let at = DATA + 0x800 - 8;
    assert_eq!(rig.step(), Outcome::Exception(Exception::page_fault(at, PageFaultCode::WRITE)));
    assert!(rig.device.seen.is_empty());
    assert_eq!(rig.registers.gpr(Gpr::Rsp), DATA + 0x800);
}

#[test]
fn registers_immediates_and_segments_are_pushed_to_a_device() {
    let cases: &[(&[u8], u8, u64)] = &[
        (&[0x50], 8, DEVICE),
        (&[0x54], 8, DEVICE + 0x100),
        (&[0x66, 0x50], 2, DEVICE & 0xffff),
        (&[0x6a, 0xfe], 8, -2i64 as u64),
        (&[0x68, 0x78, 0x56, 0x34, 0x92], 8, 0xffff_ffff_9234_5678),
        (&[0x0f, 0xa0], 8, 8),
    ];
    for &(code, size, value) in cases {
        let mut rig = rig();
        rig.registers.set_gpr(Gpr::Rsp, DEVICE + 0x100);
        rig.run(code);
        let at = DEVICE_GPA + 0x100 - u64::from(size);
        assert_eq!(rig.device.seen, [Seen::Write(at, size, value)], "{code:x?}");
        assert_eq!(rig.registers.gpr(Gpr::Rsp), DEVICE + 0x100 - u64::from(size));
    }
}

#[test]
fn calls_and_jumps_go_where_a_device_says() {
    let mut rig = rig();
    rig.device.put(0, &0x7000u64.to_le_bytes());
    let rsp = rig.registers.gpr(Gpr::Rsp);
    rig.code(&[0xff, 0x10]);
    assert_eq!(rig.step(), DONE);
    assert_eq!(rig.registers.rip, 0x7000);
    assert_eq!(rig.ram(rsp - 8, 8), (CODE + 2).to_le_bytes());
    rig.registers.rip = CODE;
    rig.code(&[0xff, 0x20]);
    assert_eq!(rig.step(), DONE);
    assert_eq!((rig.registers.rip, rig.registers.gpr(Gpr::Rsp)), (0x7000, rsp - 8));
}

#[test]
fn a_target_that_is_not_canonical_faults_before_the_push() {
    let mut rig = rig();
    let rsp = rig.registers.gpr(Gpr::Rsp);
    rig.code(&[0xff, 0x10]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
    assert_eq!((rig.registers.rip, rig.registers.gpr(Gpr::Rsp)), (CODE, rsp));
    assert_eq!(rig.ram(rsp - 8, 8), [0; 8]);
}

#[test]
fn calls_and_returns_use_a_stack_in_a_device() {
    let mut rig = rig();
    rig.registers.set_gpr(Gpr::Rsp, DEVICE + 0x100);
    rig.code(&[0xe8, 0xfb, 0x0f, 0, 0]);
    assert_eq!(rig.step(), DONE);
    assert_eq!(rig.registers.rip, CODE + 0x1000);
    assert_eq!(rig.device.get(0xf8, 8), (CODE + 5).to_le_bytes());
    rig.code(&[0xc2, 0x10, 0x00]);
    assert_eq!(rig.step(), DONE);
    assert_eq!(rig.registers.rip, CODE + 5);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), DEVICE + 0x110);
}

#[test]
fn enter_and_leave_build_and_drop_a_frame() {
    let mut rig = rig();
    rig.registers.set_gpr(Gpr::Rsp, DEVICE + 0x100);
    rig.registers.set_gpr(Gpr::Rbp, 0xabcd);
    rig.run(&[0xc8, 0x20, 0x00, 0x00]);
    assert_eq!(rig.registers.gpr(Gpr::Rbp), DEVICE + 0xf8);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), DEVICE + 0xd8);
    rig.run(&[0xc9]);
    assert_eq!(rig.registers.gpr(Gpr::Rbp), 0xabcd);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), DEVICE + 0x100);
}

#[test]
fn a_16_bit_stack_wraps_within_its_segment() {
    let mut rig = Rig::unpaged(PlainRegisters::real_mode());
    rig.registers.segments[SegmentRegister::Ss as usize].base = DEVICE_GPA;
    rig.registers.set_gpr(Gpr::Rsp, 0x1234_0002);
    rig.registers.set_gpr(Gpr::Rax, 0xbeef);
    rig.run(&[0x50]);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), 0x1234_0000);
    rig.run(&[0x50]);
    assert_eq!(rig.registers.gpr(Gpr::Rsp), 0x1234_fffe);
    assert_eq!(rig.device.seen.last(), Some(&Seen::Write(DEVICE_GPA + 0xfffe, 2, 0xbeef)));
    // Across the end of the segment it does not wrap.
    rig.registers.set_gpr(Gpr::Rsp, 1);
    rig.code(&[0x50]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::ss(0)));
}

#[test]
fn what_needs_a_far_transfer_or_hidden_stack_stops_the_vm() {
    for code in [&[0xff, 0x18][..], &[0xff, 0x28], &[0x9c], &[0x9d], &[0x48, 0xcf], &[0xc8, 0, 0, 1]] {
        let mut rig = rig();
        rig.code(code);
        let stopped = match rig.step() {
            Outcome::Unsupported(unsupported) => unsupported,
            other => panic!("{code:x?}: {other:?}"),
        };
        assert!(stopped.code.as_slice().starts_with(code));
        assert_eq!((stopped.rip, rig.registers.rip), (CODE, CODE));
        assert!(stopped.to_string().starts_with("cannot emulate the instruction at 0x4000 ("));
    }
}
