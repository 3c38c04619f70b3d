//! A link with faults: a box of our own between the ends of two veths, which takes every frame out of one and puts it into
//! the other when [`faults`](super::faults) says so. Both ends keep their link whatever happens in between; [`Middlebox::carrier`]
//! takes it away.
//!
//! Frames are taken with their VLAN tags ([`Wire`]) and up to 3,000 bytes long. What the box itself adds is some 0.1 ms.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Result;

use super::faults::{Faults, Line, Tally};
use super::wait::millis;
use super::{Netns, Wire};

/// One direction.
#[derive(Debug)]
struct Lane {
    line: Mutex<Line>,
    from: Wire,
}

impl Lane {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running box. Dropped, it is as if the link were cut.
#[derive(Debug)]
pub struct Middlebox {
    ns: Netns,
    lanes: Arc<[Lane; 2]>,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Middlebox {
    /// Between two devices of a namespace, which are up; the same faults both ways.
    ///
    /// # Errors
    /// When one of them can't be opened.
    pub fn start(ns: &Netns, devices: [&str; 2], faults: Faults, seed: u64) -> Result<Self> {
        let lane = |side: usize| -> Result<Lane> {
            Ok(Lane {
                line: Mutex::new(Line::new(faults, seed.wrapping_add(side as u64))),
                from: Wire::open(ns, devices[side])?,
            })
        };
        let lanes = Arc::new([lane(0)?, lane(1)?]);
        let over = Arc::new(AtomicBool::new(false));
        let threads = [0, 1].map(|side| {
            let (lanes, over) = (lanes.clone(), over.clone());
            std::thread::spawn(move || carry(&lanes, side, &over))
        });
        Ok(Self {
            ns: ns.clone(),
            lanes,
            over,
            threads: threads.into(),
        })
    }

    /// Other faults, both ways.
    pub fn set(&self, faults: Faults) {
        self.lanes.iter().for_each(|l| l.line().set(faults));
    }

    /// Other faults for frames that come from that side.
    pub fn set_from(&self, side: usize, faults: Faults) {
        self.lanes[side].line().set(faults);
    }

    /// What became of frames from either side.
    #[must_use]
    pub fn tally(&self) -> [Tally; 2] {
        [0, 1].map(|side: usize| self.lanes[side].line().tally)
    }

    /// Takes the link away from that side, or gives it back: what is at that end sees it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn carrier(&self, side: usize, up: bool) -> Result<()> {
        let what = if up { "up" } else { "down" };
        let dev = self.lanes[side].from.name();
        self.ns.ip(&format!("link set {dev} {what}")).map(drop)
    }

    /// Waits until it ends by itself, which it never does.
    pub fn stay(mut self) {
        for t in std::mem::take(&mut self.threads) {
            let _ = t.join();
        }
    }
}

/// Moves frames from one side to the other.
fn carry(lanes: &[Lane; 2], side: usize, over: &AtomicBool) {
    let (here, there) = (&lanes[side], &lanes[1 - side]);
    // Pairs with the store in `drop`; nothing else is published by it.
    while !over.load(Ordering::Relaxed) {
        let soon = Instant::now() + millis(50);
        let deadline = here.line().next_at().map_or(soon, |at| at.min(soon));
        let mut frame = here.from.next(deadline);
        // What has come meanwhile goes in before anything goes out, so that little can be late.
        let mut most = 64;
        while let Some(f) = frame {
            here.line().offer(Instant::now(), f.frame);
            most -= 1;
            frame = (most > 0).then(|| here.from.next(Instant::now())).flatten();
        }
        let due = here.line().due(Instant::now());
        for f in due {
            // A device that is down takes none: that is a link without carrier.
            let _ = there.from.send(&f);
        }
    }
}

impl Drop for Middlebox {
    fn drop(&mut self) {
        // Pairs with the load in `carry`.
        self.over.store(true, Ordering::Relaxed);
        for t in std::mem::take(&mut self.threads) {
            let _ = t.join();
        }
    }
}
