//! Painting: from the prefixes inside a block to the intervals of its node.

use super::Writer6;
use super::node::{Entry, INDEX, Interval, Kind, WINDOW, key};
use super::rib::{Found, List, below};
use super::write::Replicas6;
use crate::FibError;

/// A block of addresses that an entry stands for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) base: u128,
    /// Bits that its addresses have in common.
    pub(super) depth: u32,
    /// Bits before the window that its node works in.
    pub(super) window: u32,
}

impl Block {
    /// All addresses.
    pub(super) const ROOT: Self = Self {
        base: 0,
        depth: 0,
        window: 0,
    };

    /// That of an entry of the index.
    pub(super) fn index(cell: u128) -> Self {
        Self {
            base: cell << (128 - INDEX),
            depth: INDEX,
            window: INDEX,
        }
    }

    /// The part of it with these first `depth` bits (or the whole).
    pub(super) fn part(self, cell: u128, depth: u32) -> Self {
        Self {
            base: cell << (128 - depth),
            depth,
            ..self
        }
    }

    /// The same addresses, as a block for a node of the next window.
    fn next_window(self) -> Self {
        Self {
            window: self.window + WINDOW,
            ..self
        }
    }

    /// Bits up to the end of the window.
    pub(super) fn end(self) -> u32 {
        (self.window + WINDOW).min(128)
    }

    pub(super) fn last(self) -> u128 {
        self.base | below(self.depth)
    }
}

/// Addresses in which prefixes changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub(super) first: u128,
    pub(super) last: u128,
}

/// The parts of a block, each of so many addresses, that meet some of the ranges: its number, and those ranges.
pub(super) struct Touched<'d> {
    dirty: &'d [Range],
    /// Bits of an address within a part.
    shift: u32,
    /// Where to look for the next part; `None` at the end.
    from: Option<u128>,
    last: u128,
}

impl<'d> Touched<'d> {
    pub(super) fn new(dirty: &'d [Range], block: Block, depth: u32) -> Self {
        Self {
            dirty,
            shift: 128 - depth,
            from: Some(block.base),
            last: block.last(),
        }
    }

    /// The parts of the whole address space.
    pub(super) fn everywhere(dirty: &'d [Range], depth: u32) -> Self {
        Self {
            dirty,
            shift: 128 - depth,
            from: Some(0),
            last: u128::MAX,
        }
    }
}

impl<'d> Iterator for Touched<'d> {
    type Item = (u128, &'d [Range]);

    fn next(&mut self) -> Option<Self::Item> {
        let from = self.from?;
        let passed = self.dirty.iter().take_while(|r| r.last < from).count();
        self.dirty = &self.dirty[passed..];
        let at = self.dirty.first()?.first.max(from);
        if at > self.last {
            return None;
        }
        let cell = at >> self.shift;
        let cell_last = cell << self.shift | below(128 - self.shift);
        self.from = cell_last.checked_add(1);
        let met = self.dirty.iter().take_while(|r| r.first <= cell_last);
        Some((cell, &self.dirty[..met.count()]))
    }
}

/// Intervals as they are painted, from left to right.
struct Canvas {
    intervals: Vec<Interval>,
    /// What is open: where it ends, and what it is; the block itself at the bottom.
    open: Vec<(u128, Entry)>,
    depth: u32,
}

impl Canvas {
    /// From here on it is `entry`.
    fn paint(&mut self, from: u32, entry: Entry) {
        match self.intervals.last_mut() {
            Some(last) if last.from == from => {
                last.entry = entry;
                if let [.., before, last] = self.intervals[..]
                    && before.entry == last.entry
                {
                    self.intervals.pop();
                }
            }
            Some(last) if last.entry == entry => {}
            _ => self.intervals.push(Interval { from, entry }),
        }
    }

    /// Ends what ends before an address (all but the block, if `None`).
    fn close(&mut self, before: Option<u128>) {
        while let [.., (_, under), (last, _)] = self.open[..]
            && before.is_none_or(|before| last < before)
        {
            self.open.pop();
            // What ends with the block has nothing after it.
            if last < self.open[0].0 {
                self.paint(last_key(last, self.depth) + 1, under);
            }
        }
    }

    /// What was before, but for some addresses, which are painted by `paint`.
    fn patch(
        &mut self,
        before: &[Interval],
        (first, last): (u128, u128),
        paint: impl FnOnce(&mut Self),
    ) {
        let kept = before.partition_point(|i| i.from < key(first, self.depth));
        self.intervals.extend_from_slice(&before[..kept]);
        paint(self);
        if let Some(next) = last_key(last, self.depth).checked_add(1) {
            let after = before.partition_point(|i| i.from <= next) - 1;
            self.paint(next, before[after].entry);
            self.intervals.extend_from_slice(&before[after + 1..]);
        }
    }

