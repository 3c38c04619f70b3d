//! BGP's routes on their way into the table: taken as they come, and put in by address.
//!
//! A full table comes in any order, and each of its prefixes lies somewhere else in memory. In the order of addresses, routes
//! share the lists and lines of memory that their prefixes are looked up in, new ones get slots that lie together, and what is
//! then written into the forwarding tables is in order, too: so what a route waits for is waited for once for its
//! neighbours as well. Routes are gathered by the first bits of their addresses; what there is of one such bucket is sorted when
//! it has its turn, by the bits that follow first, which leaves few to be compared. Of two routes of one prefix the later one
//! counts. A bucket is made of pieces of one size, which go from bucket to bucket: nothing that has come is moved to make room.
//! Left out: any order among the buckets but round and round, so that each has its turn, however many routes come.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::sets::SetId;
use super::spec::Source;
use super::{BgpRoute, Route};

/// Buckets of a family.
const BUCKETS: usize = 256;
/// Parts of a bucket.
const PARTS: usize = 256;
/// Routes of a piece: IPv4's are 4 KiB.
const PIECE: usize = 512;

/// A route of one family, or its end, in a form that is small and quickly compared.
trait Item: Copy {
    /// What says which prefix it is of, in the order of prefixes, among those of a bucket.
    type Key: Ord;
    /// The prefixes of the family.
    type Net;
    /// Which bucket a prefix is of.
    fn bucket(net: &Self::Net) -> usize;
    fn new(net: Self::Net, route: Option<Route>) -> Self;
    fn key(self) -> Self::Key;
    /// Which part of the bucket, by the bits that follow.
    fn part(self) -> usize;
    /// What it was made of; it comes out of that bucket.
    fn route(self, bucket: usize) -> BgpRoute;
}

/// From the top: the address without its first 8 bits, which are the bucket's (24 bits), the length (6), the source (2; 0: no
/// route any more), the set (32). A full table has a million of them at once.
#[derive(Clone, Copy, Debug)]
struct V4(u64);

const LENGTH: u32 = 34;
const SOURCE: u32 = 32;

impl Item for V4 {
    type Key = u64;
    type Net = Ipv4Net;

    #[inline]
    fn bucket(net: &Ipv4Net) -> usize {
        (net.network().to_bits() >> 24) as usize % BUCKETS
    }

    #[inline]
    fn new(net: Ipv4Net, route: Option<Route>) -> Self {
        let net = u64::from(net.network().to_bits()) << 40 | u64::from(net.prefix_len()) << LENGTH;
        Self(match route {
            None => net,
            Some((Source::Ibgp, set)) => net | 2 << SOURCE | u64::from(set.number()),
            Some((_, set)) => net | 1 << SOURCE | u64::from(set.number()),
        })
    }

    #[inline]
    fn key(self) -> u64 {
        self.0 >> LENGTH
    }

    #[inline]
    fn part(self) -> usize {
        (self.0 >> 56) as usize % PARTS
    }

    #[inline]
    fn route(self, bucket: usize) -> BgpRoute {
        let network = Ipv4Addr::from_bits((bucket as u32) << 24 | (self.0 >> 40) as u32);
        let net = Ipv4Net::new(network, (self.0 >> LENGTH & 63) as u8);
        let source = match self.0 >> SOURCE & 3 {
            0 => None,
            1 => Some(Source::Ebgp),
            _ => Some(Source::Ibgp),
        };
        (
            net.map_or_else(|_| IpAddr::V4(network).into(), Into::into),
            source.zip(SetId::of_number(self.0 as u32)),
        )
    }
}

#[derive(Clone, Copy, Debug)]
struct V6(Ipv6Net, Option<Route>);

impl Item for V6 {
    type Key = Ipv6Net;
    type Net = Ipv6Net;

    /// The first 4 bits are the same all over the Internet.
    #[inline]
    fn bucket(net: &Ipv6Net) -> usize {
        (net.network().to_bits() >> 116) as usize % BUCKETS
    }

    #[inline]
    fn new(net: Ipv6Net, route: Option<Route>) -> Self {
        Self(net, route)
    }

    #[inline]
    fn key(self) -> Ipv6Net {
        self.0
    }

    #[inline]
    fn part(self) -> usize {
        (self.0.network().to_bits() >> 108) as usize % PARTS
    }

    #[inline]
    fn route(self, _bucket: usize) -> BgpRoute {
        (self.0.into(), self.1)
    }
}

/// What has come for one bucket, in the order in which it came.
#[derive(Debug)]
struct Bucket<N> {
    full: Vec<Vec<N>>,
    open: Vec<N>,
}

