//! CPUID as a guest sees it.
//!
//! [`table`] says for each leaf what is shown. [`CpuidTable::new`] asks the host once and computes all rows of
//! a vCPU; [`CpuidTable::get`] finds one by two indexed loads, and patches the few bits that depend on the
//! vCPU's control registers.
//!
//! Topology: one package, as many cores as vCPUs, one thread each. APIC IDs count from 0.
mod compute;
mod feature;
mod table;
#[cfg(test)]
mod tests;

use super::paravirtual;
use crate::cpu::Cr4;
use alloc::boxed::Box;
use alloc::vec::Vec;
use compute::{Context, Host};
use feature::{extended_1_edx, leaf_1_ecx, leaf_1_edx, leaf_7_ecx};
use table::{Live, NEEDS, Subleaf, TABLE};

/// What a VM is, as far as CPUID tells.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// vCPUs of the VM, at least 1.
    pub vcpus: u32,
    /// This vCPU's APIC ID, less than `vcpus`.
    pub apic_id: u32,
    /// Components of the extended state that the back end switches. A guest is shown those of them that it
    /// may have ([`guest_states`]); 0 hides XSAVE and all that needs it.
    pub xcr0: u64,
    /// Ticks of the guest's time-stamp counter a second.
    pub tsc_hz: u64,
    /// Ticks of the local APIC's timer a second, before its divider.
    pub apic_timer_hz: u64,
    /// The time-stamp counter neither stops nor changes its pace.
    pub invariant_tsc: bool,
    /// Revision of the microcode as the host reads it from register 8Bh.
    pub patch_level: u64,
    /// Paravirtual features that the caller carries out.
    pub paravirtual: paravirtual::Features,
}

/// State of the vCPU that CPUID shows.
#[derive(Clone, Copy, Debug)]
pub struct LiveState {
    /// CR4.
    pub cr4: Cr4,
    /// XCR0 as the guest set it.
    pub xcr0: u64,
    /// IA32_APIC_BASE.EN.
    pub apic_enabled: bool,
}

/// The components of the extended state that guests may have, of those that the back end switches: x87, SSE,
/// AVX, AVX-512 and protection keys, each only with those that it builds on (SDM vol. 1, 13.3).
pub const fn guest_states(switched: u64) -> u64 {
    const X87_SSE: u64 = 0b11;
    const AVX: u64 = 1 << 2;
    const AVX_512: u64 = 0b111 << 5;
    const PKRU: u64 = 1 << 9;
    if switched & X87_SSE != X87_SSE {
        return 0;
    }
    let mut states = X87_SSE | switched & (AVX | PKRU);
    if switched & (AVX | AVX_512) == AVX | AVX_512 {
        states |= AVX_512;
    }
    states
}

/// Bytes of the legacy region and the header of a save area (SDM vol. 1, 13.4).
const LEGACY_AND_HEADER: u32 = 576;
/// Leaf 0xd, ECX: the component is aligned in the compacted form.
const ALIGNED: u32 = 1 << 1;

/// Leaves of each range that the directory has room for.
const RANGE: usize = 48;

/// Where a leaf's rows are.
#[derive(Clone, Copy)]
struct Slot {
    /// Index of subleaf 0.
    first: u16,
    /// Rows; 0 for a leaf that does not look at ECX, which has one.
    subleaves: u8,
    live: Live,
}

/// A component of the extended state beyond the legacy region.
#[derive(Clone, Copy)]
struct Component {
    bit: u8,
    size: u32,
    offset: u32,
    aligned: bool,
}

/// All that CPUID tells one vCPU.
pub struct CpuidTable {
    /// Leaves 0, 0x4000_0000 and 0x8000_0000 and up. A leaf without rows points at the zero row.
    directory: [[Slot; RANGE]; 3],
    /// EAX, EBX, ECX, EDX.
    rows: Box<[[u32; 4]]>,
    components: Box<[Component]>,
    max_basic: u32,
    max_extended: u32,
    amd: bool,
    apic_id: u32,
}

/// The row that reads as zero.
const ZERO: Slot = Slot { first: 0, subleaves: 0, live: Live::Nothing };

impl CpuidTable {
    /// Computes a vCPU's table. `host(leaf, subleaf)` executes CPUID: EAX, EBX, ECX, EDX.
    pub fn new(host: &dyn Fn(u32, u32) -> [u32; 4], facts: &Facts) -> Self {
        let host = Host::new(host);
        let facts = &Facts { xcr0: guest_states(facts.xcr0), ..*facts };
        let mut rows: Vec<[u32; 4]> = alloc::vec![[0; 4]];
        let mut directory = [[ZERO; RANGE]; 3];
        for row in TABLE {
            let (range, number) = split(row.leaf);
            let slot = &mut directory[range.unwrap_or(0)][number as usize % RANGE];
            let (first, last) = match row.subleaf {
                Subleaf::Any => (0, 0),
                Subleaf::Is(n) => (n, n),
                Subleaf::From(first, last) => (first, last),
            };
            if first == 0 {
                *slot = Slot { first: rows.len() as u16, subleaves: 0, live: row.live };
            }
            for subleaf in first..=last {
                rows.push(evaluate(row, &Context { facts, host: &host, leaf: row.leaf, subleaf }));
            }
            if row.subleaf != Subleaf::Any {
                slot.subleaves = last as u8 + 1;
            }
        }
        let components = (2..63u8)
            .filter(|bit| facts.xcr0 >> bit & 1 != 0)
            .map(|bit| {
                let [size, offset, flags, _] = host.get(0xd, bit.into());
                Component { bit, size, offset, aligned: flags & ALIGNED != 0 }
            })
            .collect();
        let mut table = Self {
            directory,
            rows: rows.into_boxed_slice(),
            components,
            max_basic: 0,
            max_extended: 0,
            amd: host.is_amd(),
            apic_id: facts.apic_id,
        };
        table.max_basic = table.row(table.directory[0][0], 0)[0];
        table.max_extended = table.row(table.directory[2][0], 0)[0];
        table.hide_beyond_maximum();
        table
    }

