//! `[[network]]`, `nics` of a `[[vm]]`, and the node's own address.

use core::net::IpAddr;

use super::*;
use net::frame::{Mac, VlanId};

const LAN: &str = "[[network]]\nname = \"lan\"\nuplink = \"eth0\"\n";

fn parse(file: &str) -> Parsed {
    Config::parse(file.as_bytes())
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("the test's address is one")
}

/// A network on lines 1 to 3, and a VM of two vCPUs with these NICs on its line 9.
fn with_nics(nics: &str) -> String {
    format!("{LAN}[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"k\"\nvcpus = 2\nnics = [{nics}]\n")
}

#[test]
fn networks_are_read_in_their_order_with_defaults() {
    let parsed = parse(
        "[[network]]\nname = \"lan\"\nuplink = [\"eth1\", \"eth0\"]\nvlan = 10\nmtu = 9000\n[[network]]\nname = \"dmz\"\n",
    );
    assert_eq!(parsed.problems, []);
    let lan = NetworkConfig {
        name: "lan".into(),
        uplinks: ["eth1".into(), "eth0".into()].into(),
        vlan: VlanId::new(10),
        mtu: 9000,
    };
    let dmz = NetworkConfig { name: "dmz".into(), uplinks: Vec::new(), vlan: None, mtu: 1500 };
    assert_eq!(parsed.config.networks, [lan, dmz]);
}

#[test]
fn every_wrong_key_of_a_network_is_reported_with_its_line_and_what_is_allowed() {
    let card =
        "allowed: the name of a network card, such as \"eth0\" ('nic list' shows them), or a list of such";
    for (key, told) in [
        ("uplink = \"ETH0\"", format!("uplink = \"ETH0\" names no network card; {card}")),
        ("uplink = []", format!("uplink = […] is empty; {card}")),
        ("uplink = [\"eth0\", \"eth0\"]", format!("uplink = […] has \"eth0\" twice; {card}")),
        ("uplink = [\"eth0\", 1]", format!("uplink = […] has 1, which is not a string; {card}")),
        ("vlan = 4095", "vlan = 4095 is out of range; allowed: an integer from 1 to 4094".into()),
        ("vlan = 0", "vlan = 0 is out of range; allowed: an integer from 1 to 4094".into()),
        ("mtu = 576", "mtu = 576 is out of range; allowed: an integer from 1280 to 9000".into()),
        ("upling = \"eth0\"", "unknown key upling in [[network]]; did you mean uplink?".into()),
    ] {
        let file = format!("[[network]]\nname = \"lan\"\n{key}\n");
        let file = if key.starts_with("vlan") { file + "uplink = \"eth0\"\n" } else { file };
        assert_eq!(problems(&file), [format!("purevisor.toml:3: {told}")]);
        assert!(parse(&file).config.networks.is_empty(), "{key}");
    }
    assert_eq!(
        problems("[[network]]\n"),
        ["purevisor.toml:1: this [[network]] has no name; allowed: name = … is required"]
    );
    assert_eq!(
        problems("[[network]]\nname = \"lan\"\nvlan = 10\n"),
        [
            "purevisor.toml:1: vlan = 10 without an uplink; allowed: with the uplink on which frames have this VLAN"
        ]
    );
    assert_eq!(
        problems("[network]\n"),
        ["purevisor.toml:1: [network] is one table; allowed: [[network]] before each network"]
    );
}

#[test]
fn a_second_network_of_a_name_is_left_out() {
    let file = format!("{LAN}[[network]]\nname = \"lan\"\n");
    assert_eq!(parse(&file).config.networks.len(), 1);
    assert_eq!(
        problems(&file),
        ["purevisor.toml:4: network \"lan\" is defined on line 1; allowed: one network of a name"]
    );
}

