//! The writer's side of the IPv4 table: see [`crate::v4`] for what readers do with it.
//!
//! The writer keeps the prefixes themselves, by the piece of address space that they lie in, and nothing of what the
//! readers' lines say: a line that a change touches is painted anew from its prefixes. A transaction has four steps.
//! [`Writer4::stage`] changes the prefixes and notes what lines they touch; [`Writer4::prepare`] paints those and writes
//! them where no reader looks; [`Writer4::commit`] makes the index name them, which cannot fail; [`Writer4::abort`], in
//! its place, leaves everything as it was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrayvec::ArrayVec;
use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::{GroupId, Ip4Prefix};

use super::line::{Encoded, Form, LARGE, LONG, MORE, Naming, SLOTS};
use super::nodes::{Nodes, number};
use super::own::{Groups, Own};
use super::store::Store;
use super::{INDEX, SHORT};
use crate::ahead::Ahead;
use crate::prefetch::prefetch;
use crate::slots::Slots;
use crate::{FibError, Tables};

/// Length of a block: the piece of address space that has one line.
const BLOCK: u8 = INDEX as u8;
/// Length of a /24.
const SLOT: u8 = 24;
/// Blocks painted together: the memory that one needs comes while others are painted.
const AHEAD: usize = 8;
/// Entries of a page of the system's.
const PAGE: usize = 4096 / size_of::<u32>();
/// Length of the pieces that `middle` has.
const AREA: u8 = SHORT + 1;
/// Blocks of such a piece.
const BLOCKS: u32 = 1 << (BLOCK - AREA);

/// What went out of use and may be taken back once no reader can be at it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gone {
    /// The line that begins at this word.
    Line(u32),
    /// A table of 256.
    More(u32),
}

/// The writer's side of all replicas.
pub(crate) struct Writer4 {
    /// Prefixes of 0 to 7 bits, by their numbers.
    short: Box<[Option<GroupId>; 2 << SHORT]>,
    /// Prefixes of 8 to 17 bits, for each /8 by their numbers; 0 for none.
    middle: HugeSlice<[u32; BLOCKS as usize]>,
    /// Each /18.
    own: HugeSlice<Own>,
    /// Prefixes of 18 to 24 bits.
    groups: Groups,
    /// By the number of the table.
    more: Vec<More>,
    more_ids: Slots,
    store: Store,
    naming: Naming,
    /// How many of them would have no short name under the rule that is wanted.
    unnamed: usize,
    len: usize,
    choice: Choice,
    open: Transaction,
    /// What the last transactions left, for the caller to take out.
    pub(crate) gone: Vec<Gone>,
}

/// A /24 that has longer prefixes.
#[derive(Debug, Default)]
struct More {
    nodes: Nodes,
    /// Who has what they leave, as its table says.
    base: u32,
    /// Whether its table is not what it should be.
    dirty: bool,
    /// Its place in its block, and the next of that block's, from 1 on.
    slot: u8,
    next: u32,
}

/// What has been staged.
#[derive(Default)]
struct Transaction {
    /// What each prefix had before, in order.
    log: Vec<(Ip4Prefix, Option<GroupId>)>,
    /// Lines to be painted.
    dirty: Vec<u32>,
    short: bool,
    /// Their new entries, each with a user counted.
    entries: Vec<(u32, u32)>,
    /// Tables to be painted, each with its new base.
    repaint: Vec<(u32, u32)>,
    /// /24s (their blocks, and their places there) that have a new table, and that need theirs no longer.
    new_more: Vec<(u32, u8)>,
    old_more: Vec<(u32, u8)>,
    choice: Choice,
}

/// The form that new lines get: bytes as long as nearly all lines can have them, since lines of two forms in one burst
/// cost more than either.
#[derive(Debug, Default, Clone, Copy)]
struct Choice {
    halves: bool,
    /// Lines, and those among them whose groups need more than a byte.
    lines: usize,
    large: usize,
    /// Where the search for lines of the other form is; none is left below.
    swept: u32,
}

impl Choice {
    /// How many lines of halves that bytes could hold, or of bytes among halves, are borne with: one in so many.
    const MANY: usize = 128;
    const FEW: usize = 512;

