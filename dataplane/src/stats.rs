//! How the workers are doing: written by each worker, read by the control thread. Read HABITS 10.
//!
//! Cycles are those of the time stamp counter, which ticks at one rate whatever the core's clock does.

use crate::counters::Counter;
use crate::worker::meter::{MeterCells, Reading, Stage};
use net::{PortId, WorkerId};
use std::time::{Duration, Instant};

/// What a worker counts about itself. One writer.
#[derive(Debug, Default)]
#[repr(C, align(128))]
pub(crate) struct WorkerCells {
    /// Frames taken from RX queues.
    pub packets: Counter,
    /// RX bursts that held a frame.
    pub bursts: Counter,
    /// Cycles of loops that found something to do.
    pub busy_cycles: Counter,
    /// Cycles in all, asleep too.
    pub cycles: Counter,
    /// Loops.
    pub loops: Counter,
    /// Sleeps.
    pub sleeps: Counter,
    /// Frames handed to the owner of a TX queue.
    pub handed_over: Counter,
    /// Eventfd writes to the control thread.
    pub wakes: Counter,
}

/// An RX queue that a worker polls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueRef {
    /// The port.
    pub port: PortId,
    /// The number of the queue within it.
    pub queue: u16,
}

/// How a worker is doing. The ratios are of the last one to two seconds; the counts, of its life.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerStats {
    /// The worker.
    pub worker: WorkerId,
    /// Its CPU.
    pub cpu: usize,
    /// That CPU's NUMA node.
    pub numa: u32,
    /// What it polls.
    pub queues: Vec<QueueRef>,
    /// Frames taken from its RX queues.
    pub packets: u64,
    /// RX bursts that held a frame.
    pub bursts: u64,
    /// Cycles since its start, asleep too.
    pub cycles: u64,
    /// Those of loops that found something to do.
    pub busy_cycles: u64,
    /// Cycles of busy loops per frame; 0 without frames.
    pub cycles_per_packet: f64,
    /// Share of its time in loops that found something to do, 0 to 1.
    pub busy_ratio: f64,
    /// The longest loop, sleep left out, in microseconds, since its start or [`reset`](crate::Dataplane::reset_longest).
    pub max_loop_us: f64,
    /// What half of the loops that moved frames did not exceed, in microseconds; no frame is longer from RX to TX than
    /// its loop. Since the start or the reset, as the next.
    pub loop_p50_us: f64,
    /// Likewise, 99 of 100.
    pub loop_p99_us: f64,
    /// Likewise, 9,999 of 10,000.
    pub loop_p9999_us: f64,
    /// Cycles per frame by [`Stage`](crate::worker::meter::Stage), of one loop in 32 in the last one to two seconds.
    pub stages: [f64; Stage::COUNT],
    /// Epochs that its last quiescent report is behind; 0 while it sleeps.
    pub rcu_lag: u64,
    /// Loops it made.
    pub loops: u64,
    /// Times it slept.
    pub sleeps: u64,
    /// Frames it handed to other workers, which own the TX queue.
    pub handed_over: u64,
    /// Times it woke the control thread.
    pub wakes: u64,
    /// Is the thread alive? A worker that died by a bug forwards nothing.
    pub alive: bool,
}

/// What the ratios are made of, at one instant.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    packets: u64,
    busy: u64,
    cycles: u64,
}

impl Sample {
    fn of(c: &WorkerCells) -> Self {
        Self {
            packets: c.packets.get(),
            busy: c.busy_cycles.get(),
            cycles: c.cycles.get(),
        }
    }
}

/// The control thread's memory of earlier samples, so that ratios are of late and not of a lifetime.
#[derive(Debug, Default)]
pub(crate) struct Window {
    older: Sample,
    newer: Sample,
    at: Option<Instant>,
    meter: [Reading; 2],
    /// The meter when the longest loop began anew.
    reset: Reading,
}

/// What a meter says.
pub(crate) struct Metered {
    pub max_loop_us: f64,
    pub loop_p50_us: f64,
    pub loop_p99_us: f64,
    pub loop_p9999_us: f64,
    pub stages: [f64; Stage::COUNT],
}

impl Window {
    /// The longest loop and the histogram begin anew.
    pub(crate) fn reset(&mut self, cells: &MeterCells) {
        self.reset = cells.read();
        cells.reset();
    }

    /// What the meter says: stages of late, as [`ratios`](Self::ratios), which is to be called before; loops since the
    /// reset.
    pub(crate) fn metered(&mut self, cells: &MeterCells, now: Instant) -> Metered {
        let current = cells.read();
        let late = current.since(&self.meter[0]);
        if self.at == Some(now) {
            self.meter.rotate_left(1);
            self.meter[1] = current.clone();
        }
        let loops = current.since(&self.reset);
        let us = |cycles: u64| cycles as f64 * 1e6 / cycles_per_second().max(1) as f64;
        Metered {
            max_loop_us: us(loops.longest),
            loop_p50_us: us(loops.loops_below(0.5)),
            loop_p99_us: us(loops.loops_below(0.99)),
            loop_p9999_us: us(loops.loops_below(0.9999)),
            stages: Stage::ALL.map(|s| late.stage(s)),
        }
    }

    /// `(cycles_per_packet, busy_ratio)` since a sample one to two seconds old, or since the start.
    pub(crate) fn ratios(&mut self, now: Instant, cells: &WorkerCells) -> (f64, f64) {
        let current = Sample::of(cells);
        let base = self.older;
        if self
            .at
            .is_none_or(|at| now.saturating_duration_since(at) >= Duration::from_secs(1))
        {
            self.older = self.newer;
            self.newer = current;
            self.at = Some(now);
        }
        let busy = current.busy.saturating_sub(base.busy) as f64;
        let packets = current.packets.saturating_sub(base.packets) as f64;
        let cycles = current.cycles.saturating_sub(base.cycles) as f64;
        let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
        (ratio(busy, packets), ratio(busy, cycles).min(1.0))
    }
}

/// The time stamp counter, or nanoseconds where there is none.
#[inline]
pub(crate) fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        // SAFETY: every x86-64 has the instruction; it only reads a register.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// How many [`cycles`] a second has. Once the EAL is up, which measures it.
#[must_use]
pub fn cycles_per_second() -> u64 {
    if cfg!(target_arch = "x86_64") {
        // SAFETY: returns a number that the EAL keeps.
        unsafe { dpdk_sys::rte_get_tsc_hz() }
    } else {
        1_000_000_000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_late() {
        let cells = WorkerCells::default();
        let mut w = Window::default();
        let t0 = Instant::now();
        let secs = Duration::from_secs;
        assert_eq!(w.ratios(t0, &cells), (0.0, 0.0));
        // A busy second: 1000 cycles for 10 frames out of 2000.
        cells.packets.add(10);
        cells.busy_cycles.add(1000);
        cells.cycles.add(2000);
        assert_eq!(w.ratios(t0 + secs(1), &cells), (100.0, 0.5));
        // Then idle ones: after two windows nothing of the busy one is left.
        cells.cycles.add(2000);
        w.ratios(t0 + secs(2), &cells);
        w.ratios(t0 + secs(3), &cells);
        cells.cycles.add(2000);
        assert_eq!(w.ratios(t0 + secs(4), &cells), (0.0, 0.0));
    }

    #[test]
    fn cycles_rise() {
        let a = cycles();
        assert!(cycles() >= a);
    }
}
