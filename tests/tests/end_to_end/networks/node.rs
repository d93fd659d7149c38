//! The node's own address: what it reaches, and who reaches it.
use super::{enter, enter_again, link_local, pings, up, vm, volume};
use crate::NODE;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;
use tests::drive::Image;
use tests::node::{self, Node};
use tests::shell::does;
use tests::volume::Volume;
use xtask::failure::{Context, Failure, Result};
use xtask::rig::monitor;

/// How long the echo service may take for what is sent to it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends what cannot be guessed to a TCP port of the emulator's host, and compares what comes back.
fn is_echoed_at(port: u16) -> Result<()> {
    let mut sent = Vec::new();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    while sent.len() < 2_000_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        sent.extend(state.to_le_bytes());
    }
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context(|| "no connection to the node")?;
    stream.set_read_timeout(Some(PATIENCE)).context(|| "no time-out")?;
    let mut writer = stream.try_clone().context(|| "no second half")?;
    let copy = sent.clone();
    let writing =
        thread::spawn(move || writer.write_all(&copy).and_then(|()| writer.shutdown(Shutdown::Write)));
    let mut came = Vec::new();
    stream.read_to_end(&mut came).context(|| format!("the echo ended after {} bytes", came.len()))?;
    writing.join().map_err(|_| Failure::new("the writer panicked"))?.context(|| "cannot send")?;
    if came != sent {
        let same = came.iter().zip(&sent).take_while(|(one, other)| one == other).count();
        return Err(Failure::new(format!(
            "{} of {} bytes came back, {same} as sent",
            came.len(),
            sent.len()
        )));
    }
    Ok(())
}

/// The port of the emulator's host that leads to the node, as QEMU chose it: in the row of its table of connections that
/// has `HOST_FORWARD` in it the fourth column (`net/slirp.c`: protocol, descriptor, source address, port).
fn forwarded(table: &str) -> Result<u16> {
    let row = table.lines().find(|line| line.contains("HOST_FORWARD"));
    let port = row.and_then(|row| row.split_whitespace().nth(3)).and_then(|port| port.parse().ok());
    port.ok_or_else(|| Failure::new(format!("no port leads to the node:\n{table}")))
}

/// The node gets an address by this card, pings its router, and answers whoever connects to it.
fn the_node_is_on_the_network_by(card: &str) -> Result<()> {
    let config = format!(
        "{}address = \"dhcp\"\necho = true\n\n[[network]]\nname = \"lan\"\nuplink = \"eth0\"\n",
        NODE.trim_end().to_owned() + "\n"
    );
    let image = Image::new(1)?;
    let socket = image.monitor();
    let device = format!("{card},netdev=net0,mac=52:54:00:12:34:99");
    let mut node = node::boot_on(&Volume::new(config)?, |qemu| {
        qemu.monitor(&socket).args(["-netdev", "user,id=net0,hostfwd=tcp:127.0.0.1:0-:7", "-device", &device])
    })?;
    node.wait_for(&["network lan: DHCP: 10.0.2.15/24 from 10.0.2.2, gateway 10.0.2.2"])?;
    node.expect("node info", "10.0.2.15/24")?;
    node.expect("net info lan", "52:54:00:12:34:99")?;
    node.expect("net capture lan show", "nothing was captured there")?;
    node.expect("net capture lan icmp host 10.0.2.2 count 3", "The next 3 frames")?;
    node.type_text("ping 10.0.2.2 2\r")?;
    node.wait_for(&["2 sent, 2 answered"])?;
    let frames = node.command("net capture lan show")?;
    let between = |line: &&str| {
        line.contains("10.0.2.15 > 10.0.2.2 ICMP") || line.contains("10.0.2.2 > 10.0.2.15 ICMP")
    };
    if frames.lines().filter(between).count() != 3 {
        return Err(Failure::new(format!("these are not three of the ping's four frames:\n{frames}")));
    }
    node.expect("net info lan", "has ended: 3 of 3 frames, icmp host 10.0.2.2")?;
    let usernet = r#"{"execute":"human-monitor-command","arguments":{"command-line":"info usernet"}}"#;
    let table = monitor::tell(&socket, usernet)?;
    is_echoed_at(forwarded(table.as_str().unwrap_or_default())?)?;
    node.power_off()
}

#[test]
fn the_node_is_on_the_network_by_an_e1000e() -> Result<()> {
    the_node_is_on_the_network_by("e1000e")
}

