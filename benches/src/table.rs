//! Route tables of the Internet's shape.
//!
//! The histograms are those of the tables of June 2026: how many prefixes of each length. The rest of the shape is
//! made in three ways, as address space is: a prefix continues a run of neighbours, or starts one near the last, or
//! starts one elsewhere, often within a shorter prefix. That gives about as many covered prefixes, neighbours and
//! distinct blocks as there are in the real tables, which is what caches see. Left out: who originates what.

use std::collections::HashSet;
use std::hash::Hash;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;

use net::{Ip4Prefix, Ip6Prefix};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Prefixes of each length in the IPv4 table of June 2026: 1,168,945.
pub const HISTOGRAM4: [(u8, u32); 17] = [
    (8, 16),
    (9, 14),
    (10, 39),
    (11, 97),
    (12, 306),
    (13, 599),
    (14, 1223),
    (15, 2249),
    (16, 14310),
    (17, 9053),
    (18, 15072),
    (19, 27788),
    (20, 49815),
    (21, 57824),
    (22, 122384),
    (23, 126268),
    (24, 741888),
];

/// Prefixes of each length in the IPv6 table of June 2026: 279,855.
pub const HISTOGRAM6: [(u8, u32); 30] = [
    (19, 1),
    (20, 15),
    (21, 3),
    (22, 6),
    (23, 6),
    (24, 42),
    (25, 13),
    (26, 18),
    (27, 19),
    (28, 173),
    (29, 5532),
    (30, 759),
    (31, 360),
    (32, 27182),
    (33, 5995),
    (34, 5884),
    (35, 2084),
    (36, 10386),
    (37, 1366),
    (38, 2836),
    (39, 1928),
    (40, 24765),
    (41, 4874),
    (42, 3613),
    (43, 1758),
    (44, 26975),
    (45, 5090),
    (46, 8379),
    (47, 9843),
    (48, 129_950),
];

/// A route of a table: a prefix, and the AS that announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route<P> {
    /// Where to.
    pub prefix: P,
    /// The origin. Routes of one origin mostly share a next hop, which decides how well a table compresses.
    pub origin: u32,
}

/// A prefix of either family.
pub trait Prefix: Copy + Eq + Hash + Ord + FromStr {
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
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The /16s in use: some 28,000 of those between 1.0.0.0 and 223.255.255.255.
    let regions: Vec<u128> = (0..28_000)
        .map(|_| rng.random_range(0x0100u128..0xe000) << 16)
        .collect();
    generate(&mut rng, &scale(&HISTOGRAM4, size), &regions, 16)
}

/// An IPv6 table of `size` prefixes (as the histogram has it: 279,855), in no particular order.
pub fn ipv6(seed: u64, size: u32) -> Vec<Route<Ip6Prefix>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The /20s in use: some 700, of what the registries give out.
    let blocks: [u128; 6] = [0x20010, 0x24000, 0x26000, 0x28000, 0x2a000, 0x2c000];
    let regions: Vec<u128> = (0..700)
        .map(|_| {
            let block = blocks[rng.random_range(0..blocks.len())];
            let width = if block == 0x20010 { 16 } else { 256 };
            (block + rng.random_range(0..width)) << 108
        })
        .collect();
    generate(&mut rng, &scale(&HISTOGRAM6, size), &regions, 20)
}

/// The table that a file holds: on each line a prefix, and its origin as a number behind (of several, the first). A prefix
/// that is there twice is taken once.
///
/// # Errors
/// The file cannot be read, or a line is no prefix of this family.
pub fn load<P: Prefix>(file: &Path) -> io::Result<Vec<Route<P>>> {
    let text = if file.extension().is_some_and(|e| e == "xz") {
        let xz = Command::new("xz")
            .arg("-dc")
            .arg(file)
            .stderr(Stdio::inherit())
            .output()?;
        if !xz.status.success() {
            return Err(io::Error::other(format!(
                "xz could not unpack {}",
                file.display()
            )));
        }
        String::from_utf8(xz.stdout).map_err(io::Error::other)?
    } else {
        std::fs::read_to_string(file)?
    };
    let parse = |(number, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let word = words.next()?;
        let digits = |w: &str| {
            w.split(|c: char| !c.is_ascii_digit())
                .find_map(|n| n.parse().ok())
        };
        let origin = words.next().and_then(digits).unwrap_or(0);
        let bad = || {
            io::Error::other(format!(
                "{}:{}: '{word}' is not a prefix",
                file.display(),
                number + 1
            ))
        };
        let prefix = word.parse().map_err(|_| bad());
        Some(prefix.map(|prefix| Route { prefix, origin }))
    };
    let mut table: Vec<Route<P>> = text
        .lines()
        .enumerate()
        .filter_map(parse)
        .collect::<io::Result<_>>()?;
    table.sort_unstable();
    table.dedup_by_key(|r| r.prefix);
    Ok(table)
}

/// The prefixes alone.
pub fn prefixes<P: Prefix>(table: &[Route<P>]) -> Vec<P> {
    table.iter().map(|r| r.prefix).collect()
}

