//! The task that watches over a controller: time-outs, retries, resets, events, removal, the end.
//!
//! A command that takes too long is aborted; one that even then does not come back, a fatal error, or a
//! controller that answers nonsense, costs a reset, after which everything that was in flight is sent again.
//! That is safe: reads, writes, flushes and deallocations may be repeated, since nobody was told of their
//! first end; what they are about is still lent by whoever asked; and requests that overlap in time have no
//! order that a repetition could break (`block`). What was sent too often is done with an error; a controller
//! that does not come back is given up.
//!
//! Nothing is timed by itself: a tick goes through all slots, some ten times in the time that a command has, and
//! costs commands nothing. It also takes completions whose interrupt was lost.
use super::command::{Cns, Command, LogPage};
use super::error::NvmeError;
use super::health::Health;
use super::identify::{ControllerData, NamespaceData};
use super::lifecycle::Core;
use super::namespace::Place;
use super::queue::BATCH;
use super::wishes::Wish;
use crate::request::wait::{after, nanos, pause, signal_or};
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::BlockError;
use core::sync::atomic::Ordering;
use core::time::Duration;
use executor::yield_now;

/// How long a shutdown waits for commands that are in flight.
const LAST_COMMANDS: Duration = Duration::from_secs(10);
/// What a controller is given for its shutdown, at least and at most.
const SHUTDOWN: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// Wait between an event and the next one that is asked for.
const EVENT_PAUSE: Duration = Duration::from_secs(1);

/// Takes the completions of the admin queue or of an I/O queue whenever its interrupt comes; of both where
/// they share it.
pub(super) async fn serve(core: Arc<Core>, admin: bool, queue: Option<usize>) {
    let queue = |core: &Arc<Core>| queue.and_then(|index| core.queues.get().map(|q| (q.clone(), index)));
    let queues = queue(&core);
    let vector = match &queues {
        Some((queues, index)) if !admin => queues.list[*index].vector.clone(),
        _ => core.admin.vector.clone(),
    };
    loop {
        vector.signal.wait().await;
        if core.is_over() {
            return;
        }
        if admin {
            core.admin.reap();
        }
        if let Some((queues, index)) = &queues {
            while queues.list[*index].reap() >= BATCH {
                yield_now().await;
            }
        }
    }
}

/// See the module.
pub(super) struct Supervisor {
    core: Arc<Core>,
    data: ControllerData,
    places: Vec<Arc<Place>>,
    /// Resets since a command has succeeded, and how many had by then.
    resets: u32,
    succeeded: u64,
    events: u64,
}

impl Supervisor {
    pub fn new(core: Arc<Core>, data: ControllerData, places: Vec<Arc<Place>>) -> Self {
        Self { core, data, places, resets: 0, succeeded: 0, events: 0 }
    }

    /// Watches until the controller is over.
    pub async fn watch(mut self) {
        let core = self.core.clone();
        let kernel = &*core.kernel;
        let (tick, command, abort) = ticks(core.limits.command, core.limits.abort);
        let mut next_tick = after(kernel, tick);
        let mut next_retry = u64::MAX;
        let mut next_event = u64::MAX;
        while !core.is_over() {
            let next = next_tick.min(next_retry).min(next_event);
            signal_or(kernel, &core.wishes.signal, next).await;
            if core.wishes.has(Wish::REMOVED) {
                self.end("was removed", BlockError::Removed);
                return;
            }
            if core.wishes.has(Wish::SHUT_DOWN) {
                self.shut_down().await;
                return;
            }
            if core.wishes.take(Wish::EVENT) {
                self.tell_event().await;
                next_event = after(kernel, EVENT_PAUSE);
            }
            let now = kernel.now();
            if now >= next_event {
                core.admin.await_event();
                next_event = u64::MAX;
            }
            if core.wishes.take(Wish::RETRY) || now >= next_retry {
                let next = core.queues().iter().filter_map(|queue| queue.send_delayed(now));
                next_retry = next.min().unwrap_or(u64::MAX);
            }
            if now >= next_tick {
                self.tick(command, abort).await;
                next_tick = after(kernel, tick);
            }
            if core.wishes.take(Wish::RESET) {
                self.reset().await;
                next_event = u64::MAX;
                next_retry = kernel.now();
            }
        }
    }

    async fn tick(&mut self, command: u8, abort: u8) {
        let core = self.core.clone();
        let status = core.window.status();
        if status.gone() {
            core.wishes.wish(Wish::REMOVED);
            return;
        }
        if status.failed() || !status.ready() {
            let how = if status.failed() { "reports a fatal error" } else { "is not ready any more" };
            log::warn!("{}: the controller {how}: reset", core.name);
            core.wishes.wish(Wish::RESET);
            return;
        }
        core.admin.reap();
        for queue in core.queues() {
            while queue.reap() >= BATCH {
                yield_now().await;
            }
            let overdue = queue.tick(command, abort);
            if overdue.hopeless {
                log::warn!("{}: an aborted command does not come back: reset", core.name);
                core.wishes.wish(Wish::RESET);
            }
            if !overdue.abort.is_empty() {
                let (count, number) = (overdue.abort.len(), queue.number());
                log::warn!("{}: {count} commands of queue {number} take too long: abort", core.name);
            }
            for cid in overdue.abort {
                if core.wishes.has(Wish::RESET) {
                    break;
                }
                let command = Command::abort(queue.number(), cid);
                if let Err(error @ (NvmeError::Unanswered(_) | NvmeError::Gone)) =
                    core.admin.ask("Abort", command, None).await
                {
                    log::warn!("{}: {error}: reset", core.name);
                    core.wishes.wish(Wish::RESET);
                }
            }
        }
    }

