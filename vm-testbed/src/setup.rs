//! Preparing a machine: Debian packages, then the workspace. What is installed is said before it is, with the reason.
//!
//! For Debian 12 (and what is derived from it), as root, with a Rust toolchain and nothing else.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::lab::cmd;
use crate::progress;

/// A Debian package and what it is for.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// What would not work without it.
    pub why: &'static str,
}

const fn package(name: &'static str, why: &'static str) -> Package {
    Package { name, why }
}

/// All that building and testing need. The one list: `.ci/run` uses it too.
pub const PACKAGES: &[Package] = &[
    package("gcc", "links programs and compiles dpdk-sys/shim.c"),
    package("g++", "libFuzzer, which is C++"),
    package("libc6-dev", "headers and start files for the linker"),
    package(
        "pkg-config",
        "tells where DPDK is and how to compile with it",
    ),
    package("libdpdk-dev", "DPDK itself: the drivers and their headers"),
    package("clang", "bindgen reads DPDK's headers with its library"),
    package("libhwloc-dev", "hwlocality: nodes, cores and caches"),
    package("libudev-dev", "hwloc is linked statically and needs it"),
    package("iproute2", "ip: namespaces, veths, addresses, routes"),
    package("ethtool", "turns offloads of veths off"),
    package("tshark", "reads what monitoring stations are told (BMP)"),
    package("tcpdump", "sees the frames that come out, and judges them"),
    package("iputils-ping", "ping: a peer that nobody here wrote"),
    package("traceroute", "traceroute -e: shows the labels of each hop"),
    package("iperf3", "TCP through the router"),
    package(
        "dropbear-bin",
        "an ssh server (without a service) and client, for logging in to the router",
    ),
    package("bird2", "BIRD: a BGP neighbour, and a rival"),
    package("frr", "FRR: a BGP neighbour, and a rival"),
    package("gobgpd", "GoBGP: a BGP neighbour, and a rival"),
    package("exabgp", "a BGP neighbour that says what it is told to"),
    package("bgpdump", "reads MRT files, which nobody here wrote"),
    package("stayrtr", "a cache of the RPKI that routers ask"),
    package("procps", "sysctl and ps"),
    package("kmod", "modprobe: vfio-pci for network cards"),
    package("pciutils", "lspci: which cards there are"),
];

/// What the virtual machines need on top; installed only where they are asked for.
pub const VM_PACKAGES: &[Package] = &[
    package(
        "qemu-system-x86",
        "the virtual machines: cards, an IOMMU, NUMA nodes",
    ),
    package("xz-utils", "unpacks the kernel of the virtual machines"),
];

fn satisfied(p: &Package) -> bool {
    let installed = |name: &str| {
        cmd::finish(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status}", name]))
            .is_ok_and(|d| {
                d.ok() && d.stdout.contains("installed") && !d.stdout.contains("not-installed")
            })
    };
    installed(p.name) || provided(p.name)
}

/// Whether something else gives what the package would: a compiler of another version or maker.
fn provided(name: &str) -> bool {
    match name {
        "gcc" => cmd::exists("gcc"),
        "g++" => cmd::exists("g++"),
        "pkg-config" => cmd::exists("pkg-config"),
        _ => false,
    }
}

/// What is missing of a list.
fn missing(all: &'static [Package]) -> Vec<&'static Package> {
    all.iter().filter(|p| !satisfied(p)).collect()
}

/// Fails unless this is root on a Debian.
///
/// # Errors
/// With the remedy.
pub fn check_machine() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces need root; run it again as root (`sudo -E cargo testbed …` keeps the toolchain on the PATH)"
    );
    ensure!(
        cmd::exists("dpkg-query") && cmd::exists("apt-get"),
        "packages are installed with apt-get, and this machine has none; on Debian 12 it works as it is, elsewhere install \
         what these Debian packages hold and put a `dpkg-query` that knows them on the PATH: {}",
        PACKAGES
            .iter()
            .map(|p| p.name)
            .collect::<Vec<_>>()
            .join(" ")
    );
    Ok(())
}

