//! Quiescent-state based reclamation: the domain, its readers and its one writer.
//!
//! The argument, model-checked in `loom_tests`: an object retired in epoch `e` was unlinked before the writer opened
//! `e`. A reader that reports `e` or later (a) is done with all it had read before, and (b) cannot find the object any
//! more. So once the least report of all readers reaches `e`, nobody holds the object. An offline reader counts as
//! having seen everything; coming back is the one place that needs full fences.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64 as IdCounter, Ordering};
use std::time::{Duration, Instant};

use crossbeam::utils::CachePadded;

use crate::order::{Orders, Proven};
use crate::status::{ReaderStatus, Status};
use crate::sync::{AtomicBool, AtomicU64, Mutex, fence, lock};

/// What an offline reader has seen: everything.
const OFFLINE: u64 = u64::MAX;

/// Gives every domain its own id, so that a table cannot be read under the protection of another domain.
static NEXT_ID: IdCounter = IdCounter::new(1);

/// What readers and the writer share. One per process is the rule; tests make their own.
#[derive(Debug)]
pub struct Domain<O: Orders = Proven> {
    epoch: CachePadded<AtomicU64>,
    id: u64,
    writer: AtomicBool,
    readers: Mutex<Readers>,
    /// Left behind by a writer that is gone; freed by the next one or with the domain.
    orphans: Mutex<VecDeque<Retired>>,
    orders: std::marker::PhantomData<O>,
}

#[derive(Debug, Default)]
struct Readers {
    next_id: u64,
    slots: Vec<Arc<Slot>>,
}

/// One reader's report, on a cache line of its own.
#[derive(Debug)]
struct Slot {
    seen: CachePadded<AtomicU64>,
    id: u64,
    name: String,
}

impl Domain {
    /// A new domain without readers.
    #[allow(clippy::new_ret_no_self, reason = "domains are always shared")]
    pub fn new() -> Arc<Self> {
        Self::with_orders()
    }
}

impl<O: Orders> Domain<O> {
    /// A domain with the memory orderings of `O`; all but [`Proven`] are wrong and for the model checker.
    #[doc(hidden)]
    pub fn with_orders() -> Arc<Self> {
        Arc::new(Self {
            epoch: CachePadded::new(AtomicU64::new(1)),
            // Relaxed: only uniqueness matters, and a read-modify-write gives that; pairs with itself.
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            writer: AtomicBool::new(false),
            readers: Mutex::new(Readers::default()),
            orphans: Mutex::new(VecDeque::new()),
            orders: std::marker::PhantomData,
        })
    }

    /// Adds a reader, online. Register on the thread that will read, or go [`Reader::offline`] until it starts.
    pub fn register(self: &Arc<Self>, name: impl Into<String>) -> Reader<O> {
        let slot = {
            let mut readers = lock(&self.readers);
            readers.next_id += 1;
            let seen = CachePadded::new(AtomicU64::new(OFFLINE));
            let slot = Arc::new(Slot {
                seen,
                id: readers.next_id,
                name: name.into(),
            });
            readers.slots.push(Arc::clone(&slot));
            slot
        };
        let mut reader = Reader {
            domain: Arc::clone(self),
            slot,
            seen: OFFLINE,
        };
        reader.online();
        reader
    }

    /// Takes the right to write.
    ///
    /// # Errors
    /// There is one already.
    pub fn writer(self: &Arc<Self>) -> Result<Writer<O>, WriterTaken> {
        // Acquire: pairs with the Release in `Writer::drop`; the next writer sees the epoch the last one left.
        if self.writer.swap(true, Ordering::Acquire) {
            return Err(WriterTaken);
        }
        let retired = std::mem::take(&mut *lock(&self.orphans));
        // Relaxed: only the writer stores it, and the swap above pairs with the last writer's leave.
        let epoch = self.epoch.load(Ordering::Relaxed);
        Ok(Writer {
            domain: Arc::clone(self),
            epoch,
            pending_bytes: retired.iter().map(|r| r.bytes).sum(),
            retired,
        })
    }

