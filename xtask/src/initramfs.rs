//! A guest's first file system: an archive in the "newc" format of cpio, which Linux unpacks into
//! memory (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! It is not compressed: the guest's kernel is ready sooner, and nothing on the way pays by the byte.
use crate::failure::Result;
use crate::setup::guest::Guest;
use crate::setup::modules::Module;
use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040000;
const REGULAR: u32 = 0o100000;
const SYMLINK: u32 = 0o120000;
const CHARACTER_DEVICE: u32 = 0o020000;

/// What a guest does with an address that it was given (udhcpc's script).
pub const DHCP_SCRIPT: &str = "#!/bin/sh\n\
    [ \"$1\" = bound ] || exit 0\n\
    ip addr add $ip/${mask:-24} dev $interface\n\
    [ -n \"$router\" ] && ip route add default via ${router%% *}\n\
    echo \"GUEST address $ip\"\n";

/// An archive that grows entry by entry. Folders on the way to an entry are made as needed; everything
/// belongs to root.
#[derive(Clone, Debug, Default)]
pub struct Initramfs {
    archive: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Initramfs {
    /// An archive with `/dev/console` and `/dev/null`, which a kernel wants before anything is mounted.
    pub fn new() -> Self {
        let mut archive = Self::default();
        archive.device("dev/console", 0o600, 5, 1);
        archive.device("dev/null", 0o666, 1, 3);
        archive
    }

    /// An archive with busybox, the mount points, and `script` as `/init`. Busybox's programs are on
    /// the `PATH` once the script has run `/bin/busybox --install -s /bin`.
    pub fn busybox(guest: &Guest, script: &str) -> Result<Self> {
        let mut archive = Self::new();
        archive.file("bin/busybox", 0o755, &guest.busybox()?);
        archive.link("bin/sh", "busybox");
        for mount_point in ["proc", "sys", "tmp", "root"] {
            archive.directory(mount_point);
        }
        archive.file("init", 0o755, script.as_bytes());
        Ok(archive)
    }

    /// Adds modules as `/modules/NAME.ko`, and `/modules/order` with their names, a line each.
    pub fn modules(&mut self, modules: &[Module]) {
        for (name, file) in modules {
            self.file(&format!("modules/{name}.ko"), 0o644, file);
        }
        let order: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
        self.file("modules/order", 0o644, order.join("\n").as_bytes());
    }

    /// Adds the folder `path` and those above it, unless they are there.
    pub fn directory(&mut self, path: &str) {
        self.parents(path);
        if self.directories.insert(path.to_string()) {
            self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
        }
    }

    /// Adds a file with this content.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parents(path);
        self.entry(path, REGULAR | mode, (0, 0), content);
    }

    /// Adds a symbolic link to `to`.
    pub fn link(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.entry(path, SYMLINK | 0o777, (0, 0), to.as_bytes());
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE | mode, (major, minor), &[]);
    }

    /// The archive, closed by its trailer.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.archive
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // inode, mode, uid, gid, links, mtime, size, device of the file (two), device that it is (two),
        // length of the name with its NUL, check (unused).
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            path.len() as u32 + 1,
            0,
        ];
        self.archive.extend_from_slice(b"070701");
        for field in fields {
            self.archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.archive.extend_from_slice(path.as_bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut archive = Initramfs::new();
        archive.file("bin/tool", 0o755, b"#!/bin/sh\n");
        archive.file("bin/other", 0o644, b"12345");
        archive.link("bin/alias", "tool");
        archive.finish()
    }

    #[test]
    fn an_entry_is_laid_out_as_the_format_says() {
        let mut archive = Initramfs::default();
        archive.file("ab", 0o644, b"xyz");
        let expected = "070701\
            00000001000081a40000000000000000000000010000000000000003\
            000000000000000000000000000000000000000300000000ab\0\0\0\0xyz\0";
        // 110 bytes of header, the name and its NUL, padded to a multiple of 4.
        assert_eq!(String::from_utf8(archive.archive).unwrap(), expected);
    }

    #[test]
    fn cpio_lists_every_entry_once_with_its_kind() {
        let mut cpio = Command::new("cpio")
            .args(["--extract", "--list", "--verbose", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cpio is there after 'cargo xtask setup'");
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{list}");
        let names: Vec<&str> = list.lines().map(|l| l.split_whitespace().nth(8).unwrap_or(l)).collect();
        let kinds: String = list.lines().map(|l| &l[..1]).collect();
        assert_eq!(kinds, "dccd--l");
        assert!(names.contains(&"bin/tool"), "{list}");
        assert_eq!(list.matches("bin/other").count(), 1);
    }
}
