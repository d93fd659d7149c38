use super::*;
use crate::policy::noise::Noise;
use crate::policy::paravirtual::Features;

const FACTS: Facts = Facts {
    vcpus: 4,
    apic_id: 2,
    xcr0: 0b111,
    tsc_hz: 2_445_427_000,
    apic_timer_hz: 1_000_000_000,
    invariant_tsc: true,
    patch_level: 0,
    paravirtual: Features::CLOCK,
};

const LIVE: LiveState = LiveState { cr4: Cr4::empty(), xcr0: 1, apic_enabled: true };

fn words(text: &[u8; 12]) -> [u32; 3] {
    core::array::from_fn(|i| u32::from_le_bytes(text[i * 4..i * 4 + 4].try_into().unwrap()))
}

/// A host that has every bit of every leaf, but for what must be numbers.
fn everything(leaf: u32, subleaf: u32, vendor: &[u8; 12], max_basic: u32, max_extended: u32) -> [u32; 4] {
    let [b, d, c] = words(vendor);
    match (leaf, subleaf) {
        (0, _) => [max_basic, b, c, d],
        (0x8000_0000, _) => [max_extended, b, c, d],
        (0x8000_0008, _) => [0x3934, u32::MAX, u32::MAX, u32::MAX],
        (0xd, 2) => [256, 576, 0, 0],
        (0xd, 5) => [64, 1088, 0, 0],
        (0xd, 9) => [8, 2688, 0, 0],
        (0xd, n @ 2..) => [64, 4096 + n * 64, 0b11, 0],
        // Two levels of caches of a core, one that is shared, no more.
        (4 | 0x8000_001d, n) => {
            [[0xffff_fc21u32, 0xffff_fc43, 0xffff_fc63, 0][n.min(3) as usize], 63, 511, 1]
        }
        _ => [u32::MAX; 4],
    }
}

fn amd(leaf: u32, subleaf: u32) -> [u32; 4] {
    everything(leaf, subleaf, b"AuthenticAMD", 0x20, 0x8000_0026)
}

fn intel(leaf: u32, subleaf: u32) -> [u32; 4] {
    everything(leaf, subleaf, b"GenuineIntel", 0x20, 0x8000_0008)
}

fn get(table: &CpuidTable, leaf: u32, subleaf: u32) -> [u32; 4] {
    table.get(leaf, subleaf, || LIVE)
}

#[test]
fn the_table_ascends_without_duplicates_and_fits_the_directory() {
    let key = |row: &table::Row| match row.subleaf {
        Subleaf::Any => (row.leaf, 0, 0),
        Subleaf::Is(n) => (row.leaf, n, n),
        Subleaf::From(first, last) => (row.leaf, first, last),
    };
    for pair in TABLE.windows(2) {
        let ((leaf, _, last), (next, first, _)) = (key(&pair[0]), key(&pair[1]));
        assert!(leaf < next || (leaf == next && last + 1 == first), "{next:#x}");
        // A leaf's subleaves share what is live about them.
        assert!(leaf != next || pair[0].live == pair[1].live, "{next:#x}");
    }
    for row in TABLE {
        assert!(matches!(split(row.leaf), (Some(_), n) if (n as usize) < RANGE));
        let starts = key(row).1;
        assert!(starts == 0 || TABLE.iter().any(|r| r.leaf == row.leaf && key(r).1 == 0));
    }
    for needs in NEEDS {
        assert!(TABLE.iter().any(|r| r.leaf == needs.leaf && key(r).1 <= needs.subleaf));
    }
}

