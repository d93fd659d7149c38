//! What a network does for a process: how fast a TCP connection sends and receives, and how often a byte goes there and
//! back.
//!
//! One side is [`listen`]ing; the other does as the lines say that it reads ([`serve`]). A connection begins with a byte
//! that says what it is for.
use crate::filler;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What a connection is for: the one who connects sends,
const SEND: u8 = b's';
/// receives, for so many milliseconds (32 bits, little-endian),
const RECEIVE: u8 = b'r';
/// or sends single bytes and gets each back.
const ECHO: u8 = b'e';

/// Bytes of a write or read.
const PIECE: usize = 64 << 10;
/// How long it takes at most until somebody listens: a VM that boots in an emulated machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Takes connections for ever.
pub fn listen(address: &str) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    println!("NET-LISTENS {}", listener.local_addr()?);
    for connection in listener.incoming() {
        let connection = connection?;
        // One that breaks is the other side's business.
        thread::spawn(move || answer(connection).ok());
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut buffer = vec![0x5a; PIECE];
    let mut what = [0];
    connection.read_exact(&mut what)?;
    match what {
        [SEND] => {
            let mut bytes = 0u64;
            loop {
                match connection.read(&mut buffer)? {
                    0 => break,
                    read => bytes += read as u64,
                }
            }
            connection.write_all(&bytes.to_le_bytes())
        }
        [RECEIVE] => {
            let mut millis = [0; 4];
            connection.read_exact(&mut millis)?;
            let end = Instant::now() + Duration::from_millis(u32::from_le_bytes(millis).into());
            while Instant::now() < end {
                connection.write_all(&buffer)?;
            }
            Ok(())
        }
        _ => loop {
            let byte = &mut buffer[..1];
            connection.read_exact(byte)?;
            connection.write_all(byte)?;
        },
    }
}

/// Does as the lines say that it reads: a turn's name, `send`, `receive`, `echo` or `nothing`, for how many seconds, and
/// `filled` if a thread is to fill the time that is left. Answers each by
/// `NET turn count=… nanos=… laps=… again=… disordered=… END`: bytes, or bytes that came back; segments of TCP that had to be
/// sent again, and that came before one that should have come first, as they do where one was lost. Ends with its input, or
/// by `end`.
pub fn serve(peer: &str) -> io::Result<()> {
    drop(connect(peer)?);
    println!("NET-READY");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (turn, what, seconds) = match (words.next(), words.next(), words.next().map(str::parse)) {
            (Some("end"), ..) => break,
            (None, ..) => continue,
            (Some(turn), Some(what), Some(Ok(seconds))) => (turn, what, Duration::from_secs_f64(seconds)),
            _ => return Err(io::Error::other(format!("'{line}' is no turn, direction and seconds"))),
        };
        let filled = filler::is_wanted(words.next())?;
        let before = Trouble::until_now()?;
        let ((count, took), laps) = filler::beside(filled, || match what {
            "send" => send(peer, seconds),
            "receive" => receive(peer, seconds),
            "echo" => echo(peer, seconds),
            "nothing" => nothing(seconds),
            _ => Err(io::Error::other(format!("there is no '{what}'"))),
        })?;
        let trouble = Trouble::until_now()?;
        let (again, disordered) = (trouble.again - before.again, trouble.disordered - before.disordered);
        let nanos = took.as_nanos();
        println!(
            "NET {turn} count={count} nanos={nanos} laps={laps} again={again} disordered={disordered} END"
        );
    }
    Ok(())
}

/// What TCP counts of its troubles.
struct Trouble {
    again: u64,
    disordered: u64,
}

impl Trouble {
    /// Since the start (proc(5), `/proc/net/snmp` and `netstat`).
    fn until_now() -> io::Result<Self> {
        let (snmp, netstat) =
            (fs::read_to_string("/proc/net/snmp")?, fs::read_to_string("/proc/net/netstat")?);
        Ok(Self {
            again: counter(&snmp, "Tcp:", "RetransSegs")?,
            disordered: counter(&netstat, "TcpExt:", "TCPOFOQueue")?,
        })
    }
}

/// A counter from two lines that begin with `group`: the names, and the values below them.
fn counter(text: &str, group: &str, name: &str) -> io::Result<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(group)).map(str::split_whitespace);
    let mut value = || lines.next()?.zip(lines.next()?).find(|(key, _)| *key == name)?.1.parse().ok();
    value().ok_or_else(|| io::Error::other(format!("Linux counts no {name}")))
}

fn nothing(time: Duration) -> io::Result<(u64, Duration)> {
    let begin = Instant::now();
    thread::sleep(time);
    Ok((0, begin.elapsed()))
}

fn connect(peer: &str) -> io::Result<TcpStream> {
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(peer) {
            Err(error) if Instant::now() > end => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(100)),
            Ok(connection) => {
                connection.set_nodelay(true)?;
                return Ok(connection);
            }
        }
    }
}

/// Until the other side says that it has all.
fn send(peer: &str, time: Duration) -> io::Result<(u64, Duration)> {
    let mut connection = connect(peer)?;
    connection.write_all(&[SEND])?;
    let buffer = vec![0x5a; PIECE];
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < time {
        connection.write_all(&buffer)?;
        sent += PIECE as u64;
    }
    connection.shutdown(Shutdown::Write)?;
    let mut got = [0; 8];
    connection.read_exact(&mut got)?;
    match u64::from_le_bytes(got) == sent {
        true => Ok((sent, begin.elapsed())),
        false => Err(io::Error::other("what came is not as much as was sent")),
    }
}

fn receive(peer: &str, time: Duration) -> io::Result<(u64, Duration)> {
    let mut connection = connect(peer)?;
    connection.write_all(&[RECEIVE])?;
    connection.write_all(&(time.as_millis() as u32).to_le_bytes())?;
    let mut buffer = vec![0; PIECE];
    let (begin, mut received) = (Instant::now(), 0);
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok((received, begin.elapsed())),
            read => received += read as u64,
        }
    }
}

fn echo(peer: &str, time: Duration) -> io::Result<(u64, Duration)> {
    let mut connection = connect(peer)?;
    connection.write_all(&[ECHO])?;
    let (begin, mut rounds) = (Instant::now(), 0);
    let mut byte = [1];
    while begin.elapsed() < time {
        connection.write_all(&byte)?;
        connection.read_exact(&mut byte)?;
        rounds += 1;
    }
    Ok((rounds, begin.elapsed()))
}