/// Installs what is missing, after saying so.
///
/// # Errors
/// When there is something to install and apt-get can't, with the remedy.
pub fn install() -> Result<()> {
    check_machine()?;
    if missing(PACKAGES).is_empty() {
        progress::note("all Debian packages are there");
    }
    get(PACKAGES, &[])
}

/// The same for the virtual machines.
///
/// # Errors
/// When there is something to install and apt-get can't, with the remedy.
pub fn install_for_vm() -> Result<()> {
    let mut more = vec!["--no-remove".to_owned()];
    // Debian's QEMU comes in one version; a newer qemu-utils (of the backports) would else be removed.
    if !missing(VM_PACKAGES).is_empty()
        && let Some(version) = other_qemu_utils()
    {
        progress::note(&format!(
            "qemu-utils goes to version {version} with it, for QEMU's packages go together"
        ));
        more.push("--allow-downgrades".into());
        more.push(format!("qemu-utils={version}"));
    }
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    get(VM_PACKAGES, &more).context("the tier \"vm\" needs QEMU; --tier full does without")
}

/// The version of qemu-utils that goes with the QEMU to be installed, where another is installed.
fn other_qemu_utils() -> Option<String> {
    let policy = |name: &str, field: &str| {
        let text = cmd::output(Command::new("apt-cache").args(["policy", name])).ok()?;
        let value = text.lines().find_map(|l| l.trim().strip_prefix(field))?;
        Some(value.trim().to_owned())
    };
    let installed = policy("qemu-utils", "Installed:").filter(|v| v != "(none)")?;
    let wanted = policy("qemu-system-x86", "Candidate:").filter(|v| v != "(none)")?;
    (installed != wanted).then_some(wanted)
}

