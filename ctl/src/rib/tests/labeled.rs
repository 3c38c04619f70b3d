//! BGP's routes with labels, beside those without.

use super::*;

fn hop(a: &str) -> FollowedHop {
    FollowedHop {
        address: ip(a),
        dev: None,
        vrf: VrfId::GLOBAL,
        labeled: true,
    }
}

fn stack(labels: &[u32]) -> LabelStack {
    let all = labels.iter().map(|l| Label::new(*l).unwrap());
    all.collect()
}

fn labeled(r: &Rib, a: &str, labels: &[u32]) -> PathsSpec {
    let one = LabeledHop {
        hop: hop(a),
        labels: stack(labels),
        backup: false,
    };
    r.labeled_paths(&[one], TtlMode::Uniform)
}

#[test]
fn of_one_kind_of_neighbour_those_with_labels_are_preferred() {
    let (mut r, mut m) = two();
    let p = net("203.0.113.0/24");
    let plain = r.bgp_paths(&[hop("10.0.1.2")]);
    let with = labeled(&r, "10.0.2.2", &[500]);
    let pushed = |m: &Mirror| m.at("203.0.113.0/24").map(|all| all[0].1.clone());
    // What is there, and whether packets get a label.
    let rows = [
        (Some(Source::Ebgp), Some(Source::LabeledEbgp), Some(true)),
        (Some(Source::Ibgp), Some(Source::LabeledEbgp), Some(true)),
        (Some(Source::Ebgp), Some(Source::LabeledIbgp), Some(false)),
        (Some(Source::Ibgp), Some(Source::LabeledIbgp), Some(true)),
        (Some(Source::Ebgp), Some(Source::LabeledIbgp), Some(false)),
        (Some(Source::Ibgp), None, Some(false)),
        (None, Some(Source::LabeledIbgp), Some(true)),
        (None, None, None),
    ];
    for (without, labeled, want) in rows {
        r.set_bgp(p, without.map(|s| (s, plain)));
        r.set_labeled(p, labeled.map(|s| (s, &with)));
        settle(&mut r, &mut m);
        let want = want.map(|yes| if yes { vec![500] } else { vec![] });
        assert_eq!(pushed(&m), want, "{without:?} {labeled:?}");
    }
}

#[test]
fn labels_go_inside_those_of_the_way_to_their_next_hop() {
    let (mut r, mut m) = two();
    let (p, six) = (net("203.0.113.0/24"), net("2001:db8:9::/48"));
    let pe = net("192.0.2.9/32");
    r.set_static(VrfId::GLOBAL, pe, paths(&[via("10.0.1.2", &[17])]));
    let with = labeled(&r, "192.0.2.9", &[500, 600]);
    r.set_labeled(p, Some((Source::LabeledIbgp, &with)));
    // 6PE: IPv6 by a next hop of IPv4 (RFC 4798).
    let with = labeled(&r, "192.0.2.9", &[2]);
    r.set_labeled(six, Some((Source::LabeledIbgp, &with)));
    // The implicit null is not pushed.
    let null = labeled(&r, "10.0.2.2", &[3]);
    r.set_labeled(net("198.51.100.0/24"), Some((Source::LabeledEbgp, &null)));
    settle(&mut r, &mut m);
    let labels = |m: &Mirror, p: &str| m.at(p).unwrap()[0].1.clone();
    assert_eq!(labels(&m, "203.0.113.0/24"), [17, 500, 600]);
    assert_eq!(labels(&m, "2001:db8:9::/48"), [17, 2]);
    assert_eq!(labels(&m, "198.51.100.0/24"), [] as [u32; 0]);
    r.set_static(VrfId::GLOBAL, pe, None);
    settle(&mut r, &mut m);
    assert!(m.at("203.0.113.0/24").is_none());
    assert!(m.at("2001:db8:9::/48").is_none());
}

