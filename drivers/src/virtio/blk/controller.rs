//! A device: how it is started, watched over and ended.
use super::Parts;
use super::disk::Disk;
use super::queue::{Format, Queue};
use crate::Kernel;
use crate::pci::MessageInterrupts;
use crate::request::wait::{after, nanos, signal_or, until};
use crate::virtio::VirtioError;
use crate::virtio::handshake::{self, let_go, negotiate, reset};
use crate::virtio::ring::{MOST_ENTRIES, Ring};
use crate::virtio::transport::{NO_VECTOR, Transport, status};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{BlockDevice, BlockError, Completion, Done, Features, Geometry, Identity, Operation, Request};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use core::time::Duration;
use executor::Signal;
use spin::Mutex;

/// How long a request may take before the device is reset. It is noticed up to a second later.
const REQUEST: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_secs(1);
/// How often a queue without interrupts is looked at while it has requests.
const POLL: Duration = Duration::from_micros(100);
/// How many resets in a row, none of which let a request succeed, until the device is given up.
const MOST_RESETS: u32 = 3;

/// Features (virtio 1.2, 5.2.3 and 6).
mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const READ_ONLY: u64 = 1 << 5;
    pub const BLOCK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const QUEUES: u64 = 1 << 12;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
    pub use super::handshake::feature::{EVENT_INDEX, VERSION_1};
    /// All that this driver makes use of.
    pub const KNOWN: u64 = SEG_MAX
        | READ_ONLY
        | BLOCK_SIZE
        | FLUSH
        | TOPOLOGY
        | QUEUES
        | DISCARD
        | WRITE_ZEROES
        | EVENT_INDEX
        | VERSION_1;
}

/// What is wished of the task that watches.
const REMOVED: u32 = 1;
const SHUT_DOWN: u32 = 2;

/// A device that works.
pub struct Controller {
    disk: Arc<Disk>,
    core: Arc<Core>,
}

struct Core {
    name: String,
    kernel: Arc<dyn Kernel>,
    transport: Arc<Transport>,
    interrupts: Option<Box<dyn MessageInterrupts>>,
    features: u64,
    queues: Vec<Arc<Queue>>,
    stop_dma: Box<dyn Fn() + Send + Sync>,
    wishes: AtomicU32,
    signal: Signal,
    over: Arc<AtomicBool>,
    ended: executor::Event,
}

/// Brings a device up. Called on the CPU that is to watch over it.
///
/// # Errors
/// Why it can't be used. It knows no memory then.
pub async fn start(kernel: Arc<dyn Kernel>, parts: Parts) -> Result<Arc<Controller>, VirtioError> {
    let Parts { number, windows, interrupts, stop_dma } = parts;
    let name = format!("virtio{number}");
    let transport = Arc::new(Transport::new(windows)?);
    reset(&*kernel, &transport).await?;
    let features = negotiate(&transport, choose)?;
    let count = queue_count(&*kernel, &transport, features, interrupts.as_deref());
    let mut queues: Vec<Arc<Queue>> = Vec::new();
    for index in 0..count {
        let size = transport.queue_size(index).min(MOST_ENTRIES);
        if size < 4 || !size.is_power_of_two() {
            return Err(VirtioError::Unfit("a queue's size makes no sense"));
        }
        let cpu = (usize::from(index) * kernel.cpus()).div_ceil(usize::from(count));
        let signal = Arc::new(Signal::new());
        let interrupt = interrupts.as_ref().and_then(|_| kernel.interrupt(cpu, signal.clone()));
        let event_index = features & feature::EVENT_INDEX != 0;
        let ring = Ring::new(&*kernel, size, event_index).ok_or(VirtioError::NoMemory)?;
        let queue = Queue::new(&name, index, &kernel, &transport, ring, (signal, interrupt));
        queues.push(queue.ok_or(VirtioError::NoMemory)?);
    }
    let core = Arc::new(Core {
        name,
        kernel: kernel.clone(),
        transport,
        interrupts,
        features,
        queues,
        stop_dma,
        wishes: AtomicU32::new(0),
        signal: Signal::new(),
        over: Arc::new(AtomicBool::new(false)),
        ended: executor::Event::new(),
    });
    match bring_up(&core).await {
        Ok(disk) => Ok(Arc::new(Controller { disk, core })),
        Err(error) => {
            core.end(BlockError::Removed).await;
            Err(error)
        }
    }
}

