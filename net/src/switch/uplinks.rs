//! Which uplink is in use.
use super::port::{Kind, Port};
use super::{PortId, Switch};

impl Switch {
    /// Chooses anew: of those that are up, one of the highest priority; of these, the one in use before others.
    ///
    /// What was learned is behind whichever uplink is in use, so nothing has to move.
    pub(super) fn choose_uplink(&mut self) {
        let priority = |id: PortId| match self.ports[id.index()] {
            Some(Port { kind: Kind::Uplink { priority }, .. }) => priority,
            _ => 0,
        };
        let before = self.active;
        let rank = |&id: &PortId| (priority(id), before == Some(id), usize::MAX - id.index());
        self.active = (self.uplinks & self.up).into_iter().max_by_key(rank);
        if self.active == before {
            return;
        }
        self.live = self.live - self.uplinks;
        if let Some(active) = self.active {
            self.live.insert(active);
            self.pending.all(self.live - self.uplinks);
        }
    }
}
