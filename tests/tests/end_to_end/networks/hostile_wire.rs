//! Frames from outside that nobody should send, by each kind of card.
use super::lies::{self, Lie, MALFORMED, TAKEN};
use super::{Port, enter, up, vm, volume};
use crate::NODE;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests::cable::Cable;
use tests::frames::{Station, UDP_CHECKSUM, echo_request, is_arp_of, is_echo_reply, udp, who_has};
use tests::node::{self, Node};
use tests::shell::does;
use xtask::failure::{Failure, Result};
use xtask::rig::Qemu;

/// After how long a question is asked again.
const AGAIN: Duration = Duration::from_secs(5);
/// Questions of a storm.
const STORM: usize = 3000;

/// A card of the machine, the Ethernet behind it, and who is there.
struct Wire {
    device: &'static str,
    /// Short frames are padded by the card, and long ones taken.
    pads: bool,
    cable: Cable,
    guest: Station,
    outside: Station,
}

impl Wire {
    fn new(number: u8, device: &'static str, pads: bool) -> Result<Self> {
        Ok(Self {
            device,
            pads,
            cable: Cable::new()?,
            guest: Station::new([2, 0, 0, 0, 1, number], [10, 4, number, 2]),
            outside: Station::new([2, 0, 0, 0, 2, number], [10, 4, number, 1]),
        })
    }

    /// The guest answers, after all that was sent to it before.
    fn is_alive(&self, node: &Node) -> Result<()> {
        let (guest, outside, data) = (self.guest, self.outside, b"are you there");
        self.cable.forget();
        self.asks(node, &who_has(guest.ip, outside), |frame| is_arp_of(frame, guest))?;
        let question = echo_request(guest, outside, data);
        self.asks(node, &question, |frame| is_echo_reply(frame, outside, guest, data))
    }

    /// Asks until there is an answer: a guest that has no room for a question may lose it.
    fn asks(&self, node: &Node, question: &[u8], answer: impl Fn(&[u8]) -> bool) -> Result<()> {
        let end = Instant::now() + node.patience();
        loop {
            self.cable.send(question)?;
            match self.cable.wait_for("an answer", AGAIN, &answer) {
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => {}
                Ok(_) => return Ok(()),
            }
        }
    }

    /// What is sent, with where it is to be counted: at the port, or by the card as damaged.
    fn lies(&self) -> Vec<(Lie, bool)> {
        let (guest, outside) = (self.guest, self.outside);
        let at_port = |lie| (lie, true);
        let mut all: Vec<_> = lies::malformed(guest, outside).into_iter().map(at_port).collect();
        all.extend(lies::misdirected(guest, outside).into_iter().map(at_port));
        let as_guest = udp(guest, Station { mac: guest.mac, ..outside }, 9, b"x");
        all.push(at_port(Lie::new("from the guest's MAC address", TAKEN, as_guest)));
        for lie in lies::too_long(guest, outside).into_iter().filter(|lie| lie.header == [0; 12]) {
            let taken = self.pads || lie.frame.len() < 2000;
            all.push((lie, taken));
        }
        // What of those a card makes good by padding is left out.
        let cut = udp(guest, outside, 9, &[7; 64]);
        for bytes in [1, 33, 38] {
            let lie = Lie::new("a frame that is cut", MALFORMED, cut[..bytes].to_vec());
            all.push((lie, self.pads || bytes > 14));
        }
        all
    }
}

/// Frames that the card says were damaged.
fn damaged(node: &mut Node, card: &str) -> Result<u64> {
    let text = node.command(&format!("nic info {card}"))?;
    let count = text.split(" damaged,").next().and_then(|before| before.split_whitespace().last());
    let count = count.and_then(|count| count.replace(',', "").parse().ok());
    count.ok_or_else(|| Failure::new(format!("no number of damaged frames in:\n{text}")))
}

/// A counter of UDP in the guest (Linux, Documentation/networking/snmp_counter.rst).
fn udp_counters(node: &mut Node, names: [&str; 2]) -> Result<[u64; 2]> {
    let text = does(node, "grep ^Udp: /proc/net/snmp")?;
    let mut lines = text.lines().filter_map(|line| line.trim().strip_prefix("Udp:"));
    let [Some(keys), Some(values)] = [lines.next(), lines.next()] else {
        return Err(Failure::new(format!("no counters of UDP in:\n{text}")));
    };
    let pairs: BTreeMap<_, _> = keys.split_whitespace().zip(values.split_whitespace()).collect();
    Ok(names.map(|name| pairs.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()))
}

