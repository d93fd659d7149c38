//! Debian on a disk of its own: it boots to a log-in, and what it wrote is there when the node has been away.
use crate::NODE;
use tests::debian::{self, BOOT, ROOT_SIZE, RootImage};
use tests::node::{self, Node};
use tests::shell::{does, does_long};
use xtask::failure::{Failure, Result};
use xtask::rig::{Connection, Drive};

/// Behind the root file system, for programs that want a disk of their own.
const SCRATCH_MIB: u64 = 16;

/// The way from a drive to a guest.
#[derive(Clone, Copy)]
struct Way {
    connection: Connection,
    /// What the node calls the drive.
    source: &'static str,
    bus: &'static str,
}

/// Boots a node whose VM has so many vCPUs, and logs in there.
fn boot(way: &Way, image: &RootImage, vcpus: u32) -> Result<Node> {
    let Way { source, bus, .. } = way;
    let disks = format!(
        "{{ source = \"{source}\", size = \"{ROOT_SIZE}\", bus = \"{bus}\" }}, \
         {{ source = \"{source}\", offset = \"{ROOT_SIZE}\", bus = \"{bus}\" }}"
    );
    let volume = debian::volume(NODE.to_string() + &debian::vm("debian", vcpus, &disks, ""))?;
    let drive = Drive::new("drive0", image.path(), way.connection);
    let mut node = node::boot_on(&volume, |qemu| qemu.drive(drive).may_reboot())?;
    enter(&mut node)?;
    Ok(node)
}

fn enter(node: &mut Node) -> Result<()> {
    node.attach("debian")?;
    debian::log_in(node)
}

/// Writes files into a new folder, so that they are on the disk. What tells them from all others.
fn write_files(node: &mut Node, folder: &str) -> Result<String> {
    does(
        node,
        &format!(
            "mkdir {folder} && cd {folder} && head -c 4M /dev/urandom >large && \
             for i in $(seq 50); do echo $i $RANDOM >small$i; done && sha256sum * >/root/{folder}.sums; cd; sync"
        ),
    )?;
    sum_of_sums(node, folder)
}

fn sum_of_sums(node: &mut Node, folder: &str) -> Result<String> {
    let text = does(node, &format!("wc -l <{folder}.sums && sha256sum <{folder}.sums"))?;
    let sum = text.lines().find_map(|line| line.trim().strip_suffix("  -"));
    match sum {
        Some(sum) if text.lines().any(|line| line.trim() == "51") => Ok(sum.to_string()),
        _ => Err(Failure::new(format!("the files of {folder} are not summed up:\n{text}"))),
    }
}

/// The files must be those that were written.
fn check_files(node: &mut Node, folder: &str, expected: &str) -> Result<()> {
    let sum = sum_of_sums(node, folder)?;
    if sum != expected {
        return Err(Failure::new(format!("{folder}.sums is not what was written: {sum}, not {expected}")));
    }
    does(node, &format!("(cd {folder} && sha256sum --check --quiet ../{folder}.sums)")).map(drop)
}

/// The disk behind the root file system, as the guest calls it: on SCSI the names come in any order.
fn scratch(node: &mut Node) -> Result<String> {
    let text = does(node, "lsblk --nodeps --noheadings --bytes --paths --output NAME,SIZE")?;
    let size = (SCRATCH_MIB << 20).to_string();
    let name = text.lines().find_map(|line| Some(line.trim().strip_suffix(&size)?.trim().to_string()));
    name.ok_or_else(|| Failure::new(format!("no disk has {size} bytes:\n{text}")))
}

/// What a SCSI disk says of itself.
fn inquire(node: &mut Node, disk: &str, source: &str) -> Result<()> {
    let text = does(node, &format!("sg_inq {disk}; sg_inq --page=sn {disk}"))?;
    let serial = format!("{source}@{ROOT_SIZE}");
    match ["PureVisr", "Virtual disk", "SPC", &serial].into_iter().find(|what| !text.contains(what)) {
        None => Ok(()),
        Some(missing) => Err(Failure::new(format!("sg_inq does not show {missing}:\n{text}"))),
    }
}

