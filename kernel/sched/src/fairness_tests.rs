//! Shares on the simulated machine.

use crate::simulation::{Habit, MS, Machine, Random, SECOND};
use crate::{CpuSet, Params, SLICE_NS};
use alloc::vec::Vec;

/// Checks that `ran` is `share` of `time` within 5 %.
#[track_caller]
fn assert_share(ran: u64, share: f64, time: u64) {
    let got = ran as f64 / time as f64;
    assert!((got / share - 1.0).abs() <= 0.05, "got {got:.4} CPUs, not {share:.4}");
}

fn run_time_within(machine: &mut Machine, time: u64) -> Vec<u64> {
    let before = machine.ran_all();
    machine.run(time);
    machine.ran_all().iter().zip(before).map(|(after, before)| after - before).collect()
}

#[test]
fn equal_spinners_share_any_number_of_cpus_equally_in_every_second() {
    for (spinners, cpus) in
        [(1, 1), (2, 1), (3, 2), (5, 4), (5, 2), (7, 3), (4, 4), (9, 8), (12, 8), (16, 1), (40, 8), (17, 16)]
    {
        let mut machine = Machine::new(cpus);
        (0..spinners).for_each(|_| _ = machine.spinner(100));
        for _ in 0..5 {
            for ran in run_time_within(&mut machine, SECOND) {
                assert_share(ran, (cpus as f64 / spinners as f64).min(1.0), SECOND);
            }
        }
    }
}

#[test]
fn unequal_weights_get_their_ratio() {
    let mut machine = Machine::new(1);
    let weights = [100, 200, 400];
    weights.iter().for_each(|&weight| _ = machine.spinner(weight));
    machine.run(100 * MS);
    for (ran, weight) in run_time_within(&mut machine, 2 * SECOND).into_iter().zip(weights) {
        assert_share(ran, f64::from(weight) / 700.0, 2 * SECOND);
    }
}

#[test]
fn weights_hold_across_cpus() {
    let mut machine = Machine::new(4);
    let weights = [100, 100, 200, 200, 300, 300, 400, 400];
    weights.iter().for_each(|&weight| _ = machine.spinner(weight));
    machine.run(100 * MS);
    for (ran, weight) in run_time_within(&mut machine, 2 * SECOND).into_iter().zip(weights) {
        assert_share(ran, 4.0 * f64::from(weight) / 2000.0, 2 * SECOND);
    }
}

#[test]
fn a_weight_beyond_a_whole_cpu_gets_one_and_the_others_share_the_rest_by_weight() {
    let mut machine = Machine::new(2);
    [100, 200, 400].iter().for_each(|&weight| _ = machine.spinner(weight));
    machine.run(10 * SECOND);
    let ran = run_time_within(&mut machine, 2 * SECOND);
    for (ran, share) in ran.into_iter().zip([1.0 / 3.0, 2.0 / 3.0, 1.0]) {
        assert_share(ran, share, 2 * SECOND);
    }
}

#[test]
fn what_could_not_be_used_is_no_claim_on_later_time() {
    let mut machine = Machine::new(2);
    let heavy = machine.spinner(400);
    machine.spinner(10);
    machine.spinner(10);
    machine.run(60 * SECOND);
    // Now three of the heavy one's weight compete with it, and its minute's lag is void.
    let later: Vec<usize> = (0..3).map(|_| machine.spinner(400)).collect();
    machine.run(200 * MS);
    let ran = run_time_within(&mut machine, 2 * SECOND);
    for index in later.into_iter().chain([heavy]) {
        assert_share(ran[index], 2.0 * 400.0 / 1620.0, 2 * SECOND);
    }
}

#[test]
fn the_lightest_beside_the_heaviest_gets_its_crumb() {
    let mut machine = Machine::new(1);
    let (light, _heavy) = (machine.spinner(1), machine.spinner(1000));
    machine.run(60 * SECOND);
    let share = machine.ran(light) as f64 / (60 * SECOND) as f64;
    assert!((0.0008..0.0012).contains(&share), "{share}");
}

#[test]
fn entities_pinned_to_one_cpu_share_it_whatever_others_do() {
    let mut machine = Machine::new(2);
    let pinned = [machine.pinned(100, &[0]), machine.pinned(200, &[0]), machine.pinned(400, &[0])];
    let alone = machine.pinned(100, &[1]);
    machine.run(SECOND);
    let ran = run_time_within(&mut machine, 2 * SECOND);
    for (index, share) in pinned.into_iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
        assert_share(ran[index], share, 2 * SECOND);
    }
    assert_share(ran[alone], 1.0, 2 * SECOND);
}

