//! Patterns in free objects, by which builds with debug assertions notice who writes to freed memory or
//! frees it twice. In other builds these functions do nothing.
#![allow(unsafe_code)] // reads and fills free objects

use core::ptr::NonNull;

/// Words at the start of an object that are left alone: the free list's link is there.
const LINK: usize = 2;

/// What a freed object is filled with: differs from object to object, so that no owner writes it by chance.
fn pattern(object: NonNull<u8>) -> u64 {
    (object.addr().get() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// The object's words behind the link.
///
/// # Safety
/// `object` is memory of `size` bytes, a multiple of 16, that nobody else uses as long as the slice lives.
unsafe fn body<'a>(object: NonNull<u8>, size: usize) -> &'a mut [u64] {
    let words = size / size_of::<u64>();
    // SAFETY: the caller's object; every bit pattern is a number.
    unsafe { core::slice::from_raw_parts_mut(object.as_ptr().cast::<u64>().add(LINK), words - LINK) }
}

/// Fills an object that is about to become free.
///
/// # Panics
/// In builds with debug assertions, where `from_owner` is true and the object is free already.
///
/// # Safety
/// `object` is memory of `size` bytes, a class's size, that nobody uses.
#[inline(always)]
pub unsafe fn bury(object: NonNull<u8>, size: usize, from_owner: bool) {
    if cfg!(debug_assertions) {
        // SAFETY: the caller's object.
        let body = unsafe { body(object, size) };
        let pattern = pattern(object);
        assert!(
            !from_owner || body.is_empty() || body.iter().any(|&word| word != pattern),
            "object at {object:p} of {size} bytes is freed a second time"
        );
        body.fill(pattern);
    }
}

/// Looks whether an object that is about to be handed out is as it was left.
///
/// # Panics
/// In builds with debug assertions, where it is not.
///
/// # Safety
/// `object` was filled by [`bury`] with the same size, and nobody uses it.
#[inline(always)]
pub unsafe fn exhume(object: NonNull<u8>, size: usize) {
    if cfg!(debug_assertions) {
        // SAFETY: the caller's object.
        let body = unsafe { body(object, size) };
        let pattern = pattern(object);
        assert!(
            body.iter().all(|&word| word == pattern),
            "object at {object:p} of {size} bytes was written to after it had been freed"
        );
        // An owner that never writes to its object would look like a double free.
        if let Some(first) = body.first_mut() {
            *first = !pattern;
        }
    }
}
