//! Next-hop groups and adjacencies, and who stands on them.

use net::{AdjId, GroupId};

use super::{DEAD, FibWriter, What};
use crate::{Adjacency, FibError, Group, Path, Target};

impl FibWriter {
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
