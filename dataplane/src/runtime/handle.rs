//! The control thread's end of a worker: its rings, its thread, what it reports. Starting and ending the thread.

use super::{StartError, WorkerError};
use crate::counters::{CounterBlock, WorkerCounters};
use crate::eal;
use crate::interface::InterfaceTable;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::plan::Seat;
use crate::stats::{QueueRef, Window, WorkerCells, WorkerStats};
use crate::worker::command::{Answer, Command, Order};
use crate::worker::idle::{Offer, Poll};
use crate::worker::meter::{Meter, MeterCells};
use crate::worker::out::{Handed, In, Out};
use crate::worker::park::{self, Bed, ControlBell, WaitSet};
use crate::worker::{Stages, Worker};
use fib::Tables;
use rcu::ring::{Consumer, Producer, spsc};
use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Frames in the ring from a worker to the control thread.
pub const PUNT_RING: usize = 4096;
/// Frames in the ring from the control thread to a worker.
pub const INJECT_RING: usize = 1024;
/// Frames in the ring from a worker to another.
pub const HANDOVER_RING: usize = 2048;
/// Orders to a worker that may be open at once.
const ORDER_RING: usize = 1024;

/// The name of the worker's RCU reader and thread.
fn name(seat: &Seat) -> String {
    format!("worker-{}", seat.id)
}

/// What all workers share.
pub(super) struct Shared {
    pub domain: Arc<rcu::Domain>,
    pub ifaces: Arc<rcu::Cell<InterfaceTable>>,
    pub control: Arc<ControlBell>,
    pub poll: Poll,
}

/// What one worker is given besides.
pub(super) struct Parts<S> {
    pub seat: Seat,
    pub stages: S,
    pub tables: Arc<Tables>,
    pub pool: Arc<Mempool>,
    pub bed: Arc<Bed>,
    /// By worker, `None` for itself: the ring that leads there, and where its reader sleeps.
    pub to_peers: Vec<Option<(Producer<Handed>, Arc<Bed>)>>,
    /// By worker, `None` for itself: the ring that comes from there.
    pub from_peers: Vec<Option<Consumer<Handed>>>,
}

/// The rings between all workers: by worker, those that leave it and those that reach it.
pub(super) type Mesh = Vec<(
    Vec<Option<(Producer<Handed>, Arc<Bed>)>>,
    Vec<Option<Consumer<Handed>>>,
)>;

pub(super) fn mesh(beds: &[Arc<Bed>]) -> Mesh {
    let n = beds.len();
    let mut mesh: Mesh = (0..n).map(|_| (Vec::new(), Vec::new())).collect();
    for from in 0..n {
        for to in 0..n {
            let ring = (from != to).then(|| spsc(HANDOVER_RING));
            let (p, c) = ring.map_or((None, None), |(p, c)| {
                (Some((p, beds[to].clone())), Some(c))
            });
            mesh[from].0.push(p);
            mesh[to].1.push(c);
        }
    }
    mesh
}

/// The control thread's end of one worker.
pub(super) struct Handle {
    pub seat: Seat,
    pub inject: Producer<Mbuf>,
    pub punts: Consumer<Mbuf>,
    pub bed: Arc<Bed>,
    pub block: Arc<CounterBlock>,
    /// What it polls, as far as the control thread has ordered.
    pub queues: Vec<QueueRef>,
    orders: Producer<Order>,
    answers: Consumer<Answer>,
    seq: u64,
    cells: Arc<WorkerCells>,
    meter: Arc<MeterCells>,
    window: Window,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Starts the thread, and waits until it runs pinned and registered.
    pub(super) fn start<S: Stages>(shared: &Shared, parts: Parts<S>) -> Result<Self, StartError> {
        let (order_in, order_out) = spsc(ORDER_RING);
        let (answer_in, answer_out) = spsc(ORDER_RING);
        let (inject_in, inject_out) = spsc(INJECT_RING);
        let (punt_in, punt_out) = spsc(PUNT_RING);
        let cells = Arc::new(WorkerCells::default());
        let block = CounterBlock::new();
        let (seat, bed) = (parts.seat, parts.bed.clone());
        let counters = WorkerCounters::new(block.clone());
        let meter = Arc::new(MeterCells::default());
        let its_meter = Meter::new(meter.clone());
        let out = Out::new(counters, cells.clone(), its_meter, parts.to_peers, punt_in);
        let peers = In::new(parts.from_peers);

        let (domain, ifaces) = (shared.domain.clone(), shared.ifaces.clone());
        let (control, poll) = (shared.control.clone(), shared.poll);
        let (its_cells, its_bed) = (cells.clone(), bed.clone());
        let (ready, started) = mpsc::sync_channel(1);
        let body = move || {
            let Some(_registered) = settle(&seat, &ready) else {
                return;
            };
            let worker = Worker {
                stages: parts.stages,
                poll,
                reader: domain.register(name(&seat)),
                tables: parts.tables,
                ifaces,
                pool: parts.pool,
                rx: Vec::with_capacity(64),
                waits: WaitSet::default(),
                offer: Offer {
                    all: true,
                    arm: false,
                },
                out,
                peers,
                inject: inject_out,
                orders: order_out,
                answers: answer_in,
                bed: its_bed,
                control,
                cells: its_cells,
            };
            #[cfg(test)]
            if let Ok(mut all) = crate::worker::WRITTEN.lock() {
                all.extend(worker.written().into_iter().map(|r| (seat.id, r)));
            }
            // The starter may have given up waiting; it will then order this thread to stop.
            let _ = ready.send(Ok(()));
            worker.run();
        };
        let thread = std::thread::Builder::new()
            .name(name(&seat))
            .spawn(body)
            .map_err(|e| StartError::Worker {
                worker: seat.id,
                cpu: seat.cpu,
                cause: e.to_string(),
            })?;
        let handle = Self {
            seat,
            inject: inject_in,
            punts: punt_out,
            bed,
            block,
            queues: Vec::new(),
            orders: order_in,
            answers: answer_out,
            seq: 0,
            cells,
            meter,
            window: Window::default(),
            thread: Some(thread),
        };
        let cause = match started.recv_timeout(Duration::from_secs(10)) {
            Ok(Ok(())) => return Ok(handle),
            Ok(Err(cause)) => cause,
            Err(_) => "its thread did not come up".to_owned(),
        };
        Err(StartError::Worker {
            worker: seat.id,
            cpu: seat.cpu,
            cause,
        })
    }

