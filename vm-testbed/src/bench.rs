//! `cargo testbed bench …`: prepares the machine and runs a programme of the crate `benches`, which measures Trunkline
//! beside its rivals. It is run by cargo, since nothing may depend on the benches.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::{progress, setup};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Programme {
    /// Prefix tables: lookups, changes, memory
    Fib,
    /// What sharing costs: reports of readers, rings between cores
    Rcu,
    /// Frames a second through the appliance, with testpmd and l3fwd beside it
    Forward,
    /// The BGP speaker, with BIRD 2, FRR and GoBGP beside it
    Bgp,
    /// A VPN that loses its PE, and the memory of many VRFs
    Vpn,
}

impl Programme {
    fn program(self) -> &'static str {
        match self {
            Self::Fib => "bench-fib",
            Self::Rcu => "bench-rcu",
            Self::Forward => "bench-forward",
            Self::Bgp => "bench-bgp",
            Self::Vpn => "bench-vpn",
        }
    }
}

/// Installs what is missing, builds the programme for release, and runs it with `args`. Returns whether it succeeded.
///
/// # Errors
/// When it can't be built or started.
pub fn run(programme: Programme, args: &[String]) -> Result<bool> {
    setup::install()?;
    progress::note("building the benches for release (the first time takes some minutes)");
    let cargo = |verb: &str| {
        let mut c = setup::cargo();
        c.args([verb, "--package", "benches", "--release", "--quiet"]);
        c.args(["--bin", programme.program()]);
        c
    };
    let built = cargo("build").stdin(Stdio::null()).status();
    ensure!(
        built.context("can't run cargo")?.success(),
        "the benches do not build, as cargo says above"
    );
    // Files are named from where the user stands.
    let mut run = cargo("run");
    run.current_dir(std::env::current_dir()?);
    run.arg("--manifest-path")
        .arg(crate::workspace().join("Cargo.toml"));
    run.arg("--").args(args);
    Ok(run.status().context("can't run cargo")?.success())
}
