//! A line: the answers for the 64 /24s of a /18, in one of three forms.
//!
//! To read: Zec, Rizzo, Mikuc, "DXR: towards a billion routing lookups per second in software", 2012 (short tables that
//! caches hold); Asai, Ohara, "Poptrie", 2015 (a bit map and its population count in place of repeated leaves). Lines
//! are never changed once readers can find them: equal ones are kept once ([`crate::v4::store`]), and a change makes
//! the index name another line.
//!
//! | form | words | good for |
//! |---|---|---|
//! | [`Form::Byte`] | 64 leaves of a byte each: one cache line | groups up to 255: one load |
//! | [`Form::Half`] | a bit for each /24 whose answer is not the one before; then the distinct leaves, 16 bits each | groups up to 65,535 |
//! | [`Form::Word`] | the same with 32 bits each | all else: more groups, and /24s with longer prefixes |

/// /24s of a line.
pub(crate) const SLOTS: usize = 64;
/// Words of the longest line: a map, and 64 leaves of 32 bits.
pub(crate) const LONGEST: usize = (1 + SLOTS / 2).next_multiple_of(STEP);
/// Lines are so many words long, or a multiple, and begin at one.
pub(crate) const STEP: usize = 4;
/// Bits of an entry that are the number of the line's first word.
pub(crate) const FIRST: u32 = LARGE - 1;
/// Set in the entry of a line of halves that bytes could not hold.
pub(crate) const LARGE: u32 = 1 << 29;
/// The form is above that.
pub(crate) const FORM_SHIFT: u32 = 30;
/// Set in a leaf that is not a group, but the number of a table for prefixes longer than /24.
pub(crate) const MORE: u32 = 1 << 31;

/// How a line is laid out; its number stands in the entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 64 bytes.
    Byte = 0,
    /// A map and leaves of 16 bits.
    Half = 1,
    /// A map and leaves of 32 bits.
    Word = 2,
}

impl Form {
    /// The form that an entry says.
    #[inline(always)]
    pub(crate) fn of(entry: u32) -> Self {
        match entry >> FORM_SHIFT {
            0 => Self::Byte,
            1 => Self::Half,
            _ => Self::Word,
        }
    }
}

/// The short name of a line that has none. Nothing is ever stored where it leads to: who follows it finds no leaf.
pub(crate) const LONG: u16 = u16::MAX;

/// Which lines have short names, and what these mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Lines of bytes: 64 bytes times the name is where they begin.
    Byte = 0,
    /// Lines of halves: 32 bytes times the name.
    Half = 1,
    /// None: there are too many lines for that.
    Long = 2,
}

impl Naming {
    /// The rule in the low bits of a counter.
    #[inline(always)]
    pub(crate) fn of(counter: u32) -> Self {
        match counter % 4 {
            0 => Self::Byte,
            1 => Self::Half,
            _ => Self::Long,
        }
    }

    /// Words between two names.
    pub(crate) const fn step(self) -> u32 {
        match self {
            Self::Byte => 8,
            Self::Half | Self::Long => 4,
        }
    }

    /// The words that [`LONG`] leads to.
    pub(crate) fn hole(self) -> std::ops::Range<usize> {
        let first = usize::from(LONG) * self.step() as usize;
        first..first + self.step() as usize
    }

    /// The entry that a short name stands for; none for [`LONG`].
    #[inline(always)]
    pub(crate) fn entry(self, name: u16) -> Option<u32> {
        let form = match self {
            Self::Byte => Form::Byte,
            Self::Half | Self::Long => Form::Half,
        };
        let first = u32::from(name) * self.step();
        (name != LONG).then_some((form as u32) << FORM_SHIFT | first)
    }

    /// The short name of an entry, or [`LONG`].
    pub(crate) fn name(self, entry: u32) -> u16 {
        let named = match (self, Form::of(entry)) {
            (Self::Long, _) => return LONG,
            _ if entry == 0 => 0,
            (Self::Byte, Form::Byte) | (Self::Half, Form::Half) => (entry & FIRST) / self.step(),
            _ => return LONG,
        };
        u16::try_from(named).unwrap_or(LONG)
    }
}

/// The leaf of a /24 in the line that an entry names. `word` reads a word.
#[inline(always)]
pub(crate) fn leaf(entry: u32, slot: usize, word: impl Fn(usize) -> u64) -> u32 {
    let first = (entry & FIRST) as usize;
    match Form::of(entry) {
        Form::Byte => (word(first + slot / 8) >> (slot % 8 * 8)) as u32 & 0xff,
        Form::Half => {
            let at = rank(word(first), slot);
            (word(first + 1 + at / 4) >> (at % 4 * 16)) as u32 & 0xffff
        }
        Form::Word => {
            let at = rank(word(first), slot);
            (word(first + 1 + at / 2) >> (at % 2 * 32)) as u32
        }
    }
}

/// How many answers differ from the one before, up to that of a /24.
#[inline(always)]
pub(crate) fn rank(map: u64, slot: usize) -> usize {
    (map << (SLOTS - 1 - slot)).count_ones() as usize
}

/// A line that is not in the table yet.
pub(crate) struct Encoded {
    pub(crate) form: Form,
    large: bool,
    words: [u64; LONGEST],
    len: usize,
}

