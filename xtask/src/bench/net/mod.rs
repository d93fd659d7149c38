//! A guest's network beside Linux' own, and guests among each other beside KVM's.
//!
//! ```text
//!  QEMU: Linux ──► card ──► TAP ──► peer     QEMU: PureVisor ──► VM: Linux ──► virtio-net ──► card ──► TAP ──► peer
//!     ▲ turn by turn, one direction at a time       ▲
//!     └──────────────────── this ───────────────────┘
//! ```
//!
//! As with disks (`super::disk`) both machines are there at once and have turns of half a second; exits are those of a turn of
//! their own. What a frame costs is told by the frames of an Ethernet of 1500 bytes, also where guest and card hand over
//! many of them as one.
//!
//! - `lane`: a network of a machine's own, with the other side.
//! - `machine`: turns, and what the node counts meanwhile.
//! - `volumes`: boot volumes; `kvm`: that of a host with KVM.
use super::Values;
use super::counted::Counter;
use super::guests;
use super::pairs::{self, Pairs};
use crate::artifacts::{self, Artifacts};
use crate::failure::Result;
use crate::progress::{say, step};
use crate::rig::{Firmware, Qemu};
use crate::setup::guest::{self, Guest};
use lane::Lane;
use machine::{Counted, Machine};
use std::time::Duration;
use volumes::{NETWORK, PEER_NAME};

mod kvm;
mod lane;
mod machine;
mod volumes;

/// Until a machine's guests have found each other: several Linuxes one in the other, emulated.
const START: Duration = Duration::from_secs(400);
/// Seconds of a turn,
const TURN: f64 = 0.5;
/// of one of two guests,
const GUESTS_TURN: f64 = 1.0;
/// and in a machine that counts instructions, a thousand million of which are a second there.
const COUNTED_TURN: f64 = 0.2;

/// Bytes of a TCP stream in a frame: 1500 less two headers of 20 bytes and the 12 of a time stamp (RFC 7323).
const SEGMENT: f64 = 1448.0;

/// What a machine does in a turn, as its program and the metrics call it.
const TURNS: [&str; 3] = ["send", "receive", "echo"];

/// A card of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    /// A virtual one.
    Virtio,
    /// Intel's 82540EM, with which KVM was measured.
    E1000,
    /// Intel's 82574L.
    E1000e,
}

impl Card {
    /// What the names of its metrics begin with.
    fn group(self) -> &'static str {
        match self {
            Self::Virtio => "net.virtio",
            Self::E1000 => "net.e1000",
            Self::E1000e => "net.e1000e",
        }
    }

    /// As QEMU spells it.
    fn device(self) -> &'static str {
        match self {
            Self::Virtio => "virtio-net-pci,disable-legacy=on",
            Self::E1000 => "e1000",
            Self::E1000e => "e1000e",
        }
    }
}

/// All figures of a card.
pub(super) fn compare(built: &Artifacts, guest: &Guest, card: Card) -> Result<Values> {
    let group = card.group();
    let (lane, guest) = (lane(guest)?, &with_drivers(guest, card)?);
    let (mut linux, mut node) = step(&format!("starting Linux, and Linux in a VM: {group}"), || {
        let linux = one_processor(Qemu::new(volumes::linux_itself(guest, card)?)).firmware(Firmware::Bios);
        let node = one_processor(Qemu::new(volumes::outside(built, guest, card)?));
        let [linux, node] = [linux, node].map(|machine| lane.connect(machine, card.device()).start());
        Ok((Machine::ready(linux?, START)?, Machine::ready(node?, START)?))
    })?;
    let mut values = Values::new();
    for what in TURNS {
        step(&format!("comparing networks: {group}.{what}"), || -> Result<()> {
            let ours = || node.turn(what, TURN).map(machine::Done::per_second);
            let pairs = pairs::compare(ours, || linux.turn(what, TURN).map(machine::Done::per_second))?;
            let counted = node.counted_turn(what, NETWORK, &[guests::NAME])?;
            tell(what, "Linux itself", &pairs, &counted);
            values.extend(rows(group, what, &pairs));
            let frames = frames(what, counted.done.count);
            values.insert(format!("{group}.exits_{what}"), counted.exits.all() / frames);
            Ok(())
        })?;
    }
    Ok(values)
}

