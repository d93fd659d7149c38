//! A bounded queue between tasks, CPUs and interrupt handlers.
//!
//! A ring of slots, each with a sequence number that says whose turn it is: `position` for the sender of
//! that position, `position + 1` for its receiver, then `position + capacity` for the sender of the next
//! round. A sender claims a position by one compare-and-swap, writes, and passes the turn on; so does a
//! receiver. A sender that an interrupt stops in between delays the receivers of its own slot, never
//! other senders, so handlers may send.
#![allow(unsafe_code)] // Slots whose access the sequence numbers guard.

use crate::wait_list::{Place, WaitList};
use crate::waker_slot::WakerSlot;
use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::fmt;
use core::future::poll_fn;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use core::task::Poll;

/// Why a value was not sent; gives it back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SendError<T> {
    /// The channel holds as many values as it can: send later, or await `send`.
    Full(T),
    /// The receiver closed the channel: nobody will take it.
    Closed(T),
}

impl<T> fmt::Debug for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "Full",
            SendError::Closed(_) => "Closed",
        })
    }
}

impl<T> fmt::Display for SendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SendError::Full(_) => "the channel is full: its receiver does not keep up, send again later",
            SendError::Closed(_) => "the channel was closed by its receiver: stop sending",
        })
    }
}

struct Slot<T> {
    turn: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

/// A position on a cache line of its own, so that senders and receivers don't share one.
#[repr(align(64))]
struct Position(AtomicUsize);

/// A bounded queue of `T`, for any number of senders, and one task that awaits (any number may
/// [`try_recv`](Self::try_recv)). Values of one sender arrive in their order.
pub struct Channel<T> {
    slots: Box<[Slot<T>]>,
    send: Position,
    recv: Position,
    closed: AtomicBool,
    receiver: WakerSlot,
    senders: WaitList,
}

// SAFETY: the channel moves values of T between threads, hence T: Send. A slot's cell is touched only by
// the party whose turn its number says it is (see `try_send` and `try_recv`), so sharing is sound.
unsafe impl<T: Send> Sync for Channel<T> {}
// SAFETY: it owns its values, and they may move with it if T may.
unsafe impl<T: Send> Send for Channel<T> {}

impl<T> Channel<T> {
    /// An empty channel for at least `capacity` values: rounded up to a power of two, at least 2.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(2, 1 << 30).next_power_of_two();
        let slot = |at| Slot { turn: AtomicUsize::new(at), value: UnsafeCell::new(MaybeUninit::uninit()) };
        Channel {
            slots: (0..capacity).map(slot).collect(),
            send: Position(AtomicUsize::new(0)),
            recv: Position(AtomicUsize::new(0)),
            closed: AtomicBool::new(false),
            receiver: WakerSlot::new(),
            senders: WaitList::new(),
        }
    }

    /// How many values fit.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Sends if there is room. No lock, no allocation: for any CPU and interrupt handlers.
    pub fn try_send(&self, value: T) -> Result<(), SendError<T>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(SendError::Closed(value));
        }
        let mut at = self.send.0.load(Ordering::Relaxed);
        let slot = loop {
            let slot = &self.slots[at & (self.slots.len() - 1)];
            let turn = slot.turn.load(Ordering::Acquire);
            match turn.wrapping_sub(at) as isize {
                0 => match self.send.0.compare_exchange_weak(
                    at,
                    at.wrapping_add(1),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break slot,
                    Err(now) => at = now,
                },
                behind if behind < 0 => return Err(SendError::Full(value)),
                _ => at = self.send.0.load(Ordering::Relaxed),
            }
        };
        // SAFETY: `turn == at` means that the last round's receiver is done with the slot (acquired
        // above), and the exchange gave position `at` to us alone; the receiver of `at` waits for the
        // store below.
        unsafe { (*slot.value.get()).write(value) };
        slot.turn.store(at.wrapping_add(1), Ordering::Release);
        self.receiver.wake();
        Ok(())
    }

    /// Takes the oldest value, if there is one. For tasks.
    pub fn try_recv(&self) -> Option<T> {
        let mut at = self.recv.0.load(Ordering::Relaxed);
        let slot = loop {
            let slot = &self.slots[at & (self.slots.len() - 1)];
            let turn = slot.turn.load(Ordering::Acquire);
            match turn.wrapping_sub(at.wrapping_add(1)) as isize {
                0 => match self.recv.0.compare_exchange_weak(
                    at,
                    at.wrapping_add(1),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => break slot,
                    Err(now) => at = now,
                },
                behind if behind < 0 => return None,
                _ => at = self.recv.0.load(Ordering::Relaxed),
            }
        };
        // SAFETY: `turn == at + 1` means that the sender of `at` has written the value (acquired above),
        // and the exchange gave position `at` to us alone, so it is read once; the sender of the next
        // round waits for the store below.
        let value = unsafe { (*slot.value.get()).assume_init_read() };
        slot.turn.store(at.wrapping_add(self.slots.len()), Ordering::Release);
        self.senders.wake_all();
        Some(value)
    }

    /// Sends, waiting for room. Err gives the value back if the channel was closed.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut place = Place::new(&self.senders);
        let mut value = Some(value);
        poll_fn(|cx| {
            for last in [false, true] {
                let Some(next) = value.take() else { return Poll::Ready(Ok(())) };
                match self.try_send(next) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(SendError::Full(back)) => value = Some(back),
                    Err(closed) => return Poll::Ready(Err(closed)),
                }
                if !last {
                    place.register(cx.waker());
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Receives, waiting for a value. None when the channel is closed and empty. For one task.
    pub async fn recv(&self) -> Option<T> {
        poll_fn(|cx| {
            // Closed is read before the queue: what was sent before the close is still delivered.
            let poll = || match (self.closed.load(Ordering::Acquire), self.try_recv()) {
                (_, Some(value)) => Some(Some(value)),
                (true, None) => Some(None),
                (false, None) => None,
            };
            if let Some(end) = poll() {
                return Poll::Ready(end);
            }
            self.receiver.register(cx.waker());
            poll().map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Refuses further values and wakes all who wait. What is inside can still be received; a send
    /// that runs at the same time either arrives or is refused.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.receiver.wake();
        self.senders.wake_all();
    }
}

impl<T: Copy> Channel<T> {
    /// Takes as many values as there are into `into`, oldest first; how many. For byte streams.
    pub fn read(&self, into: &mut [T]) -> usize {
        let mut count = 0;
        for place in into {
            let Some(value) = self.try_recv() else { break };
            *place = value;
            count += 1;
        }
        count
    }

    /// Sends as many of `from` as fit; how many.
    pub fn write(&self, from: &[T]) -> usize {
        from.iter().take_while(|&&value| self.try_send(value).is_ok()).count()
    }
}

impl<T> Drop for Channel<T> {
    fn drop(&mut self) {
        while self.try_recv().is_some() {}
    }
}
