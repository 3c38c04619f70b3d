//! BGP before the user's eyes: a full table through BIRD, the appliance and FRR, then a link that is cut.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::traffic;
use crate::lab::wait::{millis, secs, until};
use crate::lab::{Appliance, Flavor, Lab};
use crate::peers::Speaker;
use crate::progress;
use crate::scenarios::bgp::internet::{self, ASNS, HOST, Internet, NEIGHBORS, Tables};
use crate::scenarios::{ping, reach};
use crate::table;

/// The tables to show; those that are not given are made.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Files {
    /// A real IPv4 table, `prefix origin-AS` a line (.xz or plain), in place of a generated one
    #[arg(long, value_name = "FILE")]
    pub table: Option<PathBuf>,
    /// The same for IPv6
    #[arg(long, value_name = "FILE")]
    pub table6: Option<PathBuf>,
}

impl Files {
    fn read(&self) -> Result<Tables> {
        let size = |histogram: &[(u8, u32)]| histogram.iter().map(|(_, n)| n).sum();
        let v4 = match &self.table {
            Some(f) => table::load(f, false).with_context(|| f.display().to_string())?,
            None => table::ipv4(1, size(&table::HISTOGRAM4)),
        };
        let v6 = match &self.table6 {
            Some(f) => table::load(f, true).with_context(|| f.display().to_string())?,
            None => table::ipv6(1, size(&table::HISTOGRAM6)),
        };
        ensure!(
            v4.len() > 100 && v6.len() > 100,
            "a table to show has more than {} IPv4 and {} IPv6 routes",
            v4.len(),
            v6.len()
        );
        Ok(Tables { v4, v6 }.usable())
    }
}

/// Says something five times a second to who watches, and every two seconds into a log.
#[derive(Default)]
struct Often(Option<Instant>);

impl Often {
    fn now(&mut self) -> bool {
        let every = millis(if progress::terminal() { 200 } else { 2000 });
        let due = self.0.is_none_or(|last| last.elapsed() >= every);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

/// 1168945 as 1,168,945.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A command of trunkctl and what it prints, at most so many lines.
fn say(a: &Appliance, line: &str, most: usize) -> Result<()> {
    println!("\n   trunkctl {line}");
    let text = a.must(line)?;
    for l in text.lines().take(most) {
        println!("   {l}");
    }
    if text.lines().count() > most {
        println!("   …");
    }
    Ok(())
}

/// Shows it.
///
/// # Errors
/// When something does not work.
pub fn show(flavor: &Flavor, files: &Files) -> Result<()> {
    progress::title("2. BGP: the Internet's table between BIRD and FRR");
    println!(
        "\n                            ┌── link a ──┐\n     net ────── BIRD ───────┤            ├── trunkline ──── FRR ──── h2\n   AS {}    AS {}     └── link b ──┘   AS 64500    AS {}   {}\n",
        ASNS[0], ASNS[1], ASNS[2], HOST
    );
    let step = progress::step(match &files.table {
        Some(_) => "reading the table",
        None => "making a table of the size and shape of today's",
    });
    let tables = files.read()?;
    step.done(&format!(
        "{} IPv4 and {} IPv6 routes",
        grouped(tables.v4.len() as u64),
        grouped(tables.v6.len() as u64)
    ));
    let mut lab = Lab::new("internet")?;
    let step = progress::step("starting BIRD, FRR and trunkline until their sessions are up");
    let mut net = internet::build(&mut lab, flavor, tables)?;
    step.done("three sessions");
    converge(&mut net)?;
    say(&net.a, "bgp summary", 8)?;
    println!();
    let step = progress::step("h2 finds the way to addresses that it has only heard of");
    net.reach()?;
    let all: Vec<String> = (net.targets.iter().map(|t| t.address.to_string())).collect();
    step.done(&all.join(", "));
    let target = net.targets[0].clone();
    say(&net.a, &format!("bgp route {}", target.prefix), 16)?;
    say(&net.a, &format!("route show {}", target.address), 8)?;
    println!("\n   h2: traceroute {}", target.address);
    let hops = net
        .h2
        .run(&format!("traceroute -n -q 1 -w 1 {}", target.address))?;
    for l in hops.lines().skip(1) {
        println!("   {l}");
    }
    println!();
    let v6 = net.targets.last().context("a table without IPv6")?.address;
    let to = [target.address.to_string(), v6.to_string()];
    traffic(&net.h2, &net.net, [&to[0], &to[1]], &net.a)?;
    cut(&net, &target.address.to_string())?;
    say(&net.a, "memory show", 12)?;
    println!();
    let step = progress::step("taking it all down");
    drop(net.feeder.take());
    let Internet {
        a,
        mut bird,
        mut frr,
        ..
    } = net;
    let start = Instant::now();
    a.stop()?;
    let ours = start.elapsed();
    // They would give every route back one by one.
    frr.daemon_mut().kill()?;
    bird.daemon_mut().kill()?;
    drop((bird, frr, lab));
    step.done(&format!("trunkline ended in {:.1} s", ours.as_secs_f64()));
    Ok(())
}

fn converge(net: &mut Internet) -> Result<()> {
    let n = net.size();
    let step = progress::step("the table goes from net by BIRD and trunkline to FRR");
    net.feed()?;
    let mut often = Often::default();
    let (ours, all) = net.converge(|p| {
        if often.now() {
            step.say(&format!(
                "BIRD has {}, trunkline received {} on two links and passed {} on, FRR has {}",
                grouped(p.bird),
                grouped(p.received),
                grouped(p.given),
                grouped(p.frr)
            ));
        }
    })?;
    let waited = || -> Result<bool> { Ok(net.a.json("bgp summary")?.is_array()) };
    until("trunkctl answers", secs(5), waited)?;
    step.done(&format!(
        "{} routes twice over: trunkline had them all {:.1} s after the first was sent, FRR after {:.1} s; trunkline takes {} MiB",
        grouped(n),
        ours.as_secs_f64(),
        all.as_secs_f64(),
        net.a.resident()? >> 20
    ));
    Ok(())
}

/// Cuts the link that is in use.
fn cut(net: &Internet, target: &str) -> Result<()> {
    let target = target.parse()?;
    let link = net.link_to(target)?;
    let other = if link == "a" { "b" } else { "a" };
    let step = progress::step(&format!(
        "h2 pings {target} by link {link}; the link is cut"
    ));
    let time = Duration::from_secs(4);
    let (lost, sent) = net.lost_while(target, time, || net.set_link(link, false))?;
    let now = net.link_to(target)?;
    ensure!(now == other, "frames still take link {now}");
    step.done(&format!(
        "{lost} of {sent} pings lost, one each 5 ms; frames take link {other} now"
    ));
    say(&net.a, "bgp summary", 8)?;
    println!();
    let step = progress::step(&format!("link {link} is there again"));
    net.set_link(link, true)?;
    let (twice, mut often) = (2 * net.size(), Often::default());
    let back = until(
        "both sessions are up and have everything",
        secs(120),
        || {
            std::thread::sleep(millis(200));
            let p = net.progress()?;
            if often.now() {
                step.say(&format!("trunkline received {}", grouped(p.received)));
            }
            Ok(p.received >= twice && net.up(NEIGHBORS[0])? && net.up(NEIGHBORS[1])?)
        },
    );
    back?;
    reach(&net.h2, &target.to_string())?;
    let ms = ping(&net.h2, &target.to_string(), 20)?;
    step.done(&format!(
        "all routes are there twice; 20 of 20 pings answered, {ms:.2} ms"
    ));
    Ok(())
}
