//! IPv4: a wide index over shared lines of short leaves; this is the readers' side, `write` the writer's.
//!
//! To read: [`line`] first, and docs/decisions/0007 for what it was chosen from. The first 18 bits of an address index
//! 2^18 places; a place names a line, which has the answers for its 64 /24s. Equal lines are kept once, so that a
//! full table is 2.5 to 3.5 MB, which caches hold, and a lookup is two to four loads. A /24 with longer prefixes in it
//! names a table of 256 more.
//!
//! Lines are never changed once they are named: to change a prefix is to write the lines it touches anew and to store
//! their names, one store each, so an address goes from one right answer to the next. Entries of the tables of 256 are
//! changed in place.
//!
//! Names are short as long as that goes: half a megabyte of them stays in a core's own cache, a whole one does not.
//! [`Naming`] says how they are read; it changes once in a table's life, or never. A reader that has seen it change
//! looks again. Departure: prefixes of at most 7 bits are kept aside (see [`crate::short`]), so that a default route
//! costs neither time nor memory.

mod line;
mod nodes;
mod own;
#[cfg(target_arch = "x86_64")]
mod simd;
mod slab;
mod store;
mod write;

pub(crate) use write::{Gone, Writer4, touches};

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::GroupId;

use crate::short::Short;
use line::{LONG, LONGEST, MORE, Naming, SLOTS};

/// Bits that index the names.
const INDEX: u32 = 18;
/// Lengths up to this are in the short table: today's Internet has no prefix shorter than /8.
const SHORT: u8 = 7;
/// Words that a short name can reach, by any rule.
const REACH: usize = LONG as usize * Naming::Byte.step() as usize + LONGEST;

/// One replica of the IPv4 table.
pub(crate) struct Table4 {
    /// How names are read, and how often that has changed: see [`Table4::naming`].
    naming: AtomicU32,
    /// The short name of the line of each /18, or [`line::LONG`]; and one more, which vector loads touch.
    short_names: HugeSlice<[AtomicU16; (1 << INDEX) + 1]>,
    /// The entry of each /18 that has no short name, or of all: see [`Naming::Long`].
    entries: HugeSlice<AtomicU32>,
    /// The lines.
    words: HugeSlice<AtomicU64>,
    /// For /24s with longer prefixes: a group for each address.
    more: HugeSlice<[AtomicU32; 256]>,
    short: Short,
    /// Whether this CPU has what [`simd`] needs.
    wide: bool,
}

