//! Groups go on when a neighbour or an interface goes: by the paths that are left, then by backups; prefixes stay as they are.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use fib::{Adjacency, FibError, FibWriter, Path, Target};
use net::{AdjId, GroupId, IfaceId, Ip4Prefix, MacAddr, PortId};
use proptest::prelude::*;

fn adjacency(n: u32, iface: u16, complete: bool) -> Adjacency {
    let next_hop = std::net::Ipv4Addr::from(n).into();
    let adj = Adjacency::incomplete(IfaceId(iface), PortId(iface), 1500, next_hop);
    let mac = |n: u32| MacAddr([2, 0, 0, 0, 0, n as u8]);
    if complete {
        adj.complete(mac(0), mac(n), None)
    } else {
        adj
    }
}

fn over(adj: AdjId) -> (Path, u32) {
    (Path::to(Target::Adjacency(adj)), 1)
}

/// The adjacencies that flows of a group take.
fn used(w: &FibWriter, id: GroupId) -> Vec<AdjId> {
    let group = w.group(id).expect("it is there");
    let adj = |p: &Path| match p.target {
        Target::Adjacency(a) => a,
        other => panic!("{other:?}"),
    };
    group.paths().map(adj).collect()
}

#[test]
fn backups_carry_while_no_primary_does() {
    let (_domain, mut w) = writer(&[0, 1]);
    let [a, b, c] = [1, 2, 3].map(|n| w.add_adj(adjacency(n, n as u16, true)).unwrap());
    let g = w.add_group_backed(&[over(a), over(b)], &[over(c)]).unwrap();
    let alone = w.add_group(&[over(a)]).unwrap();
    assert_eq!(used(&w, g), [a, b]);
    assert_eq!(w.interface_down(IfaceId(1)), 1);
    assert_eq!(used(&w, g), [b]);
    assert_eq!(used(&w, alone), [a], "there is no other way");
    assert_eq!(w.interface_down(IfaceId(1)), 0, "known already");
    assert_eq!(w.replace_adj(b, adjacency(2, 2, false)), Ok(1));
    assert_eq!(used(&w, g), [c]);
    for t in [w.replica(0), w.replica(1)] {
        let reader = w.rcu().domain().register("a worker");
        let view = t.read(&reader);
        let path = view.group(g).unwrap().select(7);
        assert_eq!(path, &over(c).0, "in every replica");
    }
    assert_eq!(w.interface_down(IfaceId(3)), 1, "nothing is left");
    assert_eq!(used(&w, g), [a, b], "the primaries, for want of better");
    assert_eq!(w.replace_adj(b, adjacency(2, 2, true)), Ok(1));
    assert_eq!(used(&w, g), [b]);
    assert_eq!(w.interface_up(IfaceId(1)), 1);
    assert_eq!(used(&w, g), [a, b]);
    assert_eq!(w.interface_up(IfaceId(1)), 0);
    assert_eq!(
        w.replace_adj(b, adjacency(2, 2, true)),
        Ok(0),
        "another header, no other path"
    );
}

/// With a neighbour that is yet to be found among others, frames take those; alone, they ask for it.
#[test]
fn a_neighbour_that_is_not_found_yet_is_no_way() {
    let (_domain, mut w) = writer(&[]);
    let a = w.add_adj(adjacency(1, 1, false)).unwrap();
    let b = w.add_adj(adjacency(2, 2, false)).unwrap();
    let g = w.add_group_backed(&[over(a)], &[over(b)]).unwrap();
    assert_eq!(used(&w, g), [a], "asked for first");
    assert_eq!(w.replace_adj(b, adjacency(2, 2, true)), Ok(1));
    assert_eq!(used(&w, g), [b]);
    assert_eq!(w.replace_adj(a, adjacency(1, 1, true)), Ok(1));
    assert_eq!(used(&w, g), [a]);
    let only_backup = w.add_group_backed(&[], &[over(b)]).unwrap();
    assert_eq!(used(&w, only_backup), [b]);
}

#[test]
fn what_backs_up_is_in_use() {
    let (_domain, mut w) = writer(&[]);
    let a = w.add_adj(adjacency(1, 1, true)).unwrap();
    let b = w.add_adj(adjacency(2, 2, true)).unwrap();
    let g = w.add_group_backed(&[over(a)], &[over(b)]).unwrap();
    assert_eq!(w.remove_adj(b), Err(FibError::AdjInUse { id: b, paths: 1 }));
    let many = vec![over(b); 256];
    let refused = w.replace_group_backed(g, &[over(a)], &many);
    assert!(matches!(refused, Err(FibError::BadPaths(_))), "{refused:?}");
    let zero = [(over(b).0, 0)];
    assert!(w.replace_group_backed(g, &[over(a)], &zero).is_err());
    assert!(w.add_group_backed(&[], &[]).is_err());
    assert_eq!(w.interface_down(IfaceId(1)), 1, "as before the refusals");
    assert_eq!(used(&w, g), [b]);
    w.replace_group(g, &[over(a)]).unwrap();
    assert_eq!((w.remove_adj(b), used(&w, g)), (Ok(()), vec![a]));
    w.remove_group(g).unwrap();
    assert_eq!(w.remove_adj(a), Ok(()));
    assert_eq!(w.interface_up(IfaceId(1)), 0);
}

