//! The tables of the speaker: which there are, what is the same for all of them and what is not.
//!
//! Whatever is done for a family is written once, over [`Ours`]; `of_kind!` finds the table that is meant. A table more is a
//! [`Kind`] more, with an arm in the macro.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use super::Core;
use super::outbound::Groups;
use super::recheck::Recheck;
use super::routes::{Best, Use};
use crate::attrs::Labels;
use crate::rib::{Common, Key, L4, L6, Rib, Table, V4, V6};
use crate::types::{Family, Label, PathId};
use crate::wire::{EncodeError, Nlri, Packer};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    V4,
    V6,
    L4,
    L6,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::V4, Self::V6, Self::L4, Self::L6];

    /// The table of a family's routes; `None`: nothing is kept of them.
    pub(super) fn of(family: Family) -> Option<Self> {
        match family {
            Family::Ipv4Unicast => Some(Self::V4),
            Family::Ipv6Unicast => Some(Self::V6),
            Family::Ipv4Labeled => Some(Self::L4),
            Family::Ipv6Labeled => Some(Self::L6),
            _ => None,
        }
    }

    /// Is there a table of that family?
    pub(super) fn has(family: Family) -> bool {
        Self::of(family).is_some()
    }
}

/// `of_kind!(kind, K => …)`: the same for the table that is meant, `K` being its key.
macro_rules! of_kind {
    ($kind:expr, $K:ident => $then:expr) => {
        match $kind {
            $crate::speaker::families::Kind::V4 => {
                type $K = $crate::rib::V4;
                $then
            }
            $crate::speaker::families::Kind::V6 => {
                type $K = $crate::rib::V6;
                $then
            }
            $crate::speaker::families::Kind::L4 => {
                type $K = $crate::rib::L4;
                $then
            }
            $crate::speaker::families::Kind::L6 => {
                type $K = $crate::rib::L6;
                $then
            }
        }
    };
}
pub(super) use of_kind;

/// The labels of ours, by prefix, that neighbours send us packets with where they have our address for a next hop.
#[derive(Debug)]
pub(super) struct Locals<K> {
    labels: HashMap<K, Label>,
    /// Those that have a best path, and got none.
    lacking: HashSet<K>,
}

impl<K: Key + Hash> Locals<K> {
    pub(super) fn get(&self, key: K) -> Option<Label> {
        self.labels.get(&key).copied()
    }

    /// The label is another, or there is none; `wanted`: and there should be one.
    pub(super) fn set(&mut self, key: K, label: Option<Label>, wanted: bool) {
        match label {
            Some(l) => drop(self.labels.insert(key, l)),
            None => drop(self.labels.remove(&key)),
        }
        if wanted && label.is_none() {
            self.lacking.insert(key);
        } else {
            self.lacking.remove(&key);
        }
    }

    /// Those that should have a label and have none.
    pub(super) fn take_lacking(&mut self) -> HashSet<K> {
        std::mem::take(&mut self.lacking)
    }
}

/// What there is of a family beside its table.
#[derive(Debug)]
pub(super) struct Side<K> {
    pub(super) groups: Groups,
    pub(super) again: Recheck<K>,
    pub(super) locals: Locals<K>,
}

impl<K> Default for Side<K> {
    fn default() -> Self {
        Self {
            groups: Groups::new(),
            again: Recheck::default(),
            locals: Locals {
                labels: HashMap::new(),
                lacking: HashSet::new(),
            },
        }
    }
}

/// That of all families.
#[derive(Debug, Default)]
pub(super) struct Sides {
    v4: Side<V4>,
    v6: Side<V6>,
    l4: Side<L4>,
    l6: Side<L6>,
}

/// A key whose table the speaker has.
pub(super) trait Ours: Key + Hash {
    fn table(rib: &mut Rib) -> (&mut Table<Self>, &mut Common);
    fn table_ref(rib: &Rib) -> &Table<Self>;
    fn side(sides: &mut Sides) -> &mut Side<Self>;
    fn side_ref(sides: &Sides) -> &Side<Self>;

