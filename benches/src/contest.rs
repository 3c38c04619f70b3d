//! Who takes part: Trunkline and its rivals behind one trait, so that all are asked the same in the same way.
//!
//! Each is asked through its own interface in its own terms: addresses as it takes them, next hops as it gives them. IPv6
//! addresses come as 16 bytes, as in a frame; Trunkline takes integers too.

use std::hint::black_box;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dpdk_sys::rivals::{Dpdk, Fib, Fib6, Lpm, Lpm6, RivalError};
use fib::{Discard, FibBatch, FibWriter, Path, Target};
use ip_network_table::IpNetworkTable;
use net::{GroupId, Ip4Prefix, Ip6Prefix};
use rcu::Domain;

use crate::family::Family;
use crate::table::{Prefix, Route};

/// Changes between two turns of the control loop.
pub const TURN: usize = 256;
/// Addresses in the largest burst.
pub const BURST: usize = 256;

/// Addresses to look up.
pub struct Destinations<F: Family> {
    /// As DPDK takes them.
    pub wire: Vec<F::Wire>,
    /// As integers.
    pub host: Vec<F::Addr>,
}

impl<F: Family> Destinations<F> {
    /// From 128 bits each.
    pub fn new(all: &[u128]) -> Self {
        Self {
            wire: all.iter().map(|&a| F::wire(F::addr(a))).collect(),
            host: all.iter().map(|&a| F::addr(a)).collect(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.wire.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.wire.is_empty()
    }
}

/// A table under test. Next hops are numbers from 1 on, 0 is "no route".
pub trait Contestant<F: Family> {
    /// Looks up a part of the destinations in bursts of up to 256.
    fn run(&mut self, to: &Destinations<F>, part: Range<usize>, burst: usize);
    /// Looks up in another way from now on, where it has more than one.
    ///
    /// # Errors
    /// It can't on this machine.
    fn set_way(&mut self, way: Way) -> Result<()> {
        let _ = way;
        Ok(())
    }
    /// What it found for the last burst.
    fn answers(&self, out: &mut Vec<u32>);
    /// Adds a prefix, or changes its next hop.
    ///
    /// # Errors
    /// It has no room.
    fn set(&mut self, prefix: F, hop: u32) -> Result<()>;
    /// Removes a prefix.
    fn del(&mut self, prefix: F);
    /// What its control loop does now and then.
    fn settle(&mut self) {}
    /// Bytes of what lookups read, and of all that it has; 0 where nobody says.
    fn bytes(&self) -> (usize, usize);
}

/// How a table is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// With AVX-512, from addresses as they are in a frame.
    Best,
    /// As if the processor had no AVX-512.
    Scalar,
    /// As the best, from integers (Trunkline alone takes them).
    Integers,
}

/// Trunkline's own tables.
pub struct Ours<F: Family> {
    writer: FibWriter,
    tables: Arc<fib::Tables>,
    reader: rcu::Reader,
    groups: Vec<GroupId>,
    way: Way,
    n: usize,
    out: [GroupId; BURST],
    family: PhantomData<F>,
}

impl<F: Family> Ours<F> {
    /// Tables with groups and no routes.
    ///
    /// # Errors
    /// No memory.
    pub fn empty(groups: u32) -> Result<Self> {
        let domain = Domain::new();
        let mut writer = FibWriter::new(&[], &domain)?;
        let path = Path::to(Target::Discard(Discard::Blackhole));
        let groups: Vec<GroupId> = (0..groups)
            .map(|_| writer.add_group(&[(path.clone(), 1)]))
            .collect::<Result<_, _>>()?;
        let tables = writer.replica(0);
        let reader = domain.register("bench");
        Ok(Self {
            writer,
            tables,
            reader,
            groups,
            way: Way::Best,
            n: 0,
            out: [GroupId::NONE; BURST],
            family: PhantomData,
        })
    }

    /// All routes as one batch.
    pub fn batch(&self, table: &[Route<F>], hop: impl Fn(&Route<F>) -> u32) -> FibBatch {
        let id = |r: &Route<F>| self.groups[hop(r) as usize - 1];
        table.iter().map(|r| F::op(r.prefix, id(r))).collect()
    }

