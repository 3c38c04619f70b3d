//! The tables of all VRFs: the nodes of IPv6 below a root for each VRF and family, in one store of lines.
//!
//! To read: [`super`] for the nodes, [`super::write`] for how they change; RFC 4364 3 for what a VRF is. A VRF has a thousand
//! routes more often than a million, and there are a thousand VRFs, so none has an index of its own: 4 bytes name the node of
//! all its addresses, which is a group, a tree or a page as the prefixes want it. Windows are the bits 0 to 32, 32 to 64 and
//! so on, and IPv4 is the first of them. There is no short table: a default route is an interval like any other. A VRF without
//! prefixes has nothing here, so there is nothing to create or to remove.
//!
//! Left out: lookups of whole bursts at once. The list of a VRF's prefixes is a tree of the standard library's, as the
//! shelves of [`super::rib`] take 4 KiB before they hold anything.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::{GroupId, Ip4Prefix, Ip6Prefix, VrfId};

use super::node::{self, Entry, Gone};
use super::rib::{Found, Key, List, below};
use super::runs::Runs;
use super::write::{Replicas6, Staged, Writer6, total_lines};
use super::{INDEX_PAGE, Table6};
use crate::FibError;
use crate::ahead::Ahead;
use crate::short::Short;

/// Roots: one for each VRF and family.
const ROOTS: usize = 2 << 16;

/// Where the prefixes of a VRF in one family begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Root(u32);

impl Root {
    #[inline]
    pub(crate) fn v4(vrf: VrfId) -> Self {
        Self(u32::from(vrf.0) << 1)
    }

    #[inline]
    pub(crate) fn v6(vrf: VrfId) -> Self {
        Self(u32::from(vrf.0) << 1 | 1)
    }

    fn is_v4(self) -> bool {
        self.0 & 1 == 0
    }
}

/// An IPv4 prefix as one of 128 bits.
pub(crate) fn widened(p: Ip4Prefix) -> Ip6Prefix {
    // A length that IPv4 has, IPv6 has too.
    Ip6Prefix::new(wide(p.addr()), p.len()).unwrap_or(Ip6Prefix::DEFAULT)
}

#[inline]
fn wide(addr: u32) -> u128 {
    u128::from(addr) << 96
}

impl Table6 {
    /// An empty table of VRFs with room for so many lines.
    pub(crate) fn of_vrfs(lines: usize, node: Option<u32>) -> io::Result<Self> {
        let table = Self {
            index: HugeSlice::zeroed(ROOTS, Backing::Small, node)?,
            lines: HugeSlice::zeroed(total_lines(lines), Backing::Merged, node)?,
            short: Short::new(0),
            #[cfg(target_arch = "x86_64")]
            vector: false,
        };
        table.lines[0].fill(&node::DUMMY);
        table.index.populate(0..ROOTS, false);
        Ok(table)
    }

    /// The group of the longest IPv4 prefix of a VRF that covers `dst`.
    #[inline]
    pub(crate) fn vrf_lookup4(&self, vrf: VrfId, dst: u32) -> GroupId {
        self.below_root(Root::v4(vrf), wide(dst))
    }

    /// The group of the longest IPv6 prefix of a VRF that covers `dst`.
    #[inline]
    pub(crate) fn vrf_lookup6(&self, vrf: VrfId, dst: u128) -> GroupId {
        self.below_root(Root::v6(vrf), dst)
    }

    #[inline]
    fn below_root(&self, root: Root, dst: u128) -> GroupId {
        // Acquire: pairs with the Release store in `Replicas6::store`; the node or group named was filled before.
        let entry = Entry(self.index[root.0 as usize].load(Ordering::Acquire));
        GroupId(self.follow(entry, 0, dst))
    }
}

/// The prefixes of one VRF and family, in order.
#[derive(Debug, Default)]
pub(crate) struct Prefixes(BTreeMap<Key, GroupId>);

