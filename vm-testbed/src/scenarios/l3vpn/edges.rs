//! What a VRF has at its edges: CEs of one AS and one site, policies beside its targets, and ways into and out of the global
//! table. One appliance; GoBGP and FRR are the CEs.
//!
//! ```text
//!   ce1: GoBGP, AS 65001 ─┐
//!                         pe (red, green) ── inside: a host of the global table
//!   ce2: FRR, AS 65001 ───┘└── green: a host
//! ```

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use super::super::{pages, ping, reach};
use super::{best, established};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::peers::{Frr, Gobgp, Speaker};
use crate::suite::Options;

const CE1: &str = "[global.config]\nas = 65001\nrouter-id = \"10.0.1.2\"\nport = 179\nlocal-address-list = [\"10.0.1.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.0.1.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n";
const CE2: &str = "log stdout\nrouter bgp 65001\n bgp router-id 10.0.2.2\n no bgp ebgp-requires-policy\n \
    no bgp network import-check\n neighbor 10.0.2.1 remote-as 64512\n neighbor 10.0.2.1 timers 3 9\n \
    neighbor 10.0.2.1 timers connect 1\n address-family ipv4 unicast\n  network 10.72.0.0/24\n exit-address-family\n";

/// What green takes of what red marks, and red of nobody.
const POLICIES: &str = "[prefix-set]\nsecret = [\"10.71.9.0/24\"]\n\
    [policy.mark]\ndefault = \"accept\"\n[[policy.mark.rule]]\nset = { add-ext-community = [\"target:64512:99\"] }\n\
    action = \"accept\"\n\
    [policy.open]\ndefault = \"accept\"\n[[policy.open.rule]]\nmatch = { prefix-set = \"secret\" }\naction = \"reject\"\n";

/// A CE of red at network `n`; `more` are further lines.
fn ce(n: u8, more: &str) -> String {
    format!(
        "[bgp.neighbor.\"10.0.{n}.2\"]\nvrf = \"red\"\nas = 65001\nimport = \"accept-all\"\nexport = \"accept-all\"\nconnect-retry = 1\n{more}\n"
    )
}

