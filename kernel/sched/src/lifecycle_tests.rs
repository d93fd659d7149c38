//! An entity's states, one call at a time, and what the calls answer.

use crate::{ALONE_NS, CpuSet, Entity, Params, Placement, Reason, Refused, SLICE_NS, Scheduler};
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

const MS: u64 = 1_000_000;

fn machine(cpus: usize) -> Scheduler<u32> {
    Scheduler::new(cpus).unwrap()
}

fn add(sched: &Scheduler<u32>, payload: u32) -> Arc<Entity<u32>> {
    sched.add(&Params::default(), payload).unwrap()
}

/// Picks on `cpu` and says whom.
fn pick(sched: &Scheduler<u32>, cpu: usize, now: u64) -> Option<u32> {
    sched.pick(cpu, now).map(|pick| *pick.entity.payload())
}

#[test]
fn settings_out_of_range_are_refused_with_what_is_allowed() {
    assert_eq!(Scheduler::<()>::new(0).err(), Some(Refused::Cpus(0)));
    assert_eq!(Scheduler::<()>::new(257).err(), Some(Refused::Cpus(257)));
    let sched = machine(2);
    for weight in [0, 10_001, u32::MAX] {
        let params = Params { weight, ..Params::default() };
        assert_eq!(sched.add(&params, 0).err(), Some(Refused::Weight(weight)));
    }
    let params = Params { affinity: CpuSet::only(2), ..Params::default() };
    let refused = sched.add(&params, 0).err().unwrap();
    assert!(refused.to_string().ends_with("use others of CPUs 0 to 1"));
    let entity = add(&sched, 1);
    assert!(sched.set_weight(&entity, 0, 0).is_err());
    assert!(sched.set_affinity(&entity, &CpuSet::EMPTY, 0).is_err());
    let params = entity.params();
    assert_eq!((params.weight, params.affinity), (100, CpuSet::ALL));
}

#[test]
fn a_cpu_that_is_left_out_gets_nothing_and_nothing_is_bound_to_it() {
    let sched = machine(2);
    sched.exclude(1);
    let bound = Params { affinity: CpuSet::only(1), ..Params::default() };
    assert_eq!(sched.add(&bound, 0).err(), Some(Refused::Affinity(2)));
    // CPU 0 is busy: without more than that, the other would be the less loaded.
    let entities: Vec<_> = (0..3).map(|payload| add(&sched, payload)).collect();
    for (entity, at) in entities.iter().zip(0..) {
        assert_eq!(sched.wake(entity, at).map(|placement| placement.cpu), Some(0));
        pick(&sched, 0, at);
    }
}

#[test]
fn a_new_entity_waits_for_its_first_wake_and_a_second_changes_nothing() {
    let sched = machine(1);
    let entity = add(&sched, 7);
    assert_eq!(pick(&sched, 0, 0), None);
    assert_eq!(sched.wake(&entity, 5), Some(Placement { cpu: 0, preempt: true }));
    assert_eq!(sched.wake(&entity, 5), None);
    let pick = sched.pick(0, 10).unwrap();
    assert_eq!((*pick.entity.payload(), pick.slice_end, pick.kick), (7, 10 + ALONE_NS, None));
    assert_eq!(entity.running_on(), Some(0));
    assert!(sched.pick(0, 10).is_none(), "it was queued once");
    assert_eq!(sched.put_back(0, pick.entity, 20, 10, Reason::Blocked), None);
    assert_eq!(entity.running_on(), None);
    let stats = entity.stats();
    assert_eq!((stats.run, stats.wait, stats.switches, stats.migrations), (10, 5, 1, 0));
}

#[test]
fn a_turn_for_which_nobody_waits_is_longer_and_ends_when_somebody_comes() {
    let sched = machine(2);
    let [first, second, third] = [1, 2, 3].map(|name| add(&sched, name));
    let mut turns = Vec::new();
    for (cpu, entity) in [first, second].iter().enumerate() {
        // It idles, so that it is there to be given one.
        assert_eq!(pick(&sched, cpu, 0), None);
        assert_eq!(sched.wake(entity, 0), Some(Placement { cpu, preempt: true }));
        turns.push(sched.pick(cpu, 0).unwrap());
        assert_eq!(turns[cpu].slice_end, ALONE_NS);
    }
    // It is no further behind than they, who have just begun.
    let Some(Placement { cpu, preempt: true }) = sched.wake(&third, 1) else { panic!("nobody is told") };
    sched.put_back(cpu, turns.swap_remove(cpu).entity, 2, 2, Reason::Preempted);
    let turn = sched.pick(cpu, 2).unwrap();
    assert_eq!(turn.slice_end, 2 + SLICE_NS, "one waits");
    sched.put_back(cpu, turn.entity, 3, 1, Reason::Blocked);
    assert_eq!(sched.pick(cpu, 3).unwrap().slice_end, 3 + ALONE_NS, "none waits any more");
}

