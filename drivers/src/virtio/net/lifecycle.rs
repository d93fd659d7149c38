//! How a card is let go, watched over, reset and ended: the task that does so, and those of its queues.
use super::card::{Card, wish};
use super::config::{Config, feature};
use super::control::Command;
use crate::request::wait::{after, nanos, signal_or, until};
use crate::virtio::VirtioError;
use crate::virtio::handshake::{let_go, negotiate, reset};
use crate::virtio::transport::{NO_VECTOR, status};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;
use core::time::Duration;

const TICK: Duration = Duration::from_secs(1);
/// How often queues without interrupts are looked at.
const POLL: Duration = Duration::from_micros(100);
/// How long the device may keep all frames before it is reset. It is noticed up to a second later.
const SEND: Duration = Duration::from_secs(5);
/// Longest that a batch of frames is looked at by who gets them.
const HAND_OVER: Duration = Duration::from_secs(5);
/// How long frames may take that are under way when it is shut down.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// How many resets in a row, none of which let a frame through, until the device is given up.
const MOST_RESETS: u32 = 3;

impl Card {
    /// Starts the tasks: those of the queues where they belong, the one that watches here.
    pub fn start_tasks(self: &Arc<Self>) {
        for (index, pair) in self.pairs.iter().enumerate() {
            self.kernel.spawn(pair.cpu, "virtio-net queues", Box::pin(serve(self.clone(), index)));
        }
        self.kernel.spawn(self.kernel.this_cpu(), "virtio-net", Box::pin(watch(self.clone())));
    }

    /// Connects the messages.
    pub fn connect(&self) {
        let Some(messages) = &self.interrupts else { return };
        for (vector, pair) in self.pairs.iter().enumerate() {
            messages.connect(vector, pair.interrupt.as_ref().map(|interrupt| interrupt.message()));
        }
        if let Some(interrupt) = &self.config_interrupt {
            messages.connect(self.pairs.len(), Some(interrupt.message()));
        }
    }

    fn disconnect(&self) {
        let Some(messages) = &self.interrupts else { return };
        let config = usize::from(self.config_interrupt.is_some());
        (0..self.pairs.len() + config).for_each(|vector| messages.connect(vector, None));
    }

    /// Names all queues to a device that has agreed on features, and lets it go.
    pub async fn go(&self) -> Result<(), VirtioError> {
        // At most eight.
        let last = self.pairs.len() as u16;
        let vector = if self.config_interrupt.is_some() { last } else { NO_VECTOR };
        if !self.transport.set_config_vector(vector) {
            return Err(VirtioError::Unfit("it does not take a message"));
        }
        self.pairs.iter().try_for_each(|pair| pair.enable())?;
        if let Some(control) = &self.control {
            control.enable()?;
        }
        let_go(&self.transport);
        if let Some(control) = self.control.as_ref().filter(|_| last > 1)
            && !control.give(Command::Pairs(last)).await?
        {
            return Err(VirtioError::Unfit("it does not take as many queues as it has"));
        }
        self.apply_filter().await?;
        self.pairs.iter().for_each(|pair| pair.open());
        Ok(())
    }

    /// Tells the device which frames are wanted. One that can't be told sends what it likes.
    async fn apply_filter(&self) -> Result<(), VirtioError> {
        let wanted = self.filter.lock().clone();
        let control = self.control.as_ref().filter(|_| self.features & feature::CONTROL_RECEIVE != 0);
        let Some(control) = control else { return Ok(()) };
        let all_groups = wanted.all_groups || !wanted.groups.is_empty();
        for command in [Command::Promiscuous(wanted.promiscuous), Command::AllGroups(all_groups)] {
            if !control.give(command).await? {
                log::warn!("{}: it does not take {command:?}", self.identity.name);
            }
        }
        Ok(())
    }

    /// Looks whether there is a link, and tells of a change.
    fn look_at_link(&self) {
        let up = Config::read(&self.transport, self.features).has_link;
        if up == self.link.load(Ordering::Relaxed) {
            return;
        }
        if up {
            self.pairs.iter().for_each(|pair| pair.sending.link_up());
        }
        self.link.store(up, Ordering::Relaxed);
        self.link_changes.fetch_add(1, Ordering::Relaxed);
        log::info!("{}: link {}", self.identity.name, if up { "up" } else { "down" });
        if let Some(receiver) = self.receiver() {
            receiver.link_changed();
        }
    }

