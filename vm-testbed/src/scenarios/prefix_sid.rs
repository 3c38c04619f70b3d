//! SR-MPLS by BGP: prefix-SIDs (RFC 8669) over two appliances with SRGBs of their own, FRR at one end, which nobody here wrote, and a
//! peer of our own at the other, which says whatever it wants.
//!
//! ```text
//!   n1: FRR, AS 64501 ── p1 a: AS 64500, SRGB from 16000, core ── core b: AS 64500, SRGB from 20000, p2 ── n2: raw, AS 64502
//! ```
//! The build machines' kernel has no MPLS, so the labelled frames that FRR would send are sent by hand.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::l3vpn::established;
use super::ldp::mac;
use super::pages;
use crate::frame::{Ip4, Lse, MPLS, eth, labelled};
use crate::lab::tcpdump::seen;
use crate::lab::wait::{eventually, secs, until};
use crate::lab::wire::Wire;
use crate::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use crate::peers::raw::{Raw, message};
use crate::peers::{Frr, Speaker};
use crate::suite::Options;

const LU: &str = "ipv4-labeled-unicast";
/// Prefixes of b, with their index and their kind of label.
const OWN: [(&str, u32, &str); 2] = [
    ("192.0.2.66/32", 66, "local"),
    ("192.0.2.67/32", 67, "implicit-null"),
];
/// What FRR tells, with an index.
const NEAR: (&str, u32) = ("198.51.100.0/24", 5);

/// An appliance and what lies around it.
struct Around {
    a: Appliance,
    b: Appliance,
    n1: Netns,
    n2: Netns,
    lab: Lab,
}

/// Router `n`, with `more` in its `[bgp]`.
fn router(flavor: &Flavor, n: u8, more: &str) -> Config {
    let (srgb, name) = match n {
        1 => ("16000-16999", "a"),
        _ => ("20000-20999", "b"),
    };
    let other = 3 - n;
    let core = format!("10.9.0.{n}/24");
    let mut own = vec![format!("10.0.{n}.1/24")];
    if n == 2 {
        own.extend(OWN.map(|(prefix, ..)| prefix.to_owned()));
    }
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    flavor
        .config(name)
        .router_id(&format!("192.0.2.{n}"))
        .section(&format!(
            "[label-range]\ndynamic = \"{n}5000-{n}5999\"\nhold-time = 10\nsrgb = \"{srgb}\"\n"
        ))
        .interface("core0", "core", &[&core], "mpls = true")
        .interface(&format!("p{n}"), &format!("e{n}"), &own, "mpls = true")
        .section(&format!(
            "[bgp]\nas = 64500\nhold-time = 30\nconnect-retry = 1\n{more}\
             [bgp.neighbor.\"10.9.0.{other}\"]\nas = 64500\nfamilies = [\"{LU}\"]\nnext-hop-self = true\n"
        ))
        .section(&format!(
            "[bgp.neighbor.\"10.0.{n}.2\"]\nas = {}\nfamilies = [\"{LU}\"]\nprefix-sid = true\n\
             import = \"accept-all\"\nexport = \"accept-all\"\n",
            64500 + u32::from(n)
        ))
}

fn around(flavor: &Flavor) -> Result<Around> {
    let mut lab = Lab::new("prefix-sid")?;
    let (ra, rb) = (lab.router("a")?, lab.router("b")?);
    lab.join((&ra, "core"), (&rb, "core"))?;
    let host = |n: u8| {
        Host::new(&format!("n{n}"), &[&format!("10.0.{n}.2/24")]).gateway(&format!("10.0.{n}.1"))
    };
    let n1 = lab.host(&host(1), &ra, "e1")?;
    let n2 = lab.host(&host(2), &rb, "e2")?;
    let one = |(prefix, index, label): (&str, u32, &str)| {
        format!("{{ prefix = \"{prefix}\", label = \"{label}\", label-index = {index} }}")
    };
    let networks = format!("networks = [{}]\n", OWN.map(one).join(", "));
    let a = lab.start("a", &ra, &router(flavor, 1, ""))?;
    let b = lab.start("b", &rb, &router(flavor, 2, &networks))?;
    until("a and b have a session", secs(30), || {
        Ok(established(&a, "10.9.0.2")? && established(&b, "10.9.0.1")?)
    })?;
    Ok(Around { a, b, n1, n2, lab })
}

/// The best path of a prefix.
fn best(r: &Appliance, prefix: &str) -> Result<Option<Value>> {
    let all = r.json(&format!("bgp route {prefix} family {LU}"))?;
    let mut all = all.as_array().into_iter().flatten();
    Ok(all.find(|p| p["best"] == true).cloned())
}

/// Waits for a best path with that index and that label of ours; `None`: of the dynamic range.
fn has(
    r: &Appliance,
    who: &str,
    prefix: &str,
    index: Option<u32>,
    label: Option<u32>,
) -> Result<Value> {
    let what = format!("{who}: {prefix} with index {index:?} and label {label:?}");
    eventually(&what, secs(20), || {
        let path = best(r, prefix)?;
        Ok(path.filter(|p| {
            let local = p["local_label"].as_u64();
            p["label_index"] == json!(index)
                && match label {
                    Some(l) => local == Some(l.into()),
                    None => {
                        local.is_some_and(|l| (15_000..=25_999).contains(&l) && l % 10_000 >= 5000)
                    }
                }
        }))
    })
}

