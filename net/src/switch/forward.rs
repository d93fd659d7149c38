//! The way of a frame: may it enter, where is its destination, who gets it.
use super::port::{Kind, Port};
use super::vlan::{Form, Vlan};
use super::{Place, PortId, Ports, Reason, Switch};
use crate::frame::{EtherType, Ethernet, Headers, Mac, Tag, Transport, VlanId};

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody gets it, and this is counted.
    Drop(Reason),
    Forward(Forward),
}

/// Who gets a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// These. Never the port it came from; only ports that are up. Empty where all of them are over their limit, and only a
    /// mirror gets it.
    pub to: Ports,
    /// These get a copy because they mirror others.
    pub mirror: Ports,
    /// Who of all these gets it with [`Self::tag`]; the others get it without a tag.
    pub tagged: Ports,
    /// The tag: its VLAN, and the priority it came with. Of no meaning where nobody gets it.
    pub tag: Tag,
}

impl Forward {
    /// The tag that the frame has at `port`, whatever it came with.
    pub fn tag_at(&self, port: PortId) -> Option<Tag> {
        self.tagged.contains(port).then_some(self.tag)
    }
}

/// Pause, and other messages between two ends of a cable (IEEE 802.3, 31).
const MAC_CONTROL: EtherType = EtherType(0x8808);

/// Whether a bridge keeps it to itself (IEEE 802.1Q, table 8-1; IEEE 802.3, 31.3).
fn is_control(ethernet: &Ethernet) -> bool {
    matches!(ethernet.destination.0, [0x01, 0x80, 0xc2, 0, 0, 0..=0x0f]) || ethernet.ether_type == MAC_CONTROL
}

/// Bytes of all pieces of a frame that is to be cut, each with its headers.
fn bytes_of_pieces(headers: &Headers, bytes: usize, pieces: u32) -> u64 {
    let transport = match headers.transport {
        Transport::Tcp(tcp) => tcp.header,
        _ => 0,
    };
    let each = (headers.transport_at + transport) as u64;
    bytes as u64 + u64::from(pieces.saturating_sub(1)) * each
}

impl Switch {
    /// Who gets a frame that came from a port, with these headers, of so many bytes, and so many frames once it is cut.
    ///
    /// A port that is not attached sends nothing, which nobody counts.
    pub fn forward(
        &mut self,
        now: u64,
        from: PortId,
        headers: &Headers,
        bytes: usize,
        pieces: u32,
    ) -> Verdict {
        let Some(port) = self.port_mut(from) else { return Verdict::Drop(Reason::Down) };
        port.counters.received.add(bytes);
        let cost = bytes_of_pieces(headers, bytes, pieces);
        let vlan = match self.enter(now, from, headers, bytes, cost, pieces) {
            Ok(vlan) => vlan,
            Err(reason) => return self.dropped(from, reason),
        };
        let forward = match self.destinations(now, from, headers.ethernet.destination, vlan) {
            Ok(to) => self.leave(from, to, headers.ethernet.tag, vlan),
            Err(reason) => return self.dropped(from, reason),
        };
        if (forward.to | forward.mirror).is_empty() {
            return self.dropped(from, Reason::Nobody);
        }
        let forward = self.limit(now, forward, cost);
        if (forward.to | forward.mirror).is_empty() {
            return Verdict::Drop(Reason::ReceiveLimit);
        }
        Verdict::Forward(forward)
    }

    fn dropped(&mut self, from: PortId, reason: Reason) -> Verdict {
        self.refused(from, reason);
        Verdict::Drop(reason)
    }

    /// Lets a frame in: the VLAN that it is in then. Learns its source.
    fn enter(
        &mut self,
        now: u64,
        from: PortId,
        headers: &Headers,
        bytes: usize,
        cost: u64,
        pieces: u32,
    ) -> Result<Option<VlanId>, Reason> {
        let ethernet = &headers.ethernet;
        if !self.live.contains(from) {
            return Err(if self.up.contains(from) { Reason::Standby } else { Reason::Down });
        }
        if !ethernet.source.is_station() {
            return Err(Reason::Source);
        }
        if is_control(ethernet) {
            return Err(Reason::Control);
        }
        let port = self.port(from).ok_or(Reason::Down)?;
        let vlan = port.vlan.enter(ethernet.tag)?;
        match &port.kind {
            Kind::Guest { guard, .. } => guard.check(headers, bytes)?,
            Kind::Node { mac } if ethernet.source != *mac => return Err(Reason::Mac),
            Kind::Node { .. } | Kind::Uplink { .. } => {}
        }
        let place = if port.kind.is_uplink() { Place::Uplink } else { Place::Port(from) };
        // Who may only send from its own address need not be found in the table, but for the VLANs of a trunk.
        let learns = match port.kind {
            Kind::Uplink { .. } | Kind::Guest { any_mac: true, .. } => true,
            Kind::Guest { .. } | Kind::Node { .. } => matches!(port.vlan, Vlan::Trunk(_)),
        };
        if learns && self.is_taken(from, place, ethernet.source, vlan) {
            return Err(Reason::Taken);
        }
        let port = self.port_mut(from).ok_or(Reason::Down)?;
        if !port.sends.as_mut().is_none_or(|limit| limit.is_open(now)) {
            return Err(Reason::SendLimit);
        }
        if ethernet.destination.is_group()
            && let Some(limit) = &mut port.groups
        {
            if !limit.is_open(now) {
                return Err(Reason::GroupsLimit);
            }
            limit.take(pieces.max(1).into());
        }
        if let Some(limit) = &mut port.sends {
            limit.take(cost);
        }
        if learns {
            self.table.learn(now, ethernet.source, vlan, place);
        }
        Ok(vlan)
    }

