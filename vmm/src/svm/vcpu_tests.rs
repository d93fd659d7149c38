//! The book-keeping around an entry, on the host, where nothing enters a guest.
use super::*;

pub fn zeroed_vmcb() -> Box<Vmcb> {
    vmcb::zeroed()
}

fn vcpu() -> (SvmVcpu, Processor) {
    let features = Features::NESTED_PAGING | Features::CLEAN_BITS;
    let mut vcpu = SvmVcpu::new(Hpa::new(0x1000), Hpa::new(0x8000), features, |_| Hpa::new(0x2000));
    vcpu.reset(&crate::load::reset_vector());
    (vcpu, Processor::new(0, 16, false, Hpa::new(0x3000)))
}

#[test]
fn an_injected_event_is_delivered_once() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.inject(Event::Exception(Exception::page_fault(0x1234, crate::cpu::PageFaultCode::WRITE)));
    assert_eq!(vcpu.vmcb.control.event_injection, 0x2_8000_0b0e);
    assert_eq!(vcpu.vmcb.save.cr2, 0x1234);
    vcpu.enter(&mut cpu);
    assert_eq!(vcpu.vmcb.control.event_injection, 0);
}

#[test]
fn an_interrupt_that_the_guest_did_not_come_to_take_comes_back_once() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.set_cr8(3);
    vcpu.want_interrupt_window(true);
    vcpu.inject(Event::Interrupt(Vector(0xec)));
    vcpu.want_interrupt_window(true);
    let state = vcpu.vmcb.control.virtual_interrupt;
    assert_eq!(state >> 32, 0xec);
    assert_eq!(state & 0xff_ffff, vmcb::V_IRQ | vmcb::V_IGN_TPR | 0xe << 16 | 3);
    assert!(!vcpu.vmcb.control.intercepts(VINTR), "it is to be taken, not intercepted");
    vcpu.vmcb.control.exit_code = 0x60;
    // No CPU clears V_IRQ here: the host's interrupt came first.
    vcpu.enter(&mut cpu);
    assert_eq!(vcpu.interrupted_event(), Some(Event::Interrupt(Vector(0xec))));
    assert_eq!(vcpu.interrupted_event(), None);
    assert_eq!(vcpu.vmcb.control.virtual_interrupt, vmcb::V_INTR_MASKING | 3);
    vcpu.inject(Event::Interrupt(Vector(0xec)));
    vcpu.vmcb.control.virtual_interrupt &= !vmcb::V_IRQ;
    vcpu.withdraw(Offer { vector: Vector(0xec), waits: false });
    assert_eq!(vcpu.interrupted_event(), None, "it was taken");
}

#[test]
fn an_interrupt_waits_in_the_vmcb_for_a_guest_that_is_closed() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.vmcb.control.exit_code = 0x60;
    let offer = |vcpu: &mut SvmVcpu| {
        assert!(vcpu.deliver_when_open(Vector(0x51)));
        let state = vcpu.vmcb.control.virtual_interrupt;
        assert_eq!((state >> 32, state & vmcb::V_IRQ), (0x51, vmcb::V_IRQ));
        assert!(!vcpu.vmcb.control.intercepts(VINTR), "it is to be taken, not intercepted");
    };
    offer(&mut vcpu);
    vcpu.enter(&mut cpu);
    assert!(!vcpu.took_interrupt() && vcpu.interrupted_event().is_none());
    assert_eq!(vcpu.vmcb.control.virtual_interrupt, vmcb::V_INTR_MASKING);
    // The CPU clears V_IRQ where the guest takes it.
    offer(&mut vcpu);
    vcpu.vmcb.control.virtual_interrupt &= !vmcb::V_IRQ;
    vcpu.conclude();
    assert!(vcpu.took_interrupt() && !vcpu.took_interrupt());
    assert_eq!(vcpu.interrupted_event(), None);
    // An exit on the way to the handler: it was taken, and is to be delivered again.
    for v_irq in [0, vmcb::V_IRQ] {
        offer(&mut vcpu);
        let control = &mut vcpu.vmcb.control;
        control.virtual_interrupt = control.virtual_interrupt & !vmcb::V_IRQ | v_irq;
        control.exit_int_info = 0x8000_0051;
        vcpu.conclude();
        assert!(vcpu.took_interrupt());
        assert_eq!(vcpu.interrupted_event(), Some(Event::Interrupt(Vector(0x51))));
    }
}

#[test]
fn an_event_whose_delivery_was_interrupted_comes_back_unless_its_instruction_raises_it_again() {
    let (mut vcpu, _) = vcpu();
    let mut came_back = |info| {
        vcpu.vmcb.control.exit_int_info = info;
        let event = vcpu.interrupted_event();
        assert_eq!(vcpu.interrupted_event(), None, "once");
        event
    };
    assert_eq!(came_back(0x8000_0030), Some(Event::Interrupt(Vector(0x30))));
    assert_eq!(came_back(0x8000_0202), Some(Event::Nmi));
    assert_eq!(
        came_back(0x10_8000_0b0d),
        Some(Event::Exception(Exception { vector: Vector::GP, error_code: Some(0x10), fault_address: None }))
    );
    assert_eq!(came_back(0x8000_0480), None, "INT 0x80");
    assert_eq!(came_back(0x8000_0303), None, "INT3");
    assert_eq!(came_back(0x0000_0030), None, "not valid");
}

