//! The RIB: routes by prefix, the best of each resolved to groups and adjacencies in the forwarding tables.
//!
//! Read RFC 1812 5.2.4 (how a route is chosen); the resolution of next hops is in [`resolve`], the sharing of groups in
//! `sets`. The RIB does no I/O and knows no time: changes are recorded, and
//! [`Rib::drain`] writes what they come down to into a [`Sink`], at most so many entries at a time, so that a table of a
//! million routes never keeps a punted frame waiting (HABITS 20).
//!
//! Kinds of routes: connected and local ones follow from the addresses of the interfaces, static ones are set, neighbours
//! come from ARP and ND, BGP's from its Loc-RIB (`bgp`): one for a prefix at most, with the next hops that it chose.
//! A VRF's routes are in the same table under its number, and their path sets among all others: so what depends on a next hop
//! is found however many VRFs stand on it. Left out: metrics among routes of one source.

mod adjs;
mod bgp;
mod drain;
pub mod fib;
mod incoming;
mod ldp;
mod leaving;
mod look;
mod queues;
pub mod resolve;
mod sets;
mod shared;
pub mod sink;
pub mod spec;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use net::{IfaceId, Label, MacAddr, VrfId};

use adjs::Adjs;
pub use adjs::Want;
pub use bgp::{BgpRoute, Distances, FollowedHop, LabeledHop};
pub use drain::Progress;
use incoming::Incoming;
pub use ldp::{FecHop, FecRoute};
pub use look::{LabelView, RouteView};
use queues::{Queued, Queues};
use resolve::View;
pub use sets::SetId;
use sets::Sets;
use sink::OutLabel;
use spec::{Hop, IfaceSpec, LabelSpec, PathSpec, PathsSpec, Source};
use table::{Slot, Table, host, prefix};

/// A route: where it comes from, and its paths.
type Route = (Source, SetId);

/// The routes of a prefix, best first. Most have one.
#[derive(Debug, Default)]
enum Routes {
    #[default]
    None,
    One(Route),
    /// Boxed twice, so that an entry with one route is no larger for it.
    #[expect(clippy::box_collection, reason = "a thin pointer")]
    Many(Box<Vec<Route>>),
}

impl Routes {
    fn all(&self) -> &[Route] {
        match self {
            Self::None => &[],
            Self::One(route) => std::slice::from_ref(route),
            Self::Many(all) => all,
        }
    }

    fn all_mut(&mut self) -> &mut [Route] {
        match self {
            Self::None => &mut [],
            Self::One(route) => std::slice::from_mut(route),
            Self::Many(all) => all,
        }
    }

    fn insert(&mut self, at: usize, route: Route) {
        *self = match self.all() {
            [] => Self::One(route),
            all => {
                let (before, after) = all.split_at(at);
                Self::Many(Box::new([before, &[route], after].concat()))
            }
        };
    }

    fn remove(&mut self, at: usize) {
        *self = match self.all() {
            [] | [_] => Self::None,
            [a, b] => Self::One(if at == 0 { *b } else { *a }),
            all => Self::Many(Box::new([&all[..at], &all[at + 1..]].concat())),
        };
    }
}

/// What the table holds for a prefix.
#[derive(Debug, Default)]
struct Entry {
    routes: Routes,
    /// What the forwarding table has.
    installed: Option<SetId>,
    queued: Queued,
}

// A full table has a million of them, each beside its prefix.
const _: () = assert!(size_of::<(ipnet::Ipv4Net, Entry)>() <= 32);

/// What the table holds for a label.
#[derive(Debug)]
struct LabelEntry {
    /// What was asked for; `None` once it is deleted.
    spec: Option<LabelSpec>,
    set: Option<SetId>,
    installed: Option<(OutLabel, Option<SetId>)>,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Prefixes with a route.
    pub prefixes: usize,
    /// Labels.
    pub labels: usize,
    /// Groups.
    pub groups: usize,
    /// Adjacencies.
    pub adjacencies: usize,
}

