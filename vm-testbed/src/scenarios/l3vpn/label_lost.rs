//! The label to the PE in use is lost, and the IP route to it stays: packets with the VPN's label alone would be dropped by the
//! router in between, or taken for others. The other PE carries meanwhile.
//!
//! ```text
//!          ┌── p ── pe2 ──┐
//!   near ─ pe1            ├─ far, 10.77.0.0/24
//!          └────── pe3 ───┘
//! ```

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::pic::{INSIDE, SITE, Steady, sites, ways};
use super::super::{pages, ping, reach};
use super::established;
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Flavor, Lab, Netns};
use crate::progress;
use crate::suite::Options;

/// The routers: pe1, pe2, pe3 by their numbers, and p.
const P: u8 = 9;

/// The links of a router: device, other end, own address.
fn links(n: u8) -> &'static [(&'static str, u8, &'static str)] {
    match n {
        1 => &[("core0", P, "10.1.0.1/24"), ("core3", 3, "10.3.0.1/24")],
        2 => &[("core0", P, "10.2.0.2/24")],
        3 => &[("core0", 1, "10.3.0.3/24")],
        _ => &[("left", 1, "10.1.0.9/24"), ("right", 2, "10.2.0.9/24")],
    }
}

/// Which routers a router has an IP route to, and by whom.
fn routes(n: u8) -> &'static [(u8, &'static str)] {
    match n {
        1 => &[(2, "10.1.0.9"), (P, "10.1.0.9"), (3, "10.3.0.3")],
        2 => &[(1, "10.2.0.9"), (P, "10.2.0.9")],
        3 => &[(1, "10.3.0.1")],
        _ => &[(1, "10.1.0.1"), (2, "10.2.0.2")],
    }
}

/// Router `n`, with LDP by these of its links.
fn router(flavor: &Flavor, n: u8, ldp: &[&str]) -> Config {
    let own = format!("192.0.2.{n}/32");
    let name = match n {
        P => "p".to_owned(),
        n => format!("pe{n}"),
    };
    let mut c = flavor.config(&name).router_id(&format!("192.0.2.{n}"));
    for (i, (dev, _, address)) in links(n).iter().enumerate() {
        let addresses: &[&str] = if i == 0 { &[address, &own] } else { &[address] };
        c = c.interface(dev, dev, addresses, "mpls = true");
    }
    for (to, via) in routes(n) {
        c = c.route(&format!("192.0.2.{to}/32"), via, "");
    }
    if !ldp.is_empty() {
        c = c.section(&format!(
            "[ldp]\nrouter-id = \"192.0.2.{n}\"\ninterfaces = {ldp:?}\nhello-hold-time = 3\nhold-time = 15"
        ));
    }
    if n == P {
        return c;
    }
    let target = "[\"target:64512:1\"]";
    let mut bgp = "[bgp]\nas = 64512\nlabel-delay = 4\n".to_owned();
    let peers: &[u8] = if n == 1 { &[2, 3] } else { &[1] };
    for peer in peers {
        bgp += &format!(
            "[bgp.neighbor.\"192.0.2.{peer}\"]\nas = 64512\nfamilies = [\"vpnv4\"]\nsource-address = \"192.0.2.{n}\"\n\
             connect-retry = 1\n"
        );
    }
    let c = c
        .interface("red0", "red", &[&format!("10.0.{n}.1/24")], "vrf = \"red\"")
        .section(&format!(
            "[vrf.red]\nrd = \"192.0.2.{n}:1\"\nimport = {target}\nexport = {target}"
        ))
        .section(&bgp);
    match n {
        1 => c,
        n => c.route(SITE, &format!("10.0.{n}.2"), "vrf = \"red\""),
    }
}

fn all_links(n: u8) -> Vec<&'static str> {
    links(n).iter().map(|l| l.0).collect()
}

/// The four routers, and who talks.
struct Bed {
    pes: [Appliance; 3],
    p: Appliance,
    near: Netns,
    flavor: Flavor,
    lab: Lab,
}

