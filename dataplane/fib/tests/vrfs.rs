//! The tables of VRFs where they are many, and where one is large: what they take, that they stay bounded, and that one is
//! nothing to another.

mod common;

use common::*;
use fib::{FibBatch, FibError, FibWriter, Op, Sizes};
use net::{GroupId, Ip4Prefix, Ip6Prefix, VrfId};
use proptest::prelude::*;
use rcu::Domain;

fn random(mut n: u64) -> u64 {
    n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ n >> 31
}

fn roomy() -> (std::sync::Arc<Domain>, FibWriter) {
    let domain = Domain::new();
    let sizes = Sizes {
        words4: 1 << 16,
        groups: 1 << 10,
        ..Sizes::default()
    };
    let mut w = FibWriter::with_sizes(&[0], &domain, sizes).unwrap();
    for _ in 0..64 {
        w.add_group(&[(blackhole(), 1)]).unwrap();
    }
    (domain, w)
}

/// The `n`th route of a customer: sites have blocks of 10/8 of /24 and longer, and /48 to /64 of a /32, none beside the other.
fn route4(n: u64) -> Ip4Prefix {
    let len = [24, 24, 24, 25, 26, 28, 30, 32][(random(n) >> 40 & 7) as usize];
    Ip4Prefix::new(0x0a00_0000 | (random(n + 1) as u32 & 0x00ff_ffff), len).unwrap()
}

fn route6(n: u64) -> Ip6Prefix {
    let len = [48, 56, 64, 64, 64, 64, 64, 128][(random(n) >> 40 & 7) as usize];
    let low = u128::from(random(n + 1)) << 32 | u128::from(random(n + 2) as u32);
    Ip6Prefix::new(0x2001_0db8 << 96 | low, len).unwrap()
}

/// What a thousand VRFs of a thousand routes take: half of them of each family. The bound: 48 MiB to look up
/// in, 64 MiB more for the writer; and next to nothing for a VRF that has one route.
#[test]
fn a_thousand_vrfs_of_a_thousand_routes() {
    const VRFS: u16 = 1000;
    const ROUTES: u64 = 1000;
    let (domain, mut w) = roomy();
    let before = w.memory();
    let (mut routes, mut batch) = (0, FibBatch::new());
    for vrf in 1..=VRFS {
        let group = GroupId(1 + u32::from(vrf) % 64);
        // Customers number alike: what a route is does not hang on the VRF.
        for n in 0..ROUTES {
            batch.push(if n % 2 == 0 {
                Op::SetVrf4(VrfId(vrf), route4(n), group)
            } else {
                Op::SetVrf6(VrfId(vrf), route6(n), group)
            });
        }
        w.apply(&batch).unwrap();
        batch.clear();
        let (v4, v6) = w.len_vrf(VrfId(vrf));
        routes += v4 + v6;
    }
    assert_eq!(w.len_vrfs(), routes);
    let after = w.memory();
    let lookup = after.lookup_vrf - before.lookup_vrf;
    let update = after.update_vrf - before.update_vrf;
    println!(
        "{routes} routes in {VRFS} VRFs: {lookup} bytes to look up in ({} a VRF, {} a route), {update} for the writer ({} a route)",
        lookup / usize::from(VRFS),
        lookup / routes,
        update / routes
    );
    assert!(lookup <= 48 << 20, "{lookup}");
    assert!(update <= 64 << 20, "{update}");

    // Each finds its own.
    let tables = w.replica(0);
    let reader = domain.register("test");
    let view = tables.read(&reader);
    for vrf in (1..=VRFS).step_by(37) {
        let group = GroupId(1 + u32::from(vrf) % 64);
        for n in 0..ROUTES {
            assert_eq!(view.lookup4_in(VrfId(vrf), route4(n & !1).addr()), group);
            assert_eq!(view.lookup6_in(VrfId(vrf), route6(n | 1).addr()), group);
        }
    }
    assert_eq!(
        (w.len4(), w.len6()),
        (0, 0),
        "the global tables have nothing of it"
    );

    // A VRF with a default route and its own network.
    let before = w.memory();
    for vrf in 2001..3001 {
        let set =
            |w: &mut FibWriter, p: &str| w.set_vrf4(VrfId(vrf), p.parse().unwrap(), GroupId(1));
        set(&mut w, "0.0.0.0/0").unwrap();
        set(&mut w, "192.0.2.0/24").unwrap();
    }
    let after = w.memory();
    let each = (after.lookup_vrf + after.update_vrf - before.lookup_vrf - before.update_vrf) / 1000;
    println!("{each} bytes for a VRF of two routes");
    assert!(each <= 512, "{each}");
}

