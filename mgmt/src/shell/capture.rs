//! `net capture`: frames of a network, kept and shown.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use net::capture::{Filter, FilterError, records};

use super::arguments::Given;
use super::command::{Failure, Next};
use super::node::Node;
use super::{base64, frame, on_one_line, quoted};
use crate::nearest::nearest;

/// What `help` says beside the command's line.
pub(super) const MORE: &str = "\
net capture NAME                          keeps the next 100 frames
net capture NAME tcp host 10.0.0.5 port 80 count 1000
                                          those alone that meet all this: arp, ip, ip6, icmp,
                                          tcp, udp, host ADDRESS, port N, vlan N; 'not' before
                                          one turns it round; an address is one of IP or a MAC
net capture NAME stop                     keeps no more
net capture NAME show                     shows them, a line for each
net capture NAME show pcap                prints them as a pcap file in base64 ('base64 -d')";

/// Frames that are kept unless told.
const FRAMES: usize = 100;

/// Most frames that are kept: with [`CAPTURED_BYTES`](super::node::CAPTURED_BYTES) of each they are 1.5 MB.
const MOST_FRAMES: usize = 1000;

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
            let file = node.captured(network)?;
            for record in records(&file) {
                writeln!(out, "{}", frame::line(&record))?;
            }
            if records(&file).next().is_none() {
                writeln!(out, "No frames of {network} yet.")?;
            }
        }
        ["show", "pcap"] => base64::write(&node.captured(network)?, out)?,
        [verb @ ("stop" | "show"), surplus, ..] => {
            writeln!(
                out,
                "{} does not belong behind {verb}; 'help net capture' shows how it is written",
                quoted(surplus)
            )?;
        }
        words => match wanted(words) {
            Ok((filter, most)) => {
                let what = filter.to_string();
                node.start_capture(network, filter, most)?;
                writeln!(
                    out,
                    "The next {most} frames of {network} are kept: {what}. 'net capture {network} show' shows them."
                )?;
            }
            Err(wrong) => writeln!(out, "{wrong}; 'help net capture' shows how it is written")?,
        },
    }
    Ok(Next::Prompt)
}

/// What these words want, and how many of that. On failure: what is wrong.
pub(super) fn wanted(words: &[&str]) -> Result<(Filter, usize), String> {
    let mut words = words.to_vec();
    let mut most = FRAMES;
    if let Some(at) = words.iter().position(|word| *word == "count") {
        let Some(value) = words.get(at + 1) else { return Err("count needs a number behind it".into()) };
        let count = value.parse().ok().filter(|count| (1..=MOST_FRAMES).contains(count));
        let wrong = || format!("count {} is no number from 1 to {MOST_FRAMES}", quoted(value));
        most = count.ok_or_else(wrong)?;
        words.drain(at..at + 2);
        if words.contains(&"count") {
            return Err("count is given twice".into());
        }
    }
    let filter = Filter::parse(&words.join(" ")).map_err(|error| match &error {
        FilterError::Unknown(word) => {
            // What stands alone is meant by what stands alone.
            let alone = ["stop", "show"].into_iter().filter(|_| words.len() == 1);
            match nearest(word, beginnings().chain(alone)) {
                Some(meant) => format!("{} means nothing here; did you mean {meant}?", quoted(word)),
                None => format!("{} means nothing here", quoted(word)),
            }
        }
        _ => on_one_line(&error.to_string()),
    })?;
    Ok((filter, most))
}

/// What a term can begin with.
fn beginnings() -> impl Iterator<Item = &'static str> {
    Filter::PROTOCOLS.into_iter().chain(Filter::WITH_VALUE).chain(["count", "not"])
}

/// The words that can follow `given` behind `net capture NETWORK`.
pub(super) fn offer(given: &[&str]) -> Vec<&'static str> {
    let takes_value = |word: &str| Filter::WITH_VALUE.contains(&word) || word == "count";
    match given {
        [] => beginnings().chain(["stop", "show"]).collect(),
        ["show"] => ["pcap"].into(),
        ["stop" | "show", ..] => Vec::new(),
        [.., last] if takes_value(last) => Vec::new(),
        [.., "not"] => beginnings().filter(|word| !["count", "not"].contains(word)).collect(),
        _ => beginnings().filter(|word| *word != "count" || !given.contains(word)).collect(),
    }
}
