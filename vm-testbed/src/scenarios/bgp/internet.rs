//! The appliance between the Internet and a customer: BIRD with a full table on two links, FRR with a host behind it.
//!
//! ```text
//!                           ┌── a ──┐
//!  net ───────── bird ──────┤       ├── trunkline ──── frr ──────── h2
//!  AS 64510      AS 64501   └── b ──┘    AS 64500      AS 64502     10.0.4.2
//! ```
//!
//! `net` announces the table to BIRD and has an address in some of its prefixes. All hear of all by BGP alone. The demonstration
//! shows it with a table of today's size; a scenario asserts it with a smaller one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::AS;
use crate::lab::wait::{eventually, millis, secs, until};
use crate::lab::{Appliance, Flavor, Host, Lab, Netns};
use crate::peers::feeder::{Feed, Feeder};
use crate::peers::{Bird, Frr};
use crate::scenarios::{pages, ping, reach};
use crate::suite::Options;
use crate::table::{self, Route};

/// The AS that the table comes from, BIRD's, and FRR's.
pub const ASNS: [u32; 3] = [64_510, 64_501, 64_502];
/// What FRR announces.
pub const CUSTOMER: [&str; 2] = ["10.0.4.0/24", "2001:db8:4::/64"];
/// The address of the host there.
pub const HOST: &str = "10.0.4.2";
/// BIRD's two addresses towards the appliance, and FRR's one.
pub const NEIGHBORS: [&str; 3] = ["10.0.1.2", "10.0.2.2", "10.0.3.2"];

/// A table of both families.
#[derive(Debug, Clone)]
pub struct Tables {
    /// IPv4.
    pub v4: Vec<Route>,
    /// IPv6.
    pub v6: Vec<Route>,
}

impl Tables {
    /// Without what no router takes (BIRD does not), and what the links here have: 0/8, 10/8, 127/8, 198.18/15 and
    /// 2001:db8::/32 (RFC 6890); nor is any origin an AS of the speakers here (RFC 5398), who would see a loop. A made table
    /// has some dozens of those, a real one none.
    #[must_use]
    pub fn usable(mut self) -> Self {
        let here = |r: &Route| !matches!(r.addr >> 24, 0 | 10 | 127) && r.addr >> 17 != 0xc612 >> 1;
        self.v4.retain(|r| r.len >= 8 && here(r));
        self.v6.retain(|r| r.addr >> 96 != 0x2001_0db8);
        for r in self.v4.iter_mut().chain(&mut self.v6) {
            if (64_496..=64_511).contains(&r.origin) {
                r.origin += 200_000;
            }
        }
        self
    }
}

/// A prefix of the table, and an address in it that answers.
#[derive(Debug, Clone)]
pub struct Target {
    /// The prefix.
    pub prefix: String,
    /// The address.
    pub address: IpAddr,
    /// The AS that announces the prefix.
    pub origin: u32,
}

/// All of it.
#[derive(Debug)]
pub struct Internet {
    /// The appliance.
    pub a: Appliance,
    /// BIRD.
    pub bird: Bird,
    /// FRR.
    pub frr: Frr,
    /// The announcer of the table, once it has begun.
    pub feeder: Option<Feeder>,
    /// The namespaces of the Internet, of BIRD, and of the host behind FRR.
    pub net: Netns,
    /// BIRD's.
    pub transit: Netns,
    /// The host's.
    pub h2: Netns,
    /// Addresses that answer.
    pub targets: Vec<Target>,
    feed: Feed,
}

/// How far the table has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Routes that BIRD has from the Internet.
    pub bird: u64,
    /// Routes that the appliance has received over its two links.
    pub received: u64,
    /// Routes that the appliance has given to FRR.
    pub given: u64,
    /// Routes that FRR has.
    pub frr: u64,
}

/// The bit that makes a route's first address one of a host in it.
fn address(r: &Route, v6: bool) -> IpAddr {
    match v6 {
        false => Ipv4Addr::from_bits(r.addr as u32 | 1).into(),
        true => Ipv6Addr::from_bits(r.addr | 1).into(),
    }
}

