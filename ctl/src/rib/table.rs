//! Prefixes in order, each with a slot that stays its own for as long as the prefix is there.
//!
//! IPv4: a sorted list for each value of the first 16 bits. A full table has some 18 prefixes in each, so that to find or to
//! insert one costs two cache lines and a short move (60,000 in one list: some microseconds). IPv6: an ordered map.
//! A VRF has an ordered map of both families: there are many of them, and they are small.
//! The slots of a family, and those of all VRFs, are in pieces of an array, so that whoever has a slot needs no search.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::ops::{Bound, Index, IndexMut};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use net::VrfId;

/// `address/len`, host bits cleared. `len` beyond the family's is taken as the family's.
#[must_use]
pub fn prefix(address: IpAddr, len: u8) -> IpNet {
    match address {
        IpAddr::V4(a) => {
            let len = len.min(32);
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            let net = Ipv4Addr::from_bits(a.to_bits() & mask);
            Ipv4Net::new(net, len).map_or_else(|_| Ipv4Net::from(net).into(), Into::into)
        }
        IpAddr::V6(a) => {
            let len = len.min(128);
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            let net = Ipv6Addr::from_bits(a.to_bits() & mask);
            Ipv6Net::new(net, len).map_or_else(|_| Ipv6Net::from(net).into(), Into::into)
        }
    }
}

/// The prefix of that address alone.
#[must_use]
pub fn host(address: IpAddr) -> IpNet {
    prefix(address, 128)
}

/// The place of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(NonZeroU32);

/// Set in the number of a slot of an IPv6 prefix.
const V6: u32 = 1 << 31;
/// Set, alone, in that of a slot of a VRF's prefix.
const VRF: u32 = 1 << 30;

impl Slot {
    fn new(at: usize, family: u32) -> Self {
        // 2^30 - 1 prefixes of a family fit in no machine's memory that there is.
        let number = u32::try_from(at + 1).ok().filter(|n| *n < VRF);
        let number = number.and_then(|n| NonZeroU32::new(n | family));
        Self(number.unwrap_or(NonZeroU32::MAX))
    }

    fn is_v6(self) -> bool {
        self.0.get() & V6 != 0
    }

    fn is_vrf(self) -> bool {
        self.0.get() & VRF != 0
    }

    fn index(self) -> usize {
        (self.0.get() & !(V6 | VRF)) as usize - 1
    }
}

/// The IPv4 prefixes, each with its slot.
#[derive(Debug, Default)]
struct Index4 {
    /// By the first 16 bits; empty until there is a prefix. An element is the other 16 bits, the length (8 bits), the slot (32).
    lists: Vec<Vec<u64>>,
    /// How many prefixes there are of each length.
    lengths: Lengths<33>,
}

/// How many prefixes there are of each length.
#[derive(Debug)]
struct Lengths<const N: usize>([u32; N]);

impl<const N: usize> Default for Lengths<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Lengths<N> {
    /// Those of which there are some, longest first.
    fn present(&self) -> impl Iterator<Item = u8> + '_ {
        (0..N).rev().filter(|l| self.0[*l] > 0).map(|l| l as u8)
    }
}

impl Index4 {
    fn key(p: Ipv4Net) -> (usize, u64) {
        let bits = p.network().to_bits();
        let rest = u64::from(bits & 0xffff) << 8 | u64::from(p.prefix_len());
        ((bits >> 16) as usize, rest << 32)
    }

    fn net(list: usize, element: u64) -> Ipv4Net {
        let rest = (element >> 32) as u32;
        let net = Ipv4Addr::from_bits((list as u32) << 16 | rest >> 8);
        Ipv4Net::new(net, (rest & 0xff) as u8).unwrap_or_else(|_| Ipv4Net::from(net))
    }

    fn slot(element: u64) -> Option<Slot> {
        NonZeroU32::new(element as u32).map(Slot)
    }

    fn get(&self, p: Ipv4Net) -> Option<Slot> {
        let (list, key) = Self::key(p);
        let list = self.lists.get(list)?;
        let at = list.partition_point(|e| *e < key);
        let found = *list.get(at)?;
        (found >> 32 == key >> 32).then(|| Self::slot(found))?
    }

