//! Control registers and model-specific registers.
use super::rig::{CODE, Rig};
use crate::backend::{Backend, HardwareMsr};
use crate::cpu::{Cr0, Cr4, Efer, Exception, Gpr};
use crate::exit::{Event, Exit};

const GP: Option<Event> = Some(Event::Exception(Exception::gp(0)));

/// WRMSR; what it raised.
fn wrmsr(rig: &mut Rig, msr: u32, value: u64) -> Option<Event> {
    rig.registers().rip = CODE;
    rig.code(&[0x0f, 0x30]);
    let gprs = &mut rig.registers().gprs;
    gprs[Gpr::Rcx as usize] = u64::from(msr) | 0xdead << 32;
    gprs[Gpr::Rax as usize] = value & 0xffff_ffff | 0xbeef << 32;
    gprs[Gpr::Rdx as usize] = value >> 32 | 0xbeef << 32;
    rig.play(&[Exit::WriteMsr]);
    let raised = rig.injected();
    assert_eq!(rig.vcpu().rip(), if raised.is_some() { CODE } else { CODE + 2 });
    raised
}

/// RDMSR: its value, or what it raised.
fn rdmsr(rig: &mut Rig, msr: u32) -> Result<u64, Event> {
    rig.registers().rip = CODE;
    rig.code(&[0x0f, 0x32]);
    let gprs = &mut rig.registers().gprs;
    gprs[Gpr::Rcx as usize] = u64::from(msr) | 0xdead << 32;
    (gprs[Gpr::Rax as usize], gprs[Gpr::Rdx as usize]) = (u64::MAX, u64::MAX);
    let before = *gprs;
    rig.play(&[Exit::ReadMsr]);
    if let Some(event) = rig.injected() {
        assert_eq!((rig.vcpu().rip(), rig.registers().gprs), (CODE, before));
        return Err(event);
    }
    let gprs = rig.registers().gprs;
    assert!(gprs[0] >> 32 == 0 && gprs[2] >> 32 == 0, "upper halves are cleared");
    assert_eq!(rig.vcpu().rip(), CODE + 2);
    Ok(gprs[2] << 32 | gprs[0])
}

#[test]
fn a_register_that_does_not_exist_raises_gp() {
    let mut rig = Rig::new(1);
    for msr in [0x48, 0xe7, 0x1234_5678, 0xc001_0117, u32::MAX] {
        assert!(rdmsr(&mut rig, msr).is_err(), "{msr:#x}");
        assert_eq!(wrmsr(&mut rig, msr, 0), GP, "{msr:#x}");
    }
}

#[test]
fn the_microcode_is_the_host_s() {
    assert_eq!(rdmsr(&mut Rig::new(1), 0x8b), Ok(0x0a20_1016 << 32));
}

#[test]
fn registers_that_the_hardware_switches_are_the_back_end_s() {
    let mut rig = Rig::new(1);
    let all = [
        (0xc000_0081, HardwareMsr::Star),
        (0xc000_0082, HardwareMsr::Lstar),
        (0xc000_0100, HardwareMsr::FsBase),
        (0x174, HardwareMsr::SysenterCs),
        (0x277, HardwareMsr::Pat),
        (0xc000_0103, HardwareMsr::TscAux),
    ];
    for (msr, register) in all {
        assert_eq!(wrmsr(&mut rig, msr, 0x0106), None);
        assert_eq!(rig.back_end().msr(register), 0x0106, "{register:?}");
        assert_eq!(rdmsr(&mut rig, msr), Ok(0x0106), "{register:?}");
    }
    for (msr, bad) in [(0xc000_0082, 1 << 47), (0xc000_0100, 1 << 63), (0x277, 2), (0x277, 5 << 56 | 3 << 8)]
    {
        assert_eq!(wrmsr(&mut rig, msr, bad), GP, "{msr:#x}");
    }
}

#[test]
fn a_guest_that_is_shown_the_prediction_barrier_gets_it() {
    let mut rig = Rig::new(1);
    assert_eq!((wrmsr(&mut rig, 0x49, 0), rig.back_end().barriers), (None, 0));
    assert_eq!((wrmsr(&mut rig, 0x49, 1), rig.back_end().barriers), (None, 1));
    assert_eq!((wrmsr(&mut rig, 0x49, 3), rig.back_end().barriers), (GP, 1));
    assert!(rdmsr(&mut rig, 0x49).is_err());
}

