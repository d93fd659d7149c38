//! Streams: connections that somebody has accepted.
use super::time::earlier;
use alloc::collections::BTreeMap;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, State};

/// Most streams, those included that are closed here and not yet by the other side.
pub const MAX_STREAMS: usize = 32;
/// How long a stream that is closed here goes on for the other side to take the rest and close too, in nanoseconds.
pub const LINGER: u64 = 30_000_000_000;
/// How long a stream that was reset stays for the reset to be sent.
const RESET: u64 = 1_000_000_000;

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u64);

/// What reading has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// So many bytes; more than none.
    Bytes(usize),
    /// Nothing yet.
    Nothing,
    /// All was read, and the other side sends no more.
    End,
}

/// Why there is nothing to read from or write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// There is no such stream: it is closed.
    Unknown,
    /// The other side has reset it or is silent, or the address is not ours any more.
    Broken,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "there is no such connection",
            Self::Broken => "the connection is broken",
        })
    }
}

impl core::error::Error for StreamError {}

/// How a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// [`Read::Nothing`] is not what reading would bring.
    pub readable: bool,
    /// Bytes that can be written now.
    pub writable: usize,
    /// Bytes written that the other side has not acknowledged.
    pub unacknowledged: usize,
    /// Nothing can be written any more, nor will anything new come.
    pub broken: bool,
    /// The other side, while there is one.
    pub remote: Option<SocketAddr>,
}

pub(super) struct Stream {
    socket: SocketHandle,
}

impl Stream {
    /// Of this socket.
    pub fn new(socket: SocketHandle) -> Self {
        Self { socket }
    }
}

/// All streams, and the sockets of those that nobody holds any more.
#[derive(Default)]
pub(super) struct Streams {
    held: BTreeMap<StreamId, Stream>,
    /// Sockets, and when each has to be gone, from the first [`poll`](Self::poll) on.
    released: alloc::vec::Vec<(SocketHandle, Option<u64>)>,
}

impl Streams {
    /// Whether there can be one more. Ends what waits only for stray segments (RFC 9293, 3.4.2), if that is needed.
    pub fn make_room(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        if self.held.len() + self.released.len() < MAX_STREAMS {
            return true;
        }
        let over = |&(socket, _): &(SocketHandle, _)| {
            matches!(sockets.get::<Socket<'_>>(socket).state(), State::TimeWait | State::Closed)
        };
        let Some(at) = self.released.iter().position(over) else { return false };
        sockets.remove(self.released.remove(at).0);
        true
    }

    /// One more, for which there is room.
    pub fn add(&mut self, id: StreamId, stream: Stream) {
        self.held.insert(id, stream);
    }

    fn get<'a, 's>(&self, sockets: &'a mut SocketSet<'s>, id: StreamId) -> Option<&'a mut Socket<'s>> {
        self.held.get(&id).map(|stream| sockets.get_mut(stream.socket))
    }

    pub fn read(
        &self,
        sockets: &mut SocketSet<'_>,
        id: StreamId,
        into: &mut [u8],
    ) -> Result<Read, StreamError> {
        let socket = self.get(sockets, id).ok_or(StreamError::Unknown)?;
        match socket.recv_slice(into) {
            Ok(0) => Ok(Read::Nothing),
            Ok(bytes) => Ok(Read::Bytes(bytes)),
            Err(RecvError::Finished) => Ok(Read::End),
            Err(RecvError::InvalidState) => Err(StreamError::Broken),
        }
    }

    pub fn write(
        &self,
        sockets: &mut SocketSet<'_>,
        id: StreamId,
        bytes: &[u8],
    ) -> Result<usize, StreamError> {
        let socket = self.get(sockets, id).ok_or(StreamError::Unknown)?;
        socket.send_slice(bytes).map_err(|_| StreamError::Broken)
    }

    pub fn status(&self, sockets: &SocketSet<'_>, id: StreamId) -> Option<StreamStatus> {
        let socket = sockets.get::<Socket<'_>>(self.held.get(&id)?.socket);
        let open = socket.may_send();
        Some(StreamStatus {
            readable: socket.can_recv() || !socket.may_recv(),
            writable: if open { socket.send_capacity() - socket.send_queue() } else { 0 },
            unacknowledged: socket.send_queue(),
            broken: !open,
            remote: socket.remote_endpoint().map(|remote| SocketAddr::new(remote.addr.into(), remote.port)),
        })
    }

    /// Ends a stream when all that was written has arrived.
    pub fn close(&mut self, sockets: &mut SocketSet<'_>, id: StreamId) {
        if let Some(stream) = self.held.remove(&id) {
            sockets.get_mut::<Socket<'_>>(stream.socket).close();
            self.released.push((stream.socket, None));
        }
    }

    /// Resets a stream.
    pub fn abort(&mut self, sockets: &mut SocketSet<'_>, id: StreamId) {
        if let Some(stream) = self.held.remove(&id) {
            self.release(sockets, stream.socket);
        }
    }

    /// Resets a connection, whose socket is gone then.
    pub fn release(&mut self, sockets: &mut SocketSet<'_>, socket: SocketHandle) {
        sockets.get_mut::<Socket<'_>>(socket).abort();
        self.released.push((socket, None));
    }

    /// Breaks those whose address is not ours any more, and lets go of sockets. When next.
    pub fn poll(
        &mut self,
        sockets: &mut SocketSet<'_>,
        now: u64,
        own: impl Fn(IpAddr) -> bool,
    ) -> Option<u64> {
        for stream in self.held.values() {
            let socket = sockets.get_mut::<Socket<'_>>(stream.socket);
            if socket.local_endpoint().is_some_and(|local| !own(local.addr.into())) {
                socket.abort();
            }
        }
        let mut next = None;
        self.released.retain_mut(|(handle, until)| {
            let socket = sockets.get_mut::<Socket<'_>>(*handle);
            let reset = socket.state() == State::Closed;
            let most = now.saturating_add(if reset { RESET } else { LINGER });
            let end = *until.insert(until.map_or(most, |until| until.min(most)));
            // A closed socket without another side has nothing to tell it.
            let gone = reset && (socket.remote_endpoint().is_none() || end <= now);
            if gone {
                sockets.remove(*handle);
                return false;
            }
            if end <= now {
                socket.abort();
                *until = Some(now.saturating_add(RESET));
            }
            next = earlier(next, *until);
            true
        });
        next
    }
}
