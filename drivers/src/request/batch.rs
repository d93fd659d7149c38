//! Requests that are done, until the queue's lock is free and they can be told.
//!
//! An array of as many as a batch has, of which nothing is touched but what is in it: at depth 1 that is one.
#![allow(unsafe_code)] // places that are not in use are not initialised

use block::{BlockError, Done};
use core::mem::MaybeUninit;

type Item = (Done, Result<(), BlockError>);

/// Up to `N` requests that are done. They are told at the latest when this is dropped.
pub(crate) struct Batch<const N: usize> {
    items: [MaybeUninit<Item>; N],
    /// The first so many are in use.
    count: usize,
}

impl<const N: usize> Batch<N> {
    pub const fn new() -> Self {
        Self { items: [const { MaybeUninit::uninit() }; N], count: 0 }
    }

    /// Adds one.
    ///
    /// # Panics
    /// Where there are `N`: an error of the driver, which adds one per completion that it takes.
    #[inline]
    pub fn push(&mut self, done: Done, result: Result<(), BlockError>) {
        self.items[self.count].write((done, result));
        self.count += 1;
    }

    /// Tells all.
    #[inline]
    pub fn tell(&mut self) {
        let count = core::mem::take(&mut self.count);
        for item in &self.items[..count] {
            // SAFETY: one of the first `count`, so initialised, and read once, since `count` is 0 by now.
            let (done, result) = unsafe { item.assume_init_read() };
            done.complete(result);
        }
    }
}

impl<const N: usize> Drop for Batch<N> {
    fn drop(&mut self) {
        self.tell();
    }
}
