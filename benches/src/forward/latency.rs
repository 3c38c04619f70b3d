//! The time from RX to TX at less than full load, as the worker's own histogram has it.
//!
//! A thread on another core puts frames into a port of rings in memory, evenly, at a rate that is a part of what the same
//! set-up moves when it is given all that it takes; they leave by net_pcap ports that drop them. A frame that a worker takes
//! in has left when its loop is over, so the lengths of the loops that moved frames bound that time. What a frame waits in the
//! ring before is not in it, nor what a card and its driver add.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dataplane::burst::Burst;
use dataplane::interface::InterfaceTable;
use dataplane::mempool::Mempool;
use dataplane::port::{MemPort, MemWire};
use net::{IfaceId, MacAddr};

use super::case::{CASES, Tables};
use super::frames;
use super::updates::{Loops, Rig, interface, pause};

/// The part of the full rate.
pub const LOAD: f64 = 0.8;
/// What 99 of 100 loops must not exceed, in microseconds.
pub const P99_US: f64 = 20.0;
/// Frames put in at once.
const TOGETHER: u16 = 8;
/// Room of the ring.
const DEPTH: usize = 1024;

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// With all that goes through.
    pub full: Loops,
    /// At [`LOAD`] of that rate.
    pub loaded: Loops,
    /// Frames that found the ring full then.
    pub missed: u64,
}

/// Who puts frames in.
struct Feeder {
    frames: Vec<Vec<u8>>,
    pool: Arc<Mempool>,
    wire: MemWire,
    /// Frames a second; 0: as many as go.
    rate: Arc<AtomicU64>,
    missed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Feeder {
    fn run(self) {
        // The control thread sleeps meanwhile, and shares this core with it.
        let _known = dataplane::eal::register_thread();
        let mut next = self.frames.iter().cycle();
        let (mut rate, mut start, mut sent) = (0, Instant::now(), 0u64);
        while !self.stop.load(Relaxed) {
            let wanted = self.rate.load(Relaxed); // no partner: a number that orders nothing
            if wanted != rate {
                (rate, start, sent) = (wanted, Instant::now(), 0);
            }
            let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
            if rate > 0 && due < sent + u64::from(TOGETHER) {
                std::hint::spin_loop();
                continue;
            }
            let mut burst = Burst::new();
            if !self.pool.alloc_bulk(&mut burst, TOGETHER) {
                continue;
            }
            for mut m in burst.drain() {
                if let Some(frame) = next.next() {
                    m.extend_from_slice(frame);
                }
                if !self.wire.send(0, m) && rate > 0 {
                    self.missed.fetch_add(1, Relaxed);
                }
            }
            sent += u64::from(TOGETHER);
        }
    }
}

/// Measures with the tables that are there.
///
/// # Errors
/// The port can't be opened, or no frame comes through.
pub(super) fn run(rig: &mut Rig, tables: &Tables, time: Duration) -> Result<Outcome> {
    let case = CASES.iter().find(|c| c.name == "ipv4-1m-4k");
    let case = case.context("no such case")?;
    let mac = MacAddr([2, 0xcc, 0, 0, 0, 1]);
    let mem = MemPort::new(1, DEPTH);
    let wire = mem.wire();
    let port = rig.dp.open_mem_port(mac, 1500, mem)?;
    // It alone has an interface from now on, so the others are only sent to.
    let table = InterfaceTable::new([interface(IfaceId(9), port, mac)])?;
    rig.dp.publish_interfaces(table)?;
    let pool = rig.dp.pools().iter().next().context("there is no pool")?;
    let (rate, missed, stop): (Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>) =
        Default::default();
    let feeder = Feeder {
        frames: frames::all(case, tables, mac, 77).collect(),
        pool: pool.clone(),
        wire,
        rate: rate.clone(),
        missed: missed.clone(),
        stop: stop.clone(),
    };
    let thread = std::thread::Builder::new()
        .name("feeder".into())
        .spawn(|| feeder.run())?;
    let seen = measure(rig, &rate, &missed, time);
    stop.store(true, Relaxed);
    ensure!(thread.join().is_ok(), "who puts frames in has died");
    seen
}

fn measure(rig: &mut Rig, rate: &AtomicU64, missed: &AtomicU64, time: Duration) -> Result<Outcome> {
    let long = 4 * time;
    rig.loops(time, |_| pause())?; // caches warm
    let full = rig.loops(long, |_| pause())?;
    ensure!(full.mpps > 0.0, "no frame came through");
    rate.store((full.mpps * 1e6 * LOAD) as u64, Relaxed);
    rig.loops(time, |_| pause())?;
    let before = missed.load(Relaxed);
    let loaded = rig.loops(long, |_| pause())?;
    Ok(Outcome {
        full,
        loaded,
        missed: missed.load(Relaxed) - before,
    })
}
