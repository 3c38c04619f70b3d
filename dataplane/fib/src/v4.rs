//! IPv4: DIR-24-8.
//!
//! To read: Gupta, Lin, McKeown, "Routing lookups in hardware at memory access speeds", 1998. A table of 2^24 entries
//! is indexed by the first 24 bits; where there are longer prefixes, its entry names a group of 256 more. Entries are
//! changed in place, one store each, so an address goes from one right answer to the next. Departure: prefixes of at
//! most 8 bits are kept aside (see [`crate::short`]), so that a default route costs neither time nor memory.

use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use hugepages::HugeSlice;
use hugepages::slice::Backing;
use net::{GroupId, Ip4Prefix};

use crate::FibError;
use crate::prefetch::prefetch;
use crate::rib::{Key4, Owner, Rib};
use crate::short::{Short, ShortWriter};
use crate::slots::Slots;

/// Entries of the first table.
const FIRST: usize = 1 << 24;
/// Set in an entry of the first table that names 256 more.
const MORE: u32 = 1 << 31;
/// Lengths up to this are in the short table.
const SHORT: u8 = 8;
/// Addresses looked up together: as many misses as a core keeps in flight, and a little more.
const LANES: usize = 32;

/// One replica of the IPv4 table.
pub(crate) struct Dir24_8 {
    tbl24: HugeSlice<[AtomicU32; FIRST]>,
    tbl8: HugeSlice<[AtomicU32; 256]>,
    short: Short,
}

impl Dir24_8 {
    /// An empty table with room for `tbl8` groups of longer prefixes. Zero pages: costs no memory until written.
    pub(crate) fn new(tbl8: usize, node: Option<u32>) -> io::Result<Self> {
        let tbl24 = HugeSlice::zeroed(1, Backing::Small, node)?;
        let tbl8 = HugeSlice::zeroed(tbl8, Backing::Small, node)?;
        Ok(Self {
            tbl24,
            tbl8,
            short: Short::new(SHORT.into()),
        })
    }

    /// The group of the longest prefix that covers `dst`.
    #[inline]
    pub(crate) fn lookup(&self, dst: u32) -> GroupId {
        match self.entry(dst) {
            0 => self.fall_back(dst),
            group => GroupId(group),
        }
    }

    /// [`Self::lookup`] of each address.
    pub(crate) fn lookup_burst(&self, dst: &[u32], out: &mut [GroupId]) {
        let tbl24 = &self.tbl24[0];
        for (dst, out) in dst.chunks(LANES).zip(out.chunks_mut(LANES)) {
            for &ip in dst {
                prefetch(&tbl24[(ip >> 8) as usize]);
            }
            for (out, &ip) in out.iter_mut().zip(dst) {
                // Acquire: pairs with the Release store in `Writer4::set_first`.
                out.0 = tbl24[(ip >> 8) as usize].load(Ordering::Acquire);
                if out.0 & MORE != 0 {
                    prefetch(self.more(out.0, ip));
                }
            }
            for (out, &ip) in out.iter_mut().zip(dst) {
                if out.0 & MORE != 0 {
                    // Acquire: pairs with the Release store in `Writer4::set_more`.
                    out.0 = self.more(out.0, ip).load(Ordering::Acquire);
                }
                if out.0 == 0 {
                    *out = self.fall_back(ip);
                }
            }
        }
    }

    #[inline]
    fn entry(&self, dst: u32) -> u32 {
        // Acquire: pairs with the Release store in `Writer4::set_first`; the group named here, of either kind, was
        // filled before.
        let entry = self.tbl24[0][(dst >> 8) as usize].load(Ordering::Acquire);
        if entry & MORE == 0 {
            return entry;
        }
        // Acquire: pairs with the Release store in `Writer4::set_more`, for the next-hop group's sake.
        self.more(entry, dst).load(Ordering::Acquire)
    }

    #[inline]
    fn more(&self, entry: u32, dst: u32) -> &AtomicU32 {
        &self.tbl8[(entry & !MORE) as usize][(dst & 0xff) as usize]
    }

    #[inline(never)]
    fn fall_back(&self, dst: u32) -> GroupId {
        self.short.resolve((dst >> 24) as usize, || self.entry(dst))
    }
}

/// The writer's side of all replicas: which length owns each entry, and which groups of 256 are taken.
pub(crate) struct Writer4 {
    short: ShortWriter,
    /// Of entries that name no 256 more.
    depth24: HugeSlice<u8>,
    depth8: HugeSlice<[u8; 256]>,
    /// Prefixes longer than 24 bits under each group of 256.
    longer: Vec<u16>,
    groups: Slots,
}

impl Writer4 {
    pub(crate) fn new(tbl8: usize) -> io::Result<Self> {
        Ok(Self {
            short: ShortWriter::new(SHORT.into()),
            depth24: HugeSlice::zeroed(FIRST, Backing::Small, None)?,
            depth8: HugeSlice::zeroed(tbl8, Backing::Small, None)?,
            longer: Vec::new(),
            groups: Slots::new("group of IPv4 prefixes longer than 24 bits", 0, tbl8),
        })
    }

    /// Puts a prefix into every replica, or another group under one that is there (`new` is false).
    pub(crate) fn set(
        &mut self,
        t: Replicas4<'_>,
        p: Ip4Prefix,
        group: GroupId,
        new: bool,
    ) -> Result<(), FibError> {
        let to = Owner {
            group,
            len: p.len(),
        };
        match p.len() {
            0..=SHORT => self
                .short
                .write(t.short(), short_slots(p), to, |depth| depth <= p.len()),
            9..=24 => self.write(t, first_slots(p), to, |depth| depth <= p.len()),
            _ => self.set_longer(t, p, to, new)?,
        }
        Ok(())
    }

