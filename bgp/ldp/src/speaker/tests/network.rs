//! A dozen speakers in virtual time, on a network that fails: links, Hellos, sessions. Routes are computed by the obvious
//! rule and told to all at once, as an IGP would; labels must then lead where the routes lead.
//!
//! At every step: who follows labels from any router to any FEC never goes in circles and never leaves the labels at a
//! wrong place. At rest: it arrives, by every one of the equal ways, with a label on each hop but the last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::super::*;
use crate::types::Label;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap() % n
    }
}

/// The label manager of a router: a label that was released rests before another FEC may have it.
#[derive(Default)]
struct Pool {
    held: BTreeMap<Label, IpNet>,
    resting: VecDeque<(Instant, Label)>,
    next: u32,
    now: Option<Instant>,
}

impl Labels for Pool {
    fn allocate(&mut self, fec: IpNet) -> Option<Label> {
        let now = self.now.expect("a time");
        let rested = self
            .resting
            .front()
            .is_some_and(|(t, _)| now >= *t + Duration::from_secs(30));
        let label = if rested {
            self.resting.pop_front().unwrap().1
        } else {
            self.next += 1;
            Label::new(15 + self.next).unwrap()
        };
        assert!(self.held.insert(label, fec).is_none());
        Some(label)
    }

    fn release(&mut self, fec: IpNet, label: Label) {
        assert_eq!(
            self.held.remove(&label),
            Some(fec),
            "{label} is not that FEC's"
        );
        self.resting.push_back((self.now.expect("a time"), label));
    }
}

struct Node {
    speaker: Speaker,
    pool: Pool,
    ilm: BTreeMap<Label, (IpNet, Vec<Path>)>,
    ftn: BTreeMap<IpNet, Vec<Path>>,
    routes: BTreeMap<IpNet, Route>,
    /// Ours to theirs.
    conns: BTreeMap<Conn, (usize, Conn)>,
    ended: Vec<(LdpId, Cause)>,
}

#[derive(Clone, Copy)]
struct Link {
    ends: [usize; 2],
    cost: usize,
    up: bool,
}

enum Event {
    Datagram {
        to: usize,
        link: usize,
        source: IpAddr,
        octets: Vec<u8>,
    },
    Connect {
        from: usize,
        conn: Conn,
        local: IpAddr,
        remote: IpAddr,
    },
    Octets {
        to: usize,
        conn: Conn,
        octets: Vec<u8>,
    },
    Closed {
        to: usize,
        conn: Conn,
    },
}

struct Network {
    nodes: Vec<Node>,
    links: Vec<Link>,
    now: Instant,
    /// By time, then by number.
    queue: BTreeMap<(Instant, u64), Event>,
    count: u64,
    chance: Chance,
    dual: bool,
    loss: bool,
    explicit: bool,
}

fn v4(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(n + 1).unwrap())
}

fn v6(n: usize) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::try_from(n + 1).unwrap())
}

fn on_link(link: usize, n: usize, family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([
            10,
            1,
            u8::try_from(link).unwrap(),
            u8::try_from(n + 1).unwrap(),
        ]),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, u16::try_from(n + 1).unwrap()).into(),
    }
}

fn node_of(a: IpAddr) -> usize {
    let last = match a {
        IpAddr::V4(a) => a.octets()[3].into(),
        IpAddr::V6(a) => a.segments()[7],
    };
    usize::from(last) - 1
}

