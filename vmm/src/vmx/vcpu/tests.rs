//! The book-keeping around an entry, on the host, where nothing enters a guest.
use super::super::controls::IA32E_MODE_GUEST;
use super::super::processor::tests::{checked, skylake, skylake_server};
use super::super::processor::{HostState, Processor};
use super::debug::DEBUGCTL_BTF;
use super::registers::CR0_MASK;
use super::*;
use crate::cpu::{Exception, PageFaultCode};
use crate::platform::apic::Wake;
use mm::addr::Gpa;
use std::collections::BTreeMap;
use std::string::{String, ToString};

struct Nobody;

impl Wake for Nobody {
    fn wake(&self, _: usize) {}
}

/// A vCPU on CPUs with these registers.
fn vcpu_on(msrs: &BTreeMap<u32, u64>) -> (VmxVcpu, Processor) {
    let capabilities = checked(msrs).unwrap();
    let fabric = Arc::new(ApicFabric::new(1, Box::new(Nobody)));
    let around = Surroundings {
        capabilities: &capabilities,
        maps: Hpa::new(0x1000),
        roots: Roots { ram: Hpa::new(0x8000), with_apic: Some((Hpa::new(0x9000), Hpa::new(0xa000))) },
        fabric: &fabric,
        index: 0,
        notification_vector: 0xf2,
        tsc_hz: 3_000_000_000,
    };
    let mut vcpu = VmxVcpu::new(&around, |_| Hpa::new(0x2000));
    vcpu.reset(&crate::load::reset_vector());
    let mut cpu = processor(0);
    vcpu.begin_turn(&mut cpu);
    vcpu.arrive(&mut cpu, 1);
    (vcpu, cpu)
}

pub fn vcpu() -> (VmxVcpu, Processor) {
    vcpu_on(&skylake())
}

fn processor(number: usize) -> Processor {
    let capabilities = checked(&skylake()).unwrap();
    let host = HostState { cr3: 0x1000 * (number as u64 + 1), ..HostState::default() };
    Processor::new(number, &capabilities, false, host, |_| ())
}

/// In protected mode.
fn protected() -> (VmxVcpu, Processor) {
    let (mut vcpu, cpu) = vcpu();
    vcpu.set_cr0(Cr0::PE | Cr0::ET);
    (vcpu, cpu)
}

/// The guest runs and exits like this.
fn exit(vcpu: &mut VmxVcpu, cpu: &mut Processor, reason: u16, fields: &[(Field, u64)]) -> Exit {
    let fields = fields.to_vec();
    vcpu.next_exit(move |vmcs| {
        vmcs.set_model(Field::EXIT_REASON, reason.into());
        vmcs.set_model(Field::VECTORING, 0);
        for (field, value) in fields {
            vmcs.set_model(field, value);
        }
    });
    vcpu.enter(cpu)
}

struct Diagnosis<'a>(&'a VmxVcpu);

impl fmt::Display for Diagnosis<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.diagnose(f)
    }
}

fn diagnosis(vcpu: &VmxVcpu) -> String {
    Diagnosis(vcpu).to_string()
}

#[test]
fn a_vcpu_can_be_entered_at_each_way_to_start() {
    for state in [crate::load::reset_vector(), crate::load::sipi(0x9a)] {
        let (mut vcpu, mut cpu) = vcpu();
        vcpu.reset(&state);
        assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid, "{}", diagnosis(&vcpu));
    }
}

#[test]
fn a_guest_that_nothing_else_interrupts_comes_back_after_a_millisecond() {
    let (mut vcpu, mut cpu) = vcpu();
    // The test's CPU counts every 128th tick of a TSC of 3 GHz.
    assert_eq!(vcpu.vmcs.model(Field::PREEMPTION_TIMER), 3_000_000 >> 7);
    assert_eq!(exit(&mut vcpu, &mut cpu, 52, &[]), Exit::HostInterrupt);
    assert_eq!(vcpu.next_rip(), None);
}

