//! What waits for room, by who has sent it: sources take turns, and what is of one stays in its order.
use alloc::collections::VecDeque;

/// Items of type `T` from sources of type `S`.
pub struct Backlog<S, T> {
    /// In the order of their turns. None is without items.
    sources: VecDeque<(S, VecDeque<T>)>,
}

impl<S: Copy + PartialEq, T> Backlog<S, T> {
    /// An empty one.
    pub const fn new() -> Self {
        Self { sources: VecDeque::new() }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How many wait from a source.
    pub fn count(&self, source: S) -> usize {
        self.place(source).and_then(|at| self.sources.get(at)).map_or(0, |(_, items)| items.len())
    }

    /// Adds an item behind the others of its source.
    pub fn push(&mut self, source: S, item: T) {
        if let Some((_, items)) = self.place(source).and_then(|at| self.sources.get_mut(at)) {
            items.push_back(item);
        } else {
            self.sources.push_back((source, VecDeque::from([item])));
        }
    }

    /// Takes the next item: the oldest of the source whose turn it is.
    pub fn pop(&mut self) -> Option<(S, T)> {
        let (source, mut items) = self.sources.pop_front()?;
        let item = items.pop_front()?;
        if !items.is_empty() {
            self.sources.push_back((source, items));
        }
        Some((source, item))
    }

    /// Puts back what [`Self::pop`] has returned last: it is the next again.
    pub fn put_back(&mut self, source: S, item: T) {
        let mut items = self
            .place(source)
            .and_then(|at| self.sources.remove(at))
            .map_or_else(VecDeque::new, |(_, items)| items);
        items.push_front(item);
        self.sources.push_front((source, items));
    }

    /// Takes all items of a source, in their order.
    pub fn remove(&mut self, source: S) -> VecDeque<T> {
        self.place(source)
            .and_then(|at| self.sources.remove(at))
            .map_or_else(VecDeque::new, |(_, items)| items)
    }

    /// Takes all items.
    pub fn take(&mut self) -> impl Iterator<Item = T> + use<S, T> {
        core::mem::take(&mut self.sources).into_iter().flat_map(|(_, items)| items)
    }

    fn place(&self, source: S) -> Option<usize> {
        self.sources.iter().position(|(other, _)| *other == source)
    }
}

impl<S: Copy + PartialEq, T> Default for Backlog<S, T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn filled(items: &[(char, u32)]) -> Backlog<char, u32> {
        let mut backlog = Backlog::new();
        items.iter().for_each(|(source, item)| backlog.push(*source, *item));
        backlog
    }

    fn all(backlog: &mut Backlog<char, u32>) -> Vec<(char, u32)> {
        core::iter::from_fn(|| backlog.pop()).collect()
    }

    #[test]
    fn sources_take_turns_and_each_keeps_its_order() {
        let mut backlog = filled(&[('a', 1), ('a', 2), ('a', 3), ('b', 4), ('c', 5), ('b', 6)]);
        assert_eq!((backlog.count('a'), backlog.count('b'), backlog.count('d')), (3, 2, 0));
        assert_eq!(all(&mut backlog), [('a', 1), ('b', 4), ('c', 5), ('a', 2), ('b', 6), ('a', 3)]);
        assert!(backlog.is_empty());
    }

    #[test]
    fn what_is_put_back_is_the_next_again() {
        let mut backlog = filled(&[('a', 1), ('b', 2), ('a', 3)]);
        for _ in 0..3 {
            let (source, item) = backlog.pop().unwrap();
            assert_eq!((source, item), ('a', 1));
            backlog.put_back(source, item);
        }
        assert_eq!(all(&mut backlog), [('a', 1), ('b', 2), ('a', 3)]);
        backlog.put_back('c', 9);
        assert_eq!(all(&mut backlog), [('c', 9)]);
    }

    #[test]
    fn a_source_that_goes_takes_its_items_with_it() {
        let mut backlog = filled(&[('a', 1), ('b', 2), ('a', 3)]);
        assert_eq!(backlog.remove('a'), [1, 3]);
        assert_eq!(backlog.remove('a'), []);
        assert_eq!(all(&mut backlog), [('b', 2)]);
        let mut backlog = filled(&[('a', 1), ('b', 2), ('a', 3)]);
        assert_eq!(backlog.take().collect::<Vec<_>>(), [1, 3, 2]);
        assert!(backlog.is_empty());
    }
}
