//! Boot information of good and bad loaders.
use super::*;
use crate::firmware_map::FirmwareMap;
use crate::random::Random;
use alloc::string::ToString;
use alloc::vec::Vec;
use handover::MemoryKind;
use loader::memory_map::regions;

/// Boot information of these tags, with an end.
pub fn information(tags: &[(TagKind, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::from([0; 8]);
    for (kind, body) in tags.iter().chain([&(TagKind::END, Vec::new())]) {
        bytes.extend(kind.0.to_le_bytes());
        bytes.extend((8 + body.len() as u32).to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(8), 0xee);
    }
    let len = bytes.len() as u32;
    bytes[..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// A module's tag.
pub fn module(start: u32, end: u32, string: &str) -> (TagKind, Vec<u8>) {
    (TagKind::MODULE, [&start.to_le_bytes()[..], &end.to_le_bytes(), string.as_bytes(), &[0]].concat())
}

/// A BIOS memory map's tag, of base, length and type.
fn bios_map(entry_bytes: u32, entries: &[(u64, u64, u32)]) -> (TagKind, Vec<u8>) {
    let mut body = [entry_bytes.to_le_bytes(), [0; 4]].concat();
    for (base, len, kind) in entries {
        let end = body.len() + entry_bytes as usize;
        body.extend(base.to_le_bytes());
        body.extend(len.to_le_bytes());
        body.extend(kind.to_le_bytes());
        body.resize(end, 0);
    }
    (TagKind::MEMORY, body)
}

fn efi_map(descriptors: &[(u32, u64, u64, u64)]) -> (TagKind, Vec<u8>) {
    let mut body = [48u32.to_le_bytes(), 1u32.to_le_bytes()].concat();
    for (kind, base, pages, attributes) in descriptors {
        for field in [u64::from(*kind), *base, 0, *pages, *attributes, 0] {
            body.extend(field.to_le_bytes());
        }
    }
    (TagKind::EFI_MEMORY, body)
}

fn pixels(kind: u8, bits: u8, colours: [u8; 6]) -> (TagKind, Vec<u8>) {
    let sizes = [4096u32, 1024, 768].map(u32::to_le_bytes).concat();
    let body = [&0xfd00_0000u64.to_le_bytes()[..], &sizes, &[bits, kind, 0, 0], &colours].concat();
    (TagKind::FRAMEBUFFER, body)
}

fn map(map: FirmwareMap) -> Vec<(u64, u64, MemoryKind)> {
    regions(map.claims()).map(|r| (r.extent.base, r.extent.len, r.kind)).collect()
}

const BGR: [u8; 6] = [16, 8, 8, 8, 0, 8];

#[test]
fn what_grub_tells_is_read() {
    let bytes = information(&[
        (TagKind(1), b"command line\0".to_vec()),
        (TagKind::LOADER, b"GRUB 2.06\0".to_vec()),
        module(0x10_0000, 0x10_0123, "purevisor.toml"),
        module(0x20_0000, 0x20_0001, ""),
        bios_map(24, &[(0, 0x9_fc00, 1), (0x10_0000, 0x1ff0_0000, 1)]),
        (TagKind::RSDP_OLD, b"RSD PTR old.........".to_vec()),
        pixels(1, 32, BGR),
    ]);
    let information = Information::parse(&bytes).unwrap();
    assert_eq!(information.loader(), "GRUB 2.06");
    let modules: Vec<_> = information.modules().collect();
    assert_eq!(modules[0], Module { start: 0x10_0000, end: 0x10_0123, string: b"purevisor.toml" });
    assert_eq!(modules[1].string, b"");
    assert_eq!(modules.len(), 2);
    let usable = MemoryKind::USABLE;
    assert_eq!(
        map(information.memory_map().unwrap()),
        [(0, 0x9_f000, usable), (0x10_0000, 0x1ff0_0000, usable)]
    );
    assert_eq!(information.rsdp(), Some(&b"RSD PTR old........."[..]));
    let Screen::Pixels(screen) = information.screen() else { panic!("no screen") };
    assert_eq!((screen.width, screen.height, screen.stride), (1024, 768, 1024));
    assert_eq!(screen.extent, Extent { base: 0xfd00_0000, len: 4096 * 768 });
    assert_eq!(screen.format, PixelFormat::BGR);
    assert!(!information.boot_services_run());
}

#[test]
fn the_newer_root_pointer_and_the_map_of_uefi_come_first() {
    let bytes = information(&[
        (TagKind::RSDP_OLD, Vec::from([1; 20])),
        (TagKind::RSDP_NEW, Vec::from([2; 36])),
        bios_map(24, &[(0, 0x1000, 1)]),
        efi_map(&[(7, 0x10_0000, 16, 8)]),
    ]);
    let information = Information::parse(&bytes).unwrap();
    assert_eq!(information.rsdp(), Some(&[2; 36][..]));
    assert_eq!(map(information.memory_map().unwrap()), [(0x10_0000, 0x1_0000, MemoryKind::USABLE)]);
}

#[test]
fn nothing_is_made_up_where_nothing_is_told() {
    let bytes = information(&[]);
    let information = Information::parse(&bytes).unwrap();
    assert!(information.memory_map().is_none() && information.rsdp().is_none());
    assert_eq!(information.modules().count(), 0);
    assert_eq!(information.loader(), "an unnamed boot loader");
}

#[test]
fn grubs_own_memory_is_free_and_that_of_runtime_services_is_not() {
    let bytes = information(&[efi_map(&[
        (1, 0x10_0000, 1, 8),
        (2, 0x20_0000, 1, 8),
        (4, 0x30_0000, 1, 8),
        (6, 0x40_0000, 1, 8),
        (7, 0x50_0000, 1, 0),
        (9, 0x60_0000, 1, 8),
    ])]);
    let told = map(Information::parse(&bytes).unwrap().memory_map().unwrap());
    let kinds: Vec<_> = told.iter().map(|region| region.2).collect();
    use MemoryKind as Kind;
    assert_eq!(
        kinds,
        [Kind::USABLE, Kind::USABLE, Kind::USABLE, Kind::RESERVED, Kind::RESERVED, Kind::ACPI_RECLAIMABLE]
    );
}

#[test]
fn map_entries_that_wrap_are_unsorted_or_overlap_make_a_sound_map() {
    let (_, body) = bios_map(
        20,
        &[
            (0x20_0000, 0x10_0000, 1),
            (0x10_0000, 0x18_0000, 1),
            (0x28_0000, 0x1000, 2),
            (u64::MAX - 0xfff, 0x2000, 1),
            (0, u64::MAX, 1),
            (0x9_f800, 0x800, 77),
            (0x5000, 0, 1),
        ],
    );
    use MemoryKind as Kind;
    assert_eq!(
        map(FirmwareMap::bios(&body).unwrap()),
        [
            (0x9_f000, 0x1000, Kind::RESERVED),
            (0x10_0000, 0x18_0000, Kind::USABLE),
            (0x28_0000, 0x1000, Kind::RESERVED),
            (0x28_1000, 0x7_f000, Kind::USABLE),
        ]
    );
}

#[test]
fn screens_that_the_kernel_cannot_draw_on_are_none() {
    let screen = |tag| {
        let bytes = information(&[tag]);
        Information::parse(&bytes).unwrap().screen()
    };
    assert!(matches!(screen(pixels(1, 32, [0, 8, 8, 8, 16, 8])),
        Screen::Pixels(f) if f.format == PixelFormat::RGB));
    assert_eq!(screen(pixels(1, 24, BGR)), Screen::None);
    assert_eq!(screen(pixels(0, 32, BGR)), Screen::None);
    assert_eq!(screen(pixels(1, 32, [11, 5, 5, 6, 0, 5])), Screen::None);
    let text = Screen::Text { base: 0xfd00_0000, columns: 1024, rows: 768, pitch: 4096 };
    assert_eq!(screen(pixels(2, 16, [0; 6])), text);
    // Of which nothing is told, with and without UEFI.
    assert_eq!(screen(bios_map(24, &[])), VGA_TEXT);
    assert_eq!(screen(efi_map(&[])), Screen::None);
    // Lines that are shorter than what they show; a size of zero; an end beyond all addresses.
    for (at, bytes) in [(8, 4092u32.to_le_bytes()), (16, [0; 4]), (4, [0xff; 4])] {
        let (kind, mut body) = pixels(1, 32, BGR);
        if at == 4 {
            body[..4].copy_from_slice(&[0xff; 4]);
        }
        body[at..at + 4].copy_from_slice(&bytes);
        assert_eq!(screen((kind, body)), Screen::None, "{at}");
    }
    // The fields that all screens have, and no colours.
    let (kind, body) = pixels(1, 32, BGR);
    assert_eq!(screen((kind, body[..24].to_vec())), Screen::None);
}

#[test]
fn information_that_is_cut_off_anywhere_is_refused() {
    let whole = information(&[module(0x1000, 0x2000, "a name"), bios_map(24, &[(0, 0x1000, 1)])]);
    for len in 16..whole.len() {
        // As it would be read: the size that it claims, of which the rest is not there.
        let mut cut = whole[..len].to_vec();
        cut[..4].copy_from_slice(&(len as u32).to_le_bytes());
        let error = Information::parse(&cut).unwrap_err();
        assert!(error.to_string().contains("cut off"), "{len}: {error}");
    }
    assert!(Information::parse(&whole).is_ok());
    assert_eq!(Information::parse(&whole[..16]).err(), Some(BadInformation::Size(whole.len() as u32)));
}

#[test]
fn impossible_sizes_and_tags_are_refused() {
    for size in [0, 15, MAX_BYTES + 1, u32::MAX] {
        assert_eq!(claimed_bytes(size), Err(BadInformation::Size(size)));
    }
    assert_eq!(Information::parse(&[]).err(), Some(BadInformation::Size(0)));
    for (tag, body) in [
        (TagKind::MODULE, 8),
        (TagKind::MEMORY, 7),
        // Room for the size of entries, which is 0.
        (TagKind::MEMORY, 8),
        (TagKind::EFI_MEMORY, 8),
        (TagKind::FRAMEBUFFER, 23),
        (TagKind::RSDP_OLD, 19),
        (TagKind::RSDP_NEW, 35),
    ] {
        let bytes = information(&[(tag, [0].repeat(body))]);
        assert_eq!(Information::parse(&bytes).err(), Some(BadInformation::Tag(tag)), "{tag:?} of {body}");
    }
    let tiny = information(&[bios_map(19, &[])]);
    assert_eq!(Information::parse(&tiny).err(), Some(BadInformation::Tag(TagKind::MEMORY)));
    let mut short = information(&[(TagKind(99), Vec::new())]);
    short[12] = 7;
    assert_eq!(Information::parse(&short).err(), Some(BadInformation::Truncated(8)));
}

#[test]
fn random_damage_is_refused_or_read_without_harm() {
    let whole = information(&[
        (TagKind::LOADER, b"GRUB\0".to_vec()),
        module(0x1000, 0x2000, "purevisor/kernel.elf"),
        module(0x3000, 0x4000, "purevisor.toml"),
        bios_map(24, &[(0, 0x9_0000, 1), (0x10_0000, 0x4000_0000, 1)]),
        efi_map(&[(7, 0x10_0000, 100, 8), (3, 0x20_0000, 5, 8)]),
        (TagKind::RSDP_NEW, Vec::from([3; 36])),
        pixels(1, 32, BGR),
    ]);
    let mut random = Random::new(11);
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(6) {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] = random.below(256) as u8;
        }
        let Ok(information) = Information::parse(&bytes) else { continue };
        assert!(information.modules().count() <= bytes.len() / 8);
        assert!(information.loader().len() <= bytes.len());
        if let Some(map) = information.memory_map() {
            let regions: Vec<_> = regions(map.claims()).collect();
            assert!(regions.windows(2).all(|r| r[0].extent.base + r[0].extent.len <= r[1].extent.base));
        }
        if let Screen::Pixels(f) = information.screen() {
            assert!(f.stride >= f.width && f.extent.len >= u64::from(f.stride) * u64::from(f.height) * 4);
        }
        let _ = crate::modules::check(information, &[0..0x1000, 0x20_0000..0x40_0000], [].into_iter());
        let _ = crate::modules::find(information, "purevisor.toml");
    }
}
