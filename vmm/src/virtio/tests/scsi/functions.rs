//! Task management, and the rest of the control queue.
use super::{BAD_TARGET, Data, Host, OK, on_blocks};
use crate::virtio::{Feature, Status};
use mm::addr::Gpa;
use std::sync::atomic::Ordering;

const ABORT_TASK: u32 = 0;
const ABORT_TASK_SET: u32 = 1;
const CLEAR_ACA: u32 = 2;
const CLEAR_TASK_SET: u32 = 3;
const I_T_NEXUS_RESET: u32 = 4;
const LOGICAL_UNIT_RESET: u32 = 5;
const QUERY_TASK: u32 = 6;
const QUERY_TASK_SET: u32 = 7;

const SUCCEEDED: u8 = 10;
const REJECTED: u8 = 11;
const INCORRECT_LUN: u8 = 12;

/// A host whose disk holds requests back.
fn holding() -> Host {
    let host = Host::new();
    host.rig.disk.holds.store(true, Ordering::SeqCst);
    host
}

fn read(host: &mut Host, unit: u16) -> (u64, u64) {
    let at = host.begin(unit, &on_blocks(0x88, 0, 0, 1), Data::In(512));
    (at, host.last_id())
}

const UNIT_0: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_task_is_aborted_when_the_disk_has_let_go_of_it() {
    let mut host = holding();
    let (first, _) = read(&mut host, 0);
    let (second, id) = read(&mut host, 0);
    let function = host.begin_function(ABORT_TASK, UNIT_0, id);
    assert_eq!(host.end_function(function), None);
    host.rig.disk.finish(0);
    host.end(first, Data::In(512)).good();
    assert_eq!(host.end_function(function), None, "it was another");
    host.rig.disk.finish(0);
    // The task's answer is there before the function's.
    host.end(second, Data::In(512)).good();
    assert_eq!(host.end_function(function), Some(OK));
    assert_eq!(host.rig.interrupt(0), Some(0x51), "the control queue's interrupt");
    // One that is done, or never was.
    for id in [id, 12345] {
        assert_eq!(host.function(ABORT_TASK, 0, id), OK);
    }
}

#[test]
fn a_set_of_tasks_is_that_of_its_unit() {
    for function in [ABORT_TASK_SET, CLEAR_TASK_SET, LOGICAL_UNIT_RESET] {
        let mut host = holding();
        for unit in [0, 1, 0] {
            read(&mut host, unit);
        }
        let waits = host.begin_function(function, UNIT_0, 0);
        host.rig.disk.finish(2);
        assert_eq!(host.end_function(waits), None);
        // What comes now is not waited for.
        read(&mut host, 0);
        host.rig.disk.finish(0);
        assert_eq!(host.end_function(waits), Some(OK), "unit 1 goes on");
        assert_eq!(host.rig.disk.held(), if function == LOGICAL_UNIT_RESET { 1 } else { 2 });
    }
}

#[test]
fn a_unit_that_was_reset_says_so() {
    let mut host = Host::new();
    // With what the guest had set.
    let page = [0, 0, 0, 0, 10, 10, 4, 0x10, 0, 0, 0, 0, 0, 0, 0, 0];
    host.ask(0, &[0x15, 0x10, 0, 0, 16, 0], Data::Out(&page)).good();
    assert_eq!(host.function(LOGICAL_UNIT_RESET, 0, 0), OK);
    assert_eq!(host.ask(0, &[0; 6], Data::None).why(), (6, 0x2903), "in fixed format again");
    host.ask(1, &[0; 6], Data::None).good();
    assert_eq!(host.function(I_T_NEXUS_RESET, 0, 0), OK);
    for unit in 0..2 {
        assert_eq!(host.ask(unit, &[0; 6], Data::None).why(), (6, 0x2907));
        host.ask(unit, &[0; 6], Data::None).good();
    }
}

#[test]
fn a_reset_of_the_nexus_waits_for_all_units() {
    let mut host = holding();
    read(&mut host, 0);
    read(&mut host, 1);
    let waits = host.begin_function(I_T_NEXUS_RESET, UNIT_0, 0);
    host.rig.disk.finish(0);
    assert_eq!(host.end_function(waits), None);
    host.rig.disk.finish(0);
    assert_eq!(host.end_function(waits), Some(OK));
}

#[test]
fn tasks_can_be_asked_for() {
    let mut host = holding();
    let (_, id) = read(&mut host, 1);
    for (function, unit, id, response) in [
        (QUERY_TASK, 1, id, SUCCEEDED),
        (QUERY_TASK, 0, id, OK),
        (QUERY_TASK, 1, id + 1, OK),
        (QUERY_TASK_SET, 1, 0, SUCCEEDED),
        (QUERY_TASK_SET, 0, 0, OK),
    ] {
        assert_eq!(host.function(function, unit, id), response, "{function} {unit} {id}");
    }
    host.rig.disk.finish(0);
    assert_eq!(host.function(QUERY_TASK, 1, id), OK);
}

#[test]
fn what_is_in_the_ring_still_is_a_task_too() {
    let mut host = holding();
    let (_, pieces) = host.place(0, &on_blocks(0x8a, 0, 0, 1), Data::Out(&[0; 512]));
    host.ring.add(&pieces);
    let id = host.last_id();
    // The guest has not notified yet.
    let waits = host.begin_function(ABORT_TASK, UNIT_0, id);
    assert_eq!((host.rig.disk.held(), host.end_function(waits)), (1, None));
    host.rig.disk.finish(0);
    assert_eq!(host.end_function(waits), Some(OK));
}

