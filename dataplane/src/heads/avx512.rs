//! All of it, sixteen frames at once; addresses of IPv6, eight at once.
//!
//! To read: Intel's "Optimization Reference Manual", chapter on AVX-512. Comparisons give masks, a bit for each frame.

use super::vector::Rows;
use super::*;
use net::ip4::HEADER_LEN;
use net::ip6::HEADER_LEN as HEADER_LEN6;
use std::arch::x86_64::*;

/// Frames in a vector.
const LANES: usize = 16;

/// Whether the CPU has the instructions.
#[inline]
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
}

#[target_feature(enable = "avx512f")]
#[inline]
fn all(v: u32) -> __m512i {
    _mm512_set1_epi32(v as i32)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn is(a: __m512i, b: u32) -> __mmask16 {
    _mm512_cmpeq_epi32_mask(a, all(b))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn above(a: __m512i, b: __m512i) -> __mmask16 {
    _mm512_cmpgt_epu32_mask(a, b)
}

#[target_feature(enable = "avx512f")]
#[inline]
fn and(a: __m512i, b: u32) -> __m512i {
    _mm512_and_si512(a, all(b))
}

/// The bytes of each word reversed.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn swapped(v: __m512i) -> __m512i {
    let order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order))
}

/// The words of sixteen frames from the third byte on, as columns.
///
/// # Safety
/// The rows `at..at + 16` are set, and have [`NEEDED`] bytes that can be read.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn columns(rows: &Rows, at: usize) -> [__m512i; 8] {
    // The halves of a register are frames `i` and `i + 8`.
    let pair = |i: usize| {
        // SAFETY: 32 bytes from the third on are within NEEDED.
        unsafe {
            let (a, b) = (rows.at(at + i).add(2), rows.at(at + i + 8).add(2));
            let (a, b) = (_mm256_loadu_si256(a.cast()), _mm256_loadu_si256(b.cast()));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
        }
    };
    // Quarters: words k and 4 + k of four frames, then of those eight further on.
    let turn = |i: usize| {
        let r = [pair(i), pair(i + 1), pair(i + 2), pair(i + 3)];
        let (a, b) = (
            _mm512_unpacklo_epi32(r[0], r[1]),
            _mm512_unpacklo_epi32(r[2], r[3]),
        );
        let (c, d) = (
            _mm512_unpackhi_epi32(r[0], r[1]),
            _mm512_unpackhi_epi32(r[2], r[3]),
        );
        [
            _mm512_unpacklo_epi64(a, b),
            _mm512_unpackhi_epi64(a, b),
            _mm512_unpacklo_epi64(c, d),
            _mm512_unpackhi_epi64(c, d),
        ]
    };
    let (a, b) = (turn(0), turn(4));
    let low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    let high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
    let first = |k: usize| _mm512_permutex2var_epi64(a[k], low, b[k]);
    let last = |k: usize| _mm512_permutex2var_epi64(a[k], high, b[k]);
    [
        first(0),
        first(1),
        first(2),
        first(3),
        last(0),
        last(1),
        last(2),
        last(3),
    ]
}

/// Of these frames, those with an address of packets that are forwarded: not of 0/8, 127/8, 169.254/16, 224/3.
#[target_feature(enable = "avx512f")]
#[inline]
fn leaves(of: __mmask16, addr: __m512i) -> __mmask16 {
    // One less turns 0/8 into the last.
    let of = _mm512_mask_cmplt_epu32_mask(of, _mm512_sub_epi32(addr, all(1 << 24)), all(223 << 24));
    let of = _mm512_mask_cmpneq_epi32_mask(of, and(addr, 0xff << 24), all(127 << 24));
    _mm512_mask_cmpneq_epi32_mask(of, and(addr, 0xffff << 16), all(LINK_LOCAL << 16))
}

