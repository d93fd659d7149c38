//! One run of a VM: from power-on to power-off, reset or crash. The next run is made from scratch.
use super::disks::VmDisk;
use super::hardware::{Missing, NestedTables, Vcpu, Virtualization, virtualization};
use super::ram::{self, GuestRam};
use super::reclaim;
use super::seat::{self, Seat, VcpuEntity, kick, scheduler};
use super::table::Terminals;
use crate::cpu::control;
use crate::cpu::registers::rdtsc;
use crate::memory::HEAP;
use crate::network::{self, GuestWire};
use crate::{boot_info, random, time};
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::{Arc, Weak};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Add;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use executor::{Signal, yield_now};
use mgmt::config::{Bus, VmConfig};
use mm::heap::Taken;
use sched::{CpuSet, Params};
use spin::{Mutex, Once};
use vmm::load::{self, Boot, File, Piece};
use vmm::memory::GuestMemory;
use vmm::platform::apic::{ApicFabric, Wake};
use vmm::platform::{Board, BoardConfig};
use vmm::policy::cpuid::Facts;
use vmm::policy::paravirtual;
use vmm::virtio::net::Port;
use vmm::virtio::{
    Balloon, BalloonDevice, Blk, BlkConfig, Console, Device, Net, NetConfig, Rng, Scsi, ScsiConfig, ScsiDisk,
};
use vmm::vm::{Clock, End, Shared};

/// Why a VM could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The machine can't run VMs.
    NoVirtualization(Missing),
    /// Too little memory.
    Memory { needed: u64, free: u64 },
    /// A boot file is not there.
    File { name: String, why: &'static str },
    /// The kernel or the initrd is not what it should be.
    Load(load::LoadError),
    /// The CPUs that it is bound to don't exist, or the like.
    Scheduling(sched::Refused),
    /// A device finds no place.
    Device { name: &'static str, why: String },
    /// A disk can't be had.
    Disk { name: String, why: String },
    /// A network card can't be plugged in.
    Nic { network: String, why: String },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoVirtualization(missing) => write!(f, "{missing}"),
            Self::Memory { needed, free } => write!(
                f,
                "it needs {} MiB of memory, {} MiB are free: stop another VM or give it less",
                needed >> 20,
                free >> 20
            ),
            Self::File { name, why } => write!(f, "{name}: {why}"),
            Self::Load(error) => write!(f, "{error}"),
            Self::Scheduling(refused) => write!(f, "{refused}"),
            Self::Device { name, why } => write!(f, "{name}: {why}"),
            Self::Disk { name, why } => write!(f, "disk {name}: {why}"),
            Self::Nic { network, why } => write!(f, "its card on network {network}: {why}"),
        }
    }
}

/// How the fabric reaches the vCPUs.
struct Doorbells {
    seats: Arc<Once<Box<[Weak<Seat>]>>>,
    /// A CPU takes posted interrupts while it is in the guest.
    posted: bool,
}

impl Wake for Doorbells {
    fn wake(&self, vcpu: usize) {
        if let Some(seats) = self.seats.get()
            && let Some(seat) = seats.get(vcpu).and_then(Weak::upgrade)
        {
            seat.notify();
        }
    }

    fn post(&self, vcpu: usize) {
        if let Some(seats) = self.seats.get()
            && let Some(seat) = seats.get(vcpu).and_then(Weak::upgrade)
        {
            if self.posted { seat.notify_posted() } else { seat.notify() }
        }
    }
}

/// A VM that runs.
pub struct Run {
    /// What its vCPUs share.
    pub shared: Arc<Shared>,
    /// Its vCPUs, as the scheduler has them.
    pub vcpus: Once<Box<[Arc<VcpuEntity>]>>,
    /// When it was started.
    pub started: u64,
    /// How many vCPUs have been put to rest.
    parked: AtomicUsize,
    /// How it ended, once it has.
    end: Mutex<Option<End>>,
    /// Tells the supervisor to look.
    signal: Arc<Signal>,
    tables: Arc<RunTables>,
    /// What it costs beside the guest's memory.
    overhead: Once<Overhead>,
    /// The virtio devices that it has beside its disks.
    devices: Vec<&'static str>,
    /// How its guest gives memory back, if it can.
    balloon: Option<Arc<Balloon>>,
    ram: Arc<GuestRam>,
}

