//! `cargo testbed demo`: two hosts through one appliance, a full table by BGP ([`internet`]), then a label switched path of three,
//! before the user's eyes.

pub mod internet;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::lab::wait::millis;
use crate::lab::{Appliance, Counters, Flavor, Lab, Netns, netns, signals};
use crate::scenarios::{hosts, iperf, life, pages, path, ping, reach};
use crate::{progress, setup};

/// Where the files of a kept demo are.
fn folder() -> PathBuf {
    std::env::temp_dir().join("tl-demo")
}

/// What the names of a kept demo begin with.
const PREFIX: &str = "tl-demo-";

/// Takes a kept demo down.
pub fn clean() {
    signals::sweep(PREFIX, &folder());
}

/// Shows it all.
///
/// # Errors
/// When the machine can't be prepared, or something does not work.
pub fn run(
    flavor: Flavor,
    programs: &setup::Programs,
    files: &internet::Files,
    keep: bool,
) -> Result<()> {
    if keep {
        ensure!(
            netns::named(PREFIX).is_empty(),
            "a demo that was kept is still up; take it down first: cargo testbed clean"
        );
    }
    progress::title("Preparing this machine");
    setup::install()?;
    setup::build(programs)?;
    signals::remove_stale();
    let _pages = pages(&flavor, 3)?;
    two_hosts(&flavor)?;
    internet::show(&flavor, files)?;
    labels(&flavor, keep)
}

fn two_hosts(flavor: &Flavor) -> Result<()> {
    progress::title(&format!(
        "1. Two Linux hosts, one appliance between them ({flavor})"
    ));
    println!(
        "\n     h1 ─────────── trunkline ─────────── h2\n   10.0.1.2                          10.0.2.2\n   2001:db8:1::2                2001:db8:2::2\n"
    );
    let step = progress::step("starting trunkline until both interfaces forward");
    let (took, a, lab) = life::time_to_forward("start", flavor)?;
    let mib = a.resident()? >> 20;
    step.done(&format!(
        "{:.0} ms after its start, {mib} MiB resident",
        took.as_secs_f64() * 1e3
    ));
    a.stop()?;
    drop(lab);

    let mut lab = Lab::new("pair")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&hosts::host(1), &r1, "e1")?;
    let h2 = lab.host(&hosts::host(2), &r1, "e2")?;
    let a = lab.start("r1", &r1, &hosts::config(flavor))?;
    traffic(&h1, &h2, ["10.0.2.2", "2001:db8:2::2"], &a)?;
    counters(&a, "trunkctl interface show")?;
    a.stop()
}

fn traffic(h1: &Netns, h2: &Netns, to: [&str; 2], watched: &Appliance) -> Result<()> {
    for address in to {
        let step = progress::step(&format!("ping {address}"));
        reach(h1, address)?;
        let ms = ping(h1, address, 20)?;
        step.done(&format!("20 of 20 answered, {ms:.2} ms on average"));
    }
    for address in to {
        let step = progress::step(&format!("iperf3, TCP to {address}"));
        let over = AtomicBool::new(false);
        let mbps = std::thread::scope(|s| {
            s.spawn(|| live(watched, &step, &over));
            let mbps = iperf(h1, (h2, address), "-t 3 -M 1380");
            // Relaxed: it only says that there is nothing more to watch.
            over.store(true, Ordering::Relaxed);
            mbps
        })?;
        step.done(&format!("{mbps:.0} Mbit/s"));
    }
    Ok(())
}

/// Says what goes through the appliance while it does.
fn live(a: &Appliance, step: &progress::Step, over: &AtomicBool) {
    let every = millis(if progress::terminal() { 250 } else { 1000 });
    let mut last: Option<(Instant, Counters)> = None;
    while !over.load(Ordering::Relaxed) {
        let Ok(now) = a.counters() else { return };
        if let Some((at, before)) = last.replace((Instant::now(), now.clone())) {
            let s = at.elapsed().as_secs_f64();
            let rates: Vec<String> = now
                .0
                .iter()
                .filter_map(|(name, r)| {
                    let b = before.0.get(name)?;
                    let frames = (r.rx.saturating_sub(b.rx)) as f64 / s / 1e3;
                    let bits = (r.rx_bytes.saturating_sub(b.rx_bytes)) as f64 * 8.0 / s / 1e6;
                    Some(format!(
                        "{name} takes in {frames:.0} kpps, {bits:.0} Mbit/s"
                    ))
                })
                .collect();
            step.say(&rates.join("; "));
        }
        std::thread::sleep(every);
    }
}

