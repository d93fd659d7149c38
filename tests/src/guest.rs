//! The Debian guest of the tests: its kernel as Debian ships it, and a first program that says what it has.
use xtask::failure::Result;
use xtask::initramfs::Initramfs;
use xtask::setup::guest::Guest;

/// `/init`. The word `act=` on the kernel's command line says what the guest does after its report. One that
/// ticks says what it hears meanwhile. It listens without a time limit, since the shell's `read` throws away
/// what it has of a line when its time is up; the ticks wait for a pipe that nobody writes to.
pub const INIT: &str = r#"#!/bin/sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order 2>/dev/null); do insmod /modules/$module.ko; done
echo "GUEST cpus $(grep -c ^processor /proc/cpuinfo) memory $(awk '/MemTotal/ { print $2 }' /proc/meminfo) kernel $(uname -r) clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
cd /root
for word in $(cat /proc/cmdline); do
    case $word in
    act=tick)
        stty -echo
        mkfifo never
        (
            n=0
            while true; do n=$((n + 1)); echo "GUEST tick $n"; read -t 1 nothing; done
        ) <>never &
        while read word; do echo "GUEST hears $word"; done
        ;;
    act=off) poweroff -f ;;
    esac
done
export PS1='guest# '
setsid cttyhack sh
poweroff -f
"#;

/// A first file system of a guest with virtio disks: loads their drivers, and these besides, before it reports.
pub fn initrd_with(debian: &Guest, drivers: &[&str]) -> Result<Vec<u8>> {
    let mut archive = Initramfs::busybox(debian, INIT)?;
    archive.modules(&debian.modules(&[&["virtio_pci", "virtio_blk"], drivers].concat())?);
    Ok(archive.finish())
}

/// The prompt of the guest's shell.
pub const PROMPT: &str = "guest# ";

/// What the guest reports when its first program runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Processors that Linux has started.
    pub cpus: u32,
    /// Memory in KiB that Linux has for use.
    pub memory_kib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// The clock that Linux has chosen.
    pub clock: String,
}

impl Report {
    /// Reads the last report in a console's text.
    pub fn find(text: &str) -> Option<Self> {
        let line = text.lines().rev().find_map(|line| line.trim().strip_prefix("GUEST cpus "))?;
        let mut words = line.split_whitespace();
        let cpus = words.next()?.parse().ok()?;
        let mut after = |name| (words.next()? == name).then(|| words.next())?;
        Some(Self {
            cpus,
            memory_kib: after("memory")?.parse().ok()?,
            kernel: after("kernel")?.into(),
            clock: after("clock")?.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_found_among_other_output() {
        let text = "[ 0.1] Linux\r\nGUEST cpus 4 memory 99123 kernel 6.1.0-x clock kvm-clock\r\nguest# ";
        let report = Report::find(text).unwrap();
        assert_eq!((report.cpus, report.memory_kib), (4, 99123));
        assert_eq!((report.kernel.as_str(), report.clock.as_str()), ("6.1.0-x", "kvm-clock"));
        assert_eq!(Report::find("GUEST cpus many"), None);
    }
}
