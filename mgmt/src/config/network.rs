//! `[[network]]`: an Ethernet that VMs and the node can be on. Any problem leaves the network out, and with it the VMs
//! that name it: a VM on a network that is not the one that was meant may be worse than none.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use net::frame::VlanId;
use toml::de::DeValue;

use super::problem::Refused;
use super::section::Section;
use super::value;

/// Most networks of a node.
pub const MAX_NETWORKS: usize = 64;

/// Most uplinks of a network.
pub const MAX_UPLINKS: usize = 4;

/// Least MTU of a network, in bytes: what IPv6 needs (RFC 8200, 5).
pub const MIN_MTU: u16 = 1280;

/// Largest MTU of a network, in bytes: jumbo frames as all cards that have any take them.
pub const MAX_MTU: u16 = 9000;

/// A network of this node, as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Its name, unique on the node.
    pub name: String,
    /// Network cards of this machine that lead out of it, the preferred one first: the first whose link is up is used.
    /// Empty: the network is internal to the node.
    pub uplinks: Vec<String>,
    /// The VLAN that its frames have on the uplink; `None`: they have no tag.
    pub vlan: Option<VlanId>,
    /// Most bytes of a packet, [`MIN_MTU`] to [`MAX_MTU`]. Default 1500.
    pub mtu: u16,
}

/// A `[[network]]` that was read.
pub(super) struct Read {
    /// Its name, if that at least is sound.
    pub name: Option<String>,
    /// The network, if all of it is sound.
    pub network: Option<NetworkConfig>,
}

impl NetworkConfig {
    pub(super) fn read(mut section: Section<'_, '_>) -> Read {
        let name = section.required("name", value::name);
        let internal = !section.has("uplink");
        let card = "the name of a network card, such as \"eth0\" ('nic list' shows them), or a list of such";
        let uplinks = section.optional("uplink", value::one_or_more(MAX_UPLINKS, card, uplink));
        let vlan = section.optional("vlan", vlan);
        let mtu = section.optional("mtu", mtu).unwrap_or(1500);
        if let Some(vlan) = vlan
            && internal
        {
            section.conflict(format!(
                "vlan = {} without an uplink; allowed: with the uplink on which frames have this VLAN",
                vlan.number()
            ));
        }
        let sound = section.finish();
        let network = name.clone().filter(|_| sound).map(|name| Self {
            name,
            uplinks: uplinks.unwrap_or_default(),
            vlan,
            mtu,
        });
        Read { name, network }
    }

    /// The uplink on which this network's frames could not be told from the other's.
    pub(super) fn contested(&self, other: &Self) -> Option<&str> {
        let shared = self.uplinks.iter().find(|uplink| other.uplinks.contains(uplink));
        shared.filter(|_| self.vlan == other.vlan).map(String::as_str)
    }
}

fn uplink(text: &str) -> Result<String, String> {
    if value::is_device(text) { Ok(text.to_string()) } else { Err("names no network card".to_string()) }
}

fn vlan(value: &DeValue<'_>) -> Result<VlanId, Refused> {
    let allowed = "an integer from 1 to 4094";
    let number = value::integer(1..=4094)(value)?;
    u16::try_from(number).ok().and_then(VlanId::new).ok_or_else(|| Refused::new("is out of range", allowed))
}

fn mtu(value: &DeValue<'_>) -> Result<u16, Refused> {
    // Within the range of a u16 by the bounds.
    value::integer(MIN_MTU.into()..=MAX_MTU.into())(value).map(|mtu| mtu as u16)
}
