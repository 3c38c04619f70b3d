//! Attributes, each set once: what a route costs is a number of four octets.
//!
//! A set is found by its octets and next hop. Beside them stands what the decision asks for, read once when the set is
//! new. Counts are explicit: who keeps an [`AttrId`] has called [`Store::retain`] (or got it from [`Store::intern`]) and
//! calls [`Store::release`] once. The hash is keyed with a random seed, for neighbours choose the octets.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::arena::Arena;
use super::chunks::Chunks;
use super::hops::{Lookup, NextHopId, NextHops};
use crate::attrs::{AsPath, Community, RawAttrs, View, code};
use crate::types::{NextHop, VrfNo};

/// The number of a set of attributes; given again when its count is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttrId(pub u32);

impl AttrId {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// What the decision asks of a set of attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    refs: u32,
    hash: u32,
    place: u32,
    len: u32,
    hop: u32,
    local_pref: u32,
    med: u32,
    /// The neighbouring AS whose MEDs are compared; 0: none, the path is of this AS or confederation (RFC 5065 5.3).
    pub neighbor: u32,
    /// ORIGINATOR_ID; 0: none.
    pub originator: u32,
    /// AS_PATH's length as it is compared.
    pub hops: u16,
    /// CLUSTER_LIST's length.
    pub clusters: u8,
    bits: u8,
}

const _: () = assert!(size_of::<Header>() == 40);

const ORIGIN: u8 = 0b11;
const HAS_MED: u8 = 1 << 2;
const HAS_PREF: u8 = 1 << 3;
const LLGR_STALE: u8 = 1 << 4;
const NO_LLGR: u8 = 1 << 5;

impl Header {
    fn read(octets: &[u8]) -> Self {
        let mut h = Self {
            bits: 2,
            ..Self::default()
        };
        let number = |v: &[u8]| v.try_into().map(u32::from_be_bytes).ok();
        for a in RawAttrs(octets) {
            match a.code {
                code::ORIGIN => {
                    h.bits = h.bits & !ORIGIN | a.value.first().map_or(2, |o| (*o).min(2))
                }
                code::AS_PATH => {
                    let path = AsPath(a.value);
                    h.hops = path.hops().try_into().unwrap_or(u16::MAX);
                    h.neighbor = path.neighbor().map_or(0, |a| a.0);
                }
                code::MED => {
                    h.med = number(a.value).unwrap_or(0);
                    h.bits |= HAS_MED;
                }
                code::LOCAL_PREF => {
                    h.local_pref = number(a.value).unwrap_or(0);
                    h.bits |= HAS_PREF;
                }
                code::COMMUNITIES => {
                    let (all, _) = a.value.as_chunks();
                    for c in all.iter().map(|c| Community(u32::from_be_bytes(*c))) {
                        match c {
                            Community::LLGR_STALE => h.bits |= LLGR_STALE,
                            Community::NO_LLGR => h.bits |= NO_LLGR,
                            _ => {}
                        }
                    }
                }
                code::ORIGINATOR_ID => h.originator = number(a.value).unwrap_or(0),
                code::CLUSTER_LIST => {
                    h.clusters = (a.value.len() / 4).try_into().unwrap_or(u8::MAX)
                }
                _ => {}
            }
        }
        h
    }

    /// ORIGIN's number.
    #[must_use]
    pub const fn origin(&self) -> u8 {
        self.bits & ORIGIN
    }

    /// MULTI_EXIT_DISC.
    #[must_use]
    pub fn med(&self) -> Option<u32> {
        (self.bits & HAS_MED != 0).then_some(self.med)
    }

    /// LOCAL_PREF.
    #[must_use]
    pub fn local_pref(&self) -> Option<u32> {
        (self.bits & HAS_PREF != 0).then_some(self.local_pref)
    }

    /// It has the community LLGR_STALE, and is the last choice (RFC 9494 4.4).
    #[must_use]
    pub const fn llgr_stale(&self) -> bool {
        self.bits & LLGR_STALE != 0
    }

    /// It has the community NO_LLGR (RFC 9494 4.4).
    #[must_use]
    pub const fn no_llgr(&self) -> bool {
        self.bits & NO_LLGR != 0
    }

    /// Its next hop.
    #[must_use]
    pub const fn hop(&self) -> NextHopId {
        NextHopId(self.hop)
    }
}

