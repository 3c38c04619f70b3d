//! What the injected peers announce: prefixes of a table, dealt out to sets of attributes as in full tables, and the UPDATEs
//! (RFC 4271 4.3), encoded before any clock runs.
//!
//! 12.35 % as many sets as prefixes; a set belongs to one origin; paths of 2 to 7; communities on half. Every peer announces
//! the same prefixes in the same sets, in an order of its own. One peer wins each set: its path is the base path, those of
//! all others are longer by one or two, so that no tie-break of anybody's decides. A set is known by its path and communities.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use net::Ip4Prefix;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::wire;
use crate::forward::case::Tables;
use crate::table::Route;

/// Unique attribute sets, as a part of the prefixes.
pub const SETS: f64 = 0.1235;
/// What paths are made longer with.
const FILLER: u32 = 4_210_000_000;
/// How many paths of 2, 3, … 7 there are among 100.
const LENGTHS: [u32; 6] = [8, 25, 32, 20, 10, 5];

/// The AS of injected peer `i`.
pub fn asn(peer: usize) -> u32 {
    4_200_000_001 + peer as u32
}

/// Attributes that some prefixes have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The path behind the peer's own AS; the origin is the last.
    pub tail: Vec<u32>,
    /// Communities (RFC 1997), ascending; may be none.
    pub communities: Vec<u32>,
    /// Its prefixes: from here …
    pub first: u32,
    /// … up to here, exclusive, in the list of all.
    pub end: u32,
}

/// A table to announce.
#[derive(Debug, Clone)]
pub struct Feed {
    /// Prefixes in the order of their sets, ascending within a set.
    pub prefixes: Vec<Ip4Prefix>,
    /// The sets.
    pub sets: Vec<Set>,
}

impl Feed {
    /// Takes `n` prefixes out of the table, whole origins as far as it goes.
    pub fn of(table: &[Route<Ip4Prefix>], n: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut by_origin: HashMap<u32, Vec<Ip4Prefix>> = HashMap::new();
        for r in table.iter().filter(|r| Tables::usable4(r.prefix)) {
            by_origin.entry(r.origin).or_default().push(r.prefix);
        }
        let mut origins: Vec<u32> = by_origin.keys().copied().collect();
        origins.sort_unstable();
        origins.shuffle(&mut rng);
        let mut left = n;
        let mut dealt = Vec::new();
        for origin in origins {
            let mut all = by_origin.remove(&origin).unwrap_or_default();
            all.truncate(left);
            left -= all.len();
            if !all.is_empty() {
                dealt.push((origin, all));
            }
        }
        // Each origin has one set at least; the others come at this rate.
        let more = (n as f64 * SETS - dealt.len() as f64) / (n - dealt.len()).max(1) as f64;
        let mut feed = Self {
            prefixes: Vec::with_capacity(n),
            sets: Vec::new(),
        };
        let mut seen = HashSet::new();
        for (origin, all) in dealt {
            let mut sets: Vec<Vec<Ip4Prefix>> = vec![Vec::new()];
            for prefix in all {
                let full = sets.iter().all(|s| !s.is_empty());
                if full && rng.random_bool(more.clamp(0.0, 1.0)) {
                    sets.push(Vec::new());
                }
                let free = sets.iter().position(Vec::is_empty);
                let at = free.unwrap_or_else(|| rng.random_range(0..sets.len()));
                sets[at].push(prefix);
            }
            for set in sets {
                feed.push(set, origin, &mut rng, &mut seen);
            }
        }
        feed
    }

    fn push(
        &mut self,
        mut prefixes: Vec<Ip4Prefix>,
        origin: u32,
        rng: &mut ChaCha8Rng,
        seen: &mut HashSet<u64>,
    ) {
        prefixes.sort_unstable();
        let first = self.prefixes.len() as u32;
        self.prefixes.extend(prefixes);
        let (tail, communities) = loop {
            let lot = rng.random_range(0..100);
            let mut sum = 0;
            let more = LENGTHS.iter().position(|n| {
                sum += n;
                lot < sum
            });
            let mut tail: Vec<u32> = (0..more.unwrap_or(0))
                .map(|_| transit(rng.random()))
                .collect();
            tail.push(100_000 + origin);
            let mut communities: Vec<u32> = Vec::new();
            if rng.random_bool(0.5) {
                let n = rng.random_range(1..=6);
                communities = (0..n)
                    .map(|_| (rng.random_range(1000..64_000) << 16) | rng.random_range(0..5000))
                    .collect();
                communities.sort_unstable();
                communities.dedup();
            }
            if seen.insert(identity(tail.iter().copied(), &communities)) {
                break (tail, communities);
            }
        };
        self.sets.push(Set {
            tail,
            communities,
            first,
            end: self.prefixes.len() as u32,
        });
    }

