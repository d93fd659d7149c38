//! Bochs, a machine with VT-x, driven without its screen.
//!
//! ```text
//!   xtask ──bochsrc──► bochs (its debugger told to continue)
//!     │ ▲                │        │          │
//!     │ └── TCP, COM1 ◄──┘   stderr: words   screen: a pseudo-terminal
//!     └── keys ──► COM1           │ its name ────► opened and read, thrown away
//! ```
//!
//! What is known of Debian's Bochs 2.7, read in it or seen, and kept in mind here:
//!
//! - COM1 is a TCP connection to us: of its modes only that takes input without a terminal device.
//! - The display `term` is the one that needs no other machine's screen. It opens a pseudo-terminal by itself
//!   and names it. Once some 20 KB wait there unread, the machine stands still: so it is read. A graphics mode
//!   would be the end ("bpp graphics mode not supported"), so the VGA has no extension by which to set one.
//! - It stops in its debugger before the first instruction; a file with the command `c` makes it go on.
//! - Every end is a "panic" and a failure's status; see [`super::emulator`] for what they mean. The
//!   machine can't start anew after a reset.
//! - The time-stamp counter counts instructions, [`HERTZ`] of them a second, and devices follow it: the machine's
//!   seconds have no relation to ours. What it executes is the same in each run, until a key is typed.
//! - It lacks MSRs that every processor with VT-x has (IA32_BIOS_SIGN_ID): unknown ones read 0.
//! - Its BIOS permits VMX on every processor and locks that (IA32_FEATURE_CONTROL), in two places of its code: what
//!   it permits is changed in a copy ([`Permits`]).
//! - It has at most 2 processors and 512 MiB here, a BIOS and IDE. No UEFI.
//! - Of a guest to which the processor delivers interrupts by itself: while one is pending that the guest's IF holds
//!   back, any interrupt of the machine delivers it, IF or not (`InterruptAcknowledge` in cpu/event.cc, also in 2.8 and
//!   3.0). A Linux is entered in the middle of what it protects so, and sooner or later waits for itself for ever. So
//!   the usual model leaves interrupts to the hypervisor, and [`DELIVERS_INTERRUPTS`] is for tests that know what their
//!   guest does: the same in each run, as long as no key is typed.
use super::Scratch;
use super::emulator::{Emulator, End};
use super::process::{self, Process};
use super::session::Session;
use super::terminal::{self, Left};
use crate::failure::{Context, Failure, Result};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The usual processor model: VMX with EPT, VPID, unrestricted guest and the TPR's shadow.
pub const MODEL: &str = "corei7_ivy_bridge_3770k";
/// A model that also virtualizes the registers of the local APIC, delivers interrupts to guests and posts them.
pub const DELIVERS_INTERRUPTS: &str = "corei7_skylake_x";
/// The machine's memory.
pub const MEMORY_MIB: u32 = 512;
/// The most processors that are tested.
pub const MOST_CPUS: u32 = 2;
/// Instructions, and ticks of the time-stamp counter, in one second of the machine. About what one core of a
/// computer of today emulates in one.
const HERTZ: u32 = 50_000_000;

/// From its start to a machine with a console.
const PATIENCE: Duration = Duration::from_secs(60);

const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";
const VGA_BIOS: &str = "/usr/share/bochs/VGABIOS-lgpl-latest";

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Bochs {
    iso: PathBuf,
    model: String,
    cpus: u32,
    permits: [Permits; 2],
    paced: bool,
    time: Option<u32>,
}

/// What the BIOS leaves in a processor's IA32_FEATURE_CONTROL (SDM vol. 3C, 23.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permits {
    /// VMXON is permitted, and the register locked: what the BIOS does by itself.
    Vmx = 0b101,
    /// VMXON is forbidden, and the register locked.
    NoVmx = 0b001,
    /// Nothing, and not locked.
    Nothing = 0b000,
}

/// A machine that runs.
struct Started {
    process: Process,
    emulator: Emulator,
    /// Its COM1.
    console: File,
}

impl Bochs {
    /// A machine with one processor of the model [`MODEL`] that boots from a CD-ROM.
    pub fn new(iso: impl Into<PathBuf>) -> Self {
        Self {
            iso: iso.into(),
            model: MODEL.into(),
            cpus: 1,
            permits: [Permits::Vmx; 2],
            paced: false,
            time: None,
        }
    }

