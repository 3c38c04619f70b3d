//! The ways out of a worker: its TX buffers, the rings to the workers that own the TX queues it lacks, and the ring to the
//! control thread. Each is filled frame by frame and emptied in bursts at the end of a loop, or when it is full.
//!
//! Here `tx`, `punted` and the drops on the way out are counted (see [`crate::counters`]).

use super::command::{Answer, Outcome, Way};
use super::park::Bed;
use crate::burst::{BURST, Burst};
use crate::counters::WorkerCounters;
use crate::drops::Drop;
use crate::mbuf::Mbuf;
use crate::pipeline::Output;
use crate::port::{AnyTx, Tx};
use crate::stats::WorkerCells;
use arrayvec::ArrayVec;
use net::{IfaceId, PortId, WorkerId};
use rcu::ring::{Consumer, Producer};
use std::sync::Arc;

/// How long a driver may take no frame before those that wait are dropped, in nanoseconds. Long enough for a queue that is
/// merely full to drain at 1 Gb/s, short enough that nothing waits long behind a dead link.
pub(crate) const TX_PATIENCE_NS: u64 = 1_000_000;

/// A frame on its way to the worker that owns the TX queue.
pub(crate) struct Handed {
    pub frame: Mbuf,
    pub port: PortId,
    pub iface: IfaceId,
}

/// What is to be counted once the driver has a frame and we can't look at it any more.
#[derive(Clone, Copy)]
struct Tag {
    iface: IfaceId,
    bytes: u32,
}

/// A TX queue that is to be given back, and what must leave by it before.
struct Closing {
    seq: u64,
    /// By peer: how many frames must have come out of its ring in all.
    until: Vec<u64>,
}

/// A TX queue and the frames that wait for it.
struct TxBuffer {
    queue: AnyTx,
    frames: Burst,
    tags: ArrayVec<Tag, BURST>,
    stuck_since: Option<u64>,
    closing: Option<Closing>,
}

impl TxBuffer {
    fn push(&mut self, frame: Mbuf, iface: IfaceId, now: u64, counters: &mut WorkerCounters) {
        if self.tags.is_full() {
            self.flush(now, counters);
        }
        let tag = Tag {
            iface,
            bytes: frame.len() as u32,
        };
        if self.tags.is_full() || self.frames.push(frame).is_err() {
            counters.drop(iface, Drop::NoTxRoom);
            return;
        }
        self.tags.push(tag);
    }

    /// Offers all that waits to the driver; drops it when nothing moved for too long. Returns how many left.
    fn flush(&mut self, now: u64, counters: &mut WorkerCounters) -> usize {
        if self.tags.is_empty() {
            return 0;
        }
        let sent = self.queue.tx(&mut self.frames).min(self.tags.len());
        let mut run = (self.tags[0].iface, 0, 0);
        for t in self.tags.drain(..sent) {
            if t.iface != run.0 {
                counters.tx(run.0, run.1, run.2);
                run = (t.iface, 0, 0);
            }
            run = (run.0, run.1 + 1, run.2 + u64::from(t.bytes));
        }
        counters.tx(run.0, run.1, run.2);
        if self.tags.is_empty() {
            self.stuck_since = None;
        } else if sent > 0 {
            self.stuck_since = Some(now);
        } else if now.saturating_sub(*self.stuck_since.get_or_insert(now)) >= TX_PATIENCE_NS {
            let why = if self.closing.is_some() {
                Drop::PortRemoved
            } else {
                Drop::NoTxRoom
            };
            return sent + self.discard(why, counters);
        }
        sent
    }

    /// Drops all that waits.
    #[cold]
    fn discard(&mut self, why: Drop, counters: &mut WorkerCounters) -> usize {
        self.frames.clear();
        self.stuck_since = None;
        self.tags
            .drain(..)
            .map(|t| counters.drop(t.iface, why))
            .count()
    }
}

/// The worker's end of what leads to another worker.
struct Peer {
    frames: ArrayVec<Handed, BURST>,
    ring: Producer<Handed>,
    bed: Arc<Bed>,
}

impl Peer {
    /// Moves what waits into the ring; what does not fit is dropped. Returns how many left.
    fn flush(&mut self, counters: &mut WorkerCounters, cells: &WorkerCells) -> usize {
        let waiting = self.frames.len();
        if waiting == 0 {
            return 0;
        }
        let mut frames = self.frames.drain(..);
        let pushed = self.ring.push_burst(&mut frames);
        cells.handed_over.add(pushed as u64);
        for h in frames {
            counters.drop(h.iface, Drop::HandoverFull);
        }
        // It will look by itself in a moment. Only when the ring would be full by then is that too late.
        if self.bed.looks_asleep() && self.ring.len() * 4 > self.ring.capacity() {
            self.bed.wake();
        }
        waiting
    }
}

