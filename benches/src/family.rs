//! The two families of addresses, and the calls of Trunkline that differ between them only by name.

use std::net::{Ipv4Addr, Ipv6Addr};

use fib::{FibError, FibWriter, Op, View};
use ip_network::{IpNetwork, Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use net::{GroupId, Ip4Prefix, Ip6Prefix};
use prefix_trie::PrefixMap;

use crate::growth;
use crate::table::{self, Prefix, Route};

/// IPv4 or IPv6.
pub trait Family: Prefix + 'static {
    /// As cases are named.
    const NAME: &'static str;
    /// The key in the bars and in file names.
    const V6: bool;
    /// Prefixes of the table of June 2026.
    const SIZE: u32;
    /// An address as an integer.
    type Addr: Copy + Default + 'static;
    /// An address as DPDK takes it.
    type Wire: Copy + 'static;
    /// The map of the crate prefix-trie.
    type Map: Default;

    /// A made-up table.
    fn make(seed: u64, size: u32) -> Vec<Route<Self>>;
    /// A table of that many times the routes.
    fn grow(table: &[Route<Self>], times: usize) -> Vec<Route<Self>> {
        growth::grow(table, times)
    }
    /// From 128 bits.
    fn addr(a: u128) -> Self::Addr;
    /// For DPDK.
    fn wire(a: Self::Addr) -> Self::Wire;
    /// Back from there.
    fn host(w: Self::Wire) -> Self::Addr;

    /// [`FibWriter::set4`] or [`FibWriter::set6`].
    ///
    /// # Errors
    /// As there.
    fn set(w: &mut FibWriter, p: Self, g: GroupId) -> Result<(), FibError>;
    /// [`FibWriter::del4`] or [`FibWriter::del6`].
    ///
    /// # Errors
    /// As there.
    fn del(w: &mut FibWriter, p: Self) -> Result<bool, FibError>;
    /// The same as part of a batch.
    fn op(p: Self, g: GroupId) -> Op;
    /// [`View::lookup4`] or [`View::lookup6`].
    fn one(v: View<'_>, a: Self::Addr) -> GroupId;
    /// [`View::lookup4_burst`] or [`View::lookup6_burst`].
    fn burst(v: View<'_>, a: &[Self::Addr], out: &mut [GroupId]);
    /// The same of addresses as they are in frames.
    fn burst_wire(v: View<'_>, a: &[Self::Wire], out: &mut [GroupId]);
    /// The same without AVX-512.
    fn burst_scalar(v: View<'_>, a: &[Self::Wire], out: &mut [GroupId]);
    /// Bytes of this family's tables: for lookups, and for updates.
    fn bytes(w: &FibWriter) -> (usize, usize);

    /// For the crate ip_network_table.
    fn network(p: Self) -> IpNetwork;
    /// Its lookup; 0 where nothing is found.
    fn find_network(t: &IpNetworkTable<u32>, a: Self::Addr) -> u32;
    /// Into the map of prefix-trie.
    fn map_insert(m: &mut Self::Map, p: Self, group: u32);
    /// Out of it.
    fn map_remove(m: &mut Self::Map, p: Self);
    /// Its lookup; 0 where nothing is found.
    fn map_find(m: &Self::Map, a: Self::Addr) -> u32;
    /// Its memory.
    fn map_bytes(m: &Self::Map) -> usize;
}

/// What both have in common but for names.
macro_rules! common {
    ($addr:ty, $set:ident, $del:ident, $op:ident, $one:ident, $burst:ident, $wire:ident, $scalar:ident, $bits:literal) => {
        type Addr = $addr;
        type Map = PrefixMap<($addr, u8), u32>;

        fn addr(a: u128) -> $addr {
            a as $addr
        }
        fn set(w: &mut FibWriter, p: Self, g: GroupId) -> Result<(), FibError> {
            w.$set(p, g)
        }
        fn del(w: &mut FibWriter, p: Self) -> Result<bool, FibError> {
            w.$del(p)
        }
        fn op(p: Self, g: GroupId) -> Op {
            Op::$op(p, g)
        }
        fn one(v: View<'_>, a: $addr) -> GroupId {
            v.$one(a)
        }
        fn burst(v: View<'_>, a: &[$addr], out: &mut [GroupId]) {
            v.$burst(a, out);
        }
        fn burst_wire(v: View<'_>, a: &[Self::Wire], out: &mut [GroupId]) {
            v.$wire(a, out);
        }
        fn burst_scalar(v: View<'_>, a: &[Self::Wire], out: &mut [GroupId]) {
            v.$scalar(a, out);
        }
        fn map_insert(m: &mut Self::Map, p: Self, group: u32) {
            m.insert((p.addr(), p.len()), group);
        }
        fn map_remove(m: &mut Self::Map, p: Self) {
            m.remove(&(p.addr(), p.len()));
        }
        fn map_find(m: &Self::Map, a: $addr) -> u32 {
            m.get_lpm(&(a, $bits)).map_or(0, |(_, &g)| g)
        }
        fn map_bytes(m: &Self::Map) -> usize {
            m.mem_size()
        }
    };
}

impl Family for Ip4Prefix {
    const NAME: &'static str = "ipv4";
    const V6: bool = false;
    const SIZE: u32 = 1_168_945;
    type Wire = u32;
    common!(
        u32,
        set4,
        del4,
        Set4,
        lookup4,
        lookup4_burst,
        lookup4_burst,
        lookup4_burst_scalar,
        32
    );

    fn make(seed: u64, size: u32) -> Vec<Route<Self>> {
        table::ipv4(seed, size)
    }
    fn wire(a: u32) -> u32 {
        a
    }
    fn host(w: u32) -> u32 {
        w
    }
    fn bytes(w: &FibWriter) -> (usize, usize) {
        (w.memory().lookup4, w.memory().update4)
    }
    fn network(p: Self) -> IpNetwork {
        let n = Ipv4Network::new(Ipv4Addr::from(p.addr()), p.len());
        IpNetwork::V4(n.expect("host bits are zero"))
    }
    fn find_network(t: &IpNetworkTable<u32>, a: u32) -> u32 {
        t.longest_match_ipv4(Ipv4Addr::from(a))
            .map_or(0, |(_, &g)| g)
    }
}

impl Family for Ip6Prefix {
    const NAME: &'static str = "ipv6";
    const V6: bool = true;
    const SIZE: u32 = 279_855;
    type Wire = [u8; 16];
    common!(
        u128,
        set6,
        del6,
        Set6,
        lookup6,
        lookup6_burst,
        lookup6_burst_bytes,
        lookup6_burst_bytes_scalar,
        128
    );

    fn make(seed: u64, size: u32) -> Vec<Route<Self>> {
        table::ipv6(seed, size)
    }
    fn wire(a: u128) -> [u8; 16] {
        a.to_be_bytes()
    }
    fn host(w: [u8; 16]) -> u128 {
        u128::from_be_bytes(w)
    }
    fn bytes(w: &FibWriter) -> (usize, usize) {
        (w.memory().lookup6, w.memory().update6)
    }
    fn network(p: Self) -> IpNetwork {
        let n = Ipv6Network::new(Ipv6Addr::from(p.addr()), p.len());
        IpNetwork::V6(n.expect("host bits are zero"))
    }
    fn find_network(t: &IpNetworkTable<u32>, a: u128) -> u32 {
        t.longest_match_ipv6(Ipv6Addr::from(a))
            .map_or(0, |(_, &g)| g)
    }
}
