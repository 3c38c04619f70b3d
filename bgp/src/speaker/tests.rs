//! Speakers that talk to each other over wires of this module, in virtual time.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::*;
use crate::policy::{Policies, Policy, Protocol, Sets};
use crate::rib::{HopEvent, Options, V4, V6};
use crate::rpki::{CacheId, Changes, Vrp};
use crate::session::{PeerAs, SessionConfig};
use crate::types::{Asn, Label, RouterId};

/// A built-in policy.
pub(super) fn policy(name: &str) -> Arc<Policy> {
    let all = Policies::compile(&BTreeMap::new(), &Sets::default(), &Policies::default()).unwrap();
    all.get(name).unwrap().clone()
}

/// The address of router `n`, which is also its identifier.
pub(super) fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, n)
}

pub(super) fn local(n: u8, asn: u32) -> Local {
    Local {
        asn: Asn(asn),
        router_id: RouterId::new(address(n)).unwrap(),
        cluster_id: None,
        confederation: None,
    }
}

/// A neighbour in that AS that is believed everything and told everything.
pub(super) fn neighbor(us: &Local, asn: u32) -> Neighbor {
    let session = SessionConfig::new(us.public(), us.router_id, PeerAs::Is(Asn(asn)));
    let mut n = Neighbor::new(session);
    n.import = Some(policy("accept-all"));
    n.export = Some(policy("accept-all"));
    n
}

pub(super) fn config(us: Local, neighbors: impl IntoIterator<Item = (u8, Neighbor)>) -> Config {
    let named = neighbors
        .into_iter()
        .map(|(n, c)| (PeerKey::Address(address(n).into(), None), Arc::new(c)));
    Config {
        neighbors: named.collect(),
        local: us,
        options: Options::default(),
        dynamic: Vec::new(),
    }
}

/// One end of a wire: whose connection it is, and what is on its way to it.
#[derive(Default)]
struct End {
    conn: Option<(u8, ConnId)>,
    coming: Vec<u8>,
}

/// Next hops of labelled routes, and what is pushed.
type Lsps = BTreeMap<IpNet, Vec<(IpAddr, Vec<u32>)>>;

/// Routers, by number, and wires between them.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) speakers: BTreeMap<u8, Speaker>,
    /// What each would forward by.
    pub(super) fibs: HashMap<u8, BTreeMap<IpNet, Vec<IpAddr>>>,
    /// Where its labelled routes lead, and what it would push.
    pub(super) labeled: HashMap<u8, Lsps>,
    /// The labels that routers have given.
    labels: BTreeMap<(u8, IpNet), u32>,
    /// Routers that have none to give.
    pub(super) without_labels: Vec<u8>,
    /// The SRGBs of those that have one.
    pub(super) srgbs: BTreeMap<u8, Srgb>,
    wires: Vec<[End; 2]>,
    pub(super) notices: Vec<(u8, PeerKey, Notice)>,
    /// Pairs that cannot reach each other.
    pub(super) cut: Vec<(u8, u8)>,
    /// Octets that are read at once; small numbers cut messages.
    pub(super) chunk: usize,
    /// Routers that do not read.
    pub(super) deaf: Vec<u8>,
}

/// Hears of a router's best routes.
struct Tables<'w> {
    id: u8,
    fib: &'w mut BTreeMap<IpNet, Vec<IpAddr>>,
    labeled: &'w mut Lsps,
    labels: &'w mut BTreeMap<(u8, IpNet), u32>,
    none: bool,
    srgb: Option<Srgb>,
}

impl Best for Tables<'_> {
    fn best(&mut self, net: IpNet, by: &[Use<'_>]) {
        let hops = by.iter().filter_map(|u| Some(u.next_hop?.address()));
        match by.is_empty() {
            true => self.fib.remove(&net),
            false => self.fib.insert(net, hops.collect()),
        };
    }

    fn labeled(&mut self, net: IpNet, by: &[Use<'_>], heard: bool) -> Option<Label> {
        let one = |u: &Use<'_>| {
            let labels = u.labels.as_slice().iter().map(|l| l.get()).collect();
            Some((u.next_hop?.address(), labels))
        };
        match by.is_empty() {
            true => self.labeled.remove(&net),
            false => self
                .labeled
                .insert(net, by.iter().filter_map(one).collect()),
        };
        let learned = by.first().is_some_and(|u| u.relation.is_some());
        let has = self.labels.contains_key(&(self.id, net));
        if !learned || self.none || !(heard || has) {
            return None;
        }
        let next = 1000 + u32::try_from(self.labels.len()).unwrap();
        let index = by.first().and_then(|u| u.index);
        let segment = index.and_then(|n| self.srgb?.label(n));
        let others = |l: &u32| {
            let mut all = self.labels.iter();
            all.any(|((id, p), have)| *id == self.id && *p != net && have == l)
        };
        let segment = segment.filter(|l| !others(l));
        let label = *self.labels.entry((self.id, net)).or_insert(next);
        let is_segment = self.srgb.is_some_and(|s| label >= s.first);
        let label = segment.unwrap_or(if is_segment { next } else { label });
        self.labels.insert((self.id, net), label);
        Label::new(label)
    }
}

