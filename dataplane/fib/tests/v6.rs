//! The IPv6 table where it is hard: dense blocks that split and join, prefixes past every window, wide groups, bursts of
//! every size, no room, and no end of changes.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use fib::{FibBatch, FibError, FibWriter, Op, Sizes, Tables};
use net::{GroupId, Ip6Prefix};
use proptest::prelude::*;
use rcu::{Domain, Reader};

const BLOCK: u128 = 0x2001_0d00 << 96;

fn prefix(addr: u128, len: u8) -> Ip6Prefix {
    Ip6Prefix::new(addr, len).unwrap()
}

/// A table, a reader, and what the table should hold.
struct Bench {
    domain: Arc<Domain>,
    w: FibWriter,
    tables: [Arc<Tables>; 2],
    oracle: Oracle<V6>,
}

impl Bench {
    fn new(lines: usize, groups: usize) -> Self {
        let domain = Domain::new();
        let sizes = Sizes {
            nodes6: lines,
            groups,
            ..Sizes::default()
        };
        let mut w = FibWriter::with_sizes(&[0, 1], &domain, sizes).unwrap();
        for _ in 0..groups {
            w.add_group(&[(blackhole(), 1)]).unwrap();
        }
        let tables = [w.replica(0), w.replica(1)];
        Self {
            domain,
            w,
            tables,
            oracle: Oracle::new(),
        }
    }

    fn set(&mut self, p: Ip6Prefix, group: u32) {
        self.w.set6(p, GroupId(group)).unwrap();
        self.oracle.0.insert(p, GroupId(group));
    }

    fn del(&mut self, p: Ip6Prefix) {
        let there = self.oracle.0.remove(&p).is_some();
        assert_eq!(self.w.del6(p), Ok(there), "{p}");
    }

    /// What went out of use comes back.
    fn settle(&mut self, reader: &mut Reader) {
        self.w.flush();
        reader.quiescent();
        self.w.flush();
    }

    fn reader(&self) -> Reader {
        self.domain.register("test")
    }

    /// Every way to look up gives what the oracle says.
    fn check(&self, reader: &Reader, probes: &[u128]) {
        let right: Vec<GroupId> = probes.iter().map(|&a| self.oracle.lookup(a)).collect();
        for tables in &self.tables {
            let view = tables.read(reader);
            let mut burst = vec![GroupId(99); probes.len()];
            view.lookup6_burst(probes, &mut burst);
            let mut scalar = vec![GroupId(99); probes.len()];
            view.lookup6_burst_scalar(probes, &mut scalar);
            let wire: Vec<[u8; 16]> = probes.iter().map(|a| a.to_be_bytes()).collect();
            let mut bytes = vec![GroupId(99); probes.len()];
            view.lookup6_burst_bytes(&wire, &mut bytes);
            let mut bytes_scalar = vec![GroupId(99); probes.len()];
            view.lookup6_burst_bytes_scalar(&wire, &mut bytes_scalar);
            for (i, &a) in probes.iter().enumerate() {
                let found = [
                    view.lookup6(a),
                    burst[i],
                    scalar[i],
                    bytes[i],
                    bytes_scalar[i],
                ];
                assert_eq!(found, [right[i]; 5], "{a:x}, lane {i}");
            }
        }
    }

    /// Both edges of every prefix, within and without.
    fn probes(&self) -> Vec<u128> {
        self.oracle.0.keys().flat_map(|&p| edges::<V6>(p)).collect()
    }

    /// Removes all, and looks whether all room comes back.
    fn clear(mut self, mut reader: Reader, empty: fib::Memory) {
        let probes = self.probes();
        for p in self.oracle.0.clone().into_keys() {
            self.del(p);
            self.settle(&mut reader);
        }
        self.settle(&mut reader);
        assert_eq!((self.w.len6(), self.w.pending()), (0, 0));
        assert_eq!(self.w.memory().lookup, empty.lookup);
        self.check(&reader, &probes);
    }
}

