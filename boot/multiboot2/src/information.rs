//! The boot information: a list of tags (Multiboot2 2.0, 3.6 "Boot information format").
//!
//! [`Information`] exists only for a list that is whole: every tag lies inside of it, every tag that is used
//! here has all of its fields, and there is an end. Tags of other types are passed over.
use crate::firmware_map::FirmwareMap;
use core::fmt;
use handover::{Extent, Framebuffer, PixelFormat};

/// What `EAX` holds when a Multiboot2 loader enters (3.3, "I386 machine state").
pub const MAGIC: u32 = 0x36d7_6289;
/// More than this is not boot information.
pub const MAX_BYTES: u32 = 1 << 20;

/// What a tag tells (3.6). Open: others are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagKind(pub u32);

impl TagKind {
    /// The last tag.
    pub const END: Self = Self(0);
    /// The boot loader's name.
    pub const LOADER: Self = Self(2);
    /// A module.
    pub const MODULE: Self = Self(3);
    /// The BIOS's memory map.
    pub const MEMORY: Self = Self(6);
    /// The screen.
    pub const FRAMEBUFFER: Self = Self(8);
    /// A copy of the ACPI 1.0 root pointer.
    pub const RSDP_OLD: Self = Self(14);
    /// A copy of the root pointer of ACPI 2.0 and later.
    pub const RSDP_NEW: Self = Self(15);
    /// The UEFI firmware's memory map.
    pub const EFI_MEMORY: Self = Self(17);
    /// UEFI boot services have not ended.
    pub const BOOT_SERVICES: Self = Self(18);

    /// The least bytes of such a tag, its type and size included.
    fn least_bytes(self) -> usize {
        match self {
            Self::MODULE => 17,
            Self::MEMORY | Self::EFI_MEMORY => 16,
            // The fields that all types of screens have.
            Self::FRAMEBUFFER => 32,
            Self::RSDP_OLD => 8 + 20,
            Self::RSDP_NEW => 8 + 36,
            _ => 8,
        }
    }
}

/// Why boot information is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadInformation {
    /// It says that it has this many bytes.
    Size(u32),
    /// It ends without an end tag, or a tag at this offset reaches beyond its end.
    Truncated(usize),
    /// A tag of this type has too few bytes for its fields, or entries of an impossible size.
    Tag(TagKind),
}

impl fmt::Display for BadInformation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the boot loader's information is damaged: ")?;
        match self {
            Self::Size(bytes) => write!(f, "it claims to have {bytes} bytes")?,
            Self::Truncated(at) => write!(f, "it is cut off at byte {at}")?,
            Self::Tag(kind) => write!(f, "its tag of type {} is malformed", kind.0)?,
        }
        write!(f, "; start PureVisor with GRUB 2.06 or newer")
    }
}

/// A tag: what it tells, and its content behind type and size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tag<'a> {
    kind: TagKind,
    body: &'a [u8],
}

/// A module, as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// First byte's physical address.
    pub start: u32,
    /// Address after the last byte. May be anything.
    pub end: u32,
    /// What stands behind its path in `grub.cfg`, without the terminating NUL.
    pub string: &'a [u8],
}

/// The screen that the boot loader leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// None, or one that cannot be used.
    None,
    /// Pixels that the kernel can draw.
    Pixels(Framebuffer),
    /// A grid of characters with attributes, as the VGA's text modes have.
    Text {
        /// Physical address of the first character.
        base: u64,
        /// Characters in a line.
        columns: u32,
        /// Lines.
        rows: u32,
        /// Bytes from one line to the next.
        pitch: u32,
    },
}

/// The VGA's text mode 3, in which a BIOS leaves the screen.
pub const VGA_TEXT: Screen = Screen::Text { base: 0xb_8000, columns: 80, rows: 25, pitch: 160 };

/// Boot information that is whole.
#[derive(Clone, Copy, Debug)]
pub struct Information<'a> {
    tags: &'a [u8],
}

/// The `u32` at `at`; 0 beyond the end, where checked tags are not read.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The `u64` at `at`; see [`u32_at`].
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// The size that boot information claims in its first word, if it is a possible one.
pub fn claimed_bytes(first_word: u32) -> Result<usize, BadInformation> {
    match first_word {
        16..=MAX_BYTES => Ok(first_word as usize),
        _ => Err(BadInformation::Size(first_word)),
    }
}

