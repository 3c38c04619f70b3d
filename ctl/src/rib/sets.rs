//! Path sets: the paths of routes, kept once for all routes that ask for the same, each with the group that frames use.
//!
//! A set lives as long as a route names it or a forwarding table still points at its group. Its group keeps its id for
//! that long: a change of next hop rewrites the group and touches no prefix.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use net::{GroupId, IfaceId, Label};

use super::resolve::{Deps, Resolved};
use super::spec::PathsSpec;

/// A path set's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SetId(u32);

/// One path set.
#[derive(Debug)]
pub(crate) struct Set {
    pub(crate) spec: PathsSpec,
    /// How many routes, labels and installed entries name it.
    pub(crate) refs: usize,
    pub(crate) group: Option<GroupId>,
    /// What it came down to when it was last resolved.
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) deps: Deps,
    /// The prefixes that have a route with these paths, best or not.
    pub(crate) prefixes: BTreeSet<IpNet>,
    pub(crate) labels: BTreeSet<Label>,
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
    by_address: BTreeMap<IpAddr, BTreeSet<SetId>>,
    by_iface: BTreeMap<IfaceId, BTreeSet<SetId>>,
    pub(crate) dirty: BTreeSet<SetId>,
}

impl Sets {
    /// The set of these paths, made (and marked for resolution) when there is none. Its reference is the caller's to count.
    pub(crate) fn intern(&mut self, spec: PathsSpec) -> SetId {
        if let Some(&id) = self.by_spec.get(&spec) {
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            SetId((self.slots.len() - 1) as u32)
        });
        self.by_spec.insert(spec.clone(), id);
        self.slots[id.0 as usize] = Some(Set {
            spec,
            refs: 0,
            group: None,
            resolved: Vec::new(),
            deps: Deps::default(),
            prefixes: BTreeSet::new(),
            labels: BTreeSet::new(),
        });
        self.dirty.insert(id);
        id
    }

    pub(crate) fn get(&self, id: SetId) -> Option<&Set> {
        self.slots.get(id.0 as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: SetId) -> Option<&mut Set> {
        self.slots.get_mut(id.0 as usize)?.as_mut()
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
        let set = self.slots.get_mut(id.0 as usize)?.take()?;
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
        let Some(set) = self.slots.get_mut(id.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        if set.deps == deps {
            return;
        }
        let old = std::mem::replace(&mut set.deps, deps.clone());
        forget(&mut self.by_address, &old.addresses, id);
        forget(&mut self.by_iface, &old.ifaces, id);
        for a in deps.addresses {
            self.by_address.entry(a).or_default().insert(id);
        }
        for i in deps.ifaces {
            self.by_iface.entry(i).or_default().insert(id);
        }
    }

    /// Marks every set whose resolution looked up an address between these two.
    pub(crate) fn touch_addresses(&mut self, first: IpAddr, last: IpAddr) {
        for ids in self.by_address.range(first..=last).map(|(_, ids)| ids) {
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