/// The counters of an appliance as a table.
fn counters(a: &Appliance, title: &str) -> Result<()> {
    println!("\n   {title}");
    println!(
        "   {:<8} {:>10} {:>12} {:>10} {:>12}  drops",
        "", "rx packets", "rx bytes", "tx packets", "tx bytes"
    );
    for i in a.json("interface show")?.as_array().into_iter().flatten() {
        let n = |k: &str| i[k].as_u64().unwrap_or(0);
        let drops: Vec<String> = i["drops"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, v)| v.as_u64() != Some(0))
            .map(|(k, v)| format!("{k} {v}"))
            .collect();
        println!(
            "   {:<8} {:>10} {:>12} {:>10} {:>12}  {}",
            i["name"].as_str().unwrap_or("?"),
            n("rx_packets"),
            n("rx_bytes"),
            n("tx_packets"),
            n("tx_bytes"),
            drops.join(", ")
        );
    }
    println!();
    Ok(())
}

fn labels(flavor: &Flavor, keep: bool) -> Result<()> {
    progress::title("3. A label switched path: push, swap, pop");
    let (right, left) = (path::RIGHT, path::LEFT);
    println!(
        "\n     h1 ───── LER1 ───── LSR ───── LER2 ───── h2\n            push {:<4}  swap {}→{}   pop {}        →\n        ←   pop {:<4}   swap {}→{}   push {}\n",
        right.0, right.0, right.1, right.1, left.1, left.0, left.1, left.0
    );
    let mut lab = if keep {
        Lab::lasting("demo", &folder())?
    } else {
        Lab::new("path")?
    };
    let step = progress::step("starting three appliances");
    let p = path::build(&mut lab, flavor)?;
    step.done("");
    traffic(
        &p.h1,
        &p.h2,
        ["192.168.2.2", "2001:db8:2::2"],
        &p.routers[1].1,
    )?;
    for to in ["192.168.2.2", "2001:db8:2::2"] {
        println!("\n   traceroute -e {to}   (<MPLS:L=label,E=class,S=bottom,T=ttl>)");
        for line in path::traceroute(&p.h1, to)?.lines().skip(1) {
            println!("   {line}");
        }
    }
    label_tables(&p)?;
    for (ns, a) in &p.routers {
        counters(
            a,
            &format!(
                "{}: trunkctl interface show",
                ns.name().rsplit('-').next().unwrap_or_default()
            ),
        )?;
    }
    if keep {
        lab.keep();
        return kept(&lab, p);
    }
    let step = progress::step("taking it all down");
    for (_, a) in p.routers {
        a.stop()?;
    }
    drop(lab);
    step.done("the machine is as it was");
    println!(
        "\nWhat to try next: `cargo testbed demo --keep` and look around; `cargo testbed demo --driver af_xdp`;\n\
         `cargo testbed test`; docs/configuration.md for a configuration of your own.\n"
    );
    Ok(())
}

fn label_tables(p: &path::Path) -> Result<()> {
    println!("\n   trunkctl label show");
    for (ns, a) in &p.routers {
        let name = ns.name().rsplit('-').next().unwrap_or_default().to_owned();
        for l in a.json("label show")?.as_array().into_iter().flatten() {
            let via: Vec<String> = l["via"]
                .as_array()
                .into_iter()
                .flatten()
                .map(next_hop)
                .collect();
            println!(
                "   {name:<5} {:>5} {} {}",
                l["label"],
                l["action"].as_str().unwrap_or("?"),
                via.join(" ")
            );
        }
    }
    Ok(())
}

fn next_hop(v: &Value) -> String {
    let labels: Vec<String> = v["label"]
        .as_array()
        .into_iter()
        .flatten()
        .map(ToString::to_string)
        .collect();
    format!(
        "{} via {} dev {}",
        labels.join("/"),
        v["address"].as_str().unwrap_or(""),
        v["interface"].as_str().unwrap_or("")
    )
}

/// Says how to enter what was left up.
fn kept(lab: &Lab, p: path::Path) -> Result<()> {
    let ctl = crate::lab::appliance::program("trunkctl");
    println!("\nThe lab is up. Its namespaces:");
    for ns in lab.spaces() {
        println!("   {}", ns.name());
    }
    println!("\nWhat to try next:");
    println!("   ip netns exec {PREFIX}h1 ping 192.168.2.2");
    println!("   ip netns exec {PREFIX}h1 traceroute -n -e 192.168.2.2");
    println!("   ip netns exec {PREFIX}lsr tcpdump -n -i left mpls");
    for (ns, a) in &p.routers {
        println!(
            "   {} --socket {} interface show     # {}",
            ctl.display(),
            a.socket().display(),
            ns.name()
        );
    }
    let lsr = Path::new(p.routers[1].1.socket());
    println!(
        "   {} --socket {} label add 500 swap 501 via 10.0.2.1",
        ctl.display(),
        lsr.display()
    );
    println!("\nTo take it down:   cargo testbed clean\n");
    for (_, a) in p.routers {
        a.leave();
    }
    Ok(())
}
