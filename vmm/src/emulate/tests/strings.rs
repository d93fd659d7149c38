//! MOVS, STOS, LODS, CMPS, SCAS, INS and OUTS, repeated or not.
use super::rig::{CODE, DATA, DEVICE, DEVICE_GPA, Rig, Seen};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{Exception, Gpr, PageFaultCode, Registers, Rflags, Vector};
use crate::emulate::string::BATCH;
use crate::emulate::{Outcome, emulate_port_string};
use crate::exit::{Direction, PortAccess};

const DONE: Outcome = Outcome::Done { single_step: false };
const REPEAT: Outcome = Outcome::Repeat { single_step: false };

fn rig(rsi: u64, rdi: u64, rcx: u64, rax: u64) -> Rig {
    let mut rig = Rig::long_mode();
    rig.registers.set_gpr(Gpr::Rsi, rsi);
    rig.registers.set_gpr(Gpr::Rdi, rdi);
    rig.registers.set_gpr(Gpr::Rcx, rcx);
    rig.registers.set_gpr(Gpr::Rax, rax);
    rig
}

fn indexes(rig: &Rig) -> (u64, u64, u64) {
    (rig.registers.gpr(Gpr::Rsi), rig.registers.gpr(Gpr::Rdi), rig.registers.gpr(Gpr::Rcx))
}

#[test]
fn movs_of_each_size_moves_one_element_in_either_direction() {
    for (code, size) in [(&[0xa4][..], 1), (&[0x66, 0xa5], 2), (&[0xa5], 4), (&[0x48, 0xa5], 8)] {
        for down in [false, true] {
            let mut rig = rig(DATA, DEVICE + 0x40, 7, 0);
            rig.put_ram(DATA, &[1, 2, 3, 4, 5, 6, 7, 8]);
            rig.registers.rflags.set(Rflags::DF, down);
            rig.run(code);
            assert_eq!(rig.device.get(0x40, size), (1..=size as u8).collect::<Vec<u8>>());
            assert_eq!(rig.device.get(0x40 + size, 8), [0; 8]);
            let step = if down { size.wrapping_neg() } else { size };
            assert_eq!(indexes(&rig), (DATA.wrapping_add(step), (DEVICE + 0x40).wrapping_add(step), 7));
        }
    }
}

#[test]
fn rep_movs_copies_from_a_device_and_to_it() {
    let mut rig = rig(DEVICE, DATA, 100, 0);
    rig.device.put(0, &(0..100).collect::<Vec<u8>>());
    rig.run(&[0xf3, 0xa4]);
    assert_eq!(rig.ram(DATA, 100), (0..100).collect::<Vec<u8>>());
    assert_eq!(indexes(&rig), (DEVICE + 100, DATA + 100, 0));
    rig.registers.set_gpr(Gpr::Rsi, DEVICE);
    rig.registers.set_gpr(Gpr::Rdi, DEVICE + 0x1000);
    rig.registers.set_gpr(Gpr::Rcx, 25);
    rig.registers.rip = CODE;
    rig.run(&[0xf3, 0xa5]);
    assert_eq!(rig.device.get(0x1000, 100), (0..100).collect::<Vec<u8>>());
}

#[test]
fn a_count_of_zero_does_nothing_and_touches_nothing() {
    let mut rig = rig(0xdead_0000_0000_0000, 0xdead_0000_0000_0000, 0, 0);
    rig.run(&[0xf3, 0xa4]);
    assert!(rig.device.seen.is_empty());
    // With a 32-bit address size ECX alone counts.
    rig.registers.rip = CODE;
    rig.registers.set_gpr(Gpr::Rcx, 5 << 32);
    rig.run(&[0x67, 0xf3, 0xa4]);
    assert_eq!(rig.registers.gpr(Gpr::Rcx), 5 << 32);
}

#[test]
fn a_huge_count_is_done_in_batches_with_registers_telling_how_far() {
    let mut rig = rig(0, DEVICE, u64::MAX, 0x41);
    rig.code(&[0xf3, 0xaa]);
    let mut left = u64::MAX;
    for round in 1..=4u64 {
        assert_eq!(rig.step(), REPEAT);
        left -= BATCH as u64;
        assert_eq!(indexes(&rig), (0, DEVICE + round * BATCH as u64, left));
        assert_eq!(rig.registers.rip, CODE);
    }
    assert_eq!(rig.device.seen.len(), 4 * BATCH);
}

