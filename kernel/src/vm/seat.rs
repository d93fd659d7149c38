//! A vCPU as the scheduler has it.
use super::hardware::{Vcpu, virtualization};
use super::ram::GuestRam;
use super::run::Run;
use crate::cpu::percpu;
use crate::cpu_loop;
use crate::interrupts::{Vector, ipi};
use crate::time;
use alloc::sync::{Arc, Weak};
use alloc::task::Wake;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use executor::Timer;
use sched::{Entity, Placement, Scheduler};
use spin::{Mutex, Once};
use vmm::exit::ExitKind;
use vmm::vcpu::Activity;

/// What the scheduler carries for a vCPU.
pub type VcpuEntity = Entity<Arc<Seat>>;

static SCHEDULER: Once<Scheduler<Arc<Seat>>> = Once::new();

/// Number of the next seat, over the node's life.
static NUMBERS: AtomicU64 = AtomicU64::new(0);

/// The scheduler of all vCPUs.
///
/// # Panics
/// Before [`start_scheduler`].
pub fn scheduler() -> &'static Scheduler<Arc<Seat>> {
    match SCHEDULER.get() {
        Some(scheduler) => scheduler,
        None => panic!("a vCPU is scheduled before the CPUs were counted"),
    }
}

/// Makes the scheduler, once the CPUs are known, and lets them ask it. What the machine has for VMs is looked up
/// here, before other CPUs run: by the one that boots.
pub fn start_scheduler(cpus: usize) {
    let _ = virtualization();
    SCHEDULER.call_once(|| match Scheduler::new(cpus) {
        Ok(scheduler) => scheduler,
        Err(refused) => panic!("the scheduler: {refused}"),
    });
    ipi::send_to_others(Vector::WAKE);
}

/// CPU number `cpu` does not run: no vCPU is to be put on it.
pub fn leave_out(cpu: usize) {
    scheduler().exclude(cpu);
}

/// Whether the calling CPU may ask the scheduler.
pub fn is_started() -> bool {
    SCHEDULER.is_completed()
}

/// A vCPU and what the kernel keeps for it.
pub struct Seat {
    /// Unlike any other's.
    pub number: u64,
    /// Held by the CPU whose turn it is, or by the supervisor while the vCPU rests.
    pub vcpu: Mutex<Vcpu>,
    /// The VM's run that it belongs to.
    pub run: Weak<Run>,
    /// It has been put to rest: paused, or its VM has ended.
    pub parked: AtomicBool,
    /// CPU that holds, or held last, its extended state; `usize::MAX` for none.
    pub loaded_on: AtomicUsize,
    /// The timer that wakes it while it is blocked, and the CPU that has it.
    pub alarm: Mutex<Option<(usize, Timer)>>,
    entity: Once<Weak<VcpuEntity>>,
    shown: Mutex<(Activity, [u64; ExitKind::COUNT])>,
    /// The memory that the vCPU's guest runs in. Last, so that it goes after the vCPU.
    _ram: Arc<GuestRam>,
}

impl Seat {
    /// A seat for `vcpu`, whose guest lives in `ram`.
    pub fn new(vcpu: Vcpu, run: Weak<Run>, ram: Arc<GuestRam>) -> Self {
        Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            vcpu: Mutex::new(vcpu),
            run,
            parked: AtomicBool::new(false),
            loaded_on: AtomicUsize::new(usize::MAX),
            alarm: Mutex::new(None),
            entity: Once::new(),
            shown: Mutex::new((Activity::WaitsForStart, [0; ExitKind::COUNT])),
            _ram: ram,
        }
    }

    /// Names the scheduler's entity that carries this seat.
    pub fn set_entity(&self, entity: &Arc<VcpuEntity>) {
        self.entity.call_once(|| Arc::downgrade(entity));
    }

    /// Makes the vCPU look at what there is for it: runs it if it is blocked, interrupts it if it runs on
    /// another CPU. On the calling CPU it will look by itself.
    pub fn notify(&self) {
        self.tell(ipi::nudge);
    }

    /// Likewise, where there are only interrupts for it, which a CPU that runs it takes by itself.
    pub fn notify_posted(&self) {
        self.tell(ipi::post);
    }

    /// `interrupt`: how the vCPU is reached that runs on another CPU.
    fn tell(&self, interrupt: fn(usize)) {
        let Some(entity) = self.entity.get().and_then(Weak::upgrade) else { return };
        match scheduler().wake(&entity, time::now().0) {
            Some(placement) => kick(placement),
            None => {
                if let Some(cpu) = entity.running_on()
                    && cpu != percpu::current().index
                {
                    interrupt(cpu);
                }
            }
        }
    }

    /// Shows what the vCPU has done, for those who look while it runs.
    pub fn publish(&self, vcpu: &Vcpu) {
        *self.shown.lock() = (vcpu.activity(), *vcpu.exits());
    }

    /// What the vCPU was doing at the end of its last turn.
    pub fn activity(&self) -> Activity {
        self.shown.lock().0
    }

    /// How often the vCPU had left the guest at the end of its last turn, by kind.
    pub fn exits(&self) -> [u64; ExitKind::COUNT] {
        self.shown.lock().1
    }

    /// Takes back the timer that would wake it.
    pub fn cancel_alarm(&self) {
        if let Some((cpu, timer)) = self.alarm.lock().take()
            && let Some(timers) = cpu_loop::timers_of(cpu)
        {
            timers.disarm(timer);
        }
    }
}

/// The seat's timer is due.
impl Wake for Seat {
    fn wake(self: Arc<Self>) {
        self.notify();
    }
}

/// Tells a CPU what the scheduler wants of it.
pub fn kick(placement: Placement) {
    if placement.preempt {
        reschedule(placement.cpu);
    }
}

/// Makes a CPU ask the scheduler anew.
pub fn reschedule(cpu: usize) {
    if let Some(block) = percpu::get(cpu) {
        block.reschedule.store(true, Ordering::SeqCst);
        if cpu != percpu::current().index {
            ipi::wake(cpu);
        }
    }
}
