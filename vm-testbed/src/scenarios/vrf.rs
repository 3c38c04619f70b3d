//! VRFs between Linux hosts: two customers with the same addresses, in one appliance, and over two with labels between them.
//!
//! Whose host answered is told by an address that only the one has. Read RFC 4364 1 and 4.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::lab::wait::{secs, until};
use crate::lab::{Config, Flavor, Host, Lab, Netns};
use crate::suite::Options;

use super::{iperf, pages, ping, reach};

/// The VRFs, and the last octet of an address that only their own far host has.
pub(super) const VRFS: [(&str, u8); 2] = [("red", 77), ("blue", 88)];

/// The host of a VRF at network `n`; all VRFs number alike, but for `only`.
pub(super) fn host(vrf: &str, n: u8, only: u8) -> Host {
    let addresses = [
        format!("10.0.{n}.2/24"),
        format!("10.0.{n}.{only}/24"),
        format!("2001:db8:{n}::2/64"),
        format!("2001:db8:{n}::{only}/64"),
    ];
    let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
    Host::new(&format!("{vrf}{n}"), &addresses)
        .gateway(&format!("10.0.{n}.1"))
        .gateway(&format!("2001:db8:{n}::1"))
}

fn addresses(n: u8) -> [String; 2] {
    [format!("10.0.{n}.1/24"), format!("2001:db8:{n}::1/64")]
}

/// With the interface of a VRF towards network `n`.
pub(super) fn customer(c: Config, vrf: &str, n: u8) -> Config {
    let [v4, v6] = addresses(n);
    let more = format!("vrf = \"{vrf}\"");
    c.interface(
        &format!("{vrf}{n}"),
        &format!("{vrf}-{n}"),
        &[&v4, &v6],
        &more,
    )
}

fn sections(c: Config) -> Config {
    VRFS.iter().enumerate().fold(c, |c, (i, (vrf, _))| {
        let target = format!("[\"target:64512:{i}\"]");
        c.section(&format!(
            "[vrf.{vrf}]\nrd = \"64512:{i}\"\nimport = {target}\nexport = {target}"
        ))
    })
}