#[test]
fn what_no_guest_may_see_is_hidden_on_a_host_that_has_it() {
    use feature::*;
    for host in [amd, intel] {
        let facts = Facts { xcr0: u64::MAX, ..FACTS };
        let table = CpuidTable::new(&host, &facts);
        let [_, _, c, d] = get(&table, 1, 0);
        let forbidden =
            leaf_1_ecx::VMX | leaf_1_ecx::SMX | leaf_1_ecx::MONITOR | leaf_1_ecx::PDCM | leaf_1_ecx::DTES64;
        assert_eq!(c & forbidden, 0);
        assert_eq!(d & (leaf_1_edx::DS | leaf_1_edx::TM | leaf_1_edx::ACPI), 0);
        let [_, b, c, d] = get(&table, 7, 0);
        assert_eq!(
            b & (leaf_7_ebx::SGX | leaf_7_ebx::RTM | leaf_7_ebx::HLE | leaf_7_ebx::MPX | leaf_7_ebx::PT),
            0
        );
        let forbidden = leaf_7_ecx::LA57
            | leaf_7_ecx::WAITPKG
            | leaf_7_ecx::CET_SS
            | leaf_7_ecx::PKS
            | leaf_7_ecx::ENQCMD;
        assert_eq!(c & forbidden, 0);
        let forbidden = leaf_7_edx::IBRS_IBPB
            | leaf_7_edx::SSBD
            | leaf_7_edx::CET_IBT
            | leaf_7_edx::AMX_TILE
            | leaf_7_edx::ARCH_CAPABILITIES
            | leaf_7_edx::UINTR;
        assert_eq!(d & forbidden, 0);
        assert_eq!(get(&table, 0xd, 1)[0] & (leaf_d_1_eax::XSAVES | leaf_d_1_eax::XFD), 0);
        let [_, _, c, d] = get(&table, 0x8000_0001, 0);
        let forbidden = extended_1_ecx::SVM
            | extended_1_ecx::SKINIT
            | extended_1_ecx::IBS
            | extended_1_ecx::LWP
            | extended_1_ecx::MONITORX
            | extended_1_ecx::PERF_CTR_EXT_CORE
            | extended_1_ecx::TCE;
        assert_eq!(c & forbidden, 0);
        assert_eq!(d & extended_1_edx::FFXSR, 0);
        for leaf in [5, 0xa, 0x8000_000a, 0x8000_001b, 0x8000_001f] {
            if leaf < 0x8000_0000 || leaf <= get(&table, 0x8000_0000, 0)[0] {
                assert_eq!(get(&table, leaf, 0), [0; 4], "leaf {leaf:#x}");
            }
        }
    }
}

#[test]
fn what_we_emulate_is_shown_on_a_host_that_has_nothing() {
    let nothing = |leaf, _| if leaf == 0 { [1, 0, 0, 0] } else { [0; 4] };
    let table = CpuidTable::new(&nothing, &FACTS);
    let [_, _, c, d] = get(&table, 1, 0);
    assert_eq!(c, leaf_1_ecx::X2APIC | leaf_1_ecx::TSC_DEADLINE | leaf_1_ecx::HYPERVISOR);
    assert_eq!(d, leaf_1_edx::APIC | leaf_1_edx::MTRR | leaf_1_edx::HTT);
    assert_eq!(get(&table, 7, 0), [0, feature::leaf_7_ebx::TSC_ADJUST, 0, 0]);
    assert_eq!(get(&table, 6, 0)[0], 4);
    assert_eq!(get(&table, 0x8000_0007, 0), [0, 0, 0, 1 << 8]);
}

#[test]
fn the_hypervisor_leaves_have_kvms_signature_and_the_frequencies() {
    let table = CpuidTable::new(&amd, &FACTS);
    assert_eq!(get(&table, 0x4000_0000, 0), [0x4000_0010, 0x4b4d_564b, 0x564b_4d56, 0x4d]);
    assert_eq!(get(&table, 0x4000_0001, 0), [1 << 1 | 1 << 3 | 1 << 24, 0, 0, 0]);
    assert_eq!(get(&table, 0x4000_0010, 0), [2_445_427, 1_000_000, 0, 0]);
    assert_eq!(get(&table, 0x4000_0002, 0), [0; 4]);
    assert_eq!(get(&table, 0x4000_0100, 0), [0; 4]);
}

