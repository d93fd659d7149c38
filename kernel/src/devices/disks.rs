//! All disks of the node, and who uses which part of them.
use crate::cpu::percpu;
use crate::time;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{Access, BlockDevice, Claims, Geometry, Identity, Operation, Request};
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use executor::Timers;
use mgmt::shell::node::{DiskCounters, DiskInfo, DiskUse};
use spin::{Mutex, Once};

/// How long somebody waits for a disk at most, in nanoseconds.
const PATIENCE: u64 = 30_000_000_000;
/// How often he looks.
const LOOK: u64 = 20_000_000;

static ALL: Mutex<Vec<Arc<Disk>>> = Mutex::new(Vec::new());
static CLAIMS: Once<Claims> = Once::new();

/// The buses were looked at.
static SCANNED: AtomicBool = AtomicBool::new(false);
/// Drivers that have not started their devices yet.
static STARTING: AtomicUsize = AtomicUsize::new(0);

/// A disk: the driver's device, counted.
pub struct Disk {
    device: Arc<dyn BlockDevice>,
    /// What drives it, and where it is.
    driver: &'static str,
    place: String,
    /// By CPU, so that counting costs no atomic exchange and moves no cache line.
    counters: Box<[Counters]>,
}

/// What a CPU asked of a disk.
#[derive(Default)]
#[repr(align(64))]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    /// Discards and zeroes.
    others: AtomicU64,
    read_blocks: AtomicU64,
    written_blocks: AtomicU64,
}

/// Adds to a counter that only this CPU changes, in a task, which nothing interrupts that would count as well.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

impl BlockDevice for Disk {
    fn identity(&self) -> &Identity {
        self.device.identity()
    }

    fn geometry(&self) -> &Geometry {
        self.device.geometry()
    }

    fn submit(&self, request: Request<'_>) {
        if let Some(counters) = self.counters.get(percpu::current().index) {
            match request.operation {
                Operation::Read => {
                    add(&counters.reads, 1);
                    add(&counters.read_blocks, request.blocks);
                }
                Operation::Write { .. } => {
                    add(&counters.writes, 1);
                    add(&counters.written_blocks, request.blocks);
                }
                Operation::Flush => add(&counters.flushes, 1),
                Operation::WriteZeroes { .. } | Operation::Discard => add(&counters.others, 1),
            }
        }
        self.device.submit(request);
    }

    fn start(&self) {
        self.device.start();
    }

    fn is_present(&self) -> bool {
        self.device.is_present()
    }
}

impl Disk {
    fn counted(&self) -> DiskCounters {
        let sum = |of: fn(&Counters) -> &AtomicU64| {
            self.counters.iter().fold(0u64, |sum, c| sum.wrapping_add(of(c).load(Ordering::Relaxed)))
        };
        let block = u64::from(self.geometry().block_size);
        DiskCounters {
            reads: sum(|c| &c.reads),
            writes: sum(|c| &c.writes),
            flushes: sum(|c| &c.flushes),
            others: sum(|c| &c.others),
            read_bytes: sum(|c| &c.read_blocks).wrapping_mul(block),
            written_bytes: sum(|c| &c.written_blocks).wrapping_mul(block),
        }
    }

    fn info(&self) -> DiskInfo {
        let (identity, geometry) = (self.identity(), self.geometry());
        let users = claims().of(&identity.name).into_iter();
        DiskInfo {
            name: identity.name.clone(),
            model: identity.model.clone(),
            serial: identity.serial.clone(),
            firmware: identity.firmware.clone(),
            driver: self.driver,
            place: self.place.clone(),
            bytes: geometry.bytes(),
            block_size: geometry.block_size,
            physical_block_size: geometry.physical_block_size,
            volatile_cache: geometry.features.volatile_cache,
            discard: geometry.features.discard,
            write_zeroes: geometry.features.write_zeroes,
            solid_state: geometry.features.solid_state,
            read_only: geometry.features.read_only,
            counters: self.counted(),
            users: users
                .map(|(owner, bytes, access)| DiskUse { owner, bytes, writes: access == Access::Write })
                .collect(),
        }
    }
}

/// A driver has a disk for us.
pub fn publish(device: Arc<dyn BlockDevice>, driver: &'static str, place: String) {
    let counters = percpu::all().iter().map(|_| Counters::default()).collect();
    let disk = Arc::new(Disk { device, driver, place, counters });
    let Identity { name, model, serial, .. } = disk.identity();
    log::info!("disk {name}: {} MiB, {model}, serial {serial}", disk.geometry().bytes() >> 20);
    let mut all = ALL.lock();
    all.retain(|other| other.is_present() && other.identity().name != *name);
    all.push(disk.clone());
    all.sort_by(|a, b| natural(&a.identity().name).cmp(&natural(&b.identity().name)));
}

/// Sorts nvme2n1 before nvme10n1.
fn natural(name: &str) -> (usize, &str) {
    (name.len(), name)
}

/// Numbers in use, by what is numbered.
static NUMBERS: Mutex<BTreeSet<(&'static str, usize)>> = Mutex::new(BTreeSet::new());

/// A number for a controller or a disk, the lowest that is free: `nvme0` by (`"nvme"`, 0). Free again when dropped.
pub struct Number(&'static str, usize);

impl Number {
    /// Takes one.
    pub fn take(prefix: &'static str) -> Self {
        let mut numbers = NUMBERS.lock();
        let number = (0..).find(|&number| numbers.insert((prefix, number))).unwrap_or(usize::MAX);
        Self(prefix, number)
    }

    /// Which.
    pub fn get(&self) -> usize {
        self.1
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        NUMBERS.lock().remove(&(self.0, self.1));
    }
}

/// All that is claimed on disks.
pub fn claims() -> &'static Claims {
    CLAIMS.call_once(Claims::new)
}

/// The disk of this name, if it is there.
pub fn get(name: &str) -> Option<Arc<Disk>> {
    ALL.lock().iter().find(|disk| disk.identity().name == name && disk.is_present()).cloned()
}

/// Names of all disks.
pub fn names() -> Vec<String> {
    let all = ALL.lock();
    all.iter().filter(|disk| disk.is_present()).map(|disk| disk.identity().name.clone()).collect()
}

/// All disks, for the console.
pub fn infos() -> Vec<DiskInfo> {
    let all: Vec<Arc<Disk>> = ALL.lock().iter().filter(|disk| disk.is_present()).cloned().collect();
    all.iter().map(|disk| disk.info()).collect()
}

/// The disk of this name, waited for as long as drivers are still starting. `None` where there is none.
pub async fn find(name: &str, timers: &Arc<Timers>) -> Option<Arc<Disk>> {
    let end = time::now().0.saturating_add(PATIENCE);
    loop {
        // Asked before the look: what was published until it was settled is seen.
        let settled = SCANNED.load(Ordering::Acquire) && STARTING.load(Ordering::Acquire) == 0;
        if let Some(disk) = get(name) {
            return Some(disk);
        }
        let now = time::now().0;
        if settled || now >= end {
            return None;
        }
        timers.sleep_until(now + LOOK).await;
    }
}

/// All buses were looked at, and the drivers of all devices begun.
pub fn scanned() {
    SCANNED.store(true, Ordering::Release);
}

/// A driver begins to start its device.
pub fn driver_starts() {
    STARTING.fetch_add(1, Ordering::AcqRel);
}

/// A driver has started its device, and published its disks, or has given up.
pub fn driver_started() {
    STARTING.fetch_sub(1, Ordering::AcqRel);
}
