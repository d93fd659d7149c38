//! To which flow a frame belongs: for spreading flows over queues.
use crate::frame::{Headers, Network, Transport};

/// The same for all frames of a flow in one direction, and mostly another for another flow: by addresses and, of TCP and
/// UDP, ports. Fragments of a packet have its flow if it is not one of several between the same addresses.
#[inline]
pub fn of(headers: &Headers) -> u32 {
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    let mut hash = match headers.network {
        Network::V4(ip) => mix(0, u64::from(ip.source.to_bits()) << 32 | u64::from(ip.destination.to_bits())),
        Network::V6(ip) => {
            let halves = |address: u128| (address >> 64) as u64 ^ (address as u64).rotate_left(7);
            mix(halves(ip.source.to_bits()), halves(ip.destination.to_bits()))
        }
        _ => {
            let [destination, source] = [headers.ethernet.destination, headers.ethernet.source];
            let word = |mac: [u8; 6]| mac.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            mix(word(destination.0), word(source.0))
        }
    };
    let ports = match headers.transport {
        Transport::Tcp(tcp) => Some((tcp.source, tcp.destination)),
        Transport::Udp(udp) => Some((udp.source, udp.destination)),
        _ => None,
    };
    if let Some((source, destination)) = ports {
        hash = mix(hash, u64::from(source) << 16 | u64::from(destination));
    }
    (hash >> 32) as u32
}
