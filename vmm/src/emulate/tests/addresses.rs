//! Addresses: forms, sizes, segments, limits, alignment, and accesses that cross pages.
use super::rig::{AROUND, CODE, DATA, DEVICE, DEVICE_GPA, Rig, Seen};
use crate::cpu::plain::PlainRegisters;
use crate::cpu::{
    Cr0, Exception, Gpr, PageFaultCode, Registers, Rflags, SegmentAttributes, SegmentRegister, Vector,
};
use crate::emulate::Outcome;

const DONE: Outcome = Outcome::Done { single_step: false };

/// The address that the only access of an instruction went to.
fn reached(rig: &Rig) -> u64 {
    match rig.device.seen[..] {
        [Seen::Read(at, _) | Seen::Write(at, _, _)] => at,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn all_forms_of_64_bit_addresses_are_computed() {
    let at = DEVICE.to_le_bytes();
    let (a, b, c, d) = (at[0], at[1], at[2], at[3]);
    // RAX = DEVICE, RCX = 0x20, R9 = -16, RBP and R13 = DEVICE + 0x100, R12 = DEVICE.
    let cases: &[(&[u8], u64)] = &[
        (&[0x8b, 0x10], 0),
        (&[0x8b, 0x50, 0x7f], 0x7f),
        (&[0x8b, 0x90, 0x00, 0x01, 0x00, 0x00], 0x100),
        (&[0x8b, 0x14, 0x88], 0x80),
        (&[0x8b, 0x54, 0xc8, 0xfc], 0xfc),
        (&[0x42, 0x8b, 0x54, 0x48, 0x20], 0),
        (&[0x8b, 0x55, 0x00], 0x100),
        (&[0x8b, 0x54, 0x0d, 0x00], 0x120),
        (&[0x41, 0x8b, 0x55, 0x04], 0x104),
        (&[0x41, 0x8b, 0x14, 0x24], 0),
        (&[0x8b, 0x14, 0x25, a, b, c, d], 0),
        (&[0x8b, 0x14, 0x8d, a, b, c, d], 0x80),
        (&[0xa1, a, b, c, d, 0, 0, 0, 0], 0),
        (&[0xa2, a, b, c, d, 0, 0, 0, 0], 0),
        // 32-bit address size: the sum is cut.
        (&[0x67, 0x8b, 0x10], 0),
        (&[0x67, 0xa1, a, b, c, d], 0),
        (&[0x67, 0x42, 0x8b, 0x54, 0x48, 0x20], 0),
        // RIP-relative, also with an immediate behind.
        (&[0x8b, 0x15, 0xfa, 0xcf, 0x00, 0x00], 0),
        (&[0xc7, 0x05, 0xf6, 0xcf, 0x00, 0x00, 1, 2, 3, 4], 0),
        (&[0x66, 0xc7, 0x05, 0xf7, 0xcf, 0x00, 0x00, 1, 2], 0),
    ];
    for &(code, offset) in cases {
        let mut rig = Rig::long_mode();
        rig.registers.gprs[0] = DEVICE;
        rig.registers.gprs[1] = 0x20;
        rig.registers.gprs[9] = 0xffff_fff0;
        if code[0] != 0x67 {
            rig.registers.gprs[9] = -16i64 as u64;
        }
        rig.registers.gprs[5] = DEVICE + 0x100;
        rig.registers.gprs[13] = DEVICE + 0x100;
        rig.registers.gprs[12] = DEVICE;
        rig.run(code);
        assert_eq!(reached(&rig), DEVICE_GPA + offset, "{code:02x?}");
    }
}

#[test]
fn the_forms_of_16_bit_addresses_are_computed() {
    // BX = 0x100, BP = 0x200, SI = 0x30, DI = 4.
    let cases: &[(&[u8], u64)] = &[
        (&[0x8a, 0x00], 0x130),
        (&[0x8a, 0x01], 0x104),
        (&[0x8a, 0x02], 0x230),
        (&[0x8a, 0x03], 0x204),
        (&[0x8a, 0x04], 0x30),
        (&[0x8a, 0x05], 4),
        (&[0x8a, 0x06, 0x34, 0x12], 0x1234),
        (&[0x8a, 0x07], 0x100),
        (&[0x8a, 0x46, 0xff], 0x1ff),
        (&[0x8a, 0x87, 0x00, 0xff], 0),
        (&[0xa0, 0x10, 0x00], 0x10),
        (&[0x67, 0x8a, 0x03], 0x100),
    ];
    for &(code, offset) in cases {
        let mut rig = Rig::unpaged(PlainRegisters::real_mode());
        rig.registers.gprs[3] = 0x100;
        rig.registers.gprs[5] = 0xffff_0200;
        rig.registers.gprs[6] = 0xffff_0030;
        rig.registers.gprs[7] = 0xffff_0004;
        for segment in [SegmentRegister::Ds, SegmentRegister::Ss] {
            rig.registers.segments[segment as usize].base = DEVICE_GPA;
        }
        rig.run(code);
        assert_eq!(reached(&rig), DEVICE_GPA + offset, "{code:02x?}");
    }
}

#[test]
fn fs_and_gs_have_a_base_in_64_bit_mode_and_the_others_none() {
    let mut rig = Rig::long_mode();
    for segment in &mut rig.registers.segments {
        segment.base = 0x20;
    }
    rig.registers.gprs[0] = DEVICE;
    for (prefix, offset) in [(0x64, 0x20), (0x65, 0x20), (0x3e, 0), (0x26, 0)] {
        rig.registers.rip = CODE;
        rig.device.seen.clear();
        rig.run(&[prefix, 0x8b, 0x08]);
        assert_eq!(reached(&rig), DEVICE_GPA + offset);
    }
}

#[test]
fn an_address_that_is_not_canonical_is_gp_or_with_the_stack_ss() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = 1 << 47;
    rig.registers.gprs[5] = (1 << 47) - 2;
    rig.code(&[0x89, 0x08]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
    // The last byte counts as well, and RBP means SS.
    rig.code(&[0x89, 0x4d, 0x00]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::ss(0)));
    assert!(rig.device.seen.is_empty());
}

#[test]
fn an_access_across_pages_reaches_both_parts_in_order() {
    let mut rig = Rig::long_mode();
    // The first bytes lie in RAM, the rest in the device.
    rig.registers.gprs[0] = DEVICE - 3;
    rig.registers.gprs[1] = 0x8877_6655_4433_2211;
    rig.run(&[0x48, 0x89, 0x08]);
    assert_eq!(rig.ram(AROUND + 0xffd, 3), [0x11, 0x22, 0x33]);
    assert_eq!(rig.device.get(0, 5), [0x44, 0x55, 0x66, 0x77, 0x88]);
    assert_eq!(
        rig.device.seen,
        [Seen::Write(DEVICE_GPA, 4, 0x7766_5544), Seen::Write(DEVICE_GPA + 4, 1, 0x88)]
    );
    // Read back as one.
    rig.registers.gprs[1] = 0;
    rig.run(&[0x48, 0x8b, 0x08]);
    assert_eq!(rig.registers.gprs[1], 0x8877_6655_4433_2211);
    // Both pages are the device's, and need not be neighbours.
    rig.map(DEVICE + 0x1000, (DEVICE_GPA + 0x5000) | 7);
    rig.device.seen.clear();
    rig.registers.gprs[0] = DEVICE + 0xffe;
    rig.run(&[0x89, 0x08]);
    assert_eq!(
        rig.device.seen,
        [Seen::Write(DEVICE_GPA + 0xffe, 2, 0x2211), Seen::Write(DEVICE_GPA + 0x5000, 2, 0x4433)]
    );
}

#[test]
fn a_fault_on_the_second_page_comes_before_any_effect() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE + 0x2ffe;
    rig.map(DEVICE + 0x3000, (DEVICE + 0x3000) | 1);
    for (code, allowed) in [(&[0x89, 0x08][..], false), (&[0x01, 0x08], false), (&[0x8b, 0x08], true)] {
        rig.registers.rip = CODE;
        rig.device.seen.clear();
        rig.code(code);
        if allowed {
            assert_eq!(rig.step(), DONE);
            continue;
        }
        let code = PageFaultCode::PRESENT | PageFaultCode::WRITE;
        assert_eq!(rig.step(), Outcome::Exception(Exception::page_fault(DEVICE + 0x3000, code)));
        assert!(rig.device.seen.is_empty());
    }
}