#[test]
fn leaves_out_of_range_are_zero_on_amd_and_the_highest_basic_leaf_on_intel() {
    let of_amd = CpuidTable::new(&amd, &FACTS);
    for leaf in [0xe, 0x1f, 0x2000_0000, 0x3fff_ffff, 0x8000_0022, 0xc000_0000, u32::MAX] {
        assert_eq!(get(&of_amd, leaf, 0), [0; 4]);
    }
    let of_intel = CpuidTable::new(&intel, &FACTS);
    let highest = get(&of_intel, 0xd, 1);
    assert_ne!(highest, [0; 4]);
    for leaf in [0xe, 0x1f, 0x2000_0000, 0x8000_0009, 0x8000_001e, 0xc000_0000, u32::MAX] {
        assert_eq!(get(&of_intel, leaf, 1), highest, "leaf {leaf:#x}");
    }
    assert_eq!(get(&of_intel, 3, 1), [0; 4]);
}

#[test]
fn all_leaves_agree_on_one_package_of_single_threaded_cores() {
    let facts = Facts { vcpus: 6, apic_id: 5, ..FACTS };
    let table = CpuidTable::new(&amd, &facts);
    assert_eq!(get(&table, 1, 0)[1] >> 16, 0x0506);
    assert_eq!(get(&table, 0xb, 0), [0, 1, 0x100, 5]);
    assert_eq!(get(&table, 0xb, 1), [3, 6, 0x201, 5]);
    assert_eq!(get(&table, 0xb, 2), [0, 0, 2, 5]);
    assert_eq!(get(&table, 0xb, 0x1_0003), [0, 0, 3, 5]);
    assert_eq!(get(&table, 0x8000_0008, 0)[2], 5 | 3 << 12);
    assert_eq!(get(&table, 0x8000_001e, 0), [5, 5, 0, 0]);
    assert_ne!(get(&table, 0x8000_0001, 0)[2] & feature::extended_1_ecx::CMP_LEGACY, 0);
    // The third level is shared by all, the others by none.
    let sharing = |leaf, n| get(&table, leaf, n)[0] >> 14 & 0xfff;
    assert_eq!([0, 1, 2].map(|n| sharing(0x8000_001d, n)), [0, 0, 5]);

    let table = CpuidTable::new(&intel, &facts);
    let [a, ..] = get(&table, 4, 2);
    assert_eq!((a >> 14 & 0xfff, a >> 26), (7, 7));
    assert_eq!(get(&table, 4, 3)[0], 0);
    assert_eq!(get(&table, 0x8000_0008, 0)[2], 0);

    let one = CpuidTable::new(&amd, &Facts { vcpus: 1, apic_id: 0, ..FACTS });
    assert_eq!(get(&one, 1, 0)[3] & leaf_1_edx::HTT, 0);
    assert_eq!(get(&one, 0xb, 1), [0, 1, 0x201, 0]);
}

#[test]
fn vector_features_follow_the_states_that_xcr0_can_enable() {
    use feature::*;
    let avx512 = |table: &CpuidTable| get(table, 7, 0)[1] & leaf_7_ebx::AVX512F != 0;
    let avx = |table: &CpuidTable| get(table, 1, 0)[2] & leaf_1_ecx::AVX != 0;
    let pku = |table: &CpuidTable| get(table, 7, 0)[2] & leaf_7_ecx::PKU != 0;
    let seen = |xcr0| {
        let table = CpuidTable::new(&amd, &Facts { xcr0, ..FACTS });
        (avx(&table), avx512(&table), pku(&table), get(&table, 1, 0)[2] & leaf_1_ecx::XSAVE != 0)
    };
    assert_eq!(seen(0), (false, false, false, false));
    assert_eq!(seen(0b11), (false, false, false, true));
    assert_eq!(seen(0b111), (true, false, false, true));
    assert_eq!(seen(0xe7), (true, true, false, true));
    assert_eq!(seen(0x2e7), (true, true, true, true));
    let without = CpuidTable::new(&amd, &Facts { xcr0: 0, ..FACTS });
    assert_eq!(get(&without, 0, 0)[0], 0xb);
    assert_eq!(get(&without, 0xd, 0), [0; 4]);
}

