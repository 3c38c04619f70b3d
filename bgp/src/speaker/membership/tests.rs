//! Which VPN routes come to whom, by what speakers ask each other for.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::attrs::{AttrBuf, ExtCommunity};
use crate::session::FamilyConfig;
use crate::speaker::tests::{World, address, config, local, neighbor};
use crate::speaker::{Neighbor, PeerKey, Side, Vrf, Wanted};
use crate::types::{Label, Rd, VrfNo};

const AS: u32 = 64512;

fn target(n: u8) -> ExtCommunity {
    ExtCommunity([0, 2, 0xfc, 0, 0, 0, 0, n])
}

/// A neighbour with VPN routes; `part`: and memberships.
fn pe(us: u8, asn: u32, part: bool) -> Neighbor {
    let mut n = neighbor(&local(us, AS), asn);
    if asn == AS {
        // Within the AS none is needed; with one, what is asked for is looked up in another way.
        (n.import, n.export) = (None, None);
    }
    let families = [Family::Vpnv4, Family::RouteTarget];
    let families = families[..1 + usize::from(part)].iter();
    n.session.families = families.map(|f| FamilyConfig::new(*f)).collect();
    n
}

fn client(us: u8, part: bool) -> Neighbor {
    Neighbor {
        client: true,
        ..pe(us, AS, part)
    }
}

fn key(n: u8) -> PeerKey {
    PeerKey::Address(address(n).into(), None)
}

/// Gives a router a VRF for each of these imported targets, and one that exports `own` with a route in it.
fn vrfs(w: &mut World, id: u8, import: &[u8], own: &[u8]) {
    let all = import.iter().chain(own);
    let all: BTreeSet<u8> = all.copied().collect();
    let one = |n: &u8| Vrf {
        number: VrfNo((*n).into()),
        rd: Some(Rd([0, 0, 0, id, 0, 0, 0, *n])),
        import: import.contains(n).then(|| target(*n)).into_iter().collect(),
        export: own.contains(n).then(|| target(*n)).into_iter().collect(),
        policy: Default::default(),
        global: Default::default(),
        label: Label::new(1000 + u32::from(*n)),
        each_its_own: false,
    };
    let now = w.now;
    let s = w.speakers.get_mut(&id).unwrap();
    s.set_vrfs(all.iter().map(one).collect());
    for n in own {
        let net = format!("10.{n}.{id}.0/24").parse().unwrap();
        s.originate_in_vrf(VrfNo((*n).into()), net, Protocol::Static, None, now);
    }
    w.settle();
}

/// The VPN routes that a router has from another.
fn from(w: &mut World, id: u8, other: u8) -> Vec<String> {
    let now = w.now;
    let s = w.speakers.get_mut(&id).unwrap();
    let side = Side::Received(key(other));
    let page = s.routes(Family::Vpnv4, &Wanted::All, &side, None, now);
    let all = page.unwrap().paths;
    all.iter().map(|p| p.net.to_string()).collect()
}

/// A reflector, 1, and its clients, those that take part first.
fn star(part: u8, without: u8) -> World {
    let all = 2..2 + part + without;
    let hub = all.clone().map(|n| (n, client(1, n < 2 + part)));
    let hub = (1, config(local(1, AS), hub));
    let clients = all.map(|n| (n, config(local(n, AS), [(1, pe(n, AS, n < 2 + part))])));
    World::new(std::iter::once(hub).chain(clients))
}

#[test]
fn routes_go_to_who_asks_for_their_target() {
    let mut w = star(2, 0);
    vrfs(&mut w, 2, &[1], &[]);
    vrfs(&mut w, 3, &[], &[1, 2]);
    w.pass(Duration::from_secs(30));
    assert_eq!(from(&mut w, 1, 3), ["10.1.3.0/24"], "nobody asks for 2");
    assert_eq!(from(&mut w, 2, 1), ["10.1.3.0/24"]);
    // Another VRF, and one less: what is wanted comes, and goes, in the session that is up.
    vrfs(&mut w, 2, &[1, 2], &[]);
    assert_eq!(from(&mut w, 2, 1), ["10.1.3.0/24", "10.2.3.0/24"]);
    vrfs(&mut w, 2, &[2], &[]);
    assert_eq!(from(&mut w, 1, 3), ["10.2.3.0/24"]);
    assert_eq!(from(&mut w, 2, 1), ["10.2.3.0/24"]);
    // The session goes, and what it asked for, once it could have come back.
    w.cut.push((1, 2));
    w.break_wires(1, 2);
    w.settle();
    assert_eq!(from(&mut w, 1, 3), ["10.2.3.0/24"], "it may restart");
    w.pass(Duration::from_secs(200));
    assert_eq!(from(&mut w, 1, 3), [] as [&str; 0]);
    w.cut.clear();
    w.pass(Duration::from_secs(60));
    assert_eq!(from(&mut w, 2, 1), ["10.2.3.0/24"]);
}

