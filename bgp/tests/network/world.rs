//! Time, connections and speakers. A speaker has a turn after each thing that happens to it; octets take their time, and
//! come in order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp::policy::{Policies, Policy, Protocol, Sets};
use bgp::rib::{HopEvent, NextHopId, Options as Choices};
use bgp::session::{GracefulConfig, PeerAs, SessionConfig};
use bgp::speaker::{
    Action, Config, ConnId, Ends, Local, Neighbor, Notice, OwnAddresses, PeerKey, Speaker, Use,
};
use bgp::types::{Asn, NextHop, RouterId};
use ipnet::IpNet;

use super::event::{Event, What};
use super::plan::{Owner, Plan, Role, loopback, loopback6, owner};
use super::update::Bad;
use super::{Dice, Wires};

const HOLD: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(20);
/// How long a connection is waited for that nobody answers.
const SYN: Duration = Duration::from_secs(3);

/// How a router forwards packets for a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It is its own.
    Own,
    /// By these next hops.
    By(Vec<IpAddr>),
}

/// A router that runs.
pub(crate) struct Router {
    pub(crate) speaker: Speaker,
    pub(crate) fib: BTreeMap<IpNet, Way>,
    /// Next hops that are asked for.
    hops: BTreeMap<NextHopId, NextHop>,
    /// When its timers are looked at next.
    alarm: Option<Instant>,
}

enum Item {
    Octets(Vec<u8>),
    End(&'static str),
}

/// One direction of a connection; `to` is `None` when that end is closed.
struct Pipe {
    to: Option<(usize, ConnId)>,
    coming: VecDeque<(Instant, Item)>,
    last: Instant,
}

/// A TCP connection of a session.
struct Wire {
    peering: usize,
    pipes: [Pipe; 2],
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Instant,
    pub(crate) began: Instant,
    pub(crate) routers: BTreeMap<usize, Router>,
    pub(crate) dice: Dice,
    /// When something was last said or decided that is more than "I am still here".
    pub(crate) stirred: Instant,
    pub(crate) updates: u64,
    wires: BTreeMap<usize, Wire>,
    next_wire: usize,
    events: BinaryHeap<Reverse<Event>>,
    seq: u64,
    lives: Vec<u32>,
    usable: Vec<bool>,
    bad: Bad,
    open: Arc<Policy>,
}

fn accept_all() -> Arc<Policy> {
    let all = Policies::compile(&BTreeMap::new(), &Sets::default(), &Policies::default());
    all.unwrap().get("accept-all").unwrap().clone()
}

impl World {
    pub(crate) fn new(plan: Plan, dice: Dice, wires: Wires) -> Self {
        let now = Instant::now();
        let nodes = plan.nodes.len();
        let mut w = Self {
            now,
            began: now,
            routers: BTreeMap::new(),
            dice,
            stirred: now,
            updates: 0,
            wires: BTreeMap::new(),
            next_wire: 0,
            events: BinaryHeap::new(),
            seq: 0,
            lives: vec![0; nodes],
            usable: Vec::new(),
            bad: Bad::new(wires),
            open: accept_all(),
            plan,
        };
        w.rewire();
        for n in 0..nodes {
            w.boot(n);
        }
        w
    }

    pub(crate) fn key(&self, peering: usize, side: usize) -> PeerKey {
        PeerKey::Address(self.plan.address(peering, side).into(), None)
    }

    /// Every session of a router: which, and its side of it.
    pub(crate) fn sides(&self, n: usize) -> Vec<(usize, usize)> {
        let all = self.plan.peerings.iter().enumerate();
        all.filter_map(|(i, p)| Some((i, p.ends.iter().position(|e| *e == n)?)))
            .collect()
    }

