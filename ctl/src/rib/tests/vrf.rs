//! VRFs in the RIB: the same prefixes and neighbours in several, interfaces that move, next hops that are looked up in the table
//! they belong to.

use super::*;

const RED: VrfId = VrfId(3);
const BLUE: VrfId = VrfId(4);

fn iface_in(vrf: VrfId, n: u16, addresses: &[&str]) -> IfaceSpec {
    IfaceSpec {
        vrf,
        ..iface(n, true, addresses)
    }
}

fn via_in(vrf: VrfId, s: &str) -> PathSpec {
    PathSpec { vrf, ..via(s, &[]) }
}

/// "NEXTHOP on IFACE" of each path of a prefix.
fn at(m: &Mirror, vrf: VrfId, p: &str) -> Vec<String> {
    let group = m.vrfs.get(&(vrf, net(p)));
    let paths = group.map(|g| m.content(*g)).unwrap_or_default();
    paths.into_iter().map(|x| x.0).collect()
}

/// Two VRFs with the same addresses, and the core in the global table.
fn three() -> (Rib, Mirror) {
    let mut r = Rib::new();
    let customer = ["10.0.1.1/24", "2001:db8:1::1/64"];
    r.set_interface(IfaceId(1), iface_in(RED, 1, &customer));
    r.set_interface(IfaceId(2), iface_in(BLUE, 2, &customer));
    r.set_interface(IfaceId(3), iface(3, true, &["10.0.3.1/24"]));
    let mut m = Mirror::default();
    settle(&mut r, &mut m);
    (r, m)
}

#[test]
fn addresses_make_routes_in_their_own_table() {
    let (_, m) = three();
    assert_eq!(m.prefixes.len(), 2, "the core's alone");
    assert_eq!(m.vrfs.len(), 8);
    for (vrf, n) in [(RED, 1), (BLUE, 2)] {
        assert_eq!(at(&m, vrf, "10.0.1.0/24"), [format!("glean {n}")]);
        assert_eq!(at(&m, vrf, "10.0.1.1/32"), [format!("local {n}")]);
        assert_eq!(at(&m, vrf, "2001:db8:1::/64"), [format!("glean {n}")]);
    }
}

#[test]
fn next_hops_are_sought_in_their_own_table() {
    let (mut r, mut m) = three();
    for vrf in [RED, BLUE] {
        r.set_static(vrf, net("20.0.0.0/8"), paths(&[via_in(vrf, "10.0.1.2")]));
        r.set_static(vrf, net("30.0.0.0/8"), paths(&[via_in(vrf, "20.0.0.9")]));
    }
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("10.0.1.2", &[])]),
    );
    settle(&mut r, &mut m);
    for p in ["20.0.0.0/8", "30.0.0.0/8"] {
        assert_eq!(at(&m, RED, p), ["10.0.1.2 on 1"]);
        assert_eq!(at(&m, BLUE, p), ["10.0.1.2 on 2"]);
    }
    assert_eq!(
        m.via("20.0.0.0/8"),
        [""; 0],
        "the global table has no such link"
    );

    // The neighbours answer, each in its own.
    for n in [1, 2] {
        r.neighbor(IfaceId(n), ip("10.0.1.2"), mac(n as u8));
    }
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "10.0.1.2/32"), ["10.0.1.2 on 1"]);
    assert_eq!(at(&m, BLUE, "10.0.1.2/32"), ["10.0.1.2 on 2"]);
    assert_eq!(r.egress(BLUE, ip("30.1.1.1")), Some(IfaceId(2)));
    assert_eq!(
        r.lookup(RED, ip("30.1.1.1")).unwrap().prefix,
        net("30.0.0.0/8")
    );
    assert!(r.lookup(VrfId::GLOBAL, ip("30.1.1.1")).is_none());

    // What goes in one stays in the other.
    r.set_static(RED, net("20.0.0.0/8"), None);
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "30.0.0.0/8"), [""; 0]);
    assert_eq!(at(&m, BLUE, "30.0.0.0/8"), ["10.0.1.2 on 2"]);
    r.remove_interface(IfaceId(2));
    r.set_static(BLUE, net("20.0.0.0/8"), None);
    r.set_static(BLUE, net("30.0.0.0/8"), None);
    settle(&mut r, &mut m);
    assert!(!m.vrfs.keys().any(|(vrf, _)| *vrf == BLUE), "{:?}", m.vrfs);
}

