//! Interfaces: what is IP about a port. Read IEEE 802.1Q 9.6 for the VLAN identifier.
//!
//! An interface stands on a port, either on its untagged frames or on one VLAN. The table is immutable: the control thread
//! builds a new one and publishes it by RCU. Left out: Q-in-Q (one tag only).

use net::{IfaceId, MacAddr, PortId, VrfId};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// How many interfaces there can be; their ids are below it.
pub const MAX_IFACES: usize = 1024;
/// How many ports there can be; their ids are below it.
pub const MAX_PORTS: usize = 256;
/// Where frames are counted that belong to no interface (none is on their port).
pub const NO_IFACE: IfaceId = IfaceId(MAX_IFACES as u16);
/// Slots in a table indexed by interface, that of [`NO_IFACE`] included.
pub(crate) const IFACE_SLOTS: usize = MAX_IFACES + 1;

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its id, below [`MAX_IFACES`].
    pub id: IfaceId,
    /// The port it stands on.
    pub port: PortId,
    /// Its VLAN (1..=4094), or `None` for the port's untagged frames.
    pub vlan: Option<u16>,
    /// Its MAC address, the port's.
    pub mac: MacAddr,
    /// Largest IP packet (or label stack and packet) in bytes.
    pub mtu: u16,
    /// Are labelled frames accepted?
    pub mpls: bool,
    /// Is it up, by configuration and by link?
    pub up: bool,
    /// The routing table of what arrives; 0 is the global one.
    pub vrf: VrfId,
    /// Its IPv6 link-local address.
    pub link_local: Ipv6Addr,
    /// Its IPv4 addresses with their prefix lengths.
    pub v4: Vec<(Ipv4Addr, u8)>,
    /// Its other IPv6 addresses with their prefix lengths.
    pub v6: Vec<(Ipv6Addr, u8)>,
    /// Its name, as configured.
    pub name: String,
}

/// Why a set of interfaces is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// An id at or beyond [`MAX_IFACES`], or a port at or beyond [`MAX_PORTS`].
    #[error(
        "interface {0}: id or port out of range (at most {MAX_IFACES} interfaces on {MAX_PORTS} ports)"
    )]
    OutOfRange(String),
    /// A VLAN outside 1..=4094.
    #[error("interface {0}: VLAN {1} is not within 1..=4094")]
    Vlan(String, u16),
    /// Two interfaces with one id, or on the same VLAN of a port.
    #[error("interfaces {0} and {1} have the same id, or stand on the same port and VLAN")]
    Twice(String, String),
}

/// What stands on a port.
#[derive(Clone, Debug, Default)]
struct PortMap {
    untagged: Option<IfaceId>,
    /// Interface id by VLAN, `u16::MAX` for none; `None` while the port has no tagged interface.
    vlans: Option<Box<[u16; 4096]>>,
}

/// What an IPv4 address is to the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own4 {
    /// Nothing of its own.
    None,
    /// An address of that interface.
    Address(IfaceId),
    /// The all-ones or all-zeros host of a network (/30 or shorter) of that interface (RFC 1122 3.3.6).
    Broadcast(IfaceId),
}

/// A set that says "certainly not" from one cache line, for questions asked once a packet.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub(crate) struct Bloom([u32; 16]);

impl Bloom {
    /// Fibonacci hashing, Knuth 6.4: 2^32 over the golden ratio.
    pub(crate) const FACTOR4: u32 = 0x9e37_79b9;
    /// Of the two halves of an IPv6 address, 2^64 over the golden ratio.
    pub(crate) const FACTOR6: u64 = 0x9e37_79b9_7f4a_7c15;

    /// Two of the 512 bits, by the upper bits of a hash.
    #[inline]
    fn bits(h: u32) -> [(usize, u32); 2] {
        [h >> 23, (h >> 14) & 511].map(|b| ((b >> 5) as usize, 1 << (b & 31)))
    }

    #[inline]
    fn hash4(addr: u32) -> u32 {
        addr.wrapping_mul(Self::FACTOR4)
    }

