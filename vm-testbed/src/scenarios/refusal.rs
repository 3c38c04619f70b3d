//! What an appliance refuses: each time with the cause and the remedy, and without harm to what runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};

use crate::cases::{Bed, case, known_hosts, ports};
use crate::frame::Ip4;
use crate::lab::appliance::program;
use crate::lab::cmd::{self, Done};
use crate::lab::{Appliance, Config, Flavor, Lab, Memory, Netns, pages as huge};
use crate::suite::Options;

use super::{Skip, pages};

/// A mistake, and words that the message about it must have: the cause, and what would be right.
struct Mistake {
    name: &'static str,
    /// What is put behind a configuration that is right.
    text: &'static str,
    says: &'static [&'static str],
    /// A mistake that only shows when the machine is asked.
    needs_machine: bool,
}

const fn mistake(name: &'static str, text: &'static str, says: &'static [&'static str]) -> Mistake {
    Mistake {
        name,
        text,
        says,
        needs_machine: false,
    }
}

const MISTAKES: &[Mistake] = &[
    mistake(
        "an unknown section",
        "[interfaces.x]\nmtu = 1500",
        &["bad.toml:", "interfaces", "interface"],
    ),
    mistake(
        "an unknown key",
        "[interface.x]\ndevice = \"af_packet:e3\"\nmttu = 1500",
        &["bad.toml:", "mttu", "mtu"],
    ),
    mistake(
        "a value of another type",
        "[interface.x]\ndevice = \"af_packet:e3\"\nmtu = \"big\"",
        &["bad.toml:", "mtu"],
    ),
    mistake(
        "an MTU out of range",
        "[interface.x]\ndevice = \"af_packet:e3\"\nmtu = 20",
        &["bad.toml:", "mtu", "68"],
    ),
    mistake(
        "an address twice",
        "[interface.x]\ndevice = \"af_packet:e3\"\naddress = [\"10.0.1.1/24\"]",
        &["bad.toml:", "10.0.1.1", "p1"],
    ),
    mistake(
        "a device twice",
        "[interface.x]\ndevice = \"af_packet:e1\"",
        &["bad.toml:", "e1", "p1"],
    ),
    mistake(
        "no address",
        "[interface.x]\ndevice = \"af_packet:e3\"\naddress = [\"10.0.9.300/24\"]",
        &["bad.toml:", "10.0.9.300"],
    ),
    mistake(
        "no such kind of device",
        "[interface.x]\ndevice = \"magic:e3\"",
        &["bad.toml:", "magic", "af_packet"],
    ),
    mistake(
        "a VLAN without its port",
        "[interface.\"p9.100\"]\naddress = [\"10.9.100.1/24\"]",
        &["bad.toml:", "p9"],
    ),
    mistake(
        "a label out of range",
        "[[label]]\nin = 1048576\naction = \"pop\"",
        &["bad.toml:", "1048576", "1048575"],
    ),
    mistake(
        "a reserved label",
        "[[label]]\nin = 3\naction = \"pop\"",
        &["bad.toml:", "3", "16"],
    ),
    mistake(
        "a label twice",
        "[[label]]\nin = 300\naction = \"pop\"\n[[label]]\nin = 300\naction = \"pop\"",
        &["bad.toml:", "300"],
    ),
    mistake(
        "host bits in a prefix",
        "[[route]]\nprefix = \"198.51.100.1/24\"\nvia = [\"10.0.2.2\"]",
        &["bad.toml:", "198.51.100.0/24"],
    ),
    mistake(
        "a next hop that is no address",
        "[[route]]\nprefix = \"198.51.100.0/24\"\nvia = [\"10.0.2\"]",
        &["bad.toml:", "10.0.2"],
    ),
    mistake(
        "a route that leads nowhere",
        "[[route]]\nprefix = \"198.51.100.0/24\"",
        &["bad.toml:", "via"],
    ),
    mistake("no TOML", "[interface.x\n", &["bad.toml:"]),
    mistake(
        "an AS number that is nobody's",
        "[bgp]\nas = 0",
        &["bad.toml:", "bgp.as", "1 to 4294967295"],
    ),
    mistake(
        "a policy that there is not",
        "[bgp]\nas = 64512\n[bgp.neighbor.\"10.0.1.2\"]\nas = 64513\nimport = \"nobody\"",
        &["bad.toml:", "import", "no policy", "nobody"],
    ),
    mistake(
        "two VRFs with one distinguisher",
        "[vrf.blue]\nrd = \"64512:1\"\n[vrf.red]\nrd = \"64512:1\"",
        &["bad.toml:", "vrf.red.rd", "64512:1", "blue already"],
    ),
    mistake(
        "an interface in two VRFs",
        "[vrf.blue]\n[vrf.red]\n[interface.x]\ndevice = \"tap:x\"\nvrf = [\"blue\", \"red\"]",
        &["bad.toml:", "interface.x.vrf", "nothing is in two VRFs"],
    ),
    mistake(
        "a VRF that there is not",
        "[vrf.blue]\n[interface.x]\ndevice = \"tap:x\"\nvrf = \"green\"",
        &[
            "bad.toml:",
            "interface.x.vrf",
            "no VRF",
            "the VRFs are blue",
        ],
    ),
    Mistake {
        name: "a missing device",
        text: "[interface.x]\ndevice = \"af_packet:nope0\"",
        says: &["nope0", "devices here: e1, e2"],
        needs_machine: true,
    },
    Mistake {
        name: "a missing network card",
        text: "[interface.x]\ndevice = \"pci:0000:fe:1f.7\"",
        says: &["0000:fe:1f.7", "network cards here"],
        needs_machine: true,
    },
    Mistake {
        name: "a missing capture",
        text: "[interface.x]\ndevice = \"dpdk:net_pcap0,rx_pcap=/nonexistent/x.pcap\"",
        says: &["net_pcap0"],
        needs_machine: true,
    },
];

