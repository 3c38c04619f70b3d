//! How much fits, what happens when no more does, and when what was given back can be had again.

mod common;

use common::*;
use fib::{Adjacency, FibBatch, FibError, FibWriter, LabelEntry, Op, Path, Sizes, Target, TtlMode};
use net::{AdjId, GroupId, IfaceId, Ip4Prefix, Ip6Prefix, Label, PortId};
use rcu::Domain;

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
        tbl8: 2,
        nodes6: 2,
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
    assert!(w.del4(p4("10.0.0.1/32")));
    assert!(
        full(w.set4(p4("10.0.2.1/32"), b).unwrap_err()),
        "a reader may still be in the block"
    );
    reader.quiescent();
    w.set4(p4("10.0.2.1/32"), b).unwrap(); // takes it back by itself
    assert_eq!(tables.read(&reader).lookup4(0x0a00_0001), a);
    assert_eq!(tables.read(&reader).lookup4(0x0a00_0201), b);

    w.set6(p6("2001:db8::/48"), a).unwrap();
    // Needs a node that parts the two, and one of its own: there is one left, which must come back.
    assert!(full(w.set6(p6("2001:db9::/48"), b).unwrap_err()));
    assert_eq!((w.get6(p6("2001:db9::/48")), w.len6()), (None, 1));
    assert_eq!(
        tables.read(&reader).lookup6(0x2001_0db9 << 96),
        GroupId::NONE
    );
    w.set6(p6("2001:db8::/31"), b).unwrap(); // parts the way and is its own
    assert_eq!(tables.read(&reader).lookup6(0x2001_0db9 << 96), b);
    assert_eq!(tables.read(&reader).lookup6(0x2001_0db8 << 96), a);
    assert!(full(w.set6(p6("2001:db8:0:1::/64"), b).unwrap_err()));
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
    assert!(w.del6(p6("::/0")));
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
        assert!(w.del4(p4("10.0.0.0/8")));
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

#[test]
fn a_batch_does_what_it_can_and_says_what_not() {
    let (_domain, mut w) = writer(&[]);
    let unknown = GroupId(60);
    let batch: FibBatch = [
        Op::Set4(p4("10.0.0.0/8"), GroupId(1)),
        Op::Set4(p4("10.1.0.0/16"), unknown),
        Op::Set6(p6("2001:db8::/32"), GroupId(2)),
        Op::SetLabel(
            Label::new(100).unwrap(),
            LabelEntry::forward(unknown, TtlMode::Uniform),
        ),
        Op::Del4(p4("10.0.0.0/8")),
        Op::Del4(p4("172.16.0.0/12")),
        Op::Set4(p4("10.0.0.0/8"), GroupId(2)),
    ]
    .into_iter()
    .collect();
    let error = w.apply(&batch).unwrap_err();
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
    assert_eq!(
        (w.get4(p4("10.0.0.0/8")), w.len4(), w.len6(), w.labels()),
        (Some(GroupId(2)), 1, 1, 0)
    );
    assert_eq!(w.apply(&FibBatch::new()), Ok(()));
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
