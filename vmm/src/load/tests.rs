use super::image::{u32_at, u64_at};
use super::*;
use crate::cpu::Gpr;
use crate::memory::on_heap::HeapMemory;
use crate::policy::noise::Noise;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use mm::addr::Gpa;

/// Loads as the kernel does, all at once.
fn load<'a>(memory: &GuestMemory, boot: &Boot<'a>) -> Result<Loaded<'a>, LoadError> {
    let loaded = super::load(memory, boot)?;
    for piece in &loaded.pieces {
        memory.write(piece.at, piece.bytes).expect("a piece lies in RAM");
    }
    Ok(loaded)
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A bzImage of 64 KiB of code, 1 setup sector, that prefers 16 MiB and needs 1 MiB.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0; 1024 + 65536];
    image[0x1f1] = 1;
    put(&mut image, 0x1f4, &4096u32.to_le_bytes());
    put(&mut image, 0x1fe, &[0x55, 0xaa, 0xeb, 0x6a]);
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x206, &0x20fu16.to_le_bytes());
    image[0x211] = 1;
    put(&mut image, 0x22c, &0x7fff_ffffu32.to_le_bytes());
    put(&mut image, 0x230, &(2u32 << 20).to_le_bytes());
    image[0x234] = 1;
    put(&mut image, 0x236, &3u16.to_le_bytes());
    put(&mut image, 0x238, &2047u32.to_le_bytes());
    put(&mut image, 0x258, &(16u64 << 20).to_le_bytes());
    put(&mut image, 0x260, &(1u32 << 20).to_le_bytes());
    for (i, byte) in image[1024..].iter_mut().enumerate() {
        *byte = (i * 7) as u8;
    }
    image
}

/// An ELF64 file: a segment of 16 bytes file and 8 KiB memory at 2 MiB (mapped at -2 GiB), one note.
fn elf64(with_note: bool) -> Vec<u8> {
    let mut image = vec![0; 0x200];
    put(&mut image, 0, b"\x7fELF\x02\x01\x01");
    put(&mut image, 16, &2u16.to_le_bytes());
    put(&mut image, 18, &62u16.to_le_bytes());
    put(&mut image, 24, &0xffff_ffff_8020_0004u64.to_le_bytes());
    put(&mut image, 32, &64u64.to_le_bytes());
    put(&mut image, 54, &56u16.to_le_bytes());
    put(&mut image, 56, &(if with_note { 2u16 } else { 1 }).to_le_bytes());
    put(&mut image, 64, &1u32.to_le_bytes());
    for (at, value) in [(8, 0x100u64), (16, 0xffff_ffff_8020_0000), (24, 2 << 20), (32, 16), (40, 8192)] {
        put(&mut image, 64 + at, &value.to_le_bytes());
    }
    put(&mut image, 120, &4u32.to_le_bytes());
    for (at, value) in [(8, 0x180u64), (32, 20)] {
        put(&mut image, 120 + at, &value.to_le_bytes());
    }
    put(&mut image, 0x100, b"sixteen bytes of");
    for (i, word) in [4u32, 4, 18, u32::from_le_bytes(*b"Xen\0"), 0x20_0008].into_iter().enumerate() {
        put(&mut image, 0x180 + i * 4, &word.to_le_bytes());
    }
    image
}

fn boot<'a>(kernel: &'a [u8], initrd: Option<&'a [u8]>) -> Boot<'a> {
    Boot {
        kernel: File { name: "vmlinuz", bytes: kernel },
        initrd: initrd.map(|bytes| File { name: "initrd.img", bytes }),
        cmdline: b"console=ttyS0",
        vcpus: 2,
        seed: Some([0x5a; 32]),
    }
}

fn read(memory: &GuestMemory, at: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    memory.read(Gpa::new(at), &mut bytes).unwrap();
    bytes
}

fn error(memory: &GuestMemory, kernel: &[u8]) -> LoadError {
    load(memory, &boot(kernel, None)).unwrap_err()
}

