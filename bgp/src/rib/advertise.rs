//! Telling groups: what changed, in runs of equal attributes, at the pace of those who read.
//!
//! A cohort's marked prefixes are collected and sorted by the attributes they have now, whole: so messages are as full as
//! the routes allow, whatever the order in which they changed. Of very many, some attributes are taken at a time.

use std::collections::VecDeque;

use super::adj::{Adj, Sent};
use super::decision::{self, Candidate};
use super::group::{Advertise, Cohort, Group, GroupId, Item, Marking, Pass, WITHDRAW};
use super::key::Key;
use super::peers::{PeerInfo, Staleness, Status};
use super::slab::{Cell, TOLD};
use super::store::AttrId;
use super::table::{Common, Path, Table};
use crate::attrs::{AttrBuf, View};
use crate::types::{Family, PathId, PeerId, Relation};

/// Prefixes collected at a time: 2 MB while they are told.
const BATCH: usize = 128 * 1024;
/// Entries marked in the time in which one is told. Tests have few, and are to see walks that are not over.
const MARKED: usize = if cfg!(test) { 1 } else { 16 };
/// Entries looked at in one collecting.
const LOOK: usize = 256 * 1024;

/// What a group is told of a route: export policy, and what eBGP, iBGP, reflection and so on make of attributes.
pub trait Export<K> {
    /// Does the answer depend on the prefix? If not, it is asked for once for a run of routes.
    fn by_prefix(&self, group: GroupId) -> bool;
    /// Is who a path is from told of it, too?
    fn back(&self, _: GroupId) -> bool {
        false
    }
    /// Puts the attributes that the group is told into `out` (which has anything in it before). False: it is not told.
    fn export(
        &mut self,
        group: GroupId,
        key: K,
        path: &Path,
        attrs: View<'_>,
        out: &mut AttrBuf,
    ) -> bool;
}

/// Can a member take more?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It can.
    Yes,
    /// Soon: those at its position wait with it.
    Wait,
    /// It is slow: the others go on without it, and it follows alone.
    Lag,
}

/// Who gets something.
#[derive(Clone, Copy, Debug)]
pub struct Audience<'a> {
    members: &'a [super::group::Member],
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    AllBut(Option<PeerId>),
    Only(PeerId),
}

impl Who {
    fn has(self, peer: PeerId) -> bool {
        match self {
            Self::AllBut(p) => p != Some(peer),
            Self::Only(p) => p == peer,
        }
    }
}

impl Audience<'_> {
    /// They, at least one.
    pub fn iter(&self) -> impl Iterator<Item = PeerId> + '_ {
        let all = self.members.iter().map(|m| m.peer);
        all.filter(|p| self.who.has(*p))
    }
}

/// Where what is told goes: encodes it, once for all who get it.
pub trait Sink<K> {
    /// Asked for each member once in a call of [`Table::advertise`].
    fn room(&mut self, member: PeerId) -> Room;
    /// Routes with equal attributes. The identifiers are 0 where the group has no add-path.
    fn announce(&mut self, to: &Audience<'_>, attrs: View<'_>, run: &[(PathId, K)]);
    /// Routes that are no more.
    fn withdraw(&mut self, to: &Audience<'_>, run: &[(PathId, K)]);
    /// A member that joined, or asked for everything again, has been told everything.
    fn end_of_rib(&mut self, member: PeerId);
}

/// The identifier with which a path is sent: unique for a prefix as long as neighbours' identifiers are below 65,536. Where two
/// meet all the same, the better path has it.
pub(super) fn sent_id(c: &Cell) -> PathId {
    (u32::from(c.peer) + 1) ^ c.path_id.rotate_left(16)
}

/// One turn of one cohort.
struct Turn<'a, K: Key, E, S> {
    table: &'a Table<K>,
    common: &'a mut Common,
    group: GroupId,
    mode: Advertise,
    /// The one that the group is told of.
    space: Option<u64>,
    export: &'a mut E,
    sink: &'a mut S,
    /// To be withdrawn, once the batch is told.
    withdrawn: Vec<(Who, PathId, K)>,
    /// Distinct results of a run, and their prefixes; those behind `results` are spare.
    runs: Vec<(AttrBuf, Vec<(PathId, K)>)>,
    scratch: AttrBuf,
    candidates: Vec<Candidate>,
    /// Entries that nobody may need any more.
    empty: Vec<u32>,
}