/// The nested tables of a run, for the run and for what changes its guest's memory.
#[derive(Default)]
pub struct RunTables {
    tables: Mutex<Option<NestedTables>>,
    /// The run has come to its end: another may have the memory by now.
    ended: AtomicBool,
}

impl RunTables {
    /// Changes them. `false` where there are none yet, or the run has come to its end.
    pub fn change(&self, change: impl FnOnce(&mut NestedTables)) -> bool {
        let mut tables = self.tables.lock();
        match &mut *tables {
            Some(tables) if !self.ended.load(Ordering::SeqCst) => {
                change(tables);
                true
            }
            _ => false,
        }
    }
}

/// What a VM costs beside its guest's memory, in bytes: whole frames. Its small objects, some kilobytes, are not
/// told apart from others'.
#[derive(Clone, Copy, Default)]
pub struct Overhead {
    /// Nested page tables.
    pub frames: u64,
    /// vCPUs, devices, console.
    pub large: u64,
}

impl Add for Overhead {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { frames: self.frames + other.frames, large: self.large + other.large }
    }
}

impl Overhead {
    /// What a CPU has taken for a VM.
    pub fn of(taken: Taken) -> Self {
        let bytes = |taken| u64::try_from(taken).unwrap_or(0);
        Self { frames: bytes(taken.frames), large: bytes(taken.large) }
    }

    /// All of it.
    pub fn bytes(self) -> u64 {
        self.frames + self.large
    }
}

impl Run {
    /// Builds a VM from its configuration, in memory that is zeroed here, ready to be started. Its guest will be asked
    /// for `given_back` bytes of it.
    ///
    /// # Errors
    /// What is missing. Whatever was taken by then is given back.
    pub async fn build(
        config: &VmConfig,
        ram: &Arc<GuestRam>,
        terminals: &Terminals,
        signal: &Arc<Signal>,
        disks: Vec<VmDisk>,
        given_back: u64,
    ) -> Result<Arc<Self>, StartError> {
        let found = virtualization().map_err(StartError::NoVirtualization)?;
        let kernel = boot_file(&config.kernel)?;
        let initrd = config.initrd.as_deref().map(boot_file).transpose()?;
        let (memory, run_memory) = ram.zeroed().await;
        let boot = Boot {
            kernel: File { name: &config.kernel, bytes: kernel },
            initrd: config.initrd.as_deref().zip(initrd).map(|(name, bytes)| File { name, bytes }),
            cmdline: config.cmdline.as_bytes(),
            vcpus: config.vcpus,
            seed: Some(random::bytes()),
        };
        let loaded = load::load(&memory, &boot).map_err(StartError::Load)?;
        for piece in &loaded.pieces {
            copy(&memory, piece).await;
        }
        // From here to the end nothing is awaited: what this CPU takes is this VM's.
        let taken = HEAP.taken_here();
        let too_little = || StartError::Memory { needed: ram.bytes(), free: ram::free() };
        let tables = NestedTables::map(found, &memory, config.balloon).map_err(|_| too_little())?;

        let doorbells = Arc::new(Once::new());
        let bells = Doorbells { seats: doorbells.clone(), posted: found.posts_interrupts() };
        let fabric = Arc::new(ApicFabric::new(config.vcpus as usize, Box::new(bells)));
        let now = time::now().0;
        let board = BoardConfig {
            fabric: fabric.clone(),
            console: terminals.serial.clone(),
            layout: memory.layout(),
            wall_clock: crate::wall_clock::at_zero(),
        };
        let mut board = Board::new(board, now);
        let memory = Arc::new(memory);
        let mut balloon = None;
        if config.balloon {
            let work = Box::new(|| reclaim::WORK.raise());
            let new = Balloon::new(memory.clone(), given_back, config.return_free_memory, work);
            balloon = Some(new.ok_or_else(too_little)?);
        }
        let devices = plug(&mut board, config, terminals, balloon.as_ref(), &memory)?;
        plug_nics(&mut board, config, &memory, ram)?;
        plug_disks(&mut board, disks, config.vcpus, &memory, ram)?;
        let shared = Arc::new(Shared::new(
            memory,
            board,
            fabric,
            Clock::new(time::tsc_rate().hertz, rdtsc(), crate::wall_clock::at_zero() + now),
        ));
        let run = Arc::new(Self {
            shared: shared.clone(),
            vcpus: Once::new(),
            started: now,
            parked: AtomicUsize::new(0),
            end: Mutex::new(None),
            signal: signal.clone(),
            tables: run_memory.tables().clone(),
            overhead: Once::new(),
            devices,
            balloon,
            ram: ram.clone(),
        });
        run_memory.belongs_to(&run);
        // The run has them first: it frees them, whatever comes.
        let mut slot = run.tables.tables.lock();
        let tables = slot.insert(tables);

        let params = params(config);
        let mut entities: Vec<Arc<VcpuEntity>> = Vec::with_capacity(config.vcpus as usize);
        for index in 0..config.vcpus as usize {
            let facts = facts(config, index, found);
            let mut vcpu = Vcpu::new(found, tables, shared.clone(), &facts);
            if index == 0 {
                vcpu.start_at(&loaded.state);
            }
            let seat = Arc::new(Seat::new(vcpu, Arc::downgrade(&run), ram.clone()));
            let entity = scheduler().add(&params, seat).map_err(StartError::Scheduling)?;
            entity.payload().set_entity(&entity);
            entities.push(entity);
        }
        drop(slot);
        doorbells.call_once(|| entities.iter().map(|e| Arc::downgrade(e.payload())).collect());
        run.vcpus.call_once(|| entities.into_boxed_slice());
        run.overhead.call_once(|| Overhead::of(HEAP.taken_here().since(taken)));
        log::debug!("{}: {}, {}", config.name, config.kernel, loaded.format);
        Ok(run)
    }

