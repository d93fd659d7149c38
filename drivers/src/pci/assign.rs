//! Addresses for a function that came after the firmware had handed them out.
//!
//! The firmware gave the port's slot windows of its own, in which nothing else can be: they are the bridge's, and
//! a slot of PCI Express has one device. So its BARs are laid out there from the window's start, the largest first,
//! each at a multiple of its size, and nobody's else addresses need to be known.
use super::bar::{BadBar, Bar, BarSpace};
use super::bridge::{memory_window, prefetchable_window};
use super::{Config, PciError};
use core::cmp::Reverse;
use core::ops::Range;

/// Gives all of `bars` addresses in the windows of `port`, where at least one has none. I/O windows stay without:
/// no driver of ours uses them.
///
/// # Errors
/// Where the windows are too small.
pub(super) fn assign(config: &Config, port: &Config, bars: &mut [Bar]) -> Result<(), PciError> {
    let memory = |bar: &&mut Bar| matches!(bar.space, BarSpace::Memory { .. });
    let mut plain = memory_window(port).unwrap_or(0..0);
    let mut prefetchable = prefetchable_window(port).unwrap_or(0..0);
    let mut bars: alloc::vec::Vec<&mut Bar> = bars.iter_mut().filter(memory).collect();
    bars.sort_by_key(|bar| Reverse(bar.bytes));
    for bar in bars {
        let may_be_there = matches!(bar.space, BarSpace::Memory { prefetchable: true, .. });
        let mut place = None;
        if may_be_there {
            place = take(&mut prefetchable, bar);
        }
        let place = place.or_else(|| take(&mut plain, bar)).ok_or(PciError::NoWindow { bytes: bar.bytes })?;
        bar.assign(config, place).map_err(|BadBar { index }| PciError::BadBar { index })?;
    }
    Ok(())
}

/// Takes room for `bar` from the start of `window`.
fn take(window: &mut Range<u64>, bar: &Bar) -> Option<u64> {
    let start = window.start.checked_next_multiple_of(bar.bytes)?;
    let end = start.checked_add(bar.bytes)?;
    if end > window.end || (!bar.is_wide() && end > 1 << 32) {
        return None;
    }
    window.start = end;
    Some(start)
}
