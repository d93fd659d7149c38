//! The model-specific registers of a vCPU.
//!
//! [`table`] lists them. [`MsrStore`] keeps those that are nothing but a value, and names the [`Owner`] of all
//! others, whom the caller asks. A register that is not in the table does not exist: #GP.
mod mtrr;
mod table;
#[cfg(test)]
mod tests;

use super::paravirtual::Features;
use crate::backend::HardwareMsr;
use table::{
    IA32_APIC_BASE, IA32_TSC_DEADLINE, Read, Row, SLOTS, STORED, TABLE, Write, X2APIC_FIRST, X2APIC_LAST,
};

/// The access raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gp;

/// What of a VM the registers depend on.
#[derive(Clone, Copy, Debug)]
pub struct MsrFacts {
    /// Paravirtual features that the VM is shown.
    pub paravirtual: Features,
    /// Revision of the microcode as the host reads it from register 8Bh.
    pub patch_level: u64,
    /// Bits of a physical address that CPUID shows (leaf 0x8000_0008, EAX bits 7:0).
    pub physical_bits: u8,
    /// CPUID shows IBPB (leaf 0x8000_0008, EBX bit 12).
    pub prediction_barrier: bool,
}

/// Who keeps a register that is not in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The clock: the guest's time-stamp counter.
    Tsc,
    /// The clock: what the guest added to the counter by itself (SDM vol. 3B, 17.17.3).
    TscAdjust,
    /// The local APIC, which checks transitions and reserved bits.
    ApicBase,
    /// The local APIC: register at this offset divided by 16, in x2APIC mode; #GP otherwise.
    X2Apic(u8),
    /// The local APIC: deadline of its timer.
    TscDeadline,
    /// The back end. A written value has no bits that are hidden; LME against CR0.PG is the caller's check.
    Efer,
    /// The back end. A written value was checked.
    Hardware(HardwareMsr),
    /// The back end: a write of 1 drops the CPU's indirect branch predictions, of 0 does nothing.
    PredictionBarrier,
    /// The paravirtual clock of this vCPU: see [`super::pvclock::system_time_address`].
    SystemTime,
    /// The wall clock, to be written once: see [`super::pvclock::wall_clock_address`].
    WallClock,
    /// Time stolen from this vCPU.
    StealTime,
    /// End of interrupt without an exit.
    PvEoi,
}

/// Outcome of RDMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrRead {
    /// This is in it.
    Value(u64),
    /// Ask.
    Owner(Owner),
}

/// Outcome of WRMSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrWrite {
    /// Nothing is left to be done.
    Done,
    /// The owner has to take this value, or refuse it with #GP.
    Owner(Owner, u64),
}

/// The registers of one vCPU that are nothing but values.
pub struct MsrStore {
    facts: MsrFacts,
    values: [u64; STORED],
}

impl MsrStore {
    /// As firmware leaves them.
    pub fn new(facts: MsrFacts) -> Self {
        let mut store = Self { facts, values: [0; STORED] };
        store.reset();
        store
    }

    /// Back to what firmware leaves, after power-on. INIT alone changes none of them.
    pub fn reset(&mut self) {
        for (i, row) in TABLE.iter().enumerate() {
            if let Read::Stored(initial) = row.read {
                self.values[usize::from(SLOTS[i])..usize::from(SLOTS[i + 1])].fill(initial);
            }
        }
        // The hole below 4 GiB, whose mask is as wide as the CPU's addresses.
        for (msr, value) in [(0x200, mtrr::HOLE_BASE), (0x201, mtrr::hole_mask(&self.facts))] {
            if let Some((_, slot)) = self.find(msr) {
                self.values[slot] = value;
            }
        }
    }

    /// Whether a register exists, and its name, for messages.
    pub fn name(msr: u32) -> Option<&'static str> {
        position(msr).map(|i| TABLE[i].name)
    }

    /// RDMSR.
    ///
    /// # Errors
    /// [`Gp`] where there is no such register.
    #[inline]
    pub fn read(&self, msr: u32) -> Result<MsrRead, Gp> {
        if let Some(owner) = hot(msr) {
            return Ok(MsrRead::Owner(owner));
        }
        let (row, slot) = self.find(msr).ok_or(Gp)?;
        Ok(match row.read {
            Read::Constant(value) => MsrRead::Value(value),
            Read::Stored(_) => MsrRead::Value(self.values.get(slot).copied().unwrap_or(0)),
            Read::Refuse => return Err(Gp),
            Read::PatchLevel => MsrRead::Value(self.facts.patch_level),
            Read::Ask(owner) => MsrRead::Owner(owner),
        })
    }

    /// WRMSR.
    ///
    /// # Errors
    /// [`Gp`] where there is no such register, it can't be written, or not with this value.
    #[inline]
    pub fn write(&mut self, msr: u32, value: u64) -> Result<MsrWrite, Gp> {
        if let Some(owner) = hot(msr) {
            return Ok(MsrWrite::Owner(owner, value));
        }
        let (row, slot) = self.find(msr).ok_or(Gp)?;
        if !(row.valid)(value, &self.facts) {
            return Err(Gp);
        }
        let mut store = |value| {
            if let Some(place) = self.values.get_mut(slot) {
                *place = value;
            }
        };
        Ok(match row.write {
            Write::Refuse => return Err(Gp),
            Write::Ignore => MsrWrite::Done,
            Write::Store => {
                store(value);
                MsrWrite::Done
            }
            Write::StoreAndTell(owner) => {
                store(value);
                MsrWrite::Owner(owner, value)
            }
            // The upper half of TSC_AUX does not exist.
            Write::Tell(owner @ Owner::Hardware(HardwareMsr::TscAux)) => {
                MsrWrite::Owner(owner, value & 0xffff_ffff)
            }
            Write::Tell(owner) => MsrWrite::Owner(owner, value),
        })
    }

    /// A register's row and where its value is kept, if it exists in this VM.
    fn find(&self, msr: u32) -> Option<(&'static Row, usize)> {
        let i = position(msr)?;
        let row = &TABLE[i];
        let slot = usize::from(SLOTS[i]) + (msr - row.first) as usize;
        self.facts.paravirtual.contains(row.feature).then_some((row, slot))
    }
}

/// Registers that a running guest uses all the time, before the table is searched.
#[inline(always)]
fn hot(msr: u32) -> Option<Owner> {
    match msr {
        IA32_TSC_DEADLINE => Some(Owner::TscDeadline),
        X2APIC_FIRST..=X2APIC_LAST => Some(Owner::X2Apic((msr - X2APIC_FIRST) as u8)),
        IA32_APIC_BASE => Some(Owner::ApicBase),
        _ => None,
    }
}

/// Index of a register's row.
fn position(msr: u32) -> Option<usize> {
    let after = TABLE.partition_point(|row| row.first <= msr);
    let i = after.checked_sub(1)?;
    (msr <= TABLE[i].last).then_some(i)
}
