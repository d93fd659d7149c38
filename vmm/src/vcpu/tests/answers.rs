//! Waiting for a disk's answer, which something else may come before.
use super::rig::{Rig, Seat};
use std::sync::atomic::Ordering;

/// A vCPU whose guest is known to halt until a disk answers. Its clock stands still: time does not end a wait.
fn patient() -> Rig {
    taught(Rig::new(1))
}

fn taught(mut rig: Rig) -> Rig {
    let answers = &mut rig.vcpu().answers;
    for now in (0..3).map(|n| 1_000_000 * n) {
        answers.asks(now, |longest| longest);
        answers.halts(now + 1_000);
        answers.answered(now + 50_000);
    }
    rig
}

/// How often it looks whether the host wants its CPU, before its wait for an answer ends or pauses.
fn looks(rig: &mut Rig) -> u32 {
    let Seat { vcpu, host } = &mut rig.seats[0];
    host.looks.set(0);
    vcpu.answers.asks(10_000_000, |longest| longest);
    vcpu.await_answer(host);
    host.looks.get()
}

/// Whether it goes on with its wait when the host has done what it had to do.
fn still_waits(rig: &mut Rig) -> bool {
    rig.vcpu().answers.until() != 0
}

#[test]
fn the_wait_ends_for_an_interrupt_to_the_vcpu() {
    let mut rig = patient();
    rig.shared.fabric.attention(0);
    assert_eq!(looks(&mut rig), 0);
    assert!(!still_waits(&mut rig));
}

#[test]
fn the_wait_ends_for_a_timer_of_the_guest_whoever_delivers_its_interrupt() {
    for mut rig in [patient(), taught(Rig::delivering(1))] {
        let apic = &mut rig.vcpu().apic;
        for (register, value) in [(0x320, 0xec), (0x3e0, 0xb), (0x380, 500)] {
            apic.mmio_write(register, 4, value, 0);
        }
        assert!(apic.expire(500));
        assert_eq!(looks(&mut rig), 0);
        assert!(!still_waits(&mut rig));
    }
}

#[test]
fn the_wait_ends_for_the_end_or_the_pause_of_the_vm() {
    let mut rig = patient();
    rig.shared.park();
    assert_eq!(looks(&mut rig), 0);
}

#[test]
fn the_wait_pauses_for_what_the_host_has_to_do() {
    let mut rig = patient();
    rig.host().attention_after(7);
    assert_eq!(looks(&mut rig), 8);
    rig.host().attention.store(true, Ordering::SeqCst);
    assert_eq!(looks(&mut rig), 1);
    assert!(still_waits(&mut rig));
}

#[test]
fn a_guest_that_nothing_is_known_of_goes_on_at_once() {
    let mut rig = Rig::new(1);
    rig.host().now.set(10_000_000);
    assert_eq!(looks(&mut rig), 1);
    assert!(!still_waits(&mut rig));
}
