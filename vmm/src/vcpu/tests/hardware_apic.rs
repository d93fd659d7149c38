//! A local APIC that hardware works on: what it is told, and what it leaves to be done.
use super::rig::Rig;
use crate::cpu::{Gpr, Registers, Rflags};
use crate::exit::{Event, Exit};
use crate::platform::apic::{ApicMode, DeliveryMode, InterruptMessage};
use crate::vcpu::{Activity, Leave};
use mm::addr::Gpa;

/// A VM that takes interrupts, on hardware that delivers them.
fn open() -> Rig {
    let mut rig = Rig::delivering(1);
    rig.registers().rflags |= Rflags::IF;
    rig.play(&[]);
    rig.back_end().requests.clear();
    rig
}

fn interrupt(rig: &Rig, vector: u8) {
    assert!(rig.shared.fabric.deliver(InterruptMessage::fixed(0, vector)));
}

/// What the hardware was told of requests and service since this was asked last.
fn told(rig: &mut Rig) -> Vec<(u8, u8)> {
    rig.back_end().requests.drain(..).map(|requests| (requests.requested, requests.in_service)).collect()
}

/// The hardware sets a word of the page.
fn page(rig: &Rig, offset: usize, value: u32) {
    rig.shared.fabric.registers(0).set_word(offset, value);
}

#[test]
fn the_hardware_is_told_once_and_nothing_is_injected() {
    let mut rig = open();
    interrupt(&rig, 0x51);
    // Also where the guest has interrupts off: it is the hardware that waits.
    rig.registers().rflags -= Rflags::IF;
    rig.play(&[Exit::HostInterrupt, Exit::HostInterrupt]);
    assert_eq!(told(&mut rig), [(0x51, 0)]);
    let entries = &rig.back_end().entries;
    assert!(entries.iter().all(|entry| entry.injected.is_none() && !entry.interrupt_window));
}

#[test]
fn a_delivery_that_an_exit_interrupted_is_injected_again() {
    let mut rig = open();
    rig.back_end().then(|fake| {
        fake.interrupted = Some(Event::Interrupt(crate::cpu::Vector(0x51)));
        Exit::HostInterrupt
    });
    rig.play(&[]);
    assert_eq!(rig.injected(), Some(Event::Interrupt(crate::cpu::Vector(0x51))));
    assert_eq!(told(&mut rig), []);
}

#[test]
fn a_halt_ends_with_what_the_hardware_can_deliver_and_with_nothing_else() {
    let mut rig = open();
    rig.back_end().next_rip = Some(0x1_0001);
    assert!(matches!(rig.play(&[Exit::Halt]), Leave::Blocked { .. }));
    assert_eq!(rig.vcpu().activity(), Activity::Halted);
    // Of no higher class than the task priority.
    page(&rig, 0x80, 0x50);
    interrupt(&rig, 0x51);
    assert!(matches!(rig.play(&[]), Leave::Blocked { .. }));
    // Interrupts off.
    page(&rig, 0x80, 0);
    rig.registers().rflags -= Rflags::IF;
    assert!(matches!(rig.play(&[]), Leave::Blocked { .. }));
    rig.registers().rflags |= Rflags::IF;
    assert_eq!(rig.play(&[]), Leave::Attention);
    assert_eq!(rig.vcpu().activity(), Activity::Running);
    assert_eq!(told(&mut rig), [(0x51, 0)]);
}

#[test]
fn what_was_posted_into_the_page_keeps_a_vcpu_from_halting() {
    let mut rig = open();
    rig.back_end().next_rip = Some(0x1_0001);
    let shared = rig.shared.clone();
    rig.back_end().then(move |_| {
        shared.fabric.registers(0).set_word(0x220, 1 << 17);
        Exit::Halt
    });
    assert_eq!(rig.play(&[]), Leave::Attention);
    assert_eq!(told(&mut rig), [], "the hardware knows");
}

/// Pin 9 of the IOAPIC, by which power management interrupts, level-triggered: bits 31:0.
fn pin_9(rig: &Rig) -> u64 {
    rig.shared.board.mmio_write(Gpa::new(0xfec0_0000), 4, 0x10 + 2 * 9, 0);
    rig.shared.board.mmio_read(Gpa::new(0xfec0_0010), 4, 0)
}