    /// Takes a prefix that is there out of every replica; `rib` no longer has it. Returns the group of 256 that went
    /// out of use, if any, to be given back by [`Self::release`] once no reader can be in it.
    pub(crate) fn del(&mut self, t: Replicas4<'_>, p: Ip4Prefix, rib: &Rib<Key4>) -> Option<u32> {
        let from = if p.len() <= SHORT { 0 } else { SHORT + 1 };
        let to = rib.cover(p.addr(), from..p.len());
        let takes = |depth| depth == p.len();
        match p.len() {
            0..=SHORT => self.short.write(t.short(), short_slots(p), to, takes),
            9..=24 => self.write(t, first_slots(p), to, takes),
            _ => return self.del_longer(t, p, to, rib),
        }
        None
    }

    /// Takes back a group of 256 that no reader can be in any more.
    pub(crate) fn release(&mut self, group: u32) {
        self.groups.give(group);
    }

    /// Bytes that lookups use, and that only the writer uses.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (
            FIRST * 4 + self.groups.in_use() * 1024,
            FIRST + self.groups.in_use() * 256,
        )
    }

    fn set_longer(
        &mut self,
        t: Replicas4<'_>,
        p: Ip4Prefix,
        to: Owner,
        new: bool,
    ) -> Result<(), FibError> {
        let first = (p.addr() >> 8) as usize;
        let entry = t.first(first);
        let takes = |depth| depth <= p.len();
        if entry & MORE != 0 {
            let group = (entry & !MORE) as usize;
            self.longer[group] += u16::from(new);
            self.write_more(t, group, more_slots(p), to, takes);
            return Ok(());
        }
        // Filled before it is named, so readers find it whole.
        let group = self.groups.take()?;
        let at = group as usize;
        if self.longer.len() <= at {
            self.longer.resize(at + 1, 0);
        }
        self.longer[at] = 1;
        let covering = Owner {
            group: GroupId(entry),
            len: self.depth24[first],
        };
        self.write_more(t, at, 0..256, covering, |_| true);
        self.write_more(t, at, more_slots(p), to, takes);
        t.set_first(first, MORE | group);
        Ok(())
    }

    fn del_longer(
        &mut self,
        t: Replicas4<'_>,
        p: Ip4Prefix,
        to: Owner,
        rib: &Rib<Key4>,
    ) -> Option<u32> {
        let first = (p.addr() >> 8) as usize;
        let group = t.first(first) & !MORE;
        let at = group as usize;
        self.write_more(t, at, more_slots(p), to, |depth| depth == p.len());
        self.longer[at] -= 1;
        if self.longer[at] > 0 {
            return None;
        }
        let covering = rib.cover(p.addr(), SHORT + 1..25);
        self.depth24[first] = covering.len;
        t.set_first(first, covering.group.0);
        Some(group)
    }

    /// Gives entries of the first table, and those of the groups they name, to `to`, as far as `takes` says.
    fn write(
        &mut self,
        t: Replicas4<'_>,
        slots: Range<usize>,
        to: Owner,
        takes: impl Fn(u8) -> bool + Copy,
    ) {
        for slot in slots {
            let entry = t.first(slot);
            if entry & MORE != 0 {
                self.write_more(t, (entry & !MORE) as usize, 0..256, to, takes);
            } else if takes(self.depth24[slot]) {
                self.depth24[slot] = to.len;
                t.set_first(slot, to.group.0);
            }
        }
    }

    fn write_more(
        &mut self,
        t: Replicas4<'_>,
        group: usize,
        slots: Range<usize>,
        to: Owner,
        takes: impl Fn(u8) -> bool,
    ) {
        let depths = &mut self.depth8[group];
        for slot in slots {
            if takes(depths[slot]) {
                depths[slot] = to.len;
                t.set_more(group, slot, to.group.0);
            }
        }
    }
}

/// Entries of the short table under a prefix: the first, and the length.
fn short_slots(p: Ip4Prefix) -> (usize, u8) {
    ((p.addr() >> 24) as usize, p.len())
}

/// Entries of the first table under a prefix of 9 to 24 bits.
fn first_slots(p: Ip4Prefix) -> Range<usize> {
    (p.addr() >> 8) as usize..(p.last() >> 8) as usize + 1
}

/// Entries of a group of 256 under a prefix of more than 24 bits.
fn more_slots(p: Ip4Prefix) -> Range<usize> {
    (p.addr() & 0xff) as usize..(p.last() & 0xff) as usize + 1
}

/// All replicas: the same stores go to each; what the writer reads, it reads from the first.
#[derive(Clone, Copy)]
pub(crate) struct Replicas4<'t>(pub(crate) &'t [std::sync::Arc<crate::Tables>]);

impl<'t> Replicas4<'t> {
    fn short(self) -> impl Iterator<Item = &'t Short> + Clone {
        self.0.iter().map(|t| &t.v4.short)
    }

    fn first(self, slot: usize) -> u32 {
        self.0[0].v4.tbl24[0][slot].load(Ordering::Relaxed) // only the writer stores, and this is the writer
    }

    fn set_first(self, slot: usize, entry: u32) {
        // Release: pairs with the Acquire loads in `Dir24_8::{entry, lookup_burst}`.
        self.0
            .iter()
            .for_each(|t| t.v4.tbl24[0][slot].store(entry, Ordering::Release));
    }

    fn set_more(self, group: usize, slot: usize, entry: u32) {
        // Release: pairs with the Acquire loads in `Dir24_8::{entry, lookup_burst}`.
        self.0
            .iter()
            .for_each(|t| t.v4.tbl8[group][slot].store(entry, Ordering::Release));
    }
}