#[test]
fn a_group_that_advances_faster_elsewhere_does_not_level_the_weights_here() {
    let mut machine = Machine::new(3);
    let here = [machine.pinned(100, &[0]), machine.pinned(200, &[0]), machine.pinned(400, &[0])];
    // Two CPUs for three: one of them always waits, and could be taken by another CPU.
    let there: Vec<usize> = (0..3).map(|_| machine.pinned(400, &[1, 2])).collect();
    let faster: Vec<usize> = (0..2).map(|_| machine.pinned(10, &[1, 2])).collect();
    machine.run(10 * SECOND);
    let ran = run_time_within(&mut machine, 4 * SECOND);
    for (index, share) in here.into_iter().zip([1.0 / 7.0, 2.0 / 7.0, 4.0 / 7.0]) {
        assert_share(ran[index], share, 4 * SECOND);
    }
    for index in there {
        assert_share(ran[index], 2.0 * 400.0 / 1220.0, 4 * SECOND);
    }
    assert!(faster.into_iter().all(|index| ran[index] > 0));
}

#[test]
fn one_that_ran_ahead_on_its_own_cpu_does_not_starve_when_it_joins_the_others() {
    let mut machine = Machine::new(2);
    let alone = machine.pinned(100, &[1]);
    (0..4).for_each(|_| _ = machine.pinned(100, &[0]));
    machine.run(100 * SECOND);
    let entity = machine.vcpus[alone].entity.clone();
    let placed = machine.sched.set_affinity(&entity, &CpuSet::only(0), machine.now).unwrap();
    machine.kick(placed);
    let ran = run_time_within(&mut machine, SECOND);
    assert_share(ran[alone], 0.2, SECOND);
}

#[test]
fn those_left_behind_do_not_starve_the_ones_they_join() {
    let mut machine = Machine::new(2);
    let others = [machine.pinned(100, &[1]), machine.pinned(100, &[1])];
    let crowd: Vec<usize> = (0..4).map(|_| machine.pinned(100, &[0])).collect();
    machine.run(100 * SECOND);
    for &index in &crowd {
        let entity = machine.vcpus[index].entity.clone();
        let placed = machine.sched.set_affinity(&entity, &CpuSet::ALL, machine.now).unwrap();
        machine.kick(placed);
    }
    machine.run(200 * MS);
    let ran = run_time_within(&mut machine, SECOND);
    for index in crowd.into_iter().chain(others) {
        assert_share(ran[index], 2.0 / 6.0, SECOND);
    }
}

#[test]
fn affinity_to_some_cpus_is_kept_and_no_cpu_is_left_idle() {
    let mut machine = Machine::new(4);
    // CPUs 0 and 1 for three, 2 and 3 for one pinned and two that may run anywhere.
    (0..3).for_each(|_| _ = machine.pinned(100, &[0, 1]));
    machine.pinned(100, &[2]);
    (0..2).for_each(|_| _ = machine.spinner(100));
    machine.run(5 * SECOND);
    assert!(machine.idle_time <= MS);
    // Six for four: two thirds each can be had by all.
    let ran = run_time_within(&mut machine, 2 * SECOND);
    ran.into_iter().for_each(|ran| assert_share(ran, 4.0 / 6.0, 2 * SECOND));
}

#[test]
fn caps_hold_within_5_percent_with_and_without_competition() {
    for cap in [1, 3, 10, 25, 50, 75, 99] {
        let mut machine = Machine::new(2);
        let capped = machine.add(Params { cap, ..Params::default() }, Habit::Spin);
        machine.run(4 * SECOND);
        assert_share(machine.ran(capped), f64::from(cap) / 100.0, 4 * SECOND);
        let throttled = machine.vcpus[capped].entity.stats().throttled;
        assert_share(throttled, 1.0 - f64::from(cap) / 100.0, 4 * SECOND);
    }
    let mut machine = Machine::new(1);
    let capped = machine.add(Params { cap: 20, ..Params::default() }, Habit::Spin);
    let free = [machine.spinner(100), machine.spinner(100)];
    machine.run(200 * MS);
    let ran = run_time_within(&mut machine, 2 * SECOND);
    assert_share(ran[capped], 0.2, 2 * SECOND);
    free.into_iter().for_each(|index| assert_share(ran[index], 0.4, 2 * SECOND));
}

#[test]
fn a_cap_holds_for_one_that_sleeps_and_wakes() {
    let mut machine = Machine::new(1);
    let habit = Habit::Rhythm { run: MS / 2, sleep: MS / 10 };
    let capped = machine.add(Params { cap: 30, ..Params::default() }, habit);
    machine.run(3 * SECOND);
    assert_share(machine.ran(capped), 0.3, 3 * SECOND);
}

