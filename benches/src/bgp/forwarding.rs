//! An appliance that forwards by what it learns: how much longer a full table takes with the FIB, and how soon the first frame
//! goes by a new route.
//!
//! Two Linux hosts at an appliance, which is reached by af_packet and has its worker on the last core; its control thread has
//! real-time priority, the harness has none. While single frames are waited for, the harness keeps off the worker's core. Host 1 is the neighbour
//! that announces, the next hop of all it announces, and takes packets for every address; host 2 sends. Frames pass
//! through the kernels of both hosts, which is in the figures.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use net::Ip4Prefix;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use vm_testbed::lab::config::last_cpu;
use vm_testbed::lab::{Flavor, Netns, cmd};
use vm_testbed::peers::raw;
use vm_testbed::scenarios::bgp::{Around, address, around, asn, neighbor, router, sections};

use super::device::AS;
use super::feed::Feed;
use super::sink::{Mirror, Sink};
use super::wire::{self, Reader};
use crate::stats::{Sample, quantile};
use crate::table::Route;

const PATIENCE: Duration = Duration::from_secs(60);
/// Where packets go.
const PORT: u16 = 4009;
/// Prefixes that are tried.
const PROBES: usize = 256;
/// Between two packets to a prefix that is waited for.
const SPACING: Duration = Duration::from_micros(20);
/// Changes a second, beside.
const CHURN: u32 = 10_000;

/// Keeps the calling thread off the worker's core until it is dropped: two that never let a core go would share it for
/// milliseconds at a time.
struct Aside(CpuSet);

