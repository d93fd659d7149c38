//! The volume's files as a tree of folders.
use super::super::Entry;
use std::fs;
use std::io;
use std::path::PathBuf;

/// A folder and what is in it.
#[derive(Default)]
pub struct Folder {
    pub items: Vec<Item>,
}

/// What a folder holds.
pub enum Item {
    Folder(NamedFolder),
    File { name: String, source: PathBuf, bytes: u64 },
}

/// A folder other than the root.
pub struct NamedFolder {
    name: String,
    content: Folder,
}

impl std::ops::Deref for NamedFolder {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.content
    }
}

impl Item {
    pub fn name(&self) -> &str {
        match self {
            Self::Folder(folder) => &folder.name,
            Self::File { name, .. } => name,
        }
    }
}

impl Folder {
    /// The tree of `entries`, whose paths differ also where upper and lower case do not count.
    pub fn of(entries: &[Entry]) -> io::Result<Self> {
        let mut root = Self::default();
        for entry in entries {
            let Some((name, folders)) = entry.path.split_last() else { continue };
            let mut folder = &mut root;
            for name in folders {
                folder = folder.subfolder(name)?;
            }
            if folder.find(name).is_some() {
                return Err(io::Error::other(format!("the volume has two of '{name}' in one folder")));
            }
            let bytes = fs::metadata(&entry.source)?.len();
            folder.items.push(Item::File { name: name.clone(), source: entry.source.clone(), bytes });
        }
        Ok(root)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.items.iter().position(|item| item.name().to_lowercase() == name)
    }

    fn subfolder(&mut self, name: &str) -> io::Result<&mut Self> {
        let at = self.find(name).unwrap_or_else(|| {
            self.items.push(Item::Folder(NamedFolder { name: name.into(), content: Self::default() }));
            self.items.len() - 1
        });
        match &mut self.items[at] {
            Item::Folder(folder) => Ok(&mut folder.content),
            Item::File { .. } => {
                Err(io::Error::other(format!("'{name}' is a file and a folder on the volume")))
            }
        }
    }
}
