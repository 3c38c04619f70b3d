//! IPv6: a direct index of the first 24 bits over pages of 8 bits over small search trees in cache lines.
//!
//! To read: Asai, Ohara, "Poptrie", 2015, for what a lookup costs; Zec et al., "DXR", 2012, for searching boundaries
//! below a direct index; "PlanB" (arXiv 2604.14650), for doing so with AVX-512. Then here [`Table6`] and
//! [`node`], which say what the parts are; `burst` looks up many addresses at once, `write` makes changes.
//!
//! The Internet's prefixes cut the address space into some 150,000 intervals that lie in clusters. The first 24 bits
//! index 2^24 entries, of which only those pages take memory that something was written to. An entry is a group or names a node. A node is a **tree** (one line of up
//! to 10 boundaries, or a line that chooses among up to 17 such), or, where that is too little, a **page** of 256
//! entries for the next 8 bits. Nodes tell addresses apart by the 32 bits of a *window*: bits 24 to 56, then 56 to 88,
//! 88 to 120, 120 to 128. Where there are prefixes longer than a window reaches, the entry leads on to a node of the
//! next window: that costs more, and the Internet has none.
//!
//! A tree never changes: the writer makes a new one and stores the entry that names it, which is the one step that
//! readers see. What was named before is used again only after a grace period. Prefixes of at most 12 bits are
//! kept aside (see [`crate::short`]).
//!
//! Left out: prefixes are not compressed by level; a lonely /128 costs four trees, a line or two each.

#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod burst;
mod node;
mod paint;
mod rib;
mod runs;
mod shelf;
mod vrfs;
mod write;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::GroupId;

use crate::short::Short;
use node::{Entry, INDEX, Line, PAGE_BITS, WINDOW};

pub(crate) use node::Gone;
pub(crate) use vrfs::{Root, VrfWriter, widened};
pub(crate) use write::{Replicas6, Writer6};

/// Lengths up to this are in the short table.
pub(crate) const SHORT: u8 = 12;
/// Entries of the index in a page of memory: those with the same first 14 bits.
const INDEX_PAGE: usize = 4096 / size_of::<AtomicU32>();
/// Such pages.
const INDEX_PAGES: usize = (1 << INDEX) / INDEX_PAGE;

/// One replica of the IPv6 table.
pub(crate) struct Table6 {
    /// The entry for each value of the first 24 bits. Pages that have nothing are the kernel's one page of zeros.
    index: HugeSlice<AtomicU32>,
    /// Trees and pages. Line 0 is [`node::DUMMY`].
    lines: HugeSlice<Line>,
    short: Short,
    /// Whether this CPU has what `avx512` needs.
    #[cfg(target_arch = "x86_64")]
    vector: bool,
}

impl Table6 {
    /// An empty table with room for so many lines. Zero pages: costs no memory until written.
    pub(crate) fn new(lines: usize, node: Option<u32>) -> io::Result<Self> {
        let table = Self {
            index: HugeSlice::zeroed(1 << INDEX, Backing::Small, node)?,
            lines: HugeSlice::zeroed(write::total_lines(lines), Backing::Merged, node)?,
            short: Short::new(SHORT.into()),
            #[cfg(target_arch = "x86_64")]
            vector: avx512::detected(),
        };
        table.lines[0].fill(&node::DUMMY);
        // So that no worker waits for the kernel, wherever its packets go.
        table.index.populate(0..1 << INDEX, false);
        Ok(table)
    }

    /// The group of the longest prefix that covers `dst`.
    #[inline]
    pub(crate) fn lookup(&self, dst: u128) -> GroupId {
        match self.entry(dst) {
            0 => self.fall_back(dst),
            group => GroupId(group),
        }
    }

    /// The group of the longest prefix of more than 12 bits that covers `dst`, or 0.
    #[inline]
    fn entry(&self, dst: u128) -> u32 {
        self.follow(self.index_entry(dst), INDEX, dst)
    }

    /// What an entry says of `dst`, whose bits from `window` on it tells apart.
    #[inline]
    fn follow(&self, mut entry: Entry, mut window: u32, dst: u128) -> u32 {
        let mut key = node::key(dst, window);
        loop {
            match entry.kind() {
                node::Kind::Group => return entry.0,
                node::Kind::Page => {
                    entry = self.page_entry(entry, key);
                    key <<= PAGE_BITS;
                }
                node::Kind::Tree => entry = entry.search(&self.lines, key),
                node::Kind::Beyond => {
                    window += WINDOW;
                    key = node::key(dst, window);
                    entry = entry.crossed();
                }
            }
        }
    }

    /// The entry for the first 24 bits.
    #[inline]
    fn index_entry(&self, dst: u128) -> Entry {
        // Acquire: pairs with the Release store in `Replicas6::store`; the node or group named was filled before.
        Entry(self.index[(dst >> (128 - INDEX)) as usize].load(Ordering::Acquire))
    }

    /// The entry of a page for a key.
    #[inline]
    fn page_entry(&self, page: Entry, key: u32) -> Entry {
        let (line, word) = page.page_slot(key >> (32 - PAGE_BITS));
        // Acquire: as in `index_entry`.
        Entry(self.lines[line as usize].word(word).load(Ordering::Acquire))
    }

    /// The answer from the short table, for who found no longer prefix.
    #[inline(never)]
    fn fall_back(&self, dst: u128) -> GroupId {
        self.short.resolve(top(dst), || self.entry(dst))
    }
}

/// The first 12 bits.
#[inline]
fn top(dst: u128) -> usize {
    (dst >> (128 - u32::from(SHORT))) as usize
}
