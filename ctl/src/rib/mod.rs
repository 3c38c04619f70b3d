//! The RIB: routes by prefix, the best of each resolved to groups and adjacencies in the forwarding tables.
//!
//! Read RFC 1812 5.2.4 (how a route is chosen); the resolution of next hops is in [`resolve`], the sharing of groups in
//! `sets`. The RIB does no I/O and knows no time: changes are recorded, and
//! [`Rib::drain`] writes what they come down to into a [`Sink`], at most so many entries at a time, so that a table of a
//! million routes never keeps a punted frame waiting (HABITS 20).
//!
//! Kinds of routes: connected and local ones follow from the addresses of the interfaces, static ones are set, neighbours
//! come from ARP and ND, BGP's from its Loc-RIB (`bgp`): one for a prefix at most, with the next hops that it chose.
//! Left out: VRFs (not in this version), metrics among routes of one source.

mod adjs;
mod bgp;
pub mod fib;
mod look;
pub mod resolve;
mod sets;
pub mod sink;
pub mod spec;
pub mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;

use ipnet::IpNet;
use net::{IfaceId, Label, MacAddr};

use adjs::Adjs;
pub use adjs::Want;
pub use bgp::{Distances, FollowedHop};
pub use look::{LabelView, RouteView};
use resolve::{Resolved, Resolver, Target, View};
pub use sets::SetId;
use sets::Sets;
use sink::{Change, Full, OutLabel, OutPath, OutTarget, Sink};
use spec::{Discard, Hop, IfaceSpec, LabelAction, LabelSpec, PathSpec, PathsSpec, Source, TtlMode};
use table::{Slot, Table, host, prefix};

/// Sets with more prefixes than this queue them behind single changes.
const FEW: usize = 64;

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

/// Where a prefix waits to be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Queued {
    #[default]
    No,
    Soon,
    Later,
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
const _: () = assert!(size_of::<(IpNet, Entry)>() <= 48);

/// Prefixes to look at: single changes, then what hangs on great sets and full tables. One that is queued twice is looked
/// at once: what it says itself counts.
#[derive(Debug, Default)]
struct Queues {
    soon: VecDeque<Slot>,
    later: VecDeque<Slot>,
}

impl Queues {
    fn soon(&mut self, slot: Slot, entry: &mut Entry) {
        if entry.queued != Queued::Soon {
            entry.queued = Queued::Soon;
            self.soon.push_back(slot);
        }
    }

    fn later(&mut self, slot: Slot, entry: &mut Entry) {
        if entry.queued == Queued::No {
            entry.queued = Queued::Later;
            self.later.push_back(slot);
        }
    }

    fn pop(&mut self, which: Queued, table: &mut Table<Entry>) -> Option<Slot> {
        let queue = match which {
            Queued::Soon => &mut self.soon,
            _ => &mut self.later,
        };
        while let Some(slot) = queue.pop_front() {
            let entry = &mut table[slot];
            if entry.queued == which {
                entry.queued = Queued::No;
                return Some(slot);
            }
        }
        None
    }
}

/// What the table holds for a label.
#[derive(Debug)]
struct LabelEntry {
    /// What was asked for; `None` once it is deleted.
    spec: Option<LabelSpec>,
    set: Option<SetId>,
    installed: Option<(OutLabel, Option<SetId>)>,
}

/// Changes of prefixes and labels that a drain makes together, and the set that each then stands on. Nothing is noted in
/// the table before they are made, so that a refusal leaves nothing to be taken back.
#[derive(Debug, Default)]
struct Slice {
    changes: Vec<Change>,
    /// Of each change: the slot, if it is of a prefix, and the set.
    notes: Vec<(Option<Slot>, Option<SetId>)>,
}

impl Slice {
    fn push(&mut self, change: Change, slot: Option<Slot>, set: Option<SetId>) {
        self.changes.push(change);
        self.notes.push((slot, set));
    }
}

/// How far a drain came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries looked at.
    pub done: usize,
    /// True: there is more to do.
    pub more: bool,
    /// The first refusal of a full table in this drain.
    pub full: Option<Full>,
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
    sets: Sets,
    adjs: Adjs,
    queues: Queues,
    dirty_labels: BTreeSet<Label>,
    /// What a full table refused; tried again once something was removed.
    refused_sets: BTreeSet<SetId>,
    refused: BTreeSet<Slot>,
    freed: bool,
    followed: bgp::Followed,
    distances: Distances,
}

