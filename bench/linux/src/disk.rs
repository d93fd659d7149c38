//! What a disk does for a process: reads and writes past the page cache, at several depths.
//!
//! A depth of n is n threads, each of which waits for its request before it makes the next: what a database or a file
//! server does, and how the peers' figures were taken.
use crate::filler;
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Not through the page cache; on x86.
const O_DIRECT: i32 = 0o40000;
/// What O_DIRECT wants of a buffer's address.
const ALIGN: usize = 4096;

/// One way to use the disk.
struct Pattern {
    name: &'static str,
    write: bool,
    random: bool,
    bytes: usize,
    depth: u64,
}

const fn random(name: &'static str, write: bool, depth: u64) -> Pattern {
    Pattern { name, write, random: true, bytes: 4096, depth }
}

const fn sequential(name: &'static str, write: bool, depth: u64) -> Pattern {
    Pattern { name, write, random: false, bytes: 1 << 20, depth }
}

const PATTERNS: [Pattern; 9] = [
    // Nothing, for as long: what a lap of the filling thread takes.
    Pattern { name: "nothing", write: false, random: false, bytes: 0, depth: 0 },
    sequential("write_seq", true, 1),
    sequential("read_seq", false, 1),
    sequential("write_seq_4", true, 4),
    sequential("read_seq_4", false, 4),
    random("read_1", false, 1),
    random("write_1", true, 1),
    random("read_32", false, 32),
    random("write_32", true, 32),
];

/// Uses the disk as the lines say that it reads: a turn's name, a pattern's, for how many seconds, and `filled` if a
/// thread is to fill the time that is left. Answers each by `DISK turn ops=… nanos=… bytes=… laps=… END`. Ends with its
/// input, or by `end`.
pub fn serve(path: &str) -> io::Result<()> {
    let mut disk = OpenOptions::new().read(true).write(true).custom_flags(O_DIRECT).open(path)?;
    let size = disk.seek(SeekFrom::End(0))?;
    println!("DISK-READY {size}");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (turn, name, seconds) = match (words.next(), words.next(), words.next().map(str::parse)) {
            (Some("end"), ..) => break,
            (None, ..) => continue,
            (Some(turn), Some(name), Some(Ok(seconds))) => (turn, name, Duration::from_secs_f64(seconds)),
            _ => return Err(io::Error::other(format!("'{line}' is no turn, pattern and seconds"))),
        };
        let filled = filler::is_wanted(words.next())?;
        let known = PATTERNS.iter().find(|pattern| pattern.name == name);
        let pattern = known.ok_or_else(|| io::Error::other(format!("there is no pattern '{name}'")))?;
        let begin = Instant::now();
        let (operations, laps) = filler::beside(filled, || run(&disk, size, pattern, seconds))?;
        let (nanos, bytes) = (begin.elapsed().as_nanos(), pattern.bytes);
        println!("DISK {turn} ops={operations} nanos={nanos} bytes={bytes} laps={laps} END");
    }
    Ok(())
}

/// How many operations were done.
fn run(disk: &File, size: u64, pattern: &Pattern, time: Duration) -> io::Result<u64> {
    let next = &AtomicU64::new(0);
    let end = Instant::now() + time;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..pattern.depth)
            .map(|n| scope.spawn(move || worker(disk, size, pattern, end, next, n)))
            .collect();
        if workers.is_empty() {
            thread::sleep(time);
        }
        workers.into_iter().map(filler::joined).sum()
    })
}

fn worker(
    disk: &File,
    size: u64,
    pattern: &Pattern,
    end: Instant,
    next: &AtomicU64,
    number: u64,
) -> io::Result<u64> {
    let mut buffer = Buffer::new(pattern.bytes)?;
    let places = size / pattern.bytes as u64;
    // xorshift: any seed but 0.
    let mut random = 88_172_645_463_325_252 + number * 7919;
    let mut done = 0;
    while Instant::now() < end {
        let place = if pattern.random {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % places
        } else {
            next.fetch_add(1, Ordering::Relaxed) % places
        };
        let at = place * pattern.bytes as u64;
        match pattern.write {
            true => disk.write_all_at(buffer.bytes(), at)?,
            false => disk.read_exact_at(buffer.bytes(), at)?,
        }
        done += 1;
    }
    Ok(done)
}

/// Aligned memory.
struct Buffer {
    start: *mut u8,
    layout: Layout,
}

#[allow(unsafe_code)] // memory of an alignment that no safe collection has
impl Buffer {
    fn new(bytes: usize) -> io::Result<Self> {
        let layout = Layout::from_size_align(bytes.max(ALIGN), ALIGN).map_err(io::Error::other)?;
        // SAFETY: the size is not 0.
        let start = unsafe { alloc_zeroed(layout) };
        if start.is_null() {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let mut buffer = Self { start, layout };
        // Memory that was never written is one page of zeroes, however often.
        buffer.bytes().fill(0x5a);
        Ok(buffer)
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: allocated and zeroed above, as long as the layout says, and borrowed as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }
}

#[allow(unsafe_code)] // gives the memory back
impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout.
        unsafe { dealloc(self.start, self.layout) };
    }
}
