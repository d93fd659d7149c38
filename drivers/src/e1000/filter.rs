//! Which frames the card takes: its own, those to everybody, and what is asked for (SDM 3.2.1 and 13.5).
use super::registers::{MTA, RCTL, Window, rctl};
use net::frame::Mac;
use net::nic::Filter;

/// What is in the registers.
pub(super) struct Filters {
    control: u32,
    groups: [u32; 128],
}

impl Filters {
    /// Those of a card that was reset.
    pub fn new() -> Self {
        Self { control: 0, groups: [0; 128] }
    }

    /// Puts into the registers what differs. Where `RCTL` is written, QEMU's 82540EM takes nothing for a second; so it is
    /// written only if it has to be, and groups are chosen by the table.
    pub fn apply(&mut self, window: &Window, filter: &Filter) {
        let mut groups = [0; 128];
        for mac in &filter.groups {
            let hash = hash(*mac);
            groups[usize::from(hash / 32)] |= 1 << (hash % 32);
        }
        for (i, (old, new)) in self.groups.iter_mut().zip(groups).enumerate() {
            if *old != new {
                window.write(MTA + i as u64 * 4, new);
                *old = new;
            }
        }
        let all = if filter.promiscuous { rctl::UPE | rctl::MPE } else { 0 };
        let all_groups = if filter.all_groups { rctl::MPE } else { 0 };
        let always = rctl::EN | rctl::LPE | rctl::BAM | rctl::BSIZE_4096 | rctl::SECRC;
        let control = always | all | all_groups;
        if core::mem::replace(&mut self.control, control) != control {
            window.write(RCTL, control);
        }
    }
}

/// A group's bit in the table: bits 47 to 36 of its address, where bit 0 is the first on the wire (SDM 13.5.1, MO 00b).
fn hash(mac: Mac) -> u16 {
    let [.., low, high] = mac.0;
    u16::from_le_bytes([low, high]) >> 4
}
