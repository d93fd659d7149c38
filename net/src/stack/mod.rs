//! The node's own IP: addresses, DHCP, ping and TCP, over frames.
//!
//! ```text
//!  receive(frame) ─► queue ─► gate ─► smoltcp: ARP, ND, ICMP, DHCP, TCP ─► queue ─► transmit()
//!                              │          ▲
//!                              └► ping ───┘   listen, accept, read, write, close: of smoltcp's sockets
//! ```
//!
//! A wrapper around smoltcp without a clock, a card or randomness of its own: frames, times and a seed are passed in. Who
//! drives it does so again and again:
//!
//! ```text
//! stack.receive(frame);                      for each frame that has come
//! let next = stack.poll(now);                also after each call that gives it something to do
//! while let Some(frame) = stack.transmit()   until there is none
//! wait for a frame, or until `next`
//! ```
//!
//! Promises:
//! - Everything is bounded, whatever comes: frames in each direction ([`QUEUE`]), connections that nobody has accepted
//!   ([`MAX_BACKLOG`]), streams ([`MAX_STREAMS`]) and their buffers ([`BUFFER`]), pings, neighbours, events. What finds no
//!   room is dropped or refused, and counted. A poll takes no longer than the queues allow.
//! - A frame is answered by one frame at most, and one to all stations by none, but for a neighbour's search for an address
//!   (ARP, ND) and IPv6's ping to all.
//! - Times never go back: an earlier one counts as the latest.
//! - What a DHCP server gave ends with the link.
//!
//! Refused: fragments of packets, both ways; VLAN tags, which are the switch's; routing between networks. Not here: IPv6
//! addresses from routers (SLAAC), detecting whether an own address is taken before it is used, names (DNS).
//! TCP's first sequence numbers come of a small generator: they are no secret from who sees some of them.
//!
//! Files: `config`; `port` (the queues); `gate` (which frames are let in); `address` (and DHCP); `neighbour` (who has which
//! address); `echo`, `ping`; `tcp` (listeners), `streams`; `event`; `time`.
mod address;
mod config;
mod echo;
mod event;
mod gate;
mod neighbour;
mod ping;
mod port;
mod streams;
mod tcp;
#[cfg(test)]
mod tests;
mod time;

pub use config::{Addressing, BadConfig, LEAST_MTU, MOST_MTU, StackConfig};
pub use echo::Failure;
pub use event::{MAX_EVENTS, StackEvent};
pub use ping::{MAX_PINGS, MAX_REQUESTS, PingId, PingOutcome, PingRefused, PingResult};
pub use port::QUEUE;
pub use streams::{LINGER, MAX_STREAMS, Read, StreamError, StreamId, StreamStatus};
pub use tcp::{BUFFER, HALF_OPEN, ListenRefused, ListenerId, MAX_BACKLOG};

use crate::frame::{Headers, Ipv4, Ipv6, Mac};
use address::Addresses;
use alloc::vec::Vec;
use core::net::IpAddr;
use event::Events;
use gate::Verdict;
use ping::Pings;
use port::Port;
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress};
use tcp::Tcp;

/// Most addresses of a stack beside its link-local one.
pub const MAX_ADDRESSES: usize = 7;

/// What a stack has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that have come.
    pub received: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames that came and found no room, or no link.
    pub receive_dropped: u64,
    /// Frames whose headers cannot be.
    pub malformed: u64,
    /// Frames that were not meant for us, or that no station may send.
    pub refused: u64,
    /// Frames to be sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames that found no room or lost their link before they were sent.
    pub send_dropped: u64,
}

/// The node's own IP. See the [module](self).
pub struct Stack {
    mac: Mac,
    mtu: u16,
    up: bool,
    now: u64,
    port: Port,
    interface: Interface,
    sockets: SocketSet<'static>,
    addresses: Addresses,
    events: Events,
    pings: Pings,
    tcp: Tcp,
}

impl Stack {
    /// Whose link is down yet.
    ///
    /// # Errors
    /// What such a stack can't be made of.
    pub fn new(config: StackConfig) -> Result<Self, BadConfig> {
        config.check()?;
        let mut port = Port::new(config.mtu);
        let mut how = Config::new(HardwareAddress::Ethernet(EthernetAddress(config.mac.0)));
        how.random_seed = config.seed;
        let mut interface = Interface::new(how, &mut port, time::instant(0));
        let addresses = Addresses::new(config.mac, &config.address, &mut interface);
        Ok(Self {
            mac: config.mac,
            mtu: config.mtu,
            up: false,
            now: 0,
            port,
            interface,
            sockets: SocketSet::new(Vec::new()),
            addresses,
            events: Events::default(),
            pings: Pings::new((config.seed >> 32) as u16),
            tcp: Tcp::default(),
        })
    }

    /// A frame has come, untagged and with all checksums computed. False if it found no room or no link.
    pub fn receive(&mut self, frame: Vec<u8>) -> bool {
        let bytes = frame.len() as u64;
        let taken = self.up && self.port.arrive(frame);
        let counters = &mut self.port.counters;
        if taken {
            counters.received += 1;
            counters.received_bytes += bytes;
        } else {
            counters.receive_dropped += 1;
        }
        taken
    }

