//! Instructions that leave the guest: what they do, where RIP is then, what is raised instead.
use super::rig::{CODE, Rig};
use crate::cpu::{Exception, Gpr, PageFaultCode, Rflags, Vector};
use crate::exit::{Event, Exit, Forbidden};
use crate::policy::hypercall::{INVALID_ARGUMENT, NO_SUCH_CALL, NOT_PERMITTED};
use crate::vcpu::{Activity, Leave};
use mm::addr::Gpa;

fn raised(exception: Exception) -> Option<Event> {
    Some(Event::Exception(exception))
}

/// Exit, code, and the length of the code.
const SIMPLE: &[(Exit, &[u8])] = &[
    (Exit::Cpuid, &[0x0f, 0xa2]),
    (Exit::Pause, &[0xf3, 0x90]),
    (Exit::Hypercall, &[0x0f, 0x01, 0xd9]),
    (Exit::CacheFlush, &[0x0f, 0x08]),
    (Exit::CacheFlush, &[0x0f, 0x09]),
    // With prefixes: the length is that of the whole instruction.
    (Exit::CacheFlush, &[0xf3, 0x0f, 0x09]),
    (Exit::Cpuid, &[0x2e, 0x66, 0x0f, 0xa2]),
];

#[test]
fn rip_is_behind_an_instruction_whose_length_the_hardware_does_not_tell() {
    for &(exit, code) in SIMPLE {
        let mut rig = Rig::new(1);
        rig.code(code);
        rig.play(&[exit]);
        assert_eq!(rig.vcpu().rip(), CODE + code.len() as u64, "{code:02x?}");
        assert_eq!(rig.vcpu().pending, None);
    }
}

#[test]
fn rip_is_where_the_hardware_says_that_it_is() {
    for &(exit, _) in SIMPLE {
        let mut rig = Rig::new(1);
        rig.code(&[0; 16]);
        rig.back_end().next_rip = Some(CODE + 7);
        rig.play(&[exit]);
        assert_eq!(rig.vcpu().rip(), CODE + 7, "{exit:?}");
    }
}

#[test]
fn an_instruction_that_was_changed_under_us_is_left_to_the_hardware() {
    for exit in
        [Exit::Cpuid, Exit::ReadMsr, Exit::WriteMsr, Exit::Halt, Exit::Hypercall, Exit::Xsetbv, Exit::Int1]
    {
        let mut rig = Rig::new(1);
        rig.code(&[0x90; 16]);
        let before = rig.registers().clone();
        rig.play(&[exit]);
        assert_eq!(*rig.registers(), before, "{exit:?}");
        assert_eq!(rig.injected(), None, "{exit:?}");
        assert_eq!(rig.vcpu().activity(), Activity::Running, "{exit:?}");
    }
}

#[test]
fn an_instruction_that_can_no_longer_be_fetched_raises_the_page_fault() {
    let mut rig = Rig::new(1);
    // Unmapped: the fifth GiB.
    rig.registers().rip = 4 << 30;
    rig.play(&[Exit::Cpuid]);
    assert_eq!(rig.injected(), raised(Exception::page_fault(4 << 30, PageFaultCode::FETCH)));
    assert_eq!(rig.back_end().cr2, 4 << 30);
}

#[test]
fn cpuid_fills_four_registers_and_clears_their_upper_halves() {
    let mut rig = Rig::new(1);
    rig.code(&[0x0f, 0xa2]);
    rig.registers().gprs[..4].copy_from_slice(&[1 << 32, 2 << 32, u64::MAX, u64::MAX]);
    rig.play(&[Exit::Cpuid]);
    let expected = [0xd, 0x444d_4163, 0x6974_6e65, 0x6874_7541];
    assert_eq!(rig.registers().gprs[..4], expected, "AuthenticAMD");
}

#[test]
fn cpuid_shows_what_the_guest_has_switched_on() {
    let mut rig = Rig::new(1);
    rig.code(&[0x0f, 0xa2]);
    let osxsave = |rig: &mut Rig, on| {
        rig.registers().cr4.set(crate::cpu::Cr4::OSXSAVE, on);
        (rig.registers().rip, rig.registers().gprs[0]) = (CODE, 1);
        rig.play(&[Exit::Cpuid]);
        rig.registers().gprs[1] & 1 << 27 != 0
    };
    assert!(osxsave(&mut rig, true) && !osxsave(&mut rig, false));
}

