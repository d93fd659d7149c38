//! What a stack is made of, and what the console shows of it.
use super::*;

fn with(address: Addressing) -> Result<Stack, BadConfig> {
    Stack::new(StackConfig { address, ..fixed(2) })
}

fn addresses(addresses: &[(&str, u8)], gateways: &[&str]) -> Addressing {
    let read = |text: &str| text.parse().unwrap();
    Addressing::Static {
        addresses: addresses.iter().map(|&(address, prefix)| (read(address), prefix)).collect(),
        gateways: gateways.iter().map(|gateway| read(gateway)).collect(),
        dns: vec![],
    }
}

#[test]
fn a_stack_has_its_addresses_and_the_link_local_one_of_its_mac_address() {
    let stack = station(2);
    let own: Vec<_> = stack.addresses().collect();
    let local: IpAddr = "fe80::5054:ff:fe00:2".parse().unwrap();
    assert_eq!(own, [(v4(2), 24), (v6(2), 64), (local, 64)]);
    assert_eq!((stack.gateways(), stack.dns()), (&[v4(1), v6(1)][..], &[v4(1)][..]));
    let groups = ["33:33:00:00:00:01", "33:33:ff:00:00:02"].map(|group| group.parse().unwrap());
    assert_eq!(stack.groups(), groups);
}

#[test]
fn what_no_stack_can_be_made_of_is_refused() {
    let make = |config| Stack::new(config).err();
    assert_eq!(make(StackConfig { mac: Mac::BROADCAST, ..fixed(2) }), Some(BadConfig::Mac(Mac::BROADCAST)));
    assert_eq!(make(StackConfig { mac: Mac::NONE, ..fixed(2) }), Some(BadConfig::Mac(Mac::NONE)));
    assert_eq!(make(StackConfig { mtu: 1279, ..fixed(2) }), Some(BadConfig::Mtu(1279)));
    assert_eq!(make(StackConfig { mtu: 9001, ..fixed(2) }), Some(BadConfig::Mtu(9001)));
    for wrong in
        ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1", "::ffff:1.2.3.4"]
    {
        let station = Some(BadConfig::Station(wrong.parse().unwrap()));
        assert_eq!(with(addresses(&[(wrong, 24)], &[])).err(), station);
        assert_eq!(with(addresses(&[("10.0.2.2", 24)], &[wrong])).err(), station);
    }
    for (address, prefix) in [("10.0.2.2", 0), ("10.0.2.2", 33), ("fd00::2", 0), ("fd00::2", 129)] {
        let bad = BadConfig::Prefix(address.parse().unwrap(), prefix);
        assert_eq!(with(addresses(&[(address, prefix)], &[])).err(), Some(bad));
    }
    let second = with(addresses(&[("10.0.2.2", 24)], &["10.0.2.1", "fe80::1", "10.0.2.3"])).err();
    assert_eq!(second, Some(BadConfig::Gateway(v4(3))));
    let many: Vec<_> = (0..8).map(|number| (v4(number + 1), 24)).collect();
    let fixed =
        |addresses: &[_]| Addressing::Static { addresses: addresses.to_vec(), gateways: vec![], dns: vec![] };
    assert_eq!(with(fixed(&many)).err(), Some(BadConfig::Addresses(8)));
    let most = with(fixed(&many[..MAX_ADDRESSES])).unwrap();
    assert_eq!(most.addresses().count(), MAX_ADDRESSES + 1);
}

#[test]
fn a_stack_at_rest_asks_for_nothing() {
    let mut stack = station(2);
    let (frames, _) = sent(&mut stack, SECOND);
    assert!(!frames.is_empty(), "it tells its neighbours of itself");
    stack.listen(80, 4).unwrap();
    for now in 2..10 {
        assert_eq!(sent(&mut stack, now * SECOND), (vec![], None));
    }
}

#[test]
fn time_does_not_go_back() {
    let mut stack = station(2);
    let id = stack.open_ping(v4(3)).unwrap();
    stack.ping(id, 1, vec![], 8 * SECOND).unwrap();
    sent(&mut stack, 9 * SECOND);
    assert!(stack.poll(SECOND).is_none_or(|next| next >= 9 * SECOND));
    assert_eq!(stack.take_ping(id).map(|result| result.outcome), Some(PingOutcome::TimedOut));
    stack.poll(u64::MAX);
    stack.poll(0);
}

#[test]
fn a_station_behind_a_gateway_is_reached_by_it() {
    let mut stack = station(2);
    hostile::introduce(&mut stack, SECOND);
    for far in ["192.0.2.9", "2001:db8::9"] {
        let id = stack.open_ping(far.parse().unwrap()).unwrap();
        stack.ping(id, 1, vec![], 9 * SECOND).unwrap();
        let search = sent(&mut stack, SECOND).0;
        assert_eq!(search.len(), 1);
        let gateway = if far.contains(':') { v6(1) } else { v4(1) };
        let own = if far.contains(':') { v6(2) } else { v4(2) };
        assert_eq!(search[0], neighbour::search(gateway, own, mac(2)).unwrap());
    }
}

#[test]
fn what_is_not_polled_for_long_catches_up() {
    let (mut wire, mut stacks) = (Wire::new(), [station(2), station(3)]);
    let listener = stacks[1].listen(80, 1).unwrap();
    connect(&mut stacks[0], v6(3), 80, 50000);
    wire.pass(&mut stacks, SECOND);
    assert!(stacks[1].accept(listener).is_some());
    wire.now += 365 * 24 * 3600 * SECOND;
    wire.pass(&mut stacks, SECOND);
}
