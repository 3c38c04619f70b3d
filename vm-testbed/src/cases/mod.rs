//! Packet behaviour as tables: frames in, configuration, frames and drops out.
//!
//! The cases of a [`Group`] share one appliance. A case sends its frames, waits for those it expects, and then asks every port
//! for an ARP answer: when those have come, everything before them has gone through the workers and the control thread, so that
//! a frame that has not come out by then never will (HABITS 22). Drops are compared exactly, those of zero too.

pub mod answers;
pub mod arp;
pub mod ecmp;
pub mod ethernet;
pub mod hostile;
pub mod ip4;
pub mod ip4_errors;
pub mod ip6;
pub mod mpls;
pub mod mpls_ttl;
pub mod nd;
pub mod peers;
pub mod vlan;
pub mod vrf;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};

use crate::frame::{
    self, ARP, BROADCAST, IPV4, IPV6, MPLS, Mac, REPLY, REQUEST, arp as arp_packet, eth,
};
use crate::judge;
use crate::lab::wait::{millis, secs, until};
use crate::lab::{Appliance, Config, Flavor, Lab, Netns, Wire};

/// Looks at a frame; says what is wrong with it.
pub type Check = Box<dyn Fn(&[u8]) -> Result<(), String>>;

/// A frame that must come out of a port.
pub struct Expect {
    port: usize,
    what: String,
    check: Check,
}

/// How the frames of a case are spread over ports.
enum Spread {
    /// As `expect` says.
    No,
    /// Every frame comes out; so many at each port.
    Shares(Vec<(usize, std::ops::RangeInclusive<usize>)>),
    /// Every frame comes out, all at one port.
    Together,
}

/// One case: it passes or fails as a whole.
pub struct Case {
    name: String,
    send: Vec<(usize, Vec<u8>)>,
    expect: Vec<Expect>,
    drops: BTreeMap<(String, String), u64>,
    any_drops: bool,
    strict: bool,
    loose: bool,
    spread: Spread,
    patience: std::time::Duration,
}

/// A case of that name that sends nothing yet.
#[must_use]
pub fn case(name: &str) -> Case {
    Case {
        name: name.to_owned(),
        send: vec![],
        expect: vec![],
        drops: BTreeMap::new(),
        any_drops: false,
        strict: false,
        loose: false,
        spread: Spread::No,
        patience: secs(2),
    }
}

impl Case {
    /// Sends a frame into port `port` (from 1).
    #[must_use]
    pub fn send(mut self, port: usize, frame: Vec<u8>) -> Self {
        self.send.push((port, frame));
        self
    }

    /// Sends an IPv4 or IPv6 packet from host 2 of that port to the router.
    #[must_use]
    pub fn packet(self, port: usize, packet: &[u8]) -> Self {
        let f = to_router(port, packet);
        self.send(port, f)
    }

    /// Sends a labelled packet from host 2 of that port to the router.
    #[must_use]
    pub fn labelled(self, port: usize, packet: &[u8]) -> Self {
        self.send(port, eth(router(port), host(port, 2), MPLS, packet))
    }

    /// Exactly this frame comes out; zeros up to 60 bytes may follow.
    #[must_use]
    pub fn out(mut self, port: usize, frame: Vec<u8>) -> Self {
        let what = frame::describe(&frame);
        let check = Box::new(move |got: &[u8]| same(got, &frame));
        self.expect.push(Expect { port, what, check });
        self
    }

    /// This packet comes out, from the router to host 2 of that port.
    #[must_use]
    pub fn forwarded(self, port: usize, packet: &[u8]) -> Self {
        let f = to_host(port, 2, packet);
        self.out(port, f)
    }

    /// This labelled packet comes out, from the router to host 2 of that port.
    #[must_use]
    pub fn out_labelled(self, port: usize, packet: &[u8]) -> Self {
        self.out(port, eth(host(port, 2), router(port), MPLS, packet))
    }

    /// A frame that satisfies `check` comes out.
    #[must_use]
    pub fn like(
        mut self,
        port: usize,
        what: &str,
        check: impl Fn(&[u8]) -> Result<(), String> + 'static,
    ) -> Self {
        self.expect.push(Expect {
            port,
            what: what.to_owned(),
            check: Box::new(check),
        });
        self
    }