    /// Applies a batch.
    ///
    /// # Errors
    /// It is refused.
    pub fn apply(&mut self, batch: &FibBatch) -> Result<()> {
        self.writer.apply(batch)?;
        self.settle();
        Ok(())
    }
}

impl<F: Family> Contestant<F> for Ours<F> {
    fn run(&mut self, to: &Destinations<F>, part: Range<usize>, burst: usize) {
        let (wire, host) = (&to.wire[part.clone()], &to.host[part]);
        for (wire, host) in wire.chunks(burst).zip(host.chunks(burst)) {
            // As a worker: once a burst.
            let view = self.tables.read(&self.reader);
            let n = wire.len();
            let out = &mut self.out[..n];
            match self.way {
                Way::Scalar => F::burst_scalar(view, wire, out),
                Way::Integers => F::burst(view, host, out),
                Way::Best if n == 1 => out[0] = F::one(view, F::host(wire[0])),
                Way::Best => F::burst_wire(view, wire, out),
            }
            black_box(&mut *out);
            self.n = n;
        }
    }

    fn set_way(&mut self, way: Way) -> Result<()> {
        self.way = way;
        Ok(())
    }

    fn answers(&self, out: &mut Vec<u32>) {
        let hop = |g: &GroupId| self.groups.iter().position(|x| x == g);
        // Ids are handed out in order, so the search is short where it matters.
        let quick = |g: &GroupId| match self.groups.get((g.0 as usize).wrapping_sub(1)) {
            Some(x) if x == g => Some(g.0 as usize - 1),
            _ => hop(g),
        };
        out.extend(
            self.out[..self.n]
                .iter()
                .map(|g| quick(g).map_or(0, |i| i as u32 + 1)),
        );
    }

    fn set(&mut self, prefix: F, hop: u32) -> Result<()> {
        Ok(F::set(
            &mut self.writer,
            prefix,
            self.groups[hop as usize - 1],
        )?)
    }

    fn del(&mut self, prefix: F) {
        // A hole in a table that is full may be refused; these are not.
        F::del(&mut self.writer, prefix).expect("room");
    }

    fn settle(&mut self) {
        self.reader.quiescent();
        self.writer.flush();
    }

    fn bytes(&self) -> (usize, usize) {
        let (lookup, update) = F::bytes(&self.writer);
        (lookup, lookup + update)
    }
}

/// A table of DPDK's: [`Fib`], [`Lpm`], [`Fib6`], [`Lpm6`].
pub trait Native<F: Family> {
    /// What it gives for an address.
    type Hop: Copy + Default;
    /// Looks up with AVX-512 from now on, or without.
    ///
    /// # Errors
    /// DPDK's.
    fn select(&mut self, avx512: bool) -> Result<(), RivalError> {
        let _ = avx512;
        Ok(())
    }
    /// Looks up one burst.
    fn lookup(&self, to: &[F::Wire], out: &mut [Self::Hop]);
    /// As number from 1 on, 0 for none.
    fn hop(h: Self::Hop) -> u32;
    /// Adds or changes.
    ///
    /// # Errors
    /// DPDK's.
    fn add(&mut self, p: F, hop: u32) -> Result<(), RivalError>;
    /// Removes.
    ///
    /// # Errors
    /// DPDK's.
    fn del(&mut self, p: F) -> Result<(), RivalError>;
}

macro_rules! native {
    ($table:ident, $family:ty, $wire:ty, $hop:ty, $none:literal $(, $select:ident)?) => {
        impl Native<$family> for $table<'_> {
            type Hop = $hop;
            $(fn select(&mut self, avx512: bool) -> Result<(), RivalError> {
                $table::$select(self, avx512)
            })?
            fn lookup(&self, to: &[$wire], out: &mut [$hop]) {
                $table::lookup(self, to, out);
            }
            fn hop(h: $hop) -> u32 {
                if h == $none { 0 } else { h as u32 }
            }
            fn add(&mut self, p: $family, hop: u32) -> Result<(), RivalError> {
                $table::add(self, <$family>::wire(p.addr()), p.len(), hop)
            }
            fn del(&mut self, p: $family) -> Result<(), RivalError> {
                $table::del(self, <$family>::wire(p.addr()), p.len())
            }
        }
    };
}
native!(Fib, Ip4Prefix, u32, u64, 0, select);
native!(Lpm, Ip4Prefix, u32, u32, 0);
native!(Fib6, Ip6Prefix, [u8; 16], u64, 0, select);
native!(Lpm6, Ip6Prefix, [u8; 16], i32, -1);

