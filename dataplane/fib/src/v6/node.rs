//! Entries, and the lines that trees and pages are made of.
//!
//! All numbers are in the machine's byte order; a line is 16 words of 32 bits:
//!
//! | line | words |
//! |---|---|
//! | page (16 lines) | 256 entries |
//! | choice | up to 16 boundaries between the lines that follow it |
//! | narrow leaf | up to 10 boundaries, then up to 11 groups of 16 bits |
//! | wide leaf | up to 7 boundaries, a word unused, then up to 8 entries |
//!
//! A boundary is the last key before an interval, so that a key's place is the number of boundaries below it; unused
//! boundaries are the greatest key, which nothing is above.

use std::sync::atomic::{AtomicU32, Ordering};

/// Bits before the first window: those of the index.
pub(super) const INDEX: u32 = 24;
/// Bits of a window.
pub(super) const WINDOW: u32 = 32;
/// Bits that index a page.
pub(super) const PAGE_BITS: u32 = 8;
/// Entries of a page.
pub(super) const PAGE_ENTRIES: u32 = 1 << PAGE_BITS;
/// Lines of a page.
pub(super) const PAGE_LINES: u32 = 16;
/// Boundaries and groups of a narrow leaf.
pub(super) const NARROW: usize = 10;
/// Boundaries of a wide leaf.
const WIDE: usize = 7;
/// Where a narrow leaf has its groups, in bytes.
pub(super) const NARROW_GROUPS: usize = 4 * NARROW;
/// Where a wide leaf has its entries, in words.
const WIDE_ENTRIES: usize = 8;
/// Words of a line: boundaries of a choice.
const WORDS: usize = 16;
/// Leaves of a tree, at most.
const LEAVES: usize = WORDS + 1;
/// Greater than every boundary.
const NONE: u32 = u32::MAX;

/// A line without boundaries, for a reader that must compare its key with something.
pub(super) const DUMMY: [u32; WORDS] = [NONE; WORDS];

/// A word in the index, a page or a wide leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry(pub(super) u32);

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A group, or 0 for none: every prefix here is shorter.
    Group,
    /// Names a page.
    Page,
    /// Names a tree.
    Tree,
    /// Names a node of the next window.
    Beyond,
}

impl Entry {
    pub(super) const NONE: Self = Self(0);
    /// Set where it names a node of this window.
    const NODE: u32 = 1 << 31;
    /// Set where it names a node of the next one.
    pub(super) const BEYOND: u32 = 1 << 30;
    /// Set where the node is a page.
    const PAGE: u32 = 1 << 29;
    /// What names a page is not below this; what names a tree is.
    pub(super) const PAGES: u32 = Self::NODE | Self::PAGE;
    /// Set where a tree has a choice before its leaves.
    pub(super) const CHOICE: u32 = 1 << 28;
    /// Set where a tree's leaves are wide.
    pub(super) const WIDE: u32 = 1 << 27;
    /// The node's first line.
    pub(super) const LINE: u32 = (1 << 26) - 1;

    pub(super) fn page(line: u32) -> Self {
        Self(Self::PAGES | line)
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        match self.0 {
            Self::PAGES.. => Kind::Page,
            Self::NODE.. => Kind::Tree,
            Self::BEYOND.. => Kind::Beyond,
            _ => Kind::Group,
        }
    }

    /// The same node as named in its own window, or from the one before; groups are the same in all.
    #[inline]
    pub(super) fn crossed(self) -> Self {
        match self.kind() {
            Kind::Group => self,
            _ => Self(self.0 ^ (Self::NODE | Self::BEYOND)),
        }
    }

    /// Whether it names a node of this window.
    #[inline]
    pub(super) fn is_node(self) -> bool {
        self.0 & Self::NODE != 0
    }

    /// Whether the answer takes more than the index, pages and a tree with narrow leaves.
    #[inline]
    pub(super) fn is_more_than_narrow(self) -> bool {
        let wide = Self::NODE | Self::PAGE | Self::WIDE;
        // Without a branch: few do, but not so few that they would be guessed.
        (self.0 & wide == Self::NODE | Self::WIDE)
            | (self.0 & (Self::NODE | Self::BEYOND) == Self::BEYOND)
    }

    /// The node's first line.
    #[inline]
    pub(super) fn line(self) -> u32 {
        self.0 & Self::LINE
    }