    fn config(&self, n: usize) -> Config {
        let me = &self.plan.nodes[n];
        let cluster = match me.role {
            Role::Reflector(c) if self.plan.shared_cluster_id => {
                Some([10, 254, 0, c as u8 + 1].into())
            }
            _ => None,
        };
        let local = Local {
            asn: Asn(me.asn),
            router_id: RouterId::new(loopback(n)).unwrap(),
            cluster_id: cluster,
            confederation: None,
        };
        let neighbors = self.sides(n).into_iter().map(|(p, side)| {
            let other = &self.plan.nodes[self.plan.peerings[p].ends[1 - side]];
            let peer = PeerAs::Is(Asn(other.asn));
            let mut session = SessionConfig::new(local.asn, local.router_id, peer);
            session.hold_time = HOLD;
            session.idle_hold_max = Duration::from_secs(8);
            session.graceful = Some(GracefulConfig {
                restart_time: GRACE,
                stale_time: 2 * GRACE,
                ..GracefulConfig::default()
            });
            let mut neighbor = Neighbor::new(session);
            neighbor.import = Some(self.open.clone());
            neighbor.export = Some(self.open.clone());
            neighbor.next_hop_self = matches!(me.role, Role::Client(_)) && other.asn == me.asn;
            neighbor.client = match (me.role, other.role) {
                (Role::Reflector(_), Role::Client(_)) => true,
                (Role::Reflector(_), Role::Reflector(_)) => self.plan.reflect_all,
                _ => false,
            };
            (self.key(p, 1 - side), Arc::new(neighbor))
        });
        Config {
            neighbors: neighbors.collect(),
            local: local.clone(),
            options: Choices::default(),
            dynamic: Vec::new(),
        }
    }

    fn own_addresses(&self, n: usize) -> Vec<IpAddr> {
        let links = self.sides(n).into_iter();
        let mut all: Vec<IpAddr> = links
            .flat_map(|(p, s)| {
                [
                    self.plan.address(p, s).into(),
                    self.plan.address6(p, s).into(),
                ]
            })
            .collect();
        all.extend([IpAddr::from(loopback(n)), loopback6(n).into()]);
        all
    }

    /// A router starts, with nothing but its configuration.
    fn boot(&mut self, n: usize) {
        self.lives[n] += 1;
        let seed = self.dice.next();
        let mut speaker = Speaker::new(self.config(n), seed, self.now);
        speaker.set_own_addresses(self.own_addresses(n));
        for net in &self.plan.nodes[n].prefixes {
            assert!(speaker.originate(*net, Protocol::Static, 0, None, self.now));
        }
        let router = Router {
            speaker,
            fib: BTreeMap::new(),
            hops: BTreeMap::new(),
            alarm: None,
        };
        self.routers.insert(n, router);
        self.stirred = self.now;
        self.turn(n);
    }

    fn soon(&mut self, after: Duration, life: Option<usize>, what: What) {
        self.at(self.now + after, life, what);
    }

    fn at(&mut self, at: Instant, life: Option<usize>, what: What) {
        self.seq += 1;
        let life = life.map(|n| (n, self.lives[n]));
        self.events.push(Reverse(Event {
            at,
            seq: self.seq,
            life,
            what,
        }));
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(200 + self.dice.below(20_000) as u64)
    }

    // --- what happens to the network ---

    fn rewire(&mut self) {
        self.usable = (0..self.plan.peerings.len())
            .map(|p| self.plan.usable(p))
            .collect();
    }

    /// Something of the plan has changed: routers of the AS hear of it one after the other, and what waited on wires that
    /// work again is on its way.
    fn replan(&mut self) {
        self.rewire();
        for n in 0..self.plan.nodes.len() {
            if self.plan.alive[n] {
                let after = Duration::from_millis(5 + self.dice.below(200) as u64);
                self.soon(after, Some(n), What::Routed(n));
            }
        }
        let wires: Vec<usize> = self.wires.keys().copied().collect();
        for wire in wires {
            for side in 0..2 {
                let after = self.latency();
                self.soon(after, None, What::Arrive { wire, side });
            }
        }
        self.stirred = self.now;
    }

