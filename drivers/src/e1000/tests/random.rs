//! Random traffic with random faults: what goes out and comes up is whole, and every frame is let go of once.
use super::frames::*;
use super::*;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % below
    }
}

fn play(seed: u64, faults: bool) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let rig = Rig::new(CARDS[seed as usize % CARDS.len()]);
    rig.model.state().seed(dice.roll(1 << 40));
    let (mut tag, mut incoming, mut expected) = (0, Vec::new(), 0);
    for _ in 0..300 {
        match dice.roll(10) {
            0..4 => {
                let payload = 1 + dice.roll(9000 - 92) as usize;
                let shape = Shape { v6: dice.roll(2) == 0, tagged: dice.roll(2) == 0, payload };
                let pieces = [1 + dice.roll(3000) as usize, 1000];
                let copied = if dice.roll(8) == 0 { usize::MAX } else { LONGEST + dice.roll(60) as usize };
                let cut = 100 + dice.roll(2000) as u16;
                let ((frame, offload), frames) = match dice.roll(3) {
                    0 => ((whole_tcp(shape), Offload::default()), 1),
                    1 => (tcp(shape, None), 1),
                    _ => (tcp(shape, Some(cut)), payload.div_ceil(cut.into())),
                };
                if rig.transmit(tag, &frame, copied, &pieces, offload).is_ok() {
                    (tag, expected) = (tag + 1, expected + frames);
                }
            }
            4 => rig.nic.start(),
            5..8 => {
                let frame = plain(MAC, 60 + dice.roll(8959) as usize, incoming.len() as u64);
                rig.arrive(&frame);
                incoming.push(frame);
            }
            8 => rig.pass(dice.roll(SECOND / 1000)),
            _ if faults => match dice.roll(12) {
                0 => rig.model.state().sends_nothing = true,
                1 => rig.model.set_link(false),
                _ => {
                    rig.model.state().sends_nothing = false;
                    rig.model.set_link(true);
                    rig.pass(dice.roll(SECOND));
                }
            },
            _ => {}
        }
    }
    rig.model.state().sends_nothing = false;
    rig.model.set_link(true);
    rig.nic.start();
    rig.run(|| rig.told() == tag as usize);
    assert_eq!(rig.told.memory.lock().len(), 0);
    let sent = rig.sent();
    sent.iter().for_each(|frame| _ = read_tcp(frame));
    let counters = rig.nic.counters();
    if !faults {
        rig.run(|| rig.came() == incoming.len());
        assert!(rig.received().into_iter().map(|(frame, _)| frame).eq(incoming));
        assert_eq!((sent.len(), counters.resets), (expected, 0));
    } else {
        rig.pass(SECOND);
        let mut left = incoming.into_iter();
        assert!(rig.received().into_iter().all(|(frame, _)| left.any(|other| other == frame)));
    }
    assert_eq!(rig.nic.counters().receive_errors, 0);
}

#[test]
fn random_traffic_loses_nothing() {
    (0..100).for_each(|seed| play(seed, false));
}

#[test]
fn random_faults_lose_no_memory_and_damage_nothing() {
    (0..100).for_each(|seed| play(seed, true));
}
