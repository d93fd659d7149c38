//! Drives that fail while a guest uses them: the guest sees what a drive of its own would show it, and goes on with
//! the drive when that works again, without a restart of anything.
use crate::NODE;
use crate::disks::{reads, vm};
use tests::drive::Image;
use tests::guest;
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::shell::{does, tries};
use tests::volume::Volume;
use xtask::failure::{Failure, Result};
use xtask::rig::{Connection, Drive, Fault};

const BLOCK: usize = 512;
const PAGE: usize = 4096;

/// The blocks that can't be read and written; each begins a page.
const UNREADABLE: usize = 8000;
const UNWRITABLE: usize = 16000;

/// A way from a drive to the guest.
struct Way {
    connection: Connection,
    source: &'static str,
    bus: &'static str,
    /// The guest's name of the disk.
    disk: &'static str,
    /// How often driver and guest together try a flush until it has failed.
    flushes: usize,
}

/// Boots a node with these drives, whose guest has a shell on the console.
fn boot(disks: &str, image: &Image, drives: Vec<Drive>) -> Result<Node> {
    let initrd = guest::initrd_with(&prepared()?.debian, &["virtio_scsi", "sd_mod"])?;
    let volume = Volume::new(NODE.to_string() + &vm("debian", disks, ""))?.file("disks.img", initrd);
    let socket = image.monitor();
    let mut node = node::boot_on(&volume, |qemu| {
        drives.into_iter().fold(qemu, |q, drive| q.drive(drive)).monitor(socket)
    })?;
    node.attach("debian")?;
    node.wait_for_shell()?;
    Ok(node)
}

/// Nothing is read from the guest's cache from now on.
fn forget(node: &mut Node) -> Result<()> {
    does(node, "echo 3 >/proc/sys/vm/drop_caches").map(drop)
}

/// The guest must fail in this.
fn fails(node: &mut Node, command: &str) -> Result<()> {
    match tries(node, command)? {
        (false, text) if text.contains("Input/output error") => Ok(()),
        (worked, _) => {
            let how = if worked { "worked" } else { "failed otherwise" };
            Err(Failure::new(format!(
                "'{command}' should have failed with an I/O error, and {how}{}",
                node.tail()
            )))
        }
    }
}

/// The guest's kernel must complain of this page of the disk, that it could not be read or that what was to be written is
/// lost, and of no other.
fn expect_complaints(node: &mut Node, disk: &str, which: &str, page: usize) -> Result<()> {
    let text = does(node, &format!("dmesg | grep 'Buffer I/O error on dev {disk}'"))?;
    let lines = text.lines().filter(|line| line.contains(which));
    let number = |line: &str| line.split_once("logical block ")?.1.split(',').next()?.parse().ok();
    let pages: Vec<Option<usize>> = lines.map(number).collect();
    if !pages.is_empty() && pages.iter().all(|found| *found == Some(page)) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the guest complains of {which} of the pages {pages:?}, not of {page} alone{}",
        node.tail()
    )))
}

/// Which readers of a MiB each fail that are at work at once.
fn readers_that_fail(node: &mut Node, disk: &str, mib: usize) -> Result<Vec<usize>> {
    forget(node)?;
    let text = does(
        node,
        &format!(
            "for i in $(seq 0 {}); do (dd if=/dev/{disk} of=/dev/null bs=4k skip=$((i * 256)) count=256 2>/dev/null || echo BAD $i) & done; wait",
            mib - 1
        ),
    )?;
    Ok(text.lines().filter_map(|line| line.trim().strip_prefix("BAD ")?.parse().ok()).collect())
}