#[test]
fn more_tasks_than_are_looked_at_at_once_are_a_failure() {
    let mut host = Host::on(super::machine(1, 1024, |_| {}), 0);
    host.ask(0, &[0; 6], Data::None).why();
    for _ in 0..3 {
        let (_, mut pieces) = host.place(0, &on_blocks(0x88, 0, 0, 4096), Data::None);
        pieces.push((0x60_0000, 2 << 20, true));
        for _ in 0..4 {
            host.ring.add(&pieces);
        }
    }
    assert_eq!(host.function(ABORT_TASK, 0, 0), 9);
    assert!(host.rig.board.next_deadline().is_some(), "the rest is done later");
}

#[test]
fn functions_that_are_not_there_are_rejected_and_units_that_are_not_there_told() {
    let mut host = Host::new();
    for function in [CLEAR_ACA, 8, u32::MAX] {
        assert_eq!(host.function(function, 0, 0), REJECTED);
    }
    for function in [ABORT_TASK, LOGICAL_UNIT_RESET, QUERY_TASK_SET] {
        assert_eq!(host.function(function, 2, 0), INCORRECT_LUN);
        let at = host.begin_function(function, [1, 1, 0, 0, 0, 0, 0, 0], 0);
        assert_eq!(host.end_function(at), Some(BAD_TARGET));
    }
}

#[test]
fn there_are_no_events_to_subscribe_to() {
    let mut host = Host::new();
    for (kind, target, unit, response) in
        [(1u32, 0, 0, OK), (2, 0, 1, OK), (2, 0, 2, INCORRECT_LUN), (1, 1, 0, BAD_TARGET)]
    {
        let at = host.rig.allocate(4096);
        let request =
            [&kind.to_le_bytes()[..], &[1, target, 0, unit, 0, 0, 0, 0], &[0xff; 4], &[0xee; 5]].concat();
        host.rig.memory.write(Gpa::new(at), &request).unwrap();
        host.control.add(&[(at, 16, false), (at + 16, 5, true)]);
        host.rig.kick(0);
        assert_eq!(host.control.used().map(|(_, bytes)| bytes), Some(5));
        assert_eq!(host.rig.bytes(at + 16, 5), [0, 0, 0, 0, response]);
    }
}

#[test]
fn a_reset_of_the_device_forgets_who_waits() {
    let mut host = holding();
    read(&mut host, 0);
    let waits = host.begin_function(ABORT_TASK_SET, UNIT_0, 0);
    host.rig.set_status(0);
    assert_ne!(host.rig.status(), 0);
    host.rig.disk.finish(0);
    assert_eq!(host.rig.status(), 0);
    assert_eq!(
        (host.rig.bytes(waits, 1), host.control.used(), host.ring.used()),
        ([0xee].to_vec(), None, None)
    );
    // Another takes its place.
    host.restart(0);
    host.ask(0, &[0; 6], Data::None).why();
    read(&mut host, 0);
    let waits = host.begin_function(ABORT_TASK_SET, UNIT_0, 0);
    assert_eq!(host.end_function(waits), None);
    host.rig.disk.finish(0);
    assert_eq!(host.end_function(waits), Some(OK));
}

#[test]
fn functions_that_wait_are_no_more_than_there_is_room_for() {
    let mut host = holding();
    read(&mut host, 0);
    // The same descriptors over and over.
    let at = host.rig.allocate(4096);
    host.rig.memory.write(Gpa::new(at), &[&[0; 4][..], &[1, 0, 0, 0], &UNIT_0, &[0; 9]].concat()).unwrap();
    let (head, _) = host.control.add(&[(at, 24, false), (at + 24, 1, true)]);
    for index in 0..65u16 {
        assert_eq!(host.rig.status(), 0xf, "{index}");
        let ring = &host.control;
        ring.put(ring.driver + 4 + 2 * u64::from(index % ring.size), &head.to_le_bytes());
        ring.put(ring.driver + 2, &(index + 1).to_le_bytes());
        host.rig.kick(0);
    }
    assert_eq!(host.rig.status(), 0xf | Status::NEEDS_RESET);
    host.rig.disk.finish(0);
    host.restart(Feature::RING_PACKED);
    assert_eq!(host.function(QUERY_TASK_SET, 0, 0), OK);
}

#[test]
fn what_is_no_request_stops_the_device() {
    let at = 0x20_0000;
    for (kind, pieces) in [
        (3u32, [(at, 24, false), (at + 24, 1, true)]),
        (0, [(at, 23, false), (at + 24, 1, true)]),
        (0, [(at, 24, false), (at + 24, 0, true)]),
        (0, [(at, 3, false), (at + 24, 1, true)]),
        (1, [(at, 15, false), (at + 24, 5, true)]),
        (2, [(at, 16, false), (at + 24, 4, true)]),
    ] {
        let mut host = Host::new();
        let request = [&kind.to_le_bytes()[..], &[0; 20]].concat();
        host.rig.memory.write(Gpa::new(at), &request).unwrap();
        host.control.add(&pieces);
        host.rig.kick(0);
        assert_eq!(host.rig.status(), 0xf | Status::NEEDS_RESET, "{kind} {pieces:x?}");
        assert_eq!(host.rig.interrupt(0), Some(0x50));
        host.restart(0);
        assert_eq!(host.function(QUERY_TASK_SET, 0, 0), OK);
    }
}
