//! Random requests against a disk with random faults: each is completed exactly once, and what was written is there.
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

/// A request on its way: its place, what it writes.
struct Flight {
    operation: Operation,
    block: u64,
    blocks: u64,
    stamp: u64,
    memory: Arc<DmaMemory>,
    at: u64,
}

/// Plays a game; how many requests failed, and how many commands were given to the disk again.
fn play(seed: u64, depth: u16, faults: bool) -> (usize, u64) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut disk = ModelDisk::new("S", BLOCKS);
    disk.depth = depth;
    disk.fua = dice.roll(2) == 0;
    let rig = Rig::with(std::vec![Some(disk)], |model| model.seed(dice.roll(1 << 40)));
    let told = Arc::new(Told::default());
    // What each block may hold: the stamps of writes that succeeded last or failed since.
    let mut may: BTreeMap<u64, Vec<u64>> = (0..BLOCKS).map(|block| (block, std::vec![0])).collect();
    let mut flights: BTreeMap<u64, Flight> = BTreeMap::new();
    let mut errors = 0;
    let mut next = 1u64;
    let mut settled = 0;
    while next < 600 {
        for _ in 0..dice.roll(12) {
            let (block, most) = (dice.roll(BLOCKS), dice.roll(40) + 1);
            let blocks = most.min(BLOCKS - block);
            let overlaps = |f: &Flight| f.block < block + blocks && block < f.block + f.blocks;
            let operation = match dice.roll(12) {
                0 => Operation::Flush,
                1 => Operation::Discard,
                2 => DURABLE,
                3..7 => WRITE,
                _ => Operation::Read,
            };
            if flights.values().any(overlaps) {
                continue;
            }
            let (block, blocks) = if operation == Operation::Flush { (0, 0) } else { (block, blocks) };
            let (tag, at) = (next, dice.roll(3));
            next += 1;
            let memory = rig.memory(blocks as usize * 512 + 8);
            for block in 0..blocks as usize {
                for i in 0..64 {
                    memory.copy_in(at as usize + block * 512 + i * 8, &tag.to_le_bytes());
                }
            }
            // In pieces of any length.
            let (mut segments, mut from) = (Vec::new(), 0);
            while operation.has_data() && from < blocks * 512 {
                let odd = dice.roll(4) == 0;
                let bytes = (dice.roll(9000) + 1).next_multiple_of(if odd { 1 } else { 2 });
                let bytes = bytes.min(blocks * 512 - from);
                segments.push(Segment { address: memory.address() + at + from, bytes: bytes as u32 });
                from += bytes;
            }
            told.memory.lock().push((tag, memory.clone()));
            let done = Done { to: told.clone(), tag };
            rig.disk(0).submit(Request { operation, block, blocks, segments: &segments, done });
            flights.insert(tag, Flight { operation, block, blocks, stamp: tag, memory, at });
        }
        rig.disk(0).start();
        if faults {
            match dice.roll(40) {
                0 => rig.model.port(0, |port| port.drops = 1),
                1 => rig.model.port(0, |port| port.interface_errors = 1),
                2 => {
                    let (block, error) = (dice.roll(BLOCKS), [0x40, 0x10, 0x04, 0x84][dice.roll(4) as usize]);
                    rig.model.disk(0, |disk| disk.bad.insert(block, error));
                }
                3 => rig.model.disk(0, |disk| disk.no_log = !disk.no_log),
                4 => rig.model.disk(0, |disk| disk.bad.clear()),
                5 => rig.model.port(0, |port| port.garbage = !port.garbage),
                6 => {
                    let disk = rig.model.unplug(0);
                    rig.model.plug(0, disk);
                }
                7 => rig.model.port(0, |port| port.stuck_running = true),
                8 => rig.model.spurious(),
                9 => _ = rig.controller.poll(),
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
                let may = may.get_mut(&(flight.block + i)).unwrap();
                match (flight.operation, result) {
                    (Operation::Read, Ok(())) => {
                        let mut data = [0; 512];
                        flight.memory.copy_out((flight.at + i * 512) as usize, &mut data);
                        let stamp = u64::from_le_bytes(data[..8].try_into().unwrap());
                        assert!(data.chunks(8).all(|chunk| chunk == stamp.to_le_bytes()), "a torn block");
                        assert!(may.contains(&stamp), "seed {seed}: {stamp} of {may:?}");
                    }
                    (Operation::Write { .. }, Ok(())) => *may = std::vec![flight.stamp],
                    (Operation::Discard, Ok(())) => *may = std::vec![0],
                    (Operation::Write { .. }, Err(_)) => may.push(flight.stamp),
                    (Operation::Discard, Err(_)) => may.push(0),
                    _ => {}
                }
            }
        }
    }
    rig.run(|| told.results.lock().len() == settled + flights.len());
    (errors, rig.controller.counters().retries)
}

#[test]
fn random_requests_are_completed_once_with_the_right_data() {
    for seed in 1..12 {
        assert_eq!(play(seed, [32, 7, 1, 0][seed as usize % 4], false), (0, 0));
    }
}

#[test]
fn random_faults_lose_nothing_and_nobody_s_data() {
    let (mut errors, mut retries) = (0, 0);
    for seed in 1..60 {
        let (some, more) = play(seed, [32, 7, 1, 0][seed as usize % 4], true);
        (errors, retries) = (errors + some, retries + more);
    }
    assert!(errors > 100 && retries > 1000, "{errors} errors, {retries} retries: that tests nothing");
}
