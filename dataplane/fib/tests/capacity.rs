//! How much fits, what happens when no more does, and when what was given back can be had again.

mod common;

use common::*;
use fib::{Adjacency, FibBatch, FibError, FibWriter, LabelEntry, Op, Path, Sizes, Target, TtlMode};
use net::{AdjId, GroupId, IfaceId, Ip4Prefix, Ip6Prefix, Label, PortId};
use proptest::prelude::*;
use rcu::Domain;
use std::collections::BTreeMap;

fn adjacency(n: u32) -> Adjacency {
    let next_hop = std::net::Ipv4Addr::from(n).into();
    Adjacency::incomplete(IfaceId(1), PortId(1), 1500, next_hop)
}

fn p4(s: &str) -> Ip4Prefix {
    s.parse().unwrap()
}

fn p6(s: &str) -> Ip6Prefix {
    s.parse().unwrap()
}

fn full(e: FibError) -> bool {
    matches!(e, FibError::Full { .. })
}

#[test]
fn full_tables_refuse_and_stay_as_they_are() {
    let domain = Domain::new();
    let sizes = Sizes {
        words4: 1 << 12,
        tbl8: 2,
        nodes6: 2,
        vrf_lines: 2,
        groups: 2,
        adjacencies: 1,
    };
    let mut w = FibWriter::with_sizes(&[], &domain, sizes).unwrap();
    let tables = w.replica(0);
    let mut reader = domain.register("test");

    let adj = w.add_adj(adjacency(1)).unwrap();
    assert!(full(w.add_adj(adjacency(2)).unwrap_err()));
    let over = [(Path::to(Target::Adjacency(adj)), 1)];
    let (a, b) = (w.add_group(&over).unwrap(), w.add_group(&over).unwrap());
    assert!(full(w.add_group(&over).unwrap_err()));

    w.set4(p4("10.0.0.0/24"), a).unwrap();
    w.set4(p4("10.0.0.1/32"), b).unwrap();
    w.set4(p4("10.0.1.1/32"), b).unwrap();
    assert!(full(w.set4(p4("10.0.2.1/32"), b).unwrap_err()));
    assert_eq!((w.get4(p4("10.0.2.1/32")), w.len4()), (None, 3));
    assert_eq!(tables.read(&reader).lookup4(0x0a00_0201), GroupId::NONE);
    w.set4(p4("10.0.1.128/25"), a).unwrap(); // in a block that is there
    assert_eq!(w.del4(p4("10.0.0.1/32")), Ok(true));
    assert!(
        full(w.set4(p4("10.0.2.1/32"), b).unwrap_err()),
        "a reader may still be in the block"
    );
    reader.quiescent();
    w.set4(p4("10.0.2.1/32"), b).unwrap(); // takes it back by itself
    assert_eq!(tables.read(&reader).lookup4(0x0a00_0001), a);
    assert_eq!(tables.read(&reader).lookup4(0x0a00_0201), b);

    w.set6(p6("2001:db8::/48"), a).unwrap(); // a line
    w.set6(p6("2001:db9::/48"), b).unwrap(); // another in its place, which a reader may still look at
    assert!(full(w.set6(p6("2001:dba::/48"), b).unwrap_err()));
    assert_eq!((w.get6(p6("2001:dba::/48")), w.len6()), (None, 2));
    assert_eq!(
        tables.read(&reader).lookup6(0x2001_0dba << 96),
        GroupId::NONE
    );
    assert_eq!(tables.read(&reader).lookup6(0x2001_0db9 << 96), b);
    reader.quiescent();
    w.set6(p6("2001:dba::/48"), b).unwrap(); // takes it back by itself
    assert_eq!(tables.read(&reader).lookup6(0x2001_0dba << 96), b);
    // Removing is never refused.
    assert_eq!(w.del6(p6("2001:dba::/48")), Ok(true));
    assert_eq!(w.del6(p6("2001:db8::/48")), Ok(true));
    assert_eq!(
        tables.read(&reader).lookup6(0x2001_0db8 << 96),
        GroupId::NONE
    );
    assert_eq!(tables.read(&reader).lookup6(0x2001_0db9 << 96), b);
}

