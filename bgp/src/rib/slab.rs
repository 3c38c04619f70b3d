//! Entries: a prefix and its paths, by number.
//!
//! One path, the best once a decision was made, stands in the entry; further ones in a block of the pool. An entry costs
//! 24 octets for IPv4, a further path 16, and 4 for the block; path identifiers cost four more in each path of a prefix that
//! has one.

use super::chunks::Chunks;
use super::key::Key;
use super::pool::{Handle, MOST, Pool, UNUSED, room_for};
use super::store::AttrId;

/// The most paths that a prefix can have.
pub(super) const MOST_PATHS: usize = (MOST - 2) / 5;

/// There is a path.
const HAS: u8 = 1;
/// Where the epoch of the path stands.
const EPOCH: u8 = 1;
/// Paths have identifiers.
const WIDE: u8 = 1 << 3;
/// The consumer was told of a best path.
pub(super) const TOLD: u8 = 1 << 4;
/// A path that the consumer was told of changed since.
pub(super) const CHANGED: u8 = 1 << 5;
/// And so that packets may go another way.
pub(super) const MOVED: u8 = 1 << 6;
/// The entry has a key.
const LIVE: u8 = 1 << 7;

/// An entry as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Entry<K> {
    pub(super) key: K,
    pub(super) flags: u8,
    peer: u16,
    pre: u32,
    post: u32,
    learnt: u32,
    more: u32,
}

const _: () = assert!(size_of::<Entry<super::key::V4>>() == 24);

impl<K> Entry<K> {
    /// The path that stands in it.
    #[inline]
    fn cell(&self, path_id: u32) -> Cell {
        Cell {
            peer: self.peer,
            epoch: self.flags >> EPOCH & 3,
            beside: false,
            backup: false,
            path_id,
            pre: AttrId(self.pre),
            post: AttrId(self.post),
            learnt: self.learnt,
        }
    }
}

impl<K: Key> Default for Entry<K> {
    fn default() -> Self {
        Self {
            key: K::NONE,
            flags: 0,
            peer: 0,
            pre: 0,
            post: 0,
            learnt: 0,
            more: Handle::NONE.0,
        }
    }
}

/// A path as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) peer: u16,
    pub(super) epoch: u8,
    /// The consumer was told of it as one beside the best.
    pub(super) beside: bool,
    /// Or as the one that stands by.
    pub(super) backup: bool,
    pub(super) path_id: u32,
    pub(super) pre: AttrId,
    pub(super) post: AttrId,
    pub(super) learnt: u32,
}

impl Cell {
    #[inline]
    fn head(&self) -> u32 {
        u32::from(self.peer)
            | u32::from(self.epoch) << 16
            | u32::from(self.beside) << 18
            | u32::from(self.backup) << 19
    }

    #[inline]
    fn read(w: &[u32], wide: bool) -> Self {
        Self {
            peer: w[0] as u16,
            epoch: (w[0] >> 16 & 3) as u8,
            beside: w[0] >> 18 & 1 != 0,
            backup: w[0] >> 19 & 1 != 0,
            pre: AttrId(w[1]),
            post: AttrId(w[2]),
            learnt: w[3],
            path_id: if wide { w[4] } else { 0 },
        }
    }

    #[inline]
    fn write(&self, w: &mut [u32], wide: bool) {
        w[..4].copy_from_slice(&[self.head(), self.pre.0, self.post.0, self.learnt]);
        if wide {
            w[4] = self.path_id;
        }
    }
}

/// Words before the paths of a block, and of each path.
const fn shape(wide: bool) -> (usize, usize) {
    if wide { (2, 5) } else { (1, 4) }
}

/// All entries of a table.
#[derive(Debug)]
pub(super) struct Slab<K: Key> {
    entries: Chunks<Entry<K>, 1024>,
    pool: Pool,
    free: Vec<u32>,
}

impl<K: Key> Slab<K> {
    pub(super) fn new() -> Self {
        Self {
            entries: Chunks::new(),
            pool: Pool::new(),
            free: Vec::new(),
        }
    }

    /// Numbers are less than this.
    pub(super) const fn bound(&self) -> u32 {
        self.entries.len()
    }