#[test]
fn a_cap_set_and_lifted_at_run_time_holds_at_once() {
    let mut machine = Machine::new(1);
    let index = machine.spinner(100);
    let entity = machine.vcpus[index].entity.clone();
    for (cap, share) in [(0, 1.0), (40, 0.4), (5, 0.05), (100, 1.0)] {
        let placed = machine.sched.set_cap(&entity, cap, machine.now);
        machine.kick(placed);
        machine.run(100 * MS);
        let ran = run_time_within(&mut machine, 2 * SECOND);
        assert_share(ran[index], share, 2 * SECOND);
    }
}

#[test]
fn a_sleeper_preempts_spinners_at_once() {
    for (cpus, spinners) in [(1, 1), (1, 4), (2, 2), (4, 12)] {
        let mut machine = Machine::new(cpus);
        (0..spinners).for_each(|_| _ = machine.spinner(100));
        machine.run(100 * MS);
        let habit = Habit::Rhythm { run: MS / 5, sleep: 10 * MS };
        let sleeper = machine.add(Params::default(), habit);
        machine.run(5 * SECOND);
        let longest = machine.vcpus[sleeper].longest_wake;
        assert_eq!(longest, 0, "{cpus} CPUs, {spinners} spinners: waited {longest} ns");
    }
}

#[test]
fn many_sleepers_among_spinners_wait_less_than_two_slices() {
    let mut machine = Machine::new(2);
    (0..4).for_each(|_| _ = machine.spinner(100));
    machine.run(100 * MS);
    for seed in 0..6 {
        let habit = Habit::Random { run: MS, sleep: 30 * MS, random: Random(seed) };
        machine.add(Params::default(), habit);
    }
    machine.run(10 * SECOND);
    for vcpu in &machine.vcpus[4..] {
        assert!(vcpu.longest_wake <= 2 * SLICE_NS, "waited {} ns", vcpu.longest_wake);
    }
}

#[test]
fn sleeping_briefly_does_not_win_more_than_the_share() {
    let mut machine = Machine::new(1);
    let cheat = machine.add(Params::default(), Habit::Rhythm { run: 4_900_000, sleep: 1000 });
    machine.spinner(100);
    machine.run(10 * SECOND);
    let share = machine.ran(cheat) as f64 / (10 * SECOND) as f64;
    assert!(share < 0.5 * 1.05, "{share}");
}

#[test]
fn a_long_sleep_saves_up_at_most_a_slice() {
    let mut machine = Machine::new(1);
    let sleeper = machine.add(Params::default(), Habit::Rhythm { run: 10 * SECOND, sleep: 5 * SECOND });
    let spinner = machine.spinner(100);
    machine.run(20 * SECOND + MS); // It has run its ten seconds in twenty and sleeps.
    machine.run(5 * SECOND);
    let (before, all) = (machine.ran(sleeper), machine.ran(spinner));
    machine.run(200 * MS);
    let (slept, span) = (machine.ran(sleeper) - before, machine.ran(spinner) - all);
    assert!(slept.abs_diff(span) <= 3 * SLICE_NS, "{slept} against {span}");
}

#[test]
fn pairs_that_wake_each_other_keep_their_pace_beside_spinners() {
    let mut machine = Machine::new(2);
    (0..2).for_each(|_| _ = machine.spinner(100));
    let first = machine.vcpus.len();
    machine.add(Params::default(), Habit::PassOn { run: MS / 10, to: first + 1 });
    machine.add(Params::default(), Habit::Rhythm { run: 1, sleep: u64::MAX / 2 });
    machine.vcpus[first + 1].set_habit(Habit::PassOn { run: MS / 10, to: first });
    machine.run(5 * SECOND);
    // One of the pair runs at any time. Its claim is half a CPU (four for two CPUs) each.
    let pair = machine.ran(first) + machine.ran(first + 1);
    assert!(pair >= 9 * 5 * SECOND / 10, "the pair ran {pair} ns of 5 s");
}

#[test]
fn random_habits_leave_no_cpu_idle_and_starve_nobody() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let cpus = 1 + random.below(6) as usize;
        let mut machine = Machine::new(cpus);
        for _ in 0..1 + random.below(20) {
            let params = Params {
                weight: [1, 50, 100, 100, 300, 10_000][random.below(6) as usize],
                cap: [0, 0, 0, 35][random.below(4) as usize],
                affinity: CpuSet::ALL,
            };
            let habit = match random.below(3) {
                0 => Habit::Spin,
                1 => Habit::Rhythm { run: 1 + random.below(20 * MS), sleep: 1 + random.below(20 * MS) },
                _ => Habit::Random { run: 3 * MS, sleep: 3 * MS, random: random.clone() },
            };
            machine.add(params, habit);
        }
        machine.run(20 * SECOND);
        for (index, ran) in machine.ran_all().into_iter().enumerate() {
            assert!(ran > 0, "seed {seed}: {index} never ran");
        }
    }
}
