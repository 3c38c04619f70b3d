//! Who stands at the start: Trunkline, DPDK's tables, the crates; each with the table in it.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::Result;
use dpdk_sys::rivals::{Dpdk, Fib, Fib6, Lpm, Lpm6};
use net::{Ip4Prefix, Ip6Prefix};

use crate::contest::{Contestant, Crate, Ours, Theirs, fill};
use crate::family::Family;
use crate::table::{Route, prefixes};

/// What Trunkline is called.
pub(super) const OURS: &str = "trunkline";
/// The maps of crates.
pub(super) const CRATES: [&str; 2] = ["prefix-trie", "ip_network_table"];

/// A contestant with a table in it.
pub(super) struct Entry<'d, F: Family> {
    pub(super) name: &'static str,
    pub(super) table: Box<dyn Contestant<F> + 'd>,
    /// Seconds that it took to fill; none where that says nothing.
    pub(super) filled: Option<f64>,
}

/// A family and DPDK's tables for it.
pub(super) trait Field: Family {
    /// rte_fib or rte_fib6.
    const FIB: &'static str;
    /// The same without AVX-512.
    const FIB_SCALAR: &'static str;
    /// rte_lpm or rte_lpm6.
    const LPM: &'static str;

    /// rte_fib with next hops of 4 bytes, empty, with room for `table`.
    fn fib<'d>(dpdk: &'d Dpdk, table: &[Route<Self>]) -> Result<Box<dyn Contestant<Self> + 'd>>;
    /// rte_lpm with `table` in it.
    fn lpm<'d>(
        dpdk: &'d Dpdk,
        table: &[Route<Self>],
        hop: &dyn Fn(&Route<Self>) -> u32,
    ) -> Result<Entry<'d, Self>>;
}

/// Routes that DPDK's tables have room for: more than there are, as an operator would have it.
fn room<F: Family>(table: &[Route<F>]) -> u32 {
    (table.len() as u32 * 7 / 4).max(10_000)
}

/// Blocks of 256 entries that a DPDK table takes below its first 24 bits: one for each block of 8 bits in which something
/// longer begins.
fn blocks<F: Family>(table: &[Route<F>]) -> usize {
    let levels = (24..F::BITS).step_by(8);
    let at = |level: u8| {
        let longer = table.iter().map(|r| r.prefix).filter(|p| p.bits() > level);
        longer
            .map(|p| F::of(p.first(), level))
            .collect::<HashSet<F>>()
            .len()
    };
    levels.map(at).sum()
}

/// Blocks that rte_fib6 sets aside: for each route as many as there are levels between it and the next shorter one.
fn reserved<F: Family>(table: &[Route<F>]) -> u32 {
    let mut sorted: Vec<F> = prefixes(table);
    sorted.sort_unstable();
    let level = |bits: u8| u32::from(bits.max(24).div_ceil(8));
    let mut covers: Vec<F> = vec![];
    let mut sum = 0;
    for p in sorted {
        while covers
            .last()
            .is_some_and(|c| F::of(p.first(), c.bits()) != *c)
        {
            covers.pop();
        }
        sum += level(p.bits()) - level(covers.last().map_or(0, |c| c.bits()));
        covers.push(p);
    }
    sum
}

/// Bytes of a table of 2^24 entries of 4 bytes, and of the blocks below.
fn in_use<F: Family>(table: &[Route<F>]) -> usize {
    (4 << 24) + blocks(table) * 1024
}

impl Field for Ip4Prefix {
    const FIB: &'static str = "rte_fib";
    const FIB_SCALAR: &'static str = "rte_fib scalar";
    const LPM: &'static str = "rte_lpm";

