//! What stays up, and the commands on it.
//!
//! A topology that is up has a folder `/run/trunkline-testbed/NAME`: its text, the files of its nodes, a socket for each
//! appliance, and `up` when all of it was made. Namespaces are called `tl-up-NAME_NODE`. So a later process finds all of it,
//! and `down` takes away what there is, whether it is whole or what a killed `up` left. Of a machine there are two sockets
//! there: its shell, for one command at a time, and its console.

use std::io::{IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::build::Made;
use super::console;
use super::text::{Role, Topology};
use crate::lab::wait::{millis, secs, until};
use crate::lab::{Faults, Flavor, Lab, Middlebox, Netns, cmd, netns, signals};
use crate::progress;
use crate::vm::Guest;
use crate::vm::machine::{console_of, shell_of};

/// Where the folders are.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from("/run/trunkline-testbed")
}

fn folder(name: &str) -> PathBuf {
    root().join(name)
}

/// What its namespaces begin with. No topology's name has a `_`.
fn prefix(name: &str) -> String {
    format!("tl-up-{name}_")
}

/// Makes a topology and leaves it up. What is up already, and is the same, stays as it is.
///
/// # Errors
/// When there is no such topology, something in it is wrong, another is up under its name, or it can't be made: then what
/// was made is gone again.
pub fn up(
    what: &str,
    flavor: &Flavor,
    prepare: impl FnOnce(&Topology) -> Result<()>,
) -> Result<()> {
    let (name, text) = super::find(what)?;
    let t = Topology::parse(&name, &text)?;
    let dir = folder(&name);
    if dir.exists() || !netns::named(&prefix(&name)).is_empty() {
        let before = std::fs::read_to_string(dir.join("topology.toml")).unwrap_or_default();
        ensure!(
            dir.join("up").exists() && whole(&t).is_ok(),
            "what is there of {name} is not whole; take it down first: cargo testbed down {name}"
        );
        ensure!(
            before == text,
            "{name} is up with another text; take it down first: cargo testbed down {name}"
        );
        println!("{name} is up already.");
        return tell(&t);
    }
    prepare(&t)?;
    signals::also(&prefix(&name), &dir);
    let made = make(t, &text, &dir, flavor);
    let made = made.inspect_err(|_| take_down(&name))?;
    std::fs::write(dir.join("up"), "")?;
    let t = made.topology().clone();
    made.leave();
    println!("{name} is up.");
    tell(&t)
}

fn make(t: Topology, text: &str, dir: &Path, flavor: &Flavor) -> Result<Made> {
    let name = t.name.clone();
    let lab = Lab::called(&name, &prefix(&name), dir)?;
    std::fs::write(dir.join("topology.toml"), text)?;
    let step = progress::step(&format!(
        "making {name}: {} nodes, {} links",
        t.nodes.len(),
        t.links.len()
    ));
    let boxes =
        |t: &Topology, l: usize, ns: &Netns, devices: [&str; 2]| start_box(dir, t, l, ns, devices);
    let made = Made::new(t, lab, flavor, &boxes, true)?;
    step.done("");
    wrappers(made.topology(), dir)?;
    let step =
        progress::step("waiting until every BGP session is up and every host reaches every other");
    made.established()?;
    let pairs = made.pings()?;
    step.done(&format!("{pairs} pings"));
    Ok(made)
}

/// Everything that a topology needs is there.
fn whole(t: &Topology) -> Result<()> {
    let there = netns::named(&prefix(&t.name));
    for n in &t.nodes {
        let space = format!("{}{}", prefix(&t.name), n.name);
        ensure!(
            there.contains(&space),
            "the namespace of {} is gone",
            n.name
        );
        let runs = !cmd::run(&format!("ip netns pids {space}"))?
            .trim()
            .is_empty();
        ensure!(runs || !n.has_process(), "what ran in {} has ended", n.name);
    }
    Ok(())
}

fn take_down(name: &str) {
    let spaces = netns::named(&prefix(name));
    // Each waits for its processes to end: at the same time.
    std::thread::scope(|s| {
        for space in &spaces {
            s.spawn(|| netns::remove(space));
        }
    });
    let _ = std::fs::remove_dir_all(folder(name));
    let _ = std::fs::remove_dir(root());
}