impl Table4 {
    /// An empty table with room for so many words of lines and so many tables of 256. Zero pages: costs no memory until
    /// written.
    pub(crate) fn new(words: usize, more: usize, node: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            naming: AtomicU32::new(Naming::Byte as u32),
            short_names: HugeSlice::zeroed(1, Backing::Merged, node)?,
            entries: HugeSlice::zeroed(1 << INDEX, Backing::Small, node)?,
            // Vector loads may reach beyond a line, for lanes that are not asked about; and a name may be read by a rule
            // that was another's, for an answer that is not taken.
            words: HugeSlice::zeroed((words + LONGEST).max(REACH), Backing::Merged, node)?,
            more: HugeSlice::zeroed(more, Backing::Small, node)?,
            short: Short::new(SHORT.into()),
            #[cfg(target_arch = "x86_64")]
            wide: simd::is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            wide: false,
        })
    }

    /// The group of the longest prefix that covers `dst`.
    #[inline]
    pub(crate) fn lookup(&self, dst: u32) -> GroupId {
        match self.answer(dst) {
            0 => self.fall_back(dst),
            group => GroupId(group),
        }
    }

    /// [`Self::lookup`] of each address.
    #[inline]
    pub(crate) fn lookup_burst(&self, dst: &[u32], out: &mut [GroupId]) {
        #[cfg(target_arch = "x86_64")]
        if self.wide {
            // SAFETY: `wide` says that the CPU has what it needs.
            unsafe { simd::lookup_burst(self, dst, out) };
            return;
        }
        self.lookup_burst_scalar(dst, out);
    }

    /// [`Self::lookup_burst`] for any CPU, without a branch that depends on an address: their misses overlap.
    pub(crate) fn lookup_burst_scalar(&self, dst: &[u32], out: &mut [GroupId]) {
        // Arrays, so that what a name reaches needs no check: they are long enough for all of them.
        let words: &[AtomicU64; REACH] = self.words.first_chunk().expect("as long as that");
        // SAFETY: as many bytes, atomics all. One is stored to only where the line is nobody's, as the word that it is
        // part of; then the rule of naming has changed, and what was loaded here is not taken (`is_still`).
        let bytes: &[AtomicU8; 8 * REACH] = unsafe { &*std::ptr::from_ref(words).cast() };
        // SAFETY: likewise.
        let halves: &[AtomicU16; 4 * REACH] = unsafe { &*std::ptr::from_ref(words).cast() };
        let first = |name: u16, naming: Naming| usize::from(name) * naming.step() as usize;
        // Relaxed, all: as in `word`.
        loop {
            let seen = self.naming();
            match Naming::of(seen) {
                Naming::Byte => self.named(dst, out, |name, slot| {
                    let at = 8 * first(name, Naming::Byte) + slot;
                    bytes[at].load(Ordering::Relaxed).into()
                }),
                Naming::Half => self.named(dst, out, |name, slot| {
                    let at = first(name, Naming::Half);
                    let map = words[at].load(Ordering::Relaxed);
                    let leaf = 4 * (at + 1) + line::rank(map, slot);
                    halves[leaf].load(Ordering::Relaxed).into()
                }),
                Naming::Long => {
                    for (out, &ip) in out.iter_mut().zip(dst) {
                        *out = self.lookup(ip);
                    }
                }
            }
            if self.is_still(seen) {
                return;
            }
        }
    }

    /// The answers of a burst, by `leaf` where the line has a short name: of that, and a place in the line.
    #[inline(always)]
    fn named(&self, dst: &[u32], out: &mut [GroupId], leaf: impl Fn(u16, usize) -> u32) {
        let names = &self.short_names[0];
        for (out, &ip) in out.iter_mut().zip(dst) {
            // Acquire: pairs with the Release store in `Writer4::name`; the line named here was written before.
            let name = names[block(ip)].load(Ordering::Acquire);
            out.0 = leaf(name, slot(ip));
        }
        // Few have no leaf, or no short name, which leads to none.
        if out.iter().fold(false, |any, group| any | group.is_none()) {
            for (out, &ip) in out.iter_mut().zip(dst) {
                if out.is_none() {
                    *out = self.lookup(ip);
                }
            }
        }
    }

    /// How names are read ([`Naming::of`]), and a count of its changes. Whoever has read names asks [`Self::is_still`]
    /// afterwards: names may have been given under another rule meanwhile.
    #[inline(always)]
    fn naming(&self) -> u32 {
        self.naming.load(Ordering::Acquire) // pairs with the Release store in `set_naming`
    }

    /// Whether all that was read since `seen` was what it says.
    #[inline(always)]
    fn is_still(&self, seen: u32) -> bool {
        // Names given under the next rule are stored after that rule, with Release: who has seen one sees the rule.
        fence(Ordering::Acquire); // pairs with the Release stores in `Writer4::{rename, name}`
        self.naming.load(Ordering::Relaxed) == seen
    }

    /// Changes the rule of naming; for the writer. What is read under the old one stays right until names are given
    /// under the new one, and whoever has read those looks again.
    fn set_naming(&self, to: Naming) {
        let changes = self.naming.load(Ordering::Relaxed) / 4; // only the writer stores
        let next = changes.wrapping_add(1) << 2 | to as u32;
        self.naming.store(next, Ordering::Release); // pairs with the loads in `naming` and `is_still`
    }

    /// The entry of an address's /18, by this rule of naming.
    #[inline(always)]
    fn entry(&self, naming: Naming, dst: u32) -> u32 {
        // Acquire: pairs with the Release store in `Writer4::name`; the line named here was written before.
        let long = || self.entries[block(dst)].load(Ordering::Acquire);
        if naming == Naming::Long {
            return long();
        }
        // Acquire: likewise.
        let name = self.short_names[0][block(dst)].load(Ordering::Acquire);
        naming.entry(name).unwrap_or_else(long)
    }

    /// A word of the lines.
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed) // written before it was named, and not changed since; see `entry`
    }

    /// What an entry says of an address, down to the table for prefixes longer than /24.
    #[inline(always)]
    fn leaf(&self, entry: u32, dst: u32) -> u32 {
        match line::leaf(entry, slot(dst), |at| self.word(at)) {
            more if more & MORE != 0 => self.longer(more, dst),
            group => group,
        }
    }

    #[inline(never)]
    fn longer(&self, more: u32, dst: u32) -> u32 {
        // Acquire: pairs with the Release store in `Writer4::repaint`, for the next-hop group's sake.
        self.more[(more & !MORE) as usize][(dst & 0xff) as usize].load(Ordering::Acquire)
    }

    #[inline]
    fn answer(&self, dst: u32) -> u32 {
        loop {
            let seen = self.naming();
            let leaf = self.leaf(self.entry(Naming::of(seen), dst), dst);
            if self.is_still(seen) {
                return leaf;
            }
        }
    }

    #[inline(never)]
    fn fall_back(&self, dst: u32) -> GroupId {
        self.short.resolve(short_slot(dst), || self.answer(dst))
    }
}

/// The /18 of an address.
#[inline(always)]
fn block(dst: u32) -> usize {
    (dst >> (32 - INDEX)) as usize
}

/// The place of an address's /24 in its line.
#[inline(always)]
fn slot(dst: u32) -> usize {
    (dst >> 8) as usize % SLOTS
}

/// The place of an address in the short table.
#[inline(always)]
fn short_slot(dst: u32) -> usize {
    (dst >> (32 - SHORT)) as usize
}
