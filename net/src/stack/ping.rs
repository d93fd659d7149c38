//! Ping: sessions of echo requests to one station each, and what has come of them.
//!
//! A session has a socket of its own, by which alone it sends: so one that waits for its neighbour holds up none of the
//! others. What comes back is taken from the frames before smoltcp sees them, since its sockets hear of replies only.
//!
//! A request is given to its socket when its neighbour, the station itself or a gateway, has told its MAC address. Until
//! then it is asked for once a second ([`neighbour`](super::neighbour) has why).
use super::echo::{self, Answer, Failure, Request};
use super::time::earlier;
use crate::frame::{Headers, Neighbour, Network, Transport};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::icmp;

/// Most sessions at once.
pub const MAX_PINGS: usize = 8;
/// Most requests of a session whose results are not taken yet.
pub const MAX_REQUESTS: usize = 8;

/// How often a neighbour is asked for, in nanoseconds.
const SEARCH: u64 = 1_000_000_000;
/// How long what a neighbour said holds: less than the minute for which smoltcp remembers it.
const KNOWN: u64 = 50_000_000_000;

/// A session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PingId(u64);

/// What has come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PingResult {
    /// Which request.
    pub sequence: u16,
    /// What came.
    pub outcome: PingOutcome,
}

/// What can come of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingOutcome {
    /// The station has answered with the same data.
    Reply {
        /// Nanoseconds from when the request left.
        round_trip: u64,
    },
    /// Someone, a router perhaps, says that it can't be delivered.
    Failed {
        /// Who says so.
        from: IpAddr,
        /// What he says.
        failure: Failure,
    },
    /// Nothing came in time.
    TimedOut,
}

/// Why there is no request or session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PingRefused {
    /// There are [`MAX_PINGS`] sessions, or [`MAX_REQUESTS`] requests in this one.
    TooMany,
    /// Not an address of a single station.
    Station,
    /// No address, or no gateway, by which it could be reached.
    NoRoute,
    /// More data than fits into a packet.
    TooLong,
    /// A request of this number is under way.
    Sequence,
    /// There is no such session.
    Unknown,
}

impl fmt::Display for PingRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "too many pings at once; wait for the others",
            Self::Station => "it is no address of a single station",
            Self::NoRoute => "there is no way to it: neither an address in its network nor a gateway",
            Self::TooLong => "so much data does not fit into a packet",
            Self::Sequence => "a request of this number is under way",
            Self::Unknown => "there is no such ping",
        })
    }
}

impl core::error::Error for PingRefused {}

/// All sessions.
pub(super) struct Pings {
    sessions: BTreeMap<PingId, Session>,
    next: u64,
    identifier: u16,
}

struct Session {
    to: IpAddr,
    identifier: u16,
    socket: SocketHandle,
    /// To whom its frames go: the station or a gateway.
    neighbour: IpAddr,
    /// When the neighbour has last told its MAC address.
    told: Option<u64>,
    /// When it was last asked.
    asked: Option<u64>,
    /// In the order in which they are sent.
    requests: VecDeque<Pending>,
    results: VecDeque<PingResult>,
}

struct Pending {
    sequence: u16,
    data: Vec<u8>,
    state: State,
    deadline: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    /// The socket has it.
    Handed,
    /// It left then.
    Sent(u64),
}

impl Pings {
    /// None. Identifiers begin with this one.
    pub fn new(identifier: u16) -> Self {
        Self { sessions: BTreeMap::new(), next: 0, identifier }
    }

