//! A bounded ring from one thread to one other, in bursts.
//!
//! To read: Lamport, "Specifying concurrent program modules", 1983; Giacomoni et al., "FastForward for efficient
//! pipeline parallelism", 2008 (why each side keeps a copy of the other's index). An operation on a burst costs one
//! load of the other side's index at most, and only when its copy says there is too little; the store that hands the
//! burst over is one per burst. Left out: waiting; both sides poll.

use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;

use crossbeam::utils::CachePadded;

use crate::sync::{AtomicUsize, RingArc as Arc, UnsafeCell};

/// A ring for at least `capacity` items (rounded up to a power of two).
///
/// # Panics
/// `capacity` is 0 or above 2^31.
pub fn spsc<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(
        (1..=1 << 31).contains(&capacity),
        "a ring of {capacity} items"
    );
    let slots = capacity.next_power_of_two();
    let shared = Arc::new(Shared {
        tail: CachePadded::new(AtomicUsize::new(0)),
        head: CachePadded::new(AtomicUsize::new(0)),
        slots: (0..slots)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect(),
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        tail: 0,
        head: 0,
    };
    (
        producer,
        Consumer {
            shared,
            head: 0,
            tail: 0,
        },
    )
}

/// Positions count up for ever (wrapping); a position's slot is its remainder by the number of slots.
#[derive(Debug)]
struct Shared<T> {
    /// Up to here, items are the consumer's to take. Stored by the producer alone.
    tail: CachePadded<AtomicUsize>,
    /// Up to here, slots are the producer's to fill again. Stored by the consumer alone.
    head: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by one side at a time, as `head` and `tail` say; items change threads, so T is Send.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: it owns the items, which are Send.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, position: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let mut head = self.head.load(Ordering::Acquire); // pairs with the store in `Consumer::publish`
        let tail = self.tail.load(Ordering::Acquire); // pairs with the store in `Producer::publish`
        while head != tail {
            // SAFETY: between head and tail the slots are filled, and both sides are gone.
            self.slot(head)
                .with_mut(|s| unsafe { (*s).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The filling side.
#[derive(Debug)]
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// Where the next item goes.
    tail: usize,
    /// The consumer's head when we last looked; it can only have moved on.
    head: usize,
}

impl<T: Send> Producer<T> {
    /// Moves items into the ring until it is full or there are no more, hands them over at once, and returns how many.
    /// What did not fit stays in `items`.
    #[inline]
    pub fn push_burst(&mut self, items: &mut impl Iterator<Item = T>) -> usize {
        let most = items.size_hint().1.unwrap_or(usize::MAX);
        let room = self.room_for(most);
        let start = self.tail;
        let hand_over = HandOver(self); // also when `items.next` panics
        for _ in 0..room {
            let Some(item) = items.next() else { break };
            let producer = &mut *hand_over.0;
            let slot = producer.shared.slot(producer.tail);
            // SAFETY: the slot is beyond tail and within room, so it is empty and ours.
            slot.with_mut(|s| unsafe { (*s).write(item) });
            producer.tail = producer.tail.wrapping_add(1);
        }
        let pushed = hand_over.0.tail.wrapping_sub(start);
        drop(hand_over);
        pushed
    }

    /// Moves one item into the ring.
    ///
    /// # Errors
    /// The ring is full; the item comes back.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let mut one = Some(item).into_iter();
        self.push_burst(&mut one);
        one.next().map_or(Ok(()), Err)
    }

    /// Items that may be pushed now.
    pub fn room(&mut self) -> usize {
        self.room_for(usize::MAX)
    }

    /// Items in the ring now; the consumer may have taken some meanwhile.
    pub fn len(&mut self) -> usize {
        self.capacity() - self.room()
    }

    /// Whether the consumer has taken everything.
    pub fn is_empty(&mut self) -> bool {
        self.len() == 0
    }

    /// Items that fit.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Room as far as we know, after another look at the consumer's head when that is less than `wanted`.
    #[inline]
    fn room_for(&mut self, wanted: usize) -> usize {
        let known = self.capacity() - self.tail.wrapping_sub(self.head);
        if known >= wanted {
            return known;
        }
        // Acquire: pairs with the Release store in `Consumer::publish`; the consumer is done with the slots before it.
        self.head = self.shared.head.load(Ordering::Acquire);
        self.capacity() - self.tail.wrapping_sub(self.head)
    }

    #[inline]
    fn publish(&mut self) {
        // Release: pairs with the Acquire load in `Consumer::ready`; who sees the tail sees the items.
        self.shared.tail.store(self.tail, Ordering::Release);
    }
}

struct HandOver<'a, T: Send>(&'a mut Producer<T>);

impl<T: Send> Drop for HandOver<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.publish();
    }
}

/// The emptying side.
#[derive(Debug)]
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The next item to take.
    head: usize,
    /// The producer's tail when we last looked; it can only have moved on.
    tail: usize,
}

impl<T> Consumer<T> {
    /// Takes up to `max` items into `out` and returns how many. An `out` with a bound of its own (an `ArrayVec`) must
    /// have room for `max` more.
    #[inline]
    pub fn pop_burst(&mut self, out: &mut impl Extend<T>, max: usize) -> usize {
        let drain = self.drain(max);
        let n = drain.left;
        out.extend(drain);
        n
    }

    /// Up to `max` items, as an iterator. Those it has not given when it is dropped stay in the ring.
    #[inline]
    pub fn drain(&mut self, max: usize) -> Drain<'_, T> {
        let left = self.ready(max).min(max);
        Drain {
            consumer: self,
            left,
        }
    }

    /// Takes one item.
    pub fn pop(&mut self) -> Option<T> {
        self.drain(1).next()
    }

    /// Items in the ring now; the producer may have added some meanwhile.
    pub fn len(&mut self) -> usize {
        self.ready(usize::MAX)
    }

    /// Whether there is nothing to take.
    pub fn is_empty(&mut self) -> bool {
        self.ready(1) == 0
    }

    /// Items that fit.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    /// Items there as far as we know, after another look at the producer's tail when that is less than `wanted`.
    #[inline]
    fn ready(&mut self, wanted: usize) -> usize {
        let known = self.tail.wrapping_sub(self.head);
        if known >= wanted {
            return known;
        }
        // Acquire: pairs with the Release store in `Producer::publish`; the items before the tail are complete.
        self.tail = self.shared.tail.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    fn publish(&mut self) {
        // Release: pairs with the Acquire load in `Producer::room_for`; we are done with the slots before the head.
        self.shared.head.store(self.head, Ordering::Release);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.publish(); // a leaked `Drain` has moved the head and not said so
    }
}

/// Items on their way out of a ring; see [`Consumer::drain`].
#[derive(Debug)]
pub struct Drain<'a, T> {
    consumer: &'a mut Consumer<T>,
    left: usize,
}

impl<T> Iterator for Drain<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let consumer = &mut *self.consumer;
        let slot = consumer.shared.slot(consumer.head);
        // SAFETY: between head and tail the slot is filled and ours; head moves on, so it is read once.
        let item = slot.with(|s| unsafe { (*s).assume_init_read() });
        consumer.head = consumer.head.wrapping_add(1);
        Some(item)
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for Drain<'_, T> {}

impl<T> Drop for Drain<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.consumer.publish();
    }
}
