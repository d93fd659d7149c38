//! Disks of guests: what they write is where it should be, and nowhere else.
use crate::NODE;
use tests::drive::{Image, sha256};
use tests::guest;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::shell::{does, tries};
use tests::volume::Volume;
use xtask::failure::{Failure, Result};
use xtask::rig::{Connection, Drive, monitor};

const MIB: usize = 1 << 20;

/// A Debian guest with these disks. `more` is further lines.
pub(crate) fn vm(name: &str, disks: &str, more: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nvcpus = 2\nmemory = \"128M\"\nkernel = \"vmlinuz\"\n\
         initrd = \"disks.img\"\ncmdline = \"console=ttyS0 quiet\"\ndisks = [{disks}]\n{more}\n"
    )
}

fn volume(vms: &str) -> Result<Volume> {
    volume_with(vms, &[])
}

/// Likewise with further drivers.
fn volume_with(vms: &str, drivers: &[&str]) -> Result<Volume> {
    let initrd = guest::initrd_with(&prepared()?.debian, drivers)?;
    Ok(Volume::new(NODE.to_string() + vms)?.file("disks.img", initrd))
}

/// Restarts the guest whose console this is, and waits for its shell.
fn restarts(node: &mut Node) -> Result<()> {
    does(node, "true")?;
    node.wait_for(&[guest::PROMPT])?;
    node.type_text("reboot -f\n")?;
    node.wait_for_shell().map(drop)
}

/// What the guest reads from a device must be this.
pub(crate) fn reads(node: &mut Node, device: &str, image: &Image, expected: &[u8]) -> Result<()> {
    let sum = sha256(&image.folder(), expected)?;
    let text = does(node, &format!("sha256sum {device}"))?;
    if text.contains(&sum) {
        return Ok(());
    }
    Err(Failure::new(format!("{device} does not read as it should ({sum}):\n{text}")))
}

/// A guest of two parts of a drive: reads one in whole, copies a piece of it to another place, and fills the other.
fn a_guest_uses_two_parts_of(connection: Connection, name: &str) -> Result<()> {
    let image = Image::new(48)?;
    let disks = format!(
        "{{ source = \"{name}\", size = \"24M\" }}, {{ source = \"{name}\", offset = \"32M\", size = \"8M\" }}"
    );
    let drive = Drive::new("drive0", image.path(), connection);
    let mut node = node::boot_on(&volume(&vm("debian", &disks, ""))?, |qemu| qemu.drive(drive))?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    let mut expected = image.before().to_vec();
    reads(&mut node, "/dev/vda", &image, &expected[..24 * MIB])?;
    reads(&mut node, "/dev/vdb", &image, &expected[32 * MIB..40 * MIB])?;

    does(
        &mut node,
        "dd if=/dev/vda of=/tmp/piece bs=64k count=32 && dd if=/tmp/piece of=/dev/vda bs=4k seek=2048 conv=fsync",
    )?;
    expected.copy_within(..2 * MIB, 8 * MIB);
    does(&mut node, "head -c 512 /dev/zero >/tmp/block && dd if=/tmp/block of=/dev/vda seek=7 conv=fsync")?;
    expected[7 * 512..8 * 512].fill(0);
    does(&mut node, "tr '\\0' x </dev/zero | dd of=/dev/vdb bs=1M count=8 iflag=fullblock conv=fsync")?;
    expected[32 * MIB..40 * MIB].fill(b'x');
    let (beyond, _) = tries(&mut node, "dd if=/tmp/block of=/dev/vdb bs=512 seek=16384 count=1")?;
    if beyond {
        return Err(Failure::new("a guest wrote beyond the end of its disk"));
    }
    // Without the guest's own cache.
    does(&mut node, "echo 3 >/proc/sys/vm/drop_caches")?;
    reads(&mut node, "/dev/vda", &image, &expected[..24 * MIB])?;
    reads(&mut node, "/dev/vdb", &image, &expected[32 * MIB..40 * MIB])?;
    node.detach()?;
    node.expect(&format!("disk info {name}"), "VM debian: writes 8 MiB from 32 MiB on")?;
    node.expect("vm info debian", &format!("disk      {name}, 8 MiB from 32 MiB on, virtio-blk"))?;
    node.power_off()?;
    image.expect(&expected)
}

#[test]
fn what_a_guest_writes_to_an_nvme_drive_is_on_it_and_nothing_else() -> Result<()> {
    a_guest_uses_two_parts_of(Connection::Nvme, "nvme0n1")
}

#[test]
fn what_a_guest_writes_to_a_sata_disk_is_on_it_and_nothing_else() -> Result<()> {
    // Its controller is found before the chipset's, where the boot medium is.
    a_guest_uses_two_parts_of(Connection::Ahci, "sata0")
}

