//! What comes into which table, against an obvious version of the same; and what neighbours hear of it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::Policies;
use super::*;
use crate::attrs::{Community, ExtCommunity, Origin, SegmentKind, code, flag};
use crate::policy::{Action, NumSet, Policies as Compiled, PolicySpec, Protocol, RuleSpec, Sets};
use crate::rib::{Backups, Fate, HopEvent, Options, PeerInfo, Step, Vrf4};
use crate::rpki::{CacheId, Changes, Vrp};
use crate::speaker::tests::{World, address, config, local, neighbor, policy};
use crate::speaker::{Best, Config, Side, Use, Wanted};
use crate::types::{Asn, Label, NextHop, Relation, RouterId};

/// The global table, and that of a VRF, by number.
const G: u8 = 0;
/// Routes with it stay where they are, as one of the policies has it.
const PRIVATE: Community = Community(7);

fn net(n: u8) -> IpNet {
    format!("10.{n}.0.0/16").parse().unwrap()
}

/// Neighbour `k` of a table, and where its routes lead.
fn slot(table: u8, k: u8) -> PeerId {
    PeerId(ACROSS.0 + 1 + u16::from(table) * 4 + u16::from(k))
}

fn hop(table: u8, k: u8) -> IpAddr {
    [10, 200, table, k].into()
}

/// Takes all but what is private.
fn public() -> Arc<Policy> {
    let mut rule = RuleSpec::default();
    rule.matches.community.any = vec![PRIVATE.into()];
    rule.action = Action::Reject;
    let spec = PolicySpec {
        rules: vec![rule],
        default: true,
    };
    compiled("public", spec)
}

/// Takes all, and prefers it to what has no preference.
fn preferred() -> Arc<Policy> {
    let mut rule = RuleSpec::default();
    rule.set.local_pref = Some(NumSet::To(200));
    rule.action = Action::Accept;
    let spec = PolicySpec {
        rules: vec![rule],
        default: true,
    };
    compiled("preferred", spec)
}

fn compiled(name: &str, spec: PolicySpec) -> Arc<Policy> {
    let specs = [(name.to_owned(), spec)].into();
    let all = Compiled::compile(&specs, &Sets::default(), &Compiled::default()).unwrap();
    all.get(name).unwrap().clone()
}

/// Number `kind` of the policies: none, all, what is not private.
fn of_kind(kind: u8) -> Option<Arc<Policy>> {
    match kind {
        0 => None,
        1 => Some(policy("accept-all")),
        _ => Some(public()),
    }
}

fn vrf(n: u8, import: u8, export: u8) -> Vrf {
    Vrf {
        number: VrfNo(n.into()),
        global: Policies {
            import: of_kind(import),
            export: of_kind(export),
        },
        ..Vrf::default()
    }
}

/// By table and prefix: the next hop and the table that it is looked up in, of what is used and of what stands by.
type Way = (Option<IpAddr>, u8);
type Ways = BTreeMap<(u8, IpNet), (Way, Option<Way>)>;

#[derive(Default)]
struct Heard(Ways);

