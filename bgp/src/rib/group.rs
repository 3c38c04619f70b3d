//! Update groups: neighbours who are told the same, and how far each of them is.
//!
//! The members of a group are in *cohorts*. Those of the first keep pace: what one is told all are, encoded once. A member who
//! joins, asks for everything again, or reads too slowly is in a cohort of its own (or with others who joined at the same
//! time) until it has caught up. For each cohort there is what it was told ([`Adj`]) and a bit for each prefix that it has
//! to be told of; so whatever happens while somebody does not read, it costs two bits for a prefix, and when he reads
//! again he is told what holds then.

use super::adj::{Adj, PathSets, Sources};
use super::bits::BitSet;
use super::key::Key;
use super::store::{AttrId, Store};
use super::table::{Common, Path, Table};
use super::view::Cursor;
use crate::types::PeerId;

/// The number of an update group in its table; given again when it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);

/// Which paths a group is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advertise {
    /// The best.
    Best,
    /// The best of eBGP where the best of all is of iBGP (draft-ietf-idr-best-external), else the best.
    BestExternal,
    /// So many, the best first (RFC 7911).
    AddPath(u16),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) peer: PeerId,
    /// To be told when it has everything.
    pub(super) end_of_rib: bool,
}

/// A path to be told of, or a prefix (with add-path, a path) to be withdrawn: then `attr` is none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) attr: u32,
    pub(super) entry: u32,
    pub(super) path_id: u32,
    pub(super) peer: u16,
}

/// The walk over what a cohort has to be told of: several rounds, each of some attributes, if it is a lot.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub(super) cursor: u32,
    /// The numbers of attributes where rounds end; the first is that of the round at hand.
    pub(super) cuts: std::collections::VecDeque<u32>,
    /// Where the round at hand begins.
    pub(super) from: u32,
}

/// The walk that marks what a cohort has to be told of from the beginning, or again. Nothing is told until it is over, so
/// that messages are full.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marking {
    /// The entry where it goes on.
    pub(super) next: u32,
    /// What was sent with an identifier counts as one that has to be sent again.
    pub(super) again: bool,
}

impl Marking {
    /// From the first entry on.
    const fn all(again: bool) -> Option<Self> {
        Some(Self { next: 0, again })
    }
}

/// Members at the same position.
#[derive(Debug)]
pub(super) struct Cohort {
    pub(super) members: Vec<Member>,
    pub(super) adj: Adj,
    pub(super) pending: BitSet,
    /// Sorted by attributes; told up to `told`.
    pub(super) batch: Vec<Item>,
    pub(super) told: usize,
    pub(super) pass: Option<Pass>,
    pub(super) marking: Option<Marking>,
    /// The batch is not whole yet.
    pub(super) collecting: bool,
    /// Nothing was told yet.
    pub(super) fresh: bool,
    /// All that was marked when it began has been told.
    pub(super) passed: bool,
}

impl Cohort {
    fn new(adj: Adj, pending: BitSet) -> Self {
        Self {
            members: Vec::new(),
            adj,
            pending,
            batch: Vec::new(),
            told: 0,
            pass: None,
            marking: None,
            collecting: false,
            fresh: true,
            passed: false,
        }
    }

    /// Nothing left to tell?
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.told == self.batch.len() && self.marking.is_none()
    }

    /// Puts what was collected, and not told yet, back.
    fn unwind(&mut self) {
        for i in self.batch.drain(..).skip(self.told) {
            self.pending.insert(i.entry);
        }
        (self.told, self.pass, self.passed) = (0, None, false);
        self.collecting = false;
    }

    /// All of the batch has been told.
    pub(super) fn clear(&mut self) {
        self.told = 0;
        self.batch.clear();
        if self.pass.is_none() && self.batch.capacity() > 4096 {
            self.batch = Vec::new();
        }
    }
}

/// What a cohort that is no more was told: its counts are given back, and entries that it alone held, by [`Table::work`].
#[derive(Debug)]
pub(super) struct Orphan {
    adj: Adj,
    /// The entry where that goes on.
    next: u32,
}

/// Neighbours who are told the same.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) mode: Advertise,
    /// Only prefixes of that space are told.
    pub(super) space: Option<u64>,
    /// The first is that of those who keep pace.
    pub(super) cohorts: Vec<Cohort>,
}

