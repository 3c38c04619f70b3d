//! The tables of the speaker: which there are, what is the same for all of them and what is not.
//!
//! Whatever is done for a family is written once, over [`Ours`]; `of_kind!` finds the table that is meant. A table more is a
//! [`Kind`] more, with an arm in the macro.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use ipnet::IpNet;

use super::Core;
use super::membership::{Asked, Mark};
use super::outbound::Groups;
use super::recheck::Recheck;
use super::routes::{Best, Use};
use super::show::Place;
use super::vpn::{Used, Vpns};
use crate::attrs::Labels;
use crate::rib::{
    Common, Key, L4, L6, Membership, Rib, Scoped, Table, V4, V6, Vpn4, Vpn6, Vrf4, Vrf6,
};
use crate::types::{Family, Label, PathId, PeerId, Rd, VrfNo};
use crate::wire::{EncodeError, Nlri, Packer};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    V4,
    V6,
    L4,
    L6,
    Vpn4,
    Vpn6,
    Vrf4,
    Vrf6,
    Targets,
}

impl Kind {
    pub(super) const ALL: [Self; 9] = [
        Self::V4,
        Self::V6,
        Self::L4,
        Self::L6,
        Self::Vpn4,
        Self::Vpn6,
        Self::Vrf4,
        Self::Vrf6,
        Self::Targets,
    ];

    /// The table of a family's routes, of neighbours in that VRF; `None`: nothing is kept of them.
    pub(super) fn of(vrf: VrfNo, family: Family) -> Option<Self> {
        match (family, vrf == VrfNo::GLOBAL) {
            (Family::Ipv4Unicast, true) => Some(Self::V4),
            (Family::Ipv6Unicast, true) => Some(Self::V6),
            (Family::Ipv4Labeled, true) => Some(Self::L4),
            (Family::Ipv6Labeled, true) => Some(Self::L6),
            (Family::Vpnv4, true) => Some(Self::Vpn4),
            (Family::Vpnv6, true) => Some(Self::Vpn6),
            (Family::RouteTarget, true) => Some(Self::Targets),
            (Family::Ipv4Unicast, false) => Some(Self::Vrf4),
            (Family::Ipv6Unicast, false) => Some(Self::Vrf6),
            _ => None,
        }
    }

    /// Is there a table of that family?
    pub(super) fn has(family: Family) -> bool {
        Self::of(VrfNo::GLOBAL, family).is_some()
    }

