//! Sets of small numbers that are cheap to fill, and to walk when nearly empty.

/// A set of numbers: a bit each, and two levels of bits that say where bits are.
#[derive(Clone, Debug, Default)]
pub(super) struct BitSet {
    words: Vec<u64>,
    sums: Vec<u64>,
    tops: Vec<u64>,
    len: usize,
}

impl BitSet {
    pub(super) const fn new() -> Self {
        Self {
            words: Vec::new(),
            sums: Vec::new(),
            tops: Vec::new(),
            len: 0,
        }
    }

    /// How many are in it.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    pub(super) fn contains(&self, n: u32) -> bool {
        self.words
            .get(n as usize / 64)
            .is_some_and(|w| w >> (n % 64) & 1 != 0)
    }

    #[cold]
    fn grow(&mut self, word: usize) {
        let words = (word + 1).next_multiple_of(64);
        self.words.resize(words, 0);
        self.sums.resize(words / 64, 0);
        self.tops.resize((words / 64).div_ceil(64), 0);
    }

    /// Puts it in; was it out?
    #[inline]
    pub(super) fn insert(&mut self, n: u32) -> bool {
        let w = n as usize / 64;
        if w >= self.words.len() {
            self.grow(w);
        }
        let bit = 1 << (n % 64);
        let new = self.words[w] & bit == 0;
        self.words[w] |= bit;
        self.sums[w / 64] |= 1 << (w % 64);
        self.tops[w / 4096] |= 1 << (w / 64 % 64);
        self.len += usize::from(new);
        new
    }

    /// Takes it out; was it in?
    #[inline]
    pub(super) fn remove(&mut self, n: u32) -> bool {
        if !self.contains(n) {
            return false;
        }
        let w = n as usize / 64;
        self.words[w] &= !(1 << (n % 64));
        self.len -= 1;
        if self.words[w] == 0 {
            self.sums[w / 64] &= !(1 << (w % 64));
            if self.sums[w / 64] == 0 {
                self.tops[w / 4096] &= !(1 << (w / 64 % 64));
            }
        }
        true
    }

    /// The least member that is `from` or more.
    #[inline]
    pub(super) fn next(&self, from: u32) -> Option<u32> {
        let w = from as usize / 64;
        let here = self.words.get(w)? & (u64::MAX << (from % 64));
        if here != 0 {
            return Some((w * 64) as u32 + here.trailing_zeros());
        }
        let w = Self::after(&self.sums, w).or_else(|| {
            let s = Self::after(&self.tops, w / 64).or_else(|| {
                let from = w / 4096 + 1;
                let t = self.tops.get(from..)?.iter().position(|t| *t != 0)? + from;
                Some(t * 64 + self.tops[t].trailing_zeros() as usize)
            })?;
            Some(s * 64 + self.sums[s].trailing_zeros() as usize)
        })?;
        Some((w * 64) as u32 + self.words[w].trailing_zeros())
    }

    /// The next bit behind `n`, in the same word of `level`.
    /// All in it are less than this.
    pub(super) fn bound(&self) -> u32 {
        (self.words.len() * 64) as u32
    }

    /// Takes the least that is `from` or more out.
    #[inline]
    pub(super) fn take(&mut self, from: u32) -> Option<u32> {
        let n = self.next(from)?;
        self.remove(n);
        Some(n)
    }

    fn after(level: &[u64], n: usize) -> Option<usize> {
        let rest = level.get(n / 64)? & (u64::MAX << (n % 64)) & !(1 << (n % 64));
        (rest != 0).then(|| n / 64 * 64 + rest.trailing_zeros() as usize)
    }

    /// The places of what is true.
    pub(super) fn from_bools(all: impl Iterator<Item = bool>) -> Self {
        let mut out = Self::new();
        let (mut word, mut n) = (0u64, 0u32);
        let mut put = |word: u64, n: u32| {
            if word != 0 {
                let w = (n - 1) as usize / 64;
                out.insert(w as u32 * 64 + word.trailing_zeros());
                out.words[w] = word;
                out.len += word.count_ones() as usize - 1;
            }
        };
        for bit in all {
            word |= u64::from(bit) << (n % 64);
            n += 1;
            if n.is_multiple_of(64) {
                put(word, n);
                word = 0;
            }
        }
        put(word, n);
        out
    }

    /// All of them, the least first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let n = self.next(from?)?;
            from = n.checked_add(1);
            Some(n)
        })
    }

    /// Octets held.
    pub(super) fn memory(&self) -> usize {
        (self.words.capacity() + self.sums.capacity() + self.tops.capacity()) * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(ops in prop::collection::vec((any::<bool>(), prop_oneof![0u32..300, 0u32..1_000_000]), 0..300), ask in 0u32..1_000_000) {
            let (mut bits, mut model) = (BitSet::new(), BTreeSet::new());
            for (put, n) in ops {
                if put {
                    prop_assert_eq!(bits.insert(n), model.insert(n));
                } else {
                    prop_assert_eq!(bits.remove(n), model.remove(&n));
                }
            }
            prop_assert_eq!(bits.len(), model.len());
            prop_assert_eq!(bits.next(ask), model.range(ask..).next().copied());
            prop_assert!(bits.iter().eq(model.iter().copied()));
        }
    }
}