    /// The vCPUs.
    pub fn vcpus(&self) -> &[Arc<VcpuEntity>] {
        self.vcpus.get().map_or(&[], |vcpus| vcpus)
    }

    /// What it costs beside the guest's memory.
    pub fn overhead(&self) -> Overhead {
        self.overhead.get().copied().unwrap_or_default()
    }

    /// The virtio devices that it has beside its disks.
    pub fn devices(&self) -> &[&'static str] {
        &self.devices
    }

    /// How its guest gives memory back, if it can.
    pub fn balloon(&self) -> Option<&Arc<Balloon>> {
        self.balloon.as_ref()
    }

    /// The guest's memory.
    pub fn ram(&self) -> &Arc<GuestRam> {
        &self.ram
    }

    /// Starts the first vCPU; the others wait for it to start them.
    pub fn start(&self) {
        if let Some(first) = self.vcpus().first() {
            first.payload().notify();
        }
    }

    /// A vCPU has ended the run. The first to say so counts.
    pub fn ended(&self, end: End) {
        self.end.lock().get_or_insert(end);
        self.signal.raise();
    }

    /// The operator has ended the run, whatever its guest was about to do.
    pub fn overrule(&self, end: End) {
        *self.end.lock() = Some(end);
    }

    /// How it ended, if it has.
    pub fn end(&self) -> Option<End> {
        self.end.lock().clone()
    }

    /// A vCPU has been put to rest.
    pub fn seat_parked(&self) {
        self.parked.fetch_add(1, Ordering::SeqCst);
        self.signal.raise();
    }

    /// Whether all vCPUs rest.
    pub fn is_parked(&self) -> bool {
        self.parked.load(Ordering::SeqCst) >= self.vcpus().len()
    }

    /// Lets the vCPUs go on after all were put to rest.
    pub fn resume(&self) {
        self.parked.store(0, Ordering::SeqCst);
        self.shared.unpark();
        let now = time::now().0;
        for entity in self.vcpus() {
            entity.payload().parked.store(false, Ordering::SeqCst);
            if let Some(placement) = scheduler().resume(entity, now) {
                kick(placement);
            }
        }
    }