/// L3VPN: the next hop of a labelled route of a VRF is another PE, which the global table leads to under a label.
#[test]
fn a_labelled_next_hop_stands_on_the_core() {
    let (mut r, mut m) = three();
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.7/32"),
        paths(&[via("10.0.3.2", &[100])]),
    );
    r.set_static(RED, net("20.0.0.0/8"), paths(&[via("192.0.2.7", &[900])]));
    settle(&mut r, &mut m);
    let group = m.vrfs[&(RED, net("20.0.0.0/8"))];
    let hop = ("10.0.3.2 on 3".to_owned(), vec![100, 900], 1);
    assert_eq!(m.content(group), [hop]);
    // The transport changes, and no prefix of the VRF is touched.
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.7/32"),
        paths(&[via("10.0.3.9", &[101])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(m.vrfs[&(RED, net("20.0.0.0/8"))], group);
    let hop = ("10.0.3.9 on 3".to_owned(), vec![101, 900], 1);
    assert_eq!(m.content(group), [hop]);
    r.set_static(VrfId::GLOBAL, net("192.0.2.7/32"), None);
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "20.0.0.0/8"), [""; 0]);
}

/// A route by an interface of another table leaks; one whose next hop is found by leaking in a circle carries nothing.
#[test]
fn leaks_go_by_an_interface_and_circles_are_seen() {
    let (mut r, mut m) = three();
    let mut leak = via_in(RED, "10.0.3.2");
    leak.hop = Hop::Via {
        address: ip("10.0.3.2"),
        dev: Some(IfaceId(3)),
    };
    r.set_static(RED, net("0.0.0.0/0"), paths(&[leak]));
    r.set_static(RED, net("20.0.0.0/8"), paths(&[via_in(BLUE, "30.0.0.1")]));
    r.set_static(BLUE, net("30.0.0.0/8"), paths(&[via_in(RED, "20.0.0.1")]));
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "0.0.0.0/0"), ["10.0.3.2 on 3"]);
    assert_eq!(at(&m, RED, "20.0.0.0/8"), [""; 0]);
    let view = r.routes_at(RED, net("20.0.0.0/8")).next().unwrap();
    assert!(matches!(view.paths[0], Err(Problem::Loop(_))), "{view:?}");
    // Opened, both carry.
    r.set_static(BLUE, net("30.0.0.0/8"), paths(&[via_in(BLUE, "10.0.1.7")]));
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "20.0.0.0/8"), ["10.0.1.7 on 2"]);
}

/// A subnet that leads from another table, too: so do its neighbours, as long as nothing else does.
#[test]
fn neighbours_of_a_leaked_subnet_are_in_both_tables() {
    let (mut r, mut m) = three();
    let subnet = net("10.0.1.0/24");
    let global = |m: &Mirror| m.via("10.0.1.2/32");
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(1));
    let leaked = r.own_paths(RED, &subnet).unwrap();
    let leak = |r: &mut Rib, on: bool| {
        let set = r.paths(&leaked);
        r.set_bgp(subnet, on.then_some((Source::Ibgp, set)));
        match on {
            true => r.share_link(IfaceId(1), VrfId::GLOBAL),
            false => r.unshare_link(IfaceId(1), VrfId::GLOBAL),
        }
    };
    leak(&mut r, true);
    settle(&mut r, &mut m);
    assert_eq!(m.via("10.0.1.0/24"), ["glean 1"]);
    assert_eq!(global(&m), ["10.0.1.2 on 1"], "who was known before");
    r.neighbor_lost(IfaceId(1), ip("10.0.1.2"));
    settle(&mut r, &mut m);
    assert_eq!(global(&m), [""; 0]);
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(1));
    r.neighbor(IfaceId(2), ip("10.0.1.2"), mac(2));
    settle(&mut r, &mut m);
    assert_eq!(global(&m), ["10.0.1.2 on 1"], "of red, not of blue");
    assert_eq!(at(&m, RED, "10.0.1.2/32"), ["10.0.1.2 on 1"]);
    // A better route to it.
    r.set_static(
        VrfId::GLOBAL,
        net("10.0.1.0/25"),
        paths(&[via("10.0.3.2", &[])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(global(&m), [""; 0]);
    r.set_static(VrfId::GLOBAL, net("10.0.1.0/25"), None);
    leak(&mut r, false);
    settle(&mut r, &mut m);
    assert_eq!(global(&m), [""; 0]);
    assert_eq!(m.prefixes.len(), 2, "the core's alone");
    assert_eq!(at(&m, RED, "10.0.1.2/32"), ["10.0.1.2 on 1"]);
}

#[test]
fn an_interface_moves_with_all_that_is_its() {
    let (mut r, mut m) = three();
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(1));
    r.set_static(BLUE, net("20.0.0.0/8"), paths(&[via_in(BLUE, "10.9.1.2")]));
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "10.0.1.2/32"), ["10.0.1.2 on 1"]);
    r.set_interface(IfaceId(1), iface_in(BLUE, 1, &["10.9.1.1/24"]));
    settle(&mut r, &mut m);
    assert!(!m.vrfs.keys().any(|(vrf, _)| *vrf == RED), "{:?}", m.vrfs);
    assert_eq!(at(&m, BLUE, "10.9.1.0/24"), ["glean 1"]);
    assert_eq!(at(&m, BLUE, "20.0.0.0/8"), ["10.9.1.2 on 1"]);
    // Back into the global table.
    r.set_interface(IfaceId(1), iface(1, true, &["10.9.1.1/24"]));
    settle(&mut r, &mut m);
    assert_eq!(m.via("10.9.1.0/24"), ["glean 1"]);
    assert_eq!(at(&m, BLUE, "20.0.0.0/8"), [""; 0]);
}

