//! What is delivered, in which order, and what waits.
use super::devices::fault;
use super::rig::{CODE, Rig};
use crate::backend::{Backend, HardwareMsr};
use crate::cpu::{Cr0, Cr4, Efer, Exception, Registers, Rflags, SegmentRegister, Vector};
use crate::exit::{Event, Exit, MemoryFault};
use crate::platform::apic::{DeliveryMode, InterruptMessage};
use crate::vcpu::{Activity, Leave};

fn interrupt(rig: &Rig, vector: u8) {
    assert!(rig.shared.fabric.deliver(InterruptMessage::fixed(0, vector)));
}

fn send(rig: &Rig, vcpu: u32, mode: DeliveryMode, vector: u8) {
    rig.shared.fabric.deliver(InterruptMessage { mode, ..InterruptMessage::fixed(vcpu, vector) });
}

/// A VM that takes interrupts.
fn open() -> Rig {
    let mut rig = Rig::new(1);
    rig.registers().rflags |= Rflags::IF;
    rig
}

fn windows(rig: &mut Rig) -> (bool, bool) {
    let entry = rig.back_end().entries.last().unwrap();
    (entry.interrupt_window, entry.nmi_window)
}

#[test]
fn an_exception_comes_before_an_nmi_and_that_before_an_interrupt() {
    let mut rig = open();
    rig.code(&[0x0f, 0x33]);
    rig.back_end().then(|_| Exit::ReadPmc);
    rig.back_end().then(|fake| {
        fake.nmi_masked = false;
        Exit::HostInterrupt
    });
    rig.play(&[]);
    rig.back_end().entries.clear();
    interrupt(&rig, 0x50);
    rig.shared.fabric.nmi(0);
    rig.play(&[Exit::ReadPmc, Exit::HostInterrupt]);
    let order: Vec<_> = rig.back_end().entries.iter().map(|entry| entry.injected).collect();
    // The NMI on the first entry, then the exception of that exit; the interrupt waits for the window.
    assert_eq!(order, [Some(Event::Nmi), Some(Event::Exception(Exception::gp(0))), None]);
    assert!(windows(&mut rig).0);
    rig.registers().rflags |= Rflags::IF;
    rig.play(&[Exit::InterruptWindow]);
    let injected: Vec<_> = rig.back_end().entries.iter().filter_map(|entry| entry.injected).collect();
    assert_eq!(injected.last(), Some(&Event::Interrupt(Vector(0x50))));
}

#[test]
fn an_interrupt_waits_for_the_flag_and_for_the_shadow() {
    for shadow in [false, true] {
        let mut rig = Rig::new(1);
        rig.registers().rflags.set(Rflags::IF, shadow);
        rig.back_end().shadow = shadow;
        interrupt(&rig, 0x50);
        rig.play(&[]);
        assert_eq!((rig.injected(), windows(&mut rig)), (None, (true, false)));
        rig.registers().rflags |= Rflags::IF;
        rig.back_end().shadow = false;
        rig.play(&[Exit::InterruptWindow]);
        let entries = &rig.back_end().entries;
        assert!(
            entries.iter().any(|e| e.injected == Some(Event::Interrupt(Vector(0x50))) && !e.interrupt_window)
        );
    }
}

#[test]
fn the_window_is_taken_back_when_nothing_waits() {
    let mut rig = Rig::new(1);
    interrupt(&rig, 0x50);
    rig.play(&[]);
    assert!(windows(&mut rig).0);
    // The guest raises its priority above what waits.
    rig.vcpu().apic.set_cr8(15);
    rig.play(&[]);
    assert!(!windows(&mut rig).0);
    rig.vcpu().apic.set_cr8(0);
    rig.play(&[]);
    assert!(windows(&mut rig).0);
}

#[test]
fn the_higher_of_two_interrupts_comes_first_and_the_lower_after_its_end() {
    let mut rig = open();
    interrupt(&rig, 0x40);
    interrupt(&rig, 0x80);
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0x80))));
    assert!(!windows(&mut rig).0, "the lower one waits for the end, not for the flag");
    rig.registers().rflags |= Rflags::IF;
    rig.vcpu().apic.mmio_write(0xb0, 4, 0, 0);
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0x40))));
}

#[test]
fn an_nmi_waits_for_the_end_of_the_one_before() {
    let mut rig = Rig::new(1);
    rig.shared.fabric.nmi(0);
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Nmi));
    rig.shared.fabric.nmi(0);
    rig.play(&[]);
    assert_eq!((rig.injected(), windows(&mut rig)), (None, (false, true)));
    rig.back_end().then(|fake| {
        fake.nmi_masked = false;
        Exit::NmiWindow
    });
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Nmi));
}

