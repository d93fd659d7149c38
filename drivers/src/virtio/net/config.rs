//! What a device can do, and says of itself (virtio 1.2, 5.1.3 and 5.1.4).
use crate::virtio::VirtioError;
use crate::virtio::handshake::feature::{EVENT_INDEX, VERSION_1};
use crate::virtio::transport::Transport;
use net::frame::{Ethernet, Mac, Tag};
use net::nic::Abilities;

/// Features.
pub(super) mod feature {
    pub const CHECKSUM: u64 = 1 << 0;
    pub const GUEST_CHECKSUM: u64 = 1 << 1;
    pub const MTU: u64 = 1 << 3;
    pub const MAC: u64 = 1 << 5;
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const HOST_ECN: u64 = 1 << 13;
    pub const MERGED_BUFFERS: u64 = 1 << 15;
    pub const STATUS: u64 = 1 << 16;
    pub const CONTROL: u64 = 1 << 17;
    pub const CONTROL_RECEIVE: u64 = 1 << 18;
    pub const QUEUE_PAIRS: u64 = 1 << 22;
}

/// Where there is nothing else to go by.
const MTU: u16 = 1500;
/// What is made of more.
const MOST_MTU: u16 = 9000;
/// What IPv4 asks for at least (RFC 791), and virtio too.
const LEAST_MTU: u16 = 68;

/// The device's own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub mac: Mac,
    pub has_link: bool,
    pub pairs: u16,
    pub mtu: u16,
}

impl Config {
    /// Reads it; what it holds without the feature for it is not meant.
    pub fn read(transport: &Transport, features: u64) -> Self {
        let (mac, [status, pairs, mtu]) = transport.read_own_fields::<6, 3>();
        let has = |feature| features & feature != 0;
        Self {
            mac: if has(feature::MAC) { Mac(mac) } else { Mac::NONE },
            has_link: !has(feature::STATUS) || status & 1 != 0,
            pairs: if has(feature::QUEUE_PAIRS) { pairs } else { 1 },
            mtu: if has(feature::MTU) { mtu.min(MOST_MTU) } else { MTU },
        }
    }

    /// Refuses what no device is.
    pub fn check(&self) -> Result<(), VirtioError> {
        if !self.mac.is_station() {
            return Err(VirtioError::Unfit("it has no address of its own: let the hypervisor give it one"));
        }
        if self.mtu < LEAST_MTU {
            return Err(VirtioError::Unfit("its packets are shorter than 68 bytes"));
        }
        Ok(())
    }

    /// Most bytes of a frame that is not to be cut.
    pub fn longest(&self) -> usize {
        usize::from(self.mtu) + Ethernet::SIZE + Tag::SIZE
    }

    /// What the card can do with `features` and so many pairs of queues.
    pub fn abilities(&self, features: u64, queues: u16) -> Abilities {
        let has = |feature| features & feature != 0;
        Abilities {
            mtu: self.mtu,
            checksum: has(feature::CHECKSUM),
            tcp4: has(feature::HOST_TSO4),
            tcp6: has(feature::HOST_TSO6),
            verifies: has(feature::GUEST_CHECKSUM),
            queues,
        }
    }
}

/// What this driver makes use of, of what a device offers. `pairs`: more than one pair of queues would be used.
pub(super) fn choose(offered: u64, pairs: bool) -> u64 {
    let has = |features| offered & features == features;
    let mut wanted = VERSION_1
        | EVENT_INDEX
        | feature::MAC
        | feature::MTU
        | feature::STATUS
        | feature::CHECKSUM
        | feature::GUEST_CHECKSUM
        | feature::MERGED_BUFFERS;
    // What asks for others is not taken without them (5.1.3.1).
    if has(feature::CHECKSUM) {
        wanted |= feature::HOST_TSO4 | feature::HOST_TSO6;
        if offered & (feature::HOST_TSO4 | feature::HOST_TSO6) != 0 {
            wanted |= feature::HOST_ECN;
        }
    }
    // Frames of 64 KiB only in several buffers: one for each would cost megabytes.
    if has(feature::GUEST_CHECKSUM | feature::MERGED_BUFFERS) {
        wanted |= feature::GUEST_TSO4 | feature::GUEST_TSO6;
    }
    if has(feature::CONTROL | feature::CONTROL_RECEIVE) {
        wanted |= feature::CONTROL | feature::CONTROL_RECEIVE;
    }
    if has(feature::CONTROL | feature::QUEUE_PAIRS) && pairs {
        wanted |= feature::CONTROL | feature::QUEUE_PAIRS;
    }
    offered & wanted
}
