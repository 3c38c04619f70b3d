//! The race of lookup structures: `cargo run --release -p benches --bin bench-race -- [TABLE TABLE6] [--quick] [--only=NAME]`,
//! or `-- count ipv4 CANDIDATE LOOKUPS` under valgrind.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Result;
use benches::host::{Host, Reserved};
use benches::tables::{Plan, race, race_count};
use dpdk_sys::rivals::{Dpdk, Pages};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [count, family, candidate, lookups] = &words[..]
        && count == "count"
    {
        race_count(family, candidate.parse()?, lookups.parse()?);
        return Ok(());
    }
    let files: Vec<PathBuf> = words
        .iter()
        .filter(|w| !w.starts_with('-'))
        .map(PathBuf::from)
        .collect();
    let plan = Plan {
        quick: words.iter().any(|w| w == "--quick"),
        routes: None,
        table: files.first().cloned(),
        table6: files.get(1).cloned(),
    };
    let pages = Reserved::new(if plan.quick { 2_500 } else { 6_000 });
    let (kind, memory) = match pages {
        Ok(_) => (Pages::Huge, "DPDK's tables on hugepages of 2 MiB"),
        Err(_) => (Pages::Small(6_000), "DPDK's tables on ordinary pages"),
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let dpdk = Dpdk::start(kind, cores - 1)?;
    let host = Host::here(
        memory.into(),
        "cargo run --release -p benches --bin bench-race".into(),
    );
    let only = words
        .iter()
        .find_map(|w| w.strip_prefix("--only="))
        .unwrap_or("");
    let report = race(&dpdk, &plan, &host, only)?;
    let name = if files.is_empty() {
        "race"
    } else {
        "race-file"
    };
    if !plan.quick && only.is_empty() {
        report.save(name, &host, None)?;
    }
    drop(dpdk);
    Ok(())
}
