//! Where physical memory appears in the address space of whoever runs this crate.
use crate::addr::{Hpa, Hva, LARGE_PAGE};

/// All of physical memory, mapped linearly: physical address `p` is readable at `base + p`.
///
/// In the kernel the base is [`crate::layout::DIRECT_MAP`]; in the UEFI loader, where memory is
/// identity-mapped, it is 0; a host test sets it so that a stretch of its own memory plays RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectMap {
    base: Hva,
}

impl DirectMap {
    /// Physical and virtual addresses agree below this alignment, so that a naturally aligned block of
    /// frames is as aligned in virtual memory.
    pub const ALIGNMENT: u64 = LARGE_PAGE;

    /// # Panics
    /// Where `base` is not a multiple of [`Self::ALIGNMENT`].
    pub const fn new(base: Hva) -> Self {
        assert!(base.is_aligned(Self::ALIGNMENT), "the direct map starts on a 2 MiB boundary");
        Self { base }
    }

    /// Virtual address of a physical one.
    #[inline(always)]
    pub fn address(self, physical: Hpa) -> Hva {
        self.base + physical.get()
    }

    /// Pointer to a physical address. Making it is safe; using it needs that the memory exists, is mapped,
    /// and belongs to the caller.
    #[inline(always)]
    pub fn pointer<T>(self, physical: Hpa) -> *mut T {
        self.address(physical).as_mut_ptr()
    }

    /// The physical address of something inside the direct map: the inverse of [`Self::address`].
    ///
    /// For an address outside of the direct map the result means nothing.
    #[inline(always)]
    pub fn physical(self, address: Hva) -> Hpa {
        Hpa::new_truncate(address - self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_survives_the_way_there_and_back() {
        let map = DirectMap::new(Hva::new(0xffff_8000_0000_0000));
        let p = Hpa::new(0x1234_5678);
        assert_eq!(map.address(p), Hva::new(0xffff_8000_1234_5678));
        assert_eq!(map.physical(map.address(p)), p);
    }

    #[test]
    #[should_panic(expected = "2 MiB boundary")]
    fn a_base_that_would_break_alignment_is_refused() {
        DirectMap::new(Hva::new(0xffff_8000_0000_1000));
    }
}