/// A table of DPDK's as a contestant.
pub struct Theirs<F: Family, T: Native<F>> {
    table: T,
    n: usize,
    out: [T::Hop; BURST],
    bytes: (usize, usize),
}

impl<F: Family, T: Native<F>> Theirs<F, T> {
    /// An empty one, made by `new`; what DPDK's heap gave for it is counted as its memory.
    ///
    /// # Errors
    /// As `new`.
    pub fn new(dpdk: &Dpdk, new: impl FnOnce() -> Result<T, RivalError>) -> Result<Self> {
        let before = dpdk.heap_bytes();
        let table = new()?;
        let all = (dpdk.heap_bytes() - before) as usize;
        Ok(Self {
            table,
            n: 0,
            out: [T::Hop::default(); BURST],
            bytes: (all, all),
        })
    }

    /// The table itself, to choose its lookup.
    pub fn table(&mut self) -> &mut T {
        &mut self.table
    }

    /// Says what lookups read of it, which DPDK does not.
    pub fn set_lookup_bytes(&mut self, bytes: usize) {
        self.bytes.0 = bytes;
    }
}

impl<F: Family, T: Native<F>> Contestant<F> for Theirs<F, T> {
    fn run(&mut self, to: &Destinations<F>, part: Range<usize>, burst: usize) {
        for wire in to.wire[part].chunks(burst) {
            let out = &mut self.out[..wire.len()];
            self.table.lookup(wire, out);
            black_box(&mut *out);
            self.n = wire.len();
        }
    }

    fn set_way(&mut self, way: Way) -> Result<()> {
        Ok(self.table.select(way != Way::Scalar)?)
    }

    fn answers(&self, out: &mut Vec<u32>) {
        out.extend(self.out[..self.n].iter().map(|&h| T::hop(h)));
    }

    fn set(&mut self, prefix: F, hop: u32) -> Result<()> {
        Ok(self.table.add(prefix, hop)?)
    }

    fn del(&mut self, prefix: F) {
        // That a prefix is not there is no error of the bench's.
        let _ = self.table.del(prefix);
    }

    fn bytes(&self) -> (usize, usize) {
        self.bytes
    }
}

/// A map of one of the crates, which look up one address at a time.
pub struct Crate<F: Family, M> {
    map: M,
    out: Vec<u32>,
    insert: fn(&mut M, F, u32),
    remove: fn(&mut M, F),
    find: fn(&M, F::Addr) -> u32,
    bytes: fn(&M) -> usize,
}

impl<F: Family> Crate<F, F::Map> {
    /// prefix-trie, empty.
    pub fn prefix_trie() -> Self {
        Self {
            map: F::Map::default(),
            out: Vec::with_capacity(BURST),
            insert: F::map_insert,
            remove: F::map_remove,
            find: F::map_find,
            bytes: F::map_bytes,
        }
    }
}

impl<F: Family> Crate<F, IpNetworkTable<u32>> {
    /// ip_network_table, empty.
    pub fn ip_network_table() -> Self {
        Self {
            map: IpNetworkTable::new(),
            out: Vec::with_capacity(BURST),
            insert: |m, p, hop| {
                m.insert(F::network(p), hop);
            },
            remove: |m, p| {
                m.remove(F::network(p));
            },
            find: |m, a| F::find_network(m, a),
            bytes: |_| 0,
        }
    }
}

