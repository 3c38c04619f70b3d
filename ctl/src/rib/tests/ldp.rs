//! What LDP is told of prefixes, and its routes beside static ones.

use super::*;
use std::collections::BTreeMap;

/// What is told now.
fn told(r: &mut Rib) -> BTreeMap<String, Option<FecRoute>> {
    let all = r.take_fecs(1000).into_iter();
    all.map(|(p, route)| (p.to_string(), route)).collect()
}

fn hop(n: u16, a: &str, weight: u32, backup: bool) -> FecHop {
    FecHop {
        iface: IfaceId(n),
        address: ip(a),
        weight,
        backup,
    }
}

fn pushed(n: u16, a: &str, label: u32) -> PathSpec {
    PathSpec {
        hop: Hop::Via {
            address: ip(a),
            dev: Some(IfaceId(n)),
        },
        ..via(a, &[label])
    }
}

#[test]
fn connected_and_static_prefixes_are_told() {
    let (mut r, mut m) = two();
    r.set_interface(IfaceId(2), iface(2, true, &["10.0.2.1/24", "192.0.2.1/32"]));
    r.set_static(
        VrfId::GLOBAL,
        net("10.1.0.0/16"),
        paths(&[via("10.0.1.2", &[])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("10.2.0.0/16"),
        paths(&[via("10.0.1.2", &[77])]),
    );
    let nowhere = PathSpec::new(Hop::Discard(Discard::Blackhole));
    r.set_static(VrfId::GLOBAL, net("10.3.0.0/16"), paths(&[nowhere]));
    let heavy = PathSpec {
        weight: 3,
        ..via("10.0.1.2", &[])
    };
    let mixed = [heavy, via("10.0.1.3", &[]), behind("10.0.2.2")];
    r.set_static(VrfId::GLOBAL, net("10.4.0.0/16"), paths(&mixed));
    // What leads by an LSP has its labels already, whoever pushed them.
    r.set_static(
        VrfId::GLOBAL,
        net("10.5.0.0/16"),
        paths(&[via("10.2.0.9", &[])]),
    );
    settle(&mut r, &mut m);
    assert!(told(&mut r).is_empty(), "nobody has asked");
    r.follow_fecs(Some(&[]));
    let all = told(&mut r);
    let route = |p: &str| all[p].clone();
    for p in [
        "10.0.1.0/24",
        "10.0.2.0/24",
        "192.0.2.1/32",
        "2001:db8:1::/64",
    ] {
        assert_eq!(route(p), Some(FecRoute::Local), "{p}");
    }
    for p in ["10.0.1.1/32", "10.2.0.0/16", "10.3.0.0/16", "10.5.0.0/16"] {
        assert_eq!(route(p), None, "{p}");
    }
    let one = FecRoute::Via(vec![hop(1, "10.0.1.2", 1, false)]);
    assert_eq!(route("10.1.0.0/16"), Some(one));
    let FecRoute::Via(three) = route("10.4.0.0/16").unwrap() else {
        panic!("it leads to neighbours");
    };
    let want = [
        hop(1, "10.0.1.2", 3, false),
        hop(1, "10.0.1.3", 1, false),
        hop(2, "10.0.2.2", 1, true),
    ];
    assert_eq!(three, want);
    assert!(told(&mut r).is_empty(), "each once");
}

#[test]
fn what_changes_is_told_when_it_is_known() {
    let (mut r, mut m) = two();
    let only = ["10.0.0.0/8 ge 16 le 16".parse().unwrap()];
    r.follow_fecs(Some(&only));
    settle(&mut r, &mut m);
    assert!(told(&mut r).is_empty(), "none is meant");
    let p = net("10.1.0.0/16");
    r.set_static(VrfId::GLOBAL, p, paths(&[via("10.0.1.2", &[])]));
    assert!(!r.has_fecs() && told(&mut r).is_empty(), "not resolved yet");
    settle(&mut r, &mut m);
    assert!(r.has_fecs());
    let first = FecRoute::Via(vec![hop(1, "10.0.1.2", 1, false)]);
    assert_eq!(told(&mut r), [(p.to_string(), Some(first.clone()))].into());
    // Another next hop: told once, as it is then.
    r.set_static(VrfId::GLOBAL, p, paths(&[via("10.0.2.2", &[])]));
    assert!(told(&mut r).is_empty());
    settle(&mut r, &mut m);
    let second = FecRoute::Via(vec![hop(2, "10.0.2.2", 1, false)]);
    assert_eq!(told(&mut r), [(p.to_string(), Some(second))].into());
    // The way is lost, and found again.
    r.set_up(IfaceId(2), false);
    settle(&mut r, &mut m);
    assert_eq!(told(&mut r), [(p.to_string(), None)].into());
    r.set_static(VrfId::GLOBAL, p, paths(&[via("10.0.1.2", &[])]));
    settle(&mut r, &mut m);
    assert_eq!(told(&mut r), [(p.to_string(), Some(first))].into());
    r.set_static(VrfId::GLOBAL, p, None);
    settle(&mut r, &mut m);
    assert_eq!(told(&mut r), [(p.to_string(), None)].into());
    // BGP's routes have labels of their own.
    let set = r.bgp_paths(&[FollowedHop {
        address: ip("10.0.1.2"),
        dev: None,
        vrf: VrfId::GLOBAL,
        labeled: false,
    }]);
    r.set_bgp(p, Some((Source::Ebgp, set)));
    settle(&mut r, &mut m);
    assert!(told(&mut r).values().all(Option::is_none));
}

#[test]
fn its_routes_come_before_static_ones_and_carry_those_of_bgp() {
    let (mut r, mut m) = two();
    let p = net("192.0.2.9/32");
    r.set_static(VrfId::GLOBAL, p, paths(&[via("10.0.1.2", &[])]));
    let set = r.bgp_paths(&[FollowedHop {
        address: ip("192.0.2.9"),
        dev: None,
        vrf: VrfId::GLOBAL,
        labeled: false,
    }]);
    r.set_bgp(net("203.0.113.0/24"), Some((Source::Ibgp, set)));
    settle(&mut r, &mut m);
    let labels = |m: &Mirror, p: &str| m.at(p).unwrap()[0].1.clone();
    assert!(labels(&m, "203.0.113.0/24").is_empty());
    let group = m.prefixes[&net("203.0.113.0/24")];
    r.follow_fecs(Some(&[]));
    told(&mut r);
    r.set_ldp(p, paths(&[pushed(1, "10.0.1.2", 17)]).as_ref());
    settle(&mut r, &mut m);
    assert_eq!(labels(&m, "192.0.2.9/32"), [17]);
    assert_eq!(labels(&m, "203.0.113.0/24"), [17]);
    assert_eq!(
        m.prefixes[&net("203.0.113.0/24")],
        group,
        "no prefix is touched"
    );
    let again = told(&mut r);
    let same = FecRoute::Via(vec![hop(1, "10.0.1.2", 1, false)]);
    let of = again.get("192.0.2.9/32").cloned();
    assert!(
        of.is_none_or(|o| o == Some(same)),
        "its own route is not what it is told"
    );
    // Its next hop is lost, the static route has another.
    r.set_static(VrfId::GLOBAL, p, paths(&[via("10.0.2.2", &[])]));
    r.set_up(IfaceId(1), false);
    settle(&mut r, &mut m);
    assert_eq!(m.via("192.0.2.9/32"), ["10.0.2.2 on 2"]);
    assert!(labels(&m, "192.0.2.9/32").is_empty());
    r.set_up(IfaceId(1), true);
    r.set_ldp(p, None);
    settle(&mut r, &mut m);
    assert_eq!(m.via("203.0.113.0/24"), ["10.0.2.2 on 2"]);
}
