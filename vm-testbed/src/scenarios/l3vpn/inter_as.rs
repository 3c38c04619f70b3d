//! VPNs over two ASes (RFC 4364 10): two customers with a site in each, and border routers that either have a VRF and a VLAN for
//! each customer (a), or none at all and swap labels (b). All four routers are ours; GoBGP and FRR are borders of third ASes,
//! which have VPN routes and labels in software alone.
//!
//! ```text
//!   red1 ─┐           AS 64512         AS 64513            ┌─ red2
//!         pe1 ──── asbr1 ──────────────── asbr2 ──── pe2 ──┤
//!  blue1 ─┘          │ └ GoBGP, AS 64514                   └─ blue2
//!                    └── FRR, AS 64515
//! ```

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::super::vrf::{VRFS, apart, customer, host};
use super::super::{pages, ping};
use super::{best, established};
use crate::frame::{Ip4, Lse, MPLS, eth, labelled};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, secs, until};
use crate::lab::wire::Wire;
use crate::lab::{Appliance, Config, Driver, Flavor, Host, Lab, Netns};
use crate::peers::{Frr, Gobgp, Speaker};
use crate::scenarios::ldp::mac;
use crate::suite::Options;

/// The VRFs, as an edge and a border of AS `n` have them. A border has other distinguishers than its edge.
fn vrfs(c: Config, router: u8) -> Config {
    VRFS.iter().enumerate().fold(c, |c, (i, (vrf, _))| {
        c.section(&format!(
            "[vrf.{vrf}]\nrd = \"192.0.2.{router}:{i}\"\nimport = [\"target:64512:{i}\"]\nexport = [\"target:64512:{i}\"]"
        ))
    })
}

/// A neighbour of the same AS, with VPN routes.
fn internal(n: u8, address: &str, more: &str) -> String {
    format!(
        "[bgp.neighbor.\"{address}\"]\nas = {}\nfamilies = [\"vpnv4\", \"vpnv6\"]\nconnect-retry = 1\n{more}",
        asn(n)
    )
}

/// The AS at that end.
fn asn(n: u8) -> u32 {
    64511 + u32::from(n)
}

/// The edge of AS `n`.
fn edge(flavor: &Flavor, n: u8) -> Config {
    let mut c = flavor
        .config(&format!("pe{n}"))
        .router_id(&format!("192.0.2.{n}"));
    for (vrf, _) in VRFS {
        c = customer(c, vrf, n);
    }
    let c = c.interface("core0", "core", &[&format!("10.1.{n}.1/24")], "mpls = true");
    let bgp = internal(n, &format!("10.1.{n}.2"), "");
    vrfs(c, n).section(&format!("[bgp]\nas = {}\n{bgp}", asn(n)))
}

/// The border of AS `n`, as far as it is the same in both ways.
fn border(flavor: &Flavor, n: u8) -> Config {
    flavor
        .config(&format!("asbr{n}"))
        .router_id(&format!("192.0.2.1{n}"))
        .interface("core0", "core", &[&format!("10.1.{n}.2/24")], "mpls = true")
}

/// Four routers in a row, two customers at each end.
pub(in crate::scenarios) struct Row {
    pub(in crate::scenarios) lab: Lab,
    /// pe1, asbr1, asbr2, pe2.
    pub(in crate::scenarios) spaces: [Netns; 4],
    pub(in crate::scenarios) hosts: Vec<(Netns, Netns)>,
}

