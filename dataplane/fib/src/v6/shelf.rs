//! Shelves: a kilobyte each, with up to 46 prefixes in order; and where they are.
//!
//! To read: Bayer, McCreight, "Organization and maintenance of large ordered indices", 1972. A prefix is found by
//! comparing the first half of its address with all of a shelf at once, which are six cache lines that come together,
//! and so are its neighbours, which a change asks for next. Left out: the order among shelves, see [`super::rib`].

use std::alloc::{Layout, handle_alloc_error};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::GroupId;

use super::rib::Key;
use crate::ahead::Ahead;
use crate::prefetch::prefetch;

/// Prefixes of a shelf, at most.
pub(super) const MOST: usize = 46;
/// Shelves mapped at once: 2 MiB.
const CHUNK: usize = 2048;
/// Those of the first chunk, on small pages, so that a small table costs little: only the end of it is used.
const FIRST: usize = 64;
/// No shelf.
pub(super) const NIL: u32 = u32::MAX;
/// No prefix covers it.
pub(super) const NOBODY: u8 = u8::MAX;

/// Prefixes in order.
#[repr(C, align(64))]
pub(super) struct Shelf {
    /// Of the unused ones, the greatest number.
    high: [u64; MOST],
    low: [u64; MOST],
    group: [u32; MOST],
    len: [u8; MOST],
    /// How long the next shorter prefix is that covers it, or [`NOBODY`].
    above: [u8; MOST],
    /// The shelves before and after this one.
    pub(super) before: u32,
    pub(super) after: u32,
    used: u32,
}

const _: () = assert!(size_of::<Shelf>() == 1024);

// SAFETY: made of integers.
unsafe impl hugepages::slice::Zeroable for Shelf {}

impl Shelf {
    pub(super) fn used(&self) -> usize {
        self.used as usize
    }

    pub(super) fn key(&self, at: usize) -> Key {
        Key {
            high: self.high[at],
            low: self.low[at],
            len: self.len[at],
        }
    }

    pub(super) fn group(&self, at: usize) -> GroupId {
        GroupId(self.group[at])
    }

    pub(super) fn above(&self, at: usize) -> u8 {
        self.above[at]
    }

    /// Among some of its prefixes, those that had one above them of a length have one of another now.
    pub(super) fn adopt(&mut self, which: std::ops::Range<usize>, from: u8, to: u8) {
        for above in &mut self.above[which] {
            // Without a branch, as vectors.
            *above = if *above == from { to } else { *above };
        }
    }

    pub(super) fn set_group(&mut self, at: usize, group: GroupId) {
        self.group[at] = group.0;
    }

    /// Asks for what [`Shelf::rank`] reads.
    pub(super) fn prefetch(&self) {
        self.high.iter().step_by(8).for_each(prefetch);
        prefetch(&self.len);
        prefetch(&self.used);
    }

    /// How many prefixes come before a key.
    pub(super) fn rank(&self, key: &Key) -> usize {
        // All, without a branch, as vectors.
        let (mut less, mut same) = (0u64, 0u64);
        for &high in &self.high {
            less += u64::from(high < key.high);
            same += u64::from(high == key.high);
        }
        let end = (less + same).min(self.used.into()) as usize;
        let first = less as usize;
        first + (first..end).take_while(|&at| self.key(at) < *key).count()
    }

    /// Puts a prefix where it belongs; there is room.
    pub(super) fn insert(&mut self, at: usize, key: Key, group: GroupId, above: u8) {
        let used = self.used();
        self.high.copy_within(at..used, at + 1);
        self.low.copy_within(at..used, at + 1);
        self.group.copy_within(at..used, at + 1);
        self.len.copy_within(at..used, at + 1);
        self.above.copy_within(at..used, at + 1);
        self.high[at] = key.high;
        self.low[at] = key.low;
        self.group[at] = group.0;
        self.len[at] = key.len;
        self.above[at] = above;
        self.used += 1;
    }

