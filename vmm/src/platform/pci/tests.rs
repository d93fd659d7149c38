//! The bus: both configuration mechanisms, absent functions, hostile accesses.
use super::*;
use std::vec::Vec;

fn mechanism_1(bus: &mut PciBus, device: u32, register: u32) -> u32 {
    bus.set_address(1 << 31 | device << 11 | register);
    bus.read_data(0, 4)
}

#[test]
fn the_host_bridge_has_the_class_by_which_linux_trusts_mechanism_1() {
    let mut bus = PciBus::new();
    bus.set_address(0x8000_0000);
    assert_eq!(bus.address(), 0x8000_0000);
    assert_eq!(mechanism_1(&mut bus, 0, 0), 0x0008_1b36);
    assert_eq!(mechanism_1(&mut bus, 0, 8) >> 16, 0x0600);
    assert_eq!((bus.read_data(3, 1), bus.read_data(2, 2)), (0x06, 0x0600));
}

#[test]
fn absent_functions_read_as_all_ones_by_both_mechanisms() {
    let mut bus = PciBus::new();
    for device in 1..32 {
        assert_eq!(mechanism_1(&mut bus, device, 0), u32::MAX);
        assert_eq!(bus.ecam_read(u64::from(device) << 15, 4), 0xffff_ffff);
    }
    assert_eq!(bus.ecam_read(1 << 12, 2), 0xffff, "function 1");
    assert_eq!(bus.ecam_read(1 << 20, 1), 0xff, "bus 1");
    bus.set_address(0);
    assert_eq!(bus.read_data(0, 4), u32::MAX, "not enabled");
}

#[test]
fn only_writable_bits_change() {
    let mut bus = PciBus::new();
    bus.ecam_write(0, 8, u64::MAX);
    assert_eq!(bus.ecam_read(0, 8), 0x0000_0107_0008_1b36);
    bus.ecam_write(0x10, 4, u64::MAX);
    assert_eq!(bus.ecam_read(0x10, 4), 0, "no BARs");
    assert_eq!(bus.ecam_read(0x100, 4), 0xffff_ffff, "no extended space");
    bus.reset();
    assert_eq!(bus.ecam_read(4, 4), 0);
}

#[test]
fn a_device_number_is_given_once() {
    let mut bus = PciBus::new();
    let function = || Box::new(HostBridge::new()) as Box<dyn PciFunction>;
    assert_eq!(bus.attach(0, function()), Err(AttachError::Taken(0)));
    assert_eq!(bus.attach(32, function()), Err(AttachError::NoSuchDevice(32)));
    assert_eq!(bus.attach(3, function()), Ok(()));
    assert_eq!(bus.ecam_read(3 << 15, 4), 0x0008_1b36);
}

#[test]
fn an_access_splits_at_registers_and_loses_no_byte() {
    for offset in 0..8 {
        for size in 0..=8 {
            let parts: Vec<_> = pieces(offset, size).collect();
            let total: u32 = parts.iter().map(|p| u32::from(p.1)).sum();
            assert_eq!(total, u32::from(size));
            assert!(parts.iter().all(|&(at, size, _)| (at & 3) as u8 + size <= 4));
            assert!(parts.iter().all(|p| matches!(p.1, 1 | 2 | 4)));
        }
    }
}

#[test]
fn random_accesses_never_change_the_identity() {
    let mut bus = PciBus::new();
    let mut random = crate::platform::fuzz::Random::new(0x1b36);
    for _ in 0..200_000 {
        let (r, value, size) = (random.next(), random.next(), random.size());
        match r & 3 {
            0 => bus.set_address(value as u32),
            1 => bus.write_data((r >> 8) as u16, size.min(4), value as u32),
            2 => bus.ecam_write(r >> 8 & 0xfff_ffff & random.next(), size, value),
            _ => {
                bus.ecam_read(r >> 8 & 0xfff_ffff, size);
                bus.read_data((r >> 8) as u16, size.min(4));
            }
        }
    }
    assert_eq!(bus.ecam_read(0, 4), 0x0008_1b36);
}

/// Remembers the last write, and reads as its place.
#[derive(Default)]
struct Probe(std::sync::Mutex<Option<(u8, u64, u8, u64)>>);