    /// Which of `n` peers has the best path of that set.
    pub fn winner(&self, set: usize, n: usize) -> usize {
        (mix(set as u64, 0x77) % n as u64) as usize
    }

    /// The path that a peer announces for a set, of which `best` is the winner.
    pub fn path(&self, set: usize, peer: usize, best: usize) -> Vec<u32> {
        let longer = if peer == best {
            0
        } else {
            1 + (mix(set as u64, peer as u64) % 2) as u32
        };
        let mut path = vec![asn(peer)];
        path.extend((0..longer).map(|i| FILLER + i));
        path.extend(&self.sets[set].tail);
        path
    }

    /// In which order a peer announces the sets.
    pub fn order(&self, peer: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.sets.len()).collect();
        order.shuffle(&mut ChaCha8Rng::seed_from_u64(1000 + peer as u64));
        order
    }

    /// Everything peer number `peer` of `n` announces, in its own order; `best` says who wins a set.
    pub fn encode(
        &self,
        peer: usize,
        next_hop: Ipv4Addr,
        best: impl Fn(usize) -> usize,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for set in self.order(peer) {
            let s = &self.sets[set];
            let path = self.path(set, peer, best(set));
            let attrs = wire::attributes(&path, next_hop, &s.communities);
            let prefixes = &self.prefixes[s.first as usize..s.end as usize];
            wire::updates(&mut out, &attrs, prefixes);
        }
        out
    }
}

/// The address of injected peer `i`, and its next hop.
pub fn peer_address(peer: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 10 + peer as u8)
}

/// By which a set is known: its path behind the peer's own AS, and its communities.
pub fn identity(path: impl Iterator<Item = u32>, communities: &[u32]) -> u64 {
    let h = path.fold(0x9e37_79b9_7f4a_7c15, |h, a| mix(h, a.into()));
    communities.iter().fold(h ^ 1, |h, &c| mix(h, c.into()))
}

/// Mixes two numbers well.
pub fn mix(a: u64, b: u64) -> u64 {
    let wide = u128::from(a ^ b.wrapping_mul(0xff51_afd7_ed55_8ccd)) * 0x9e37_79b9_7f4a_7c15_u128;
    (wide as u64) ^ (wide >> 64) as u64 ^ b.rotate_left(32)
}

/// A transit AS, a few of which carry most paths.
fn transit(lot: f64) -> u32 {
    let rank = (8000f64.powf(lot)) as u32;
    3000 + rank * 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn a_feed_has_the_shape_of_a_full_table() {
        let feed = Feed::of(&table::ipv4(1, 60_000), 50_000, 1);
        assert_eq!(feed.prefixes.len(), 50_000);
        let all: HashSet<Ip4Prefix> = feed.prefixes.iter().copied().collect();
        assert_eq!(all.len(), 50_000, "each prefix once");
        let share = feed.sets.len() as f64 / 50_000.0;
        assert!((share - SETS).abs() < 0.006, "{share}");
        let lengths: Vec<usize> = feed.sets.iter().map(|s| s.tail.len() + 1).collect();
        assert_eq!(lengths.iter().min(), Some(&2));
        assert_eq!(lengths.iter().max(), Some(&7));
        let with = feed.sets.iter().filter(|s| !s.communities.is_empty());
        let part = with.count() as f64 / feed.sets.len() as f64;
        assert!((part - 0.5).abs() < 0.05, "{part}");
        let slash24 = feed.prefixes.iter().filter(|p| p.len() == 24).count() as f64 / 50_000.0;
        assert!((slash24 - 0.63).abs() < 0.03, "{slash24}");
    }

    #[test]
    fn one_peer_wins_each_set_by_its_path_alone() {
        let feed = Feed::of(&table::ipv4(1, 2_000), 1_000, 1);
        for set in 0..feed.sets.len() {
            let best = feed.winner(set, 4);
            let len = |p: usize| feed.path(set, p, best).len();
            assert!((0..4).all(|p| p == best || len(p) > len(best)));
        }
        let wins = |p: usize| {
            let sets = 0..feed.sets.len();
            sets.filter(|&s| feed.winner(s, 4) == p).count()
        };
        assert!((0..4).all(|p| wins(p) > feed.sets.len() / 8));
    }
}
