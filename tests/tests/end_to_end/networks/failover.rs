//! A second uplink that takes over.
use super::{enter, enter_again, pings, until, up, vm, volume};
use crate::NODE;
use tests::folder::Folder;
use tests::node;
use tests::shell::does;
use xtask::failure::Result;
use xtask::rig::{Qemu, monitor};

/// The world and two cards on one Ethernet.
const HUB: [&str; 12] = [
    "-netdev",
    "user,id=world",
    "-netdev",
    "hubport,id=port,hubid=0,netdev=world",
    "-netdev",
    "hubport,id=net0,hubid=0",
    "-netdev",
    "hubport,id=net1,hubid=0",
    "-device",
    "e1000e,netdev=net0",
    "-device",
    "virtio-net-pci,disable-legacy=on,netdev=net1",
];

#[test]
fn the_second_uplink_takes_over_while_the_first_is_down() -> Result<()> {
    let lan = "[[network]]\nname = \"lan\"\nuplink = [\"eth0\", \"eth1\"]\n";
    let volume = volume(&format!("{NODE}{lan}{}", vm("one", "{ network = \"lan\" }")))?;
    let folder = Folder::new()?;
    let mut node = node::boot_on(&volume, |qemu: Qemu| qemu.args(HUB).monitor(folder.monitor()))?;
    let link = |net: &str, up: bool| {
        let arguments = format!(r#"{{"name":"{net}","up":{up}}}"#);
        monitor::tell(&folder.monitor(), &format!(r#"{{"execute":"set_link","arguments":{arguments}}}"#))
    };
    enter(&mut node, "one")?;
    up(&mut node, "eth0", "10.0.2.15/24")?;
    pings(&mut node, "10.0.2.2")?;
    does(&mut node, "cat /sys/class/net/eth0/carrier_changes >changes")?;
    node.detach()?;
    node.expect("net info lan", "eth0 (active), eth1")?;

    // Back and forth. One goes in and is seen before the other goes out: at no time there is none.
    for (goes, up, active) in [
        ("net0", false, "eth0, eth1 (active)"),
        ("net0", true, "eth0 (active), eth1"),
        ("net1", false, "eth0 (active), eth1"),
    ] {
        link(goes, up)?;
        node.wait_until("net info lan", active)?;
        enter_again(&mut node, "one")?;
        pings(&mut node, "10.0.2.2")?;
        node.detach()?;
    }
    // Nothing of all this was seen by the guest.
    enter_again(&mut node, "one")?;
    does(&mut node, "cmp changes /sys/class/net/eth0/carrier_changes")?;
    node.detach()?;

    link("net0", false)?;
    node.wait_until("net list", "eth0, eth1  -")?;
    enter_again(&mut node, "one")?;
    until(&mut node, "[ $(cat /sys/class/net/eth0/carrier) = 0 ]")?;
    node.detach()?;
    link("net1", true)?;
    node.wait_until("net info lan", "eth0, eth1 (active)")?;
    enter_again(&mut node, "one")?;
    until(&mut node, "[ $(cat /sys/class/net/eth0/carrier) = 1 ]")?;
    pings(&mut node, "10.0.2.2")?;
    node.detach()?;
    node.power_off()
}