impl BarTarget for Probe {
    fn bar_read(&self, bar: u8, offset: u64, _: u8) -> u64 {
        u64::from(bar) << 16 | offset
    }

    fn bar_write(&self, bar: u8, offset: u64, size: u8, value: u64) {
        *self.0.lock().unwrap() = Some((bar, offset, size, value));
    }
}

#[test]
fn bars_of_every_kind_are_decoded_where_their_registers_say() {
    let probe = std::sync::Arc::new(Probe::default());
    let target: std::sync::Arc<dyn BarTarget> = probe.clone();
    let bars = [
        Bar::new(0, BarKind::Ports, 8),
        Bar::new(1, BarKind::Memory32, 4096),
        Bar::new(2, BarKind::Memory64 { prefetchable: true }, 1 << 20),
        Bar::new(4, BarKind::Memory64 { prefetchable: false }, 100),
    ];
    let mut space = ConfigSpace::new(0x1af4, 0x1042, 0, 0);
    space.allow(header::COMMAND, &[7, 0]);
    for (bar, at) in bars.iter().zip([0x2000, 0xf000_0000, 0x12_0000_0000, 0xf100_0000]) {
        bar.install(&mut space, at);
    }
    assert_eq!((space.read(0x10, 4), space.read(0x14, 4)), (0x2001, 0xf000_0000));
    assert_eq!((space.read(0x18, 4), space.read(0x1c, 4), space.read(0x20, 4)), (0xc, 0x12, 0xf100_0004));
    let mut decoder = Decoder::default();
    decoder.add(&bars, &target);
    let update = |space: &ConfigSpace| bars.iter().for_each(|bar| bar.update(space));
    update(&space);
    assert_eq!(decoder.memory_read(0xf000_0000, 4), None, "nothing is decoded");

    space.write(4, 2, 3);
    update(&space);
    assert_eq!((decoder.port_read(0x2007, 1), decoder.port_read(0x2008, 1)), (Some(7), None));
    assert_eq!(decoder.port_read(0x2006, 4), None, "over the end");
    assert_eq!(decoder.memory_read(0xf000_0ffc, 4), Some(0x1_0ffc));
    assert_eq!(decoder.memory_read(0x12_000f_fff8, 8), Some(0x2_0000 | 0xf_fff8));
    assert_eq!(
        (decoder.memory_read(0xf100_007f, 1), decoder.memory_read(0xf100_0080, 1)),
        (Some(0x4_007f), None)
    );
    assert!(decoder.memory_write(0x12_0000_0010, 8, u64::MAX));
    assert_eq!(*probe.0.lock().unwrap(), Some((2, 0x10, 8, u64::MAX)));
    assert!(!decoder.memory_write(0, 4, 0) && !decoder.port_write(0, 4, 0));

    // Sizing, then moved above 4 GiB, then beyond all addresses.
    space.write(0x18, 4, u32::MAX);
    space.write(0x1c, 4, u32::MAX);
    update(&space);
    assert_eq!((space.read(0x18, 4), space.read(0x1c, 4)), (0xfff0_000c, u32::MAX));
    assert_eq!(decoder.memory_read((1 << 52) - 8, 8), None);
    space.write(0x18, 4, 0);
    space.write(0x1c, 4, 1);
    update(&space);
    assert_eq!(decoder.memory_read(1 << 32, 1), Some(0x2_0000));
}

#[test]
fn firmware_gives_each_bar_addresses_of_its_own_until_there_are_none() {
    let mut firmware = Firmware::default();
    for (kind, bytes, end) in [
        (BarKind::Ports, 0x40, 0x1_0000),
        (BarKind::Memory32, 1 << 20, crate::platform::map::PCI_WINDOWS[1].end),
    ] {
        let mut last = None;
        let mut count = 0;
        while let Some(at) = firmware.assign(&Bar::new(0, kind, bytes)) {
            assert!(at % bytes == 0 && at + bytes <= end && last.is_none_or(|last| at >= last + bytes));
            last = Some(at);
            count += 1;
        }
        assert!(count > 200);
    }
}