    /// A picture of all readers, for `rcu show` and the [`crate::Watchdog`].
    pub fn status(&self) -> Status {
        let readers = lock(&self.readers);
        // Relaxed, both: a picture for people, nothing is freed on the strength of it; no partner.
        let seen: Vec<u64> = readers
            .slots
            .iter()
            .map(|s| s.seen.load(Ordering::Relaxed))
            .collect();
        let epoch = self.epoch.load(Ordering::Relaxed);
        let describe = |(slot, seen): (&Arc<Slot>, u64)| ReaderStatus {
            id: slot.id,
            name: slot.name.clone(),
            online: seen != OFFLINE,
            seen: seen.min(epoch),
            lag: epoch.saturating_sub(seen),
        };
        Status {
            epoch,
            readers: readers.slots.iter().zip(seen).map(describe).collect(),
        }
    }

    /// The least epoch that every reader has seen, and the reader it is due to. The caller has opened its epoch.
    fn horizon(&self) -> (u64, Option<Arc<Slot>>) {
        if O::WRITER_FENCE {
            // Between the store of the epoch and the loads of the reports. Pairs with the fence in `Reader::online`:
            // either we see that reader's report, or it sees what was published before this fence.
            fence(Ordering::SeqCst);
        }
        let readers = lock(&self.readers);
        let mut least = (OFFLINE, None);
        for slot in &readers.slots {
            // Acquire: pairs with the Release stores in `Reader::{quiescent, offline}`; all that the reader read
            // before its report happens before what we free after this load.
            let seen = slot.seen.load(Ordering::Acquire);
            if seen < least.0 {
                least = (seen, Some(Arc::clone(slot)));
            }
        }
        least
    }

    /// Identifies the domain among those of this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

/// The writer of this domain exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterTaken;

impl std::fmt::Display for WriterTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the RCU domain has a writer already; there can only be one")
    }
}

impl std::error::Error for WriterTaken {}

/// One thread's right to read. References got through it borrow it, so they end before it reports.
#[derive(Debug)]
pub struct Reader<O: Orders = Proven> {
    domain: Arc<Domain<O>>,
    slot: Arc<Slot>,
    /// What the slot says; only we store to it.
    seen: u64,
}

impl<O: Orders> Reader<O> {
    /// Reports that this thread holds no reference (the borrow checker has proved it). Once a loop; costs two loads,
    /// and a store when the writer has moved. Does nothing while offline.
    #[inline]
    pub fn quiescent(&mut self) {
        // Acquire: pairs with the Release store in `Writer::advance`; what was published before that epoch is what we
        // read from here on.
        let epoch = self.domain.epoch.load(Ordering::Acquire);
        if epoch != self.seen && self.seen != OFFLINE {
            self.seen = epoch;
            // Release: pairs with the Acquire load in `Domain::horizon`; our reads before this come before the free.
            self.slot.seen.store(epoch, O::SEEN);
        }
    }

    /// Leaves: nothing waits for this reader until it is [`online`](Self::online) again. Before a sleep.
    pub fn offline(&mut self) {
        self.seen = OFFLINE;
        // Release: pairs with the Acquire load in `Domain::horizon`, as in `quiescent`.
        self.slot.seen.store(OFFLINE, O::SEEN);
    }

    /// Comes back after [`offline`](Self::offline). Costs a full fence; does nothing when online.
    pub fn online(&mut self) {
        if self.seen != OFFLINE {
            return;
        }
        // Acquire: pairs with the Release store in `Writer::advance`, as in `quiescent`.
        self.seen = self.domain.epoch.load(Ordering::Acquire);
        // Release: pairs with the Acquire load in `Domain::horizon`.
        self.slot.seen.store(self.seen, O::SEEN);
        if O::READER_FENCE {
            // Between our report and our first read. Pairs with the fence in `Domain::horizon`.
            fence(Ordering::SeqCst);
        }
    }

