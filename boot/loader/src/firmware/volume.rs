//! The boot volume: the file system that `boot.efi` came from.
use super::output::say;
use super::pages::Pages;
use alloc::format;
use alloc::string::String;
use core::fmt;
use loader::volume_path::{self, BadPath};
use uefi::boot::{self, ScopedProtocol};
use uefi::proto::media::file::{Directory, File, FileAttribute, FileInfo, FileMode, RegularFile};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CString16, Status};

/// Some firmware fails on larger reads.
const READ_BYTES: usize = 1 << 20;
/// A large file shows how far it is after each eighth of it, but not more often than this.
const LEAST_PROGRESS: usize = 16 << 20;

/// Why a file is not in memory.
#[derive(Debug)]
pub enum ReadError {
    NotFound,
    Path(BadPath),
    Firmware(Status),
    NoMemory { bytes: u64 },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => write!(f, "no such file on the boot volume"),
            Self::Path(bad) => write!(f, "{bad}"),
            Self::Firmware(status) => {
                write!(f, "the firmware reports {status}; write the boot volume anew or replace the medium")
            }
            Self::NoMemory { bytes } => {
                write!(f, "no memory for its {} MiB; give the machine more memory", bytes.div_ceil(1 << 20))
            }
        }
    }
}

pub struct Volume {
    root: Directory,
    // Open for as long as `root` is.
    _file_system: ScopedProtocol<SimpleFileSystem>,
}

impl Volume {
    pub fn of_this_image() -> Result<Self, Status> {
        let mut file_system = boot::get_image_file_system(boot::image_handle()).map_err(|e| e.status())?;
        let root = file_system.open_volume().map_err(|e| e.status())?;
        Ok(Self { root, _file_system: file_system })
    }

    /// Reads the whole file at `path`, relative to the root.
    pub fn read(&mut self, path: &str) -> Result<Pages, ReadError> {
        let mut file = self.open(path)?;
        let info = file.get_boxed_info::<FileInfo>().map_err(|e| ReadError::Firmware(e.status()))?;
        let size = info.file_size();
        let mut pages = Pages::try_new(size).ok_or(ReadError::NoMemory { bytes: size })?;
        let buffer = pages.bytes_mut();
        let (mut done, mut shown) = (0, 0);
        let step = LEAST_PROGRESS.max(buffer.len() / 8);
        while done < buffer.len() {
            let end = buffer.len().min(done + READ_BYTES);
            match file.read(&mut buffer[done..end]) {
                // Shorter than the directory says.
                Ok(0) => break,
                Ok(bytes) => done += bytes,
                Err(error) => {
                    pages.free();
                    return Err(ReadError::Firmware(error.status()));
                }
            }
            if done - shown >= step && done < buffer.len() {
                shown = done;
                say(&format!("{path}: {} of {} MiB", done >> 20, size >> 20));
            }
        }
        pages.truncate(done);
        Ok(pages)
    }

    fn open(&mut self, path: &str) -> Result<RegularFile, ReadError> {
        let components = volume_path::components(path).map_err(ReadError::Path)?;
        let name: String = components.join("\\");
        // A name that UCS-2 does not have cannot be on the volume.
        let name = CString16::try_from(name.as_str()).map_err(|_| ReadError::NotFound)?;
        let file = self.root.open(&name, FileMode::Read, FileAttribute::empty());
        match file {
            Ok(file) => file.into_regular_file().ok_or(ReadError::NotFound),
            Err(error) if error.status() == Status::NOT_FOUND => Err(ReadError::NotFound),
            Err(error) => Err(ReadError::Firmware(error.status())),
        }
    }
}