/// Of these frames, those whose five words have the ones' complement sum of a header that is right.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn right_sum(of: __mmask16, words: &[__m512i; 5]) -> __mmask16 {
    let mut high = _mm512_srli_epi32::<16>(words[0]);
    let mut all_of = words[0];
    for &w in &words[1..] {
        high = _mm512_add_epi32(high, _mm512_srli_epi32::<16>(w));
        all_of = _mm512_add_epi32(all_of, w); // overflows, but not what is wanted of it
    }
    let low = _mm512_sub_epi32(all_of, _mm512_slli_epi32::<16>(high));
    let sum = _mm512_add_epi32(high, low);
    // Ten halves have a carry of nine at most, and what that is added to is not all ones then.
    let sum = _mm512_add_epi32(and(sum, 0xffff), _mm512_srli_epi32::<16>(sum));
    _mm512_mask_cmpeq_epi32_mask(of, sum, all(0xffff))
}

/// Of each hash, of which 18 bits are given, [`Bloom`]'s two bits.
///
/// # Safety
/// None beyond AVX-512: it reads the filter's 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn both_bits(own: &Bloom, hash: __m512i) -> __mmask16 {
    // SAFETY: 16 words.
    let words = unsafe { _mm512_loadu_si512(own.words().as_ptr().cast()) };
    let bit = |at: __m512i| {
        // Nine bits: which word, which of its bits.
        let word = _mm512_permutexvar_epi32(_mm512_srli_epi32::<5>(at), words);
        _mm512_srlv_epi32(word, and(at, 31))
    };
    let (first, second) = (bit(_mm512_srli_epi32::<9>(hash)), bit(and(hash, 511)));
    _mm512_test_epi32_mask(_mm512_and_si512(first, second), all(1))
}

/// TTL, protocol and checksum one hop on, RFC 1624: in this byte order the TTL counts one, and so does the checksum, whose
/// carry is added at its other end; and a sum of 0xfeff becomes 0, as `Ip4Mut::decrement_ttl` has it.
#[target_feature(enable = "avx512f")]
#[inline]
fn later(word: __m512i) -> __m512i {
    let carry = _mm512_cmpge_epu32_mask(word, all(0xfffe << 16));
    let next = _mm512_add_epi32(word, all((1 << 16) - 1));
    _mm512_mask_add_epi32(next, carry, next, all(1 << 16))
}

/// Of these frames, those with a good IPv4 header; destinations and lengths.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn ip4s(
    of: __mmask16,
    wanted: &Wanted<'_>,
    c: &[__m512i; 8],
    len: __m512i,
) -> (__mmask16, [__m512i; 2]) {
    let (src, dst) = (swapped(c[6]), swapped(c[7]));
    let total = and(swapped(c[3]), 0xffff);
    let hash = _mm512_mullo_epi32(src, all(Bloom::FACTOR4));
    // SAFETY: AVX-512 is there, as here.
    let ours = unsafe { both_bits(wanted.own4, _mm512_srli_epi32::<14>(hash)) };
    // Two chains of masked comparisons, for what is looked at soon and later.
    let good = _mm512_mask_cmpeq_epi32_mask(of, and(c[3], 0xff), all(0x45));
    let good = _mm512_mask_cmpge_epu32_mask(good, total, all(HEADER_LEN as u32));
    let room = _mm512_sub_epi32(len, all(ETH as u32));
    let good = _mm512_mask_cmple_epu32_mask(good, total, room);
    let good = _mm512_mask_cmpge_epu32_mask(good, and(c[5], 0xff), all(2));
    let good = right_sum(good, &[c[3], c[4], c[5], c[6], c[7]]);
    let ways = leaves(leaves(!ours, src), dst);
    (good & ways, [dst, total])
}

/// Of these frames, those with a good IPv6 header, but for their addresses; lengths, and the word of the hop limit one hop
/// on.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn ip6s(of: __mmask16, c: &[__m512i; 8], len: __m512i) -> (__mmask16, [__m512i; 2]) {
    let payload = _mm512_srli_epi32::<16>(swapped(c[4]));
    let total = _mm512_add_epi32(payload, all(HEADER_LEN6 as u32));
    let room = _mm512_sub_epi32(len, all(ETH as u32));
    let good = _mm512_mask_cmpeq_epi32_mask(of, and(c[3], 0xf0), all(0x60));
    let good = _mm512_mask_cmple_epu32_mask(good, total, room);
    // Hop-by-hop options and no length: a jumbogram.
    let good = _mm512_mask_test_epi32_mask(good, c[4], all(0x00ff_ffff));
    let good = _mm512_mask_cmpge_epu32_mask(good, c[4], all(2 << 24));
    (good, [total, _mm512_sub_epi32(c[4], all(1 << 24))])
}

