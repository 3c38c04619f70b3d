//! The writer's side of the IPv6 trie: see [`crate::v6`] for what readers do with it.
//!
//! Kept true at all times: a node has prefixes of its own (whose length ends within its 6 bits), or at least two nodes
//! below it (one, where there was no room for the skip past it); its `miss` is who would own the entry that names it if
//! it were not there. Nodes and skips are filled before they are named, and given back only after a grace period.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::{GroupId, Ip6Prefix};

use crate::rib::{Key6, Owner, Rib};
use crate::short::{Short, ShortWriter};
use crate::slots::Slots;
use crate::v6::{
    FANOUT, ID, NODE, ROOT, SHORT, SKIP, STRIDE, Skip, Trie6, root_slot, skips_for, slot,
};
use crate::{FibError, Tables};

/// Levels below the root, at most.
const LEVELS: usize = (128 - ROOT).div_ceil(STRIDE) as usize;

/// The root or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Area {
    Root,
    Node(u32),
}

/// What only the writer needs of a node.
#[derive(Debug, Clone, Copy)]
struct Info {
    prefix: u128,
    /// Bits before it.
    offset: u32,
    miss: Owner,
    /// Prefixes that end within it.
    own: u8,
    /// Entries that name nodes.
    children: u8,
}

const NO_NODE: Info = Info {
    prefix: 0,
    offset: 0,
    miss: Owner::NOBODY,
    own: 0,
    children: 0,
};

/// What went out of use and may be taken back once no reader can be at it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gone {
    Node(u32),
    Skip(u32),
}

/// Which entries change hands.
#[derive(Debug, Clone, Copy)]
enum Takes {
    /// Those of this length and shorter ones: the prefix comes or gets another group.
    UpTo(u8),
    /// Those of this length: the prefix goes.
    Just(u8),
}

impl Takes {
    fn takes(self, depth: u8) -> bool {
        match self {
            Self::UpTo(len) => depth <= len,
            Self::Just(len) => depth == len,
        }
    }
}

/// The writer's side of all replicas.
pub(crate) struct Writer6 {
    short: ShortWriter,
    root_depth: HugeSlice<u8>,
    depth: HugeSlice<[u8; FANOUT]>,
    infos: Vec<Info>,
    nodes: Slots,
    skips: Slots,
    /// What the last changes left, for the caller to take out.
    pub(crate) gone: Vec<Gone>,
}

impl Writer6 {
    pub(crate) fn new(nodes: usize) -> io::Result<Self> {
        Ok(Self {
            short: ShortWriter::new(SHORT.into()),
            root_depth: HugeSlice::zeroed(1 << ROOT, Backing::Small, None)?,
            depth: HugeSlice::zeroed(nodes, Backing::Small, None)?,
            infos: Vec::new(),
            nodes: Slots::new("node of the IPv6 table", 0, nodes),
            skips: Slots::new("skip of the IPv6 table", 0, skips_for(nodes)),
            gone: Vec::new(),
        })
    }

    /// Puts a prefix into every replica, or another group under one that is there (`new` is false).
    pub(crate) fn set(
        &mut self,
        t: Replicas6<'_>,
        p: Ip6Prefix,
        group: GroupId,
        new: bool,
    ) -> Result<(), FibError> {
        let to = Owner {
            group,
            len: p.len(),
        };
        let takes = Takes::UpTo(p.len());
        if p.len() <= SHORT {
            self.short
                .write(t.short(), short_slots(p), to, |depth| takes.takes(depth));
            return Ok(());
        }
        let target = level_of_len(p.len());
        let mut at = Area::Root;
        while self.offset(at) != target {
            let slot = self.slot(at, p.addr());
            let entry = t.load(at, slot);
            if entry & NODE == 0 {
                return self.grow(t, (at, slot), p, to);
            }
            let id = t.node(entry);
            let info = self.infos[id as usize];
            let same = (p.addr() ^ info.prefix).leading_zeros();
            if info.offset > target || same < info.offset {
                return self.branch(t, (at, slot), (id, same), p, to);
            }
            at = Area::Node(id);
        }
        if let (Area::Node(id), true) = (at, new) {
            self.infos[id as usize].own += 1;
        }
        self.fill(t, at, self.slots(at, p), to, takes);
        Ok(())
    }

