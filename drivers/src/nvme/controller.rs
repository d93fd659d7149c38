//! A controller: how it is started, and what it tells to whoever has it.
use super::admin::Admin;
use super::command::{Cns, LogPage};
use super::counters::Counters;
use super::error::NvmeError;
use super::health::Health;
use super::identify::{CommandLimits, ControllerData, NamespaceData, Sgl};
use super::lifecycle::{Core, Queues, deal, server};
use super::namespace::{Namespace, Place};
use super::pointers::MOST_BYTES;
use super::queue::{BATCH, Queue, Terms, Vector};
use super::registers::{PAGE_BYTES, Version, Window};
use super::ring::MOST_ENTRIES;
use super::shadow::Shadow;
use super::supervisor::{Supervisor, serve};
use super::wishes::{Wish, Wishes};
use super::{Limits, Parts};
use crate::Kernel;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::BlockDevice;
use core::sync::atomic::{AtomicBool, Ordering};

/// Most namespaces that are used.
const MOST_NAMESPACES: usize = 64;

/// A controller that works.
pub struct Controller {
    core: Arc<Core>,
    namespaces: Vec<Arc<Namespace>>,
    info: Info,
}

/// What a controller says of itself, and what the driver makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// As it is called: `nvme0`.
    pub name: String,
    /// Maker and model.
    pub model: String,
    /// Serial number.
    pub serial: String,
    /// Revision of its firmware.
    pub firmware: String,
    /// The specification that it follows.
    pub version: Version,
    /// I/O queue pairs.
    pub queues: usize,
    /// Commands that each holds.
    pub depth: u16,
    /// Most bytes of one command.
    pub most_bytes: u64,
    /// It has a volatile write cache.
    pub volatile_cache: bool,
    /// It takes scatter-gather lists.
    pub scatter_gather: bool,
}

/// Brings a controller up and finds its namespaces. Called on the CPU that is to watch over it.
///
/// # Errors
/// Why it can't be used. It has been stopped then, and knows no memory.
pub async fn start(
    kernel: Arc<dyn Kernel>,
    parts: Parts,
    limits: Limits,
) -> Result<Arc<Controller>, NvmeError> {
    let Parts { number, registers, interrupts, stop_dma } = parts;
    let name = format!("nvme{number}");
    let bytes = registers.bytes();
    let window = Arc::new(Window::new(registers).ok_or(NvmeError::Gone)?);
    let capabilities = window.capabilities;
    if capabilities.command_set().is_none() {
        return Err(NvmeError::NoCommandSet);
    }
    if capabilities.smallest_page() > PAGE_BYTES {
        return Err(NvmeError::PageSize(capabilities.smallest_page()));
    }
    if capabilities.most_entries() < 2 {
        return Err(NvmeError::Queues("one of them has less than two entries"));
    }
    // The admin queues and one pair at least.
    if window.pairs() < 2 {
        return Err(NvmeError::Window(bytes));
    }
    let wishes = Arc::new(Wishes::default());
    let vector = Core::connect(&*kernel, &*interrupts, 0, kernel.this_cpu())?;
    let Some(admin) = Admin::new(&name, &kernel, &window, &wishes, vector, limits.admin) else {
        interrupts.connect(0, None);
        return Err(NvmeError::NoMemory);
    };
    let core = Core::new(name, kernel, window, interrupts, stop_dma, limits, admin, wishes);
    let core = Arc::new(core);
    match bring_up(&core).await {
        Ok(controller) => Ok(controller),
        Err(error) => {
            // Reset, or else its way to memory is taken when `core` goes.
            let _ = core.disable().await;
            core.end(block::BlockError::Removed);
            Err(error)
        }
    }
}

