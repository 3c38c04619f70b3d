//! Destinations: each kind is a way to pick a route, and then a random address of it.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::table::Prefix;

/// Which routes the traffic goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Every route alike.
    RouteRandom,
    /// Every address of the table alike (those under several prefixes count for each).
    Uniform,
    /// Route number k (in an order drawn by lot) gets a share of 1/k.
    Zipf,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::RouteRandom, Self::Uniform, Self::Zipf];

    /// For the names of benches.
    pub fn name(self) -> &'static str {
        match self {
            Self::RouteRandom => "route-random",
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }
}

/// `n` destinations, right-aligned in 128 bits.
pub fn destinations<P: Prefix>(seed: u64, kind: Kind, table: &[P], n: usize) -> Vec<u128> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let lot: Vec<usize> = (0..table.len())
        .map(|_| rng.random_range(0..table.len()))
        .collect();
    let share = |i: usize| match kind {
        Kind::RouteRandom => 1.0,
        Kind::Uniform => 2f64.powi(i32::from(P::BITS - table[i].bits())),
        Kind::Zipf => 1.0 / (i + 1) as f64,
    };
    let mut sum = 0.0;
    let up_to: Vec<f64> = (0..table.len())
        .map(|i| {
            sum += share(i);
            sum
        })
        .collect();
    let mut pick = || {
        let point = rng.random_range(0.0..sum);
        let i = up_to.partition_point(|&x| x <= point).min(table.len() - 1);
        let route = table[if kind == Kind::Zipf { lot[i] } else { i }];
        let host = P::BITS - route.bits();
        let low = if host == 0 {
            0
        } else {
            rng.random::<u128>() >> (128 - u32::from(host))
        };
        route.first() | low
    };
    (0..n).map(|_| pick()).collect()
}

/// `n` indexes below `len`, each alike.
pub fn indexes(seed: u64, len: usize, n: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| rng.random_range(0..len)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::Ip4Prefix;

    #[test]
    fn destinations_are_covered_and_shares_are_right() {
        let table: Vec<Ip4Prefix> = ["10.0.0.0/8", "192.0.2.0/24"]
            .map(|s| s.parse().unwrap())
            .to_vec();
        let share = |kind| {
            let to = destinations(7, kind, &table, 10_000);
            assert_eq!(to, destinations(7, kind, &table, 10_000));
            assert!(
                to.iter()
                    .all(|&a| table.iter().any(|p| p.contains(a as u32)))
            );
            to.iter().filter(|&&a| table[1].contains(a as u32)).count()
        };
        assert!((4_700..5_300).contains(&share(Kind::RouteRandom)));
        assert!(share(Kind::Uniform) < 10);
        assert!(share(Kind::Zipf) <= 10_000);
    }
}
