//! Interrupt messages: what travels from an ICR, an IOAPIC pin or an MSI to local APICs.
//! (SDM vol. 3A, 11.6.1 and 11.11; APM vol. 2, 16.5.)

/// How a message is handled by its receivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryMode {
    /// The vector, in every receiver.
    Fixed,
    /// The vector, in the receiver that does the least important work.
    LowestPriority,
    /// System management interrupt. There is no SMM here: ignored.
    Smi,
    /// Reserved encoding: ignored.
    Reserved,
    /// Non-maskable interrupt.
    Nmi,
    /// Reset to the wait-for-SIPI state.
    Init,
    /// Start-up at page `vector`.
    StartUp,
    /// An interrupt whose vector the 8259 supplies.
    ExtInt,
}

impl DeliveryMode {
    /// From the three bits of an ICR, LVT or redirection entry.
    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            0 => Self::Fixed,
            1 => Self::LowestPriority,
            2 => Self::Smi,
            3 => Self::Reserved,
            4 => Self::Nmi,
            5 => Self::Init,
            6 => Self::StartUp,
            _ => Self::ExtInt,
        }
    }
}

/// A message on its way to local APICs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// APIC ID, or logical destination. [`InterruptMessage::BROADCAST`] for all.
    pub destination: u32,
    /// The destination is logical.
    pub logical: bool,
    /// What to do.
    pub mode: DeliveryMode,
    /// The vector; the start-up page for [`DeliveryMode::StartUp`].
    pub vector: u8,
    /// Level-triggered: the EOI goes to the IOAPICs.
    pub level_triggered: bool,
    /// Asserted. Only INIT has a meaning for `false` (and that one is ignored).
    pub assert: bool,
}

impl InterruptMessage {
    /// The destination that stands for all local APICs.
    pub const BROADCAST: u32 = u32::MAX;

    /// An edge-triggered, fixed interrupt for one local APIC.
    pub const fn fixed(destination: u32, vector: u8) -> Self {
        Self {
            destination,
            logical: false,
            mode: DeliveryMode::Fixed,
            vector,
            level_triggered: false,
            assert: true,
        }
    }

    /// The destination of a source that has eight bits for it, in which all ones mean everybody.
    #[inline]
    pub const fn destination8(bits: u8) -> u32 {
        if bits == 0xff { Self::BROADCAST } else { bits as u32 }
    }
}

/// A message-signalled interrupt: the DMA write that a device would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Msi {
    /// Address, `0xFEEx_xxxx`.
    pub address: u64,
    /// Data.
    pub data: u32,
}

impl Msi {
    /// The message that it stands for; `None` where the address is not in the interrupt range, so that
    /// the write would hit memory or nothing.
    pub const fn decode(self) -> Option<InterruptMessage> {
        if self.address >> 20 != 0xfee {
            return None;
        }
        let address = self.address as u32;
        // Address bits 5 to 11 extend the destination by seven bits where the guest was told so by a
        // hypervisor's CPUID bit; it was not, and 16 vCPUs need none of them.
        Some(InterruptMessage {
            destination: InterruptMessage::destination8((address >> 12) as u8),
            logical: address & (1 << 2) != 0,
            mode: DeliveryMode::from_bits(self.data >> 8),
            vector: self.data as u8,
            level_triggered: self.data & (1 << 15) != 0,
            assert: self.data & (1 << 15) == 0 || self.data & (1 << 14) != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_msi_of_linux_decodes_to_an_edge_triggered_fixed_interrupt() {
        let m = Msi { address: 0xfee0_3000, data: 0x0025 }.decode().unwrap();
        assert_eq!(m, InterruptMessage::fixed(3, 0x25));
    }

    #[test]
    fn an_msi_in_logical_mode_to_all_is_a_broadcast() {
        let m = Msi { address: 0xfeef_f00c, data: 0x4130 }.decode().unwrap();
        assert_eq!(m.destination, InterruptMessage::BROADCAST);
        assert!(m.logical && !m.level_triggered && m.assert);
        assert_eq!(m.mode, DeliveryMode::LowestPriority);
    }

    #[test]
    fn a_write_outside_of_the_interrupt_range_is_no_msi() {
        for address in [0, 0xfed0_0000, 0xfef0_0000, 0x1_fee0_0000, u64::MAX] {
            assert_eq!(Msi { address, data: 0x30 }.decode(), None, "{address:#x}");
        }
    }
}