    /// Has every number been given that the index can hold?
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.bound() == 1 << 26
    }

    /// An entry without paths.
    pub(super) fn alloc(&mut self, key: K) -> u32 {
        let e = Entry {
            key,
            flags: LIVE,
            ..Entry::default()
        };
        match self.free.pop() {
            Some(n) => {
                *self.entries.get_mut(n) = e;
                n
            }
            None => self.entries.push(e),
        }
    }

    /// Gives back an entry without paths.
    pub(super) fn release(&mut self, e: u32) {
        debug_assert!(self.is_empty(e));
        *self.entries.get_mut(e) = Entry::default();
        self.free.push(e);
    }

    #[inline]
    pub(super) fn get(&self, e: u32) -> &Entry<K> {
        self.entries.get(e)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, e: u32) -> &mut Entry<K> {
        self.entries.get_mut(e)
    }

    /// No path?
    #[inline]
    pub(super) fn is_empty(&self, e: u32) -> bool {
        self.get(e).flags & HAS == 0
    }

    /// A key without paths?
    #[inline]
    pub(super) fn is_unused(&self, e: u32) -> bool {
        self.get(e).flags & (HAS | LIVE) == LIVE
    }

    /// The words of the further paths, and whether they have identifiers.
    #[inline]
    fn block(&self, entry: &Entry<K>) -> (&[u32], bool) {
        let wide = entry.flags & WIDE != 0;
        if entry.more == Handle::NONE.0 {
            return (&[], wide);
        }
        (self.pool.block(Handle(entry.more)), wide)
    }

    /// How many paths.
    pub(super) fn count(&self, e: u32) -> usize {
        let entry = self.get(e);
        if entry.flags & HAS == 0 {
            return 0;
        }
        let (block, wide) = self.block(entry);
        let (head, each) = shape(wide);
        let cells = block.get(head..).unwrap_or_default().chunks_exact(each);
        let unused = cells.clone().rev().take_while(|c| c[0] == UNUSED).count();
        1 + cells.len() - unused
    }

    /// The path in the entry itself, if there is one.
    #[inline]
    pub(super) fn first(&self, e: u32) -> Option<Cell> {
        let entry = self.get(e);
        if entry.flags & HAS == 0 {
            return None;
        }
        let path_id = match entry.flags & WIDE {
            0 => 0,
            _ => self.pool.block(Handle(entry.more))[1],
        };
        Some(entry.cell(path_id))
    }

    /// The path of an entry that has one and no more, and that without identifier: of most.
    #[inline]
    pub(super) fn sole(&self, e: u32) -> Option<Cell> {
        let entry = self.get(e);
        let sole = entry.flags & HAS != 0 && entry.more == Handle::NONE.0;
        sole.then(|| entry.cell(0))
    }

    /// The first path, if it is the best by the last decision: from whom, and its attributes.
    #[inline]
    pub(super) fn told(&self, e: u32) -> Option<(u16, AttrId)> {
        let entry = self.get(e);
        let told = entry.flags & (HAS | TOLD) == HAS | TOLD;
        told.then_some((entry.peer, AttrId(entry.post)))
    }

    /// Every path, that in the entry first.
    #[inline]
    pub(super) fn cells(&self, e: u32) -> impl Iterator<Item = Cell> + '_ {
        let (block, wide) = self.block(self.get(e));
        let (head, each) = shape(wide);
        let more = block.get(head..).unwrap_or_default().chunks_exact(each);
        let more = more.take_while(|c| c[0] != UNUSED);
        self.first(e)
            .into_iter()
            .chain(more.map(move |c| Cell::read(c, wide)))
    }

    /// The path at a place; 0 is the one in the entry.
    pub(super) fn cell(&self, e: u32, at: usize) -> Option<Cell> {
        if at == 0 {
            return self.first(e);
        }
        let (block, wide) = self.block(self.get(e));
        let (head, each) = shape(wide);
        let c = block.get(head + (at - 1) * each..)?.get(..each)?;
        (c[0] != UNUSED).then(|| Cell::read(c, wide))
    }

    /// Where the path of a neighbour stands.
    #[inline]
    pub(super) fn position(&self, e: u32, peer: u16, path_id: u32) -> Option<usize> {
        let entry = self.get(e);
        if entry.flags & HAS == 0 {
            return None;
        }
        let (block, wide) = self.block(entry);
        if !wide && path_id != 0 {
            return None;
        }
        if entry.peer == peer && (!wide || block[1] == path_id) {
            return Some(0);
        }
        let (head, each) = shape(wide);
        let mut more = block.get(head..)?.chunks_exact(each);
        let at =
            more.position(|c| c[0] != UNUSED && c[0] as u16 == peer && (!wide || c[4] == path_id))?;
        Some(at + 1)
    }

    /// Overwrites the path at a place, which exists and has the same identifier.
    pub(super) fn set(&mut self, e: u32, at: usize, c: Cell) {
        let entry = self.entries.get_mut(e);
        if at == 0 {
            entry.flags = entry.flags & !(3 << EPOCH) | c.epoch << EPOCH | HAS;
            (entry.peer, entry.pre, entry.post) = (c.peer, c.pre.0, c.post.0);
            entry.learnt = c.learnt;
            if entry.flags & WIDE != 0 {
                self.pool.block_mut(Handle(entry.more))[1] = c.path_id;
            }
            return;
        }
        let wide = entry.flags & WIDE != 0;
        let (head, each) = shape(wide);
        let block = self.pool.block_mut(Handle(entry.more));
        c.write(&mut block[head + (at - 1) * each..][..each], wide);
    }

    /// Changes places of two paths.
    pub(super) fn swap(&mut self, e: u32, a: usize, b: usize) {
        if let (Some(x), Some(y)) = (self.cell(e, a), self.cell(e, b)) {
            self.set(e, a, y);
            self.set(e, b, x);
        }
    }

    /// Adds a path; its place. `None`: [`MOST_PATHS`] are there.
    pub(super) fn push(&mut self, e: u32, c: Cell) -> Option<usize> {
        let entry = self.get(e);
        let wide = entry.flags & WIDE != 0 || c.path_id != 0;
        if entry.flags & HAS == 0 {
            if wide && entry.more == Handle::NONE.0 {
                self.reshape(e, 0, true);
            }
            self.set(e, 0, c);
            return Some(0);
        }
        let at = self.count(e);
        if at == MOST_PATHS {
            return None;
        }
        self.reshape(e, at, wide);
        self.set(e, at, c);
        Some(at)
    }

    /// Takes the path at a place out; the last one takes its place.
    pub(super) fn remove(&mut self, e: u32, at: usize) -> Option<Cell> {
        let gone = self.cell(e, at)?;
        let last = self.count(e) - 1;
        if last == 0 {
            self.drop_block(e);
            self.get_mut(e).flags &= !(HAS | WIDE);
            return Some(gone);
        }
        if at != last
            && let Some(c) = self.cell(e, last)
        {
            self.set(e, at, c);
        }
        let wide = self.get(e).flags & WIDE != 0;
        let (head, each) = shape(wide);
        let more = self.get(e).more;
        self.pool.block_mut(Handle(more))[head + (last - 1) * each..][..each].fill(UNUSED);
        self.reshape(e, last - 1, wide);
        Some(gone)
    }

    /// Makes the block fit for `more` paths beside that in the entry, with identifiers or without.
    fn reshape(&mut self, e: u32, more: usize, wide: bool) {
        let entry = self.get(e);
        let was = entry.flags & WIDE != 0;
        let old = Handle(entry.more);
        if more == 0 && !wide {
            self.drop_block(e);
            return;
        }
        let (head, each) = shape(wide);
        let words = head + more * each;
        if old != Handle::NONE && was == wide && self.pool.block(old).len() == room_for(words) {
            return;
        }
        let cells: Vec<Cell>;
        let new;
        if old != Handle::NONE && was == wide {
            // The common case, without reading cells.
            new = self.pool.alloc(words, e);
            self.pool.copy(old, new);
        } else {
            cells = self.cells(e).collect();
            new = self.pool.alloc(words, e);
            let block = self.pool.block_mut(new);
            if wide {
                block[1] = cells.first().map_or(0, |c| c.path_id);
            }
            for (i, c) in cells.iter().skip(1).enumerate() {
                c.write(&mut block[head + i * each..][..each], wide);
            }
        }
        // Before the old one goes: the block that moves into its place may be the new one.
        let entry = self.get_mut(e);
        entry.more = new.0;
        entry.flags = entry.flags & !WIDE | if wide { WIDE } else { 0 };
        self.free_block(old);
    }

    /// Reads what it takes to add a path to each of these: their blocks, and the entries of those blocks that will move into
    /// the holes. Says nothing of interest.
    #[inline]
    pub(super) fn expect(&self, entries: &[u32]) -> u32 {
        let (mut seen, mut holes) = (0, 0);
        for e in entries {
            let block = Handle(self.get(*e).more);
            if block != Handle::NONE {
                seen ^= self.pool.block(block)[0];
                if let Some(owner) = self.pool.owner_from_end(block, holes) {
                    seen ^= self.get(owner).more;
                }
                holes += 1;
            }
        }
        seen
    }

    fn free_block(&mut self, old: Handle) {
        if old != Handle::NONE
            && let Some(owner) = self.pool.free(old)
        {
            self.entries.get_mut(owner).more = old.0;
        }
    }

    fn drop_block(&mut self, e: u32) {
        let entry = self.entries.get_mut(e);
        let old = Handle(std::mem::replace(&mut entry.more, Handle::NONE.0));
        entry.flags &= !WIDE;
        self.free_block(old);
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        self.entries.memory() + self.pool.memory() + self.free.capacity() * 4
    }
}
