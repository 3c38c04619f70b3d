//! A B+-tree over the intervals, laid out level by level without pointers, a cache line a node: 16 keys of 32 bits or 8 of
//! 64, compared at once with AVX-512 (Slotin, "Static B-trees"; PlanB, arXiv 2604.14650, does so for IPv6).
//!
//! Many addresses go down together, a level at a time.

use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm512_cmple_epu32_mask, _mm512_cmple_epu64_mask,
    _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_epi64,
};

use crate::big::Big;
use crate::{Addr, Candidate, Table, avx512};

const LANES: usize = 16;

/// For IPv4: 17 children.
pub type BTree4 = BTree<u32, 16>;
/// For IPv6: 9 children.
pub type BTree6 = BTree<u64, 8>;

/// The tree.
pub struct BTree<A: Addr, const B: usize> {
    keys: Big<A>,
    /// Where each level begins, the root first.
    levels: Vec<usize>,
    hops: Big<u32>,
    avx512: bool,
}

impl<A: Addr, const B: usize> BTree<A, B> {
    /// Of a table.
    pub fn build(t: &Table<A>) -> Self {
        let n = t.intervals.len();
        let all = A::of(u64::MAX);
        let leaf = |i: usize| t.intervals.get(i).map_or(all, |x| x.0);
        // Nodes of each level, the leaves first.
        let mut nodes = vec![n.div_ceil(B)];
        while *nodes.last().expect("one") > 1 {
            nodes.push(nodes.last().expect("one").div_ceil(B + 1));
        }
        let (mut keys, mut levels) = (vec![], vec![]);
        for (height, &count) in nodes.iter().enumerate().rev() {
            levels.push(keys.len());
            // Leaves under a child of this level.
            let under = (B + 1).pow((height as u32).saturating_sub(1));
            for node in 0..count {
                for j in 0..B {
                    keys.push(match height {
                        0 => leaf(node * B + j),
                        // The first key right of it.
                        _ => leaf((node * (B + 1) + j + 1) * under * B),
                    });
                }
            }
        }
        let hops: Vec<u32> = t.intervals.iter().map(|i| i.1).collect();
        Self {
            keys: Big::new(&keys),
            levels,
            hops: Big::new(&hops),
            avx512: avx512(),
        }
    }

    /// All addresses down, with `rank` saying how many keys of a node are not above an address.
    #[inline(always)]
    fn search(&self, dst: &[A], out: &mut [u32], rank: impl Fn(&[A], A) -> usize) {
        let (last, inner) = self.levels.split_last().expect("at least the leaves");
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            // Unused keys are all ones; no prefix ends at the last address alone.
            let below = A::of(u64::MAX - 1);
            let mut node = [0usize; LANES];
            for (level, next) in inner.iter().zip(self.levels.iter().skip(1)) {
                for (node, &a) in node.iter_mut().zip(dst) {
                    let a = a.min(below);
                    let at = level + *node * B;
                    *node = *node * (B + 1) + rank(&self.keys[at..at + B], a);
                    let line = self.keys.as_ptr().wrapping_add(next + *node * B);
                    // SAFETY: a hint; no memory is read, whatever the address.
                    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
                }
            }
            for ((out, node), &a) in out.iter_mut().zip(node).zip(dst) {
                let a = a.min(below);
                let at = last + node * B;
                let before = rank(&self.keys[at..at + B], a);
                *out = self.hops[node * B + before - 1];
            }
        }
    }
}

fn rank<A: Ord + Copy>(keys: &[A], a: A) -> usize {
    keys.iter().map(|&k| usize::from(k <= a)).sum()
}

impl BTree<u32, 16> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    fn wide(&self, dst: &[u32], out: &mut [u32]) {
        self.search(dst, out, |keys, a| {
            // SAFETY: `search` gives 16 keys.
            let mask = unsafe {
                let keys = _mm512_loadu_si512(keys.as_ptr().cast());
                _mm512_cmple_epu32_mask(keys, _mm512_set1_epi32(a as i32))
            };
            mask.count_ones() as usize
        });
    }
}

impl BTree<u64, 8> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    fn wide(&self, dst: &[u64], out: &mut [u32]) {
        self.search(dst, out, |keys, a| {
            // SAFETY: `search` gives 8 keys.
            let mask = unsafe {
                let keys = _mm512_loadu_si512(keys.as_ptr().cast());
                _mm512_cmple_epu64_mask(keys, _mm512_set1_epi64(a as i64))
            };
            mask.count_ones() as usize
        });
    }
}

macro_rules! candidate {
    ($addr:ty, $b:literal, $name:literal) => {
        impl Candidate<$addr> for BTree<$addr, $b> {
            fn name(&self) -> &'static str {
                $name
            }
            fn lookup(&self, dst: &[$addr], out: &mut [u32]) {
                if self.avx512 {
                    // SAFETY: the processor has it.
                    unsafe { self.wide(dst, out) }
                } else {
                    self.lookup_scalar(dst, out);
                }
            }
            fn lookup_scalar(&self, dst: &[$addr], out: &mut [u32]) {
                self.search(dst, out, |keys, a| rank(keys, a));
            }
            fn bytes(&self) -> usize {
                self.keys.bytes() + self.hops.bytes()
            }
        }
    };
}
candidate!(u32, 16, "B+-tree, 16 keys of 32 bits");
candidate!(u64, 8, "B+-tree, 8 keys of 64 bits");