impl Group {
    fn new(mode: Advertise, space: Option<u64>) -> Self {
        Self {
            mode,
            space,
            cohorts: vec![Cohort::new(Self::nothing(mode), BitSet::new())],
        }
    }

    fn nothing(mode: Advertise) -> Adj {
        match mode {
            Advertise::AddPath(_) => Adj::Paths(PathSets::new()),
            _ => Adj::From(Sources::default()),
        }
    }

    /// The same without members.
    fn bare(&self) -> Self {
        Self::new(self.mode, self.space)
    }

    /// Is it told of prefixes of that space?
    fn is_of(&self, space: u64) -> bool {
        self.space.is_none_or(|s| s == space)
    }

    /// Without members nothing is kept.
    fn is_empty(&self) -> bool {
        self.cohorts.iter().all(|c| c.members.is_empty())
    }

    pub(super) fn mark(&mut self, e: u32) {
        if self.is_empty() {
            return;
        }
        for c in &mut self.cohorts {
            c.pending.insert(e);
        }
    }

    /// What was sent of the entry with identifiers counts as not sent.
    pub(super) fn forget_sent(&mut self, store: &mut Store, e: u32) {
        for c in &mut self.cohorts {
            if let Adj::Paths(p) = &mut c.adj {
                p.again(store, e);
            }
        }
    }

    /// Does somebody still have to be told that the entry is empty?
    pub(super) fn holds(&self, e: u32) -> bool {
        self.cohorts.iter().any(|c| c.adj.has(e))
    }

    pub(super) fn forget(&mut self, e: u32) {
        for c in &mut self.cohorts {
            c.pending.remove(e);
        }
    }

    pub(super) fn memory(&self) -> usize {
        let cohort = |c: &Cohort| {
            c.adj.memory() + c.pending.memory() + c.batch.capacity() * size_of::<Item>()
        };
        self.cohorts.iter().map(cohort).sum()
    }

    fn find(&self, peer: PeerId) -> Option<(usize, usize)> {
        self.cohorts.iter().enumerate().find_map(|(i, c)| {
            let at = c.members.iter().position(|m| m.peer == peer)?;
            Some((i, at))
        })
    }

    /// Takes a member out of its cohort into a new one, which has been told what it has been.
    pub(super) fn detach(&mut self, store: &mut Store, from: usize, at: usize) -> &mut Cohort {
        let c = &mut self.cohorts[from];
        let member = c.members.swap_remove(at);
        let adj = match &c.adj {
            Adj::Paths(p) => Adj::Paths(p.copy(store)),
            other => Adj::Some(other.bits(Some(member.peer))),
        };
        let mut pending = c.pending.clone();
        for i in &c.batch[c.told..] {
            pending.insert(i.entry);
        }
        let mut new = Cohort::new(adj, pending);
        new.members.push(member);
        (new.fresh, new.passed, new.marking) = (false, c.passed, c.marking);
        self.cohorts.push(new);
        let last = self.cohorts.len() - 1;
        &mut self.cohorts[last]
    }

    /// A cohort that is where the first is becomes part of it. What such cohorts were told is left over.
    pub(super) fn merge(&mut self, left: &mut Vec<Orphan>) {
        for i in (1..self.cohorts.len()).rev() {
            if self.cohorts[i].is_idle() && self.cohorts[0].is_idle() {
                let c = self.cohorts.swap_remove(i);
                self.cohorts[0].members.extend(c.members);
                if matches!(c.adj, Adj::Paths(_)) {
                    left.push(Orphan {
                        adj: c.adj,
                        next: 0,
                    });
                }
            }
        }
    }
}

impl<K: Key> Table<K> {
    /// A new update group, without members.
    pub fn add_group(&mut self, mode: Advertise) -> GroupId {
        self.add_group_of(mode, None)
    }

    /// A new update group that is told of prefixes of one space alone ([`Key::space_number`]): changes elsewhere cost it next to
    /// nothing.
    pub fn add_group_of(&mut self, mode: Advertise, space: Option<u64>) -> GroupId {
        let free = self.groups.iter().position(Option::is_none);
        let n = free.unwrap_or_else(|| {
            self.groups.push(None);
            self.groups.len() - 1
        });
        self.groups[n] = Some(Group::new(mode, space));
        self.sensitive |= mode != Advertise::Best;
        GroupId(n as u16)
    }

