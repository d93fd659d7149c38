//! A guest's disk beside Linux' own: the same program in the same Linux, on the same emulated drive, once with nothing
//! between and once in a VM.
//!
//! ```text
//!  QEMU: Linux ──► NVMe ──► file          QEMU: PureVisor ──► VM: Linux ──► virtio-blk ──► NVMe ──► file
//!     ▲ turn by turn, one pattern at a time                      ▲
//!     └───────────────────────── this ───────────────────────────┘
//! ```
//!
//! Times depend on the computer and what else it does, so both machines are there at once, one of them idle, and take
//! turns of half a second: the figure is the middle one of the ratios of turns that followed each other. Exits are what
//! `vm info` counts in a turn of its own, less those of a turn without requests.
//!
//! Instructions are counted as in `counted`, on a drive that has no data and takes no time: what a request costs in a VM
//! beyond what it costs Linux itself is what the hypervisor does, and the guest's driver in place of NVMe's. The clock of
//! a machine that counts jumps over the time in which its processor waits, so a thread of the guest fills that, and what
//! its laps took is left out.
use super::Values;
use super::counted::Counter;
use super::exits::{self, Exits};
use super::guests::{self, DiskBus, NAME};
use super::pairs;
use super::reading::number;
use crate::artifacts::Artifacts;
use crate::failure::{Failure, Result};
use crate::progress::{say, step};
use crate::rig::{Connection, Drive, Firmware, Medium, Qemu, Session};
use crate::setup::debian_root;
use crate::setup::guest::Guest;
use crate::workspace;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(180);
/// Bytes of the drive.
const DRIVE: u64 = 256 << 20;
/// Seconds of a turn.
const TURN: f64 = 0.5;
/// The same in a machine that counts instructions, a thousand million of which are a second there.
const COUNTED_TURN: f64 = 0.2;
/// Seconds of the turn whose exits are counted.
const COUNTED_EXITS: f64 = 3.0;
/// Seconds that no request takes.
const LONGEST_REQUEST: f64 = 10.0;

/// The patterns of `bench-linux disk`: their names there and as metrics.
const PATTERNS: [&str; 8] =
    ["write_seq", "read_seq", "write_seq_4", "read_seq_4", "read_1", "write_1", "read_32", "write_32"];

/// Those whose instructions are counted.
const COUNTED: [&str; 5] = ["read_1", "write_1", "read_32", "write_32", "read_seq"];

/// The pattern of a turn without requests.
const NOTHING: &str = "nothing";

/// What Linux is to do without a hypervisor.
const LINUX_DISK: &str = "disk:/dev/nvme0n1";

/// What a machine has done in a turn.
#[derive(Clone, Copy)]
struct Done {
    operations: f64,
    seconds: f64,
    bytes: f64,
    laps: f64,
}

impl Done {
    fn per_second(self) -> f64 {
        self.operations / self.seconds
    }
}

/// A machine whose Linux waits for the name of a pattern.
struct Machine {
    session: Session,
    /// Turns that it had.
    turns: u32,
}

impl Machine {
    /// Lets it have a turn.
    fn turn(&mut self, pattern: &str, seconds: f64) -> Result<Done> {
        let done = self.turn_of(&format!("{pattern} {seconds}"))?;
        let took = done.seconds;
        if took > seconds + LONGEST_REQUEST {
            // Linux notices a lost interrupt after 30 s, goes on, and the figure would be one of lost interrupts.
            return Err(Failure::new(format!(
                "{pattern}: a turn of {seconds} s took {took:.0} s, so the emulated drive lost requests; run it again"
            )));
        }
        Ok(done)
    }

    /// Lets it have a turn in which a thread fills the time that is left.
    fn filled_turn(&mut self, pattern: &str, seconds: f64) -> Result<Done> {
        self.turn_of(&format!("{pattern} {seconds} filled"))
    }