    /// Resets until it works, or ends the controller.
    async fn reset(&mut self) {
        let core = self.core.clone();
        loop {
            let succeeded: u64 = core
                .queues()
                .iter()
                .map(|queue| queue.counters())
                .map(|c| c.reads + c.writes + c.flushes + c.others)
                .sum();
            self.resets = if succeeded == self.succeeded { self.resets + 1 } else { 1 };
            self.succeeded = succeeded;
            if self.resets > core.limits.resets {
                self.end("does not work any more, and is given up", BlockError::TimedOut);
                return;
            }
            core.resets.fetch_add(1, Ordering::Relaxed);
            // What is wished for from now on is about the controller as it is after this.
            core.wishes.take(Wish::RESET);
            match self.try_reset().await {
                Ok(()) => {
                    log::warn!("{}: the controller was reset, and goes on", core.name);
                    return;
                }
                Err(NvmeError::Gone) => {
                    self.end("is gone", BlockError::Removed);
                    return;
                }
                Err(error) => log::warn!("{}: reset: {error}", core.name),
            }
            if core.wishes.has(Wish::REMOVED) {
                return;
            }
        }
    }

    async fn try_reset(&self) -> Result<(), NvmeError> {
        let core = &*self.core;
        let queues = core.queues();
        queues.iter().for_each(|queue| queue.pause());
        core.disable().await?;
        for queue in queues {
            // What it has completed is done; it adds nothing any more.
            queue.collect();
            queue.restart();
        }
        core.enable().await?;
        let wanted = queues.len() as u16;
        if core.ask_for_queues(wanted).await? < wanted {
            return Err(NvmeError::Queues("it gives fewer than before its reset"));
        }
        core.create_queues(core.queues.get().and_then(|queues| queues.shadow.as_deref())).await?;
        self.look_at_namespaces().await?;
        core.configure(&self.data).await;
        queues.iter().for_each(|queue| queue.resume());
        Ok(())
    }

    /// Whether the namespaces are what they were. What is not may be anything: it is gone.
    async fn look_at_namespaces(&self) -> Result<(), NvmeError> {
        for place in self.places.iter().filter(|place| !place.gone.load(Ordering::Relaxed)) {
            let page = self.core.admin.identify("Identify Namespace", Cns::NAMESPACE, place.id).await;
            let now = match page {
                Ok(page) => NamespaceData::read(&page).ok(),
                Err(NvmeError::Refused(..)) => None,
                Err(error) => return Err(error),
            };
            let same = |now: NamespaceData| {
                now.block_shift == place.data.block_shift && now.blocks >= place.data.blocks
            };
            if !now.is_some_and(same) {
                log::warn!("{}: is not there any more, or not what it was: it is not used", place.name);
                place.gone.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Says what an asynchronous event is about (NVMe 2.0, 5.2), and reads its log page, which ends it.
    async fn tell_event(&mut self) {
        let core = self.core.clone();
        let Some(event) = core.admin.take_event() else { return };
        self.events += 1;
        let tell = self.events <= 16 || self.events.is_power_of_two();
        let (kind, what, page) = (event & 7, event >> 8 & 0xff, (event >> 16) as u8);
        if tell {
            let about = match (kind, what) {
                (0, _) => "an error of the controller",
                (1, _) => "its health",
                (2, 0) => "a change of namespaces: new ones are used after a restart",
                (2, 1) => "an activation of firmware",
                _ => "something of its own",
            };
            log::warn!("{}: event {kind}/{what:02x}h: {about}", core.name);
        }
        if page != 0 {
            match core.admin.log_page("Get Log Page", LogPage(page)).await {
                Ok(data) if page == LogPage::HEALTH.0 && tell => {
                    for warning in Health::read(&data).warnings() {
                        log::error!("{}: {warning}", core.name);
                    }
                }
                Ok(_) => {}
                Err(error) => log::warn!("{}: log page {page:#04x}: {error}", core.name),
            }
        }
        if (kind, what) == (2, 0)
            && let Err(error) = self.look_at_namespaces().await
        {
            log::warn!("{}: {error}", core.name);
        }
    }

    fn end(&self, how: &str, error: BlockError) {
        log::error!("{}: the controller {how}", self.core.name);
        self.core.end(error);
    }

    async fn shut_down(&self) {
        let core = &*self.core;
        let limit = after(&*core.kernel, LAST_COMMANDS);
        while !core.queues().iter().all(|queue| queue.is_idle()) && core.kernel.now() < limit {
            for queue in core.queues() {
                queue.reap();
            }
            pause(&*core.kernel, Duration::from_millis(1)).await;
        }
        let time = self.data.shutdown.clamp(SHUTDOWN.0, SHUTDOWN.1);
        if let Err(error) = core.notify_shut_down(time).await {
            log::warn!("{}: shutdown: {error}", core.name);
        }
        if let Err(error) = core.disable().await {
            log::warn!("{}: shutdown: {error}", core.name);
        }
        core.end(BlockError::Removed);
    }
}

/// How long a tick is, and how many a command and an abort may take.
fn ticks(command: Duration, abort: Duration) -> (Duration, u8, u8) {
    let tick = (command / 10).min(abort / 2).max(Duration::from_millis(10));
    let count = |time: Duration| u8::try_from(nanos(time).div_ceil(nanos(tick))).unwrap_or(100).clamp(1, 100);
    (tick, count(command), count(abort))
}
