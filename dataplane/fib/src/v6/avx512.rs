//! Many lookups at once with AVX-512: 8 addresses go through the index and the pages together by gathers; then a
//! line of 16 words is compared with an address's key by one instruction.
//!
//! To read: Intel's "Optimization Reference Manual", chapter on AVX-512 (gathers, masks). Every lane takes the same
//! steps, and who has no choice or no tree compares its key with the dummy line: no branch depends on what was loaded, so
//! that a burst's first loads are on their way while the last of the one before are awaited. Lanes that need more than that
//! (a wide tree, the next window) are taken through their steps together afterwards; who finds nothing is answered by the
//! short table.
//!
//! Vectors of 8 rather than 16: where gathers are slow (Intel), those of 8 elements take less for each.
//!
//! Gathers and loads of whole lines stand for Acquire loads here: an aligned word is loaded as one, and x86 does not
//! reorder loads; the compiler has no other access to reorder them with.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::sync::atomic::{Ordering, fence};

use net::GroupId;

use super::burst::Address;
use super::node::{Entry, NARROW, NARROW_GROUPS, PAGE_BITS};
use super::{INDEX, Table6, top};
use crate::prefetch::prefetch;

/// Addresses looked up together, in groups of 8.
pub(super) const LANES: usize = 64;
const GROUP: usize = 8;

/// Whether the CPU has the instructions.
pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("bmi1")
}

/// A word for each address, and room for a vector that begins at the last.
#[repr(align(64))]
struct Lanes(MaybeUninit<[u32; LANES + GROUP]>);

impl Lanes {
    #[inline(always)]
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    #[inline(always)]
    fn at(&self, lane: usize) -> *const u32 {
        self.0.as_ptr().cast::<u32>().wrapping_add(lane)
    }

    #[inline(always)]
    fn at_mut(&mut self, lane: usize) -> *mut u32 {
        self.0.as_mut_ptr().cast::<u32>().wrapping_add(lane)
    }

    /// 8 lanes from that one on, a multiple of 8, which were set.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn get(&self, lane: usize) -> __m256i {
        debug_assert!(lane < LANES && lane.is_multiple_of(GROUP));
        // SAFETY: 8 lanes, aligned.
        unsafe { _mm256_load_si256(self.at(lane).cast()) }
    }

    /// Sets as many.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn set(&mut self, lane: usize, to: __m256i) {
        debug_assert!(lane < LANES && lane.is_multiple_of(GROUP));
        // SAFETY: 8 lanes, aligned.
        unsafe { _mm256_store_si256(self.at_mut(lane).cast(), to) }
    }
}

/// Where each address is.
struct Found {
    /// The entry.
    entry: Lanes,
    key: Lanes,
    /// Where the choice is, then which of its boundaries are below the key, a bit for each. In bytes, as `leaf`: 0, the
    /// dummy, for who is at none.
    choice: Lanes,
    leaf: Lanes,
    /// Lanes that need more than that.
    rest: u64,
}

