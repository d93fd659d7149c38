//! Random frames with random faults: each is told of exactly once, and what goes through is what it was.
use super::super::model::Lie;
use super::*;
use alloc::collections::BTreeSet;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % below
    }
}

/// A frame that says its number and can be checked by it.
fn numbered(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = pattern(len, number as u8 | 1);
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn check(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(numbered(number, bytes.len()) == bytes, "frame {number} was changed");
    number
}

fn play(seed: u64, faults: bool) -> u64 {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let kernel = TestKernel::new(4);
    let model = Model::new(&kernel, [1, 2, 4][seed as usize % 3]);
    model.state().seed(dice.roll(1 << 40));
    for feature in [1 << 29, 1 << 15, 1 << 22, 1 << 17] {
        if dice.roll(3) == 0 {
            model.state().features &= !feature;
        }
    }
    let messages = [Messages::All, Messages::All, Messages::One, Messages::None][dice.roll(4) as usize];
    let rig = try_start(&kernel, &model, messages).ok().unwrap();
    let told = Arc::new(Told::default());
    let queues = u64::from(rig.nic.abilities().queues);
    let (mut accepted, mut came) = (0u64, 0u64);
    for _ in 0..60 {
        for _ in 0..dice.roll(40) {
            let len = 60 + dice.roll(1459) as usize;
            let piece = 100 + dice.roll(1500) as usize;
            rig.kernel.on_cpu(dice.roll(4) as usize, || {
                let bytes = numbered(accepted, len);
                match rig.transmit(&bytes, piece, Offload::default(), (&told, accepted)) {
                    Ok(()) => accepted += 1,
                    Err(refused) => assert_ne!(refused, Refused::Unable),
                }
                if dice.roll(4) == 0 {
                    rig.nic.start();
                }
            });
        }
        for _ in 0..dice.roll(40) {
            let (pair, bytes) = (dice.roll(queues) as usize, numbered(came, 60 + dice.roll(1459) as usize));
            model.state().coming.push_back(Coming { pair, header: [0; 12], bytes });
            came += 1;
        }
        if faults {
            match dice.roll(16) {
                0 => model.state().strangers = 1 + dice.roll(3) as u32,
                1 => model.state().lie = Some(Lie::Id(64 + dice.roll(200) as u32)),
                2 => model.state().lie = Some(Lie::Bytes(dice.roll(1 << 20) as u32 + 4097)),
                3 => model.state().lie = Some(Lie::Buffers(dice.roll(20) as u16)),
                4 => model.state().status |= 64,
                5 => model.state().keeps = true,
                6 => model.set_link(false),
                7 => {
                    let (pair, jump) = (dice.roll(queues) as usize, dice.roll(300) as usize);
                    let queue = pair * 2 + dice.roll(2) as usize;
                    let entries: Vec<_> =
                        (0..jump).map(|_| (64 + dice.roll(6) as u32, dice.roll(8000) as u32)).collect();
                    let mut state = model.state();
                    if state.is_live() {
                        state.give_back(&kernel, queue, &entries);
                    }
                }
                _ => {}
            }
        }
        rig.pass(dice.roll(SECOND / 100));
        if dice.roll(4) == 0 {
            rig.pass(dice.roll(8 * SECOND));
            model.state().keeps = false;
            model.set_link(true);
        }
    }
    (0..4).for_each(|cpu| rig.kernel.on_cpu(cpu, || rig.nic.start()));
    model.state().keeps = false;
    rig.run(|| told.count() as u64 == accepted);
    assert!(told.memory.lock().is_empty());
    let counters = rig.nic.counters();
    assert_eq!(counters.sent + counters.send_errors, accepted);
    if faults {
        return counters.resets;
    }
    rig.run(|| rig.heard() as u64 == came);
    let mut numbers: BTreeSet<_> = rig.ears.frames.lock().iter().map(|heard| check(&heard.bytes)).collect();
    assert_eq!(numbers.len() as u64, came);
    numbers = model.state().sent.iter().map(|sent| check(&sent.bytes)).collect();
    assert_eq!(numbers.len() as u64, accepted);
    counters.resets
}

#[test]
fn random_frames_go_through_once_and_unchanged() {
    assert_eq!((1..25).map(|seed| play(seed, false)).sum::<u64>(), 0);
}

#[test]
fn random_faults_cost_frames_and_never_their_memory() {
    let resets: u64 = (1..80).map(|seed| play(seed, true)).sum();
    assert!(resets > 100, "{resets} resets: that tests nothing");
}
