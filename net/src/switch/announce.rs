//! Addresses of which the switches outside have to learn that they are here now.
use super::vlan::Form;
use super::{Place, PortId, Ports, Switch};
use crate::frame::{EtherType, Ethernet, Mac, Tag, VlanId};

/// An address to be announced: a frame from it is to go out by an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub mac: Mac,
    /// The uplink.
    pub to: PortId,
    /// The tag that the frame has there.
    pub tag: Option<Tag>,
}

/// Reverse ARP (RFC 903): known to all switches, answered by nobody.
const REVERSE_ARP: EtherType = EtherType(0x8035);

impl Announcement {
    /// Bytes of its frame: the shortest, with room for a tag.
    pub const SIZE: usize = 64;

    /// A frame that announces it: to everybody, and of no further meaning.
    pub fn emit(&self) -> [u8; Self::SIZE] {
        let ethernet = Ethernet {
            destination: Mac::BROADCAST,
            source: self.mac,
            tag: self.tag,
            ether_type: REVERSE_ARP,
        };
        let mut frame = [0; Self::SIZE];
        let (header, packet) = frame.split_at_mut(ethernet.size());
        header.copy_from_slice(&ethernet.emit()[..ethernet.size()]);
        // Ethernet, IPv4, their lengths, "request reverse", by and for the address itself.
        packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 3]);
        packet[8..14].copy_from_slice(&self.mac.0);
        packet[18..24].copy_from_slice(&self.mac.0);
        frame
    }
}

/// What is still to be announced.
#[derive(Default)]
pub(super) struct Pending {
    /// The own addresses of these.
    ports: Ports,
    /// What was learned behind ports, from this place in the table.
    learned: Option<usize>,
}

impl Pending {
    pub(super) fn add(&mut self, port: PortId) {
        self.ports.insert(port);
    }

    /// The own addresses of these ports, and all that was learned behind any.
    pub(super) fn all(&mut self, ports: Ports) {
        *self = Self { ports, learned: Some(0) };
    }
}

impl Switch {
    /// The next address that is to be announced: after an uplink has become the active one, each that is here; after a port
    /// has gone up, its own. None when there is none left, or no uplink.
    ///
    /// An own address is announced in the VLAN that has no tag at its port; on a trunk, in those too from which it has sent.
    pub fn take_announcement(&mut self, now: u64) -> Option<Announcement> {
        let to = self.active?;
        while let Some(id) = self.pending.ports.into_iter().next() {
            self.pending.ports.remove(id);
            let port = self.port(id).filter(|_| self.live.contains(id));
            let own = port.and_then(|port| Some((port.kind.station()?, port.vlan.enter(None).ok()?)));
            if let Some(found) = own.and_then(|(mac, vlan)| self.announcement(to, mac, vlan)) {
                return Some(found);
            }
        }
        while let Some(index) = self.pending.learned {
            self.pending.learned = Some(index + 1).filter(|&next| next < self.table.capacity());
            if let Some(learned) = self.table.get(now, index)
                && learned.place != Place::Uplink
                && let Some(found) = self.announcement(to, learned.mac, learned.vlan)
            {
                return Some(found);
            }
        }
        None
    }

    /// None where the uplink does not carry the VLAN.
    fn announcement(&self, to: PortId, mac: Mac, vlan: Option<VlanId>) -> Option<Announcement> {
        let form = self.port(to)?.vlan.leave(vlan)?;
        let tag = vlan.filter(|_| form == Form::Tagged).map(|vlan| Tag::new(vlan, 0));
        Some(Announcement { mac, to, tag })
    }
}