impl Network {
    fn new(seed: u64, routers: usize, dual: bool, explicit: bool) -> Self {
        let mut chance = Chance(seed);
        let mut links = vec![];
        let mut add = |a: usize, b: usize, cost| {
            links.push(Link {
                ends: [a, b],
                cost,
                up: true,
            })
        };
        for n in 1..routers {
            add(chance.below(n), n, 1 + chance.below(3));
        }
        for _ in 0..routers {
            let (a, b) = (chance.below(routers), chance.below(routers));
            if a != b {
                // Also several between the same two.
                add(a, b, 1 + chance.below(3));
            }
        }
        let now = Instant::now();
        let node = |n: usize| {
            let mut config = Config::new(LdpId::platform(v4(n)));
            config.hello.transport_v6 = dual.then_some(v6(n));
            config.explicit_null = explicit;
            config.session.max_pdu = [256, 4096][n % 2];
            Node {
                speaker: Speaker::new(config),
                pool: Pool::default(),
                ilm: BTreeMap::new(),
                ftn: BTreeMap::new(),
                routes: BTreeMap::new(),
                conns: BTreeMap::new(),
                ended: vec![],
            }
        };
        let mut net = Self {
            nodes: (0..routers).map(node).collect(),
            links,
            now,
            queue: BTreeMap::new(),
            count: 0,
            chance,
            dual,
            loss: true,
            explicit,
        };
        for n in 0..routers {
            let s = &mut net.nodes[n].speaker;
            s.set_address(v4(n).into(), true);
            s.set_address(v6(n).into(), true);
        }
        for link in 0..net.links.len() {
            net.interface(link, true);
        }
        net.reroute();
        net
    }

    fn families(&self) -> Families {
        let one = Families::NONE.with(Family::V4);
        if self.dual { Families::BOTH } else { one }
    }

    fn fecs(&self) -> Vec<IpNet> {
        let v4s = (0..self.nodes.len()).map(|n| IpNet::from(IpAddr::from(v4(n))));
        let v6s = (0..self.nodes.len()).map(|n| IpNet::from(IpAddr::from(v6(n))));
        v4s.chain(v6s.filter(|_| self.dual)).collect()
    }

    /// The link of an end goes up or down, and its router sees it.
    fn interface(&mut self, link: usize, up: bool) {
        for n in self.links[link].ends {
            let families = if up { self.families() } else { Families::NONE };
            let mut out = vec![];
            let iface = IfaceId(u32::try_from(link).unwrap());
            let s = &mut self.nodes[n].speaker;
            s.set_address(on_link(link, n, Family::V4), up);
            s.set_interface(self.now, iface, families, &mut out);
            self.act(n, out);
        }
    }

    fn at(&mut self, millis: u64, e: Event) {
        self.count += 1;
        let when = self.now + Duration::from_millis(millis);
        self.queue.insert((when, self.count), e);
    }

    /// The distance of each router to `to`, over links that are up; the obvious way.
    fn distances(&self, to: usize) -> Vec<Option<usize>> {
        let mut d = vec![None; self.nodes.len()];
        d[to] = Some(0);
        for _ in 0..self.nodes.len() {
            for l in self.links.iter().filter(|l| l.up) {
                for [a, b] in [l.ends, [l.ends[1], l.ends[0]]] {
                    if let Some(x) = d[b]
                        && d[a].is_none_or(|y| y > x + l.cost)
                    {
                        d[a] = Some(x + l.cost);
                    }
                }
            }
        }
        d
    }

    /// Tells every router its routes.
    fn reroute(&mut self) {
        for fec in self.fecs() {
            let to = node_of(fec.addr());
            let d = self.distances(to);
            for n in 0..self.nodes.len() {
                let route = if n == to {
                    Some(Route::Local)
                } else {
                    let hops = self
                        .links
                        .iter()
                        .enumerate()
                        .filter(|(_, l)| l.up)
                        .filter_map(|(link, l)| {
                            let at = l.ends.iter().position(|e| *e == n)?;
                            let other = l.ends[1 - at];
                            (d[n]? == d[other]? + l.cost).then(|| NextHop {
                                addr: on_link(link, other, Family::of_net(&fec)),
                                iface: IfaceId(u32::try_from(link).unwrap()),
                            })
                        });
                    let hops: Vec<NextHop> = hops.collect();
                    (!hops.is_empty()).then_some(Route::Via(hops))
                };
                let node = &mut self.nodes[n];
                match &route {
                    Some(r) => drop(node.routes.insert(fec, r.clone())),
                    None => drop(node.routes.remove(&fec)),
                }
                node.speaker.set_route(fec, route);
            }
        }
        for n in 0..self.nodes.len() {
            self.drain(n);
        }
    }

