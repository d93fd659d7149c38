//! The chips, and where they differ.
use net::nic::Segmentation;

const INTEL: u16 = 0x8086;

/// A family of chips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chip {
    /// 82540EM and 82545EM, on PCI (8254x Family of Gigabit Ethernet Controllers Software Developer's Manual, "SDM").
    I8254x,
    /// 82574L, on PCI Express (82574 GbE Controller Family Datasheet).
    I82574,
}

/// Whether a function is a card of this kind.
pub fn is_e1000(vendor: u16, device: u16) -> bool {
    vendor == INTEL && Chip::of(device).is_some()
}

impl Chip {
    /// That of a PCI device ID.
    pub fn of(device: u16) -> Option<Self> {
        match device {
            0x100e | 0x100f => Some(Self::I8254x),
            0x10d3 => Some(Self::I82574),
            _ => None,
        }
    }

    /// Most bytes of a transmit descriptor. The 8254x reckons roughly how much of its packet buffer a descriptor's data
    /// needs, headers of segments included, and can be led to overrun it by one that becomes more than four segments.
    pub fn most_piece(self, segmentation: Option<Segmentation>) -> usize {
        match (self, segmentation) {
            (Self::I8254x, Some(how)) => (usize::from(how.payload) * 4).clamp(256, 4096),
            (Self::I8254x, None) => 4096,
            (Self::I82574, _) => 8192,
        }
    }

    /// Most data descriptors of a frame. QEMU's 82574L drops a frame of more than 64; what the 8254x may have is bounded by
    /// the ring alone.
    pub fn most_pieces(self) -> usize {
        match self {
            Self::I8254x => 320,
            Self::I82574 => 64,
        }
    }

    /// Whether it cuts TCP over IPv6. The 8254x puts into each segment, as the length of IPv6's payload, that of the whole
    /// packet (so does QEMU's), which nobody takes.
    pub fn cuts_v6(self) -> bool {
        self == Self::I82574
    }

    /// EERD: the bit that says that a word was read, and where its address lies (SDM 13.4.4; datasheet 10.2.2.4).
    pub fn eeprom(self) -> (u32, u32) {
        match self {
            Self::I8254x => (1 << 4, 8),
            Self::I82574 => (1 << 1, 2),
        }
    }
}
