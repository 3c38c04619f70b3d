//! `cargo testbed simulate`: networks of the product's own BGP speakers in one process, in virtual time. They live with the
//! tests of the crate `bgp` (`bgp/tests/network`), which the test bed may not use; cargo runs them.

use anyhow::{Context, Result};

use crate::{progress, setup};

/// What is played; what is not said is chosen there.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Wanted {
    /// The same number is the same story; left out: another one each time, printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Routers, 10 to 120
    #[arg(long, value_name = "N", default_value_t = 40)]
    nodes: usize,
    /// Failures, flaps, resets and the like, one after the other
    #[arg(long, value_name = "N", default_value_t = 20)]
    events: usize,
    /// So many stories, with one seed after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    stories: usize,
}

/// Plays it. Returns whether all held.
///
/// # Errors
/// When cargo can't be run.
pub fn run(wanted: &Wanted) -> Result<bool> {
    progress::note("building the simulation, if it has changed");
    let mut c = setup::cargo();
    c.args([
        "run",
        "--quiet",
        "--package",
        "trunkline-bgp",
        "--example",
        "simulate",
        "--",
    ]);
    if let Some(seed) = wanted.seed {
        c.args(["--seed", &seed.to_string()]);
    }
    for (name, n) in [
        ("--nodes", wanted.nodes),
        ("--events", wanted.events),
        ("--stories", wanted.stories),
    ] {
        c.args([name, &n.to_string()]);
    }
    Ok(c.status().context("can't run cargo")?.success())
}