impl<'a> Information<'a> {
    /// Checks `bytes`, all that the information claims to be.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BadInformation> {
        if claimed_bytes(u32_at(bytes, 0))? != bytes.len() {
            return Err(BadInformation::Size(u32_at(bytes, 0)));
        }
        let mut at = 8;
        loop {
            let rest = &bytes[at.min(bytes.len())..];
            let (kind, size) = (TagKind(u32_at(rest, 0)), u32_at(rest, 4) as usize);
            if rest.len() < 8 || size < 8 || size > rest.len() {
                return Err(BadInformation::Truncated(at));
            }
            if kind == TagKind::END {
                return Ok(Self { tags: &bytes[8..at] });
            }
            check(Tag { kind, body: &rest[8..size] })?;
            at += size.next_multiple_of(8);
        }
    }

    fn tags(self) -> impl Iterator<Item = Tag<'a>> + Clone + 'a {
        let mut rest = self.tags;
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            // `parse` has walked the same way.
            let size = (u32_at(rest, 4) as usize).clamp(8, rest.len().max(8));
            let tag = Tag { kind: TagKind(u32_at(rest, 0)), body: rest.get(8..size)? };
            rest = rest.get(size.next_multiple_of(8)..).unwrap_or(&[]);
            Some(tag)
        })
    }

    fn first(self, kind: TagKind) -> Option<&'a [u8]> {
        self.tags().find(|tag| tag.kind == kind).map(|tag| tag.body)
    }

    /// The boot loader's name, as far as it is text.
    pub fn loader(self) -> &'a str {
        let name = self.first(TagKind::LOADER).and_then(|body| body.split(|&b| b == 0).next());
        name.and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("an unnamed boot loader")
    }

    /// The modules, in the boot loader's order.
    pub fn modules(self) -> impl Iterator<Item = Module<'a>> + Clone + 'a {
        self.tags().filter(|tag| tag.kind == TagKind::MODULE).map(|tag| Module {
            start: u32_at(tag.body, 0),
            end: u32_at(tag.body, 4),
            string: tag.body[8..].split(|&b| b == 0).next().unwrap_or(&[]),
        })
    }

    /// The firmware's memory map: UEFI's, which says more, before the BIOS's.
    pub fn memory_map(self) -> Option<FirmwareMap<'a>> {
        let efi = self.first(TagKind::EFI_MEMORY).and_then(FirmwareMap::efi);
        efi.or_else(|| self.first(TagKind::MEMORY).and_then(FirmwareMap::bios))
    }

    /// The copy of the ACPI root pointer: that of ACPI 2.0 or later before that of 1.0.
    pub fn rsdp(self) -> Option<&'a [u8]> {
        self.first(TagKind::RSDP_NEW).or_else(|| self.first(TagKind::RSDP_OLD))
    }

    /// Whether UEFI boot services still run, which we did not ask for.
    pub fn boot_services_run(self) -> bool {
        self.first(TagKind::BOOT_SERVICES).is_some()
    }

    /// The screen. A BIOS machine of which nothing is told is in the text mode that GRUB found it in.
    pub fn screen(self) -> Screen {
        match self.first(TagKind::FRAMEBUFFER) {
            Some(body) => screen(body),
            None if self.first(TagKind::EFI_MEMORY).is_none() => VGA_TEXT,
            None => Screen::None,
        }
    }
}

fn check(tag: Tag) -> Result<(), BadInformation> {
    let sound = 8 + tag.body.len() >= tag.kind.least_bytes()
        && match tag.kind {
            TagKind::MEMORY => FirmwareMap::bios(tag.body).is_some(),
            TagKind::EFI_MEMORY => FirmwareMap::efi(tag.body).is_some(),
            _ => true,
        };
    if sound { Ok(()) } else { Err(BadInformation::Tag(tag.kind)) }
}

/// The framebuffer tag (3.6.11).
fn screen(body: &[u8]) -> Screen {
    const PIXELS: u8 = 1;
    const TEXT: u8 = 2;
    let base = u64_at(body, 0);
    let [pitch, width, height] = [8, 12, 16].map(|at| u32_at(body, at));
    let kind = body.get(21).copied().unwrap_or(0);
    if kind == TEXT {
        return Screen::Text { base, columns: width, rows: height, pitch };
    }
    // Position and size of red, green and blue.
    let format = match body.get(24..30) {
        Some([0, 8, 8, 8, 16, 8]) => PixelFormat::RGB,
        Some([16, 8, 8, 8, 0, 8]) => PixelFormat::BGR,
        _ => return Screen::None,
    };
    if kind != PIXELS || body.get(20) != Some(&32) || !pitch.is_multiple_of(4) || pitch / 4 < width {
        return Screen::None;
    }
    let len = u64::from(pitch) * u64::from(height);
    if len == 0 || base.checked_add(len).is_none() {
        return Screen::None;
    }
    Screen::Pixels(Framebuffer { extent: Extent { base, len }, width, height, stride: pitch / 4, format })
}

#[cfg(test)]
#[path = "information_tests.rs"]
pub(crate) mod tests;
