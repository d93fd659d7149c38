use super::bus::*;
use crate::pci::{Address, Bar, BarSpace, Device, Found, MessageInterrupts, PciError, Scan};
use crate::test_kernel::TestKernel;
use crate::{MsiMessage, Registers};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use spin::Mutex;

const MASTER: u16 = 4;
const DECODE: u16 = 3;
const PLACE: Address = Address::new(0, 0, 4, 0);

fn disk() -> FakeFunction {
    let mut function = FakeFunction::new(0x1b36, 0x0010, 0x010802);
    function.memory_bar(0, 0xfe00_0000, 0x4000, true, false);
    function
}

fn take(bus: &Arc<FakeBus>, at: Address) -> Result<Device, PciError> {
    let kernel = TestKernel::new(1);
    let found: Found = Scan::new(bus.clone()).all().into_iter().find(|f| f.address == at).unwrap();
    let (bus, k) = (bus.clone(), kernel.clone());
    kernel.block_on(|| false, async move { Device::take(k, crate::pci::Config::new(bus, at), &found).await })
}

fn taken(function: FakeFunction) -> (Arc<FakeBus>, Result<Device, PciError>) {
    let bus = FakeBus::with(0, [(0, 4, 0, function)]);
    let device = take(&bus, PLACE);
    (bus, device)
}

fn command(bus: &FakeBus) -> u16 {
    bus.change(PLACE, |f| f.get16(4))
}

#[test]
fn a_device_is_sized_with_decoding_and_dma_off_and_keeps_its_address() {
    let mut function = disk();
    function.put16(4, DECODE | MASTER);
    function.put32(0x18, 0xc001);
    function.writable[0x18..0x1c].copy_from_slice(&0xffe0u32.to_le_bytes());
    let bus = FakeBus::with(0, [(0, 4, 0, function)]);
    *bus.watch.lock() = Some(|function, offset| {
        let bar = (0x10..0x28).contains(&offset);
        assert!(!bar || function.get16(4) & (DECODE | MASTER) == 0, "a BAR changes while it is decoded");
    });
    let device = take(&bus, PLACE).ok().unwrap();
    let memory = BarSpace::Memory { prefetchable: false, wide: true };
    let bars = [
        Bar { index: 0, space: memory, address: 0xfe00_0000, bytes: 0x4000 },
        Bar { index: 2, space: BarSpace::Io, address: 0xc000, bytes: 0x20 },
    ];
    assert_eq!(device.bars(), bars);
    assert_eq!(command(&bus), 0x402, "memory decoded, INTx off, no DMA");
    device.set_bus_master(true);
    assert_eq!(command(&bus) & MASTER, MASTER);
    drop(device);
    assert_eq!(command(&bus) & MASTER, 0);
}

#[test]
fn a_window_that_makes_no_sense_is_refused_and_the_device_is_silent() {
    // Bits that can be set with a gap between them.
    let mut gap = disk();
    gap.writable[0x10..0x14].copy_from_slice(&0xff0f_c000u32.to_le_bytes());
    // A register that remembers nothing.
    let mut stuck = disk();
    stuck.cleared[0x13] = 0xff;
    for function in [gap, stuck] {
        let (bus, device) = taken(function);
        assert_eq!(device.err(), Some(PciError::BadBar { index: 0 }));
        assert_eq!(command(&bus) & (DECODE | MASTER), 0);
    }
}

#[test]
fn a_device_without_an_address_is_refused_unless_its_slot_has_room() {
    let mut function = disk();
    function.put32(0x10, 4);
    assert_eq!(taken(function).1.err(), Some(PciError::Unassigned { index: 0 }));
}

fn plugged(function: FakeFunction) -> (Arc<FakeBus>, Result<Device, PciError>) {
    let bus = FakeBus::with(3, [(0, 1, 0, FakeFunction::port(3)), (3, 0, 0, function)]);
    let device = take(&bus, Address::new(0, 3, 0, 0));
    (bus, device)
}

