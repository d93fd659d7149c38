//! What sections say of each other: which network a NIC and the node are on, which VM the console goes to, and that no
//! MAC address is there twice. Checked when all sections are read, since they may come in any order.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use net::frame::Mac;

use super::address::NodeAddress;
use super::nic::{Wanted, derived_mac};
use super::problem::Problems;
use super::vm::VmConfig;
use super::{NetworkConfig, Parsed};
use crate::nearest::nearest;

/// A VM that is sound by itself.
pub(super) struct Candidate {
    /// The VM, yet without NICs.
    pub vm: VmConfig,
    pub nics: Vec<Wanted>,
}

/// The networks of the file.
pub(super) struct Networks<'a> {
    pub sound: &'a [NetworkConfig],
    /// Names of all, also of those that are left out because of a problem.
    pub all: &'a [(String, usize)],
}

impl Networks<'_> {
    /// Why a name is of none of the sound ones, as the end of a sentence; `None` if it is of one.
    fn why_not(&self, name: &str) -> Option<String> {
        let names = || self.sound.iter().map(|network| network.name.as_str());
        if names().any(|known| known == name) {
            return None;
        }
        if self.all.iter().any(|(known, _)| known == name) {
            let why =
                "names a network that is left out because of its own problem; allowed: one that is sound";
            return Some(why.to_string());
        }
        if self.sound.is_empty() {
            return Some(
                "names no network; allowed: the name of a [[network]], of which this file has none".into(),
            );
        }
        // Those that are there fit into a sentence, or a few of them do.
        let listed: Vec<String> = names().take(8).map(|name| format!("\"{name}\"")).collect();
        let more = if self.sound.len() > listed.len() { ", …" } else { "" };
        let meant = nearest(name, names()).map(|meant| format!("; did you mean \"{meant}\"?"));
        Some(format!("names no network{}; allowed: {}{more}", meant.unwrap_or_default(), listed.join(", ")))
    }
}

/// Gives the VMs whose NICs are on networks and have addresses of their own to the configuration; the others are left
/// out.
pub(super) fn vms(
    candidates: Vec<Candidate>,
    networks: &Networks<'_>,
    node: &str,
    problems: &mut Problems,
) -> Sorted {
    let mut sorted = Sorted::default();
    // Whose an address is: the VM and the index of the NIC.
    let mut owners: BTreeMap<Mac, (String, usize)> = BTreeMap::new();
    for Candidate { mut vm, nics } in candidates {
        let before = problems.count();
        let mut own = Vec::new();
        for (index, Wanted { line, mut nic }) in nics.into_iter().enumerate() {
            if let Some(why) = networks.why_not(&nic.network) {
                problems.push(line, format!("VM \"{}\": network = \"{}\" {why}", vm.name, nic.network));
            }
            let derived = nic.mac == Mac::NONE;
            if derived {
                nic.mac = derived_mac(node, &vm.name, index);
            }
            if let Some((other, at)) = owners.get(&nic.mac) {
                let whose = if derived { "the address derived for" } else { "mac of" };
                problems.push(
                    line,
                    format!(
                        "{whose} NIC {index} of VM \"{}\", {}, is that of NIC {at} of VM \"{other}\"; allowed: an \
                         address once, another mac",
                        vm.name, nic.mac
                    ),
                );
            } else {
                owners.insert(nic.mac, (vm.name.clone(), index));
                own.push(nic.mac);
            }
            vm.nics.push(nic);
        }
        if problems.count() == before {
            sorted.sound.push(vm);
        } else {
            own.iter().for_each(|mac| drop(owners.remove(mac)));
            sorted.left_out.push(vm.name);
        }
    }
    sorted
}

/// VMs by whether they are sound.
#[derive(Default)]
pub(super) struct Sorted {
    pub sound: Vec<VmConfig>,
    /// Names of the others.
    pub left_out: Vec<String>,
}

/// Finds the network of the node's own address. Without one the node has no address.
pub(super) fn node_network(
    parsed: &mut Parsed,
    all: &[(String, usize)],
    line: usize,
    problems: &mut Problems,
) {
    let config = &mut parsed.config;
    let networks = Networks { sound: &config.networks, all };
    if let Some(name) = &config.node.network {
        let Some(why) = networks.why_not(name) else { return };
        problems.push(line, format!("[node] network = \"{name}\" {why}"));
        config.node.network = None;
        // Any other network than the one that was meant is the wrong one.
        config.node.address = NodeAddress::None;
        return;
    }
    if config.node.address == NodeAddress::None {
        return;
    }
    config.node.network =
        networks.sound.iter().find(|network| !network.uplinks.is_empty()).map(|network| network.name.clone());
    if config.node.network.is_none() {
        let why = match (all.is_empty(), networks.sound.is_empty()) {
            (true, _) => "there is no network; allowed: with a [[network]] in this file",
            (false, true) => {
                "all networks are left out because of their own problems; allowed: with a sound one"
            }
            (false, false) => "no network has an uplink; allowed: with network = … for one without",
        };
        problems.push(line, format!("[node] has an address, but {why}"));
        config.node.address = NodeAddress::None;
    }
}

/// Checks that the console is to go to a VM that is there.
pub(super) fn attach(parsed: &mut Parsed, line: usize, problems: &mut Problems) {
    let Parsed { config, left_out, .. } = parsed;
    let vms = &config.vms;
    if let Some(attach) = config.console.attach.take_if(|name| !vms.iter().any(|vm| vm.name == *name)) {
        let why = if left_out.contains(&attach) {
            "a VM that is left out because of its own problem; allowed: a VM that is sound".into()
        } else if let Some(meant) = nearest(&attach, vms.iter().map(|vm| vm.name.as_str())) {
            format!("no VM; did you mean \"{meant}\"?")
        } else {
            "no VM; allowed: the name of a [[vm]] in this file".into()
        };
        problems.push(line, format!("[console] attach = \"{attach}\" names {why}"));
    }
}
