//! A wide first level over shared lines: 2^18 entries name what the 64 blocks of /24 below them have.
//!
//! Equal lines are stored once; with few next hops most are equal to another. [`ByteLines`]: a line is 64 leaves of a byte,
//! up to 255 next hops. [`BitmapLines`]: a record is a bitmap of where the next hop changes, and 16-bit leaves for the runs.

use std::arch::x86_64::*;
use std::collections::HashMap;

use crate::big::Big;
use crate::{Candidate, Table, avx512};

const LANES: usize = 64;

/// Lines of bytes; `T` is a line's number, of 16 or 32 bits.
pub struct ByteLines<T: Copy> {
    index: Big<T>,
    lines: Big<[u8; 64]>,
    avx512: bool,
}

impl<T: Copy + TryFrom<u32> + Into<u32>> ByteLines<T> {
    /// Of a table of at most 255 next hops; none where there are more different lines than numbers.
    pub fn build(t: &Table<u32>) -> Option<Self> {
        let mut seen: HashMap<[u8; 64], u32> = HashMap::new();
        let (mut index, mut lines) = (vec![], vec![]);
        for block in t.blocks().chunks_exact(64) {
            let line: [u8; 64] = std::array::from_fn(|i| block[i] as u8);
            index.push(*seen.entry(line).or_insert_with(|| {
                lines.push(line);
                lines.len() as u32 - 1
            }));
        }
        let index: Vec<T> = index
            .into_iter()
            .map(|i| T::try_from(i).ok())
            .collect::<Option<_>>()?;
        Some(Self {
            index: Big::new(&index),
            lines: Big::new(&lines),
            avx512: avx512(),
        })
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    fn wide(&self, dst: &[u32], out: &mut [u32]) {
        let (dst, rest) = dst.as_chunks::<16>();
        let (out, out_rest) = out.as_chunks_mut::<16>();
        // SAFETY: 16 addresses and answers each; an index has 18 bits, a leaf's place is that of a line and 6 bits; what is
        // read behind the last entry (3 bytes at most) is room of `Big`.
        unsafe {
            for (dst, out) in dst.iter().zip(out) {
                let a = _mm512_loadu_si512(dst.as_ptr().cast());
                let block = _mm512_srli_epi32::<14>(a);
                let index = self.index.as_ptr().cast();
                let i = match size_of::<T>() {
                    2 => _mm512_and_si512(
                        _mm512_i32gather_epi32::<2>(block, index),
                        _mm512_set1_epi32(0xffff),
                    ),
                    _ => _mm512_i32gather_epi32::<4>(block, index),
                };
                let line = _mm512_slli_epi32::<6>(i);
                let slot = _mm512_and_si512(_mm512_srli_epi32::<8>(a), _mm512_set1_epi32(63));
                let leaf = _mm512_i32gather_epi32::<1>(
                    _mm512_or_si512(line, slot),
                    self.lines.as_ptr().cast(),
                );
                let hop = _mm512_and_si512(leaf, _mm512_set1_epi32(0xff));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), hop);
            }
        }
        self.lookup_scalar(rest, out_rest);
    }
}

impl<T: Copy + TryFrom<u32> + Into<u32>> Candidate<u32> for ByteLines<T> {
    fn name(&self) -> &'static str {
        match size_of::<T>() {
            2 => "2^18 over shared lines of bytes",
            _ => "the same, line numbers of 32 bits",
        }
    }
    fn lookup(&self, dst: &[u32], out: &mut [u32]) {
        if self.avx512 {
            // SAFETY: the processor has it.
            unsafe { self.wide(dst, out) }
        } else {
            self.lookup_scalar(dst, out);
        }
    }
    fn lookup_scalar(&self, dst: &[u32], out: &mut [u32]) {
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            for (out, &a) in out.iter_mut().zip(dst) {
                *out = self.index[(a >> 14) as usize].into();
            }
            for (out, &a) in out.iter_mut().zip(dst) {
                *out = self.lines[*out as usize][(a >> 8 & 63) as usize].into();
            }
        }
    }
    fn bytes(&self) -> usize {
        self.index.bytes() + self.lines.bytes()
    }
}

/// Records of a bitmap and 16-bit leaves.
pub struct BitmapLines {
    /// Where the record begins, in bytes.
    index: Big<u32>,
    /// Records: 4 words of bitmap, then the leaves.
    words: Big<u16>,
    avx512: bool,
}

