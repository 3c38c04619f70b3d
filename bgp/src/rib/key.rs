//! What a table is of: prefixes of IPv4 and IPv6, with and without labels; whatever has an order and covers can be added.

use std::fmt::Debug;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::types::Family;

/// The key of a table. In order, a prefix stands before those that it covers, and those directly behind it.
pub trait Key: Copy + Eq + Debug + Send + 'static {
    /// What is compared.
    type Order: Copy + Ord + Debug + Default + Send;
    /// An order and the number of an entry together, in few octets.
    type Slot: Copy + Debug + Default + Send;

    /// The family whose routes have this key.
    const FAMILY: Family;
    /// Paths have labels (RFC 8277 2): packets may go another way whenever the attributes of a path are others.
    const LABELED: bool = false;
    /// Stands in free entries.
    const NONE: Self;

    /// Its place in the order.
    fn order(self) -> Self::Order;
    /// Puts the number of an entry beside it; less than 2^26.
    fn slot(self, entry: u32) -> Self::Slot;
    /// The order in a slot.
    fn slot_order(slot: Self::Slot) -> Self::Order;
    /// The number in a slot.
    fn slot_entry(slot: Self::Slot) -> u32;
    /// What stands in slots that are not used: more than any key, and of none.
    const VACANT: Self::Slot;
    /// How many of the slots, which are in order, the vacant ones last, are less than `o`.
    #[inline]
    fn rank<const N: usize>(slots: &[Self::Slot; N], o: Self::Order) -> usize {
        slots.partition_point(|s| Self::slot_order(*s) < o)
    }
    /// More than the order of any key.
    const LAST: Self::Order;
    /// How many of these, which are in order, are `o` or less.
    #[inline]
    fn upto<const N: usize>(orders: &[Self::Order; N], o: Self::Order) -> usize {
        orders.partition_point(|l| *l <= o)
    }
    /// The number of the address space that it is of, where a table has several.
    #[inline]
    fn space_number(self) -> u64 {
        0
    }
    /// Is `other` this prefix, or within it?
    fn covers(self, other: Self) -> bool;
    /// The longest prefix that covers both; `None` if none does.
    fn meet(self, other: Self) -> Option<Self>;
    /// The prefix that is shorter by one; `None`: it has no length left.
    fn shorter(self) -> Option<Self>;
    /// As a prefix.
    fn net(self) -> IpNet;
    /// The key of a prefix, if it is of this family.
    fn from_net(net: IpNet) -> Option<Self>;
}

/// A prefix of IPv4 in five octets: address, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct V4([u8; 5]);

impl V4 {
    const fn parts(self) -> (u32, u8) {
        let [a, b, c, d, len] = self.0;
        (u32::from_be_bytes([a, b, c, d]), len)
    }

    const fn new(bits: u32, len: u8) -> Self {
        let mask = if len == 0 { 0 } else { u32::MAX << (32 - len) };
        let [a, b, c, d] = (bits & mask).to_be_bytes();
        Self([a, b, c, d, len])
    }
}

impl From<Ipv4Net> for V4 {
    fn from(n: Ipv4Net) -> Self {
        Self::new(n.addr().to_bits(), n.prefix_len())
    }
}

impl From<V4> for Ipv4Net {
    fn from(k: V4) -> Self {
        let (bits, len) = k.parts();
        Self::new_assert(Ipv4Addr::from_bits(bits), len)
    }
}

impl Key for V4 {
    type Order = u64;
    type Slot = u64;

    const FAMILY: Family = Family::Ipv4Unicast;
    const NONE: Self = Self([0; 5]);

    #[inline]
    fn order(self) -> u64 {
        let (bits, len) = self.parts();
        u64::from(bits) << 6 | u64::from(len)
    }

    #[inline]
    fn slot(self, entry: u32) -> u64 {
        self.order() << 26 | u64::from(entry)
    }

    #[inline]
    fn slot_order(slot: u64) -> u64 {
        slot >> 26
    }

    #[inline]
    fn slot_entry(slot: u64) -> u32 {
        slot as u32 & ((1 << 26) - 1)
    }

    const VACANT: u64 = u64::MAX;
    const LAST: u64 = u64::MAX;

    /// Looks at all of them: that takes vectors, and the cache lines come side by side, where a binary search waits for
    /// one after the other.
    #[inline]
    fn rank<const N: usize>(slots: &[u64; N], o: u64) -> usize {
        let bound = o << 26;
        let less: u64 = slots.iter().map(|s| u64::from(*s < bound)).sum();
        less as usize
    }

    #[inline]
    fn upto<const N: usize>(orders: &[u64; N], o: u64) -> usize {
        orders.iter().map(|l| u64::from(*l <= o)).sum::<u64>() as usize
    }

    fn covers(self, other: Self) -> bool {
        let ((_, len), (bits, other_len)) = (self.parts(), other.parts());
        len <= other_len && Self::new(bits, len) == self
    }

    fn meet(self, other: Self) -> Option<Self> {
        let ((a, a_len), (b, b_len)) = (self.parts(), other.parts());
        let len = ((a ^ b).leading_zeros() as u8).min(a_len).min(b_len);
        Some(Self::new(a, len))
    }

    fn shorter(self) -> Option<Self> {
        let (bits, len) = self.parts();
        Some(Self::new(bits, len.checked_sub(1)?))
    }

    fn net(self) -> IpNet {
        Ipv4Net::from(self).into()
    }