impl Table6 {
    /// [`Table6::lookup`] of each address.
    ///
    /// # Safety
    /// [`detected`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    pub(super) unsafe fn lookup_burst_avx512<A: Address>(&self, dst: &[A], out: &mut [GroupId]) {
        let n = dst.len().min(out.len());
        let (dst, out) = (&dst[..n], &mut out[..n]);
        let changes = self.short.changes(); // before any entry is loaded: see `Short::resolve`
        let mut found = Found {
            entry: Lanes::new(),
            key: Lanes::new(),
            choice: Lanes::new(),
            leaf: Lanes::new(),
            rest: 0,
        };
        let mut next = dst.chunks(LANES);
        next.next();
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            for ip in next.next().unwrap_or_default().iter().step_by(4) {
                prefetch(ip); // four to a line
            }
            // SAFETY: the features are ours; `out` is as long as `dst`, which has `LANES` or fewer.
            unsafe { self.chunk(dst, out, &mut found) };
        }
        if !self.answer_short(dst, out) {
            return;
        }
        // The short table may have been changed after an entry was found empty: then its answer is one of no time.
        fence(Ordering::Acquire); // pairs with the Release store in `Short::store`
        if self.short.changes() != changes {
            for (dst, out) in dst.iter().zip(out) {
                *out = self.lookup(dst.host());
            }
        }
    }

    /// Asks the short table for those that have nothing yet. Returns whether there were any.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    fn answer_short<A: Address>(&self, dst: &[A], out: &mut [GroupId]) -> bool {
        const WIDE: usize = 16;
        let mut any = false;
        for (dst, out) in dst.chunks(WIDE).zip(out.chunks_mut(WIDE)) {
            let all = ((1u32 << out.len()) - 1) as __mmask16;
            // SAFETY: masked to what there is of `out`, whose elements are u32s.
            let groups = unsafe { _mm512_maskz_loadu_epi32(all, out.as_ptr().cast()) };
            let mut none = _mm512_mask_testn_epi32_mask(all, groups, groups);
            any |= none != 0;
            while none != 0 {
                let i = none.trailing_zeros() as usize;
                // Acquire: as in `Short::resolve`.
                out[i] = GroupId(self.short.slots()[top(dst[i].host())].load(Ordering::Acquire));
                none &= none - 1;
            }
        }
        any
    }

    /// As many addresses as there are lanes, or fewer. One step of all after the other, so that no load waits for one of
    /// the same step.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    unsafe fn chunk<A: Address>(&self, dst: &[A], out: &mut [GroupId], found: &mut Found) {
        let (whole, last) = dst.as_chunks::<GROUP>();
        let groups = dst.len().div_ceil(GROUP);
        // SAFETY: the features are ours; a chunk has at most `LANES / GROUP` groups.
        unsafe {
            for (g, group) in whole.iter().enumerate() {
                self.index_group(group, g, found);
            }
            if let Some(&ip) = last.last() {
                // Filled up with one of them.
                let mut group = [ip; GROUP];
                group[..last.len()].copy_from_slice(last);
                self.index_group(&group, whole.len(), found);
            }
            // Of so many addresses some nearly always meet two pages, and hardly ever one meets three.
            let mut steps = 0;
            let mut pages = 0;
            while steps < 2 || pages != 0 {
                pages = 0;
                for g in 0..groups {
                    pages |= self.page_group(g, found);
                }
                steps += 1;
            }
            found.rest = 0;
            for g in 0..groups {
                self.tree_group(g, found);
            }
            self.search(groups, found, out);
        }
        let rest = found.rest & (!0 >> (LANES - out.len()));
        if rest != 0 {
            // SAFETY: set for the lanes that there are addresses for.
            let at = |i| unsafe { (Entry(*found.entry.at(i)), *found.key.at(i)) };
            self.finish(dst, out, rest, at);
        }
    }

    /// Answers those that are at a tree with narrow leaves, and those that have an answer.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    unsafe fn search(&self, groups: usize, found: &mut Found, out: &mut [GroupId]) {
        let lines = self.lines.as_ptr().cast::<u8>();
        let mut few = [GroupId::NONE; LANES];
        let to = if out.len() == LANES {
            out.as_mut_ptr()
        } else {
            few.as_mut_ptr()
        };
        // SAFETY: the lanes up to the next multiple of 8 were set. An entry names a line of the table with all that its tree
        // has; the key's place among a choice's boundaries is that of a leaf; at most 10 boundaries of a leaf are below the
        // key, and there are 11 groups. Volatile: the compiler would put words together that are quicker stored alone.
        unsafe {
            for i in 0..groups * GROUP {
                let key = _mm512_set1_epi32(*found.key.at(i) as i32);
                let words = _mm512_load_si512(lines.add(*found.choice.at(i) as usize).cast());
                let below = _mm512_cmplt_epu32_mask(words, key);
                found.choice.at_mut(i).write_volatile(below.into());
            }
            for g in 0..groups {
                // Those below are the first ones.
                let above = _mm256_lzcnt_epi32(found.choice.get(g * GROUP));
                let place = _mm256_sub_epi32(_mm256_set1_epi32(32), above);
                let leaf = found.leaf.get(g * GROUP);
                let leaf = _mm256_add_epi32(leaf, _mm256_slli_epi32::<6>(place));
                found.leaf.set(g * GROUP, leaf);
            }
            for i in 0..groups * GROUP {
                let key = _mm512_set1_epi32(*found.key.at(i) as i32);
                let leaf = lines.add(*found.leaf.at(i) as usize);
                let words = _mm512_load_si512(leaf.cast());
                let groups = leaf.add(NARROW_GROUPS).cast::<u16>();
                let group = *groups.add(place::<NARROW>(words, key) as usize);
                to.add(i).write_volatile(GroupId(group.into()));
            }
            for g in 0..groups {
                let entry = found.entry.get(g * GROUP);
                let answered = !_mm256_movepi32_mask(entry);
                _mm256_mask_storeu_epi32(to.add(g * GROUP).cast(), answered, entry);
            }
        }
        if out.len() < LANES {
            out.copy_from_slice(&few[..out.len()]);
        }
    }

    /// Takes 8 addresses through the index.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    unsafe fn index_group<A: Address>(&self, dst: &[A; GROUP], g: usize, found: &mut Found) {
        // SAFETY: the features are ours.
        let (top, key) = unsafe { bits(dst) };
        let at = _mm256_srli_epi32::<{ 32 - INDEX as i32 }>(top);
        // SAFETY: 24 bits index the whole of the index.
        let entry = unsafe { _mm256_i32gather_epi32::<4>(self.index.as_ptr().cast(), at) };
        found.entry.set(g * GROUP, entry);
        found.key.set(g * GROUP, key);
    }

    /// Takes those of 8 addresses that are at a page through it. Returns which are at another.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    unsafe fn page_group(&self, g: usize, found: &mut Found) -> __mmask8 {
        let pages = |entry| _mm256_cmpge_epu32_mask(entry, _mm256_set1_epi32(Entry::PAGES as i32));
        let (entry, key) = (found.entry.get(g * GROUP), found.key.get(g * GROUP));
        let left = pages(entry);
        let line = _mm256_and_si256(entry, _mm256_set1_epi32(Entry::LINE as i32));
        let slot = _mm256_srli_epi32::<{ 32 - PAGE_BITS as i32 }>(key);
        let at = _mm256_add_epi32(_mm256_slli_epi32::<4>(line), slot);
        // SAFETY: only lanes whose entry names a page of the table, which has 2^8 entries.
        let next = unsafe {
            _mm256_mmask_i32gather_epi32::<4>(entry, left, at, self.lines.as_ptr().cast())
        };
        found.entry.set(g * GROUP, next);
        found.key.set(
            g * GROUP,
            _mm256_mask_slli_epi32::<PAGE_BITS>(key, left, key),
        );
        pages(next)
    }

    /// Lists which of 8 addresses are at a tree, and which of these at a choice.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
    unsafe fn tree_group(&self, g: usize, found: &mut Found) {
        let entry = found.entry.get(g * GROUP);
        let has = |lanes, bit: u32| {
            _mm256_mask_test_epi32_mask(lanes, entry, _mm256_set1_epi32(bit as i32))
        };
        let nodes = _mm256_movepi32_mask(entry);
        let wide = has(nodes, Entry::WIDE);
        let rest = wide | has(!nodes, Entry::BEYOND);
        found.rest |= u64::from(rest) << (g * GROUP);
        let trees = nodes & !wide;
        let line = _mm256_and_si256(entry, _mm256_set1_epi32(Entry::LINE as i32));
        let line = _mm256_maskz_slli_epi32::<6>(trees, line);
        let choices = has(trees, Entry::CHOICE);
        found
            .choice
            .set(g * GROUP, _mm256_maskz_mov_epi32(choices, line));
        let first = _mm256_mask_add_epi32(line, choices, line, _mm256_set1_epi32(64));
        found.leaf.set(g * GROUP, first);
    }
}

