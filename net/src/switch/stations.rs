//! Addresses that belong to a port for as long as it is attached, whatever is learned.
use super::PortId;
use crate::frame::Mac;
use alloc::vec::Vec;

/// In the order of their addresses. Several ports have the same one where they have no VLAN in common.
#[derive(Default)]
pub(super) struct Stations(Vec<(u64, PortId)>);

/// Compared in one instruction.
fn key(mac: Mac) -> u64 {
    let [a, b, c, d, e, f] = mac.0;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Stations {
    /// The ports that have this address.
    pub(super) fn of(&self, mac: Mac) -> impl Iterator<Item = PortId> + '_ {
        let key = key(mac);
        let first = self.0.partition_point(|&(other, _)| other < key);
        self.0[first..].iter().take_while(move |&&(other, _)| other == key).map(|&(_, port)| port)
    }

    pub(super) fn insert(&mut self, mac: Mac, port: PortId) {
        let station = (key(mac), port);
        let at = self.0.partition_point(|&other| other < station);
        self.0.insert(at, station);
    }

    pub(super) fn remove(&mut self, port: PortId) {
        self.0.retain(|&(_, other)| other != port);
    }
}
