//! IPv6: a multibit trie with a direct root and path compression; this is the readers' side, `v6_write` the writer's.
//!
//! To read: Srinivasan, Varghese, "Fast address lookups using controlled prefix expansion", 1999. The first 18 bits
//! index the root; every node below takes 6 bits, so that /24, /30, /36, /42 and /48 end where a node does, as real
//! prefixes like to. A prefix is written into all the entries that it covers and no longer one does, so a lookup ends
//! at the first entry that is no node. Chains of nodes with one way down are left out: an entry that skips levels names
//! a [`Skip`], by which the reader compares the bits left out. Entries are changed in place, one store each. Departure: prefixes of at most 12 bits are kept aside (see [`crate::short`]).

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::GroupId;

use crate::prefetch::prefetch;
use crate::short::Short;

/// Bits that index the root.
pub(crate) const ROOT: u32 = 18;
/// Bits that index a node.
pub(crate) const STRIDE: u32 = 6;
/// Entries of a node.
pub(crate) const FANOUT: usize = 1 << STRIDE;
/// Lengths up to this are in the short table.
pub(crate) const SHORT: u8 = 12;
/// Set in an entry that names a node.
pub(crate) const NODE: u32 = 1 << 31;
/// Set besides when that node is not on the next level: the number is a [`Skip`]'s, not the node's.
pub(crate) const SKIP: u32 = 1 << 30;
/// The number.
pub(crate) const ID: u32 = SKIP - 1;
/// Addresses looked up together: as many misses as a core keeps in flight, and a little more.
const LANES: usize = 32;

/// A way to a node that leaves out levels: the node, the bits before it, and the answer for who comes with others.
///
/// It belongs to the one entry that names it and goes with that: a reader that is on it while the way is parted finds
/// what was right then. (Were it the node's, `miss` would come to stand for less than the reader came with.)
pub(crate) struct Skip([AtomicU32; 8]);

// SAFETY: made of atomics only, for which zero is a value.
unsafe impl hugepages::slice::Zeroable for Skip {}

const _: () = assert!(size_of::<Skip>() == 32); // never across two cache lines

impl Skip {
    /// Bits before the node. Relaxed, as `prefix` and `node`: written before the skip is named by a Release store,
    /// which pairs with the Acquire load that found it.
    #[inline]
    pub(crate) fn offset(&self) -> u32 {
        self.0[4].load(Ordering::Relaxed)
    }

    /// Those bits, then zeros.
    #[inline]
    pub(crate) fn prefix(&self) -> u128 {
        self.0[..4]
            .iter()
            .fold(0, |a, w| a << 32 | u128::from(w.load(Ordering::Relaxed))) // as in `offset`
    }

    /// The node.
    #[inline]
    pub(crate) fn node(&self) -> u32 {
        self.0[6].load(Ordering::Relaxed) // as in `offset`
    }

    /// The entry in place of the node for whoever has other bits before it.
    #[inline]
    pub(crate) fn miss(&self) -> u32 {
        self.0[5].load(Ordering::Acquire) // pairs with the Release store in `set_miss`, for the next-hop group's sake
    }

    pub(crate) fn set(&self, prefix: u128, offset: u32, node: u32) {
        for (i, word) in self.0[..4].iter().enumerate() {
            word.store((prefix >> (96 - 32 * i)) as u32, Ordering::Relaxed); // nobody sees it yet; see `offset`
        }
        self.0[4].store(offset, Ordering::Relaxed); // likewise
        self.0[6].store(node, Ordering::Relaxed); // likewise
    }

    pub(crate) fn set_miss(&self, entry: u32) {
        self.0[5].store(entry, Ordering::Release); // pairs with `miss`
    }
}

/// Room for the skips of so many nodes: at most one leads to each, and as many wait for readers to leave.
pub(crate) fn skips_for(nodes: usize) -> usize {
    2 * nodes
}

/// One replica of the IPv6 table.
pub(crate) struct Trie6 {
    pub(crate) root: HugeSlice<[AtomicU32; 1 << ROOT]>,
    pub(crate) nodes: HugeSlice<[AtomicU32; FANOUT]>,
    pub(crate) skips: HugeSlice<Skip>,
    pub(crate) short: Short,
}