    /// `n` frames are dropped, counted at that interface under that reason.
    #[must_use]
    pub fn drops(mut self, interface: &str, reason: &str, n: u64) -> Self {
        self.drops
            .insert((interface.to_owned(), reason.to_owned()), n);
        self
    }

    /// One frame is dropped, counted at that interface under that reason.
    #[must_use]
    pub fn dropped(self, interface: &str, reason: &str) -> Self {
        self.drops(interface, reason, 1)
    }

    /// What is dropped is not compared: the standards leave it open.
    #[must_use]
    pub fn any_drops(mut self) -> Self {
        self.any_drops = true;
        self
    }

    /// A search for a neighbour is unexpected too.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Whether a frame that the case does not speak of may come out.
    fn allows(&self, frame: &[u8]) -> bool {
        match unasked(frame) {
            Some(Unasked::OfItself) => true,
            Some(Unasked::Search) => !self.strict,
            None => false,
        }
    }

    /// As many frames come out as were sent, so many at each of these ports.
    #[must_use]
    pub fn spread(mut self, shares: Vec<(usize, std::ops::RangeInclusive<usize>)>) -> Self {
        self.spread = Spread::Shares(shares);
        self
    }

    /// As many frames come out as were sent, all at one port.
    #[must_use]
    pub fn together(mut self) -> Self {
        self.spread = Spread::Together;
        self
    }

    /// More frames than expected may come out: their number is not determined.
    #[must_use]
    pub fn loosely(mut self) -> Self {
        self.loose = true;
        self
    }

