//! What comes into which VRF, against an obvious version of the same.

mod policies;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::attrs::{Origin, SegmentKind};
use crate::rib::{Backups, HopEvent, NextHopId, Options, PeerInfo, Reach};
use crate::rpki::{CacheId, Changes, Vrp};
use crate::session::{FamilyConfig, SessionConfig};
use crate::speaker::{Config, Local, PeerKey, Side, Wanted};
use crate::types::{Asn, NextHop, Relation, RouterId};

fn target(n: u8) -> ExtCommunity {
    ExtCommunity([0, 2, 0xfc, 0, 0, 0, 0, n])
}

fn rd(n: u8) -> Rd {
    Rd([0, 0, 0xfc, 0, 0, 0, 0, n])
}

fn net(n: u8) -> IpNet {
    format!("10.{n}.0.0/16").parse().unwrap()
}

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

/// Where PE number `n` is among the neighbours.
fn slot(n: u8) -> PeerId {
    PeerId(ACROSS.0 + u16::from(n))
}

/// A VRF that is told by distinguisher and label of its number.
fn vrf(n: u8, import: &[u8], export: &[u8]) -> Vrf {
    Vrf {
        number: VrfNo(n.into()),
        rd: Some(rd(n)),
        import: import.iter().map(|t| target(*t)).collect(),
        export: export.iter().map(|t| target(*t)).collect(),
        policy: Default::default(),
        global: Default::default(),
        label: Some(label(1000 + u32::from(n))),
        each_its_own: n == 9,
    }
}

/// A speaker, and who hears of its best routes in VRFs: for each the labels and next hop, or the VRF that it is from.
struct Bed {
    s: Speaker,
    heard: Heard,
    now: Instant,
}

/// The neighbour that is a CE, in the VRF 1.
const CE: u8 = 4;

type Way = (Option<IpAddr>, Vec<u32>, u16);

/// Those of VRFs, and those of VPNs that it is asked for a label for: their labels. Then the ways of VRFs that stand by.
#[derive(Default)]
struct Heard(
    BTreeMap<(VrfNo, IpNet), Way>,
    BTreeMap<(Rd, IpNet), Vec<u32>>,
    BTreeMap<(VrfNo, IpNet), Way>,
);

