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