#[test]
fn a_reflector_tells_a_client_of_what_it_asks_for_itself() {
    let mut w = star(1, 0);
    vrfs(&mut w, 2, &[1], &[1, 3]);
    w.pass(Duration::from_secs(30));
    assert_eq!(from(&mut w, 1, 2), ["10.1.2.0/24"]);
    let now = w.now;
    let s = w.speakers.get_mut(&2).unwrap();
    let side = Side::Received(key(1));
    let page = s.routes(Family::RouteTarget, &Wanted::All, &side, None, now);
    let [one] = &page.unwrap().paths[..] else {
        panic!("one membership")
    };
    let v = one.attrs.view();
    assert_eq!(v.originator_id(), Some(address(1)));
    assert_eq!(v.next_hop.map(|h| h.address()), Some(address(1).into()));
    assert!(one.refusal.is_none(), "{:?}", one.refusal);
}

#[test]
fn who_takes_no_part_gets_all_of_it() {
    let mut w = star(1, 1);
    vrfs(&mut w, 2, &[], &[5, 6]);
    w.pass(Duration::from_secs(30));
    let both = ["10.5.2.0/24", "10.6.2.0/24"];
    assert_eq!(from(&mut w, 1, 2), both, "the reflector asks for all");
    assert_eq!(from(&mut w, 3, 1), both);
    // Without the one that has to have everything, nobody asks.
    w.cut.push((1, 3));
    w.break_wires(1, 3);
    w.pass(Duration::from_secs(200));
    assert_eq!(from(&mut w, 1, 2), [] as [&str; 0]);
}

/// Two reflectors, 1 and 5, with a client each, 2 and 6.
#[test]
fn a_reflector_hears_of_the_clients_of_another() {
    let hub = |us: u8, client_is: u8, other: u8| {
        let both = [(client_is, client(us, true)), (other, pe(us, AS, true))];
        (us, config(local(us, AS), both))
    };
    let edge = |us: u8, hub: u8| (us, config(local(us, AS), [(hub, pe(us, AS, true))]));
    let mut w = World::new([hub(1, 2, 5), hub(5, 6, 1), edge(2, 1), edge(6, 5)]);
    vrfs(&mut w, 2, &[1], &[1]);
    vrfs(&mut w, 6, &[1], &[1]);
    w.pass(Duration::from_secs(60));
    // Both ask for the same. Whatever path is best, each tells the other that it has a client that asks.
    assert_eq!(from(&mut w, 6, 5), ["10.1.2.0/24"]);
    assert_eq!(from(&mut w, 2, 1), ["10.1.6.0/24"]);
}

#[test]
fn over_borders_memberships_go_where_routes_are_to_come_from() {
    let mut far = pe(1, 64513, true);
    far.next_hop_self = true;
    let us = (1, config(local(1, AS), [(2, far)]));
    let mut other = local(2, AS);
    other.asn = crate::types::Asn(64513);
    let mut near = neighbor(&other, AS);
    near.session.families = pe(2, AS, true).session.families;
    let mut w = World::new([us, (2, config(other, [(1, near)]))]);
    vrfs(&mut w, 1, &[1], &[]);
    vrfs(&mut w, 2, &[9], &[1, 2]);
    w.pass(Duration::from_secs(30));
    assert_eq!(from(&mut w, 1, 2), ["10.1.2.0/24"]);
}

#[test]
fn the_default_membership_can_be_told_by_configuration() {
    let mut w = World::new([
        (1, {
            let mut n = client(1, true);
            n.default_originate = true;
            config(local(1, AS), [(2, n)])
        }),
        (2, config(local(2, AS), [(1, pe(2, AS, true))])),
    ]);
    vrfs(&mut w, 2, &[], &[5]);
    w.pass(Duration::from_secs(30));
    assert_eq!(from(&mut w, 1, 2), ["10.5.2.0/24"]);
}