impl World {
    pub(super) fn new(configs: impl IntoIterator<Item = (u8, Config)>) -> Self {
        let now = Instant::now();
        let speakers = configs
            .into_iter()
            .map(|(n, c)| (n, Speaker::new(c, n.into(), now)));
        Self {
            now,
            speakers: speakers.collect(),
            fibs: HashMap::new(),
            labeled: HashMap::new(),
            labels: BTreeMap::new(),
            without_labels: Vec::new(),
            srgbs: BTreeMap::new(),
            wires: Vec::new(),
            notices: Vec::new(),
            cut: Vec::new(),
            chunk: 4096,
            deaf: Vec::new(),
        }
    }

    fn router(address: IpAddr) -> u8 {
        match address {
            IpAddr::V4(a) => a.octets()[3],
            IpAddr::V6(_) => 0,
        }
    }

    fn is_cut(&self, a: u8, b: u8) -> bool {
        self.cut.contains(&(a, b)) || self.cut.contains(&(b, a))
    }

    fn ends(us: u8, them: u8, port: u16) -> Ends {
        Ends {
            local: SocketAddr::new(address(us).into(), 179),
            remote: SocketAddr::new(address(them).into(), port),
            interface: None,
            own: OwnAddresses {
                v4: Some(address(us)),
                v6: format!("2001:db8::{us}").parse().ok(),
                link_local: None,
            },
        }
    }

