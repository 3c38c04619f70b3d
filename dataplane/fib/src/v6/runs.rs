//! Room for nodes: runs of consecutive 64-byte lines, handed out and taken back.
//!
//! To read: Knuth, "The Art of Computer Programming", 2.5 (boundary tags, Algorithm C). A free run is tagged with its
//! length at both ends, so a run that comes back is joined with free neighbours at once; a list for each length up to
//! 63 and one for the longer finds the shortest that is long enough. No search, no rounding up: what is lost is what
//! lies in gaps too short for the next wish, and every gap closes when its neighbours come back.

use crate::FibError;

/// Free runs of this length or more share a list.
const LONG: usize = 64;
/// No line.
const NIL: u32 = u32::MAX;

/// What the writer knows of a line.
#[derive(Debug, Clone, Copy)]
struct Tag {
    /// At the first and the last line of a free run: its length. At those of a run in use: 0. In between: anything.
    len: u32,
    /// At the first line of a free run: its neighbours in the list of its length.
    before: u32,
    after: u32,
}

const IN_USE: Tag = Tag {
    len: 0,
    before: NIL,
    after: NIL,
};

/// Hands out runs of lines.
#[derive(Debug)]
pub(super) struct Runs {
    /// What is handed out, for who is refused.
    what: &'static str,
    /// Lines that may be in use, unless the wish is urgent.
    capacity: usize,
    /// Lines that there are.
    total: usize,
    in_use: usize,
    /// One tag for each line that was ever handed out and does not lie beyond the last one in use.
    tags: Vec<Tag>,
    /// The first free run of each length.
    lists: [u32; LONG + 1],
}

impl Runs {
    /// The first line, which is the reader's dummy, is never handed out.
    pub(super) fn new(what: &'static str, capacity: usize, total: usize) -> Self {
        Self {
            what,
            capacity,
            total,
            in_use: 0,
            tags: vec![IN_USE],
            lists: [NIL; LONG + 1],
        }
    }

    /// Takes `n` lines in a row (at most 64) and returns the first. What is urgent is not stopped by the capacity.
    pub(super) fn take(&mut self, n: u32, urgent: bool) -> Result<u32, FibError> {
        let wanted = n as usize;
        let full = FibError::Full {
            what: self.what,
            capacity: self.capacity,
        };
        if !urgent && self.in_use + wanted > self.capacity {
            return Err(full);
        }
        let fits = (wanted..=LONG).find(|&len| self.lists[len] != NIL);
        let first = match fits {
            Some(list) => self.cut(self.lists[list], n),
            None if self.tags.len() + wanted <= self.total => {
                let first = self.tags.len() as u32;
                self.tags.resize(self.tags.len() + wanted, IN_USE);
                first
            }
            None => return Err(full),
        };
        self.in_use += wanted;
        Ok(first)
    }

    /// Takes back `n` lines that no reader uses any more.
    pub(super) fn give(&mut self, first: u32, n: u32) {
        self.in_use -= n as usize;
        let (mut first, mut end) = (first, first + n);
        // Line 0 is in use for ever, so there is one before.
        let before = self.tags[first as usize - 1].len;
        if before > 0 {
            first -= before;
            self.unlink(first);
        }
        if let Some(after) = self.tags.get(end as usize).map(|tag| tag.len)
            && after > 0
        {
            self.unlink(end);
            end += after;
        }
        if end as usize == self.tags.len() {
            self.tags.truncate(first as usize);
        } else {
            self.link(first, end - first);
        }
    }

    /// How many lines are out.
    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    /// Bytes of the writer's notes.
    pub(super) fn bytes(&self) -> usize {
        self.tags.len() * size_of::<Tag>()
    }

    /// Takes the first `n` lines of a free run.
    fn cut(&mut self, first: u32, n: u32) -> u32 {
        let len = self.tags[first as usize].len;
        self.unlink(first);
        self.tag(first, n, 0);
        if len > n {
            self.link(first + n, len - n);
        }
        first
    }

    fn tag(&mut self, first: u32, n: u32, len: u32) {
        self.tags[first as usize].len = len;
        self.tags[(first + n - 1) as usize].len = len;
    }

    fn link(&mut self, first: u32, len: u32) {
        self.tag(first, len, len);
        let list = (len as usize).min(LONG);
        let after = self.lists[list];
        let tag = &mut self.tags[first as usize];
        (tag.before, tag.after) = (NIL, after);
        if after != NIL {
            self.tags[after as usize].before = first;
        }
        self.lists[list] = first;
    }

    fn unlink(&mut self, first: u32) {
        let Tag { len, before, after } = self.tags[first as usize];
        if before == NIL {
            self.lists[(len as usize).min(LONG)] = after;
        } else {
            self.tags[before as usize].after = after;
        }
        if after != NIL {
            self.tags[after as usize].before = before;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn neighbours_are_joined() {
        let mut runs = Runs::new("line", 100, 100);
        let [a, b, c] = [4, 5, 6].map(|n| runs.take(n, false).unwrap());
        assert_eq!((a, b, c), (1, 5, 10));
        runs.give(a, 4);
        runs.give(c, 6);
        assert_eq!(runs.tags.len(), 10, "what is free at the end is forgotten");
        let d = runs.take(3, false).unwrap();
        assert_eq!(d, 1, "the shortest that is long enough");
        runs.give(b, 5);
        assert_eq!(runs.tags.len(), 4);
        runs.give(d, 3);
        assert_eq!((runs.tags.len(), runs.in_use()), (1, 0));
    }

    #[test]
    fn only_what_is_urgent_exceeds_the_capacity() {
        let mut runs = Runs::new("line", 10, 20);
        runs.take(8, false).unwrap();
        assert!(runs.take(3, false).is_err());
        runs.take(2, false).unwrap();
        runs.take(9, true).unwrap();
        assert!(runs.take(2, true).is_err(), "there are no more");
        assert_eq!(runs.in_use(), 19);
    }

    proptest! {
        /// Runs never overlap, and all room comes back.
        #[test]
        fn runs_are_apart_and_come_back(wishes in prop::collection::vec((1u32..=18, any::<prop::sample::Index>(), any::<bool>()), 1..400)) {
            let mut runs = Runs::new("line", 2000, 2000);
            let mut out: Vec<(u32, u32)> = Vec::new();
            let mut owner = vec![0; 2001];
            for (n, pick, give) in wishes {
                if give && !out.is_empty() {
                    let (first, n) = out.swap_remove(pick.index(out.len()));
                    owner[first as usize..(first + n) as usize].fill(0);
                    runs.give(first, n);
                } else if let Ok(first) = runs.take(n, false) {
                    let lines = &mut owner[first as usize..(first + n) as usize];
                    prop_assert!(first > 0 && lines.iter().all(|&o| o == 0));
                    lines.fill(1);
                    out.push((first, n));
                }
                prop_assert_eq!(runs.in_use(), owner.iter().sum::<usize>());
            }
            for (first, n) in out {
                runs.give(first, n);
            }
            prop_assert_eq!((runs.in_use(), runs.tags.len()), (0, 1));
            prop_assert!(runs.lists.iter().all(|&l| l == NIL));
        }
    }
}
