//! Two Linux hosts reach each other through one appliance, on every combination of memory and driver.

use anyhow::{Context, Result, ensure};

use crate::lab::{Config, Driver, Flavor, Host, Lab, Memory};
use crate::suite::Options;

use super::{Skip, iperf, pages, ping, reach};

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn no_huge_af_packet(_: &Options) -> Result<()> {
    pair(
        Flavor {
            memory: Memory::NoHuge,
            driver: Driver::AfPacket,
        },
        |c| c,
    )
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn no_huge_af_xdp(_: &Options) -> Result<()> {
    pair(
        Flavor {
            memory: Memory::NoHuge,
            driver: Driver::AfXdp,
        },
        |c| c,
    )
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hugepages_af_packet(_: &Options) -> Result<()> {
    pair(
        Flavor {
            memory: Memory::Hugepages,
            driver: Driver::AfPacket,
        },
        |c| c,
    )
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hugepages_af_xdp(_: &Options) -> Result<()> {
    pair(
        Flavor {
            memory: Memory::Hugepages,
            driver: Driver::AfXdp,
        },
        |c| c,
    )
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn two_workers(o: &Options) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(Skip("one CPU only".into()).into());
    }
    pair(o.flavor, |c| c.workers("0,1"))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn busy(o: &Options) -> Result<()> {
    pair(o.flavor, |c| c.dataplane("poll = \"busy\""))
}

/// The configuration of a router between two hosts.
#[must_use]
pub fn config(flavor: &Flavor) -> Config {
    flavor
        .config("r1")
        .interface("lan1", "e1", &["10.0.1.1/24", "2001:db8:1::1/64"], "")
        .interface("lan2", "e2", &["10.0.2.1/24", "2001:db8:2::1/64"], "")
}

/// A host at network `n` of that router.
#[must_use]
pub fn host(n: u8) -> Host {
    Host::new(
        &format!("h{n}"),
        &[&format!("10.0.{n}.2/24"), &format!("2001:db8:{n}::2/64")],
    )
    .gateway(&format!("10.0.{n}.1"))
    .gateway(&format!("2001:db8:{n}::1"))
}

fn pair(flavor: Flavor, adapt: fn(Config) -> Config) -> Result<()> {
    let _pages = pages(&flavor, 1)?;
    let mut lab = Lab::new("pair")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&host(1), &r1, "e1")?;
    let h2 = lab.host(&host(2), &r1, "e2")?;
    let a = lab.start("r1", &r1, &adapt(config(&flavor)))?;
    for to in ["10.0.2.2", "2001:db8:2::2"] {
        reach(&h1, to)?;
        ping(&h1, to, 50)?;
    }
    for to in ["10.0.2.2", "2001:db8:2::2"] {
        let mbps = iperf(&h1, (&h2, to), "-t 1").with_context(|| format!("TCP to {to}"))?;
        ensure!(mbps > 10.0, "TCP to {to}: only {mbps:.1} Mbit/s");
        iperf(&h1, (&h2, to), "-u -b 20M -l 1200 -t 1").with_context(|| format!("UDP to {to}"))?;
    }
    let back = iperf(&h1, (&h2, "10.0.2.2"), "-R -P 4 -t 1").context("four TCP streams back")?;
    ensure!(back > 10.0, "four TCP streams back: only {back:.1} Mbit/s");
    a.law()?;
    a.stop()
}
