//! The IPv4 lookup, 16 addresses at a time, by AVX-512: gathers in place of loads. Read [`super::line`] first.
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
const LANES: usize = 16;

/// Whether this CPU can run [`lookup_burst`].
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vpopcntdq")
}

/// [`Table4::lookup`] of each address.
///
/// # Safety
/// [`is_available`] has said yes.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(super) unsafe fn lookup_burst(t: &Table4, dst: &[u32], out: &mut [GroupId]) {
    // Before any name is loaded: see `Table4::naming` and `Short::resolve`.
    let (seen, changes) = (t.naming(), t.short.changes());
    let short = match Naming::of(seen) {
        Naming::Byte => burst(t, dst, out, |ip| named(t, ip, Naming::Byte)),
        Naming::Half => burst(t, dst, out, |ip| named(t, ip, Naming::Half)),
        Naming::Long => burst(t, dst, out, |ip| of_entries(t, ip, long(t, ip, !0))),
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

/// The answers of a burst, by `leaves` of 16 addresses. Returns whether the short table was asked.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn burst(
    t: &Table4,
    dst: &[u32],
    out: &mut [GroupId],
    leaves: impl Fn(__m512i) -> __m512i,
) -> bool {
    let mut short = false;
    let (whole, rest) = dst.as_chunks::<LANES>();
    let (whole_out, rest_out) = out.as_chunks_mut::<LANES>();
    for (dst, out) in whole.iter().zip(whole_out) {
        // SAFETY: 16 elements are loaded and stored; a `GroupId` is a `u32` and nothing more.
        unsafe {
            let ip = _mm512_loadu_si512(dst.as_ptr().cast());
            let found = leaves(ip);
            let none = _mm512_testn_epi32_mask(found, found);
            let found = match none {
                0 => found,
                _ => gather_short(t, ip, found, none),
            };
            short |= none != 0;
            _mm512_storeu_si512(out.as_mut_ptr().cast(), found);
        }
    }
    for (&ip, out) in rest.iter().zip(rest_out) {
        *out = t.lookup(ip);
    }
    short
}

/// Leaves by short names.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn named(t: &Table4, ip: __m512i, naming: Naming) -> __m512i {
    let block = _mm512_srli_epi32::<{ 32 - INDEX }>(ip);
    // SAFETY: 18 bits index all names but the last, and each load of 32 bits takes the next one too.
    let two = unsafe { _mm512_i32gather_epi32::<2>(block, t.short_names.as_ptr().cast()) };
    let name = _mm512_and_si512(two, all(LONG.into()));
    let unnamed = _mm512_cmpeq_epi32_mask(name, all(LONG.into()));
    let slot = slots(ip);
    let first = words(name, naming);
    if unnamed != 0 {
        return some_unnamed(t, ip, first, naming, unnamed);
    }
    match naming {
        Naming::Byte => bytes(t, first, slot),
        _ => halves(t, first, slot),
    }
}

/// The first word that a name stands for.
#[inline]
#[target_feature(enable = "avx512f")]
fn words(name: __m512i, naming: Naming) -> __m512i {
    const { assert!(Naming::Byte.step() == 8 && Naming::Half.step() == 4) };
    match naming {
        Naming::Byte => _mm512_slli_epi32::<3>(name),
        _ => _mm512_slli_epi32::<2>(name),
    }
}

/// Leaves where some lines have no short name.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn some_unnamed(
    t: &Table4,
    ip: __m512i,
    first: __m512i,
    naming: Naming,
    unnamed: __mmask16,
) -> __m512i {
    let form = if naming == Naming::Byte {
        Form::Byte
    } else {
        Form::Half
    };
    let named = _mm512_or_si512(first, all((form as u32) << FORM_SHIFT));
    of_entries(
        t,
        ip,
        _mm512_mask_mov_epi32(named, unnamed, long(t, ip, unnamed)),
    )
}

/// The entries of /18s, of those lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn long(t: &Table4, ip: __m512i, lanes: __mmask16) -> __m512i {
    let block = _mm512_srli_epi32::<{ 32 - INDEX }>(ip);
    // SAFETY: 18 bits index the whole of `entries`.
    unsafe {
        _mm512_mask_i32gather_epi32::<4>(
            _mm512_setzero_si512(),
            lanes,
            block,
            t.entries.as_ptr().cast(),
        )
    }
}

/// The places of /24s in their lines.
#[inline]
#[target_feature(enable = "avx512f")]
fn slots(ip: __m512i) -> __m512i {
    _mm512_and_si512(_mm512_srli_epi32::<8>(ip), all(SLOTS as u32 - 1))
}