#[test]
fn an_uplink_has_each_vlan_once_and_one_network_without() {
    let network = |name: &str, uplinks: &str, vlan: &str| {
        format!("[[network]]\nname = \"{name}\"\nuplink = [{uplinks}]\n{vlan}\n")
    };
    let sound = network("a", "'eth0'", "")
        + &network("b", "'eth0', 'eth1'", "vlan = 1")
        + &network("c", "'eth0'", "vlan = 2")
        + &network("d", "'eth1'", "");
    assert_eq!(problems(&sound), [""; 0]);
    let allowed = "allowed: each VLAN of an uplink once, and one network without";
    for (more, told) in [
        (network("e", "'eth2', 'eth1'", "vlan = 1"), "\"e\" has VLAN 1 on eth1, as network \"b\" has"),
        (network("e", "'eth0'", ""), "\"e\" has no VLAN on eth0, as network \"a\" has"),
    ] {
        let file = sound.clone() + &more;
        assert_eq!(problems(&file), [format!("purevisor.toml:17: network {told}; {allowed}")]);
        assert_eq!(parse(&file).config.networks.len(), 4);
    }
}

#[test]
fn there_is_an_end_to_the_number_of_networks() {
    let file: String = (0..65).map(|n| format!("[[network]]\nname = \"n{n}\"\n")).collect();
    assert_eq!(
        problems(&file),
        ["purevisor.toml:129: network \"n64\" is one too many; allowed: at most 64 networks"]
    );
}

#[test]
fn nics_are_read_in_their_order_with_defaults() {
    let file = with_nics(
        "{ network = \"lan\" },\n{ network = \"lan\", mac = \"52:54:00:AB:cd:ef\", queues = 1, limit = \"250Mbit\", \
         addresses = [\"10.0.0.5\", \"fd00::5\"], any_mac = true }, { network = \"lan\", limit = \"none\" }",
    );
    let parsed = parse(&file);
    assert_eq!(parsed.problems, []);
    let derived = |index| derived_mac("node", "a", index);
    let first = NicConfig {
        network: "lan".into(),
        mac: derived(0),
        queues: 2,
        limit: None,
        addresses: Vec::new(),
        any_mac: false,
    };
    let second = NicConfig {
        mac: Mac([0x52, 0x54, 0, 0xab, 0xcd, 0xef]),
        queues: 1,
        limit: Some(250_000_000),
        addresses: [ip("10.0.0.5"), ip("fd00::5")].into(),
        any_mac: true,
        ..first.clone()
    };
    let third = NicConfig { mac: derived(2), ..first.clone() };
    assert_eq!(parsed.config.vms[0].nics, [first, second, third]);
}

#[test]
fn every_wrong_nic_is_reported_with_its_line_and_what_is_allowed_and_its_vm_is_left_out() {
    let mac = "allowed: six pairs of hexadecimal digits, such as \"52:54:00:12:34:56\", of one station";
    let rate =
        "allowed: a string of a number and kbit, Mbit or Gbit a second, such as \"100Mbit\", or \"none\"";
    let address = "allowed: an IP address without a prefix length, such as \"10.0.0.5\", or a list of such";
    for (keys, told) in [
        ("mac = \"52:54:00:12:34\"", format!("mac = \"52:54:00:12:34\" is no MAC address; {mac}")),
        (
            "mac = \"53:54:00:12:34:56\"",
            format!("mac = \"53:54:00:12:34:56\" is the address of a group (its first byte is odd); {mac}"),
        ),
        (
            "mac = \"00:00:00:00:00:00\"",
            format!("mac = \"00:00:00:00:00:00\" is the address of nobody; {mac}"),
        ),
        ("queues = 17", "queues = 17 is out of range; allowed: an integer from 1 to 16".into()),
        ("queues = 3", "queues = 3 is more than vcpus = 2; allowed: at most one for each vCPU".into()),
        ("limit = \"1G\"", format!("limit = \"1G\" is not a rate; {rate}")),
        ("limit = \"0Mbit\"", format!("limit = \"0Mbit\" lets nothing pass; {rate}")),
        (
            "limit = \"18446744073709551615kbit\"",
            format!("limit = \"18446744073709551615kbit\" is not a rate; {rate}"),
        ),
        ("limit = 5", format!("limit = 5 is not a string; {rate}")),
        (
            "addresses = [\"10.0.0.5/24\"]",
            format!("addresses = […] has \"10.0.0.5/24\", which is no IP address; {address}"),
        ),
        (
            "addresses = \"ff02::1\"",
            format!("addresses = \"ff02::1\" is no address of a single station on a network; {address}"),
        ),
        ("any_mac = 1", "any_mac = 1 is neither true nor false; allowed: true, false".into()),
        ("queue = 1", "unknown key queue in NIC; did you mean queues?".into()),
    ] {
        let parsed = parse(&with_nics(&format!("{{ network = \"lan\", {keys} }}")));
        let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems, [format!("purevisor.toml:9: {told}")]);
        assert_eq!((parsed.config.vms.len(), parsed.left_out.len()), (0, 1), "{keys}");
    }
    assert_eq!(
        problems(&with_nics("{}, \"lan\"")),
        [
            "purevisor.toml:9: this NIC has no network; allowed: network = … is required",
            "purevisor.toml:9: nics has \"lan\", no NIC; allowed: a list of NICs, such as [{ network = \"lan\" }]"
        ]
    );
    let many = with_nics(&"{ network = \"lan\" },".repeat(9));
    assert_eq!(problems(&many), ["purevisor.toml:4: a VM with 9 NICs; allowed: at most 8"]);
}