/// RFC 6790 4.2: below the label whose end takes it off; of several the innermost.
#[test]
fn an_entropy_label_goes_below_an_lsp_whose_end_knows_it() {
    let (mut r, mut m) = two();
    let (p, pe) = (net("203.0.113.0/24"), net("192.0.2.9/32"));
    let ldp = |labels: &[u32]| PathsSpec {
        paths: vec![PathSpec {
            entropy: true,
            ..via("10.0.1.2", labels)
        }],
        ttl: TtlMode::Uniform,
    };
    let out = |m: &Mirror, p: &str| {
        let path = &m.groups[&m.prefixes[&net(p)]][0];
        let labels: Vec<u32> = path.push.iter().map(|l| l.get()).collect();
        (labels, path.entropy)
    };
    let (far, edge) = ("203.0.113.0/24", "192.0.2.9/32");
    r.set_ldp(pe, Some(&ldp(&[17])));
    let with = labeled(&r, "192.0.2.9", &[500]);
    r.set_labeled(p, Some((Source::LabeledIbgp, &with)));
    settle(&mut r, &mut m);
    assert_eq!(out(&m, edge), (vec![17], 1));
    assert_eq!(out(&m, far), (vec![17, 500], 1), "LDP's end is the first's");
    let own = with.clone().with_entropy(true);
    r.set_labeled(p, Some((Source::LabeledIbgp, &own)));
    settle(&mut r, &mut m);
    assert_eq!(out(&m, far), (vec![17, 500], 2));
    // Where LDP's path is but the last link, nothing is pushed, and so no entropy label.
    r.set_ldp(pe, Some(&ldp(&[3])));
    r.set_labeled(p, Some((Source::LabeledIbgp, &with)));
    settle(&mut r, &mut m);
    assert_eq!(out(&m, edge), (vec![], 0));
    assert_eq!(out(&m, far), (vec![500], 0));
    r.set_labeled(p, Some((Source::LabeledIbgp, &own)));
    settle(&mut r, &mut m);
    assert_eq!(out(&m, far), (vec![500], 1));
}

fn problem(r: &Rib, a: &str) -> Option<Problem> {
    r.hop_problem(hop(a))
}

/// RFC 4364 5: an IP route to another PE is no LSP.
#[test]
fn without_a_label_on_the_way_there_is_none() {
    let (mut r, mut m) = two();
    let (p, pe) = (net("203.0.113.0/24"), net("192.0.2.9/32"));
    let with = labeled(&r, "192.0.2.9", &[500]);
    r.set_labeled(p, Some((Source::LabeledIbgp, &with)));
    let null = labeled(&r, "192.0.2.9", &[3]);
    r.set_labeled(net("198.51.100.0/24"), Some((Source::LabeledIbgp, &null)));
    r.follow(hop("192.0.2.9"));
    r.follow(FollowedHop {
        labeled: false,
        ..hop("192.0.2.9")
    });
    let told = |r: &mut Rib| -> Vec<(bool, bool)> {
        let all = r.take_followed().into_iter();
        all.map(|(h, metric)| (h.labeled, metric.is_some()))
            .collect()
    };
    let out = |m: &Mirror| {
        ["203.0.113.0/24", "198.51.100.0/24"].map(|p| m.at(p).map(|all| all[0].1.clone()))
    };
    let none = [None, None];
    let lacks = Some(Problem::NoLabel(ip("192.0.2.9")));
    settle(&mut r, &mut m);
    assert_eq!(
        problem(&r, "192.0.2.9"),
        Some(Problem::NoRoute(ip("192.0.2.9")))
    );
    assert_eq!(told(&mut r), [(false, false), (true, false)]);

    // A way for IP packets alone.
    r.set_static(VrfId::GLOBAL, pe, paths(&[via("10.0.1.2", &[])]));
    settle(&mut r, &mut m);
    assert_eq!((out(&m), problem(&r, "192.0.2.9")), (none.clone(), lacks));
    assert_eq!(told(&mut r), [(false, true)]);
    // LDP has a label, which may be the implicit null; then it has none any more.
    for (label, want) in [(17, vec![17]), (3, vec![])] {
        r.set_ldp(pe, paths(&[via("10.0.1.2", &[label])]).as_ref());
        settle(&mut r, &mut m);
        let both = [[want.clone(), vec![500]].concat(), want];
        assert_eq!((out(&m), problem(&r, "192.0.2.9")), (both.map(Some), None));
        assert_eq!(told(&mut r), [(true, true)]);
        r.set_ldp(pe, None);
        settle(&mut r, &mut m);
        assert_eq!((out(&m), problem(&r, "192.0.2.9")), (none.clone(), lacks));
        assert_eq!(told(&mut r), [(true, false)]);
    }
    // By hand.
    r.set_static(VrfId::GLOBAL, pe, paths(&[via("10.0.1.2", &[3])]));
    settle(&mut r, &mut m);
    assert_eq!(out(&m), [Some(vec![500]), Some(vec![])]);
    // A label to the router before it is none to it.
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.8/32"),
        paths(&[via("10.0.2.2", &[18])]),
    );
    r.set_static(VrfId::GLOBAL, pe, paths(&[via("192.0.2.8", &[])]));
    settle(&mut r, &mut m);
    assert_eq!((out(&m), problem(&r, "192.0.2.9")), (none, lacks));
    r.set_static(VrfId::GLOBAL, pe, paths(&[via("192.0.2.8", &[19])]));
    settle(&mut r, &mut m);
    assert_eq!(out(&m), [Some(vec![18, 19, 500]), Some(vec![18, 19])]);
}

