//! A set of the 256 interrupt vectors, as the IRR, ISR and TMR are.

/// 256 bits, one per vector.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct VectorSet {
    words: [u64; 4],
}

impl VectorSet {
    #[inline]
    pub fn contains(&self, vector: u8) -> bool {
        self.words[usize::from(vector >> 6)] & 1 << (vector & 63) != 0
    }

    #[inline]
    pub fn insert(&mut self, vector: u8) {
        self.words[usize::from(vector >> 6)] |= 1 << (vector & 63);
    }

    #[inline]
    pub fn remove(&mut self, vector: u8) {
        self.words[usize::from(vector >> 6)] &= !(1 << (vector & 63));
    }

    /// The highest vector, which is the most urgent; 0 for none, since vectors below 16 never get in.
    #[inline]
    pub fn highest(&self) -> u8 {
        for word in (0..4).rev() {
            let bits = self.words[word];
            if bits != 0 {
                return (word as u8) << 6 | (63 - bits.leading_zeros() as u8);
            }
        }
        0
    }

    /// Adds the vectors of 64-bit word `word`.
    #[inline]
    pub fn merge(&mut self, word: usize, bits: u64) {
        self.words[word & 3] |= bits;
    }

    /// In word `word`, takes the bits of `value` that `mask` names.
    #[inline]
    pub fn replace(&mut self, word: usize, mask: u64, value: u64) {
        let w = &mut self.words[word & 3];
        *w = *w & !mask | value & mask;
    }

    /// 32-bit register `index` (0 to 7) as the guest reads it.
    pub fn register(&self, index: u16) -> u32 {
        (self.words[usize::from(index >> 1 & 3)] >> (32 * (index & 1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_is_found_in_every_word() {
        let mut set = VectorSet::default();
        assert_eq!(set.highest(), 0);
        for vector in [16u8, 63, 64, 127, 128, 191, 192, 255] {
            set.insert(vector);
            assert_eq!(set.highest(), vector);
            assert!(set.contains(vector));
            assert_eq!(set.register(u16::from(vector / 32)) >> (vector % 32) & 1, 1);
        }
        set.remove(255);
        assert_eq!(set.highest(), 192);
        assert!(!set.contains(255));
    }
}