    #[inline]
    fn hash6(addr: u128) -> u32 {
        (fold(addr).wrapping_mul(Self::FACTOR6) >> 32) as u32
    }

    fn insert(&mut self, hash: u32) {
        for (word, bit) in Self::bits(hash) {
            self.0[word] |= bit;
        }
    }

    #[inline]
    fn may_contain(&self, hash: u32) -> bool {
        Self::bits(hash)
            .iter()
            .fold(true, |all, &(word, bit)| all & (self.0[word] & bit != 0))
    }

    /// Whether the IPv4 address (host order) may be in it.
    #[inline]
    pub(crate) fn may_contain4(&self, addr: u32) -> bool {
        self.may_contain(Self::hash4(addr))
    }

    /// Whether the IPv6 address (host order) may be in it.
    #[inline]
    pub(crate) fn may_contain6(&self, addr: u128) -> bool {
        self.may_contain(Self::hash6(addr))
    }

    /// Its bits: number `b` is bit `b % 32` of word `b / 32`.
    #[inline]
    pub(crate) fn words(&self) -> &[u32; 16] {
        &self.0
    }
}

/// All interfaces, by id, by port and VLAN, and by address.
#[derive(Clone, Debug, Default)]
pub struct InterfaceTable {
    bloom4: Bloom,
    bloom6: Bloom,
    by_id: Vec<Option<Interface>>,
    ports: Vec<PortMap>,
    /// Of the global table, sorted by address. An address that two interfaces claim belongs to the one with the lower id.
    own4: Vec<(u32, Own4)>,
    own6: Vec<(u128, IfaceId)>,
    /// Likewise of all VRFs, each VRF's addresses together.
    vrf_own4: Vec<((VrfId, u32), Own4)>,
    vrf_own6: Vec<((VrfId, u128), IfaceId)>,
}

const fn fold(a: u128) -> u64 {
    (a >> 64) as u64 ^ a as u64
}

impl InterfaceTable {
    /// A table of these.
    ///
    /// # Errors
    /// When an id, port or VLAN is out of range, or two interfaces clash.
    pub fn new(interfaces: impl IntoIterator<Item = Interface>) -> Result<Self, TableError> {
        let mut t = Self::default();
        for i in interfaces {
            t.add(i)?;
        }
        t.index_addresses();
        Ok(t)
    }

    fn index_addresses(&mut self) {
        let (mut own4, mut own6) = (BTreeMap::new(), BTreeMap::new());
        for i in self.by_id.iter().flatten() {
            for &(a, _) in &i.v4 {
                own4.entry((i.vrf, u32::from(a)))
                    .or_insert(Own4::Address(i.id));
            }
            for &(a, _) in &i.v6 {
                own6.entry((i.vrf, u128::from(a))).or_insert(i.id);
            }
        }
        // Second, so that an address proper wins over another network's broadcast address.
        for i in self.by_id.iter().flatten() {
            for &(a, len) in i.v4.iter().filter(|&&(_, len)| len <= 30) {
                let hosts = u32::MAX.checked_shr(u32::from(len)).unwrap_or(0);
                for b in [u32::from(a) | hosts, u32::from(a) & !hosts] {
                    own4.entry((i.vrf, b)).or_insert(Own4::Broadcast(i.id));
                }
            }
        }
        // The global table comes first, and the filters are for it alone: a thousand VRFs would fill them.
        self.vrf_own4 = own4.split_off(&(VrfId(1), 0)).into_iter().collect();
        self.vrf_own6 = own6.split_off(&(VrfId(1), 0)).into_iter().collect();
        self.own4 = own4.into_iter().map(|((_, a), own)| (a, own)).collect();
        self.own6 = own6.into_iter().map(|((_, a), own)| (a, own)).collect();
        for (a, _) in &self.own4 {
            self.bloom4.insert(Bloom::hash4(*a));
        }
        for (a, _) in &self.own6 {
            self.bloom6.insert(Bloom::hash6(*a));
        }
    }