impl Best for Heard {
    fn best(&mut self, _: IpNet, _: &[super::super::Use<'_>]) {}

    fn vpn(&mut self, rd: Rd, net: IpNet, by: &[super::super::Use<'_>]) -> Option<Label> {
        let Some(u) = by.first().filter(|u| u.next_hop.is_some()) else {
            self.1.remove(&(rd, net));
            return None;
        };
        let labels = u.labels.as_slice().iter().map(|l| l.get()).collect();
        self.1.insert((rd, net), labels);
        Label::new(2000 + u32::from(rd.0[7]))
    }

    fn vrf(&mut self, vrf: VrfNo, net: IpNet, by: &[super::super::Use<'_>]) -> Option<Label> {
        for (backup, all) in [(false, &mut self.0), (true, &mut self.2)] {
            match by.iter().find(|u| u.backup == backup) {
                None => drop(all.remove(&(vrf, net))),
                Some(u) => {
                    let labels = u.labels.as_slice().iter().map(|l| l.get()).collect();
                    let way = (u.next_hop.map(NextHop::address), labels, u.table.0);
                    all.insert((vrf, net), way);
                }
            }
        }
        // Of VRF 9 each has one of its own.
        let last = net.addr().to_string().split('.').nth(2)?.parse().ok();
        last.filter(|_| vrf.0 == 9 && !by.is_empty())
            .and_then(|n: u32| Label::new(9000 + n))
    }
}

impl Bed {
    fn new(vrfs: Vec<Vrf>) -> Self {
        let now = Instant::now();
        let config = Config {
            local: Local {
                asn: Asn(64512),
                router_id: RouterId::new([192, 0, 2, 1].into()).unwrap(),
                cluster_id: None,
                confederation: None,
            },
            options: Options::default(),
            neighbors: Vec::new(),
            dynamic: Vec::new(),
        };
        let mut s = Speaker::new(config, 1, now);
        for n in 1..=4u8 {
            let id = [192, 0, 2, 10 + n];
            let info = PeerInfo {
                relation: match n {
                    CE => Relation::External,
                    _ => Relation::Internal,
                },
                local: false,
                leaked: false,
                client: false,
                router_id: RouterId::new(id.into()).unwrap(),
                address: IpAddr::from(id),
            };
            s.core.rib.common.peers.set(slot(n), info);
        }
        s.set_vrfs(vrfs);
        let heard = Heard::default();
        Self { s, heard, now }
    }

    /// From now on VPN routes have backups.
    fn with_backups(&mut self, vpn: bool) {
        let mut config = self.s.config.clone();
        config.options.backups = Backups {
            vpn,
            ..Backups::default()
        };
        self.s.reconfigure(config, self.now);
    }

    /// The CE in the first VRF announces a route with so long a path.
    fn announce_ce(&mut self, n: u8, ases: u32) {
        let mut b = AttrBuf::new();
        b.set_origin(Origin::Igp);
        let path: Vec<Asn> = (1..=ases).map(Asn).collect();
        b.set_as_path([(SegmentKind::Sequence, &path[..])]);
        b.next_hop = Some(NextHop::V4(Ipv4Addr::new(192, 0, 2, 10 + CE)));
        b.set_inner(1, &[]);
        let rib = &mut self.s.core.rib;
        let id = rib.common.store.intern(b.view());
        let a = Announce {
            peer: slot(CE),
            path_id: 0,
            pre: id,
            post: Some(id),
            now: 0,
        };
        let key = Vrf4::of(VrfNo(1), net(n)).unwrap();
        rib.vrf4.announce(&mut rib.common, key, a);
        rib.common.store.release(id);
    }

    /// Next hop, label and table of the best way of a VRF, and of the one that stands by.
    fn ways(&self, vrf: u16, n: u8) -> [Option<(u8, Option<u32>, u16)>; 2] {
        [&self.heard.0, &self.heard.2].map(|all| {
            let (hop, labels, table) = all.get(&(VrfNo(vrf), net(n)))?;
            let Some(IpAddr::V4(a)) = hop else {
                return None;
            };
            Some((a.octets()[3] - 10, labels.first().copied(), *table))
        })
    }

    /// A PE announces a route, with a preference that no other has.
    fn announce(&mut self, peer: u8, r: u8, n: u8, pref: u32, targets: &[u8]) {
        let mut b = AttrBuf::new();
        b.set_origin(Origin::Igp);
        b.set_as_path([(SegmentKind::Sequence, &[][..])]);
        b.set_local_pref(pref);
        b.next_hop = Some(NextHop::V4(Ipv4Addr::new(192, 0, 2, 10 + peer)));
        b.set_labels(&[label(100 + u32::from(peer))]);
        set_targets(
            &mut b,
            &targets.iter().map(|t| target(*t)).collect::<Vec<_>>(),
        );
        let rib = &mut self.s.core.rib;
        let id = rib.common.store.intern(b.view());
        let a = Announce {
            peer: slot(peer),
            path_id: 0,
            pre: id,
            post: Some(id),
            now: 0,
        };
        let key = Vpn4::of(rd(r), net(n)).unwrap();
        rib.vpn4.announce(&mut rib.common, key, a);
        rib.common.store.release(id);
    }

    /// How a PE is reached from now on, if at all: as a last resort?
    fn reach(&mut self, peer: u8, last_resort: Option<bool>) {
        let hop = NextHop::V4(Ipv4Addr::new(192, 0, 2, 10 + peer));
        let hops = &self.s.core.rib.common.store.hops;
        let ids: Vec<NextHopId> = (0..16)
            .map(NextHopId)
            .filter(|id| hops.get(*id) == Some(hop))
            .collect();
        assert!(!ids.is_empty());
        let reach = |last_resort| Reach {
            metric: 1,
            last_resort,
        };
        for id in ids {
            self.s.set_reach(id, last_resort.map(reach));
        }
    }

    fn withdraw(&mut self, peer: u8, r: u8, n: u8) {
        let rib = &mut self.s.core.rib;
        let key = Vpn4::of(rd(r), net(n)).unwrap();
        rib.vpn4.withdraw(&mut rib.common, slot(peer), 0, key);
    }

    fn settle(&mut self) {
        for _ in 0..1000 {
            let events: Vec<HopEvent> = self.s.next_hops().collect();
            for e in &events {
                if let HopEvent::Wanted(id, ..) = e {
                    self.s.set_next_hop(*id, Some(1));
                }
            }
            if !self.s.work(3, &mut self.heard, self.now) && events.is_empty() {
                return;
            }
        }
        panic!("it does not end");
    }

    /// The distinguishers with which the paths of a VRF's prefix came into it.
    fn came(&mut self, v: u16, n: u8) -> Vec<Option<Rd>> {
        let (wanted, family) = (Wanted::Exactly(net(n)), Family::Ipv4Unicast);
        let page = (self.s).routes_in(VrfNo(v), family, &wanted, &Side::Table, None, self.now);
        page.unwrap().paths.iter().map(|p| p.rd).collect()
    }

    /// What goes to other PEs of a VRF's routes: targets, and the label.
    fn told(&self, r: u8, n: u8) -> Option<(Vec<ExtCommunity>, Vec<u32>)> {
        let rib = &self.s.core.rib;
        let best = rib.vpn4.best(Vpn4::of(rd(r), net(n)).unwrap())?;
        let v = rib.common.store.view(best.post?);
        let labels = v.labels().into_iter();
        let labels = labels.flat_map(|l| l.iter().map(|l| l.get())).collect();
        (best.peer == OWN).then(|| (v.ext_communities().collect(), labels))
    }
}

#[test]
fn a_route_comes_into_those_that_import_one_of_its_targets() {
    let mut b = Bed::new(vec![
        vrf(1, &[1], &[1]),
        vrf(2, &[1, 2], &[2]),
        vrf(3, &[9], &[]),
    ]);
    b.announce(1, 50, 7, 100, &[1]);
    b.announce(1, 51, 8, 100, &[2, 1]);
    b.settle();
    let way = (Some([192, 0, 2, 11].into()), vec![101], 0);
    let all: Vec<_> = b.heard.0.iter().map(|(k, v)| (k.0.0, k.1, v)).collect();
    let want = [(1, net(7)), (1, net(8)), (2, net(7)), (2, net(8))];
    assert_eq!(all, want.map(|(v, n)| (v, n, &way)));
    assert_eq!(b.told(1, 7), None, "what has come is not told on");
    assert_eq!(b.came(1, 7), [Some(rd(50))]);
    assert_eq!(b.came(2, 8), [Some(rd(51))]);
    // Other targets take it out of the one and into the other.
    b.announce(1, 50, 7, 100, &[9]);
    b.settle();
    let has = |b: &Bed, v: u16| b.heard.0.contains_key(&(VrfNo(v), net(7)));
    assert_eq!([has(&b, 1), has(&b, 2), has(&b, 3)], [false, false, true]);
    b.withdraw(1, 50, 7);
    b.withdraw(1, 51, 8);
    b.settle();
    assert!(b.heard.0.is_empty(), "{:?}", b.heard.0);
    assert!(b.s.core.rib.vrf4.is_empty() && b.s.core.vpns.taken4.is_empty());
    assert!(b.s.core.rib.common.store.is_empty(), "a count is left");
}

#[test]
fn own_routes_are_told_with_targets_and_label_and_leak_without() {
    let mut b = Bed::new(vec![vrf(1, &[1], &[1, 7]), vrf(2, &[7], &[])]);
    let one = VrfNo(1);
    b.s.originate_in_vrf(one, net(3), Protocol::Connected, None, b.now);
    b.settle();
    assert_eq!(b.told(1, 3), Some((vec![target(1), target(7)], vec![1001])));
    // In its own VRF it is from elsewhere, in the other it is the first's.
    let leak = b.heard.0.get(&(VrfNo(2), net(3)));
    assert_eq!(leak.map(|w| (w.0, w.2)), Some((None, 1)));
    assert_eq!(
        (b.came(1, 3), b.came(2, 3)),
        (vec![None], vec![Some(rd(1))])
    );
    assert_eq!(
        b.told(2, 3),
        None,
        "a leak is not told on, so there is no loop"
    );
    // A better one of another PE does not take the place of what is here.
    b.announce(1, 60, 3, 500, &[1]);
    b.settle();
    assert_eq!(b.heard.0[&(one, net(3))].1, [101], "by preference it does");
    assert_eq!(b.told(1, 3), None);
    b.withdraw(1, 60, 3);
    b.settle();
    assert!(b.told(1, 3).is_some());
    b.s.withdraw_in_vrf(one, net(3));
    b.settle();
    assert!(b.heard.0.is_empty() && b.told(1, 3).is_none());
}

#[test]
fn another_pe_stands_by() {
    // With one distinguisher for both, and with one each.
    for second in [50, 51] {
        let mut b = Bed::new(vec![vrf(1, &[1], &[]), vrf(2, &[2], &[])]);
        b.announce(1, 50, 7, 200, &[1]);
        b.announce(2, second, 7, 100, &[1, 2]);
        b.settle();
        let (first, other) = (Some((1, Some(101), 0)), Some((2, Some(102), 0)));
        assert_eq!(b.ways(1, 7), [first, None], "nobody has asked for it");
        b.with_backups(true);
        b.settle();
        assert_eq!(b.ways(1, 7), [first, other]);
        // A VRF that the best of a distinguisher does not come into has nothing of its second.
        let alone = (second == 51).then_some((2, Some(102), 0));
        assert_eq!(b.ways(2, 7), [alone, None]);
        // A third one, better than the second, takes its place; one better than all makes the first stand by.
        b.announce(3, second, 7, 150, &[1]);
        b.settle();
        assert_eq!(b.ways(1, 7), [first, Some((3, Some(103), 0))]);
        b.announce(3, second, 7, 300, &[1]);
        b.settle();
        assert_eq!(b.ways(1, 7), [Some((3, Some(103), 0)), first]);
        b.withdraw(3, second, 7);
        b.settle();
        assert_eq!(b.ways(1, 7), [first, other]);
        b.withdraw(1, 50, 7);
        b.settle();
        assert_eq!(b.ways(1, 7), [other, None]);
        b.announce(1, 50, 7, 200, &[1]);
        b.settle();
        // A walk over all, as when VRFs change, finds the same.
        b.s.set_vrfs(vec![vrf(1, &[1], &[]), vrf(3, &[1], &[])]);
        b.settle();
        assert_eq!([b.ways(1, 7), b.ways(3, 7)], [[first, other]; 2]);
        b.with_backups(false);
        b.settle();
        assert_eq!(b.ways(1, 7), [first, None]);
        b.withdraw(1, 50, 7);
        b.withdraw(2, second, 7);
        b.settle();
        assert!(b.heard.0.is_empty() && b.heard.2.is_empty());
        assert!(b.s.core.rib.common.store.is_empty(), "a count is left");
    }
}

#[test]
fn another_pe_stands_by_for_a_ce() {
    // As above; the VRF's own distinguisher is 1.
    for second in [1, 51] {
        let mut b = Bed::new(vec![vrf(1, &[1], &[1])]);
        b.with_backups(true);
        b.announce_ce(7, 2);
        b.announce(2, second, 7, 100, &[1]);
        b.settle();
        let (ce, other) = (Some((4, None, 1)), Some((2, Some(102), 0)));
        // The PE's has no AS in its path: the CE stands by for it, and is not told of.
        assert_eq!(b.ways(1, 7), [other, ce], "distinguisher {second}");
        assert_eq!(b.told(1, 7), None);
        b.announce_ce(7, 0);
        b.settle();
        assert_eq!(b.ways(1, 7), [ce, other], "distinguisher {second}");
        assert_eq!(b.told(1, 7), Some((vec![target(1)], vec![1001])));
        b.withdraw(2, second, 7);
        b.settle();
        assert_eq!(b.ways(1, 7), [ce, None]);
    }
}

/// Routes by a last resort are behind all others, and are used where there is none: see [`Reach::last_resort`].
#[test]
fn a_last_resort_stands_by_or_is_all_there_is() {
    let mut b = Bed::new(vec![vrf(1, &[1], &[])]);
    b.with_backups(true);
    b.announce(1, 50, 7, 200, &[1]);
    b.announce(2, 51, 7, 100, &[1]);
    b.announce(1, 50, 8, 200, &[1]);
    let way = |n: u8| Some((n, Some(100 + u32::from(n)), 0));
    b.settle();
    assert_eq!(b.ways(1, 7), [way(1), way(2)]);
    b.reach(1, None);
    b.settle();
    assert_eq!((b.ways(1, 7), b.ways(1, 8)), ([way(2), None], [None, None]));
    b.reach(1, Some(true));
    b.settle();
    assert_eq!(b.ways(1, 7), [way(2), way(1)]);
    assert_eq!(b.ways(1, 8), [way(1), None]);
    // The other goes, and is another last resort: then they are alike.
    b.reach(2, None);
    b.settle();
    assert_eq!(b.ways(1, 7), [way(1), None]);
    b.reach(2, Some(true));
    b.settle();
    assert_eq!(b.ways(1, 7), [way(1), way(2)]);
    b.reach(2, Some(false));
    b.settle();
    assert_eq!(b.ways(1, 7), [way(2), way(1)]);
    b.reach(1, Some(false));
    b.settle();
    assert_eq!(b.ways(1, 7), [way(1), way(2)]);
}

/// Whoever installs a labelled route hears that its next hop is a last resort, and when it is no more: those without labels are
/// chosen apart.
#[test]
fn it_is_said_of_a_route_that_its_next_hop_is_a_last_resort() {
    struct Said(Vec<bool>);
    impl Best for Said {
        fn best(&mut self, _: IpNet, _: &[super::super::Use<'_>]) {}
        fn labeled(&mut self, _: IpNet, by: &[super::super::Use<'_>], _: bool) -> Option<Label> {
            self.0.extend(by.iter().map(|u| u.last_resort));
            None
        }
    }
    let mut b = Bed::new(Vec::new());
    let mut buf = AttrBuf::new();
    buf.set_origin(Origin::Igp);
    buf.set_as_path([(SegmentKind::Sequence, &[][..])]);
    buf.next_hop = Some(NextHop::V4([192, 0, 2, 11].into()));
    buf.set_labels(&[label(100)]);
    let rib = &mut b.s.core.rib;
    let id = rib.common.store.intern(buf.view());
    let a = Announce {
        peer: slot(1),
        path_id: 0,
        pre: id,
        post: Some(id),
        now: 0,
    };
    let IpNet::V4(n) = net(7) else { unreachable!() };
    rib.l4
        .announce(&mut rib.common, crate::rib::Labeled(V4::from(n)), a);
    let mut said = Said(Vec::new());
    for last in [true, false, true] {
        b.reach(1, Some(last));
        while b.s.work(3, &mut said, b.now) {}
    }
    assert_eq!(said.0, [true, false, true]);
}

#[test]
fn routes_of_a_vrf_can_have_a_label_each() {
    let mut b = Bed::new(vec![vrf(9, &[1], &[1]), vrf(2, &[1], &[])]);
    let now = b.now;
    for n in [7, 8] {
        b.s.originate_in_vrf(VrfNo(9), net(n), Protocol::Connected, None, now);
    }
    b.announce(1, 50, 6, 100, &[1]);
    b.settle();
    let labels = |b: &Bed, n: u8| b.told(9, n).map(|t| t.1);
    let each = |n: u8| {
        let third = net(n).addr().to_string();
        let third = third.split('.').nth(2).unwrap().parse::<u32>().unwrap();
        Some(vec![9000 + third])
    };
    assert_eq!((labels(&b, 7), labels(&b, 8)), (each(7), each(8)));
    assert_eq!(labels(&b, 6), None, "what has come is not told on");
    // One for all again, and back.
    let mut whole = vrf(9, &[1], &[1]);
    whole.each_its_own = false;
    b.s.set_vrfs(vec![whole, vrf(2, &[1], &[])]);
    b.settle();
    assert_eq!(labels(&b, 7), Some(vec![1009]));
    b.s.set_vrfs(vec![vrf(9, &[1], &[1]), vrf(2, &[1], &[])]);
    b.s.tell_again_in(VrfNo(9));
    b.settle();
    assert_eq!((labels(&b, 7), labels(&b, 8)), (each(7), each(8)));
    b.s.withdraw_in_vrf(VrfNo(9), net(7));
    b.settle();
    assert_eq!(labels(&b, 7), None);
}

#[test]
fn vrfs_come_change_and_go() {
    let mut b = Bed::new(vec![vrf(1, &[1], &[1])]);
    b.announce(2, 50, 7, 100, &[1, 2]);
    b.s.originate_in_vrf(VrfNo(1), net(3), Protocol::Static, None, b.now);
    b.settle();
    assert_eq!(b.heard.0.len(), 2);
    // One more finds what is there, one that imports something else loses it, another distinguisher is told anew.
    let mut first = vrf(1, &[5], &[1]);
    first.rd = Some(rd(9));
    b.s.set_vrfs(vec![first, vrf(2, &[2], &[])]);
    b.settle();
    assert!(b.heard.0.contains_key(&(VrfNo(2), net(7))));
    assert!(!b.heard.0.contains_key(&(VrfNo(1), net(7))));
    assert!(b.told(1, 3).is_none() && b.told(9, 3).is_some());
    b.s.set_vrfs(vec![]);
    b.settle();
    assert!(b.heard.0.is_empty(), "{:?}", b.heard.0);
    assert!(b.told(9, 3).is_none() && b.s.core.rib.vrf4.is_empty());
    b.withdraw(2, 50, 7);
    b.settle();
    assert!(b.s.core.rib.common.store.is_empty(), "a count is left");
}

/// A CE of VRF `n` announces 10.3.0.0/16 with a path of one AS.
fn ce(b: &mut Bed, n: u8, withdrawn: bool) {
    let peer = slot(10 + n);
    let mut buf = AttrBuf::new();
    buf.set_origin(Origin::Igp);
    buf.set_as_path([(SegmentKind::Sequence, &[Asn(65000 + u32::from(n))][..])]);
    buf.next_hop = Some(NextHop::V4([10, 0, n, 2].into()));
    buf.set_inner(n.into(), &[]);
    let rib = &mut b.s.core.rib;
    let info = PeerInfo {
        relation: Relation::External,
        local: false,
        leaked: false,
        client: false,
        router_id: RouterId::new([10, 0, n, 2].into()).unwrap(),
        address: [10, 0, n, 2].into(),
    };
    rib.common.peers.set(peer, info);
    let key = Vrf4::of(VrfNo(n.into()), net(3)).unwrap();
    if withdrawn {
        rib.vrf4.withdraw(&mut rib.common, peer, 0, key);
        return;
    }
    let id = rib.common.store.intern(buf.view());
    let a = Announce {
        peer,
        path_id: 0,
        pre: id,
        post: Some(id),
        now: 0,
    };
    rib.vrf4.announce(&mut rib.common, key, a);
    rib.common.store.release(id);
}

#[test]
fn what_has_leaked_is_no_better_than_an_equal_route_of_a_ce() {
    let mut b = Bed::new(vec![vrf(1, &[2], &[1]), vrf(2, &[1], &[2])]);
    ce(&mut b, 1, false);
    ce(&mut b, 2, false);
    b.settle();
    let from = |b: &Bed, n: u16| b.heard.0[&(VrfNo(n), net(3))].2;
    assert_eq!([from(&b, 1), from(&b, 2)], [1, 2], "each has its own");
    assert!(b.told(1, 3).is_some() && b.told(2, 3).is_some());
    // Without its own, each has the other's; and it is told by who has learned it.
    ce(&mut b, 2, true);
    b.settle();
    assert_eq!([from(&b, 1), from(&b, 2)], [1, 1]);
    assert!(b.told(1, 3).is_some() && b.told(2, 3).is_none());
}

/// A policy of these rules.
fn policy(rules: &str) -> Arc<Policy> {
    crate::speaker::tests::policy(rules)
}

#[test]
fn the_rpki_is_not_asked_about_prefixes_of_vpns() {
    let mut b = Bed::new(vec![vrf(1, &[1], &[1])]);
    let vrp = Vrp {
        prefix: net(3),
        max_len: 16,
        asn: Asn(999),
    };
    let cache = CacheId::new(0).unwrap();
    b.s.roas().announce(cache, &vrp, &mut Changes::default());
    ce(&mut b, 1, false);
    b.settle();
    let rib = &b.s.core.rib;
    let best = rib.vrf4.best(Vrf4::of(VrfNo(1), net(3)).unwrap()).unwrap();
    let view = rib.common.store.view(best.post.unwrap());
    let said = |family, vrf| b.s.core.gate.validity((family, VrfNo(vrf)), &net(3), view);
    assert_eq!(said(Family::Ipv4Unicast, 0), Validity::Invalid);
    assert_eq!(said(Family::Ipv4Unicast, 1), Validity::NotFound);
    assert_eq!(said(Family::Vpnv4, 0), Validity::NotFound);
}

#[test]
fn vrfs_have_policies_of_their_own() {
    let mut closed = vrf(2, &[1], &[]);
    closed.policy.import = Some(policy("reject-all"));
    let mut b = Bed::new(vec![vrf(1, &[1], &[1]), closed.clone()]);
    b.announce(1, 50, 7, 100, &[1]);
    b.s.originate_in_vrf(VrfNo(1), net(3), Protocol::Static, None, b.now);
    b.settle();
    let has = |b: &Bed, v: u16, n: u8| b.heard.0.contains_key(&(VrfNo(v), net(n)));
    assert!(has(&b, 1, 7) && !has(&b, 2, 7) && !has(&b, 2, 3));
    assert!(b.told(1, 3).is_some());
    // Another policy is run over what is there.
    closed.policy.import = Some(policy("accept-all"));
    let mut silent = vrf(1, &[1], &[1]);
    silent.policy.export = Some(policy("reject-all"));
    b.s.set_vrfs(vec![silent, closed]);
    b.settle();
    assert!(has(&b, 2, 7), "it is let in");
    assert!(!has(&b, 2, 3) && b.told(1, 3).is_none(), "it is not told");
    b.withdraw(1, 50, 7);
    b.s.withdraw_in_vrf(VrfNo(1), net(3));
    b.settle();
    assert!(b.s.core.rib.common.store.is_empty(), "a count is left");
}

/// A neighbour at that address, of that AS, with VPN routes.
fn pe(config: &Config, last: u8, asn: u32) -> (PeerKey, Arc<Neighbor>) {
    let (us, id) = (config.local.asn, config.local.router_id);
    let mut session = SessionConfig::new(us, id, PeerAs::Is(Asn(asn)));
    session.families = vec![FamilyConfig::new(Family::Vpnv4)];
    let key = PeerKey::Address([192, 0, 2, last].into(), None);
    (key, Arc::new(Neighbor::new(session)))
}

#[test]
fn at_a_border_routes_of_others_have_labels_of_ours() {
    let mut b = Bed::new(vec![vrf(1, &[1], &[1])]);
    b.s.originate_in_vrf(VrfNo(1), net(3), Protocol::Static, None, b.now);
    b.announce(1, 50, 7, 100, &[1]);
    b.settle();
    let local = |b: &Bed, r, n| {
        let side = Vpn4::side_ref(&b.s.core.sides);
        let label = side.locals.get(Vpn4::of(rd(r), net(n)).unwrap());
        label.map(Label::get)
    };
    assert!(b.heard.1.is_empty(), "nobody has a use for one");
    let inside = b.s.config.clone();
    let mut border = inside.clone();
    border.neighbors = vec![pe(&inside, 10, 64512)];
    b.s.reconfigure(border.clone(), b.now);
    b.settle();
    assert!(b.heard.1.is_empty(), "within the AS next hops stay");
    border.neighbors.push(pe(&inside, 20, 64513));
    b.s.reconfigure(border, b.now);
    b.settle();
    assert_eq!(b.heard.1, BTreeMap::from([((rd(50), net(7)), vec![101])]));
    assert_eq!(local(&b, 50, 7), Some(2050));
    assert_eq!(local(&b, 1, 3), None, "its VRF has one");
    // What comes later has one too, and another best path changes where it leads alone.
    b.announce(2, 50, 7, 200, &[1]);
    b.announce(2, 51, 8, 100, &[]);
    b.settle();
    let way = |r, n, l| ((rd(r), net(n)), vec![l]);
    assert_eq!(
        b.heard.1,
        BTreeMap::from([way(50, 7, 102), way(51, 8, 102)])
    );
    b.withdraw(2, 51, 8);
    b.settle();
    assert_eq!((b.heard.1.len(), local(&b, 51, 8)), (1, None));
    // Without the neighbour they are given back.
    b.s.reconfigure(inside, b.now);
    b.settle();
    assert!(b.heard.1.is_empty() && local(&b, 50, 7).is_none());
}

#[test]
fn a_large_vrf_goes_in_pieces_and_comes_back_whole() {
    const N: u32 = 3000;
    let all = || vec![vrf(1, &[1], &[1]), vrf(2, &[1], &[])];
    let mut b = Bed::new(all());
    let long = |n: u32| IpNet::from(ipnet::Ipv4Net::new_assert((n << 8).into(), 24));
    for n in 0..N {
        b.s.originate_in_vrf(VrfNo(1), long(n), Protocol::Static, None, b.now);
    }
    let work = |b: &mut Bed| {
        while b.s.work(10_000, &mut b.heard, b.now) {}
    };
    let told = |b: &Bed| b.s.core.rib.vpn4.len().1 as u32;
    work(&mut b);
    assert_eq!((told(&b), b.heard.0.len() as u32), (N, 2 * N));
    // The second goes: no call takes all of it out.
    b.s.set_vrfs(vec![vrf(1, &[1], &[1])]);
    let left = |b: &Bed| b.s.core.rib.vrf4.paths() as u32;
    assert_eq!(left(&b), 2 * N);
    assert!(b.s.work(10_000, &mut b.heard, b.now));
    assert!(left(&b) > N && left(&b) < 2 * N, "{}", left(&b));
    work(&mut b);
    assert_eq!((left(&b), b.heard.0.len() as u32), (N, N));
    // Another distinguisher, and back before the first is forgotten.
    let mut other = all();
    other[0].rd = Some(rd(9));
    b.s.set_vrfs(other);
    b.s.work(10_000, &mut b.heard, b.now);
    b.s.set_vrfs(all());
    work(&mut b);
    assert_eq!((told(&b), b.heard.0.len() as u32), (N, 2 * N));
    b.s.set_vrfs(vec![]);
    work(&mut b);
    assert!(b.heard.0.is_empty() && b.s.core.rib.vpn4.is_empty() && b.s.core.rib.vrf4.is_empty());
    assert!(b.s.core.rib.common.store.is_empty(), "a count is left");
}

#[test]
fn thousands_of_targets_are_no_trouble() {
    let vrfs = (1..=200).map(|n| vrf(n, &[n], &[])).collect();
    let mut b = Bed::new(vrfs);
    let mut many = AttrBuf::new();
    let all: Vec<ExtCommunity> = (0..8000u32)
        .map(|n| {
            let [.., x, y] = n.to_be_bytes();
            ExtCommunity([0, 2, 0xfc, 0, 0, 0, x, y])
        })
        .collect();
    set_targets(&mut many, &all);
    many.next_hop = Some(NextHop::V4([192, 0, 2, 11].into()));
    many.set_labels(&[label(99)]);
    let rib = &mut b.s.core.rib;
    let id = rib.common.store.intern(many.view());
    let a = Announce {
        peer: slot(1),
        path_id: 0,
        pre: id,
        post: Some(id),
        now: 0,
    };
    let key = Vpn4::of(Rd([0xff; 8]), net(1)).unwrap();
    rib.vpn4.announce(&mut rib.common, key, a);
    rib.common.store.release(id);
    b.settle();
    assert_eq!(b.heard.0.len(), 200);
    assert_eq!(b.s.vpn_targets().len(), 8000);
}

/// What a PE has said: PE, distinguisher, prefix; and what of it.
type Said = BTreeMap<(u8, u8, u8), (u32, Vec<u8>)>;

/// Its preference, its PE, its targets.
type Path<'a> = (u32, u8, &'a Vec<u8>);

/// Of each distinguisher the path that is preferred, of those with a target of the VRF the one that is preferred. With backups,
/// the second of a distinguisher comes in beside its first, and the one that is preferred of all by other next hops stands by.
fn obvious(
    said: &Said,
    vrfs: &[Vrf],
    backups: bool,
) -> BTreeMap<(VrfNo, IpNet), (IpAddr, Option<IpAddr>)> {
    let mut by_rd: BTreeMap<(u8, u8), Vec<Path<'_>>> = BTreeMap::new();
    for ((peer, r, n), (pref, targets)) in said {
        let all = by_rd.entry((*r, *n)).or_default();
        all.push((*pref, *peer, targets));
    }
    let mut out: BTreeMap<(VrfNo, IpNet), Vec<(u32, IpAddr)>> = BTreeMap::new();
    for v in vrfs {
        for ((_, n), all) in &mut by_rd {
            all.sort_by_key(|p| std::cmp::Reverse(p.0));
            let comes_in = |(_, _, targets): &&Path<'_>| {
                let theirs: BTreeSet<ExtCommunity> = targets.iter().map(|t| target(*t)).collect();
                v.import.iter().any(|t| theirs.contains(t))
            };
            let most = if backups { 2 } else { 1 };
            if comes_in(&&all[0]) {
                let some = all.iter().take(most).filter(comes_in);
                let some = some.map(|(pref, peer, _)| (*pref, [192, 0, 2, 10 + peer].into()));
                out.entry((v.number, net(*n))).or_default().extend(some);
            }
        }
    }
    let choose = |mut all: Vec<(u32, IpAddr)>| {
        all.sort_by_key(|p| std::cmp::Reverse(p.0));
        let best = all[0].1;
        let second = all.iter().find(|p| backups && p.1 != best);
        (best, second.map(|p| p.1))
    };
    out.into_iter().map(|(k, all)| (k, choose(all))).collect()
}

#[derive(Clone, Debug)]
enum Event {
    Announce(u8, u8, u8, Vec<u8>),
    Withdraw(u8, u8, u8),
    Vrfs(Vec<(u8, Vec<u8>)>),
    Work,
}

fn event() -> impl Strategy<Value = Event> {
    let targets = || prop::collection::vec(0..4u8, 0..3);
    let vrfs = prop::collection::btree_map(1..5u8, targets(), 0..4);
    prop_oneof![
        6 => (1..4u8, 0..3u8, 0..3u8, targets()).prop_map(|(p, r, n, t)| Event::Announce(p, 50 + r, n, t)),
        3 => (1..4u8, 0..3u8, 0..3u8).prop_map(|(p, r, n)| Event::Withdraw(p, 50 + r, n)),
        1 => vrfs.prop_map(|v| Event::Vrfs(v.into_iter().collect())),
        2 => Just(Event::Work),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vrfs_have_what_the_obvious_version_says(
        events in prop::collection::vec(event(), 1..60),
        backups in any::<bool>(),
    ) {
        let mut vrfs: Vec<Vrf> = vec![vrf(1, &[1], &[]), vrf(2, &[1, 2], &[])];
        let mut b = Bed::new(vrfs.clone());
        b.with_backups(backups);
        let mut said = Said::new();
        for (i, e) in events.into_iter().enumerate() {
            match e {
                Event::Announce(p, r, n, t) => {
                    // No two are preferred alike, so no later step decides.
                    let pref = 100 + i as u32;
                    b.announce(p, r, n, pref, &t);
                    said.insert((p, r, n), (pref, t));
                }
                Event::Withdraw(p, r, n) => {
                    b.withdraw(p, r, n);
                    said.remove(&(p, r, n));
                }
                Event::Vrfs(all) => {
                    vrfs = all.iter().map(|(n, import)| vrf(*n, import, &[])).collect();
                    b.s.set_vrfs(vrfs.clone());
                }
                Event::Work => drop(b.s.work(3, &mut b.heard, b.now)),
            }
        }
        b.settle();
        let by = |k: &(VrfNo, IpNet)| b.heard.2.get(k).map(|v| v.0.unwrap());
        let all = b.heard.0.iter().map(|(k, v)| (*k, (v.0.unwrap(), by(k))));
        prop_assert_eq!(all.collect::<BTreeMap<_, _>>(), obvious(&said, &vrfs, backups));
        for ((_, net), way) in b.heard.0.iter().chain(&b.heard.2) {
            let hop = way.0.unwrap();
            let IpAddr::V4(a) = hop else { unreachable!("{net}") };
            prop_assert_eq!(&way.1, &vec![90 + u32::from(a.octets()[3])]);
        }
        for (p, r, n) in said.keys().copied().collect::<Vec<_>>() {
            b.withdraw(p, r, n);
        }
        b.settle();
        prop_assert!(b.heard.0.is_empty() && b.heard.2.is_empty());
        prop_assert!(b.s.core.vpns.rds.is_empty(), "a number is left");
        prop_assert!(b.s.core.rib.common.store.is_empty(), "a count is left");
    }
}
