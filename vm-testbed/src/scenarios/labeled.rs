//! Labelled unicast by BGP (RFC 8277) between three ASes, the appliance being the one in the middle: FRR and GoBGP, which nobody
//! here wrote. What is told is asserted from both sides, and what is sent is read by tcpdump.
//!
//! ```text
//!   n1: FRR, AS 64501, 198.51.100.0/24 ── p1 appliance, AS 64500 p2 ── n2: GoBGP, AS 64502, 203.0.113.0/24
//! ```
//! FRR tells its own prefix with the implicit null, GoBGP with a label that it is told to take. The build machines' kernel has no
//! MPLS, so the labelled frames that neighbours would send are sent by hand.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::ldp::mac;
use super::pages;
use crate::frame::{Ip4, Ip6, Lse, MPLS, eth, labelled};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, secs, until};
use crate::lab::wire::Wire;
use crate::lab::{Appliance, Flavor, Host, Lab, Netns};
use crate::peers::raw::{Raw, message};
use crate::peers::{Frr, Gobgp, Speaker};
use crate::suite::Options;

/// What lies behind n2, in IPv6 too (RFC 4798).
const FAR: &str = "203.0.113.0/24";
const FAR6: &str = "2001:db8:9::/48";
/// What lies behind n1.
const NEAR: &str = "198.51.100.0/24";
/// A prefix of the appliance with each kind of label.
const OWN: [(&str, &str); 3] = [
    ("192.0.2.5/32", "implicit-null"),
    ("192.0.2.64/26", "explicit-null"),
    ("192.0.2.128/26", "local"),
];
const V4: &str = "ipv4-labeled-unicast";
const V6: &str = "ipv6-labeled-unicast";

/// An appliance and the namespaces around it.
struct Around {
    a: Appliance,
    spaces: Vec<Netns>,
    lab: Lab,
}

/// The appliance with a link to each; sessions die after `hold` seconds.
fn around(name: &str, flavor: &Flavor, hold: u16) -> Result<Around> {
    let mut lab = Lab::new(name)?;
    let ns = lab.router("dut")?;
    let mut spaces = vec![];
    let mut config = flavor
        .config("dut")
        .section("[label-range]\ndynamic = \"5000-5999\"\n");
    for n in 1..=2u8 {
        let theirs = [format!("10.0.{n}.2/24"), format!("2001:db8:{n}::2/64")];
        let theirs: Vec<&str> = theirs.iter().map(String::as_str).collect();
        let host = Host::new(&format!("n{n}"), &theirs)
            .gateway(&format!("10.0.{n}.1"))
            .gateway(&format!("2001:db8:{n}::1"));
        spaces.push(lab.host(&host, &ns, &format!("e{n}"))?);
        let mut ours = vec![format!("10.0.{n}.1/24"), format!("2001:db8:{n}::1/64")];
        if n == 1 {
            ours.push("192.0.2.5/32".into());
        }
        let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
        config = config.interface(&format!("p{n}"), &format!("e{n}"), &ours, "mpls = true");
    }
    let networks = OWN.map(|(p, label)| format!("{{ prefix = \"{p}\", label = \"{label}\" }}"));
    let mut bgp = format!(
        "[bgp]\nas = 64500\nhold-time = {hold}\nnetworks = [{}]\n[bgp.group.all]\nfamilies = [\"{V4}\", \"{V6}\"]\n\
         import = \"accept-all\"\nexport = \"accept-all\"\nconnect-retry = 1\n",
        networks.join(", ")
    );
    for n in 1..=2 {
        bgp += &format!(
            "[bgp.neighbor.\"10.0.{n}.2\"]\nas = {}\ngroup = \"all\"\n",
            64500 + n
        );
    }
    let config = config.section(&bgp);
    let a = lab.start("dut", &ns, &config)?;
    Ok(Around { a, spaces, lab })
}

