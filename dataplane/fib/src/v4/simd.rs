//! The IPv4 lookup by AVX-512: gathers in place of loads. Read [`super::line`] first.
//!
//! Eight addresses are a vector: where gathers are slow (Intel), those of 8 elements take less for each than those of 16,
//! and elsewhere no more. All lines of a piece are found before the first is looked into: a core sees only so many
//! instructions ahead, and what waits for a gather keeps others from starting. Every lane is answered as nearly all are,
//! by its line's short name; a name that stands for none leads to no answer, and vectors with such a lane go again.
//!
//! What is gathered may be stored to by the writer at that moment. That is no more than what `Table4`'s atomics do, as
//! the CPU sees it: each element is a single aligned load, and no load that depends on another is done before it. Rust
//! has no word for atomic gathers; this module is the one place that relies on it.

use std::arch::x86_64::*;
use std::sync::atomic::{Ordering, fence};

use net::GroupId;

use super::line::{FIRST, FORM_SHIFT, Form, LONG, MORE, Naming, SLOTS};
use super::{INDEX, SHORT, Table4};

/// Addresses in a vector.
const LANES: usize = 8;
/// Addresses whose lines are found before any is looked into.
const PIECE: usize = 64;

/// Whether this CPU can run [`lookup_burst`].
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vpopcntdq")
}

/// [`Table4::lookup`] of each address.
///
/// # Safety
/// [`is_available`] has said yes.
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
pub(super) unsafe fn lookup_burst(t: &Table4, dst: &[u32], out: &mut [GroupId]) {
    // Before any name is loaded: see `Table4::naming` and `Short::resolve`.
    let (seen, changes) = (t.naming(), t.short.changes());
    let short = match Naming::of(seen) {
        Naming::Byte => burst(
            dst,
            out,
            |ip| words(names(t, ip), Naming::Byte),
            |ip, first| bytes(t, first, slots(ip)),
            |ip| whole(t, ip, Naming::Byte),
        ),
        Naming::Half => burst(
            dst,
            out,
            |ip| words(names(t, ip), Naming::Half),
            |ip, first| halves(t, first, slots(ip)),
            |ip| whole(t, ip, Naming::Half),
        ),
        Naming::Long => burst(
            dst,
            out,
            |ip| long(t, ip, !0),
            |ip, entry| of_entries(t, ip, entry),
            |ip| or_short(t, ip, of_entries(t, ip, long(t, ip, !0))),
        ),
    };
    // The short table may have been changed after a leaf was found empty: then its answer is one of no time.
    let short_moved = short && {
        fence(Ordering::Acquire); // pairs with the Release store in `Short::store`
        t.short.changes() != changes
    };
    if short_moved || !t.is_still(seen) {
        t.lookup_burst_scalar(dst, out);
    }
}

