//! IP addresses as the file writes them, and `address`, `gateway` and `dns` of `[node]`: the node's own place on a
//! network.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use toml::de::DeValue;

use super::problem::Refused;
use super::section::Section;
use super::value::{self, Read};

/// Most addresses of the node, and most DNS servers that it asks.
pub const MAX_ADDRESSES: usize = 7;

/// The node's own addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeAddress {
    /// `"none"`: it has none; its networks are for VMs alone.
    #[default]
    None,
    /// `"dhcp"`: what a DHCP server gives it.
    Dhcp,
    /// These.
    Static {
        /// Each with its prefix length, in the file's order; at least one, none twice.
        addresses: Vec<(IpAddr, u8)>,
        /// By which it reaches other networks: one of IPv4 and one of IPv6 at most. Each is in the network of one of the
        /// addresses, or is link-local (RFC 4291, 2.5.6).
        gateways: Vec<IpAddr>,
        /// In the order in which they are asked.
        dns: Vec<IpAddr>,
    },
}

const OWN: &str =
    "\"none\", \"dhcp\", or an address and its prefix length, such as \"10.0.2.15/24\", or a list of such";

impl NodeAddress {
    /// Takes the keys out of `[node]`. What is wrong with the address gives none; a wrong gateway or server is left out.
    pub(super) fn read(node: &mut Section<'_, '_>) -> Self {
        let given = node.has("address");
        let own = node.optional("address", own);
        let gateway =
            "the address of a router, such as \"10.0.2.2\", or a list of one of IPv4 and one of IPv6";
        let gateways = node.optional("gateway", value::one_or_more(2, gateway, station));
        let server = "the address of a DNS server, such as \"10.0.2.3\", or a list of such";
        let dns = node.optional("dns", value::one_or_more(MAX_ADDRESSES, server, station));
        match own {
            Some(Self::Static { addresses, .. }) => {
                let gateways = gateways.unwrap_or_default();
                let gateways = reachable(node, &addresses, gateways);
                Self::Static { addresses, gateways, dns: dns.unwrap_or_default() }
            }
            other => {
                // An address that was refused is told of already.
                let none = other.is_some() || !given;
                for key in [gateways.map(|_| "gateway"), dns.map(|_| "dns")].into_iter().flatten() {
                    if none {
                        node.conflict(format!(
                            "{key} without an address that is written here; allowed: with one such as \
                             address = \"10.0.2.15/24\""
                        ));
                    }
                }
                other.unwrap_or_default()
            }
        }
    }
}

/// The gateways that the node can reach with these addresses; reports the others.
fn reachable(
    node: &mut Section<'_, '_>,
    addresses: &[(IpAddr, u8)],
    mut gateways: Vec<IpAddr>,
) -> Vec<IpAddr> {
    if let [first, second] = gateways[..]
        && first.is_ipv4() == second.is_ipv4()
    {
        node.conflict(format!("gateway has {first} and {second}; allowed: one of IPv4 and one of IPv6"));
        gateways.clear();
    }
    gateways.retain(|gateway| {
        let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local());
        let why = if addresses.iter().any(|(own, _)| own == gateway) {
            "is the node's own address"
        } else if !link_local && !addresses.iter().any(|(own, prefix)| same_network(*own, *gateway, *prefix))
        {
            "is in the network of none of the node's addresses"
        } else {
            return true;
        };
        node.conflict(format!("gateway = \"{gateway}\" {why}; allowed: another station of such a network"));
        false
    });
    gateways
}

/// The value of `address`, without gateways and servers.
fn own(value: &DeValue<'_>) -> Read<NodeAddress> {
    match value.as_str() {
        Some("none") => return Ok(NodeAddress::None),
        Some("dhcp") => return Ok(NodeAddress::Dhcp),
        _ => {}
    }
    let addresses = value::one_or_more(MAX_ADDRESSES, OWN, with_prefix)(value)?;
    let again =
        |(index, (own, _)): &(usize, &(IpAddr, u8))| addresses[..*index].iter().any(|(o, _)| o == own);
    if let Some((_, (own, _))) = addresses.iter().enumerate().find(again) {
        return Err(Refused::new(format!("has {own} twice"), OWN));
    }
    Ok(NodeAddress::Static { addresses, gateways: Vec::new(), dns: Vec::new() })
}

/// `10.0.2.15/24`: an address that a station of that network can have.
fn with_prefix(text: &str) -> Result<(IpAddr, u8), String> {
    let Some((address, prefix)) = text.split_once('/') else {
        let length = if text.parse::<IpAddr>().is_ok() { "has no prefix length" } else { "is no address" };
        return Err(length.to_string());
    };
    let address = station(address)?;
    let width = width(address);
    let digits = prefix.bytes().all(|digit| digit.is_ascii_digit());
    let prefix = prefix.parse().ok().filter(|prefix| digits && (1..=width).contains(prefix));
    let prefix: u8 = prefix.ok_or_else(|| format!("has a prefix length that is not 1 to {width}"))?;
    // A link between two has no number and no broadcast address of its own (RFC 3021, RFC 6164).
    if prefix < width - 1 {
        let ones = u128::MAX >> (128 - (width - prefix));
        match bits(address) & ones {
            0 => return Err("is the number of a network, not of a station in it".to_string()),
            host if host == ones && address.is_ipv4() => {
                return Err("is the broadcast address of its network".to_string());
            }
            _ => {}
        }
    }
    Ok((address, prefix))
}

/// An address that one station can have, and others can reach.
pub(super) fn station(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| "is no IP address".to_string())?;
    let sound = match address {
        // 0/8, loopback, multicast, reserved and broadcast (RFC 6890, 2.2.2).
        IpAddr::V4(v4) => matches!(v4.octets()[0], 1..=126 | 128..=223),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => {
            return Err("is an IPv4 address in IPv6's form".to_string());
        }
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_loopback() && !v6.is_multicast(),
    };
    if sound { Ok(address) } else { Err("is no address of a single station on a network".to_string()) }
}

/// Whether two addresses have this prefix in common.
fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differ = bits(one) ^ bits(other);
    one.is_ipv4() == other.is_ipv4() && differ >> (width(one) - prefix) == 0
}

/// Bits of an address.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