impl Around {
    fn frr(&self) -> Result<Frr> {
        // It has one table for routes with and without labels, and prefixes of its own get there by the other family.
        let config = format!(
            "log stdout\nrouter bgp 64501\n bgp router-id 192.0.2.1\n no bgp ebgp-requires-policy\n \
             no bgp default ipv4-unicast\n no bgp network import-check\n neighbor 10.0.1.1 remote-as 64500\n \
             neighbor 10.0.1.1 timers 3 9\n neighbor 10.0.1.1 timers connect 1\n address-family ipv4 unicast\n  \
             network {NEAR}\n exit-address-family\n address-family ipv4 labeled-unicast\n  neighbor 10.0.1.1 activate\n \
             exit-address-family\n address-family ipv6 labeled-unicast\n  neighbor 10.0.1.1 activate\n exit-address-family\n"
        );
        Frr::start_text(self.lab.folder(), "frr", &self.spaces[0], &config)
    }

    fn gobgp(&self) -> Result<Gobgp> {
        let family = |name: &str| {
            format!(
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{name}\"\n"
            )
        };
        let config = format!(
            "[global.config]\nas = 64502\nrouter-id = \"192.0.2.2\"\n[[neighbors]]\n[neighbors.config]\n\
             neighbor-address = \"10.0.2.1\"\npeer-as = 64500\n[neighbors.timers.config]\nconnect-retry = 1\nhold-time = 9\n{}{}",
            family("ipv4-labelled-unicast"),
            family("ipv6-labelled-unicast")
        );
        Gobgp::start_text(self.lab.folder(), "gobgp", &self.spaces[1], &config)
    }

    /// The paths of a prefix, as the appliance shows them.
    fn paths(&self, prefix: &str) -> Result<Vec<Value>> {
        let family = if prefix.contains(':') { V6 } else { V4 };
        let all = self
            .a
            .json(&format!("bgp route {prefix} family {family}"))?;
        Ok(all.as_array().cloned().unwrap_or_default())
    }

    /// Waits for a path with that label, and says which label we have for the prefix.
    fn ours(&self, prefix: &str, theirs: u32) -> Result<u32> {
        let what = format!("{prefix} has come with label {theirs}");
        eventually(&what, secs(30), || {
            let paths = self.paths(prefix)?;
            let best = paths.iter().find(|p| p["best"] == true);
            let is = best.filter(|p| p["label"] == serde_json::json!([theirs]));
            let local = is.and_then(|p| p["local_label"].as_u64());
            Ok(local.and_then(|l| u32::try_from(l).ok()))
        })
    }

    /// Waits until FRR has a prefix from us with that label; `None`: not at all.
    fn frr_has(&self, frr: &Frr, prefix: &str, label: Option<u32>) -> Result<()> {
        let version = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        // Also of IPv6, mapped (RFC 4798).
        let us: IpAddr = "10.0.1.1".parse()?;
        until(
            &format!("FRR has {prefix} with {label:?}"),
            secs(30),
            || {
                let v = frr.json(&format!("show bgp {version} labeled-unicast {prefix} json"))?;
                let path = &v["paths"][0];
                let hop = path["nexthops"][0]["ip"].as_str().unwrap_or_default();
                let hop = hop.parse::<IpAddr>().map(|a| a.to_canonical());
                let number = path["remoteLabel"].as_u64();
                Ok(match label {
                    None => path.is_null(),
                    Some(l) => number == Some(l.into()) && hop == Ok(us),
                })
            },
        )
    }

    /// Waits until GoBGP has a prefix from us with that label.
    fn gobgp_has(&self, gobgp: &Gobgp, prefix: &str, label: u32) -> Result<()> {
        until(
            &format!("GoBGP has {prefix} with {label}"),
            secs(30),
            || {
                let v = gobgp.json("neighbor 10.0.2.1 adj-in -a ipv4-mpls")?;
                let text = v.to_string();
                let mut paths = v.as_object().into_iter().flatten();
                let found = paths.find(|(key, _)| key.contains(prefix));
                let Some((_, paths)) = found else {
                    return Ok(false);
                };
                let labels = &paths[0]["nlri"]["labels"];
                ensure!(labels.is_array(), "no labels in {text}");
                Ok(*labels == serde_json::json!([label]))
            },
        )
    }

