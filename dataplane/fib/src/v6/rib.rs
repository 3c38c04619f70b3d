//! The writer's list of IPv6 prefixes, in order: by address, then shortest first.
//!
//! In this order a prefix comes right before all that it covers, so both what lies inside a block and what covers it
//! are found by walking from one place. The list is cut into [`super::shelf`]s; a tree of the standard library's, which
//! the caches hold since it has one entry for each of them, tells which.

use std::cell::Cell;
use std::collections::BTreeMap;

use net::{GroupId, Ip6Prefix};

use super::shelf::{MOST, NIL, NOBODY, Shelf, Shelves};
use crate::ahead::Ahead;

/// A shelf that has no more than this is joined with a neighbour, if the two fit in a shelf with some room left; one that
/// has none, with any, so that all have some but when there is one alone.
const FEW: usize = MOST / 4;
const ROOMY: usize = MOST * 3 / 4;

/// A prefix in 24 bytes, where `Ip6Prefix` takes 32; ordered as that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) high: u64,
    pub(super) low: u64,
    pub(super) len: u8,
}

impl Key {
    pub(super) fn new(addr: u128, len: u8) -> Self {
        Self {
            high: (addr >> 64) as u64,
            low: addr as u64,
            len,
        }
    }

    pub(super) fn addr(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    pub(super) fn last(self) -> u128 {
        self.addr() | below(self.len.into())
    }
}

/// The bits after the first `len`.
pub(super) fn below(len: u32) -> u128 {
    u128::MAX.checked_shr(len).unwrap_or(0)
}

/// A prefix that lies in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) len: u32,
    pub(super) group: GroupId,
}

/// A list of prefixes that nodes are painted from.
pub(crate) trait List {
    /// How many there are.
    fn len(&self) -> usize;
    /// What a prefix has.
    fn get(&self, p: Ip6Prefix) -> Option<GroupId>;
    /// Sets or removes a prefix and returns what it had.
    fn put(&mut self, p: Ip6Prefix, group: Option<GroupId>) -> Option<GroupId>;
    /// The longest prefix of at most `len` bits that covers `addr`: its length and group.
    fn cover(&self, addr: u128, len: u32) -> Option<(u32, GroupId)>;
    /// Appends the prefixes longer than `len` inside the block of that length at `base`, in order.
    fn inside(&self, base: u128, len: u32, found: &mut Vec<Found>);
    /// How many prefixes longer than `len` lie inside the block of that length at `base`.
    fn count_inside(&self, base: u128, len: u32) -> usize;
    /// Bytes, as far as can be told from outside.
    fn bytes(&self) -> usize;
}

/// All IPv6 prefixes and their groups.
pub(crate) struct Rib6 {
    shelves: Shelves,
    /// The shelf for keys from one on: for the first shelf, the least key; for others, one that is above all before it.
    index: BTreeMap<Key, u32>,
    /// Where something was found last: more often than not, the next is there too.
    near: Cell<u32>,
    len: usize,
}

/// A place in the list: a shelf, and how many there come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    shelf: u32,
    at: usize,
}

impl Default for Rib6 {
    fn default() -> Self {
        let mut shelves = Shelves::default();
        let first = shelves.take();
        Self {
            shelves,
            index: BTreeMap::from([(Key::new(0, 0), first)]),
            near: Cell::new(first),
            len: 0,
        }
    }
}

impl List for Rib6 {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, p: Ip6Prefix) -> Option<GroupId> {
        let key = Key::new(p.addr(), p.len());
        let place = self.seek(&key);
        self.is_at(place, &key)
            .then(|| self.shelves.of(place.shelf).group(place.at))
    }

    fn put(&mut self, p: Ip6Prefix, group: Option<GroupId>) -> Option<GroupId> {
        let key = Key::new(p.addr(), p.len());
        let place = self.seek(&key);
        let there = self.is_at(place, &key);
        let shelf = self.shelves.of_mut(place.shelf);
        match group {
            Some(group) if there => {
                let old = shelf.group(place.at);
                shelf.set_group(place.at, group);
                Some(old)
            }
            Some(group) => {
                self.len += 1;
                let mut place = place;
                if shelf.used() == MOST {
                    self.split(place);
                    place = self.seek(&key);
                }
                let cover = self.before(place).and_then(|p| self.climb(p, key.addr()));
                let above = cover.map_or(NOBODY, |(key, _)| key.len);
                let shelf = self.shelves.of_mut(place.shelf);
                shelf.insert(place.at, key, group, above);
                self.adopt(place, key, above, key.len);
                None
            }
            None if there => {
                self.len -= 1;
                let above = shelf.above(place.at);
                self.adopt(place, key, key.len, above);
                let shelf = self.shelves.of_mut(place.shelf);
                let old = shelf.remove(place.at);
                if shelf.used() <= FEW {
                    self.join(place.shelf);
                }
                Some(old)
            }
            None => None,
        }
    }

    fn cover(&self, addr: u128, len: u32) -> Option<(u32, GroupId)> {
        // No prefix after this place is longer and covers the address.
        let bound = Key::new(addr & !below(len), len as u8);
        let mut place = self.seek(&bound);
        if !self.is_at(place, &bound) {
            place = self.before(place)?;
        }
        let (key, place) = self.climb(place, addr)?;
        let place = place.unwrap_or_else(|| self.seek(&key));
        Some((key.len.into(), self.shelves.of(place.shelf).group(place.at)))
    }

    fn inside(&self, base: u128, len: u32, found: &mut Vec<Found>) {
        let last = Key::new(base | below(len), u8::MAX);
        self.walk(base, len, |shelf, from| {
            for at in from..shelf.used() {
                let key = shelf.key(at);
                if key > last {
                    return false;
                }
                found.push(Found {
                    first: key.addr(),
                    last: key.last(),
                    len: key.len.into(),
                    group: shelf.group(at),
                });
            }
            true
        });
    }

    fn count_inside(&self, base: u128, len: u32) -> usize {
        let last = Key::new(base | below(len), u8::MAX);
        let mut count = 0;
        self.walk(base, len, |shelf, from| {
            let end = shelf.rank(&last);
            count += end - from;
            end == shelf.used()
        });
        count
    }

    /// Bytes; of the tree, as far as can be told from outside: the standard library's nodes have 11 entries and are two
    /// thirds full.
    fn bytes(&self) -> usize {
        const ENTRY: usize = size_of::<Key>() + size_of::<u32>();
        self.shelves.bytes() + self.index.len() * (ENTRY + 4) * 3 / 2
    }
}

