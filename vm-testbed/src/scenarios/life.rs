//! An appliance's life: how soon it forwards, what it needs at rest, how it ends, and that it comes back.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cases::{Bed, host as mac, ports, to_host, to_router};
use crate::frame::Ip4;
use crate::lab::wait::{millis, secs, until};
use crate::lab::{Appliance, Driver, Flavor, Lab, Memory, Netns, Wire};
use crate::suite::Options;

use super::hosts::{config, host};
use super::{Skip, pages, ping, reach};

/// What `[neighbor]` needs for a host 2 at each port that never speaks.
fn known(port: usize) -> String {
    let m = mac(port, 2).map(|b| format!("{b:02x}")).join(":");
    format!("[[neighbor.static]]\naddress = \"10.0.{port}.2\"\nlladdr = \"{m}\"\ndev = \"p{port}\"")
}

/// How long after its start an appliance forwards the first frame between two interfaces, both ways.
///
/// # Errors
/// When it does not within ten seconds.
pub fn time_to_forward(name: &str, flavor: &Flavor) -> Result<(Duration, Appliance, Lab)> {
    let mut lab = Lab::new(name)?;
    let (dut, far) = (lab.router("dut")?, lab.space("far")?);
    let wires = [lab.wire(&dut, "e1", &far)?, lab.wire(&dut, "e2", &far)?];
    let config = ports(flavor, 2, |_| "")
        .section(&known(1))
        .section(&known(2));
    let a = lab.spawn("dut", &dut, &config)?;
    let mut last = Duration::ZERO;
    for (from, to) in [(1, 2), (2, 1)] {
        let p = Ip4::udp(&format!("10.0.{from}.2"), &format!("10.0.{to}.2"), 30);
        first_through(
            &a,
            &wires[from - 1],
            &wires[to - 1],
            &to_router(from, &p.bytes()),
            &to_host(to, 2, &p.ttl(63).bytes()),
        )
        .with_context(|| format!("trunkline said:\n{}", a.log_tail()))?;
        ensure!(a.alive(), "trunkline ended; it said:\n{}", a.log_tail());
        last = a.started().elapsed();
    }
    Ok((last, a, lab))
}

