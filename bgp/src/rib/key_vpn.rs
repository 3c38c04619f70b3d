//! Keys of tables with prefixes of several address spaces: those of VPNs, told apart by route distinguishers (RFC 4364 4.1,
//! RFC 4659 2), and those of this router's VRFs, told apart by their numbers.
//!
//! A space and a prefix in it are in order by the space first; no prefix covers one of another space.

use std::fmt::Debug;
use std::hash::Hash;

use ipnet::IpNet;

use super::key::{Key, V4, V6};
use crate::types::{Family, Rd, VrfNo};

/// What tells address spaces apart.
pub trait Space: Copy + Eq + Ord + Debug + Default + Hash + Send + 'static {
    /// Its routes are of a VPN family; else of a unicast one.
    const VPN: bool;
    /// In the order of these.
    fn number(self) -> u64;
}

impl Space for Rd {
    const VPN: bool = true;

    fn number(self) -> u64 {
        u64::from_be_bytes(self.0)
    }
}

impl Space for VrfNo {
    const VPN: bool = false;

    fn number(self) -> u64 {
        self.0.into()
    }
}

/// A prefix of a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scoped<S, K> {
    /// The space.
    pub space: S,
    /// The prefix.
    pub key: K,
}

/// A prefix of VPNv4.
pub type Vpn4 = Scoped<Rd, V4>;
/// A prefix of VPNv6.
pub type Vpn6 = Scoped<Rd, V6>;
/// A prefix of IPv4 in a VRF.
pub type Vrf4 = Scoped<VrfNo, V4>;
/// A prefix of IPv6 in a VRF.
pub type Vrf6 = Scoped<VrfNo, V6>;

impl<S: Space, K: Key> Scoped<S, K> {
    /// The prefix in that space, if it is of this family.
    #[must_use]
    pub fn of(space: S, net: IpNet) -> Option<Self> {
        let key = K::from_net(net)?;
        Some(Self { space, key })
    }

    fn with(self, key: K) -> Self {
        Self { key, ..self }
    }
}

/// A space's default is no constant: `$none` is.
macro_rules! key {
    ($space:ty, $none:expr) => {
        impl<K: Key> Key for Scoped<$space, K> {
            type Order = (u64, K::Order);
            type Slot = (u64, K::Slot);

            const FAMILY: Family = match (<$space as Space>::VPN, K::FAMILY) {
                (true, Family::Ipv4Unicast) => Family::Vpnv4,
                (true, _) => Family::Vpnv6,
                (false, family) => family,
            };
            // What a VPN route has beside its next hop, its label, may change alone.
            const LABELED: bool = true;
            const NONE: Self = Self {
                space: $none,
                key: K::NONE,
            };

            #[inline]
            fn order(self) -> Self::Order {
                (self.space.number(), self.key.order())
            }

            #[inline]
            fn slot(self, entry: u32) -> Self::Slot {
                (self.space.number(), self.key.slot(entry))
            }

            #[inline]
            fn slot_order((space, slot): Self::Slot) -> Self::Order {
                (space, K::slot_order(slot))
            }

            #[inline]
            fn slot_entry((_, slot): Self::Slot) -> u32 {
                K::slot_entry(slot)
            }

            const VACANT: Self::Slot = (u64::MAX, K::VACANT);
            const LAST: Self::Order = (u64::MAX, K::LAST);

            #[inline]
            fn space_number(self) -> u64 {
                self.space.number()
            }

            fn covers(self, other: Self) -> bool {
                self.space == other.space && self.key.covers(other.key)
            }

            fn meet(self, other: Self) -> Option<Self> {
                if self.space != other.space {
                    return None;
                }
                self.key.meet(other.key).map(|k| self.with(k))
            }

            fn shorter(self) -> Option<Self> {
                self.key.shorter().map(|k| self.with(k))
            }

            fn net(self) -> IpNet {
                self.key.net()
            }

            /// A prefix alone is of no space.
            fn from_net(_: IpNet) -> Option<Self> {
                None
            }
        }
    };
}

key!(Rd, Rd([0; 8]));
key!(VrfNo, VrfNo(0));

#[cfg(test)]
mod tests {
    use super::*;

    fn vrf(n: u16, p: &str) -> Vrf4 {
        Scoped::of(VrfNo(n), p.parse().unwrap()).unwrap()
    }

    #[test]
    fn spaces_do_not_mix() {
        let (a, b) = (vrf(1, "10.0.0.0/8"), vrf(2, "10.1.0.0/16"));
        assert!(a.covers(vrf(1, "10.1.0.0/16")) && !a.covers(b));
        assert_eq!(a.meet(b), None);
        assert_eq!(a.meet(vrf(1, "11.0.0.0/8")), Some(vrf(1, "10.0.0.0/7")));
        assert_eq!(a.shorter(), Some(vrf(1, "10.0.0.0/7")));
        assert!(vrf(1, "224.0.0.0/4").order() < vrf(2, "0.0.0.0/0").order());
        assert_eq!(Vpn4::FAMILY, Family::Vpnv4);
        assert_eq!(Vpn6::FAMILY, Family::Vpnv6);
        assert_eq!(Vrf6::FAMILY, Family::Ipv6Unicast);
    }

    #[test]
    fn slots_keep_order_and_entry() {
        for (n, p) in [
            (0, "0.0.0.0/0"),
            (7, "10.0.0.0/8"),
            (u16::MAX, "255.255.255.255/32"),
        ] {
            let k = vrf(n, p);
            let slot = k.slot(12345);
            assert_eq!(
                (Vrf4::slot_order(slot), Vrf4::slot_entry(slot)),
                (k.order(), 12345)
            );
            assert!(k.order() < Vrf4::slot_order(Vrf4::VACANT), "{k:?}");
            assert!(k.order() < Vrf4::LAST);
        }
        let all = Vpn4::of(Rd([255; 8]), "255.255.255.255/32".parse().unwrap()).unwrap();
        assert!(all.order() < Vpn4::slot_order(Vpn4::VACANT));
        assert!(all.order() < Vpn4::LAST);
    }
}
