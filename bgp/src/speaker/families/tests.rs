//! Labelled unicast (RFC 8277) through chains of speakers: whose label stands where, with whose next hop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::attrs::Srgb;
use crate::policy::Protocol;
use crate::rib::Key;
use crate::session::FamilyConfig;
use crate::speaker::tests::{World, address, config, local, neighbor};
use crate::speaker::{Config, Neighbor, PathView, Side, Wanted};
use crate::types::{Family, Label};

const NET: &str = "203.0.113.0/24";
const SIX: &str = "2001:db8:1::/48";

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn with_labels(mut c: Config) -> Config {
    for (_, n) in &mut c.neighbors {
        let n = Arc::make_mut(n);
        let both = [Family::Ipv4Labeled, Family::Ipv6Labeled];
        n.session.families.extend(both.map(FamilyConfig::new));
    }
    c
}

/// Routers 1, 2 and 3, where 2 is between the others, in those ASes. `edit` is for what 2 knows of 3.
fn chain(asns: [u32; 3], edit: impl Fn(&mut Neighbor)) -> World {
    chain_of(asns, edit, |_| {})
}

/// The same; `last` is for what 3 knows of 2.
fn chain_of(asns: [u32; 3], edit: impl Fn(&mut Neighbor), last: impl Fn(&mut Neighbor)) -> World {
    let [a, b, c] = [1, 2, 3].map(|n: u8| local(n, asns[usize::from(n) - 1]));
    let first = with_labels(config(a.clone(), [(2, neighbor(&a, asns[1]))]));
    let third = (3, neighbor(&b, asns[2]));
    let mut second = with_labels(config(b.clone(), [(1, neighbor(&b, asns[0])), third]));
    let mut end = with_labels(config(c.clone(), [(2, neighbor(&c, asns[1]))]));
    edit(Arc::make_mut(&mut second.neighbors[1].1));
    last(Arc::make_mut(&mut end.neighbors[0].1));
    World::new([(1, first), (2, second), (3, end)])
}

fn originate(w: &mut World, id: u8, prefix: &str, label: u32) {
    let now = w.now;
    let s = w.speakers.get_mut(&id).unwrap();
    let label = Label::new(label).unwrap();
    assert!(s.originate_labeled(net(prefix), (label, None), Protocol::Static, None, now));
    w.settle();
}

/// The same with a label index.
fn originate_segment(w: &mut World, id: u8, prefix: &str, index: u32) {
    let now = w.now;
    let s = w.speakers.get_mut(&id).unwrap();
    let label = (Label::IMPLICIT_NULL, Some(index));
    assert!(s.originate_labeled(net(prefix), label, Protocol::Static, None, now));
    w.settle();
}

/// The routers of a chain, each with an SRGB that begins at so many thousands.
fn with_srgbs(w: &mut World, size: u32, first: [u32; 3]) {
    for (id, thousands) in (1..).zip(first) {
        let srgb = Srgb {
            first: thousands * 1000,
            size,
        };
        w.srgbs.insert(id, srgb);
        let s = w.speakers.get_mut(&id).unwrap();
        assert!(s.set_srgb(Some(srgb)));
        assert!(!s.set_srgb(Some(srgb)), "it has it");
    }
}

/// What a router would push for a prefix, and towards whom.
fn pushed(w: &World, id: u8, prefix: &str) -> Option<(IpAddr, Vec<u32>)> {
    w.labeled.get(&id)?.get(&net(prefix))?.first().cloned()
}

fn towards(n: u8, labels: &[u32]) -> Option<(IpAddr, Vec<u32>)> {
    Some((address(n).into(), labels.to_vec()))
}

fn views(w: &mut World, id: u8, prefix: &str, side: &Side) -> Vec<PathView> {
    let now = w.now;
    let s = w.speakers.get_mut(&id).unwrap();
    let family = match net(prefix) {
        IpNet::V4(_) => Family::Ipv4Labeled,
        IpNet::V6(_) => Family::Ipv6Labeled,
    };
    let wanted = Wanted::Exactly(net(prefix));
    s.routes(family, &wanted, side, None, now).unwrap().paths
}

fn labels(v: &PathView) -> Vec<u32> {
    let all = v.attrs.view().labels();
    all.into_iter()
        .flat_map(|l| l.iter().map(Label::get))
        .collect()
}

