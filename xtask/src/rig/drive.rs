//! Drives of an emulated machine beside its boot medium.
use super::quoted;
use crate::failure::Result;
use std::path::PathBuf;

/// What a drive is connected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// An NVMe controller of its own.
    Nvme,
    /// An NVMe controller in a slot: it can be pulled out and plugged in again by [`Drive::pull`] and
    /// [`Drive::plug`], in machines of the kind q35.
    NvmeInSlot,
    /// An AHCI controller of its own.
    Ahci,
    /// An AHCI controller in a slot. It can be pulled out, with its disk; QEMU (7.2) can neither pull the disk alone nor
    /// plug one in again.
    AhciInSlot,
    /// A virtio-blk device without the interface of old.
    Virtio,
}

/// A drive whose blocks are a file of the host, which is written.
#[derive(Clone, Debug)]
pub struct Drive {
    name: String,
    image: PathBuf,
    connection: Connection,
    limited: bool,
}

impl Drive {
    /// A drive by this name, unique in its machine, which is its serial number as well.
    pub fn new(name: impl Into<String>, image: impl Into<PathBuf>, connection: Connection) -> Self {
        Self { name: name.into(), image: image.into(), connection, limited: false }
    }

    /// It may be told to [hold](Drive::holds) requests.
    pub fn limited(mut self) -> Self {
        self.limited = true;
        self
    }

    /// The drive's arguments.
    pub(super) fn args(&self) -> Result<Vec<String>> {
        let name = &self.name;
        let image = quoted(&self.image)?;
        // Nodes by themselves, not `-drive`: they stay when their device is pulled out. What is between them can
        // change ([`super::trouble`]).
        let (file, raw) = (self.file_node(), self.raw_node());
        let mut nodes = vec![
            format!("driver=file,node-name={file},filename={image}"),
            format!("driver=raw,node-name={raw},file={file}"),
        ];
        let mut args = Vec::new();
        if self.limited {
            let limits = self.limits();
            args.extend(["-object".to_string(), format!("throttle-group,id={limits}")]);
            nodes.push(format!("driver=throttle,node-name={name},throttle-group={limits},file={raw}"));
        }
        args.extend(nodes.into_iter().flat_map(|node| ["-blockdev".to_string(), node]));
        let mut device = |text: String| args.extend(["-device".to_string(), text]);
        match self.connection {
            Connection::Nvme => device(format!("nvme,drive={name},serial={name}")),
            Connection::NvmeInSlot => {
                device(format!("pcie-root-port,id=slot-{name},chassis={}", self.chassis()));
                device(format!("nvme,id=in-{name},drive={name},serial={name},bus=slot-{name}"));
            }
            Connection::AhciInSlot => {
                device(format!("pcie-root-port,id=slot-{name},chassis={}", self.chassis()));
                device(format!("ich9-ahci,id=in-{name},bus=slot-{name}"));
                device(format!("ide-hd,drive={name},serial={name},bus=in-{name}.0"));
            }
            Connection::Ahci => {
                device(format!("ich9-ahci,id=ahci-{name}"));
                device(format!("ide-hd,drive={name},serial={name},bus=ahci-{name}.0"));
            }
            Connection::Virtio => {
                device(format!("virtio-blk-pci,drive={name},serial={name},disable-legacy=on"));
            }
        }
        if matches!(self.connection, Connection::NvmeInSlot | Connection::AhciInSlot) {
            // The slot's own registers tell of plugging, not the chipset's for ACPI.
            args.extend(["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"].map(String::from));
        }
        Ok(args)
    }

    /// As it was named.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What QEMU calls the node of its file.
    pub(super) fn file_node(&self) -> String {
        format!("{}-file", self.name)
    }

    /// What it calls the node of its format.
    pub(super) fn raw_node(&self) -> String {
        if self.limited { format!("{}-raw", self.name) } else { self.name.clone() }
    }

    /// What it calls the limits of its speed.
    pub(super) fn limits(&self) -> String {
        format!("{}-limits", self.name)
    }

    /// A chassis number of its own, from its name: what QEMU wants.
    fn chassis(&self) -> u8 {
        self.name.bytes().fold(1u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)).max(1)
    }

    /// What to tell QEMU's monitor to pull the drive out of its slot.
    pub fn pull(&self) -> String {
        format!(r#"{{"execute":"device_del","arguments":{{"id":"in-{}"}}}}"#, self.name)
    }

    /// What to tell it to plug an NVMe drive in again.
    pub fn plug(&self) -> String {
        let name = &self.name;
        format!(
            r#"{{"execute":"device_add","arguments":{{"driver":"nvme","id":"in-{name}","drive":"{name}","serial":"{name}","bus":"slot-{name}"}}}}"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_names_the_drive_and_its_file() {
        for (connection, device) in [
            (Connection::Nvme, "-device nvme,drive=d,serial=d"),
            (Connection::NvmeInSlot, "-device nvme,id=in-d,drive=d,serial=d,bus=slot-d"),
            (
                Connection::AhciInSlot,
                "-device ich9-ahci,id=in-d,bus=slot-d -device ide-hd,drive=d,serial=d,bus=in-d.0 -global ICH9",
            ),
            (Connection::Ahci, "-device ide-hd,drive=d,serial=d,bus=ahci-d.0"),
            (Connection::Virtio, "-device virtio-blk-pci,drive=d,serial=d,disable-legacy=on"),
        ] {
            let line = Drive::new("d", "/a,b.img", connection).args().unwrap().join(" ");
            let node = "-blockdev driver=file,node-name=d-file,filename=/a,,b.img \
                        -blockdev driver=raw,node-name=d,file=d-file ";
            assert!(line.starts_with(node) && line.contains(device), "{line}");
        }
    }
}
