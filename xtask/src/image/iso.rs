//! The ISO image, which GRUB boots from: on BIOS and on UEFI machines, as a CD and as a disk.
//!
//! ```text
//! boot/grub/bios.img          GRUB for a BIOS, the image's first El Torito entry
//! boot/grub/grub.cfg          what GRUB does: the entry as Multiboot2 kernel, everything else as modules
//! purevisor/multiboot2.elf    the entry (boot/multiboot2)
//! purevisor/kernel.elf        the kernel, the same file as on the FAT volume
//! purevisor.toml, …           the configuration and the files that it names, at their paths
//! ```
//!
//! Behind the ISO 9660 file system lies a small FAT volume with GRUB for UEFI, which the second El Torito entry
//! and the partition table name. The first sector holds GRUB's boot code, for a BIOS that finds the image on a
//! USB stick. Both GRUBs look for the file system by a file whose name no other image has, and then do what
//! `grub.cfg` says.
//!
//! Both have everything that they use in them, and nothing else: a BIOS reads a CD slowly, and there is
//! nothing to find on it but what is to be started.
use super::{Contents, KERNEL_PATH, gpt, replace};
use crate::artifacts::Artifacts;
use crate::failure::{Context, Failure, Result};
use crate::{progress, workspace};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// The entry's place on the image.
const ENTRY_PATH: &str = "purevisor/multiboot2.elf";
const BIOS_GRUB_PATH: &str = "boot/grub/bios.img";
/// Boot code for the first sector, of Debian's grub-pc-bin.
const DISK_BOOT_CODE: &str = "/usr/lib/grub/i386-pc/boot_hybrid.img";
/// What either GRUB does for us: its script and commands, and the way to the files.
const MODULES: [&str; 12] = [
    "normal",
    "test",
    "echo",
    "multiboot2",
    "iso9660",
    "part_gpt",
    "part_msdos",
    "search",
    "search_fs_file",
    "ls",
    "reboot",
    "halt",
];
/// A BIOS's disks, its screen in text and in graphics modes, COM1; and what a processor without 64-bit mode is
/// told with.
const BIOS_MODULES: [&str; 7] = ["biosdisk", "vga", "vbe", "terminal", "serial", "cpuid", "read"];
/// UEFI's screen. Its console and disks are in GRUB's core, and COM1 is the firmware's business.
const EFI_MODULES: [&str; 1] = ["efi_gop"];

/// Writes `out/purevisor.iso`.
pub fn write(contents: &Contents, built: &Artifacts, out: &Path) -> Result<PathBuf> {
    fs::create_dir_all(out).context(|| format!("cannot make the folder {}", out.display()))?;
    let unfinished = out.join(format!(".unfinished-iso-{}", process::id()));
    let iso = out.join("purevisor.iso");
    let result = progress::step("writing the ISO image", || {
        fs::create_dir(&unfinished).context(|| format!("cannot make {}", unfinished.display()))?;
        build(contents, built, &unfinished)?;
        replace(&unfinished.join("purevisor.iso"), &iso)
    });
    let _ = fs::remove_dir_all(&unfinished);
    result.map(|()| iso)
}

/// Makes `purevisor.iso` in `folder`, beside its parts.
fn build(contents: &Contents, built: &Artifacts, folder: &Path) -> Result<()> {
    let guid = gpt::random_guid().context(|| "cannot make a random name")?;
    let name: String = guid.iter().map(|byte| format!("{byte:02x}")).collect();
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).context(|| format!("cannot write {}", path.display()))?;
        Ok::<_, Failure>(path)
    };
    let marker = format!("boot/grub/{name}");
    let mut grafts = vec![(marker.clone(), put("marker", "")?)];

    let early = format!("search --no-floppy --file --set=root /{marker}\nset prefix=($root)/boot/grub\n");
    let early = put("early.cfg", &early)?;
    let bios = folder.join("bios.img");
    make_grub("i386-pc-eltorito", &BIOS_MODULES, &early, &bios)?;
    let efi = folder.join("BOOTX64.EFI");
    make_grub("x86_64-efi", &EFI_MODULES, &early, &efi)?;
    let efi_volume = make_efi_volume(&efi, folder)?;

    let files: Vec<String> = contents.entries.iter().map(|entry| entry.path.join("/")).collect();
    grafts.push(("boot/grub/grub.cfg".into(), put("grub.cfg", &grub_cfg(&files))?));
    grafts.push((BIOS_GRUB_PATH.into(), bios));
    grafts.push((ENTRY_PATH.into(), built.entry.clone()));
    grafts.push((KERNEL_PATH.into(), built.kernel.clone()));
    grafts.extend(files.into_iter().zip(contents.entries.iter().map(|entry| entry.source.clone())));

    let mut xorriso = Command::new("xorriso");
    xorriso.args(["-as", "mkisofs", "-quiet", "-r", "-f", "-iso-level", "3", "-V", "PUREVISOR", "-o"]);
    xorriso.arg(folder.join("purevisor.iso"));
    // GRUB finds the rest of itself by the table that is patched into it.
    xorriso.args(["-b", BIOS_GRUB_PATH, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]);
    xorriso.args(["--grub2-boot-info", "--grub2-mbr", DISK_BOOT_CODE]);
    xorriso.args(["--protective-msdos-label", "-partition_offset", "16"]);
    xorriso.args(["-append_partition", "2", "0xef"]).arg(&efi_volume).arg("-appended_part_as_gpt");
    xorriso.args(["--efi-boot", "--interval:appended_partition_2:all::", "-no-emul-boot"]);
    xorriso.arg("-graft-points");
    for (path, source) in grafts {
        fs::metadata(&source).context(|| format!("cannot read {}", source.display()))?;
        let source = source
            .to_str()
            .ok_or_else(|| Failure::new(format!("{} is not UTF-8, which xorriso needs", source.display())))?;
        xorriso.arg(format!("{}={}", graft(&path), graft(source)));
    }
    workspace::output(&mut xorriso, "write the ISO image").map(drop)
}

