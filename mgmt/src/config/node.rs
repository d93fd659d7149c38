//! `[node]` and `[console]`: what holds for the machine itself. A wrong key keeps its default.

use alloc::string::{String, ToString};

use super::address::NodeAddress;
use super::section::Section;
use super::value;

/// The settings of this machine, `[node]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The node's name, which is also its prompt. Default `node`.
    pub name: String,
    /// What to do when the last VM has stopped. Default [`OnIdle::Stay`].
    pub on_idle: OnIdle,
    /// Its own addresses. Default [`NodeAddress::None`].
    pub address: NodeAddress,
    /// The network that its addresses are on; some if it has any. Default: the first that has an uplink.
    pub network: Option<String>,
    /// Whether it serves TCP's echo port (RFC 862).
    pub echo: bool,
}

/// What the node does when the last VM has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnIdle {
    /// `"stay"`: keep running and wait for the operator.
    Stay,
    /// `"poweroff"`: power the machine off.
    PowerOff,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: "node".to_string(),
            on_idle: OnIdle::Stay,
            address: NodeAddress::None,
            network: None,
            echo: false,
        }
    }
}

impl Node {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let default = Self::default();
        let words = [("stay", OnIdle::Stay), ("poweroff", OnIdle::PowerOff)];
        let node = Self {
            name: section.optional("name", value::name).unwrap_or(default.name),
            on_idle: section.optional("on_idle", value::word(&words)).unwrap_or(default.on_idle),
            address: NodeAddress::read(&mut section),
            network: section.optional("network", value::name),
            echo: section.optional("echo", value::boolean).unwrap_or(default.echo),
        };
        if node.echo && node.address == NodeAddress::None {
            section.conflict(
                "echo = true without an address; allowed: with one such as address = \"dhcp\"".to_string(),
            );
        }
        section.finish();
        node
    }
}

/// The settings of the serial console, `[console]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    /// The VM that the console is put into after boot; `None`: the shell.
    pub attach: Option<String>,
}

impl Console {
    pub(super) fn read(mut section: Section<'_, '_>) -> Self {
        let console = Self { attach: section.optional("attach", value::name) };
        section.finish();
        console
    }
}
