//! The label table: RFC 3031 3.11 (the incoming label map), one entry for each of the 2^20 labels.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::{GroupId, Label};

use crate::TtlMode;

/// Labels that there are.
const LABELS: usize = 1 << 20;

const OP_SHIFT: u32 = 30;
const PIPE: u32 = 1 << 28;
const GROUP: u32 = (1 << 28) - 1;

/// What is done with a labelled frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOp {
    /// Nobody asked for this label: drop.
    Unknown,
    /// Pop it, then go the way of the group, whose path may push: a swap, a swap to a stack, or a penultimate-hop pop.
    Forward,
    /// Pop it, then look up what is under it: the next label, or at the bottom of the stack the IP packet.
    PopLookup,
}

/// An entry, packed: the operation, the TTL model of the label that ends here, and the group. 0 is "unknown".
#[derive(Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct LabelEntry(u32);

impl LabelEntry {
    /// No such label.
    pub const UNKNOWN: Self = Self(0);

    /// [`LabelOp::Forward`] to a group.
    pub const fn forward(group: GroupId, ttl: TtlMode) -> Self {
        Self(1 << OP_SHIFT | pipe(ttl) | group.0 & GROUP)
    }

    /// [`LabelOp::PopLookup`] in the global table.
    pub const fn pop_lookup(ttl: TtlMode) -> Self {
        Self(2 << OP_SHIFT | pipe(ttl))
    }

    /// What to do.
    #[inline]
    pub const fn op(self) -> LabelOp {
        match self.0 >> OP_SHIFT {
            1 => LabelOp::Forward,
            2 => LabelOp::PopLookup,
            _ => LabelOp::Unknown,
        }
    }

    /// Where to, for [`LabelOp::Forward`]; else [`GroupId::NONE`].
    #[inline]
    pub const fn group(self) -> GroupId {
        GroupId(self.0 & GROUP)
    }

    /// What becomes of the popped label's TTL.
    #[inline]
    pub const fn ttl(self) -> TtlMode {
        if self.0 & PIPE == 0 {
            TtlMode::Uniform
        } else {
            TtlMode::Pipe
        }
    }
}

impl std::fmt::Debug for LabelEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}(group {}, {:?})",
            self.op(),
            self.group(),
            self.ttl()
        )
    }
}

const fn pipe(ttl: TtlMode) -> u32 {
    match ttl {
        TtlMode::Uniform => 0,
        TtlMode::Pipe => PIPE,
    }
}

/// One replica of the label table.
pub(crate) struct Lfib(HugeSlice<[AtomicU32; LABELS]>);

impl Lfib {
    pub(crate) const BYTES: usize = LABELS * 4;

    pub(crate) fn new(node: Option<u32>) -> io::Result<Self> {
        HugeSlice::zeroed(1, Backing::Small, node).map(Self)
    }

    #[inline]
    pub(crate) fn slot(&self, label: Label) -> &AtomicU32 {
        &self.0[0][label.index() & (LABELS - 1)]
    }

    #[inline]
    pub(crate) fn get(&self, label: Label) -> LabelEntry {
        // Acquire: pairs with the Release store in `set`; the group named here was published before.
        LabelEntry(self.slot(label).load(Ordering::Acquire))
    }

    /// Sets an entry; for the one writer.
    pub(crate) fn set(&self, label: Label, entry: LabelEntry) {
        self.slot(label).store(entry.0, Ordering::Release); // pairs with `get`
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_pack() {
        for ttl in [TtlMode::Uniform, TtlMode::Pipe] {
            let e = LabelEntry::forward(GroupId(65_535), ttl);
            assert_eq!(
                (e.op(), e.group(), e.ttl()),
                (LabelOp::Forward, GroupId(65_535), ttl)
            );
            let e = LabelEntry::pop_lookup(ttl);
            assert_eq!(
                (e.op(), e.group(), e.ttl()),
                (LabelOp::PopLookup, GroupId::NONE, ttl)
            );
        }
        assert_eq!(LabelEntry::UNKNOWN.op(), LabelOp::Unknown);
        assert_eq!(LabelEntry::default(), LabelEntry::UNKNOWN);
    }
}