#[test]
fn a_bzimage_lies_where_it_prefers_and_starts_at_its_64_bit_entry() {
    let memory = HeapMemory::new(64);
    let kernel = bzimage();
    let initrd: Vec<u8> = (0..10_001u32).map(|i| (i * 3) as u8).collect();
    let loaded = load(&memory, &boot(&kernel, Some(&initrd))).unwrap();
    assert_eq!(loaded.format, Format::BzImage64);
    assert_eq!(loaded.state.rip, (16 << 20) + 0x200);
    assert_eq!(read(&memory, 16 << 20, 65536), kernel[1024..]);

    let params = read(&memory, loaded.state.gprs[Gpr::Rsi as usize], 4096);
    assert_eq!(params[0x1f1..0x210], kernel[0x1f1..0x210]);
    assert_eq!((params[0x1ef], params[0x210]), (0, 0xff));
    let cmdline = u64::from(u32_at(&params, 0x228));
    assert_eq!(read(&memory, cmdline, 14), b"console=ttyS0\0");
    let at = u64::from(u32_at(&params, 0x218));
    assert_eq!(at % 4096, 0);
    assert_eq!(u32_at(&params, 0x21c), 10_001);
    assert_eq!(read(&memory, at, 10_001), initrd);
    assert_eq!(at, (64 << 20) - 12288);

    let rsdp = u64_at(&params, 0x70);
    assert_eq!(read(&memory, rsdp, 8), b"RSD PTR ");
    let setup_data = u64_at(&params, 0x250);
    let mut node = vec![0; 8];
    node.extend([9, 0, 0, 0, 32, 0, 0, 0]);
    node.extend([0x5a; 32]);
    assert_eq!(read(&memory, setup_data, 48), node);
}

#[test]
fn the_memory_map_of_boot_params_is_what_a_pc_has() {
    let memory = HeapMemory::new(64);
    let kernel = bzimage();
    let loaded = load(&memory, &boot(&kernel, None)).unwrap();
    let params = read(&memory, loaded.state.gprs[Gpr::Rsi as usize], 4096);
    let map: Vec<_> = (0..usize::from(params[0x1e8]))
        .map(|i| 0x2d0 + i * 20)
        .map(|at| (u64_at(&params, at), u64_at(&params, at + 8), u32_at(&params, at + 16)))
        .collect();
    assert_eq!(
        map,
        [
            (0, 0x9_fc00, 1),
            (0x9_fc00, 0x400, 2),
            (0xe_0000, 0x2_0000, 2),
            (0x10_0000, (64 << 20) - 0x10_0000, 1),
            (0xe000_0000, 0x1000_0000, 2),
        ]
    );
}

#[test]
fn the_page_tables_of_the_64_bit_entry_map_4_gib_one_to_one() {
    use crate::cpu::plain::PlainRegisters;
    use crate::memory::{Access, translate};
    use mm::addr::Gva;
    let memory = HeapMemory::new(64);
    let kernel = bzimage();
    let loaded = load(&memory, &boot(&kernel, None)).unwrap();
    let registers = PlainRegisters::long_mode(loaded.state.cr3);
    for at in [0, 0x2000, 0x123_4567, 0xfee0_0030, 0xffff_ffff] {
        assert_eq!(translate(&registers, &memory, Gva::new(at), Access::WRITE), Ok(Gpa::new(at)));
    }
    assert!(translate(&registers, &memory, Gva::new(1 << 32), Access::READ).is_err());
}

#[test]
fn a_kernel_without_a_64_bit_entry_starts_in_protected_mode() {
    let memory = HeapMemory::new(64);
    let mut kernel = bzimage();
    kernel[0x236] = 0;
    let loaded = load(&memory, &boot(&kernel, None)).unwrap();
    assert_eq!((loaded.format, loaded.state.rip), (Format::BzImage32, 16 << 20));
    assert!(loaded.state.efer.is_empty());
}

/// The hidden part of a segment register as its descriptor in the guest's GDT has it.
fn loaded_from_gdt(memory: &GuestMemory, gdt: u64, selector: u16) -> (u16, u32) {
    let descriptor = memory.load_u64(Gpa::new(gdt + u64::from(selector))).unwrap();
    let attributes = (descriptor >> 40 & 0xff | descriptor >> 44 & 0xf00) as u16;
    let limit = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
    (attributes, if attributes & 0x800 == 0 { limit } else { limit << 12 | 0xfff })
}

