//! What stories are made of: huge pages, pings, TCP.

use anyhow::{Context, Result, anyhow, ensure};

use super::Skip;
use crate::lab::netns::Netns;
use crate::lab::pages::Pages;
use crate::lab::wait::{secs, until};
use crate::lab::{Flavor, Memory};

/// Huge pages for as long as the value lives, if the flavor is on them.
///
/// # Errors
/// A [`Skip`] when the machine has not enough.
pub fn pages(flavor: &Flavor, appliances: u64) -> Result<Option<Pages>> {
    if flavor.memory == Memory::NoHuge {
        return Ok(None);
    }
    match Pages::reserve(appliances * 512) {
        Ok(p) => Ok(Some(p)),
        Err(e) => Err(anyhow!(Skip(format!("no huge pages here: {e:#}")))),
    }
}

/// Pings until an answer comes, for ten seconds at most: addresses have to be found first.
///
/// # Errors
/// When none comes.
pub fn reach(from: &Netns, to: &str) -> Result<()> {
    until(&format!("{} reaches {to}", from.name()), secs(10), || {
        Ok(from.finish(&format!("ping -n -c 1 -W 1 {to}"))?.ok())
    })
}

/// Pings `count` times; all must be answered, once each. Returns the average round trip in milliseconds.
///
/// ping(8) waits for the last answers no longer than the interval or two round trips, whatever `-W` says, and so reports
/// those as lost that a busy machine brings later. The host's kernel counts them all the same: it has the last word.
///
/// # Errors
/// When answers are missing a second later, or one comes twice.
pub fn ping(from: &Netns, to: &str, count: u32) -> Result<f64> {
    let before = echo_replies(from)?;
    let out = from.finish(&format!("ping -n -c {count} -i 0.01 -W 1 {to}"))?;
    let said = out.text();
    ensure!(!said.contains("duplicates"), "ping {to}: {said}");
    until(
        &format!("all {count} pings to {to} are answered"),
        secs(1),
        || Ok(echo_replies(from)? - before == u64::from(count)),
    )
    .with_context(|| said.clone())?;
    round_trip(&said)
}

/// How many echo replies of either family the kernel of a namespace has received.
fn echo_replies(ns: &Netns) -> Result<u64> {
    let text = ns.run("cat /proc/net/snmp /proc/net/snmp6")?;
    let v6 = text
        .lines()
        .find_map(|l| l.strip_prefix("Icmp6InEchoReplies"))
        .context("/proc/net/snmp6 has no Icmp6InEchoReplies")?;
    let mut v4 = text.lines().filter_map(|l| l.strip_prefix("Icmp: "));
    let (names, values) = v4.next().zip(v4.next()).context("no Icmp: lines")?;
    let v4 = names
        .split(' ')
        .zip(values.split(' '))
        .find_map(|(n, v)| (n == "InEchoReps").then_some(v))
        .context("/proc/net/snmp has no InEchoReps")?;
    Ok(v4.parse::<u64>()? + v6.trim().parse::<u64>()?)
}

/// The average round trip that ping(8) printed, in milliseconds.
///
/// # Errors
/// When it printed none.
pub fn round_trip(ping: &str) -> Result<f64> {
    let rtt = ping
        .split("mdev = ")
        .nth(1)
        .and_then(|s| s.split('/').nth(1));
    rtt.and_then(|s| s.parse().ok())
        .context("ping printed no times")
}

/// Megabits a second of TCP (or UDP) from one host to another for `seconds`, with the share that had to be sent again.
///
/// # Errors
/// When nothing gets through.
pub fn iperf(from: &Netns, to: (&Netns, &str), more: &str) -> Result<f64> {
    let (server, address) = to;
    let port = 5201;
    let mut child = server
        .command("iperf3")
        .args(["-s", "-1", "-p", &port.to_string(), "--forceflush"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    let listens = until("iperf3 listens", secs(5), || {
        Ok(server
            .run("cat /proc/net/tcp6 /proc/net/tcp")?
            .contains(&format!(":{port:04X} ")))
    });
    let result =
        listens.and_then(|()| from.run(&format!("iperf3 -J -c {address} -p {port} {more}")));
    let _ = child.kill();
    let _ = child.wait();
    let v: serde_json::Value = serde_json::from_str(&result?)?;
    let sum = ["sum_received", "sum"]
        .iter()
        .find_map(|k| v["end"][k]["bits_per_second"].as_f64());
    let mbps = sum.context("iperf3 gave no sum")? / 1e6;
    ensure!(mbps > 0.0, "iperf3: nothing got through");
    Ok(mbps)
}
