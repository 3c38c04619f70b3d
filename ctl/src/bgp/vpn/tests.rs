//! Labels of VRFs' routes, and what those routes push.

use bgp::attrs::{AttrBuf, LabelStack};
use bgp::types::NextHop;

use super::*;
use crate::config::labels::LabelRanges;
use crate::rib::FollowedHop;

const BLUE: VrfId = VrfId(1);
const P: &str = "10.8.0.0/16";
const Q: &str = "10.9.0.0/16";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A route that was learned in that VRF, or of another PE's (0).
fn of(table: u16) -> Use<'static> {
    Use {
        next_hop: Some(NextHop::V4([192, 0, 2, 1].into())),
        interface: None,
        relation: Some(Relation::Internal),
        labels: LabelStack::from(AttrBuf::new().view().labels()),
        table: VrfNo(table),
        backup: false,
        index: None,
        last_resort: false,
    }
}

struct Lab {
    manager: Manager,
    rib: Rib,
    vpns: Vpns,
    now: Instant,
}

impl Lab {
    /// Blue has a label for each of its routes.
    fn new() -> Self {
        let mut vpns = Vpns::default();
        vpns.each.insert(BLUE, ("blue".into(), TtlMode::Uniform));
        Self {
            manager: Manager::new(LabelRanges::default()),
            rib: Rib::new(),
            vpns,
            now: Instant::now(),
        }
    }

    fn label_of(&mut self, p: &str, by: &[Use<'_>]) -> Option<net::Label> {
        let mut from = Labels {
            manager: &mut self.manager,
            ttl: TtlMode::Uniform,
            now: self.now,
        };
        let no = VrfNo(BLUE.0);
        self.vpns.label_of(no, net(p), by, &mut from, &mut self.rib)
    }

    fn entry(&self, label: net::Label) -> Option<LabelSpec> {
        self.rib.label(label).map(|v| v.spec)
    }

    /// The VRFs whose routes have a label each are these from now on.
    fn each(&mut self, next: &[(&str, TtlMode)]) {
        let next = next
            .iter()
            .map(|(name, ttl)| (BLUE, ((*name).into(), *ttl)));
        let before = std::mem::replace(&mut self.vpns.each, next.collect());
        let mut from = Labels {
            manager: &mut self.manager,
            ttl: TtlMode::Uniform,
            now: self.now,
        };
        let mut speaker = speaker(self.now);
        self.vpns
            .each_again(&before, &mut speaker, &mut from, &mut self.rib);
    }

    fn user(&self, label: net::Label) -> Option<String> {
        self.manager.user(label).map(|(_, fec)| fec.to_string())
    }
}

fn into_blue(ttl: TtlMode) -> Option<LabelSpec> {
    let action = LabelAction::PopLookup(BLUE);
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
    let mut lab = Lab::new();
    let p = lab.label_of(P, &[of(1)]).unwrap();
    let q = lab.label_of(Q, &[of(1)]).unwrap();
    assert_ne!(p, q);
    assert_eq!(lab.user(p).as_deref(), Some("10.8.0.0/16 vrf blue"));
    assert_eq!(lab.entry(p), into_blue(TtlMode::Uniform));
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p));
    // The best one comes from another PE: nobody is told of that one as ours.
    assert_eq!(lab.label_of(P, &[of(0), of(1)]), None);
    assert_eq!(lab.user(p), None, "it is held");
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p), "and comes back");
    assert_eq!(lab.entry(p), into_blue(TtlMode::Uniform));
    // Nothing is left of it; the other stays.
    assert_eq!(lab.label_of(P, &[]), None);
    assert_eq!((lab.user(p), lab.user(q).is_some()), (None, true));
    lab.now += Duration::from_secs(3600);
    lab.manager.tick(lab.now);
    assert_eq!(lab.label_of("10.10.0.0/16", &[of(0)]), None);
    // One label for the whole of it.
    lab.vpns.each.clear();
    assert_eq!(lab.label_of(P, &[of(1)]), None);
}

#[test]
fn labels_of_routes_follow_the_configuration() {
    let mut lab = Lab::new();
    let p = lab.label_of(P, &[of(1)]).unwrap();
    lab.each(&[("blue", TtlMode::Pipe)]);
    assert_eq!(lab.entry(p), into_blue(TtlMode::Pipe));
    assert_eq!(lab.label_of(P, &[of(1)]), Some(p));
    let q = lab.label_of(Q, &[of(1)]).unwrap();
    assert_eq!(lab.entry(q), into_blue(TtlMode::Pipe));
    // Another VRF with its number, and none: its labels are not theirs.
    lab.each(&[("green", TtlMode::Pipe)]);
    assert_eq!((lab.user(p), lab.user(q)), (None, None));
    let green = lab.label_of(P, &[of(1)]).unwrap();
    assert_ne!(green, p);
    assert_eq!(lab.user(green).as_deref(), Some("10.8.0.0/16 vrf green"));
    lab.each(&[]);
    assert_eq!(lab.user(green), None);
    assert_eq!(lab.label_of(P, &[of(1)]), None);
}

/// What is pushed has the TTL mode and the entropy labels of the VRF that it is pushed in.
#[test]
fn routes_push_as_their_vrf_says() {
    let mut lab = Lab::new();
    let red = VrfId(2);
    lab.vpns.push.insert(BLUE, (TtlMode::Pipe, true));
    for vrf in [BLUE, red] {
        let hop = LabeledHop {
            hop: FollowedHop {
                address: [192, 0, 2, 1].into(),
                dev: None,
                vrf: VrfId::GLOBAL,
                labeled: true,
            },
            labels: net::Label::new(500).into_iter().collect(),
            backup: false,
        };
        let no = VrfNo(vrf.0);
        lab.vpns
            .install(no, net(P), &[of(0)], vec![hop], &mut lab.rib);
        let mut all = lab.rib.routes_at(vrf, net(P));
        let r = all.next().expect("a route");
        assert_eq!((r.source, r.spec.paths.len()), (Source::Ibgp, 1));
        let path = &r.spec.paths[0];
        let labels: Vec<u32> = path.labels.iter().map(|l| l.get()).collect();
        assert_eq!(labels, [500]);
        let want = match vrf {
            BLUE => (TtlMode::Pipe, true),
            _ => (TtlMode::Uniform, false),
        };
        assert_eq!((r.spec.ttl, path.entropy), want);
    }
    lab.vpns
        .install(VrfNo(BLUE.0), net(P), &[], vec![], &mut lab.rib);
    assert_eq!(lab.rib.routes_at(BLUE, net(P)).count(), 0);
    assert_eq!(lab.rib.routes_at(red, net(P)).count(), 1);
}