/// The table.
#[derive(Debug, Default)]
pub struct Rib {
    ifaces: BTreeMap<IfaceId, IfaceSpec>,
    table: Table<Entry>,
    labels: BTreeMap<Label, LabelEntry>,
    /// Those of them that nobody is told any more.
    leaving: BTreeSet<Label>,
    sets: Sets,
    adjs: Adjs,
    queues: Queues,
    /// What BGP has set since; a drain begins with it.
    incoming: Incoming,
    /// What a drain collects; kept for the room it has.
    slice: drain::Slice,
    dirty_labels: BTreeSet<Label>,
    /// What a full table refused; tried again once something was removed.
    refused_sets: BTreeSet<SetId>,
    refused: BTreeSet<Slot>,
    freed: bool,
    followed: bgp::Followed,
    distances: Distances,
    /// What LDP is to hear of.
    fecs: ldp::Fecs,
    shared: shared::Shared,
}

impl View for Rib {
    fn matches(
        &self,
        vrf: VrfId,
        address: IpAddr,
    ) -> impl Iterator<Item = (IpNet, impl Iterator<Item = (Source, &[PathSpec])>)> {
        let is_route = |(s, _): &&Route| *s != Source::Neighbor;
        let covering = self.table.covering_in(vrf, address);
        covering.filter_map(move |(p, entry)| {
            let mut routes = entry.routes.all().iter().filter(is_route).peekable();
            routes.peek()?;
            Some((
                p,
                routes.filter_map(|(s, id)| Some((*s, &self.sets.get(*id)?.spec.paths[..]))),
            ))
        })
    }

    fn is_up(&self, iface: IfaceId) -> bool {
        self.ifaces.get(&iface).is_some_and(|i| i.up)
    }
}

// ---- changes ----

impl Rib {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an interface or replaces what is known of it: its addresses make connected and local routes.
    pub fn set_interface(&mut self, id: IfaceId, spec: IfaceSpec) {
        let old = self.ifaces.insert(id, spec.clone());
        let (before, was_up) = old
            .as_ref()
            .map_or((&[][..], false), |o| (&o.addresses[..], o.up));
        if old.is_none() || was_up != spec.up {
            self.sets.touch_iface(id);
        }
        if old.as_ref().is_none_or(|o| {
            (o.port, o.vlan, o.mac, o.mtu) != (spec.port, spec.vlan, spec.mac, spec.mtu)
        }) {
            self.adjs.touch_iface(id);
        }
        let vrf = spec.vrf;
        if let Some(old) = old.as_ref().filter(|o| o.vrf != vrf) {
            self.move_interface(id, old, &spec);
        } else if before != spec.addresses {
            let gone = routes_of(id, before);
            let come = routes_of(id, &spec.addresses);
            for (p, source, hop) in gone.difference(&come) {
                self.remove_route(vrf, *p, *source, &PathsSpec::single(*hop));
            }
            for (p, source, hop) in come.difference(&gone) {
                self.add_route(vrf, *p, *source, PathsSpec::single(*hop));
            }
        }
    }

    /// What an interface makes of routes goes from one table to another.
    fn move_interface(&mut self, id: IfaceId, old: &IfaceSpec, new: &IfaceSpec) {
        for (p, source, hop) in routes_of(id, &old.addresses) {
            self.remove_route(old.vrf, p, source, &PathsSpec::single(hop));
        }
        for (p, source, hop) in routes_of(id, &new.addresses) {
            self.add_route(new.vrf, p, source, PathsSpec::single(hop));
        }
        let known = self.adjs.known.keys().filter(|k| k.0 == id);
        for address in known.map(|k| k.1).collect::<Vec<_>>() {
            self.neighbor_route(old.vrf, id, address, false);
            self.neighbor_route(new.vrf, id, address, true);
        }
    }

    /// Takes an interface up or down; its routes leave the forwarding tables or come back.
    pub fn set_up(&mut self, id: IfaceId, up: bool) {
        if let Some(i) = self.ifaces.get_mut(&id).filter(|i| i.up != up) {
            i.up = up;
            self.sets.touch_iface(id);
        }
    }

    /// Removes an interface with its routes and neighbours.
    pub fn remove_interface(&mut self, id: IfaceId) {
        let Some(old) = self.ifaces.remove(&id) else {
            return;
        };
        for (p, source, hop) in routes_of(id, &old.addresses) {
            self.remove_route(old.vrf, p, source, &PathsSpec::single(hop));
        }
        let gone: Vec<IpAddr> = self
            .adjs
            .known
            .keys()
            .filter(|k| k.0 == id)
            .map(|k| k.1)
            .collect();
        for address in gone {
            self.lose_neighbor(old.vrf, id, address);
        }
        self.sets.touch_iface(id);
    }

