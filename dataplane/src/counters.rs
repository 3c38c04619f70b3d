//! Counters per worker and interface. Read DESIGN section 2, HABITS 8 and 10.
//!
//! The law they obey, summed over interfaces and writers, when nothing is under way:
//!
//! ```text
//! rx + injected + created = tx + punted + Σ drops
//! ```
//!
//! Who counts what, once per frame:
//!
//! | counter    | counted by | when |
//! |------------|------------|------|
//! | `rx`       | pipeline   | a frame was taken from a port, on the interface it is attributed to |
//! | `injected` | pipeline   | a frame was taken from an inject ring; [`ControlCounters::given_up`] for punted frames given up |
//! | `created`  | pipeline   | an ICMP error, or each fragment after the first |
//! | `drops`    | whoever drops it | the frame is freed |
//! | `tx`       | worker     | the driver took the frame, on the interface it leaves by |
//! | `punted`   | worker     | the frame is on the ring to the control thread |
//!
//! Each block has one writer, so adding is a load and a store; readers (the control thread) see each counter whole, and a
//! set of counters as of slightly different instants while traffic runs.

use crate::drops::Drop;
use crate::interface::{IFACE_SLOTS, NO_IFACE};
use net::IfaceId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A 64-bit counter with one writer. It wraps after 580 years at 1 Gpps.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One that has counted nothing.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Sets it to 0. One writer, as for `add`.
    #[inline]
    pub(crate) fn clear(&self) {
        self.0.store(0, Relaxed); // no partner: a statistic orders nothing
    }

    /// Adds `n`. To be called by the one writer only: two would lose counts (never memory safety).
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // Relaxed, and no partner: a statistic orders nothing.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Raises it to `n` if that is more. One writer, as for `add`.
    #[inline]
    pub(crate) fn raise(&self, n: u64) {
        // Relaxed, and no partner: a statistic orders nothing.
        if self.0.load(Relaxed) < n {
            self.0.store(n, Relaxed);
        }
    }

    /// Its value now.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        // Relaxed, and no partner: a statistic orders nothing.
        self.0.load(Relaxed)
    }
}

/// The counters of one interface under one writer. Aligned, so that two writers never share a cache line or its neighbour.
#[derive(Debug)]
#[repr(C, align(128))]
struct Slot {
    rx_packets: Counter,
    rx_bytes: Counter,
    tx_packets: Counter,
    tx_bytes: Counter,
    injected: Counter,
    created: Counter,
    punted: Counter,
    drops: [Counter; Drop::COUNT],
}

impl Slot {
    fn new() -> Self {
        Self {
            rx_packets: Counter::default(),
            rx_bytes: Counter::default(),
            tx_packets: Counter::default(),
            tx_bytes: Counter::default(),
            injected: Counter::default(),
            created: Counter::default(),
            punted: Counter::default(),
            drops: [const { Counter(AtomicU64::new(0)) }; Drop::COUNT],
        }
    }
}

/// All counters of one writer.
#[derive(Debug)]
pub struct CounterBlock {
    slots: Box<[Slot]>,
}

impl CounterBlock {
    /// A block for every interface there can be, all zero.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            slots: (0..IFACE_SLOTS).map(|_| Slot::new()).collect(),
        })
    }

    /// The slot of `iface`; ids out of range share the slot of [`NO_IFACE`], so no count is ever lost.
    #[inline]
    fn slot(&self, iface: IfaceId) -> &Slot {
        let i = iface.index();
        &self.slots[if i < IFACE_SLOTS { i } else { NO_IFACE.index() }]
    }

    /// What the block counted for `iface` so far.
    #[must_use]
    pub fn read(&self, iface: IfaceId) -> Counts {
        let s = self.slot(iface);
        let mut c = Counts {
            rx_packets: s.rx_packets.get(),
            rx_bytes: s.rx_bytes.get(),
            tx_packets: s.tx_packets.get(),
            tx_bytes: s.tx_bytes.get(),
            injected: s.injected.get(),
            created: s.created.get(),
            punted: s.punted.get(),
            ..Counts::default()
        };
        for (o, d) in c.drops.iter_mut().zip(&s.drops) {
            *o = d.get();
        }
        c
    }
}