async fn bring_up(core: &Arc<Core>) -> Result<Arc<Controller>, NvmeError> {
    core.disable().await?;
    core.enable().await?;
    let data = core.admin.identify("Identify Controller", Cns::CONTROLLER, 0).await?;
    let data = ControllerData::read(&data);
    if !data.does_io {
        return Err(NvmeError::NoIo);
    }
    if data.smallest_entries.0 > 6 || data.smallest_entries.1 > 4 {
        return Err(NvmeError::Queues("their entries are not of 64 and 16 bytes"));
    }
    let entries = u32::from(core.limits.depth.clamp(1, MOST_ENTRIES - 1)) + 1;
    let terms = Arc::new(Terms {
        name: core.name.clone(),
        kernel: core.kernel.clone(),
        window: core.window.clone(),
        wishes: core.wishes.clone(),
        // Without memory for them, there are still the others.
        shadow: data.shadow_doorbells.then(|| Shadow::new(&*core.kernel)).flatten().map(Arc::new),
        // At most MOST_ENTRIES.
        entries: entries.min(core.window.capabilities.most_entries()) as u16,
        most_bytes: data.most_bytes.unwrap_or(MOST_BYTES).min(MOST_BYTES),
        sgl: data.sgl,
        retries: core.limits.retries,
        retry_delays: data.retry_delays,
    });
    let queues = core.queues.call_once({
        let queues = make_queues(core, &terms).await?;
        || Arc::new(queues)
    });
    core.create_queues(queues.shadow.as_deref()).await?;
    let places = find_namespaces(core, &data).await?;
    let limits = find_limits(core, &data).await?;
    core.configure(&data).await;
    queues.list.iter().for_each(Queue::resume);
    let info = Info {
        name: core.name.clone(),
        model: data.model.clone(),
        serial: data.serial.clone(),
        firmware: data.firmware.clone(),
        version: data.version,
        queues: queues.list.len(),
        depth: terms.entries - 1,
        most_bytes: terms.most_bytes,
        volatile_cache: data.volatile_cache,
        scatter_gather: data.sgl != Sgl::No,
    };
    let device = |place: &Arc<Place>| {
        let (core, queues, place) = (core.clone(), queues.clone(), place.clone());
        Arc::new(Namespace::new(core, queues, place, &data, limits, terms.most_bytes))
    };
    let namespaces = places.iter().map(device).collect();
    spawn_tasks(core, queues);
    let here = core.kernel.this_cpu();
    let supervisor = Supervisor::new(core.clone(), data, places);
    core.kernel.spawn(here, "nvme supervisor", Box::pin(supervisor.watch()));
    Ok(Arc::new(Controller { core: core.clone(), namespaces, info }))
}

/// Makes as many queues as there are CPUs, messages, vectors, doorbells, and the controller gives.
async fn make_queues(core: &Arc<Core>, terms: &Arc<Terms>) -> Result<Queues, NvmeError> {
    let cpus = core.kernel.cpus().max(1);
    let messages = core.interrupts.vectors();
    // The admin queues and the first pair share a message if there is only one.
    let own = messages.saturating_sub(1).max(1);
    let most = cpus.min(own).min(core.limits.queues.max(1).into());
    let most = most.min(usize::try_from(core.window.pairs() - 1).unwrap_or(usize::MAX));
    let given = core.ask_for_queues(u16::try_from(most).unwrap_or(u16::MAX)).await?;
    let vectors = if messages < 2 {
        alloc::vec![core.admin.vector.clone()]
    } else {
        connect_queues(core, cpus, given.into())?
    };
    let by_cpu = deal(cpus, vectors.len());
    let mut list = Vec::new();
    for (index, vector) in vectors.into_iter().enumerate() {
        // Queue 0 is the admin queue.
        let queue = Queue::new(terms, index as u16 + 1, vector.clone());
        list.push(queue.ok_or(NvmeError::NoMemory)?);
    }
    Ok(Queues { list, shadow: terms.shadow.clone(), by_cpu })
}

/// Vectors for up to `wanted` queues: fewer, where a CPU has none left.
fn connect_queues(core: &Core, cpus: usize, wanted: usize) -> Result<Vec<Arc<Vector>>, NvmeError> {
    let mut wanted = wanted;
    loop {
        let connect = |queue| {
            let cpu = server(cpus, wanted, queue);
            Core::connect(&*core.kernel, &*core.interrupts, queue as u16 + 1, cpu)
        };
        let vectors: Vec<_> = (0..wanted).map_while(|queue| connect(queue).ok()).collect();
        if vectors.len() == wanted {
            return Ok(vectors);
        }
        let count = vectors.len();
        for vector in &vectors {
            core.interrupts.connect(vector.number.into(), None);
        }
        // Others are to be served by other CPUs.
        wanted = count.min(wanted - 1);
        if wanted == 0 {
            return Err(NvmeError::NoInterrupt);
        }
    }
}