impl BitmapLines {
    /// Of a table of at most 65,535 next hops.
    pub fn build(t: &Table<u32>) -> Self {
        let blocks = t.blocks();
        let mut seen: HashMap<&[u32], u32> = HashMap::new();
        let (mut index, mut words): (Vec<u32>, Vec<u16>) = (vec![], vec![]);
        for block in blocks.chunks_exact(64) {
            index.push(*seen.entry(block).or_insert_with(|| {
                let at = words.len();
                let mut map = 0u64;
                let mut leaves = vec![block[0] as u16];
                for (i, pair) in block.windows(2).enumerate() {
                    if pair[0] != pair[1] {
                        map |= 2 << i;
                        leaves.push(pair[1] as u16);
                    }
                }
                words.extend([0, 16, 32, 48].map(|s| (map >> s) as u16));
                words.extend(leaves);
                // Records of one size can be reused by others of it: 16 bytes, 32, and so on.
                words.resize(at + (words.len() - at).next_multiple_of(8), 0);
                at as u32 * 2
            }));
        }
        Self {
            index: Big::new(&index),
            words: Big::new(&words),
            avx512: avx512(),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq")]
    fn wide(&self, dst: &[u32], out: &mut [u32]) {
        let (dst, rest) = dst.as_chunks::<16>();
        let (out, out_rest) = out.as_chunks_mut::<16>();
        let base = self.words.as_ptr().cast::<u8>();
        // SAFETY: 16 addresses and answers each; an index has 18 bits, names a record of ours, and the count of bits up to a
        // slot one of its leaves; what is read behind the last one (2 bytes) is room of `Big`.
        unsafe {
            for (dst, out) in dst.iter().zip(out) {
                let a = _mm512_loadu_si512(dst.as_ptr().cast());
                let at = _mm512_i32gather_epi32::<4>(
                    _mm512_srli_epi32::<14>(a),
                    self.index.as_ptr().cast(),
                );
                let slot = _mm512_and_si512(_mm512_srli_epi32::<8>(a), _mm512_set1_epi32(63));
                let out_of = _mm512_sub_epi32(_mm512_set1_epi32(63), slot);
                let count = |at: __m256i, out_of: __m256i| {
                    let map = _mm512_i32gather_epi64::<1>(at, base.cast());
                    let up_to = _mm512_sllv_epi64(map, _mm512_cvtepu32_epi64(out_of));
                    _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(up_to))
                };
                let low = count(_mm512_castsi512_si256(at), _mm512_castsi512_si256(out_of));
                let high = count(
                    _mm512_extracti64x4_epi64::<1>(at),
                    _mm512_extracti64x4_epi64::<1>(out_of),
                );
                let k = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
                let leaf = _mm512_add_epi32(at, _mm512_slli_epi32::<1>(k));
                let hop = _mm512_i32gather_epi32::<1>(leaf, base.add(8).cast());
                let hop = _mm512_and_si512(hop, _mm512_set1_epi32(0xffff));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), hop);
            }
        }
        self.lookup_scalar(rest, out_rest);
    }
}

impl Candidate<u32> for BitmapLines {
    fn name(&self) -> &'static str {
        "2^18 over shared bitmaps and leaves"
    }
    fn lookup(&self, dst: &[u32], out: &mut [u32]) {
        if self.avx512 {
            // SAFETY: the processor has it.
            unsafe { self.wide(dst, out) }
        } else {
            self.lookup_scalar(dst, out);
        }
    }
    fn lookup_scalar(&self, dst: &[u32], out: &mut [u32]) {
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            for (out, &a) in out.iter_mut().zip(dst) {
                *out = self.index[(a >> 14) as usize] / 2;
            }
            for (out, &a) in out.iter_mut().zip(dst) {
                let w = &self.words[*out as usize..*out as usize + 4];
                let map = u64::from(w[0])
                    | u64::from(w[1]) << 16
                    | u64::from(w[2]) << 32
                    | u64::from(w[3]) << 48;
                *out += 4 + (map << (63 - (a >> 8 & 63))).count_ones();
            }
            for out in out {
                *out = self.words[*out as usize].into();
            }
        }
    }
    fn bytes(&self) -> usize {
        self.index.bytes() + self.words.bytes()
    }
}
