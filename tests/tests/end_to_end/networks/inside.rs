//! Guests of one node.
use super::{enter, enter_again, fetch, link_local, offer, pings, restart, same, up, vm, volume};
use crate::NODE;
use tests::node;
use tests::shell::does;
use xtask::failure::Result;

/// Bytes of a transfer.
const MUCH: usize = 20_000_000;
const SOME: usize = 4_000_000;

#[test]
fn two_guests_on_a_network_of_the_node_reach_each_other() -> Result<()> {
    let networks = "[[network]]\nname = \"lan\"\n[[network]]\nname = \"jumbo\"\nmtu = 9000\n";
    let [one, two] = ["one", "two"].map(|name| vm(name, "{ network = \"lan\" }, { network = \"jumbo\" }"));
    let mut node = node::boot(&volume(&format!("{NODE}{networks}{one}{two}"))?)?;
    enter(&mut node, "two")?;
    up(&mut node, "eth0", "10.1.0.2/24")?;
    up(&mut node, "eth1", "10.2.0.2/24")?;
    let two_v6 = link_local(&mut node, "eth0")?;
    let sent = offer(&mut node, MUCH)?;
    node.detach()?;

    enter(&mut node, "one")?;
    up(&mut node, "eth0", "10.1.0.1/24")?;
    up(&mut node, "eth1", "10.2.0.1/24")?;
    let one_v6 = link_local(&mut node, "eth0")?;
    pings(&mut node, "10.1.0.2")?;
    same(&sent, &fetch(&mut node, "10.1.0.2")?)?;
    pings(&mut node, &format!("-6 {two_v6}%eth0"))?;
    // A card that may have them says so, and such a packet is one frame: Linux does not cut what fits.
    does(
        &mut node,
        "[ $(cat /sys/class/net/eth0/mtu) = 1500 ] && [ $(cat /sys/class/net/eth1/mtu) = 9000 ]",
    )?;
    pings(&mut node, "-s 8900 10.2.0.2")?;
    // And the other way round, by IPv6.
    let sent = offer(&mut node, SOME)?;
    node.detach()?;
    enter_again(&mut node, "two")?;
    same(&sent, &fetch(&mut node, &format!("{one_v6}%eth0"))?)?;
    let sent = offer(&mut node, SOME)?;
    node.detach()?;
    enter_again(&mut node, "one")?;
    same(&sent, &fetch(&mut node, "10.2.0.2")?)?;

    // One that restarts has the same card again.
    restart(&mut node)?;
    up(&mut node, "eth0", "10.1.0.1/24")?;
    pings(&mut node, "10.1.0.2")?;
    node.detach()?;
    node.power_off()
}