    pub(super) fn remove(&mut self, at: usize) -> GroupId {
        let (used, group) = (self.used(), self.group(at));
        self.high.copy_within(at + 1..used, at);
        self.low.copy_within(at + 1..used, at);
        self.group.copy_within(at + 1..used, at);
        self.len.copy_within(at + 1..used, at);
        self.above.copy_within(at + 1..used, at);
        self.used -= 1;
        self.high[used - 1] = u64::MAX;
        group
    }

    /// Moves what is at `at` and after to the end of another shelf, which has room.
    pub(super) fn pour(&mut self, at: usize, to: &mut Self) {
        let (from, first) = (at..self.used(), to.used());
        let into = first..first + from.len();
        to.high[into.clone()].copy_from_slice(&self.high[from.clone()]);
        to.low[into.clone()].copy_from_slice(&self.low[from.clone()]);
        to.group[into.clone()].copy_from_slice(&self.group[from.clone()]);
        to.len[into.clone()].copy_from_slice(&self.len[from.clone()]);
        to.above[into].copy_from_slice(&self.above[from.clone()]);
        self.high[from.clone()].fill(u64::MAX);
        self.used = at as u32;
        to.used += from.len() as u32;
    }
}

/// All shelves. None ever moves.
#[derive(Default)]
pub(super) struct Shelves {
    chunks: Vec<HugeSlice<Shelf>>,
    made: u32,
    free: Vec<u32>,
    /// Has the next chunk made ready.
    pub(super) ahead: Option<Ahead>,
}

impl Shelves {
    pub(super) fn of(&self, shelf: u32) -> &Shelf {
        let place = Self::place(shelf);
        &self.chunks[place / CHUNK][place % CHUNK]
    }

    pub(super) fn of_mut(&mut self, shelf: u32) -> &mut Shelf {
        let place = Self::place(shelf);
        &mut self.chunks[place / CHUNK][place % CHUNK]
    }

    fn place(shelf: u32) -> usize {
        shelf as usize + CHUNK - FIRST
    }

    /// An empty one, which follows on no other.
    pub(super) fn take(&mut self) -> u32 {
        let shelf = self.free.pop().unwrap_or_else(|| {
            self.made += 1;
            self.made - 1
        });
        // Where half of the last chunk is used, the next one is made ready; not at the first, for which little is enough.
        let place = Self::place(shelf);
        let wanted = if place < 2 * CHUNK - CHUNK / 2 {
            place
        } else {
            place + CHUNK / 2
        };
        while self.chunks.len() <= wanted / CHUNK {
            let backing = match self.chunks.len() {
                0 => Backing::Small,
                _ => Backing::Merged,
            };
            let chunk = HugeSlice::zeroed(CHUNK, backing, None);
            // As any list of the standard library's when it cannot grow.
            let gone = |_| handle_alloc_error(Layout::new::<[Shelf; CHUNK]>());
            let chunk = chunk.unwrap_or_else(gone);
            if let (Some(ahead), true) = (&self.ahead, self.chunks.len() > place / CHUNK) {
                ahead.ask(chunk.span(0..CHUNK));
            }
            self.chunks.push(chunk);
        }
        let empty = self.of_mut(shelf);
        empty.high.fill(u64::MAX);
        (empty.before, empty.after, empty.used) = (NIL, NIL, 0);
        shelf
    }

    /// Takes one back that follows on no other any more.
    pub(super) fn give(&mut self, shelf: u32) {
        self.free.push(shelf);
    }

    /// Moves what is at `at` and after in one shelf to the end of another.
    pub(super) fn pour(&mut self, from: u32, at: usize, to: u32) {
        let mut poured = std::mem::replace(
            self.of_mut(to),
            Shelf {
                high: [0; MOST],
                low: [0; MOST],
                group: [0; MOST],
                len: [0; MOST],
                above: [0; MOST],
                before: NIL,
                after: NIL,
                used: 0,
            },
        );
        self.of_mut(from).pour(at, &mut poured);
        *self.of_mut(to) = poured;
    }

    /// Bytes in use.
    pub(super) fn bytes(&self) -> usize {
        (self.made as usize - self.free.len()) * size_of::<Shelf>()
            + self.free.capacity() * size_of::<u32>()
    }
}
