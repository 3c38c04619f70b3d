//! Where the cycles of a worker go: stages of sampled loops, and how long its loops take. Read HABITS 10.
//!
//! Reading the time stamp counter costs some twenty cycles, so stages are timed in one loop of [`EVERY`]; the rest pays a
//! branch that is predicted. A stage's time is that from the mark before it, over whole bursts.
//!
//! A frame that a worker takes in has left, or waits for its driver, when the loop is over. So the length of the loops that
//! moved frames bounds the time that any frame spends here from RX to TX, and that is what the histogram holds. Its buckets
//! are an eighth of their size wide.

use crate::counters::Counter;
use crate::stats::cycles;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One loop of so many is timed stage by stage.
const EVERY: u32 = 32;

/// What the cycles of a frame are spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// The driver's receiving.
    Rx,
    /// The express lane reads and checks the headers.
    Headers,
    /// It looks destinations and labels up.
    Lookup,
    /// It goes from groups to neighbours, and writes the new headers.
    Rewrite,
    /// It hands frames to the TX buffers.
    Enqueue,
    /// The stages proper, for frames that are out of the ordinary.
    Other,
    /// The driver's sending.
    Tx,
}

impl Stage {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
    /// All of them, in the order of a loop.
    pub const ALL: [Self; 7] = [
        Self::Rx,
        Self::Headers,
        Self::Lookup,
        Self::Rewrite,
        Self::Enqueue,
        Self::Other,
        Self::Tx,
    ];

    /// Its name in `worker show`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Headers => "headers",
            Self::Lookup => "lookup",
            Self::Rewrite => "rewrite",
            Self::Enqueue => "enqueue",
            Self::Other => "other",
            Self::Tx => "tx",
        }
    }
}

/// Sub-buckets of an octave, as a power of two.
const FINE: u32 = 3;
/// Buckets: loops of up to 2^42 cycles, some 20 minutes.
const BUCKETS: usize = 40 << FINE;

/// The bucket of a number of cycles: its octave, and its next three bits.
#[inline]
fn bucket(cycles: u64) -> usize {
    let cycles = cycles.max(1 << FINE); // nothing real is shorter
    let octave = cycles.ilog2();
    let fine = (cycles >> (octave - FINE)) as usize & ((1 << FINE) - 1);
    ((((octave - FINE) as usize) << FINE) + fine).min(BUCKETS - 1)
}

/// The greatest number of cycles of a bucket.
fn top(bucket: usize) -> u64 {
    let (octave, fine) = (bucket >> FINE, bucket & ((1 << FINE) - 1));
    (((1 << FINE) + fine as u64 + 1) << octave) - 1
}

/// What the worker writes, and the control thread reads. One writer.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct MeterCells {
    stages: [Counter; Stage::COUNT],
    /// Frames of the loops that were timed.
    frames: Counter,
    /// Cycles of the longest loop, sleep left out.
    longest: Counter,
    loops: [Counter; BUCKETS],
    /// Written by the control thread: how often the longest loop was to begin anew.
    resets: Line<AtomicU64>,
}

/// Alone on its cache line and the neighbour of that.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

impl Default for MeterCells {
    fn default() -> Self {
        Self {
            stages: Default::default(),
            frames: Counter::default(),
            longest: Counter::default(),
            loops: [const { Counter::new() }; BUCKETS],
            resets: Line::default(),
        }
    }
}

impl MeterCells {
    /// Lets the longest loop begin anew, at the worker's next loop.
    pub(crate) fn reset(&self) {
        self.resets.0.fetch_add(1, Relaxed); // pairs with the load in `Meter::over`; it orders nothing else
    }

    /// A reading.
    pub(crate) fn read(&self) -> Reading {
        Reading {
            stages: self.stages.each_ref().map(Counter::get),
            frames: self.frames.get(),
            longest: self.longest.get(),
            loops: self.loops.each_ref().map(Counter::get),
        }
    }
}

/// Plain numbers, of a worker's life or of the time since another reading.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    stages: [u64; Stage::COUNT],
    frames: u64,
    /// Cycles of the longest loop.
    pub(crate) longest: u64,
    loops: [u64; BUCKETS],
}

impl Default for Reading {
    fn default() -> Self {
        MeterCells::default().read()
    }
}

