//! What kernels do with the clock, and random accesses.
use super::*;
use crate::platform::fuzz::Random;

/// Sunday, 2026-11-22 15:04:05.25 UTC.
const WALL: u64 = 1_795_305_600 * SECOND + (15 * 3600 + 4 * 60 + 5) * SECOND + SECOND / 4;
const MS: Nanos = 1_000_000;

fn rtc() -> Rtc {
    Rtc::new(WALL, 0x2000_0000, 1 << 32, 2, 0)
}

fn read(rtc: &mut Rtc, index: u8, now: Nanos) -> u8 {
    rtc.select(index);
    rtc.read(now)
}

fn write(rtc: &mut Rtc, index: u8, value: u8, now: Nanos) {
    rtc.select(index);
    rtc.write(value, now);
}

/// Century, year, month, day, hours, minutes, seconds, weekday.
fn time(rtc: &mut Rtc, now: Nanos) -> [u8; 8] {
    [0x32, 9, 8, 7, 4, 2, 0, 6].map(|index| read(rtc, index, now))
}

#[test]
fn the_clock_shows_the_hosts_wall_clock_in_bcd_and_24_hours() {
    let mut rtc = rtc();
    assert_eq!(time(&mut rtc, 0), [0x20, 0x26, 0x11, 0x22, 0x15, 0x04, 0x05, 0x01]);
    assert_eq!(time(&mut rtc, 9 * 3600 * SECOND)[3..7], [0x23, 0x00, 0x04, 0x05]);
    assert_eq!(read(&mut rtc, 0x0d, 0), 0x80, "the battery is good");
    assert_eq!(read(&mut rtc, 0x0b, 0), 0x02);
}

#[test]
fn binary_and_twelve_hours_are_shown_when_asked_for() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0b, 0x06, 0);
    assert_eq!(time(&mut rtc, 0), [20, 26, 11, 22, 15, 4, 5, 1]);
    write(&mut rtc, 0x0b, 0x00, 0);
    assert_eq!(read(&mut rtc, 4, 0), 0x83, "3 in the afternoon");
    assert_eq!(read(&mut rtc, 4, 9 * 3600 * SECOND), 0x12, "midnight");
    assert_eq!(read(&mut rtc, 4, 21 * 3600 * SECOND), 0x92, "noon");
}

#[test]
fn update_in_progress_is_up_only_just_before_the_second_turns() {
    let mut rtc = rtc();
    let turn = SECOND - SECOND / 4;
    for (now, up) in
        [(0, false), (turn - 245_000, false), (turn - 244_000, true), (turn - 1, true), (turn, false)]
    {
        assert_eq!(read(&mut rtc, 0x0a, now) >> 7 == 1, up, "{now}");
    }
    assert_eq!(read(&mut rtc, 0, turn - 1), 0x05);
    assert_eq!(read(&mut rtc, 0, turn), 0x06);
}

#[test]
fn linux_sets_the_time_with_the_set_bit_and_a_divider_reset() {
    // mc146818_set_time().
    let mut rtc = rtc();
    let (control, select) = (read(&mut rtc, 0x0b, 0), read(&mut rtc, 0x0a, 0));
    write(&mut rtc, 0x0b, control | 0x80, 0);
    write(&mut rtc, 0x0a, select | 0x70, 0);
    for (index, value) in [(9, 0x30), (8, 0x02), (7, 0x28), (4, 0x23), (2, 0x59), (0, 0x58), (0x32, 0x20)] {
        write(&mut rtc, index, value, 0);
    }
    assert_eq!(read(&mut rtc, 0, 5 * SECOND), 0x58, "halted");
    write(&mut rtc, 0x0b, control, 5 * SECOND);
    write(&mut rtc, 0x0a, select, 5 * SECOND);
    assert_eq!(time(&mut rtc, 5 * SECOND)[..7], [0x20, 0x30, 0x02, 0x28, 0x23, 0x59, 0x58]);
    assert_eq!(time(&mut rtc, 7 * SECOND)[..7], [0x20, 0x30, 0x03, 0x01, 0x00, 0x00, 0x00]);
}

#[test]
fn a_single_register_can_be_set_while_the_clock_runs() {
    let mut rtc = rtc();
    write(&mut rtc, 2, 0x30, 0);
    assert_eq!(time(&mut rtc, SECOND)[4..7], [0x15, 0x30, 0x06]);
}

#[test]
fn the_update_interrupt_comes_with_each_second() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0b, 0x12, 0);
    for n in 0..3 {
        let at = rtc.deadline().unwrap();
        assert_eq!(at, SECOND * 3 / 4 + n * SECOND);
        rtc.expire(at - 1);
        assert!(!rtc.interrupt());
        rtc.expire(at);
        assert!(rtc.interrupt());
        assert_eq!(read(&mut rtc, 0x0c, at) & 0x90, 0x90);
        assert!(!rtc.interrupt());
        assert_eq!(read(&mut rtc, 0x0c, at), 0x00);
    }
}

