//! A CPU that can run guests.
use super::hardware::{Processor, StartError};

/// What a CPU keeps for its guests, and whose extended state is in it.
pub struct GuestCpu {
    pub(super) processor: Processor,
    /// The vCPU whose extended state this CPU's registers hold, by the seat's number.
    pub(super) live: Option<u64>,
}

impl GuestCpu {
    /// Switches virtualization on, on the calling CPU. `None` where the machine can't run VMs.
    ///
    /// # Errors
    /// Why this CPU can't, though the machine can.
    pub fn start() -> Result<Option<Self>, StartError> {
        Ok(Processor::start()?.map(|processor| Self { processor, live: None }))
    }
}