    fn fib<'d>(dpdk: &'d Dpdk, table: &[Route<Self>]) -> Result<Box<dyn Contestant<Self> + 'd>> {
        let tbl8 = 4096.max(blocks(table) as u32 * 5 / 4);
        let mut t = Theirs::new(dpdk, || Fib::new(dpdk, room(table), tbl8))?;
        t.set_lookup_bytes(in_use(table));
        Ok(Box::new(t))
    }

    fn lpm<'d>(
        dpdk: &'d Dpdk,
        table: &[Route<Self>],
        hop: &dyn Fn(&Route<Self>) -> u32,
    ) -> Result<Entry<'d, Self>> {
        let tbl8 = 4096.max(blocks(table) as u32 * 5 / 4);
        let mut t = Theirs::new(dpdk, || Lpm::new(dpdk, room(table), tbl8))?;
        t.set_lookup_bytes(in_use(table));
        let mut shortest_first: Vec<&Route<Self>> = table.iter().collect();
        shortest_first.sort_by_key(|r| r.prefix.len());
        for r in shortest_first {
            match r.prefix.len() {
                1..=24 => t.table().paint(r.prefix.addr(), r.prefix.len(), hop(r))?,
                _ => t.set(r.prefix, hop(r))?,
            }
        }
        Ok(Entry {
            name: Self::LPM,
            table: Box::new(t),
            filled: None,
        })
    }
}

impl Field for Ip6Prefix {
    const FIB: &'static str = "rte_fib6";
    const FIB_SCALAR: &'static str = "rte_fib6 scalar";
    const LPM: &'static str = "rte_lpm6";

    fn fib<'d>(dpdk: &'d Dpdk, table: &[Route<Self>]) -> Result<Box<dyn Contestant<Self> + 'd>> {
        // Prefixes past /48 that come and go take up to ten blocks each. Blocks past 2^19 are not to be used: its AVX-512
        // lookup names entries by 32 bits with a sign. So many may be reserved, though; it uses the lowest, and some
        // 220,000 for four times the table.
        let least = reserved(table) * 5 / 4;
        let tbl8 = least.max((least + 40_000).min(1 << 19));
        let mut t = Theirs::new(dpdk, || Fib6::new(dpdk, room(table), tbl8))?;
        t.set_lookup_bytes(in_use(table));
        Ok(Box::new(t))
    }

    fn lpm<'d>(
        dpdk: &'d Dpdk,
        table: &[Route<Self>],
        hop: &dyn Fn(&Route<Self>) -> u32,
    ) -> Result<Entry<'d, Self>> {
        let tbl8 = (blocks(table) as u32 * 5 / 4).max(40_000);
        let mut t = Theirs::new(dpdk, || Lpm6::new(dpdk, room(table), tbl8))?;
        t.set_lookup_bytes(in_use(table));
        let filled = fill(&mut t, table, hop)?.as_secs_f64();
        Ok(Entry {
            name: Self::LPM,
            table: Box::new(t),
            filled: Some(filled),
        })
    }
}

/// Which rivals take part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rivals {
    /// rte_fib alone.
    Fib,
    /// DPDK's.
    Dpdk,
    /// The crates too.
    All,
}

/// Trunkline first, then the rivals that are asked for.
pub(super) fn line_up<'d, F: Field>(
    dpdk: &'d Dpdk,
    table: &[Route<F>],
    groups: u32,
    rivals: Rivals,
) -> Result<Vec<Entry<'d, F>>> {
    let hop = super::hop(groups);
    let mut ours = Ours::<F>::empty(groups)?;
    let batch = ours.batch(table, hop);
    let start = Instant::now();
    ours.apply(&batch)?;
    let filled = Some(start.elapsed().as_secs_f64());
    let mut all: Vec<Entry<'d, F>> = vec![Entry {
        name: OURS,
        table: Box::new(ours),
        filled,
    }];
    let mut fib = F::fib(dpdk, table)?;
    let filled = Some(fill(&mut *fib, table, hop)?.as_secs_f64());
    all.push(Entry {
        name: F::FIB,
        table: fib,
        filled,
    });
    if rivals != Rivals::Fib {
        all.push(F::lpm(dpdk, table, &hop)?);
    }
    if rivals == Rivals::All {
        let trie: Box<dyn Contestant<F>> = Box::new(Crate::<F, _>::prefix_trie());
        let network: Box<dyn Contestant<F>> = Box::new(Crate::<F, _>::ip_network_table());
        for (name, mut table_of) in CRATES.into_iter().zip([trie, network]) {
            let filled = Some(fill(&mut *table_of, table, hop)?.as_secs_f64());
            all.push(Entry {
                name,
                table: table_of,
                filled,
            });
        }
    }
    Ok(all)
}