#[test]
fn what_is_in_use_stays() {
    let (_domain, mut w) = writer(&[]);
    let adj = w.add_adj(adjacency(1)).unwrap();
    let over = [
        (Path::to(Target::Adjacency(adj)), 1),
        (Path::to(Target::Adjacency(adj)), 2),
    ];
    let g = w.add_group(&over).unwrap();
    assert_eq!(
        w.remove_adj(adj),
        Err(FibError::AdjInUse { id: adj, paths: 2 })
    );
    w.set4(p4("10.0.0.0/8"), g).unwrap();
    w.set6(p6("::/0"), g).unwrap();
    w.set4(p4("10.0.0.0/8"), g).unwrap(); // again: counts once
    assert_eq!(
        w.remove_group(g),
        Err(FibError::GroupInUse { id: g, entries: 2 })
    );
    w.set4(p4("10.0.0.0/8"), GroupId(1)).unwrap();
    assert_eq!(w.del6(p6("::/0")), Ok(true));
    assert_eq!(w.remove_group(g), Ok(()));
    assert_eq!(w.remove_group(g), Err(FibError::NoSuchGroup(g)));
    assert_eq!(w.set4(p4("10.0.0.0/8"), g), Err(FibError::NoSuchGroup(g)));
    assert_eq!(
        w.set4(p4("10.0.0.0/8"), GroupId::NONE),
        Err(FibError::NoSuchGroup(GroupId::NONE))
    );
    assert_eq!(w.replace_group(g, &over), Err(FibError::NoSuchGroup(g)));
    assert_eq!(w.remove_adj(adj), Ok(()));
    assert_eq!(w.remove_adj(adj), Err(FibError::NoSuchAdj(adj)));
    assert_eq!(
        w.replace_adj(adj, adjacency(2)),
        Err(FibError::NoSuchAdj(adj))
    );
    assert_eq!(w.add_group(&over), Err(FibError::NoSuchAdj(adj)));
    assert_eq!(
        w.remove_adj(AdjId(u32::MAX)),
        Err(FibError::NoSuchAdj(AdjId(u32::MAX)))
    );
}

/// A worker that found an id before it went finds what it names until it reports; only then is the id used again.
#[test]
fn ids_are_good_until_readers_report() {
    let (domain, mut w) = writer(&[0, 1]);
    let tables = w.replica(1);
    let mut reader = domain.register("slow");
    let adj = w.add_adj(adjacency(7)).unwrap();
    let g = w
        .add_group(&[(Path::to(Target::Adjacency(adj)), 1)])
        .unwrap();
    w.set4(p4("10.0.0.0/8"), g).unwrap();
    {
        let view = tables.read(&reader);
        let found = view.lookup4(0x0a00_0001);
        assert_eq!(w.del4(p4("10.0.0.0/8")), Ok(true));
        w.remove_group(g).unwrap();
        w.remove_adj(adj).unwrap();
        for _ in 0..3 {
            w.flush();
            let other = w.add_adj(adjacency(8)).unwrap();
            assert_ne!(other, adj);
            assert_ne!(w.add_group(&[(blackhole(), 1)]).unwrap(), g);
        }
        let path = view.group(found).expect("still there").select(0);
        let Target::Adjacency(id) = path.target else {
            panic!("{path:?}")
        };
        assert_eq!(view.adj(id).expect("still there"), &adjacency(7));
        view.adj(id).unwrap().mark_used();
    }
    reader.quiescent();
    w.flush();
    assert!(tables.read(&reader).group(g).is_none() && tables.read(&reader).adj(adj).is_none());
    assert_eq!(w.add_adj(adjacency(9)).unwrap(), adj);
    assert_eq!(w.add_group(&[(blackhole(), 1)]).unwrap(), g);
    assert!(!w.adj_used_take(adj), "not its predecessor's");
    tables.read(&reader).adj(adj).unwrap().mark_used();
    assert!(w.adj_used_take(adj) && !w.adj_used_take(adj));
}

fn batch(ops: &[Op]) -> FibBatch {
    ops.iter().copied().collect()
}

