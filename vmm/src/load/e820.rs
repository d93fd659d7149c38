//! The memory map that the guest is given, in the types of ACPI's INT 15h E820h (ACPI 6.5, 15.4), which
//! boot_params and hvm_start_info share.
use super::acpi::Tables;
use super::low_memory::BIOS_RAM_END;
use super::place::{Extent, MEGABYTE};
use crate::memory::Layout;
use crate::platform::map;
use alloc::vec::Vec;

/// Type of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Ram = 1,
    Reserved = 2,
    Acpi = 3,
}

/// A range of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub extent: Extent,
    pub kind: Kind,
}

/// The map, ascending and without overlap.
pub(super) fn map(layout: Layout, tables: &Tables) -> Vec<Entry> {
    use Kind::{Acpi, Ram, Reserved};
    let range = |from, to, kind| Entry { extent: Extent { from, to }, kind };
    let mut map = alloc::vec![
        range(0, BIOS_RAM_END, Ram),
        // The EBDA, where BIOSes keep data and old kernels look.
        range(BIOS_RAM_END, Layout::VIDEO.start, Reserved),
        // The BIOS itself: the firmware tables.
        range(super::acpi::BIOS_AREA.from, MEGABYTE, Reserved),
        range(MEGABYTE, tables.ram_end(), Ram),
        range(tables.ram_end(), layout.low_end, Acpi),
        // Linux uses memory-mapped PCI configuration only where it is reserved.
        range(map::ECAM.start, map::ECAM.end, Reserved),
        range(Layout::HIGH, layout.high_end, Ram),
    ];
    map.retain(|entry| entry.extent.from < entry.extent.to);
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_ascends_without_overlap_and_counts_all_ram_but_the_legacy_hole() {
        for (bytes, vcpus) in
            [(2 << 20, 1), (512 << 20, 4), (3 << 30, 16), (8u64 << 30, 16), (64 << 20, 4000)]
        {
            let layout = Layout::new(bytes);
            let tables = super::super::acpi::place(layout, vcpus).unwrap();
            let map = map(layout, &tables);
            assert!(map.windows(2).all(|pair| pair[0].extent.to <= pair[1].extent.from));
            let sum = |kind| map.iter().filter(|e| e.kind == kind).map(|e| e.extent.bytes()).sum::<u64>();
            let usable = bytes - (MEGABYTE - BIOS_RAM_END);
            assert_eq!(sum(Kind::Ram) + sum(Kind::Acpi), usable, "{bytes:#x}");
            assert_eq!(sum(Kind::Acpi) != 0, vcpus == 4000);
        }
    }
}