    /// Lets the disks take no further requests, and waits for those that they have: until then they reach the
    /// guest's memory. All vCPUs rest.
    pub async fn drain(&self) {
        let signal = self.signal.clone();
        self.shared.board.stop(Arc::new(move || signal.raise()));
        while self.shared.board.in_flight() > 0 {
            self.signal.wait().await;
        }
    }

    /// Takes the vCPUs, all of which rest, from the scheduler.
    pub fn dismantle(&self) {
        self.tables.ended.store(true, Ordering::SeqCst);
        let now = time::now().0;
        for entity in self.vcpus() {
            entity.payload().cancel_alarm();
            if let Some(cpu) = scheduler().remove(entity, now) {
                seat::reschedule(cpu);
            }
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // The seats hold the run weakly and are held by it: with it gone no CPU has one of its vCPUs.
        if let Some(tables) = self.tables.tables.lock().take() {
            tables.free();
        }
    }
}

/// Bytes that are copied before others get the CPU: a few tens of microseconds.
const COPIED_AT_ONCE: usize = 128 << 10;

/// Copies a part of a file into the guest's memory, a little at a time.
async fn copy(memory: &GuestMemory, piece: &Piece<'_>) {
    for (i, part) in piece.bytes.chunks(COPIED_AT_ONCE).enumerate() {
        let at = piece.at + (i * COPIED_AT_ONCE) as u64;
        if let Err(error) = memory.write(at, part) {
            // The loader has checked the place; the guest will find the rest missing and say so.
            log::error!("a boot file does not fit into its guest: {error}");
            return;
        }
        yield_now().await;
    }
}

/// PCI slots: of the virtio devices that a VM has one of; and of its first virtio-blk disk, behind which the others
/// follow, and then the SCSI controller.
const RNG_SLOT: u8 = 1;
const CONSOLE_SLOT: u8 = 2;
const BALLOON_SLOT: u8 = 3;
const FIRST_DISK_SLOT: u8 = 4;
/// Of the first network card, behind which the others follow: beyond all that disks can take.
const FIRST_NIC_SLOT: u8 = 22;
/// Entries of each queue of a network card.
const NIC_QUEUE_SIZE: u16 = 256;
/// Entries of each queue of a disk or controller: a driver that can't use indirect descriptors needs one for each
/// segment of a request, of which devices allow 318.
const QUEUE_SIZE: u16 = 512;

/// Gives the board the virtio devices that the configuration asks for, beside disks. What they are.
fn plug(
    board: &mut Board,
    config: &VmConfig,
    terminals: &Terminals,
    balloon: Option<&Arc<Balloon>>,
    memory: &Arc<GuestMemory>,
) -> Result<Vec<&'static str>, StartError> {
    let mut devices = Vec::new();
    let mut add = |slot, name, device: Box<dyn Device>| {
        let plugged = board.attach_virtio(slot, device, memory);
        devices.push(name);
        plugged.map_err(|error| StartError::Device { name, why: error.to_string() })
    };
    if config.rng {
        match random::Generator::find() {
            Some(generator) => add(RNG_SLOT, "virtio-rng", Box::new(Rng::new(Arc::new(generator))))?,
            None => log::debug!("{}: no virtio-rng: this CPU makes no random numbers", config.name),
        }
    }
    if let Some(port) = &terminals.virtio {
        add(CONSOLE_SLOT, "virtio-console", Box::new(Console::new(port.clone())))?;
    }
    if let Some(balloon) = balloon {
        add(BALLOON_SLOT, "virtio-balloon", Box::new(BalloonDevice::new(balloon.clone())))?;
    }
    Ok(devices)
}

