use super::*;
use crate::policy::noise::Noise;

const FACTS: MsrFacts = MsrFacts {
    paravirtual: Features::CLOCK,
    patch_level: 0x0a00_1079,
    physical_bits: 48,
    prediction_barrier: false,
};

fn value(store: &MsrStore, msr: u32) -> u64 {
    match store.read(msr) {
        Ok(MsrRead::Value(value)) => value,
        other => panic!("{msr:#x}: {other:?}"),
    }
}

#[test]
fn the_table_ascends_without_overlap() {
    for pair in TABLE.windows(2) {
        assert!(pair[0].first <= pair[0].last && pair[0].last < pair[1].first, "{}", pair[1].name);
    }
}

#[test]
fn the_short_cut_answers_as_the_table_does() {
    for row in TABLE.iter().filter(|row| hot(row.first).is_some()) {
        assert!(matches!(row.read, Read::Ask(owner) if Some(owner) == hot(row.first)), "{}", row.name);
        assert!(matches!(row.write, Write::Tell(owner) if Some(owner) == hot(row.first)), "{}", row.name);
    }
    assert_eq!(MsrStore::new(FACTS).read(0x80b), Ok(MsrRead::Owner(Owner::X2Apic(0x0b))));
    assert_eq!(hot(0x900), None);
}

#[test]
fn the_prediction_barrier_is_a_write_of_one_bit_where_cpuid_shows_it() {
    let mut store = MsrStore::new(MsrFacts { prediction_barrier: true, ..FACTS });
    for value in [0, 1] {
        assert_eq!(store.write(0x49, value), Ok(MsrWrite::Owner(Owner::PredictionBarrier, value)));
    }
    for value in [2, 3, 0x80, 1 << 32] {
        assert_eq!(store.write(0x49, value), Err(Gp), "{value:#x}");
    }
    assert_eq!(store.read(0x49), Err(Gp));
}

#[test]
fn registers_of_hidden_features_do_not_exist() {
    let mut store = MsrStore::new(FACTS);
    // APERF, speculation control, capabilities, performance counters, banks, XSS, IBS, the ratio of the
    // counter, SVM's save area, SEV, paravirtual ones that are not shown.
    let missing = [
        0xe7,
        0x48,
        0x49,
        0x10a,
        0xc1,
        0x186,
        0x38f,
        0x400,
        0xda0,
        0xc001_1030,
        0xc000_0104,
        0xc001_0117,
        0xc001_0131,
        0x11,
        0x12,
        0x4b56_4d02,
        0x4b56_4d03,
        0x4b56_4d04,
        0x4b56_4d05,
        0xc001_1020,
        u32::MAX,
    ];
    for msr in missing {
        assert_eq!(store.read(msr), Err(Gp), "{msr:#x}");
        assert_eq!(store.write(msr, 0), Err(Gp), "{msr:#x}");
    }
    let mut silent = MsrStore::new(MsrFacts { paravirtual: Features::empty(), ..FACTS });
    assert_eq!(silent.write(0x4b56_4d01, 0x1001), Err(Gp));
}

#[test]
fn what_linux_reads_without_being_ready_for_a_fault_is_there() {
    let store = MsrStore::new(FACTS);
    for (msr, expected) in [
        (0x8b, 0x0a00_1079),
        (0xfe, 0x508),
        (0x179, 0),
        (0x1a0, 0x1801),
        (0xc001_0010, 0),
        (0xc001_0015, 1 << 24),
        (0xc001_0055, 0),
        (0xc001_0114, 0x18),
        (0xc001_0141, 0),
        (0xc001_1029, 2),
    ] {
        assert_eq!(value(&store, msr), expected, "{msr:#x}");
    }
}

#[test]
fn memory_types_are_as_firmware_leaves_them() {
    let store = MsrStore::new(FACTS);
    assert_eq!(value(&store, 0x2ff), 0xc06);
    assert_eq!(value(&store, 0x200), 0xc000_0000);
    assert_eq!(value(&store, 0x201), 0xffff_c000_0800);
    assert_eq!((value(&store, 0x202), value(&store, 0x203)), (0, 0));
    assert_eq!((value(&store, 0x250), value(&store, 0x259)), (0x0606_0606_0606_0606, 0));
    assert_eq!(value(&store, 0x26f), 0x0606_0606_0606_0606);
}

