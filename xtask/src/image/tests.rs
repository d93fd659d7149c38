//! Boot volumes of good and bad configurations, checked with the tools that others trust.
use super::*;
use crate::workspace;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder of its own for one test, gone after it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = workspace::target_folder("image-tests").unwrap();
        let folder = folder.join(format!("{}-{number}", process::id()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn put(&self, path: &str, content: &[u8]) -> PathBuf {
        let to = self.0.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, content).unwrap();
        to
    }

    fn built(&self) -> Artifacts {
        Artifacts {
            loader: self.put("boot.efi", b"loader"),
            entry: self.put("start", b"entry"),
            kernel: self.put("kernel", b"kernel"),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn tool(program: &str, args: &[&str], file: &Path) -> (bool, String) {
    let output =
        Command::new(program).args(args).arg(file).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output();
    let output = output.expect("the tool is there after 'cargo xtask setup'");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

const CONFIG: &str = "[[vm]]\nname = \"a\"\nmemory = \"64M\"\nkernel = \"guests/A long name of a kernel\"\n\
                      initrd = \"guests\\\\initrd.img\"\n";

#[test]
fn a_volume_holds_the_loader_the_kernel_the_configuration_and_its_files() {
    let scratch = Scratch::new();
    let config = scratch.put("cfg/my.toml", CONFIG.as_bytes());
    scratch.put("cfg/guests/A long name of a kernel", &[7; 100_000]);
    scratch.put("cfg/guests/initrd.img", &[8; 3]);
    let contents = Contents::of(&config).unwrap();
    let image = write(&contents, &scratch.built(), &scratch.0.join("out")).unwrap();
    let read = |path: &str| fs::read(image.volume.join(path)).unwrap();
    assert_eq!(read("EFI/BOOT/BOOTX64.EFI"), b"loader");
    assert_eq!(read("purevisor/kernel.elf"), b"kernel");
    assert_eq!(read("purevisor.toml"), CONFIG.as_bytes());
    assert_eq!(read("guests/A long name of a kernel"), [7; 100_000]);
    assert_eq!(read("guests/initrd.img"), [8; 3]);
    assert_eq!(fs::read_dir(scratch.0.join("out")).unwrap().count(), 2);
}

#[test]
fn the_disk_image_satisfies_sgdisk_and_fsck_and_holds_the_same_files() {
    let scratch = Scratch::new();
    let config = scratch.put("my.toml", CONFIG.as_bytes());
    scratch.put("guests/A long name of a kernel", &[7; 3_000_001]);
    scratch.put("guests/initrd.img", &[8; 3]);
    let image = write(&Contents::of(&config).unwrap(), &scratch.built(), &scratch.0).unwrap();
    let (good, text) = tool("sgdisk", &["--verify"], &image.disk);
    assert!(good && text.contains("No problems found"), "{text}");
    let (_, text) = tool("sgdisk", &["--info=1"], &image.disk);
    assert!(text.contains("EFI system partition") && text.contains("First sector: 2048"), "{text}");

    let disk = fs::read(&image.disk).unwrap();
    let partition = scratch.put("partition", &disk[2048 * 512..disk.len() - 33 * 512]);
    let (good, text) = tool("fsck.fat", &["-n", "-v"], &partition);
    assert!(good && text.contains("32 bit entries") && text.contains("2048 hidden sectors"), "{text}");

    let read = |path: &str| {
        let copy = scratch.0.join("copy");
        let _ = fs::remove_file(&copy);
        let output =
            Command::new("mcopy").arg("-i").arg(&partition).arg(format!("::{path}")).arg(&copy).output();
        let output = output.expect("mcopy is there after 'cargo xtask setup'");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::read(copy).unwrap()
    };
    assert_eq!(read("EFI/BOOT/BOOTX64.EFI"), b"loader");
    assert_eq!(read("guests/A long name of a kernel"), vec![7; 3_000_001]);
    assert_eq!(read("purevisor.toml"), CONFIG.as_bytes());
}

#[test]
fn the_iso_image_holds_the_files_under_their_names_and_an_entry_for_each_firmware() {
    const ODD: &str = "guests/it's a = $1 & ü.bin";
    let scratch = Scratch::new();
    let config = scratch.put("my.toml", format!("[[vm]]\nkernel = \"{ODD}\"\n").as_bytes());
    scratch.put(ODD, &[7; 3_000_001]);
    let out = scratch.0.join("out");
    let image = iso::write(&Contents::of(&config).unwrap(), &scratch.built(), &out).unwrap();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);

    let xorriso = |args: &[&str]| {
        let output =
            Command::new("xorriso").args(["-osirrox", "on", "-indev"]).arg(&image).args(args).output();
        let output = output.expect("xorriso is there after 'cargo xtask setup'");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let report = xorriso(&["-report_el_torito", "plain", "-report_system_area", "plain"]);
    let entry = |platform: &str| {
        report
            .lines()
            .any(|line| line.starts_with("El Torito boot img") && line.contains(&format!(" {platform} ")))
    };
    assert!(entry("BIOS") && entry("UEFI") && report.contains("grub2-mbr"), "{report}");
    // The partition's type, EFI system, as it is on disk (UEFI 2.10, 5.3.3).
    assert!(report.contains("28732ac11ff8d211ba4b00a0c93ec93b"), "{report}");

    let files = scratch.0.join("files");
    xorriso(&["-extract", "/", files.to_str().unwrap()]);
    let read = |path: &str| fs::read(files.join(path)).unwrap();
    assert_eq!(read("purevisor/multiboot2.elf"), b"entry");
    assert_eq!(read("purevisor/kernel.elf"), b"kernel");
    assert_eq!(read("purevisor.toml"), fs::read(&config).unwrap());
    assert_eq!(read(ODD), [7; 3_000_001]);
    assert!(
        String::from_utf8(read("boot/grub/grub.cfg"))
            .unwrap()
            .contains("multiboot2 /purevisor/multiboot2.elf")
    );
}

#[test]
fn a_failed_iso_image_leaves_the_one_that_was_there() {
    let scratch = Scratch::new();
    let contents = Contents::of(&scratch.put("my.toml", b"")).unwrap();
    let built = scratch.built();
    let image = iso::write(&contents, &built, &scratch.0).unwrap();
    let before = fs::read(&image).unwrap();
    let missing = Artifacts { entry: scratch.0.join("no such file"), ..built };
    let error = iso::write(&contents, &missing, &scratch.0).unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn a_file_that_is_not_there_is_named_with_its_line_and_nothing_is_written() {
    let scratch = Scratch::new();
    let config = scratch.put("my.toml", CONFIG.as_bytes());
    scratch.put("guests/A long name of a kernel", b"k");
    let error = Contents::of(&config).unwrap_err().to_string();
    assert!(error.contains("my.toml:5: \"guests\\initrd.img\""), "{error}");
    assert!(error.contains("put the file there or correct the path"), "{error}");
}

#[test]
fn paths_that_cannot_be_on_the_volume_are_refused() {
    let scratch = Scratch::new();
    scratch.put("x", b"x");
    scratch.put("purevisor/Kernel.elf", b"x");
    scratch.put("folder/file", b"x");
    for (path, reason) in [
        ("../x", "'..'"),
        ("/x", "absolute"),
        ("folder", "is not a file"),
        ("a:b", "':'"),
        ("purevisor/Kernel.elf", "PureVisor's own"),
        ("purevisor.toml", "PureVisor's own"),
    ] {
        let config = scratch.put("purevisor.toml", format!("\n[[vm]]\nkernel = '{path}'").as_bytes());
        let error = Contents::of(&config).unwrap_err().to_string();
        assert!(error.contains("purevisor.toml:3:") && error.contains(reason), "{path}: {error}");
    }
}

#[test]
fn two_files_that_fat_cannot_tell_apart_are_refused_and_one_file_spelled_twice_is_not() {
    let scratch = Scratch::new();
    scratch.put("d/k", b"1");
    scratch.put("D/K", b"2");
    let config = scratch.put("my.toml", b"[[vm]]\nkernel='d/k'\ninitrd='D/K'");
    let error = Contents::of(&config).unwrap_err().to_string();
    assert!(error.contains("my.toml:3") && error.contains("\"d/k\""), "{error}");
    let config = scratch.put("my.toml", b"[[vm]]\nkernel='d/k'\ninitrd='./d\\k'");
    assert_eq!(Contents::of(&config).unwrap().entries.len(), 2);
}

#[test]
fn a_failure_leaves_what_was_there() {
    let scratch = Scratch::new();
    let config = scratch.put("my.toml", b"");
    let out = scratch.0.join("out");
    let built = scratch.built();
    let contents = Contents::of(&config).unwrap();
    write(&contents, &built, &out).unwrap();
    let missing = Artifacts { kernel: scratch.0.join("no such file"), ..built };
    let error = write(&contents, &missing, &out).unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
    assert_eq!(fs::read(out.join("esp/EFI/BOOT/BOOTX64.EFI")).unwrap(), b"loader");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);
}

#[test]
fn an_image_is_as_large_as_its_files_need() {
    assert_eq!(fat::volume_bytes(&[1000]), 64 << 20);
    assert!(fat::volume_bytes(&[1 << 30]) > (1 << 30) + (16 << 20));
}
