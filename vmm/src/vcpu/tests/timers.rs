//! Timers: when they act, and when the host is told of them.
use super::devices::port;
use super::rig::{CODE, Rig};
use crate::cpu::{Gpr, Rflags, Vector};
use crate::exit::{Direction, Event, Exit, PortAccess};
use crate::vcpu::Leave;
use mm::addr::Gpa;

/// One shot of the local APIC's timer, undivided, after `count` nanoseconds, as vector 0xec.
fn one_shot(rig: &mut Rig, count: u64) {
    let now = rig.host().now.get();
    let apic = &mut rig.vcpu().apic;
    for (register, value) in [(0x320, 0xec), (0x3e0, 0xb), (0x380, count)] {
        apic.mmio_write(register, 4, value, now);
    }
}

#[test]
fn the_host_is_told_of_a_timer_once_and_when_it_changes() {
    let mut rig = Rig::new(1);
    rig.play(&[Exit::HostInterrupt; 3]);
    assert_eq!(*rig.host().timers.borrow(), [], "none");
    one_shot(&mut rig, 5_000);
    rig.play(&[Exit::HostInterrupt; 3]);
    assert_eq!(*rig.host().timers.borrow(), [Some(6_000)]);
    one_shot(&mut rig, 9_000);
    rig.play(&[Exit::HostInterrupt; 3]);
    assert_eq!(*rig.host().timers.borrow(), [Some(6_000), Some(10_000)]);
    one_shot(&mut rig, 0);
    rig.play(&[Exit::HostInterrupt; 3]);
    assert_eq!(*rig.host().timers.borrow(), [Some(6_000), Some(10_000), None]);
}

#[test]
fn a_timer_that_the_guest_sets_is_told_before_it_runs_on() {
    let mut rig = Rig::new(1);
    // MOV [RBX], ECX: the initial count.
    one_shot(&mut rig, 0);
    rig.code(&[0x89, 0x0b]);
    rig.registers().gprs[Gpr::Rbx as usize] = 0xfee0_0380;
    rig.registers().gprs[Gpr::Rcx as usize] = 700;
    rig.play(&[Exit::Memory(super::devices::fault(0xfee0_0380, true))]);
    assert_eq!(*rig.host().timers.borrow(), [Some(1_700)]);
}

#[test]
fn a_timer_that_is_due_interrupts_and_wakes() {
    let mut rig = Rig::new(1);
    rig.registers().rflags |= Rflags::IF;
    rig.code(&[0xf4]);
    one_shot(&mut rig, 5_000);
    assert_eq!(rig.play(&[Exit::Halt]), Leave::Blocked { until: Some(6_000) });
    rig.host().now.set(5_999);
    assert_eq!(rig.play(&[]), Leave::Blocked { until: Some(6_000) });
    rig.host().now.set(6_000);
    assert_eq!(rig.play(&[]), Leave::Attention);
    assert_eq!(rig.injected(), Some(Event::Interrupt(Vector(0xec))));
    assert_eq!(rig.vcpu().deadline(), None);
}

#[test]
fn a_tsc_deadline_is_told_in_the_host_s_time() {
    let mut rig = Rig::new(1);
    rig.vcpu().apic.mmio_write(0x320, 4, 2 << 17 | 0xec, 0);
    rig.code(&[0x0f, 0x30]);
    let gprs = &mut rig.registers().gprs;
    // The guest's counter makes two ticks a nanosecond since power-on.
    (gprs[0], gprs[1], gprs[2]) = (2 * 50_000, 0x6e0, 0);
    rig.play(&[Exit::WriteMsr]);
    let told = rig.host().timers.borrow()[0].unwrap();
    assert!((50_000..50_003).contains(&told), "{told}");
}