impl List for Prefixes {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, p: Ip6Prefix) -> Option<GroupId> {
        self.0.get(&Key::new(p.addr(), p.len())).copied()
    }

    fn put(&mut self, p: Ip6Prefix, group: Option<GroupId>) -> Option<GroupId> {
        let key = Key::new(p.addr(), p.len());
        match group {
            Some(group) => self.0.insert(key, group),
            None => self.0.remove(&key),
        }
    }

    fn cover(&self, addr: u128, len: u32) -> Option<(u32, GroupId)> {
        let mut len = len;
        loop {
            // No prefix after this place is longer and covers the address.
            let bound = Key::new(addr & !below(len), len as u8);
            let (key, &group) = self.0.range(..=bound).next_back()?;
            let same = (key.addr() ^ addr).leading_zeros();
            if u32::from(key.len) <= same {
                return Some((key.len.into(), group));
            }
            // What covers the address and comes before this one covers this one, too; each round it is shorter.
            len = same;
        }
    }

    fn inside(&self, base: u128, len: u32, found: &mut Vec<Found>) {
        found.extend(self.range(base, len).map(|(key, &group)| Found {
            first: key.addr(),
            last: key.last(),
            len: key.len.into(),
            group,
        }));
    }

    fn count_inside(&self, base: u128, len: u32) -> usize {
        self.range(base, len).count()
    }

    /// The standard library's nodes have 11 entries and are two thirds full.
    fn bytes(&self) -> usize {
        self.0.len() * (size_of::<Key>() + size_of::<GroupId>()) * 3 / 2
    }
}

impl Prefixes {
    /// Those longer than `len` inside the block of that length at `base`.
    fn range(&self, base: u128, len: u32) -> impl Iterator<Item = (&Key, &GroupId)> {
        let block = Key::new(base, len as u8);
        let last = Key::new(base | below(len), u8::MAX);
        let after = (
            std::ops::Bound::Excluded(block),
            std::ops::Bound::Included(last),
        );
        self.0.range(after)
    }
}

/// A prefix of a VRF that changes: what it had, and what it gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Changed {
    root: Root,
    prefix: Ip6Prefix,
    pub(crate) old: Option<GroupId>,
    pub(crate) new: Option<GroupId>,
}

/// The writer's side of all VRFs: stage, prepare, then commit or abort, as [`super::write`] says.
pub(crate) struct VrfWriter {
    nodes: Writer6<Prefixes>,
    lists: HashMap<Root, Prefixes>,
    staged: Vec<Changed>,
    /// Prefixes of both families.
    len: [usize; 2],
}

impl VrfWriter {
    pub(crate) fn new(lines: usize, ahead: Ahead) -> Self {
        let runs = Runs::new("line of the VRF tables", lines, total_lines(lines));
        let mut nodes = Writer6::over(Prefixes::default(), runs, ahead);
        nodes.index_pages_of(ROOTS / INDEX_PAGE);
        Self {
            nodes,
            lists: HashMap::new(),
            staged: Vec::new(),
            len: [0; 2],
        }
    }

    /// The group that a prefix itself points to.
    pub(crate) fn get(&self, root: Root, p: Ip6Prefix) -> Option<GroupId> {
        self.lists.get(&root)?.get(p)
    }

    /// How many prefixes a VRF has in one family.
    pub(crate) fn len(&self, root: Root) -> usize {
        self.lists.get(&root).map_or(0, List::len)
    }

    /// How many IPv4 and IPv6 prefixes all VRFs have.
    pub(crate) fn total(&self) -> usize {
        self.len[0] + self.len[1]
    }

    /// Sets or removes a prefix in the list of its VRF, and returns what it had. Readers see it after
    /// [`VrfWriter::commit`].
    pub(crate) fn stage(
        &mut self,
        root: Root,
        prefix: Ip6Prefix,
        new: Option<GroupId>,
    ) -> Option<GroupId> {
        let old = self.put(root, prefix, new);
        self.staged.push(Changed {
            root,
            prefix,
            old,
            new,
        });
        old
    }

    /// What changes, each prefix as often as it was staged.
    pub(crate) fn staged(&self) -> &[Changed] {
        &self.staged
    }