    /// Of VPNs or VRFs, which decide in turn: see `vpn`.
    pub(super) fn is_vpn(self) -> bool {
        matches!(self, Self::Vpn4 | Self::Vpn6 | Self::Vrf4 | Self::Vrf6)
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
            $crate::speaker::families::Kind::Vpn4 => {
                type $K = $crate::rib::Vpn4;
                $then
            }
            $crate::speaker::families::Kind::Vpn6 => {
                type $K = $crate::rib::Vpn6;
                $then
            }
            $crate::speaker::families::Kind::Vrf4 => {
                type $K = $crate::rib::Vrf4;
                $then
            }
            $crate::speaker::families::Kind::Vrf6 => {
                type $K = $crate::rib::Vrf6;
                $then
            }
            $crate::speaker::families::Kind::Targets => {
                type $K = $crate::rib::Membership;
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
    /// Those that have one and need none, as nobody is told of them with our address.
    unheard: HashSet<K>,
    /// Those whose best path has a label index, and which have another label than that of the index in our SRGB (RFC 8669 4.1).
    unacceptable: HashSet<K>,
}

impl<K: Key + Hash> Locals<K> {
    pub(super) fn get(&self, key: K) -> Option<Label> {
        self.labels.get(&key).copied()
    }

    /// Has it a label other than the one that its index asks for?
    pub(super) fn is_unacceptable(&self, key: K) -> bool {
        !self.unacceptable.is_empty() && self.unacceptable.contains(&key)
    }

    /// The label is another, or there is none; `wanted`: and there should be one. True: neighbours have heard of another.
    pub(super) fn set(&mut self, key: K, label: Option<Label>, wanted: bool) -> bool {
        let old = match label {
            Some(l) => self.labels.insert(key, l),
            None => self.labels.remove(&key),
        };
        if wanted && label.is_none() {
            self.lacking.insert(key);
        } else {
            self.lacking.remove(&key);
        }
        label.is_some() && old.is_some() && old != label
    }

    /// Nobody hears of it with a label of ours, and it has none.
    pub(super) fn set_unheard(&mut self, key: K, is: bool) {
        if is {
            self.unheard.insert(key);
        } else if !self.unheard.is_empty() {
            self.unheard.remove(&key);
        }
    }

    /// Those that may be heard of now.
    pub(super) fn take_unheard(&mut self) -> HashSet<K> {
        std::mem::take(&mut self.unheard)
    }

    /// Its best path has a label index that it does not go by, or it has none such.
    pub(super) fn set_unacceptable(&mut self, key: K, is: bool) {
        if is {
            self.unacceptable.insert(key);
        } else if !self.unacceptable.is_empty() {
            self.unacceptable.remove(&key);
        }
    }

    /// Those that might have another label, were they asked for again.
    pub(super) fn unacceptable(&self) -> impl Iterator<Item = K> {
        self.unacceptable.iter().copied()
    }

    /// All that have one.
    pub(super) fn labelled(&self) -> impl Iterator<Item = K> {
        self.labels.keys().copied()
    }

    /// Those that should have a label and have none.
    pub(super) fn take_lacking(&mut self) -> HashSet<K> {
        std::mem::take(&mut self.lacking)
    }
}

/// Who may be told of routes with our address for a next hop, and so with a label of ours where the family has some.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hearers {
    #[default]
    Nobody,
    Only(PeerId),
    Several,
}

impl Hearers {
    pub(super) fn of(groups: &Groups) -> Self {
        let groups = groups.values().filter(|g| g.tells_own_hop());
        let mut all = groups.flat_map(|g| &g.members);
        match (all.next(), all.next()) {
            (None, _) => Self::Nobody,
            (Some(one), None) => Self::Only(*one),
            (Some(_), Some(_)) => Self::Several,
        }
    }

    /// Is one of them told of a route of that neighbour's?
    pub(super) fn hear(self, from: PeerId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Only(one) => one != from,
            Self::Several => true,
        }
    }

    /// Are all of them among those?
    pub(super) fn are_among(self, others: Self) -> bool {
        self == Self::Nobody || others == Self::Several || self == others
    }
}

/// What there is of a family beside its table.
#[derive(Debug)]
pub(super) struct Side<K> {
    pub(super) groups: Groups,
    pub(super) again: Recheck<K>,
    pub(super) locals: Locals<K>,
    pub(super) marks: Vec<Mark<K>>,
    /// Who heard of routes with our labels last.
    pub(super) hearers: Hearers,
}

