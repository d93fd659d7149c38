//! Class codes (PCI Code and ID Assignment, chapter 1).
use core::fmt;

/// Base class, subclass and programming interface in bits 23:16, 15:8 and 7:0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Class(pub u32);

impl Class {
    /// AHCI 1.0 SATA controller.
    pub const AHCI: Self = Self(0x01_06_01);
    /// NVM Express I/O controller.
    pub const NVME: Self = Self(0x01_08_02);

    /// Base class and subclass.
    pub const fn kind(self) -> u16 {
        (self.0 >> 8) as u16
    }

    /// What it is, for people.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0x010601 => "AHCI controller",
            0x010802 => "NVMe controller",
            0x0c0330 => "USB controller (xHCI)",
            0x0c0320 => "USB controller (EHCI)",
            _ => match self.kind() {
                0x0000 | 0x0001 => "device older than class codes",
                0x0100 => "SCSI controller",
                0x0101 => "IDE controller",
                0x0104 => "RAID controller",
                0x0106 => "SATA controller",
                0x0107 => "SAS controller",
                0x0108 => "NVM controller",
                0x0180 => "storage controller",
                0x0200 => "Ethernet controller",
                0x0280 => "network controller",
                0x0300 => "VGA controller",
                0x0380 => "display controller",
                0x0403 => "audio device",
                0x0500 => "memory controller",
                0x0600 => "host bridge",
                0x0601 => "ISA bridge",
                0x0604 => "PCI bridge",
                0x0780 => "communication controller",
                0x0700 => "serial controller",
                0x0806 => "IOMMU",
                0x0c03 => "USB controller",
                0x0c05 => "SMBus",
                0x1000 => "network encryption",
                _ => match self.0 >> 16 {
                    0x01 => "mass storage",
                    0x02 => "network",
                    0x03 => "display",
                    0x04 => "multimedia",
                    0x05 => "memory",
                    0x06 => "bridge",
                    0x07 => "communication",
                    0x08 => "system peripheral",
                    0x09 => "input device",
                    0x0b => "processor",
                    0x0c => "serial bus",
                    0x0d => "wireless",
                    0x12 => "accelerator",
                    _ => "other device",
                },
            },
        }
    }
}

impl fmt::Debug for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Class({:#08x})", self.0)
    }
}
