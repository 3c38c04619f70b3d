//! Route tables of the Internet's shape.
//!
//! The histograms are those of the tables of June 2026: how many prefixes of each length. The rest of the shape is
//! made as address space is given out: a prefix continues a run of neighbours, or starts one within a shorter prefix, or
//! beside others, or elsewhere; and it is announced by whom its neighbour or its cover is announced by, more often than not.
//! How often is tuned until covered prefixes, runs, origins, intervals and different blocks (`shape` in the benches) are as many as
//! in the real tables. Left out: what changes from day to day.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};

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

/// As in the table of June 2026: found by trying, see `docs/benches.md`.
const IPV4: Habits = Habits {
    run: 0.516,
    nest: 0.173,
    near: 0.301,
    block: 18,
    same_run: 0.893,
    same_cover: 0.775,
    same_near: 0.521,
    newcomer: 0.32,
};
/// As in the table of June 2026.
const IPV6: Habits = Habits {
    run: 0.5,
    nest: 0.301,
    near: 0.083,
    block: 26,
    same_run: 0.951,
    same_cover: 0.783,
    same_near: 0.571,
    newcomer: 0.429,
};

/// A route of a table: a prefix, and the AS that announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// The first address of the prefix, right-aligned.
    pub addr: u128,
    /// The length of the prefix.
    pub len: u8,
    /// The origin. Routes of one origin mostly share a next hop, which decides how well a table compresses.
    pub origin: u32,
}

/// The first address of the prefix of `len` bits around `addr`, of a family with addresses of `bits` bits.
fn first(addr: u128, len: u8, bits: u8) -> u128 {
    let host = u32::from(bits - len);
    addr.checked_shr(host)
        .unwrap_or(0)
        .checked_shl(host)
        .unwrap_or(0)
}

/// An IPv4 table of `size` prefixes (as the histogram has it: 1,168,945), in no particular order.
pub fn ipv4(seed: u64, size: u32) -> Vec<Route> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // The /16s in use: some 28,000 of those between 1.0.0.0 and 223.255.255.255.
    let regions: Vec<u128> = (0..28_000)
        .map(|_| rng.random_range(0x0100u128..0xe000) << 16)
        .collect();
    generate(&mut rng, 32, &scale(&HISTOGRAM4, size), &regions, 16, &IPV4)
}

/// An IPv6 table of `size` prefixes (as the histogram has it: 279,855), in no particular order.
pub fn ipv6(seed: u64, size: u32) -> Vec<Route> {
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
    generate(
        &mut rng,
        128,
        &scale(&HISTOGRAM6, size),
        &regions,
        20,
        &IPV6,
    )
}

/// The table that a file holds: on each line a prefix, and its origin as a number behind (of several, the first). A prefix
/// that is there twice is taken once.
///
/// # Errors
/// The file cannot be read, or a line is no prefix of this family.
pub fn load(file: &Path, ipv6: bool) -> io::Result<Vec<Route>> {
    let text = if file.extension().is_some_and(|e| e == "xz") {
        let xz = Command::new("xz")
            .arg("-dc")
            .arg(file)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| io::Error::other(format!("xz, to unpack {}: {e}", file.display())))?;
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
    let route = |(number, line): (usize, &str)| {
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
        let prefix = parse(word, ipv6).ok_or_else(bad);
        Some(prefix.map(|(addr, len)| Route { addr, len, origin }))
    };
    let mut table: Vec<Route> = text
        .lines()
        .enumerate()
        .filter_map(route)
        .collect::<io::Result<_>>()?;
    table.sort_unstable();
    table.dedup_by_key(|r| (r.addr, r.len));
    Ok(table)
}

