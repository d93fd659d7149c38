//! Requests to a disk, in every format of rings.
use super::rig::Rig;
use crate::virtio::Feature;
use block::Operation;

const FORMATS: [u64; 8] = {
    let (p, i, e) = (Feature::RING_PACKED, Feature::INDIRECT_DESC, Feature::EVENT_IDX);
    [0, i, e, i | e, p, p | i, p | e, p | i | e]
};

#[test]
fn what_was_written_is_read_back_in_every_format_of_rings() {
    for features in FORMATS {
        let mut rig = Rig::new();
        let mut ring = rig.start(features);
        ring.enable_interrupts();
        for round in 0..200u64 {
            let sector = round * 13 % 4096;
            let (out, pieces) = rig.request(1, sector, 4096);
            let data = rig.fill(out + 4096, 4096, round);
            let (id, kick) = ring.add(&pieces);
            assert!(kick, "the disk has nothing to do");
            rig.kick(0);
            assert_eq!(ring.used(), Some((id, 1)), "{features:#x} {round}");
            assert_eq!(rig.result(out), 0);
            let (back, pieces) = rig.request(0, sector, 4096);
            let (id, _) = ring.add(&pieces);
            rig.kick(0);
            assert_eq!(ring.used(), Some((id, 4097)));
            assert_eq!((rig.result(back), rig.bytes(back + 4096, 4096)), (0, data));
            assert_eq!(rig.interrupt(1), Some(0x61));
            ring.enable_interrupts();
            rig.next_to(0x20_0000);
        }
        assert!(rig.disk.asked.lock().unwrap().iter().all(|asked| asked.segments.len() == 1));
        assert_eq!(rig.board.in_flight(), 0);
        assert!(matches!(rig.disk.asked.lock().unwrap()[0].operation, Operation::Write { durable: false }));
    }
}
