//! Thousands of random requests against a shadow of the disk, with faults of all kinds.
//!
//! Requests that are in flight together never overlap where one of them writes, so that the shadow knows what
//! each must read: the trait promises no order between such.
use super::*;
use std::vec;

const BLOCKS: u64 = 1024;
const CPUS: usize = 3;
const SLOTS: usize = 48;
const SLOT_BYTES: u64 = 160 << 10;

/// A request in flight, and what it is about.
struct Flight {
    operation: Operation,
    block: u64,
    blocks: u64,
    segments: Vec<Segment>,
    data: Vec<u8>,
}

struct World {
    rig: Rig,
    disk: Arc<dyn BlockDevice>,
    memory: DmaMemory,
    told: Arc<Told>,
    shadow: Vec<u8>,
    /// Blocks whose content a failed write has left open.
    open: Vec<bool>,
    flights: Vec<Option<Flight>>,
    random: Random,
    block_size: u64,
}

impl World {
    /// Segments within a slot's memory, of any alignment, that add up to `bytes`.
    fn segments(&mut self, slot: usize, bytes: u64) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut at = slot as u64 * SLOT_BYTES;
        let end = at + SLOT_BYTES;
        let mut left = bytes;
        let style = self.random.below(4);
        while left != 0 {
            let spare = end - at - left;
            // Page-aligned pieces, pieces after a page offset, or any bytes.
            let gap = match style {
                0 => 0,
                1 => (4096 - at % 4096) % 4096,
                2 => self.random.below(16) * 4,
                _ => self.random.below(16),
            };
            at += gap.min(spare);
            let len = match style {
                0 => left,
                1 => left.min(4096 * (1 + self.random.below(3))),
                _ => left.min(1 + self.random.below(9000)),
            };
            let len = if style == 2 { ((len + 3) & !3).min(left) } else { len };
            segments.push(part(&self.memory, at, len as u32));
            at += len;
            left -= len;
        }
        segments
    }

    fn overlaps(&self, block: u64, blocks: u64, changes: bool) -> bool {
        self.flights.iter().flatten().any(|f| {
            f.block < block + blocks && block < f.block + f.blocks && (changes || f.operation.changes())
        })
    }

    fn launch(&mut self, slot: usize) {
        let operation = match self.random.below(20) {
            0 => Operation::Flush,
            1 => Operation::WriteZeroes { deallocate: self.random.below(2) == 0 },
            2 => Operation::Discard,
            3..10 => Operation::Write { durable: self.random.below(4) == 0 },
            _ => Operation::Read,
        };
        let most = (128 << 10) / self.block_size;
        let (mut block, mut blocks) = (0, 0);
        if operation != Operation::Flush {
            blocks =
                1 + if self.random.below(2) == 0 { self.random.below(8) } else { self.random.below(most) };
            block = self.random.below(BLOCKS - blocks);
            if self.overlaps(block, blocks, operation.changes()) {
                return;
            }
        }
        let bytes = if operation.has_data() { blocks * self.block_size } else { 0 };
        let segments = self.segments(slot, bytes);
        let data: Vec<u8> = (0..bytes).map(|_| self.random.next() as u8).collect();
        let mut rest = &data[..];
        for segment in &segments {
            let (here, next) = rest.split_at(segment.bytes as usize);
            self.memory.copy_in((segment.address - self.memory.address()) as usize, here);
            rest = next;
        }
        let cpu = self.random.below(CPUS as u64) as usize;
        let start = self.random.below(3) != 0;
        self.rig.kernel.on_cpu(cpu, || {
            submit(&*self.disk, &self.told, slot as u64, operation, block, blocks, &segments);
            if start {
                self.disk.start();
            }
        });
        self.flights[slot] = Some(Flight { operation, block, blocks, segments, data });
    }

    fn land(&mut self, slot: usize, result: Result<(), BlockError>) {
        let flight = self.flights[slot].take().expect("a request that is completed twice");
        let size = self.block_size as usize;
        let range = flight.block as usize * size..(flight.block + flight.blocks) as usize * size;
        let blocks = flight.block as usize..(flight.block + flight.blocks) as usize;
        match (flight.operation, result) {
            (Operation::Flush, _) | (Operation::Read, Err(_)) => {}
            (Operation::Read, Ok(())) => {
                let mut at = range.start;
                for segment in &flight.segments {
                    let mut bytes = vec![0; segment.bytes as usize];
                    self.memory.copy_out((segment.address - self.memory.address()) as usize, &mut bytes);
                    for byte in bytes {
                        let open = self.open[at / size];
                        assert!(open || byte == self.shadow[at], "block {} has wrong data", at / size);
                        at += 1;
                    }
                }
            }
            (Operation::Write { .. }, Ok(())) => {
                self.shadow[range].copy_from_slice(&flight.data);
                self.open[blocks].fill(false);
            }
            (_, Ok(())) => {
                self.shadow[range].fill(0);
                self.open[blocks].fill(false);
            }
            (_, Err(_)) => self.open[blocks].fill(true),
        }
    }
}

