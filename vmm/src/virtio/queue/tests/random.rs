//! Random rings: garbage, and a driver that works while another CPU of its guest does not.
use super::*;
use crate::platform::fuzz::Random;
use crate::virtio::Feature;
use crate::virtio::queue::{MAX_CHAIN, Service, Token};
use std::cell::RefCell;

/// Gives every chain back, some of them later, and looks at all that it is given.
struct Device<'a> {
    queue: &'a Virtqueue,
    ram: u64,
    random: RefCell<Random>,
    held: RefCell<Vec<Token>>,
}

impl Service for Device<'_> {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        assert!(chain.descriptors() <= MAX_CHAIN);
        for list in [&chain.readable, &chain.writable] {
            assert!(list.segments().len() <= 16);
            for s in list.segments() {
                assert!(s.bytes != 0 && s.address.get() + u64::from(s.bytes) <= self.ram);
            }
            let bytes: u64 = list.segments().iter().map(|s| u64::from(s.bytes)).sum();
            assert!(list.too_long() || bytes == list.bytes());
        }
        let mut random = self.random.borrow_mut();
        let mut header = [0; 16];
        if random.below(2) == 0 {
            chain.readable.take_front(&mut header);
            chain.writable.take_last();
            chain.writable.write_front(b"what the device has to say");
        }
        let mut held = self.held.borrow_mut();
        if random.below(3) == 0 && held.len() < 16 {
            held.push(chain.token);
        } else {
            self.queue.give_back(chain.token, random.next() as u32, |_| ());
        }
        Ok(0)
    }

    fn busy(&self) -> bool {
        self.held.borrow().len() > 4
    }
}

fn garbage(format: Format, seed: u64) {
    let mut random = Random::new(seed);
    let raw = Raw::new(format, 8);
    let control = control();
    let queue = Virtqueue::new(&raw.memory.share(), &control, 8, 16);
    let device = Device {
        queue: &queue,
        ram: raw.memory.bytes(),
        random: RefCell::new(Random::new(!seed)),
        held: RefCell::default(),
    };
    let packed = if format == Format::Packed { Feature::RING_PACKED } else { 0 };
    for _ in 0..4000 {
        control.reset();
        control.add_status(Status::DRIVER_OK);
        let features = packed | (random.next() & (Feature::INDIRECT_DESC | Feature::EVENT_IDX));
        queue.enable(raw.addresses(), features).unwrap();
        device.held.borrow_mut().clear();
        for _ in 0..random.below(12) {
            // Addresses that hit the rings themselves, tables, and the edges of RAM.
            let address = match random.below(8) {
                0 => random.next(),
                1 => (2 << 20) - random.below(64),
                2 => 0xa_0000 - random.below(64),
                3 => DESCRIPTORS + 16 * random.below(8),
                4 => DEVICE + random.below(32),
                5 => DRIVER + random.below(32),
                _ => DATA + 16 * random.below(64),
            };
            let bytes = match random.below(5) {
                0 => random.next() as u32,
                1 => 16 * random.below(12) as u32,
                _ => random.below(600) as u32,
            };
            let flags = random.next() as u16 & if random.below(8) == 0 { 0xffff } else { 7 };
            let at = if random.below(2) == 0 { DESCRIPTORS } else { DATA };
            raw.descriptor(at + 16 * random.below(8), address, bytes, flags, random.below(10) as u16);
            if format == Format::Packed {
                let i = random.below(8);
                let wraps = if random.below(2) == 0 { 1u16 << 7 } else { 1 << 15 };
                raw.put(DESCRIPTORS + 16 * i + 14, &(wraps | random.below(8) as u16).to_le_bytes());
            }
        }
        let base = raw.memory.read_uint(Gpa::new(DEVICE + 2), 2).unwrap() as u16;
        for _ in 0..4 {
            if format == Format::Split {
                let most = if random.below(20) == 0 { 65536 } else { 9 };
                let index = base.wrapping_add(random.below(most) as u16);
                raw.put(DRIVER + 2, &index.to_le_bytes());
                for i in 0..8 {
                    let most = if random.below(30) == 0 { 65536 } else { 8 };
                    let head = random.below(most) as u16;
                    raw.put(DRIVER + 4 + 2 * i, &head.to_le_bytes());
                }
            }
            queue.serve(&device);
            for token in device.held.take() {
                queue.give_back(token, 1, |_| ());
            }
        }
    }
}

#[test]
fn garbage_in_split_rings_neither_panics_nor_loops_nor_leaves_the_guests_memory() {
    garbage(Format::Split, 0x5911);
}

#[test]
fn garbage_in_packed_rings_neither_panics_nor_loops_nor_leaves_the_guests_memory() {
    garbage(Format::Packed, 0xbac4ed);
}

#[test]
fn a_ring_that_another_cpu_rewrites_meanwhile_is_as_good_as_garbage() {
    use std::sync::atomic::{AtomicBool, Ordering};
    for format in [Format::Split, Format::Packed] {
        let raw = Raw::new(format, 8);
        let control = control();
        let queue = Virtqueue::new(&raw.memory.share(), &control, 8, 16);
        let stop = AtomicBool::new(false);
        let memory = raw.memory.share();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut random = Random::new(7);
                while !stop.load(Ordering::Relaxed) {
                    let at = match random.below(4) {
                        0 => DRIVER + 2 * random.below(12),
                        1 => DATA + 8 * random.below(32),
                        _ => DESCRIPTORS + 2 * random.below(64),
                    };
                    let value = random.next() & if random.below(2) == 0 { 0xff87 } else { 7 };
                    let _ = memory.write(Gpa::new(at), &(value as u16).to_le_bytes());
                }
            });
            let device = Device {
                queue: &queue,
                ram: raw.memory.bytes(),
                random: RefCell::new(Random::new(3)),
                held: RefCell::default(),
            };
            let packed = if format == Format::Packed { Feature::RING_PACKED } else { 0 };
            for _ in 0..20_000 {
                control.reset();
                control.add_status(Status::DRIVER_OK);
                queue.enable(raw.addresses(), packed | Feature::INDIRECT_DESC | Feature::EVENT_IDX).unwrap();
                queue.serve(&device);
                for token in device.held.take() {
                    queue.give_back(token, 1, |_| ());
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