#[test]
fn one_that_slept_for_long_gets_one_slice_before_its_turns_alternate() {
    let sched = machine(1);
    let (spinner, sleeper) = (add(&sched, 1), add(&sched, 2));
    sched.wake(&spinner, 0);
    let mut now = 0;
    for _ in 0..100 {
        let turn = sched.pick(0, now).unwrap();
        now += SLICE_NS;
        sched.put_back(0, turn.entity, now, SLICE_NS, Reason::Preempted);
    }
    let turn = sched.pick(0, now).unwrap();
    now += MS;
    assert_eq!(sched.wake(&sleeper, now), Some(Placement { cpu: 0, preempt: true }));
    sched.put_back(0, turn.entity, now, MS, Reason::Preempted);
    // One slice of bonus, one that is its turn, and then the spinner, 1 ms ahead of the start.
    for expected in [2, 2, 1, 2, 1, 2] {
        let turn = sched.pick(0, now).unwrap();
        assert_eq!(*turn.entity.payload(), expected);
        now += SLICE_NS;
        sched.put_back(0, turn.entity, now, SLICE_NS, Reason::Preempted);
    }
}

#[test]
fn a_wake_during_the_turn_makes_the_block_a_preemption_and_counts_once() {
    let sched = machine(1);
    let entity = add(&sched, 1);
    sched.wake(&entity, 0);
    let turn = sched.pick(0, 0).unwrap();
    assert_eq!(sched.wake(&entity, 1), None);
    sched.put_back(0, turn.entity, 2, 2, Reason::Blocked);
    let turn = sched.pick(0, 2).expect("the wake was lost");
    sched.put_back(0, turn.entity, 3, 1, Reason::Blocked);
    assert_eq!(pick(&sched, 0, 3), None, "the wake was counted twice");
}

#[test]
fn a_wake_goes_to_the_last_cpu_if_it_idles_else_to_one_that_does() {
    let sched = machine(3);
    (0..3).for_each(|cpu| assert_eq!(pick(&sched, cpu, 0), None));
    let (a, b) = (add(&sched, 1), add(&sched, 2));
    let first = sched.wake(&a, 0).unwrap();
    assert_eq!(first, Placement { cpu: 0, preempt: true });
    // CPU 0 has been promised to the first and is no longer idle, though it has not looked yet.
    let second = sched.wake(&b, 0).unwrap();
    assert_eq!(second, Placement { cpu: 1, preempt: true });
    let (on_0, on_1) = (sched.pick(0, 0).unwrap(), sched.pick(1, 0).unwrap());
    sched.put_back(1, on_1.entity, MS, MS, Reason::Blocked);
    assert_eq!(pick(&sched, 1, MS), None);
    assert_eq!(sched.wake(&b, 2 * MS), Some(Placement { cpu: 1, preempt: true }));
    sched.put_back(0, on_0.entity, 2 * MS, 2 * MS, Reason::Blocked);
}

#[test]
fn an_idle_cpu_takes_what_waits_elsewhere_and_a_busy_one_is_left_its_next() {
    let sched = machine(2);
    let (a, b) = (add(&sched, 1), add(&sched, 2));
    // CPU 1 has not come up yet; both end on CPU 0 or in its sight.
    sched.set_affinity(&a, &CpuSet::only(0), 0).unwrap();
    sched.set_affinity(&b, &CpuSet::only(0), 0).unwrap();
    sched.wake(&a, 0);
    sched.wake(&b, 0);
    let turn = sched.pick(0, 0).unwrap();
    assert_eq!(pick(&sched, 1, 0), None);
    assert_eq!(sched.set_affinity(&b, &CpuSet::ALL, 1).unwrap(), Some(Placement { cpu: 1, preempt: true }));
    assert_eq!(pick(&sched, 1, 1), Some(2));
    sched.put_back(0, turn.entity, 2, 2, Reason::Preempted);
    assert_eq!(pick(&sched, 0, 2), Some(1));
}

