//! What is wrong with VPNs is refused by name, by a file at the start and by one that is applied; what runs stays as it is.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::super::vrf::{VRFS, customer, host};
use super::super::{pages, ping, reach};
use crate::lab::appliance::program;
use crate::lab::{Appliance, Config, Lab, cmd};
use crate::suite::Options;

/// What is wrong, the lines that say it, and words of the answer.
type Wrong = (&'static str, &'static str, &'static [&'static str]);

const WRONG: [Wrong; 5] = [
    (
        "two VRFs with one distinguisher",
        "[vrf.green]\nrd = \"64512:0\"",
        &["vrf.green.rd", "64512:0", "red already"],
    ),
    (
        "an interface in two VRFs",
        "[vrf.green]\n[interface.x]\ndevice = \"tap:x\"\nvrf = [\"blue\", \"green\"]",
        &["interface.x.vrf", "nothing is in two VRFs"],
    ),
    (
        "a label out of its range",
        "[label-range]\nstatic = \"1000-1999\"\n[[label]]\nin = 2000\naction = \"pop\"\nvrf = \"blue\"",
        &["label 2000", "label-range.static (1000-1999)"],
    ),
    (
        "a route target that nobody can match",
        "[vrf.green]\nimport = [\"target:64512:404\"]\n[bgp]\nas = 64512",
        &["vrf.green.import", "nobody can match target:64512:404"],
    ),
    (
        "a loop through a leak",
        "[[route]]\nprefix = \"10.8.0.0/16\"\nvrf = \"red\"\nvia = \"10.9.0.1\"\nvia-table = \"blue\"\n\
         [[route]]\nprefix = \"10.9.0.0/16\"\nvrf = \"blue\"\nvia = \"10.8.0.1\"\nvia-table = \"red\"",
        &[
            "route 10.8.0.0/16 vrf red",
            "leads back to itself through a leak",
            "10.9.0.0/16 vrf blue via 10.8.0.1",
        ],
    ),
];

/// Writes a configuration with more lines beside that of the lab.
fn write(lab: &Lab, config: &Config, text: &str) -> Result<PathBuf> {
    let path = lab.folder().join("bad.toml");
    std::fs::write(&path, config.clone().section(text).text())?;
    Ok(path)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn refusals(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("l3vpn-refusals")?;
    let pe = lab.router("pe")?;
    let mut near = vec![];
    let mut config = o.flavor.config("pe");
    for (i, (vrf, only)) in VRFS.iter().enumerate() {
        near.push(lab.host(&host(vrf, 1, *only), &pe, &format!("{vrf}-1"))?);
        config = customer(config, vrf, 1).section(&format!("[vrf.{vrf}]\nrd = \"64512:{i}\""));
    }
    let a = lab.start("pe", &pe, &config)?;
    reach(&near[0], "10.0.1.1")?;
    let before = state(&a)?;
    for (what, text, words) in WRONG {
        let path = write(&lab, &config, text)?;
        for verb in ["check", "diff", "apply"] {
            let done = a.ctl(&format!("config {verb} {}", path.display()))?;
            ensure!(
                done.status == Some(1),
                "{what}: config {verb}: status {:?}: {}",
                done.status,
                done.text()
            );
            named(what, words, &done.text())?;
        }
        let mut start = a.ns().command("timeout");
        start.args(["-k", "5", "10"]).arg(program("trunkline"));
        start.arg("-c").arg(&path);
        let started = cmd::finish(start.arg("--socket").arg(lab.folder().join("bad.sock")))?;
        ensure!(
            !started.ok() && started.status != Some(124),
            "{what}: it starts with that"
        );
        named(what, words, &started.text())?;
        ensure!(state(&a)? == before, "{what}: what runs has changed");
        ping(&near[0], "10.0.1.1", 3).context(what)?;
    }
    // By command, too.
    a.must("route add 10.8.0.0/16 via 10.9.0.1 vrf red via-table blue")?;
    let done = a.ctl("route add 10.9.0.0/16 via 10.8.0.1 vrf blue via-table red")?;
    ensure!(done.status == Some(1), "{}", done.text());
    named(
        "by command",
        &["leads back to itself through a leak"],
        &done.text(),
    )?;
    a.must("route del 10.8.0.0/16 vrf red")?;
    ensure!(state(&a)? == before, "something is left");
    a.law()?;
    a.stop()
}

fn named(what: &str, words: &[&str], text: &str) -> Result<()> {
    let missing: Vec<&&str> = words.iter().filter(|w| !text.contains(**w)).collect();
    ensure!(missing.is_empty(), "{what}: no {missing:?} in {text:?}");
    Ok(())
}

/// All that the commands above would change.
fn state(a: &Appliance) -> Result<String> {
    let shown = ["config show", "route show", "vrf show", "label show"].map(|s| a.must(s));
    let shown: Result<Vec<String>> = shown.into_iter().collect();
    Ok(shown?.join("\n"))
}
