//! `nic`, `net` and `ping`.

use net::frame::{Arp, ArpOperation, EtherType, Ethernet, Headers, Mac, Tag, VlanId};
use net::nic::{Abilities, Counters, Identity, Link};

use super::*;

const STATION: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);

/// A card at 1 Gbit/s and one without a cable.
pub(super) fn nics() -> Vec<NicInfo> {
    let card = NicInfo {
        identity: Identity { name: "eth0".into(), model: "Intel \x1b[2J".into(), mac: STATION },
        driver: "e1000e",
        place: "00:03.0".into(),
        link: Link { up: true, megabits: 1000, full_duplex: true },
        abilities: Abilities { mtu: 9000, checksum: true, tcp4: true, queues: 2, ..Abilities::default() },
        counters: Counters {
            received: 1234,
            received_bytes: 1 << 20,
            receive_errors: 2,
            receive_missed: 3,
            sent: 5,
            sent_bytes: 500,
            link_changes: 1,
            ..Counters::default()
        },
        networks: vec!["lan".into(), "dmz".into()],
        ..NicInfo::default()
    };
    let identity = Identity { name: "eth1".into(), ..Identity::default() };
    vec![card, NicInfo { identity, driver: "virtio-net", state: "resetting".into(), ..NicInfo::default() }]
}

/// A network with an uplink, a VM and the node, and one with nobody.
pub(super) fn networks() -> Vec<NetworkInfo> {
    let uplink = PortInfo {
        owner: PortOwner::Uplink("eth1".into()),
        mac: None,
        up: true,
        incoming: Traffic { frames: 1000, bytes: 1 << 20 },
        outgoing: Traffic { frames: 7, bytes: 700 },
        drops: vec![("no room", 0), ("malformed", 4)],
        limit: None,
    };
    let vm = PortInfo {
        owner: PortOwner::Vm { vm: "debian".into(), nic: 0 },
        mac: Some(STATION),
        incoming: Traffic { frames: 234, bytes: 2048 },
        drops: vec![("no room", 1200), ("spoofed", 34)],
        limit: Some(250_000_000),
        ..uplink.clone()
    };
    let node = PortInfo { owner: PortOwner::Node, up: false, drops: Vec::new(), ..uplink.clone() };
    let lan = NetworkInfo {
        name: "lan".into(),
        uplinks: vec!["eth0".into(), "eth1".into()],
        active: Some("eth1".into()),
        vlan: VlanId::new(10),
        mtu: 1500,
        ports: vec![uplink, vm, node],
        learned: 12,
        learned_most: 4096,
        ..NetworkInfo::default()
    };
    vec![lan, NetworkInfo { name: "dmz".into(), mtu: 9000, ..NetworkInfo::default() }]
}

#[test]
fn network_cards_are_listed_with_their_links_and_what_moved() {
    assert_eq!(
        answer("nic list"),
        "NAME  DRIVER                 MAC                LINK       MTU     IN  BYTES  OUT  BYTES  ERRORS  NETWORKS\n\
         eth0  e1000e                 52:54:00:00:00:01  1 Gbit/s  9000  1,234  1 MiB    5  500 B       5  lan, dmz\n\
         eth1  virtio-net: resetting  00:00:00:00:00:00  down         0      0    0 B    0    0 B       0  -\n"
    );
}

