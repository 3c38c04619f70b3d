//! The worker: one pinned thread that runs each frame to completion. Read DESIGN sections 2 and 4, HABITS 11 and 19.
//!
//! A loop is: orders from the control thread (rare), a burst from each of its RX queues through the stages, a burst from
//! the inject ring, a burst from each peer's hand-over ring, everything out, one quiescent report. When loops find
//! nothing, it waits as [`idle`] says. It never logs or locks; it makes a system call only to sleep and, when it is idle
//! anyway, to wake the control thread for frames that it punted.
//!
//! A panic ends its thread and no other. What was inside is not looked at any more, but counted, as `worker_died`: so many
//! frames came in and did not leave. What others send its way later is dropped under that name too.
//!
//! What runs over the frames is a [`Stages`]: the [`Pipeline`], or something smaller in tests. It is a type parameter of
//! the worker, so the choice is made when it starts; which driver a queue belongs to is asked once a burst.

mod buffer;
pub(crate) mod command;
pub mod idle;
pub mod meter;
pub(crate) mod out;
pub(crate) mod park;

use crate::burst::{BURST, Burst};
use crate::drops::Drop;
use crate::interface::{InterfaceTable, NO_IFACE};
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::pipeline::{Env, Output, Pipeline};
use crate::port::Rx;
use crate::stats::{WorkerCells, cycles};
use command::{Answer, Command, Order, Outcome, RxSlot};
use fib::Tables;
use idle::{Idle, Next, Offer, Poll};
use meter::Stage;
use net::PortId;
use out::{In, Out};
use park::{Bed, ControlBell, End, WaitSet};
use rcu::ring::{Consumer, Producer};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A burst of so many frames is sent before the next one is taken in; smaller ones are gathered.
const AT_ONCE: usize = BURST / 2;

/// So many bursts in a row are taken from a queue, as long as they are full: what a loop costs beside is shared by more
/// frames, and is a twentieth of what they cost.
const IN_A_ROW: usize = 2;

