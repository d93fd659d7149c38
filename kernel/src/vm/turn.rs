//! A vCPU's turn on a CPU: from the scheduler's pick until it is put back.
//!
//! Between exits of the guest the CPU also does what is due for the node: timers, ready tasks. It leaves
//! the guest for that when [`Host::attention`] says so, which every wake and timer of this CPU sets.
use super::guest_cpu::GuestCpu;
use super::passing;
use super::seat::{self, Seat, kick, reschedule, scheduler};
use crate::cpu::percpu::{self, PerCpu};
use crate::cpu::registers::{disable_interrupts, enable_interrupts, rdtsc};
use crate::cpu_loop::Runtime;
use crate::interrupts::local_apic::hold_devices;
use crate::time::{self, Nanos, timer};
use alloc::sync::Arc;
use core::cell::Cell;
use core::sync::atomic::Ordering;
use core::task::Waker;
use sched::{Pick, Reason};
use vmm::vcpu::{Host, Leave};

/// The CPU as its vCPU sees it.
struct ThisCpu<'a> {
    cpu: &'static PerCpu,
    runtime: &'a Runtime,
    slice_end: u64,
    /// When it looks at queues again that the guest does not notify of; `u64::MAX` if there is none. Until then the
    /// interrupts of devices wait, as long as the guest runs.
    look: Cell<u64>,
    /// What an exit costs, in nanoseconds.
    exit: u64,
    /// The weight of the vCPU whose turn it is.
    weight: u64,
}

impl ThisCpu<'_> {
    /// Arms the CPU's timer for the first of: the slice's end, the node's timers, the vCPU's, the next look.
    fn arm(&self, vcpu: Option<u64>) {
        let node = self.runtime.timers.next_deadline().unwrap_or(u64::MAX);
        timer::arm(Nanos(self.slice_end.min(node).min(vcpu.unwrap_or(u64::MAX)).min(self.look.get())));
    }
}

impl Host for ThisCpu<'_> {
    #[inline]
    fn now(&self) -> u64 {
        time::now().0
    }

    #[inline]
    fn tsc(&self) -> u64 {
        rdtsc()
    }

    #[inline]
    fn disable_interrupts(&self) {
        disable_interrupts();
    }

    #[inline]
    fn enable_interrupts(&self) {
        enable_interrupts();
    }

    #[inline]
    fn attention(&self) -> bool {
        self.cpu.attention.load(Ordering::Relaxed) || self.runtime.executor.has_ready()
    }

    #[inline]
    fn enters_guest(&self) {
        if self.look.get() != u64::MAX {
            hold_devices(true);
        }
    }

    #[inline]
    fn left_guest(&self) {
        if self.look.get() != u64::MAX {
            hold_devices(false);
        }
    }

    fn patience(&self, longest: u64) -> u64 {
        let others_wait = scheduler().load(self.cpu.index) > self.weight;
        if others_wait { self.exit } else { longest.max(self.exit) }
    }

    fn set_vcpu_timer(&self, deadline: Option<u64>) {
        self.arm(deadline);
    }
}

/// What CPU `cpu`, the calling one, is to run.
pub fn pick(cpu: usize, now: u64) -> Option<Pick<Arc<Seat>>> {
    seat::is_started().then(|| scheduler().pick(cpu, now)).flatten()
}

/// When CPU `cpu` is to ask again though nobody tells it; `u64::MAX` for never.
pub fn next_event(cpu: usize) -> u64 {
    if seat::is_started() { scheduler().next_event(cpu).unwrap_or(u64::MAX) } else { u64::MAX }
}

/// Runs what the scheduler picked, until its turn is over, and puts it back.
pub fn take_turn(runtime: &Runtime, guest: &mut GuestCpu, pick: Pick<Arc<Seat>>) {
    if let Some(idle) = pick.kick {
        reschedule(idle);
    }
    let cpu = percpu::current();
    let seat = pick.entity.payload().clone();
    let started = time::now().0;
    seat.cancel_alarm();
    let host = ThisCpu {
        cpu,
        runtime,
        slice_end: pick.slice_end,
        look: Cell::new(u64::MAX),
        exit: guest.pace.exit(),
        weight: pick.entity.params().weight.into(),
    };
    let exits = || seat.exits().iter().sum::<u64>();
    let before = exits();
    let reason = run(&host, guest, &seat);
    cpu.exits.fetch_add(exits().saturating_sub(before), Ordering::Relaxed);
    let now = time::now().0;
    let ran = now.saturating_sub(started);
    cpu.guest_nanos.fetch_add(ran, Ordering::Relaxed);
    let parked = reason == Reason::Paused;
    if parked {
        seat.parked.store(true, Ordering::SeqCst);
    }
    if let Some(placement) = scheduler().put_back(cpu.index, pick.entity, now, ran, reason) {
        kick(placement);
    }
    if parked && let Some(run) = seat.run.upgrade() {
        run.seat_parked();
    }
}

fn run(host: &ThisCpu<'_>, guest: &mut GuestCpu, seat: &Arc<Seat>) -> Reason {
    let cpu = host.cpu;
    let mut vcpu = seat.vcpu.lock();
    let fresh = guest.live == Some(seat.number) && seat.loaded_on.load(Ordering::Relaxed) == cpu.index;
    #[allow(unsafe_code)] // moves vector registers
    // SAFETY: whatever vCPU's state was in this CPU has been saved at the end of its turn.
    unsafe {
        vcpu.begin_turn(&mut guest.processor, fresh)
    };
    guest.live = Some(seat.number);
    seat.loaded_on.store(cpu.index, Ordering::Relaxed);
    let shared = vcpu.shared().clone();
    let board = &shared.board;
    let reason = loop {
        // What comes from here on is seen before the next entry.
        cpu.attention.store(false, Ordering::SeqCst);
        passing::pass(cpu, Some(guest));
        let now = time::now().0;
        host.runtime.expire(now);
        host.runtime.poll();
        if cpu.reschedule.swap(false, Ordering::SeqCst) || now >= host.slice_end {
            break Reason::Preempted;
        }
        // From here on a task that another CPU wakes interrupts this one.
        if !host.runtime.executor.listen() {
            continue;
        }
        let pace = guest.pace.get();
        host.look.set(if board.look(now, pace) { now + pace } else { u64::MAX });
        disable_interrupts();
        host.arm(vcpu.deadline());
        enable_interrupts();
        guest.pace.passed(Nanos(time::now().0.saturating_sub(now)));
        match vcpu.run(&mut guest.processor, host) {
            Leave::Attention => {}
            Leave::Yield => break Reason::Preempted,
            Leave::Blocked { until } => {
                if let Some(deadline) = until {
                    let waker = Waker::from(seat.clone());
                    let timer = host.runtime.timers.wake_at(deadline, waker);
                    *seat.alarm.lock() = Some((cpu.index, timer));
                }
                break Reason::Blocked;
            }
            Leave::Parked => break Reason::Paused,
            Leave::Ended(end) => {
                if let Some(run) = seat.run.upgrade() {
                    run.ended(end);
                }
                break Reason::Paused;
            }
        }
    };
    board.pay();
    if host.look.get() != u64::MAX {
        board.rest();
    }
    #[allow(unsafe_code)] // moves vector registers
    // SAFETY: this vCPU's state is in this CPU since the beginning of its turn.
    unsafe {
        vcpu.end_turn()
    };
    seat.publish(&vcpu);
    reason
}
