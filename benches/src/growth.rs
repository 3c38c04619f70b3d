//! Tables of tomorrow: several times the routes, of the same shape.
//!
//! The address space does not grow, so new routes lie between the old ones, as they do in the Internet. Each further layer
//! is the whole table at another place, with its runs, nests and owners: each block of 8 bits of IPv4 is laid over another
//! one; an IPv6 table is moved within its blocks of 12 bits, where there is room. What two layers share is kept once.

use std::collections::HashSet;

use crate::table::{Prefix, Route};

/// `times` as many routes as `table` has, the same each time. Origins of further layers are ASes of their own.
pub fn grow<P: Prefix>(table: &[Route<P>], times: usize) -> Vec<Route<P>> {
    let mut all = table.to_vec();
    let mut seen: HashSet<P> = table.iter().map(|r| r.prefix).collect();
    for layer in 1u32.. {
        if all.len() >= table.len() * times || layer > 64 {
            break;
        }
        for route in table {
            if all.len() == table.len() * times {
                break;
            }
            let prefix = P::of(moved::<P>(route.prefix.first(), layer), route.prefix.bits());
            if seen.insert(prefix) {
                let origin = route.origin.wrapping_add(layer << 26);
                all.push(Route { prefix, origin });
            }
        }
    }
    all
}

fn moved<P: Prefix>(addr: u128, layer: u32) -> u128 {
    if P::BITS == 32 {
        // 1 to 223 are unicast; 37 has no factor in common with 223, so each goes to a place of its own.
        let block = (addr >> 24).clamp(1, 223) - 1;
        let to = (block + 37 * u128::from(layer)) % 223 + 1;
        (to << 24) | (addr & 0x00ff_ffff)
    } else {
        // Bits 12 to 20 of the address: the blocks that registries give to networks. Short prefixes stay prefixes, since
        // `P::of` cuts what is behind them.
        let at = u128::from(layer.reverse_bits() >> 24);
        addr ^ (at << (128 - 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table;

    #[test]
    fn a_grown_table_has_as_many_routes_and_nothing_twice() {
        let small = table::ipv4(1, 20_000);
        let large = grow(&small, 4);
        assert_eq!(large, grow(&small, 4));
        assert_eq!(large.len(), 80_000);
        let distinct: HashSet<_> = large.iter().map(|r| r.prefix).collect();
        assert_eq!(distinct.len(), large.len());
        let long = |t: &[Route<net::Ip4Prefix>]| {
            t.iter().filter(|r| r.prefix.len() == 24).count() as f64 / t.len() as f64
        };
        assert!(
            (long(&small) - long(&large)).abs() < 0.02,
            "the same lengths"
        );

        let small = table::ipv6(1, 5_000);
        assert_eq!(grow(&small, 4).len(), 20_000);
    }
}
