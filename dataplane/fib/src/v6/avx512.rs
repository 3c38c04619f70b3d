//! Many lookups at once with AVX-512: 16 addresses go through the index and the pages together by gathers; then a
//! line of 16 words is compared with an address's key by one instruction.
//!
//! To read: Intel's "Optimization Reference Manual", chapter on AVX-512 (gathers, masks). Every lane takes the same
//! steps, so that no branch depends on what was loaded: a lane that has no choice compares with the dummy line, and a
//! lane that has its answer compares with it twice. Lanes that need more than that (a wide tree, the next window, the
//! short table) are looked up again one by one.
//!
//! Gathers and loads of whole lines stand for Acquire loads here: an aligned word is loaded as one, and x86 does not
//! reorder loads; the compiler has no other access to reorder them with.

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use net::GroupId;

use super::node::{Entry, NARROW, NARROW_GROUPS, PAGE_BITS};
use super::{INDEX_PAGE, SHORT, Table6};
use crate::prefetch::prefetch;

/// Addresses looked up together, in groups of 16.
const LANES: usize = 64;
const GROUP: usize = 16;
/// Boundaries of a narrow leaf, as a mask of words.
const BOUNDARIES: __mmask16 = (1 << NARROW) - 1;

/// Whether the CPU has the instructions.
pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("popcnt")
}

/// A word for each address; a vector of them is one line.
#[repr(align(64))]
struct Lanes(MaybeUninit<[u32; LANES]>);

impl Lanes {
    #[inline(always)]
    fn new() -> Self {
        Self(MaybeUninit::uninit())
    }

    #[inline(always)]
    fn at(&mut self, lane: usize) -> *mut u32 {
        self.0.as_mut_ptr().cast::<u32>().wrapping_add(lane)
    }
}

/// What the index says of each address.
struct Found {
    /// The entry.
    entry: Lanes,
    key: Lanes,
    /// Where the choice is, in bytes; the dummy line where there is none.
    choice: Lanes,
    /// Where the first leaf is, in bytes; the dummy line where the entry names no tree.
    leaf: Lanes,
    /// Lanes that need more than the two steps.
    rest: u64,
}

