//! Model-checked: `RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target-loom cargo nextest run -p trunkline-rcu --release`.
//!
//! The types are those that ship. A value's drop writes a loom cell that readers read, so that a free that is not
//! ordered after every read is reported, as is a read of a dropped value. The negative controls weaken one ordering
//! each and must be caught.

use std::sync::Arc as Plain;
use std::sync::atomic::Ordering;

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::order::{Orders, Proven};
use crate::{Cell, Domain, Reader, Table, ring};

/// A value whose life loom watches. `life` outlives it, so that looking at a dropped one is seen, not undefined.
struct Watched {
    life: Plain<UnsafeCell<u32>>,
}

impl Watched {
    fn new(value: u32, lives: &mut Vec<Plain<UnsafeCell<u32>>>) -> Box<Self> {
        let life = Plain::new(UnsafeCell::new(value));
        lives.push(Plain::clone(&life));
        Box::new(Self { life })
    }

    fn get(&self) -> u32 {
        // SAFETY: loom checks that no write is concurrent.
        let value = self.life.with(|p| unsafe { *p });
        assert_ne!(value, 0, "a reader looks at a freed value");
        value
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // SAFETY: loom checks that no read is concurrent.
        self.life.with_mut(|p| unsafe { *p = 0 });
    }
}

// SAFETY: shared between loom's threads, which loom checks for races.
unsafe impl Send for Watched {}
// SAFETY: as above.
unsafe impl Sync for Watched {}

fn check(f: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(f);
}

/// A reader that reads, reports, and reads again, while the writer publishes and frees.
fn reports<O: Orders>() {
    check(|| {
        let mut lives = Vec::new();
        let domain = Domain::<O>::with_orders();
        let cell = Arc::new(Cell::new(&domain, Watched::new(1, &mut lives)));
        let mut writer = domain.writer().unwrap();
        let mut reader = domain.register("r");
        let reading = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                let first = cell.read(&reader).get();
                reader.quiescent();
                let second = cell.read(&reader).get();
                assert!(first <= second, "time runs backwards");
            })
        };
        cell.publish(&mut writer, Watched::new(2, &mut lives));
        writer.reclaim();
        writer.reclaim();
        reading.join().unwrap();
        writer.reclaim();
        assert_eq!(
            writer.pending(),
            0,
            "the reader is gone, nothing can wait for it"
        );
    });
}

/// A reader that sleeps, wakes, and reads, while the writer publishes and frees.
fn sleeps<O: Orders>() {
    check(|| {
        let mut lives = Vec::new();
        let domain = Domain::<O>::with_orders();
        let cell = Arc::new(Cell::new(&domain, Watched::new(1, &mut lives)));
        let mut writer = domain.writer().unwrap();
        let mut reader = domain.register("r");
        reader.offline();
        let reading = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                reader.online();
                cell.read(&reader).get();
                reader.offline();
            })
        };
        cell.publish(&mut writer, Watched::new(2, &mut lives));
        writer.reclaim();
        reading.join().unwrap();
        writer.reclaim();
        assert_eq!(writer.pending(), 0);
    });
}

#[test]
fn a_reader_that_reports_is_safe() {
    reports::<Proven>();
}

#[test]
fn a_reader_that_sleeps_is_safe() {
    sleeps::<Proven>();
}

macro_rules! negative_control {
    ($test:ident, $scenario:ident, $(const $name:ident: $ty:ty = $value:expr;)*) => {
        #[test]
        #[should_panic(expected = "Causality violation")]
        fn $test() {
            struct Weak;
            impl Orders for Weak {
                $(const $name: $ty = $value;)*
            }
            $scenario::<Weak>();
        }
    };
}

negative_control! { a_relaxed_report_is_caught, reports,
    const SEEN: Ordering = Ordering::Relaxed;
    const EPOCH: Ordering = Proven::EPOCH;
    const READER_FENCE: bool = true;
    const WRITER_FENCE: bool = true;
}
negative_control! { a_relaxed_epoch_is_caught, reports,
    const SEEN: Ordering = Proven::SEEN;
    const EPOCH: Ordering = Ordering::Relaxed;
    const READER_FENCE: bool = true;
    const WRITER_FENCE: bool = true;
}
negative_control! { no_fence_is_caught, sleeps,
    const SEEN: Ordering = Proven::SEEN;
    const EPOCH: Ordering = Proven::EPOCH;
    const READER_FENCE: bool = false;
    const WRITER_FENCE: bool = false;
}
negative_control! { a_fence_of_the_reader_alone_is_caught, sleeps,
    const SEEN: Ordering = Proven::SEEN;
    const EPOCH: Ordering = Proven::EPOCH;
    const READER_FENCE: bool = true;
    const WRITER_FENCE: bool = false;
}
negative_control! { a_fence_of_the_writer_alone_is_caught, sleeps,
    const SEEN: Ordering = Proven::SEEN;
    const EPOCH: Ordering = Proven::EPOCH;
    const READER_FENCE: bool = false;
    const WRITER_FENCE: bool = true;
}