    /// Takes a prefix that is there out of every replica; `rib` no longer has it.
    pub(crate) fn del(&mut self, t: Replicas6<'_>, p: Ip6Prefix, rib: &Rib<Key6>) {
        let takes = Takes::Just(p.len());
        if p.len() <= SHORT {
            let to = rib.cover(p.addr().into(), 0..p.len());
            self.short
                .write(t.short(), short_slots(p), to, |depth| takes.takes(depth));
            return;
        }
        let to = rib.cover(p.addr().into(), SHORT + 1..p.len());
        let target = level_of_len(p.len());
        let mut way: Vec<(Area, usize)> = Vec::with_capacity(LEVELS);
        let mut at = Area::Root;
        while self.offset(at) != target {
            let slot = self.slot(at, p.addr());
            let entry = t.load(at, slot);
            debug_assert!(entry & NODE != 0, "{p} is not in the trie");
            way.push((at, slot));
            at = Area::Node(t.node(entry));
        }
        self.fill(t, at, self.slots(at, p), to, takes);
        if let Area::Node(id) = at {
            self.infos[id as usize].own -= 1;
            self.prune(t, id, way);
        }
    }

    /// Takes back what no reader can be at any more.
    pub(crate) fn release(&mut self, gone: Gone) {
        match gone {
            Gone::Node(id) => self.nodes.give(id),
            Gone::Skip(id) => self.skips.give(id),
        }
    }

