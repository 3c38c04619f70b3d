//! The RIB against a mirror of the forwarding tables that minds its references, and against the obvious RIB. With the
//! tables themselves: `repair`.

mod labeled;
mod ldp;
mod repair;
mod vrf;

use super::resolve::Target;
use super::sink::{Change, Full, OutPath, OutTarget, Sink};
use super::spec::{Discard, TtlMode};
use super::spec::{IfaceSpec, LabelAction, Problem};
use super::*;
use net::{AdjId, GroupId, LabelStack, PortId};
use proptest::prelude::*;
use std::collections::HashMap;

/// The forwarding tables, in maps. Every misuse (a dangling id, a second removal) is a failed test.
#[derive(Default)]
struct Mirror {
    groups: HashMap<GroupId, Vec<OutPath>>,
    adjs: HashMap<AdjId, sink::OutAdjacency>,
    prefixes: BTreeMap<IpNet, GroupId>,
    vrfs: BTreeMap<(VrfId, IpNet), GroupId>,
    labels: BTreeMap<Label, OutLabel>,
    next: u32,
    /// How many prefixes were written.
    writes: usize,
    /// How many groups and prefixes there may be.
    room: Option<(usize, usize)>,
}

impl Mirror {
    fn check_paths(&self, paths: &[OutPath]) {
        assert!(!paths.is_empty());
        for p in paths {
            if let OutTarget::Adjacency(a) = p.target {
                assert!(
                    self.adjs.contains_key(&a),
                    "a group names an adjacency that is not there"
                );
            }
        }
    }

    /// What frames to `p` find: where to, labels, weight.
    fn content(&self, group: GroupId) -> Vec<(String, Vec<u32>, u32)> {
        let mut v: Vec<_> = self.groups[&group].iter().map(|p| self.path(p)).collect();
        v.sort();
        v
    }

    fn path(&self, p: &OutPath) -> (String, Vec<u32>, u32) {
        let target = match p.target {
            OutTarget::Adjacency(a) => {
                format!("{} on {}", self.adjs[&a].next_hop, self.adjs[&a].iface.0)
            }
            OutTarget::Glean(i) => format!("glean {}", i.0),
            OutTarget::Local(i) => format!("local {}", i.0),
            OutTarget::Discard(d) => format!("{d:?}"),
        };
        let behind = if p.backup { "backup " } else { "" };
        let labels = p.push.iter().map(|l| l.get()).collect();
        (format!("{behind}{target}"), labels, p.weight)
    }

    fn all(&self) -> BTreeMap<IpNet, Vec<(String, Vec<u32>, u32)>> {
        self.prefixes
            .iter()
            .map(|(p, g)| (*p, self.content(*g)))
            .collect()
    }

    fn at(&self, p: &str) -> Option<Vec<(String, Vec<u32>, u32)>> {
        Some(self.content(*self.prefixes.get(&net(p))?))
    }

    /// "NEXTHOP on IFACE" of each path of a prefix.
    fn via(&self, p: &str) -> Vec<String> {
        self.at(p)
            .unwrap_or_default()
            .into_iter()
            .map(|x| x.0)
            .collect()
    }
}

