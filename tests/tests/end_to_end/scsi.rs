//! What others' tools find of a virtio SCSI controller's disks: sg3-utils and Linux itself.
use crate::NODE;
use tests::debian::{self, ROOT_SIZE, RootImage};
use tests::node::{self, Node};
use tests::shell::{does, tries};
use xtask::failure::{Failure, Result};
use xtask::rig::{Connection, Drive};

/// A command of a guest's shell, whether it is to work, and what it is to print among other things.
type Case = (&'static str, bool, &'static [&'static str]);

/// `$D0` is a unit of an NVMe drive's part, `$D1` another, read-only.
const CASES: [Case; 25] = [
    (
        "sg_inq $D0",
        true,
        &["PDT=0", "[SPC-4]", "CmdQue=1", "PureVisr", "Virtual disk", "Unit serial number: nvme0n1@512M"],
    ),
    ("sg_inq -i $D1", true, &["vendor specific: nvme0n1@520M", "NAA 3, Locally assigned:"]),
    ("sg_vpd $D0", true, &["[sv]", "[sn]", "[di]", "[bl]", "[bdc]", "[lbpv]"]),
    (
        "sg_vpd -p bl $D0",
        true,
        &["Maximum transfer length: 32768", "unmap LBA count: 4194304", "write same length: 0x4000"],
    ),
    ("sg_vpd -p bdc $D0", true, &["Non-rotating medium"]),
    ("sg_vpd -p lbpv $D0", true, &["(LBPU): 1", "(LBPWS): 1", "(LBPRZ): 0"]),
    ("sg_luns -d $D0", true, &["2 lun entries", "lun=0", "lun=1"]),
    ("sg_readcap -l $D0", true, &["Number of logical blocks=16384", "block length=512", "lbpme=1"]),
    ("sg_turs -n 5 $D0", true, &["5 Test Unit Ready commands with 0 errors"]),
    ("sg_requests -d -s $D0", true, &["Descriptor format", "No Sense"]),
    ("sg_modes -a $D1", true, &["WP=1, DpoFua=1", "Caching", "Control"]),
    ("sg_opcodes -n $D0", true, &["Unmap", "Write same(16)", "Report supported operation codes"]),
    ("sg_sync $D0", true, &[]),
    // What is written through the cache is read from the medium.
    ("head -c 8k /dev/urandom >x && sg_dd blk_sgio=1 if=x of=$D0 bs=512 count=16 oflag=fua", true, &["16+0"]),
    ("sg_dd blk_sgio=1 if=$D0 of=y bs=512 count=16 iflag=fua cdbsz=16 && cmp x y", true, &["16+0"]),
    ("sg_write_same --16 -l 8 -n 8 -x 512 $D0 && sg_unmap --force -l 100 -n 16 $D0", true, &[]),
    ("truncate -s 4k x && cmp -n 8192 <(cat x /dev/zero) $D0", true, &[]),
    ("sg_dd blk_sgio=1 if=$D0 of=y bs=512 count=1 skip=16384", false, &["failed, at or after lba=16384"]),
    ("sg_verify -l 0 -c 1 $D0", false, &["Illegal request, Invalid opcode"]),
    // Linux starts it by itself, if it looks in between.
    ("sg_start --stop $D0 && sg_start --start $D0 && sg_turs $D0", true, &[]),
    ("sg_reset -d $D0 && sg_turs $D0", true, &[]),
    // Linux's own ways; `$S0` is what it tells of the first unit: caches, discards, zeroes.
    ("cat $S0/provisioning_mode $S0/zeroing_mode", true, &["unmap", "writesame"]),
    (
        "echo write through >$S0/cache_type && cat $S0/cache_type && sg_modes -a $D0",
        true,
        &["write through", " 08 12 00"],
    ),
    (
        "head -c 8M /dev/urandom >$D0; blkdiscard $D0 && blkdiscard -z $D0 && cmp -n 8M $D0 /dev/zero",
        true,
        &[],
    ),
    ("sg_dd blk_sgio=1 if=/dev/zero of=$D1 bs=512 count=1", false, &["Read-only file system"]),
];

fn try_all(node: &mut Node) -> Result<()> {
    // By their logical unit's numbers: Linux names them in any order.
    let find =
        "D0=$(readlink -f /dev/disk/by-path/*scsi-0:0:0:0) D1=$(readlink -f /dev/disk/by-path/*scsi-0:0:0:1)";
    does(node, &format!("udevadm settle && {find} && S0=$(echo /sys/class/scsi_disk/*:0:0:0) && cd /tmp"))?;
    for (command, works, parts) in CASES {
        let (worked, text) = tries(node, &format!("({command}) 2>&1"))?;
        let missing = parts.iter().find(|&&part| !text.contains(part));
        if worked != works || missing.is_some() {
            let what = missing.map_or(if works { "works" } else { "fails" }, |part| part);
            return Err(Failure::new(format!("'{command}' lacks this: {what}\n{text}")));
        }
    }
    Ok(())
}

#[test]
fn sg3_utils_and_linux_find_a_scsi_disk_as_it_should_be() -> Result<()> {
    let image = RootImage::new(16)?;
    let disks = format!(
        "{{ source = \"nvme0n1\", size = \"{ROOT_SIZE}\" }}, \
         {{ source = \"nvme0n1\", offset = \"512M\", size = \"8M\", bus = \"virtio-scsi\" }}, \
         {{ source = \"nvme0n1\", offset = \"520M\", bus = \"virtio-scsi\", readonly = true }}"
    );
    let volume = debian::volume(NODE.to_string() + &debian::vm("debian", 2, &disks, ""))?;
    let drive = Drive::new("drive0", image.path(), Connection::Nvme);
    let mut node = node::boot_on(&volume, |qemu| qemu.drive(drive))?;
    node.attach("debian")?;
    debian::log_in(&mut node)?;
    try_all(&mut node)?;
    node.detach()?;
    node.power_off()
}
