//! Policies of VRFs, and what is told only with a label.

use super::*;
use crate::policy::{Policies, PolicySpec, RuleSpec, Sets, Word};

type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Rejects what matches these, and sets those of all else.
fn but(matches: Pairs<'_>, set: Pairs<'_>) -> Arc<Policy> {
    let word = |text: &str| match text.parse() {
        Ok(n) => Word::Number(n),
        Err(_) => Word::Text(text.to_owned().into()),
    };
    let mut rules = [RuleSpec::default(), RuleSpec::default()];
    for (key, text) in matches {
        rules[0].matches.put(key, &[word(text)]).unwrap();
    }
    rules[0].action = "reject".parse().unwrap();
    for (key, text) in set {
        rules[1].set.put(key, &[word(text)]).unwrap();
    }
    rules[1].action = "accept".parse().unwrap();
    let [first, second] = rules;
    let mut rules = vec![second];
    if !matches.is_empty() {
        rules.insert(0, first);
    }
    let spec = PolicySpec {
        rules,
        default: true,
    };
    let all = BTreeMap::from([("p".to_owned(), spec)]);
    let all = Policies::compile(&all, &Sets::default(), &Policies::default()).unwrap();
    Arc::clone(all.get("p").unwrap())
}

/// The preference of the best route of a VRF.
fn preference(b: &Bed, v: u16, n: u8) -> Option<u32> {
    let rib = &b.s.core.rib;
    let best = rib.vrf4.best(Vrf4::of(VrfNo(v), net(n)).unwrap())?;
    rib.common.store.view(best.post?).local_pref()
}

/// They see a family of VPNs and the prefix without its distinguisher, and what they set counts in their VRF alone.
#[test]
fn what_comes_in_is_as_the_policy_makes_it() {
    let mut one = vrf(1, &[1], &[]);
    one.policy.import = Some(but(&[("prefix", "10.8.0.0/16")], &[("local-pref", "300")]));
    let mut two = vrf(2, &[1], &[]);
    two.policy.import = Some(but(&[("family", "ipv4-unicast")], &[]));
    let mut three = vrf(3, &[1], &[]);
    three.policy.import = Some(but(&[("family", "vpnv4")], &[]));
    let mut b = Bed::new(vec![one, two, three]);
    b.announce(1, 50, 7, 100, &[1]);
    b.announce(1, 50, 8, 100, &[1]);
    b.settle();
    let all = |b: &Bed, n: u8| [1, 2, 3].map(|v| preference(b, v, n));
    assert_eq!(all(&b, 7), [Some(300), Some(100), None]);
    assert_eq!(all(&b, 8), [None, Some(100), None]);
}

/// Policies for what is told see the targets of the VRF, and can add to them; those that a CE has sent are gone by then.
#[test]
fn what_is_told_has_the_targets_of_its_vrf() {
    let mut b = Bed::new(vec![vrf(1, &[], &[1]), vrf(2, &[], &[])]);
    for v in [1, 2] {
        b.s.originate_in_vrf(VrfNo(v), net(3), Protocol::Static, None, b.now);
    }
    b.settle();
    assert_eq!(b.told(1, 3).map(|t| t.0), Some(vec![target(1)]));
    assert!(b.told(2, 3).is_none(), "it exports nothing");
    let mut own = vrf(1, &[], &[1]);
    own.policy.export = Some(but(&[], &[("add-ext-community", "target:64512:5")]));
    b.s.set_vrfs(vec![own.clone()]);
    b.settle();
    let mut both = b.told(1, 3).unwrap().0;
    both.sort_unstable_by_key(|t| t.0);
    assert_eq!(both, [target(1), target(5)]);
    own.policy.export = Some(but(&[("ext-community", "target:64512:1")], &[]));
    b.s.set_vrfs(vec![own]);
    b.settle();
    assert!(b.told(1, 3).is_none(), "it matches by its target");
    // Of what is there only targets go.
    let site = ExtCommunity([0, 3, 0xfc, 0, 0, 0, 0, 1]);
    let mut buf = AttrBuf::new();
    set_targets(&mut buf, &[target(9), site]);
    set_targets(&mut buf, &[target(1)]);
    let left: Vec<ExtCommunity> = buf.view().ext_communities().collect();
    assert_eq!(left, [site, target(1)]);
}

/// RFC 4360 4: of AS, address and 4-octet AS; nothing else that has the number 2 somewhere.
#[test]
fn route_targets_are_known_by_both_octets() {
    for (kind, sub, is) in [
        (0, 2, true),
        (1, 2, true),
        (2, 2, true),
        (3, 2, false),
        (0x40, 2, false),
        (0x80, 2, false),
        (0, 3, false),
        (2, 0, false),
    ] {
        let c = ExtCommunity([kind, sub, 0, 1, 0, 0, 0, 1]);
        assert_eq!(is_target(c), is, "{kind} {sub}");
    }
}

