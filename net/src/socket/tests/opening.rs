//! What may be opened, which groups are joined, and what the card is told to let in.
use super::*;

fn refusal(rig: &Rig, number: u16) -> Option<OpenError> {
    rig.interface.open(SocketConfig::new("x", EtherType(number))).err()
}

#[test]
fn lengths_and_protocols_of_others_are_no_sockets() {
    let rig = Rig::new();
    for number in [0, 1, 46, 1500, 0x5ff] {
        assert_eq!(refusal(&rig, number), Some(OpenError::Length(EtherType(number))));
    }
    // IPv4, ARP, reverse ARP, IPv6, three tags, pause, slow protocols, reserved.
    for number in [0x800, 0x806, 0x8035, 0x86dd, 0x8100, 0x88a8, 0x9100, 0x8808, 0x8809, 0xffff] {
        assert_eq!(refusal(&rig, number), Some(OpenError::Reserved(EtherType(number))));
    }
    for number in [0x600, 0x88b6, 0x88cc, 0xfffe] {
        assert_eq!(refusal(&rig, number), None);
    }
}

#[test]
fn an_ether_type_is_one_sockets_in_each_vlan() {
    let rig = Rig::new();
    let in_vlan = |vlan| SocketConfig { vlan, ..SocketConfig::new("other", CLUSTER) };
    assert_eq!(rig.interface.open(in_vlan(None)).err(), Some(OpenError::Taken(CLUSTER, None)));
    let ten = rig.interface.open(in_vlan(vlan(10))).unwrap();
    assert_eq!(rig.interface.open(in_vlan(vlan(10))).err(), Some(OpenError::Taken(CLUSTER, vlan(10))));
    let _eleven = rig.interface.open(in_vlan(vlan(11))).unwrap();
    assert_eq!(rig.interface.sockets().len(), 3);
    assert!(rig.interface.is_open(CLUSTER, vlan(10)) && !rig.interface.is_open(CLUSTER, vlan(12)));
    drop(ten);
    assert!(!rig.interface.is_open(CLUSTER, vlan(10)) && rig.interface.is_open(CLUSTER, None));
    assert!(rig.interface.open(in_vlan(vlan(10))).is_ok());
    let cluster = &rig.interface.sockets()[0];
    assert_eq!((&*cluster.name, cluster.ether_type, cluster.vlan), ("cluster", CLUSTER, None));
}

#[test]
fn a_card_that_is_gone_or_has_no_address_has_no_sockets() {
    for mac in [Mac::NONE, GROUP, Mac::BROADCAST] {
        let interface = Interface::new(Card::with_mac(1, 8, mac), None, Filter::default());
        interface.start();
        assert_eq!(interface.open(SocketConfig::new("x", CLUSTER)).err(), Some(OpenError::NoAddress));
    }
    let rig = Rig::new();
    rig.card.remove();
    assert_eq!(refusal(&rig, 0x88b6), Some(OpenError::Gone));
    let rig = Rig::new();
    rig.interface.close();
    assert_eq!(refusal(&rig, 0x88b6), Some(OpenError::Gone));
}

fn latest(rig: &Rig) -> Filter {
    rig.card.state.lock().filters.last().unwrap().clone()
}

#[test]
fn the_card_lets_in_what_sockets_and_others_want() {
    let rig = Rig::new();
    assert_eq!(latest(&rig), Filter::default());
    rig.socket.join(GROUP).unwrap();
    rig.socket.join(GROUP).unwrap();
    assert_eq!(latest(&rig).groups, [GROUP]);
    let mine = Mac([1, 0, 0x5e, 0, 0, 1]);
    rig.interface.set_filter(Filter { groups: std::vec![mine, GROUP], ..Filter::default() });
    assert_eq!(latest(&rig).groups, [mine, GROUP]);
    // Whoever leaves a group takes it from nobody else.
    assert!(rig.socket.leave(GROUP) && !rig.socket.leave(GROUP));
    assert_eq!(latest(&rig).groups, [mine, GROUP]);
    rig.interface.set_filter(Filter { promiscuous: true, all_groups: true, groups: Vec::new() });
    let second = rig.interface.open(SocketConfig::new("second", EtherType(0x88b6))).unwrap();
    second.join(GROUP).unwrap();
    assert_eq!(latest(&rig), Filter { promiscuous: true, all_groups: true, groups: std::vec![GROUP] });
    drop(second);
    assert_eq!(latest(&rig), Filter { promiscuous: true, all_groups: true, groups: Vec::new() });
}

#[test]
fn what_is_no_group_or_too_much_is_not_joined() {
    let rig = Rig::new();
    for mac in [OWN, PEER, Mac::NONE, Mac::BROADCAST] {
        assert_eq!(rig.socket.join(mac), Err(JoinError::NoGroup(mac)));
    }
    for i in 0..GROUPS as u8 {
        assert_eq!(rig.socket.join(Mac([1, 0, 0x5e, 0, 0, i])), Ok(()));
    }
    assert_eq!(rig.socket.join(GROUP), Err(JoinError::TooMany));
    assert!(rig.socket.leave(Mac([1, 0, 0x5e, 0, 0, 3])));
    assert_eq!(rig.socket.join(GROUP), Ok(()));
}

#[test]
fn a_refusal_says_what_to_do() {
    let open = |error: OpenError| std::string::ToString::to_string(&error);
    assert!(open(OpenError::Length(EtherType(0x5dc))).contains("0x05dc is the length"));
    assert!(open(OpenError::Taken(CLUSTER, vlan(7))).contains("VLAN 7"));
    for (i, error) in SendError::ALL.into_iter().enumerate() {
        assert_eq!(error as usize, i);
    }
    for (i, reason) in DropReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, i);
    }
}
