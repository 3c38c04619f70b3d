//! The network: routers, links, sessions, prefixes; who is up; the shortest ways through the AS.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Dice;

/// Fewer routers than these are no network.
pub(crate) const FEWEST: usize = 10;
/// There are addresses for so many.
pub(crate) const MOST: usize = 120;
/// The AS in the middle.
pub(crate) const AS: u32 = 64_512;
const CLUSTERS: usize = 2;
const REFLECTORS: usize = 2;
/// What a link between clusters costs; within one a link costs 1 to 9, so that no way within a cluster is as long.
const FAR: u32 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Reflector(usize),
    Client(usize),
    Outside,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) asn: u32,
    pub(crate) role: Role,
    pub(crate) prefixes: Vec<IpNet>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ends: [usize; 2],
    pub(crate) metric: u32,
    pub(crate) up: bool,
    /// What both routers believe of it: a silent failure is not seen.
    pub(crate) seen_up: bool,
}

/// A session, and the link that it needs; within the AS any way will do.
#[derive(Debug)]
pub(crate) struct Peering {
    pub(crate) ends: [usize; 2],
    pub(crate) link: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) peerings: Vec<Peering>,
    /// Alive, or dead.
    pub(crate) alive: Vec<bool>,
    /// Reflectors are each other's clients, so that nothing but their marks stops loops.
    pub(crate) reflect_all: bool,
    /// The reflectors of a cluster have one CLUSTER_ID.
    pub(crate) shared_cluster_id: bool,
}

pub(crate) fn loopback(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0aff_0000 + n as u32 + 1)
}

pub(crate) fn loopback6(n: usize) -> Ipv6Addr {
    Ipv6Addr::from(0x2001_0db8_00ff_0000_0000_0000_0000_0001 + ((n as u128) << 16))
}

impl Link {
    pub(crate) fn address(n: usize, side: usize) -> Ipv4Addr {
        Ipv4Addr::from(0xac10_0000 + 4 * n as u32 + 1 + side as u32)
    }

    pub(crate) fn address6(n: usize, side: usize) -> Ipv6Addr {
        let net = 0x2001_0db8_00aa_0000_0000_0000_0000_0000_u128;
        Ipv6Addr::from(net + ((n as u128) << 64) + 1 + side as u128)
    }
}

/// Whose address it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Loopback(usize),
    Link(usize, usize),
}

pub(crate) fn owner(address: IpAddr) -> Owner {
    match address {
        IpAddr::V4(a) if a.octets()[0] == 10 => {
            Owner::Loopback((u32::from(a) & 0xffff) as usize - 1)
        }
        IpAddr::V4(a) => {
            let n = u32::from(a) - 0xac10_0000;
            Owner::Link(n as usize / 4, (n % 4) as usize - 1)
        }
        IpAddr::V6(a) if a.segments()[2] == 0xff => {
            Owner::Loopback((u128::from(a) >> 16) as usize & 0xffff)
        }
        IpAddr::V6(a) => Owner::Link(a.segments()[3].into(), usize::from(a.segments()[7]) - 1),
    }
}

impl Plan {
    pub(crate) fn new(dice: &mut Dice, nodes: usize) -> Self {
        let outside = nodes / 3;
        let mut p = Self {
            nodes: Vec::new(),
            links: Vec::new(),
            peerings: Vec::new(),
            alive: vec![true; nodes],
            reflect_all: dice.one_in(2),
            shared_cluster_id: dice.one_in(2),
        };
        for n in 0..nodes {
            let inner = nodes - outside;
            let role = match n {
                n if n < CLUSTERS * REFLECTORS => Role::Reflector(n % CLUSTERS),
                n if n < inner => Role::Client(n % CLUSTERS),
                _ => Role::Outside,
            };
            let (name, asn) = match role {
                Role::Reflector(c) => (format!("rr{n}-c{c}"), AS),
                Role::Client(c) => (format!("r{n}-c{c}"), AS),
                Role::Outside => (format!("as{n}"), 4_200_000_000 + n as u32),
            };
            let prefixes = (0..1 + dice.below(3)).flat_map(|i| {
                let v4 = Ipv4Addr::from(0xc612_0000 + ((n as u32) << 10) + ((i as u32) << 8));
                let v6 = Ipv6Addr::from(
                    0x2001_0db8_1000_u128 << 80 | (n as u128) << 72 | (i as u128) << 68,
                );
                [
                    IpNet::new_assert(v4.into(), 24),
                    IpNet::new_assert(v6.into(), 64),
                ]
            });
            p.nodes.push(Node {
                name,
                asn,
                role,
                prefixes: prefixes.collect(),
            });
        }
        p.wire(dice);
        p
    }

