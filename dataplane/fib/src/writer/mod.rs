//! The one writer of the forwarding tables, on the control thread: labels, memory and what waits for readers here;
//! prefixes in `prefixes4`, `prefixes6` and `vrfs`, groups and adjacencies in `hops`, batches in `apply`.

mod apply;
mod hops;
mod prefixes4;
mod prefixes6;
mod vrfs;

use std::collections::VecDeque;
use std::sync::Arc;

use net::{AdjId, GroupId, Label};
use rcu::Domain;

use crate::ahead::Pages;
use crate::slots::Slots;
use crate::v4::{self, Writer4};
use crate::v6::{self, VrfWriter, Writer6};
use crate::{Adjacency, FibError, Group, LabelEntry, NewError, Sizes, Tables};

/// Not given out, or removed.
const DEAD: u32 = u32::MAX;

/// Changes every replica alike, and frees what readers have left.
///
/// Each change is in force when the call returns and is seen by every address as one step: from one right answer to
/// the next. Numbers that went out of use (groups, adjacencies, parts of tables) are handed out again only after every
/// reader has reported, so an id that a reader holds stays good until then. Call [`FibWriter::flush`] regularly.
pub struct FibWriter {
    /// The first to be dropped, so that it looks at no page that is not there.
    _pages: Pages,
    replicas: Vec<Arc<Tables>>,
    rcu: rcu::Writer,
    sizes: Sizes,
    v4: Writer4,
    v6: Writer6,
    vrfs: VrfWriter,
    labels: usize,
    group_ids: Slots,
    /// Prefixes and labels that point to each group, or `DEAD`.
    group_users: Vec<u32>,
    adj_ids: Slots,
    /// Paths over each adjacency, or `DEAD`.
    adj_users: Vec<u32>,
    hops: hops::Hops,
    group_bytes: usize,
    unused: VecDeque<Unused>,
}

/// Something that readers may still be at, and the epoch from which they are not.
#[derive(Debug)]
struct Unused {
    epoch: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Part4(v4::Gone),
    Part6(v6::Gone),
    PartVrf(v6::Gone),
    Group(GroupId),
    Adj(AdjId),
}

/// Bytes in use. What the kernel has mapped for the tables is more, and costs nothing until used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// By what workers read, over all replicas.
    pub lookup: usize,
    /// By what only the writer needs.
    pub update: usize,
    /// Of `lookup`, one replica's IPv4 table.
    pub lookup4: usize,
    /// One replica's IPv6 table.
    pub lookup6: usize,
    /// One replica's label table.
    pub labels: usize,
    /// One replica's groups and adjacencies.
    pub hops: usize,
    /// Of `update`, for the IPv4 table.
    pub update4: usize,
    /// For the IPv6 table.
    pub update6: usize,
    /// One replica's tables of all VRFs.
    pub lookup_vrf: usize,
    /// Of `update`, for the tables of all VRFs.
    pub update_vrf: usize,
}

/// How much of a table is in use, of how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableUse {
    /// In use, what waits for readers included.
    pub in_use: usize,
    /// What fits.
    pub capacity: usize,
}

/// How full the tables are; they are the same in every replica. Units are those of [`Sizes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Words of 8 bytes for the lines of the IPv4 table.
    pub words4: TableUse,
    /// Blocks of IPv4 prefixes longer than 24 bits.
    pub long4: TableUse,
    /// Lines of 64 bytes of the IPv6 table.
    pub lines6: TableUse,
    /// Lines of 64 bytes of the tables of all VRFs.
    pub vrf_lines: TableUse,
    /// Next-hop groups.
    pub groups: TableUse,
    /// Adjacencies.
    pub adjacencies: TableUse,
}

impl FibWriter {
    /// Empty tables, a replica for each NUMA node (none given: one replica, wherever memory is).
    ///
    /// # Errors
    /// `domain` has a writer already, or there is no memory.
    pub fn new(nodes: &[u32], domain: &Arc<Domain>) -> Result<Self, NewError> {
        Self::with_sizes(nodes, domain, Sizes::default())
    }

