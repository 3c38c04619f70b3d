//! The index of a table: keys in order, each with the number of its entry.
//!
//! A B+ tree of three levels: leaves of [`LEAF`] slots, nodes of [`NODE`] leaves, and one run of nodes that grows. Growing
//! never moves more than a node, and the order that pages, longest matches and longer prefixes need is there.

use super::chunks::Chunks;
use super::key::Key;

/// With length and next leaf four cache lines for IPv4: what a key costs is mostly waiting for these.
const LEAF: usize = 31;
const NODE: usize = 64;
const NIL: u32 = u32::MAX;

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Leaf<K: Key> {
    slots: [K::Slot; LEAF],
    len: u32,
    next: u32,
}

impl<K: Key> Default for Leaf<K> {
    fn default() -> Self {
        Self {
            slots: [K::VACANT; LEAF],
            len: 0,
            next: NIL,
        }
    }
}

impl<K: Key> Leaf<K> {
    fn slots(&self) -> &[K::Slot] {
        &self.slots[..self.len as usize]
    }

    /// Where `o` stands, or would.
    #[inline]
    fn search(&self, o: K::Order) -> (usize, bool) {
        let at = K::rank(&self.slots, o);
        let found = self.slots.get(at).is_some_and(|s| K::slot_order(*s) == o);
        (at, found)
    }

    /// Only so many stay.
    fn cut(&mut self, len: usize) {
        self.slots[len..self.len as usize].fill(K::VACANT);
        self.len = len as u32;
    }

    fn put(&mut self, at: usize, slot: K::Slot) {
        let len = self.len as usize;
        self.slots.copy_within(at..len, at + 1);
        self.slots[at] = slot;
        self.len += 1;
    }
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Node<K: Key> {
    /// The least key of each leaf; that of the very first leaf counts as less than any. Behind `len`, [`Key::LAST`].
    least: [K::Order; NODE],
    leaves: [u32; NODE],
    len: u32,
}

impl<K: Key> Default for Node<K> {
    fn default() -> Self {
        Self {
            least: [K::LAST; NODE],
            leaves: [0; NODE],
            len: 0,
        }
    }
}

impl<K: Key> Node<K> {
    #[inline]
    fn child(&self, o: K::Order) -> usize {
        K::upto(&self.least, o).saturating_sub(1)
    }

    fn put(&mut self, at: usize, least: K::Order, leaf: u32) {
        let len = self.len as usize;
        self.least.copy_within(at..len, at + 1);
        self.leaves.copy_within(at..len, at + 1);
        (self.least[at], self.leaves[at]) = (least, leaf);
        self.len += 1;
    }

    fn take(&mut self, at: usize) {
        let len = self.len as usize;
        self.least.copy_within(at + 1..len, at);
        self.leaves.copy_within(at + 1..len, at);
        self.least[len - 1] = K::LAST;
        self.len -= 1;
    }
}

/// The way down to a leaf.
#[derive(Clone, Copy, Debug)]
struct Way {
    root: usize,
    node: u32,
    child: usize,
    leaf: u32,
}

/// A place in the order: before a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    leaf: u32,
    at: usize,
}

/// Keys in order.
#[derive(Debug)]
pub(super) struct Tree<K: Key> {
    leaves: Chunks<Leaf<K>, 16>,
    nodes: Chunks<Node<K>, 4>,
    free_leaves: Vec<u32>,
    free_nodes: Vec<u32>,
    root: Vec<(K::Order, u32)>,
    /// The leaf of the last question: neighbours in order are asked for one after the other.
    finger: u32,
    len: usize,
}

impl<K: Key> Tree<K> {
    pub(super) fn new() -> Self {
        let mut t = Self {
            leaves: Chunks::new(),
            nodes: Chunks::new(),
            free_leaves: Vec::new(),
            free_nodes: Vec::new(),
            root: Vec::new(),
            finger: 0,
            len: 0,
        };
        let leaf = t.leaves.push(Leaf::default());
        let mut node = Node::default();
        node.put(0, K::Order::default(), leaf);
        let node = t.nodes.push(node);
        t.root.push((K::Order::default(), node));
        t
    }