    /// Whether this reader may read now.
    #[inline]
    pub fn is_online(&self) -> bool {
        self.seen != OFFLINE
    }

    /// The proof, checked once, that whatever borrows from it is protected: for tables that are read many times a loop.
    ///
    /// # Panics
    /// When offline: nothing would protect what is read.
    #[inline]
    pub fn guard(&self) -> Guard<'_, O> {
        assert!(
            self.is_online(),
            "RCU reader '{}' reads while offline",
            self.slot.name
        );
        Guard { reader: self }
    }

    /// The domain it reads in.
    pub fn domain(&self) -> &Arc<Domain<O>> {
        &self.domain
    }
}

impl<O: Orders> Drop for Reader<O> {
    fn drop(&mut self) {
        self.offline();
        lock(&self.domain.readers)
            .slots
            .retain(|s| !Arc::ptr_eq(s, &self.slot));
    }
}

/// An online reader, borrowed: as long as it lives, nothing that is read under it is freed.
#[derive(Debug)]
pub struct Guard<'r, O: Orders = Proven> {
    reader: &'r Reader<O>,
}

impl<O: Orders> Clone for Guard<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O: Orders> Copy for Guard<'_, O> {}

impl<O: Orders> Guard<'_, O> {
    /// The domain's id.
    #[inline]
    pub(crate) fn domain_id(self) -> u64 {
        self.reader.domain.id
    }
}

/// Something to be freed once its epoch is over. A raw pointer: a `Box` would claim sole access while readers look.
#[derive(Debug)]
struct Retired {
    epoch: u64,
    /// What its free gives back.
    bytes: usize,
    object: *mut (),
    free: unsafe fn(*mut ()),
}

// SAFETY: the object is Send (bound on `Writer::retire`), and whoever has the `Retired` only frees it.
unsafe impl Send for Retired {}

impl Retired {
    fn free(self) {
        // SAFETY: `free` fits `object` (made together in `Writer::retire`), it is called once as it consumes self, and
        // the epoch is over, so no reader holds the object.
        unsafe { (self.free)(self.object) }
    }
}

/// Frees what `Box::into_raw` gave.
///
/// # Safety
/// `object` is a `Box<T>`'s, nobody else holds it, and it is not used afterwards.
unsafe fn free_box<T>(object: *mut ()) {
    // SAFETY: passed on to the caller.
    let object = unsafe { Box::from_raw(object.cast::<T>()) };
    #[cfg(not(loom))]
    drop(object);
    // Under the model checker the value is dropped and its memory kept, so that the negative controls read a dropped
    // value, which loom reports, rather than memory that belongs to somebody else by then.
    #[cfg(loom)]
    {
        let kept = Box::leak(object);
        // SAFETY: sole access, and the memory is never used as a `T` by us again.
        unsafe { std::ptr::drop_in_place(kept) };
    }
}

/// The right to publish and to free: one per domain, held by the control thread.
///
/// Dropping it frees nothing that a reader may hold: leftovers go to the domain, and on to its next writer.
#[derive(Debug)]
pub struct Writer<O: Orders = Proven> {
    domain: Arc<Domain<O>>,
    epoch: u64,
    /// In the order of their epochs.
    retired: VecDeque<Retired>,
    /// Of all that is retired.
    pending_bytes: usize,
}

