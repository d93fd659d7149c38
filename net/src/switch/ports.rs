//! Ports by number, and sets of them.
use core::fmt;
use core::ops::{BitAnd, BitOr, Sub};

/// Which port of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(u8);

impl PortId {
    /// None for a number that no port has.
    pub const fn new(index: usize) -> Option<Self> {
        if index < Ports::MOST { Some(Self(index as u8)) } else { None }
    }

    /// Its number: below [`Ports::MOST`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A set of ports.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Ports(u128);

impl Ports {
    /// Most ports of a switch.
    pub const MOST: usize = 128;
    /// None.
    pub const EMPTY: Self = Self(0);

    /// This one alone.
    pub const fn of(port: PortId) -> Self {
        Self(1 << port.0)
    }

    pub const fn contains(self, port: PortId) -> bool {
        self.0 & Self::of(port).0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn insert(&mut self, port: PortId) {
        *self = *self | Self::of(port);
    }

    pub fn remove(&mut self, port: PortId) {
        *self = *self - Self::of(port);
    }

    /// Puts it in, or takes it out.
    pub(super) fn set(&mut self, port: PortId, is_in: bool) {
        if is_in { self.insert(port) } else { self.remove(port) }
    }
}

impl BitOr for Ports {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Ports {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Sub for Ports {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl FromIterator<PortId> for Ports {
    fn from_iter<I: IntoIterator<Item = PortId>>(ports: I) -> Self {
        ports.into_iter().fold(Self::EMPTY, |set, port| set | Self::of(port))
    }
}

impl IntoIterator for Ports {
    type Item = PortId;
    type IntoIter = Iter;

    fn into_iter(self) -> Iter {
        Iter(self.0)
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.into_iter().map(PortId::index)).finish()
    }
}

/// The ports of a set, in ascending order.
#[derive(Clone, Debug)]
pub struct Iter(u128);

impl Iterator for Iter {
    type Item = PortId;

    fn next(&mut self) -> Option<PortId> {
        let first = self.0.trailing_zeros();
        // 128 where there is none.
        self.0 &= self.0.checked_sub(1)?;
        Some(PortId(first as u8))
    }
}
