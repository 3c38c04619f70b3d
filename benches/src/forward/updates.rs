//! Route changes while a worker forwards at full speed: what they do to its loops, and whether a frame is lost.
//!
//! In this process: the data plane, one worker on its core, and the changes from the thread that owns the FIB, as the
//! control thread of the appliance makes them: batches of [`BATCH`], each one epoch, paced. Rounds with and without changes
//! alternate, for the longest loop of a virtual machine is mostly its host's doing, and the medians of many short rounds are
//! compared. What 9,999 of 10,000 loops did not exceed is told beside it: that says less of the host.
//!
//! With the same tables it then measures the time from RX to TX at less than full load, see [`super::latency`].

use std::path::Path as File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dataplane::eal::{EalConfig, Memory};
use dataplane::interface::{Interface, InterfaceTable};
use dataplane::pipeline::PipelineConfig;
use dataplane::port::{Device, PortSpec};
use dataplane::stats::WorkerStats;
use dataplane::worker::idle::Poll;
use dataplane::{Config, Dataplane};
use fib::{Adjacency, FibBatch, Op, Path, Target};
use net::{GroupId, IfaceId, Ip4Prefix, MacAddr, PortId, VrfId};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::case::{NEIGHBOURS, Tables};
use super::process::CORE;
use super::report::median;
use super::{latency, ours};

/// Changes of a batch.
const BATCH: usize = 100;
/// Changes a second.
pub const RATE: u32 = 100_000;

/// What was seen.
#[derive(Debug)]
pub struct Outcome {
    /// Without changes, one a round.
    pub quiet: Vec<Loops>,
    /// With them.
    pub busy: Vec<Loops>,
    /// Changes a second that were made.
    pub rate: f64,
    /// Frames that were dropped.
    pub dropped: u64,
    /// Frames that were received.
    pub received: u64,
    /// What comes after it.
    pub latency: latency::Outcome,
}

/// How long the loops of a worker that moved frames took, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Loops {
    /// The longest.
    pub longest: f64,
    /// What half of them did not exceed.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 9,999 of 10,000.
    pub p9999: f64,
    /// Share of the time that was spent in them.
    pub busy: f64,
    /// Million frames a second.
    pub mpps: f64,
}

impl Outcome {
    /// The medians of something: without changes, with them.
    pub fn medians(&self, of: impl Fn(&Loops) -> f64) -> (f64, f64) {
        let median = |rounds: &[Loops]| median(rounds.iter().map(&of).collect());
        (median(&self.quiet), median(&self.busy))
    }
}

/// A data plane with one worker.
pub(super) struct Rig {
    pub(super) dp: Dataplane,
    groups: Vec<GroupId>,
    interfaces: Vec<Interface>,
}

impl Rig {
    fn new() -> Result<Self> {
        let config = Config {
            eal: EalConfig {
                memory: Memory::Hugepages,
                mem_mb: 0,
                control_cpu: 0,
                pci: false,
            },
            workers: vec![CORE],
            poll: Poll::Busy,
            frames: 16_383,
            jumbo_frames: 1023,
            pipeline: PipelineConfig::default(),
        };
        Ok(Self {
            dp: Dataplane::start(&config)?,
            groups: Vec::new(),
            interfaces: Vec::new(),
        })
    }

    /// Opens a port that plays the capture, with its neighbours.
    fn port(&mut self, i: u8, capture: &File) -> Result<()> {
        let device = format!(
            "dpdk:net_pcap{i},rx_pcap={},infinite_rx=1",
            capture.display()
        );
        let mut spec = PortSpec::new(device.parse::<Device>()?);
        spec.interrupts = false;
        let port = self.dp.open_port(&spec)?;
        let (id, mac) = (IfaceId(i.into()), ours::mac(i));
        self.interfaces.push(interface(id, port, mac));
        for n in 0..NEIGHBOURS {
            let address = ours::hop4(usize::from(i) * NEIGHBOURS + n).parse()?;
            let to = MacAddr([2, 0xbb, 0, 0, i, n as u8]);
            let adj = Adjacency::incomplete(id, port, 1500, address).complete(mac, to, None);
            let adj = self.dp.fib().add_adj(adj)?;
            let path = Path::to(Target::Adjacency(adj));
            self.groups.push(self.dp.fib().add_group(&[(path, 1)])?);
        }
        Ok(())
    }

