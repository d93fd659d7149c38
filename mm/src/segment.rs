//! A run of physical memory.
use crate::addr::Hpa;

/// A run of physical memory that a device's data moves to or from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first byte.
    pub address: Hpa,
    /// Its bytes. Not 0.
    pub bytes: u32,
}