    /// Leaves of the table that this host's highest leaf leaves out.
    fn hide_beyond_maximum(&mut self) {
        for (number, slot) in self.directory[0].iter_mut().enumerate() {
            if number as u32 > self.max_basic {
                *slot = ZERO;
            }
        }
        for (number, slot) in self.directory[2].iter_mut().enumerate() {
            if number as u32 > self.max_extended & 0xffff {
                *slot = ZERO;
            }
        }
    }

    /// What CPUID returns in EAX, EBX, ECX and EDX. `live` is asked only for leaves that depend on it.
    #[inline]
    pub fn get(&self, leaf: u32, subleaf: u32, live: impl FnOnce() -> LiveState) -> [u32; 4] {
        let slot = match split(leaf) {
            (Some(range), number) if (number as usize) < RANGE => self.directory[range][number as usize],
            _ => ZERO,
        };
        if slot.first == 0 {
            return self.missing(leaf, subleaf, live);
        }
        let row = self.row(slot, subleaf);
        match slot.live {
            Live::Nothing => row,
            kind => self.patch(kind, row, subleaf, live()),
        }
    }

    /// The row of a subleaf, or zeroes beyond the last.
    #[inline(always)]
    fn row(&self, slot: Slot, subleaf: u32) -> [u32; 4] {
        let index = if slot.subleaves == 0 {
            0
        } else if subleaf < u32::from(slot.subleaves) {
            subleaf
        } else {
            return [0; 4];
        };
        self.rows.get(usize::from(slot.first) + index as usize).copied().unwrap_or([0; 4])
    }

    /// A leaf without rows: zero, but on Intel the highest basic leaf for all that is out of range
    /// (SDM vol. 2A, CPUID). The hypervisor's range is ours, where nothing is out of range.
    #[cold]
    fn missing(&self, leaf: u32, subleaf: u32, live: impl FnOnce() -> LiveState) -> [u32; 4] {
        let in_range = match leaf >> 28 {
            0 => leaf <= self.max_basic,
            4 => true,
            8 => leaf <= self.max_extended,
            _ => false,
        };
        if self.amd || in_range {
            return [0; 4];
        }
        let slot = self.directory[0][self.max_basic as usize % RANGE];
        self.patch(slot.live, self.row(slot, subleaf), subleaf, live())
    }

    #[inline]
    fn patch(&self, kind: Live, mut row: [u32; 4], subleaf: u32, live: LiveState) -> [u32; 4] {
        match kind {
            Live::Nothing => {}
            Live::Leaf1 => {
                let osxsave = live.cr4.contains(Cr4::OSXSAVE) && row[2] & leaf_1_ecx::XSAVE != 0;
                row[2] |= if osxsave { leaf_1_ecx::OSXSAVE } else { 0 };
                row[3] &= if live.apic_enabled { u32::MAX } else { !leaf_1_edx::APIC };
            }
            Live::Extended1 => {
                row[3] &= if live.apic_enabled { u32::MAX } else { !extended_1_edx::APIC };
            }
            Live::Leaf7 => {
                let ospke = live.cr4.contains(Cr4::PKE) && row[2] & leaf_7_ecx::PKU != 0;
                row[2] |= if ospke && subleaf == 0 { leaf_7_ecx::OSPKE } else { 0 };
            }
            Live::Topology => {
                if subleaf > 1 {
                    row = [0, 0, subleaf & 0xff, self.apic_id];
                }
            }
            Live::Xsave => match subleaf {
                0 => row[1] = self.standard_size(live.xcr0),
                1 => row[1] = self.compacted_size(live.xcr0),
                _ => {}
            },
        }
        row
    }

    /// Bytes of a save area in the standard form (SDM vol. 1, 13.4.3).
    fn standard_size(&self, xcr0: u64) -> u32 {
        self.components
            .iter()
            .filter(|c| xcr0 >> c.bit & 1 != 0)
            .fold(LEGACY_AND_HEADER, |end, c| end.max(c.offset.saturating_add(c.size)))
    }

    /// Bytes of a save area in the compacted form.
    fn compacted_size(&self, xcr0: u64) -> u32 {
        self.components.iter().filter(|c| xcr0 >> c.bit & 1 != 0).fold(LEGACY_AND_HEADER, |end, c| {
            let start = if c.aligned { end.saturating_add(63) & !63 } else { end };
            start.saturating_add(c.size)
        })
    }
}

/// Range (0 for basic, 1 for the hypervisor's, 2 for extended leaves) and number of a leaf.
#[inline(always)]
const fn split(leaf: u32) -> (Option<usize>, u32) {
    let range = match leaf >> 28 {
        0 => Some(0),
        4 => Some(1),
        8 => Some(2),
        _ => None,
    };
    (range, leaf & 0x0fff_ffff)
}

/// Computes one row.
fn evaluate(row: &table::Row, context: &Context) -> [u32; 4] {
    let host = context.host.get(context.leaf, context.subleaf);
    let mut out = [0; 4];
    for (i, reg) in row.regs.iter().enumerate() {
        out[i] = host[i] & reg.mask | reg.set | reg.made.map_or(0, |made| made(context));
    }
    for needs in NEEDS {
        let applies = needs.leaf == context.leaf && needs.subleaf == context.subleaf;
        if applies && context.facts.xcr0 & needs.state != needs.state {
            out[needs.register] &= !needs.bits;
        }
    }
    out
}