/// One VRF grows beyond every size of node and shrinks again, route by route and in batches, while others stand beside it.
#[test]
fn a_large_vrf_comes_and_goes() {
    let (domain, mut w) = roomy();
    let tables = w.replica(0);
    let mut reader = domain.register("test");
    let (quiet, loud) = (VrfId(1), VrfId(2));
    w.set_vrf4(quiet, "10.0.0.0/8".parse().unwrap(), GroupId(9))
        .unwrap();
    let empty = w.memory();
    let mut oracle = Oracle::<V4>::new();
    let mut ops = FibBatch::new();
    for n in 0..20_000u64 {
        let (p, g) = (route4(n * 3), GroupId(1 + n as u32 % 64));
        oracle.0.insert(p, g);
        ops.push(Op::SetVrf4(loud, p, g));
        if n % 4096 == 4095 || n > 19_900 {
            w.apply(&ops).unwrap();
            ops.clear();
            reader.quiescent();
        }
    }
    // A default route comes last, under all.
    w.set_vrf4(loud, Ip4Prefix::DEFAULT, GroupId(64)).unwrap();
    oracle.0.insert(Ip4Prefix::DEFAULT, GroupId(64));
    let check = |oracle: &Oracle<V4>, reader: &rcu::Reader, step: usize| {
        let view = tables.read(reader);
        for p in oracle.0.keys().step_by(step) {
            for a in edges::<V4>(*p) {
                assert_eq!(view.lookup4_in(loud, a), oracle.lookup(a), "{a:x}");
            }
        }
        assert_eq!(view.lookup4_in(quiet, 0x0a01_0101), GroupId(9));
        assert_eq!(view.lookup4_in(VrfId(3), 0x0a01_0101), GroupId::NONE);
        assert_eq!(view.lookup4(0x0a01_0101), GroupId::NONE);
    };
    check(&oracle, &reader, 1);
    for (i, p) in oracle.0.clone().into_keys().enumerate() {
        assert_eq!(w.del_vrf4(loud, p), Ok(true));
        oracle.0.remove(&p);
        w.flush();
        reader.quiescent();
        if i % 1024 == 0 {
            check(&oracle, &reader, 61);
        }
    }
    w.flush();
    reader.quiescent();
    w.flush();
    assert_eq!((w.len_vrf(loud), w.pending()), ((0, 0), 0));
    assert_eq!(w.memory().lookup, empty.lookup);
    check(&oracle, &reader, 1);
}

#[test]
fn what_is_no_vrf_is_refused() {
    let (_domain, mut w) = roomy();
    let p: Ip4Prefix = "10.0.0.0/8".parse().unwrap();
    assert_eq!(
        w.set_vrf4(VrfId::GLOBAL, p, GroupId(1)),
        Err(FibError::GlobalTable)
    );
    assert_eq!(w.del_vrf4(VrfId::GLOBAL, p), Err(FibError::GlobalTable));
    assert_eq!(
        w.set_vrf4(VrfId(1), p, GroupId(999)),
        Err(FibError::NoSuchGroup(GroupId(999)))
    );
    let batch: FibBatch = [
        Op::SetVrf4(VrfId(1), p, GroupId(1)),
        Op::SetVrf4(VrfId::GLOBAL, p, GroupId(1)),
    ]
    .into_iter()
    .collect();
    assert_eq!(w.apply(&batch).unwrap_err().refused[0].index, 1);
    assert_eq!(w.len_vrfs(), 0);
}