#[test]
fn each_as_on_the_way_tells_a_label_of_its_own() {
    let mut w = chain([100, 200, 300], |_| {});
    originate(&mut w, 1, NET, 3);
    w.pass(Duration::from_secs(30));
    assert_eq!(pushed(&w, 2, NET), towards(1, &[3]));
    let ours = w.label_of(2, net(NET));
    assert_eq!(pushed(&w, 3, NET), towards(2, &[ours]));
    // It is none without a label.
    assert!(!w.fibs[&3].contains_key(&net(NET)));
    let at = |n: u8| crate::speaker::PeerKey::Address(address(n).into(), None);
    let told = views(&mut w, 2, NET, &Side::Advertised(at(3)));
    assert_eq!(told.iter().map(labels).collect::<Vec<_>>(), [[ours]]);
    let here = views(&mut w, 2, NET, &Side::Table);
    assert_eq!(labels(&here[0]), [3]);
    assert_eq!(here[0].local_label.map(Label::get), Some(ours));
    // Another label at its origin: ours stays.
    originate(&mut w, 1, NET, 77);
    w.settle();
    assert_eq!(pushed(&w, 2, NET), towards(1, &[77]));
    assert_eq!(pushed(&w, 3, NET), towards(2, &[ours]));
    // A route without labels is another route.
    w.originate(1, NET);
    w.settle();
    assert_eq!(w.fibs[&3][&net(NET)], [IpAddr::from(address(2))]);
    let s = w.speakers.get_mut(&1).unwrap();
    assert!(s.withdraw_own_labeled(net(NET)));
    w.settle();
    assert_eq!(pushed(&w, 3, NET), None);
    assert!(w.fibs[&3].contains_key(&net(NET)));
}

#[test]
fn a_label_belongs_to_its_next_hop() {
    for own in [false, true] {
        let mut w = chain([100, 200, 200], |n| n.next_hop_self = own);
        originate(&mut w, 1, NET, 500);
        w.pass(Duration::from_secs(30));
        let want = match own {
            true => towards(2, &[w.label_of(2, net(NET))]),
            false => towards(1, &[500]),
        };
        assert_eq!(w.has_label(2, net(NET)), own, "a label that nobody is told");
        assert_eq!(pushed(&w, 3, NET), want, "next-hop-self: {own}");
    }
}

/// Who comes later and is told our label makes that there is one; it stays when he has gone.
#[test]
fn labels_are_given_where_somebody_hears_of_them() {
    let mut w = chain([100, 200, 300], |_| {});
    w.cut.push((2, 3));
    originate(&mut w, 1, NET, 500);
    w.pass(Duration::from_secs(30));
    assert_eq!(pushed(&w, 2, NET), towards(1, &[500]));
    assert!(!w.has_label(2, net(NET)));
    w.cut.clear();
    w.pass(Duration::from_secs(300));
    let ours = w.label_of(2, net(NET));
    assert_eq!(pushed(&w, 3, NET), towards(2, &[ours]));
    w.break_wires(2, 3);
    w.cut.push((2, 3));
    originate(&mut w, 1, NET, 501);
    w.pass(Duration::from_secs(300));
    let here = views(&mut w, 2, NET, &Side::Table);
    assert_eq!(here[0].local_label.map(Label::get), Some(ours));
}

#[test]
fn without_a_label_of_ours_nobody_is_told() {
    let mut w = chain([100, 200, 300], |_| {});
    w.without_labels.push(2);
    originate(&mut w, 1, NET, 500);
    w.pass(Duration::from_secs(30));
    assert_eq!(pushed(&w, 2, NET), towards(1, &[500]));
    assert_eq!(pushed(&w, 3, NET), None);
    w.without_labels.clear();
    w.speakers.get_mut(&2).unwrap().labels_available();
    w.settle();
    let ours = w.label_of(2, net(NET));
    assert_eq!(pushed(&w, 3, NET), towards(2, &[ours]));
    // It loses it, with a new path say: what was told is taken back.
    w.without_labels.push(2);
    originate(&mut w, 1, NET, 501);
    assert_eq!(pushed(&w, 3, NET), None);
}

/// RFC 4798: over sessions in IPv4 the next hops of IPv6 are addresses of IPv4, though there are others on the link.
#[test]
fn ipv6_goes_by_next_hops_of_ipv4() {
    let mut w = chain([100, 200, 200], |_| {});
    originate(&mut w, 1, SIX, 2);
    w.pass(Duration::from_secs(30));
    assert_eq!(pushed(&w, 2, SIX), towards(1, &[2]));
    assert_eq!(pushed(&w, 3, SIX), towards(1, &[2]), "as it came");
    let hop = views(&mut w, 3, SIX, &Side::Table)[0].attrs.next_hop;
    assert_eq!(hop.map(|h| h.address()), Some(address(1).into()));
}