/// Runs `trunkline` on a configuration that it must refuse, and returns what it said.
fn refused(ns: &Netns, folder: &Path, config: &Path, socket: &str) -> Result<Done> {
    let mut c = ns.command("timeout");
    c.args(["-k", "5", "10"])
        .arg(program("trunkline"))
        .arg("-c")
        .arg(config);
    let done = cmd::finish(c.arg("--socket").arg(folder.join(socket)))?;
    ensure!(
        !done.ok() && done.status != Some(124),
        "it was not refused: status {:?}: {}",
        done.status,
        done.text()
    );
    // 134, 139: died by abort or fault; 101: a Rust panic.
    ensure!(
        done.status.is_some_and(|s| s < 100),
        "status {:?}, which is no refusal: {}",
        done.status,
        done.text()
    );
    Ok(done)
}

fn says(done: &Done, words: &[&str]) -> Result<()> {
    for w in words {
        ensure!(
            done.stderr.contains(w),
            "the message does not mention `{w}`: {}",
            done.text()
        );
    }
    ensure!(
        !done.stderr.contains("panicked") && !done.stderr.contains("RUST_BACKTRACE"),
        "a panic: {}",
        done.text()
    );
    Ok(())
}

/// A network card of this machine that has a kernel driver, or none.
fn network_card() -> Option<String> {
    let devices = std::fs::read_dir("/sys/bus/pci/devices").ok()?;
    devices.flatten().find_map(|d| {
        let class = std::fs::read_to_string(d.path().join("class")).ok()?;
        class
            .starts_with("0x0200")
            .then(|| d.file_name().to_string_lossy().into_owned())
    })
}

