//! Neighbours that behave badly, as fast as they can; the others must not notice, the command line must answer, and memory must
//! stay bounded.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};

use super::{Around, address, around, asn, neighbor, router, sections, setup};
use crate::lab::Netns;
use crate::lab::wait::{secs, until};
use crate::peers::raw::{Raw, announce, connection, withdraw};
use crate::peers::{Announce, Make, Setup, Speaker};
use crate::suite::Options;

/// Longer than two hold times of the good neighbour.
const TIME: std::time::Duration = secs(8);
const V4: &str = "198.51.100.0/24";

struct Bed {
    lab: Around,
    good: Box<dyn Speaker>,
    setup: Setup,
}

/// An appliance, a good neighbour with a short hold time as number 1, and room for a bad one as number 2.
fn bed(name: &str, o: &Options) -> Result<Bed> {
    let bgp = sections(&[
        neighbor(1, asn(1), "hold-time = 3"),
        neighbor(2, asn(2), ""),
    ]);
    let lab = around(name, &o.flavor, 2, &bgp)?;
    let mut setup = setup(1).announce(Announce::new(V4));
    setup.hold = 3;
    let good = lab.start(1, Make::Bird, &setup)?;
    lab.established(good.as_ref(), &setup)?;
    lab.wait_routes(V4, 1)?;
    Ok(Bed { lab, good, setup })
}

fn v4(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, n, 2)
}

/// Runs `bad` until it is told to stop, and looks at all others meanwhile.
fn under(
    name: &str,
    o: &Options,
    bad: impl Fn(&Netns, &AtomicBool) -> Result<u64> + Sync,
) -> Result<()> {
    let bed = bed(name, o)?;
    let me = bed.setup.local.to_string();
    let ups = |bed: &Bed| -> Result<u64> {
        Ok(bed.lab.neighbor(&me)?["established"].as_u64().unwrap_or(0))
    };
    let (before, sessions) = (bed.lab.a.resident()?, ups(&bed)?);
    let stop = AtomicBool::new(false);
    let (done, most, asked) = std::thread::scope(|s| {
        let space = &bed.lab.spaces[1];
        let work = s.spawn(|| bad(space, &stop));
        let end = Instant::now() + TIME;
        let watch = || -> Result<(u64, u32)> {
            let (mut most, mut asked) = (0, 0);
            while Instant::now() < end {
                // trunkctl is given up after 30 s, and that would be an error here.
                bed.lab.a.must("bgp summary")?;
                most = most.max(bed.lab.a.resident()?);
                asked += 1;
                ensure!(
                    bed.good.established(bed.setup.peer)?,
                    "the good neighbour lost its session"
                );
            }
            Ok((most, asked))
        };
        let watched = watch();
        // Relaxed: it only says that it is enough.
        stop.store(true, Ordering::Relaxed);
        let done = work
            .join()
            .map_err(|_| anyhow!("the bad neighbour panicked"))??;
        let (most, asked) = watched?;
        anyhow::Ok((done, most, asked))
    })?;
    ensure!(done > 0, "the bad neighbour did nothing");
    ensure!(asked > 10, "trunkctl answered {asked} times in {TIME:?}");
    let more = most.saturating_sub(before) >> 20;
    ensure!(more < 128, "memory grew by {more} MiB");
    ensure!(
        ups(&bed)? == sessions,
        "the good neighbour's session was made anew"
    );
    bed.good.wait_established(bed.setup.peer)?;
    bed.lab.wait_routes(V4, 1)?;
    // What it did leaves nothing.
    until("no route of the bad neighbour is left", secs(10), || {
        Ok(bed.lab.neighbor(&address(2).to_string())?["received"]
            .as_u64()
            .unwrap_or(0)
            == 0)
    })?;
    bed.lab.end(vec![bed.good])
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn flapping(o: &Options) -> Result<()> {
    under("bb-flap", o, |ns, stop| {
        let mut raw = Raw::open(ns, v4(2), router(2), asn(2), 90)?;
        let mut burst = Vec::new();
        for i in 0..64 {
            let first = 0x1400_0000 + (i << 16);
            burst.extend(announce(&[asn(2), 65_000 + i], v4(2), first, 200));
            burst.extend(announce(&[asn(2), 64_000 + i, 1], v4(2), first, 200));
            burst.extend(withdraw(first, 200));
        }
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            raw.say(&burst)?;
            n += 1;
        }
        Ok(n)
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn deaf(o: &Options) -> Result<()> {
    // Number 2 reads nothing; what number 1 would have it told changes all the time.
    let bgp = sections(&[
        neighbor(1, asn(1), "hold-time = 3"),
        neighbor(2, asn(2), ""),
        neighbor(3, asn(3), "hold-time = 90"),
    ]);
    let lab = around("bb-deaf", &o.flavor, 3, &bgp)?;
    let mut s = setup(1);
    s.hold = 3;
    let good = lab.start(1, Make::Bird, &s)?;
    lab.established(good.as_ref(), &s)?;
    let before = lab.a.resident()?;
    let _deaf = Raw::open(&lab.spaces[1], v4(2), router(2), asn(2), 90)?;
    let mut busy = Raw::open(&lab.spaces[2], v4(3), router(3), asn(3), 90)?;
    let end = Instant::now() + TIME;
    let mut most = 0;
    let mut round = 0;
    while Instant::now() < end {
        round += 1;
        for i in 0..256 {
            let path = [asn(3), 1_000_000 + round, 65_000 + i];
            busy.say(&announce(&path, v4(3), 0x1400_0000 + (i << 16), 200))?;
        }
        most = most.max(lab.a.resident()?);
        ensure!(
            good.established(s.peer)?,
            "the good neighbour lost its session"
        );
    }
    // The last word reaches who listens.
    busy.say(&announce(&[asn(3), 7], v4(3), 0xc633_6400, 1))?;
    good.wait_path(V4)?;
    let more = most.saturating_sub(before) >> 20;
    ensure!(
        more < 192,
        "memory grew by {more} MiB in {round} rounds of 51,200 routes"
    );
    lab.end(vec![good])
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn opening(o: &Options) -> Result<()> {
    under("bb-open", o, |ns, stop| {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            if n % 3 == 0 {
                // Just a connection.
                drop(connection(ns, v4(2).into(), router(2)));
            } else {
                drop(Raw::open(ns, v4(2), router(2), asn(2), 90));
            }
            n += 1;
        }
        Ok(n)
    })
}