/// A speaker that has not told what it asks for is told nothing, for a while.
#[test]
fn routes_wait_for_what_is_asked_for() {
    let mut w = star(2, 0);
    vrfs(&mut w, 2, &[1], &[]);
    vrfs(&mut w, 3, &[], &[1]);
    w.pass(Duration::from_secs(30));
    let id = w.speakers[&1].names[&key(2)];
    let now = w.now;
    let s = w.speakers.get_mut(&1).unwrap();
    // As if its End-of-RIB had not come.
    s.leave(id);
    let peer = s.peers.get_mut(&id).unwrap();
    peer.ended.remove(Family::RouteTarget);
    s.join(id, now);
    assert_eq!(s.peers[&id].vpns_at, Some(now + WAIT));
    assert!(s.core.group_of::<Vpn4>(id).is_none());
    assert!(s.core.group_of::<Membership>(id).is_some());
    w.pass(WAIT);
    let s = w.speakers.get_mut(&1).unwrap();
    assert!(s.core.group_of::<Vpn4>(id).is_some() && s.peers[&id].vpns_at.is_none());
}

/// The border of an AS relays VPN routes to who takes no part: it asks for all of them.
#[test]
fn a_border_asks_for_all_that_it_may_have_to_tell() {
    let mut far = pe(1, 64513, false);
    far.next_hop_self = true;
    let border = config(local(1, AS), [(2, far), (3, pe(1, AS, true))]);
    let mut other = local(2, AS);
    other.asn = crate::types::Asn(64513);
    let mut near = neighbor(&other, AS);
    near.session.families = pe(2, AS, false).session.families;
    let edge = config(local(3, AS), [(1, pe(3, AS, true))]);
    let mut w = World::new([(1, border), (2, config(other, [(1, near)])), (3, edge)]);
    vrfs(&mut w, 3, &[], &[5]);
    w.pass(Duration::from_secs(30));
    assert_eq!(from(&mut w, 1, 3), ["10.5.3.0/24"]);
}

/// What a neighbour asks for changes while the table is still walked for what it asked before: it has in the end what it asks for
/// then, and no more.
#[test]
fn what_is_asked_for_may_change_at_any_time() {
    // Router 4 takes no part, so the reflector has all routes whatever 2 asks for: of target 1 and, behind them, of 2.
    let mut w = star(2, 1);
    vrfs(&mut w, 3, &[], &[1, 2]);
    w.pass(Duration::from_secs(30));
    let both = ["10.1.3.0/24", "10.2.3.0/24"];
    assert_eq!(from(&mut w, 1, 3), both);
    let asks = |n: u8| {
        let mut octets = [0; 12];
        octets[..4].copy_from_slice(&AS.to_be_bytes());
        octets[4..].copy_from_slice(&target(n).0);
        RouteTarget { octets, bits: 96 }
    };
    let id = w.speakers[&1].names[&key(2)];
    let now = w.now;
    // One entry of the table is looked at in each step.
    let step = |w: &mut World, n: u8, yes: bool| {
        let s = w.speakers.get_mut(&1).unwrap();
        s.core.asked.note(id, asks(n), yes);
        s.work_memberships(1, now);
        s.advertise(100, now);
    };
    step(&mut w, 2, true);
    step(&mut w, 1, true);
    w.settle();
    assert_eq!(from(&mut w, 2, 1), both);
    for n in [1, 2] {
        step(&mut w, n, false);
    }
    w.settle();
    assert_eq!(from(&mut w, 2, 1), [] as [&str; 0]);
    // It is told of the first, and asks for it no more before all was looked at.
    step(&mut w, 1, true);
    step(&mut w, 1, false);
    w.settle();
    assert_eq!(from(&mut w, 2, 1), [] as [&str; 0]);
}

/// Adds a target to all routes.
fn adds(n: u8) -> Arc<crate::policy::Policy> {
    use crate::policy::{Policies, PolicySpec, RuleSpec, Sets, Word};
    let mut rule = RuleSpec::default();
    let text = format!("target:{AS}:{n}");
    let key = "add-ext-community";
    rule.set.put(key, &[Word::Text(text.into())]).unwrap();
    rule.action = "accept".parse().unwrap();
    let spec = PolicySpec {
        rules: vec![rule],
        default: true,
    };
    let all = [("adds".to_owned(), spec)].into();
    let all = Policies::compile(&all, &Sets::default(), &Policies::default()).unwrap();
    all.get("adds").unwrap().clone()
}

