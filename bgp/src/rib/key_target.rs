//! Keys of the table of route target memberships (RFC 4684 4): prefixes of an origin AS and a route target, of up to 96 bits.
//!
//! They are held as prefixes of IPv6 would be, which are longer: order, covering and meeting are the same.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::key::{Key, V6, as_within};
use crate::types::Family;

/// A route target membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Membership(V6);

impl Membership {
    /// A prefix of `bits` bits of origin AS (4 octets) and route target (8 octets); at most 96.
    #[must_use]
    pub fn new(octets: [u8; 12], bits: u8) -> Self {
        let mut address = [0; 16];
        address[..12].copy_from_slice(&octets);
        Self(V6::from(Ipv6Net::new_assert(
            Ipv6Addr::from(address),
            bits.min(96),
        )))
    }

    /// The octets and how many bits of them count.
    #[must_use]
    pub fn parts(self) -> ([u8; 12], u8) {
        let net = Ipv6Net::from(self.0);
        let mut octets = [0; 12];
        octets.copy_from_slice(&net.network().octets()[..12]);
        (octets, net.prefix_len())
    }

    /// The one that [`Key::net`] gives this for.
    #[must_use]
    pub fn of(net: IpNet) -> Option<Self> {
        V6::from_net(net).map(Self)
    }
}

impl Key for Membership {
    as_within!(V6);

    const FAMILY: Family = Family::RouteTarget;

    /// A prefix of addresses is none.
    fn from_net(_: IpNet) -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_it_was_made_of() {
        let octets = [0, 0, 0xfc, 0, 0, 2, 0xfc, 0, 0, 0, 0, 7];
        for bits in [0, 32, 48, 80, 95, 96] {
            let (o, b) = Membership::new(octets, bits).parts();
            let kept = |n: usize| (usize::from(bits)).saturating_sub(8 * n).min(8);
            let want: Vec<u8> = (0..12)
                .map(|n| octets[n] & !(0xffu16 >> kept(n)) as u8)
                .collect();
            assert_eq!((&o[..], b), (&want[..], bits));
        }
        let one = Membership::new(octets, 96);
        assert!(Membership::new([0; 12], 0).covers(one));
        assert!(Membership::new(octets, 32).covers(one));
        assert!(!one.covers(Membership::new(octets, 95)));
        assert_eq!(Membership::of(one.net()), Some(one));
    }
}