    fn add(&mut self, i: Interface) -> Result<(), TableError> {
        let (id, port) = (i.id.index(), i.port.index());
        if id >= MAX_IFACES || port >= MAX_PORTS {
            return Err(TableError::OutOfRange(i.name));
        }
        let there = match i.vlan {
            None => self.untagged(i.port),
            Some(v @ 1..=4094) => self.vlan(i.port, v),
            Some(v) => return Err(TableError::Vlan(i.name, v)),
        };
        if let Some(other) = there.or_else(|| self.get(i.id)) {
            return Err(TableError::Twice(other.name.clone(), i.name));
        }
        if self.ports.len() <= port {
            self.ports.resize_with(port + 1, PortMap::default);
        }
        let map = &mut self.ports[port];
        match i.vlan {
            None => map.untagged = Some(i.id),
            Some(v) => {
                map.vlans.get_or_insert_with(|| Box::new([u16::MAX; 4096]))[usize::from(v)] = i.id.0
            }
        }
        if self.by_id.len() <= id {
            self.by_id.resize_with(id + 1, || None);
        }
        self.by_id[id] = Some(i);
        Ok(())
    }

    /// The interface of that id.
    #[inline]
    #[must_use]
    pub fn get(&self, id: IfaceId) -> Option<&Interface> {
        self.by_id.get(id.index())?.as_ref()
    }

    /// The interface of the port's untagged frames.
    #[inline]
    #[must_use]
    pub fn untagged(&self, port: PortId) -> Option<&Interface> {
        self.get(self.ports.get(port.index())?.untagged?)
    }

    /// The interface of the port's frames tagged with `vlan` (only the low 12 bits count).
    #[inline]
    #[must_use]
    pub fn vlan(&self, port: PortId, vlan: u16) -> Option<&Interface> {
        let id = self.ports.get(port.index())?.vlans.as_ref()?[usize::from(vlan & 0xfff)];
        self.get(IfaceId(id))
    }

    /// The interface that a frame of the port belongs to, by its VLAN.
    #[inline]
    #[must_use]
    pub fn classify(&self, port: PortId, vlan: Option<u16>) -> Option<IfaceId> {
        match vlan {
            None => self.ports.get(port.index())?.untagged,
            Some(v) => self.vlan(port, v).map(|i| i.id),
        }
    }

    /// Says of an IPv4 address whether [`own4`](Self::own4) may be anything but `None`.
    #[inline]
    pub(crate) fn own_filter4(&self) -> &Bloom {
        &self.bloom4
    }

    /// Says of an IPv6 address whether [`own6`](Self::own6) may be anything but `None`.
    #[inline]
    pub(crate) fn own_filter6(&self) -> &Bloom {
        &self.bloom6
    }

    /// The VRF of an interface.
    #[inline]
    #[must_use]
    pub fn vrf_of(&self, id: IfaceId) -> Option<VrfId> {
        self.get(id).map(|i| i.vrf)
    }

    /// What the address (host order) is to the router in that VRF. Cheap for most addresses of the global table that are
    /// nothing to it.
    #[inline]
    #[must_use]
    pub fn own4(&self, vrf: VrfId, addr: u32) -> Own4 {
        if vrf != VrfId::GLOBAL {
            return self.vrf_own4(vrf, addr);
        }
        if !self.bloom4.may_contain4(addr) {
            return Own4::None;
        }
        self.own4
            .binary_search_by_key(&addr, |e| e.0)
            .map_or(Own4::None, |i| self.own4[i].1)
    }

    #[inline(never)]
    fn vrf_own4(&self, vrf: VrfId, addr: u32) -> Own4 {
        let at = self.vrf_own4.binary_search_by_key(&(vrf, addr), |e| e.0);
        at.map_or(Own4::None, |i| self.vrf_own4[i].1)
    }

    #[inline(never)]
    fn vrf_own6(&self, vrf: VrfId, addr: u128) -> Option<IfaceId> {
        let at = self.vrf_own6.binary_search_by_key(&(vrf, addr), |e| e.0);
        at.ok().map(|i| self.vrf_own6[i].1)
    }