/// Two IPv4 prefixes and one of IPv6, from the middle of the table, so that each is one that a host may be in.
fn targets(t: &Tables) -> Vec<Target> {
    let one = |table: &[Route], v6: bool, skip: usize| {
        let longest = if v6 { 48 } else { 24 };
        let mut fit = table.iter().filter(|r| (16..=longest).contains(&r.len));
        let r = fit.nth(skip)?;
        let address = address(r, v6);
        let prefix = match v6 {
            false => format!("{}/{}", Ipv4Addr::from_bits(r.addr as u32), r.len),
            true => format!("{}/{}", Ipv6Addr::from_bits(r.addr), r.len),
        };
        Some(Target {
            prefix,
            address,
            origin: r.origin,
        })
    };
    let all = [
        one(&t.v4, false, t.v4.len() / 3),
        one(&t.v4, false, t.v4.len() / 2),
        one(&t.v6, true, t.v6.len() / 2),
    ];
    all.into_iter().flatten().collect()
}

/// Builds it in `lab`: all sessions are up, and the table is not announced yet.
///
/// # Errors
/// When a part of it does not come up.
pub fn build(lab: &mut Lab, flavor: &Flavor, tables: Tables) -> Result<Internet> {
    let tables = tables.usable();
    let targets = targets(&tables);
    let (net, transit, dut) = (
        lab.space("net")?,
        lab.space("bird")?,
        lab.router("trunkline")?,
    );
    lab.link(
        (&net, "eth0", &["198.18.0.1/30", "2001:db8:18::1/64"]),
        (&transit, "net", &["198.18.0.2/30", "2001:db8:18::2/64"]),
    )?;
    for (n, (theirs, ours)) in [("link-a", "e1"), ("link-b", "e2")].into_iter().enumerate() {
        let n = n + 1;
        let (v4, v6) = (format!("10.0.{n}.2/24"), format!("2001:db8:{n}::2/64"));
        lab.link((&transit, theirs, &[&v4, &v6]), (&dut, ours, &[]))?;
        Lab::port_end(&dut, ours)?;
    }
    let customer = lab.host(
        &Host::new("frr", &["10.0.3.2/24", "2001:db8:3::2/64"]),
        &dut,
        "e3",
    )?;
    let h2 = lab.space("h2")?;
    lab.link(
        (&customer, "lan", &["10.0.4.1/24", "2001:db8:4::1/64"]),
        (&h2, "eth0", &["10.0.4.2/24", "2001:db8:4::2/64"]),
    )?;
    for (ns, v4, v6) in [
        (&net, "198.18.0.2", "2001:db8:18::2"),
        (&h2, "10.0.4.1", "2001:db8:4::1"),
    ] {
        ns.ip(&format!("route add default via {v4}"))?;
        ns.ip(&format!("route add default via {v6}"))?;
    }
    for t in &targets {
        net.ip(&format!("addr add {} dev lo", t.address))?;
    }
    for ns in [&transit, &customer] {
        ns.sysctl("ipv4/ip_forward", "1")?;
        ns.sysctl("ipv6/conf/all/forwarding", "1")?;
    }
    let bird = Bird::start_text(lab.folder(), "bird", &transit, &bird_config(&targets))?;
    let frr = Frr::start_text(lab.folder(), "frr", &customer, &frr_config(&targets))?;
    let a = lab.start("trunkline", &dut, &config(flavor))?;
    let all = Internet {
        a,
        bird,
        frr,
        feeder: None,
        net,
        transit,
        h2,
        targets,
        feed: Feed {
            asn: ASNS[0],
            local: Ipv4Addr::new(198, 18, 0, 1),
            local6: "2001:db8:18::1".parse()?,
            peer: "198.18.0.2".parse()?,
            v4: tables.v4,
            v6: tables.v6,
        },
    };
    for n in NEIGHBORS {
        let up = || all.up(n);
        until(&format!("the session with {n} is up"), secs(20), up)
            .with_context(|| format!("the appliance said:\n{}", all.a.log_tail()))?;
    }
    Ok(all)
}