#[test]
fn what_runs_on_into_ram_is_left_to_the_hardware() {
    // The device has three pages; RAM follows.
    let mut rig = rig(0, DEVICE + 0x3000 - 4, 1000, 0x41);
    rig.code(&[0xf3, 0xaa]);
    assert_eq!(rig.step(), REPEAT);
    assert_eq!(rig.device.seen.len(), 4);
    assert_eq!(indexes(&rig), (0, DEVICE + 0x3001, 995));
}

#[test]
fn a_page_fault_within_leaves_what_was_done() {
    let mut rig = rig(0, DEVICE + 0x1000 - 6, 4, 0x1122_3344);
    rig.map(DEVICE + 0x1000, 0);
    rig.code(&[0xf3, 0xab]);
    // The second element crosses into the page that is absent.
    let fault = Exception::page_fault(DEVICE + 0x1000, PageFaultCode::WRITE);
    assert_eq!(rig.step(), Outcome::Exception(fault));
    assert_eq!(rig.device.seen, [Seen::Write(DEVICE_GPA + 0xffa, 4, 0x1122_3344)]);
    assert_eq!(indexes(&rig), (0, DEVICE + 0x1000 - 2, 3));
    assert_eq!(rig.registers.rip, CODE);
}

#[test]
fn comparisons_stop_where_they_should() {
    // (code, bytes in the device, RCX and ZF after)
    let cases: &[(&[u8], &[u8], u64, bool)] = &[
        (&[0xf3, 0xae], b"aaab", 1, false),
        (&[0xf3, 0xae], b"aaaaaaaa", 0, true),
        (&[0xf2, 0xae], b"bca", 2, true),
        (&[0xf2, 0xae], b"bbbbb", 0, false),
        (&[0xf3, 0xa6], b"abcX", 1, false),
        (&[0xf3, 0xa6], b"abcde", 0, true),
        (&[0xf2, 0xa6], b"XXcX", 2, true),
    ];
    for (code, bytes, left, zero) in cases {
        let mut rig = rig(DATA, DEVICE, 5, u64::from(b'a'));
        rig.put_ram(DATA, b"abcde");
        rig.device.put(0, bytes);
        rig.run(code);
        assert_eq!((indexes(&rig).2, rig.flag(Rflags::ZF)), (*left, *zero), "{code:x?} {bytes:?}");
    }
}

#[test]
fn the_order_of_a_comparison_is_source_minus_destination() {
    let mut rig = rig(DATA, DEVICE, 0, 0);
    rig.put_ram(DATA, &[1]);
    rig.device.put(0, &[2]);
    rig.run(&[0xa6]);
    assert!(rig.flag(Rflags::CF) && rig.flag(Rflags::SF));
}

#[test]
fn lods_and_stos_use_their_part_of_rax() {
    let mut rig = rig(DEVICE, DEVICE + 0x10, 0, u64::MAX);
    rig.device.put(0, &[0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x08]);
    rig.run(&[0xac]);
    assert_eq!(rig.registers.gpr(Gpr::Rax), 0xffff_ffff_ffff_ff11);
    rig.registers.rip = CODE;
    rig.registers.set_gpr(Gpr::Rsi, DEVICE);
    rig.run(&[0xad]);
    assert_eq!(rig.registers.gpr(Gpr::Rax), 0x4433_2211);
    rig.registers.rip = CODE;
    rig.run(&[0x48, 0xab]);
    assert_eq!(rig.device.get(0x10, 8), [0x11, 0x22, 0x33, 0x44, 0, 0, 0, 0]);
}

#[test]
fn a_32_bit_address_size_uses_and_clears_the_upper_halves() {
    let high = 0xffff_ffff_0000_0000;
    let mut rig = rig(high | DATA, high | DEVICE, high | 3, 0);
    rig.put_ram(DATA, b"xyz");
    rig.run(&[0x67, 0xf3, 0xa4]);
    assert_eq!(rig.device.get(0, 3), b"xyz");
    assert_eq!(indexes(&rig), (DATA + 3, DEVICE + 3, 0));
}

#[test]
fn a_16_bit_index_wraps_and_keeps_what_is_above() {
    let mut rig = Rig::unpaged(PlainRegisters::protected_32());
    rig.registers.segments[0].base = DEVICE_GPA;
    rig.registers.set_gpr(Gpr::Rdi, 0x1234_fffe);
    rig.registers.set_gpr(Gpr::Rcx, 0x5678_0003);
    rig.registers.set_gpr(Gpr::Rax, 0x99);
    rig.run(&[0x67, 0xf3, 0xaa]);
    let at = |offset| Seen::Write(DEVICE_GPA + offset, 1, 0x99);
    assert_eq!(rig.device.seen, [at(0xfffe), at(0xffff), at(0)]);
    assert_eq!(indexes(&rig), (0, 0x1234_0001, 0x5678_0000));
}

