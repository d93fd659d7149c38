//! Kernels good and bad, built byte by byte.
use super::*;
use alloc::string::ToString;
use alloc::vec;

const BASE: u64 = WINDOW.start;

struct Load {
    flags: u32,
    address: u64,
    data: Vec<u8>,
    bytes: u64,
}

fn code() -> Load {
    Load { flags: 5, address: BASE, data: vec![0xcc; 100], bytes: 100 }
}

fn data() -> Load {
    Load { flags: 6, address: BASE + 0x1000, data: vec![7; 10], bytes: 0x2345 }
}

/// An ELF file with these segments, a note of `version`, a symbol table, and `entry`.
fn build(loads: &[Load], version: u32, entry: u64) -> Vec<u8> {
    let mut body = Vec::new();
    let body_at = 64 + 56 * loads.len();
    let mut place = |bytes: &[u8]| {
        let at = (body_at + body.len()) as u64;
        body.extend_from_slice(bytes);
        (at, bytes.len() as u64)
    };
    let mut programs = Vec::new();
    for load in loads {
        let (at, len) = place(&load.data);
        programs.extend_from_slice(&PT_LOAD.to_le_bytes());
        programs.extend_from_slice(&load.flags.to_le_bytes());
        for field in [at, load.address, load.address, len, load.bytes, 4096] {
            programs.extend_from_slice(&field.to_le_bytes());
        }
    }
    let mut note = vec![10, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0];
    note.extend_from_slice(&NOTE_NAME);
    note.extend_from_slice(&version.to_le_bytes());
    let names = b"\0.note.purevisor\0";
    let sections = [
        (0u32, 0u32, (0, 0), 0u32),
        (1, 7, place(&note), 0),
        (0, SHT_SYMTAB, place(&[1; 48]), 3),
        (0, 3, place(b"\0main\0"), 0),
        (0, 3, place(names), 0),
    ];
    let sections_at = (body_at + body.len()) as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend_from_slice(&ET_EXEC.to_le_bytes());
    file.extend_from_slice(&EM_X86_64.to_le_bytes());
    file.extend_from_slice(&1u32.to_le_bytes());
    for field in [entry, 64, sections_at] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    file.extend_from_slice(&0u32.to_le_bytes());
    for field in [64u16, 56, loads.len() as u16, 64, sections.len() as u16, 4] {
        file.extend_from_slice(&field.to_le_bytes());
    }
    file.extend_from_slice(&programs);
    file.extend_from_slice(&body);
    for (name, kind, (at, len), link) in sections {
        let start = file.len();
        file.extend_from_slice(&name.to_le_bytes());
        file.extend_from_slice(&kind.to_le_bytes());
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(&at.to_le_bytes());
        file.extend_from_slice(&len.to_le_bytes());
        file.extend_from_slice(&link.to_le_bytes());
        file.resize(start + 64, 0);
    }
    file
}

fn refusal(loads: &[Load]) -> BadKernel {
    Kernel::parse(&build(loads, VERSION, BASE)).unwrap_err()
}

#[test]
fn a_good_kernel_gives_its_segments_entry_and_symbols() {
    // Not in order of address in the file.
    let file = build(&[data(), code()], VERSION, BASE + 4);
    let kernel = Kernel::parse(&file).unwrap();
    assert_eq!(kernel.entry, BASE + 4);
    assert_eq!(kernel.pages(), BASE..BASE + 0x4000);
    let [code, data] = &kernel.segments[..] else { panic!("{kernel:?}") };
    assert!(code.executable && !code.writable && data.writable && !data.executable);
    assert_eq!((code.data.len(), data.data, data.bytes), (100, &[7u8; 10][..], 0x2345));
    assert_eq!((kernel.symbols.len(), kernel.symbol_names), (48, &b"\0main\0"[..]));
}

#[test]
fn a_kernel_of_another_version_is_refused_with_both_versions() {
    let error = Kernel::parse(&build(&[code()], VERSION + 1, BASE)).unwrap_err();
    assert_eq!(error, BadKernel::Version(VERSION + 1));
    let text = error.to_string();
    assert!(text.contains("version 2") && text.contains("loader 1"), "{text}");
}

#[test]
fn what_is_no_kernel_is_refused() {
    assert_eq!(Kernel::parse(b""), Err(BadKernel::NotElf));
    assert_eq!(Kernel::parse(b"MZ and more"), Err(BadKernel::NotElf));
    let mut arm = build(&[code()], VERSION, BASE);
    arm[18] = 183;
    assert_eq!(Kernel::parse(&arm), Err(BadKernel::NotX86Executable));
    let mut other = build(&[code()], VERSION, BASE);
    let at = other.windows(9).position(|w| w == b"PureVisor").unwrap();
    other[at] = b'X';
    assert_eq!(Kernel::parse(&other), Err(BadKernel::NoNote));
}

#[test]
fn a_segment_that_is_writable_and_executable_is_refused() {
    assert_eq!(refusal(&[Load { flags: 7, ..code() }]), BadKernel::WritableCode(BASE));
}

#[test]
fn segments_outside_of_the_window_or_on_each_other_are_refused() {
    assert_eq!(refusal(&[]), BadKernel::NoSegments);
    for address in [0x10_0000, BASE - 0x1000, BASE + 1, WINDOW.end, !0xfff] {
        assert_eq!(refusal(&[code(), Load { address, ..data() }]), BadKernel::Placement(address));
    }
    let huge = Load { bytes: u64::MAX, ..data() };
    assert_eq!(refusal(&[code(), huge]), BadKernel::Placement(BASE + 0x1000));
    let far = Load { address: BASE + MAX_MEMORY, ..data() };
    assert_eq!(refusal(&[code(), far]), BadKernel::Placement(BASE + MAX_MEMORY));
    assert_eq!(refusal(&[Load { bytes: 3, ..code() }]), BadKernel::Placement(BASE));
    let long = Load { bytes: 0x1001, ..code() };
    assert_eq!(refusal(&[long, data()]), BadKernel::Overlap(BASE + 0x1000));
    assert_eq!(refusal(&[code(), code()]), BadKernel::Overlap(BASE));
}

#[test]
fn an_entry_point_outside_of_the_code_is_refused() {
    for entry in [0, BASE + 100, BASE + 0x1000] {
        assert_eq!(Kernel::parse(&build(&[code(), data()], VERSION, entry)), Err(BadKernel::Entry(entry)));
    }
}

#[test]
fn every_truncation_is_refused() {
    let file = build(&[code(), data()], VERSION, BASE);
    for len in 0..file.len() {
        assert!(Kernel::parse(&file[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn changed_bytes_never_yield_a_kernel_that_breaks_the_rules() {
    let good = build(&[code(), data()], VERSION, BASE);
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    for _ in 0..50_000 {
        let mut file = good.clone();
        for _ in 0..1 + random() % 3 {
            let at = random() % file.len();
            file[at] = [0, 0xff, 0x80, random() as u8][random() % 4];
        }
        let Ok(kernel) = Kernel::parse(&file) else { continue };
        assert!(kernel.pages().end - kernel.pages().start <= MAX_MEMORY);
        assert!(WINDOW.start <= kernel.pages().start && kernel.pages().end <= WINDOW.end);
        assert!(kernel.segments.iter().all(|s| !(s.writable && s.executable)));
        assert!(kernel.segments.iter().all(|s| s.data.len() as u64 <= s.bytes));
        assert!(kernel.segments.windows(2).all(|p| p[0].pages().end <= p[1].address));
    }
}