/// No end of changes to a table that is almost full takes no more than its room.
#[test]
fn churn_is_bounded() {
    let domain = Domain::new();
    let sizes = Sizes {
        vrf_lines: 600,
        groups: 64,
        ..Sizes::default()
    };
    let mut w = FibWriter::with_sizes(&[0, 1], &domain, sizes).unwrap();
    for _ in 0..8 {
        w.add_group(&[(blackhole(), 1)]).unwrap();
    }
    let tables = w.replica(1);
    let mut reader = domain.register("test");
    let mut oracle = Oracle::<Vrf4>::new();
    let (mut refused, mut made) = (0, 0);
    for n in 0..30_000u64 {
        let vrf = VrfId(1 + (random(n) >> 20 & 7) as u16);
        let (p, group) = (route4(random(n) >> 50), 1 + n as u32 % 8);
        let there = oracle.0.contains_key(&(vrf, p));
        if there && n % 3 == 0 {
            assert_eq!(w.del_vrf4(vrf, p), Ok(true));
            oracle.0.remove(&(vrf, p));
        } else {
            match w.set_vrf4(vrf, p, GroupId(group)) {
                Ok(()) => drop(oracle.0.insert((vrf, p), GroupId(group))),
                Err(FibError::Full { what, .. }) => {
                    assert_eq!(what, "line of the VRF tables");
                    refused += 1;
                }
                Err(e) => panic!("{e}"),
            }
        }
        made += 1;
        assert!(w.usage().vrf_lines.in_use <= 4 * 600 + (1 << 16));
        w.flush();
        reader.quiescent();
        let found = tables.read(&reader).lookup4_in(vrf, p.addr());
        assert_eq!(found, oracle.lookup((vrf, p.addr())), "after {made}");
    }
    assert!(refused > 0, "never full: the test is too small");
    assert!(w.usage().vrf_lines.in_use <= 600);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    /// Batches over several VRFs of both families, some too large for the room: all or nothing.
    #[test]
    fn batches_equal_the_obvious(
        batches in prop::collection::vec(
            prop::collection::vec((any_change::<Vrf4>(), any_change::<Vrf6>()), 1..200), 1..4),
        lines in prop_oneof![Just(1 << 12), 1usize..300],
    ) {
        let domain = Domain::new();
        let sizes = Sizes { vrf_lines: lines, groups: 64, ..Sizes::default() };
        let mut w = FibWriter::with_sizes(&[0, 1], &domain, sizes).unwrap();
        for _ in 0..GROUPS {
            w.add_group(&[(blackhole(), 1)]).unwrap();
        }
        let tables = w.replica(1);
        let mut reader = domain.register("test");
        let (mut v4, mut v6) = (Oracle::<Vrf4>::new(), Oracle::<Vrf6>::new());
        for changes in &batches {
            let mut ops = FibBatch::new();
            for (c4, c6) in changes {
                let ((vrf, p), (vrf6, p6)) = (c4.prefix, c6.prefix);
                ops.push(c4.group.map_or(Op::DelVrf4(vrf, p), |g| Op::SetVrf4(vrf, p, g)));
                ops.push(c6.group.map_or(Op::DelVrf6(vrf6, p6), |g| Op::SetVrf6(vrf6, p6, g)));
            }
            let could = w.room_for(&ops).is_ok();
            match w.apply(&ops) {
                Ok(()) => for &(c4, c6) in changes {
                    v4.apply(c4);
                    v6.apply(c6);
                },
                Err(e) => {
                    prop_assert!(!could);
                    let full = matches!(e.refused[0].error, FibError::Full { .. });
                    prop_assert!(full && lines < 1 << 12, "{}", e);
                }
            }
            reader.quiescent();
            let view = tables.read(&reader);
            for (c4, c6) in batches.iter().flatten() {
                for a in edges::<Vrf4>(c4.prefix) {
                    prop_assert_eq!(Vrf4::lookup(view, a), v4.lookup(a));
                }
                for a in edges::<Vrf6>(c6.prefix) {
                    prop_assert_eq!(Vrf6::lookup(view, a), v6.lookup(a));
                }
            }
            prop_assert_eq!(w.len_vrfs(), v4.0.len() + v6.0.len());
        }
    }
}
