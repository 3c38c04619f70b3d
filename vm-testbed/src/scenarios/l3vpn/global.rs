//! Routes of BGP between VRFs and the global table, by policies of the VRFs. GoBGP is a CE of red; FRR, which puts what it learns
//! into its kernel, is an upstream of the global table; blue has nothing but its subnet.
//!
//! ```text
//!   ce: GoBGP, AS 65001, 203.0.113.1 ── (red)  pe  (global) ── up: FRR, AS 65100, 198.51.100.1
//!                         blue: a host ── (blue) ┘
//! ```

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::{pages, ping, reach};
use super::{best, established};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::peers::{Frr, Gobgp, Speaker};
use crate::suite::Options;

const CE: &str = "[global.config]\nas = 65001\nrouter-id = \"10.0.1.2\"\nport = 179\nlocal-address-list = [\"10.0.1.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.0.1.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n";
const UP: &str = "log stdout\nrouter bgp 65100\n bgp router-id 10.8.0.2\n no bgp ebgp-requires-policy\n \
    no bgp network import-check\n neighbor 10.8.0.1 remote-as 64512\n neighbor 10.8.0.1 timers 3 9\n \
    neighbor 10.8.0.1 timers connect 1\n address-family ipv4 unicast\n  network 198.51.100.0/24\n  network 192.88.99.0/24\n \
    exit-address-family\n address-family ipv6 unicast\n  network 2001:db8:98::/48\n  neighbor 10.8.0.1 activate\n \
    exit-address-family\n";

/// What customers may have of the Internet; what it may have of them; and the same with a mark.
const POLICIES: &str = "[prefix-set]\ninternet = [\"198.51.100.0/24\", \"2001:db8:98::/48\"]\ncustomers = [\"203.0.113.0/24\"]\n\
    [policy.in]\n[[policy.in.rule]]\nmatch = { prefix-set = \"internet\" }\naction = \"accept\"\n\
    [policy.out]\n[[policy.out.rule]]\nmatch = { prefix-set = \"customers\" }\naction = \"accept\"\n\
    [policy.marked]\n[[policy.marked.rule]]\nmatch = { prefix-set = \"customers\" }\nset = { add-community = [\"64512:7\"] }\n\
    action = \"accept\"\n";

const BOTH: &str = "import-global = \"in\"\nexport-global = \"out\"";

/// The appliance, `red` and `blue` being what their VRFs have.
fn config(flavor: &Flavor, red: &str, blue: Option<&str>) -> Config {
    let c = flavor
        .config("pe")
        .interface("ce0", "e1", &["10.0.1.1/24"], "vrf = \"red\"")
        .interface("up0", "e2", &["10.8.0.1/24", "2001:db8:8::1/64"], "");
    let own = ["10.3.0.1/24", "2001:db8:3::1/64"];
    let c = match blue {
        Some(blue) => c
            .interface("bl0", "e3", &own, "vrf = \"blue\"")
            .section(&format!("[vrf.blue]\n{blue}")),
        None => c,
    };
    c.section(&format!("[vrf.red]\nrd = \"64512:1\"\nexport = [\"target:64512:1\"]\n{red}"))
        .section(POLICIES)
        .section("[bgp]\nas = 64512")
        // Never there: red's target is for another edge.
        .section("[bgp.neighbor.\"10.8.0.9\"]\nas = 64512\nfamilies = [\"vpnv4\"]\n")
        .section(
            "[bgp.neighbor.\"10.0.1.2\"]\nvrf = \"red\"\nas = 65001\nimport = \"accept-all\"\nexport = \"accept-all\"\n\
             connect-retry = 1\n",
        )
        .section(
            "[bgp.neighbor.\"10.8.0.2\"]\nas = 65100\nfamilies = [\"ipv4-unicast\", \"ipv6-unicast\"]\n\
             import = \"accept-all\"\nexport = \"accept-all\"\nconnect-retry = 1\n",
        )
}

const BLUE: &str = "import-global = \"in\"\nexport-global = \"accept-all\"";