    fn open(&mut self, first: u128, last: u128, entry: Entry) {
        self.paint(key(first, self.depth), entry);
        self.open.push((last, entry));
    }
}

/// The last key of an address: as if there were bits after its last.
fn last_key(addr: u128, at: u32) -> u32 {
    key(addr, at) | u32::MAX.checked_shr(128 - at).unwrap_or(0)
}

/// What the list of prefixes says of a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'k> {
    /// The group of the longest prefix that covers the block and is not in the short table.
    pub(super) cover: Entry,
    /// The prefixes inside.
    pub(super) inside: &'k [Found],
}

/// The parts of a block from left to right, each with what is known of it.
pub(super) struct Parts<'k> {
    depth: u32,
    rest: &'k [Found],
    /// Prefixes that cover parts, and where they end; what covers the block at the bottom.
    covers: Vec<(u128, Entry)>,
}

impl<'k> Parts<'k> {
    /// The parts of `depth` bits of a block.
    pub(super) fn new(block: Block, known: Known<'k>, depth: u32) -> Self {
        Self {
            depth,
            rest: known.inside,
            covers: vec![(block.last(), known.cover)],
        }
    }

    /// Whether a prefix inside the block covers the part that was asked for last.
    pub(super) fn is_covered_inside(&self) -> bool {
        self.covers.len() > 1
    }

    /// What is known of a part, which comes after those that were asked for before.
    pub(super) fn of(&mut self, part: Block) -> Known<'k> {
        let before = |p: &Found| p.first < part.base || p.first == part.base && p.len <= self.depth;
        let (passed, rest) = self.rest.split_at(self.rest.partition_point(before));
        let covering = passed.iter().filter(|p| p.last >= part.last());
        self.covers.retain(|&(last, _)| last >= part.base);
        self.covers
            .extend(covering.map(|p| (p.last, Entry(p.group.0))));
        let (inside, rest) = rest.split_at(rest.partition_point(|p| p.first <= part.last()));
        self.rest = rest;
        let cover = self.covers.last().map_or(Entry::NONE, |&(_, entry)| entry);
        Known { cover, inside }
    }
}

/// A painted block.
pub(super) struct Painted {
    pub(super) intervals: Vec<Interval>,
    /// How many prefixes were painted.
    pub(super) prefixes: usize,
    /// What led beyond the window before and still does, or was given up for something new.
    pub(super) crossings: Vec<Entry>,
}

impl<R: List> Writer6<R> {
    /// Paints a block whose entry was `old` (no page). What leads beyond the window is made anew where it is dirty.
    pub(super) fn paint(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        old: Entry,
        dirty: &[Range],
        known: Option<Known<'_>>,
    ) -> Result<Painted, FibError> {
        if let Some(known) = known {
            return self.paint_inside(t, block, old, dirty, known);
        }
        let mut inside = std::mem::take(&mut self.scratch.inside);
        inside.clear();
        self.rib.inside(block.base, block.depth, &mut inside);
        let known = Known {
            cover: self.cover(block),
            inside: &inside,
        };
        let painted = self.paint_inside(t, block, old, dirty, known);
        self.scratch.inside = inside;
        painted
    }

    /// Paints only where something changed, in one place within a block whose entry is a tree; else `None`.
    pub(super) fn patch(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        old: Entry,
        dirty: &[Range],
    ) -> Result<Option<Painted>, FibError> {
        let &[Range { first, last }] = dirty else {
            return Ok(None);
        };
        let len = (first ^ last).leading_zeros();
        if old.kind() != Kind::Tree || len <= block.depth {
            return Ok(None);
        }
        let mut before = self.scratch.intervals.pop().unwrap_or_default();
        before.clear();
        t.intervals(old, &mut before);
        let patched = match len > block.end() {
            true => Some(self.patch_beyond(t, block, &before, dirty)?),
            false => self.patch_inside(block, &before, first, len),
        };
        let beyond = before.iter().map(|i| i.entry);
        let beyond = beyond.filter(|e| e.kind() == Kind::Beyond);
        let patched = patched.map(|intervals| Painted {
            intervals,
            prefixes: 0,
            crossings: beyond.collect(),
        });
        self.scratch.intervals.push(before);
        Ok(patched)
    }

    /// That, where what changed leads beyond the window at one key.
    fn patch_beyond(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        before: &[Interval],
        dirty: &[Range],
    ) -> Result<Vec<Interval>, FibError> {
        let unit = block.part(dirty[0].first >> (128 - block.end()), block.end());
        let at = before.partition_point(|i| i.from <= key(unit.base, block.depth)) - 1;
        let entry = self.cross(t, unit, before[at].entry, dirty)?;
        let mut canvas = self.canvas(block);
        canvas.patch(before, (unit.base, unit.last()), |canvas| {
            canvas.paint(key(unit.base, block.depth), entry);
        });
        self.scratch.open = canvas.open;
        Ok(canvas.intervals)
    }