/// The short way leads where the group does, and there is none where there is a choice, or a stack of labels.
#[test]
fn the_short_way_is_the_same_way() {
    let (domain, mut w) = writer(&[0, 1]);
    let a = w.add_adj(adjacency(0, 1, true)).unwrap();
    let b = w.add_adj(adjacency(1, 2, true)).unwrap();
    let g = w.add_group_backed(&[over(a)], &[over(b)]).unwrap();
    let tables = [w.replica(0), w.replica(1)];
    let mut reader = domain.register("a worker");
    let express = |reader: &rcu::Reader, g| {
        let [x, y] = [0, 1].map(|i| tables[i].read(reader).express(g));
        assert_eq!(x, y, "in every replica");
        x.map(|e| (e.adj(), e.label()))
    };
    assert_eq!(express(&reader, g), Some((a, None)));
    w.interface_down(IfaceId(1));
    assert_eq!(express(&reader, g), Some((b, None)));
    w.replace_group(g, &[over(a), over(b)]).unwrap();
    w.interface_up(IfaceId(1));
    assert_eq!(express(&reader, g), None, "a choice");
    let mut labelled = over(a);
    let label = net::Label::new(16).unwrap();
    labelled.0.push.push(label);
    w.replace_group(g, &[labelled.clone()]).unwrap();
    assert_eq!(express(&reader, g), Some((a, Some(label))));
    labelled.0.push.push(label);
    w.replace_group(g, &[labelled]).unwrap();
    assert_eq!(express(&reader, g), None, "two labels");
    w.replace_group(g, &[(blackhole(), 1)]).unwrap();
    assert_eq!(express(&reader, g), None, "nowhere");
    w.replace_group(g, &[over(b)]).unwrap();
    assert_eq!(express(&reader, g), Some((b, None)));
    w.remove_group(g).unwrap();
    assert_eq!(express(&reader, g), None, "gone");
    assert!(
        tables[0].read(&reader).group(g).is_some(),
        "though still there"
    );
    reader.quiescent();
    w.flush();
    assert_eq!(express(&reader, GroupId::NONE), None);
    assert_eq!(express(&reader, GroupId(u32::MAX)), None);
}

/// As many writes for ten prefixes as for a hundred thousand, none of them to a prefix.
#[test]
fn a_lost_link_is_repaired_in_its_groups() {
    let groups_written = |prefixes: u32| {
        let (domain, mut w) = writer(&[]);
        let [a, b, c] = [1, 2, 3].map(|n| w.add_adj(adjacency(n, n as u16, true)).unwrap());
        let groups = [
            w.add_group(&[over(a), over(b)]).unwrap(),
            w.add_group_backed(&[over(a)], &[over(c)]).unwrap(),
            w.add_group(&[over(b), over(c)]).unwrap(),
        ];
        for i in 0..prefixes {
            let p = Ip4Prefix::new(i << 8, 24).unwrap();
            w.set4(p, groups[i as usize % 3]).unwrap();
        }
        let tables = w.replica(0);
        let reader = domain.register("a worker");
        let found = |i: u32| tables.read(&reader).lookup4(i << 8 | 1);
        let before: Vec<GroupId> = (0..prefixes).map(found).collect();
        let written = w.interface_down(IfaceId(1));
        assert_eq!(before, (0..prefixes).map(found).collect::<Vec<_>>());
        let way = |i: u32| match tables
            .read(&reader)
            .group(found(i))
            .unwrap()
            .select(i * 7)
            .target
        {
            Target::Adjacency(id) => id,
            other => panic!("{other:?}"),
        };
        assert!((0..prefixes).all(|i| way(i) != a));
        written
    };
    assert_eq!((groups_written(10), groups_written(100_000)), (2, 2));
}