impl Table6 {
    /// [`Table6::lookup`] of each address.
    ///
    /// # Safety
    /// [`detected`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    pub(super) unsafe fn lookup_burst_avx512(&self, dst: &[u128], out: &mut [GroupId]) {
        let n = dst.len().min(out.len());
        let (dst, out) = (&dst[..n], &mut out[..n]);
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
            unsafe {
                if dst.len() == LANES {
                    self.chunk::<true>(dst, out, &mut found);
                } else {
                    self.chunk::<false>(dst, out, &mut found);
                }
            }
        }
        for (dst, out) in dst.chunks(GROUP).zip(out.chunks_mut(GROUP)) {
            let all = mask(out.len());
            // SAFETY: masked to what there is of `out`, whose elements are u32s.
            let groups = unsafe { _mm512_maskz_loadu_epi32(all, out.as_ptr().cast()) };
            let mut none = _mm512_mask_testn_epi32_mask(all, groups, groups);
            while none != 0 {
                let i = none.trailing_zeros() as usize;
                out[i] = self.fall_back(dst[i]);
                none &= none - 1;
            }
        }
    }

    /// As many addresses as there are lanes, or fewer.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    unsafe fn chunk<const FULL: bool>(&self, dst: &[u128], out: &mut [GroupId], found: &mut Found) {
        found.rest = 0;
        for (g, dst) in dst.chunks(GROUP).enumerate() {
            // SAFETY: the features are ours; a chunk has at most `LANES / GROUP` groups.
            unsafe { self.index_group::<FULL>(dst, g, found) };
        }
        let lines = self.lines.as_ptr().cast::<u8>();
        let n = if FULL { LANES } else { dst.len() };
        let out = &mut out[..n];
        for i in 0..n {
            // SAFETY: `index_group` has set all lanes up to the next multiple of 16. An entry names a line of the
            // table with all that its tree has; the key's place among a choice's boundaries is that of a leaf.
            unsafe {
                let words = _mm512_load_si512(lines.add(*found.choice.at(i) as usize).cast());
                let key = _mm512_set1_epi32(*found.key.at(i) as i32);
                let place = u32::from(_mm512_cmplt_epu32_mask(words, key)).count_ones();
                let leaf = found.leaf.at(i);
                // Volatile, or else the compiler counts the bits of two lanes together, in ten steps instead of two.
                leaf.write_volatile(*leaf + place * 64);
            }
        }
        for (i, out) in out.iter_mut().enumerate() {
            // SAFETY: as above; at most 10 boundaries are below the key, and there are 11 groups.
            unsafe {
                let leaf = lines.add(*found.leaf.at(i) as usize);
                let words = _mm512_load_si512(leaf.cast());
                let key = _mm512_set1_epi32(*found.key.at(i) as i32);
                let below = _mm512_mask_cmplt_epu32_mask(BOUNDARIES, words, key);
                let groups = leaf.add(NARROW_GROUPS).cast::<u16>();
                out.0 = (*groups.add(u32::from(below).count_ones() as usize)).into();
            }
        }
        // Where the entry was the answer, the above was for nothing.
        for (g, out) in out.chunks_mut(GROUP).enumerate() {
            // SAFETY: `index_group` has set the entries; masked to what there is of `out`.
            unsafe {
                let entry = _mm512_load_si512(found.entry.at(g * GROUP).cast());
                let answers = !_mm512_movepi32_mask(entry) & mask(out.len());
                _mm512_mask_storeu_epi32(out.as_mut_ptr().cast(), answers, entry);
            }
        }
        while found.rest != 0 {
            let i = found.rest.trailing_zeros() as usize;
            out[i] = self.lookup(dst[i]);
            found.rest &= found.rest - 1;
        }
    }

    /// Takes up to 16 addresses through the index and the pages.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
    unsafe fn index_group<const FULL: bool>(&self, dst: &[u128], g: usize, found: &mut Found) {
        let n = if FULL { GROUP } else { dst.len() };
        // SAFETY: the features are ours.
        let (top, mut key) = unsafe { bits::<FULL>(dst) };
        let slot = _mm512_and_si512(
            _mm512_srli_epi32::<8>(top),
            _mm512_set1_epi32(INDEX_PAGE as i32 - 1),
        );
        let top = _mm512_srli_epi32::<{ 32 - SHORT as u32 }>(top);
        // SAFETY: 12 bits index the root, which names index pages.
        let mut entry = unsafe {
            let page = _mm512_i32gather_epi32::<4>(top, self.root.as_ptr().cast());
            _mm512_i32gather_epi32::<4>(_mm512_add_epi32(page, slot), self.index.as_ptr().cast())
        };
        let line = _mm512_set1_epi32(Entry::LINE as i32);
        let pages = |entry| _mm512_cmpge_epu32_mask(entry, _mm512_set1_epi32(Entry::PAGES as i32));
        let mut left = pages(entry);
        let mut steps = 0;
        // Of 16 addresses some nearly always meet two pages, and hardly ever one meets three.
        while steps < 2 || left != 0 {
            let first = _mm512_slli_epi32::<4>(_mm512_and_si512(entry, line));
            let slot = _mm512_add_epi32(first, _mm512_srli_epi32::<{ 32 - PAGE_BITS }>(key));
            // SAFETY: only lanes whose entry names a page of the table, which has 2^8 entries.
            entry = unsafe {
                _mm512_mask_i32gather_epi32::<4>(entry, left, slot, self.lines.as_ptr().cast())
            };
            key = _mm512_mask_slli_epi32::<PAGE_BITS>(key, left, key);
            left = pages(entry);
            steps += 1;
        }
        let trees = _mm512_movepi32_mask(entry);
        let choices =
            _mm512_mask_test_epi32_mask(trees, entry, _mm512_set1_epi32(Entry::CHOICE as i32));
        let wide = _mm512_mask_test_epi32_mask(trees, entry, _mm512_set1_epi32(Entry::WIDE as i32));
        let beyond =
            _mm512_mask_test_epi32_mask(!trees, entry, _mm512_set1_epi32(Entry::BEYOND as i32));
        found.rest |= u64::from((wide | beyond) & mask(n)) << (g * GROUP);
        let at = _mm512_maskz_slli_epi32::<6>(trees, _mm512_and_si512(entry, line));
        let leaf = _mm512_mask_add_epi32(at, choices, at, _mm512_set1_epi32(64));
        // SAFETY: 16 lanes of a multiple of 16, aligned.
        unsafe {
            _mm512_store_si512(found.entry.at(g * GROUP).cast(), entry);
            _mm512_store_si512(found.key.at(g * GROUP).cast(), key);
            _mm512_store_si512(
                found.choice.at(g * GROUP).cast(),
                _mm512_maskz_mov_epi32(choices, at),
            );
            _mm512_store_si512(found.leaf.at(g * GROUP).cast(), leaf);
        }
    }
}

/// As many lanes.
#[inline]
fn mask(lanes: usize) -> __mmask16 {
    ((1u32 << lanes.min(GROUP)) - 1) as __mmask16
}

/// The bits 0 to 32 and 24 to 56 of up to 16 addresses; zeros for the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,popcnt")]
unsafe fn bits<const FULL: bool>(dst: &[u128]) -> (__m512i, __m512i) {
    let odd64 = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    let odd32 = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    let even32 = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    let n = if FULL { GROUP } else { dst.len().min(GROUP) };
    let words = (1u64 << (2 * n)) - 1;
    // SAFETY: masked to the 64-bit words that there are.
    let four = |i: usize| unsafe {
        let at = dst.as_ptr().cast::<i64>().wrapping_add(8 * i);
        _mm512_maskz_loadu_epi64((words >> (8 * i)) as __mmask8, at)
    };
    let a = _mm512_permutex2var_epi64(four(0), odd64, four(1));
    let b = _mm512_permutex2var_epi64(four(2), odd64, four(3));
    let top = _mm512_permutex2var_epi32(a, odd32, b);
    let key =
        _mm512_permutex2var_epi32(_mm512_srli_epi64::<8>(a), even32, _mm512_srli_epi64::<8>(b));
    (top, key)
}

/// A group id is a word.
const _: () = assert!(size_of::<GroupId>() == 4 && align_of::<GroupId>() == 4);
