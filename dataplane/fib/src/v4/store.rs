//! Where lines are: each kind once, however many entries of the index name it. A table of today's Internet has some
//! 46,000 kinds for 262,144 entries.
//!
//! To read: Knuth, "The Art of Computer Programming", 6.4 (chaining). What is known of a line lies by where the line is,
//! with the link to the next of the same hash in it: nothing is ever moved or hashed again, so that no change pays for
//! others before it. A line that nobody names stays known until readers have left it: what comes back meanwhile is
//! found. Left out: growing. The heads of chains are as many as three times the lines of a full table.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::DefaultHashBuilder;
use hugepages::HugeSlice;
use hugepages::slice::Backing;

use super::line::{Encoded, FIRST, Form, Naming, STEP};
use super::slab::Slab;
use crate::ahead::{Ahead, Frontier};
use crate::prefetch::prefetch;
use crate::{FibError, Tables};

/// Heads of chains.
const HEADS: usize = 1 << 17;

/// The writer's knowledge of the lines. What they say is in the replicas.
pub(crate) struct Store {
    slab: Slab,
    /// By a line's first word, in steps.
    known: HugeSlice<Known>,
    /// The first line of each chain, in steps; 0 for none.
    heads: HugeSlice<u32>,
    /// How far the lines have got, and what is known of them.
    frontiers: [Frontier; 2],
    ahead: Ahead,
    /// With a secret of this process: who announces prefixes cannot choose collisions.
    hasher: DefaultHashBuilder,
}

/// A line.
#[repr(C, align(16))]
struct Known {
    /// How many entries name it; and in units of [`WAIT`], how often nobody did and readers are waited for.
    users: u32,
    hash: u32,
    /// The next of its chain, in steps.
    next: u32,
    entry: u32,
}

const WAIT: u32 = 1 << 28;
/// So often a line may be waited for. One that would be more often stays as it is, and an equal one is made.
const WAITS: u32 = 15 * WAIT;

// SAFETY: made of integers.
unsafe impl hugepages::slice::Zeroable for Known {}

impl Store {
    /// No line but that of 64 times "no route", at word 0: an index that was never written names it.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(words: usize, ahead: Ahead) -> std::io::Result<Self> {
        let holes = [Naming::Byte, Naming::Half].map(Naming::hole).to_vec();
        let mut slab = Slab::new("word of lines of the IPv4 table", words, holes);
        // A new slab begins at word 0, where every replica is zero. Nobody counts those who name it: they do from the
        // beginning.
        let _ = slab.take(Naming::Byte.step() as usize, true);
        Ok(Self {
            slab,
            known: HugeSlice::zeroed((words / STEP).max(1), Backing::Merged, None)?,
            heads: HugeSlice::zeroed(HEADS, Backing::Merged, None)?,
            frontiers: Default::default(),
            ahead,
            hasher: DefaultHashBuilder::default(),
        })
    }

    /// The hash of a line, for [`Store::intern`]. Asks for what that will look at.
    pub(crate) fn hash(&self, line: &Encoded) -> u32 {
        let hash = self.hasher.hash_one((line.form as u8, line.words())) as u32;
        prefetch(&self.heads[hash as usize % HEADS]);
        hash
    }

    /// Asks for what is known of the line that an entry names.
    #[inline]
    pub(crate) fn prefetch(&self, entry: u32) {
        prefetch(&self.known[(entry & FIRST) as usize / STEP]);
    }

    /// The entry for a line with this hash: of an equal one, or of a new one in every replica. Counts as one user. `last`
    /// says that the reserve may be taken.
    ///
    /// # Errors
    /// No room.
    pub(crate) fn intern(
        &mut self,
        t: &[Arc<Tables>],
        line: &Encoded,
        hash: u32,
        last: bool,
    ) -> Result<u32, FibError> {
        if line.is_nothing() {
            return Ok(0);
        }
        let head = hash as usize % HEADS;
        let mut at = self.heads[head];
        while at != 0 {
            let known = &mut self.known[at as usize];
            let same = |entry: u32| {
                let first = (entry & FIRST) as usize;
                let mut words = (first..).zip(line.words());
                Form::of(entry) == line.form && words.all(|(at, &w)| t[0].v4.word(at) == w)
            };
            if known.hash == hash && known.users != WAITS && same(known.entry) {
                known.users += 1;
                return Ok(known.entry);
            }
            at = known.next;
        }
        let first = self.slab.take(line.words().len(), last)?;
        for t in t {
            for (at, &w) in (first as usize..).zip(line.words()) {
                // Relaxed: nobody finds it before the Release store of an entry that names it.
                t.v4.words[at].store(w, Ordering::Relaxed);
            }
        }
        let end = first as usize + line.words().len();
        let [lines, known] = &mut self.frontiers;
        lines.reach(end, &self.ahead, t.iter().map(|t| &t.v4.words));
        known.reach(end / STEP, &self.ahead, [&self.known]);
        let (entry, at) = (line.entry(first), first / STEP as u32);
        self.known[at as usize] = Known {
            users: 1,
            hash,
            next: std::mem::replace(&mut self.heads[head], at),
            entry,
        };
        Ok(entry)
    }

    /// Takes a user away. When that was the last, returns the line's first word, for [`Store::give`] once no reader
    /// can be at it.
    pub(crate) fn leave(&mut self, entry: u32) -> Option<u32> {
        if entry == 0 {
            return None;
        }
        let users = &mut self.known[(entry & FIRST) as usize / STEP].users;
        *users -= 1;
        if !users.is_multiple_of(WAIT) {
            return None;
        }
        *users += WAIT;
        Some(entry & FIRST)
    }

    /// Readers have left a line: takes back its room, unless it is named again, or was and is waited for once more.
    pub(crate) fn give(&mut self, first: u32) {
        let step = first / STEP as u32;
        let known = &mut self.known[step as usize];
        known.users -= WAIT;
        if known.users > 0 {
            return;
        }
        let (hash, next) = (known.hash, known.next);
        let head = &mut self.heads[hash as usize % HEADS];
        if *head == step {
            *head = next;
        } else {
            let mut before = *head;
            while self.known[before as usize].next != step {
                before = self.known[before as usize].next;
            }
            self.known[before as usize].next = next;
        }
        self.slab.give(first);
    }

    /// Asks for what [`Store::give`] will look at, for one that comes soon.
    pub(crate) fn prefetch_give(&self, first: u32) {
        let hash = self.known[first as usize / STEP].hash;
        prefetch(&self.heads[hash as usize % HEADS]);
    }

    /// Bytes of the line that begins at a word.
    pub(crate) fn weight(&self, first: u32) -> usize {
        self.slab.len_of(first) * size_of::<u64>()
    }

    /// Words of lines that are in use.
    pub(crate) fn words(&self) -> usize {
        self.slab.in_use()
    }

    /// Bytes of the lines in a replica, and of what only the writer needs for them.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let lines = self.slab.bytes();
        let known = lines / (STEP * size_of::<u64>()) * size_of::<Known>();
        (lines, known + size_of_val(&*self.heads))
    }
}