#[test]
fn what_comes_from_outside_and_is_wrong_is_dropped_and_counted_and_the_guest_goes_on() -> Result<()> {
    let wires = [
        Wire::new(0, "e1000e", true)?,
        Wire::new(1, "e1000", true)?,
        Wire::new(2, "virtio-net-pci,disable-legacy=on", false)?,
    ];
    let (mut networks, mut nics, mut arguments) = (String::new(), Vec::new(), Vec::new());
    for (i, wire) in wires.iter().enumerate() {
        networks += &format!("[[network]]\nname = \"net{i}\"\nuplink = \"eth{i}\"\n");
        nics.push(format!("{{ network = \"net{i}\", mac = \"02:00:00:00:01:0{i}\" }}"));
        arguments.extend(["-netdev".to_string(), wire.cable.netdev(&format!("net{i}"))]);
        arguments.extend(["-device".to_string(), format!("{},netdev=net{i}", wire.device)]);
    }
    let volume = volume(&format!("{NODE}{networks}{}", vm("one", &nics.join(", "))))?;
    let mut node = node::boot_on(&volume, |qemu: Qemu| qemu.args(&arguments))?;
    enter(&mut node, "one")?;
    for (i, wire) in wires.iter().enumerate() {
        up(&mut node, &format!("eth{i}"), &format!("{}/24", wire.guest.ip))?;
    }
    node.detach()?;

    let mut failures = Vec::new();
    for (i, wire) in wires.iter().enumerate() {
        let (network, card) = (format!("net{i}"), format!("eth{i}"));
        wire.is_alive(&node)?;
        let (port, errors) = (Port::of(&mut node, &network, &card)?, damaged(&mut node, &card)?);
        let lies = wire.lies();
        let mut expected = BTreeMap::new();
        for (lie, at_port) in &lies {
            wire.cable.send(&lie.frame)?;
            if *at_port {
                *expected.entry(lie.reason.to_string()).or_insert(0) += 1;
            }
        }
        wire.is_alive(&node)?;
        let did = Port::of(&mut node, &network, &card)?.since(&port);
        let errors = damaged(&mut node, &card)? - errors;
        let by_card = lies.iter().filter(|(_, at_port)| !at_port).count() as u64;
        if did.dropped != expected || errors != by_card {
            failures.push(format!(
                "{}: {did:?} and {errors} damaged; expected were {expected:?} and {by_card}",
                wire.device
            ));
        }
    }

    // What the card says of checksums is true: the guest takes what is right and nothing else.
    node.attach("one")?;
    const NAMES: [&str; 2] = ["NoPorts", "InCsumErrors"];
    for wire in &wires {
        let before = udp_counters(&mut node, NAMES)?;
        let good = udp(wire.guest, wire.outside, 9, &[7; 64]);
        let mut bad = good.clone();
        bad[UDP_CHECKSUM] ^= 1;
        for frame in [&good, &bad, &good, &bad, &bad] {
            wire.cable.send(frame)?;
        }
        wire.is_alive(&node)?;
        let after = udp_counters(&mut node, NAMES)?;
        let [good, bad] = [after[0] - before[0], after[1] - before[1]];
        if (good, bad) != (2, 3) {
            failures.push(format!("{}: {good} of 2 datagrams came, {bad} of 3 bad ones", wire.device));
        }
    }
    node.detach()?;

    // A storm, and noise: nothing to be counted beforehand, and nobody takes notice.
    for wire in &wires {
        let question = lies::question(wire.outside);
        (0..STORM).try_for_each(|_| wire.cable.send(&question))?;
        wire.is_alive(&node)?;
        let mut state = 1u64;
        for _ in 0..300 {
            let mut next = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            let length = 1 + next() as usize % 1514;
            let mut frame: Vec<u8> = (0..length).map(|_| (next() >> 32) as u8).collect();
            // Half of them are to be looked into further.
            if frame.len() > 14 && next() & 1 == 0 {
                frame[..6].copy_from_slice(&wire.guest.mac);
                frame[6] = 2;
                let types = [[0x08, 0x00], [0x86, 0xdd], [0x08, 0x06], [0x81, 0x00]];
                frame[12..14].copy_from_slice(&types[next() as usize % 4]);
            }
            wire.cable.send(&frame)?;
        }
        wire.is_alive(&node)?;
    }
    if !failures.is_empty() {
        return Err(Failure::new(failures.join("\n")));
    }
    node.power_off()
}
