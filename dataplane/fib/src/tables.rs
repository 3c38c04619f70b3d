//! The tables as workers see them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use net::{AdjId, GroupId, Label, VrfId};
use rcu::{Domain, Reader};

use crate::lfib::Lfib;
use crate::v4::Table4;
use crate::v6::Table6;
use crate::{Adjacency, Express, Group, LabelEntry};
#[cfg(doc)]
use crate::{LabelOp, TtlMode};

/// How much fits. Tables are mapped at full size and cost memory as they fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Words of 8 bytes for the lines of the IPv4 table, at most 2^27. A table of a million routes takes some 400,000,
    /// the worst one 8.6 million, and for a moment as much again while it is replaced.
    pub words4: usize,
    /// Blocks of 256 addresses that hold IPv4 prefixes longer than 24 bits; 1 KiB each.
    pub tbl8: usize,
    /// Lines of 64 bytes of which the IPv6 table is made, besides its index.
    pub nodes6: usize,
    /// Lines of 64 bytes of which the tables of all VRFs are made. A VRF with a thousand routes of each family takes some
    /// 700.
    pub vrf_lines: usize,
    /// Next-hop groups, at most 2^28 - 1.
    pub groups: usize,
    /// Adjacencies.
    pub adjacencies: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            words4: 1 << 24,
            tbl8: 1 << 17,
            nodes6: 1 << 20,
            vrf_lines: 1 << 20,
            groups: 1 << 17,
            adjacencies: 1 << 17,
        }
    }
}

/// One replica of all forwarding tables, on one NUMA node. Workers look into it through [`Tables::read`]; only the
/// [`crate::FibWriter`] changes it.
pub struct Tables {
    pub(crate) v4: Table4,
    pub(crate) v6: Table6,
    /// Of all VRFs, IPv4 too.
    pub(crate) vrfs: Table6,
    pub(crate) labels: Lfib,
    pub(crate) groups: rcu::Table<Group>,
    pub(crate) adjs: rcu::Table<Adjacency>,
    /// By group: the word of [`Express`], where the group is no more than that; else 0.
    express: Box<[AtomicU64]>,
    pub(crate) node: u32,
}

impl Tables {
    pub(crate) fn new(
        sizes: &Sizes,
        node: u32,
        place: Option<u32>,
        domain: &Domain,
    ) -> io::Result<Self> {
        Ok(Self {
            v4: Table4::new(sizes.words4, sizes.tbl8, place)?,
            v6: Table6::new(sizes.nodes6, place)?,
            vrfs: Table6::of_vrfs(sizes.vrf_lines, place)?,
            labels: Lfib::new(place)?,
            // Group 0 is "no route": its slot stays empty.
            groups: rcu::Table::new(domain, sizes.groups + 1),
            adjs: rcu::Table::new(domain, sizes.adjacencies),
            express: (0..=sizes.groups).map(|_| AtomicU64::new(0)).collect(),
            node,
        })
    }

    /// The tables as they can be read until `reader` reports. Once a burst.
    ///
    /// # Panics
    /// `reader` is offline, or of another domain than the writer.
    #[inline]
    pub fn read<'r>(&'r self, reader: &'r Reader) -> View<'r> {
        let guard = reader.guard();
        View {
            tables: self,
            groups: self.groups.read(guard),
            adjs: self.adjs.read(guard),
        }
    }

    /// Notes the short way of a group, or that there is none.
    pub(crate) fn set_express(&self, group: GroupId, way: Option<Express>) {
        // Release: pairs with the Acquire load in `View::express`; who finds the adjacency finds it complete.
        self.express[group.index()].store(Express::word(way), Ordering::Release);
    }

    /// The NUMA node that the replica was made for.
    pub fn node(&self) -> u32 {
        self.node
    }
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tables")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The tables under the protection of a reader: nothing that is found here is freed as long as this lives.
///
/// Ids found in a view are good in that view. Do not carry one over a report: it may then name something else.
#[derive(Clone, Copy)]
pub struct View<'r> {
    tables: &'r Tables,
    groups: rcu::View<'r, Group>,
    adjs: rcu::View<'r, Adjacency>,
}

impl<'r> View<'r> {
    /// The group of the longest IPv4 prefix that covers `dst` (host order); [`GroupId::NONE`] when none does.
    #[inline]
    pub fn lookup4(self, dst: u32) -> GroupId {
        self.tables.v4.lookup(dst)
    }

    /// [`View::lookup4`] of a burst: `out[i]` is for `dst[i]`. The shorter of the two says how many.
    #[inline]
    pub fn lookup4_burst(self, dst: &[u32], out: &mut [GroupId]) {
        self.tables.v4.lookup_burst(dst, out);
    }

    /// [`View::lookup4_burst`] by the path for CPUs without AVX-512, to be measured and compared.
    #[doc(hidden)]
    pub fn lookup4_burst_scalar(self, dst: &[u32], out: &mut [GroupId]) {
        self.tables.v4.lookup_burst_scalar(dst, out);
    }

    /// The group of the longest IPv6 prefix that covers `dst` (host order); [`GroupId::NONE`] when none does.
    #[inline]
    pub fn lookup6(self, dst: u128) -> GroupId {
        self.tables.v6.lookup(dst)
    }