impl Heard {
    fn hear(&mut self, table: u8, net: IpNet, by: &[Use<'_>]) {
        let way = |u: &Use<'_>| (u.next_hop.map(NextHop::address), u.table.0 as u8);
        let best = by.iter().find(|u| !u.backup).map(way);
        let standby = by.iter().find(|u| u.backup).map(way);
        match best {
            None => self.0.remove(&(table, net)),
            Some(best) => self.0.insert((table, net), (best, standby)),
        };
    }
}

impl Best for Heard {
    fn best(&mut self, net: IpNet, by: &[Use<'_>]) {
        self.hear(G, net, by);
    }

    fn vrf(&mut self, vrf: VrfNo, net: IpNet, by: &[Use<'_>]) -> Option<Label> {
        self.hear(vrf.0 as u8, net, by);
        None
    }
}

struct Bed {
    s: Speaker,
    heard: Heard,
    now: Instant,
}

/// A route of a neighbour: its preference, the length of its path, and whether it is private.
#[derive(Clone, Copy, Debug)]
struct Route {
    pref: Option<u32>,
    ases: u32,
    private: bool,
}

const PLAIN: Route = Route {
    pref: None,
    ases: 1,
    private: false,
};

impl Bed {
    fn new(vrfs: Vec<Vrf>, options: Options) -> Self {
        let now = Instant::now();
        let config = Config {
            local: local(1, 64512),
            options,
            neighbors: Vec::new(),
            dynamic: Vec::new(),
        };
        let mut s = Speaker::new(config, 1, now);
        for (table, k) in (G..4).flat_map(|t| [(t, 0), (t, 1)]) {
            let info = PeerInfo {
                relation: Relation::External,
                local: false,
                leaked: false,
                client: false,
                // Those of the global table are preferred by it.
                router_id: RouterId::new([1, 0, table, 1 + k].into()).unwrap(),
                address: hop(table, k),
            };
            s.core.rib.common.peers.set(slot(table, k), info);
        }
        s.set_vrfs(vrfs);
        let heard = Heard::default();
        Self { s, heard, now }
    }

    fn announce(&mut self, (table, k, n): (u8, u8, u8), r: Route) {
        let mut b = AttrBuf::new();
        b.set_origin(Origin::Igp);
        let path: Vec<Asn> = (1..=r.ases).map(Asn).collect();
        b.set_as_path([(SegmentKind::Sequence, &path[..])]);
        if let Some(pref) = r.pref {
            b.set_local_pref(pref);
        }
        if r.private {
            let flags = flag::OPTIONAL | flag::TRANSITIVE;
            b.append(flags, code::COMMUNITIES, &PRIVATE.0.to_be_bytes());
        }
        let IpAddr::V4(a) = hop(table, k) else {
            unreachable!()
        };
        b.next_hop = Some(NextHop::V4(a));
        b.set_inner(table.into(), &[]);
        let rib = &mut self.s.core.rib;
        let id = rib.common.store.intern(b.view());
        let announce = Announce {
            peer: slot(table, k),
            path_id: 0,
            pre: id,
            post: Some(id),
            now: 0,
        };
        match table {
            G => {
                let key = V4::from_net(net(n)).unwrap();
                rib.v4.announce(&mut rib.common, key, announce);
            }
            vrf => {
                let key = Vrf4::of(VrfNo(vrf.into()), net(n)).unwrap();
                rib.vrf4.announce(&mut rib.common, key, announce);
            }
        }
        rib.common.store.release(id);
    }

    fn withdraw(&mut self, (table, k, n): (u8, u8, u8)) {
        let (rib, peer) = (&mut self.s.core.rib, slot(table, k));
        match table {
            G => {
                let key = V4::from_net(net(n)).unwrap();
                rib.v4.withdraw(&mut rib.common, peer, 0, key);
            }
            vrf => {
                let key = Vrf4::of(VrfNo(vrf.into()), net(n)).unwrap();
                rib.vrf4.withdraw(&mut rib.common, peer, 0, key);
            }
        }
    }

    fn settle(&mut self) {
        for _ in 0..2000 {
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

    /// From where to where a table's best way leads.
    fn way(&self, table: u8, n: u8) -> Option<Way> {
        self.heard.0.get(&(table, net(n))).map(|w| w.0)
    }

    /// Nothing is left, and nothing is counted still.
    fn is_empty(&self) -> bool {
        let rib = &self.s.core.rib;
        let tables = rib.v4.is_empty() && rib.vrf4.is_empty() && rib.vpn4.is_empty();
        self.heard.0.is_empty() && tables && rib.common.store.is_empty()
    }

    fn paths(&mut self, table: u8, n: u8) -> Vec<crate::speaker::PathView> {
        let (wanted, family) = (Wanted::Exactly(net(n)), Family::Ipv4Unicast);
        let vrf = VrfNo(table.into());
        let page = (self.s).routes_in(vrf, family, &wanted, &Side::Table, None, self.now);
        page.unwrap().paths
    }
}

#[test]
fn routes_go_both_ways_and_no_farther() {
    let mut b = Bed::new(vec![vrf(1, 1, 1), vrf(2, 1, 1)], Options::default());
    b.announce((G, 0, 5), PLAIN);
    b.announce((1, 0, 6), PLAIN);
    b.settle();
    let (global, one) = (Some((Some(hop(G, 0)), 0)), Some((Some(hop(1, 0)), 1)));
    assert_eq!([b.way(G, 5), b.way(1, 5), b.way(2, 5)], [global; 3]);
    assert_eq!([b.way(G, 6), b.way(1, 6)], [one; 2]);
    assert_eq!(b.way(2, 6), None, "what has leaked is not leaked again");
    assert!(b.s.core.rib.vpn4.is_empty(), "nor told as a VPN's");
    // Where they are from can be seen.
    let from = |p: Vec<crate::speaker::PathView>| p[0].leaked_from;
    assert_eq!(from(b.paths(1, 5)), Some(VrfNo(0)));
    assert_eq!(from(b.paths(G, 6)), Some(VrfNo(1)));
    assert_eq!((from(b.paths(G, 5)), from(b.paths(1, 6))), (None, None));
    b.withdraw((G, 0, 5));
    b.withdraw((1, 0, 6));
    b.settle();
    assert!(b.is_empty(), "{:?}", b.heard.0);
}

#[test]
fn what_was_learned_in_a_table_wins_over_what_is_as_good() {
    let mut b = Bed::new(vec![vrf(1, 1, 1)], Options::default());
    b.announce((G, 0, 5), PLAIN);
    b.announce((1, 0, 5), PLAIN);
    b.settle();
    let (global, one) = (Some((Some(hop(G, 0)), 0)), Some((Some(hop(1, 0)), 1)));
    assert_eq!([b.way(G, 5), b.way(1, 5)], [global, one]);
    let fates: Vec<_> = b.paths(1, 5).iter().map(|p| p.fate).collect();
    let lost = Some(Fate::Lost(Step::Learned));
    assert_eq!(fates, [Some(Fate::Best), lost]);
    // A shorter path is better, wherever it is from.
    b.announce((G, 0, 5), Route { ases: 0, ..PLAIN });
    b.settle();
    assert_eq!([b.way(G, 5), b.way(1, 5)], [global; 2]);
    b.withdraw((G, 0, 5));
    b.settle();
    assert_eq!([b.way(G, 5), b.way(1, 5)], [one; 2]);
}

/// Policies that have each table prefer what the other has: one of them gives way, and that is all.
#[test]
fn tables_that_prefer_each_other_come_to_rest() {
    for first in [G, 1] {
        let mut one = vrf(1, 0, 0);
        (one.global.import, one.global.export) = (Some(preferred()), Some(preferred()));
        let mut b = Bed::new(vec![one], Options::default());
        b.announce((first, 0, 5), PLAIN);
        b.announce((1 - first, 0, 5), PLAIN);
        b.settle();
        let (global, own) = (b.way(G, 5).unwrap(), b.way(1, 5).unwrap());
        assert_eq!(global, own, "both by the same");
        let other = |k: u8| (Some(hop(k, 0)), k);
        b.withdraw((global.1, 0, 5));
        b.settle();
        let left = Some(other(1 - global.1));
        assert_eq!([b.way(G, 5), b.way(1, 5)], [left; 2]);
        b.announce((global.1, 0, 5), PLAIN);
        b.settle();
        assert_eq!([b.way(G, 5), b.way(1, 5)], [left; 2], "who came first");
    }
}

/// Connected and static routes have no next hop: which table they are from is all that there is to tell them apart.
#[test]
fn own_routes_leak_as_those_of_their_table() {
    let mut b = Bed::new(vec![vrf(1, 1, 1), vrf(2, 1, 1)], Options::default());
    let now = b.now;
    b.s.originate_in_vrf(VrfNo(1), net(3), Protocol::Connected, None, now);
    b.s.originate_in_vrf(VrfNo(2), net(3), Protocol::Connected, None, now);
    b.s.originate(net(4), Protocol::Static, 0, None, now);
    b.settle();
    assert_eq!(b.way(G, 3), Some((None, 1)));
    assert_eq!(
        (b.way(1, 3), b.way(2, 3)),
        (Some((None, 1)), Some((None, 2)))
    );
    assert_eq!(
        (b.way(1, 4), b.way(2, 4)),
        (Some((None, 0)), Some((None, 0)))
    );
    b.s.withdraw_in_vrf(VrfNo(1), net(3));
    b.settle();
    assert_eq!(b.way(G, 3), Some((None, 2)), "the other's, and it is heard");
    b.s.originate(net(3), Protocol::Static, 0, None, now);
    b.settle();
    assert_eq!(b.way(G, 3), Some((None, 0)));
    assert_eq!(
        b.way(1, 3),
        Some((None, 0)),
        "that of VRF 2 goes no farther"
    );
    b.s.withdraw_own(net(3));
    b.s.withdraw_own(net(4));
    b.s.withdraw_in_vrf(VrfNo(2), net(3));
    b.settle();
    assert!(b.is_empty(), "{:?}", b.heard.0);
}

#[test]
fn policies_change_and_vrfs_go_while_routes_stay() {
    let mut b = Bed::new(vec![vrf(1, 1, 1)], Options::default());
    let private = Route {
        private: true,
        ..PLAIN
    };
    for (n, route) in [(5, PLAIN), (6, private)] {
        b.announce((G, 0, n), route);
        b.announce((1, 0, 10 + n), route);
    }
    b.settle();
    let has = |b: &Bed| [b.way(1, 5), b.way(1, 6), b.way(G, 15), b.way(G, 16)].map(|w| w.is_some());
    assert_eq!(has(&b), [true; 4]);
    for (import, export, want) in [
        (2, 2, [true, false, true, false]),
        (0, 1, [false, false, true, true]),
        (1, 0, [true, true, false, false]),
        (0, 0, [false; 4]),
        (1, 1, [true; 4]),
    ] {
        // What stays is not told of again.
        let before = has(&b);
        b.heard.0.retain(|(t, n), _| {
            let at = [(1, net(5)), (1, net(6)), (G, net(15)), (G, net(16))];
            let at = at.iter().position(|a| a == &(*t, *n));
            !at.is_some_and(|at| before[at] && want[at])
        });
        b.s.set_vrfs(vec![vrf(1, import, export)]);
        b.settle();
        let come: [bool; 4] = std::array::from_fn(|i| want[i] && !before[i]);
        assert_eq!(has(&b), come, "{import} {export}");
        b.s.tell_again_in(VrfNo(1));
        for n in [5, 6, 15, 16] {
            b.s.core.rib.v4.tell_again(V4::from_net(net(n)).unwrap());
        }
        b.settle();
        assert_eq!(has(&b), want, "{import} {export}");
    }
    b.s.set_vrfs(vec![]);
    b.settle();
    assert_eq!(has(&b), [false; 4]);
    for n in [5, 6] {
        b.withdraw((G, 0, n));
    }
    b.settle();
    assert!(b.is_empty(), "{:?}", b.heard.0);
}

/// What the RPKI says is asked about routes on their way to the global table, and again when it changes.
#[test]
fn the_rpki_is_asked() {
    let mut strict = vrf(1, 0, 0);
    strict.global.export = Some(policy("reject-invalid"));
    let mut b = Bed::new(vec![strict], Options::default());
    b.announce((1, 0, 5), PLAIN);
    b.settle();
    assert!(b.way(G, 5).is_some());
    let vrp = |asn| Vrp {
        prefix: net(5),
        max_len: 16,
        asn: Asn(asn),
    };
    let cache = CacheId::new(0).unwrap();
    let mut changes = Changes::default();
    b.s.roas().announce(cache, &vrp(999), &mut changes);
    b.s.validate_changes(&changes);
    b.settle();
    assert_eq!(b.way(G, 5), None, "its origin is AS 1");
    let mut changes = Changes::default();
    b.s.roas().announce(cache, &vrp(1), &mut changes);
    b.s.validate_changes(&changes);
    b.settle();
    assert!(b.way(G, 5).is_some());
}

/// Paths used at once are so in the other table, in the same order, and what stands by does no more there.
#[test]
fn several_paths_come_as_they_are_used() {
    let options = Options {
        paths_external: 2,
        backups: Backups {
            unicast: true,
            vpn: true,
            ..Backups::default()
        },
        ..Options::default()
    };
    let mut b = Bed::new(vec![vrf(1, 1, 1)], options);
    b.announce((G, 0, 5), PLAIN);
    b.announce((G, 1, 5), PLAIN);
    b.settle();
    let fates = |b: &mut Bed| -> Vec<_> {
        let all = b.paths(1, 5);
        all.iter()
            .map(|p| (p.attrs.next_hop.map(NextHop::address), p.fate))
            .collect()
    };
    let (first, second) = (Some(hop(G, 0)), Some(hop(G, 1)));
    let both = [(first, Some(Fate::Best)), (second, Some(Fate::Multipath))];
    assert_eq!(fates(&mut b), both);
    b.announce((G, 1, 5), Route { ases: 2, ..PLAIN });
    b.settle();
    let want = ((first, 0), Some((second, 0)));
    assert_eq!(b.heard.0[&(1, net(5))], want);
    assert_eq!(b.heard.0[&(G, net(5))], want);
}

/// A CE, an upstream, and a router of the AS: all hear of what has leaked with the PE's address, and each of what the others say.
#[test]
fn neighbours_are_told() {
    let (ce, pe, up, inside) = (local(1, 65001), local(2, 200), local(3, 300), local(4, 200));
    let mut in_vrf = neighbor(&pe, 65001);
    in_vrf.vrf = VrfNo(1);
    let mut plain = neighbor(&pe, 200);
    (plain.import, plain.export) = (None, None);
    let mut other = neighbor(&inside, 200);
    (other.import, other.export) = (None, None);
    let mut w = World::new([
        (1, config(ce.clone(), [(2, neighbor(&ce, 200))])),
        (
            2,
            config(
                pe.clone(),
                [(1, in_vrf), (3, neighbor(&pe, 300)), (4, plain)],
            ),
        ),
        (3, config(up.clone(), [(2, neighbor(&up, 200))])),
        (4, config(inside.clone(), [(2, other)])),
    ]);
    // Nothing is kept for who goes.
    for s in w.speakers.values_mut() {
        let mut c = s.config.clone();
        for (_, n) in &mut c.neighbors {
            Arc::make_mut(n).session.graceful = None;
        }
        s.reconfigure(c, w.now);
    }
    w.speakers.get_mut(&2).unwrap().set_vrfs(vec![vrf(1, 1, 1)]);
    w.originate(1, "203.0.113.0/24");
    w.originate(1, "2001:db8:1::/48");
    w.originate(3, "198.51.100.0/24");
    w.pass(Duration::from_secs(30));
    let fib = |w: &World, id: u8, net: &str| w.fibs[&id].get(&net.parse().unwrap()).cloned();
    let pe = Some(vec![IpAddr::from(address(2))]);
    assert_eq!(w.paths(3, "203.0.113.0/24"), ["200 65001"]);
    assert_eq!(w.paths(3, "2001:db8:1::/48"), ["200 65001"]);
    assert_eq!(fib(&w, 3, "203.0.113.0/24"), pe);
    assert_eq!(w.paths(4, "203.0.113.0/24"), ["65001"]);
    assert_eq!(fib(&w, 4, "203.0.113.0/24"), pe, "the CE is in the VRF");
    assert_eq!(w.paths(1, "198.51.100.0/24"), ["200 300"]);
    assert_eq!(fib(&w, 1, "198.51.100.0/24"), pe);
    // Of each route in the other table it is known who it is from.
    let from = |w: &mut World, vrf, p: &str| {
        let (wanted, now) = (Wanted::Exactly(p.parse().unwrap()), w.now);
        let s = w.speakers.get_mut(&2).unwrap();
        let page = s.routes_in(
            VrfNo(vrf),
            Family::Ipv4Unicast,
            &wanted,
            &Side::Table,
            None,
            now,
        );
        page.unwrap().paths.remove(0).address
    };
    let neighbor = |n: u8| Some(IpAddr::from(address(n)));
    assert_eq!(from(&mut w, 0, "203.0.113.0/24"), neighbor(1));
    assert_eq!(from(&mut w, 1, "198.51.100.0/24"), neighbor(3));
    // So its MED is the CE's, and not for another AS.
    let now = w.now;
    let (s, wanted) = (w.speakers.get_mut(&3).unwrap(), "203.0.113.0/24");
    let wanted = Wanted::Exactly(wanted.parse().unwrap());
    let page = s.routes(Family::Ipv4Unicast, &wanted, &Side::Table, None, now);
    assert_eq!(page.unwrap().paths[0].attrs.view().med(), None);
    // Policies see that, too.
    for (not, both) in [(1, false), (3, false), (9, true)] {
        let mut rule = RuleSpec::default();
        let word = crate::policy::Word::Text(address(not).to_string().into());
        rule.matches.put("neighbor", &[word]).unwrap();
        rule.action = Action::Reject;
        let spec = PolicySpec {
            rules: vec![rule],
            default: true,
        };
        let but = Some(compiled("but", spec));
        let mut one = vrf(1, 0, 0);
        (one.global.import, one.global.export) = (but.clone(), but);
        w.speakers.get_mut(&2).unwrap().set_vrfs(vec![one]);
        w.pass(Duration::from_secs(1));
        let out = w.paths(3, "203.0.113.0/24").len() == 1;
        let into = w.paths(1, "198.51.100.0/24").len() == 1;
        assert_eq!((out, into), (both || not != 1, both || not != 3));
    }
    w.speakers.get_mut(&2).unwrap().set_vrfs(vec![vrf(1, 1, 1)]);
    w.pass(Duration::from_secs(1));
    // The session with the CE ends, then that with the upstream.
    w.cut.push((1, 2));
    w.break_wires(1, 2);
    w.pass(Duration::from_secs(1));
    assert_eq!(w.paths(3, "203.0.113.0/24"), [] as [&str; 0]);
    assert_eq!(w.paths(4, "203.0.113.0/24"), [] as [&str; 0]);
    w.cut.clear();
    w.pass(Duration::from_secs(60));
    assert_eq!(w.paths(4, "203.0.113.0/24"), ["65001"]);
    w.cut.push((3, 2));
    w.break_wires(3, 2);
    w.pass(Duration::from_secs(1));
    assert_eq!(w.paths(1, "198.51.100.0/24"), [] as [&str; 0]);
}

/// The same for what is there already when a table comes to take part, and when it is only then that something stands by.
#[test]
fn several_paths_come_into_who_begins_to_take_part() {
    let options = Options {
        paths_external: 2,
        backups: Backups {
            unicast: true,
            vpn: true,
            ..Backups::default()
        },
        ..Options::default()
    };
    let longer = Route { ases: 2, ..PLAIN };
    for before in [false, true] {
        let mut b = Bed::new(vec![vrf(1, 0, 0)], options);
        let announce = |b: &mut Bed| {
            for (n, second) in [(5, PLAIN), (6, longer)] {
                // The second neighbour has the better one, where one is.
                b.announce((G, 1, n), PLAIN);
                b.announce((G, 0, n), second);
                b.announce((1, 1, 10 + n), PLAIN);
                b.announce((1, 0, 10 + n), second);
            }
        };
        let begin = |b: &mut Bed| b.s.set_vrfs(vec![vrf(1, 1, 1)]);
        match before {
            true => announce(&mut b),
            false => begin(&mut b),
        }
        b.settle();
        match before {
            true => begin(&mut b),
            false => announce(&mut b),
        }
        b.settle();
        let hops = |b: &mut Bed, table, n| -> Vec<_> {
            let all = b.paths(table, n);
            let hop = |p: &crate::speaker::PathView| p.attrs.next_hop.map(NextHop::address);
            all.iter().map(|p| (hop(p), p.fate)).collect()
        };
        for (from, to, n) in [(G, 1, 5), (1, G, 15)] {
            let both = [(0, Fate::Best), (1, Fate::Multipath)];
            let both = both.map(|(k, fate)| (Some(hop(from, k)), Some(fate)));
            assert_eq!(hops(&mut b, to, n), both, "{before} {n}");
            let (best, standby) = b.heard.0[&(to, net(n + 1))];
            let way = |k| (Some(hop(from, k)), from);
            assert_eq!((best, standby), (way(1), Some(way(0))), "{before} {n}");
        }
    }
}

/// Nothing stands by in a table into which that for which it does has not come.
#[test]
fn what_stands_by_for_nothing_stays() {
    let options = Options {
        backups: Backups {
            unicast: true,
            vpn: true,
            ..Backups::default()
        },
        ..Options::default()
    };
    let mut b = Bed::new(vec![vrf(1, 2, 2)], options);
    let private = Route {
        private: true,
        ..PLAIN
    };
    for (from, n) in [(G, 5), (1, 6)] {
        b.announce((from, 0, n), private);
        b.announce((from, 1, n), Route { ases: 2, ..PLAIN });
    }
    b.settle();
    assert_eq!((b.way(1, 5), b.way(G, 6)), (None, None));
}

/// A path that goes across is known by who it is from, and behind those that were better.
#[test]
fn what_goes_across_is_told_apart() {
    let mut b = Bed::new(vec![], Options::default());
    b.announce((G, 0, 5), PLAIN);
    let key = V4::from_net(net(5)).unwrap();
    let path = b.s.core.rib.v4.get(key).unwrap().paths.into_iter().next();
    let of = |peer| Path {
        peer,
        ..path.unwrap()
    };
    let (low, high, last) = (PeerId(1000), PeerId(2000), PeerId(u16::MAX));
    let across = |n, peer, table: u16, standby| Path {
        path_id: path_id(n, &of(peer), VrfNo(table), standby),
        ..of(ACROSS)
    };
    assert!(across(0, high, 0, false).path_id < across(1, low, 0, false).path_id);
    assert!(across(0, last, 0, true).path_id < across(1, low, 0, true).path_id);
    for standby in [false, true] {
        for n in [0, BESIDE - 1] {
            for peer in [low, high, last] {
                let one = across(n, peer, 3, standby);
                assert_eq!(origin(&one), peer);
                assert_eq!(one.path_id & 1 == 1, standby);
            }
            // The router's own: of each table another.
            let [a, b] = [1, u16::MAX].map(|table| across(n, OWN, table, standby));
            assert_eq!((origin(&a), origin(&b)), (OWN, OWN));
            assert_ne!(a.path_id, b.path_id);
        }
    }
    assert_eq!(origin(&of(low)), low);
    // What the session would do, and what a policy says.
    use NextHopChoice::{Default, Given, Own, Unchanged};
    let leaked = across(0, low, 3, false);
    for (choice, want) in [(Default, Own), (Unchanged, Own), (Own, Own), (Given, Given)] {
        assert_eq!(super::hop(&leaked, choice), want);
        assert_eq!(super::hop(&of(low), choice), choice);
    }
}

/// Targets are between edges of VPNs, and what came from one goes no farther.
#[test]
fn what_is_of_a_vpn_does_not_leak() {
    let target = ExtCommunity([0, 2, 0xfc, 0, 0, 0, 0, 1]);
    let site = ExtCommunity([0, 3, 0xfc, 0, 0, 0, 0, 1]);
    let mut one = vrf(1, 1, 1);
    one.import = vec![target];
    let mut b = Bed::new(vec![one], Options::default());
    let mut buf = AttrBuf::new();
    buf.set_origin(Origin::Igp);
    buf.set_as_path([(SegmentKind::Sequence, &[Asn(1)][..])]);
    buf.next_hop = Some(NextHop::V4([10, 200, 0, 0].into()));
    set_targets(&mut buf, &[target, site]);
    let rib = &mut b.s.core.rib;
    let common = &mut rib.common;
    let announce = |id| Announce {
        peer: slot(G, 0),
        path_id: 0,
        pre: id,
        post: Some(id),
        now: 0,
    };
    let plain = common.store.intern(buf.view());
    rib.v4
        .announce(common, V4::from_net(net(5)).unwrap(), announce(plain));
    buf.set_labels(&[Label::new(100).unwrap()]);
    let labeled = common.store.intern(buf.view());
    let rd = crate::types::Rd([0, 0, 0xfc, 0, 0, 0, 0, 9]);
    let key = crate::rib::Vpn4::of(rd, net(6)).unwrap();
    rib.vpn4.announce(common, key, announce(labeled));
    b.settle();
    assert!(b.way(1, 6).is_some() && b.way(G, 6).is_none());
    let leaked = b.paths(1, 5).remove(0);
    let left: Vec<_> = leaked.attrs.view().ext_communities().collect();
    assert_eq!((leaked.leaked_from, left), (Some(VrfNo(0)), vec![site]));
}

/// As [`the_rpki_is_asked`], of what comes in.
#[test]
fn the_rpki_is_asked_about_what_comes_in() {
    let mut strict = vrf(1, 0, 0);
    strict.global.import = Some(policy("reject-invalid"));
    let mut b = Bed::new(vec![strict], Options::default());
    b.announce((G, 0, 5), PLAIN);
    b.settle();
    assert!(b.way(1, 5).is_some());
    let cache = CacheId::new(0).unwrap();
    for (asn, has) in [(999, false), (1, true)] {
        let vrp = Vrp {
            prefix: net(5),
            max_len: 16,
            asn: Asn(asn),
        };
        let mut changes = Changes::default();
        b.s.roas().announce(cache, &vrp, &mut changes);
        b.s.validate_changes(&changes);
        b.settle();
        assert_eq!(b.way(1, 5).is_some(), has, "AS {asn}");
    }
}

/// A large table, and one of the other family beside it, come in pieces, and go to the last.
#[test]
fn tables_of_both_families_come_and_go_whole() {
    const N: u32 = 2000;
    let mut b = Bed::new(vec![vrf(1, 0, 0)], Options::default());
    let now = b.now;
    for n in 0..N {
        let p = ipnet::Ipv4Net::new_assert((n << 8).into(), 24).into();
        b.s.originate(p, Protocol::Static, 0, None, now);
    }
    for p in ["2001:db8:1::/48", "2001:db8:2::/48"] {
        b.s.originate(p.parse().unwrap(), Protocol::Static, 0, None, now);
    }
    let come = |b: &Bed| {
        let all = b.heard.0.keys().filter(|k| k.0 == 1);
        let (four, six): (Vec<&(u8, IpNet)>, Vec<_>) = all.partition(|k| k.1.addr().is_ipv4());
        (four.len() as u32, six.len())
    };
    while b.s.work(10_000, &mut b.heard, now) {}
    for _ in 0..2 {
        b.s.set_vrfs(vec![vrf(1, 1, 0)]);
        while b.s.work(10_000, &mut b.heard, now) {}
        assert_eq!(come(&b), (N, 2));
        b.s.set_vrfs(vec![vrf(1, 0, 0)]);
        while b.s.work(10_000, &mut b.heard, now) {}
        assert_eq!(come(&b), (0, 0));
    }
}

/// What neighbours have said, by table, neighbour and prefix.
type Said = BTreeMap<(u8, u8, u8), Route>;

/// A path as the obvious version has it: its preference, where it leads, whether it is private, and whether it was learned there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Obvious {
    pref: Option<u32>,
    way: (u8, u8),
    private: bool,
    here: bool,
}

/// Table after table has what was said there and what comes out of the others, until nothing changes: no two are preferred alike.
fn obvious(said: &Said, vrfs: &[(u8, u8, u8)], backups: bool) -> Ways {
    let mut out = Ways::new();
    for n in 0..4 {
        let mut tables: BTreeMap<u8, Vec<Obvious>> = BTreeMap::new();
        let own = |table: u8| {
            let all = said.iter().filter(move |(k, _)| (k.0, k.2) == (table, n));
            all.map(|(k, r)| Obvious {
                pref: r.pref,
                way: (k.0, k.1),
                private: r.private,
                here: true,
            })
        };
        let comes = |from: &[Obvious], kind: u8| -> Vec<Obvious> {
            let accepted = |p: &&Obvious| kind == 1 || (kind == 2 && !p.private);
            let first = from.first().filter(|p| p.here).filter(accepted);
            let second = from.get(1).filter(|p| backups && p.here).filter(accepted);
            let all = first.into_iter().chain(second.filter(|_| first.is_some()));
            all.map(|p| Obvious { here: false, ..*p }).collect()
        };
        for _ in 0..20 {
            for table in std::iter::once(G).chain(vrfs.iter().map(|v| v.0)) {
                let mut all: Vec<Obvious> = own(table).collect();
                for (vrf, import, export) in vrfs {
                    let none = Vec::new();
                    if table == G {
                        all.extend(comes(tables.get(vrf).unwrap_or(&none), *export));
                    } else if table == *vrf {
                        all.extend(comes(tables.get(&G).unwrap_or(&none), *import));
                    }
                }
                all.sort_by_key(|p| std::cmp::Reverse(p.pref));
                tables.insert(table, all);
            }
        }
        let way = |p: &Obvious| (Some(hop(p.way.0, p.way.1)), p.way.0);
        for (table, all) in tables {
            if let Some(best) = all.first() {
                let standby = all.get(1).filter(|_| backups).map(way);
                out.insert((table, net(n)), (way(best), standby));
            }
        }
    }
    out
}

#[derive(Clone, Debug)]
enum Event {
    Announce((u8, u8, u8), bool),
    Withdraw((u8, u8, u8)),
    Vrfs(Vec<(u8, u8, u8)>),
    Work,
}

fn event() -> impl Strategy<Value = Event> {
    let at = || (G..4, 0..2u8, 0..4u8);
    let vrfs = prop::collection::btree_map(1..4u8, (0..3u8, 0..3u8), 0..4);
    prop_oneof![
        6 => (at(), any::<bool>()).prop_map(|(at, private)| Event::Announce(at, private)),
        3 => at().prop_map(Event::Withdraw),
        1 => vrfs.prop_map(|v| Event::Vrfs(v.into_iter().map(|(n, (i, e))| (n, i, e)).collect())),
        2 => Just(Event::Work),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_have_what_the_obvious_version_says(
        events in prop::collection::vec(event(), 1..60),
        backups in any::<bool>(),
    ) {
        let options = Options {
            backups: Backups { unicast: backups, vpn: backups, ..Backups::default() },
            ..Options::default()
        };
        let mut vrfs = vec![(1, 1, 1), (2, 2, 1), (3, 1, 0)];
        let all = |v: &[(u8, u8, u8)]| v.iter().map(|(n, i, e)| vrf(*n, *i, *e)).collect::<Vec<_>>();
        let mut b = Bed::new(all(&vrfs), options);
        let mut said = Said::new();
        for (i, e) in events.into_iter().enumerate() {
            match e {
                Event::Announce(at, private) => {
                    // Only in VRFs that there are, as sessions are.
                    if at.0 != G && !vrfs.iter().any(|v| v.0 == at.0) {
                        continue;
                    }
                    let pref = Some(100 + i as u32);
                    let route = Route { pref, ases: 1, private };
                    b.announce(at, route);
                    said.insert(at, route);
                }
                Event::Withdraw(at) => {
                    b.withdraw(at);
                    said.remove(&at);
                }
                Event::Vrfs(next) => {
                    // Numbers of those that go never come again; nor do routes in them.
                    let stay = |n: u8| vrfs.iter().any(|v| v.0 == n);
                    vrfs = next.into_iter().filter(|v| stay(v.0)).collect();
                    said.retain(|at, _| at.0 == G || vrfs.iter().any(|v| v.0 == at.0));
                    b.s.set_vrfs(all(&vrfs));
                }
                Event::Work => drop(b.s.work(3, &mut b.heard, b.now)),
            }
        }
        b.settle();
        prop_assert_eq!(&b.heard.0, &obvious(&said, &vrfs, backups));
        for at in said.into_keys() {
            b.withdraw(at);
        }
        b.settle();
        prop_assert!(b.is_empty(), "{:?}", b.heard.0);
    }
}
