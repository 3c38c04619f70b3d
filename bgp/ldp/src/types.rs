//! The words of LDP: identifiers, labels, families. RFC 5036 2.2.2, RFC 3032 2.1.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// An LDP identifier: who, and which of its label spaces (RFC 5036 2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LdpId {
    /// The router.
    pub lsr: Ipv4Addr,
    /// 0 is the space of the whole platform.
    pub space: u16,
}

impl LdpId {
    /// The label space of the whole platform.
    #[must_use]
    pub const fn platform(lsr: Ipv4Addr) -> Self {
        Self { lsr, space: 0 }
    }

    pub(crate) fn octets(self) -> [u8; 6] {
        let [a, b, c, d] = self.lsr.octets();
        let [e, f] = self.space.to_be_bytes();
        [a, b, c, d, e, f]
    }

    pub(crate) fn from_octets([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self {
            lsr: Ipv4Addr::new(a, b, c, d),
            space: u16::from_be_bytes([e, f]),
        }
    }
}

impl fmt::Display for LdpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.lsr, self.space)
    }
}

/// A label of MPLS: 20 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(u32);

impl Label {
    /// IPv4 Explicit NULL, RFC 3032 2.1.
    pub const EXPLICIT_NULL_V4: Self = Self(0);
    /// IPv6 Explicit NULL.
    pub const EXPLICIT_NULL_V6: Self = Self(2);
    /// Implicit NULL: asks for the label to be popped one hop before; never on the wire of a frame.
    pub const IMPLICIT_NULL: Self = Self(3);

    /// `None` for more than 20 bits.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        if value < 1 << 20 {
            Some(Self(value))
        } else {
            None
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Whether a binding may carry it: an ordinary label, or one of the NULLs (RFC 3032 2.1; 1 and 4 to 15 mean something
    /// else wherever they come).
    #[must_use]
    pub const fn can_be_bound(self) -> bool {
        matches!(self.0, 0 | 2 | 3 | 16..)
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IMPLICIT_NULL => f.write_str("implicit-null"),
            Self::EXPLICIT_NULL_V4 | Self::EXPLICIT_NULL_V6 => f.write_str("explicit-null"),
            Self(n) => n.fmt(f),
        }
    }
}

/// An address family, with its number at IANA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum Family {
    /// IPv4.
    V4 = 1,
    /// IPv6.
    V6 = 2,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// `None` for a family that LDP here does not have.
    #[must_use]
    pub const fn from_code(code: u16) -> Option<Self> {
        match code {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }

    /// Of an address.
    #[must_use]
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Of a prefix.
    #[must_use]
    pub const fn of_net(net: &IpNet) -> Self {
        match net {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// Octets of an address.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    pub(crate) const fn bit(self) -> u8 {
        self as u8
    }
}

/// Which families; a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Families(u8);

impl Families {
    /// None.
    pub const NONE: Self = Self(0);
    /// Both.
    pub const BOTH: Self = Self(3);

    /// With this one too.
    #[must_use]
    pub const fn with(self, f: Family) -> Self {
        Self(self.0 | f.bit())
    }

    /// Whether it is there.
    #[must_use]
    pub const fn has(self, f: Family) -> bool {
        self.0 & f.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_20_bits_and_some_are_never_bound() {
        assert_eq!(Label::new(1 << 20), None);
        let max = Label::new((1 << 20) - 1).unwrap();
        assert!(max.can_be_bound());
        for (n, can) in [
            (0, true),
            (1, false),
            (2, true),
            (3, true),
            (4, false),
            (15, false),
            (16, true),
        ] {
            assert_eq!(Label::new(n).unwrap().can_be_bound(), can, "{n}");
        }
        assert_eq!(Label::IMPLICIT_NULL.to_string(), "implicit-null");
    }

    #[test]
    fn an_identifier_is_six_octets() {
        let id = LdpId {
            lsr: Ipv4Addr::new(192, 0, 2, 1),
            space: 0x102,
        };
        assert_eq!(id.octets(), [192, 0, 2, 1, 1, 2]);
        assert_eq!(LdpId::from_octets(id.octets()), id);
        assert_eq!(id.to_string(), "192.0.2.1:258");
    }
}