#[test]
fn a_read_modify_write_faults_as_a_write() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE;
    rig.registers.cpl = 3;
    rig.map(DEVICE, DEVICE_GPA | 5);
    let code = PageFaultCode::PRESENT | PageFaultCode::WRITE | PageFaultCode::USER;
    // ADD, NEG, XCHG, XADD, CMPXCHG, BTS, SHL
    let all: [&[u8]; 7] = [
        &[0x01, 0x08],
        &[0xf7, 0x18],
        &[0x87, 0x08],
        &[0x0f, 0xc1, 0x08],
        &[0x0f, 0xb1, 0x08],
        &[0x0f, 0xba, 0x28, 0x03],
        &[0xd1, 0x20],
    ];
    for bytes in all {
        rig.code(bytes);
        let fault = Exception::page_fault(DEVICE, code);
        assert_eq!(rig.step(), Outcome::Exception(fault), "{bytes:02x?}");
    }
    assert!(rig.device.seen.is_empty());
    // CMP, TEST and BT only read.
    for bytes in [&[0x39, 0x08][..], &[0x85, 0x08], &[0x0f, 0xba, 0x20, 0x03]] {
        rig.run(bytes);
    }
}

#[test]
fn alignment_is_checked_where_all_three_say_so() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE + 1;
    let mut step = |am: bool, ac: bool, cpl: u8, code: &[u8]| {
        rig.registers.rip = CODE;
        rig.registers.cr0.set(Cr0::AM, am);
        rig.registers.rflags.set(Rflags::AC, ac);
        rig.registers.cpl = cpl;
        rig.code(code);
        rig.step()
    };
    assert_eq!(step(true, true, 3, &[0x8b, 0x08]), Outcome::Exception(Exception::ac()));
    assert_eq!(step(true, true, 3, &[0x8a, 0x08]), DONE);
    assert_eq!(step(false, true, 3, &[0x8b, 0x08]), DONE);
    assert_eq!(step(true, false, 3, &[0x8b, 0x08]), DONE);
    assert_eq!(step(true, true, 0, &[0x8b, 0x08]), DONE);
}