    /// Sets the static route of a prefix in a table, or removes it.
    pub fn set_static(&mut self, vrf: VrfId, p: IpNet, spec: Option<PathsSpec>) {
        let id = spec.map(|spec| self.paths(&spec));
        self.set_static_to(vrf, p, id);
    }

    /// The set of these paths, for routes that are set before the next drain.
    pub fn paths(&mut self, spec: &PathsSpec) -> SetId {
        self.sets.intern(spec)
    }

    /// Sets the static route of a prefix to paths that [`Rib::paths`] gave, or removes it.
    pub fn set_static_to(&mut self, vrf: VrfId, p: IpNet, new: Option<SetId>) {
        let new = new.map(|id| (Source::Static, id));
        if let Some(slot) = self.set_only(vrf, p.trunc(), |s| s == Source::Static, new) {
            self.queues.later(slot, &mut self.table);
        }
    }

    /// Sets the one route of a prefix whose source `is_it`, or removes it. Returns what is to be looked at then.
    fn set_only(
        &mut self,
        vrf: VrfId,
        p: IpNet,
        is_it: impl Fn(Source) -> bool,
        new: Option<Route>,
    ) -> Option<Slot> {
        let slot = match new {
            Some(_) => self.table.entry_in(vrf, p),
            None => self.table.get_in(vrf, &p)?,
        };
        let entry = &mut self.table[slot];
        let old = entry.routes.all().iter().position(|(s, _)| is_it(*s));
        let old = old.map(|at| (at, entry.routes.all()[at]));
        match (old, new) {
            (None, None) => return None,
            (Some((_, old)), Some(new)) if old == new => return None,
            (None, Some(new)) => {
                let at = entry.routes.all().partition_point(|(s, _)| *s < new.0);
                entry.routes.insert(at, new);
            }
            (Some((at, old)), Some(new)) if old.0 == new.0 => entry.routes.all_mut()[at] = new,
            (Some((at, _)), Some(new)) => {
                // What stands between the two sources stays between them.
                entry.routes.remove(at);
                let at = entry.routes.all().partition_point(|(s, _)| *s < new.0);
                entry.routes.insert(at, new);
            }
            (Some((at, _)), None) => entry.routes.remove(at),
        }
        // The new set is held before the old is let go, so that what both share stays.
        if let Some((_, id)) = new {
            self.join(slot, id);
        }
        if let Some((_, (_, id))) = old {
            self.leave(id);
        }
        self.sets.touch_addresses(vrf, &p);
        // Of BGP's routes there are many, and none has a label of LDP's; those of VRFs are not in the core.
        let of = new.or(old.map(|o| o.1)).map(|r| r.0);
        if vrf == VrfId::GLOBAL && of.is_some_and(|s| !s.is_bgp() && s != Source::Ldp) {
            self.fecs.mark(p);
        }
        Some(slot)
    }

    /// A prefix has one more route with these paths.
    fn join(&mut self, slot: Slot, id: SetId) {
        if let Some(set) = self.sets.get_mut(id) {
            set.refs += 1;
            set.members.add(slot);
        }
    }

    /// A prefix has one less route with these paths.
    fn leave(&mut self, id: SetId) {
        let table = &self.table;
        if let Some(set) = self.sets.get_mut(id) {
            let is_one = |s: Slot| table[s].routes.all().iter().any(|r| r.1 == id);
            set.members.remove(is_one);
        }
        self.sets.release(id);
    }

    /// Sets a label's entry, or removes it.
    pub fn set_label(&mut self, label: Label, spec: Option<LabelSpec>) {
        if !self.leaving.is_empty() {
            self.leaving.remove(&label);
        }
        if self.labels.get(&label).map(|e| &e.spec) == Some(&spec) {
            return;
        }
        let set = spec.as_ref().and_then(|s| s.action.paths()).map(|paths| {
            let id = self.sets.intern(paths);
            self.sets.hold(id);
            if let Some(s) = self.sets.get_mut(id) {
                s.labels.insert(label);
            }
            id
        });
        if spec.is_none() && !self.labels.contains_key(&label) {
            return;
        }
        let entry = self.labels.entry(label).or_insert(LabelEntry {
            spec: None,
            set: None,
            installed: None,
        });
        entry.spec = spec;
        if let Some(old) = std::mem::replace(&mut entry.set, set) {
            if let Some(s) = self.sets.get_mut(old).filter(|_| Some(old) != set) {
                s.labels.remove(&label);
            }
            self.sets.release(old);
        }
        self.dirty_labels.insert(label);
    }