/// Every set of attributes that somebody keeps, and every next hop.
#[derive(Debug)]
pub struct Store {
    headers: Chunks<Header, 1024>,
    /// Numbers that are free, the one freed last at the end.
    free: Vec<u32>,
    by_content: HashTable<u32>,
    hasher: DefaultHashBuilder,
    arena: Arena,
    /// The next hops.
    pub hops: NextHops,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

/// The index takes its place from the lower bits of a hash, and from the highest seven what tells its neighbours apart.
const fn spread(hash: u32) -> u64 {
    (hash as u64) << 32 | hash as u64
}

/// How the next hop of these attributes is looked up. Labels of ours, in a table of our own, are for no next hop.
#[inline]
fn lookup(v: View<'_>) -> Lookup {
    let table = VrfNo(v.table() as u16);
    Lookup {
        table,
        labeled: table == VrfNo::GLOBAL && v.labels().is_some(),
    }
}

impl Store {
    /// Nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self {
            headers: Chunks::new(),
            free: Vec::new(),
            by_content: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            arena: Arena::new(),
            hops: NextHops::default(),
        }
    }

    /// The number of a set. The caller holds one count of it.
    pub fn intern(&mut self, v: View<'_>) -> AttrId {
        let hop = self.hops.find(v.next_hop, lookup(v));
        let mut hasher = self.hasher.build_hasher();
        hasher.write(v.octets);
        hasher.write_u32(hop.0);
        let hash = hasher.finish();
        let short = (hash >> 32) as u32;
        let same = |id: &u32| {
            let h = self.headers.get(*id);
            h.hash == short
                && h.hop == hop.0
                && h.len as usize == v.octets.len()
                && self.arena.get(h.place, h.len as usize) == v.octets
        };
        if let Some(id) = self.by_content.find(spread(short), same) {
            let id = *id;
            self.headers.get_mut(id).refs += 1;
            return AttrId(id);
        }
        let header = Header {
            refs: 1,
            hash: short,
            place: self.arena.put(v.octets),
            len: v.octets.len() as u32,
            hop: hop.0,
            ..Header::read(v.octets)
        };
        self.hops.retain(hop);
        let id = match self.free.pop() {
            Some(id) => {
                *self.headers.get_mut(id) = header;
                id
            }
            None => self.headers.push(header),
        };
        let headers = &self.headers;
        self.by_content
            .insert_unique(spread(short), id, |id| spread(headers.get(*id).hash));
        AttrId(id)
    }

    /// One holder more.
    #[inline]
    pub fn retain(&mut self, id: AttrId) {
        self.headers.get_mut(id.0).refs += 1;
    }

    /// One holder less; the last takes the set away.
    #[inline]
    pub fn release(&mut self, id: AttrId) {
        let h = self.headers.get_mut(id.0);
        debug_assert!(h.refs > 0, "{id:?} was released once too often");
        h.refs -= 1;
        if h.refs == 0 {
            self.remove(id);
        }
    }

    #[cold]
    fn remove(&mut self, id: AttrId) {
        let h = *self.headers.get(id.0);
        if let Ok(found) = self
            .by_content
            .find_entry(spread(h.hash), |other| *other == id.0)
        {
            found.remove();
        }
        self.arena.free(h.place, h.len as usize);
        self.hops.release(h.hop());
        self.free.push(id.0);
        // After a flood of distinct sets the index gives its memory back.
        if self.by_content.capacity() > 4096
            && self.by_content.len() < self.by_content.capacity() / 8
        {
            let headers = &self.headers;
            self.by_content.shrink_to(self.by_content.len() * 2, |id| {
                spread(headers.get(*id).hash)
            });
        }
    }

    /// What the decision asks for.
    #[must_use]
    #[inline]
    pub fn header(&self, id: AttrId) -> &Header {
        self.headers.get(id.0)
    }

    /// The set itself.
    #[must_use]
    pub fn view(&self, id: AttrId) -> View<'_> {
        let h = self.headers.get(id.0);
        View {
            octets: self.arena.get(h.place, h.len as usize),
            next_hop: self.hops.get(h.hop()),
        }
    }

    /// Every set that somebody keeps; there may be many.
    pub fn views(&self) -> impl Iterator<Item = View<'_>> {
        let held = |id: &u32| self.headers.get(*id).refs > 0;
        (0..self.bound())
            .filter(held)
            .map(|id| self.view(AttrId(id)))
    }

    /// Is the next hop of a set a last resort?
    #[must_use]
    #[inline]
    pub fn is_last_resort(&self, id: AttrId) -> bool {
        self.hops.any_last_resort() && self.hops.is_last_resort(self.headers.get(id.0).hop())
    }

    /// The next hop of a set.
    #[must_use]
    #[inline]
    pub fn next_hop(&self, id: AttrId) -> Option<NextHop> {
        self.hops.get(self.headers.get(id.0).hop())
    }

    /// How many sets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_content.len()
    }

    /// True: there is none; every count was given back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_content.is_empty()
    }

    /// Numbers are less than this.
    pub(super) fn bound(&self) -> u32 {
        self.headers.len()
    }

    /// How many hold that set.
    #[must_use]
    pub fn count(&self, id: AttrId) -> u32 {
        self.headers.get(id.0).refs
    }

    /// Octets held: sets, index and next hops.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.arena.memory()
            + self.headers.memory()
            + self.by_content.allocation_size()
            + self.free.capacity() * 4
            + self.hops.memory()
    }
}