#[test]
fn an_event_whose_delivery_was_interrupted_is_delivered_before_all_others() {
    for event in [
        Event::Interrupt(Vector(0x31)),
        Event::Nmi,
        Event::Exception(Exception { vector: Vector::PF, error_code: Some(2), fault_address: None }),
    ] {
        let mut rig = open();
        rig.back_end().then(move |fake| {
            fake.interrupted = Some(event);
            Exit::HostInterrupt
        });
        rig.back_end().then(|_| Exit::HostInterrupt);
        interrupt(&rig, 0x90);
        rig.registers().rflags -= Rflags::IF;
        rig.play(&[]);
        let order: Vec<_> = rig.back_end().entries.iter().map(|entry| entry.injected).collect();
        assert_eq!(order, [None, Some(event), None], "even with interrupts off, and once");
    }
}

#[test]
fn an_exception_within_a_delivery_takes_its_place() {
    // Both are benign: served one after the other, and the first one's instruction raises it again.
    let mut rig = Rig::new(1);
    rig.back_end().then(|fake| {
        fake.interrupted = Some(Event::Exception(Exception::gp(0)));
        Exit::Exception(Exception::ac())
    });
    rig.back_end().then(|_| Exit::HostInterrupt);
    rig.play(&[]);
    let order: Vec<_> = rig.back_end().entries.iter().map(|entry| entry.injected).collect();
    assert_eq!(order, [None, Some(Event::Exception(Exception::ac())), None]);
}

#[test]
fn a_delivery_that_needs_memory_where_none_is_ends_the_vm_and_executes_nothing() {
    let mut rig = Rig::new(1);
    // MOV EAX, [RBX]
    rig.code(&[0x8b, 0x03]);
    rig.registers().gprs[3] = 0xd000_0000;
    rig.back_end().then(|fake| {
        fake.interrupted = Some(Event::Interrupt(Vector(0x31)));
        Exit::Memory(fault(0xd000_0000, false))
    });
    let leave = format!("{:?}", rig.play(&[]));
    assert!(
        leave.contains("the delivery of Interrupt(Vector(31)) needs") && leave.contains("d0000000"),
        "{leave}"
    );
    assert_eq!((rig.vcpu().rip(), rig.shared.board.unclaimed()), (CODE, 0));
}

#[test]
fn the_8259_interrupts_through_lint0() {
    let mut rig = open();
    rig.vcpu().apic.mmio_write(0x350, 4, 0x700, 0);
    let out = |port, value| rig.shared.board.port_write(port, 1, value, 0);
    for (port, value) in
        [(0x20, 0x11), (0x21, 0x20), (0x21, 4), (0x21, 1), (0x21, 0xef), (0x3fc, 8), (0x3f9, 2)]
    {
        out(port, value);
    }
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0x24))), "COM1's transmitter is empty");
    rig.registers().rflags |= Rflags::IF;
    rig.play(&[]);
    assert_eq!(rig.injected(), None, "until its end");
}

#[test]
fn a_vcpu_waits_to_be_started_and_starts_where_it_is_told() {
    let mut rig = Rig::new(2);
    let seat = &mut rig.seats[1];
    assert_eq!(seat.play(&[]), Leave::Blocked { until: None });
    assert_eq!(seat.vcpu.activity(), Activity::WaitsForStart);
    send(&rig, 1, DeliveryMode::Nmi, 0);
    send(&rig, 1, DeliveryMode::Fixed, 0x40);
    assert_eq!(rig.seats[1].play(&[]), Leave::Blocked { until: None }, "nothing else wakes it");
    send(&rig, 1, DeliveryMode::Init, 0);
    send(&rig, 1, DeliveryMode::StartUp, 0x9a);
    let seat = &mut rig.seats[1];
    assert_eq!(seat.play(&[]), Leave::Attention);
    let registers = &seat.vcpu.backend.registers;
    let cs = registers.segment(SegmentRegister::Cs);
    assert_eq!((cs.selector, cs.base, registers.rip), (0x9a00, 0x9_a000, 0));
    assert_eq!(seat.vcpu.backend.entries.last().unwrap().injected, None);
    send(&rig, 1, DeliveryMode::StartUp, 0x10);
    rig.seats[1].play(&[]);
    let cs = rig.seats[1].vcpu.backend.registers.segment(SegmentRegister::Cs);
    assert_eq!(cs.selector, 0x9a00, "a second start-up is ignored");
}

#[test]
fn init_resets_registers_and_leaves_what_only_power_on_resets() {
    let mut rig = Rig::new(2);
    let seat = &mut rig.seats[1];
    seat.start();
    seat.vcpu.backend.set_msr(HardwareMsr::Lstar, 0x1234);
    seat.vcpu.backend.set_msr(HardwareMsr::Pat, 0x0006_0006_0006_0006);
    seat.vcpu.backend.set_msr(HardwareMsr::TscAux, 7);
    seat.vcpu.extended.set_xcr0(7).unwrap();
    seat.vcpu.tsc_adjust = 99;
    assert!(
        seat.vcpu.backend.registers.cr0.contains(Cr0::PG)
            && !seat.vcpu.backend.registers.cr0.contains(Cr0::CD)
    );
    send(&rig, 1, DeliveryMode::Init, 0);
    let seat = &mut rig.seats[1];
    assert_eq!(seat.play(&[]), Leave::Blocked { until: None });
    let back_end = &seat.vcpu.backend;
    let registers = &back_end.registers;
    assert_eq!((registers.cr0, registers.cr4, registers.efer), (Cr0::ET, Cr4::empty(), Efer::empty()));
    assert_eq!((registers.gprs, registers.cr3, registers.rflags), ([0; 16], 0, Rflags::FIXED));
    assert_eq!(back_end.msr(HardwareMsr::Lstar), 0x1234);
    assert_eq!(back_end.msr(HardwareMsr::Pat), 0x0006_0006_0006_0006);
    assert_eq!(back_end.msr(HardwareMsr::TscAux), 7);
    assert_eq!((seat.vcpu.extended.xcr0(), seat.vcpu.tsc_adjust), (7, 99));
}