    /// The interface of that VRF that has the address (host order), link-local ones left out: they are an interface's own
    /// affair.
    #[inline]
    #[must_use]
    pub fn own6(&self, vrf: VrfId, addr: u128) -> Option<IfaceId> {
        if vrf != VrfId::GLOBAL {
            return self.vrf_own6(vrf, addr);
        }
        if !self.bloom6.may_contain6(addr) {
            return None;
        }
        self.own6
            .binary_search_by_key(&addr, |e| e.0)
            .ok()
            .map(|i| self.own6[i].1)
    }

    /// Does any interface stand on the port? Only then are its RX queues polled.
    #[must_use]
    pub fn has_port(&self, port: PortId) -> bool {
        self.ports
            .get(port.index())
            .is_some_and(|p| p.untagged.is_some() || p.vlans.is_some())
    }

    /// All of them, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.by_id.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iface(id: u16, port: u16, vlan: Option<u16>) -> Interface {
        Interface {
            id: IfaceId(id),
            port: PortId(port),
            vlan,
            mac: MacAddr([2, 0, 0, 0, 0, id as u8]),
            mtu: 1500,
            mpls: false,
            up: true,
            vrf: VrfId(0),
            link_local: Ipv6Addr::UNSPECIFIED,
            v4: vec![],
            v6: vec![],
            name: format!("i{id}"),
        }
    }

    #[test]
    fn found_by_id_port_and_vlan() {
        let t = InterfaceTable::new([iface(5, 1, None), iface(2, 1, Some(100)), iface(0, 3, None)])
            .unwrap();
        assert_eq!(t.get(IfaceId(2)).unwrap().name, "i2");
        assert!(t.get(IfaceId(1)).is_none() && t.get(IfaceId(u16::MAX)).is_none());
        assert_eq!(t.untagged(PortId(1)).unwrap().id, IfaceId(5));
        assert_eq!(t.vlan(PortId(1), 100).unwrap().id, IfaceId(2));
        assert_eq!(t.vlan(PortId(1), 0xf000 | 100).unwrap().id, IfaceId(2));
        assert!(t.vlan(PortId(1), 101).is_none() && t.vlan(PortId(3), 100).is_none());
        assert!(t.untagged(PortId(0)).is_none() && t.untagged(PortId(200)).is_none());
        assert!(t.has_port(PortId(1)) && !t.has_port(PortId(2)) && !t.has_port(PortId(77)));
        assert_eq!(t.iter().map(|i| i.id.0).collect::<Vec<_>>(), [0, 2, 5]);
    }

    #[test]
    fn addresses_are_known() {
        let mut a = iface(1, 0, None);
        a.v4 = vec![
            ("10.0.0.1".parse().unwrap(), 24),
            ("192.0.2.2".parse().unwrap(), 31),
        ];
        a.v6 = vec![("2001:db8::1".parse().unwrap(), 64)];
        let mut b = iface(2, 1, None);
        b.v4 = vec![
            ("10.0.0.255".parse().unwrap(), 32),
            ("172.16.0.1".parse().unwrap(), 0),
        ];
        let t = InterfaceTable::new([a, b]).unwrap();
        let own4 = |s: &str| t.own4(VrfId::GLOBAL, s.parse::<Ipv4Addr>().unwrap().into());
        assert_eq!(own4("10.0.0.1"), Own4::Address(IfaceId(1)));
        assert_eq!(own4("10.0.0.0"), Own4::Broadcast(IfaceId(1)));
        assert_eq!(own4("10.0.0.255"), Own4::Address(IfaceId(2)));
        assert_eq!(own4("192.0.2.2"), Own4::Address(IfaceId(1)));
        assert_eq!(own4("192.0.2.3"), Own4::None);
        assert_eq!(own4("255.255.255.255"), Own4::Broadcast(IfaceId(2)));
        let own6 = |s: &str| t.own6(VrfId::GLOBAL, s.parse::<Ipv6Addr>().unwrap().into());
        assert_eq!(own6("2001:db8::1"), Some(IfaceId(1)));
        assert_eq!(own6("2001:db8::2"), None);
    }

    #[test]
    fn an_address_is_known_in_its_vrf_alone() {
        let with = |id, vrf, v4: &str| {
            let mut i = iface(id, id, None);
            i.vrf = VrfId(vrf);
            i.v4 = vec![(v4.parse().unwrap(), 24)];
            i.v6 = vec![("2001:db8::1".parse().unwrap(), 64)];
            i
        };
        let t = InterfaceTable::new([
            with(1, 7, "10.0.0.1"),
            with(2, 8, "10.0.0.1"),
            with(3, 0, "10.0.1.1"),
        ])
        .unwrap();
        let own4 = |vrf, a: [u8; 4]| t.own4(VrfId(vrf), u32::from_be_bytes(a));
        let owner = |id| Own4::Address(IfaceId(id));
        let here = [7, 8, 0, 9].map(|vrf| own4(vrf, [10, 0, 0, 1]));
        assert_eq!(here, [owner(1), owner(2), Own4::None, Own4::None]);
        assert_eq!(own4(0, [10, 0, 1, 1]), owner(3));
        assert_eq!(own4(7, [10, 0, 1, 1]), Own4::None);
        assert_eq!(own4(8, [10, 0, 0, 255]), Own4::Broadcast(IfaceId(2)));
        let own6 = [7, 8, 0, 9].map(|vrf| t.own6(VrfId(vrf), 0x2001_0db8 << 96 | 1));
        assert_eq!(
            own6,
            [1, 2, 3, 99].map(|i| Some(IfaceId(i)).filter(|i| i.0 < 99))
        );
        assert_eq!(t.vrf_of(IfaceId(2)), Some(VrfId(8)));
    }

    proptest::proptest! {
        /// The bloom filter never hides an address.
        #[test]
        fn no_address_is_missed(v4 in proptest::collection::vec((0u32.., 0u8..=32), 0..40), v6 in proptest::collection::vec(0u128.., 0..40)) {
            let mut i = iface(0, 0, None);
            i.v4 = v4.iter().map(|&(a, l)| (a.into(), l)).collect();
            i.v6 = v6.iter().map(|&a| (a.into(), 64)).collect();
            let t = InterfaceTable::new([i]).unwrap();
            for (a, _) in v4 {
                proptest::prop_assert_eq!(t.own4(VrfId::GLOBAL, a), Own4::Address(IfaceId(0)));
            }
            for a in v6 {
                proptest::prop_assert_eq!(t.own6(VrfId::GLOBAL, a), Some(IfaceId(0)));
            }
        }
    }

    #[test]
    fn classified_by_vlan() {
        let t = InterfaceTable::new([iface(5, 1, None), iface(2, 1, Some(100))]).unwrap();
        assert_eq!(t.classify(PortId(1), None), Some(IfaceId(5)));
        assert_eq!(t.classify(PortId(1), Some(100)), Some(IfaceId(2)));
        assert_eq!(t.classify(PortId(1), Some(7)), None);
        assert_eq!(t.classify(PortId(9), None), None);
    }

    #[test]
    fn clashes_are_refused() {
        let twice = |a, b| InterfaceTable::new([a, b]).unwrap_err();
        assert!(matches!(
            twice(iface(1, 0, None), iface(2, 0, None)),
            TableError::Twice(..)
        ));
        assert!(matches!(
            twice(iface(1, 0, Some(7)), iface(2, 0, Some(7))),
            TableError::Twice(..)
        ));
        assert!(matches!(
            twice(iface(1, 0, None), iface(1, 1, None)),
            TableError::Twice(..)
        ));
        for v in [0, 4095, 5000] {
            assert_eq!(
                InterfaceTable::new([iface(1, 0, Some(v))]).unwrap_err(),
                TableError::Vlan("i1".into(), v)
            );
        }
        assert!(InterfaceTable::new([iface(1024, 0, None)]).is_err());
        assert!(InterfaceTable::new([iface(0, 256, None)]).is_err());
    }
}