impl Bed {
    fn start(o: &Options) -> Result<Self> {
        let mut lab = Lab::new("label-lost")?;
        let spaces = [
            lab.router("pe1")?,
            lab.router("pe2")?,
            lab.router("pe3")?,
            lab.router("p")?,
        ];
        let [one, two, three, p] = &spaces;
        lab.join((one, "core0"), (p, "left"))?;
        lab.join((p, "right"), (two, "core0"))?;
        lab.join((one, "core3"), (three, "core0"))?;
        let (near, _) = sites(&mut lab, [one, two, three])?;
        let start = |n: u8, name: &str, ns: &Netns| {
            lab.start(name, ns, &router(&o.flavor, n, &all_links(n)))
        };
        let pes = [
            start(1, "pe1", one)?,
            start(2, "pe2", two)?,
            start(3, "pe3", three)?,
        ];
        let p = start(P, "p", p)?;
        Ok(Self {
            pes,
            p,
            near,
            flavor: o.flavor,
            lab,
        })
    }

    /// LDP by these links of a router alone.
    fn ldp(&self, n: u8, by: &[&str]) -> Result<()> {
        let file = self.lab.folder().join("next.toml");
        std::fs::write(&file, router(&self.flavor, n, by).text())?;
        let a = match n {
            P => &self.p,
            n => &self.pes[usize::from(n) - 1],
        };
        a.must(&format!("config apply {}", file.display()))
            .map(drop)
    }

    /// Waits until packets take the way by that PE, and another stands by or not.
    fn takes(&self, what: &str, pe: &str, stands_by: bool) -> Result<()> {
        let line = format!("{SITE} vrf red");
        until(what, secs(40), || {
            let found = ways(&self.pes[0], &line)?;
            let used = found.iter().any(|w| w.0 == pe && !w.1 && w.2);
            Ok(used && found.iter().any(|w| w.1) == stands_by)
        })
        .with_context(|| {
            let a = &self.pes[0];
            let bgp = a.must("bgp route family vpnv4").unwrap_or_default();
            a.must("route show 192.0.2.2/32").unwrap_or_default() + &bgp
        })
    }

    /// What BGP of pe1 says of the site by that PE, in that table.
    fn path(&self, pe: &str, table: &str) -> Result<Value> {
        let all = self.pes[0].json(&format!("bgp route {SITE} {table}"))?;
        let mut all = all.as_array().into_iter().flatten();
        let one = all.find(|r| r["next_hop"] == pe).context("it has gone")?;
        Ok(one.clone())
    }

    /// Seconds until the label to that PE counts in full, if it is just back.
    fn left(&self, pe: &str) -> Result<Option<f64>> {
        Ok(self.path(pe, "family vpnv4")?["counts_in_s"].as_f64())
    }

    /// Frames that p had no entry for.
    fn unknown(&self) -> Result<u64> {
        Ok(self.p.counters()?.drops_of("unknown_label"))
    }

