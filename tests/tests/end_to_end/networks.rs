//! Networks: guests among each other, and with the world outside.
use crate::NODE;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use tests::guest;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::shell::{does, tries};
use tests::volume::Volume;
use xtask::failure::{Context, Failure, Result};
use xtask::rig::Qemu;

/// What a guest does with an address that it was given (udhcpc's script).
const DHCP_SCRIPT: &str = "#!/bin/sh\n\
    [ \"$1\" = bound ] || exit 0\n\
    ip addr add $ip/${mask:-24} dev $interface\n\
    [ -n \"$router\" ] && ip route add default via ${router%% *}\n\
    echo \"GUEST address $ip\"\n";

/// A Debian guest with these NICs.
fn vm(name: &str, nics: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"96M\"\nkernel = \"vmlinuz\"\ninitrd = \"net.img\"\n\
         cmdline = \"console=ttyS0 quiet\"\nnics = [{nics}]\n"
    )
}

fn volume(config: &str) -> Result<Volume> {
    let debian = &prepared()?.debian;
    let mut archive = xtask::initramfs::Initramfs::busybox(debian, guest::INIT)?;
    archive.modules(&debian.modules(&["virtio_pci", "virtio_net"])?);
    archive.file("root/dhcp", 0o755, DHCP_SCRIPT.as_bytes());
    Ok(Volume::new(format!("{NODE}{config}"))?.file("net.img", archive.finish()))
}

/// Goes to a guest's console and gives it this address.
fn up(node: &mut Node, vm: &str, address: &str) -> Result<()> {
    node.attach(vm)?;
    node.wait_for_shell()?;
    does(node, &format!("ip addr add {address} dev eth0 && ip link set eth0 up"))?;
    Ok(())
}

#[test]
fn two_guests_on_a_network_of_the_node_reach_each_other() -> Result<()> {
    let lan = "[[network]]\nname = \"lan\"\n";
    let [one, two] = ["one", "two"].map(|name| vm(name, "{ network = \"lan\" }"));
    let mut node = node::boot(&volume(&format!("{lan}{one}{two}"))?)?;
    up(&mut node, "two", "10.1.0.2/24")?;
    does(&mut node, "head -c 20000000 /dev/urandom >sent && sha256sum <sent >sum")?;
    let sum = does(&mut node, "cat sum")?;
    node.type_text("nc -l -p 5000 <sent\n")?;
    node.detach()?;
    up(&mut node, "one", "10.1.0.1/24")?;
    does(&mut node, "ping -c 3 10.1.0.2")?;
    // With an input that does not end, since nc ends with its peer when either side does.
    does(&mut node, "mkfifo open && nc 10.1.0.2 5000 <>open >got")?;
    let got = does(&mut node, "sha256sum <got")?;
    let word = |text: &str| text.split_whitespace().find(|word| word.len() == 64).map(String::from);
    if word(&sum).is_none() || word(&sum) != word(&got) {
        return Err(Failure::new(format!("what was sent is not what came:\n{sum}{got}{}", node.tail())));
    }
    node.detach()?;
    node.power_off()
}

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

/// A guest asks for an address, reaches the gateway, and sends and receives a file, by a card of this model.
fn a_guest_reaches_the_world_by(model: &str) -> Result<()> {
    let lan = "[[network]]\nname = \"lan\"\nuplink = \"eth0\"\n";
    let volume = volume(&format!("{lan}{}", vm("one", "{ network = \"lan\" }")))?;
    let device = format!("{model},netdev=net0");
    let card = |qemu: Qemu| qemu.args(["-netdev", "user,id=net0", "-device", &device]);
    let mut node = node::boot_on(&volume, card)?;
    node.attach("one")?;
    node.wait_for_shell()?;
    does(&mut node, "ip link set eth0 up")?;
    let text = does(&mut node, "udhcpc -i eth0 -n -q -s /root/dhcp")?;
    if !text.contains("GUEST address 10.0.2.") {
        return Err(Failure::new(format!("the guest got no address:\n{text}{}", node.tail())));
    }
    does(&mut node, "ping -c 3 10.0.2.2")?;
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