/// The namespaces that can be used; a line on each that can't.
async fn find_namespaces(core: &Arc<Core>, data: &ControllerData) -> Result<Vec<Arc<Place>>, NvmeError> {
    let mut ids = Vec::new();
    match core.admin.identify("Identify (active namespaces)", Cns::ACTIVE_NAMESPACES, 0).await {
        Ok(page) => {
            // In order, without 0, which ends it; what is not is no list.
            let mut last = 0;
            for at in (0..4096).step_by(4) {
                let id = page.u32(at);
                if id == 0 {
                    break;
                }
                if id <= last || id > 0xffff_fffe {
                    log::warn!("{}: its list of namespaces makes no sense after {last}", core.name);
                    break;
                }
                last = id;
                ids.push(id);
            }
        }
        Err(NvmeError::Refused(..)) => ids.extend((1..=data.namespaces).take(MOST_NAMESPACES)),
        Err(error) => return Err(error),
    }
    if ids.len() > MOST_NAMESPACES {
        log::warn!("{}: {} namespaces: the first {MOST_NAMESPACES} of them are used", core.name, ids.len());
        ids.truncate(MOST_NAMESPACES);
    }
    let mut places = Vec::new();
    for id in ids {
        let name = Namespace::name(&core.name, id);
        match core.admin.identify("Identify Namespace", Cns::NAMESPACE, id).await {
            Ok(page) => match NamespaceData::read(&page) {
                Ok(data) => places.push(Arc::new(Place { id, name, data, gone: AtomicBool::new(false) })),
                Err(bad) => log::warn!("{name}: not used: {bad}"),
            },
            Err(NvmeError::Refused(what, status)) => {
                log::warn!("{name}: not used: {what} is refused with status {status}");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(places)
}

/// What one command may cover, where the controller is new enough to say.
async fn find_limits(core: &Core, data: &ControllerData) -> Result<CommandLimits, NvmeError> {
    if data.version < Version::V2_0 {
        return Ok(CommandLimits::NONE);
    }
    match core.admin.identify("Identify (NVM command set)", Cns::NVM_CONTROLLER, 0).await {
        Ok(page) => Ok(CommandLimits::read(&page)),
        Err(NvmeError::Refused(..)) => Ok(CommandLimits::NONE),
        Err(error) => Err(error),
    }
}

/// A task for each message, on the CPU that takes it.
fn spawn_tasks(core: &Arc<Core>, queues: &Queues) {
    let kernel = &core.kernel;
    let admin = &core.admin.vector;
    let shared = queues.list.iter().position(|queue| queue.vector.number == admin.number);
    kernel.spawn(admin.interrupt.cpu(), "nvme admin", Box::pin(serve(core.clone(), true, shared)));
    for (index, queue) in queues.list.iter().enumerate().filter(|(index, _)| Some(*index) != shared) {
        let task = Box::pin(serve(core.clone(), false, Some(index)));
        kernel.spawn(queue.vector.interrupt.cpu(), "nvme completions", task);
    }
}

impl Controller {
    /// What it is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Its namespaces, by identifier: `nvme0n1`, ...
    pub fn namespaces(&self) -> Vec<Arc<dyn BlockDevice>> {
        self.namespaces.iter().map(|namespace| namespace.clone() as Arc<dyn BlockDevice>).collect()
    }

    /// Takes completions of the calling CPU's queue now, if there are any, and tells whoever waits: for a CPU's loop
    /// or exit handler that does not want to wait for the interrupt. Without completions it costs two loads.
    /// Whether there were some.
    #[inline]
    pub fn poll(&self) -> bool {
        let Some(queues) = self.core.queues.get() else { return false };
        let queue = queues.of(self.core.kernel.this_cpu());
        let taken = queue.reap();
        if taken >= BATCH {
            // More may be there, which this caller shall not wait for.
            queue.vector.signal.raise();
        }
        taken != 0
    }

    /// What it has done so far.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters { resets: self.core.resets.load(Ordering::Relaxed), ..Counters::default() };
        for queue in self.core.queues() {
            sum += queue.counters();
        }
        sum
    }

    /// Asks for its health.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn health(&self) -> Result<Health, NvmeError> {
        let page = self.core.admin.log_page("Get Log Page (health)", LogPage::HEALTH).await;
        if let Err(NvmeError::Unanswered(_)) = page {
            self.core.wishes.wish(Wish::RESET);
        }
        page.map(|page| Health::read(&page))
    }

    /// Whether it is there and works.
    pub fn is_present(&self) -> bool {
        !self.core.is_over()
    }

    /// The bus says that it is gone: all requests are done with [`block::BlockError::Removed`] soon.
    pub fn removed(&self) {
        self.core.wishes.wish(Wish::REMOVED);
    }

    /// Waits until it is over: removed, given up or shut down.
    pub async fn ended(&self) {
        self.core.ended.wait().await;
    }

    /// Lets it finish what it has, write back its cache and stop: before the power is switched off. Requests that
    /// come later fail.
    pub async fn shut_down(&self) {
        self.core.wishes.wish(Wish::SHUT_DOWN);
        self.core.ended.wait().await;
    }
}
