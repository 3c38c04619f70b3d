//! The writer's side: which nodes are made anew when prefixes change, and how readers come to see them.
//!
//! A change goes through three steps. [`Writer6::stage`] changes the list of prefixes. [`Writer6::prepare`] paints the
//! nodes in which something changed anew from that list, into lines that no reader sees; it is the only step that
//! can run out of room. [`Writer6::commit`] stores the entries that name the new nodes, one by one: each address goes
//! from its old answer to its new one in one of these stores. [`Writer6::abort`] takes the steps before it back.
//!
//! Kept true: every page has more than [`MERGE`] prefixes inside (or else becomes a tree when one of them goes), and
//! what an entry names is named by nothing else.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashMap;
use net::{GroupId, Ip6Prefix};

use super::node::{self, Entry, Gone, Interval, Kind, PAGE_BITS, PAGE_LINES, Shape};
use super::paint::{Block, Known, Parts, Range, Touched};
use super::rib::{Found, List, Rib6, below};
use super::runs::Runs;
use super::{INDEX_PAGE, INDEX_PAGES, SHORT, Table6};
use crate::ahead::{Ahead, Frontier};
use crate::short::{Owner, Short, ShortWriter};
use crate::{FibError, Tables};

/// When more prefixes than this are painted, the tree is split, so that the next change need not paint as many.
const SPLIT: usize = 512;
/// A page with no more prefixes than this inside becomes a tree: they make 2 * 64 + 1 intervals at most, which fit.
const MERGE: usize = 64;

/// Lines to map for a table with room for `lines`: removing may take more for a while, since it is never refused.
/// They cost nothing until used.
pub(super) fn total_lines(lines: usize) -> usize {
    (4 * lines + (1 << 16)).min(Entry::LINE as usize)
}

/// An entry of the index or of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    Index(usize),
    Page(u32, usize),
}

/// A prefix that changed: what it had, and what it has now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Staged {
    pub(super) prefix: Ip6Prefix,
    pub(super) old: Option<GroupId>,
    pub(super) new: Option<GroupId>,
}

/// What [`Writer6::prepare`] made ready.
#[derive(Default)]
pub(super) struct Plan {
    stores: Vec<(Slot, Entry)>,
    made: Vec<(u32, u32)>,
    dropped: Vec<Gone>,
    /// How many prefixes are inside pages; `None` where the page goes.
    counts: Vec<(u32, Option<usize>)>,
    /// Whether running out of room is no reason to stop.
    pub(super) urgent: bool,
}

/// Buffers that are used again.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) inside: Vec<Found>,
    pub(super) open: Vec<(u128, Entry)>,
    pub(super) intervals: Vec<Vec<Interval>>,
}

/// The writer's side of all replicas. `R` is the list of prefixes that it paints from.
pub(crate) struct Writer6<R = Rib6> {
    pub(super) rib: R,
    /// Prefixes of no more bits are in the short table, not in the nodes; `None` where there is none.
    pub(super) short_len: Option<u8>,
    short: ShortWriter,
    runs: Runs,
    /// How far the lines have got.
    frontier: Frontier,
    ahead: Ahead,
    /// Entries that are not 0 in each page of the index, and how many pages have such.
    used: Vec<u16>,
    index_pages: usize,
    /// Prefixes inside each page, by its first line.
    counts: HashMap<u32, usize>,
    pub(super) staged: Vec<Staged>,
    pub(super) plan: Plan,
    pub(super) scratch: Scratch,
    /// What the last changes left, for the caller to take out.
    pub(crate) gone: Vec<Gone>,
}

impl Writer6 {
    pub(crate) fn new(lines: usize, ahead: Ahead) -> Self {
        Self {
            short_len: Some(SHORT),
            short: ShortWriter::new(SHORT.into()),
            used: vec![0; INDEX_PAGES],
            ..Self::over(
                Rib6::with_pages(ahead.clone()),
                Runs::new("line of the IPv6 table", lines, total_lines(lines)),
                ahead,
            )
        }
    }
}

impl<R: List> Writer6<R> {
    /// The writer of nodes alone, painted from `rib`, with room for them in `runs`.
    pub(super) fn over(rib: R, runs: Runs, ahead: Ahead) -> Self {
        Self {
            rib,
            short_len: None,
            short: ShortWriter::new(0),
            runs,
            frontier: Frontier::default(),
            ahead,
            used: Vec::new(),
            index_pages: 0,
            counts: HashMap::new(),
            staged: Vec::new(),
            plan: Plan::default(),
            scratch: Scratch::default(),
            gone: Vec::new(),
        }
    }

