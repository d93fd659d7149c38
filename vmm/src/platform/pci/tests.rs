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
