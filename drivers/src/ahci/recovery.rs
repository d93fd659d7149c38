//! What a port's task does: it finds disks, and repairs what goes wrong with them.
//!
//! | what happened | what is done |
//! |---|---|
//! | the disk reports an error, and which command it was of | that one fails, the others go to it again |
//! | it reports an error, of nobody knows which command, or none | reset; what was in flight goes to it one by one |
//! | an error of the link or of memory, a time-out | reset; so often for a command, then it fails |
//! | the link changes and comes back | reset: the same disk goes on, another is a new one |
//! | the link stays down, or resets don't help | the disk is gone: all its requests fail |
//!
//! A reset is that of the port (COMRESET); where the port can't be stopped, that of the HBA.
use super::controller::Core;
use super::disk::Disk;
use super::error::PortError;
use super::events::{Event, Taken};
use super::fis::{Command, DISABLE_CACHE, ERROR, FAULT, failed_tag};
use super::identify::DiskData;
use super::port::Port;
use super::registers::Link;
use crate::request::wait::{pause, until};
use alloc::sync::Arc;
use block::BlockError;
use core::sync::atomic::Ordering;
use core::time::Duration;

/// Longest that reading a log takes.
const LOG: Duration = Duration::from_secs(5);
/// Longest that a flush takes before the power goes.
const LAST_FLUSH: Duration = Duration::from_secs(30);
/// How long a link may be away until its disk is.
const AWAY: Duration = Duration::from_millis(300);

/// A port's task.
pub(super) async fn watch(core: Arc<Core>, port: Arc<Port>, before: Option<Arc<Port>>) {
    if let Some(before) = before {
        // Staggered spin-up: one after another.
        before.settled.wait().await;
    }
    let guard = Watch { core, port };
    guard.attach().await;
    guard.port.settled.set();
    loop {
        guard.port.events.signal.wait().await;
        let happened = guard.port.events.take();
        if happened.has(Event::END) {
            break;
        }
        if happened.has(Event::SHUT_DOWN) {
            guard.shut_down().await;
            break;
        }
        match guard.port.disk() {
            Some(disk) if !happened.is_empty() => guard.recover(&disk, happened).await,
            None if happened.has(Event::LINK) || happened.has(Event::RESET) => guard.attach().await,
            _ => {}
        }
    }
    guard.port.settled.set();
    guard.port.ended.set();
}

struct Watch {
    core: Arc<Core>,
    port: Arc<Port>,
}

impl Watch {
    /// Resets what is plugged in, as often as it may help, until it tells what it is.
    async fn bring_up(&self) -> Result<DiskData, PortError> {
        let mut result = Err(PortError::Empty);
        for _ in 0..self.port.limits.resets.max(1) {
            result = self.port.bring_up().await;
            match result {
                Ok(_) | Err(PortError::Empty | PortError::Foreign(_) | PortError::HbaGone) => break,
                Err(PortError::Stuck) => self.core.reset_for(&self.port).await,
                Err(_) => {}
            }
        }
        result
    }

