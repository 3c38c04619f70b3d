//! The RIB over the forwarding tables themselves: what a lost link writes, and what flows find meanwhile.

use super::*;
use crate::rib::fib::FibSink;
use ::fib::{FibBatch, FibWriter, TcMode};
use net::Ip4Prefix;

/// The tables, with what is written into them counted.
struct Counted<'a> {
    sink: FibSink<'a>,
    writes: Writes,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Writes {
    groups: usize,
    prefixes: usize,
}

impl Sink for Counted<'_> {
    fn add_group(&mut self, paths: &[OutPath]) -> Result<GroupId, Full> {
        self.writes.groups += 1;
        self.sink.add_group(paths)
    }
    fn replace_group(&mut self, id: GroupId, paths: &[OutPath]) -> Result<(), Full> {
        self.writes.groups += 1;
        self.sink.replace_group(id, paths)
    }
    fn remove_group(&mut self, id: GroupId) {
        self.sink.remove_group(id);
    }
    fn add_adjacency(&mut self, adj: &sink::OutAdjacency) -> Result<AdjId, Full> {
        self.sink.add_adjacency(adj)
    }
    fn replace_adjacency(&mut self, id: AdjId, adj: &sink::OutAdjacency) {
        self.sink.replace_adjacency(id, adj);
    }
    fn remove_adjacency(&mut self, id: AdjId) {
        self.sink.remove_adjacency(id);
    }
    fn apply(&mut self, changes: &[Change]) -> Result<(), Full> {
        let prefix = |c: &&Change| !matches!(c, Change::SetLabel(..) | Change::DelLabel(_));
        self.writes.prefixes += changes.iter().filter(prefix).count();
        self.sink.apply(changes)
    }
    fn flush(&mut self) {
        self.sink.flush();
    }
}

/// Drains, and returns what was written.
fn drain(r: &mut Rib, w: &mut FibWriter) -> Writes {
    let mut batch = FibBatch::new();
    let mut counted = Counted {
        sink: FibSink::new(w, &mut batch, TcMode::Dscp),
        writes: Writes::default(),
    };
    while r.drain(&mut counted, 1024).more {}
    counted.writes
}

/// Where flows to an address leave.
fn ways(w: &mut FibWriter, address: u32) -> BTreeSet<String> {
    ways_in(w, VrfId::GLOBAL, address)
}

/// The same in a VRF; with the labels that they get, if any.
fn ways_in(w: &mut FibWriter, vrf: VrfId, address: u32) -> BTreeSet<String> {
    let tables = w.replica(0);
    let domain = std::sync::Arc::clone(w.rcu().domain());
    let reader = domain.register("test");
    let view = tables.read(&reader);
    let Some(group) = view.group(view.lookup4_in(vrf, address)) else {
        return BTreeSet::new();
    };
    let way = |hash| {
        let path = group.select(hash);
        let labels = path.push.iter().map(|l| format!(" {}", l.get()));
        let to = match path.target {
            ::fib::Target::Adjacency(id) => view.adj(id).unwrap().next_hop.to_string(),
            other => format!("{other:?}"),
        };
        to + &labels.collect::<String>()
    };
    (0..4096).map(way).collect()
}

fn set(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|s| (*s).to_owned()).collect()
}

const NEIGHBOURS: [(u16, &str); 3] = [(1, "10.0.1.2"), (1, "10.0.1.3"), (2, "10.0.2.2")];

/// `n` prefixes by 10.0.1.2 and 10.0.1.3 with 10.0.2.2 behind them, and `n` more by a next hop that these lead to.
fn tables(n: u32) -> (Rib, FibWriter) {
    let mut w = FibWriter::new(&[], &::fib::Domain::new()).unwrap();
    let mut r = Rib::new();
    r.set_interface(IfaceId(1), iface(1, true, &["10.0.1.1/24"]));
    r.set_interface(IfaceId(2), iface(2, true, &["10.0.2.1/24"]));
    let hops = [
        via("10.0.1.2", &[]),
        via("10.0.1.3", &[]),
        behind("10.0.2.2"),
    ];
    for i in 0..n {
        let p = |first: u32| prefix(IpAddr::from((first + (i << 8)).to_be_bytes()), 24);
        r.set_static(VrfId::GLOBAL, p(NEAR), paths(&hops));
        r.set_static(VrfId::GLOBAL, p(FAR), paths(&[via("20.0.0.9", &[])]));
    }
    for (i, a) in NEIGHBOURS {
        r.neighbor(IfaceId(i), ip(a), mac(9));
    }
    drain(&mut r, &mut w);
    (r, w)
}

/// The first of the prefixes with the paths, and of those by a next hop within them.
const NEAR: u32 = 0x1400_0000;
const FAR: u32 = 0x2800_0000;