#[test]
fn an_injected_event_is_delivered_once() {
    let (mut vcpu, mut cpu) = protected();
    vcpu.inject(Event::Exception(Exception::page_fault(0x1234, PageFaultCode::WRITE)));
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::ENTRY_EVENT.field()), 0x8000_0b0e);
    assert_eq!(vcpu.vmcs.model(Kept::ENTRY_ERROR_CODE.field()), 2);
    // As the hardware does.
    vcpu.vmcs.set_model(Kept::ENTRY_EVENT.field(), 0xb0e);
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::ENTRY_EVENT.field()), 0xb0e);
}

#[test]
fn an_event_whose_delivery_was_interrupted_comes_back_once() {
    let (mut vcpu, mut cpu) = protected();
    let violation = [(Field::VECTORING, 0x8000_0b0d), (Field::VECTORING_ERROR_CODE, 0x10)];
    exit(&mut vcpu, &mut cpu, 48, &violation);
    assert_eq!(vcpu.interrupted_event(), Some(Event::Exception(Exception::gp(0x10))));
    assert_eq!(vcpu.interrupted_event(), None);
    // What an exit before left in the field is not looked at behind an instruction.
    exit(&mut vcpu, &mut cpu, 10, &violation);
    assert_eq!(vcpu.interrupted_event(), None);
}

#[test]
fn an_nmi_whose_delivery_was_interrupted_can_be_delivered_again() {
    let (mut vcpu, mut cpu) = protected();
    vcpu.vmcs.set_model(Kept::INTERRUPTIBILITY.field(), blocking::BY_NMI);
    exit(&mut vcpu, &mut cpu, 48, &[(Field::VECTORING, 0x8000_0202)]);
    assert_eq!(vcpu.interrupted_event(), Some(Event::Nmi));
    assert!(vcpu.nmi_open());
}

#[test]
fn an_nmi_masks_the_next_until_the_hardware_says_that_its_handler_has_returned() {
    let (mut vcpu, mut cpu) = protected();
    assert!(vcpu.nmi_open());
    let masked = [(Kept::INTERRUPTIBILITY.field(), blocking::BY_NMI)];
    exit(&mut vcpu, &mut cpu, 10, &masked);
    assert!(!vcpu.nmi_open());
    vcpu.want_nmi_window();
    let open = [(Kept::INTERRUPTIBILITY.field(), 0)];
    assert_eq!(exit(&mut vcpu, &mut cpu, 8, &open), Exit::NmiWindow);
    assert_ne!(vcpu.vmcs.model(Kept::PRIMARY_CONTROLS.field()) & u64::from(NMI_WINDOW), 0);
    assert!(vcpu.nmi_open());
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::PRIMARY_CONTROLS.field()) & u64::from(NMI_WINDOW), 0);
}

#[test]
fn an_iret_that_faults_leaves_nmis_masked() {
    let (mut vcpu, mut cpu) = protected();
    exit(&mut vcpu, &mut cpu, 48, &[(Field::EXIT_QUALIFICATION, 0x1181)]);
    assert!(!vcpu.nmi_open());
}

#[test]
fn an_nmi_is_taken_behind_sti_and_not_behind_mov_ss() {
    let (mut vcpu, mut cpu) = protected();
    let flags = (Kept::RFLAGS.field(), 0x202);
    exit(&mut vcpu, &mut cpu, 1, &[(Kept::INTERRUPTIBILITY.field(), blocking::BY_MOV_SS), flags]);
    assert!(!vcpu.nmi_open());
    exit(&mut vcpu, &mut cpu, 1, &[(Kept::INTERRUPTIBILITY.field(), blocking::BY_STI), flags]);
    assert!(vcpu.nmi_open() && !vcpu.interrupts_open());
    vcpu.inject(Event::Nmi);
    assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid, "{}", diagnosis(&vcpu));
}

#[test]
fn the_interrupt_window_is_closed_once_it_came() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.want_interrupt_window(true);
    assert_eq!(exit(&mut vcpu, &mut cpu, 7, &[]), Exit::InterruptWindow);
    assert_ne!(vcpu.vmcs.model(Kept::PRIMARY_CONTROLS.field()) & u64::from(INTERRUPT_WINDOW), 0);
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::PRIMARY_CONTROLS.field()) & u64::from(INTERRUPT_WINDOW), 0);
}

