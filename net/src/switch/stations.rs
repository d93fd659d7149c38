//! Addresses that belong to a port for as long as it is attached, whatever is learned.
use super::PortId;
use crate::frame::Mac;
use alloc::vec::Vec;

/// In the order of their addresses. Several ports have the same one where they have no VLAN in common.
#[derive(Default)]
pub(super) struct Stations(Vec<(Mac, PortId)>);

impl Stations {
    /// The ports that have this address.
    pub(super) fn of(&self, mac: Mac) -> impl Iterator<Item = PortId> + '_ {
        let first = self.0.partition_point(|&(other, _)| other < mac);
        self.0[first..].iter().take_while(move |&&(other, _)| other == mac).map(|&(_, port)| port)
    }

    pub(super) fn insert(&mut self, mac: Mac, port: PortId) {
        let at = self.0.partition_point(|&other| other < (mac, port));
        self.0.insert(at, (mac, port));
    }

    pub(super) fn remove(&mut self, port: PortId) {
        self.0.retain(|&(_, other)| other != port);
    }
}
