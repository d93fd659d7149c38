//! The registers of one local APIC, as the manual lays them out in a page of 4 KiB (SDM vol. 3A, table 11-1).
//!
//! It is the only place where a register's value is. Hardware that virtualizes the local APIC works on the same
//! page while the guest runs (SDM vol. 3C, 29.1.1: "the virtual-APIC page"), and the vCPU's [`super::LocalApic`]
//! at all other times; so nobody has a copy that could be out of date.
//!
//! What is no register but the state of something that goes on, like the timer's count, is not here.
use super::registers::Register;
use core::sync::atomic::{AtomicU32, Ordering};

/// A page of registers. Each is 32 bits wide, at a multiple of 16.
///
/// Its owner is the CPU whose turn the vCPU has. Others only look at the task priority, as a hint.
#[repr(C, align(4096))]
pub struct RegisterPage([AtomicU32; 1024]);

impl RegisterPage {
    /// All registers 0.
    pub(super) const fn new() -> Self {
        Self([const { AtomicU32::new(0) }; 1024])
    }

    #[inline(always)]
    fn word(&self, register: Register) -> &AtomicU32 {
        &self.0[(usize::from(register.0) * 4) & 1023]
    }

    /// A register's value.
    #[inline(always)]
    pub(super) fn get(&self, register: Register) -> u32 {
        self.word(register).load(Ordering::Relaxed)
    }

    /// Changes a register.
    #[inline(always)]
    pub(super) fn set(&self, register: Register, value: u32) {
        self.word(register).store(value, Ordering::Relaxed);
    }

    /// The upper half of the x2APIC's ICR, which lies behind the lower one.
    pub(super) fn wide_icr_high(&self) -> u32 {
        self.0[usize::from(Register::ICR.0) * 4 + 1].load(Ordering::Relaxed)
    }

    /// Changes the upper half of the x2APIC's ICR.
    pub(super) fn set_wide_icr_high(&self, value: u32) {
        self.0[usize::from(Register::ICR.0) * 4 + 1].store(value, Ordering::Relaxed);
    }

    /// The TPR.
    #[inline(always)]
    pub fn task_priority(&self) -> u8 {
        self.get(Register::TPR) as u8
    }

    /// Interrupts that were requested.
    #[inline(always)]
    pub(super) fn irr(&self) -> Vectors<'_> {
        Vectors { page: self, first: Register::IRR }
    }

    /// Interrupts whose handlers run.
    #[inline(always)]
    pub(super) fn isr(&self) -> Vectors<'_> {
        Vectors { page: self, first: Register::ISR }
    }

    /// Which of them are level-triggered.
    #[inline(always)]
    pub(super) fn tmr(&self) -> Vectors<'_> {
        Vectors { page: self, first: Register::TMR }
    }

    /// All registers to 0.
    pub(super) fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::Relaxed);
        }
    }

    /// What the hardware makes of a word while the guest runs.
    #[cfg(test)]
    pub(crate) fn set_word(&self, offset: usize, value: u32) {
        self.0[offset / 4].store(value, Ordering::Relaxed);
    }

    /// What the hardware finds at `offset`.
    #[cfg(test)]
    pub(crate) fn word_at(&self, offset: usize) -> u32 {
        self.0[offset / 4].load(Ordering::Relaxed)
    }
}

/// A set of the 256 interrupt vectors, in eight registers of a page.
#[derive(Clone, Copy)]
pub(super) struct Vectors<'a> {
    page: &'a RegisterPage,
    first: Register,
}

