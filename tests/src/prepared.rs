//! What all tests need, built and fetched once.
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use xtask::artifacts::{self, Artifacts};
use xtask::failure::{Context, Failure, Result};
use xtask::initramfs::Initramfs;
use xtask::setup::{self, guest::Guest};
use xtask::workspace;

/// Built and fetched files. The built ones are copies, which no build changes while a test uses them.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The loaders and the kernel.
    pub built: Artifacts,
    /// The same, with a kernel that fails when it is told to.
    pub failing: Artifacts,
    /// The hostile guest.
    pub payload: PathBuf,
    /// A program for a guest that sends what no driver sends.
    pub raw_nic: PathBuf,
    /// Debian's kernel and busybox.
    pub debian: Guest,
    /// A first file system for it: see [`crate::guest`].
    pub initrd: PathBuf,
}

/// Everything; the first caller waits for the build.
pub fn prepared() -> Result<&'static Prepared> {
    static PREPARED: OnceLock<std::result::Result<Prepared, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| prepare().map_err(|failure| failure.to_string()));
    prepared.as_ref().map_err(|failure| Failure::new(failure.clone()))
}

fn prepare() -> Result<Prepared> {
    let debian = setup::everything()?;
    remove_leftovers()?;
    let folder = workspace::target_folder(&format!("tests/prepared-{}", std::process::id()))?;
    let keep = |from: &Path, name: &str| {
        let to = folder.join(name);
        fs::copy(from, &to).context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok::<_, Failure>(to)
    };
    // First those that the usual build puts its own in the place of.
    let target = "x86_64-unknown-none";
    let failing = artifacts::build_one("kernel", "kernel", target, &["boot-tests"])?;
    let failing = keep(&failing, "kernel-boot-tests.elf")?;
    let built = artifacts::build()?;
    let loader = keep(&built.loader, "boot.efi")?;
    let entry = keep(&built.entry, "multiboot2.elf")?;
    let kernel = keep(&built.kernel, "kernel.elf")?;
    let payload = keep(&artifacts::build_one("payload", "payload", target, &[])?, "payload.elf")?;
    let raw_nic = keep(&artifacts::build_for_guests("raw-nic")?, "raw-nic")?;
    let initrd = folder.join("initrd.img");
    let content = Initramfs::busybox(&debian, crate::guest::INIT)?.finish();
    fs::write(&initrd, content).context(|| format!("cannot write {}", initrd.display()))?;
    Ok(Prepared {
        failing: Artifacts { loader: loader.clone(), entry: entry.clone(), kernel: failing },
        built: Artifacts { loader, entry, kernel },
        payload,
        raw_nic,
        debian,
        initrd,
    })
}

/// Removes the files of test runs that were ended before they could do so.
fn remove_leftovers() -> Result<()> {
    let folder = workspace::target_folder("tests")?;
    let entries = fs::read_dir(&folder).context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix("prepared-").or_else(|| name.strip_prefix("volume-"));
        let Some(owner) = owner.and_then(|rest| rest.split('-').next()) else { continue };
        if !Path::new("/proc").join(owner).exists() {
            // Whoever else tidies up at the same time may have been faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}
