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
