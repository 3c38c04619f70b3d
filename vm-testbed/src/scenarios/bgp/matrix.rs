//! Each speaker beside the appliance, both families both ways: RFC 4271, 4760, 6793, 1997, 8092.

use anyhow::{Result, ensure};
use serde_json::json;

use super::{Around, address, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Make, Seen, Speaker};
use crate::suite::Options;

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn frr(o: &Options) -> Result<()> {
    pair(o, Make::Frr, Make::Bird)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn bird(o: &Options) -> Result<()> {
    pair(o, Make::Bird, Make::Gobgp)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn gobgp(o: &Options) -> Result<()> {
    pair(o, Make::Gobgp, Make::Exabgp)
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn exabgp(o: &Options) -> Result<()> {
    pair(o, Make::Exabgp, Make::Frr)
}

const V4: &str = "198.51.100.0/24";
const V6: &str = "2001:db8:aaaa::/48";

/// What the first announces, the second has through the appliance, which forwards by it.
fn pair(o: &Options, first: Make, second: Make) -> Result<()> {
    let name = format!("bb-{first:?}").to_lowercase();
    let bgp = sections(&[neighbor(1, asn(1), ""), neighbor(2, asn(2), "")]);
    let lab = around(&name, &o.flavor, 2, &bgp)?;
    let s1 = setup(1)
        .announce(
            Announce::new(V4)
                .community("65001:7")
                .large("65001:8:9")
                .med(20),
        )
        .announce(Announce::new(V6));
    let s2 = setup(2).announce(Announce::new("203.0.113.0/24"));
    let mut p1 = lab.start(1, first, &s1)?;
    let p2 = lab.start(2, second, &s2)?;
    lab.established(p1.as_ref(), &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    ours(&lab)?;
    theirs(p2.as_ref())?;
    let back = p1.wait_path("203.0.113.0/24")?;
    ensure!(back.path == format!("{} {}", super::AS, asn(2)), "{back:?}");
    // It forwards by what it learned.
    for prefix in [V4, V6] {
        until(&format!("{prefix} is a route"), secs(5), || {
            let shown = lab.a.json(&format!("route show {prefix}"))?;
            Ok(shown[0]["protocol"] == "bgp")
        })?;
    }
    // One leaves: what it said is forgotten, here and behind.
    p1.daemon_mut().stop()?;
    p2.wait_gone(V4)?;
    p2.wait_gone(V6)?;
    lab.wait_routes(V4, 0)?;
    lab.end(vec![p1, p2])
}

fn ours(lab: &Around) -> Result<()> {
    let r = &lab.wait_routes(V4, 1)?[0];
    let want = json!({
        "prefix": V4, "neighbor": address(1).to_string(), "best": true, "next_hop": address(1).to_string(), "origin": "igp",
        "as_path": asn(1).to_string(), "med": 20, "communities": ["65001:7"], "large_communities": ["65001:8:9"],
    });
    for (key, value) in want.as_object().into_iter().flatten() {
        ensure!(r[key] == *value, "{key} is {}, not {value}: {r}", r[key]);
    }
    let r = &lab.wait_routes(V6, 1)?[0];
    ensure!(r["next_hop"] == "2001:db8:1::2", "{r}");
    Ok(())
}

fn theirs(p2: &dyn Speaker) -> Result<()> {
    let seen = p2.wait_path(V4)?;
    let want = Seen {
        path: format!("{} {}", super::AS, asn(1)),
        next_hop: "10.0.2.1".into(),
        communities: vec!["65001:7".into()],
        large: vec!["65001:8:9".into()],
        // A MED is not passed on to another AS (RFC 4271 5.1.4), and there is no local preference between ASes.
        med: seen.med.filter(|m| *m == 0),
        local_pref: seen.local_pref,
        stale: false,
    };
    ensure!(seen == want, "{seen:?}, not {want:?}");
    let seen = p2.wait_path(V6)?;
    ensure!(seen.next_hop == "2001:db8:2::1", "{seen:?}");
    Ok(())
}
