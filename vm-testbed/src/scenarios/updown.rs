//! Interfaces taken down and up again, by configuration, by the link and by hand; neighbours forgotten on demand.
//! Read `up` in `docs/configuration.md` and the reasons in `docs/drops.md`.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cases::{Bed, case, host, known_hosts, ports, router, to_host, to_router};
use crate::frame::{
    ARP, BROADCAST, Ip4, Ip6, REPLY, REQUEST, advertise, arp, eth, link_local, solicit,
};
use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Lab, Netns};
use crate::suite::Options;

use super::pages;

/// The TAP of an interface, as `ip` shows it: whether it is up, and its global addresses.
fn tap(bed: &Bed, name: &str) -> Result<(bool, usize)> {
    let text = bed
        .appliance
        .ns()
        .ip(&format!("-json addr show dev {name}"))?;
    let all: serde_json::Value = serde_json::from_str(&text)?;
    let flags = all[0]["flags"].as_array().context("no flags")?;
    let infos = all[0]["addr_info"].as_array().context("no addresses")?;
    let global = infos.iter().filter(|a| a["scope"] == "global").count();
    Ok((flags.iter().any(|f| f == "UP"), global))
}

/// Writes `up` of `p2` into the file, and has the appliance read it.
fn set_up(bed: &Bed, up: bool) -> Result<()> {
    let file = bed.appliance.config();
    let text = std::fs::read_to_string(file)?;
    let [off, on] = ["up = false", "up = true"];
    let (from, to) = if up { (off, on) } else { (on, off) };
    ensure!(text.contains(from), "no `{from}` in the file:\n{text}");
    let next = bed.appliance.config().with_extension("next");
    std::fs::write(&next, text.replace(from, to))?;
    bed.appliance
        .must(&format!("config apply {}", next.display()))
        .map(drop)
}

/// Between the two ports, in both families, both ways, and to the router's own address on `p2`.
fn works(bed: &mut Bed) -> Result<()> {
    let v4 = |a: u8, b: u8| Ip4::udp(&format!("10.0.{a}.2"), &format!("10.0.{b}.2"), 30);
    let v6 = |a: u8, b: u8| Ip6::udp(&format!("2001:db8:{a}::2"), &format!("2001:db8:{b}::2"), 30);
    let ping = Ip4::echo("10.0.2.2", "10.0.2.1", 1, 1);
    let ping6 = Ip6::echo("2001:db8:2::2", "2001:db8:2::1", 1, 1);
    let all = case("everything")
        .packet(1, &v4(1, 2).bytes())
        .forwarded(2, &v4(1, 2).ttl(63).bytes())
        .packet(2, &v4(2, 1).bytes())
        .forwarded(1, &v4(2, 1).ttl(63).bytes())
        .packet(1, &v6(1, 2).bytes())
        .forwarded(2, &v6(1, 2).hops(63).bytes())
        .packet(2, &v6(2, 1).bytes())
        .forwarded(1, &v6(2, 1).hops(63).bytes())
        .packet(2, &ping.bytes())
        .like(
            2,
            "echo reply",
            crate::cases::answers::echo_reply4(2, &ping),
        )
        .packet(2, &ping6.bytes())
        .like(
            2,
            "echo reply",
            crate::cases::answers::echo_reply6(2, &ping6),
        );
    bed.run(&all)
}

