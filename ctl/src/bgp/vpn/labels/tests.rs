//! Labels of VRFs' routes: who has which, where it leads, and when it is given back.

use net::{MacAddr, PortId};

use super::super::tests::{BLUE, P, net, of};
use super::*;
use crate::config::labels::{LabelRanges, Range};
use crate::rib::FollowedHop;
use crate::rib::spec::IfaceSpec;

const CE0: IfaceId = IfaceId(3);
const Q: &str = "10.9.0.0/16";
const R: &str = "2001:db8::/32";
const UNIFORM: TtlMode = TtlMode::Uniform;

fn hop(address: &str) -> LabeledHop {
    LabeledHop {
        hop: FollowedHop {
            address: address.parse().unwrap(),
            dev: None,
            vrf: BLUE,
            labeled: false,
        },
        labels: net::LabelStack::new(),
        backup: false,
    }
}

fn mode(vrf: &str, per: LabelMode, ttl: TtlMode) -> Mode {
    let links = [(CE0, ("ce0".into(), vec![net("192.0.2.9/24")]))];
    Mode {
        vrf: vrf.into(),
        ttl,
        per,
        whole: (per == LabelMode::PerNextHop).then(|| Label::new(999).unwrap()),
        links: links.into(),
    }
}

struct Lab {
    manager: Manager,
    rib: Rib,
    labels: VrfLabels,
    speaker: Speaker,
    now: Instant,
}

impl Lab {
    /// Blue has labels of that sort. It is on one link.
    fn new(per: LabelMode) -> Self {
        let now = Instant::now();
        let mut rib = Rib::new();
        let spec = IfaceSpec {
            vrf: BLUE,
            port: PortId(3),
            vlan: None,
            mac: MacAddr([2, 0, 0, 0, 0, 3]),
            mtu: 1500,
            up: true,
            addresses: vec![net("192.0.2.9/24")],
        };
        rib.set_interface(CE0, spec);
        let mut lab = Self {
            manager: Manager::new(LabelRanges::default()),
            rib,
            labels: VrfLabels::default(),
            speaker: speaker(now),
            now,
        };
        lab.telling("blue");
        lab.modes(&[mode("blue", per, UNIFORM)]);
        lab
    }

    fn telling(&mut self, vrf: &str) {
        let telling = [(BLUE, vrf.into())].into();
        let with = (&mut self.manager, self.now);
        (self.labels).set_whole(telling, BTreeMap::new(), with, &mut self.rib);
    }

    fn modes(&mut self, all: &[Mode]) {
        let modes = all.iter().map(|m| (BLUE, m.clone())).collect();
        let with = (&mut self.manager, self.now);
        (self.labels).set_modes(modes, &mut self.speaker, with, &mut self.rib);
    }