    /// Bytes that lookups use, and that only the writer uses.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let nodes = self.nodes.in_use();
        let root = 1usize << ROOT;
        let lookup = root * 4 + nodes * FANOUT * 4 + self.skips.in_use() * size_of::<Skip>();
        (lookup, root + nodes * (FANOUT + size_of::<Info>()))
    }

    /// Puts a prefix under an entry that names no node: a node of its own.
    fn grow(
        &mut self,
        t: Replicas6<'_>,
        (at, slot): (Area, usize),
        p: Ip6Prefix,
        to: Owner,
    ) -> Result<(), FibError> {
        let target = level_of_len(p.len());
        self.skips.check(usize::from(target != self.below(at)))?;
        let miss = Owner {
            group: GroupId(t.load(at, slot)),
            len: self.depth(at, slot),
        };
        let id = self.new_node(t, p.addr(), target, miss)?;
        self.infos[id as usize].own = 1;
        let own = Area::Node(id);
        self.fill(t, own, self.slots(own, p), to, Takes::UpTo(p.len()));
        if let Area::Node(parent) = at {
            self.infos[parent as usize].children += 1;
        }
        self.name(t, at, slot, id)
    }

    /// Puts a prefix where node `id` has other bits than it from bit `same` on, or lies too deep: a new node takes the
    /// place of `id` and names it, and is the prefix's own or names the prefix's own.
    fn branch(
        &mut self,
        t: Replicas6<'_>,
        (at, at_slot): (Area, usize),
        (id, same): (u32, u32),
        p: Ip6Prefix,
        to: Owner,
    ) -> Result<(), FibError> {
        let Info {
            prefix,
            offset: id_offset,
            miss,
            ..
        } = self.infos[id as usize];
        let target = level_of_len(p.len());
        let offset = if same < id_offset {
            level_of_bit(same).min(target)
        } else {
            target
        };
        // All that can fail comes first.
        let forks = offset != target;
        let next = offset + STRIDE;
        let skips = [
            offset != self.below(at),
            id_offset != next,
            forks && target != next,
        ];
        self.nodes.check(1 + usize::from(forks))?;
        self.skips
            .check(skips.iter().filter(|&&skip| skip).count())?;

        let fork = self.new_node(t, p.addr(), offset, miss)?;
        self.name(t, Area::Node(fork), slot(prefix, offset), id)?;
        self.infos[fork as usize].children = 1;
        let own = if forks {
            self.new_node(t, p.addr(), target, miss)?
        } else {
            fork
        };
        self.infos[own as usize].own = 1;
        let area = Area::Node(own);
        self.fill(t, area, self.slots(area, p), to, Takes::UpTo(p.len()));
        if forks {
            self.name(t, Area::Node(fork), slot(p.addr(), offset), own)?;
            self.infos[fork as usize].children = 2;
        }
        self.name(t, at, at_slot, fork)
    }

    /// Takes out node `id`, and the one above it, where they have become superfluous. `way` leads to `id`.
    fn prune(&mut self, t: Replicas6<'_>, mut id: u32, mut way: Vec<(Area, usize)>) {
        while let Some((above, above_slot)) = way.pop() {
            let info = self.infos[id as usize];
            match (info.own, info.children) {
                (0, 0) => {
                    self.leave(t.load(above, above_slot));
                    self.set_depth(above, above_slot, info.miss.len);
                    t.store(above, above_slot, info.miss.group.0);
                    self.gone.push(Gone::Node(id));
                }
                (0, 1) => {
                    let only = (0..FANOUT)
                        .map(|s| t.load(Area::Node(id), s))
                        .find(|e| e & NODE != 0);
                    // Without room for a skip the node stays: superfluous, not wrong.
                    if let Some(entry) = only
                        && self.name(t, above, above_slot, t.node(entry)).is_ok()
                    {
                        self.leave(entry);
                        self.gone.push(Gone::Node(id));
                    }
                    return;
                }
                _ => return,
            }
            let Area::Node(parent) = above else { return };
            self.infos[parent as usize].children -= 1;
            id = parent;
        }
    }

    /// Gives entries, and those of the nodes they name, to `to`.
    fn fill(&mut self, t: Replicas6<'_>, area: Area, slots: Range<usize>, to: Owner, takes: Takes) {
        for slot in slots {
            let entry = t.load(area, slot);
            if entry & NODE != 0 {
                let id = t.node(entry);
                let miss = &mut self.infos[id as usize].miss;
                // If a longer prefix covers the whole node, it covers all that is in it.
                if takes.takes(miss.len) {
                    *miss = to;
                    t.set_miss(entry, to.group.0);
                    self.fill(t, Area::Node(id), 0..FANOUT, to, takes);
                }
            } else if takes.takes(self.depth(area, slot)) {
                self.set_depth(area, slot, to.len);
                t.store(area, slot, to.group.0);
            }
        }
    }

    /// A node that nobody names yet, all of whose entries are those of `miss`.
    fn new_node(
        &mut self,
        t: Replicas6<'_>,
        addr: u128,
        offset: u32,
        miss: Owner,
    ) -> Result<u32, FibError> {
        let id = self.nodes.take()?;
        let at = id as usize;
        if self.infos.len() <= at {
            self.infos.resize(at + 1, NO_NODE);
        }
        let prefix = addr & !(u128::MAX >> offset);
        self.infos[at] = Info {
            prefix,
            offset,
            miss,
            ..NO_NODE
        };
        self.depth[at] = [miss.len; FANOUT];
        t.new_node(id, miss.group.0);
        Ok(id)
    }

    /// Makes an entry name a node, by a skip where there are levels between, and leaves what it named before.
    fn name(&mut self, t: Replicas6<'_>, area: Area, slot: usize, id: u32) -> Result<(), FibError> {
        let Info {
            prefix,
            offset,
            miss,
            ..
        } = self.infos[id as usize];
        let entry = if offset == self.below(area) {
            NODE | id
        } else {
            let skip = self.skips.take()?;
            t.new_skip(skip, (prefix, offset, id), miss.group.0);
            NODE | SKIP | skip
        };
        self.leave(t.load(area, slot));
        t.store(area, slot, entry);
        Ok(())
    }

    /// Notes that an entry is no longer used; if it named a skip, neither is that.
    fn leave(&mut self, entry: u32) {
        if entry & NODE != 0 && entry & SKIP != 0 {
            self.gone.push(Gone::Skip(entry & ID));
        }
    }

    /// Bits before the nodes that an area's entries name without a skip.
    fn below(&self, area: Area) -> u32 {
        match area {
            Area::Root => ROOT,
            Area::Node(_) => self.offset(area) + STRIDE,
        }
    }

    /// Bits before an area.
    fn offset(&self, area: Area) -> u32 {
        match area {
            Area::Root => 0,
            Area::Node(id) => self.infos[id as usize].offset,
        }
    }

    fn slot(&self, area: Area, addr: u128) -> usize {
        match area {
            Area::Root => root_slot(addr),
            Area::Node(_) => slot(addr, self.offset(area)),
        }
    }

    /// The entries of an area that a prefix covers.
    fn slots(&self, area: Area, p: Ip6Prefix) -> Range<usize> {
        self.slot(area, p.addr())..self.slot(area, p.last()) + 1
    }

    fn depth(&self, area: Area, slot: usize) -> u8 {
        match area {
            Area::Root => self.root_depth[slot],
            Area::Node(id) => self.depth[id as usize][slot],
        }
    }

    fn set_depth(&mut self, area: Area, slot: usize, depth: u8) {
        match area {
            Area::Root => self.root_depth[slot] = depth,
            Area::Node(id) => self.depth[id as usize][slot] = depth,
        }
    }
}