/// The same shape with another total.
fn scale(histogram: &[(u8, u32)], size: u32) -> Vec<(u8, u32)> {
    let total: u64 = histogram.iter().map(|&(_, n)| u64::from(n)).sum();
    let mut before = 0u64;
    let mut part = |&(len, n): &(u8, u32)| {
        let from = before * u64::from(size) / total;
        before += u64::from(n);
        (len, (before * u64::from(size) / total - from) as u32)
    };
    histogram.iter().map(&mut part).collect()
}

fn generate<P: Prefix>(
    rng: &mut ChaCha8Rng,
    histogram: &[(u8, u32)],
    regions: &[u128],
    region: u8,
) -> Vec<Route<P>> {
    let size = histogram.iter().map(|&(_, n)| n as usize).sum();
    let mut table: Vec<Route<P>> = Vec::with_capacity(size);
    let mut seen = HashSet::with_capacity(size);
    for &(len, n) in histogram {
        let shorter = table.len();
        let step = 1u128 << (P::BITS - len);
        let mut at = regions[0];
        let mut origin = 1;
        for _ in 0..n {
            loop {
                let same = rng.random_range(0..100) < 85;
                at = match rng.random_range(0..100) {
                    0..72 => at + step,
                    72..90 => {
                        let near = len.saturating_sub(8).max(8);
                        P::of(at, near).first() | below::<P>(rng, near, len)
                    }

                    72..95 if shorter > 0 => {
                        let cover = table[rng.random_range(0..shorter)];
                        origin = cover.origin;
                        cover.prefix.first() | below::<P>(rng, cover.prefix.bits(), len)
                    }
                    _ => {
                        let start = regions[rng.random_range(0..regions.len())];
                        start | below::<P>(rng, region, len)
                    }
                };
                // A run that leaves the regions' space starts again elsewhere.
                if at >> (P::BITS - 8) >= 0xe0 {
                    at = regions[rng.random_range(0..regions.len())];
                }
                let prefix = P::of(at, len);
                if seen.insert(prefix) {
                    if !same {
                        origin = rng.random_range(1..78_000);
                    }
                    table.push(Route { prefix, origin });
                    break;
                }
            }
        }
    }
    table
}

/// Random bits from bit `from` up to bit `to` of an address.
fn below<P: Prefix>(rng: &mut ChaCha8Rng, from: u8, to: u8) -> u128 {
    if from >= to {
        return 0;
    }
    let bits: u128 = rng.random_range(0..1u128 << (to - from));
    bits << (P::BITS - to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered<P: Prefix>(table: &[Route<P>], longest: u8) -> f64 {
        let table = prefixes(table);
        let all: HashSet<P> = table.iter().copied().collect();
        let under = |p: &&P| (8..p.bits()).any(|len| all.contains(&P::of(p.first(), len)));
        assert!(table.iter().all(|p| p.bits() <= longest));
        table.iter().filter(under).count() as f64 / table.len() as f64
    }

    #[test]
    fn tables_have_the_shape_and_are_the_same_each_time() {
        let table = ipv4(1, 120_000);
        assert_eq!(table, ipv4(1, 120_000));
        assert_ne!(table, ipv4(2, 120_000));
        assert_eq!(table.len(), 120_000);
        let share = table.iter().filter(|r| r.prefix.len() == 24).count() as f64 / 120_000.0;
        assert!((share - 0.635).abs() < 0.01, "{share}");
        let nested = covered(&table, 24);
        assert!((0.3..0.8).contains(&nested), "{nested}");
        assert!(
            table
                .iter()
                .all(|r| (1..224).contains(&(r.prefix.addr() >> 24))),
            "unicast"
        );

        let table = ipv6(1, 30_000);
        assert_eq!(table.len(), 30_000);
        let nested = covered(&table, 48);
        assert!((0.3..0.8).contains(&nested), "{nested}");
        assert!(
            table.iter().all(|r| r.prefix.addr() >> 125 == 1),
            "2000::/3"
        );
    }

    #[test]
    fn the_whole_histogram_is_kept() {
        let total: u32 = HISTOGRAM4.iter().map(|&(_, n)| n).sum();
        assert_eq!(total, 1_168_945);
        assert_eq!(scale(&HISTOGRAM4, total), HISTOGRAM4);
        assert_eq!(HISTOGRAM6.iter().map(|&(_, n)| n).sum::<u32>(), 279_855);
    }

    #[test]
    fn files_are_read() {
        let file = std::env::temp_dir().join(format!("trunkline-table-{}", std::process::id()));
        std::fs::write(
            &file,
            "192.0.2.0/24 64496\n198.51.100.0/24 64497\n192.0.2.0/24 64498\n\n",
        )
        .unwrap();
        let table: Vec<Route<Ip4Prefix>> = load(&file).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(table[0].origin, 64496);
        let error = load::<Ip6Prefix>(&file).unwrap_err().to_string();
        assert!(error.contains(":1: '192.0.2.0/24'"), "{error}");
        std::fs::remove_file(&file).unwrap();
    }
}