#[test]
fn vector_moves_that_demand_alignment_get_it() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE + 8;
    for code in [&[0x0f, 0x28, 0x00][..], &[0x66, 0x0f, 0x7f, 0x00], &[0x0f, 0x2b, 0x00]] {
        rig.code(code);
        assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)), "{code:02x?}");
    }
    rig.code(&[0xf0, 0x48, 0x0f, 0xc7, 0x08]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)), "CMPXCHG16B");
    rig.run(&[0x0f, 0x10, 0x00]);
    assert_eq!(rig.device.seen, [Seen::Read(DEVICE_GPA + 8, 8), Seen::Read(DEVICE_GPA + 16, 8)]);
}

#[test]
fn vector_moves_need_the_systems_consent() {
    let code = [0x0f, 0x10, 0x00];
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE;
    rig.code(&code);
    rig.registers.cr0 |= Cr0::TS;
    assert_eq!(rig.step(), Outcome::Exception(Exception::NM));
    rig.registers.cr0 = (rig.registers.cr0 - Cr0::TS) | Cr0::EM;
    assert_eq!(rig.step(), Outcome::Exception(Exception::UD));
    assert!(rig.device.seen.is_empty());
}

/// Limits and rights of segments in 32-bit protected mode.
#[test]
fn segments_are_checked_in_protected_mode() {
    type Setting = fn(&mut crate::cpu::Segment);
    let writable = SegmentAttributes::READ_WRITE;
    let (load, store): (&[u8], &[u8]) = (&[0x8b, 0x08], &[0x89, 0x08]);
    // (what is done to DS, EAX, code, whether it passes)
    let limit: Setting = |s| s.limit = 0x103;
    let down: Setting = |s| {
        s.limit = 0xff;
        s.attributes.0 |= SegmentAttributes::CONFORMING_OR_EXPAND_DOWN;
    };
    let null: Setting = |s| *s = Default::default();
    let read_only: Setting = |s| s.attributes.0 &= !SegmentAttributes::READ_WRITE;
    let code: Setting = |s| s.attributes.0 |= SegmentAttributes::CODE;
    let execute_only: Setting = |s| {
        s.attributes.0 |= SegmentAttributes::CODE;
        s.attributes.0 &= !SegmentAttributes::READ_WRITE;
    };
    assert!(PlainRegisters::protected_32().segments[3].attributes.has(writable));
    let cases: &[(Setting, u64, &[u8], bool)] = &[
        (limit, 0x100, load, true),
        (limit, 0x101, load, false),
        (limit, 0x101, store, false),
        (limit, 0xffff_fffe, load, false),
        (down, 0x100, store, true),
        (down, 0xff, store, false),
        (down, 0xffff_fffc, load, true),
        (down, 0xffff_fffe, load, false),
        (null, 0, load, false),
        (read_only, 0, load, true),
        (read_only, 0, store, false),
        (code, 0, load, true),
        (code, 0, store, false),
        (execute_only, 0, load, false),
    ];
    for (i, &(setting, eax, bytes, passes)) in cases.iter().enumerate() {
        for segment in [SegmentRegister::Ds, SegmentRegister::Ss] {
            let mut rig = Rig::unpaged(PlainRegisters::protected_32());
            rig.registers.segments[segment as usize].base = DEVICE_GPA;
            setting(&mut rig.registers.segments[segment as usize]);
            if segment == SegmentRegister::Ds {
                rig.registers.gprs[0] = eax;
                rig.code(bytes);
            } else {
                // The same with [EBP + 0].
                rig.registers.gprs[5] = eax;
                rig.code(&[bytes[0], 0x4d, 0x00]);
            }
            let vector = match rig.step() {
                Outcome::Done { .. } => None,
                Outcome::Exception(exception) => Some((exception.vector, exception.error_code)),
                other => panic!("{other:?}"),
            };
            let fault = if segment == SegmentRegister::Ds { Vector::GP } else { Vector::SS };
            let expected = (!passes).then_some((fault, Some(0)));
            assert_eq!(vector, expected, "case {i}, {segment:?}");
        }
    }
}

