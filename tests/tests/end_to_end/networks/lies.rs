//! Frames that nobody should send, each with the reason by which it is to be dropped.
use std::net::Ipv6Addr;
use tests::frames::{
    ARP, ETHERNET, EVERYBODY, IPV4, IPV6, Mac, Station, arp, ethernet, neighbour_advertisement, tagged, tcp,
    udp, who_has,
};

/// A frame, and what is said of it in the header of virtio before it.
pub struct Lie {
    pub says: &'static str,
    pub reason: &'static str,
    pub header: Vec<u8>,
    pub frame: Vec<u8>,
}

impl Lie {
    pub fn new(says: &'static str, reason: &'static str, frame: Vec<u8>) -> Self {
        Self { says, reason, header: vec![0; 12], frame }
    }

    fn headed(self, header: impl Into<Vec<u8>>) -> Self {
        Self { header: header.into(), ..self }
    }
}

/// Names under which drops are counted.
pub const MALFORMED: &str = "malformed";
pub const TAKEN: &str = "another port's MAC address";
pub const CONTROL: &str = "bridges' control frames";
pub const OTHER_VLAN: &str = "other VLAN";
pub const TOO_LONG: &str = "longer than the MTU";
pub const NOBODY: &str = "for nobody here";
pub const GROUPS: &str = "too many broadcasts";

/// `bytes` from `at` on are others.
fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

/// `frame`'s first `bytes`.
fn cut(frame: &[u8], bytes: usize) -> Vec<u8> {
    frame[..bytes].to_vec()
}

/// Frames that contradict themselves, on a network of packets of 1500 bytes, from anybody to anybody.
pub fn malformed(to: Station, from: Station) -> Vec<Lie> {
    let (good, segment) = (udp(to, from, 9, &[7; 64]), tcp(to, from, &[7; 64]));
    let lie = |says, frame| Lie::new(says, MALFORMED, frame);
    let packet = |ether_type, bytes: &[u8]| ethernet(to.mac, from.mac, ether_type, bytes);
    // Version 6, a payload longer than the frame, UDP, hop limit; from and to nobody.
    let short_v6 = [&[0x60, 0, 0, 0, 0xff, 0xff, 17, 64][..], &[0xfd; 32], &[0; 20]].concat();
    vec![
        lie("its source is a group", with(good.clone(), 6, &[3, 0, 0, 0, 0, 9])),
        lie("its source is nobody", with(good.clone(), 6, &[0; 6])),
        lie("IPv4 that says it is version 5", with(good.clone(), ETHERNET, &[0x55])),
        lie("an IPv4 header of 16 bytes", with(good.clone(), ETHERNET, &[0x44])),
        lie("an IPv4 header longer than the packet", with(good.clone(), ETHERNET + 2, &[0, 19])),
        lie("an IPv4 packet longer than the frame", with(good.clone(), ETHERNET + 2, &[0xff, 0xff])),
        lie("a wrong checksum in IPv4's header", with(good.clone(), ETHERNET + 10, &[0xba, 0xad])),
        lie("a UDP datagram of 7 bytes", with(good.clone(), ETHERNET + 24, &[0, 7])),
        lie("a UDP datagram longer than its packet", with(good.clone(), ETHERNET + 24, &[1, 0])),
        lie("a TCP header of 16 bytes", with(segment.clone(), ETHERNET + 32, &[0x40])),
        lie("a TCP header longer than its packet", with(tcp(to, from, &[]), ETHERNET + 32, &[0xf0])),
        lie("IPv6 longer than the frame", packet(IPV6, &short_v6)),
        lie("IPv6 that says it is version 4", packet(IPV6, &with(short_v6.clone(), 0, &[0x40]))),
        lie("a tag behind a tag", tagged(&tagged(&good, 10), 20)),
    ]
}

/// Frames that no cable carries, or that are cut: a card outside pads them, which makes others of them.
pub fn runts(to: Station, from: Station) -> Vec<Lie> {
    let good = udp(to, from, 9, &[7; 64]);
    let lie = |says, frame| Lie::new(says, MALFORMED, frame);
    vec![
        lie("no frame at all", vec![]),
        lie("a frame of a byte", cut(&good, 1)),
        lie("Ethernet's header without its last byte", cut(&good, ETHERNET - 1)),
        lie("IPv4's header without its last byte", cut(&good, ETHERNET + 19)),
        lie("half of UDP's header", cut(&good, ETHERNET + 24)),
        lie("half of an ARP message", cut(&who_has(to.ip, from), ETHERNET + 14)),
        lie("not even virtio's header", vec![]).headed([0; 5]),
        lie("no header and no frame, in one byte", vec![]).headed([0; 1]),
    ]
}

/// Frames that are too long for a network of packets of 1500 bytes.
pub fn too_long(to: Station, from: Station) -> Vec<Lie> {
    let length = |packet: usize| udp(to, from, 9, &vec![7; packet - 28]);
    vec![
        Lie::new("a packet of 1501 bytes", TOO_LONG, length(1501)),
        Lie::new("a packet of 9000 bytes", TOO_LONG, length(9000)),
        Lie::new("a frame to be cut into packets of 9000 bytes", TOO_LONG, tcp(to, from, &[7; 30_000]))
            .headed(offload(1, 1, 54, 8960, 34, 16)),
    ]
}