impl Vectors<'_> {
    #[inline(always)]
    fn word(&self, index: u16) -> &AtomicU32 {
        self.page.word(Register(self.first.0 + (index & 7)))
    }

    #[inline(always)]
    fn of(&self, vector: u8) -> (&AtomicU32, u32) {
        (self.word(u16::from(vector >> 5)), 1 << (vector & 31))
    }

    #[inline]
    pub fn contains(&self, vector: u8) -> bool {
        let (word, bit) = self.of(vector);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Whether `vector` is in it and no other.
    #[inline]
    pub fn is_only(&self, vector: u8) -> bool {
        let (own, bit) = (u16::from(vector >> 5), 1 << (vector & 31));
        (0..8).all(|index| self.word(index).load(Ordering::Relaxed) == if index == own { bit } else { 0 })
    }

    // The owner alone writes: no read-modify-write as others would need it.

    #[inline]
    pub fn insert(&self, vector: u8) {
        let (word, bit) = self.of(vector);
        word.store(word.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
    }

    #[inline]
    pub fn remove(&self, vector: u8) {
        let (word, bit) = self.of(vector);
        word.store(word.load(Ordering::Relaxed) & !bit, Ordering::Relaxed);
    }

    /// The highest vector, which is the most urgent; 0 for none, since vectors below 16 never get in.
    #[inline]
    pub fn highest(&self) -> u8 {
        self.highest_up_to(u8::MAX)
    }

    /// As [`Self::highest`], of a set that has none above `vector`'s register.
    #[inline]
    pub fn highest_up_to(&self, vector: u8) -> u8 {
        for index in (0..=u16::from(vector >> 5)).rev() {
            let bits = self.word(index).load(Ordering::Relaxed);
            if bits != 0 {
                return (index as u8) << 5 | (31 - bits.leading_zeros() as u8);
            }
        }
        0
    }

    /// Of the vectors from `64 * word` on, adds those of `add` and takes away those of `take`. Whether this changed
    /// the set.
    pub fn change(&self, word: usize, add: u64, take: u64) -> bool {
        let mut changed = false;
        for half in 0..2 {
            let register = self.word(2 * word as u16 + half);
            let (add, take) = ((add >> (32 * half)) as u32, (take >> (32 * half)) as u32);
            let old = register.load(Ordering::Relaxed);
            let new = old & !take | add;
            if new != old {
                register.store(new, Ordering::Relaxed);
                changed = true;
            }
        }
        changed
    }

    /// As four words of 64 vectors.
    pub fn words(&self) -> [u64; 4] {
        core::array::from_fn(|word| {
            let half = |half| u64::from(self.word(2 * word as u16 + half).load(Ordering::Relaxed));
            half(1) << 32 | half(0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_is_where_the_manual_has_it() {
        let page = RegisterPage::new();
        page.set(Register::SVR, 0x1ff);
        page.irr().insert(0x91);
        page.isr().insert(0x20);
        page.set_wide_icr_high(7);
        assert_eq!(page.word_at(0xf0), 0x1ff);
        assert_eq!(page.word_at(0x240), 1 << 0x11);
        assert_eq!(page.word_at(0x110), 1);
        assert_eq!(page.word_at(0x304), 7);
        assert_eq!(align_of::<RegisterPage>(), 4096);
        assert_eq!(size_of::<RegisterPage>(), 4096);
    }

    #[test]
    fn the_highest_vector_is_found_in_every_register() {
        let page = RegisterPage::new();
        let set = page.irr();
        assert_eq!(set.highest(), 0);
        for vector in [16u8, 31, 32, 63, 64, 127, 128, 191, 192, 255] {
            set.insert(vector);
            assert_eq!(set.highest(), vector);
            assert!(set.contains(vector));
            assert_eq!(set.words()[usize::from(vector / 64)] >> (vector % 64) & 1, 1);
        }
        set.remove(255);
        assert_eq!((set.highest(), set.highest_up_to(192), set.highest_up_to(31)), (192, 192, 31));
        assert!(!set.contains(255) && !page.isr().contains(192) && !page.tmr().contains(192));
    }

    #[test]
    fn a_change_of_many_says_whether_there_was_any() {
        let page = RegisterPage::new();
        let set = page.tmr();
        assert!(set.change(1, 1 << 40 | 1, 0));
        assert!(!set.change(1, 1, 2));
        assert_eq!(set.words(), [0, 1 << 40 | 1, 0, 0]);
        assert!(set.change(1, 0, 1 << 40));
        assert_eq!((set.highest(), set.contains(104)), (64, false));
    }
}