/// The answers of a burst: `line` says which line each of 8 addresses has, `leaf` what it says. Where that is nothing for
/// one, `whole` is asked for the 8. Returns whether it was.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
fn burst(
    dst: &[u32],
    out: &mut [GroupId],
    line: impl Fn(__m256i) -> __m256i,
    leaf: impl Fn(__m256i, __m256i) -> __m256i,
    whole: impl Fn(__m256i) -> __m256i,
) -> bool {
    let piece = |dst: &[u32; PIECE], out: &mut [GroupId; PIECE]| {
        let (dst, out) = (dst.as_chunks::<LANES>().0, out.as_chunks_mut::<LANES>().0);
        let mut lines = [_mm256_setzero_si256(); PIECE / LANES];
        let mut least = all(u32::MAX);
        // All lines first: then no gather waits for another of its kind.
        for (line_of, dst) in lines.iter_mut().zip(dst) {
            *line_of = line(load(dst));
        }
        for ((&line, dst), out) in lines.iter().zip(dst).zip(&mut *out) {
            let found = leaf(load(dst), line);
            least = _mm256_min_epu32(least, found);
            store(out, found);
        }
        if _mm256_testn_epi32_mask(least, least) == 0 {
            return false;
        }
        for (dst, out) in dst.iter().zip(out) {
            if out.contains(&GroupId::NONE) {
                store(out, whole(load(dst)));
            }
        }
        true
    };
    let n = dst.len().min(out.len());
    let (pieces, last) = dst[..n].as_chunks::<PIECE>();
    let (pieces_out, last_out) = out[..n].as_chunks_mut::<PIECE>();
    let mut any = false;
    for (dst, out) in pieces.iter().zip(pieces_out) {
        any |= piece(dst, out);
    }
    let (eights, last) = last.as_chunks::<LANES>();
    let (eights_out, last_out) = last_out.as_chunks_mut::<LANES>();
    let mut eight = |dst: &[u32; LANES], out: &mut [GroupId; LANES]| {
        let ip = load(dst);
        let found = leaf(ip, line(ip));
        let none = _mm256_testn_epi32_mask(found, found) != 0;
        any |= none;
        store(out, if none { whole(ip) } else { found });
    };
    for (dst, out) in eights.iter().zip(eights_out) {
        eight(dst, out);
    }
    if let Some(&ip) = last.last() {
        // Filled up with one of them, for which no line is loaded that is not anyway.
        let mut full = ([ip; LANES], [GroupId::NONE; LANES]);
        full.0[..last.len()].copy_from_slice(last);
        eight(&full.0, &mut full.1);
        last_out.copy_from_slice(&full.1[..last.len()]);
    }
    any
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn load(from: &[u32; LANES]) -> __m256i {
    // SAFETY: 8 elements.
    unsafe { _mm256_loadu_si256(from.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn store(to: &mut [GroupId; LANES], groups: __m256i) {
    // SAFETY: 8 elements; a `GroupId` is a `u32` and nothing more.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), groups) };
}

/// The short names of /18s.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn names(t: &Table4, ip: __m256i) -> __m256i {
    let block = _mm256_srli_epi32::<{ 32 - INDEX as i32 }>(ip);
    // SAFETY: 18 bits index all names but the last, and each load of 32 bits takes the next one too.
    let two = unsafe { _mm256_i32gather_epi32::<2>(t.short_names.as_ptr().cast(), block) };
    _mm256_and_si256(two, all(LONG.into()))
}

/// The first word that a name stands for.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn words(name: __m256i, naming: Naming) -> __m256i {
    const { assert!(Naming::Byte.step() == 8 && Naming::Half.step() == 4) };
    match naming {
        Naming::Byte => _mm256_slli_epi32::<3>(name),
        _ => _mm256_slli_epi32::<2>(name),
    }
}

/// Answers whether a line has a short name or not, and an address a leaf or not.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
fn whole(t: &Table4, ip: __m256i, naming: Naming) -> __m256i {
    let form = match naming {
        Naming::Byte => Form::Byte,
        _ => Form::Half,
    };
    // Read anew: it may be another by now.
    let name = names(t, ip);
    let named = _mm256_or_si256(words(name, naming), all((form as u32) << FORM_SHIFT));
    let unnamed = _mm256_cmpeq_epi32_mask(name, all(LONG.into()));
    let entry = _mm256_mask_mov_epi32(named, unnamed, long(t, ip, unnamed));
    or_short(t, ip, of_entries(t, ip, entry))
}

/// The entries of /18s, of those lanes; of the others, that of the line of no routes.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn long(t: &Table4, ip: __m256i, lanes: __mmask8) -> __m256i {
    let block = _mm256_srli_epi32::<{ 32 - INDEX as i32 }>(ip);
    let nothing = _mm256_setzero_si256();
    // SAFETY: 18 bits index the whole of `entries`.
    unsafe { _mm256_mmask_i32gather_epi32::<4>(nothing, lanes, block, t.entries.as_ptr().cast()) }
}

/// The places of /24s in their lines.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn slots(ip: __m256i) -> __m256i {
    _mm256_and_si256(_mm256_srli_epi32::<8>(ip), all(SLOTS as u32 - 1))
}

