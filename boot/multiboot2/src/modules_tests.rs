//! Modules where they should be, and where they should not.
use super::*;
use crate::information::TagKind;
use crate::information::tests::{information, module};
use crate::random::Random;
use alloc::format;
use alloc::vec::Vec;
use handover::MemoryKind;

/// The entry, and the boot information.
const TAKEN: [Range<u64>; 2] = [0x20_0000..0x24_0000, 0x9_0000..0x9_1000];

fn judge(modules: &[(TagKind, Vec<u8>)]) -> Result<(), BadModule> {
    let bytes = information(modules);
    let free = [
        Claim::new(0, 0x9_f000, MemoryKind::USABLE).unwrap(),
        Claim::new(0x10_0000, 0x4000_0000, MemoryKind::USABLE).unwrap(),
        Claim::new(0x100_0000, 0x1000, MemoryKind::RESERVED).unwrap(),
    ];
    check(Information::parse(&bytes).unwrap(), &TAKEN, free.into_iter())
}

#[test]
fn modules_with_memory_of_their_own_pass() {
    assert_eq!(judge(&[]), Ok(()));
    assert_eq!(
        judge(&[
            module(0x24_0000, 0x24_1001, "a"),
            module(0x24_2000, 0x24_3000, "b"),
            module(0x10_0000, 0x20_0000, "c"),
            module(0x24_3000, 0x24_3001, "d"),
        ]),
        Ok(())
    );
}

#[test]
fn an_empty_module_may_be_anywhere() {
    assert_eq!(judge(&[module(0, 0, "a"), module(0xffff_ffff, 0xffff_ffff, "b")]), Ok(()));
}

#[test]
fn modules_that_cannot_be_are_refused() {
    use BadModule::{Backwards, NotInMemory, Overlap, Unaligned};
    assert_eq!(judge(&[module(0x30_0000, 0x2f_0000, "")]), Err(Backwards(0x30_0000)));
    assert_eq!(judge(&[module(0x30_0010, 0x31_0000, "")]), Err(Unaligned(0x30_0010)));
    for (start, end) in [
        (0x8000_0000, 0x8000_1000),
        (0x9_e000, 0x9_f001),
        (0xff_f000, 0x100_1000),
        (0x100_0000, 0x100_1000),
        (0xffff_f000, 0xffff_ffff),
    ] {
        assert_eq!(judge(&[module(start, end, "")]), Err(NotInMemory(start)), "{start:#x}");
    }
    // Over the entry, from below, inside, and around it; over the information.
    for (start, end) in
        [(0x1f_f000, 0x20_0001), (0x23_f000, 0x24_1000), (0x10_0000, 0x50_0000), (0x9_0000, 0x9_0001)]
    {
        assert_eq!(judge(&[module(start, end, "")]), Err(Overlap(start)), "{start:#x}");
    }
    let twice = [module(0x30_0000, 0x32_0000, "a"), module(0x31_0000, 0x31_0001, "b")];
    assert_eq!(judge(&twice), Err(Overlap(0x31_0000)));
}

#[test]
fn a_refusal_says_which_module_and_what_to_do() {
    let text = format!("{}", BadModule::Overlap(0x31_0000));
    assert!(text.contains("0x310000") && text.contains("GRUB 2.06"), "{text}");
}

fn found(strings: &[&str], path: &str) -> Option<u32> {
    let modules: Vec<_> = (1..).zip(strings).map(|(at, s)| module(at, at, s)).collect();
    let bytes = information(&modules);
    find(Information::parse(&bytes).unwrap(), path).map(|module| module.start)
}

#[test]
fn a_module_is_found_by_its_path_however_it_is_spelled() {
    let strings = ["purevisor/kernel.elf", "guests/vmlinuz quiet", "./a//b"];
    assert_eq!(found(&strings, "purevisor/kernel.elf"), Some(1));
    assert_eq!(found(&strings, "guests\\vmlinuz"), Some(2));
    assert_eq!(found(&strings, "a/./b"), Some(3));
    assert_eq!(found(&strings, "kernel.elf"), None);
    assert_eq!(found(&strings, "guests/vmlinuz quiet"), None);
    assert_eq!(found(&["", "x"], "x"), Some(2));
    assert_eq!(found(&["x", "x"], "x"), Some(1));
}

#[test]
fn paths_that_leave_the_volume_are_no_modules() {
    assert_eq!(found(&["../x", "/x", ""], "../x"), None);
    assert_eq!(found(&["../x", "/x", ""], "/x"), None);
    assert_eq!(found(&["../x", "/x", ""], ""), None);
}

#[test]
fn words_are_read_as_grub_writes_them() {
    assert_eq!(found(&["\"a b/c d\" more"], "a b/c d"), Some(1));
    assert_eq!(found(&[r"it\'s"], "it's"), Some(1));
    assert_eq!(found(&[r"guests\\vmlinuz"], "guests/vmlinuz"), Some(1));
    assert_eq!(found(&["\"not closed"], "not closed"), Some(1));
    assert_eq!(found(&["ends with \\"], "ends"), Some(1));
    assert_eq!(found(&["é/ü"], "é/ü"), Some(1));
    let invalid = information(&[(TagKind::MODULE, [[0; 8], [0xff; 8]].concat())]);
    assert_eq!(find(Information::parse(&invalid).unwrap(), "x"), None);
}

#[test]
fn random_modules_that_pass_share_no_byte_with_anything() {
    let mut random = Random::new(5);
    let mut passed = 0;
    for _ in 0..5000 {
        let modules: Vec<_> = (0..3)
            .map(|_| {
                let start = 0x1c_0000 + 0x1000 * random.below(256) as u32;
                module(start, start + 0x800 * random.below(64) as u32, "")
            })
            .collect();
        if judge(&modules).is_err() {
            continue;
        }
        passed += 1;
        let bytes = information(&modules);
        let mut ranges: Vec<_> = Information::parse(&bytes).unwrap().modules().map(|m| range(&m)).collect();
        ranges.extend(TAKEN);
        ranges.retain(|range| !range.is_empty());
        ranges.sort_by_key(|range| range.start);
        assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
    assert!(passed > 100, "{passed}");
}
