//! A virtio-net driver that does as it is told, as a program of a Linux guest: it takes a card from Linux, sends whatever
//! header before whatever frame, and gives the card back.
//!
//! `raw-nic send NIC FILE` sends what the file says: for each frame how many times, the bytes of the header and those of the
//! frame (32 bits each, little-endian), then both. `raw-nic flood NIC FILE STOP` says `RAW begins` and sends the file's first
//! frame as often as it can, until there is a file STOP. Both answer `RAW sent=… nanos=…`, of frames that the card has taken
//! and of the time from first to last.
//!
//! It must be root. A processor with huge pages is needed: in one lies all that the card reads.
mod card;
mod linux;
mod record;

use card::Card;
use record::Record;
use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Frames of a flood between two looks for its end.
const BETWEEN: u32 = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["send", nic, file] => send(nic, file),
        ["flood", nic, file, stop] => flood(nic, file, Path::new(stop)),
        _ => Err(io::Error::other("usage: raw-nic send NIC FILE | flood NIC FILE STOP")),
    };
    match done {
        Ok((sent, time)) => {
            println!("RAW sent={sent} nanos={}", time.as_nanos());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("RAW-FAILED {error}");
            ExitCode::FAILURE
        }
    }
}

fn send(nic: &str, file: &str) -> io::Result<(u64, Duration)> {
    let records = Record::all(&fs::read(file)?)?;
    let mut card = Card::take(nic)?;
    let (begin, mut sent) = (Instant::now(), 0);
    for record in &records {
        card.put(&record.header, &record.frame)?;
        for _ in 0..record.times {
            sent += card.send()?;
        }
        // Before its place is another's.
        sent += card.wait()?;
    }
    let time = begin.elapsed();
    card.give_back().map(|()| (sent, time))
}

fn flood(nic: &str, file: &str, stop: &Path) -> io::Result<(u64, Duration)> {
    let records = Record::all(&fs::read(file)?)?;
    let record = records.first().ok_or_else(|| io::Error::other("there is no frame"))?;
    let mut card = Card::take(nic)?;
    card.put(&record.header, &record.frame)?;
    println!("RAW begins");
    let (begin, mut sent) = (Instant::now(), 0);
    while !stop.exists() {
        for _ in 0..BETWEEN {
            sent += card.send()?;
        }
    }
    sent += card.wait()?;
    let time = begin.elapsed();
    card.give_back().map(|()| (sent, time))
}
