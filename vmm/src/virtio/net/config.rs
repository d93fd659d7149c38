//! What the guest is told of a card (virtio 1.2, 5.1.3 and 5.1.4).
use net::frame::Mac;

/// Feature bits.
pub(super) mod feature {
    /// The guest may leave checksums to be computed.
    pub const CSUM: u64 = 1 << 0;
    /// It takes frames with checksums left to be computed.
    pub const GUEST_CSUM: u64 = 1 << 1;
    /// It is told the MTU.
    pub const MTU: u64 = 1 << 3;
    /// It is told its address.
    pub const MAC: u64 = 1 << 5;
    /// It takes frames that are still to be cut.
    pub const GUEST_TSO4: u64 = 1 << 7;
    pub const GUEST_TSO6: u64 = 1 << 8;
    pub const GUEST_ECN: u64 = 1 << 9;
    /// It may leave frames to be cut.
    pub const HOST_TSO4: u64 = 1 << 11;
    pub const HOST_TSO6: u64 = 1 << 12;
    pub const HOST_ECN: u64 = 1 << 13;
    /// A frame may lie in several of its buffers.
    pub const MRG_RXBUF: u64 = 1 << 15;
    /// It is told whether the link is up.
    pub const STATUS: u64 = 1 << 16;
    /// There is a control queue.
    pub const CTRL_VQ: u64 = 1 << 17;
    /// By which it says what it wants to receive,
    pub const CTRL_RX: u64 = 1 << 18;
    /// of which VLANs,
    pub const CTRL_VLAN: u64 = 1 << 19;
    /// (and whether by other kinds of addresses),
    pub const CTRL_RX_EXTRA: u64 = 1 << 20;
    /// how many pairs of queues it uses,
    pub const MQ: u64 = 1 << 22;
    /// and what its address is.
    pub const CTRL_MAC_ADDR: u64 = 1 << 23;
}

/// A card's configuration.
pub(super) struct Layout {
    pub mac: Mac,
    pub mtu: u16,
    pub pairs: u16,
}

impl Layout {
    pub fn features(&self) -> u64 {
        use feature::*;
        let always = CSUM
            | GUEST_CSUM
            | MTU
            | MAC
            | GUEST_TSO4
            | GUEST_TSO6
            | GUEST_ECN
            | HOST_TSO4
            | HOST_TSO6
            | HOST_ECN
            | MRG_RXBUF
            | STATUS
            | CTRL_VQ
            | CTRL_RX
            | CTRL_VLAN
            | CTRL_RX_EXTRA
            | CTRL_MAC_ADDR;
        always | if self.pairs > 1 { MQ } else { 0 }
    }

    pub fn byte(&self, offset: u32, up: bool) -> u8 {
        let [mtu, pairs] = [self.mtu, self.pairs].map(u16::to_le_bytes);
        let status = [u8::from(up), 0];
        let all = self.mac.0.into_iter().chain(status).chain(pairs).chain(mtu);
        all.into_iter().nth(offset as usize).unwrap_or(0)
    }
}