#[test]
fn a_device_that_was_plugged_in_later_gets_addresses_in_its_slots_windows() {
    let mut function = FakeFunction::new(0x1b36, 0x0010, 0x010802);
    function.memory_bar(0, 0, 0x4000, true, false).memory_bar(2, 0, 0x1_0000, false, false);
    function.memory_bar(4, 0, 0x80_0000, true, true);
    let (bus, device) = plugged(function);
    let at: Vec<u64> = device.as_ref().ok().unwrap().bars().iter().map(|b| b.address).collect();
    assert_eq!(at, [0xc011_0000, 0xc010_0000, 0x80_0000_0000]);
    assert_eq!(bus.change(Address::new(0, 0, 1, 0), |p| p.get16(4) & 6), 6, "the port lets them through");
    assert_eq!(bus.change(Address::new(0, 3, 0, 0), |f| f.get32(0x10)), 0xc011_0004);
}

#[test]
fn a_slot_without_room_is_said_and_a_32_bit_window_never_goes_above_4_gib() {
    let mut large = FakeFunction::new(0x1af4, 2, 0x010802);
    large.memory_bar(0, 0, 0x20_0000, false, false);
    assert_eq!(plugged(large).1.err(), Some(PciError::NoWindow { bytes: 0x20_0000 }));
    let mut low = FakeFunction::new(0x1af4, 2, 0x010802);
    low.memory_bar(0, 0, 0x20_0000, false, true);
    assert_eq!(plugged(low).1.err(), Some(PciError::NoWindow { bytes: 0x20_0000 }));
}

#[test]
fn a_sleeping_device_is_woken() {
    let mut function = disk();
    function.capability(0x40, 1, 0);
    function.bytes[0x44] = 3;
    function.writable[0x44] = 3;
    let (bus, device) = taken(function);
    assert!(device.is_ok());
    assert_eq!(bus.change(PLACE, |f| f.bytes[0x44]), 0);
}

#[test]
fn a_device_that_is_gone_is_an_error_and_letting_go_of_it_harms_nobody() {
    let (bus, device) = taken(disk());
    let device = device.ok().unwrap();
    bus.functions.lock().clear();
    assert!(!device.is_present());
    assert_eq!(device.interrupts().err(), Some(PciError::NoMessages));
    drop(device);
}

#[test]
fn who_still_has_a_function_that_is_gone_does_not_reach_the_one_in_its_place() {
    let mut function = disk();
    function.capability(0x40, 5, 0);
    function.writable[0x42] = 0x71;
    let (bus, device) = taken(function.clone());
    let device = device.ok().unwrap();
    let interrupts = device.interrupts().ok().unwrap();
    device.config().revoke();
    function.put16(4, DECODE | MASTER).put16(0x42, 1);
    bus.functions.lock().insert(PLACE, function);
    interrupts.connect(0, Some(MsiMessage { address: 0xfee0_0000, data: 1 }));
    assert!(!device.is_present());
    drop((interrupts, device));
    assert_eq!(command(&bus), DECODE | MASTER);
    assert_eq!(bus.change(PLACE, |f| (f.get16(0x42), f.get32(0x44))), (1, 0));
}

#[test]
fn only_windows_that_are_there_are_mapped() {
    let (_bus, device) = taken(disk());
    let device = device.ok().unwrap();
    // The test's kernel maps nothing: what passes the checks fails there.
    assert!(matches!(
        device.map(0).err(),
        Some(PciError::Unreachable { address: 0xfe00_0000, bytes: 0x4000 })
    ));
    for (bar, offset, bytes) in
        [(1, 0, 4), (7, 0, 4), (0, 0x4000, 1), (0, u64::MAX, 2), (0, 0, 0), (0, 1, 0x4000)]
    {
        assert_eq!(device.map_part(bar, offset, bytes).err(), Some(PciError::NoBar { index: bar }));
    }
}

#[test]
fn a_table_outside_of_the_windows_is_refused() {
    for place in [0x4000, 0x3ff8, 7, 1, 0xffff_fff8] {
        let mut function = disk();
        function.capability(0x40, 0x11, 0);
        function.put16(0x42, 0).put32(0x44, place);
        let (_bus, device) = taken(function);
        assert_eq!(device.ok().unwrap().interrupts().err(), Some(PciError::BadTable), "{place:#x}");
    }
}