#[test]
fn a_wrong_number_of_vcpus_is_told_once() {
    let file = with_nics("{ network = \"lan\", queues = 2 }").replace("vcpus = 2", "cap = 150\nvcpus = 99");
    assert_eq!(
        problems(&file),
        ["purevisor.toml:9: vcpus = 99 is out of range; allowed: an integer from 1 to 16"]
    );
}

#[test]
fn a_nic_on_a_network_that_is_not_there_leaves_its_vm_out_and_says_which_there_are() {
    let file =
        with_nics("{ network = \"lna\" }") + "[[network]]\nname = \"dmz\"\n[console]\nattach = \"a\"\n";
    let parsed = parse(&file);
    assert_eq!((parsed.config.vms.len(), parsed.left_out), (0, ["a".to_string()].into()));
    let told = problems(&file);
    assert_eq!(
        told[0],
        "purevisor.toml:9: VM \"a\": network = \"lna\" names no network; did you mean \"lan\"?; allowed: \"lan\", \"dmz\""
    );
    assert!(told[1].contains("attach = \"a\" names a VM that is left out"), "{told:?}");
    let none = with_nics("{ network = \"lan\" }").replace(LAN, "");
    assert_eq!(
        problems(&none),
        [
            "purevisor.toml:6: VM \"a\": network = \"lan\" names no network; allowed: the name of a [[network]], of which \
             this file has none"
        ]
    );
    let left_out = with_nics("{ network = \"lan\" }").replace("\"eth0\"", "5");
    assert_eq!(
        problems(&left_out)[1],
        "purevisor.toml:9: VM \"a\": network = \"lan\" names a network that is left out because of its own problem; \
         allowed: one that is sound"
    );
}

#[test]
fn networks_may_come_after_those_who_name_them() {
    let file =
        format!("[node]\naddress = \"dhcp\"\n{}{LAN}", with_nics("{ network = \"lan\" }").replace(LAN, ""));
    assert_eq!(problems(&file), [""; 0]);
}

#[test]
fn a_mac_address_is_there_once() {
    let nic = |mac: Mac| format!("{{ network = \"lan\", mac = \"{mac}\" }}");
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let second = |nics: &str| with_nics(nics).replace("\"a\"", "\"b\"").replace(LAN, "");
    let file = with_nics(&nic(mac)) + &second(&format!("{{ network = \"lan\" }}, {}", nic(mac)));
    assert_eq!(
        problems(&file),
        [
            "purevisor.toml:15: mac of NIC 1 of VM \"b\", 02:00:00:00:00:01, is that of NIC 0 of VM \"a\"; allowed: an \
             address once, another mac"
        ]
    );
    assert_eq!(parse(&file).left_out, ["b"]);
    let taken = nic(derived_mac("node", "b", 0));
    let file = with_nics(&taken) + &second("{ network = \"lan\" }");
    assert!(
        problems(&file)[0].contains("the address derived for NIC 0 of VM \"b\""),
        "{:?}",
        problems(&file)
    );
    let within = with_nics(&format!("{}, {}", nic(mac), nic(mac)));
    assert!(problems(&within)[0].contains("is that of NIC 0 of VM \"a\""), "{:?}", problems(&within));
}

