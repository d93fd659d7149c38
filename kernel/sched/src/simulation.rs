//! A simulated machine for the tests: virtual time, CPUs that run, halt and are kicked as the kernel does
//! it, and vCPUs with habits. It checks at every step that no entity runs twice and that no CPU idles
//! while an entity waits that may run there.

use crate::entity::State;
use crate::{ALONE_NS, CpuSet, Entity, MIN_SLICE_NS, Params, Pick, Placement, Reason, Scheduler};
use alloc::sync::Arc;
use alloc::vec::Vec;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;

/// A generator for the tests' seeds (Knuth's MMIX constants).
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit.max(1)
    }
}

/// What a vCPU does with the time it gets.
#[derive(Clone)]
pub(crate) enum Habit {
    Spin,
    /// Runs and sleeps in turns, for these times.
    Rhythm {
        run: u64,
        sleep: u64,
    },
    /// Runs, wakes another and blocks until it is woken.
    PassOn {
        run: u64,
        to: usize,
    },
    /// Runs and sleeps for random times up to these.
    Random {
        run: u64,
        sleep: u64,
        random: Random,
    },
}

pub(crate) struct Vcpu {
    pub(crate) entity: Arc<Entity<usize>>,
    habit: Habit,
    /// What is left to run until it blocks.
    burst: u64,
    wake_at: Option<u64>,
    woken_at: Option<u64>,
    /// The longest time from a wake to its turn.
    pub(crate) longest_wake: u64,
    running: bool,
}

impl Vcpu {
    pub(crate) fn set_habit(&mut self, habit: Habit) {
        self.habit = habit;
    }
}

#[derive(Default)]
struct Cpu {
    /// The vCPU that runs, since when, and when it stops unless it is preempted.
    running: Option<(usize, u64, u64)>,
    kicked: bool,
    /// How long it has idled though something waited for it.
    wasted_since: Option<u64>,
}

pub(crate) struct Machine {
    pub(crate) sched: Scheduler<usize>,
    pub(crate) now: u64,
    pub(crate) vcpus: Vec<Vcpu>,
    cpus: Vec<Cpu>,
    /// The time that CPUs idled.
    pub(crate) idle_time: u64,
}

impl Machine {
    pub(crate) fn new(cpus: usize) -> Self {
        Machine {
            sched: Scheduler::new(cpus).unwrap(),
            now: 0,
            vcpus: Vec::new(),
            cpus: (0..cpus).map(|_| Cpu { kicked: true, ..Cpu::default() }).collect(),
            idle_time: 0,
        }
    }

    /// Adds a vCPU, which starts at once.
    pub(crate) fn add(&mut self, params: Params, habit: Habit) -> usize {
        let index = self.vcpus.len();
        let entity = self.sched.add(&params, index).unwrap();
        let burst = match &habit {
            Habit::Spin => u64::MAX,
            Habit::Rhythm { run, .. } | Habit::PassOn { run, .. } | Habit::Random { run, .. } => *run,
        };
        self.vcpus.push(Vcpu {
            entity,
            habit,
            burst,
            wake_at: None,
            woken_at: None,
            longest_wake: 0,
            running: false,
        });
        self.wake(index);
        index
    }

    pub(crate) fn spinner(&mut self, weight: u32) -> usize {
        self.add(Params { weight, ..Params::default() }, Habit::Spin)
    }

    pub(crate) fn pinned(&mut self, weight: u32, cpus: &[usize]) -> usize {
        let affinity: CpuSet = cpus.iter().copied().collect();
        self.add(Params { weight, affinity, ..Params::default() }, Habit::Spin)
    }

    pub(crate) fn wake(&mut self, index: usize) {
        let vcpu = &mut self.vcpus[index];
        vcpu.wake_at = None;
        let placed = self.sched.wake(&vcpu.entity, self.now);
        if placed.is_some() {
            vcpu.woken_at = Some(self.now);
        }
        self.kick(placed);
    }

    pub(crate) fn kick(&mut self, placed: Option<Placement>) {
        if let Some(Placement { cpu, preempt: true }) = placed {
            self.cpus[cpu].kicked = true;
        }
    }

    pub(crate) fn kick_cpu(&mut self, cpu: Option<usize>) {
        if let Some(cpu) = cpu {
            self.cpus[cpu].kicked = true;
        }
    }

    /// The run time of a vCPU up to now.
    pub(crate) fn ran(&self, index: usize) -> u64 {
        let current = self.cpus.iter().filter_map(|cpu| cpu.running).find(|r| r.0 == index);
        self.vcpus[index].entity.stats().run + current.map_or(0, |(_, since, _)| self.now - since)
    }

    pub(crate) fn ran_all(&self) -> Vec<u64> {
        (0..self.vcpus.len()).map(|index| self.ran(index)).collect()
    }

