//! Origin validation with a cache that nobody here wrote (StayRTR), BIRD as who announces, FRR as who is told.
//!
//! What needs hours to pass is in `ctl`'s own tests, caches that send nonsense in `caches`.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{AS, Around, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Bird, Make, Roa, Speaker, Stayrtr};
use crate::suite::Options;

const VALID: &str = "203.0.113.0/24";
const WRONG: &str = "198.51.100.0/24";
const UNKNOWN: &str = "192.0.2.0/24";
const SIX: &str = "2001:db8:f00::/48";

/// What the policy marks valid routes with.
const MARK: &str = "64500:1";

fn cache(lab: &Around) -> Result<Value> {
    let all = lab.a.json("rpki show")?;
    all.get(0).cloned().context("no cache is shown")
}

fn wait_cache(lab: &Around, what: &str, good: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    let done = until(&format!("the cache {what}"), secs(20), || {
        last = cache(lab)?;
        Ok(good(&last))
    });
    done.with_context(|| format!("rpki show: {last}"))?;
    Ok(last)
}

/// What the appliance says of a prefix: its state, and whether it is used.
fn state(lab: &Around, prefix: &str) -> Result<(String, bool)> {
    let routes = lab.routes(prefix)?;
    let r = routes.first().context("no route")?;
    Ok((
        r["rpki"].as_str().unwrap_or_default().to_owned(),
        r["best"] == true,
    ))
}

/// Since when BIRD has its session.
fn since(bird: &Bird) -> Result<String> {
    let text = bird.cli("show protocols p")?;
    let line = text.lines().find(|l| l.starts_with("p "));
    Ok(line.context("no protocol")?.to_owned())
}

/// See the list of scenarios. RFC 6811, RFC 8210.
///
/// # Errors
/// When it fails.
pub fn rpki(o: &Options) -> Result<()> {
    let one = neighbor(1, asn(1), "").replace("import = \"accept-all\"", "import = \"checked\"");
    let bgp = sections(&[
        one,
        neighbor(2, asn(2), ""),
        "[policy.checked]\ndefault = \"accept\"\n[[policy.checked.rule]]\nmatch = { rpki = \"invalid\" }\naction = \"reject\"\n\
         [[policy.checked.rule]]\nmatch = { rpki = \"valid\" }\nset = { local-pref = 200, add-community = \"64500:1\" }\n\
         [rpki]\ncache = \"10.0.3.2:8282\"\nretry = 2"
            .into(),
    ]);
    let lab = around("bb-rpki", &o.flavor, 3, &bgp)?;
    let right = asn(1);
    let first: [Roa<'_>; 3] = [
        (VALID, 24, right),
        (WRONG, 24, 64_999),
        ("2001:db8:f00::/44", 48, right),
    ];
    let start = |roas: &[Roa<'_>], name: &str| {
        let at = "10.0.3.2:8282".parse()?;
        Stayrtr::start(lab.lab.folder(), name, &lab.spaces[2], at, roas)
    };
    let rtr = start(&first, "rtr")?;
    let s1 = [VALID, WRONG, UNKNOWN, SIX]
        .iter()
        .fold(setup(1), |s, p| s.announce(Announce::new(p)));
    let s2 = setup(2);
    let p1 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[0], &s1)?;
    let p2 = lab.start(2, Make::Frr, &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    let c = wait_cache(&lab, "has said all", |c| c["state"] == "synchronised")?;
    ensure!(c["ipv4"] == 2 && c["ipv6"] == 1 && c["version"] == 1, "{c}");
    ensure!(
        c["expires_s"].as_f64() > Some(600.0) && c["serial"].is_number(),
        "{c}"
    );
    before(&lab, p2.as_ref())?;
    let (bird, frr) = (
        since(&p1)?,
        lab.neighbor("10.0.2.2")?["established"].clone(),
    );

    // The list changes: what was valid is wrong, what was wrong is valid.
    rtr.set(&[(VALID, 24, 64_999), (WRONG, 24, right)])?;
    p2.wait_gone(VALID)?;
    let seen = p2.wait_path(WRONG)?;
    ensure!(seen.communities == [MARK], "{seen:?}");
    let six = p2.wait_paths(SIX, "without the mark", &|p| {
        p.len() == 1 && p[0].communities.is_empty()
    });
    six?;
    ensure!(state(&lab, VALID)? == ("invalid".into(), false), "{VALID}");
    ensure!(state(&lab, WRONG)? == ("valid".into(), true), "{WRONG}");

    // The cache is gone: that is said, and what it has said counts for as long as it said.
    drop(rtr);
    let c = wait_cache(&lab, "is missed", |c| {
        c["error"].as_str().is_some_and(|e| e.contains("refused"))
    })?;
    ensure!(
        c["ipv4"] == 2 && c["expires_s"].as_f64() > Some(600.0),
        "{c}"
    );
    ensure!(c["state"] == "idle" || c["state"] == "connecting", "{c}");
    ensure!(state(&lab, VALID)?.0 == "invalid", "it counts no more");
    let text = lab.a.must("rpki show")?;
    ensure!(text.contains("refused"), "{text}");

    // It comes back with another session, and the first list.
    let rtr = start(&first, "rtr2")?;
    wait_cache(&lab, "has come back", |c| {
        c["state"] == "synchronised" && c["ipv6"] == 1
    })?;
    p2.wait_gone(WRONG)?;
    before(&lab, p2.as_ref())?;

    // No session was disturbed by any of it, on either side.
    ensure!(since(&p1)? == bird, "{} was {bird}", since(&p1)?);
    ensure!(lab.neighbor("10.0.1.2")?["established"] == 1);
    ensure!(lab.neighbor("10.0.2.2")?["established"] == frr);
    drop(rtr);
    lab.end(vec![Box::new(p1), p2])
}

/// What holds with the first list.
fn before(lab: &Around, p2: &dyn Speaker) -> Result<()> {
    let good = |c: &'static [&'static str]| {
        move |p: &[crate::peers::Seen]| p.len() == 1 && p[0].communities == c
    };
    let path = format!("{AS} {}", asn(1));
    let seen = p2.wait_paths(VALID, "with the mark", &good(&[MARK]))?;
    ensure!(seen[0].path == path, "{seen:?}");
    p2.wait_paths(SIX, "with the mark", &good(&[MARK]))?;
    p2.wait_paths(UNKNOWN, "without it", &good(&[]))?;
    ensure!(p2.paths(WRONG)?.is_empty(), "{WRONG} is told");
    ensure!(state(lab, VALID)? == ("valid".into(), true), "{VALID}");
    ensure!(
        state(lab, UNKNOWN)? == ("not-found".into(), true),
        "{UNKNOWN}"
    );
    ensure!(state(lab, WRONG)? == ("invalid".into(), false), "{WRONG}");
    let text = lab.a.must(&format!("bgp route {WRONG}"))?;
    ensure!(
        text.contains("invalid by 198.51.100.0/24 le 24 AS 64999"),
        "{text}"
    );
    Ok(())
}
