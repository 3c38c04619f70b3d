//! The drain: what has changed is resolved, and written into the forwarding tables, so many entries at a time.
//!
//! Read [`Rib::drain`] and then `step_sets`, which says what comes first.

use std::collections::BTreeSet;

use net::{Label, VrfId};

use super::Rib;
use super::adjs::{Adjs, Want};
use super::queues::Queued;
use super::resolve::{Resolved, Resolver, Target};
use super::sets::{self, SetId};
use super::sink::{Change, Full, OutLabel, OutPath, OutTarget, Sink};
use super::spec::{Discard, Hop, LabelAction, LabelSpec, PathSpec, PathsSpec, TtlMode};
use super::table::Slot;

/// Sets with more prefixes than this queue them behind single changes.
const FEW: usize = 64;

/// Changes of prefixes and labels that a drain makes together, and the set that each then stands on. Nothing is noted in
/// the table before they are made, so that a refusal leaves nothing to be taken back.
#[derive(Debug, Default)]
pub(super) struct Slice {
    changes: Vec<Change>,
    /// Of each change: the slot, if it is of a prefix, and the set.
    notes: Vec<(Option<Slot>, Option<SetId>)>,
    /// Prefixes in it that have changed once more since.
    again: Vec<Slot>,
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

impl Rib {
    /// Writes at most `budget` entries of what has changed into `sink`, prefixes and labels as one batch. What concerns
    /// neighbours, groups and single routes comes before what a great table change has left behind.
    pub fn drain(&mut self, sink: &mut impl Sink, budget: usize) -> Progress {
        let mut progress = Progress::default();
        if std::mem::take(&mut self.freed) {
            self.sets.dirty.append(&mut self.refused_sets);
            for slot in std::mem::take(&mut self.refused) {
                self.queues.later(slot, &mut self.table);
            }
        }
        while progress.done < budget && self.step_sets(sink, &mut progress.full) {
            progress.done += 1;
        }
        let mut slice = std::mem::take(&mut self.slice);
        progress.done += self.take_in(self.room_for_incoming(budget - progress.done), &mut slice);
        while progress.done < budget && self.step(&mut slice) {
            progress.done += 1;
        }
        self.apply(&slice, sink, &mut progress.full);
        slice.changes.clear();
        slice.notes.clear();
        for slot in slice.again.drain(..) {
            self.queues.next(slot, &mut self.table[slot]);
        }
        self.slice = slice;
        if progress.done > 0 {
            sink.flush();
        }
        progress.more = self.is_dirty();
        progress
    }

    /// Has what was refused tried again by the next drain: readers may have left room since. Gives room back that is not used
    /// now. To be called every second or so.
    pub fn retry(&mut self) {
        self.incoming.tidy();
        self.freed |= !(self.refused.is_empty() && self.refused_sets.is_empty());
    }

    /// Is there anything to drain?
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        let retry = self.freed && !(self.refused.is_empty() && self.refused_sets.is_empty());
        retry || self.is_urgent() || self.waiting() > 0
    }

