//! Scenarios that fail, to see what a failure leaves: `cargo testbed test --on-purpose` runs these, and nothing else. And the
//! scenarios that run the test bed so, and look that the folder is whole.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use pcap_file::pcap::{PcapPacket, PcapReader};

use super::topology::{run, via};
use super::vm;
use super::{Scenario, full};
use crate::lab::{Flavor, Lab};
use crate::suite::{Options, Tier};
use crate::topology::{Made, Topology, build};

/// What fails.
pub const ALL: &[Scenario] = &[
    full(
        "on-purpose/topology",
        "fails: a host, the appliance, FRR",
        topology,
    ),
    vm(
        "vm/on-purpose/guest",
        "fails: a virtual machine, the appliance, a host",
        guest,
    ),
    vm(
        "vm/on-purpose/machine",
        "fails: the appliance in a virtual machine",
        machine,
    ),
];

/// The words that each fails with.
const WORDS: &str = "it fails, as it is to";

const PLAIN: &str = "[nodes]\nh1 = \"host\"\nr1 = { role = \"appliance\", as = 65001 }\nf1 = { role = \"frr\", as = 65002 }\n\
    [[links]]\nends = [\"h1\", \"r1\"]\n[[links]]\nends = [\"f1\", \"r1\"]\n";
const GUEST: &str = "[nodes]\ng1 = \"guest\"\nr1 = \"appliance\"\nh1 = \"host\"\n\
    [[links]]\nends = [\"g1\", \"r1\"]\n[[links]]\nends = [\"h1\", \"r1\"]\n";

fn made(name: &str, text: &str, flavor: &Flavor) -> Result<Made> {
    let t = Topology::parse(name, text)?;
    Made::new(t, Lab::new(name)?, flavor, &build::here, false)
}

fn topology(o: &Options) -> Result<()> {
    let made = made("on-purpose", PLAIN, &o.flavor)?;
    made.established()?;
    made.reach("h1", "10.0.2.1")?;
    bail!("{WORDS}: {}", via(&made, "r1", "10.0.2.0/24")?)
}

fn guest(o: &Options) -> Result<()> {
    let made = made("on-purpose-guest", GUEST, &o.flavor)?;
    made.reach("g1", "10.0.2.1")?;
    bail!("{WORDS}")
}

fn machine(_: &Options) -> Result<()> {
    vm::with_router(|| bail!("{WORDS}"))
}

/// Runs one of these, which has to fail and to say where its folder is; returns that.
fn failed(name: &str, tier: Tier) -> Result<PathBuf> {
    let programs = crate::binaries().display().to_string();
    let tier = if tier == Tier::Vm { "vm" } else { "full" };
    let done = run(&[
        "test",
        "--on-purpose",
        "--tier",
        tier,
        "--only",
        name,
        "--programs",
        &programs,
    ])?;
    let said = done.text();
    ensure!(
        done.status == Some(1)
            && said.contains(&format!("FAIL  {name}  "))
            && said.contains(WORDS)
            && said.contains("0 passed, 1 failed, 0 skipped"),
        "{done:?}"
    );
    let folder = said
        .lines()
        .find_map(|l| l.trim().strip_prefix("logs, dumps and captures: "));
    Ok(folder
        .with_context(|| format!("no folder is named: {said}"))?
        .into())
}

/// A file of the folder, which has to have these words in it.
fn has(folder: &Path, file: &str, words: &[&str]) -> Result<()> {
    let path = folder.join(file);
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let text = String::from_utf8_lossy(&bytes);
    for word in words {
        ensure!(
            text.contains(word),
            "{}: no `{word}` in:\n{text}",
            path.display()
        );
    }
    Ok(())
}

/// A capture, which has to have a frame of an echo request in it.
fn has_ping(folder: &Path, file: &str) -> Result<()> {
    // ICMP, echo request.
    has_frame(folder, file, |f| {
        f.get(23) == Some(&1) && f.get(34) == Some(&8)
    })
}

/// A capture, which has to have such a frame of IPv4 in it.
fn has_frame(folder: &Path, file: &str, such: impl Fn(&[u8]) -> bool) -> Result<()> {
    let path = folder.join(file);
    let open = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
    let mut pcap = PcapReader::new(open)?;
    let mut frames = 0;
    while let Some(frame) = pcap.next_packet() {
        frames += 1;
        let Ok(PcapPacket { data, .. }) = frame else {
            break; // a frame that was longer than QEMU keeps them, which this reader refuses
        };
        if data.get(12..15) == Some(&[8, 0, 0x45]) && such(&data) {
            return Ok(());
        }
    }
    bail!("{}: {frames} frames, none of those wanted", path.display())
}

/// What `trunkctl` shows of an appliance.
const SHOWN: &[&str] = &[
    "--- trunkctl interface show",
    "--- trunkctl drop show",
    "--- trunkctl route show",
    "--- trunkctl worker show",
];

/// A scenario that fails leaves configurations, logs, what `trunkctl` shows, and a capture of each link.
///
/// # Errors
/// When something of it is not there.
pub fn folder(_: &Options) -> Result<()> {
    let folder = failed("on-purpose/topology", Tier::Full)?;
    has(&folder, "r1.toml", &["[interface.\"h1\"]", "[bgp]"])?;
    has(&folder, "r1.log", &["ready in"])?;
    has(&folder, "r1-trunkctl.log", SHOWN)?;
    has(&folder, "r1-trunkctl.log", &["10.0.2.1", "Established"])?;
    has(&folder, "f1.log", &[])?;
    for file in ["h1.eth0.pcap", "r1.v-h1.pcap", "f1.r1.pcap"] {
        has_ping(&folder, file)?;
    }
    // What an appliance sends goes past those who listen at its end of the link: there is the answer alone.
    has_frame(&folder, "r1.v-f1.pcap", |f| {
        f.get(23) == Some(&1) && f.get(34) == Some(&0)
    })
}

/// So does one with virtual machines: their consoles, QEMU's own words, what they know of the network, captures of their cables.
///
/// # Errors
/// When something of it is not there.
pub fn folder_of_machines(_: &Options) -> Result<()> {
    let folder = failed("vm/on-purpose/guest", Tier::Vm)?;
    has(&folder, "r1-trunkctl.log", SHOWN)?;
    has(&folder, "g1-state.log", &["10.0.1.1/24", "--- dmesg"])?;
    has(&folder, "g1-console.log", &[])?;
    has(&folder, "g1-qemu.log", &[])?;
    for file in [
        "g1-eth0.pcap",
        "g1.w-eth0.pcap",
        "r1.v-g1.pcap",
        "h1.eth0.pcap",
    ] {
        has_ping(&folder, file)?;
    }
    let folder = failed("vm/on-purpose/machine", Tier::Vm)?;
    has(&folder, "vm-appliance.log", SHOWN)?;
    has(&folder, "vm-console.log", &[])?;
    has(&folder, "vm-qemu.log", &[])?;
    has(&folder, "vm-appliance.log", &["ready in", "10.0.1.1/24"])?;
    for card in ["e1000e", "vmxnet3"] {
        has_frame(&folder, &format!("vm-{card}.pcap"), |f| {
            f.get(23) == Some(&17)
        })?;
    }
    Ok(())
}
