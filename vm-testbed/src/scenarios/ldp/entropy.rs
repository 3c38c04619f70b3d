//! Entropy labels (RFC 6790) along an LSP of LDP: told by whoever is at its end, put on at its beginning, looked at in between, taken
//! off at the end; as tcpdump reads them.
//!
//! ```text
//!   h1 ── p1 a e1 ── e1 p e2 ── e1 b p1 ── h2
//!                      p e3 ── e2 b
//! ```

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::{pages, ping, reach};
use super::mac;
use crate::frame::{Ip4, eth};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, secs, until};
use crate::lab::wire::Wire;
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::suite::Options;

/// What is behind b, and a host there.
const FAR: &str = "10.0.2.0/24";
const THERE: &str = "10.0.2.2";
/// What is behind a.
const NEAR: &str = "10.0.1.0/24";
const HERE: &str = "10.0.1.2";

/// Router `n` of the line, 1 to 3; `on`: it deals with entropy labels.
fn router(flavor: &Flavor, n: u8, on: bool) -> Config {
    let name = ["a", "p", "b"][usize::from(n) - 1];
    let id = format!("192.0.2.{n}");
    let own = format!("{id}/32");
    let mpls = "mpls = true";
    let both = ["10.2.0.", "10.3.0."];
    let to = |c: Config, prefix: &str, hops: &[String]| {
        c.section(&format!("[[route]]\nprefix = \"{prefix}\"\nvia = {hops:?}"))
    };
    let c = flavor.config(name).router_id(&id);
    let (c, links) = match n {
        1 => {
            let c = c.interface("p1", "h0", &["10.0.1.1/24"], "").interface(
                "e1",
                "e1",
                &["10.1.0.1/30", &own],
                mpls,
            );
            let next = ["10.1.0.2".to_owned()];
            (to(to(c, FAR, &next), "192.0.2.2/32", &next), "\"e1\"")
        }
        2 => {
            let c = c
                .interface("e1", "e1", &["10.1.0.2/30", &own], mpls)
                .interface("e2", "e2", &["10.2.0.1/30"], mpls)
                .interface("e3", "e3", &["10.3.0.1/30"], mpls);
            let back = ["10.1.0.1".to_owned()];
            let on = both.map(|net| format!("{net}2"));
            let c = to(to(c, NEAR, &back), "192.0.2.1/32", &back);
            (
                to(to(c, FAR, &on), "192.0.2.3/32", &on),
                "\"e1\", \"e2\", \"e3\"",
            )
        }
        _ => {
            let c = c
                .interface("p1", "h0", &["10.0.2.1/24"], "")
                .interface("e1", "e1", &["10.2.0.2/30", &own], mpls)
                .interface("e2", "e2", &["10.3.0.2/30"], mpls);
            let back = both.map(|net| format!("{net}1"));
            (
                to(to(c, NEAR, &back), "192.0.2.2/32", &back),
                "\"e1\", \"e2\"",
            )
        }
    };
    c.section(&format!(
        "[ldp]\nrouter-id = \"{id}\"\ninterfaces = [{links}]\nhello-hold-time = 3\nhold-time = 15\nentropy-label = {on}\n"
    ))
}

/// The labels of packets from a to what is behind b, as `explain` foretells them, and the data path says that it is true.
fn foretold(a: &Appliance, sport: u16) -> Result<Option<Vec<u64>>> {
    let line = format!("explain {THERE} from {HERE} in p1 sport {sport} dport 53 --verify");
    let told = a.json(&line)?;
    ensure!(told["verified"] == true, "{told}");
    let all = told["label_out"].as_array().into_iter().flatten();
    Ok(Some(all.filter_map(Value::as_u64).collect()))
}

