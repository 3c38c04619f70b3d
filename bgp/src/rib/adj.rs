//! What neighbours were told: Adj-RIBs-Out without attributes, for those are made again from the Loc-RIB whenever asked for.

use super::bits::BitSet;
use super::pool::{Handle, Pool, UNUSED, room_for};
use super::store::{AttrId, Store};
use crate::types::PeerId;

const NOBODY: u16 = u16::MAX;

/// Who of a cohort has a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Had {
    /// Nobody.
    No,
    /// Everybody, except the one from whom it is. `None`: some may not have it, and are told to drop it all the same.
    From(Option<PeerId>),
}

impl Had {
    /// From whom what they have is, if anybody has it.
    #[inline]
    pub(super) fn who(self) -> Option<Option<PeerId>> {
        match self {
            Self::No => None,
            Self::From(of) => Some(of),
        }
    }
}

/// What the members of a cohort were told, of each entry.
#[derive(Debug)]
pub(super) enum Adj {
    /// From whom the path is that was sent: two octets.
    From(Sources),
    /// Something was sent: a bit, for those who lag.
    Some(BitSet),
    /// With add-path: each path that was sent.
    Paths(PathSets),
}

impl Adj {
    pub(super) fn had(&self, e: u32) -> Had {
        match self {
            Self::From(s) => s.get(e).map_or(Had::No, |p| Had::From(Some(p))),
            Self::Some(bits) if bits.contains(e) => Had::From(None),
            Self::Some(_) => Had::No,
            Self::Paths(p) if p.has(e) => Had::From(None),
            Self::Paths(_) => Had::No,
        }
    }

    pub(super) fn has(&self, e: u32) -> bool {
        self.had(e) != Had::No
    }

    /// Notes what was sent where one path is, and says who had what before; [`Adj::Paths`] is changed directly.
    #[inline]
    pub(super) fn set(&mut self, e: u32, from: Option<PeerId>) -> Had {
        let had = |was: bool| if was { Had::From(None) } else { Had::No };
        match (self, from) {
            (Self::From(s), from) => s.set(e, from).map_or(Had::No, |p| Had::From(Some(p))),
            (Self::Some(bits), Some(_)) => had(!bits.insert(e)),
            (Self::Some(bits), None) => had(bits.remove(e)),
            (Self::Paths(_), _) => Had::No,
        }
    }

    /// Every entry of which something was sent.
    pub(super) fn bits(&self, but: Option<PeerId>) -> BitSet {
        match self {
            Self::From(s) => s.bits(but),
            Self::Some(bits) => bits.clone(),
            Self::Paths(p) => {
                let all = (0..p.handles.len()).map(|e| p.handles[e] != Handle::NONE.0);
                BitSet::from_bools(all)
            }
        }
    }

    /// Entries are less than this.
    pub(super) fn bound(&self) -> u32 {
        match self {
            Self::From(s) => s.of.len() as u32,
            Self::Some(bits) => bits.bound(),
            Self::Paths(p) => p.handles.len() as u32,
        }
    }

    /// Gives the counts of an entry back, for one who needs them no more.
    pub(super) fn release(&mut self, store: &mut Store, e: u32) {
        if let Self::Paths(p) = self {
            p.get(e)
                .filter_map(|s| s.attr.some())
                .for_each(|a| store.release(a));
        }
    }

    /// From whom the path is that was sent, where that is known.
    pub(super) fn source(&self, e: u32) -> Option<PeerId> {
        match self {
            Self::From(s) => s.get(e),
            _ => None,
        }
    }

    pub(super) fn memory(&self) -> usize {
        match self {
            Self::From(s) => s.of.capacity() * 2 + s.counts.capacity() * 4,
            Self::Some(bits) => bits.memory(),
            Self::Paths(p) => p.pool.memory() + p.handles.capacity() * 4,
        }
    }
}

/// From whom the path of each entry is.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    of: Vec<u16>,
    counts: Vec<u32>,
    total: u32,
}

impl Sources {
    fn get(&self, e: u32) -> Option<PeerId> {
        let s = *self.of.get(e as usize)?;
        (s != NOBODY).then_some(PeerId(s))
    }

    /// Sets it; who it was before.
    #[inline]
    fn set(&mut self, e: u32, from: Option<PeerId>) -> Option<PeerId> {
        let e = e as usize;
        if e >= self.of.len() {
            from?;
            self.grow(e + 1);
        }
        let old = std::mem::replace(&mut self.of[e], from.map_or(NOBODY, |p| p.0));
        if old == from.map_or(NOBODY, |p| p.0) {
            return from;
        }
        if old != NOBODY {
            self.counts[usize::from(old)] -= 1;
            self.total -= 1;
        }
        if let Some(p) = from {
            let n = usize::from(p.0);
            if n >= self.counts.len() {
                self.counts.resize(n + 1, 0);
            }
            self.counts[n] += 1;
            self.total += 1;
        }
        (old != NOBODY).then_some(PeerId(old))
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        if len > self.of.capacity() {
            // By steps that keep the unused part small: doubling would cost as much as is used.
            let more = (len - self.of.len()).max(self.of.len() / 8).max(1024);
            self.of.reserve_exact(more);
        }
        self.of.resize(len, NOBODY);
    }