#[test]
fn nic_info_tells_what_the_card_can_and_what_it_did() {
    let told = answer("nic info eth0");
    for part in [
        "model      Intel  [2J\n",
        "driver     e1000e at 00:03.0\n",
        "link       1 Gbit/s, changed 1 times\n",
        "abilities  makes checksums, cuts TCP over IPv4\n",
        "received   1,234, 1 MiB\n           2 damaged, 3 found no room\n",
        "sent       5, 500 B\n",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    assert_eq!(answer("nic info eth2"), "there is no network card \"eth2\"; did you mean eth0?\n");
}

#[test]
fn nic_info_tells_of_each_socket_what_moved_and_why_frames_were_dropped() {
    let mut node = TestNode::new();
    let queue = |priority, frames, drops| OutgoingInfo {
        priority,
        sent: Traffic { frames, bytes: frames * 1024 },
        waiting: frames / 100,
        drops,
    };
    let socket = SocketInfo {
        name: "clu\nster".into(),
        ether_type: EtherType::EXPERIMENT,
        vlan: None,
        incoming: Traffic { frames: 1500, bytes: 3 << 20 },
        drops: vec![("for another station", 2), ("no handler", 0)],
        outgoing: vec![queue("urgent", 7, vec![]), queue("bulk", 400, vec![("no room", 9), ("no link", 1)])],
    };
    let second = SocketInfo { name: "x".into(), vlan: VlanId::new(7), outgoing: vec![], ..socket.clone() };
    node.nics[0].sockets = vec![socket, second];
    let told = answer_of(&mut node, "nic info eth0");
    let table = "\n\n\
        SOCKET    ETHERTYPE  VLAN  WAY          FRAMES    BYTES  WAITING  DROPPED\n\
        clu ster  0x88b5     -     in            1,500    3 MiB           2 for another station\n";
    assert!(told.contains(table), "{table}\nis not in\n{told}");
    let rows: Vec<_> = told.lines().rev().take(3).map(str::trim_start).collect();
    assert_eq!(
        rows,
        [
            "x         0x88b5     7     in            1,500    3 MiB           2 for another station",
            "out, bulk       400  400 KiB        4  10: 9 no room, 1 no link",
            "out, urgent       7    7 KiB        0",
        ]
    );
}

#[test]
fn a_machine_without_cards_and_networks_says_so() {
    let mut node = TestNode::new();
    node.nics.clear();
    node.networks.clear();
    assert!(answer_of(&mut node, "nic list").starts_with("No network cards: 'pci' shows"));
    assert!(answer_of(&mut node, "net list").starts_with("No networks: purevisor.toml has none"));
    assert_eq!(answer_of(&mut node, "net info"), "which network? usage: net info NAME\n");
}

#[test]
fn networks_are_listed_with_the_uplink_that_is_used() {
    assert_eq!(
        answer("net list"),
        "NAME  UPLINKS     ACTIVE  VLAN   MTU  PORTS  FRAMES\n\
         lan   eth0, eth1  eth1      10  1500      3   2,234\n\
         dmz   -           -          -  9000      0       0\n"
    );
}

#[test]
fn net_info_tells_of_each_port_who_is_there_and_why_frames_were_dropped() {
    let mut node = TestNode::new();
    node.networks[0].mirror = Some(Mirror { from: PortOwner::Node, to: PortOwner::Uplink("eth1".into()) });
    let filter = Filter::parse("udp port 53").expect("it is one");
    node.networks[0].capture = Some(CaptureInfo { running: true, filter, kept: 3, most: 100 });
    assert_eq!(
        answer_of(&mut node, "net info lan"),
        "name       lan\n\
         uplinks    eth0, eth1 (active)\n\
         VLAN       10\n\
         MTU        1500\n\
         addresses  12 learned, 4,096 at most\n\
         mirror     node to eth1\n\
         capture    runs: 3 of 100 frames, udp port 53\n\
         \n\
         PORT      MAC                STATE     IN  BYTES  OUT  BYTES       LIMIT  DROPPED\n\
         eth1      -                  up     1,000  1 MiB    7  700 B           -  4 malformed\n\
         debian/0  52:54:00:00:00:01  up       234  2 KiB    7  700 B  250 Mbit/s  1,234: 1,200 no room, 34 spoofed\n\
         node      -                  down   1,000  1 MiB    7  700 B           -\n"
    );
    assert!(answer("net info dmz").contains("uplinks    none: internal\n"));
    assert!(answer("net info dmz").ends_with("ports      none\n"));
}

#[test]
fn a_mirror_is_between_two_ports_that_are_there() {
    let mut node = TestNode::new();
    for (line, told) in [
        ("net mirror lan debian/0 eth1", "What passes debian/0 goes to eth1 too.\n"),
        ("net mirror lan off", "Nothing is mirrored on lan.\n"),
        ("net mirror lan node node", "a port cannot be mirrored to itself\n"),
        ("net mirror lan debain/0 node", "there is no port \"debain/0\"; did you mean debian/0?\n"),
        ("net mirror lan node x", "there is no port \"x\"; there are: eth1, debian/0, node\n"),
        (
            "net mirror lan node",
            "which ports? usage: net mirror NAME FROM TO, net mirror NAME off; there are: eth1, debian/0, node\n",
        ),
    ] {
        assert_eq!(answer_of(&mut node, line), told);
    }
    assert_eq!(node.orders, ["mirror lan: debian/0 to eth1", "mirror lan: off"]);
}

#[test]
fn a_capture_keeps_what_its_words_say() {
    let mut node = TestNode::new();
    assert_eq!(
        answer_of(&mut node, "net capture lan"),
        "The next 100 frames of lan are kept: all. 'net capture lan show' shows them.\n"
    );
    answer_of(&mut node, "net capture lan port 80 tcp count 5 host fd00::5 not host 52:54:00:00:00:01");
    answer_of(&mut node, "net capture lan stop");
    assert_eq!(
        node.orders,
        [
            "capture lan: all, 100",
            "capture lan: port 80 tcp host fd00::5 not host 52:54:00:00:00:01, 5",
            "stop capture lan"
        ]
    );
}

#[test]
fn a_capture_that_is_written_wrong_starts_nothing_and_says_why() {
    let mut node = TestNode::new();
    for (words, told) in [
        ("tpc", "\"tpc\" means nothing here; did you mean tcp?"),
        ("x y", "\"x\" means nothing here"),
        ("tcp udp", "no frame passes \"tcp\" and \"udp\": leave one of them out"),
        ("port", "the filter ends behind \"port\": say what follows"),
        ("port 65536", "\"65536\" is no port: say a number from 0 to 65535"),
        ("host lan", "\"lan\" is no address: say a MAC address, or one of IPv4 or IPv6"),
        ("count", "count needs a number behind it"),
        ("count 1001", "count \"1001\" is no number from 1 to 1000"),
        ("count 1 count 2", "count is given twice"),
        ("show all", "\"all\" does not belong behind show"),
        ("tcp show", "\"show\" means nothing here"),
        ("sow", "\"sow\" means nothing here; did you mean show?"),
    ] {
        let answer = answer_of(&mut node, &format!("net capture lan {words}"));
        assert_eq!(answer, format!("{told}; 'help net capture' shows how it is written\n"));
    }
    assert!(node.orders.is_empty());
}

/// A frame of a capture.
#[derive(Clone)]
struct Captured {
    time: Duration,
    length: usize,
    bytes: Vec<u8>,
}

/// Frames as a capture's file has them.
fn file(frames: &[Captured]) -> Vec<u8> {
    let mut capture = net::capture::Capture::new(1 << 20, 2000, None).expect("there is memory");
    let mut file = vec![0; capture.piece()];
    let mut cursor = net::capture::Cursor::default();
    let header = capture.read(&mut cursor, &mut file);
    file.truncate(header);
    for frame in frames {
        let words = [
            frame.time.as_secs() as u32,
            frame.time.subsec_nanos(),
            frame.bytes.len() as u32,
            frame.length as u32,
        ];
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(&frame.bytes);
    }
    // A record as the capture itself writes it is as these are.
    if let [frame] = frames
        && frame.length == frame.bytes.len()
    {
        capture.record(frame.time.as_nanos() as u64, None, frame.length, &frame.bytes, |_, _| {});
        let mut written = vec![0; capture.piece()];
        let bytes = capture.read(&mut net::capture::Cursor::default(), &mut written);
        assert_eq!(written[..bytes], file);
    }
    file
}

fn request() -> Captured {
    let ethernet = Ethernet {
        destination: Mac::BROADCAST,
        source: STATION,
        tag: VlanId::new(10).map(|vlan| Tag::new(vlan, 0)),
        ether_type: EtherType::ARP,
    };
    let arp = Arp {
        operation: ArpOperation::REQUEST,
        sender: STATION,
        sender_address: [10, 0, 0, 1].into(),
        target: Mac::NONE,
        target_address: [10, 0, 0, 2].into(),
    };
    let bytes = [&ethernet.emit()[..], &arp.emit()[..]].concat();
    Captured { time: Duration::from_millis(4023), length: bytes.len(), bytes }
}

/// An IPv4 packet with this protocol and payload.
fn ipv4(protocol: net::frame::Protocol, payload: &[u8]) -> Captured {
    let ethernet = Ethernet { destination: STATION, source: STATION, tag: None, ether_type: EtherType::IPV4 };
    let ip = net::frame::Ipv4 {
        source: [10, 0, 0, 1].into(),
        destination: [10, 0, 0, 2].into(),
        protocol,
        header: net::frame::Ipv4::SIZE,
        length: net::frame::Ipv4::SIZE + payload.len(),
        identification: 0,
        keep_whole: true,
        more: false,
        fragment: 0,
        time_to_live: 64,
        traffic_class: 0,
    };
    let bytes = [&ethernet.emit()[..ethernet.size()], &ip.emit()[..], payload].concat();
    Captured { time: Duration::from_secs(5), length: bytes.len(), bytes }
}

fn dns() -> Captured {
    let udp = net::frame::Udp { source: 5353, destination: 53, length: 8 + 4, checksum: 0 };
    ipv4(net::frame::Protocol::UDP, &[&udp.emit()[..], &[0; 4]].concat())
}

#[test]
fn kept_frames_are_shown_in_a_line_each() {
    let mut node = TestNode::new();
    assert_eq!(answer_of(&mut node, "net capture lan show"), "No frames of lan yet.\n");
    let tcp = net::frame::Tcp {
        source: 40000,
        destination: 80,
        sequence: 0,
        acknowledgement: 0,
        header: 20,
        flags: net::frame::TcpFlags::SYN,
        window: 0,
        checksum: 0,
        urgent: 0,
    };
    let short = Captured { length: 1000, ..dns() };
    let nothing = Captured { bytes: vec![0xff; 3], ..dns() };
    node.captured = file(&[
        request(),
        dns(),
        ipv4(net::frame::Protocol::TCP, &tcp.emit()),
        ipv4(net::frame::Protocol::ICMP, &[8; 8]),
        short,
        nothing,
    ]);
    assert_eq!(
        answer_of(&mut node, "net capture lan show"),
        "    4.023000    46  52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff  VLAN 10, ARP: who has 10.0.0.2? 10.0.0.1 asks\n    \
         5.000000    46  52:54:00:00:00:01 > 52:54:00:00:00:01  10.0.0.1:5353 > 10.0.0.2:53 UDP, 4 bytes\n    \
         5.000000    54  52:54:00:00:00:01 > 52:54:00:00:00:01  10.0.0.1:40000 > 10.0.0.2:80 TCP SYN, 0 bytes\n    \
         5.000000    42  52:54:00:00:00:01 > 52:54:00:00:00:01  10.0.0.1 > 10.0.0.2 ICMP, 8 bytes\n    \
         5.000000  1000  52:54:00:00:00:01 > 52:54:00:00:00:01  too little of it is kept\n    \
         5.000000    46  malformed: it ends within its Ethernet header\n"
    );
    let pcap = answer_of(&mut node, "net capture lan show pcap");
    assert!(pcap.starts_with("TTyyoQIABAAAAAAAAAAAANAHAAABAAAA"), "{pcap}");
    assert!(pcap.lines().all(|line| line.len() <= 76));
}

#[test]
fn any_bytes_that_were_kept_are_shown() {
    let mut random = 1u64;
    let mut node = TestNode::new();
    let mut next = move |bound: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % bound
    };
    for _ in 0..3000 {
        let mut frame = if next(2) == 0 { request() } else { dns() };
        for _ in 0..next(6) {
            let at = next(frame.bytes.len() as u64) as usize;
            frame.bytes[at] = next(256) as u8;
        }
        frame.bytes.resize(next(200) as usize, 0);
        frame.length = next(300) as usize;
        node.captured = file(&[frame]);
        let line = answer_of(&mut node, "net capture lan show");
        assert!(!line.trim_end().chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn a_filter_takes_what_meets_all_of_it() {
    let takes = |words: &str, frame: &Captured| {
        let mut node = TestNode::new();
        let words: Vec<&str> = words.split_whitespace().collect();
        let line = format!("net capture lan {}", words.join(" "));
        assert!(answer_of(&mut node, &line).starts_with("The next"), "{line}");
        let (filter, _) = capture::wanted(&words).expect("it was accepted");
        filter.passes(&Headers::parse(&frame.bytes, frame.length).expect("it is a frame"))
    };
    for words in ["", "udp", "ip", "port 53", "port 5353 udp", "host 10.0.0.1", "host 52:54:00:00:00:01 ip"] {
        assert!(takes(words, &dns()), "{words}");
    }
    for words in
        ["tcp", "arp", "ip6", "icmp", "port 80", "host 10.0.0.3", "host 52:54:00:00:00:02", "udp port 1"]
    {
        assert!(!takes(words, &dns()), "{words}");
    }
    assert!(takes("arp host 10.0.0.2", &request()) && !takes("ip host 10.0.0.2", &request()));
}

#[test]
fn completion_knows_networks_ports_and_filters() {
    let node = TestNode::new();
    let offered = |line: &str| complete(line, &node).1;
    assert_eq!(offered("net info "), ["dmz", "lan"]);
    assert_eq!(offered("nic info "), ["eth0", "eth1"]);
    assert_eq!(offered("net mirror lan "), ["debian/0", "eth1", "node", "off"]);
    assert_eq!(offered("net mirror lan node "), ["debian/0", "eth1"]);
    assert_eq!(offered("net mirror lan off "), [""; 0]);
    assert_eq!(offered("net capture lan s"), ["show", "stop"]);
    assert_eq!(offered("net capture lan show "), ["pcap"]);
    assert_eq!(
        offered("net capture lan tcp "),
        ["arp", "count", "host", "icmp", "ip", "ip6", "not", "port", "tcp", "udp", "vlan"]
    );
    assert_eq!(offered("net capture lan tcp port "), [""; 0]);
    assert_eq!(offered("net capture lan port 80 i"), ["icmp", "ip", "ip6"]);
}

#[test]
fn ping_takes_an_address_and_a_number() {
    let to: IpAddr = [10, 0, 2, 2].into();
    assert_eq!(next("ping 10.0.2.2"), Next::Ping(to, None));
    assert_eq!(next("ping 10.0.2.2 3"), Next::Ping(to, Some(3)));
    assert_eq!(answer("ping"), "whom? usage: ping ADDRESS [N]; such as 10.0.2.2\n");
    assert_eq!(
        answer("ping example.org"),
        "\"example.org\" is no IP address; usage: ping ADDRESS [N]; such as 10.0.2.2 or fd00::2\n"
    );
    assert_eq!(answer("ping 10.0.2.2 x"), "\"x\" does not belong there; usage: ping ADDRESS [N]\n");
}

#[test]
fn node_info_tells_the_nodes_addresses() {
    let mut node = TestNode::new();
    assert!(answer_of(&mut node, "node info").contains("address         none\n"));
    node.address = AddressInfo { network: Some("lan".into()), dhcp: true, ..AddressInfo::default() };
    let told = answer_of(&mut node, "node info");
    assert!(told.contains("address         none yet on lan: a DHCP server is asked for one\n"), "{told}");
    node.address.addresses = vec![([10, 0, 2, 15].into(), 24), ([0xfd00, 0, 0, 0, 0, 0, 0, 5].into(), 64)];
    node.address.gateways = vec![[10, 0, 2, 2].into()];
    node.address.dns = vec![[10, 0, 2, 3].into()];
    let told = answer_of(&mut node, "node info");
    assert!(told.contains("address         10.0.2.15/24, fd00::5/64 on lan, by DHCP\n"), "{told}");
    assert!(told.contains("gateway         10.0.2.2\nDNS             10.0.2.3\n"), "{told}");
}