fn random(mut n: u64) -> u64 {
    n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// A prefix in a block of 2^104 addresses; few different bits, so that prefixes nest and lie side by side.
fn dense() -> impl Strategy<Value = (Ip6Prefix, Option<u32>)> {
    let len = prop_oneof![
        6 => 24u8..=56,
        2 => prop::sample::select(vec![13, 20, 24, 32, 40, 48, 56, 57, 64, 88, 89, 120, 121, 128]),
        1 => 57u8..=128,
    ];
    let group = prop_oneof![3 => (1..=GROUPS).prop_map(Some), 1 => Just(None)];
    (any::<u16>(), any::<u8>(), len, group).prop_map(|(high, low, len, group)| {
        let addr = BLOCK | u128::from(high) << 88 | u128::from(low & 3) << 78 | u128::from(low);
        (prefix(addr, len), group)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Hundreds of prefixes in one block: trees grow, split into pages, and join again.
    #[test]
    fn a_dense_block_equals_the_obvious(changes in prop::collection::vec(dense(), 1..900)) {
        let mut bench = Bench::new(1 << 12, 8);
        let empty = bench.w.memory();
        let mut reader = bench.reader();
        for (i, &(p, group)) in changes.iter().enumerate() {
            match group {
                Some(group) => bench.set(p, group),
                None => bench.del(p),
            }
            bench.settle(&mut reader);
            bench.check(&reader, &edges::<V6>(p));
            if i % 64 == 0 {
                bench.check(&reader, &bench.probes());
            }
        }
        bench.check(&reader, &bench.probes());
        bench.clear(reader, empty);
    }

    /// The same as one batch, or a few; what is refused leaves all as it was.
    #[test]
    fn batches_equal_the_obvious(
        batches in prop::collection::vec(prop::collection::vec(dense(), 1..300), 1..4),
        lines in prop_oneof![Just(1 << 12), 1usize..200],
    ) {
        let mut bench = Bench::new(lines, 8);
        let empty = bench.w.memory();
        let mut reader = bench.reader();
        for changes in batches {
            let op = |&(p, group): &(Ip6Prefix, Option<u32>)| group.map_or(Op::Del6(p), |g| Op::Set6(p, GroupId(g)));
            let batch: FibBatch = changes.iter().map(op).collect();
            match bench.w.apply(&batch) {
                Ok(()) => for (p, group) in changes {
                    match group {
                        Some(g) => bench.oracle.0.insert(p, GroupId(g)),
                        None => bench.oracle.0.remove(&p),
                    };
                },
                Err(e) => {
                    let full = matches!(e.refused[0].error, FibError::Full { .. });
                    prop_assert!(full && lines < 1 << 12, "{}", e);
                    let all: Vec<u128> = changes.iter().flat_map(|&(p, _)| edges::<V6>(p)).collect();
                    bench.check(&reader, &all);
                }
            }
            prop_assert_eq!(bench.w.len6(), bench.oracle.0.len());
            bench.check(&reader, &bench.probes());
            reader.quiescent();
        }
        bench.clear(reader, empty);
    }
}

/// Boundaries at every place where a line, a tree or a page is full, each time one more.
#[test]
fn one_more_and_one_less_at_every_size() {
    let mut bench = Bench::new(1 << 12, 8);
    let empty = bench.w.memory();
    let mut reader = bench.reader();
    let nth = |i: u32| prefix(BLOCK | u128::from(i * 3) << 80, 48);
    for i in 0..260 {
        bench.set(nth(i), 1 + i % GROUPS);
        bench.settle(&mut reader);
        bench.check(&reader, &bench.probes());
    }
    for i in 0..260 {
        bench.del(nth(i));
        bench.settle(&mut reader);
        bench.check(&reader, &bench.probes());
    }
    bench.clear(reader, empty);
}

/// Groups of more than 16 bits beside others, and bursts of every length at every offset of a line.
#[test]
fn bursts_of_every_size_with_wide_groups() {
    const MANY: u32 = 66_000;
    let mut bench = Bench::new(1 << 14, MANY as usize);
    let empty = bench.w.memory();
    let reader = bench.reader();
    bench.set(prefix(0, 0), 7);
    for i in 0..3000u64 {
        let r = random(i);
        let len = [48, 48, 44, 40, 32, 29, 64, 128][(r >> 32) as usize % 8];
        let addr = BLOCK & !(3 << 104)
            | u128::from(r) << 64 & (0xff_ffff << 80)
            | u128::from(r & 3) << 104;
        let group = match i % 4 {
            0 => MANY - (r >> 40) as u32 % 900,
            _ => 1 + (r >> 40) as u32 % 60_000,
        };
        bench.set(prefix(addr, len), group);
    }
    let mut probes = bench.probes();
    let shuffled = (0..probes.len()).rev();
    for i in shuffled {
        probes.swap(i, random(i as u64) as usize % (i + 1));
    }
    bench.check(&reader, &probes);
    let right: Vec<GroupId> = probes.iter().map(|&a| bench.oracle.lookup(a)).collect();
    let view = bench.tables[1].read(&reader);
    for n in 0..=256 {
        let from = n * 7 % (probes.len() - 256);
        let mut found = vec![GroupId(99); n + 1];
        view.lookup6_burst(&probes[from..from + n], &mut found);
        assert_eq!(found[..n], right[from..from + n], "a burst of {n}");
        assert_eq!(found[n], GroupId(99), "nothing is written past the end");
        let wire: Vec<[u8; 16]> = probes[from..from + n]
            .iter()
            .map(|a| a.to_be_bytes())
            .collect();
        found.fill(GroupId(99));
        view.lookup6_burst_bytes(&wire, &mut found);
        assert_eq!(found[..n], right[from..from + n], "a burst of {n}");
        assert_eq!(found[n], GroupId(99), "nothing is written past the end");
        view.lookup6_burst(&probes[from..from + 256], &mut found[..n]);
        assert_eq!(found[..n], right[from..from + n], "room for {n}");
    }
    bench.clear(reader, empty);
}

/// With a reader that never reports, whatever is there can be removed, and every answer is right.
#[test]
fn removing_needs_no_room() {
    let mut bench = Bench::new(64, 8);
    let empty = bench.w.memory();
    let mut reader = bench.reader();
    let mut refused = 0;
    for i in 0..400u64 {
        let r = random(i);
        let p = prefix(BLOCK | u128::from(r) << 56, 40 + (r >> 60) as u8);
        match bench.w.set6(p, GroupId(1 + i as u32 % GROUPS)) {
            Ok(()) => drop(bench.oracle.0.insert(p, GroupId(1 + i as u32 % GROUPS))),
            Err(e) => {
                assert!(matches!(e, FibError::Full { .. }));
                refused += 1;
            }
        }
        bench.settle(&mut reader);
    }
    assert!(refused > 0 && bench.oracle.0.len() > 50);
    for (i, p) in bench.oracle.0.clone().into_keys().enumerate() {
        bench.del(p);
        if i % 8 == 0 {
            bench.check(&reader, &bench.probes());
        }
    }
    bench.clear(reader, empty);
}

/// A million changes, and the memory is what it was: nothing leaks, and what is free can be used.
#[test]
fn a_million_changes_leave_no_growth() {
    let mut bench = Bench::new(1 << 11, 64);
    let mut reader = bench.reader();
    let nth = |i: u64| {
        let r = random(i);
        let len = [48, 48, 48, 44, 40, 36, 32, 29, 64][(r >> 56) as usize % 9];
        prefix(BLOCK | u128::from(r & 0xff_ffff) << 80, len)
    };
    let pool: BTreeMap<Ip6Prefix, GroupId> = (0..1500)
        .map(|i| (nth(i), GroupId(1 + random(i ^ 77) as u32 % 64)))
        .collect();
    for (&p, &group) in &pool {
        bench.set(p, group.0);
        bench.settle(&mut reader);
    }
    bench.check(&reader, &bench.probes());
    let before = bench.w.memory();
    let all: Vec<(Ip6Prefix, GroupId)> = pool.into_iter().collect();
    for i in 0..500_000u64 {
        let r = random(i ^ 0x5555_5555);
        let (p, group) = all[r as usize % all.len()];
        // Half of them stay away for a while: the table breathes.
        if r >> 63 == 0 {
            bench.w.del6(p).unwrap();
        } else {
            bench.w.set6(p, GroupId(1 + (r >> 40) as u32 % 64)).unwrap();
        }
        let (p, group) = if i % 2 == 0 {
            (p, group)
        } else {
            all[(r >> 20) as usize % all.len()]
        };
        bench.w.set6(p, group).unwrap();
        if i % 16 == 0 {
            bench.settle(&mut reader);
        }
    }
    for &(p, group) in &all {
        bench.w.set6(p, group).unwrap();
        bench.settle(&mut reader);
    }
    bench.w.flush();
    bench.check(&reader, &bench.probes());
    // Pages come a little earlier than they go, so a few may have stayed.
    let after = bench.w.memory();
    let grown = after.lookup as f64 / before.lookup as f64;
    assert!(grown < 1.01, "{before:?}, {after:?}");
    // And a table that is emptied has it all back.
    for &(p, _) in &all {
        bench.del(p);
        bench.settle(&mut reader);
    }
    bench.w.flush();
    let empty = Bench::new(1 << 11, 64).w.memory();
    assert_eq!(bench.w.memory().lookup, empty.lookup);
}
