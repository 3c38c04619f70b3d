//! Labelled unicast (RFC 8277) through chains of speakers: whose label stands where, with whose next hop.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::policy::Protocol;
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
    let [a, b, c] = [1, 2, 3].map(|n: u8| local(n, asns[usize::from(n) - 1]));
    let mut third = neighbor(&b, asns[2]);
    edit(&mut third);
    World::new([
        (
            1,
            with_labels(config(a.clone(), [(2, neighbor(&a, asns[1]))])),
        ),
        (
            2,
            with_labels(config(b.clone(), [(1, neighbor(&b, asns[0])), (3, third)])),
        ),
        (
            3,
            with_labels(config(c.clone(), [(2, neighbor(&c, asns[1]))])),
        ),
    ])
}

fn originate(w: &mut World, id: u8, prefix: &str, label: u32) {
    let now = w.now;
    let s = w.speakers.get_mut(&id).unwrap();
    let label = Label::new(label).unwrap();
    assert!(s.originate_labeled(net(prefix), label, Protocol::Static, None, now));
    w.settle();
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
        let ours = w.label_of(2, net(NET));
        let want = match own {
            true => towards(2, &[ours]),
            false => towards(1, &[500]),
        };
        assert_eq!(pushed(&w, 3, NET), want, "next-hop-self: {own}");
    }
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
