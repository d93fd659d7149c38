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
    /// A virtio-blk device without the interface of old.
    Virtio,
}

/// A drive whose blocks are a file of the host, which is written.
#[derive(Clone, Debug)]
pub struct Drive {
    name: String,
    image: PathBuf,
    connection: Connection,
}

impl Drive {
    /// A drive by this name, unique in its machine, which is its serial number as well.
    pub fn new(name: impl Into<String>, image: impl Into<PathBuf>, connection: Connection) -> Self {
        Self { name: name.into(), image: image.into(), connection }
    }

    /// The drive's arguments.
    pub(super) fn args(&self) -> Result<Vec<String>> {
        let name = &self.name;
        let image = quoted(&self.image)?;
        // A node by itself, not `-drive`: it stays when its device is pulled out.
        let node = format!("driver=raw,node-name={name},file.driver=file,file.filename={image}");
        let mut args = vec!["-blockdev".to_string(), node];
        let mut device = |text: String| args.extend(["-device".to_string(), text]);
        match self.connection {
            Connection::Nvme => device(format!("nvme,drive={name},serial={name}")),
            Connection::NvmeInSlot => {
                device(format!("pcie-root-port,id=slot-{name},chassis={}", self.chassis()));
                device(format!("nvme,id=in-{name},drive={name},serial={name},bus=slot-{name}"));
                // The slot's own registers tell of plugging, not the chipset's for ACPI.
                args.extend(
                    ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"].map(String::from),
                );
            }
            Connection::Ahci => {
                device(format!("ich9-ahci,id=ahci-{name}"));
                device(format!("ide-hd,drive={name},serial={name},bus=ahci-{name}.0"));
            }
            Connection::Virtio => {
                device(format!("virtio-blk-pci,drive={name},serial={name},disable-legacy=on"));
            }
        }
        Ok(args)
    }

    /// A chassis number of its own, from its name: what QEMU wants.
    fn chassis(&self) -> u8 {
        self.name.bytes().fold(1u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte)).max(1)
    }

    /// What to tell QEMU's monitor to pull the drive out of its slot.
    pub fn pull(&self) -> String {
        format!(r#"{{"execute":"device_del","arguments":{{"id":"in-{}"}}}}"#, self.name)
    }

    /// What to tell it to plug the drive in again.
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
            (Connection::Ahci, "-device ide-hd,drive=d,serial=d,bus=ahci-d.0"),
            (Connection::Virtio, "-device virtio-blk-pci,drive=d,serial=d,disable-legacy=on"),
        ] {
            let line = Drive::new("d", "/a,b.img", connection).args().unwrap().join(" ");
            let node = "-blockdev driver=raw,node-name=d,file.driver=file,file.filename=/a,,b.img ";
            assert!(line.starts_with(node) && line.contains(device), "{line}");
        }
    }
}
