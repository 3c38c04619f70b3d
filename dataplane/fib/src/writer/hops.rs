//! Next-hop groups and adjacencies, who stands on them, and their repair.
//!
//! To read: draft-ietf-rtgwg-bgp-pic (prefix-independent convergence). A group with several members, backups among them,
//! is kept here whole; workers get those that are alive. When a neighbour or an interface goes, exactly the groups over it
//! are written anew, by an index from what they stand on, and no prefix is touched: it takes as long for ten prefixes as
//! for a million.
//!
//! A member is alive when its interface was not said to be down and, over an adjacency, when that is complete. Of a group,
//! the primaries that are alive carry; when none is, the backups that are; when none is either, the primaries as if they
//! were, since nothing better is known: frames then ask for the neighbour, or are counted where they end. A group with one
//! member has no choice, is not indexed, and costs nothing here.

use std::collections::{BTreeSet, HashMap};

use net::{AdjId, GroupId, IfaceId};

use super::{DEAD, FibWriter, What};
use crate::group::check;
use crate::{Adjacency, Express, FibError, Group, MAX_PATHS, Path, Target};

/// A path that a group may use.
#[derive(Debug, Clone)]
struct Member {
    path: Path,
    weight: u32,
    backup: bool,
}

/// What a member stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Over {
    Adj(AdjId),
    Iface(IfaceId),
}

/// Groups with a choice, and what they stand on.
#[derive(Debug, Default)]
pub(super) struct Hops {
    /// The members of groups that have several.
    members: HashMap<GroupId, Box<[Member]>>,
    /// Those groups by what they stand on.
    over: BTreeSet<(Over, GroupId)>,
    /// The adjacencies of each interface.
    adjs: BTreeSet<(IfaceId, AdjId)>,
    /// Interfaces that are down.
    down: BTreeSet<IfaceId>,
}

impl Hops {
    /// Bytes, as far as can be told from outside.
    pub(super) fn bytes(&self) -> usize {
        let member = |m: &[Member]| size_of_val(m);
        let members: usize = self.members.values().map(|m| member(m)).sum();
        // A B-tree's node is two thirds full, and half as long again as its keys.
        let indexed = self.over.len() * size_of::<(Over, GroupId)>()
            + self.adjs.len() * size_of::<(IfaceId, AdjId)>();
        members + self.members.capacity() * size_of::<(GroupId, Box<[Member]>)>() + indexed * 2
    }

    fn groups_over(&self, over: Over) -> Vec<GroupId> {
        let range = (over, GroupId(0))..=(over, GroupId(u32::MAX));
        self.over.range(range).map(|(_, group)| *group).collect()
    }

    fn adjs_on(&self, iface: IfaceId) -> impl Iterator<Item = AdjId> {
        let range = (iface, AdjId(0))..=(iface, AdjId(u32::MAX));
        self.adjs.range(range).map(|(_, adj)| *adj)
    }
}

impl FibWriter {
    /// Makes a group.
    ///
    /// # Errors
    /// No room, not a group ([`Group::new`]), or a path over an adjacency that does not exist.
    pub fn add_group(&mut self, paths: &[(Path, u32)]) -> Result<GroupId, FibError> {
        self.add_group_backed(paths, &[])
    }

    /// Makes a group whose `backups` carry its traffic, by their weights, while none of `paths` is alive. One of the two
    /// may be empty.
    ///
    /// # Errors
    /// As [`FibWriter::add_group`].
    pub fn add_group_backed(
        &mut self,
        paths: &[(Path, u32)],
        backups: &[(Path, u32)],
    ) -> Result<GroupId, FibError> {
        let members = self.members_of(paths, backups)?;
        let id = GroupId(self.take(|w| w.group_ids.take())?);
        set_at(&mut self.group_users, id.index(), 0);
        self.publish_group(id, self.spread(&members, None));
        self.enter(id, members);
        Ok(id)
    }

    /// Gives a group other paths: one store, whatever stands on it. Flows of paths that stay keep them as far as the new
    /// shares allow ([`Group::next`]).
    ///
    /// # Errors
    /// As [`FibWriter::add_group`], or no such group. The group is then as it was.
    pub fn replace_group(&mut self, id: GroupId, paths: &[(Path, u32)]) -> Result<(), FibError> {
        self.replace_group_backed(id, paths, &[])
    }

