//! The CPUs and interrupt controllers (ACPI 6.5, 5.2.12 "Multiple APIC Description Table").
use super::field::{u8_at, u16_at, u32_at, u64_at};
use super::{Signature, Table};
use alloc::vec::Vec;

/// Local APIC flags: the CPU can be used now (ACPI 6.5, table 5.22).
const ENABLED: u32 = 1;

/// One interrupt controller structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A CPU (types 0 and 9): its local APIC's id, and whether it is enabled. A CPU that is only
    /// online-capable is not enabled yet.
    LocalApic {
        /// Local APIC or x2APIC id.
        apic_id: u32,
        /// Whether the CPU can be started now.
        enabled: bool,
    },
    /// An I/O APIC (type 1).
    IoApic(IoApic),
    /// An ISA interrupt that does not arrive where ISA interrupts by default do (type 2).
    SourceOverride(SourceOverride),
    /// The local APICs' address beyond 32 bits (type 5).
    LocalApicAddress(u64),
    /// A local APIC input that is wired to NMI (types 4 and 10).
    LocalApicNmi {
        /// Local interrupt pin, 0 or 1.
        pin: u8,
    },
    /// A structure of another type, or one too short for its type.
    Other(u8),
}

/// An I/O APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Its id.
    pub id: u8,
    /// Physical address of its registers.
    pub address: u32,
    /// Global system interrupt of its pin 0.
    pub first_gsi: u32,
}

/// Where an ISA interrupt goes instead of to the pin of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceOverride {
    /// ISA interrupt number.
    pub irq: u8,
    /// Global system interrupt.
    pub gsi: u32,
    /// Polarity in bits 1:0, trigger mode in bits 3:2 (ACPI 6.5, table 5.25).
    pub flags: u16,
}

/// Level at which an interrupt line is asserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// Asserted when high.
    ActiveHigh,
    /// Asserted when low.
    ActiveLow,
}

/// How an interrupt line signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By a change.
    Edge,
    /// By a level, until serviced.
    Level,
}

/// Where an ISA interrupt arrives, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IrqRoute {
    /// Global system interrupt.
    pub gsi: u32,
    /// Its polarity.
    pub polarity: Polarity,
    /// Its trigger mode.
    pub trigger: Trigger,
}

/// The table.
#[derive(Clone, Copy)]
pub struct Madt<'a> {
    table: Table<'a>,
}

impl<'a> Madt<'a> {
    /// Views `table`, if it is a MADT.
    pub fn new(table: Table<'a>) -> Option<Self> {
        Some(Self { table: table.expect(Signature::MADT)? })
    }

    /// All structures, in the table's order. Ends early at one whose length is impossible.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let mut rest = self.table.body().get(8..).unwrap_or(&[]);
        core::iter::from_fn(move || {
            let len = usize::from(*rest.get(1)?);
            if len < 2 {
                return None;
            }
            let (entry, after) = rest.split_at_checked(len)?;
            rest = after;
            Some(parse(entry))
        })
    }

    /// APIC ids of the CPUs that can be started, each once, in the table's order.
    pub fn cpus(&self) -> Vec<u32> {
        let mut ids = Vec::new();
        for entry in self.entries() {
            if let Entry::LocalApic { apic_id, enabled: true } = entry
                && !ids.contains(&apic_id)
            {
                ids.push(apic_id);
            }
        }
        ids
    }

    /// Physical address of the local APICs' registers (for xAPIC mode).
    pub fn local_apic_address(&self) -> u64 {
        let long = self.entries().find_map(|e| match e {
            Entry::LocalApicAddress(a) => Some(a),
            _ => None,
        });
        long.or_else(|| u32_at(self.table.body(), 0).map(u64::from)).unwrap_or(0xfee0_0000)
    }

    /// The I/O APICs.
    pub fn io_apics(&self) -> impl Iterator<Item = IoApic> + use<'a> {
        self.entries().filter_map(|e| match e {
            Entry::IoApic(a) => Some(a),
            _ => None,
        })
    }

    /// Where ISA interrupt `irq` arrives. ISA interrupts are edge-triggered, active-high, and identity
    /// mapped, unless an override says otherwise (ACPI 6.5, 5.2.12.5).
    pub fn isa_route(&self, irq: u8) -> IrqRoute {
        let o = self.entries().find_map(|e| match e {
            Entry::SourceOverride(o) if o.irq == irq => Some(o),
            _ => None,
        });
        let (gsi, flags) = o.map_or((u32::from(irq), 0), |o| (o.gsi, o.flags));
        IrqRoute {
            gsi,
            polarity: if flags & 3 == 3 { Polarity::ActiveLow } else { Polarity::ActiveHigh },
            trigger: if flags >> 2 & 3 == 3 { Trigger::Level } else { Trigger::Edge },
        }
    }
}

fn parse(entry: &[u8]) -> Entry {
    let kind = entry[0];
    known(kind, entry).unwrap_or(Entry::Other(kind))
}

