//! A customer's site on two PEs: what stands ready before anything is lost, and what carries when it is (PIC edge, read
//! draft-ietf-rtgwg-bgp-pic). Labelled unicast from both PEs beside it.
//!
//! ```text
//!                 ┌─── pe2 ─── 10.0.2.0/24 ───┐
//!   near ─── pe1 ─┤     │                     ├─ far: GoBGP, 10.77.0.0/24
//!                 └─── pe3 ─── 10.0.3.0/24 ───┘
//! ```

use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{pages, ping, reach};
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::peers::Gobgp;
use crate::progress;
use crate::suite::Options;

/// The customer's prefix, and a host in it.
pub(super) const SITE: &str = "10.77.0.0/24";
pub(super) const INSIDE: &str = "10.77.0.1";
/// What both PEs tell with a label.
const LABELED: &str = "203.0.113.7/32";

/// The other two.
fn others(n: u8) -> [u8; 2] {
    match n {
        1 => [2, 3],
        2 => [1, 3],
        _ => [1, 2],
    }
}

/// The link of two PEs, as the first has it: the device, its own address and the other's.
fn link(n: u8, other: u8) -> (String, String, String) {
    let (low, high) = (n.min(other), n.max(other));
    let at = |m: u8| format!("10.{low}.{high}.{m}");
    (format!("core{other}"), at(n), at(other))
}

/// A PE: the customer, the two others, and BGP with them.
fn edge(flavor: &Flavor, n: u8) -> Config {
    let mut c = flavor
        .config(&format!("pe{n}"))
        .router_id(&format!("192.0.2.{n}"))
        .interface("red0", "red", &[&format!("10.0.{n}.1/24")], "vrf = \"red\"");
    let mut bgp = "[bgp]\nas = 64512\n".to_owned();
    if n > 1 {
        bgp += &format!("networks = [{{ prefix = \"{LABELED}\", label = \"local\" }}]\n");
    }
    for other in others(n) {
        let (dev, own, there) = link(n, other);
        // The router's own address stands on a link that is not cut here: pe1 to pe3, pe2 to pe3.
        let keeps = other == 3 || (n, other) == (3, 2);
        let own = [format!("{own}/24"), format!("192.0.2.{n}/32")];
        let own: Vec<&str> = own
            .iter()
            .take(1 + usize::from(keeps))
            .map(String::as_str)
            .collect();
        c = c.interface(&dev, &dev, &own, "mpls = true").route(
            &format!("192.0.2.{other}/32"),
            &there,
            // It is the other end of the link itself.
            "label = [3]",
        );
        bgp += &format!(
            "[bgp.neighbor.\"192.0.2.{other}\"]\nas = 64512\nfamilies = [\"vpnv4\", \"ipv4-labeled-unicast\"]\n\
             source-address = \"192.0.2.{n}\"\nconnect-retry = 1\n"
        );
    }
    if n > 1 {
        bgp += &format!(
            "[bgp.neighbor.\"10.0.{n}.2\"]\nvrf = \"red\"\nas = 65001\nimport = \"accept-all\"\nexport = \"accept-all\"\n\
             connect-retry = 1\n"
        );
    }
    let target = "[\"target:64512:1\"]";
    c.section(&format!(
        "[vrf.red]\nrd = \"192.0.2.{n}:1\"\nimport = {target}\nexport = {target}"
    ))
    .section(&bgp)
}