    /// Waits longer for what is expected.
    #[must_use]
    pub fn patience(mut self, within: std::time::Duration) -> Self {
        self.patience = within;
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The reasons under which it wants frames to be dropped.
    pub fn reasons(&self) -> impl Iterator<Item = &str> {
        let compared = self.drops.keys().filter(|_| !self.any_drops);
        compared.map(|(_, reason)| reason.as_str())
    }
}

/// The router's MAC address on a port: the lab numbers devices in the order in which they are made.
#[must_use]
pub fn router(port: usize) -> Mac {
    [0x02, 0x54, 0x4c, 0, 0, (port * 2 - 1) as u8]
}

/// The MAC address of host `n` at a port.
#[must_use]
pub fn host(port: usize, n: u8) -> Mac {
    [0x02, 0xaa, 0, 0, port as u8, n]
}

fn ethertype(packet: &[u8]) -> u16 {
    if packet.first().is_some_and(|b| b >> 4 == 6) {
        IPV6
    } else {
        IPV4
    }
}

/// A packet from host 2 of a port to the router.
#[must_use]
pub fn to_router(port: usize, packet: &[u8]) -> Vec<u8> {
    eth(router(port), host(port, 2), ethertype(packet), packet)
}

/// A packet from the router to host `n` of a port.
#[must_use]
pub fn to_host(port: usize, n: u8, packet: &[u8]) -> Vec<u8> {
    eth(host(port, n), router(port), ethertype(packet), packet)
}

fn same(got: &[u8], want: &[u8]) -> Result<(), String> {
    let padded = want.len() < 60
        && got.len() == 60
        && got.starts_with(want)
        && got[want.len()..].iter().all(|&b| b == 0);
    if got == want || padded {
        return Ok(());
    }
    let at = got
        .iter()
        .zip(want)
        .position(|(a, b)| a != b)
        .unwrap_or(got.len().min(want.len()));
    Err(format!(
        "differs at byte {at}; {} bytes instead of {}",
        got.len(),
        want.len()
    ))
}

/// What a router says that no frame of a case asked it for.
#[derive(PartialEq)]
enum Unasked {
    /// Of itself, at any time: probes and announcements of its addresses (RFC 5227, 4862 5.4, 4861 7.2.6), memberships.
    OfItself,
    /// A search for a neighbour, or a check that one is still there.
    Search,
}

/// Tells what a router says by itself from answers: an ARP reply or a solicited advertisement is never unasked.
fn unasked(frame: &[u8]) -> Option<Unasked> {
    let l3 = match frame.get(12..14)? {
        [0x81, 0] => frame.get(16..)?,
        _ => frame.get(12..)?,
    };
    match l3 {
        [0x08, 0x06, arp @ ..] => {
            let (op, spa, tpa) = (arp.get(6..8)?, arp.get(14..18)?, arp.get(24..28)?);
            match op {
                [0, 1] if spa == [0; 4] || spa == tpa => Some(Unasked::OfItself),
                [0, 1] => Some(Unasked::Search),
                _ => None,
            }
        }
        [0x86, 0xdd, p @ ..] => {
            // Straight after the header, or behind the hop-by-hop header of an MLD report.
            let (next, at) = match p.get(6)? {
                0 => (p.get(40)?, 48),
                next => (next, 40),
            };
            let to_all = p.get(24) == Some(&0xff);
            match (next, p.get(at)?) {
                (58, 130..=134 | 143) => Some(Unasked::OfItself),
                (58, 135) if p.get(8..24)? == [0; 16] => Some(Unasked::OfItself),
                (58, 135) => Some(Unasked::Search),
                (58, 136) if to_all && p.get(at + 4)? & 0x40 == 0 => Some(Unasked::OfItself),
                _ => None,
            }
        }
        _ => None,
    }
}

/// A table of cases and the configuration they run on.
pub struct Group {
    /// What their names begin with.
    pub name: &'static str,
    /// How many ports the router has: `p1` on `e1` …
    pub ports: usize,
    /// The configuration.
    pub config: fn(&Flavor) -> Config,
    /// `trunkctl` lines, run before the first case.
    pub prepare: fn() -> Vec<String>,
    /// The cases, in the order in which they run.
    pub cases: fn() -> Vec<Case>,
}

/// All groups.
#[must_use]
pub fn groups() -> Vec<Group> {
    vec![
        ethernet::group(),
        ip4::group(),
        ip4_errors::group(),
        ip4_errors::limited(),
        ip6::group(),
        arp::group(),
        nd::group(),
        peers::group(),
        vlan::group(),
        vrf::group(),
        mpls::group(),
        mpls_ttl::uniform(),
        mpls_ttl::pipe(),
        ecmp::group(),
        hostile::group(),
    ]
}

/// `p1` … with `10.0.N.1/24` and `2001:db8:N::1/64` each, MPLS as asked.
#[must_use]
pub fn ports(flavor: &Flavor, count: usize, more: impl Fn(usize) -> &'static str) -> Config {
    let mut c = flavor.config("dut").dataplane("icmp-rate = 100000");
    for p in 1..=count {
        let (v4, v6) = (format!("10.0.{p}.1/24"), format!("2001:db8:{p}::1/64"));
        c = c.interface(&format!("p{p}"), &format!("e{p}"), &[&v4, &v6], more(p));
    }
    c
}

/// `trunkctl` lines that make host `n` of each port known, in both families.
#[must_use]
pub fn known_hosts(ports: usize, hosts: &[u8]) -> Vec<String> {
    let mut lines = vec![];
    for p in 1..=ports {
        for &n in hosts {
            let mac = host(p, n).map(|b| format!("{b:02x}")).join(":");
            for a in [format!("10.0.{p}.{n}"), format!("2001:db8:{p}::{n}")] {
                lines.push(format!("neigh add {a} lladdr {mac} dev p{p}"));
            }
        }
    }
    lines
}

/// A router with raw ends at its ports.
pub struct Bed {
    /// The appliance.
    pub appliance: Appliance,
    wires: Vec<Wire>,
    sentinels: u16,
    far: Netns,
    _lab: Lab,
}

impl Bed {
    /// Builds the lab and starts the appliance.
    ///
    /// # Errors
    /// When a part of it fails.
    pub fn start(name: &str, ports: usize, config: &Config) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let (dut, far) = (lab.router("dut")?, lab.space("far")?);
        let mut wires = vec![];
        for p in 1..=ports {
            wires.push(lab.wire(&dut, &format!("e{p}"), &far)?);
        }
        let appliance = lab.start("dut", &dut, config)?;
        Ok(Self {
            appliance,
            wires,
            sentinels: 0,
            far,
            _lab: lab,
        })
    }

    /// The raw end at a port (from 1).
    #[must_use]
    pub fn wire(&self, port: usize) -> &Wire {
        &self.wires[port - 1]
    }

