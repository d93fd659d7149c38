//! Sets of CPUs: affinity masks, and the sets that all CPUs share.

use core::sync::atomic::{AtomicU64, Ordering};

/// How many CPUs the scheduler can manage.
pub const MAX_CPUS: usize = 256;

const WORDS: usize = MAX_CPUS / 64;

/// A set of CPU numbers below [`MAX_CPUS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSet([u64; WORDS]);

impl CpuSet {
    /// No CPU.
    pub const EMPTY: CpuSet = CpuSet([0; WORDS]);
    /// Every CPU there can be.
    pub const ALL: CpuSet = CpuSet([u64::MAX; WORDS]);

    /// CPUs 0 to `count` - 1.
    pub fn first(count: usize) -> CpuSet {
        (0..count.min(MAX_CPUS)).collect()
    }

    /// One CPU; a number that is too large gives the empty set.
    pub fn only(cpu: usize) -> CpuSet {
        core::iter::once(cpu).collect()
    }

    /// Whether `cpu` is in it.
    pub fn contains(&self, cpu: usize) -> bool {
        self.0.get(cpu / 64).is_some_and(|word| word & bit(cpu) != 0)
    }

    /// Adds `cpu`, if it is below [`MAX_CPUS`].
    pub fn insert(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word |= bit(cpu);
        }
    }

    /// Takes `cpu` out.
    pub fn remove(&mut self, cpu: usize) {
        if let Some(word) = self.0.get_mut(cpu / 64) {
            *word &= !bit(cpu);
        }
    }

    /// Those in both.
    pub fn and(&self, other: &CpuSet) -> CpuSet {
        CpuSet(core::array::from_fn(|i| self.0[i] & other.0[i]))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; WORDS]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Their numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        self.0.into_iter().enumerate().flat_map(|(i, mut word)| {
            core::iter::from_fn(move || {
                (word != 0).then(|| {
                    let cpu = word.trailing_zeros() as usize;
                    word &= word - 1;
                    i * 64 + cpu
                })
            })
        })
    }
}

impl FromIterator<usize> for CpuSet {
    fn from_iter<I: IntoIterator<Item = usize>>(cpus: I) -> Self {
        let mut set = CpuSet::EMPTY;
        cpus.into_iter().for_each(|cpu| set.insert(cpu));
        set
    }
}

fn bit(cpu: usize) -> u64 {
    1 << (cpu % 64)
}

/// A set that all CPUs read and change. Its operations are sequentially consistent: "I announce that I
/// idle, then look for work" and "I add work, then look for who idles" must see one another.
pub(crate) struct SharedCpuSet([AtomicU64; WORDS]);

impl SharedCpuSet {
    pub(crate) fn new(set: CpuSet) -> Self {
        SharedCpuSet(set.0.map(AtomicU64::new))
    }

    pub(crate) fn load(&self) -> CpuSet {
        CpuSet(core::array::from_fn(|i| self.0[i].load(Ordering::SeqCst)))
    }

    /// Replaces the set, a word at a time: a reader at the same time sees CPUs of either.
    pub(crate) fn store(&self, set: &CpuSet) {
        self.0.iter().zip(set.0).for_each(|(word, new)| word.store(new, Ordering::SeqCst));
    }

    /// Puts `cpu` in or takes it out; whether that changed anything. When not, nothing is written and
    /// the cache line stays shared.
    pub(crate) fn set(&self, cpu: usize, member: bool) -> bool {
        let word = &self.0[cpu / 64];
        if (word.load(Ordering::SeqCst) & bit(cpu) != 0) == member {
            return false;
        }
        let before = match member {
            true => word.fetch_or(bit(cpu), Ordering::SeqCst),
            false => word.fetch_and(!bit(cpu), Ordering::SeqCst),
        };
        (before & bit(cpu) != 0) != member
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn members_come_in_order_across_words() {
        let set: CpuSet = [255, 0, 64, 63].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 255]);
        assert_eq!(set.len(), 4);
        assert!(set.contains(64) && !set.contains(65));
        assert_eq!(set.and(&CpuSet::first(64)).len(), 2);
    }

    #[test]
    fn numbers_beyond_the_end_are_nobody() {
        let mut set = CpuSet::only(256);
        set.insert(usize::MAX);
        set.remove(1 << 40);
        assert!(set.is_empty() && !set.contains(256));
        assert_eq!(CpuSet::first(1000), CpuSet::ALL);
    }

    #[test]
    fn only_one_party_claims_a_member() {
        let shared = SharedCpuSet::new(CpuSet::EMPTY);
        assert!(shared.set(70, true));
        assert!(!shared.set(70, true));
        assert_eq!(shared.load(), CpuSet::only(70));
        assert!(shared.set(70, false));
        assert!(!shared.set(70, false));
    }
}