    /// Does what there is to do. When to call again at the latest, in nanoseconds; `now` if there was no room for all that is
    /// to be sent, so that it has to be taken first.
    pub fn poll(&mut self, now: u64) -> Option<u64> {
        self.now = self.now.max(now);
        if self.up {
            self.hear();
            self.tcp.poll(&mut self.sockets, self.now, own(&self.interface));
            self.speak();
        }
        // Sending finds out whose time is over.
        let mut next = self.tcp.poll(&mut self.sockets, self.now, own(&self.interface));
        next = time::earlier(next, self.pings.settle(&mut self.sockets, self.now));
        if self.up {
            let at = self.interface.poll_at(time::instant(self.now), &self.sockets);
            next = time::earlier(next, at.map(time::time));
            next = time::earlier(next, self.pings.due(&self.sockets, self.now));
        }
        if self.up && self.port.has_arrived() {
            next = Some(self.now);
        }
        next.map(|next| next.max(self.now))
    }

    /// Takes the next frame to be sent.
    pub fn transmit(&mut self) -> Option<Vec<u8>> {
        self.port.take()
    }

    /// The link is up or down. While it is down nothing is sent or received, and what a DHCP server gave is lost; when it
    /// comes up, DHCP begins anew.
    pub fn set_link(&mut self, up: bool) {
        if up == self.up {
            return;
        }
        self.up = up;
        if up {
            self.addresses.link_up(&mut self.interface, &mut self.sockets, &mut self.port);
        } else {
            self.port.clear();
            self.addresses.link_down(&mut self.interface, &mut self.sockets, &mut self.events);
        }
    }

    /// Whether the link is up.
    pub fn has_link(&self) -> bool {
        self.up
    }

    /// Takes what has happened, the oldest first.
    pub fn take_events(&mut self) -> impl Iterator<Item = StackEvent> + use<> {
        self.events.take()
    }

    /// What it has done.
    pub fn counters(&self) -> Counters {
        self.port.counters
    }