/// Who takes part.
struct Cast {
    pe: Appliance,
    ce: Gobgp,
    up: Frr,
    ce_host: Netns,
    up_host: Netns,
    blue: Netns,
}

/// The ways that pings go: with the addresses that are known on the other side.
const TO_UP: &str = "-I 203.0.113.1 198.51.100.1";
const TO_CE: &str = "-I 198.51.100.1 203.0.113.1";
const TO_BLUE: &str = "-I 198.51.100.1 10.3.0.2";
const TO_BLUE6: &str = "-I 2001:db8:98::1 2001:db8:3::2";

const TO_OURS: &str = "-I 198.51.100.1 10.3.0.1";
const TO_OURS6: &str = "-I 2001:db8:98::1 2001:db8:3::1";

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn global(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("l3vpn-leak-global")?;
    let pe = lab.router("pe")?;
    let ce = Host::new("ce", &["10.0.1.2/24"]).gateway("10.0.1.1");
    let ce_host = lab.host(&ce, &pe, "e1")?;
    let up = Host::new("up", &["10.8.0.2/24", "2001:db8:8::2/64"]);
    let up_host = lab.host(&up, &pe, "e2")?;
    for (host, address) in [
        (&ce_host, "203.0.113.1/32"),
        (&up_host, "198.51.100.1/32"),
        (&up_host, "2001:db8:98::1/128"),
    ] {
        host.ip(&format!("addr add {address} dev lo"))?;
    }
    let blue = Host::new("blue", &["10.3.0.2/24", "2001:db8:3::2/64"]);
    let blue = blue.gateway("10.3.0.1").gateway("2001:db8:3::1");
    let blue = lab.host(&blue, &pe, "e3")?;
    let first = config(&o.flavor, BOTH, Some(BLUE));
    let cast = Cast {
        pe: lab.start("pe", &pe, &first)?,
        ce: Gobgp::start_text(lab.folder(), "ce", &ce_host, CE)?,
        up: Frr::start_text(lab.folder(), "up", &up_host, UP)?,
        ce_host,
        up_host,
        blue,
    };
    until("both have a session", secs(30), || {
        Ok(established(&cast.pe, "10.0.1.2")? && established(&cast.pe, "10.8.0.2")?)
    })?;
    cast.both_ways()?;
    cast.shown()?;
    cast.connected()?;
    cast.live(o)?;
    cast.taken_back()?;
    cast.a_vrf_goes(o)?;
    cast.pe.law()?;
    cast.pe.stop()
}

impl Cast {
    fn apply(&self, config: &Config) -> Result<()> {
        let file = self.pe.config().with_extension("other");
        std::fs::write(&file, config.text())?;
        self.pe.must(&format!("config apply {}", file.display()))?;
        Ok(())
    }

    /// The upstream has so many paths to a prefix.
    fn up_has(&self, prefix: &str, there: bool) -> Result<()> {
        let what = format!("the upstream has {prefix}: {there}");
        until(&what, secs(10), || {
            Ok(self.up.paths(prefix)?.is_empty() != there)
        })
        .with_context(|| self.up.shown(prefix).unwrap_or_default())
    }

    fn ce_has(&self, prefix: &str, there: bool) -> Result<()> {
        let what = format!("the CE has {prefix}: {there}");
        until(&what, secs(10), || {
            Ok(self.ce.cli("global rib -a ipv4")?.contains(prefix) == there)
        })
        .with_context(|| self.ce.cli("global rib -a ipv4").unwrap_or_default())
    }

