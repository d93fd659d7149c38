//! A card: how it is started, watched over and ended.
use super::Parts;
use super::card::Card;
use super::chip::Chip;
use super::counters::{Statistic, Tallies, add};
use super::error::E1000Error;
use super::filter::Filters;
use super::hardware;
use super::messages::Messages;
use super::pace::{Load, Pace};
use super::receive::Receive;
use super::registers::{CRCERRS, MPC, RDT, RXERRC, STATUS, Window};
use super::shared::{Shared, wish};
use super::transmit::{MTU, Mode, Transmit};
use crate::Kernel;
use crate::request::wait::{after, nanos, until};
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::task::Poll;
use core::time::Duration;
use executor::Signal;
use net::nic::{Abilities, Filter, Identity, Nic};
use spin::Mutex;

/// How often the card is looked at for what it does not tell.
const TICK: Duration = Duration::from_secs(1);
/// How long it may have frames and send none.
const HANG: Duration = Duration::from_secs(2);
/// Longest that frames under way are waited for when the machine is switched off.
const LAST_FRAMES: Duration = Duration::from_secs(1);
/// Most frames that are taken in one go, before other tasks get their turn.
const GO: usize = 256;

/// A card that works.
pub struct Controller {
    card: Arc<Card>,
}

/// Brings a card up. Called on the CPU that is to serve it.
///
/// # Errors
/// Why it can't be used. It knows no memory then.
pub async fn start(kernel: Arc<dyn Kernel>, parts: Parts) -> Result<Arc<Controller>, E1000Error> {
    let Parts { name, device, registers, interrupts, stop_dma } = parts;
    let chip = Chip::of(device).ok_or(E1000Error::Unknown(device))?;
    let window = Window::new(registers).ok_or(E1000Error::NoRegisters)?;
    hardware::reset(&*kernel, chip, &window).await?;
    let mac = hardware::address(&*kernel, chip, &window).await?;
    let (transmit, receive) = (Transmit::new(&*kernel, chip), Receive::new(&*kernel));
    let (Some(transmit), Some(mut receive)) = (transmit, receive) else { return Err(E1000Error::NoMemory) };
    let (work, link) = (Arc::new(Signal::new()), Arc::new(Signal::new()));
    let messages = Messages::new(&*kernel, chip, interrupts, [&work, &link]);
    let shared = Arc::new(Shared {
        name: name.clone(),
        kernel: kernel.clone(),
        chip,
        window,
        mac,
        messages,
        transmit: Mutex::new(transmit),
        receiver: Mutex::new(None),
        filter: Mutex::new(Filter::default()),
        tallies: Tallies::default(),
        state: AtomicU32::new(0),
        wishes: AtomicU32::new(0),
        work,
        link,
        rests: AtomicBool::new(false),
        over: AtomicBool::new(false),
        ended: executor::Event::new(),
        stop_dma,
    });
    let filters = set_up(&shared, &mut receive);
    let state = shared.window.read(STATUS);
    if state == u32::MAX {
        shared.end().await;
        return Err(E1000Error::Gone);
    }
    shared.state.store(state, Ordering::Release);
    let model = match (chip, device) {
        (Chip::I82574, _) => "Intel 82574L",
        (_, 0x100e) => "Intel 82540EM",
        _ => "Intel 82545EM",
    };
    let how = if shared.messages.are_none() { "polled" } else { "with messages" };
    log::info!("{name}: {model}, {mac}, {how}");
    let identity = Identity { name, model: model.into(), mac };
    let abilities =
        Abilities { mtu: MTU, checksum: true, tcp4: true, tcp6: chip.cuts_v6(), verifies: true, queues: 1 };
    let task = Task { shared: shared.clone(), receive, filters, statistics: Default::default() };
    kernel.spawn(kernel.this_cpu(), "e1000", Box::pin(task.run()));
    Ok(Arc::new(Controller { card: Arc::new(Card { identity, abilities, shared }) }))
}

/// Sets a card up that was reset, and lets it go.
fn set_up(shared: &Shared, receive: &mut Receive) -> Filters {
    let tail = receive.restart();
    let mut transmit = shared.transmit.lock();
    transmit.restart();
    hardware::set_up(shared.chip, &shared.window, shared.mac, transmit.address(), receive.address());
    let mut filters = Filters::new();
    filters.apply(&shared.window, &shared.filter.lock());
    shared.window.write(RDT, tail.into());
    shared.messages.enable(&shared.window);
    transmit.set_mode(Mode::Open);
    filters
}

/// The task of a card.
struct Task {
    shared: Arc<Shared>,
    receive: Receive,
    filters: Filters,
    statistics: [Statistic; 3],
}