/// Entries of the short table under a prefix: the first, and the length.
fn short_slots(p: Ip6Prefix) -> (usize, u8) {
    ((p.addr() >> (128 - u32::from(SHORT))) as usize, p.len())
}

/// Bits before the area in which a prefix of this length ends.
fn level_of_len(len: u8) -> u32 {
    if u32::from(len) <= ROOT {
        0
    } else {
        level_of_bit(u32::from(len) - 1)
    }
}

/// Bits before the node that takes this bit (counted from 0), which is beyond the root's.
fn level_of_bit(bit: u32) -> u32 {
    ROOT + (bit - ROOT) / STRIDE * STRIDE
}

/// All replicas: the same stores go to each; what the writer reads, it reads from the first.
#[derive(Clone, Copy)]
pub(crate) struct Replicas6<'t>(pub(crate) &'t [Arc<Tables>]);

impl<'t> Replicas6<'t> {
    fn all(self) -> impl Iterator<Item = &'t Trie6> + Clone {
        self.0.iter().map(|t| &t.v6)
    }

    fn short(self) -> impl Iterator<Item = &'t Short> + Clone {
        self.all().map(|t| &t.short)
    }

    fn load(self, area: Area, slot: usize) -> u32 {
        let t = &self.0[0].v6;
        let entry = match area {
            Area::Root => &t.root[0][slot],
            Area::Node(id) => &t.nodes[id as usize][slot],
        };
        entry.load(Ordering::Relaxed) // only the writer stores, and this is the writer
    }

    fn store(self, area: Area, slot: usize, entry: u32) {
        for t in self.all() {
            let at = match area {
                Area::Root => &t.root[0][slot],
                Area::Node(id) => &t.nodes[id as usize][slot],
            };
            at.store(entry, Ordering::Release); // pairs with the Acquire loads in `Trie6::{entry, step, lookup_chunk}`
        }
    }

    /// The node that an entry names, itself or by a skip.
    fn node(self, entry: u32) -> u32 {
        if entry & SKIP == 0 {
            entry & ID
        } else {
            self.0[0].v6.skips[(entry & ID) as usize].node()
        }
    }

    /// Changes the miss of the skip that an entry names, if it does.
    fn set_miss(self, entry: u32, miss: u32) {
        if entry & SKIP != 0 {
            self.all()
                .for_each(|t| t.skips[(entry & ID) as usize].set_miss(miss));
        }
    }

    fn new_skip(self, id: u32, (prefix, offset, node): (u128, u32, u32), miss: u32) {
        for t in self.all() {
            t.skips[id as usize].set(prefix, offset, node);
            t.skips[id as usize].set_miss(miss);
        }
    }

    fn new_node(self, id: u32, entry: u32) {
        for t in self.all() {
            for slot in &t.nodes[id as usize] {
                slot.store(entry, Ordering::Relaxed); // nobody sees it yet: the Release store that names it comes after
            }
        }
    }
}