/// What the lines, and the tables for longer prefixes, say.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
fn of_entries(t: &Table4, ip: __m256i, entry: __m256i) -> __m256i {
    let slot = slots(ip);
    let first = _mm256_and_si256(entry, all(FIRST));
    let form = _mm256_srli_epi32::<{ FORM_SHIFT as i32 }>(entry);
    let half = _mm256_cmpeq_epi32_mask(form, all(Form::Half as u32));
    let word = _mm256_cmpeq_epi32_mask(form, all(Form::Word as u32));
    match (half, word) {
        (0, 0) => bytes(t, first, slot),
        (0xff, 0) => halves(t, first, slot),
        // Words are rare: their lanes go one by one.
        (_, 0) => _mm256_mask_mov_epi32(bytes(t, first, slot), half, halves(t, first, slot)),
        _ => one_by_one(t, ip, entry),
    }
}

/// Leaves of lines of bytes; of other lines, anything.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn bytes(t: &Table4, first: __m256i, slot: __m256i) -> __m256i {
    let at = _mm256_add_epi32(_mm256_slli_epi32::<3>(first), slot);
    // SAFETY: an entry names a line within `words`, and so does a short name, whatever the rule; after that there is room
    // for the longest (`Table4::new`), so the 64 bytes from its first word and 3 more are within it whatever the form.
    // `FIRST` keeps byte numbers positive as far as `Sizes` lets `words` grow.
    let found = unsafe { _mm256_i32gather_epi32::<1>(t.words.as_ptr().cast(), at) };
    _mm256_and_si256(found, all(0xff))
}

/// Leaves of lines of halves; of other lines, anything.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq")]
fn halves(t: &Table4, first: __m256i, slot: __m256i) -> __m256i {
    let words = t.words.as_ptr();
    let away = _mm256_sub_epi32(all(SLOTS as u32 - 1), slot);
    // SAFETY: an entry names a word within `words`.
    let map = unsafe { _mm512_i32gather_epi64::<8>(first, words.cast()) };
    let map = _mm512_sllv_epi64(map, _mm512_cvtepu32_epi64(away));
    let rank = _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(map));
    // In units of 16 bits, after the map's four.
    let at = _mm256_add_epi32(_mm256_slli_epi32::<2>(first), rank);
    // SAFETY: the leaf is within its line, whose map has no more bits than it has leaves; of another form's line, what
    // is taken for its map has at most 64 bits, so `at` is at most 17 words beyond its first, and there is room for a
    // longer line after the last (`Table4::new`).
    let found = unsafe { _mm256_i32gather_epi32::<2>(words.cast::<u8>().add(8).cast(), at) };
    _mm256_and_si256(found, all(0xffff))
}

#[inline(never)]
#[target_feature(enable = "avx512f,avx512vl")]
fn one_by_one(t: &Table4, ip: __m256i, entry: __m256i) -> __m256i {
    let (mut ips, mut leaves) = ([0u32; LANES], [0u32; LANES]);
    // SAFETY: both arrays are 32 bytes.
    unsafe {
        _mm256_storeu_si256(ips.as_mut_ptr().cast(), ip);
        _mm256_storeu_si256(leaves.as_mut_ptr().cast(), entry);
    }
    for (leaf, &ip) in leaves.iter_mut().zip(&ips) {
        *leaf = t.leaf(*leaf, ip);
    }
    debug_assert!(leaves.iter().all(|leaf| leaf & MORE == 0));
    // SAFETY: 32 bytes.
    unsafe { _mm256_loadu_si256(leaves.as_ptr().cast()) }
}

/// The leaves, and the answers of the short table for the lanes that have none.
#[inline]
#[target_feature(enable = "avx512f,avx512vl")]
fn or_short(t: &Table4, ip: __m256i, leaves: __m256i) -> __m256i {
    let none = _mm256_testn_epi32_mask(leaves, leaves);
    let at = _mm256_srli_epi32::<{ 32 - SHORT as i32 }>(ip);
    let slots = t.short.slots();
    debug_assert_eq!(slots.len(), 1 << SHORT);
    // SAFETY: the first `SHORT` bits index the whole of `slots`.
    unsafe { _mm256_mmask_i32gather_epi32::<4>(leaves, none, at, slots.as_ptr().cast()) }
}

#[inline(always)]
fn all(n: u32) -> __m256i {
    // SAFETY: called from functions that need more than AVX alone.
    unsafe { _mm256_set1_epi32(n as i32) }
}