    /// Resets the device and sets it up anew; what it had is let go of.
    async fn reset(&self) -> Result<(), VirtioError> {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.pairs.iter().for_each(|pair| pair.hold());
        reset(&*self.kernel, &self.transport).await?;
        // The device is not to get buffers in which somebody still reads.
        let rest = || self.pairs.iter().all(|pair| pair.receiving.rests());
        if !until(&*self.kernel, HAND_OVER, rest).await {
            return Err(VirtioError::Unanswered);
        }
        self.pairs.iter().for_each(|pair| pair.empty());
        let same = |offered| {
            let all = offered & self.features == self.features;
            if all { Ok(self.features) } else { Err(VirtioError::Features) }
        };
        negotiate(&self.transport, same)?;
        self.go().await
    }

    /// Lets go of the device, and of all that it had.
    pub async fn end(&self) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        self.pairs.iter().for_each(|pair| pair.hold());
        // Whether or not that works, its way to memory is taken.
        let _ = reset(&*self.kernel, &self.transport).await;
        (self.stop_dma)();
        self.transport.close();
        self.disconnect();
        for pair in &self.pairs {
            pair.empty();
            pair.sending.close();
            pair.signal.raise();
        }
        // Who gets frames may know the card: neither keeps the other from now on.
        let receiver = self.receiver.lock().take();
        if let Some(receiver) = receiver {
            receiver.link_changed();
        }
        self.ended.set();
    }

    async fn shut_down(&self) {
        let idle = || self.pairs.iter().all(|pair| pair.sending.is_idle());
        if !until(&*self.kernel, LAST_FRAMES, idle).await {
            log::warn!("{}: frames under way are given up", self.identity.name);
        }
        self.end().await;
    }

    /// Why the device is to be reset, if it is, and whether it has done anything since it last was.
    fn trouble(&self, state: u8) -> Option<(&'static str, bool)> {
        let long_ago = self.kernel.now().saturating_sub(nanos(SEND));
        let up = self.link.load(Ordering::Relaxed);
        let late = up && self.pairs.iter().any(|pair| pair.sending.is_late(long_ago));
        if !late && state & status::NEEDS_RESET == 0 && !self.pairs.iter().any(|pair| pair.is_troubled()) {
            return None;
        }
        let mut progress = false;
        for pair in &self.pairs {
            progress |= pair.sending.progress.swap(false, Ordering::Relaxed);
            // That frames come says nothing of those that don't go.
            progress |= pair.receiving.progress.swap(false, Ordering::Relaxed) && !late;
        }
        Some((if late { "it sends nothing" } else { "it does not behave" }, progress))
    }
}

/// The task of two queues.
async fn serve(card: Arc<Card>, index: usize) {
    let Some(pair) = card.pairs.get(index) else { return };
    let kernel = &*card.kernel;
    while !card.over.load(Ordering::Relaxed) {
        let pause = if pair.interrupt.is_none() { POLL } else { TICK };
        signal_or(kernel, &pair.signal, after(kernel, pause)).await;
        let receiver = card.receiver();
        let more = pair.receiving.poll(receiver.as_deref());
        if pair.sending.poll()
            && let Some(receiver) = &receiver
        {
            receiver.room();
        }
        if pair.is_troubled() {
            card.signal.raise();
        }
        if more {
            // Others want to run, too.
            pair.signal.raise();
        }
    }
}

/// The task that watches over the device.
async fn watch(card: Arc<Card>) {
    let mut resets = 0;
    loop {
        signal_or(&*card.kernel, &card.signal, after(&*card.kernel, TICK)).await;
        let wishes = card.wishes.swap(0, Ordering::AcqRel);
        let state = card.transport.status();
        if wishes & wish::REMOVED != 0 || state == u8::MAX {
            return card.end().await;
        }
        if wishes & wish::SHUT_DOWN != 0 {
            return card.shut_down().await;
        }
        card.look_at_link();
        let unanswered = wishes & wish::FILTER != 0 && card.apply_filter().await.is_err();
        let trouble = card.trouble(state);
        let (why, progress) = match trouble {
            Some(trouble) => trouble,
            None if unanswered => ("it does not answer a command", false),
            None => continue,
        };
        resets = if progress { 1 } else { resets + 1 };
        log::warn!("{}: {why}: reset", card.identity.name);
        let back = resets <= MOST_RESETS && card.reset().await.is_ok();
        if !back {
            log::error!("{}: given up", card.identity.name);
            return card.end().await;
        }
    }
}