/// What a lost link writes: groups at once, then groups and prefixes by the RIB, then by the RIB when it is back.
fn lost_link(n: u32) -> (usize, Writes, Writes) {
    let (mut r, mut w) = tables(n);
    let last = (n - 1) << 8;
    let all = [NEAR, NEAR + last, FAR, FAR + last];
    let primaries = set(&["10.0.1.2", "10.0.1.3"]);
    let backup = set(&["10.0.2.2"]);
    assert!(all.iter().all(|a| ways(&mut w, *a) == primaries));
    let at_once = w.interface_down(IfaceId(1));
    assert!(all.iter().all(|a| ways(&mut w, *a) == backup), "at once");
    r.set_up(IfaceId(1), false);
    for (_, a) in NEIGHBOURS.iter().filter(|n| n.0 == 1) {
        r.neighbor_lost(IfaceId(1), ip(a));
    }
    let down = drain(&mut r, &mut w);
    assert!(all.iter().all(|a| ways(&mut w, *a) == backup), "then");
    w.interface_up(IfaceId(1));
    r.set_up(IfaceId(1), true);
    let up = drain(&mut r, &mut w);
    assert!(
        all.iter().all(|a| ways(&mut w, *a) == backup),
        "until a neighbour is found"
    );
    r.neighbor(IfaceId(1), ip("10.0.1.3"), mac(9));
    drain(&mut r, &mut w);
    assert_eq!(ways(&mut w, NEAR), set(&["10.0.1.3"]));
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(9));
    drain(&mut r, &mut w);
    assert!(all.iter().all(|a| ways(&mut w, *a) == primaries), "again");
    (at_once, down, up)
}

/// The same writes for ten prefixes as for 100,000 (twice as many here). Prefixes are those that the interface itself has:
/// its subnet, its address, its two neighbours.
#[test]
fn a_lost_link_costs_the_same_for_any_number_of_prefixes() {
    let few = lost_link(10);
    assert_eq!(few, lost_link(100_000));
    let (at_once, down, up) = few;
    assert_eq!((at_once, down.prefixes, up.prefixes), (2, 4, 2), "{few:?}");
}

#[test]
fn a_lost_neighbour_moves_its_flows() {
    let (mut r, mut w) = tables(1);
    let lose = |r: &mut Rib, a: &str| r.neighbor_lost(IfaceId(1), ip(a));
    lose(&mut r, "10.0.1.2");
    let first = drain(&mut r, &mut w);
    assert_eq!(ways(&mut w, NEAR), set(&["10.0.1.3"]));
    assert_eq!((first.groups, first.prefixes), (0, 1), "its own route only");
    lose(&mut r, "10.0.1.3");
    drain(&mut r, &mut w);
    assert_eq!(ways(&mut w, FAR), set(&["10.0.2.2"]));
    let view = r
        .routes_at(VrfId::GLOBAL, net("20.0.0.0/24"))
        .next()
        .unwrap();
    assert!(view.installed);
    assert_eq!(view.active, [false, false, true]);
    r.neighbor(IfaceId(1), ip("10.0.1.2"), mac(9));
    drain(&mut r, &mut w);
    assert_eq!(ways(&mut w, FAR), set(&["10.0.1.2"]));
    let view = r
        .routes_at(VrfId::GLOBAL, net("20.0.0.0/24"))
        .next()
        .unwrap();
    assert_eq!(view.active, [true, false, false]);
    // When nobody is there, the first choice is asked for.
    r.neighbor_lost(IfaceId(2), ip("10.0.2.2"));
    lose(&mut r, "10.0.1.2");
    drain(&mut r, &mut w);
    assert_eq!(ways(&mut w, NEAR), set(&["10.0.1.2", "10.0.1.3"]));
    let view = r
        .routes_at(VrfId::GLOBAL, net("20.0.0.0/24"))
        .next()
        .unwrap();
    assert_eq!(view.active, [true, true, false]);
}

const BLUE: VrfId = VrfId(4);

/// Another PE.
fn edge(n: u8) -> FollowedHop {
    FollowedHop {
        address: IpAddr::from([192, 0, 2, n]),
        dev: None,
        vrf: VrfId::GLOBAL,
        labeled: false,
    }
}

/// A VPN of `n` prefixes, by two PEs behind two links; each prefix by the first of these, and by the others if it fails.
struct Vpn {
    r: Rib,
    w: FibWriter,
    n: u32,
}

