//! How the node ends: its VMs shut down first, for a while, and then the machine powers off or restarts.
use crate::time::Nanos;
use crate::vm::Vms;
use crate::{devices, power};
use mgmt::shell::node::{Ending, Haste, VmAction, VmState};

/// How often the rest of the wait is told.
const REMIND: Nanos = Nanos::from_millis(5_000);
/// How long disks have to write back what is in their caches.
const DISKS: Nanos = Nanos::from_millis(10_000);

/// An ending that was ordered.
pub struct Ordered {
    ending: Ending,
    deadline: Nanos,
    remind: Nanos,
    /// Until when devices may take to come to rest, once the VMs have.
    devices: Option<Nanos>,
}

impl Ordered {
    /// Begins to end the node: presses the power button of what runs, and stops what cannot hear it.
    pub fn begin(ending: Ending, haste: Haste, vms: &Vms, now: Nanos) -> Self {
        let Haste::Graceful(most) = haste else {
            return Self { ending, deadline: now, remind: Nanos::NEVER, devices: None };
        };
        for vm in vms.summaries() {
            let action = match vm.state {
                VmState::Running => VmAction::Stop,
                VmState::Paused | VmState::Starting => VmAction::Kill,
                VmState::Stopping | VmState::Off | VmState::Failed => continue,
            };
            if let Err(error) = vms.control(&vm.name, action) {
                log::warn!("{error}");
            }
        }
        let deadline = now.after(Nanos(u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)));
        Self { ending, deadline, remind: now.after(REMIND), devices: None }
    }

    /// Whether the machine can end now. Otherwise tells now and then what is waited for.
    pub fn is_due(&mut self, vms: &Vms, now: Nanos) -> bool {
        if !vms.any_alive() || self.devices.is_some() {
            return self.devices_rest(now);
        }
        if now >= self.deadline {
            if self.remind != Nanos::NEVER {
                log::warn!("not all VMs have shut down in time: ending them");
            }
            return self.devices_rest(now);
        }
        if now >= self.remind {
            self.remind = now.after(REMIND);
            let left = self.deadline.since(now).as_millis() / 1000;
            log::info!("waiting for VMs to shut down, {left} s more at most");
        }
        false
    }

    /// Whether the devices have come to rest, or had their time. From the first call on they finish what they have.
    fn devices_rest(&mut self, now: Nanos) -> bool {
        let until = *self.devices.get_or_insert(now.after(DISKS));
        let rest = devices::stop_all();
        if !rest && now >= until {
            log::warn!("not all devices have come to rest in time");
        }
        rest || now >= until
    }

    /// Ends this run of the machine.
    pub fn carry_out(&self) -> ! {
        match self.ending {
            Ending::PowerOff => power::off(),
            Ending::Reboot => power::reset(),
        }
    }
}