/// The appliance's configuration: both links are used, and the Internet hears of customers only.
#[must_use]
pub fn config(flavor: &Flavor) -> crate::lab::Config {
    let neighbor = |address: &str, asn: u32, name: &str, export: &str| {
        format!(
            "[bgp.neighbor.\"{address}\"]\nas = {asn}\ndescription = \"{name}\"\n\
             families = [\"ipv4-unicast\", \"ipv6-unicast\"]\nimport = \"accept-all\"\nexport = \"{export}\"\nconnect-retry = 1\n"
        )
    };
    let [transit_a, transit_b, customer] = NEIGHBORS;
    flavor
        .config("trunkline")
        .interface("a", "e1", &["10.0.1.1/24", "2001:db8:1::1/64"], "")
        .interface("b", "e2", &["10.0.2.1/24", "2001:db8:2::1/64"], "")
        .interface("customer", "e3", &["10.0.3.1/24", "2001:db8:3::1/64"], "")
        .section(&format!("[bgp]\nas = {AS}\nmultipath = {{ ebgp = 2 }}"))
        .section(&neighbor(transit_a, ASNS[1], "BIRD by link a", "customers"))
        .section(&neighbor(transit_b, ASNS[1], "BIRD by link b", "customers"))
        .section(&neighbor(customer, ASNS[2], "FRR", "accept-all"))
        .section(&format!(
            "[policy.customers]\n[[policy.customers.rule]]\nmatch = {{ from-neighbor = \"{customer}\" }}\naction = \"accept\""
        ))
}

fn bird_config(targets: &[Target]) -> String {
    let list = |v6: bool| {
        let ours = targets.iter().filter(|t| t.address.is_ipv6() == v6);
        let all: Vec<&str> = ours
            .map(|t| t.prefix.as_str())
            .chain([CUSTOMER[usize::from(v6)]])
            .collect();
        all.join(", ")
    };
    let mut c = format!(
        "router id 198.18.0.2;\nlog stderr {{ warning, error, fatal, bug }};\nprotocol device {{ scan time 1; }}\n\
         protocol kernel k4 {{ ipv4 {{ import none; export where net ~ [ {} ]; }}; }}\n\
         protocol kernel k6 {{ ipv6 {{ import none; export where net ~ [ {} ]; }}; }}\n\
         protocol bgp internet {{ local 198.18.0.2 as {bird}; neighbor 198.18.0.1 as {net}; passive; hold time 90;\n\
         ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}\n",
        list(false),
        list(true),
        bird = ASNS[1],
        net = ASNS[0],
    );
    for (n, name) in [(1, "a"), (2, "b")] {
        c.push_str(&format!(
            "protocol bgp {name} {{ local 10.0.{n}.2 as {bird}; neighbor 10.0.{n}.1 as {AS}; hold time 90;\n\
             connect delay time 1; connect retry time 1; error wait time 1, 1;\n\
             ipv4 {{ import all; export where proto = \"internet\"; }};\n\
             ipv6 {{ import all; export where proto = \"internet\"; next hop address 2001:db8:{n}::2; }}; }}\n",
            bird = ASNS[1],
        ));
    }
    c
}

/// It takes all into its BGP table, and into its kernel what the host behind it is to reach: a laptop's memory is thankful.
fn frr_config(targets: &[Target]) -> String {
    let mut c = String::from("log stdout\n");
    for (family, network) in [("ip", CUSTOMER[0]), ("ipv6", CUSTOMER[1])] {
        c.push_str(&format!("{family} prefix-list OWN permit {network}\n"));
    }
    for t in targets {
        let (family, list) = match t.address.is_ipv6() {
            false => ("ip", "SHOWN4"),
            true => ("ipv6", "SHOWN6"),
        };
        c.push_str(&format!(
            "{family} prefix-list {list} permit {}\n",
            t.prefix
        ));
    }
    for (family, n) in [("ip", 4), ("ipv6", 6)] {
        c.push_str(&format!(
            "route-map SHOWN{n} permit 10\n match {family} address prefix-list SHOWN{n}\nexit\n"
        ));
    }
    c.push_str(&format!(
        "router bgp {}\n bgp router-id 10.0.3.2\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n \
         no bgp network import-check\n neighbor 10.0.3.1 remote-as {AS}\n neighbor 10.0.3.1 timers 30 90\n \
         neighbor 10.0.3.1 timers connect 1\n",
        ASNS[2]
    ));
    for (n, network) in [(4, CUSTOMER[0]), (6, CUSTOMER[1])] {
        c.push_str(&format!(
            " address-family ipv{n} unicast\n  neighbor 10.0.3.1 activate\n  neighbor 10.0.3.1 prefix-list OWN out\n  \
             network {network}\n  table-map SHOWN{n}\n exit-address-family\n"
        ));
    }
    c
}

