//! Path sets: the paths of routes, kept once for all routes that ask for the same, each with the group that frames use.
//!
//! A set lives as long as a route names it, a next hop is followed by it, or a forwarding table still points at its group. Its
//! group keeps its id for that long: a change of next hop rewrites the group and touches no prefix.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use net::{GroupId, IfaceId, Label, VrfId};

use super::resolve::{Deps, Resolved};
use super::spec::PathsSpec;
use super::table::{Slot, bounds};

/// A path set's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetId(NonZeroU32);

impl SetId {
    fn new(at: usize) -> Self {
        let number = u32::try_from(at + 1).ok().and_then(NonZeroU32::new);
        Self(number.unwrap_or(NonZeroU32::MAX))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }

    /// For who keeps many of them.
    #[inline]
    pub(super) fn number(self) -> u32 {
        self.0.get()
    }

    /// That of a number that [`SetId::number`] gave.
    #[inline]
    pub(super) fn of_number(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }
}

/// The prefixes that have a route with a set's paths, best or not. Nothing is searched to put one in or to take one out: what
/// went is left in the list until half of it is such.
#[derive(Debug, Default)]
pub(crate) struct Members {
    list: Vec<Slot>,
    len: usize,
}

/// Lists shorter than this are left as they are.
const SHORT: usize = 64;

impl Members {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn add(&mut self, slot: Slot) {
        self.list.push(slot);
        self.len += 1;
    }

    /// One has gone; `is_one` says of a slot whether it still is one.
    pub(crate) fn remove(&mut self, is_one: impl Fn(Slot) -> bool) {
        self.len -= 1;
        if self.list.len() > 2 * self.len + SHORT {
            self.list.sort_unstable();
            self.list.dedup();
            self.list.retain(|s| is_one(*s));
        }
    }

    /// All of them, and some that went; some come twice.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.list.iter().copied()
    }
}

/// One path set.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) spec: PathsSpec,
    /// How many routes, labels, followed next hops and installed entries name it.
    pub(crate) refs: usize,
    pub(crate) group: Option<GroupId>,
    /// What it came down to when it was last resolved.
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) deps: Deps,
    pub(crate) members: Members,
    pub(crate) labels: BTreeSet<Label>,
    /// The next hop that BGP follows by it.
    pub(crate) followed: Option<super::FollowedHop>,
}

impl Set {
    /// Does it carry anything?
    pub(crate) fn live(&self) -> bool {
        self.group.is_some() && !self.resolved.is_empty()
    }
}

/// All path sets, and what each depends on.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    slots: Vec<Option<Set>>,
    free: Vec<SetId>,
    by_spec: HashMap<PathsSpec, SetId>,
    by_address: BTreeMap<(VrfId, IpAddr), BTreeSet<SetId>>,
    /// The first 16 bits of the addresses in `by_address`, a bit each: most changes of a full table are told apart by them.
    near: Near,
    by_iface: BTreeMap<IfaceId, BTreeSet<SetId>>,
    pub(crate) dirty: BTreeSet<SetId>,
}

/// A bit for each value of the first 16 bits of an address, both families in one; bits are only set.
#[derive(Debug)]
struct Near(Box<[u64; 1024]>);

impl Default for Near {
    fn default() -> Self {
        Self(Box::new([0; 1024]))
    }
}

impl Near {
    fn first(address: IpAddr) -> usize {
        match address {
            IpAddr::V4(a) => (a.to_bits() >> 16) as usize,
            IpAddr::V6(a) => (a.to_bits() >> 112) as usize,
        }
    }

    fn insert(&mut self, address: IpAddr) {
        let at = Self::first(address);
        self.0[at / 64] |= 1 << (at % 64);
    }

    /// False: none within `p`.
    fn may_have(&self, p: &IpNet) -> bool {
        let at = Self::first(p.network());
        p.prefix_len() < 16 || self.0[at / 64] >> (at % 64) & 1 == 1
    }
}