#[test]
fn a_batch_that_names_what_is_not_there_does_nothing() {
    let (_domain, mut w) = writer(&[]);
    let unknown = GroupId(60);
    let label = Label::new(100).unwrap();
    let refused = batch(&[
        Op::Set4(p4("10.0.0.0/8"), GroupId(1)),
        Op::Set4(p4("10.1.0.0/16"), unknown),
        Op::Set6(p6("2001:db8::/32"), GroupId(2)),
        Op::SetLabel(label, LabelEntry::forward(unknown, TtlMode::Uniform)),
        // Made good later, but wrong all the same.
        Op::SetLabel(label, LabelEntry::pop_lookup(TtlMode::Uniform)),
        Op::Del4(p4("172.16.0.0/12")),
    ]);
    w.set4(p4("172.16.0.0/12"), GroupId(3)).unwrap();
    let error = w.apply(&refused).unwrap_err();
    assert_eq!(
        error.refused.iter().map(|r| r.index).collect::<Vec<_>>(),
        [1, 3]
    );
    assert!(
        error
            .refused
            .iter()
            .all(|r| r.error == FibError::NoSuchGroup(unknown))
    );
    assert!(
        error.to_string().starts_with("nothing was changed: 2 "),
        "{error}"
    );
    assert_eq!((w.len4(), w.len6(), w.labels()), (1, 0, 0));
    assert_eq!(w.apply(&FibBatch::new()), Ok(()));
}

#[test]
fn the_last_change_of_a_prefix_counts() {
    let (_domain, mut w) = writer(&[]);
    let label = Label::new(100).unwrap();
    let pop = LabelEntry::pop_lookup(TtlMode::Uniform);
    w.set4(p4("10.2.0.0/16"), GroupId(1)).unwrap();
    let done = w.apply(&batch(&[
        Op::Set4(p4("10.0.0.0/8"), GroupId(1)),
        Op::Del4(p4("10.0.0.0/8")),
        Op::Set4(p4("10.0.0.0/8"), GroupId(2)),
        Op::Set6(p6("2001:db8::/32"), GroupId(2)),
        Op::Del6(p6("2001:db8::/32")),
        Op::Set4(p4("10.2.0.0/16"), GroupId(4)),
        Op::Del4(p4("10.2.0.0/16")),
        Op::DelLabel(label),
        Op::SetLabel(label, pop),
    ]));
    assert_eq!(done, Ok(()));
    assert_eq!(
        (w.get4(p4("10.0.0.0/8")), w.len4(), w.len6(), w.labels()),
        (Some(GroupId(2)), 1, 0, 1)
    );
    let none = batch(&[Op::SetLabel(label, LabelEntry::UNKNOWN)]);
    assert_eq!((w.apply(&none), w.labels()), (Ok(()), 0));
}

/// A change of a batch: to a prefix of either family, or a label.
fn any_op() -> impl Strategy<Value = Op> {
    let v4 = any_change::<V4>().prop_map(|c| match c.group {
        Some(g) => Op::Set4(c.prefix, g),
        None => Op::Del4(c.prefix),
    });
    let v6 = any_change::<V6>().prop_map(|c| match c.group {
        Some(g) => Op::Set6(c.prefix, g),
        None => Op::Del6(c.prefix),
    });
    let label = (16u32..20, 0..=GROUPS + 1).prop_map(|(l, g)| {
        let l = Label::new(l).unwrap();
        match g {
            0 => Op::DelLabel(l),
            g if g > GROUPS => Op::SetLabel(l, LabelEntry::pop_lookup(TtlMode::Pipe)),
            g => Op::SetLabel(l, LabelEntry::forward(GroupId(g), TtlMode::Uniform)),
        }
    });
    let vrf4 = any_change::<Vrf4>().prop_map(
        |Change {
             prefix: (v, p),
             group,
         }| match group {
            Some(g) => Op::SetVrf4(v, p, g),
            None => Op::DelVrf4(v, p),
        },
    );
    let vrf6 = any_change::<Vrf6>().prop_map(
        |Change {
             prefix: (v, p),
             group,
         }| match group {
            Some(g) => Op::SetVrf6(v, p, g),
            None => Op::DelVrf6(v, p),
        },
    );
    prop_oneof![4 => v4, 4 => v6, 3 => vrf4, 3 => vrf6, 1 => label]
}

