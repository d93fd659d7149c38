//! Who the logical units are, how large, and what they know.
use super::{Data, Host, machine, on_blocks};
use crate::virtio::tests::rig::DISK;
use block::Features;
use std::vec::Vec;

fn inquiry(page: Option<u8>, room: u16) -> Vec<u8> {
    let [high, low] = room.to_be_bytes();
    [0x12, u8::from(page.is_some()), page.unwrap_or(0), high, low, 0].to_vec()
}

fn vital(host: &mut Host, unit: u16, page: u8) -> Vec<u8> {
    let data = host.ask(unit, &inquiry(Some(page), 255), Data::In(255)).good();
    assert_eq!(&data[..2], [0, page], "a disk, and the page that was asked for");
    assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])), data.len() - 4);
    data
}

#[test]
fn the_configuration_tells_of_the_controller() {
    let rig = machine(4, 64, |_| {});
    let word = |offset| rig.read(rig.config, offset, 4);
    assert_eq!(rig.offered() & 0xf, 0, "no INOUT, no hot-plug, no changes, no protection information");
    assert_eq!([word(0), word(4), word(8), word(12), word(16)], [4, 318, 32768, 64, 16]);
    assert_eq!([word(20), word(24)], [96, 32], "sense data and CDB");
    assert_eq!((word(28), word(32), word(36)), (0, 1, 0), "one channel, one target, LUN 1, nothing behind");
    assert_eq!(rig.read(rig.common, 0x12, 2), 6, "queues");
}

#[test]
fn a_unit_says_what_it_is() {
    let mut host = Host::new();
    let data = host.ask(0, &inquiry(None, 255), Data::In(255)).good();
    assert_eq!(&data[..8], [0, 0, 6, 0x12, 69, 0, 0, 2]);
    assert_eq!(&data[8..36], b"PureVisrVirtual disk    0001");
    assert_eq!((&data[58..64], data.len()), (&[0, 0xa0, 4, 0x60, 4, 0xc0][..], 74));
}

#[test]
fn an_answer_is_cut_where_the_guest_wants_no_more() {
    let mut host = Host::new();
    for room in [36, 5, 1, 0] {
        let answer = host.ask(0, &inquiry(None, room), Data::In(100));
        assert_eq!(answer.residual, 100 - u32::from(room));
        assert_eq!(answer.good().len(), usize::from(room));
    }
    let answer = host.ask(0, &inquiry(None, 0), Data::None);
    assert_eq!((answer.residual, answer.good().len()), (0, 0));
}

#[test]
fn each_page_of_vital_product_data_is_there() {
    let mut host = Host::with(0, |g| (g.physical_block_size, g.features.solid_state) = (4096, true));
    assert_eq!(vital(&mut host, 0, 0)[4..], [0, 0x80, 0x83, 0xb0, 0xb1, 0xb2]);
    for unit in 0..2 {
        assert_eq!(vital(&mut host, unit, 0x80)[4..], std::format!("serial-{unit}").into_bytes());
    }
    let limits = vital(&mut host, 0, 0xb0);
    assert_eq!((limits.len(), limits[4], &limits[6..8]), (64, 1, &[0, 8][..]));
    let word = |at: usize| u32::from_be_bytes(limits[at..at + 4].try_into().unwrap());
    assert_eq!([word(8), word(12), word(20), word(24), word(28)], [32768, 0, 1 << 22, 1, 8]);
    assert_eq!([word(32), word(36), word(40)], [0x8000_0000, 0, 1 << 14]);
    let characteristics = vital(&mut host, 0, 0xb1);
    assert_eq!((characteristics.len(), &characteristics[4..6]), (64, &[0, 1][..]), "not rotating");
    assert_eq!(vital(&mut host, 0, 0xb2)[4..], [0, 0xe0, 0, 0]);
    let wrong = host.ask(0, &inquiry(Some(0xb3), 255), Data::In(255));
    assert_eq!((wrong.why(), &wrong.sense[15..18]), ((5, 0x2400), &[0xc0, 0, 2][..]));
    assert_eq!(
        host.ask(0, &[0x12, 0, 0x80, 0, 96, 0], Data::In(96)).why(),
        (5, 0x2400),
        "a page without EVPD"
    );
}

