//! A port in memory, for tests: what its [`MemWire`]s put in is received, what is sent they take out.
//!
//! No copy and no EAL device; the frames are mbufs all the same, so the EAL must be up. Its queues have no descriptor, or
//! interrupts as a NIC's ([`MemPort::interrupting`]).

use super::wake::Trust;
use super::{Link, PortStats, Rx, Tx, WakesBy};
use crate::burst::Burst;
use crate::eventfd::EventFd;
use crate::mbuf::Mbuf;
use crossbeam::queue::ArrayQueue;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[derive(Debug)]
struct Pair {
    to_router: ArrayQueue<Mbuf>,
    from_router: ArrayQueue<Mbuf>,
    interrupt: Option<Interrupt>,
}

/// What a NIC has for each RX queue: enabled, it comes once.
#[derive(Debug)]
struct Interrupt {
    event: EventFd,
    enabled: AtomicBool,
    /// A frame that comes just before it is enabled.
    before: ArrayQueue<Mbuf>,
}

#[derive(Debug)]
struct Shared {
    queues: Vec<Pair>,
    /// False: interrupts are enabled and never come.
    interrupts: AtomicBool,
    /// Whether one has come.
    seen: Arc<AtomicBool>,
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
        Self::with(queues, depth, || None)
    }

    /// As [`new`](Self::new), with an interrupt for each RX queue.
    ///
    /// # Panics
    /// When the process has no descriptor left.
    #[must_use]
    pub fn interrupting(queues: u16, depth: usize) -> Self {
        let interrupt = || Interrupt {
            event: EventFd::new().expect("a descriptor"),
            enabled: AtomicBool::new(false),
            before: ArrayQueue::new(1),
        };
        Self::with(queues, depth, || Some(interrupt()))
    }

    fn with(queues: u16, depth: usize, interrupt: impl Fn() -> Option<Interrupt>) -> Self {
        let pair = || Pair {
            to_router: ArrayQueue::new(depth),
            from_router: ArrayQueue::new(depth),
            interrupt: interrupt(),
        };
        Self {
            shared: Arc::new(Shared {
                queues: (0..queues).map(|_| pair()).collect(),
                interrupts: AtomicBool::new(true),
                seen: Arc::default(),
                up: AtomicBool::new(true),
                missed: AtomicU64::new(0),
            }),
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
            trust: Trust::new(&self.shared.seen),
        });
        let tx = all.map(|queue| MemTx {
            shared: self.shared.clone(),
            queue,
        });
        (rx.collect(), tx.collect())
    }

    pub(super) fn wakes_by(&self) -> WakesBy {
        match self.shared.queues.first() {
            Some(q) if q.interrupt.is_none() => WakesBy::Looking,
            _ if self.shared.seen.load(Relaxed) => WakesBy::Interrupt,
            _ => WakesBy::InterruptUnseen,
        }
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
        let to = &self.shared.queues[usize::from(queue)];
        let sent = to.to_router.push(frame).is_ok();
        if !sent {
            self.shared.missed.fetch_add(1, Relaxed);
        }
        if let Some(i) = &to.interrupt
            && self.shared.interrupts.load(Relaxed)
            // SeqCst: pairs with the store in `MemRx::arm`: either this sees it enabled, or who enabled it sees the frame.
            && i.enabled.swap(false, SeqCst)
        {
            i.event.ring();
        }
        sent
    }

    /// Takes a frame that the port sent.
    #[must_use]
    pub fn recv(&self, queue: u16) -> Option<Mbuf> {
        self.shared.queues[usize::from(queue)].from_router.pop()
    }

    /// Lets a frame arrive just before the interrupt of that queue is enabled the next time, and so without one. False
    /// when there is no interrupt, or such a frame already.
    pub fn send_before_interrupt(&self, queue: u16, frame: Mbuf) -> bool {
        let to = &self.shared.queues[usize::from(queue)];
        to.interrupt
            .as_ref()
            .is_some_and(|i| i.before.push(frame).is_ok())
    }

    /// Whether interrupts come, once enabled. At first they do.
    pub fn set_interrupts(&self, come: bool) {
        self.shared.interrupts.store(come, Relaxed);
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
    trust: Trust,
}

impl MemRx {
    fn interrupt(&self) -> Option<&Interrupt> {
        self.shared.queues[self.queue].interrupt.as_ref()
    }
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

    fn wait_fd(&self) -> Option<RawFd> {
        self.interrupt().map(|i| i.event.as_raw_fd())
    }

    fn wakes(&self) -> bool {
        self.interrupt().is_some() && self.trust.holds()
    }

    fn arms(&self) -> bool {
        self.interrupt().is_some() && !self.trust.lost()
    }

    fn arm(&mut self) {
        let queue = &self.shared.queues[self.queue];
        if let Some(i) = &queue.interrupt {
            if let Some(frame) = i.before.pop() {
                let _ = queue.to_router.push(frame); // a full queue wakes by what it holds
            }
            // SeqCst: pairs with the swap in `MemWire::send`.
            i.enabled.store(true, SeqCst);
        }
    }

    fn disarm(&mut self) {
        let came = self.interrupt().is_some_and(|i| {
            i.enabled.store(false, SeqCst);
            i.event.clear()
        });
        if came {
            self.trust.came();
        }
    }

    fn missed(&mut self) {
        self.trust.missed();
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