#[test]
fn several_paths_compete_by_prefix_and_not_by_label() {
    let mut w = chain([100, 200, 300], |_| {});
    originate(&mut w, 1, NET, 500);
    originate(&mut w, 3, NET, 600);
    w.pass(Duration::from_secs(30));
    let here = views(&mut w, 2, NET, &Side::Table);
    let all: Vec<Vec<u32>> = here.iter().map(labels).collect();
    assert_eq!(all, [[500], [600]], "the lower identifier wins");
    let ours = w.label_of(2, net(NET));
    w.break_wires(1, 2);
    w.cut.push((1, 2));
    w.pass(Duration::from_secs(300));
    assert_eq!(pushed(&w, 2, NET), towards(3, &[600]));
    assert_eq!(w.label_of(2, net(NET)), ours, "kept over another best path");
}

/// RFC 8669 4 and 5: each has the label of the index in its own SRGB, and tells index and the origin's SRGB on.
#[test]
fn prefix_sids_make_labels_that_are_known_beforehand() {
    let mut w = chain([100, 100, 300], |n| {
        n.next_hop_self = true;
        n.session.prefix_sid = Some(true);
    });
    with_srgbs(&mut w, 100, [16, 20, 30]);
    originate_segment(&mut w, 1, NET, 7);
    w.pass(Duration::from_secs(30));
    assert_eq!(pushed(&w, 2, NET), towards(1, &[3]));
    let at = |n: u8| crate::speaker::PeerKey::Address(address(n).into(), None);
    let told = views(&mut w, 2, NET, &Side::Advertised(at(3)));
    assert_eq!(labels(&told[0]), [20_007]);
    let view = told[0].attrs.view();
    assert_eq!(view.label_index(), Some(7));
    let origin = Srgb {
        first: 16_000,
        size: 100,
    };
    assert!(view.originator_srgb().eq([origin]));
    // Router 3 has not been told that router 2 is of its domain: the label counts, the index does not.
    assert_eq!(pushed(&w, 3, NET), towards(2, &[20_007]));
    let here = views(&mut w, 3, NET, &Side::Table);
    assert_eq!(here[0].attrs.view().label_index(), None);
    // The SRGB moves: who has the old label is told the new one.
    let srgb = Srgb {
        first: 40_000,
        size: 100,
    };
    w.srgbs.insert(2, srgb);
    assert!(w.speakers.get_mut(&2).unwrap().set_srgb(Some(srgb)));
    w.settle();
    assert_eq!(pushed(&w, 3, NET), towards(2, &[40_007]));
}

#[test]
fn prefix_sids_stay_within_the_as_unless_told_otherwise() {
    let mut w = chain([100, 100, 300], |n| n.next_hop_self = true);
    with_srgbs(&mut w, 100, [16, 20, 30]);
    originate_segment(&mut w, 1, NET, 7);
    w.pass(Duration::from_secs(30));
    let at = |n: u8| crate::speaker::PeerKey::Address(address(n).into(), None);
    let told = views(&mut w, 2, NET, &Side::Advertised(at(3)));
    assert_eq!(labels(&told[0]), [20_007]);
    assert_eq!(told[0].attrs.view().label_index(), None);
}

