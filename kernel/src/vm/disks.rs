//! The disks of a VM: from what `purevisor.toml` says to block devices that only it uses.
//!
//! Whatever a run uses it has claimed (`block::Claims`): nobody writes where another reads or writes. A disk of the
//! machine is used because the configuration names it in full; nothing is chosen by itself.
#![allow(unsafe_code)] // lends memory to disks in memory

use super::run::{StartError, boot_file};
use crate::devices::disks;
use crate::memory::{DIRECT, HEAP};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use block::{Access, BlockDevice, Claim, MemoryDisk, Part};
use executor::{Timers, yield_now};
use mgmt::config::{Bus, DiskConfig, Source, VmConfig};
use mm::addr::{Hpa, PAGE};
use spin::Mutex;

/// Bytes that are copied before others get the CPU.
const COPIED_AT_ONCE: usize = 128 << 10;

/// A disk for one run of a VM.
pub struct VmDisk {
    /// Where its requests go.
    pub device: Arc<dyn BlockDevice>,
    /// By which the guest can tell its disks apart: `nvme0n1`, `sata0@1G`, `data.img`.
    pub serial: String,
    /// What the guest finds it on.
    pub bus: Bus,
    /// Nobody else's as long as this is held.
    pub claim: Claim,
}

/// Copies of files, one for each disk of a VM that has one. They stay when the VM stops, and are lost with the power.
#[derive(Default)]
pub struct FileDisks(Mutex<Vec<(String, Arc<FileDisk>)>>);

/// Finds and claims the disks of a VM.
///
/// # Errors
/// Which disk can't be had, and why.
pub async fn find(
    config: &VmConfig,
    files: &FileDisks,
    timers: &Arc<Timers>,
) -> Result<Vec<VmDisk>, StartError> {
    let mut found = Vec::new();
    for disk in &config.disks {
        let one = find_one(&config.name, disk, files, timers).await;
        found.push(one.map_err(|why| StartError::Disk { name: disk.source.to_string(), why })?);
    }
    Ok(found)
}

async fn find_one(
    vm: &str,
    config: &DiskConfig,
    files: &FileDisks,
    timers: &Arc<Timers>,
) -> Result<VmDisk, String> {
    let (device, claimed): (Arc<dyn BlockDevice>, String) = match &config.source {
        Source::Device(name) => {
            let disk = disks::find(name, timers).await;
            let disk = disk.ok_or_else(|| match disks::names().join(", ").as_str() {
                "" => "this machine has no such disk, nor any other; 'pci' and 'log' tell more".to_string(),
                names => format!("this machine has no such disk; there are: {names}"),
            })?;
            (disk, name.clone())
        }
        // Each VM has its own copy, so another VM's disk from the same file is another disk.
        Source::File(path) => (files.get(path).await?, format!("{} of VM {vm}", config.source)),
    };
    let readonly = config.readonly;
    let part = Part::new(device, config.offset, config.size, readonly).map_err(|bad| bad.to_string())?;
    let bytes = config.offset..config.offset.saturating_add(part.geometry().bytes());
    let access = if part.geometry().features.read_only { Access::Read } else { Access::Write };
    let claim = disks::claims().claim(&claimed, bytes, access, &format!("VM {vm}"));
    let claim = claim.map_err(|conflict| conflict.to_string())?;
    let serial = match &config.source {
        Source::Device(name) => part_name(name, config.offset),
        Source::File(path) => path.rsplit('/').next().unwrap_or(path).to_string(),
    };
    Ok(VmDisk { device: Arc::new(part), serial, bus: config.bus, claim })
}

/// What a part of a disk is called, from `offset` on: parts of one disk are different disks to a guest.
fn part_name(disk: &str, offset: u64) -> String {
    let (amount, unit) = match offset {
        0 => return disk.to_string(),
        o if o.is_multiple_of(1 << 30) => (o >> 30, "G"),
        o if o.is_multiple_of(1 << 20) => (o >> 20, "M"),
        o => (o >> 10, "K"),
    };
    format!("{disk}@{amount}{unit}")
}

impl FileDisks {
    /// The copy of this file, made now if there is none.
    async fn get(&self, path: &str) -> Result<Arc<FileDisk>, String> {
        let known = self.0.lock().iter().find(|(known, _)| known == path).map(|(_, disk)| disk.clone());
        if let Some(disk) = known {
            return Ok(disk);
        }
        let disk = Arc::new(FileDisk::copy(path).await?);
        self.0.lock().push((path.to_string(), disk.clone()));
        Ok(disk)
    }
}

/// A disk in memory that began as a copy of a file.
pub struct FileDisk {
    disk: MemoryDisk,
    memory: Hpa,
    pages: u64,
}

impl FileDisk {
    async fn copy(path: &str) -> Result<Self, String> {
        let file = boot_file(path).map_err(|error| match error {
            StartError::File { why, .. } => why.to_string(),
            other => other.to_string(),
        })?;
        if file.is_empty() {
            return Err("the file is empty".to_string());
        }
        let bytes = (file.len() as u64).next_multiple_of(PAGE);
        let pages = bytes / PAGE;
        let memory = HEAP.allocate_run(pages).ok_or_else(|| {
            format!("no {} MiB of memory in one piece for it: use a smaller file", bytes.div_ceil(1 << 20))
        })?;
        // SAFETY: pages that were just taken, in the direct map, and freed after the disk is gone.
        let disk = unsafe { MemoryDisk::new(format!("file:{path}"), DIRECT, memory, bytes) };
        let new = Self { disk, memory, pages };
        for (i, part) in file.chunks(COPIED_AT_ONCE).enumerate() {
            let to = DIRECT.pointer::<u8>(memory + (i * COPIED_AT_ONCE) as u64);
            // SAFETY: within the pages, which nobody knows yet; the file is elsewhere.
            unsafe { to.copy_from_nonoverlapping(part.as_ptr(), part.len()) };
            yield_now().await;
        }
        let rest = bytes as usize - file.len();
        // SAFETY: the rest of the last page.
        unsafe { DIRECT.pointer::<u8>(memory + file.len() as u64).write_bytes(0, rest) };
        Ok(new)
    }
}

impl BlockDevice for FileDisk {
    fn identity(&self) -> &block::Identity {
        self.disk.identity()
    }

    fn geometry(&self) -> &block::Geometry {
        self.disk.geometry()
    }

    fn submit(&self, request: block::Request<'_>) {
        self.disk.submit(request);
    }

    fn start(&self) {
        self.disk.start();
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        // SAFETY: taken in `copy`; a request is done when `submit` returns, so nobody uses the pages any more.
        if let Err(error) = unsafe { HEAP.free_run(self.memory, self.pages) } {
            log::error!("memory of a disk at {} could not be freed: {error}", self.memory);
        }
    }
}
