//! Route tables of the Internet's shape, with the prefixes of the product: those of `vm_testbed::table`, read that first.

use std::hash::Hash;
use std::io;
use std::path::Path;

use net::{Ip4Prefix, Ip6Prefix};
use vm_testbed::table;

/// A route of a table: a prefix, and the AS that announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route<P> {
    /// Where to.
    pub prefix: P,
    /// The origin. Routes of one origin mostly share a next hop, which decides how well a table compresses.
    pub origin: u32,
}

/// A prefix of either family.
pub trait Prefix: Copy + Eq + Hash + Ord {
    /// Bits of an address.
    const BITS: u8;
    /// The prefix of that many bits around an address, which is right-aligned in 128 bits.
    fn of(addr: u128, len: u8) -> Self;
    /// The first address.
    fn first(self) -> u128;
    /// The length.
    fn bits(self) -> u8;
}

impl Prefix for Ip4Prefix {
    const BITS: u8 = 32;
    fn of(addr: u128, len: u8) -> Self {
        Self::new(addr as u32, len).expect("at most 32 bits")
    }
    fn first(self) -> u128 {
        self.addr().into()
    }
    fn bits(self) -> u8 {
        self.len()
    }
}

impl Prefix for Ip6Prefix {
    const BITS: u8 = 128;
    fn of(addr: u128, len: u8) -> Self {
        Self::new(addr, len).expect("at most 128 bits")
    }
    fn first(self) -> u128 {
        self.addr()
    }
    fn bits(self) -> u8 {
        self.len()
    }
}

/// An IPv4 table of `size` prefixes (as the histogram has it: 1,168,945), in no particular order.
pub fn ipv4(seed: u64, size: u32) -> Vec<Route<Ip4Prefix>> {
    typed(table::ipv4(seed, size))
}

/// An IPv6 table of `size` prefixes (as the histogram has it: 279,855), in no particular order.
pub fn ipv6(seed: u64, size: u32) -> Vec<Route<Ip6Prefix>> {
    typed(table::ipv6(seed, size))
}

/// The table that a file holds, see [`table::load`].
///
/// # Errors
/// The file cannot be read, or a line is no prefix of this family.
pub fn load<P: Prefix>(file: &Path) -> io::Result<Vec<Route<P>>> {
    Ok(typed(table::load(file, P::BITS == 128)?))
}

fn typed<P: Prefix>(table: Vec<table::Route>) -> Vec<Route<P>> {
    let one = |r: table::Route| Route {
        prefix: P::of(r.addr, r.len),
        origin: r.origin,
    };
    table.into_iter().map(one).collect()
}

/// The prefixes alone.
pub fn prefixes<P: Prefix>(table: &[Route<P>]) -> Vec<P> {
    table.iter().map(|r| r.prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;

    /// The shapes of the real tables of June 2026 (`cargo run -p benches --example shape -- FILE FILE` gives them).
    #[test]
    fn tables_have_the_shape_of_real_ones() {
        let near = |what: &str, got: f64, real: f64, by: f64| {
            assert!(
                (got / real - 1.0).abs() < by,
                "{what}: {got}, really {real}"
            );
        };
        let all = |s: &Shape, real: [f64; 9]| {
            assert!(s.routes > 279_000);
            near("origins", s.origins as f64, real[0], 0.2);
            near("of the largest", s.largest, real[1], 0.3);
            near("covered", s.covered, real[2], 0.1);
            near("covered by the same", s.covered_same, real[3], 0.1);
            near("followed", s.followed, real[4], 0.15);
            near("followed by the same", s.followed_same, real[5], 0.1);
            near("intervals", s.intervals[0] as f64, real[6], 0.1);
            near("mixed blocks", s.mixed as f64, real[7], 0.1);
            near("distinct blocks", s.distinct[0] as f64, real[8], 0.1);
        };
        let real = [
            78_217.0, 0.507, 0.554, 0.770, 0.648, 0.778, 474_248.0, 45_962.0, 43_452.0,
        ];
        all(&Shape::of(&ipv4(1, 1_168_945)), real);
        let real = [
            32_659.0, 0.578, 0.607, 0.797, 0.563, 0.947, 147_403.0, 8_071.0, 7_095.0,
        ];
        all(&Shape::of(&ipv6(1, 279_855)), real);
    }
}