    /// The form for the next line.
    fn least(&self) -> Form {
        if self.halves { Form::Half } else { Form::Byte }
    }

    /// The rule of naming that suits.
    fn naming(&self) -> Naming {
        if self.halves {
            Naming::Half
        } else {
            Naming::Byte
        }
    }

    /// Takes note that an entry is replaced.
    fn count(&mut self, old: u32, new: u32) {
        self.lines += usize::from(new != 0);
        self.lines -= usize::from(old != 0);
        self.large += usize::from(new & LARGE != 0);
        self.large -= usize::from(old & LARGE != 0);
        let halves = match self.halves {
            false => self.large * Self::MANY > self.lines,
            true => self.large > 0 && self.large * Self::FEW >= self.lines,
        };
        if halves != self.halves {
            self.halves = halves;
            self.swept = 0;
        }
    }

    /// Whether a line has the form that is not wanted.
    fn is_other(&self, entry: u32) -> bool {
        match Form::of(entry) {
            Form::Byte => self.halves && entry != 0,
            Form::Half => !self.halves && entry & LARGE == 0,
            Form::Word => false,
        }
    }
}

impl Writer4 {
    /// Nothing yet, for tables with room for so many words of lines and so many tables of 256.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(words: usize, more: usize, ahead: Ahead) -> io::Result<Self> {
        Ok(Self {
            short: Box::new([None; 2 << SHORT]),
            middle: HugeSlice::zeroed(1 << AREA, Backing::Small, None)?,
            own: HugeSlice::zeroed(1 << INDEX, Backing::Merged, None)?,
            groups: Groups::new(ahead.clone()),
            more: Vec::new(),
            more_ids: Slots::new("group of IPv4 prefixes longer than 24 bits", 0, more),
            store: Store::new(words, ahead)?,
            naming: Naming::Byte,
            unnamed: 0,
            len: 0,
            choice: Choice::default(),
            open: Transaction::default(),
            gone: Vec::new(),
        })
    }

    /// The group that a prefix itself points to.
    pub(crate) fn get(&self, p: Ip4Prefix) -> Option<GroupId> {
        let own = &self.own[block_of(p)];
        match p.len() {
            0..=SHORT => self.short[short_number(p)],
            AREA..BLOCK => {
                let (area, number) = middle_number(p);
                Some(GroupId(self.middle[area][number])).filter(|g| !g.is_none())
            }
            BLOCK..=SLOT => self.groups.get(own, number(p.addr(), p.len(), BLOCK)),
            _ => {
                let more = &self.more[self.more_of(block_of(p) as u32, slot(p))? as usize];
                more.nodes.get(number(p.addr(), p.len(), SLOT))
            }
        }
    }

    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Sets or (with `None`) removes a prefix, as of the next [`Self::commit`], and returns what it had.
    ///
    /// # Errors
    /// No table for prefixes longer than /24 is left; to be answered by [`Self::abort`].
    pub(crate) fn stage(
        &mut self,
        p: Ip4Prefix,
        to: Option<GroupId>,
    ) -> Result<Option<GroupId>, FibError> {
        let block = block_of(p) as u32;
        if p.len() > SLOT && to.is_some() {
            self.more_for(block, slot(p))?;
        }
        let old = self.edit(p, to);
        match p.len() {
            _ if old == to => {}
            0..=SHORT => self.open.short = true,
            AREA..BLOCK => self.mark_middle(p),
            _ => self.mark(block),
        }
        self.open.log.push((p, old));
        Ok(old)
    }

    /// Changes the writer's own prefixes.
    fn edit(&mut self, p: Ip4Prefix, to: Option<GroupId>) -> Option<GroupId> {
        let old = match p.len() {
            0..=SHORT => std::mem::replace(&mut self.short[short_number(p)], to),
            AREA..BLOCK => {
                let (area, number) = middle_number(p);
                let to = to.unwrap_or(GroupId::NONE);
                let old = std::mem::replace(&mut self.middle[area][number], to.0);
                if old != to.0 {
                    self.rebase(p);
                }
                Some(GroupId(old)).filter(|g| !g.is_none())
            }
            BLOCK..=SLOT => {
                let own = &mut self.own[block_of(p)];
                self.store.prefetch(own.entry); // its user goes, later on
                let number = number(p.addr(), p.len(), BLOCK);
                self.groups.set(own, number, to)
            }
            _ => self.more_of(block_of(p) as u32, slot(p)).and_then(|id| {
                let more = &mut self.more[id as usize];
                more.dirty = true;
                more.nodes.set(number(p.addr(), p.len(), SLOT), to)
            }),
        };
        self.len += usize::from(to.is_some());
        self.len -= usize::from(old.is_some());
        old
    }

    /// Notes that a block's line is to be painted.
    fn mark(&mut self, block: u32) {
        if self.open.dirty.last() != Some(&block) {
            self.open.dirty.push(block);
        }
    }

    /// Notes the blocks that a prefix of 8 to 17 bits is the base of.
    fn mark_middle(&mut self, p: Ip4Prefix) {
        let area = &self.middle[middle_number(p).0];
        self.open.dirty.extend(under(area, p));
    }

    /// Gives the blocks under a prefix of 8 to 17 bits the base that they have now.
    fn rebase(&mut self, p: Ip4Prefix) {
        let (area, mut number) = middle_number(p);
        let area = &self.middle[area];
        while number > 0 && area[number] == 0 {
            number /= 2;
        }
        let base = area[number]; // nothing has number 0
        for block in under(area, p) {
            self.own[block as usize].base = base;
        }
    }

    /// The table of a /24 for longer prefixes.
    fn more_of(&self, block: u32, slot: u8) -> Option<u32> {
        self.tables(block)
            .find(|&id| self.more[id as usize].slot == slot)
    }

    /// All those of a block.
    fn tables(&self, block: u32) -> impl Iterator<Item = u32> {
        let id = |next: u32| next.checked_sub(1);
        let first = id(self.own[block as usize].longer);
        std::iter::successors(first, move |&at| id(self.more[at as usize].next))
    }

    /// Sees to it that a /24 has a table for longer prefixes.
    fn more_for(&mut self, block: u32, slot: u8) -> Result<(), FibError> {
        if self.more_of(block, slot).is_some() {
            return Ok(());
        }
        let id = self.more_ids.take()?;
        if self.more.len() <= id as usize {
            self.more.resize_with(id as usize + 1, More::default);
        }
        let longer = &mut self.own[block as usize].longer;
        self.more[id as usize] = More {
            dirty: true,
            slot,
            next: std::mem::replace(longer, id + 1),
            ..More::default()
        };
        self.open.new_more.push((block, slot));
        Ok(())
    }

    /// Paints what was staged where no reader looks. `last` says that the reserve may be taken.
    ///
    /// # Errors
    /// No room for the line of a block (its number comes with the error); to be answered by [`Self::abort`].
    pub(crate) fn prepare(&mut self, t: &[Arc<Tables>], last: bool) -> Result<(), (u32, FibError)> {
        let mut dirty = std::mem::take(&mut self.open.dirty);
        if !dirty.is_sorted() {
            dirty.sort_unstable();
        }
        dirty.dedup();
        self.open.choice = self.choice;
        for &block in dirty.iter().take(AHEAD) {
            prefetch(&self.own[block as usize]);
        }
        let mut ahead = dirty.iter().skip(AHEAD);
        let done = dirty.chunks(AHEAD).try_for_each(|blocks| {
            for &block in ahead.by_ref().take(AHEAD) {
                prefetch(&self.own[block as usize]);
            }
            self.prepare_blocks(t, blocks, last)
        });
        self.open.dirty = dirty;
        done
    }

    /// Step by step for some blocks, so that they wait for memory together.
    fn prepare_blocks(
        &mut self,
        t: &[Arc<Tables>],
        blocks: &[u32],
        last: bool,
    ) -> Result<(), (u32, FibError)> {
        for own in blocks.iter().map(|&block| &self.own[block as usize]) {
            self.groups.prefetch(own);
            self.store.prefetch(own.entry);
        }
        let mut lines: ArrayVec<(u32, Encoded, u32), AHEAD> = ArrayVec::new();
        for &block in blocks {
            let line = self.encode(block);
            let hash = self.store.hash(&line);
            lines.push((block, line, hash));
        }
        for (block, line, hash) in &lines {
            let interned = self.store.intern(t, line, *hash, last);
            let entry = interned.map_err(|error| (*block, error))?;
            let old = self.own[*block as usize].entry;
            if entry == old {
                self.store.leave(entry); // one user counted twice
            } else {
                self.open.choice.count(old, entry);
                self.open.entries.push((*block, entry));
            }
        }
        Ok(())
    }

    /// The line of a block.
    fn encode(&mut self, block: u32) -> Encoded {
        let own = &self.own[block as usize];
        let mut leaves = [own.base; SLOTS];
        let mut edges = self.groups.paint(own, &mut leaves);
        let mut next = own.longer;
        while let Some(id) = next.checked_sub(1) {
            let more = &self.more[id as usize];
            next = more.next;
            let leaf = &mut leaves[usize::from(more.slot)];
            if more.nodes.is_empty() {
                self.open.old_more.push((block, more.slot));
                continue;
            }
            if more.dirty || more.base != *leaf {
                self.open.repaint.push((id, *leaf));
            }
            *leaf = MORE | id;
            edges |= 3 << more.slot;
        }
        Encoded::new(&leaves, edges, self.open.choice.least())
    }

    /// Makes what was prepared what readers find. An address that is covered before and after is covered throughout.
    pub(crate) fn commit(&mut self, t: &[Arc<Tables>]) {
        let mut open = std::mem::take(&mut self.open);
        if open.short {
            self.publish_short(t, true);
        }
        for (id, base) in open.repaint.drain(..) {
            self.repaint(t, id, base);
        }
        for (block, entry) in open.entries.drain(..) {
            let old = std::mem::replace(&mut self.own[block as usize].entry, entry);
            self.name(t, block, entry);
            let lacks = |entry| usize::from(is_unnamed(self.choice.naming(), entry));
            self.unnamed = self.unnamed + lacks(entry) - lacks(old);
            let line = self.store.leave(old);
            self.gone.extend(line.map(Gone::Line));
        }
        for (block, slot) in open.old_more.drain(..) {
            let id = self.drop_more(block, slot);
            self.gone.extend(id.map(Gone::More));
        }
        if open.short {
            self.publish_short(t, false);
        }
        if self.choice.halves != open.choice.halves {
            let naming = open.choice.naming();
            let unnamed = |own: &&Own| is_unnamed(naming, own.entry);
            self.unnamed = self.own.iter().filter(unnamed).count();
        }
        self.choice = open.choice;
        self.choose_naming(t);
        self.close(open);
    }

    /// Makes the line of a block the one that readers find.
    fn name(&self, t: &[Arc<Tables>], block: u32, entry: u32) {
        let name = self.naming.name(entry);
        let at = block as usize;
        for t in t.iter().map(|t| &t.v4) {
            // Release, all: pair with the Acquire loads in `Table4::entry`, and with the gathers of `simd`.
            if name == LONG {
                t.entries[at].store(entry, Ordering::Release);
            }
            t.short_names[0][at].store(name, Ordering::Release);
        }
    }

    /// Changes the rule of naming when too many lines have no name, or when enough would have one.
    fn choose_naming(&mut self, t: &[Arc<Tables>]) {
        let (wanted, lines) = (self.choice.naming(), self.choice.lines);
        let (few, many) = (self.unnamed * 16 <= lines, self.unnamed * 4 > lines);
        match self.naming {
            now if now == wanted && !many => {}
            _ if few => self.rename(t, wanted),
            Naming::Long => {}
            _ => self.rename(t, Naming::Long),
        }
    }

    /// Changes the rule of naming. Takes some hundred microseconds, and happens when a table is first filled, if ever.
    #[cold]
    fn rename(&mut self, t: &[Arc<Tables>], to: Naming) {
        for t in t.iter().map(|t| &t.v4) {
            for (at, own) in t.entries.iter().zip(self.own.iter()) {
                // Relaxed load: only the writer stores. What is 0 stays on pages that cost nothing.
                if at.load(Ordering::Relaxed) != own.entry {
                    at.store(own.entry, Ordering::Release); // pairs with the Acquire load in `Table4::entry`
                }
            }
            t.set_naming(Naming::Long);
            if to == Naming::Long {
                continue;
            }
            for (at, own) in t.short_names[0].iter().zip(self.own.iter()) {
                at.store(to.name(own.entry), Ordering::Release); // likewise
            }
            t.set_naming(to);
            // Whoever still reads entries that have names now looks again afterwards.
            for (i, own) in self.own.chunks(PAGE).enumerate() {
                if !own.iter().any(|own| is_unnamed(to, own.entry)) {
                    t.entries.discard(i * PAGE..(i + 1) * PAGE);
                }
            }
        }
        self.naming = to;
    }

    /// Forgets what was staged.
    pub(crate) fn abort(&mut self) {
        let mut open = std::mem::take(&mut self.open);
        for (p, old) in open.log.drain(..).rev() {
            self.edit(p, old);
        }
        for (_, entry) in open.entries.drain(..) {
            // No reader ever found it, if it was new.
            if let Some(line) = self.store.leave(entry) {
                self.store.give(line);
            }
        }
        for (block, slot) in open.new_more.drain(..) {
            if let Some(id) = self.drop_more(block, slot) {
                self.more_ids.give(id);
            }
        }
        self.close(open);
    }

    /// What each of the staged prefixes had before, in order.
    pub(crate) fn staged(&self) -> &[(Ip4Prefix, Option<GroupId>)] {
        &self.open.log
    }

    /// Keeps the lists' room for the next transaction.
    fn close(&mut self, mut open: Transaction) {
        if open.log.capacity() > 1 << 16 {
            open = Transaction::default();
        }
        open.log.clear();
        open.dirty.clear();
        open.repaint.clear();
        open.new_more.clear();
        open.old_more.clear();
        open.short = false;
        self.open = open;
    }

    /// Takes the table for longer prefixes from a /24 and returns its number.
    fn drop_more(&mut self, block: u32, slot: u8) -> Option<u32> {
        let id = self.more_of(block, slot)?;
        let next = std::mem::take(&mut self.more[id as usize]).next;
        if self.own[block as usize].longer == id + 1 {
            self.own[block as usize].longer = next;
            return Some(id);
        }
        let before = |&at: &u32| self.more[at as usize].next == id + 1;
        let before = self.tables(block).find(before);
        if let Some(before) = before {
            self.more[before as usize].next = next;
        }
        Some(id)
    }

    /// Paints a table for longer prefixes, each address that changes by one store.
    fn repaint(&mut self, t: &[Arc<Tables>], id: u32, base: u32) {
        let more = &mut self.more[id as usize];
        let mut groups = [base; 256];
        more.nodes.paint(&mut groups);
        (more.base, more.dirty) = (base, false);
        for t in t {
            for (at, &group) in t.v4.more[id as usize].iter().zip(&groups) {
                // Relaxed load: only the writer stores. Release: pairs with the Acquire load in `Table4::longer`.
                if at.load(Ordering::Relaxed) != group {
                    at.store(group, Ordering::Release);
                }
            }
        }
    }

    /// Gives the short table's slots to whom they belong now: those that have somebody, or those that have nobody.
    fn publish_short(&self, t: &[Arc<Tables>], somebody: bool) {
        let now = |slot: usize| {
            let numbers = std::iter::successors(Some((1 << SHORT) | slot), |n| Some(n >> 1));
            let mut owners = numbers.take_while(|&n| n > 0).map(|n| self.short[n]);
            owners.find_map(|owner| owner).unwrap_or(GroupId::NONE)
        };
        for t in t {
            t.v4.short.begin_change();
            for slot in 0..1 << SHORT {
                let group = now(slot);
                if group.is_none() != somebody {
                    t.v4.short.store(slot, group);
                }
            }
        }
    }

    /// Bytes of something, in a replica.
    pub(crate) fn weight(&self, gone: Gone) -> usize {
        match gone {
            Gone::Line(first) => self.store.weight(first),
            Gone::More(_) => 1024,
        }
    }

    /// Takes back what no reader can be at any more.
    pub(crate) fn release(&mut self, gone: Gone) {
        match gone {
            Gone::Line(first) => self.store.give(first),
            Gone::More(id) => self.more_ids.give(id),
        }
    }

    /// Asks for what [`Self::release`] will look at, for those that come soon and a little later.
    pub(crate) fn prefetch_release(&self, soon: Option<Gone>, later: Option<Gone>) {
        if let Some(Gone::Line(first)) = soon {
            self.store.prefetch_give(first);
        }
        if let Some(Gone::Line(first)) = later {
            self.store.prefetch(first);
        }
    }

    /// Writes some lines anew that have the form which is not wanted any more. Does nothing most of the time.
    pub(crate) fn sweep(&mut self, t: &[Arc<Tables>]) {
        /// Entries looked at, and lines written, in one call: some 20 us of work.
        const LOOK: u32 = 4096;
        const WRITE: usize = 32;
        if !self.open.log.is_empty() {
            return; // in the middle of a transaction
        }
        let end = (self.choice.swept + LOOK).min(1 << INDEX);
        while self.choice.swept < end && self.open.dirty.len() < WRITE {
            let block = self.choice.swept;
            if self.choice.is_other(self.own[block as usize].entry) {
                self.mark(block);
            }
            self.choice.swept += 1;
        }
        if !self.open.dirty.is_empty() {
            // Without room the lines stay as they are: slower, not wrong.
            match self.prepare(t, false) {
                Ok(()) => self.commit(t),
                Err(_) => self.abort(),
            }
        }
    }

    /// Words of lines that are in use, and blocks for prefixes longer than 24 bits.
    pub(crate) fn in_use(&self) -> (usize, usize) {
        (self.store.words(), self.more_ids.in_use())
    }

    /// Bytes that lookups use in a replica, and that only the writer uses.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let (lines, store) = self.store.bytes();
        let tables = self.more_ids.in_use() * 1024;
        let used = |page: &&[Own]| page.iter().any(|own| is_unnamed(self.naming, own.entry));
        let entries = self.own.chunks(PAGE).filter(used).count() * PAGE * 4;
        let lookup = (1 << INDEX) * 2 + entries + lines + tables + (1 << SHORT) * 4;
        let more: usize = self
            .more
            .iter()
            .map(|m| size_of::<More>() + m.nodes.bytes())
            .sum();
        let fixed = size_of_val(&*self.short)
            + (1 << AREA) * size_of_val(&self.middle[0])
            + (1 << INDEX) * size_of::<Own>();
        (lookup, fixed + self.groups.bytes() + more + store)
    }
}