    /// How many ports there are.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.wires.len()
    }

    /// Asks each of the ports for an ARP answer and waits for all of them; adds what else was seen to `seen`.
    fn settle(&mut self, ports: &[usize], seen: &mut Vec<(usize, Vec<u8>)>) -> Result<()> {
        self.sentinels += 1;
        let [hi, lo] = self.sentinels.to_be_bytes();
        let me = |p: usize| [0x02, 0x5e, 0, p as u8, hi, lo];
        let (own, other) = (|p| format!("10.0.{p}.1"), |p| format!("10.0.{p}.250"));
        let ask = |p: usize| arp_packet(REQUEST, me(p), &other(p), [0; 6], &own(p));
        let told = |p: usize| arp_packet(REPLY, router(p), &own(p), me(p), &other(p));
        for &p in ports {
            self.wire(p).send(&eth(BROADCAST, me(p), ARP, &ask(p)))?;
        }
        for &p in ports {
            let answer = eth(me(p), router(p), ARP, &told(p));
            let take = |seen: &mut Vec<(usize, Vec<u8>)>| {
                let soon = Instant::now() + millis(300);
                while let Some(f) = self.wire(p).next(soon) {
                    if same(&f.frame, &answer).is_ok() {
                        return true;
                    }
                    seen.push((p, f.frame));
                }
                false
            };
            until(&format!("port {p} answers ARP"), secs(3), || {
                if take(seen) {
                    return Ok(true);
                }
                // A flood may have filled the port's ring, and the question was lost.
                self.wire(p).send(&eth(BROADCAST, me(p), ARP, &ask(p)))?;
                Ok(false)
            })
            .with_context(|| format!("trunkline said:\n{}", self.appliance.log_tail()))?;
        }
        Ok(())
    }

    /// The namespace of the far ends, named `e1-far` …
    #[must_use]
    pub fn far(&self) -> &Netns {
        &self.far
    }

    /// Waits until all that was sent has gone through, and returns what came out since.
    ///
    /// # Errors
    /// When a port does not answer.
    pub fn flush(&mut self) -> Result<Vec<(usize, Vec<u8>)>> {
        let all: Vec<usize> = (1..=self.ports()).collect();
        self.flush_ports(&all)
    }

    /// The same where only some ports can answer.
    ///
    /// # Errors
    /// When one of them does not.
    pub fn flush_ports(&mut self, ports: &[usize]) -> Result<Vec<(usize, Vec<u8>)>> {
        let mut seen = vec![];
        // Twice: the first answer says that the port's frames were taken in, the second that what they caused has left.
        self.settle(ports, &mut seen)?;
        self.settle(ports, &mut seen)?;
        seen.retain(|(_, f)| f.get(1) != Some(&0x5e));
        Ok(seen)
    }

    /// Runs one case.
    ///
    /// # Errors
    /// With everything that is not as the case says.
    pub fn run(&mut self, case: &Case) -> Result<()> {
        for w in &self.wires {
            let _ = w.drain();
        }
        let before = self.appliance.counters()?;
        for (port, frame) in &case.send {
            self.wire(*port).send(frame)?;
        }
        let mut seen = self.collect(case);
        seen.extend(self.flush()?);
        let mut wrong = vec![];
        let left = claim(case, seen, &mut wrong);
        let left = shared_out(case, left, &mut wrong);
        for (port, f) in &left {
            if !case.loose && !case.allows(f) {
                wrong.push(format!(
                    "unexpected at port {port}: {}\n{}",
                    frame::describe(f),
                    judge::tcpdump(&[f])
                ));
            }
        }
        let after = self.appliance.counters()?;
        let drops = before.drops_until(&after);
        if !case.any_drops && drops != case.drops {
            wrong.push(format!("drops: expected {:?}, got {drops:?}", case.drops));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }

    /// Takes frames until every port has given as many as are expected of it, or the case's patience is over.
    fn collect(&self, case: &Case) -> Vec<(usize, Vec<u8>)> {
        let deadline = Instant::now() + case.patience;
        let mut seen = vec![];
        for p in 1..=self.ports() {
            let mut open: Vec<&Expect> = case.expect.iter().filter(|e| e.port == p).collect();
            while !open.is_empty() {
                let Some(f) = self.wire(p).next(deadline) else {
                    break;
                };
                if let Some(i) = open.iter().position(|e| (e.check)(&f.frame).is_ok()) {
                    open.remove(i);
                }
                seen.push((p, f.frame));
            }
        }
        seen
    }

    /// The counting law.
    ///
    /// # Errors
    /// When the counters do not add up.
    pub fn law(&self) -> Result<()> {
        self.appliance.law().map(drop)
    }
}

