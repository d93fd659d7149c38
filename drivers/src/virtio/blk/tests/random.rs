//! Random requests with random faults: each is completed exactly once, and what was written is there.
use super::*;
use alloc::collections::BTreeMap;

const BLOCKS: u64 = 512;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % below
    }
}

struct Flight {
    operation: Operation,
    block: u64,
    blocks: u64,
    memory: Arc<DmaMemory>,
}

fn play(seed: u64, faults: bool) -> usize {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let kernel = TestKernel::new(4);
    let model = Model::new(&kernel, BLOCKS, [1, 2, 4][seed as usize % 3]);
    model.state().seed(dice.roll(1 << 40));
    if dice.roll(3) == 0 {
        model.state().features &= !(1 << 29);
    }
    let rig = try_start(&kernel, &model, dice.roll(5) != 0).ok().unwrap();
    let told = Arc::new(Told::default());
    // What each block may hold.
    let mut may: Vec<Vec<u64>> = (0..BLOCKS).map(|_| std::vec![0]).collect();
    let mut flights: BTreeMap<u64, Flight> = BTreeMap::new();
    let (mut next, mut settled, mut errors) = (1u64, 0, 0);
    while next < 600 && rig.disk.is_present() {
        for _ in 0..dice.roll(30) {
            let (block, most) = (dice.roll(BLOCKS), dice.roll(30) + 1);
            let blocks = most.min(BLOCKS - block);
            let overlaps = |f: &Flight| f.block < block + blocks && block < f.block + f.blocks;
            if flights.values().any(overlaps) {
                continue;
            }
            let operation = match dice.roll(12) {
                0 => Operation::Flush,
                1 => Operation::WriteZeroes { deallocate: dice.roll(2) == 0 },
                2 => Operation::Write { durable: true },
                3..7 => WRITE,
                _ => Operation::Read,
            };
            let (block, blocks) = if operation == Operation::Flush { (0, 0) } else { (block, blocks) };
            let tag = next;
            next += 1;
            let memory = rig.memory(blocks as usize * 512);
            for at in (0..blocks as usize * 512).step_by(8) {
                memory.write(at, tag);
            }
            let (mut segments, mut from) = (Vec::new(), 0);
            while operation.has_data() && from < blocks * 512 {
                let bytes = (dice.roll(6000) + 1).min(blocks * 512 - from);
                segments.push(Segment { address: memory.address() + from, bytes: bytes as u32 });
                from += bytes;
            }
            told.memory.lock().push((tag, memory.clone()));
            let done = Done { to: told.clone(), tag };
            rig.kernel.on_cpu(dice.roll(4) as usize, || {
                rig.disk.submit(Request { operation, block, blocks, segments: &segments, done });
                rig.disk.start();
            });
            flights.insert(tag, Flight { operation, block, blocks, memory });
        }
        if faults {
            match dice.roll(40) {
                0 => rig.model.state().drops = 1,
                1 => rig.model.state().strangers = dice.roll(40) as u32,
                2 => _ = rig.model.state().bad.insert(dice.roll(BLOCKS), 1 + dice.roll(3) as u8),
                3 => rig.model.state().bad.clear(),
                4 => rig.model.state().status |= 64,
                5 => _ = rig.controller.poll(),
                _ => {}
            }
        }
        let target = told.results.lock().len() + dice.roll(flights.len() as u64 + 1) as usize;
        rig.run(|| told.results.lock().len() >= target);
        let results: Vec<_> = told.results.lock()[settled..].to_vec();
        settled += results.len();
        for (tag, result) in results {
            let flight = flights.remove(&tag).unwrap();
            errors += usize::from(result.is_err());
            for i in 0..flight.blocks {
                let may = &mut may[(flight.block + i) as usize];
                match (flight.operation, result) {
                    (Operation::Read, Ok(())) => {
                        let stamp: u64 = flight.memory.read(i as usize * 512);
                        let all =
                            (0..64).all(|at| flight.memory.read::<u64>((i * 512 + at * 8) as usize) == stamp);
                        assert!(all && may.contains(&stamp), "seed {seed}: {stamp} of {may:?}");
                    }
                    (Operation::Write { .. }, Ok(())) => *may = std::vec![tag],
                    (Operation::WriteZeroes { .. }, Ok(())) => *may = std::vec![0],
                    (Operation::Write { .. }, Err(_)) => may.push(tag),
                    (Operation::WriteZeroes { .. }, Err(_)) => may.push(0),
                    _ => {}
                }
            }
        }
    }
    rig.run(|| told.results.lock().len() == settled + flights.len());
    errors
}

#[test]
fn random_requests_are_completed_once_with_the_right_data() {
    assert_eq!((1..20).map(|seed| play(seed, false)).sum::<usize>(), 0);
}

#[test]
fn random_faults_lose_nothing_and_nobody_s_data() {
    let errors: usize = (1..60).map(|seed| play(seed, true)).sum();
    assert!(errors > 100, "{errors} errors: that tests nothing");
}