/// A worker's hand on its block: the only way to count, so not `Clone`.
#[derive(Debug)]
pub struct WorkerCounters(Arc<CounterBlock>);

impl WorkerCounters {
    /// The writer of `block`. The caller sees to it that a block gets one writer only.
    #[must_use]
    pub fn new(block: Arc<CounterBlock>) -> Self {
        Self(block)
    }

    /// Where it counts, an interface each.
    #[cfg(test)]
    pub(crate) fn written(&self) -> Vec<std::ops::Range<usize>> {
        self.0.slots.iter().map(crate::worker::place).collect()
    }

    /// What was counted so far, over all interfaces.
    #[cold]
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        for i in 0..IFACE_SLOTS {
            sum.add(&self.0.read(IfaceId(i as u16)));
        }
        sum
    }

    /// `packets` frames of `bytes` in all (Ethernet header to payload, no FCS) were taken from a port.
    #[inline]
    pub fn rx(&mut self, iface: IfaceId, packets: u64, bytes: u64) {
        let s = self.0.slot(iface);
        s.rx_packets.add(packets);
        s.rx_bytes.add(bytes);
    }

    /// `packets` frames of `bytes` in all were taken by the driver. For the worker; stages never call it.
    #[inline]
    pub fn tx(&mut self, iface: IfaceId, packets: u64, bytes: u64) {
        let s = self.0.slot(iface);
        s.tx_packets.add(packets);
        s.tx_bytes.add(bytes);
    }

    /// `n` frames came from the control thread.
    #[inline]
    pub fn injected(&mut self, iface: IfaceId, n: u64) {
        self.0.slot(iface).injected.add(n);
    }

    /// `n` frames were made here: ICMP errors, fragments after the first.
    #[inline]
    pub fn created(&mut self, iface: IfaceId, n: u64) {
        self.0.slot(iface).created.add(n);
    }

    /// `n` frames are on the ring to the control thread. For the worker; stages never call it.
    #[inline]
    pub fn punted(&mut self, iface: IfaceId, n: u64) {
        self.0.slot(iface).punted.add(n);
    }

    /// A frame is dropped for that reason.
    #[inline]
    pub fn drop(&mut self, iface: IfaceId, why: Drop) {
        self.drops(iface, why, 1);
    }

    /// `n` frames are dropped for that reason.
    #[inline]
    pub fn drops(&mut self, iface: IfaceId, why: Drop, n: u64) {
        self.0.slot(iface).drops[why.index()].add(n);
    }
}

/// The control thread's own counters.
#[derive(Debug)]
pub struct ControlCounters(WorkerCounters);

impl ControlCounters {
    /// The writer of `block`, as [`WorkerCounters::new`].
    #[must_use]
    pub fn new(block: Arc<CounterBlock>) -> Self {
        Self(WorkerCounters::new(block))
    }

    /// A frame that had been punted comes back only to be dropped: `injected += 1, drops[why] += 1`.
    pub fn given_up(&mut self, iface: IfaceId, why: Drop) {
        self.0.injected(iface, 1);
        self.0.drop(iface, why);
    }
}

/// A reading: plain numbers, added up over writers or interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Frames taken from a port.
    pub rx_packets: u64,
    /// Their bytes, without FCS.
    pub rx_bytes: u64,
    /// Frames taken by a driver.
    pub tx_packets: u64,
    /// Their bytes, without FCS.
    pub tx_bytes: u64,
    /// Frames that came from the control thread.
    pub injected: u64,
    /// Frames made by a worker.
    pub created: u64,
    /// Frames handed to the control thread.
    pub punted: u64,
    /// Frames dropped, by [`Drop::index`].
    pub drops: [u64; Drop::COUNT],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            rx_packets: 0,
            rx_bytes: 0,
            tx_packets: 0,
            tx_bytes: 0,
            injected: 0,
            created: 0,
            punted: 0,
            drops: [0; Drop::COUNT],
        }
    }
}

