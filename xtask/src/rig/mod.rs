//! An emulated machine, as the commands, the tests and the benchmark use it.
//!
//! A [`Qemu`] or a [`Bochs`] is a description; `start` makes a [`Session`] of it, whose serial console is read
//! and written by the program, and `run_in_terminal` gives the console to the user. QEMU emulates AMD-V, and
//! passes on what KVM nests; Bochs emulates VT-x.
//!
//! What is known of QEMU and kept in mind here; of Bochs see [`bochs`]:
//!
//! - KVM is used only where a guest of PureVisor could use AMD-V or VT-x in it; see [`Accelerator`].
//! - QEMU's translator, whose CPUs each have a thread ([`Qemu::parallel`]), has a race: whenever any CPU
//!   loads an x87 status word without a pending exception (XRSTOR, FXRSTOR, FNINIT), `cpu_clear_ignne` does
//!   an unlocked read-modify-write of `hflags2` of the machine's *first* CPU, where AMD-V's nested paging and
//!   global interrupt flag are kept. A VMRUN or #VMEXIT there at that moment is half undone: a guest runs
//!   without its nested page table, or the host's state is saved as the guest's. Seen about once in 40 starts
//!   of a guest of 4 vCPUs; read in QEMU 7.2 to 10; none in 160 starts with that line made conditional. So
//!   the CPUs of a machine take turns on one thread unless asked otherwise, and who asks keeps VMs off CPU 0.
//! - The counted mode ([`Qemu::counted`]) makes one tick of the time-stamp counter one instruction. It
//!   works with one processor only, and once in about forty runs it hangs: whoever waits must have a
//!   time-out, and report a second try.
//! - Each machine gets a copy of the firmware's variables of its own, and writes to a disk image are
//!   thrown away, so that runs do not see each other.
use crate::failure::{Context, Failure, Result};
use crate::workspace;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU32, Ordering};

mod accelerator;
pub mod bochs;
mod drive;
mod emulator;
mod firmware;
pub mod monitor;
mod process;
mod session;
mod terminal;
mod trouble;

use emulator::Emulator;

pub use accelerator::Accelerator;
pub use bochs::Bochs;
pub use drive::{Connection, Drive};
pub use emulator::End;
pub use session::{Seen, Session};
pub use trouble::{Fault, Trouble};

/// QEMU's chipsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// PCI Express, AHCI, MCFG.
    Q35,
    /// The i440FX of 1996: PCI, IDE.
    Pc,
}

impl std::str::FromStr for Machine {
    type Err = ();

    fn from_str(name: &str) -> std::result::Result<Self, ()> {
        match name {
            "q35" => Ok(Self::Q35),
            "pc" => Ok(Self::Pc),
            _ => Err(()),
        }
    }
}

/// What the machine boots from.
#[derive(Clone, Debug)]
pub enum Medium {
    /// A folder with the boot volume's files, which QEMU shows as a FAT disk. At most about 500 MiB.
    Folder(PathBuf),
    /// A disk image. Never changed.
    Disk(PathBuf),
    /// An ISO image, as a CD.
    Cd(PathBuf),
    /// Nothing of ours: Linux, by what QEMU puts in the place of a boot loader.
    Linux {
        /// A bzImage.
        kernel: PathBuf,
        /// An initramfs.
        initrd: PathBuf,
        /// The command line.
        cmdline: String,
    },
}

/// What starts before anything of ours does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// OVMF.
    Uefi,
    /// SeaBIOS, QEMU's own.
    Bios,
}

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Qemu {
    medium: Medium,
    firmware: Firmware,
    machine: Machine,
    cpu: String,
    cpus: u32,
    memory_mib: u64,
    accelerator: Accelerator,
    counted: bool,
    parallel: bool,
    reboot: bool,
    debug_log: Option<PathBuf>,
    drives: Vec<Drive>,
    monitor: Option<PathBuf>,
    caller: Vec<OsString>,
    extra: Vec<OsString>,
}

impl Qemu {
    /// A q35 with UEFI, 2 processors of the model `max` and 2 GiB.
    pub fn new(medium: Medium) -> Self {
        Self {
            medium,
            firmware: Firmware::Uefi,
            machine: Machine::Q35,
            cpu: "max".into(),
            cpus: 2,
            memory_mib: 2048,
            accelerator: Accelerator::best(),
            counted: false,
            parallel: false,
            reboot: false,
            debug_log: None,
            drives: Vec::new(),
            monitor: None,
            caller: Vec::new(),
            extra: Vec::new(),
        }
    }

