//! What the guest asks of its card beside frames: the control queue (virtio 1.2, 5.1.6.5).
use super::Shared;
use super::receive::MOST_GROUPS;
use crate::memory::Scatter;
use crate::virtio::queue::{Broken, Chain, Service, Virtqueue};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use net::frame::Mac;

/// Classes of commands, and the commands of each.
const RX: u8 = 0;
const RX_PROMISC: u8 = 0;
const RX_ALLMULTI: u8 = 1;
const RX_NOMULTI: u8 = 3;
const RX_NOUNI: u8 = 4;
const RX_NOBCAST: u8 = 5;
const RX_ALLUNI: u8 = 2;
const MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;
const VLAN: u8 = 2;
const VLAN_ADD: u8 = 0;
const VLAN_DEL: u8 = 1;
const MQ: u8 = 4;
const MQ_VQ_PAIRS_SET: u8 = 0;

/// What a command is answered.
const OK: u8 = 0;
const ERR: u8 = 1;

/// Most addresses of a table that are read.
const MOST_ADDRESSES: u32 = 4096;

/// The control queue.
pub(super) struct Commands {
    shared: Arc<Shared>,
    queue: Arc<Virtqueue>,
    pairs: u16,
}

impl Commands {
    pub fn new(shared: &Arc<Shared>, queue: Arc<Virtqueue>, pairs: u16) -> Self {
        Self { shared: shared.clone(), queue, pairs }
    }

    pub fn serve(&self) {
        self.queue.serve(self);
    }

    /// Carries a command out; `None` where it can't be.
    fn carry_out(&self, data: &mut Scatter) -> Option<()> {
        let [class, command] = take(data)?;
        let port = &self.shared.port;
        match (class, command) {
            (RX, _) => {
                let [on] = take(data)?;
                let on = match on {
                    0 => false,
                    1 => true,
                    _ => return None,
                };
                if command == RX_PROMISC {
                    self.shared.wire.set_promiscuous(on);
                }
                port.change_wanted(|wanted| {
                    let switch = match command {
                        RX_PROMISC => &mut wanted.promiscuous,
                        RX_ALLMULTI => &mut wanted.all_groups,
                        RX_NOMULTI => &mut wanted.no_groups,
                        RX_NOUNI => &mut wanted.no_own,
                        RX_NOBCAST => &mut wanted.no_broadcast,
                        // No others come than its own, unless it is promiscuous.
                        RX_ALLUNI => return Some(()),
                        _ => return None,
                    };
                    *switch = on;
                    Some(())
                })
            }
            (MAC, MAC_TABLE_SET) => {
                // First those of stations, which nobody sends to this card but by its own address.
                self.table(data)?;
                let groups = self.table(data)?;
                port.change_wanted(|wanted| {
                    // By default all come. Who names some wants no others.
                    wanted.all_groups = groups.is_none();
                    wanted.groups = groups.unwrap_or_default();
                });
                Some(())
            }
            (MAC, MAC_ADDR_SET) => {
                let mac = net::frame::Mac(take(data)?);
                (mac.is_station() && self.shared.wire.set_mac(mac)).then_some(())
            }
            (VLAN, VLAN_ADD | VLAN_DEL) => {
                let id = u16::from_le_bytes(take(data)?);
                let word = usize::from(id / 64);
                let bit = 1 << (id % 64);
                port.change_wanted(|wanted| {
                    let vlans = wanted.vlans.get_or_insert_with(|| Box::new([0; 64]));
                    let word = vlans.get_mut(word)?;
                    if command == VLAN_ADD {
                        *word |= bit
                    } else {
                        *word &= !bit
                    }
                    Some(())
                })
            }
            (MQ, MQ_VQ_PAIRS_SET) => {
                let pairs = u16::from_le_bytes(take(data)?);
                if pairs == 0 || pairs > self.pairs {
                    return None;
                }
                port.set_pairs(pairs);
                Some(())
            }
            _ => None,
        }
    }

    /// A table of addresses: a number of 32 bits, then so many. `Some(None)` if they are more than are kept.
    fn table(&self, data: &mut Scatter) -> Option<Option<Vec<Mac>>> {
        let entries = u32::from_le_bytes(take(data)?);
        if entries > MOST_ADDRESSES {
            return None;
        }
        if entries as usize > MOST_GROUPS {
            return data.skip(entries as usize * 6).then_some(None);
        }
        let mut all = Vec::with_capacity(entries as usize);
        for _ in 0..entries {
            all.push(net::frame::Mac(take(data)?));
        }
        Some(Some(all))
    }
}

fn take<const N: usize>(data: &mut Scatter) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    data.take_front(&mut bytes).then_some(bytes)
}

impl Service for Commands {
    fn take(&self, chain: &mut Chain) -> Result<u32, Broken> {
        let done = if chain.readable.too_long() { None } else { self.carry_out(&mut chain.readable) };
        let answer = if done.is_some() { OK } else { ERR };
        let written = chain.writable.write_front(&[answer]) as u32;
        if written == 0 {
            return Err(Broken::Request);
        }
        self.queue.give_back(chain.token, written, |_| ());
        Ok(1)
    }
}