    /// A link is lost, or is back. Where the routers see it, sessions over it end at once.
    pub(crate) fn set_link(&mut self, link: usize, up: bool, seen: bool) {
        self.plan.links[link].up = up;
        self.plan.links[link].seen_up = up || !(seen || self.plan.internal(link));
        self.replan();
        if up || !seen {
            return;
        }
        let over = |w: &&Wire| self.plan.peerings[w.peering].link == Some(link);
        let lost: Vec<(usize, ConnId)> = (self.wires.values().filter(over))
            .flat_map(|w| [w.pipes[0].to, w.pipes[1].to])
            .flatten()
            .collect();
        self.wires
            .retain(|_, w| self.plan.peerings[w.peering].link != Some(link));
        for (n, conn) in lost {
            if let Some(r) = self.routers.get_mut(&n) {
                r.speaker.failed(conn, "its link is down", self.now);
                self.turn(n);
            }
        }
    }

    /// A router dies without a word: what it has sent still comes.
    pub(crate) fn kill(&mut self, n: usize) {
        self.plan.alive[n] = false;
        self.routers.remove(&n);
        for w in self.wires.values_mut() {
            for pipe in &mut w.pipes {
                if pipe.to.is_some_and(|t| t.0 == n) {
                    pipe.to = None;
                }
            }
        }
        self.replan();
    }

    pub(crate) fn revive(&mut self, n: usize) {
        self.plan.alive[n] = true;
        self.replan();
        self.boot(n);
    }

    /// An operator ends a session; it comes back by itself.
    pub(crate) fn reset(&mut self, peering: usize, side: usize) {
        let n = self.plan.peerings[peering].ends[side];
        let key = self.key(peering, 1 - side);
        let now = self.now;
        if let Some(r) = self.routers.get_mut(&n) {
            r.speaker.reset(&key, "a test", now).unwrap();
            self.turn(n);
        }
    }

    /// A router takes its prefixes back, or has them again.
    pub(crate) fn announce(&mut self, n: usize, there: bool) {
        let now = self.now;
        let Some(r) = self.routers.get_mut(&n) else {
            return;
        };
        for net in &self.plan.nodes[n].prefixes {
            if there {
                r.speaker.originate(*net, Protocol::Static, 0, None, now);
            } else {
                r.speaker.withdraw_own(*net);
            }
        }
        self.turn(n);
    }