    fn groups(core: &mut Core) -> &mut Groups {
        &mut Self::side(&mut core.sides).groups
    }

    /// The prefixes of a part of an UPDATE, and their labels where they have some.
    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a, Self>;

    /// Adds it to a message; the labels count where the family has some.
    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError>;

    /// Tells of the paths that are used now, the best first; the label of ours for such packets.
    fn tell(self, to: &mut impl Best, by: &[Use<'_>]) -> Option<Label>;
}

impl Ours for V4 {
    fn table(rib: &mut Rib) -> (&mut Table<Self>, &mut Common) {
        (&mut rib.v4, &mut rib.common)
    }

    fn table_ref(rib: &Rib) -> &Table<Self> {
        &rib.v4
    }

    fn side(sides: &mut Sides) -> &mut Side<Self> {
        &mut sides.v4
    }

    fn side_ref(sides: &Sides) -> &Side<Self> {
        &sides.v4
    }

    #[inline]
    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        nlri.ipv4().map(|(id, net)| (id, None, net.into()))
    }

    #[inline]
    fn pack(self, to: &mut Packer<'_>, id: PathId, _: &[Label]) -> Result<(), EncodeError> {
        to.ipv4(id, self.into())
    }

    #[inline]
    fn tell(self, to: &mut impl Best, by: &[Use<'_>]) -> Option<Label> {
        to.best(self.net(), by);
        None
    }
}

impl Ours for V6 {
    fn table(rib: &mut Rib) -> (&mut Table<Self>, &mut Common) {
        (&mut rib.v6, &mut rib.common)
    }

    fn table_ref(rib: &Rib) -> &Table<Self> {
        &rib.v6
    }

    fn side(sides: &mut Sides) -> &mut Side<Self> {
        &mut sides.v6
    }

    fn side_ref(sides: &Sides) -> &Side<Self> {
        &sides.v6
    }

    #[inline]
    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        nlri.ipv6().map(|(id, net)| (id, None, net.into()))
    }

    #[inline]
    fn pack(self, to: &mut Packer<'_>, id: PathId, _: &[Label]) -> Result<(), EncodeError> {
        to.ipv6(id, self.into())
    }

    #[inline]
    fn tell(self, to: &mut impl Best, by: &[Use<'_>]) -> Option<Label> {
        to.best(self.net(), by);
        None
    }
}

/// Prefixes with labels, of one of the families.
fn labeled<'a, K: Key>(
    nlri: &Nlri<'a>,
) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, K)> + use<'a, K> {
    let all = nlri.labeled();
    all.filter_map(|(id, labels, net)| Some((id, Some(labels), K::from_net(net)?)))
}

impl Ours for L4 {
    fn table(rib: &mut Rib) -> (&mut Table<Self>, &mut Common) {
        (&mut rib.l4, &mut rib.common)
    }

    fn table_ref(rib: &Rib) -> &Table<Self> {
        &rib.l4
    }

    fn side(sides: &mut Sides) -> &mut Side<Self> {
        &mut sides.l4
    }

    fn side_ref(sides: &Sides) -> &Side<Self> {
        &sides.l4
    }

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        labeled(nlri)
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError> {
        to.labeled(id, labels, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>]) -> Option<Label> {
        to.labeled(self.net(), by)
    }
}

impl Ours for L6 {
    fn table(rib: &mut Rib) -> (&mut Table<Self>, &mut Common) {
        (&mut rib.l6, &mut rib.common)
    }

    fn table_ref(rib: &Rib) -> &Table<Self> {
        &rib.l6
    }

    fn side(sides: &mut Sides) -> &mut Side<Self> {
        &mut sides.l6
    }

    fn side_ref(sides: &Sides) -> &Side<Self> {
        &sides.l6
    }

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        labeled(nlri)
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError> {
        to.labeled(id, labels, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>]) -> Option<Label> {
        to.labeled(self.net(), by)
    }
}

#[cfg(test)]
mod tests;