    /// [`FibWriter::replace_group`] with backups.
    ///
    /// # Errors
    /// As there.
    pub fn replace_group_backed(
        &mut self,
        id: GroupId,
        paths: &[(Path, u32)],
        backups: &[(Path, u32)],
    ) -> Result<(), FibError> {
        self.check_group_id(id)?;
        let members = self.members_of(paths, backups)?;
        self.leave(id);
        let group = self.spread(&members, self.published(id));
        if self.published(id) != Some(&group) {
            self.publish_group(id, group);
        }
        self.enter(id, members);
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
        self.leave(id);
        self.replicas.iter().for_each(|t| t.set_express(id, None)); // the group itself stays for now
        self.group_users[id.index()] = DEAD;
        self.retire(What::Group(id));
        Ok(())
    }

    /// A group as workers see it: the paths that carry, and how many buckets each has.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        self.check_group_id(id).ok()?;
        self.published(id)
    }

    /// An interface has no link any more: groups over it go on by the paths that are left, or by their backups. Returns how
    /// many groups were written; no prefix is. Stays so until [`FibWriter::interface_up`].
    pub fn interface_down(&mut self, iface: IfaceId) -> usize {
        if !self.hops.down.insert(iface) {
            return 0;
        }
        self.repair_iface(iface)
    }

    /// An interface has its link again. Its neighbours count when their adjacencies are complete. Returns how many groups
    /// were written.
    pub fn interface_up(&mut self, iface: IfaceId) -> usize {
        if !self.hops.down.remove(&iface) {
            return 0;
        }
        self.repair_iface(iface)
    }

    /// Makes an adjacency.
    ///
    /// # Errors
    /// No room.
    pub fn add_adj(&mut self, adj: Adjacency) -> Result<AdjId, FibError> {
        let id = AdjId(self.take(|w| w.adj_ids.take())?);
        set_at(&mut self.adj_users, id.index(), 0);
        self.publish_adj(id, &adj);
        self.hops.adjs.insert((adj.iface, id));
        Ok(id)
    }

    /// Gives an adjacency another header or state, in one step. When it becomes complete or ceases to be, the groups over it
    /// that have a choice follow. Returns how many groups were written.
    ///
    /// # Errors
    /// No such adjacency.
    pub fn replace_adj(&mut self, id: AdjId, adj: Adjacency) -> Result<usize, FibError> {
        self.check_adj_id(id)?;
        let old = self.adj(id).map(|a| (a.iface, a.is_complete()));
        self.publish_adj(id, &adj);
        let new = (adj.iface, adj.is_complete());
        if old == Some(new) {
            return Ok(0);
        }
        if let Some((iface, _)) = old {
            self.hops.adjs.remove(&(iface, id));
        }
        self.hops.adjs.insert((adj.iface, id));
        let groups = self.hops.groups_over(Over::Adj(id));
        Ok(self.repair(groups))
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
        if let Some(iface) = self.adj(id).map(|a| a.iface) {
            self.hops.adjs.remove(&(iface, id));
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
        let taken = |t: &std::sync::Arc<crate::Tables>| {
            t.adjs
                .peek(&self.rcu, id.index())
                .is_some_and(Adjacency::take_used)
        };
        self.check_adj_id(id).is_ok() && self.replicas.iter().filter(|t| taken(t)).count() > 0
    }

    /// How many users a group has, if it exists.
    pub(super) fn check_group_id(&self, id: GroupId) -> Result<u32, FibError> {
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

    /// What is published under a number, also of a group that is being changed.
    fn published(&self, id: GroupId) -> Option<&Group> {
        self.replicas[0].groups.peek(&self.rcu, id.index())
    }

    /// The members of a group with these paths, if they make one.
    fn members_of(
        &self,
        paths: &[(Path, u32)],
        backups: &[(Path, u32)],
    ) -> Result<Box<[Member]>, FibError> {
        match (paths, backups) {
            ([], some) | (some, []) => check(some)?,
            _ => check(paths).and(check(backups))?,
        }
        if paths.len() + backups.len() > MAX_PATHS {
            return Err(FibError::BadPaths("it has more than 256 paths"));
        }
        for id in paths.iter().chain(backups).filter_map(|(p, _)| adj_of(p)) {
            self.check_adj_id(id)?;
        }
        let member = |backup| {
            move |(path, weight): &(Path, u32)| Member {
                path: path.clone(),
                weight: *weight,
                backup,
            }
        };
        let primaries = paths.iter().map(member(false));
        Ok(primaries.chain(backups.iter().map(member(true))).collect())
    }

    fn is_alive(&self, path: &Path) -> bool {
        let up = |iface| !self.hops.down.contains(&iface);
        match path.target {
            Target::Adjacency(id) => self.adj(id).is_some_and(|a| a.is_complete() && up(a.iface)),
            Target::Glean(iface) | Target::Local(iface) => up(iface),
            Target::Discard(_) => true,
        }
    }

    /// What workers are to see of these members, after `before`.
    fn spread(&self, members: &[Member], before: Option<&Group>) -> Group {
        let alive = |m: &&Member| self.is_alive(&m.path);
        let primary = |m: &&Member| !m.backup;
        let mut live: Vec<&Member> = members.iter().filter(primary).filter(alive).collect();
        if live.is_empty() {
            live = members.iter().filter(|m| m.backup).filter(alive).collect();
        }
        if live.is_empty() {
            live = members.iter().filter(primary).collect();
        }
        if live.is_empty() {
            live = members.iter().collect();
        }
        let paths = live.iter().map(|m| (&m.path, m.weight));
        match before {
            Some(before) => before.follow(paths),
            None => Group::of(paths),
        }
    }

    /// Notes what a group stands on.
    fn enter(&mut self, id: GroupId, members: Box<[Member]>) {
        for adj in members.iter().filter_map(|m| adj_of(&m.path)) {
            self.adj_users[adj.index()] += 1;
        }
        if members.len() > 1 {
            let over = members.iter().filter_map(|m| over(&m.path));
            self.hops.over.extend(over.map(|over| (over, id)));
            self.hops.members.insert(id, members);
        }
    }

    /// Forgets what a group stands on.
    fn leave(&mut self, id: GroupId) {
        let mut adjs: Vec<AdjId> = Vec::new();
        if let Some(members) = self.hops.members.remove(&id) {
            for path in members.iter().map(|m| &m.path) {
                adjs.extend(adj_of(path));
                if let Some(over) = over(path) {
                    self.hops.over.remove(&(over, id));
                }
            }
        } else if let Some(group) = self.published(id) {
            adjs.extend(group.paths().filter_map(adj_of));
        }
        for adj in adjs {
            self.adj_users[adj.index()] -= 1;
        }
    }

    fn repair_iface(&mut self, iface: IfaceId) -> usize {
        let mut groups = self.hops.groups_over(Over::Iface(iface));
        for adj in self.hops.adjs_on(iface) {
            groups.extend(self.hops.groups_over(Over::Adj(adj)));
        }
        groups.sort_unstable();
        groups.dedup();
        self.repair(groups)
    }

    /// Writes those of these groups that are to look different now. Returns how many.
    fn repair(&mut self, groups: Vec<GroupId>) -> usize {
        let mut written = 0;
        for id in groups {
            let Some(members) = self.hops.members.get(&id) else {
                continue;
            };
            let group = self.spread(members, self.published(id));
            if self.published(id) != Some(&group) {
                self.publish_group(id, group);
                written += 1;
            }
        }
        written
    }

    fn publish_group(&mut self, id: GroupId, group: Group) {
        let old = self.published(id).map_or(0, Group::bytes);
        self.group_bytes = self.group_bytes + group.bytes() - old;
        for t in &self.replicas {
            let next = Some(Box::new(group.clone()));
            t.groups
                .publish_weighed(&mut self.rcu, id.index(), next, Group::bytes);
            t.set_express(id, Express::of(&group));
        }
    }

    fn publish_adj(&mut self, id: AdjId, adj: &Adjacency) {
        for t in &self.replicas {
            t.adjs
                .publish(&mut self.rcu, id.index(), Some(Box::new(adj.clone())));
        }
    }
}

fn adj_of(path: &Path) -> Option<AdjId> {
    match path.target {
        Target::Adjacency(id) => Some(id),
        _ => None,
    }
}

fn over(path: &Path) -> Option<Over> {
    match path.target {
        Target::Adjacency(id) => Some(Over::Adj(id)),
        Target::Glean(iface) | Target::Local(iface) => Some(Over::Iface(iface)),
        Target::Discard(_) => None,
    }
}

fn set_at(users: &mut Vec<u32>, index: usize, n: u32) {
    if users.len() <= index {
        users.resize(index + 1, DEAD);
    }
    users[index] = n;
}
