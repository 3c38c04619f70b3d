//! The obvious table, and prefixes that get in each other's way.
#![allow(dead_code, unreachable_pub, reason = "each test uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fib::{Discard, FibError, FibWriter, Path, Sizes, Target};
use net::{GroupId, Ip4Prefix, Ip6Prefix, VrfId};
use proptest::prelude::*;
use rcu::Domain;

/// A family of prefixes, so that every test is written once.
pub trait Family: Copy + std::fmt::Debug + Send + Sync + 'static {
    type Addr: Copy + std::fmt::Debug + Send + Sync + Ord;
    type Prefix: Copy + std::fmt::Debug + Send + Sync + Ord;
    const BITS: u8;
    fn prefix(addr: Self::Addr, len: u8) -> Self::Prefix;
    fn len(p: Self::Prefix) -> u8;
    fn addr(p: Self::Prefix) -> Self::Addr;
    fn last(p: Self::Prefix) -> Self::Addr;
    fn step(a: Self::Addr, by: i8) -> Self::Addr;
    fn set(w: &mut FibWriter, p: Self::Prefix, g: GroupId) -> Result<(), FibError>;
    fn del(w: &mut FibWriter, p: Self::Prefix) -> bool;
    fn get(w: &FibWriter, p: Self::Prefix) -> Option<GroupId>;
    fn count(w: &FibWriter) -> usize;
    fn lookup(v: fib::View<'_>, a: Self::Addr) -> GroupId;
    fn burst(v: fib::View<'_>, a: &[Self::Addr], out: &mut [GroupId]);
    fn any_addr() -> BoxedStrategy<Self::Addr>;
}

macro_rules! family {
    ($name:ident, $addr:ty, $prefix:ty, $bits:literal, $set:ident, $del:ident, $get:ident, $len:ident, $lookup:ident,
     $burst:ident, $bases:expr) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name;

        impl Family for $name {
            type Addr = $addr;
            type Prefix = $prefix;
            const BITS: u8 = $bits;

            fn prefix(addr: $addr, len: u8) -> $prefix {
                <$prefix>::new(addr, len).unwrap()
            }
            fn len(p: $prefix) -> u8 {
                p.len()
            }
            fn addr(p: $prefix) -> $addr {
                p.addr()
            }
            fn last(p: $prefix) -> $addr {
                p.last()
            }
            fn step(a: $addr, by: i8) -> $addr {
                if by < 0 { a.wrapping_sub(1) } else { a.wrapping_add(1) }
            }
            fn set(w: &mut FibWriter, p: $prefix, g: GroupId) -> Result<(), FibError> {
                w.$set(p, g)
            }
            fn del(w: &mut FibWriter, p: $prefix) -> bool {
                w.$del(p).unwrap()
            }
            fn get(w: &FibWriter, p: $prefix) -> Option<GroupId> {
                w.$get(p)
            }
            fn count(w: &FibWriter) -> usize {
                w.$len()
            }
            fn lookup(v: fib::View<'_>, a: $addr) -> GroupId {
                v.$lookup(a)
            }
            fn burst(v: fib::View<'_>, a: &[$addr], out: &mut [GroupId]) {
                v.$burst(a, out)
            }
            /// A few bases with a bit or two turned over, so that prefixes nest, and part at every bit.
            fn any_addr() -> BoxedStrategy<$addr> {
                let base = prop::sample::select($bases.to_vec());
                let flips = prop::collection::vec(0u32..$bits, 0..3);
                let near = (base, flips).prop_map(|(a, flips): ($addr, _)| {
                    flips.into_iter().fold(a, |a, bit: u32| a ^ (<$addr>::MAX.wrapping_shr(bit) & !<$addr>::MAX.checked_shr(bit + 1).unwrap_or(0)))
                });
                prop_oneof![9 => near, 1 => any::<$addr>()].boxed()
            }
        }
    };
}

family!(
    V4,
    u32,
    Ip4Prefix,
    32,
    set4,
    del4,
    get4,
    len4,
    lookup4,
    lookup4_burst,
    [0, u32::MAX, 0x0a01_0203, 0xc0a8_0180]
);
family!(
    V6,
    u128,
    Ip6Prefix,
    128,
    set6,
    del6,
    get6,
    len6,
    lookup6,
    lookup6_burst,
    [
        0,
        u128::MAX,
        0x2001_0db8_0001_0002_0003_0004_0005_0006,
        0xfe80 << 112 | 0x0200_5eff_fe00_5301
    ]
);

/// The VRFs of the families below: the first and the last there can be, and two beside each other.
const VRFS: [VrfId; 4] = [VrfId(1), VrfId(2), VrfId(3), VrfId(u16::MAX)];