    /// The firmware.
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.firmware = firmware;
        self
    }

    /// The chipset.
    pub fn machine(mut self, machine: Machine) -> Self {
        self.machine = machine;
        self
    }

    /// The processor model, with features after commas, as `-cpu` takes it.
    pub fn cpu(mut self, model: impl Into<String>) -> Self {
        self.cpu = model.into();
        self
    }

    /// The number of processors.
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// Memory in MiB.
    pub fn memory_mib(mut self, mib: u64) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Software emulation or KVM, instead of what this machine can do best.
    pub fn accelerator(mut self, accelerator: Accelerator) -> Self {
        self.accelerator = accelerator;
        self
    }

    /// One processor, emulated in software, whose time-stamp counter (1 GHz) counts instructions.
    pub fn counted(mut self) -> Self {
        self.counted = true;
        self.accelerator = Accelerator::Software;
        self.cpus = 1;
        self
    }

    /// Each emulated processor gets a thread of this computer, instead of all taking turns on one. No VM may
    /// run on CPU 0 then, for the reason above.
    pub fn parallel(mut self) -> Self {
        self.parallel = true;
        self
    }

    /// A reset of the machine starts it anew; without this it ends QEMU.
    pub fn may_reboot(mut self) -> Self {
        self.reboot = true;
        self
    }

    /// Writes interrupts, CPU resets and guest errors to this file: much, and slow.
    pub fn debug_log(mut self, file: impl Into<PathBuf>) -> Self {
        self.debug_log = Some(file.into());
        self
    }

    /// One more drive, beside the medium.
    pub fn drive(mut self, drive: Drive) -> Self {
        self.drives.push(drive);
        self
    }

    /// Lets [`monitor::tell`] reach the machine by a socket at this place.
    pub fn monitor(mut self, socket: impl Into<PathBuf>) -> Self {
        self.monitor = Some(socket.into());
        self
    }

    /// Lets the emulator be called by this program, behind whose arguments its own call comes. The program must become
    /// it, by exec.
    pub fn called_by(mut self, program: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.caller = program.into_iter().map(Into::into).collect();
        self
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.extra.extend(args.into_iter().map(Into::into));
        self
    }

    /// Starts the machine with its serial console in the hands of the program.
    pub fn start(&self) -> Result<Session> {
        let scratch = Scratch::new()?;
        let command = self.command(&scratch, "stdio")?;
        Session::start(command, Emulator::Qemu, scratch)
    }

    /// Runs the machine to its end with its serial console on this terminal. Ctrl-C and all other keys
    /// go to the machine; Ctrl-A is QEMU's own prefix.
    pub fn run_in_terminal(&self) -> Result<ExitStatus> {
        let scratch = Scratch::new()?;
        let mut command = self.command(&scratch, "mon:stdio")?;
        command.status().context(|| "cannot start qemu-system-x86_64")
    }

    fn command(&self, scratch: &Scratch, serial: &str) -> Result<Command> {
        let mut call = self.caller.iter().map(OsString::as_os_str).chain([OsStr::new(Emulator::Qemu.name())]);
        let mut command = process::bound(call.next().unwrap_or_default());
        command.args(call);
        command.args(["-nodefaults", "-display", "none", "-vga", "std", "-serial", serial]);
        command.args(["-machine", if self.machine == Machine::Q35 { "q35" } else { "pc" }]);
        match (self.accelerator, self.counted) {
            (Accelerator::Software, false) => {
                command.args(["-accel", if self.parallel { "tcg,thread=multi" } else { "tcg,thread=single" }])
            }
            (Accelerator::Software, true) => {
                command.args(["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"])
            }
            (Accelerator::Kvm, _) => command.args(["-accel", "kvm"]),
        };
        command.args(["-cpu", &self.cpu, "-smp", &self.cpus.to_string()]);
        command.args(["-m", &format!("{}M", self.memory_mib)]);
        if !self.reboot {
            command.arg("-no-reboot");
        }
        if self.firmware == Firmware::Uefi {
            command.args(firmware::args(scratch.folder())?);
        }
        let mut drive = |text: String| {
            command.args(["-drive", &format!("format=raw,{text}")]);
        };
        match &self.medium {
            Medium::Folder(folder) => drive(format!("file=fat:rw:{}", quoted(folder)?)),
            Medium::Disk(image) => drive(format!("snapshot=on,file={}", quoted(image)?)),
            Medium::Cd(image) => drive(format!("media=cdrom,readonly=on,file={}", quoted(image)?)),
            Medium::Linux { kernel, initrd, cmdline } => {
                command.arg("-kernel").arg(kernel).arg("-initrd").arg(initrd).args(["-append", cmdline]);
            }
        }
        if let Some(log) = &self.debug_log {
            command.args(["-d", "int,cpu_reset,guest_errors", "-D"]).arg(log);
        }
        for drive in &self.drives {
            command.args(drive.args()?);
        }
        if let Some(socket) = &self.monitor {
            command.args(["-qmp", &format!("unix:{},server=on,wait=off", quoted(socket)?)]);
        }
        command.args(&self.extra);
        // Where QEMU would leave files of its own.
        command.env("TMPDIR", scratch.folder());
        Ok(command)
    }
}