#[test]
fn what_a_guest_writes_to_a_virtio_disk_of_the_node_is_on_it_and_nothing_else() -> Result<()> {
    a_guest_uses_two_parts_of(Connection::Virtio, "virtio0")
}

#[test]
fn a_sata_disks_parts_are_logical_units_of_a_scsi_controller() -> Result<()> {
    let image = Image::new(48)?;
    let disks = "{ source = \"sata0\", size = \"24M\", bus = \"virtio-scsi\" }, \
                 { source = \"sata0\", offset = \"32M\", size = \"8M\", bus = \"virtio-scsi\", readonly = true }";
    let drive = Drive::new("drive0", image.path(), Connection::Ahci);
    let volume = volume_with(&vm("debian", disks, ""), &["virtio_scsi", "sd_mod"])?;
    let mut node = node::boot_on(&volume, |qemu| qemu.drive(drive))?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    // Linux finds them at its leisure, and names them in any order.
    for unit in 0..2 {
        does(
            &mut node,
            &format!(
                "S{unit}=/sys/class/scsi_device/*:0:0:{unit}/device; until [ -e $S{unit}/block/sd? ]; do sleep 1; \
                 done; U{unit}=/dev/$(ls $S{unit}/block)"
            ),
        )?;
    }
    // Linux takes the cache of what it can't write for none.
    for (unit, serial, cache, readonly) in
        [(0, "sata0", "write back", 0), (1, "sata0@32M", "write through", 1)]
    {
        let command = format!(
            "(cd $S{unit}; cat vendor model wwid; echo serial=$(tail -c +5 vpd_pg80) \
             is=$(cat scsi_disk/*/cache_type scsi_disk/*/FUA block/*/ro).)"
        );
        let text = does(&mut node, &command)?;
        let is = format!("serial={serial} is={cache} 1 {readonly}.");
        let missing =
            ["PureVisr", "Virtual disk", "naa.3", &is].into_iter().find(|what| !text.contains(what));
        if let Some(missing) = missing {
            return Err(Failure::new(format!("unit {unit} does not tell {missing:?}:\n{text}")));
        }
    }
    let mut expected = image.before().to_vec();
    reads(&mut node, "$U0", &image, &expected[..24 * MIB])?;
    reads(&mut node, "$U1", &image, &expected[32 * MIB..40 * MIB])?;

    does(
        &mut node,
        "dd if=$U1 of=/tmp/piece bs=64k count=32 && dd if=/tmp/piece of=$U0 bs=4k seek=2048 conv=fsync",
    )?;
    expected.copy_within(32 * MIB..34 * MIB, 8 * MIB);
    does(&mut node, "head -c 512 /dev/zero >/tmp/block && dd if=/tmp/block of=$U0 seek=7 conv=fsync")?;
    expected[7 * 512..8 * 512].fill(0);
    for (wrong, what) in [
        ("dd if=/tmp/block of=$U1 conv=fsync", "wrote to a read-only unit"),
        ("dd if=/tmp/block of=$U0 bs=512 seek=49152 count=1", "wrote beyond the end of its unit"),
    ] {
        if tries(&mut node, wrong)?.0 {
            return Err(Failure::new(format!("a guest {what}")));
        }
    }
    // Without the guest's own cache.
    does(&mut node, "echo 3 >/proc/sys/vm/drop_caches")?;
    reads(&mut node, "$U0", &image, &expected[..24 * MIB])?;
    node.detach()?;
    node.expect("vm info debian", "disk      sata0, the first 24 MiB, virtio-scsi")?;
    node.power_off()?;
    image.expect(&expected)
}

#[test]
fn a_disk_from_a_file_is_the_vms_own_and_stays_when_the_vm_restarts() -> Result<()> {
    let image = Image::new(3)?;
    let disks = "{ source = \"file:data.img\" }";
    let config = vm("one", disks, "") + &vm("other", disks, "autostart = false");
    let mut node = node::boot(&volume(&config)?.file("data.img", image.before()))?;
    node.attach("one")?;
    node.wait_for_shell()?;
    reads(&mut node, "/dev/vda", &image, image.before())?;
    does(&mut node, "echo changed | dd of=/dev/vda conv=fsync")?;
    restarts(&mut node)?;
    let text = does(&mut node, "head -n 1 /dev/vda")?;
    if !text.contains("changed") {
        return Err(Failure::new(format!("the disk was made anew:\n{text}")));
    }
    node.detach()?;
    node.start("other")?;
    node.attach("other")?;
    node.wait_for_shell()?;
    reads(&mut node, "/dev/vda", &image, image.before())?;
    node.detach()?;
    node.power_off()
}

