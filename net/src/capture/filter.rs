//! Which frames are recorded, in words: `tcp port 22 and not host 10.0.0.1`.
//!
//! All terms must hold. A term is `arp`, `ip`, `ip6`, `icmp`, `tcp`, `udp`, `port N`, `vlan N` or `host ADDRESS`, and may
//! have `not` before it; `and` between two may be left out.
use crate::frame::{Headers, Mac, Network, Protocol, Transport};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

/// What a frame has to be. By default any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(Vec<Term>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    test: Test,
    /// It holds for what does not pass.
    not: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Arp,
    Ip,
    Ip6,
    /// That of IPv6 too.
    Icmp,
    Tcp,
    Udp,
    /// Of TCP or UDP, in either direction.
    Port(u16),
    Vlan(u16),
    /// From or to it.
    Station(Mac),
    /// From, to or asked for.
    Host(IpAddr),
}

/// Why words are no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// No term begins so.
    Unknown(String),
    /// It ends behind this word.
    Unfinished(&'static str),
    /// Behind `port`.
    Port(String),
    /// Behind `vlan`.
    Vlan(String),
    /// Behind `host`.
    Host(String),
    /// No frame is both.
    Never(&'static str, &'static str),
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(word) => write!(
                f,
                "a filter knows no \"{word}\": say arp, ip, ip6, icmp, tcp, udp, port N, vlan N or host ADDRESS, \
                 each with \"not\" before it if you like"
            ),
            Self::Unfinished(word) => write!(f, "the filter ends behind \"{word}\": say what follows"),
            Self::Port(word) => write!(f, "\"{word}\" is no port: say a number from 0 to 65535"),
            Self::Vlan(word) => write!(f, "\"{word}\" is no VLAN: say a number from 1 to 4094"),
            Self::Host(word) => {
                write!(f, "\"{word}\" is no address: say a MAC address, or one of IPv4 or IPv6")
            }
            Self::Never(one, other) => {
                write!(f, "no frame passes \"{one}\" and \"{other}\": leave one of them out")
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("all");
        }
        let mut gap = "";
        for term in &self.0 {
            write!(f, "{gap}{}{}", if term.not { "not " } else { "" }, term.test)?;
            gap = " ";
        }
        Ok(())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Port(number) | Self::Vlan(number) => write!(f, " {number}"),
            Self::Station(mac) => write!(f, " {mac}"),
            Self::Host(address) => write!(f, " {address}"),
            Self::Arp | Self::Ip | Self::Ip6 | Self::Icmp | Self::Tcp | Self::Udp => Ok(()),
        }
    }
}

impl Filter {
    /// The terms that stand alone.
    pub const PROTOCOLS: [&str; 6] = ["arp", "ip", "ip6", "icmp", "tcp", "udp"];
    /// What terms with a value begin with.
    pub const WITH_VALUE: [&str; 3] = ["port", "vlan", "host"];

    /// What the words say. None of them lets all pass.
    ///
    /// # Errors
    /// They say nothing that is known, or what no frame can be.
    pub fn parse(words: &str) -> Result<Self, FilterError> {
        let mut words = words.split_whitespace();
        let mut terms = Vec::new();
        let mut before = None;
        while let Some(mut word) = words.next() {
            if word == "and" && before.is_some() {
                word = words.next().ok_or(FilterError::Unfinished("and"))?;
            }
            let not = word == "not";
            if not {
                word = words.next().ok_or(FilterError::Unfinished("not"))?;
            }
            let mut value = |name| words.next().ok_or(FilterError::Unfinished(name));
            let test = match word {
                "arp" => Test::Arp,
                "ip" => Test::Ip,
                "ip6" => Test::Ip6,
                "icmp" => Test::Icmp,
                "tcp" => Test::Tcp,
                "udp" => Test::Udp,
                "port" => Test::port(value("port")?)?,
                "vlan" => Test::vlan(value("vlan")?)?,
                "host" => Test::host(value("host")?)?,
                _ => return Err(FilterError::Unknown(word.into())),
            };
            terms.push(Term { test, not });
            before = Some(word);
        }
        let wanted = || terms.iter().filter(|term| !term.not).map(|term| term.test);
        for one in wanted() {
            if let Some(other) = wanted().find(|&other| one.excludes(other)) {
                return Err(FilterError::Never(one.name(), other.name()));
            }
        }
        Ok(Self(terms))
    }

