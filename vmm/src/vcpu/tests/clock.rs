//! The guest's time-stamp counter and the paravirtual clock that is made from it.
use super::rig::{CODE, POWER_ON, Rig, TSC_HZ, WALL_CLOCK};
use crate::exit::Exit;
use crate::policy::paravirtual::{MSR_SYSTEM_TIME, MSR_WALL_CLOCK};
use crate::time::{SECOND, TscScale};

fn wrmsr(rig: &mut Rig, msr: u32, value: u64) {
    rig.registers().rip = CODE;
    rig.code(&[0x0f, 0x30]);
    let gprs = &mut rig.registers().gprs;
    (gprs[0], gprs[1], gprs[2]) = (value & 0xffff_ffff, u64::from(msr), value >> 32);
    rig.play(&[Exit::WriteMsr]);
    assert_eq!(rig.injected(), None);
}

fn rdmsr(rig: &mut Rig, msr: u32) -> u64 {
    rig.registers().rip = CODE;
    rig.code(&[0x0f, 0x32]);
    rig.registers().gprs[1] = u64::from(msr);
    rig.play(&[Exit::ReadMsr]);
    rig.registers().gprs[2] << 32 | rig.registers().gprs[0]
}

const TSC: u32 = 0x10;
const TSC_ADJUST: u32 = 0x3b;

#[test]
fn the_counter_starts_at_0_at_power_on() {
    let mut rig = Rig::new(1);
    assert_eq!(rig.back_end().tsc_offset, POWER_ON.wrapping_neg());
    assert_eq!(rdmsr(&mut rig, TSC), 2_000, "1 microsecond at 2 GHz");
}

#[test]
fn writing_the_counter_shows_in_the_adjustment_and_the_other_way_round() {
    let mut rig = Rig::new(1);
    wrmsr(&mut rig, TSC, 1 << 50);
    assert_eq!(rdmsr(&mut rig, TSC_ADJUST), (1 << 50) - 2_000);
    assert_eq!(rdmsr(&mut rig, TSC), 1 << 50);
    wrmsr(&mut rig, TSC_ADJUST, 5u64.wrapping_neg());
    assert_eq!((rdmsr(&mut rig, TSC), rdmsr(&mut rig, TSC_ADJUST)), (1_995, 5u64.wrapping_neg()));
    assert_eq!(rig.back_end().tsc_offset, (POWER_ON + 5).wrapping_neg());
}

#[test]
fn an_armed_deadline_moves_with_the_counter() {
    let mut rig = Rig::new(1);
    rig.vcpu().apic.mmio_write(0x320, 4, 2 << 17 | 0xec, 0);
    wrmsr(&mut rig, 0x6e0, 100_000);
    let before = rig.vcpu().deadline().unwrap();
    wrmsr(&mut rig, TSC_ADJUST, 40_000);
    assert!(before.abs_diff(rig.vcpu().deadline().unwrap()).abs_diff(20_000) < 3);
}

/// Nanoseconds that a guest makes of the page at `at` when its counter is `tsc`.
fn read_clock(rig: &Rig, at: u64, tsc: u64) -> u64 {
    assert_eq!(rig.word(at, 4) % 2, 0, "the version is even");
    let (timestamp, system_time) = (rig.word(at + 8, 8), rig.word(at + 16, 8));
    let (multiplier, shift) = (rig.word(at + 24, 4), rig.word(at + 28, 1) as u8 as i8);
    let delta = tsc.wrapping_sub(timestamp);
    let shifted = if shift < 0 { delta >> -shift } else { delta << shift };
    system_time + ((u128::from(shifted) * u128::from(multiplier)) >> 32) as u64
}

#[test]
fn the_paravirtual_clock_counts_from_power_on_whatever_the_guest_writes_to_its_counter() {
    let mut rig = Rig::new(1);
    wrmsr(&mut rig, MSR_SYSTEM_TIME, 0x3_0001);
    assert_eq!(rig.word(0x3_001d, 1), 1, "stable across vCPUs");
    assert_eq!(rdmsr(&mut rig, MSR_SYSTEM_TIME), 0x3_0001);
    let scale = TscScale::new(TSC_HZ);
    assert_eq!(rig.word(0x3_0018, 4), u64::from(scale.multiplier()));
    for adjust in [0, 1 << 40, 77u64.wrapping_neg()] {
        wrmsr(&mut rig, TSC_ADJUST, adjust);
        let tsc = (10 * TSC_HZ).wrapping_add(adjust);
        assert!(read_clock(&rig, 0x3_0000, tsc).abs_diff(10 * SECOND) < 10);
    }
    // Switched off, the page stays as it is.
    let version = rig.word(0x3_0000, 4);
    wrmsr(&mut rig, MSR_SYSTEM_TIME, 0x3_0000);
    wrmsr(&mut rig, TSC_ADJUST, 5);
    assert_eq!(rig.word(0x3_0000, 4), version);
}

#[test]
fn a_clock_outside_of_ram_is_none() {
    let mut rig = Rig::new(1);
    for at in [0xfee0_0001, 0x20_0001, 0xb_8001, u64::MAX] {
        wrmsr(&mut rig, MSR_SYSTEM_TIME, at);
        wrmsr(&mut rig, MSR_WALL_CLOCK, at & !1);
    }
    rig.block.check();
}

#[test]
fn the_wall_clock_is_the_time_of_power_on() {
    let mut rig = Rig::new(1);
    wrmsr(&mut rig, MSR_WALL_CLOCK, 0x4_0000);
    assert_eq!(rig.word(0x4_0004, 4) * SECOND + rig.word(0x4_0008, 4), WALL_CLOCK);
}
