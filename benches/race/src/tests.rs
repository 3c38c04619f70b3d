//! One oracle for all: the longest prefix, by looking at each.

use super::*;

/// Numbers that look random, the same each time (splitmix64).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut x = seed;
    move || {
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = x;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn routes<A: Addr>(n: usize, shortest: u64, longest: u64, hops: u64) -> Vec<(A, u8, u32)> {
    let mut next = numbers(7);
    let mut all: Vec<(A, u8, u32)> = (0..n)
        .map(|_| {
            let len = shortest + next() % (longest - shortest + 1);
            // A few blocks, so that prefixes nest and are neighbours.
            let bits = next() & 0x0303_ffff_ffff_ffff;
            let cut = 64 - len as u32;
            let addr = bits >> cut << cut >> (64 - A::BITS);
            (A::of(addr), len as u8, 1 + (next() % hops) as u32)
        })
        .collect();
    all.push((A::default(), 0, 1));
    all.sort_unstable();
    all.dedup_by_key(|r| (r.0, r.1));
    all
}

fn oracle<A: Addr>(routes: &[(A, u8, u32)], a: A) -> u32 {
    let covers = |r: &&(A, u8, u32)| {
        let host = A::BITS - u32::from(r.1);
        host == 64 || (r.0.bits() >> host) == (a.bits() >> host)
    };
    routes
        .iter()
        .filter(covers)
        .max_by_key(|r| r.1)
        .map_or(0, |r| r.2)
}

fn compare<A: Addr>(routes: &[(A, u8, u32)], all: Vec<Box<dyn Candidate<A>>>) {
    let mut next = numbers(9);
    // Addresses in the routes, beside them, and elsewhere; an odd number, for what is left of a vector.
    let mut to: Vec<A> = vec![A::default(), A::of(u64::MAX)];
    for r in routes {
        let size = 1u64.checked_shl(A::BITS - u32::from(r.1)).unwrap_or(0);
        let first = r.0.bits();
        to.extend([first, first.wrapping_sub(1), first.wrapping_add(size)].map(A::of));
        to.push(A::of(first | (next() % size.max(1))));
        to.push(A::of(next()));
    }
    let right: Vec<u32> = to.iter().map(|&a| oracle(routes, a)).collect();
    for c in all {
        for scalar in [false, true] {
            let mut out = vec![u32::MAX; to.len()];
            match scalar {
                true => c.lookup_scalar(&to, &mut out),
                false => c.lookup(&to, &mut out),
            }
            let wrong = out.iter().zip(&right).position(|(x, y)| x != y);
            assert_eq!(wrong, None, "{} (scalar {scalar})", c.name());
            assert!(c.bytes() > 0);
        }
    }
}

#[test]
fn ipv4_candidates_find_the_longest_prefix() {
    for hops in [60, 5_000] {
        let routes = routes::<u32>(1_500, 8, 24, hops);
        let table = Table::new(&routes);
        let all = all4(&table);
        assert_eq!(all.len(), if hops < 255 { 10 } else { 8 });
        compare(&routes, all);
    }
}

#[test]
fn ipv6_candidates_find_the_longest_prefix() {
    let routes = routes::<u64>(1_500, 16, 48, 1_000);
    compare(&routes, all6(&Table::new(&routes)));
    // Trees of several levels: many prefixes in one /24.
    let mut deep: Vec<(u64, u8, u32)> = (0..2_000u64)
        .map(|i| (0x2001_0d00_0000_0000 | (i * 3) << 16, 48, 1 + i as u32 % 7))
        .collect();
    deep.push((0x2001_0d00_0000_0000, 24, 9));
    deep.sort_unstable();
    compare(&deep, all6(&Table::new(&deep)));
}
