//! Paths on the boot volume.
//!
//! The configuration names files relative to its own folder, with `/` or `\` between folders. The boot
//! volume is FAT, so that what FAT cannot hold is refused here with a reason, and so is every path that
//! leaves the folder.
use alloc::vec::Vec;
use core::fmt;

/// The kernel's place on the boot volume.
pub const KERNEL_PATH: &str = "purevisor/kernel.elf";
/// The configuration's place on the boot volume.
pub const CONFIG_PATH: &str = "purevisor.toml";

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// Nothing is left of it.
    Empty,
    /// It begins with a separator.
    Absolute,
    /// It holds a `..`.
    Parent,
    /// It holds a character that a FAT file name cannot have (FAT specification, "Long File Name").
    Character(char),
    /// A folder or file name of more than 255 UTF-16 units.
    TooLong,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the path is empty"),
            Self::Absolute => write!(f, "the path is absolute; write it relative to purevisor.toml"),
            Self::Parent => {
                write!(
                    f,
                    "the path leaves the folder of purevisor.toml by '..'; put the file into that folder"
                )
            }
            Self::Character(c) => {
                write!(f, "the path holds {c:?}, which the boot volume's file system cannot")
            }
            Self::TooLong => write!(f, "the path holds a name of more than 255 characters"),
        }
    }
}

/// The folders and the file name of `path`.
pub fn components(path: &str) -> Result<Vec<&str>, BadPath> {
    if path.starts_with(['/', '\\']) {
        return Err(BadPath::Absolute);
    }
    let mut components = Vec::new();
    for name in path.split(['/', '\\']) {
        match name {
            "" | "." => continue,
            ".." => return Err(BadPath::Parent),
            _ => {}
        }
        if let Some(c) = name.chars().find(|&c| c.is_control() || "\"*:<>?|".contains(c)) {
            return Err(BadPath::Character(c));
        }
        if name.encode_utf16().count() > 255 {
            return Err(BadPath::TooLong);
        }
        components.push(name);
    }
    if components.is_empty() { Err(BadPath::Empty) } else { Ok(components) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    #[test]
    fn both_separators_and_subfolders_are_accepted() {
        assert_eq!(components("guests/deb\\vmlinuz"), Ok(vec!["guests", "deb", "vmlinuz"]));
        assert_eq!(components("./vmlinuz"), Ok(vec!["vmlinuz"]));
        assert_eq!(components("..vmlinuz"), Ok(vec!["..vmlinuz"]));
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        assert_eq!(components("../x"), Err(BadPath::Parent));
        assert_eq!(components("a\\..\\..\\x"), Err(BadPath::Parent));
        assert_eq!(components("/etc/passwd"), Err(BadPath::Absolute));
        assert_eq!(components("\\x"), Err(BadPath::Absolute));
        assert_eq!(components("c:x"), Err(BadPath::Character(':')));
    }

    #[test]
    fn what_fat_cannot_hold_is_refused() {
        assert_eq!(components(""), Err(BadPath::Empty));
        assert_eq!(components("./"), Err(BadPath::Empty));
        assert_eq!(components("a\nb"), Err(BadPath::Character('\n')));
        assert_eq!(components(&String::from_utf8(vec![b'a'; 256]).unwrap()), Err(BadPath::TooLong));
        assert!(components(&String::from_utf8(vec![b'a'; 255]).unwrap()).is_ok());
    }
}
