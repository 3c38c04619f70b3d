//! BGP's routes on their way into the table: taken as they come, and put in by address.
//!
//! A full table comes in any order, and each of its prefixes lies somewhere else in memory. In the order of addresses, routes
//! share the lists and lines of memory that their prefixes are looked up in, new ones get slots that lie together, and what is
//! then written into the forwarding tables is in order, too: so what a route waits for is waited for once for its
//! neighbours as well. Routes are gathered by the first bits of their addresses; what there is of one such bucket is sorted when
//! it has its turn. Of two routes of one prefix the later one counts.
//! Left out: any order among the buckets but round and round, so that each has its turn, however many routes come.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{BgpRoute, Route};

/// Buckets of a family.
const BUCKETS: usize = 256;

/// A prefix of one family, in a form that is quickly compared.
trait Net: Copy + Ord + Into<IpNet> {
    /// Which bucket is its.
    fn bucket(self) -> usize;
}

/// The address, then the length in 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct V4(u64);

impl From<Ipv4Net> for V4 {
    fn from(p: Ipv4Net) -> Self {
        Self(u64::from(p.network().to_bits()) << 8 | u64::from(p.prefix_len()))
    }
}

impl From<V4> for IpNet {
    fn from(p: V4) -> Self {
        let network = Ipv4Addr::from_bits((p.0 >> 8) as u32);
        Ipv4Net::new(network, p.0 as u8).map_or_else(|_| IpAddr::V4(network).into(), Into::into)
    }
}

impl Net for V4 {
    fn bucket(self) -> usize {
        (self.0 >> 32) as usize % BUCKETS
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct V6(Ipv6Net);

impl From<V6> for IpNet {
    fn from(p: V6) -> Self {
        p.0.into()
    }
}

impl Net for V6 {
    /// The first 4 bits are the same all over the Internet.
    fn bucket(self) -> usize {
        (self.0.network().to_bits() >> 116) as usize % BUCKETS
    }
}

/// The routes of one family.
#[derive(Debug)]
struct Family<N> {
    /// In the order in which they came. Empty until there is one.
    buckets: Vec<Vec<(N, Option<Route>)>>,
    /// Of one bucket, in order.
    lot: Vec<(N, Option<Route>)>,
    /// How many of these have been taken out.
    taken: usize,
    /// The bucket that comes next.
    next: usize,
    len: usize,
}

impl<N> Default for Family<N> {
    fn default() -> Self {
        Self {
            buckets: Vec::new(),
            lot: Vec::new(),
            taken: 0,
            next: 0,
            len: 0,
        }
    }
}

impl<N: Net> Family<N> {
    fn push(&mut self, net: N, route: Option<Route>) {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Vec::new);
        }
        self.buckets[net.bucket()].push((net, route));
        self.len += 1;
    }

    fn pop(&mut self) -> Option<BgpRoute> {
        if self.len == 0 {
            return None;
        }
        if self.taken == self.lot.len() {
            self.fill();
        }
        let (net, route) = *self.lot.get(self.taken)?;
        self.taken += 1;
        self.len -= 1;
        Some((net.into(), route))
    }

    /// Is the next one of another bucket?
    fn is_over(&self) -> bool {
        self.taken == self.lot.len()
    }

    /// Puts the next bucket in order. It gets the room of the one before.
    fn fill(&mut self) {
        let mut round = (self.next..BUCKETS).chain(0..self.next);
        let Some(at) = round.find(|at| !self.buckets[*at].is_empty()) else {
            return;
        };
        self.next = (at + 1) % BUCKETS;
        self.lot.clear();
        self.taken = 0;
        std::mem::swap(&mut self.lot, &mut self.buckets[at]);
        // Those of one prefix stay in their order.
        self.lot.sort_by_key(|r| r.0);
    }

    fn tidy(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
    }
}

/// Routes that are not in the table yet.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    v4: Family<V4>,
    v6: Family<V6>,
    turn_of_v6: bool,
}

impl Incoming {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.v4.len + self.v6.len
    }

    /// Gives room back that is not used now.
    pub(super) fn tidy(&mut self) {
        self.v4.tidy();
        self.v6.tidy();
    }

    #[inline]
    pub(super) fn push(&mut self, (net, route): BgpRoute) {
        match net {
            IpNet::V4(net) => self.v4.push(net.into(), route),
            IpNet::V6(net) => self.v6.push(V6(net), route),
        }
    }

    /// The next one. IPv4 and IPv6 take turns, a bucket each.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<BgpRoute> {
        for _ in 0..2 {
            let (found, over) = match self.turn_of_v6 {
                false => (self.v4.pop(), self.v4.is_over()),
                true => (self.v6.pop(), self.v6.is_over()),
            };
            self.turn_of_v6 ^= over;
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rib::Sets;
    use crate::rib::spec::{Hop, PathsSpec, Source};
    use net::IfaceId;
    use std::collections::HashMap;

    /// `n` routes of few prefixes, which tell of the order in which they came by their sets.
    fn routes(n: usize) -> Vec<BgpRoute> {
        let mut sets = Sets::default();
        let mut random = 1u64;
        let one = |i: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let bits = (random >> 33) as u32 & 0x0fff_0700;
            let net: IpNet = match i % 3 {
                0 => ipnet::Ipv6Net::new_assert((u128::from(bits) << 96).into(), 24)
                    .trunc()
                    .into(),
                _ => ipnet::Ipv4Net::new_assert(bits.into(), 24).trunc().into(),
            };
            let id = sets.intern(&PathsSpec::single(Hop::Dev(IfaceId(i as u16))));
            (net, (!i.is_multiple_of(7)).then_some((Source::Ebgp, id)))
        };
        (0..n).map(one).collect()
    }

    #[test]
    fn they_come_in_order_and_the_last_of_a_prefix_last() {
        for n in [1, 2, 100, 30_000] {
            let all = routes(n);
            let mut by_prefix: HashMap<IpNet, Vec<Option<Route>>> = HashMap::new();
            let mut incoming = Incoming::default();
            for (p, route) in all {
                by_prefix.entry(p).or_default().push(route);
                incoming.push((p, route));
            }
            let mut found: HashMap<IpNet, Vec<Option<Route>>> = HashMap::new();
            let (mut last, mut turns) = ([None; 2], 0);
            let mut family = None;
            for left in (0..n).rev() {
                let (p, route) = incoming.pop().unwrap();
                assert_eq!(incoming.len(), left);
                found.entry(p).or_default().push(route);
                let v6 = p.addr().is_ipv6();
                turns += usize::from(family.replace(v6) != Some(v6));
                let last = &mut last[usize::from(v6)];
                assert!(last.is_none_or(|l| l <= p), "{p} after {last:?}");
                *last = Some(p);
            }
            assert_eq!(found, by_prefix, "{n} routes");
            assert!(incoming.pop().is_none());
            incoming.tidy();
            assert!(incoming.pop().is_none());
            assert!(n < 100 || turns > 4, "both families have their turns");
        }
    }

    #[test]
    fn what_comes_meanwhile_has_its_turn() {
        let net = |n: u32| IpNet::from(ipnet::Ipv4Net::new_assert((n << 24).into(), 8));
        let mut incoming = Incoming::default();
        for n in [7, 3, 5] {
            incoming.push((net(n), None));
        }
        let mut found = Vec::new();
        while found.len() < 6 {
            let (p, _) = incoming.pop().unwrap();
            // The same again and again: the others come all the same.
            incoming.push((net(3), None));
            found.push(p);
        }
        assert_eq!(found, [3, 5, 7, 3, 3, 3].map(net));
    }
}
