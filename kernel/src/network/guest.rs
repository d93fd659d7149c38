//! A VM's card on a network.
use super::memory::DirectMemory;
use super::moving::retagged;
use super::network::{Network, Outlet, Taken};
use super::waiting::{Passage, Waiting};
use alloc::string::ToString;
use alloc::sync::Arc;
use mgmt::config::NicConfig;
use mgmt::shell::node::PortOwner;
use net::frame::{Headers, Mac, Tag};
use net::nic::{Done, Frame};
use net::switch::{PortConfig, PortError, PortId, PortKind, Rate, Reason, Vlan};
use net::{flow, offload};
use vmm::virtio::net::{Delivery, Port, Wire};

/// Frames a second that a guest may send to groups and to everybody, and at once.
const GROUPS: Rate = Rate { per_second: 2000, burst: 2000 };
/// The part of a second in which a guest with a limit may send what it has not sent before, and bytes that it may in any
/// case: two of the longest frames.
const BURST: u64 = 50;
const LEAST_BURST: u64 = 128 << 10;

/// Frames that may wait for a guest, of each who has sent some: so that its sender has room in his ring for others.
const MOST_WAITING: usize = 64;

/// A guest, from the network's side.
pub struct Guest {
    pub(super) port: Arc<Port>,
    pub(super) waiting: Waiting,
}

/// What a VM's card is plugged into. The port of the network is free again when this is dropped.
pub struct GuestWire {
    network: Arc<Network>,
    guest: Arc<Guest>,
    id: PortId,
}

impl Guest {
    /// Copies a frame to the guest, or lets it wait until there is room.
    #[inline]
    pub(super) fn take(&self, passage: &Passage<'_>, done: &mut Option<Done>) -> Result<Taken, Reason> {
        if !self.waiting.is_some() {
            match to_guest(&self.port, passage.frame, passage.headers, passage.tag) {
                Err(Reason::NoRoom) => {}
                result => return result.map(|()| Taken::Done),
            }
        }
        match self.waiting.hold(passage, done, MOST_WAITING) {
            Some(true) => self.drain(),
            Some(false) => {}
            None => return Err(Reason::NoRoom),
        }
        Ok(Taken::Waits)
    }

    /// There may be room for what waits.
    fn drain(&self) {
        self.waiting.drain(|held| to_guest(&self.port, &held.frame(), &held.headers, held.tag));
    }
}

impl GuestWire {
    /// Takes a port of `network` for a guest that is reached by `port`, as the operator wants its card `nic` to be.
    ///
    /// # Errors
    /// Why it can't have one.
    pub fn plug(
        network: &Arc<Network>,
        config: &NicConfig,
        port: &Arc<Port>,
        (vm, nic): (&str, usize),
    ) -> Result<Arc<Self>, PortError> {
        let kind = PortKind::Guest {
            mac: config.mac,
            allow_any_mac: config.any_mac,
            addresses: (!config.addresses.is_empty()).then(|| config.addresses.clone()),
        };
        let limit = config.limit.map(|bits| {
            let per_second = (bits / 8).clamp(1, Rate::MOST);
            Rate { per_second, burst: (per_second / BURST).clamp(LEAST_BURST, Rate::MOST_BURST) }
        });
        let vlan = network.config.vlan.map_or(Vlan::None, Vlan::Access);
        let config = PortConfig {
            vlan,
            send_limit: limit,
            receive_limit: limit,
            groups_limit: Some(GROUPS),
            ..PortConfig::new(kind)
        };
        let guest = Arc::new(Guest { port: port.clone(), waiting: Waiting::default() });
        let owner = PortOwner::Vm { vm: vm.to_string(), nic };
        let id = network.attach(config, Outlet::Guest(guest.clone()), owner)?;
        Ok(Arc::new(Self { network: network.clone(), guest, id }))
    }
}

impl Wire for GuestWire {
    #[inline]
    fn transmit(&self, frame: &Frame<'_>, headers: &Headers, done: Done) {
        self.network.carry(self.id, frame, headers, Some(done));
    }

    fn malformed(&self) {
        self.network.malformed(self.id, 0);
    }

    #[inline]
    fn start(&self) {
        self.network.flush();
    }

    fn room(&self) {
        self.guest.drain();
    }

    /// A network inside the node is always there; one with uplinks while one of them is.
    fn is_up(&self) -> bool {
        self.network.is_up()
    }

    fn set_mac(&self, mac: Mac) -> bool {
        self.network.set_mac(self.id, mac)
    }

    fn set_promiscuous(&self, _on: bool) {
        // A guest gets what is sent to it, or with `any_mac` all there is: what it wants of that its card filters.
    }

    fn driver(&self, works: bool) {
        self.network.set_up(self.id, works);
        if !works {
            self.leave();
        }
    }
}

impl GuestWire {
    /// Drops what waits for the guest, and what it has sent and waits for others.
    fn leave(&self) {
        self.guest.waiting.flush();
        self.network.forget(self.id);
    }
}

impl Drop for GuestWire {
    fn drop(&mut self) {
        self.network.detach(self.id);
        self.leave();
    }
}

/// Copies a frame to a guest, with this tag, after doing what its driver leaves to others.
fn to_guest(port: &Port, frame: &Frame<'_>, headers: &Headers, tag: Option<Tag>) -> Result<(), Reason> {
    let flow = flow::of(headers);
    let vlan = tag.and_then(|tag| tag.vlan()).map(|vlan| vlan.number());
    let give = |frame: &Frame<'_>| match retagged(frame, tag, |frame| port.receive(frame, flow, vlan)) {
        // It is there, and wants no such frame: a card's filter, no loss.
        Delivery::Done | Delivery::Unwanted => Ok(()),
        Delivery::Unable => Err(Reason::Gone),
        Delivery::NoRoom => Err(Reason::NoRoom),
    };
    if port.abilities().suffice(frame) {
        return give(frame);
    }
    let mut result = Ok(());
    let done = offload::finish(frame, headers, &DirectMemory, |piece| {
        let given = give(piece);
        if result.is_ok() {
            result = given;
        }
    });
    if done { result } else { Err(Reason::Malformed) }
}
