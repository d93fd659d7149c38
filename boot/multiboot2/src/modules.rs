//! The modules: which file each is, and whether its memory can be what the boot loader says.
//!
//! A module's string is the file's path as `purevisor.toml` spells it, `/` or `\` between folders, as GRUB
//! hands words on: in quotes if it holds a space, with a backslash before quotes and backslashes.
use crate::information::{Information, Module};
use alloc::string::String;
use core::fmt;
use core::ops::Range;
use loader::memory_map::{self, Claim};
use loader::volume_path;
use mm::addr::PAGE;

/// Why a module cannot be used, and with it the boot loader's other promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadModule {
    /// It ends before it starts.
    Backwards(u32),
    /// It does not start on a page, which our header demands.
    Unaligned(u32),
    /// It lies where the memory map has no free memory.
    NotInMemory(u32),
    /// It lies over another module, over the entry, or over the boot information.
    Overlap(u32),
}

impl fmt::Display for BadModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, what) = match self {
            Self::Backwards(at) => (at, "ends before it starts"),
            Self::Unaligned(at) => (at, "does not start on a page"),
            Self::NotInMemory(at) => (at, "is not in free memory"),
            Self::Overlap(at) => (at, "lies over something else"),
        };
        write!(f, "the boot loader's module at {at:#x} {what}; start PureVisor with GRUB 2.06 or newer")
    }
}

/// The module's physical addresses.
pub fn range(module: &Module) -> Range<u64> {
    u64::from(module.start)..u64::from(module.end)
}

/// Checks that each module has memory of its own: apart from the others and from `taken`, inside of what the
/// firmware's `claims` call free. Empty ones have none, and pass.
pub fn check<'a>(
    information: Information<'a>,
    taken: &[Range<u64>],
    claims: impl Iterator<Item = Claim> + Clone + 'a,
) -> Result<(), BadModule> {
    for (index, module) in information.modules().enumerate() {
        let Range { start, end } = range(&module);
        if start == end {
            continue;
        }
        if end < start {
            return Err(BadModule::Backwards(module.start));
        }
        if !start.is_multiple_of(PAGE) {
            return Err(BadModule::Unaligned(module.start));
        }
        let holds = |extent: handover::Extent| extent.base <= start && end <= extent.base + extent.len;
        let mut free = memory_map::regions(claims.clone()).filter(|r| r.kind == handover::MemoryKind::USABLE);
        if !free.any(|region| holds(region.extent)) {
            return Err(BadModule::NotInMemory(module.start));
        }
        let meets = |other: &Range<u64>| start < other.end && other.start < end;
        let earlier = information.modules().take(index).map(|m| range(&m));
        if taken.iter().any(meets) || earlier.into_iter().any(|other| meets(&other)) {
            return Err(BadModule::Overlap(module.start));
        }
    }
    Ok(())
}

/// The first module that is the file at `path`; of several spellings of one path all are the same.
pub fn find<'a>(information: Information<'a>, path: &str) -> Option<Module<'a>> {
    let wanted = volume_path::components(path).ok()?;
    information.modules().find(|module| {
        first_word(module.string)
            .is_some_and(|name| volume_path::components(&name).is_ok_and(|components| components == wanted))
    })
}

/// The first word of a line that GRUB put together of words (`grub_create_loader_cmdline`); `None` where it
/// is not UTF-8.
fn first_word(line: &[u8]) -> Option<String> {
    let line = core::str::from_utf8(line).ok()?;
    let mut word = String::new();
    let mut quoted = false;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' if !quoted => break,
            '"' => quoted = !quoted,
            '\\' => word.extend(rest.next()),
            c => word.push(c),
        }
    }
    Some(word)
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
