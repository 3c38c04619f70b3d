//! The topologies that come with the test bed: each is made, converges, its hosts reach each other, something happens to it,
//! and nothing is left of it. And the commands for them, as a user gives them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{pages, reach};
use crate::lab::cmd::{self, Done};
use crate::lab::wait::{secs, until};
use crate::lab::{Driver, Faults, Flavor, Lab, Memory, netns};
use crate::suite::Options;
use crate::topology::{self, Made, Topology, build, state};

pub(super) fn make(name: &str, flavor: &Flavor) -> Result<Made> {
    let (name, text) = topology::find(name)?;
    let t = Topology::parse(&name, &text)?;
    let lab = Lab::new(&format!("topology-{name}"))?;
    let made = Made::new(t, lab, flavor, &build::here, false)?;
    made.established()?;
    let pairs = made.pings()?;
    ensure!(pairs >= 4, "{pairs} pings");
    Ok(made)
}

/// By which addresses an appliance reaches a prefix.
pub(super) fn via(made: &Made, node: &str, prefix: &str) -> Result<String> {
    Ok(made
        .appliance(node)?
        .json(&format!("route show {prefix}"))?
        .to_string())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn triangle(o: &Options) -> Result<()> {
    triangle_on(&o.flavor)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn triangle_af_xdp(_: &Options) -> Result<()> {
    triangle_on(&Flavor {
        driver: Driver::AfXdp,
        ..Flavor::default()
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn triangle_hugepages(_: &Options) -> Result<()> {
    triangle_on(&Flavor {
        memory: Memory::Hugepages,
        ..Flavor::default()
    })
}

fn triangle_on(flavor: &Flavor) -> Result<()> {
    let _pages = pages(flavor, 3)?;
    let made = make("triangle", flavor)?;
    // h2 is behind r2: straight, by the link that can be cut.
    let straight = "10.0.4.2";
    ensure!(
        via(&made, "r1", "10.0.2.0/24")?.contains(straight),
        "{}",
        via(&made, "r1", "10.0.2.0/24")?
    );
    made.fault("r1-r2", Faults::cut())?;
    until("r1 goes the other way round", secs(40), || {
        let routes = via(&made, "r1", "10.0.2.0/24")?;
        ensure!(
            !routes.contains(straight) && routes.contains("10.0.6."),
            "{routes}"
        );
        Ok(true)
    })?;
    reach(made.space("h1")?, "10.0.2.1")?;
    reach(made.space("h1")?, "2001:db8:2::1")?;
    made.fault("r2-r1", Faults::default())?;
    until("r1 goes straight again", secs(40), || {
        Ok(via(&made, "r1", "10.0.2.0/24")?.contains(straight))
    })?;
    reach(made.space("h1")?, "10.0.2.1")?;
    made.down()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn provider(o: &Options) -> Result<()> {
    let made = make("provider", &o.flavor)?;
    // What the speakers behind one edge announce is known at the other, through the reflector.
    for (node, prefix) in [
        ("pe1", "203.0.113.0/24"),
        ("pe2", "198.51.100.0/24"),
        ("pe1", "2001:db8:802::/48"),
    ] {
        until(&format!("{node} has {prefix}"), secs(30), || {
            let routes = via(&made, node, prefix)?;
            ensure!(routes.contains("bgp"), "{routes}");
            Ok(true)
        })?;
    }
    made.down()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn leaf_spine(o: &Options) -> Result<()> {
    let made = make("leaf-spine", &o.flavor)?;
    let to = "10.0.9.0/24";
    until("l1 uses both spines", secs(30), || {
        let routes = via(&made, "l1", to)?;
        ensure!(
            routes.contains("10.0.1.2") && routes.contains("10.0.2.2"),
            "{routes}"
        );
        Ok(true)
    })?;
    // One of them is lost to l1, silently.
    made.fault("l1-s1", Faults::cut())?;
    until("l1 uses the other spine alone", secs(40), || {
        let routes = via(&made, "l1", to)?;
        ensure!(
            !routes.contains("10.0.1.2") && routes.contains("10.0.2.2"),
            "{routes}"
        );
        Ok(true)
    })?;
    made.pings()?;
    made.down()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn bad_link(o: &Options) -> Result<()> {
    let made = make("bad-link", &o.flavor)?;
    let out = made
        .space("h1")?
        .finish("ping -n -c 5 -i 0.2 -W 2 10.9.0.2")?;
    let ms = super::round_trip(&out.text())?;
    ensure!(ms >= 20.0, "10 ms each way, and back after {ms} ms");
    made.down()
}

/// The test bed itself, as a user runs it.
pub(super) fn testbed(args: &[&str]) -> Command {
    let mut c = Command::new(cmd::this_program());
    c.args(args).stdin(Stdio::null());
    c
}

pub(super) fn run(args: &[&str]) -> Result<Done> {
    cmd::finish(&mut testbed(args))
}

pub(super) fn must(args: &[&str]) -> Result<String> {
    cmd::output(&mut testbed(args))
}

const FILE: &str = "about = \"a test\"\n[nodes]\nha = \"host\"\nhb = \"host\"\nra = { role = \"appliance\", as = 65001 }\n\
    rb = { role = \"bird\", as = 65002 }\n[[links]]\nends = [\"ha\", \"ra\"]\naddresses = [[\"10.77.1.2/24\"], [\"10.77.1.1/24\"]]\n\
    [[links]]\nends = [\"ra\", \"rb\"]\naddresses = [[\"10.77.2.1/24\"], [\"10.77.2.2/24\"]]\nfaults = \"delay-ms=1\"\n\
    [[links]]\nends = [\"hb\", \"rb\"]\naddresses = [[\"10.77.3.2/24\"], [\"10.77.3.1/24\"]]\n";

/// A file of a topology, which is taken down and removed in the end whatever happens.
pub(super) struct File {
    pub(super) name: String,
    path: PathBuf,
    programs: String,
}

impl File {
    fn new() -> Result<Self> {
        Self::with(FILE)
    }

    pub(super) fn with(text: &str) -> Result<Self> {
        // Several may be there at the same time.
        static COUNT: AtomicUsize = AtomicUsize::new(1);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(format!("{name}.toml"));
        std::fs::write(&path, text)?;
        let programs = crate::binaries().display().to_string();
        Ok(Self {
            name,
            path,
            programs,
        })
    }

    pub(super) fn path(&self) -> &str {
        self.path.to_str().unwrap_or_default()
    }

    pub(super) fn up(&self) -> [&str; 4] {
        ["up", self.path(), "--programs", &self.programs]
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = run(&["down", &self.name]);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn commands(_: &Options) -> Result<()> {
    let file = File::new()?;
    let name = file.name.as_str();
    let said = must(&file.up())?;
    ensure!(
        said.contains(&format!("{name} is up.")) && said.contains("ra-rb"),
        "{said}"
    );
    ensure!(must(&file.up())?.contains("is up already"), "a second time");
    ensure!(
        must(&["list"])?.contains(&format!("{name}: up\n")),
        "{}",
        must(&["list"])?
    );
    must(&[
        "shell",
        "--in",
        name,
        "ha",
        "ping",
        "-n",
        "-c",
        "1",
        "-W",
        "5",
        "10.77.3.2",
    ])?;
    let said = must(&[
        "shell", "--in", name, "ra", "trunkctl", "--json", "bgp", "summary",
    ])?;
    ensure!(said.contains("Established"), "{said}");
    ensure!(
        must(&["shell", "--in", name, "rb", "birdc", "show", "protocols"])?.contains("Established"),
        "birdc"
    );
    let status = run(&["shell", "--in", name, "ha", "sh", "-c", "exit 7"])?.status;
    ensure!(status == Some(7), "a command's status is {status:?}");
    captures(&file)?;
    faults(name)?;
    for (args, why) in [
        (vec!["shell", "--in", name, "rc"], "has no node rc"),
        (vec!["capture", "--in", name, "ra-hb"], "has no link ra-hb"),
        (
            vec!["fault", "--in", name, "ha-ra", "cut=1"],
            "write faults = \"\"",
        ),
        (
            vec!["fault", "--in", name, "ra-rb", "cuts=1"],
            "no fault \"cuts\"",
        ),
        (vec!["shell", "--in", "nowhere", "ra"], "nowhere is not up"),
        (vec!["up", "nowhere"], "is no file and no topology"),
    ] {
        let done = run(&args)?;
        ensure!(
            !done.ok() && done.stderr.contains(why),
            "{args:?}: {done:?}"
        );
    }
    std::fs::write(file.path(), FILE.replace("a test", "another"))?;
    let done = run(&file.up())?;
    ensure!(
        !done.ok() && done.stderr.contains("up with another text"),
        "{done:?}"
    );
    ensure!(must(&["down", file.path()])?.contains("is down"), "down");
    state::nothing_left(name)?;
    ensure!(must(&["down", name])?.contains("was not up"), "down again");
    Ok(())
}

/// A capture of a link of the topology `name` into the file `pcap` sees the pings that go over it from `ha`.
pub(super) fn pings_captured(name: &str, link: &str, pcap: &str, within: Duration) -> Result<()> {
    let mut c = testbed(&["capture", "--in", name, link, "-w", pcap, "-c", "2", "icmp"]);
    let mut tcpdump = c.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let ping = "ping -n -c 1 -W 1 10.77.3.2".split(' ');
    let args: Vec<&str> = ["shell", "--in", name, "ha"]
        .into_iter()
        .chain(ping)
        .collect();
    let taken = until("two packets are captured", within, || {
        run(&args)?;
        Ok(tcpdump.try_wait()?.is_some())
    });
    let _ = tcpdump.kill();
    let _ = tcpdump.wait();
    let bytes = std::fs::read(pcap);
    let _ = std::fs::remove_file(pcap);
    taken?;
    ensure!(bytes?.len() > 24 + 2 * 16, "the capture is empty");
    Ok(())
}

fn captures(file: &File) -> Result<()> {
    let name = file.name.as_str();
    let pcap = file.path.with_extension("pcap");
    pings_captured(name, "hb-rb", pcap.to_str().unwrap_or_default(), secs(20))?;
    // To standard output, when that is no terminal.
    let mut c = testbed(&[
        "capture", "--in", name, "ra-rb", "-c", "1", "tcp", "port", "179",
    ]);
    let done = c.stderr(Stdio::null()).output()?;
    ensure!(
        done.stdout.starts_with(&[0xd4, 0xc3, 0xb2, 0xa1]),
        "{:?}",
        done.stdout.get(..8)
    );
    Ok(())
}

fn faults(name: &str) -> Result<()> {
    must(&["fault", "--in", name, "rb-ra", "cut=1"])?;
    ensure!(must(&["list"])?.contains("[cut=1]"), "{}", must(&["list"])?);
    until("the session is lost", secs(40), || {
        let said = must(&[
            "shell", "--in", name, "ra", "trunkctl", "--json", "bgp", "summary",
        ])?;
        Ok(!said.contains("Established"))
    })?;
    must(&["fault", "--in", name, "ra-rb"])?;
    until("the hosts reach each other again", secs(60), || {
        Ok(run(&[
            "shell",
            "--in",
            name,
            "ha",
            "ping",
            "-n",
            "-c",
            "1",
            "-W",
            "1",
            "10.77.3.2",
        ])?
        .ok())
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn killed(_: &Options) -> Result<()> {
    let file = File::new()?;
    let mut up = testbed(&file.up())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let prefix = format!("tl-up-{}_", file.name);
    let half = until("half of it is there", secs(60), || {
        Ok(netns::named(&prefix).len() >= 4)
    });
    up.kill().context("it has ended already")?;
    up.wait()?;
    half?;
    let done = run(&file.up())?;
    ensure!(
        !done.ok() && done.stderr.contains("is not whole; take it down first"),
        "{done:?}"
    );
    must(&["down", &file.name])?;
    state::nothing_left(&file.name)?;
    ensure!(Path::new(file.path()).exists(), "the user's file is gone");
    // One that is asked to end while it makes something cleans up by itself.
    let mut up = testbed(&file.up())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let half = until("half of it is there", secs(60), || {
        Ok(netns::named(&prefix).len() >= 4)
    });
    cmd::run(&format!("kill -INT {}", up.id()))?;
    half?;
    until("it ends", secs(60), || Ok(up.try_wait()?.is_some()))?;
    state::nothing_left(&file.name)
}