macro_rules! vrf_family {
    ($name:ident, $global:ident, $addr:ty, $prefix:ty, $set:ident, $del:ident, $get:ident, $nth:tt, $lookup:ident) => {
        /// The same family in several VRFs: addresses and prefixes of one VRF are nothing to those of another.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name;

        impl Family for $name {
            type Addr = (VrfId, $addr);
            type Prefix = (VrfId, $prefix);
            const BITS: u8 = $global::BITS;

            fn prefix((vrf, addr): Self::Addr, len: u8) -> Self::Prefix {
                (vrf, $global::prefix(addr, len))
            }
            fn len((_, p): Self::Prefix) -> u8 {
                p.len()
            }
            fn addr((vrf, p): Self::Prefix) -> Self::Addr {
                (vrf, p.addr())
            }
            fn last((vrf, p): Self::Prefix) -> Self::Addr {
                (vrf, p.last())
            }
            fn step((vrf, a): Self::Addr, by: i8) -> Self::Addr {
                (vrf, $global::step(a, by))
            }
            fn set(w: &mut FibWriter, (vrf, p): Self::Prefix, g: GroupId) -> Result<(), FibError> {
                w.$set(vrf, p, g)
            }
            fn del(w: &mut FibWriter, (vrf, p): Self::Prefix) -> bool {
                w.$del(vrf, p).unwrap()
            }
            fn get(w: &FibWriter, (vrf, p): Self::Prefix) -> Option<GroupId> {
                w.$get(vrf, p)
            }
            fn count(w: &FibWriter) -> usize {
                VRFS.iter().map(|&vrf| w.len_vrf(vrf).$nth).sum()
            }
            fn lookup(v: fib::View<'_>, (vrf, a): Self::Addr) -> GroupId {
                v.$lookup(vrf, a)
            }
            fn burst(v: fib::View<'_>, a: &[Self::Addr], out: &mut [GroupId]) {
                for (out, &(vrf, a)) in out.iter_mut().zip(a) {
                    *out = v.$lookup(vrf, a);
                }
            }
            fn any_addr() -> BoxedStrategy<Self::Addr> {
                (prop::sample::select(VRFS.to_vec()), $global::any_addr()).boxed()
            }
        }
    };
}

vrf_family!(
    Vrf4, V4, u32, Ip4Prefix, set_vrf4, del_vrf4, get_vrf4, 0, lookup4_in
);
vrf_family!(
    Vrf6, V6, u128, Ip6Prefix, set_vrf6, del_vrf6, get_vrf6, 1, lookup6_in
);

/// The obvious version.
#[derive(Debug, Clone)]
pub struct Oracle<F: Family>(pub BTreeMap<F::Prefix, GroupId>);

impl<F: Family> Oracle<F> {
    pub fn new() -> Self {
        Self(BTreeMap::new())
    }

    pub fn lookup(&self, a: F::Addr) -> GroupId {
        (0..=F::BITS)
            .rev()
            .find_map(|len| self.0.get(&F::prefix(a, len)).copied())
            .unwrap_or(GroupId::NONE)
    }

    pub fn apply(&mut self, change: Change<F>) {
        match change.group {
            Some(g) => self.0.insert(change.prefix, g),
            None => self.0.remove(&change.prefix),
        };
    }
}

/// Sets a prefix, or removes it.
#[derive(Debug, Clone, Copy)]
pub struct Change<F: Family> {
    pub prefix: F::Prefix,
    pub group: Option<GroupId>,
}

/// Groups 1 to `GROUPS` are there in [`writer`]'s tables.
pub const GROUPS: u32 = 6;

pub fn any_change<F: Family>() -> impl Strategy<Value = Change<F>> {
    let len = prop_oneof![
        4 => 0..=F::BITS,
        1 => prop::sample::select(vec![0, 8, 9, 12, 13, 18, 19, 24, 25, 30, 31, 32]),
        1 => Just(F::BITS),
    ];
    let group = prop_oneof![2 => (1..=GROUPS).prop_map(|g| Some(GroupId(g))), 1 => Just(None)];
    (F::any_addr(), len, group).prop_map(|(a, len, group)| Change {
        prefix: F::prefix(a, len),
        group,
    })
}

/// Tables with little room and some groups.
pub fn writer(nodes: &[u32]) -> (Arc<Domain>, FibWriter) {
    let domain = Domain::new();
    let sizes = Sizes {
        words4: 1 << 16,
        tbl8: 64,
        nodes6: 1 << 12,
        vrf_lines: 1 << 12,
        groups: 64,
        adjacencies: 64,
    };
    let mut w = FibWriter::with_sizes(nodes, &domain, sizes).unwrap();
    for i in 1..=GROUPS {
        assert_eq!(w.add_group(&[(blackhole(), 1)]), Ok(GroupId(i)));
    }
    (domain, w)
}

pub fn blackhole() -> Path {
    Path::to(Target::Discard(Discard::Blackhole))
}

/// Makes a change; where there is no room, waits for readers to leave some.
pub fn apply<F: Family>(w: &mut FibWriter, change: Change<F>) {
    match change.group {
        Some(g) => {
            let end = Instant::now() + Duration::from_secs(60);
            while let Err(e) = F::set(w, change.prefix, g) {
                assert!(matches!(e, FibError::Full { .. }) && w.pending() > 0, "{e}");
                assert!(Instant::now() < end, "readers do not report");
                std::thread::yield_now();
            }
        }
        None => {
            F::del(w, change.prefix);
        }
    }
}

/// Addresses at the edges of a prefix, within and without.
pub fn edges<F: Family>(p: F::Prefix) -> [F::Addr; 4] {
    let (first, last) = (F::addr(p), F::last(p));
    [first, last, F::step(first, -1), F::step(last, 1)]
}