    /// Finds out what is plugged in, and announces it if it is a disk.
    async fn attach(&self) {
        let port = &self.port;
        port.ignored.store(false, Ordering::Relaxed);
        let result = self.bring_up().await;
        let result = result.and_then(|data| Disk::new(port, data));
        match result {
            Ok(disk) => {
                let disk = Arc::new(disk);
                *port.disk.lock() = Some(disk.clone());
                port.forget_errors();
                disk.queue().resume(false);
                (self.core.announce)(port.number, disk);
            }
            Err(PortError::Empty | PortError::HbaGone) => {}
            Err(error) => {
                log::warn!("{}: {error}", port.name);
                // Whatever it is, nothing will be asked of it.
                let _ = port.stop().await;
                port.ignored.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Something has gone wrong.
    async fn recover(&self, disk: &Disk, happened: Taken) {
        let port = &self.port;
        let queue = disk.queue();
        queue.hold();
        let (status, error) = port.registers.task_file();
        let reported = happened.has(Event::TASK_FILE);
        if !happened.has(Event::RESET) {
            queue.collect(reported);
        }
        let (in_flight, queued) = queue.in_flight();
        let changed = happened.has(Event::LINK) || happened.has(Event::RESET);
        let broken = happened.has(Event::OTHER_ERROR) || happened.has(Event::TIMEOUT);
        self.tell(happened, status, error, in_flight);
        if reported && !changed && !broken && self.resolve(disk, in_flight, queued).await {
            return;
        }
        if changed && !until(&*port.kernel, AWAY, || port.registers.link() != Link::Down).await {
            return self.remove(disk, BlockError::Removed, PortError::Empty).await;
        }
        self.reset(disk, happened).await;
    }

    fn tell(&self, happened: Taken, status: u8, error: u8, in_flight: u32) {
        if !self.core.may_tell() {
            return;
        }
        let what = if happened.has(Event::RESET) {
            "the controller was reset"
        } else if happened.has(Event::LINK) {
            "the link has changed"
        } else if happened.has(Event::TIMEOUT) {
            "a command takes too long"
        } else if happened.has(Event::OTHER_ERROR) {
            "an error of the link, or of access to memory"
        } else {
            "the disk reports an error"
        };
        let name = &self.port.name;
        log::warn!("{name}: {what} (status {status:#04x}, error {error:#04x}, in flight {in_flight:#x})");
    }

    /// Finds the command that the disk reports an error of. Whether all goes on.
    async fn resolve(&self, disk: &Disk, in_flight: u32, queued: bool) -> bool {
        let (port, queue) = (&self.port, disk.queue());
        let (status, error) = port.registers.task_file();
        if in_flight == 0 || port.restart().await.is_err() {
            return false;
        }
        // A report without an error is of none of them.
        let has_failed =
            |&(slot, status, _): &(u32, u8, u8)| in_flight >> slot & 1 != 0 && status & (ERROR | FAULT) != 0;
        // Of those that are not queued there is one.
        let only = in_flight.is_power_of_two().then(|| (in_flight.trailing_zeros(), status, error));
        let only = only.filter(has_failed);
        let mut failed = only;
        let repaired;
        if queued {
            // Without this the disk takes no queued command any more (ACS-3, A.13); a reset has it do so, too.
            let read = port.ask(Command::read_error_log(), "READ LOG EXT", LOG).await;
            let told = read.ok().and_then(|()| failed_tag(&port.memory.own_data()));
            let told = told.filter(has_failed);
            repaired = told.is_some();
            failed = told.or(only);
        } else {
            // So that the status is that of a command which worked: some disks report the last one's with the next
            // queued command that they take.
            repaired = port.ask(Command::IDENTIFY, "IDENTIFY DEVICE", LOG).await.is_ok();
        }
        let Some((slot, status, error)) = failed else { return false };
        if queue.fail(slot, status, error).is_none() || !repaired || port.events.has(Event::LINK) {
            return false;
        }
        port.forget_errors();
        queue.resume(false);
        true
    }

    /// Resets the disk and goes on with it, if it is the same.
    async fn reset(&self, disk: &Disk, happened: Taken) {
        let (port, queue) = (&self.port, disk.queue());
        queue.count_reset();
        // Each command may be to blame, and where it is not known which, the next time there is but one.
        let known = happened.has(Event::TIMEOUT) || happened.has(Event::RESET);
        match self.bring_up().await {
            Ok(data) if data.is_same(disk.data()) => {
                if !self.restore(disk, &data).await {
                    return self
                        .remove(disk, BlockError::Removed, PortError::Unfit("its cache stays on"))
                        .await;
                }
                queue.blame(!known);
                port.forget_errors();
                queue.resume(!known);
            }
            Ok(_) => {
                self.remove(disk, BlockError::Removed, PortError::Unfit("it is another disk now")).await;
                self.attach().await;
            }
            Err(PortError::HbaGone) => {}
            Err(error @ (PortError::Empty | PortError::NoLink | PortError::Foreign(_))) => {
                self.remove(disk, BlockError::Removed, error).await;
            }
            Err(error) => self.remove(disk, BlockError::TimedOut, error).await,
        }
    }

    /// Takes back what a reset has turned on.
    async fn restore(&self, disk: &Disk, data: &DiskData) -> bool {
        let cached = |data: &DiskData| data.geometry.features.volatile_cache;
        if cached(disk.data()) || !cached(data) {
            return true;
        }
        let command = Command::set_features(DISABLE_CACHE);
        self.port.ask(command, "to turn its cache off", LOG).await.is_ok()
    }

    /// The disk is gone, or given up.
    async fn remove(&self, disk: &Disk, error: BlockError, why: PortError) {
        let port = &self.port;
        log::warn!("{}: {} is gone: {why}", port.name, block::BlockDevice::identity(disk).name);
        match port.stop().await {
            Ok(()) => {}
            // The controller's task ends all requests then.
            Err(PortError::HbaGone) => return,
            Err(_) => {
                self.core.reset_for(port).await;
                if port.events.has(Event::END) {
                    return;
                }
            }
        }
        *port.disk.lock() = None;
        // Until something else is plugged in.
        port.ignored.store(port.registers.link() != Link::Down, Ordering::Relaxed);
        disk.close(error);
    }

    /// Lets the disk finish what it has and write back its cache.
    async fn shut_down(&self) {
        let port = &self.port;
        let Some(disk) = port.disk() else { return };
        let queue = disk.queue();
        if !until(&*port.kernel, port.limits.command, || queue.is_idle()).await {
            log::warn!("{}: still busy when the machine is switched off", port.name);
        }
        queue.hold();
        for (command, what) in [(Command::FLUSH, "to write its cache back"), (Command::STAND_BY, "to park")] {
            if let Err(error) = port.ask(command, what, LAST_FLUSH).await {
                log::warn!("{}: {error}", port.name);
                break;
            }
        }
        pause(&*port.kernel, Duration::from_millis(1)).await;
    }
}