#[test]
fn efer_takes_what_cpuid_shows_and_keeps_lma() {
    let mut rig = Rig::new(1);
    let old = rig.registers().efer;
    assert_eq!(wrmsr(&mut rig, 0xc000_0080, (old | Efer::SCE).difference(Efer::LMA).bits()), None);
    assert_eq!(rig.registers().efer, old | Efer::SCE);
    assert_eq!(rdmsr(&mut rig, 0xc000_0080), Ok((old | Efer::SCE).bits()));
    for bad in [Efer::SVME, Efer::LMSLE, Efer::FFXSR, Efer::TCE] {
        assert_eq!(wrmsr(&mut rig, 0xc000_0080, (old | bad).bits()), GP, "{bad:?}");
    }
    assert_eq!(wrmsr(&mut rig, 0xc000_0080, 1 << 21 | old.bits()), GP, "automatic IBRS is hidden");
}

#[test]
fn long_mode_cannot_be_switched_while_paging_is_on() {
    let mut rig = Rig::new(1);
    assert_eq!(wrmsr(&mut rig, 0xc000_0080, Efer::NXE.bits()), GP);
    rig.registers().cr0 -= Cr0::PG;
    rig.registers().efer = Efer::empty();
    *rig.registers() = crate::cpu::plain::PlainRegisters::protected_32();
    assert_eq!(wrmsr(&mut rig, 0xc000_0080, Efer::LME.bits()), None);
    assert_eq!(rig.registers().efer, Efer::LME);
}

fn write_cr(rig: &mut Rig, cr: u8, value: u64, told: bool) -> Option<Event> {
    rig.registers().rip = CODE;
    // MOV CR4, RBX; MOV CR8, RBX
    let code: &[u8] = if cr == 8 { &[0x44, 0x0f, 0x22, 0xc3] } else { &[0x0f, 0x22, 0xe3] };
    rig.code(code);
    rig.registers().gprs[Gpr::Rbx as usize] = value;
    let source = told.then_some(Gpr::Rbx);
    let next = CODE + code.len() as u64;
    rig.back_end().next_rip = told.then_some(next);
    rig.play(&[Exit::WriteCr { cr, source }]);
    let raised = rig.injected();
    assert_eq!(rig.vcpu().rip(), if raised.is_some() { CODE } else { next });
    rig.back_end().next_rip = None;
    raised
}

#[test]
fn cr4_takes_what_cpuid_shows() {
    for told in [false, true] {
        let mut rig = Rig::new(1);
        let old = rig.registers().cr4;
        for good in [Cr4::PGE, Cr4::PCE, Cr4::SMEP | Cr4::SMAP, Cr4::FSGSBASE, Cr4::PCIDE, Cr4::UMIP] {
            assert_eq!(write_cr(&mut rig, 4, (old | good).bits(), told), None, "{good:?}");
            assert_eq!(rig.registers().cr4, old | good);
            rig.registers().cr4 = old;
        }
        for bad in [Cr4::VMXE, Cr4::SMXE, Cr4::LA57, Cr4::CET, Cr4::PKS, Cr4::PKE] {
            assert_eq!(write_cr(&mut rig, 4, (old | bad).bits(), told), GP, "{bad:?}");
        }
        for bit in (25..64).chain([15, 19]) {
            assert_eq!(write_cr(&mut rig, 4, old.bits() | 1 << bit, told), GP, "bit {bit}");
        }
    }
}

#[test]
fn long_mode_keeps_pae_and_pcid_needs_it_and_a_root_without_one() {
    let mut rig = Rig::new(1);
    let old = rig.registers().cr4;
    assert_eq!(write_cr(&mut rig, 4, (old - Cr4::PAE).bits(), false), GP);
    rig.registers().cr3 |= 1;
    assert_eq!(write_cr(&mut rig, 4, (old | Cr4::PCIDE).bits(), false), GP);
    let mut rig = Rig::new(1);
    *rig.registers() = crate::cpu::plain::PlainRegisters::protected_32();
    assert_eq!(write_cr(&mut rig, 4, Cr4::PCIDE.bits(), false), GP);
    // 32 bits of the source count.
    assert_eq!(write_cr(&mut rig, 4, 1 << 40 | Cr4::PSE.bits(), false), None);
    assert_eq!(rig.registers().cr4, Cr4::PSE);
}