impl<K> Default for Side<K> {
    fn default() -> Self {
        Self {
            groups: Groups::new(),
            again: Recheck::default(),
            hearers: Hearers::default(),
            locals: Locals {
                labels: HashMap::new(),
                lacking: HashSet::new(),
                unheard: HashSet::new(),
                unacceptable: HashSet::new(),
            },
            marks: Vec::new(),
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
    vpn4: Side<Vpn4>,
    vpn6: Side<Vpn6>,
    vrf4: Side<Vrf4>,
    vrf6: Side<Vrf6>,
    targets: Side<Membership>,
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

    /// The VRF that it is of, where each has its own; `None`: it is of none.
    fn vrf(self) -> Option<VrfNo> {
        None
    }

    /// The same prefix in that VRF, where each has its own.
    fn in_vrf(self, _: VrfNo) -> Self {
        self
    }

    /// A prefix of that VRF; `None`: it is not enough to say which this is.
    fn within(_: VrfNo, net: IpNet) -> Option<Self> {
        Self::from_net(net)
    }

    /// What tells it from all others of its table.
    fn place(self) -> Place {
        Place {
            space: [0; 8],
            net: self.net(),
        }
    }

    /// The one of that place.
    fn at(place: Place) -> Option<Self> {
        Self::from_net(place.net)
    }

    /// Does what is used of its table come into other tables?
    fn leaks(_: &Vpns) -> bool {
        false
    }

    /// It is this by now.
    fn leak(_: &mut Core, _: &[Used<Self>]) {}

    /// A neighbour has such a path, that was not refused, or no more.
    fn note(self, _: &mut Asked, _: PeerId, _has: bool) {}

    /// The prefixes of a part of an UPDATE, and their labels where they have some.
    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a, Self>;

    /// Adds it to a message; the labels count where the family has some.
    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError>;

    /// Tells of the paths that are used now, the best first; the label of ours for such packets. `heard`: somebody is told it.
    fn tell(self, to: &mut impl Best, by: &[Use<'_>], heard: bool) -> Option<Label>;
}

/// Where the table of a key is, and what there is beside it: fields of the same name in [`Rib`] and [`Sides`].
macro_rules! kept_in {
    ($field:ident) => {
        fn table(rib: &mut Rib) -> (&mut Table<Self>, &mut Common) {
            (&mut rib.$field, &mut rib.common)
        }

        fn table_ref(rib: &Rib) -> &Table<Self> {
            &rib.$field
        }

        fn side(sides: &mut Sides) -> &mut Side<Self> {
            &mut sides.$field
        }

        fn side_ref(sides: &Sides) -> &Side<Self> {
            &sides.$field
        }
    };
}

impl Ours for V4 {
    kept_in!(v4);

    fn leaks(vpns: &Vpns) -> bool {
        vpns.across.comes_in()
    }

    fn leak(core: &mut Core, changed: &[Used<Self>]) {
        core.leak4(changed);
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
    fn tell(self, to: &mut impl Best, by: &[Use<'_>], _: bool) -> Option<Label> {
        to.best(self.net(), by);
        None
    }
}

impl Ours for V6 {
    kept_in!(v6);

    fn leaks(vpns: &Vpns) -> bool {
        vpns.across.comes_in()
    }

    fn leak(core: &mut Core, changed: &[Used<Self>]) {
        core.leak6(changed);
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
    fn tell(self, to: &mut impl Best, by: &[Use<'_>], _: bool) -> Option<Label> {
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
    kept_in!(l4);

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        labeled(nlri)
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError> {
        to.labeled(id, labels, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>], heard: bool) -> Option<Label> {
        to.labeled(self.net(), by, heard)
    }
}

impl Ours for L6 {
    kept_in!(l6);

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        labeled(nlri)
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError> {
        to.labeled(id, labels, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>], heard: bool) -> Option<Label> {
        to.labeled(self.net(), by, heard)
    }
}

impl Ours for Vpn4 {
    kept_in!(vpn4);

    fn within(_: VrfNo, _: IpNet) -> Option<Self> {
        None
    }

    fn place(self) -> Place {
        let Scoped { space, key } = self;
        Place {
            space: space.0,
            net: key.net(),
        }
    }

    fn at(place: Place) -> Option<Self> {
        Self::of(Rd(place.space), place.net)
    }

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        let all = nlri.vpn();
        all.filter_map(|(id, labels, rd, net)| Some((id, Some(labels), Self::of(rd, net)?)))
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError> {
        to.vpn(id, labels, self.space, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>], _: bool) -> Option<Label> {
        to.vpn(self.space, self.net(), by)
    }
}

impl Ours for Vpn6 {
    kept_in!(vpn6);

    fn within(_: VrfNo, _: IpNet) -> Option<Self> {
        None
    }

    fn place(self) -> Place {
        let Scoped { space, key } = self;
        Place {
            space: space.0,
            net: key.net(),
        }
    }

    fn at(place: Place) -> Option<Self> {
        Self::of(Rd(place.space), place.net)
    }

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        let all = nlri.vpn();
        all.filter_map(|(id, labels, rd, net)| Some((id, Some(labels), Self::of(rd, net)?)))
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, labels: &[Label]) -> Result<(), EncodeError> {
        to.vpn(id, labels, self.space, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>], _: bool) -> Option<Label> {
        to.vpn(self.space, self.net(), by)
    }
}

impl Ours for Vrf4 {
    kept_in!(vrf4);

    fn vrf(self) -> Option<VrfNo> {
        Some(self.space)
    }

    fn in_vrf(self, space: VrfNo) -> Self {
        Self { space, ..self }
    }

    fn within(vrf: VrfNo, net: IpNet) -> Option<Self> {
        Self::of(vrf, net)
    }

    fn place(self) -> Place {
        Place {
            space: u64::from(self.space.0).to_be_bytes(),
            net: self.net(),
        }
    }

    fn at(place: Place) -> Option<Self> {
        let [.., a, b] = place.space;
        Self::of(VrfNo(u16::from_be_bytes([a, b])), place.net)
    }

    /// Which VRF it is of follows from the neighbour that it is in: [`Ours::in_vrf`].
    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        let all = nlri.ipv4();
        all.filter_map(|(id, net)| Some((id, None, Self::of(VrfNo::GLOBAL, net.into())?)))
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, _: &[Label]) -> Result<(), EncodeError> {
        to.net(id, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>], _: bool) -> Option<Label> {
        to.vrf(self.space, self.net(), by)
    }
}

impl Ours for Vrf6 {
    kept_in!(vrf6);

    fn vrf(self) -> Option<VrfNo> {
        Some(self.space)
    }

    fn in_vrf(self, space: VrfNo) -> Self {
        Self { space, ..self }
    }

    fn within(vrf: VrfNo, net: IpNet) -> Option<Self> {
        Self::of(vrf, net)
    }

    fn place(self) -> Place {
        Place {
            space: u64::from(self.space.0).to_be_bytes(),
            net: self.net(),
        }
    }

    fn at(place: Place) -> Option<Self> {
        let [.., a, b] = place.space;
        Self::of(VrfNo(u16::from_be_bytes([a, b])), place.net)
    }

    /// Which VRF it is of follows from the neighbour that it is in: [`Ours::in_vrf`].
    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        let all = nlri.ipv6();
        all.filter_map(|(id, net)| Some((id, None, Self::of(VrfNo::GLOBAL, net.into())?)))
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, _: &[Label]) -> Result<(), EncodeError> {
        to.net(id, self.net())
    }

    fn tell(self, to: &mut impl Best, by: &[Use<'_>], _: bool) -> Option<Label> {
        to.vrf(self.space, self.net(), by)
    }
}

impl Ours for Membership {
    kept_in!(targets);

    fn within(_: VrfNo, _: IpNet) -> Option<Self> {
        None
    }

    fn at(place: Place) -> Option<Self> {
        Self::of(place.net)
    }

    fn note(self, asked: &mut Asked, peer: PeerId, has: bool) {
        asked.note(peer, self.into(), has);
    }

    fn read<'a>(
        nlri: &Nlri<'a>,
    ) -> impl Iterator<Item = (PathId, Option<Labels<'a>>, Self)> + use<'a> {
        nlri.route_targets().map(|(id, t)| (id, None, t.into()))
    }

    fn pack(self, to: &mut Packer<'_>, id: PathId, _: &[Label]) -> Result<(), EncodeError> {
        to.route_target(id, self.into())
    }

    /// No packet goes by it.
    fn tell(self, _: &mut impl Best, _: &[Use<'_>], _: bool) -> Option<Label> {
        None
    }
}

/// The prefix that policies see: a membership has none.
pub(super) fn seen(family: Family, net: IpNet) -> Option<IpNet> {
    (family != Family::RouteTarget).then_some(net)
}

/// Does the RPKI know of prefixes of a family in that VRF? What is in a VPN is nobody's but the customer's.
pub(super) fn is_public(family: Family, vrf: VrfNo) -> bool {
    use Family::{Ipv4Labeled, Ipv4Unicast, Ipv6Labeled, Ipv6Unicast};
    let unicast = matches!(
        family,
        Ipv4Unicast | Ipv6Unicast | Ipv4Labeled | Ipv6Labeled
    );
    unicast && vrf == VrfNo::GLOBAL
}

#[cfg(test)]
mod tests;
