//! Policies between FRR, which announces, and BIRD, which is told: what is matched and set, seen in BIRD's table; another
//! policy while sessions are up; and what `bgp policy test` says of it all.

use anyhow::{Context, Result, ensure};

use super::{AS, Around, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Bird, Frr, Seen, Setup, Speaker};
use crate::suite::Options;

/// In the set of prefixes, and too long for it.
const WITHIN: &str = "198.51.100.0/24";
const LONG: &str = "198.51.100.128/25";
/// By way of an AS that is not wanted, and by another.
const PATH: &str = "203.0.113.0/25";
const OTHER: &str = "203.0.113.128/25";
/// With communities of the three kinds.
const PLAIN: &str = "192.0.2.0/26";
const LARGE: &str = "192.0.2.64/26";
const EXTENDED: &str = "192.0.2.128/26";

/// What the appliance is told.
const POLICIES: &str = r#"
[prefix-set]
customers = ["198.51.96.0/19 ge 20 le 24", "192.0.2.0/24 le 26", "203.0.113.0/24 ge 25 le 25"]
[as-path-set]
unwanted = ["_65020_"]
[community-set]
marks = ["65001:100-199"]
[policy.in]
default = "reject"
[[policy.in.rule]]
name = "unwanted"
match = { as-path-set = "unwanted" }
action = "reject"
[[policy.in.rule]]
match = { community-set = "marks" }
set = { local-pref = 250, remove-community = "65001:*", add-community = "64500:7" }
[[policy.in.rule]]
match = { large-community = "65001:2:*" }
set = { add-large-community = "64500:8:9" }
[[policy.in.rule]]
match = { ext-community = "target:65001:5" }
set = { set-ext-community = "target:64500:6" }
[[policy.in.rule]]
match = { prefix-set = "customers" }
action = "accept"
[policy.out]
default = "accept"
[[policy.out.rule]]
match = { community = "64500:7" }
set = { prepend = ["self", "self"], med = 77 }
[[policy.out.rule]]
match = { large-community = "64500:8:9" }
set = { next-hop = "10.0.2.99", med = 5 }
[[policy.out.rule]]
match = { as-path = "65010$" }
set = { replace-as = 65010 }
"#;

fn frr() -> Setup {
    let list = |name: &str, p: &str| format!("ip prefix-list {name} permit {p}\n");
    let map = |n: u8, name: &str, set: &str| {
        format!(
            "route-map OUT permit {n}\n match ip address prefix-list {name}\n set {set}\nexit\n"
        )
    };
    let all = [WITHIN, LONG, PATH, OTHER, PLAIN, LARGE, EXTENDED];
    let mut top: String = [
        list("PATH", PATH),
        list("OTHER", OTHER),
        list("PLAIN", PLAIN),
        list("LARGE", LARGE),
        list("EXTENDED", EXTENDED),
        map(10, "PATH", "as-path prepend 65020 65021"),
        map(20, "OTHER", "as-path prepend 65030 65010"),
        map(30, "PLAIN", "community 65001:150 65001:7 65002:1"),
        map(40, "LARGE", "large-community 65001:2:3"),
        map(50, "EXTENDED", "extcommunity rt 65001:5"),
    ]
    .concat();
    top.push_str("route-map OUT permit 100\nexit\n");
    let s = setup(1).top(&top).family("route-map OUT out");
    all.iter()
        .fold(s, |s, p| s.announce(crate::peers::Announce::new(p)))
}

/// How many sessions FRR has had, and when BIRD's came up. FRR reckons the time of its own anew, to the second, each time.
fn since(p1: &Frr, p2: &Bird) -> Result<(String, String)> {
    let v = p1.json("show bgp neighbors 10.0.1.1 json")?;
    let had = v["10.0.1.1"]["connectionsEstablished"].to_string();
    let text = p2.cli("show protocols p")?;
    let line = text.lines().find(|l| l.starts_with("p "));
    Ok((had, line.context("no protocol")?.to_owned()))
}