/// Lets fio write a disk in random order and verify it, with so many commands under way for each of `jobs` CPUs, each
/// of which has its own part.
fn verify(node: &mut Node, disk: &str, jobs: u32, depth: u32, sizes: &str) -> Result<()> {
    let kib = 2048;
    let command = format!(
        "fio --name=verify --filename={disk} --size={kib}k --offset_increment={kib}k --rw=randwrite --bsrange={sizes} \
         --direct=1 --ioengine=libaio --iodepth={depth} --verify=crc32c --verify_fatal=1 --group_reporting \
         --numjobs={jobs} --cpus_allowed=0-{} --cpus_allowed_policy=split --eta=never",
        jobs - 1
    );
    let text = does_long(node, &command, BOOT)?;
    let moved = |what: &str| {
        let line = text.lines().find(|line| line.trim().starts_with(what));
        line.is_some_and(|line| {
            line.contains(&format!("io={}KiB", kib * jobs))
                || line.contains(&format!("io={}MiB", kib * jobs / 1024))
        })
    };
    if text.contains("err= 0") && moved("READ:") && moved("WRITE:") {
        return Ok(());
    }
    Err(Failure::new(format!("fio did not write and verify all of it:\n{text}")))
}

/// How many queues of the guest's disks have interrupted it.
fn queues_in_use(node: &mut Node) -> Result<usize> {
    let count = r#"awk '/virtio[0-9]+-req/ { n = 0; for (i = 2; i <= NF; i++) if ($i ~ /^[0-9]+$/) n += $i; if (n) q++ }
        END { print "queues", q + 0 }' /proc/interrupts"#;
    let text = does(node, &count.replace('\n', ""))?;
    let number = text.lines().find_map(|line| line.trim().strip_prefix("queues ")?.parse().ok());
    number.ok_or_else(|| Failure::new(format!("no number of queues in:\n{text}")))
}

/// A Debian on a drive: what it writes is there after the node was restarted from its console, and after its power was
/// cut. All queues of a VM with one and with four vCPUs carry data rightly, at any depth.
fn a_debian_keeps_what_it_wrote(way: Way) -> Result<()> {
    let image = RootImage::new(SCRATCH_MIB)?;
    let mut node = boot(&way, &image, 1)?;
    let first = write_files(&mut node, "first")?;
    let disk = scratch(&mut node)?;
    if way.bus == "virtio-scsi" {
        inquire(&mut node, &disk, way.source)?;
    }
    verify(&mut node, &disk, 1, 1, "4k-4k")?;
    verify(&mut node, &disk, 1, 32, "512-64k")?;
    node.detach()?;
    // The guest hears its power button.
    node.type_text("reboot\r")?;
    node.wait_for(&["vm debian: guest powered off"])?;
    node.wait_for_prompt()?;

    enter(&mut node)?;
    check_files(&mut node, "first", &first)?;
    let second = write_files(&mut node, "second")?;
    // The power is cut.
    drop(node);

    let mut node = boot(&way, &image, 4)?;
    check_files(&mut node, "first", &first)?;
    check_files(&mut node, "second", &second)?;
    let disk = scratch(&mut node)?;
    verify(&mut node, &disk, 4, 1, "4k-4k")?;
    verify(&mut node, &disk, 4, 32, "512-64k")?;
    let queues = queues_in_use(&mut node)?;
    if queues < 4 {
        return Err(Failure::new(format!(
            "{queues} queues of a VM with four vCPUs are in use{}",
            node.tail()
        )));
    }
    node.detach()?;
    node.type_text("poweroff\r")?;
    let last = node.wait_for(&["vm debian: guest powered off"])?;
    node.wait_for_end()?;
    let after = node.text();
    let after = after.rsplit_once(last.trim_end()).map_or(after.as_str(), |(_, after)| after);
    if after.contains("warning") || after.contains("error") {
        return Err(Failure::new(format!("the node does not switch itself off without trouble:\n{after}")));
    }
    image.expect_sound()
}

#[test]
fn a_debian_on_an_nvme_drive_keeps_what_it_wrote_by_virtio_blk() -> Result<()> {
    a_debian_keeps_what_it_wrote(Way { connection: Connection::Nvme, source: "nvme0n1", bus: "virtio-blk" })
}

#[test]
fn a_debian_on_a_sata_disk_keeps_what_it_wrote_by_virtio_scsi() -> Result<()> {
    // Its controller is found before the chipset's, where the boot medium is.
    a_debian_keeps_what_it_wrote(Way { connection: Connection::Ahci, source: "sata0", bus: "virtio-scsi" })
}
