//! One family's routes: Adj-RIBs-In and Loc-RIB in one table.
//!
//! A prefix has an entry, an entry its paths, a path its attributes before and after import policy. What changes is only
//! marked; [`Table::drain`] decides, once for a prefix however often it changed. What concerns many prefixes at once (a
//! session's end, another metric of a next hop, another import policy) is noted in one place and follows by a walk in
//! steps, [`Table::work`].

use arrayvec::ArrayVec;

use super::bits::BitSet;
use super::decision::{self, Candidate, Fate, Input, Options};
use super::group::{Group, Orphan};
use super::hops::NextHopId;
use super::key::Key;
use super::peers::{PeerState, Peers, Staleness, Status};
use super::scan::Scan;
use super::slab::{CHANGED, Cell, MOVED, Slab, TOLD};
use super::store::{AttrId, Store};
use super::tree::Tree;
use crate::types::{PathId, PeerId};

/// Keys that are looked up at once.
const LOT: usize = 32;

/// What all tables share.
#[derive(Debug, Default)]
pub struct Common {
    /// Attributes and next hops.
    pub store: Store,
    /// How routes are chosen. After a change, [`Table::decide_all`].
    pub options: Options,
    /// Who paths are from.
    pub peers: Peers,
}

/// A path of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// From whom.
    pub peer: PeerId,
    /// Its identifier; 0 without add-path.
    pub path_id: PathId,
    /// Attributes as received.
    pub pre: AttrId,
    /// After import policy; `None`: rejected.
    pub post: Option<AttrId>,
    /// When it was announced, in seconds of the caller's clock.
    pub learnt: u32,
    /// Kept through a restart?
    pub stale: Staleness,
}

/// A path to announce.
#[derive(Clone, Copy, Debug)]
pub struct Announce {
    /// From whom.
    pub peer: PeerId,
    /// Its identifier; 0 without add-path.
    pub path_id: PathId,
    /// Attributes as received. The table takes counts of its own.
    pub pre: AttrId,
    /// After import policy; `None`: rejected.
    pub post: Option<AttrId>,
    /// Seconds of the caller's clock, which never goes back.
    pub now: u32,
}

/// What [`Table::announce`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The neighbour had no such path.
    New,
    /// Its path has other attributes now.
    Replaced,
    /// It had just that path.
    Same,
    /// Not taken: the prefix has as many paths as it can have (some 13,000), or the table as many prefixes (2^26).
    Full,
}

/// A prefix whose best path changed.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a, K> {
    /// The prefix.
    pub key: K,
    /// The last change of this prefix had a best path.
    pub had: bool,
    /// Packets may go another way than after the last change; false: surely not, only attributes changed.
    pub moved: bool,
    /// The best path, then those used beside it; empty: there is none.
    pub best: &'a [Path],
    /// The best by a next hop that none of these has, where such are asked for ([`Options::backups`]).
    pub backup: Option<Path>,
}

/// Paths of a neighbour in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// That it announced.
    pub received: u32,
    /// Of those, so many passed the import policy.
    pub accepted: u32,
    /// Still to be taken out by [`Table::work`].
    pub gone: u32,
}

/// May packets go another way by the one next hop than by the other? Without any they go as a table's own route says, and which
/// table that is may differ.
fn other_way(a: Option<NextHopId>, b: Option<NextHopId>) -> bool {
    a != b || a == Some(NextHopId::NONE)
}

/// One family's routes.
#[derive(Debug)]
pub struct Table<K: Key> {
    pub(super) slab: Slab<K>,
    pub(super) tree: Tree<K>,
    pub(super) dirty: BitSet,
    /// Prefixes whose best path is a last resort, as the last decision had it: nobody is told of them.
    pub(super) held: BitSet,
    /// Where the last drain stopped.
    drained: u32,
    pub(super) peers: Vec<PeerState>,
    pub(super) scan: Scan,
    pub(super) groups: Vec<Option<Group>>,
    pub(super) orphans: Vec<Orphan>,
    /// A group sends more than the best path: every change concerns it.
    pub(super) sensitive: bool,
    candidates: Vec<Candidate>,
    best: Vec<Path>,
    /// Prefixes with a best path.
    pub(super) chosen: usize,
    pub(super) paths: usize,
    /// Paths that were not taken for want of room.
    refused: u64,
}