#[test]
fn a_disk_that_cannot_be_had_keeps_its_vm_alone_from_starting_and_says_why() -> Result<()> {
    let image = Image::new(4)?;
    let whole = "{ source = \"nvme0n1\" }";
    let config = vm("reader", "{ source = \"nvme0n1\", readonly = true }", "")
        + &vm("writer", whole, "autostart = false")
        + &vm("absent", "{ source = \"nvme7n1\" }", "autostart = false")
        + &vm("beyond", "{ source = \"nvme0n1\", offset = \"1M\", size = \"4M\" }", "autostart = false");
    let drive = Drive::new("drive0", image.path(), Connection::Nvme);
    let mut node = node::boot_on(&volume(&config)?, |qemu| qemu.drive(drive))?;
    node.attach("reader")?;
    node.wait_for_shell()?;
    let (wrote, _) = tries(&mut node, "echo x >/dev/vda")?;
    if wrote {
        return Err(Failure::new("a guest wrote to a read-only disk"));
    }
    node.detach()?;
    for (vm, why) in [
        ("writer", "disk nvme0n1: VM reader reads bytes 0 to 4194304 of nvme0n1: give each its own range"),
        ("absent", "disk nvme7n1: this machine has no such disk; there are: "),
        ("beyond", "disk nvme0n1: offset and size reach beyond its end: it has 4194304 bytes"),
    ] {
        node.expect(&format!("vm start {vm}"), "starts.")?;
        node.wait_for_state(vm, "failed")?;
        node.expect(&format!("vm info {vm}"), why)?;
    }
    // With the reader gone, the writer has it.
    node.expect("vm kill reader", "is stopped")?;
    node.wait_for_state("reader", "off")?;
    node.start("writer")?;
    node.attach("writer")?;
    node.wait_for_shell()?;
    node.detach()?;
    node.power_off()?;
    image.expect(image.before())
}

/// Boots a node whose guest writes a drive in a slot that is then pulled out, until its requests fail and the node has
/// let go of the drive.
fn pull_out_under_load(image: &Image, drive: &Drive, source: &str) -> Result<Node> {
    let socket = image.monitor();
    let volume = volume(&vm("debian", &format!("{{ source = \"{source}\" }}"), ""))?;
    let mut node = node::boot_on(&volume, |qemu| qemu.drive(drive.clone()).monitor(&socket))?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    does(&mut node, "dd if=/dev/vda of=/tmp/first bs=1M count=1")?;
    node.type_text(
        "(while dd if=/tmp/first of=/dev/vda bs=4k conv=fsync 2>/dev/null; do :; done; echo LOST) &\n",
    )?;
    monitor::tell(&socket, &drive.pull())?;
    node.wait_for(&["LOST\r"])?;
    let (read, _) = tries(&mut node, "dd if=/dev/vda of=/dev/null bs=4k count=1 skip=3500")?;
    if read {
        return Err(Failure::new(format!("a guest reads a drive that is not there{}", node.tail())));
    }
    node.detach()?;
    node.wait_until(&format!("disk info {source}"), "there is no disk")?;
    node.wait_until("log 100", "can be taken out")?;
    Ok(node)
}

#[test]
fn a_drive_that_is_pulled_out_under_load_costs_its_guest_errors_and_can_come_back() -> Result<()> {
    let image = Image::new(16)?;
    let drive = Drive::new("drive0", image.path(), Connection::NvmeInSlot);
    let mut node = pull_out_under_load(&image, &drive, "nvme0n1")?;
    monitor::tell_when_free(&image.monitor(), &drive.plug())?;
    node.wait_until("disk list", "nvme0n1")?;
    // The running guest keeps its errors: for it the disk is gone. Started anew it has the disk again.
    node.attach("debian")?;
    restarts(&mut node)?;
    reads(&mut node, "/dev/vda", &image, image.before())?;
    node.detach()?;
    node.power_off()?;
    image.expect(image.before())
}

#[test]
fn a_sata_controller_that_is_pulled_out_under_load_costs_its_guest_errors_and_nobody_else() -> Result<()> {
    let image = Image::new(16)?;
    let drive = Drive::new("drive0", image.path(), Connection::AhciInSlot);
    // Its slot is behind a bridge, so that the chipset's controller, where the boot medium is, comes first.
    let mut node = pull_out_under_load(&image, &drive, "sata32")?;
    // The guest runs on, and so does the chipset's controller with its disk.
    node.attach("debian")?;
    does(&mut node, "dmesg | grep 'I/O error, dev vda'")?;
    node.detach()?;
    node.expect("disk list", "sata0")?;
    node.power_off()?;
    image.expect(image.before())
}