/// What the tables should hold.
#[derive(Clone)]
struct Model {
    v4: Oracle<V4>,
    v6: Oracle<V6>,
    vrf4: Oracle<Vrf4>,
    vrf6: Oracle<Vrf6>,
    labels: BTreeMap<Label, LabelEntry>,
}

impl Model {
    fn apply(&mut self, op: Op) {
        match op {
            Op::Set4(prefix, g) => drop(self.v4.0.insert(prefix, g)),
            Op::Del4(prefix) => drop(self.v4.0.remove(&prefix)),
            Op::Set6(prefix, g) => drop(self.v6.0.insert(prefix, g)),
            Op::Del6(prefix) => drop(self.v6.0.remove(&prefix)),
            Op::SetVrf4(v, p, g) => drop(self.vrf4.0.insert((v, p), g)),
            Op::DelVrf4(v, p) => drop(self.vrf4.0.remove(&(v, p))),
            Op::SetVrf6(v, p, g) => drop(self.vrf6.0.insert((v, p), g)),
            Op::DelVrf6(v, p) => drop(self.vrf6.0.remove(&(v, p))),
            Op::SetLabel(l, e) => drop(self.labels.insert(l, e)),
            Op::DelLabel(l) => drop(self.labels.remove(&l)),
        }
    }

