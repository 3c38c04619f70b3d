//! Looking at a table: pages in order, the longest match, longer prefixes, and why a path lost.

use ipnet::IpNet;

use super::decision::{self, Fate};
use super::key::Key;
use super::slab::TOLD;
use super::table::{Common, Path, Table};

/// A prefix and its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route<K> {
    /// The prefix.
    pub key: K,
    /// Its paths; the best first, if there is one.
    pub paths: Vec<Path>,
    /// The first path is the best; else none is.
    pub best: bool,
}

/// Where a walk goes on. Prefixes may come and go meanwhile: those that stay are seen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor<K>(K);

impl<K: Copy> Cursor<K> {
    /// The prefix from which it goes on.
    #[must_use]
    pub const fn key(&self) -> K {
        self.0
    }
}

impl<K: Key> Table<K> {
    /// How many prefixes have paths (some that are about to go are counted), and how many a best one.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.tree.len(), self.chosen)
    }

    /// How many paths there are.
    #[must_use]
    pub fn paths(&self) -> usize {
        self.paths
    }

    /// True: no prefix is held, nor remembered for anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.len() == 0
    }

    pub(super) fn route(&self, e: u32) -> Option<Route<K>> {
        let entry = self.slab.get(e);
        let paths: Vec<_> = self.slab.cells(e).map(|c| self.path(&c)).collect();
        (!paths.is_empty()).then_some(Route {
            key: entry.key,
            best: entry.flags & TOLD != 0,
            paths,
        })
    }

    /// One prefix.
    #[must_use]
    pub fn get(&self, key: K) -> Option<Route<K>> {
        self.route(self.tree.get(key)?)
    }

    /// The best path of a prefix, as the last drain left it.
    #[must_use]
    pub fn best(&self, key: K) -> Option<Path> {
        let e = self.tree.get(key)?;
        let told = self.slab.get(e).flags & TOLD != 0;
        self.slab.first(e).filter(|_| told).map(|c| self.path(&c))
    }

    /// The longest prefix that covers `key` (give an address as a host prefix), is itself or shorter, and for which `want`
    /// holds.
    #[must_use]
    pub fn longest(&self, key: K, mut want: impl FnMut(&Route<K>) -> bool) -> Option<Route<K>> {
        let mut at = key;
        loop {
            let e = self.tree.at_or_before(at)?;
            let found = self.slab.get(e).key;
            if !found.covers(key) {
                // What covers the key and stands before this one covers this one too.
                at = found.meet(key)?;
                continue;
            }
            if let Some(route) = self.route(e).filter(|r| want(r)) {
                return Some(route);
            }
            at = found.shorter()?;
        }
    }

    /// Prefixes in order, from `from` on (`None`: from the first), at most `most` looked at, so that no call is long. Those
    /// for which `each` was called may be fewer: it gets those that have paths. Where to go on; `None`: that was all.
    pub fn walk(
        &self,
        from: Option<Cursor<K>>,
        most: usize,
        mut each: impl FnMut(Route<K>),
    ) -> Option<Cursor<K>> {
        self.walk_entries(from, most, |e| {
            if let Some(r) = self.route(e) {
                each(r);
            }
            true
        })
    }

    /// The walk of all that is `key` or within it.
    #[must_use]
    pub fn cursor(key: K) -> Cursor<K> {
        Cursor(key)
    }

    /// As [`Table::walk`], of `key` and the prefixes within it.
    pub fn longer(
        &self,
        key: K,
        from: Option<Cursor<K>>,
        most: usize,
        mut each: impl FnMut(Route<K>),
    ) -> Option<Cursor<K>> {
        let from = from.unwrap_or(Cursor(key));
        self.walk_entries(Some(from), most, |e| {
            if !key.covers(self.slab.get(e).key) {
                return false;
            }
            if let Some(r) = self.route(e) {
                each(r);
            }
            true
        })
    }

    /// Calls `each` for entries in order until it answers false.
    pub(super) fn walk_entries(
        &self,
        from: Option<Cursor<K>>,
        most: usize,
        mut each: impl FnMut(u32) -> bool,
    ) -> Option<Cursor<K>> {
        let order = from.map_or(K::Order::default(), |Cursor(k)| k.order());
        let mut place = self.tree.seek(order);
        for _ in 0..most {
            let (e, next) = self.tree.next(place)?;
            if !each(e) {
                return None;
            }
            place = next;
        }
        let (e, _) = self.tree.next(place)?;
        Some(Cursor(self.slab.get(e).key))
    }

    /// Every path of a prefix with what became of it in the decision: as it would be made now.
    pub fn explain(&self, common: &mut Common, key: K) -> Vec<(Path, Fate)> {
        let Some(e) = self.tree.get(key) else {
            return Vec::new();
        };
        let (mut all, mut out) = (Vec::new(), Vec::new());
        for (at, c) in self.slab.cells(e).enumerate() {
            let fate = match self.candidate(common, at, &c) {
                Ok(c) => {
                    all.push(c);
                    Fate::Best
                }
                Err(fate) => fate,
            };
            out.push((self.path(&c), fate));
        }
        let fates = decision::explain(&all, &common.store, &common.peers, &common.options);
        for (c, fate) in all.iter().zip(fates) {
            out[c.at as usize].1 = fate;
        }
        out
    }

    /// The prefix that holds an address or prefix, whatever its family: `None` if it is of another.
    #[must_use]
    pub fn key(net: IpNet) -> Option<K> {
        K::from_net(net)
    }
}
