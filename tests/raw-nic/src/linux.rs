//! What is asked of Linux: the card's registers and ports, and memory whose physical address is known.
#![allow(unsafe_code)] // calls of the C library, which Rust's own library is linked with, and device registers

use std::arch::asm;
use std::ffi::{c_int, c_void};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::{self, NonNull};

const PROT_READ: c_int = 1;
const PROT_WRITE: c_int = 2;
const MAP_SHARED: c_int = 1;
const MAP_PRIVATE: c_int = 2;
const MAP_ANONYMOUS: c_int = 0x20;
const MAP_POPULATE: c_int = 0x8000;
const MAP_HUGETLB: c_int = 0x4_0000;

const PAGE: u64 = 4096;

unsafe extern "C" {
    fn iopl(level: c_int) -> c_int;
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, file: RawFd, offset: i64) -> *mut c_void;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
}

/// A mapping, undone with the value.
pub struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize, flags: c_int, file: RawFd) -> io::Result<Self> {
        // SAFETY: at an address of the kernel's choice, where nothing is.
        let at = unsafe { mmap(ptr::null_mut(), len, PROT_READ | PROT_WRITE, flags, file, 0) };
        match NonNull::new(at.cast()) {
            Some(at) if at.as_ptr() as isize != -1 => Ok(Self { at, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A card's registers: `resource` is the file of their BAR.
    pub fn registers(resource: &Path, len: usize) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(resource)?;
        Self::new(len, MAP_SHARED, file.as_raw_fd())
    }

    /// # Panics
    /// It would not be within.
    fn place<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.len);
        // SAFETY: within the mapping.
        unsafe { self.at.add(offset).cast() }
    }

    /// Reads once.
    pub fn read<T: Copy>(&self, offset: usize) -> T {
        // SAFETY: within the mapping and aligned; all bytes of a device or of memory are a number.
        unsafe { self.place::<T>(offset).read_volatile() }
    }

    /// Writes once.
    pub fn write<T: Copy>(&self, offset: usize, value: T) {
        // SAFETY: as for `read`; nothing else refers to it.
        unsafe { self.place::<T>(offset).write_volatile(value) }
    }

    /// Writes all of these.
    pub fn write_all(&self, offset: usize, bytes: &[u8]) {
        bytes.iter().enumerate().for_each(|(i, byte)| self.write(offset + i, *byte));
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody after this.
        unsafe { munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// Bytes of a huge page.
pub const HUGE: usize = 2 << 20;

/// A huge page, which does not move, and its physical address.
pub fn huge_page() -> io::Result<(Mapping, u64)> {
    fs::write("/proc/sys/vm/nr_hugepages", "1")?;
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE;
    let page = Mapping::new(HUGE, flags, -1)?;
    page.write(0, 0u8);
    // Documentation/admin-guide/mm/pagemap.rst: 64 bits for each page, bits 54 to 0 its frame, 63 whether it is there.
    let mut entry = [0; 8];
    let at = page.at.as_ptr() as u64 / PAGE * 8;
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, at)?;
    let entry = u64::from_le_bytes(entry);
    let frame = entry & ((1 << 55) - 1);
    if entry >> 63 == 0 || frame == 0 {
        return Err(io::Error::other("Linux does not say where a page is"));
    }
    Ok((page, frame * PAGE))
}

/// Lets this process use all I/O ports (iopl(2)).
pub fn allow_ports() -> io::Result<()> {
    // SAFETY: the process writes to ports in `out` only.
    if unsafe { iopl(3) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Writes to the port of a card that this process has.
pub fn out(port: u16, value: u16) {
    // SAFETY: ports were allowed; a card's notifications change nothing but its queues, which are in memory of our own.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nostack, preserves_flags)) };
}
