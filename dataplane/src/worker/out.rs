//! The ways out of a worker: its TX buffers, the rings to the workers that own the TX queues it lacks, and the ring to the
//! control thread. Each is filled frame by frame and emptied in bursts at the end of a loop, or when it is full.
//!
//! Here and in [`super::buffer`] `tx`, `punted` and the drops on the way out are counted (see [`crate::counters`]).

use super::buffer::{Closing, TxBuffer};
use super::command::{Answer, Outcome, Way};
use super::meter::{Meter, Stage};
use super::park::Bed;
use crate::burst::{BURST, Open};
use crate::counters::WorkerCounters;
use crate::drops::Drop;
use crate::mbuf::Mbuf;
use crate::pipeline::Output;
use crate::select::Bits;
use crate::stats::WorkerCells;
use arrayvec::ArrayVec;
use net::{IfaceId, PortId, WorkerId};
use rcu::ring::{Consumer, Producer};
use std::sync::Arc;

/// A frame on its way to the worker that owns the TX queue.
pub(crate) struct Handed {
    pub frame: Mbuf,
    pub port: PortId,
    pub iface: IfaceId,
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
        if self.bed.is_dead() {
            for h in frames {
                counters.drop(h.iface, Drop::WorkerDied);
            }
            return waiting;
        }
        let pushed = self.ring.push_burst(&mut frames);
        cells.handed_over.add(pushed as u64);
        for h in &mut frames {
            counters.drop(h.iface, Drop::HandoverFull);
        }
        drop(frames);
        self.bed.wake();
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
    pub meter: Meter,
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
        meter: Meter,
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
            meter,
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

