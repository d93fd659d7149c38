//! The stack's addresses, gateways and DNS servers, and DHCP, where they come from there.
use super::config::{Addressing, is_station, link_local};
use super::event::{Events, StackEvent};
use super::neighbour;
use super::port::Port;
use crate::frame::{Headers, Mac, Transport, Udp};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::time::Duration;
use smoltcp::wire::IpCidr;

/// How long DHCP waits for an offer before it asks again (RFC 2131, 4.1 begins with 4 s).
const DISCOVER: Duration = Duration::from_secs(4);

/// Most answers of DHCP servers that are heard in a [`WINDOW`]. A server that gives leases of no time, or takes back all
/// that it offers, would be asked as fast as it answers.
const ANSWERS: u32 = 8;
/// In nanoseconds.
const WINDOW: u64 = 10_000_000_000;
/// Where in a DHCP message the client's MAC address is (RFC 2131, 2).
const CLIENT: usize = 28;

/// Where addresses come from, and what there is now beside those that the interface holds.
pub(super) struct Addresses {
    mac: Mac,
    /// While the link is up and addresses come from there.
    dhcp: Option<SocketHandle>,
    by_dhcp: bool,
    lease: Option<Ipv4Addr>,
    /// When the window began, and the answers heard in it.
    heard: (u64, u32),
    gateways: Vec<IpAddr>,
    dns: Vec<IpAddr>,
}

impl Addresses {
    /// Gives the interface the addresses that it has from the beginning.
    pub fn new(mac: Mac, addressing: &Addressing, interface: &mut Interface) -> Self {
        let mut own = Self {
            mac,
            dhcp: None,
            by_dhcp: *addressing == Addressing::Dhcp,
            lease: None,
            heard: (0, 0),
            gateways: Vec::new(),
            dns: Vec::new(),
        };
        let local = (IpAddr::V6(link_local(mac)), 64);
        let mut all = Vec::new();
        if let Addressing::Static { addresses, gateways, dns } = addressing {
            all.extend_from_slice(addresses);
            own.set_gateways(interface, gateways.clone());
            own.dns.clone_from(dns);
        }
        if !all.iter().any(|(address, _)| *address == local.0) {
            all.push(local);
        }
        interface.update_ip_addrs(|list| {
            let _ = list.extend_from_slice(&all.iter().map(cidr).collect::<Vec<_>>());
        });
        own
    }

    /// By which other networks are reached.
    pub fn gateways(&self) -> &[IpAddr] {
        &self.gateways
    }

    /// DNS servers, in the order in which they are asked.
    pub fn dns(&self) -> &[IpAddr] {
        &self.dns
    }

    /// The link has come up: asks for an address, or tells the neighbours of those that there are.
    pub fn link_up(&mut self, interface: &mut Interface, sockets: &mut SocketSet<'_>, port: &mut Port) {
        // There may be other neighbours now; this forgets those that are known.
        interface.update_ip_addrs(|_| {});
        self.announce(interface, port);
        if self.by_dhcp && self.dhcp.is_none() {
            let mut socket = dhcpv4::Socket::new();
            let mut retry = socket.get_retry_config();
            retry.discover_timeout = DISCOVER;
            socket.set_retry_config(retry);
            self.dhcp = Some(sockets.add(socket));
        }
    }

    /// The link is down: what a DHCP server gave was for that network.
    pub fn link_down(&mut self, interface: &mut Interface, sockets: &mut SocketSet<'_>, events: &mut Events) {
        if let Some(handle) = self.dhcp.take() {
            sockets.remove(handle);
            self.lose(interface, events);
        }
    }

    /// Whether a frame is to be heard, as far as DHCP has a say.
    pub fn admit(&mut self, headers: &Headers, frame: &[u8], now: u64) -> bool {
        let Transport::Udp(Udp { source: 67, destination: 68, .. }) = headers.transport else { return true };
        let client = frame.get(headers.transport_at + Udp::SIZE + CLIENT..);
        if self.dhcp.is_none() || client.and_then(<[u8]>::first_chunk) != Some(&self.mac.0) {
            return false;
        }
        if now >= self.heard.0.saturating_add(WINDOW) {
            self.heard = (now, 0);
        }
        self.heard.1 += 1;
        self.heard.1 <= ANSWERS
    }

    /// Takes over what DHCP has come to.
    pub fn poll(
        &mut self,
        interface: &mut Interface,
        sockets: &mut SocketSet<'_>,
        port: &mut Port,
        events: &mut Events,
    ) {
        let Some(handle) = self.dhcp else { return };
        match sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll() {
            None => {}
            Some(dhcpv4::Event::Deconfigured) => self.lose(interface, events),
            Some(dhcpv4::Event::Configured(lease)) => {
                let (address, prefix) = (lease.address.address(), lease.address.prefix_len());
                let lease_dns: Vec<_> = lease.dns_servers.iter().map(|&server| IpAddr::V4(server)).collect();
                let gateway = lease.router.filter(|&router| router != address && is_station(router.into()));
                if !is_station(address.into()) || prefix == 0 {
                    self.lose(interface, events);
                    events.push(StackEvent::LeaseRefused(address));
                    return;
                }
                if self.lease != Some(address) {
                    self.lose(interface, events);
                }
                let of_v4 = |own: &IpCidr| matches!(own, IpCidr::Ipv4(_));
                interface.update_ip_addrs(|list| {
                    list.retain(|own| !of_v4(own));
                    let _ = list.push(cidr(&(address.into(), prefix)));
                });
                self.lease = Some(address);
                self.set_gateways(interface, gateway.into_iter().map(IpAddr::V4).collect());
                self.dns.clone_from(&lease_dns);
                self.announce(interface, port);
                events.push(StackEvent::Leased {
                    address: (address, prefix),
                    gateway,
                    dns: lease_dns,
                    server: lease.server.address,
                });
            }
        }
    }

    /// Forgets what a DHCP server gave.
    fn lose(&mut self, interface: &mut Interface, events: &mut Events) {
        let Some(address) = self.lease.take() else { return };
        interface.update_ip_addrs(|list| list.retain(|own| own.address() != address.into()));
        self.set_gateways(interface, Vec::new());
        self.dns.clear();
        events.push(StackEvent::LeaseLost(address));
    }

    fn set_gateways(&mut self, interface: &mut Interface, gateways: Vec<IpAddr>) {
        let routes = interface.routes_mut();
        routes.remove_default_ipv4_route();
        routes.remove_default_ipv6_route();
        for gateway in &gateways {
            // There is room for one of each version.
            let _ = match *gateway {
                IpAddr::V4(v4) => routes.add_default_ipv4_route(v4),
                IpAddr::V6(v6) => routes.add_default_ipv6_route(v6),
            };
        }
        self.gateways = gateways;
    }

    fn announce(&self, interface: &Interface, port: &mut Port) {
        for own in interface.ip_addrs() {
            if let IpAddr::V4(v4) = own.address().into() {
                port.leave(neighbour::announcement(v4, self.mac));
            }
        }
    }
}

fn cidr(&(address, prefix): &(IpAddr, u8)) -> IpCidr {
    IpCidr::new(address.into(), prefix)
}