    /// Is the thread running?
    pub(super) fn alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Sends an order, and wakes the worker for it. Returns the number of its answer.
    pub(super) fn order(&mut self, command: Command) -> Result<u64, WorkerError> {
        let worker = self.seat.id;
        if !self.alive() {
            return Err(WorkerError::Died { worker });
        }
        self.seq += 1;
        let order = Order {
            seq: self.seq,
            command,
        };
        self.orders
            .push(order)
            .map_err(|_| WorkerError::Stalled { worker })?;
        self.bed.wake();
        Ok(self.seq)
    }

    /// The next answer, if there is one. Answers come in the order in which orders were finished.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        self.answers.pop()
    }

    /// Waits for the thread to end, having been ordered to.
    pub(super) fn join(&mut self, deadline: Instant) -> Result<(), WorkerError> {
        let worker = self.seat.id;
        while self.alive() {
            if Instant::now() >= deadline {
                return Err(WorkerError::Stalled { worker });
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(WorkerError::Died { worker }),
            _ => Ok(()),
        }
    }

    /// The longest loop and the histogram of loops begin anew.
    pub(super) fn reset_longest(&mut self) {
        self.window.reset(&self.meter);
    }

    pub(super) fn stats(&mut self, now: Instant, rcu: &rcu::Status) -> WorkerStats {
        let (cycles_per_packet, busy_ratio) = self.window.ratios(now, &self.cells);
        let metered = self.window.metered(&self.meter, now);
        let name = name(&self.seat);
        let lag = rcu
            .readers
            .iter()
            .find(|r| r.name == name)
            .map_or(0, |r| r.lag);
        WorkerStats {
            worker: self.seat.id,
            cpu: self.seat.cpu,
            numa: self.seat.node,
            queues: self.queues.clone(),
            packets: self.cells.packets.get(),
            bursts: self.cells.bursts.get(),
            cycles: self.cells.cycles.get(),
            busy_cycles: self.cells.busy_cycles.get(),
            cycles_per_packet,
            busy_ratio,
            max_loop_us: metered.max_loop_us,
            loop_p50_us: metered.loop_p50_us,
            loop_p99_us: metered.loop_p99_us,
            loop_p9999_us: metered.loop_p9999_us,
            stages: metered.stages,
            rcu_lag: lag,
            loops: self.cells.loops.get(),
            sleeps: self.cells.sleeps.get(),
            handed_over: self.cells.handed_over.get(),
            wakes: self.cells.wakes.get(),
            alive: self.alive(),
        }
    }
}

/// Takes the calling thread to its place. On failure tells the starter why.
fn settle(seat: &Seat, ready: &SyncSender<Result<(), String>>) -> Option<eal::Registered> {
    if !hugepages::topology::pin(seat.cpu) {
        let cause = "the kernel does not let this process run there; \
                     name CPUs from `taskset -p 1` in `workers`";
        let _ = ready.send(Err(cause.to_owned()));
        return None;
    }
    park::sharpen_timer();
    match eal::register_thread() {
        Ok(r) => Some(r),
        Err(e) => {
            let _ = ready.send(Err(e.to_string()));
            None
        }
    }
}