#[test]
fn a_label_leads_into_a_vrf() {
    let (mut r, mut m) = three();
    let label = |n| Label::new(n).unwrap();
    let pop = |vrf| LabelSpec {
        action: LabelAction::PopLookup(vrf),
        ttl: TtlMode::Pipe,
    };
    r.set_label(label(700), Some(pop(RED)));
    settle(&mut r, &mut m);
    assert_eq!(
        m.labels[&label(700)],
        OutLabel::PopLookup(RED, TtlMode::Pipe)
    );
    assert_eq!(r.labels_into(RED).collect::<Vec<_>>(), [label(700)]);
    r.set_label(label(700), Some(pop(BLUE)));
    settle(&mut r, &mut m);
    assert_eq!(
        m.labels[&label(700)],
        OutLabel::PopLookup(BLUE, TtlMode::Pipe)
    );
    assert_eq!(r.labels_into(RED).count(), 0);
}

/// A label for a CE goes where the CE is, and leads into its VRF all the same.
#[test]
fn a_label_leads_to_a_ce() {
    let (mut r, mut m) = three();
    let label = Label::new(700).unwrap();
    let ce = Hop::Via {
        address: ip("10.0.1.2"),
        dev: Some(IfaceId(1)),
    };
    let spec = LabelSpec {
        action: LabelAction::PopForward(RED, PathsSpec::single_in(RED, ce)),
        ttl: TtlMode::Pipe,
    };
    r.set_label(label, Some(spec.clone()));
    settle(&mut r, &mut m);
    let ways = |m: &Mirror| match m.labels[&label] {
        OutLabel::PopForward(g, TtlMode::Pipe) => m.content(g),
        other => panic!("{other:?}"),
    };
    assert_eq!(ways(&m), [("10.0.1.2 on 1".to_owned(), vec![], 1)]);
    let shown = r.label(label).unwrap();
    assert_eq!((shown.installed, shown.paths.len()), (true, 1));
    assert_eq!(r.labels_into(RED).collect::<Vec<_>>(), [label]);
    r.set_up(IfaceId(1), false);
    settle(&mut r, &mut m);
    assert_eq!(ways(&m), [("Unreachable".to_owned(), vec![], 1)]);
    assert!(!r.label(label).unwrap().installed);
    r.set_up(IfaceId(1), true);
    settle(&mut r, &mut m);
    assert_eq!(ways(&m), [("10.0.1.2 on 1".to_owned(), vec![], 1)]);
    // It leaves with its VRF.
    r.leave_label(label);
    r.end_leaving_into(|vrf| vrf == RED);
    assert!(r.is_leaving(label));
    r.end_leaving_into(|vrf| vrf != RED);
    settle(&mut r, &mut m);
    assert!(r.label(label).is_none() && m.labels.is_empty());
}

