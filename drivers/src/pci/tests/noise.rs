//! Configuration spaces of random bytes: nothing panics, hangs, or reaches outside (the fake bus checks offsets).
use super::bus::*;
use crate::pci::{Address, BusRange, Config, ConfigSpace, Device, Found, Scan, Slot};
use crate::test_kernel::TestKernel;
use alloc::sync::Arc;
use alloc::vec::Vec;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn noise(random: &mut Random) -> FakeFunction {
    let mut function = FakeFunction::new(0, 0, 0);
    for array in [&mut function.bytes, &mut function.writable, &mut function.cleared] {
        array.fill_with(|| random.next() as u8);
    }
    // Half of them lead somewhere.
    if random.next() & 1 == 0 {
        function.bytes[0x0e] = (random.next() & 0x81) as u8;
        function.bytes[0x06] |= 0x10;
        function.capability(0x40, [1, 5, 0x10, 0x11][(random.next() & 3) as usize], random.next() as u8);
        function.bytes[0x34] = 0x40;
    }
    function
}

#[test]
fn random_functions_are_found_taken_and_let_go_of_without_harm() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let kernel = TestKernel::new(1);
    for _ in 0..60 {
        let bus = FakeBus::new(15);
        for _ in 0..40 {
            let r = random.next();
            let at = Address::new(0, (r & 15) as u8, (r >> 8) as u8 & 3, (r >> 16) as u8 & 1);
            bus.functions.lock().insert(at, noise(&mut random));
        }
        let bus = Arc::new(bus);
        let found = Scan::new(bus.clone()).all();
        assert!(found.len() <= 40);
        for found in found {
            let (bus, k) = (bus.clone(), kernel.clone());
            kernel.block_on(|| false, async move {
                let config = Config::new(bus.clone(), found.address);
                if let Ok(device) = Device::take(k, config.clone(), &found).await {
                    assert!(device.bars().len() <= 6);
                    let _ = device.interrupts().map(|i| i.connect(0, None));
                    for bar in 0..8 {
                        let _ = device.map(bar);
                    }
                    device.set_bus_master(true);
                }
                if let Some(mut slot) = Slot::of(config, &found) {
                    for _ in 0..5 {
                        slot.poll();
                    }
                    slot.release();
                }
            });
        }
    }
}

/// Every function of every bus is there and says the same.
struct Everywhere(u32);

impl ConfigSpace for Everywhere {
    fn ranges(&self) -> Vec<BusRange> {
        (0..4).map(|segment| BusRange { segment, first: 0, last: 255 }).collect()
    }

    fn bytes(&self) -> u16 {
        4096
    }

    fn read32(&self, _: Address, _: u16) -> u32 {
        self.0
    }

    fn write8(&self, _: Address, _: u16, _: u8) {}

    fn write16(&self, _: Address, _: u16, _: u16) {}

    fn write32(&self, _: Address, _: u16, _: u32) {}
}

#[test]
fn a_machine_that_answers_for_every_function_is_looked_at_up_to_a_limit() {
    for value in [0x1234_5678, 0x8080_8080, 0x0101_0101, 0x8181_8181, 0x4040_4040] {
        let found: Vec<Found> = Scan::new(Arc::new(Everywhere(value))).all();
        assert!(found.len() <= 4096, "{value:#x}");
    }
    assert_eq!(Scan::new(Arc::new(Everywhere(u32::MAX))).all().len(), 0);
    assert_eq!(Scan::new(Arc::new(Everywhere(0))).all().len(), 0);
}