    // --- time ---

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.events.peek().is_some_and(|e| e.0.at <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Until nobody has said or decided anything for so long; `None`: that did not happen within `at_most` and so many UPDATEs.
    pub(crate) fn rest(
        &mut self,
        quiet: Duration,
        at_most: Duration,
        much: u64,
    ) -> Option<Duration> {
        let (start, much) = (self.now, self.updates + much);
        while self.now < self.stirred + quiet {
            if self.now > start + at_most || self.updates > much {
                return None;
            }
            self.step();
        }
        // What is on its way is a KEEPALIVE, and arrives.
        while self
            .wires
            .iter()
            .any(|(_, w)| self.usable[w.peering] && w.pipes.iter().any(|p| !p.coming.is_empty()))
        {
            if self.now > start + at_most {
                return None;
            }
            self.step();
        }
        Some(self.stirred.saturating_duration_since(start))
    }

    fn step(&mut self) {
        let Some(Reverse(event)) = self.events.pop() else {
            self.now += Duration::from_secs(1);
            return;
        };
        self.now = self.now.max(event.at);
        if event
            .life
            .is_some_and(|(n, life)| self.lives[n] != life || !self.plan.alive[n])
        {
            return;
        }
        match event.what {
            What::Alarm(n) => self.alarm(n),
            What::Arrive { wire, side } => self.arrive(wire, side),
            What::Knock {
                peering,
                side,
                conn,
            } => self.knock(peering, side, conn),
            What::Open {
                node,
                conn,
                wire,
                side,
            } => self.opened(node, conn, wire, side),
            What::Refused { node, conn, why } => {
                if let Some(r) = self.routers.get_mut(&node) {
                    r.speaker.failed(conn, why, self.now);
                    self.turn(node);
                }
            }
            What::Routed(n) => self.route(n),
        }
    }

    fn alarm(&mut self, n: usize) {
        let now = self.now;
        let Some(r) = self.routers.get_mut(&n) else {
            return;
        };
        if r.alarm.is_some_and(|at| at <= now) {
            r.alarm = None;
            r.speaker.tick(now);
            self.turn(n);
        }
    }

    // --- connections ---

    fn connect(&mut self, n: usize, conn: ConnId, to: &PeerKey) {
        let mine = self.sides(n);
        let found = mine.into_iter().find(|(p, s)| self.key(*p, 1 - s) == *to);
        let (peering, side) = found.expect("who is called is a neighbour");
        if !self.usable[peering] {
            let refused = What::Refused {
                node: n,
                conn,
                why: "timed out",
            };
            return self.soon(SYN, Some(n), refused);
        }
        let after = self.latency();
        self.soon(
            after,
            Some(n),
            What::Knock {
                peering,
                side: 1 - side,
                conn,
            },
        );
    }

    fn ends(&self, peering: usize, side: usize, ports: [u16; 2]) -> Ends {
        let end = |s: usize| SocketAddr::new(self.plan.address(peering, s).into(), ports[s]);
        Ends {
            local: end(side),
            remote: end(1 - side),
            interface: None,
            own: OwnAddresses {
                v4: Some(self.plan.address(peering, side)),
                v6: Some(self.plan.address6(peering, side)),
                link_local: None,
            },
        }
    }

    /// Ports of a connection that the side `active` opens.
    fn ports(wire: usize, active: usize) -> [u16; 2] {
        let high = 20_000 + (wire % 40_000) as u16;
        if active == 0 {
            [high, 179]
        } else {
            [179, high]
        }
    }

    fn knock(&mut self, peering: usize, side: usize, conn: ConnId) {
        let [caller, n] = [1 - side, side].map(|s| self.plan.peerings[peering].ends[s]);
        if !self.usable[peering] {
            return self.soon(
                SYN,
                Some(caller),
                What::Refused {
                    node: caller,
                    conn,
                    why: "timed out",
                },
            );
        }
        let wire = self.next_wire;
        self.next_wire += 1;
        let ends = self.ends(peering, side, Self::ports(wire, 1 - side));
        let now = self.now;
        let Some(r) = self.routers.get_mut(&n) else {
            return;
        };
        let after = Duration::from_millis(5);
        let Some(ours) = r.speaker.accepted(ends, now) else {
            return self.soon(
                after,
                Some(caller),
                What::Refused {
                    node: caller,
                    conn,
                    why: "connection refused",
                },
            );
        };
        let pipe = |to| Pipe {
            to,
            coming: VecDeque::new(),
            last: now,
        };
        let mut pipes = [pipe(None), pipe(None)];
        pipes[side].to = Some((n, ours));
        pipes[1 - side].to = Some((caller, conn));
        self.wires.insert(wire, Wire { peering, pipes });
        self.soon(
            after,
            Some(caller),
            What::Open {
                node: caller,
                conn,
                wire,
                side: 1 - side,
            },
        );
        self.turn(n);
    }

    fn opened(&mut self, n: usize, conn: ConnId, wire: usize, side: usize) {
        let Some(w) = self.wires.get(&wire) else {
            return;
        };
        if w.pipes[side].to.is_none() {
            // It was given up meanwhile.
            return;
        }
        let ends = self.ends(w.peering, side, Self::ports(wire, side));
        let now = self.now;
        if let Some(r) = self.routers.get_mut(&n) {
            r.speaker.connected(conn, ends, now);
            self.turn(n);
        }
    }

    /// Puts something on its way to the end `side`.
    fn push(&mut self, wire: usize, side: usize, item: Item) {
        let after = self.latency();
        let Some(w) = self.wires.get_mut(&wire) else {
            return;
        };
        let pipe = &mut w.pipes[side];
        let at = (self.now + after).max(pipe.last + Duration::from_nanos(1));
        pipe.last = at;
        pipe.coming.push_back((at, item));
        self.at(at, None, What::Arrive { wire, side });
    }

    fn arrive(&mut self, wire: usize, side: usize) {
        let now = self.now;
        let Some(w) = self.wires.get_mut(&wire) else {
            return;
        };
        if !self.usable[w.peering] || w.pipes[side].coming.front().is_none_or(|c| c.0 > now) {
            return;
        }
        let Some((_, item)) = w.pipes[side].coming.pop_front() else {
            return;
        };
        let Some((n, conn)) = w.pipes[side].to else {
            // Nobody is there any more: a reset comes back.
            if matches!(item, Item::Octets(_)) {
                w.pipes[side].coming.clear();
                self.push(wire, 1 - side, Item::End("connection reset"));
            }
            return;
        };
        match item {
            Item::End(why) => {
                w.pipes[side].to = None;
                if w.pipes[1 - side].to.is_none() {
                    self.wires.remove(&wire);
                }
                if let Some(r) = self.routers.get_mut(&n) {
                    r.speaker.failed(conn, why, now);
                }
            }
            Item::Octets(octets) => {
                let Some(r) = self.routers.get_mut(&n) else {
                    return;
                };
                let taken = r.speaker.received(conn, &octets, now);
                if taken < octets.len() {
                    let again = now + Duration::from_millis(1);
                    w.pipes[side]
                        .coming
                        .push_front((again, Item::Octets(octets[taken..].to_vec())));
                    self.at(again, None, What::Arrive { wire, side });
                }
            }
        }
        self.turn(n);
        // What came behind it may have waited for it.
        if let Some(next) = self
            .wires
            .get(&wire)
            .and_then(|w| w.pipes[side].coming.front())
        {
            let at = next.0.max(now);
            self.at(at, None, What::Arrive { wire, side });
        }
    }

    // --- speakers ---

    /// Does what a speaker asks for, until it asks for nothing.
    fn turn(&mut self, n: usize) {
        loop {
            let mut busy = false;
            while let Some(action) = self
                .routers
                .get_mut(&n)
                .and_then(|r| r.speaker.next_action())
            {
                busy = true;
                match action {
                    Action::Connect { conn, peer } => self.connect(n, conn, &peer),
                    Action::Close(conn) => self.close(n, conn),
                    // Other states come and go while a neighbour is away.
                    Action::Notice(_, Notice::Up | Notice::Down(_)) => self.stirred = self.now,
                    Action::Notice(..) => {}
                }
            }
            busy |= self.hops(n);
            busy |= self.work(n);
            busy |= self.write(n);
            if !busy {
                break;
            }
        }
        let Some(r) = self.routers.get_mut(&n) else {
            return;
        };
        if let Some(at) = r.speaker.poll_at()
            && r.alarm.is_none_or(|old| at < old)
        {
            r.alarm = Some(at);
            self.at(at, Some(n), What::Alarm(n));
        }
    }

    fn work(&mut self, n: usize) -> bool {
        let budget = 1 + self.dice.below(200);
        let Some(Router { speaker, fib, .. }) = self.routers.get_mut(&n) else {
            return false;
        };
        let mut moved = false;
        let mut best = |net: IpNet, by: &[Use<'_>]| {
            moved = true;
            let way = match by {
                [] => {
                    fib.remove(&net);
                    return;
                }
                [own] if own.relation.is_none() => Way::Own,
                all => Way::By(
                    all.iter()
                        .filter_map(|u| Some(u.next_hop?.address()))
                        .collect(),
                ),
            };
            fib.insert(net, way);
        };
        let more = speaker.work(budget, &mut best, self.now);
        if moved {
            self.stirred = self.now;
        }
        more
    }

    /// How a router reaches an address: its metric.
    fn metric(&self, n: usize, near: &BTreeMap<usize, u32>, address: IpAddr) -> Option<u32> {
        match owner(address) {
            Owner::Loopback(m) => near.get(&m).copied(),
            Owner::Link(l, _) => {
                let l = &self.plan.links[l];
                (l.seen_up && l.ends.contains(&n)).then_some(0)
            }
        }
    }

    fn hops(&mut self, n: usize) -> bool {
        let Some(r) = self.routers.get_mut(&n) else {
            return false;
        };
        let events: Vec<HopEvent> = r.speaker.next_hops().collect();
        let near = if events.is_empty() {
            BTreeMap::new()
        } else {
            self.plan.distances(n)
        };
        for event in &events {
            match *event {
                HopEvent::Wanted(id, hop, _) => {
                    let metric = self.metric(n, &near, hop.address());
                    if let Some(r) = self.routers.get_mut(&n) {
                        r.hops.insert(id, hop);
                        r.speaker.set_next_hop(id, metric);
                    }
                }
                HopEvent::Unwanted(id, ..) => {
                    if let Some(r) = self.routers.get_mut(&n) {
                        r.hops.remove(&id);
                    }
                }
            }
        }
        !events.is_empty()
    }

    /// A router finds all its next hops anew.
    fn route(&mut self, n: usize) {
        let near = self.plan.distances(n);
        let Some(r) = self.routers.get(&n) else {
            return;
        };
        let all: Vec<(NextHopId, NextHop)> = r.hops.iter().map(|(i, h)| (*i, *h)).collect();
        for (id, hop) in all {
            let metric = self.metric(n, &near, hop.address());
            if let Some(r) = self.routers.get_mut(&n) {
                r.speaker.set_next_hop(id, metric);
            }
        }
        self.turn(n);
    }

    fn find(&self, n: usize, conn: ConnId) -> Option<(usize, usize)> {
        let is = |p: &Pipe| p.to == Some((n, conn));
        let mut all = self.wires.iter();
        all.find_map(|(id, w)| Some((*id, w.pipes.iter().position(is)?)))
    }

    fn close(&mut self, n: usize, conn: ConnId) {
        let Some(r) = self.routers.get_mut(&n) else {
            return;
        };
        let octets = r.speaker.output(conn).to_vec();
        r.speaker.closed(conn);
        let Some((wire, side)) = self.find(n, conn) else {
            return;
        };
        if !octets.is_empty() {
            self.push(wire, 1 - side, Item::Octets(octets));
        }
        self.push(wire, 1 - side, Item::End("closed by the neighbour"));
        let Some(w) = self.wires.get_mut(&wire) else {
            return;
        };
        w.pipes[side].to = None;
        w.pipes[side].coming.clear();
        if w.pipes[1 - side].to.is_none() {
            self.wires.remove(&wire);
        }
    }

    fn write(&mut self, n: usize) -> bool {
        let Some(r) = self.routers.get(&n) else {
            return false;
        };
        let ready: Vec<ConnId> = r.speaker.writable().collect();
        let mut busy = false;
        for conn in ready {
            let Some((wire, side)) = self.find(n, conn) else {
                continue;
            };
            let now = self.now;
            let Some(r) = self.routers.get_mut(&n) else {
                return busy;
            };
            let octets = r.speaker.output(conn).to_vec();
            r.speaker.wrote(conn, octets.len(), now);
            busy = true;
            let peering = self.wires.get(&wire).map(|w| w.peering);
            let internal = peering.is_some_and(|p| self.plan.peerings[p].link.is_none());
            let (octets, updates) = self.bad.carry(internal, &octets);
            if updates > 0 {
                self.updates += updates;
                self.stirred = now;
            }
            // In pieces that end anywhere.
            let mut rest = &octets[..];
            while !rest.is_empty() {
                let most = if self.dice.one_in(4) { 40 } else { 4096 };
                let (piece, later) = rest.split_at(rest.len().min(1 + self.dice.below(most)));
                rest = later;
                self.push(wire, 1 - side, Item::Octets(piece.to_vec()));
            }
        }
        busy
    }
}
