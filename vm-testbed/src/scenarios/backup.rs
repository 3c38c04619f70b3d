//! A way out is lost and another stands ready: backups, and what is left of several paths. Read "backup" in
//! `docs/configuration.md`.

use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cases::{Bed, known_hosts, ports, to_router};
use crate::frame::Ip4;
use crate::lab::wait::{eventually, millis, secs, until};
use crate::lab::{Appliance, Netns};
use crate::progress;
use crate::suite::Options;

use super::pages;

/// Routes that stand on the two links: as many groups, and each with flows of its own.
const ROUTES: [&str; 3] = [
    "198.51.100.0/24 via 10.0.2.2 backup 10.0.3.2",
    "198.51.101.0/24 via 198.51.100.7",
    "198.51.102.0/24 via 10.0.2.2 label 100 backup 10.0.3.2 label 200",
];

/// Which next hops of a route are active, in the order in which it has them.
fn active(a: &Appliance, prefix: &str) -> Result<Vec<(bool, bool)>> {
    let all = a.json(&format!("route show {prefix}"))?;
    let via = all[0]["via"].as_array().context("no via")?;
    let one = |v: &serde_json::Value| Some((v["backup"].as_bool()?, v["active"].as_bool()?));
    via.iter()
        .map(one)
        .collect::<Option<_>>()
        .context("no backup or active")
}

/// The link of the way in use is cut while frames flow: they take the backup. It comes back, and so do they.
///
/// # Errors
/// When it fails.
pub fn backup(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("backup", 3, &ports(&o.flavor, 3, |_| "mpls = true"))?;
    for line in known_hosts(3, &[2]) {
        bed.appliance.must(&line)?;
    }
    for route in ROUTES {
        bed.appliance.must(&format!("route add {route}"))?;
    }
    let (used, stands_by) = (
        [(false, true), (true, false)],
        [(false, false), (true, true)],
    );
    let labelled = "198.51.102.0/24";
    ensure!(
        active(&bed.appliance, labelled)? == used,
        "{}",
        bed.appliance.must(&format!("route show {labelled}"))?
    );
    kept_and_refused(&bed.appliance)?;
    bed.flush()?;
    let frames: Vec<Vec<u8>> = (0..3u16)
        .map(|i| Ip4::udp_ports("10.0.1.2", &format!("198.51.10{i}.9"), 2000, 53, 100))
        .map(|p| to_router(1, &p.bytes()))
        .collect();
    for round in 1..=2 {
        cut(&mut bed, &frames).with_context(|| format!("round {round}"))?;
        let a = &bed.appliance;
        ensure!(
            active(a, labelled)? == stands_by,
            "{}",
            a.must(&format!("route show {labelled}"))?
        );
        let text = a.must("route show 198.51.100.0/24")?;
        ensure!(
            text.contains("(inactive)") && !text.contains("(standing by)"),
            "{text}"
        );
        bed.far().ip("link set e2-far up")?;
        eventually("they come back", secs(5), || {
            for f in &frames {
                bed.wire(1).send(f)?;
            }
            let seen = bed.flush_ports(&[1, 2, 3])?;
            Ok((seen.iter().filter(|(p, f)| *p == 2 && is_ours(f)).count() == 3).then_some(()))
        })?;
        ensure!(
            active(&bed.appliance, labelled)? == used,
            "round {round}: not in use again"
        );
    }
    bed.law()?;
    bed.appliance.stop()
}

/// IPv4 or labelled, and so neither ARP nor IPv6.
fn is_ours(f: &[u8]) -> bool {
    matches!(f[12..14], [8, 0] | [0x88, 0x47])
}

/// What the file keeps of a backup, and what can't be.
fn kept_and_refused(a: &Appliance) -> Result<()> {
    let text = a.must("config show")?;
    let want = "via = [\"10.0.2.2\", { via = \"10.0.3.2\", backup = true }]";
    ensure!(text.contains(want), "{text}");
    for (command, why) in [
        (
            "route add 192.0.2.0/24 backup 10.0.3.2",
            "nothing to back up",
        ),
        (
            "route del 198.51.100.0/24 via 10.0.2.2",
            "nothing to back up",
        ),
        (
            "route replace 198.51.100.0/24 via 10.0.2.2 backup 10.0.2.2",
            "given twice",
        ),
    ] {
        let no = a.ctl(command)?;
        ensure!(
            no.status == Some(1) && no.text().contains(why),
            "{command}: {}",
            no.text()
        );
    }
    Ok(())
}

