//! A port of a network, as `net info` shows it.
use std::collections::BTreeMap;
use tests::node::Node;
use xtask::failure::{Failure, Result};

/// Reasons for which a port did not get a frame.
const RECEIVERS: [&str; 5] =
    ["is sent more than its limit", "no room", "too long", "not ready", "the node's own EtherType"];

/// What it has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    /// Frames that came from it, and that it got.
    pub incoming: u64,
    pub outgoing: u64,
    /// Frames that were dropped, by the reason.
    pub dropped: BTreeMap<String, u64>,
}

impl Port {
    /// The port `name` of a network.
    pub fn of(node: &mut Node, network: &str, name: &str) -> Result<Self> {
        let text = node.command(&format!("net info {network}"))?;
        let row = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        row.and_then(Self::parse).ok_or_else(|| Failure::new(format!("no port {name} in:\n{text}")))
    }

    /// Columns are two spaces apart; the last may be empty.
    fn parse(row: &str) -> Option<Self> {
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [_, _, _, incoming, _, outgoing, _, _, more @ ..] = &cells[..] else { return None };
        let reasons = more.first().map_or("", |all| all.split_once(": ").map_or(all, |(_, reasons)| reasons));
        let drop = |text: &str| {
            let (count, why) = text.split_once(' ')?;
            Some((why.to_string(), number(count)?))
        };
        let dropped = reasons.split(", ").filter(|text| !text.is_empty()).map(drop);
        Some(Self {
            incoming: number(incoming)?,
            outgoing: number(outgoing)?,
            dropped: dropped.collect::<Option<_>>()?,
        })
    }

    /// What it has done since it was as `before`.
    pub fn since(&self, before: &Self) -> Self {
        let new = |(why, count): (&String, &u64)| {
            (why.clone(), count - before.dropped.get(why).copied().unwrap_or_default())
        };
        Self {
            incoming: self.incoming - before.incoming,
            outgoing: self.outgoing - before.outgoing,
            dropped: self.dropped.iter().map(new).filter(|(_, count)| *count != 0).collect(),
        }
    }

    /// Frames that came from it and were dropped. What it was to get, and did not, is left out.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        let mut refused = self.dropped.clone();
        refused.retain(|why, _| !RECEIVERS.contains(&why.as_str()));
        refused
    }

    /// Frames that came from it and were let through.
    pub fn let_through(&self) -> u64 {
        self.incoming - self.refused().values().sum::<u64>()
    }

    /// Frames that were dropped for this reason.
    pub fn dropped_for(&self, why: &str) -> u64 {
        self.dropped.get(why).copied().unwrap_or_default()
    }
}

fn number(text: &str) -> Option<u64> {
    text.replace(',', "").parse().ok()
}

#[test]
fn a_row_of_net_info_is_read_with_and_without_drops() {
    let row = "debian/0  52:54:00:00:00:01  up    1,234  2 KiB    7  700 B  250 Mbit/s  1,237: 1,200 no room, 37 malformed";
    let dropped = [("no room", 1200), ("malformed", 37)].map(|(why, count)| (why.to_string(), count));
    let port = Port { incoming: 1234, outgoing: 7, dropped: dropped.into() };
    assert_eq!(Port::parse(row), Some(port.clone()));
    let row = "eth1      -                  up     1,000  1 MiB    7  700 B           -  4 malformed";
    assert_eq!(Port::parse(row).map(|port| port.dropped_for("malformed")), Some(4));
    assert_eq!(Port::parse("eth1  -  up  5  0 B  7  0 B  -").map(|port| port.let_through()), Some(5));
    assert_eq!(Port::parse("name       lan"), None);
    let before = Port { incoming: 1230, outgoing: 0, dropped: [("no room".to_string(), 1200)].into() };
    let new = port.since(&before);
    assert_eq!((new.incoming, new.outgoing, new.dropped_for("malformed"), new.dropped.len()), (4, 7, 37, 1));
    assert_eq!((port.let_through(), before.let_through()), (1197, 1230));
}