    fn label_by(&mut self, p: &str, by: &[Use<'_>], hops: &[LabeledHop]) -> Option<Label> {
        let mut from = Source {
            manager: &mut self.manager,
            ttl: UNIFORM,
            now: self.now,
        };
        let key = (VrfNo(BLUE.0), net(p));
        (self.labels).label_of(key, by, hops, &mut from, &mut self.rib)
    }

    fn label_of(&mut self, p: &str, by: &[Use<'_>]) -> Option<Label> {
        self.label_by(p, by, &[hop("192.0.2.1")])
    }

    fn entry(&self, label: Label) -> Option<LabelSpec> {
        self.rib.label(label).map(|v| v.spec)
    }

    fn user(&self, label: Label) -> Option<String> {
        self.manager.user(label).map(|(_, fec)| fec.to_string())
    }
}

fn into_blue(ttl: TtlMode) -> Option<LabelSpec> {
    Some(lookup(BLUE, ttl))
}

fn to_ce(address: &str, ttl: TtlMode) -> Option<LabelSpec> {
    let hop = Hop::Via {
        address: address.parse().unwrap(),
        dev: Some(CE0),
    };
    let action = LabelAction::PopForward(BLUE, PathsSpec::single_in(BLUE, hop));
    Some(LabelSpec { action, ttl })
}

fn speaker(now: Instant) -> Speaker {
    let local = bgp::speaker::Local {
        asn: bgp::types::Asn(64512),
        router_id: bgp::types::RouterId::new([192, 0, 2, 1].into()).unwrap(),
        cluster_id: None,
        confederation: None,
    };
    let config = bgp::speaker::Config {
        local,
        options: bgp::rib::Options::default(),
        neighbors: Vec::new(),
        dynamic: Vec::new(),
    };
    Speaker::new(config, 1, now)
}

/// RFC 4364 4.3.2: those that are told, and no others, have one each, which leads into the VRF and stays as long as they do.
#[test]
fn a_route_that_is_told_has_a_label_of_its_own() {
    let mut lab = Lab::new(LabelMode::PerPrefix);
    let p = lab.label_of(P, &[of(1)]).unwrap();
    let q = lab.label_of(Q, &[of(1)]).unwrap();
    assert_ne!(p, q);
    assert_eq!(lab.user(p).as_deref(), Some("10.8.0.0/16 vrf blue"));
    assert_eq!(lab.entry(p), into_blue(UNIFORM));
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p));
    // The best one comes from another PE: nobody is told of that one as ours.
    assert_eq!(lab.label_of(P, &[of(0), of(1)]), None);
    assert_eq!(lab.user(p), None, "it is held");
    assert!(lab.rib.is_leaving(p));
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p), "and comes back");
    assert_eq!(lab.entry(p), into_blue(UNIFORM));
    assert!(!lab.rib.is_leaving(p));
    // Nothing is left of it; the other stays.
    assert_eq!(lab.label_of(P, &[]), None);
    assert_eq!((lab.user(p), lab.user(q).is_some()), (None, true));
    assert_eq!(lab.label_of("10.10.0.0/16", &[of(0)]), None);
    // One label for the whole of it.
    lab.modes(&[]);
    assert_eq!(lab.label_of(P, &[of(1)]), None);
}

#[test]
fn labels_of_routes_follow_the_configuration() {
    let mut lab = Lab::new(LabelMode::PerPrefix);
    let p = lab.label_of(P, &[of(1)]).unwrap();
    lab.modes(&[mode("blue", LabelMode::PerPrefix, TtlMode::Pipe)]);
    assert_eq!(lab.entry(p), into_blue(TtlMode::Pipe));
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p));
    let q = lab.label_of(Q, &[of(1)]).unwrap();
    assert_eq!(lab.entry(q), into_blue(TtlMode::Pipe));
    // Another VRF with its number, and none: its labels are not theirs.
    lab.telling("green");
    lab.modes(&[mode("green", LabelMode::PerPrefix, TtlMode::Pipe)]);
    assert_eq!((lab.user(p), lab.user(q)), (None, None));
    assert_eq!((lab.entry(p), lab.entry(q)), (None, None));
    let green = lab.label_of(P, &[of(1)]).unwrap();
    assert_ne!(green, p);
    assert_eq!(lab.user(green).as_deref(), Some("10.8.0.0/16 vrf green"));
    lab.modes(&[]);
    assert_eq!(lab.user(green), None);
    assert!(lab.rib.is_leaving(green));
    assert_eq!(lab.label_of(P, &[of(1)]), None);
}

/// One for all routes of a CE, which leads there; it is given back with the last of them.
#[test]
fn a_ce_has_a_label_for_all_of_its_routes() {
    let mut lab = Lab::new(LabelMode::PerNextHop);
    let own = of(1);
    let one = lab.label_of(P, &[own]).unwrap();
    assert_eq!(lab.label_of(R, &[own]), Some(one), "of either family");
    assert_eq!(lab.label_of(P, &[own]), Some(one), "told again");
    let two = lab.label_by(Q, &[own], &[hop("192.0.2.2")]).unwrap();
    assert_ne!(one, two);
    let fec = "via 192.0.2.1 dev ce0 vrf blue";
    assert_eq!(lab.user(one).as_deref(), Some(fec));
    assert_eq!(lab.entry(one), to_ce("192.0.2.1", UNIFORM));
    assert_eq!(lab.entry(two), to_ce("192.0.2.2", UNIFORM));
    // To the other CE, and then they are both gone from the first.
    assert_eq!(lab.label_by(P, &[own], &[hop("192.0.2.2")]), Some(two));
    assert!(lab.user(one).is_some());
    assert_eq!(lab.label_of(R, &[]), None);
    assert_eq!(lab.user(one), None, "it is held");
    assert!(lab.rib.is_leaving(one));
    assert_eq!(lab.entry(one), to_ce("192.0.2.1", UNIFORM));
    assert_eq!(lab.label_of(Q, &[of(0)]), None, "another PE's is better");
    assert!(lab.user(two).is_some());
    assert_eq!(lab.label_of(P, &[own]), Some(one), "and comes back");
    assert_eq!(lab.user(two), None);
    assert!(!lab.rib.is_leaving(one) && lab.rib.is_leaving(two));
}

