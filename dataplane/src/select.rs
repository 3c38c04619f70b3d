//! Picking out of the 64 things of a burst those whose bits are set: the positions, equal words, and moving them together.
//!
//! To read: Intel's "Optimization Reference Manual" on compress instructions. Where there is no AVX-512, bit by bit; a test
//! compares the two.

use crate::burst::BURST;

/// The positions of the bits that are set, lowest first.
pub(crate) struct Bits(pub(crate) u64);

impl Iterator for Bits {
    type Item = usize;
    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let at = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(at)
    }
}

/// The lowest `n` bits, at most 64.
#[inline]
pub(crate) fn lowest(n: usize) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

/// `of` with its lowest `n` set bits alone.
#[inline]
pub(crate) fn lowest_set(of: u64, n: usize) -> u64 {
    let mut rest = of;
    for _ in 0..n {
        rest &= rest.wrapping_sub(1);
    }
    of & !rest
}

/// The bits of `of` at the positions of `which`, closed up.
#[inline]
pub(crate) fn close_up(of: u64, which: u64) -> u64 {
    let bits = Bits(which).enumerate();
    bits.fold(0, |closed, (k, i)| closed | (of >> i & 1) << k)
}

/// Which of the words are that one.
#[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
#[inline]
pub(crate) fn equal(words: &[u32; BURST], word: u32) -> u64 {
    use std::arch::x86_64::*;
    if is_wide() {
        // SAFETY: the CPU was asked.
        return unsafe { wide::equal(words, word) };
    }
    let mut found = 0;
    for (i, eight) in words.as_chunks::<8>().0.iter().enumerate() {
        // SAFETY: the build says that there is AVX2; eight words are loaded.
        let same = unsafe {
            let eight = _mm256_loadu_si256(eight.as_ptr().cast());
            let same = _mm256_cmpeq_epi32(eight, _mm256_set1_epi32(word as i32));
            _mm256_movemask_ps(_mm256_castsi256_ps(same))
        };
        found |= (same as u64 & 0xff) << (8 * i);
    }
    found
}

/// Which of the words are that one.
#[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
pub(crate) fn equal(words: &[u32; BURST], word: u32) -> u64 {
    let bit = |(i, w): (usize, &u32)| u64::from(*w == word) << i;
    words.iter().enumerate().map(bit).sum()
}

/// Whether the CPU has the instructions of [`wide`].
#[cfg(target_arch = "x86_64")]
#[inline]
fn is_wide() -> bool {
    is_x86_feature_detected!("avx512f")
}

/// The sum of the selected words, which are lengths of frames: it is below 2^32.
#[inline]
pub(crate) fn sum(words: &[u32; BURST], which: u64) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: the CPU was asked.
        return unsafe { wide::sum(words, which) };
    }
    u64::from(Bits(which).fold(0u32, |sum, i| sum.wrapping_add(words[i])))
}

/// Of the selected words the lower halves, each with `low` below it, to the front of `to`, in order; as many as fit.
#[inline]
pub(crate) fn halves(from: &[u32; BURST], which: u64, low: u16, to: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() && which.count_ones() as usize <= to.len() {
        // SAFETY: the CPU was asked; there is room for all.
        return unsafe { wide::halves(from, which, low, to.as_mut_ptr()) };
    }
    for (to, i) in to.iter_mut().zip(Bits(which)) {
        *to = from[i] << 16 | u32::from(low);
    }
}

