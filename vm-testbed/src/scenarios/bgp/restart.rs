//! Restarts: ours, with neighbours that wait for us (RFC 4724, RFC 8538); those of neighbours, who come back, or take too long
//! (RFC 9494).

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::speakers::{Party, Special, makes};
use super::{asn, neighbor, setup};
use crate::lab::wait::{eventually, secs, until};
use crate::peers::{Announce, Make, Setup};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";

/// What guest `n` announces, and what it does not announce again.
fn prefix(n: u8) -> String {
    format!("198.51.{n}.0/24")
}

/// Graceful restart in each speaker's own way, with so many seconds for it, and for stale routes behind that.
fn graceful_setup(make: Make, n: u8, time: u16, long: Option<u16>) -> Setup {
    let s = setup(n);
    match make {
        Make::Frr => {
            let s = s
                .neighbor("bgp graceful-restart")
                .neighbor("bgp graceful-restart preserve-fw-state")
                .neighbor(&format!("bgp graceful-restart restart-time {time}"));
            long.iter().fold(s, |s, t| {
                s.neighbor(&format!("bgp long-lived-graceful-restart stale-time {t}"))
            })
        }
        Make::Bird => {
            let s = s.neighbor(&format!(
                "graceful restart on; graceful restart time {time};"
            ));
            long.iter().fold(s, |s, t| {
                s.neighbor(&format!(
                    "long lived graceful restart on; long lived stale time {t};"
                ))
            })
        }
        Make::Gobgp => {
            let s = s
                .neighbor(&format!(
                    "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {time}\nnotification-enabled = true\n\
                     long-lived-enabled = {}",
                    long.is_some()
                ))
                .family("[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true");
            long.iter().fold(s, |s, t| {
                s.family(&format!(
                    "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = {t}"
                ))
            })
        }
        Make::Exabgp => s.neighbor(&format!("capability {{ graceful-restart {time}; }}")),
    }
}

/// What the appliance calls a route: `""` is fresh.
fn staleness(party: &Party, net: &str) -> Result<Option<String>> {
    let routes = party.lab.routes(net)?;
    let first = routes.first();
    Ok(first.map(|r| r["stale"].as_str().unwrap_or_default().to_owned()))
}

/// Kills guest `at`, and starts it again when `meanwhile` has been done; it announces the first of its routes alone.
fn again(party: &mut Party, at: usize, meanwhile: impl Fn(&Party) -> Result<()>) -> Result<()> {
    party.guests[at].speaker.daemon_mut().kill()?;
    meanwhile(party)?;
    let g = &party.guests[at];
    let mut s = g.setup.clone();
    s.announce.truncate(1);
    let name = format!("{:?}{}-again", g.make, g.n).to_lowercase();
    let space = &party.lab.spaces[at];
    let new = g.make.start(party.lab.lab.folder(), &name, space, &s)?;
    let g = &mut party.guests[at];
    g.setup = s;
    // What else is of the one before (zebra, for one) goes with it.
    g.speaker = new;
    let g = &party.guests[at];
    party.lab.established(g.speaker.as_ref(), &g.setup)
}

