//! How a Debian on a disk is started without a boot loader: its kernel and a first file system from the boot volume,
//! which goes on to the disk.
use crate::failure::Result;
use crate::initramfs::Initramfs;
use crate::setup::guest::Guest;

/// Drivers that come with the kernel's package but not on the disk: of the disks, of the file system, and of the power
/// button that `systemd-logind` listens to.
const DRIVERS: [&str; 7] = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ext4", "button", "evdev"];

/// `/init`. Disks may appear a while after their driver has started.
const INIT: &str = r#"#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
for word in $(cat /proc/cmdline); do
    case $word in root=*) root=${word#root=} ;; esac
done
tries=300
until disk=$(findfs "$root") && [ -b "$disk" ] || [ $tries = 0 ]; do tries=$((tries - 1)); sleep 0.1; done
if mount -t ext4 "$disk" /root; then
    for folder in proc sys dev; do mount --move /$folder /root/$folder; done
    exec switch_root /root /sbin/init
fi
echo "init: there is no file system '$root', which 'root=' on the kernel's command line should name"
poweroff -f
"#;

/// A first file system that loads drivers of virtio disks and hands over to the file system that `root=` on the kernel's
/// command line names: by its disk as `/dev/vda`, or by its label as `LABEL=root`.
pub fn initrd(debian: &Guest) -> Result<Vec<u8>> {
    let mut archive = Initramfs::busybox(debian, INIT)?;
    archive.modules(&debian.modules(&DRIVERS)?);
    Ok(archive.finish())
}