/// Sends a frame every two milliseconds until one comes out.
fn first_through(a: &Appliance, from: &Wire, to: &Wire, frame: &[u8], out: &[u8]) -> Result<()> {
    until("the first frame is forwarded", secs(10), || {
        if !a.alive() {
            return Ok(true);
        }
        from.send(frame)?;
        let soon = Instant::now() + millis(2);
        while let Some(f) = to.next(soon) {
            if f.frame == out {
                return Ok(true);
            }
        }
        Ok(false)
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn start_up(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let (took, a, _lab) = time_to_forward("start-up", &o.flavor)?;
    ensure!(
        took < secs(2),
        "the first frames went through {:.2} s after the start, not under 2 s",
        took.as_secs_f64()
    );
    let mib = a.resident()? >> 20;
    ensure!(mib < 300, "{mib} MiB resident, not under 300");
    a.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn idle(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("idle")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&host(1), &r1, "e1")?;
    let _h2 = lab.host(&host(2), &r1, "e2")?;
    let a = lab.start("r1", &r1, &config(&o.flavor))?;
    reach(&h1, "10.0.1.1")?;
    at_rest(&a, &h1)?;
    a.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn idle_taps(o: &Options) -> Result<()> {
    if std::thread::available_parallelism()?.get() < 2 {
        return Err(Skip("one CPU only".into()).into());
    }
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("idle-taps")?;
    let r1 = lab.router("r1")?;
    // Until it is moved the kernel has the TAP, and would answer on it for the router's addresses.
    r1.sysctl("ipv4/conf/all/arp_ignore", "1")?;
    let config = (1..=2).fold(o.flavor.config("r1").workers("0,1"), |c, i| {
        let address = format!("10.0.{i}.1/24");
        c.interface_on(&format!("lan{i}"), &format!("tap:t{i}"), &[&address], "")
    });
    let a = lab.start("r1", &r1, &config)?;
    let mut hosts = vec![];
    for i in 1..=2 {
        let h = lab.space(&format!("h{i}"))?;
        r1.ip(&format!("link set t{i} netns {} name eth0", h.name()))?;
        h.ip(&format!("addr add 10.0.{i}.2/24 dev eth0"))?;
        h.ip("link set eth0 up")?;
        h.ip(&format!("route add default via 10.0.{i}.1"))?;
        hosts.push(h);
    }
    reach(&hosts[0], "10.0.1.1")?;
    at_rest(&a, &hosts[0])?;
    a.stop()
}

/// What an appliance costs and how soon it answers host 1, and host 2 through it, while nothing else goes on.
fn at_rest(a: &Appliance, h1: &Netns) -> Result<()> {
    let (from, used) = (Instant::now(), a.cpu_time()?);
    // What is measured is time itself, so this is the one place that lets it pass.
    std::thread::sleep(secs(5));
    let share = (a.cpu_time()? - used).as_secs_f64() / from.elapsed().as_secs_f64() * 100.0;
    ensure!(
        share < 5.0,
        "idle, it used {share:.1} % of a core, not under 5"
    );
    for to in ["10.0.1.1", "10.0.2.2"] {
        reach(h1, to)?;
        let median = median_ping(h1, to)?;
        ensure!(
            median < 1.0,
            "from idle, half of the pings to {to} took over {median} ms, not under 1"
        );
    }
    Ok(())
}

/// The median of pings from rest, in milliseconds, on a machine that is at rest as well: where others keep the CPUs busy,
/// everybody is woken too late.
fn median_ping(from: &Netns, to: &str) -> Result<f64> {
    let deadline = Instant::now() + secs(60);
    loop {
        let (all, idle) = cpu_ticks()?;
        // Half a second apart, so that the workers have gone to sleep in between.
        let out = from.run(&format!("ping -n -c 7 -i 0.5 {to}"))?;
        let (all_after, idle_after) = cpu_ticks()?;
        let busy =
            100u64.saturating_sub(idle_after.saturating_sub(idle) * 100 / (all_after - all).max(1));
        if busy < 20 {
            return middle(&out);
        }
        if Instant::now() > deadline {
            let why = format!(
                "the CPUs were {busy} % busy, and for a minute before: no time to measure a ping from rest"
            );
            return Err(Skip(why).into());
        }
    }
}

/// Ticks of all CPUs since the machine started: all of them, and the idle ones. proc(5), `/proc/stat`.
fn cpu_ticks() -> Result<(u64, u64)> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .filter_map(|t| t.parse().ok())
        .collect();
    let idle = ticks.get(3).context("/proc/stat has no idle time")? + ticks.get(4).unwrap_or(&0);
    Ok((ticks.iter().take(8).sum(), idle))
}

/// The median of the times that ping(8) printed, in milliseconds.
fn middle(ping: &str) -> Result<f64> {
    let mut times: Vec<f64> = ping
        .split("time=")
        .skip(1)
        .filter_map(|s| s.split(' ').next()?.parse().ok())
        .collect();
    times.sort_by(f64::total_cmp);
    times
        .get(times.len() / 2)
        .copied()
        .context("ping printed no times")
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn persistence(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start(
        "persistence",
        3,
        &ports(&o.flavor, 2, |_| "mpls = true").top("# Kept by hand, with care."),
    )?;
    let a = &mut bed.appliance;
    let m = mac(2, 2).map(|b| format!("{b:02x}")).join(":");
    for line in [
        format!("neigh add 10.0.2.2 lladdr {m} dev p2"),
        "route add 198.51.100.0/24 via 10.0.2.2 label 100/200".into(),
        "route add 203.0.113.0/24 via 10.0.2.2".into(),
        "route add blackhole 192.0.2.0/25".into(),
        "route del 203.0.113.0/24".into(),
        "label add 300 swap 400 via 10.0.2.2".into(),
        format!(
            "interface add p3 device {} address 10.0.3.1/24 mtu 1400 mpls",
            o.flavor.device("e3")
        ),
    ] {
        a.must(&line)?;
    }
    let show = |a: &Appliance| -> Result<Vec<String>> {
        ["route show", "label show", "neigh show 10.0.2.2"]
            .iter()
            .map(|s| Ok(strip(a.json(s)?).to_string()))
            .collect()
    };
    let before = show(a)?;
    a.terminate()?;
    let text = std::fs::read_to_string(a.config())?;
    ensure!(
        text.contains("# Kept by hand, with care."),
        "a comment is lost:\n{text}"
    );
    a.start_again()?;
    let after = show(a)?;
    ensure!(
        before == after,
        "before the restart:\n{before:?}\nafter it:\n{after:?}"
    );
    let names = a.counters()?;
    ensure!(
        names.0.contains_key("p3"),
        "interface p3 is lost: {names:?}"
    );
    let p = Ip4::udp("10.0.1.2", "198.51.100.9", 30);
    let out = crate::frame::labelled(
        &[
            crate::frame::Lse::new(100).ttl(63),
            crate::frame::Lse::new(200).ttl(63),
        ],
        &p.clone().ttl(63).bytes(),
    );
    let c = crate::cases::case("labelled as before")
        .packet(1, &p.bytes())
        .out_labelled(2, &out);
    bed.run(&c)?;
    bed.appliance.stop()
}

/// Without what changes by itself: ages, states of neighbours.
fn strip(mut v: serde_json::Value) -> serde_json::Value {
    for row in v.as_array_mut().into_iter().flatten() {
        if let Some(o) = row.as_object_mut() {
            o.remove("age_s");
        }
    }
    v
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn terminate(_: &Options) -> Result<()> {
    let flavor = Flavor {
        memory: Memory::Hugepages,
        driver: Driver::AfXdp,
    };
    let _pages = pages(&flavor, 1)?;
    let mut lab = Lab::new("terminate")?;
    let r1 = lab.router("r1")?;
    let h1 = lab.host(&host(1), &r1, "e1")?;
    let h2 = lab.host(&host(2), &r1, "e2")?;
    let mut a = lab.start("r1", &r1, &config(&flavor))?;
    for round in 1..=3 {
        reach(&h1, "10.0.2.2")?;
        // Traffic goes on while it is told to end.
        let mut flood = h2
            .command("ping")
            .args(["-q", "-i", "0.002", "10.0.1.2"])
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let ended = a.terminate().with_context(|| format!("round {round}"));
        let _ = flood.kill();
        let _ = flood.wait();
        ended?;
        a.start_again()
            .with_context(|| format!("start after round {round}"))?;
    }
    a.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn kill(_: &Options) -> Result<()> {
    for flavor in [
        Flavor {
            memory: Memory::NoHuge,
            driver: Driver::AfPacket,
        },
        Flavor {
            memory: Memory::Hugepages,
            driver: Driver::AfXdp,
        },
    ] {
        let Ok(_pages) = pages(&flavor, 1) else {
            continue;
        };
        let mut lab = Lab::new("kill")?;
        let r1 = lab.router("r1")?;
        let h1 = lab.host(&host(1), &r1, "e1")?;
        let _h2 = lab.host(&host(2), &r1, "e2")?;
        let mut a = lab.start("r1", &r1, &config(&flavor))?;
        for round in 1..=2 {
            reach(&h1, "10.0.2.2")?;
            reach(&h1, "10.0.1.1")?;
            a.kill()?;
            a.start_again()
                .with_context(|| format!("{flavor}: start after SIGKILL, round {round}"))?;
        }
        for to in ["10.0.2.2", "10.0.1.1", "2001:db8:2::2", "2001:db8:1::1"] {
            reach(&h1, to)?;
            ping(&h1, to, 10)?;
        }
        a.stop()
            .with_context(|| format!("{flavor}: after two SIGKILLs"))?;
    }
    Ok(())
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn socket(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("socket")?;
    let r1 = lab.router("r1")?;
    let _h1 = lab.host(&host(1), &r1, "e1")?;
    let _h2 = lab.host(&host(2), &r1, "e2")?;
    let mut a = lab.start("r1", &r1, &config(&o.flavor))?;
    let mode = std::fs::metadata(a.socket())?.permissions().mode() & 0o777;
    ensure!(mode == 0o660, "mode {mode:o}, not 660");
    let usage = a.ctl("route add")?;
    ensure!(
        usage.status == Some(2),
        "a command cut short ends with {:?}, not 2: {}",
        usage.status,
        usage.text()
    );
    let refused = a.ctl("route del 198.51.100.0/24")?;
    ensure!(
        refused.status == Some(1),
        "a refusal ends with {:?}, not 1: {}",
        refused.status,
        refused.text()
    );
    a.terminate()?;
    let gone = a.ctl("route show")?;
    ensure!(
        gone.status == Some(3),
        "without an appliance it ends with {:?}, not 3: {}",
        gone.status,
        gone.text()
    );
    Ok(())
}