    fn from_net(net: IpNet) -> Option<Self> {
        match net {
            IpNet::V4(n) => Some(n.into()),
            IpNet::V6(_) => None,
        }
    }
}

/// A prefix of IPv6 in 17 octets: address, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct V6([u8; 17]);

/// A [`V6`] and the number of an entry.
#[derive(Clone, Copy, Debug, Default)]
pub struct V6Slot {
    high: u64,
    low: u64,
    len: u8,
    entry: u32,
}

impl V6 {
    fn parts(self) -> (u128, u8) {
        let [addr @ .., len] = self.0;
        (u128::from_be_bytes(addr), len)
    }

    fn new(bits: u128, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
        let mut k = [len; 17];
        k[..16].copy_from_slice(&(bits & mask).to_be_bytes());
        Self(k)
    }
}

impl From<Ipv6Net> for V6 {
    fn from(n: Ipv6Net) -> Self {
        Self::new(n.addr().to_bits(), n.prefix_len())
    }
}

impl From<V6> for Ipv6Net {
    fn from(k: V6) -> Self {
        let (bits, len) = k.parts();
        Self::new_assert(Ipv6Addr::from_bits(bits), len)
    }
}

impl Key for V6 {
    type Order = (u128, u8);
    type Slot = V6Slot;

    const FAMILY: Family = Family::Ipv6Unicast;
    const NONE: Self = Self([0; 17]);

    #[inline]
    fn order(self) -> (u128, u8) {
        self.parts()
    }

    #[inline]
    fn slot(self, entry: u32) -> V6Slot {
        let (bits, len) = self.parts();
        V6Slot {
            high: (bits >> 64) as u64,
            low: bits as u64,
            len,
            entry,
        }
    }

    #[inline]
    fn slot_order(s: V6Slot) -> (u128, u8) {
        (u128::from(s.high) << 64 | u128::from(s.low), s.len)
    }

    #[inline]
    fn slot_entry(s: V6Slot) -> u32 {
        s.entry
    }

    const VACANT: V6Slot = V6Slot {
        high: u64::MAX,
        low: u64::MAX,
        len: u8::MAX,
        entry: u32::MAX,
    };
    const LAST: (u128, u8) = (u128::MAX, u8::MAX);

    fn covers(self, other: Self) -> bool {
        let ((_, len), (bits, other_len)) = (self.parts(), other.parts());
        len <= other_len && Self::new(bits, len) == self
    }

    fn meet(self, other: Self) -> Option<Self> {
        let ((a, a_len), (b, b_len)) = (self.parts(), other.parts());
        let len = ((a ^ b).leading_zeros() as u8).min(a_len).min(b_len);
        Some(Self::new(a, len))
    }

    fn shorter(self) -> Option<Self> {
        let (bits, len) = self.parts();
        Some(Self::new(bits, len.checked_sub(1)?))
    }

    fn net(self) -> IpNet {
        Ipv6Net::from(self).into()
    }

    fn from_net(net: IpNet) -> Option<Self> {
        match net {
            IpNet::V6(n) => Some(n.into()),
            IpNet::V4(_) => None,
        }
    }
}

/// What a key that is another in all but its name has of that one: all but the family, and what it is made of.
macro_rules! as_within {
    ($K:ty) => {
        type Order = <$K as Key>::Order;
        type Slot = <$K as Key>::Slot;

        const NONE: Self = Self(<$K>::NONE);
        const VACANT: Self::Slot = <$K>::VACANT;
        const LAST: Self::Order = <$K>::LAST;

        #[inline]
        fn order(self) -> Self::Order {
            self.0.order()
        }

        #[inline]
        fn slot(self, entry: u32) -> Self::Slot {
            self.0.slot(entry)
        }

        #[inline]
        fn slot_order(slot: Self::Slot) -> Self::Order {
            <$K>::slot_order(slot)
        }

        #[inline]
        fn slot_entry(slot: Self::Slot) -> u32 {
            <$K>::slot_entry(slot)
        }

        #[inline]
        fn rank<const N: usize>(slots: &[Self::Slot; N], o: Self::Order) -> usize {
            <$K>::rank(slots, o)
        }

        #[inline]
        fn upto<const N: usize>(orders: &[Self::Order; N], o: Self::Order) -> usize {
            <$K>::upto(orders, o)
        }

        fn covers(self, other: Self) -> bool {
            self.0.covers(other.0)
        }

        fn meet(self, other: Self) -> Option<Self> {
            self.0.meet(other.0).map(Self)
        }

        fn shorter(self) -> Option<Self> {
            self.0.shorter().map(Self)
        }

        fn net(self) -> IpNet {
            self.0.net()
        }
    };
}
pub(super) use as_within;

/// A prefix whose paths have labels: RFC 8277 2, where they are not part of what is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labeled<K>(pub K);

/// A labelled prefix of IPv4.
pub type L4 = Labeled<V4>;
/// A labelled prefix of IPv6.
pub type L6 = Labeled<V6>;

impl<K: Key> Key for Labeled<K> {
    as_within!(K);

    const FAMILY: Family = match K::FAMILY {
        Family::Ipv4Unicast => Family::Ipv4Labeled,
        _ => Family::Ipv6Labeled,
    };
    const LABELED: bool = true;

    fn from_net(net: IpNet) -> Option<Self> {
        K::from_net(net).map(Self)
    }
}