impl Around {
    fn frr(&self) -> Result<Frr> {
        let (prefix, index) = NEAR;
        let config = format!(
            "log stdout\nrouter bgp 64501\n bgp router-id 192.0.2.11\n no bgp ebgp-requires-policy\n \
             no bgp default ipv4-unicast\n no bgp network import-check\n neighbor 10.0.1.1 remote-as 64500\n \
             neighbor 10.0.1.1 timers 10 30\n neighbor 10.0.1.1 timers connect 1\n address-family ipv4 unicast\n  \
             network {prefix} label-index {index}\n exit-address-family\n address-family ipv4 labeled-unicast\n  \
             neighbor 10.0.1.1 activate\n exit-address-family\n"
        );
        Frr::start_text(self.lab.folder(), "frr", &self.n1, &config)
    }

    /// Waits until FRR has a prefix from a with that label and index.
    fn frr_has(&self, frr: &Frr, prefix: &str, label: u64, index: Option<u32>) -> Result<()> {
        let what = format!("FRR has {prefix} with label {label} and index {index:?}");
        until(&what, secs(20), || {
            let v = frr.json(&format!("show bgp ipv4 labeled-unicast {prefix} json"))?;
            let path = &v["paths"][0];
            Ok(path["remoteLabel"] == json!(label) && path["labelIndex"] == json!(index))
        })
    }

    /// A frame from n1 with these labels.
    fn send(&self, labels: &[u32], to: &str) -> Result<()> {
        let (there, here) = (mac(self.a.ns(), "p1")?, mac(&self.n1, "eth0")?);
        let stack: Vec<Lse> = labels.iter().map(|l| Lse::new(*l).ttl(40)).collect();
        let packet = Ip4::udp("10.0.1.2", to, 30).bytes();
        let frame = eth(there, here, MPLS, &labelled(&stack, &packet));
        Wire::open(&self.n1, "eth0")?.send(&frame)
    }

    fn raw(&self) -> Result<Raw> {
        let (from, to) = (Ipv4Addr::new(10, 0, 2, 2), "10.0.2.1".parse::<IpAddr>()?);
        let caps = [1, 4, 0, 1, 0, 4];
        eventually("b lets n2 in", secs(30), || {
            Ok(Raw::open_with(&self.n2, from, to, 64_502, 90, &caps).ok())
        })
    }
}

/// An UPDATE of 203.0.NUMBER.0/24 with a label, and these octets for a prefix-SID.
fn update(number: u8, label: u32, sid: &[u8]) -> Vec<u8> {
    let mut mp = vec![0, 1, 4, 4, 10, 0, 2, 2, 0, 48];
    mp.extend(&(label << 4 | 1).to_be_bytes()[1..]);
    mp.extend([203, 0, number]);
    let mut attrs = vec![0x80, 14, mp.len() as u8];
    attrs.extend(mp);
    attrs.extend([0x40, 1, 1, 0, 0x40, 2, 6, 2, 1]);
    attrs.extend(64_502u32.to_be_bytes());
    attrs.extend([0xc0, 40, sid.len() as u8]);
    attrs.extend(sid);
    let mut body = vec![0, 0];
    body.extend((attrs.len() as u16).to_be_bytes());
    body.extend(attrs);
    message(2, &body)
}

/// A withdrawal of the same.
fn withdrawal(number: u8) -> Vec<u8> {
    let attrs = [0x80, 15, 10, 0, 1, 4, 48, 0x80, 0, 0, 203, 0, number];
    message(2, &[&[0, 0, 0, 13][..], &attrs].concat())
}