/// Builds GRUB for `platform`, with `early` as what it does first.
fn make_grub(platform: &str, modules: &[&str], early: &Path, to: &Path) -> Result<()> {
    let mut mkimage = Command::new("grub-mkimage");
    mkimage.args(["-O", platform, "-p", "/boot/grub", "-c"]).arg(early).arg("-o").arg(to);
    mkimage.args(modules).args(MODULES);
    workspace::output(&mut mkimage, &format!("build GRUB for {platform}")).map(drop)
}

/// Makes the FAT volume that a UEFI firmware starts GRUB from.
fn make_efi_volume(grub: &Path, folder: &Path) -> Result<PathBuf> {
    let volume = folder.join("efi.img");
    let mtools = |program: &str, args: &[&str], source: Option<&Path>, to: &str| {
        let mut command = Command::new(program);
        command.arg("-i").arg(&volume).args(args).args(source).arg(to);
        workspace::output(&mut command, "make the UEFI volume of the ISO image").map(drop)
    };
    // 2880 KiB, as a floppy disk of that size: several times what GRUB needs.
    mtools("mformat", &["-C", "-f", "2880", "-v", "PUREVISOR"], None, "::")?;
    mtools("mmd", &[], None, "::EFI")?;
    mtools("mmd", &[], None, "::EFI/BOOT")?;
    mtools("mcopy", &[], Some(grub), "::EFI/BOOT/BOOTX64.EFI")?;
    Ok(volume)
}

/// What GRUB does. A file that it cannot read it reports, and goes on without.
fn grub_cfg(files: &[String]) -> String {
    let mut text = String::from(
        "# A UEFI firmware shows its console on COM1 itself, if it is to.\n\
         if [ \"$grub_platform\" = pc ]; then\n    \
             if serial --unit=0 --speed=115200; then\n        \
                 terminal_input console serial\n        \
                 terminal_output console serial\n    \
             fi\n    \
             if ! cpuid -l; then\n        \
                 echo 'boot: the processor does not have 64-bit mode, which PureVisor needs'\n        \
                 echo 'boot: stopped; press Enter to restart the machine'\n        \
                 read\n        \
                 reboot\n    \
             fi\n\
         fi\n\
         echo 'PureVisor: GRUB loads the boot files'\n",
    );
    text += &format!("multiboot2 /{ENTRY_PATH}\n");
    // Each module under the name by which purevisor.toml calls it.
    for file in [KERNEL_PATH].into_iter().chain(files.iter().map(String::as_str)) {
        text += &format!("module2 --nounzip {} {}\n", quoted(&format!("/{file}")), quoted(file));
    }
    text + "boot\n"
}

/// A word of GRUB's script, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A path as a part of a graft point of xorriso.
fn graft(path: &str) -> String {
    path.replace('\\', "\\\\").replace('=', "\\=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_a_module_under_its_own_name_whatever_is_in_it() {
        let text = grub_cfg(&["purevisor.toml".into(), "a b/it's $x".into()]);
        for line in [
            "multiboot2 /purevisor/multiboot2.elf",
            "module2 --nounzip '/purevisor/kernel.elf' 'purevisor/kernel.elf'",
            "module2 --nounzip '/purevisor.toml' 'purevisor.toml'",
            r"module2 --nounzip '/a b/it'\''s $x' 'a b/it'\''s $x'",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.ends_with("\nboot\n"));
    }

    #[test]
    fn graft_points_part_at_one_equals_sign_only() {
        assert_eq!(graft("a=b\\c"), "a\\=b\\\\c");
    }
}