impl<K: Key> Table<K> {
    /// Tells the members of a group what changed, `budget` prefixes to each cohort; true: there is more that could be told now.
    ///
    /// While a session with many routes is being taken out nothing is told, so that what moves to another path goes out
    /// packed.
    pub fn advertise(
        &mut self,
        common: &mut Common,
        group: GroupId,
        budget: usize,
        export: &mut impl Export<K>,
        sink: &mut impl Sink<K>,
    ) -> bool {
        if self.scan.holds() {
            return true;
        }
        let slot = usize::from(group.0);
        let Some(mut g) = self.groups.get_mut(slot).and_then(Option::take) else {
            return false;
        };
        let (mode, space) = (g.mode, g.space);
        let mut turn = Turn {
            table: self,
            common,
            group,
            mode,
            space,
            export,
            sink,
            withdrawn: Vec::new(),
            runs: Vec::new(),
            scratch: AttrBuf::new(),
            candidates: Vec::new(),
            empty: Vec::new(),
        };
        let (mut more, mut i, mut orphans) = (false, 0, Vec::new());
        while i < g.cohorts.len() {
            if turn.ready(&mut g, i) {
                more |= turn.cohort(&mut g.cohorts[i], budget);
            }
            i += 1;
        }
        // What a walk has yet to look at may have been told to some already, and is marked once more for all.
        if mode == Advertise::Best || (turn.table.scan.is_idle() && turn.table.dirty.is_empty()) {
            let mut left = Vec::new();
            g.merge(&mut left);
            orphans = left;
        }
        let empty = turn.empty;
        self.orphans.extend(orphans);
        self.groups[slot] = Some(g);
        for e in empty {
            self.reap(e);
        }
        more
    }

    /// The one path that a group without add-path is told of, as far as the last drain decided it.
    pub(super) fn best_cell(&self, e: u32) -> Option<Cell> {
        let told = self.slab.get(e).flags & TOLD != 0;
        self.slab.first(e).filter(|_| told)
    }

    fn long_lived_cell(&self, c: &Cell) -> bool {
        self.status(c) == Status::LongLived
    }
}