/// Of these frames, those with a stack of labels that they are to be switched by; the tops of the stacks.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn stacks(of: __mmask16, c: &[__m512i; 8], len: __m512i) -> (__mmask16, __m512i) {
    let mut whole = 0;
    for (i, &entry) in c[3..3 + LABELS].iter().enumerate().rev() {
        // The third byte has the bottom bit. The first that has it is the last to be looked at here.
        let bottom = _mm512_test_epi32_mask(entry, all(1 << 16));
        let more = above(len, all((ETH + 4 * (i + 1)) as u32));
        whole = whole & !bottom | bottom & more;
    }
    let lse = swapped(c[3]);
    let good = _mm512_mask_cmpge_epu32_mask(of & whole, lse, all(16 << 12));
    let good = _mm512_mask_cmpge_epu32_mask(good, and(lse, 0xff), all(2));
    (good, lse)
}

/// Reads `n` frames; of IPv6, all but the addresses.
///
/// # Safety
/// [`is_available`]; the rows of as many frames are set, and have [`NEEDED`] bytes that can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn read(wanted: &Wanted<'_>, n: usize, rows: &Rows, heads: &mut Heads) {
    let [m0, m1, m2, m3, m4, m5] = wanted.mac.0;
    let word = u32::from_le_bytes;
    let mac = [word([m0, m1, 0, 0]), word([m2, m3, m4, m5])];
    let from = [word([m0, m1, m2, m3]), word([m4, m5, 0, 0])];
    let mut bytes = _mm512_setzero_si512();
    let (mut all4, mut all_good4) = (0, 0);
    for at in (0..n.min(BURST)).step_by(LANES) {
        // SAFETY: as the caller says; up to a multiple of 16 they are set.
        let (c, len, first) = unsafe {
            (
                columns(rows, at),
                _mm512_loadu_si512(rows.lens(at).cast()),
                _mm512_loadu_si512(rows.firsts(at).cast()),
            )
        };
        let source = is(c[1], from[0]);
        let source = _mm512_mask_cmpeq_epi32_mask(source, and(c[2], 0xffff), all(from[1]));
        let to = _mm512_mask_cmpeq_epi32_mask(!source, first, all(mac[0]));
        let to = _mm512_mask_cmpeq_epi32_mask(to, c[0], all(mac[1]));
        let to = _mm512_mask_testn_epi32_mask(to, c[1], all(1)); // from no group
        let plain = _mm512_mask_cmple_epu32_mask(to, len, all(wanted.longest));
        let kind = and(c[2], 0xffff << 16);
        let of = |ethertype: u16| {
            let ethertype = u32::from(ethertype.swap_bytes()) << 16;
            _mm512_mask_cmpeq_epi32_mask(plain, kind, all(ethertype))
        };
        let ip4 = of(IPV4);
        bytes = _mm512_mask_add_epi32(bytes, ip4, bytes, len);

        let (good4, [dst, mut total]) = ip4s(ip4, wanted, &c, len);
        let mut words = later(c[5]);
        if plain != ip4 {
            let (ip6, mpls) = (of(IPV6), of(MPLS));
            let (good6, [total6, word6]) = ip6s(ip6, &c, len);
            let (labelled, lse) = stacks(mpls, &c, len);
            total = _mm512_mask_mov_epi32(total, ip6, total6);
            words = _mm512_mask_mov_epi32(words, ip6, word6);
            words = _mm512_mask_mov_epi32(words, mpls, lse);
            bytes = _mm512_mask_add_epi32(bytes, ip6 | mpls, bytes, len);
            heads.ip6 |= u64::from(ip6) << at;
            heads.mpls |= u64::from(mpls) << at;
            heads.good6 |= u64::from(good6) << at;
            heads.labelled |= u64::from(labelled) << at;
        }
        all4 |= u64::from(ip4) << at;
        all_good4 |= u64::from(good4) << at;
        let range = at..at + LANES;
        // SAFETY: the ranges have sixteen words each.
        unsafe {
            _mm512_storeu_si512(heads.dst[range.clone()].as_mut_ptr().cast(), dst);
            _mm512_storeu_si512(heads.total[range.clone()].as_mut_ptr().cast(), total);
            _mm512_storeu_si512(heads.word[range].as_mut_ptr().cast(), words);
        }
    }
    (heads.ip4, heads.good4) = (all4, all_good4);
    heads.bytes = _mm512_reduce_add_epi32(bytes) as u64;
}