#[test]
fn real_mode_has_no_rights_but_limits_which_may_be_unreal() {
    let mut rig = Rig::unpaged(PlainRegisters::real_mode());
    rig.registers.segments[3].base = DEVICE_GPA - 0x1_0000;
    rig.registers.segments[3].attributes.0 &= !SegmentAttributes::READ_WRITE;
    rig.registers.gprs[3] = 0x1_0010;
    // MOV [EBX], AL with a 32-bit address
    rig.code(&[0x67, 0x88, 0x03]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
    rig.registers.segments[3].limit = 0xffff_ffff;
    assert_eq!(rig.step(), DONE);
    assert_eq!(reached(&rig), DEVICE_GPA + 0x10);
}

#[test]
fn linear_addresses_wrap_at_4_gib_outside_of_64_bit_mode() {
    let mut rig = Rig::unpaged(PlainRegisters::protected_32());
    rig.registers.segments[3].base = 0xffff_f000;
    rig.registers.gprs[0] = 0xffe;
    rig.registers.gprs[1] = 0x4433_2211;
    rig.run(&[0x89, 0x08]);
    assert_eq!(rig.device.seen, [Seen::Write(0xffff_fffe, 2, 0x2211)]);
    assert_eq!(rig.ram(0, 2), [0x33, 0x44]);
}

#[test]
fn bit_offsets_lead_away_from_the_operand_and_wrap_at_the_address_size() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DEVICE + 0x100;
    rig.registers.gprs[1] = -33i64 as u64;
    // BTS [RAX], ECX
    rig.run(&[0x0f, 0xab, 0x08]);
    assert_eq!(
        rig.device.seen,
        [Seen::Read(DEVICE_GPA + 0xf8, 4), Seen::Write(DEVICE_GPA + 0xf8, 4, 1 << 31)]
    );
    // Far away is an address like any other, with its faults.
    rig.registers.gprs[1] = i64::MAX as u64;
    rig.code(&[0x48, 0x0f, 0xab, 0x08]);
    assert_eq!(rig.step(), Outcome::Exception(Exception::gp(0)));
    let mut rig = Rig::unpaged(PlainRegisters::real_mode());
    rig.registers.segments[3].base = DEVICE_GPA;
    rig.registers.set_gpr(Gpr::Rbx, 0xfffe);
    rig.registers.set_gpr(Gpr::Rcx, 16);
    // BT [BX], CX wraps to offset 0.
    rig.run(&[0x0f, 0xa3, 0x0f]);
    assert_eq!(rig.device.seen, [Seen::Read(DEVICE_GPA, 2)]);
}

#[test]
fn xlat_adds_al_to_rbx() {
    let mut rig = Rig::long_mode();
    rig.registers.set_gpr(Gpr::Rbx, DEVICE);
    rig.registers.set_gpr(Gpr::Rax, 0xffff_fff0);
    rig.device.put(0xf0, &[0x77]);
    rig.run(&[0xd7]);
    assert_eq!(rig.registers.gpr(Gpr::Rax), 0xffff_ff77);
}

#[test]
fn a_lock_on_ram_is_atomic_or_left_to_the_hardware() {
    let mut rig = Rig::long_mode();
    rig.registers.gprs[0] = DATA;
    rig.registers.gprs[1] = 5;
    rig.put_ram(DATA, &[7, 0, 0, 0]);
    rig.run(&[0xf0, 0x0f, 0xc1, 0x08]);
    assert_eq!((rig.ram(DATA, 4), rig.registers.gprs[1]), (vec![12, 0, 0, 0], 7));
    // Misaligned, or 16 bytes.
    for (at, code) in [(DATA + 1, &[0xf0, 0x01, 0x08][..]), (DATA, &[0xf0, 0x48, 0x0f, 0xc7, 0x08])] {
        rig.registers.gprs[0] = at;
        rig.code(code);
        assert_eq!(rig.step(), Outcome::Retry);
    }
}