impl Vpn {
    fn new(n: u32) -> Self {
        let w = FibWriter::new(&[], &::fib::Domain::new()).unwrap();
        let mut vpn = Self {
            r: Rib::new(),
            w,
            n,
        };
        let r = &mut vpn.r;
        r.set_interface(IfaceId(1), iface(1, true, &["10.0.1.1/24"]));
        r.set_interface(IfaceId(2), iface(2, true, &["10.0.2.1/24"]));
        for link in [1, 2] {
            r.neighbor(IfaceId(link), ip(&format!("10.0.{link}.2")), mac(9));
            r.follow(edge(link as u8));
        }
        vpn.reach(1, true);
        vpn.reach(2, true);
        vpn.choose(&[1, 2]);
        drain(&mut vpn.r, &mut vpn.w);
        vpn
    }

    /// Is there a way to a PE?
    fn reach(&mut self, pe: u8, there: bool) {
        let via = via(&format!("10.0.{pe}.2"), &[16 + u32::from(pe)]);
        let p = prefix(edge(pe).address, 32);
        self.r
            .set_static(VrfId::GLOBAL, p, there.then(|| paths(&[via])).flatten());
    }

    /// What BGP says of every prefix.
    fn choose(&mut self, pes: &[u8]) {
        let one = |(i, pe): (usize, &u8)| LabeledHop {
            hop: edge(*pe),
            labels: [Label::new(100 + u32::from(*pe)).unwrap()]
                .into_iter()
                .collect(),
            backup: i > 0,
        };
        let hops: Vec<_> = pes.iter().enumerate().map(one).collect();
        let spec = self.r.labeled_paths(&hops, TtlMode::Uniform);
        let set = self.r.paths(&spec);
        for i in 0..self.n {
            let p = prefix(IpAddr::from((NEAR + (i << 8)).to_be_bytes()), 24);
            self.r.set_bgp_in(BLUE, p, Some((Source::Ibgp, set)));
        }
    }

    /// Whether the first and the last prefix go that way alone.
    fn goes(&mut self, way: &str) -> bool {
        let last = NEAR + ((self.n - 1) << 8);
        [NEAR, last]
            .iter()
            .all(|a| ways_in(&mut self.w, BLUE, *a) == set(&[way]))
    }

    /// BGP takes the second PE for every prefix, or the first with the second behind it: no packet misses its way.
    fn converge(&mut self, pes: &[u8], way: &str) {
        self.choose(pes);
        let mut batch = FibBatch::new();
        loop {
            let mut sink = FibSink::new(&mut self.w, &mut batch, TcMode::Dscp);
            let more = self.r.drain(&mut sink, 7).more;
            assert!(self.goes(way), "while BGP converges");
            if !more {
                return;
            }
        }
    }
}

const FIRST: &str = "10.0.1.2 17 101";
const SECOND: &str = "10.0.2.2 18 102";

/// What is written when the link to the first PE is lost, and when no route leads to it any more.
fn lost_edge(n: u32) -> (usize, Writes, Writes) {
    let mut vpn = Vpn::new(n);
    assert!(vpn.goes(FIRST));
    let at_once = vpn.w.interface_down(IfaceId(1));
    assert!(vpn.goes(SECOND), "at once");
    vpn.r.set_up(IfaceId(1), false);
    let link = drain(&mut vpn.r, &mut vpn.w);
    assert!(vpn.goes(SECOND), "then");
    assert_eq!(vpn.r.take_followed().get(&edge(1)), Some(&None));
    vpn.converge(&[2], SECOND);
    vpn.w.interface_up(IfaceId(1));
    vpn.r.set_up(IfaceId(1), true);
    drain(&mut vpn.r, &mut vpn.w);
    vpn.choose(&[1, 2]);
    drain(&mut vpn.r, &mut vpn.w);
    assert!(vpn.goes(FIRST), "again");

    vpn.reach(1, false);
    let route = drain(&mut vpn.r, &mut vpn.w);
    assert!(vpn.goes(SECOND), "no route leads there");
    let view = vpn.r.routes_at(BLUE, net("20.0.0.0/24")).next().unwrap();
    assert!(view.installed);
    assert_eq!(view.active, [false, true]);
    vpn.converge(&[2], SECOND);
    vpn.reach(1, true);
    drain(&mut vpn.r, &mut vpn.w);
    vpn.converge(&[2, 1], SECOND);
    vpn.r.neighbor_lost(IfaceId(2), ip("10.0.2.2"));
    drain(&mut vpn.r, &mut vpn.w);
    assert!(vpn.goes(FIRST), "a neighbour does not answer");
    (at_once, link, route)
}

/// One group at once, whatever hangs on it; the RIB writes what the interface itself has, and the routes to the PE.
#[test]
fn a_lost_edge_costs_the_same_for_a_vpn_of_any_size() {
    let few = lost_edge(10);
    assert_eq!(few, lost_edge(20_000));
    let (at_once, link, route) = few;
    assert_eq!(
        (at_once, link.prefixes, route.prefixes),
        (1, 4, 1),
        "{few:?}"
    );
}

