//! What the speaker has chosen, and what the RIB has of it: ways that stand by, and labels.

mod hops;
mod own;

use std::collections::BTreeMap;
use std::time::Instant;

use bgp::attrs::{AttrBuf, LabelStack};

use super::*;
use crate::bgp::labels::{Bound, Source as Labelled};
use crate::config::labels::{LabelRanges, Range};
use crate::labels::{Manager, Owner};
use crate::neigh::{Neighbours, Params};
use crate::rib::sink::any::Any;
use crate::rib::spec::{LabelAction, TtlMode};

const P: &str = "10.8.0.0/16";
const BLUE: VrfNo = VrfNo(1);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn rd(n: u8) -> Rd {
    Rd([0, 0, 0xfc, 0, 0, 0, 0, n])
}

/// A way by 192.0.2.N with a label; without one it is of VRF 2.
fn by(n: u8, label: Option<u32>) -> Use<'static> {
    let mut buf = AttrBuf::new();
    let labels: Vec<Label> = label.into_iter().filter_map(Label::new).collect();
    buf.set_labels(&labels);
    Use {
        next_hop: Some(NextHop::V4([192, 0, 2, n].into())),
        interface: None,
        relation: Some(Relation::Internal),
        labels: LabelStack::from(buf.view().labels()),
        table: VrfNo(if label.is_some() { 0 } else { 2 }),
        backup: false,
        index: None,
        last_resort: false,
    }
}

fn backup(n: u8, label: u32) -> Use<'static> {
    Use {
        backup: true,
        ..by(n, Some(label))
    }
}

/// Of each path its next hop, its labels, and whether it stands by.
type Ways = Vec<(String, Vec<u32>, bool)>;

fn ways(spec: &PathsSpec) -> Ways {
    let one = |p: &crate::rib::spec::PathSpec| {
        let hop = match p.hop {
            Hop::Bgp { address, .. } => address.to_string(),
            other => format!("{other:?}"),
        };
        (hop, p.labels.iter().map(|l| l.get()).collect(), p.backup)
    };
    spec.paths.iter().map(one).collect()
}

fn way(n: u8, label: u32, backup: bool) -> (String, Vec<u32>, bool) {
    (format!("192.0.2.{n}"), vec![label], backup)
}

/// A configuration that a test is about.
fn configured(text: &str) -> Arc<Valid> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.toml");
    std::fs::write(&path, text).unwrap();
    let store = crate::config::Store::load(&path);
    Arc::clone(store.map_err(|e| e.to_string()).unwrap().running())
}

fn speaker(now: Instant) -> Speaker {
    let local = speaker::Local {
        asn: bgp::types::Asn(64512),
        router_id: bgp::types::RouterId::new([192, 0, 2, 1].into()).unwrap(),
        cluster_id: None,
        confederation: None,
    };
    let config = speaker::Config {
        local,
        options: bgp::rib::Options::default(),
        neighbors: Vec::new(),
        dynamic: Vec::new(),
    };
    Speaker::new(config, 1, now)
}

/// An interface of the configuration, number `n`, that is up.
fn iface(valid: &Valid, name: &str, n: u16, vrf: VrfId) -> (String, Iface) {
    let it = Iface {
        id: net::IfaceId(n),
        conf: valid.interfaces[name].clone(),
        port: net::PortId(n),
        mac: net::MacAddr([2, 0, 0, 0, 0, n as u8]),
        link_local: "fe80::1".parse().unwrap(),
        vrf,
        up: true,
    };
    (name.to_owned(), it)
}