/// What happens to frames between a port and the ways out. It takes every frame of a burst: forwards it by
/// [`Output::tx`], punts it, or counts a drop.
pub trait Stages: Send + 'static {
    /// Takes a burst that came from `port`, and leaves it empty.
    fn rx<O: Output>(&mut self, env: &Env<'_>, port: PortId, burst: &mut Burst, out: &mut O);
    /// Takes a frame that the control thread sent; its metadata says what is to be done with it.
    fn inject<O: Output>(&mut self, env: &Env<'_>, frame: Mbuf, out: &mut O);
    /// Where on the heap they write for each frame, for the test that compares workers.
    #[doc(hidden)]
    fn written(&self) -> Vec<Range<usize>> {
        Vec::new()
    }
}

impl Stages for Pipeline {
    #[inline]
    fn rx<O: Output>(&mut self, env: &Env<'_>, port: PortId, burst: &mut Burst, out: &mut O) {
        Pipeline::rx(self, env, port, burst, out);
    }

    #[inline]
    fn inject<O: Output>(&mut self, env: &Env<'_>, frame: Mbuf, out: &mut O) {
        Pipeline::inject(self, env, frame, out);
    }

    fn written(&self) -> Vec<Range<usize>> {
        self.written_at()
    }
}

/// The bytes of a value.
pub(crate) fn place<T: ?Sized>(of: &T) -> Range<usize> {
    let at = std::ptr::from_ref(of).cast::<u8>().addr();
    at..at + size_of_val(of)
}

/// What each worker writes for each frame, or each loop: filled as workers start, for the test that compares them.
#[cfg(test)]
pub(crate) static WRITTEN: std::sync::Mutex<Vec<(net::WorkerId, Range<usize>)>> =
    std::sync::Mutex::new(Vec::new());

/// Everything a worker has. Moved into its thread whole.
pub(crate) struct Worker<S> {
    pub stages: S,
    pub poll: Poll,
    pub reader: rcu::Reader,
    pub tables: Arc<Tables>,
    pub ifaces: Arc<rcu::Cell<InterfaceTable>>,
    pub pool: Arc<Mempool>,
    pub rx: Vec<RxSlot>,
    /// The descriptors of those that have one.
    pub waits: WaitSet,
    /// What can be said of them.
    pub offer: Offer,
    pub out: Out,
    pub peers: In,
    pub inject: Consumer<Mbuf>,
    pub orders: Consumer<Order>,
    pub answers: Producer<Answer>,
    pub bed: Arc<Bed>,
    pub control: Arc<ControlBell>,
    pub cells: Arc<WorkerCells>,
}

impl<S: Stages> Worker<S> {
    /// Everything that is written for each frame or loop but rings, whose indexes are padded, and what a port brings.
    #[cfg(test)]
    pub(crate) fn written(&self) -> Vec<Range<usize>> {
        let mut all = self.stages.written();
        all.extend([place(self), place(&*self.cells)]);
        all.extend(self.out.written());
        all
    }

    /// Loops until [`Command::Stop`]. A panic ends the thread, once what is lost by it is counted.
    pub(crate) fn run(mut self) {
        let clock = Instant::now();
        // After a panic nothing of it is used but rings and counters.
        match catch_unwind(AssertUnwindSafe(|| self.work(&clock))) {
            Ok(()) => self.end(clock.elapsed().as_nanos() as u64),
            Err(panic) => {
                self.mourn();
                resume_unwind(panic);
            }
        }
    }

    fn work(&mut self, clock: &Instant) {
        let mut burst = Burst::new();
        let mut idle = Idle::new(self.poll, 0);
        let mut ticks = cycles();
        let (mut deaf, mut late) = (WaitSet::default(), false);
        loop {
            let now = clock.elapsed().as_nanos() as u64;
            self.out.meter.begin();
            let mut work = 0;
            if !self.orders.is_empty() {
                work += 1;
                if self.obey() {
                    return;
                }
            }
            work += self.turn(now, &mut burst, std::mem::take(&mut late));
            self.reader.quiescent();

            let took = cycles().wrapping_sub(ticks);
            ticks = ticks.wrapping_add(took);
            self.cells.loops.add(1);
            self.cells.cycles.add(took);
            self.out.meter.over(took, work > 0);
            if work > 0 {
                self.cells.busy_cycles.add(took);
                if idle.worked(now) {
                    self.disarm();
                }
                continue;
            }
            let next = self.wait(&mut idle, now);
            let end = match next {
                Next::Spin => {
                    std::hint::spin_loop();
                    continue;
                }
                Next::Arm => {
                    self.arm();
                    continue;
                }
                Next::Sleep(ns) => self.sleep(&mut deaf, ns),
                Next::Wait(ns) => {
                    let mut set = std::mem::take(&mut self.waits);
                    let end = self.sleep(&mut set, ns);
                    self.waits = set;
                    late = end == End::Time;
                    end
                }
            };
            self.disarm();
            idle.woke(end == End::Queue);
            // The sleep is part of its time, but neither of a loop's length nor of what frames cost.
            let slept = cycles().wrapping_sub(ticks);
            ticks = ticks.wrapping_add(slept);
            self.cells.cycles.add(slept);
        }
    }

    /// One round over everything that may hold a frame. Returns how many were moved, waiting ones counted as moving.
    /// `late`: no queue has said that it has one.
    fn turn(&mut self, now: u64, burst: &mut Burst, late: bool) -> usize {
        self.out.now = now;
        let env = Env {
            tables: &self.tables,
            reader: &self.reader,
            ifaces: self.ifaces.read(&self.reader),
            pool: &self.pool,
            now,
        };
        let mut work = 0;
        for slot in &mut self.rx {
            let mut late = late;
            for _ in 0..IN_A_ROW {
                let n = slot.rx.rx(burst);
                if n == 0 {
                    break;
                }
                self.out.meter.mark(Stage::Rx);
                self.out.meter.frames(n);
                self.cells.packets.add(n as u64);
                self.cells.bursts.add(1);
                work += n;
                if std::mem::take(&mut late) {
                    slot.rx.missed();
                }
                self.stages.rx(&env, slot.port, burst, &mut self.out);
                if n >= AT_ONCE {
                    // Run to completion: the next burst gets the same buffers, which are in the cache.
                    work += self.out.send();
                    self.out.meter.mark(Stage::Tx);
                }
                debug_assert!(burst.is_empty(), "the stages left frames");
                self.out.meter.mark(Stage::Other);
                if n < BURST {
                    break;
                }
            }
        }
        for frame in self.inject.drain(BURST) {
            work += 1;
            self.stages.inject(&env, frame, &mut self.out);
        }
        work += self.peers.drain(&mut self.out);
        work += self.out.flush();
        self.out.meter.mark(Stage::Tx);
        let closing = self.finish_closing();
        work + usize::from(closing || self.out.waiting())
    }

    /// Gives back the TX queues that have nothing left to send. True while there are others.
    fn finish_closing(&mut self) -> bool {
        if !self.out.closing() {
            return false;
        }
        while let Some(answer) = self.out.close_finished(self.peers.popped()) {
            self.answer(answer.seq, answer.outcome);
        }
        true
    }

    /// A loop found nothing: wakes the control thread if it has something to do, and says what to do next.
    fn wait(&mut self, idle: &mut Idle, now: u64) -> Next {
        if self.poll == Poll::Adaptive
            && std::mem::take(&mut self.out.punted)
            && self.control.ring()
        {
            self.cells.wakes.add(1);
        }
        idle.next(now, self.offer)
    }

    /// Lets the devices tell of the next frame. What came before they do not tell of.
    #[cold]
    fn arm(&mut self) {
        for slot in &mut self.rx {
            slot.rx.arm();
        }
    }

    /// Lets them be silent again. What can be said of them may be something else from now on.
    #[cold]
    fn disarm(&mut self) {
        for slot in &mut self.rx {
            slot.rx.disarm();
        }
        self.offer = Offer {
            all: self.rx.iter().all(|s| s.rx.wakes()),
            arm: self.rx.iter().any(|s| s.rx.arms()),
        };
    }

    fn sleep(&mut self, set: &mut WaitSet, ns: u64) -> End {
        self.cells.sleeps.add(1);
        self.reader.offline();
        let (orders, inject, peers) = (&mut self.orders, &mut self.inject, &mut self.peers);
        let end = self.bed.sleep(set, ns, || {
            orders.is_empty() && inject.is_empty() && peers.is_empty()
        });
        self.reader.online();
        end
    }

    /// The RX queues are others than before.
    fn queues_changed(&mut self) {
        self.waits
            .set(self.rx.iter().filter_map(|s| s.rx.wait_fd()));
        self.disarm();
    }

    /// Carries out what the control thread ordered. True at the order to stop.
    #[cold]
    fn obey(&mut self) -> bool {
        while let Some(Order { seq, command }) = self.orders.pop() {
            let outcome = match command {
                Command::StartRx(slot) => {
                    self.rx.push(*slot);
                    self.queues_changed();
                    Outcome::Done
                }
                Command::StopRx(port) => {
                    self.disarm();
                    let slots = self.rx.extract_if(.., |s| s.port == port).collect();
                    self.queues_changed();
                    Outcome::Rx(slots)
                }
                Command::StartTx(port, way) => {
                    self.out.open(port, way);
                    Outcome::Done
                }
                Command::ShutTx(port) => {
                    self.out.shut(port);
                    Outcome::Done
                }
                Command::StopTx(port) => {
                    let until = self.peers.until();
                    if self.out.close(port, seq, until) {
                        continue; // answered when it is empty
                    }
                    Outcome::Done
                }
                Command::UsePool(pool) => {
                    self.pool = pool;
                    Outcome::Done
                }
                Command::Stop => return true,
            };
            self.answer(seq, outcome);
        }
        false
    }

    /// The ring holds more answers than the control thread ever leaves open, so none is lost.
    fn answer(&mut self, seq: u64, outcome: Outcome) {
        let _ = self.answers.push(Answer { seq, outcome });
    }

    /// After a panic: counts what is lost, so that the law of [`crate::counters`] holds. What was inside is not looked at,
    /// for it may be in disorder; it is what came in and did not leave, and whose it was nobody knows any more.
    #[cold]
    fn mourn(&mut self) {
        self.reader.offline();
        self.bed.bury();
        // Who looked just before has filled a ring by then.
        std::thread::sleep(Duration::from_millis(1));
        let counters = &mut self.out.counters;
        self.peers.discard(Drop::WorkerDied, counters);
        while let Some(frame) = self.inject.pop() {
            let iface = frame.meta().iface;
            counters.injected(iface, 1);
            counters.drop(iface, Drop::WorkerDied);
        }
        let c = counters.sum();
        let came = c.entered() + self.peers.popped().iter().sum::<u64>();
        let left = c.left() + self.cells.handed_over.get();
        counters.drops(NO_IFACE, Drop::WorkerDied, came.saturating_sub(left));
        // Those of a burst are counted as received when all were looked at, and some had left by then.
        counters.rx(NO_IFACE, left.saturating_sub(came), 0);
    }

    /// Drops what is left, each frame under its reason.
    fn end(mut self, now: u64) {
        self.out.now = now;
        while self.peers.drain(&mut self.out) > 0 {}
        while let Some(frame) = self.inject.pop() {
            let iface = frame.meta().iface;
            self.out.counters.injected(iface, 1);
            self.out.counters.drop(iface, Drop::Shutdown);
        }
        self.out.discard();
    }
}