#[test]
fn the_addresses_of_a_vm_that_is_left_out_are_free() {
    let nic = "{ network = \"lan\", mac = \"02:00:00:00:00:01\" }";
    let out = with_nics(&format!("{nic}, {{ network = \"other\" }}"));
    let file = out + &with_nics(nic).replace("\"a\"", "\"b\"").replace(LAN, "");
    assert_eq!(problems(&file).len(), 1, "{:?}", problems(&file));
    assert_eq!(parse(&file).config.vms[0].name, "b");
}

#[test]
fn a_derived_address_stays_and_is_a_stations_that_differs_by_node_vm_and_nic() {
    assert_eq!(derived_mac("n1", "debian", 0).to_string(), derived_mac("n1", "debian", 0).to_string());
    let mut seen = alloc::collections::BTreeSet::new();
    for node in ["node", "n1", "n2"] {
        for vm in 0..200 {
            for nic in 0..MAX_NICS {
                let mac = derived_mac(node, &format!("vm{vm}"), nic);
                assert!(mac.is_station() && mac.is_local(), "{mac}");
                assert!(seen.insert(mac), "{mac}");
            }
        }
    }
    assert_ne!(derived_mac("a", "bc", 0), derived_mac("ab", "c", 0));
}

/// A `[node]` with these keys from line 2 on, and a network.
fn node(keys: &str) -> String {
    format!("[node]\n{keys}\n{LAN}")
}

#[test]
fn the_nodes_address_is_given_by_dhcp_or_written_here() {
    let of = |keys: &str| {
        let parsed = parse(&node(keys));
        assert_eq!(parsed.problems, [], "{keys}");
        parsed.config.node.address
    };
    assert_eq!(of(""), NodeAddress::None);
    assert_eq!(of("address = \"none\""), NodeAddress::None);
    assert_eq!(of("address = \"dhcp\""), NodeAddress::Dhcp);
    assert_eq!(
        of("address = \"10.0.2.15/24\"\ngateway = \"10.0.2.2\"\ndns = \"10.0.2.3\""),
        NodeAddress::Static {
            addresses: [(ip("10.0.2.15"), 24)].into(),
            gateways: [ip("10.0.2.2")].into(),
            dns: [ip("10.0.2.3")].into()
        }
    );
    assert_eq!(
        of("address = [\"fd00::5/64\", \"10.0.0.0/31\"]\ngateway = [\"fe80::1\", \"10.0.0.1\"]"),
        NodeAddress::Static {
            addresses: [(ip("fd00::5"), 64), (ip("10.0.0.0"), 31)].into(),
            gateways: [ip("fe80::1"), ip("10.0.0.1")].into(),
            dns: Vec::new()
        }
    );
}

#[test]
fn the_echo_service_needs_an_address() {
    let parsed = parse(&node("address = \"dhcp\"\necho = true"));
    assert_eq!((parsed.problems.len(), parsed.config.node.echo), (0, true));
    let parsed = parse(&node("echo = true"));
    let problem = parsed.problems[0].to_string();
    assert!(problem.contains("echo = true without an address; allowed: with one such as"), "{problem}");
}

#[test]
fn a_wrong_address_is_told_once_and_gives_none() {
    let allowed = "allowed: \"none\", \"dhcp\", or an address and its prefix length, such as \"10.0.2.15/24\", or a list of \
                   such";
    for (value, why) in [
        ("\"dchp\"", "is no address"),
        ("\"10.0.2.15\"", "has no prefix length"),
        ("\"10.0.2.15/33\"", "has a prefix length that is not 1 to 32"),
        ("\"10.0.2.15/+8\"", "has a prefix length that is not 1 to 32"),
        ("\"fd00::5/129\"", "has a prefix length that is not 1 to 128"),
        ("\"10.0.2.0/24\"", "is the number of a network, not of a station in it"),
        ("\"10.0.2.255/24\"", "is the broadcast address of its network"),
        ("\"fd00::/64\"", "is the number of a network, not of a station in it"),
        ("\"127.0.0.1/8\"", "is no address of a single station on a network"),
        ("\"224.0.0.1/8\"", "is no address of a single station on a network"),
        ("\"::ffff:10.0.2.15/96\"", "is an IPv4 address in IPv6's form"),
        ("5", "is not a string"),
    ] {
        let file = node(&format!("address = {value}\ngateway = \"10.0.2.2\""));
        assert_eq!(problems(&file), [format!("purevisor.toml:2: address = {value} {why}; {allowed}")]);
        assert_eq!(parse(&file).config.node.address, NodeAddress::None);
    }
    let list = node("address = [\"10.0.2.15/24\", \"dhcp\"]");
    assert!(problems(&list)[0].contains("has \"dhcp\", which is no address"), "{:?}", problems(&list));
    let twice = node("address = [\"10.0.2.15/24\", \"fd00::5/64\", \"10.0.2.15/8\"]");
    assert!(problems(&twice)[0].contains("address = […] has 10.0.2.15 twice"), "{:?}", problems(&twice));
}

