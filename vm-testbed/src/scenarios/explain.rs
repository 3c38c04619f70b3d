//! `trunkctl explain` says what becomes of a packet: the very frame that is then seen on the wire, and why.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::cases::{Bed, known_hosts, ports, to_router};
use crate::frame::{Ip4, Lse, eth, hex, labelled};
use crate::lab::Appliance;
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Bird, Frr};
use crate::suite::Options;

use super::bgp::{around, asn, neighbor, sections, setup};
use super::pages;

const ROUTES: [&str; 4] = [
    "route add 198.51.100.0/24 nexthop via 10.0.2.2 nexthop via 10.0.3.2 label 100/200",
    "route add 203.0.113.0/24 via 10.0.3.2",
    "route add 192.0.2.0/24 via 10.0.3.2 label 500/501 entropy-label",
    "route add 0.0.0.0/0 via 10.0.2.2",
];
const LABELS: [&str; 2] = ["label add 300 swap 400 via 10.0.2.2", "label add 301 pop"];

/// The packet that `explain` makes up of the same words.
fn packet(dst: &str, sport: u16) -> Vec<u8> {
    let udp = [
        sport.to_be_bytes(),
        53u16.to_be_bytes(),
        8u16.to_be_bytes(),
        [0, 0],
    ]
    .concat();
    let packet = Ip4::new("10.0.1.2", dst, 17, udp);
    packet.with(|p| p.id = 0).bytes()
}

fn told(a: &Appliance, line: &str) -> Result<Value> {
    let told = a.json(&format!("explain {line} --verify"))?;
    ensure!(told["verified"] == true, "{line}: {told}");
    Ok(told)
}

fn text<'v>(v: &'v Value, name: &str) -> &'v str {
    v[name].as_str().unwrap_or_default()
}

/// Sends the frame that was asked about, and sees the one that was foretold, where it was foretold.
fn holds(bed: &mut Bed, told: &Value, frame: &[u8]) -> Result<usize> {
    ensure!(told["outcome"] == "forwarded", "{told}");
    bed.flush()?;
    bed.wire(1).send(frame)?;
    let seen = bed.flush()?;
    let port: usize = text(told, "egress").trim_start_matches('p').parse()?;
    let wanted = text(told, "frame");
    let found = seen
        .iter()
        .any(|(p, f)| *p == port && hex(f).replace(' ', "") == wanted);
    ensure!(
        found,
        "foretold by {port}: {wanted}; seen: {:?}",
        seen.iter().map(|(p, f)| (p, hex(f))).collect::<Vec<_>>()
    );
    Ok(port)
}

/// Flows over two paths, labels pushed, swapped and taken off: each frame leaves as it was foretold.
///
/// # Errors
/// When it fails.
pub fn frames(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("explain", 3, &ports(&o.flavor, 3, |_| "mpls = true"))?;
    for line in known_hosts(3, &[2]) {
        bed.appliance.must(&line)?;
    }
    for line in ROUTES.iter().chain(&LABELS) {
        bed.appliance.must(line)?;
    }
    let mut by = [0; 4];
    for sport in 1000..1016 {
        let line = format!("198.51.100.9 from 10.0.1.2 in p1 sport {sport} dport 53");
        let answer = told(&bed.appliance, &line)?;
        let group = &answer["steps"].as_array().context("no steps")?;
        let group = group
            .iter()
            .find(|s| s["what"] == "group")
            .context("no group")?;
        ensure!(group["buckets"].as_u64() > Some(1), "{group}");
        let pushed = answer["label_out"] == serde_json::json!([100, 200]);
        let port = holds(
            &mut bed,
            &answer,
            &to_router(1, &packet("198.51.100.9", sport)),
        )?;
        ensure!(pushed == (port == 3), "{answer}");
        by[port] += 1;
    }
    ensure!(
        by[2] > 0 && by[3] > 0,
        "16 flows went by one path alone: {by:?}"
    );
    // An entropy label below what is pushed: another for each flow, the foretold one.
    let mut entropy = std::collections::BTreeSet::new();
    for sport in 1000..1008 {
        let line = format!("192.0.2.9 from 10.0.1.2 in p1 sport {sport} dport 53");
        let answer = told(&bed.appliance, &line)?;
        let out = answer["label_out"].as_array().context("no labels")?;
        ensure!(out.len() == 4 && out[..3] == [500, 501, 7], "{answer}");
        entropy.extend(out[3].as_u64());
        holds(
            &mut bed,
            &answer,
            &to_router(1, &packet("192.0.2.9", sport)),
        )?;
    }
    ensure!(entropy.len() > 6, "{entropy:?}");
    let inner = packet("203.0.113.9", 7);
    for (label, port) in [(300, 2), (301, 3)] {
        let line = format!("203.0.113.9 from 10.0.1.2 in p1 label {label} sport 7 dport 53");
        let answer = told(&bed.appliance, &line)?;
        let frame = to_router(1, &inner);
        let lse = Lse::new(label);
        let frame = eth(
            frame[..6].try_into()?,
            frame[6..12].try_into()?,
            0x8847,
            &labelled(&[lse], &inner),
        );
        let seen = holds(&mut bed, &answer, &frame)?;
        ensure!(seen == port, "{answer}");
    }
    ends(&bed.appliance)?;
    refused(&bed.appliance)?;
    bed.law()?;
    bed.appliance.stop()
}

