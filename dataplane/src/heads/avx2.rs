//! IPv4, eight frames at once.

use super::vector::Rows;
use super::*;
use net::ip4::HEADER_LEN;
use std::arch::x86_64::*;

/// The words of eight frames from the third byte on, as columns.
///
/// # Safety
/// Each row has [`NEEDED`] bytes that can be read.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn columns(rows: &[*const u8; 8]) -> [__m256i; 8] {
    // The halves of a register are frames `i` and `i + 4`, so no word has to change its half.
    let pair = |i: usize, at: usize| {
        // SAFETY: 16 bytes from `at` on, and `at` is 2 or 18: within NEEDED.
        let half = |row: *const u8| unsafe { _mm_loadu_si128(row.add(at).cast()) };
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(half(rows[i])), half(rows[i + 4]))
    };
    let turn = |at: usize| {
        let r: [__m256i; 4] = [pair(0, at), pair(1, at), pair(2, at), pair(3, at)];
        let (a, b) = (
            _mm256_unpacklo_epi32(r[0], r[1]),
            _mm256_unpacklo_epi32(r[2], r[3]),
        );
        let (c, d) = (
            _mm256_unpackhi_epi32(r[0], r[1]),
            _mm256_unpackhi_epi32(r[2], r[3]),
        );
        [
            _mm256_unpacklo_epi64(a, b),
            _mm256_unpackhi_epi64(a, b),
            _mm256_unpacklo_epi64(c, d),
            _mm256_unpackhi_epi64(c, d),
        ]
    };
    let ([c0, c1, c2, c3], [c4, c5, c6, c7]) = (turn(2), turn(18));
    [c0, c1, c2, c3, c4, c5, c6, c7]
}

#[target_feature(enable = "avx2")]
#[inline]
fn all(v: u32) -> __m256i {
    _mm256_set1_epi32(v as i32)
}

#[target_feature(enable = "avx2")]
#[inline]
fn is(a: __m256i, b: u32) -> __m256i {
    _mm256_cmpeq_epi32(a, all(b))
}

/// As signed numbers: both are small here.
#[target_feature(enable = "avx2")]
#[inline]
fn above(a: __m256i, b: __m256i) -> __m256i {
    _mm256_cmpgt_epi32(a, b)
}

#[target_feature(enable = "avx2")]
#[inline]
fn or<const N: usize>(of: [__m256i; N]) -> __m256i {
    of.into_iter()
        .fold(_mm256_setzero_si256(), |a, b| _mm256_or_si256(a, b))
}

#[target_feature(enable = "avx2")]
#[inline]
fn bits(mask: __m256i) -> u64 {
    (_mm256_movemask_ps(_mm256_castsi256_ps(mask)) as u64) & 0xff
}

/// The bytes of each word reversed.
#[target_feature(enable = "avx2")]
#[inline]
fn swapped(v: __m256i) -> __m256i {
    let order = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, //
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    );
    _mm256_shuffle_epi8(v, order)
}

/// Not an address of packets that are forwarded.
#[target_feature(enable = "avx2")]
#[inline]
fn stays(addr: __m256i) -> __m256i {
    let net = _mm256_srli_epi32::<24>(addr);
    let scoped = is(_mm256_srli_epi32::<16>(addr), LINK_LOCAL);
    or([is(net, 0), is(net, 127), above(net, all(223)), scoped])
}

/// Whether the ones' complement sum of the five words is not that of a header that is right.
#[target_feature(enable = "avx2")]
#[inline]
fn wrong_sum(words: &[__m256i]) -> __m256i {
    let low = all(0xffff);
    let mut sum = _mm256_setzero_si256();
    for &w in words {
        let halves = _mm256_add_epi32(_mm256_and_si256(w, low), _mm256_srli_epi32::<16>(w));
        sum = _mm256_add_epi32(sum, halves);
    }
    for _ in 0..2 {
        sum = _mm256_add_epi32(_mm256_and_si256(sum, low), _mm256_srli_epi32::<16>(sum));
    }
    _mm256_xor_si256(is(sum, 0xffff), all(u32::MAX))
}

/// [`Bloom::may_contain4`] of each.
///
/// # Safety
/// None beyond AVX2: it reads the filter's 64 bytes.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn may_be_ours(own: &Bloom, addr: __m256i) -> __m256i {
    let words = own.words().as_ptr();
    // SAFETY: 16 words.
    let (low, high) = unsafe {
        (
            _mm256_loadu_si256(words.cast()),
            _mm256_loadu_si256(words.add(8).cast()),
        )
    };
    let hash = _mm256_mullo_epi32(addr, all(Bloom::FACTOR4));
    let bit = |at: __m256i| {
        // Nine bits: which half, which of its eight words, which of that one's 32 bits.
        let word = _mm256_srli_epi32::<5>(at);
        let (l, h) = (
            _mm256_permutevar8x32_epi32(low, word),
            _mm256_permutevar8x32_epi32(high, word),
        );
        let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(at));
        let (l, h) = (_mm256_castsi256_ps(l), _mm256_castsi256_ps(h));
        let w = _mm256_castps_si256(_mm256_blendv_ps(l, h, upper));
        _mm256_srlv_epi32(w, _mm256_and_si256(at, all(31)))
    };
    let first = bit(_mm256_srli_epi32::<23>(hash));
    let second = bit(_mm256_and_si256(_mm256_srli_epi32::<14>(hash), all(511)));
    is(_mm256_and_si256(_mm256_and_si256(first, second), all(1)), 1)
}

