//! File names: the short one of eight and three characters that each entry has, and the long one, in
//! entries of its own before it (FAT specification, "Long File Name Implementation").
use std::collections::HashSet;

/// Bytes in a directory entry.
pub const DIRECTORY_ENTRY: usize = 32;
/// UTF-16 units of a long name in one entry.
const UNITS: usize = 13;
/// Where they are in the entry.
const UNIT_OFFSETS: [usize; UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
const LAST_LONG_ENTRY: u8 = 0x40;

/// The short name of one entry of a folder, unique in it.
pub struct ShortName {
    bytes: [u8; 11],
    /// Whether it says the whole name, so that no long one is needed.
    whole: bool,
}

impl ShortName {
    /// Short names for all of a folder's names.
    pub fn of_all<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Self> {
        // Names that are short already keep theirs; the others get one that is free.
        let mut taken: HashSet<[u8; 11]> = names.clone().filter_map(exact).collect();
        let mut numbered = |name| {
            let bytes = (1..1_000_000).map(|n| shortened(name, n)).find(|bytes| !taken.contains(bytes));
            let bytes = bytes.unwrap_or(*b"~          ");
            taken.insert(bytes);
            Self { bytes, whole: false }
        };
        names
            .map(|name| exact(name).map_or_else(|| numbered(name), |bytes| Self { bytes, whole: true }))
            .collect()
    }

    /// The name as an entry has it.
    pub fn bytes(&self) -> &[u8; 11] {
        &self.bytes
    }

    /// How many entries `name`, whose short name this is, takes for its long form.
    pub fn long_entries(&self, name: &str) -> usize {
        if self.whole { 0 } else { name.encode_utf16().count().div_ceil(UNITS) }
    }

    /// Appends these entries: the end of the name first.
    pub fn write_long_entries(&self, name: &str, to: &mut Vec<u8>) {
        if self.whole {
            return;
        }
        let units: Vec<u16> = name.encode_utf16().collect();
        let parts = units.chunks(UNITS).enumerate().rev();
        for (index, part) in parts {
            let last = (index + 1) * UNITS >= units.len();
            let mut entry = [0; DIRECTORY_ENTRY];
            entry[0] = (index as u8 + 1) | if last { LAST_LONG_ENTRY } else { 0 };
            entry[11] = ATTRIBUTE_LONG_NAME;
            entry[13] = self.checksum();
            // After the name one zero, after that 0xffff.
            let filled = part.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
            for (at, unit) in UNIT_OFFSETS.into_iter().zip(filled) {
                entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            to.extend(entry);
        }
    }

    fn checksum(&self) -> u8 {
        self.bytes.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
    }
}

/// Characters of a short name, besides letters and digits.
fn is_short_character(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || "$%'-_@~`!(){}^#&".contains(c)
}

/// `name` as a short name, if it is one as it stands.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len())
        && extension.len() <= 3
        && !name.ends_with('.')
        && base.chars().chain(extension.chars()).all(is_short_character);
    fits.then(|| padded(base, extension))
}

/// A short name that reminds of `name`, with `number` at its end.
fn shortened(name: &str, number: u32) -> [u8; 11] {
    let clean = |part: &str| -> String {
        let upper = part.chars().filter(|c| !matches!(c, ' ' | '.')).map(|c| c.to_ascii_uppercase());
        upper.map(|c| if is_short_character(c) { c } else { '_' }).collect()
    };
    let (base, extension) = match name.trim_start_matches('.').rsplit_once('.') {
        Some((base, extension)) => (clean(base), clean(extension)),
        None => (clean(name), String::new()),
    };
    let tail = format!("~{number}");
    let base = format!("{}{tail}", &base[..base.len().min(8 - tail.len())]);
    padded(&base, &extension[..extension.len().min(3)])
}

fn padded(base: &str, extension: &str) -> [u8; 11] {
    let mut bytes = [b' '; 11];
    bytes[..base.len()].copy_from_slice(base.as_bytes());
    bytes[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(names: &[&str]) -> Vec<String> {
        let names = ShortName::of_all(names.iter().copied());
        names.iter().map(|n| String::from_utf8(n.bytes.to_vec()).unwrap()).collect()
    }

    #[test]
    fn a_name_of_eight_and_three_capitals_stands_as_it_is() {
        assert_eq!(short(&["BOOTX64.EFI", "EFI", "A-1.B"]), ["BOOTX64 EFI", "EFI        ", "A-1     B  "]);
        let names = ShortName::of_all(["BOOTX64.EFI"].into_iter());
        assert_eq!(names[0].long_entries("BOOTX64.EFI"), 0);
    }

    #[test]
    fn any_other_name_gets_a_number_that_is_free() {
        assert_eq!(
            short(&["initrd.img", "initrd.image", "INITRD~1.IMG", "vmlinuz-6.1.0", ".x", "a b", "ä.c", "x."]),
            [
                "INITRD~2IMG",
                "INITRD~1IMA",
                "INITRD~1IMG",
                "VMLINU~10  ",
                "X~1        ",
                "AB~1       ",
                "_~1     C  ",
                "X~2        ",
            ]
        );
    }

    #[test]
    fn many_names_of_one_kind_stay_unique() {
        let names: Vec<String> = (0..200).map(|n| format!("a long name of a file {n}")).collect();
        let short = ShortName::of_all(names.iter().map(String::as_str));
        let unique: HashSet<_> = short.iter().map(|name| name.bytes).collect();
        assert_eq!(unique.len(), 200);
    }

    #[test]
    fn a_long_name_is_stored_back_to_front_with_the_short_ones_checksum() {
        let name = "purevisor.toml";
        let short = &ShortName::of_all([name].into_iter())[0];
        assert_eq!(&short.bytes, b"PUREVI~1TOM");
        let mut entries = Vec::new();
        short.write_long_entries(name, &mut entries);
        assert_eq!(entries.len(), 2 * DIRECTORY_ENTRY);
        // "l", a zero, then ones; the second of two.
        assert_eq!(entries[..7], [0x42, b'l', 0, 0, 0, 0xff, 0xff]);
        assert_eq!(entries[32..39], [1, b'p', 0, b'u', 0, b'r', 0]);
        assert_eq!((entries[11], entries[13]), (0x0f, entries[45]));
    }
}