/// RFC 8669 4.1 and 5: what was not gone by is not told on, and is gone by once it can be; neighbours hear of the other label,
/// also those who are told several paths.
#[test]
fn prefix_sids_that_are_not_acceptable_count_as_not_there() {
    const OTHER: &str = "203.0.114.0/24";
    for add_path in [false, true] {
        let edit = |n: &mut Neighbor| {
            n.session.prefix_sid = Some(false);
            for f in n.session.families.iter_mut().filter(|_| add_path) {
                (f.add_path_send, f.add_path_receive) = (4, true);
            }
        };
        let mut w = chain_of([100, 100, 300], edit, edit);
        with_srgbs(&mut w, 100, [16, 20, 30]);
        originate_segment(&mut w, 1, NET, 7);
        w.pass(Duration::from_secs(30));
        originate_segment(&mut w, 1, OTHER, 7);
        let ours = w.label_of(2, net(OTHER));
        assert!(ours < 16_000, "{ours}");
        assert_eq!(pushed(&w, 3, OTHER), towards(2, &[ours]));
        let s = w.speakers.get_mut(&1).unwrap();
        assert!(s.withdraw_own_labeled(net(NET)));
        w.settle();
        w.forget_label(2, net(NET));
        w.speakers.get_mut(&2).unwrap().labels_available();
        w.settle();
        assert_eq!(pushed(&w, 3, OTHER), towards(2, &[20_007]), "{add_path}");
        // Beyond the SRGB.
        originate_segment(&mut w, 1, OTHER, 100);
        let ours = w.label_of(2, net(OTHER));
        assert!(ours < 16_000, "{ours}");
        assert_eq!(pushed(&w, 3, OTHER), towards(2, &[ours]));
    }
    // Told on only where it was gone by.
    let mut w = chain([100, 100, 300], |n| n.session.prefix_sid = Some(true));
    with_srgbs(&mut w, 100, [16, 20, 30]);
    originate_segment(&mut w, 1, NET, 7);
    originate_segment(&mut w, 1, OTHER, 100);
    w.pass(Duration::from_secs(30));
    let at = crate::speaker::PeerKey::Address(address(3).into(), None);
    let mut index = |prefix| {
        let told = views(&mut w, 2, prefix, &Side::Advertised(at.clone()));
        told[0].attrs.view().label_index()
    };
    assert_eq!((index(NET), index(OTHER)), (Some(7), None));
}

/// RFC 8669 5: who is of our AS and not of our SR domain is told none.
#[test]
fn prefix_sids_stay_within_the_domain() {
    for own in [None, Some(false)] {
        let mut w = chain([100; 3], |n| n.session.prefix_sid = own);
        with_srgbs(&mut w, 100, [16, 20, 30]);
        originate_segment(&mut w, 2, NET, 7);
        w.pass(Duration::from_secs(30));
        let at = crate::speaker::PeerKey::Address(address(3).into(), None);
        let told = views(&mut w, 2, NET, &Side::Advertised(at));
        let index = told[0].attrs.view().label_index();
        assert_eq!(index, own.is_none().then_some(7), "{own:?}");
    }
}

/// Who sends by segments needs nobody to tell the label: it is there though no neighbour hears of the route from us.
#[test]
fn a_label_of_an_index_is_there_for_nobody_in_particular() {
    let mut w = chain([100; 3], |_| {});
    with_srgbs(&mut w, 100, [16, 20, 30]);
    originate(&mut w, 1, "203.0.114.0/24", 500);
    originate_segment(&mut w, 1, NET, 7);
    w.pass(Duration::from_secs(30));
    assert_eq!(w.label_of(2, net(NET)), 20_007);
    assert!(!w.has_label(2, net("203.0.114.0/24")), "without an index");
}

/// RFC 8277 2.1: nobody is told of a route with more labels than it has said that it reads.
#[test]
fn so_many_labels_are_told_as_are_read() {
    const MORE: [u32; 9] = [500, 501, 502, 503, 504, 505, 506, 507, 508];
    let mut w = chain([100; 3], |_| {});
    w.pass(Duration::from_secs(30));
    let id = w.speakers[&2].names[&crate::speaker::PeerKey::Address(address(3).into(), None)];
    let offered = |w: &World| {
        let up = w.speakers[&2].peers[&id].up.clone().unwrap();
        usize::from(up.agreed.offered.labels(Family::Ipv4Labeled))
    };
    let most = offered(&w);
    let s = w.speakers.get_mut(&2).unwrap();
    for (prefix, labels) in [(NET, &MORE[..=most]), ("203.0.114.0/24", &MORE[..most])] {
        let mut buf = crate::attrs::AttrBuf::new();
        let labels: Vec<Label> = labels.iter().filter_map(|l| Label::new(*l)).collect();
        buf.set_labels(&labels);
        buf.set_origin(crate::attrs::Origin::Igp);
        buf.set_as_path([]);
        let rib = &mut s.core.rib;
        let id = rib.common.store.intern(buf.view());
        let announce = crate::rib::Announce {
            peer: crate::speaker::routes::OWN,
            path_id: 0,
            pre: id,
            post: Some(id),
            now: 0,
        };
        let key = crate::rib::L4::from_net(net(prefix)).unwrap();
        rib.l4.announce(&mut rib.common, key, announce);
        rib.common.store.release(id);
    }
    w.settle();
    let at = crate::speaker::PeerKey::Address(address(3).into(), None);
    let mut told = |prefix| views(&mut w, 2, prefix, &Side::Advertised(at.clone())).len();
    assert_eq!((told(NET), told("203.0.114.0/24")), (0, 1));
}