/// Sends frames and returns what they were dropped under, and what came out that is neither ARP nor Neighbour Discovery.
fn dropped(
    bed: &mut Bed,
    open: &[usize],
    frames: &[(usize, Vec<u8>)],
) -> Result<(Vec<String>, usize)> {
    let before = bed.appliance.counters_at_rest()?;
    for (port, f) in frames {
        bed.wire(*port).send(f)?;
    }
    let out = bed.flush_ports(open)?;
    let rx = |c: &crate::lab::Counters| c.sum(|r| r.rx);
    until("all frames are taken in", secs(5), || {
        Ok(rx(&bed.appliance.counters()?) >= rx(&before) + frames.len() as u64)
    })?;
    let after = bed.appliance.counters_at_rest()?;
    let drops = before.drops_until(&after);
    let drops = drops
        .into_iter()
        .map(|((i, why), n)| format!("{i} {why} {n}"));
    let spoken = |f: &[u8]| f[12..14] == [8, 0] || (f[12..14] == [0x86, 0xdd] && f[54] < 130);
    let out = out.iter().filter(|(p, f)| *p == 2 && spoken(f)).count();
    Ok((drops.collect(), out))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn configured(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let config = ports(&o.flavor, 2, |p| if p == 2 { "up = true" } else { "" });
    let mut bed = Bed::start("configured", 2, &config)?;
    for line in known_hosts(2, &[2]) {
        bed.appliance.must(&line)?;
    }
    bed.flush()?;
    for round in 1..=2 {
        works(&mut bed).with_context(|| format!("up, round {round}"))?;
        ensure!(tap(&bed, "p2")? == (true, 2), "{:?}", tap(&bed, "p2")?);
        set_up(&bed, false)?;
        ensure!(!tap(&bed, "p2")?.0, "the TAP of p2 is still up");
        let shown = bed.appliance.json("interface show p2")?;
        ensure!(shown[0]["up"] == false, "{shown}");
        // What leads there has no route any more; what comes from there is dropped, whatever it is.
        let h = host(2, 2);
        let to_it = [
            Ip4::udp("10.0.1.2", "10.0.2.2", 30).bytes(),
            Ip4::echo("10.0.1.2", "10.0.2.1", 1, 1).bytes(),
            Ip6::udp("2001:db8:1::2", "2001:db8:2::2", 30).bytes(),
            Ip6::echo("2001:db8:1::2", "2001:db8:2::1", 1, 1).bytes(),
        ];
        let from_it = [
            to_router(2, &Ip4::udp("10.0.2.2", "10.0.1.2", 30).bytes()),
            to_router(2, &Ip6::udp("2001:db8:2::2", "2001:db8:1::2", 30).bytes()),
            to_router(2, &Ip4::echo("10.0.2.2", "10.0.2.1", 1, 1).bytes()),
            eth(
                BROADCAST,
                h,
                ARP,
                &arp(REQUEST, h, "10.0.2.2", [0; 6], "10.0.2.1"),
            ),
            solicit(h, "2001:db8:2::2", "2001:db8:2::1"),
        ];
        let frames: Vec<(usize, Vec<u8>)> = (to_it.iter().map(|p| (1, to_router(1, p))))
            .chain(from_it.into_iter().map(|f| (2, f)))
            .collect();
        let (drops, out) = dropped(&mut bed, &[1], &frames)?;
        let want = ["p1 \"no_route\" 4", "p2 \"interface_down\" 5"].map(|s| s.replace('"', ""));
        ensure!(drops == want, "down, round {round}: {drops:?}");
        ensure!(out == 0, "{out} packets left by an interface that is down");
        bed.law()?;
        set_up(&bed, true)?;
        until("the kernel has its addresses again", secs(5), || {
            let tentative = bed.appliance.ns().ip("-6 addr show tentative")?;
            Ok(tentative.trim().is_empty() && tap(&bed, "p2")? == (true, 2))
        })?;
        bed.flush()?;
    }
    works(&mut bed).context("up at the end")?;
    bed.law()?;
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn link(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("linkless", 2, &ports(&o.flavor, 2, |_| ""))?;
    bed.flush()?;
    let tx_down = |bed: &Bed| -> Result<u64> { Ok(bed.appliance.counters()?.drops_of("tx_down")) };
    ensure!(tx_down(&bed)? == 0, "tx_down before the link went down");
    bed.far().ip("link set e2-far down")?;
    until("the link of p2 is down", secs(5), || {
        Ok(bed.appliance.json("interface show p2")?[0]["link"] == "down")
    })?;
    // The kernel knows nothing of it: what it sends to a group by that TAP is dropped by name.
    let _ = bed
        .appliance
        .ns()
        .finish("ping -n -c 3 -i 0.05 -W 1 -I p2 224.0.0.1")?;
    until("it is counted", secs(5), || Ok(tx_down(&bed)? >= 3))?;
    bed.law()?;
    bed.far().ip("link set e2-far up")?;
    until("the link of p2 is up", secs(5), || {
        Ok(bed.appliance.json("interface show p2")?[0]["link"] == "up")
    })?;
    bed.flush()?;
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn tap_by_hand(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("by-hand", 2, &ports(&o.flavor, 2, |_| ""))?;
    for line in known_hosts(2, &[2]) {
        bed.appliance.must(&line)?;
    }
    bed.flush()?;
    works(&mut bed)?;
    // Somebody takes the kernel's end down: forwarding goes on, what is for the kernel is dropped by name.
    bed.appliance.ns().ip("link set p2 down")?;
    let through = Ip4::udp("10.0.1.2", "10.0.2.2", 30);
    let ping = Ip4::echo("10.0.2.2", "10.0.2.1", 1, 1);
    let c = case("the kernel's end is down")
        .packet(1, &through.bytes())
        .forwarded(2, &through.ttl(63).bytes())
        .packet(2, &ping.bytes())
        .dropped("p2", "tap_full");
    bed.run(&c)?;
    bed.law()?;
    bed.appliance.stop()
}

/// What the kernel says of a device: MTU, flags, whether it speaks IPv6, what it merges.
fn settings(ns: &Netns, dev: &str) -> Result<String> {
    let link: serde_json::Value = serde_json::from_str(&ns.ip(&format!("-json link show {dev}"))?)?;
    let conf = ns.run(&format!("sysctl -a --pattern net.ipv[46].conf.{dev}."))?;
    let features = ns.run(&format!("ethtool -k {dev}"))?;
    let (mtu, flags) = (&link[0]["mtu"], &link[0]["flags"]);
    Ok(format!("{dev} mtu {mtu} flags {flags}\n{conf}{features}"))
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn killed(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("killed")?;
    let (dut, far) = (lab.router("dut")?, lab.space("far")?);
    let _wires = [lab.wire(&dut, "e1", &far)?, lab.wire(&dut, "e2", &far)?];
    // As an administrator might have left them: everything that a port changes is the other way round.
    dut.run("ethtool -K e1 gro on")?;
    dut.sysctl("ipv6/conf/e1/disable_ipv6", "0")?;
    dut.ip("link set e1 mtu 1400")?;
    dut.ip("link set e2 down")?;
    let state = || -> Result<[String; 2]> { Ok([settings(&dut, "e1")?, settings(&dut, "e2")?]) };
    let before = state()?;
    let mut a = lab.start("dut", &dut, &ports(&o.flavor, 2, |_| "mtu = 1500"))?;
    let running = state()?;
    ensure!(
        running[0] != before[0] && running[1] != before[1],
        "an appliance changes nothing here: {running:?}"
    );
    for round in 1..=2 {
        a.kill()?;
        ensure!(
            state()? != before,
            "a killed appliance has given something back"
        );
        a.start_again()?;
        let again = state()?;
        ensure!(
            again == running,
            "started again, round {round}: {again:?}, not {running:?}"
        );
    }
    a.terminate()?;
    // Carrier and flags that follow from it take a moment.
    until("all settings are as before", secs(5), || {
        let now = state()?;
        ensure!(now == before, "{}", differences(&before, &now));
        Ok(true)
    })
}

/// The lines that are not in both.
fn differences(before: &[String; 2], now: &[String; 2]) -> String {
    let lines = |all: &[String; 2]| -> Vec<String> {
        all.iter()
            .flat_map(|s| s.lines().map(str::to_owned))
            .collect()
    };
    let (before, now) = (lines(before), lines(now));
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        a.iter().filter(|l| !b.contains(l)).cloned().collect()
    };
    format!(
        "before: {:?}, now: {:?}",
        only(&before, &now),
        only(&now, &before)
    )
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn forget(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("forget", 2, &ports(&o.flavor, 2, |_| ""))?;
    bed.flush()?;
    let (at6, own) = ("2001:db8:2::40", link_local(router(2)).to_string());
    let (p, q) = (
        Ip4::udp("10.0.1.2", "10.0.2.40", 10),
        Ip6::udp("2001:db8:1::2", at6, 10),
    );
    let frames = [to_router(1, &p.bytes()), to_router(1, &q.bytes())];
    let asked = |f: &[u8]| match f[12..14] {
        [8, 6] => f[20..22] == [0, 1] && f[38..42] == [10, 0, 2, 40],
        [0x86, 0xdd] => f.len() >= 78 && f[54] == 135 && f[76..78] == [0, 0x40],
        _ => false,
    };
    for (round, n) in [(1, 40), (2, 41), (3, 42)] {
        let mac = host(2, n);
        let out = [
            to_host(2, n, &p.clone().ttl(63).bytes()),
            to_host(2, n, &q.clone().hops(63).bytes()),
        ];
        let answers = [
            eth(
                router(2),
                mac,
                ARP,
                &arp(REPLY, mac, "10.0.2.40", router(2), "10.0.2.1"),
            ),
            advertise(router(2), mac, at6, &own, at6, 0x60),
        ];
        for i in 0..2 {
            // Nothing is known: the frame waits, the neighbour is asked for, and the frame goes to who answers now.
            bed.wire(1).send(&frames[i])?;
            let see = |what: &str, is: &dyn Fn(&[u8]) -> bool| -> Result<()> {
                let deadline = Instant::now() + secs(5);
                while let Some(f) = bed.wire(2).next(deadline) {
                    if is(&f.frame) {
                        return Ok(());
                    }
                    ensure!(
                        f.frame[..6] != mac && f.frame[..6] != host(2, n - 1),
                        "round {round}: sent before anybody answered"
                    );
                }
                anyhow::bail!("round {round}: port 2 never saw {what}")
            };
            see("the question", &asked)?;
            bed.wire(2).send(&answers[i])?;
            see("the frame that waited", &|f| f == out[i])?;
        }
        let known = bed.flush()?;
        drop(known);
        for a in ["10.0.2.40", "2001:db8:2::40"] {
            bed.appliance.must(&format!("neigh del {a} dev p2"))?;
            let left = bed.appliance.json(&format!("neigh show {a}"))?;
            ensure!(
                left.as_array().is_some_and(Vec::is_empty),
                "round {round}: {a} is still shown: {left}"
            );
            let again = bed.appliance.ctl(&format!("neigh del {a} dev p2"))?;
            ensure!(
                again.status == Some(1) && again.text().contains("no such neighbour"),
                "deleted twice: {}",
                again.text()
            );
        }
        let _ = bed.wire(2).drain();
    }
    eventually("the counters add up", secs(5), || Ok(bed.law().ok()))?;
    bed.appliance.stop()
}
