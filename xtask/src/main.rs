//! `cargo xtask`: every command of the project.
use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use xtask::args::Args;
use xtask::failure::{Failure, Result};
use xtask::{artifacts, bench, image, progress, run, setup, test};

const HELP: &str = "\
cargo xtask COMMAND

  run      boots PureVisor in an emulated machine with a Debian VM, and gives you its console
             --config FILE      another purevisor.toml
             --rig qemu|bochs   AMD-V in QEMU (default), or VT-x in Bochs: slow, 512 MiB, no option but --smp
             --smp N            processors (default 2; Bochs: 1 or 2)
             --machine q35|pc   chipset (default q35)       --memory M    MiB (default 2048)
             --cpu MODEL        (default max)               -- ARGUMENTS  are passed to QEMU
  test     runs every test; what follows -- is passed to the test runner
  bench    measures, prints a table, writes target/bench/bench.json
             --quick            without Linux guests   --only METRIC  one, or those whose names begin so
             --json PATH        writes the figures there
  image    writes the boot volume to DIR/esp, a disk image for a USB stick to DIR/purevisor.img, and an image
           for any medium, that boots by BIOS and UEFI, to DIR/purevisor.iso
             --config FILE --out DIR
             --no-iso           without purevisor.iso, which takes packages of Debian's
  build    builds the loaders and the kernel
  setup    installs and fetches what the other commands need (they do it by themselves)
";

fn main() -> ExitCode {
    let mut words = env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let mut args = Args::new(words);
    if matches!(command.as_str(), "" | "help" | "-h" | "--help") || args.flag("--help") || args.flag("-h") {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match dispatch(&command, args) {
        Ok(code) => code,
        Err(failure) => {
            progress::say(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: &str, args: Args) -> Result<ExitCode> {
    match command {
        "setup" => {
            args.finish()?;
            setup::everything()?;
            setup::debian_root::ensure()?;
            progress::say("everything is there");
            Ok(ExitCode::SUCCESS)
        }
        "build" => {
            args.finish()?;
            setup::toolchain()?;
            let built = artifacts::build()?;
            for (path, bytes) in built.sizes()? {
                println!("{:>8} KiB  {}", bytes.div_ceil(1024), path.display());
            }
            Ok(ExitCode::SUCCESS)
        }
        "image" => make_image(args),
        "run" => run::command(args),
        "test" => test::command(args),
        "bench" => bench::command(args),
        _ => Err(Failure::new(format!("'{command}' is not a command; see 'cargo xtask --help'"))),
    }
}

fn make_image(mut args: Args) -> Result<ExitCode> {
    let needed = |value: Option<String>, name: &str| {
        value
            .map(PathBuf::from)
            .ok_or_else(|| Failure::new(format!("image needs {name}; see 'cargo xtask --help'")))
    };
    let config = needed(args.value("--config")?, "--config FILE")?;
    let out = needed(args.value("--out")?, "--out DIR")?;
    let with_iso = !args.flag("--no-iso");
    args.finish()?;
    // Before the minutes that set-up and build may take.
    let volume = image::Contents::of(&config)?;
    setup::toolchain()?;
    if with_iso {
        setup::iso_tools()?;
    }
    let built = artifacts::build()?;
    let image = image::write(&volume, &built, &out)?;
    println!("{}\n{}", image.volume.display(), image.disk.display());
    if with_iso {
        println!("{}", image::iso::write(&volume, &built, &out)?.display());
    }
    Ok(ExitCode::SUCCESS)
}
