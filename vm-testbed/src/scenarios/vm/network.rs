//! A network of machines and namespaces: the shipped topology `guests`, and the commands on a topology with a machine in it, as a
//! user gives them.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use super::neighbour::serve;
use super::record;
use crate::lab::Faults;
use crate::lab::wait::{secs, until};
use crate::scenarios::pages;
use crate::scenarios::topology::{File, make, must, pings_captured, run, testbed, via};
use crate::suite::Options;
use crate::topology::{guest::PATIENCE, state};

/// The topology `guests` converges, every host reaches every other, whatever it is made of; a customer in a VRF of the guest with
/// FRR is reached by its label, and not when the kernel there has forgotten it; a cut link is found out by BGP, one that is slow
/// passes less.
///
/// # Errors
/// When one of this is not so.
pub fn guests(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let made = make("guests", &o.flavor)?;
    for vm in made.machines() {
        record::machine(&vm);
    }
    // By a label into the VRF, by another back.
    made.reach("h1", "172.16.1.2")?;
    let forget = "ip -f mpls route del 500 dev blue";
    made.guest("fg")?.guest.run(forget)?;
    let done = made
        .guest("h1")?
        .guest
        .finish("ping -n -c 3 -i 0.3 -W 1 172.16.1.2")?;
    ensure!(
        !done.ok(),
        "the VRF has no label any more, and is reached: {}",
        done.text()
    );
    made.guest("fg")?.guest.run(&forget.replace("del", "add"))?;
    made.reach("h1", "172.16.1.2")?;

    slow(&made)?;
    let behind = "10.0.5.0/24";
    ensure!(
        via(&made, "r1", behind)?.contains("10.0.2.1"),
        "{}",
        via(&made, "r1", behind)?
    );
    made.fault("fg-r1", Faults::cut())?;
    until("r1 finds out that fg is cut off", secs(60), || {
        Ok(!via(&made, "r1", behind)?.contains("10.0.2.1"))
    })?;
    made.fault("fg-r1", Faults::default())?;
    until("r1 has fg's routes again", secs(60), || {
        Ok(via(&made, "r1", behind)?.contains("10.0.2.1"))
    })?;
    made.reach("h1", "10.0.5.1")?;
    made.down()
}

/// Kilobits a second of the link, for a while.
const RATE: u64 = 400;

/// Over a link of a few hundred kilobits a second so much passes, and no more.
fn slow(made: &crate::topology::Made) -> Result<()> {
    made.fault("fg-r1", format!("rate-kbit={RATE}").parse()?)?;
    let mut vm = made.guest("fg")?;
    serve(&mut vm, "", 5201)?;
    drop(vm);
    let send = "iperf3 -J -c 10.0.2.1 -t 4 -O 1 -M 1200 --connect-timeout 20000";
    let said = made.guest("h1")?.guest.run(send)?;
    made.fault("fg-r1", Faults::default())?;
    let said: serde_json::Value = serde_json::from_str(&said)?;
    let rate = said["end"]["sum_received"]["bits_per_second"].as_f64();
    let kbit = rate.context("iperf3 gave no sum")? / 1e3;
    ensure!(
        kbit > RATE as f64 / 4.0 && kbit < RATE as f64 * 1.1,
        "{kbit:.0} kbit/s over a link of {RATE}: {}",
        said["end"]
    );
    Ok(())
}

const FILE: &str = "about = \"a test\"\n[nodes]\nha = \"guest\"\nhb = \"host\"\nra = { role = \"appliance\", as = 65001 }\n\
    rb = { role = \"bird\", as = 65002 }\n[[links]]\nends = [\"ha\", \"ra\"]\naddresses = [[\"10.77.1.2/24\"], [\"10.77.1.1/24\"]]\n\
    faults = \"\"\n[[links]]\nends = [\"ra\", \"rb\"]\naddresses = [[\"10.77.2.1/24\"], [\"10.77.2.2/24\"]]\n\
    [[links]]\nends = [\"hb\", \"rb\"]\naddresses = [[\"10.77.3.2/24\"], [\"10.77.3.1/24\"]]\n";

/// `up`, `list`, `shell`, `capture`, `fault` and `down` of a topology with a machine, which outlives the first of these commands.
///
/// # Errors
/// When one of them does something else.
pub fn commands(_: &Options) -> Result<()> {
    let file = File::with(FILE)?;
    let name = file.name.as_str();
    let said = must(&file.up())?;
    ensure!(said.contains("ha        guest (host)"), "{said}");
    ensure!(
        must(&["list"])?.contains(&format!("{name}: up\n")),
        "{}",
        must(&["list"])?
    );
    let shell = |more: &[&str]| {
        let mut all = vec!["shell", "--in", name, "ha"];
        all.extend(more);
        run(&all)
    };
    let done = shell(&["ping", "-n", "-c", "1", "-W", "5", "10.77.3.2"])?;
    ensure!(done.ok(), "{done:?}");
    // Another kernel than ours, words as they were given, a status.
    let done = shell(&["sh", "-c", "cat /proc/version; echo 'two  words'; exit 7"])?;
    let ours = std::fs::read_to_string("/proc/version")?;
    ensure!(
        done.status == Some(7)
            && done.stdout.contains("two  words")
            && !done.stdout.contains(ours.trim()),
        "{done:?}"
    );
    // What comes on standard input, where that is no terminal.
    let mut c = testbed(&["shell", "--in", name, "ha"]);
    let mut child = c.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("a pipe")?, b"hostname\n")?;
    let said = child.wait_with_output()?.stdout;
    ensure!(said == b"ha\n", "{}", String::from_utf8_lossy(&said));

    captured(&file)?;
    must(&["fault", "--in", name, "ha-ra", "cut=1"])?;
    let done = shell(&["ping", "-n", "-c", "2", "-W", "1", "10.77.3.2"])?;
    ensure!(!done.ok(), "over a link that is cut: {done:?}");
    must(&["fault", "--in", name, "ha-ra"])?;
    until("over a good one again", PATIENCE, || {
        Ok(shell(&["ping", "-n", "-c", "1", "-W", "1", "10.77.3.2"])?.ok())
    })?;
    // A machine that ends is missed.
    shell(&["poweroff", "-f"]).ok();
    until("it is missed", secs(20), || {
        Ok(must(&["list"])?.contains("what ran in ha has ended"))
    })?;
    must(&["down", name])?;
    state::nothing_left(name)
}

/// A capture of the machine's link sees the pings that it sends.
fn captured(file: &File) -> Result<()> {
    let pcap = file.path().replace(".toml", ".pcap");
    pings_captured(&file.name, "ha-ra", &pcap, PATIENCE)
}