/// Reads frames `at..at + 8`.
///
/// # Safety
/// The rows `at..at + 8` are set, and have [`NEEDED`] bytes that can be read.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) unsafe fn eight(wanted: &Wanted<'_>, at: usize, rows: &Rows, heads: &mut Heads) {
    let range = at..at + 8;
    // SAFETY: as the caller says, these rows are set, and have as many bytes.
    let (c, len, first) = unsafe {
        (
            columns(&std::array::from_fn(|i| rows.at(at + i))),
            _mm256_loadu_si256(rows.lens(at).cast()),
            _mm256_loadu_si256(rows.firsts(at).cast()),
        )
    };
    let [m0, m1, m2, m3, m4, m5] = wanted.mac.0;
    let word = u32::from_le_bytes;
    let source = _mm256_and_si256(
        is(c[1], word([m0, m1, m2, m3])),
        is(_mm256_and_si256(c[2], all(0xffff)), word([m4, m5, 0, 0])),
    );
    let group = is(_mm256_and_si256(c[1], all(1)), 1);
    let too_long = above(len, all(wanted.longest));
    let to = _mm256_and_si256(
        is(first, word([m0, m1, 0, 0])),
        is(c[0], word([m2, m3, m4, m5])),
    );
    let plain = _mm256_andnot_si256(or([source, group, too_long]), to);
    let kind = _mm256_srli_epi32::<16>(c[2]);
    let of = |ethertype: u16| _mm256_and_si256(plain, is(kind, ethertype.swap_bytes().into()));
    let (ip4, ip6, mpls) = (of(IPV4), of(IPV6), of(MPLS));
    let counted = _mm256_and_si256(len, or([ip4, ip6, mpls]));

    let (src, dst) = (swapped(c[6]), swapped(c[7]));
    let total = _mm256_and_si256(swapped(c[3]), all(0xffff));
    let bad = or([
        above(all(HEADER_LEN as u32), total),
        above(_mm256_add_epi32(total, all(ETH as u32)), len),
        above(all(2), _mm256_and_si256(c[5], all(0xff))),
        wrong_sum(&c[3..8]),
        stays(src),
        stays(dst),
        // SAFETY: AVX2 is there, as here.
        unsafe { may_be_ours(wanted.own4, src) },
    ]);
    let shaped = is(_mm256_and_si256(c[3], all(0xff)), 0x45);
    let good = _mm256_andnot_si256(bad, _mm256_and_si256(ip4, shaped));

    heads.ip4 |= bits(ip4) << at;
    heads.ip6 |= bits(ip6) << at;
    heads.mpls |= bits(mpls) << at;
    heads.good4 |= bits(good) << at;
    heads.bytes += add_up(counted);
    // SAFETY: the ranges have eight words each.
    unsafe {
        _mm256_storeu_si256(heads.dst[range.clone()].as_mut_ptr().cast(), dst);
        _mm256_storeu_si256(heads.total[range.clone()].as_mut_ptr().cast(), total);
        _mm256_storeu_si256(heads.word[range].as_mut_ptr().cast(), later(c[5]));
    }
}

/// TTL, protocol and checksum one hop on, RFC 1624: in this byte order the TTL counts one, and so does the checksum, whose
/// carry is added at its other end; and a sum of 0xfeff becomes 0, as `Ip4Mut::decrement_ttl` has it.
#[target_feature(enable = "avx2")]
#[inline]
fn later(word: __m256i) -> __m256i {
    let sum = _mm256_srli_epi32::<16>(word);
    let carry = above(sum, all(0xfffd)); // -1 where there is one
    let sum = _mm256_sub_epi32(_mm256_add_epi32(sum, all(1)), carry);
    let ttl = _mm256_sub_epi32(_mm256_and_si256(word, all(0xffff)), all(1));
    _mm256_or_si256(_mm256_slli_epi32::<16>(sum), ttl)
}

/// The sum of the eight words.
#[target_feature(enable = "avx2")]
#[inline]
fn add_up(v: __m256i) -> u64 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let one = _mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
    u64::from(_mm_cvtsi128_si32(one) as u32)
}