/// Takes down one topology, or all that are up; what is not there is not missed.
///
/// # Errors
/// When something is left that can't be removed.
pub fn down(name: Option<&str>) -> Result<()> {
    let names = match name {
        // By its file, too.
        Some(n) => vec![
            Path::new(n)
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
        ],
        None => all(),
    };
    if names.is_empty() {
        println!("No topology is up.");
    }
    for name in names {
        let was = folder(&name).exists() || !netns::named(&prefix(&name)).is_empty();
        take_down(&name);
        let left = netns::named(&prefix(&name));
        ensure!(
            left.is_empty() && !folder(&name).exists(),
            "{name}: still there are {left:?}; look with `ip netns pids` for what holds them"
        );
        println!("{name} {}.", if was { "is down" } else { "was not up" });
    }
    Ok(())
}

/// The names of those that are up, or of which something is left.
fn all() -> Vec<String> {
    let folders = std::fs::read_dir(root()).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    for space in netns::named("tl-up-") {
        let name = space
            .trim_start_matches("tl-up-")
            .split('_')
            .next()
            .unwrap_or_default();
        names.push(name.to_owned());
    }
    names.sort();
    names.dedup();
    names
}

fn load(name: &str) -> Result<Topology> {
    let text = std::fs::read_to_string(folder(name).join("topology.toml")).with_context(|| {
        format!("what is there of {name} has no text; take it down: cargo testbed down {name}")
    })?;
    Topology::parse(name, &text)
}

/// Prints what is up, and what could be.
///
/// # Errors
/// When a text that was good is not any more.
pub fn list() -> Result<()> {
    for name in all() {
        let t = match load(&name) {
            Ok(t) => t,
            Err(e) => {
                println!("{name}: {e:#}\n");
                continue;
            }
        };
        let state = match (folder(&name).join("up").exists(), whole(&t)) {
            (true, Ok(())) => "up".to_owned(),
            (true, Err(e)) => format!("broken, {e:#}"),
            (false, _) => "being made, or left half made".to_owned(),
        };
        println!("{name}: {state}");
        print!("{}", shape(&t));
        println!();
    }
    println!("Topologies that come with the test bed (cargo testbed up NAME):");
    for (name, text) in super::SHIPPED {
        println!("   {name:<12} {}", Topology::parse(name, text)?.about);
    }
    Ok(())
}

/// The nodes and links, a line each.
fn shape(t: &Topology) -> String {
    let mut out = String::new();
    for n in &t.nodes {
        let asn = n.asn.map_or(String::new(), |a| format!("  AS {a}"));
        out.push_str(&format!("   {:<9} {}{asn}\n", n.name, n.kind()));
    }
    for l in &t.links {
        let side = |s: usize| {
            let all: Vec<String> = l.addresses[s].iter().map(ToString::to_string).collect();
            all.join(" ")
        };
        let faults = std::fs::read_to_string(faults_file(&folder(&t.name), &l.name)).ok();
        let faults = faults
            .filter(|f| !f.trim().is_empty())
            .map_or(String::new(), |f| format!("  [{}]", f.trim()));
        out.push_str(&format!(
            "   {:<15} {}  --  {}{faults}\n",
            l.name,
            side(0),
            side(1)
        ));
    }
    out
}

fn tell(t: &Topology) -> Result<()> {
    print!("{}", shape(t));
    let host = t
        .nodes
        .iter()
        .find(|n| n.role == Role::Host && !n.guest)
        .unwrap_or(&t.nodes[0]);
    let link = t.links.first().context("a link")?;
    println!("What to try next:");
    println!(
        "   cargo testbed shell {}                 # and in an appliance: trunkctl bgp summary",
        host.name
    );
    println!("   cargo testbed capture {} -w f.pcap", link.name);
    if let Some(bad) = t.links.iter().find(|l| l.faults.is_some()) {
        println!("   cargo testbed fault {} cut=1", bad.name);
    }
    println!("   cargo testbed down {}", t.name);
    Ok(())
}

/// The topology that is meant: the one given, or the only one up that `has` what is asked for.
fn meant(within: Option<&str>, what: &str, has: impl Fn(&Topology) -> bool) -> Result<Topology> {
    let up = all();
    if let Some(name) = within {
        ensure!(
            up.iter().any(|u| u == name),
            "{name} is not up; start it: cargo testbed up {name}"
        );
        let t = load(name)?;
        ensure!(has(&t), "{name} has no {what}; see: cargo testbed list");
        return Ok(t);
    }
    let loaded: Vec<Topology> = up.iter().filter_map(|n| load(n).ok()).collect();
    let mut found: Vec<Topology> = loaded.into_iter().filter(|t| has(t)).collect();
    match found.len() {
        1 => Ok(found.remove(0)),
        0 if up.is_empty() => bail!("no topology is up; start one: cargo testbed up triangle"),
        0 => bail!(
            "there is no {what} in {}; see: cargo testbed list",
            up.join(", ")
        ),
        _ => {
            let names: Vec<&str> = found.iter().map(|t| t.name.as_str()).collect();
            bail!(
                "{what} is in {}: say which with --in NAME",
                names.join(" and ")
            )
        }
    }
}