    fn drain(&mut self, n: usize) {
        loop {
            let mut out = vec![];
            let node = &mut self.nodes[n];
            node.pool.now = Some(self.now);
            let more = node.speaker.drain(self.now, 5, &mut node.pool, &mut out);
            self.act(n, out);
            if !more {
                return;
            }
        }
    }

    fn act(&mut self, n: usize, out: Vec<Output>) {
        for o in out {
            match o {
                Output::Hello(h) => self.hello(n, h),
                Output::Connect {
                    conn,
                    local,
                    remote,
                    gtsm,
                } => {
                    assert!(gtsm);
                    self.at(
                        2,
                        Event::Connect {
                            from: n,
                            conn,
                            local,
                            remote,
                        },
                    );
                }
                Output::Gtsm(_)
                | Output::Adjacency(..)
                | Output::State(..)
                | Output::EndOfLib(..) => {}
                Output::Send(conn, octets) => {
                    if let Some(&(to, theirs)) = self.nodes[n].conns.get(&conn) {
                        // In pieces, as TCP would.
                        let at = self.chance.below(octets.len() + 1);
                        let (a, b) = octets.split_at(at);
                        self.at(
                            3,
                            Event::Octets {
                                to,
                                conn: theirs,
                                octets: a.to_vec(),
                            },
                        );
                        self.at(
                            3,
                            Event::Octets {
                                to,
                                conn: theirs,
                                octets: b.to_vec(),
                            },
                        );
                    }
                }
                Output::Close(conn) => {
                    if let Some((to, theirs)) = self.nodes[n].conns.remove(&conn) {
                        self.at(4, Event::Closed { to, conn: theirs });
                    }
                }
                Output::Ended(peer, cause) => self.nodes[n].ended.push((peer, cause)),
                Output::Said(_, status) => panic!("router {n} was told {status}"),
                Output::Install(i) => self.install(n, i),
            }
        }
    }

    fn hello(&mut self, n: usize, h: ToSend) {
        let link = usize::try_from(h.iface.expect("a link").0).unwrap();
        let l = self.links[link];
        if !l.up || (self.loss && self.chance.below(20) == 0) {
            return;
        }
        let to = if l.ends[0] == n { l.ends[1] } else { l.ends[0] };
        let source = on_link(link, n, Family::of(h.to));
        let late = 1 + u64::try_from(self.chance.below(30)).unwrap();
        let octets = h.octets;
        self.at(
            late,
            Event::Datagram {
                to,
                link,
                source,
                octets,
            },
        );
    }

    fn install(&mut self, n: usize, i: Install) {
        let node = &mut self.nodes[n];
        match i {
            Install::Ilm { label, fec, paths } => {
                assert_eq!(node.pool.held.get(&label), Some(&fec));
                assert!(!paths.is_empty());
                node.ilm.insert(label, (fec, paths));
            }
            Install::NoIlm { label, fec } => {
                assert_eq!(node.ilm.remove(&label).map(|x| x.0), Some(fec))
            }
            Install::Ftn { fec, paths } => drop(node.ftn.insert(fec, paths)),
            Install::NoFtn { fec } => assert!(node.ftn.remove(&fec).is_some()),
        }
    }

    fn event(&mut self, e: Event) {
        let mut out = vec![];
        let now = self.now;
        let n = match e {
            Event::Datagram {
                to,
                link,
                source,
                octets,
            } => {
                let iface = IfaceId(u32::try_from(link).unwrap());
                let d = Datagram {
                    iface,
                    source,
                    multicast: true,
                    hops: 255,
                    octets: &octets,
                };
                self.nodes[to].speaker.hello(now, &d, &mut out);
                to
            }
            Event::Connect {
                from,
                conn,
                local,
                remote,
            } => {
                let to = node_of(remote);
                let theirs = self.nodes[to]
                    .speaker
                    .accepted(now, remote, local, &mut out);
                self.nodes[from].conns.insert(conn, (to, theirs));
                self.nodes[to].conns.insert(theirs, (from, conn));
                self.act(to, out);
                out = vec![];
                self.nodes[from].speaker.connected(now, conn, &mut out);
                from
            }
            Event::Octets { to, conn, octets } => {
                self.nodes[to]
                    .speaker
                    .received(now, conn, &octets, &mut out);
                to
            }
            Event::Closed { to, conn } => {
                self.nodes[to].conns.remove(&conn);
                self.nodes[to].speaker.closed(now, conn, &mut out);
                to
            }
        };
        self.act(n, out);
        self.drain(n);
    }

