//! Two guests on a bridge in KVM: the Linux that is the host runs in the same emulated machine as PureVisor does, and the
//! guests are the same.
//!
//! ```text
//!  QEMU: Linux ──► KVM, QEMU: guest ──► virtio-net, vhost ──► TAP ──► bridge ◄── TAP ◄── … guest
//! ```
//!
//! The QEMU inside is this computer's, with the libraries that it needs, and the firmware that it loads.
use super::volumes::{guests_volume, listens, tells};
use crate::bench::guests::{CMDLINE, read};
use crate::failure::{Failure, Result};
use crate::initramfs::Initramfs;
use crate::rig::Medium;
use crate::setup::guest::Guest;
use crate::workspace;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";

/// What QEMU loads for a guest whose kernel it is given.
const FIRMWARE: [&str; 3] = ["bios-256k.bin", "linuxboot_dma.bin", "kvmvapic.bin"];

/// One of the two for processors fits.
const MODULES: [&str; 5] = ["kvm_amd", "kvm_intel", "tun", "bridge", "vhost_net"];

/// The host's first program. What the guest says that is told what to do, and what is typed for it, passes through.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /bin /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
for m in $(cat /modules/order); do insmod /modules/$m.ko 2>/dev/null; done
[ -c /dev/kvm ] || echo "BENCH-FAILED the host has no KVM"
ip link set lo up; brctl addbr br0; ip link set br0 up
guest() {
  qemu-system-x86_64 -nodefaults -display none -machine q35 -accel kvm -cpu host -smp 1 -m 256M -no-reboot \
    -kernel /guest/vmlinuz -initrd /guest/initrd.img -append "CMDLINE run=$1" -serial $2 \
    -netdev tap,id=net0,script=/up,downscript=no,vhost=on \
    -device virtio-net-pci,disable-legacy=on,romfile=,netdev=net0,mac=52:54:00:00:00:$3
}
stty raw -echo
guest LISTENS null 01 </dev/null &
guest TELLS stdio 02
poweroff -f
"#;

/// A guest's interface joins the bridge.
const UP: &str = "#!/bin/sh\nip link set $1 up; brctl addif br0 $1\n";

/// The Linux that is the host.
pub(super) fn host(guest: &Guest) -> Result<Medium> {
    let volume = guests_volume("net.kvm", guest)?;
    let init = INIT.replace("CMDLINE", CMDLINE).replace("LISTENS", &listens()).replace("TELLS", &tells());
    let mut initramfs = Initramfs::busybox(guest, &init)?;
    initramfs.modules(&guest.modules(&MODULES)?);
    initramfs.file("up", 0o755, UP.as_bytes());
    let (program, data) = (Path::new(QEMU), data_folders()?);
    for path in [program.to_path_buf()].into_iter().chain(libraries(program)?) {
        initramfs.file(&inside(&path)?, 0o755, &read(&path)?);
    }
    for name in FIRMWARE {
        let path = data.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        let path = path.ok_or_else(|| Failure::new(format!("this computer's QEMU has no {name}")))?;
        initramfs.file(&inside(&path)?, 0o644, &read(&path)?);
    }
    for name in ["vmlinuz", "initrd.img"] {
        initramfs.file(&format!("guest/{name}"), 0o644, &read(&volume.path(name))?);
    }
    // In place of the guests' own.
    volume.put("host.img", &initramfs.finish())?;
    Ok(Medium::Linux {
        kernel: volume.path("vmlinuz"),
        initrd: volume.path("host.img"),
        cmdline: "console=ttyS0 panic=-1 quiet nox2apic".into(),
    })
}

/// A path of this computer as one of the archive.
fn inside(path: &Path) -> Result<String> {
    let text = path.to_str().and_then(|text| text.strip_prefix('/'));
    text.map(String::from)
        .ok_or_else(|| Failure::new(format!("{} is no path for an archive", path.display())))
}

/// The libraries that a program is linked with, and the loader that loads them (ldd(1)).
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let text = workspace::output(Command::new("ldd").arg(program), "ask for QEMU's libraries")?;
    Ok(libraries_in(&text))
}

/// `name => path (address)`, or `path (address)` for the loader.
fn libraries_in(text: &str) -> BTreeSet<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    text.lines().filter_map(path).collect()
}

/// Where QEMU looks for firmware.
fn data_folders() -> Result<Vec<PathBuf>> {
    let text = workspace::output(Command::new(QEMU).args(["-L", "help"]), "ask QEMU for its firmware")?;
    Ok(text.lines().map(|line| PathBuf::from(line.trim())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n\tlibgone.so => not found\n";
        let libraries: Vec<_> = libraries_in(text).into_iter().collect();
        assert_eq!(
            libraries,
            ["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
    }
}