impl Sink for Mirror {
    fn add_group(&mut self, paths: &[OutPath]) -> Result<GroupId, Full> {
        self.check_paths(paths);
        if self.room.is_some_and(|r| self.groups.len() >= r.0) {
            return Err(Full("groups".into()));
        }
        self.next += 1;
        self.groups.insert(GroupId(self.next), paths.to_vec());
        Ok(GroupId(self.next))
    }
    fn replace_group(&mut self, id: GroupId, paths: &[OutPath]) -> Result<(), Full> {
        self.check_paths(paths);
        assert!(self.groups.insert(id, paths.to_vec()).is_some());
        Ok(())
    }
    fn remove_group(&mut self, id: GroupId) {
        assert!(self.groups.remove(&id).is_some());
        assert!(
            !self
                .prefixes
                .values()
                .chain(self.vrfs.values())
                .any(|g| *g == id),
            "a prefix still names the group"
        );
        assert!(!self.labels.values().any(
            |l| matches!(l, OutLabel::Forward(g, _) | OutLabel::PopForward(g, _) if *g == id)
        ));
    }
    fn add_adjacency(&mut self, adj: &sink::OutAdjacency) -> Result<AdjId, Full> {
        self.next += 1;
        self.adjs.insert(AdjId(self.next), adj.clone());
        Ok(AdjId(self.next))
    }
    fn replace_adjacency(&mut self, id: AdjId, adj: &sink::OutAdjacency) {
        assert!(self.adjs.insert(id, adj.clone()).is_some());
    }
    fn remove_adjacency(&mut self, id: AdjId) {
        assert!(self.adjs.remove(&id).is_some());
        let names = |p: &OutPath| p.target == OutTarget::Adjacency(id);
        assert!(
            !self.groups.values().flatten().any(names),
            "a group still names the adjacency"
        );
    }
    fn apply(&mut self, changes: &[Change]) -> Result<(), Full> {
        let is_new = |c: &&Change| matches!(c, Change::Set(p, _) if !self.prefixes.contains_key(p));
        let more = changes.iter().filter(is_new).count();
        if self.room.is_some_and(|r| self.prefixes.len() + more > r.1) && more > 0 {
            return Err(Full("prefixes".into()));
        }
        let (mut seen, mut seen_in) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match *change {
                Change::Set(prefix, group) => {
                    assert!(seen.insert(prefix), "{prefix} twice in a slice");
                    assert!(self.groups.contains_key(&group));
                    self.writes += 1;
                    self.prefixes.insert(prefix, group);
                }
                Change::Del(prefix) => {
                    assert!(seen.insert(prefix), "{prefix} twice in a slice");
                    self.writes += 1;
                    assert!(self.prefixes.remove(&prefix).is_some());
                }
                Change::SetIn(vrf, prefix, group) => {
                    assert!(seen_in.insert((vrf, prefix)), "{prefix} twice in a slice");
                    assert!(vrf != VrfId::GLOBAL && self.groups.contains_key(&group));
                    self.vrfs.insert((vrf, prefix), group);
                }
                Change::DelIn(vrf, prefix) => {
                    assert!(seen_in.insert((vrf, prefix)), "{prefix} twice in a slice");
                    assert!(self.vrfs.remove(&(vrf, prefix)).is_some());
                }
                Change::SetLabel(label, entry) => {
                    if let OutLabel::Forward(g, _) | OutLabel::PopForward(g, _) = entry {
                        assert!(self.groups.contains_key(&g));
                    }
                    self.labels.insert(label, entry);
                }
                Change::DelLabel(label) => assert!(self.labels.remove(&label).is_some()),
            }
        }
        Ok(())
    }
    fn flush(&mut self) {}
}

fn net(s: &str) -> IpNet {
    s.parse().unwrap()
}

fn ip(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn mac(n: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, n])
}

fn iface(n: u16, up: bool, addresses: &[&str]) -> IfaceSpec {
    IfaceSpec {
        vrf: VrfId::GLOBAL,
        port: PortId(n),
        vlan: None,
        mac: mac(n as u8),
        mtu: 1500,
        up,
        addresses: addresses.iter().map(|a| net(a)).collect(),
    }
}

fn via(s: &str, labels: &[u32]) -> PathSpec {
    let labels: LabelStack = labels.iter().map(|l| Label::new(*l).unwrap()).collect();
    PathSpec {
        hop: Hop::Via {
            address: ip(s),
            dev: None,
        },
        weight: 1,
        labels,
        backup: false,
        vrf: VrfId::GLOBAL,
        entropy: false,
    }
}

fn behind(s: &str) -> PathSpec {
    PathSpec {
        backup: true,
        ..via(s, &[])
    }
}

fn paths(p: &[PathSpec]) -> Option<PathsSpec> {
    Some(PathsSpec {
        paths: p.to_vec(),
        ttl: TtlMode::Uniform,
    })
}

/// A RIB with two interfaces, 10.0.1.1/24 and 10.0.2.1/24, drained.
fn two() -> (Rib, Mirror) {
    let mut r = Rib::new();
    r.set_interface(
        IfaceId(1),
        iface(1, true, &["10.0.1.1/24", "2001:db8:1::1/64"]),
    );
    r.set_interface(IfaceId(2), iface(2, true, &["10.0.2.1/24"]));
    let mut m = Mirror::default();
    settle(&mut r, &mut m);
    (r, m)
}

fn settle(r: &mut Rib, m: &mut Mirror) {
    for _ in 0..10_000 {
        if !r.drain(m, 3).more {
            return;
        }
    }
    panic!("the RIB does not come to rest");
}

#[test]
fn addresses_make_connected_and_local_routes() {
    let (_, m) = two();
    let expected = [
        ("10.0.1.0/24", "glean 1"),
        ("10.0.1.1/32", "local 1"),
        ("10.0.2.0/24", "glean 2"),
        ("10.0.2.1/32", "local 2"),
        ("2001:db8:1::/64", "glean 1"),
        ("2001:db8:1::1/128", "local 1"),
    ];
    assert_eq!(m.prefixes.len(), expected.len());
    for (p, to) in expected {
        assert_eq!(m.via(p), [to], "{p}");
    }
}