/// A command in a node, or a shell; it takes this process's place, but for a guest, whose command this process waits for.
///
/// # Errors
/// When there is no such node, or it can't be run.
pub fn shell(within: Option<&str>, node: &str, command: &[String]) -> Result<()> {
    let t = meant(within, &format!("node {node}"), |t| {
        t.nodes.iter().any(|n| n.name == node)
    })?;
    if t.nodes.iter().any(|n| n.name == node && n.guest) {
        return in_guest(&folder(&t.name), node, command);
    }
    let mut c = Command::new("ip");
    c.args(["netns", "exec", &format!("{}{node}", prefix(&t.name))]);
    let own = folder(&t.name).join(format!("{node}.bin"));
    let path = std::env::var("PATH").unwrap_or_default();
    c.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", own.display()));
    match command {
        [] => {
            c.args(["bash", "--norc"])
                .env("PS1", format!("{node}@{}:\\w# ", t.name));
        }
        words => {
            c.args(words);
        }
    }
    Err(c.exec()).with_context(|| format!("can't run a command in {node}"))
}

/// How long a command in a guest may take.
const LONG: Duration = secs(24 * 3600);

/// A command in a guest by its shell, what comes on standard input as one, or its console for whoever sits at a terminal.
fn in_guest(dir: &Path, node: &str, command: &[String]) -> Result<()> {
    let typed = std::io::stdin().is_terminal();
    if command.is_empty() && typed {
        return console::sit_at(&console_of(dir, node), node);
    }
    let script = match command {
        [] => std::io::read_to_string(std::io::stdin())?,
        words => words
            .iter()
            .map(|w| quoted(w))
            .collect::<Vec<_>>()
            .join(" "),
    };
    let socket = shell_of(dir, node);
    let stream = UnixStream::connect(&socket)
        .with_context(|| format!("{}: the machine of {node} does not run", socket.display()))?;
    let mut guest = Guest::resume(stream, secs(120))?;
    let done = guest.finish_within(&script, LONG)?;
    print!("{}", done.stdout);
    eprint!("{}", done.stderr);
    std::io::stdout().flush()?;
    std::process::exit(done.status.unwrap_or(1));
}

/// A word as the shell takes it, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What passes over a link, as its first end sees it: as a capture to a file, or to where standard output goes; as lines on
/// a terminal. tcpdump takes this process's place.
///
/// # Errors
/// When there is no such link, or tcpdump can't be run.
pub fn capture(
    within: Option<&str>,
    link: &str,
    file: Option<&Path>,
    more: &[String],
) -> Result<()> {
    let t = meant(within, &format!("link {link}"), |t| {
        t.find_link(link).is_some()
    })?;
    let l = t.find_link(link).context("a link")?;
    // An appliance's port is seen from the other end, if that is the kernel's: an XDP program would take frames first.
    let ports = t.links[l].ends.map(|n| t.nodes[n].role == Role::Appliance);
    let n = t.links[l].ends[usize::from(ports[0] && !ports[1])];
    let device = t.device(l, n);
    let device = if t.nodes[n].role == Role::Appliance {
        super::speakers::port(&device)
    } else {
        device
    };
    let mut c = Command::new("ip");
    c.args([
        "netns",
        "exec",
        &format!("{}{}", prefix(&t.name), t.nodes[n].name),
    ]);
    c.args(["tcpdump", "-Z", "root", "-i", &device, "-U"]);
    let terminal = std::io::stdout().is_terminal();
    match file {
        Some(f) => {
            c.arg("-w").arg(f);
        }
        None if terminal => {
            c.args(["-n", "-e", "-l"]);
        }
        None => {
            c.args(["-w", "-"]);
        }
    }
    c.args(more);
    Err(c.exec()).context("can't run tcpdump")
}

fn faults_file(dir: &Path, link: &str) -> PathBuf {
    dir.join(format!("{link}.faults"))
}