impl<K: Key> Default for Table<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Key> Table<K> {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            slab: Slab::new(),
            tree: Tree::new(),
            dirty: BitSet::new(),
            held: BitSet::new(),
            drained: 0,
            peers: Vec::new(),
            scan: Scan::default(),
            groups: Vec::new(),
            orphans: Vec::new(),
            sensitive: false,
            candidates: Vec::new(),
            best: Vec::new(),
            chosen: 0,
            paths: 0,
            refused: 0,
        }
    }

    pub(super) fn peer(&mut self, peer: PeerId) -> &mut PeerState {
        let n = usize::from(peer.0);
        if n >= self.peers.len() {
            self.peers.resize(n + 1, PeerState::default());
        }
        &mut self.peers[n]
    }

    pub(super) fn status(&self, c: &Cell) -> Status {
        self.peers[usize::from(c.peer)].status[usize::from(c.epoch)]
    }

    fn input(&self, c: &Cell) -> Input {
        Input {
            peer: PeerId(c.peer),
            path_id: c.path_id,
            post: c.post,
            status: self.status(c),
            learnt: c.learnt,
        }
    }

    pub(super) fn path(&self, c: &Cell) -> Path {
        Path {
            peer: PeerId(c.peer),
            path_id: c.path_id,
            pre: c.pre,
            post: c.post.some(),
            learnt: c.learnt,
            stale: self.status(c).into(),
        }
    }

    pub(super) fn candidate(
        &self,
        common: &mut Common,
        at: usize,
        c: &Cell,
    ) -> Result<Candidate, Fate> {
        let input = self.input(c);
        Candidate::new(
            at as u32,
            input,
            &mut common.store,
            &common.peers,
            &common.options,
        )
    }

    /// Takes the paths of an UPDATE in, as [`Table::announce`] each: but memory is waited for once for all of a lot, and not
    /// for each.
    #[inline]
    pub fn announce_all(
        &mut self,
        common: &mut Common,
        keys: impl Iterator<Item = (PathId, K)>,
        mut each: impl FnMut(&mut Common, PathId, K) -> Announce,
    ) {
        self.by_lots(common, keys, |table, common, id, key| {
            let announce = each(common, id, key);
            if table.announce(common, key, announce) == Announced::Full {
                table.refused += 1;
            }
        });
    }

    /// Takes paths of a neighbour out, as [`Table::withdraw`] each, in lots.
    #[inline]
    pub fn withdraw_all(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        keys: impl Iterator<Item = (PathId, K)>,
    ) {
        self.by_lots(common, keys, |table, common, id, key| {
            table.withdraw(common, peer, id, key);
        });
    }

    /// Calls `each` for all, after what it will need of a lot of keys has been read.
    #[inline]
    fn by_lots(
        &mut self,
        common: &mut Common,
        mut keys: impl Iterator<Item = (PathId, K)>,
        mut each: impl FnMut(&mut Self, &mut Common, PathId, K),
    ) {
        let mut lot: ArrayVec<(PathId, K, u32), LOT> = ArrayVec::new();
        loop {
            let some = keys.by_ref().take(LOT);
            lot.extend(some.map(|(id, key)| (id, key, self.tree.leaf_of(key))));
            if lot.is_empty() {
                return;
            }
            self.expect(common, &lot);
            for (id, key, leaf) in lot.drain(..) {
                self.tree.point(leaf);
                each(self, common, id, key);
            }
        }
    }

    /// Reads what is there of these keys, and changes nothing. One kind of thing after the other: what does not depend on
    /// what is being waited for is waited for at the same time.
    #[inline]
    fn expect(&self, common: &Common, lot: &[(PathId, K, u32)]) {
        let mut entries: ArrayVec<u32, LOT> = ArrayVec::new();
        entries.extend(
            lot.iter()
                .filter_map(|(_, k, leaf)| self.tree.get_in(*leaf, *k)),
        );
        let mut seen = self.slab.expect(&entries);
        for post in entries.iter().filter_map(|e| self.slab.told(*e)?.1.some()) {
            seen ^= common.store.header(post).neighbor;
        }
        std::hint::black_box(seen);
    }

    /// Takes a path in. A path of that neighbour with that identifier is replaced.
    pub fn announce(&mut self, common: &mut Common, key: K, a: Announce) -> Announced {
        if self.slab.is_full() && self.tree.find(key).is_none() {
            return Announced::Full;
        }
        let (slab, mut fresh) = (&mut self.slab, false);
        let e = self.tree.find_or_insert(key, || {
            fresh = true;
            slab.alloc(key)
        });
        let post = a.post.unwrap_or(AttrId::NONE);
        let epoch = self.peer(a.peer).current;
        let new = Cell {
            peer: a.peer.0,
            epoch,
            beside: false,
            backup: false,
            path_id: a.path_id,
            pre: a.pre,
            post,
            learnt: a.now,
        };
        if !fresh
            && let Some(at) = self.slab.position(e, a.peer.0, a.path_id)
            && let Some(old) = self.slab.cell(e, at)
        {
            return self.replace(common, e, at, old, new);
        }
        // Asked before it is in, for then it is easier to say what is best without it.
        let quiet = !fresh && self.settled(common, e) && self.behind(common, e, &new);
        if self.slab.push(e, new).is_none() {
            return Announced::Full;
        }
        common.store.retain(a.pre);
        if post != AttrId::NONE {
            common.store.retain(post);
        }
        let state = self.peer(a.peer);
        state.paths[usize::from(epoch)] += 1;
        state.accepted += u32::from(post != AttrId::NONE);
        self.paths += 1;
        if !quiet {
            self.dirty.insert(e);
        }
        Announced::New
    }

    /// Puts `new` in the place of `old`, a path of the same neighbour with the same identifier.
    pub(super) fn replace(
        &mut self,
        common: &mut Common,
        e: u32,
        at: usize,
        old: Cell,
        mut new: Cell,
    ) -> Announced {
        (new.beside, new.backup) = (old.beside, old.backup);
        let was = self.status(&old);
        if old.epoch != new.epoch {
            if self.peer(PeerId(old.peer)).removed(old.epoch) {
                self.scan.gone -= 1;
            }
            self.peer(PeerId(new.peer)).paths[usize::from(new.epoch)] += 1;
        }
        if old.pre == new.pre && old.post == new.post {
            new.learnt = old.learnt;
            self.slab.set(e, at, new);
            if was == Status::LongLived && old.epoch != new.epoch {
                self.touch(common, e, at, &old, old.post);
                self.dirty.insert(e);
            } else if was == Status::Gone {
                self.dirty.insert(e);
            }
            return Announced::Same;
        }
        common.store.retain(new.pre);
        if let Some(post) = new.post.some() {
            common.store.retain(post);
        }
        let accepted = &mut self.peer(PeerId(new.peer)).accepted;
        *accepted -= u32::from(old.post != AttrId::NONE);
        *accepted += u32::from(new.post != AttrId::NONE);
        if old.post != new.post || matches!(was, Status::LongLived | Status::Gone) {
            let quiet = self.quiet(common, e, at, &old) && self.far_behind(common, e, &new);
            if !quiet {
                self.touch(common, e, at, &old, new.post);
                self.dirty.insert(e);
            }
        }
        self.slab.set(e, at, new);
        common.store.release(old.pre);
        if let Some(post) = old.post.some() {
            common.store.release(post);
        }
        Announced::Replaced
    }

    /// Is the told best path still what it was, and of all paths the best? Where there are backups, every path may be one.
    fn settled(&self, common: &Common, e: u32) -> bool {
        !self.sensitive
            && !common.options.backups.of::<K>()
            && self.slab.get(e).flags & TOLD != 0
            && !self.dirty.contains(e)
    }

    /// Can a path that is added not change what is best (or used)? The entry is settled.
    fn behind(&self, common: &mut Common, e: u32, new: &Cell) -> bool {
        let Some(best) = self.slab.first(e) else {
            return false;
        };
        let Ok(new) = self.candidate(common, 1, new) else {
            return true;
        };
        let Ok(best) = self.candidate(common, 0, &best) else {
            return false;
        };
        let o = &common.options;
        if o.paths_external > 1 || o.paths_internal > 1 {
            return new.far_behind(&best);
        }
        new.behind(&best, &common.store, &common.peers, o)
    }

    /// Had a path no influence on what was chosen, so that it can go unnoticed?
    fn quiet(&self, common: &mut Common, e: u32, at: usize, old: &Cell) -> bool {
        if at == 0 || old.beside || old.backup || !self.settled(common, e) {
            return false;
        }
        // What is stale for long by now may not have been when it was decided; so with what is gone or out of reach.
        self.status(old) != Status::LongLived && self.far_behind(common, e, old)
    }

    /// Is a path out before MEDs are compared? The entry is settled.
    fn far_behind(&self, common: &mut Common, e: u32, c: &Cell) -> bool {
        let Some(best) = self.slab.first(e) else {
            return false;
        };
        let (c, best) = (
            self.candidate(common, 1, c),
            self.candidate(common, 0, &best),
        );
        match (c, best) {
            (Err(Fate::Rejected), _) => true,
            (Ok(c), Ok(best)) => c.far_behind(&best),
            _ => false,
        }
    }

    /// Notes that a path changes, or goes: the consumer may have been told of it.
    pub(super) fn touch(&mut self, common: &Common, e: u32, at: usize, old: &Cell, new: AttrId) {
        let hop = |post: AttrId| post.some().map(|p| common.store.header(p).hop());
        let entry = self.slab.get_mut(e);
        if (at == 0 && entry.flags & TOLD != 0) || old.beside {
            entry.flags |= CHANGED;
            if K::LABELED || other_way(hop(old.post), hop(new)) {
                entry.flags |= MOVED;
            }
        } else if old.backup {
            // The neighbours are told nothing of it.
            entry.flags |= MOVED;
        }
    }

    /// Takes the path of a neighbour out; was there one?
    pub fn withdraw(&mut self, common: &mut Common, peer: PeerId, path_id: PathId, key: K) -> bool {
        let Some(e) = self.tree.find(key) else {
            return false;
        };
        let Some(at) = self.slab.position(e, peer.0, path_id) else {
            return false;
        };
        self.remove(common, e, at);
        true
    }

    /// Takes a path out.
    pub(super) fn remove(&mut self, common: &mut Common, e: u32, at: usize) {
        let Some(old) = self.slab.cell(e, at) else {
            return;
        };
        if !self.quiet(common, e, at, &old) {
            self.touch(common, e, at, &old, AttrId::NONE);
            self.dirty.insert(e);
        }
        self.slab.remove(e, at);
        let state = self.peer(PeerId(old.peer));
        state.accepted -= u32::from(old.post != AttrId::NONE);
        if state.removed(old.epoch) {
            self.scan.gone -= 1;
        }
        self.paths -= 1;
        common.store.release(old.pre);
        if let Some(post) = old.post.some() {
            common.store.release(post);
        }
    }

    /// Prefixes that wait for [`Table::drain`].
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.dirty.len()
    }

    /// Decides for at most `budget` prefixes that changed, marks them in the update groups, and tells `consumer` of those
    /// whose best path is another, once each however often it changed. How many were looked at.
    pub fn drain(
        &mut self,
        common: &mut Common,
        budget: usize,
        mut consumer: impl FnMut(&Common, &Change<'_, K>),
    ) -> usize {
        for n in 0..budget {
            let next = self.dirty.take(self.drained);
            let Some(e) = next.or_else(|| self.dirty.take(0)) else {
                return n;
            };
            self.drained = e + 1;
            match self.slab.sole(e) {
                Some(c) => self.decide_sole(common, e, &c, &mut consumer),
                None => self.decide(common, e, &mut consumer),
            }
        }
        budget
    }

    /// As [`Table::decide`], of an entry with one path: of most, and there is nothing to compare.
    #[inline]
    fn decide_sole(
        &mut self,
        common: &mut Common,
        e: u32,
        c: &Cell,
        consumer: &mut impl FnMut(&Common, &Change<'_, K>),
    ) {
        let entry = self.slab.get_mut(e);
        let (key, flags) = (entry.key, entry.flags);
        let had = flags & TOLD != 0;
        entry.flags &= !(TOLD | CHANGED | MOVED);
        let candidate = self.candidate(common, 0, c);
        let usable = candidate.is_ok();
        let other = self.hold(e, candidate.is_ok_and(|c| c.is_last_resort())) || had != usable;
        if usable {
            self.slab.get_mut(e).flags |= TOLD;
        }
        self.chosen = self.chosen + usize::from(usable) - usize::from(had);
        if other || flags & (CHANGED | MOVED) != 0 {
            let path = self.path(c);
            let change = Change {
                key,
                had,
                moved: other || flags & MOVED != 0,
                best: std::slice::from_ref(&path)
                    .get(..usize::from(usable))
                    .unwrap_or_default(),
                backup: None,
            };
            consumer(common, &change);
        }
        self.mark_decided(e, other || flags & CHANGED != 0);
    }

    /// Notes whether the best path is a last resort; was it not, or was it?
    fn hold(&mut self, e: u32, last: bool) -> bool {
        match last {
            true => self.held.insert(e),
            false => !self.held.is_empty() && self.held.remove(e),
        }
    }

    /// Marks a prefix for the groups: all of them if its best path is another, else those that are told of more.
    fn mark_decided(&mut self, e: u32, other: bool) {
        if other {
            self.mark(e);
        } else if self.sensitive {
            self.mark_sensitive(e);
        }
    }

    fn decide(
        &mut self,
        common: &mut Common,
        e: u32,
        consumer: &mut impl FnMut(&Common, &Change<'_, K>),
    ) {
        let flags = self.slab.get(e).flags;
        let had = flags & TOLD != 0;
        let mut all = std::mem::take(&mut self.candidates);
        self.gather(common, e, &mut all);
        let used = decision::choose(&mut all, &common.store, &common.peers, &common.options);
        let backup = match common.options.backups.of::<K>() && used > 0 {
            true => decision::backup(
                &mut all,
                used,
                &common.store,
                &common.peers,
                &common.options,
            ),
            false => None,
        };
        let last = all[..used].first().is_some_and(Candidate::is_last_resort);
        let held = self.hold(e, last);
        let (other, moved) = self.settle(common, e, &all[..used]);
        let (other, moved) = (other || held, moved || held);
        // What was first has changed places with the best.
        let best_at = all.first().map(|c| c.at as usize);
        let backup = backup.map(|at| best_at.filter(|_| at == 0).unwrap_or(at));
        let moved = self.set_backup(e, backup) || moved;
        self.candidates = all;
        self.chosen = self.chosen + usize::from(used > 0) - usize::from(had);
        let other = other || flags & CHANGED != 0;
        if other || moved || flags & MOVED != 0 {
            let mut best = std::mem::take(&mut self.best);
            best.clear();
            self.chosen_paths(e, used > 0, &mut best);
            let change = Change {
                key: self.slab.get(e).key,
                had,
                moved: moved || flags & MOVED != 0,
                best: &best,
                backup: backup.and_then(|at| Some(self.path(&self.slab.cell(e, at)?))),
            };
            consumer(common, &change);
            self.best = best;
        }
        self.mark_decided(e, other);
        if used == 0 {
            self.reap(e);
        }
    }

    /// The best path, if there is one, and those used beside it.
    fn chosen_paths(&self, e: u32, any: bool, to: &mut Vec<Path>) {
        if any {
            let first = self.slab.first(e).into_iter();
            let beside = self.slab.cells(e).skip(1).filter(|c| c.beside);
            to.extend(first.chain(beside).map(|c| self.path(&c)));
        }
    }

    /// What the last drain chose of a prefix: the best path and those used beside it, and the one that stands by.
    #[must_use]
    pub fn in_use(&self, key: K) -> (Vec<Path>, Option<Path>) {
        let mut best = Vec::new();
        let Some(e) = self.tree.get(key) else {
            return (best, None);
        };
        let any = self.slab.get(e).flags & TOLD != 0;
        self.chosen_paths(e, any, &mut best);
        let mut more = self.slab.cells(e).filter(|c| any && c.backup);
        (best, more.next().map(|c| self.path(&c)))
    }

    /// The paths that could be used.
    pub(super) fn gather(&self, common: &mut Common, e: u32, all: &mut Vec<Candidate>) {
        all.clear();
        for (at, c) in self.slab.cells(e).enumerate() {
            if let Ok(c) = self.candidate(common, at, &c) {
                all.push(c);
            }
        }
    }

    /// Puts the chosen paths in their places. Is the set another than before; do packets go another way?
    fn settle(&mut self, common: &Common, e: u32, chosen: &[Candidate]) -> (bool, bool) {
        let had = self.slab.get(e).flags & TOLD != 0;
        let entry = self.slab.get_mut(e);
        entry.flags &= !(TOLD | CHANGED | MOVED);
        let Some(best) = chosen.first() else {
            self.set_beside(e, |_| false);
            return (had, had);
        };
        entry.flags |= TOLD;
        // Most prefixes have the one path that they had before.
        let sole = self.slab.cell(e, 1).is_none();
        if sole {
            return (!had, !had);
        }
        let other = self.set_beside(e, |at| chosen[1..].iter().any(|c| c.at as usize == at));
        if best.at == 0 {
            return (!had || other, !had || other);
        }
        let hop = |at| {
            let post = self.slab.cell(e, at)?.post.some()?;
            Some(common.store.header(post).hop())
        };
        let moved = !had || other || K::LABELED || other_way(hop(0), hop(best.at as usize));
        // The former best may be used beside the new one.
        let beside = chosen[1..].iter().any(|c| c.at == 0);
        self.slab.swap(e, 0, best.at as usize);
        if let Some(mut c) = self.slab.cell(e, best.at as usize) {
            c.beside = beside;
            self.slab.set(e, best.at as usize, c);
        }
        (true, moved)
    }

    /// Notes which paths are used beside the best; is it another set than before?
    fn set_beside(&mut self, e: u32, beside: impl Fn(usize) -> bool) -> bool {
        let mut other = false;
        let mut at = 1;
        while let Some(mut c) = self.slab.cell(e, at) {
            if c.beside != beside(at) {
                c.beside = !c.beside;
                self.slab.set(e, at, c);
                other = true;
            }
            at += 1;
        }
        other
    }

    /// Notes which path stands by; is it another than before?
    fn set_backup(&mut self, e: u32, backup: Option<usize>) -> bool {
        let mut other = false;
        let mut at = 1;
        while let Some(mut c) = self.slab.cell(e, at) {
            if c.backup != (backup == Some(at)) {
                c.backup = !c.backup;
                self.slab.set(e, at, c);
                other = true;
            }
            at += 1;
        }
        other
    }

    /// Has every prefix decided again, as after a change of [`Options`]: [`Table::work`] gets to them.
    pub fn decide_all(&mut self) {
        self.scan.again();
    }

    /// Has the consumer of [`Table::drain`] and the groups told of a prefix again, as if its best path were another.
    pub fn tell_again(&mut self, key: K) {
        if let Some(e) = self.tree.get(key) {
            self.slab.get_mut(e).flags |= CHANGED | MOVED;
            self.dirty.insert(e);
        }
    }

    /// Has the groups told of a prefix again though its paths are what they were: what is sent with them is not.
    pub fn send_again(&mut self, common: &mut Common, key: K) {
        let Some(e) = self.tree.find(key) else {
            return;
        };
        for g in self.groups.iter_mut().flatten() {
            g.forget_sent(&mut common.store, e);
        }
        self.mark(e);
    }

    /// Gives an entry back that has no path and that nobody has to be told of.
    pub(super) fn reap(&mut self, e: u32) {
        if !self.slab.is_unused(e) || self.dirty.contains(e) {
            return;
        }
        if self.groups.iter().flatten().any(|g| g.holds(e)) {
            return;
        }
        self.groups.iter_mut().flatten().for_each(|g| g.forget(e));
        self.tree.remove(self.slab.get(e).key);
        self.slab.release(e);
    }

    /// How many paths [`Table::announce_all`] could not take: see [`Announced::Full`].
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// The paths of a neighbour.
    #[must_use]
    pub fn counts(&self, peer: PeerId) -> Counts {
        let Some(p) = self.peers.get(usize::from(peer.0)) else {
            return Counts::default();
        };
        Counts {
            received: p.received(),
            accepted: p.accepted,
            gone: p.held() - p.received(),
        }
    }

    /// Octets held, attributes left aside.
    #[must_use]
    pub fn memory(&self) -> usize {
        let groups: usize = self.groups.iter().flatten().map(Group::memory).sum();
        self.slab.memory() + self.tree.memory() + self.dirty.memory() + self.held.memory() + groups
    }
}