impl Aside {
    fn new() -> Result<Self> {
        let before = sched_getaffinity(Pid::from_raw(0))?;
        let mut cpus = before;
        cpus.unset(last_cpu())?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("all cores but the worker's")?;
        Ok(Self(before))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}

/// The appliance and its hosts.
struct Bed {
    lab: Around,
    receiver: UdpSocket,
    sender: UdpSocket,
}

fn own(n: u8) -> Ipv4Addr {
    match address(n) {
        IpAddr::V4(a) => a,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

impl Bed {
    fn new(install: bool) -> Result<Self> {
        let bgp = format!(
            "install = {install}\n{}",
            sections(&[
                neighbor(1, asn(1), "passive = true"),
                neighbor(2, asn(2), "passive = true")
            ])
        )
        .replace("connect-retry = 1\n", "")
        .replace("hold-time = 9\n", "");
        let lab = around("bb-forward", &Flavor::default(), 2, &bgp)?;
        // As the device has it in all other cases: the harness keeps a core busy, the worker the other one. The worker does
        // without, as it never lets its core go.
        let control = lab.a.pid()?.to_string();
        cmd::run(&format!("chrt -f -p 50 {control}"))?;
        let (one, two) = (&lab.spaces[0], &lab.spaces[1]);
        // Whatever comes by the wire is for host 1.
        one.ip("rule add iif eth0 lookup 100")?;
        one.ip("route add local default dev lo table 100")?;
        let receiver = socket(one, Ipv4Addr::UNSPECIFIED, PORT)?;
        let sender = socket(two, own(2), 0)?;
        Ok(Self {
            lab,
            receiver,
            sender,
        })
    }

    fn session(&self, n: u8) -> Result<(TcpStream, Reader)> {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let attempt = || -> Result<(TcpStream, Reader)> {
                let ns: &Netns = &self.lab.spaces[usize::from(n) - 1];
                let mut stream = raw::connection(ns, address(n), router(n))?;
                let mut reader = Reader::default();
                wire::handshake(&mut stream, &mut reader, asn(n), own(n))?;
                Ok((stream, reader))
            };
            match attempt() {
                Ok(both) => return Ok(both),
                Err(e) if Instant::now() > end => return Err(e),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    fn send(&self, to: Ipv4Addr, number: u32) {
        // What can't be sent for want of room is sent again anyway.
        let _ = self
            .sender
            .send_to(&number.to_be_bytes(), SocketAddr::from((to, PORT)));
    }

    /// The number of a packet that has come.
    fn receive(&self) -> Result<Option<u32>> {
        let mut buffer = [0; 4];
        match self.receiver.recv(&mut buffer) {
            Ok(4) => Ok(Some(u32::from_be_bytes(buffer))),
            Ok(_) => Ok(None),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e.into()),
        }
    }
}

fn socket(ns: &Netns, at: Ipv4Addr, port: u16) -> Result<UdpSocket> {
    ns.enter(|| {
        let s = UdpSocket::bind((at, port))?;
        s.set_nonblocking(true)?;
        Ok(s)
    })
}

/// The whole table from one peer: seconds until the sink has it, and until packets for it are forwarded where `install` says so.
///
/// # Errors
/// It does not come to an end.
pub fn full_table(table: &[Route<Ip4Prefix>], install: bool) -> Result<f64> {
    let feed = Feed::of(table, table.len(), 1);
    let stream = feed.encode(0, own(1), |_| 0);
    let bed = Bed::new(install)?;
    let mut mirror = Mirror::new(&feed, 1, AS, |_| 0);
    let (to_sink, reader) = bed.session(2).context("the sink")?;
    let mut sink = Sink {
        stream: to_sink,
        reader,
    };
    let (mut peer, _) = bed.session(1).context("the peer")?;
    peer.set_write_timeout(Some(PATIENCE))?;
    // A part of what is said last, and a part of all.
    let order = feed.order(0);
    let some = order.iter().step_by((order.len() / PROBES).max(1));
    let sets: Vec<usize> = order.iter().rev().take(32).chain(some).copied().collect();
    let first = |set: &usize| feed.prefixes[feed.sets[*set].first as usize];
    let probes: Vec<Ipv4Addr> = sets
        .iter()
        .map(|s| Ipv4Addr::from(first(s).addr() | 1))
        .collect();
    let start = Instant::now();
    let end = std::thread::scope(|s| -> Result<Instant> {
        let writer = s.spawn(|| peer.write_all(&stream));
        let told = sink.until_complete(&mut mirror, PATIENCE)?;
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
        // Not before: to send takes time of both cores, and what has been told is not forwarded earlier for it.
        let forwarded = match install {
            true => all_forwarded(&bed, &probes)?,
            false => told,
        };
        Ok(told.max(forwarded))
    })?;
    bed.lab.a.stop()?;
    Ok((end - start).as_secs_f64())
}

/// When a packet for each of them has come.
fn all_forwarded(bed: &Bed, probes: &[Ipv4Addr]) -> Result<Instant> {
    let end = Instant::now() + PATIENCE;
    let mut left: Vec<usize> = (0..probes.len()).collect();
    while !left.is_empty() {
        ensure!(
            Instant::now() < end,
            "packets for {} of {} prefixes never came, of {} for one",
            left.len(),
            probes.len(),
            probes[left[0]]
        );
        for i in &left {
            bed.send(probes[*i], *i as u32);
        }
        std::thread::sleep(Duration::from_millis(1));
        while let Some(i) = bed.receive()? {
            left.retain(|l| *l != i as usize);
        }
    }
    Ok(Instant::now())
}

/// From the first byte of an UPDATE to the first frame that is forwarded by its route, `n` times: p50, p99, the longest, in ms.
/// With `churn`, ten thousand other prefixes a second change beside.
///
/// # Errors
/// A route is never forwarded by.
pub fn first_frame(n: u32, churn: bool) -> Result<[f64; 3]> {
    let bed = Bed::new(true)?;
    // After the appliance was started, which may be where it likes.
    let _aside = Aside::new()?;
    let (mut peer, _peer) = bed.session(1)?;
    let (mut other, _other) = bed.session(2)?;
    let mut took = Vec::new();
    let mut noise = Noise::new(churn);
    // Enough of it to be under way.
    let warm = Instant::now() + Duration::from_millis(500);
    while churn && Instant::now() < warm {
        noise.due(&mut other)?;
    }
    for i in 0..n {
        let net = 0x1400_0000 + (i << 8);
        let to = Ipv4Addr::from(net | 1);
        let update = raw::announce(&[asn(1)], own(1), net, 1);
        // No route yet: this goes nowhere.
        bed.send(to, u32::MAX);
        noise.due(&mut other)?;
        let start = Instant::now();
        peer.write_all(&update)?;
        let mut sent = start;
        loop {
            let now = Instant::now();
            ensure!(
                now - start < Duration::from_secs(5),
                "no packet was forwarded to {to}"
            );
            if now - sent >= SPACING {
                bed.send(to, i);
                sent = now;
            }
            if bed.receive()? == Some(i) {
                took.push(start.elapsed().as_secs_f64() * 1e3);
                break;
            }
            noise.due(&mut other)?;
        }
        peer.write_all(&raw::withdraw(net, 1))?;
        let pause = Instant::now() + Duration::from_millis(3);
        while Instant::now() < pause {
            noise.due(&mut other)?;
            let _ = bed.receive()?;
        }
    }
    bed.lab.a.stop()?;
    took.sort_by(f64::total_cmp);
    Ok([0.5, 0.99, 1.0].map(|q| quantile(&took, q)))
}

/// Changes of other prefixes, ten every millisecond.
struct Noise {
    start: Option<Instant>,
    sent: u32,
}

impl Noise {
    fn new(on: bool) -> Self {
        Self {
            start: on.then(Instant::now),
            sent: 0,
        }
    }

    /// Sends what is due.
    fn due(&mut self, to: &mut TcpStream) -> Result<()> {
        let Some(start) = self.start else {
            return Ok(());
        };
        let due = (start.elapsed().as_micros() as u64 * u64::from(CHURN) / 1_000_000) as u32;
        while self.sent + 10 <= due {
            let round = self.sent / 10;
            let net = 0x3000_0000 + ((round % 1000 * 10) << 8);
            let path = [asn(2), 1_000_000 + round];
            to.write_all(&raw::announce(&path, own(2), net, 10))?;
            self.sent += 10;
        }
        Ok(())
    }
}

/// Both, by turns: seconds with the FIB, and without.
///
/// # Errors
/// One does not come to an end.
pub fn with_and_without(table: &[Route<Ip4Prefix>], rounds: usize) -> Result<(Sample, Sample)> {
    let (mut with, mut without) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        without.0.push(full_table(table, false)?);
        with.0.push(full_table(table, true)?);
    }
    Ok((with, without))
}
