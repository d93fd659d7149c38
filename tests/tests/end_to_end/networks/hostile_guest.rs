//! A guest that lies, storms and floods; others on its network.
use super::lies::{self, GROUPS, Lie};
use super::{Port, enter, enter_again, pings, restart, until, up, volume_with};
use crate::NODE;
use std::collections::BTreeMap;
use tests::frames::{ETHERNET, Station, udp};
use tests::node::{self, Node};
use tests::prepared::prepared;
use tests::shell::{does, does_long};
use xtask::failure::{Context, Failure, Result};
use xtask::rig::Qemu;

const ONE: Station = Station::new([2, 0, 0, 0, 0, 1], [10, 3, 0, 1]);
const TWO: Station = Station::new([2, 0, 0, 0, 0, 2], [10, 3, 0, 2]);
const LIAR: Station = Station::new([2, 0, 0, 0, 0, 0x66], [10, 3, 0, 66]);
/// Its second card, which has a limit.
const FLOODER: Station = Station::new([2, 0, 0, 0, 0, 0x67], [10, 3, 0, 67]);

/// Bytes a second of the limit of 8 Mbit, and those that may come at once in any case (kernel/src/network/guest.rs).
const LIMIT: u64 = 1_000_000;
const BURST: u64 = 128 << 10;
/// Bytes of a frame of the flood.
const FLOOD_FRAME: usize = 1000;

/// Frames of the storm, of which 2000 may pass at once and 2000 more in each second.
const STORM: u32 = 20_000;

/// What `raw-nic` is to send.
fn records<'a>(all: impl IntoIterator<Item = (u32, &'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (times, header, frame) in all {
        for word in [times, header.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(header);
        bytes.extend(frame);
    }
    bytes
}

fn all_lies() -> Vec<Lie> {
    let mut all = lies::malformed(TWO, LIAR);
    all.extend(lies::runts(TWO, LIAR));
    all.extend(lies::too_long(TWO, LIAR));
    all.extend(lies::headers_lie(TWO, LIAR));
    all.extend(lies::spoofed(TWO, LIAR, ONE));
    all.extend(lies::misdirected(TWO, LIAR));
    all
}

/// The three guests. The emulator's processors run in parallel, so that one guest's load is not the others' delay.
fn boot(lies: &[Lie]) -> Result<Node> {
    let lan = "[[network]]\nname = \"lan\"\n";
    let vm = |name: &str, cpu: u32, nics: &[String]| {
        format!("{}affinity = [{cpu}]\n", super::vm(name, &nics.join(", ")))
    };
    let nic = |station: Station, more: &str| {
        let [a, b, c, d, e, f] = station.mac;
        format!("{{ network = \"lan\", mac = \"{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}\"{more} }}")
    };
    let own = format!(", addresses = [\"{}\", \"fd00::66\"]", LIAR.ip);
    let config = [
        format!("{NODE}{lan}"),
        vm("one", 2, &[nic(ONE, "")]),
        vm("two", 2, &[nic(TWO, "")]),
        vm("liar", 1, &[nic(LIAR, &own), nic(FLOODER, ", limit = \"8Mbit\"")]),
    ];
    let program = &prepared()?.raw_nic;
    let program = std::fs::read(program).context(|| format!("cannot read {}", program.display()))?;
    let lies = records(lies.iter().map(|lie| (1, &lie.header[..], &lie.frame[..])));
    let flood = udp(TWO, FLOODER, 9, &vec![0x5a; FLOOD_FRAME - ETHERNET - 28]);
    let (question, header) = (lies::question(LIAR), [0; 12]);
    let volume = volume_with(&config.concat(), |archive| {
        archive.file("root/raw-nic", 0o755, &program);
        archive.file("root/lies", 0o644, &lies);
        archive.file("root/storm", 0o644, &records([(STORM, &header[..], &question[..])]));
        archive.file("root/flood", 0o644, &records([(1, &header[..], &flood[..])]));
    })?;
    node::boot_on(&volume, |qemu: Qemu| qemu.cpus(3).parallel())
}

/// Lets the liar send something: how many frames its card took, and in how many nanoseconds.
fn lets(node: &mut Node, command: &str) -> Result<(u64, u64)> {
    let text = does_long(node, command, 2 * node.patience())?;
    sent(&text).ok_or_else(|| Failure::new(format!("'{command}' does not say what it sent:\n{text}")))
}

fn sent(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix("RAW sent="))?;
    let (sent, nanos) = line.split_once(" nanos=")?;
    Some((sent.parse().ok()?, nanos.parse().ok()?))
}

/// The mean time of a ping, in milliseconds, of twenty that all come back.
fn ping(node: &mut Node) -> Result<f64> {
    let text = does(node, &format!("ping -q -c 20 -i 0.2 {}", TWO.ip))?;
    let times = text.lines().find_map(|line| line.trim().strip_prefix("round-trip min/avg/max = "));
    match times.and_then(|times| times.split('/').nth(1)?.parse().ok()) {
        Some(mean) if text.contains(" 0% packet loss") => Ok(mean),
        _ => Err(Failure::new(format!("not all of 20 pings came back:\n{text}"))),
    }
}

