//! `nics` of a `[[vm]]`: which networks its guest is on, and as whom.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use net::frame::Mac;
use toml::de::DeValue;

use super::address;
use super::problem::Refused;
use super::section::Section;
use super::value;

/// Most NICs of a VM.
pub const MAX_NICS: usize = 8;

/// Most queues of a NIC in each direction, and no more than its VM has vCPUs.
pub const MAX_QUEUES: u16 = 16;

/// Most addresses that a NIC can be bound to.
const MAX_BOUND: usize = 16;

/// A network card of a VM, as the operator wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NicConfig {
    /// The name of the network that it is on.
    pub network: String,
    /// Its address, of a station, no other NIC's of this node. Default [`derived_mac`].
    pub mac: Mac,
    /// Queues in each direction, 1 to [`MAX_QUEUES`]. Default: one for each vCPU.
    pub queues: u16,
    /// Most bits a second that its guest sends; `None`: no limit.
    pub limit: Option<u64>,
    /// The IP addresses that its guest may send from; empty: any.
    pub addresses: Vec<IpAddr>,
    /// Whether its guest may send from other MAC addresses than `mac`, and gets frames to these. Default false.
    pub any_mac: bool,
}

/// A NIC that was read.
pub(super) struct Wanted {
    /// Its line in the file.
    pub line: usize,
    /// The NIC. Its address is [`Mac::NONE`] where it is to be derived, which needs the node's name.
    pub nic: NicConfig,
}

/// The MAC address of a NIC that is given none: locally administered, and the same as long as the three are. It is a hash,
/// so that the VMs of several nodes on one network differ too.
pub fn derived_mac(node: &str, vm: &str, nic: usize) -> Mac {
    // FNV-1a over the parts, which hold no NUL, then a mixer that spreads it over all bits (Appleby's fmix64):
    // FNV alone leaves names that differ in their last letter alike in most bits.
    let index = (nic as u64).to_le_bytes();
    let bytes = node.bytes().chain([0]).chain(vm.bytes()).chain([0]).chain(index);
    let mut hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    let [_, _, mut bytes @ ..] = (hash ^ (hash >> 33)).to_be_bytes();
    // Of one station, given by an administrator.
    bytes[0] = bytes[0] & !1 | 2;
    Mac(bytes)
}

/// Reads the NICs of a VM. `vcpus` is none where that was refused.
pub(super) fn read(vm: &mut Section<'_, '_>, vcpus: Option<u32>) -> Vec<Wanted> {
    let example = "a list of NICs, such as [{ network = \"lan\" }]";
    let nics = vm.tables("nics", "NIC", example, |section| NicConfig::read(section, vcpus));
    if nics.len() > MAX_NICS {
        vm.conflict(format!("a VM with {} NICs; allowed: at most {MAX_NICS}", nics.len()));
    }
    nics
}

impl NicConfig {
    fn read(mut section: Section<'_, '_>, vcpus: Option<u32>) -> Option<Wanted> {
        let line = section.line;
        let network = section.required("network", value::name);
        let mac = section.optional("mac", mac).unwrap_or(Mac::NONE);
        let queues = section.optional("queues", value::integer(1..=MAX_QUEUES.into()));
        let limit = section.optional("limit", limit).flatten();
        let allowed = "an IP address without a prefix length, such as \"10.0.0.5\", or a list of such";
        let addresses =
            section.optional("addresses", value::one_or_more(MAX_BOUND, allowed, address::station));
        let any_mac = section.optional("any_mac", value::boolean).unwrap_or(false);
        if let (Some(queues), Some(vcpus)) = (queues, vcpus)
            && queues > vcpus
        {
            section.conflict(format!(
                "queues = {queues} is more than vcpus = {vcpus}; allowed: at most one for each vCPU"
            ));
        }
        let sound = section.finish();
        // Both are at most 16.
        let queues = queues.or(vcpus).unwrap_or(1) as u16;
        let addresses = addresses.unwrap_or_default();
        let network = network.filter(|_| sound)?;
        Some(Wanted { line, nic: Self { network, mac, queues, limit, addresses, any_mac } })
    }
}

/// `"52:54:00:12:34:56"`.
fn mac(value: &DeValue<'_>) -> Result<Mac, Refused> {
    let allowed = "six pairs of hexadecimal digits, such as \"52:54:00:12:34:56\", of one station";
    let mac: Mac =
        value::text(value, allowed)?.parse().map_err(|_| Refused::new("is no MAC address", allowed))?;
    if mac.is_group() {
        return Err(Refused::new("is the address of a group (its first byte is odd)", allowed));
    }
    if mac.is_station() { Ok(mac) } else { Err(Refused::new("is the address of nobody", allowed)) }
}

/// `"1Gbit"`: bits a second; `"none"`.
fn limit(value: &DeValue<'_>) -> Result<Option<u64>, Refused> {
    let allowed = "a string of a number and kbit, Mbit or Gbit a second, such as \"100Mbit\", or \"none\"";
    let text = value::text(value, allowed)?;
    if text == "none" {
        return Ok(None);
    }
    match bits_a_second(text) {
        Some(0) => Err(Refused::new("lets nothing pass", allowed)),
        Some(bits) => Ok(Some(bits)),
        None => Err(Refused::new("is not a rate", allowed)),
    }
}

fn bits_a_second(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}