#[test]
fn moving_on_ends_the_interrupt_shadow() {
    let (mut vcpu, mut cpu) = vcpu();
    let fields = [
        (Kept::INTERRUPTIBILITY.field(), blocking::BY_STI),
        (Kept::RFLAGS.field(), 0x202),
        (Kept::RIP.field(), 0x100),
        (Field::INSTRUCTION_LENGTH, 1),
    ];
    exit(&mut vcpu, &mut cpu, 12, &fields);
    assert!(!vcpu.interrupts_open());
    assert_eq!(vcpu.next_rip(), Some(0x101));
    vcpu.advance(0x101);
    assert!(vcpu.interrupts_open());
    exit(&mut vcpu, &mut cpu, 1, &[]);
    assert_eq!((vcpu.rip(), vcpu.next_rip()), (0x101, None));
}

#[test]
fn a_debug_exception_does_what_the_exit_and_the_injection_leave_undone() {
    let (mut vcpu, mut cpu) = protected();
    vcpu.beside.set_dr6(0xffff_0ff0 | 1);
    let fields = [
        (Field::EXIT_INTERRUPTION, 0x8000_0301),
        (Field::EXIT_QUALIFICATION, 0x4004),
        (Kept::DR7.field(), 0x2400),
        (Kept::DEBUGCTL.field(), DEBUGCTL_BTF),
    ];
    assert_eq!(exit(&mut vcpu, &mut cpu, 0, &fields), Exit::Exception(Exception::DB));
    assert_eq!(vcpu.beside.dr6(), 0xffff_4ff4);
    assert_eq!(vcpu.next_rip(), None);
    vcpu.inject(Event::Exception(Exception::DB));
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!((vcpu.vmcs.model(Kept::DR7.field()), vcpu.vmcs.model(Kept::DEBUGCTL.field())), (0x400, 0));
}

#[test]
fn an_exception_behind_mov_ss_with_single_stepping_can_be_delivered() {
    let (mut vcpu, mut cpu) = protected();
    let fields = [
        (Field::EXIT_INTERRUPTION, 0x8000_0301),
        (Kept::INTERRUPTIBILITY.field(), blocking::BY_MOV_SS),
        (Kept::RFLAGS.field(), 0x102),
    ];
    exit(&mut vcpu, &mut cpu, 0, &fields);
    vcpu.inject(Event::Exception(Exception::DB));
    assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid, "{}", diagnosis(&vcpu));
}

#[test]
fn int1_has_a_length() {
    let (mut vcpu, mut cpu) = protected();
    let fields = [(Field::EXIT_INTERRUPTION, 0x8000_0501), (Field::INSTRUCTION_LENGTH, 1)];
    assert_eq!(exit(&mut vcpu, &mut cpu, 0, &fields), Exit::Int1);
    assert_eq!(vcpu.next_rip(), Some(vcpu.rip() + 1));
}

#[test]
fn the_guest_sees_control_registers_as_it_wrote_them() {
    let (mut vcpu, mut cpu) = vcpu();
    let cr0 = Cr0::PE | Cr0::ET | Cr0::CD | Cr0::NW;
    vcpu.set_cr0(cr0);
    vcpu.set_cr4(Cr4::PAE);
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::CR0.field()), (Cr0::PE | Cr0::ET | Cr0::NE).bits());
    assert_eq!(vcpu.vmcs.model(Kept::CR4.field()), (Cr4::PAE | Cr4::VMXE | Cr4::MCE).bits());
    assert_eq!((vcpu.cr0(), vcpu.cr4()), (cr0, Cr4::PAE));
}

#[test]
fn a_guest_changes_its_own_bits_of_cr4_and_no_others() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.allow_cr4(Cr4::PAE | Cr4::MCE | Cr4::PKS);
    exit(&mut vcpu, &mut cpu, 10, &[]);
    let own = !vcpu.vmcs.model(Kept::CR4_MASK.field());
    assert_eq!(own, Cr4::PAE.bits(), "MCE stays on, and PKS is no bit of this CPU");
    vcpu.vmcs.set_model(Kept::CR4.field(), (Cr4::PAE | Cr4::MCE | Cr4::VMXE).bits());
    vcpu.vmcs.guest_ran();
    assert_eq!(vcpu.cr4(), Cr4::PAE);
}

