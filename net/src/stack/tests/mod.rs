//! Stacks on a wire of memory, and what is put on it by hand.
mod dhcp;
mod fuzz;
mod hostile;
mod ping;
mod settings;
mod tcp;

use super::*;
use core::net::{Ipv4Addr, Ipv6Addr};
use smoltcp::socket::tcp::Socket;
use std::vec;

pub(super) const MILLISECOND: u64 = 1_000_000;
pub(super) const SECOND: u64 = 1000 * MILLISECOND;

/// Random numbers, the same each time (xorshift64*).
pub(super) struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 33) as usize % limit
    }
}

pub(super) fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

pub(super) fn v4(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 2, number).into()
}

pub(super) fn v6(number: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into()
}

/// The configuration of a station with one address of each version.
pub(super) fn fixed(number: u8) -> StackConfig {
    let address = Addressing::Static {
        addresses: vec![(v4(number), 24), (v6(number), 64)],
        gateways: vec![v4(1), v6(1)],
        dns: vec![v4(1)],
    };
    StackConfig { mac: mac(number), mtu: 1500, address, seed: number.into() }
}

pub(super) fn station(number: u8) -> Stack {
    up(fixed(number))
}

pub(super) fn up(config: StackConfig) -> Stack {
    let mut stack = Stack::new(config).expect("a good configuration");
    stack.set_link(true);
    stack
}

/// All that a stack sends now, which it asks to be polled for. Fails if that has no end.
pub(super) fn sent(stack: &mut Stack, now: u64) -> (Vec<Vec<u8>>, Option<u64>) {
    let mut frames = Vec::new();
    for _ in 0..1000 {
        let next = stack.poll(now);
        frames.extend(core::iter::from_fn(|| stack.transmit()));
        if next.is_none_or(|next| next > now) {
            return (frames, next);
        }
    }
    panic!("it asks to be polled again and again");
}

/// A wire that every station hears.
pub(super) struct Wire {
    pub now: u64,
    /// How long a frame is on its way.
    pub delay: u64,
    /// Of a hundred frames, how many get lost.
    pub loss: usize,
    pub random: Random,
    /// When they arrive, from whom, and the frames.
    flying: Vec<(u64, usize, Vec<u8>)>,
}

impl Wire {
    pub fn new() -> Self {
        Self { now: SECOND, delay: MILLISECOND, loss: 0, random: Random(7), flying: Vec::new() }
    }

    /// Goes on until `done`, or this time has passed. Whether it is done.
    pub fn run(
        &mut self,
        stacks: &mut [Stack],
        time: u64,
        mut done: impl FnMut(&mut [Stack]) -> bool,
    ) -> bool {
        let end = self.now + time;
        loop {
            let mut next = None;
            for (from, stack) in stacks.iter_mut().enumerate() {
                let (frames, when) = sent(stack, self.now);
                next = time::earlier(next, when);
                for frame in frames {
                    if self.random.below(100) >= self.loss {
                        self.flying.push((self.now + self.delay, from, frame));
                    }
                }
            }
            if done(stacks) {
                return true;
            }
            let arrival = self.flying.iter().map(|(when, ..)| *when).min();
            // What was done may have given work too.
            let soon = Some(self.now + 10 * MILLISECOND);
            self.now = time::earlier(soon, time::earlier(next, arrival)).unwrap_or(end);
            if self.now >= end {
                self.now = end;
                return false;
            }
            for (when, from, frame) in core::mem::take(&mut self.flying) {
                if when > self.now {
                    self.flying.push((when, from, frame));
                    continue;
                }
                for (to, stack) in stacks.iter_mut().enumerate() {
                    if to != from {
                        stack.receive(frame.clone());
                    }
                }
            }
        }
    }

    /// Lets time pass.
    pub fn pass(&mut self, stacks: &mut [Stack], time: u64) {
        self.run(stacks, time, |_| false);
    }
}

/// Connects to a station's port, as only tests do.
pub(super) fn connect(stack: &mut Stack, to: IpAddr, port: u16, from: u16) -> StreamId {
    let mut socket = super::tcp::socket();
    socket.connect(stack.interface.context(), (IpAddress::from(to), port), from).expect("a way to it");
    let id = StreamId(1 << 32 | u64::from(from));
    let stream = streams::Stream::new(stack.sockets.add(socket));
    stack.tcp.streams.add(id, stream);
    id
}

/// How many TCP sockets there are in this state.
pub(super) fn sockets(stack: &Stack, wanted: smoltcp::socket::tcp::State) -> usize {
    let tcp = |socket: &&smoltcp::socket::Socket<'_>| match socket {
        smoltcp::socket::Socket::Tcp(socket) => Socket::state(socket) == wanted,
        _ => false,
    };
    stack.sockets.iter().map(|(_, socket)| socket).filter(tcp).count()
}