#[test]
fn cr8_is_the_task_priority() {
    let mut rig = Rig::new(1);
    assert_eq!(write_cr(&mut rig, 8, 9, false), None);
    assert_eq!((rig.back_end().cr8(), rig.vcpu().apic.cr8()), (9, 9));
    assert_eq!(write_cr(&mut rig, 8, 16, true), GP);
    assert_eq!(rig.back_end().cr8(), 9);
}

#[test]
fn a_priority_written_to_the_local_apic_is_seen_in_cr8() {
    let mut rig = Rig::new(1);
    assert_eq!(wrmsr(&mut rig, 0x1b, 0xfee0_0d00), None, "x2APIC mode");
    assert_eq!(wrmsr(&mut rig, 0x808, 0x70), None);
    assert_eq!(rig.back_end().cr8(), 7);
    assert_eq!(wrmsr(&mut rig, 0x1b, 0xfee0_0100), None, "off");
    assert_eq!(rig.back_end().cr8(), 0);
}

#[test]
fn x2apic_registers_exist_in_its_mode_only() {
    let mut rig = Rig::new(1);
    assert!(rdmsr(&mut rig, 0x802).is_err());
    assert_eq!(wrmsr(&mut rig, 0x808, 0), GP);
    assert_eq!(wrmsr(&mut rig, 0x1b, 0xfee0_0d00), None);
    assert_eq!(rdmsr(&mut rig, 0x802), Ok(0));
    assert_eq!(rdmsr(&mut rig, 0x1b), Ok(0xfee0_0d00));
    assert_eq!(wrmsr(&mut rig, 0x1b, 0xfee0_0900), GP, "back to xAPIC mode only through off");
}

fn xsetbv(rig: &mut Rig, index: u64, value: u64) -> Option<Event> {
    rig.registers().rip = CODE;
    rig.code(&[0x0f, 0x01, 0xd1]);
    let gprs = &mut rig.registers().gprs;
    gprs[Gpr::Rcx as usize] = index;
    (gprs[Gpr::Rax as usize], gprs[Gpr::Rdx as usize]) = (value & 0xffff_ffff, value >> 32);
    rig.play(&[Exit::Xsetbv]);
    rig.injected()
}

#[test]
fn xcr0_takes_states_that_the_host_switches() {
    let mut rig = Rig::new(1);
    assert_eq!(xsetbv(&mut rig, 0, 7), None);
    assert_eq!((rig.vcpu().extended.xcr0(), rig.vcpu().rip()), (7, CODE + 3));
    for (index, bad) in [(0, 0), (0, 6), (0, 0x207), (0, 1 << 62 | 7), (1, 7)] {
        assert_eq!(xsetbv(&mut rig, index, bad), GP, "{bad:#x}");
    }
    rig.registers().cpl = 3;
    assert_eq!(xsetbv(&mut rig, 0, 3), GP, "privileged");
    assert_eq!(rig.vcpu().extended.xcr0(), 7);
}

#[test]
fn a_write_to_another_control_register_ends_the_vm_with_its_name() {
    let mut rig = Rig::new(1);
    rig.back_end().next_rip = Some(CODE + 3);
    let leave = rig.play(&[Exit::WriteCr { cr: 3, source: Some(Gpr::Rax) }]);
    assert!(format!("{leave:?}").contains("an intercepted write to CR3"), "{leave:?}");
}

#[test]
fn a_control_register_write_that_is_no_longer_there_is_left_to_the_hardware() {
    let mut rig = Rig::new(1);
    // MOV CR4, RBX where CR8 was named; NOP.
    for code in [&[0x0f, 0x22, 0xe3][..], &[0x90; 15]] {
        rig.code(code);
        rig.play(&[Exit::WriteCr { cr: 8, source: None }]);
        assert_eq!((rig.injected(), rig.vcpu().rip()), (None, CODE));
    }
}
