//! Memory that guests give back to the node, and want again.
use crate::NODE;
use tests::guest;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::rig::Rig;
use tests::shell::does;
use tests::volume::Volume;
use xtask::failure::{Failure, Result};

/// A Debian guest that has a driver for its balloon.
fn vm(name: &str, rig: Rig, mib: u32, more: &str) -> String {
    let words = rig.linux_words();
    format!(
        "[[vm]]\nname = \"{name}\"\nmemory = \"{mib}M\"\nkernel = \"vmlinuz\"\ninitrd = \"balloon.img\"\n\
         cmdline = \"console=ttyS0 quiet{words}\"\n{more}\n"
    )
}

fn volume(vms: &str) -> Result<Volume> {
    let initrd = guest::initrd_with(&prepared()?.debian, &["virtio_balloon"])?;
    Ok(Volume::new(NODE.to_string() + vms)?.file("balloon.img", initrd))
}

/// MiB of the node's memory that are free.
fn free(node: &mut Node) -> Result<f64> {
    let info = node.command("node info")?;
    amount(&info, "used, ").ok_or_else(|| Failure::new(format!("no free memory in:\n{info}")))
}

/// The amount behind these words, in MiB.
fn amount(text: &str, behind: &str) -> Option<f64> {
    let mut words = text.split_once(behind)?.1.split_whitespace();
    let number: f64 = words.next()?.parse().ok()?;
    let unit = words.next()?.trim_end_matches([',', '.']);
    Some(
        number
            * [("B", 1.0 / 1048576.0), ("KiB", 1.0 / 1024.0), ("MiB", 1.0), ("GiB", 1024.0)]
                .iter()
                .find(|u| u.0 == unit)?
                .1,
    )
}