fn config(flavor: &Flavor, first: &str, second: &str) -> Config {
    let red = "vrf = \"red\"";
    flavor
        .config("pe")
        .interface("ce1", "e1", &["10.0.1.1/24"], red)
        .interface("ce2", "e2", &["10.0.2.1/24"], red)
        .interface("in0", "e3", &["10.7.0.1/24"], "")
        .interface("gr0", "e4", &["10.3.0.1/24"], "vrf = \"green\"")
        .section("[vrf.red]\nrd = \"64512:1\"\nimport = [\"target:64512:3\"]\nexport = [\"target:64512:1\"]\nexport-policy = \"mark\"")
        .section("[vrf.green]\nrd = \"64512:3\"\nimport = [\"target:64512:99\"]\nimport-policy = \"open\"\nexport = [\"target:64512:3\"]")
        .section(POLICIES)
        .section("[bgp]\nas = 64512")
        // Never there: the targets above are for other edges, too.
        .section("[bgp.neighbor.\"10.7.0.9\"]\nas = 64512\nfamilies = [\"vpnv4\"]\n")
        .section(&ce(1, first))
        .section(&ce(2, second))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn edges(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("l3vpn-edges")?;
    let pe = lab.router("pe")?;
    let hosts = |name: &str, net: &str| {
        Host::new(name, &[&format!("{net}.2/24")]).gateway(&format!("{net}.1"))
    };
    let first = lab.host(&hosts("ce1", "10.0.1"), &pe, "e1")?;
    let second = lab.host(&hosts("ce2", "10.0.2"), &pe, "e2")?;
    let inside = lab.host(&hosts("inside", "10.7.0"), &pe, "e3")?;
    let green = lab.host(&hosts("green", "10.3.0"), &pe, "e4")?;
    let a = lab.start("pe", &pe, &config(&o.flavor, "", "as-override = true"))?;
    let gobgp = Gobgp::start_text(lab.folder(), "ce1", &first, CE1)?;
    let frr = Frr::start_text(lab.folder(), "ce2", &second, CE2)?;
    until("both CEs have a session", secs(30), || {
        Ok(established(&a, "10.0.1.2")? && established(&a, "10.0.2.2")?)
    })?;
    one_as(&a, &gobgp, &frr)?;
    policies(&a, &gobgp, &green)?;
    let other = config(
        &o.flavor,
        "allowas-in = 1\nsite-of-origin = \"soo:64512:7\"",
        "as-override = true\nsite-of-origin = \"soo:64512:7\"",
    );
    one_site(&a, &gobgp, &frr, &other)?;
    leaks(&a, (&first, &inside))?;
    a.law()?;
    a.stop()
}

/// Two sites of one AS: who overrides it is believed, who does not is taken for a loop.
fn one_as(a: &Appliance, gobgp: &Gobgp, frr: &Frr) -> Result<()> {
    gobgp.cli("global rib add -a ipv4 10.71.0.0/24 nexthop 10.0.1.2")?;
    until(
        "FRR takes a route of its own AS, which is ours by now",
        secs(10),
        || {
            let paths = frr.paths("10.71.0.0/24")?;
            Ok(paths.iter().any(|p| p.path == "64512 64512"))
        },
    )
    .with_context(|| frr.shown("10.71.0.0/24").unwrap_or_default())?;
    // The other is told with the path as it is, and drops it.
    until("the way back is told", secs(10), || {
        let told = a.json("bgp route 10.72.0.0/24 advertised 10.0.1.2")?;
        Ok(told[0]["as_path"] == "64512 65001")
    })?;
    let text = gobgp.cli("global rib -a ipv4")?;
    ensure!(
        !text.contains("10.72.0.0/24"),
        "GoBGP takes its own AS: {text}"
    );
    // Our own AS in a CE's path is a loop, as long as nobody says otherwise.
    gobgp.cli("global rib add -a ipv4 10.73.0.0/24 aspath 65009,64512 nexthop 10.0.1.2")?;
    until("a path with our AS is not used", secs(10), || {
        let r = a.json("bgp route 10.73.0.0/24 vrf red")?;
        let why = r[0]["problem"].as_str().unwrap_or_default();
        Ok(r[0]["best"] == false && why.contains("our own AS"))
    })
}

/// Red's policy marks what it tells, green's keeps one prefix out.
fn policies(a: &Appliance, gobgp: &Gobgp, green: &Netns) -> Result<()> {
    gobgp.cli("global rib add -a ipv4 10.71.9.0/24 nexthop 10.0.1.2")?;
    until("green has what red has marked", secs(10), || {
        Ok(
            best(a, "green", "10.71.0.0/24")?.is_some()
                && best(a, "red", "10.71.9.0/24")?.is_some(),
        )
    })?;
    let told = a.json("bgp route 10.71.9.0/24 family vpnv4")?;
    let both = serde_json::json!(["target:64512:1", "target:64512:99"]);
    ensure!(told[0]["ext_communities"] == both, "{told}");
    ensure!(
        best(a, "green", "10.71.9.0/24")?.is_none(),
        "green's policy lets it in"
    );
    // Red's own subnet has come that way, too, and green's is imported by red.
    reach(green, "10.0.1.2")
}

/// One site with two CEs: what the one has told does not go back by the other. Our own AS may be in a path by now.
fn one_site(a: &Appliance, gobgp: &Gobgp, frr: &Frr, other: &Config) -> Result<()> {
    let file = a.config().with_extension("other");
    std::fs::write(&file, other.text())?;
    a.must(&format!("config apply {}", file.display()))?;
    let us: IpAddr = "10.0.2.1".parse()?;
    until("both are back", secs(30), || {
        Ok(established(a, "10.0.1.2")? && established(a, "10.0.2.2")? && frr.established(us)?)
    })?;
    until("the path with our AS is used", secs(20), || {
        let r = best(a, "red", "10.73.0.0/24")?;
        Ok(r.is_some_and(|r| r["as_path"] == "65001 65009 64512"))
    })
    .with_context(|| gobgp.cli("neighbor").unwrap_or_default())?;
    until("its routes have their site", secs(20), || {
        let r = best(a, "red", "10.71.0.0/24")?;
        let soo = serde_json::json!(["soo:64512:7"]);
        Ok(r.is_some_and(|r| r["ext_communities"] == soo))
    })?;
    until("FRR has green's route", secs(20), || {
        Ok(!frr.paths("10.3.0.0/24")?.is_empty())
    })?;
    ensure!(
        frr.paths("10.71.0.0/24")?.is_empty(),
        "it has a route of its own site: {}",
        frr.shown("10.71.0.0/24")?
    );
    let told = a.json("bgp route 10.71.0.0/24 advertised 10.0.2.2")?;
    ensure!(told == serde_json::json!([]), "{told}");
    Ok(())
}

/// Static routes whose next hops are in another table: out of red, into it, and no farther.
fn leaks(a: &Appliance, (red, inside): (&Netns, &Netns)) -> Result<()> {
    let cut = red.finish("ping -n -c 1 -W 1 10.7.0.2")?;
    ensure!(!cut.ok(), "red reaches the global table");
    a.must("route add 10.7.0.2/32 via 10.7.0.2 vrf red via-table global")?;
    a.must("route add 10.0.1.2/32 via 10.0.1.2 via-table red")?;
    reach(red, "10.7.0.2").context("out of red")?;
    ping(red, "10.7.0.2", 10)?;
    ping(inside, "10.0.1.2", 10).context("into red")?;
    let shown = a.json("route show 10.7.0.2/32 vrf red")?;
    ensure!(
        shown[0]["via"][0]["table"] == "global" && shown[0]["installed"] == true,
        "{shown}"
    );
    let shown = a.json("route show 10.0.1.2/32")?;
    ensure!(shown[0]["via"][0]["table"] == "red", "{shown}");
    let stray = inside.finish("ping -n -c 1 -W 1 10.0.2.2")?;
    ensure!(!stray.ok(), "what has not leaked is reached");
    // It is a static route of red, and told as one.
    until("it goes to others", secs(10), || {
        let told = a.json("bgp route 10.7.0.2/32 family vpnv4")?;
        Ok(told[0]["rd"] == "64512:1")
    })?;
    a.must("route del 10.7.0.2/32 vrf red")?;
    let cut = red.finish("ping -n -c 1 -W 1 10.7.0.2")?;
    ensure!(!cut.ok(), "red reaches the global table still");
    a.must("route del 10.0.1.2/32")?;
    Ok(())
}