    /// [`View::lookup6`] of a burst: `out[i]` is for `dst[i]`. The shorter of the two says how many.
    #[inline]
    pub fn lookup6_burst(self, dst: &[u128], out: &mut [GroupId]) {
        self.tables.v6.lookup_burst(dst, out);
    }

    /// [`View::lookup6_burst`] of addresses as they are in frames, without turning them into integers first.
    #[inline]
    pub fn lookup6_burst_bytes(self, dst: &[[u8; 16]], out: &mut [GroupId]) {
        self.tables.v6.lookup_burst(dst, out);
    }

    /// [`View::lookup6_burst_bytes`] without vector instructions, to be measured beside it.
    #[doc(hidden)]
    #[inline]
    pub fn lookup6_burst_bytes_scalar(self, dst: &[[u8; 16]], out: &mut [GroupId]) {
        self.tables.v6.lookup_burst_scalar(dst, out);
    }

    /// [`View::lookup6_burst`] without vector instructions, to be measured beside it.
    #[doc(hidden)]
    #[inline]
    pub fn lookup6_burst_scalar(self, dst: &[u128], out: &mut [GroupId]) {
        self.tables.v6.lookup_burst_scalar(dst, out);
    }

    /// [`View::lookup4`] in the table of a VRF; [`VrfId::GLOBAL`] is the global table.
    #[inline]
    pub fn lookup4_in(self, vrf: VrfId, dst: u32) -> GroupId {
        if vrf == VrfId::GLOBAL {
            return self.lookup4(dst);
        }
        self.tables.vrfs.vrf_lookup4(vrf, dst)
    }

    /// [`View::lookup6`] in the table of a VRF; [`VrfId::GLOBAL`] is the global table.
    #[inline]
    pub fn lookup6_in(self, vrf: VrfId, dst: u128) -> GroupId {
        if vrf == VrfId::GLOBAL {
            return self.lookup6(dst);
        }
        self.tables.vrfs.vrf_lookup6(vrf, dst)
    }

    /// Of the frames of `which`, a bit for each position, the groups that the labels on top of their stacks lead to;
    /// [`GroupId::NONE`] where that is no [`LabelOp::Forward`]. `tops` are entries of stacks in host order. Returns of which
    /// frames the entry says [`TtlMode::Pipe`]; other bits may be set, too.
    #[inline]
    pub fn labels_burst(self, tops: &[u32; 64], which: u64, out: &mut [GroupId; 64]) -> u64 {
        self.tables.labels.lookup_burst(tops, which, out)
    }

    /// The short ways, to be asked again and again.
    #[inline]
    pub fn ways(self) -> Ways<'r> {
        Ways {
            express: &self.tables.express,
            adjs: self.adjs,
        }
    }

    /// What is done with a labelled frame.
    #[inline]
    pub fn label(self, label: Label) -> LabelEntry {
        self.tables.labels.get(label)
    }

    /// Asks for a label's cache line, ahead of [`View::label`].
    #[inline]
    pub fn prefetch_label(self, label: Label) {
        crate::prefetch::prefetch(self.tables.labels.slot(label));
    }

    /// A group; `None` for [`GroupId::NONE`] and for ids that were never given out.
    #[inline]
    pub fn group(self, id: GroupId) -> Option<&'r Group> {
        self.groups.get(id.index())
    }

    /// The short way of a group that is one path to a neighbour, with one label at most. `None`: look at the group.
    #[inline]
    pub fn express(self, id: GroupId) -> Option<Express> {
        // Acquire: pairs with the Release store in `Tables::set_express`.
        Express::from_word(self.tables.express.get(id.index())?.load(Ordering::Acquire))
    }

    /// Asks for the cache line of [`View::express`].
    #[inline]
    pub fn prefetch_express(self, id: GroupId) {
        if let Some(word) = self.tables.express.get(id.index()) {
            crate::prefetch::prefetch(word);
        }
    }

    /// Asks for the cache line that leads to a group, ahead of [`View::group`].
    #[inline]
    pub fn prefetch_group(self, id: GroupId) {
        self.groups.prefetch(id.index());
    }

    /// An adjacency; `None` for ids that were never given out.
    #[inline]
    pub fn adj(self, id: AdjId) -> Option<&'r Adjacency> {
        self.adjs.get(id.index())
    }

    /// Asks for the cache line that leads to an adjacency, ahead of [`View::adj`].
    #[inline]
    pub fn prefetch_adj(self, id: AdjId) {
        self.adjs.prefetch(id.index());
    }
}

/// The short ways of groups: [`View::express`] and [`View::adj`] in one step, with nothing on the way but two tables.
#[derive(Clone, Copy)]
pub struct Ways<'r> {
    express: &'r [AtomicU64],
    adjs: rcu::View<'r, Adjacency>,
}

impl<'r> Ways<'r> {
    /// The short way of a group, and its neighbour, who may not be known yet. `None`: look at the group.
    #[inline(always)]
    pub fn short(self, id: GroupId) -> Option<(Express, &'r Adjacency)> {
        // Acquire: pairs with the Release store in `Tables::set_express`.
        let word = self.express.get(id.index())?.load(Ordering::Acquire);
        let way = Express::unasked(word);
        Some((way, self.adjs.get(way.adj().index())?))
    }
}

impl std::fmt::Debug for Ways<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ways").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("View").field(self.tables).finish()
    }
}
