//! Guests of two nodes, whose cards a cable connects.
use super::{Port, enter, fetch, link_local, offer, pings, same, up, vm, volume};
use tests::cable::Cable;
use tests::frames::{packet_bytes, vlan_of};
use tests::node;
use tests::shell::{does, tries};
use xtask::failure::{Failure, Result};
use xtask::rig::Qemu;

/// Three networks by one card: one without a tag, and two VLANs.
const NETWORKS: &str = "\
    [[network]]\nname = \"lan\"\nuplink = \"eth0\"\nmtu = 9000\n\
    [[network]]\nname = \"red\"\nuplink = \"eth0\"\nvlan = 10\n\
    [[network]]\nname = \"blue\"\nuplink = \"eth0\"\nvlan = 20\n";
const NICS: &str = "{ network = \"lan\" }, { network = \"red\" }, { network = \"blue\" }";

/// Bytes of a transfer.
const SOME: usize = 4_000_000;

/// A node with one guest.
fn config(node: &str, guest: &str) -> String {
    format!("[node]\nname = \"{node}\"\n\n{NETWORKS}{}", vm(guest, NICS))
}

#[test]
fn guests_of_two_nodes_reach_each_other_on_the_same_network_and_on_no_other() -> Result<()> {
    let cable = Cable::new()?;
    let with = |device: &'static str| {
        let netdev = cable.netdev("net0");
        move |qemu: Qemu| qemu.args(["-netdev", &netdev, "-device", device])
    };
    let shapes =
        [with("e1000e,netdev=net0"), with("virtio-net-pci,disable-legacy=on,host_mtu=9000,netdev=net0")];
    let volumes = [volume(&config("n1", "one"))?, volume(&config("n2", "two"))?];
    let [mut n1, mut n2] = node::boot_two([&volumes[0], &volumes[1]], shapes)?;
    enter(&mut n1, "one")?;
    enter(&mut n2, "two")?;

    // Without a tag, with long packets.
    up(&mut n1, "eth0", "10.1.0.1/24")?;
    up(&mut n2, "eth0", "10.1.0.2/24")?;
    pings(&mut n1, "10.1.0.2")?;
    cable.forget();
    pings(&mut n1, "-s 8900 10.1.0.2")?;
    let whole = |frame: &Vec<u8>| vlan_of(frame).is_none() && packet_bytes(frame) == 20 + 8 + 8900;
    let longest = cable.passed().into_iter().filter(whole).count();
    if longest < 6 {
        return Err(Failure::new(format!("{longest} packets of 8928 bytes passed the cable, not 6")));
    }
    let sent = offer(&mut n2, SOME)?;
    same(&sent, &fetch(&mut n1, "10.1.0.2")?)?;
    let sent = offer(&mut n1, SOME)?;
    same(&sent, &fetch(&mut n2, "10.1.0.1")?)?;
    let one = link_local(&mut n1, "eth0")?;
    pings(&mut n2, &format!("-6 {one}%eth0"))?;
    let sent = offer(&mut n1, SOME)?;
    same(&sent, &fetch(&mut n2, &format!("{one}%eth0"))?)?;

    // In VLANs: the same addresses, on one of them here and on the other there.
    up(&mut n1, "eth1", "10.9.0.1/24")?;
    up(&mut n2, "eth2", "10.9.0.2/24")?;
    cable.forget();
    let (reached, _) = tries(&mut n1, "ping -c 3 -W 2 10.9.0.2")?;
    let (back, _) = tries(&mut n2, "ping -c 3 -W 2 10.9.0.1")?;
    if reached || back {
        return Err(Failure::new("a guest reaches one in another VLAN"));
    }
    let mut tags: Vec<Option<u16>> = cable.passed().iter().map(|frame| vlan_of(frame)).collect();
    tags.sort();
    tags.dedup();
    if !tags.contains(&Some(10)) || !tags.contains(&Some(20)) {
        return Err(Failure::new(format!("what passed the cable has the tags {tags:?}")));
    }
    // On the same, it is reached, with offloads that have a tag in between.
    does(&mut n2, "ip addr del 10.9.0.2/24 dev eth2")?;
    up(&mut n2, "eth1", "10.9.0.2/24")?;
    pings(&mut n1, "10.9.0.2")?;
    let sent = offer(&mut n2, SOME)?;
    same(&sent, &fetch(&mut n1, "10.9.0.2")?)?;
    let sent = offer(&mut n1, SOME)?;
    same(&sent, &fetch(&mut n2, "10.9.0.1")?)?;

    n1.detach()?;
    n2.detach()?;
    for node in [&mut n1, &mut n2] {
        let (red, blue) = (Port::of(node, "red", "eth0")?, Port::of(node, "blue", "eth0")?);
        // Transfers are some hundred frames at least, of those that are cut by the card only. On the other network was nothing
        // but questions.
        let frames = |port: &Port| port.incoming + port.outgoing;
        if frames(&red) < 500 || frames(&blue) > 100 {
            return Err(Failure::new(format!("red and blue had {red:?} and {blue:?}")));
        }
    }
    n1.power_off()?;
    n2.power_off()
}
