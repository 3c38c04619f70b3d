//! host - LER - LSR - LER - host: push, swap, pop. Judged by tcpdump and `traceroute -e`, which nobody here wrote.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Driver, Flavor, Host, Lab, Netns};
use crate::suite::Options;

use super::{iperf, pages, ping, reach};

/// Two hosts and three routers between them, with a path of labels each way.
#[derive(Debug)]
pub struct Path {
    /// The host at the left edge.
    pub h1: Netns,
    /// The host at the right edge.
    pub h2: Netns,
    /// Left edge, core, right edge.
    pub routers: Vec<(Netns, Appliance)>,
}

/// Labels of the path from left to right, then back: what the edge pushes, what the core swaps it for.
pub const RIGHT: (u32, u32) = (100, 200);
/// As [`RIGHT`], from right to left.
pub const LEFT: (u32, u32) = (101, 201);

/// Builds it in `lab` and starts the appliances.
///
/// # Errors
/// When a part of it fails.
pub fn build(lab: &mut Lab, flavor: &Flavor) -> Result<Path> {
    let (ler1, lsr, ler2) = (lab.router("ler1")?, lab.router("lsr")?, lab.router("ler2")?);
    let edge = |n: u8| {
        Host::new(
            &format!("h{n}"),
            &[&format!("192.168.{n}.2/24"), &format!("2001:db8:{n}::2/64")],
        )
        .gateway(&format!("192.168.{n}.1"))
        .gateway(&format!("2001:db8:{n}::1"))
    };
    let h1 = lab.host(&edge(1), &ler1, "lan")?;
    let h2 = lab.host(&edge(2), &ler2, "lan")?;
    lab.join((&ler1, "core"), (&lsr, "left"))?;
    lab.join((&lsr, "right"), (&ler2, "core"))?;
    let edge_config = |name: &str, n: u8, link: u8, push: u32, pop: u32| {
        let (lan, core) = (format!("192.168.{n}.1/24"), format!("10.0.{link}.1/30"));
        let (lan6, core6) = (
            format!("2001:db8:{n}::1/64"),
            format!("2001:db8:a{link}::1/64"),
        );
        let (other, via) = (3 - n, format!("10.0.{link}.2"));
        let via6 = format!("2001:db8:a{link}::2");
        flavor
            .config(name)
            .interface("lan0", "lan", &[&lan, &lan6], "")
            .interface("core0", "core", &[&core, &core6], "mpls = true")
            .route(
                &format!("192.168.{other}.0/24"),
                &via,
                &format!("label = [{push}]"),
            )
            .route(
                &format!("2001:db8:{other}::/64"),
                &via6,
                &format!("label = [{push}]"),
            )
            .section(&format!("[[label]]\nin = {pop}\naction = \"pop\""))
    };
    let swap = |(from, to): (u32, u32), via: &str| {
        format!("[[label]]\nin = {from}\naction = \"swap\"\nout = [{to}]\nvia = \"{via}\"")
    };
    let core_config = flavor
        .config("lsr")
        .interface(
            "left0",
            "left",
            &["10.0.1.2/30", "2001:db8:a1::2/64"],
            "mpls = true",
        )
        .interface(
            "right0",
            "right",
            &["10.0.2.2/30", "2001:db8:a2::2/64"],
            "mpls = true",
        )
        .section(&swap(RIGHT, "10.0.2.1"))
        .section(&swap(LEFT, "10.0.1.1"));
    let configs = [
        (ler1, "ler1", edge_config("ler1", 1, 1, RIGHT.0, LEFT.1)),
        (lsr, "lsr", core_config),
        (ler2, "ler2", edge_config("ler2", 2, 2, LEFT.0, RIGHT.1)),
    ];
    let mut routers = vec![];
    for (ns, name, config) in configs {
        let a = lab.spawn(name, &ns, &config)?;
        routers.push((ns, a));
    }
    for (ns, a) in &routers {
        a.ready().with_context(|| ns.name().to_owned())?;
    }
    Ok(Path { h1, h2, routers })
}

/// What `traceroute -e` prints on the way from the left host to an address.
///
/// # Errors
/// When it fails.
pub fn traceroute(from: &Netns, to: &str) -> Result<String> {
    from.run(&format!("traceroute -n -e -q 1 -N 1 -w 2 -m 8 {to}"))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn labels(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 3)?;
    let mut lab = Lab::new("path")?;
    let p = build(&mut lab, &o.flavor)?;
    for to in ["192.168.2.2", "2001:db8:2::2"] {
        reach(&p.h1, to)?;
        ping(&p.h1, to, 20)?;
    }
    // What goes by XDP, no capture on the same device sees.
    if o.flavor.driver == Driver::AfPacket {
        decoded(&p)?;
    }
    traced(&p)?;
    let mbps = iperf(&p.h1, (&p.h2, "192.168.2.2"), "-t 1 -M 1400")?;
    ensure!(mbps > 5.0, "TCP over the path: only {mbps:.1} Mbit/s");
    for (_, a) in &p.routers {
        a.law()?;
    }
    for (ns, a) in p.routers {
        a.stop().with_context(|| ns.name().to_owned())?;
    }
    Ok(())
}

/// tcpdump, at both ends of the core, sees the label pushed and the label swapped.
fn decoded(p: &Path) -> Result<()> {
    let (lsr, _) = &p.routers[1];
    for (dev, label) in [("left", RIGHT.0), ("right", LEFT.0)] {
        let mut dump = lsr
            .command("timeout")
            .args([
                "10",
                "tcpdump",
                "-Z",
                "root",
                "-n",
                "-l",
                "--immediate-mode",
                "-c",
                "1",
                "-i",
                dev,
                "mpls",
                &label.to_string(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        // Pings go on until one has been seen.
        until("tcpdump has seen a labelled ping", secs(8), || {
            p.h1.run("ping -n -c 1 -W 1 192.168.2.2")?;
            Ok(dump.try_wait()?.is_some())
        })?;
        let text = String::from_utf8(dump.wait_with_output()?.stdout)?;
        let want = format!("MPLS (label {label}, tc 0, [S], ttl ");
        ensure!(
            text.contains(&want) && text.contains("ICMP echo re"),
            "tcpdump on {dev} says: {text}"
        );
    }
    Ok(())
}

/// Traceroute shows, at each hop inside the path, the label with which the probe arrived (RFC 4950).
fn traced(p: &Path) -> Result<()> {
    let text = traceroute(&p.h1, "192.168.2.2")?;
    let hop = |n: usize| text.lines().nth(n).unwrap_or_default();
    let has = |n: usize, address: &str, label: Option<u32>| {
        let labelled = label.map_or(!hop(n).contains("MPLS"), |l| {
            hop(n).contains(&format!("L={l},"))
        });
        hop(n).contains(address) && labelled
    };
    ensure!(
        has(1, "192.168.1.1", None)
            && has(2, "10.0.1.2", Some(RIGHT.0))
            && has(3, "10.0.2.1", Some(RIGHT.1))
            && has(4, "192.168.2.2", None),
        "traceroute -e says:\n{text}"
    );
    Ok(())
}