async fn bring_up(core: &Arc<Core>) -> Result<Arc<Disk>, VirtioError> {
    core.connect();
    core.enable()?;
    let (geometry, format) = read_geometry(core)?;
    for queue in &core.queues {
        queue.set_format(format);
        queue.open();
        let cpu = queue.interrupt.as_ref().map_or(core.kernel.this_cpu(), |interrupt| interrupt.cpu());
        core.kernel.spawn(cpu, "virtio completions", Box::pin(serve(core.clone(), queue.clone())));
    }
    let serial = read_serial(core).await?;
    let identity =
        Identity { name: core.name.clone(), model: "virtio disk".into(), serial, firmware: String::new() };
    let depth = core.queues.len();
    log::info!("{}: {depth} queues", core.name);
    core.kernel.spawn(core.kernel.this_cpu(), "virtio", Box::pin(watch(core.clone())));
    Ok(Arc::new(Disk {
        identity,
        geometry,
        kernel: core.kernel.clone(),
        queues: core.queues.clone(),
        over: core.over.clone(),
    }))
}

/// What this driver makes use of, of what a device offers.
fn choose(offered: u64) -> Result<u64, VirtioError> {
    if offered & feature::SIZE_MAX != 0 {
        return Err(VirtioError::Unfit("it limits the bytes of a piece of memory"));
    }
    Ok(offered & feature::KNOWN)
}

/// As many queues as there are CPUs, the device has, and messages for.
fn queue_count(
    kernel: &dyn Kernel,
    transport: &Transport,
    features: u64,
    interrupts: Option<&dyn MessageInterrupts>,
) -> u16 {
    let [.., word] = transport.read_own::<9>();
    let told = if features & feature::QUEUES != 0 { (word >> 16) as u16 } else { 1 };
    let has = told.min(transport.queues()).max(1);
    let messages = interrupts.map_or(1, |interrupts| interrupts.vectors());
    // At most what the device has, of 16 bits.
    kernel.cpus().min(messages).min(has.into()).max(1) as u16
}

/// What the device says of the disk (5.2.4).
fn read_geometry(core: &Core) -> Result<(Geometry, Format), VirtioError> {
    let words = core.transport.read_own::<15>();
    let has = |feature| core.features & feature != 0;
    let sectors = u64::from(words[0]) | u64::from(words[1]) << 32;
    let block_size = if has(feature::BLOCK_SIZE) { words[5] } else { 512 };
    if !block_size.is_power_of_two() || !(512..=4096).contains(&block_size) {
        return Err(VirtioError::Unfit("its blocks are not of 512 to 4096 bytes"));
    }
    let shift = block_size.trailing_zeros() - 9;
    let blocks = sectors >> shift;
    if blocks == 0 || sectors > 1 << 54 {
        return Err(VirtioError::Unfit("its size makes no sense"));
    }
    let exponent = if has(feature::TOPOLOGY) { (words[6] & 0xff).min(8) } else { 0 };
    let room = core.queues.iter().map(|queue| queue.most_pieces()).min().unwrap_or(1);
    let told = if has(feature::SEG_MAX) { words[3].max(1) as usize } else { room };
    let (discard_sectors, zero_sectors) = (words[9], words[12]);
    let some = |feature, sectors: u32| has(feature) && sectors >> shift != 0;
    let features = Features {
        read_only: has(feature::READ_ONLY),
        volatile_cache: has(feature::FLUSH),
        discard: some(feature::DISCARD, discard_sectors),
        write_zeroes: some(feature::WRITE_ZEROES, zero_sectors),
        solid_state: true,
    };
    let format = Format {
        shift,
        most_pieces: told.min(room),
        discard_sectors,
        zero_sectors,
        may_unmap: words[14] & 0xff != 0,
        flushes: has(feature::FLUSH),
    };
    let physical_block_size = block_size << exponent;
    let best_blocks = (1 << 20) / block_size;
    Ok((Geometry { block_size, blocks, physical_block_size, best_blocks, features }, format))
}

