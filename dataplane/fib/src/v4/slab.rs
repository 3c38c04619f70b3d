//! Room for runs of words: pages of 512 words, each given to runs of one length.
//!
//! To read: Bonwick, "The slab allocator", 1994. Runs of a length share pages, so freed room fits the next run; a page
//! that is empty goes to whoever needs one, and the lowest page with room is used first, so that pages high up become
//! empty. What is in use is known to the caller only by the first word's number; readers never come here.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::FibError;

/// Words of a page.
const PAGE: usize = 512;

/// Hands out runs of 1 to [`Slab::LONGEST`] words. Runs of a power of two are aligned to their length.
pub(crate) struct Slab {
    what: &'static str,
    /// Pages there may be; the last `reserve` of them are not for everybody.
    capacity: usize,
    reserve: usize,
    pages: Vec<Page>,
    /// Pages that nobody has, among those that were used before.
    empty: BTreeSet<u32>,
    /// For each length, the pages that have room.
    partial: Vec<BTreeSet<u32>>,
    words: usize,
    /// Words that are never handed out.
    holes: Vec<Range<usize>>,
}

/// A page: the length of its runs, how many are out and how many never will be, and which of them are free.
struct Page {
    len: u16,
    live: u16,
    barred: u16,
    free: [u64; PAGE / 64],
}

impl Slab {
    /// Words of the longest run.
    pub(crate) const LONGEST: usize = 64;

    /// Room for so many words (rounded down to pages), a sixteenth of it for those who may take the reserve; what overlaps
    /// with `holes` is never handed out.
    pub(crate) fn new(what: &'static str, capacity: usize, holes: Vec<Range<usize>>) -> Self {
        Self {
            what,
            capacity: capacity / PAGE,
            reserve: capacity / PAGE / 16,
            pages: Vec::new(),
            empty: BTreeSet::new(),
            partial: vec![BTreeSet::new(); Self::LONGEST + 1],
            words: 0,
            holes,
        }
    }

    /// Takes a run and returns its first word. `last` says that the reserve may be taken.
    pub(crate) fn take(&mut self, len: usize, last: bool) -> Result<u32, FibError> {
        let page = match self.partial[len].first() {
            Some(&page) => page,
            None => self.new_page(len, last)?,
        };
        let p = &mut self.pages[page as usize];
        let (group, bits) = (0..)
            .zip(&mut p.free)
            .find(|(_, bits)| **bits != 0)
            .expect("a page with room");
        let run = group * 64 + bits.trailing_zeros();
        *bits &= *bits - 1;
        p.live += 1;
        if usize::from(p.live + p.barred) == PAGE / len {
            self.partial[len].remove(&page);
        }
        self.words += len;
        Ok(page * PAGE as u32 + run * len as u32)
    }

    /// Gives a run back; the caller knows that no reader is at it any more.
    pub(crate) fn give(&mut self, first: u32) {
        let page = first / PAGE as u32;
        let p = &mut self.pages[page as usize];
        let len = usize::from(p.len);
        let run = first as usize % PAGE / len;
        debug_assert!(p.free[run / 64] & 1 << (run % 64) == 0, "given back twice");
        p.free[run / 64] |= 1 << (run % 64);
        p.live -= 1;
        self.words -= len;
        if p.live == 0 {
            self.partial[len].remove(&page);
            self.empty.insert(page);
        } else {
            self.partial[len].insert(page);
        }
    }

    /// Words of a run that is out.
    pub(crate) fn len_of(&self, first: u32) -> usize {
        self.pages[first as usize / PAGE].len.into()
    }

    /// Bytes of all pages that are in use, in part or whole.
    pub(crate) fn bytes(&self) -> usize {
        (self.pages.len() - self.empty.len()) * PAGE * 8
    }

    /// Words that are out.
    pub(crate) fn in_use(&self) -> usize {
        self.words
    }

