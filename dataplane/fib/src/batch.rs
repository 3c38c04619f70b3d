//! Changes to prefixes and labels, collected to be applied together.

use net::{GroupId, Ip4Prefix, Ip6Prefix, Label, VrfId};

use crate::{FibError, LabelEntry};

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Adds an IPv4 prefix or points it elsewhere.
    Set4(Ip4Prefix, GroupId),
    /// Removes an IPv4 prefix, if it is there.
    Del4(Ip4Prefix),
    /// Adds an IPv6 prefix or points it elsewhere.
    Set6(Ip6Prefix, GroupId),
    /// Removes an IPv6 prefix, if it is there.
    Del6(Ip6Prefix),
    /// Adds an IPv4 prefix of a VRF or points it elsewhere; the global table is not one.
    SetVrf4(VrfId, Ip4Prefix, GroupId),
    /// Removes an IPv4 prefix of a VRF, if it is there.
    DelVrf4(VrfId, Ip4Prefix),
    /// Adds an IPv6 prefix of a VRF or points it elsewhere; the global table is not one.
    SetVrf6(VrfId, Ip6Prefix, GroupId),
    /// Removes an IPv6 prefix of a VRF, if it is there.
    DelVrf6(VrfId, Ip6Prefix),
    /// Adds a label or changes it.
    SetLabel(Label, LabelEntry),
    /// Removes a label, if it is there.
    DelLabel(Label),
}

const _: () = assert!(size_of::<Op>() == 48); // what an IPv6 prefix and its group take

/// Changes that are applied together or not at all, under one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FibBatch {
    ops: Vec<Op>,
}

impl FibBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes all changes out; the room for them stays.
    pub fn clear(&mut self) {
        self.ops.clear();
    }

    /// Adds a change after the others.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The changes.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

impl Extend<Op> for FibBatch {
    fn extend<I: IntoIterator<Item = Op>>(&mut self, ops: I) {
        self.ops.extend(ops);
    }
}

impl FromIterator<Op> for FibBatch {
    fn from_iter<I: IntoIterator<Item = Op>>(ops: I) -> Self {
        Self {
            ops: Vec::from_iter(ops),
        }
    }
}

/// Some changes of a batch can't be made, so none was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing was changed: {} changes can't be made, the first ({:?}): {}", .refused.len(), .refused[0].op, .refused[0].error)]
pub struct BatchError {
    /// The refused ones, at least one, in order.
    pub refused: Vec<Refused>,
}

/// A change that was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch.
    pub index: usize,
    /// The change.
    pub op: Op,
    /// Why.
    pub error: FibError,
}
