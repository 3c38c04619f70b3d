//! What is told beside a label: that it is a null, that entropy labels can be dealt with (RFC 6790 5.1).

use super::*;

#[test]
fn prefixes_that_end_here_have_a_null() {
    for (explicit, v4) in [(false, 3), (true, 0)] {
        let mut rig = Rig::up(|c| c.explicit_null = explicit);
        rig.said();
        rig.s.set_route(net("192.0.2.0/24"), Some(Route::Local));
        rig.drain();
        assert!(rig.installs().is_empty());
        assert_eq!(rig.said(), [map("192.0.2.0/24", v4)]);
    }
}

#[test]
fn another_null_is_told_while_sessions_go_on() {
    let mut rig = Rig::up(|_| {});
    rig.s.set_route(net("192.0.2.0/24"), Some(Route::Local));
    rig.drain();
    rig.said();
    rig.s.set_explicit_null(true);
    rig.drain();
    let said = rig.said();
    let old = bindings("192.0.2.0/24", 3);
    assert_eq!(said, [Body::Withdraw(old.clone()), map("192.0.2.0/24", 0)]);
    rig.s.set_explicit_null(true);
    rig.drain();
    assert!(rig.said().is_empty(), "nothing has changed");
    rig.s.set_times(9, 60);
    assert_eq!(rig.state(), State::Operational);
    rig.get(&[Body::Release(old)]);
    rig.s.set_explicit_null(false);
    rig.drain();
    assert_eq!(
        rig.said(),
        [
            Body::Withdraw(bindings("192.0.2.0/24", 0)),
            map("192.0.2.0/24", 3)
        ]
    );
}

/// A label with the capability.
fn capable(n: &str, l: u32) -> Body {
    Body::Mapping(Mapping {
        entropy: true,
        ..Mapping::new(net(n), label(l))
    })
}

/// The entropy capability of each path that is pushed on.
fn pushed(rig: &mut Rig) -> Vec<bool> {
    let all = rig.installs().into_iter().filter_map(|i| match i {
        Install::Ftn { paths, .. } => Some(paths),
        _ => None,
    });
    all.flatten().map(|p| p.entropy).collect()
}

#[test]
fn who_can_deal_with_entropy_labels_says_so() {
    let mut rig = Rig::up(|_| {});
    rig.said();
    rig.s.set_route(net("192.0.2.0/24"), Some(Route::Local));
    rig.drain();
    assert_eq!(rig.said(), [map("192.0.2.0/24", 3)]);
    rig.s.set_entropy(true);
    rig.drain();
    assert_eq!(rig.said(), [capable("192.0.2.0/24", 3)]);
    rig.s.set_entropy(true);
    rig.drain();
    assert!(rig.said().is_empty(), "nothing has changed");
    rig.s.set_entropy(false);
    rig.drain();
    assert_eq!(rig.said(), [map("192.0.2.0/24", 3)]);
}

/// RFC 6790 5.1.1: what is no end of its own says so only as far as whoever is next does.
#[test]
fn what_the_next_one_says_of_entropy_labels_is_passed_on() {
    let mut rig = Rig::up(|_| {});
    rig.s.set_entropy(true);
    rig.said();
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    assert_eq!(rig.said(), [map("10.0.0.7/32", 100)]);
    rig.get(&[map("10.0.0.7/32", 777)]);
    rig.drain();
    assert_eq!(pushed(&mut rig), [false]);
    assert!(rig.said().is_empty());
    rig.get(&[capable("10.0.0.7/32", 777)]);
    rig.drain();
    assert_eq!(pushed(&mut rig), [true]);
    assert_eq!(rig.said(), [capable("10.0.0.7/32", 100)]);
    rig.get(&[map("10.0.0.7/32", 777)]);
    rig.drain();
    assert_eq!(pushed(&mut rig), [false]);
    assert_eq!(rig.said(), [map("10.0.0.7/32", 100)]);
    rig.get(&[capable("10.0.0.7/32", 777)]);
    rig.drain();
    rig.said();
    rig.get(&[Body::Withdraw(bindings("10.0.0.7/32", 777))]);
    rig.drain();
    assert!(rig.said().contains(&map("10.0.0.7/32", 100)));
    // Who does not deal with them hears of it, and puts none on.
    rig.s.set_entropy(false);
    rig.get(&[capable("10.0.0.7/32", 777)]);
    rig.drain();
    assert_eq!(pushed(&mut rig), [false]);
    assert!(!rig.said().contains(&capable("10.0.0.7/32", 100)));
}

/// Of several ways each pushes as who is next can, and the prefix is told as if none could unless all can.
#[test]
fn one_capable_way_of_several_is_not_enough() {
    let p = "10.0.0.7/32";
    let ways = [("192.0.2.2", true), ("192.0.3.9", false)];
    // Whichever comes first.
    for order in [[0, 1], [1, 0]] {
        let mut rig = Rig::up(|_| {});
        rig.s.set_entropy(true);
        let hops = order.map(|n| NextHop {
            addr: addr(ways[n].0),
            iface: if ways[n].1 { LINK } else { OTHER },
        });
        rig.s.set_route(net(p), Some(Route::Via(hops.to_vec())));
        rig.get(&[capable(p, 777)]);
        rig.drain();
        // The other neighbour has told no label.
        let paths: Vec<Path> = (rig.installs().into_iter())
            .filter_map(|i| match i {
                Install::Ftn { paths, .. } => Some(paths),
                _ => None,
            })
            .flatten()
            .collect();
        for path in &paths {
            let can = path.next_hop.addr == addr("192.0.2.2");
            assert_eq!(path.entropy, can, "{path:?}");
        }
        assert!(paths.iter().any(|p| p.entropy));
        let said = rig.said();
        assert!(said.contains(&map(p, 100)), "{said:?}");
        assert!(!said.contains(&capable(p, 100)));
        // It is the only way: now all can.
        rig.route(p, Some("192.0.2.2"));
        assert_eq!(rig.said(), [capable(p, 100)]);
    }
}