    /// [`FibWriter::new`] with other capacities.
    ///
    /// # Errors
    /// As there.
    pub fn with_sizes(
        nodes: &[u32],
        domain: &Arc<Domain>,
        mut sizes: Sizes,
    ) -> Result<Self, NewError> {
        sizes.groups = sizes.groups.min((1 << 28) - 1); // what a label's entry can name
        sizes.nodes6 = sizes.nodes6.min(1 << 24);
        sizes.vrf_lines = sizes.vrf_lines.min(1 << 24);
        sizes.tbl8 = sizes.tbl8.min(1 << 24);
        sizes.words4 = sizes.words4.min(1 << 27); // what a signed 32-bit number of a byte can name
        let nodes = if nodes.is_empty() { &[0] } else { nodes };
        let place = |node: u32| Some(node).filter(|_| nodes.len() > 1);
        let replica = |&node: &u32| Tables::new(&sizes, node, place(node), domain).map(Arc::new);
        let rcu = domain.writer()?;
        let pages = Pages::new();
        Ok(Self {
            replicas: nodes.iter().map(replica).collect::<Result<_, _>>()?,
            rcu,
            sizes,
            v4: Writer4::new(sizes.words4, sizes.tbl8, pages.ahead())?,
            v6: Writer6::new(sizes.nodes6, pages.ahead()),
            vrfs: VrfWriter::new(sizes.vrf_lines, pages.ahead()),
            _pages: pages,
            labels: 0,
            group_ids: Slots::new("next-hop group", 1, sizes.groups),
            group_users: vec![DEAD],
            adj_ids: Slots::new("adjacency", 0, sizes.adjacencies),
            adj_users: Vec::new(),
            hops: hops::Hops::default(),
            group_bytes: 0,
            unused: VecDeque::new(),
        })
    }

    /// The replica for a NUMA node; the first one where that node has none.
    pub fn replica(&self, node: u32) -> Arc<Tables> {
        Arc::clone(
            self.replicas
                .iter()
                .find(|t| t.node == node)
                .unwrap_or(&self.replicas[0]),
        )
    }

    /// The writer of the domain, to publish other things with.
    pub fn rcu(&mut self) -> &mut rcu::Writer {
        &mut self.rcu
    }

    /// Adds a label, or changes it. [`LabelEntry::UNKNOWN`] removes it.
    ///
    /// # Errors
    /// No such group.
    pub fn set_label(&mut self, label: Label, entry: LabelEntry) -> Result<(), FibError> {
        if let Some(group) = entry.named() {
            self.check_group_id(group)?;
        }
        let old = self.get_label(label);
        self.replicas
            .iter()
            .for_each(|t| t.labels.set(label, entry));
        self.labels += usize::from(entry != LabelEntry::UNKNOWN);
        self.labels -= usize::from(old != LabelEntry::UNKNOWN);
        self.move_user(old.named(), entry.named());
        Ok(())
    }

    /// Removes a label. Returns whether it was there.
    pub fn del_label(&mut self, label: Label) -> bool {
        let known = self.get_label(label) != LabelEntry::UNKNOWN;
        // An unknown entry names no group, so this cannot be refused.
        let refused = self.set_label(label, LabelEntry::UNKNOWN);
        debug_assert!(refused.is_ok());
        known
    }

    /// A label's entry.
    pub fn get_label(&self, label: Label) -> LabelEntry {
        self.replicas[0].labels.get(label)
    }

    /// How many labels are known.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// Opens an epoch if something went out of use, and takes back what no reader can be at any more. Never blocks;
    /// cheap when there is nothing to do: once a loop of the control thread.
    pub fn flush(&mut self) {
        self.sweep4();
        if self.unused.is_empty() {
            self.rcu.reclaim();
            return;
        }
        if self
            .unused
            .back()
            .is_some_and(|u| u.epoch > self.rcu.epoch())
        {
            self.rcu.advance();
        }
        let completed = self.rcu.completed();
        while self.unused.front().is_some_and(|u| u.epoch <= completed) {
            let part4 = |ahead: usize| match self.unused.get(ahead)?.what {
                What::Part4(gone) => Some(gone),
                _ => None,
            };
            self.v4.prefetch_release(part4(8), part4(16));
            match self.unused.pop_front().map(|u| u.what) {
                Some(What::Part4(gone)) => self.v4.release(gone),
                Some(What::Part6(gone)) => self.v6.release(gone),
                Some(What::PartVrf(gone)) => self.vrfs.release(gone),
                Some(What::Group(id)) => {
                    self.group_bytes -= self.replicas[0]
                        .groups
                        .peek(&self.rcu, id.index())
                        .map_or(0, Group::bytes);
                    for t in &self.replicas {
                        t.groups
                            .publish_weighed(&mut self.rcu, id.index(), None, Group::bytes);
                    }
                    self.group_ids.give(id.0);
                }
                Some(What::Adj(id)) => {
                    self.replicas
                        .iter()
                        .for_each(|t| t.adjs.publish(&mut self.rcu, id.index(), None));
                    self.adj_ids.give(id.0);
                }
                None => {}
            }
        }
        self.rcu.reclaim();
    }