#[test]
fn the_node_is_on_the_network_by_a_virtio_card() -> Result<()> {
    the_node_is_on_the_network_by("virtio-net-pci,disable-legacy=on")
}

/// Lets the node ping, and says how many replies it had.
fn node_pings(node: &mut Node, words: &str, expected: &str) -> Result<()> {
    node.type_text(&format!("ping {words}\r"))?;
    node.wait_for(&[expected]).map(drop)
}

/// Sends a file to the node's echo port; what comes back must be the same.
fn is_echoed_to_guest(node: &mut Node, address: &str) -> Result<()> {
    // With an input that does not end: nc ends with it, before all is back.
    does(
        node,
        &format!(
            "rm -f got; (cat sent; until [ $(wc -c <got) = 1000000 ]; do usleep 50000; done) | nc {address} 7 >got; \
             cmp sent got"
        ),
    )
    .map(drop)
}

#[test]
fn guests_and_the_node_reach_each_other_on_a_network_inside() -> Result<()> {
    let own = "address = [\"10.1.0.9/24\", \"fd00::9/64\"]\nnetwork = \"lan\"\necho = true\n";
    let lan = "[[network]]\nname = \"lan\"\nmtu = 9000\n";
    let [one, two] = ["one", "two"].map(|name| vm(name, "{ network = \"lan\" }"));
    let mut node = node::boot(&volume(&format!("{}\n{own}\n{lan}{one}{two}", NODE.trim_end()))?)?;
    enter(&mut node, "two")?;
    up(&mut node, "eth0", "10.1.0.2/24")?;
    let two_v6 = link_local(&mut node, "eth0")?;
    node.detach()?;
    enter(&mut node, "one")?;
    up(&mut node, "eth0", "10.1.0.1/24")?;
    does(&mut node, "echo 0 >/proc/sys/net/ipv6/conf/eth0/dad_transmits; ip addr add fd00::1/64 dev eth0")?;
    // Who is there is found out by ARP and neighbour discovery, from both sides.
    pings(&mut node, "10.1.0.9")?;
    pings(&mut node, "-s 8900 10.1.0.9")?;
    pings(&mut node, "-6 -s 8900 fd00::9")?;
    does(&mut node, "head -c 1000000 /dev/urandom >sent")?;
    is_echoed_to_guest(&mut node, "10.1.0.9")?;
    is_echoed_to_guest(&mut node, "fd00::9")?;
    node.detach()?;
    node_pings(&mut node, "10.1.0.1 2", "2 sent, 2 answered")?;
    node_pings(&mut node, "fd00::1 1", "1 sent, 1 answered")?;
    node_pings(&mut node, &format!("{two_v6} 1"), "1 sent, 1 answered")?;
    // Nobody has that address; nobody leads to that one.
    node_pings(&mut node, "10.1.0.77 1", "1 sent, 0 answered")?;
    node_pings(
        &mut node,
        "192.0.2.1",
        "there is no way to it: neither an address in its network nor a gateway",
    )?;

    // What passes between one and the node, two sees where it is mirrored to it, and only there.
    let seen = |node: &mut Node| -> Result<u64> {
        let text = does(node, "cat /sys/class/net/eth0/statistics/rx_packets")?;
        let count = text.lines().find_map(|line| line.trim().parse().ok());
        count.ok_or_else(|| Failure::new(format!("no number in:\n{text}")))
    };
    let ping_and_look = |node: &mut Node| -> Result<u64> {
        enter_again(node, "two")?;
        let before = seen(node)?;
        node.detach()?;
        enter_again(node, "one")?;
        pings(node, "10.1.0.9")?;
        node.detach()?;
        enter_again(node, "two")?;
        let after = seen(node)?;
        node.detach()?;
        Ok(after - before)
    };
    // Neighbours that are asked anew whether they are still there, are so by frames to them alone.
    let alone = ping_and_look(&mut node)?;
    node.expect("net mirror lan one/0 two/0", "What passes one/0 goes to two/0 too.")?;
    node.expect("net info lan", "mirror     one/0 to two/0")?;
    let mirrored = ping_and_look(&mut node)?;
    node.expect("net mirror lan off", "Nothing is mirrored on lan.")?;
    if alone >= 6 || mirrored < 6 {
        let failure = format!("two saw {alone} frames of others, and {mirrored} with the mirror");
        return Err(Failure::new(failure));
    }
    node.power_off()
}
