//! The IPv4 table where it is hard: lines of every form and the changes between them, prefixes longer than /24, bursts of
//! every size, no room, and no end of changes.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use fib::{FibBatch, FibError, FibWriter, Op, Sizes, Tables};
use net::{GroupId, Ip4Prefix};
use rcu::{Domain, Reader};

/// Groups that a byte names, that 16 bits name, and that neither does.
const SMALL: u32 = 200;
const LARGE: u32 = 3_000;
const HUGE: u32 = 66_000;

fn prefix(addr: u32, len: u8) -> Ip4Prefix {
    Ip4Prefix::new(addr, len).unwrap()
}

fn random(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

/// A table, a reader, and what the table should hold.
struct Bench {
    domain: Arc<Domain>,
    w: FibWriter,
    tables: [Arc<Tables>; 2],
    oracle: Oracle<V4>,
}

impl Bench {
    fn new(words4: usize) -> Self {
        let domain = Domain::new();
        let sizes = Sizes {
            words4,
            ..Sizes::default()
        };
        let mut w = FibWriter::with_sizes(&[0, 1], &domain, sizes).unwrap();
        for _ in 0..HUGE {
            w.add_group(&[(blackhole(), 1)]).unwrap();
        }
        let tables = [w.replica(0), w.replica(1)];
        let oracle = Oracle::new();
        Self {
            domain,
            w,
            tables,
            oracle,
        }
    }

    fn apply(&mut self, ops: impl IntoIterator<Item = (Ip4Prefix, Option<u32>)>) {
        let mut batch = FibBatch::new();
        for (p, group) in ops {
            match group.map(GroupId) {
                Some(group) => {
                    batch.push(Op::Set4(p, group));
                    self.oracle.0.insert(p, group);
                }
                None => {
                    batch.push(Op::Del4(p));
                    self.oracle.0.remove(&p);
                }
            }
        }
        self.w.apply(&batch).unwrap();
        assert_eq!(self.w.len4(), self.oracle.0.len());
    }

    /// Goes on until nothing waits.
    fn settle(&mut self, reader: &mut Reader) {
        for _ in 0..1000 {
            self.w.flush();
            reader.quiescent();
        }
        assert_eq!(self.w.pending(), 0);
    }

    /// Every way to look up gives the right answers.
    fn check(&self, reader: &Reader, probes: &[u32]) {
        let right: Vec<GroupId> = probes.iter().map(|&a| self.oracle.lookup(a)).collect();
        for t in &self.tables {
            let view = t.read(reader);
            for (&a, &group) in probes.iter().zip(&right) {
                assert_eq!(view.lookup4(a), group, "{a:#x}");
            }
            let mut found = vec![GroupId(u32::MAX); probes.len()];
            view.lookup4_burst(probes, &mut found);
            assert_eq!(found, right);
            found.fill(GroupId(u32::MAX));
            view.lookup4_burst_scalar(probes, &mut found);
            assert_eq!(found, right);
        }
    }
}

/// Some addresses of some prefixes, those at their edges among them.
fn probes(all: &[Ip4Prefix]) -> Vec<u32> {
    let some = all.iter().step_by(1 + all.len() / 500);
    some.flat_map(|&p| edges::<V4>(p)).collect()
}

/// Prefixes of all lengths from 8 on, most of them /24s, in so many /18s.
fn prefixes(blocks: u32, n: u32) -> Vec<Ip4Prefix> {
    let one = |i: u32| {
        let r = random(i.into());
        let len = match r % 32 {
            0 => 25 + (r >> 8) % 8,
            1 => 9 + (r >> 8) % 9,
            2..8 => 18 + (r >> 8) % 6,
            _ => 24,
        };
        let block = (r >> 16) as u32 % blocks;
        prefix(
            10 << 24 | block << 14 | (r >> 40) as u32 & 0x3fff,
            len as u8,
        )
    };
    let mut all: Vec<Ip4Prefix> = (0..n).map(one).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// From small groups to large ones and back, and on to those that no short form holds: lines change their form, names
/// their meaning, and answers stay right at every step.
#[test]
fn lines_of_every_form() {
    let mut bench = Bench::new(1 << 20);
    let mut reader = bench.domain.register("test");
    let all = prefixes(300, 6_000);
    let probes = probes(&all);
    let empty = bench.w.memory();
    for (round, groups) in [SMALL, LARGE, SMALL, HUGE, LARGE, SMALL]
        .into_iter()
        .enumerate()
    {
        let group = |i: usize| Some(1 + random((i + round * 10_000) as u64) as u32 % groups);
        for (n, some) in all.chunks(all.len() / 3 + 1).enumerate() {
            let at = n * (all.len() / 3 + 1);
            bench.apply(some.iter().enumerate().map(|(i, &p)| (p, group(at + i))));
            bench.check(&reader, &probes);
        }
        bench.settle(&mut reader);
        bench.check(&reader, &probes);
    }
    bench.apply(all.iter().map(|&p| (p, None)));
    bench.settle(&mut reader);
    bench.check(&reader, &probes);
    assert_eq!(bench.w.memory().lookup4, empty.lookup4);
}

#[test]
fn bursts_of_every_size() {
    let mut bench = Bench::new(1 << 20);
    let reader = bench.domain.register("test");
    let all = prefixes(50, 1_000);
    for groups in [SMALL, LARGE, HUGE] {
        // Some routes are in the short table only, and some addresses have none.
        let short = [
            (prefix(10 << 24, 7), Some(5)),
            (prefix(0xc000_0000, 3), Some(7)),
        ];
        let set = |(i, &p): (usize, &Ip4Prefix)| (p, Some(1 + random(i as u64) as u32 % groups));
        bench.apply(all.iter().enumerate().map(set).chain(short));
        let to: Vec<u32> = (0..257u64)
            .map(|i| match random(i) {
                r if r.is_multiple_of(8) => r as u32,
                r => all[r as usize % all.len()].addr() | (r >> 32) as u32 & 0xff,
            })
            .collect();
        for n in 0..=to.len() {
            let mut found = vec![GroupId(u32::MAX); to.len()];
            bench.tables[0]
                .read(&reader)
                .lookup4_burst(&to[..n], &mut found[..n]);
            let right = to[..n].iter().map(|&a| bench.oracle.lookup(a));
            assert!(
                right.eq(found[..n].iter().copied()),
                "{n} of {groups} groups"
            );
            assert!(found[n..].iter().all(|&g| g == GroupId(u32::MAX)), "{n}");
        }
    }
}

/// One change of a prefix that covers half of all: every line below it is written anew.
#[test]
fn a_short_prefix_over_many_lines() {
    let mut bench = Bench::new(1 << 20);
    let reader = bench.domain.register("test");
    let all = prefixes(1024, 4_000);
    bench.apply(all.iter().map(|&p| (p, Some(1 + p.addr() % 97))));
    let probes = probes(&all);
    for len in [8, 9, 12, 17, 7, 0] {
        let p = prefix(10 << 24, len);
        let had = bench.oracle.0.get(&p).map(|g| g.0);
        for group in [Some(11), Some(12), had] {
            bench.apply([(p, group)]);
            bench.check(&reader, &probes);
        }
    }
}

/// What does not fit is refused with all as it was, and what is there can always be removed.
#[test]
fn no_room() {
    let mut bench = Bench::new(1 << 14);
    let mut reader = bench.domain.register("test");
    let all = prefixes(1024, 60_000);
    let half = &all[..all.len() / 20];
    bench.apply(half.iter().map(|&p| (p, Some(1 + p.addr() % 97))));
    bench.settle(&mut reader);
    let (probes, before) = (probes(&all), bench.w.memory());
    let much: FibBatch = all
        .iter()
        .map(|&p| Op::Set4(p, GroupId(1 + random(p.addr().into()) as u32 % LARGE)))
        .collect();
    for _ in 0..3 {
        let asked = bench.w.room_for(&much).unwrap_err();
        let refused = bench.w.apply(&much).unwrap_err();
        assert_eq!(asked, refused);
        assert!(
            matches!(refused.refused[0].error, FibError::Full { .. }),
            "{refused}"
        );
        bench.check(&reader, &probes);
        bench.settle(&mut reader);
        assert_eq!(bench.w.memory().lookup, before.lookup);
    }
    // One by one until it is full; then everything goes, with a reader that never reports but at the end.
    let mut n = 0;
    for &p in &all {
        let group = GroupId(1 + p.addr() % 97);
        match bench.w.set4(p, group) {
            Ok(()) => {
                bench.oracle.0.insert(p, group);
            }
            Err(e) => {
                assert!(matches!(e, FibError::Full { .. }), "{e}");
                n += 1;
            }
        }
        reader.quiescent();
    }
    assert!(n > 0, "all of it fits");
    bench.check(&reader, &probes);
    bench.settle(&mut reader);
    let there: Vec<Ip4Prefix> = bench.oracle.0.keys().copied().collect();
    for some in there.chunks(there.len() / 4 + 1) {
        bench.apply(some.iter().map(|&p| (p, None)));
        bench.check(&reader, &probes);
        reader.quiescent();
    }
    assert_eq!(bench.w.len4(), 0);
}

/// Days of changes in a full table of its size: no growth, and nothing left in the end.
#[test]
fn a_million_changes_leave_no_growth() {
    let mut bench = Bench::new(1 << 20);
    let mut reader = bench.domain.register("test");
    let empty = bench.w.memory();
    let all = prefixes(400, 12_000);
    let group = |r: u64| GroupId(1 + (r >> 40) as u32 % LARGE);
    let mut most = [0; 2];
    for i in 0..1_000_000u64 {
        let r = random(i);
        let p = all[r as usize % all.len()];
        if (r >> 32).is_multiple_of(3) {
            bench.oracle.0.remove(&p);
            bench.w.del4(p).unwrap();
        } else {
            bench.oracle.0.insert(p, group(r));
            bench.w.set4(p, group(r)).unwrap();
        }
        reader.quiescent();
        bench.w.flush();
        if i % 1_000 == 0 {
            let half = usize::from(i >= 500_000);
            most[half] = most[half].max(bench.w.memory().lookup4);
        }
    }
    assert!(
        most[1] < most[0] + most[0] / 10,
        "{most:?} bytes in the halves"
    );
    bench.check(&reader, &probes(&all));
    bench.apply(all.iter().map(|&p| (p, None)));
    bench.settle(&mut reader);
    assert_eq!(bench.w.memory().lookup4, empty.lookup4);
}

/// Readers beside a writer that makes lines and names change their form all the time: every answer was right at some
/// moment of the look.
#[test]
fn readers_never_see_a_name_by_the_wrong_rule() {
    const STEPS: usize = 400;
    let mut bench = Bench::new(1 << 20);
    let all: Vec<Ip4Prefix> = (0..4_096).map(|i| prefix(10 << 24 | i << 12, 20)).collect();
    let to: Vec<u32> = all.iter().step_by(7).map(|p| p.addr() | 0x321).collect();
    // Every prefix has a group that only it and the step have, so that a wrong name shows.
    let right = |p: u32, step: usize| {
        let groups = [SMALL, LARGE, HUGE, LARGE][step % 4];
        1 + (random(u64::from(p >> 12) ^ (step as u64) << 32) as u32) % groups
    };
    bench.apply(all.iter().map(|&p| (p, Some(right(p.addr(), 0)))));
    let (started, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|s| {
        for scalar in [false, true] {
            let mut reader = bench.domain.register("reader");
            let (tables, to, started, done) = (&bench.tables[0], &to, &started, &done);
            let tables = Arc::clone(tables);
            s.spawn(move || {
                let mut found = vec![GroupId::NONE; to.len()];
                while done.load(Ordering::SeqCst) < STEPS {
                    let from = done.load(Ordering::SeqCst);
                    let view = tables.read(&reader);
                    if scalar {
                        view.lookup4_burst_scalar(to, &mut found);
                    } else {
                        view.lookup4_burst(to, &mut found);
                    }
                    let until = started.load(Ordering::SeqCst);
                    for (&a, group) in to.iter().zip(&found) {
                        let ok = (from..=until).any(|step| right(a, step) == group.0);
                        assert!(ok, "{a:#x}: {group} between {from} and {until}");
                    }
                    reader.quiescent();
                }
            });
        }
        for step in 1..=STEPS {
            started.store(step, Ordering::SeqCst);
            bench.apply(all.iter().map(|&p| (p, Some(right(p.addr(), step)))));
            for _ in 0..20 {
                bench.w.flush();
            }
            done.store(step, Ordering::SeqCst);
        }
    });
}