    fn wire(&mut self, dice: &mut Dice) {
        for c in 0..CLUSTERS {
            let all = self.cluster(c);
            // A tree, and some links more.
            for (i, n) in all.iter().enumerate().skip(1) {
                let other = all[dice.below(i)];
                self.link(*n, other, 1 + dice.below(9) as u32);
            }
            for _ in 0..all.len() {
                let (a, b) = (all[dice.below(all.len())], all[dice.below(all.len())]);
                if a != b {
                    self.link(a, b, 1 + dice.below(9) as u32);
                }
            }
        }
        for _ in 0..3 {
            let (a, b) = (self.cluster(0), self.cluster(1));
            let (a, b) = (a[dice.below(a.len())], b[dice.below(b.len())]);
            self.link(a, b, FAR);
        }
        for a in 0..self.nodes.len() {
            for b in a + 1..self.nodes.len() {
                let with = match (self.nodes[a].role, self.nodes[b].role) {
                    (Role::Reflector(_), Role::Reflector(_)) => true,
                    (Role::Reflector(x), Role::Client(y)) => x == y,
                    _ => false,
                };
                if with {
                    self.peerings.push(Peering {
                        ends: [a, b],
                        link: None,
                    });
                }
            }
        }
        let is_client = |n: &usize| matches!(self.nodes[*n].role, Role::Client(_));
        let clients: Vec<usize> = (0..self.nodes.len()).filter(is_client).collect();
        let outside = self.outside();
        for n in &outside {
            for _ in 0..1 + dice.below(3) {
                self.external(*n, clients[dice.below(clients.len())]);
            }
            if dice.one_in(3) {
                let other = outside[dice.below(outside.len())];
                if other != *n {
                    self.external(*n, other);
                }
            }
        }
    }

    fn link(&mut self, a: usize, b: usize, metric: u32) -> usize {
        self.links.push(Link {
            ends: [a, b],
            metric,
            up: true,
            seen_up: true,
        });
        self.links.len() - 1
    }

    fn external(&mut self, a: usize, b: usize) {
        let link = self.link(a, b, 0);
        self.peerings.push(Peering {
            ends: [a, b],
            link: Some(link),
        });
    }

    pub(crate) fn outside(&self) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|n| self.nodes[*n].role == Role::Outside)
            .collect()
    }

    fn cluster(&self, c: usize) -> Vec<usize> {
        let is_in = |n: &usize| self.cluster_of(*n) == Some(c);
        (0..self.nodes.len()).filter(is_in).collect()
    }

    fn cluster_of(&self, n: usize) -> Option<usize> {
        match self.nodes[n].role {
            Role::Reflector(c) | Role::Client(c) => Some(c),
            Role::Outside => None,
        }
    }

    pub(crate) fn internal(&self, link: usize) -> bool {
        self.links[link].metric > 0
    }

    /// Packets pass.
    pub(crate) fn works(&self, link: usize) -> bool {
        self.links[link].up && self.links[link].ends.iter().all(|n| self.alive[*n])
    }

    /// Who is reached through the AS, and at what cost.
    pub(crate) fn distances(&self, from: usize) -> BTreeMap<usize, u32> {
        let mut found = BTreeMap::new();
        let mut heap = BinaryHeap::from([Reverse((0, from))]);
        while let Some(Reverse((cost, n))) = heap.pop() {
            if found.contains_key(&n) {
                continue;
            }
            found.insert(n, cost);
            for (i, l) in self.links.iter().enumerate() {
                if self.internal(i) && self.works(i) && l.ends.contains(&n) {
                    let other = l.ends[usize::from(l.ends[0] == n)];
                    heap.push(Reverse((cost + l.metric, other)));
                }
            }
        }
        found
    }

    /// Octets pass between the ends of a session.
    pub(crate) fn usable(&self, peering: usize) -> bool {
        let p = &self.peerings[peering];
        match p.link {
            Some(l) => self.works(l),
            None => {
                let alive = p.ends.iter().all(|n| self.alive[*n]);
                alive && self.distances(p.ends[0]).contains_key(&p.ends[1])
            }
        }
    }

    /// Each cluster hangs together by itself, and has a reflector: else what one of its routers knows may be hidden from
    /// others by rights.
    pub(crate) fn clusters_are_whole(&self) -> bool {
        (0..CLUSTERS).all(|c| {
            let members = self.cluster(c);
            let alive: Vec<usize> = members.into_iter().filter(|n| self.alive[*n]).collect();
            let reflects = |n: &usize| matches!(self.nodes[*n].role, Role::Reflector(_));
            let Some(first) = alive.iter().copied().find(reflects) else {
                return false;
            };
            let near = self.distances(first);
            alive
                .iter()
                .all(|n| near.get(n).is_some_and(|cost| *cost < FAR))
        })
    }

    /// Every router of the AS reaches every other.
    pub(crate) fn as_is_whole(&self) -> bool {
        let inner: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.alive[*n] && self.cluster_of(*n).is_some())
            .collect();
        let near = self.distances(inner[0]);
        inner.iter().all(|n| near.contains_key(n))
    }

    /// Who can hear, over any number of sessions, what a router says.
    pub(crate) fn hearers(&self, from: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut todo = vec![from];
        let usable: Vec<usize> = (0..self.peerings.len())
            .filter(|p| self.usable(*p))
            .collect();
        while let Some(n) = todo.pop() {
            if self.alive[n] && found.insert(n) {
                let with = usable.iter().map(|p| self.peerings[*p].ends);
                let with = with.filter(|e| e.contains(&n));
                todo.extend(with.map(|e| e[usize::from(e[0] == n)]));
            }
        }
        found
    }

    /// The address that a router has in a session.
    pub(crate) fn address(&self, peering: usize, side: usize) -> Ipv4Addr {
        let p = &self.peerings[peering];
        match p.link {
            Some(l) => Link::address(l, side),
            None => loopback(p.ends[side]),
        }
    }

    pub(crate) fn address6(&self, peering: usize, side: usize) -> Ipv6Addr {
        let p = &self.peerings[peering];
        match p.link {
            Some(l) => Link::address6(l, side),
            None => loopback6(p.ends[side]),
        }
    }
}