    /// The slot of `p`, made by `new` if it has none.
    fn entry(&mut self, p: Ipv4Net, new: impl FnOnce() -> Slot) -> Slot {
        if self.lists.is_empty() {
            self.lists.resize(1 << 16, Vec::new());
        }
        let (list, key) = Self::key(p);
        let list = &mut self.lists[list];
        if list.capacity() == 0 {
            // Half of what one has in a full table.
            list.reserve_exact(16);
        }
        // Mostly new ones come in order.
        let at = match list.last() {
            Some(last) if *last >= key => list.partition_point(|e| *e < key),
            _ => list.len(),
        };
        if let Some(found) = list.get(at)
            && found >> 32 == key >> 32
            && let Some(slot) = Self::slot(*found)
        {
            return slot;
        }
        let slot = new();
        list.insert(at, key | u64::from(slot.0.get()));
        self.lengths.0[usize::from(p.prefix_len())] += 1;
        slot
    }

    fn remove(&mut self, p: Ipv4Net) {
        let (list, key) = Self::key(p);
        let Some(list) = self.lists.get_mut(list) else {
            return;
        };
        let at = list.partition_point(|e| *e < key);
        if list.get(at).is_some_and(|e| e >> 32 == key >> 32) {
            list.remove(at);
            if list.is_empty() {
                *list = Vec::new();
            }
            self.lengths.0[usize::from(p.prefix_len())] -= 1;
        }
    }

    /// In order, from there on.
    fn range(&self, from: Bound<Ipv4Net>) -> impl Iterator<Item = (Ipv4Net, Slot)> + '_ {
        let (first, key) = match from {
            Bound::Unbounded => (0, 0),
            Bound::Included(p) => Self::key(p),
            Bound::Excluded(p) => {
                let (list, key) = Self::key(p);
                (list, key + (1 << 32))
            }
        };
        let lists = self.lists.iter().enumerate().skip(first);
        lists.flat_map(move |(at, list)| {
            let start = if at == first {
                list.partition_point(|e| *e < key)
            } else {
                0
            };
            list[start..]
                .iter()
                .filter_map(move |e| Some((Self::net(at, *e), Self::slot(*e)?)))
        })
    }
}

/// The halves of the address, and the length: in the order of prefixes.
type Key6 = (u64, u64, u8);

/// The IPv6 prefixes, each with its slot.
#[derive(Debug, Default)]
struct Index6 {
    map: BTreeMap<Key6, Slot>,
    lengths: Lengths<129>,
}

fn key6(p: Ipv6Net) -> Key6 {
    let bits = p.network().to_bits();
    ((bits >> 64) as u64, bits as u64, p.prefix_len())
}

fn net6((high, low, len): Key6) -> Ipv6Net {
    let net = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
    Ipv6Net::new(net, len).unwrap_or_else(|_| Ipv6Net::from(net))
}

/// Slots of a piece, a power of two.
const PIECE: usize = 4096;

/// The slots of a family, in pieces: what is there is never moved.
#[derive(Debug)]
struct Slots<P, T> {
    pieces: Vec<Vec<(P, T)>>,
    len: usize,
    free: Vec<Slot>,
}

impl<P, T> Default for Slots<P, T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            len: 0,
            free: Vec::new(),
        }
    }
}

impl<P, T> Slots<P, T> {
    #[inline]
    fn get(&self, slot: Slot) -> &(P, T) {
        let at = slot.index();
        &self.pieces[at / PIECE][at % PIECE]
    }

    #[inline]
    fn get_mut(&mut self, slot: Slot) -> &mut (P, T) {
        let at = slot.index();
        &mut self.pieces[at / PIECE][at % PIECE]
    }

    fn len(&self) -> usize {
        self.len - self.free.len()
    }
}