/// Takes the expected frames out of `seen`; says which are missing and which are malformed. Returns the rest.
fn claim(
    case: &Case,
    mut seen: Vec<(usize, Vec<u8>)>,
    wrong: &mut Vec<String>,
) -> Vec<(usize, Vec<u8>)> {
    // What is forwarded of hostile frames may be wrong behind the IP header; that is its receiver's business.
    for (port, f) in seen.iter().filter(|_| !case.loose) {
        if let Err(e) = judge::well_formed(f) {
            wrong.push(format!(
                "malformed at port {port}: {e}: {}",
                frame::describe(f)
            ));
        }
    }
    for e in &case.expect {
        if let Some(i) = seen
            .iter()
            .position(|(p, f)| *p == e.port && (e.check)(f).is_ok())
        {
            seen.remove(i);
            continue;
        }
        let mut text = format!("missing at port {}: {}", e.port, e.what);
        for (_, f) in seen
            .iter()
            .filter(|(p, f)| *p == e.port && unasked(f).is_none())
        {
            let why = (e.check)(f).err().unwrap_or_default();
            text.push_str(&format!(
                "\n  seen ({why}): {}\n  {}",
                frame::describe(f),
                judge::tcpdump(&[f])
            ));
        }
        wrong.push(text);
    }
    seen
}

/// Judges how frames were spread, if the case is about that. Returns what is none of its business.
fn shared_out(
    case: &Case,
    left: Vec<(usize, Vec<u8>)>,
    wrong: &mut Vec<String>,
) -> Vec<(usize, Vec<u8>)> {
    if matches!(case.spread, Spread::No) {
        return left;
    }
    let (rest, data): (Vec<_>, Vec<_>) = left.into_iter().partition(|(_, f)| unasked(f).is_some());
    let mut at = BTreeMap::new();
    for (port, _) in &data {
        *at.entry(*port).or_insert(0usize) += 1;
    }
    let fits = match &case.spread {
        Spread::Shares(shares) => {
            at.len() == shares.len()
                && shares
                    .iter()
                    .all(|(port, range)| at.get(port).is_some_and(|n| range.contains(n)))
        }
        _ => at.len() <= 1,
    };
    if data.len() != case.send.len() || !fits {
        wrong.push(format!(
            "{} frames sent, {} came out, by port {at:?}",
            case.send.len(),
            data.len()
        ));
    }
    rest
}

/// Waits briefly at most: for cases that expect nothing but want the control thread to have had its turn.
#[must_use]
pub fn soon() -> std::time::Duration {
    millis(200)
}

/// Fails with `what` unless `ok`; for checks.
///
/// # Errors
/// When not `ok`.
pub fn want(ok: bool, what: &str) -> Result<(), String> {
    if ok { Ok(()) } else { Err(what.to_owned()) }
}

/// Runs the cases of a group whose names contain `only`; tells `report` of each.
///
/// # Errors
/// When the lab or the appliance could not be started, or the counters do not add up at the end.
pub fn run_group(
    group: &Group,
    flavor: &Flavor,
    only: Option<&str>,
    report: &mut dyn FnMut(&str, std::time::Duration, Result<()>),
) -> Result<()> {
    let name = |c: &Case| format!("{}/{}", group.name, c.name);
    let cases: Vec<Case> = (group.cases)()
        .into_iter()
        .filter(|c| only.is_none_or(|o| name(c).contains(o)))
        .collect();
    if cases.is_empty() {
        return Ok(());
    }
    let mut bed = Bed::start(group.name, group.ports, &(group.config)(flavor))?;
    for line in (group.prepare)() {
        bed.appliance.must(&line)?;
    }
    bed.flush()?;
    for c in &cases {
        let start = Instant::now();
        let result = bed.run(c);
        report(&name(c), start.elapsed(), result);
        if !bed.appliance.alive() {
            return Err(anyhow!(
                "trunkline ended; it said:\n{}",
                bed.appliance.log_tail()
            ));
        }
    }
    let (start, law) = (Instant::now(), bed.law());
    let name = format!("{}/counters add up", group.name);
    report(&name, start.elapsed(), law);
    let (start, left) = (Instant::now(), bed.appliance.terminate());
    let name = format!("{}/leaves nothing", group.name);
    report(&name, start.elapsed(), left);
    Ok(())
}
