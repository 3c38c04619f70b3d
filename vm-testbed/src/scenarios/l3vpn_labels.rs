//! Labels of a VPN's routes, one for the VRF or one each (RFC 4364 4.3.2), between two PEs of ours; what is on the core is read by
//! tcpdump.
//!
//! ```text
//!   h1 ── r0 pe1 ── core ── pe2 r0 ── h2, and 10.7.0.0/16 behind it
//! ```

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::l3vpn::established;
use super::pic::Steady;
use super::{pages, ping, reach};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, millis, secs, until};
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::progress;
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

/// Has `change` done while packets flow, one in a millisecond: none is lost.
fn without_loss(h1: &Netns, what: &str, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let steady = Steady::start(h1, "10.0.2.2", "0.001")?;
    std::thread::sleep(millis(300));
    let done = change();
    std::thread::sleep(millis(300));
    let (sent, lost) = steady.end()?;
    done?;
    progress::note(&format!("{what}: {lost} of {sent} packets were lost"));
    ensure!(sent > 100 && lost == 0, "{what}: {lost} of {sent} lost");
    Ok(())
}

/// Those labels stay for the rest of their time, as `label show` says, and no longer.
fn leave(pe2: &Appliance, labels: &[u64]) -> Result<()> {
    for label in labels {
        let row = entry(pe2, *label)?;
        let left = row["leaving_s"].as_f64().context("it does not leave")?;
        ensure!(left > 0.0 && left <= 10.0 && row["vrf"] == "red", "{row}");
        let text = pe2.must(&format!("label show {label}"))?;
        ensure!(text.contains(" leaving, "), "{text}");
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
    let mut whole = 0;
    without_loss(h1, "from a label each to one for all", || {
        apply("")?;
        [whole, _] = heard(pe1, 1)?;
        Ok(())
    })?;
    ensure!(!first.contains(&whole), "{whole}");
    let row = entry(pe2, whole)?;
    ensure!(
        row["fec"] == "vrf red" && row["leaving_s"].is_null(),
        "{row}"
    );
    leave(pe2, &first)?;
    // Before they have gone: the same ones again, and the other way round.
    let each = "label-mode = \"per-prefix\"";
    without_loss(h1, "from one for all to a label each", || {
        apply(each)?;
        let back = heard(pe1, 2)?;
        ensure!(back == first, "{back:?}");
        Ok(())
    })?;
    leave(pe2, &[whole])?;
    ensure!(entry(pe2, first[0])?["leaving_s"].is_null());
    apply("")?;
    let again = heard(pe1, 1)?;
    ensure!(again[0] == whole, "{again:?} is not {whole}");
    until("labels of prefixes have gone", secs(15), || {
        let rows = pe2.json("label show")?;
        let all = rows.as_array().context("no array")?;
        Ok(!all.iter().any(|r| first.iter().any(|l| r["label"] == *l)))
    })?;
    arrives(pe2, h1, whole)?;
    apply(each)?;
    let back = heard(pe1, 2)?;
    ensure!(!back.contains(&whole), "{back:?}");
    arrives(pe2, h1, back[0])?;
    // A VRF that ends takes what still leads into it along.
    leave(pe2, &[whole])?;
    let file = lab.folder().join("next.toml");
    let text = edge(&o.flavor, 2, each).text();
    let without = text.replace("export = [\"target:64512:1\"]", "export = []");
    std::fs::write(&file, without)?;
    pe2.must(&format!("config apply {}", file.display()))?;
    until(
        "no label leads into a VRF that tells nothing",
        secs(5),
        || {
            let rows = pe2.json("label show")?;
            let all = rows.as_array().context("no array")?;
            Ok(!all.iter().any(|r| r["vrf"] == "red"))
        },
    )
}