impl<P, T: Default> Slots<P, T> {
    fn take(&mut self, p: P, family: u32) -> Slot {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = (p, T::default());
            return slot;
        }
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push((p, T::default())),
            _ => {
                // The first one grows with what there is; most routers that have more have many.
                let room = if self.pieces.is_empty() { 0 } else { PIECE };
                let mut piece = Vec::with_capacity(room);
                piece.push((p, T::default()));
                self.pieces.push(piece);
            }
        }
        self.len += 1;
        Slot::new(self.len - 1, family)
    }
}

/// The prefixes of a VRF, each with its slot.
#[derive(Debug, Default)]
struct IndexVrf {
    map: BTreeMap<IpNet, Slot>,
    v4: Lengths<33>,
    v6: Lengths<129>,
}

impl IndexVrf {
    fn length(&mut self, p: &IpNet) -> &mut u32 {
        let len = usize::from(p.prefix_len());
        match p {
            IpNet::V4(_) => &mut self.v4.0[len],
            IpNet::V6(_) => &mut self.v6.0[len],
        }
    }
}

/// A map of prefixes: those of the global table, and those of each VRF.
#[derive(Debug)]
pub(crate) struct Table<T> {
    v4: Index4,
    v6: Index6,
    slots4: Slots<Ipv4Net, T>,
    slots6: Slots<Ipv6Net, T>,
    vrfs: BTreeMap<VrfId, IndexVrf>,
    vrf_slots: Slots<(VrfId, IpNet), T>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            v4: Index4::default(),
            v6: Index6::default(),
            slots4: Slots::default(),
            slots6: Slots::default(),
            vrfs: BTreeMap::new(),
            vrf_slots: Slots::default(),
        }
    }
}

impl<T> Index<Slot> for Table<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: Slot) -> &T {
        match slot.is_v6() {
            false if slot.is_vrf() => &self.vrf_slots.get(slot).1,
            false => &self.slots4.get(slot).1,
            true => &self.slots6.get(slot).1,
        }
    }
}

impl<T> IndexMut<Slot> for Table<T> {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        match slot.is_v6() {
            false if slot.is_vrf() => &mut self.vrf_slots.get_mut(slot).1,
            false => &mut self.slots4.get_mut(slot).1,
            true => &mut self.slots6.get_mut(slot).1,
        }
    }
}

impl<T: Default> Table<T> {
    /// How many prefixes there are.
    pub(crate) fn len(&self) -> usize {
        self.slots4.len() + self.slots6.len() + self.vrf_slots.len()
    }

    /// The prefix of a slot; of one that is free, what it had last.
    pub(crate) fn prefix(&self, slot: Slot) -> IpNet {
        match slot.is_v6() {
            false if slot.is_vrf() => self.vrf_slots.get(slot).0.1,
            false => self.slots4.get(slot).0.into(),
            true => self.slots6.get(slot).0.into(),
        }
    }

    /// Whose prefix it is.
    pub(crate) fn vrf(&self, slot: Slot) -> VrfId {
        match slot.is_vrf() {
            true => self.vrf_slots.get(slot).0.0,
            false => VrfId::GLOBAL,
        }
    }

    /// [`get`](Self::get) in a VRF, or in the global table.
    pub(crate) fn get_in(&self, vrf: VrfId, p: &IpNet) -> Option<Slot> {
        match vrf {
            VrfId::GLOBAL => self.get(p),
            _ => self.vrfs.get(&vrf)?.map.get(p).copied(),
        }
    }

    /// [`entry`](Self::entry) in a VRF, or in the global table.
    pub(crate) fn entry_in(&mut self, vrf: VrfId, p: IpNet) -> Slot {
        if vrf == VrfId::GLOBAL {
            return self.entry(p);
        }
        let index = self.vrfs.entry(vrf).or_default();
        if let Some(slot) = index.map.get(&p) {
            return *slot;
        }
        let slot = self.vrf_slots.take((vrf, p), VRF);
        index.map.insert(p, slot);
        *index.length(&p) += 1;
        slot
    }

    pub(crate) fn get(&self, p: &IpNet) -> Option<Slot> {
        match p {
            IpNet::V4(p) => self.v4.get(*p),
            IpNet::V6(p) => self.v6.map.get(&key6(*p)).copied(),
        }
    }

