//! IPv6 prefixes, alone or in batches; either is one transaction of [`crate::v6::Writer6`].

use net::{GroupId, Ip6Prefix};

use super::{FibWriter, What};
use crate::FibError;
use crate::batch::{FibBatch, Op};
use crate::v6::Replicas6;

impl FibWriter {
    /// Adds an IPv6 prefix, or points it elsewhere.
    ///
    /// # Errors
    /// No such group, or no room. The tables are then as they were.
    pub fn set6(&mut self, prefix: Ip6Prefix, group: GroupId) -> Result<(), FibError> {
        self.check_group_id(group)?;
        self.prepare6(std::iter::once((prefix, Some(group))))?;
        self.commit6();
        Ok(())
    }

    /// Removes an IPv6 prefix; what it covers goes the way of the next shorter one. Returns whether it was there.
    ///
    /// # Errors
    /// No room to write what is left: a reader has not reported for so long that three times the table's room waits for
    /// it. The prefix is then still there.
    pub fn del6(&mut self, prefix: Ip6Prefix) -> Result<bool, FibError> {
        self.prepare6(std::iter::once((prefix, None)))?;
        // What changes nothing is not among what is to be done.
        let there = self.v6.staged(0).is_some();
        self.commit6();
        Ok(there)
    }

    /// The group that an IPv6 prefix itself points to.
    pub fn get6(&self, prefix: Ip6Prefix) -> Option<GroupId> {
        self.v6.get(prefix)
    }

    /// How many IPv6 prefixes there are.
    pub fn len6(&self) -> usize {
        self.v6.len()
    }

    /// Makes changes ready in every replica, or refuses with all as it was. Removals alone are never refused.
    pub(super) fn prepare6(
        &mut self,
        changes: impl Iterator<Item = (Ip6Prefix, Option<GroupId>)> + Clone,
    ) -> Result<(), FibError> {
        self.take(|w| {
            for (prefix, group) in changes.clone() {
                w.v6.stage(prefix, group);
            }
            let ready = w.v6.prepare(Replicas6::global(&w.replicas));
            ready.inspect_err(|_| w.v6.abort())
        })
    }

    /// Shows readers what was made ready.
    pub(super) fn commit6(&mut self) {
        let mut at = 0;
        while let Some((old, new)) = self.v6.staged(at) {
            self.move_user(old, new);
            at += 1;
        }
        self.v6.commit(Replicas6::global(&self.replicas));
        while let Some(gone) = self.v6.gone.pop() {
            self.retire(What::Part6(gone));
        }
    }

    /// Takes back what was made ready.
    pub(super) fn abort6(&mut self) {
        self.v6.abort();
    }
}

/// The IPv6 changes of a batch.
pub(super) fn changes6(
    batch: &FibBatch,
) -> impl Iterator<Item = (Ip6Prefix, Option<GroupId>)> + Clone {
    batch.ops().iter().filter_map(|&op| match op {
        Op::Set6(prefix, group) => Some((prefix, Some(group))),
        Op::Del6(prefix) => Some((prefix, None)),
        _ => None,
    })
}