impl Row {
    pub(in crate::scenarios) fn new(name: &str) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let mut router = |name| lab.router(name);
        let spaces = [
            router("pe1")?,
            router("asbr1")?,
            router("asbr2")?,
            router("pe2")?,
        ];
        let [pe1, asbr1, asbr2, pe2] = &spaces;
        lab.join((pe1, "core"), (asbr1, "core"))?;
        lab.join((asbr1, "border"), (asbr2, "border"))?;
        lab.join((asbr2, "core"), (pe2, "core"))?;
        let mut hosts = vec![];
        for (vrf, only) in VRFS {
            let near = lab.host(&host(vrf, 1, only), pe1, &format!("{vrf}-1"))?;
            let far = lab.host(&host(vrf, 2, only), pe2, &format!("{vrf}-2"))?;
            hosts.push((near, far));
        }
        Ok(Self { lab, spaces, hosts })
    }

    /// Starts them; the borders by these.
    pub(in crate::scenarios) fn start(
        &self,
        o: &Options,
        borders: [Config; 2],
    ) -> Result<[Appliance; 4]> {
        let [first, second] = borders;
        let start = |at: usize, name: &str, c: &Config| self.lab.start(name, &self.spaces[at], c);
        Ok([
            start(0, "pe1", &edge(&o.flavor, 1))?,
            start(1, "asbr1", &first)?,
            start(2, "asbr2", &second)?,
            start(3, "pe2", &edge(&o.flavor, 2))?,
        ])
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn a(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 4)?;
    let row = Row::new("inter-as-a")?;
    let borders = [1, 2].map(|n| back_to_back(&o.flavor, n));
    let all = row.start(o, borders)?;
    let [pe1, asbr1, asbr2, pe2] = &all;
    until("the borders have a session in each VRF", secs(30), || {
        Ok(established(asbr1, "10.12.0.2%border0.100")?
            && established(asbr1, "10.12.0.2%border0.101")?)
    })?;
    apart(&row.hosts, 10)?;
    // The other AS is in the path, and nothing of VPNs crosses the border.
    let red = best(pe1, "red", "10.0.2.0/24")?.context("no route")?;
    ensure!(red["as_path"] == "64513", "{red}");
    let told = asbr2.json("bgp route 10.0.2.0/24 vrf red")?;
    ensure!(told[0]["next_hop"] == "10.1.2.1", "{told}");
    if o.flavor.driver == Driver::AfPacket {
        let ping = || (row.hosts[0].0.finish("ping -n -c 1 -W 1 10.0.2.2")).map(drop);
        let words = ["IP 10.0.1.2 > 10.0.2.2: ICMP echo request"];
        let border = (&row.spaces[2], "border");
        seen(border, "vlan 100 and src 10.0.1.2", &words, ping)?;
    }
    // One customer's session goes: the other's packets pass.
    asbr2.must("bgp neighbor 10.12.0.1%border0.100 shutdown maintenance")?;
    until("red is cut", secs(10), || {
        Ok(best(pe1, "red", "10.0.2.0/24")?.is_none())
    })?;
    ping(&row.hosts[1].0, "10.0.2.2", 5).context("blue, meanwhile")?;
    asbr2.must("bgp neighbor 10.12.0.1%border0.100 start")?;
    apart(&row.hosts, 5)?;
    ensure!(best(pe2, "red", "10.0.1.0/24")?.is_some(), "no way back");
    end(all)
}

/// The border of AS `n` with a VRF, a VLAN and a session for each customer, which have the same addresses.
fn back_to_back(flavor: &Flavor, n: u8) -> Config {
    let mut c = vrfs(border(flavor, n), 10 + n).interface("border0", "border", &[], "");
    let other = 3 - n;
    let mut bgp = format!("[bgp]\nas = {}\n", asn(n));
    bgp += &internal(n, &format!("10.1.{n}.1"), "");
    for (i, (vrf, _)) in VRFS.iter().enumerate() {
        let name = format!("border0.10{i}");
        let ours = [format!("10.12.0.{n}/24"), format!("2001:db8:12::{n}/64")];
        let more = format!("vrf = \"{vrf}\"");
        c = c.interface_on(&name, "", &[&ours[0], &ours[1]], &more);
        bgp += &format!(
            "[bgp.neighbor.\"10.12.0.{other}%{name}\"]\nvrf = \"{vrf}\"\nas = {}\nimport = \"accept-all\"\nexport = \"accept-all\"\n\
             families = [\"ipv4-unicast\", \"ipv6-unicast\"]\nconnect-retry = 1\n",
            asn(other)
        );
    }
    c.section(&bgp)
}

/// The border of AS `n` that has no VRF: VPN routes come and go, with labels of its own. It has these neighbours more.
pub(in crate::scenarios) fn swapping(flavor: &Flavor, n: u8, more: &[&str]) -> Config {
    let other = 3 - n;
    let mut c = border(flavor, n)
        .interface(
            "border0",
            "border",
            &[&format!("10.12.0.{n}/24")],
            "mpls = true",
        )
        .section(&format!("[label-range]\ndynamic = \"{n}7000-{n}7999\"\n"));
    let mut bgp = format!("[bgp]\nas = {}\n", asn(n));
    bgp += &internal(n, &format!("10.1.{n}.1"), "next-hop-self = true\n");
    let mut outside = vec![(format!("10.12.0.{other}"), asn(other))];
    for (i, name) in more.iter().enumerate() {
        let at = format!("10.9.{i}.1/24");
        c = c.interface(&format!("{name}0"), name, &[&at], "mpls = true");
        outside.push((format!("10.9.{i}.2"), 64514 + i as u32));
    }
    for (address, asn) in outside {
        bgp += &format!(
            "[bgp.neighbor.\"{address}\"]\nas = {asn}\nfamilies = [\"vpnv4\", \"vpnv6\"]\nimport = \"accept-all\"\n\
             export = \"accept-all\"\nconnect-retry = 1\n"
        );
    }
    c.section(&bgp)
}

