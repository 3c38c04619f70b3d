//! From next hops to the wire: recursive resolution over the RIB (RFC 4271 5.1.3 and 9.1.2.1 use the same word).
//!
//! A next hop without an interface is looked up in the RIB itself, at the longest prefix that contains it, and takes
//! over what the best usable route there comes down to, with that route's labels outside its own. A prefix that comes up
//! twice on the way is a loop, and carries nothing.
//!
//! A next hop that is a backup makes all that it comes down to a backup; so does one that is none, of what is a backup in the
//! route that it stands on. There are no backups of backups.
//!
//! Each next hop is looked up in the table that its path names: a VRF's, or for a labelled one the global table, as the way to
//! another PE is (RFC 4364 5).
//!
//! A label means something to the router that gave it, and to no other (RFC 3031 3.1): so one is pushed only where its packet
//! comes to that router with it on top. The next hop is the neighbour on the link itself, or each route on the way pushes
//! labels for where it leads; the implicit null is such a one, though nothing is pushed for it (RFC 4364 5, RFC 8277 4). Routes
//! and paths that have none are passed over for a labelled next hop, and without any it can't be reached.
//!
//! Departure: the longest prefix decides even while none of its routes is usable; the next hop is then unreachable, and
//! does not fall back to a shorter prefix. So the answer depends on the routes only, never on the order in
//! which they came, and a host behind a dead link is not sought behind the default route.
//!
//! BGP's routes are different, as they come from others. Within the subnet of an interface they lead no next hop astray: it
//! is a neighbour on that link. And one that leads nowhere is passed over: a route that contains its own next hop would
//! take itself away, come back, and so on for ever. Two of them may stand on one another (a next hop within the AS on one
//! that the network below tells by BGP); with more, the work to pass over those that lead nowhere would multiply.

use std::net::IpAddr;

use ipnet::IpNet;
use net::{IfaceId, LabelStack, VrfId};

use super::spec::{Discard, Hop, PathSpec, Problem, Source};

/// How many routes may stand on one another.
const MAX_DEPTH: usize = 8;
/// How many look-ups one resolution may take: nested multipath routes multiply.
const MAX_LOOKUPS: usize = 2048;
/// How many of BGP's routes may stand on one another.
const MAX_BGP: usize = 2;
/// Most paths of one group; those beyond are left out.
pub(crate) const MAX_PATHS: usize = 64;

/// What a path comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// A neighbour on the wire.
    Neighbor(IfaceId, IpAddr),
    /// Whoever has the destination address on that link.
    Glean(IfaceId),
    /// The router itself.
    Local(IfaceId),
    /// Nowhere.
    Discard(Discard),
}

/// A path to a target, with everything that is pushed on the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolved {
    /// The target.
    pub target: Target,
    /// The labels, outermost first.
    pub labels: LabelStack,
    /// An entropy label goes below so many of them (RFC 6790); 0: none does. Of several LSPs that could have one the innermost
    /// has it.
    pub entropy: u8,
    /// Its share against the others that are backups, or are none, as it is.
    pub weight: u32,
    /// It carries only while none of those that are no backups does.
    pub backup: bool,
    /// What is under its labels gets to the router that it leads to, and to none before.
    pub lsp: bool,
}

/// What a resolution looked at: when any of it changes, the resolution is done again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deps {
    pub(crate) addresses: Vec<(VrfId, IpAddr)>,
    pub(crate) ifaces: Vec<IfaceId>,
}

/// What resolution asks of the RIB.
pub(crate) trait View {
    /// The prefixes of a table that contain `address` and have a route (neighbours are none), longest first, with the paths of their
    /// routes, best first.
    fn matches(
        &self,
        vrf: VrfId,
        address: IpAddr,
    ) -> impl Iterator<Item = (IpNet, impl Iterator<Item = (Source, &[PathSpec])>)>;
    /// Is that interface there and up?
    fn is_up(&self, iface: IfaceId) -> bool;
}

/// One resolution.
pub(crate) struct Resolver<'a, V> {
    view: &'a V,
    pub(crate) deps: Deps,
    pub(crate) problem: Option<Problem>,
    /// How many routes stood on one another at most; 0: all is on the link.
    pub(crate) depth: u32,
    visited: Vec<(VrfId, IpNet)>,
    /// How many of those are BGP's.
    of_bgp: usize,
    lookups: usize,
}

impl<'a, V: View> Resolver<'a, V> {
    pub(crate) fn new(view: &'a V) -> Self {
        Self {
            view,
            deps: Deps::default(),
            problem: None,
            depth: 0,
            visited: Vec::new(),
            of_bgp: 0,
            lookups: 0,
        }
    }

    /// What `paths` come down to, backups last; empty when they carry nothing.
    pub(crate) fn paths(&mut self, paths: &[PathSpec]) -> Vec<Resolved> {
        let mut parts = Vec::with_capacity(paths.len());
        let mut behind = Vec::new();
        for p in paths {
            let inner = self.path(p);
            let (backups, first): (Vec<_>, Vec<_>) =
                inner.into_iter().partition(|r| r.backup || p.backup);
            for (part, to) in [(first, &mut parts), (backups, &mut behind)] {
                if !part.is_empty() {
                    to.push((p.weight.max(1), part));
                }
            }
        }
        let mut out = combine(parts);
        let backups = combine(behind).into_iter();
        out.extend(backups.map(|r| Resolved { backup: true, ..r }));
        out
    }