#[test]
fn a_halted_vcpu_gives_its_cpu_back_until_an_interrupt() {
    let mut rig = Rig::new(1);
    rig.code(&[0xf4]);
    rig.registers().rflags |= Rflags::IF;
    assert_eq!(rig.play(&[Exit::Halt]), Leave::Blocked { until: None });
    assert_eq!((rig.vcpu().activity(), rig.vcpu().rip()), (Activity::Halted, CODE + 1));
    assert_eq!(rig.play(&[]), Leave::Blocked { until: None }, "still");
    rig.shared.fabric.deliver(crate::platform::apic::InterruptMessage::fixed(0, 0x40));
    assert_eq!(rig.play(&[]), Leave::Attention);
    assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0x40))));
    assert_eq!(rig.vcpu().activity(), Activity::Running);
}

#[test]
fn hlt_with_interrupts_off_is_for_good_but_for_an_nmi() {
    let mut rig = Rig::new(1);
    rig.code(&[0xf4]);
    rig.play(&[Exit::Halt]);
    assert_eq!(rig.vcpu().activity(), Activity::HaltedForGood);
    rig.shared.fabric.deliver(crate::platform::apic::InterruptMessage::fixed(0, 0x40));
    assert_eq!(rig.play(&[]), Leave::Blocked { until: None });
    rig.shared.fabric.nmi(0);
    assert_eq!(rig.play(&[]), Leave::Attention);
    assert_eq!(rig.injected(), Some(Event::Nmi));
}

#[test]
fn a_guest_that_spins_lets_others_run() {
    let mut rig = Rig::new(1);
    rig.code(&[0xf3, 0x90]);
    assert_eq!(rig.play(&[Exit::Pause]), Leave::Yield);
    assert_eq!(rig.vcpu().rip(), CODE + 2);
}

#[test]
fn single_stepping_traps_behind_each_emulated_instruction() {
    for &(exit, code) in SIMPLE {
        let mut rig = Rig::new(1);
        rig.code(code);
        rig.registers().rflags |= Rflags::TF;
        if rig.play(&[exit]) == Leave::Yield {
            rig.play(&[]);
        }
        assert_eq!(rig.injected(), raised(Exception::DB), "{code:02x?}");
        assert_eq!(rig.back_end().dr6 & 1 << 14, 1 << 14);
        let entry = *rig.back_end().entries.last().unwrap();
        assert_eq!(entry.rip, CODE + code.len() as u64, "a trap, not a fault");
    }
}

#[test]
fn a_single_step_over_hlt_does_not_halt() {
    let mut rig = Rig::new(1);
    rig.code(&[0xf4]);
    rig.registers().rflags |= Rflags::TF;
    assert_eq!(rig.play(&[Exit::Halt]), Leave::Attention);
    assert_eq!(rig.injected(), raised(Exception::DB));
}

#[test]
fn an_emulated_instruction_ends_the_shadow_and_the_resume_flag() {
    let mut rig = Rig::new(1);
    rig.code(&[0x0f, 0xa2]);
    rig.registers().rflags |= Rflags::RF;
    rig.back_end().shadow = true;
    rig.play(&[Exit::Cpuid]);
    assert!(!rig.back_end().shadow && !rig.registers().rflags.contains(Rflags::RF));
}

#[test]
fn int1_is_a_trap_that_dr6_does_not_tell_of() {
    let mut rig = Rig::new(1);
    rig.code(&[0xf1]);
    rig.play(&[Exit::Int1]);
    assert_eq!(rig.injected(), raised(Exception::DB));
    assert_eq!((rig.vcpu().rip(), rig.back_end().dr6), (CODE + 1, 0));
}

#[test]
fn what_the_virtual_machine_has_not_raises_ud() {
    use Forbidden::{Clgi, Monitor, Mwait, Other, Rsm, Skinit, Stgi, Vmload, Vmrun, Vmsave};
    for what in [Vmrun, Vmload, Vmsave, Stgi, Clgi, Skinit, Rsm, Monitor, Mwait, Other] {
        let mut rig = Rig::new(1);
        rig.play(&[Exit::Forbidden(what)]);
        assert_eq!(rig.injected(), raised(Exception::UD), "{what:?}");
        assert_eq!(rig.vcpu().rip(), CODE, "a fault");
    }
}

#[test]
fn there_are_no_performance_counters() {
    let mut rig = Rig::new(1);
    rig.play(&[Exit::ReadPmc]);
    assert_eq!(rig.injected(), raised(Exception::gp(0)));
}

#[test]
fn a_fault_sets_the_resume_flag_that_it_pushes_and_a_debug_exception_does_not() {
    let mut rig = Rig::new(1);
    rig.play(&[Exit::ReadPmc]);
    assert!(rig.registers().rflags.contains(Rflags::RF));
    let mut rig = Rig::new(1);
    rig.play(&[Exit::Exception(Exception::DB)]);
    assert!(!rig.registers().rflags.contains(Rflags::RF));
}