/// Faults of about one command in `rarity`, 0 for none.
fn faults(seed: u64, rarity: u64) -> impl FnMut(&Seen) -> Fate + Send {
    let mut random = Random(seed);
    move |seen| {
        if rarity == 0 || !seen.is_io() || random.below(rarity) != 0 {
            return Fate::Execute;
        }
        match random.below(12) {
            0 => Fate::Fail(0x4281),
            1 => Fate::ExecuteAndFail(0x4280),
            2 => Fate::Hang,
            3 if random.below(4) == 0 => Fate::Lose,
            4 => Fate::Twice,
            5 => Fate::Garbled {
                cid: random.next() as u16,
                queue: random.below(5) as u16,
                head: random.next() as u16,
            },
            6 => Fate::Quiet,
            7 => Fate::Fail(0x0806),
            8 => Fate::Fail(0x0082),
            9 => Fate::ExecuteAndFail(0x0006),
            _ => Fate::Fail(0x0006),
        }
    }
}

fn live(seed: u64, sgls: u8, shift: u8, rarity: u64, requests: u32) {
    let rig = Rig::new(CPUS);
    {
        let mut state = rig.model.state.lock();
        state.controller[536] = sgls;
        state.pairs = 2;
        state.shuffle = Some(seed);
        // Doorbells in memory, with one of the seeds.
        state.controller[257] = (seed & 1) as u8;
        // So small that a larger request is several commands.
        state.controller[77] = 4;
    }
    rig.model.add_namespace(1, shift);
    let limits = Limits { depth: 7, resets: 1000, ..Limits::default() };
    let drive = rig.try_start(limits).ok().unwrap();
    rig.decide(faults(seed, rarity));
    let disk = drive.namespaces().remove(0);
    assert!(disk.geometry().blocks >= 1024);
    let memory = rig.memory(SLOTS * SLOT_BYTES as usize);
    let block_size = 1u64 << shift;
    let blocks = disk.geometry().blocks as usize;
    let mut world = World {
        rig,
        disk,
        memory,
        told: Arc::default(),
        shadow: vec![0; blocks * block_size as usize],
        open: vec![false; blocks],
        flights: (0..SLOTS).map(|_| None).collect(),
        random: Random(seed | 1),
        block_size,
    };
    let (mut launched, mut landed, mut failed) = (0, 0, 0);
    while landed < requests {
        for _ in 0..world.random.below(12) {
            let slot = world.random.below(SLOTS as u64) as usize;
            if launched < requests && world.flights[slot].is_none() {
                world.launch(slot);
                launched += u32::from(world.flights[slot].is_some());
            }
        }
        if launched == requests || world.random.below(3) == 0 {
            for cpu in 0..CPUS {
                world.rig.kernel.on_cpu(cpu, || world.disk.start());
            }
            let (told, target) = (world.told.clone(), world.random.below(8) as usize);
            let in_flight = world.flights.iter().flatten().count();
            world.rig.run(|| told.count() >= target.min(in_flight));
        } else {
            let cpu = world.random.below(CPUS as u64) as usize;
            world.rig.model.step();
            world.rig.kernel.on_cpu(cpu, || drive.poll());
        }
        let told = core::mem::take(&mut *world.told.0.lock());
        for (slot, result) in told {
            world.land(slot as usize, result);
            landed += 1;
            failed += u32::from(result.is_err());
        }
    }
    world.rig.pass(200);
    assert_eq!(world.told.count(), 0, "exactly once");
    if rarity == 0 {
        assert_eq!((failed, drive.counters().nonsense, drive.counters().resets), (0, 0, 0));
    } else {
        let counters = drive.counters();
        assert!(failed > 0 && failed < requests / 4 && counters.retries > 0, "{failed} failed: {counters:?}");
    }
    let state = world.rig.model.state.lock();
    let data = &state.disks[&1].data;
    for block in (0..blocks).filter(|b| !world.open[*b]) {
        let range = block * block_size as usize..(block + 1) * block_size as usize;
        assert!(data[range.clone()] == world.shadow[range], "block {block} of the disk");
    }
    drop(state);
    let World { rig, disk, memory, .. } = world;
    rig.decide(|_| Fate::Execute);
    drop((disk, memory));
    rig.end(drive);
}

#[test]
fn random_requests_do_what_they_should_on_a_drive_without_sgls() {
    live(0x51, 0, 9, 0, 3000);
}

#[test]
fn random_requests_do_what_they_should_on_a_drive_with_sgls() {
    live(0x52, 1, 9, 0, 2000);
    live(0x53, 2, 12, 0, 1000);
}

#[test]
fn random_requests_are_completed_once_with_the_right_data_under_faults() {
    live(0x61, 0, 9, 20, 2000);
    live(0x64, 0, 9, 20, 1000);
    live(0x62, 1, 9, 8, 2000);
    live(0x63, 2, 12, 40, 1000);
}