/// A path as QEMU's options take it.
fn quoted(path: &Path) -> Result<String> {
    let path = std::path::absolute(path).context(|| format!("cannot find {}", path.display()))?;
    match path.to_str() {
        Some(text) => Ok(text.replace(',', ",,")),
        None => Err(Failure::new(format!("{} is not UTF-8, which QEMU needs", path.display()))),
    }
}

/// A folder for one machine's files, gone with it.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            remove_leftovers()?;
        }
        Ok(Self(workspace::target_folder(&format!("rig/{}-{number}", std::process::id()))?))
    }

    fn folder(&self) -> &Path {
        &self.0
    }
}

/// Removes the folders of processes that were killed before they could do so.
fn remove_leftovers() -> Result<()> {
    let folder = workspace::target_folder("rig")?;
    let entries = fs::read_dir(&folder).context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split_once('-').and_then(|(owner, _)| owner.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            // Whoever else tidies up at the same time may have been faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(qemu: &Qemu) -> String {
        let scratch = Scratch::new().unwrap();
        let command = qemu.command(&scratch, "stdio").unwrap();
        let words: Vec<_> = command.get_args().map(|a| a.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn the_command_line_says_what_was_asked_for() {
        let qemu = Qemu::new(Medium::Disk("/a,b.img".into()));
        let qemu = qemu.machine(Machine::Pc).cpu("EPYC").cpus(8).memory_mib(512).args(["-S"]);
        let qemu = qemu.drive(Drive::new("d0", "/d", Connection::Nvme)).monitor("/q,1");
        let line = line(&qemu.accelerator(Accelerator::Software));
        for part in [
            "-machine pc ",
            "tcg,thread=single",
            "-cpu EPYC -smp 8 -m 512M",
            "snapshot=on,file=/a,,b.img",
            "-device nvme,drive=d0,serial=d0 ",
            "-qmp unix:/q,,1,server=on,wait=off ",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(line.ends_with("-S") && line.contains("-no-reboot") && !line.contains("icount"));
    }

    #[test]
    fn another_program_may_call_the_emulator() {
        let qemu = Qemu::new(Medium::Folder("/esp".into()));
        assert!(line(&qemu).starts_with("--pdeathsig KILL -- qemu-system-x86_64 -nodefaults"));
        let line = line(&qemu.called_by(["unshare", "--net"]));
        assert!(
            line.starts_with("--pdeathsig KILL -- unshare --net qemu-system-x86_64 -nodefaults"),
            "{line}"
        );
    }

    #[test]
    fn processors_take_turns_unless_they_are_to_run_in_parallel() {
        let qemu = Qemu::new(Medium::Folder("/esp".into())).accelerator(Accelerator::Software);
        assert!(line(&qemu).contains("tcg,thread=single"));
        assert!(line(&qemu.parallel()).contains("tcg,thread=multi"));
    }

    #[test]
    fn the_counted_mode_is_one_emulated_processor() {
        let line = line(&Qemu::new(Medium::Folder("/esp".into())).cpus(4).counted().may_reboot());
        assert!(line.contains("-icount shift=0,sleep=off") && line.contains("-smp 1 "), "{line}");
        assert!(line.contains("fat:rw:/esp") && !line.contains("-no-reboot"));
    }

    #[test]
    fn a_bios_machine_has_no_uefi_variables_and_a_cd_is_read_only() {
        let qemu = Qemu::new(Medium::Cd("/a.iso".into()));
        assert!(line(&qemu).contains("if=pflash"));
        let line = line(&qemu.firmware(Firmware::Bios));
        assert!(!line.contains("pflash") && line.contains("media=cdrom,readonly=on,file=/a.iso"), "{line}");
    }
}
