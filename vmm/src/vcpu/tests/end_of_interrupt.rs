//! Interrupts that a guest ends without an exit.
use super::rig::Rig;
use crate::cpu::{Gpr, Rflags, Vector};
use crate::exit::{Event, Exit};
use crate::platform::apic::{InterruptMessage, RegisterPage};
use crate::policy::paravirtual::MSR_PV_EOI;
use mm::addr::Gpa;

/// Where the guests have their word.
const WORD: u64 = 0x5000;

fn write_msr(rig: &mut Rig, value: u64) -> Option<Event> {
    rig.code(&[0x0f, 0x30]);
    let gprs = &mut rig.registers().gprs;
    gprs[Gpr::Rcx as usize] = MSR_PV_EOI.into();
    (gprs[Gpr::Rax as usize], gprs[Gpr::Rdx as usize]) = (value & 0xffff_ffff, value >> 32);
    rig.play(&[Exit::WriteMsr]);
    rig.injected()
}

/// A VM that takes interrupts, whose guest has named its word.
fn rig() -> Rig {
    let mut rig = Rig::new(1);
    rig.registers().rflags |= Rflags::IF;
    assert_eq!(write_msr(&mut rig, WORD | 1), None);
    rig
}

fn word(rig: &Rig) -> u32 {
    rig.shared.memory.load_u32(Gpa::new(WORD)).unwrap()
}

fn interrupt(rig: &Rig, vector: u8) {
    assert!(rig.shared.fabric.deliver(InterruptMessage::fixed(0, vector)));
}

fn in_service(rig: &Rig) -> bool {
    let page: &RegisterPage = rig.shared.fabric.registers(0);
    (0x100..0x180).step_by(16).any(|offset| page.word_at(offset) != 0)
}

/// The guest runs once: what it finds in its word, and whether it ends its interrupt by it.
fn run(rig: &mut Rig, ends: bool) -> bool {
    let memory = rig.shared.memory.clone();
    let (told, found) = std::sync::mpsc::channel();
    rig.back_end().then(move |fake| {
        let word = memory.load_u32(Gpa::new(WORD)).unwrap();
        told.send(word & 1 != 0).unwrap();
        if ends {
            memory.store_u8(Gpa::new(WORD), word as u8 & !1).unwrap();
        }
        fake.registers.rflags |= Rflags::IF;
        Exit::HostInterrupt
    });
    rig.play(&[]);
    found.recv().unwrap()
}

#[test]
fn a_handler_that_finds_its_bit_ends_the_interrupt_by_it() {
    let mut rig = rig();
    interrupt(&rig, 0x50);
    assert!(run(&mut rig, true));
    assert!(!in_service(&rig) && word(&rig) & 1 == 0);
    interrupt(&rig, 0x40);
    assert!(run(&mut rig, true), "a less urgent one is let through by then");
    assert!(!in_service(&rig));
}

#[test]
fn the_bit_is_taken_back_at_each_exit_and_given_again_while_the_handler_runs() {
    let mut rig = rig();
    interrupt(&rig, 0x50);
    for _ in 0..3 {
        assert!(run(&mut rig, false));
        assert!(in_service(&rig) && word(&rig) & 1 == 0);
    }
    rig.vcpu().apic.mmio_write(0xb0, 4, 0, 0);
    assert!(!run(&mut rig, false), "nothing is in service");
}

#[test]
fn who_has_another_interrupt_waiting_must_tell() {
    let mut rig = rig();
    interrupt(&rig, 0x50);
    interrupt(&rig, 0x40);
    assert!(!run(&mut rig, false));
    assert!(in_service(&rig));
}

#[test]
fn the_end_of_a_level_triggered_interrupt_is_told() {
    let mut rig = rig();
    let message = InterruptMessage { level_triggered: true, ..InterruptMessage::fixed(0, 0x50) };
    assert!(rig.shared.fabric.deliver(message));
    assert!(!run(&mut rig, false));
    assert!(in_service(&rig));
}

#[test]
fn one_that_the_hardware_delivers_when_the_guest_opens_can_end_in_the_same_entry() {
    for (takes, ends) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut rig = rig();
        rig.back_end().holds = true;
        rig.registers().rflags -= Rflags::IF;
        interrupt(&rig, 0x50);
        rig.back_end().took = takes;
        assert!(run(&mut rig, ends));
        let entries = &rig.back_end().entries;
        assert!(entries.iter().any(|entry| entry.held == Some(Vector(0x50))));
        // What was not taken is injected by now, since the guest has opened; what was taken and ended is gone.
        assert_eq!(in_service(&rig), !(takes && ends), "{takes} {ends}");
    }
}

#[test]
fn a_word_that_no_ram_has_or_is_not_wanted_any_more_is_left_alone() {
    let mut rig = rig();
    for value in [WORD, 0, 0xfee0_0001, 1 << 40 | 1, !2] {
        assert_eq!(write_msr(&mut rig, value), None, "{value:#x}");
        interrupt(&rig, 0x50);
        assert!(!run(&mut rig, false));
        rig.vcpu().apic.mmio_write(0xb0, 4, 0, 0);
    }
    rig.registers().rflags |= Rflags::IF;
    assert!(matches!(write_msr(&mut rig, WORD | 3), Some(Event::Exception(_))), "bit 1 is reserved");
    rig.block.check();
}

#[test]
fn hardware_that_ends_interrupts_by_itself_has_no_such_register() {
    let mut rig = Rig::delivering(1);
    assert!(matches!(write_msr(&mut rig, WORD | 1), Some(Event::Exception(_))));
}
