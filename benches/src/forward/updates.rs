//! Route changes while a worker forwards at full speed: what they do to its longest loop, and whether a frame is lost.
//!
//! In this process: the data plane, one worker on its core, and the changes from the thread that owns the FIB, as the
//! control thread of the appliance makes them: batches of [`BATCH`], each one epoch, paced. Rounds with and without changes
//! alternate, for the longest loop of a virtual machine is mostly its host's doing; medians are compared.

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
use super::ours;
use super::process::CORE;
use super::report::median;

/// Changes of a batch.
const BATCH: usize = 100;
/// Changes a second.
pub const RATE: u32 = 100_000;

/// What was seen.
#[derive(Debug)]
pub struct Outcome {
    /// Longest loops without changes, in microseconds, one a round.
    pub quiet: Vec<f64>,
    /// With them.
    pub busy: Vec<f64>,
    /// Changes a second that were made.
    pub rate: f64,
    /// Frames that were dropped.
    pub dropped: u64,
    /// Frames that were received.
    pub received: u64,
}

impl Outcome {
    /// The medians: without, with.
    pub fn medians(&self) -> (f64, f64) {
        (median(self.quiet.clone()), median(self.busy.clone()))
    }
}

struct Rig {
    dp: Dataplane,
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

    /// The longest loop of that time, in microseconds, while `each` is called again and again.
    fn longest(
        &mut self,
        time: Duration,
        mut each: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<f64> {
        self.dp.reset_longest();
        // The loop under way is not of the new time.
        std::thread::sleep(Duration::from_millis(5));
        let end = Instant::now() + time;
        while Instant::now() < end {
            each(self)?;
        }
        Ok(self.worker()?.max_loop_us)
    }
}

fn interface(id: IfaceId, port: PortId, mac: MacAddr) -> Interface {
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
    rig.longest(time, |_| pause())?; // caches warm

    let before = rig.dp.totals();
    let (mut quiet, mut busy, mut made, mut took) = (Vec::new(), Vec::new(), 0, 0.0);
    for _ in 0..rounds {
        quiet.push(rig.longest(time, |_| pause())?);
        let start = Instant::now();
        let mut batches = 0;
        let longest = rig.longest(time, |rig| {
            let due = start
                + Duration::from_secs_f64(f64::from(batches) * BATCH as f64 / f64::from(RATE));
            if Instant::now() < due {
                return pause();
            }
            batches += 1;
            rig.change(&routes, &mut rng)
        })?;
        busy.push(longest);
        made += batches as usize * BATCH;
        took += start.elapsed().as_secs_f64();
    }
    let after = rig.dp.totals();
    ensure!(after.rx_packets > before.rx_packets, "no frame came in");
    let outcome = Outcome {
        quiet,
        busy,
        rate: made as f64 / took,
        dropped: after.dropped() - before.dropped(),
        received: after.rx_packets - before.rx_packets,
    };
    rig.dp.shutdown()?;
    Ok(outcome)
}

/// The control thread has nothing to do.
fn pause() -> Result<()> {
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