    fn turn_of(&mut self, what: &str) -> Result<Done> {
        // By a name of its own: on coming back to a VM's console, what it has shown before is shown again.
        self.turns += 1;
        let name = format!("turn{}", self.turns);
        self.session.send(&format!("{name} {what}\r"))?;
        self.session.wait_for(&format!("DISK {name} ops="), PATIENCE)?;
        let text = format!("ops={}", self.session.wait_for("END", PATIENCE)?.text);
        Ok(Done {
            operations: number(&text, "ops=", " ")?,
            seconds: number(&text, "nanos=", " ")? / 1e9,
            bytes: number(&text, "bytes=", " ")?,
            laps: number(&text, "laps=", " ")?,
        })
    }

    /// All exits of the VM until now.
    fn exits(&mut self) -> Result<Exits> {
        let info = exits::node_says(&mut self.session, &format!("vm info {NAME}"), PATIENCE)?;
        Exits::read(&info)
    }
}

/// All figures of a bus, by metrics of this group.
pub(super) fn compare(built: &Artifacts, guest: &Guest, bus: DiskBus, group: &str) -> Result<Values> {
    let folder = workspace::target_folder("bench/disk")?;
    let what = format!("starting Linux, and Linux in a VM by {}, on a drive each", bus.name());
    let (mut linux, mut node) =
        step(&what, || Ok((start_linux(guest, &folder)?, start_node(built, guest, bus, &folder)?)))?;
    let mut values = Values::new();
    for pattern in PATTERNS {
        step(&format!("comparing disks: {} {pattern}", bus.name()), || -> Result<()> {
            let mut bytes = 0.0;
            let ours = || {
                let done = node.turn(pattern, TURN)?;
                bytes = done.bytes;
                Ok(done.per_second())
            };
            let pairs = pairs::compare(ours, || linux.turn(pattern, TURN).map(Done::per_second))?;
            // A turn of nothing has the exits of the words that are typed and printed.
            let first = node.exits()?;
            node.turn(NOTHING, 0.0)?;
            let second = node.exits()?;
            let counted = node.turn(pattern, COUNTED_EXITS)?;
            let exits = node.exits()?.less(&second).less(&second.less(&first));
            say(&format!(
                "{pattern}: {:.0} a second ({:.0} MB/s), Linux itself {:.0}: {pairs}; {:.2} exits each: {}",
                pairs.ours,
                pairs.ours * bytes / 1e6,
                pairs.theirs,
                exits.all() / counted.operations,
                exits.per(counted.operations)
            ));
            values.insert(format!("{group}.{pattern}"), pairs.ratio);
            values.insert(format!("{group}.{pattern}_iops"), pairs.ours);
            values.insert(format!("{group}.exits_{pattern}"), exits.all() / counted.operations);
            Ok(())
        })?;
    }
    Ok(values)
}

/// How soon a Debian on the drive asks for a log-in, in a VM and without a hypervisor. The latter's time contains the
/// second that SeaBIOS takes, the VM's begins when the node's console goes to it.
pub(super) fn login(built: &Artifacts, guest: &Guest) -> Result<Values> {
    let folder = workspace::target_folder("bench/disk")?;
    let root = debian_root::ensure()?;
    let drive = |name: &str| -> Result<Drive> {
        let image = folder.join(format!("{name}.img"));
        debian_root::copy(&root, &image)?;
        Ok(Drive::new(name, image, Connection::Nvme))
    };
    let theirs = step("booting a Debian without a hypervisor", || {
        let qemu = machine(guests::debian_itself(guest)?, drive("debian-itself")?);
        let mut session = qemu.firmware(Firmware::Bios).start()?;
        session.wait_for("debian login: ", PATIENCE).map(|seen| seen.at)
    })?;
    let ours = step("booting a Debian in a VM", || {
        let mut session = machine(guests::debian(built, guest)?, drive("debian")?).start()?;
        let begin = session.wait_for(&format!("[{NAME}: Ctrl-]"), PATIENCE)?.at;
        session.wait_for("debian login: ", PATIENCE).map(|seen| seen.at.saturating_sub(begin))
    })?;
    let (ours, theirs) = (ours.as_secs_f64(), theirs.as_secs_f64());
    say(&format!("a Debian's log-in: {ours:.1} s in a VM, {theirs:.1} s without"));
    Ok([("disk.login", theirs / ours), ("disk.login_seconds", ours)]
        .map(|(name, value)| (name.to_string(), value))
        .into())
}

