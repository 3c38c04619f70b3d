//! L3VPNs by BGP (RFC 4364, RFC 4659): two PEs of ours, two customers with the same addresses, and GoBGP as a third PE and as a
//! CE. GoBGP has VRFs and labels in software alone, so that the kernel needs neither; what it believes is asserted in its own
//! words, and what is on the core in tcpdump's.
//!
//! ```text
//!   red1 ─┐                        ┌─ red2
//!         pe1 ──── core ────────── pe2
//!  blue1 ─┤│                       └─ blue2
//!  green ─┘└── gobgp: a PE in the same AS
//! ```

pub mod edges;
pub mod global;
pub mod hostile;
pub mod inter_as;
pub mod label_lost;
pub mod refusals;
pub mod targets;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::vrf::{VRFS, apart, customer, host};
use super::{pages, ping, reach};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Driver, Flavor, Host, Lab, Netns};
use crate::peers::Gobgp;
use crate::suite::Options;

/// The neighbours of an edge in the core, and its own address there.
fn core(n: u8) -> String {
    let other = 3 - n;
    format!(
        "[bgp]\nas = 64512\n[bgp.neighbor.\"192.0.2.{other}\"]\nas = 64512\nfamilies = [\"vpnv4\", \"vpnv6\"]\n\
         source-address = \"192.0.2.{n}\"\nconnect-retry = 1\n"
    )
}

/// A provider edge: customers, the core with a label to the other edge, and BGP instead of all that `l3vpn/static` writes down.
fn edge(flavor: &Flavor, n: u8) -> crate::lab::Config {
    let other = 3 - n;
    let mut c = flavor
        .config(&format!("pe{n}"))
        .router_id(&format!("192.0.2.{n}"));
    for (vrf, _) in VRFS {
        c = customer(c, vrf, n);
    }
    let own = format!("192.0.2.{n}/32");
    let link = [format!("10.1.0.{n}/24"), own];
    c = c
        .interface("core0", "core", &[&link[0], &link[1]], "mpls = true")
        .route(
            &format!("192.0.2.{other}/32"),
            &format!("10.1.0.{other}"),
            "label = [100]",
        )
        .section("[[label]]\nin = 100\naction = \"pop\"");
    for (i, (vrf, _)) in VRFS.iter().enumerate() {
        // Another distinguisher on each edge, the same targets.
        let mut import = format!("\"target:64512:{i}\"");
        if n == 1 && i == 0 {
            import += ", \"target:64512:77\"";
        }
        c = c.section(&format!(
            "[vrf.{vrf}]\nrd = \"192.0.2.{n}:{i}\"\nimport = [{import}]\nexport = [\"target:64512:{i}\"]"
        ));
    }
    c
}

pub(super) fn established(a: &Appliance, neighbor: &str) -> Result<bool> {
    let all = a.json("bgp summary")?;
    let mut all = all.as_array().into_iter().flatten();
    Ok(all.any(|n| n["address"] == neighbor && n["state"] == "Established"))
}

/// The best route of a VRF.
fn best(a: &Appliance, vrf: &str, prefix: &str) -> Result<Option<Value>> {
    let all = a.json(&format!("bgp route {prefix} vrf {vrf}"))?;
    let mut all = all.as_array().context("no array")?.iter();
    Ok(all.find(|r| r["best"] == true).cloned())
}

/// GoBGP in the AS of the edges, with VPN families.
const PE: &str = "[global.config]\nas = 64512\nrouter-id = \"192.0.2.9\"\nport = 179\nlocal-address-list = [\"10.9.0.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.9.0.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l3vpn-ipv4-unicast\"\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l3vpn-ipv6-unicast\"\n";