struct Lab {
    manager: Manager,
    rib: Rib,
    bound: Bound,
    vpns: Vpns,
    ifaces: BTreeMap<String, Iface>,
    install: bool,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        let label = |n| net::Label::new(n).unwrap();
        let (first, last) = (label(16_000), label(16_099));
        Self {
            manager: Manager::new(LabelRanges {
                srgb: Some(Range { first, last }),
                ..LabelRanges::default()
            }),
            rib: Rib::new(),
            bound: Bound::default(),
            vpns: Vpns::default(),
            ifaces: BTreeMap::new(),
            install: true,
            now: Instant::now(),
        }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut ToRib<'_, '_>) -> T) -> T {
        let mut from = Labelled {
            manager: &mut self.manager,
            ttl: TtlMode::Uniform,
            now: self.now,
        };
        let links = Links {
            ifaces: &self.ifaces,
            names: &BTreeMap::new(),
            vrfs: &BTreeMap::new(),
            host: None,
            neigh: &Neighbours::new(Params::default()),
            valid: &Arc::default(),
        };
        f(&mut ToRib {
            install: self.install,
            labels: Labels {
                bound: &mut self.bound,
                from: &mut from,
                rib: &mut self.rib,
            },
            vpns: &mut self.vpns,
            links: &links,
            hops: Vec::new(),
            done: 0,
            last: None,
        })
    }

    fn labeled(&mut self, by: &[Use<'_>]) -> Option<u32> {
        self.with(|to| to.labeled(net(P), by, true)).map(Label::get)
    }

    fn vpn(&mut self, n: u8, by: &[Use<'_>]) -> Option<u32> {
        self.with(|to| to.vpn(rd(n), net(P), by)).map(Label::get)
    }

    /// What becomes of packets with a label that is given out.
    fn entry(&self, label: u32) -> Ways {
        let label = net::Label::new(label).unwrap();
        match self.rib.label(label).map(|v| v.spec.action) {
            Some(LabelAction::Forward(spec)) => ways(&spec),
            other => panic!("{label}: {other:?}"),
        }
    }

    /// What the RIB has for a prefix.
    fn route(&mut self, vrf: VrfNo, p: &str) -> Option<Ways> {
        self.rib.drain(&mut Any::default(), usize::MAX);
        let mut all = self.rib.routes_at(VrfId(vrf.0), net(p));
        all.next().map(|r| ways(&r.spec))
    }

    fn is_given(&self, label: u32) -> Option<Owner> {
        let label = net::Label::new(label).unwrap();
        self.manager.user(label).map(|u| u.0)
    }
}

/// A backup has its own label, in the table, under a label of ours, and in a VRF.
#[test]
fn what_stands_by_does_so_with_its_own_label() {
    let mut lab = Lab::new();
    let all = [by(1, Some(100)), backup(2, 200)];
    let want = vec![way(1, 100, false), way(2, 200, true)];
    let label = lab.labeled(&all).unwrap();
    assert_eq!(lab.entry(label), want);
    assert_eq!(lab.route(VrfNo::GLOBAL, P), Some(want.clone()));
    let of_vpn = lab.vpn(1, &all).unwrap();
    assert_ne!(of_vpn, label);
    assert_eq!(lab.entry(of_vpn), want);
    lab.with(|to| to.vrf(BLUE, net(P), &all));
    assert_eq!(lab.route(BLUE, P), Some(want));
    // Another stands by, and none.
    assert_eq!(lab.labeled(&[all[0], backup(3, 300)]), Some(label));
    assert_eq!(lab.entry(label), [way(1, 100, false), way(3, 300, true)]);
    assert_eq!(lab.labeled(&all[..1]), Some(label));
    assert_eq!(lab.entry(label), [way(1, 100, false)]);
    // It takes over for good: the label is the same one.
    assert_eq!(lab.labeled(&[by(2, Some(200))]), Some(label));
    assert_eq!(lab.entry(label), [way(2, 200, false)]);
}

/// Nothing stands by for itself, whatever label it has.
#[test]
fn what_stands_by_is_another_next_hop() {
    let mut lab = Lab::new();
    let several = [by(1, Some(100)), by(2, Some(200)), by(2, Some(200))];
    let label = lab.labeled(&several).unwrap();
    let both = [way(1, 100, false), way(2, 200, false)];
    assert_eq!(lab.entry(label), both);
    lab.labeled(&[several[0], several[1], backup(2, 201)]);
    assert_eq!(lab.entry(label), both);
}

/// Routes one after another have the same best next hop, and not the same backup.
#[test]
fn routes_without_labels_have_each_its_own_backup() {
    let mut lab = Lab::new();
    let one = |n| Use {
        table: VrfNo::GLOBAL,
        ..by(n, None)
    };
    let behind = |n| Use {
        backup: true,
        ..one(n)
    };
    let none = |n: u8, backup| (format!("192.0.2.{n}"), vec![], backup);
    lab.with(|to| {
        to.best(net("10.1.0.0/16"), &[one(1), behind(2)]);
        to.best(net("10.2.0.0/16"), &[one(1), behind(3)]);
        to.best(net("10.3.0.0/16"), &[one(1)]);
        to.best(net("10.4.0.0/16"), &[one(1), behind(2)]);
    });
    for (p, second) in [("10.1", 2), ("10.2", 3), ("10.3", 0), ("10.4", 2)] {
        let mut want = vec![none(1, false)];
        want.extend((second > 0).then(|| none(second, true)));
        let p = format!("{p}.0.0/16");
        assert_eq!(lab.route(VrfNo::GLOBAL, &p), Some(want), "{p}");
    }
}

/// RFC 4364 10 b: a label each for prefixes that differ in nothing but their distinguisher.
#[test]
fn labels_of_others_vpns_are_told_apart_and_given_back() {
    let mut lab = Lab::new();
    let one = lab.vpn(1, &[by(1, Some(100))]).unwrap();
    let two = lab.vpn(2, &[by(2, Some(100))]).unwrap();
    assert_ne!(one, two);
    assert_eq!(lab.entry(one), [way(1, 100, false)]);
    assert_eq!(lab.entry(two), [way(2, 100, false)]);
    // The next hop has another label for it: ours stays.
    assert_eq!(lab.vpn(1, &[by(1, Some(101))]), Some(one));
    assert_eq!(lab.entry(one), [way(1, 101, false)]);
    // Its own have those of their VRFs.
    let own = Use {
        relation: None,
        ..by(1, Some(100))
    };
    assert_eq!(lab.vpn(3, &[own]), None);
    assert_eq!(lab.vpn(1, &[]), None);
    assert_eq!(
        (lab.is_given(one), lab.is_given(two)),
        (None, Some(Owner::Vpn))
    );
}

/// RFC 8669 4.1.
#[test]
fn a_label_index_makes_the_label() {
    let mut lab = Lab::new();
    let with = |index| Use {
        index,
        ..by(1, Some(100))
    };
    assert_eq!(lab.labeled(&[with(Some(7))]), Some(16_007));
    assert_eq!(lab.entry(16_007), [way(1, 100, false)]);
    assert_eq!(lab.is_given(16_007), Some(Owner::SegmentRouting));
    let plain = lab.labeled(&[with(None)]).unwrap();
    assert_eq!(lab.is_given(plain), Some(Owner::LabeledUnicast));
    assert_eq!(lab.is_given(16_007), None);
}

/// A label that was lost and is back: a last resort for the delay, and told at once if it is all there is.
mod returning {
    use bgp::speaker::{Config, Local};
    use bgp::types::{Asn, RouterId};
    use std::time::Duration;

    use super::*;
    use crate::rib::spec::PathSpec;

    const DELAY: Duration = Duration::from_secs(4);

    struct Bed {
        hops: Hops,
        speaker: Speaker,
        rib: Rib,
        now: Instant,
    }

    fn hop(labeled: bool) -> FollowedHop {
        FollowedHop {
            address: [192, 0, 2, 9].into(),
            dev: None,
            vrf: VrfId::GLOBAL,
            labeled,
        }
    }

    impl Bed {
        fn new(labeled: bool) -> Self {
            let now = Instant::now();
            let config = Config {
                local: Local {
                    asn: Asn(64512),
                    router_id: RouterId::new([192, 0, 2, 1].into()).unwrap(),
                    cluster_id: None,
                    confederation: None,
                },
                options: Default::default(),
                neighbors: Vec::new(),
                dynamic: Vec::new(),
            };
            let mut bed = Self {
                hops: Hops {
                    delay: DELAY,
                    ..Hops::default()
                },
                speaker: Speaker::new(config, 1, now),
                rib: Rib::new(),
                now,
            };
            let link = crate::rib::spec::IfaceSpec {
                vrf: VrfId::GLOBAL,
                port: ::net::PortId(1),
                vlan: None,
                mac: ::net::MacAddr([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                up: true,
                addresses: vec!["10.0.1.1/24".parse().unwrap()],
            };
            bed.rib.set_interface(::net::IfaceId(1), link);
            bed.hops.followed.insert(hop(labeled), Followed::default());
            bed.rib.follow(hop(labeled));
            bed
        }

        /// The label of the way to the next hop, so much later.
        fn label(&mut self, label: Option<u32>, after: Duration) {
            self.now += after;
            let address = std::net::IpAddr::from([10, 0, 1, 2]);
            let via = Hop::Via { address, dev: None };
            let spec = label.map(|l| {
                let mut path = PathSpec::new(via);
                path.labels = ::net::Label::new(l).into_iter().collect();
                PathsSpec {
                    paths: vec![path],
                    ttl: TtlMode::Uniform,
                }
            });
            let to = net("192.0.2.9/32");
            self.rib.set_static(VrfId::GLOBAL, to, spec);
            self.rib.drain(&mut Any::default(), usize::MAX);
            (self.hops).resolved(&mut self.speaker, &mut self.rib, self.now);
            self.hops.returned(&mut self.speaker, self.now);
        }

        /// What the speaker was told: is it a last resort? And how long for.
        fn told(&self, labeled: bool) -> (Option<bool>, Option<Duration>) {
            let one = &self.hops.followed[&hop(labeled)];
            let left = self.hops.counts_in(&hop(labeled), self.now);
            (one.reach().map(|r| r.last_resort), left)
        }
    }

    #[test]
    fn it_waits_as_a_last_resort() {
        let (second, zero) = (Duration::from_secs(1), Duration::ZERO);
        let mut bed = Bed::new(true);
        bed.label(Some(17), zero);
        assert_eq!(bed.told(true), (Some(false), None), "it is new");
        bed.label(None, second);
        assert_eq!(bed.told(true), (None, None));
        bed.label(Some(18), second);
        assert_eq!(bed.told(true), (Some(true), Some(DELAY)));
        // Another label meanwhile changes nothing.
        bed.label(Some(19), second);
        assert_eq!(bed.told(true), (Some(true), Some(DELAY - second)));
        assert_eq!(bed.hops.poll_at(), Some(bed.now + DELAY - second));
        // Lost once more, it waits anew.
        bed.label(None, second);
        assert_eq!((bed.told(true), bed.hops.poll_at()), ((None, None), None));
        bed.label(Some(19), second);
        assert_eq!(bed.told(true), (Some(true), Some(DELAY)));
        bed.label(Some(19), DELAY);
        assert_eq!(bed.told(true), (Some(false), None));
        assert_eq!(bed.hops.poll_at(), None);
    }

    #[test]
    fn what_needs_no_label_does_not_wait() {
        for (labeled, delay) in [(false, DELAY), (true, Duration::ZERO)] {
            let mut bed = Bed::new(labeled);
            bed.hops.delay = delay;
            for label in [Some(17), None, Some(17)] {
                bed.label(label, Duration::from_secs(1));
            }
            assert_eq!(bed.told(labeled), (Some(false), None));
        }
    }

    /// Of labelled routes those without labels know nothing, and the RIB chooses between them.
    #[test]
    fn behind_it_stands_what_has_no_label() {
        let mut lab = Lab::new();
        let last = |last_resort| Use {
            last_resort,
            ..by(1, Some(100))
        };
        let plain = Use {
            table: VrfNo::GLOBAL,
            ..by(2, None)
        };
        let with = vec![way(1, 100, false)];
        lab.labeled(&[last(true)]);
        assert_eq!(lab.route(VrfNo::GLOBAL, P), Some(with.clone()));
        lab.with(|to| to.best(net(P), &[plain]));
        let without = vec![("192.0.2.2".to_owned(), vec![], false)];
        assert_eq!(lab.route(VrfNo::GLOBAL, P), Some(without));
        lab.labeled(&[last(false)]);
        assert_eq!(lab.route(VrfNo::GLOBAL, P), Some(with));
    }
}

/// A way without labels, of the global table.
fn plain(n: u8) -> Use<'static> {
    Use {
        table: VrfNo::GLOBAL,
        ..by(n, None)
    }
}

fn discard() -> Use<'static> {
    Use {
        next_hop: Some(NextHop::V4(policy::DISCARD_V4)),
        ..plain(1)
    }
}

impl Lab {
    fn best(&mut self, p: &str, by: &[Use<'_>]) -> Option<(Source, PathsSpec)> {
        self.with(|to| to.best(net(p), by));
        self.rib.drain(&mut Any::default(), usize::MAX);
        let mut all = self.rib.routes_at(VrfId::GLOBAL, net(p));
        all.next().map(|r| (r.source, r.spec))
    }

    /// The paths of the global table's route to P.
    fn spec(&mut self) -> Option<(Source, PathsSpec)> {
        self.rib.drain(&mut Any::default(), usize::MAX);
        let mut all = self.rib.routes_at(VrfId::GLOBAL, net(P));
        all.next().map(|r| (r.source, r.spec))
    }
}

fn paths_of(found: Option<(Source, PathsSpec)>) -> Vec<Hop> {
    let spec = found.map(|f| f.1.paths).unwrap_or_default();
    spec.iter().map(|p| p.hop).collect()
}

const NOWHERE: Hop = Hop::Discard(Discard::Blackhole);

/// What is to be dropped is, and nothing stands by for it, nor it for others.
#[test]
fn what_is_to_be_dropped_goes_nowhere() {
    let mut lab = Lab::new();
    assert_eq!(paths_of(lab.best(P, &[discard()])), [NOWHERE]);
    let behind = Use {
        backup: true,
        ..discard()
    };
    assert_eq!(paths_of(lab.best(P, &[plain(1), behind])).len(), 1);
    let labels = by(1, Some(100)).labels;
    let label = lab
        .labeled(&[Use {
            labels,
            ..discard()
        }])
        .unwrap();
    let entry = lab.rib.label(net::Label::new(label).unwrap()).unwrap();
    let nowhere = LabelAction::Forward(PathsSpec::single(NOWHERE));
    assert_eq!(entry.spec.action, nowhere);
    // One after another: what came before decides nothing.
    lab.with(|to| {
        to.best(net("10.1.0.0/16"), &[plain(1)]);
        to.best(net("10.2.0.0/16"), &[discard()]);
        to.best(net("10.3.0.0/16"), &[plain(1)]);
    });
    let none = |n: u8| vec![(format!("192.0.2.{n}"), vec![], false)];
    assert_eq!(lab.route(VrfNo::GLOBAL, "10.1.0.0/16"), Some(none(1)));
    assert_eq!(lab.route(VrfNo::GLOBAL, "10.3.0.0/16"), Some(none(1)));
}

/// Each next hop counts once, wherever it is looked up, and stands by for others only.
#[test]
fn next_hops_of_a_route_are_there_once() {
    let mut lab = Lab::new();
    let behind = |n| Use {
        backup: true,
        ..plain(n)
    };
    let one = |n, backup| (format!("192.0.2.{n}"), vec![], backup);
    let found = lab.best(P, &[plain(1), plain(2), plain(1)]).unwrap();
    assert_eq!(ways(&found.1), [one(1, false), one(2, false)]);
    let found = lab.best(P, &[plain(1), plain(2), behind(2)]).unwrap();
    assert_eq!(ways(&found.1), [one(1, false), one(2, false)]);
    // The same address in a VRF is another next hop, if it came just before.
    let leaked = Use {
        table: VrfNo(2),
        ..plain(1)
    };
    lab.with(|to| {
        to.best(net("10.1.0.0/16"), &[plain(1)]);
        to.best(net("10.2.0.0/16"), &[leaked]);
        to.best(net("10.3.0.0/16"), &[plain(1)]);
    });
    lab.rib.drain(&mut Any::default(), usize::MAX);
    let tables = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(|p| {
        let mut all = lab.rib.routes_at(VrfId::GLOBAL, net(p));
        all.next().map(|r| r.spec.paths[0].vrf)
    });
    assert_eq!(tables, [0, 2, 0].map(|n| Some(VrfId(n))));
}

/// Labels are for who told them: what has leaked within the router has none, and is sought where it was learned.
#[test]
fn only_what_leaves_the_router_has_labels() {
    let mut lab = Lab::new();
    let leaked = Use {
        table: VrfNo(2),
        ..by(1, Some(100))
    };
    lab.with(|to| to.vrf(BLUE, net(P), &[leaked]));
    lab.with(|to| to.vrf(BLUE, net("10.9.0.0/16"), &[by(1, Some(100))]));
    let hop = |labeled| Hop::Bgp {
        address: [192, 0, 2, 1].into(),
        by_default: false,
        labeled,
    };
    for (p, vrf, labels, is) in [(P, 2, 0, false), ("10.9.0.0/16", 0, 1, true)] {
        let mut all = lab.rib.routes_at(VrfId(BLUE.0), net(p));
        let found = all.next().unwrap().spec.paths.remove(0);
        let got = (found.vrf, found.labels.len(), found.hop);
        assert_eq!(got, (VrfId(vrf), labels, hop(is)), "{p}");
    }
}

/// Whose routes are better than whose, and which are not BGP's to install.
#[test]
fn sources_follow_from_neighbours_and_tables() {
    let mut lab = Lab::new();
    let of = |relation, table| Use {
        relation,
        table: VrfNo(table),
        ..plain(1)
    };
    let (external, internal) = (Some(Relation::External), Some(Relation::Internal));
    let confederation = Some(Relation::Confederation);
    for (relation, table, want) in [
        (external, 0, Some(Source::Ebgp)),
        (internal, 0, Some(Source::Ibgp)),
        (confederation, 0, Some(Source::Ibgp)),
        (None, 0, None),
        (external, 2, Some(Source::Ibgp)),
        (None, 2, Some(Source::Ibgp)),
    ] {
        let found = lab.best(P, &[of(relation, table)]).map(|f| f.0);
        assert_eq!(found, want, "{relation:?} {table}");
    }
    lab.best(P, &[]);
    for (relation, want) in [
        (external, Source::LabeledEbgp),
        (internal, Source::LabeledIbgp),
        (confederation, Source::LabeledIbgp),
    ] {
        let one = Use {
            relation,
            ..by(1, Some(100))
        };
        lab.labeled(&[one]);
        assert_eq!(lab.spec().map(|f| f.0), Some(want));
    }
    lab.labeled(&[]);
    assert_eq!(lab.spec(), None);
    // None of it where routes are not installed.
    lab.install = false;
    let all = [by(1, Some(100))];
    assert_eq!((lab.labeled(&all), lab.vpn(1, &all)), (None, None));
    assert_eq!((lab.best(P, &[plain(1)]), lab.route(BLUE, P)), (None, None));
}

/// A route that nobody is told of is used, and has no label.
#[test]
fn a_label_is_for_who_hears_of_it() {
    let mut lab = Lab::new();
    let all = [by(1, Some(100))];
    assert_eq!(lab.with(|to| to.labeled(net(P), &all, false)), None);
    assert!(lab.spec().is_some());
    let label = lab.labeled(&all);
    assert!(label.is_some());
    let kept = lab.with(|to| to.labeled(net(P), &all, false));
    assert_eq!(kept.map(Label::get), label);
}

/// A link-local next hop is on the link of its session; where that is not known, nothing leads there, nor to what stands by.
#[test]
fn link_local_next_hops_are_on_the_link_of_their_session() {
    let valid = configured(
        "[interface.e1]\ndevice = \"af_packet:e1\"\n[interface.e2]\ndevice = \"af_packet:e2\"\n",
    );
    let mut lab = Lab::new();
    let all = [("e1", 1), ("e2", 2)].map(|(name, n)| iface(&valid, name, n, VrfId::GLOBAL));
    lab.ifaces = all.into();
    let address: IpAddr = "fe80::9".parse().unwrap();
    let IpAddr::V6(six) = address else { panic!() };
    let on = |interface| Use {
        next_hop: Some(NextHop::V6(six)),
        interface,
        ..plain(1)
    };
    let via = |n| Hop::Via {
        address,
        dev: Some(net::IfaceId(n)),
    };
    // The same address, one after another, on two links.
    lab.with(|to| {
        to.best(net("2001:db8:1::/48"), &[on(Some("e1"))]);
        to.best(net("2001:db8:2::/48"), &[on(Some("e2"))]);
    });
    lab.rib.drain(&mut Any::default(), usize::MAX);
    for (p, n) in [("2001:db8:1::/48", 1), ("2001:db8:2::/48", 2)] {
        let mut all = lab.rib.routes_at(VrfId::GLOBAL, net(p));
        assert_eq!(all.next().unwrap().spec.paths[0].hop, via(n));
    }
    let nowhere = [on(None), on(Some("e3"))];
    for one in nowhere {
        let behind = Use {
            backup: true,
            ..plain(2)
        };
        assert_eq!(lab.best("2001:db8:3::/48", &[one, behind]), None);
        let labels = by(1, Some(100)).labels;
        lab.labeled(&[Use { labels, ..one }, backup(2, 200)]);
        assert_eq!(lab.spec(), None);
    }
}

/// What another table has of its own leads to its links, whose neighbours are in this one, too, for as long as it does.
#[test]
fn what_has_leaked_shares_the_links_that_it_leads_to() {
    let mut lab = Lab::new();
    let (subnet, red) = ("10.0.1.0/24", VrfId(2));
    let dev = net::IfaceId(1);
    let spec = |vrf| crate::rib::spec::IfaceSpec {
        vrf,
        port: net::PortId(1),
        vlan: None,
        mac: net::MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        up: true,
        addresses: vec![net("10.0.1.1/24")],
    };
    lab.rib.set_interface(dev, spec(red));
    let ce: IpAddr = [10, 0, 1, 2].into();
    lab.rib.neighbor(dev, ce, net::MacAddr([2, 0, 0, 0, 0, 9]));
    let leaked = Use {
        next_hop: None,
        relation: None,
        ..by(1, None)
    };
    let near = |lab: &Lab, vrf| {
        let all = lab.rib.covering(vrf, ce);
        all.filter(|v| v.source == Source::Neighbor).count()
    };
    // Two routes of the global table cannot have one prefix; that of a VRF is one more.
    for _ in 0..2 {
        let found = lab.best(subnet, &[leaked]);
        assert_eq!(paths_of(found), [Hop::Dev(dev)]);
        lab.with(|to| to.vrf(BLUE, net(subnet), &[leaked]));
    }
    assert_eq!(
        [VrfId::GLOBAL, VrfId(BLUE.0), red].map(|v| near(&lab, v)),
        [1; 3]
    );
    // Learned from a neighbour it stands on nothing of another table.
    assert_eq!(
        lab.best(subnet, &[plain(1)]).map(|f| f.0),
        Some(Source::Ibgp)
    );
    assert_eq!(near(&lab, VrfId::GLOBAL), 0);
    assert_eq!(near(&lab, VrfId(BLUE.0)), 1);
    // The other table has none: nothing leads there.
    lab.best(subnet, &[leaked]);
    assert_eq!(near(&lab, VrfId::GLOBAL), 1);
    lab.rib.remove_interface(dev);
    assert_eq!(lab.best(subnet, &[leaked]), None);
    lab.rib.set_interface(dev, spec(red));
    lab.rib.neighbor(dev, ce, net::MacAddr([2, 0, 0, 0, 0, 9]));
    assert_eq!(near(&lab, VrfId::GLOBAL), 0, "no longer shared");
}