/// The CE, by both of its links.
const CE: &str = "[global.config]\nas = 65001\nrouter-id = \"10.77.0.1\"\nport = 179\nlocal-address-list = [\"10.0.2.2\", \"10.0.3.2\"]\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.0.2.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
    [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.0.3.1\"\npeer-as = 64512\n\
    [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
    [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n";

/// The customer's hosts: one behind pe1, and one with [`SITE`] behind pe2 and pe3.
pub(super) fn sites(lab: &mut Lab, [pe1, pe2, pe3]: [&Netns; 3]) -> Result<(Netns, Netns)> {
    let near = Host::new("near", &["10.0.1.2/24"]).gateway("10.0.1.1");
    let near = lab.host(&near, pe1, "red")?;
    let far = lab.host(&Host::new("far", &["10.0.2.2/24"]), pe2, "red")?;
    lab.join((&far, "eth1"), (pe3, "red"))?;
    far.sysctl("ipv4/conf/all/rp_filter", "0")?;
    far.sysctl("ipv4/conf/eth0/rp_filter", "0")?;
    for line in [
        "link set eth1 arp on",
        "link set lo up",
        "addr add 10.0.3.2/24 dev eth1",
        "addr add 10.77.0.1/24 dev lo",
        // Answers go by the PE that nothing befalls.
        "route add default via 10.0.3.1",
    ] {
        far.ip(line)?;
    }
    Ok((near, far))
}

/// The three PEs, and the site.
struct Bed {
    pes: Vec<Appliance>,
    near: Netns,
    far: Netns,
    /// It announces the site for as long as it lives.
    _ce: Gobgp,
    _lab: Lab,
}

impl Bed {
    fn start(o: &Options) -> Result<Self> {
        let mut lab = Lab::new("l3vpn-backup")?;
        let spaces: Vec<Netns> = (1..4)
            .map(|n| lab.router(&format!("pe{n}")))
            .collect::<Result<_>>()?;
        for (a, b) in [(1u8, 2u8), (1, 3), (2, 3)] {
            let (near, far) = (link(a, b).0, link(b, a).0);
            let at = |n: u8| &spaces[usize::from(n) - 1];
            lab.join((at(a), &near), (at(b), &far))?;
        }
        let (near, far) = sites(&mut lab, [&spaces[0], &spaces[1], &spaces[2]])?;
        let start = |n: u8| {
            let ns = &spaces[usize::from(n) - 1];
            lab.start(&format!("pe{n}"), ns, &edge(&o.flavor, n))
        };
        let pes = (1..4).map(start).collect::<Result<Vec<_>>>()?;
        let ce = Gobgp::start_text(lab.folder(), "ce", &far, CE)?;
        for n in [2, 3] {
            until("the CE has a session", secs(30), || {
                let all = pes[n - 1].json("bgp summary")?;
                let mut all = all.as_array().into_iter().flatten();
                Ok(all
                    .any(|p| p["address"] == format!("10.0.{n}.2") && p["state"] == "Established"))
            })?;
        }
        ce.cli(&format!("global rib add -a ipv4 {SITE} nexthop 0.0.0.0"))?;
        Ok(Self {
            pes,
            near,
            far,
            _ce: ce,
            _lab: lab,
        })
    }

    fn pe(&self, n: usize) -> &Appliance {
        &self.pes[n - 1]
    }
}

/// Next hops of the site's best path and of the one that stands by, as BGP of a PE has them.
fn chosen(a: &Appliance) -> Result<[Option<String>; 2]> {
    let all = a.json(&format!("bgp route {SITE} vrf red"))?;
    let all = all.as_array().context("no array")?;
    Ok(["best", "backup"].map(|role| {
        let one = all.iter().find(|r| r[role] == true)?;
        Some(one["next_hop"].as_str()?.to_owned())
    }))
}

fn choose(a: &Appliance, what: &str, want: [Option<&str>; 2]) -> Result<()> {
    until(what, secs(30), || {
        Ok(chosen(a)? == want.map(|w| w.map(str::to_owned)))
    })
    .with_context(|| {
        a.must(&format!("bgp route {SITE} vrf red"))
            .unwrap_or_default()
    })
}

/// The ways of a route: address, whether it stands by, whether it carries; and its labels.
pub(super) fn ways(a: &Appliance, route: &str) -> Result<Vec<(String, bool, bool, Value)>> {
    let all = a.json(&format!("route show {route}"))?;
    let via = all[0]["via"].as_array();
    let one = |v: &Value| {
        let address = v["address"].as_str()?.to_owned();
        let label = v["label"].clone();
        Some((
            address,
            v["backup"].as_bool()?,
            v["active"].as_bool()?,
            label,
        ))
    };
    Ok(via.into_iter().flatten().filter_map(one).collect())
}

/// Packets without end.
pub(super) struct Steady(Child);

impl Steady {
    /// To that address, one in so many seconds.
    pub(super) fn start(from: &Netns, to: &str, every: &str) -> Result<Self> {
        let mut c = from.command("ping");
        c.args(["-n", "-i", every, "-W", "1", to]);
        Ok(Self(c.stdout(Stdio::piped()).spawn()?))
    }

    /// How many were sent, and how many of them not answered, but for a few that were on their way when it ended.
    pub(super) fn end(self) -> Result<(u32, u32)> {
        let pid = nix::unistd::Pid::from_raw(self.0.id().cast_signed());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT)?;
        let out = self.0.wait_with_output()?;
        let said = String::from_utf8_lossy(&out.stdout).into_owned();
        let line = said.lines().find(|l| l.contains("packets transmitted"));
        let mut numbers = line
            .into_iter()
            .flat_map(|l| l.split(|c: char| !c.is_ascii_digit()))
            .filter_map(|n| n.parse::<u32>().ok());
        let (sent, got) = numbers
            .next()
            .zip(numbers.next())
            .with_context(|| said.clone())?;
        let sequence = |l: &str| l.split("icmp_seq=").nth(1)?.split(' ').next()?.parse().ok();
        let last: u32 = said.lines().filter_map(sequence).max().unwrap_or(0);
        let under_way = sent.saturating_sub(last);
        let sent = if under_way < 50 { last } else { sent };
        Ok((sent, sent.saturating_sub(got)))
    }
}

/// Has `cut` done while packets flow; most of them must get through all the same.
fn while_flowing(bed: &Bed, what: &str, cut: impl FnOnce() -> Result<()>) -> Result<()> {
    let steady = Steady::start(&bed.near, INSIDE, "0.005")?;
    std::thread::sleep(secs(1));
    let done = cut();
    std::thread::sleep(secs(1));
    let (sent, lost) = steady.end()?;
    done?;
    progress::note(&format!(
        "{what}: {lost} of {sent} packets were lost, one in 5 ms"
    ));
    // The kernel takes tens of milliseconds to tell of a link, seconds would be BGP's timers.
    ensure!(sent > 200 && lost < 120, "{what}: {lost} of {sent} lost");
    Ok(())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn backup(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 3)?;
    let bed = Bed::start(o)?;
    ready(&bed)?;
    reach(&bed.near, INSIDE)?;
    ping(&bed.near, INSIDE, 20)?;
    shown(&bed)?;
    edge_lost(&bed)?;
    customer_lost(&bed)?;
    switched_off(&bed)?;
    for a in bed.pes {
        a.law()?;
        a.stop()?;
    }
    Ok(())
}

/// Each PE has a second way before anything is lost.
fn ready(bed: &Bed) -> Result<()> {
    let (two, three) = (Some("192.0.2.2"), Some("192.0.2.3"));
    choose(bed.pe(1), "pe3 stands by for pe2", [two, three])?;
    choose(
        bed.pe(2),
        "pe3 stands by for the CE",
        [Some("10.0.2.2"), three],
    )?;
    choose(
        bed.pe(3),
        "pe2 stands by for the CE",
        [Some("10.0.3.2"), two],
    )
}

/// With labels, in the words of `route show`, `bgp route` and `explain`.
fn shown(bed: &Bed) -> Result<()> {
    let a = bed.pe(1);
    let label =
        |n: usize| -> Result<Value> { Ok(bed.pe(n).json("vrf show red")?[0]["label"].clone()) };
    let want = vec![
        ("192.0.2.2".to_owned(), false, true, label(2)?),
        ("192.0.2.3".to_owned(), true, false, label(3)?),
    ];
    let found = ways(a, &format!("{SITE} vrf red"))?;
    ensure!(found == want, "{found:?} is not {want:?}");
    let text = a.must(&format!("route show {SITE} vrf red"))?;
    ensure!(
        text.contains("backup 192.0.2.3") && text.contains("(standing by)"),
        "{text}"
    );
    let text = a.must("bgp route vrf red")?;
    ensure!(
        text.lines()
            .any(|l| l.starts_with("b ") && l.contains(SITE)),
        "{text}"
    );
    let told = a.json(&format!("explain {INSIDE} vrf red --verify"))?;
    let backup = told["bgp"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|r| r["backup"] == true);
    let fate = backup.and_then(|r| r["fate"].as_str()).unwrap_or_default();
    ensure!(
        fate.starts_with("backup, lost by") && told["verified"] == true,
        "{told}"
    );
    // The labelled route that both tell has one too, and so has the label that pe1 would tell on.
    until("the labelled route has a backup", secs(10), || {
        let found = ways(a, LABELED)?;
        let flags: Vec<_> = found.iter().map(|w| (w.0.as_str(), w.1, w.2)).collect();
        Ok(flags == [("192.0.2.2", false, true), ("192.0.2.3", true, false)])
    })
}

/// The link to the PE in use is cut, and later comes back. The session with that PE is still there when the backup carries.
fn edge_lost(bed: &Bed) -> Result<()> {
    let (a, dev) = (bed.pe(1), link(2, 1).0);
    while_flowing(bed, "the link to a PE", || {
        bed.pe(2).ns().ip(&format!("link set {dev} down"))?;
        until("the other PE is in use", secs(5), || {
            let found = ways(a, &format!("{SITE} vrf red"))?;
            Ok(found.iter().any(|w| w.0 == "192.0.2.3" && w.2))
        })
    })?;
    let found = ways(a, LABELED)?;
    ensure!(found.iter().any(|w| w.0 == "192.0.2.3" && w.2), "{found:?}");
    let session = a.json("bgp neighbor 192.0.2.2")?;
    ensure!(
        session[0]["state"] == "Established",
        "it was BGP that noticed: {session}"
    );
    choose(a, "BGP has followed", [Some("192.0.2.3"), None])?;
    while_flowing(bed, "the link comes back", || {
        bed.pe(2).ns().ip(&format!("link set {dev} up"))?;
        ready(bed)
    })?;
    ping(&bed.near, INSIDE, 20)?;
    shown(bed)
}

/// The customer's link at the PE in use is cut: that PE sends to the other what still comes.
fn customer_lost(bed: &Bed) -> Result<()> {
    while_flowing(bed, "the customer's link", || {
        bed.far.ip("link set eth0 down")?;
        choose(bed.pe(2), "pe2 sends to pe3", [Some("192.0.2.3"), None])?;
        choose(bed.pe(1), "pe1 has heard", [Some("192.0.2.3"), None])
    })?;
    bed.far.ip("link set eth0 up")?;
    ready(bed)
}

/// Without the word in the configuration there are none; the best stays.
fn switched_off(bed: &Bed) -> Result<()> {
    let a = bed.pe(1);
    let text = std::fs::read_to_string(a.config())?;
    let file = a.config().with_extension("other");
    let other = text.replacen(
        "as = 64512\n",
        "as = 64512\nbackup = [\"labeled-unicast\"]\n",
        1,
    );
    std::fs::write(&file, &other)?;
    a.must(&format!("config apply {}", file.display()))?;
    choose(a, "no backups of VPNs", [Some("192.0.2.2"), None])?;
    let found = ways(a, LABELED)?;
    ensure!(found.len() == 2, "{found:?}");
    let found = ways(a, &format!("{SITE} vrf red"))?;
    ensure!(found.len() == 1, "{found:?}");
    std::fs::write(&file, &text)?;
    a.must(&format!("config apply {}", file.display()))?;
    ready(bed)?;
    ping(&bed.near, INSIDE, 20).map(drop)
}
