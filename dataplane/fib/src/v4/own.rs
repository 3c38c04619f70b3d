//! What the writer knows of each /18, in half a cache line, and the groups of the prefixes of 18 to 24 bits in it.
//!
//! To read: [`super::nodes`] for the numbers. The numbers of a block's prefixes are the bits of a map; their groups lie
//! in the order of the numbers in a run of an arena on large pages, so that a change of a random prefix costs two
//! cache misses to find and to make, and none of them waits for a table of addresses. The arena grows by a chunk at a
//! time and nothing in it ever moves but the run of a block that outgrows it. Left out: prefixes longer than /24, which
//! have tables of their own.

use std::alloc::{Layout, handle_alloc_error};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::GroupId;

use super::line::SLOTS;
use super::nodes::leaves;
use super::slab::Slab;
use crate::ahead::Ahead;
use crate::prefetch::prefetch;

/// Lengths of runs, in pairs of groups. A block with all its 127 prefixes has the last.
const RUNS: [u8; 12] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];
/// Pairs of groups in a chunk: 2 MiB.
const CHUNK: usize = 1 << 18;
/// Bits of [`Own::run`] that say where; above is which of [`RUNS`] it is, from 1 on.
const PLACE: u32 = (1 << 27) - 1;
/// Pairs that a run may begin at. A page of the slab that is in use has a block's run in it, so 2^18 pages are enough
/// whatever happens.
const ROOM: usize = 1 << 27;

/// A /18.
#[repr(C, align(32))]
#[derive(Clone, Copy)]
pub(super) struct Own {
    /// Its line, as the readers' index says.
    pub(super) entry: u32,
    /// Who has what none of its own prefixes covers: the longest prefix of 8 to 17 bits.
    pub(super) base: u32,
    /// The first of its tables for longer prefixes, from 1 on; 0 for none.
    pub(super) longer: u32,
    /// Where the groups are.
    run: u32,
    /// A bit for each prefix of 18 to 24 bits, by its number.
    map: [u64; 2],
}

const _: () = assert!(size_of::<Own>() == 32); // two to a cache line

// SAFETY: made of integers; it owns nothing by itself.
unsafe impl hugepages::slice::Zeroable for Own {}

impl Own {
    pub(super) fn has(&self, number: u32) -> bool {
        self.map[number as usize / 64] & bit(number) != 0
    }

    /// How many prefixes have a lower number.
    fn rank(&self, number: u32) -> usize {
        let below = self.map[number as usize / 64] & (bit(number) - 1);
        let first = if number < 64 { 0 } else { self.map[0] };
        (below.count_ones() + first.count_ones()) as usize
    }

    fn len(&self) -> usize {
        (self.map[0].count_ones() + self.map[1].count_ones()) as usize
    }
}

/// The groups of all blocks.
pub(super) struct Groups {
    slab: Slab,
    chunks: Vec<HugeSlice<u32>>,
    ahead: Ahead,
}

impl Groups {
    pub(super) fn new(ahead: Ahead) -> Self {
        Self {
            slab: Slab::new("group of IPv4 prefixes", ROOM, Vec::new()),
            chunks: Vec::new(),
            ahead,
        }
    }

    pub(super) fn get(&self, own: &Own, number: u32) -> Option<GroupId> {
        own.has(number)
            .then(|| GroupId(self.run(own)[own.rank(number)]))
    }

    /// Sets or (with `None`) removes a prefix, and returns what it had.
    pub(super) fn set(
        &mut self,
        own: &mut Own,
        number: u32,
        group: Option<GroupId>,
    ) -> Option<GroupId> {
        let (len, rank) = (own.len(), own.rank(number));
        match (own.has(number), group) {
            (true, Some(group)) => {
                let at = &mut self.run_mut(own)[rank];
                Some(GroupId(std::mem::replace(at, group.0)))
            }
            (true, None) => {
                let run = self.run_mut(own);
                let old = GroupId(run[rank]);
                run.copy_within(rank + 1..len, rank);
                own.map[number as usize / 64] &= !bit(number);
                // Not by one length: what comes back at once finds its room.
                let fits = Self::class(len - 1);
                if fits == 0 || fits + 2 < own.run >> 27 {
                    self.resize(own, fits, len - 1);
                }
                Some(old)
            }
            (false, Some(group)) => {
                let fits = Self::class(len + 1);
                if fits > own.run >> 27 {
                    self.resize(own, fits, len);
                }
                let run = self.run_mut(own);
                // Many come in order, and then none has to make room.
                if rank < len {
                    run.copy_within(rank..len, rank + 1);
                }
                run[rank] = group.0;
                own.map[number as usize / 64] |= bit(number);
                None
            }
            (false, None) => None,
        }
    }

    /// Gives each leaf to the longest prefix that covers it; the others keep what they have. Returns where the answer may
    /// be another than the one before, a bit for each leaf.
    pub(super) fn paint(&self, own: &Own, to: &mut [u32; SLOTS]) -> u64 {
        let mut edges = 0;
        let mut groups = self.run(own).iter();
        for (i, mut map) in own.map.into_iter().enumerate() {
            while map != 0 {
                let under = leaves(64 * i as u32 + map.trailing_zeros(), SLOTS);
                map &= map - 1;
                edges |= 1 << under.start | 1u64.checked_shl(under.end as u32).unwrap_or(0);
                if let Some(&group) = groups.next() {
                    to[under].fill(group);
                }
            }
        }
        edges
    }