    /// Is there anything that has to be drained without delay?
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        !self.adjs.dirty.is_empty()
            || !self.sets.dirty.is_empty()
            || self.queues.soons() > 0
            || !self.dirty_labels.is_empty()
    }

    /// How many labels have no entry yet, or an old one.
    #[must_use]
    pub fn labels_waiting(&self) -> usize {
        self.dirty_labels.len()
    }

    /// How many prefixes a great table change has left to be drained, and BGP has set.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queues.many() + self.incoming.len()
    }

    /// How many of BGP's routes a drain takes in that has `budget` left: single changes have theirs first, and what else is
    /// queued has half of the rest.
    fn room_for_incoming(&self, budget: usize) -> usize {
        let room = budget.saturating_sub(self.queues.soons() + self.dirty_labels.len());
        match self.queues.many() {
            0 => room,
            _ => room.div_ceil(2),
        }
    }

    /// Does one thing for a neighbour or a set; false when there is none.
    ///
    /// They come first. From the first prefix on no set is made, changed or removed in the same drain, so each group in the
    /// slice stays.
    fn step_sets(&mut self, sink: &mut impl Sink, full: &mut Option<Full>) -> bool {
        let result = if let Some(key) = first(&mut self.adjs.dirty) {
            if let Some(spec) = self.ifaces.get(&key.0) {
                self.adjs.write(key, spec, sink);
            }
            Ok(())
        } else if let Some(id) = first(&mut self.sets.dirty) {
            self.refresh_set(id, sink).inspect_err(|_| {
                self.refused_sets.insert(id);
            })
        } else {
            return false;
        };
        if let Err(e) = result {
            full.get_or_insert(e);
        }
        true
    }

    /// Does one thing for a prefix or a label; false when there is none.
    fn step(&mut self, slice: &mut Slice) -> bool {
        if let Some(slot) = self.queues.pop(Queued::Soon, &mut self.table) {
            self.sync_prefix(slot, slice);
        } else if let Some(label) = first(&mut self.dirty_labels) {
            self.sync_label(label, slice);
        } else if let Some(slot) = self.queues.pop(Queued::Later, &mut self.table) {
            self.sync_prefix(slot, slice);
        } else {
            return false;
        }
        true
    }

    /// A route of BGP's was put in: into the slice with it, once. What is queued is left to its turn.
    pub(super) fn sync_incoming(&mut self, slot: Slot, slice: &mut Slice) {
        match self.table[slot].queued {
            Queued::No => {
                let before = slice.changes.len();
                self.sync_prefix(slot, slice);
                if slice.changes.len() > before {
                    self.table[slot].queued = Queued::Slice;
                }
            }
            Queued::Slice => slice.again.push(slot),
            Queued::Soon | Queued::Later => {}
        }
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
        // BGP's prefixes have no labels of LDP's, and there are many.
        if !set
            .spec
            .paths
            .iter()
            .any(|p| matches!(p.hop, Hop::Bgp { .. }))
        {
            let global = |s: &Slot| self.table.vrf(*s) == VrfId::GLOBAL;
            for slot in set.members.iter().filter(global) {
                self.fecs.mark(self.table.prefix(slot));
            }
        }
        if was_live != set.live() {
            let few = set.members.len() <= FEW;
            for slot in set.members.iter() {
                match few {
                    true => self.queues.soon(slot, &mut self.table[slot]),
                    false => self.queues.later(slot, &mut self.table),
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
                    entropy: r.entropy,
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
                entropy: 0,
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
        let (p, vrf) = (self.table.prefix(slot), self.table.vrf(slot));
        let set = |group| match vrf {
            VrfId::GLOBAL => Change::Set(p, group),
            _ => Change::SetIn(vrf, p, group),
        };
        let del = match vrf {
            VrfId::GLOBAL => Change::Del(p),
            _ => Change::DelIn(vrf, p),
        };
        let live = |id: SetId| self.sets.get(id).filter(|s| s.live()).and_then(|s| s.group);
        let routes = entry.routes.all();
        let best = routes.iter().find_map(|(_, id)| Some((*id, live(*id)?)));
        match best {
            Some((id, _)) if entry.installed == Some(id) => {}
            Some((id, group)) => slice.push(set(group), Some(slot), Some(id)),
            None if entry.installed.is_some() => slice.push(del, Some(slot), None),
            None if routes.is_empty() && self.table.get_in(vrf, &p) == Some(slot) => {
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
        let wanted = match &entry.spec {
            None => None,
            Some(LabelSpec { action, ttl }) => match (action, group) {
                (LabelAction::PopLookup(vrf), _) => Some((OutLabel::PopLookup(*vrf, *ttl), None)),
                (LabelAction::PopLast, _) => Some((OutLabel::PopLast(*ttl), None)),
                (LabelAction::PopForward(..), Some((id, group))) => {
                    Some((OutLabel::PopForward(group, *ttl), Some(id)))
                }
                (LabelAction::Forward(_), Some((id, group))) => {
                    Some((OutLabel::Forward(group, *ttl), Some(id)))
                }
                // The group is still to be made: the set's own refresh brings the label here again.
                (LabelAction::PopForward(..) | LabelAction::Forward(_), None) => return,
            },
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
                    if let Some(slot) = slot {
                        self.table[*slot].queued = Queued::No;
                        self.refused.insert(*slot);
                    }
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
            // A prefix.
            (_, Some(slot)) => {
                let entry = &mut self.table[slot];
                entry.queued = Queued::No;
                self.freed |= set.is_none();
                let old = std::mem::replace(&mut entry.installed, set);
                if set.is_none() && entry.routes.all().is_empty() {
                    self.table.remove(slot);
                }
                old
            }
            (_, None) => None,
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

/// Mostly there is none.
#[inline]
fn first<T: Ord>(set: &mut BTreeSet<T>) -> Option<T> {
    match set.is_empty() {
        true => None,
        false => set.pop_first(),
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