    /// What is written for each frame, but the TX buffers, which are aligned, and what lies in this.
    #[cfg(test)]
    pub(crate) fn written(&self) -> Vec<std::ops::Range<usize>> {
        let mut all = self.counters.written();
        all.push(self.meter.written());
        all
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
                Exit::Own(Box::new(TxBuffer::new(queue)))
            }
        };
    }

    /// Closes the way that leads over a ring. What was collected for it is in the ring already: orders are carried out
    /// between loops, and each loop ends with a flush.
    pub(crate) fn shut(&mut self, port: PortId) {
        if let Some(exit @ Exit::Via(_)) = self.exits.get_mut(port.index()) {
            *exit = Exit::Closed;
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
            let done = b.frames.is_empty() && c.until.iter().zip(popped).all(|(u, p)| p >= u);
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
        self.send() + self.flush_peers() + self.flush_punts()
    }

    /// As [`flush`](Self::flush), but only by the own TX queues.
    pub(crate) fn send(&mut self) -> usize {
        let mut left = 0;
        for p in &self.owned {
            if let Exit::Own(b) = &mut self.exits[p.index()] {
                left += b.flush(self.now, &mut self.counters);
            }
        }
        left
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
            .any(|p| matches!(&self.exits[p.index()], Exit::Own(b) if !b.frames.is_empty()))
    }

    /// A frame for a port that another worker sends to, or nobody.
    #[inline(never)]
    fn tx_elsewhere(&mut self, port: PortId, iface: IfaceId, frame: Mbuf) {
        let via = match self.exits.get(port.index()) {
            Some(&Exit::Via(w)) => self.peers.get_mut(w.index()),
            _ => None,
        };
        let Some(Some(p)) = via else {
            return self.counters.drop(iface, Drop::PortRemoved);
        };
        if p.frames.is_full() {
            p.flush(&mut self.counters, &self.cells);
        }
        p.frames.push(Handed { frame, port, iface });
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
    #[inline(always)]
    fn tx(&mut self, port: PortId, iface: IfaceId, frame: Mbuf) {
        match self.exits.get_mut(port.index()) {
            Some(Exit::Own(b)) if b.closing.is_none() => {
                b.push(frame, iface, self.now, &mut self.counters)
            }
            _ => self.tx_elsewhere(port, iface, frame),
        }
    }

    #[inline]
    fn tx_some(
        &mut self,
        (port, iface): (PortId, IfaceId),
        frames: &mut Open<'_>,
        which: u64,
        lens: &[u32; BURST],
    ) {
        match self.exits.get_mut(port.index()) {
            Some(Exit::Own(b)) if b.closing.is_none() => {
                let count = (self.now, &mut self.counters);
                b.push_some(frames, which, iface, lens, count);
            }
            _ => {
                for i in Bits(which) {
                    if let Some(m) = frames.take_one(i) {
                        self.tx_elsewhere(port, iface, m);
                    }
                }
            }
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

    #[inline]
    fn mark(&mut self, stage: Stage) {
        self.meter.mark(stage);
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
            for h in ring.drain(BURST) {
                *popped += 1;
                moved += 1;
                out.handed(h);
            }
        }
        moved
    }

    /// Drops all that is in the rings.
    #[cold]
    pub(crate) fn discard(&mut self, why: Drop, counters: &mut WorkerCounters) {
        for (ring, popped) in self.rings.iter_mut().zip(&mut self.popped) {
            while let Some(h) = ring.as_mut().and_then(Consumer::pop) {
                *popped += 1;
                counters.drop(h.iface, why);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::burst::Burst;
    use crate::counters::CounterBlock;
    use crate::eal::{Eal, EalConfig};
    use crate::mempool::Mempool;
    use crate::port::{MemPort, Port};
    use crate::worker::buffer::TX_PATIENCE_NS;
    use net::MacAddr;
    use rcu::ring::spsc;

    const PORT: PortId = PortId(3);
    const IFACE: IfaceId = IfaceId(9);

    /// The ways out of worker 0 of two, both ends of the rings between them, and a port with one TX queue.
    struct Rig {
        out: Out,
        peers: In,
        from_peer: Producer<Handed>,
        _to_peer: Consumer<Handed>,
        _punts: Consumer<Mbuf>,
        block: Arc<CounterBlock>,
        port: Port,
        wire: crate::port::MemWire,
        pool: Mempool,
        _eal: Eal,
    }

    fn rig(depth: usize) -> Rig {
        let eal = Eal::init(&EalConfig {
            mem_mb: 64,
            ..EalConfig::default()
        })
        .unwrap();
        let pool = Mempool::new(&eal, "test", 4095, 2048, 0).unwrap();
        let mem = MemPort::new(1, depth);
        let (wire, block) = (mem.wire(), CounterBlock::new());
        let mut port = Port::mem(PORT, MacAddr::ZERO, 1500, mem);
        let (to_peer, _to_peer) = spsc(8);
        let (from_peer, from) = spsc(1024);
        let (punt_ring, _punts) = spsc(8);
        let peers = vec![None, Some((to_peer, Arc::new(Bed::new().unwrap())))];
        let counters = WorkerCounters::new(block.clone());
        let mut out = Out::new(
            counters,
            Arc::default(),
            Meter::new(Arc::default()),
            peers,
            punt_ring,
        );
        out.open(PORT, Way::Own(Box::new(port.take_tx(0).unwrap())));
        let peers = In::new(vec![None, Some(from)]);
        Rig {
            out,
            peers,
            from_peer,
            _to_peer,
            _punts,
            block,
            port,
            wire,
            pool,
            _eal: eal,
        }
    }

    impl Rig {
        fn frame(&self) -> Mbuf {
            self.pool.alloc_from(&[0; 60]).unwrap()
        }

        fn hand(&mut self) {
            let h = Handed {
                frame: self.frame(),
                port: PORT,
                iface: IFACE,
            };
            assert!(self.from_peer.push(h).is_ok());
        }

        /// What a worker's loop does of it.
        fn turn(&mut self, now: u64) -> Option<Answer> {
            self.out.now = now;
            self.peers.drain(&mut self.out);
            self.out.flush();
            self.out.close_finished(self.peers.popped())
        }
    }

    #[test]
    fn a_queue_is_given_back_when_all_that_was_under_way_has_left() {
        let mut r = rig(1024);
        (0..300).for_each(|_| r.hand());
        let until = r.peers.until();
        assert!(r.out.close(PORT, 7, until) && r.out.closing());
        // What comes later is not waited for, nor is anything of its own taken.
        r.hand();
        let own = r.frame();
        r.out.tx(PORT, IFACE, own);
        assert_eq!(r.block.read(IFACE).drops(Drop::PortRemoved), 1);
        let answer = loop {
            let answer = r.turn(0);
            let sent = r.block.read(IFACE).tx_packets;
            assert_eq!(answer.is_some(), sent >= 300, "after {sent}");
            if let Some(a) = answer {
                break a;
            }
        };
        assert!(answer.seq == 7 && matches!(answer.outcome, Outcome::Tx(_)) && !r.out.closing());
        r.hand();
        r.turn(0);
        let c = r.block.read(IFACE);
        assert_eq!(
            (c.tx_packets, c.drops(Drop::PortRemoved)),
            (301, 2),
            "closed is closed"
        );
        drop(answer);
        while r.wire.recv(0).is_some() {}
        r.port.close().unwrap();
    }

    /// Frames of these lengths by both ways into the buffer; a driver takes four at once.
    #[test]
    fn each_interface_is_counted_for_itself_whatever_the_driver_takes() {
        let mut r = rig(4);
        let other = IfaceId(5);
        let one = |r: &mut Rig, iface, len: usize| {
            let m = r.pool.alloc_from(&[0; 99][..len]).unwrap();
            r.out.tx(PORT, iface, m);
        };
        let some = |r: &mut Rig, iface, from: u32| {
            let mut b = Burst::new();
            b.extend((0..4).map(|i| r.pool.alloc_from(&[0; 99][..from as usize + i]).unwrap()));
            let lens = std::array::from_fn(|i| from + i as u32);
            r.out.tx_some((PORT, iface), &mut b.open(), 0b1101, &lens);
            b.clear();
        };
        let counts = |r: &Rig, iface| {
            let c = r.block.read(iface);
            (c.tx_packets, c.tx_bytes)
        };
        // All of one: three of 60, 62, 63, then 70 and 71, of which the driver takes four.
        some(&mut r, IFACE, 60);
        (70..72).for_each(|len| one(&mut r, IFACE, len));
        r.turn(0);
        assert_eq!(counts(&r, IFACE), (4, 255));
        while r.wire.recv(0).is_some() {}
        // Behind the one that waits, others: mixed from here on, and what was counted stays counted.
        some(&mut r, other, 80);
        one(&mut r, IFACE, 90);
        one(&mut r, other, 91);
        r.turn(0);
        assert_eq!(
            (counts(&r, IFACE), counts(&r, other)),
            ((5, 326), (3, 80 + 82 + 83))
        );
        while r.wire.recv(0).is_some() {}
        r.turn(0);
        assert_eq!((counts(&r, IFACE), counts(&r, other)), ((6, 416), (4, 336)));
        while r.wire.recv(0).is_some() {}
        // Dropped, each on its own.
        r.wire.set_up(false);
        some(&mut r, other, 60);
        one(&mut r, IFACE, 60);
        r.turn(0);
        r.turn(TX_PATIENCE_NS);
        let lost = |iface| r.block.read(iface).drops(Drop::NoTxRoom);
        assert_eq!((lost(IFACE), lost(other)), (1, 3));
    }

    #[test]
    fn a_queue_that_takes_nothing_is_given_up_in_time() {
        let mut r = rig(64);
        r.wire.set_up(false);
        for _ in 0..10 {
            let m = r.frame();
            r.out.tx(PORT, IFACE, m);
        }
        let t = 1_000;
        assert!(r.turn(t).is_none() && r.turn(t + TX_PATIENCE_NS - 1).is_none());
        assert!(r.out.waiting());
        // Some progress: patience begins anew.
        r.wire.set_up(true);
        r.turn(t + TX_PATIENCE_NS);
        assert_eq!(r.block.read(IFACE).tx_packets, 10);
        r.wire.set_up(false);
        (0..100).for_each(|_| r.hand());
        r.turn(t);
        r.turn(t);
        // A burst waits; the rest found no room.
        assert_eq!(
            r.block.read(IFACE).drops(Drop::NoTxRoom),
            100 - BURST as u64
        );
        assert!(r.turn(t + TX_PATIENCE_NS).is_none() && !r.out.waiting());
        let c = r.block.read(IFACE);
        assert_eq!(
            (c.drops(Drop::NoTxRoom), c.tx_packets, c.tx_bytes),
            (100, 10, 600)
        );
    }
}