    /// Line and word of an entry of the page that this names.
    #[inline]
    pub(super) fn page_slot(self, slot: u32) -> (u32, usize) {
        (self.line() + slot / WORDS as u32, slot as usize % WORDS)
    }

    /// The leaf for a key in the tree that this names.
    #[inline]
    pub(super) fn leaf(self, lines: &[Line], key: u32) -> u32 {
        // Without a branch, which would be taken at random: who has no choice compares with the dummy.
        let has_choice = u32::from(self.0 & Self::CHOICE != 0);
        let choice = self.line() & has_choice.wrapping_neg();
        let first = self.line() + has_choice;
        first + lines[choice as usize].below(key).count_ones()
    }

    /// The entry for a key in the tree that this names.
    #[inline]
    pub(super) fn search(self, lines: &[Line], key: u32) -> Self {
        let leaf = &lines[self.leaf(lines, key) as usize];
        if self.0 & Self::WIDE == 0 {
            return Self(leaf.narrow(key));
        }
        let place = (leaf.below(key) & ((1 << WIDE) - 1)).count_ones();
        Self(leaf.words()[WIDE_ENTRIES + place as usize])
    }
}

/// The bits of an address that the nodes of a window tell apart, from bit `at` on; zeros after the last.
#[inline]
pub(super) fn key(addr: u128, at: u32) -> u32 {
    (addr << at >> 96) as u32
}

/// 64 bytes of a tree or a page.
#[repr(align(64))]
pub(super) struct Line([AtomicU32; WORDS]);

const _: () = assert!(size_of::<Line>() == 64); // one cache line

// SAFETY: made of atomics only, for which zero is a value.
unsafe impl hugepages::slice::Zeroable for Line {}

impl Line {
    #[inline]
    pub(super) fn word(&self, word: usize) -> &AtomicU32 {
        &self.0[word]
    }

    /// All words of a line that nobody writes: a tree's while it is named.
    #[inline]
    pub(super) fn words(&self) -> [u32; WORDS] {
        // SAFETY: 64 aligned bytes. The writer fills a tree's lines before it names them by a Release store, which
        // pairs with the Acquire load that led here, and not again before all readers have left: no race.
        unsafe { std::ptr::from_ref(self).cast::<[u32; WORDS]>().read() }
    }

    /// Which words are below a key: a bit for each.
    #[inline]
    pub(super) fn below(&self, key: u32) -> u32 {
        #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
        {
            use std::arch::x86_64::*;
            let at: *const __m256i = std::ptr::from_ref(self).cast();
            // SAFETY: the target has AVX2; two aligned halves of the line, read as in `words`.
            unsafe {
                // The comparison is signed: turn the signs over.
                let sign = _mm256_set1_epi32(i32::MIN);
                let key = _mm256_xor_si256(_mm256_set1_epi32(key as i32), sign);
                let half =
                    |at| _mm256_cmpgt_epi32(key, _mm256_xor_si256(_mm256_load_si256(at), sign));
                let bits = |half| _mm256_movemask_ps(_mm256_castsi256_ps(half)) as u32;
                bits(half(at)) | bits(half(at.add(1))) << 8
            }
        }
        #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
        {
            let words = self.words().into_iter().enumerate();
            words.fold(0, |bits, (i, word)| bits | u32::from(word < key) << i)
        }
    }

    /// The group for a key in a narrow leaf.
    #[inline]
    pub(super) fn narrow(&self, key: u32) -> u32 {
        let place = (self.below(key) & ((1 << NARROW) - 1)).count_ones() as usize;
        // Relaxed: ordered by the load that led here, as in `words`.
        let word = self.0[NARROW + place / 2].load(Ordering::Relaxed);
        word >> (16 * (place % 2)) & 0xffff
    }

    /// Fills a line that no reader sees. Relaxed: the Release store that names it comes after.
    pub(super) fn fill(&self, words: &[u32; WORDS]) {
        for (at, &word) in self.0.iter().zip(words) {
            at.store(word, Ordering::Relaxed);
        }
    }
}

/// Addresses from a key on, up to the next interval's key, and their entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: u32,
    pub(super) entry: Entry,
}

/// How a tree for some intervals looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    wide: bool,
    leaves: usize,
}

