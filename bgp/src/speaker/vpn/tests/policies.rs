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
