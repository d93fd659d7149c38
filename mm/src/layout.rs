//! The hypervisor's virtual address space, as constants.
//!
//! | region | what | mapped |
//! |---|---|---|
//! | lower half | nothing; guests live behind nested paging | never (but for the loader's trampoline, at boot) |
//! | [`DIRECT_MAP`] | all physical memory. The kernel heap, page tables and VMM structures (VMCB, VMCS, nested tables) live here: what the frame allocator hands out is reached through it and needs no mapping of its own | by the loader, read/write, no execute |
//! | [`MMIO`] | windows onto device registers that lie outside of the direct map or need another memory type | by drivers, uncached, no execute |
//! | [`STACKS`] | per-CPU stacks in slots, everything below a stack in its slot unmapped | as CPUs start |
//! | [`KERNEL_IMAGE`] | the kernel's segments | by the loader, each with its own rights |
use core::ops::Range;

use crate::addr::{Hva, PAGE};

/// A stretch of the address space with one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    base: u64,
    bytes: u64,
}

impl Region {
    /// First byte.
    pub const fn base(self) -> Hva {
        Hva::new(self.base)
    }

    /// Length in bytes.
    pub const fn bytes(self) -> u64 {
        self.bytes
    }

    /// Whether `address` lies inside.
    pub const fn contains(self, address: Hva) -> bool {
        address.get() >= self.base && address.get() - self.base < self.bytes
    }

    /// Address of the last byte. An end one past it would not exist for a region that closes the space.
    const fn last(self) -> u64 {
        self.base + (self.bytes - 1)
    }
}

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// All of physical memory (the same as `handover::DIRECT_MAP`), up to 64 TiB.
pub const DIRECT_MAP: Region = Region { base: 0xffff_8000_0000_0000, bytes: 64 * TIB };

/// Windows onto device registers.
pub const MMIO: Region = Region { base: 0xffff_c000_0000_0000, bytes: 16 * TIB };

/// Stacks of all CPUs.
pub const STACKS: Region =
    Region { base: 0xffff_e000_0000_0000, bytes: MAX_CPUS as u64 * CPU_STACK_SLOTS * STACK_SLOT };

/// The kernel image, where `-C code-model=kernel` expects it.
pub const KERNEL_IMAGE: Region = Region { base: 0xffff_ffff_8000_0000, bytes: GIB };

/// CPUs that the hypervisor serves at most.
pub const MAX_CPUS: usize = 256;

/// Address space for one stack with its guard.
pub const STACK_SLOT: u64 = 256 * 1024;
/// The largest stack that leaves half of its slot as guard.
pub const MAX_STACK: u64 = STACK_SLOT / 2;
/// Stack slots of a CPU. Together they are 2 MiB: one page table per CPU maps all of them.
pub const CPU_STACK_SLOTS: u64 = 8;

/// Which of a CPU's stacks. NMI, double fault and machine check can strike while any other stack is in
/// an unknown state, so each has its own (TSS.IST, APM vol. 2, 8.9.4; SDM vol. 3A, 6.14.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Stack {
    /// What the CPU's loop runs on, and ordinary interrupts.
    Main = 0,
    /// Non-maskable interrupts.
    Nmi = 1,
    /// Double faults.
    DoubleFault = 2,
    /// Machine checks.
    MachineCheck = 3,
}

/// Where the stack of `bytes` lies: map exactly this range. The initial stack pointer is its end.
///
/// Everything else of the slot stays unmapped. A stack that overflows runs into the unmapped lower part of
/// its own slot, one that underflows into that of the next.
///
/// # Panics
/// Where `cpu` is not below [`MAX_CPUS`], or `bytes` is not a multiple of the page size up to [`MAX_STACK`].
pub const fn stack(cpu: usize, which: Stack, bytes: u64) -> Range<Hva> {
    assert!(cpu < MAX_CPUS, "CPU index beyond MAX_CPUS");
    assert!(bytes > 0 && bytes <= MAX_STACK && bytes.is_multiple_of(PAGE), "not a stack size");
    let slot = STACKS.base + (cpu as u64 * CPU_STACK_SLOTS + which as u64) * STACK_SLOT;
    let top = slot + STACK_SLOT;
    Hva::new(top - bytes)..Hva::new(top)
}

/// Whether `address` lies in a stack slot, and whose: what a page-fault handler asks to name a stack
/// overflow. The last part is the slot's number within the CPU's, as in [`Stack`].
pub const fn stack_slot_at(address: Hva) -> Option<(usize, u64)> {
    if !STACKS.contains(address) {
        return None;
    }
    let slot = (address.get() - STACKS.base) / STACK_SLOT;
    Some(((slot / CPU_STACK_SLOTS) as usize, slot % CPU_STACK_SLOTS))
}

// Regions are in the upper half, page-aligned, in ascending order, and do not overlap.
const _: () = {
    let regions = [DIRECT_MAP, MMIO, STACKS, KERNEL_IMAGE];
    let mut i = 0;
    while i < regions.len() {
        let r = regions[i];
        assert!(r.base >= 0xffff_8000_0000_0000);
        assert!(r.bytes > 0 && r.base.checked_add(r.bytes - 1).is_some());
        assert!(r.base.is_multiple_of(1 << 21) && r.bytes.is_multiple_of(1 << 21));
        assert!(i == 0 || regions[i - 1].last() < r.base);
        i += 1;
    }
    assert!(CPU_STACK_SLOTS > Stack::MachineCheck as u64);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_map_is_where_the_loader_puts_it() {
        assert_eq!(DIRECT_MAP.base().get(), handover::DIRECT_MAP);
    }

    #[test]
    fn every_stack_has_unmapped_space_below_and_above() {
        let main = stack(3, Stack::Main, MAX_STACK);
        let nmi = stack(3, Stack::Nmi, 16 * 1024);
        let next = stack(4, Stack::Main, MAX_STACK);
        assert!(nmi.start - main.end >= STACK_SLOT / 2);
        assert!(next.start > nmi.end);
        assert_eq!(stack_slot_at(main.start), Some((3, Stack::Main as u64)));
        // The byte below a stack belongs to the same slot, so that an overflow is blamed on its owner.
        assert_eq!(stack_slot_at(Hva::new(nmi.start.get() - 1)), Some((3, Stack::Nmi as u64)));
    }

    #[test]
    fn the_last_stack_of_the_last_cpu_is_inside_the_region() {
        let s = stack(MAX_CPUS - 1, Stack::MachineCheck, MAX_STACK);
        assert!(STACKS.contains(s.start) && STACKS.contains(Hva::new(s.end.get() - 1)));
        assert_eq!(stack_slot_at(KERNEL_IMAGE.base()), None);
    }

    #[test]
    #[should_panic(expected = "not a stack size")]
    fn a_stack_without_a_guard_is_refused() {
        stack(0, Stack::Main, STACK_SLOT);
    }
}
