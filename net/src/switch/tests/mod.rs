//! What the switch promises, by those who are behind its ports.
mod guests;
mod learning;
mod limits;
mod mirrors;
mod random;
mod tags;
mod uplinks;
mod vlans;

use super::*;
use crate::frame::{EtherType, Ethernet, Headers, Mac, Network, Tag, Transport, VlanId};
use std::vec::Vec;

const SECOND: u64 = 1_000_000_000;
/// Nobody's.
const STRANGER: Mac = Mac([2, 0, 0, 0, 9, 9]);

fn mac(number: u8) -> Mac {
    Mac([0x52, 0x54, 0, 0, 0, number])
}

fn vlan(number: u16) -> VlanId {
    VlanId::new(number).unwrap()
}

fn guest(number: u8) -> PortConfig {
    PortConfig::new(PortKind::Guest { mac: mac(number), allow_any_mac: false, addresses: None })
}

fn open_guest(number: u8) -> PortConfig {
    PortConfig::new(PortKind::Guest { mac: mac(number), allow_any_mac: true, addresses: None })
}

fn node() -> PortConfig {
    PortConfig::new(PortKind::Node { mac: mac(0xee) })
}

fn uplink(priority: u16) -> PortConfig {
    PortConfig { vlan: Vlan::all(), ..PortConfig::new(PortKind::Uplink { priority }) }
}

fn access(number: u16, config: PortConfig) -> PortConfig {
    PortConfig { vlan: Vlan::Access(vlan(number)), ..config }
}

fn trunk(numbers: &[u16], untagged: Untagged, config: PortConfig) -> PortConfig {
    let tagged = numbers.iter().map(|&number| vlan(number)).collect();
    PortConfig { vlan: Vlan::Trunk(Trunk { tagged, untagged }), ..config }
}

fn headers(source: Mac, destination: Mac) -> Headers {
    Headers {
        ethernet: Ethernet { destination, source, tag: None, ether_type: EtherType(0x1234) },
        network: Network::Other,
        transport: Transport::Other,
        network_at: 14,
        transport_at: 14,
    }
}

fn tagged(tag: Tag, source: Mac, destination: Mac) -> Headers {
    let plain = headers(source, destination);
    let ethernet = Ethernet { tag: Some(tag), ..plain.ethernet };
    Headers { ethernet, network_at: 18, transport_at: 18, ..plain }
}

fn ports(ids: &[PortId]) -> Ports {
    ids.iter().copied().collect()
}

/// A switch with these ports, all up.
fn switch<const N: usize>(configs: [PortConfig; N]) -> (Switch, [PortId; N]) {
    let mut switch = Switch::new(SwitchConfig { addresses: 64, aging: 300 * SECOND, seed: [1, 2] });
    let ids = configs.map(|config| switch.attach(config).unwrap());
    ids.iter().for_each(|&id| switch.set_up(id, true));
    (switch, ids)
}

impl Switch {
    /// A frame of 100 bytes in the first second: who gets it.
    fn send(&mut self, from: PortId, headers: Headers) -> Result<Ports, Reason> {
        self.send_at(0, from, headers)
    }

    fn send_at(&mut self, now: u64, from: PortId, headers: Headers) -> Result<Ports, Reason> {
        match self.forward(now, from, &headers, 100, 1) {
            Verdict::Drop(reason) => Err(reason),
            Verdict::Forward(forward) => Ok(forward.to),
        }
    }

    /// The same, with the tags that they get.
    fn send_whole(&mut self, from: PortId, headers: Headers) -> Forward {
        match self.forward(0, from, &headers, 100, 1) {
            Verdict::Drop(reason) => panic!("{reason}"),
            Verdict::Forward(forward) => forward,
        }
    }

    fn announced(&mut self) -> Vec<Announcement> {
        std::iter::from_fn(|| self.take_announcement(0)).collect()
    }
}