/// The kernel's word on the links of a namespace, with its time.
struct Monitor(Child);

impl Monitor {
    fn start(ns: &Netns) -> Result<Self> {
        let mut ip = ns.command("ip");
        ip.args(["-tshort", "monitor", "link"]);
        Ok(Self(ip.stdout(Stdio::piped()).spawn()?))
    }

    /// When a device was first said to have no carrier, in seconds of the hour.
    fn lost(mut self, dev: &str) -> Option<f64> {
        self.0.kill().ok()?;
        let mut text = String::new();
        self.0.stdout.take()?.read_to_string(&mut text).ok()?;
        self.0.wait().ok()?;
        let is_it = |l: &&str| l.contains(&format!(" {dev}@")) && l.contains("NO-CARRIER");
        // [2026-11-22T10:15:07.123456] 7: e2@…
        let time = text.lines().find(is_it)?.get(1..)?.split(']').next()?;
        let (_, rest) = time.split_once(':')?;
        let (minutes, seconds) = rest.split_once(':')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    }
}

/// Cuts the link of port 2 while frames flow, and says how long none of a flow came out.
fn cut(bed: &mut Bed, frames: &[Vec<u8>]) -> Result<()> {
    let monitor = Monitor::start(bed.appliance.ns())?;
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (_, _) = (bed.wire(2).drain(), bed.wire(3).drain());
    let moved = std::thread::scope(|s| {
        let (wire, over, sent, appliance) = (bed.wire(1), &over, &sent, &bed.appliance);
        s.spawn(move || {
            // Relaxed: counted by one thread; the flag orders nothing else.
            while !over.load(Ordering::Relaxed) {
                for f in frames {
                    sent.fetch_add(usize::from(wire.send(f).is_ok()), Ordering::Relaxed);
                }
                std::thread::sleep(millis(1) / 2);
            }
        });
        let flowing = || sent.load(Ordering::Relaxed);
        let moved = until("frames flow", secs(5), || Ok(flowing() > 300))
            .and_then(|()| bed.far().ip("link set e2-far down"))
            .and_then(|_| {
                // The kernel takes its time to tell, tens of milliseconds when it is busy.
                until("the link is known to be down", secs(5), || {
                    let shown = appliance.json("interface show p2")?;
                    Ok(shown[0]["link"] == "down")
                })
            })
            .and_then(|()| {
                let then = flowing();
                until("more frames", secs(5), || Ok(flowing() > then + 300))
            });
        over.store(true, Ordering::Relaxed);
        moved
    });
    moved?;
    let take = |port: usize| {
        let mut all = Vec::new();
        while let Some(f) = bed.wire(port).next(Instant::now() + millis(300)) {
            all.extend(is_ours(&f.frame).then_some(f.at));
        }
        all
    };
    let (before, after) = (take(2), take(3));
    let (Some(last), Some(first)) = (before.last(), after.first()) else {
        anyhow::bail!(
            "{} frames by the first way, {} by the backup",
            before.len(),
            after.len()
        );
    };
    let lost = sent
        .load(Ordering::Relaxed)
        .saturating_sub(before.len() + after.len());
    // Before it says so, the kernel waits for a grace period of its own: that is no time of ours.
    let told = monitor.lost("e2").map(|told| {
        let ms = (first.as_secs_f64() % 3600.0 - told) * 1e3;
        format!(", {ms:.1} ms after the kernel told of the link")
    });
    progress::note(&format!(
        "the backup carried {:.1} ms after the last frame of the first way{}; {lost} of {} frames were lost",
        (first.saturating_sub(*last)).as_secs_f64() * 1e3,
        told.unwrap_or_default(),
        sent.load(Ordering::Relaxed),
    ));
    ensure!(
        after.len() >= 300 - lost.min(300),
        "{} frames by the backup, {lost} lost",
        after.len()
    );
    Ok(())
}