    /// A neighbour answered (again): its adjacency is complete, and packets to it no longer go by way of the glean.
    pub fn neighbor(&mut self, iface: IfaceId, address: IpAddr, mac: MacAddr) {
        let key = (iface, address);
        if self.adjs.known.insert(key, mac) == Some(mac) {
            return;
        }
        self.adjs.dirty.insert(key);
        self.neighbor_route(self.vrf_of(iface), iface, address, true);
        self.share_neighbor(iface, address, true);
    }

    /// The table of an interface.
    fn vrf_of(&self, iface: IfaceId) -> VrfId {
        self.ifaces.get(&iface).map_or(VrfId::GLOBAL, |i| i.vrf)
    }

    /// A neighbour's own route comes, or goes.
    fn neighbor_route(&mut self, vrf: VrfId, dev: IfaceId, address: IpAddr, comes: bool) {
        // Link-local addresses are per link, and never in the table.
        if matches!(address, IpAddr::V6(a) if a.is_unicast_link_local()) {
            return;
        }
        let spec = PathsSpec::single_in(vrf, Hop::Neighbor { dev, address });
        match comes {
            true => self.add_route(vrf, host(address), Source::Neighbor, spec),
            false => self.remove_route(vrf, host(address), Source::Neighbor, &spec),
        }
    }

    /// A neighbour answers no more.
    pub fn neighbor_lost(&mut self, iface: IfaceId, address: IpAddr) {
        self.lose_neighbor(self.vrf_of(iface), iface, address);
    }

    fn lose_neighbor(&mut self, vrf: VrfId, iface: IfaceId, address: IpAddr) {
        if self.adjs.known.remove(&(iface, address)).is_some() {
            self.adjs.dirty.insert((iface, address));
            self.neighbor_route(vrf, iface, address, false);
            self.share_neighbor(iface, address, false);
        }
    }

    fn add_route(&mut self, vrf: VrfId, p: IpNet, source: Source, spec: PathsSpec) {
        let id = self.sets.intern(&spec);
        let slot = self.table.entry_in(vrf, p);
        let routes = &self.table[slot].routes;
        if routes.all().contains(&(source, id)) {
            return;
        }
        // Among routes of one source the order is that of their paths, so that it does not matter which came first.
        let spec_of = |id: SetId| self.sets.get(id).map(|s| &s.spec);
        let at = routes
            .all()
            .partition_point(|(s, id)| (*s, spec_of(*id)) < (source, Some(&spec)));
        self.table[slot].routes.insert(at, (source, id));
        self.join(slot, id);
        self.touch(slot, vrf, p, source);
    }

    fn remove_route(&mut self, vrf: VrfId, p: IpNet, source: Source, spec: &PathsSpec) {
        let Some(slot) = self.table.get_in(vrf, &p) else {
            return;
        };
        let is_it = |id: &SetId| self.sets.get(*id).is_some_and(|s| s.spec == *spec);
        let routes = &mut self.table[slot].routes;
        let found = routes
            .all()
            .iter()
            .position(|(s, id)| *s == source && is_it(id));
        if let Some(at) = found {
            let (_, id) = routes.all()[at];
            routes.remove(at);
            self.leave(id);
            self.touch(slot, vrf, p, source);
        }
    }

    /// The routes of `p` have changed: those of a source that has few.
    fn touch(&mut self, slot: Slot, vrf: VrfId, p: IpNet, source: Source) {
        self.queues.soon(slot, &mut self.table[slot]);
        if source != Source::Neighbor {
            self.sets.touch_addresses(vrf, &p);
            if vrf == VrfId::GLOBAL {
                self.fecs.mark(p);
            }
        }
    }
}

/// The routes that an interface's addresses make.
fn routes_of(id: IfaceId, addresses: &[IpNet]) -> BTreeSet<(IpNet, Source, Hop)> {
    let mut out = BTreeSet::new();
    for a in addresses {
        let own = host(a.addr());
        out.insert((own, Source::Local, Hop::Local(id)));
        let connected = prefix(a.addr(), a.prefix_len());
        if connected != own {
            out.insert((connected, Source::Connected, Hop::Dev(id)));
        }
    }
    out
}
