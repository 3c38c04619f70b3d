//! What concerns many prefixes at once, and the walk by which it comes about.
//!
//! The walk goes round over the entries. Whatever is asked for is done to the entry at hand for as long as one round lasts,
//! so several things cost one walk, and none of them blocks.

use super::bits::BitSet;
use super::group::GroupId;
use super::hops::NextHopId;
use super::key::Key;
use super::peers::Status;
use super::slab::Cell;
use super::store::AttrId;
use super::table::{Common, Path, Table};
use super::view::Cursor;
use crate::types::{PathId, PeerId};

/// Gives a path's attributes after import policy.
pub trait Import<K> {
    /// The attributes after policy of a path that was received as `pre`; the table takes over one count. `None`: rejected.
    fn import(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        path_id: PathId,
        key: K,
        pre: AttrId,
    ) -> Option<AttrId>;

    /// A path was taken out since its time was over, not since somebody withdrew it.
    fn removed(&mut self, _peer: PeerId, _path_id: PathId, _key: K) {}
}

impl<K, F: FnMut(&mut Common, PeerId, PathId, K, AttrId) -> Option<AttrId>> Import<K> for F {
    fn import(
        &mut self,
        common: &mut Common,
        peer: PeerId,
        path_id: PathId,
        key: K,
        pre: AttrId,
    ) -> Option<AttrId> {
        self(common, peer, path_id, key, pre)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Hop(NextHopId),
    LongLived(PeerId),
    Import(PeerId),
    Decide,
}

/// The state of the walk.
#[derive(Debug, Default)]
pub(super) struct Scan {
    cursor: u32,
    /// Rounds made, ever.
    rounds: u64,
    /// What to do, and until which round and entry.
    errands: Vec<(Errand, (u64, u32))>,
    hops: BitSet,
    long_lived: BitSet,
    import: BitSet,
    decide: bool,
    /// Paths that are to be taken out.
    pub(super) gone: usize,
    /// Until this round what is told to others waits, so that it is packed.
    hold: u64,
}

/// From so many paths on that go at once it pays to wait.
const MANY: usize = 1024;

impl Scan {
    fn add(&mut self, errand: Errand) {
        let until = (self.rounds + 1, self.cursor);
        match self.errands.iter_mut().find(|(e, _)| *e == errand) {
            Some((_, u)) => *u = until,
            None => self.errands.push((errand, until)),
        }
        match errand {
            Errand::Hop(h) => self.hops.insert(h.0),
            Errand::LongLived(p) => self.long_lived.insert(p.0.into()),
            Errand::Import(p) => self.import.insert(p.0.into()),
            Errand::Decide => !std::mem::replace(&mut self.decide, true),
        };
    }

    /// Every prefix is to be decided again.
    pub(super) fn again(&mut self) {
        self.add(Errand::Decide);
    }

    fn finish(&mut self) {
        let now = (self.rounds, self.cursor);
        let (hops, long, import) = (&mut self.hops, &mut self.long_lived, &mut self.import);
        let decide = &mut self.decide;
        self.errands.retain(|(errand, until)| {
            if *until > now {
                return true;
            }
            match errand {
                Errand::Hop(h) => hops.remove(h.0),
                Errand::LongLived(p) => long.remove(p.0.into()),
                Errand::Import(p) => import.remove(p.0.into()),
                Errand::Decide => std::mem::take(decide),
            };
            false
        });
    }

    /// More paths are to go.
    fn leaving(&mut self, paths: u32) {
        if self.gone < MANY && self.gone + paths as usize >= MANY {
            // However often sessions come and go, the others wait no longer than the first walk takes.
            self.hold = self.rounds + 2;
        }
        self.gone += paths as usize;
    }

    /// Shall nothing be told for now?
    pub(super) fn holds(&self) -> bool {
        self.gone > 0 && self.rounds < self.hold
    }

    /// Nothing to do?
    pub(super) fn is_idle(&self) -> bool {
        self.gone == 0 && self.errands.is_empty()
    }
}

impl<K: Key> Table<K> {
    /// The session is over: every path of the neighbour is withdrawn.
    pub fn peer_down(&mut self, common: &mut Common, peer: PeerId) {
        let p = self.peer(peer);
        let gone = p.set(|s| s != Status::Free, Status::Gone);
        let now = p.paths[usize::from(p.current)];
        let turned = p.turn(Status::Gone);
        self.scan.leaving(gone);
        if turned {
            self.scan.leaving(now);
        } else {
            self.sweep(common);
            self.peer_down(common, peer);
        }
    }

