//! What ICMPv6 says about who has which address (RFC 4861, 4.3 and 4.4).
use super::Malformed;
use super::bytes::array;
use core::net::Ipv6Addr;

/// A message of neighbour discovery, as far as it can lie about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Who has this address?
    Solicitation(Ipv6Addr),
    /// I have this address.
    Advertisement(Ipv6Addr),
}

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

impl Neighbour {
    /// None where the message is another one.
    pub fn parse(message: &[u8]) -> Result<Option<Self>, Malformed> {
        let truncated = Malformed::Truncated("ICMPv6");
        let &kind = message.first().ok_or(truncated)?;
        if kind != SOLICITATION && kind != ADVERTISEMENT {
            return Ok(None);
        }
        let target = array::<16>(message, 8).ok_or(truncated)?.into();
        Ok(Some(if kind == SOLICITATION { Self::Solicitation(target) } else { Self::Advertisement(target) }))
    }
}