/// A number behind a name in what BIRD says.
fn number(text: &str, before: &str) -> u64 {
    let rest = text.split(before).nth(1).unwrap_or_default();
    let word = rest.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or(0)
}

impl Internet {
    /// Begins to announce the table.
    ///
    /// # Errors
    /// When BIRD does not want it.
    pub fn feed(&mut self) -> Result<()> {
        self.feeder = Some(Feeder::start(&self.net, self.feed.clone())?);
        Ok(())
    }

    /// How many routes the table has.
    #[must_use]
    pub fn size(&self) -> u64 {
        (self.feed.v4.len() + self.feed.v6.len()) as u64
    }

    fn summary(&self, address: &str) -> Result<Value> {
        let all = self.a.json("bgp summary")?;
        let mut all = all.as_array().into_iter().flatten();
        let one = all.find(|n| n["address"] == address).cloned();
        one.with_context(|| format!("bgp summary has no {address}"))
    }

    /// Whether the appliance calls that session established.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn up(&self, address: &str) -> Result<bool> {
        Ok(self.summary(address)?["state"] == "Established")
    }

    /// How far the table has come.
    ///
    /// # Errors
    /// When one of them does not answer.
    pub fn progress(&self) -> Result<Progress> {
        let count = |address: &str, key: &str| -> Result<u64> {
            Ok(self.summary(address)?[key].as_u64().unwrap_or(0))
        };
        let bird: u64 = (self.bird.cli("show protocols all internet")?.lines())
            .filter(|l| l.contains("Routes:"))
            .map(|l| number(l, "Routes:"))
            .sum();
        let frr = self.frr.json("show bgp summary json")?;
        let of = |family: &str| frr[family]["peers"]["10.0.3.1"]["pfxRcd"].as_u64();
        Ok(Progress {
            bird,
            received: count(NEIGHBORS[0], "received")? + count(NEIGHBORS[1], "received")?,
            given: count(NEIGHBORS[2], "advertised")?,
            frr: of("ipv4Unicast").unwrap_or(0) + of("ipv6Unicast").unwrap_or(0),
        })
    }

    /// Waits until everybody has the table; `say` is told how far it has come. Returns how long the appliance took from the
    /// first route to the last, in and out, and how long everything took.
    ///
    /// # Errors
    /// When it comes to a standstill for a minute.
    pub fn converge(&mut self, mut say: impl FnMut(&Progress)) -> Result<(Duration, Duration)> {
        let n = self.size();
        let start = Instant::now();
        let (mut last, mut moved, mut ours) = (self.progress()?, Instant::now(), None);
        loop {
            let now = self.progress()?;
            say(&now);
            if let Some(f) = &mut self.feeder {
                f.alive()?;
            }
            // FRR's own two are among those that the appliance has, and not among those that it gives to FRR.
            if now.received >= 2 * n && now.given >= n && ours.is_none() {
                ours = Some(start.elapsed());
            }
            if let Some(ours) = ours
                && now.frr >= n
            {
                return Ok((ours, start.elapsed()));
            }
            if now != last {
                (last, moved) = (now, Instant::now());
            }
            ensure!(
                moved.elapsed() < secs(60),
                "the table of {n} routes stands still: {now:?}; the appliance said:\n{}",
                self.a.log_tail()
            );
            std::thread::sleep(millis(200));
        }
    }

    /// Waits until the host can reach every target.
    ///
    /// # Errors
    /// When one is not reached.
    pub fn reach(&self) -> Result<()> {
        let mut all = self.targets.iter();
        all.try_for_each(|t| reach(&self.h2, &t.address.to_string()))
    }

    /// Frames that the appliance has sent by an interface.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn sent(&self, interface: &str) -> Result<u64> {
        let all = self.a.json(&format!("interface show {interface}"))?;
        let n = all[0]["tx_packets"].as_u64();
        n.with_context(|| format!("interface show {interface}: {all}"))
    }

    /// Which of BIRD's links frames of the host to that address take.
    ///
    /// # Errors
    /// When none is taken.
    pub fn link_to(&self, address: IpAddr) -> Result<&'static str> {
        let before = [self.sent("a")?, self.sent("b")?];
        ping(&self.h2, &address.to_string(), 20)?;
        let after = [self.sent("a")?, self.sent("b")?];
        let grew = [after[0] - before[0], after[1] - before[1]];
        ensure!(grew[0].max(grew[1]) >= 20, "neither link took the frames");
        Ok(if grew[0] > grew[1] { "a" } else { "b" })
    }

    /// Takes one of BIRD's links down or up.
    ///
    /// # Errors
    /// When the kernel does not want to.
    pub fn set_link(&self, link: &str, up: bool) -> Result<()> {
        let state = if up { "up" } else { "down" };
        self.transit
            .ip(&format!("link set link-{link} {state}"))
            .map(drop)?;
        if up {
            // The kernel takes IPv6 addresses away with the link.
            let n = if link == "a" { 1 } else { 2 };
            self.transit.ip(&format!(
                "addr add 2001:db8:{n}::2/64 dev link-{link} nodad"
            ))?;
        }
        Ok(())
    }

    /// Pings every few milliseconds while `work` goes on, for `time` in all; how many of how many were lost.
    ///
    /// # Errors
    /// When `work` fails, or ping can't be run.
    pub fn lost_while(
        &self,
        address: IpAddr,
        time: Duration,
        work: impl FnOnce() -> Result<()>,
    ) -> Result<(u64, u64)> {
        const EVERY: u64 = 5;
        let count = time.as_millis() as u64 / EVERY;
        let line = format!("ping -n -q -c {count} -i 0.00{EVERY} -W 1 {address}");
        let (out, worked) = std::thread::scope(|s| {
            let pings = s.spawn(|| self.h2.finish(&line));
            std::thread::sleep(time / 4);
            let worked = work();
            (pings.join(), worked)
        });
        worked?;
        let text = out.map_err(|_| anyhow::anyhow!("ping panicked"))??.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        let before = |what: &str| -> Result<u64> {
            let at = words.windows(2).position(|w| w[1].starts_with(what));
            let n = at.and_then(|at| words[at].parse().ok());
            n.with_context(|| format!("ping said no number of what is {what}: {text}"))
        };
        let sent = before("packets")?;
        let came = before("received")?;
        Ok((sent - came, sent))
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn full_table(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 1)?;
    let mut lab = Lab::new("bb-internet")?;
    let tables = Tables {
        v4: table::ipv4(7, 60_000),
        v6: table::ipv6(7, 15_000),
    };
    let mut net = build(&mut lab, &o.flavor, tables)?;
    net.feed()?;
    net.converge(|_| {})?;
    net.reach()?;
    // Both sessions give the same paths: each prefix has two next hops.
    let t = net.targets[0].clone();
    let route = net.a.json(&format!("route show {}", t.address))?;
    ensure!(
        route[0]["prefix"] == t.prefix.as_str()
            && route[0]["via"].as_array().is_some_and(|v| v.len() == 2),
        "route show {}: {route}",
        t.address
    );
    // FRR has the path that it should have.
    let seen = net
        .frr
        .json(&format!("show bgp ipv4 unicast {} json", t.prefix))?;
    let path = seen["paths"][0]["aspath"]["string"]
        .as_str()
        .unwrap_or_default();
    ensure!(
        path.starts_with(&format!("{AS} {} {} ", ASNS[1], ASNS[0]))
            && path.ends_with(&format!(" {}", t.origin)),
        "FRR: {seen}"
    );
    // A link goes: what was on it moves, and little is lost of what is under way. It comes back, and so do its routes.
    let link = net.link_to(t.address)?;
    let (lost, sent) = net.lost_while(t.address, secs(4), || net.set_link(link, false))?;
    ensure!(lost * 2 < sent, "{lost} of {sent} were lost");
    let other = if link == "a" { "b" } else { "a" };
    ensure!(net.link_to(t.address)? == other, "frames still take {link}");
    // Its session has gone with it, long before the hold time of 90 s.
    let gone = NEIGHBORS[usize::from(link == "b")];
    ensure!(!net.up(gone)?, "the session with {gone} is still up");
    net.set_link(link, true)?;
    let n = net.size();
    eventually("all routes are there twice again", secs(60), || {
        let p = net.progress()?;
        ensure!(p.received >= 2 * n, "{p:?}");
        Ok(Some(()))
    })?;
    net.reach()?;
    drop(net.feeder.take());
    // The Internet goes: nothing of it stays.
    until("FRR has none of the table left", secs(60), || {
        Ok(net.progress()?.frr == 0)
    })?;
    net.a.law()?;
    net.a.stop()
}