fn known(kind: u8, e: &[u8]) -> Option<Entry> {
    Some(match kind {
        0 => {
            let id = u8_at(e, 3)?;
            // 255 is the broadcast id, which firmware uses for absent CPUs.
            Entry::LocalApic { apic_id: id.into(), enabled: u32_at(e, 4)? & ENABLED != 0 && id != 0xff }
        }
        9 => {
            let id = u32_at(e, 4)?;
            Entry::LocalApic { apic_id: id, enabled: u32_at(e, 8)? & ENABLED != 0 && id != u32::MAX }
        }
        1 => Entry::IoApic(IoApic { id: u8_at(e, 2)?, address: u32_at(e, 4)?, first_gsi: u32_at(e, 8)? }),
        2 => Entry::SourceOverride(SourceOverride {
            irq: u8_at(e, 3)?,
            gsi: u32_at(e, 4)?,
            flags: u16_at(e, 8)?,
        }),
        4 => Entry::LocalApicNmi { pin: u8_at(e, 5)? },
        10 => Entry::LocalApicNmi { pin: u8_at(e, 8)? },
        5 => Entry::LocalApicAddress(u64_at(e, 4)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{noise, table, view};
    use super::*;

    /// What QEMU's q35 with 2 CPUs says, with a third disabled and one twice.
    const BODY: &[u8] = &[
        0x00, 0x00, 0xe0, 0xfe, 1, 0, 0, 0, // local APIC at 0xfee00000, PC-AT compatible
        0, 8, 0, 0, 1, 0, 0, 0, // CPU, APIC id 0, enabled
        0, 8, 1, 1, 1, 0, 0, 0, // CPU, APIC id 1, enabled
        0, 8, 2, 2, 2, 0, 0, 0, // CPU, APIC id 2, online-capable only
        0, 8, 3, 0xff, 1, 0, 0, 0, // not a CPU
        9, 16, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, // APIC id 1 again, as x2APIC
        9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, // x2APIC id 300
        1, 12, 7, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0, // I/O APIC
        2, 10, 0, 0, 2, 0, 0, 0, 0, 0, // IRQ 0 is GSI 2
        2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0, // IRQ 9: level, active high
        2, 10, 0, 10, 22, 0, 0, 0, 0x0f, 0, // IRQ 10 is GSI 22, level, active low
        4, 6, 0xff, 0, 0, 1, // LINT1 is NMI
    ];

    #[test]
    fn usable_cpus_are_listed_once_each() {
        let t = table(b"APIC", BODY);
        assert_eq!(Madt::new(view(&t)).unwrap().cpus(), [0, 1, 300]);
    }

    #[test]
    fn overrides_move_isa_interrupts_and_the_rest_stay() {
        let t = table(b"APIC", BODY);
        let madt = Madt::new(view(&t)).unwrap();
        let route = |gsi, polarity, trigger| IrqRoute { gsi, polarity, trigger };
        assert_eq!(madt.isa_route(0), route(2, Polarity::ActiveHigh, Trigger::Edge));
        assert_eq!(madt.isa_route(4), route(4, Polarity::ActiveHigh, Trigger::Edge));
        assert_eq!(madt.isa_route(9), route(9, Polarity::ActiveHigh, Trigger::Level));
        assert_eq!(madt.isa_route(10), route(22, Polarity::ActiveLow, Trigger::Level));
    }

    #[test]
    fn controllers_and_addresses_are_found() {
        let t = table(b"APIC", BODY);
        let madt = Madt::new(view(&t)).unwrap();
        assert_eq!(madt.local_apic_address(), 0xfee0_0000);
        let io: Vec<_> = madt.io_apics().collect();
        assert_eq!(io, [IoApic { id: 7, address: 0xfec0_0000, first_gsi: 0 }]);
        assert_eq!(madt.entries().last(), Some(Entry::LocalApicNmi { pin: 1 }));
    }

    #[test]
    fn a_64_bit_local_apic_address_wins() {
        let mut body = Vec::from(BODY);
        body.extend([5, 12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        let t = table(b"APIC", &body);
        assert_eq!(Madt::new(view(&t)).unwrap().local_apic_address(), 1 << 32);
    }

    #[test]
    fn impossible_lengths_end_the_list() {
        for bad in [&[0u8, 0, 0, 0][..], &[0, 1, 0, 0], &[0, 200, 0, 0], &[0]] {
            let mut body = Vec::from(&BODY[..16]);
            body.extend(bad);
            let t = table(b"APIC", &body);
            assert_eq!(Madt::new(view(&t)).unwrap().entries().count(), 1);
        }
        let t = table(b"APIC", &[]);
        assert_eq!(Madt::new(view(&t)).unwrap().cpus(), []);
    }

    #[test]
    fn an_entry_too_short_for_its_type_is_set_aside() {
        let mut body = Vec::from(&BODY[..8]);
        body.extend([1, 4, 0, 0]);
        body.extend(&BODY[8..16]);
        let t = table(b"APIC", &body);
        let all: Vec<_> = Madt::new(view(&t)).unwrap().entries().collect();
        assert_eq!(all, [Entry::Other(1), Entry::LocalApic { apic_id: 0, enabled: true }]);
    }

    #[test]
    fn noise_never_panics() {
        for seed in 0..2000 {
            let t = table(b"APIC", &noise(seed, (seed % 300) as usize));
            let madt = Madt::new(view(&t)).unwrap();
            let _ = (madt.cpus(), madt.isa_route(3), madt.local_apic_address(), madt.io_apics().count());
        }
    }
}
