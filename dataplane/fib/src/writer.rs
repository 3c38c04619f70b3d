//! The one writer of the forwarding tables, on the control thread.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use net::{AdjId, GroupId, Ip4Prefix, Ip6Prefix, Label};
use rcu::Domain;

use crate::batch::{BatchError, FibBatch, Op, Refused, Subject};
use crate::rib::{Key4, Key6, Rib};
use crate::slots::Slots;
use crate::v4::{Replicas4, Writer4};
use crate::v6_write::{Gone, Replicas6, Writer6};
use crate::{
    Adjacency, FibError, Group, LabelEntry, LabelOp, NewError, Path, Sizes, Tables, Target,
};

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
    rib6: Rib<Key6>,
    v4: Writer4,
    v6: Writer6,
    labels: usize,
    group_ids: Slots,
    /// Prefixes and labels that point to each group, or `DEAD`.
    group_users: Vec<u32>,
    adj_ids: Slots,
    /// Paths over each adjacency, or `DEAD`.
    adj_users: Vec<u32>,
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
        sizes.nodes6 = sizes.nodes6.min(1 << 29);
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
            rib6: Rib::new(),
            v4: Writer4::new(sizes.tbl8)?,
            v6: Writer6::new(sizes.nodes6)?,
            labels: 0,
            group_ids: Slots::new("next-hop group", 1, sizes.groups),
            group_users: vec![DEAD],
            adj_ids: Slots::new("adjacency", 0, sizes.adjacencies),
            adj_users: Vec::new(),
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

    /// Makes a group.
    ///
    /// # Errors
    /// No room, not a group ([`Group::new`]), or a path over an adjacency that does not exist.
    pub fn add_group(&mut self, paths: &[(Path, u32)]) -> Result<GroupId, FibError> {
        let group = self.check_group(paths)?;
        let id = GroupId(self.take(|w| w.group_ids.take())?);
        self.use_paths(&group);
        set_at(&mut self.group_users, id.index(), 0);
        self.publish_group(id, group);
        Ok(id)
    }

    /// Gives a group other paths: one store, whatever stands on it.
    ///
    /// # Errors
    /// As [`FibWriter::add_group`], or no such group. The group is then as it was.
    pub fn replace_group(&mut self, id: GroupId, paths: &[(Path, u32)]) -> Result<(), FibError> {
        self.check_group_id(id)?;
        let group = self.check_group(paths)?;
        self.use_paths(&group);
        self.unuse_paths(id);
        self.publish_group(id, group);
        Ok(())
    }

    /// Removes a group.
    ///
    /// # Errors
    /// No such group, or prefixes or labels point to it.
    pub fn remove_group(&mut self, id: GroupId) -> Result<(), FibError> {
        let entries = self.check_group_id(id)?;
        if entries > 0 {
            return Err(FibError::GroupInUse { id, entries });
        }
        self.unuse_paths(id);
        self.group_users[id.index()] = DEAD;
        self.retire(What::Group(id));
        Ok(())
    }

    /// A group's paths and how many buckets each has.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.check_group_id(id).ok()?;
        self.replicas[0].groups.peek(&self.rcu, id.index())
    }

    /// Makes an adjacency.
    ///
    /// # Errors
    /// No room.
    pub fn add_adj(&mut self, adj: Adjacency) -> Result<AdjId, FibError> {
        let id = AdjId(self.take(|w| w.adj_ids.take())?);
        set_at(&mut self.adj_users, id.index(), 0);
        self.publish_adj(id, &adj);
        Ok(id)
    }

    /// Gives an adjacency another header or state, in one step.
    ///
    /// # Errors
    /// No such adjacency.
    pub fn replace_adj(&mut self, id: AdjId, adj: Adjacency) -> Result<(), FibError> {
        self.check_adj_id(id)?;
        self.publish_adj(id, &adj);
        Ok(())
    }

    /// Removes an adjacency.
    ///
    /// # Errors
    /// No such adjacency, or groups have paths over it.
    pub fn remove_adj(&mut self, id: AdjId) -> Result<(), FibError> {
        let paths = self.check_adj_id(id)?;
        if paths > 0 {
            return Err(FibError::AdjInUse { id, paths });
        }
        self.adj_users[id.index()] = DEAD;
        self.retire(What::Adj(id));
        Ok(())
    }

    /// An adjacency, as the first replica has it.
    pub fn adj(&self, id: AdjId) -> Option<&Adjacency> {
        self.check_adj_id(id).ok()?;
        self.replicas[0].adjs.peek(&self.rcu, id.index())
    }

    /// Whether any worker has forwarded by an adjacency since the last call. False for one that does not exist.
    pub fn adj_used_take(&mut self, id: AdjId) -> bool {
        let taken = |t: &Arc<Tables>| {
            t.adjs
                .peek(&self.rcu, id.index())
                .is_some_and(Adjacency::take_used)
        };
        self.check_adj_id(id).is_ok() && self.replicas.iter().filter(|t| taken(t)).count() > 0
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

    /// Adds an IPv6 prefix, or points it elsewhere.
    ///
    /// # Errors
    /// No such group, or no room. The tables are then as they were.
    pub fn set6(&mut self, prefix: Ip6Prefix, group: GroupId) -> Result<(), FibError> {
        self.check_group_id(group)?;
        let old = self.rib6.get(prefix.addr().into(), prefix.len());
        if old == Some(group) {
            return Ok(());
        }
        self.take(|w| {
            w.v6.set(Replicas6(&w.replicas), prefix, group, old.is_none())
        })?;
        self.retire_gone6();
        self.rib6.insert(prefix.addr().into(), prefix.len(), group);
        self.move_user(old, Some(group));
        Ok(())
    }

    /// Removes an IPv6 prefix; what it covers goes the way of the next shorter one. Returns whether it was there.
    pub fn del6(&mut self, prefix: Ip6Prefix) -> bool {
        let Some(old) = self.rib6.remove(prefix.addr().into(), prefix.len()) else {
            return false;
        };
        self.v6.del(Replicas6(&self.replicas), prefix, &self.rib6);
        self.retire_gone6();
        self.move_user(Some(old), None);
        true
    }

    /// The group that an IPv6 prefix itself points to.
    pub fn get6(&self, prefix: Ip6Prefix) -> Option<GroupId> {
        self.rib6.get(prefix.addr().into(), prefix.len())
    }

    /// How many IPv6 prefixes there are.
    pub fn len6(&self) -> usize {
        self.rib6.len()
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

    /// Applies all changes or none, then [`flush`](Self::flush)es: one epoch for all of them. Of several changes to one
    /// prefix or label the last counts. What comes is in force before what goes has left, so that an address that is
    /// covered before and after is covered throughout; it also means that room which the batch frees does not count.
    ///
    /// # Errors
    /// The changes that can't be made: all those that name a group that does not exist, or the first that finds no
    /// room. Every prefix and label is as it was then.
    pub fn apply(&mut self, batch: &FibBatch) -> Result<(), BatchError> {
        let refuse = |index, op, error| Refused { index, op, error };
        let ops = || batch.ops().iter().copied().enumerate();
        let unknown = ops().filter_map(|(i, op)| Some(refuse(i, op, self.check_op(op).err()?)));
        let refused: Vec<Refused> = unknown.collect();
        if !refused.is_empty() {
            return Err(BatchError { refused });
        }
        let mut last = HashMap::with_capacity(batch.len());
        last.extend(ops().map(|(i, op)| (op.subject(), i)));
        let counts = |i: usize, op: Op| last.get(&op.subject()) == Some(&i);
        let mut undo = Vec::new();
        for (index, op) in ops().filter(|&(i, op)| counts(i, op) && !op.removes()) {
            let before = self.state_of(op.subject());
            if let Err(error) = self.make(op) {
                // Removes what was new, and gives what was there its group again: neither takes room.
                for op in undo.into_iter().rev() {
                    let done = self.make(op);
                    debug_assert!(done.is_ok(), "{op:?}: {done:?}");
                }
                self.flush();
                let refused = vec![refuse(index, op, error)];
                return Err(BatchError { refused });
            }
            undo.push(before);
        }
        for (_, op) in ops().filter(|&(i, op)| counts(i, op) && op.removes()) {
            let done = self.make(op);
            debug_assert!(done.is_ok(), "{op:?}: {done:?}");
        }
        self.flush();
        Ok(())
    }

    /// Whether the group that a change names exists.
    fn check_op(&self, op: Op) -> Result<(), FibError> {
        match op {
            Op::Set4(_, group) | Op::Set6(_, group) => self.check_group_id(group).map(drop),
            Op::SetLabel(_, entry) if entry.op() == LabelOp::Forward => {
                self.check_group_id(entry.group()).map(drop)
            }
            Op::SetLabel(..) | Op::Del4(_) | Op::Del6(_) | Op::DelLabel(_) => Ok(()),
        }
    }

    /// The change that makes a prefix or label what it is now.
    fn state_of(&self, subject: Subject) -> Op {
        match subject {
            Subject::V4(p) => self.get4(p).map_or(Op::Del4(p), |g| Op::Set4(p, g)),
            Subject::V6(p) => self.get6(p).map_or(Op::Del6(p), |g| Op::Set6(p, g)),
            Subject::Label(l) => Op::SetLabel(l, self.get_label(l)),
        }
    }

    fn make(&mut self, op: Op) -> Result<(), FibError> {
        match op {
            Op::Set4(prefix, group) => return self.set4(prefix, group),
            Op::Set6(prefix, group) => return self.set6(prefix, group),
            Op::SetLabel(label, entry) => return self.set_label(label, entry),
            Op::Del4(prefix) => self.del4(prefix),
            Op::Del6(prefix) => self.del6(prefix),
            Op::DelLabel(label) => self.del_label(label),
        };
        Ok(())
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
                    self.replicas
                        .iter()
                        .for_each(|t| t.groups.publish(&mut self.rcu, id.index(), None));
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

    /// Bytes in use. What the kernel has mapped for the tables is more, and costs nothing until used.
    pub fn memory(&self) -> Memory {
        let (lookup4, update4) = self.v4.bytes();
        let (lookup6, update6) = self.v6.bytes();
        let adjs = self.adj_ids.in_use() * size_of::<Adjacency>();
        let pointers = (self.sizes.groups + self.sizes.adjacencies) * size_of::<usize>();
        let replica =
            lookup4 + lookup6 + crate::lfib::Lfib::BYTES + self.group_bytes + adjs + pointers;
        let users = (self.group_users.capacity() + self.adj_users.capacity()) * size_of::<u32>();
        let update = update4 + update6 + self.rib4.bytes() + self.rib6.bytes() + users;
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

    fn retire_gone6(&mut self) {
        while let Some(gone) = self.v6.gone.pop() {
            self.retire(What::Part6(gone));
        }
    }

    /// How many users a group has, if it exists.
    fn check_group_id(&self, id: GroupId) -> Result<u32, FibError> {
        let users = self.group_users.get(id.index()).copied();
        users
            .filter(|&n| n != DEAD)
            .ok_or(FibError::NoSuchGroup(id))
    }

    /// How many paths an adjacency has, if it exists.
    fn check_adj_id(&self, id: AdjId) -> Result<u32, FibError> {
        let users = self.adj_users.get(id.index()).copied();
        users.filter(|&n| n != DEAD).ok_or(FibError::NoSuchAdj(id))
    }

    fn check_group(&self, paths: &[(Path, u32)]) -> Result<Group, FibError> {
        for id in paths.iter().filter_map(|(path, _)| adj_of(path)) {
            self.check_adj_id(id)?;
        }
        Group::new(paths)
    }

    fn use_paths(&mut self, group: &Group) {
        for id in group.paths().iter().filter_map(adj_of) {
            self.adj_users[id.index()] += 1;
        }
    }

    fn unuse_paths(&mut self, id: GroupId) {
        if let Some(group) = self.replicas[0].groups.peek(&self.rcu, id.index()) {
            for adj in group.paths().iter().filter_map(adj_of) {
                self.adj_users[adj.index()] -= 1;
            }
        }
    }

    fn publish_group(&mut self, id: GroupId, group: Group) {
        let old = self.replicas[0]
            .groups
            .peek(&self.rcu, id.index())
            .map_or(0, Group::bytes);
        self.group_bytes = self.group_bytes + group.bytes() - old;
        for t in &self.replicas {
            t.groups
                .publish(&mut self.rcu, id.index(), Some(Box::new(group.clone())));
        }
    }

    fn publish_adj(&mut self, id: AdjId, adj: &Adjacency) {
        for t in &self.replicas {
            t.adjs
                .publish(&mut self.rcu, id.index(), Some(Box::new(adj.clone())));
        }
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

fn adj_of(path: &Path) -> Option<AdjId> {
    match path.target {
        Target::Adjacency(id) => Some(id),
        _ => None,
    }
}

fn set_at(users: &mut Vec<u32>, index: usize, n: u32) {
    if users.len() <= index {
        users.resize(index + 1, DEAD);
    }
    users[index] = n;
}