#[test]
fn a_source_segment_can_be_overridden_and_a_destination_cannot() {
    let mut rig = rig(0x10, DATA, 0, 0);
    rig.registers.segments[4].base = DEVICE;
    rig.device.put(0x10, &[0x5a]);
    // FS MOVSB
    rig.run(&[0x64, 0xa4]);
    assert_eq!(rig.ram(DATA, 1), [0x5a]);
    rig.registers.rip = CODE;
    rig.registers.set_gpr(Gpr::Rdi, DEVICE + 0x20);
    // FS STOSB stores to ES.
    rig.run(&[0x64, 0xaa]);
    assert_eq!(rig.device.seen.last(), Some(&Seen::Write(DEVICE_GPA + 0x20, 1, 0)));
}

#[test]
fn single_stepping_ends_each_iteration() {
    let mut rig = rig(0, DEVICE, 2, 0);
    rig.registers.rflags |= Rflags::TF;
    rig.code(&[0xf3, 0xaa]);
    assert_eq!(rig.step(), Outcome::Repeat { single_step: true });
    assert_eq!(indexes(&rig).2, 1);
    assert_eq!(rig.step(), Outcome::Done { single_step: true });
}

fn port(rig: &mut Rig, direction: Direction, size: u8) -> Outcome {
    let access = PortAccess { port: 0x3f8, size, direction, string: true, next_rip: 0 };
    emulate_port_string(&mut rig.registers, &rig.memory, &mut rig.device, &access)
}

#[test]
fn ins_and_outs_move_between_port_and_memory() {
    let mut rig = rig(DATA, DATA + 0x100, 3, 0);
    rig.registers.set_gpr(Gpr::Rdx, 0xffff_03f8);
    rig.put_ram(DATA, b"abc");
    rig.code(&[0xf3, 0x6e]);
    assert_eq!(port(&mut rig, Direction::Out, 1), DONE);
    let out = |byte| Seen::Out(0x3f8, 1, u32::from(byte));
    assert_eq!(rig.device.seen, [out(b'a'), out(b'b'), out(b'c')]);
    assert_eq!(indexes(&rig), (DATA + 3, DATA + 0x100, 0));
    rig.registers.rip = CODE;
    rig.registers.set_gpr(Gpr::Rcx, 2);
    rig.code(&[0xf3, 0x66, 0x6d]);
    assert_eq!(port(&mut rig, Direction::In, 2), DONE);
    assert_eq!(rig.ram(DATA + 0x100, 4), [1, 0, 2, 0]);
    assert_eq!(indexes(&rig), (DATA + 3, DATA + 0x104, 0));
    assert_eq!(rig.registers.rip, CODE + 3);
}

#[test]
fn a_port_string_that_the_hardware_did_not_check_is_left_to_it() {
    let mut rig = rig(DATA, DATA, 1, 0);
    rig.registers.set_gpr(Gpr::Rdx, 0x3f8);
    rig.code(&[0x6e]);
    assert_eq!(port(&mut rig, Direction::In, 1), Outcome::Retry);
    assert_eq!(port(&mut rig, Direction::Out, 2), Outcome::Retry);
    rig.registers.set_gpr(Gpr::Rdx, 0x60);
    assert_eq!(port(&mut rig, Direction::Out, 1), Outcome::Retry);
    rig.code(&[0x90]);
    assert_eq!(port(&mut rig, Direction::Out, 1), Outcome::Retry);
    // Found by way of a memory access: user code could reach any port.
    rig.code(&[0x6e]);
    rig.registers.cpl = 3;
    assert_eq!(rig.step(), Outcome::Retry);
    assert!(rig.device.seen.is_empty());
    rig.registers.rflags |= Rflags::IOPL;
    assert_eq!(rig.step(), DONE);
}

#[test]
fn a_destination_that_faults_keeps_the_port_from_being_read() {
    let mut rig = rig(0, DATA, 1, 0);
    rig.registers.set_gpr(Gpr::Rdx, 0x3f8);
    rig.map(DATA, DATA | 1);
    rig.code(&[0x6c]);
    match port(&mut rig, Direction::In, 1) {
        Outcome::Exception(exception) => assert_eq!(exception.vector, Vector::PF),
        other => panic!("{other:?}"),
    }
    assert!(rig.device.seen.is_empty());
}