    /// How much waits for readers.
    pub fn pending(&self) -> usize {
        self.unused.len() + self.rcu.pending()
    }

    /// Bytes that wait for readers, over all replicas.
    pub fn pending_bytes(&self) -> usize {
        let unused = self.unused.iter().map(|u| match &u.what {
            What::Part4(gone) => self.v4.weight(*gone),
            What::Part6(gone) | What::PartVrf(gone) => gone.bytes(),
            What::Group(id) => {
                let group = self.replicas[0].groups.peek(&self.rcu, id.index());
                group.map_or(0, Group::bytes)
            }
            What::Adj(_) => size_of::<Adjacency>(),
        });
        unused.sum::<usize>() * self.replicas.len() + self.rcu.pending_bytes()
    }

    /// How full the tables are.
    pub fn usage(&self) -> Usage {
        let of = |in_use, capacity| TableUse { in_use, capacity };
        let (words, long) = self.v4.in_use();
        Usage {
            words4: of(words, self.sizes.words4),
            long4: of(long, self.sizes.tbl8),
            lines6: of(self.v6.in_use(), self.sizes.nodes6),
            vrf_lines: of(self.vrfs.in_use(), self.sizes.vrf_lines),
            groups: of(self.group_ids.in_use(), self.sizes.groups),
            adjacencies: of(self.adj_ids.in_use(), self.sizes.adjacencies),
        }
    }

    /// The NUMA nodes that have a replica.
    pub fn nodes(&self) -> impl Iterator<Item = u32> {
        self.replicas.iter().map(|t| t.node)
    }

    /// Bytes in use.
    pub fn memory(&self) -> Memory {
        let (lookup4, update4) = self.v4.bytes();
        let (lookup6, update6) = self.v6.bytes();
        let (lookup_vrf, update_vrf) = self.vrfs.bytes();
        let adjs = self.adj_ids.in_use() * size_of::<Adjacency>();
        let pointers = (self.sizes.groups + self.sizes.adjacencies) * size_of::<usize>();
        let (labels, hops) = (crate::lfib::Lfib::BYTES, self.group_bytes + adjs + pointers);
        let users = (self.group_users.capacity() + self.adj_users.capacity()) * size_of::<u32>();
        Memory {
            lookup: (lookup4 + lookup6 + lookup_vrf + labels + hops) * self.replicas.len(),
            update: update4 + update6 + update_vrf + users + self.hops.bytes(),
            lookup4,
            lookup6,
            labels,
            hops,
            update4,
            update6,
            lookup_vrf,
            update_vrf,
        }
    }

    /// Takes room for something; when there is none, looks first whether readers have left some.
    fn take<T>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> Result<T, FibError>,
    ) -> Result<T, FibError> {
        match f(self) {
            Err(FibError::Full { .. }) if !self.unused.is_empty() => {
                self.flush();
                f(self)
            }
            done => done,
        }
    }

    fn retire(&mut self, what: What) {
        self.unused.push_back(Unused {
            epoch: self.rcu.epoch() + 1,
            what,
        });
    }

    fn move_user(&mut self, from: Option<GroupId>, to: Option<GroupId>) {
        if let Some(id) = from {
            self.group_users[id.index()] -= 1;
        }
        if let Some(id) = to {
            self.group_users[id.index()] += 1;
        }
    }
}

impl std::fmt::Debug for FibWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut f = f.debug_struct("FibWriter");
        f.field("prefixes4", &self.len4())
            .field("prefixes6", &self.len6())
            .field("labels", &self.labels);
        f.field("pending", &self.pending()).finish_non_exhaustive()
    }
}
