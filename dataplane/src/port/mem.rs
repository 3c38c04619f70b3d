//! A port in memory, for tests: what its [`MemWire`]s put in is received, what is sent they take out.
//!
//! No copy and no EAL device; the frames are mbufs all the same, so the EAL must be up.

use super::{Link, PortStats, Rx, Tx};
use crate::burst::Burst;
use crate::mbuf::Mbuf;
use crossbeam::queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[derive(Debug)]
struct Pair {
    to_router: ArrayQueue<Mbuf>,
    from_router: ArrayQueue<Mbuf>,
}

#[derive(Debug)]
struct Shared {
    queues: Vec<Pair>,
    up: AtomicBool,
    missed: AtomicU64,
}

/// The port's end.
#[derive(Debug)]
pub struct MemPort {
    shared: Arc<Shared>,
}

impl MemPort {
    /// A port of `queues` queue pairs, each `depth` frames deep, whose link is up.
    #[must_use]
    pub fn new(queues: u16, depth: usize) -> Self {
        let pair = || Pair {
            to_router: ArrayQueue::new(depth),
            from_router: ArrayQueue::new(depth),
        };
        let queues = (0..queues).map(|_| pair()).collect();
        let (up, missed) = (AtomicBool::new(true), AtomicU64::new(0));
        Self {
            shared: Arc::new(Shared { queues, up, missed }),
        }
    }

    /// The far end.
    #[must_use]
    pub fn wire(&self) -> MemWire {
        MemWire {
            shared: self.shared.clone(),
        }
    }

    /// The queues as workers use them, one of each kind a queue pair.
    pub(super) fn take_queues(&mut self) -> (Vec<MemRx>, Vec<MemTx>) {
        let all = 0..self.shared.queues.len();
        let rx = all.clone().map(|queue| MemRx {
            shared: self.shared.clone(),
            queue,
        });
        let tx = all.map(|queue| MemTx {
            shared: self.shared.clone(),
            queue,
        });
        (rx.collect(), tx.collect())
    }

    pub(super) fn link(&self) -> Link {
        Link {
            up: self.shared.up.load(Relaxed),
            mbps: 0,
        }
    }

    pub(super) fn stats(&self) -> PortStats {
        PortStats {
            rx_missed: self.shared.missed.load(Relaxed),
            ..PortStats::default()
        }
    }
}

/// The far end of a [`MemPort`]: a test's. Clones are the same wire.
#[derive(Clone, Debug)]
pub struct MemWire {
    shared: Arc<Shared>,
}

impl MemWire {
    /// Sends a frame into the port. False, and counted as missed, when the queue is full.
    pub fn send(&self, queue: u16, frame: Mbuf) -> bool {
        let sent = self.shared.queues[usize::from(queue)]
            .to_router
            .push(frame)
            .is_ok();
        if !sent {
            self.shared.missed.fetch_add(1, Relaxed);
        }
        sent
    }

    /// Takes a frame that the port sent.
    #[must_use]
    pub fn recv(&self, queue: u16) -> Option<Mbuf> {
        self.shared.queues[usize::from(queue)].from_router.pop()
    }

    /// Sets the state of the link. A port whose link is down sends nothing.
    pub fn set_up(&self, up: bool) {
        self.shared.up.store(up, Relaxed);
    }
}

/// A receiving queue.
#[derive(Debug)]
pub struct MemRx {
    shared: Arc<Shared>,
    queue: usize,
}

impl Rx for MemRx {
    fn rx(&mut self, burst: &mut Burst) -> usize {
        let from = &self.shared.queues[self.queue].to_router;
        let before = burst.len();
        while !burst.is_full() {
            match from.pop() {
                Some(frame) => burst.push(frame).expect("there is room"),
                None => break,
            }
        }
        burst.len() - before
    }
}

/// A sending queue.
#[derive(Debug)]
pub struct MemTx {
    shared: Arc<Shared>,
    queue: usize,
}

impl Tx for MemTx {
    fn tx(&mut self, burst: &mut Burst) -> usize {
        let to = &self.shared.queues[self.queue].from_router;
        if !self.shared.up.load(Relaxed) {
            return 0;
        }
        let mut n = 0;
        while !to.is_full() {
            let Some(frame) = burst.pop_front() else {
                break;
            };
            if to.push(frame).is_err() {
                break; // only this queue pushes, so there was room
            }
            n += 1;
        }
        n
    }
}