/// Copies the selected pointers to `to` on, in order.
///
/// # Safety
/// All of `from` up to the last that is selected can be read, and `to` has room for as many as are selected. They do not
/// overlap.
#[inline]
pub(crate) unsafe fn pointers(from: *const usize, which: u64, to: *mut usize) {
    #[cfg(target_arch = "x86_64")]
    if is_wide() {
        // SAFETY: as the caller says; the CPU was asked.
        return unsafe { wide::pointers(from, which, to) };
    }
    for (k, i) in Bits(which).enumerate() {
        // SAFETY: as the caller says.
        unsafe { to.add(k).write(from.add(i).read()) };
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use super::BURST;
    use std::arch::x86_64::*;

    /// # Safety
    /// AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn equal(words: &[u32; BURST], word: u32) -> u64 {
        let word = _mm512_set1_epi32(word as i32);
        let mut found = 0;
        for (i, sixteen) in words.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: 16 words.
            let v = unsafe { _mm512_loadu_si512(sixteen.as_ptr().cast()) };
            found |= u64::from(_mm512_cmpeq_epi32_mask(v, word)) << (16 * i);
        }
        found
    }

    /// # Safety
    /// AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn sum(words: &[u32; BURST], which: u64) -> u64 {
        let mut sum = _mm512_setzero_si512();
        for (i, sixteen) in words.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: 16 words.
            let v = unsafe { _mm512_loadu_si512(sixteen.as_ptr().cast()) };
            let some = (which >> (16 * i)) as __mmask16;
            sum = _mm512_mask_add_epi32(sum, some, sum, v);
        }
        _mm512_reduce_add_epi32(sum) as u32 as u64
    }

    /// # Safety
    /// AVX-512F; `to` has room for as many as bits are set.
    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) unsafe fn halves(from: &[u32; BURST], which: u64, low: u16, mut to: *mut u32) {
        let low = _mm512_set1_epi32(low.into());
        for (i, sixteen) in from.as_chunks::<16>().0.iter().enumerate() {
            let some = (which >> (16 * i)) as __mmask16;
            let n = some.count_ones();
            // SAFETY: 16 words are loaded, and as many stored as are selected.
            unsafe {
                let v = _mm512_loadu_si512(sixteen.as_ptr().cast());
                let v = _mm512_maskz_compress_epi32(some, v);
                let v = _mm512_or_si512(_mm512_slli_epi32::<16>(v), low);
                _mm512_mask_storeu_epi32(to.cast(), ((1u32 << n) - 1) as __mmask16, v);
                to = to.add(n as usize);
            }
        }
    }

    /// # Safety
    /// AVX-512F; as [`super::pointers`].
    #[target_feature(enable = "avx512f,popcnt")]
    pub(super) unsafe fn pointers(from: *const usize, which: u64, mut to: *mut usize) {
        let mut left = which;
        let mut from = from.cast::<i64>();
        while left != 0 {
            let some = left as __mmask8;
            let n = some.count_ones();
            // SAFETY: masked to what is selected, on both sides; `from` goes on only while something is selected there.
            unsafe {
                let v = _mm512_maskz_compress_epi64(some, _mm512_maskz_loadu_epi64(some, from));
                _mm512_mask_storeu_epi64(to.cast(), ((1u32 << n) - 1) as __mmask8, v);
                to = to.add(n as usize);
                from = from.wrapping_add(8);
            }
            left >>= 8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]
        #[test]
        fn as_bit_by_bit(which: u64, from: [u32; 32], n in 0usize..80) {
            let from: [u32; BURST] = std::array::from_fn(|i| from[i % 32] % 5 + (i / 32) as u32);
            let want: Vec<u32> = Bits(which).map(|i| from[i]).collect();
            let tags: Vec<u32> = want.iter().map(|w| w << 16 | 9).collect();
            let mut to = [77; BURST];
            halves(&from, which, 9, &mut to);
            prop_assert_eq!(&to[..want.len()], &tags[..]);
            prop_assert!(to[want.len()..].iter().all(|&w| w == 77));
            let mut few = [0; 3];
            halves(&from, which, 9, &mut few);
            prop_assert_eq!(&few[..want.len().min(3)], &tags[..want.len().min(3)]);

            let wide = from.map(|w| w as usize);
            let mut to = [77usize; BURST];
            // SAFETY: both have 64.
            unsafe { pointers(wide.as_ptr(), which, to.as_mut_ptr()) };
            prop_assert!(to.iter().zip(&want).all(|(a, b)| *a == *b as usize));
            prop_assert!(to[want.len()..].iter().all(|&w| w == 77));

            prop_assert_eq!(sum(&from, which), want.iter().map(|&w| u64::from(w)).sum::<u64>());
            let same = Bits(u64::MAX).filter(|&i| from[i] == 3).fold(0, |m, i| m | 1 << i);
            prop_assert_eq!(equal(&from, 3), same);
            prop_assert_eq!(lowest(n).count_ones() as usize, n.min(64));
            let some = lowest_set(which, n);
            prop_assert_eq!(some & !which, 0);
            prop_assert_eq!(some.count_ones(), which.count_ones().min(n as u32));
            prop_assert!(some == which || some < 1 << (which & !some).trailing_zeros());
        }
    }
}
