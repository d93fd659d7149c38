//! TCP: ports that are listened at, and the streams that come of them.
//!
//! ```text
//!  listen(port, backlog) ─► slots: listening ─► half open ─► ready ─ accept ─► stream ─ close ─► released ─► gone
//!                             ▲                    │ HALF_OPEN passes                              │ LINGER passes
//!                             └────────────────────┘                                               ▼ aborted
//! ```
//!
//! A slot is a smoltcp socket, so a listener's backlog is all that connections cost that nobody has accepted. What finds
//! no slot is reset, as at a port where nobody listens.
use super::streams::{Stream, StreamId, Streams};
use super::time::earlier;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Duration;

/// Most slots of all listeners together.
pub const MAX_BACKLOG: usize = 16;
/// Bytes that a stream holds in each direction.
pub const BUFFER: usize = 32 * 1024;
/// How long a connection may stay half open, in nanoseconds.
pub const HALF_OPEN: u64 = 5_000_000_000;
/// How long the other side may be silent when it ought to answer.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a stream is idle before the other side is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A port that is listened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

/// Why a port is not listened at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenRefused {
    /// Port 0.
    Port,
    /// Somebody listens there already.
    Taken(u16),
    /// A backlog of none, or more than is left of [`MAX_BACKLOG`].
    Backlog {
        /// What is left.
        left: usize,
    },
}

impl fmt::Display for ListenRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("nobody can listen at port 0"),
            Self::Taken(port) => write!(f, "port {port} is listened at already"),
            Self::Backlog { left } => write!(f, "a backlog that can't be; allowed: 1 to {left}"),
        }
    }
}

impl core::error::Error for ListenRefused {}

/// All listeners and streams.
#[derive(Default)]
pub(super) struct Tcp {
    listeners: BTreeMap<ListenerId, Listener>,
    pub streams: Streams,
    next: u64,
    /// Numbers connections in the order in which they became ready.
    order: u64,
}

struct Listener {
    port: u16,
    slots: Vec<Slot>,
}

struct Slot {
    socket: SocketHandle,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Listening,
    /// Since then.
    HalfOpen(u64),
    /// The how many-th that became so.
    Ready(u64),
}

impl Tcp {
    /// Listens at a port.
    pub fn listen(
        &mut self,
        sockets: &mut SocketSet<'_>,
        port: u16,
        backlog: usize,
    ) -> Result<ListenerId, ListenRefused> {
        let taken: usize = self.listeners.values().map(|listener| listener.slots.len()).sum();
        let left = MAX_BACKLOG - taken;
        if port == 0 {
            return Err(ListenRefused::Port);
        }
        if self.listeners.values().any(|listener| listener.port == port) {
            return Err(ListenRefused::Taken(port));
        }
        if !(1..=left).contains(&backlog) {
            return Err(ListenRefused::Backlog { left });
        }
        let id = ListenerId(self.next);
        self.next += 1;
        let slots = (0..backlog).map(|_| Slot::new(sockets, port)).collect();
        self.listeners.insert(id, Listener { port, slots });
        Ok(id)
    }

    /// Listens no more. Connections that nobody has accepted are reset.
    pub fn unlisten(&mut self, sockets: &mut SocketSet<'_>, id: ListenerId) {
        for slot in self.listeners.remove(&id).into_iter().flat_map(|listener| listener.slots) {
            self.streams.release(sockets, slot.socket);
        }
    }

    /// Takes the connection that has been ready for longest.
    pub fn accept(&mut self, sockets: &mut SocketSet<'_>, id: ListenerId) -> Option<StreamId> {
        let listener = self.listeners.get_mut(&id)?;
        let ready = listener.slots.iter_mut().filter_map(|slot| match slot.phase {
            Phase::Ready(order) => Some((order, slot)),
            Phase::Listening | Phase::HalfOpen(_) => None,
        });
        let (_, slot) = ready.min_by_key(|(order, _)| *order)?;
        if !self.streams.make_room(sockets) {
            return None;
        }
        let socket = core::mem::replace(slot, Slot::new(sockets, listener.port)).socket;
        let stream = StreamId(self.next);
        self.next += 1;
        self.streams.add(stream, Stream::new(socket));
        Some(stream)
    }

    /// Sees to what time and the other sides have brought about. When next.
    pub fn poll(
        &mut self,
        sockets: &mut SocketSet<'_>,
        now: u64,
        own: impl Fn(IpAddr) -> bool,
    ) -> Option<u64> {
        let mut next = None;
        for listener in self.listeners.values_mut() {
            for slot in &mut listener.slots {
                let socket = sockets.get_mut::<Socket<'_>>(slot.socket);
                slot.advance(socket, listener.port, &mut self.order, now, &own);
                if let Phase::HalfOpen(since) = slot.phase {
                    next = earlier(next, Some(since.saturating_add(HALF_OPEN)));
                }
            }
        }
        earlier(next, self.streams.poll(sockets, now, &own))
    }
}

impl Slot {
    fn new(sockets: &mut SocketSet<'_>, port: u16) -> Self {
        let mut socket = socket();
        listen(&mut socket, port);
        Self { socket: sockets.add(socket), phase: Phase::Listening }
    }

    fn advance(
        &mut self,
        socket: &mut Socket<'_>,
        port: u16,
        order: &mut u64,
        now: u64,
        own: impl Fn(IpAddr) -> bool,
    ) {
        let lost = socket.local_endpoint().is_some_and(|local| !own(local.addr.into()));
        self.phase = match (socket.state(), self.phase) {
            (State::Listen, _) => Phase::Listening,
            (State::SynReceived, Phase::HalfOpen(since))
                if !lost && now < since.saturating_add(HALF_OPEN) =>
            {
                self.phase
            }
            (State::SynReceived, Phase::Listening | Phase::Ready(_)) if !lost => Phase::HalfOpen(now),
            (State::Established | State::CloseWait, Phase::Ready(_)) if !lost => self.phase,
            (State::Established | State::CloseWait, _) if !lost => {
                *order += 1;
                Phase::Ready(*order)
            }
            // Reset, out of time, or its address is not ours any more.
            _ => {
                socket.abort();
                listen(socket, port);
                Phase::Listening
            }
        };
    }
}

/// A socket as all of them are.
pub(super) fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_timeout(Some(SILENCE));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket.set_congestion_control(CongestionControl::Reno);
    socket
}

fn listen(socket: &mut Socket<'_>, port: u16) {
    // Of a closed socket and a port that is not 0 there is nothing to refuse.
    let listening = socket.listen(port);
    debug_assert!(listening.is_ok(), "{listening:?}");
}