/// What has labels goes by what has some; other packets need not.
#[test]
fn of_several_ways_those_with_labels_are_taken() {
    let (mut r, mut m) = two();
    let (p, pe) = (net("203.0.113.0/24"), net("192.0.2.9/32"));
    let with = labeled(&r, "192.0.2.9", &[500]);
    r.set_labeled(p, Some((Source::LabeledIbgp, &with)));
    r.set_static(
        VrfId::GLOBAL,
        pe,
        paths(&[via("10.0.1.2", &[]), via("10.0.2.2", &[])]),
    );
    r.set_ldp(
        pe,
        paths(&[via("10.0.1.2", &[]), via("10.0.2.2", &[17])]).as_ref(),
    );
    settle(&mut r, &mut m);
    let hops = |m: &Mirror, p: &str| m.at(p).unwrap_or_default();
    assert_eq!(hops(&m, "192.0.2.9/32").len(), 2);
    let one = ("10.0.2.2 on 2".to_owned(), vec![17, 500], 1);
    assert_eq!(hops(&m, "203.0.113.0/24"), [one]);
    // BGP's with a label stands behind the static route that has none.
    r.set_ldp(pe, None);
    let transport = labeled(&r, "10.0.1.2", &[30]);
    r.set_labeled(pe, Some((Source::LabeledIbgp, &transport)));
    settle(&mut r, &mut m);
    let plain: Vec<_> = hops(&m, "192.0.2.9/32").into_iter().map(|h| h.1).collect();
    assert_eq!(plain, [[0u32; 0]; 2], "packets without labels");
    let one = ("10.0.1.2 on 1".to_owned(), vec![30, 500], 1);
    assert_eq!(hops(&m, "203.0.113.0/24"), [one]);
    let way = r.lookup_labeled(ip("192.0.2.9")).unwrap();
    assert_eq!(way.source, Source::LabeledIbgp);
    assert_eq!(
        r.lookup(VrfId::GLOBAL, ip("192.0.2.9")).unwrap().source,
        Source::Static
    );
}

/// The backup of a VPN carries from the moment that the label goes, before BGP knows; and prefixes are not touched.
#[test]
fn a_backup_carries_while_the_label_is_lost() {
    let (mut r, mut m) = two();
    let red = VrfId(7);
    let p = net("203.0.113.0/24");
    for (pe, link) in [("192.0.2.2/32", "10.0.1.2"), ("192.0.2.3/32", "10.0.2.2")] {
        r.set_static(VrfId::GLOBAL, net(pe), paths(&[via(link, &[])]));
        r.set_ldp(net(pe), paths(&[via(link, &[3])]).as_ref());
    }
    let one = |a: &str, label, backup| LabeledHop {
        hop: hop(a),
        labels: stack(&[label]),
        backup,
    };
    let both = [one("192.0.2.2", 500, false), one("192.0.2.3", 600, true)];
    let spec = r.labeled_paths(&both, TtlMode::Uniform);
    let set = r.paths(&spec);
    r.set_bgp_in(red, p, Some((Source::Ibgp, set)));
    settle(&mut r, &mut m);
    let out = |m: &Mirror| m.content(m.vrfs[&(red, p)]);
    let used = vec![
        ("10.0.1.2 on 1".to_owned(), vec![500], 1),
        ("backup 10.0.2.2 on 2".to_owned(), vec![600], 1),
    ];
    assert_eq!(out(&m), used);
    let (group, writes) = (m.vrfs[&(red, p)], m.writes);
    let pe = net("192.0.2.2/32");
    r.set_ldp(pe, None);
    settle(&mut r, &mut m);
    let left = [("backup 10.0.2.2 on 2".to_owned(), vec![600], 1)];
    assert_eq!(out(&m), left);
    r.set_ldp(pe, paths(&[via("10.0.1.2", &[3])]).as_ref());
    settle(&mut r, &mut m);
    assert_eq!(out(&m), used);
    assert_eq!(
        (m.vrfs[&(red, p)], m.writes - writes),
        (group, 2),
        "LDP's own"
    );
}

