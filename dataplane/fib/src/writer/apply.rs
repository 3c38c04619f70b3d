//! Batches: all changes or none.

use std::collections::HashMap;

use super::FibWriter;
use super::prefixes6::changes6;
use crate::batch::{BatchError, FibBatch, Op, Refused, Subject};
use crate::{FibError, LabelOp};

impl FibWriter {
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
        // IPv6 prefixes go together; the others one by one.
        let of6 = |op: Op| matches!(op, Op::Set6(..) | Op::Del6(_));
        if let Err(error) = self.prepare6(changes6(batch)) {
            let first = ops().find(|&(_, op)| of6(op) && !op.removes());
            let refused = first.map(|(index, op)| refuse(index, op, error));
            let refused = refused.into_iter().collect();
            return Err(BatchError { refused });
        }
        let ops = || ops().filter(|&(_, op)| !of6(op));
        let mut last = HashMap::new();
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
                self.abort6();
                self.flush();
                let refused = vec![refuse(index, op, error)];
                return Err(BatchError { refused });
            }
            undo.push(before);
        }
        self.commit6();
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
}