impl<F: Family, M> Contestant<F> for Crate<F, M> {
    fn run(&mut self, to: &Destinations<F>, part: Range<usize>, burst: usize) {
        for wire in to.wire[part].chunks(burst) {
            self.out.clear();
            let found = wire.iter().map(|&w| (self.find)(&self.map, F::host(w)));
            self.out.extend(found);
            black_box(&mut self.out);
        }
    }

    fn answers(&self, out: &mut Vec<u32>) {
        out.extend(&self.out);
    }

    fn set(&mut self, prefix: F, hop: u32) -> Result<()> {
        (self.insert)(&mut self.map, prefix, hop);
        Ok(())
    }

    fn del(&mut self, prefix: F) {
        (self.remove)(&mut self.map, prefix);
    }

    fn bytes(&self) -> (usize, usize) {
        let n = (self.bytes)(&self.map);
        (n, n)
    }
}

/// How long `f` takes, in ns for each of `n`.
pub fn time(n: usize, f: impl FnOnce()) -> f64 {
    let start = Instant::now();
    f();
    start.elapsed().as_nanos() as f64 / n as f64
}

/// Puts a table into a contestant, route by route.
///
/// # Errors
/// It has no room.
pub fn fill<F: Family>(
    c: &mut dyn Contestant<F>,
    table: &[Route<F>],
    hop: impl Fn(&Route<F>) -> u32,
) -> Result<Duration> {
    let start = Instant::now();
    // The control loop takes its turn now and then: what went out of use waits for readers.
    for part in table.chunks(TURN) {
        for r in part {
            c.set(r.prefix, hop(r))
                .with_context(|| format!("a prefix of {} bits", r.prefix.bits()))?;
        }
        c.settle();
    }
    Ok(start.elapsed())
}

/// Compares what a contestant finds with the obvious: the longest prefix that covers an address, from a map for each
/// length.
///
/// # Errors
/// With the first difference.
pub fn check<F: Family>(
    name: &str,
    c: &mut dyn Contestant<F>,
    to: &[u128],
    oracle: &Oracle<F>,
) -> Result<()> {
    let wire = Destinations::<F>::new(to);
    let mut found = Vec::new();
    for at in (0..to.len()).step_by(BURST) {
        c.run(&wire, at..(at + BURST).min(to.len()), BURST);
        c.answers(&mut found);
    }
    ensure!(found.len() == to.len(), "{name} answers too little");
    for (&a, &hop) in to.iter().zip(&found) {
        let right = oracle.find(a);
        if hop != right {
            bail!("{name} says next hop {hop} for {a:#x}, where {right} is right");
        }
    }
    Ok(())
}

/// The obvious table: a map for each length.
pub struct Oracle<F> {
    by_length: Vec<(u8, std::collections::HashMap<F, u32>)>,
}

impl<F: Prefix> Oracle<F> {
    /// Of a table.
    pub fn new(table: &[Route<F>], hop: impl Fn(&Route<F>) -> u32) -> Self {
        let mut maps = std::collections::BTreeMap::<u8, std::collections::HashMap<F, u32>>::new();
        for r in table {
            maps.entry(r.prefix.bits())
                .or_default()
                .insert(r.prefix, hop(r));
        }
        Self {
            by_length: maps.into_iter().rev().collect(),
        }
    }

    /// Adds a prefix, or changes its next hop (0 removes it).
    pub fn set(&mut self, prefix: F, hop: u32) {
        let len = prefix.bits();
        let at = self.by_length.partition_point(|(l, _)| *l > len);
        if self.by_length.get(at).is_none_or(|(l, _)| *l != len) {
            self.by_length
                .insert(at, (len, std::collections::HashMap::new()));
        }
        let map = &mut self.by_length[at].1;
        if hop == 0 {
            map.remove(&prefix);
        } else {
            map.insert(prefix, hop);
        }
    }

    /// The next hop for an address, 0 for none.
    pub fn find(&self, a: u128) -> u32 {
        let at = |(len, map): &(u8, std::collections::HashMap<F, u32>)| {
            map.get(&F::of(a, *len)).copied()
        };
        self.by_length.iter().find_map(at).unwrap_or(0)
    }
}