/// Two guests of a node beside two of KVM.
pub(super) fn guests(built: &Artifacts, guest: &Guest) -> Result<Values> {
    let (mut kvm, mut node) = step("starting two VMs, and two in KVM", || {
        let kvm = one_processor(Qemu::new(kvm::host(guest)?)).firmware(Firmware::Bios).memory_mib(2048);
        let node = one_processor(Qemu::new(volumes::two(built, guest)?));
        let [kvm, node] = [kvm, node].map(|machine| machine.start());
        Ok((Machine::ready(kvm?, START)?, Machine::ready(node?, START)?))
    })?;
    let mut values = Values::new();
    for what in ["send", "echo"] {
        step(&format!("comparing guests among each other: {what}"), || -> Result<()> {
            let ours = || node.turn(what, GUESTS_TURN).map(machine::Done::per_second);
            let pairs = pairs::compare(ours, || kvm.turn(what, GUESTS_TURN).map(machine::Done::per_second))?;
            let counted = node.counted_turn(what, NETWORK, &[guests::NAME, PEER_NAME])?;
            tell(what, "KVM", &pairs, &counted);
            values.extend(rows("net.guests", what, &pairs));
            let frames = frames(what, counted.done.count);
            values.insert(format!("net.guests.exits_{what}"), counted.exits.all() / frames);
            Ok(())
        })?;
    }
    Ok(values)
}

/// Instructions of frames and round trips, in a VM and beyond those without.
pub(super) fn instructions(built: &Artifacts, guest: &Guest, counter: &mut Counter) -> Result<Values> {
    let (lane, card) = (lane(guest)?, Card::Virtio);
    let mut each = |what: &str, machine: &Qemu| {
        counter.run(&format!("counting the instructions of frames: {what}"), |patience| {
            let counting = lane.connect(machine.clone().counted().memory_mib(1024), card.device());
            let mut machine = Machine::ready(counting.start()?, patience)?;
            machine.filled_turn("nothing", COUNTED_TURN)?;
            let nothing = machine.filled_turn("nothing", COUNTED_TURN)?;
            TURNS
                .map(|what| {
                    machine.filled_turn(what, COUNTED_TURN)?;
                    let done = machine.filled_turn(what, COUNTED_TURN)?;
                    let left = done.laps * nothing.seconds / nothing.laps;
                    Ok((done.seconds - left) * 1e9 / frames(what, done.count))
                })
                .into_iter()
                .collect::<Result<Vec<f64>>>()
        })
    };
    let linux = Qemu::new(volumes::linux_itself(guest, card)?).firmware(Firmware::Bios);
    let linux = each("Linux itself", &linux)?;
    let ours = each("in a VM", &Qemu::new(volumes::outside(built, guest, card)?))?;
    let rows = TURNS.iter().zip(ours.iter().zip(&linux)).flat_map(|(what, (ours, linux))| {
        let name = format!("net.instructions_{what}");
        [(format!("{name}_more"), (ours - linux).round()), (name, ours.round())]
    });
    Ok(rows.collect())
}

/// How many frames make so many bytes; round trips are counted themselves.
fn frames(what: &str, count: f64) -> f64 {
    if what == "echo" { count } else { count / SEGMENT }
}

/// Says what came of turns, beside those of `others`.
fn tell(what: &str, others: &str, pairs: &Pairs, counted: &Counted) {
    let (ours, theirs) = (rate(what, pairs.ours), rate(what, pairs.theirs));
    let frames = frames(what, counted.done.count);
    let (several, of) = if what == "echo" { (frames, "round trip") } else { (frames / 100.0, "100 frames") };
    let (exits, kinds) = (counted.exits.all() / several, counted.exits.per(several));
    let details = counted.details();
    say(&format!(
        "{what}: {ours}, {others} {theirs}: {pairs}; {exits:.2} exits per {of}: {kinds}; {details}"
    ));
}

fn rate(what: &str, per_second: f64) -> String {
    match what {
        "echo" => format!("{per_second:.0} a second"),
        _ => format!("{:.1} MB/s", per_second / 1e6),
    }
}

fn rows(group: &str, what: &str, pairs: &Pairs) -> Values {
    let (name, rate) = match what {
        "echo" => ("echo_rate".to_string(), pairs.ours),
        _ => (format!("{what}_mbs"), pairs.ours / 1e6),
    };
    [(format!("{group}.{what}"), pairs.ratio), (format!("{group}.{name}"), rate)].into()
}

fn lane(guest: &Guest) -> Result<Lane> {
    Lane::new(guest.busybox_path(), artifacts::build_for_guests("bench-linux")?)
}

fn one_processor(machine: Qemu) -> Qemu {
    machine.cpus(1).memory_mib(1024)
}

/// The guest whose kernel has the card's driver.
fn with_drivers(guest: &Guest, card: Card) -> Result<Guest> {
    match card {
        Card::Virtio => Ok(guest.clone()),
        Card::E1000 | Card::E1000e => guest::ensure_with_all_drivers(),
    }
}