/// Frames that b has had by a link.
fn had(b: &Appliance, name: &str) -> Result<u64> {
    let row = b.json(&format!("interface show {name}"))?;
    row[0]["rx_packets"].as_u64().context("no rx_packets")
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn entropy(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 3)?;
    let mut lab = Lab::new("ldp-entropy")?;
    let spaces = [lab.router("a")?, lab.router("p")?, lab.router("b")?];
    lab.join((&spaces[0], "e1"), (&spaces[1], "e1"))?;
    lab.join((&spaces[1], "e2"), (&spaces[2], "e1"))?;
    lab.join((&spaces[1], "e3"), (&spaces[2], "e2"))?;
    let host = |n: u8| {
        Host::new(&format!("h{n}"), &[&format!("10.0.{n}.2/24")]).gateway(&format!("10.0.{n}.1"))
    };
    let h1 = lab.host(&host(1), &spaces[0], "h0")?;
    let h2 = lab.host(&host(2), &spaces[2], "h0")?;
    let start = |n: u8| {
        let ns = &spaces[usize::from(n) - 1];
        lab.start(
            ["a", "p", "b"][usize::from(n) - 1],
            ns,
            &router(&o.flavor, n, true),
        )
    };
    let (a, p, b) = (start(1)?, start(2)?, start(3)?);
    reach(&h1, THERE)?;
    let stack = eventually("a puts entropy labels on", secs(30), || {
        let labels = foretold(&a, 1000)?;
        Ok(labels.filter(|l| l.get(1) == Some(&7)))
    })?;
    ensure!(stack.len() == 3 && stack[2] > 15, "{stack:?}");
    ping(&h1, THERE, 20).context("taken off at the end")?;
    read(&spaces, &a, &h1)?;
    spread(&a, &b, &h1)?;
    // Who is at the end deals with them no more: p passes that on, and a stops.
    let without = lab.folder().join("without.toml");
    std::fs::write(&without, router(&o.flavor, 3, false).text())?;
    b.must(&format!("config apply {}", without.display()))?;
    until("a puts none on any more", secs(20), || {
        Ok(foretold(&a, 1000)?.is_some_and(|l| l.len() == 1))
    })?;
    ping(&h1, THERE, 20)?;
    ping(&h2, HERE, 20)?;
    for r in [a, p, b] {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// So many flows from h1.
fn flows(a: &Appliance, h1: &Netns, many: u16) -> Result<()> {
    let (to, from) = (mac(a.ns(), "p1")?, mac(h1, "eth0")?);
    let wire = Wire::open(h1, "eth0")?;
    for sport in 1000..1000 + many {
        let packet = Ip4::udp_ports(HERE, THERE, sport, 53, 30).bytes();
        wire.send(&eth(to, from, 0x0800, &packet))?;
    }
    Ok(())
}

/// tcpdump reads the indicator and the label below LDP's, with a TTL of 0 so that nobody goes by it; on the last links LDP's is off.
fn read([_, p, b]: &[Netns; 3], a: &Appliance, h1: &Netns) -> Result<()> {
    let send = || h1.finish(&format!("ping -n -c 1 -W 1 {THERE}")).map(drop);
    let words = ["label 7", "[S], ttl 0", "ICMP echo request"];
    seen((p, "e1"), "mpls", &words, send).context("on the first link")?;
    for dev in ["e1", "e2"] {
        let words = ["label 7", "[S], ttl 0", "IP 10.0.1.2"];
        seen((b, dev), "mpls 7", &words, || flows(a, h1, 64)).context(dev)?;
    }
    Ok(())
}

/// Flows differ in their entropy labels, and p spreads them by those.
fn spread(a: &Appliance, b: &Appliance, h1: &Netns) -> Result<()> {
    let mut labels = std::collections::BTreeSet::new();
    for sport in 1000..1032 {
        labels.extend(foretold(a, sport)?.into_iter().flatten().nth(2));
    }
    ensure!(labels.len() > 28, "{labels:?}");
    let before = [had(b, "e1")?, had(b, "e2")?];
    flows(a, h1, 200)?;
    until("200 flows go by both links", secs(10), || {
        let now = [had(b, "e1")? - before[0], had(b, "e2")? - before[1]];
        Ok(now.iter().all(|n| *n >= 60))
    })
}