#[test]
fn an_intercepted_exception_is_the_guest_s() {
    for exception in [Exception::DB, Exception::ac()] {
        let mut rig = Rig::new(1);
        rig.play(&[Exit::Exception(exception)]);
        assert_eq!(rig.injected(), raised(exception));
    }
}

#[test]
fn exits_of_the_host_s_concern_change_nothing() {
    for exit in [Exit::HostInterrupt, Exit::HostNmi, Exit::InterruptWindow, Exit::NmiWindow, Exit::InitOrSmi]
    {
        let mut rig = Rig::new(1);
        let before = rig.registers().clone();
        assert_eq!(rig.play(&[exit]), Leave::Attention);
        assert_eq!(*rig.registers(), before, "{exit:?}");
        assert_eq!(rig.back_end().entries.len(), 2, "{exit:?}");
        assert_eq!(rig.injected(), None);
    }
}

fn hypercall(rig: &mut Rig, rax: u64, arguments: [u64; 4]) -> u64 {
    rig.registers().rip = CODE;
    rig.code(&[0x0f, 0x01, 0xd9]);
    rig.registers().gprs[Gpr::Rax as usize] = rax;
    for (gpr, value) in [Gpr::Rbx, Gpr::Rcx, Gpr::Rdx, Gpr::Rsi].into_iter().zip(arguments) {
        rig.registers().gprs[gpr as usize] = value;
    }
    rig.play(&[Exit::Hypercall]);
    rig.registers().gprs[Gpr::Rax as usize]
}

#[test]
fn a_hypercall_of_user_mode_or_of_an_unknown_number_gets_its_error() {
    let mut rig = Rig::new(1);
    assert_eq!(hypercall(&mut rig, 99, [0; 4]), NO_SUCH_CALL);
    assert_eq!(hypercall(&mut rig, 5, [0; 4]), NO_SUCH_CALL, "hidden");
    rig.registers().cpl = 3;
    assert_eq!(hypercall(&mut rig, 10, [1, 0, 0, 0x40]), NOT_PERMITTED);
    assert_eq!(rig.take_bells(), []);
}

#[test]
fn one_hypercall_interrupts_many_vcpus() {
    let mut rig = Rig::new(4);
    for seat in &mut rig.seats {
        seat.vcpu.apic.mmio_write(0xf0, 4, 0x1ff, 0);
    }
    // vCPUs 1 to 3, and 60 that don't exist.
    assert_eq!(hypercall(&mut rig, 10, [u64::MAX, 0, 1, 0x55]), 3);
    assert_eq!(rig.take_bells(), [1, 2, 3]);
    // NMI to oneself.
    assert_eq!(hypercall(&mut rig, 10, [1, 0, 0, 0x400]), 1);
    assert_eq!(rig.injected(), Some(Event::Nmi));
}

#[test]
fn the_hypercall_that_interrupts_sends_nothing_else() {
    let mut rig = Rig::new(2);
    // INIT, start-up, SMI, ExtINT, lowest priority.
    for icr in [0x500, 0x600, 0x200, 0x700, 0x100] {
        assert_eq!(hypercall(&mut rig, 10, [2, 0, 0, icr]), INVALID_ARGUMENT, "{icr:#x}");
    }
    // Everybody's address is nobody's.
    assert_eq!(hypercall(&mut rig, 10, [3, 0, u64::from(u32::MAX), 0x40]), 0);
    assert_eq!(rig.take_bells(), []);
}

#[test]
fn outside_of_64_bit_mode_registers_and_rip_have_32_bits() {
    let mut rig = Rig::new(1);
    *rig.registers() = crate::cpu::plain::PlainRegisters::protected_32();
    rig.registers().rip = CODE;
    assert_eq!(hypercall(&mut rig, 5 << 32 | 99, [0; 4]), NO_SUCH_CALL & 0xffff_ffff);
    assert_eq!(rig.vcpu().rip_after(2), CODE + 5);
    rig.registers().rip = 0xffff_ffff;
    assert_eq!(rig.vcpu().rip_after(2), 1);
}

#[test]
fn code_at_the_end_of_ram_is_executed_and_beyond_it_is_all_ones() {
    let mut rig = Rig::new(1);
    let end = rig.shared.memory.layout().low_end;
    rig.shared.memory.write(Gpa::new(end - 2), &[0x0f, 0xa2]).unwrap();
    rig.registers().rip = end - 2;
    rig.play(&[Exit::Cpuid]);
    assert_eq!(rig.vcpu().rip(), end);
}
