//! A restart of ours, with a neighbour that waits for us: RFC 4724, RFC 8538.

use anyhow::{Result, ensure};

use super::{address, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Make};
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