impl Sets {
    /// The set of these paths, made (and marked for resolution) when there is none. Its reference is the caller's to count.
    pub(crate) fn intern(&mut self, spec: &PathsSpec) -> SetId {
        if let Some(&id) = self.by_spec.get(spec) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            SetId::new(self.slots.len() - 1)
        });
        self.by_spec.insert(spec.clone(), id);
        self.slots[id.index()] = Some(Set {
            spec: spec.clone(),
            refs: 0,
            group: None,
            resolved: Vec::new(),
            deps: Deps::default(),
            members: Members::default(),
            labels: BTreeSet::new(),
            followed: None,
        });
        self.dirty.insert(id);
        id
    }

    /// Changes what sets ask for. Those that `change` says it has changed are resolved anew, and all that may stand on one of
    /// them. No two may become the same.
    pub(crate) fn rewrite(&mut self, change: impl Fn(&mut PathsSpec) -> bool) {
        let mut any = false;
        for (at, set) in self.slots.iter_mut().enumerate() {
            let Some(set) = set else { continue };
            let mut spec = set.spec.clone();
            if change(&mut spec) {
                let id = SetId::new(at);
                self.by_spec.remove(&set.spec);
                self.by_spec.insert(spec.clone(), id);
                set.spec = spec;
                self.dirty.insert(id);
                any = true;
            }
        }
        if any {
            self.dirty.extend(self.by_address.values().flatten());
        }
    }

    pub(crate) fn get(&self, id: SetId) -> Option<&Set> {
        self.slots.get(id.index())?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.slots.get_mut(id.index())?.as_mut()
    }

    pub(crate) fn hold(&mut self, id: SetId) {
        if let Some(s) = self.get_mut(id) {
            s.refs += 1;
        }
    }

    /// Gives up a reference; a set without any is removed by the next drain.
    pub(crate) fn release(&mut self, id: SetId) {
        if let Some(s) = self.get_mut(id) {
            s.refs -= 1;
            if s.refs == 0 {
                self.dirty.insert(id);
            }
        }
    }

    /// Takes a set out, whoever refers to it.
    pub(crate) fn remove(&mut self, id: SetId) -> Option<Set> {
        self.set_deps(id, Deps::default());
        let set = self.slots.get_mut(id.index())?.take()?;
        self.by_spec.remove(&set.spec);
        self.free.push(id);
        Some(set)
    }

    /// Records what a set's resolution looked at.
    pub(crate) fn set_deps(&mut self, id: SetId, mut deps: Deps) {
        deps.addresses.sort_unstable();
        deps.addresses.dedup();
        deps.ifaces.sort_unstable();
        deps.ifaces.dedup();
        let Some(set) = self.slots.get_mut(id.index()).and_then(Option::as_mut) else {
            return;
        };
        if set.deps == deps {
            return;
        }
        let old = std::mem::replace(&mut set.deps, deps.clone());
        forget(&mut self.by_address, &old.addresses, id);
        forget(&mut self.by_iface, &old.ifaces, id);
        for a in deps.addresses {
            self.near.insert(a.1);
            self.by_address.entry(a).or_default().insert(id);
        }
        for i in deps.ifaces {
            self.by_iface.entry(i).or_default().insert(id);
        }
    }

    /// Marks every set whose resolution looked up an address within `p` in that table.
    pub(crate) fn touch_addresses(&mut self, vrf: VrfId, p: &IpNet) {
        if !self.near.may_have(p) {
            return;
        }
        let (first, last) = bounds(p);
        let within = (vrf, first)..=(vrf, last);
        for ids in self.by_address.range(within).map(|(_, ids)| ids) {
            self.dirty.extend(ids);
        }
    }

    /// Marks every set whose resolution asked for the state of an interface.
    pub(crate) fn touch_iface(&mut self, iface: IfaceId) {
        if let Some(ids) = self.by_iface.get(&iface) {
            self.dirty.extend(ids);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Set> {
        self.slots.iter().flatten()
    }
}

fn forget<K: Ord>(index: &mut BTreeMap<K, BTreeSet<SetId>>, keys: &[K], id: SetId) {
    for k in keys {
        if let Some(ids) = index.get_mut(k) {
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(k);
            }
        }
    }
}