#[test]
fn what_a_guest_lies_storms_and_floods_is_dropped_and_counted_and_the_others_go_on() -> Result<()> {
    let lies = all_lies();
    let mut node = boot(&lies)?;
    for (guest, station) in [("two", TWO), ("one", ONE)] {
        enter(&mut node, guest)?;
        up(&mut node, "eth0", &format!("{}/24", station.ip))?;
        if guest == "one" {
            does(&mut node, &format!("ping -c 1 {}", TWO.ip))?;
        }
        node.detach()?;
    }
    enter(&mut node, "liar")?;
    node.detach()?;
    lie(&mut node, &lies)?;
    storm(&mut node)?;
    flood(&mut node)?;

    // Nobody believes anything of it, and with an honest driver the card is as good as any, even after a restart in the
    // middle of a flood.
    enter_again(&mut node, "liar")?;
    does(&mut node, "{ ./raw-nic flood eth0 flood never >flooded & }")?;
    until(&mut node, "grep -q begins flooded")?;
    restart(&mut node)?;
    up(&mut node, "eth0", &format!("{}/24", LIAR.ip))?;
    pings(&mut node, &format!("{}", ONE.ip))?;
    node.detach()?;
    enter_again(&mut node, "one")?;
    let neighbours = does(&mut node, "ip neigh")?;
    for (ip, mac) in [("10.3.0.2", "02:00:00:00:00:02"), ("10.3.0.66", "02:00:00:00:00:66")] {
        let known = |line: &str| line.trim().starts_with(&format!("{ip} ")) && line.contains(mac);
        if !neighbours.lines().any(known) {
            return Err(Failure::new(format!("{ip} should be {mac}:\n{neighbours}")));
        }
    }
    node.detach()?;
    node.power_off()
}

/// Each lie is dropped for its reason.
fn lie(node: &mut Node, lies: &[Lie]) -> Result<()> {
    let before = Port::of(node, "lan", "liar/0")?;
    enter_again(node, "liar")?;
    let (sent, _) = lets(node, "./raw-nic send eth0 lies")?;
    node.detach()?;
    let did = Port::of(node, "lan", "liar/0")?.since(&before);
    let mut expected = BTreeMap::new();
    for lie in lies {
        *expected.entry(lie.reason.to_string()).or_insert(0) += 1;
    }
    if sent != lies.len() as u64 || did.incoming != sent || did.refused() != expected {
        let says: Vec<_> = lies.iter().map(|lie| (lie.says, lie.reason)).collect();
        return Err(Failure::new(format!("{did:?}\nshould have been {expected:?}, of {says:#?}")));
    }
    Ok(())
}

/// Of a storm only so many pass, and the others have what they are used to.
fn storm(node: &mut Node) -> Result<()> {
    let before = Port::of(node, "lan", "liar/0")?;
    enter_again(node, "liar")?;
    let (sent, nanos) = lets(node, "./raw-nic send eth0 storm")?;
    node.detach()?;
    let did = Port::of(node, "lan", "liar/0")?.since(&before);
    let most = 2000 + 2000 * nanos / 1_000_000_000 + 1;
    let passed = did.let_through();
    if sent != u64::from(STORM) || did.dropped_for(GROUPS) == 0 || passed > most || passed < 2000 {
        return Err(Failure::new(format!(
            "{passed} passed of {sent} questions, at most {most} may: {did:?}"
        )));
    }
    enter_again(node, "one")?;
    pings(node, &format!("{}", TWO.ip))?;
    node.detach()
}

/// A flood gets through as much as its limit says, and meanwhile another's pings come back as ever.
fn flood(node: &mut Node) -> Result<()> {
    enter_again(node, "one")?;
    let calm = ping(node)?;
    node.detach()?;
    let before = Port::of(node, "lan", "liar/1")?;
    enter_again(node, "liar")?;
    does(node, "{ ./raw-nic flood eth1 flood stop >flooded & }")?;
    until(node, "grep -q begins flooded")?;
    node.detach()?;
    let begun = Port::of(node, "lan", "liar/1")?.let_through();
    enter_again(node, "one")?;
    let flooded = ping(node)?;
    node.detach()?;
    let during = Port::of(node, "lan", "liar/1")?.let_through() - begun;
    enter_again(node, "liar")?;
    let (sent, nanos) = lets(node, "touch stop; wait; cat flooded")?;
    node.detach()?;
    let did = Port::of(node, "lan", "liar/1")?.since(&before);
    let through = did.let_through() * FLOOD_FRAME as u64;
    let earned = (u128::from(LIMIT) * u128::from(nanos) / 1_000_000_000) as u64;
    // The clocks of guest and node are one; a frame may begin with the last byte.
    let most = BURST + earned + earned / 100 + FLOOD_FRAME as u64;
    if through > most || through < earned / 2 || during == 0 {
        return Err(Failure::new(format!(
            "{through} bytes of {sent} frames came through in {nanos} ns, at most {most} may: {did:?}"
        )));
    }
    // Without a limit pings get lost. The emulator's own moods are more than what the flood may cost.
    if flooded > 5.0 * calm + 20.0 {
        return Err(Failure::new(format!("a ping took {calm} ms, and {flooded} ms during the flood")));
    }
    Ok(())
}