#[test]
fn units_are_told_apart_by_text_and_number() {
    let mut host = Host::new();
    let pages: Vec<_> = (0..2).map(|unit| vital(&mut host, unit, 0x83)).collect();
    for (unit, page) in pages.iter().enumerate() {
        let text = std::format!("PureVisrserial-{unit}");
        assert_eq!(page[4..8], [2, 1, 0, text.len() as u8]);
        assert_eq!(page[8..8 + text.len()], *text.as_bytes());
        let number = &page[8 + text.len()..];
        assert_eq!((&number[..4], number[4] >> 4, number.len()), (&[1, 3, 0, 8][..], 3, 12));
    }
    assert_ne!(pages[0][24..], pages[1][24..]);
}

#[test]
fn units_with_one_serial_number_are_told_apart_nevertheless() {
    use crate::virtio::tests::rig::Rig;
    use crate::virtio::{Scsi, ScsiConfig, ScsiDisk};
    let long = "0123456789012345678901234567890123456789";
    let rig = Rig::above(
        |_| {},
        |disk, keep| {
            let serials = ["a", "a", "b\u{e4}\n", long, long];
            let disks = serials.map(|serial| ScsiDisk { disk: disk.clone(), serial: serial.into() }).into();
            Box::new(Scsi::new(ScsiConfig { disks, queues: 1, queue_size: 64, keep }))
        },
    );
    let mut host = Host::on(rig, 0);
    let expected = ["a", "a.1", "b??", &long[..36], &std::format!("{}.4", &long[..32])];
    for (unit, expected) in expected.into_iter().enumerate() {
        assert_eq!(vital(&mut host, unit as u16, 0x80)[4..], *expected.as_bytes());
    }
}

#[test]
fn the_size_is_told_in_both_ways() {
    let mut host = Host::with(0, |g| g.physical_block_size = 4096);
    let last = (DISK << 11) as u32 - 1;
    let small = host.ask(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8)).good();
    assert_eq!(small, [last.to_be_bytes(), 512u32.to_be_bytes()].concat());
    let large = host.ask(0, &on_blocks(0x9e, 0x10, 0, 32), Data::In(32)).good();
    assert_eq!(large[..12], [0, 0, 0, 0, 0, 0, last.to_be_bytes()[2], 0xff, 0, 0, 2, 0]);
    assert_eq!(large[12..], [[0, 3, 0x80, 0].as_slice(), &[0; 16]].concat());
    // The part.
    let part = host.ask(1, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8)).good();
    assert_eq!(part[..4], (last - 2048).to_be_bytes());
}

#[test]
fn a_size_that_four_bytes_cannot_tell_is_told_by_sixteen() {
    let mut host = Host::with(0, |g| g.blocks = 1 << 40);
    let small = host.ask(0, &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8)).good();
    assert_eq!(small[..4], [0xff; 4]);
    let large = host.ask(0, &on_blocks(0x9e, 0x10, 0, 12), Data::In(12)).good();
    assert_eq!(large[..8], ((1u64 << 40) - 1).to_be_bytes());
    // And the block descriptors of mode pages.
    let sense = host.ask(0, &[0x1a, 0, 8, 0, 12, 0], Data::In(12)).good();
    assert_eq!(sense[4..8], [0xff; 4]);
    let sense = host.ask(0, &[0x5a, 0x10, 8, 0, 0, 0, 0, 0, 24, 0], Data::In(24)).good();
    assert_eq!(sense[8..16], (1u64 << 40).to_be_bytes());
}

#[test]
fn the_units_are_listed() {
    let mut host = Host::new();
    let luns = |kind, room: u8| [0xa0, 0, kind, 0, 0, 0, 0, 0, 0, room, 0, 0];
    let both = [0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for kind in [0, 2] {
        assert_eq!(host.ask(0, &luns(kind, 255), Data::In(255)).good(), both);
    }
    assert_eq!(host.ask(0, &luns(1, 16), Data::In(16)).good(), [0; 8], "none is well known");
    assert_eq!(host.ask(0, &luns(0, 16), Data::In(16)).good(), both[..16]);
    for (kind, room) in [(0, 15), (0, 0), (3, 16)] {
        assert_eq!(host.ask(0, &luns(kind, room), Data::In(16)).why(), (5, 0x2400));
    }
}

#[test]
fn a_unit_that_is_not_there_says_so() {
    let mut host = Host::new();
    for unit in [2, 63, 0x3fff] {
        let data = host.ask(unit, &inquiry(None, 36), Data::In(36)).good();
        assert_eq!(data[0], 0x7f);
        assert_eq!(host.ask(unit, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], Data::In(16)).good()[3], 16);
        assert_eq!(host.ask(unit, &[0x03, 0, 0, 0, 18, 0], Data::In(18)).good()[12..14], [0x25, 0]);
        assert_eq!(host.ask(unit, &[0; 6], Data::None).why(), (5, 0x2500));
        assert_eq!(host.ask(unit, &on_blocks(0x88, 0, 0, 1), Data::In(512)).why(), (5, 0x2500));
        assert_eq!(host.ask(unit, &inquiry(Some(0), 36), Data::In(36)).why(), (5, 0x2400));
    }
}