#[test]
fn a_pick_names_an_idle_cpu_for_those_it_leaves_waiting() {
    let sched = machine(2);
    let (a, b) = (add(&sched, 1), add(&sched, 2));
    sched.wake(&a, 0);
    let turn = sched.pick(0, 0).unwrap();
    assert_eq!(pick(&sched, 1, 0), None);
    sched.set_affinity(&b, &CpuSet::only(0), 0).unwrap();
    // The sleeper preempts on the only CPU it may use; the preempted one can go to the idle CPU.
    assert_eq!(sched.wake(&b, 4 * MS), Some(Placement { cpu: 0, preempt: true }));
    sched.put_back(0, turn.entity, 4 * MS, 4 * MS, Reason::Preempted);
    let next = sched.pick(0, 4 * MS).unwrap();
    assert_eq!((*next.entity.payload(), next.kick), (2, Some(1)));
    assert_eq!(pick(&sched, 1, 4 * MS), Some(1));
    assert_eq!(a.stats().migrations, 1);
}

#[test]
fn a_running_entity_that_may_no_longer_run_there_is_interrupted_and_moves() {
    let sched = machine(2);
    let entity = add(&sched, 1);
    sched.wake(&entity, 0);
    let turn = sched.pick(0, 0).unwrap();
    assert_eq!(pick(&sched, 1, 0), None);
    let placed = sched.set_affinity(&entity, &CpuSet::only(1), 0).unwrap();
    assert_eq!(placed, Some(Placement { cpu: 0, preempt: true }));
    let moved = sched.put_back(0, turn.entity, MS, MS, Reason::Preempted);
    assert_eq!(moved, Some(Placement { cpu: 1, preempt: true }));
    assert_eq!(pick(&sched, 0, MS), None);
    assert_eq!(pick(&sched, 1, MS), Some(1));
}

#[test]
fn a_paused_entity_does_not_run_and_resumes_as_what_it_was() {
    let sched = machine(1);
    let (blocked, queued, running) = (add(&sched, 1), add(&sched, 2), add(&sched, 3));
    sched.wake(&running, 0);
    let turn = sched.pick(0, 0).unwrap();
    sched.wake(&queued, 0);
    assert_eq!(sched.pause(&blocked, 0), None);
    assert_eq!(sched.pause(&queued, 0), None);
    assert_eq!(sched.pause(&running, 0), Some(0));
    assert!(sched.is_paused(&queued) && !sched.is_paused(&running));
    sched.put_back(0, turn.entity, 1, 1, Reason::Preempted);
    assert!(sched.is_paused(&running));
    assert_eq!(pick(&sched, 0, 1), None);
    assert_eq!(sched.load(0), 0);

    assert_eq!(sched.resume(&blocked, 2), None);
    assert_eq!(pick(&sched, 0, 2), None);
    assert!(sched.resume(&queued, 2).is_some());
    let turn = sched.pick(0, 2).unwrap();
    assert_eq!(*turn.entity.payload(), 2);
    sched.put_back(0, turn.entity, 3, 1, Reason::Blocked);
    assert!(sched.resume(&running, 3).is_some());
    assert_eq!(pick(&sched, 0, 3), Some(3));
    assert_eq!(sched.resume(&running, 3), None);
}

#[test]
fn a_wake_during_a_pause_is_remembered_and_a_pause_taken_back_is_none() {
    let sched = machine(1);
    let entity = add(&sched, 1);
    sched.pause(&entity, 0);
    assert_eq!(sched.wake(&entity, 0), None);
    assert!(sched.resume(&entity, 0).is_some());
    let turn = sched.pick(0, 0).unwrap();
    assert_eq!(sched.pause(&entity, 1), Some(0));
    assert_eq!(sched.resume(&entity, 1), None);
    sched.put_back(0, turn.entity, 2, 2, Reason::Preempted);
    assert_eq!(pick(&sched, 0, 2), Some(1));
}

#[test]
fn a_vcpu_that_blocks_while_it_is_being_paused_keeps_a_wake_that_came_before() {
    let sched = machine(1);
    let entity = add(&sched, 1);
    sched.wake(&entity, 0);
    let turn = sched.pick(0, 0).unwrap();
    sched.wake(&entity, 1);
    sched.pause(&entity, 1);
    sched.put_back(0, turn.entity, 2, 2, Reason::Blocked);
    assert!(sched.is_paused(&entity));
    assert!(sched.resume(&entity, 3).is_some(), "the wake was lost");
}

