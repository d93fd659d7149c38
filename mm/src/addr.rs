//! The four kinds of addresses, as four types.
//!
//! | type | address of | who may dereference it |
//! |---|---|---|
//! | [`Hpa`] | host physical memory | devices; the kernel through the direct map |
//! | [`Hva`] | the hypervisor's own virtual memory | the hypervisor |
//! | [`Gpa`] | a guest's physical memory | nobody: look it up in the guest's memory first |
//! | [`Gva`] | a guest's virtual (linear) memory | nobody: walk the guest's page tables first |
//!
//! None converts into another by itself; what translates takes one type and returns another.
use core::fmt;

/// Bytes in the smallest page.
pub const PAGE: u64 = 4096;
/// Bytes in a page that a page-directory entry maps.
pub const LARGE_PAGE: u64 = 2 << 20;
/// Bytes in a page that a page-directory-pointer entry maps.
pub const HUGE_PAGE: u64 = 1 << 30;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address as a number.
            #[inline(always)]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The address `bytes` further on, or `None` where that leaves 64 bits.
            #[inline]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(a) => Some(Self(a)),
                    None => None,
                }
            }

            /// Rounded down to a multiple of `align`, a power of two.
            #[inline(always)]
            pub const fn align_down(self, align: u64) -> Self {
                Self(self.0 & !(align - 1))
            }

            /// Offset within a block of `align` bytes, a power of two.
            #[inline(always)]
            pub const fn offset_in(self, align: u64) -> u64 {
                self.0 & (align - 1)
            }

            /// Whether the address is a multiple of `align`, a power of two.
            #[inline(always)]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.offset_in(align) == 0
            }
        }

        impl core::ops::Add<u64> for $name {
            type Output = Self;
            /// Wraps, as address arithmetic of the CPU does; use `checked_add` on untrusted lengths.
            #[inline(always)]
            fn add(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }
        }

        impl core::ops::Sub<$name> for $name {
            type Output = u64;
            #[inline(always)]
            fn sub(self, earlier: Self) -> u64 {
                self.0.wrapping_sub(earlier.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address!(
    /// Host physical address, at most 52 bits.
    Hpa
);
address!(
    /// Host virtual address, canonical.
    Hva
);
address!(
    /// Guest physical address, at most 52 bits.
    Gpa
);
address!(
    /// Guest virtual (linear) address. Not necessarily canonical: it is what the guest computed.
    Gva
);

/// Physical addresses have at most 52 bits (APM vol. 2, 1.1.3; SDM vol. 3A, 4.1.4).
pub const PHYSICAL_MASK: u64 = (1 << 52) - 1;

impl Hpa {
    /// # Panics
    /// Where bits 63:52 are not zero. Use it on addresses that the hypervisor made itself.
    #[inline(always)]
    pub const fn new(address: u64) -> Self {
        assert!(address & !PHYSICAL_MASK == 0, "physical address beyond 52 bits");
        Self(address)
    }

    /// `None` where bits 63:52 are not zero.
    #[inline]
    pub const fn try_new(address: u64) -> Option<Self> {
        if address & !PHYSICAL_MASK == 0 { Some(Self(address)) } else { None }
    }

    /// Drops bits 63:52.
    #[inline(always)]
    pub const fn new_truncate(address: u64) -> Self {
        Self(address & PHYSICAL_MASK)
    }
}

impl Gpa {
    /// # Panics
    /// Where bits 63:52 are not zero. Use it on addresses that the hypervisor made itself.
    #[inline(always)]
    pub const fn new(address: u64) -> Self {
        assert!(address & !PHYSICAL_MASK == 0, "physical address beyond 52 bits");
        Self(address)
    }

    /// `None` where bits 63:52 are not zero.
    #[inline]
    pub const fn try_new(address: u64) -> Option<Self> {
        if address & !PHYSICAL_MASK == 0 { Some(Self(address)) } else { None }
    }

    /// Drops bits 63:52.
    #[inline(always)]
    pub const fn new_truncate(address: u64) -> Self {
        Self(address & PHYSICAL_MASK)
    }
}

/// Whether bits 63:47 of `address` are all equal (48-bit linear addresses).
#[inline(always)]
pub const fn is_canonical(address: u64) -> bool {
    (((address << 16) as i64) >> 16) as u64 == address
}

impl Hva {
    /// # Panics
    /// Where the address is not canonical.
    #[inline(always)]
    pub const fn new(address: u64) -> Self {
        assert!(is_canonical(address), "virtual address is not canonical");
        Self(address)
    }

    /// `None` where the address is not canonical.
    #[inline]
    pub const fn try_new(address: u64) -> Option<Self> {
        if is_canonical(address) { Some(Self(address)) } else { None }
    }

    /// The address of what `pointer` points at.
    #[inline(always)]
    pub fn from_ptr<T: ?Sized>(pointer: *const T) -> Self {
        Self(pointer.cast::<u8>() as usize as u64)
    }

    /// The address as a pointer. Making it is safe; what it may point at is the caller's business.
    #[inline(always)]
    pub const fn as_mut_ptr<T>(self) -> *mut T {
        self.0 as usize as *mut T
    }

    /// The address as a pointer.
    #[inline(always)]
    pub const fn as_ptr<T>(self) -> *const T {
        self.0 as usize as *const T
    }
}

impl Gva {
    /// Any 64-bit number: a guest can compute every address, and the walk says whether it exists.
    #[inline(always)]
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// Whether the address is canonical for 48-bit linear addresses.
    #[inline(always)]
    pub const fn is_canonical(self) -> bool {
        is_canonical(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_physical_address_beyond_52_bits_is_refused() {
        assert_eq!(Hpa::try_new(1 << 52), None);
        assert_eq!(Gpa::try_new(u64::MAX), None);
        assert_eq!(Hpa::new_truncate(u64::MAX).get(), PHYSICAL_MASK);
    }

    #[test]
    fn a_virtual_address_in_the_hole_is_refused() {
        assert!(Hva::try_new(0x0000_7fff_ffff_ffff).is_some());
        assert!(Hva::try_new(0x0000_8000_0000_0000).is_none());
        assert!(Hva::try_new(0xffff_7fff_ffff_ffff).is_none());
        assert!(Hva::try_new(0xffff_8000_0000_0000).is_some());
    }

    #[test]
    fn alignment_is_by_powers_of_two() {
        let a = Gpa::new(0x20_1234);
        assert_eq!(a.align_down(PAGE).get(), 0x20_1000);
        assert_eq!(a.offset_in(PAGE), 0x234);
        assert!(a.align_down(LARGE_PAGE).is_aligned(LARGE_PAGE));
    }
}