impl Rib6 {
    /// None, with somebody who makes pages ready for those that come.
    pub(super) fn with_pages(ahead: Ahead) -> Self {
        let mut rib = Self::default();
        rib.shelves.ahead = Some(ahead);
        rib
    }

    /// Of a prefix that comes before an address and those that cover it, the longest that covers the address, and its
    /// place if that was looked at. The last prefix before the address has all that cover it above itself.
    fn climb(&self, mut place: Place, addr: u128) -> Option<(Key, Option<Place>)> {
        loop {
            let shelf = self.shelves.of(place.shelf);
            let (key, above) = (shelf.key(place.at), shelf.above(place.at));
            let same = (key.addr() ^ addr).leading_zeros();
            if u32::from(key.len) <= same {
                return Some((key, Some(place)));
            }
            if above == NOBODY {
                return None;
            }
            let upper = Key::new(key.addr() & !below(above.into()), above);
            if u32::from(above) <= same {
                return Some((upper, None));
            }
            place = self.seek(&upper);
        }
    }

    /// The prefixes inside one at a place that have one above them of a length have one of another now.
    fn adopt(&mut self, place: Place, key: Key, from: u8, to: u8) {
        let last = Key::new(key.last(), u8::MAX);
        let Place { mut shelf, mut at } = place;
        at += 1;
        while shelf != NIL {
            let here = self.shelves.of_mut(shelf);
            let used = here.used();
            let end = match at < used && here.key(used - 1) > last {
                // More often than not there is nothing inside.
                true if here.key(at) > last => return,
                true => here.rank(&last),
                false => used,
            };
            here.adopt(at..end, from, to);
            if end < used {
                return;
            }
            (shelf, at) = (here.after, 0);
        }
    }

    /// Shows `see` shelves, and from where on, beginning after the block of that length itself, for as long as it wants.
    fn walk(&self, base: u128, len: u32, mut see: impl FnMut(&Shelf, usize) -> bool) {
        let block = Key::new(base, len as u8);
        let Place { mut shelf, mut at } = self.seek(&block);
        at += usize::from(self.is_at(Place { shelf, at }, &block));
        while shelf != NIL {
            let here = self.shelves.of(shelf);
            if !see(here, at) {
                return;
            }
            (shelf, at) = (here.after, 0);
        }
    }

    /// Where a key is or would be.
    fn seek(&self, key: &Key) -> Place {
        let near = self.shelves.of(self.near.get());
        let used = near.used();
        if used > 0 && near.key(0) <= *key && *key <= near.key(used - 1) {
            let at = near.rank(key);
            let shelf = self.near.get();
            return Place { shelf, at };
        }
        // The first shelf is for the least key there can be.
        let shelf = self.index.range(..=key).next_back().map_or(0, |(_, &s)| s);
        self.near.set(shelf);
        let here = self.shelves.of(shelf);
        here.prefetch();
        let at = here.rank(key);
        Place { shelf, at }
    }

    fn is_at(&self, Place { shelf, at }: Place, key: &Key) -> bool {
        let shelf = self.shelves.of(shelf);
        at < shelf.used() && shelf.key(at) == *key
    }

    /// The place before.
    fn before(&self, Place { mut shelf, mut at }: Place) -> Option<Place> {
        if at == 0 {
            shelf = self.shelves.of(shelf).before;
            if shelf == NIL {
                return None;
            }
            at = self.shelves.of(shelf).used();
        }
        Some(Place { shelf, at: at - 1 })
    }

