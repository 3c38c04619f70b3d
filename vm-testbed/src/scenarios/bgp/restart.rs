//! Restarts: ours, with a neighbour that waits for us (RFC 4724, RFC 8538); one of a neighbour that takes too long (RFC 9494).

use anyhow::{Result, ensure};

use super::{address, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Bird, Make, Speaker};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn restarter(o: &Options) -> Result<()> {
    let full = "graceful-restart = \"full\"";
    let rest = sections(&[neighbor(1, asn(1), full), neighbor(2, asn(2), full)]);
    // Others forward by these routes, so they go on being good while we are away.
    let bgp = format!("install = false\nrestart-time = 60\n{rest}");
    let mut lab = around("bb-restart", &o.flavor, 2, &bgp)?;
    let s1 = setup(1);
    let s2 = setup(2).announce(Announce::new(V4));
    let frr = lab.start(1, Make::Frr, &s1)?;
    let bird = lab.start(2, Make::Bird, &s2)?;
    lab.established(frr.as_ref(), &s1)?;
    lab.established(bird.as_ref(), &s2)?;
    frr.wait_path(V4)?;
    // It dies without a word, and is there again: FRR has the route all the time, and at the end anew.
    lab.a.kill()?;
    lab.a.start_again()?;
    lab.a.ready()?;
    let mut stale = false;
    let me = address(1).to_string();
    until("FRR has the route anew", secs(60), || {
        let paths = frr.paths(V4)?;
        ensure!(paths.len() == 1, "the route is gone: {paths:?}");
        stale |= paths[0].stale;
        let up = lab.neighbor(&me)?["state"] == "Established";
        Ok(up && stale && !paths[0].stale)
    })?;
    lab.established(bird.as_ref(), &s2)?;
    let log = lab.a.log();
    ensure!(log.contains("BGP was spoken here before"), "{log}");
    // It is not there any more when nobody announces it.
    drop(bird);
    frr.wait_gone(V4)?;
    lab.end(vec![frr])
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn long_lived(o: &Options) -> Result<()> {
    let long = "long-lived-stale-time = 60";
    let bgp = sections(&[neighbor(1, asn(1), long), neighbor(2, asn(2), long)]);
    let lab = around("bb-long-lived", &o.flavor, 2, &bgp)?;
    let on = "graceful restart on; graceful restart time 1;\n\
              long lived graceful restart on; long lived stale time 60;";
    let s1 = setup(1).neighbor(on).announce(Announce::new(V4));
    let s2 = setup(2).neighbor(on);
    let mut p1 = Bird::start(lab.lab.folder(), "bird1", &lab.spaces[0], &s1)?;
    let p2 = Bird::start(lab.lab.folder(), "bird2", &lab.spaces[1], &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(&p2, &s2)?;
    ensure!(
        p2.wait_path(V4)?.communities.is_empty(),
        "a fresh route is marked"
    );
    // It dies, and is not back within its restart time: the route stays as a last resort, and who hears of it is told so.
    p1.daemon_mut().kill()?;
    until("its route is stale for long", secs(20), || {
        let routes = lab.routes(V4)?;
        Ok(routes
            .first()
            .is_some_and(|r| r["stale"] == "long-lived-stale"))
    })?;
    until("LLGR_STALE is told", secs(10), || {
        let paths = p2.paths(V4)?;
        Ok(paths.iter().any(|p| p.communities == ["65535:6"]))
    })?;
    // It is back: the mark goes.
    drop(p1);
    let p1 = Bird::start(lab.lab.folder(), "bird1", &lab.spaces[0], &s1)?;
    lab.established(&p1, &s1)?;
    until("the route is fresh again", secs(10), || {
        let paths = p2.paths(V4)?;
        Ok(paths.iter().any(|p| p.communities.is_empty()))
    })?;
    lab.end(vec![Box::new(p1), Box::new(p2)])
}
