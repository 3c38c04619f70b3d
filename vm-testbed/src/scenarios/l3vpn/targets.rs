//! Route target membership (RFC 4684): a reflector of ours without any VRF, and its clients, an edge of ours and GoBGP. What
//! nobody asks for stays where it is.
//!
//! ```text
//!   red, blue ── pe2 ──── rr ──── GoBGP
//! ```

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::pages;
use super::super::vrf::{VRFS, customer, host};
use super::{best, established};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Host, Lab};
use crate::peers::Gobgp;
use crate::suite::Options;

/// A neighbour that is asked what it wants.
pub(super) fn neighbor(address: &str, more: &str) -> String {
    format!(
        "[bgp.neighbor.\"{address}\"]\nas = 64512\nfamilies = [\"vpnv4\", \"vpnv6\", \"rt-constraint\"]\nconnect-retry = 1\n{more}\n"
    )
}

/// The reflector, with a client at each port. No packet with a label passes it, so it needs none to the next hops of what it tells.
pub(super) fn reflector(o: &Options) -> Config {
    let client = "route-reflector-client = true";
    o.flavor
        .config("rr")
        .interface("core0", "core", &["10.1.0.1/24"], "")
        .interface("third0", "third", &["10.9.0.1/24"], "")
        .route("192.0.2.9/32", "10.9.0.2", "")
        .section("[bgp]\nas = 64512")
        .section(&neighbor("10.1.0.2", client))
        .section(&neighbor("10.9.0.2", client))
}

/// The edge: what its VRFs have and what they want have different targets.
pub(super) fn edge(o: &Options) -> Config {
    let mut c = o
        .flavor
        .config("pe2")
        .router_id("192.0.2.2")
        .interface("core0", "core", &["10.1.0.2/24"], "mpls = true")
        // To the other client, whose address is the next hop of what it has.
        .route("10.9.0.0/24", "10.1.0.1", "label = [300]")
        .route("192.0.2.9/32", "10.1.0.1", "label = [301]")
        .section(&format!("[bgp]\nas = 64512\n{}", neighbor("10.1.0.1", "")));
    for (i, (vrf, _)) in VRFS.iter().enumerate() {
        c = customer(c, vrf, 2).section(&format!(
            "[vrf.{vrf}]\nrd = \"192.0.2.2:{i}\"\nimport = [\"target:64512:10{i}\"]\nexport = [\"target:64512:{i}\"]"
        ));
    }
    c
}

/// GoBGP as a client.
const CLIENT: &str = "[global.config]\nas = 64512\nrouter-id = \"192.0.2.9\"\nport = 179\nlocal-address-list = [\"10.9.0.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.9.0.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l3vpn-ipv4-unicast\"\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"rtc\"\n";

/// The prefixes of a family that the router has, or that a neighbour was told.
fn prefixes(a: &Appliance, line: &str) -> Result<Vec<String>> {
    let all = a.json(&format!("bgp route {line}"))?;
    let all = all.as_array().context("no array")?.iter();
    let text = |r: &Value| r["prefix"].as_str().unwrap_or_default().to_owned();
    Ok(all.map(text).collect())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn constraint(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("rt-constraint")?;
    let (rr, pe2) = (lab.router("rr")?, lab.router("pe2")?);
    lab.join((&rr, "core"), (&pe2, "core"))?;
    for (vrf, only) in VRFS {
        lab.host(&host(vrf, 2, only), &pe2, &format!("{vrf}-2"))?;
    }
    let third = lab.host(&Host::new("gobgp", &["10.9.0.2/24"]), &rr, "third")?;
    let rr = lab.start("rr", &rr, &reflector(o))?;
    let pe = lab.start("pe2", &pe2, &edge(o))?;
    let gobgp = Gobgp::start_text(lab.folder(), "client", &third, CLIENT)?;
    until("both clients are there", secs(30), || {
        Ok(established(&rr, "10.1.0.2")? && established(&rr, "10.9.0.2")?)
    })?;
    let asked = |what: &str| -> Result<bool> {
        Ok(prefixes(&rr, "family rt-constraint")?.contains(&what.to_owned()))
    };
    until("the edge has said what it wants", secs(10), || {
        Ok(asked("64512:target:64512:100")? && asked("64512:target:64512:101")?)
    })?;
    let told = prefixes(&pe, "advertised 10.1.0.1 family vpnv4")?;
    ensure!(told.is_empty(), "nobody has asked, and it tells {told:?}");
    wants(&rr, &pe, &gobgp)?;
    has(&rr, &pe, &gobgp)?;
    for r in [rr, pe] {
        ensure!(r.alive(), "it has died");
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// GoBGP asks for red's routes, and gets these alone, until it asks no more.
fn wants(rr: &Appliance, pe: &Appliance, gobgp: &Gobgp) -> Result<()> {
    gobgp.cli("vrf add one rd 64512:9 rt both 64512:0")?;
    until("red's route is with GoBGP", secs(20), || {
        Ok(gobgp
            .cli("global rib -a vpnv4")?
            .contains("192.0.2.2:0:10.0.2.0/24"))
    })
    .with_context(|| {
        let asked = rr
            .must("bgp route family rt-constraint")
            .unwrap_or_default();
        let rib = gobgp.cli("global rib -a rtc").unwrap_or_default();
        format!("the reflector has\n{asked}GoBGP has\n{rib}")
    })?;
    let all = prefixes(rr, "family vpnv4")?;
    ensure!(all == ["10.0.2.0/24"], "blue's too: {all:?}");
    let text = gobgp.cli("global rib -a vpnv4")?;
    ensure!(!text.contains("192.0.2.2:1:"), "{text}");
    let told = prefixes(pe, "advertised 10.1.0.1 family vpnv4")?;
    ensure!(told == ["10.0.2.0/24"], "{told:?}");
    gobgp.cli("vrf del one")?;
    until("nobody asks for it, so it has gone", secs(20), || {
        let gone = !gobgp.cli("global rib -a vpnv4")?.contains("192.0.2.2:0:");
        Ok(gone && prefixes(rr, "family vpnv4")?.is_empty())
    })
}

/// GoBGP is asked for what the edge wants, and tells this alone; another import has it tell something else.
fn has(rr: &Appliance, pe: &Appliance, gobgp: &Gobgp) -> Result<()> {
    for (n, rt) in [(50, 100), (51, 77), (52, 300)] {
        gobgp.cli(&format!(
            "global rib add -a vpnv4 10.{n}.0.0/24 label 7{n} rd 64512:50 rt 64512:{rt} nexthop 192.0.2.9"
        ))?;
    }
    until("what the edge wants is in red", secs(20), || {
        let r = best(pe, "red", "10.50.0.0/24")?;
        Ok(r.is_some_and(|r| r["label"][0] == 750))
    })
    .with_context(|| rr.must("bgp route family vpnv4").unwrap_or_default())?;
    let all = prefixes(rr, "family vpnv4")?;
    ensure!(all == ["10.50.0.0/24"], "GoBGP was not asked for {all:?}");
    let text = std::fs::read_to_string(pe.config())?;
    let other = text.replace("target:64512:100", "target:64512:300");
    let file = pe.config().with_extension("other");
    std::fs::write(&file, other)?;
    pe.must(&format!("config apply {}", file.display()))?;
    until("another import has the other route come", secs(20), || {
        Ok(prefixes(rr, "family vpnv4")? == ["10.52.0.0/24"]
            && best(pe, "red", "10.52.0.0/24")?.is_some()
            && best(pe, "red", "10.50.0.0/24")?.is_none())
    })
    .with_context(|| rr.must("bgp route family vpnv4").unwrap_or_default())
}