    fn run(&mut self, d: Duration) {
        let end = self.now + d;
        let mut still = 0;
        loop {
            let event = self.queue.first_key_value().map(|(k, _)| k.0);
            let timers = self.nodes.iter().filter_map(|n| n.speaker.poll_at());
            let next = timers.chain(event).min();
            let Some(next) = next.filter(|t| *t <= end) else {
                self.now = end;
                return;
            };
            assert!(next >= self.now || event != Some(next), "time goes back");
            still = if next > self.now { 0 } else { still + 1 };
            assert!(still < 10_000, "time stands still");
            self.now = next.max(self.now);
            if event == Some(next) {
                let (_, e) = self.queue.pop_first().unwrap();
                self.event(e);
            } else {
                for n in 0..self.nodes.len() {
                    if self.nodes[n].speaker.poll_at().is_some_and(|t| t <= next) {
                        let mut out = vec![];
                        self.nodes[n].speaker.tick(self.now, &mut out);
                        self.act(n, out);
                        self.drain(n);
                    }
                }
            }
        }
    }

    /// A link or a session fails, or a link comes back.
    fn fault(&mut self) {
        let link = self.chance.below(self.links.len());
        match self.chance.below(4) {
            0 | 1 => {
                let up = !self.links[link].up;
                self.links[link].up = up;
                // Sometimes only Hellos tell.
                if up || self.chance.below(2) == 0 {
                    self.interface(link, up);
                }
                self.reroute();
            }
            _ => {
                let n = self.chance.below(self.nodes.len());
                let count = self.nodes[n].conns.len();
                if count > 0 {
                    let conn = *self.nodes[n]
                        .conns
                        .keys()
                        .nth(self.chance.below(count))
                        .unwrap();
                    let (to, theirs) = self.nodes[n].conns[&conn];
                    self.event(Event::Closed { to: n, conn });
                    self.at(50, Event::Closed { to, conn: theirs });
                }
            }
        }
    }

    /// Where a packet goes next: router and label, or nowhere (it is dropped).
    fn steps(
        &self,
        n: usize,
        label: Option<Label>,
        fec: IpNet,
    ) -> Vec<(usize, Option<Label>, bool)> {
        let node = &self.nodes[n];
        let go = |p: &Path| {
            let to = self.links[usize::try_from(p.next_hop.iface.0).unwrap()].ends;
            let to = if to[0] == n { to[1] } else { to[0] };
            match p.out {
                OutLabel::Label(l) => (to, Some(l), true),
                OutLabel::Pop => (to, None, true),
                OutLabel::Unlabelled => (to, None, false),
            }
        };
        match label {
            Some(Label::EXPLICIT_NULL_V4 | Label::EXPLICIT_NULL_V6) => self.steps(n, None, fec),
            Some(l) => {
                let found = node.ilm.get(&l);
                if let Some((meant, _)) = found {
                    assert_eq!(*meant, fec, "router {n} takes {l} for another FEC");
                }
                found
                    .into_iter()
                    .flat_map(|(_, paths)| paths.iter().map(go))
                    .collect()
            }
            None => match (node.ftn.get(&fec), node.routes.get(&fec)) {
                (Some(paths), _) => paths.iter().map(go).collect(),
                (None, Some(Route::Via(hops))) => {
                    let plain = |h: &NextHop| {
                        go(&Path {
                            next_hop: *h,
                            out: OutLabel::Unlabelled,
                            entropy: false,
                        })
                    };
                    hops.iter().map(plain).collect()
                }
                _ => vec![],
            },
        }
    }

