//! The boot volumes of machines with networks.
use super::Card;
use crate::artifacts::Artifacts;
use crate::bench::guests::{ATTACHED, CMDLINE, NAME, Volume, linux_vm};
use crate::failure::Result;
use crate::rig::Medium;
use crate::setup::guest::Guest;

/// Where the other side listens,
pub(super) const PEER: &str = "10.9.0.1:5001";
/// its address with the prefix's length,
pub(super) const PEER_ADDRESS: &str = "10.9.0.1/24";
/// and that of the guest that is told what to do.
const ADDRESS: &str = "10.9.0.2/24";

/// The network's name,
pub(super) const NETWORK: &str = "lan";
/// and that of the VM that listens.
pub(super) const PEER_NAME: &str = "peer";

const NIC: &str = "nics = [{ network = \"lan\" }]\n";

/// What the guest is to do that is told what to do,
pub(super) fn tells() -> String {
    format!("net:{ADDRESS},{PEER}")
}

/// and that which listens.
pub(super) fn listens() -> String {
    format!("listen:{PEER_ADDRESS},{PEER}")
}

/// A Linux guest on a network that has the machine's card, on the node's console.
pub(super) fn outside(built: &Artifacts, guest: &Guest, card: Card) -> Result<Medium> {
    volume(guest, card)?.write(built, &outside_config())
}

/// The same Linux without a hypervisor.
pub(super) fn linux_itself(guest: &Guest, card: Card) -> Result<Medium> {
    Ok(volume(guest, card)?.linux(format!("{CMDLINE} run={}", tells())))
}

/// With drivers for the card, and for that of a VM.
fn volume(guest: &Guest, card: Card) -> Result<Volume> {
    let drivers: &[_] = match card {
        Card::Virtio => &["virtio_pci", "virtio_net"],
        Card::E1000 => &["virtio_pci", "virtio_net", "e1000"],
        Card::E1000e => &["virtio_pci", "virtio_net", "e1000e"],
    };
    Volume::with_linux_and(card.group(), guest, drivers)
}

/// Two Linux guests on a network inside the node; that which is told what to do is on the node's console.
pub(super) fn two(built: &Artifacts, guest: &Guest) -> Result<Medium> {
    guests_volume("net.guests", guest)?.write(built, &two_config())
}

/// A volume whose Linux can be either of two guests.
pub(super) fn guests_volume(name: &str, guest: &Guest) -> Result<Volume> {
    Volume::with_linux_and(name, guest, &["virtio_pci", "virtio_net"])
}

fn outside_config() -> String {
    let vm = linux_vm(NAME, 1, "256M", &tells());
    format!("{ATTACHED}[[network]]\nname = \"{NETWORK}\"\nuplink = \"eth0\"\n{vm}{NIC}")
}

fn two_config() -> String {
    let [peer, vm] =
        [(PEER_NAME, listens()), (NAME, tells())].map(|(name, run)| linux_vm(name, 1, "256M", &run));
    format!("{ATTACHED}[[network]]\nname = \"{NETWORK}\"\n{peer}{NIC}{vm}{NIC}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mgmt::config::Config;

    #[test]
    fn the_configurations_have_no_mistakes() {
        for (text, nics) in [(outside_config(), 1), (two_config(), 2)] {
            let parsed = Config::parse(text.as_bytes());
            assert_eq!(parsed.problems, []);
            assert_eq!(parsed.config.vms.iter().map(|vm| vm.nics.len()).sum::<usize>(), nics);
        }
    }
}