#[test]
fn a_kernel_that_reloads_its_segments_gets_those_that_it_was_started_with() {
    let memory = HeapMemory::new(64);
    let mut old = bzimage();
    old[0x236] = 0;
    for kernel in [bzimage(), old, elf64(true), elf64(false)] {
        let state = load(&memory, &boot(&kernel, None)).unwrap().state;
        for segment in state.segments[..4].iter().chain([&state.tr]) {
            let cached = (segment.attributes.0, segment.limit);
            assert_eq!(loaded_from_gdt(&memory, state.gdtr.base, segment.selector), cached);
        }
    }
}

#[test]
fn a_kernel_is_never_put_below_its_preferred_place_where_it_would_overwrite_the_end_of_the_ram() {
    let memory = HeapMemory::new(8);
    let mut fixed = bzimage();
    fixed[0x234] = 0;
    for kernel in [bzimage(), fixed] {
        assert!(matches!(error(&memory, &kernel).problem, Problem::OutsideRam { start: 0x100_0000, .. }));
    }
}

#[test]
fn a_movable_kernel_whose_preferred_place_is_not_aligned_goes_up_to_the_next_that_is() {
    let memory = HeapMemory::new(64);
    let mut kernel = bzimage();
    put(&mut kernel, 0x258, &0x100_1000u64.to_le_bytes());
    assert_eq!(load(&memory, &boot(&kernel, None)).unwrap().state.rip, 0x120_0200);
}

#[test]
fn a_kernel_that_needs_more_memory_than_there_is_says_so() {
    let memory = HeapMemory::new(8);
    let mut kernel = bzimage();
    put(&mut kernel, 0x260, &u32::MAX.to_le_bytes());
    let message = error(&memory, &kernel).to_string();
    assert!(message.starts_with("vmlinuz: it needs 4194304 KiB of memory at 0x1000000"), "{message}");
}

#[test]
fn a_truncated_kernel_is_refused_at_every_length() {
    let memory = HeapMemory::new(64);
    for kernel in [bzimage(), elf64(true)] {
        let needed = if kernel.len() > 4096 { kernel.len() } else { 0x110 };
        for length in (0..needed.min(0x300)).chain([needed - 1]) {
            assert!(load(&memory, &boot(&kernel[..length], None)).is_err(), "{length} bytes");
        }
    }
    let message = error(&memory, &bzimage()[..5000]).to_string();
    assert!(message.contains("truncated") && message.contains("5000 bytes"), "{message}");
    assert_eq!(error(&memory, &[]).to_string(), "vmlinuz: the file is empty");
}

#[test]
fn what_is_no_kernel_is_told_what_is_one() {
    let memory = HeapMemory::new(8);
    let message = error(&memory, &[0x42; 5000]).to_string();
    assert!(message.contains("bzImage (vmlinuz)"), "{message}");
}

#[test]
fn kernels_of_another_time_are_refused() {
    let memory = HeapMemory::new(64);
    let mut kernel = bzimage();
    put(&mut kernel, 0x206, &0x204u16.to_le_bytes());
    assert_eq!(error(&memory, &kernel).problem, Problem::OldProtocol { version: 0x204 });
    let mut kernel = bzimage();
    kernel[0x211] = 0;
    assert_eq!(error(&memory, &kernel).problem, Problem::LoadsLow);
}

#[test]
fn a_setup_header_that_ends_before_the_fields_of_its_version_is_refused() {
    let memory = HeapMemory::new(64);
    for length in [0, 1, 0x61] {
        let mut kernel = bzimage();
        kernel[0x201] = length;
        let message = error(&memory, &kernel).to_string();
        assert!(message.contains("length of the setup header"), "{message}");
    }
}

#[test]
fn a_command_line_is_taken_up_to_the_kernels_limit() {
    let memory = HeapMemory::new(64);
    let kernel = bzimage();
    let line = [b'x'; 2048];
    let taken = |cmdline| load(&memory, &Boot { cmdline, ..boot(&kernel, None) });
    assert!(taken(&line[..2047]).is_ok());
    let message = taken(&line).unwrap_err().to_string();
    assert_eq!(message, "kernel command line: 2048 bytes long, this kernel takes at most 2047");
    assert!(taken(b"a\0b").is_err());
}

#[test]
fn an_initrd_that_does_not_fit_is_refused_by_its_name() {
    let memory = HeapMemory::new(32);
    let initrd = vec![1; 30 << 20];
    let message = load(&memory, &boot(&bzimage(), Some(&initrd))).unwrap_err().to_string();
    assert!(message.starts_with("initrd.img: it needs 30720 KiB of free memory in one piece"), "{message}");
}