fn path(rest: &str) -> String {
    format!("{AS} {}{rest}", asn(1))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn policy(o: &Options) -> Result<()> {
    let one = neighbor(1, asn(1), "").replace("import = \"accept-all\"", "import = \"in\"");
    let two = neighbor(2, asn(2), "").replace("export = \"accept-all\"", "export = \"out\"");
    let bgp = sections(&[one, two, POLICIES.into()]);
    let lab = around("bb-policy", &o.flavor, 2, &bgp)?;
    let (s1, s2) = (frr(), setup(2));
    let p1 = Frr::start(lab.lab.folder(), "frr", &lab.spaces[0], &s1)?;
    let p2 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[1], &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(&p2, &s2)?;
    at_first(&lab, &p2)?;
    tried(&lab)?;
    let up = since(&p1, &p2)?;
    ensure!(
        up.0 != "null",
        "FRR does not say how many sessions it has had"
    );
    changed(&lab, &p2)?;
    let now = since(&p1, &p2)?;
    ensure!(now == up, "a session was reset: {now:?}, was {up:?}");
    for n in ["10.0.1.2", "10.0.2.2"] {
        ensure!(lab.neighbor(n)?["established"] == 1, "{n} was reset");
    }
    lab.end(vec![Box::new(p1), Box::new(p2)])
}

fn at_first(lab: &Around, p2: &Bird) -> Result<()> {
    let seen = p2.wait_path(EXTENDED)?;
    let text = p2.cli(&format!("show route {EXTENDED} all"))?;
    ensure!(
        text.contains("(rt, 64500, 6)") && !text.contains("(rt, 65001, 5)"),
        "{text}"
    );
    ensure!(seen.path == path(""), "{seen:?}");
    let seen = p2.wait_path(PLAIN)?;
    let want = Seen {
        path: format!("{AS} {AS} {}", path("")),
        next_hop: "10.0.2.1".into(),
        communities: vec!["64500:7".into(), "65002:1".into()],
        med: Some(77),
        ..seen.clone()
    };
    ensure!(seen == want && seen.large.is_empty(), "{seen:?}");
    let ours = lab.routes(PLAIN)?;
    ensure!(ours[0]["local_pref"] == 250, "{ours:?}");
    let seen = p2.wait_path(LARGE)?;
    ensure!(
        seen.next_hop == "10.0.2.99" && seen.med == Some(5),
        "{seen:?}"
    );
    ensure!(seen.large == ["64500:8:9", "65001:2:3"], "{seen:?}");
    let seen = p2.wait_path(OTHER)?;
    ensure!(seen.path == path(&format!(" 65030 {AS}")), "{seen:?}");
    p2.wait_path(WITHIN)?;
    // FRR has sent them: they were let in, but for the policy.
    for prefix in [LONG, PATH] {
        let sent = lab.wait_routes(&format!("{prefix} received 10.0.1.2"), 1)?;
        ensure!(
            sent[0]["problem"] == "the import policy rejects it",
            "{sent:?}"
        );
        ensure!(p2.paths(prefix)?.is_empty(), "{prefix} is told");
    }
    Ok(())
}

/// What `bgp policy test` says of routes that are there, and of others.
fn tried(lab: &Around) -> Result<()> {
    let t = lab
        .a
        .json(&format!("bgp policy test in {PLAIN} received 10.0.1.2"))?;
    ensure!(
        t["accepted"] == true && t["after"]["local_pref"] == 250,
        "{t}"
    );
    ensure!(t["before"]["local_pref"].is_null(), "{t}");
    ensure!(t["steps"][1]["what"] == "applied", "{t}");
    let text = lab
        .a
        .must(&format!("bgp policy test in {PATH} received 10.0.1.2"))?;
    ensure!(
        text.contains("in rule 1 (unwanted): holds, reject\nrejected\n"),
        "{text}"
    );
    let text = lab
        .a
        .must(&format!("bgp policy test in {LONG} received 10.0.1.2"))?;
    ensure!(
        text.contains("in rule 5: skipped, prefix-set = \"customers\": it is 198.51.100.128/25")
            && text.contains("in: no rule decided, default reject"),
        "{text}"
    );
    let t = lab.a.json(&format!(
        "bgp policy test out {PLAIN} out best neighbor 10.0.2.2"
    ))?;
    ensure!(
        t["after"]["as_path"] == format!("{AS} {AS} {}", asn(1)) && t["after"]["med"] == 77,
        "{t}"
    );
    let told = lab
        .a
        .json("bgp policy test in 10.9.0.0/16 as-path 65020 community 1:2");
    ensure!(told.is_ok_and(|t| t["accepted"] == false));
    for (line, said) in [
        ("inn 10.0.0.0/8", "did you mean \"in\"?"),
        (
            "in 10.0.0.0/8 received 10.0.1.2",
            "has sent no route to 10.0.0.0/8",
        ),
        (
            "in 10.0.0.0/8 neighbor 10.9.9.9",
            "no neighbour is called 10.9.9.9",
        ),
        ("in 10.0.0.0/8 community 70000:1", "is no community"),
        ("in 10.0.0.0/8 as-path x", "is not an AS number"),
        (
            "in 10.0.0.0/8 rpki maybe",
            "is not valid, invalid or not-found",
        ),
    ] {
        let done = lab.a.ctl(&format!("bgp policy test {line}"))?;
        ensure!(
            done.status == Some(1) && done.text().contains(said),
            "{line}: {}",
            done.text()
        );
    }
    Ok(())
}

/// Other policies come into force, and BIRD hears of what changes by them.
fn changed(lab: &Around, p2: &Bird) -> Result<()> {
    let text = std::fs::read_to_string(lab.a.config())?;
    let next = text
        .replace("198.51.96.0/19 ge 20 le 24", "198.51.96.0/19 ge 25 le 25")
        .replace("_65020_", "_65030_")
        .replace("med = 77", "med = 78")
        .replace(
            "add-community = \"64500:7\"",
            "add-community = [\"64500:7\", \"64500:9\"]",
        );
    let file = lab.lab.folder().join("next.toml");
    std::fs::write(&file, next)?;
    lab.a.must(&format!("config apply {}", file.display()))?;
    p2.wait_gone(WITHIN)?;
    p2.wait_path(LONG)?;
    p2.wait_gone(OTHER)?;
    let seen = p2.wait_path(PATH)?;
    ensure!(seen.path == path(" 65020 65021"), "{seen:?}");
    p2.wait_paths(PLAIN, "the new mark and MED", &|p| {
        p.len() == 1 && p[0].med == Some(78) && p[0].communities.contains(&"64500:9".to_owned())
    })?;
    // What no policy touches differently has not moved.
    let seen = p2.wait_path(LARGE)?;
    ensure!(seen.med == Some(5), "{seen:?}");
    until("the table says the same", secs(5), || {
        let all = lab.routes("")?;
        let best = |p: &str| all.iter().any(|r| r["prefix"] == p && r["best"] == true);
        Ok(best(LONG) && best(PATH) && !best(WITHIN) && !best(OTHER))
    })
}