/// Programs the 8254's counter 0 as a rate generator of `count`.
fn pit(rig: &mut Rig, seat: usize, count: u8) {
    for (to, value) in [(0x43, 0x34), (0x40, count), (0x40, 0)] {
        let seat = &mut rig.seats[seat];
        seat.vcpu.backend.registers.gprs[0] = u64::from(value);
        assert_eq!(seat.play(&[port(to, 1, Direction::Out)]), Leave::Attention);
    }
}

#[test]
fn the_first_vcpu_keeps_the_board_s_timers() {
    let mut rig = Rig::new(2);
    pit(&mut rig, 0, 200);
    let deadline = rig.shared.board.next_deadline();
    assert!(deadline.is_some());
    assert_eq!(rig.vcpu().deadline(), deadline);
    assert_eq!(rig.host().timers.borrow().last(), Some(&deadline));
    assert_eq!(rig.seats[1].vcpu.deadline(), None);
    rig.host().now.set(deadline.unwrap());
    rig.play(&[]);
    assert!(rig.shared.board.next_deadline() > deadline, "it has acted, and goes on");
}

#[test]
fn another_vcpu_that_changes_a_timer_of_the_board_tells_the_first() {
    let mut rig = Rig::new(2);
    rig.seats[1].start();
    rig.play(&[]);
    rig.take_bells();
    pit(&mut rig, 1, 200);
    assert!(rig.take_bells().contains(&0));
    rig.play(&[]);
    assert_eq!(rig.host().timers.borrow().last(), Some(&rig.shared.board.next_deadline()));
    // An access that changes none tells nobody, however often.
    for _ in 0..3 {
        rig.seats[1].play(&[port(0x40, 1, Direction::In), port(0x80, 1, Direction::Out)]);
    }
    assert_eq!(rig.take_bells(), []);
    // The same again after the first vCPU has changed it is a change.
    let same = rig.shared.board.next_deadline();
    pit(&mut rig, 0, 100);
    rig.take_bells();
    assert_ne!(rig.shared.board.next_deadline(), same);
    pit(&mut rig, 1, 200);
    assert_eq!(rig.take_bells(), [0]);
}

#[test]
fn a_string_of_ports_that_changes_a_timer_of_the_board_tells_the_first_vcpu() {
    let mut rig = Rig::new(2);
    rig.seats[1].start();
    rig.shared.board.port_write(0x43, 1, 0x34, 0);
    rig.take_bells();
    rig.shared.memory.write(Gpa::new(CODE), &[0xf3, 0x6e]).unwrap();
    rig.shared.memory.write(Gpa::new(0x2_0000), &[200, 0]).unwrap();
    let gprs = &mut rig.seats[1].vcpu.backend.registers.gprs;
    (gprs[Gpr::Rcx as usize], gprs[Gpr::Rdx as usize], gprs[Gpr::Rsi as usize]) = (2, 0x40, 0x2_0000);
    let outs =
        Exit::Port(PortAccess { port: 0x40, size: 1, direction: Direction::Out, string: true, next_rip: 0 });
    rig.seats[1].play(&[outs]);
    assert!(rig.shared.board.next_deadline().is_some());
    assert_eq!(rig.take_bells(), [0]);
}

#[test]
fn what_changes_while_the_first_vcpu_looks_is_not_missed() {
    let mut rig = Rig::new(2);
    rig.play(&[]);
    // The change of another vCPU and its message, on whose interrupt nothing more follows, since the guest
    // does not run: who takes the message must look at the timers afterwards.
    let shared = rig.shared.clone();
    *rig.host().meanwhile.borrow_mut() = Some(Box::new(move || {
        for (to, value) in [(0x43, 0x34), (0x40, 200), (0x40, 0)] {
            shared.board.port_write(to, 1, value, 1_000);
        }
        shared.fabric.attention(0);
    }));
    rig.play(&[]);
    assert!(!rig.shared.fabric.outstanding(0));
    assert_eq!(*rig.host().timers.borrow(), [rig.shared.board.next_deadline()]);
}