#[test]
fn memory_types_and_addresses_that_do_not_exist_are_refused() {
    let mut store = MsrStore::new(FACTS);
    for (msr, good, bad) in [
        (0x202, 0x8000_0001, 0x8000_0002),
        (0x202, 0x8000_0006, 0x8000_0106),
        (0x202, 0xffff_ffff_f006, 1 << 48),
        (0x203, 0xffff_8000_0800, 0x8000_0400),
        (0x20f, 0, u64::MAX),
        (0x258, 0x0001_0405_0600_0000, 0x0600_0000_0300_0000),
        (0x26f, 0, 7),
        (0x2ff, 0xc00, 0xc03),
        (0x2ff, 0, 1 << 12),
    ] {
        assert_eq!(store.write(msr, good), Ok(MsrWrite::Done), "{msr:#x}");
        assert_eq!(store.write(msr, bad), Err(Gp), "{msr:#x} {bad:#x}");
        assert_eq!(value(&store, msr), good);
    }
    store.reset();
    assert_eq!(value(&store, 0x202), 0);
}

#[test]
fn each_register_of_a_group_is_kept_by_itself() {
    let mut store = MsrStore::new(FACTS);
    for (i, msr) in (0x268..0x270u32).enumerate() {
        store.write(msr, [0, 1, 4, 5, 6, 0x0100, 0x0400, 0x0500][i]).unwrap();
    }
    let read = (0x268..0x270).map(|msr| value(&store, msr)).collect::<Vec<_>>();
    assert_eq!(read, [0, 1, 4, 5, 6, 0x0100, 0x0400, 0x0500]);
    assert_eq!(value(&store, 0x2ff), 0xc06);
}

#[test]
fn the_back_end_gets_only_values_that_the_hardware_takes() {
    let mut store = MsrStore::new(FACTS);
    let to = |register, value| Ok(MsrWrite::Owner(Owner::Hardware(register), value));
    assert_eq!(store.write(0xc000_0082, 1 << 63), Err(Gp));
    let kernel = 0xffff_ffff_8000_0000;
    assert_eq!(store.write(0xc000_0082, kernel), to(HardwareMsr::Lstar, kernel));
    assert_eq!(store.write(0x277, 0x0007_0406_0007_0106), to(HardwareMsr::Pat, 0x0007_0406_0007_0106));
    assert_eq!(store.write(0x277, 2), Err(Gp));
    assert_eq!(store.write(0x277, 8 << 56), Err(Gp));
    assert_eq!(store.write(0xc000_0103, u64::MAX), to(HardwareMsr::TscAux, 0xffff_ffff));
    assert_eq!(store.write(0x1d9, 1 << 6), Err(Gp));
    assert_eq!(store.write(0xc000_0080, 0xd01), Ok(MsrWrite::Owner(Owner::Efer, 0xd01)));
    for hidden in [1 << 1, 1 << 12, 1 << 13, 1 << 14, 1 << 15, 1 << 21, 1 << 63] {
        assert_eq!(store.write(0xc000_0080, hidden), Err(Gp), "{hidden:#x}");
    }
}

#[test]
fn the_paravirtual_clock_is_kept_and_told() {
    let mut store = MsrStore::new(FACTS);
    assert_eq!(value(&store, 0x4b56_4d01), 0);
    assert_eq!(store.write(0x4b56_4d01, 0x1001), Ok(MsrWrite::Owner(Owner::SystemTime, 0x1001)));
    assert_eq!(value(&store, 0x4b56_4d01), 0x1001);
}

#[test]
fn constants_refuse_or_swallow_writes() {
    let mut store = MsrStore::new(FACTS);
    assert_eq!(store.write(0xfe, 0), Err(Gp));
    assert_eq!(store.write(0x3a, 5), Err(Gp));
    assert_eq!(store.write(0x17a, 1), Err(Gp));
    assert_eq!(store.write(0x17a, 0), Ok(MsrWrite::Done));
    assert_eq!(store.write(0xc001_0015, 0), Ok(MsrWrite::Done));
    assert_eq!(value(&store, 0xc001_0015), 1 << 24);
}

#[test]
fn every_register_has_a_name_and_random_ones_never_panic() {
    assert_eq!(MsrStore::name(0xc000_0080), Some("EFER"));
    assert_eq!(MsrStore::name(0x26a), Some("IA32_MTRR_FIX4K_C0000 to IA32_MTRR_FIX4K_F8000"));
    assert_eq!(MsrStore::name(0x2), None);
    let mut noise = Noise::new(7);
    let mut store = MsrStore::new(FACTS);
    for _ in 0..200_000 {
        let anywhere = noise.number() as u32;
        let base = noise.pick(&[0, 0x200, 0xc000_0000, 0xc001_0000, 0xc001_1000, 0x4b56_4d00, anywhere]);
        let msr = base.wrapping_add(noise.below(0x200) as u32);
        let exists = MsrStore::name(msr).is_some();
        assert!(exists || store.read(msr) == Err(Gp));
        let _ = store.write(msr, noise.number() >> noise.below(64));
    }
}
