//! What a stack is made of, and what it refuses to be made of.
use super::MAX_ADDRESSES;
use crate::frame::Mac;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};

/// Least MTU that IPv6 can live with (RFC 8200, 5).
pub const LEAST_MTU: u16 = 1280;
/// Most that a card sends ([`crate::nic::Abilities::mtu`]).
pub const MOST_MTU: u16 = 9000;

/// What a stack begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackConfig {
    /// Its address on the Ethernet.
    pub mac: Mac,
    /// Most bytes of a packet: [`LEAST_MTU`] to [`MOST_MTU`].
    pub mtu: u16,
    /// Its IP addresses.
    pub address: Addressing,
    /// From a source of randomness, different at each boot: TCP's sequence numbers and DHCP's transactions come of it.
    pub seed: u64,
}

/// Where a stack has its addresses from, beside the link-local one of IPv6 (RFC 4291, 2.5.6), which it always has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// From a DHCP server (RFC 2131): one address of IPv4, a gateway and DNS servers.
    Dhcp,
    /// These.
    Static {
        /// Each with its prefix length; at most [`MAX_ADDRESSES`].
        addresses: Vec<(IpAddr, u8)>,
        /// By which other networks are reached: one of IPv4 and one of IPv6 at most.
        gateways: Vec<IpAddr>,
        /// In the order in which they are asked.
        dns: Vec<IpAddr>,
    },
}

/// Why a stack can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadConfig {
    /// A group's MAC address, or none.
    Mac(Mac),
    /// Below [`LEAST_MTU`] or above [`MOST_MTU`].
    Mtu(u16),
    /// More than [`MAX_ADDRESSES`].
    Addresses(usize),
    /// Not an address of a single station.
    Station(IpAddr),
    /// A prefix length that such an address does not have.
    Prefix(IpAddr, u8),
    /// A second gateway of the same version of IP.
    Gateway(IpAddr),
}

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mac(mac) => write!(f, "{mac} is no MAC address of a single station"),
            Self::Mtu(mtu) => write!(f, "an MTU of {mtu}; allowed: {LEAST_MTU} to {MOST_MTU}"),
            Self::Addresses(count) => write!(f, "{count} addresses; allowed: at most {MAX_ADDRESSES}"),
            Self::Station(address) => write!(f, "{address} is no address of a single station"),
            Self::Prefix(address, prefix) => {
                let most = if address.is_ipv4() { 32 } else { 128 };
                write!(f, "{address}/{prefix}; allowed: a prefix length of 1 to {most}")
            }
            Self::Gateway(gateway) => {
                write!(f, "{gateway} is a second gateway; allowed: one of IPv4 and one of IPv6")
            }
        }
    }
}

impl core::error::Error for BadConfig {}

impl StackConfig {
    /// Whether a stack can be made of it.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn check(&self) -> Result<(), BadConfig> {
        if !self.mac.is_station() {
            return Err(BadConfig::Mac(self.mac));
        }
        if !(LEAST_MTU..=MOST_MTU).contains(&self.mtu) {
            return Err(BadConfig::Mtu(self.mtu));
        }
        let Addressing::Static { addresses, gateways, .. } = &self.address else { return Ok(()) };
        if addresses.len() > MAX_ADDRESSES {
            return Err(BadConfig::Addresses(addresses.len()));
        }
        for &(address, prefix) in addresses {
            let most = if address.is_ipv4() { 32 } else { 128 };
            if !is_station(address) {
                return Err(BadConfig::Station(address));
            }
            if !(1..=most).contains(&prefix) {
                return Err(BadConfig::Prefix(address, prefix));
            }
        }
        for (at, &gateway) in gateways.iter().enumerate() {
            if !is_station(gateway) {
                return Err(BadConfig::Station(gateway));
            }
            if gateways[..at].iter().any(|other| other.is_ipv4() == gateway.is_ipv4()) {
                return Err(BadConfig::Gateway(gateway));
            }
        }
        Ok(())
    }
}

/// Whether it is the address of one station that others can reach: not one of 0/8, loopback, multicast, reserved or
/// broadcast (RFC 6890, 2.2.2), nor IPv4 in IPv6's form.
pub(super) fn is_station(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 1..=126 | 128..=223),
        IpAddr::V6(v6) => {
            let nobody = v6.is_unspecified() || v6.is_loopback() || v6.is_multicast();
            !nobody && v6.to_ipv4_mapped().is_none()
        }
    }
}

/// The link-local address that belongs to a MAC address (RFC 4291, 2.5.6 and appendix A).
pub(super) fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let pair = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(0xfe80, 0, 0, 0, pair(a ^ 2, b), pair(c, 0xff), pair(0xfe, d), pair(e, f))
}