/// Where a next hop is, if it is nowhere else.
#[test]
fn a_next_hop_is_on_a_link_of_its_table_or_not() {
    let (mut r, mut m) = three();
    let hop = |vrf, address: &str| FollowedHop {
        address: ip(address),
        dev: None,
        vrf,
        labeled: false,
    };
    assert_eq!(r.link_of(hop(RED, "10.0.1.2")), Some(IfaceId(1)));
    assert_eq!(r.link_of(hop(BLUE, "10.0.1.2")), Some(IfaceId(2)));
    assert_eq!(r.link_of(hop(VrfId::GLOBAL, "10.0.1.2")), None);
    assert_eq!(r.link_of(hop(RED, "10.0.1.1")), None, "our own");
    // Behind another, by two ways, in another table, under a label.
    let (near, far) = ("10.0.1.2", net("192.0.2.1/32"));
    let all = [
        vec![via_in(RED, near)],
        vec![via_in(RED, near), via_in(RED, "10.0.1.3")],
        vec![PathSpec {
            vrf: RED,
            ..via(near, &[400])
        }],
    ];
    for ways in all {
        r.set_static(RED, far, paths(&ways));
        settle(&mut r, &mut m);
        assert_eq!(r.link_of(hop(RED, "192.0.2.1")), None, "{ways:?}");
    }
    let itself = PathSpec {
        hop: Hop::Via {
            address: ip(near),
            dev: Some(IfaceId(1)),
        },
        ..via(near, &[400])
    };
    r.set_static(RED, net("10.0.1.2/32"), paths(&[itself]));
    settle(&mut r, &mut m);
    assert_eq!(r.link_of(hop(RED, near)), None, "under a label");
    r.set_static(RED, net("10.0.1.2/32"), None);
    settle(&mut r, &mut m);
    assert_eq!(r.link_of(hop(RED, near)), Some(IfaceId(1)));
    let on = |vrf, dev| FollowedHop {
        dev: Some(IfaceId(dev)),
        ..hop(vrf, "fe80::1")
    };
    assert_eq!(r.link_of(on(RED, 1)), Some(IfaceId(1)));
    assert_eq!(r.link_of(on(BLUE, 1)), None, "an interface of another VRF");
    let leaked = PathSpec {
        hop: Hop::Dev(IfaceId(2)),
        vrf: BLUE,
        ..PathSpec::new(Hop::Dev(IfaceId(2)))
    };
    r.set_static(RED, net("10.9.9.0/24"), paths(&[leaked]));
    settle(&mut r, &mut m);
    assert_eq!(
        r.link_of(hop(RED, "10.9.9.1")),
        None,
        "on a link of another VRF"
    );
    r.set_up(IfaceId(1), false);
    assert_eq!(r.link_of(hop(RED, near)), None);
}

/// A next hop of BGP's that a CE told is sought where the CE is, however many tables have such a subnet.
#[test]
fn next_hops_of_bgp_are_sought_in_their_own_table() {
    let (mut r, mut m) = three();
    let (p, inner) = (net("20.0.0.0/8"), net("30.0.0.0/8"));
    for vrf in [RED, BLUE] {
        let hop = |a: &str| FollowedHop {
            address: ip(a),
            dev: None,
            vrf,
            labeled: false,
        };
        let set = r.bgp_paths(&[hop("10.0.1.2")]);
        r.set_bgp_in(vrf, p, Some((Source::Ebgp, set)));
        let set = r.bgp_paths(&[hop("20.0.0.1")]);
        r.set_bgp_in(vrf, inner, Some((Source::Ebgp, set)));
        r.follow(hop("10.0.1.2"));
        r.follow(hop("20.0.0.1"));
    }
    settle(&mut r, &mut m);
    for p in ["20.0.0.0/8", "30.0.0.0/8"] {
        assert_eq!(at(&m, RED, p), ["10.0.1.2 on 1"]);
        assert_eq!(at(&m, BLUE, p), ["10.0.1.2 on 2"]);
    }
    // On the link, and one route above it.
    let told: Vec<_> = r.take_followed().into_values().collect();
    assert_eq!(told, [Some(0), Some(0), Some(1), Some(1)]);
    let hop = |vrf| FollowedHop {
        address: ip("10.0.1.2"),
        dev: None,
        vrf,
        labeled: true,
    };
    assert!(r.is_on_link(hop(RED)) && !r.is_on_link(hop(VrfId::GLOBAL)));
    // The same prefix twice on the way, in two tables, is no circle.
    r.set_static(RED, net("40.0.0.0/8"), paths(&[via_in(BLUE, "10.0.1.7")]));
    r.set_static(RED, net("50.0.0.0/8"), paths(&[via_in(BLUE, "20.0.0.1")]));
    r.set_static(VrfId::GLOBAL, p, paths(&[via_in(RED, "50.0.0.1")]));
    let spec = paths(&[via("20.0.0.1", &[])]);
    r.set_static(VrfId::GLOBAL, net("60.0.0.0/8"), spec);
    settle(&mut r, &mut m);
    assert_eq!(at(&m, RED, "40.0.0.0/8"), ["10.0.1.7 on 2"]);
    assert_eq!(m.via("60.0.0.0/8"), ["10.0.1.2 on 2"]);
}