    /// Takes all paths out that are gone, at once: for a neighbour with four sessions in the time of one walk. The first walk over
    /// what one has left takes less than a second for a million prefixes, and sessions come a second, two, four apart
    /// (`session::SessionConfig::idle_hold_min`), so this is for who sets that to nothing.
    #[cold]
    fn sweep(&mut self, common: &mut Common) {
        for e in 0..self.slab.bound() {
            for at in (0..self.slab.count(e)).rev() {
                let cell = self.slab.cell(e, at);
                if cell.is_some_and(|c| self.status(&c) == Status::Gone) {
                    self.remove(common, e, at);
                }
            }
        }
    }

    /// The session is over, but the neighbour is expected back: its paths stay, as stale (RFC 4724 4.2). Those that were
    /// stale already go.
    pub fn mark_stale(&mut self, common: &mut Common, peer: PeerId) {
        let p = self.peer(peer);
        let stale = |s| matches!(s, Status::Stale | Status::LongLived);
        let gone = p.set(stale, Status::Gone);
        p.set(|s| s == Status::Refreshing, Status::Stale);
        let turned = p.turn(Status::Stale);
        self.scan.leaving(gone);
        if !turned {
            self.sweep(common);
            self.peer(peer).turn(Status::Stale);
        }
    }

    /// End-of-RIB came, or the time is over: paths that are still stale go.
    pub fn sweep_stale(&mut self, peer: PeerId) {
        let stale = |s| matches!(s, Status::Stale | Status::LongLived);
        let gone = self.peer(peer).set(stale, Status::Gone);
        self.scan.leaving(gone);
    }

    /// Stale paths are kept on as the last choice; those that have NO_LLGR go (RFC 9494 4.2).
    pub fn long_lived(&mut self, peer: PeerId) {
        self.peer(peer)
            .set(|s| s == Status::Stale, Status::LongLived);
        self.scan.add(Errand::LongLived(peer));
    }

    /// A refresh begins (BoRR, RFC 7313; or a ROUTE-REFRESH was sent): what is not announced again before
    /// [`Table::refresh_end`] goes then.
    pub fn refresh_begin(&mut self, peer: PeerId) {
        // The last epoch that is free is for the end of the session, which is not to wait for a walk. Without another one, what
        // came since the last beginning counts as announced again: more is kept, nothing is lost.
        let p = self.peer(peer);
        if !p.is_short() {
            p.turn(Status::Refreshing);
        }
    }

    /// The refresh ends (EoRR).
    pub fn refresh_end(&mut self, peer: PeerId) {
        let gone = self
            .peer(peer)
            .set(|s| s == Status::Refreshing, Status::Gone);
        self.scan.leaving(gone);
    }

    /// The import policy of a neighbour is another: [`Table::work`] asks for every path of it again.
    pub fn import_again(&mut self, peer: PeerId) {
        self.scan.add(Errand::Import(peer));
    }

    /// The metric of a next hop changed: every prefix with such a path is decided again.
    pub fn next_hop_changed(&mut self, id: NextHopId) {
        self.scan.add(Errand::Hop(id));
    }

    /// Is there something for [`Table::work`]?
    #[must_use]
    pub fn working(&self) -> bool {
        !self.scan.is_idle() || !self.orphans.is_empty()
    }

    /// Goes on with what concerns many prefixes, over at most `budget` entries; how many it looked at.
    pub fn work(
        &mut self,
        common: &mut Common,
        budget: usize,
        import: &mut impl Import<K>,
    ) -> usize {
        let buried = self.bury(common, budget);
        let bound = self.slab.bound();
        for n in buried..budget {
            if bound == 0 {
                // A round over nothing is no time at all.
                self.scan.rounds += 2;
                self.scan.finish();
            }
            if self.scan.is_idle() {
                return n;
            }
            let e = self.scan.cursor;
            self.visit(common, e, import);
            self.scan.cursor = e + 1;
            if self.scan.cursor >= bound {
                (self.scan.cursor, self.scan.rounds) = (0, self.scan.rounds + 1);
            }
            if self.scan.cursor.is_multiple_of(256) {
                self.scan.finish();
            }
        }
        budget
    }