/// Installs what is missing of a list; `more` are further words for apt-get.
fn get(list: &'static [Package], more: &[&str]) -> Result<()> {
    let missing = missing(list);
    if missing.is_empty() {
        return Ok(());
    }
    progress::note("these Debian packages are missing and will be installed:");
    for p in &missing {
        progress::note(&format!("  {:<16}{}", p.name, p.why));
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    let _quiet = NoServices::new()?;
    let install = || {
        update()?;
        let step = progress::step("apt-get install");
        let mut args = vec!["install", "--yes", "--no-install-recommends"];
        args.extend(more);
        args.extend(&names);
        apt(&args)?;
        step.done(&format!("{} packages", names.len()));
        Ok(())
    };
    install().map_err(|e: anyhow::Error| {
        anyhow!(
            "{e:#}\nor install by hand: apt-get install {}",
            names.join(" ")
        )
    })
}

/// Asks the mirrors what there is.
///
/// # Errors
/// When they can't be reached.
pub fn update() -> Result<()> {
    let step = progress::step("apt-get update");
    apt(&["update"])?;
    step.done("");
    Ok(())
}

/// Downloads a package into a folder and installs nothing. Returns the file.
///
/// # Errors
/// When it can't be had.
pub fn download(package: &str, folder: &Path) -> Result<PathBuf> {
    let get = || {
        let mut c = Command::new("apt-get");
        // As root: `_apt` may not write into the folder, of which apt-get would warn.
        c.args(["-q", "-o", "APT::Sandbox::User=root", "download", package]);
        cmd::output(c.current_dir(folder)).map(drop)
    };
    if get().is_err() {
        update()?; // the list may be older than the mirror
        get().with_context(|| format!("the package {package} can't be had"))?;
    }
    let files = std::fs::read_dir(folder)?.flatten().map(|e| e.path());
    let name = format!("{package}_");
    let mut debs = files.filter(|p| {
        let file = p.file_name().unwrap_or_default().to_string_lossy();
        file.starts_with(&name) && file.ends_with(".deb")
    });
    debs.next()
        .with_context(|| format!("apt-get download {package} left no file"))
}

fn apt(args: &[&str]) -> Result<()> {
    let done = cmd::finish(
        Command::new("apt-get")
            .args([
                "-q",
                "-o",
                "Dpkg::Use-Pty=0",
                "-o",
                "DPkg::Lock::Timeout=300",
            ])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("NEEDRESTART_MODE", "l"),
    )?;
    if done.ok() {
        return Ok(());
    }
    let text = done.text();
    let offline = [
        "Could not resolve",
        "Temporary failure",
        "Could not connect",
        "Network is unreachable",
    ];
    let why: Vec<&str> = text
        .lines()
        .filter(|l| l.starts_with("E:") || l.starts_with("W:"))
        .collect();
    let why = if why.is_empty() {
        text.clone()
    } else {
        why.join("\n")
    };
    if offline.iter().any(|o| text.contains(o)) {
        bail!(
            "apt-get {} can't reach the Debian mirror:\n{why}\nConnect this machine to the network, or set a proxy in \
             /etc/apt/apt.conf.d",
            args[0]
        );
    }
    bail!("apt-get {} failed:\n{why}", args.join(" "));
}

/// While this lives, packages do not start the services they bring (policy-rc.d, as Debian's policy 9.3.3 has it).
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn new() -> Result<Self> {
        let ours = !Path::new(POLICY).exists();
        if ours {
            std::fs::write(POLICY, "#!/bin/sh\n# By the Trunkline test bed, for the time of an installation.\nexit 101\n")
                .with_context(|| POLICY.to_owned())?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(POLICY, mode)?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}

/// A cargo command on the workspace, with the cargo that runs us.
#[must_use]
pub fn cargo() -> Command {
    let mut c = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    c.current_dir(crate::workspace());
    // Set by `cargo run` for us; cargo would take some of them for its own and build everything anew.
    for (key, _) in std::env::vars() {
        if key.starts_with("CARGO_PKG_")
            || key.starts_with("CARGO_BIN_")
            || key == "CARGO_MANIFEST_DIR"
            || key == "CARGO_MANIFEST_PATH"
        {
            c.env_remove(key);
        }
    }
    c
}

/// Which programs are put to the test.
#[derive(Debug, Clone, Default)]
pub struct Programs {
    /// Build with the release profile.
    pub release: bool,
    /// Take those in this folder and build nothing: a package's, for one.
    pub folder: Option<PathBuf>,
}

/// Builds the appliance and its command line, unless they are there already; cargo shows its own progress.
///
/// # Errors
/// When it does not build.
pub fn build(programs: &Programs) -> Result<()> {
    if let Some(dir) = &programs.folder {
        ensure!(
            dir.join("trunkline").exists() && dir.join("trunkctl").exists(),
            "no `trunkline` and `trunkctl` in {}",
            dir.display()
        );
        crate::use_binaries(dir.canonicalize()?);
        return Ok(());
    }
    let release = programs.release;
    progress::note("building trunkline and trunkctl (the first time takes some minutes)");
    let mut c = cargo();
    c.args(["build", "--bin", "trunkline", "--bin", "trunkctl"]);
    if release {
        c.arg("--release");
    }
    let status = c.stdin(Stdio::null()).status().context("can't run cargo")?;
    ensure!(
        status.success(),
        "the build failed, as cargo says above; if it could not fetch crates, connect this machine to the network once, \
         or vendor them (`cargo vendor`)"
    );
    crate::use_binaries(crate::target_folder().join(if release { "release" } else { "debug" }));
    Ok(())
}

/// Whether cargo-nextest can be had; installs it if it is missing.
pub fn nextest() -> bool {
    let there = || cmd::finish(cargo().args(["nextest", "--version"])).is_ok_and(|d| d.ok());
    if there() {
        return true;
    }
    progress::note(
        "cargo-nextest, which runs every test in a process of its own, is missing and will be installed",
    );
    // Without self-update, and optimised little: it takes half the time to build and spends its own waiting for tests.
    let line = "install cargo-nextest --locked --no-default-features --features default-no-update";
    let step = progress::step(&format!("cargo {line}"));
    let done = cmd::finish(
        cargo()
            .args(line.split(' '))
            .arg("--quiet")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    );
    step.done(if done.is_ok_and(|d| d.ok()) {
        ""
    } else {
        "failed"
    });
    there()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_has_one_reason() {
        let mut names = std::collections::BTreeSet::new();
        for p in PACKAGES.iter().chain(VM_PACKAGES) {
            assert!(names.insert(p.name), "{} is there twice", p.name);
            assert!(!p.why.is_empty() && !p.why.ends_with('.'), "{}", p.name);
        }
    }
}