    /// Follows every way; `settled`: all must arrive, with labels.
    fn follow(
        &self,
        n: usize,
        label: Option<Label>,
        fec: IpNet,
        settled: bool,
        way: &mut Vec<usize>,
    ) {
        assert!(
            !way.contains(&n),
            "a circle to {fec}: {way:?}, then {n} again"
        );
        way.push(n);
        let null = matches!(
            label,
            None | Some(Label::EXPLICIT_NULL_V4 | Label::EXPLICIT_NULL_V6)
        );
        if node_of(fec.addr()) == n {
            assert!(null, "{fec} came to its end with a label");
            assert!(label.is_some() == self.explicit || !settled || way.len() == 1);
        } else {
            let steps = self.steps(n, label, fec);
            assert!(!settled || !steps.is_empty(), "{fec} ends on {way:?}");
            for (to, label, labelled) in steps {
                assert!(
                    !settled || labelled,
                    "{fec} goes plain from {way:?} to {to}"
                );
                self.follow(to, label, fec, settled, way);
            }
        }
        way.pop();
    }

    fn check(&self, settled: bool) {
        for fec in self.fecs() {
            let d = self.distances(node_of(fec.addr()));
            for (n, distance) in d.iter().enumerate() {
                let settled = settled && distance.is_some();
                self.follow(n, None, fec, settled, &mut vec![]);
            }
        }
    }

    /// Nothing is left of what was.
    fn check_rest(&self) {
        for (n, node) in self.nodes.iter().enumerate() {
            let routed = node
                .routes
                .iter()
                .filter(|(_, r)| matches!(r, Route::Via(_)));
            let routed: BTreeSet<IpNet> = routed.map(|(f, _)| *f).collect();
            let held: BTreeSet<IpNet> = node.pool.held.values().copied().collect();
            assert_eq!(
                held, routed,
                "router {n} has labels for what it routes, and no others"
            );
            assert_eq!(node.pool.held.len(), routed.len());
            let ilm: BTreeSet<IpNet> = node.ilm.values().map(|x| x.0).collect();
            assert_eq!(ilm, routed, "router {n}");
            let shown: BTreeSet<IpNet> = node.ftn.keys().copied().collect();
            assert_eq!(shown, routed, "router {n}");
            // One session with each neighbour, however many links there are.
            let near = self.links.iter().filter(|l| l.up && l.ends.contains(&n));
            let near: BTreeSet<usize> = near.flat_map(|l| l.ends).filter(|e| *e != n).collect();
            assert_eq!(node.conns.len(), near.len(), "router {n}");
            let up = node
                .speaker
                .neighbors()
                .filter(|p| p.state == State::Operational);
            assert_eq!(up.count(), near.len(), "router {n}");
        }
    }
}

fn story(seed: u64, routers: usize, dual: bool, explicit: bool) {
    println!("seed {seed}: {routers} routers, dual-stack {dual}, explicit null {explicit}");
    let mut net = Network::new(seed, routers, dual, explicit);
    let settle = Duration::from_secs(150);
    net.run(settle);
    net.check(true);
    net.check_rest();
    for _ in 0..4 {
        net.loss = true;
        for _ in 0..=net.chance.below(4) {
            net.fault();
            net.check(false);
            let pause = Duration::from_millis(u64::try_from(net.chance.below(20_000)).unwrap());
            for _ in 0..4 {
                net.run(pause / 4);
                net.check(false);
            }
        }
        // Hellos get lost no more, so that no adjacency ends by chance.
        net.loss = false;
        net.run(settle);
        net.check(true);
        net.check_rest();
    }
}

#[test]
fn labels_lead_where_routes_lead() {
    for seed in 0..12 {
        story(seed, 12, false, seed % 3 == 0);
    }
}

#[test]
fn labels_lead_where_routes_lead_in_both_families() {
    for seed in 100..106 {
        story(seed, 12, true, seed % 2 == 0);
    }
}

#[test]
fn many_small_networks() {
    for seed in 1000..1060 {
        story(
            seed,
            2 + usize::try_from(seed % 4).unwrap(),
            seed % 2 == 0,
            false,
        );
    }
}