#[test]
fn init_drops_what_waited_for_delivery() {
    let mut rig = Rig::new(2);
    let seat = &mut rig.seats[1];
    seat.start();
    seat.vcpu.backend.nmi_masked = true;
    seat.vcpu.pending = Some(Event::Exception(Exception::UD));
    seat.vcpu.nmi_pending = true;
    send(&rig, 1, DeliveryMode::Init, 0);
    send(&rig, 1, DeliveryMode::StartUp, 1);
    let seat = &mut rig.seats[1];
    assert_eq!(seat.play(&[]), Leave::Attention);
    assert_eq!(seat.vcpu.backend.entries.last().unwrap().injected, None);
}

#[test]
fn a_fetch_where_nothing_is_is_not_emulated() {
    let mut rig = Rig::new(1);
    rig.code(&[0x8b, 0x03]);
    rig.registers().gprs[3] = 0xd000_0000;
    rig.play(&[Exit::Memory(MemoryFault { fetch: true, ..fault(0xd000_0000, false) })]);
    assert_eq!(rig.shared.board.unclaimed(), 0);
}

/// A VM that is closed to interrupts, on hardware that holds one until it opens.
fn closed_on_hardware_that_holds() -> Rig {
    let mut rig = Rig::new(1);
    rig.registers().rflags -= Rflags::IF;
    rig.back_end().holds = true;
    rig
}

#[test]
fn hardware_that_can_delivers_an_interrupt_when_the_guest_opens_without_an_exit() {
    let mut rig = closed_on_hardware_that_holds();
    interrupt(&rig, 0x50);
    rig.play(&[]);
    let entry = rig.back_end().entries.pop().unwrap();
    assert_eq!((entry.held, entry.injected, entry.interrupt_window), (Some(Vector(0x50)), None, false));
    // It was not taken: the next entry has it again, and by now a more urgent one.
    interrupt(&rig, 0x90);
    rig.back_end().then(|fake| {
        fake.took = fake.held.is_some();
        Exit::HostInterrupt
    });
    rig.back_end().entries.clear();
    rig.play(&[]);
    let held: Vec<_> = rig.back_end().entries.iter().map(|entry| entry.held).collect();
    // What was taken is in service and comes no more; the other one waits behind it.
    assert_eq!(held, [Some(Vector(0x90)), None]);
    assert_eq!(rig.vcpu().apic.deliverable(), None);
    rig.vcpu().apic.mmio_write(0xb0, 4, 0, 0);
    rig.play(&[]);
    assert_eq!(rig.back_end().entries.last().unwrap().held, Some(Vector(0x50)));
}

#[test]
fn an_interrupt_that_hardware_began_to_deliver_when_an_exit_came_is_delivered_once() {
    let mut rig = closed_on_hardware_that_holds();
    interrupt(&rig, 0x50);
    rig.back_end().then(|fake| {
        fake.took = true;
        fake.interrupted = fake.held.map(Event::Interrupt);
        Exit::HostInterrupt
    });
    rig.play(&[]);
    let entries = &rig.back_end().entries;
    assert_eq!(entries.last().unwrap().injected, Some(Event::Interrupt(Vector(0x50))));
    rig.play(&[]);
    let last = rig.back_end().entries.last().unwrap();
    assert_eq!((last.injected, last.held), (None, None));
}

#[test]
fn what_the_8259_has_is_not_left_to_hardware() {
    let mut rig = closed_on_hardware_that_holds();
    send(&rig, 0, DeliveryMode::ExtInt, 0);
    interrupt(&rig, 0x50);
    rig.play(&[]);
    let last = rig.back_end().entries.last().unwrap();
    assert_eq!((last.held, last.interrupt_window), (None, true));
}

#[test]
fn a_vcpu_that_has_halted_for_good_leaves_nothing_to_hardware() {
    let mut rig = closed_on_hardware_that_holds();
    rig.code(&[0xf4]);
    interrupt(&rig, 0x50);
    assert!(matches!(rig.play(&[Exit::Halt]), Leave::Blocked { .. }));
    assert_eq!(rig.back_end().held, None);
    rig.shared.fabric.nmi(0);
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Nmi));
}