impl Task {
    async fn run(mut self) {
        let shared = self.shared.clone();
        let kernel = &*shared.kernel;
        let (mut pace, mut load) = (Pace::new(), Load::default());
        let mut tick = after(kernel, TICK);
        let mut wait = Duration::ZERO;
        loop {
            let asked = wait_for(&shared, after(kernel, wait).min(tick)).await;
            let wishes = shared.wishes.swap(0, Ordering::AcqRel);
            if wishes & wish::REMOVED != 0 {
                return shared.end().await;
            }
            if wishes & wish::SHUT_DOWN != 0 {
                until(kernel, LAST_FRAMES, || {
                    shared.reap();
                    shared.transmit.lock().under_way() == 0
                })
                .await;
                return shared.end().await;
            }
            if wishes & wish::FILTER != 0 {
                self.filters.apply(&shared.window, &shared.filter.lock());
            }
            if asked {
                shared.messages.listen_to_link(&shared.window);
            }
            if shared.messages.acknowledge(&shared.window) || asked {
                let state = shared.window.read(STATUS);
                if state == u32::MAX {
                    return shared.end().await;
                }
                shared.see(state);
            }
            let (came, went) = (shared.deliver(&mut self.receive, GO), shared.reap());
            if let Some(loaded) = load.after(came) {
                shared.messages.moderate(&shared.window, loaded);
            }
            if kernel.now() >= tick {
                tick = after(kernel, TICK);
                if self.look().await.is_err() {
                    return shared.end().await;
                }
            }
            if came == GO {
                shared.work.raise();
                executor::yield_now().await;
            } else if shared.messages.are_none() {
                // Before the look whether it may rest: who sends after that look sees that it does.
                shared.rests.store(true, Ordering::Release);
                let busy = came + went > 0 || shared.is_waited_for();
                if busy {
                    shared.rests.store(false, Ordering::Relaxed);
                }
                wait = pace.next(busy);
            } else {
                shared.messages.listen(&shared.window);
                wait = TICK;
            }
        }
    }

    /// Looks at what the card does not tell: that it is gone or hangs, its link, its statistics. An error is its end.
    async fn look(&mut self) -> Result<(), E1000Error> {
        let shared = self.shared.clone();
        let window = &shared.window;
        let state = window.read(STATUS);
        if state == u32::MAX {
            log::warn!("{}: it is gone", shared.name);
            return Err(E1000Error::Gone);
        }
        shared.see(state);
        let [missed, damaged, broken] = &mut self.statistics;
        add(&shared.tallies.receive_missed, missed.look(|| window.read(MPC)));
        let errors = damaged.look(|| window.read(CRCERRS)) + broken.look(|| window.read(RXERRC));
        add(&shared.tallies.receive_errors, errors);
        let disordered = self.receive.is_disordered();
        let hangs = shared.transmit.lock().hangs(shared.kernel.now(), nanos(HANG));
        if !disordered && !hangs {
            return Ok(());
        }
        if disordered {
            add(&shared.tallies.receive_errors, 1);
        }
        let why = if hangs { "it sends nothing" } else { "it fills buffers out of order" };
        log::warn!("{}: {why}: reset", shared.name);
        add(&shared.tallies.resets, 1);
        let reset = shared.quiesce().await;
        reset.inspect_err(|error| log::error!("{}: given up: {error}", shared.name))?;
        self.filters = set_up(&shared, &mut self.receive);
        self.statistics = Default::default();
        shared.tell_of_room();
        Ok(())
    }
}

/// Waits for work, or `deadline`. Whether the link is to be looked at.
async fn wait_for(shared: &Shared, deadline: u64) -> bool {
    let (mut work, mut link) = (pin!(shared.work.wait()), pin!(shared.link.wait()));
    let mut late = pin!(shared.kernel.timers().sleep_until(deadline));
    poll_fn(|context| {
        if link.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        let due = work.as_mut().poll(context).is_ready() || late.as_mut().poll(context).is_ready();
        if due { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

impl Controller {
    /// The card, to those above.
    pub fn nic(&self) -> Arc<dyn Nic> {
        self.card.clone()
    }

    /// Whether it is there and works.
    pub fn is_present(&self) -> bool {
        self.card.is_present()
    }

    /// The bus says that it is gone: all frames are let go of soon.
    pub fn removed(&self) {
        self.card.shared.wish(wish::REMOVED);
    }

    /// Waits until it is over: removed, given up or shut down.
    pub async fn ended(&self) {
        self.card.shared.ended.wait().await;
    }

    /// Lets it send what it has, for a second at most, and ends it: before the power is switched off. It takes no frames
    /// after that.
    pub async fn shut_down(&self) {
        self.card.shared.wish(wish::SHUT_DOWN);
        self.card.shared.ended.wait().await;
    }
}