#[test]
fn an_nmi_masks_the_next_until_its_iret_was_executed() {
    let (mut vcpu, mut cpu) = vcpu();
    assert!(vcpu.nmi_open());
    vcpu.inject(Event::Nmi);
    assert!(!vcpu.nmi_open());
    vcpu.vmcb.save.rip = 0x5000;
    vcpu.vmcb.control.exit_code = 0x74;
    assert_eq!(vcpu.enter(&mut cpu), Exit::NmiWindow);
    assert!(!vcpu.nmi_open(), "the IRET itself is still to be executed");
    vcpu.vmcb.save.rip = 0x6000;
    assert!(vcpu.nmi_open());
}

#[test]
fn the_interrupt_window_is_a_virtual_interrupt_that_ignores_priority() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.set_cr8(7);
    vcpu.want_interrupt_window(true);
    let state = vcpu.vmcb.control.virtual_interrupt;
    assert_eq!(state & (vmcb::V_IRQ | vmcb::V_IGN_TPR), vmcb::V_IRQ | vmcb::V_IGN_TPR);
    vcpu.vmcb.control.exit_code = 0x64;
    assert_eq!(vcpu.enter(&mut cpu), Exit::InterruptWindow);
    assert_eq!(vcpu.vmcb.control.virtual_interrupt & vmcb::V_IRQ, 0);
    assert_eq!(vcpu.cr8(), 7);
}

#[test]
fn the_guest_does_not_see_that_svm_is_enabled() {
    let (mut vcpu, _) = vcpu();
    vcpu.set_efer(Efer::LME | Efer::SVME);
    assert_eq!(vcpu.efer(), Efer::LME);
    assert_ne!(vcpu.vmcb.save.efer & Efer::SVME.bits(), 0);
}

#[test]
fn what_changed_is_not_marked_clean_and_only_for_one_entry() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.enter(&mut cpu);
    assert_eq!(vcpu.vmcb.control.clean, 0, "the first entry on a CPU");
    vcpu.set_cr2(1);
    vcpu.enter(&mut cpu);
    assert_eq!(vcpu.vmcb.control.clean & Clean::all().bits(), Clean::all().difference(Clean::CR2).bits());
    vcpu.enter(&mut cpu);
    assert_eq!(vcpu.vmcb.control.clean & Clean::all().bits(), Clean::all().bits());
}

#[test]
fn init_leaves_model_specific_registers_but_efer() {
    let (mut vcpu, _) = vcpu();
    assert_eq!(vcpu.msr(HardwareMsr::Pat), 0x0007_0406_0007_0406, "power-on");
    let kept = [
        HardwareMsr::Star,
        HardwareMsr::Lstar,
        HardwareMsr::Cstar,
        HardwareMsr::Sfmask,
        HardwareMsr::KernelGsBase,
        HardwareMsr::SysenterCs,
        HardwareMsr::SysenterEsp,
        HardwareMsr::SysenterEip,
        HardwareMsr::Pat,
        HardwareMsr::TscAux,
    ];
    for register in kept {
        vcpu.set_msr(register, 0x0106);
    }
    vcpu.set_msr(HardwareMsr::FsBase, 5);
    vcpu.set_efer(Efer::SCE);
    vcpu.reset(&crate::load::sipi(1));
    assert!(kept.iter().all(|&register| vcpu.msr(register) == 0x0106));
    assert_eq!((vcpu.efer(), vcpu.msr(HardwareMsr::FsBase)), (Efer::empty(), 0));
    assert_eq!((vcpu.vmcb.save.dr6, vcpu.vmcb.save.dr7), (0xffff_0ff0, 0x400));
}

#[test]
fn init_drops_what_was_to_be_delivered_and_asked_for() {
    let (mut vcpu, _) = vcpu();
    vcpu.inject(Event::Nmi);
    vcpu.want_interrupt_window(true);
    vcpu.set_cr8(9);
    vcpu.reset(&crate::load::sipi(1));
    assert!(vcpu.nmi_open() && vcpu.cr8() == 0);
    assert_eq!(vcpu.vmcb.control.event_injection, 0);
    assert_eq!(vcpu.vmcb.control.virtual_interrupt, vmcb::V_INTR_MASKING);
    assert!(!vcpu.vmcb.control.intercepts(VINTR) && !vcpu.vmcb.control.intercepts(IRET));
}

#[test]
fn a_cpu_knows_when_it_goes_on_to_another_vm() {
    let (mut vcpu, mut cpu) = vcpu();
    for vm in [7, 7, 8, 7] {
        vcpu.arrive(&mut cpu, vm);
        assert_eq!(cpu.vm, vm);
    }
}

#[test]
fn an_intercepted_int1_is_an_exit_of_its_own() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.vmcb.control.exit_code = 0x88;
    assert_eq!(vcpu.enter(&mut cpu), Exit::Int1);
    assert_ne!(vcpu.vmcb.control.intercept_misc[1] & 1 << 8, 0);
}

#[test]
fn a_flush_takes_a_fresh_identifier() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.enter(&mut cpu);
    let before = vcpu.vmcb.control.asid;
    vcpu.flush_translations();
    vcpu.enter(&mut cpu);
    assert_ne!(vcpu.vmcb.control.asid, before);
}