impl Shape {
    /// The shape of a tree for these intervals; `None` where they are too many.
    pub(super) fn of(intervals: &[Interval]) -> Option<Self> {
        let wide = intervals.iter().any(|i| i.entry.0 > u16::MAX.into());
        let leaves = intervals
            .len()
            .div_ceil(1 + if wide { WIDE } else { NARROW });
        (leaves <= LEAVES).then_some(Self { wide, leaves })
    }

    /// Lines of the tree.
    pub(super) fn lines(self) -> u32 {
        (self.leaves + usize::from(self.leaves > 1)) as u32
    }

    /// The entry that names the tree, if it begins at `line`.
    pub(super) fn entry(self, line: u32) -> Entry {
        let choice = if self.leaves > 1 { Entry::CHOICE } else { 0 };
        let wide = if self.wide { Entry::WIDE } else { 0 };
        Entry(Entry::NODE | choice | wide | line)
    }

    /// The tree's lines, each with its number from the first.
    pub(super) fn build(self, intervals: &[Interval], mut line: impl FnMut(u32, &[u32; WORDS])) {
        let (each, more) = (intervals.len() / self.leaves, intervals.len() % self.leaves);
        let mut choice = [NONE; WORDS];
        let mut rest = intervals;
        for leaf in 0..self.leaves {
            let here;
            (here, rest) = rest.split_at(each + usize::from(leaf < more));
            if let (Some(next), Some(boundary)) = (rest.first(), choice.get_mut(leaf)) {
                *boundary = next.from - 1;
            }
            let number = leaf as u32 + u32::from(self.leaves > 1);
            line(number, &self.leaf(here));
        }
        if self.leaves > 1 {
            line(0, &choice);
        }
    }

    fn leaf(self, intervals: &[Interval]) -> [u32; WORDS] {
        let mut words = [0; WORDS];
        let boundaries = if self.wide { WIDE } else { NARROW };
        words[..boundaries].fill(NONE);
        for (at, interval) in intervals.iter().enumerate() {
            if at > 0 {
                words[at - 1] = interval.from - 1;
            }
            if self.wide {
                words[WIDE_ENTRIES + at] = interval.entry.0;
            } else {
                words[NARROW + at / 2] |= interval.entry.0 << (16 * (at % 2));
            }
        }
        words
    }
}

/// The leaves of the tree that an entry names.
pub(super) fn leaves(tree: Entry, lines: &[Line]) -> std::ops::Range<u32> {
    let first = tree.line();
    if tree.0 & Entry::CHOICE == 0 {
        return first..first + 1;
    }
    let choices = lines[first as usize].words();
    let boundaries = choices.iter().take_while(|&&b| b != NONE).count() as u32;
    first + 1..first + 2 + boundaries
}

/// Appends the intervals of a tree.
pub(super) fn intervals(tree: Entry, lines: &[Line], out: &mut Vec<Interval>) {
    let choice = lines[tree.line() as usize].words();
    let wide = tree.0 & Entry::WIDE != 0;
    let boundaries = if wide { WIDE } else { NARROW };
    let mut from = 0;
    for (nth, leaf) in leaves(tree, lines).enumerate() {
        if nth > 0 {
            from = choice[nth - 1] + 1;
        }
        let words = lines[leaf as usize].words();
        for at in 0..=boundaries {
            let entry = Entry(match wide {
                true => words[WIDE_ENTRIES + at],
                false => words[NARROW + at / 2] >> (16 * (at % 2)) & 0xffff,
            });
            out.push(Interval { from, entry });
            if at == boundaries || words[at] == NONE {
                break;
            }
            from = words[at] + 1;
        }
    }
}

/// The entries of a wide leaf that lead beyond the window.
pub(super) fn beyond(leaf: &Line) -> impl Iterator<Item = Entry> {
    let words = leaf.words();
    let boundaries = words[..WIDE].iter().take_while(|&&b| b != NONE).count();
    let entries = words.into_iter().skip(WIDE_ENTRIES).take(boundaries + 1);
    entries.map(Entry).filter(|e| e.kind() == Kind::Beyond)
}

/// What went out of use and may be taken back once no reader can be at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    /// Lines: the first, and how many.
    Lines(u32, u32),
}

impl Gone {
    /// Its bytes, in one replica.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Lines(_, lines) => lines as usize * size_of::<Line>(),
        }
    }
}