    /// Each has the other's route, and packets go by it; the policies keep the rest where it is.
    fn both_ways(&self) -> Result<()> {
        self.ce
            .cli("global rib add -a ipv4 203.0.113.0/24 nexthop 10.0.1.2")?;
        self.ce
            .cli("global rib add -a ipv4 203.0.112.0/24 nexthop 10.0.1.2")?;
        self.up_has("203.0.113.0/24", true)?;
        self.ce_has("198.51.100.0/24", true)?;
        let path = self.up.paths("203.0.113.0/24")?;
        ensure!(path[0].path == "64512 65001", "{path:?}");
        reach(&self.ce_host, TO_UP).context("out of red")?;
        ping(&self.ce_host, TO_UP, 20)?;
        ping(&self.up_host, TO_CE, 20).context("into red")?;
        self.ce_has("192.88.99.0/24", false)?;
        self.up_has("203.0.112.0/24", false)?;
        // Not from one VRF into the other, and not to other edges.
        for (vrf, prefix) in [("blue", "203.0.113.0/24"), ("red", "10.3.0.0/24")] {
            let found = best(&self.pe, vrf, prefix)?;
            ensure!(found.is_none(), "{prefix} is in {vrf}: {found:?}");
        }
        let vpn = self.pe.json("bgp route family vpnv4")?;
        let vpn: Vec<&Value> = vpn
            .as_array()
            .into_iter()
            .flatten()
            .map(|r| &r["prefix"])
            .collect();
        ensure!(
            vpn == ["10.0.1.0/24", "203.0.112.0/24", "203.0.113.0/24"],
            "{vpn:?}"
        );
        Ok(())
    }

    /// Where a route has leaked from is said wherever it is shown, and its next hop is where that is.
    fn shown(&self) -> Result<()> {
        let pe = &self.pe;
        let out = pe.json("bgp route 203.0.113.0/24")?;
        ensure!(
            out[0]["leaked_from"] == "red" && out[0]["neighbor"] == "10.0.1.2",
            "{out}"
        );
        let back = pe.json("bgp route 198.51.100.0/24 vrf red")?;
        ensure!(
            back[0]["leaked_from"] == "global" && back[0]["next_hop"] == "10.8.0.2",
            "{back}"
        );
        let text = pe.must("bgp route 203.0.113.0/24")?;
        ensure!(text.contains("(leaked from red)"), "{text}");
        let used = pe.json("route show 203.0.113.0/24")?;
        ensure!(
            used[0]["via"][0]["table"] == "red" && used[0]["installed"] == true,
            "{used}"
        );
        let text = pe.must("vrf show red")?;
        ensure!(
            text.contains("takes routes of the global table by in")
                && text.contains("gives routes to the global table by out"),
            "{text}"
        );
        for (line, egress, from, leak) in [
            (
                "203.0.113.1 in up0",
                "ce0",
                "VRF red, by export-global \"out\"",
                "out",
            ),
            (
                "198.51.100.1 in ce0",
                "up0",
                "the global table, by import-global \"in\"",
                "in",
            ),
        ] {
            let told = pe.json(&format!("explain {line} --verify"))?;
            let steps = told["steps"].as_array().context("no steps")?;
            let step = steps.iter().find(|s| s["what"] == "leak");
            let step = step.and_then(|s| s["text"].as_str()).unwrap_or_default();
            ensure!(
                told["verified"] == true && told["egress"] == egress && step.contains(from),
                "{told}"
            );
            ensure!(
                told["leak_policy"]["policy"] == leak
                    && told["leak_policy"]["accepted"] == true
                    && told["policy"]["policy"] == "accept-all",
                "{told}"
            );
        }
        Ok(())
    }

    /// A connected subnet: packets go to its hosts themselves.
    fn connected(&self) -> Result<()> {
        self.up_has("10.3.0.0/24", true)?;
        self.up_has("2001:db8:3::/64", true)?;
        for to in [TO_BLUE, TO_BLUE6] {
            reach(&self.up_host, to).context("into blue")?;
            ping(&self.up_host, to, 20)?;
        }
        ping(&self.blue, "198.51.100.1", 20).context("out of blue")?;
        // The router's own addresses there, by their VRF.
        for to in [TO_OURS, TO_OURS6] {
            reach(&self.up_host, to).context("the router in blue")?;
            ping(&self.up_host, to, 20)?;
        }
        for to in ["10.3.0.1", "2001:db8:3::1"] {
            let told = self.pe.json(&format!("explain {to} in up0 --verify"))?;
            ensure!(
                told["outcome"] == "local" && told["egress"] == "bl0" && told["verified"] == true,
                "{told}"
            );
        }
        // By its own route, past the glean, as in its own table.
        let told = self.pe.json("explain 10.3.0.2 in up0 --verify")?;
        let steps = told["steps"].as_array().context("no steps")?;
        ensure!(
            told["outcome"] == "forwarded"
                && told["egress"] == "bl0"
                && told["verified"] == true
                && steps.iter().any(|s| s["prefix"] == "10.3.0.2/32")
                && steps.iter().any(|s| s["what"] == "leak"),
            "{told}"
        );
        Ok(())
    }