/// Instructions of requests, in a VM and beyond those without.
pub(super) fn instructions(built: &Artifacts, guest: &Guest, counter: &mut Counter) -> Result<Values> {
    let mut per_request = |what: &str, medium: Medium, firmware: Firmware| {
        counter.run(&format!("counting the instructions of disk requests: {what}"), |patience| {
            let node = format!("driver=null-co,node-name=null,size={DRIVE}");
            let args = ["-blockdev", &node, "-device", "nvme,drive=null,serial=null"];
            let counting = Qemu::new(medium.clone()).firmware(firmware).counted().memory_mib(1024);
            let mut session = counting.args(args).start()?;
            session.wait_for("DISK-READY", patience)?;
            let mut machine = Machine { session, turns: 0 };
            machine.filled_turn(NOTHING, COUNTED_TURN)?;
            let nothing = machine.filled_turn(NOTHING, COUNTED_TURN)?;
            COUNTED
                .map(|pattern| {
                    machine.filled_turn(pattern, COUNTED_TURN)?;
                    let done = machine.filled_turn(pattern, COUNTED_TURN)?;
                    let left = done.laps * nothing.seconds / nothing.laps;
                    Ok((done.seconds - left) * 1e9 / done.operations)
                })
                .into_iter()
                .collect::<Result<Vec<f64>>>()
        })
    };
    let linux = per_request("Linux itself", guests::linux_itself(guest, LINUX_DISK)?, Firmware::Bios)?;
    let ours = per_request("in a VM", guests::with_disk(built, guest, DiskBus::VirtioBlk)?, Firmware::Uefi)?;
    let names = COUNTED.map(|pattern| format!("disk.instructions_{pattern}"));
    let beyond = COUNTED.map(|pattern| format!("disk.instructions_{pattern}_more"));
    let more = ours.iter().zip(&linux).map(|(ours, theirs)| (ours - theirs).round());
    let all = names.into_iter().zip(ours.iter().map(|ours| ours.round()));
    Ok(all.chain(beyond.into_iter().zip(more)).collect())
}

fn drive(folder: &Path, name: &str) -> Result<Drive> {
    let image = folder.join(format!("{name}.img"));
    let make = || File::create(&image)?.set_len(DRIVE);
    make().map_err(|error| Failure::new(format!("cannot write {}: {error}", image.display())))?;
    Ok(Drive::new(name, image, Connection::Nvme))
}

fn machine(medium: Medium, drive: Drive) -> Qemu {
    Qemu::new(medium).cpus(1).memory_mib(1024).drive(drive)
}

/// Linux on the machine itself.
fn start_linux(guest: &Guest, folder: &Path) -> Result<Machine> {
    let medium = guests::linux_itself(guest, LINUX_DISK)?;
    let session = machine(medium, drive(folder, "linux")?).firmware(Firmware::Bios).start()?;
    ready(session)
}

/// Linux in a VM.
fn start_node(built: &Artifacts, guest: &Guest, bus: DiskBus, folder: &Path) -> Result<Machine> {
    let medium = guests::with_disk(built, guest, bus)?;
    ready(machine(medium, drive(folder, "node")?).start()?)
}

fn ready(mut session: Session) -> Result<Machine> {
    session.wait_for("DISK-READY", PATIENCE)?;
    Ok(Machine { session, turns: 0 })
}