/// See the list of scenarios. RFC 4724.
///
/// # Errors
/// When it fails.
pub fn helper(o: &Options) -> Result<()> {
    let makes = makes("bgp/graceful", "4724");
    let mut party = Party::start("bb-graceful", o, &makes, "", |make, n| Special {
        asn: asn(n),
        ours: "graceful-restart = \"helper\"".into(),
        theirs: graceful_setup(make, n, 60, None)
            .announce(Announce::new(&prefix(n)))
            .announce(Announce::new(&prefix(100 + n))),
    })?;
    let n = party.more();
    let s = setup(n);
    let frr = party.lab.start(n, Make::Frr, &s)?;
    party.lab.established(frr.as_ref(), &s)?;
    for at in 0..party.guests.len() {
        let (n, make) = (party.guests[at].n, party.guests[at].make);
        let (kept, gone) = (prefix(n), prefix(100 + n));
        frr.wait_path(&kept)?;
        frr.wait_path(&gone)?;
        // It dies; what it said is kept, as stale, and nobody behind hears of it.
        again(&mut party, at, |party| {
            until(&format!("the route of {make:?} is stale"), secs(10), || {
                Ok(staleness(party, &kept)?.as_deref() == Some("stale"))
            })?;
            ensure!(
                frr.paths(&kept)?.len() == 1,
                "{make:?}: the stale route was taken back"
            );
            Ok(())
        })
        .with_context(|| format!("the restart of {make:?}"))?;
        // It is back with one route less: that one goes with its End-of-RIB.
        frr.wait_gone(&gone)?;
        until(&format!("the route of {make:?} is fresh"), secs(10), || {
            Ok(staleness(&party, &kept)?.as_deref() == Some(""))
        })?;
        frr.wait_path(&kept)?;
    }
    party.end(vec![frr])
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn restarter(o: &Options) -> Result<()> {
    let makes = makes("bgp/graceful-restart", "4724");
    let full = "graceful-restart = \"full\"";
    let source = makes.len() as u8 + 1;
    // Others forward by these routes, so they go on being good while we are away.
    let bgp = format!(
        "install = false\nrestart-time = 60\n{}",
        neighbor(source, asn(source), full)
    );
    let mut party = Party::start("bb-restart", o, &makes, &bgp, |make, n| Special {
        asn: asn(n),
        ours: full.into(),
        theirs: graceful_setup(make, n, 60, None),
    })?;
    let s = graceful_setup(Make::Bird, source, 60, None).announce(Announce::new(V4));
    let bird = party.lab.start(source, Make::Bird, &s)?;
    party.lab.established(bird.as_ref(), &s)?;
    for g in &party.guests {
        g.speaker.wait_path(V4)?;
        ensure!(!g.speaker.keeps(V4, g.setup.peer)?, "{:?}", g.make);
    }
    // It dies without a word, and is there again, but its source does not speak yet: what the others keep by then they keep since
    // they were told that forwarding went on, and that not all is said yet.
    bird.daemon().signal(Signal::SIGSTOP)?;
    party.lab.a.kill()?;
    party.lab.a.start_again()?;
    party.lab.a.ready()?;
    for g in &party.guests {
        let name = g.setup.local.to_string();
        let what = format!("the session with {:?} is back", g.make);
        g.speaker.daemon().until(&what, secs(30), || {
            let there = g.speaker.paths(V4)?.len() == 1;
            ensure!(there, "{:?}: the route is gone", g.make);
            Ok(party.lab.neighbor(&name)?["state"] == "Established"
                && g.speaker.established(g.setup.peer)?)
        })?;
    }
    for _ in 0..20 {
        for g in &party.guests {
            ensure!(
                g.speaker.keeps(V4, g.setup.peer)?,
                "{:?} does not keep the route, and nobody has said it again: {:?}",
                g.make,
                g.speaker.paths(V4)?
            );
        }
    }
    bird.daemon().signal(Signal::SIGCONT)?;
    for g in &party.guests {
        let what = format!("{:?} has the route anew", g.make);
        g.speaker.daemon().until(&what, secs(30), || {
            let there = g.speaker.paths(V4)?.len() == 1;
            ensure!(there, "the route is gone");
            Ok(!g.speaker.keeps(V4, g.setup.peer)?)
        })?;
    }
    party.lab.established(bird.as_ref(), &s)?;
    let log = party.lab.a.log();
    ensure!(log.contains("BGP was spoken here before"), "{log}");
    // It is not there any more when nobody announces it.
    drop(bird);
    for g in &party.guests {
        g.speaker.wait_gone(V4)?;
    }
    party.end(vec![])
}

/// The other side of [`restarter`]: what is kept there goes at once where the appliance cannot say that forwarding went on, and
/// after its deferral where it says so, but its source never speaks again.
///
/// # Errors
/// When it fails.
pub fn not_kept(o: &Options) -> Result<()> {
    for (name, bgp) in [
        ("bb-lost", "restart-time = 60"),
        (
            "bb-defer",
            "install = false\nrestart-time = 60\nrestart-deferral = 3",
        ),
    ] {
        let full = "graceful-restart = \"full\"";
        let makes = [Make::Frr, Make::Bird];
        let source = makes.len() as u8 + 1;
        let bgp = format!("{bgp}\n{}", neighbor(source, asn(source), full));
        let mut party = Party::start(name, o, &makes, &bgp, |make, n| Special {
            asn: asn(n),
            ours: full.into(),
            theirs: graceful_setup(make, n, 60, None),
        })?;
        let s = graceful_setup(Make::Bird, source, 60, None).announce(Announce::new(V4));
        let bird = party.lab.start(source, Make::Bird, &s)?;
        party.lab.established(bird.as_ref(), &s)?;
        for g in &party.guests {
            g.speaker.wait_path(V4)?;
        }
        bird.daemon().signal(Signal::SIGSTOP)?;
        party.lab.a.kill()?;
        party.lab.a.start_again()?;
        party.lab.a.ready()?;
        for g in &party.guests {
            let gone = g.speaker.wait_gone(V4);
            gone.with_context(|| format!("{name}: {:?} keeps it", g.make))?;
            party.lab.established(g.speaker.as_ref(), &g.setup)?;
        }
        bird.daemon().signal(Signal::SIGCONT)?;
        for g in &party.guests {
            g.speaker.wait_path(V4)?;
        }
        party.end(vec![bird])?;
    }
    Ok(())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn long_lived(o: &Options) -> Result<()> {
    let makes = makes("bgp/long-lived-graceful-restart", "9494");
    let long = "long-lived-stale-time = 60";
    let n = makes.len() as u8 + 1;
    let bgp = neighbor(n, asn(n), long);
    let mut party = Party::start("bb-long-lived", o, &makes, &bgp, |make, n| Special {
        asn: asn(n),
        ours: long.into(),
        theirs: graceful_setup(make, n, 1, Some(60)).announce(Announce::new(&prefix(n))),
    })?;
    let s = graceful_setup(Make::Bird, n, 1, Some(60));
    let bird = party.lab.start(n, Make::Bird, &s)?;
    party.lab.established(bird.as_ref(), &s)?;
    let marked = |net: &str, mark: &[&str]| -> Result<bool> {
        let paths = bird.paths(net)?;
        Ok(paths.iter().any(|p| p.communities == mark))
    };
    for at in 0..party.guests.len() {
        let make = party.guests[at].make;
        let net = prefix(party.guests[at].n);
        bird.wait_path(&net)?;
        ensure!(marked(&net, &[])?, "a fresh route of {make:?} is marked");
        // It dies, and is not back within its restart time: the route stays as a last resort, and who hears of it is told so.
        again(&mut party, at, |party| {
            let what = format!("the route of {make:?} is stale for long");
            until(&what, secs(20), || {
                Ok(staleness(party, &net)?.as_deref() == Some("long-lived-stale"))
            })?;
            until("LLGR_STALE is told", secs(10), || {
                marked(&net, &["65535:6"])
            })
        })
        .with_context(|| format!("the restart of {make:?}"))?;
        // It is back: the mark goes.
        eventually("the route is fresh again", secs(10), || {
            let (ours, theirs) = (staleness(&party, &net)?, bird.paths(&net)?);
            ensure!(marked(&net, &[])?, "{make:?}: {ours:?}, {theirs:?}");
            Ok(Some(()))
        })?;
    }
    party.end(vec![bird])
}
