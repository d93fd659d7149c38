//! What a line gives for a command's arguments, or what is wrong with it.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use super::command::Command;
use super::node::Node;
use super::quoted;
use crate::nearest::nearest;

/// An argument of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arg {
    /// The name of something, required; the first argument.
    Name(Named),
    /// A size such as 512M, required.
    Size,
    /// An IP address, required.
    Address,
    /// A word that may be given.
    Flag(&'static str),
    /// A number that may be given.
    Count,
    /// Words of commands that may be given: the rest of the line.
    Topic,
    /// What to capture, or to do with a capture: the rest of the line.
    Capture,
    /// Two ports: the rest of the line.
    Ports,
}

/// What has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Vm,
    Disk,
    Nic,
    Network,
}

impl Named {
    /// The names that there are.
    pub fn known(self, node: &dyn Node) -> Vec<String> {
        match self {
            Self::Vm => node.vms().into_iter().map(|vm| vm.name).collect(),
            Self::Disk => node.disks().into_iter().map(|disk| disk.name).collect(),
            Self::Nic => node.nics().into_iter().map(|nic| nic.identity.name).collect(),
            Self::Network => node.networks().into_iter().map(|network| network.name).collect(),
        }
    }

    /// What it is, and the command that lists what there is.
    fn what(self) -> (&'static str, &'static str) {
        match self {
            Self::Vm => ("VM", "vm list"),
            Self::Disk => ("disk", "disk list"),
            Self::Nic => ("network card", "nic list"),
            Self::Network => ("network", "net list"),
        }
    }
}

/// What was given for the arguments.
#[derive(Debug)]
pub(super) struct Given<'l> {
    /// For [`Arg::Name`]; of something that was there a moment ago.
    pub name: &'l str,
    /// For [`Arg::Size`], in bytes.
    pub size: u64,
    /// For [`Arg::Address`].
    pub address: IpAddr,
    /// For [`Arg::Flag`].
    pub flag: bool,
    /// For [`Arg::Count`].
    pub count: Option<usize>,
    /// For [`Arg::Topic`], [`Arg::Capture`] and [`Arg::Ports`].
    pub words: &'l [&'l str],
}

/// What a line gives that a command does not take. `Display` is the operator's message.
pub(super) enum Wrong {
    NoName { of: Named, known: Vec<String>, usage: String },
    UnknownName { of: Named, name: String, known: Vec<String> },
    NoSize { word: Option<String>, usage: String },
    NoAddress { word: Option<String>, usage: String },
    Surplus { word: String, meant: Option<&'static str>, usage: String },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName { of, known, usage } => {
                write!(f, "which {}? usage: {usage}", of.what().0)?;
                if !known.is_empty() {
                    write!(f, "; there are: {}", known.join(", "))?;
                }
                Ok(())
            }
            Self::UnknownName { of, name, known } => {
                let (what, list) = of.what();
                write!(f, "there is no {what} {}", quoted(name))?;
                match nearest(name, known.iter().map(String::as_str)) {
                    Some(meant) => write!(f, "; did you mean {meant}?"),
                    None => write!(f, "; '{list}' shows those that are"),
                }
            }
            Self::NoSize { word: None, usage } => write!(f, "how much? usage: {usage}; such as 256M"),
            Self::NoSize { word: Some(word), usage } => {
                write!(f, "{} is no size; usage: {usage}; such as 256M or 2G", quoted(word))
            }
            Self::NoAddress { word: None, usage } => write!(f, "whom? usage: {usage}; such as 10.0.2.2"),
            Self::NoAddress { word: Some(word), usage } => {
                write!(f, "{} is no IP address; usage: {usage}; such as 10.0.2.2 or fd00::2", quoted(word))
            }
            Self::Surplus { word, meant, usage } => {
                write!(f, "{} does not belong there", quoted(word))?;
                if let Some(meant) = meant {
                    write!(f, "; did you mean {meant}?")?;
                }
                write!(f, "; usage: {usage}")
            }
        }
    }
}

/// Matches the words after a command with its arguments.
pub(super) fn arguments<'l>(
    command: &Command,
    words: &'l [&'l str],
    node: &dyn Node,
) -> Result<Given<'l>, Wrong> {
    let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let mut given = Given { name: "", size: 0, address: unspecified, flag: false, count: None, words: &[] };
    let takes = |arg| command.args.contains(&arg);
    if takes(Arg::Topic) {
        given.words = words;
        return Ok(given);
    }
    let named = command.args.iter().find_map(|arg| match arg {
        Arg::Name(named) => Some(*named),
        _ => None,
    });
    let rest_at = if takes(Arg::Capture) || takes(Arg::Ports) { words.len().min(1) } else { words.len() };
    let (words, rest) = words.split_at(rest_at);
    given.words = rest;
    let mut name = None;
    let mut size = None;
    let mut address = None;
    for word in words {
        let flag = takes_flag(command, word);
        let count = word.parse().ok().filter(|_| takes(Arg::Count));
        if named.is_some() && name.is_none() {
            name = Some(*word);
        } else if takes(Arg::Size) && size.is_none() {
            size = Some(*word);
        } else if takes(Arg::Address) && address.is_none() {
            address = Some(*word);
        } else if flag && !given.flag {
            given.flag = true;
        } else if count.is_some() && given.count.is_none() {
            given.count = count;
        } else {
            let flags = command.args.iter().filter_map(|arg| match arg {
                Arg::Flag(flag) => Some(*flag),
                _ => None,
            });
            let meant = nearest(word, flags).filter(|_| !flag);
            return Err(Wrong::Surplus { word: (*word).into(), meant, usage: command.usage() });
        }
    }
    if let Some(of) = named {
        let known = of.known(node);
        match name {
            None => return Err(Wrong::NoName { of, known, usage: command.usage() }),
            Some(name) if !known.iter().any(|known| known == name) => {
                return Err(Wrong::UnknownName { of, name: name.into(), known });
            }
            Some(name) => given.name = name,
        }
    }
    if takes(Arg::Size) {
        let wrong = || Wrong::NoSize { word: size.map(String::from), usage: command.usage() };
        given.size = size.and_then(crate::config::size).ok_or_else(wrong)?;
    }
    if takes(Arg::Address) {
        let wrong = || Wrong::NoAddress { word: address.map(String::from), usage: command.usage() };
        given.address = address.and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
    }
    Ok(given)
}

fn takes_flag(command: &Command, word: &str) -> bool {
    command.args.iter().any(|arg| matches!(arg, Arg::Flag(flag) if *flag == word))
}

impl Arg {
    /// How it stands behind the command's words.
    pub fn usage(self) -> String {
        match self {
            Self::Name(_) => " NAME".into(),
            Self::Size => " SIZE".into(),
            Self::Address => " ADDRESS".into(),
            Self::Flag(flag) => format!(" [{flag}]"),
            Self::Count => " [N]".into(),
            Self::Topic => " [COMMAND]".into(),
            Self::Capture => " [WORDS]".into(),
            Self::Ports => " FROM TO".into(),
        }
    }
}
