//! A network of a machine's own on this computer: the emulated card on one side, this computer's Linux on the other, where
//! the benchmark's program listens.
//!
//! ```text
//!  network namespace:  emulated card ──► TAP ──► this Linux: bench-linux listen
//! ```
//!
//! It is in a network namespace, so that neither its address nor what is sent there concerns anybody else; namespace,
//! interface and program end with the emulator. A TAP interface takes what a virtual card can leave to others (segments of
//! 64 KiB without checksums), and this computer's own TCP is the fastest that there is for the other side: QEMU's
//! `-netdev user` takes a fifth of what Linux can send by virtio-net.
use super::volumes::PEER;
use crate::failure::{Failure, Result};
use crate::rig::Qemu;
use crate::workspace;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

/// Makes the interface with busybox (`$1`), whose end here has the address `$2`.
const INTERFACE: &str = r#"set -e
"$1" tunctl -t tap0 >/dev/null
"$1" ip addr add "$2/24" dev tap0
"$1" ip link set tap0 up
"#;

/// Lets the program `$3` listen at `$4` until the emulator ends, which the rest calls.
const LISTEN: &str = r#"setpriv --pdeathsig KILL -- "$3" listen "$4" >/dev/null &
shift 4
exec "$@"
"#;

/// What it takes to make such networks.
pub(super) struct Lane {
    busybox: PathBuf,
    program: PathBuf,
}

impl Lane {
    /// With a static busybox, and the program that is to listen.
    ///
    /// # Errors
    /// Where this computer does not let us have one.
    pub fn new(busybox: PathBuf, program: PathBuf) -> Result<Self> {
        let lane = Self { busybox, program };
        let [program, arguments @ ..] = &lane.call(INTERFACE)[..] else {
            return Err(Failure::new("there is nothing to call"));
        };
        let made =
            workspace::output(Command::new(program).args(arguments), "make a network for the benchmark");
        made.map_err(|failure| {
            Failure::new(format!(
                "{failure}\nThe figures of networks need a network namespace and a TAP interface: that is root, or a user who \
                 may make namespaces and open /dev/net/tun ('modprobe tun', 'chmod 666 /dev/net/tun')"
            ))
        })?;
        Ok(lane)
    }

    /// A machine with a card of this kind on a network of its own.
    pub fn connect(&self, machine: Qemu, device: &str) -> Qemu {
        let machine = machine.called_by(self.call(&format!("{INTERFACE}{LISTEN}")));
        let device = format!("{device},netdev=net0");
        machine.args(["-netdev", "tap,id=net0,ifname=tap0,script=no,downscript=no", "-device", &device])
    }

    /// A call of this script in a new namespace.
    fn call(&self, script: &str) -> Vec<OsString> {
        let mut call: Vec<OsString> = vec!["unshare".into(), "--net".into()];
        // Who isn't root is root in a namespace of users.
        if fs::metadata("/proc/self").is_ok_and(|own| own.uid() != 0) {
            call.push("--map-root-user".into());
        }
        let address = PEER.split(':').next().unwrap_or_default();
        call.extend(["--", "sh", "-c", script, "sh"].map(OsString::from));
        call.extend([self.busybox.clone().into(), address.into(), self.program.clone().into(), PEER.into()]);
        call
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_makes_the_network_and_then_becomes_the_emulator() {
        let lane = Lane { busybox: "/busybox".into(), program: "/program".into() };
        let call: Vec<_> =
            lane.call("SCRIPT").iter().map(|word| word.to_string_lossy().into_owned()).collect();
        assert_eq!(call[..2], ["unshare", "--net"]);
        let script = call.iter().position(|word| word == "--").unwrap();
        // What comes behind it is the emulator's own call, to which the script shifts.
        assert_eq!(
            call[script..],
            ["--", "sh", "-c", "SCRIPT", "sh", "/busybox", "10.9.0.1", "/program", PEER]
        );
        assert!(LISTEN.contains("shift 4\nexec"));
    }
}
