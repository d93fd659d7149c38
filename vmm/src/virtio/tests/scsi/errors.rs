//! What goes wrong, as the guest is told.
use super::{Data, GOOD, Host, OK, on_blocks};
use block::BlockError;
use std::sync::atomic::Ordering;

#[test]
fn what_the_disk_reports_reaches_the_guest_as_sense_data() {
    let mut host = Host::new();
    for (error, why) in [
        (BlockError::UnrecoveredRead, (3, 0x1100)),
        (BlockError::WriteFault, (3, 0x0300)),
        (BlockError::Removed, (2, 0x0403)),
        (BlockError::TimedOut, (4, 0x0801)),
        (BlockError::Device(0x281), (4, 0x4400)),
        (BlockError::ReadOnly, (7, 0x2700)),
        (BlockError::OutOfRange, (5, 0x2100)),
        (BlockError::Unsupported, (5, 0x2000)),
    ] {
        host.rig.disk.errors.lock().unwrap().push_back(error);
        let answer = host.ask(0, &on_blocks(0x88, 0, 0x102, 8), Data::In(4096));
        assert_eq!((answer.why(), answer.residual, answer.used), (why, 4096, super::ANSWER), "{error:?}");
        // Which of the eight it was is not known.
        assert_eq!(answer.sense[0], 0x70);
    }
    host.rig.disk.errors.lock().unwrap().push_back(BlockError::UnrecoveredRead);
    let answer = host.ask(0, &on_blocks(0x88, 0, 0x102, 1), Data::In(512));
    assert_eq!(answer.sense[..7], [0xf0, 0, 3, 0, 0, 1, 2], "of one it is");
    host.ask(0, &on_blocks(0x88, 0, 0x102, 8), Data::In(4096)).good();
}

#[test]
fn a_lack_of_memory_is_a_full_task_set() {
    let mut host = Host::new();
    host.rig.disk.errors.lock().unwrap().push_back(BlockError::NoMemory);
    let answer = host.ask(0, &on_blocks(0x88, 0, 0, 1), Data::In(512));
    assert_eq!((answer.response, answer.status, answer.sense.len()), (OK, 0x28, 0));
}

#[test]
fn each_unit_tells_once_that_it_was_switched_on() {
    let mut host = Host::fresh(0, |_| {});
    // These tell what they tell in any case.
    host.ask(0, &[0x12, 0, 0, 0, 36, 0], Data::In(36)).good();
    host.ask(0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], Data::In(16)).good();
    assert_eq!(host.ask(0, &on_blocks(0x88, 0, 0, 1), Data::In(512)).why(), (6, 0x2901));
    host.ask(0, &on_blocks(0x88, 0, 0, 1), Data::In(512)).good();
    // REQUEST SENSE takes it, in the format that is asked for.
    let sense = host.ask(1, &[0x03, 1, 0, 0, 252, 0], Data::In(252)).good();
    assert_eq!(sense, [0x72, 6, 0x29, 1, 0, 0, 0, 0]);
    let sense = host.ask(1, &[0x03, 0, 0, 0, 252, 0], Data::In(252)).good();
    assert_eq!((sense[0], sense[2], sense[12], sense.len()), (0x70, 0, 0, 18));
    host.ask(1, &[0; 6], Data::None).good();
    host.restart(0);
    assert_eq!(host.ask(1, &[0; 6], Data::None).why(), (6, 0x2901), "again after a reset");
}

#[test]
fn a_unit_that_is_stopped_is_not_ready_until_it_is_started() {
    let mut host = Host::with(0, |g| g.features.volatile_cache = true);
    host.ask(0, &[0x1b, 0, 0, 0, 0, 0], Data::None).good();
    assert_eq!(host.rig.disk.asked.lock().unwrap()[0].operation, block::Operation::Flush);
    for cdb in [&[0; 6][..], &on_blocks(0x88, 0, 0, 0), &on_blocks(0x8a, 0, 0, 0), &[0x42; 1]] {
        assert_eq!(host.ask(0, cdb, Data::None).why(), (2, 0x0402), "{cdb:x?}");
    }
    assert_eq!(host.ask(0, &[0x03, 0, 0, 0, 18, 0], Data::In(18)).good()[12..14], [4, 2]);
    host.ask(1, &[0; 6], Data::None).good();
    host.ask(0, &[0x1b, 1, 0, 0, 1, 0], Data::None).good();
    host.ask(0, &[0; 6], Data::None).good();
    // Without a flush; it can't be ejected, and has no states of power.
    host.ask(0, &[0x1b, 0, 0, 0, 4, 0], Data::None).good();
    assert_eq!(host.rig.disk.asked.lock().unwrap().len(), 1);
    for byte in [2, 0x10, 0xb0] {
        assert_eq!(host.ask(0, &[0x1b, 0, 0, 0, byte, 0], Data::None).why(), (5, 0x2400));
    }
}

#[test]
fn a_disk_that_was_pulled_out_is_not_ready() {
    let mut host = Host::new();
    host.rig.disk.gone.store(true, Ordering::SeqCst);
    for (cdb, data) in [(&[0; 6][..], Data::None), (&on_blocks(0x88, 0, 0, 1), Data::In(512))] {
        assert_eq!(host.ask(0, cdb, data).why(), (2, 0x0403));
    }
    // Who it was can be asked still.
    host.ask(0, &[0x12, 0, 0, 0, 36, 0], Data::In(36)).good();
    assert_eq!(host.ask(0, &[0x03, 0, 0, 0, 18, 0], Data::In(18)).good()[12..14], [4, 3]);
}

#[test]
fn locking_the_medium_in_changes_nothing() {
    let mut host = Host::new();
    for prevent in [1, 0] {
        assert_eq!(host.ask(0, &[0x1e, 0, 0, 0, prevent, 0], Data::None).status, GOOD);
    }
}

#[test]
fn sense_data_is_cut_to_the_room_for_it() {
    let mut host = Host::new();
    for size in [0u32, 1, 17, 18, 252] {
        host.rig.write(host.rig.config, 20, 4, size.into());
        assert_eq!(host.rig.read(host.rig.config, 20, 4), size.into());
        let (at, mut pieces) = host.place(0, &[0xff], Data::None);
        pieces[1].1 = 12 + size;
        host.ring.add(&pieces);
        host.rig.kick(2);
        assert_eq!(host.ring.used().map(|(_, used)| used), Some(12 + size));
        let answer = host.rig.bytes(at + 4096, 12 + size as usize);
        assert_eq!(u32::from(answer[0]), size.min(18));
        assert_eq!(answer[10..12], [2, OK]);
        assert_eq!(answer.get(12), Some(&0x70).filter(|_| size > 0));
    }
    host.restart(0);
    assert_eq!(host.rig.read(host.rig.config, 20, 4), 96, "after a reset as at first");
}
