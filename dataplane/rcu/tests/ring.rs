//! A ring equals a queue with a bound, after any sequence of bursts, and across threads.
#![cfg(not(loom))]

use std::collections::VecDeque;
use std::sync::Arc;

use proptest::prelude::*;
use rcu::ring;

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Pop(usize),
    /// Takes some and lets go of the rest of a drain.
    Drain(usize, usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0usize..12).prop_map(Step::Push),
        (0usize..12).prop_map(Step::Pop),
        (0usize..12, 0usize..12).prop_map(|(max, take)| Step::Drain(max, take)),
    ]
}

proptest! {
    #[test]
    fn a_ring_is_a_bounded_queue(capacity in 1usize..9, steps in prop::collection::vec(any_step(), 1..200)) {
        let (mut tx, mut rx) = ring::spsc(capacity);
        let bound = capacity.next_power_of_two();
        prop_assert_eq!((tx.capacity(), rx.capacity()), (bound, bound));
        let alive = Arc::new(());
        let mut queue = VecDeque::new();
        let mut next = 0;
        for step in steps {
            match step {
                Step::Push(n) => {
                    let fits = n.min(bound - queue.len());
                    let mut items = (next..next + n).map(|i| (i, Arc::clone(&alive)));
                    prop_assert_eq!(tx.push_burst(&mut items), fits);
                    prop_assert_eq!(items.len(), n - fits);
                    queue.extend(next..next + fits);
                    next += fits;
                }
                Step::Pop(max) => {
                    let mut out = Vec::new();
                    let n = rx.pop_burst(&mut out, max);
                    prop_assert_eq!((n, n), (max.min(queue.len()), out.len()));
                    for (i, _) in out {
                        prop_assert_eq!(Some(i), queue.pop_front());
                    }
                }
                Step::Drain(max, take) => {
                    for (i, _) in rx.drain(max).take(take) {
                        prop_assert_eq!(Some(i), queue.pop_front());
                    }
                }
            }
            prop_assert_eq!((tx.len(), rx.len()), (queue.len(), queue.len()));
            prop_assert_eq!((tx.is_empty(), rx.is_empty()), (queue.is_empty(), queue.is_empty()));
            prop_assert_eq!(Arc::strong_count(&alive), 1 + queue.len());
        }
        drop((tx, rx));
        prop_assert_eq!(Arc::strong_count(&alive), 1, "leftovers are dropped");
    }
}

#[test]
fn a_full_ring_gives_the_item_back() {
    let (mut tx, mut rx) = ring::spsc(2);
    assert_eq!(
        (tx.push(1), tx.push(2), tx.push(3)),
        (Ok(()), Ok(()), Err(3))
    );
    assert_eq!(
        (rx.pop(), tx.push(3), rx.pop(), rx.pop(), rx.pop()),
        (Some(1), Ok(()), Some(2), Some(3), None)
    );
}

/// What a leaked drain has given away is not given again, nor dropped again.
#[test]
fn a_leaked_drain_is_harmless() {
    let (mut tx, mut rx) = ring::spsc(4);
    let items: Vec<Arc<u32>> = (0..3).map(Arc::new).collect();
    tx.push_burst(&mut items.iter().cloned());
    let mut drain = rx.drain(2);
    let taken = drain.next().unwrap();
    std::mem::forget(drain);
    assert_eq!((*taken, rx.len()), (0, 2));
    drop((tx, rx, taken));
    assert!(items.iter().all(|i| Arc::strong_count(i) == 1));
}

#[test]
fn a_source_that_panics_leaves_the_ring_whole() {
    let (mut tx, mut rx) = ring::spsc(4);
    let mut source = (0..4).map(|i| if i == 2 { panic!("bad item") } else { i });
    let push = std::panic::AssertUnwindSafe(|| tx.push_burst(&mut source));
    assert!(std::panic::catch_unwind(push).is_err());
    assert_eq!(rx.drain(9).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn order_holds_across_threads() {
    const ITEMS: u64 = 300_000;
    let (mut tx, mut rx) = ring::spsc(64);
    std::thread::scope(|s| {
        s.spawn(move || {
            let mut items = 0..ITEMS;
            while !items.is_empty() {
                if tx.push_burst(&mut items.by_ref().take(32)) == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut next = 0;
        while next < ITEMS {
            let mut none = true;
            for item in rx.drain(32) {
                assert_eq!(item, next);
                next += 1;
                none = false;
            }
            if none {
                std::thread::yield_now();
            }
        }
    });
}