/// How to send to a port.
enum Exit {
    Closed,
    Own(Box<TxBuffer>),
    Via(WorkerId),
}

/// All ways out of one worker.
pub(crate) struct Out {
    pub counters: WorkerCounters,
    pub cells: Arc<WorkerCells>,
    /// Nanoseconds, set by the worker once a loop.
    pub now: u64,
    /// By port.
    exits: Vec<Exit>,
    /// The ports with `Exit::Own`.
    owned: Vec<PortId>,
    /// By worker; `None` for itself.
    peers: Vec<Option<Peer>>,
    punts: ArrayVec<Mbuf, BURST>,
    punt_ring: Producer<Mbuf>,
    /// Is there a frame in the punt ring that the control thread has not been woken for?
    pub punted: bool,
}

impl Out {
    pub(crate) fn new(
        counters: WorkerCounters,
        cells: Arc<WorkerCells>,
        peers: Vec<Option<(Producer<Handed>, Arc<Bed>)>>,
        punt_ring: Producer<Mbuf>,
    ) -> Self {
        let peer = |(ring, bed)| Peer {
            frames: ArrayVec::new(),
            ring,
            bed,
        };
        Self {
            counters,
            cells,
            now: 0,
            exits: (0..crate::interface::MAX_PORTS)
                .map(|_| Exit::Closed)
                .collect(),
            owned: Vec::with_capacity(crate::interface::MAX_PORTS),
            peers: peers.into_iter().map(|p| p.map(peer)).collect(),
            punts: ArrayVec::new(),
            punt_ring,
            punted: false,
        }
    }

    /// Opens the way to a port.
    pub(crate) fn open(&mut self, port: PortId, way: Way) {
        let Some(exit) = self.exits.get_mut(port.index()) else {
            return;
        };
        *exit = match way {
            Way::Via(w) => Exit::Via(w),
            Way::Own(queue) => {
                self.owned.push(port);
                Exit::Own(Box::new(TxBuffer {
                    queue,
                    frames: Burst::new(),
                    tags: ArrayVec::new(),
                    stuck_since: None,
                    closing: None,
                }))
            }
        };
    }

    /// Closes the way that leads over a ring; what had been collected is in the ring afterwards.
    pub(crate) fn shut(&mut self, port: PortId) {
        if let Some(exit @ Exit::Via(_)) = self.exits.get_mut(port.index()) {
            *exit = Exit::Closed;
            self.flush_peers();
        }
    }

    /// Begins to close the way by the own queue; [`close_finished`](Self::close_finished) answers. False when there is none.
    pub(crate) fn close(&mut self, port: PortId, seq: u64, until: Vec<u64>) -> bool {
        match self.exits.get_mut(port.index()) {
            Some(Exit::Own(b)) => {
                b.closing = Some(Closing { seq, until });
                true
            }
            _ => false,
        }
    }

    /// The answer for a queue that is to be given back and has nothing to wait for any more. `popped`: by peer, how many
    /// frames came out of its ring in all.
    pub(crate) fn close_finished(&mut self, popped: &[u64]) -> Option<Answer> {
        let finished = |b: &TxBuffer| {
            let c = b.closing.as_ref()?;
            let done = b.tags.is_empty() && c.until.iter().zip(popped).all(|(u, p)| p >= u);
            done.then_some(c.seq)
        };
        let at = self.owned.iter().position(
            |p| matches!(&self.exits[p.index()], Exit::Own(b) if finished(b).is_some()),
        )?;
        let port = self.owned.swap_remove(at);
        match std::mem::replace(&mut self.exits[port.index()], Exit::Closed) {
            Exit::Own(b) => {
                let seq = finished(&b)?;
                Some(Answer {
                    seq,
                    outcome: Outcome::Tx(b.queue),
                })
            }
            _ => None,
        }
    }

    /// Is a queue to be given back?
    pub(crate) fn closing(&self) -> bool {
        self.owned
            .iter()
            .any(|p| matches!(&self.exits[p.index()], Exit::Own(b) if b.closing.is_some()))
    }

    /// A frame that another worker handed over.
    #[inline]
    pub(crate) fn handed(&mut self, h: Handed) {
        match self.exits.get_mut(h.port.index()) {
            Some(Exit::Own(b)) => b.push(h.frame, h.iface, self.now, &mut self.counters),
            _ => self.counters.drop(h.iface, Drop::PortRemoved),
        }
    }