/// What is not forwarded, by name.
fn ends(a: &Appliance) -> Result<()> {
    for (line, outcome, reason) in [
        ("10.0.2.1 from 10.0.1.2 in p1", "local", ""),
        ("10.0.2.77 from 10.0.1.2 in p1", "unresolved", ""),
        (
            "203.0.113.9 from 10.0.1.2 in p1 ttl 1",
            "dropped",
            "ttl_expired",
        ),
        (
            "203.0.113.9 from 127.0.0.1 in p1",
            "dropped",
            "martian_source",
        ),
        (
            "203.0.113.9 from 10.0.1.2 in p1 label 777",
            "dropped",
            "unknown_label",
        ),
        (
            "198.51.100.9 from 10.0.1.2 in p1 size 2000",
            "dropped",
            "giant",
        ),
        (
            "2001:db8:77::1 from 2001:db8:1::2 in p1",
            "dropped",
            "no_route",
        ),
        ("203.0.113.9", "forwarded", ""),
    ] {
        let answer = told(a, line)?;
        ensure!(
            answer["outcome"] == outcome && answer["reason"] == reason,
            "{line}: {answer}"
        );
    }
    // The routes that lost, and by what.
    let answer = told(a, "203.0.113.9 from 10.0.1.2 in p1")?;
    let routes = answer["routes"].as_array().context("no routes")?;
    let lost = routes.iter().find(|r| r["route"]["prefix"] == "0.0.0.0/0");
    let why = text(lost.context("no default route")?, "why");
    ensure!(why == "/0 is shorter than /24", "{why}");
    Ok(())
}

fn refused(a: &Appliance) -> Result<()> {
    for (line, status, part) in [
        ("explain 224.0.0.1", 1, "not the address of one host"),
        ("explain 10.0.1.2 from 2001:db8::1", 1, "both of one family"),
        ("explain 10.0.1.2 in p9", 1, "there is no interface p9"),
        ("explain 10.0.1.2 sport 70000", 1, "over 65535"),
        ("explain 10.0.1.2 size 10", 1, "not within 28 and 9000"),
        ("explain 10.0.1.0/24", 2, "is not an address"),
        ("explain", 2, "destination is missing"),
    ] {
        let no = a.ctl(line)?;
        ensure!(
            no.status == Some(status) && no.text().contains(part),
            "{line}: {:?} {}",
            no.status,
            no.text()
        );
    }
    Ok(())
}

const POLICY: &str = r#"
[policy.in]
default = "reject"
[[policy.in.rule]]
name = "theirs"
match = { neighbor = "10.0.1.2" }
set = { local-pref = 300 }
action = "accept"
"#;

/// A prefix from two speakers: which path won, what the other lost by, and which rule let it in.
///
/// # Errors
/// When it fails.
pub fn bgp(o: &Options) -> Result<()> {
    const NET: &str = "198.51.100.0/24";
    let one = neighbor(1, asn(1), "").replace("import = \"accept-all\"", "import = \"in\"");
    let two = neighbor(2, asn(2), "");
    let lab = around(
        "explain-bgp",
        &o.flavor,
        2,
        &sections(&[one, two, POLICY.into()]),
    )?;
    let (s1, s2) = (
        setup(1).announce(Announce::new(NET)),
        setup(2).announce(Announce::new(NET)),
    );
    let p1 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[0], &s1)?;
    let p2 = Frr::start(lab.lab.folder(), "frr", &lab.spaces[1], &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(&p2, &s2)?;
    lab.wait_routes(NET, 2)?;
    let mut answer = Value::Null;
    until("it is forwarded to the better one", secs(15), || {
        answer = told(&lab.a, "198.51.100.9")?;
        Ok(answer["next_hop"] == "10.0.1.2" && answer["outcome"] == "forwarded")
    })
    .with_context(|| answer.to_string())?;
    ensure!(
        answer["routes"][0]["route"]["protocol"] == "bgp",
        "{answer}"
    );
    let paths = answer["bgp"].as_array().context("no paths")?;
    let fate = |from: &str| {
        let path = paths.iter().find(|p| p["neighbor"] == from);
        path.map(|p| text(p, "fate").to_owned())
    };
    ensure!(
        paths.len() == 2 && fate("10.0.1.2").as_deref() == Some("best"),
        "{paths:?}"
    );
    let lost = fate("10.0.2.2").unwrap_or_default();
    ensure!(
        lost.to_lowercase().contains("local"),
        "it lost by local-pref: {lost:?}"
    );
    let steps = answer["policy"]["steps"].as_array().context("no policy")?;
    ensure!(
        steps
            .iter()
            .any(|s| s["name"] == "theirs" && s["what"] == "applied"),
        "{steps:?}"
    );
    let read = lab.a.must("explain 198.51.100.9")?;
    for part in ["a BGP route", "from 10.0.2.2", "theirs", "leaves by p1"] {
        ensure!(read.contains(part), "no {part:?} in\n{read}");
    }
    lab.end(vec![Box::new(p1), Box::new(p2)])
}