    /// Gives a page to runs of a length.
    fn new_page(&mut self, len: usize, last: bool) -> Result<u32, FibError> {
        let used = self.pages.len() - self.empty.len();
        if !last && used + self.reserve >= self.capacity {
            return Err(self.full());
        }
        let page = match self.empty.pop_first() {
            Some(page) => page,
            None if self.pages.len() < self.capacity => {
                self.pages.push(Page {
                    len: 0,
                    live: 0,
                    barred: 0,
                    free: [0; PAGE / 64],
                });
                self.pages.len() as u32 - 1
            }
            None => return Err(self.full()),
        };
        let p = &mut self.pages[page as usize];
        p.len = len as u16;
        p.free = [0; PAGE / 64];
        p.barred = 0;
        for run in 0..PAGE / len {
            let first = page as usize * PAGE + run * len;
            let is_barred = |hole: &Range<usize>| hole.start < first + len && first < hole.end;
            if self.holes.iter().any(is_barred) {
                p.barred += 1;
            } else {
                p.free[run / 64] |= 1 << (run % 64);
            }
        }
        self.partial[len].insert(page);
        Ok(page)
    }

    fn full(&self) -> FibError {
        FibError::Full {
            what: self.what,
            capacity: self.capacity * PAGE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_ends_and_comes_back() {
        let mut s = Slab::new("word", 2 * PAGE + 7, vec![]);
        let eights: Vec<u32> = (0..64).map(|_| s.take(8, false).unwrap()).collect();
        assert!(eights.iter().all(|at| at % 8 == 0));
        let three = s.take(3, false).unwrap();
        assert!(matches!(
            s.take(8, true),
            Err(FibError::Full { capacity: 1024, .. })
        ));
        assert!(s.take(3, false).is_ok(), "that page has room");
        s.give(eights[5]);
        assert_eq!(s.take(8, false), Ok(eights[5]));
        eights.iter().for_each(|&at| s.give(at));
        assert!(s.take(64, false).is_ok(), "an empty page is anybody's");
        s.give(three);
        assert_eq!(s.in_use(), 64 + 3);
        assert_eq!(s.bytes(), 2 * PAGE * 8);
    }

    #[test]
    fn the_reserve_is_not_for_everybody() {
        let mut s = Slab::new("word", 16 * PAGE, vec![]);
        for _ in 0..15 * PAGE / 64 {
            s.take(64, false).unwrap();
        }
        assert!(s.take(64, false).is_err());
        let last = s.take(64, true).unwrap();
        assert!(s.take(64, false).is_ok(), "room in a page that is in use");
        s.give(last);
    }

    proptest! {
        #[test]
        fn runs_never_overlap(ops in proptest::collection::vec((any::<bool>(), 1usize..=64, any::<usize>()), 1..400)) {
            let holes = vec![700..708, 3 * PAGE + 500..4 * PAGE + 1];
            let mut s = Slab::new("word", 64 * PAGE, holes.clone());
            let mut out: Vec<(u32, usize)> = vec![];
            for (take, len, which) in ops {
                if take || out.is_empty() {
                    if let Ok(at) = s.take(len, true) {
                        let end = at as usize + len;
                        prop_assert!(out.iter().all(|&(a, l)| end <= a as usize || a as usize + l <= at as usize));
                        prop_assert!(holes.iter().all(|h| end <= h.start || h.end <= at as usize));
                        prop_assert!(!len.is_power_of_two() || (at as usize).is_multiple_of(len));
                        out.push((at, len));
                    }
                } else {
                    let (at, _) = out.swap_remove(which % out.len());
                    s.give(at);
                }
                prop_assert_eq!(s.in_use(), out.iter().map(|&(_, l)| l).sum::<usize>());
            }
            out.iter().for_each(|&(at, _)| s.give(at));
            prop_assert_eq!((s.in_use(), s.bytes()), (0, 0));
        }
    }
}