#[test]
fn the_sizes_of_the_save_area_follow_xcr0() {
    let table = CpuidTable::new(&amd, &Facts { xcr0: 0x2e7, ..FACTS });
    let at = |xcr0, subleaf| table.get(0xd, subleaf, || LiveState { xcr0, ..LIVE });
    let end_of_all = 4096 + 7 * 64 + 64;
    assert_eq!(at(1, 0), [0x2e7, 576, end_of_all, 0]);
    assert_eq!(at(7, 0)[1], 832);
    assert_eq!(at(0x2e7, 0)[1], end_of_all);
    assert_eq!(at(7, 1), [7, 832, 0, 0]);
    // Compacted: AVX, three of AVX-512, and 8 bytes of protection keys.
    assert_eq!(at(0x2e7, 1)[1], 576 + 256 + 3 * 64 + 8);
    assert_eq!(at(0x207, 1)[1], 576 + 256 + 8);
    assert_eq!(at(7, 2), [256, 576, 0, 0]);
    assert_eq!(at(7, 3), [0; 4]);
    assert_eq!(at(7, 9), [8, 2688, 0, 0]);
    assert_eq!(at(7, 7), [64, 4544, 2, 0]);
    assert_eq!(at(7, 64), [0; 4]);
}

#[test]
fn states_that_guests_may_not_have_or_that_lack_what_they_build_on_are_dropped() {
    assert_eq!(guest_states(u64::MAX), 0x2e7);
    // MPX, processor trace, CET, AMX.
    assert_eq!(guest_states(0x6_191f), 0x7);
    assert_eq!(guest_states(0b101), 0);
    assert_eq!(guest_states(0x67), 0x7);
    assert_eq!(guest_states(0xe3), 0x3);
    assert_eq!(guest_states(0), 0);
}

#[test]
fn bits_that_mirror_the_vcpus_state_follow_it() {
    let table = CpuidTable::new(&amd, &Facts { xcr0: 0x207, ..FACTS });
    let on = LiveState { cr4: Cr4::OSXSAVE | Cr4::PKE, ..LIVE };
    let off = LiveState { apic_enabled: false, ..LIVE };
    assert_ne!(table.get(1, 0, || on)[2] & leaf_1_ecx::OSXSAVE, 0);
    assert_eq!(table.get(1, 0, || off)[2] & leaf_1_ecx::OSXSAVE, 0);
    assert_ne!(table.get(7, 0, || on)[2] & leaf_7_ecx::OSPKE, 0);
    assert_eq!(table.get(7, 0, || off)[2] & leaf_7_ecx::OSPKE, 0);
    assert_eq!(table.get(1, 0, || off)[3] & leaf_1_edx::APIC, 0);
    assert_eq!(table.get(0x8000_0001, 0, || off)[3] & extended_1_edx::APIC, 0);
}

#[test]
fn addresses_are_never_wider_than_four_levels() {
    let table = CpuidTable::new(&amd, &FACTS);
    assert_eq!(get(&table, 0x8000_0008, 0)[0], 48 | 48 << 8);
}

#[test]
fn random_leaves_on_hosts_of_random_answers_never_panic() {
    let mut noise = Noise::new(11);
    for _ in 0..50 {
        let salt = noise.number();
        let random = move |leaf: u32, subleaf: u32| {
            let mut answers = Noise::new(salt ^ u64::from(leaf) << 32 ^ u64::from(subleaf));
            core::array::from_fn(|_| answers.number() as u32)
        };
        let facts = Facts {
            vcpus: noise.below(40) as u32,
            apic_id: noise.number() as u32,
            xcr0: noise.number(),
            tsc_hz: noise.number(),
            apic_timer_hz: noise.number(),
            invariant_tsc: noise.below(2) == 0,
            patch_level: noise.number(),
            paravirtual: Features::from_bits_retain(noise.number() as u32),
        };
        let table = CpuidTable::new(&random, &facts);
        for _ in 0..2000 {
            let anywhere = noise.number() as u32;
            let leaf =
                noise.pick(&[0, 0x4000_0000, 0x8000_0000, anywhere]).wrapping_add(noise.below(64) as u32);
            let subleaf = noise.number() as u32 & noise.pick(&[63, u32::MAX]);
            let cr4 = Cr4::from_bits_retain(noise.number());
            let live = LiveState { cr4, xcr0: noise.number(), apic_enabled: false };
            table.get(leaf, subleaf, || live);
        }
    }
}