    /// Takes a group away, with its members.
    pub fn remove_group(&mut self, group: GroupId) {
        let Some(g) = self.groups.get_mut(usize::from(group.0)) else {
            return;
        };
        for c in g.take().into_iter().flat_map(|g| g.cohorts) {
            self.release_cohort(c);
        }
        let more = |g: &Group| g.mode != Advertise::Best;
        self.sensitive = self.groups.iter().flatten().any(more);
    }

    fn release_cohort(&mut self, c: Cohort) {
        self.orphans.push(Orphan {
            adj: c.adj,
            next: 0,
        });
    }

    /// Goes on with what cohorts left over, for so many entries; how many it looked at.
    pub(super) fn bury(&mut self, common: &mut Common, budget: usize) -> usize {
        let mut left = budget;
        while left > 0
            && let Some(mut o) = self.orphans.pop()
        {
            let all = o.adj.bound();
            let end = all.min(
                o.next
                    .saturating_add(u32::try_from(left).unwrap_or(u32::MAX)),
            );
            for e in o.next..end {
                if o.adj.has(e) {
                    o.adj.release(&mut common.store, e);
                    self.reap(e);
                }
            }
            left -= (end - o.next) as usize;
            o.next = end;
            if end < all {
                self.orphans.push(o);
            }
        }
        budget - left
    }

    pub(super) fn group(&mut self, group: GroupId) -> Option<&mut Group> {
        self.groups.get_mut(usize::from(group.0))?.as_mut()
    }

    /// A neighbour becomes a member: it will be told everything, and then of `end_of_rib`.
    pub fn join(&mut self, group: GroupId, peer: PeerId) {
        let Some(g) = self.group(group) else {
            return;
        };
        if g.find(peer).is_some() {
            return;
        }
        let member = Member {
            peer,
            end_of_rib: true,
        };
        if g.is_empty() {
            g.cohorts[0].marking = Marking::all(false);
            g.cohorts[0].members.push(member);
            return;
        }
        if let Some(c) = g.cohorts.iter_mut().find(|c| c.fresh) {
            c.members.push(member);
            return;
        }
        let adj = match g.mode {
            Advertise::AddPath(_) => Adj::Paths(PathSets::new()),
            _ => Adj::Some(BitSet::new()),
        };
        let mut c = Cohort::new(adj, BitSet::new());
        c.marking = Marking::all(false);
        c.members.push(member);
        g.cohorts.push(c);
    }

    /// A member is told nothing any more, and is forgotten.
    pub fn leave(&mut self, group: GroupId, peer: PeerId) {
        let Some(g) = self.group(group) else {
            return;
        };
        let Some((i, at)) = g.find(peer) else {
            return;
        };
        g.cohorts[i].members.swap_remove(at);
        if g.is_empty() {
            let bare = g.bare();
            let old = std::mem::replace(g, bare);
            for c in old.cohorts {
                self.release_cohort(c);
            }
        } else if i > 0 && g.cohorts[i].members.is_empty() {
            let c = g.cohorts.swap_remove(i);
            self.release_cohort(c);
        }
    }

    /// The group's export policy is another: all is told again, or withdrawn where it is not wanted any more.
    pub fn export_again(&mut self, group: GroupId) {
        let Some(g) = self.group(group).filter(|g| !g.is_empty()) else {
            return;
        };
        for c in &mut g.cohorts {
            c.unwind();
            c.marking = Marking::all(true);
        }
    }

    /// A member asked for everything again (RFC 2918); then it is told of `end_of_rib`.
    pub fn resend(&mut self, common: &mut Common, group: GroupId, peer: PeerId) {
        let Some(g) = self.group(group) else {
            return;
        };
        let Some((i, at)) = g.find(peer) else {
            return;
        };
        // With add-path, what was sent is known and would not be sent again: forgotten, but for what has to be withdrawn.
        let alone = i > 0 && g.cohorts[i].members.len() == 1;
        let c = if alone {
            g.cohorts[i].unwind();
            &mut g.cohorts[i]
        } else {
            g.detach(&mut common.store, i, at)
        };
        c.marking = Marking::all(true);
        (c.members[0].end_of_rib, c.passed) = (true, false);
    }