#[test]
fn flags_rise_without_being_enabled_so_that_they_can_be_polled() {
    let mut rtc = rtc();
    read(&mut rtc, 0x0c, 10 * MS);
    assert_eq!(rtc.deadline(), None);
    let flags = read(&mut rtc, 0x0c, 2 * SECOND);
    assert_eq!(flags, 0x50, "periodic and update, no request");
    assert!(!rtc.interrupt());
}

#[test]
fn the_periodic_interrupt_keeps_its_rate() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0b, 0x42, 0);
    let mut count = 0;
    while let Some(at) = rtc.deadline().filter(|&at| at <= 10 * SECOND) {
        rtc.expire(at + 50_000);
        assert!(rtc.interrupt());
        read(&mut rtc, 0x0c, at + 60_000);
        count += 1;
    }
    assert_eq!(count, 10 * 1024);
    write(&mut rtc, 0x0a, 0x20, 10 * SECOND);
    assert_eq!(rtc.deadline(), None, "rate 0 is off");
}

#[test]
fn the_alarm_comes_at_its_time_of_day() {
    let mut rtc = rtc();
    for (index, value) in [(5, 0x15), (3, 0x06), (1, 0x00)] {
        write(&mut rtc, index, value, 0);
    }
    write(&mut rtc, 0x0b, 0x22, 0);
    let at = rtc.deadline().unwrap();
    assert_eq!(at, (60 + 55) * SECOND - SECOND / 4);
    rtc.expire(at);
    assert_eq!(read(&mut rtc, 0x0c, at) & 0xa0, 0xa0);
    assert_eq!(rtc.deadline(), Some(at + 86_400 * SECOND), "tomorrow again");
}

#[test]
fn wild_cards_make_the_alarm_come_every_minute() {
    let mut rtc = rtc();
    for (index, value) in [(5, 0xff), (3, 0xc0), (1, 0x30)] {
        write(&mut rtc, index, value, 0);
    }
    write(&mut rtc, 0x0b, 0x22, 0);
    let first = rtc.deadline().unwrap();
    assert_eq!(first, 25 * SECOND - SECOND / 4);
    rtc.expire(first);
    read(&mut rtc, 0x0c, first);
    assert_eq!(rtc.deadline(), Some(first + 60 * SECOND));
}

#[test]
fn an_alarm_at_a_time_that_does_not_exist_never_comes() {
    let mut rtc = rtc();
    for (index, value) in [(5, 0x23), (3, 0x75), (1, 0x00)] {
        write(&mut rtc, index, value, 0);
    }
    write(&mut rtc, 0x0b, 0x22, 0);
    assert_eq!(rtc.deadline(), None);
}

#[test]
fn ram_keeps_what_is_written_and_tells_the_memory_size() {
    let mut rtc = Rtc::new(WALL, 0xc000_0000, 0x1_4000_0000, 4, 0);
    let word = |rtc: &mut Rtc, at| u16::from_le_bytes([read(rtc, at, 0), read(rtc, at + 1, 0)]);
    assert_eq!(word(&mut rtc, 0x15), 640);
    assert_eq!(word(&mut rtc, 0x30), 0xffff);
    assert_eq!(u64::from(word(&mut rtc, 0x34)) << 16, 0xc000_0000 - (16 << 20));
    assert_eq!(u64::from(word(&mut rtc, 0x5b)) << 16, 0x4000_0000);
    assert_eq!(read(&mut rtc, 0x5f, 0), 3);
    write(&mut rtc, 0x0f, 0x0a, 0);
    assert_eq!(read(&mut rtc, 0x8f, 0), 0x0a, "bit 7 of the index is the NMI mask");
}

#[test]
fn a_reset_disables_interrupts_and_keeps_time_and_ram() {
    let mut rtc = rtc();
    write(&mut rtc, 0x0b, 0x72, 0);
    write(&mut rtc, 0x40, 0x77, 0);
    rtc.expire(SECOND);
    rtc.reset(SECOND);
    assert_eq!((rtc.interrupt(), rtc.deadline()), (false, None));
    assert_eq!(read(&mut rtc, 0x40, SECOND), 0x77);
    assert_eq!(time(&mut rtc, SECOND)[6], 0x06);
}

#[test]
fn random_accesses_keep_the_deadline_ahead() {
    let mut rtc = rtc();
    let mut random = Random::new(146818);
    let mut now = 0;
    for _ in 0..200_000 {
        let scale = random.below(40);
        now += random.below(1 << scale);
        let r = random.next();
        let index = if r & 8 == 0 { (r >> 16) as u8 & 15 } else { (r >> 16) as u8 };
        match r & 7 {
            0 => rtc.expire(now),
            1 | 2 => {
                read(&mut rtc, index, now);
            }
            3 if r >> 32 & 63 == 0 => rtc.reset(now),
            _ => write(&mut rtc, index, (r >> 8) as u8, now),
        }
        rtc.expire(now);
        assert!(rtc.deadline().is_none_or(|at| at > now));
        assert!(!rtc.interrupt() || rtc.deadline().is_none());
    }
}
