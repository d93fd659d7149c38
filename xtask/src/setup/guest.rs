//! The files of the Debian guest: a kernel with its modules, and busybox.
//!
//! They are Debian's packages, fetched and unpacked below the target folder; nothing is installed.
use super::modules::plain;
use super::packages::{self, Root};
use crate::failure::{Context, Failure, Result};
use crate::progress;
use crate::workspace;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One of Debian's kernels.
struct Kernel {
    /// Stands for whichever is current; depends on it.
    meta_package: &'static str,
    /// Where its files are, in the target folder.
    folder: &'static str,
}

/// That for VMs, which is small.
const CLOUD: Kernel = Kernel { meta_package: "linux-image-cloud-amd64", folder: "guest" };
/// That for machines, with the drivers of real devices.
const FULL: Kernel = Kernel { meta_package: "linux-image-amd64", folder: "guest-full" };

const BUSYBOX_PACKAGE: &str = "busybox-static";

/// The guest's files, unpacked.
#[derive(Clone, Debug)]
pub struct Guest {
    folder: PathBuf,
}

impl Guest {
    /// The kernel, a bzImage.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// Where the static busybox is.
    pub fn busybox_path(&self) -> PathBuf {
        self.folder.join("busybox")
    }

    /// The static busybox.
    pub fn busybox(&self) -> Result<Vec<u8>> {
        let path = self.busybox_path();
        fs::read(&path).context(|| format!("cannot read {}", path.display()))
    }

    /// The kernel's module `name`, ready for `insmod`. A name that the kernel has built in, or does not
    /// have, is an error.
    pub fn module(&self, name: &str) -> Result<Vec<u8>> {
        let name = plain(name);
        let modules = self.folder.join("modules");
        let is_it = |path: &Path| {
            let file = plain(&path.file_name().unwrap_or_default().to_string_lossy());
            file == format!("{name}.ko") || file == format!("{name}.ko.xz")
        };
        let path = find(&modules, &is_it)
            .ok_or_else(|| Failure::new(format!("the guest's kernel has no module '{name}'")))?;
        if path.extension().is_some_and(|e| e == "xz") {
            let output = Command::new("xz").arg("--decompress").arg("--stdout").arg(&path).output();
            let output = output.context(|| "cannot call xz")?;
            return match output.status.success() {
                true => Ok(output.stdout),
                false => Err(Failure::new(format!("xz cannot unpack {}", path.display()))),
            };
        }
        fs::read(&path).context(|| format!("cannot read {}", path.display()))
    }

    /// The paths of the modules that the kernel has built in, a line each.
    pub(super) fn built_in(&self) -> Result<String> {
        let modules = self.folder.join("modules");
        let list = find(&modules, &|path| path.file_name().is_some_and(|name| name == "modules.builtin"));
        let list =
            list.ok_or_else(|| Failure::new("the guest's kernel does not list what it has built in"))?;
        fs::read_to_string(&list).context(|| format!("cannot read {}", list.display()))
    }
}

/// The guest's files, fetched unless they are there.
pub fn ensure() -> Result<Guest> {
    ensured(&CLOUD)
}

/// The same with a kernel that has drivers for real devices too, such as Intel's network cards.
pub fn ensure_with_all_drivers() -> Result<Guest> {
    ensured(&FULL)
}

fn ensured(kernel: &Kernel) -> Result<Guest> {
    let folder = workspace::target()?.join(kernel.folder);
    let guest = Guest { folder: folder.clone() };
    if guest.kernel().exists() {
        return Ok(guest);
    }
    progress::step(&format!("fetching {} and busybox", kernel.meta_package), || {
        let unfinished = format!("{}-unfinished-{}", kernel.folder, std::process::id());
        let unfinished = workspace::target_folder(&unfinished)?;
        let fetched = fetch(kernel, &unfinished).and_then(|()| match fs::rename(&unfinished, &folder) {
            // Someone else was faster.
            Err(_) if guest.kernel().exists() => Ok(()),
            renamed => renamed.context(|| format!("cannot put {} in place", folder.display())),
        });
        let _ = fs::remove_dir_all(&unfinished);
        fetched
    })?;
    Ok(guest)
}

fn fetch(kernel: &Kernel, into: &Path) -> Result<()> {
    if !packages::package_lists_are_there() {
        update()?;
    }
    let current = || current_kernel(kernel.meta_package);
    let kernel_package = current().or_else(|_| update().and_then(|()| current()))?;
    let names = [kernel_package.as_str(), BUSYBOX_PACKAGE];
    let download = || {
        let mut apt = Command::new("apt-get");
        apt.args(["--quiet", "download"]).args(names).current_dir(into);
        workspace::output(&mut apt, &format!("download {}", names.join(" "))).map(drop)
    };
    download().or_else(|_| update().and_then(|()| download()))?;

    let unpacked = into.join("unpacked");
    for package in files(into)?.iter().filter(|path| path.extension().is_some_and(|e| e == "deb")) {
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.arg("--extract").arg(package).arg(&unpacked);
        workspace::output(&mut dpkg, &format!("unpack {}", package.display()))?;
        fs::remove_file(package).context(|| format!("cannot remove {}", package.display()))?;
    }
    let name_begins = |path: &Path, with: &str| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(with)) && path.is_file()
    };
    let wanted = |what: &str, found: Option<PathBuf>| {
        found.ok_or_else(|| Failure::new(format!("there is no {what} in the packages {}", names.join(" "))))
    };
    let kernel = wanted("vmlinuz", find(&unpacked.join("boot"), &|p| name_begins(p, "vmlinuz")))?;
    let busybox =
        wanted("busybox", find(&unpacked, &|p| name_begins(p, "busybox") && p.ends_with("bin/busybox")))?;
    let modules = [unpacked.join("usr/lib/modules"), unpacked.join("lib/modules")];
    let modules = wanted("modules folder", modules.into_iter().find(|m| m.is_dir()))?;
    // The kernel last: where it is, everything is.
    for (from, to) in [(busybox, "busybox"), (modules, "modules"), (kernel, "vmlinuz")] {
        fs::rename(&from, into.join(to)).context(|| format!("cannot move {}", from.display()))?;
    }
    fs::write(into.join("packages"), names.join("\n") + "\n")
        .context(|| "cannot note the packages' names")?;
    fs::remove_dir_all(&unpacked).context(|| format!("cannot remove {}", unpacked.display()))
}

fn update() -> Result<()> {
    match Root::find() {
        Some(root) => root.apt(&["update"]),
        None => Err(Failure::new(
            "the lists of packages are missing or old, and fetching them takes root. Run this and try again:\n  \
             sudo apt-get update",
        )),
    }
}

/// The package that the meta-package depends on.
fn current_kernel(meta_package: &str) -> Result<String> {
    let mut apt = Command::new("apt-cache");
    apt.args(["depends", meta_package]);
    let text = workspace::output(&mut apt, &format!("look up {meta_package}"))?;
    let depends = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    depends.map(String::from).ok_or_else(|| Failure::new(format!("apt knows no {meta_package}")))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The first path below `folder` that `is_it`.
fn find(folder: &Path, is_it: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut paths = files(folder).ok()?;
    paths.sort();
    paths.iter().find(|path| is_it(path)).cloned().or_else(|| {
        // A link may lead anywhere; packages link within themselves.
        paths.iter().filter(|path| path.is_dir() && !path.is_symlink()).find_map(|path| find(path, is_it))
    })
}