    /// The slot of a prefix (its host bits cleared), made if there is none.
    pub(crate) fn entry(&mut self, p: IpNet) -> Slot {
        match p {
            IpNet::V4(p) => {
                let slots = &mut self.slots4;
                self.v4.entry(p, || slots.take(p, 0))
            }
            IpNet::V6(p) => {
                let slots = &mut self.slots6;
                let lengths = &mut self.v6.lengths.0[usize::from(p.prefix_len())];
                *self.v6.map.entry(key6(p)).or_insert_with(|| {
                    *lengths += 1;
                    slots.take(p, V6)
                })
            }
        }
    }

    /// Takes a prefix out; its slot may come to another.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self[slot] = T::default();
        if slot.is_vrf() {
            return self.remove_of_vrf(slot);
        }
        match self.prefix(slot) {
            IpNet::V4(p) => {
                self.v4.remove(p);
                self.slots4.free.push(slot);
            }
            IpNet::V6(p) => {
                if self.v6.map.remove(&key6(p)).is_some() {
                    self.v6.lengths.0[usize::from(p.prefix_len())] -= 1;
                }
                self.slots6.free.push(slot);
            }
        }
    }

    fn remove_of_vrf(&mut self, slot: Slot) {
        let (vrf, p) = self.vrf_slots.get(slot).0;
        if let Some(index) = self.vrfs.get_mut(&vrf)
            && index.map.remove(&p).is_some()
        {
            *index.length(&p) -= 1;
            if index.map.is_empty() {
                self.vrfs.remove(&vrf);
            }
        }
        self.vrf_slots.free.push(slot);
    }

    /// [`covering`](Self::covering) in a VRF, or in the global table.
    pub(crate) fn covering_in(
        &self,
        vrf: VrfId,
        address: IpAddr,
    ) -> impl Iterator<Item = (IpNet, &T)> {
        let global = (vrf == VrfId::GLOBAL).then(|| self.covering(address));
        let of_vrf = self.vrfs.get(&vrf).map(|index| {
            let (v4, v6) = match address {
                IpAddr::V4(_) => (Some(index.v4.present()), None),
                IpAddr::V6(_) => (None, Some(index.v6.present())),
            };
            let lengths = v4.into_iter().flatten().chain(v6.into_iter().flatten());
            lengths.filter_map(move |len| {
                let p = prefix(address, len);
                Some((p, &self[*index.map.get(&p)?]))
            })
        });
        let global = global.into_iter().flatten();
        global.chain(of_vrf.into_iter().flatten())
    }

    /// [`range`](Self::range) in a VRF, or in the global table.
    pub(crate) fn range_in(
        &self,
        vrf: VrfId,
        from: Bound<IpNet>,
    ) -> impl Iterator<Item = (IpNet, &T)> {
        let global = (vrf == VrfId::GLOBAL).then(|| self.range(from));
        let of_vrf = self.vrfs.get(&vrf).into_iter();
        let of_vrf = of_vrf.flat_map(move |index| index.map.range((from, Bound::Unbounded)));
        let of_vrf = of_vrf.map(|(p, slot)| (*p, &self[*slot]));
        global.into_iter().flatten().chain(of_vrf)
    }

    /// The entries that contain `address`, longest first.
    pub(crate) fn covering(&self, address: IpAddr) -> impl Iterator<Item = (IpNet, &T)> {
        let (v4, v6) = match address {
            IpAddr::V4(_) => (Some(self.v4.lengths.present()), None),
            IpAddr::V6(_) => (None, Some(self.v6.lengths.present())),
        };
        let lengths = v4.into_iter().flatten().chain(v6.into_iter().flatten());
        lengths.filter_map(move |len| {
            let p = prefix(address, len);
            Some((p, &self[self.get(&p)?]))
        })
    }

    /// The entries from there on, in order, IPv4 first.
    pub(crate) fn range(&self, from: Bound<IpNet>) -> impl Iterator<Item = (IpNet, &T)> {
        let (v4, v6) = match from {
            Bound::Unbounded => (Some(Bound::Unbounded), Bound::Unbounded),
            Bound::Included(IpNet::V4(p)) => (Some(Bound::Included(p)), Bound::Unbounded),
            Bound::Excluded(IpNet::V4(p)) => (Some(Bound::Excluded(p)), Bound::Unbounded),
            Bound::Included(IpNet::V6(p)) => (None, Bound::Included(key6(p))),
            Bound::Excluded(IpNet::V6(p)) => (None, Bound::Excluded(key6(p))),
        };
        let v4 = v4.into_iter().flat_map(|from| self.v4.range(from));
        let v6 = self.v6.map.range((v6, Bound::Unbounded));
        v4.map(|(p, slot)| (IpNet::V4(p), &self[slot]))
            .chain(v6.map(|(key, slot)| (IpNet::V6(net6(*key)), &self[*slot])))
    }
}

