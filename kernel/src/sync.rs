//! The kernel's lock: a spin lock that keeps interrupts out while it is held.
//!
//! Locks are the exception here (CPUs talk by queues and atomics), and each is held for a short, bounded
//! time. Order, for code that holds more than one: console before log before heap. An interrupt handler may
//! take any of them, because nobody holds one with interrupts enabled; an NMI handler takes none.
use crate::cpu::registers::{disable_interrupts, enable_interrupts, interrupts_enabled};
use core::ops::{Deref, DerefMut};
use spin::mutex::{SpinMutex, SpinMutexGuard};

/// A spin lock taken with interrupts disabled.
pub struct IrqLock<T> {
    inner: SpinMutex<T>,
}

/// Access to what the lock protects. Dropping it restores the interrupt flag.
pub struct IrqGuard<'a, T> {
    /// `None` only while being dropped: the lock is released before interrupts come back.
    guard: Option<SpinMutexGuard<'a, T>>,
    enable: bool,
}

impl<T> IrqLock<T> {
    /// An unlocked lock.
    pub const fn new(value: T) -> Self {
        Self { inner: SpinMutex::new(value) }
    }

    /// Waits for the lock.
    #[inline]
    pub fn lock(&self) -> IrqGuard<'_, T> {
        let enable = interrupts_enabled();
        disable_interrupts();
        IrqGuard { guard: Some(self.inner.lock()), enable }
    }

    /// Takes the lock unless it stays taken for `attempts` looks. For a panic, which must not wait for a
    /// lock that the panicking code itself may hold.
    pub fn try_lock_for(&self, attempts: u32) -> Option<IrqGuard<'_, T>> {
        let enable = interrupts_enabled();
        disable_interrupts();
        for _ in 0..attempts {
            if let Some(guard) = self.inner.try_lock() {
                return Some(IrqGuard { guard: Some(guard), enable });
            }
            core::hint::spin_loop();
        }
        if enable {
            enable_interrupts();
        }
        None
    }
}

impl<T> Deref for IrqGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        match &self.guard {
            Some(g) => g,
            None => unreachable!("the guard is only taken when it is dropped"),
        }
    }
}

impl<T> DerefMut for IrqGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.guard {
            Some(g) => g,
            None => unreachable!("the guard is only taken when it is dropped"),
        }
    }
}

impl<T> Drop for IrqGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.guard = None;
        if self.enable {
            enable_interrupts();
        }
    }
}
