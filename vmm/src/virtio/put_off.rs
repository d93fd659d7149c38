//! Interrupts that may prove needless.
//!
//! A guest that is interrupted for what came is mostly about to send, and looks then by itself at what was sent before. So
//! where both happen at once, the second interrupt is put off: the guest handles the first, and only if it has not looked by
//! its next exit is it interrupted again. Two at once would cost an exit besides: the first could not be ended unseen
//! (`vcpu/end_of_interrupt.rs`).
//!
//! Why none is lost: a vCPU that a message went to comes by ([`Interrupts::look`]) before it enters its guest, and once more
//! at its next exit or the end of its turn. Who puts an interrupt off notes that first, and then looks whether the vCPU has
//! come by since: if so he does not rely on it.
use core::sync::atomic::{AtomicBool, Ordering};

/// What is put off of a device's interrupts.
pub struct Interrupts {
    /// A message went out, and no vCPU has come by since.
    told: AtomicBool,
    /// One was put off.
    owed: AtomicBool,
}

impl Interrupts {
    pub(super) const fn new() -> Self {
        Self { told: AtomicBool::new(false), owed: AtomicBool::new(false) }
    }

    /// A message went to a vCPU.
    #[inline]
    pub fn told(&self) {
        self.told.store(true, Ordering::SeqCst);
    }

    /// Whether a vCPU is about to take a message.
    #[inline]
    pub fn is_told(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }

    /// An interrupt is put off. Whether somebody will look after it.
    #[inline]
    pub fn owe(&self) -> bool {
        self.owed.store(true, Ordering::SeqCst);
        self.is_told()
    }

    /// A vCPU comes by, before it enters its guest or, as `ends` says, at the end of its turn. Whether what was put off is
    /// due.
    #[inline]
    pub fn look(&self, ends: bool) -> bool {
        if self.told.load(Ordering::Relaxed) && self.told.swap(false, Ordering::SeqCst) && !ends {
            return false;
        }
        self.owed.load(Ordering::Relaxed) && self.owed.swap(false, Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_off_is_due_behind_the_entry_that_takes_the_message() {
        let interrupts = Interrupts::new();
        assert!(!interrupts.is_told() && !interrupts.look(false));
        interrupts.told();
        assert!(interrupts.owe());
        assert!(!interrupts.look(false), "the guest is entered with the message");
        assert!(interrupts.look(false), "and left again");
        assert!(!interrupts.look(false) && !interrupts.look(true));
    }

    #[test]
    fn the_end_of_a_turn_puts_nothing_off() {
        let interrupts = Interrupts::new();
        interrupts.told();
        assert!(interrupts.owe() && interrupts.look(true));
    }

    #[test]
    fn who_comes_too_late_is_told_so() {
        let interrupts = Interrupts::new();
        interrupts.told();
        assert!(interrupts.is_told());
        assert!(!interrupts.look(false));
        assert!(!interrupts.owe());
    }
}
