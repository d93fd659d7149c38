//! Size classes: which sizes of objects there are, and which serves a request.
#![allow(unsafe_code)] // a bound that the compiler cannot see
use core::alloc::Layout;

use crate::frames::Order;

/// A size of objects.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Bytes in an object.
    pub size: u16,
    /// Order of the slabs that objects of this size are cut from: large enough that the header and the
    /// remainder waste less than a tenth.
    pub order: Order,
    /// Objects that move between a CPU and the shared slabs at once.
    pub batch: u16,
}

/// Bytes in the largest object.
pub const MAX_SIZE: usize = 2048;
/// Every object is aligned to this.
pub const MIN_ALIGN: usize = 16;
/// Number of classes.
pub const COUNT: usize = 22;

const SIZES: [u16; COUNT] = [
    16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 1024, 1280, 1536,
    2048,
];

/// All classes, by ascending size.
pub const CLASSES: [Class; COUNT] = {
    let mut classes = [Class { size: 0, order: 0, batch: 0 }; COUNT];
    let mut i = 0;
    while i < COUNT {
        let size = SIZES[i];
        let order = if size < 512 {
            0
        } else if size <= 1024 {
            2
        } else {
            3
        };
        // About 2 KiB at once: enough to spread the cost of the lock, little enough to lie idle on each CPU.
        let batch = 2048 / size;
        let batch = if batch > 32 {
            32
        } else if batch < 2 {
            2
        } else {
            batch
        };
        classes[i] = Class { size, order, batch };
        i += 1;
    }
    classes
};

/// Class of a size in units of 16 bytes, rounded up.
const BY_SIZE: [u8; MAX_SIZE / MIN_ALIGN + 1] = {
    let mut table = [0; MAX_SIZE / MIN_ALIGN + 1];
    let mut units = 0;
    let mut class = 0;
    while units < table.len() {
        if units * MIN_ALIGN > SIZES[class] as usize {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
};

const _: () = {
    let mut units = 0;
    while units < BY_SIZE.len() {
        assert!((BY_SIZE[units] as usize) < COUNT);
        units += 1;
    }
};

/// The class of a request with the usual alignment; `None` means: ask [`class_of`].
#[inline(always)]
pub fn common_class(layout: Layout) -> Option<usize> {
    if layout.size() > MAX_SIZE || layout.align() > MIN_ALIGN {
        return None;
    }
    let class = usize::from(BY_SIZE[layout.size().div_ceil(MIN_ALIGN)]);
    // SAFETY: every element of `BY_SIZE` is below `COUNT`, as the assertion below it says.
    unsafe { core::hint::assert_unchecked(class < COUNT) };
    Some(class)
}

/// The class that serves `layout`, or `None` where it needs whole frames.
#[inline]
pub fn class_of(layout: Layout) -> Option<usize> {
    let class = *BY_SIZE.get(layout.size().div_ceil(MIN_ALIGN))?;
    aligned_class(usize::from(class), layout.align())
}

/// The first class from `class` up whose objects are aligned to `align`.
///
/// Objects lie back to back and end with their slab, so they are as aligned as their size.
fn aligned_class(class: usize, align: usize) -> Option<usize> {
    (class..COUNT).find(|&c| usize::from(SIZES[c]).is_multiple_of(align))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_class_that_holds_it() {
        for size in 1..=MAX_SIZE {
            let class = class_of(Layout::from_size_align(size, 8).unwrap()).unwrap();
            assert!(usize::from(SIZES[class]) >= size);
            assert!(class == 0 || usize::from(SIZES[class - 1]) < size);
        }
        assert_eq!(class_of(Layout::from_size_align(MAX_SIZE + 1, 8).unwrap()), None);
    }

    #[test]
    fn every_alignment_gets_a_class_whose_size_is_a_multiple_of_it() {
        for size in [1, 24, 100, 200, 500, 1100, 2048] {
            for shift in 0..12 {
                let layout = Layout::from_size_align(size, 1 << shift).unwrap();
                let class = class_of(layout).unwrap();
                assert!(usize::from(SIZES[class]) >= size);
                assert!(SIZES[class].is_multiple_of(1 << shift));
            }
        }
        assert_eq!(class_of(Layout::from_size_align(64, 4096).unwrap()), None);
    }

    #[test]
    fn classes_waste_less_than_a_third_of_a_request() {
        for pair in SIZES.windows(2).skip(3) {
            let (smaller, size) = (pair[0] + 1, pair[1]);
            assert!(f64::from(size - smaller) / f64::from(size) < 1.0 / 3.0, "{size}");
        }
    }
}