/// Blocks of a drive can't be read, others can't be written, and at last a flush fails.
fn a_drive_with_bad_blocks(way: Way) -> Result<()> {
    let Way { connection, source, bus, disk, flushes } = way;
    let image = Image::new(16)?;
    let mut expected = image.before().to_vec();
    let drive = Drive::new("drive0", image.path(), connection);
    let bad = drive.fails(&[Fault::Read(UNREADABLE as u64), Fault::Write(UNWRITABLE as u64)]);
    let no_flush = drive.fails(&[Fault::Flushes(flushes)]);
    let socket = image.monitor();
    let mut node = boot(&format!("{{ source = \"{source}\", bus = \"{bus}\" }}"), &image, vec![drive])?;
    // A SCSI disk is found at the guest's leisure.
    does(&mut node, &format!("until [ -b /dev/{disk} ]; do sleep 1; done"))?;
    does(&mut node, "tr '\\0' x </dev/zero | head -c 12288 >/tmp/pages")?;

    bad.begin(&socket)?;
    let page = UNREADABLE * BLOCK / PAGE;
    fails(&mut node, &format!("dd if=/dev/{disk} of=/dev/null bs=4k skip={page} count=1"))?;
    let around = format!(
        "(dd if=/dev/{disk} bs=4k count={page}; dd if=/dev/{disk} bs=4k skip={}) 2>/dev/null",
        page + 1
    );
    let sum = tests::drive::sha256(
        &image.folder(),
        &[&expected[..page * PAGE], &expected[(page + 1) * PAGE..]].concat(),
    )?;
    let text = does(&mut node, &format!("{around} | sha256sum"))?;
    if !text.contains(&sum) {
        return Err(Failure::new(format!("what can be read does not read as it should ({sum}):\n{text}")));
    }
    let failed = readers_that_fail(&mut node, disk, 16)?;
    if failed != [(UNREADABLE * BLOCK) >> 20] {
        return Err(Failure::new(format!(
            "these of the readers of a MiB each fail: {failed:?}{}",
            node.tail()
        )));
    }
    expect_complaints(&mut node, disk, "async page read", page)?;

    let page = UNWRITABLE * BLOCK / PAGE;
    let write = |page: usize| format!("dd if=/tmp/pages of=/dev/{disk} bs=4k seek={page} count=1 conv=fsync");
    does(&mut node, &write(page - 1))?;
    fails(&mut node, &write(page))?;
    does(&mut node, &write(page + 1))?;
    expect_complaints(&mut node, disk, "lost async page write", page)?;
    for page in [page - 1, page + 1] {
        expected[page * PAGE..(page + 1) * PAGE].fill(b'x');
    }
    if bus == "virtio-scsi" {
        let told = does(&mut node, "dmesg | grep 'Sense'")?;
        let sense = ["Sense Key : Medium Error", "Unrecovered read error", "Peripheral device write fault"];
        if let Some(missing) = sense.into_iter().find(|what| !told.contains(what)) {
            return Err(Failure::new(format!("the guest was not told of '{missing}':\n{told}")));
        }
    }
    bad.end(&socket)?;
    image.expect(&expected)?;

    // The same guest, the same disk, which works now.
    forget(&mut node)?;
    reads(&mut node, &format!("/dev/{disk}"), &image, &expected)?;
    does(&mut node, &write(page))?;
    expected[page * PAGE..(page + 1) * PAGE].fill(b'x');

    no_flush.begin(&socket)?;
    let write = format!("dd if=/tmp/pages of=/dev/{disk} bs=4k count=3 conv=fsync");
    fails(&mut node, &write)?;
    no_flush.end(&socket)?;
    does(&mut node, &write)?;
    expected[..3 * PAGE].fill(b'x');
    node.detach()?;
    node.power_off()?;
    image.expect(&expected)
}

#[test]
fn bad_blocks_of_an_nvme_drive_are_io_errors_and_all_others_work() -> Result<()> {
    a_drive_with_bad_blocks(Way {
        connection: Connection::Nvme,
        source: "nvme0n1",
        bus: "virtio-blk",
        disk: "vda",
        flushes: 4,
    })
}

#[test]
fn bad_blocks_of_an_nvme_drive_are_medium_errors_of_a_scsi_disk() -> Result<()> {
    a_drive_with_bad_blocks(Way {
        connection: Connection::Nvme,
        source: "nvme0n1",
        bus: "virtio-scsi",
        disk: "sda",
        flushes: 4 * 6,
    })
}

#[test]
fn bad_blocks_of_a_sata_disk_are_io_errors_and_all_others_work() -> Result<()> {
    a_drive_with_bad_blocks(Way {
        connection: Connection::Ahci,
        source: "sata0",
        bus: "virtio-blk",
        disk: "vda",
        flushes: 1,
    })
}

#[test]
fn bad_blocks_of_a_virtio_disk_of_the_node_are_io_errors_and_all_others_work() -> Result<()> {
    a_drive_with_bad_blocks(Way {
        connection: Connection::Virtio,
        source: "virtio0",
        bus: "virtio-blk",
        disk: "vda",
        flushes: 1,
    })
}

#[test]
fn an_nvme_drive_that_stops_answering_is_reset_and_costs_its_guest_nothing_but_time() -> Result<()> {
    let (image, other) = (Image::new(16)?, Image::new(4)?);
    let drive = Drive::new("drive0", image.path(), Connection::Nvme).limited();
    let held = drive.holds();
    let socket = image.monitor();
    let beside = Drive::new("drive1", other.path(), Connection::Nvme);
    let disks = "{ source = \"nvme0n1\" }, { source = \"nvme1n1\" }";
    let mut node = boot(disks, &image, vec![drive, beside])?;
    let mut expected = image.before().to_vec();
    does(&mut node, "tr '\\0' x </dev/zero | head -c 1048576 >/tmp/mib")?;

    held.begin(&socket)?;
    node.type_text(
        "(dd if=/tmp/mib of=/dev/vda bs=4k conv=fsync && dd if=/dev/vda of=/tmp/last bs=1M skip=15 && echo WRITTEN) &\n",
    )?;
    // Another drive, and the guest, don't wait with it.
    reads(&mut node, "/dev/vdb", &other, other.before())?;
    for step in [
        "take too long: abort",
        "an aborted command does not come back: reset",
        "the controller was reset, and goes on",
    ] {
        node.wait_for(&[step])?;
    }
    held.end(&socket)?;
    node.wait_for(&["WRITTEN\r"])?;
    let (complaint, _) = tries(&mut node, "dmesg | grep 'I/O error'")?;
    if complaint {
        return Err(Failure::new(format!("the guest was told of the reset{}", node.tail())));
    }
    expected[..1 << 20].fill(b'x');
    forget(&mut node)?;
    reads(&mut node, "/dev/vda", &image, &expected)?;
    node.detach()?;
    node.power_off()?;
    image.expect(&expected)
}
