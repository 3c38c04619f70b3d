//! Hello: RFC 5036 3.5.2; the G flag of RFC 6720; transport addresses and the preference of RFC 7552 6.1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::status::{Status, WireError};
use super::tlv;
use crate::types::Family;

const TARGETED: u16 = 0x8000;
const REQUEST: u16 = 0x4000;
const GTSM: u16 = 0x2000;

/// A Hello.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Seconds that the sender is to be remembered: 0 asks for the default, 0xffff for ever.
    pub hold: u16,
    /// Sent to one address, not to a link.
    pub targeted: bool,
    /// Asks for targeted Hellos in return.
    pub request: bool,
    /// The sender uses and expects a TTL of 255 in the session (RFC 6720 2.1).
    pub gtsm: bool,
    /// Where the session is to be made to.
    pub transport_v4: Option<Ipv4Addr>,
    /// The same over IPv6.
    pub transport_v6: Option<Ipv6Addr>,
    /// Changes with the sender's configuration.
    pub config_sequence: Option<u32>,
    /// The sender has IPv4 and IPv6.
    pub dual_stack: Option<DualStack>,
}

/// The family that a session of two dual-stack routers is to use, RFC 7552 6.1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DualStack {
    /// This one.
    Prefers(Family),
    /// A number that means nothing: such a Hello is to be ignored.
    Unknown(u8),
}

impl Hello {
    /// The transport address in that family.
    #[must_use]
    pub fn transport(&self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.transport_v4.map(IpAddr::V4),
            Family::V6 => self.transport_v6.map(IpAddr::V6),
        }
    }

    pub(crate) fn parse(body: &[u8]) -> Result<Self, WireError> {
        let mut hello = Self::default();
        let mut common = false;
        tlv::each(body, |t| {
            match t.kind {
                tlv::HELLO_PARAMETERS => {
                    let [a, b, c, d] = t.exactly("hello parameters")?;
                    let flags = u16::from_be_bytes([c, d]);
                    hello.hold = u16::from_be_bytes([a, b]);
                    hello.targeted = flags & TARGETED != 0;
                    hello.request = flags & REQUEST != 0;
                    hello.gtsm = flags & GTSM != 0;
                    common = true;
                }
                // The first counts if there are several (RFC 7552 6.1).
                tlv::TRANSPORT_V4 => {
                    let a: [u8; 4] = t.exactly("an IPv4 transport address")?;
                    hello.transport_v4.get_or_insert(a.into());
                }
                tlv::TRANSPORT_V6 => {
                    let a: [u8; 16] = t.exactly("an IPv6 transport address")?;
                    hello.transport_v6.get_or_insert(a.into());
                }
                tlv::CONFIG_SEQUENCE => {
                    hello.config_sequence = Some(u32::from_be_bytes(
                        t.exactly("a configuration sequence number")?,
                    ));
                }
                tlv::DUAL_STACK => {
                    let [first, ..]: [u8; 4] = t.exactly("a dual-stack capability")?;
                    hello.dual_stack = Some(match first >> 4 {
                        4 => DualStack::Prefers(Family::V4),
                        6 => DualStack::Prefers(Family::V6),
                        n => DualStack::Unknown(n),
                    });
                }
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if common {
            Ok(hello)
        } else {
            Err(WireError::new(
                Status::MissingParameters,
                "a Hello without its parameters",
            ))
        }
    }

    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        let flag = |on, bit| if on { bit } else { 0 };
        let flags =
            flag(self.targeted, TARGETED) | flag(self.request, REQUEST) | flag(self.gtsm, GTSM);
        tlv::put(out, tlv::HELLO_PARAMETERS, |out| {
            out.extend_from_slice(&self.hold.to_be_bytes());
            out.extend_from_slice(&flags.to_be_bytes());
        });
        if let Some(a) = self.transport_v4 {
            tlv::put(out, tlv::TRANSPORT_V4, |out| {
                out.extend_from_slice(&a.octets())
            });
        }
        if let Some(a) = self.transport_v6 {
            tlv::put(out, tlv::TRANSPORT_V6, |out| {
                out.extend_from_slice(&a.octets())
            });
        }
        if let Some(n) = self.config_sequence {
            tlv::put(out, tlv::CONFIG_SEQUENCE, |out| {
                out.extend_from_slice(&n.to_be_bytes())
            });
        }
        if let Some(d) = self.dual_stack {
            let tr = match d {
                DualStack::Prefers(Family::V4) => 4,
                DualStack::Prefers(Family::V6) => 6,
                DualStack::Unknown(n) => n,
            };
            tlv::put(out, tlv::DUAL_STACK | tlv::U, |out| {
                out.extend_from_slice(&[tr << 4, 0, 0, 0])
            });
        }
    }
}
