//! An appliance as a user starts it, with its ports on veths and its worker on the last core: a customer's host sends, two hosts
//! stand for PEs and see what comes with labels, a third tells the routes of both by BGP. So the sessions outlive whatever
//! befalls a PE, and what carries is the backup.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use vm_testbed::lab::wire::Wire;
use vm_testbed::lab::{Appliance, Config, Flavor, Host, Lab, Netns};
use vm_testbed::peers::raw::{Raw, message};

use super::Loss;

const PATIENCE: Duration = Duration::from_secs(60);
/// Prefixes that packets go to all the time: as many as the smallest VPN has, so that each is sent to as often whatever the size.
pub const PROBES: u32 = 10;
/// Between two packets.
const SPACING: Duration = Duration::from_micros(100);
const AS: u32 = 64512;
const FIRST: u32 = 0x1400_0000;
/// A VPN prefix in an UPDATE: length, label, distinguisher, three octets.
const EACH: usize = 15;
/// As many as one UPDATE has room for, beside its attributes.
const MOST: u32 = 250;

/// An UPDATE: /24s of VPNv4 from `first` on, by that PE with that label and target.
fn announce(pe: u8, (rd, target): (u16, u16), label: u32, first: u32, count: u32) -> Vec<u8> {
    let mut reach = vec![0, 1, 128, 12, 0, 0, 0, 0, 0, 0, 0, 0, 192, 0, 2, pe, 0];
    let [_, a, b, c] = (label << 4 | 1).to_be_bytes();
    for i in 0..count {
        let [x, y, z, _] = (first + (i << 8)).to_be_bytes();
        reach.extend([24 + 64 + 24, a, b, c, 0, 0]);
        reach.extend((AS as u16).to_be_bytes());
        reach.extend([0, 0]);
        reach.extend(rd.to_be_bytes());
        reach.extend([x, y, z]);
    }
    debug_assert_eq!(reach.len(), 17 + EACH * count as usize);
    // ORIGIN, an empty AS_PATH, LOCAL_PREF: the first PE is preferred.
    let pref = 200 - pe;
    let mut attrs = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, pref];
    attrs.extend([0xc0, 16, 8, 0, 2]);
    attrs.extend((AS as u16).to_be_bytes());
    attrs.extend([0, 0]);
    attrs.extend(target.to_be_bytes());
    attrs.extend([0x90, 14]);
    attrs.extend((reach.len() as u16).to_be_bytes());
    attrs.extend(reach);
    let mut body = vec![0, 0];
    body.extend((attrs.len() as u16).to_be_bytes());
    body.extend(attrs);
    message(2, &body)
}