#[test]
fn an_msi_message_is_written_while_it_is_off() {
    let mut function = disk();
    function.capability(0x40, 5, 0);
    // 64 bits, eight messages offered, left on by the firmware with two in use.
    function.put16(0x42, 0x0097);
    for at in [0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d] {
        function.writable[at] = 0xff;
    }
    function.writable[0x42] = 0x71;
    function.writable[0x43] = 0;
    let (bus, device) = taken(function);
    let interrupts = device.as_ref().ok().unwrap().interrupts().ok().unwrap();
    assert_eq!(bus.change(PLACE, |f| f.get16(0x42)), 0x86, "off, one message");
    *bus.watch.lock() = Some(|f, offset| assert!(offset < 0x44 || f.get16(0x42) & 1 == 0));
    interrupts.connect(0, Some(MsiMessage { address: 0x1_fee0_1000, data: 0x31 }));
    interrupts.connect(1, Some(MsiMessage { address: 1, data: 1 }));
    let told = bus.change(PLACE, |f| (f.get32(0x44), f.get32(0x48), f.get16(0x4c), f.get16(0x42)));
    assert_eq!(told, (0xfee0_1000, 1, 0x31, 0x87));
    drop(interrupts);
    assert_eq!(bus.change(PLACE, |f| f.get16(0x42)), 0x86);
}

#[test]
fn a_message_above_4_gib_is_not_cut_short() {
    let mut function = disk();
    function.capability(0x40, 5, 0);
    for at in 0x42..0x4a {
        function.writable[at] = if at == 0x43 { 0 } else { 0x71 };
    }
    let (bus, device) = taken(function);
    let interrupts = device.as_ref().ok().unwrap().interrupts().ok().unwrap();
    interrupts.connect(0, Some(MsiMessage { address: 0x1_fee0_1000, data: 0x31 }));
    assert_eq!(bus.change(PLACE, |f| f.get16(0x42)) & 1, 0);
}

/// Registers in memory, with what was written in order.
struct Table(Arc<Mutex<Vec<u32>>>);

impl Registers for Table {
    fn bytes(&self) -> u64 {
        self.0.lock().len() as u64 * 4
    }

    fn read8(&self, _: u64) -> u8 {
        unreachable!("a table has words")
    }

    fn read16(&self, _: u64) -> u16 {
        unreachable!("a table has words")
    }

    fn read32(&self, offset: u64) -> u32 {
        self.0.lock()[offset as usize / 4]
    }

    fn read64(&self, _: u64) -> u64 {
        unreachable!("a table has words")
    }

    fn write8(&self, _: u64, _: u8) {
        unreachable!("a table has words")
    }

    fn write16(&self, _: u64, _: u16) {
        unreachable!("a table has words")
    }

    fn write32(&self, offset: u64, value: u32) {
        let mut words = self.0.lock();
        let index = offset as usize / 4;
        let control = index / 4 * 4 + 3;
        assert!(index == control || words[control] & 1 == 1, "an entry changes while it is in use");
        words[index] = value;
    }

    fn write64(&self, _: u64, _: u64) {
        unreachable!("a table has words")
    }
}

#[test]
fn msi_x_entries_are_changed_while_masked_and_the_function_is_disabled_at_the_end() {
    let mut function = disk();
    function.capability(0x40, 0x11, 0);
    function.put16(0x42, 2);
    function.writable[0x43] = 0xc0;
    let bus = FakeBus::with(0, [(0, 4, 0, function)]);
    let words = Arc::new(Mutex::new(alloc::vec![1; 12]));
    let msix = crate::pci::msix::MsiX::new(config(&bus, 0, 4, 0), 0x40, Box::new(Table(words.clone())), 3);
    assert_eq!(msix.vectors(), 3);
    assert_eq!(bus.change(PLACE, |f| f.get16(0x42)), 0x8002);
    msix.connect(2, Some(MsiMessage { address: 0x1_fee0_2000, data: 0x44 }));
    msix.connect(3, Some(MsiMessage { address: 1, data: 1 }));
    assert_eq!(words.lock()[8..], [0xfee0_2000, 1, 0x44, 0]);
    msix.connect(2, None);
    assert_eq!(words.lock()[11], 1);
    drop(msix);
    assert_eq!(bus.change(PLACE, |f| f.get16(0x42)), 0x4002);
}