#[test]
fn next_hop_change_touches_the_group_only() {
    let (mut r, mut m) = two();
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.1/32"),
        paths(&[via("10.0.1.2", &[])]),
    );
    for n in 0..100u8 {
        r.set_static(
            VrfId::GLOBAL,
            prefix(IpAddr::from([20, n, 0, 0]), 16),
            paths(&[via("192.0.2.1", &[])]),
        );
    }
    settle(&mut r, &mut m);
    assert_eq!(m.via("20.7.0.0/16"), ["10.0.1.2 on 1"]);
    let groups: std::collections::BTreeSet<_> = (0..100u8)
        .map(|n| m.prefixes[&net(&format!("20.{n}.0.0/16"))])
        .collect();
    assert_eq!(groups.len(), 1, "equal routes share a group");
    let writes = m.writes;
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.1/32"),
        paths(&[via("10.0.2.2", &[])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(m.via("20.7.0.0/16"), ["10.0.2.2 on 2"]);
    assert_eq!(
        m.writes - writes,
        1,
        "only the prefix whose own paths changed"
    );
}

#[test]
fn labels_of_what_is_stood_on_are_outside() {
    let (mut r, mut m) = two();
    r.set_static(
        VrfId::GLOBAL,
        net("192.0.2.1/32"),
        paths(&[via("10.0.1.2", &[100, 3])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("192.0.2.1", &[200, 201])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(
        m.at("20.0.0.0/8").unwrap(),
        [("10.0.1.2 on 1".into(), vec![100, 200, 201], 1)]
    );
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("192.0.2.1", &[1000; 8])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(m.at("20.0.0.0/8"), None, "nine labels");
    assert_eq!(
        r.routes_at(VrfId::GLOBAL, net("20.0.0.0/8"))
            .next()
            .unwrap()
            .paths,
        [Err(Problem::TooManyLabels)]
    );
}

#[test]
fn link_down_takes_routes_away_and_up_brings_them_back() {
    let (mut r, mut m) = two();
    r.set_static(
        VrfId::GLOBAL,
        net("0.0.0.0/0"),
        paths(&[via("10.0.2.9", &[])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("10.0.1.2", &[]), via("10.0.2.2", &[])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("30.0.0.0/8"),
        paths(&[via("10.0.1.2", &[])]),
    );
    settle(&mut r, &mut m);
    let all = m.all();
    let writes = m.writes;
    r.set_up(IfaceId(1), false);
    settle(&mut r, &mut m);
    assert_eq!(m.via("20.0.0.0/8"), ["10.0.2.2 on 2"]);
    assert_eq!(
        m.at("30.0.0.0/8"),
        None,
        "not sought behind the default route"
    );
    assert_eq!(m.at("10.0.1.0/24"), None);
    assert_eq!(m.at("10.0.1.1/32"), None);
    assert_eq!(m.writes - writes, 5, "30/8 and what the addresses made");
    r.set_up(IfaceId(1), true);
    settle(&mut r, &mut m);
    assert_eq!(m.all(), all);
}

#[test]
fn loops_carry_nothing() {
    let (mut r, mut m) = two();
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("30.0.0.1", &[])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("30.0.0.0/8"),
        paths(&[via("20.0.0.1", &[])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("40.0.0.0/8"),
        paths(&[via("40.0.0.1", &[])]),
    );
    r.set_static(
        VrfId::GLOBAL,
        net("50.0.0.0/8"),
        paths(&[via("10.0.1.1", &[])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(m.prefixes.len(), 6);
    let problem = |p: &str| {
        r.routes_at(VrfId::GLOBAL, net(p)).next().unwrap().paths[0]
            .clone()
            .unwrap_err()
    };
    assert!(matches!(problem("20.0.0.0/8"), Problem::Loop(_)));
    assert!(matches!(problem("40.0.0.0/8"), Problem::Loop(_)));
    assert_eq!(problem("50.0.0.0/8"), Problem::OwnAddress(ip("10.0.1.1")));
    r.set_static(
        VrfId::GLOBAL,
        net("30.0.0.0/8"),
        paths(&[via("10.0.1.2", &[])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(m.via("20.0.0.0/8"), ["10.0.1.2 on 1"]);
}

#[test]
fn neighbours_shorten_the_way_but_override_nothing() {
    let (mut r, mut m) = two();
    r.neighbor(IfaceId(1), ip("10.0.1.7"), mac(7));
    r.neighbor(IfaceId(1), ip("fe80::7"), mac(7));
    settle(&mut r, &mut m);
    assert_eq!(m.via("10.0.1.7/32"), ["10.0.1.7 on 1"]);
    assert_eq!(m.adjs.values().next().unwrap().mac, Some(mac(7)));
    assert!(
        r.take_wants().is_empty(),
        "a neighbour's own route does not keep it"
    );
    r.set_static(
        VrfId::GLOBAL,
        net("10.0.1.0/28"),
        paths(&[via("10.0.2.2", &[])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(
        m.at("10.0.1.7/32"),
        None,
        "the static route is longer than the connected one"
    );
    assert_eq!(
        r.take_wants(),
        [Want {
            iface: IfaceId(2),
            address: ip("10.0.2.2"),
            wanted: true
        }]
    );
    r.set_static(VrfId::GLOBAL, net("10.0.1.0/28"), None);
    settle(&mut r, &mut m);
    assert_eq!(m.via("10.0.1.7/32"), ["10.0.1.7 on 1"]);
    r.neighbor_lost(IfaceId(1), ip("10.0.1.7"));
    settle(&mut r, &mut m);
    assert_eq!(m.at("10.0.1.7/32"), None);
    assert!(m.adjs.is_empty());
    assert_eq!(
        r.take_wants(),
        [Want {
            iface: IfaceId(2),
            address: ip("10.0.2.2"),
            wanted: false
        }]
    );
}

#[test]
fn neighbour_completes_the_adjacency_in_place() {
    let (mut r, mut m) = two();
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("10.0.1.2", &[])]),
    );
    settle(&mut r, &mut m);
    let id = r.adjacency(IfaceId(1), ip("10.0.1.2")).unwrap();
    assert_eq!(m.adjs[&id].mac, None);
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(2));
    settle(&mut r, &mut m);
    assert_eq!(r.adjacency(IfaceId(1), ip("10.0.1.2")), Some(id));
    assert_eq!(m.adjs[&id].mac, Some(mac(2)));
    let mut moved = iface(1, true, &["10.0.1.1/24", "2001:db8:1::1/64"]);
    moved.mtu = 9000;
    r.set_interface(IfaceId(1), moved);
    settle(&mut r, &mut m);
    assert_eq!((m.adjs[&id].mtu, m.adjs[&id].mac), (9000, Some(mac(2))));
    r.neighbor_lost(IfaceId(1), ip("10.0.1.2"));
    settle(&mut r, &mut m);
    assert_eq!(m.adjs[&id].mac, None);
}

#[test]
fn labels_follow_their_next_hops() {
    let (mut r, mut m) = two();
    let label = |n| Label::new(n).unwrap();
    let forward = |p: PathSpec| LabelSpec {
        action: LabelAction::Forward(paths(&[p]).unwrap()),
        ttl: TtlMode::Pipe,
    };
    r.set_label(label(300), Some(forward(via("10.0.1.2", &[400, 401]))));
    r.set_label(label(301), Some(forward(via("10.0.1.2", &[3]))));
    r.set_label(
        label(302),
        Some(LabelSpec {
            action: LabelAction::PopLookup(VrfId::GLOBAL),
            ttl: TtlMode::Uniform,
        }),
    );
    r.set_label(label(303), None);
    settle(&mut r, &mut m);
    let group = |m: &Mirror, n| match m.labels[&label(n)] {
        OutLabel::Forward(g, TtlMode::Pipe) => m.content(g),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        group(&m, 300),
        [("10.0.1.2 on 1".to_owned(), vec![400, 401], 1)]
    );
    assert_eq!(group(&m, 301), [("10.0.1.2 on 1".to_owned(), vec![], 1)]);
    assert_eq!(
        m.labels[&label(302)],
        OutLabel::PopLookup(VrfId::GLOBAL, TtlMode::Uniform)
    );
    r.set_up(IfaceId(1), false);
    settle(&mut r, &mut m);
    assert_eq!(group(&m, 300), [("Unreachable".to_owned(), vec![], 1)]);
    assert!(!r.label(label(300)).unwrap().installed);
    r.set_label(label(300), Some(forward(via("10.0.2.2", &[500]))));
    settle(&mut r, &mut m);
    assert_eq!(group(&m, 300), [("10.0.2.2 on 2".to_owned(), vec![500], 1)]);
    for n in [300, 301, 302] {
        r.set_label(label(n), None);
    }
    settle(&mut r, &mut m);
    assert!(m.labels.is_empty() && m.adjs.is_empty());
    assert_eq!(
        (r.sizes().labels, r.sizes().groups),
        (0, 4),
        "two interfaces, glean and local each"
    );
}

#[test]
fn a_full_table_is_reported_and_tried_again() {
    let (mut r, mut m) = two();
    m.room = Some((100, 8));
    for n in 0..4u8 {
        r.set_static(
            VrfId::GLOBAL,
            prefix(IpAddr::from([20, n, 0, 0]), 16),
            paths(&[via("10.0.1.2", &[])]),
        );
    }
    let mut fulls = 0;
    while r.is_dirty() {
        fulls += usize::from(r.drain(&mut m, 1).full.is_some());
    }
    assert_eq!((fulls, m.prefixes.len()), (2, 8));
    r.set_static(VrfId::GLOBAL, net("20.0.0.0/16"), None);
    r.set_static(VrfId::GLOBAL, net("20.1.0.0/16"), None);
    while r.is_dirty() {
        r.drain(&mut m, 1);
    }
    assert_eq!(m.via("20.3.0.0/16"), ["10.0.1.2 on 1"]);
}

#[test]
fn full_groups_leave_routes_out_until_there_is_room() {
    let (mut r, mut m) = two();
    m.room = Some((m.groups.len(), 100));
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/8"),
        paths(&[via("10.0.1.2", &[])]),
    );
    settle(&mut r, &mut m);
    assert_eq!(m.at("20.0.0.0/8"), None);
    assert!(
        m.adjs.is_empty(),
        "what was held for the group is given back"
    );
    r.set_interface(IfaceId(2), iface(2, true, &[]));
    settle(&mut r, &mut m);
    assert_eq!(m.via("20.0.0.0/8"), ["10.0.1.2 on 1"]);
}

#[test]
fn what_stands_on_a_route_of_bgp_follows_the_default_rule() {
    let (mut r, mut m) = two();
    r.set_static(
        VrfId::GLOBAL,
        net("0.0.0.0/0"),
        paths(&[via("10.0.1.2", &[])]),
    );
    // Without BGP's route it stands on itself.
    r.set_static(
        VrfId::GLOBAL,
        net("20.0.0.0/7"),
        paths(&[via("20.0.0.1", &[])]),
    );
    let hops = r.bgp_paths(&[followed(ip("9.9.9.9"))]);
    r.set_bgp(net("20.0.0.0/8"), Some((Source::Ebgp, hops)));
    for by_default in [true, false, true] {
        r.set_next_hop_by_default(by_default);
        settle(&mut r, &mut m);
        for p in ["20.0.0.0/8", "20.0.0.0/7"] {
            assert_eq!(m.at(p).is_some(), by_default, "{p}");
        }
    }
}

#[test]
fn single_changes_overtake_great_ones() {
    let (mut r, mut m) = two();
    for n in 0..=255u8 {
        r.set_static(
            VrfId::GLOBAL,
            prefix(IpAddr::from([20, n, 0, 0]), 16),
            paths(&[via("10.0.1.2", &[])]),
        );
    }
    r.drain(&mut m, 10);
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(2));
    r.drain(&mut m, 5);
    assert!(m.at("10.0.1.2/32").is_some());
    assert!(m.prefixes.len() < 30);
}

// ---- the obvious RIB ----

/// Where to, with which labels, and whether as a backup.
type Found = (Target, Vec<u32>, bool, bool);

/// One thing that happens to the RIB.
#[derive(Clone, Debug)]
enum Event {
    Static(IpNet, Option<PathsSpec>),
    Up(u16, bool),
    Addresses(u16, Vec<IpNet>),
    Gone(u16),
    Neighbor(u16, IpAddr, bool),
    Bgp(IpNet, Option<(Source, Vec<IpAddr>)>),
    ByDefault(bool),
    Label(u32, Option<Vec<PathSpec>>),
    Drain(usize),
}

/// Everything by list, everything anew each time.
#[derive(Default)]
struct Obvious {
    ifaces: BTreeMap<u16, (bool, Vec<IpNet>)>,
    statics: BTreeMap<IpNet, PathsSpec>,
    neighbors: BTreeSet<(u16, IpAddr)>,
    bgp: BTreeMap<IpNet, (Source, Vec<IpAddr>)>,
    by_default: bool,
}

impl Obvious {
    fn handle(&mut self, e: &Event) {
        match e {
            Event::Static(p, Some(s)) => drop(self.statics.insert(*p, s.clone())),
            Event::Static(p, None) => drop(self.statics.remove(p)),
            Event::Up(i, up) => {
                if let Some(x) = self.ifaces.get_mut(i) {
                    x.0 = *up;
                }
            }
            Event::Addresses(i, a) => drop(self.ifaces.insert(*i, (true, a.clone()))),
            Event::Gone(i) => {
                self.ifaces.remove(i);
                self.neighbors.retain(|n| n.0 != *i);
            }
            Event::Neighbor(i, a, true) => drop(self.neighbors.insert((*i, *a))),
            Event::Neighbor(i, a, false) => drop(self.neighbors.remove(&(*i, *a))),
            Event::Bgp(p, Some(r)) => drop(self.bgp.insert(*p, r.clone())),
            Event::Bgp(p, None) => drop(self.bgp.remove(p)),
            Event::ByDefault(yes) => self.by_default = *yes,
            Event::Drain(_) | Event::Label(..) => {}
        }
    }

    /// Every route, without neighbours: prefix, preference, paths.
    fn routes(&self) -> Vec<(IpNet, Source, Vec<PathSpec>)> {
        let mut v = Vec::new();
        for (i, (_, addresses)) in &self.ifaces {
            for a in addresses {
                let id = IfaceId(*i);
                v.push((
                    host(a.addr()),
                    Source::Local,
                    vec![PathSpec::new(Hop::Local(id))],
                ));
                if a.prefix_len() != a.max_prefix_len() {
                    v.push((
                        a.trunc(),
                        Source::Connected,
                        vec![PathSpec::new(Hop::Dev(id))],
                    ));
                }
            }
        }
        v.extend(
            self.statics
                .iter()
                .map(|(p, s)| (*p, Source::Static, s.paths.clone())),
        );
        let by_default = self.by_default;
        let hop = |a: &IpAddr| {
            PathSpec::new(Hop::Bgp {
                address: *a,
                by_default,
                labeled: wants_label(a),
            })
        };
        v.extend((self.bgp.iter()).map(|(p, (s, hops))| (*p, *s, hops.iter().map(hop).collect())));
        v.sort_by_key(|(p, s, _)| (*p, *s));
        v
    }

    fn up(&self, i: IfaceId) -> bool {
        self.ifaces.get(&i.0).is_some_and(|x| x.0)
    }

    /// What a list of paths comes down to, unweighted: target, labels, whether it is a backup, whether labels below those get where
    /// it leads.
    fn resolve(&self, paths: &[PathSpec], seen: &[(IpNet, bool)]) -> BTreeSet<Found> {
        let mut out = BTreeSet::new();
        for p in paths {
            let own: Vec<u32> = p
                .labels
                .iter()
                .map(|l| l.get())
                .filter(|l| *l != 3)
                .collect();
            let below: BTreeSet<Found> = match p.hop {
                Hop::Dev(i) if self.up(i) => [(Target::Glean(i), vec![], false, true)].into(),
                Hop::Local(i) if self.up(i) => [(Target::Local(i), vec![], false, true)].into(),
                Hop::Via {
                    address,
                    dev: Some(i),
                } if self.up(i) => [(Target::Neighbor(i, address), vec![], false, true)].into(),
                Hop::Via { address, dev: None } => {
                    self.follow(address, seen, (true, !own.is_empty()))
                }
                Hop::Bgp {
                    address,
                    by_default,
                    labeled,
                } => self.follow(address, seen, (by_default, labeled)),
                Hop::Discard(d) => [(Target::Discard(d), vec![], false, true)].into(),
                _ => BTreeSet::new(),
            };
            for (t, outer, backup, lsp) in below {
                let labels = if matches!(t, Target::Discard(_)) {
                    outer
                } else {
                    [outer, own.clone()].concat()
                };
                if labels.len() <= 8 {
                    let lsp = lsp && !p.labels.is_empty() || matches!(t, Target::Discard(_));
                    out.insert((t, labels, backup || p.backup, lsp));
                }
            }
        }
        out
    }

    /// Also by default, and only by LSPs?
    fn follow(
        &self,
        address: IpAddr,
        seen: &[(IpNet, bool)],
        (by_default, labeled): (bool, bool),
    ) -> BTreeSet<Found> {
        let routes = self.routes();
        let mut around: Vec<_> = routes.iter().filter(|r| r.0.contains(&address)).collect();
        around.sort_by_key(|r| (std::cmp::Reverse(r.0.prefix_len()), r.1));
        let connected = around.iter().any(|r| r.1 == Source::Connected);
        let mut prefixes: Vec<IpNet> = around.iter().map(|r| r.0).collect();
        prefixes.dedup();
        for longest in prefixes {
            let here: Vec<_> = around.iter().filter(|r| r.0 == longest).collect();
            let of_bgp = here[0].1.is_bgp();
            if longest.prefix_len() == 0 && !by_default || seen.len() >= 8 {
                return BTreeSet::new();
            }
            let deep = seen.iter().filter(|s| s.1).count() >= 2;
            let looped = seen.iter().any(|s| s.0 == longest);
            if of_bgp && (connected || looped || deep) {
                continue;
            }
            if looped {
                return BTreeSet::new();
            }
            let seen = [seen, &[(longest, of_bgp)]].concat();
            let found = self.first(address, &here, &seen, labeled);
            if !of_bgp || !found.is_empty() {
                return found;
            }
        }
        BTreeSet::new()
    }

    fn first(
        &self,
        address: IpAddr,
        routes: &[&&(IpNet, Source, Vec<PathSpec>)],
        seen: &[(IpNet, bool)],
        labeled: bool,
    ) -> BTreeSet<Found> {
        for (_, source, paths) in routes {
            if *source == Source::Local {
                return BTreeSet::new();
            }
            let found = self.resolve(paths, seen);
            let on_link = |(t, l, b, lsp): Found| match t {
                Target::Glean(i) => (Target::Neighbor(i, address), l, b, true),
                Target::Neighbor(_, a) if a == address && l.is_empty() => (t, l, b, true),
                t => (t, l, b, lsp),
            };
            let found = found.into_iter().map(on_link);
            let found: BTreeSet<Found> = found.filter(|f| f.3 || !labeled).collect();
            if !found.is_empty() {
                return found;
            }
        }
        BTreeSet::new()
    }

    /// What frames find at each prefix.
    fn fib(&self) -> BTreeMap<IpNet, BTreeSet<(String, Vec<u32>)>> {
        let name = |t: Target, backup: bool| {
            let to = match t {
                Target::Neighbor(i, a) => format!("{a} on {}", i.0),
                Target::Glean(i) => format!("glean {}", i.0),
                Target::Local(i) => format!("local {}", i.0),
                Target::Discard(d) => format!("{d:?}"),
            };
            format!("{}{to}", if backup { "backup " } else { "" })
        };
        let mut out: BTreeMap<IpNet, BTreeSet<(String, Vec<u32>)>> = BTreeMap::new();
        for (p, _, paths) in self.routes() {
            let found = self.resolve(&paths, &[]);
            if !found.is_empty() {
                out.entry(p).or_insert_with(|| {
                    found
                        .into_iter()
                        .map(|(t, l, b, _)| (name(t, b), l))
                        .collect()
                });
            }
        }
        for (i, a) in &self.neighbors {
            let target = Target::Neighbor(IfaceId(*i), *a);
            let reached = self.follow(*a, &[], (true, false));
            if reached.iter().any(|r| r.0 == target && r.1.is_empty()) {
                out.entry(host(*a))
                    .or_insert_with(|| [(name(target, false), vec![])].into());
            }
        }
        out
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    (0u8..4, 0u8..4).prop_map(|(a, b)| IpAddr::from([10, 0, a, b]))
}

fn path() -> impl Strategy<Value = PathSpec> {
    let hop = prop_oneof![
        6 => address().prop_map(|address| Hop::Via { address, dev: None }),
        1 => (address(), 1u16..4).prop_map(|(address, i)| Hop::Via { address, dev: Some(IfaceId(i)) }),
        1 => (1u16..4).prop_map(|i| Hop::Dev(IfaceId(i))),
        1 => Just(Hop::Discard(Discard::Blackhole)),
    ];
    let labels = proptest::collection::vec(0u32..5, 0..4);
    let backup = proptest::bool::weighted(0.2);
    (hop, labels, backup).prop_map(|(hop, l, backup)| PathSpec {
        hop,
        weight: 1,
        labels: l.into_iter().filter_map(Label::new).collect(),
        backup,
        vrf: VrfId::GLOBAL,
        entropy: false,
    })
}

fn event() -> impl Strategy<Value = Event> {
    let p = || {
        (
            address(),
            prop_oneof![Just(0u8), Just(8), Just(23), Just(24), Just(31), Just(32)],
        )
            .prop_map(|(a, l)| prefix(a, l))
    };
    let source = prop_oneof![Just(Source::Ebgp), Just(Source::Ibgp)];
    let hops = proptest::collection::btree_set(address(), 1..3);
    let bgp = proptest::option::weighted(
        0.8,
        (source, hops).prop_map(|(s, h)| (s, h.into_iter().collect())),
    );
    let spec = proptest::option::weighted(
        0.75,
        proptest::collection::vec(path(), 1..3).prop_map(|paths| PathsSpec {
            paths,
            ttl: TtlMode::Uniform,
        }),
    );
    let label = proptest::option::weighted(0.75, proptest::collection::vec(path(), 1..3));
    let with_len = (
        address(),
        prop_oneof![Just(23u8), Just(24), Just(31), Just(32)],
    )
        .prop_map(|(a, l)| IpNet::new(a, l).unwrap());
    prop_oneof![
        8 => (p(), spec).prop_map(|(p, s)| Event::Static(p, s)),
        8 => (p(), bgp).prop_map(|(p, r)| Event::Bgp(p, r)),
        1 => any::<bool>().prop_map(Event::ByDefault),
        3 => (1u16..4, any::<bool>()).prop_map(|(i, up)| Event::Up(i, up)),
        3 => (1u16..4, proptest::collection::vec(with_len, 0..3)).prop_map(|(i, a)| Event::Addresses(i, a)),
        1 => (1u16..4).prop_map(Event::Gone),
        4 => (1u16..4, address(), any::<bool>()).prop_map(|(i, a, up)| Event::Neighbor(i, a, up)),
        4 => (0usize..8).prop_map(Event::Drain),
        2 => (100u32..104, label).prop_map(|(l, s)| Event::Label(l, s)),
    ]
}

fn followed(address: IpAddr) -> FollowedHop {
    FollowedHop {
        address,
        dev: None,
        vrf: VrfId::GLOBAL,
        labeled: wants_label(&address),
    }
}

/// Some are those of routes with labels.
fn wants_label(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V4(a) if a.octets()[2] == 3)
}

fn is_even(hop: &FollowedHop) -> bool {
    matches!(hop.address, IpAddr::V4(a) if a.to_bits() % 2 == 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn equals_the_obvious_rib(events in proptest::collection::vec(event(), 1..60)) {
        let (mut rib, mut mirror, mut obvious) = (Rib::new(), Mirror::default(), Obvious::default());
        let mut told = BTreeMap::new();
        let mut labels = BTreeSet::new();
        for e in &events {
            // Who waits for that tells neighbours of labels then.
            if rib.labels_waiting() == 0 {
                prop_assert!(mirror.labels.keys().eq(&labels), "{:?}", mirror.labels);
            }
            // Neighbours are learned on interfaces that are there; addresses come as a set.
            let mut e = e.clone();
            match &mut e {
                Event::Neighbor(i, ..) if !obvious.ifaces.contains_key(i) => continue,
                Event::Addresses(_, a) => {
                    a.sort();
                    a.dedup_by_key(|a| a.addr());
                }
                _ => {}
            }
            obvious.handle(&e);
            match e {
                Event::Static(p, s) => rib.set_static(VrfId::GLOBAL, p, s),
                Event::Up(i, up) => rib.set_up(IfaceId(i), up),
                Event::Addresses(i, addresses) => {
                    rib.set_interface(IfaceId(i), IfaceSpec { addresses, ..iface(i, true, &[]) });
                }
                Event::Gone(i) => rib.remove_interface(IfaceId(i)),
                Event::Neighbor(i, a, true) => rib.neighbor(IfaceId(i), a, mac(i as u8)),
                Event::Neighbor(i, a, false) => rib.neighbor_lost(IfaceId(i), a),
                Event::Bgp(p, route) => {
                    let route = route.map(|(s, hops)| {
                        // Every second one is followed, as all are that BGP has.
                        let hops: Vec<_> = hops.into_iter().map(followed).collect();
                        hops.iter().filter(|h| is_even(h)).for_each(|h| rib.follow(*h));
                        (s, rib.bgp_paths(&hops))
                    });
                    rib.set_bgp(p, route);
                }
                Event::ByDefault(yes) => rib.set_next_hop_by_default(yes),
                Event::Label(l, paths) => {
                    let label = Label::new(l).unwrap();
                    let ttl = TtlMode::Uniform;
                    let spec = paths.map(|paths| LabelSpec {
                        action: LabelAction::Forward(PathsSpec { paths, ttl }),
                        ttl,
                    });
                    match spec {
                        Some(_) => labels.insert(label),
                        None => labels.remove(&label),
                    };
                    rib.set_label(label, spec);
                }
                Event::Drain(n) => {
                    rib.drain(&mut mirror, n);
                    told.extend(rib.take_followed());
                }
            }
        }
        settle(&mut rib, &mut mirror);
        told.extend(rib.take_followed());
        for (hop, metric) in &told {
            let ask = (obvious.by_default, hop.labeled);
            let found = obvious.follow(hop.address, &[], ask);
            prop_assert_eq!(metric.is_some(), !found.is_empty(), "{:?}", hop);
        }
        let found: BTreeMap<_, BTreeSet<_>> = mirror
            .all()
            .into_iter()
            .map(|(p, v)| (p, v.into_iter().map(|(t, l, _)| (t, l)).collect()))
            .collect();
        prop_assert_eq!(found, obvious.fib());

        // Everything goes again, and nothing is left behind.
        for p in obvious.statics.keys() {
            rib.set_static(VrfId::GLOBAL, *p, None);
        }
        for p in obvious.bgp.keys() {
            rib.set_bgp(*p, None);
        }
        for hop in told.keys() {
            rib.unfollow(*hop);
        }
        for label in &labels {
            rib.set_label(*label, None);
        }
        for i in obvious.ifaces.keys() {
            rib.remove_interface(IfaceId(*i));
        }
        settle(&mut rib, &mut mirror);
        prop_assert_eq!(rib.labels_waiting(), 0);
        prop_assert!(mirror.labels.is_empty());
        prop_assert!(mirror.prefixes.is_empty() && mirror.groups.is_empty() && mirror.adjs.is_empty());
        prop_assert_eq!(rib.sizes(), Sizes::default());
        let mut wanted = BTreeMap::new();
        for w in rib.take_wants() {
            *wanted.entry((w.iface, w.address)).or_insert(0) += if w.wanted { 1 } else { -1 };
        }
        prop_assert!(wanted.values().all(|n| *n == 0));
    }
}