/// A key's place among the first `N` words, which are in order: how many are below it.
#[inline(always)]
fn place<const N: usize>(words: __m512i, key: __m512i) -> u32 {
    // SAFETY: called from functions that need AVX-512.
    let not_below = unsafe { _mm512_cmpge_epu32_mask(words, key) };
    // Not by counting bits: the compiler would count those of two lanes together, in ten steps instead of two.
    (u32::from(not_below) | 1 << N).trailing_zeros()
}

/// The bits 0 to 32 and 24 to 56 of 8 addresses.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512cd,bmi1")]
unsafe fn bits<A: Address>(dst: &[A; GROUP]) -> (__m256i, __m256i) {
    const { assert!(size_of::<A>() == 16) };
    let words = _mm512_broadcast_i32x4(_mm_set_epi64x(-1, i64::from_le_bytes(A::WORDS)));
    let at = dst.as_ptr().cast::<__m512i>();
    // SAFETY: 8 addresses are two vectors.
    let (low, high) = unsafe { (_mm512_loadu_si512(at), _mm512_loadu_si512(at.add(1))) };
    let (low, high) = (
        _mm512_shuffle_epi8(low, words),
        _mm512_shuffle_epi8(high, words),
    );
    let both = _mm512_set_epi32(29, 25, 21, 17, 13, 9, 5, 1, 28, 24, 20, 16, 12, 8, 4, 0);
    let all = _mm512_permutex2var_epi32(low, both, high);
    (
        _mm512_castsi512_si256(all),
        _mm512_extracti64x4_epi64::<1>(all),
    )
}

/// A group id is a word.
const _: () = assert!(size_of::<GroupId>() == 4 && align_of::<GroupId>() == 4);