/// The first and the last address of a prefix.
pub(crate) fn bounds(p: &IpNet) -> (IpAddr, IpAddr) {
    (p.network(), p.broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(
            prefix("192.0.2.77".parse().unwrap(), 24).to_string(),
            "192.0.2.0/24"
        );
        assert_eq!(
            prefix("192.0.2.77".parse().unwrap(), 0).to_string(),
            "0.0.0.0/0"
        );
        assert_eq!(
            prefix("2001:db8::77".parse().unwrap(), 0).to_string(),
            "::/0"
        );
        assert_eq!(host("2001:db8::77".parse().unwrap()).prefix_len(), 128);
        assert_eq!(host("192.0.2.77".parse().unwrap()).prefix_len(), 32);
    }

    fn some_address() -> impl Strategy<Value = IpAddr> {
        // Few bits vary, so that prefixes nest.
        prop_oneof![
            (0u32..16, 0u32..4).prop_map(|(a, b)| IpAddr::V4((a << 28 | b << 15 | b).into())),
            (0u128..16, 0u128..4).prop_map(|(a, b)| IpAddr::V6((a << 124 | b << 62 | b).into())),
        ]
    }

    fn some_prefix() -> impl Strategy<Value = IpNet> {
        (some_address(), 0u8..=128).prop_map(|(a, len)| prefix(a, len))
    }

    proptest! {
        /// Against an ordered map: look-up, order, what contains an address, slots that stay.
        #[test]
        fn equals_an_ordered_map(
            steps in proptest::collection::vec((some_prefix(), any::<bool>()), 0..60),
            address in some_address(),
            from in some_prefix(),
        ) {
            let (mut t, mut model) = (Table::default(), BTreeMap::new());
            for (n, (p, add)) in steps.into_iter().enumerate() {
                if add {
                    let slot = t.entry(p);
                    let expected = *model.entry(p).or_insert((slot, n));
                    prop_assert_eq!(slot, expected.0);
                    if expected.1 == n {
                        prop_assert_eq!(std::mem::replace(&mut t[slot], n), 0, "a new one is empty");
                    }
                } else if let Some((slot, _)) = model.remove(&p) {
                    t.remove(slot);
                }
            }
            prop_assert_eq!(t.len(), model.len());
            for (p, (slot, n)) in &model {
                prop_assert_eq!((t.get(p), t.prefix(*slot), t[*slot]), (Some(*slot), *p, *n));
            }
            let of = |all: &mut dyn Iterator<Item = (&IpNet, &(Slot, usize))>| -> Vec<(IpNet, usize)> {
                all.map(|(p, (_, n))| (*p, *n)).collect()
            };
            let found: Vec<_> = t.covering(address).map(|(p, n)| (p, *n)).collect();
            let mut expected = of(&mut model.iter().filter(|(p, _)| p.contains(&address)));
            expected.reverse();
            expected.sort_by_key(|(p, _)| std::cmp::Reverse(p.prefix_len()));
            prop_assert_eq!(found, expected);
            for from in [Bound::Unbounded, Bound::Included(from), Bound::Excluded(from)] {
                let found: Vec<_> = t.range(from).map(|(p, n)| (p, *n)).collect();
                prop_assert_eq!(found, of(&mut model.range((from, Bound::Unbounded))));
            }
        }
    }
}