/// Raised when a request is done.
#[derive(Default)]
struct Answer {
    result: Mutex<Option<Result<(), BlockError>>>,
    signal: Signal,
}

impl Completion for Answer {
    fn complete(&self, _tag: u64, result: Result<(), BlockError>) {
        *self.result.lock() = Some(result);
        self.signal.raise();
    }
}

/// The disk's serial number; empty where it has none.
async fn read_serial(core: &Core) -> Result<String, VirtioError> {
    let memory = core.kernel.allocate_dma(20, false).ok_or(VirtioError::NoMemory)?;
    let Some(queue) = core.queues.first() else { return Ok(String::new()) };
    let answer = Arc::new(Answer::default());
    queue.ask_id(memory.address(), Done { to: answer.clone(), tag: 0 });
    signal_or(&*core.kernel, &answer.signal, after(&*core.kernel, REQUEST)).await;
    let result = answer.result.lock().take();
    let Some(result) = result else {
        // The device has the memory's address: it is reset before that is let go of.
        core.end(BlockError::TimedOut).await;
        return Err(VirtioError::Unanswered);
    };
    let mut bytes = [0; 20];
    if result.is_ok() {
        memory.copy_out(0, &mut bytes);
    }
    let chars = bytes.iter().map(|byte| char::from(*byte)).take_while(|c| *c != '\0');
    let text: String = chars.filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    Ok(text.trim().into())
}

/// The task of a queue.
async fn serve(core: Arc<Core>, queue: Arc<Queue>) {
    let kernel = &*core.kernel;
    while !core.over.load(Ordering::Relaxed) {
        let polled = queue.interrupt.is_none() && queue.has_requests();
        let deadline = after(kernel, if polled { POLL } else { TICK });
        signal_or(kernel, &queue.signal, deadline).await;
        queue.reap();
        if queue.troubled.load(Ordering::Relaxed) {
            core.signal.raise();
        }
    }
}

/// The task that watches over the device.
async fn watch(core: Arc<Core>) {
    let mut resets = 0;
    loop {
        signal_or(&*core.kernel, &core.signal, after(&*core.kernel, TICK)).await;
        let wishes = core.wishes.swap(0, Ordering::AcqRel);
        let state = core.transport.status();
        if wishes & REMOVED != 0 || state == u8::MAX {
            return core.end(BlockError::Removed).await;
        }
        if wishes & SHUT_DOWN != 0 {
            return core.shut_down().await;
        }
        let time = core.kernel.now().saturating_sub(nanos(REQUEST));
        let late = core.queues.iter().any(|queue| queue.is_late(time));
        let troubled = core.queues.iter().any(|queue| queue.troubled.load(Ordering::Relaxed));
        if !late && !troubled && state & status::NEEDS_RESET == 0 {
            continue;
        }
        let progress = core.queues.iter().fold(false, |any, queue| {
            let some = queue.progress.swap(false, Ordering::Relaxed);
            any || some
        });
        resets = if progress { 1 } else { resets + 1 };
        let why = if late { "a request takes too long" } else { "it does not behave" };
        log::warn!("{}: {why}: reset", core.name);
        let back = resets <= MOST_RESETS && core.reset().await.is_ok();
        if !back {
            log::error!("{}: given up", core.name);
            return core.end(BlockError::TimedOut).await;
        }
    }
}

impl Core {
    /// Connects the messages.
    fn connect(&self) {
        let Some(messages) = &self.interrupts else { return };
        for queue in &self.queues {
            let message = queue.interrupt.as_ref().map(|interrupt| interrupt.message());
            messages.connect(queue.number.into(), message);
        }
    }