    /// Makes a full shelf two: halves, or where the list grows at its end, the first one fuller.
    fn split(&mut self, Place { shelf, at }: Place) {
        let after = self.shelves.of(shelf).after;
        let cut = match after {
            NIL if at == MOST => ROOMY,
            _ => MOST / 2,
        };
        let new = self.shelves.take();
        self.shelves.pour(shelf, cut, new);
        self.link(shelf, new);
        self.link(new, after);
        self.index.insert(self.shelves.of(new).key(0), new);
    }

    /// Joins a shelf that has few with the one after it or before it, if that has room for all.
    fn join(&mut self, shelf: u32) {
        let here = self.shelves.of(shelf);
        let (before, after, used) = (here.before, here.after, here.used());
        let fits = |other: u32| {
            other != NIL && (used == 0 || self.shelves.of(other).used() + used <= ROOMY)
        };
        let (first, second) = match () {
            () if fits(after) => (shelf, after),
            () if fits(before) => (before, shelf),
            () => return,
        };
        // Its key in the index is the last up to its first prefix; if it has none, it is the last shelf.
        let gone = self.shelves.of(second);
        let found = match gone.used() {
            0 => self.index.last_key_value(),
            _ => self.index.range(..=gone.key(0)).next_back(),
        };
        let Some((&key, _)) = found else { return };
        self.index.remove(&key);
        let rest = self.shelves.of(second).after;
        self.shelves.pour(second, 0, first);
        self.link(first, rest);
        self.shelves.give(second);
        self.near.set(first);
    }

    /// Makes one shelf follow on another.
    fn link(&mut self, first: u32, second: u32) {
        self.shelves.of_mut(first).after = second;
        if second != NIL {
            self.shelves.of_mut(second).before = first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Rib6 {
        fn above(&self, key: &Key) -> Option<u8> {
            let Place { shelf, at } = self.seek(key);
            Some(self.shelves.of(shelf).above(at)).filter(|&above| above != NOBODY)
        }
    }

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

    proptest! {
        /// As the standard library's tree, with few keys, so that shelves are split, joined and emptied.
        #[test]
        fn it_is_an_ordered_list(ops in proptest::collection::vec((0u32..300, 0usize..4, any::<bool>()), 1..3_000), at in 0u32..300) {
            let prefix = |n: u32, kind: usize| {
                let (addr, len) = match kind {
                    0 => (u128::from(n) << 96, 32),
                    1 => (u128::from(n / 8) << 99, 29),
                    2 => (u128::from(n % 4) << 96 | u128::from(n), 128),
                    _ => (u128::from(n % 4) << 96, 32 + (n / 4) as u8),
                };
                Ip6Prefix::new(addr, len).unwrap()
            };
            let (mut rib, mut plain) = (Rib6::default(), BTreeMap::new());
            let half = ops.len() / 2;
            for (i, &(n, kind, add)) in ops.iter().enumerate() {
                let p = prefix(n, kind);
                // First it grows, then it shrinks.
                let group = (add || i < half).then_some(GroupId(i as u32));
                let old = match group {
                    Some(group) => plain.insert(Key::new(p.addr(), p.len()), group),
                    None => plain.remove(&Key::new(p.addr(), p.len())),
                };
                prop_assert_eq!(rib.put(p, group), old);
                prop_assert_eq!(rib.get(p), group);
                prop_assert_eq!(rib.len(), plain.len());
            }
            let compare = |rib: &Rib6, base: u128, len: u32| -> Result<(), TestCaseError> {
                let mut found = Vec::new();
                rib.inside(base, len, &mut found);
                let is_in = |k: &Key| u32::from(k.len) > len && k.addr() & !below(len) == base || k.addr() & !below(len) == base && k.addr() > base;
                let right: Vec<_> = plain.iter().filter(|(k, _)| is_in(k)).map(|(k, g)| (k.addr(), u32::from(k.len), *g)).collect();
                prop_assert_eq!(found.iter().map(|f| (f.first, f.len, f.group)).collect::<Vec<_>>(), right);
                prop_assert_eq!(rib.count_inside(base, len), found.len());
                Ok(())
            };
            for (base, len) in [(0, 0), (u128::from(at / 8) << 99, 29), (u128::from(at % 4) << 96, 32)] {
                compare(&rib, base, len)?;
            }
            for addr in [u128::from(at) << 96, u128::from(at % 4) << 96 | u128::from(at)] {
                for len in [29, 32, 60, 128] {
                    let covers = plain.iter().filter(|(k, _)| u32::from(k.len) <= len && addr & !below(k.len.into()) == k.addr());
                    let right = covers.max_by_key(|(k, _)| k.len).map(|(k, &g)| (u32::from(k.len), g));
                    prop_assert_eq!(rib.cover(addr, len), right);
                }
            }
            for (k, above) in plain.keys().map(|k| (k, rib.above(k))) {
                let covers = plain.keys().filter(|c| c.len < k.len && k.addr() & !below(c.len.into()) == c.addr());
                prop_assert_eq!(above, covers.map(|c| c.len).max());
            }
            for k in plain.keys().rev() {
                prop_assert!(rib.put(Ip6Prefix::new(k.addr(), k.len).unwrap(), None).is_some());
            }
            prop_assert_eq!((rib.len(), rib.index.len(), rib.shelves.bytes() / 1024), (0, 1, 1));
        }
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
