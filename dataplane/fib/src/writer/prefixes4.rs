//! IPv4 prefixes, alone or in batches; either is one transaction of [`crate::v4::Writer4`].

use std::time::Duration;

use net::{GroupId, Ip4Prefix};

use super::{FibWriter, What};
use crate::FibError;
use crate::batch::{FibBatch, Op};
use crate::v4;

/// How long a removal waits for readers when there is no room left at all.
const PATIENCE: Duration = Duration::from_millis(100);

impl FibWriter {
    /// Adds an IPv4 prefix, or points it elsewhere.
    ///
    /// # Errors
    /// No such group, or no room. The tables are then as they were.
    pub fn set4(&mut self, prefix: Ip4Prefix, group: GroupId) -> Result<(), FibError> {
        self.check_group_id(group)?;
        self.change4(prefix, Some(group)).map(drop)
    }

    /// Removes an IPv4 prefix; what it covers goes the way of the next shorter one. Returns whether it was there.
    ///
    /// # Errors
    /// No room to write what is left, though some is kept for this, and readers are waited for: one of them is stuck.
    /// The prefix is then still there.
    pub fn del4(&mut self, prefix: Ip4Prefix) -> Result<bool, FibError> {
        let old = match self.change4(prefix, None) {
            Err(FibError::Full { .. }) => {
                // What is not freed by then is held by a reader that is stuck, and it shows as such.
                let _ = self.rcu.synchronize(PATIENCE);
                self.change4(prefix, None)
            }
            done => done,
        };
        Ok(old?.is_some())
    }

    /// The group that an IPv4 prefix itself points to.
    pub fn get4(&self, prefix: Ip4Prefix) -> Option<GroupId> {
        self.v4.get(prefix)
    }

    /// How many IPv4 prefixes there are.
    pub fn len4(&self) -> usize {
        self.v4.len()
    }

    /// A transaction of one change; returns what the prefix had.
    fn change4(
        &mut self,
        prefix: Ip4Prefix,
        to: Option<GroupId>,
    ) -> Result<Option<GroupId>, FibError> {
        let old = self.take(|w| {
            let staged = w.v4.stage(prefix, to).and_then(|old| {
                let prepared = w.v4.prepare(&w.replicas, to.is_none());
                prepared.map_err(|(_, error)| error).map(|()| old)
            });
            staged.inspect_err(|_| w.v4.abort())
        })?;
        self.move_user(old, to);
        self.publish4();
        Ok(old)
    }

    /// Makes the IPv4 changes of a batch ready in every replica, or refuses with all as it was; tells which change
    /// found no room.
    pub(super) fn prepare4(&mut self, batch: &FibBatch) -> Result<(), (usize, FibError)> {
        let first = self.try_prepare4(batch);
        if first.is_ok() || self.unused.is_empty() {
            return first;
        }
        self.flush(); // readers may have left something
        self.try_prepare4(batch)
    }

    fn try_prepare4(&mut self, batch: &FibBatch) -> Result<(), (usize, FibError)> {
        let removes = changes4(batch).all(|(_, _, to)| to.is_none());
        let staged = changes4(batch).try_for_each(|(i, p, to)| {
            let staged = self.v4.stage(p, to);
            staged.map(drop).map_err(|error| (i, error))
        });
        let prepared = staged.and_then(|()| {
            let prepared = self.v4.prepare(&self.replicas, removes);
            prepared.map_err(|(block, error)| {
                let first = changes4(batch).find(|&(_, p, _)| v4::touches(p, block));
                (first.map_or(0, |(i, ..)| i), error)
            })
        });
        prepared.inspect_err(|_| self.v4.abort())
    }

    /// Shows readers what was made ready.
    pub(super) fn commit4(&mut self, batch: &FibBatch) {
        for (nth, (_, _, to)) in changes4(batch).enumerate() {
            let (_, old) = self.v4.staged()[nth];
            self.move_user(old, to);
        }
        self.publish4();
    }

    /// Takes back what was made ready.
    pub(super) fn abort4(&mut self) {
        self.v4.abort();
    }

    /// Goes on with what a change of the table's forms has left to do; nothing, most of the time.
    pub(super) fn sweep4(&mut self) {
        self.v4.sweep(&self.replicas);
        self.retire4();
    }

    fn publish4(&mut self) {
        self.v4.commit(&self.replicas);
        self.retire4();
    }

    fn retire4(&mut self) {
        while let Some(gone) = self.v4.gone.pop() {
            self.retire(What::Part4(gone));
        }
    }
}

/// The IPv4 changes of a batch: their places in it, their prefixes and groups.
fn changes4(batch: &FibBatch) -> impl Iterator<Item = (usize, Ip4Prefix, Option<GroupId>)> {
    let ops = batch.ops().iter().enumerate();
    ops.filter_map(|(i, &op)| match op {
        Op::Set4(p, group) => Some((i, p, Some(group))),
        Op::Del4(p) => Some((i, p, None)),
        _ => None,
    })
}