/// Whether a line has no short name under a rule.
fn is_unnamed(naming: Naming, entry: u32) -> bool {
    naming.name(entry) == LONG
}

/// Whether a prefix and a block have addresses in common.
pub(crate) fn touches(p: Ip4Prefix, block: u32) -> bool {
    let first = block << (32 - INDEX);
    p.contains(first) || first >> (32 - INDEX) == block_of(p) as u32
}

/// The first /18 under a prefix.
fn block_of(p: Ip4Prefix) -> usize {
    (p.addr() >> (32 - INDEX)) as usize
}

/// The place of a /24 in its block.
fn slot(p: Ip4Prefix) -> u8 {
    super::slot(p.addr()) as u8
}

fn short_number(p: Ip4Prefix) -> usize {
    number(p.addr(), p.len(), 0) as usize
}

/// The /8 of a prefix of 8 to 17 bits, and its number there.
fn middle_number(p: Ip4Prefix) -> (usize, usize) {
    let number = number(p.addr(), p.len(), AREA) as usize;
    ((p.addr() >> (32 - AREA)) as usize, number)
}

/// The numbers, in its /8, of the prefixes of 17 to 8 bits that cover a block.
fn above(block: u32) -> impl Iterator<Item = usize> {
    let leaf = (BLOCKS | (block % BLOCKS)) as usize;
    (1..=BLOCK - AREA).map(move |up| leaf >> up)
}

/// The blocks under a prefix of 8 to 17 bits, but for those that a longer one of these in its /8 covers.
fn under(area: &[u32; BLOCKS as usize], p: Ip4Prefix) -> impl Iterator<Item = u32> {
    let (_, number) = middle_number(p);
    let first = block_of(p) as u32;
    (first..first + (1 << (BLOCK - p.len()))).filter(move |&block| {
        let mut longer = above(block).take_while(|&n| n != number);
        longer.all(|n| area[n] == 0)
    })
}