    /// Names all queues to a device that has agreed on features, and lets it go.
    fn enable(&self) -> Result<(), VirtioError> {
        self.transport.set_config_vector(NO_VECTOR);
        for queue in &self.queues {
            let vector = if queue.interrupt.is_some() { queue.number } else { NO_VECTOR };
            if !queue.enable(vector) {
                return Err(VirtioError::Unfit("it does not take a queue"));
            }
        }
        let_go(&self.transport);
        Ok(())
    }

    /// Resets the device; what it had is done with [`BlockError::TimedOut`].
    async fn reset(&self) -> Result<(), VirtioError> {
        self.queues.iter().for_each(|queue| queue.hold());
        reset(&*self.kernel, &self.transport).await?;
        self.queues.iter().for_each(|queue| queue.empty(BlockError::TimedOut));
        if negotiate(&self.transport, choose)? != self.features {
            return Err(VirtioError::Features);
        }
        self.enable()?;
        self.queues.iter().for_each(|queue| queue.open());
        Ok(())
    }

    /// Ends all requests with `error`.
    async fn end(&self, error: BlockError) {
        if self.over.swap(true, Ordering::AcqRel) {
            return;
        }
        self.queues.iter().for_each(|queue| queue.hold());
        // Whether or not that works, its way to memory is taken.
        let _ = reset(&*self.kernel, &self.transport).await;
        (self.stop_dma)();
        self.transport.close();
        if let Some(messages) = &self.interrupts {
            self.queues.iter().for_each(|queue| messages.connect(queue.number.into(), None));
        }
        for queue in &self.queues {
            queue.empty(error);
            queue.close(error);
            queue.signal.raise();
        }
        self.ended.set();
    }

    async fn shut_down(&self) {
        let idle = || self.queues.iter().all(|queue| queue.is_idle());
        if !until(&*self.kernel, REQUEST, idle).await {
            log::warn!("{}: still busy when the machine is switched off", self.name);
        }
        if let Some(queue) = self.queues.first().filter(|_| self.features & feature::FLUSH != 0) {
            let answer = Arc::new(Answer::default());
            let done = Done { to: answer.clone(), tag: 0 };
            queue.submit(Request { operation: Operation::Flush, block: 0, blocks: 0, segments: &[], done });
            queue.start();
            signal_or(&*self.kernel, &answer.signal, after(&*self.kernel, REQUEST)).await;
        }
        self.end(BlockError::Removed).await;
    }
}

impl Controller {
    /// Its disk: `virtio0`, ...
    pub fn disk(&self) -> Arc<dyn BlockDevice> {
        self.disk.clone()
    }

    /// How many queues it has.
    pub fn queues(&self) -> usize {
        self.core.queues.len()
    }

    /// Takes completions of the calling CPU's queue now, if there are any, and tells whoever waits: for a CPU's loop
    /// or exit handler that does not want to wait for the interrupt. Whether there were some.
    #[inline]
    pub fn poll(&self) -> bool {
        self.disk.queue().poll()
    }

    /// Whether it is there and works.
    pub fn is_present(&self) -> bool {
        !self.core.over.load(Ordering::Relaxed)
    }

    /// The bus says that it is gone: all requests are done with [`BlockError::Removed`] soon.
    pub fn removed(&self) {
        self.wish(REMOVED);
    }

    fn wish(&self, wish: u32) {
        self.core.wishes.fetch_or(wish, Ordering::AcqRel);
        self.core.signal.raise();
    }

    /// Waits until it is over: removed, given up or shut down.
    pub async fn ended(&self) {
        self.core.ended.wait().await;
    }

    /// Lets it finish what it has and write back its cache: before the power is switched off. Requests that come
    /// later fail.
    pub async fn shut_down(&self) {
        self.wish(SHUT_DOWN);
        self.core.ended.wait().await;
    }
}
