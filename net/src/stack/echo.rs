//! The ICMP messages of ping: echo requests, and what comes back (RFC 792; RFC 4443).
//!
//! Read from a frame that the gate has passed. smoltcp sees the same messages and does nothing about them.
use crate::frame::checksum::Sum;
use crate::frame::{Headers, Network, Protocol};
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bytes of an echo message before its data.
pub(super) const HEADER: usize = 8;

/// Why a packet did not get to whom it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is no way to it. With ICMP's code (RFC 792; RFC 4443, 3.1).
    Unreachable(u8),
    /// It has been passed on too often.
    HopLimit,
    /// It is longer than a network on its way allows.
    TooBig,
    /// Something in it was not understood.
    Parameter,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(code) => write!(f, "unreachable (code {code})"),
            Self::HopLimit => f.write_str("its way is too long"),
            Self::TooBig => f.write_str("too long for a network on its way"),
            Self::Parameter => f.write_str("not understood"),
        }
    }
}

/// What a request is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub to: IpAddr,
    pub identifier: u16,
    pub sequence: u16,
}

/// What has come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    pub request: Request,
    pub from: IpAddr,
    /// The data of a reply, or what went wrong.
    pub what: Result<&'a [u8], Failure>,
}

/// The types of messages, which differ by IP's version.
struct Types {
    request: u8,
    reply: u8,
    failure: fn(kind: u8, code: u8) -> Option<Failure>,
}

const V4: Types = Types {
    request: 8,
    reply: 0,
    failure: |kind, code| match (kind, code) {
        (3, 4) => Some(Failure::TooBig),
        (3, code) => Some(Failure::Unreachable(code)),
        (11, _) => Some(Failure::HopLimit),
        (12, _) => Some(Failure::Parameter),
        _ => None,
    },
};

const V6: Types = Types {
    request: 128,
    reply: 129,
    failure: |kind, code| match (kind, code) {
        (1, code) => Some(Failure::Unreachable(code)),
        (2, _) => Some(Failure::TooBig),
        (3, _) => Some(Failure::HopLimit),
        (4, _) => Some(Failure::Parameter),
        _ => None,
    },
};

/// What a frame answers, if it is an answer.
pub(super) fn answer<'a>(headers: &Headers, frame: &'a [u8]) -> Option<Answer<'a>> {
    let (from, length, types, sum) = match headers.network {
        Network::V4(ip) if ip.protocol == Protocol::ICMP => (ip.source.into(), ip.length, V4, Sum::new()),
        Network::V6(ip) if ip.protocol == Protocol::ICMPV6 => {
            let bytes = ip.length.checked_sub(ip.header)? as u32;
            let sum = Sum::pseudo_v6(ip.source, ip.destination, Protocol::ICMPV6, bytes);
            (IpAddr::V6(ip.source), ip.length, V6, sum)
        }
        _ => return None,
    };
    let message = frame.get(headers.transport_at..headers.network_at + length)?;
    if sum.bytes(message).folded() != 0xffff {
        return None;
    }
    let (&[kind, code, ..], data) = message.split_first_chunk::<HEADER>()?;
    if kind == types.reply && code == 0 {
        let (identifier, sequence) = names(message)?;
        return Some(Answer { request: Request { to: from, identifier, sequence }, from, what: Ok(data) });
    }
    let failure = (types.failure)(kind, code)?;
    Some(Answer { request: quoted(data, from.is_ipv4(), types.request)?, from, what: Err(failure) })
}

/// The request in the packet that a message about a failure quotes, the beginning of it at least.
fn quoted(packet: &[u8], is_v4: bool, kind: u8) -> Option<Request> {
    let (to, protocol, at) = if is_v4 {
        let (header, _) = packet.split_first_chunk::<20>()?;
        let to: &[u8; 4] = header.last_chunk()?;
        (IpAddr::V4(Ipv4Addr::from(*to)), Protocol(header[9]), usize::from(header[0] & 0xf) * 4)
    } else {
        let (header, _) = packet.split_first_chunk::<40>()?;
        let to: &[u8; 16] = header.last_chunk()?;
        (IpAddr::V6(Ipv6Addr::from(*to)), Protocol(header[6]), 40)
    };
    let message = packet.get(at..)?;
    let ours = if is_v4 { Protocol::ICMP } else { Protocol::ICMPV6 };
    if protocol != ours || message.first() != Some(&kind) {
        return None;
    }
    let (identifier, sequence) = names(message)?;
    Some(Request { to, identifier, sequence })
}

/// An echo message's identifier and sequence number.
fn names(message: &[u8]) -> Option<(u16, u16)> {
    let &[_, _, _, _, a, b, c, d] = message.first_chunk::<HEADER>()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// A request with this data. smoltcp fills in the checksum.
pub(super) fn request(request: Request, data: &[u8]) -> Vec<u8> {
    let kind = if request.to.is_ipv4() { V4.request } else { V6.request };
    let mut message = Vec::with_capacity(HEADER + data.len());
    message.extend_from_slice(&[kind, 0, 0, 0]);
    message.extend_from_slice(&request.identifier.to_be_bytes());
    message.extend_from_slice(&request.sequence.to_be_bytes());
    message.extend_from_slice(data);
    message
}
