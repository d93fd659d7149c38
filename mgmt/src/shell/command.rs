//! The table of commands: what may be typed, what it means, and what does it. The parser, `help` and
//! completion all read this one table, so that a new command is one entry.

use alloc::string::String;
use core::fmt;
use core::net::IpAddr;

use super::arguments::{Arg, Given, Named};
use super::node::{Node, NodeError, Terminal, VmAction};
use super::{capture, devices, machine, networks, nics, power, topics, vm};

/// What the session does after a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Shows the prompt.
    Prompt,
    /// Clears the screen and shows the prompt.
    Clear,
    /// Goes to this terminal of this VM.
    Attach(String, Terminal),
    /// Shows the live overview until a key is pressed.
    Top,
    /// Shows log entries after this one (`None`: all) as they come, until a key is pressed.
    Follow(Option<u64>),
    /// Sends echo requests there, this many (`None`: on and on), until a key is pressed.
    Ping(IpAddr, Option<usize>),
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    Node(NodeError),
    Output(fmt::Error),
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl From<fmt::Error> for Failure {
    fn from(error: fmt::Error) -> Self {
        Self::Output(error)
    }
}

/// Does a command's work, writing what the operator is to read.
pub(super) type Run = fn(&mut dyn Node, &Given<'_>, &mut dyn fmt::Write) -> Result<Next, Failure>;

/// An entry of the table.
pub(super) struct Command {
    /// The words that name it.
    pub words: &'static [&'static str],
    pub args: &'static [Arg],
    /// One line for the list.
    pub help: &'static str,
    /// What else there is to know; may be empty.
    pub more: &'static str,
    pub run: Run,
}

impl Command {
    /// How to write it: `vm start NAME`.
    pub fn usage(&self) -> String {
        let mut usage = self.words.join(" ");
        for arg in self.args {
            usage.push_str(&arg.usage());
        }
        usage
    }
}

