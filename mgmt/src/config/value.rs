//! What a key's value may be: each function takes a TOML value to its meaning, or says why not.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use toml::de::DeValue;

use super::problem::Refused;
use super::section::show;

/// Longest name of a node, a VM or a network, in characters.
pub const MAX_NAME: usize = 63;

/// Longest kernel command line, in bytes: Linux' `COMMAND_LINE_SIZE` on x86 less its NUL.
pub const MAX_CMDLINE: usize = 2047;

/// Longest path on the boot volume, in bytes.
pub const MAX_PATH: usize = 255;

/// Highest CPU number that an affinity may name.
pub const MAX_CPU: u32 = 4095;

pub(super) type Read<T> = Result<T, Refused>;

pub(super) fn text<'v>(value: &'v DeValue<'_>, allowed: &str) -> Read<&'v str> {
    value.as_str().ok_or_else(|| Refused::new("is not a string", allowed))
}

/// `true` or `false`.
pub(super) fn boolean(value: &DeValue<'_>) -> Read<bool> {
    value.as_bool().ok_or_else(|| Refused::new("is neither true nor false", "true, false"))
}

/// An integer within `range`.
pub(super) fn integer(range: RangeInclusive<u32>) -> impl Fn(&DeValue<'_>) -> Read<u32> {
    move |value| {
        let allowed = || format!("an integer from {} to {}", range.start(), range.end());
        let Some(number) = value.as_integer() else {
            return Err(Refused::new("is not an integer", allowed()));
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(Refused::new("is out of range", allowed())),
        }
    }
}

/// One of a few words, each with its meaning.
pub(super) fn word<T: Copy>(words: &[(&str, T)]) -> impl Fn(&DeValue<'_>) -> Read<T> {
    move |value| {
        let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let allowed: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            Refused::new("is none of the choices", allowed.join(", "))
        })
    }
}

/// A name of a node, a VM or a network: 1 to [`MAX_NAME`] of `a-z`, `0-9`, `-`, `_`, `.`.
pub(super) fn name(value: &DeValue<'_>) -> Read<String> {
    let allowed = "1 to 63 of a-z, 0-9, '-', '_' and '.', in quotes";
    let name = text(value, allowed)?;
    if is_name(name) { Ok(name.to_string()) } else { Err(Refused::new("is not a name", allowed)) }
}

fn is_name(text: &str) -> bool {
    let sound = |b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(sound)
}

/// Whether a disk or a network card of this machine may be called so: as [`name`], and it begins with a letter.
pub(super) fn is_device(text: &str) -> bool {
    is_name(text) && text.starts_with(|c: char| c.is_ascii_lowercase())
}

/// A kernel command line: at most [`MAX_CMDLINE`] bytes without control characters.
pub(super) fn cmdline(value: &DeValue<'_>) -> Read<String> {
    let allowed = format!("a string of at most {MAX_CMDLINE} bytes on one line");
    let line = text(value, &allowed)?;
    if line.len() > MAX_CMDLINE {
        return Err(Refused::new(format!("has {} bytes", line.len()), allowed));
    }
    if line.chars().any(char::is_control) {
        return Err(Refused::new("has a control character", allowed));
    }
    Ok(line.to_string())
}

/// An amount of memory in bytes: a whole number with a unit `K`, `M`, `G` or `T` (also `KiB`, `MiB`,
/// `GiB`, `TiB`), powers of 1024; a multiple of 1 MiB and at least 16 MiB.
pub(super) fn memory(value: &DeValue<'_>) -> Read<u64> {
    let allowed = "a string of a number and K, M, G or T, such as \"512M\": at least 16M, in whole MiB";
    let text = text(value, allowed)?;
    let bytes = bytes(text).ok_or_else(|| Refused::new("is not a size", allowed))?;
    if bytes < 16 << 20 {
        return Err(Refused::new("is too little", allowed));
    }
    if bytes > 1 << 52 {
        return Err(Refused::new("is more than an x86 machine can address", allowed));
    }
    if bytes % (1 << 20) != 0 {
        return Err(Refused::new("is not a whole number of MiB", allowed));
    }
    Ok(bytes)
}

/// An amount of storage in bytes: a whole number with a unit, as [`memory`].
pub(super) fn amount(value: &DeValue<'_>) -> Read<u64> {
    let allowed = "a string of a number and K, M, G or T, such as \"8G\"";
    bytes(text(value, allowed)?).ok_or_else(|| Refused::new("is not a size", allowed))
}

