use super::*;
use crate::load::image::{u16_at, u32_at, u64_at};
use crate::memory::on_heap::HeapMemory;

/// Reads a table of a guest as the guest would: by the length in its header.
fn table_at(memory: &GuestMemory, at: u64) -> Vec<u8> {
    let length = memory.load_u32(Gpa::new(at + 4)).unwrap();
    let mut bytes = alloc::vec![0; length as usize];
    memory.read(Gpa::new(at), &mut bytes).unwrap();
    bytes
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum: u8, b| sum.wrapping_add(*b))
}

/// Places and writes the tables of a machine, walks from the RSDP as a guest does, and returns the tables
/// that the XSDT names with their places.
fn walk(mib: usize, vcpus: u32) -> (HeapMemory, Vec<(u64, Vec<u8>)>) {
    let memory = HeapMemory::new(mib);
    let tables = place(memory.layout(), vcpus).unwrap();
    tables.write(&memory).unwrap();
    let mut rsdp = [0; 36];
    memory.read(Gpa::new(0xe_0000), &mut rsdp).unwrap();
    assert_eq!(&rsdp[..8], b"RSD PTR ");
    assert_eq!((sum(&rsdp[..20]), sum(&rsdp)), (0, 0));
    let xsdt = table_at(&memory, u64_at(&rsdp, 24));
    assert_eq!((&xsdt[..4], sum(&xsdt)), (&b"XSDT"[..], 0));
    let named = xsdt[36..].chunks_exact(8).map(|entry| u64_at(entry, 0)).collect::<Vec<_>>();
    let named = named.into_iter().map(|at| (at, table_at(&memory, at))).collect();
    (memory, named)
}

#[test]
fn every_table_that_the_guest_finds_has_a_right_checksum() {
    for vcpus in [1, 2, 16] {
        let (memory, named) = walk(32, vcpus);
        let signatures: Vec<_> = named.iter().map(|(_, t)| t[..4].to_vec()).collect();
        assert_eq!(signatures, [b"FACP", b"APIC", b"MCFG"]);
        assert!(named.iter().all(|(at, t)| sum(t) == 0 && at % 16 == 0));
        let fadt = &named[0].1;
        let dsdt = table_at(&memory, u64_at(fadt, 140));
        assert_eq!((&dsdt[..4], sum(&dsdt)), (&b"DSDT"[..], 0));
        let facs = u64::from(u32_at(fadt, 36));
        assert_eq!(facs % 64, 0);
        assert_eq!(&table_at(&memory, facs)[..4], b"FACS");
    }
}

#[test]
fn the_fadt_names_the_ports_of_the_address_map() {
    let (_, named) = walk(32, 1);
    let fadt = &named[0].1;
    assert_eq!(fadt.len(), 276);
    assert_eq!((u32_at(fadt, 56), u32_at(fadt, 64), u32_at(fadt, 76)), (0x600, 0x604, 0x608));
    assert_eq!(u16_at(fadt, 46), 9);
    assert_eq!(fadt[116..129], [1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(fadt[208..220], [1, 32, 0, 3, 0x08, 0x06, 0, 0, 0, 0, 0, 0]);
    // In ACPI mode from the start, no VGA, no keyboard controller, an RTC, not hardware-reduced.
    assert_eq!((u32_at(fadt, 48), u16_at(fadt, 109)), (0, 0x15));
    assert_eq!(u32_at(fadt, 112), 0x1565);
}

#[test]
fn the_madt_lists_each_vcpu_and_where_the_timer_interrupt_goes() {
    let (_, named) = walk(32, 2);
    let madt = &named[1].1;
    assert_eq!(
        madt[36..],
        [
            0, 0, 0xe0, 0xfe, 1, 0, 0, 0, // Local APIC address, PCAT_COMPAT
            0, 8, 0, 0, 1, 0, 0, 0, // vCPU 0
            0, 8, 1, 1, 1, 0, 0, 0, // vCPU 1
            1, 12, 0x20, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0, // IOAPIC
            2, 10, 0, 0, 2, 0, 0, 0, 0, 0, // PIT: IRQ 0 is GSI 2
            2, 10, 0, 9, 9, 0, 0, 0, 0xd, 0, // SCI: level-triggered, active high
            4, 6, 0xff, 0, 0, 1, // NMI at LINT1
        ]
    );
}

#[test]
fn processors_whose_id_needs_more_than_8_bits_get_x2apic_entries() {
    let madt = madt::build(257);
    let at = 36 + 8 + 255 * 8;
    assert_eq!(madt[at..at + 16], [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0]);
    assert_eq!(madt[at + 16..at + 20], [9, 16, 0, 0]);
}

#[test]
fn the_mcfg_is_the_configuration_space_of_all_buses() {
    let (_, named) = walk(32, 1);
    assert_eq!(
        named[2].1[36..],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe0, 0, 0, 0, 0, 0, 0, 0, 255, 0, 0, 0, 0]
    );
}

#[test]
fn tables_too_large_for_the_bios_area_lie_at_the_end_of_low_ram() {
    let memory = HeapMemory::new(8);
    let tables = place(memory.layout(), 4000).unwrap();
    assert!(tables.ram_end() > 7 << 20 && tables.ram_end() < 8 << 20);
    assert_eq!(tables.block_at, tables.ram_end());
    tables.write(&memory).unwrap();
    let (_, named) = walk(8, 4000);
    assert!(named.iter().all(|(at, t)| sum(t) == 0 && *at > 7 << 20));
}

#[test]
fn a_restarted_guest_finds_nothing_of_its_former_tables() {
    let memory = HeapMemory::new(8);
    memory.write(Gpa::new(0xf_8000), b"RSD PTR ").unwrap();
    place(memory.layout(), 1).unwrap().write(&memory).unwrap();
    assert_eq!(memory.read_uint(Gpa::new(0xf_8000), 8), Ok(0));
}