#[test]
fn a_pvh_kernel_starts_at_its_note_with_the_start_information() {
    let memory = HeapMemory::new(8);
    memory.write(Gpa::new(0x20_0010), &[0xff; 64]).unwrap();
    let kernel = elf64(true);
    let loaded = load(&memory, &boot(&kernel, Some(b"an initrd"))).unwrap();
    assert_eq!((loaded.format, loaded.state.rip), (Format::Pvh, 0x20_0008));
    assert_eq!(read(&memory, 0x20_0000, 32), *b"sixteen bytes of\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");

    let info = read(&memory, loaded.state.gprs[Gpr::Rbx as usize], 56);
    assert_eq!(info[..16], [0x78, 0xc5, 0x6e, 0x33, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    let module = read(&memory, u64_at(&info, 16), 32);
    assert_eq!(read(&memory, u64_at(&module, 0), u64_at(&module, 8) as usize), b"an initrd");
    assert_eq!(read(&memory, u64_at(&info, 24), 14), b"console=ttyS0\0");
    assert_eq!(read(&memory, u64_at(&info, 32), 8), b"RSD PTR ");
    let first = read(&memory, u64_at(&info, 40), 24);
    assert_eq!((u64_at(&first, 0), u64_at(&first, 8), u32_at(&first, 16)), (0, 0x9_fc00, 1));
    assert_eq!(u32_at(&info, 48), 5);
}

#[test]
fn a_vmlinux_starts_in_long_mode_at_its_physical_entry() {
    let memory = HeapMemory::new(8);
    let kernel = elf64(false);
    let loaded = load(&memory, &boot(&kernel, None)).unwrap();
    assert_eq!((loaded.format, loaded.state.rip), (Format::Vmlinux, 0x20_0004));
    let params = read(&memory, loaded.state.gprs[Gpr::Rsi as usize], 4096);
    assert_eq!(params[0x202..0x206], *b"HdrS");
}

#[test]
fn segments_over_the_first_megabyte_or_each_other_are_refused() {
    let memory = HeapMemory::new(8);
    let mut low = elf64(false);
    put(&mut low, 64 + 24, &0x1000u64.to_le_bytes());
    assert!(matches!(error(&memory, &low).problem, Problem::OutsideRam { start: 0x1000, .. }));
    let mut wrapping = elf64(false);
    put(&mut wrapping, 64 + 40, &u64::MAX.to_le_bytes());
    assert!(matches!(error(&memory, &wrapping).problem, Problem::Field { name: "p_memsz", .. }));
    let mut twice = elf64(true);
    let header: Vec<u8> = twice[64..120].to_vec();
    put(&mut twice, 120, &header);
    assert_eq!(error(&memory, &twice).problem, Problem::Overlap { at: 2 << 20 });
}

#[test]
fn mutated_kernels_load_or_are_refused_and_leave_the_first_megabyte_alone() {
    let memory = HeapMemory::new(32);
    let mut noise = Noise::new(3);
    let interesting = [0u64, 1, 0x7f, 0x80, 0xff, 0xffff, 0x1000, 0x9_f000, 0x10_0000, 0xffff_ffff, u64::MAX];
    let mut loaded = 0;
    for original in [bzimage(), elf64(true), elf64(false)] {
        let headers = original.len().min(0x290) as u64;
        for _ in 0..1500 {
            let mut kernel = original.clone();
            for _ in 0..=noise.number() % 4 {
                let at = (noise.number() % headers) as usize;
                let width = 1 << (noise.number() % 4);
                let value = match noise.number() % 3 {
                    0 => noise.number(),
                    1 => noise.number() % (64 << 20),
                    _ => noise.pick(&interesting),
                };
                let end = (at + width).min(kernel.len());
                kernel[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
            // What lies below the first megabyte beside the loader's own places stays untouched.
            if load(&memory, &boot(&kernel, Some(b"initrd"))).is_ok() {
                loaded += 1;
            }
            assert_eq!(memory.read_uint(Gpa::new(0x5_0000), 8), Ok(0));
            assert_eq!(memory.read_uint(Gpa::new(0xc_0000), 8), Ok(0));
        }
    }
    // Both outcomes must occur, or the mutations are too wild or too tame to test anything.
    assert!((500..4400).contains(&loaded), "{loaded} of 4500 loaded");
}