    fn visit(&mut self, common: &mut Common, e: u32, import: &mut impl Import<K>) {
        if self.scan.decide && !self.slab.is_empty(e) {
            self.dirty.insert(e);
        }
        let mut at = self.slab.count(e);
        // From the last: a path that goes is replaced by the last.
        while at > 0 {
            at -= 1;
            let Some(c) = self.slab.cell(e, at) else {
                continue;
            };
            let (peer, status) = (u32::from(c.peer), self.status(&c));
            if status == Status::Gone {
                self.remove(common, e, at);
                import.removed(PeerId(c.peer), c.path_id, self.slab.get(e).key);
                continue;
            }
            if status == Status::LongLived && self.scan.long_lived.contains(peer) {
                let h = common.store.header(c.pre);
                if h.no_llgr() {
                    self.remove(common, e, at);
                    import.removed(PeerId(c.peer), c.path_id, self.slab.get(e).key);
                    continue;
                }
                self.touch(common, e, at, &c, c.post);
                self.dirty.insert(e);
            }
            if !self.scan.hops.is_empty()
                && let Some(post) = c.post.some()
                && self.scan.hops.contains(common.store.header(post).hop().0)
            {
                self.dirty.insert(e);
            }
            if self.scan.import.contains(peer) {
                self.import(common, e, at, c, import);
            }
        }
    }

    /// Asks what becomes of a path at import.
    fn import(
        &mut self,
        common: &mut Common,
        e: u32,
        at: usize,
        c: Cell,
        import: &mut impl Import<K>,
    ) {
        let key = self.slab.get(e).key;
        let post = import.import(common, PeerId(c.peer), c.path_id, key, c.pre);
        let post = post.unwrap_or(AttrId::NONE);
        self.replace(common, e, at, c, Cell { post, ..c });
        if let Some(post) = post.some() {
            common.store.release(post);
        }
    }

    /// Has a group told of the prefixes for one of whose paths `wanted` holds, as if they had changed. Looks at `most` of them
    /// at most; where to go on, `None`: that was all.
    pub fn mark_where(
        &mut self,
        group: GroupId,
        from: Option<Cursor<K>>,
        most: usize,
        mut wanted: impl FnMut(&Path) -> bool,
    ) -> Option<Cursor<K>> {
        let mut entries = Vec::new();
        let next = self.walk_entries(from, most, |e| {
            if self.slab.cells(e).any(|c| wanted(&self.path(&c))) {
                entries.push(e);
            }
            true
        });
        if let Some(g) = self.group(group) {
            entries.iter().for_each(|e| g.mark(*e));
        }
        next
    }

    /// Something that policies ask about has changed for `net` and what is within it: asks again what becomes of the
    /// paths there whose neighbour `wanted` names, and has `groups` (that send best paths) told of those prefixes again.
    /// Looks at `most` prefixes at most. How many it looked at, and where to go on; `None`: that was all.
    #[allow(clippy::too_many_arguments)]
    pub fn import_within(
        &mut self,
        common: &mut Common,
        net: K,
        from: Option<Cursor<K>>,
        most: usize,
        wanted: &impl Fn(PeerId) -> bool,
        groups: &[GroupId],
        import: &mut impl Import<K>,
    ) -> (usize, Option<Cursor<K>>) {
        let mut entries = Vec::new();
        let from = from.unwrap_or(Self::cursor(net));
        let next = self.walk_entries(Some(from), most, |e| {
            let within = net.covers(self.slab.get(e).key);
            if within {
                entries.push(e);
            }
            within
        });
        for &e in &entries {
            for at in 0..self.slab.count(e) {
                let cell = self.slab.cell(e, at);
                if let Some(c) = cell.filter(|c| wanted(PeerId(c.peer)))
                    && self.status(&c) != Status::Gone
                {
                    self.import(common, e, at, c, import);
                }
            }
            for g in groups {
                if let Some(g) = self.group(*g) {
                    g.mark(e);
                }
            }
        }
        (entries.len(), next)
    }
}