impl<N> Default for Bucket<N> {
    fn default() -> Self {
        Self {
            full: Vec::new(),
            open: Vec::new(),
        }
    }
}

impl<N> Bucket<N> {
    fn len(&self) -> usize {
        self.full.len() * PIECE + self.open.len()
    }
}

/// The routes of one family.
#[derive(Debug)]
struct Family<N> {
    /// Empty until there is a route.
    buckets: Vec<Bucket<N>>,
    /// Pieces that no bucket has now.
    free: Vec<Vec<N>>,
    /// Of one bucket, in order.
    lot: Vec<N>,
    /// Which.
    at: usize,
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
            free: Vec::new(),
            lot: Vec::new(),
            at: 0,
            taken: 0,
            next: 0,
            len: 0,
        }
    }
}

impl<N: Item> Family<N> {
    #[inline]
    fn push(&mut self, net: N::Net, route: Option<Route>) {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Bucket::default);
        }
        let bucket = &mut self.buckets[N::bucket(&net)];
        bucket.open.push(N::new(net, route));
        self.len += 1;
        if bucket.open.len() == PIECE {
            let empty = self.free.pop();
            let empty = empty.unwrap_or_else(|| Vec::with_capacity(PIECE));
            bucket.full.push(std::mem::replace(&mut bucket.open, empty));
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Next> {
        if self.len == 0 {
            return None;
        }
        if self.taken == self.lot.len() {
            self.fill();
        }
        let item = *self.lot.get(self.taken)?;
        self.taken += 1;
        self.len -= 1;
        let next = self.lot.get(self.taken);
        Some(Next {
            route: item.route(self.at),
            follows: next.is_some_and(|next| next.key() == item.key()),
        })
    }

    /// Is the next one of another bucket?
    fn is_over(&self) -> bool {
        self.taken == self.lot.len()
    }

    /// Puts the next bucket in order.
    fn fill(&mut self) {
        let mut round = (self.next..BUCKETS).chain(0..self.next);
        let Some(at) = round.find(|at| self.buckets[*at].len() > 0) else {
            return;
        };
        (self.at, self.next) = (at, (at + 1) % BUCKETS);
        self.taken = 0;
        self.lot.clear();
        let bucket = &mut self.buckets[at];
        if bucket.full.is_empty() {
            self.lot.append(&mut bucket.open);
            // Those of one prefix stay in their order.
            self.lot.sort_by_key(|r| r.key());
            return;
        }
        let pieces = || bucket.full.iter().chain([&bucket.open]).flatten();
        let mut ends = [0; PARTS];
        pieces().for_each(|item| ends[item.part()] += 1);
        let mut sum = 0;
        for end in &mut ends {
            // Where the part begins, until it is full.
            (sum, *end) = (sum + *end, sum);
        }
        self.lot.resize(sum, bucket.full[0][0]);
        for item in pieces() {
            let at = &mut ends[item.part()];
            self.lot[*at] = *item;
            *at += 1;
        }
        let mut begin = 0;
        for end in ends {
            self.lot[begin..end].sort_by_key(|r| r.key());
            begin = end;
        }
        bucket.open.clear();
        for mut piece in bucket.full.drain(..) {
            piece.clear();
            self.free.push(piece);
        }
    }

    fn tidy(&mut self) {
        if self.len == 0 {
            *self = Self::default();
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) struct Next {
    /// It.
    pub(super) route: BgpRoute,
    /// Another of the same prefix comes after it.
    pub(super) follows: bool,
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
            IpNet::V4(net) => self.v4.push(net, route),
            IpNet::V6(net) => self.v6.push(net, route),
        }
    }

    /// The next one. IPv4 and IPv6 take turns, a bucket each.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Next> {
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
    use crate::rib::spec::{Hop, PathsSpec};
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
            let source = [Source::Ebgp, Source::Ibgp][i % 2];
            let id = sets.intern(&PathsSpec::single(Hop::Dev(IfaceId(i as u16))));
            (net, (!i.is_multiple_of(7)).then_some((source, id)))
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
                let next = incoming.pop().unwrap();
                let (p, route) = next.route;
                assert_eq!(incoming.len(), left);
                let of_it = found.entry(p).or_default();
                of_it.push(route);
                assert_eq!(next.follows, of_it.len() < by_prefix[&p].len(), "{p}");
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
            let (p, _) = incoming.pop().unwrap().route;
            // The same again and again: the others come all the same.
            incoming.push((net(3), None));
            found.push(p);
        }
        assert_eq!(found, [3, 5, 7, 3, 3, 3].map(net));
    }
}
