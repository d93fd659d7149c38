//! What has happened to a stack that its operator wants to read in the log.
use crate::frame::Mac;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

/// Most events that wait to be taken; of more, the oldest are forgotten.
pub const MAX_EVENTS: usize = 16;

/// Something that has happened. Its `Display` is the line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StackEvent {
    /// A DHCP server has given an address, or other parameters with it.
    Leased {
        /// The address and its prefix length.
        address: (Ipv4Addr, u8),
        /// By which other networks are reached.
        gateway: Option<Ipv4Addr>,
        /// DNS servers.
        dns: Vec<IpAddr>,
        /// The server's address.
        server: Ipv4Addr,
    },
    /// An address from a DHCP server is not ours any more: its time is over, the server took it back, or the link is down.
    LeaseLost(Ipv4Addr),
    /// A DHCP server offers what is no address of a single station; it is not used.
    LeaseRefused(Ipv4Addr),
    /// Another station says that an address of ours is its own.
    Conflict(Ipv4Addr, Mac),
}

impl fmt::Display for StackEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Leased { address: (address, prefix), gateway, dns, server } => {
                write!(f, "DHCP: {address}/{prefix} from {server}")?;
                if let Some(gateway) = gateway {
                    write!(f, ", gateway {gateway}")?;
                }
                let mut before = ", DNS ";
                for server in dns {
                    write!(f, "{before}{server}")?;
                    before = " ";
                }
                Ok(())
            }
            Self::LeaseLost(address) => write!(f, "DHCP: {address} is not ours any more"),
            Self::LeaseRefused(address) => {
                write!(
                    f,
                    "DHCP: the server offers {address}, which no station can have; look at its configuration"
                )
            }
            Self::Conflict(address, mac) => {
                write!(f, "{mac} has our address {address} too; give one of the two another")
            }
        }
    }
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Events(VecDeque<StackEvent>);

impl Events {
    /// Adds one, unless the last says the same.
    pub fn push(&mut self, event: StackEvent) {
        if self.0.back() == Some(&event) {
            return;
        }
        if self.0.len() == MAX_EVENTS {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// Takes all, the oldest first.
    pub fn take(&mut self) -> impl Iterator<Item = StackEvent> + use<> {
        core::mem::take(&mut self.0).into_iter()
    }
}