/// What the lines, and the tables for longer prefixes, say.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn of_entries(t: &Table4, ip: __m512i, entry: __m512i) -> __m512i {
    let slot = slots(ip);
    let first = _mm512_and_si512(entry, all(FIRST));
    let form = _mm512_srli_epi32::<FORM_SHIFT>(entry);
    let half = _mm512_cmpeq_epi32_mask(form, all(Form::Half as u32));
    let word = _mm512_cmpeq_epi32_mask(form, all(Form::Word as u32));
    match (half, word) {
        (0, 0) => bytes(t, first, slot),
        (0xffff, 0) => halves(t, first, slot),
        // Words are rare: their lanes go one by one.
        (_, 0) => _mm512_mask_mov_epi32(bytes(t, first, slot), half, halves(t, first, slot)),
        _ => one_by_one(t, ip, entry),
    }
}

/// Leaves of lines of bytes; of other lines, anything.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn bytes(t: &Table4, first: __m512i, slot: __m512i) -> __m512i {
    let at = _mm512_add_epi32(_mm512_slli_epi32::<3>(first), slot);
    // SAFETY: an entry names a line within `words`, and so does a short name, whatever the rule; after that there is room
    // for the longest (`Table4::new`), so the 64 bytes from its first word and 3 more are within it whatever the form. `FIRST` keeps byte numbers positive as
    // far as `Sizes` lets `words` grow.
    let found = unsafe { _mm512_i32gather_epi32::<1>(at, t.words.as_ptr().cast()) };
    _mm512_and_si512(found, all(0xff))
}

/// Leaves of lines of halves; of other lines, anything.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
fn halves(t: &Table4, first: __m512i, slot: __m512i) -> __m512i {
    let words = t.words.as_ptr();
    let away = _mm512_sub_epi32(all(SLOTS as u32 - 1), slot);
    // SAFETY: an entry names a word within `words`.
    let low = unsafe { _mm512_i32gather_epi64::<8>(low_half(first), words.cast()) };
    // SAFETY: likewise.
    let high = unsafe { _mm512_i32gather_epi64::<8>(high_half(first), words.cast()) };
    let low = _mm512_sllv_epi64(low, _mm512_cvtepu32_epi64(low_half(away)));
    let high = _mm512_sllv_epi64(high, _mm512_cvtepu32_epi64(high_half(away)));
    let low = _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(low));
    let high = _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(high));
    let rank = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
    // In units of 16 bits, after the map's four.
    let at = _mm512_add_epi32(_mm512_slli_epi32::<2>(first), rank);
    // SAFETY: the leaf is within its line, whose map has no more bits than it has leaves; of another form's line, what
    // is taken for its map has at most 64 bits, so `at` is at most 17 words beyond its first, and there is room for a
    // longer line after the last (`Table4::new`).
    let found = unsafe { _mm512_i32gather_epi32::<2>(at, words.cast::<u8>().add(8).cast()) };
    _mm512_and_si512(found, all(0xffff))
}

#[inline(never)]
#[target_feature(enable = "avx512f")]
fn one_by_one(t: &Table4, ip: __m512i, entry: __m512i) -> __m512i {
    let (mut ips, mut leaves) = ([0u32; LANES], [0u32; LANES]);
    // SAFETY: both arrays are 64 bytes.
    unsafe {
        _mm512_storeu_si512(ips.as_mut_ptr().cast(), ip);
        _mm512_storeu_si512(leaves.as_mut_ptr().cast(), entry);
    }
    for (leaf, &ip) in leaves.iter_mut().zip(&ips) {
        *leaf = t.leaf(*leaf, ip);
    }
    debug_assert!(leaves.iter().all(|leaf| leaf & MORE == 0));
    // SAFETY: 64 bytes.
    unsafe { _mm512_loadu_si512(leaves.as_ptr().cast()) }
}

/// The answers of the short table for the lanes that have none.
#[inline]
#[target_feature(enable = "avx512f")]
fn gather_short(t: &Table4, ip: __m512i, leaves: __m512i, none: __mmask16) -> __m512i {
    let at = _mm512_srli_epi32::<{ 32 - SHORT as u32 }>(ip);
    let slots = t.short.slots();
    debug_assert_eq!(slots.len(), 1 << SHORT);
    // SAFETY: the first `SHORT` bits index the whole of `slots`.
    unsafe { _mm512_mask_i32gather_epi32::<4>(leaves, none, at, slots.as_ptr().cast()) }
}

#[inline(always)]
fn all(n: u32) -> __m512i {
    // SAFETY: called from functions that need AVX-512 alone.
    unsafe { _mm512_set1_epi32(n as i32) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn low_half(v: __m512i) -> __m256i {
    _mm512_castsi512_si256(v)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn high_half(v: __m512i) -> __m256i {
    _mm512_extracti64x4_epi64::<1>(v)
}