/// The hosts of each VRF reach each other and the router, and nobody else.
pub(super) fn apart(hosts: &[(Netns, Netns)], count: u32) -> Result<()> {
    for ((near, far), (vrf, only)) in hosts.iter().zip(VRFS) {
        let other = VRFS.iter().find(|v| v.0 != vrf).map_or(0, |v| v.1);
        for (to, not) in [
            (format!("10.0.2.{only}"), format!("10.0.2.{other}")),
            (
                format!("2001:db8:2::{only}"),
                format!("2001:db8:2::{other}"),
            ),
        ] {
            reach(near, &to).with_context(|| format!("VRF {vrf}"))?;
            ping(near, &to, count).with_context(|| format!("VRF {vrf}"))?;
            let stray = near.finish(&format!("ping -n -c 1 -W 1 {not}"))?;
            ensure!(!stray.ok(), "{vrf} reaches {not}, which is the other VRF's");
        }
        for (from, own) in [
            (near, "10.0.1.1"),
            (near, "2001:db8:1::1"),
            (far, "10.0.2.1"),
            (far, "2001:db8:2::1"),
        ] {
            ping(from, own, 5).with_context(|| format!("VRF {vrf}, the router's own {own}"))?;
        }
    }
    Ok(())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hosts(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("vrf")?;
    let r1 = lab.router("r1")?;
    let mut hosts = vec![];
    for (vrf, only) in VRFS {
        let mut end = |n| lab.host(&host(vrf, n, only), &r1, &format!("{vrf}-{n}"));
        hosts.push((end(1)?, end(2)?));
    }
    let config = |c: Config| {
        VRFS.iter()
            .fold(c, |c, (vrf, _)| customer(customer(c, vrf, 1), vrf, 2))
    };
    let a = lab.start("r1", &r1, &sections(config(o.flavor.config("r1"))))?;
    apart(&hosts, 20)?;
    for ((near, far), (vrf, _)) in hosts.iter().zip(VRFS) {
        let mbps = iperf(near, (far, "10.0.2.2"), "-t 1")?;
        ensure!(mbps > 10.0, "TCP in VRF {vrf}: only {mbps:.1} Mbit/s");
    }
    let rows = a.json("vrf show")?;
    for (row, (vrf, _)) in rows
        .as_array()
        .context("no list")?
        .iter()
        .zip([VRFS[1], VRFS[0]])
    {
        ensure!(row["name"] == vrf, "{rows}");
        // Two networks, the router's address in each, and two neighbours that have answered or been asked for.
        ensure!(row["ipv4_routes"].as_u64() >= Some(4), "{rows}");
        ensure!(
            row["interface"].as_array().is_some_and(|i| i.len() == 2),
            "{rows}"
        );
    }
    moves(&a, &hosts)?;
    a.law()?;
    a.stop()
}

/// One VRF's route goes, an interface moves to a new VRF and back, while the other VRF's packets pass and none is lost.
fn moves(a: &crate::lab::Appliance, hosts: &[(Netns, Netns)]) -> Result<()> {
    let (red, blue) = (&hosts[0], &hosts[1]);
    let steady = red
        .0
        .command("ping")
        .args(["-n", "-i", "0.01", "-c", "400", "-W", "2", "10.0.2.2"])
        .stdout(Stdio::piped())
        .spawn()?;
    a.must("route add 198.51.100.0/24 via 10.0.2.2 vrf blue")?;
    let shown = a.json("route show 198.51.100.0/24 vrf blue")?;
    ensure!(
        shown[0]["vrf"] == "blue" && shown[0]["installed"] == true,
        "{shown}"
    );
    ensure!(
        a.json("route show 198.51.100.0/24 vrf red")?[0].is_null(),
        "red has it too"
    );
    ensure!(
        a.json("route show 198.51.100.0/24")?[0].is_null(),
        "the global table has it too"
    );
    a.must("route del 198.51.100.0/24 vrf blue")?;

    let text = std::fs::read_to_string(a.config())?;
    let (head, tail) = text
        .split_once("[interface.\"blue2\"]")
        .context("no blue2")?;
    let moved = tail.replacen("vrf = \"blue\"", "vrf = \"green\"", 1);
    let file = a.config().with_extension("moved");
    std::fs::write(
        &file,
        format!("{head}[interface.\"blue2\"]{moved}\n[vrf.green]\n"),
    )?;
    a.must(&format!("config apply {}", file.display()))?;
    until("blue does not reach what is green", secs(10), || {
        Ok(!blue.0.finish("ping -n -c 1 -W 1 10.0.2.2")?.ok())
    })?;
    reach(&blue.1, "10.0.2.1").context("the router's own address in the new VRF")?;
    ensure!(a.json("interface show blue2")?[0]["vrf"] == "green");
    std::fs::write(&file, &text)?;
    a.must(&format!("config apply {}", file.display()))?;
    // Before others ping from the same host: they count all answers.
    let out = steady.wait_with_output()?;
    let said = String::from_utf8_lossy(&out.stdout);
    ensure!(
        said.contains(" 0% packet loss"),
        "red lost packets meanwhile: {said}"
    );
    apart(hosts, 5)?;
    let vrfs = a.json("vrf show")?;
    ensure!(vrfs.as_array().is_some_and(|v| v.len() == 2), "{vrfs}");

    Ok(())
}

/// A provider edge: the customers' interfaces, the core, labels that lead into the VRFs, and routes to the other edge.
fn edge(flavor: &Flavor, n: u8) -> Config {
    let other = 3 - n;
    let name = format!("pe{n}");
    let mut c = flavor.config(&name);
    for (vrf, _) in VRFS {
        c = customer(c, vrf, n);
    }
    let core = [format!("10.1.0.{n}/24"), format!("2001:db8:c::{n}/64")];
    c = c
        .interface("core0", "core", &[&core[0], &core[1]], "mpls = true")
        // The label that leads to the other edge, which takes it off itself.
        .route(
            &format!("192.0.2.{other}/32"),
            &format!("10.1.0.{other}"),
            "label = [100]",
        )
        .section("[[label]]\nin = 100\naction = \"pop\"");
    for (i, (vrf, _)) in VRFS.iter().enumerate() {
        let (here, there) = (500 + i, 500 + i);
        c = c
            .section(&format!(
                "[[label]]\nin = {here}\naction = \"pop\"\nvrf = \"{vrf}\""
            ))
            .route(
                &format!("10.0.{other}.0/24"),
                &format!("192.0.2.{other}"),
                &format!("label = [{there}]\nvrf = \"{vrf}\""),
            )
            // 6VPE (RFC 4659): the core speaks IPv4.
            .route(
                &format!("2001:db8:{other}::/64"),
                &format!("192.0.2.{other}"),
                &format!("label = [{there}]\nvrf = \"{vrf}\""),
            );
    }
    sections(c)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn l3vpn_static(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("l3vpn")?;
    let (pe1, pe2) = (lab.router("pe1")?, lab.router("pe2")?);
    lab.join((&pe1, "core"), (&pe2, "core"))?;
    let mut hosts = vec![];
    for (vrf, only) in VRFS {
        let near = lab.host(&host(vrf, 1, only), &pe1, &format!("{vrf}-1"))?;
        let far = lab.host(&host(vrf, 2, only), &pe2, &format!("{vrf}-2"))?;
        hosts.push((near, far));
    }
    let a = lab.start("pe1", &pe1, &edge(&o.flavor, 1))?;
    let b = lab.start("pe2", &pe2, &edge(&o.flavor, 2))?;
    apart(&hosts, 20)?;
    for ((near, far), (vrf, _)) in hosts.iter().zip(VRFS) {
        for (from, to, address) in [(near, far, "10.0.2.2"), (far, near, "2001:db8:1::2")] {
            let mbps = iperf(from, (to, address), "-t 1 -M 1300")?;
            ensure!(
                mbps > 5.0,
                "TCP in VRF {vrf} to {address}: only {mbps:.1} Mbit/s"
            );
        }
        // The far edge answers from an address of the customer's VRF, and its own customer's packets end there.
        let trace = near.run("traceroute -n -q 1 -N 1 -w 2 -m 5 10.0.2.2")?;
        let second = trace.lines().find(|l| l.trim_start().starts_with("2 "));
        ensure!(
            second.is_some_and(|l| l.contains("10.0.2.1")),
            "VRF {vrf}: {trace}"
        );
    }
    // Without the label into one VRF, that VRF alone is cut.
    b.must("label del 500")?;
    let cut = hosts[0].0.finish("ping -n -c 1 -W 1 10.0.2.2")?;
    ensure!(!cut.ok(), "red is reached without its label");
    ping(&hosts[1].0, "10.0.2.2", 20)?;
    b.must("label add 500 pop vrf red")?;
    apart(&hosts, 5)?;
    for r in [a, b] {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}