/// Reads the addresses of the frames of `good6`, and leaves only those there whose addresses are good.
///
/// # Safety
/// [`is_available`]; the rows of `n` frames are set, and have as many bytes as an IPv6 header ends at.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn addresses(own: &Bloom, n: usize, rows: &Rows, heads: &mut Heads) {
    let mut good = 0;
    for at in (0..n.min(BURST)).step_by(8) {
        // SAFETY: as the caller says; up to a multiple of 8 they are set.
        good |= u64::from(unsafe { eight(own, at, rows, heads) }) << at;
    }
    heads.good6 &= good;
}

/// Reads the addresses of frames `at..at + 8`; which of them are good.
///
/// # Safety
/// These rows are set, and have as many bytes as an IPv6 header ends at; `at + 8 <= BURST`.
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
#[inline]
unsafe fn eight(own: &Bloom, at: usize, rows: &Rows, heads: &mut Heads) -> __mmask8 {
    let order = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    let order = _mm512_broadcast_i32x4(order);
    // Of two frames, source and destination in host order: low half, high half.
    let pair = |i: usize| {
        // SAFETY: the addresses are the 32 bytes from the 23rd on.
        unsafe {
            let (a, b) = (rows.at(at + i).add(22), rows.at(at + i + 1).add(22));
            let (a, b) = (_mm256_loadu_si256(a.cast()), _mm256_loadu_si256(b.cast()));
            _mm512_shuffle_epi8(_mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b), order)
        }
    };
    let p = [pair(0), pair(2), pair(4), pair(6)];
    let (srcs, dsts) = (
        _mm512_setr_epi64(0, 1, 4, 5, 8, 9, 12, 13),
        _mm512_setr_epi64(2, 3, 6, 7, 10, 11, 14, 15),
    );
    let src = [
        _mm512_permutex2var_epi64(p[0], srcs, p[1]),
        _mm512_permutex2var_epi64(p[2], srcs, p[3]),
    ];
    let dst = [
        _mm512_permutex2var_epi64(p[0], dsts, p[1]),
        _mm512_permutex2var_epi64(p[2], dsts, p[3]),
    ];
    let (lows, highs) = (
        _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14),
        _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15),
    );
    let low = _mm512_permutex2var_epi64(src[0], lows, src[1]);
    let high = _mm512_permutex2var_epi64(src[0], highs, src[1]);
    let to = _mm512_permutex2var_epi64(dst[0], highs, dst[1]);

    let factor = _mm512_set1_epi64(Bloom::FACTOR6 as i64);
    let hash = _mm512_mullo_epi64(_mm512_xor_si512(low, high), factor);
    // Of its upper half the upper 18 bits.
    let hash = _mm512_castsi256_si512(_mm512_cvtepi64_epi32(_mm512_srli_epi64::<46>(hash)));
    // SAFETY: AVX-512 is there, as here.
    let ours = unsafe { both_bits(own, hash) } as __mmask8;
    // SAFETY: eight addresses from `at` on.
    unsafe {
        let keys = heads.dst6[at..at + 8].as_mut_ptr();
        _mm512_storeu_si512(keys.cast(), dst[0]);
        _mm512_storeu_si512(keys.add(4).cast(), dst[1]);
    }
    global(high) & global(to) & !ours
}

/// Of the upper halves of addresses: not ::/64, no group, not link-local.
#[target_feature(enable = "avx512f")]
#[inline]
fn global(high: __m512i) -> __mmask8 {
    let one = |v: __m512i, is: i64| _mm512_cmpeq_epi64_mask(v, _mm512_set1_epi64(is));
    !(one(high, 0)
        | one(_mm512_srli_epi64::<56>(high), 0xff)
        | one(_mm512_srli_epi64::<54>(high), 0xfe80 >> 6))
}
