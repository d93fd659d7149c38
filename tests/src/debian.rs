//! A Debian on a disk of its own: a VM that boots it to a log-in, and whoever logs in.
use crate::node::Node;
use crate::prepared::prepared;
use crate::shell::does;
use crate::volume::Volume;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use xtask::failure::{Context, Failure, Result};
use xtask::setup::debian_root::{self, PASSWORD};
use xtask::{debian, workspace};

/// How long a Debian may take from its VM's start to its log-in, and back. Idle, it takes some 30 s.
pub const BOOT: Duration = Duration::from_secs(300);

/// How much of the image the root file system is, as the configuration says it, and where it ends.
pub const ROOT_SIZE: &str = "512M";

/// A drive's image that begins with a copy of Debian's root file system, gone with the value.
#[derive(Debug)]
pub struct RootImage {
    folder: PathBuf,
}

impl RootImage {
    /// A fresh copy, and so many MiB of nothing behind it.
    pub fn new(more_mib: u64) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = workspace::target_folder(&format!("tests/volume-{}-root{number}", std::process::id()))?;
        let image = Self { folder };
        debian_root::copy(&original()?, &image.path())?;
        let file = File::options().write(true).open(image.path());
        let grow = |file: File| file.set_len(file.metadata()?.len() + (more_mib << 20));
        file.and_then(grow).context(|| format!("cannot enlarge {}", image.path().display()))?;
        Ok(image)
    }

    /// The file system must be sound, as one is that was let go in good order.
    pub fn expect_sound(&self) -> Result<()> {
        let mut fsck = Command::new("e2fsck");
        // Where Debian keeps it; not everyone's PATH has it.
        fsck.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").args(["-f", "-n"]).arg(self.path());
        workspace::output(&mut fsck, "find Debian's file system sound").map(drop)
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join("root.img")
    }

    /// A place for a machine's monitor, unique as the image.
    pub fn monitor(&self) -> PathBuf {
        self.folder.join("qmp")
    }
}

impl Drop for RootImage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn original() -> Result<PathBuf> {
    static ORIGINAL: OnceLock<std::result::Result<PathBuf, String>> = OnceLock::new();
    let original = ORIGINAL.get_or_init(|| debian_root::ensure().map_err(|failure| failure.to_string()));
    original.clone().map_err(Failure::new)
}

/// A VM of so many vCPUs, one of whose disks has a Debian's root file system.
pub fn vm(name: &str, vcpus: u32, disks: &str, more: &str) -> String {
    format!(
        "[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"256M\"\nkernel = \"vmlinuz\"\n\
         initrd = \"to-root.img\"\ncmdline = \"console=ttyS0 quiet root=LABEL=root\"\ndisks = [{disks}]\n{more}\n"
    )
}

/// A boot volume for such VMs.
pub fn volume(config: String) -> Result<Volume> {
    Ok(Volume::new(config)?.file("to-root.img", debian::initrd(&prepared()?.debian)?))
}

/// Logs in on the console that is attached, as soon as systemd asks for it.
pub fn log_in(node: &mut Node) -> Result<()> {
    node.wait_long(&["debian login: "], BOOT)?;
    node.type_text("root\n")?;
    node.wait_for(&["Password: "])?;
    node.type_text(&format!("{PASSWORD}\n"))?;
    node.wait_for(&["root@debian:~# "])?;
    // Only what programs print: no editor, no echo, no prompt.
    node.type_text("exec bash --noediting\n")?;
    node.wait_for(&["root@debian:~# "])?;
    does(node, "stty -echo cols 200; PS1=; dmesg --console-level 7").map(drop)
}