#[test]
fn a_gateway_is_another_station_on_the_nodes_own_network() {
    let at_home = "address = [\"10.0.2.15/24\", \"fd00::5/64\"]";
    for (gateway, told) in [
        (
            "\"10.0.3.2\"",
            "gateway = \"10.0.3.2\" is in the network of none of the node's addresses; allowed: another station of such \
             a network",
        ),
        (
            "\"10.0.2.15\"",
            "gateway = \"10.0.2.15\" is the node's own address; allowed: another station of such a network",
        ),
        (
            "[\"10.0.2.2\", \"10.0.2.3\"]",
            "gateway has 10.0.2.2 and 10.0.2.3; allowed: one of IPv4 and one of IPv6",
        ),
    ] {
        let file = node(&format!("{at_home}\ngateway = {gateway}"));
        assert_eq!(problems(&file), [format!("purevisor.toml:1: {told}")]);
        let address = parse(&file).config.node.address;
        assert!(
            matches!(&address, NodeAddress::Static { gateways, .. } if gateways.is_empty()),
            "{address:?}"
        );
    }
    for keys in ["", "address = \"dhcp\""] {
        assert_eq!(
            problems(&node(&format!("{keys}\ngateway = \"10.0.2.2\"\ndns = \"10.0.2.3\""))),
            ["gateway", "dns"].map(|key| format!(
                "purevisor.toml:1: {key} without an address that is written here; allowed: with one such as address = \
                 \"10.0.2.15/24\""
            ))
        );
    }
}

#[test]
fn the_node_is_on_the_network_that_it_names_or_the_first_that_leads_out() {
    let internal = "[[network]]\nname = \"dmz\"\n";
    let on = |file: &str| parse(file).config.node.network;
    let file = format!("[node]\naddress = \"dhcp\"\n{internal}{LAN}");
    assert_eq!((problems(&file).len(), on(&file).as_deref()), (0, Some("lan")));
    let named = file.replace("\"dhcp\"", "\"10.0.0.1/8\"\nnetwork = \"dmz\"");
    assert_eq!((problems(&named).len(), on(&named).as_deref()), (0, Some("dmz")));
}

#[test]
fn an_address_without_a_network_is_a_problem_and_the_node_has_none() {
    let internal = "[[network]]\nname = \"dmz\"\n";
    for (file, told) in [
        (
            String::new(),
            "[node] has an address, but there is no network; allowed: with a [[network]] in this file",
        ),
        (
            internal.into(),
            "[node] has an address, but no network has an uplink; allowed: with network = … for one without",
        ),
        (
            format!("network = \"lam\"\n{LAN}"),
            "[node] network = \"lam\" names no network; did you mean \"lan\"?; allowed: \"lan\"",
        ),
    ] {
        let file = format!("[node]\naddress = \"dhcp\"\n{file}");
        assert_eq!(problems(&file), [format!("purevisor.toml:1: {told}")]);
        let node = parse(&file).config.node;
        assert_eq!((node.address, node.network), (NodeAddress::None, None));
    }
    let broken = problems("[node]\naddress = \"dhcp\"\n[[network]]\nname = \"lan\"\nmtu = 1\n");
    assert!(broken[0].contains("all networks are left out because of their own problems"), "{broken:?}");
}