    /// A frame from neighbour `n` with that label.
    fn send(&self, n: usize, label: u32, packet: &[u8]) -> Result<()> {
        let ns = &self.spaces[n - 1];
        let (to, from) = (mac(self.a.ns(), &format!("p{n}"))?, mac(ns, "eth0")?);
        let frame = labelled(&[Lse::new(label).ttl(40)], packet);
        Wire::open(ns, "eth0")?.send(&eth(to, from, MPLS, &frame))
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn three_ases(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut x = around("labeled", &o.flavor, 9)?;
    let frr = x.frr()?;
    let mut gobgp = x.gobgp()?;
    for peer in [&frr as &dyn Speaker, &gobgp] {
        let us: IpAddr = if peer.daemon().name().starts_with("frr") {
            "10.0.1.1"
        } else {
            "10.0.2.1"
        }
        .parse()?;
        until("both call the session established", secs(30), || {
            peer.established(us)
        })?;
    }
    let far = format!("global rib add -a ipv4-mpls {FAR} 100200 nexthop 10.0.2.2");
    gobgp.cli(&far)?;
    gobgp.cli(&format!(
        "global rib add -a ipv6-mpls {FAR6} 100201 nexthop ::ffff:10.0.2.2"
    ))?;
    let ours = x.ours(FAR, 100_200)?;
    let six = x.ours(FAR6, 100_201)?;
    let near = x.ours(NEAR, 3)?;
    ensure!(
        [ours, six, near].iter().all(|l| (5000..=5999).contains(l)),
        "{ours} {six} {near}"
    );
    x.frr_has(&frr, FAR, Some(ours))?;
    x.frr_has(&frr, FAR6, Some(six))?;
    x.gobgp_has(&gobgp, NEAR, near)?;
    own(&x, &frr)?;
    forwarded(&x, (ours, 100_200), (six, 100_201), near)?;
    // Another label at its origin: ours stays, what it is swapped for follows.
    gobgp.cli(&far.replace("100200", "100300"))?;
    ensure!(x.ours(FAR, 100_300)? == ours, "another label of ours");
    forwarded(&x, (ours, 100_300), (six, 100_201), near).context("another label")?;
    x.a.law()?;
    x.a.terminate()?;
    x.a.start_again()?;
    let again = x.ours(FAR, 100_300)?;
    ensure!(
        again == ours,
        "another label after a restart: {ours}, {again}"
    );
    x.frr_has(&frr, FAR, Some(ours))?;
    gobgp.cli(&format!("global rib del -a ipv4-mpls {FAR} 100300"))?;
    x.frr_has(&frr, FAR, None)?;
    until("the label has no entry any more", secs(10), || {
        let rows = x.a.json("label show")?;
        Ok(!rows
            .as_array()
            .context("no array")?
            .iter()
            .any(|r| r["fec"] == FAR))
    })?;
    gobgp.daemon_mut().kill()?;
    x.frr_has(&frr, FAR6, None)?;
    x.a.law()?;
    x.a.stop()
}

/// Our own prefixes with each kind of label.
fn own(x: &Around, frr: &Frr) -> Result<()> {
    let rows = x.a.json("label show")?;
    let rows = rows.as_array().context("no array")?;
    for (prefix, kind) in OWN {
        let row = rows.iter().find(|r| r["fec"] == prefix);
        let label = match kind {
            "implicit-null" => 3,
            "explicit-null" => 0,
            _ => {
                let row = row.with_context(|| format!("no label of {prefix}: {rows:?}"))?;
                ensure!(
                    row["owner"] == "labeled-unicast" && row["action"] == "pop",
                    "{row}"
                );
                u32::try_from(row["label"].as_u64().context("no number")?)?
            }
        };
        ensure!(row.is_some() == (kind == "local"), "{prefix}: {row:?}");
        x.frr_has(frr, prefix, Some(label))
            .with_context(|| kind.to_owned())?;
    }
    let far = rows.iter().find(|r| r["fec"] == FAR).context("no label")?;
    ensure!(
        far["owner"] == "labeled-unicast" && far["action"] == "swap" && far["protocol"] == "bgp",
        "{far}"
    );
    Ok(())
}

/// Packets get the label that was told, and frames with ours have it swapped, or taken off where the neighbour is the last one: as
/// tcpdump reads them. Each pair: ours, theirs.
fn forwarded(x: &Around, four: (u32, u32), six: (u32, u32), near: u32) -> Result<()> {
    let (there, there6) = ("203.0.113.9", "2001:db8:9::9");
    for (address, label) in [(there, four.1), (there6, six.1)] {
        let route = x.a.json(&format!("route show {address}"))?;
        ensure!(
            route[0]["protocol"] == "bgp" && route[0]["via"][0]["label"][0] == label,
            "{route}"
        );
    }
    let (n1, n2) = (&x.spaces[0], &x.spaces[1]);
    let ping = |to: &str| n1.finish(&format!("ping -n -c 1 -W 1 {to}")).map(drop);
    let label = |l: u32| format!("label {l}");
    seen(
        (n2, "eth0"),
        "mpls",
        &[&label(four.1), "[S], ttl 63", "ICMP echo request"],
        || ping(there),
    )
    .context("pushed")?;
    seen(
        (n2, "eth0"),
        "mpls",
        &[&label(six.1), "[S], ttl 63", "ICMP6, echo request"],
        || ping(there6),
    )
    .context("pushed, IPv6")?;
    let packet = Ip4::udp("10.0.1.2", there, 30).bytes();
    seen(
        (n2, "eth0"),
        "mpls",
        &[&label(four.1), "[S], ttl 39", "UDP"],
        || x.send(1, four.0, &packet),
    )
    .context("swapped")?;
    let packet = Ip6::udp("2001:db8:1::2", there6, 30).bytes();
    seen(
        (n2, "eth0"),
        "mpls",
        &[&label(six.1), "[S], ttl 39", "UDP"],
        || x.send(1, six.0, &packet),
    )
    .context("swapped, IPv6")?;
    let packet = Ip4::udp("10.0.2.2", "198.51.100.9", 30).bytes();
    seen(
        (x.spaces.first().context("n1")?, "eth0"),
        "ip dst 198.51.100.9",
        &["IP 10.0.2.2", "UDP"],
        || x.send(2, near, &packet),
    )
    .context("popped for the last one")
}

/// An UPDATE of labelled IPv4 with these NLRI from n2.
fn update(nlri: &[u8]) -> Vec<u8> {
    let mut mp = vec![0, 1, 4, 4];
    mp.extend(Ipv4Addr::new(10, 0, 2, 2).octets());
    mp.push(0);
    mp.extend(nlri);
    let mut attrs = vec![0x80, 14, mp.len() as u8];
    attrs.extend(mp);
    attrs.extend([0x40, 1, 1, 0, 0x40, 2, 6, 2, 1]);
    attrs.extend(64_502u32.to_be_bytes());
    let mut body = vec![0, 0];
    body.extend((attrs.len() as u16).to_be_bytes());
    body.extend(attrs);
    message(2, &body)
}

/// One that withdraws.
fn withdrawal(nlri: &[u8]) -> Vec<u8> {
    let mut attrs = vec![0x80, 15, nlri.len() as u8 + 3, 0, 1, 4];
    attrs.extend(nlri);
    let mut body = vec![0, 0];
    body.extend((attrs.len() as u16).to_be_bytes());
    body.extend(attrs);
    message(2, &body)
}

/// The NLRI of 203.0.NUMBER.0/24 behind these labels; the last one of which has the bottom bit, if it is to.
fn nlri(labels: &[u32], number: u8, bottom: bool) -> Vec<u8> {
    let mut out = vec![24 * labels.len() as u8 + 24];
    for (i, l) in labels.iter().enumerate() {
        let last = bottom && i + 1 == labels.len();
        out.extend(&(l << 4 | u32::from(last)).to_be_bytes()[1..]);
    }
    out.extend([203, 0, number]);
    out
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hostile(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let x = around("labeled-hostile", &o.flavor, 90)?;
    let frr = x.frr()?;
    until("FRR's session is established", secs(30), || {
        frr.established("10.0.1.1".parse()?)
    })?;
    // Multiprotocol for labelled IPv4, and several labels (RFC 8277 2.1): up to 9.
    let several = [1, 4, 0, 1, 0, 4, 8, 4, 0, 1, 4, 9];
    let open = |caps: &[u8]| {
        let (from, to) = (Ipv4Addr::new(10, 0, 2, 2), "10.0.2.1".parse()?);
        eventually("it lets us in", secs(30), || {
            Ok(Raw::open_with(&x.spaces[1], from, to, 64_502, 90, caps).ok())
        })
    };
    let mut raw = open(&several)?;
    // Whatever can be told of as one label is kept and not used; several are pushed.
    let rows: [(&[u32], bool); 7] = [
        (&[300], true),
        (&[300, 301, 302, 303], true),
        (&[300, 301, 302, 303, 304], false),
        (&[1], false),
        (&[7], false),
        (&[300, 14], false),
        (&[0], true),
    ];
    for (n, (labels, _)) in rows.iter().enumerate() {
        raw.say(&update(&nlri(labels, n as u8, true)))?;
    }
    for (n, (labels, good)) in rows.iter().enumerate() {
        let prefix = format!("203.0.{n}.0/24");
        let what = format!("{prefix} with {labels:?} is used: {good}");
        let path = eventually(&what, secs(10), || {
            let path = x.paths(&prefix)?.into_iter().next();
            Ok(path.filter(|p| match good {
                true => p["best"] == true && p["local_label"].is_u64(),
                false => p["problem"].as_str().is_some_and(|p| p.contains("label")),
            }))
        })?;
        ensure!(path["label"] == serde_json::json!(labels), "{path}");
        if !good {
            ensure!(path["best"] != true, "{path}");
            continue;
        }
        let local = path["local_label"].as_u64().context("no label of ours")?;
        x.frr_has(&frr, &prefix, Some(u32::try_from(local)?))?;
        let route = x.a.json(&format!("route show 203.0.{n}.9"))?;
        ensure!(
            route[0]["via"][0]["label"] == serde_json::json!(labels),
            "{route}"
        );
    }
    // RFC 8277 2.4: a withdrawal has three octets there, of which nobody asks what they are.
    let field = |field: [u8; 3], n: u8| [&[48][..], &field, &[203, 0, n]].concat();
    raw.say(&withdrawal(&field([0x80, 0, 0], 0)))?;
    raw.say(&withdrawal(&field([0, 0, 0], 1)))?;
    raw.say(&withdrawal(&field([0, 0x20, 1], 6)))?;
    for n in [0, 1, 6] {
        let prefix = format!("203.0.{n}.0/24");
        x.frr_has(&frr, &prefix, None)?;
        ensure!(x.paths(&prefix)?.is_empty(), "{prefix} is still there");
    }
    // Labels without an end: where the prefix begins nobody can say, and the session ends (RFC 7606 5.3).
    raw.say(&update(&nlri(&[300, 301], 8, false)))?;
    loop {
        match raw.hear()? {
            (3, body) if body[..2] == [3, 9] => break,
            (3, body) => bail!("another NOTIFICATION: {body:?}"),
            _ => {}
        }
    }
    drop(raw);
    // Who knows one label only: its bottom bit is not looked at (RFC 8277 2.2).
    let mut raw = open(&several[..6])?;
    raw.say(&update(&nlri(&[300], 9, false)))?;
    x.ours("203.0.9.0/24", 300)?;
    ensure!(
        frr.established("10.0.1.1".parse()?)?,
        "FRR's session has gone"
    );
    ensure!(x.a.alive(), "it has died");
    x.a.law()?;
    x.a.stop()
}