    /// Whether a source is the own address of another port. From outside, that of a port that is down may come: the virtual
    /// machine is on its way to or from another node.
    fn is_taken(&self, from: PortId, place: Place, source: Mac, vlan: Option<VlanId>) -> bool {
        let station = self.station(source, vlan).filter(|&id| id != from);
        station.is_some_and(|id| place != Place::Uplink || self.live.contains(id))
    }

    /// The port whose own address this is.
    fn station(&self, mac: Mac, vlan: Option<VlanId>) -> Option<PortId> {
        let carries = |port: &Port| port.vlan.leave(vlan).is_some();
        self.stations.of(mac).find(|&id| self.port(id).is_some_and(carries))
    }

    /// Behind which ports the destination is, or may be, whatever VLANs they carry.
    fn destinations(
        &self,
        now: u64,
        from: PortId,
        destination: Mac,
        vlan: Option<VlanId>,
    ) -> Result<Ports, Reason> {
        if destination.is_group() {
            return Ok(self.live - Ports::of(from));
        }
        let inside = |id: PortId| if id == from { Err(Reason::Origin) } else { Ok(Ports::of(id)) };
        if let Some(id) = self.station(destination, vlan) {
            return if self.live.contains(id) || id == from { inside(id) } else { self.outside(from) };
        }
        match self.table.find(now, destination, vlan) {
            Some(Place::Port(id)) => inside(id),
            Some(Place::Uplink) if self.uplinks.contains(from) => Err(Reason::Origin),
            Some(Place::Uplink) => self.outside(from),
            None => {
                let open = (self.open & self.live) - Ports::of(from);
                let outside = self.outside(from);
                if open.is_empty() { outside } else { Ok(open | outside.unwrap_or(Ports::EMPTY)) }
            }
        }
    }

    /// The way outside, for what did not come from there.
    fn outside(&self, from: PortId) -> Result<Ports, Reason> {
        match self.active {
            Some(active) if active == from => Err(Reason::Nobody),
            Some(active) => Ok(Ports::of(active)),
            None if self.uplinks.is_empty() => Err(Reason::Nobody),
            None => Err(Reason::NoUplink),
        }
    }

    /// Who of these carries the VLAN and gets it, and in which form.
    fn leave(&self, from: PortId, to: Ports, came: Option<Tag>, vlan: Option<VlanId>) -> Forward {
        let mut forward =
            Forward { to: Ports::EMPTY, mirror: Ports::EMPTY, tagged: Ports::EMPTY, tag: Tag(0) };
        for id in to {
            match self.port(id).and_then(|port| port.vlan.leave(vlan)) {
                None => continue,
                Some(Form::Untagged) => {}
                Some(Form::Tagged) => forward.tagged.insert(id),
            }
            forward.to.insert(id);
        }
        if !forward.to.is_empty() && !self.mirrored.is_empty() {
            forward.mirror = self.mirrors(from, forward.to);
        }
        if let Some(vlan) = vlan {
            // Priority, and whether it may be dropped first.
            let class = came.map_or(0, |tag| tag.0 & 0xf000);
            forward.tag = Tag(class | vlan.number());
            forward.tagged = forward.tagged | forward.mirror;
        }
        forward
    }

    /// Takes out the ports that have got as much as they may.
    fn limit(&mut self, now: u64, mut forward: Forward, cost: u64) -> Forward {
        for id in (forward.to | forward.mirror) & self.limited {
            let Some(port) = self.port_mut(id) else { continue };
            let Some(limit) = &mut port.receives else { continue };
            if limit.is_open(now) {
                limit.take(cost);
            } else {
                port.counters.drop(Reason::ReceiveLimit);
                for set in [&mut forward.to, &mut forward.mirror, &mut forward.tagged] {
                    set.remove(id);
                }
            }
        }
        forward
    }
}