/// `virtio_net_hdr`: flags, kind of segmentation, bytes of headers, payload of a piece, checksum's start and offset
/// (virtio 1.2, 5.1.6).
fn offload(flags: u8, kind: u8, headers: u16, piece: u16, start: u16, offset: u16) -> Vec<u8> {
    let words = [headers, piece, start, offset, 0].map(u16::to_le_bytes);
    [&[flags, kind][..], words.as_flattened()].concat()
}

/// What a driver can lie about a good frame.
pub fn headers_lie(to: Station, from: Station) -> Vec<Lie> {
    let (datagram, segment) = (udp(to, from, 9, &[7; 64]), tcp(to, from, &[7; 3000]));
    let checksum = |says, start, offset| {
        Lie::new(says, MALFORMED, datagram.clone()).headed(offload(1, 0, 0, 0, start, offset))
    };
    let cut = |says, flags, kind, piece, start| {
        Lie::new(says, MALFORMED, segment.clone()).headed(offload(flags, kind, 54, piece, start, 16))
    };
    let of_udp = Lie::new("TCP segments to be cut out of UDP", MALFORMED, datagram.clone());
    let of_arp = Lie::new("a checksum for ARP", MALFORMED, who_has(to.ip, from));
    vec![
        checksum("a checksum of all, over a MAC address", 0, 0),
        checksum("a checksum over the frame's type", 12, 0),
        checksum("a checksum over IPv4's source address", 14, 12),
        checksum("a checksum in front of what it sums", 26, 0),
        checksum("a checksum that begins behind the frame", 2000, 6),
        checksum("a checksum that lies behind the frame", 34, 2000),
        checksum("a checksum half behind the frame", 34, 14 + 20 + 8 + 64 - 34 - 1),
        checksum("a checksum at the end of all numbers", 0xffff, 0xffff),
        of_arp.headed(offload(1, 0, 0, 0, 14, 6)),
        of_udp.headed(offload(1, 1, 42, 32, 34, 6)),
        cut("pieces of no bytes", 1, 1, 0, 34),
        cut("pieces without a checksum", 0, 1, 1000, 34),
        cut("pieces with a checksum in their payload", 1, 1, 1000, 60),
        cut("UDP to be cut, which was not offered", 1, 3, 1000, 34),
        cut("a kind of segments that nobody knows", 1, 0x7f, 1000, 34),
        cut("IPv4 to be cut as IPv6", 1, 4, 1000, 34),
        Lie::new("a frame of more than 64 KiB", MALFORMED, ethernet(to.mac, from.mac, IPV4, &[0x45; 65_540]))
            .headed(offload(1, 1, 54, 1460, 34, 16)),
    ]
}

/// What a guest may not send in the name of others: `from` is what it is, and has addresses of its own alone.
pub fn spoofed(to: Station, from: Station, other: Station) -> Vec<Lie> {
    let as_other = Station { ip: other.ip, ..from };
    let told = |mac: Mac, sender: Station| ethernet(to.mac, mac, ARP, &arp(2, sender, to.mac, to.ip));
    let v6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
    vec![
        Lie::new("another's MAC address", "foreign MAC address", udp(to, other, 9, b"x")),
        Lie::new("a MAC address of nobody", "foreign MAC address", {
            udp(to, Station { mac: [2, 9, 9, 9, 9, 9], ..from }, 9, b"x")
        }),
        Lie::new("another's MAC address, said by ARP", "claimed MAC address", told(from.mac, other)),
        Lie::new("another's address of IPv4, said by ARP", "claimed IP address", told(from.mac, as_other)),
        Lie::new(
            "another's address of IPv4, asked for by ARP",
            "claimed IP address",
            who_has(other.ip, as_other),
        ),
        Lie::new(
            "another's address of IPv6",
            "claimed IP address",
            neighbour_advertisement(local, from.mac, v6),
        ),
        Lie::new("from another's address of IPv4", "foreign IP address", udp(to, as_other, 9, b"x")),
        Lie::new(
            "from another's address of IPv6",
            "foreign IP address",
            neighbour_advertisement(v6, from.mac, v6),
        ),
    ]
}

/// Frames that are for others than stations of this network.
pub fn misdirected(to: Station, from: Station) -> Vec<Lie> {
    let good = udp(to, from, 9, b"x");
    let vlan = |says, vlan| Lie::new(says, OTHER_VLAN, tagged(&good, vlan));
    vec![
        vlan("a VLAN that is not its own", 10),
        vlan("a VLAN that nobody may have", 4095),
        Lie::new("a bridge's", CONTROL, ethernet([0x01, 0x80, 0xc2, 0, 0, 0], from.mac, 38, &[0x42; 60])),
        Lie::new("to a station that is not there", NOBODY, with(good.clone(), 0, &[2, 8, 8, 8, 8, 8])),
    ]
}

/// A question of ARP, to all.
pub fn question(from: Station) -> Vec<u8> {
    ethernet(EVERYBODY, from.mac, ARP, &arp(1, from, [0; 6], from.ip))
}