/// What another table has of its own is connected or static: not an address, nor what BGP has told.
#[test]
fn what_a_leak_stands_on_is_connected_or_static() {
    let (mut r, mut m) = three();
    let set = r.discard();
    r.set_bgp_in(RED, net("40.0.0.0/8"), Some((Source::Ibgp, set)));
    r.set_static(RED, net("50.0.0.0/8"), paths(&[via_in(RED, "10.0.1.2")]));
    settle(&mut r, &mut m);
    let hop = |r: &Rib, p: &str| r.own_paths(RED, &net(p)).map(|s| s.paths[0].hop);
    assert_eq!(hop(&r, "10.0.1.0/24"), Some(Hop::Dev(IfaceId(1))));
    assert!(matches!(hop(&r, "50.0.0.0/8"), Some(Hop::Via { .. })));
    assert_eq!(hop(&r, "10.0.1.1/32"), None);
    assert_eq!(hop(&r, "40.0.0.0/8"), None);
    assert_eq!(hop(&r, "60.0.0.0/8"), None);
}

/// Two routes of a table lead to one link of another: its neighbours stay until both have gone, and none comes after.
#[test]
fn a_shared_link_is_counted() {
    let (mut r, mut m) = three();
    let (dev, subnet) = (IfaceId(1), net("10.0.1.0/24"));
    let set = r.paths(&PathsSpec::single(Hop::Dev(dev)));
    r.set_bgp(subnet, Some((Source::Ibgp, set)));
    // That of blue is another's, before and after.
    r.neighbor(IfaceId(2), ip("10.0.1.7"), mac(7));
    r.neighbor(dev, ip("10.0.1.2"), mac(2));
    r.share_link(dev, VrfId::GLOBAL);
    r.share_link(dev, VrfId::GLOBAL);
    settle(&mut r, &mut m);
    let routes = |r: &Rib, a: &str| {
        let all = r.covering(VrfId::GLOBAL, ip(a));
        all.filter(|v| v.source == Source::Neighbor).count()
    };
    assert_eq!((routes(&r, "10.0.1.2"), routes(&r, "10.0.1.7")), (1, 0));
    r.unshare_link(dev, VrfId::GLOBAL);
    settle(&mut r, &mut m);
    assert_eq!(routes(&r, "10.0.1.2"), 1, "the other leads there still");
    r.unshare_link(dev, VrfId::GLOBAL);
    settle(&mut r, &mut m);
    assert_eq!(routes(&r, "10.0.1.2"), 0);
    r.neighbor(dev, ip("10.0.1.3"), mac(3));
    settle(&mut r, &mut m);
    assert_eq!(routes(&r, "10.0.1.3"), 0, "nobody leads there any more");
    // The link comes into the table that shared it: its neighbours are that one's own.
    r.share_link(dev, VrfId::GLOBAL);
    r.set_bgp(subnet, None);
    r.set_interface(dev, iface(1, true, &["10.0.1.1/24"]));
    r.unshare_link(dev, VrfId::GLOBAL);
    settle(&mut r, &mut m);
    assert_eq!((routes(&r, "10.0.1.2"), routes(&r, "10.0.1.3")), (1, 1));
    assert_eq!(m.via("10.0.1.2/32"), ["10.0.1.2 on 1"]);
}

/// A neighbour goes with its link, and is nowhere where the link was.
#[test]
fn neighbours_move_with_their_interface() {
    let (mut r, mut m) = three();
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(1));
    settle(&mut r, &mut m);
    r.set_interface(IfaceId(1), iface(1, true, &["10.0.1.1/24"]));
    settle(&mut r, &mut m);
    assert_eq!(m.via("10.0.1.2/32"), ["10.0.1.2 on 1"]);
    let left = r.covering(RED, ip("10.0.1.2")).count();
    assert_eq!((left, at(&m, RED, "10.0.1.2/32").len()), (0, 0));
}