/// A size in bytes as the file and the shell write it: `512M`, `2GiB`.
pub fn size(text: &str) -> Option<u64> {
    bytes(text)
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        "T" | "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A file on the boot volume, as [`normal_path`] takes it.
pub(super) fn path(value: &DeValue<'_>) -> Read<String> {
    let allowed = "a path below this file's folder, such as \"vmlinuz\" or \"debian/initrd.img\"";
    normal_path(text(value, allowed)?).map_err(|why| Refused::new(why, allowed))
}

/// The one way to write a path on the boot volume: relative to the folder of `purevisor.toml`, with `/`
/// between its parts and without empty and `.` parts. Takes `/` and `\` between the parts. On failure:
/// what the path does wrong, as the end of a sentence that begins with the path.
pub fn normal_path(path: &str) -> Result<String, &'static str> {
    if path.len() > MAX_PATH {
        return Err("is too long");
    }
    if path.starts_with(['/', '\\']) {
        return Err("is an absolute path");
    }
    let parts: Vec<&str> = path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() {
        return Err("names no file");
    }
    for part in &parts {
        if *part == ".." {
            return Err("leaves the folder by \"..\"");
        }
        // What FAT, the boot volume's file system, can't name or changes silently (Microsoft FAT
        // specification, section 7, "long names").
        let forbidden = |c: char| c.is_control() || "\"*:<>?|".contains(c);
        if part.contains(forbidden) || part.ends_with(['.', ' ']) {
            return Err("has a name that a boot volume can't hold");
        }
    }
    Ok(parts.join("/"))
}

