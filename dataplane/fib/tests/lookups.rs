//! Lookups equal the obvious table's after any sequence of changes, and nothing is left behind.

mod common;

use common::*;
use net::{GroupId, Label, VrfId};
use proptest::prelude::*;

fn check<F: Family>(changes: &[Change<F>], others: &[F::Addr]) -> Result<(), TestCaseError> {
    let (domain, mut w) = writer(&[0, 1]);
    let empty = w.memory();
    let tables = [w.replica(0), w.replica(1)];
    let mut reader = domain.register("test");
    let mut oracle = Oracle::<F>::new();
    let mut probes: Vec<F::Addr> = others.to_vec();
    for &change in changes {
        prop_assert_eq!(
            F::get(&w, change.prefix),
            oracle.0.get(&change.prefix).copied()
        );
        apply(&mut w, change);
        oracle.apply(change);
        probes.extend(edges::<F>(change.prefix));
        let expected: Vec<GroupId> = probes.iter().map(|&a| oracle.lookup(a)).collect();
        for t in &tables {
            let view = t.read(&reader);
            for (&a, &group) in probes.iter().zip(&expected) {
                prop_assert_eq!(F::lookup(view, a), group, "{:?} after {:?}", a, change);
            }
            let mut found = vec![GroupId(99); probes.len()];
            F::burst(view, &probes, &mut found);
            prop_assert_eq!(&found, &expected);
        }
        prop_assert_eq!(F::count(&w), oracle.0.len());
        w.flush();
        reader.quiescent();
    }
    for p in oracle.0.keys() {
        prop_assert!(F::del(&mut w, *p));
        prop_assert!(!F::del(&mut w, *p));
    }
    w.flush();
    reader.quiescent();
    w.flush();
    for &a in &probes {
        prop_assert_eq!(F::lookup(tables[1].read(&reader), a), GroupId::NONE);
    }
    prop_assert_eq!(
        (F::count(&w), w.pending(), w.memory().lookup),
        (0, 0, empty.lookup)
    );
    for g in 1..=GROUPS {
        prop_assert_eq!(w.remove_group(GroupId(g)), Ok(()), "users are counted");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn v4_equals_the_obvious(changes in prop::collection::vec(any_change::<V4>(), 1..120),
                             others in prop::collection::vec(V4::any_addr(), 40)) {
        check::<V4>(&changes, &others)?;
    }

    #[test]
    fn v6_equals_the_obvious(changes in prop::collection::vec(any_change::<V6>(), 1..120),
                             others in prop::collection::vec(V6::any_addr(), 40)) {
        check::<V6>(&changes, &others)?;
    }

    #[test]
    fn vrfs_equal_the_obvious_in_v4(changes in prop::collection::vec(any_change::<Vrf4>(), 1..160),
                                    others in prop::collection::vec(Vrf4::any_addr(), 40)) {
        check::<Vrf4>(&changes, &others)?;
    }

    #[test]
    fn vrfs_equal_the_obvious_in_v6(changes in prop::collection::vec(any_change::<Vrf6>(), 1..160),
                                    others in prop::collection::vec(Vrf6::any_addr(), 40)) {
        check::<Vrf6>(&changes, &others)?;
    }
}

/// Every length alone, its edges, and its end.
#[test]
fn every_length_alone() {
    fn run<F: Family>(addr: F::Addr) {
        let (domain, mut w) = writer(&[]);
        let tables = w.replica(0);
        let mut reader = domain.register("test");
        for len in 0..=F::BITS {
            let p = F::prefix(addr, len);
            F::set(&mut w, p, GroupId(3)).unwrap();
            let mut oracle = Oracle::<F>::new();
            oracle.0.insert(p, GroupId(3));
            for a in edges::<F>(p) {
                assert_eq!(
                    F::lookup(tables.read(&reader), a),
                    oracle.lookup(a),
                    "{a:?} under {p:?}"
                );
            }
            assert!(F::del(&mut w, p));
            for a in edges::<F>(p) {
                assert_eq!(
                    F::lookup(tables.read(&reader), a),
                    GroupId::NONE,
                    "{a:?} after {p:?}"
                );
            }
            w.flush();
            reader.quiescent();
            w.flush();
            assert_eq!(w.pending(), 0);
        }
    }
    run::<V4>(0xc612_3456);
    run::<V6>(0x2001_0db8_1234_5678_9abc_def0_1234_5678);
    run::<Vrf4>((VrfId(9), 0xc612_3456));
    run::<Vrf6>((VrfId(9), 0x2001_0db8_1234_5678_9abc_def0_1234_5678));
}

/// All lengths nested: each comes out as the longer ones go, in either order.
#[test]
fn deletion_exposes_what_is_below() {
    fn run<F: Family>(addr: F::Addr) {
        let (domain, mut w) = writer(&[]);
        let tables = w.replica(0);
        let reader = domain.register("test");
        let group = |len: u8| GroupId(1 + u32::from(len) % GROUPS);
        for len in (0..=F::BITS).rev() {
            F::set(&mut w, F::prefix(addr, len), group(len)).unwrap();
            assert_eq!(
                F::lookup(tables.read(&reader), addr),
                group(F::BITS),
                "a shorter one hides nothing"
            );
        }
        for len in (0..=F::BITS).rev() {
            assert_eq!(F::lookup(tables.read(&reader), addr), group(len));
            assert!(F::del(&mut w, F::prefix(addr, len)));
        }
        assert_eq!(F::lookup(tables.read(&reader), addr), GroupId::NONE);
    }
    run::<V4>(0xffff_ffff);
    run::<V6>(u128::MAX);
    run::<V6>(0x2001_0db8_1234_5678_9abc_def0_1234_5678);
    run::<Vrf4>((VrfId(1), 0xffff_ffff));
    run::<Vrf6>((VrfId(1), u128::MAX));
    run::<Vrf6>((VrfId(1), 0x2001_0db8_1234_5678_9abc_def0_1234_5678));
}

#[test]
fn labels() {
    use fib::{LabelEntry, LabelOp, TtlMode};
    let (domain, mut w) = writer(&[0, 1]);
    let tables = w.replica(1);
    let reader = domain.register("test");
    let view = tables.read(&reader);
    assert_eq!(view.label(Label::MAX).op(), LabelOp::Unknown);
    let entry = LabelEntry::forward(GroupId(2), TtlMode::Pipe);
    w.set_label(Label::MAX, entry).unwrap();
    assert_eq!(view.label(Label::MAX), entry);
    assert!(
        w.set_label(Label::MAX, LabelEntry::forward(GroupId(63), TtlMode::Pipe))
            .is_err()
    );
    assert_eq!((view.label(Label::MAX), w.labels()), (entry, 1));
    assert!(matches!(
        w.remove_group(GroupId(2)),
        Err(fib::FibError::GroupInUse { entries: 1, .. })
    ));
    w.set_label(Label::MAX, LabelEntry::pop_lookup(TtlMode::Uniform))
        .unwrap();
    assert_eq!(
        (view.label(Label::MAX).op(), w.labels()),
        (LabelOp::PopLookup, 1)
    );
    w.remove_group(GroupId(2)).unwrap();
    assert!(w.del_label(Label::MAX) && !w.del_label(Label::MAX));
    assert_eq!(
        (view.label(Label::MAX).op(), w.labels()),
        (LabelOp::Unknown, 0)
    );
}