#[test]
fn a_backup_with_labels_and_weights() {
    let (mut r, mut w) = tables(1);
    let more = PathSpec {
        weight: 3,
        ..behind("10.0.2.3")
    };
    let hops = [via("10.0.1.2", &[100]), behind("10.0.2.2"), more];
    r.set_static(VrfId::GLOBAL, net("30.0.0.0/24"), paths(&hops));
    r.neighbor(IfaceId(2), ip("10.0.2.3"), mac(8));
    drain(&mut r, &mut w);
    assert_eq!(ways(&mut w, 0x1e00_0000), set(&["10.0.1.2 100"]));
    w.interface_down(IfaceId(1));
    assert_eq!(ways(&mut w, 0x1e00_0000), set(&["10.0.2.2", "10.0.2.3"]));
    let group = w.get4(Ip4Prefix::new(0x1e00_0000, 24).unwrap()).unwrap();
    let shares: Vec<usize> = w
        .group(group)
        .unwrap()
        .shares()
        .iter()
        .map(|s| s.1)
        .collect();
    assert_eq!(shares, [16, 48]);
}

/// A full table by one drain after another. `cargo test -p trunkline --release --lib full_table -- --ignored --nocapture`
/// prints how long it takes.
#[test]
#[ignore = "prints a measurement, and checks nothing"]
fn a_full_table_is_loaded() {
    for budget in [1024, 16_384] {
        let mut w = FibWriter::new(&[], &::fib::Domain::new()).unwrap();
        let mut r = Rib::new();
        r.set_interface(IfaceId(1), iface(1, true, &["10.0.1.1/24"]));
        drain(&mut r, &mut w);
        let hops: Vec<_> = (2..66u8)
            .map(|n| paths(&[via(&format!("10.0.1.{n}"), &[])]))
            .collect();
        let start = std::time::Instant::now();
        for i in 0..1_170_000u32 {
            let p = IpAddr::from((0x1400_0000 + (i << 8)).to_be_bytes());
            r.set_static(VrfId::GLOBAL, prefix(p, 24), hops[i as usize % 64].clone());
        }
        let set = start.elapsed();
        let (mut slices, mut longest) = (0, std::time::Duration::ZERO);
        let mut batch = FibBatch::new();
        let mut sink = FibSink::new(&mut w, &mut batch, TcMode::Dscp);
        loop {
            let before = std::time::Instant::now();
            let more = r.drain(&mut sink, budget).more;
            longest = longest.max(before.elapsed());
            slices += 1;
            if !more {
                break;
            }
        }
        let all = start.elapsed();
        println!(
            "1,170,000 routes: {set:?} into the RIB, {:?} into the tables in {slices} slices of {budget}, the longest {longest:?}",
            all - set
        );
    }
}

/// A full table as BGP brings it: in no order, by 30 next hops, and gone again. As above.
#[test]
#[ignore = "prints a measurement, and checks nothing"]
fn a_full_table_of_bgp() {
    const N: u32 = 1_170_000;
    let mut w = FibWriter::new(&[], &::fib::Domain::new()).unwrap();
    let mut r = Rib::new();
    r.set_interface(IfaceId(1), iface(1, true, &["10.0.1.1/24"]));
    let hops: Vec<FollowedHop> = (2..32u8)
        .map(|n| FollowedHop {
            labeled: false,
            address: IpAddr::from([10, 0, 1, n]),
            dev: None,
            vrf: VrfId::GLOBAL,
        })
        .collect();
    hops.iter().for_each(|h| r.follow(*h));
    drain(&mut r, &mut w);
    let net = |i: u32| {
        // 2^24 / 14 steps apart and over the whole of it: every prefix comes once, none beside the one before.
        let at = (u64::from(i) * 10_369_073 % 14_680_064) as u32;
        let a = IpAddr::from(((at + (16 << 16)) << 8).to_be_bytes());
        prefix(a, 24)
    };
    let (mut setting, mut draining) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    let mut batch = FibBatch::new();
    let mut sink = FibSink::new(&mut w, &mut batch, TcMode::Dscp);
    let mut run = |r: &mut Rib, what: &str, come: bool| {
        (setting, draining) = Default::default();
        for first in (0..N).step_by(4096) {
            let start = std::time::Instant::now();
            for i in first..(first + 4096).min(N) {
                let set = r.bgp_paths(&[hops[(i / 7) as usize % hops.len()]]);
                r.set_bgp(net(i), come.then_some((Source::Ebgp, set)));
            }
            setting += start.elapsed();
            let start = std::time::Instant::now();
            while r.drain(&mut sink, 4096).more {}
            draining += start.elapsed();
        }
        println!("{N} routes {what}: {setting:?} in the RIB, {draining:?} drained into the tables");
    };
    run(&mut r, "come", true);
    run(&mut r, "stay as they are", true);
    run(&mut r, "go", false);
}