#[test]
fn a_move_to_a_control_register_is_left_to_the_hardware_with_a_shadow_that_does_not_differ() {
    let (mut vcpu, mut cpu) = vcpu();
    let (wanted, before) = (Cr0::PE | Cr0::PG | Cr0::NE | Cr0::ET, vcpu.vmcs.get(Kept::CR0));
    assert!(vcpu.left_to_hardware(0, wanted.bits()));
    exit(&mut vcpu, &mut cpu, 10, &[]);
    let masked = (vcpu.vmcs.model(Kept::CR0_SHADOW.field()) ^ wanted.bits()) & CR0_MASK.bits();
    assert_eq!((masked, vcpu.vmcs.model(Kept::CR0.field())), (0, before));
}

#[test]
fn long_mode_is_in_efer_and_in_the_entry_controls() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.set_efer(Efer::LME);
    vcpu.set_cr4(Cr4::PAE);
    vcpu.set_cr0(Cr0::PE | Cr0::PG | Cr0::ET);
    assert_eq!(vcpu.efer(), Efer::LME | Efer::LMA);
    assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid, "{}", diagnosis(&vcpu));
    assert_ne!(vcpu.vmcs.model(Kept::ENTRY_CONTROLS.field()) & u64::from(IA32E_MODE_GUEST), 0);
    vcpu.set_cr0(Cr0::PE | Cr0::ET);
    assert_eq!(vcpu.efer(), Efer::LME);
    assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid, "{}", diagnosis(&vcpu));
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
    assert_eq!((vcpu.beside.dr6(), vcpu.vmcs.get(Kept::DR7)), (0xffff_0ff0, 0x400));
}

#[test]
fn init_drops_what_was_to_be_delivered_and_asked_for() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.inject(Event::Nmi);
    vcpu.want_interrupt_window(true);
    vcpu.want_nmi_window();
    vcpu.reset(&crate::load::sipi(1));
    assert!(vcpu.nmi_open());
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::ENTRY_EVENT.field()), 0);
    let windows = u64::from(INTERRUPT_WINDOW | NMI_WINDOW);
    assert_eq!(vcpu.vmcs.model(Kept::PRIMARY_CONTROLS.field()) & windows, 0);
}

#[test]
fn debugctl_gets_no_bits_that_the_hardware_refuses() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.set_msr(HardwareMsr::DebugCtl, 0x3f);
    assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid);
    assert_eq!(vcpu.vmcs.model(Kept::DEBUGCTL.field()), DEBUGCTL_BTF);
    assert_eq!(vcpu.msr(HardwareMsr::DebugCtl), 0x3f);
}

#[test]
fn a_vcpu_on_another_cpu_gets_that_ones_host_state_and_an_identifier_of_it() {
    let (mut vcpu, mut first) = vcpu();
    let mut second = processor(1);
    second.vpids.renew(&mut Asid::default());
    exit(&mut vcpu, &mut first, 10, &[]);
    let on_first = (vcpu.vmcs.model(Kept::VPID.field()), vcpu.vmcs.model(Field::HOST_CR3));
    vcpu.end_turn();
    vcpu.begin_turn(&mut second);
    vcpu.arrive(&mut second, 1);
    exit(&mut vcpu, &mut second, 10, &[]);
    let on_second = (vcpu.vmcs.model(Kept::VPID.field()), vcpu.vmcs.model(Field::HOST_CR3));
    assert_eq!((on_first, on_second), ((1, 0x1000), (2, 0x2000)));
}

#[test]
fn a_vcpu_without_a_cpu_shows_where_it_is() {
    let (mut vcpu, mut cpu) = vcpu();
    exit(&mut vcpu, &mut cpu, 12, &[(Kept::RIP.field(), 0x1234), (Kept::RFLAGS.field(), 0x202)]);
    vcpu.end_turn();
    assert_eq!((vcpu.rip(), vcpu.rflags()), (0x1234, Rflags::IF | Rflags::FIXED));
}

#[test]
fn a_flush_takes_a_fresh_identifier() {
    let (mut vcpu, mut cpu) = vcpu();
    exit(&mut vcpu, &mut cpu, 10, &[]);
    let before = vcpu.vmcs.model(Kept::VPID.field());
    vcpu.flush_translations();
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_ne!(vcpu.vmcs.model(Kept::VPID.field()), before);
}

