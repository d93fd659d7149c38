//! The ready queue: which tasks want to be polled, filled from anywhere and emptied by one CPU.
//!
//! A push is one compare-and-swap on the head of a linked stack whose links live in the tasks; the
//! owner takes the whole stack with one swap and turns it round, so tasks run in the order in which
//! they were woken. Taking everything at once is what makes this short: no node is ever removed
//! while another CPU may look at it, so there is no ABA problem, and unlike a two-step queue the
//! owner never meets a half-done push that it would have to wait for (the pusher may be a task that
//! an interrupt handler on the same CPU stopped in the middle).
#![allow(unsafe_code)] // An intrusive list: ownership of a task passes through a raw pointer.

use crate::task::Task;
use alloc::sync::Arc;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Tasks that were woken and not yet taken. Every pointer in it is an `Arc<Task>` given up by
/// `Arc::into_raw`, and a task is in it at most once (see [`Task::claim`]).
pub(crate) struct ReadyQueue {
    head: AtomicPtr<Task>,
}

impl ReadyQueue {
    pub(crate) const fn new() -> Self {
        ReadyQueue { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a task that the caller has claimed. Lock-free, no allocation, any context.
    pub(crate) fn push(&self, task: Arc<Task>) {
        let node = Arc::into_raw(task).cast_mut();
        // SAFETY: `node` came from an Arc whose reference is now ours, so the task lives at least
        // until the owner turns it back into an Arc, which can't happen before it is published below.
        let next = unsafe { &(*node).next };
        let mut head = self.head.load(Ordering::Relaxed);
        loop {
            next.store(head, Ordering::Relaxed);
            // SeqCst: pairs with the load in `is_empty`, see `Executor::listen`.
            match self.head.compare_exchange_weak(head, node, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Whether nothing was pushed since the last [`take`](Self::take). One load.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head.load(Ordering::SeqCst).is_null()
    }

    /// Takes all tasks, oldest first.
    pub(crate) fn take(&self) -> Batch {
        let mut node = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut first: *mut Task = ptr::null_mut();
        while !node.is_null() {
            // SAFETY: the swap made this list ours alone; each node holds a reference of its own, so
            // it is alive, and its link was written before the push that the swap acquired.
            let next = unsafe { &(*node).next };
            let following = next.load(Ordering::Relaxed);
            next.store(first, Ordering::Relaxed);
            first = node;
            node = following;
        }
        Batch { first }
    }
}

impl Drop for ReadyQueue {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Tasks that the owner took, in the order in which they will be polled.
pub(crate) struct Batch {
    first: *mut Task,
}

impl Batch {
    pub(crate) const fn empty() -> Self {
        Batch { first: ptr::null_mut() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_null()
    }

    pub(crate) fn pop(&mut self) -> Option<Arc<Task>> {
        if self.first.is_null() {
            return None;
        }
        // SAFETY: `first` heads a list that only this batch owns. Each node is an Arc given up in
        // `push` and not reclaimed since: this takes it off the list, so it is reclaimed once.
        let task = unsafe { Arc::from_raw(self.first.cast_const()) };
        self.first = task.next.load(Ordering::Relaxed);
        Some(task)
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
