//! Batches: all changes or none.

use super::FibWriter;
use super::prefixes6::changes6;
use super::vrfs::vrf_changes;
use crate::FibError;
use crate::batch::{BatchError, FibBatch, Op, Refused};
use net::VrfId;

impl FibWriter {
    /// Applies all changes or none, then [`flush`](Self::flush)es: one epoch for all of them. Of several changes to one
    /// prefix or label the last counts. An address that is covered before and after is covered throughout. Room that
    /// the batch frees does not count: it is there when readers have left it.
    ///
    /// # Errors
    /// The changes that can't be made: all those that name a group that does not exist, or the first that finds no
    /// room. Every prefix and label is as it was then.
    pub fn apply(&mut self, batch: &FibBatch) -> Result<(), BatchError> {
        self.prepare(batch)?;
        self.commit4(batch);
        self.commit6();
        self.commit_vrfs();
        for &op in batch.ops() {
            match op {
                Op::SetLabel(label, entry) => {
                    let done = self.set_label(label, entry);
                    debug_assert!(done.is_ok(), "{op:?}: {done:?}"); // its group is there
                }
                Op::DelLabel(label) => {
                    self.del_label(label);
                }
                _ => {} // prefixes
            }
        }
        self.flush();
        Ok(())
    }

    /// Whether [`apply`](Self::apply) would do it now.
    ///
    /// # Errors
    /// As there.
    pub fn room_for(&mut self, batch: &FibBatch) -> Result<(), BatchError> {
        self.prepare(batch)?;
        self.abort4();
        self.abort6();
        self.abort_vrfs();
        Ok(())
    }

    /// Makes the prefixes of a batch ready, or refuses with all as it was.
    fn prepare(&mut self, batch: &FibBatch) -> Result<(), BatchError> {
        let refuse = |index: usize, error| {
            let op = batch.ops()[index];
            Refused { index, op, error }
        };
        let ops = || batch.ops().iter().enumerate();
        let unknown = ops().filter_map(|(i, &op)| Some(refuse(i, self.check_op(op).err()?)));
        let refused: Vec<Refused> = unknown.collect();
        if !refused.is_empty() {
            return Err(BatchError { refused });
        }
        self.prepare4(batch).map_err(|(index, error)| BatchError {
            refused: vec![refuse(index, error)],
        })?;
        self.prepare6(changes6(batch)).map_err(|error| {
            self.abort4();
            let of6 = |op: &Op| matches!(op, Op::Set6(..));
            let first = ops().find(|(_, op)| of6(op)).map_or(0, |(index, _)| index);
            let refused = vec![refuse(first, error)];
            BatchError { refused }
        })?;
        self.prepare_vrfs(vrf_changes(batch)).map_err(|error| {
            self.abort4();
            self.abort6();
            let of_vrf = |op: &Op| matches!(op, Op::SetVrf4(..) | Op::SetVrf6(..));
            let first = ops().find(|(_, op)| of_vrf(op));
            let refused = vec![refuse(first.map_or(0, |(index, _)| index), error)];
            BatchError { refused }
        })
    }

    /// Whether the group that a change names exists.
    fn check_op(&self, op: Op) -> Result<(), FibError> {
        match op {
            Op::Set4(_, group) | Op::Set6(_, group) => self.check_group_id(group).map(drop),
            Op::SetLabel(_, entry) => match entry.named() {
                Some(group) => self.check_group_id(group).map(drop),
                None => Ok(()),
            },
            Op::SetVrf4(VrfId::GLOBAL, ..)
            | Op::DelVrf4(VrfId::GLOBAL, _)
            | Op::SetVrf6(VrfId::GLOBAL, ..)
            | Op::DelVrf6(VrfId::GLOBAL, _) => Err(FibError::GlobalTable),
            Op::SetVrf4(_, _, group) | Op::SetVrf6(_, _, group) => {
                self.check_group_id(group).map(drop)
            }
            Op::Del4(_) | Op::Del6(_) | Op::DelVrf4(..) | Op::DelVrf6(..) | Op::DelLabel(_) => {
                Ok(())
            }
        }
    }
}