impl Reading {
    /// What was added since `then`.
    pub(crate) fn since(&self, then: &Self) -> Self {
        let mut out = self.clone();
        let minus = |a: &mut [u64], b: &[u64]| {
            for (a, b) in a.iter_mut().zip(b) {
                *a = a.saturating_sub(*b);
            }
        };
        minus(&mut out.stages, &then.stages);
        minus(&mut out.loops, &then.loops);
        out.frames = out.frames.saturating_sub(then.frames);
        out
    }

    /// Cycles of a frame in that stage; 0 when no frame was timed.
    pub(crate) fn stage(&self, s: Stage) -> f64 {
        match self.frames {
            0 => 0.0,
            n => self.stages[s as usize] as f64 / n as f64,
        }
    }

    /// Cycles that the given part (0 to 1) of the loops that moved frames did not exceed.
    pub(crate) fn loops_below(&self, part: f64) -> u64 {
        let all: u64 = self.loops.iter().sum();
        let mut left = (all as f64 * part).ceil() as u64;
        for (i, &n) in self.loops.iter().enumerate() {
            if left > 0 && left <= n {
                return top(i).min(self.longest.max(1));
            }
            left = left.saturating_sub(n);
        }
        0
    }
}

/// The worker's own side.
#[derive(Debug)]
pub(crate) struct Meter {
    cells: Arc<MeterCells>,
    /// Loops until the next that is timed.
    wait: u32,
    on: bool,
    last: u64,
    resets: u64,
}

impl Meter {
    pub(crate) fn new(cells: Arc<MeterCells>) -> Self {
        Self {
            cells,
            wait: EVERY,
            on: false,
            last: 0,
            resets: 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn written(&self) -> std::ops::Range<usize> {
        super::place(&*self.cells)
    }

    /// A loop begins.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.wait -= 1;
        self.on = self.wait == 0;
        if self.on {
            self.wait = EVERY;
            self.last = cycles();
        }
    }

    /// That stage is over.
    #[inline]
    pub(crate) fn mark(&mut self, stage: Stage) {
        if self.on {
            self.charge(stage);
        }
    }

    #[inline(never)]
    fn charge(&mut self, stage: Stage) {
        let now = cycles();
        self.cells.stages[stage as usize].add(now.wrapping_sub(self.last));
        self.last = now;
    }

    /// So many frames were taken in.
    #[inline]
    pub(crate) fn frames(&mut self, n: usize) {
        if self.on {
            self.cells.frames.add(n as u64);
        }
    }

    /// A loop is over; `busy` if it moved frames.
    #[inline]
    pub(crate) fn over(&mut self, took: u64, busy: bool) {
        let resets = self.cells.resets.0.load(Relaxed); // pairs with `MeterCells::reset`; it orders nothing else
        if resets != self.resets {
            self.resets = resets;
            // The loop that was under way is not of the new time.
            return self.cells.longest.clear();
        }
        self.cells.longest.raise(took);
        if busy {
            self.cells.loops[bucket(took)].add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_an_eighth_wide() {
        for n in [0, 1, 7, 8, 9, 15, 16, 1000, 123_456, 1 << 30] {
            let b = bucket(n);
            assert!(n <= top(b), "{n}");
            assert!(b == 0 || top(b - 1) < n.max(8), "{n}");
            assert!(top(b) <= n.max(8) * 9 / 8 + 1, "{n}: {}", top(b));
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn the_longest_loop_begins_anew() {
        let cells = Arc::new(MeterCells::default());
        let mut m = Meter::new(cells.clone());
        (0..100).for_each(|n| m.over(n, true));
        m.over(5000, false);
        let r = cells.read();
        assert_eq!((r.longest, r.loops.iter().sum()), (5000, 100));
        assert!(
            (48..=56).contains(&r.loops_below(0.5)),
            "{}",
            r.loops_below(0.5)
        );
        cells.reset();
        m.over(9000, true);
        m.over(70, true);
        assert_eq!(cells.read().longest, 70);
        let since = cells.read().since(&r);
        assert_eq!(since.loops_below(0.99), 70);
        assert_eq!(Reading::default().loops_below(0.5), 0);
    }

    #[test]
    fn one_loop_of_many_is_timed() {
        let cells = Arc::new(MeterCells::default());
        let mut m = Meter::new(cells.clone());
        for _ in 0..10 * EVERY {
            m.begin();
            m.frames(64);
            m.mark(Stage::Rx);
            m.mark(Stage::Tx);
        }
        let r = cells.read();
        assert_eq!(r.frames, 640);
        assert!(r.stage(Stage::Rx) > 0.0 && r.stage(Stage::Lookup) == 0.0);
    }
}