#[test]
fn a_removed_entity_never_comes_back() {
    let sched = machine(1);
    let (queued, running, ended) = (add(&sched, 1), add(&sched, 2), add(&sched, 3));
    sched.wake(&running, 0);
    let turn = sched.pick(0, 0).unwrap();
    sched.wake(&queued, 0);
    assert_eq!(sched.remove(&queued, 0), None);
    assert!(sched.is_gone(&queued));
    assert_eq!(sched.remove(&running, 0), Some(0));
    assert!(!sched.is_gone(&running), "a CPU still runs it");
    sched.put_back(0, turn.entity, 1, 1, Reason::Preempted);
    sched.wake(&ended, 1);
    let turn = sched.pick(0, 1).unwrap();
    assert_eq!(*turn.entity.payload(), 3);
    sched.put_back(0, turn.entity, 2, 1, Reason::Gone);
    for entity in [&queued, &running, &ended] {
        assert!(sched.is_gone(entity));
        assert_eq!(sched.wake(entity, 3), None);
        sched.pause(entity, 3);
        assert_eq!(sched.resume(entity, 3), None);
        assert_eq!(sched.set_cap(entity, 5, 3), None);
        assert!(sched.is_gone(entity));
        assert_eq!(Arc::strong_count(entity), 1, "the scheduler holds nothing of it");
    }
    assert_eq!(pick(&sched, 0, 3), None);
}

#[test]
fn a_throttled_entity_names_the_time_when_its_cpu_must_look_again() {
    let sched = machine(1);
    let entity = sched.add(&Params { cap: 50, ..Params::default() }, 1).unwrap();
    sched.wake(&entity, 0);
    let turn = sched.pick(0, 0).unwrap();
    assert_eq!(turn.slice_end, 5 * MS);
    sched.put_back(0, turn.entity, 5 * MS, 5 * MS, Reason::Preempted);
    assert_eq!(pick(&sched, 0, 5 * MS), None);
    assert_eq!(sched.next_event(0), Some(10 * MS));
    assert_eq!(pick(&sched, 0, 10 * MS - 1), None);
    assert_eq!(sched.wake(&entity, 6 * MS), None, "a wake doesn't get it past its cap");
    // What runs meanwhile has to end when the throttled one may run.
    let other = add(&sched, 2);
    sched.wake(&other, 7 * MS);
    assert_eq!(sched.pick(0, 7 * MS).unwrap().slice_end, 10 * MS);
    sched.put_back(0, other.clone(), 10 * MS, 3 * MS, Reason::Blocked);
    assert_eq!(pick(&sched, 0, 10 * MS), Some(1));
    assert_eq!(sched.next_event(0), None);
    assert_eq!((entity.stats().throttled, entity.stats().wait), (5 * MS, 0));
}

#[test]
fn a_throttled_entity_that_wakes_has_its_halted_cpu_set_its_timer() {
    let sched = machine(1);
    let entity = sched.add(&Params { cap: 50, ..Params::default() }, 1).unwrap();
    sched.wake(&entity, 0);
    let turn = sched.pick(0, 0).unwrap();
    sched.put_back(0, turn.entity, 5 * MS, 5 * MS, Reason::Blocked);
    assert_eq!(pick(&sched, 0, 5 * MS), None);
    assert_eq!(sched.next_event(0), None);
    assert_eq!(sched.wake(&entity, 6 * MS), Some(Placement { cpu: 0, preempt: true }));
    assert_eq!(pick(&sched, 0, 6 * MS), None);
    assert_eq!(sched.next_event(0), Some(10 * MS));
}

#[test]
fn times_that_make_no_sense_neither_panic_nor_stop_the_machine() {
    let sched = machine(1);
    let (a, b) = (add(&sched, 1), sched.add(&Params { cap: 10, ..Params::default() }, 2).unwrap());
    sched.wake(&a, u64::MAX);
    sched.wake(&b, 0);
    let turn = sched.pick(0, 0).unwrap();
    sched.put_back(0, turn.entity, 0, u64::MAX, Reason::Preempted);
    let turn = sched.pick(0, u64::MAX).unwrap();
    sched.put_back(0, turn.entity, 3, u64::MAX, Reason::Preempted);
    assert!(pick(&sched, 0, u64::MAX).is_some());
}