/// Asks until a VM has at most, or at least, so many MiB of the node's memory.
fn has_now(node: &mut Node, vm: &str, enough: impl Fn(f64) -> bool) -> Result<f64> {
    let end = std::time::Instant::now() + node.patience();
    loop {
        let info = node.command(&format!("vm info {vm}"))?;
        let now = amount(&info, "of which it has ").or_else(|| amount(&info, "memory    "));
        match now {
            Some(now) if enough(now) => return Ok(now),
            _ if std::time::Instant::now() > end => {
                return Err(Failure::new(format!("{vm} has {now:?} MiB at last:{}", node.tail())));
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    }
}

/// Reboots the guest whose console this is, and waits for its shell.
fn restarts(node: &mut Node) -> Result<()> {
    does(node, "true")?;
    node.wait_for(&[guest::PROMPT])?;
    node.type_text("reboot -f\n")?;
    node.wait_for_shell().map(drop)
}

#[test]
fn the_operator_takes_memory_from_a_guest_and_gives_it_back() -> Result<()> {
    let mut node = node::boot(&volume(&vm("debian", Rig::Qemu, 224, ""))?)?;
    node.expect("vm memory debian 512M", "it has 224 MiB in purevisor.toml")?;
    node.expect("vm memory debian 8M", "no guest runs in less than 16 MiB")?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    node.detach()?;
    let before = free(&mut node)?;
    node.expect("vm memory debian 128M", "debian is to use 128 MiB of 224 MiB.")?;
    // Not all of it in whole chunks: that is up to the guest.
    has_now(&mut node, "debian", |now| now <= 176.0)?;
    node.wait_until("vm info debian", "balloon   96 MiB of 96 MiB\n")?;
    node.wait_until("vm info debian", " available, as it says")?;
    if free(&mut node)? < before + 40.0 {
        return Err(Failure::new(format!("the node has not got it:{}", node.tail())));
    }
    // A guest that begins anew is asked anew, whatever it touches before.
    node.attach("debian")?;
    restarts(&mut node)?;
    node.detach()?;
    node.wait_until("vm info debian", "balloon   96 MiB of 96 MiB\n")?;
    has_now(&mut node, "debian", |now| now <= 176.0)?;
    // It has it again, and it holds what is written there.
    node.expect("vm memory debian 224M", "debian is to use 224 MiB of 224 MiB.")?;
    node.attach("debian")?;
    does(&mut node, "while [ $(awk '/MemFree/ { print $2 }' /proc/meminfo) -lt 130000 ]; do :; done")?;
    let fill = "for i in 1 2 3 4; do cp /tmp/a /tmp/a$i || break; done";
    let mount = "mount -t tmpfs -o size=90% none /tmp && dd if=/dev/urandom of=/tmp/a bs=1M count=25";
    does(
        &mut node,
        &format!("{mount} && {fill} && for i in 1 2 3 4; do cmp /tmp/a /tmp/a$i || break; done"),
    )?;
    node.detach()?;
    has_now(&mut node, "debian", |now| now >= 180.0)?;
    node.power_off()
}

#[test]
fn a_guest_whose_memory_others_have_by_now_is_ended_and_they_go_on() -> Result<()> {
    let vms = vm("greedy", Rig::Qemu, 512, "return_free_memory = true")
        + &vm("other", Rig::Qemu, 640, "autostart = false");
    let mut node = node::boot(&volume(&vms)?)?;
    node.attach("greedy")?;
    node.wait_for_shell()?;
    node.detach()?;
    has_now(&mut node, "greedy", |now| now <= 160.0)?;
    node.start("other")?;
    node.attach("other")?;
    node.wait_for_shell()?;
    does(&mut node, "echo fine >/tmp/state")?;
    node.detach()?;
    node.attach("greedy")?;
    node.type_text("mount -t tmpfs -o size=95% none /tmp; dd if=/dev/zero of=/tmp/a bs=1M count=400\n")?;
    let why = node.wait_for_vm_end()?;
    if !why.contains("its guest needs memory again that it gave back, and the node has none left") {
        return Err(Failure::new(format!("it ended by {why}")));
    }
    node.wait_for_state("greedy", "failed")?;
    // All of its memory is free again; the other one has lost nothing.
    if free(&mut node)? < 300.0 {
        return Err(Failure::new(format!("its memory is not free:{}", node.tail())));
    }
    node.attach("other")?;
    does(&mut node, "grep fine /tmp/state")?;
    node.detach()?;
    node.power_off()
}

on_each_rig!(
    amd_v,
    tests::rig::Rig::Qemu,
    what_a_guest_does_not_use_is_the_nodes_and_comes_back_when_it_is_touched
);
on_each_rig!(
    vt_x,
    tests::rig::Rig::Bochs { cpus: 1 },
    what_a_guest_does_not_use_is_the_nodes_and_comes_back_when_it_is_touched
);

fn what_a_guest_does_not_use_is_the_nodes_and_comes_back_when_it_is_touched(rig: Rig) -> Result<()> {
    let vms = vm("first", rig, 224, "return_free_memory = true")
        + &vm("second", rig, 224, "autostart = false\nreturn_free_memory = true");
    let mut node = node::boot_in(rig, &volume(&vms)?)?;
    node.attach("first")?;
    node.wait_for_shell()?;
    does(&mut node, "mount -t tmpfs -o size=90% none /tmp && dd if=/dev/urandom of=/tmp/a bs=1M count=4")?;
    does(&mut node, "sum=$(md5sum </tmp/a) && dd if=/dev/zero of=/tmp/b bs=1M count=112")?;
    node.detach()?;
    let full = has_now(&mut node, "first", |now| now >= 160.0)?;
    let before = free(&mut node)?;
    node.attach("first")?;
    does(&mut node, "rm /tmp/b")?;
    node.detach()?;
    let small = has_now(&mut node, "first", |now| now <= full - 64.0)?;
    let after = free(&mut node)?;
    if after < before + 32.0 {
        return Err(Failure::new(format!("the node had {before} MiB free and has {after}:{}", node.tail())));
    }
    // What it kept it has.
    node.attach("first")?;
    does(&mut node, "[ \"$(md5sum </tmp/a)\" = \"$sum\" ]")?;
    node.detach()?;
    // Another VM takes it, and ends; the first wants it again.
    node.start("second")?;
    node.attach("second")?;
    node.wait_for_shell()?;
    node.detach()?;
    node.attach("first")?;
    does(&mut node, "for i in 1 2 3 4 5; do cp /tmp/a /tmp/a$i && cmp /tmp/a /tmp/a$i || break; done")?;
    does(&mut node, "dd if=/dev/zero of=/tmp/b bs=1M count=80 && [ \"$(md5sum </tmp/a5)\" = \"$sum\" ]")?;
    node.detach()?;
    has_now(&mut node, "first", |now| now >= small + 48.0)?;
    node.power_off()
}