/// How long a repair takes. `cargo test -p trunkline-fib --release --test repair -- --ignored --nocapture` prints it.
#[test]
#[ignore = "prints a measurement, and checks nothing"]
fn the_time_of_a_repair() {
    for (prefixes, groups) in [(10u32, 1u32), (1_000_000, 1), (1_000_000, 1000)] {
        let domain = rcu::Domain::new();
        let mut w = FibWriter::new(&[], &domain).unwrap();
        let a = w.add_adj(adjacency(1, 1, true)).unwrap();
        let b = w.add_adj(adjacency(2, 2, true)).unwrap();
        let label = |i: u32| {
            let mut p = over(a);
            p.0.push.push(net::Label::new(16 + i).unwrap());
            p
        };
        let all: Vec<GroupId> = (0..groups)
            .map(|i| w.add_group_backed(&[label(i)], &[over(b)]).unwrap())
            .collect();
        for i in 0..prefixes {
            let p = Ip4Prefix::new(i << 8, 24).unwrap();
            w.set4(p, all[i as usize % all.len()]).unwrap();
        }
        let mut times = Vec::new();
        for _ in 0..101 {
            let start = std::time::Instant::now();
            assert_eq!(w.interface_down(IfaceId(1)), groups as usize);
            times.push(start.elapsed());
            w.interface_up(IfaceId(1));
            w.flush();
        }
        times.sort();
        println!(
            "{prefixes} prefixes on {groups} groups: median {:?}, least {:?}, most {:?}",
            times[50], times[0], times[100]
        );
    }
}

// ---- against the obvious rule ----

const ADJS: u32 = 6;

#[derive(Debug, Clone)]
enum Event {
    Set(usize, Vec<(u32, u32)>, Vec<(u32, u32)>),
    Remove(usize),
    Complete(u32, bool),
    Iface(u16, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let members = |least| prop::collection::vec((0..ADJS, 1u32..5), least..4);
    prop_oneof![
        4 => (0usize..4, members(1), members(0)).prop_map(|(i, p, b)| Event::Set(i, p, b)),
        1 => (0usize..4).prop_map(Event::Remove),
        4 => (0..ADJS, any::<bool>()).prop_map(|(a, c)| Event::Complete(a, c)),
        3 => (0u16..3, any::<bool>()).prop_map(|(i, up)| Event::Iface(i, up)),
    ]
}

type Members = (Vec<(u32, u32)>, Vec<(u32, u32)>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn groups_are_what_is_alive(events in prop::collection::vec(event(), 1..60)) {
        let (_domain, mut w) = writer(&[]);
        let iface = |a: u32| (a % 3) as u16;
        let adjs: Vec<AdjId> = (0..ADJS).map(|a| w.add_adj(adjacency(a, iface(a), true)).unwrap()).collect();
        let mut complete = BTreeSet::from_iter(0..ADJS);
        let mut down = BTreeSet::new();
        let mut model: BTreeMap<usize, (GroupId, Members)> = BTreeMap::new();
        let paths = |m: &[(u32, u32)]| -> Vec<(Path, u32)> {
            m.iter().map(|&(a, n)| (over(adjs[a as usize]).0, n)).collect()
        };
        for e in events {
            match e {
                Event::Set(i, p, b) => match model.get_mut(&i) {
                    Some((id, members)) => {
                        w.replace_group_backed(*id, &paths(&p), &paths(&b)).unwrap();
                        *members = (p, b);
                    }
                    None => {
                        let id = w.add_group_backed(&paths(&p), &paths(&b)).unwrap();
                        model.insert(i, (id, (p, b)));
                    }
                },
                Event::Remove(i) => {
                    if let Some((id, _)) = model.remove(&i) {
                        w.remove_group(id).unwrap();
                    }
                }
                Event::Complete(a, yes) => {
                    w.replace_adj(adjs[a as usize], adjacency(a, iface(a), yes)).unwrap();
                    if yes { complete.insert(a) } else { complete.remove(&a) };
                }
                Event::Iface(i, true) => {
                    w.interface_up(IfaceId(i));
                    down.remove(&i);
                }
                Event::Iface(i, false) => {
                    w.interface_down(IfaceId(i));
                    down.insert(i);
                }
            }
            for (id, (p, b)) in model.values() {
                let alive = |m: &[(u32, u32)]| -> BTreeSet<u32> {
                    let good = |a: &u32| complete.contains(a) && !down.contains(&iface(*a));
                    m.iter().map(|m| m.0).filter(good).collect()
                };
                let want = [alive(p), alive(b), p.iter().map(|m| m.0).collect()];
                let want = want.into_iter().find(|w| !w.is_empty()).unwrap();
                // One member has no choice, so nobody minds whether it is alive.
                let want: BTreeSet<AdjId> = want.into_iter().map(|a| adjs[a as usize]).collect();
                prop_assert_eq!(used(&w, *id).into_iter().collect::<BTreeSet<_>>(), want);
            }
        }
        for (id, _) in model.values() {
            w.remove_group(*id).unwrap();
        }
        for a in adjs {
            prop_assert_eq!(w.remove_adj(a), Ok(()));
        }
    }
}