impl<K: Key, E: Export<K>, S: Sink<K>> Turn<'_, K, E, S> {
    /// Can this cohort be told something? Those of it who lag leave it, unless all do.
    fn ready(&mut self, g: &mut Group, i: usize) -> bool {
        let members = g.cohorts[i].members.clone();
        let rooms: Vec<_> = members.iter().map(|m| self.sink.room(m.peer)).collect();
        if !members.is_empty() && rooms.iter().all(|r| *r == Room::Lag) {
            return false;
        }
        for (at, room) in rooms.iter().enumerate().rev() {
            if *room == Room::Lag {
                g.detach(&mut self.common.store, i, at);
            }
        }
        !rooms.contains(&Room::Wait)
    }

    /// Goes on with a cohort; true: there is more for it.
    fn cohort(&mut self, c: &mut Cohort, budget: usize) -> bool {
        let (mut left, mut looks) = (budget, LOOK);
        if !self.mark(c, budget) {
            return true;
        }
        loop {
            while !c.collecting && c.told < c.batch.len() {
                if left == 0 {
                    self.flush(c);
                    return true;
                }
                let n = self.run(c, left);
                c.told += n;
                left -= n;
            }
            self.flush(c);
            if !c.collecting {
                c.clear();
                if c.passed || c.pending.is_empty() {
                    c.fresh = false;
                    self.end_of_rib(c);
                }
                if c.pending.is_empty() {
                    return false;
                }
            }
            if left == 0 || looks == 0 {
                return true;
            }
            c.collecting = !self.collect(c, &mut looks);
            if !c.collecting && c.batch.is_empty() {
                // What is left waits for a decision.
                self.end_of_rib(c);
                return false;
            }
        }
    }

    /// Goes on with marking what has to be told from the beginning, or again; is that over?
    fn mark(&mut self, c: &mut Cohort, budget: usize) -> bool {
        let Some(m) = c.marking else {
            return true;
        };
        let all = self.table.slab.bound();
        let page = u32::try_from(budget.saturating_mul(MARKED)).unwrap_or(u32::MAX);
        let end = m.next.saturating_add(page).min(all);
        for e in m.next..end {
            let had = c.adj.has(e);
            let key = || self.table.slab.get(e).key.space_number();
            if !had && self.space.is_some_and(|s| key() != s) {
                continue;
            }
            if had
                && m.again
                && let Adj::Paths(p) = &mut c.adj
            {
                p.again(&mut self.common.store, e);
            }
            if had || self.table.slab.told(e).is_some() {
                c.pending.insert(e);
            }
        }
        // What is new behind the last is marked when it is decided.
        c.marking = (end < all).then_some(Marking { next: end, ..m });
        c.marking.is_none()
    }

    fn end_of_rib(&mut self, c: &mut Cohort) {
        for m in c.members.iter_mut().filter(|m| m.end_of_rib) {
            m.end_of_rib = false;
            self.sink.end_of_rib(m.peer);
        }
    }

    /// Divides what is marked into rounds that fit a batch each, by the numbers of attributes.
    fn plan(&self, c: &Cohort) -> Pass {
        let mut cuts = VecDeque::from([u32::MAX]);
        if c.pending.len() > BATCH {
            const PARTS: usize = 4096;
            let each = self.common.store.bound() / PARTS as u32 + 1;
            let mut counts = vec![0usize; PARTS];
            for best in c.pending.iter().filter_map(|e| self.table.best_cell(e)) {
                counts[(best.post.0 / each) as usize] += 1;
            }
            let mut sum = 0;
            for (n, count) in counts.iter().enumerate() {
                if sum > 0 && sum + count > BATCH {
                    cuts.insert(cuts.len() - 1, n as u32 * each);
                    sum = 0;
                }
                sum += count;
            }
        }
        Pass {
            cursor: 0,
            cuts,
            from: 0,
        }
    }

    /// Fills the batch from what is marked, and sorts it; false: that takes another call.
    fn collect(&mut self, c: &mut Cohort, looks: &mut usize) -> bool {
        let mut pass = c.pass.take().unwrap_or_else(|| self.plan(c));
        c.fresh = false;
        while c.batch.len() < BATCH {
            if *looks == 0 {
                c.pass = Some(pass);
                return false;
            }
            let round = pass.from..pass.cuts.front().copied().unwrap_or(u32::MAX);
            let Some(e) = c.pending.next(pass.cursor) else {
                pass.cuts.pop_front();
                (pass.cursor, pass.from) = (0, round.end);
                if pass.cuts.is_empty() {
                    c.passed = true;
                    sort(&mut c.batch);
                    return true;
                }
                if c.batch.is_empty() {
                    continue;
                }
                break;
            };
            pass.cursor = e + 1;
            *looks -= 1;
            if self.table.dirty.contains(e) {
                continue;
            }
            let told = self.table.slab.told(e);
            if told.is_none_or(|(_, post)| round.contains(&post.0)) {
                c.pending.remove(e);
                self.select(c, e);
            }
        }
        c.pass = Some(pass);
        sort(&mut c.batch);
        true
    }

    /// Puts what is to be told of an entry into the batch.
    fn select(&mut self, c: &mut Cohort, e: u32) {
        let item = |c: &Cell| Item {
            attr: c.post.0,
            entry: e,
            path_id: c.path_id,
            peer: c.peer,
        };
        let gone = Item {
            attr: WITHDRAW,
            entry: e,
            path_id: 0,
            peer: 0,
        };
        match self.mode {
            Advertise::Best => c.batch.push(match self.table.slab.told(e) {
                Some((peer, post)) => Item {
                    attr: post.0,
                    peer,
                    ..gone
                },
                None => gone,
            }),
            Advertise::BestExternal => match self.best_external(e) {
                Some(best) => c.batch.push(item(&best)),
                None => c.batch.push(gone),
            },
            Advertise::AddPath(most) => {
                let want = self.ranked(e, usize::from(most));
                let Adj::Paths(sent) = &c.adj else {
                    return;
                };
                for s in sent.get(e) {
                    if !want.iter().any(|w| sent_id(w) == s.path_id) {
                        c.batch.push(Item {
                            path_id: s.path_id,
                            ..gone
                        });
                    }
                }
                for w in &want {
                    let stale = self.table.long_lived_cell(w);
                    let same =
                        |s: Sent| (s.attr, s.path_id, s.stale) == (w.post, sent_id(w), stale);
                    if !sent.get(e).any(same) {
                        c.batch.push(item(w));
                    }
                }
                if want.is_empty() && !c.adj.has(e) {
                    self.empty.push(e);
                }
            }
        }
    }

    /// The best path; if that is not of eBGP but another is, the best of those. Of memberships, those of clients count with them
    /// (RFC 4684 3.2).
    fn best_external(&mut self, e: u32) -> Option<Cell> {
        let best = self.table.best_cell(e)?;
        let external = |p: PeerId| {
            let info = self.common.peers.get(p);
            let client = |i: &PeerInfo| i.client && K::FAMILY == Family::RouteTarget;
            info.is_some_and(|i| {
                i.relation == Relation::External || i.local || i.leaked || client(i)
            })
        };
        if external(PeerId(best.peer)) {
            return Some(best);
        }
        let cells: Vec<Cell> = self.table.slab.cells(e).collect();
        let ok: Vec<bool> = cells.iter().map(|c| external(PeerId(c.peer))).collect();
        let mut all = std::mem::take(&mut self.candidates);
        self.table.gather(self.common, e, &mut all);
        all.retain(|c| ok[c.at as usize]);
        let Common {
            store,
            peers,
            options,
        } = &*self.common;
        let n = decision::choose(&mut all, store, peers, options);
        let found = all.first().filter(|_| n > 0).map(|c| cells[c.at as usize]);
        self.candidates = all;
        Some(found.unwrap_or(best))
    }

    /// The best paths in order, so many; of two with the same identifier only the better.
    fn ranked(&mut self, e: u32, most: usize) -> Vec<Cell> {
        let mut out: Vec<Cell> = Vec::new();
        if self.table.best_cell(e).is_none() {
            return out;
        }
        let mut all = std::mem::take(&mut self.candidates);
        self.table.gather(self.common, e, &mut all);
        let Common {
            store,
            peers,
            options,
        } = &*self.common;
        let mut rest = &mut all[..];
        while !rest.is_empty() && out.len() < most {
            decision::choose(rest, store, peers, options);
            if rest[0].is_last_resort() {
                break;
            }
            let (first, others) = rest.split_at_mut(1);
            if let Some(c) = self.table.slab.cell(e, first[0].at as usize)
                && !out.iter().any(|o| sent_id(o) == sent_id(&c))
            {
                out.push(c);
            }
            rest = others;
        }
        self.candidates = all;
        out
    }

    /// The path that an item names, if it is still there and still to be told.
    fn current(&self, i: &Item) -> Option<Cell> {
        let same = |c: &Cell| c.peer == i.peer && c.post.0 == i.attr;
        match self.mode {
            Advertise::Best => self.table.best_cell(i.entry).filter(same),
            _ => {
                let mut cells = self.table.slab.cells(i.entry);
                cells.find(|c| same(c) && c.path_id == i.path_id)
            }
        }
    }

    /// Tells the items from `told` on that have equal attributes and come from the same neighbour; how many.
    fn run(&mut self, c: &mut Cohort, most: usize) -> usize {
        let from = c.told;
        let head = c.batch[from];
        let alike = |i: &&Item| (i.attr, i.peer) == (head.attr, head.peer);
        let n = c.batch[from..].iter().take(most).take_while(alike).count();
        if head.attr == WITHDRAW {
            for i in from..from + n {
                self.gone(c, i);
            }
            return n;
        }
        let by_prefix = self.export.by_prefix(self.group);
        let mut results = 0;
        let mut last: Option<(Staleness, Option<usize>)> = None;
        for i in from..from + n {
            let item = c.batch[i];
            if self.table.dirty.contains(item.entry) {
                // Nobody knows yet whether that changes what is best.
                c.pending.insert(item.entry);
                continue;
            }
            let Some(cell) = self.current(&item) else {
                // It changed since, and was marked again.
                continue;
            };
            let stale = Staleness::from(self.table.status(&cell));
            let key = self.table.slab.get(item.entry).key;
            if self.is_held(&item) {
                self.refused(c, &item, &cell, key);
                continue;
            }
            let result = match last {
                Some((was, result)) if !by_prefix && was == stale => result,
                _ => {
                    let path = self.table.path(&cell);
                    self.ask(key, &path, AttrId(item.attr), &mut results)
                }
            };
            last = Some((stale, result));
            match result {
                Some(r) => {
                    let id = self.announced(c, &item, &cell, key);
                    self.runs[r].1.push((id, key));
                }
                None => self.refused(c, &item, &cell, key),
            }
        }
        let who = Who::AllBut(Some(self.from(head.peer)));
        let to = Audience {
            members: &c.members,
            who,
        };
        for (attrs, run) in &mut self.runs[..results] {
            if to.iter().next().is_some() && !run.is_empty() {
                self.sink.announce(&to, attrs.view(), run);
            }
            run.clear();
        }
        n
    }

    /// Is a path the last resort? Others may have a better way than that, and are not told. What is decided is what counts, so that all
    /// who are told of the best path are told the same.
    fn is_held(&self, i: &Item) -> bool {
        match self.mode {
            Advertise::Best => !self.table.held.is_empty() && self.table.held.contains(i.entry),
            _ => self.common.store.is_last_resort(AttrId(i.attr)),
        }
    }

    /// Who is not told of what that neighbour has sent: it, mostly. Slot 0 is nobody's.
    fn from(&self, peer: u16) -> PeerId {
        PeerId(if self.export.back(self.group) {
            0
        } else {
            peer
        })
    }

    /// What export makes of a path: the place of the result among the distinct ones of this run.
    fn ask(&mut self, key: K, path: &Path, attr: AttrId, results: &mut usize) -> Option<usize> {
        let view = self.common.store.view(attr);
        let out = &mut self.scratch;
        if !self.export.export(self.group, key, path, view, out) {
            return None;
        }
        let known = &self.runs[..*results];
        if let Some(r) = known.iter().position(|(a, _)| a == out) {
            return Some(r);
        }
        if *results == self.runs.len() {
            self.runs.push((AttrBuf::new(), Vec::new()));
        }
        std::mem::swap(&mut self.runs[*results].0, out);
        *results += 1;
        Some(*results - 1)
    }

    /// Notes that a path is told; its identifier. Who it is from has to drop what it had from others.
    fn announced(&mut self, c: &mut Cohort, i: &Item, cell: &Cell, key: K) -> PathId {
        let from = self.from(i.peer);
        let (id, had) = match &mut c.adj {
            Adj::Paths(sent) => {
                let path_id = sent_id(cell);
                let new = Sent {
                    attr: cell.post,
                    path_id,
                    from,
                    stale: self.table.long_lived_cell(cell),
                };
                let old = sent.set(&mut self.common.store, i.entry, new);
                (path_id, old.map(Some))
            }
            adj => (0, adj.set(i.entry, Some(from)).who()),
        };
        if had.is_some_and(|old| old != Some(from)) && c.members.iter().any(|m| m.peer == from) {
            self.withdrawn.push((Who::Only(from), id, key));
        }
        id
    }

    /// A path that is not to be told: what was told in its place is withdrawn.
    fn refused(&mut self, c: &mut Cohort, i: &Item, cell: &Cell, key: K) {
        let (id, had) = match &mut c.adj {
            Adj::Paths(sent) => {
                let id = sent_id(cell);
                let old = sent.remove(&mut self.common.store, i.entry, id);
                (id, old.map(Some))
            }
            adj => (0, adj.set(i.entry, None).who()),
        };
        if let Some(old) = had {
            self.withdrawn.push((Who::AllBut(old), id, key));
        }
    }

    /// Withdraws what an item says, if it is still so.
    fn gone(&mut self, c: &mut Cohort, at: usize) {
        let i = c.batch[at];
        if self.table.dirty.contains(i.entry) {
            c.pending.insert(i.entry);
            return;
        }
        let key = self.table.slab.get(i.entry).key;
        let id = i.path_id;
        let had = match &mut c.adj {
            Adj::Paths(sent) => sent.remove(&mut self.common.store, i.entry, id).map(Some),
            adj => {
                let back = self.table.slab.told(i.entry).is_some();
                if back {
                    None
                } else {
                    adj.set(i.entry, None).who()
                }
            }
        };
        if let Some(old) = had {
            self.withdrawn.push((Who::AllBut(old), id, key));
        }
        self.empty.push(i.entry);
    }

    /// Sends the withdrawals off.
    fn flush(&mut self, c: &Cohort) {
        self.withdrawn.sort_by_key(|(who, ..)| *who);
        let mut run = Vec::new();
        for part in self.withdrawn.chunk_by(|a, b| a.0 == b.0) {
            let to = Audience {
                members: &c.members,
                who: part[0].0,
            };
            if to.iter().next().is_some() {
                run.clear();
                run.extend(part.iter().map(|(_, id, key)| (*id, *key)));
                self.sink.withdraw(&to, &run);
            }
        }
        self.withdrawn.clear();
    }
}

/// By attributes and neighbour; withdrawals last.
fn sort(batch: &mut [Item]) {
    batch.sort_unstable_by_key(|i| (u64::from(i.attr) << 16 | u64::from(i.peer), i.entry));
}
