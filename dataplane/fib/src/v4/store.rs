//! Where lines are: each kind once, however many entries of the index name it. A table of today's Internet has some
//! 46,000 kinds for 262,144 entries.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::{DefaultHashBuilder, HashTable};
use hugepages::HugeSlice;
use hugepages::slice::Backing;

use super::line::{self, Encoded, FIRST, Form, Naming};
use super::slab::Slab;
use crate::{FibError, Tables};

/// The writer's knowledge of the lines. What they say is in the replicas.
pub(crate) struct Store {
    slab: Slab,
    /// How many entries name the line that begins at a word.
    users: HugeSlice<u32>,
    known: HashTable<Known>,
    /// With a secret of this process: who announces prefixes cannot choose collisions.
    hasher: DefaultHashBuilder,
}

/// A line, so that an equal one can be found; with its hash, so that to grow costs no look at the lines.
struct Known {
    hash: u64,
    entry: u32,
}

impl Store {
    /// No line but that of 64 times "no route", at word 0: an index that was never written names it.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(words: usize) -> std::io::Result<Self> {
        let holes = [Naming::Byte, Naming::Half].map(Naming::hole).to_vec();
        let mut store = Self {
            slab: Slab::new("word of lines of the IPv4 table", words, holes),
            users: HugeSlice::zeroed(words, Backing::Small, None)?,
            known: HashTable::with_capacity(1 << 16),
            hasher: DefaultHashBuilder::default(),
        };
        let nothing = Encoded::new(&[0; line::SLOTS], Form::Byte);
        // A new slab begins at word 0, where every replica is zero.
        if let Ok(first) = store.slab.take(nothing.words().len(), true) {
            store.users[first as usize] = 1;
            let hash = store.hash(Form::Byte, nothing.words());
            store.know(hash, nothing.entry(first));
        }
        Ok(store)
    }

    /// The entry for a line: of an equal one, or of a new one in every replica. Counts as one user. `last` says that
    /// the reserve may be taken.
    ///
    /// # Errors
    /// No room.
    pub(crate) fn intern(
        &mut self,
        t: &[Arc<Tables>],
        line: &Encoded,
        last: bool,
    ) -> Result<u32, FibError> {
        let hash = self.hash(line.form, line.words());
        let word = |at: usize| t[0].v4.word(at);
        let same = |k: &Known| {
            let first = (k.entry & FIRST) as usize;
            k.hash == hash
                && Form::of(k.entry) == line.form
                && (first..).zip(line.words()).all(|(at, &w)| word(at) == w)
        };
        if let Some(k) = self.known.find(hash, same) {
            // Nobody counts those who name the first line: they do from the beginning.
            self.users[(k.entry & FIRST) as usize] += u32::from(k.entry != 0);
            return Ok(k.entry);
        }
        let first = self.slab.take(line.words().len(), last)?;
        for t in t {
            for (at, &w) in (first as usize..).zip(line.words()) {
                // Relaxed: nobody finds it before the Release store of an entry that names it.
                t.v4.words[at].store(w, Ordering::Relaxed);
            }
        }
        let entry = line.entry(first);
        self.users[first as usize] = 1;
        self.know(hash, entry);
        Ok(entry)
    }

    /// Takes a user away. When that was the last, returns the line's first word, for [`Store::give`] once no reader
    /// can be at it.
    pub(crate) fn leave(&mut self, t: &[Arc<Tables>], entry: u32) -> Option<u32> {
        if entry == 0 {
            return None;
        }
        let first = entry & FIRST;
        let users = &mut self.users[first as usize];
        *users -= 1;
        if *users > 0 {
            return None;
        }
        let mut words = [0; line::LONGEST];
        let len = line::read(entry, &mut words, |at| t[0].v4.word(at));
        let hash = self.hash(Form::of(entry), &words[..len]);
        let found = self.known.find_entry(hash, |k| k.entry == entry);
        debug_assert!(found.is_ok(), "a line that nobody knows");
        if let Ok(found) = found {
            found.remove();
        }
        Some(first)
    }

    /// Takes back the room of a line.
    pub(crate) fn give(&mut self, first: u32) {
        self.slab.give(first);
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
        let known = self.known.allocation_size();
        (lines, lines / 2 + known)
    }

    fn hash(&self, form: Form, words: &[u64]) -> u64 {
        self.hasher.hash_one((form as u8, words))
    }

    fn know(&mut self, hash: u64, entry: u32) {
        self.known
            .insert_unique(hash, Known { hash, entry }, |k| k.hash);
    }
}
