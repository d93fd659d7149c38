//! Threads as CPUs on the real locks and atomics: nobody runs twice, nobody is lost.

use crate::simulation::Random;
use crate::{CpuSet, Entity, Params, Pick, Placement, Reason, Scheduler};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A CPU's pending kick: a halt waits for it, with no time-out but that which fails the test.
#[derive(Default)]
struct Line {
    pending: Mutex<bool>,
    changed: Condvar,
}

struct Bench {
    sched: Scheduler<Load>,
    lines: Vec<Line>,
    start: Instant,
    stop: AtomicBool,
    done: AtomicUsize,
}

#[derive(Default)]
struct Load {
    running: AtomicBool,
    /// Turns until it has done its work.
    left: AtomicU64,
    /// What a wake is for: set before it, taken by the entity in its turn.
    work: AtomicU64,
}

impl Bench {
    fn new(cpus: usize) -> Arc<Bench> {
        Arc::new(Bench {
            sched: Scheduler::new(cpus).unwrap(),
            lines: (0..cpus).map(|_| Line::default()).collect(),
            start: Instant::now(),
            stop: AtomicBool::new(false),
            done: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn kick(&self, cpu: usize) {
        *self.lines[cpu].pending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.lines[cpu].changed.notify_one();
    }

    fn tell(&self, placed: Option<Placement>) {
        if let Some(Placement { cpu, preempt: true }) = placed {
            self.kick(cpu);
        }
    }

    /// Waits for a kick or the scheduler's next event, and for nothing else: a lost kick is not healed.
    fn halt(&self, cpu: usize) {
        let event = self.sched.next_event(cpu);
        let wait = event.map_or(Duration::from_secs(1 << 30), |at| {
            Duration::from_nanos(at.saturating_sub(self.now()) + 1000)
        });
        let pending = self.lines[cpu].pending.lock().unwrap();
        let (mut pending, _) =
            self.lines[cpu].changed.wait_timeout_while(pending, wait, |pending| !*pending).unwrap();
        *pending = false;
    }

    /// One CPU's loop: `turn` says how each turn ends.
    fn cpu(&self, cpu: usize, mut turn: impl FnMut(&Arc<Entity<Load>>) -> Reason) {
        while !self.stop.load(Ordering::SeqCst) {
            let Some(Pick { entity, kick, .. }) = self.sched.pick(cpu, self.now()) else {
                self.halt(cpu);
                continue;
            };
            if let Some(helper) = kick {
                self.kick(helper);
            }
            assert!(!entity.payload().running.swap(true, Ordering::SeqCst), "runs on two CPUs");
            let reason = turn(&entity);
            assert!(entity.payload().running.swap(false, Ordering::SeqCst));
            let placed = self.sched.put_back(cpu, entity, self.now(), 1000, reason);
            self.tell(placed);
        }
    }

    /// Runs all CPUs until `total` entities are done, and fails if they aren't within two minutes.
    fn run(
        self: &Arc<Self>,
        total: usize,
        entities: &[Arc<Entity<Load>>],
        turn: impl Fn(&Bench, &Arc<Entity<Load>>, &mut Random) -> Reason + Send + Sync + Clone + 'static,
        meanwhile: impl Fn(&Bench, &mut Random),
    ) {
        let cpus: Vec<_> = (0..self.lines.len())
            .map(|cpu| {
                let (bench, turn) = (self.clone(), turn.clone());
                let mut random = Random(cpu as u64);
                thread::spawn(move || bench.cpu(cpu, |entity| turn(&bench, entity, &mut random)))
            })
            .collect();
        for entity in entities {
            self.tell(self.sched.wake(entity, self.now()));
        }
        let mut random = Random(99);
        while self.done.load(Ordering::SeqCst) < total && self.start.elapsed().as_secs() < 120 {
            meanwhile(self, &mut random);
            thread::yield_now();
        }
        let done = self.done.load(Ordering::SeqCst);
        self.stop.store(true, Ordering::SeqCst);
        (0..self.lines.len()).for_each(|cpu| self.kick(cpu));
        cpus.into_iter().for_each(|cpu| cpu.join().unwrap());
        assert_eq!(done, total, "some entity was lost");
    }
}

#[test]
fn wakes_that_race_with_blocks_are_never_lost() {
    // A ring of entities; each, given work, hands it on and wakes the next. Losing one wake stops all.
    let bench = Bench::new(4);
    let ring: Arc<Vec<_>> =
        Arc::new((0..3).map(|_| bench.sched.add(&Params::default(), Load::default()).unwrap()).collect());
    const ROUNDS: u64 = 10_000;
    ring[0].payload().work.store(1, Ordering::SeqCst);
    let members = ring.clone();
    let turn = move |bench: &Bench, entity: &Arc<Entity<Load>>, _: &mut Random| {
        let step = entity.payload().work.swap(0, Ordering::SeqCst);
        if step >= ROUNDS {
            bench.done.store(1, Ordering::SeqCst);
        } else if step > 0 {
            let me = members.iter().position(|other| Arc::ptr_eq(other, entity)).unwrap();
            let next = &members[(me + 1) % members.len()];
            next.payload().work.store(step + 1, Ordering::SeqCst);
            bench.tell(bench.sched.wake(next, bench.now()));
        }
        Reason::Blocked
    };
    bench.run(1, &ring, turn, |_, _| {});
}

#[test]
fn a_wake_that_races_with_a_cpu_going_idle_is_seen_by_one_of_the_two() {
    const ROUNDS: u64 = 50_000;
    let bench = Bench::new(1);
    let entity = bench.sched.add(&Params::default(), Load::default()).unwrap();
    let turn = |_: &Bench, entity: &Arc<Entity<Load>>, _: &mut Random| {
        entity.payload().work.store(0, Ordering::SeqCst);
        Reason::Blocked
    };
    let (target, rounds) = (entity.clone(), AtomicU64::new(0));
    let meanwhile = move |bench: &Bench, random: &mut Random| {
        // The entity has seen the last wake: it blocks now, and its CPU is about to halt.
        if target.payload().work.load(Ordering::SeqCst) != 0 {
            return;
        }
        if rounds.fetch_add(1, Ordering::SeqCst) == ROUNDS {
            return bench.done.store(1, Ordering::SeqCst);
        }
        (0..random.below(300)).for_each(|_| core::hint::spin_loop());
        target.payload().work.store(1, Ordering::SeqCst);
        bench.tell(bench.sched.wake(&target, bench.now()));
    };
    bench.run(1, &[entity], turn, meanwhile);
}

#[test]
fn entities_moved_paused_and_reset_at_random_all_finish_and_run_on_one_cpu_at_a_time() {
    const TURNS: u64 = 2_000;
    let bench = Bench::new(4);
    let entities: Vec<_> = (0..12)
        .map(|_| {
            let load = Load { left: AtomicU64::new(TURNS), ..Load::default() };
            bench.sched.add(&Params::default(), load).unwrap()
        })
        .collect();
    let turn = |bench: &Bench, entity: &Arc<Entity<Load>>, random: &mut Random| {
        if entity.payload().left.fetch_sub(1, Ordering::SeqCst) == 1 {
            bench.done.fetch_add(1, Ordering::SeqCst);
            return Reason::Gone;
        }
        match random.below(4) {
            0 => {
                // Blocks, and the wake comes from itself before it has.
                bench.tell(bench.sched.wake(entity, bench.now()));
                Reason::Blocked
            }
            _ => Reason::Preempted,
        }
    };
    let targets = entities.clone();
    let meanwhile = move |bench: &Bench, random: &mut Random| {
        let entity = &targets[random.below(targets.len() as u64) as usize];
        let (sched, now) = (&bench.sched, bench.now());
        match random.below(5) {
            0 => {
                if let Some(cpu) = sched.pause(entity, now) {
                    bench.kick(cpu);
                }
                thread::yield_now();
                bench.tell(sched.resume(entity, bench.now()));
            }
            1 => {
                let cpus: CpuSet = (0..4).filter(|_| random.below(2) == 0).collect();
                if let Ok(placed) = sched.set_affinity(entity, &cpus, now) {
                    bench.tell(placed);
                }
            }
            2 => bench.tell(sched.set_weight(entity, 1 + random.below(1000) as u32, now).unwrap()),
            3 => bench.tell(sched.set_cap(entity, [0, 0, 90][random.below(3) as usize], now)),
            _ => bench.tell(sched.wake(entity, now)),
        }
    };
    bench.run(entities.len(), &entities, turn, meanwhile);
    for entity in &entities {
        assert!(bench.sched.is_gone(entity));
        assert_eq!(Arc::strong_count(entity), 1, "a queue still holds it");
        assert_eq!(entity.stats().switches, TURNS);
    }
    (0..4).for_each(|cpu| assert_eq!(bench.sched.load(cpu), 0));
}

#[test]
fn entities_removed_while_they_are_picked_are_gone_and_their_places_are_taken() {
    let bench = Bench::new(3);
    let entities: Vec<_> =
        (0..200).map(|_| bench.sched.add(&Params::default(), Load::default()).unwrap()).collect();
    let turn = |_: &Bench, _: &Arc<Entity<Load>>, _: &mut Random| Reason::Preempted;
    let (targets, next) = (entities.clone(), AtomicUsize::new(0));
    let meanwhile = move |bench: &Bench, _: &mut Random| {
        let Some(entity) = targets.get(next.fetch_add(1, Ordering::SeqCst)) else {
            let gone = targets.iter().filter(|entity| bench.sched.is_gone(entity)).count();
            bench.done.store(gone, Ordering::SeqCst);
            return;
        };
        if let Some(cpu) = bench.sched.remove(entity, bench.now()) {
            bench.kick(cpu);
        }
    };
    bench.run(entities.len(), &entities, turn, meanwhile);
    assert!(entities.iter().all(|entity| !entity.payload().running.load(Ordering::SeqCst)));
}
