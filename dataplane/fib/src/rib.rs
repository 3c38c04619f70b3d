//! The writer's own list of prefixes: what is installed, and what would cover it.
//!
//! One hash table for each length. Deleting a prefix asks for the longest one that covers it: as many probes as there
//! are shorter lengths in use, at worst.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use net::GroupId;

/// The prefix that an entry of a lookup table belongs to: its group and its length. Length 0 with no group: nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) group: GroupId,
    pub(crate) len: u8,
}

impl Owner {
    pub(crate) const NOBODY: Self = Self {
        group: GroupId::NONE,
        len: 0,
    };
}

/// An address as a key.
pub(crate) trait Key: Copy + Eq + Hash {
    /// Bits of an address.
    const BITS: u8;
    /// The first `len` bits, the others 0.
    fn first(self, len: u8) -> Self;
}

/// An IPv4 address.
pub(crate) type Key4 = u32;

impl Key for Key4 {
    const BITS: u8 = 32;

    fn first(self, len: u8) -> Self {
        self & u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0)
    }
}

/// Prefixes and their groups.
pub(crate) struct Rib<K> {
    by_len: Vec<HashMap<K, GroupId, Seed>>,
    len: usize,
}

impl<K: Key> Rib<K> {
    pub(crate) fn new() -> Self {
        let seed = Seed(RandomState::new().hash_one(0) | 1);
        Self {
            by_len: (0..=K::BITS).map(|_| HashMap::with_hasher(seed)).collect(),
            len: 0,
        }
    }

    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, addr: K, len: u8) -> Option<GroupId> {
        self.by_len[usize::from(len)].get(&addr).copied()
    }

    /// Sets a prefix and returns what it had.
    pub(crate) fn insert(&mut self, addr: K, len: u8, group: GroupId) -> Option<GroupId> {
        let old = self.by_len[usize::from(len)].insert(addr, group);
        self.len += usize::from(old.is_none());
        old
    }

    /// Removes a prefix and returns what it had.
    pub(crate) fn remove(&mut self, addr: K, len: u8) -> Option<GroupId> {
        let old = self.by_len[usize::from(len)].remove(&addr);
        self.len -= usize::from(old.is_some());
        old
    }

    /// The longest prefix that covers `addr` and has a length in `lens`.
    pub(crate) fn cover(&self, addr: K, lens: std::ops::Range<u8>) -> Owner {
        let found = lens.rev().find_map(|len| {
            let table = &self.by_len[usize::from(len)];
            let group = if table.is_empty() {
                None
            } else {
                table.get(&addr.first(len)).copied()
            };
            group.map(|group| Owner { group, len })
        });
        found.unwrap_or(Owner::NOBODY)
    }

    /// Bytes of all tables, as far as can be told from outside.
    pub(crate) fn bytes(&self) -> usize {
        // A table keeps 1/8 free and rounds up to a power of two; an entry has a control byte.
        let slots = |capacity: usize| {
            if capacity == 0 {
                0
            } else {
                (capacity * 8 / 7).next_power_of_two()
            }
        };
        self.by_len
            .iter()
            .map(|t| slots(t.capacity()) * (size_of::<(K, GroupId)>() + 1))
            .sum()
    }
}

/// Makes [`Fold`]s with a secret of this table: who chooses the prefixes cannot choose their collisions.
#[derive(Clone, Copy)]
struct Seed(u64);

impl BuildHasher for Seed {
    type Hasher = Fold;

    fn build_hasher(&self) -> Fold {
        Fold {
            state: self.0,
            seed: self.0,
        }
    }
}

/// Folded multiplication, a few cycles a word; SipHash costs ten times as much.
struct Fold {
    state: u64,
    seed: u64,
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(u64::from(b)));
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        let wide = u128::from(self.state ^ n) * u128::from(self.seed ^ 0x9e37_79b9_7f4a_7c15);
        self.state = (wide as u64) ^ (wide >> 64) as u64;
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cover_is_the_longest_in_range() {
        let mut rib = Rib::<Key4>::new();
        rib.insert(0, 0, GroupId(1));
        rib.insert(0x0a00_0000, 8, GroupId(2));
        rib.insert(0x0a01_0000, 16, GroupId(3));
        let cover = |lens| rib.cover(0x0a01_0203, lens);
        assert_eq!(
            cover(0..33),
            Owner {
                group: GroupId(3),
                len: 16
            }
        );
        assert_eq!(
            cover(0..16),
            Owner {
                group: GroupId(2),
                len: 8
            }
        );
        assert_eq!(
            cover(0..8),
            Owner {
                group: GroupId(1),
                len: 0
            }
        );
        assert_eq!(cover(9..16), Owner::NOBODY);
    }

    proptest! {
        #[test]
        fn keys_mask_as_prefixes_do(addr: u32, len in 0u8..=32) {
            let p = net::Ip4Prefix::new(addr, len).unwrap();
            prop_assert_eq!(addr.first(len), p.addr());
        }
    }
}
