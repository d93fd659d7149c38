//! What is asked of Linux: I/O ports, pages of device registers, memory never used before.
#![allow(unsafe_code)] // calls of the C library, which Rust's own library is linked with

use std::ffi::{c_int, c_long, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};

const PROT_READ: c_int = 1;
const PROT_WRITE: c_int = 2;
const MAP_SHARED: c_int = 1;
const MAP_PRIVATE: c_int = 2;
const MAP_ANONYMOUS: c_int = 0x20;
const MADV_NOHUGEPAGE: c_int = 15;

const SYS_SCHED_SETSCHEDULER: c_long = 144;
const SCHED_IDLE: c_int = 5;

const PAGE: usize = 4096;

unsafe extern "C" {
    fn iopl(level: c_int) -> c_int;
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, file: RawFd, offset: i64) -> *mut c_void;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
    fn madvise(at: *mut c_void, len: usize, advice: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
}

/// Lets this process use all I/O ports (iopl(2)).
pub fn allow_ports() -> io::Result<()> {
    // SAFETY: the process uses ports in `inb` and `outb` only.
    if unsafe { iopl(3) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets the calling thread run only while nobody else wants to (sched(7), SCHED_IDLE).
pub fn run_when_idle() -> io::Result<()> {
    let priority: c_int = 0;
    // SAFETY: Linux reads `priority`. (The C library's own function for this does nothing in musl.)
    let done = unsafe { syscall(SYS_SCHED_SETSCHEDULER, 0, SCHED_IDLE, &raw const priority) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A mapping, undone with the value.
struct Mapping {
    at: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(len: usize, prot: c_int, flags: c_int, file: RawFd, offset: i64) -> io::Result<Self> {
        // SAFETY: at an address of the kernel's choice, where nothing is.
        let at = unsafe { mmap(ptr::null_mut(), len, prot, flags, file, offset) };
        match NonNull::new(at.cast()) {
            Some(at) if at.as_ptr() as isize != -1 => Ok(Self { at, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used by nobody after this.
        unsafe { munmap(self.at.as_ptr().cast(), self.len) };
    }
}

/// A page of device registers.
pub struct DeviceRegisters(Mapping);

impl DeviceRegisters {
    /// Maps the page at this physical address for reading (mem(4)).
    pub fn map(physical: i64) -> io::Result<Self> {
        let memory = File::options().read(true).write(true).open("/dev/mem")?;
        Mapping::new(PAGE, PROT_READ, MAP_SHARED, memory.as_raw_fd(), physical).map(Self)
    }

    /// Reads the register at `offset`, a multiple of 4 within the page.
    #[inline(always)]
    pub fn read(&self, offset: usize) -> u32 {
        // SAFETY: within the mapped page; aligned.
        unsafe { self.0.at.add(offset).cast::<u32>().read_volatile() }
    }
}

/// Memory that the process has not touched yet, in pages of 4 KiB.
pub struct FreshMemory(Mapping);

impl FreshMemory {
    pub fn of(bytes: usize) -> io::Result<Self> {
        let mapping = Mapping::new(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)?;
        // SAFETY: the mapping's own range. Where there are no huge pages the kernel refuses, which is as good.
        unsafe { madvise(mapping.at.as_ptr().cast(), bytes, MADV_NOHUGEPAGE) };
        Ok(Self(mapping))
    }

    pub fn pages(&self) -> usize {
        self.0.len / PAGE
    }

    /// Writes to a page.
    #[inline(always)]
    pub fn touch(&self, page: usize) {
        // SAFETY: within the mapping, for `page` below `pages()`.
        unsafe { self.0.at.add(page * PAGE).write_volatile(1) };
    }
}
