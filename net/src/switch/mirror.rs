//! Ports that get copies of what others send and get.
use super::{PortId, Ports, Switch};
use core::fmt;

/// Why a port can't get copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorError {
    /// It is not attached.
    Detached,
    /// It is an uplink, from which they would go outside.
    Uplink,
    /// They would be its own.
    Itself,
}

impl fmt::Display for MirrorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detached => "the switch has no such port to copy to",
            Self::Uplink => "copies can't go to an uplink: choose a guest's port",
            Self::Itself => "a port can't get copies of its own frames: choose others",
        })
    }
}

impl Switch {
    /// From now on `to` gets a copy of each frame that one of `of` sends or gets, of all VLANs, and of no others. The copy
    /// has a tag where its frame is in a VLAN.
    ///
    /// # Errors
    /// It can't; all stays as it was.
    pub fn mirror(&mut self, of: Ports, to: PortId) -> Result<(), MirrorError> {
        if self.port(to).is_none() {
            return Err(MirrorError::Detached);
        }
        if self.uplinks.contains(to) && !of.is_empty() {
            return Err(MirrorError::Uplink);
        }
        if of.contains(to) {
            return Err(MirrorError::Itself);
        }
        for id in self.ports() {
            if let Some(port) = self.port_mut(id) {
                port.mirrors.set(to, of.contains(id));
                let is_mirrored = !port.mirrors.is_empty();
                self.mirrored.set(id, is_mirrored);
            }
        }
        Ok(())
    }

    /// Of which ports `to` gets copies.
    pub fn mirrored_by(&self, to: PortId) -> Ports {
        let is_source = |&id: &PortId| self.port(id).is_some_and(|port| port.mirrors.contains(to));
        self.mirrored.into_iter().filter(is_source).collect()
    }

    /// Who gets a copy of a frame that goes from one port to these.
    pub(super) fn mirrors(&self, from: PortId, to: Ports) -> Ports {
        let parties = Ports::of(from) | to;
        let copies = (self.mirrored & parties)
            .into_iter()
            .filter_map(|id| self.port(id))
            .fold(Ports::EMPTY, |copies, port| copies | port.mirrors);
        (copies & self.live) - parties
    }
}