/// One string, or a list of 1 to `most` different ones. `read` takes a string to its meaning, or says what it does wrong,
/// as the end of a sentence that begins with the string.
pub(super) fn one_or_more<T: PartialEq>(
    most: usize,
    allowed: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> impl Fn(&DeValue<'_>) -> Read<Vec<T>> {
    move |value| {
        let Some(list) = value.as_array() else {
            return match read(text(value, allowed)?) {
                Ok(one) => Ok(Vec::from([one])),
                Err(why) => Err(Refused::new(why, allowed)),
            };
        };
        let mut sound = Vec::new();
        for item in list.iter().map(|item| item.get_ref()) {
            let text = item.as_str().ok_or("is not a string".to_string());
            match text.and_then(&read) {
                Ok(one) if sound.contains(&one) => {
                    return Err(Refused::new(format!("has {} twice", show(item)), allowed));
                }
                Ok(one) => sound.push(one),
                Err(why) => return Err(Refused::new(format!("has {}, which {why}", show(item)), allowed)),
            }
            if sound.len() > most {
                return Err(Refused::new(format!("has more than {most} entries"), allowed));
            }
        }
        if sound.is_empty() { Err(Refused::new("is empty", allowed)) } else { Ok(sound) }
    }
}

/// A list of different CPU numbers, at least one.
pub(super) fn cpus(value: &DeValue<'_>) -> Read<Vec<u32>> {
    let allowed = format!("a list of different CPU numbers from 0 to {MAX_CPU}, such as [0, 1]");
    let Some(list) = value.as_array() else {
        return Err(Refused::new("is not a list", allowed));
    };
    let mut cpus = Vec::new();
    for item in list {
        match integer(0..=MAX_CPU)(item.get_ref()) {
            Ok(cpu) => cpus.push(cpu),
            Err(_) => return Err(Refused::new("has something other than a CPU number", allowed)),
        }
    }
    cpus.sort_unstable();
    if cpus.is_empty() {
        return Err(Refused::new("is empty", allowed));
    }
    if cpus.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refused::new("names a CPU twice", allowed));
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(toml: &str, reader: impl Fn(&DeValue<'_>) -> Read<T>) -> Result<T, String> {
        let value = DeValue::parse(toml).expect("the test's value is TOML");
        reader(value.get_ref()).map_err(|refused| refused.why)
    }

    #[test]
    fn memory_is_a_number_with_a_unit() {
        assert_eq!(read("'512M'", memory), Ok(512 << 20));
        assert_eq!(read("'2G'", memory), Ok(2 << 30));
        assert_eq!(read("'16384K'", memory), Ok(16 << 20));
        assert_eq!(read("'1TiB'", memory), Ok(1 << 40));
        assert_eq!(read("'17MiB'", memory), Ok(17 << 20));
    }

    #[test]
    fn memory_of_any_other_form_is_refused() {
        for wrong in ["'512'", "'M'", "''", "'-1G'", "'+1G'", "'1.5G'", "'512 M'", "'512m'", "'512MB'"] {
            assert_eq!(read(wrong, memory), Err("is not a size".into()), "{wrong}");
        }
        assert_eq!(read("'99999999999999999999G'", memory), Err("is not a size".into()));
        assert_eq!(read("'18446744073709551615T'", memory), Err("is not a size".into()));
        assert_eq!(read("512", memory), Err("is not a string".into()));
        assert_eq!(read("'15M'", memory), Err("is too little".into()));
        assert_eq!(read("'16385K'", memory), Err("is not a whole number of MiB".into()));
        assert!(read("'8192T'", memory).is_err());
    }

    #[test]
    fn paths_are_relative_and_normalised() {
        assert_eq!(read("'vmlinuz'", path), Ok("vmlinuz".into()));
        assert_eq!(read(r"'a\b/.//c'", path), Ok("a/b/c".into()));
        assert_eq!(read("'./x'", path), Ok("x".into()));
        assert_eq!(read("'..x/y..z'", path), Ok("..x/y..z".into()));
    }

    #[test]
    fn paths_that_leave_the_volume_or_that_it_cannot_hold_are_refused() {
        let long = format!("'{}'", "a".repeat(256));
        for wrong in [
            "'/etc/x'",
            r"'\x'",
            "'../x'",
            "'a/../b'",
            r"'a\..\b'",
            "'c:/x'",
            "''",
            "'.'",
            "'/'",
            "'a?'",
            "'a.'",
            "'a /b'",
            "\"a\\u0007\"",
            "\"a\\u0000b\"",
            "1",
            "[]",
            &long,
        ] {
            assert!(read(wrong, path).is_err(), "{wrong}");
        }
    }

    #[test]
    fn integers_stay_in_their_range() {
        assert_eq!(read("16", integer(1..=16)), Ok(16));
        assert_eq!(read("0x10", integer(1..=16)), Ok(16));
        assert_eq!(read("1_0", integer(1..=16)), Ok(10));
        for wrong in ["0", "17", "-1", "99999999999999999999999", "1.0", "'1'", "true"] {
            assert!(read(wrong, integer(1..=16)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_stands_for_a_list_of_one_and_no_list_repeats_itself() {
        let letter = |text: &str| text.parse::<char>().map_err(|_| "is no letter".to_string());
        let read = |toml| read(toml, one_or_more(2, "letters", letter));
        assert_eq!(read("'a'"), Ok(Vec::from(['a'])));
        assert_eq!(read("['b', 'a']"), Ok(Vec::from(['b', 'a'])), "their order stays");
        for (wrong, why) in [
            ("1", "is not a string"),
            ("'ab'", "is no letter"),
            ("[]", "is empty"),
            ("['a', 'bc']", "has \"bc\", which is no letter"),
            ("['a', 1]", "has 1, which is not a string"),
            ("['a', 'a']", "has \"a\" twice"),
            ("['a', 'b', 'c']", "has more than 2 entries"),
        ] {
            assert_eq!(read(wrong), Err(why.into()), "{wrong}");
        }
    }

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(read("'debian-12.a_b'", name), Ok("debian-12.a_b".into()));
        let long = format!("'{}'", "a".repeat(64));
        for wrong in ["''", "'A'", "'a b'", "'ä'", "\"a\\n\"", "1", &long] {
            assert!(read(wrong, name).is_err(), "{wrong}");
        }
    }

    #[test]
    fn affinity_is_a_set_of_cpu_numbers() {
        assert_eq!(read("[3, 0, 1]", cpus), Ok(Vec::from([0, 1, 3])));
        for wrong in ["[]", "[1, 1]", "[-1]", "['0']", "0", "[4096]", "[[1]]"] {
            assert!(read(wrong, cpus).is_err(), "{wrong}");
        }
    }

    #[test]
    fn command_lines_are_one_line_that_linux_takes() {
        assert_eq!(read("'console=ttyS0 é'", cmdline), Ok("console=ttyS0 é".into()));
        assert_eq!(read(&format!("'{}'", "x".repeat(2047)), cmdline).map(|l| l.len()), Ok(2047));
        assert!(read(&format!("'{}'", "x".repeat(2048)), cmdline).is_err());
        assert!(read("\"a\\nb\"", cmdline).is_err());
        assert!(read("true", cmdline).is_err());
    }
}
