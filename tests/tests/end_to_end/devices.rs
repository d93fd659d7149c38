//! Guests' virtio devices beside disks.
use crate::NODE;
use tests::guest;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::shell::does;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};

/// A Debian guest whose kernel says little. `more` is further lines.
fn vm(name: &str, more: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"96M\"\nkernel = \"vmlinuz\"\ninitrd = \"devices.img\"\n\
         cmdline = \"console=ttyS0 quiet\"\n{more}\n"
    )
}

fn volume(vms: &str, modules: &[&str]) -> Result<Volume> {
    let initrd = guest::initrd_with(&prepared()?.debian, modules)?;
    Ok(Volume::new(NODE.to_string() + vms)?.file("devices.img", initrd))
}

/// Two reads of the guest's generator must give something, and not the same.
fn gives_random_numbers(node: &mut Node) -> Result<()> {
    does(node, "grep virtio_rng /sys/class/misc/hw_random/rng_current")?;
    does(node, "dd if=/dev/hwrng of=/tmp/a bs=64 count=64; dd if=/dev/hwrng of=/tmp/b bs=64 count=64")?;
    does(node, "! cmp -s /tmp/a /tmp/b && [ $(cat /tmp/a | gzip | wc -c) -gt 1024 ]").map(drop)
}

#[test]
fn a_guest_has_random_numbers_and_a_second_terminal() -> Result<()> {
    let vms = vm("debian", "virtio_console = true") + &vm("plain", "autostart = false\nrng = false");
    let mut node = node::boot(&volume(&vms, &["virtio_rng", "virtio_console"])?)?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    gives_random_numbers(&mut node)?;
    let listens = "(while read word; do echo \"HVC hears $word\"; done) </dev/hvc0 >/dev/hvc0 2>&1 &";
    does(&mut node, &format!("echo ready >/dev/hvc0; {listens} true"))?;
    node.detach()?;
    node.expect("vm info debian", "devices   virtio-rng, virtio-console")?;
    node.type_text("vm console debian hvc0\r")?;
    node.wait_for(&["[debian, hvc0: Ctrl-] comes back to the node]"])?;
    node.wait_for(&["ready"])?;
    node.type_text("aye\n")?;
    node.wait_for(&["HVC hears aye"])?;
    // More at once than the guest has buffers for.
    node.type_text(&format!("{}\n", "x".repeat(200)))?;
    node.wait_for(&[&format!("HVC hears {}", "x".repeat(200))])?;
    node.detach()?;
    // The serial port has seen nothing of it.
    node.attach("debian")?;
    let text = does(&mut node, "true")?;
    if text.contains("HVC hears aye") {
        return Err(Failure::new(format!("the serial port printed what the virtio console did:\n{text}")));
    }
    node.detach()?;
    node.expect("vm console plain hvc0", "it has none; virtio_console = true in its part of purevisor.toml")?;
    node.power_off()
}