    /// Opens a session, whose packets have room for `room` bytes.
    pub fn open(
        &mut self,
        sockets: &mut SocketSet<'_>,
        to: IpAddr,
        room: usize,
    ) -> Result<PingId, PingRefused> {
        if self.sessions.len() >= MAX_PINGS {
            return Err(PingRefused::TooMany);
        }
        let buffer = |packets, bytes| {
            icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; packets], vec![0; bytes])
        };
        // Not bound, so nothing is put into the other one.
        let socket = sockets.add(icmp::Socket::new(buffer(0, 0), buffer(1, room)));
        let id = PingId(self.next);
        self.next += 1;
        // Sessions have different ones, since there are fewer of them than identifiers.
        self.identifier = self.identifier.wrapping_add(1);
        let session = Session {
            to,
            identifier: self.identifier,
            socket,
            neighbour: to,
            told: None,
            asked: None,
            requests: VecDeque::new(),
            results: VecDeque::new(),
        };
        self.sessions.insert(id, session);
        Ok(id)
    }

    /// To whom a session's requests go.
    pub fn target(&self, id: PingId) -> Option<IpAddr> {
        self.sessions.get(&id).map(|session| session.to)
    }

    /// Queues a request, that goes by this neighbour; none if it is to the node itself, and answered.
    pub fn request(
        &mut self,
        id: PingId,
        sequence: u16,
        data: Vec<u8>,
        deadline: u64,
        neighbour: Option<IpAddr>,
    ) -> Result<(), PingRefused> {
        let session = self.sessions.get_mut(&id).ok_or(PingRefused::Unknown)?;
        if session.requests.len() + session.results.len() >= MAX_REQUESTS {
            return Err(PingRefused::TooMany);
        }
        if session.requests.iter().any(|pending| pending.sequence == sequence) {
            return Err(PingRefused::Sequence);
        }
        let Some(neighbour) = neighbour else {
            let outcome = PingOutcome::Reply { round_trip: 0 };
            session.results.push_back(PingResult { sequence, outcome });
            return Ok(());
        };
        if session.neighbour != neighbour {
            (session.neighbour, session.told, session.asked) = (neighbour, None, None);
        }
        session.requests.push_back(Pending { sequence, data, state: State::Waiting, deadline });
        Ok(())
    }

    /// Takes a result of a session.
    pub fn take(&mut self, id: PingId) -> Option<PingResult> {
        self.sessions.get_mut(&id)?.results.pop_front()
    }

    /// Ends a session.
    pub fn close(&mut self, sockets: &mut SocketSet<'_>, id: PingId) {
        if let Some(session) = self.sessions.remove(&id) {
            sockets.remove(session.socket);
        }
    }

    /// An answer has come to somebody.
    pub fn hear(&mut self, answer: &Answer<'_>, now: u64) {
        let wanted = |session: &&mut Session| {
            (session.to, session.identifier) == (answer.request.to, answer.request.identifier)
        };
        let Some(session) = self.sessions.values_mut().find(wanted) else { return };
        let asked = |pending: &Pending| pending.sequence == answer.request.sequence;
        let Some(at) = session.requests.iter().position(asked) else { return };
        let pending = &session.requests[at];
        let State::Sent(sent) = pending.state else { return };
        let outcome = match answer.what {
            Ok(data) if data == pending.data => PingOutcome::Reply { round_trip: now.saturating_sub(sent) },
            Ok(_) => return,
            Err(failure) => PingOutcome::Failed { from: answer.from, failure },
        };
        session.finish(at, outcome);
    }

    /// A frame may tell a neighbour's MAC address; smoltcp takes it from there too.
    pub fn learn(&mut self, headers: &Headers, now: u64) {
        let who: IpAddr = match (headers.network, headers.transport) {
            (Network::Arp(arp), _) => arp.sender_address.into(),
            (_, Transport::Neighbour(Neighbour::Advertisement(target))) => target.into(),
            _ => return,
        };
        for session in self.sessions.values_mut().filter(|session| session.neighbour == who) {
            session.told = Some(now);
        }
    }

    /// Which neighbours are to be asked for now.
    pub fn searches(&mut self, now: u64) -> Vec<IpAddr> {
        let due =
            self.sessions.values_mut().filter(|session| session.search_at(now).is_some_and(|at| at <= now));
        let ask = |session: &mut Session| {
            session.asked = Some(now);
            session.neighbour
        };
        due.map(ask).collect()
    }

    /// Gives each socket that is free its next request. To be called before smoltcp sends.
    pub fn hand_over(&mut self, sockets: &mut SocketSet<'_>, now: u64) {
        for session in self.sessions.values_mut() {
            let socket = sockets.get_mut::<icmp::Socket<'_>>(session.socket);
            if socket.send_queue() > 0 || !session.is_known(now) {
                continue;
            }
            let Some(pending) = session.requests.iter_mut().find(|one| one.state == State::Waiting) else {
                continue;
            };
            let Pending { sequence, data, .. } = pending;
            let name = Request { to: session.to, identifier: session.identifier, sequence: *sequence };
            // There is room: the length was checked, and nothing else is in there.
            if socket.send_slice(&echo::request(name, data), session.to.into()).is_ok() {
                pending.state = State::Handed;
            }
        }
    }

    /// Notes what has left, and what has waited for too long. To be called when smoltcp has sent. When next.
    pub fn settle(&mut self, sockets: &mut SocketSet<'_>, now: u64) -> Option<u64> {
        for session in self.sessions.values_mut() {
            let left = sockets.get::<icmp::Socket<'_>>(session.socket).send_queue() == 0;
            for pending in session.requests.iter_mut().filter(|one| left && one.state == State::Handed) {
                pending.state = State::Sent(now);
            }
            while let Some(at) = session.requests.iter().position(|pending| pending.deadline <= now) {
                session.finish(at, PingOutcome::TimedOut);
            }
        }
        let requests = self.sessions.values().flat_map(|session| &session.requests);
        requests.map(|pending| pending.deadline).min()
    }

    /// When a request can be handed over, or a neighbour is to be asked for.
    pub fn due(&self, sockets: &SocketSet<'_>, now: u64) -> Option<u64> {
        let due = |session: &Session| {
            let free = sockets.get::<icmp::Socket<'_>>(session.socket).send_queue() == 0;
            if session.is_waiting() && session.is_known(now) && free {
                Some(now)
            } else {
                session.search_at(now)
            }
        };
        self.sessions.values().map(due).fold(None, earlier)
    }
}

impl Session {
    fn is_waiting(&self) -> bool {
        self.requests.iter().any(|pending| pending.state == State::Waiting)
    }

    fn is_known(&self, now: u64) -> bool {
        self.told.is_some_and(|told| now < told.saturating_add(KNOWN))
    }

    /// When its neighbour is to be asked for, if it has to be.
    fn search_at(&self, now: u64) -> Option<u64> {
        let searching = self.is_waiting() && !self.is_known(now);
        searching.then(|| self.asked.map_or(now, |asked| asked.saturating_add(SEARCH)))
    }

    fn finish(&mut self, at: usize, outcome: PingOutcome) {
        if let Some(pending) = self.requests.remove(at) {
            self.results.push_back(PingResult { sequence: pending.sequence, outcome });
        }
    }
}