/// Other faults for a link that is up.
///
/// # Errors
/// When there is no such link, it was made without a box, or the faults are none.
pub fn fault(within: Option<&str>, link: &str, words: &[String]) -> Result<()> {
    let t = meant(within, &format!("link {link}"), |t| {
        t.find_link(link).is_some()
    })?;
    let l = &t.links[t.find_link(link).context("a link")?];
    let faults: Faults = words.join(" ").parse()?;
    ensure!(
        l.faults.is_some(),
        "{}: a plain link can't be changed while it is up; write faults = \"\" at it in the topology",
        l.name
    );
    let dir = folder(&t.name);
    let (file, new) = (
        faults_file(&dir, &l.name),
        dir.join(format!("{}.new", l.name)),
    );
    std::fs::write(&new, faults.to_string())?;
    std::fs::rename(&new, &file)?;
    let taken = dir.join(format!("{}.taken", l.name));
    until("the box has taken it", secs(5), || {
        Ok(std::fs::read_to_string(&taken)? == faults.to_string())
    })?;
    let text = faults.to_string();
    println!(
        "{}: {}",
        l.name,
        if text.is_empty() {
            "a good link"
        } else {
            &text
        }
    );
    Ok(())
}

/// Starts the box of a link as a process of its own, in the namespace between; it ends with that.
fn start_box(
    dir: &Path,
    t: &Topology,
    l: usize,
    ns: &Netns,
    devices: [&str; 2],
) -> Result<Option<Middlebox>> {
    let link = &t.links[l];
    let file = faults_file(dir, &link.name);
    std::fs::write(&file, link.faults.unwrap_or_default().to_string())?;
    let log = std::fs::File::create(dir.join(format!("{}.log", link.name)))?;
    let mut c = ns.command(cmd::this_program());
    c.arg("middlebox").arg(&file).arg(ns.name()).args(devices);
    c.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    c.process_group(0)
        .spawn()
        .context("can't start the box of a link")?;
    let taken = file.with_extension("taken");
    until("the box of the link runs", secs(10), || Ok(taken.exists()))?;
    Ok(None)
}

/// The process of a box: carries frames by the faults in a file, and looks at it again and again.
///
/// # Errors
/// When a device can't be opened, or the file is wrong from the start.
pub fn middlebox(file: &Path, space: &str, devices: [&str; 2]) -> Result<()> {
    let ns = Netns::known(space);
    let mut now = std::fs::read_to_string(file)?;
    let carrier = Middlebox::start(&ns, devices, now.parse()?, u64::from(std::process::id()))?;
    let taken = file.with_extension("taken");
    std::fs::write(&taken, &now)?;
    // Until its namespace is taken down, and it with it.
    while file.exists() {
        std::thread::sleep(millis(100));
        let text = std::fs::read_to_string(file).unwrap_or_else(|_| now.clone());
        if text != now
            && let Ok(faults) = text.parse::<Faults>()
        {
            carrier.set(faults);
            std::fs::write(&taken, &text)?;
            now = text;
        }
    }
    Ok(())
}

/// For each node a folder of programs that know where their daemon listens, for its shell.
fn wrappers(t: &Topology, dir: &Path) -> Result<()> {
    for n in &t.nodes {
        let at = |file: &str| dir.join(format!("{}.{file}", n.name)).display().to_string();
        let ctl = crate::lab::appliance::program("trunkctl")
            .display()
            .to_string();
        let (name, line) = match n.role {
            Role::Appliance => ("trunkctl", format!("{ctl} --socket {}", at("sock"))),
            Role::Frr => (
                "vtysh",
                format!("{} --vty_socket {}", real("vtysh"), at("d")),
            ),
            Role::Bird => ("birdc", format!("{} -s {}", real("birdc"), at("ctl"))),
            Role::Gobgp => (
                "gobgp",
                format!("{} --target unix://{}", real("gobgp"), at("sock")),
            ),
            Role::Exabgp | Role::Host | Role::Linux => continue,
        };
        if n.guest {
            continue; // there they have the place that they expect
        }
        let own = dir.join(format!("{}.bin", n.name));
        std::fs::create_dir_all(&own)?;
        let file = own.join(name);
        std::fs::write(&file, format!("#!/bin/sh\nexec {line} \"$@\"\n"))?;
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    Ok(())
}

/// Where a program is.
fn real(program: &str) -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut all = path
        .split(':')
        .chain(["/usr/bin", "/usr/sbin"])
        .map(|d| Path::new(d).join(program));
    all.find(|p| p.is_file())
        .map_or(program.to_owned(), |p| p.display().to_string())
}

/// That no namespace of a topology is left, nor its folder.
///
/// # Errors
/// When something is.
pub fn nothing_left(name: &str) -> Result<()> {
    let spaces = netns::named(&prefix(name));
    ensure!(spaces.is_empty(), "these namespaces are left: {spaces:?}");
    ensure!(!folder(name).exists(), "{} is left", folder(name).display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_of_a_guest_as_they_are() {
        for word in ["plain", "two words", "it's", "$HOME `id`", "", "a\\b\"c"] {
            let said = cmd::output(
                Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]),
            );
            assert_eq!(said.unwrap(), word);
        }
    }
}