/// What is no one CE's is told with the label of the VRF.
#[test]
fn what_no_ce_alone_has_is_looked_up() {
    let mut lab = Lab::new(LabelMode::PerNextHop);
    let whole = Label::new(999);
    let near = hop("192.0.2.1");
    // A connected one.
    assert_eq!(lab.label_by(P, &[of(1)], &[]), whole);
    let two = [near.clone(), hop("192.0.2.2")];
    assert_eq!(lab.label_by(P, &[of(1), of(1)], &two), whole);
    assert_eq!(lab.label_by(P, &[of(1)], &[hop("203.0.113.1")]), whole);
    let labelled = LabeledHop {
        labels: Label::new(500).into_iter().collect(),
        ..near.clone()
    };
    assert_eq!(lab.label_by(P, &[of(1)], &[labelled]), whole);
    // One that stands by is no second one: it takes over once the route is another.
    let behind = LabeledHop {
        backup: true,
        ..hop("203.0.113.1")
    };
    let ce = lab.label_by(P, &[of(1)], &[near.clone(), behind]);
    assert!(ce.is_some() && ce != whole);
    assert_eq!(lab.label_by(P, &[of(1), of(1)], &two), whole);
    assert_eq!(lab.user(ce.unwrap()), None, "nobody is told it any more");
    // The link has gone, and what is told from others is not told by us.
    lab.rib.set_up(CE0, false);
    assert_eq!(
        lab.label_by(P, &[of(1)], std::slice::from_ref(&near)),
        whole
    );
    assert_eq!(lab.label_by(P, &[of(0)], &[near]), None);
}

/// Routes that are told keep their labels until they are told again with others, so that no frame comes with one that nobody has.
#[test]
fn another_mode_gives_other_labels_one_by_one() {
    let mut lab = Lab::new(LabelMode::PerPrefix);
    let (p, q) = (lab.label_of(P, &[of(1)]), lab.label_of(Q, &[of(1)]));
    let (p, q) = (p.unwrap(), q.unwrap());
    lab.modes(&[mode("blue", LabelMode::PerNextHop, TtlMode::Pipe)]);
    assert!(lab.user(p).is_some() && lab.user(q).is_some());
    let ce = lab.label_of(P, &[of(1)]).unwrap();
    assert_eq!((lab.user(p), lab.user(q).is_some()), (None, true));
    assert!(lab.rib.is_leaving(p) && !lab.rib.is_leaving(q));
    assert_eq!(lab.entry(ce), to_ce("192.0.2.1", TtlMode::Pipe));
    lab.modes(&[mode("blue", LabelMode::PerNextHop, UNIFORM)]);
    assert_eq!(lab.entry(ce), to_ce("192.0.2.1", UNIFORM));
    // Its interface is called otherwise: the FEC says how it was when the label was given, and it is given back by that.
    let mut other = mode("blue", LabelMode::PerNextHop, UNIFORM);
    other.links = [(CE0, ("ce9".into(), vec![]))].into();
    lab.modes(&[other]);
    assert_eq!(lab.label_of(P, &[of(1)]), Some(ce));
    lab.modes(&[mode("blue", LabelMode::PerPrefix, UNIFORM)]);
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p));
    assert_eq!(lab.user(ce), None);
    lab.modes(&[mode("blue", LabelMode::PerNextHop, UNIFORM)]);
    assert_eq!(lab.label_of(P, &[of(1)]), Some(ce));
    // Another VRF with its number: the CE there is another.
    lab.telling("green");
    lab.modes(&[mode("green", LabelMode::PerNextHop, UNIFORM)]);
    assert_eq!((lab.entry(ce), lab.user(ce)), (None, None));
    assert_eq!((lab.entry(q), lab.user(q)), (None, None));
    let ce = lab.label_of(P, &[of(1)]).unwrap();
    let fec = "via 192.0.2.1 dev ce0 vrf green";
    assert_eq!(lab.user(ce).as_deref(), Some(fec));
    // It tells nothing any more.
    let with = (&mut lab.manager, lab.now);
    (lab.labels).set_whole(BTreeMap::new(), BTreeMap::new(), with, &mut lab.rib);
    lab.modes(&[]);
    assert_eq!((lab.entry(ce), lab.user(ce)), (None, None));
}