/// All commands, in the order of `help`.
pub(super) static COMMANDS: &[Command] = &[
    Command {
        words: &["vm", "list"],
        args: &[],
        help: "all VMs and what they are doing",
        more: "CPU TIME counts all vCPUs since the VM's start.",
        run: vm::list,
    },
    Command {
        words: &["vm", "info"],
        args: &[Arg::Name(Named::Vm)],
        help: "a VM in detail: state, vCPUs, exits, memory, configuration",
        more: "",
        run: vm::info,
    },
    Command {
        words: &["vm", "start"],
        args: &[Arg::Name(Named::Vm)],
        help: "start a VM that is off",
        more: "",
        run: |node, given, out| vm::control(node, given, VmAction::Start, "starts", out),
    },
    Command {
        words: &["vm", "stop"],
        args: &[Arg::Name(Named::Vm)],
        help: "press a VM's power button, so that it shuts down",
        more: "The guest decides when it powers off, or whether; 'vm kill' does not ask it.",
        run: |node, given, out| vm::control(node, given, VmAction::Stop, "is asked to shut down", out),
    },
    Command {
        words: &["vm", "kill"],
        args: &[Arg::Name(Named::Vm)],
        help: "stop a VM at once",
        more: "As if its power were cut: the guest can lose what it has not written to disk.",
        run: |node, given, out| vm::control(node, given, VmAction::Kill, "is stopped", out),
    },
    Command {
        words: &["vm", "reset"],
        args: &[Arg::Name(Named::Vm)],
        help: "press a VM's reset button",
        more: "The guest starts anew at once and can lose what it has not written to disk.",
        run: |node, given, out| vm::control(node, given, VmAction::Reset, "is reset", out),
    },
    Command {
        words: &["vm", "pause"],
        args: &[Arg::Name(Named::Vm)],
        help: "hold a VM's vCPUs",
        more: "Its memory stays; 'vm resume' lets it go on.",
        run: |node, given, out| vm::control(node, given, VmAction::Pause, "is paused", out),
    },
    Command {
        words: &["vm", "resume"],
        args: &[Arg::Name(Named::Vm)],
        help: "let a paused VM go on",
        more: "",
        run: |node, given, out| vm::control(node, given, VmAction::Resume, "goes on", out),
    },
    Command {
        words: &["vm", "memory"],
        args: &[Arg::Name(Named::Vm), Arg::Size],
        help: "ask a VM's guest to use no more than SIZE of its memory, or more again",
        more: "SIZE is a number and K, M, G or T: 256M. The guest gives the rest back as far as it can; 'vm info'\n\
               shows how far it is. It needs a driver for virtio-balloon.",
        run: vm::memory,
    },
    Command {
        words: &["vm", "console"],
        args: &[Arg::Name(Named::Vm), Arg::Flag(Terminal::VIRTIO)],
        help: "go to a VM's serial or virtio console; Ctrl-] comes back",
        more: "First what it printed before is shown. All keys but Ctrl-] go to the VM.\n\
               hvc0 is its virtio console, if purevisor.toml has virtio_console = true for it.",
        run: vm::console,
    },
    Command {
        words: &["disk", "list"],
        args: &[],
        help: "all disks, what moved on them, and who uses them",
        more: "READ and WRITTEN count since the disk is there.",
        run: devices::list,
    },
    Command {
        words: &["disk", "info"],
        args: &[Arg::Name(Named::Disk)],
        help: "a disk in detail: model, size, cache, counters, users",
        more: "",
        run: devices::info,
    },
    Command {
        words: &["nic", "list"],
        args: &[],
        help: "all network cards: driver, address, link, what moved on them",
        more: "IN and OUT are frames that the card has received and sent since it is there.",
        run: nics::list,
    },
    Command {
        words: &["nic", "info"],
        args: &[Arg::Name(Named::Nic)],
        help: "a network card in detail: model, link, abilities, counters",
        more: "",
        run: nics::info,
    },
    Command {
        words: &["net", "list"],
        args: &[],
        help: "all networks: uplinks, VLAN, ports, frames",
        more: "FRAMES are those that have come in at any port.",
        run: networks::list,
    },
    Command {
        words: &["net", "info"],
        args: &[Arg::Name(Named::Network)],
        help: "a network in detail: who is at its ports, and what moved there",
        more: "IN is what came into the network at the port (what a guest has sent), OUT what left it there.",
        run: networks::info,
    },
    Command {
        words: &["net", "capture"],
        args: &[Arg::Name(Named::Network), Arg::Capture],
        help: "keep frames of a network and show them",
        more: capture::MORE,
        run: capture::capture,
    },
    Command {
        words: &["net", "mirror"],
        args: &[Arg::Name(Named::Network), Arg::Ports],
        help: "copy what passes one port of a network to another",
        more: "FROM and TO are ports as 'net info' shows them: debian/0, eth0, node.\n'net mirror NAME off' ends it.",
        run: networks::mirror,
    },
    Command {
        words: &["ping"],
        args: &[Arg::Address, Arg::Count],
        help: "send N echo requests, one a second; any key ends it",
        more: "From the node's own address ('node info'). Without N it goes on until a key is pressed.",
        run: |_, given, _| Ok(Next::Ping(given.address, given.count)),
    },
    Command {
        words: &["pci"],
        args: &[],
        help: "all PCI functions: where, what, driver, interrupts, registers",
        more: "Sizes of registers are known of those alone that a driver has taken: finding out disturbs a device.",
        run: devices::pci,
    },
    Command {
        words: &["node", "info"],
        args: &[],
        help: "this machine and the hypervisor on it",
        more: "",
        run: machine::info,
    },
    Command {
        words: &["cpu"],
        args: &[],
        help: "physical CPUs and how busy they were since power-on",
        more: "GUEST is time in VMs, HYPERVISOR what PureVisor itself needs; 'top' shows the last second.",
        run: machine::cpus,
    },
    Command { words: &["mem"], args: &[], help: "where the memory is", more: "", run: machine::memory },
    Command {
        words: &["log"],
        args: &[Arg::Count, Arg::Flag("-f")],
        help: "the last N messages (20); -f shows new ones as they come",
        more: "Any key ends 'log -f'.",
        run: machine::log,
    },
    Command {
        words: &["top"],
        args: &[],
        help: "CPUs, VMs, disks and networks live; any key ends it",
        more: "",
        run: |_, _, _| Ok(Next::Top),
    },
    Command {
        words: &["help"],
        args: &[Arg::Topic],
        help: "all commands, or one",
        more: "",
        run: topics::help,
    },
    Command {
        words: &["clear"],
        args: &[],
        help: "clear the screen",
        more: "",
        run: |_, _, _| Ok(Next::Clear),
    },
    Command {
        words: &["poweroff"],
        args: &[Arg::Flag("--now")],
        help: "power the machine off, after its VMs have shut down",
        more: "Running VMs have 60 seconds to shut down; --now does not ask them.",
        run: power::off,
    },
    Command {
        words: &["reboot"],
        args: &[Arg::Flag("--now")],
        help: "reboot the machine, after its VMs have shut down",
        more: "Running VMs have 60 seconds to shut down; --now does not ask them.",
        run: power::reboot,
    },
];
