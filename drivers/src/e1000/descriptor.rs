//! Descriptors: two words of 64 bits each (SDM 3.2.3 and 3.3; 82574 datasheet 7.1.4 and 7.2.10).

/// Bytes of one.
pub(super) const SIZE: usize = 16;

/// DEXT: not a legacy transmit descriptor.
const EXTENDED: u64 = 1 << 29;
/// DTYP of a data descriptor; 0 is that of a context.
const DATA: u64 = 1 << 20;

/// Command and status of a data descriptor (SDM 3.3.7), in its second word.
pub(super) mod command {
    pub const EOP: u64 = 1 << 24;
    pub const IFCS: u64 = 1 << 25;
    pub const TSE: u64 = 1 << 26;
    pub const RS: u64 = 1 << 27;
    pub const DD: u64 = 1 << 32;
    /// POPTS: the IP header's checksum is to be inserted.
    pub const IXSM: u64 = 1 << 40;
    /// POPTS: that of TCP or UDP is.
    pub const TXSM: u64 = 1 << 41;
}

/// The second word of a data descriptor; the first is the data's address.
pub(super) fn data(bytes: usize, commands: u64) -> u64 {
    bytes as u64 | DATA | EXTENDED | command::IFCS | commands
}

/// What checksums and segmentation go by (SDM 3.3.6), as the words of its descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub words: [u64; 2],
}

/// How TCP is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// Where the IP header begins, and whether it is of version 4.
    pub network: u8,
    pub v4: bool,
    /// Bytes of all headers, of the whole payload, and of that of a segment.
    pub headers: u8,
    pub payload: u32,
    pub segment: u16,
}

impl Context {
    /// The checksum of what is from `start` to the frame's end goes to `at`.
    pub fn new(start: u8, at: u8, tcp: bool, cut: Option<Cut>) -> Self {
        const TCP: u64 = 1 << 24;
        const IP: u64 = 1 << 25;
        const TSE: u64 = 1 << 26;
        let mut first = u64::from(start) << 32 | u64::from(at) << 40;
        let mut second = EXTENDED | if tcp { TCP } else { 0 };
        if let Some(cut) = cut {
            let network = u64::from(cut.network);
            first |= network;
            if cut.v4 {
                // Its checksum lies 10 bytes into its header, which ends where TCP's begins.
                first |= (network + 10) << 8 | (u64::from(start) - 1) << 16;
                second |= IP;
            }
            second |= TSE | u64::from(cut.payload & 0xf_ffff);
            second |= u64::from(cut.headers) << 40 | u64::from(cut.segment) << 48;
        }
        Self { words: [first, second] }
    }
}

/// What the device says of a received buffer: the second word of a legacy receive descriptor (SDM 3.2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received(pub u64);

impl Received {
    const DD: u64 = 1 << 32;
    const EOP: u64 = 1 << 33;
    const IXSM: u64 = 1 << 34;
    const TCPCS: u64 = 1 << 37;
    /// CE, SE, SEQ, CXE and RXE.
    const DAMAGE: u64 = 0x97 << 40;
    const TCPE: u64 = 1 << 45;
    const IPE: u64 = 1 << 46;

    /// The device has filled it.
    pub fn is_done(self) -> bool {
        self.0 & Self::DD != 0
    }

    /// The frame ends in it.
    pub fn is_last(self) -> bool {
        self.0 & Self::EOP != 0
    }

    /// Bytes, as the device says.
    pub fn bytes(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    /// Of a frame's last: it came damaged.
    pub fn is_damaged(self) -> bool {
        self.0 & Self::DAMAGE != 0
    }

    /// Of a frame's last: the checksum of TCP or UDP was looked at and found right.
    pub fn is_verified(self) -> bool {
        self.0 & (Self::IXSM | Self::TCPCS | Self::TCPE | Self::IPE) == Self::TCPCS
    }
}
