//! The short way from a group to what is written before its frames: one word, where the group is one path to a neighbour
//! with no label, or one. Read [`crate::group`] first.
//!
//! Left out: several paths, stacks of labels, entropy labels, and everything that does not leave; for those the group is looked at.

use net::{AdjId, Label};

use crate::{Group, Target, TcMode, TtlMode};

const LABEL: u32 = 32;
const LABELLED: u64 = 1 << 52;
const PIPE: u64 = 1 << 53;
const NO_TC: u64 = 1 << 54;

/// An adjacency, and the label that is pushed before it if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Express(u64);

impl Express {
    /// Of a group that is no more than that.
    pub(crate) fn of(group: &Group) -> Option<Self> {
        let path = group.only()?;
        let Target::Adjacency(id) = path.target else {
            return None;
        };
        let label = match path.push.as_slice() {
            [] => 0,
            [label] if path.entropy == 0 => LABELLED | u64::from(label.get()) << LABEL,
            _ => return None,
        };
        let pipe = if path.ttl == TtlMode::Pipe { PIPE } else { 0 };
        let no_tc = if path.tc == TcMode::Zero { NO_TC } else { 0 };
        let id = u64::from(id.0.checked_add(1)?);
        Some(Self(id | label | pipe | no_tc))
    }

    /// The word that is stored; 0 for none.
    pub(crate) fn word(this: Option<Self>) -> u64 {
        this.map_or(0, |e| e.0)
    }

    /// What was stored.
    #[inline]
    pub(crate) fn from_word(word: u64) -> Option<Self> {
        (word != 0).then_some(Self(word))
    }

    /// What was stored, without asking whether there is a way: if not, [`adj`](Self::adj) is none that there can be.
    #[inline(always)]
    pub(crate) const fn unasked(word: u64) -> Self {
        Self(word)
    }

    /// The adjacency.
    #[inline]
    #[must_use]
    pub const fn adj(self) -> AdjId {
        AdjId((self.0 as u32).wrapping_sub(1))
    }

    /// Whether no label is pushed.
    #[inline]
    #[must_use]
    pub const fn is_plain(self) -> bool {
        self.0 & LABELLED == 0
    }

    /// The label that is pushed.
    #[inline]
    #[must_use]
    pub const fn label(self) -> Option<Label> {
        if self.is_plain() {
            return None;
        }
        Label::new((self.0 >> LABEL) as u32 & Label::MAX.get())
    }

    /// How the label's TTL is set.
    #[inline]
    #[must_use]
    pub const fn ttl(self) -> TtlMode {
        if self.0 & PIPE == 0 {
            TtlMode::Uniform
        } else {
            TtlMode::Pipe
        }
    }

    /// How the label's TC is set, before an IP packet.
    #[inline]
    #[must_use]
    pub const fn tc(self) -> TcMode {
        if self.0 & NO_TC == 0 {
            TcMode::Dscp
        } else {
            TcMode::Zero
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Discard, Path};

    fn of(paths: &[(Path, u32)]) -> Option<Express> {
        Express::of(&Group::new(paths).unwrap())
    }

    #[test]
    fn one_neighbour_with_no_label_or_one() {
        let to = |n| Path::to(Target::Adjacency(AdjId(n)));
        let e = of(&[(to(7), 1)]).unwrap();
        assert_eq!((e.adj(), e.label(), e.is_plain()), (AdjId(7), None, true));
        let mut path = to(0);
        path.push.push(Label::MAX);
        (path.ttl, path.tc) = (TtlMode::Pipe, TcMode::Zero);
        let e = of(&[(path.clone(), 1)]).unwrap();
        assert_eq!((e.adj(), e.label()), (AdjId(0), Some(Label::MAX)));
        assert_eq!((e.ttl(), e.tc()), (TtlMode::Pipe, TcMode::Zero));
        assert_eq!(Express::from_word(Express::word(Some(e))), Some(e));
        (path.ttl, path.tc) = (TtlMode::Uniform, TcMode::Dscp);
        path.push[0] = Label::IPV4_EXPLICIT_NULL;
        let e = of(&[(path.clone(), 1)]).unwrap();
        assert_eq!(e.label(), Some(Label::IPV4_EXPLICIT_NULL));
        assert_eq!((e.ttl(), e.tc()), (TtlMode::Uniform, TcMode::Dscp));
        path.entropy = 1;
        assert_eq!(of(&[(path.clone(), 1)]), None);
        path.push.push(Label::MAX);
        path.entropy = 0;
        assert_eq!(of(&[(path, 1)]), None);
        assert_eq!(of(&[(to(1), 1), (to(2), 1)]), None);
        assert_eq!(
            of(&[(Path::to(Target::Discard(Discard::Prohibit)), 1)]),
            None
        );
    }
}
