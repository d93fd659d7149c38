//! A Debian's root file system as an ext4 image: what a machine of one's own would have on its disk.
//!
//! ```text
//! apt's sources, keys, proxies ─► mmdebstrap: packages, installed by dpkg ─► tar ─► fakeroot mke2fs -d ─► root.img
//! ```
//!
//! It is Debian as this computer's apt knows it, with systemd, udev, a log-in on the serial console as `root` with
//! the password [`PASSWORD`], and the programs that try disks. It has no kernel: that comes with its modules from
//! the boot volume ([`crate::debian`]).
//!
//! Made once and kept until [`recipe`] changes. Nothing is mounted, and nothing in the target folder belongs to
//! root, whoever made it.
use super::packages::{self, Root};
use crate::failure::{Context, Failure, Result};
use crate::progress;
use crate::workspace;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Of the user `root`.
pub const PASSWORD: &str = "purevisor";

/// Beside Debian's essential packages. `dbus` lets `systemd-logind` hear the power button.
const PACKAGES: [&str; 8] =
    ["dbus", "e2fsprogs", "fio", "login", "passwd", "sg3-utils", "systemd-sysv", "udev"];

/// Of no use here; the hardware's names alone are a tenth of all.
const LEFT_OUT: [&str; 6] = [
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/usr/lib/udev/hwdb.d/*",
    "/lib/udev/hwdb.d/*",
];

/// Done to the file system, whose place is `$1`, when all packages are installed: what an installer would set,
/// nothing that runs at certain times or looks for modules and snapshots that are not there, and no work for the first
/// boot that was done here.
const FINISH: &str = r#"set -e
echo debian >"$1/etc/hostname"
printf '127.0.0.1 localhost debian\n' >"$1/etc/hosts"
echo "root:PASSWORD" | chroot "$1" chpasswd
rm -f "$1"/etc/systemd/system/default.target.wants/e2scrub_reap.service
ln -s /dev/null "$1/etc/systemd/system/modprobe@.service"
rm -f "$1"/etc/systemd/system/timers.target.wants/* "$1"/usr/lib/systemd/system/timers.target.wants/*
rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/resolv.conf
touch "$1/etc/.updated" "$1/var/.updated"
"#;

/// How the image is made of the packed files: `$1`, an archive, becomes `$2`.
const PACK: &str = r#"set -e
mkdir "$2.files"
tar --extract --file "$1" --directory "$2.files"
mke2fs -q -t ext4 -L root -m 0 -J size=8 -E lazy_itable_init=0,lazy_journal_init=0 -d "$2.files" "$2" SIZE
rm -rf "$2.files"
"#;

/// Of the image, with some room for files of the tests. A file of this size, but only what is used is written.
const SIZE: &str = "512M";

/// All that the image depends on but the packages' versions.
fn recipe() -> String {
    let [packages, left_out] = [PACKAGES.join("\n"), LEFT_OUT.join("\n")];
    [packages, left_out, finish(), pack()].join("\n\n")
}

fn finish() -> String {
    FINISH.replace("PASSWORD", PASSWORD)
}

fn pack() -> String {
    PACK.replace("SIZE", SIZE)
}

/// The image, made unless it is there. It must not be changed: [`copy`] it.
pub fn ensure() -> Result<PathBuf> {
    let folder = workspace::target()?.join("debian-root");
    let image = folder.join("root.img");
    let is_current = || fs::read_to_string(folder.join("recipe")).is_ok_and(|made| made == recipe());
    if is_current() {
        return Ok(image);
    }
    packages::ensure_for_debian_root()?;
    progress::step("making the root file system of a Debian", || {
        let unfinished = workspace::target_folder(&format!("debian-root-unfinished-{}", std::process::id()))?;
        let made = make(&unfinished).and_then(|()| {
            let _ = fs::remove_dir_all(&folder);
            match fs::rename(&unfinished, &folder) {
                // Someone else was faster.
                Err(_) if is_current() => Ok(()),
                renamed => renamed.context(|| format!("cannot put {} in place", folder.display())),
            }
        });
        let _ = fs::remove_dir_all(&unfinished);
        made
    })?;
    Ok(image)
}

fn make(into: &Path) -> Result<()> {
    let (archive, image) = (into.join("root.tar"), into.join("root.img"));
    // Everything is given by arguments and pipes: a user's namespace may not look into our folder.
    let mut mmdebstrap = match Root::find() {
        Some(root) => {
            let mut command = root.call("mmdebstrap");
            command.arg("--mode=root");
            command
        }
        None => {
            let mut command = Command::new("mmdebstrap");
            command.arg("--mode=unshare").stdin(Stdio::null()).current_dir("/");
            command
        }
    };
    mmdebstrap.args(["--variant=essential", "--format=tar"]);
    mmdebstrap.arg("--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr");
    mmdebstrap.arg(format!("--include={}", PACKAGES.join(",")));
    mmdebstrap.args(apt_options(&apt_configuration()?).map(|option| format!("--aptopt={option}")));
    mmdebstrap.arg("--dpkgopt=force-unsafe-io");
    mmdebstrap.args(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
    mmdebstrap.arg(format!("--customize-hook={}", finish()));
    // No suite: the sources name it.
    mmdebstrap.args(["", "-"]).args(apt_sources()?);
    let written = fs::File::create(&archive).context(|| format!("cannot make {}", archive.display()))?;
    mmdebstrap.stdout(written);
    workspace::output(&mut mmdebstrap, "install a Debian's packages into a folder")?;

    let mut fakeroot = Command::new("fakeroot");
    fakeroot.args(["sh", "-c", &pack(), "sh"]).arg(&archive).arg(&image);
    // Where Debian keeps mke2fs; not everyone's PATH has it.
    let path = std::env::var("PATH").unwrap_or_default();
    fakeroot.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    workspace::output(&mut fakeroot, "make a file system of them")?;
    fs::remove_file(&archive).context(|| format!("cannot remove {}", archive.display()))?;
    // Last: where it is, everything is.
    let note = into.join("recipe");
    fs::write(&note, recipe()).context(|| format!("cannot write {}", note.display()))
}

/// The files that name the sources of Debian's packages which this computer's apt has.
fn apt_sources() -> Result<Vec<String>> {
    let mut apt = Command::new("apt-get");
    apt.args(["indextargets", "--format", "$(ORIGIN)\t$(SOURCESENTRY)", "Created-By: Packages"]);
    let files = debian_entries(&workspace::output(&mut apt, "ask apt for its sources")?);
    if files.is_empty() {
        return Err(Failure::new("apt has no source of Debian's packages; see 'man sources.list'"));
    }
    Ok(files.into_iter().collect())
}

/// The files of Debian's own entries, from lines of an origin and the place of an entry.
fn debian_entries(targets: &str) -> BTreeSet<String> {
    let lines = targets.lines().filter_map(|line| line.split_once('\t'));
    let debian = lines.filter(|(origin, _)| *origin == "Debian");
    debian.filter_map(|(_, entry)| Some(entry.rsplit_once(':')?.0.to_string())).collect()
}

fn apt_configuration() -> Result<String> {
    let mut apt = Command::new("apt-config");
    workspace::output(apt.arg("dump"), "ask apt for its configuration")
}

/// What an apt that has a configuration of its own needs of this computer's: how things are fetched (proxies,
/// time-outs, checks) and with which passwords; and not what else to fetch than packages.
fn apt_options(configuration: &str) -> impl Iterator<Item = &str> {
    const OTHERS: [&str; 5] = ["IndexTargets", "Changelogs", "CompressionTypes", "Languages", "cdrom"];
    let of_fetching = |line: &&str| {
        let rest = line.strip_prefix("Acquire::");
        rest.is_some_and(|rest| !OTHERS.iter().any(|other| rest.starts_with(other)))
    };
    let more = [
        r#"Acquire::Languages "none";"#,
        r#"Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";"#,
        r#"Dir::Etc::netrc "/etc/apt/auth.conf";"#,
        r#"Dir::Etc::netrcparts "/etc/apt/auth.conf.d";"#,
    ];
    configuration.lines().filter(of_fetching).chain(more)
}

/// Copies an image to `to`: shared where the file system can do that, else only what is used.
pub fn copy(image: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    cp.args(["--reflink=auto", "--sparse=always", "--"]).arg(image).arg(to);
    workspace::output(&mut cp, &format!("copy {} to {}", image.display(), to.display())).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_sources_are_used_each_once() {
        let targets = "Debian\t/etc/apt/sources.list.d/debian.sources:1\nNode\t/etc/apt/sources.list.d/node.list:3\n\
                       Debian\t/etc/apt/sources.list.d/debian.sources:2\nDebian\t/etc/apt/sources.list:7\n\nbad\n";
        let files: Vec<String> = debian_entries(targets).into_iter().collect();
        assert_eq!(files, ["/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources"]);
        assert!(debian_entries("").is_empty());
    }

    #[test]
    fn apt_fetches_there_as_it_does_here_but_packages_only() {
        let configuration = "APT::Architecture \"amd64\";\nAcquire \"\";\nAcquire::http::Proxy \"http://cache:3142\";\n\
             Acquire::IndexTargets::deb::DEP-11 \"\";\nAcquire::Languages:: \"de\";\nDir \"/\";\n\
             Acquire::Check-Valid-Until \"false\";\n";
        let options: Vec<&str> = apt_options(configuration).take(3).collect();
        let expected = [
            "Acquire::http::Proxy \"http://cache:3142\";",
            "Acquire::Check-Valid-Until \"false\";",
            "Acquire::Languages \"none\";",
        ];
        assert_eq!(options, expected);
    }

    #[test]
    fn the_recipe_has_all_that_the_image_is_made_of() {
        let recipe = recipe();
        for part in ["sg3-utils", "/usr/share/doc/*", "root:purevisor", "\"$2\" 512M"] {
            assert!(recipe.contains(part), "{part}: {recipe}");
        }
    }

    #[test]
    fn a_copy_of_an_image_takes_no_more_room_than_what_is_used() {
        use std::os::unix::fs::MetadataExt;
        let folder = workspace::target_folder(&format!("tmp-copy-{}", std::process::id())).unwrap();
        let (image, to) = (folder.join("image"), folder.join("copy"));
        let file = fs::File::create(&image).unwrap();
        file.set_len(64 << 20).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, b"content", 32 << 20).unwrap();
        copy(&image, &to).unwrap();
        assert!(fs::read(&image).unwrap() == fs::read(&to).unwrap());
        assert!(fs::metadata(&to).unwrap().blocks() * 512 < 4 << 20);
        fs::remove_dir_all(&folder).unwrap();
    }
}