fn write(folder: &Path, config: &Config, more: &str) -> Result<PathBuf> {
    let path = folder.join("bad.toml");
    std::fs::write(&path, format!("{}\n{more}\n", config.text()))?;
    Ok(path)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn start(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("refusal")?;
    let dut = lab.router("dut")?;
    let far = lab.space("far")?;
    let _wires = [
        lab.wire(&dut, "e1", &far)?,
        lab.wire(&dut, "e2", &far)?,
        lab.wire(&dut, "e3", &far)?,
    ];
    let config = ports(&o.flavor, 2, |_| "");
    let before = crate::lab::leftovers::Snapshot::take(&dut, false)?;
    let mut wrong = vec![];
    for m in MISTAKES {
        let path = write(lab.folder(), &config, m.text)?;
        let result = refused(&dut, lab.folder(), &path, "s.sock")
            .and_then(|d| says(&d, m.says))
            .and_then(|()| {
                ensure!(!lab.folder().join("s.sock").exists(), "its socket is left");
                crate::lab::leftovers::Snapshot::take(&dut, false)?.same_as(&before)
            });
        if let Err(e) = result {
            wrong.push(format!("{}: {e:#}", m.name));
        }
    }
    let missing = lab.folder().join("missing.toml");
    let gone =
        refused(&dut, lab.folder(), &missing, "s.sock").and_then(|d| says(&d, &["missing.toml"]));
    if let Err(e) = gone {
        wrong.push(format!("a missing file: {e:#}"));
    }
    if let Some(card) = network_card() {
        let path = write(
            lab.folder(),
            &config,
            &format!("[interface.x]\ndevice = \"pci:{card}\""),
        )?;
        if let Err(e) =
            refused(&dut, lab.folder(), &path, "s.sock").and_then(|d| says(&d, &[&card, "vfio"]))
        {
            wrong.push(format!("a network card with the kernel's driver: {e:#}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn running(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let config = ports(&o.flavor, 2, |_| "");
    let mut bed = Bed::start("running", 2, &config)?;
    for line in known_hosts(2, &[2]) {
        bed.appliance.must(&line)?;
    }
    let a = &bed.appliance;
    let folder = a.config().parent().context("no folder")?.to_owned();
    let state = || -> Result<String> {
        let shown = ["config show", "route show", "label show"].map(|s| a.must(s));
        let shown: Result<Vec<String>> = shown.into_iter().collect();
        Ok(format!(
            "{}\n{}",
            shown?.join("\n"),
            std::fs::read_to_string(a.config())?
        ))
    };
    let before = state()?;
    let mut wrong = vec![];
    for m in MISTAKES {
        let path = write(&folder, &config, m.text)?;
        let verbs: &[&str] = if m.needs_machine {
            &["apply"]
        } else {
            &["check", "diff", "apply"]
        };
        for verb in verbs {
            let done = a.ctl(&format!("config {verb} {}", path.display()))?;
            let result = if done.status == Some(1) {
                says(&done, m.says)
            } else {
                Err(anyhow!("status {:?}: {}", done.status, done.text()))
            };
            if let Err(e) = result {
                wrong.push(format!("{}, config {verb}: {e:#}", m.name));
            }
        }
        if !m.needs_machine
            && let Err(e) = unattended(a, &path)
        {
            wrong.push(format!("{}: {e:#}", m.name));
        }
        if !a.alive() {
            return Err(anyhow!("{}: trunkline ended: {}", m.name, a.log_tail()));
        }
        let now = state()?;
        if now != before {
            wrong.push(format!(
                "{}: the running appliance has changed:\n{before}\nnow\n{now}",
                m.name
            ));
        }
    }
    unattended(a, a.config())?;
    commands(a, &mut wrong)?;
    if state()? != before {
        wrong.push("refused commands have changed something".to_owned());
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    forwards(&mut bed)?;
    bed.appliance.stop()
}

/// Without an appliance, `config check` says what it says with one.
fn unattended(a: &Appliance, file: &Path) -> Result<()> {
    let with = a.ctl(&format!("config check {}", file.display()))?;
    let mut c = Command::new(program("trunkctl"));
    c.args(["--socket", "/nonexistent/t.sock", "config", "check"]);
    let without = cmd::finish(c.arg(file))?;
    ensure!(
        (with.status, &with.stdout, &with.stderr)
            == (without.status, &without.stdout, &without.stderr),
        "config check with an appliance says ({:?}) {}\nand without one ({:?}) {}",
        with.status,
        with.text(),
        without.status,
        without.text()
    );
    Ok(())
}

/// Commands that must be refused, and words of the refusal.
const COMMANDS: &[(&str, &[&str])] = &[
    (
        "route add 198.51.100.1/24 via 10.0.2.2",
        &["198.51.100.0/24"],
    ),
    ("route add 198.51.100.0/24 via 10.0.2.2 dev nope", &["nope"]),
    (
        "route add 198.51.100.0/24 via 10.0.2.2 vrf blue",
        &["no VRF", "blue"],
    ),
    ("label add 300 pop vrf blue", &["no VRF", "blue"]),
    ("label add 300 pop via 10.0.2.2 vrf blue", &["vrf"]),
    ("route del 198.51.100.0/24", &["198.51.100.0/24"]),
    ("label add 3 swap 400 via 10.0.2.2", &["3"]),
    ("label del 300", &["300"]),
    ("interface del nope", &["nope"]),
    ("interface add p1 device af_packet:e2", &["p1"]),
    ("interface add p9 device af_packet:nope0", &["nope0"]),
    (
        "neigh add 10.0.2.9 lladdr 01:00:5e:00:00:01 dev p2",
        &["01:00:5e:00:00:01"],
    ),
    (
        "neigh add 10.0.2.9 lladdr 02:00:00:00:00:01 dev nope",
        &["nope"],
    ),
];

fn commands(a: &Appliance, wrong: &mut Vec<String>) -> Result<()> {
    for (line, words) in COMMANDS {
        let done = a.ctl(line)?;
        let status = matches!(done.status, Some(1 | 2));
        let said = words
            .iter()
            .all(|w| done.stderr.to_lowercase().contains(&w.to_lowercase()));
        if !status || !said {
            wrong.push(format!(
                "`{line}`: status {:?}, says: {}",
                done.status,
                done.text()
            ));
        }
    }
    Ok(())
}

fn forwards(bed: &mut Bed) -> Result<()> {
    let p = Ip4::udp("10.0.1.2", "10.0.2.2", 30);
    bed.run(
        &case("still forwards")
            .packet(1, &p.bytes())
            .forwarded(2, &p.ttl(63).bytes()),
    )
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn second_instance(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut bed = Bed::start("second", 2, &ports(&o.flavor, 2, |_| ""))?;
    for line in known_hosts(2, &[2]) {
        bed.appliance.must(&line)?;
    }
    let folder = bed
        .appliance
        .config()
        .parent()
        .context("no folder")?
        .to_owned();
    let config = bed.appliance.config().to_owned();
    let done = refused(bed.appliance.ns(), &folder, &config, "dut.sock")?;
    let pid = bed.appliance.pid()?.to_string();
    says(&done, &["dut.sock", &pid, "--socket"])?;
    forwards(&mut bed)?;
    bed.appliance.must("route show")?;
    bed.appliance.stop()
}

/// A small file system in memory, unmounted when dropped.
struct Tmpfs(PathBuf);

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = cmd::finish(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn full_disk(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("full-disk")?;
    let dut = lab.router("dut")?;
    let far = lab.space("far")?;
    let _wires = [lab.wire(&dut, "e1", &far)?, lab.wire(&dut, "e2", &far)?];
    let disk = lab.folder().join("disk");
    std::fs::create_dir_all(&disk)?;
    cmd::run(&format!(
        "mount -t tmpfs -o size=64k tmpfs {}",
        disk.display()
    ))?;
    let disk = Tmpfs(disk);
    let path = disk.0.join("dut.toml");
    std::fs::write(&path, ports(&o.flavor, 2, |_| "").text())?;
    let a = crate::lab::Appliance::spawn_file(lab.folder(), "dut", &dut, &path, o.flavor.memory)?;
    a.ready()?;
    a.must("route add 198.51.100.0/24 via 10.0.2.2")?;
    // Full to the last byte.
    let filler = disk.0.join("filler");
    let _ = std::fs::write(&filler, vec![1u8; 1 << 20]);
    let before = (std::fs::read_to_string(&path)?, a.must("route show")?);
    for line in [
        "route add 203.0.113.0/24 via 10.0.2.2",
        "label add 300 swap 400 via 10.0.2.2",
        "route del 198.51.100.0/24",
    ] {
        let done = a.ctl(line)?;
        ensure!(
            done.status == Some(1),
            "`{line}` ended with {:?}: {}",
            done.status,
            done.text()
        );
        let told = done.stderr.to_lowercase();
        ensure!(
            told.contains("space") && told.contains("dut.toml"),
            "`{line}`: {}",
            done.text()
        );
    }
    let after = (std::fs::read_to_string(&path)?, a.must("route show")?);
    ensure!(before == after, "before: {before:?}\nafter: {after:?}");
    let files: Vec<_> = std::fs::read_dir(&disk.0)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    ensure!(files.len() == 2, "a temporary file is left: {files:?}");
    // Space again, and changes are taken again.
    std::fs::remove_file(&filler)?;
    a.must("route add 203.0.113.0/24 via 10.0.2.2")?;
    a.stop()
}

/// Runs `trunkline` where the kernel has no huge pages to give: its counters are covered by files that stay at 0.
fn without_pages(ns: &Netns, folder: &Path, config: &Path) -> Result<Done> {
    let none = folder.join("no-pages");
    std::fs::create_dir_all(&none)?;
    for key in [
        "nr_hugepages",
        "free_hugepages",
        "resv_hugepages",
        "surplus_hugepages",
        "nr_overcommit_hugepages",
    ] {
        std::fs::write(none.join(key), "0\n")?;
    }
    let script = format!(
        "for d in /sys/kernel/mm/hugepages /sys/devices/system/node/node*/hugepages; do \
             mount --bind {} $d/hugepages-2048kB || exit 99; done; \
         exec nsenter --net=/run/netns/{} timeout -k 5 10 {} -c {} --socket {}",
        none.display(),
        ns.name(),
        program("trunkline").display(),
        config.display(),
        folder.join("s.sock").display()
    );
    cmd::finish(Command::new("unshare").args(["--mount", "sh", "-c", &script]))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hugepages(_: &Options) -> Result<()> {
    huge::free().map_err(|e| anyhow!(Skip(format!("this kernel has no huge pages: {e:#}"))))?;
    let mut lab = Lab::new("hugepages")?;
    let dut = lab.router("dut")?;
    let far = lab.space("far")?;
    let _wires = [lab.wire(&dut, "e1", &far)?, lab.wire(&dut, "e2", &far)?];
    let flavor = Flavor {
        memory: Memory::Hugepages,
        ..Flavor::default()
    };
    let path = write(lab.folder(), &ports(&flavor, 2, |_| ""), "")?;
    let done = without_pages(&dut, lab.folder(), &path)?;
    ensure!(
        done.status == Some(1),
        "status {:?}, which is no refusal: {}",
        done.status,
        done.text()
    );
    says(&done, &["huge", "no-huge"])?;
    // Where pages can be had, it takes what is missing by itself, and gives it back.
    let before = huge::total()?;
    let a = lab.start("dut", &dut, &ports(&flavor, 2, |_| ""))?;
    a.stop()?;
    ensure!(
        huge::total()? == before,
        "{before} huge pages before, {} after",
        huge::total()?
    );
    Ok(())
}