fn forward(p: PathSpec, ttl: TtlMode) -> LabelSpec {
    let action = LabelAction::Forward(paths(&[p]).unwrap());
    LabelSpec { action, ttl }
}

/// One that leaves goes where it is told to, until it is ended, set again, or the table is gone that it leads into.
#[test]
fn labels_leave() {
    let (mut r, mut m) = two();
    let label = |n| Label::new(n).unwrap();
    let (a, b, unknown) = (label(100), label(101), label(102));
    let on = forward(via("10.0.1.2", &[200]), TtlMode::Uniform);
    let other = forward(via("10.0.2.2", &[201]), TtlMode::Uniform);
    let pops = |vrf| LabelSpec {
        action: LabelAction::PopLookup(vrf),
        ttl: TtlMode::Uniform,
    };
    r.set_label(a, Some(on.clone()));
    r.set_label(b, Some(pops(VrfId(7))));
    // Without an entry there is nothing to leave.
    r.leave_label(unknown);
    assert!(!r.is_leaving(unknown) && !r.set_leaving(unknown, &on));
    // One that stays does not end, nor go another way.
    r.end_leaving(a);
    assert!(!r.set_leaving(a, &other));
    settle(&mut r, &mut m);
    assert_eq!(r.label(a).map(|v| v.spec), Some(on));
    r.leave_label(a);
    r.leave_label(b);
    assert!(r.set_leaving(a, &other) && r.is_leaving(a));
    // What goes on does not lead into a table.
    r.end_leaving_into(|vrf| vrf == VrfId(7));
    assert!(r.is_leaving(a) && r.is_leaving(b));
    r.end_leaving_into(|_| false);
    settle(&mut r, &mut m);
    assert_eq!((r.is_leaving(a), r.is_leaving(b)), (true, false));
    assert_eq!(m.labels.keys().collect::<Vec<_>>(), [&a]);
    // Set again it stays.
    r.set_label(a, Some(other));
    r.end_leaving(a);
    assert!(r.label(a).is_some() && !r.is_leaving(a));
    r.leave_label(a);
    r.end_leaving(a);
    settle(&mut r, &mut m);
    assert!(m.labels.is_empty() && r.sizes().labels == 0);
}

/// What a label becomes in the forwarding tables, and that nothing is kept of one that was never there.
#[test]
fn labels_are_written_as_they_are_asked_for() {
    let (mut r, mut m) = two();
    let label = |n| Label::new(n).unwrap();
    let spec = |action| LabelSpec {
        action,
        ttl: TtlMode::Pipe,
    };
    r.set_label(label(100), Some(spec(LabelAction::PopLast)));
    r.set_label(
        label(101),
        Some(forward(via("10.0.1.2", &[]), TtlMode::Pipe)),
    );
    r.set_label(label(102), None);
    r.set_label(label(103), Some(spec(LabelAction::PopLast)));
    r.set_label(label(103), None);
    assert!(!r.label(label(101)).unwrap().installed);
    settle(&mut r, &mut m);
    assert!(r.label(label(101)).unwrap().installed);
    assert_eq!(m.labels[&label(100)], OutLabel::PopLast(TtlMode::Pipe));
    assert!(matches!(
        m.labels[&label(101)],
        OutLabel::Forward(_, TtlMode::Pipe)
    ));
    assert_eq!((m.labels.len(), r.sizes().labels), (2, 2));
    // Another by the same paths, which are there: it is not, for a moment.
    r.set_label(
        label(104),
        Some(forward(via("10.0.1.2", &[]), TtlMode::Pipe)),
    );
    assert!(!r.label(label(104)).unwrap().installed);
    r.set_label(label(104), None);
    settle(&mut r, &mut m);
    // Its paths carry nothing: it stays, and says so.
    r.set_up(IfaceId(1), false);
    settle(&mut r, &mut m);
    assert!(!r.label(label(101)).unwrap().installed);
    assert_eq!(m.labels.len(), 2);
}