    /// Makes ready what was staged.
    ///
    /// # Errors
    /// No room; [`VrfWriter::abort`] is next. Removals alone may take three times the room that the tables have.
    pub(crate) fn prepare(&mut self, t: Replicas6<'_>) -> Result<(), FibError> {
        let mut order: Vec<u32> = (0..self.staged.len() as u32).collect();
        // Stable: of several changes to one prefix the last counts.
        order.sort_by_key(|&at| self.staged[at as usize].root);
        self.nodes.plan.urgent = self.staged.iter().all(|s| s.new.is_none());
        for of_root in
            order.chunk_by(|&a, &b| self.staged[a as usize].root == self.staged[b as usize].root)
        {
            let root = self.staged[of_root[0] as usize].root;
            let changes = of_root.iter().map(|&at| self.staged[at as usize]);
            self.nodes.staged.extend(changes.map(|c| Staged {
                prefix: c.prefix,
                old: c.old,
                new: c.new,
            }));
            // The list is lent to the painter, and comes back whatever happens.
            self.nodes.rib = self.lists.remove(&root).unwrap_or_default();
            let done = self.nodes.prepare_root(t, root.0 as usize);
            let list = std::mem::take(&mut self.nodes.rib);
            if list.len() > 0 {
                self.lists.insert(root, list);
            }
            self.nodes.staged.clear();
            done?;
        }
        Ok(())
    }

    /// Shows readers what [`VrfWriter::prepare`] made ready.
    pub(crate) fn commit(&mut self, t: Replicas6<'_>) {
        self.nodes.commit(t);
        self.clear_staged();
    }

    /// Takes back what was staged and made ready.
    pub(crate) fn abort(&mut self) {
        self.nodes.abort_nodes();
        for at in (0..self.staged.len()).rev() {
            let c = self.staged[at];
            self.put(c.root, c.prefix, c.old);
        }
        self.clear_staged();
    }

    /// What the last changes left.
    pub(crate) fn gone(&mut self) -> Option<Gone> {
        self.nodes.gone.pop()
    }

    /// Takes back what no reader can be at any more.
    pub(crate) fn release(&mut self, gone: Gone) {
        self.nodes.release(gone);
    }

    /// Lines that are in use.
    pub(crate) fn in_use(&self) -> usize {
        self.nodes.in_use()
    }

    /// Bytes that lookups use (in one replica), and that only the writer uses.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let (lookup, update) = self.nodes.bytes();
        let lists: usize = self.lists.values().map(List::bytes).sum();
        let names = self.lists.capacity() * size_of::<(Root, Prefixes)>();
        (lookup, update + lists + names)
    }

    fn put(&mut self, root: Root, p: Ip6Prefix, group: Option<GroupId>) -> Option<GroupId> {
        let old = match group {
            Some(_) => self.lists.entry(root).or_default().put(p, group),
            None => {
                let list = self.lists.get_mut(&root)?;
                let old = list.put(p, None);
                if list.len() == 0 {
                    self.lists.remove(&root);
                }
                old
            }
        };
        let len = &mut self.len[usize::from(root.is_v4())];
        *len += usize::from(group.is_some());
        *len -= usize::from(old.is_some());
        old
    }

    fn clear_staged(&mut self) {
        self.staged.clear();
        self.staged.shrink_to(1024);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// What covers, and what lies inside, as found by looking at all of them.
        #[test]
        fn a_list_equals_the_obvious(
            ops in prop::collection::vec((any::<u8>(), 0u8..=12, any::<bool>()), 1..120),
            probes in prop::collection::vec((any::<u8>(), 0u32..=12), 1..40),
        ) {
            let mut list = Prefixes::default();
            let mut plain = BTreeMap::new();
            let addr = |n: u8| u128::from(n) << 116;
            for (i, &(n, len, add)) in ops.iter().enumerate() {
                let p = Ip6Prefix::new(addr(n), len).unwrap();
                let group = add.then_some(GroupId(i as u32 + 1));
                let old = match group {
                    Some(group) => plain.insert(p, group),
                    None => plain.remove(&p),
                };
                prop_assert_eq!(list.put(p, group), old);
            }
            for (n, len) in probes {
                let base = addr(n) & !below(len);
                let covers = plain.iter().filter(|(p, _)| u32::from(p.len()) <= len && base & p.mask() == p.addr());
                let right = covers.max_by_key(|(p, _)| p.len()).map(|(p, &g)| (u32::from(p.len()), g));
                prop_assert_eq!(list.cover(base, len), right);
                let inside = plain.iter().filter(|(p, _)| u32::from(p.len()) > len && p.addr() & !below(len) == base);
                let right: Vec<_> = inside.map(|(p, &g)| (p.addr(), p.last(), g)).collect();
                let mut found = Vec::new();
                list.inside(base, len, &mut found);
                prop_assert_eq!(list.count_inside(base, len), right.len());
                prop_assert_eq!(found.iter().map(|f| (f.first, f.last, f.group)).collect::<Vec<_>>(), right);
            }
        }
    }
}
