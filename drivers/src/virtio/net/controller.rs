//! A device: how it is brought up, and who holds it.
use super::Parts;
use super::card::{Card, wish};
use super::config::{Config, choose, feature};
use super::control::Control;
use super::pair::{Pair, ring};
use super::receive::Limits;
use crate::Kernel;
use crate::virtio::VirtioError;
use crate::virtio::handshake::{negotiate, reset};
use crate::virtio::transport::Transport;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use executor::{Event, Signal};
use net::nic::{Filter, Identity, Nic};
use spin::Mutex;

/// Most pairs of queues: each has a megabyte or two of memory.
const MOST_PAIRS: usize = 8;

/// A device that works.
pub struct Controller {
    card: Arc<Card>,
}

/// Brings a device up. Called on the CPU that is to watch over it.
///
/// # Errors
/// Why it can't be used. It knows no memory then.
pub async fn start(kernel: Arc<dyn Kernel>, parts: Parts) -> Result<Arc<Controller>, VirtioError> {
    let Parts { name, windows, interrupts, stop_dma } = parts;
    let transport = Arc::new(Transport::new(windows)?);
    reset(&*kernel, &transport).await?;
    // Without messages there is no more than one task that looks.
    let vectors = interrupts.as_ref().map_or(0, |interrupts| interrupts.vectors());
    let most = kernel.cpus().min(vectors).clamp(1, MOST_PAIRS);
    let features = negotiate(&transport, |offered| Ok(choose(offered, most > 1)))?;
    let config = Config::read(&transport, features);
    config.check()?;
    let has = |wanted| features & wanted != 0;
    let limits = Limits {
        merged: has(feature::MERGED_BUFFERS),
        longest: config.longest(),
        checksum: has(feature::GUEST_CHECKSUM),
        put_together: has(feature::GUEST_TSO4 | feature::GUEST_TSO6),
    };
    let count = most.min(config.pairs.into()).max(1);
    let mut pairs = Vec::with_capacity(count);
    for index in 0..count {
        let cpu = (index * kernel.cpus()).div_ceil(count);
        // At most eight.
        let place = (index as u16, cpu);
        pairs.push(Pair::new(place, &kernel, &transport, features, limits, index < vectors)?);
    }
    let control = match has(feature::CONTROL) {
        true => {
            // Behind all queues that there could be (5.1.2).
            let number = config.pairs.max(1).saturating_mul(2);
            let ring = ring(&*kernel, &transport, features, number)?;
            Some(Control::new(number, &kernel, &transport, ring).ok_or(VirtioError::NoMemory)?)
        }
        false => None,
    };
    let signal = Arc::new(Signal::new());
    let own_message = has(feature::STATUS) && vectors > count;
    let config_interrupt = own_message.then(|| kernel.interrupt(kernel.this_cpu(), signal.clone())).flatten();
    let card = Arc::new(Card {
        identity: Identity { name, model: "virtio network card".into(), mac: config.mac },
        // At most eight.
        abilities: config.abilities(features, count as u16),
        kernel,
        transport,
        interrupts,
        config_interrupt,
        features,
        config,
        pairs,
        control,
        stop_dma,
        signal,
        wishes: AtomicU32::new(0),
        filter: Mutex::new(Filter::default()),
        receiver: Mutex::new(None),
        link: AtomicBool::new(config.has_link),
        link_changes: AtomicU64::new(0),
        resets: AtomicU64::new(0),
        over: AtomicBool::new(false),
        ended: Event::new(),
    });
    card.connect();
    if let Err(error) = card.go().await {
        card.end().await;
        return Err(error);
    }
    card.start_tasks();
    let mac = config.mac;
    log::info!("{}: {mac}, {count} queues, mtu {}", card.identity.name, config.mtu);
    Ok(Arc::new(Controller { card }))
}

impl Controller {
    /// Its card.
    pub fn nic(&self) -> Arc<dyn Nic> {
        self.card.clone()
    }

    /// The bus says that it is gone: all frames are let go of soon.
    pub fn removed(&self) {
        self.card.wish(wish::REMOVED);
    }

    /// Waits until it is over: removed, given up or shut down.
    pub async fn ended(&self) {
        self.card.ended.wait().await;
    }

    /// Lets it finish what it has, for a moment, and ends it.
    pub async fn shut_down(&self) {
        self.card.wish(wish::SHUT_DOWN);
        self.card.ended.wait().await;
    }
}
