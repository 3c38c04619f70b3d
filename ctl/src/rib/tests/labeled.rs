//! BGP's routes with labels, beside those without.

use super::*;

fn hop(a: &str) -> FollowedHop {
    FollowedHop {
        address: ip(a),
        dev: None,
        vrf: VrfId::GLOBAL,
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