/// REPORT SUPPORTED OPERATION CODES.
fn opcodes(options: u8, code: u8, action: u8, room: u16) -> Vec<u8> {
    let [high, low] = room.to_be_bytes();
    [0xa3, 0x0c, options, code, 0, action, 0, 0, high, low, 0, 0].to_vec()
}

#[test]
fn the_commands_are_listed_as_they_are_known() {
    let mut host = Host::new();
    let all = host.ask(0, &opcodes(0, 0, 0, 1000), Data::In(1000)).good();
    assert_eq!(all[..4], (all.len() as u32 - 4).to_be_bytes());
    let codes: Vec<u8> = all[4..].chunks(8).map(|command| command[0]).collect();
    assert_eq!(codes.len(), 26);
    // Each that is listed is known, and no other.
    for code in 0..=255 {
        let action = if code == 0x9e { 0x10 } else { 0x0c };
        let with = if matches!(code, 0x9e | 0xa3) { action } else { 0 };
        let one = host.ask(0, &opcodes(3, code, with, 100), Data::In(100)).good();
        assert_eq!(one[1] & 7, if codes.contains(&code) { 3 } else { 1 }, "{code:#x}");
        if codes.contains(&code) {
            assert_eq!((one[4], one.len()), (code, 4 + usize::from(one[3])));
        }
    }
    // With time-outs, of which none is told.
    assert_eq!(host.ask(0, &opcodes(0x80, 0, 0, 1000), Data::In(1000)).good().len(), 4 + 26 * 20);
    let read = host.ask(0, &opcodes(0x81, 0x08, 0, 100), Data::In(100)).good();
    assert_eq!(read[..10], [0, 0x83, 0, 6, 0x08, 0x1f, 0xff, 0xff, 0xff, 0]);
    assert_eq!(read[10..], [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_question_for_commands_has_to_fit_the_command() {
    let mut host = Host::new();
    for (options, code, action) in [(1, 0x9e, 0), (2, 0x28, 0), (4, 0x28, 0), (7, 0, 0)] {
        assert_eq!(host.ask(0, &opcodes(options, code, action, 100), Data::In(100)).why(), (5, 0x2400));
    }
    let known = |host: &mut Host, options, code, action| {
        host.ask(0, &opcodes(options, code, action, 100), Data::In(100)).good()[1]
    };
    assert_eq!(known(&mut host, 2, 0x9e, 0x10), 3);
    assert_eq!(known(&mut host, 2, 0x9e, 0x12), 1);
    assert_eq!(known(&mut host, 3, 0x28, 1), 1);
    assert_eq!(known(&mut host, 1, 0x7f, 0), 1);
}

#[test]
fn what_the_disk_cannot_do_does_not_exist() {
    let mut host = Host::with(0, |g| g.features = Features::default());
    let all = host.ask(0, &opcodes(0, 0, 0, 1000), Data::In(1000)).good();
    assert!(all[4..].chunks(8).all(|command| !matches!(command[0], 0x41 | 0x42 | 0x93)));
    for code in [0x41, 0x42, 0x93] {
        assert_eq!(host.ask(0, &[code], Data::None).why(), (5, 0x2000));
        assert_eq!(host.ask(0, &opcodes(1, code, 0, 100), Data::In(100)).good(), [0, 1, 0, 0]);
    }
    assert_eq!(vital(&mut host, 0, 0xb2)[4..], [0; 4]);
    assert_eq!(vital(&mut host, 0, 0xb0)[20..], [0; 44]);
    assert_eq!(vital(&mut host, 0, 0xb1)[4..6], [0, 0]);
    assert_eq!(host.ask(0, &on_blocks(0x9e, 0x10, 0, 32), Data::In(32)).good()[14], 0);
}
