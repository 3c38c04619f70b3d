//! Ethernet addresses: RFC 1112 6.4 and RFC 2464 7 for multicast, RFC 4291 appendix A for link-local addresses.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A 48-bit Ethernet address, as on the wire.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// 00:00:00:00:00:00: "not known" in ARP requests, never a station.
    pub const ZERO: Self = Self([0; 6]);

    /// Group bit set: multicast, and broadcast too.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// All ones.
    #[inline]
    #[must_use]
    pub const fn is_broadcast(self) -> bool {
        matches!(self.0, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }

    /// A single station: neither a group nor all zero.
    #[inline]
    #[must_use]
    pub const fn is_unicast(self) -> bool {
        !self.is_multicast() && !matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// The group address that carries an IPv4 multicast group (RFC 1112 6.4).
    #[must_use]
    pub const fn ipv4_multicast(group: Ipv4Addr) -> Self {
        let o = group.octets();
        Self([0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]])
    }

    /// The group address that carries an IPv6 multicast group (RFC 2464 7).
    #[must_use]
    pub const fn ipv6_multicast(group: Ipv6Addr) -> Self {
        let o = group.octets();
        Self([0x33, 0x33, o[12], o[13], o[14], o[15]])
    }

    /// The link-local address made from this address by modified EUI-64 (RFC 4291 appendix A).
    #[must_use]
    pub const fn eui64_link_local(self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            u16::from_be_bytes([m[0] ^ 2, m[1]]),
            u16::from_be_bytes([m[2], 0xff]),
            u16::from_be_bytes([0xfe, m[3]]),
            u16::from_be_bytes([m[4], m[5]]),
        )
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not six hexadecimal bytes with `:` or `-` between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an Ethernet address: six hexadecimal bytes such as 02:00:00:00:00:01 are wanted")]
pub struct ParseMacError;

impl FromStr for MacAddr {
    type Err = ParseMacError;

    fn from_str(s: &str) -> Result<Self, ParseMacError> {
        let separator = if s.contains('-') { '-' } else { ':' };
        let mut parts = s.split(separator);
        let mut mac = [0; 6];
        for byte in &mut mac {
            let part = parts.next().ok_or(ParseMacError)?;
            // from_str_radix also takes a sign, and we do not.
            if !(1..=2).contains(&part.len()) || !part.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(ParseMacError);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ParseMacError)?;
        }
        if parts.next().is_some() {
            Err(ParseMacError)
        } else {
            Ok(Self(mac))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kinds() {
        assert!(MacAddr::BROADCAST.is_multicast() && MacAddr::BROADCAST.is_broadcast());
        assert!(!MacAddr::BROADCAST.is_unicast() && !MacAddr::ZERO.is_unicast());
        let group = MacAddr::ipv4_multicast(Ipv4Addr::new(224, 128, 0, 5));
        assert_eq!(group.to_string(), "01:00:5e:00:00:05");
        assert!(group.is_multicast() && !group.is_broadcast());
        let group = MacAddr::ipv6_multicast("ff02::1:ff28:9c5a".parse().unwrap());
        assert_eq!(group.to_string(), "33:33:ff:28:9c:5a");
    }

    #[test]
    fn link_local_is_the_example_of_rfc_2464() {
        let mac: MacAddr = "34-56-78-9A-BC-DE".parse().unwrap();
        assert_eq!(
            mac.eui64_link_local(),
            "fe80::3656:78ff:fe9a:bcde".parse::<Ipv6Addr>().unwrap()
        );
    }

    #[test]
    fn refuses_what_is_no_address() {
        for s in [
            "",
            "1:2:3:4:5",
            "1:2:3:4:5:6:7",
            "1:2:3:4:5:",
            "+1:2:3:4:5:6",
            "1:2:3:4:5:g",
            "001:2:3:4:5:6",
            "1:2-3:4:5:6",
        ] {
            assert_eq!(s.parse::<MacAddr>(), Err(ParseMacError), "{s:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(b: [u8; 6]) {
            prop_assert_eq!(MacAddr(b).to_string().parse(), Ok(MacAddr(b)));
        }
    }
}
