//! The shape of a table in numbers: what decides how large a lookup structure becomes, and how caches see it.

use std::collections::{HashMap, HashSet};

use crate::table::{Prefix, Route};
use crate::tables::hop;

/// Some numbers of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Routes.
    pub routes: usize,
    /// ASes that announce some.
    pub origins: usize,
    /// Share of routes that the largest hundredth of the origins has.
    pub largest: f64,
    /// Share of routes that are within a shorter prefix.
    pub covered: f64,
    /// Of these, the share that has the origin of that prefix.
    pub covered_same: f64,
    /// Share of routes that another of their length follows directly.
    pub followed: f64,
    /// Of these, the share whose follower has the same origin.
    pub followed_same: f64,
    /// Intervals of addresses with one next hop each, at 64 and at 1,000 groups.
    pub intervals: [usize; 2],
    /// Blocks (IPv4: /18, IPv6: /24) that do not have one next hop everywhere, at 64 groups.
    pub mixed: usize,
    /// Different contents of all blocks, at 64 and at 1,000 groups.
    pub distinct: [usize; 2],
}

impl Shape {
    /// Of a table.
    pub fn of<P: Prefix>(table: &[Route<P>]) -> Self {
        let mut sorted = table.to_vec();
        sorted.sort_unstable();
        let n = sorted.len() as f64;
        let mut by_origin: HashMap<u32, usize> = HashMap::new();
        for r in &sorted {
            *by_origin.entry(r.origin).or_default() += 1;
        }
        let mut sizes: Vec<usize> = by_origin.values().copied().collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let largest: usize = sizes[..sizes.len().div_ceil(100)].iter().sum();

        let (mut covered, mut covered_same) = (0, 0);
        let mut covers: Vec<Route<P>> = vec![];
        for r in &sorted {
            leave(&mut covers, r.prefix);
            if let Some(c) = covers.last() {
                covered += 1;
                covered_same += usize::from(c.origin == r.origin);
            }
            covers.push(*r);
        }
        let all: HashMap<P, u32> = sorted.iter().map(|r| (r.prefix, r.origin)).collect();
        let next = |r: &Route<P>| {
            let step = 1u128 << (P::BITS - r.prefix.bits());
            let at = r.prefix.first().checked_add(step)?;
            all.get(&P::of(at, r.prefix.bits())).map(|&o| o == r.origin)
        };
        let followers: Vec<bool> = sorted.iter().filter_map(next).collect();
        let same = followers.iter().filter(|&&s| s).count();
        let block = if P::BITS == 32 { 18 } else { 24 };
        let at = [64, 1_000].map(|g| intervals(&sorted, hop(g)));
        let contents = at.each_ref().map(|i| blocks::<P>(i, block));
        Self {
            routes: sorted.len(),
            origins: sizes.len(),
            largest: largest as f64 / n,
            covered: f64::from(covered) / n,
            covered_same: covered_same as f64 / f64::from(covered),
            followed: followers.len() as f64 / n,
            followed_same: same as f64 / followers.len() as f64,
            intervals: at.each_ref().map(Vec::len),
            mixed: contents[0].0,
            distinct: contents.map(|c| c.1),
        }
    }
}

/// Leaves the prefixes that do not cover `p`.
fn leave<P: Prefix>(covers: &mut Vec<Route<P>>, p: P) {
    while covers
        .last()
        .is_some_and(|c| P::of(p.first(), c.prefix.bits()) != c.prefix)
    {
        covers.pop();
    }
}

/// Where the next hop changes (address, next hop; 0 is none), of sorted routes.
fn intervals<P: Prefix>(sorted: &[Route<P>], hop: impl Fn(&Route<P>) -> u32) -> Vec<(u128, u32)> {
    let mut all: Vec<(u128, u32)> = vec![(0, 0)];
    let mut put = |at, hop| match all.last_mut() {
        Some(last) if last.0 == at => last.1 = hop,
        _ => all.push((at, hop)),
    };
    // First address behind each prefix that covers the present place, and its next hop.
    let mut covers: Vec<(u128, u32)> = vec![];
    let close =
        |covers: &mut Vec<(u128, u32)>, up_to: Option<u128>, put: &mut dyn FnMut(u128, u32)| {
            while covers
                .last()
                .is_some_and(|c| up_to.is_none_or(|at| c.0 <= at))
            {
                let (end, _) = covers.pop().expect("one");
                put(end, covers.last().map_or(0, |c| c.1));
            }
        };
    for r in sorted {
        let first = r.prefix.first();
        close(&mut covers, Some(first), &mut put);
        put(first, hop(r));
        let size = 1u128 << (P::BITS - r.prefix.bits()).min(127);
        covers.push((first.saturating_add(size), hop(r)));
    }
    close(&mut covers, None, &mut put);
    all.dedup_by_key(|i| i.1);
    all
}

/// Blocks of so many bits in which the next hop changes, and how many different contents there are of all blocks.
fn blocks<P: Prefix>(intervals: &[(u128, u32)], bits: u8) -> (usize, usize) {
    let shift = P::BITS - bits;
    let mut contents: HashSet<Vec<(u128, u32)>> = HashSet::new();
    let (mut mixed, mut i, mut before) = (0, 0, 0);
    while i < intervals.len() {
        let block = intervals[i].0 >> shift;
        let mut content = vec![(0, before)];
        while i < intervals.len() && intervals[i].0 >> shift == block {
            let at = intervals[i].0 - (block << shift);
            match at {
                0 => content[0].1 = intervals[i].1,
                _ => content.push((at, intervals[i].1)),
            }
            before = intervals[i].1;
            i += 1;
        }
        mixed += usize::from(content.len() > 1);
        contents.insert(content);
        contents.insert(vec![(0, before)]);
    }
    (mixed, contents.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::Ip4Prefix;

    #[test]
    fn the_shape_of_a_small_table() {
        let route = |p: &str, origin| Route::<Ip4Prefix> {
            prefix: p.parse().unwrap(),
            origin,
        };
        let s = Shape::of(&[
            route("10.0.0.0/8", 1),
            route("10.1.0.0/16", 1),
            route("10.2.0.0/16", 2),
            route("10.2.3.0/24", 1),
        ]);
        assert_eq!((s.routes, s.origins), (4, 2));
        assert_eq!((s.covered, s.followed, s.followed_same), (0.75, 0.25, 0.0));
        assert!((s.covered_same - 1.0 / 3.0).abs() < 1e-9);
        // None, 10/8 with 10.1/16, 10.2.0-2, 10.2.3, the rest of 10.2, the rest of 10/8, none.
        assert_eq!(s.intervals, [7, 7]);
        // 10.2.0.0/18 alone; its content, that of no route, of 10/8 and of 10.2/16.
        assert_eq!((s.mixed, s.distinct), (1, [4, 4]));
    }
}
