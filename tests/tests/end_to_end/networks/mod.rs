//! Networks: guests among each other, and with the world outside.
//!
//! | module | what it shows |
//! |---|---|
//! | `inside` | guests of one node: IPv4 and IPv6, packets of 1500 and 9000 bytes, a restart |
//! | `outside` | DHCP and the world, by each kind of card, and what a guest sees of a cable that is pulled out |
//! | `node` | the node's own address, captures and mirrors |
//! | `nodes` | guests of two nodes, with and without VLANs |
//! | `failover` | a second uplink that takes over |
//! | `hostile_guest` | a guest that lies, storms and floods |
//! | `hostile_wire` | frames from outside that nobody should send |
mod failover;
mod hostile_guest;
mod hostile_wire;
mod inside;
mod lies;
mod node;
mod nodes;
mod outside;
mod port;

use port::Port;
use std::net::Ipv6Addr;
use tests::guest;
use tests::node::Node;
use tests::prepared::prepared;
use tests::shell::does;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};
use xtask::initramfs::{DHCP_SCRIPT, Initramfs};

/// A Debian guest with these NICs.
fn vm(name: &str, nics: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"96M\"\nkernel = \"vmlinuz\"\ninitrd = \"net.img\"\n\
         cmdline = \"console=ttyS0 quiet\"\nnics = [{nics}]\n"
    )
}

/// The guests' first file system, and what only one test's has.
fn volume_with(config: &str, add: impl FnOnce(&mut Initramfs)) -> Result<Volume> {
    let debian = &prepared()?.debian;
    let mut archive = Initramfs::busybox(debian, guest::INIT)?;
    archive.modules(&debian.modules(&["virtio_pci", "virtio_net"])?);
    archive.file("root/dhcp", 0o755, DHCP_SCRIPT.as_bytes());
    add(&mut archive);
    Ok(Volume::new(config)?.file("net.img", archive.finish()))
}

fn volume(config: &str) -> Result<Volume> {
    volume_with(config, |_| ())
}

/// Goes to a guest's console and waits for its shell.
fn enter(node: &mut Node, vm: &str) -> Result<()> {
    node.attach(vm)?;
    node.wait_for_shell().map(drop)
}

/// Goes to the console of a guest whose shell was waited for before.
fn enter_again(node: &mut Node, vm: &str) -> Result<()> {
    node.attach(vm)?;
    does(node, "true").map(drop)
}

/// Restarts the guest whose shell waits, and waits for its next.
fn restart(node: &mut Node) -> Result<()> {
    node.type_text("echo RESTART; reboot -f\n")?;
    node.wait_for(&["RESTART\r"])?;
    node.wait_for_shell().map(drop)
}

/// Gives the guest's card this address.
fn up(node: &mut Node, card: &str, address: &str) -> Result<()> {
    does(node, &format!("ip addr add {address} dev {card} && ip link set {card} up")).map(drop)
}

/// Pings three times, with these words; all must come back.
fn pings(node: &mut Node, words: &str) -> Result<()> {
    let text = does(node, &format!("ping -c 3 {words}"))?;
    match text.contains(" 0% packet loss") {
        true => Ok(()),
        false => Err(Failure::new(format!("not all pings of {words} came back:\n{text}"))),
    }
}

/// What the guest does until it works: for what comes about in its own time.
fn until(node: &mut Node, condition: &str) -> Result<()> {
    does(node, &format!("until {condition}; do usleep 100000; done")).map(drop)
}

/// Makes a file of random bytes in the guest, and offers it once to whoever connects; its sum.
fn offer(node: &mut Node, bytes: usize) -> Result<String> {
    // Both are in memory, of which there is little.
    does(node, &format!("rm -f sent got; head -c {bytes} /dev/urandom >sent"))?;
    let sum = sum(&does(node, "sha256sum sent")?)?;
    node.type_text("nc -l -p 5000 <sent\n")?;
    Ok(sum)
}

/// Fetches what a guest at `address` offers; its sum.
fn fetch(node: &mut Node, address: &str) -> Result<String> {
    // With an input that does not end, since nc ends with its peer when either side does.
    does(node, "rm -f open sent got; mkfifo open")?;
    until(node, &format!("nc {address} 5000 <>open >got"))?;
    sum(&does(node, "sha256sum got")?)
}

fn sum(text: &str) -> Result<String> {
    let sum = text.split_whitespace().find(|word| word.len() == 64);
    sum.map(String::from).ok_or_else(|| Failure::new(format!("no sum in:\n{text}")))
}

fn same(sent: &str, got: &str) -> Result<()> {
    if sent == got {
        Ok(())
    } else {
        Err(Failure::new(format!("what was sent is not what came: {sent}, {got}")))
    }
}

/// The guest's link-local address on a card, once it may use it.
fn link_local(node: &mut Node, card: &str) -> Result<Ipv6Addr> {
    // An address, the number of its card, prefix, scope (20 is link-local) and flags (80 is that nobody else has it).
    let look = format!("grep ' 20 80 *{card}$' /proc/net/if_inet6");
    until(node, &look)?;
    let text = does(node, &look)?;
    let word = text.split_whitespace().find(|word| word.len() == 32 && word.starts_with("fe80"));
    let bits = word.and_then(|word| u128::from_str_radix(word, 16).ok());
    bits.map(Ipv6Addr::from_bits).ok_or_else(|| Failure::new(format!("no link-local address in:\n{text}")))
}