    fn bits(&self, but: Option<PeerId>) -> BitSet {
        let but = but.map_or(NOBODY, |p| p.0);
        BitSet::from_bools(self.of.iter().map(|s| *s != NOBODY && *s != but))
    }

    /// How many a member was told.
    pub(super) fn told(&self, member: PeerId) -> u32 {
        let own = self.counts.get(usize::from(member.0));
        self.total - own.copied().unwrap_or_default()
    }
}

/// A path that was sent with an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Before export policy; counted. None: to be sent again.
    pub(super) attr: AttrId,
    pub(super) path_id: u32,
    pub(super) from: PeerId,
    /// It was long-lived stale, which shows in what is sent (RFC 9494 4.3).
    pub(super) stale: bool,
}

/// The paths of each entry that were sent.
#[derive(Clone, Debug)]
pub(super) struct PathSets {
    handles: Vec<u32>,
    pool: Pool,
    /// How many paths.
    pub(super) total: u32,
}

impl PathSets {
    pub(super) fn new() -> Self {
        Self {
            handles: Vec::new(),
            pool: Pool::new(),
            total: 0,
        }
    }

    fn handle(&self, e: u32) -> Handle {
        Handle(*self.handles.get(e as usize).unwrap_or(&Handle::NONE.0))
    }

    fn has(&self, e: u32) -> bool {
        self.handle(e) != Handle::NONE
    }

    pub(super) fn get(&self, e: u32) -> impl Iterator<Item = Sent> + '_ {
        let block = match self.handle(e) {
            Handle::NONE => &[],
            h => &self.pool.block(h)[1..],
        };
        let used = block.chunks_exact(3).take_while(|c| c[0] != UNUSED);
        used.map(|c| Sent {
            from: PeerId(c[0] as u16),
            stale: c[0] >> 16 != 0,
            path_id: c[1],
            attr: AttrId(c[2]),
        })
    }

    fn put(&mut self, e: u32, all: &[Sent]) {
        let old = self.handle(e);
        let words = 1 + 3 * all.len();
        if old == Handle::NONE && all.is_empty() {
            return;
        }
        if e as usize >= self.handles.len() {
            self.handles.resize(e as usize + 1, Handle::NONE.0);
        }
        let fits = old != Handle::NONE && self.pool.block(old).len() == room_for(words);
        let h = match (all.is_empty(), fits) {
            (true, _) => Handle::NONE,
            (false, true) => old,
            (false, false) => self.pool.alloc(words, e),
        };
        self.handles[e as usize] = h.0;
        if h != Handle::NONE {
            let block = &mut self.pool.block_mut(h)[1..];
            block.fill(UNUSED);
            for (c, s) in block.chunks_exact_mut(3).zip(all) {
                let head = u32::from(s.from.0) | u32::from(s.stale) << 16;
                c.copy_from_slice(&[head, s.path_id, s.attr.0]);
            }
        }
        if old != h
            && old != Handle::NONE
            && let Some(moved) = self.pool.free(old)
        {
            self.handles[moved as usize] = old.0;
        }
    }

    /// Notes a path as sent, in place of one with the same identifier; was there one, and from whom?
    pub(super) fn set(&mut self, store: &mut Store, e: u32, new: Sent) -> Option<PeerId> {
        let mut all: Vec<_> = self.get(e).collect();
        store.retain(new.attr);
        let old = all.iter_mut().find(|s| s.path_id == new.path_id);
        let from = match old {
            Some(s) => {
                s.attr.some().into_iter().for_each(|a| store.release(a));
                Some(std::mem::replace(s, new).from)
            }
            None => {
                all.push(new);
                self.total += 1;
                None
            }
        };
        self.put(e, &all);
        from
    }

    /// Takes a path out; from whom it was.
    pub(super) fn remove(&mut self, store: &mut Store, e: u32, path_id: u32) -> Option<PeerId> {
        let mut all: Vec<_> = self.get(e).collect();
        let at = all.iter().position(|s| s.path_id == path_id)?;
        let old = all.swap_remove(at);
        old.attr.some().into_iter().for_each(|a| store.release(a));
        self.total -= 1;
        self.put(e, &all);
        Some(old.from)
    }

    /// A copy with counts of its own.
    pub(super) fn copy(&self, store: &mut Store) -> Self {
        self.each(|a| store.retain(a));
        self.clone()
    }

    /// Every path of an entry counts as one that has to be sent again.
    pub(super) fn again(&mut self, store: &mut Store, e: u32) {
        let h = self.handle(e);
        if h == Handle::NONE {
            return;
        }
        let block = &mut self.pool.block_mut(h)[1..];
        for c in block.chunks_exact_mut(3).take_while(|c| c[0] != UNUSED) {
            let old = std::mem::replace(&mut c[2], AttrId::NONE.0);
            AttrId(old)
                .some()
                .into_iter()
                .for_each(|a| store.release(a));
        }
    }

    fn each(&self, mut f: impl FnMut(AttrId)) {
        for e in 0..self.handles.len() as u32 {
            self.get(e).filter_map(|s| s.attr.some()).for_each(&mut f);
        }
    }
}