    /// The processor model, one of those that `bochs --help cpu` lists.
    pub fn cpu(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// The number of processors, at most [`MOST_CPUS`].
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// What the BIOS permits on the processor that boots, and on the others.
    pub fn firmware_permits(mut self, boot: Permits, others: Permits) -> Self {
        self.permits = [boot, others];
        self
    }

    /// A machine that waits lets our time pass, so that a second of the machine takes at least one of ours.
    /// Without this it goes on at once to what it waits for.
    pub fn paced(mut self) -> Self {
        self.paced = true;
        self
    }

    /// A machine whose clock says this when it starts, in seconds since 1970, and not the time of the day: what it
    /// executes is the same in each run.
    pub fn starts_at(mut self, time: u32) -> Self {
        self.time = Some(time);
        self
    }

    /// Starts the machine with its serial console in the hands of the program.
    pub fn start(&self) -> Result<Session> {
        let scratch = Scratch::new()?;
        let Started { process, emulator, console } = self.launch(&scratch)?;
        let keys = console.try_clone().context(|| "cannot type on the console")?;
        Ok(Session::new(process, emulator, keys, console, scratch))
    }

    /// Runs the machine to its end with its serial console on this terminal, and starts it anew after a reset.
    /// All keys go to the machine, but for the prefix Ctrl-A: with X behind it it ends the machine.
    pub fn run_in_terminal(&self) -> Result<()> {
        let mut terminal = terminal::Terminal::take()?;
        loop {
            let scratch = Scratch::new()?;
            let Started { mut process, emulator, console } = self.launch(&scratch)?;
            let errors = process.0.stderr.take();
            let words = thread::spawn(move || {
                let mut words = String::new();
                let _ = errors.map(|mut errors| errors.read_to_string(&mut words));
                words
            });
            if terminal.show(console)? == Left::ByUser {
                return Ok(());
            }
            let status = process.0.wait().context(|| "cannot wait for bochs")?;
            match emulator.end(status, &words.join().unwrap_or_default())? {
                End::Off => return Ok(()),
                End::Reset => {}
            }
        }
    }

    fn launch(&self, scratch: &Scratch) -> Result<Started> {
        let folder = scratch.folder();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context(|| "cannot listen for bochs")?;
        let port = listener.local_addr().context(|| "cannot listen for bochs")?.port();
        for file in [BIOS, VGA_BIOS] {
            fs::metadata(file).context(|| format!("bochs lacks {file}; run 'cargo xtask setup'"))?;
        }
        let iso = std::path::absolute(&self.iso).context(|| "cannot find the ISO image")?;
        fs::metadata(&iso).context(|| format!("cannot read {}", iso.display()))?;
        // By names without a comma or a space, which would need quoting.
        symlink(&iso, folder.join("boot.iso")).context(|| "cannot make a link to the ISO image")?;
        let mut bios = fs::read(BIOS).context(|| format!("cannot read {BIOS}"))?;
        permit(&mut bios, self.permits)?;
        fs::write(folder.join("bios"), bios).context(|| "cannot write the BIOS")?;
        for (name, text) in [("bochsrc", self.configuration(port)), ("commands", "c\n".into())] {
            fs::write(folder.join(name), text).context(|| format!("cannot write {name}"))?;
        }
        let emulator = Emulator::Bochs { log: folder.join("bochs.log") };
        let mut command = process::bound(emulator.name());
        command.args(["-q", "-f", "bochsrc", "-rc", "commands"]).current_dir(folder).env("TERM", "vt100");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::spawn(command, emulator.name())?;
        if let Some(errors) = process.0.stderr.take() {
            process.0.stderr = Some(find_screen(errors)?);
        }
        let console = accept(&listener, &mut process)?;
        Ok(Started { process, emulator, console })
    }

    fn configuration(&self, port: u16) -> String {
        let (model, cpus, sync) = (&self.model, self.cpus, if self.paced { "slowdown" } else { "none" });
        let time = self.time.map_or("utc".to_string(), |seconds| seconds.to_string());
        format!(
            "config_interface: textconfig\n\
             display_library: term\n\
             vga: extension=none, update_freq=1, realtime=0\n\
             megs: {MEMORY_MIB}\n\
             cpu: model={model}, count={cpus}, ips={HERTZ}, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
             clock: sync={sync}, time0={time}\n\
             romimage: file=bios\n\
             vgaromimage: file={VGA_BIOS}\n\
             ata0-master: type=cdrom, path=boot.iso, status=inserted\n\
             boot: cdrom\n\
             com1: enabled=1, mode=socket-client, dev=127.0.0.1:{port}\n\
             log: bochs.log\n\
             panic: action=fatal\n\
             error: action=report\n\
             info: action=ignore\n\
             debug: action=ignore\n\
             speaker: enabled=0\n\
             sound: driver=dummy\n"
        )
    }
}

/// Changes what the BIOS ORs into IA32_FEATURE_CONTROL: by 32-bit code on the processor that boots, and by 16-bit
/// code, whose instructions have prefixes, on the others.
fn permit(bios: &mut [u8], permits: [Permits; 2]) -> Result<()> {
    // MOV ECX, 3Ah; RDMSR; OR EAX, 5.
    let boot: &[u8] = &[0xb9, 0x3a, 0, 0, 0, 0x0f, 0x32, 0x83, 0xc8, 5];
    let others: &[u8] = &[0x66, 0xb9, 0x3a, 0, 0, 0, 0x0f, 0x32, 0x66, 0x83, 0xc8, 5];
    for (code, permits) in [boot, others].into_iter().zip(permits) {
        let mut places = (0..bios.len()).filter(|&at| bios[at..].starts_with(code));
        let (Some(at), None) = (places.next(), places.next()) else {
            return Err(Failure::new("bochs' BIOS does not set IA32_FEATURE_CONTROL as it is known to"));
        };
        bios[at + code.len() - 1] = permits as u8;
    }
    Ok(())
}

/// Reads what Bochs says before its machine runs, up to the name of the screen, and has that read to its end.
fn find_screen(errors: ChildStderr) -> Result<ChildStderr> {
    // One byte at a time: what comes behind the name is read by others.
    let mut lines = BufReader::with_capacity(1, errors);
    let mut words = String::new();
    loop {
        let mut line = Vec::new();
        let len = lines.read_until(b'\n', &mut line).context(|| "cannot hear bochs")?;
        let line = String::from_utf8_lossy(&line);
        if let Some(name) = screen_named(&line) {
            drain(name)?;
            return Ok(lines.into_inner());
        }
        if len == 0 {
            return Err(Failure::new(format!("bochs did not start its machine:\n{}", words.trim())));
        }
        words += &line;
    }
}

fn screen_named(line: &str) -> Option<&Path> {
    line.split_once("Bochs connected to screen \"")?.1.split('"').next().map(Path::new)
}

/// Reads the screen and throws away what it shows.
fn drain(screen: &Path) -> Result<()> {
    /// It is not to become the terminal that sends us signals.
    const O_NOCTTY: i32 = 0o400;
    let open = File::options().read(true).custom_flags(O_NOCTTY).open(screen);
    let mut screen = open.context(|| format!("cannot open bochs' screen {}", screen.display()))?;
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while screen.read(&mut buffer).is_ok_and(|len| len > 0) {}
    });
    Ok(())
}

