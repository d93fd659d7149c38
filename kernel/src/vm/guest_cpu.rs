//! A CPU that can run guests.
use super::hardware::Processor;
use super::pace::Pace;
use super::seat::scheduler;
use crate::cpu::percpu;

/// What a CPU keeps for its guests, and whose extended state is in it.
pub struct GuestCpu {
    pub(super) processor: Processor,
    /// The vCPU whose extended state this CPU's registers hold, by the seat's number.
    pub(super) live: Option<u64>,
    /// How often it looks at queues.
    pub(super) pace: Pace,
}

impl GuestCpu {
    /// Switches virtualization on, on the calling CPU. `None` where no CPU of the machine can run VMs, and where
    /// this one can't though others can: that is told, and the scheduler leaves it out.
    pub fn start() -> Option<Self> {
        match Processor::start() {
            Ok(processor) => Some(Self { processor: processor?, live: None, pace: Pace::new() }),
            Err(error) => {
                let cpu = percpu::current().index;
                log::error!("CPU {cpu} cannot run VMs, others may: {error}");
                scheduler().exclude(cpu);
                None
            }
        }
    }
}