impl Trie6 {
    /// An empty table with room for so many nodes. Zero pages: costs no memory until written.
    pub(crate) fn new(nodes: usize, node: Option<u32>) -> io::Result<Self> {
        Ok(Self {
            root: HugeSlice::zeroed(1, Backing::Small, node)?,
            nodes: HugeSlice::zeroed(nodes, Backing::Small, node)?,
            skips: HugeSlice::zeroed(skips_for(nodes), Backing::Small, node)?,
            short: Short::new(SHORT.into()),
        })
    }

    /// The group of the longest prefix that covers `dst`.
    #[inline]
    pub(crate) fn lookup(&self, dst: u128) -> GroupId {
        match self.entry(dst) {
            0 => self.fall_back(dst),
            group => GroupId(group),
        }
    }

    /// [`Self::lookup`] of each address: level by level, so that the misses of all overlap.
    pub(crate) fn lookup_burst(&self, dst: &[u128], out: &mut [GroupId]) {
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            self.lookup_chunk(dst, out);
        }
    }

    #[inline]
    fn lookup_chunk(&self, dst: &[u128], out: &mut [GroupId]) {
        let root = &self.root[0];
        let mut offset = [ROOT; LANES];
        let mut on = [0u8; LANES]; // the lanes that are still at a node
        let mut left = 0;
        for ip in dst {
            prefetch(&root[root_slot(*ip)]);
        }
        for (i, (ip, out)) in dst.iter().zip(out.iter_mut()).enumerate() {
            // Acquire: pairs with the Release store in `v6_write`.
            out.0 = root[root_slot(*ip)].load(Ordering::Acquire);
            if out.0 & NODE != 0 {
                self.prefetch_step(out.0, *ip, ROOT);
                on[left] = i as u8;
                left += 1;
            }
        }
        while left > 0 {
            let mut still = 0;
            for k in 0..left {
                let i = usize::from(on[k]);
                let (entry, at) = self.step(out[i].0, dst[i], offset[i]);
                (out[i].0, offset[i]) = (entry, at);
                if entry & NODE != 0 {
                    self.prefetch_step(entry, dst[i], at);
                    on[still] = i as u8;
                    still += 1;
                }
            }
            left = still;
        }
        for (ip, out) in dst.iter().zip(out) {
            if out.0 == 0 {
                *out = self.fall_back(*ip);
            }
        }
    }

    #[inline]
    fn entry(&self, dst: u128) -> u32 {
        // Acquire: pairs with the Release store in `v6_write`; the node or group named here was filled before.
        let mut entry = self.root[0][root_slot(dst)].load(Ordering::Acquire);
        let mut offset = ROOT;
        while entry & NODE != 0 {
            (entry, offset) = self.step(entry, dst, offset);
        }
        entry
    }

    /// From an entry that names a node to that node's entry for `dst`, and the bits before what it names; from a skip
    /// to its node, or past it.
    #[inline]
    fn step(&self, entry: u32, dst: u128, offset: u32) -> (u32, u32) {
        let id = (entry & ID) as usize;
        if entry & SKIP != 0 {
            let skip = &self.skips[id];
            let offset = skip.offset();
            let same = (dst ^ skip.prefix()) >> (128 - offset) == 0;
            return (
                if same {
                    NODE | skip.node()
                } else {
                    skip.miss()
                },
                offset,
            );
        }
        // Acquire: pairs with the Release store in `v6_write`, as in `entry`.
        (
            self.nodes[id][slot(dst, offset)].load(Ordering::Acquire),
            offset + STRIDE,
        )
    }

    #[inline]
    fn prefetch_step(&self, entry: u32, dst: u128, offset: u32) {
        let id = (entry & ID) as usize;
        if entry & SKIP != 0 {
            prefetch(&self.skips[id]);
        } else {
            prefetch(&self.nodes[id][slot(dst, offset)]);
        }
    }

    #[inline(never)]
    fn fall_back(&self, dst: u128) -> GroupId {
        self.short
            .resolve((dst >> (128 - u32::from(SHORT))) as usize, || {
                self.entry(dst)
            })
    }
}

/// The root's entry for an address.
#[inline]
pub(crate) fn root_slot(dst: u128) -> usize {
    (dst >> (128 - ROOT)) as usize
}

/// The entry for an address in a node with `offset` bits before it. The last node has bits to spare, taken as zeros.
#[inline]
pub(crate) fn slot(dst: u128, offset: u32) -> usize {
    (dst << offset >> (128 - STRIDE)) as usize
}