fn session(rr: &Netns, pe: u8) -> Result<Raw> {
    let from = Ipv4Addr::new(10, 9, 0, 1 + pe);
    let to = IpAddr::from([10, 9, 0, 1]);
    let end = Instant::now() + PATIENCE;
    loop {
        // Without a hold time nobody waits for KEEPALIVEs.
        match Raw::open_with(rr, from, to, AS, 0, &[1, 4, 0, 1, 0, 128]) {
            Ok(raw) => return Ok(raw),
            Err(e) if Instant::now() > end => return Err(e),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// What all have: the core, and the sessions of both PEs by way of a third host.
fn core(c: Config) -> Config {
    let mut bgp = format!("[bgp]\nas = {AS}\n");
    for pe in 1..=2 {
        bgp += &format!(
            "[bgp.neighbor.\"10.9.0.{}\"]\nas = {AS}\nfamilies = [\"vpnv4\"]\npassive = true\n",
            1 + pe
        );
    }
    c.interface("rr0", "rr", &["10.9.0.1/24"], "").section(&bgp)
}

fn vrf(name: &str, n: u16) -> String {
    let target = format!("[\"target:{AS}:{n}\"]");
    format!("[vrf.{name}]\nrd = \"{AS}:{n}\"\nimport = {target}\nexport = {target}")
}

/// A loss, and of each round the two times of [`failover`].
pub type Turns = (Loss, Vec<[f64; 2]>);

struct Bed {
    a: Appliance,
    pes: [(Netns, Wire); 2],
    sender: UdpSocket,
    prefixes: u32,
    _sessions: [Raw; 2],
    _lab: Lab,
}

impl Bed {
    fn new(prefixes: u32) -> Result<Self> {
        let mut lab = Lab::new("bench-vpn")?;
        let router = lab.router("pe")?;
        let near = Host::new("near", &["10.0.1.2/24"]).gateway("10.0.1.1");
        let near = lab.host(&near, &router, "near")?;
        let rr = lab.host(
            &Host::new("rr", &["10.9.0.2/24", "10.9.0.3/24"]),
            &router,
            "rr",
        )?;
        let mut config = Flavor::default()
            .config("pe")
            .router_id("192.0.2.9")
            .interface("near0", "near", &["10.0.1.1/24"], "vrf = \"red\"");
        let mut pe = |n: u8| -> Result<(Netns, Wire)> {
            let host = Host::new(&format!("pe{n}"), &[&format!("10.255.{n}.2/24")]);
            let ns = lab.host(&host, &router, &format!("core{n}"))?;
            let wire = Wire::open(&ns, "eth0")?;
            Ok((ns, wire))
        };
        let pes = [pe(1)?, pe(2)?];
        for n in 1..=2 {
            let (dev, own) = (format!("core{n}"), format!("10.255.{n}.1/24"));
            config = config.interface(&dev, &dev, &[&own], "mpls = true").route(
                &format!("192.0.2.{n}/32"),
                &format!("10.255.{n}.2"),
                "label = [3]",
            );
        }
        let a = lab.start("pe", &router, &core(config).section(&vrf("red", 1)))?;
        let sender = near.enter(|| {
            let s = UdpSocket::bind("10.0.1.2:4009")?;
            s.set_nonblocking(true)?;
            Ok(s)
        })?;
        let mut sessions = [session(&rr, 1)?, session(&rr, 2)?];
        for (i, raw) in sessions.iter_mut().enumerate() {
            let n = i as u8 + 1;
            for at in (0..prefixes).step_by(MOST as usize) {
                let count = MOST.min(prefixes - at);
                // A distinguisher for each, as PEs have.
                let ids = (u16::from(n) + 1, 1);
                raw.say(&announce(
                    n,
                    ids,
                    100 + u32::from(n),
                    FIRST + (at << 8),
                    count,
                ))?;
            }
        }
        let bed = Self {
            a,
            pes,
            sender,
            prefixes,
            _sessions: sessions,
            _lab: lab,
        };
        bed.until(0)?;
        Ok(bed)
    }

    /// An address of the prefix that is tried as the `i`th; the last prefix is one of them.
    fn probe(&self, i: u32) -> u32 {
        let at = match PROBES.min(self.prefixes) {
            n if n < 2 => 0,
            n => u64::from(i % n) * u64::from(self.prefixes - 1) / u64::from(n - 1),
        };
        FIRST + ((at as u32) << 8) + 1
    }

    fn send(&self, i: u32) {
        // What can't be sent for want of room is sent again anyway.
        let to = Ipv4Addr::from(self.probe(i));
        let _ = self.sender.send_to(&i.to_be_bytes(), (to, 4009));
    }

    /// The destination of a labelled frame that a PE got.
    fn destination(&self, pe: usize, frame: &[u8]) -> Option<u32> {
        let label = u32::from_be_bytes(*frame.get(14..18)?.first_chunk()?) >> 12;
        let ours = frame.get(12..14)? == [0x88, 0x47] && label == 101 + pe as u32;
        let to = frame.get(18 + 16..)?.first_chunk()?;
        ours.then(|| u32::from_be_bytes(*to))
    }

    /// Waits until a PE gets packets for all prefixes that are tried, and the appliance has nothing more to do.
    fn until(&self, pe: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            drop(self.pes[pe].1.drain());
            (0..PROBES).for_each(|i| self.send(i));
            let mut left: Vec<u32> = (0..PROBES.min(self.prefixes))
                .map(|i| self.probe(i))
                .collect();
            while let Some(seen) = self.pes[pe]
                .1
                .next(Instant::now() + Duration::from_millis(100))
            {
                let to = self.destination(pe, &seen.frame);
                left.retain(|l| Some(*l) != to);
            }
            let cpu = self.a.cpu_time()?;
            std::thread::sleep(Duration::from_millis(200));
            if left.is_empty() && self.a.cpu_time()? - cpu < Duration::from_millis(100) {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{} prefixes never come to PE {}",
                left.len(),
                pe + 1
            );
        }
    }

    /// Loses the first PE while packets flow: from its last packet until each prefix had come to the second, and from the first
    /// prefix that came there to the last, in ms.
    fn lose(&self, loss: Loss) -> Result<[f64; 2]> {
        let over = AtomicBool::new(false);
        self.pes.iter().for_each(|(_, wire)| drop(wire.drain()));
        std::thread::scope(|s| {
            let (bed, over) = (self, &over);
            s.spawn(move || {
                // Relaxed: the flag orders nothing else.
                for i in (0..).take_while(|_| !over.load(Ordering::Relaxed)) {
                    bed.send(i);
                    std::thread::sleep(SPACING);
                }
            });
            std::thread::sleep(Duration::from_millis(100));
            let found = self.carried(loss);
            over.store(true, Ordering::Relaxed);
            found
        })
    }

    fn carried(&self, loss: Loss) -> Result<[f64; 2]> {
        match loss {
            Loss::Link | Loss::Neighbor => drop(self.pes[0].0.ip("link set eth0 down")?),
            Loss::Route => drop(self.a.must("route del 192.0.2.1/32")?),
        }
        let mut left: Vec<u32> = (0..PROBES.min(self.prefixes))
            .map(|i| self.probe(i))
            .collect();
        let (mut first, mut last) = (None, Duration::ZERO);
        let end = Instant::now() + PATIENCE;
        while !left.is_empty() {
            let seen = self.pes[1]
                .1
                .next(end)
                .context("the backup never carries")?;
            let Some(to) = self.destination(1, &seen.frame) else {
                continue;
            };
            if let Some(at) = left.iter().position(|l| *l == to) {
                left.swap_remove(at);
                first.get_or_insert(seen.at);
                last = seen.at;
            }
        }
        let before = self.pes[0].1.drain();
        let before = before
            .iter()
            .filter(|s| self.destination(0, &s.frame).is_some());
        let before = before
            .map(|s| s.at)
            .max()
            .context("nothing came to the first PE")?;
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let first = first.unwrap_or_default();
        Ok([
            ms(last.saturating_sub(before)),
            ms(last.saturating_sub(first)),
        ])
    }

    fn restore(&self, loss: Loss) -> Result<()> {
        match loss {
            Loss::Link | Loss::Neighbor => drop(self.pes[0].0.ip("link set eth0 up")?),
            Loss::Route => drop(
                self.a
                    .must("route add 192.0.2.1/32 via 10.255.1.2 label 3")?,
            ),
        }
        self.until(0)
    }
}

/// Of a VPN of so many prefixes: for each loss and round until the backup carried all that was tried, and from its first prefix
/// to its last, in ms.
///
/// # Errors
/// The appliance does not start, or packets never come.
pub fn failover(prefixes: u32, rounds: usize) -> Result<Vec<Turns>> {
    let bed = Bed::new(prefixes)?;
    let mut out = Vec::new();
    for loss in [Loss::Link, Loss::Route] {
        let mut all = Vec::new();
        for _ in 0..rounds {
            all.push(bed.lose(loss)?);
            bed.restore(loss)?;
        }
        out.push((loss, all));
    }
    bed.a.stop()?;
    Ok(out)
}

/// What VRFs take.
#[derive(Debug, Clone, Copy)]
pub struct Vrfs {
    /// Octets of an appliance with the VRFs and no routes.
    pub empty: u64,
    /// With the routes.
    pub full: u64,
    /// From the first octet that was told to the last route in the tables, in seconds.
    pub seconds: f64,
}

/// So many VRFs with so many routes each, of a PE with a distinguisher for each.
///
/// # Errors
/// The appliance does not start, or never has all routes.
pub fn vrfs(count: u16, routes: u32) -> Result<Vrfs> {
    let mut lab = Lab::new("bench-vrfs")?;
    let router = lab.router("pe")?;
    let rr = Host::new("rr", &["10.9.0.2/24", "10.9.0.3/24"]);
    let rr = lab.host(&rr, &router, "rr")?;
    let mut config = Flavor::default().config("pe").router_id("192.0.2.9").route(
        "192.0.2.1/32",
        "10.9.0.2",
        "label = [3]",
    );
    for n in 1..=count {
        config = config.section(&vrf(&format!("v{n}"), n));
    }
    let a = lab.start("pe", &router, &core(config))?;
    let mut raw = session(&rr, 1)?;
    std::thread::sleep(Duration::from_secs(1));
    let empty = a.resident()?;
    let start = Instant::now();
    for n in 1..=count {
        for at in (0..routes).step_by(MOST as usize) {
            let some = MOST.min(routes - at);
            raw.say(&announce(
                1,
                (n + 10_000, n),
                100 + u32::from(n),
                FIRST + (at << 8),
                some,
            ))?;
        }
    }
    let end = Instant::now() + PATIENCE;
    for n in [1, count] {
        loop {
            let shown = a.json(&format!("vrf show v{n}"))?;
            if shown[0]["ipv4_routes"].as_u64() >= Some(routes.into()) {
                break;
            }
            ensure!(Instant::now() < end, "the routes never came: {shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    let full = a.resident()?;
    a.stop()?;
    Ok(Vrfs {
        empty,
        full,
        seconds,
    })
}