    /// Whether a frame with these headers passes.
    pub fn passes(&self, headers: &Headers) -> bool {
        self.0.iter().all(|term| term.test.holds(headers) != term.not)
    }
}

impl Test {
    fn port(word: &str) -> Result<Self, FilterError> {
        word.parse().map(Self::Port).map_err(|_| FilterError::Port(word.into()))
    }

    fn vlan(word: &str) -> Result<Self, FilterError> {
        let number = word.parse().ok().filter(|number| (1..=4094).contains(number));
        number.map(Self::Vlan).ok_or_else(|| FilterError::Vlan(word.into()))
    }

    fn host(word: &str) -> Result<Self, FilterError> {
        let station = word.parse().map(Self::Station).ok();
        let host = || word.parse().map(Self::Host).ok();
        station.or_else(host).ok_or_else(|| FilterError::Host(word.into()))
    }

    /// By which it begins.
    const fn name(self) -> &'static str {
        match self {
            Self::Arp => "arp",
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Port(_) => "port",
            Self::Vlan(_) => "vlan",
            Self::Station(_) | Self::Host(_) => "host",
        }
    }

    /// Whether no frame is both, as far as their kinds tell.
    fn excludes(self, other: Self) -> bool {
        let link = |test| match test {
            Self::Arp => Some(0),
            Self::Ip => Some(1),
            Self::Ip6 => Some(2),
            _ => None,
        };
        let transport = |test| match test {
            Self::Arp => Some(0),
            Self::Icmp => Some(1),
            Self::Tcp => Some(2),
            Self::Udp => Some(3),
            _ => None,
        };
        let differ = |one: Option<u8>, other: Option<u8>| one.zip(other).is_some_and(|(a, b)| a != b);
        differ(link(self), link(other))
            || differ(transport(self), transport(other))
            || matches!((self, other), (Self::Port(_), Self::Arp | Self::Icmp))
    }

    fn holds(self, headers: &Headers) -> bool {
        let protocol = match headers.network {
            Network::V4(ip) => Some(ip.protocol),
            Network::V6(ip) => Some(ip.protocol),
            Network::Arp(_) | Network::Other => None,
        };
        let ports = match headers.transport {
            Transport::Tcp(tcp) => [tcp.source, tcp.destination].map(Some),
            Transport::Udp(udp) => [udp.source, udp.destination].map(Some),
            _ => [None; 2],
        };
        let ethernet = &headers.ethernet;
        match self {
            Self::Arp => matches!(headers.network, Network::Arp(_)),
            Self::Ip => matches!(headers.network, Network::V4(_)),
            Self::Ip6 => matches!(headers.network, Network::V6(_)),
            Self::Icmp => matches!(protocol, Some(Protocol::ICMP | Protocol::ICMPV6)),
            Self::Tcp => protocol == Some(Protocol::TCP),
            Self::Udp => protocol == Some(Protocol::UDP),
            Self::Port(port) => ports.contains(&Some(port)),
            Self::Vlan(number) => {
                ethernet.tag.and_then(|tag| tag.vlan()).is_some_and(|vlan| vlan.number() == number)
            }
            Self::Station(mac) => [ethernet.source, ethernet.destination].contains(&mac),
            Self::Host(host) => match headers.network {
                Network::Arp(arp) => [arp.sender_address, arp.target_address].map(IpAddr::V4).contains(&host),
                Network::V4(ip) => [ip.source, ip.destination].map(IpAddr::V4).contains(&host),
                Network::V6(ip) => [ip.source, ip.destination].map(IpAddr::V6).contains(&host),
                Network::Other => false,
            },
        }
    }
}
