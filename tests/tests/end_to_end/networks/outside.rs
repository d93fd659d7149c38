//! Guests and the world outside.
use super::{enter, enter_again, pings, until, vm, volume};
use crate::NODE;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use tests::folder::Folder;
use tests::node;
use tests::shell::{does, tries};
use xtask::failure::{Context, Failure, Result};
use xtask::rig::{Qemu, monitor};

/// A server on the emulator's host that takes what comes until the end, and sends it back.
fn echo() -> Result<(u16, thread::JoinHandle<std::io::Result<usize>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").context(|| "cannot listen")?;
    let port = listener.local_addr().context(|| "no address")?.port();
    let serve = move || {
        let (mut stream, _) = listener.accept()?;
        let mut all = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        // Its length comes first, in a line.
        loop {
            let read = stream.read(&mut buffer)?;
            all.extend_from_slice(&buffer[..read]);
            if read == 0 || all.ends_with(b"END\n") {
                break;
            }
        }
        stream.write_all(&all)?;
        Ok(all.len())
    };
    Ok((port, thread::spawn(serve)))
}

/// A guest asks for an address, reaches the gateway, and sends and receives a file, by a card of this model; and goes on when
/// its cable was out for a while.
fn a_guest_reaches_the_world_by(model: &str) -> Result<()> {
    let lan = "[[network]]\nname = \"lan\"\nuplink = \"eth0\"\n";
    let volume = volume(&format!("{NODE}{lan}{}", vm("one", "{ network = \"lan\" }")))?;
    let device = format!("{model},netdev=net0");
    let folder = Folder::new()?;
    let card =
        |qemu: Qemu| qemu.args(["-netdev", "user,id=net0", "-device", &device]).monitor(folder.monitor());
    let mut node = node::boot_on(&volume, card)?;
    enter(&mut node, "one")?;
    does(&mut node, "ip link set eth0 up")?;
    let text = does(&mut node, "udhcpc -i eth0 -n -q -s /root/dhcp")?;
    if !text.contains("GUEST address 10.0.2.") {
        return Err(Failure::new(format!("the guest got no address:\n{text}{}", node.tail())));
    }
    pings(&mut node, "10.0.2.2")?;
    let (port, server) = echo()?;
    does(&mut node, "head -c 3000000 /dev/urandom >sent && echo END >>sent")?;
    does(&mut node, &format!("nc 10.0.2.2 {port} <sent >got"))?;
    let served = server.join().map_err(|_| Failure::new("the server panicked"))?;
    served.context(|| "the server failed")?;
    let (same, _) = tries(&mut node, "cmp sent got")?;
    if !same {
        return Err(Failure::new(format!("what came back is not what was sent:{}", node.tail())));
    }
    node.detach()?;

    // With and without the cable: the node sees it, and the guest does.
    for (up, shown, carrier) in [(false, "down", 0), (true, "up", 1)] {
        let pull = format!(r#"{{"execute":"set_link","arguments":{{"name":"net0","up":{up}}}}}"#);
        monitor::tell(&folder.monitor(), &pull)?;
        let active = if up { "eth0 (active)" } else { "uplinks    eth0\n" };
        node.wait_until("net info lan", active)?;
        let list = node.command("nic list")?;
        let row = list.lines().find(|line| line.starts_with("eth0"));
        if row.is_none_or(|row| row.contains("  down  ") == up) {
            return Err(Failure::new(format!("the link of eth0 should be {shown}:\n{list}")));
        }
        enter_again(&mut node, "one")?;
        until(&mut node, &format!("[ $(cat /sys/class/net/eth0/carrier) = {carrier} ]"))?;
        node.detach()?;
    }
    enter_again(&mut node, "one")?;
    pings(&mut node, "10.0.2.2")?;
    node.detach()?;
    node.power_off()
}

#[test]
fn a_guest_reaches_the_world_by_an_e1000e() -> Result<()> {
    a_guest_reaches_the_world_by("e1000e")
}

#[test]
fn a_guest_reaches_the_world_by_an_e1000() -> Result<()> {
    a_guest_reaches_the_world_by("e1000")
}

#[test]
fn a_guest_reaches_the_world_by_a_virtio_card() -> Result<()> {
    a_guest_reaches_the_world_by("virtio-net-pci,disable-legacy=on")
}
