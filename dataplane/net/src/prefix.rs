//! IPv4 and IPv6 prefixes as the forwarding tables want them: an integer and a length.
//!
//! The control plane's prefixes are the ipnet crate's; these are their form in the data plane. Host bits
//! are always zero, so equal prefixes compare equal, and the order is by address, then shortest first.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The text is not `ADDRESS/LENGTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a prefix: ADDRESS/LENGTH is wanted")]
pub struct ParsePrefixError;

macro_rules! prefix {
    ($(#[$doc:meta])* $name:ident, $int:ty, $addr:ty, $bits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            addr: $int,
            len: u8,
        }

        impl $name {
            /// Bits of an address, and the greatest length.
            pub const BITS: u8 = $bits;
            /// The prefix of length 0: every address.
            pub const DEFAULT: Self = Self { addr: 0, len: 0 };

            /// The prefix of `len` bits that covers `addr` (host order); host bits are cleared.
            /// `None` when `len` is greater than [`Self::BITS`].
            #[inline]
            #[must_use]
            pub const fn new(addr: $int, len: u8) -> Option<Self> {
                if len > $bits {
                    return None;
                }
                Some(Self { addr: addr & Self::mask_of(len), len })
            }

            /// The prefix of full length.
            #[inline]
            #[must_use]
            pub const fn host(addr: $int) -> Self {
                Self { addr, len: $bits }
            }

            /// The first address, host order.
            #[inline]
            #[must_use]
            pub const fn addr(self) -> $int {
                self.addr
            }

            /// The last address, host order.
            #[inline]
            #[must_use]
            pub const fn last(self) -> $int {
                self.addr | !Self::mask_of(self.len)
            }

            /// The length in bits.
            #[inline]
            #[must_use]
            #[allow(clippy::len_without_is_empty)] // a length in bits, not a container's
            pub const fn len(self) -> u8 {
                self.len
            }

            /// The network mask, host order.
            #[inline]
            #[must_use]
            pub const fn mask(self) -> $int {
                Self::mask_of(self.len)
            }

            const fn mask_of(len: u8) -> $int {
                // A shift by all bits is not defined, so length 0 has its own arm.
                if len == 0 { 0 } else { <$int>::MAX << ($bits - len) }
            }

            /// Whether the prefix covers the address (host order).
            #[inline]
            #[must_use]
            pub const fn contains(self, addr: $int) -> bool {
                addr & self.mask() == self.addr
            }

            /// Whether every address of `other` is in this prefix (equal prefixes: yes).
            #[inline]
            #[must_use]
            pub const fn covers(self, other: Self) -> bool {
                self.len <= other.len && self.contains(other.addr)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", <$addr>::from(self.addr), self.len)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParsePrefixError;

            /// Takes `ADDRESS/LENGTH`; host bits are cleared, an address alone is refused.
            fn from_str(s: &str) -> Result<Self, ParsePrefixError> {
                let (addr, len) = s.split_once('/').ok_or(ParsePrefixError)?;
                if !len.bytes().all(|c| c.is_ascii_digit()) {
                    return Err(ParsePrefixError);
                }
                let addr: $addr = addr.parse().map_err(|_| ParsePrefixError)?;
                let len = len.parse().map_err(|_| ParsePrefixError)?;
                Self::new(addr.into(), len).ok_or(ParsePrefixError)
            }
        }
    };
}

prefix! {
    /// An IPv4 prefix.
    Ip4Prefix, u32, Ipv4Addr, 32
}
prefix! {
    /// An IPv6 prefix.
    Ip6Prefix, u128, Ipv6Addr, 128
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text() {
        let p: Ip4Prefix = "192.0.2.77/26".parse().unwrap();
        assert_eq!(p.to_string(), "192.0.2.64/26");
        assert_eq!(Ipv4Addr::from(p.last()), Ipv4Addr::new(192, 0, 2, 127));
        let p: Ip6Prefix = "2001:db8:1::1/48".parse().unwrap();
        assert_eq!(p.to_string(), "2001:db8:1::/48");
        for s in [
            "10.0.0.0",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "/8",
            "10.0.0/8",
            "::/0",
            "10.0.0.0/8/8",
        ] {
            assert_eq!(s.parse::<Ip4Prefix>(), Err(ParsePrefixError), "{s:?}");
        }
        assert_eq!("::/129".parse::<Ip6Prefix>(), Err(ParsePrefixError));
        assert_eq!("::/256".parse::<Ip6Prefix>(), Err(ParsePrefixError));
    }

    #[test]
    fn ends_of_the_range() {
        assert!(Ip4Prefix::DEFAULT.contains(0) && Ip4Prefix::DEFAULT.contains(u32::MAX));
        assert!(Ip4Prefix::host(7).contains(7) && !Ip4Prefix::host(7).contains(6));
        assert_eq!(Ip4Prefix::new(u32::MAX, 0), Some(Ip4Prefix::DEFAULT));
        assert_eq!(Ip4Prefix::new(0, 33), None);
        assert_eq!(Ip6Prefix::new(u128::MAX, 0), Some(Ip6Prefix::DEFAULT));
        assert!(Ip6Prefix::host(7).contains(7) && !Ip6Prefix::host(7).contains(6));
    }

    proptest! {
        #[test]
        fn v4_contains_is_bitwise(addr: u32, len in 0u8..=32, other: u32) {
            let p = Ip4Prefix::new(addr, len).unwrap();
            let same = (0..len).all(|i| (addr ^ other) >> (31 - i) & 1 == 0);
            prop_assert_eq!(p.contains(other), same);
            prop_assert!(p.contains(addr) && p.contains(p.last()) && p.contains(p.addr()));
            prop_assert_eq!(p.to_string().parse(), Ok(p));
            prop_assert!(Ip4Prefix::DEFAULT.covers(p) && p.covers(Ip4Prefix::host(addr)));
        }

        #[test]
        fn v6_contains_is_bitwise(addr: u128, len in 0u8..=128, flip in 0u8..128) {
            let p = Ip6Prefix::new(addr, len).unwrap();
            prop_assert_eq!(p.contains(addr ^ (1 << (127 - flip))), flip >= len);
            prop_assert_eq!(p.to_string().parse(), Ok(p));
        }
    }
}
