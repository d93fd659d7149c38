//! Debian packages that the commands call or read.
use crate::failure::{Failure, Result};
use crate::progress;
use crate::workspace;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A package, and a file by which it is known to be there. Several files: any of them.
type Package = (&'static str, &'static [&'static str]);

/// What emulates and tests.
const NEEDED: [Package; 13] = [
    ("qemu-system-x86", &["/usr/bin/qemu-system-x86_64"]),
    ("ovmf", &["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"]),
    // The machine with VT-x; of its screens the one that is the least to install.
    ("bochs", &["/usr/bin/bochs"]),
    ("bochs-term", &["/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so"]),
    ("bochsbios", &["/usr/share/bochs/BIOS-bochs-latest"]),
    ("vgabios", &["/usr/share/vgabios/vgabios.bin"]),
    // Guest programs of the tests and the benchmark are linked statically.
    ("gcc", &["/usr/bin/gcc"]),
    ("libc6-dev", &["/usr/lib/x86_64-linux-gnu/libc.a"]),
    // Newer Debian kernels have compressed modules.
    ("xz-utils", &["/usr/bin/xz"]),
    // The tests have images and archives checked by others' tools.
    ("gdisk", &["/usr/sbin/sgdisk", "/sbin/sgdisk"]),
    ("dosfstools", &["/usr/sbin/fsck.fat", "/sbin/fsck.fat"]),
    ("mtools", &["/usr/bin/mcopy"]),
    ("cpio", &["/usr/bin/cpio", "/bin/cpio"]),
];

/// What makes the root file system of a Debian: as root, or as a user with namespaces of his own.
const FOR_DEBIAN_ROOT: [Package; 4] = [
    ("mmdebstrap", &["/usr/bin/mmdebstrap"]),
    ("uidmap", &["/usr/bin/newuidmap"]),
    ("fakeroot", &["/usr/bin/fakeroot"]),
    ("e2fsprogs", &["/usr/sbin/mke2fs", "/sbin/mke2fs"]),
];

/// What writes the ISO image.
const FOR_ISO: [Package; 5] = [
    ("grub-common", &["/usr/bin/grub-mkimage"]),
    ("grub-pc-bin", &["/usr/lib/grub/i386-pc/boot_hybrid.img"]),
    ("grub-efi-amd64-bin", &["/usr/lib/grub/x86_64-efi/moddep.lst"]),
    ("xorriso", &["/usr/bin/xorriso"]),
    ("mtools", &["/usr/bin/mformat"]),
];

fn missing(packages: &[Package]) -> Vec<&'static str> {
    let there = |files: &[&str]| files.iter().any(|file| Path::new(file).exists());
    packages.iter().filter(|(_, files)| !there(files)).map(|(package, _)| *package).collect()
}

/// Installs what is missing of all packages.
pub fn ensure() -> Result<()> {
    install(&NEEDED)?;
    ensure_for_iso()
}

/// Installs what is missing of the packages that write the ISO image.
pub fn ensure_for_iso() -> Result<()> {
    install(&FOR_ISO)
}

/// Installs what is missing of the packages that make a Debian's root file system.
pub(super) fn ensure_for_debian_root() -> Result<()> {
    install(&FOR_DEBIAN_ROOT)
}

fn install(needed: &[Package]) -> Result<()> {
    let packages = missing(needed);
    if packages.is_empty() {
        return Ok(());
    }
    let list = packages.join(" ");
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(Failure::new(format!(
            "this system is not a Debian; install what Debian calls {list} by hand and try again"
        )));
    }
    let Some(root) = Root::find() else {
        return Err(Failure::new(format!(
            "packages are missing, and installing them takes root. Run this and try again:\n  \
             sudo apt-get update && sudo apt-get install --yes --no-install-recommends {list}"
        )));
    };
    if !package_lists_are_there() {
        progress::step("fetching the lists of packages", || root.apt(&["update"]))?;
    }
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(&packages);
    progress::step(&format!("installing {list}"), || {
        root.apt(&install).or_else(|_| {
            // The lists may be of yesterday, and name versions that are gone.
            root.apt(&["update"])?;
            root.apt(&install)
        })
    })?;
    match missing(needed)[..] {
        [] => Ok(()),
        ref still => {
            Err(Failure::new(format!("{} still lack their files after the installation", still.join(" "))))
        }
    }
}

/// Whether apt knows any packages; in a fresh container it does not.
pub(super) fn package_lists_are_there() -> bool {
    let lists = fs::read_dir("/var/lib/apt/lists");
    lists.is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_string_lossy().contains("_Packages"))
    })
}

/// A way to act as root.
pub(super) enum Root {
    Already,
    Sudo,
}

impl Root {
    /// None where root would have to be asked for a password.
    pub fn find() -> Option<Self> {
        // The owner of our own process.
        if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            return Some(Self::Already);
        }
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        sudo.status().is_ok_and(|status| status.success()).then_some(Self::Sudo)
    }

    /// A call of `program`, in a folder that everyone may enter, with nothing to read.
    pub fn call(&self, program: &str) -> Command {
        let mut command = match self {
            Self::Already => Command::new("env"),
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "env"]);
                // Sudo keeps them to itself.
                for name in ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy"] {
                    sudo.args(env::var(name).map(|value| format!("{name}={value}")));
                }
                sudo
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", program]);
        command.stdin(Stdio::null()).current_dir(env::temp_dir());
        command
    }

    pub fn apt(&self, args: &[&str]) -> Result<()> {
        let mut command = self.call("apt-get");
        command.arg("--quiet");
        // Someone else may be installing something.
        command.args(["-o", "DPkg::Lock::Timeout=300"]).args(args);
        workspace::output(&mut command, &format!("call apt-get {}", args.join(" "))).map(drop)
    }
}