#[test]
fn a_failed_entry_names_the_field_and_its_value() {
    let rsp = |vcpu: &mut VmxVcpu, kept, value| vcpu.vmcs.set(kept, value);
    for (kept, value, says) in [
        (Kept::rights(TR), 0x89, "TR access rights is 0x89"),
        (Kept::rights(LDTR), 0x8f, "LDTR access rights is 0x8f"),
        (Kept::rights(2), 0x91, "SS access rights is 0x91"),
        (Kept::rights(1), 0x1_009b | 1 << 9, "CS access rights"),
        (Kept::limit(3), 0x10_0000, "DS access rights"),
        (Kept::CR0, 0x8000_0030, "CR0 is 0x80000030: PG needs PE"),
        (Kept::CR4, 0, "CR4 is 0x0"),
        (Kept::CR4, 0x2000 | 1 << 24, "CR4 is 0x1002000"),
        (Kept::CR3, 1 << 60, "CR3"),
        (Kept::RFLAGS, 0, "RFLAGS is 0x0: bit 1"),
        (Kept::RIP, 1 << 40, "RIP is 0x10000000000"),
        (Kept::GDTR_BASE, 1 << 63, "GDTR base"),
        (Kept::IDTR_LIMIT, 1 << 16, "IDTR limit is 0x10000"),
        (Kept::PAT, 2, "IA32_PAT is 0x2"),
        (Kept::EFER, 1 << 10, "IA32_EFER is 0x400"),
        (Kept::INTERRUPTIBILITY, 3, "interruptibility state is 0x3"),
        (Kept::PENDING_DEBUG, 1 << 20, "pending debug exceptions"),
        (Kept::ENTRY_EVENT, 0x8000_0130, "VM-entry interruption information is 0x80000130"),
        (Kept::ENTRY_EVENT, 0x8000_0030, "RFLAGS"),
        (Kept::SYSENTER_EIP, 1 << 63, "IA32_SYSENTER_EIP"),
        (Kept::DR7, 1 << 32, "DR7"),
    ] {
        let (mut vcpu, mut cpu) = vcpu();
        rsp(&mut vcpu, kept, value);
        assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::EntryFailed);
        let text = diagnosis(&vcpu);
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn a_guest_state_that_the_cpu_refuses_is_told_with_the_exit_reason() {
    let (mut vcpu, mut cpu) = vcpu();
    assert_eq!(exit(&mut vcpu, &mut cpu, 33, &[]), Exit::EntryFailed);
    assert!(diagnosis(&vcpu).contains("invalid guest state"));
}

const FIRST_PLACE: ApicMode = ApicMode::XApic { page: Gpa::new(0xfee0_0000) };

/// Secondary controls, root of the nested tables and MSR bitmap.
fn answer(vcpu: &VmxVcpu) -> (u64, u64, u64) {
    let field = |field| vcpu.vmcs.model(field);
    (field(Field::SECONDARY_CONTROLS) & 0x11, field(Field::EPT_POINTER), field(Field::MSR_BITMAP))
}

#[test]
fn each_mode_of_the_local_apic_is_answered_for_as_the_cpu_can() {
    let (ram, with_apic) = (0x801e, 0x901e);
    let (mut vcpu, mut cpu) = vcpu_on(&skylake_server());
    assert_eq!(answer(&vcpu), (0, ram, 0x3000), "disabled");
    for (mode, expected) in [
        (FIRST_PLACE, (1, with_apic, 0x3000)),
        (ApicMode::XApic { page: Gpa::new(0xfed0_0000) }, (0, ram, 0x3000)),
        (ApicMode::X2Apic, (0x10, ram, 0x4000)),
        (ApicMode::Disabled, (0, ram, 0x3000)),
    ] {
        vcpu.set_apic_mode(mode);
        assert_eq!(answer(&vcpu), expected, "{mode:?}");
        assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid, "{}", diagnosis(&vcpu));
    }
    // What changes between turns is told when the next one begins.
    vcpu.end_turn();
    vcpu.set_apic_mode(ApicMode::X2Apic);
    vcpu.begin_turn(&mut cpu);
    assert_eq!(answer(&vcpu), (0x10, ram, 0x4000));
    // A CPU that can't, or tables that were not made.
    let mut msrs = skylake();
    *msrs.get_mut(&0x48b).unwrap() &= !(0x11 << 32);
    let (mut vcpu, _) = vcpu_on(&msrs);
    vcpu.roots.with_apic = None;
    for mode in [FIRST_PLACE, ApicMode::X2Apic] {
        vcpu.set_apic_mode(mode);
        assert_eq!(answer(&vcpu), (0, ram, 0x3000));
    }
}