#[test]
fn the_end_of_an_interrupt_reaches_the_ioapic() {
    const REMOTE_IRR: u64 = 1 << 14;
    let mut rig = open();
    pin_9(&rig);
    rig.shared.board.mmio_write(Gpa::new(0xfec0_0010), 4, 0x8051, 0);
    // The power button's event, enabled.
    rig.shared.board.port_write(0x602, 2, 1 << 8, 0);
    rig.shared.board.power_button();
    rig.play(&[]);
    assert_eq!(rig.back_end().requests[0].level, Some([0, 1 << 0x11, 0, 0]));
    assert_ne!(pin_9(&rig) & REMOTE_IRR, 0);
    rig.play(&[Exit::EndOfInterrupt(0x52)]);
    assert_ne!(pin_9(&rig) & REMOTE_IRR, 0, "another one");
    rig.shared.board.port_write(0x600, 2, 1 << 8, 0);
    rig.play(&[Exit::EndOfInterrupt(0x51)]);
    assert_eq!(pin_9(&rig) & REMOTE_IRR, 0);
}

#[test]
fn a_register_that_was_written_has_its_effect() {
    let mut rig = open();
    // The ICR: to all, this one included.
    page(&rig, 0x300, 2 << 18 | 0x61);
    rig.play(&[Exit::ApicWrite(0x300)]);
    assert_eq!(told(&mut rig), [(0x61, 0)]);
    page(&rig, 0x320, 0x62);
    rig.play(&[Exit::ApicWrite(0x320)]);
    page(&rig, 0x380, 1_000_000);
    rig.play(&[Exit::ApicWrite(0x380)]);
    assert!(rig.vcpu().deadline().is_some());
}

#[test]
fn the_hardware_is_told_the_mode_and_an_init_clears_what_it_knew() {
    let mut rig = open();
    assert_eq!(rig.back_end().mode, ApicMode::XApic { page: Gpa::new(0xfee0_0000) });
    rig.registers().set_gpr(Gpr::Rcx, 0x1b);
    rig.registers().set_gpr(Gpr::Rax, 0xfee0_0d00);
    rig.back_end().next_rip = Some(0x1_0002);
    rig.play(&[Exit::WriteMsr]);
    assert_eq!(rig.back_end().mode, ApicMode::X2Apic);

    let mut rig = Rig::delivering(2);
    let other = &mut rig.seats[1];
    other.start();
    other.run();
    other.vcpu.backend.requests.clear();
    let send = |mode, vector| InterruptMessage { mode, ..InterruptMessage::fixed(1, vector) };
    rig.shared.fabric.deliver(InterruptMessage::fixed(1, 0x51));
    assert_eq!(other.run(), Leave::Attention);
    rig.shared.fabric.deliver(send(DeliveryMode::Init, 0));
    assert!(matches!(other.run(), Leave::Blocked { .. }));
    rig.shared.fabric.deliver(send(DeliveryMode::StartUp, 2));
    assert_eq!(other.run(), Leave::Attention);
    let told: Vec<_> = other.vcpu.backend.requests.iter().map(|r| (r.requested, r.level)).collect();
    assert_eq!(told, [(0x51, None), (0, Some([0; 4]))]);
}

#[test]
fn without_such_hardware_a_priority_is_asked_for_that_lets_the_interrupt_in() {
    let mut rig = Rig::new(1);
    rig.registers().rflags |= Rflags::IF;
    page(&rig, 0x80, 0x60);
    interrupt(&rig, 0x51);
    rig.play(&[]);
    assert_eq!((rig.back_end().priority, rig.injected()), (5, None));
    // The guest lowers it, without an exit but for this one.
    page(&rig, 0x80, 0x40);
    rig.play(&[Exit::InterruptWindow]);
    assert_eq!(rig.back_end().priority, 0);
    let injected = rig.back_end().entries.iter().filter_map(|entry| entry.injected).next();
    assert_eq!(injected, Some(Event::Interrupt(crate::cpu::Vector(0x51))));
}
