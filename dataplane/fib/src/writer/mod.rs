//! The one writer of the forwarding tables, on the control thread: prefixes and labels here, groups and adjacencies in
//! `hops`, batches in `apply`.

mod apply;
mod hops;
mod prefixes6;

use std::collections::VecDeque;
use std::sync::Arc;

use net::{AdjId, GroupId, Ip4Prefix, Label};
use rcu::Domain;

use crate::rib::{Key4, Rib};
use crate::slots::Slots;
use crate::v4::{Replicas4, Writer4};
use crate::v6::{Gone, Writer6};
use crate::{Adjacency, FibError, Group, LabelEntry, LabelOp, NewError, Sizes, Tables};

/// Not given out, or removed.
const DEAD: u32 = u32::MAX;

/// Changes every replica alike, and frees what readers have left.
///
/// Each change is in force when the call returns and is seen by every address as one step: from one right answer to
/// the next. Numbers that went out of use (groups, adjacencies, parts of tables) are handed out again only after every
/// reader has reported, so an id that a reader holds stays good until then. Call [`FibWriter::flush`] regularly.
pub struct FibWriter {
    replicas: Vec<Arc<Tables>>,
    rcu: rcu::Writer,
    sizes: Sizes,
    rib4: Rib<Key4>,
    v4: Writer4,
    v6: Writer6,
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
    Tbl8(u32),
    Part6(Gone),
    Group(GroupId),
    Adj(AdjId),
}

/// Bytes in use, over all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// By what workers read.
    pub lookup: usize,
    /// By what only the writer needs.
    pub update: usize,
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
        sizes.tbl8 = sizes.tbl8.min(1 << 24);
        let nodes = if nodes.is_empty() { &[0] } else { nodes };
        let place = |node: u32| Some(node).filter(|_| nodes.len() > 1);
        let replica = |&node: &u32| Tables::new(&sizes, node, place(node), domain).map(Arc::new);
        let rcu = domain.writer()?;
        Ok(Self {
            replicas: nodes.iter().map(replica).collect::<Result<_, _>>()?,
            rcu,
            sizes,
            rib4: Rib::new(),
            v4: Writer4::new(sizes.tbl8)?,
            v6: Writer6::new(sizes.nodes6),
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

    /// Adds an IPv4 prefix, or points it elsewhere.
    ///
    /// # Errors
    /// No such group, or no room. The tables are then as they were.
    pub fn set4(&mut self, prefix: Ip4Prefix, group: GroupId) -> Result<(), FibError> {
        self.check_group_id(group)?;
        let old = self.rib4.get(prefix.addr(), prefix.len());
        if old == Some(group) {
            return Ok(());
        }
        self.take(|w| {
            w.v4.set(Replicas4(&w.replicas), prefix, group, old.is_none())
        })?;
        self.rib4.insert(prefix.addr(), prefix.len(), group);
        self.move_user(old, Some(group));
        Ok(())
    }

    /// Removes an IPv4 prefix; what it covers goes the way of the next shorter one. Returns whether it was there.
    pub fn del4(&mut self, prefix: Ip4Prefix) -> bool {
        let Some(old) = self.rib4.remove(prefix.addr(), prefix.len()) else {
            return false;
        };
        if let Some(tbl8) = self.v4.del(Replicas4(&self.replicas), prefix, &self.rib4) {
            self.retire(What::Tbl8(tbl8));
        }
        self.move_user(Some(old), None);
        true
    }

    /// The group that an IPv4 prefix itself points to.
    pub fn get4(&self, prefix: Ip4Prefix) -> Option<GroupId> {
        self.rib4.get(prefix.addr(), prefix.len())
    }

    /// How many IPv4 prefixes there are.
    pub fn len4(&self) -> usize {
        self.rib4.len()
    }

    /// Adds a label, or changes it. [`LabelEntry::UNKNOWN`] removes it.
    ///
    /// # Errors
    /// No such group.
    pub fn set_label(&mut self, label: Label, entry: LabelEntry) -> Result<(), FibError> {
        let group_of = |e: LabelEntry| Some(e.group()).filter(|_| e.op() == LabelOp::Forward);
        if let Some(group) = group_of(entry) {
            self.check_group_id(group)?;
        }
        let old = self.get_label(label);
        self.replicas
            .iter()
            .for_each(|t| t.labels.set(label, entry));
        self.labels += usize::from(entry != LabelEntry::UNKNOWN);
        self.labels -= usize::from(old != LabelEntry::UNKNOWN);
        self.move_user(group_of(old), group_of(entry));
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
            match self.unused.pop_front().map(|u| u.what) {
                Some(What::Tbl8(tbl8)) => self.v4.release(tbl8),
                Some(What::Part6(gone)) => self.v6.release(gone),
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
            What::Tbl8(_) => 1024,
            What::Part6(_) => 288, // a node, or less
            What::Group(id) => {
                let group = self.replicas[0].groups.peek(&self.rcu, id.index());
                group.map_or(0, Group::bytes)
            }
            What::Adj(_) => size_of::<Adjacency>(),
        });
        unused.sum::<usize>() * self.replicas.len() + self.rcu.pending_bytes()
    }

    /// Bytes in use. What the kernel has mapped for the tables is more, and costs nothing until used.
    pub fn memory(&self) -> Memory {
        let (lookup4, update4) = self.v4.bytes();
        let (lookup6, update6) = self.v6.bytes();
        let adjs = self.adj_ids.in_use() * size_of::<Adjacency>();
        let pointers = (self.sizes.groups + self.sizes.adjacencies) * size_of::<usize>();
        let replica =
            lookup4 + lookup6 + crate::lfib::Lfib::BYTES + self.group_bytes + adjs + pointers;
        let users = (self.group_users.capacity() + self.adj_users.capacity()) * size_of::<u32>();
        let update = update4 + update6 + self.rib4.bytes() + users + self.hops.bytes();
        Memory {
            lookup: replica * self.replicas.len(),
            update,
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