/// Waits for Bochs to connect its COM1.
fn accept(listener: &TcpListener, process: &mut Process) -> Result<File> {
    let failed = || "cannot connect the machine's console";
    listener.set_nonblocking(true).context(failed)?;
    let until = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).context(failed)?;
                stream.set_nodelay(true).context(failed)?;
                return Ok(File::from(OwnedFd::from(stream)));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context(failed),
        }
        let ended = process.0.try_wait().context(failed)?;
        if let (Some(status), Some(errors)) = (ended, &mut process.0.stderr) {
            let mut words = Vec::new();
            let _ = errors.read_to_end(&mut words);
            let words = String::from_utf8_lossy(&words).into_owned();
            return Err(Failure::new(format!("bochs ended with {status}:\n{}", words.trim())));
        }
        if Instant::now() >= until {
            return Err(Failure::new("bochs did not connect the machine's console in time"));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_says_what_was_asked_for() {
        let text = Bochs::new("/a,b c.iso").cpus(2).configuration(4711);
        for part in ["count=2,", "megs: 512\n", "dev=127.0.0.1:4711\n", "sync=none", "path=boot.iso"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains(&format!("model={MODEL},")), "{text}");
        assert!(Bochs::new("x").cpu("p4").configuration(1).contains("cpu: model=p4,"));
        assert!(Bochs::new("x").paced().configuration(1).contains("sync=slowdown, time0=utc"));
        assert!(Bochs::new("x").starts_at(7).configuration(1).contains("time0=7\n"));
    }

    #[test]
    fn the_bios_permits_what_is_asked_for_on_each_kind_of_processor() {
        let original = fs::read(BIOS).unwrap();
        let mut bios = original.clone();
        permit(&mut bios, [Permits::Vmx; 2]).unwrap();
        assert_eq!(bios, original);
        permit(&mut bios, [Permits::NoVmx, Permits::Nothing]).unwrap();
        let changed = |(a, b): (&u8, &u8)| (a != b).then_some((*a, *b));
        let mut changes: Vec<_> = original.iter().zip(&bios).filter_map(changed).collect();
        changes.sort();
        assert_eq!(changes, [(5, 0), (5, 1)]);
        let error = permit(&mut bios, [Permits::Vmx; 2]).unwrap_err().to_string();
        assert!(error.contains("IA32_FEATURE_CONTROL"), "{error}");
    }

    #[test]
    fn the_screens_name_is_found() {
        let name = screen_named("\nBochs connected to screen \"/dev/pts/12\"\n");
        assert_eq!(name, Some(Path::new("/dev/pts/12")));
        assert_eq!(screen_named("loaded plugin \"x\""), None);
    }

    #[test]
    fn an_image_that_is_not_there_is_named() {
        let error = Bochs::new("/nowhere/x.iso").start().err().unwrap().to_string();
        assert!(error.contains("/nowhere/x.iso"), "{error}");
    }
}
