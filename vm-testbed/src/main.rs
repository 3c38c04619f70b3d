//! `cargo testbed …`: sets a machine up, shows the router at work, tests it, measures it.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use vm_testbed::lab::{Driver, Flavor, Memory, signals};
use vm_testbed::suite::{self, Options, Tier};
use vm_testbed::topology::{Topology, state};
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
        /// Run the scenarios that fail on purpose, and nothing else
        #[arg(long, hide = true)]
        on_purpose: bool,
        /// Print the names of all tests and do nothing
        #[arg(long)]
        list: bool,
        /// Write docs/hardware.md: what ran in virtual machines, here and in earlier runs, and how it ended
        #[arg(long)]
        save: bool,
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
    /// Makes a network of namespaces, appliances and other routers that stays up: a topology that comes with the test bed
    /// (`list` names them), or a file with one
    Up {
        /// Its name, or a file
        topology: String,
        #[command(flatten)]
        on: On,
    },
    /// Takes a topology down, or all of them; also what a killed `up` left
    Down {
        /// Its name, or its file
        topology: Option<String>,
    },
    /// A shell in a node of a topology that is up; with a command: that. Of a guest it is the console, left by Ctrl-]
    Shell {
        /// The topology, where several that are up have such a node
        #[arg(long = "in", value_name = "TOPOLOGY")]
        within: Option<String>,
        /// The node
        node: String,
        /// What to run there instead of a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// What passes over a link: to a file, to standard output as a capture, or in words on a terminal
    Capture {
        /// The topology, where several that are up have such a link
        #[arg(long = "in", value_name = "TOPOLOGY")]
        within: Option<String>,
        /// The link: r1-r2
        link: String,
        /// To this file
        #[arg(short = 'w', value_name = "FILE")]
        file: Option<std::path::PathBuf>,
        /// Arguments for tcpdump: -c 10, or a filter
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        more: Vec<String>,
    },
    /// Other faults for a link that was made with some: loss=1 delay-ms=20, cut=1; none: a good link again
    Fault {
        /// The topology, where several that are up have such a link
        #[arg(long = "in", value_name = "TOPOLOGY")]
        within: Option<String>,
        /// The link: r1-r2
        link: String,
        /// loss, corrupt, duplicate, reorder (percent), delay-ms, jitter-ms, rate-kbit, cut
        faults: Vec<String>,
    },
    /// The topologies that are up, and those that come with the test bed
    List,
    /// The box of a link with faults, which `up` starts
    #[command(hide = true)]
    Middlebox {
        file: std::path::PathBuf,
        namespace: String,
        devices: Vec<String>,
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
    let harmless = matches!(
        verb,
        Verb::Test { list: true, .. } | Verb::Simulate { .. } | Verb::List
    );
    // Those that another program takes the place of, or that end with their namespace.
    let replaced = matches!(
        verb,
        Verb::Shell { .. } | Verb::Capture { .. } | Verb::Middlebox { .. }
    );
    if !harmless {
        setup::check_machine()?;
    }
    if !harmless && !replaced {
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
            on_purpose,
            list,
            save,
            hostile,
        } => {
            let flavor = on.flavor();
            suite::run(&Options {
                tier,
                only,
                on_purpose,
                list,
                programs: on.programs(),
                flavor,
                save,
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
        of_topologies => topologies(of_topologies).map(|()| true),
    }
}

/// The verbs about topologies.
fn topologies(verb: Verb) -> Result<()> {
    match verb {
        Verb::Up { topology, on } => {
            let prepare = |t: &Topology| {
                setup::install()?;
                if t.has_guests() {
                    setup::install_for_vm()?;
                }
                setup::build(&on.programs())
            };
            state::up(&topology, &on.flavor(), prepare)
        }
        Verb::Down { topology } => state::down(topology.as_deref()),
        Verb::Shell {
            within,
            node,
            command,
        } => state::shell(within.as_deref(), &node, &command),
        Verb::Capture {
            within,
            link,
            file,
            more,
        } => state::capture(within.as_deref(), &link, file.as_deref(), &more),
        Verb::Fault {
            within,
            link,
            faults,
        } => state::fault(within.as_deref(), &link, &faults),
        Verb::List => state::list(),
        Verb::Middlebox {
            file,
            namespace,
            devices,
        } => {
            let [a, b] = devices.as_slice() else {
                anyhow::bail!("a box has two devices")
            };
            state::middlebox(&file, &namespace, [a, b])
        }
        _ => anyhow::bail!("this is no verb about topologies"),
    }
}