impl<O: Orders> Writer<O> {
    /// Puts an unlinked object of so many bytes aside until every reader has reported. Never blocks.
    ///
    /// # Safety
    /// `object` is from `Box::into_raw`, no reader that comes from now on can find it, and nobody frees it otherwise.
    pub(crate) unsafe fn retire<T: Send + 'static>(&mut self, object: *mut T, bytes: usize) {
        self.pending_bytes += bytes;
        self.retired.push_back(Retired {
            epoch: self.epoch + 1,
            bytes,
            object: object.cast(),
            free: free_box::<T>,
        });
    }

    /// Runs `f` on this thread (in [`reclaim`](Self::reclaim)) once every reader has reported after this call.
    pub fn defer<F: FnOnce() + Send + 'static>(&mut self, f: F) {
        let object = Box::into_raw(Box::new(OnDrop(Some(f))));
        // SAFETY: just made, and no reader can ever find it.
        unsafe { self.retire(object, size_of::<F>()) }
    }

    /// Opens an epoch and returns it: once [`completed`](Self::completed) reaches it, everything unlinked before this
    /// call is out of reach of every reader.
    pub fn advance(&mut self) -> u64 {
        self.epoch += 1;
        // Release: pairs with the Acquire loads in `Reader::{quiescent, online}`; who sees this epoch sees what was
        // published before it.
        self.domain.epoch.store(self.epoch, O::EPOCH);
        self.epoch
    }

    /// The epoch opened last. What is unlinked now is out of reach once [`completed`](Self::completed) is beyond it.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The last epoch that every reader has seen.
    pub fn completed(&mut self) -> u64 {
        self.domain.horizon().0.min(self.epoch)
    }

    /// Frees what no reader can hold any more and returns how many objects that were. Opens an epoch itself when
    /// something was retired since the last one. Never blocks: call it once a loop.
    pub fn reclaim(&mut self) -> usize {
        match self.retired.back() {
            None => return 0,
            Some(last) if last.epoch > self.epoch => {
                self.advance();
            }
            Some(_) => {}
        }
        let completed = self.completed();
        let mut freed = 0;
        while self.retired.front().is_some_and(|r| r.epoch <= completed) {
            if let Some(retired) = self.retired.pop_front() {
                self.pending_bytes -= retired.bytes;
                retired.free();
                freed += 1;
            }
        }
        freed
    }

    /// Objects that wait for readers.
    pub fn pending(&self) -> usize {
        self.retired.len()
    }

    /// Bytes that wait for readers, as far as those who published could tell.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Waits until every reader has reported after this call, then frees what can be freed. For the rare case where
    /// the control thread must know, such as closing a port.
    ///
    /// # Errors
    /// A reader did not report within `timeout`; what was retired stays pending.
    pub fn synchronize(&mut self, timeout: Duration) -> Result<(), Stalled> {
        let epoch = self.advance();
        let start = Instant::now();
        loop {
            let (seen, slot) = self.domain.horizon();
            if seen >= epoch {
                self.reclaim();
                return Ok(());
            }
            let waited = start.elapsed();
            if let Some(slot) = slot.filter(|_| waited >= timeout) {
                return Err(Stalled {
                    reader: slot.name.clone(),
                    lag: epoch.saturating_sub(seen),
                    waited,
                });
            }
            match waited {
                w if w < Duration::from_micros(50) => std::hint::spin_loop(),
                w if w < Duration::from_millis(1) => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
        }
    }

    /// The domain it writes in.
    pub fn domain(&self) -> &Arc<Domain<O>> {
        &self.domain
    }
}

impl<O: Orders> Drop for Writer<O> {
    fn drop(&mut self) {
        self.reclaim();
        lock(&self.domain.orphans).append(&mut self.retired);
        // Release: pairs with the Acquire swap in `Domain::writer`.
        self.domain.writer.store(false, Ordering::Release);
    }
}

impl<O: Orders> Drop for Domain<O> {
    fn drop(&mut self) {
        // Readers and the writer keep the domain alive, so there are none.
        let orphans = std::mem::take(&mut *lock(&self.orphans));
        orphans.into_iter().for_each(Retired::free);
    }
}

/// Runs its closure when it is dropped.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(f) = self.0.take() {
            f();
        }
    }
}

/// A reader did not report in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stalled {
    /// Its name.
    pub reader: String,
    /// Epochs it is behind.
    pub lag: u64,
    /// How long was waited.
    pub waited: Duration,
}

impl std::fmt::Display for Stalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "RCU reader '{}' did not report for {:?} and is {} epochs behind",
            self.reader, self.waited, self.lag
        )
    }
}

impl std::error::Error for Stalled {}