    fn while_flowing(&self, what: &str, most: u32, f: impl FnOnce() -> Result<()>) -> Result<()> {
        let unknown = self.unknown()?;
        let steady = Steady::start(&self.near, INSIDE, "0.005")?;
        std::thread::sleep(secs(1));
        let done = f();
        std::thread::sleep(secs(1));
        let (sent, lost) = steady.end()?;
        done?;
        progress::note(&format!(
            "{what}: {lost} of {sent} packets were lost, one in 5 ms"
        ));
        ensure!(sent > 200 && lost <= most, "{what}: {lost} of {sent} lost");
        let after = self.unknown()?;
        ensure!(
            after == unknown,
            "{what}: {} frames came to p with a label of the VPN's alone",
            after - unknown
        );
        Ok(())
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn label_lost(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 4)?;
    let bed = Bed::start(o)?;
    let pe1 = &bed.pes[0];
    bed.takes("pe2 is in use, pe3 stands by", "192.0.2.2", true)?;
    reach(&bed.near, INSIDE)?;
    let told = pe1.json(&format!("explain {INSIDE} vrf red --verify"))?;
    ensure!(
        told["verified"] == true && told["label_out"].as_array().map(Vec::len) == Some(2),
        "not p's label and the VPN's: {told}"
    );
    bed.while_flowing("the session with p is lost", 40, || {
        bed.ldp(P, &["right"])?;
        bed.takes("pe3 carries alone", "192.0.2.3", false)
    })?;
    lost(&bed)?;
    bed.while_flowing("the session is back", 4, || {
        bed.ldp(P, &all_links(P))?;
        until("the label is back, and waits", secs(40), || {
            Ok(bed.left("192.0.2.2")?.is_some())
        })?;
        bed.takes("it stands by meanwhile", "192.0.2.3", true)?;
        let waits = bed.path("192.0.2.2", "vrf red")?;
        ensure!(
            waits["fate"] == "backup, lost by label there for longer"
                && waits["problem"] == ""
                && bed.left("192.0.2.2")?.is_some(),
            "{waits}"
        );
        bed.takes("pe2 is in use again", "192.0.2.2", true)
    })?;
    let path = bed.path("192.0.2.2", "vrf red")?;
    ensure!(
        path["counts_in_s"].is_null() && path["fate"] == "best",
        "{path}"
    );
    none(&bed)?;
    // The way back has a label of its own, whose wait began when pe3 got it.
    reach(&bed.near, INSIDE)?;
    ping(&bed.near, INSIDE, 20)?;
    for r in bed.pes.into_iter().chain([bed.p]) {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// Why pe2 is not in use; all that is not labelled goes there as before.
fn lost(bed: &Bed) -> Result<()> {
    let pe1 = &bed.pes[0];
    let path = bed.path("192.0.2.2", "family vpnv4")?;
    ensure!(path["problem"] == "no label to 192.0.2.2", "{path}");
    ensure!(
        established(pe1, "192.0.2.2")?,
        "it was BGP that noticed: the session with pe2 has gone"
    );
    let way = pe1.json("route show 192.0.2.2/32")?;
    let used = way.as_array().into_iter().flatten();
    let used: Vec<&Value> = used
        .filter(|r| r["installed"] == true)
        .map(|r| &r["protocol"])
        .collect();
    ensure!(used == ["static"], "{way}");
    ping(&bed.near, INSIDE, 20).map(drop)
}

/// Neither PE has a label: there is no route, and `explain` says why; by hand there is one.
fn none(bed: &Bed) -> Result<()> {
    let (pe1, pe3) = (&bed.pes[0], &bed.pes[2]);
    bed.ldp(1, &[])?;
    let line = format!("{SITE} vrf red");
    until("no label, no route", secs(20), || {
        Ok(ways(pe1, &line)?.is_empty())
    })?;
    let told = pe1.must(&format!("explain {INSIDE} vrf red"))?;
    for pe in ["192.0.2.2", "192.0.2.3"] {
        ensure!(told.contains(&format!("no label to {pe}")), "{told}");
    }
    let unknown = bed.unknown()?;
    let ping = bed.near.finish(&format!("ping -n -c 3 -W 1 {INSIDE}"))?;
    ensure!(
        ping.status != Some(0) && bed.unknown()? == unknown,
        "{}",
        ping.text()
    );
    // Each is at the other end of the link itself, which their addresses do not say.
    pe1.must("route replace 192.0.2.3/32 via 10.3.0.3 label 3")?;
    pe3.must("route replace 192.0.2.1/32 via 10.3.0.1 label 3")?;
    bed.takes("pe3 by hand", "192.0.2.3", false)?;
    // Not after the delay: there is no other way.
    let told = pe1.must(&format!("explain {INSIDE} vrf red"))?;
    ensure!(
        bed.left("192.0.2.3")?.is_some_and(|left| left > 0.5)
            && told.contains("; its label is back, and counts in full in "),
        "{told}"
    );
    reach(&bed.near, INSIDE)?;
    pe3.must("route replace 192.0.2.1/32 via 10.3.0.1")?;
    bed.ldp(1, &all_links(1))?;
    bed.takes("all is as it was", "192.0.2.2", true)
}