    /// Does what speakers ask for, until nobody asks for anything.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it does not come to rest");
    }

    fn step(&mut self) -> bool {
        let mut busy = false;
        let ids: Vec<u8> = self.speakers.keys().copied().collect();
        for id in ids {
            busy |= self.actions(id);
            busy |= self.read(id);
            busy |= self.resolve(id);
            let speaker = self.speakers.get_mut(&id).unwrap();
            let mut best = Tables {
                id,
                fib: self.fibs.entry(id).or_default(),
                labeled: self.labeled.entry(id).or_default(),
                labels: &mut self.labels,
                none: self.without_labels.contains(&id),
                srgb: self.srgbs.get(&id).copied(),
            };
            busy |= speaker.work(1000, &mut best, self.now);
            busy |= self.write(id);
        }
        busy
    }

    /// The label that a router has given to a prefix.
    pub(super) fn label_of(&self, id: u8, net: IpNet) -> u32 {
        self.labels[&(id, net)]
    }

    /// Has a router given a label to that prefix?
    pub(super) fn has_label(&self, id: u8, net: IpNet) -> bool {
        self.labels.contains_key(&(id, net))
    }

    /// A router has no label for that prefix any more.
    pub(super) fn forget_label(&mut self, id: u8, net: IpNet) {
        self.labels.remove(&(id, net));
    }

    /// Every next hop is reached, at a metric of one.
    fn resolve(&mut self, id: u8) -> bool {
        let speaker = self.speakers.get_mut(&id).unwrap();
        let events: Vec<HopEvent> = speaker.next_hops().collect();
        for e in &events {
            if let HopEvent::Wanted(hop, ..) = e {
                speaker.set_next_hop(*hop, Some(1));
            }
        }
        !events.is_empty()
    }

    fn actions(&mut self, id: u8) -> bool {
        let mut busy = false;
        while let Some(action) = self.speakers.get_mut(&id).unwrap().next_action() {
            busy = true;
            match action {
                Action::Notice(key, n) => self.notices.push((id, key, n)),
                Action::Close(conn) => self.close(id, conn),
                Action::Connect { conn, peer } => {
                    let PeerKey::Address(a, _) = peer else {
                        panic!("{peer}")
                    };
                    self.connect(id, conn, Self::router(a));
                }
            }
        }
        busy
    }

    fn connect(&mut self, id: u8, conn: ConnId, to: u8) {
        let now = self.now;
        if self.is_cut(id, to) || !self.speakers.contains_key(&to) {
            return self
                .speakers
                .get_mut(&id)
                .unwrap()
                .failed(conn, "no route to host", now);
        }
        let port = 40_000 + u16::try_from(self.wires.len()).unwrap();
        let theirs = self
            .speakers
            .get_mut(&to)
            .unwrap()
            .accepted(Self::ends(to, id, port), now);
        let us = self.speakers.get_mut(&id).unwrap();
        let Some(theirs) = theirs else {
            return us.failed(conn, "connection reset", now);
        };
        us.connected(conn, Self::ends(id, to, 179), now);
        let end = |id, conn| End {
            conn: Some((id, conn)),
            coming: Vec::new(),
        };
        self.wires.push([end(id, conn), end(to, theirs)]);
    }

    /// One end closes: what it has written still comes, then the other end hears of it.
    fn close(&mut self, id: u8, conn: ConnId) {
        let octets = self.speakers[&id].output(conn).to_vec();
        self.speakers.get_mut(&id).unwrap().closed(conn);
        for w in &mut self.wires {
            for side in 0..2 {
                if w[side].conn == Some((id, conn)) {
                    w[side].conn = None;
                    w[1 - side].coming.extend(&octets);
                }
            }
        }
    }

    /// Every wire between two routers breaks without a word.
    pub(super) fn break_wires(&mut self, a: u8, b: u8) {
        let now = self.now;
        for w in &mut self.wires {
            let of = |e: &End| e.conn.map(|c| c.0);
            let both = [of(&w[0]), of(&w[1])];
            if both == [Some(a), Some(b)] || both == [Some(b), Some(a)] {
                for e in w {
                    e.coming.clear();
                    if let Some((id, conn)) = e.conn.take() {
                        self.speakers
                            .get_mut(&id)
                            .unwrap()
                            .failed(conn, "connection reset", now);
                    }
                }
            }
        }
    }

    fn read(&mut self, id: u8) -> bool {
        if self.deaf.contains(&id) {
            return false;
        }
        let mut busy = false;
        for n in 0..self.wires.len() {
            for side in 0..2 {
                let Some((_, conn)) = self.wires[n][side].conn.filter(|c| c.0 == id) else {
                    continue;
                };
                let coming = std::mem::take(&mut self.wires[n][side].coming);
                let part = &coming[..coming.len().min(self.chunk)];
                let mut taken = 0;
                if !part.is_empty() {
                    taken = self
                        .speakers
                        .get_mut(&id)
                        .unwrap()
                        .received(conn, part, self.now);
                    busy = true;
                }
                self.wires[n][side].coming = coming[taken..].to_vec();
                let over =
                    self.wires[n][1 - side].conn.is_none() && self.wires[n][side].coming.is_empty();
                if over && self.wires[n][side].conn.is_some() {
                    self.wires[n][side].conn = None;
                    self.speakers.get_mut(&id).unwrap().failed(
                        conn,
                        "closed by the neighbour",
                        self.now,
                    );
                    busy = true;
                }
            }
        }
        busy
    }

    fn write(&mut self, id: u8) -> bool {
        let mut busy = false;
        for w in &mut self.wires {
            for side in 0..2 {
                let Some((_, conn)) = w[side].conn.filter(|c| c.0 == id) else {
                    continue;
                };
                // A wire holds so many octets.
                let room = 200_000_usize.saturating_sub(w[1 - side].coming.len());
                let speaker = self.speakers.get_mut(&id).unwrap();
                let octets = speaker.output(conn);
                let n = octets.len().min(room);
                if n > 0 {
                    w[1 - side].coming.extend(&octets[..n]);
                    speaker.wrote(conn, n, self.now);
                    busy = true;
                }
            }
        }
        busy
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        loop {
            let due = self.speakers.values().filter_map(Speaker::poll_at).min();
            let Some(at) = due.filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(at);
            for s in self.speakers.values_mut() {
                s.tick(self.now);
            }
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    pub(super) fn states(&mut self, id: u8) -> Vec<State> {
        let now = self.now;
        self.speakers
            .get_mut(&id)
            .unwrap()
            .neighbors(now)
            .iter()
            .map(|p| p.state)
            .collect()
    }

    pub(super) fn originate(&mut self, id: u8, net: &str) {
        let now = self.now;
        let net: IpNet = net.parse().unwrap();
        assert!(
            self.speakers
                .get_mut(&id)
                .unwrap()
                .originate(net, Protocol::Static, 0, None, now)
        );
    }

    /// The paths that a router has for a prefix, the best first.
    pub(super) fn paths(&mut self, id: u8, net: &str) -> Vec<String> {
        let net: IpNet = net.parse().unwrap();
        let family = if net.addr().is_ipv4() {
            Family::Ipv4Unicast
        } else {
            Family::Ipv6Unicast
        };
        let now = self.now;
        let s = self.speakers.get_mut(&id).unwrap();
        let page = s
            .routes(family, &Wanted::Exactly(net), &Side::Table, None, now)
            .unwrap();
        page.paths
            .iter()
            .map(|p| p.attrs.view().as_path().to_string())
            .collect()
    }
}

pub(super) fn chain() -> World {
    let (a, b, c) = (local(1, 100), local(2, 200), local(3, 300));
    World::new([
        (1, config(a.clone(), [(2, neighbor(&a, 200))])),
        (
            2,
            config(b.clone(), [(1, neighbor(&b, 100)), (3, neighbor(&b, 300))]),
        ),
        (3, config(c.clone(), [(2, neighbor(&c, 200))])),
    ])
}

#[test]
fn a_route_goes_through_a_chain_and_back_out() {
    for chunk in [1, 100, 4096] {
        let mut w = chain();
        w.chunk = chunk;
        w.originate(1, "203.0.113.0/24");
        w.originate(1, "2001:db8:1::/48");
        w.pass(Duration::from_secs(30));
        assert_eq!(w.states(2), [State::Established, State::Established]);
        assert_eq!(w.paths(3, "203.0.113.0/24"), ["200 100"]);
        assert_eq!(w.paths(3, "2001:db8:1::/48"), ["200 100"]);
        let net: IpNet = "203.0.113.0/24".parse().unwrap();
        assert_eq!(w.fibs[&3][&net], [IpAddr::from(address(2))]);
        w.speakers.get_mut(&1).unwrap().withdraw_own(net);
        w.settle();
        assert_eq!(w.paths(3, "203.0.113.0/24"), [] as [&str; 0]);
        assert!(!w.fibs[&3].contains_key(&net));
    }
}

#[test]
fn without_a_policy_nothing_comes_from_or_goes_to_another_as() {
    for (import, export) in [(None, Some("accept-all")), (Some("accept-all"), None)] {
        let (a, b) = (local(1, 100), local(2, 200));
        let mut n = neighbor(&b, 100);
        n.import = import.map(policy);
        n.export = export.map(policy);
        let mut w = World::new([
            (1, config(a.clone(), [(2, neighbor(&a, 200))])),
            (2, config(b, [(1, n)])),
        ]);
        w.originate(1, "203.0.113.0/24");
        w.originate(2, "198.51.100.0/24");
        w.pass(Duration::from_secs(30));
        assert_eq!(w.states(1), [State::Established]);
        assert_eq!(
            w.fibs[&2].contains_key(&"203.0.113.0/24".parse().unwrap()),
            import.is_some()
        );
        assert_eq!(
            w.fibs[&1].contains_key(&"198.51.100.0/24".parse().unwrap()),
            export.is_some()
        );
    }
}

#[test]
fn a_lost_neighbour_takes_its_routes_along_and_comes_back() {
    let mut w = chain();
    for s in w.speakers.values_mut() {
        let mut c = s.config.clone();
        for (_, n) in &mut c.neighbors {
            Arc::make_mut(n).session.graceful = None;
        }
        let now = w.now;
        s.reconfigure(c, now);
    }
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    let net: IpNet = "203.0.113.0/24".parse().unwrap();
    assert!(w.fibs[&3].contains_key(&net));
    w.cut.push((1, 2));
    w.break_wires(1, 2);
    w.settle();
    assert!(!w.fibs[&3].contains_key(&net), "it went at once");
    w.cut.clear();
    w.pass(Duration::from_secs(300));
    assert!(w.fibs[&3].contains_key(&net));
}

#[test]
fn a_neighbour_that_restarts_keeps_its_routes_for_a_while() {
    let mut w = chain();
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    let net: IpNet = "203.0.113.0/24".parse().unwrap();
    w.cut.push((1, 2));
    w.break_wires(1, 2);
    w.pass(Duration::from_secs(60));
    assert!(w.fibs[&3].contains_key(&net), "RFC 4724: it may come back");
    w.pass(Duration::from_secs(70));
    assert!(!w.fibs[&3].contains_key(&net), "its restart time is over");
}

#[test]
fn a_session_is_disturbed_only_if_it_must_be() {
    let mut w = chain();
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    let net: IpNet = "203.0.113.0/24".parse().unwrap();
    let lost = |w: &mut World| {
        let now = w.now;
        w.speakers
            .get_mut(&2)
            .unwrap()
            .neighbors(now)
            .iter()
            .map(|p| p.counters.lost)
            .sum::<u64>()
    };
    let change = |w: &mut World, f: &dyn Fn(&mut Neighbor)| {
        let now = w.now;
        let s = w.speakers.get_mut(&2).unwrap();
        let mut c = s.config.clone();
        f(Arc::make_mut(&mut c.neighbors[0].1));
        s.reconfigure(c, now);
        w.settle();
    };
    change(&mut w, &|n| n.import = Some(policy("reject-all")));
    assert!(
        !w.fibs[&3].contains_key(&net),
        "another import policy is run over the routes that are there"
    );
    change(&mut w, &|n| n.import = Some(policy("accept-all")));
    assert!(w.fibs[&3].contains_key(&net), "nothing had to be asked for");
    let towards_three = |w: &mut World, name: &str| {
        let now = w.now;
        let s = w.speakers.get_mut(&2).unwrap();
        let mut c = s.config.clone();
        Arc::make_mut(&mut c.neighbors[1].1).export = Some(policy(name));
        s.reconfigure(c, now);
        w.settle();
    };
    towards_three(&mut w, "reject-all");
    assert!(
        !w.fibs[&3].contains_key(&net),
        "what is told no more is withdrawn"
    );
    towards_three(&mut w, "accept-all");
    assert!(w.fibs[&3].contains_key(&net));
    assert_eq!(lost(&mut w), 0);
    change(&mut w, &|n| n.session.hold_time = Duration::from_secs(30));
    assert_eq!(lost(&mut w), 1, "what is said in OPENs needs a new session");
}

#[test]
fn what_the_rpki_says_is_heard_again_when_it_changes() {
    let mut w = chain();
    let now = w.now;
    let s = w.speakers.get_mut(&2).unwrap();
    let mut c = s.config.clone();
    Arc::make_mut(&mut c.neighbors[0].1).import = Some(policy("reject-invalid"));
    s.reconfigure(c, now);
    w.originate(1, "203.0.113.0/24");
    w.originate(1, "198.51.100.0/24");
    w.pass(Duration::from_secs(30));
    let (a, b): (IpNet, IpNet) = (
        "203.0.113.0/24".parse().unwrap(),
        "198.51.100.0/24".parse().unwrap(),
    );
    assert!(w.fibs[&3].contains_key(&a), "not found is not invalid");
    let cache = CacheId::new(0).unwrap();
    let other = |asn| Vrp {
        prefix: a,
        max_len: 24,
        asn: Asn(asn),
    };
    let s = w.speakers.get_mut(&2).unwrap();
    s.roas()
        .announce(cache, &other(999), &mut Changes::default());
    s.validate_again();
    w.settle();
    assert!(!w.fibs[&3].contains_key(&a) && w.fibs[&3].contains_key(&b));
    let s = w.speakers.get_mut(&2).unwrap();
    s.roas()
        .announce(cache, &other(100), &mut Changes::default());
    s.validate_again();
    w.settle();
    assert!(
        w.fibs[&3].contains_key(&a),
        "one record that allows it is enough"
    );
}

/// Only routes within what changed are looked at, a piece at a time; what comes of it is what comes of looking at all.
#[test]
fn the_rpki_changes_its_mind_about_some() {
    let asking = "reject-invalid";
    for (piece, import, export) in [
        (1, asking, "accept-all"),
        (1, "accept-all", asking),
        (3, asking, asking),
        (1000, asking, asking),
    ] {
        let mut w = chain();
        let now = w.now;
        let s = w.speakers.get_mut(&2).unwrap();
        let mut c = s.config.clone();
        Arc::make_mut(&mut c.neighbors[0].1).import = Some(policy(import));
        Arc::make_mut(&mut c.neighbors[1].1).export = Some(policy(export));
        s.reconfigure(c, now);
        let nets: Vec<IpNet> = (0..20)
            .map(|n| format!("203.0.{n}.0/24").parse().unwrap())
            .collect();
        nets.iter().for_each(|n| w.originate(1, &n.to_string()));
        w.originate(1, "2001:db8::/32");
        w.pass(Duration::from_secs(30));
        let cache = CacheId::new(0).unwrap();
        let s = w.speakers.get_mut(&2).unwrap();
        for (prefix, asn) in [
            ("203.0.0.0/20", 999),
            ("203.0.3.0/24", 100),
            ("203.0.18.0/24", 999),
        ] {
            let vrp = Vrp {
                prefix: prefix.parse().unwrap(),
                max_len: 24,
                asn: Asn(asn),
            };
            s.roas().announce(cache, &vrp, &mut Changes::default());
        }
        // One of them is not told: it stays as it was, as nobody looked.
        let told = ["203.0.0.0/20", "10.0.0.0/8", "2001:db8::/32"].map(|p| p.parse().unwrap());
        s.validate_changes(&Changes::Within(told.to_vec()));
        let mut turns = 0;
        while s.core.recheck::<V4>(piece) | s.core.recheck::<V6>(piece) {
            turns += 1;
        }
        assert!(piece > 1 || turns > 16, "{turns} turns");
        w.settle();
        for (n, net) in nets.iter().enumerate() {
            let there = n >= 16 || n == 3;
            assert_eq!(w.fibs[&3].contains_key(net), there, "{net}");
            let here = there || import != asking;
            assert_eq!(w.fibs[&2].contains_key(net), here, "{net}");
        }
    }
}

#[test]
fn neighbours_come_by_themselves_where_they_may() {
    let (a, b) = (local(1, 100), local(2, 200));
    let mut hub = config(a.clone(), []);
    hub.dynamic.push(Dynamic {
        prefix: "192.0.2.0/24".parse().unwrap(),
        neighbor: Arc::new(neighbor(&a, 200)),
        limit: 1,
    });
    let c = local(3, 200);
    let mut w = World::new([(1, hub), (2, config(b.clone(), [(1, neighbor(&b, 100))]))]);
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    assert_eq!(w.states(1), [State::Established]);
    assert!(w.fibs[&2].contains_key(&"203.0.113.0/24".parse().unwrap()));
    // One is all that may come.
    let (seed, now) = (3, w.now);
    w.speakers.insert(
        3,
        Speaker::new(config(c.clone(), [(1, neighbor(&c, 100))]), seed, now),
    );
    w.pass(Duration::from_secs(60));
    assert_eq!(w.states(1), [State::Established]);
    assert_ne!(w.states(3), [State::Established]);
    // It goes, and another may.
    w.speakers
        .get_mut(&2)
        .unwrap()
        .shutdown(&PeerKey::Address(address(1).into(), None), "", now)
        .unwrap();
    w.pass(Duration::from_secs(300));
    assert_eq!(w.states(3), [State::Established]);
}

#[test]
fn a_reflector_tells_clients_what_clients_say() {
    let (a, b, c) = (local(1, 100), local(2, 100), local(3, 100));
    let client = |n: Neighbor, client: bool| Neighbor { client, ..n };
    for (is_client, comes) in [(false, false), (true, true)] {
        let mut w = World::new([
            (1, config(a.clone(), [(2, neighbor(&a, 100))])),
            (
                2,
                config(
                    b.clone(),
                    [
                        (1, client(neighbor(&b, 100), is_client)),
                        (3, neighbor(&b, 100)),
                    ],
                ),
            ),
            (3, config(c.clone(), [(2, neighbor(&c, 100))])),
        ]);
        w.originate(1, "203.0.113.0/24");
        w.pass(Duration::from_secs(30));
        let there = w.fibs[&3].get(&"203.0.113.0/24".parse().unwrap());
        assert_eq!(there.is_some(), comes);
        if let Some(hops) = there {
            assert_eq!(*hops, [IpAddr::from(address(1))], "the next hop stays");
        }
    }
}

#[test]
fn one_who_does_not_read_holds_nobody_up_and_fills_no_queue() {
    let b = local(2, 200);
    let mut configs = vec![(
        2,
        config(
            b.clone(),
            [
                (1, neighbor(&b, 100)),
                (3, neighbor(&b, 300)),
                (4, neighbor(&b, 400)),
            ],
        ),
    )];
    for (n, asn) in [(1, 100), (3, 300), (4, 400)] {
        let l = local(n, asn);
        configs.push((n, config(l.clone(), [(2, neighbor(&l, 200))])));
    }
    let mut w = World::new(configs);
    w.pass(Duration::from_secs(30));
    w.deaf.push(4);
    let nets: Vec<IpNet> = (0..60_000u32)
        .map(|i| IpNet::new(Ipv4Addr::from(0x0a00_0000 + (i << 8)).into(), 24).unwrap())
        .collect();
    for net in &nets {
        let now = w.now;
        // Attributes of its own for each, so that there is much to write.
        w.speakers.get_mut(&1).unwrap().originate(
            *net,
            Protocol::Static,
            net.prefix_len().into(),
            None,
            now,
        );
    }
    w.settle();
    w.now += Duration::from_secs(1);
    w.settle();
    assert_eq!(w.fibs[&3].len(), nets.len());
    let now = w.now;
    let queued = w
        .speakers
        .get_mut(&2)
        .unwrap()
        .neighbor(&PeerKey::Address(address(4).into(), None), now)
        .unwrap()
        .queued;
    assert!(queued < 512 << 10, "{queued} octets wait");
    w.deaf.clear();
    w.settle();
    assert_eq!(w.fibs[&4].len(), nets.len());
}

/// RFC 7313 4: what is told again is told between marks, and never before the first End-of-RIB.
#[test]
fn what_is_told_again_is_marked() {
    let mut w = chain();
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    let key = PeerKey::Address(address(1).into(), None);
    let counts = |w: &mut World| {
        let now = w.now;
        let view = w.speakers.get_mut(&2).unwrap().neighbor(&key, now).unwrap();
        let m = view.counters.received;
        (m.refresh, m.update)
    };
    let before = counts(&mut w);
    assert_eq!(before.0, 0, "the first time has no marks");
    let now = w.now;
    w.speakers
        .get_mut(&2)
        .unwrap()
        .refresh_in(&key, now)
        .unwrap();
    w.settle();
    let after = counts(&mut w);
    let families = after.0 / 2;
    assert!(families > 0 && after.0 % 2 == 0, "{after:?}");
    assert_eq!(after.1, before.1 + 1, "the route, and no End-of-RIB");
    let net: IpNet = "203.0.113.0/24".parse().unwrap();
    assert!(w.fibs[&3].contains_key(&net), "it was told again");
    // The operator can have it told again, too.
    let key = PeerKey::Address(address(2).into(), None);
    w.speakers
        .get_mut(&1)
        .unwrap()
        .refresh_out(&key, now)
        .unwrap();
    w.settle();
    assert_eq!(counts(&mut w), (4 * families, before.1 + 2));
}

/// Neighbours that are alike in all else share what is found out about a route, but not where a policy asks who they are.
#[test]
fn a_policy_may_tell_neighbours_apart() {
    use crate::policy::{Action as Verdict, PolicySpec, RuleSpec, Word};
    let mut rule = RuleSpec::default();
    let third = Word::Text(address(3).to_string().into());
    rule.matches.put("neighbor", &[third]).unwrap();
    rule.action = Verdict::Reject;
    let spec = PolicySpec {
        rules: vec![rule],
        default: true,
    };
    let all = [("but".to_owned(), spec)].into();
    let all = Policies::compile(&all, &Sets::default(), &Policies::default()).unwrap();
    let us = local(1, 100);
    let to = [2u8, 3, 4].map(|n| {
        let mut to = neighbor(&us, 100 * u32::from(n));
        to.export = all.get("but").cloned();
        (n, to)
    });
    let others = [2u8, 3, 4].map(|n| {
        let us = local(n, 100 * u32::from(n));
        let to = neighbor(&us, 100);
        (n, config(us, [(1, to)]))
    });
    let mut w = World::new(std::iter::once((1, config(us, to))).chain(others));
    w.originate(1, "203.0.113.0/24");
    w.pass(Duration::from_secs(30));
    let told = [2, 3, 4].map(|n| w.paths(n, "203.0.113.0/24").len());
    assert_eq!(told, [1, 0, 1]);
}