/// GoBGP at the border of a third AS.
const THIRD: &str = "[global.config]\nas = 64514\nrouter-id = \"192.0.2.99\"\nport = 179\nlocal-address-list = [\"10.9.0.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.9.0.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l3vpn-ipv4-unicast\"\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"l3vpn-ipv6-unicast\"\n";

/// FRR at that of a fourth.
const FOURTH: &str = "log stdout\nrouter bgp 64515\n bgp router-id 192.0.2.98\n no bgp ebgp-requires-policy\n \
    no bgp default ipv4-unicast\n neighbor 10.9.1.1 remote-as 64512\n neighbor 10.9.1.1 timers 3 9\n \
    neighbor 10.9.1.1 timers connect 1\n address-family ipv4 vpn\n  neighbor 10.9.1.1 activate\n exit-address-family\n \
    address-family ipv6 vpn\n  neighbor 10.9.1.1 activate\n exit-address-family\n";

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn b(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 4)?;
    let mut row = Row::new("inter-as-b")?;
    let asbr1 = row.spaces[1].clone();
    let third = row
        .lab
        .host(&Host::new("third", &["10.9.0.2/24"]), &asbr1, "gobgp")?;
    let fourth = row
        .lab
        .host(&Host::new("fourth", &["10.9.1.2/24"]), &asbr1, "frr")?;
    let borders = [
        swapping(&o.flavor, 1, &["gobgp", "frr"]),
        swapping(&o.flavor, 2, &[]),
    ];
    let all = row.start(o, borders)?;
    let [pe1, asbr1, asbr2, pe2] = &all;
    until("the borders have a session", secs(30), || {
        Ok(established(asbr1, "10.12.0.2")? && established(asbr2, "10.12.0.1")?)
    })?;
    apart(&row.hosts, 10)?;
    for border in [asbr1, asbr2] {
        let vrfs = border.json("vrf show")?;
        ensure!(vrfs == serde_json::json!([]), "a border has VRFs: {vrfs}");
    }
    swapped(o, &row, (pe1, asbr1, asbr2))?;
    let gobgp = Gobgp::start_text(row.lab.folder(), "third", &third, THIRD)?;
    let frr = Frr::start_text(row.lab.folder(), "fourth", &fourth, FOURTH)?;
    others(o, (pe1, asbr1), &gobgp, &frr, &third)?;
    // A session goes: all that came by it, and labels with it; the other end has a way no more.
    asbr2.must("bgp neighbor 10.12.0.1 shutdown maintenance")?;
    until("red is cut", secs(10), || {
        Ok(
            best(pe1, "red", "10.0.2.0/24")?.is_none()
                && best(pe2, "red", "10.0.1.0/24")?.is_none(),
        )
    })?;
    until("labels of what is gone are", secs(10), || {
        let rows = asbr1.json("label show")?;
        let mut rows = rows.as_array().into_iter().flatten();
        Ok(!rows.any(|r| {
            r["fec"]
                .as_str()
                .is_some_and(|f| f.contains("rd 192.0.2.2:"))
        }))
    })?;
    asbr2.must("bgp neighbor 10.12.0.1 start")?;
    apart(&row.hosts, 5)?;
    end(all)
}

/// A VPN route in the table of that router: of the far red site.
pub(in crate::scenarios) fn far(a: &Appliance) -> Result<Value> {
    let all = a.json("bgp route 10.0.2.0/24 family vpnv4")?;
    let mut all = all.as_array().into_iter().flatten();
    let red = all.find(|r| r["rd"] == "192.0.2.2:0").cloned();
    red.with_context(|| format!("no route of red's far site: {all:?}"))
}