    fn fail(&mut self, p: Problem) -> Vec<Resolved> {
        self.problem.get_or_insert(p);
        Vec::new()
    }

    fn up(&mut self, iface: IfaceId) -> bool {
        self.deps.ifaces.push(iface);
        self.view.is_up(iface)
    }

    /// What one path comes down to, its labels pushed inside those of what it stands on.
    fn path(&mut self, p: &PathSpec) -> Vec<Resolved> {
        let below = match p.hop {
            Hop::Dev(i) | Hop::Local(i) | Hop::Via { dev: Some(i), .. } if !self.up(i) => {
                return self.fail(Problem::Down(i));
            }
            Hop::Dev(i) => single(Target::Glean(i)),
            Hop::Local(i) => single(Target::Local(i)),
            Hop::Discard(d) => single(Target::Discard(d)),
            Hop::Via {
                address,
                dev: Some(i),
            } => single(Target::Neighbor(i, address)),
            Hop::Via { address, dev: None } => {
                let under = p.pushed().next().is_some();
                self.recurse(
                    p.vrf,
                    address,
                    Ask {
                        by_default: true,
                        under,
                    },
                )
            }
            Hop::Bgp {
                address,
                by_default,
                labeled: under,
            } => self.recurse(p.vrf, address, Ask { by_default, under }),
            Hop::Neighbor { dev, address } => self.on_link(p.vrf, dev, address),
        };
        let mut out = Vec::with_capacity(below.len());
        for mut r in below {
            let discards = matches!(r.target, Target::Discard(_));
            if !discards && p.pushed().any(|l| r.labels.try_push(l).is_err()) {
                self.problem.get_or_insert(Problem::TooManyLabels);
                continue;
            }
            if p.entropy {
                r.entropy = r.labels.len() as u8; // at most 8
            }
            // Without a label of its own it leads by what it stands on to the end of that, not to its own.
            r.lsp &= discards || !p.labels.is_empty();
            out.push(r);
        }
        out
    }

    /// What the route to `address` comes down to.
    fn recurse(&mut self, vrf: VrfId, address: IpAddr, ask: Ask) -> Vec<Resolved> {
        self.deps.addresses.push((vrf, address));
        let view = self.view;
        let mut on_link = None;
        for (prefix, routes) in view.matches(vrf, address) {
            if prefix.prefix_len() == 0 && !ask.by_default {
                break;
            }
            let mut routes = routes.peekable();
            let of_bgp = routes.peek().is_some_and(|(s, _)| s.is_bgp());
            if of_bgp
                && (self.of_bgp >= MAX_BGP
                    || *on_link.get_or_insert_with(|| is_on_link(view, vrf, address)))
            {
                continue;
            }
            self.lookups += 1;
            if self.visited.len() >= MAX_DEPTH || self.lookups > MAX_LOOKUPS {
                return self.fail(Problem::TooDeep(address));
            }
            if self.visited.contains(&(vrf, prefix)) {
                self.problem.get_or_insert(Problem::Loop(address));
                match of_bgp {
                    true => continue,
                    false => return Vec::new(),
                }
            }
            self.visited.push((vrf, prefix));
            self.of_bgp += usize::from(of_bgp);
            let found = self.first(address, routes, ask.under);
            self.of_bgp -= usize::from(of_bgp);
            self.visited.pop();
            if !of_bgp || !found.is_empty() {
                return found;
            }
        }
        self.fail(Problem::NoRoute(address))
    }

