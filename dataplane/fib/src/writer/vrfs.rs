//! Prefixes of VRFs, alone or in batches; either is one transaction of [`crate::v6::VrfWriter`].

use net::{GroupId, Ip4Prefix, Ip6Prefix, VrfId};

use super::{FibWriter, What};
use crate::FibError;
use crate::batch::{FibBatch, Op};
use crate::v6::{Replicas6, Root, widened};

/// Where a prefix is, itself, and the group it is to have.
type Change = (Root, Ip6Prefix, Option<GroupId>);

impl FibWriter {
    /// Adds an IPv4 prefix to the table of a VRF, or points it elsewhere. A VRF is there as soon as it has a prefix.
    ///
    /// # Errors
    /// No such group, no room, or [`VrfId::GLOBAL`]. The tables are then as they were.
    pub fn set_vrf4(
        &mut self,
        vrf: VrfId,
        prefix: Ip4Prefix,
        group: GroupId,
    ) -> Result<(), FibError> {
        self.check_group_id(group)?;
        self.change_vrf(vrf, (Root::v4(vrf), widened(prefix), Some(group)))
            .map(drop)
    }

    /// Removes an IPv4 prefix from the table of a VRF. Returns whether it was there.
    ///
    /// # Errors
    /// As [`FibWriter::del6`], or [`VrfId::GLOBAL`].
    pub fn del_vrf4(&mut self, vrf: VrfId, prefix: Ip4Prefix) -> Result<bool, FibError> {
        self.change_vrf(vrf, (Root::v4(vrf), widened(prefix), None))
    }

    /// Adds an IPv6 prefix to the table of a VRF, or points it elsewhere.
    ///
    /// # Errors
    /// As [`FibWriter::set_vrf4`].
    pub fn set_vrf6(
        &mut self,
        vrf: VrfId,
        prefix: Ip6Prefix,
        group: GroupId,
    ) -> Result<(), FibError> {
        self.check_group_id(group)?;
        self.change_vrf(vrf, (Root::v6(vrf), prefix, Some(group)))
            .map(drop)
    }

    /// Removes an IPv6 prefix from the table of a VRF. Returns whether it was there.
    ///
    /// # Errors
    /// As [`FibWriter::del_vrf4`].
    pub fn del_vrf6(&mut self, vrf: VrfId, prefix: Ip6Prefix) -> Result<bool, FibError> {
        self.change_vrf(vrf, (Root::v6(vrf), prefix, None))
    }

    /// The group that an IPv4 prefix of a VRF itself points to.
    pub fn get_vrf4(&self, vrf: VrfId, prefix: Ip4Prefix) -> Option<GroupId> {
        self.vrfs.get(Root::v4(vrf), widened(prefix))
    }

    /// The group that an IPv6 prefix of a VRF itself points to.
    pub fn get_vrf6(&self, vrf: VrfId, prefix: Ip6Prefix) -> Option<GroupId> {
        self.vrfs.get(Root::v6(vrf), prefix)
    }

    /// How many IPv4 and IPv6 prefixes a VRF has.
    pub fn len_vrf(&self, vrf: VrfId) -> (usize, usize) {
        let len = |root| self.vrfs.len(root);
        (len(Root::v4(vrf)), len(Root::v6(vrf)))
    }

    /// How many prefixes all VRFs have.
    pub fn len_vrfs(&self) -> usize {
        self.vrfs.total()
    }

    /// A transaction of one change. Returns whether the prefix was there.
    fn change_vrf(&mut self, vrf: VrfId, change: Change) -> Result<bool, FibError> {
        if vrf == VrfId::GLOBAL {
            return Err(FibError::GlobalTable);
        }
        self.prepare_vrfs(std::iter::once(change))?;
        let there = self.vrfs.staged()[0].old.is_some();
        self.commit_vrfs();
        Ok(there)
    }

    /// Makes changes ready in every replica, or refuses with all as it was. Removals alone are never refused.
    pub(super) fn prepare_vrfs(
        &mut self,
        changes: impl Iterator<Item = Change> + Clone,
    ) -> Result<(), FibError> {
        self.take(|w| {
            for (root, prefix, group) in changes.clone() {
                w.vrfs.stage(root, prefix, group);
            }
            let ready = w.vrfs.prepare(Replicas6::vrfs(&w.replicas));
            ready.inspect_err(|_| w.vrfs.abort())
        })
    }

    /// Shows readers what was made ready.
    pub(super) fn commit_vrfs(&mut self) {
        for at in 0..self.vrfs.staged().len() {
            let change = self.vrfs.staged()[at];
            self.move_user(change.old, change.new);
        }
        self.vrfs.commit(Replicas6::vrfs(&self.replicas));
        while let Some(gone) = self.vrfs.gone() {
            self.retire(What::PartVrf(gone));
        }
    }

    /// Takes back what was made ready.
    pub(super) fn abort_vrfs(&mut self) {
        self.vrfs.abort();
    }
}

/// The changes of a batch to VRFs.
pub(super) fn vrf_changes(batch: &FibBatch) -> impl Iterator<Item = Change> + Clone {
    batch.ops().iter().filter_map(|&op| match op {
        Op::SetVrf4(vrf, prefix, group) => Some((Root::v4(vrf), widened(prefix), Some(group))),
        Op::DelVrf4(vrf, prefix) => Some((Root::v4(vrf), widened(prefix), None)),
        Op::SetVrf6(vrf, prefix, group) => Some((Root::v6(vrf), prefix, Some(group))),
        Op::DelVrf6(vrf, prefix) => Some((Root::v6(vrf), prefix, None)),
        _ => None,
    })
}