/// The label of a VRF leads into it, leaves while the VRF goes on telling, and ends with that.
#[test]
fn a_vrf_has_a_label() {
    let mut lab = Lab::new(LabelMode::PerVrf);
    let name: VrfName = "blue".into();
    let bound = |label, ttl| {
        let vrf = "blue".into();
        [(BLUE, Bound { vrf, label, ttl })].into()
    };
    let set = |lab: &mut Lab, telling: bool, next: BTreeMap<VrfId, Bound>| {
        let telling = telling.then(|| (BLUE, "blue".into()));
        let with = (&mut lab.manager, lab.now);
        let telling = telling.into_iter().collect();
        (lab.labels).set_whole(telling, next, with, &mut lab.rib);
    };
    let label = of_vrf(&name, &mut lab.manager).unwrap();
    set(&mut lab, true, bound(label, UNIFORM));
    assert_eq!(lab.entry(label), into_blue(UNIFORM));
    assert_eq!(lab.user(label).as_deref(), Some("vrf blue"));
    set(&mut lab, true, bound(label, TtlMode::Pipe));
    assert_eq!(lab.entry(label), into_blue(TtlMode::Pipe));
    // Its routes have labels of their own.
    set(&mut lab, true, BTreeMap::new());
    assert_eq!((lab.user(label), lab.rib.is_leaving(label)), (None, true));
    assert_eq!(lab.entry(label), into_blue(TtlMode::Pipe));
    set(&mut lab, false, BTreeMap::new());
    assert_eq!(lab.entry(label), None);
    // With the VRF itself.
    assert_eq!(of_vrf(&name, &mut lab.manager), Some(label));
    set(&mut lab, true, bound(label, UNIFORM));
    set(&mut lab, false, BTreeMap::new());
    assert_eq!((lab.entry(label), lab.user(label)), (None, None));
}

/// With no label left a CE's routes are told with that of the VRF.
#[test]
fn without_a_label_for_a_ce_that_of_the_vrf_is_told() {
    let mut lab = Lab::new(LabelMode::PerNextHop);
    let one = Label::new(100).unwrap();
    lab.manager = Manager::new(LabelRanges {
        dynamic: Range {
            first: one,
            last: one,
        },
        ..LabelRanges::default()
    });
    assert_eq!(lab.label_of(P, &[of(1)]), Some(one));
    let other = [hop("192.0.2.2")];
    assert_eq!(lab.label_by(Q, &[of(1)], &other), Label::new(999));
    assert_eq!(lab.label_by(Q, &[], &other), None);
    assert_eq!(
        lab.user(one).as_deref(),
        Some("via 192.0.2.1 dev ce0 vrf blue")
    );
}

#[test]
fn all_are_taken_back() {
    for per in [LabelMode::PerPrefix, LabelMode::PerNextHop] {
        let mut lab = Lab::new(per);
        let p = lab.label_of(P, &[of(1)]).unwrap();
        let q = lab.label_by(Q, &[of(1)], &[hop("192.0.2.2")]).unwrap();
        let with = (&mut lab.manager, lab.now);
        lab.labels.clear(with, &mut lab.rib);
        for label in [p, q] {
            assert_eq!((lab.entry(label), lab.user(label)), (None, None), "{per:?}");
        }
    }
}