    /// Looks at every prefix that was ever named, at its edges, from the readers' side too.
    fn check(&self, w: &FibWriter, reader: &rcu::Reader, ops: &[Op]) {
        assert_eq!((w.len4(), w.len6()), (self.v4.0.len(), self.v6.0.len()));
        assert_eq!(w.labels(), self.labels.len());
        let tables = w.replica(0);
        let view = tables.read(reader);
        for op in ops {
            match *op {
                Op::Set4(p, _) | Op::Del4(p) => {
                    assert_eq!(w.get4(p), self.v4.0.get(&p).copied(), "{p:?}");
                    for a in edges::<V4>(p) {
                        assert_eq!(view.lookup4(a), self.v4.lookup(a), "{a:x}");
                    }
                }
                Op::Set6(p, _) | Op::Del6(p) => {
                    assert_eq!(w.get6(p), self.v6.0.get(&p).copied(), "{p:?}");
                    for a in edges::<V6>(p) {
                        assert_eq!(view.lookup6(a), self.v6.lookup(a), "{a:x}");
                    }
                }
                Op::SetVrf4(v, p, _) | Op::DelVrf4(v, p) => {
                    assert_eq!(w.get_vrf4(v, p), self.vrf4.0.get(&(v, p)).copied(), "{p:?}");
                    for a in edges::<Vrf4>((v, p)) {
                        assert_eq!(view.lookup4_in(a.0, a.1), self.vrf4.lookup(a), "{a:?}");
                    }
                }
                Op::SetVrf6(v, p, _) | Op::DelVrf6(v, p) => {
                    assert_eq!(w.get_vrf6(v, p), self.vrf6.0.get(&(v, p)).copied(), "{p:?}");
                    for a in edges::<Vrf6>((v, p)) {
                        assert_eq!(view.lookup6_in(a.0, a.1), self.vrf6.lookup(a), "{a:?}");
                    }
                }
                Op::SetLabel(l, _) | Op::DelLabel(l) => {
                    let want = self.labels.get(&l).copied().unwrap_or_default();
                    assert_eq!(view.label(l), want);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// In tables with next to no room, and with a reader that reports now and then.
    #[test]
    fn a_batch_is_applied_whole_or_not_at_all(
        batches in prop::collection::vec((prop::collection::vec(any_op(), 1..12), any::<bool>()), 1..12),
    ) {
        let domain = Domain::new();
        let sizes = Sizes { words4: 1 << 16, tbl8: 3, nodes6: 6, vrf_lines: 12, groups: 64, adjacencies: 1 };
        let mut w = FibWriter::with_sizes(&[], &domain, sizes).unwrap();
        for _ in 0..GROUPS {
            w.add_group(&[(blackhole(), 1)]).unwrap();
        }
        let mut reader = domain.register("now and then");
        let mut model = Model { v4: Oracle::new(), v6: Oracle::new(), vrf4: Oracle::new(), vrf6: Oracle::new(), labels: BTreeMap::new() };
        let all: Vec<Op> = batches.iter().flat_map(|(ops, _)| ops.iter().copied()).collect();
        for (ops, report) in &batches {
            match w.apply(&batch(ops)) {
                Ok(()) => ops.iter().for_each(|&op| model.apply(op)),
                Err(e) => {
                    let [r] = &e.refused[..] else { panic!("{e:?}") };
                    prop_assert!(full(r.error) && ops[r.index] == r.op, "{e:?}");
                }
            }
            model.check(&w, &reader, &all);
            if *report {
                reader.quiescent();
                w.flush();
            }
        }
        // Who uses which group has been kept, too: with everything gone, each can be removed.
        let clear = all.iter().map(|op| match *op {
            Op::Set4(p, _) | Op::Del4(p) => Op::Del4(p),
            Op::Set6(p, _) | Op::Del6(p) => Op::Del6(p),
            Op::SetVrf4(v, p, _) | Op::DelVrf4(v, p) => Op::DelVrf4(v, p),
            Op::SetVrf6(v, p, _) | Op::DelVrf6(v, p) => Op::DelVrf6(v, p),
            Op::SetLabel(l, _) | Op::DelLabel(l) => Op::DelLabel(l),
        });
        prop_assert_eq!(w.apply(&clear.collect()), Ok(()));
        for g in 1..=GROUPS {
            prop_assert_eq!(w.remove_group(GroupId(g)), Ok(()));
        }
        // And all room comes back.
        reader.quiescent();
        w.flush();
        let g = w.add_group(&[(blackhole(), 1)]).unwrap();
        for i in 0..3u32 {
            prop_assert_eq!(w.set4(Ip4Prefix::new(i << 8 | 1, 32).unwrap(), g), Ok(()));
        }
    }
}

/// 70,000 adjacencies, 70,000 groups, and a million prefixes over them.
#[test]
fn a_large_table() {
    let domain = Domain::new();
    let mut w = FibWriter::new(&[], &domain).unwrap();
    let groups: Vec<GroupId> = (0..70_000)
        .map(|i| {
            let adj = w.add_adj(adjacency(i)).unwrap();
            w.add_group(&[(Path::to(Target::Adjacency(adj)), 1)])
                .unwrap()
        })
        .collect();
    let group = |i: u32| groups[i as usize % groups.len()];
    for i in 0..1_000_000u32 {
        w.set4(Ip4Prefix::new(i << 8, 24).unwrap(), group(i))
            .unwrap();
        if i % 8 == 0 {
            w.set6(
                Ip6Prefix::new(0x2001_0000 << 96 | u128::from(i) << 80, 48).unwrap(),
                group(i),
            )
            .unwrap();
        }
    }
    assert_eq!((w.len4(), w.len6()), (1_000_000, 125_000));
    let tables = w.replica(0);
    let reader = domain.register("test");
    let view = tables.read(&reader);
    for i in (0..1_000_000u32).step_by(997) {
        let found = view.lookup4(i << 8 | 9);
        assert_eq!(found, group(i));
        let Target::Adjacency(adj) = view.group(found).unwrap().select(i).target else {
            panic!()
        };
        assert_eq!(view.adj(adj).unwrap(), &adjacency(i % 70_000));
        let found = view.lookup6(0x2001_0000 << 96 | u128::from(i) << 80 | 1);
        assert_eq!(found, if i % 8 == 0 { group(i) } else { GroupId::NONE });
    }
    assert!(
        w.memory().lookup + w.memory().update < 512 << 20,
        "{:?}",
        w.memory()
    );
}

/// Empty tables, and tables with default routes, cost next to nothing.
#[test]
fn an_empty_table_is_small() {
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let domain = Domain::new();
    let before = resident();
    let mut w = FibWriter::new(&[], &domain).unwrap();
    let g = w.add_group(&[(blackhole(), 1)]).unwrap();
    w.set4(p4("0.0.0.0/0"), g).unwrap();
    w.set6(p6("::/0"), g).unwrap();
    w.set6(p6("2001:db8::/64"), g).unwrap();
    let grown = resident() - before;
    assert!(grown < 8 << 20, "{grown} bytes");
}