    /// A member moves to another group, because what it is to be told is another thing now: it is told what differs (as
    /// attributes that were told are not kept, whatever its new group is told), and to drop what its new group is not told.
    /// Both groups use path identifiers, or both do not; else it has to leave and join.
    pub fn regroup(&mut self, common: &mut Common, from: GroupId, to: GroupId, peer: PeerId) {
        let kind = |g: &Group| matches!(g.mode, Advertise::AddPath(_));
        let a = self.group(from).map(|g| kind(g));
        let b = self.group(to).map(|g| kind(g));
        let Some(g) = self.group(from).filter(|_| a == b && from != to) else {
            return;
        };
        let Some((i, at)) = g.find(peer) else {
            return;
        };
        let last = if i > 0 && g.cohorts[i].members.len() == 1 {
            i
        } else {
            g.detach(&mut common.store, i, at);
            g.cohorts.len() - 1
        };
        let mut c = g.cohorts.swap_remove(last);
        c.unwind();
        let mut left = Vec::new();
        if g.is_empty() {
            let bare = g.bare();
            left = std::mem::replace(g, bare).cohorts;
        }
        c.marking = Marking::all(true);
        if let Some(g) = self.group(to) {
            if g.is_empty() {
                g.cohorts[0].marking = Marking::all(false);
            }
            c.fresh = false;
            g.cohorts.push(c);
        }
        for c in left {
            self.release_cohort(c);
        }
    }

    /// How many prefixes (with add-path, paths) a member was told of; for one who lags, at most so many.
    #[must_use]
    pub fn advertised_count(&self, group: GroupId, peer: PeerId) -> usize {
        let g = self.groups.get(usize::from(group.0));
        let Some((g, (i, _))) = g
            .and_then(Option::as_ref)
            .and_then(|g| Some((g, g.find(peer)?)))
        else {
            return 0;
        };
        match &g.cohorts[i].adj {
            Adj::From(s) => s.told(peer) as usize,
            Adj::Some(bits) => bits.len(),
            Adj::Paths(p) => p.total as usize,
        }
    }

    /// The paths that a member was told of, in order, paged as [`Table::walk`]: what export makes of them is the caller's to say.
    /// What it has not been told yet of the latest changes is not in it.
    pub fn advertised(
        &self,
        group: GroupId,
        peer: PeerId,
        from: Option<Cursor<K>>,
        most: usize,
        mut each: impl FnMut(K, Path),
    ) -> Option<Cursor<K>> {
        let g = self.groups.get(usize::from(group.0))?.as_ref()?;
        let (i, _) = g.find(peer)?;
        let c = &g.cohorts[i];
        self.walk_entries(from, most, |e| {
            if !c.adj.has(e) || c.pending.contains(e) {
                return true;
            }
            let key = self.slab.get(e).key;
            match &c.adj {
                Adj::Paths(p) => {
                    for s in p.get(e).filter(|s| s.from != peer) {
                        let of = |c: &super::slab::Cell| {
                            super::advertise::sent_id(c) == s.path_id && c.post == s.attr
                        };
                        if let Some(cell) = self.slab.cells(e).find(of) {
                            each(key, self.path(&cell));
                        }
                    }
                }
                _ => {
                    let from = c.adj.source(e);
                    let best = self.best_cell(e);
                    let cell = match from {
                        Some(p) if best.is_none_or(|b| b.peer != p.0) => {
                            self.slab.cells(e).find(|c| c.peer == p.0)
                        }
                        _ => best,
                    };
                    if let Some(cell) = cell.filter(|c| c.peer != peer.0) {
                        each(key, self.path(&cell));
                    }
                }
            }
            true
        })
    }

    pub(super) fn mark(&mut self, e: u32) {
        let space = self.slab.get(e).key.space_number();
        let groups = self.groups.iter_mut().flatten();
        groups.filter(|g| g.is_of(space)).for_each(|g| g.mark(e));
    }

    /// Marks an entry where more than the best path is told.
    pub(super) fn mark_sensitive(&mut self, e: u32) {
        let space = self.slab.get(e).key.space_number();
        let more = |g: &&mut Group| g.mode != Advertise::Best && g.is_of(space);
        let groups = self.groups.iter_mut().flatten();
        groups.filter(more).for_each(|g| g.mark(e));
    }
}

/// What [`Item::attr`] is where something is to be withdrawn.
pub(super) const WITHDRAW: u32 = AttrId::NONE.0;