/// Gives the board its network cards. Until the last frame of each is sent, its device holds the guest's memory; the port
/// of its network goes with it.
fn plug_nics(
    board: &mut Board,
    config: &VmConfig,
    memory: &Arc<GuestMemory>,
    ram: &Arc<GuestRam>,
) -> Result<(), StartError> {
    for (index, nic) in config.nics.iter().enumerate() {
        let failed = |why: String| StartError::Nic { network: nic.network.clone(), why };
        let network =
            network::get(&nic.network).ok_or_else(|| failed("there is no such network".to_string()))?;
        let port = Port::new();
        let wire = GuestWire::plug(network, nic, &port, (&config.name, index));
        let card = NetConfig {
            wire: wire.map_err(|error| failed(error.to_string()))?,
            port,
            mac: nic.mac,
            mtu: network.config.mtu,
            pairs: nic.queues,
            queue_size: NIC_QUEUE_SIZE,
            keep: ram.clone(),
        };
        let slot = FIRST_NIC_SLOT + index as u8;
        let plugged = board.attach_virtio(slot, Box::new(Net::new(card)), memory);
        plugged.map_err(|error| failed(error.to_string()))?;
    }
    Ok(())
}

/// Gives the board its disks. Until the last request of each is done, its device holds the guest's memory and the
/// claim on what it uses.
fn plug_disks(
    board: &mut Board,
    disks: Vec<VmDisk>,
    vcpus: u32,
    memory: &Arc<GuestMemory>,
    ram: &Arc<GuestRam>,
) -> Result<(), StartError> {
    // One for each vCPU: none waits for another's lock.
    let queues = vcpus as u16;
    let mut slot = FIRST_DISK_SLOT;
    let mut attach = |device: Box<dyn Device>, name: String| {
        let plugged = board.attach_virtio(slot, device, memory);
        slot += 1;
        plugged.map_err(|error| StartError::Disk { name, why: error.to_string() })
    };
    let (mut units, mut claims) = (Vec::new(), Vec::new());
    for VmDisk { device: disk, serial, bus, claim } in disks {
        match bus {
            Bus::VirtioBlk => {
                let (name, keep) = (serial.clone(), Arc::new((ram.clone(), claim)));
                let config = BlkConfig { disk, serial, queues, queue_size: QUEUE_SIZE, keep };
                attach(Box::new(Blk::new(config)), name)?;
            }
            Bus::VirtioScsi => {
                units.push(ScsiDisk { disk, serial });
                claims.push(claim);
            }
        }
    }
    if let Some(first) = units.first() {
        let (name, keep) = (first.serial.clone(), Arc::new((ram.clone(), claims)));
        let config = ScsiConfig { disks: units, queues, queue_size: QUEUE_SIZE, keep };
        attach(Box::new(Scsi::new(config)), name)?;
    }
    Ok(())
}

/// A file of the boot volume by the name that the configuration gives it.
pub(super) fn boot_file(name: &str) -> Result<&'static [u8], StartError> {
    let problem = |why| StartError::File { name: name.to_string(), why };
    match boot_info::file(name) {
        None => Err(problem("the loader did not bring this file: reboot after changing purevisor.toml")),
        Some(Ok(bytes)) => Ok(bytes),
        Some(Err(why)) => Err(problem(why)),
    }
}

fn facts(config: &VmConfig, index: usize, found: &Virtualization) -> Facts {
    Facts {
        vcpus: config.vcpus,
        apic_id: index as u32,
        xcr0: found.format.xcr0,
        patch_level: found.patch_level,
        tsc_hz: time::tsc_rate().hertz,
        apic_timer_hz: 1_000_000_000,
        // Where the machine does not promise it, guests take the paravirtual clock, which says how it counts.
        invariant_tsc: control::features().invariant_tsc,
        paravirtual: paravirtual::Features::CLOCK
            | paravirtual::Features::PV_SEND_IPI
            | paravirtual::Features::PV_EOI,
    }
}

fn params(config: &VmConfig) -> Params {
    let mut affinity = CpuSet::ALL;
    if let Some(cpus) = &config.affinity {
        affinity = CpuSet::EMPTY;
        for &cpu in cpus {
            if (cpu as usize) < sched::MAX_CPUS {
                affinity.insert(cpu as usize);
            }
        }
    }
    Params { weight: config.weight, cap: config.cap.map_or(0, |all| (all / config.vcpus).max(1)), affinity }
}