/// A reader that comes late, and one that leaves.
#[test]
fn readers_come_and_go() {
    check(|| {
        let mut lives = Vec::new();
        let domain = Domain::new();
        let cell = Arc::new(Cell::new(&domain, Watched::new(1, &mut lives)));
        let mut writer = domain.writer().unwrap();
        let reading = {
            let (cell, domain) = (Arc::clone(&cell), domain.clone());
            thread::spawn(move || {
                let reader: Reader = domain.register("late");
                cell.read(&reader).get();
            })
        };
        cell.publish(&mut writer, Watched::new(2, &mut lives));
        writer.reclaim();
        reading.join().unwrap();
        assert_eq!(domain.status().readers, []);
        writer.reclaim();
        assert_eq!(writer.pending(), 0);
    });
}

/// Two readers; what one has reported says nothing of the other.
#[test]
fn the_slowest_reader_counts() {
    check(|| {
        let mut lives = Vec::new();
        let domain = Domain::new();
        let cell = Arc::new(Cell::new(&domain, Watched::new(1, &mut lives)));
        let mut writer = domain.writer().unwrap();
        let mut quick = domain.register("quick");
        let slow = domain.register("slow");
        let reading = {
            let cell = Arc::clone(&cell);
            thread::spawn(move || {
                let value = cell.read(&slow);
                value.get();
                value.get();
            })
        };
        cell.publish(&mut writer, Watched::new(2, &mut lives));
        quick.quiescent();
        writer.reclaim();
        assert_eq!(cell.read(&quick).get(), 2);
        reading.join().unwrap();
    });
}

/// What a writer leaves behind is freed by the next one, and not before its time.
#[test]
fn a_writer_leaves_its_garbage_to_the_next() {
    check(|| {
        let mut lives = Vec::new();
        let domain = Domain::new();
        let table = Arc::new(Table::new(&domain, 2));
        let mut writer = domain.writer().unwrap();
        table.publish(&mut writer, 1, Some(Watched::new(1, &mut lives)));
        let mut reader = domain.register("r");
        let reading = {
            let table = Arc::clone(&table);
            thread::spawn(move || {
                if let Some(value) = table.read(reader.guard()).get(1) {
                    value.get();
                }
                reader.quiescent();
            })
        };
        table.publish(&mut writer, 1, None);
        drop(writer);
        let mut writer = domain.writer().unwrap();
        writer.reclaim();
        reading.join().unwrap();
        writer.reclaim();
        assert_eq!(writer.pending(), 0);
    });
}

/// Items arrive once, whole, in order; the ring wraps and fills.
#[test]
fn a_ring_hands_over_every_item_in_order() {
    check(|| {
        let (mut tx, mut rx) = ring::spsc(2);
        let filling = thread::spawn(move || {
            let mut items = (1..=3).map(|i| Plain::new(UnsafeCell::new(i))).map(Item);
            let mut sent = tx.push_burst(&mut items);
            sent += tx.push_burst(&mut items);
            sent
        });
        let mut got = Vec::new();
        for max in [1, 2] {
            got.extend(rx.drain(max).map(|i| i.get()));
        }
        let sent = filling.join().unwrap();
        got.extend(rx.drain(usize::MAX).map(|i| i.get()));
        assert_eq!(got, (1..=sent as u32).collect::<Vec<_>>());
    });
}

/// What is left in a ring is dropped with it, by whichever side goes last.
#[test]
fn a_ring_drops_what_is_left() {
    check(|| {
        let (mut tx, mut rx) = ring::spsc(4);
        let items: Vec<_> = (1..=3).map(|i| Plain::new(UnsafeCell::new(i))).collect();
        let mine = items.clone();
        let filling = thread::spawn(move || tx.push_burst(&mut items.into_iter().map(Item)));
        let taken = rx.pop().is_some();
        drop(rx);
        assert_eq!(filling.join().unwrap(), 3);
        for (i, item) in mine.iter().enumerate() {
            assert_eq!(
                Plain::strong_count(item),
                1,
                "item {i}, first taken: {taken}"
            );
        }
    });
}

/// An item whose content loom watches for races.
struct Item(Plain<UnsafeCell<u32>>);

impl Item {
    fn get(&self) -> u32 {
        // SAFETY: loom checks that no write is concurrent.
        self.0.with_mut(|p| unsafe { *p })
    }
}

// SAFETY: handed over by the ring, which is what loom checks.
unsafe impl Send for Item {}
