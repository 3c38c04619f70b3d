//! The writer's list of IPv6 prefixes, in order: by address, then shortest first.
//!
//! In this order a prefix comes right before all that it covers, so both what lies inside a block and what covers it
//! are found by walking from one place.

use std::collections::BTreeMap;
use std::ops::Bound;

use net::{GroupId, Ip6Prefix};

/// A prefix in 24 bytes, where `Ip6Prefix` takes 32; ordered as that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    high: u64,
    low: u64,
    len: u8,
}

impl Key {
    fn new(addr: u128, len: u8) -> Self {
        Self {
            high: (addr >> 64) as u64,
            low: addr as u64,
            len,
        }
    }

    fn addr(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    fn last(self) -> u128 {
        self.addr() | below(self.len.into())
    }
}

/// The bits after the first `len`.
pub(super) fn below(len: u32) -> u128 {
    u128::MAX.checked_shr(len).unwrap_or(0)
}

/// A prefix that lies in a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) len: u32,
    pub(super) group: GroupId,
}

/// All IPv6 prefixes and their groups.
#[derive(Default)]
pub(super) struct Rib6(BTreeMap<Key, GroupId>);

impl Rib6 {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn get(&self, p: Ip6Prefix) -> Option<GroupId> {
        self.0.get(&Key::new(p.addr(), p.len())).copied()
    }

    /// Sets or removes a prefix and returns what it had.
    pub(super) fn put(&mut self, p: Ip6Prefix, group: Option<GroupId>) -> Option<GroupId> {
        let key = Key::new(p.addr(), p.len());
        match group {
            Some(group) => self.0.insert(key, group),
            None => self.0.remove(&key),
        }
    }

    /// The longest prefix of at most `len` bits that covers `addr`: its length and group.
    pub(super) fn cover(&self, addr: u128, len: u32) -> Option<(u32, GroupId)> {
        let mut len = len;
        loop {
            // No prefix before this place is longer and covers the address; the last one before it may cover it.
            let bound = Key::new(addr & !below(len), len as u8);
            let (&found, &group) = self.0.range(..=bound).next_back()?;
            let same = (found.addr() ^ addr).leading_zeros();
            if same >= u32::from(found.len) {
                return Some((found.len.into(), group));
            }
            // What covers the address covers this one too.
            len = same;
        }
    }

    /// The prefixes longer than `len` inside the block of that length at `base`, in order.
    fn block(&self, base: u128, len: u32) -> impl Iterator<Item = (&Key, &GroupId)> {
        let bounds = (
            Bound::Excluded(Key::new(base, len as u8)),
            Bound::Included(Key::new(base | below(len), u8::MAX)),
        );
        self.0.range(bounds)
    }

    /// Appends the prefixes longer than `len` inside the block of that length at `base`.
    pub(super) fn inside(&self, base: u128, len: u32, found: &mut Vec<Found>) {
        found.extend(self.block(base, len).map(|(key, &group)| Found {
            first: key.addr(),
            last: key.last(),
            len: key.len.into(),
            group,
        }));
    }

    /// How many prefixes longer than `len` lie inside the block of that length at `base`.
    pub(super) fn count_inside(&self, base: u128, len: u32) -> usize {
        self.block(base, len).count()
    }

    /// Bytes, as far as can be told from outside: the standard library's nodes have 11 entries and are two thirds full.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = size_of::<Key>() + size_of::<GroupId>();
        self.0.len() * (ENTRY + 4) * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rib(prefixes: &[&str]) -> Rib6 {
        let mut rib = Rib6::default();
        for (i, p) in prefixes.iter().enumerate() {
            assert_eq!(
                rib.put(p.parse().unwrap(), Some(GroupId(i as u32 + 1))),
                None
            );
        }
        rib
    }

    fn addr(s: &str) -> u128 {
        s.parse::<std::net::Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn a_cover_is_the_longest() {
        let rib = rib(&[
            "::/0",
            "2001:db8::/32",
            "2001:db8:1::/48",
            "2001:db8:0:8000::/49",
        ]);
        let cover = |a, len| rib.cover(addr(a), len).map(|(len, g)| (len, g.0));
        assert_eq!(cover("2001:db8:1::7", 128), Some((48, 3)));
        assert_eq!(cover("2001:db8:1::7", 48), Some((48, 3)));
        assert_eq!(cover("2001:db8:1::7", 47), Some((32, 2)));
        assert_eq!(cover("2001:db8:2::7", 128), Some((32, 2)), "past siblings");
        assert_eq!(cover("2001:db8:0:7fff::", 128), Some((32, 2)));
        assert_eq!(cover("2001:db8:0:ffff::", 128), Some((49, 4)));
        assert_eq!(cover("ffff::", 128), Some((0, 1)));
        assert_eq!(cover("2001:db8::", 31), Some((0, 1)));
        assert_eq!(Rib6::default().cover(1, 128), None);
    }

    #[test]
    fn a_block_has_what_is_longer() {
        let rib = rib(&[
            "2001:db8::/32",
            "2001:db8::/33",
            "2001:db8:ffff::/128",
            "2001:db9::/48",
        ]);
        let mut found = Vec::new();
        rib.inside(addr("2001:db8::"), 32, &mut found);
        assert_eq!(found.iter().map(|f| f.len).collect::<Vec<_>>(), [33, 128]);
        assert_eq!(
            found[0].last,
            addr("2001:db8:7fff:ffff:ffff:ffff:ffff:ffff")
        );
        assert_eq!(rib.count_inside(addr("2001:db8::"), 31), 4);
        assert_eq!(rib.count_inside(0, 0), 4);
    }
}