/// The TLV of a label index.
fn index(n: u32) -> Vec<u8> {
    [&[1, 0, 7, 0, 0, 0][..], &n.to_be_bytes()].concat()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn prefix_sid(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut x = around(&o.flavor)?;
    let frr = x.frr()?;
    let us: IpAddr = "10.0.1.1".parse()?;
    until("FRR's session is established", secs(30), || {
        frr.established(us)
    })?;
    outwards(&x, &frr).context("from b to FRR")?;
    inwards(&x).context("from FRR to b")?;
    hostile(&mut x).context("attributes of all kinds")?;
    frr.established(us)?
        .then_some(())
        .context("FRR's session has gone")?;
    for r in [x.a, x.b] {
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// What b has of its own: the label of the index in each SRGB, and the index with the SRGB of b all the way; frames go by it.
fn outwards(x: &Around, frr: &Frr) -> Result<()> {
    for (prefix, index, kind) in OWN {
        let path = has(&x.a, "a", prefix, Some(index), Some(16_000 + index))?;
        let theirs = if kind == "local" { 20_000 + index } else { 3 };
        ensure!(
            path["label"] == json!([theirs]) && path["originator_srgb"] == json!(["20000-20999"]),
            "{path}"
        );
        x.frr_has(frr, prefix, (16_000 + index).into(), Some(index))?;
        // b takes frames by the label of the index, whatever it has told.
        for (r, label, action) in [
            (
                &x.a,
                16_000 + index,
                if theirs == 3 { "pop" } else { "swap" },
            ),
            (&x.b, 20_000 + index, "pop"),
        ] {
            let rows = r.json(&format!("label show {label}"))?;
            let row = rows
                .as_array()
                .and_then(|r| r.first())
                .context("no label")?;
            ensure!(
                row["owner"] == "segment-routing"
                    && row["fec"] == prefix
                    && row["action"] == action,
                "{row}"
            );
        }
    }
    let b = x.b.ns();
    seen(
        (b, "core"),
        "mpls",
        &["label 20066", "[S], ttl 39", "UDP"],
        || x.send(&[16_066], "192.0.2.66"),
    )
    .context("swapped")?;
    seen(
        (b, "core"),
        "dst host 192.0.2.67",
        &["IP 10.0.1.2", "UDP"],
        || x.send(&[16_067], "192.0.2.67"),
    )
    .context("popped for the last one")?;
    // A segment list by hand: b's segment, and under it another label, which b finds when its own is off.
    seen(
        (b, "core"),
        "mpls",
        &["label 20066", "label 20067", "[S]"],
        || x.send(&[16_066, 20_067], "192.0.2.67"),
    )
    .context("a list")
}

/// What FRR tells with its index.
fn inwards(x: &Around) -> Result<()> {
    let (prefix, index) = NEAR;
    has(&x.a, "a", prefix, Some(index), Some(16_000 + index))?;
    let path = has(&x.b, "b", prefix, Some(index), Some(20_000 + index))?;
    ensure!(path["label"] == json!([16_000 + index]), "{path}");
    Ok(())
}

/// Of two prefixes with one index the first has the label; what can't be read is left out, and the route stays.
fn hostile(x: &mut Around) -> Result<()> {
    let mut raw = x.raw()?;
    raw.say(&update(1, 301, &index(9)))?;
    has(&x.b, "b", "203.0.1.0/24", Some(9), Some(20_009))?;
    has(&x.a, "a", "203.0.1.0/24", Some(9), Some(16_009))?;
    raw.say(&update(2, 302, &index(9)))?;
    raw.say(&update(3, 303, &index(1000)))?;
    let refused = [
        (
            "203.0.2.0/24",
            9,
            "label 20009 belongs to segment-routing for 203.0.1.0/24",
        ),
        (
            "203.0.3.0/24",
            1000,
            "label index 1000 is beyond label-range.srgb (20000-20999)",
        ),
    ];
    for (prefix, index, why) in refused {
        let path = has(&x.b, "b", prefix, Some(index), None)?;
        let problem = path["label_index_problem"].as_str().unwrap_or_default();
        ensure!(problem.starts_with(why), "{path}");
        // As if it had none: so it is told on.
        has(&x.a, "a", prefix, None, None)?;
    }
    // Too short, too long, cut off, no label index at all, nothing.
    let bad: [&[u8]; 6] = [
        &[1, 0, 6, 0, 0, 0, 0, 0, 7],
        &[1, 0, 8, 0, 0, 0, 0, 0, 0, 7, 0],
        &[1, 0xff, 0xff, 0],
        &[3, 0, 8, 0, 0, 0, 0x3e, 0x80, 0, 0x1f, 0x40],
        &[3, 0, 2, 0, 0],
        &[],
    ];
    for (n, sid) in (10..).zip(bad) {
        raw.say(&update(n, 400, sid))?;
        let prefix = format!("203.0.{n}.0/24");
        has(&x.b, "b", &prefix, None, None)?;
        has(&x.a, "a", &prefix, None, None)?;
    }
    // The first of two counts, and what nobody knows is passed on.
    let twice = [index(20), index(21), vec![77, 0, 2, 1, 2]].concat();
    raw.say(&update(20, 320, &twice))?;
    has(&x.a, "a", "203.0.20.0/24", Some(20), Some(16_020))?;
    // A restart gives the same labels, whoever comes first: of what was first, its own.
    x.b.terminate()?;
    drop(raw);
    x.b.start_again()?;
    let mut raw = x.raw()?;
    raw.say(&update(2, 302, &index(9)))?;
    let path = has(&x.b, "b", "203.0.2.0/24", Some(9), None)?;
    let problem = path["label_index_problem"].as_str().unwrap_or_default();
    ensure!(problem.contains("a moment ago"), "{path}");
    raw.say(&update(1, 301, &index(9)))?;
    has(&x.b, "b", "203.0.1.0/24", Some(9), Some(20_009))?;
    // The first goes; once its label has rested the other has it.
    raw.say(&withdrawal(1))?;
    has(&x.b, "b", "203.0.2.0/24", Some(9), Some(20_009)).context("after it has rested")?;
    has(&x.a, "a", "203.0.2.0/24", Some(9), Some(16_009))?;
    if !x.b.alive() {
        bail!("b has died");
    }
    Ok(())
}