    fn worker(&mut self) -> Result<WorkerStats> {
        self.dp.worker_stats().pop().context("there is no worker")
    }

    /// The loops of that time, while `each` is called again and again.
    pub(super) fn loops(
        &mut self,
        time: Duration,
        mut each: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<Loops> {
        self.dp.reset_longest();
        // The loop under way is not of the new time.
        std::thread::sleep(Duration::from_millis(5));
        let (before, start) = (self.worker()?, Instant::now());
        while start.elapsed() < time {
            each(self)?;
        }
        let (after, took) = (self.worker()?, start.elapsed());
        let busy = (after.busy_cycles - before.busy_cycles) as f64;
        Ok(Loops {
            longest: after.max_loop_us,
            p50: after.loop_p50_us,
            p99: after.loop_p99_us,
            p9999: after.loop_p9999_us,
            busy: busy / (after.cycles - before.cycles).max(1) as f64,
            mpps: (after.packets - before.packets) as f64 / took.as_secs_f64() / 1e6,
        })
    }
}

pub(super) fn interface(id: IfaceId, port: PortId, mac: MacAddr) -> Interface {
    Interface {
        id,
        port,
        vlan: None,
        mac,
        mtu: 1500,
        mpls: false,
        up: true,
        vrf: VrfId(0),
        link_local: std::net::Ipv6Addr::UNSPECIFIED,
        v4: vec![([10, 0, id.0 as u8, 1].into(), 24)],
        v6: Vec::new(),
        name: format!("p{}", id.0),
    }
}

/// Measures; the captures are those of the two ports. One EAL is started in this process, so only once.
///
/// # Errors
/// The data plane does not start, or a change is refused.
pub fn run(
    tables: &Tables,
    captures: [&File; 2],
    rounds: usize,
    time: Duration,
) -> Result<Outcome> {
    let mut rig = Rig::new()?;
    for (i, capture) in captures.into_iter().enumerate() {
        rig.port(i as u8, capture)?;
    }
    let routes: Vec<Ip4Prefix> = tables
        .v4
        .iter()
        .copied()
        .filter(|&p| Tables::usable4(p))
        .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut load = FibBatch::new();
    for &p in &routes {
        load.push(Op::Set4(
            p,
            rig.groups[rng.random_range(0..rig.groups.len())],
        ));
    }
    rig.dp.fib().apply(&load)?;
    let table = InterfaceTable::new(rig.interfaces.clone())?;
    rig.dp.publish_interfaces(table)?;
    rig.loops(time, |_| pause())?; // caches warm

    let before = rig.dp.totals();
    let (mut quiet, mut busy, mut made, mut took) = (Vec::new(), Vec::new(), 0, 0.0);
    for _ in 0..rounds {
        quiet.push(rig.loops(time, |_| pause())?);
        let start = Instant::now();
        let mut batches = 0;
        let loops = rig.loops(time, |rig| {
            let due = start
                + Duration::from_secs_f64(f64::from(batches) * BATCH as f64 / f64::from(RATE));
            if Instant::now() < due {
                return pause();
            }
            batches += 1;
            rig.change(&routes, &mut rng)
        })?;
        busy.push(loops);
        made += batches as usize * BATCH;
        took += start.elapsed().as_secs_f64();
    }
    let after = rig.dp.totals();
    ensure!(after.rx_packets > before.rx_packets, "no frame came in");
    let latency = latency::run(&mut rig, tables, time)?;
    let outcome = Outcome {
        quiet,
        busy,
        rate: made as f64 / took,
        dropped: after.dropped() - before.dropped(),
        received: after.rx_packets - before.rx_packets,
        latency,
    };
    rig.dp.shutdown()?;
    Ok(outcome)
}

/// The control thread has nothing to do.
pub(super) fn pause() -> Result<()> {
    std::thread::sleep(Duration::from_micros(200));
    Ok(())
}

impl Rig {
    /// Points some routes elsewhere, and takes out others that come back in the same batch: no frame is without a route.
    fn change(&mut self, routes: &[Ip4Prefix], rng: &mut ChaCha8Rng) -> Result<()> {
        let mut batch = FibBatch::new();
        for _ in 0..BATCH {
            let route = routes[rng.random_range(0..routes.len())];
            let group = self.groups[rng.random_range(0..self.groups.len())];
            batch.push(Op::Set4(route, group));
        }
        self.dp.fib().apply(&batch)?;
        Ok(())
    }
}
