//! Labels of a VPN's routes, one for the VRF, one for each CE, or one each (RFC 4364 4.3.2), between two PEs of ours; what is on the
//! core is read by tcpdump.
//!
//! ```text
//!   h1 ── r0 pe1 ── core ── pe2 r0 ── h2, and 10.7.0.0/16 behind it
//!                            └─ r1 ── h3
//! ```
//!
//! h3, and h2 as a CE, are GoBGP's, and in one of the two scenarios.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::l3vpn::established;
use super::pic::Steady;
use super::{pages, ping, reach};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, millis, secs, until};
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::peers::Gobgp;
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

/// The label that a prefix of pe2's came with.
fn label_of(pe1: &Appliance, prefix: &str) -> Result<Option<u64>> {
    let all = pe1.json(&format!("bgp route {prefix} vrf red"))?;
    let mut all = all.as_array().into_iter().flatten();
    let best = all.find(|r| r["best"] == true);
    Ok(best.and_then(|r| r["label"][0].as_u64()))
}

/// The labels under which pe1 has what is behind pe2, once it has both with `labels` different ones.
fn heard(pe1: &Appliance, labels: usize) -> Result<[u64; 2]> {
    eventually(&format!("pe1 has {labels} labels of pe2"), secs(30), || {
        let mut out = [0; 2];
        for (to, prefix) in out.iter_mut().zip(FAR) {
            let Some(label) = label_of(pe1, prefix)? else {
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
    comes_to("10.0.2.2", pe2, h1, label)
}

fn comes_to(to: &str, pe2: &Appliance, h1: &Netns, label: u64) -> Result<()> {
    let words = [
        "label 100",
        &format!("label {label}"),
        "[S]",
        "ICMP echo request",
    ];
    let make = || h1.finish(&format!("ping -n -c 1 -W 1 {to}")).map(drop);
    seen((pe2.ns(), "core"), "mpls", &words, make)?;
    ping(h1, to, 10).map(drop)
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
fn without_loss(
    (h1, to): (&Netns, &str),
    what: &str,
    change: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let steady = Steady::start(h1, to, "0.001")?;
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
    without_loss((h1, "10.0.2.2"), "from a label each to one for all", || {
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
    without_loss((h1, "10.0.2.2"), "from one for all to a label each", || {
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

/// What the CEs of pe2 tell, and a host there: two prefixes of the first, one of the second.
const OF_CES: [(&str, &str); 3] = [
    ("10.77.0.0/24", "10.77.0.1"),
    ("10.78.0.0/24", "10.78.0.1"),
    ("10.88.0.0/24", "10.88.0.1"),
];
/// How pe2 tells routes of CEs. Static ones are told by no one.
const BY_CE: &str = "label-mode = \"per-next-hop\"\nredistribute = [\"connected\"]";

/// pe2 with two CEs.
fn edge_with_ces(flavor: &Flavor, more: &str) -> Config {
    let mut c = edge(flavor, 2, more).interface("r1", "h1", &["10.0.3.1/24"], "vrf = \"red\"");
    for n in [2, 3] {
        c = c.section(&format!(
            "[bgp.neighbor.\"10.0.{n}.2\"]\nvrf = \"red\"\nas = 6500{n}\nimport = \"accept-all\"\nexport = \"accept-all\"\n\
             connect-retry = 1\n"
        ));
    }
    c
}

/// A CE of pe2's, with its prefixes.
fn customer(lab: &Lab, ns: &Netns, n: u8) -> Result<Gobgp> {
    let conf = format!(
        "[global.config]\nas = 6500{n}\nrouter-id = \"10.0.{n}.2\"\nport = 179\nlocal-address-list = [\"10.0.{n}.2\"]\n\
         [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.0.{n}.1\"\npeer-as = 64512\n\
         [neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1\n\
         [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n"
    );
    ns.ip("link set lo up")?;
    let ce = Gobgp::start_text(lab.folder(), &format!("ce{n}"), ns, &conf)?;
    let all = if n == 2 { &OF_CES[..2] } else { &OF_CES[2..] };
    for (prefix, host) in all {
        ns.ip(&format!("addr add {host}/24 dev lo"))?;
        ce.cli(&format!("global rib add -a ipv4 {prefix} nexthop 0.0.0.0"))?;
    }
    Ok(ce)
}

/// The labels that prefixes came with at pe1, once all are there.
fn heard_all<const N: usize>(pe1: &Appliance, prefixes: [&str; N]) -> Result<[u64; N]> {
    eventually("pe1 has all that pe2 tells", secs(30), || {
        let mut out = [0; N];
        for (to, prefix) in out.iter_mut().zip(prefixes) {
            let Some(label) = label_of(pe1, prefix)? else {
                return Ok(None);
            };
            *to = label;
        }
        Ok(Some(out))
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn ce_labels(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("l3vpn-ce-labels")?;
    let (one, two) = (lab.router("pe1")?, lab.router("pe2")?);
    lab.join((&one, "core"), (&two, "core"))?;
    let host = |n: u8, to: u8| {
        let address = format!("10.0.{to}.2/24");
        Host::new(&format!("h{n}"), &[&address]).gateway(&format!("10.0.{to}.1"))
    };
    let h1 = lab.host(&host(1, 1), &one, "h0")?;
    let h2 = lab.host(&host(2, 2), &two, "h0")?;
    let h3 = lab.host(&host(3, 3), &two, "h1")?;
    let pe1 = lab.start("pe1", &one, &edge(&o.flavor, 1, "entropy-label = true"))?;
    let mut pe2 = lab.start("pe2", &two, &edge_with_ces(&o.flavor, BY_CE))?;
    let _ces = [customer(&lab, &h2, 2)?, customer(&lab, &h3, 3)?];
    let all = OF_CES.map(|(p, _)| p);
    let labels = heard_all(&pe1, all)?;
    let [first, second, third] = labels;
    let whole = heard_all(&pe1, [FAR[0], "10.0.3.0/24"])?;
    ensure!(
        first == second && first != third && whole[0] == whole[1] && !labels.contains(&whole[0]),
        "{labels:?}, {whole:?}"
    );
    for (label, dev, n) in [(first, "r0", 2), (third, "r1", 3)] {
        let row = entry(&pe2, label)?;
        ensure!(
            row["fec"] == format!("via 10.0.{n}.2 dev {dev} vrf red")
                && (row["action"].clone(), row["vrf"].clone()) == (json!("pop"), json!("red"))
                && row["via"][0]["address"] == format!("10.0.{n}.2"),
            "{row}"
        );
    }
    for ((_, host), label) in OF_CES.into_iter().zip(labels) {
        reach(&h1, host)?;
        comes_to(host, &pe2, &h1, label)?;
    }
    arrives(&pe2, &h1, whole[0])?;
    straight(&pe1, &pe2, &h1, first)?;
    pe2.terminate()?;
    pe2.start_again()?;
    // Until then pe1 has what it was told before.
    for ce in ["10.0.2.2", "10.0.3.2"] {
        until("a CE has a session again", secs(30), || {
            established(&pe2, ce)
        })?;
    }
    let again = heard_all(&pe1, all)?;
    ensure!(again == labels, "{labels:?}, {again:?} after a restart");
    reach(&h1, OF_CES[0].1)?;
    other_modes(o, &lab, (&pe1, &pe2), &h1, labels)?;
    ce_lost(&pe1, &pe2, &h1, labels)?;
    for r in [pe1, pe2] {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// Under the label of a CE nothing is looked up; but who asks for the path is answered here, not by the CE.
fn straight(pe1: &Appliance, pe2: &Appliance, h1: &Netns, label: u64) -> Result<()> {
    let [(prefix, host), ..] = OF_CES;
    pe2.must(&format!("route add blackhole {host}/32 vrf red"))?;
    ping(h1, host, 10)?;
    let told = pe2.json(&format!(
        "explain {host} from 10.0.1.2 in core0 label {label} --verify"
    ))?;
    ensure!(
        told["verified"] == true
            && told["outcome"] == "forwarded"
            && (told["egress"].clone(), told["next_hop"].clone())
                == (json!("r0"), json!("10.0.2.2"))
            && told["label_out"] == json!([]),
        "{told}"
    );
    pe2.must(&format!("route del {host}/32 vrf red"))?;
    let text = pe1.must(&format!("lsp ping {prefix} vrf red count 2 interval 10"))?;
    ensure!(text.contains("egress for the FEC"), "{text}");
    let hops = pe1.json(&format!("lsp trace {prefix} vrf red"))?;
    let hops = hops.as_array().context("no array")?;
    let last = hops.last().context("no hops")?;
    ensure!(
        hops.len() == 1 && last["verdict"] == "end" && last["router"] == "192.0.2.2",
        "{hops:?}"
    );
    Ok(())
}

/// Changes between the modes lose nothing.
fn other_modes(
    o: &Options,
    lab: &Lab,
    (pe1, pe2): (&Appliance, &Appliance),
    h1: &Netns,
    before: [u64; 3],
) -> Result<()> {
    let [(prefix, host), ..] = OF_CES;
    let mut last = before[0];
    for (what, mode) in [
        ("from labels of CEs to one for all", "per-vrf"),
        ("from one for all to labels of CEs", "per-next-hop"),
        ("from labels of CEs to a label each", "per-prefix"),
        ("from a label each to labels of CEs", "per-next-hop"),
    ] {
        let more = BY_CE.replace("per-next-hop", mode);
        let file = lab.folder().join("next.toml");
        std::fs::write(&file, edge_with_ces(&o.flavor, &more).text())?;
        without_loss((h1, host), what, || {
            pe2.must(&format!("config apply {}", file.display()))?;
            until("pe1 has another label", secs(10), || {
                Ok(label_of(pe1, prefix)?.is_some_and(|l| l != last))
            })
        })?;
        let row = entry(pe2, last)?;
        match row["fec"] == "vrf red" && mode == "per-next-hop" {
            true => ensure!(
                row["leaving_s"].is_null(),
                "connected routes have it: {row}"
            ),
            false => leave(pe2, &[last])?,
        }
        last = label_of(pe1, prefix)?.context("no label")?;
    }
    let after = heard_all(pe1, OF_CES.map(|(p, _)| p))?;
    ensure!(after == before, "{before:?}, {after:?}");
    comes_to(host, pe2, h1, last)
}

/// A CE whose link is cut: its routes go, the other's stay, and what still comes for it is dropped.
fn ce_lost(pe1: &Appliance, pe2: &Appliance, h1: &Netns, labels: [u64; 3]) -> Result<()> {
    let [(prefix, host), .., (_, other)] = OF_CES;
    pe2.ns().ip("link set h0 down")?;
    until("the CE's routes are gone", secs(30), || {
        Ok(label_of(pe1, prefix)?.is_none())
    })?;
    ping(h1, other, 10)?;
    leave(pe2, &labels[..1])?;
    let told = pe2.json(&format!(
        "explain {host} from 10.0.1.2 in core0 label {} --verify",
        labels[0]
    ))?;
    ensure!(
        (told["outcome"].clone(), told["reason"].clone())
            == (json!("dropped"), json!("unreachable"))
            && told["verified"] == true,
        "{told}"
    );
    pe2.ns().ip("link set h0 up")?;
    let again = heard_all(pe1, OF_CES.map(|(p, _)| p))?;
    ensure!(again == labels, "{labels:?}, {again:?}");
    reach(h1, host)
}