    fn flush_peers(&mut self) -> usize {
        self.peers
            .iter_mut()
            .flatten()
            .map(|p| p.flush(&mut self.counters, &self.cells))
            .sum()
    }

    /// Sends all that was collected. Returns how many frames left; [`waiting`](Self::waiting) may remain.
    pub(crate) fn flush(&mut self) -> usize {
        let mut left = 0;
        for p in &self.owned {
            if let Exit::Own(b) = &mut self.exits[p.index()] {
                left += b.flush(self.now, &mut self.counters);
            }
        }
        left + self.flush_peers() + self.flush_punts()
    }

    fn flush_punts(&mut self) -> usize {
        let waiting = self.punts.len();
        if waiting == 0 {
            return 0;
        }
        // The control thread owns them once they are in, so read whose they are before.
        let ifaces: ArrayVec<IfaceId, BURST> = self.punts.iter().map(|m| m.meta().iface).collect();
        let mut frames = self.punts.drain(..);
        let pushed = self.punt_ring.push_burst(&mut frames);
        drop(frames);
        for &i in &ifaces[..pushed] {
            self.counters.punted(i, 1);
        }
        for &i in &ifaces[pushed..] {
            self.counters.drop(i, Drop::PuntFull);
        }
        self.punted |= pushed > 0;
        waiting
    }

    /// Does any frame wait for a driver?
    pub(crate) fn waiting(&self) -> bool {
        self.owned
            .iter()
            .any(|p| matches!(&self.exits[p.index()], Exit::Own(b) if !b.tags.is_empty()))
    }

    /// Drops all that is left, at the end of the thread.
    pub(crate) fn discard(&mut self) {
        self.flush();
        for exit in &mut self.exits {
            if let Exit::Own(b) = exit {
                b.discard(Drop::Shutdown, &mut self.counters);
            }
        }
    }
}

impl Output for Out {
    #[inline]
    fn tx(&mut self, port: PortId, iface: IfaceId, frame: Mbuf) {
        match self.exits.get_mut(port.index()) {
            Some(Exit::Own(b)) if b.closing.is_none() => {
                b.push(frame, iface, self.now, &mut self.counters)
            }
            Some(&mut Exit::Via(w)) => match self.peers.get_mut(w.index()) {
                Some(Some(p)) => {
                    if p.frames.is_full() {
                        p.flush(&mut self.counters, &self.cells);
                    }
                    p.frames.push(Handed { frame, port, iface });
                }
                _ => self.counters.drop(iface, Drop::PortRemoved),
            },
            _ => self.counters.drop(iface, Drop::PortRemoved),
        }
    }

    #[inline]
    fn punt(&mut self, frame: Mbuf) {
        if self.punts.is_full() {
            self.flush_punts();
        }
        self.punts.push(frame);
    }

    #[inline]
    fn counters(&mut self) -> &mut WorkerCounters {
        &mut self.counters
    }
}

/// The rings from the other workers.
pub(crate) struct In {
    rings: Vec<Option<Consumer<Handed>>>,
    popped: Vec<u64>,
}

impl In {
    pub(crate) fn new(rings: Vec<Option<Consumer<Handed>>>) -> Self {
        Self {
            popped: vec![0; rings.len()],
            rings,
        }
    }

    /// Moves up to a burst from each ring into the TX buffers. Returns how many frames.
    #[inline]
    pub(crate) fn drain(&mut self, out: &mut Out) -> usize {
        let mut moved = 0;
        for (ring, popped) in self.rings.iter_mut().zip(&mut self.popped) {
            let Some(ring) = ring else { continue };
            let mut n = 0;
            for h in ring.drain(BURST) {
                out.handed(h);
                n += 1;
            }
            *popped += n as u64;
            moved += n;
        }
        moved
    }

    /// By peer: how many frames came out of its ring.
    pub(crate) fn popped(&self) -> &[u64] {
        &self.popped
    }

    /// By peer: how many frames will have come out of its ring when all that is in it now has.
    pub(crate) fn until(&mut self) -> Vec<u64> {
        let there = |(r, p): (&mut Option<Consumer<Handed>>, &u64)| {
            p + r.as_mut().map_or(0, |r| r.len() as u64)
        };
        self.rings.iter_mut().zip(&self.popped).map(there).collect()
    }

    /// Is there nothing in any ring?
    pub(crate) fn is_empty(&mut self) -> bool {
        self.rings.iter_mut().flatten().all(Consumer::is_empty)
    }
}