/// There is no room for the group of a label: it comes once there is, though the label has not changed since.
#[test]
fn a_label_comes_with_its_group() {
    let (mut r, mut m) = two();
    let label = Label::new(100).unwrap();
    m.room = Some((m.groups.len(), 100));
    r.set_label(
        label,
        Some(forward(via("10.0.1.2", &[200]), TtlMode::Uniform)),
    );
    settle(&mut r, &mut m);
    assert!(m.labels.is_empty());
    // Another TTL mode at its end changes no path.
    r.set_label(label, Some(forward(via("10.0.1.2", &[200]), TtlMode::Pipe)));
    settle(&mut r, &mut m);
    m.room = None;
    r.retry();
    settle(&mut r, &mut m);
    assert!(matches!(
        m.labels[&label],
        OutLabel::Forward(_, TtlMode::Pipe)
    ));
}

/// Routes by a next hop are there before BGP asks about it; of more than one standing by, the first does.
#[test]
fn a_next_hop_is_told_whoever_had_it_before() {
    let (mut r, mut m) = two();
    let plain = FollowedHop {
        labeled: false,
        ..hop("10.0.1.2")
    };
    let set = r.bgp_paths(&[plain]);
    r.set_bgp(net("203.0.113.0/24"), Some((Source::Ibgp, set)));
    settle(&mut r, &mut m);
    r.follow(plain);
    settle(&mut r, &mut m);
    assert_eq!(r.take_followed(), [(plain, Some(0))].into());
    // Followed, it has a set of its own; with another behind it, that is another set.
    let behind = FollowedHop {
        labeled: false,
        ..hop("10.0.2.2")
    };
    assert_eq!(r.bgp_paths(&[plain]), set);
    let both = r.bgp_paths_backed(&[plain], Some(behind));
    assert_ne!(both, set);
    r.set_bgp(net("203.0.113.0/24"), Some((Source::Ibgp, both)));
    settle(&mut r, &mut m);
    let want = ["10.0.1.2 on 1", "backup 10.0.2.2 on 2"];
    assert_eq!(m.via("203.0.113.0/24"), want);
    let one = |a: &str, backup| LabeledHop {
        hop: hop(a),
        labels: stack(&[500]),
        backup,
    };
    let all = [
        one("10.0.1.2", false),
        one("10.0.2.2", true),
        one("10.0.2.3", true),
    ];
    let spec = r.labeled_paths(&all, TtlMode::Uniform);
    assert_eq!(spec.paths.len(), 2);
}

/// The look-up is that of the packet: its neighbour's own entry is not a route, and what is not in use carries none.
#[test]
fn a_look_up_finds_the_route_that_is_in_use() {
    let (mut r, mut m) = two();
    let (near, pe) = (ip("10.0.1.2"), "192.0.2.9/32");
    r.neighbor(IfaceId(1), near, mac(1));
    // The better route has nowhere to go.
    r.set_static(VrfId::GLOBAL, net(pe), paths(&[via("172.16.0.1", &[])]));
    let ldp = labeled(&r, "10.0.2.2", &[40]);
    r.set_labeled(net(pe), Some((Source::LabeledIbgp, &ldp)));
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.0/24"),
        paths(&[via("10.0.1.2", &[30])]),
    );
    settle(&mut r, &mut m);
    let lookup = |r: &Rib, a: &str| r.lookup(VrfId::GLOBAL, ip(a)).map(|v| (v.prefix, v.source));
    let lsp = |r: &Rib, a: &str| r.lookup_labeled(ip(a)).map(|v| (v.prefix, v.source));
    let link = (net("10.0.1.0/24"), Source::Connected);
    assert_eq!(lookup(&r, "10.0.1.2"), Some(link));
    assert_eq!(lsp(&r, "10.0.1.2"), Some(link));
    assert_eq!(
        lookup(&r, "192.0.2.9"),
        Some((net(pe), Source::LabeledIbgp))
    );
    assert_eq!(lsp(&r, "192.0.2.9"), Some((net(pe), Source::LabeledIbgp)));
    assert_eq!(r.egress(VrfId::GLOBAL, ip("192.0.2.9")), Some(IfaceId(2)));
    // A shorter prefix with a label is not the way to where a longer one leads without; nor is there none.
    r.set_labeled(net(pe), None);
    r.set_static(VrfId::GLOBAL, net(pe), paths(&[via("10.0.2.2", &[])]));
    settle(&mut r, &mut m);
    assert_eq!(lsp(&r, "192.0.2.9"), Some((net(pe), Source::Static)));
    assert_eq!(
        lsp(&r, "192.0.2.8"),
        Some((net("192.0.2.0/24"), Source::Static))
    );
    assert_eq!(lsp(&r, "198.51.100.1"), None);
    // The link goes, and the entry is not written yet: what carries something is the shorter one.
    r.set_up(IfaceId(2), false);
    while !r.sets.dirty.is_empty() {
        r.drain(&mut m, 1);
    }
    assert!(m.prefixes.contains_key(&net(pe)));
    assert_eq!(r.egress(VrfId::GLOBAL, ip("192.0.2.9")), Some(IfaceId(1)));
}