    /// How many pages of memory the index has, to count what is in each.
    pub(super) fn index_pages_of(&mut self, pages: usize) {
        self.used = vec![0; pages];
    }

    /// The group that a prefix itself points to.
    pub(crate) fn get(&self, p: Ip6Prefix) -> Option<GroupId> {
        self.rib.get(p)
    }

    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.rib.len()
    }

    /// Sets or removes a prefix in the list, and returns what it had. Readers see it after [`Writer6::commit`].
    pub(crate) fn stage(&mut self, prefix: Ip6Prefix, new: Option<GroupId>) -> Option<GroupId> {
        let old = self.rib.put(prefix, new);
        self.staged.push(Staged { prefix, old, new });
        old
    }

    /// The group that the `at`th of the prefixes that are to change had, and the one it gets.
    pub(crate) fn staged(&self, at: usize) -> Option<(Option<GroupId>, Option<GroupId>)> {
        self.staged.get(at).map(|s| (s.old, s.new))
    }

    /// Makes ready what was staged.
    ///
    /// # Errors
    /// No room; [`Writer6::abort`] is next. Removals alone may take three times the room that the table has.
    pub(crate) fn prepare(&mut self, t: Replicas6<'_>) -> Result<(), FibError> {
        self.plan.urgent = self.staged.iter().all(|s| s.new.is_none());
        self.order_staged();
        let dirty = self.dirty();
        for (cell, dirty) in Touched::everywhere(&dirty, node::INDEX) {
            self.prepare_slot(t, cell, dirty)?;
        }
        Ok(())
    }

    /// Makes ready what was staged below a root: an entry of the index that stands for all addresses.
    ///
    /// # Errors
    /// As [`Writer6::prepare`], but what is urgent is for the caller to say.
    pub(super) fn prepare_root(&mut self, t: Replicas6<'_>, root: usize) -> Result<(), FibError> {
        self.order_staged();
        let dirty = self.dirty();
        if dirty.is_empty() {
            return Ok(());
        }
        let slot = Slot::Index(root);
        let old = t.load(slot);
        let new = self.rebuild(t, Block::ROOT, old, &dirty, None)?;
        if new != old {
            self.plan.stores.push((slot, new));
        }
        Ok(())
    }

    /// Puts what is staged in order, and of several changes to one prefix keeps the first old and the last new.
    fn order_staged(&mut self) {
        self.staged.sort_by_key(|s| s.prefix);
        self.staged.dedup_by(|later, first| {
            let same = later.prefix == first.prefix;
            if same {
                first.new = later.new;
            }
            same
        });
        self.staged.retain(|s| s.old != s.new);
    }

    /// Shows readers what [`Writer6::prepare`] made ready.
    pub(crate) fn commit(&mut self, t: Replicas6<'_>) {
        let staged = std::mem::take(&mut self.staged);
        if self.short_len.is_none() {
            self.commit_nodes(t);
            return self.reuse_staged(staged);
        }
        // What comes to the short table comes before longer prefixes go, and what goes from it after others came.
        self.write_short(t, &staged, true);
        self.commit_nodes(t);
        self.write_short(t, &staged, false);
        self.reuse_staged(staged);
    }

    /// Shows readers the nodes of the plan.
    fn commit_nodes(&mut self, t: Replicas6<'_>) {
        let mut plan = std::mem::take(&mut self.plan);
        self.store_all(t, &mut plan.stores);
        for (page, count) in plan.counts.drain(..) {
            match count {
                Some(count) => self.counts.insert(page, count),
                None => self.counts.remove(&page),
            };
        }
        self.gone.append(&mut plan.dropped);
        plan.made.clear();
        self.plan = plan;
    }

    /// Takes back what was staged and made ready.
    pub(crate) fn abort(&mut self) {
        self.abort_nodes();
        let staged = std::mem::take(&mut self.staged);
        for s in staged.iter().rev() {
            self.rib.put(s.prefix, s.old);
        }
        self.reuse_staged(staged);
    }

    /// Takes back the nodes of the plan.
    pub(super) fn abort_nodes(&mut self) {
        let mut plan = std::mem::take(&mut self.plan);
        for (first, lines) in plan.made.drain(..) {
            self.runs.give(first, lines);
        }
        plan.stores.clear();
        plan.dropped.clear();
        plan.counts.clear();
        self.plan = plan;
    }

    /// Takes back what no reader can be at any more.
    pub(crate) fn release(&mut self, gone: Gone) {
        match gone {
            Gone::Lines(first, lines) => self.runs.give(first, lines),
        }
    }

    /// Lines that are in use.
    pub(crate) fn in_use(&self) -> usize {
        self.runs.in_use()
    }

    /// Bytes that lookups use (in one replica), and that only the writer uses.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let index = self.index_pages * INDEX_PAGE;
        let short = self.short_len.map_or(0, |bits| 1 << bits);
        let lookup = 4 * (index + short) + size_of::<node::Line>() * (self.runs.in_use() + 1);
        let counts = self.counts.capacity() * size_of::<(u32, usize)>();
        let update = self.rib.bytes() + self.runs.bytes() + 2 * self.used.len() + short + counts;
        (lookup, update)
    }

    /// The addresses of the staged prefixes that the nodes know of.
    fn dirty(&self) -> Vec<Range> {
        let mut dirty: Vec<Range> = Vec::new();
        let nodes = |s: &&Staged| self.short_len.is_none_or(|most| s.prefix.len() > most);
        for s in self.staged.iter().filter(nodes) {
            let (first, last) = (
                s.prefix.addr(),
                s.prefix.addr() | below(s.prefix.len().into()),
            );
            // In order: who begins within the last range lies in it.
            if dirty.last().is_none_or(|range| range.last < first) {
                dirty.push(Range { first, last });
            }
        }
        dirty
    }

    fn reuse_staged(&mut self, mut staged: Vec<Staged>) {
        staged.clear();
        staged.shrink_to(1024);
        self.staged = staged;
    }

    /// Writes the changes to short prefixes: either those that are there now, or those that are not.
    fn write_short(&mut self, t: Replicas6<'_>, staged: &[Staged], there: bool) {
        for s in staged {
            let (addr, len) = (s.prefix.addr(), s.prefix.len());
            if len > SHORT || s.new.is_some() != there {
                continue;
            }
            let slots = ((addr >> (128 - u32::from(SHORT))) as usize, len);
            let (to, takes): (_, fn(u8, u8) -> bool) = match s.new {
                Some(group) => (Owner { group, len }, |depth, len| depth <= len),
                None => (self.short_owner(addr, len), |depth, len| depth == len),
            };
            self.short
                .write(t.short(), slots, to, |depth| takes(depth, len));
        }
    }

    /// Who has what a short prefix had.
    fn short_owner(&self, addr: u128, len: u8) -> Owner {
        let shorter = len.checked_sub(1);
        let cover = shorter.and_then(|len| self.rib.cover(addr, len.into()));
        cover.map_or(Owner::NOBODY, |(len, group)| Owner {
            group,
            len: len as u8,
        })
    }

    /// Makes ready the entry of the index for the addresses that begin with `cell`.
    fn prepare_slot(
        &mut self,
        t: Replicas6<'_>,
        cell: u128,
        dirty: &[Range],
    ) -> Result<(), FibError> {
        let slot = Slot::Index(cell as usize);
        let old = t.load(slot);
        let new = self.rebuild(t, Block::index(cell), old, dirty, None)?;
        if new != old {
            self.plan.stores.push((slot, new));
        }
        Ok(())
    }

    /// The entry for a block in which something changed. What it named is given up; the entries of a page that stays
    /// are put into the plan.
    pub(super) fn rebuild(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        old: Entry,
        dirty: &[Range],
        known: Option<Known<'_>>,
    ) -> Result<Entry, FibError> {
        if let (Kind::Group, Some(Known { cover, inside: [] })) = (old.kind(), known) {
            return Ok(cover);
        }
        if block.depth == block.end() {
            return self.cross(t, block, old, dirty);
        }
        if old.kind() == Kind::Page {
            let inside = self.counts[&old.line()].wrapping_add_signed(self.growth(block));
            if inside > MERGE {
                self.rebuild_parts(t, block, old, dirty)?;
                self.plan.counts.push((old.line(), Some(inside)));
                return Ok(old);
            }
            self.drop_node(t, old);
            return self.rebuild(t, block, Entry::NONE, dirty, None);
        }
        let painted = match self.patch(t, block, old, dirty)? {
            Some(patched) => patched,
            None => self.paint(t, block, old, dirty, known)?,
        };
        let new = self.encode(t, block, &painted.intervals, painted.prefixes)?;
        self.drop_tree(t, old, &painted.crossings);
        self.scratch.intervals.push(painted.intervals);
        Ok(new)
    }

    fn rebuild_parts(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        page: Entry,
        dirty: &[Range],
    ) -> Result<(), FibError> {
        let depth = block.depth + PAGE_BITS;
        // Where all parts are dirty, the list is asked once.
        let all = dirty[0].first <= block.base && dirty[0].last >= block.last();
        let mut inside = Vec::new();
        if all {
            self.rib.inside(block.base, block.depth, &mut inside);
        }
        let mut parts = all.then(|| {
            let cover = self.cover(block);
            let inside = &inside;
            Parts::new(block, Known { cover, inside }, depth)
        });
        // Only the block's cover has changed: parts that a longer prefix covers are as they were.
        let cover_only = all && self.staged_inside(block).is_empty();
        for (cell, dirty) in Touched::new(dirty, block, depth) {
            let part = block.part(cell, depth);
            let known = parts.as_mut().map(|parts| parts.of(part));
            if cover_only && parts.as_ref().is_some_and(Parts::is_covered_inside) {
                continue;
            }
            let (line, word) = page.page_slot(cell as u32 % node::PAGE_ENTRIES);
            let slot = Slot::Page(line, word);
            let old = t.load(slot);
            let new = self.rebuild(t, part, old, dirty, known)?;
            if new != old {
                self.plan.stores.push((slot, new));
            }
        }
        Ok(())
    }

    /// By how many prefixes inside a block what is staged makes more.
    fn growth(&self, block: Block) -> isize {
        let staged = self.staged_inside(block).iter();
        staged
            .map(|s| isize::from(s.new.is_some()) - isize::from(s.old.is_some()))
            .sum()
    }

    /// What is staged of prefixes inside a block.
    fn staged_inside(&self, block: Block) -> &[Staged] {
        let before =
            |s: &Staged| (s.prefix.addr(), s.prefix.len().into()) <= (block.base, block.depth);
        let inside = &self.staged[self.staged.partition_point(before)..];
        &inside[..inside.partition_point(|s| s.prefix.addr() <= block.last())]
    }

    /// An entry for intervals, that of the only one or of a new node.
    fn encode(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        intervals: &[Interval],
        prefixes: usize,
    ) -> Result<Entry, FibError> {
        if prefixes > SPLIT {
            return self.encode_page(t, block, intervals);
        }
        if let [only] = intervals {
            return Ok(only.entry);
        }
        let Some(shape) = Shape::of(intervals) else {
            return self.encode_page(t, block, intervals);
        };
        let first = self.take(t, shape.lines())?;
        shape.build(intervals, |line, words| t.fill(first + line, words));
        Ok(shape.entry(first))
    }

    fn encode_page(
        &mut self,
        t: Replicas6<'_>,
        block: Block,
        intervals: &[Interval],
    ) -> Result<Entry, FibError> {
        let first = self.take(t, PAGE_LINES)?;
        let inside = self.rib.count_inside(block.base, block.depth);
        self.plan.counts.push((first, Some(inside)));
        let depth = block.depth + PAGE_BITS;
        let shift = 32 - PAGE_BITS;
        let mut part = Vec::new();
        for line in 0..PAGE_LINES {
            let mut words = [0; 16];
            for (slot, word) in (16 * line..).zip(&mut words) {
                // From the one that its first key lies in, which in the part begins at 0.
                let first = intervals.partition_point(|i| i.from <= slot << shift) - 1;
                let here = intervals[first..]
                    .iter()
                    .take_while(|i| i.from >> shift <= slot);
                part.clear();
                part.extend(here.map(|i| Interval {
                    from: i.from << PAGE_BITS,
                    entry: i.entry,
                }));
                part[0].from = 0;
                let cell = block.base >> (128 - depth) | u128::from(slot);
                *word = self.encode(t, block.part(cell, depth), &part, 0)?.0;
            }
            t.fill(first + line, &words);
        }
        Ok(Entry::page(first))
    }

    fn take(&mut self, t: Replicas6<'_>, lines: u32) -> Result<u32, FibError> {
        let first = self.runs.take(lines, self.plan.urgent)?;
        let all = t.all().map(|t| &t.lines);
        self.frontier
            .reach((first + lines) as usize, &self.ahead, all);
        self.plan.made.push((first, lines));
        Ok(first)
    }

    /// Gives up a node and all that it leads to.
    fn drop_node(&mut self, t: Replicas6<'_>, entry: Entry) {
        match entry.kind() {
            Kind::Group => {}
            Kind::Tree => self.drop_tree(t, entry, &[]),
            Kind::Beyond => self.drop_node(t, entry.crossed()),
            Kind::Page => {
                for slot in 0..node::PAGE_ENTRIES {
                    let (line, word) = entry.page_slot(slot);
                    self.drop_node(t, t.load(Slot::Page(line, word)));
                }
                self.plan
                    .dropped
                    .push(Gone::Lines(entry.line(), PAGE_LINES));
                self.plan.counts.push((entry.line(), None));
            }
        }
    }

    /// Gives up what an entry names, if that is a tree, and what it leads to beyond the window, but for what is `kept`.
    fn drop_tree(&mut self, t: Replicas6<'_>, tree: Entry, kept: &[Entry]) {
        if tree.kind() != Kind::Tree {
            return;
        }
        let lines = &t.first().lines;
        let leaves = node::leaves(tree, lines);
        if tree.0 & Entry::WIDE != 0 {
            for leaf in leaves.clone() {
                for beyond in node::beyond(&lines[leaf as usize]) {
                    if !kept.contains(&beyond) {
                        self.drop_node(t, beyond);
                    }
                }
            }
        }
        let gone = Gone::Lines(tree.line(), leaves.end - tree.line());
        self.plan.dropped.push(gone);
    }

    /// Stores entries, and gives the memory of those pages of the index back that have none left.
    fn store_all(&mut self, t: Replicas6<'_>, stores: &mut Vec<(Slot, Entry)>) {
        let mut empty = Vec::new();
        for (slot, entry) in stores.drain(..) {
            if let Slot::Index(cell) = slot {
                let page = cell / INDEX_PAGE;
                let used = &mut self.used[page];
                let before = *used;
                *used += u16::from(entry != Entry::NONE);
                *used -= u16::from(t.load(slot) != Entry::NONE);
                match (before, *used) {
                    (0, 1) => self.index_pages += 1,
                    (1, 0) => {
                        self.index_pages -= 1;
                        empty.push(page);
                    }
                    _ => {}
                }
            }
            t.store(slot, entry);
        }
        for page in empty {
            if self.used[page] == 0 {
                t.discard(page);
            }
        }
    }
}