/// A policy may give a route the target that is asked for: it is asked again whenever that is another.
#[test]
fn what_a_policy_makes_of_targets_counts() {
    let to = Neighbor {
        export: Some(adds(9)),
        ..client(1, true)
    };
    let hub = config(local(1, AS), [(2, to), (3, client(1, false))]);
    let edges = [(2, true), (3, false)];
    let edges = edges.map(|(n, part)| (n, config(local(n, AS), [(1, pe(n, AS, part))])));
    let mut w = World::new(std::iter::once((1, hub)).chain(edges));
    vrfs(&mut w, 3, &[], &[1]);
    w.pass(Duration::from_secs(30));
    for (asks, has) in [
        (&[9][..], true),
        (&[], false),
        (&[8], false),
        (&[8, 9], true),
        (&[1], true),
    ] {
        vrfs(&mut w, 2, asks, &[]);
        let want: &[&str] = if has { &["10.1.3.0/24"] } else { &[] };
        assert_eq!(from(&mut w, 2, 1), want, "{asks:?}");
    }
}

/// Each family of VPNs goes by the same memberships.
#[test]
fn routes_of_ipv6_go_to_who_asks_too() {
    let with = |mut n: Neighbor| {
        n.session.families = [Family::Vpnv6, Family::RouteTarget]
            .map(FamilyConfig::new)
            .into();
        n
    };
    let hub = [2, 3].map(|n| (n, with(client(1, true))));
    let hub = (1, config(local(1, AS), hub));
    let edges = [2, 3].map(|n| (n, config(local(n, AS), [(1, with(pe(n, AS, true)))])));
    let mut w = World::new(std::iter::once(hub).chain(edges));
    vrfs(&mut w, 3, &[], &[1, 2]);
    let now = w.now;
    for n in [1, 2] {
        let p = format!("2001:db8:{n}::/48").parse().unwrap();
        let s = w.speakers.get_mut(&3).unwrap();
        s.originate_in_vrf(VrfNo(n), p, Protocol::Static, None, now);
    }
    w.pass(Duration::from_secs(30));
    let from = |w: &mut World| -> Vec<String> {
        let now = w.now;
        let s = w.speakers.get_mut(&2).unwrap();
        let side = Side::Received(key(1));
        let page = s.routes(Family::Vpnv6, &Wanted::All, &side, None, now);
        page.unwrap()
            .paths
            .iter()
            .map(|p| p.net.to_string())
            .collect()
    };
    let both = ["2001:db8:1::/48", "2001:db8:2::/48"];
    for (asks, want) in [
        (&[1, 2][..], &both[..]),
        (&[2], &both[1..]),
        (&[1], &both[..1]),
        (&[], &[]),
    ] {
        vrfs(&mut w, 2, asks, &[]);
        assert_eq!(from(&mut w), want);
    }
}

/// Who relays nothing asks for what its VRFs import, whoever else takes no part.
#[test]
fn an_edge_asks_for_its_own_alone() {
    let mut other = client(2, false);
    other.session.families = vec![FamilyConfig::new(Family::Ipv4Unicast)];
    let mut back = neighbor(&local(4, AS), AS);
    back.session.families.clone_from(&other.session.families);
    let edge = [(1, pe(2, AS, true)), (3, pe(2, AS, false)), (4, other)];
    let mut w = World::new([
        (1, config(local(1, AS), [(2, pe(1, AS, true))])),
        (2, config(local(2, AS), edge)),
        (3, config(local(3, AS), [(2, pe(3, AS, false))])),
        (4, config(local(4, AS), [(2, back)])),
    ]);
    vrfs(&mut w, 1, &[], &[5, 6]);
    vrfs(&mut w, 2, &[5], &[]);
    w.pass(Duration::from_secs(30));
    assert_eq!(from(&mut w, 2, 1), ["10.5.1.0/24"]);
}