    /// How many keys there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn descend(&self, o: K::Order) -> Way {
        let root = self
            .root
            .partition_point(|(l, _)| *l <= o)
            .saturating_sub(1);
        let node = self.root[root].1;
        let n = self.nodes.get(node);
        let child = n.child(o);
        Way {
            root,
            node,
            child,
            leaf: n.leaves[child],
        }
    }

    /// The finger's leaf, if `o` stands between its first and last.
    #[inline]
    fn near(&self, o: K::Order) -> Option<u32> {
        let slots = self.leaves.get(self.finger).slots();
        let (first, last) = (slots.first()?, slots.last()?);
        (K::slot_order(*first) <= o && o <= K::slot_order(*last)).then_some(self.finger)
    }

    /// The leaf in which a key is, or would be.
    #[inline]
    pub(super) fn leaf_of(&self, key: K) -> u32 {
        self.descend(key.order()).leaf
    }

    /// The entry of a key that is in that leaf or nowhere.
    #[inline]
    pub(super) fn get_in(&self, leaf: u32, key: K) -> Option<u32> {
        let l = self.leaves.get(leaf);
        let (at, found) = l.search(key.order());
        found.then(|| K::slot_entry(l.slots[at]))
    }

    /// The next question will be for a key that was in that leaf, when [`Tree::leaf_of`] was asked.
    #[inline]
    pub(super) fn point(&mut self, leaf: u32) {
        self.finger = leaf;
    }

    /// The entry of a key.
    pub(super) fn find(&mut self, key: K) -> Option<u32> {
        let o = key.order();
        let leaf = self.near(o).unwrap_or_else(|| self.descend(o).leaf);
        self.finger = leaf;
        let l = self.leaves.get(leaf);
        let (at, found) = l.search(o);
        found.then(|| K::slot_entry(l.slots[at]))
    }

    /// The same without remembering where it was.
    pub(super) fn get(&self, key: K) -> Option<u32> {
        self.get_in(self.leaf_of(key), key)
    }

    /// The entry of a key; a new key gets the one that `new` gives.
    pub(super) fn find_or_insert(&mut self, key: K, new: impl FnOnce() -> u32) -> u32 {
        let o = key.order();
        let leaf = match self.near(o) {
            Some(leaf) => leaf,
            None => self.descend(o).leaf,
        };
        self.finger = leaf;
        let l = self.leaves.get_mut(leaf);
        let (at, found) = l.search(o);
        if found {
            return K::slot_entry(l.slots[at]);
        }
        let entry = new();
        self.len += 1;
        if (l.len as usize) < LEAF {
            l.put(at, key.slot(entry));
        } else {
            self.split(o, key.slot(entry), at);
        }
        entry
    }

    /// Puts a slot into a full leaf, at `at`.
    #[cold]
    fn split(&mut self, o: K::Order, slot: K::Slot, at: usize) {
        let way = self.descend(o);
        let leaf = self.leaves.get(way.leaf);
        let next = leaf.next;
        if at == LEAF {
            // Behind all of it: keys come in order. The full leaf stays full.
            let mut fresh = Leaf {
                next,
                ..Leaf::default()
            };
            fresh.put(0, slot);
            self.finger = self.link(way, o, fresh);
            return;
        }
        if self.lend(way, o, slot, at) {
            return;
        }
        let half = LEAF / 2;
        let mut fresh = Leaf {
            next,
            ..Leaf::default()
        };
        let leaf = self.leaves.get_mut(way.leaf);
        fresh.slots[..LEAF - half].copy_from_slice(&leaf.slots[half..]);
        fresh.len = (LEAF - half) as u32;
        leaf.cut(half);
        if at <= half {
            leaf.put(at, slot);
        } else {
            fresh.put(at - half, slot);
        }
        let least = K::slot_order(fresh.slots[0]);
        self.link(way, least, fresh);
    }

    /// Puts a slot into a full leaf by giving some of its last to the next leaf under the same node, if that has room:
    /// leaves are fuller for it.
    fn lend(&mut self, way: Way, _o: K::Order, slot: K::Slot, at: usize) -> bool {
        let node = self.nodes.get(way.node);
        if way.child + 1 >= node.len as usize {
            return false;
        }
        let to = node.leaves[way.child + 1];
        let room = LEAF - self.leaves.get(to).len as usize;
        if room < LEAF / 8 {
            return false;
        }
        let give = room / 2;
        let keep = LEAF - give;
        let from = self.leaves.get_mut(way.leaf);
        let mut given = [K::Slot::default(); LEAF];
        given[..give].copy_from_slice(&from.slots[keep..]);
        from.cut(keep);
        let stays = at <= keep;
        if stays {
            from.put(at, slot);
        }
        let next = self.leaves.get_mut(to);
        let len = next.len as usize;
        next.slots.copy_within(..len, give);
        next.slots[..give].copy_from_slice(&given[..give]);
        next.len += give as u32;
        if !stays {
            next.put(at - keep, slot);
        }
        let least = K::slot_order(next.slots[0]);
        self.nodes.get_mut(way.node).least[way.child + 1] = least;
        true
    }

    /// Hangs a leaf in behind that of `way`; its number.
    fn link(&mut self, way: Way, least: K::Order, leaf: Leaf<K>) -> u32 {
        let id = match self.free_leaves.pop() {
            Some(id) => {
                *self.leaves.get_mut(id) = leaf;
                id
            }
            None => self.leaves.push(leaf),
        };
        self.leaves.get_mut(way.leaf).next = id;
        let node = self.nodes.get_mut(way.node);
        if (node.len as usize) < NODE {
            node.put(way.child + 1, least, id);
            return id;
        }
        // Keys that come in order leave full nodes behind.
        let half = if way.child + 1 == NODE {
            NODE
        } else {
            NODE / 2
        };
        let mut fresh = Node::default();
        let moved = NODE - half;
        fresh.least[..moved].copy_from_slice(&node.least[half..]);
        fresh.leaves[..moved].copy_from_slice(&node.leaves[half..]);
        fresh.len = moved as u32;
        node.least[half..].fill(K::LAST);
        node.len = half as u32;
        if way.child < half && half < NODE {
            node.put(way.child + 1, least, id);
        } else {
            fresh.put(way.child + 1 - half, least, id);
        }
        let first = fresh.least[0];
        let fresh = match self.free_nodes.pop() {
            Some(n) => {
                *self.nodes.get_mut(n) = fresh;
                n
            }
            None => self.nodes.push(fresh),
        };
        self.root.insert(way.root + 1, (first, fresh));
        id
    }

    /// Takes a key out; its entry.
    pub(super) fn remove(&mut self, key: K) -> Option<u32> {
        let o = key.order();
        let way = self.descend(o);
        let l = self.leaves.get_mut(way.leaf);
        let (at, found) = l.search(o);
        if !found {
            return None;
        }
        let entry = K::slot_entry(l.slots[at]);
        let len = l.len as usize;
        l.slots.copy_within(at + 1..len, at);
        l.cut(len - 1);
        self.len -= 1;
        if (l.len as usize) < LEAF / 4 {
            self.merge(way);
        }
        Some(entry)
    }

    /// A leaf with few slots takes in the next one under its node, or goes when it is empty.
    fn merge(&mut self, way: Way) {
        let node = self.nodes.get(way.node);
        let last = way.child + 1 >= node.len as usize;
        if !last {
            let other = node.leaves[way.child + 1];
            let b = self.leaves.get(other).clone();
            let a = self.leaves.get_mut(way.leaf);
            let (n, m) = (a.len as usize, b.len as usize);
            if n + m > LEAF * 3 / 4 {
                return;
            }
            a.slots[n..n + m].copy_from_slice(b.slots());
            (a.len, a.next) = ((n + m) as u32, b.next);
            self.nodes.get_mut(way.node).take(way.child + 1);
            self.drop_leaf(other);
        } else if way.child > 0 {
            let before = node.leaves[way.child - 1];
            let b = self.leaves.get(way.leaf).clone();
            let a = self.leaves.get_mut(before);
            let (n, m) = (a.len as usize, b.len as usize);
            if n + m > LEAF * 3 / 4 {
                return;
            }
            a.slots[n..n + m].copy_from_slice(b.slots());
            (a.len, a.next) = ((n + m) as u32, b.next);
            self.nodes.get_mut(way.node).take(way.child);
            self.drop_leaf(way.leaf);
        } else if self.leaves.get(way.leaf).len == 0 && way.root > 0 {
            // The only leaf of a node that is not the first.
            let before = self.root[way.root - 1].1;
            let b = self.nodes.get(before);
            let before = b.leaves[b.len as usize - 1];
            self.leaves.get_mut(before).next = self.leaves.get(way.leaf).next;
            self.root.remove(way.root);
            self.free_nodes.push(way.node);
            self.drop_leaf(way.leaf);
        }
    }

    fn drop_leaf(&mut self, leaf: u32) {
        *self.leaves.get_mut(leaf) = Leaf::default();
        self.free_leaves.push(leaf);
    }

    /// The entry of the greatest key that is `key` or less.
    pub(super) fn at_or_before(&self, key: K) -> Option<u32> {
        let o = key.order();
        let way = self.descend(o);
        let l = self.leaves.get(way.leaf);
        let n = l.slots().partition_point(|s| K::slot_order(*s) <= o);
        if n > 0 {
            return Some(K::slot_entry(l.slots[n - 1]));
        }
        // A leaf's least key in its node may be greater than what was put in before it only in the very first leaf; but
        // removals leave leaves whose first key is greater than their least.
        let (mut root, mut child) = (way.root, way.child);
        loop {
            if child == 0 {
                root = root.checked_sub(1)?;
                child = self.nodes.get(self.root[root].1).len as usize;
            }
            child -= 1;
            let leaf = self.nodes.get(self.root[root].1).leaves[child];
            if let Some(s) = self.leaves.get(leaf).slots().last() {
                return Some(K::slot_entry(*s));
            }
            if child == 0 && root == 0 {
                return None;
            }
        }
    }

    /// Before the first key that is `o` or more.
    pub(super) fn seek(&self, o: K::Order) -> Place {
        let leaf = self.descend(o).leaf;
        let (at, _) = self.leaves.get(leaf).search(o);
        Place { leaf, at }
    }

    /// The entry at a place, and the place behind it.
    pub(super) fn next(&self, mut p: Place) -> Option<(u32, Place)> {
        loop {
            let l = self.leaves.get(p.leaf);
            if let Some(s) = l.slots().get(p.at) {
                p.at += 1;
                return Some((K::slot_entry(*s), p));
            }
            if l.next == NIL {
                return None;
            }
            p = Place {
                leaf: l.next,
                at: 0,
            };
        }
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.leaves.memory()
            + self.nodes.memory()
            + self.root.capacity() * size_of::<(K::Order, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::V4;
    use super::*;
    use ipnet::Ipv4Net;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key(n: u32) -> V4 {
        // Dense, so that prefixes cover one another and keys meet again.
        let len = 16 + (n % 17) as u8;
        V4::from(Ipv4Net::new_assert(
            std::net::Ipv4Addr::from_bits(n << 12),
            len,
        ))
    }

    fn check(ops: impl IntoIterator<Item = (bool, u32)>, ask: &[u32]) {
        let mut tree = Tree::<V4>::new();
        let mut model = BTreeMap::new();
        let ops: Vec<_> = ops.into_iter().enumerate().collect();
        // By lots, as a table does: where a key stands is asked before the others of its lot are put in.
        for lot in ops.chunks(8) {
            let leaves: Vec<_> = lot.iter().map(|o| tree.leaf_of(key(o.1.1))).collect();
            for ((i, (put, n)), leaf) in lot.iter().zip(leaves) {
                let (i, k) = (*i as u32, key(*n));
                tree.point(leaf);
                if *put {
                    let e = *model.entry(k.order()).or_insert(i);
                    assert_eq!(tree.find_or_insert(k, || i), e);
                } else {
                    assert_eq!(tree.find(k), model.get(&k.order()).copied());
                    assert_eq!(tree.remove(k), model.remove(&k.order()));
                }
            }
        }
        assert_eq!(tree.len(), model.len());
        for n in ask {
            let k = key(*n);
            assert_eq!(tree.find(k), model.get(&k.order()).copied());
            assert_eq!(tree.get(k), model.get(&k.order()).copied());
            let before = model.range(..=k.order()).next_back().map(|(_, e)| *e);
            assert_eq!(tree.at_or_before(k), before);
            let mut place = tree.seek(k.order());
            for (_, e) in model.range(k.order()..) {
                let (found, next) = tree.next(place).unwrap();
                assert_eq!(found, *e);
                place = next;
            }
            assert!(tree.next(place).is_none());
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map_in_order(
            ops in prop::collection::vec((prop::bool::weighted(0.6), 0u32..3000), 0..4000),
            ask in prop::collection::vec(0u32..3000, 1..10),
        ) {
            check(ops, &ask);
        }
    }

    #[test]
    fn it_grows_and_shrinks_in_any_direction() {
        let up = || (0..60_000).map(|n| (true, n));
        let gone = |step: usize| (0..60_000).step_by(step).map(|n| (false, n));
        check(up(), &[0, 59_000]);
        check(up().rev(), &[0, 59_000]);
        check(up().chain(gone(1)), &[0]);
        check(up().chain(gone(1).rev()), &[0]);
        check(up().chain(gone(2)).chain(up()).chain(gone(3)), &[0, 59_990]);
        let shuffled = (0..60_000u32).map(|n| (true, n.wrapping_mul(7919) % 60_000));
        check(shuffled.chain(gone(5)), &[17, 59_990]);
    }
}
