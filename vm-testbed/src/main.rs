//! `cargo testbed …`: sets a machine up, shows the router at work, tests it, measures it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use vm_testbed::lab::{Driver, Flavor, Memory, signals};
use vm_testbed::suite::{self, Options, Tier};
use vm_testbed::{bench, demo, fuzz, setup, simulate};

#[derive(Parser)]
#[command(
    name = "cargo testbed",
    bin_name = "cargo testbed",
    about = "Labs, demonstration, tests and measurements of Trunkline. Needs root and a Rust toolchain, nothing else."
)]
struct Args {
    #[command(subcommand)]
    command: Verb,
}

#[derive(clap::Args, Clone)]
struct On {
    /// Where packet buffers are: "no-huge" needs nothing reserved.
    #[arg(long, default_value = "no-huge")]
    memory: Memory,
    /// How the appliance reaches the veths: "af_packet" or "af_xdp".
    #[arg(long, default_value = "af_packet")]
    driver: Driver,
    /// Build with the release profile.
    #[arg(long)]
    release: bool,
    /// Take `trunkline` and `trunkctl` from this folder instead of building them.
    #[arg(long, value_name = "DIR", conflicts_with = "release")]
    programs: Option<std::path::PathBuf>,
}

impl On {
    fn flavor(&self) -> Flavor {
        Flavor {
            memory: self.memory,
            driver: self.driver,
        }
    }

    fn programs(&self) -> setup::Programs {
        setup::Programs {
            release: self.release,
            folder: self.programs.clone(),
        }
    }
}

#[derive(Subcommand)]
enum Verb {
    /// Installs what is missing and shows the appliance at work: between Linux hosts, between BIRD and FRR with a full
    /// table, and with labels
    Demo {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        files: demo::internet::Files,
        /// Leave the lab up and say how to enter it
        #[arg(long)]
        keep: bool,
    },
    /// Installs what is missing and runs every test
    Test {
        #[command(flatten)]
        on: On,
        /// How much: "quick", "full", or "vm" for virtual machines too
        #[arg(long, value_enum, default_value = "full")]
        tier: Tier,
        /// Only what has this in its name
        #[arg(long)]
        only: Option<String>,
        /// Print the names of all tests and do nothing
        #[arg(long)]
        list: bool,
        /// A folder of captures (pcap) to play into a port
        #[arg(long)]
        hostile: Option<std::path::PathBuf>,
    },
    /// Installs what is missing and measures Trunkline beside its rivals: tables with ratios, saved in benches/results
    Bench {
        /// What is measured
        programme: bench::Programme,
        /// Arguments of the programme: --quick, --json FILE, --table FILE, --table6 FILE (`--help` has them all)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Installs what is missing and runs every fuzz target for a while
    Fuzz {
        /// How long each
        #[arg(long, default_value_t = 60, value_name = "N")]
        seconds: u64,
        /// Only targets that have this in their name: "bgp/", "net/frame"
        #[arg(long)]
        only: Option<String>,
    },
    /// Plays a network of dozens of BGP speakers in virtual time: failures, flaps, and after each the checks that they agree
    /// and that no packet is lost or goes in circles
    Simulate {
        #[command(flatten)]
        wanted: simulate::Wanted,
    },
    /// Installs the Debian packages that are missing, and says what for
    Setup,
    /// Takes down what `demo --keep`, or a test bed that was killed, left behind
    Clean,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match go(args.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("\ntestbed: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn go(verb: Verb) -> Result<bool> {
    if !matches!(verb, Verb::Test { list: true, .. } | Verb::Simulate { .. }) {
        setup::check_machine()?;
        signals::install()?;
    }
    match verb {
        Verb::Demo { on, files, keep } => {
            demo::run(on.flavor(), &on.programs(), &files, keep).map(|()| true)
        }
        Verb::Test {
            on,
            tier,
            only,
            list,
            hostile,
        } => {
            let flavor = on.flavor();
            suite::run(&Options {
                tier,
                only,
                list,
                programs: on.programs(),
                flavor,
                hostile,
            })
        }
        Verb::Bench { programme, args } => bench::run(programme, &args),
        Verb::Fuzz { seconds, only } => {
            setup::install()?;
            fuzz::run(Duration::from_secs(seconds), only.as_deref()).map(|()| true)
        }
        Verb::Simulate { wanted } => simulate::run(&wanted),
        Verb::Setup => setup::install().map(|()| true),
        Verb::Clean => {
            demo::clean();
            let n = signals::remove_stale();
            println!(
                "nothing of the demo is left; {n} namespaces of killed test beds were removed"
            );
            Ok(true)
        }
    }
}
