//! A VM's card on a network.
use super::network::{Network, Outlet};
use alloc::string::ToString;
use alloc::sync::Arc;
use mgmt::config::NicConfig;
use mgmt::shell::node::PortOwner;
use net::frame::{Headers, Mac};
use net::nic::{Done, Frame};
use net::switch::{PortConfig, PortError, PortId, PortKind, Rate, Vlan};
use vmm::virtio::net::{Port, Wire};

/// Frames a second that a guest may send to groups and to everybody, and at once.
const GROUPS: Rate = Rate { per_second: 2000, burst: 2000 };
/// The part of a second in which a guest with a limit may send what it has not sent before, and bytes that it may in any
/// case: two of the longest frames.
const BURST: u64 = 50;
const LEAST_BURST: u64 = 128 << 10;

/// What a VM's card is plugged into. The port of the network is free again when this is dropped.
pub struct GuestWire {
    network: Arc<Network>,
    id: PortId,
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
        let id =
            network.attach(config, Outlet::Guest(port.clone()), PortOwner::Vm { vm: vm.to_string(), nic })?;
        Ok(Arc::new(Self { network: network.clone(), id }))
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
    }
}

impl Drop for GuestWire {
    fn drop(&mut self) {
        self.network.detach(self.id);
    }
}