/// A prefix of a family, its host bits zero.
fn parse(word: &str, ipv6: bool) -> Option<(u128, u8)> {
    let (address, len) = word.split_once('/')?;
    let (addr, bits) = match address.parse().ok()? {
        IpAddr::V4(a) if !ipv6 => (u128::from(a.to_bits()), 32),
        IpAddr::V6(a) if ipv6 => (a.to_bits(), 128),
        _ => return None,
    };
    let len: u8 = len.parse().ok().filter(|l| *l <= bits)?;
    (first(addr, len, bits) == addr).then_some((addr, len))
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

/// How prefixes of one length come about, one after the other.
///
/// A prefix follows the last one (`run`), or it begins a run: within a shorter prefix (`nest`), beside another prefix of the
/// same block and under none (`near`), or elsewhere. In a run it keeps the origin as often as `same_run` says; within a prefix it
/// has that one's as often as `same_cover` says, beside one as often as `same_near` says. Else it has the origin of any prefix,
/// so that large networks grow, or one of its own (`newcomer`).
#[derive(Debug)]
struct Habits {
    run: f64,
    nest: f64,
    near: f64,
    /// Bits of a block.
    block: u8,
    same_run: f64,
    same_cover: f64,
    same_near: f64,
    newcomer: f64,
}

fn generate(
    rng: &mut ChaCha8Rng,
    bits: u8,
    histogram: &[(u8, u32)],
    regions: &[u128],
    region: u8,
    h: &Habits,
) -> Vec<Route> {
    let size = histogram.iter().map(|&(_, n)| n as usize).sum();
    let mut table: Vec<Route> = Vec::with_capacity(size);
    let mut seen: HashMap<(u128, u8), u32> = HashMap::with_capacity(size);
    let mut origins = 0;
    for (i, &(len, n)) in histogram.iter().enumerate() {
        let (shorter, step) = (table.len(), 1u128 << (bits - len));
        let mut last: Option<Route> = None;
        for _ in 0..n {
            let (mut roll, mut tries) = (rng.random::<f64>(), 0);
            let route = loop {
                let any = |rng: &mut ChaCha8Rng, n: usize| table[rng.random_range(0..n)];
                // A place that does not do is looked for again in the same way, but not for ever.
                tries += 1;
                if tries % 16 == 0 {
                    roll = rng.random();
                }
                let (at, by) = if let Some(last) = last.filter(|_| roll < h.run) {
                    (last.addr + step, Some((last.origin, h.same_run)))
                } else if roll < h.run + h.nest && shorter > 0 {
                    let cover = any(rng, shorter);
                    (cover.addr | below(rng, bits, cover.len, len), None)
                } else if roll < h.run + h.nest + h.near && !table.is_empty() {
                    let other = any(rng, table.len());
                    let block = h.block.min(len.saturating_sub(2));
                    let first = first(other.addr, block, bits);
                    (
                        first | below(rng, bits, block, len),
                        Some((other.origin, h.same_near)),
                    )
                } else {
                    let start = regions[rng.random_range(0..regions.len())];
                    (start | below(rng, bits, region, len), None)
                };
                let prefix = (first(at, len, bits), len);
                // A run ends where there is a prefix already, and where the regions' space ends.
                if at >> (bits - 8) >= 0xe0 || seen.contains_key(&prefix) {
                    if roll < h.run {
                        last = None;
                        roll = rng.random_range(h.run..1.0);
                    }
                    continue;
                }
                let covers = histogram[..i].iter().rev();
                let cover = covers
                    .map(|&(l, _)| (first(at, l, bits), l))
                    .find_map(|c| seen.get(&c));
                if cover.is_some() && roll >= h.run + h.nest && tries < 64 {
                    continue;
                }
                let by = by
                    .filter(|&(_, same)| rng.random_bool(same))
                    .map(|(origin, _)| origin);
                let of = cover
                    .copied()
                    .filter(|_| by.is_none() && rng.random_bool(h.same_cover));
                let origin = by.or(of).unwrap_or_else(|| {
                    if table.is_empty() || rng.random_bool(h.newcomer) {
                        origins += 1;
                        origins
                    } else {
                        any(rng, table.len()).origin
                    }
                });
                break Route {
                    addr: prefix.0,
                    len,
                    origin,
                };
            };
            seen.insert((route.addr, len), route.origin);
            table.push(route);
            last = Some(route);
        }
    }
    table
}

/// Random bits from bit `from` up to bit `to` of an address.
fn below(rng: &mut ChaCha8Rng, width: u8, from: u8, to: u8) -> u128 {
    if from >= to {
        return 0;
    }
    let bits: u128 = rng.random_range(0..1u128 << (to - from));
    bits << (width - to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_the_same_each_time() {
        let table = ipv4(1, 20_000);
        assert_eq!(table, ipv4(1, 20_000));
        assert_ne!(table, ipv4(2, 20_000));
        assert_eq!(table.len(), 20_000);
        let share = table.iter().filter(|r| r.len == 24).count() as f64 / 20_000.0;
        assert!((share - 0.635).abs() < 0.01, "{share}");
        let unicast = |r: &Route| (1..224).contains(&(r.addr >> 24));
        assert!(table.iter().all(unicast));
        let table = ipv6(1, 5_000);
        assert_eq!((table.len(), &table), (5_000, &ipv6(1, 5_000)));
        assert!(table.iter().all(|r| r.addr >> 125 == 1), "2000::/3");
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
        let table = load(&file, false).unwrap();
        assert_eq!(table.len(), 2);
        assert_eq!(table[0].origin, 64496);
        let error = load(&file, true).unwrap_err().to_string();
        assert!(error.contains(":1: '192.0.2.0/24'"), "{error}");
        std::fs::remove_file(&file).unwrap();
    }
}