    /// Runs the machine for `time` nanoseconds.
    pub(crate) fn run(&mut self, time: u64) {
        let end = self.now + time;
        loop {
            self.settle();
            self.check();
            let cpus = (0..self.cpus.len()).filter_map(|cpu| match self.cpus[cpu].running {
                Some((_, _, until)) => Some(until),
                None => self.sched.next_event(cpu),
            });
            let wakes = self.vcpus.iter().filter_map(|vcpu| vcpu.wake_at);
            let next = cpus.chain(wakes).min().unwrap_or(end).clamp(self.now, end);
            let idle = self.cpus.iter().filter(|cpu| cpu.running.is_none()).count() as u64;
            self.idle_time += idle * (next - self.now);
            if next == end {
                self.now = end;
                return;
            }
            self.now = next;
            for index in 0..self.vcpus.len() {
                if self.vcpus[index].wake_at.is_some_and(|at| at <= self.now) {
                    self.wake(index);
                }
            }
            for cpu in 0..self.cpus.len() {
                let due = match self.cpus[cpu].running {
                    Some((_, _, until)) => until <= self.now,
                    None => self.sched.next_event(cpu).is_some_and(|at| at <= self.now),
                };
                self.cpus[cpu].kicked |= due;
            }
        }
    }

    /// Lets every kicked CPU look, until none is.
    fn settle(&mut self) {
        let mut turns = 0;
        while let Some(cpu) = self.cpus.iter().position(|cpu| cpu.kicked) {
            turns += 1;
            assert!(turns < 1000 * (1 + self.cpus.len()), "CPUs kick each other for ever");
            self.cpus[cpu].kicked = false;
            self.reschedule(cpu);
        }
    }

    fn reschedule(&mut self, cpu: usize) {
        if let Some((index, since, _)) = self.cpus[cpu].running.take() {
            let ran = self.now - since;
            let vcpu = &mut self.vcpus[index];
            vcpu.running = false;
            vcpu.burst = vcpu.burst.saturating_sub(ran);
            let reason = if vcpu.burst == 0 { self.block(index) } else { Reason::Preempted };
            let entity = self.vcpus[index].entity.clone();
            let placed = self.sched.put_back(cpu, entity, self.now, ran, reason);
            self.kick(placed);
        }
        let Some(Pick { entity, slice_end, kick }) = self.sched.pick(cpu, self.now) else { return };
        self.kick_cpu(kick);
        let index = *entity.payload();
        assert_eq!(entity.running_on(), Some(cpu));
        assert!(entity.params().affinity.contains(cpu), "ran where it may not");
        assert!(slice_end > self.now && slice_end <= self.now + ALONE_NS);
        let vcpu = &mut self.vcpus[index];
        assert!(!core::mem::replace(&mut vcpu.running, true), "ran on two CPUs");
        if let Some(woken) = vcpu.woken_at.take() {
            vcpu.longest_wake = vcpu.longest_wake.max(self.now - woken);
        }
        let until = slice_end.min(self.now.saturating_add(vcpu.burst));
        self.cpus[cpu].running = Some((index, self.now, until));
    }

    /// The vCPU has run its burst: what it does then.
    fn block(&mut self, index: usize) -> Reason {
        let now = self.now;
        let vcpu = &mut self.vcpus[index];
        match &mut vcpu.habit {
            Habit::Spin => unreachable!(),
            Habit::Rhythm { run, sleep } => {
                vcpu.burst = *run;
                vcpu.wake_at = Some(now + *sleep);
            }
            Habit::PassOn { run, to } => {
                vcpu.burst = *run;
                let to = *to;
                self.wake(to);
            }
            Habit::Random { run, sleep, random } => {
                vcpu.burst = 1 + random.below(*run);
                vcpu.wake_at = Some(now + 1 + random.below(*sleep));
            }
        }
        Reason::Blocked
    }

    /// Nothing waits for an idle CPU, and no CPU's count of anything is wrong.
    fn check(&mut self) {
        let mut running = 0;
        for vcpu in &self.vcpus {
            let is_running = matches!(vcpu.entity.lock().state, State::Running { .. });
            assert_eq!(is_running, vcpu.running);
            running += usize::from(is_running);
        }
        assert_eq!(running, self.cpus.iter().filter(|cpu| cpu.running.is_some()).count());
        for cpu in 0..self.cpus.len() {
            let wanted = self.cpus[cpu].running.is_none()
                && self.vcpus.iter().any(|vcpu| {
                    let mut inner = vcpu.entity.lock();
                    matches!(inner.state, State::Queued { .. })
                        && inner.cap.throttled_until(self.now).is_none()
                        && vcpu.entity.affinity().contains(cpu)
                });
            let since = wanted.then(|| self.cpus[cpu].wasted_since.unwrap_or(self.now));
            self.cpus[cpu].wasted_since = since;
            let wasted = self.now - since.unwrap_or(self.now);
            assert!(wasted <= MIN_SLICE_NS, "CPU {cpu} idled {wasted} ns while someone waited for it");
        }
    }
}