/// GoBGP as the CE of red's first site.
const CE: &str = "[global.config]\nas = 65001\nrouter-id = \"10.0.1.2\"\nport = 179\nlocal-address-list = [\"10.0.1.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.0.1.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n";

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn bgp(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("l3vpn-bgp")?;
    let (pe1, pe2) = (lab.router("pe1")?, lab.router("pe2")?);
    lab.join((&pe1, "core"), (&pe2, "core"))?;
    let mut hosts = vec![];
    for (vrf, only) in VRFS {
        let near = lab.host(&host(vrf, 1, only), &pe1, &format!("{vrf}-1"))?;
        let far = lab.host(&host(vrf, 2, only), &pe2, &format!("{vrf}-2"))?;
        hosts.push((near, far));
    }
    let third = lab.host(&Host::new("gobgp", &["10.9.0.2/24"]), &pe1, "third")?;
    let green = Host::new("green", &["10.3.0.2/24"]).gateway("10.3.0.1");
    let green = lab.host(&green, &pe1, "green")?;
    let first = edge(&o.flavor, 1)
        .interface("third0", "third", &["10.9.0.1/24"], "mpls = true")
        .interface("green0", "green", &["10.3.0.1/24"], "vrf = \"green\"")
        // Red and green have each other's routes, in this router alone.
        .section("[vrf.green]\nrd = \"192.0.2.1:77\"\nimport = [\"target:64512:0\", \"target:64512:404\"]\nexport = [\"target:64512:77\"]")
        .section(&core(1))
        .section("[bgp.neighbor.\"10.9.0.2\"]\nas = 64512\nfamilies = [\"vpnv4\", \"vpnv6\"]\nconnect-retry = 1\n")
        .section(
            "[bgp.neighbor.\"10.0.1.2\"]\nvrf = \"red\"\nas = 65001\nimport = \"accept-all\"\nexport = \"accept-all\"\n\
             connect-retry = 1\nsite-of-origin = \"soo:64512:1\"\n",
        );
    let second = edge(&o.flavor, 2).section(&core(2));
    let a = lab.start("pe1", &pe1, &first)?;
    let b = lab.start("pe2", &pe2, &second)?;
    until("the edges have a session", secs(30), || {
        Ok(established(&a, "192.0.2.2")? && established(&b, "192.0.2.1")?)
    })?;
    apart(&hosts, 20)?;
    labels(o, (&a, &b), (&pe2, &hosts[0].0))?;
    leaks(&a, &green, &hosts)?;
    let pe = Gobgp::start_text(lab.folder(), "pe", &third, PE)?;
    third_pe(o, &a, &pe, (&third, &hosts[0].0))?;
    let ce = Gobgp::start_text(lab.folder(), "ce", &hosts[0].0, CE)?;
    customer_edge((&a, &b), &ce)?;
    changes(&a, &b, &hosts)?;
    for r in [a, b] {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// The label is the far edge's, of the VRF; in the tables of both, and on the wire under the one that leads there.
fn labels(
    o: &Options,
    (a, b): (&Appliance, &Appliance),
    (core, near): (&Netns, &Netns),
) -> Result<()> {
    let shown = b.json("vrf show red")?;
    let label = shown[0]["label"][0].as_u64().context("red has no label")?;
    let one = b.json(&format!("label show {label}"))?;
    ensure!(
        one[0]["owner"] == "vpn" && one[0]["fec"] == "vrf red" && one[0]["vrf"] == "red",
        "{one}"
    );
    let route = a.json("bgp route 10.0.2.0/24 family vpnv4")?;
    let mut all = route.as_array().into_iter().flatten();
    let red = all
        .find(|r| r["rd"] == "192.0.2.2:0")
        .context("no route of red")?;
    ensure!(
        red["label"][0] == label
            && red["next_hop"] == "192.0.2.2"
            && red["ext_communities"][0] == "target:64512:0",
        "{red}"
    );
    let used = a.json("route show 10.0.2.0/24 vrf red")?;
    ensure!(
        used[0]["protocol"] == "bgp" && used[0]["installed"] == true,
        "{used}"
    );
    if o.flavor.driver == Driver::AfPacket {
        let inner = format!("label {label}, tc 0, [S]");
        let words = ["MPLS (label 100, tc 0, ttl", &inner, "ICMP echo re"];
        let ping = || near.finish("ping -n -c 1 -W 1 10.0.2.2").map(drop);
        seen((core, "core"), "mpls 100", &words, ping)?;
        let ping6 = || near.finish("ping -n -c 1 -W 1 2001:db8:2::2").map(drop);
        let words = ["MPLS (label 100, tc 0, ttl", &inner, "ICMP6, echo re"];
        seen((core, "core"), "mpls 100 and mpls and ip6", &words, ping6)
            .or_else(|_| seen((core, "core"), "mpls 100", &words, ping6))?;
    }
    Ok(())
}

/// What VRFs of one router import of each other needs no session; what is imported is not told on.
fn leaks(a: &Appliance, green: &Netns, hosts: &[(Netns, Netns)]) -> Result<()> {
    reach(green, "10.0.1.2").context("green to red, in one router")?;
    ping(green, "10.0.1.2", 5)?;
    let stray = green.finish("ping -n -c 1 -W 1 10.0.1.88")?;
    ensure!(!stray.ok(), "green reaches what is blue's");
    let back = hosts[0].0.finish("ping -n -c 1 -W 1 10.3.0.2")?;
    ensure!(back.ok(), "red does not reach green");
    // From the other edge green is not imported by red, so nobody there answers it.
    let told = a.json("bgp route 10.3.0.0/24 family vpnv4")?;
    let all: Vec<&Value> = told.as_array().into_iter().flatten().collect();
    ensure!(
        all.len() == 1 && all[0]["rd"] == "192.0.2.1:77",
        "green's own route is told once, by green: {told}"
    );
    let shown = a.json("vrf show green")?;
    ensure!(
        shown[0]["unmatched_import"] == serde_json::json!(["target:64512:404"]),
        "{shown}"
    );
    let text = a.must("vrf show green")?;
    ensure!(text.contains("nothing has target:64512:404"), "{text}");
    Ok(())
}

/// GoBGP's routes come in with its labels, and it has ours with ours.
fn third_pe(o: &Options, a: &Appliance, pe: &Gobgp, (third, near): (&Netns, &Netns)) -> Result<()> {
    until("the session with GoBGP is up", secs(30), || {
        established(a, "10.9.0.2")
    })?;
    pe.cli(
        "global rib add -a vpnv4 10.50.0.0/24 label 777 rd 64512:50 rt 64512:0 nexthop 10.9.0.2",
    )?;
    pe.cli(
        "global rib add -a vpnv4 10.51.0.0/24 label 778 rd 64512:50 rt 64512:9 nexthop 10.9.0.2",
    )?;
    until("GoBGP's route is in red", secs(10), || {
        let r = best(a, "red", "10.50.0.0/24")?;
        Ok(r.is_some_and(|r| r["label"][0] == 777 && r["next_hop"] == "10.9.0.2"))
    })?;
    for vrf in ["red", "blue", "green"] {
        ensure!(
            best(a, vrf, "10.51.0.0/24")?.is_none(),
            "{vrf} has a route of a target that it does not import"
        );
    }
    let known = a.json("bgp route 10.51.0.0/24 family vpnv4")?;
    ensure!(known[0]["rd"] == "64512:50", "{known}");
    ensure!(
        best(a, "blue", "10.50.0.0/24")?.is_none(),
        "blue has it too"
    );
    if o.flavor.driver == Driver::AfPacket {
        let ping = || near.finish("ping -n -c 1 -W 1 10.50.0.9").map(drop);
        let words = ["MPLS (label 777, tc 0, [S], ttl 63)", "ICMP echo request"];
        seen((third, "eth0"), "mpls", &words, ping)?;
    }
    let label = a.json("vrf show red")?[0]["label"][0].to_string();
    until("GoBGP has ours, with label and target", secs(10), || {
        let text = pe.cli("global rib -a vpnv4")?;
        let has = |l: &&str| {
            l.contains("192.0.2.1:0:10.0.1.0/24") && l.contains("10.9.0.1") && l.contains("64512:0")
        };
        let line = text.lines().find(has);
        Ok(line.is_some_and(|l| l.contains(&label)))
    })
    .with_context(|| pe.cli("global rib -a vpnv4").unwrap_or_default())?;
    until("of IPv6 too", secs(10), || {
        Ok(pe
            .cli("global rib -a vpnv6")?
            .contains("192.0.2.1:0:2001:db8:1::/64"))
    })
    .with_context(|| pe.cli("global rib -a vpnv6").unwrap_or_default())?;
    pe.cli(
        "global rib del -a vpnv4 10.50.0.0/24 label 777 rd 64512:50 rt 64512:0 nexthop 10.9.0.2",
    )?;
    until("a withdrawn route goes", secs(10), || {
        Ok(best(a, "red", "10.50.0.0/24")?.is_none())
    })
}

/// A CE: a session in its VRF, its routes go to the other edge, and it has the other site's.
fn customer_edge((a, b): (&Appliance, &Appliance), ce: &Gobgp) -> Result<()> {
    until("the session with the CE is up", secs(30), || {
        established(a, "10.0.1.2")
    })?;
    ce.cli("global rib add -a ipv4 10.77.0.0/24 nexthop 10.0.1.2")?;
    until(
        "the CE's route is in red at the other edge",
        secs(10),
        || {
            let r = best(b, "red", "10.77.0.0/24")?;
            Ok(r.is_some_and(|r| {
                let soo = serde_json::json!("soo:64512:1");
                let all = r["ext_communities"].as_array();
                r["as_path"] == "65001" && all.is_some_and(|c| c.contains(&soo))
            }))
        },
    )?;
    ensure!(
        best(b, "blue", "10.77.0.0/24")?.is_none(),
        "blue has it too"
    );
    until(
        "the CE has the other site's route, and none of blue",
        secs(10),
        || {
            let text = ce.cli("global rib -a ipv4")?;
            Ok(text.contains("10.0.2.0/24") && !text.contains("target"))
        },
    )
    .with_context(|| ce.cli("global rib -a ipv4").unwrap_or_default())?;
    ce.cli("global rib del -a ipv4 10.77.0.0/24 nexthop 10.0.1.2")?;
    until("what the CE takes back goes everywhere", secs(10), || {
        Ok(best(b, "red", "10.77.0.0/24")?.is_none())
    })
}

/// A session goes and comes, a target is taken out and put back: exactly what hangs on it is cut.
fn changes(a: &Appliance, b: &Appliance, hosts: &[(Netns, Netns)]) -> Result<()> {
    b.must("bgp neighbor 192.0.2.1 shutdown maintenance")?;
    until("red is cut without the session", secs(10), || {
        Ok(best(a, "red", "10.0.2.0/24")?.is_none())
    })?;
    b.must("bgp neighbor 192.0.2.1 start")?;
    apart(hosts, 5)?;
    let text = std::fs::read_to_string(b.config())?;
    let file = b.config().with_extension("other");
    let other = text.replacen(
        "import = [\"target:64512:0\"]",
        "import = [\"target:64512:5\"]",
        1,
    );
    ensure!(other != text, "no such line in {text}");
    std::fs::write(&file, &other)?;
    b.must(&format!("config apply {}", file.display()))?;
    until(
        "red's other edge takes its routes no more",
        secs(10),
        || Ok(best(b, "red", "10.0.1.0/24")?.is_none()),
    )?;
    ping(&hosts[1].0, "10.0.2.2", 5).context("blue, meanwhile")?;
    std::fs::write(&file, &text)?;
    b.must(&format!("config apply {}", file.display()))?;
    apart(hosts, 5)
}