    /// Its addresses with their prefix lengths, the link-local one of IPv6 among them.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        self.interface.ip_addrs().iter().map(|own| (own.address().into(), own.prefix_len()))
    }

    /// By which other networks are reached: one of IPv4 and one of IPv6 at most.
    pub fn gateways(&self) -> &[IpAddr] {
        self.addresses.gateways()
    }

    /// DNS servers, in the order in which they are to be asked.
    pub fn dns(&self) -> &[IpAddr] {
        self.addresses.dns()
    }

    /// The groups whose frames it has to get, for a card's [`Filter`](crate::nic::Filter): all IPv6 stations, and those by
    /// which its own IPv6 addresses are searched (RFC 4861, 7.2.1). They change with its addresses.
    pub fn groups(&self) -> Vec<Mac> {
        let mut groups = alloc::vec![Mac([0x33, 0x33, 0, 0, 0, 1])];
        for own in self.interface.ip_addrs() {
            if let IpAddr::V6(v6) = own.address().into() {
                let (_, group) = neighbour::searched_by(v6);
                if !groups.contains(&group) {
                    groups.push(group);
                }
            }
        }
        groups
    }

    /// Opens a ping to a station.
    ///
    /// # Errors
    /// There are [`MAX_PINGS`], it is no single station, or there is no way to it now.
    pub fn open_ping(&mut self, to: IpAddr) -> Result<PingId, PingRefused> {
        if !config::is_station(to) || self.is_broadcast(to) {
            return Err(PingRefused::Station);
        }
        if self.neighbour(to).is_none() {
            return Err(PingRefused::NoRoute);
        }
        self.pings.open(&mut self.sockets, to, self.mtu.into())
    }

    /// Sends an echo request with this data at the next [`poll`](Self::poll), and waits for a reply until `deadline`, a
    /// time as [`poll`](Self::poll) is given it.
    ///
    /// # Errors
    /// There is no such ping, no way to the station now, [`MAX_REQUESTS`] are under way or not yet taken, one of this
    /// number is under way, or so much data does not fit into a packet.
    pub fn ping(
        &mut self,
        id: PingId,
        sequence: u16,
        data: Vec<u8>,
        deadline: u64,
    ) -> Result<(), PingRefused> {
        let to = self.pings.target(id).ok_or(PingRefused::Unknown)?;
        let header = if to.is_ipv4() { Ipv4::SIZE } else { Ipv6::SIZE };
        if header + echo::HEADER + data.len() > self.mtu.into() {
            return Err(PingRefused::TooLong);
        }
        let neighbour = self.neighbour(to).ok_or(PingRefused::NoRoute)?;
        let neighbour = if own(&self.interface)(to) { None } else { Some(neighbour) };
        self.pings.request(id, sequence, data, deadline, neighbour)
    }

    /// Takes what has come of a request of this ping.
    pub fn take_ping(&mut self, id: PingId) -> Option<PingResult> {
        self.pings.take(id)
    }

    /// Ends a ping.
    pub fn close_ping(&mut self, id: PingId) {
        self.pings.close(&mut self.sockets, id);
    }

    /// Listens at a TCP port of all addresses. `backlog` connections at most are half open or wait to be accepted.
    ///
    /// # Errors
    /// The port is 0 or taken, or so much is not left of [`MAX_BACKLOG`].
    pub fn listen(&mut self, port: u16, backlog: usize) -> Result<ListenerId, ListenRefused> {
        self.tcp.listen(&mut self.sockets, port, backlog)
    }

    /// Listens no more. Connections that wait to be accepted are reset.
    pub fn unlisten(&mut self, id: ListenerId) {
        self.tcp.unlisten(&mut self.sockets, id);
    }

    /// Takes the connection that has waited for longest. None if none waits, or there are [`MAX_STREAMS`]: then it waits on.
    pub fn accept(&mut self, id: ListenerId) -> Option<StreamId> {
        self.tcp.accept(&mut self.sockets, id)
    }

    /// Reads what has come of a stream.
    ///
    /// # Errors
    /// There is no such stream, or it is broken and all that came before was read.
    pub fn read(&mut self, id: StreamId, into: &mut [u8]) -> Result<Read, StreamError> {
        self.tcp.streams.read(&mut self.sockets, id, into)
    }

    /// Writes as much as there is room for: how many of these bytes, maybe none.
    ///
    /// # Errors
    /// There is no such stream, or it is broken.
    pub fn write(&mut self, id: StreamId, bytes: &[u8]) -> Result<usize, StreamError> {
        self.tcp.streams.write(&mut self.sockets, id, bytes)
    }

    /// How a stream is; None if there is no such.
    pub fn stream(&self, id: StreamId) -> Option<StreamStatus> {
        self.tcp.streams.status(&self.sockets, id)
    }

    /// Ends a stream when all that was written has arrived, or [`LINGER`] has passed. It can't be used any more.
    pub fn close(&mut self, id: StreamId) {
        self.tcp.streams.close(&mut self.sockets, id);
    }

    /// Resets a stream: what was written and has not arrived is lost.
    pub fn abort(&mut self, id: StreamId) {
        self.tcp.streams.abort(&mut self.sockets, id);
    }

    /// Looks at the frames that have come, as long as there is room for answers.
    fn hear(&mut self) {
        while let Some(frame) = self.port.next() {
            let Ok(headers) = Headers::parse(&frame, frame.len()) else {
                self.port.counters.malformed += 1;
                continue;
            };
            match gate::judge(&headers, self.mac, own(&self.interface)) {
                Verdict::Refuse => self.port.counters.refused += 1,
                Verdict::Probe(probe) => self.port.leave(neighbour::defence(probe, self.mac)),
                Verdict::Conflict(address, mac) => self.events.push(StackEvent::Conflict(address, mac)),
                Verdict::Pass if !self.addresses.admit(&headers, &frame, self.now) => {
                    self.port.counters.refused += 1;
                }
                Verdict::Pass => {
                    self.pings.learn(&headers, self.now);
                    if let Some(answer) = echo::answer(&headers, &frame) {
                        self.pings.hear(&answer, self.now);
                    }
                    self.port.offer(frame);
                    let now = time::instant(self.now);
                    self.interface.poll_ingress_single(now, &mut self.port, &mut self.sockets);
                }
            }
        }
    }

    /// Lets the sockets send, as long as there is room.
    fn speak(&mut self) {
        let now = time::instant(self.now);
        self.interface.poll_maintenance(now);
        self.addresses.poll(&mut self.interface, &mut self.sockets, &mut self.port, &mut self.events);
        for wanted in self.pings.searches(self.now) {
            let own = self.interface.get_source_address(&wanted.into());
            let search = own.and_then(|own| neighbour::search(wanted, own.into(), self.mac));
            if let Some(search) = search {
                self.port.leave(search);
            }
        }
        self.pings.hand_over(&mut self.sockets, self.now);
        while !self.port.is_full()
            && self.interface.poll_egress(now, &mut self.port, &mut self.sockets)
                == PollResult::SocketStateChanged
        {}
        self.addresses.poll(&mut self.interface, &mut self.sockets, &mut self.port, &mut self.events);
    }

    /// To whom frames go that are for this station: itself, or a gateway.
    fn neighbour(&self, to: IpAddr) -> Option<IpAddr> {
        let near = self.interface.ip_addrs().iter().any(|own| own.contains_addr(&IpAddress::from(to)));
        let gateway = self.gateways().iter().find(|gateway| gateway.is_ipv4() == to.is_ipv4());
        if near { Some(to) } else { gateway.copied() }
    }

    /// Whether it is all stations of a network that we are in.
    fn is_broadcast(&self, to: IpAddr) -> bool {
        self.interface.ip_addrs().iter().any(|own| match own {
            smoltcp::wire::IpCidr::Ipv4(own) => own.broadcast().is_some_and(|all| IpAddr::V4(all) == to),
            smoltcp::wire::IpCidr::Ipv6(_) => false,
        })
    }
}

/// Tells which addresses are ours.
fn own(interface: &Interface) -> impl Fn(IpAddr) -> bool + '_ {
    |address| interface.has_ip_addr(address)
}