/// Each router has the label of the next one, and the border swaps one for the other: on the wire there is one label.
fn swapped(
    o: &Options,
    row: &Row,
    (pe1, asbr1, asbr2): (&Appliance, &Appliance, &Appliance),
) -> Result<()> {
    let [at_pe, first, second] = [far(pe1)?, far(asbr1)?, far(asbr2)?];
    ensure!(
        at_pe["label"][0] == first["local_label"] && at_pe["next_hop"] == "10.1.1.2",
        "{at_pe} {first}"
    );
    ensure!(
        first["label"][0] == second["local_label"] && first["next_hop"] == "10.12.0.2",
        "{first} {second}"
    );
    let label = first["local_label"].as_u64().context("no label")?;
    ensure!((17000..18000).contains(&label), "{first}");
    let rows = asbr1.json(&format!("label show {label}"))?;
    ensure!(
        rows[0]["owner"] == "vpn"
            && rows[0]["fec"] == "10.0.2.0/24 rd 192.0.2.2:0"
            && rows[0]["action"] == "swap",
        "{rows}"
    );
    ensure!(
        first["as_path"] == "64513" && first["ext_communities"][0] == "target:64512:0",
        "{first}"
    );
    if o.flavor.driver == Driver::AfPacket {
        // Frames are seen where they come in.
        let (near, [_, first_in, next_in, _]) = (&row.hosts[0].0, &row.spaces);
        let ping = || near.finish("ping -n -c 1 -W 1 10.0.2.2").map(drop);
        let in_ = format!("label {label}, tc 0, [S], ttl 63");
        let words = [in_.as_str(), "ICMP echo request"];
        seen((first_in, "core"), &format!("mpls {label}"), &words, ping)?;
        let on = format!("label {}, tc 0, [S], ttl 62", second["local_label"]);
        let filter = format!("mpls {}", second["local_label"]);
        seen(
            (next_in, "border"),
            &filter,
            &[&on, "ICMP echo request"],
            ping,
        )?;
    }
    Ok(())
}

/// What other implementations tell and are told.
fn others(
    o: &Options,
    (pe1, asbr1): (&Appliance, &Appliance),
    gobgp: &Gobgp,
    frr: &Frr,
    third: &Netns,
) -> Result<()> {
    let us: IpAddr = "10.9.1.1".parse()?;
    until("both are there", secs(30), || {
        Ok(established(asbr1, "10.9.0.2")? && frr.established(us)?)
    })?;
    let label = far(asbr1)?["local_label"].to_string();
    until("GoBGP has red's far site with our label", secs(10), || {
        let text = gobgp.cli("global rib -a vpnv4")?;
        let mut lines = text.lines();
        let is = |l: &str| l.contains("192.0.2.2:0:10.0.2.0/24") && l.contains("10.9.0.1");
        let line = lines.find(|l| is(l));
        Ok(line.is_some_and(|l| l.contains(&label) && l.contains("64512 64513")))
    })
    .with_context(|| gobgp.cli("global rib -a vpnv4").unwrap_or_default())?;
    let shown = || frr.cli("show bgp ipv4 vpn 10.0.2.0/24");
    until("FRR has it so", secs(10), || {
        let text = shown()?;
        let words = ["192.0.2.2:0", "64512 64513", "10.9.1.1", "RT:64512:0"];
        let remote = format!("Remote label: {label}");
        Ok(words.iter().all(|w| text.contains(w)) && text.contains(&remote))
    })
    .with_context(|| shown().unwrap_or_default())?;
    let add =
        "global rib add -a vpnv4 10.60.0.0/24 label 888 rd 64514:1 rt 64512:0 nexthop 10.9.0.2";
    gobgp.cli(add)?;
    let ours = eventually(
        "GoBGP's route is in red, by a label of the border",
        secs(10),
        || {
            let r = best(pe1, "red", "10.60.0.0/24")?;
            let r = r.filter(|r| r["next_hop"] == "10.1.1.2" && r["as_path"] == "64514");
            Ok(r.and_then(|r| r["label"][0].as_u64()))
        },
    )?;
    ensure!((17000..18000).contains(&ours), "{ours}");
    if o.flavor.driver == Driver::AfPacket {
        // A packet by that label comes to GoBGP's border with its own.
        let packet = Ip4::udp("10.0.1.2", "10.60.0.9", 30).bytes();
        let frame = labelled(&[Lse::new(u32::try_from(ours)?).ttl(40)], &packet);
        let near = pe1.ns();
        let (to, from) = (mac(asbr1.ns(), "core0")?, mac(near, "core0")?);
        let wire = Wire::open(near, "core")?;
        seen(
            (third, "eth0"),
            "mpls",
            &["label 888, tc 0, [S], ttl 39", "UDP"],
            || wire.send(&eth(to, from, MPLS, &frame)),
        )?;
    }
    gobgp.cli(&add.replace(" add ", " del "))?;
    until("a withdrawn route goes", secs(10), || {
        Ok(best(pe1, "red", "10.60.0.0/24")?.is_none())
    })
}

pub(in crate::scenarios) fn end(all: [Appliance; 4]) -> Result<()> {
    for r in all {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}