impl View for Rib {
    fn matches(
        &self,
        address: IpAddr,
    ) -> impl Iterator<Item = (IpNet, impl Iterator<Item = (Source, &[PathSpec])>)> {
        let is_route = |(s, _): &&Route| *s != Source::Neighbor;
        self.table.covering(address).filter_map(move |(p, entry)| {
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
        if before != spec.addresses {
            let gone = routes_of(id, before);
            let come = routes_of(id, &spec.addresses);
            for (p, source, hop) in gone.difference(&come) {
                self.remove_route(*p, *source, &PathsSpec::single(*hop));
            }
            for (p, source, hop) in come.difference(&gone) {
                self.add_route(*p, *source, PathsSpec::single(*hop));
            }
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
            self.remove_route(p, source, &PathsSpec::single(hop));
        }
        let gone: Vec<IpAddr> = self
            .adjs
            .known
            .keys()
            .filter(|k| k.0 == id)
            .map(|k| k.1)
            .collect();
        for address in gone {
            self.neighbor_lost(id, address);
        }
        self.sets.touch_iface(id);
    }

    /// Sets the static route of a prefix, or removes it.
    pub fn set_static(&mut self, p: IpNet, spec: Option<PathsSpec>) {
        let id = spec.map(|spec| self.paths(&spec));
        self.set_static_to(p, id);
    }

    /// The set of these paths, for routes that are set before the next drain.
    pub fn paths(&mut self, spec: &PathsSpec) -> SetId {
        self.sets.intern(spec)
    }

    /// Sets the static route of a prefix to paths that [`Rib::paths`] gave, or removes it.
    pub fn set_static_to(&mut self, p: IpNet, new: Option<SetId>) {
        self.set_only(
            p.trunc(),
            |s| s == Source::Static,
            new.map(|id| (Source::Static, id)),
        );
    }

    /// Sets the one route of a prefix whose source `is_it`, or removes it.
    fn set_only(&mut self, p: IpNet, is_it: impl Fn(Source) -> bool, new: Option<Route>) {
        let slot = match new {
            Some(_) => self.table.entry(p),
            None => match self.table.get(&p) {
                Some(slot) => slot,
                None => return,
            },
        };
        let entry = &mut self.table[slot];
        let old = entry.routes.all().iter().position(|(s, _)| is_it(*s));
        let old = old.map(|at| (at, entry.routes.all()[at]));
        match (old, new) {
            (None, None) => return,
            (Some((_, old)), Some(new)) if old == new => return,
            (None, Some(new)) => {
                let at = entry.routes.all().partition_point(|(s, _)| *s < new.0);
                entry.routes.insert(at, new);
            }
            (Some((at, _)), Some(new)) => entry.routes.all_mut()[at] = new,
            (Some((at, _)), None) => entry.routes.remove(at),
        }
        // The new set is held before the old is let go, so that what both share stays.
        if let Some((_, id)) = new {
            self.join(slot, id);
        }
        if let Some((_, (_, id))) = old {
            self.leave(id);
        }
        let entry = &mut self.table[slot];
        self.queues.later(slot, entry);
        self.sets.touch_addresses(&p);
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
        if self.labels.get(&label).map(|e| &e.spec) == Some(&spec) {
            return;
        }
        let set = match &spec {
            Some(LabelSpec {
                action: LabelAction::Forward(paths),
                ..
            }) => {
                let id = self.sets.intern(paths);
                self.sets.hold(id);
                if let Some(s) = self.sets.get_mut(id) {
                    s.labels.insert(label);
                }
                Some(id)
            }
            _ => None,
        };
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
        // Link-local addresses are per link, and never in the table.
        if !matches!(address, IpAddr::V6(a) if a.is_unicast_link_local()) {
            let hop = Hop::Neighbor {
                dev: iface,
                address,
            };
            self.add_route(host(address), Source::Neighbor, PathsSpec::single(hop));
        }
    }

    /// A neighbour answers no more.
    pub fn neighbor_lost(&mut self, iface: IfaceId, address: IpAddr) {
        if self.adjs.known.remove(&(iface, address)).is_some() {
            self.adjs.dirty.insert((iface, address));
            let hop = Hop::Neighbor {
                dev: iface,
                address,
            };
            self.remove_route(host(address), Source::Neighbor, &PathsSpec::single(hop));
        }
    }

    fn add_route(&mut self, p: IpNet, source: Source, spec: PathsSpec) {
        let id = self.sets.intern(&spec);
        let slot = self.table.entry(p);
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
        self.touch(slot, p, source);
    }

    fn remove_route(&mut self, p: IpNet, source: Source, spec: &PathsSpec) {
        let Some(slot) = self.table.get(&p) else {
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
            self.touch(slot, p, source);
        }
    }

    /// The routes of `p` have changed: those of a source that has few.
    fn touch(&mut self, slot: Slot, p: IpNet, source: Source) {
        self.queues.soon(slot, &mut self.table[slot]);
        if source != Source::Neighbor {
            self.sets.touch_addresses(&p);
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

// ---- the drain ----

impl Rib {
    /// Writes at most `budget` entries of what has changed into `sink`, prefixes and labels as one batch. What concerns
    /// neighbours, groups and single routes comes before what a great table change has left behind.
    pub fn drain(&mut self, sink: &mut impl Sink, budget: usize) -> Progress {
        let mut progress = Progress::default();
        if std::mem::take(&mut self.freed) {
            self.sets.dirty.append(&mut self.refused_sets);
            for slot in std::mem::take(&mut self.refused) {
                self.queues.later(slot, &mut self.table[slot]);
            }
        }
        let mut slice = Slice::default();
        while progress.done < budget && self.step(sink, &mut slice, &mut progress.full) {
            progress.done += 1;
        }
        self.apply(&slice, sink, &mut progress.full);
        if progress.done > 0 {
            sink.flush();
        }
        progress.more = self.is_dirty();
        progress
    }

    /// Has what was refused tried again by the next drain: readers may have left room since.
    pub fn retry(&mut self) {
        self.freed |= !(self.refused.is_empty() && self.refused_sets.is_empty());
    }

    /// Is there anything to drain?
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        let none = self.adjs.dirty.is_empty()
            && self.sets.dirty.is_empty()
            && self.queues.soon.is_empty()
            && self.dirty_labels.is_empty()
            && self.queues.later.is_empty();
        let retry = self.freed && !(self.refused.is_empty() && self.refused_sets.is_empty());
        !none || retry
    }

    /// Does one thing; false when there is none.
    ///
    /// Neighbours and sets come first. From the first prefix on no set is made, changed or removed in the same drain, as
    /// only what is noted after the slice could ask for that; so each prefix comes once, and each group in the slice stays.
    fn step(&mut self, sink: &mut impl Sink, slice: &mut Slice, full: &mut Option<Full>) -> bool {
        let result = if let Some(key) = self.adjs.dirty.pop_first() {
            if let Some(spec) = self.ifaces.get(&key.0) {
                self.adjs.write(key, spec, sink);
            }
            Ok(())
        } else if let Some(id) = self.sets.dirty.pop_first() {
            self.refresh_set(id, sink).inspect_err(|_| {
                self.refused_sets.insert(id);
            })
        } else if let Some(slot) = self.queues.pop(Queued::Soon, &mut self.table) {
            self.sync_prefix(slot, slice);
            Ok(())
        } else if let Some(label) = self.dirty_labels.pop_first() {
            self.sync_label(label, slice);
            Ok(())
        } else if let Some(slot) = self.queues.pop(Queued::Later, &mut self.table) {
            self.sync_prefix(slot, slice);
            Ok(())
        } else {
            return false;
        };
        if let Err(e) = result {
            full.get_or_insert(e);
        }
        true
    }

    /// Resolves a set anew and writes its group; removes it when nothing names it.
    fn refresh_set(&mut self, id: SetId, sink: &mut impl Sink) -> Result<(), Full> {
        let Some(set) = self.sets.get(id) else {
            return Ok(());
        };
        if set.refs == 0 {
            self.drop_set(id, sink);
            return Ok(());
        }
        let mut resolver = Resolver::new(&*self);
        let resolved = resolver.paths(&set.spec.paths);
        let (deps, depth) = (std::mem::take(&mut resolver.deps), resolver.depth);
        if let Some(hop) = set.followed {
            let metric = (!resolved.is_empty()).then_some(depth);
            self.followed.found(hop, metric);
        }
        if resolved == set.resolved && set.group.is_some() {
            self.sets.set_deps(id, deps);
            return Ok(());
        }
        let (was_live, ttl) = (set.live(), set.spec.ttl);
        let want = wants(&set.spec);
        let paths = self.hold_paths(&resolved, want, ttl, sink)?;
        let written = match set_group(self.sets.get(id)) {
            Some(group) => sink.replace_group(group, &paths).map(|()| group),
            None => sink.add_group(&paths),
        };
        self.sets.set_deps(id, deps);
        let Some(set) = self.sets.get_mut(id) else {
            return Ok(());
        };
        let group = match written {
            Ok(group) => group,
            Err(full) => {
                release_paths(&mut self.adjs, &resolved, want, sink);
                return Err(full);
            }
        };
        if set.group.replace(group).is_none() {
            self.dirty_labels.extend(&set.labels);
        }
        let old = std::mem::replace(&mut set.resolved, resolved);
        if was_live != set.live() {
            let few = set.members.len() <= FEW;
            for slot in set.members.iter() {
                let entry = &mut self.table[slot];
                match few {
                    true => self.queues.soon(slot, entry),
                    false => self.queues.later(slot, entry),
                }
            }
        }
        self.freed |= !old.is_empty();
        release_paths(&mut self.adjs, &old, want, sink);
        Ok(())
    }

    /// The paths of a group, the adjacency of each held.
    fn hold_paths(
        &mut self,
        resolved: &[Resolved],
        want: bool,
        ttl: TtlMode,
        sink: &mut impl Sink,
    ) -> Result<Vec<OutPath>, Full> {
        let mut out = Vec::with_capacity(resolved.len().max(1));
        for (n, r) in resolved.iter().enumerate() {
            let target = match r.target {
                Target::Glean(i) => Ok(OutTarget::Glean(i)),
                Target::Local(i) => Ok(OutTarget::Local(i)),
                Target::Discard(d) => Ok(OutTarget::Discard(d)),
                Target::Neighbor(i, address) => match self.ifaces.get(&i) {
                    Some(spec) => self
                        .adjs
                        .hold((i, address), want, spec, sink)
                        .map(OutTarget::Adjacency),
                    None => Err(Full("the interface is gone".into())),
                },
            };
            match target {
                Ok(target) => out.push(OutPath {
                    target,
                    push: r.labels.clone(),
                    ttl,
                    weight: r.weight,
                    backup: r.backup,
                }),
                Err(full) => {
                    release_paths(&mut self.adjs, &resolved[..n], want, sink);
                    return Err(full);
                }
            }
        }
        if out.is_empty() {
            // Frames already on the way to a group that has just lost its last path.
            let target = OutTarget::Discard(Discard::Unreachable);
            out.push(OutPath {
                target,
                push: net::LabelStack::new(),
                ttl,
                weight: 1,
                backup: false,
            });
        }
        Ok(out)
    }

    fn drop_set(&mut self, id: SetId, sink: &mut impl Sink) {
        let Some(set) = self.sets.remove(id) else {
            return;
        };
        self.refused_sets.remove(&id);
        if let Some(group) = set.group {
            sink.remove_group(group);
        }
        release_paths(&mut self.adjs, &set.resolved, wants(&set.spec), sink);
        self.freed = true;
    }

    /// Puts into the slice what makes the forwarding table's entry of a prefix what it is to be.
    fn sync_prefix(&mut self, slot: Slot, slice: &mut Slice) {
        if !self.refused.is_empty() {
            self.refused.remove(&slot);
        }
        let entry = &self.table[slot];
        let p = self.table.prefix(slot);
        let live = |id: SetId| self.sets.get(id).filter(|s| s.live()).and_then(|s| s.group);
        let routes = entry.routes.all();
        let best = routes.iter().find_map(|(_, id)| Some((*id, live(*id)?)));
        match best {
            Some((id, _)) if entry.installed == Some(id) => {}
            Some((id, group)) => slice.push(Change::Set(p, group), Some(slot), Some(id)),
            None if entry.installed.is_some() => slice.push(Change::Del(p), Some(slot), None),
            None if routes.is_empty() && self.table.get(&p) == Some(slot) => {
                self.table.remove(slot);
            }
            None => {}
        }
    }

    /// Puts into the slice what makes a label's entry what it is to be. A label whose paths carry nothing stays: its frames
    /// are unreachable.
    fn sync_label(&mut self, label: Label, slice: &mut Slice) {
        let Some(entry) = self.labels.get(&label) else {
            return;
        };
        let group = entry
            .set
            .and_then(|id| Some((id, self.sets.get(id)?.group?)));
        let wanted = match (&entry.spec, group) {
            (
                Some(LabelSpec {
                    action: LabelAction::PopLookup,
                    ttl,
                }),
                _,
            ) => Some((OutLabel::PopLookup(*ttl), None)),
            (Some(spec), Some((id, group))) => Some((OutLabel::Forward(group, spec.ttl), Some(id))),
            // The group is still to be made: the set's own refresh brings the label here again.
            (Some(_), None) => return,
            (None, _) => None,
        };
        match wanted {
            _ if wanted == entry.installed => {}
            Some((out, set)) => slice.push(Change::SetLabel(label, out), None, set),
            None => slice.push(Change::DelLabel(label), None, None),
        }
        if entry.spec.is_none() && entry.installed.is_none() {
            self.labels.remove(&label);
        }
    }

    /// Makes the changes of a slice together; where they do not fit, those that do, one by one.
    fn apply(&mut self, slice: &Slice, sink: &mut impl Sink, full: &mut Option<Full>) {
        let each = slice.changes.iter().zip(&slice.notes);
        if slice.changes.is_empty() {
            return;
        }
        if sink.apply(&slice.changes).is_ok() {
            each.for_each(|(change, (slot, set))| self.note(*change, *slot, *set));
            return;
        }
        for (change, (slot, set)) in each {
            match sink.apply(std::slice::from_ref(change)) {
                Ok(()) => self.note(*change, *slot, *set),
                Err(e) => {
                    full.get_or_insert(e);
                    self.refused.extend(slot);
                }
            }
        }
    }

    /// Notes a change that was made.
    fn note(&mut self, change: Change, slot: Option<Slot>, set: Option<SetId>) {
        if let Some(id) = set {
            self.sets.hold(id);
        }
        let old = match (change, slot) {
            (Change::Set(..) | Change::Del(_), Some(slot)) => {
                let entry = &mut self.table[slot];
                self.freed |= set.is_none();
                let old = std::mem::replace(&mut entry.installed, set);
                if set.is_none() && entry.routes.all().is_empty() {
                    self.table.remove(slot);
                }
                old
            }
            (Change::Set(..) | Change::Del(_), None) => None,
            (Change::SetLabel(label, out), _) => {
                let entry = self.labels.get_mut(&label);
                let old = entry.and_then(|e| e.installed.replace((out, set)));
                old.and_then(|(_, set)| set)
            }
            (Change::DelLabel(label), _) => {
                let old = self.labels.get_mut(&label).and_then(|e| e.installed.take());
                if self.labels.get(&label).is_some_and(|e| e.spec.is_none()) {
                    self.labels.remove(&label);
                }
                old.and_then(|(_, set)| set)
            }
        };
        if let Some(old) = old {
            self.sets.release(old);
        }
    }

    /// The neighbours that became, or ceased to be, next hops of routes since this was last asked.
    pub fn take_wants(&mut self) -> Vec<Want> {
        std::mem::take(&mut self.adjs.wants)
    }
}

fn set_group(set: Option<&sets::Set>) -> Option<net::GroupId> {
    set?.group
}

/// Do the next hops of these paths have to be kept resolved? Not those of a neighbour's own route.
fn wants(spec: &PathsSpec) -> bool {
    !matches!(
        spec.paths.first(),
        Some(PathSpec {
            hop: Hop::Neighbor { .. },
            ..
        })
    )
}

fn release_paths(adjs: &mut Adjs, resolved: &[Resolved], want: bool, sink: &mut impl Sink) {
    for r in resolved {
        if let Target::Neighbor(i, address) = r.target {
            adjs.release((i, address), want, sink);
        }
    }
}