/// Has labels for VRFs' routes, or none.
struct Labelled(bool);

impl Best for Labelled {
    fn best(&mut self, _: IpNet, _: &[super::super::super::Use<'_>]) {}

    fn vrf(&mut self, _: VrfNo, _: IpNet, _: &[super::super::super::Use<'_>]) -> Option<Label> {
        self.0.then(|| label(9999))
    }
}

/// Where each has a label of its own, one without is not told with another's; and it is asked for again.
#[test]
fn a_route_waits_for_its_label() {
    let mut b = Bed::new(vec![vrf(9, &[], &[1])]);
    let now = b.now;
    b.s.originate_in_vrf(VrfNo(9), net(7), Protocol::Static, None, now);
    let work = |b: &mut Bed, has: bool| while b.s.work(3, &mut Labelled(has), now) {};
    work(&mut b, false);
    assert!(b.told(9, 7).is_none());
    work(&mut b, true);
    assert!(b.told(9, 7).is_none(), "nothing has changed");
    b.s.labels_available();
    work(&mut b, true);
    assert_eq!(b.told(9, 7).map(|t| t.1), Some(vec![9999]));
}

/// Within the AS our address becomes the next hop of what others told by next-hop-self, or by a policy.
#[test]
fn reflectors_that_are_the_next_hop_have_labels_too() {
    let edits: [fn(&mut Neighbor); 2] = [
        |n| n.next_hop_self = true,
        |n| n.export = Some(but(&[], &[("next-hop", "self")])),
    ];
    for edit in edits {
        let mut b = Bed::new(vec![]);
        b.announce(1, 50, 7, 100, &[1]);
        let mut config = b.s.config.clone();
        let (key, mut n) = pe(&config, 10, 64512);
        edit(Arc::make_mut(&mut n));
        config.neighbors = vec![(key, n)];
        b.s.reconfigure(config, b.now);
        b.settle();
        assert_eq!(b.heard.1, BTreeMap::from([((rd(50), net(7)), vec![101])]));
    }
}

/// What is told of a VPN's is not asked of the RPKI: a policy that rejects what is invalid lets it in.
#[test]
fn nothing_of_a_vpn_is_invalid() {
    let mut one = vrf(1, &[1], &[1]);
    let strict = || Some(crate::speaker::tests::policy("reject-invalid"));
    (one.policy.import, one.policy.export) = (strict(), strict());
    let mut b = Bed::new(vec![one]);
    b.announce(1, 50, 7, 100, &[1]);
    b.s.originate_in_vrf(VrfNo(1), net(3), Protocol::Static, None, b.now);
    b.settle();
    assert_eq!(preference(&b, 1, 7), Some(100));
    assert!(b.told(1, 3).is_some());
}

/// A route that a policy accepts no more is one no more.
#[test]
fn an_own_route_goes_with_its_policy() {
    let mut b = Bed::new(vec![vrf(1, &[], &[1])]);
    let now = b.now;
    let all = crate::speaker::tests::policy("accept-all");
    let none = crate::speaker::tests::policy("reject-all");
    assert!((b.s).originate_in_vrf(VrfNo(1), net(3), Protocol::Static, Some(&all), now));
    b.settle();
    assert!(b.told(1, 3).is_some());
    assert!(!(b.s).originate_in_vrf(VrfNo(1), net(3), Protocol::Static, Some(&none), now));
    b.settle();
    assert!(b.told(1, 3).is_none());
    assert!(b.s.core.rib.common.store.is_empty());
}

/// A CE's route whose next hop is not reached is used by nobody, so nobody is told, whatever changes beside it.
#[test]
fn what_is_not_used_is_not_told() {
    let mut b = Bed::new(vec![vrf(1, &[], &[1])]);
    b.announce_ce(7, 1);
    let lost = |b: &mut Bed| {
        for _ in 0..50 {
            let events: Vec<HopEvent> = b.s.next_hops().collect();
            for e in events {
                if let HopEvent::Wanted(id, ..) = e {
                    b.s.set_next_hop(id, None);
                }
            }
            while b.s.work(3, &mut b.heard, b.now) {}
        }
    };
    lost(&mut b);
    assert!(b.told(1, 7).is_none());
    b.s.set_vrfs(vec![vrf(1, &[5], &[1])]);
    lost(&mut b);
    assert!(b.told(1, 7).is_none());
}

/// Who may come from another AS, by itself or by what is said of it, may be told of our address.
#[test]
fn borders_are_known_before_anybody_comes() {
    let one = |peer_as, dynamic: bool| {
        let mut b = Bed::new(vec![]);
        b.announce(1, 50, 7, 100, &[1]);
        let mut config = b.s.config.clone();
        let (key, mut n) = pe(&config, 10, 64512);
        Arc::make_mut(&mut n).session.peer_as = peer_as;
        match dynamic {
            true => {
                config.dynamic = vec![crate::speaker::Dynamic {
                    prefix: "192.0.2.0/24".parse().unwrap(),
                    limit: 10,
                    neighbor: n,
                }]
            }
            false => config.neighbors = vec![(key, n)],
        }
        b.s.reconfigure(config, b.now);
        b.settle();
        !b.heard.1.is_empty()
    };
    for dynamic in [false, true] {
        assert!(one(PeerAs::External, dynamic) && one(PeerAs::Any, dynamic));
        assert!(one(PeerAs::Is(Asn(64513)), dynamic));
        assert!(!one(PeerAs::Is(Asn(64512)), dynamic));
    }
}

/// A table that is walked in pieces is asked about whole, in both families, and what VRFs have changes in both.
#[test]
fn a_large_vpn_gets_its_labels_in_pieces() {
    const N: u32 = 1500;
    let mut b = Bed::new(vec![vrf(1, &[], &[1])]);
    let settle = |b: &mut Bed| {
        for _ in 0..5 {
            let events: Vec<HopEvent> = b.s.next_hops().collect();
            for e in events {
                if let HopEvent::Wanted(id, ..) = e {
                    b.s.set_next_hop(id, Some(1));
                }
            }
            while b.s.work(10_000, &mut b.heard, b.now) {}
        }
    };
    let mut buf = AttrBuf::new();
    buf.set_origin(Origin::Igp);
    buf.set_as_path([]);
    buf.next_hop = Some(NextHop::V4(Ipv4Addr::new(192, 0, 2, 11)));
    buf.set_labels(&[label(101)]);
    set_targets(&mut buf, &[target(2)]);
    let rib = &mut b.s.core.rib;
    let id = rib.common.store.intern(buf.view());
    let a = Announce {
        peer: slot(1),
        path_id: 0,
        pre: id,
        post: Some(id),
        now: 0,
    };
    for n in 0..N {
        let four = ipnet::Ipv4Net::new_assert((n << 8).into(), 24);
        let six = ipnet::Ipv6Net::new_assert((u128::from(n) << 80).into(), 48);
        let key = Vpn4::of(rd(50), four.into()).unwrap();
        rib.vpn4.announce(&mut rib.common, key, a);
        let key = Vpn6::of(rd(50), six.into()).unwrap();
        rib.vpn6.announce(&mut rib.common, key, a);
    }
    rib.common.store.release(id);
    let here: IpNet = "2001:db8:9::/48".parse().unwrap();
    b.s.originate_in_vrf(VrfNo(1), here, Protocol::Static, None, b.now);
    settle(&mut b);
    let asked = |b: &Bed| {
        let (four, six): (Vec<&IpNet>, Vec<_>) = b
            .heard
            .1
            .keys()
            .map(|k| &k.1)
            .partition(|p| p.addr().is_ipv4());
        (four.len() as u32, six.len() as u32)
    };
    assert_eq!(asked(&b), (0, 0));
    let inside = b.s.config.clone();
    let mut border = inside.clone();
    border.neighbors = vec![pe(&inside, 20, 64513)];
    b.s.reconfigure(border, b.now);
    settle(&mut b);
    assert_eq!(asked(&b), (N, N));
    b.s.reconfigure(inside, b.now);
    settle(&mut b);
    assert_eq!(asked(&b), (0, 0));
    // Another import, and another target of what is told.
    b.s.set_vrfs(vec![vrf(1, &[2], &[3])]);
    settle(&mut b);
    let come = b.heard.0.keys().filter(|k| k.1.addr().is_ipv6()).count();
    assert_eq!(come as u32, N + 1);
    let key = Vpn6::of(rd(1), here).unwrap();
    let rib = &b.s.core.rib;
    let told = rib.vpn6.best(key).and_then(|p| p.post).unwrap();
    let targets: Vec<_> = rib.common.store.view(told).ext_communities().collect();
    assert_eq!(targets, [target(3)]);
}

/// Those that operators are told of are of routes of others.
#[test]
fn targets_of_our_own_routes_are_not_those_of_others() {
    let mut b = Bed::new(vec![vrf(1, &[], &[5])]);
    b.s.originate_in_vrf(VrfNo(1), net(3), Protocol::Static, None, b.now);
    b.announce(1, 50, 7, 100, &[1]);
    b.announce_ce(8, 1);
    let all = || Some(but(&[], &[("add-ext-community", "target:64512:6")]));
    let now = b.now;
    (b.s).originate(net(4), Protocol::Static, 0, all().as_deref(), now);
    b.settle();
    assert!(b.told(1, 3).is_some());
    assert_eq!(b.s.vpn_targets(), [target(1)].into());
}

/// Two edges and a CE: policies of VRFs see who a route is from, and the CE hears of no target.
#[test]
fn policies_of_vrfs_see_who_a_route_is_from() {
    use crate::speaker::tests::{World, address, config, local, neighbor};
    use std::time::Duration;
    let vpns = |us: u8| {
        let mut n = neighbor(&local(us, 64512), 64512);
        n.session.families = vec![FamilyConfig::new(Family::Vpnv4)];
        n
    };
    let (ce, near, far) = (local(1, 65001), local(2, 64512), local(3, 64512));
    let mut in_vrf = neighbor(&near, 65001);
    in_vrf.vrf = VrfNo(1);
    let mut w = World::new([
        (1, config(ce.clone(), [(2, neighbor(&ce, 64512))])),
        (2, config(near, [(1, in_vrf), (3, vpns(2))])),
        (3, config(far, [(2, vpns(3))])),
    ]);
    let set = |w: &mut World, import, export| {
        let mut one = vrf(1, &[1], &[1]);
        (one.policy.import, one.policy.export) = (import, export);
        w.speakers.get_mut(&2).unwrap().set_vrfs(vec![one]);
    };
    set(&mut w, None, None);
    let now = w.now;
    let s = w.speakers.get_mut(&3).unwrap();
    s.set_vrfs(vec![vrf(2, &[1], &[1])]);
    s.originate_in_vrf(VrfNo(2), net(7), Protocol::Static, None, now);
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    let told = |w: &mut World| {
        let side = Side::Received(PeerKey::Address(address(2).into(), None));
        let now = w.now;
        let s = w.speakers.get_mut(&3).unwrap();
        let page = s.routes(Family::Vpnv4, &Wanted::All, &side, None, now);
        page.unwrap().paths.len()
    };
    let come = |w: &mut World| w.paths(1, "10.7.0.0/16").len();
    assert_eq!((come(&mut w), told(&mut w)), (1, 1));
    let side = Side::Received(PeerKey::Address(address(2).into(), None));
    let now = w.now;
    let s = w.speakers.get_mut(&1).unwrap();
    let page = s.routes(
        Family::Ipv4Unicast,
        &Wanted::Exactly(net(7)),
        &side,
        None,
        now,
    );
    let heard = page.unwrap().paths.remove(0);
    assert_eq!(heard.attrs.view().ext_communities().count(), 0);
    for (not, want) in [
        ("192.0.2.3", (0, 1)),
        ("192.0.2.1", (1, 0)),
        ("192.0.2.2", (1, 1)),
    ] {
        let policy = but(&[("neighbor", not)], &[("local-pref", "300")]);
        set(&mut w, Some(Arc::clone(&policy)), Some(policy));
        w.pass(Duration::from_secs(1));
        assert_eq!((come(&mut w), told(&mut w)), want, "{not}");
    }
}

/// What no VRF lets in leaves nothing behind.
#[test]
fn what_is_let_in_nowhere_leaves_nothing() {
    let mut closed = vrf(1, &[1], &[]);
    closed.policy.import = Some(crate::speaker::tests::policy("reject-all"));
    let mut b = Bed::new(vec![closed]);
    b.announce(1, 50, 7, 100, &[1]);
    b.announce(1, 50, 7, 200, &[1]);
    b.settle();
    assert!(b.heard.0.is_empty() && b.s.core.vpns.rds.is_empty());
}

/// Two large VRFs exchange their distinguishers: what the one has told goes, and not what the other tells by then.
#[test]
fn distinguishers_change_hands() {
    const N: u32 = 1500;
    let mut b = Bed::new(vec![vrf(1, &[], &[1]), vrf(2, &[], &[2])]);
    let long = |n: u32| IpNet::from(ipnet::Ipv4Net::new_assert((n << 8).into(), 24));
    let now = b.now;
    for (v, first) in [(1, 0), (2, 5000)] {
        for n in first..first + N {
            (b.s).originate_in_vrf(VrfNo(v), long(n), Protocol::Static, None, now);
        }
    }
    let work = |b: &mut Bed| while b.s.work(10_000, &mut b.heard, now) {};
    work(&mut b);
    let (mut one, mut two) = (vrf(1, &[], &[1]), vrf(2, &[], &[2]));
    std::mem::swap(&mut one.rd, &mut two.rd);
    b.s.set_vrfs(vec![one, two]);
    work(&mut b);
    let rib = &b.s.core.rib;
    let told = |r, n| rib.vpn4.best(Vpn4::of(rd(r), long(n)).unwrap()).is_some();
    for n in 0..N {
        assert!(told(2, n) && told(1, 5000 + n), "{n}");
        assert!(!told(1, n) && !told(2, 5000 + n), "{n}");
    }
}