    /// That, where what changed is a prefix of so many bits within the window; `None` if some in it reach beyond.
    fn patch_inside(
        &mut self,
        block: Block,
        before: &[Interval],
        first: u128,
        len: u32,
    ) -> Option<Vec<Interval>> {
        let mut inside = std::mem::take(&mut self.scratch.inside);
        inside.clear();
        self.rib.inside(first, len, &mut inside);
        let stays = inside.iter().all(|p| p.len <= block.end());
        let patched = stays.then(|| {
            let last = first | below(len);
            let cover = self.cover(block.part(first >> (128 - len), len));
            let mut canvas = self.canvas(block);
            canvas.patch(before, (first, last), |canvas| {
                canvas.open(first, last, cover);
                for p in &inside {
                    canvas.close(Some(p.first));
                    canvas.open(p.first, p.last, Entry(p.group.0));
                }
                canvas.close(None);
            });
            self.scratch.open = canvas.open;
            canvas.intervals
        });
        self.scratch.inside = inside;
        patched
    }

    fn canvas(&mut self, block: Block) -> Canvas {
        let mut canvas = Canvas {
            intervals: self.scratch.intervals.pop().unwrap_or_default(),
            open: std::mem::take(&mut self.scratch.open),
            depth: block.depth,
        };
        canvas.intervals.clear();
        canvas.open.clear();
        canvas
    }

    fn paint_inside(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        old: Entry,
        dirty: &[Range],
        Known { cover, inside }: Known<'_>,
    ) -> Result<Painted, FibError> {
        let mut canvas = self.canvas(block);
        canvas.open(block.base, block.last(), cover);
        let mut crossings = Vec::new();
        let mut crossed = None;
        for p in inside {
            if p.len <= block.end() {
                canvas.close(Some(p.first));
                canvas.open(p.first, p.last, Entry(p.group.0));
                continue;
            }
            let unit = block.part(p.first >> (128 - block.end()), block.end());
            if crossed == Some(unit.base) {
                continue;
            }
            crossed = Some(unit.base);
            canvas.close(Some(unit.base));
            let at = key(unit.base, block.depth);
            let before = match old.kind() {
                Kind::Tree => t.search(old, at),
                _ => Entry::NONE,
            };
            // Kept where nothing changed.
            let is_dirty = dirty
                .get(dirty.partition_point(|r| r.last < unit.base))
                .is_some_and(|r| r.first <= unit.last());
            let entry = if is_dirty || before.kind() != Kind::Beyond {
                self.cross(t, unit, before, dirty)?
            } else {
                before
            };
            if before.kind() == Kind::Beyond {
                crossings.push(before);
            }
            canvas.open(unit.base, unit.last(), entry);
        }
        canvas.close(None);
        self.scratch.open = canvas.open;
        Ok(Painted {
            intervals: canvas.intervals,
            prefixes: inside.len(),
            crossings,
        })
    }

    /// The entry, past the end of a window, for a block that is one key there.
    pub(super) fn cross(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        old: Entry,
        dirty: &[Range],
    ) -> Result<Entry, FibError> {
        if block.depth == 128 {
            return Ok(self.cover(block));
        }
        let old = match old.kind() {
            Kind::Beyond => old.crossed(),
            _ => Entry::NONE,
        };
        let new = self.rebuild(t, block.next_window(), old, dirty, None)?;
        Ok(match new.kind() {
            Kind::Group => new,
            _ => new.crossed(),
        })
    }

    /// The group of the longest prefix that covers a block and is not in the short table.
    pub(super) fn cover(&self, block: Block) -> Entry {
        let cover = self.rib.cover(block.base, block.depth);
        let is_long = |len| self.short_len.is_none_or(|most| len > u32::from(most));
        let long = cover.filter(|&(len, _)| is_long(len));
        Entry(long.map_or(0, |(_, group)| group.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_parts_come_with_their_ranges() {
        let byte = |n: u128| n << 120;
        let range = |first: u128, last: u128| Range {
            first: byte(first),
            last: byte(last + 1) - 1,
        };
        let dirty = [
            range(1, 1),
            range(0x12, 0x13),
            range(0x18, 0x18),
            range(0x1f, 0x30),
        ];
        let parts = |block, depth| -> Vec<(u128, usize)> {
            let parts = Touched::new(&dirty, block, depth);
            parts.map(|(cell, ranges)| (cell, ranges.len())).collect()
        };
        let block = Block {
            base: 0,
            depth: 0,
            window: 0,
        };
        assert_eq!(parts(block, 4), [(0, 1), (1, 3), (2, 1), (3, 1)]);
        assert_eq!(parts(block.part(1, 4), 6), [(4, 1), (6, 1), (7, 1)]);
        assert_eq!(parts(block.part(4, 4), 8), []);
        let all = [Range {
            first: 0,
            last: u128::MAX,
        }];
        assert_eq!(Touched::everywhere(&all, 4).count(), 16);
    }
}
