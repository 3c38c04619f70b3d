//! Neighbours over time: announcing oneself, refreshing, forgetting, and being imitated. Read RFC 5227, 4861 7.3, 4862 5.4.

use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::cases::{Bed, host, ports, router, to_host, to_router};
use crate::frame::{
    ARP, BROADCAST, IPV6, Ip4, Ip6, REPLY, REQUEST, arp, eth, ip6, mac_of_group, solicited_node,
};
use crate::lab::Config;
use crate::lab::wait::{eventually, millis, secs};
use crate::suite::Options;

use super::pages;

fn config(o: &Options) -> Config {
    ports(&o.flavor, 2, |_| "").section(
        "[neighbor]\nreachable-time = 0.5\nretransmit-time = 0.2\nmax-probes = 3\nqueue = 4",
    )
}

/// Takes frames at a port until one satisfies `what`.
fn sees(bed: &Bed, port: usize, text: &str, what: impl Fn(&[u8]) -> bool) -> Result<Vec<u8>> {
    let deadline = Instant::now() + secs(5);
    while let Some(f) = bed.wire(port).next(deadline) {
        if what(&f.frame) {
            return Ok(f.frame);
        }
    }
    anyhow::bail!("port {port} never saw {text}")
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn announce(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let bed = Bed::start("announce", 2, &config(o))?;
    let gratuitous = |f: &[u8]| {
        f[..6] == BROADCAST
            && f[12..14] == [8, 6]
            && f[28..32] == [10, 0, 1, 1]
            && f[38..42] == [10, 0, 1, 1]
    };
    sees(&bed, 1, "a gratuitous ARP for 10.0.1.1", |f| {
        f.len() >= 42 && gratuitous(f)
    })?;
    let group = solicited_node(ip6("2001:db8:2::1"));
    // Duplicate address detection: a solicitation for the own address from the unspecified one.
    sees(&bed, 2, "a solicitation for 2001:db8:2::1 from ::", |f| {
        f.len() >= 78
            && f[12..14] == IPV6.to_be_bytes()
            && f[22..38] == [0; 16]
            && f[38..54] == group.octets()
            && f[54] == 135
            && f[62..78] == ip6("2001:db8:2::1").octets()
    })?;
    // When that is through, it announces the address with the override flag, twice; from then on, it is its own.
    let announced = |f: &[u8]| {
        f.len() >= 86
            && f[54] == 136
            && f[58] & 0x20 != 0
            && f[38..54] == ip6("ff02::1").octets()
            && f[62..78] == ip6("2001:db8:2::1").octets()
    };
    for _ in 0..2 {
        sees(&bed, 2, "an advertisement of 2001:db8:2::1", announced)?;
    }
    // Another host that wants the address is told by an advertisement to everybody (RFC 4861 7.2.4).
    let target = ip6("2001:db8:2::1").octets();
    let ns = Ip6::icmp("::", &group.to_string(), 135, 0, [0; 4], &target).hops(255);
    bed.wire(2)
        .send(&eth(mac_of_group(group), host(2, 66), IPV6, &ns.bytes()))?;
    sees(&bed, 2, "the answer to another host's probe", announced)?;
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn age(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("age", 2, &config(o))?;
    bed.flush()?;
    let p = Ip4::udp("10.0.1.2", "10.0.2.40", 10);
    let (sent, out) = (to_router(1, &p.bytes()), to_host(2, 40, &p.ttl(63).bytes()));
    let is_asked = |f: &[u8]| {
        f.len() >= 42 && f[12..14] == [8, 6] && f[20..22] == [0, 1] && f[38..42] == [10, 0, 2, 40]
    };
    let answer = eth(
        router(2),
        host(2, 40),
        ARP,
        &arp(REPLY, host(2, 40), "10.0.2.40", router(2), "10.0.2.1"),
    );
    bed.wire(1).send(&sent)?;
    sees(&bed, 2, "a request for 10.0.2.40", is_asked)?;
    bed.wire(2).send(&answer)?;
    sees(&bed, 2, "the packet that was held", |f| f == out)?;
    // Used all the time, it is asked again by unicast, and stays.
    for _ in 0..3 {
        eventually("10.0.2.40 is asked again", secs(5), || {
            bed.wire(1).send(&sent)?;
            let soon = Instant::now() + millis(20);
            while let Some(f) = bed.wire(2).next(soon) {
                if is_asked(&f.frame) {
                    ensure!(
                        f.frame[..6] == host(2, 40),
                        "the question was not addressed to the neighbour alone"
                    );
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })?;
        bed.wire(2).send(&answer)?;
    }
    // Silent, it is given up, and packets are no longer sent to its old address.
    let state = eventually("10.0.2.40 is forgotten or failed", secs(8), || {
        bed.wire(1).send(&sent)?;
        let all = bed.appliance.json("neigh show 10.0.2.40")?;
        let state = all[0]["state"].as_str().unwrap_or("gone").to_owned();
        Ok(["gone", "failed", "incomplete"]
            .contains(&state.as_str())
            .then_some(state))
    })?;
    bed.flush()?;
    bed.wire(1).send(&sent)?;
    let seen = bed.flush()?;
    ensure!(
        !seen.iter().any(|(_, f)| *f == out),
        "{state}, yet frames are still sent to its old address"
    );
    bed.appliance.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn duplicate(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut bed = Bed::start("duplicate", 2, &config(o))?;
    bed.flush()?;
    let claim = eth(
        BROADCAST,
        host(1, 66),
        ARP,
        &arp(REQUEST, host(1, 66), "10.0.1.1", [0; 6], "10.0.1.1"),
    );
    bed.wire(1).send(&claim)?;
    let found = eventually("the imitator is reported", secs(5), || {
        let all = bed.appliance.json("interface show p1")?;
        let d = all[0]["duplicate"]
            .as_array()
            .context("`duplicate` is no array")?
            .clone();
        Ok((!d.is_empty()).then_some(d))
    })?;
    ensure!(
        found.iter().any(|d| d == "10.0.1.1"),
        "another address is reported: {found:?}"
    );
    // The router keeps its address, and defends it (RFC 5227 2.4).
    sees(&bed, 1, "the defence of 10.0.1.1", |f| {
        f.len() >= 42
            && f[12..14] == [8, 6]
            && f[6..12] == router(1)
            && f[28..32] == [10, 0, 1, 1]
            && f[38..42] == [10, 0, 1, 1]
    })?;
    bed.appliance.stop()
}