    /// What the best usable of these routes to `address` comes down to.
    fn first<'p>(
        &mut self,
        address: IpAddr,
        routes: impl Iterator<Item = (Source, &'p [PathSpec])>,
        under: bool,
    ) -> Vec<Resolved> {
        self.depth = self.depth.max(self.visited.len() as u32 - 1);
        for (source, paths) in routes {
            if source == Source::Local {
                return self.fail(Problem::OwnAddress(address));
            }
            let mut found = self.paths(paths);
            found.iter_mut().for_each(|r| r.arrive(address));
            if under && !found.is_empty() {
                found.retain(|r| r.lsp);
                if found.is_empty() {
                    // Whatever else is wrong with others: this is what lacks.
                    self.problem = Some(Problem::NoLabel(address));
                }
            }
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }

    /// A neighbour is used only while the route to it is the link that it answered on.
    fn on_link(&mut self, vrf: VrfId, dev: IfaceId, address: IpAddr) -> Vec<Resolved> {
        let any = Ask {
            by_default: true,
            under: false,
        };
        let reached = self.recurse(vrf, address, any);
        let target = Target::Neighbor(dev, address);
        if reached
            .iter()
            .any(|r| r.target == target && r.labels.is_empty())
        {
            single(target)
        } else {
            self.fail(Problem::Overridden)
        }
    }
}

/// How a next hop may be reached.
#[derive(Clone, Copy, Debug)]
struct Ask {
    /// By the default route, too.
    by_default: bool,
    /// With labels on top that only it knows.
    under: bool,
}

impl Resolved {
    /// It is of a route to `address`.
    fn arrive(&mut self, address: IpAddr) {
        if let Target::Glean(i) = self.target {
            self.target = Target::Neighbor(i, address);
        }
        let is_it = matches!(self.target, Target::Neighbor(_, a) if a == address);
        self.lsp |= is_it && self.labels.is_empty();
    }
}

/// Is the address in the subnet of an interface?
pub(super) fn is_on_link(view: &impl View, vrf: VrfId, address: IpAddr) -> bool {
    view.matches(vrf, address)
        .any(|(_, mut routes)| routes.any(|(s, _)| s == Source::Connected))
}

fn single(target: Target) -> Vec<Resolved> {
    vec![Resolved {
        target,
        labels: LabelStack::new(),
        entropy: 0,
        weight: 1,
        backup: false,
        lsp: true,
    }]
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Puts together what several paths come down to: each keeps its share of the whole, divided among its own parts by
/// their weights; equal parts become one.
fn combine(parts: Vec<(u32, Vec<Resolved>)>) -> Vec<Resolved> {
    let total = |p: &[Resolved]| p.iter().map(|r| u64::from(r.weight)).sum::<u64>().max(1);
    let mut scale = 1u64;
    for (_, p) in &parts {
        let t = total(p);
        // The least common multiple, as long as it stays small; beyond that, shares are rounded.
        let next = scale / gcd(scale, t) * t;
        if next <= 1 << 24 {
            scale = next;
        }
    }
    let mut out: Vec<(Resolved, u64)> = Vec::new();
    for (share, p) in parts {
        let t = total(&p);
        for r in p {
            let w = (u64::from(share) * u64::from(r.weight)).saturating_mul(scale) / t;
            let same = out.iter().position(|(o, _)| {
                (o.target, &o.labels, o.entropy) == (r.target, &r.labels, r.entropy)
            });
            match same {
                Some(at) => {
                    out[at].0.lsp |= r.lsp;
                    out[at].1 = out[at].1.saturating_add(w);
                }
                None if out.len() < MAX_PATHS => out.push((r, w.max(1))),
                None => {}
            }
        }
    }
    let divisor = out.iter().fold(0, |g, (_, w)| gcd(g, *w)).max(1);
    let greatest = out.iter().map(|(_, w)| w / divisor).max().unwrap_or(1);
    // Sums of weights must fit in 32 bits.
    let shift = 64u32
        .saturating_sub(greatest.leading_zeros())
        .saturating_sub(24);
    out.into_iter()
        .map(|(mut r, w)| {
            r.weight = u32::try_from((w / divisor) >> shift)
                .unwrap_or(u32::MAX)
                .max(1);
            r
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(n: u8, weight: u32) -> Resolved {
        let address = IpAddr::from([192, 0, 2, n]);
        Resolved {
            target: Target::Neighbor(IfaceId(1), address),
            labels: LabelStack::new(),
            entropy: 0,
            weight,
            backup: false,
            lsp: true,
        }
    }

    fn weights(r: &[Resolved]) -> Vec<u32> {
        r.iter().map(|r| r.weight).collect()
    }

    #[test]
    fn shares_are_divided_below() {
        // 1/2 over three equal ones, 1/2 over one: 1:1:1:3
        let c = combine(vec![
            (1, vec![to(1, 1), to(2, 1), to(3, 1)]),
            (1, vec![to(4, 1)]),
        ]);
        assert_eq!(weights(&c), [1, 1, 1, 3]);
        // 2/3 over 1:3, 1/3 over one: 1/6, 1/2, 1/3
        let c = combine(vec![(2, vec![to(1, 1), to(2, 3)]), (1, vec![to(3, 7)])]);
        assert_eq!(weights(&c), [1, 3, 2]);
    }

    #[test]
    fn equal_paths_become_one() {
        let c = combine(vec![
            (1, vec![to(1, 1)]),
            (2, vec![to(1, 1)]),
            (3, vec![to(2, 1)]),
        ]);
        assert_eq!(weights(&c), [1, 1]);
    }

    #[test]
    fn great_weights_stay_summable() {
        let c = combine(vec![
            (u32::MAX, vec![to(1, u32::MAX), to(2, 1)]),
            (1, vec![to(3, 1)]),
        ]);
        assert_eq!(c.len(), 3);
        assert!(c.iter().all(|r| r.weight >= 1));
        assert!(c.iter().map(|r| u64::from(r.weight)).sum::<u64>() <= u64::from(u32::MAX));
        assert!(c[0].weight > 1000 * c[1].weight);
    }

    #[test]
    fn groups_are_bounded() {
        let many = (0..200).map(|n| (1, vec![to(n, 1)])).collect();
        assert_eq!(combine(many).len(), MAX_PATHS);
    }
}
