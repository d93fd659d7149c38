//! `net capture`: frames of a network, kept and shown.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::arguments::Given;
use super::command::{Failure, Next};
use super::node::{CaptureFilter, CaptureProtocol, Node};
use super::{frame, pcap, quoted};
use crate::nearest::nearest;

/// What `help` says beside the command's line.
pub(super) const MORE: &str = "\
net capture NAME                          keeps the next 100 frames
net capture NAME tcp host 10.0.0.5 port 80 count 1000
                                          those alone that meet all this: arp, ip, ip6, icmp,
                                          tcp, udp, host ADDRESS, mac MAC, port N
net capture NAME stop                     keeps no more
net capture NAME show                     shows them, a line for each
net capture NAME show pcap                prints them as a pcap file in base64 ('base64 -d')";

/// Frames that are kept unless told.
const FRAMES: usize = 100;

/// Most frames that are kept: with [`CAPTURED_BYTES`](super::node::CAPTURED_BYTES) of each they are 1.5 MB.
const MOST_FRAMES: usize = 1000;

/// Words with a value behind them.
const WITH_VALUE: [&str; 4] = ["host", "mac", "port", "count"];

/// `net capture NAME [FILTER] [count N]`, `net capture NAME stop`, `net capture NAME show [pcap]`.
pub(super) fn capture(
    node: &mut dyn Node,
    given: &Given<'_>,
    out: &mut dyn fmt::Write,
) -> Result<Next, Failure> {
    let network = given.name;
    match given.words {
        ["stop"] => {
            let kept = node.stop_capture(network)?;
            writeln!(out, "{kept} frames of {network} are kept; 'net capture {network} show' shows them.")?;
        }
        ["show"] => {
            let frames = node.captured(network)?;
            for frame in &frames {
                writeln!(out, "{}", frame::line(frame))?;
            }
            if frames.is_empty() {
                writeln!(out, "No frames of {network} yet.")?;
            }
        }
        ["show", "pcap"] => pcap::base64(&pcap::file(&node.captured(network)?), out)?,
        [verb @ ("stop" | "show"), surplus, ..] => {
            writeln!(
                out,
                "{} does not belong behind {verb}; 'help net capture' shows how it is written",
                quoted(surplus)
            )?;
        }
        words => match wanted(words) {
            Ok((filter, most)) => {
                node.start_capture(network, filter, most)?;
                writeln!(
                    out,
                    "The next {most} frames of {network} are kept: {filter}. 'net capture {network} show' shows them."
                )?;
            }
            Err(wrong) => writeln!(out, "{wrong}; 'help net capture' shows how it is written")?,
        },
    }
    Ok(Next::Prompt)
}

/// What these words want, and how many of that. On failure: what is wrong.
pub(super) fn wanted(words: &[&str]) -> Result<(CaptureFilter, usize), String> {
    let mut filter = CaptureFilter::default();
    let mut most = None;
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        let twice = || format!("{word} is given twice");
        let protocol = CaptureProtocol::WORDS.iter().find(|(name, _)| name == word);
        if let Some((name, protocol)) = protocol {
            if filter.protocol.replace(*protocol).is_some() {
                return Err(format!("{name} is a second protocol; a frame has one"));
            }
            continue;
        }
        if !WITH_VALUE.contains(word) {
            // What stands alone is meant by what stands alone.
            let alone = ["stop", "show"].into_iter().filter(|_| words.len() == 1);
            return Err(match nearest(word, filters().chain(alone)) {
                Some(meant) => format!("{} means nothing here; did you mean {meant}?", quoted(word)),
                None => format!("{} means nothing here", quoted(word)),
            });
        }
        let [value, after @ ..] = rest else { return Err(format!("{word} needs a value behind it")) };
        rest = after;
        let wrong = |what: &str| format!("{word} {} is {what}", quoted(value));
        let had = match *word {
            "host" => filter.host.replace(value.parse().map_err(|_| wrong("no IP address"))?).is_some(),
            "mac" => filter.mac.replace(value.parse().map_err(|_| wrong("no MAC address"))?).is_some(),
            "port" => filter.port.replace(value.parse().map_err(|_| wrong("no port"))?).is_some(),
            _ => {
                let count = value.parse().ok().filter(|count| (1..=MOST_FRAMES).contains(count));
                let count = count.ok_or_else(|| wrong(&format!("no number from 1 to {MOST_FRAMES}")))?;
                most.replace(count).is_some()
            }
        };
        if had {
            return Err(twice());
        }
    }
    Ok((filter, most.unwrap_or(FRAMES)))
}

/// The words of a filter.
fn filters() -> impl Iterator<Item = &'static str> {
    CaptureProtocol::WORDS.iter().map(|(name, _)| *name).chain(WITH_VALUE)
}

/// The words that can follow `given` behind `net capture NETWORK`.
pub(super) fn offer(given: &[&str]) -> Vec<&'static str> {
    match given {
        [] => filters().chain(["stop", "show"]).collect(),
        ["show"] => ["pcap"].into(),
        ["stop" | "show", ..] => Vec::new(),
        [.., last] if WITH_VALUE.contains(last) => Vec::new(),
        _ => {
            let protocol = CaptureProtocol::WORDS.iter().any(|(name, _)| given.contains(name));
            let further = |word: &&str| !given.contains(word) && (WITH_VALUE.contains(word) || !protocol);
            filters().filter(further).collect()
        }
    }
}