impl Counts {
    /// Frames that came in, by whatever way: the left side of the law.
    #[must_use]
    pub fn entered(&self) -> u64 {
        self.rx_packets + self.injected + self.created
    }

    /// Frames that went out, by whatever way: the right side of the law.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.tx_packets + self.punted + self.dropped()
    }

    /// All drops.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops.iter().sum()
    }

    /// Drops for one reason.
    #[must_use]
    pub fn drops(&self, why: Drop) -> u64 {
        self.drops[why.index()]
    }

    /// The reasons that were hit, with their counts.
    pub fn reasons(&self) -> impl Iterator<Item = (Drop, u64)> + '_ {
        Drop::ALL
            .iter()
            .map(|&d| (d, self.drops(d)))
            .filter(|&(_, n)| n > 0)
    }

    fn zip(&mut self, o: &Counts, f: impl Fn(&mut u64, u64)) {
        f(&mut self.rx_packets, o.rx_packets);
        f(&mut self.rx_bytes, o.rx_bytes);
        f(&mut self.tx_packets, o.tx_packets);
        f(&mut self.tx_bytes, o.tx_bytes);
        f(&mut self.injected, o.injected);
        f(&mut self.created, o.created);
        f(&mut self.punted, o.punted);
        for (a, &b) in self.drops.iter_mut().zip(&o.drops) {
            f(a, b);
        }
    }

    /// Adds another reading.
    pub fn add(&mut self, o: &Counts) {
        self.zip(o, |a, b| *a += b);
    }

    /// Takes an earlier reading away.
    pub fn sub(&mut self, o: &Counts) {
        self.zip(o, |a, b| *a = a.saturating_sub(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_in_and_out_is_in_the_law() {
        let block = CounterBlock::new();
        let mut w = WorkerCounters::new(block.clone());
        let (a, b) = (IfaceId(0), IfaceId(1023));
        w.rx(a, 10, 640);
        w.created(a, 2);
        w.injected(b, 3);
        w.tx(b, 9, 576);
        w.punted(a, 1);
        w.drop(a, Drop::Runt);
        w.drops(b, Drop::NoTxRoom, 4);
        let mut sum = Counts::default();
        for i in [a, b] {
            sum.add(&block.read(i));
        }
        assert_eq!((sum.entered(), sum.left()), (15, 15));
        assert_eq!((sum.rx_bytes, sum.tx_bytes, sum.dropped()), (640, 576, 5));
        assert_eq!(
            sum.reasons().collect::<Vec<_>>(),
            [(Drop::Runt, 1), (Drop::NoTxRoom, 4)]
        );
        sum.sub(&block.read(a));
        assert_eq!(sum, block.read(b));
    }

    #[test]
    fn ids_out_of_range_are_counted_too() {
        let block = CounterBlock::new();
        WorkerCounters::new(block.clone()).drop(IfaceId(u16::MAX), Drop::InterfaceDown);
        assert_eq!(block.read(NO_IFACE).drops(Drop::InterfaceDown), 1);
    }

    #[test]
    fn given_up_keeps_the_law() {
        let block = CounterBlock::new();
        ControlCounters::new(block.clone()).given_up(IfaceId(7), Drop::Unresolved);
        let c = block.read(IfaceId(7));
        assert_eq!(
            (c.entered(), c.left(), c.drops(Drop::Unresolved)),
            (1, 1, 1)
        );
    }

    #[test]
    fn raise_only_raises() {
        let c = Counter::default();
        c.raise(5);
        c.raise(3);
        assert_eq!(c.get(), 5);
    }
}