/// RFC 4684 6: who sends no End-of-RIB is waited for, but not for long.
#[test]
fn who_may_say_nothing_is_not_waited_for_long() {
    let plain = |mut n: Neighbor| {
        n.session.graceful = None;
        n
    };
    let hub = config(local(1, AS), [(2, plain(client(1, true)))]);
    let edge = config(local(2, AS), [(1, plain(pe(2, AS, true)))]);
    let mut w = World::new([(1, hub), (2, edge)]);
    w.pass(Duration::from_secs(30));
    let id = w.speakers[&1].names[&key(2)];
    let now = w.now;
    let s = w.speakers.get_mut(&1).unwrap();
    s.leave(id);
    s.peers
        .get_mut(&id)
        .unwrap()
        .ended
        .remove(Family::RouteTarget);
    s.join(id, now);
    assert_eq!(s.peers[&id].vpns_at, Some(now + HASTE));
}

/// Several neighbours ask for something else at once: there is more to do until all of them have been looked after.
#[test]
fn there_is_more_as_long_as_anybody_waits() {
    let mut w = star(2, 1);
    vrfs(&mut w, 4, &[], &[1]);
    w.pass(Duration::from_secs(30));
    let ids = [2, 3].map(|n| w.speakers[&1].names[&key(n)]);
    let now = w.now;
    let s = w.speakers.get_mut(&1).unwrap();
    for id in ids {
        let mut octets = [0; 12];
        octets[4..].copy_from_slice(&target(1).0);
        s.core
            .asked
            .note(id, RouteTarget { octets, bits: 96 }, true);
    }
    while s.work_memberships(1000, now) {}
    assert!(Vpn4::side(&mut s.core.sides).marks.is_empty());
    w.settle();
    assert_eq!((from(&mut w, 2, 1).len(), from(&mut w, 3, 1).len()), (1, 1));
}

/// Nothing is left of what was asked for once.
#[test]
fn own_memberships_leave_nothing_behind() {
    let mut w = star(1, 0);
    let is_empty = |w: &World| w.speakers[&2].core.rib.common.store.is_empty();
    w.pass(Duration::from_secs(30));
    assert!(is_empty(&w));
    vrfs(&mut w, 2, &[1, 2], &[]);
    assert!(!is_empty(&w));
    vrfs(&mut w, 2, &[], &[]);
    w.pass(Duration::from_secs(30));
    assert!(is_empty(&w));
}

/// A community that begins like a target, and is none, is asked for by nobody.
#[test]
fn only_targets_are_asked_for() {
    let site = ExtCommunity([0, 3, 0xfc, 0, 0, 0, 0, 1]);
    let mut octets = [0; 12];
    octets[4..].copy_from_slice(&site.0);
    let filter = Filter::of(&[RouteTarget { octets, bits: 96 }]);
    let mut buf = AttrBuf::new();
    crate::speaker::vpn::set_targets(&mut buf, &[site]);
    assert!(!filter.wants(buf.view()));
}

/// Origin AS and target of small numbers, so that beginnings meet.
fn membership() -> impl Strategy<Value = RouteTarget> {
    let octets = (0..2u8, 0..2u8, 0..3u8).prop_map(|(a, b, c)| {
        let mut o = [0; 12];
        (o[3], o[5], o[11]) = (a, 2, c | b << 7);
        o
    });
    // Often where the octets above differ.
    let bits = prop_oneof![Just(0u8), Just(32), Just(96), 87..=96u8, 32..=96u8];
    (octets, bits).prop_map(|(octets, bits)| Membership::new(octets, bits).into())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_wanted_is_what_a_membership_covers(
        all in prop::collection::btree_set(membership(), 0..5),
        has in prop::collection::vec((0..3u8, any::<bool>()), 0..3),
    ) {
        let filter = Filter::of(&all);
        let mut buf = AttrBuf::new();
        let targets: Vec<ExtCommunity> = has.iter().map(|(n, high)| {
            ExtCommunity([0, 2, 0, 0, 0, 0, 0, n | u8::from(*high) << 7])
        }).collect();
        crate::speaker::vpn::set_targets(&mut buf, &targets);
        let covered = |t: &ExtCommunity| all.iter().any(|m| {
            let bits = usize::from(m.bits.saturating_sub(32));
            (0..bits).all(|n| (m.octets[4 + n / 8] ^ t.0[n / 8]) << (n % 8) & 0x80 == 0)
        });
        let any = all.iter().any(|m| m.bits <= 32);
        prop_assert_eq!(filter.wants(buf.view()), any || targets.iter().any(covered));
    }
}
