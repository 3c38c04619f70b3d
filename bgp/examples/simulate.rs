//! Plays stories of whole networks, as the test `simulation` does: `cargo testbed simulate --seed N --nodes N`.
//!
//! Without `--seed` the seed is the time of day; it is printed, and the same seed is the same story.

// Wires that are broken on purpose are for the tests.
#[allow(dead_code)]
#[path = "../tests/network/mod.rs"]
mod network;

use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use network::{Options, Wires, run};

const USAGE: &str = "usage: simulate [--seed N] [--nodes N] [--events N] [--stories N]";

fn parse() -> Result<(Options, u64), String> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut o = Options {
        seed: now.as_secs(),
        nodes: 40,
        events: 20,
        wires: Wires::Good,
    };
    let mut stories = 1;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value: u64 = words
            .next()
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| format!("{word} wants a number; {USAGE}"))?;
        match word.as_str() {
            "--seed" => o.seed = value,
            "--nodes" => o.nodes = value as usize,
            "--events" => o.events = value as usize,
            "--stories" => stories = value,
            _ => return Err(format!("{word} is not known; {USAGE}")),
        }
    }
    Ok((o, stories))
}

fn main() -> ExitCode {
    let (first, stories) = match parse() {
        Ok(it) => it,
        Err(why) => {
            eprintln!("simulate: {why}");
            return ExitCode::from(2);
        }
    };
    for seed in first.seed..first.seed + stories {
        println!("seed {seed}");
        let start = Instant::now();
        match run(Options { seed, ..first }, &mut |line| println!("{line}")) {
            Ok(summary) => println!(
                "{summary}; {:.1} s by the clock",
                start.elapsed().as_secs_f64()
            ),
            Err(why) => {
                eprintln!("simulate: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