#[test]
fn requests_are_in_the_vmcs_at_the_next_entry() {
    let (mut vcpu, mut cpu) = vcpu_on(&skylake_server());
    assert!(vcpu.delivers_interrupts());
    vcpu.set_requests(&Requests { requested: 0x51, in_service: 0x30, level: Some([1, 2, 3, 4]) });
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::INTERRUPT_STATUS.field()), 0x3051);
    assert_eq!([0x201c, 0x201e, 0x2020, 0x2022].map(|field| vcpu.vmcs.model(Field(field))), [1, 2, 3, 4]);
    // The guest takes one; others are not in its way.
    exit(&mut vcpu, &mut cpu, 10, &[(Kept::INTERRUPT_STATUS.field(), 0x5100)]);
    exit(&mut vcpu, &mut cpu, 10, &[]);
    assert_eq!(vcpu.vmcs.model(Kept::INTERRUPT_STATUS.field()), 0x5100);
    assert_eq!(
        (vcpu.vmcs.model(Field::NOTIFICATION_VECTOR), vcpu.vmcs.model(Field::POSTED_INTERRUPTS)),
        (0xf2, 0x2000)
    );
    let (vcpu, _) = vcpu_on(&skylake());
    assert!(!vcpu.delivers_interrupts());
}

#[test]
fn a_priority_is_waited_for_by_the_threshold() {
    let (mut vcpu, mut cpu) = vcpu();
    vcpu.apic.registers().set_word(0x80, 0x75);
    assert_eq!(vcpu.cr8(), 7);
    vcpu.want_priority_below(7);
    assert_eq!(exit(&mut vcpu, &mut cpu, 43, &[]), Exit::InterruptWindow, "{}", diagnosis(&vcpu));
    assert_eq!(vcpu.vmcs.model(Kept::TPR_THRESHOLD.field()), 7);
    vcpu.want_priority_below(0);
    assert_eq!(exit(&mut vcpu, &mut cpu, 10, &[]), Exit::Cpuid);
    assert_eq!(vcpu.vmcs.model(Kept::TPR_THRESHOLD.field()), 0);
}

#[test]
fn what_vm_entry_refuses_of_the_local_apic_is_named() {
    let named = |msrs: &BTreeMap<u32, u64>, field: u16, value: u64| {
        let (mut vcpu, mut cpu) = vcpu_on(msrs);
        vcpu.set_apic_mode(FIRST_PLACE);
        vcpu.vmcs.write(Field(field), value);
        if field == Kept::TPR_THRESHOLD.field().0 {
            vcpu.want_priority_below(value as u8);
            vcpu.set_apic_mode(ApicMode::Disabled);
        }
        assert_eq!(vcpu.enter(&mut cpu), Exit::EntryFailed, "{field:#x}");
        diagnosis(&vcpu)
    };
    for (field, value, says) in [
        (0x2004, 0x1234, "address of MSR bitmaps is 0x1234: must be the address of a page"),
        (0x2012, 1, "virtual-APIC address"),
        (0x2014, 0x800, "APIC-access address"),
        (0x401e, 0x11, "exclude each other"),
        (0x0002, 0x100, "notification vector is 0x100"),
        (0x2016, 0x20, "posted-interrupt descriptor address is 0x20"),
    ] {
        let text = named(&skylake_server(), field, value);
        assert!(text.contains(says), "{text}");
    }
    for (value, says) in [(0x10, "bits 31:4"), (1, "TPR threshold is 0x1")] {
        let text = named(&skylake(), 0x401c, value);
        assert!(text.contains(says), "{text}");
    }
}