/// All replicas: the same stores go to each; what the writer reads, it reads from the first.
#[derive(Clone, Copy)]
pub(crate) struct Replicas6<'t> {
    tables: &'t [Arc<Tables>],
    /// Those of the VRFs, not the global table.
    vrfs: bool,
}

impl<'t> Replicas6<'t> {
    /// Of the global table.
    pub(crate) fn global(tables: &'t [Arc<Tables>]) -> Self {
        Self {
            tables,
            vrfs: false,
        }
    }

    /// Of the table that all VRFs share.
    pub(crate) fn vrfs(tables: &'t [Arc<Tables>]) -> Self {
        Self { tables, vrfs: true }
    }

    fn all(self) -> impl Iterator<Item = &'t Table6> + Clone {
        self.tables.iter().map(move |t| self.of(t))
    }

    fn first(self) -> &'t Table6 {
        self.of(&self.tables[0])
    }

    #[inline]
    fn of(self, t: &'t Tables) -> &'t Table6 {
        if self.vrfs { &t.vrfs } else { &t.v6 }
    }

    fn short(self) -> impl Iterator<Item = &'t Short> + Clone {
        self.all().map(|t| &t.short)
    }

    /// Gives the memory of a page of the index back, whose entries are all 0, which readers find before and after.
    fn discard(self, page: usize) {
        let entries = page * INDEX_PAGE..(page + 1) * INDEX_PAGE;
        for t in self.all() {
            t.index.discard(entries.clone());
            t.index.populate(entries.clone(), false);
        }
    }

    fn load(self, slot: Slot) -> Entry {
        let t = self.first();
        let at = match slot {
            Slot::Index(cell) => &t.index[cell],
            Slot::Page(line, word) => t.lines[line as usize].word(word),
        };
        // Relaxed: only the writer stores, and this is the writer.
        Entry(at.load(Ordering::Relaxed))
    }

    fn store(self, slot: Slot, entry: Entry) {
        for t in self.all() {
            let at = match slot {
                Slot::Index(cell) => &t.index[cell],
                Slot::Page(line, word) => t.lines[line as usize].word(word),
            };
            // Release: pairs with the Acquire loads in `Table6::{index_entry, page_entry}`.
            at.store(entry.0, Ordering::Release);
        }
    }

    /// Fills a line that no reader sees.
    fn fill(self, line: u32, words: &[u32; 16]) {
        self.all().for_each(|t| t.lines[line as usize].fill(words));
    }

    /// Appends the intervals of a tree.
    pub(super) fn intervals(self, tree: Entry, out: &mut Vec<Interval>) {
        node::intervals(tree, &self.first().lines, out);
    }

    /// The entry for a key in a tree.
    pub(super) fn search(self, tree: Entry, key: u32) -> Entry {
        tree.search(&self.first().lines, key)
    }
}