    /// Asks for the cache lines of a block's groups, as far as most have them.
    #[inline]
    pub(super) fn prefetch(&self, own: &Own) {
        self.run(own).iter().step_by(16).take(4).for_each(prefetch);
    }

    /// Bytes of it all.
    pub(super) fn bytes(&self) -> usize {
        self.slab.bytes()
    }

    /// Which of the runs so many groups need, from 1 on; 0 for none.
    fn class(groups: usize) -> u32 {
        match groups {
            0 => 0,
            _ => RUNS.partition_point(|&run| 2 * usize::from(run) < groups) as u32 + 1,
        }
    }

    fn range(run: u32) -> (usize, std::ops::Range<usize>) {
        let (class, place) = ((run >> 27) as usize, (run & PLACE) as usize);
        let len = match class {
            0 => 0,
            _ => 2 * usize::from(RUNS[class - 1]),
        };
        let first = 2 * (place % CHUNK);
        (place / CHUNK, first..first + len)
    }

    fn run(&self, own: &Own) -> &[u32] {
        let (chunk, range) = Self::range(own.run);
        self.chunks.get(chunk).map_or(&[], |chunk| &chunk[range])
    }

    fn run_mut(&mut self, own: &Own) -> &mut [u32] {
        let (chunk, range) = Self::range(own.run);
        &mut self.chunks[chunk][range]
    }

    /// Moves a block's groups, `len` of them, to a run of another length.
    #[inline(never)]
    fn resize(&mut self, own: &mut Own, class: u32, len: usize) {
        let old = own.run;
        let mut kept = [0; 2 * RUNS[RUNS.len() - 1] as usize];
        kept[..len].copy_from_slice(&self.run(own)[..len]);
        own.run = 0;
        if class > 0 {
            let pairs = RUNS[class as usize - 1].into();
            // There is always room: see `ROOM`.
            let place = self.slab.take(pairs, true).unwrap_or_else(|_| no_memory());
            // Where half of the last chunk is used, the next one is made ready.
            while self.chunks.len() <= (place as usize + CHUNK / 2) / CHUNK {
                let chunk = HugeSlice::zeroed(2 * CHUNK, Backing::Merged, None);
                let chunk = chunk.unwrap_or_else(|_| no_memory());
                if self.chunks.len() > place as usize / CHUNK {
                    self.ahead.ask(chunk.span(0..2 * CHUNK));
                }
                self.chunks.push(chunk);
            }
            own.run = class << 27 | place;
            self.run_mut(own)[..len].copy_from_slice(&kept[..len]);
        }
        if old != 0 {
            self.slab.give(old & PLACE);
        }
    }
}

/// As any list of the standard library's when it cannot grow.
#[cold]
fn no_memory() -> ! {
    handle_alloc_error(Layout::new::<[u32; 2 * CHUNK]>())
}

fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ahead::Pages;
    use proptest::prelude::*;

    fn nobody() -> Own {
        Own {
            entry: 0,
            base: 0,
            longer: 0,
            run: 0,
            map: [0; 2],
        }
    }

    proptest! {
        #[test]
        fn blocks_are_apart_and_right(
            ops in proptest::collection::vec((0usize..3, 1u32..128, proptest::option::of(1u32..9)), 0..600),
        ) {
            let mut groups = Groups::new(Pages::new().ahead());
            let mut blocks = [nobody(); 3];
            let mut plain = [(); 3].map(|()| std::collections::BTreeMap::new());
            for (block, number, group) in ops {
                let old = match group {
                    Some(group) => plain[block].insert(number, group),
                    None => plain[block].remove(&number),
                };
                let own = &mut blocks[block];
                prop_assert_eq!(groups.set(own, number, group.map(GroupId)).map(|g| g.0), old);
                prop_assert_eq!(groups.get(own, number).map(|g| g.0), group);
            }
            for (own, plain) in blocks.iter_mut().zip(&plain) {
                let mut leaves = [9; SLOTS];
                let edges = groups.paint(own, &mut leaves);
                for (leaf, &got) in (64u32..).zip(&leaves) {
                    let longest = (0..7).find_map(|up| plain.get(&(leaf >> up))).copied();
                    prop_assert_eq!(got, longest.unwrap_or(9));
                }
                for at in 1..SLOTS {
                    prop_assert!(leaves[at - 1] == leaves[at] || edges >> at & 1 == 1);
                }
                for number in 1..128 {
                    let old = groups.set(own, number, None);
                    prop_assert_eq!(old.map(|g| g.0), plain.get(&number).copied());
                }
            }
            prop_assert_eq!(groups.bytes(), 0);
        }

        #[test]
        fn a_block_can_be_full(from in 1u32..128) {
            let mut groups = Groups::new(Pages::new().ahead());
            let mut own = nobody();
            for number in (from..128).chain(1..from) {
                prop_assert_eq!(groups.set(&mut own, number, Some(GroupId(number))), None);
            }
            for number in 1..128 {
                prop_assert_eq!(groups.get(&own, number), Some(GroupId(number)));
            }
        }
    }
}