    /// Policies change while packets pass: what stays is not taken out, what goes goes, what comes comes.
    fn live(&self, o: &Options) -> Result<()> {
        let marked = "import-global = \"in\"\nexport-global = \"marked\"";
        std::thread::scope(|s| -> Result<()> {
            let there = s.spawn(|| ping(&self.ce_host, TO_UP, 300));
            let back = s.spawn(|| ping(&self.up_host, TO_CE, 300));
            for red in [marked, BOTH, marked] {
                self.apply(&config(&o.flavor, red, Some(BLUE)))?;
            }
            for pings in [there, back] {
                pings.join().map_err(|_| anyhow::anyhow!("a panic"))??;
            }
            Ok(())
        })
        .context("packets, while policies change")?;
        until("it has the mark of its policy", secs(10), || {
            let r = self.pe.json("bgp route 203.0.113.0/24")?;
            Ok(r[0]["communities"] == serde_json::json!(["64512:7"]))
        })?;
        self.apply(&config(&o.flavor, "import-global = \"in\"", Some(BLUE)))?;
        self.up_has("203.0.113.0/24", false)?;
        self.ce_has("198.51.100.0/24", true)?;
        self.apply(&config(&o.flavor, "export-global = \"out\"", Some(BLUE)))?;
        self.up_has("203.0.113.0/24", true)?;
        self.ce_has("198.51.100.0/24", false)?;
        let cut = self.ce_host.finish(&format!("ping -n -c 1 -W 1 {TO_UP}"))?;
        ensure!(!cut.ok(), "red reaches the upstream without a route");
        self.apply(&config(&o.flavor, BOTH, Some(BLUE)))?;
        reach(&self.ce_host, TO_UP)
    }

    /// Either takes its route back, or its session ends.
    fn taken_back(&self) -> Result<()> {
        self.ce
            .cli("global rib del -a ipv4 203.0.113.0/24 nexthop 10.0.1.2")?;
        self.up_has("203.0.113.0/24", false)?;
        self.up.configure(&[
            "router bgp 65100",
            "address-family ipv4 unicast",
            "no network 198.51.100.0/24",
        ])?;
        self.ce_has("198.51.100.0/24", false)?;
        self.ce
            .cli("global rib add -a ipv4 203.0.113.0/24 nexthop 10.0.1.2")?;
        self.up.configure(&[
            "router bgp 65100",
            "address-family ipv4 unicast",
            "network 198.51.100.0/24",
        ])?;
        reach(&self.ce_host, TO_UP)?;
        self.pe.must("bgp neighbor 10.0.1.2 shutdown maintenance")?;
        self.up_has("203.0.113.0/24", false)?;
        self.pe.must("bgp neighbor 10.0.1.2 start")?;
        self.up_has("203.0.113.0/24", true)?;
        let us: IpAddr = "10.8.0.1".parse()?;
        ensure!(self.up.established(us)?, "its session has ended");
        reach(&self.up_host, TO_CE)
    }

    /// A VRF goes, with what has leaked from it, and nothing else.
    fn a_vrf_goes(&self, o: &Options) -> Result<()> {
        self.apply(&config(&o.flavor, BOTH, None))?;
        self.up_has("10.3.0.0/24", false)?;
        self.up_has("2001:db8:3::/64", false)?;
        let cut = self
            .up_host
            .finish(&format!("ping -n -c 1 -W 1 {TO_BLUE}"))?;
        ensure!(!cut.ok(), "blue is reached still");
        ping(&self.up_host, TO_CE, 20)?;
        self.apply(&config(&o.flavor, BOTH, Some(BLUE)))?;
        reach(&self.up_host, TO_BLUE).context("blue is back")
    }
}
