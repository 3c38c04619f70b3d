//! Labels of a VPN's routes, one for the VRF or one each (RFC 4364 4.3.2), between two PEs of ours; what is on the core is read by
//! tcpdump.
//!
//! ```text
//!   h1 ── r0 pe1 ── core ── pe2 r0 ── h2, and 10.7.0.0/16 behind it
//! ```

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::l3vpn::established;
use super::{pages, ping, reach};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::suite::Options;

const FAR: [&str; 2] = ["10.0.2.0/24", "10.7.0.0/16"];

/// Edge `n`, whose VRF has `more` keys.
fn edge(flavor: &Flavor, n: u8, more: &str) -> Config {
    let (other, own) = (3 - n, format!("192.0.2.{n}/32"));
    let mut c = flavor
        .config(&format!("pe{n}"))
        .router_id(&format!("192.0.2.{n}"))
        .interface(
            "core0",
            "core",
            &[&format!("10.1.0.{n}/24"), &own],
            "mpls = true",
        )
        .interface("r0", "h0", &[&format!("10.0.{n}.1/24")], "vrf = \"red\"")
        .route(
            &format!("192.0.2.{other}/32"),
            &format!("10.1.0.{other}"),
            "label = [100]",
        )
        .section("[label-range]\ndynamic = \"5000-5999\"\nhold-time = 10\n")
        .section("[[label]]\nin = 100\naction = \"pop\"")
        .section(&format!(
            "[vrf.red]\nrd = \"192.0.2.{n}:1\"\nimport = [\"target:64512:1\"]\nexport = [\"target:64512:1\"]\n{more}"
        ))
        .section(&format!(
            "[bgp]\nas = 64512\n[bgp.neighbor.\"192.0.2.{other}\"]\nas = 64512\nfamilies = [\"vpnv4\"]\n\
             source-address = \"192.0.2.{n}\"\nconnect-retry = 1\n"
        ));
    if n == 2 {
        c = c.route("10.7.0.0/16", "10.0.2.2", "vrf = \"red\"");
    }
    c
}

/// The labels under which pe1 has what is behind pe2, once it has both with `labels` different ones.
fn heard(pe1: &Appliance, labels: usize) -> Result<[u64; 2]> {
    eventually(&format!("pe1 has {labels} labels of pe2"), secs(30), || {
        let mut out = [0; 2];
        for (to, prefix) in out.iter_mut().zip(FAR) {
            let all = pe1.json(&format!("bgp route {prefix} vrf red"))?;
            let mut all = all.as_array().into_iter().flatten();
            let best = all.find(|r| r["best"] == true);
            let Some(label) = best.and_then(|r| r["label"][0].as_u64()) else {
                return Ok(None);
            };
            *to = label;
        }
        let found = if out[0] == out[1] { 1 } else { 2 };
        Ok((found == labels).then_some(out))
    })
}

/// The entry of a label at pe2.
fn entry(pe2: &Appliance, label: u64) -> Result<Value> {
    let rows = pe2.json(&format!("label show {label}"))?;
    let row = rows.as_array().and_then(|r| r.first()).cloned();
    row.with_context(|| format!("pe2 has no label {label}"))
}

/// Packets have that label, below the core's.
fn arrives(pe2: &Appliance, h1: &Netns, label: u64) -> Result<()> {
    let words = [
        "label 100",
        &format!("label {label}"),
        "[S]",
        "ICMP echo request",
    ];
    let make = || h1.finish("ping -n -c 1 -W 1 10.0.2.2").map(drop);
    seen((pe2.ns(), "core"), "mpls", &words, make)?;
    ping(h1, "10.0.2.2", 10).map(drop)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn labels(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("l3vpn-labels")?;
    let (one, two) = (lab.router("pe1")?, lab.router("pe2")?);
    lab.join((&one, "core"), (&two, "core"))?;
    let host = |n: u8| {
        Host::new(&format!("h{n}"), &[&format!("10.0.{n}.2/24")]).gateway(&format!("10.0.{n}.1"))
    };
    let h1 = lab.host(&host(1), &one, "h0")?;
    lab.host(&host(2), &two, "h0")?;
    let pe1 = lab.start("pe1", &one, &edge(&o.flavor, 1, "entropy-label = true"))?;
    let each = "label-mode = \"per-prefix\"";
    let mut pe2 = lab.start("pe2", &two, &edge(&o.flavor, 2, each))?;
    until("the edges have a session", secs(30), || {
        established(&pe1, "192.0.2.2")
    })?;
    let first = heard(&pe1, 2)?;
    for (prefix, label) in FAR.iter().zip(first) {
        let row = entry(&pe2, label)?;
        ensure!(
            row["fec"] == format!("{prefix} vrf red")
                && row["owner"] == "vpn"
                && (row["action"].clone(), row["vrf"].clone()) == (json!("pop"), json!("red")),
            "{row}"
        );
    }
    reach(&h1, "10.0.2.2")?;
    arrives(&pe2, &h1, first[0])?;
    // The far edge takes entropy labels off, under a VRF's label too.
    let told = pe1.json("explain 10.0.2.2 from 10.0.1.2 in r0 --verify")?;
    let out = told["label_out"].as_array().context("no labels")?;
    ensure!(
        told["verified"] == true
            && out.len() == 4
            && out[..3] == [json!(100), json!(first[0]), json!(7)],
        "{told}"
    );
    pe2.terminate()?;
    pe2.start_again()?;
    let again = heard(&pe1, 2)?;
    ensure!(
        again == first,
        "others after a restart: {first:?}, {again:?}"
    );
    reach(&h1, "10.0.2.2")?;
    changes(o, &lab, (&pe1, &pe2), &h1, first)?;
    for r in [pe1, pe2] {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// Another TTL mode, another mode of labels: both hold at once, and frames go on.
fn changes(
    o: &Options,
    lab: &Lab,
    (pe1, pe2): (&Appliance, &Appliance),
    h1: &Netns,
    first: [u64; 2],
) -> Result<()> {
    let apply = |more: &str| {
        let file = lab.folder().join("next.toml");
        std::fs::write(&file, edge(&o.flavor, 2, more).text())?;
        pe2.must(&format!("config apply {}", file.display()))
            .map(drop)
    };
    ensure!(entry(pe2, first[1])?["mpls_ttl"] == "uniform");
    apply("label-mode = \"per-prefix\"\nmpls-ttl = \"pipe\"")?;
    until("the entry has the other TTL mode", secs(10), || {
        Ok(entry(pe2, first[1])?["mpls_ttl"] == "pipe")
    })?;
    ping(h1, "10.0.2.2", 10)?;
    apply("")?;
    let [whole, _] = heard(pe1, 1)?;
    ensure!(!first.contains(&whole), "{whole}");
    let row = entry(pe2, whole)?;
    ensure!(row["fec"] == "vrf red", "{row}");
    until("labels of prefixes have gone", secs(10), || {
        let rows = pe2.json("label show")?;
        let all = rows.as_array().context("no array")?;
        Ok(!all.iter().any(|r| first.iter().any(|l| r["label"] == *l)))
    })?;
    arrives(pe2, h1, whole)?;
    // Back: the same ones, as they have only rested.
    apply("label-mode = \"per-prefix\"")?;
    let back = heard(pe1, 2)?;
    ensure!(back == first, "{back:?}");
    arrives(pe2, h1, first[0])
}