impl Encoded {
    /// The least form that holds these leaves; no less than `least`, but for the line of no routes, which is there.
    /// `edges` has a bit for each leaf that may differ from the one before.
    pub(crate) fn new(leaves: &[u32; SLOTS], edges: u64, least: Form) -> Self {
        let all = leaves.iter().fold(0, |all, &leaf| all | leaf);
        let large = (0x100..0x1_0000).contains(&all);
        let form = match all {
            0 => Form::Byte,
            1..=0xff if least == Form::Byte => Form::Byte,
            1..=0xffff => Form::Half,
            _ => Form::Word,
        };
        let mut words = [0; LONGEST];
        let len = if form == Form::Byte {
            for (word, leaves) in words.iter_mut().zip(leaves.as_chunks::<8>().0) {
                *word = u64::from_le_bytes(leaves.map(|leaf| leaf as u8));
            }
            SLOTS / 8
        } else {
            let bits = if form == Form::Half { 16 } else { 32 };
            let last = Self::runs(leaves, edges, bits, &mut words);
            (2 + last / (64 / bits)).next_multiple_of(STEP)
        };
        Self {
            form,
            large,
            words,
            len,
        }
    }

    /// Writes a map and its leaves, of so many bits, and returns the number of the last leaf.
    fn runs(leaves: &[u32; SLOTS], edges: u64, bits: usize, words: &mut [u64; LONGEST]) -> usize {
        let each = 64 / bits;
        let (mut at, mut map, mut before) = (0, 0, leaves[0]);
        words[1] = before.into();
        let mut edges = edges & !1;
        while edges != 0 {
            let slot = edges.trailing_zeros() as usize;
            edges &= edges - 1;
            let leaf = leaves[slot];
            // Without a branch, which would be taken at random: who goes on writes nothing.
            let differs = usize::from(leaf != before);
            at += differs;
            map |= (differs as u64) << slot;
            words[1 + at / each] |= u64::from(leaf) << (at % each * bits);
            before = leaf;
        }
        words[0] = map;
        at
    }

    /// Whether it is the line of no routes.
    pub(crate) fn is_nothing(&self) -> bool {
        self.form == Form::Byte && self.words[..SLOTS / 8] == [0; SLOTS / 8]
    }

    /// Its entry when it begins at word `first`.
    pub(crate) fn entry(&self, first: u32) -> u32 {
        let large = if self.large { LARGE } else { 0 };
        (self.form as u32) << FORM_SHIFT | large | first
    }

    /// The words.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(line: &Encoded, before: usize) -> [u32; SLOTS] {
        let entry = line.entry(before as u32);
        std::array::from_fn(|slot| leaf(entry, slot, |i| line.words()[i - before]))
    }

    fn edges(leaves: &[u32; SLOTS]) -> u64 {
        let differs = |i: &usize| leaves[i - 1] != leaves[*i];
        (1..SLOTS).filter(differs).map(|i| 1 << i).sum()
    }

    fn runs(most: u32) -> impl Strategy<Value = [u32; SLOTS]> {
        proptest::collection::vec((0..=most, 1usize..20), 64).prop_map(|runs| {
            let mut each = runs
                .into_iter()
                .flat_map(|(leaf, n)| std::iter::repeat_n(leaf, n));
            std::array::from_fn(|_| each.next().unwrap_or(0))
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            leaves in prop_oneof![runs(3), runs(255), runs(65_535), runs(u32::MAX)],
            wide in any::<bool>(),
            before in 0usize..100,
            more in any::<u64>(),
        ) {
            let more = more | edges(&leaves);
            let line = Encoded::new(&leaves, more, if wide { Form::Half } else { Form::Byte });
            prop_assert_eq!(decoded(&line, before), leaves);
            let same = Encoded::new(&leaves, edges(&leaves), line.form);
            prop_assert_eq!(line.words(), same.words());
            prop_assert!(line.words().len().is_multiple_of(STEP));
            let most = leaves.iter().max().copied().unwrap_or(0);
            let form = match most {
                0 => Form::Byte,
                1..=255 if !wide => Form::Byte,
                1..=65_535 => Form::Half,
                _ => Form::Word,
            };
            prop_assert_eq!(line.form, form);
            prop_assert_eq!(line.entry(0) & LARGE != 0, form == Form::Half && most > 255);
        }
    }

    #[test]
    fn names() {
        for (naming, form, step) in [(Naming::Byte, Form::Byte, 8), (Naming::Half, Form::Half, 4)] {
            for name in [0, 1, 0xfffe] {
                let entry = naming.entry(name).unwrap();
                assert_eq!(
                    (Form::of(entry), entry & FIRST),
                    (form, u32::from(name) * step)
                );
                assert_eq!(naming.name(entry), name);
                assert_eq!(naming.name(entry + step * 0x1_0000), LONG);
            }
            assert_eq!(naming.entry(LONG), None);
        }
        assert_eq!(Naming::Half.name(8), LONG, "a line of bytes");
        assert_eq!(
            Naming::Half.name(0),
            0,
            "that of no routes reads alike in every form"
        );
        assert_eq!(
            Naming::Long.name((Form::Half as u32) << FORM_SHIFT | 4),
            LONG
        );
    }

    #[test]
    fn the_longest_line() {
        let leaves = std::array::from_fn(|i| MORE | i as u32);
        let line = Encoded::new(&leaves, u64::MAX, Form::Byte);
        assert_eq!(line.words().len(), LONGEST);
        let line = Encoded::new(&[7; SLOTS], 0, Form::Half);
        assert_eq!(line.words(), [0, 7, 0, 0]);
    }
}
