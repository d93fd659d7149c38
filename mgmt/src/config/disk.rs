//! `disks` of a `[[vm]]`: what storage its guest sees.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use toml::de::DeValue;

use super::problem::Refused;
use super::section::Section;
use super::value;

/// Most disks of a VM.
pub const MAX_DISKS: usize = 16;

/// A disk of a VM, as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Where its blocks are.
    pub source: Source,
    /// First byte of the source that is the disk's first: a multiple of 1 KiB. Default 0.
    pub offset: u64,
    /// Bytes, a multiple of 1 KiB; `None`: up to the source's end.
    pub size: Option<u64>,
    /// What the guest finds it on. Default [`Bus::VirtioBlk`].
    pub bus: Bus,
    /// Whether the guest may not write it. Default false.
    pub readonly: bool,
}

/// Where a disk's blocks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A disk of this machine by its full name. To name it is to say that the guest may have what is on it.
    Device(String),
    /// A copy in memory of this file of the boot volume, of the VM's own: kept when the VM restarts, lost with the
    /// power.
    File(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => f.write_str(name),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

/// What a guest finds a disk on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bus {
    /// `"virtio-blk"` (virtio 1.2, 5.2): a device of its own.
    VirtioBlk,
    /// `"virtio-scsi"` (virtio 1.2, 5.6): a logical unit of the one controller that a VM has.
    VirtioScsi,
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VirtioBlk => "virtio-blk",
            Self::VirtioScsi => "virtio-scsi",
        })
    }
}

/// Reads the disks of a VM.
pub(super) fn read(vm: &mut Section<'_, '_>) -> Vec<DiskConfig> {
    let example = "a list of disks, such as [{ source = \"nvme0n1\" }]";
    let disks = vm.tables("disks", "disk", example, DiskConfig::read);
    if disks.len() > MAX_DISKS {
        vm.conflict(format!("a VM with {} disks; allowed: at most {MAX_DISKS}", disks.len()));
    }
    disks
}

impl DiskConfig {
    fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let source = section.required("source", source);
        let offset = section.optional("offset", value::amount);
        let size = section.optional("size", value::amount);
        let bus = section.optional("bus", bus).unwrap_or(Bus::VirtioBlk);
        let readonly = section.optional("readonly", value::boolean).unwrap_or(false);
        if size == Some(0) {
            section.conflict("size = 0 is no disk; allowed: a size, or none for all up to the end".into());
        }
        if let Some(Source::File(path)) = &source
            && (offset.is_some() || size.is_some())
        {
            section.conflict(format!(
                "the disk file:{path} has an offset or a size; allowed: these for a device, a file is used whole"
            ));
        }
        if offset.unwrap_or(0).checked_add(size.unwrap_or(0)).is_none() {
            section.conflict("offset and size are more than any disk has".into());
        }
        let sound = section.finish();
        let source = source.filter(|_| sound)?;
        Some(Self { source, offset: offset.unwrap_or(0), size, bus, readonly })
    }
}

/// `"nvme0n1"` or `"file:data.img"`.
fn source(value: &DeValue<'_>) -> Result<Source, Refused> {
    let allowed =
        "the full name of a disk, such as \"nvme0n1\" ('disk list' shows them), or \"file:\" and a path";
    let Some(text) = value.as_str() else {
        return Err(Refused::new("is not a string", allowed));
    };
    if let Some(path) = text.strip_prefix("file:") {
        return value::normal_path(path).map(Source::File).map_err(|why| Refused::new(why, allowed));
    }
    if value::is_device(text) {
        Ok(Source::Device(text.to_string()))
    } else {
        Err(Refused::new("names no disk", allowed))
    }
}

fn bus(value: &DeValue<'_>) -> Result<Bus, Refused> {
    value::word(&[("virtio-blk", Bus::VirtioBlk), ("virtio-scsi", Bus::VirtioScsi)])(value)
}
