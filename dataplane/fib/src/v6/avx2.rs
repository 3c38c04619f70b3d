//! The index and the pages without AVX-512, for processors since 2013: 8 addresses at a time by gathers. Read
//! [`super::avx512`] first, which goes the same way, and which says why gathers may stand for atomic loads.

use std::arch::x86_64::*;

use super::burst::{LANES, Lanes};
use super::node::{Entry, PAGE_BITS};
use super::{INDEX, Table6};

/// Addresses in a vector.
const GROUP: usize = 8;

/// Takes so many addresses through the index and the pages: from the bits 0 to 32 of each in `tops`, which become the
/// entries, and the bits 24 to 56 in `keys`, which become what is left of them.
pub(super) fn to_trees(t: &Table6, tops: &mut Lanes, keys: &mut Lanes, n: usize) {
    let groups = n.div_ceil(GROUP);
    let tops = &mut tops.0.as_chunks_mut::<GROUP>().0[..groups];
    let keys = &mut keys.0.as_chunks_mut::<GROUP>().0[..groups];
    const { assert!(LANES.is_multiple_of(GROUP)) };
    // SAFETY: the target has AVX2 (see `super`). 24 bits index the whole of the index; a page that an entry names
    // is one of the table's, with 2^8 entries.
    unsafe {
        for top in &mut *tops {
            let at = _mm256_srli_epi32::<{ 32 - INDEX as i32 }>(load(top));
            store(
                top,
                _mm256_i32gather_epi32::<4>(t.index.as_ptr().cast(), at),
            );
        }
        let mut steps = 0;
        let mut pages = 0;
        // Two steps for all without a branch, which would be taken at random.
        while steps < 2 || pages != 0 {
            pages = 0;
            for (entry_of, key_of) in tops.iter_mut().zip(&mut *keys) {
                let (entry, key) = (load(entry_of), load(key_of));
                let page = is_page(entry);
                let line = _mm256_and_si256(entry, _mm256_set1_epi32(Entry::LINE as i32));
                let slot = _mm256_srli_epi32::<{ 32 - PAGE_BITS as i32 }>(key);
                let at = _mm256_add_epi32(_mm256_slli_epi32::<4>(line), slot);
                let lines = t.lines.as_ptr().cast();
                let next = _mm256_mask_i32gather_epi32::<4>(entry, lines, at, page);
                let bits = _mm256_and_si256(page, _mm256_set1_epi32(PAGE_BITS as i32));
                store(entry_of, next);
                store(key_of, _mm256_sllv_epi32(key, bits));
                pages |= _mm256_movemask_epi8(is_page(next));
            }
            steps += 1;
        }
    }
}

/// All ones where an entry names a page: where it is not below [`Entry::PAGES`].
#[inline(always)]
fn is_page(entry: __m256i) -> __m256i {
    // SAFETY: as in `to_trees`.
    unsafe {
        // The two bits that nothing else has both of.
        let pages = _mm256_set1_epi32(Entry::PAGES as i32);
        _mm256_cmpeq_epi32(_mm256_and_si256(entry, pages), pages)
    }
}

#[inline(always)]
fn load(from: &[u32; GROUP]) -> __m256i {
    // SAFETY: 8 words; AVX as in `to_trees`.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline(always)]
fn store(to: &mut [u32; GROUP], words: __m256i) {
    // SAFETY: 8 words; AVX as in `to_trees`.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), words) }
}