/// Whatever else is wrong with the routes to a next hop: what its packets lack is a label.
#[test]
fn the_label_is_what_lacks() {
    let (mut r, mut m) = two();
    let pe = "192.0.2.9/32";
    let mixed = paths(&[via("172.16.0.1", &[]), via("10.0.1.2", &[])]);
    r.set_static(VrfId::GLOBAL, net(pe), mixed);
    settle(&mut r, &mut m);
    let lacks = Problem::NoLabel(ip("192.0.2.9"));
    assert_eq!(problem(&r, "192.0.2.9"), Some(lacks));
}

/// Two ways that are one on the wire: that labels get there is said by either.
#[test]
fn one_way_with_a_label_of_two_that_are_alike_is_enough() {
    for order in [[&[][..], &[3]], [&[3], &[]]] {
        let (mut r, mut m) = two();
        let ways = order.map(|labels| via("10.0.1.2", labels));
        r.set_static(VrfId::GLOBAL, net("192.0.2.9/32"), paths(&ways));
        settle(&mut r, &mut m);
        assert_eq!(problem(&r, "192.0.2.9"), None);
    }
}

/// What BGP has set and a full table has refused comes once there is room.
#[test]
fn routes_of_bgp_that_were_refused_come_later() {
    let (mut r, mut m) = two();
    m.room = Some((100, m.prefixes.len() + 2));
    let set = r.bgp_paths(&[hop("10.0.1.2")]);
    let all: Vec<IpNet> = (0..4).map(|n| net(&format!("20.{n}.0.0/16"))).collect();
    for p in &all {
        r.set_bgp(*p, Some((Source::Ibgp, set)));
    }
    while r.is_dirty() {
        r.drain(&mut m, 100);
    }
    let there = |m: &Mirror| all.iter().filter(|p| m.prefixes.contains_key(p)).count();
    assert_eq!(there(&m), 2);
    m.room = None;
    r.retry();
    settle(&mut r, &mut m);
    assert_eq!(there(&m), 4);
}

/// BGP may set the same route several times before it is looked at, and a drain may end between.
#[test]
fn a_route_that_is_set_twice_is_there() {
    for budget in [1, 2, 100] {
        let (mut r, mut m) = two();
        let set = r.bgp_paths(&[hop("10.0.1.2")]);
        let p = net("20.0.0.0/16");
        for _ in 0..2 {
            r.set_bgp(p, Some((Source::Ibgp, set)));
        }
        while r.drain(&mut m, budget).more {}
        assert!(m.prefixes.contains_key(&p), "{budget}");
    }
}

/// Two ways to one neighbour with one label differ, as one has an entropy label and the other has not.
#[test]
fn ways_with_and_without_an_entropy_label_are_two() {
    let (mut r, mut m) = two();
    let pe = net("192.0.2.9/32");
    let with = PathSpec {
        entropy: true,
        ..via("10.0.1.2", &[17])
    };
    r.set_static(VrfId::GLOBAL, pe, paths(&[with, via("10.0.1.2", &[17])]));
    settle(&mut r, &mut m);
    let group = &m.groups[&m.prefixes[&pe]];
    let mut below: Vec<u8> = group.iter().map(|p| p.entropy).collect();
    below.sort_unstable();
    assert_eq!(below, [0, 1]);
}
