//! What can be seen from outside; the orderings are the loom tests' matter.
#![cfg(not(loom))]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rcu::{Cell, Domain, Table, Watchdog, WriterTaken};

/// Counts its drops.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_reader_holds_back_what_it_may_hold_and_no_more() {
    let drops = Arc::new(AtomicUsize::new(0));
    let value = || Box::new(Counted(Arc::clone(&drops)));
    let domain = Domain::new();
    let mut writer = domain.writer().unwrap();
    let mut reader = domain.register("r");
    let table = Table::new(&domain, 2);
    table.publish(&mut writer, 0, Some(value()));
    assert_eq!(writer.pending(), 0, "nothing was replaced");
    table.publish(&mut writer, 0, Some(value()));
    table.publish(&mut writer, 1, Some(value()));
    table.publish(&mut writer, 1, None);
    assert_eq!((writer.reclaim(), writer.pending()), (0, 2));
    reader.quiescent();
    table.publish(&mut writer, 0, None);
    assert_eq!(
        (writer.reclaim(), writer.pending()),
        (2, 1),
        "the last one came after the report"
    );
    reader.offline();
    assert_eq!(
        (writer.reclaim(), writer.pending()),
        (1, 0),
        "a sleeper holds nothing"
    );
    assert_eq!(drops.load(Ordering::Relaxed), 3);
    reader.online();
    assert!(
        table.read(reader.guard()).get(0).is_none() && table.read(reader.guard()).get(7).is_none()
    );
    table.publish(&mut writer, 0, Some(value()));
    drop(table);
    assert_eq!(
        drops.load(Ordering::Relaxed),
        4,
        "a table drops what it holds"
    );
}

#[test]
fn status_names_who_lags() {
    let domain = Domain::new();
    let mut writer = domain.writer().unwrap();
    let mut quick = domain.register("quick");
    let slow = domain.register("slow");
    let mut asleep = domain.register("asleep");
    asleep.offline();
    writer.advance();
    quick.quiescent();
    writer.advance();
    let seen: Vec<_> = domain
        .status()
        .readers
        .into_iter()
        .map(|r| (r.name, r.online, r.lag))
        .collect();
    let expected = [("quick", true, 1), ("slow", true, 2), ("asleep", false, 0)];
    assert_eq!(seen, expected.map(|(n, o, l)| (n.to_owned(), o, l)));
    drop(slow);
    assert_eq!(domain.status().readers.len(), 2);
}

#[test]
fn waiting_ends_with_the_last_report_or_with_a_name() {
    let domain = Domain::new();
    let mut writer = domain.writer().unwrap();
    assert_eq!(
        writer.synchronize(Duration::ZERO),
        Ok(()),
        "nobody to wait for"
    );
    let mut reader = domain.register("stuck");
    let ran = Arc::new(AtomicU64::new(0));
    let run = Arc::clone(&ran);
    writer.defer(move || {
        run.fetch_add(1, Ordering::Relaxed);
    });
    let stalled = writer.synchronize(Duration::from_millis(1)).unwrap_err();
    assert_eq!(
        (stalled.reader.as_str(), ran.load(Ordering::Relaxed)),
        ("stuck", 0)
    );
    std::thread::scope(|s| {
        let target = writer.epoch() + 1;
        let domain = &domain;
        s.spawn(move || {
            while domain.status().epoch < target {
                std::thread::yield_now();
            }
            reader.quiescent();
        });
        assert_eq!(writer.synchronize(Duration::from_secs(60)), Ok(()));
    });
    assert_eq!(ran.load(Ordering::Relaxed), 1);
}

/// A thread that really hangs with a value in its hands: it is named, what waits for it is weighed, and nothing is freed
/// under it; once it goes on, all is.
#[test]
fn a_reader_that_hangs_is_named_and_what_waits_for_it_is_weighed() {
    const BYTES: usize = 1000;
    let domain = Domain::new();
    let mut writer = domain.writer().unwrap();
    let first = vec![7u8; BYTES].into_boxed_slice();
    let table = Table::new(&domain, 1);
    let publish = |writer: &mut rcu::Writer, value: Box<[u8]>| {
        table.publish_weighed(writer, 0, Some(Box::new(value)), |old| {
            size_of_val(old) + old.len()
        });
    };
    publish(&mut writer, first);
    let each = BYTES + size_of::<Box<[u8]>>();
    let mut dog = Watchdog::new(Duration::from_secs(2));
    let t0 = Instant::now();
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let (tell, in_there) = std::sync::mpsc::channel();
    std::thread::scope(|s| {
        let mut reader = domain.register("hangs");
        let table = &table;
        s.spawn(move || {
            let value = table.read(reader.guard()).get(0).unwrap();
            tell.send(()).unwrap();
            told.recv().unwrap();
            assert!(value.iter().all(|b| *b == 7), "freed under a reader");
            reader.quiescent();
            tell.send(()).unwrap();
            told.recv().unwrap();
        });
        in_there.recv().unwrap();
        for n in 1..=100 {
            publish(&mut writer, vec![0; BYTES].into_boxed_slice());
            writer.reclaim();
            assert_eq!((writer.pending(), writer.pending_bytes()), (n, n * each));
        }
        // Time is passed in: nobody waits two seconds.
        assert_eq!(dog.observe(t0, &domain.status()).began, []);
        let stalls = dog.observe(t0 + Duration::from_secs(2), &domain.status());
        assert_eq!(stalls.began[0].name, "hangs");
        assert_eq!((stalls.began[0].lag, stalls.began.len()), (100, 1));
        go_on.send(()).unwrap();
        in_there.recv().unwrap();
        let stalls = dog.observe(t0 + Duration::from_secs(3), &domain.status());
        assert_eq!(stalls.ended[0].name, "hangs");
        assert_eq!(writer.reclaim(), 100);
        assert_eq!((writer.pending(), writer.pending_bytes()), (0, 0));
        go_on.send(()).unwrap();
    });
    // What a writer leaves is weighed by the next.
    let reader = domain.register("r");
    publish(&mut writer, Box::new([]));
    drop(writer);
    let writer = domain.writer().unwrap();
    assert_eq!((writer.pending(), writer.pending_bytes()), (1, each));
    drop(reader);
}

#[test]
fn there_is_one_writer_and_its_garbage_outlives_it() {
    let domain = Domain::new();
    let mut writer = domain.writer().unwrap();
    assert_eq!(domain.writer().unwrap_err(), WriterTaken);
    let ran = Arc::new(AtomicU64::new(0));
    let reader = domain.register("r");
    for _ in 0..2 {
        let run = Arc::clone(&ran);
        writer.defer(move || {
            run.fetch_add(1, Ordering::Relaxed);
        });
        drop(writer);
        writer = domain.writer().unwrap();
    }
    assert_eq!((writer.pending(), ran.load(Ordering::Relaxed)), (2, 0));
    drop(writer);
    drop(reader);
    drop(domain);
    assert_eq!(
        ran.load(Ordering::Relaxed),
        2,
        "the domain frees what is left"
    );
}

#[test]
#[should_panic(expected = "reads while offline")]
fn reading_while_offline_is_refused() {
    let domain = Domain::new();
    let cell = Cell::new(&domain, Box::new(1));
    let mut reader = domain.register("r");
    reader.offline();
    reader.quiescent(); // does not bring it back
    cell.read(&reader);
}

#[test]
#[should_panic(expected = "another domain")]
fn another_domains_reader_is_refused() {
    let cell = Cell::new(&Domain::new(), Box::new(1));
    cell.read(&Domain::new().register("r"));
}

#[test]
#[should_panic(expected = "another domain")]
fn another_domains_writer_is_refused() {
    let cell = Cell::new(&Domain::new(), Box::new(1));
    cell.publish(&mut Domain::new().writer().unwrap(), Box::new(2));
}

/// Readers that report, sleep and wake beside a writer: every value read is whole, and all are freed in the end.
#[test]
fn readers_beside_a_writer() {
    struct Pair(
        u64,
        u64,
        #[allow(dead_code, reason = "for its drop")] Counted,
    );
    let drops = Arc::new(AtomicUsize::new(0));
    let pair = |n| Box::new(Pair(n, !n, Counted(Arc::clone(&drops))));
    let domain = Domain::new();
    let mut writer = domain.writer().unwrap();
    let cell = Cell::new(&domain, pair(0));
    const LAST: u64 = 20_000;
    std::thread::scope(|s| {
        for name in ["a", "b"] {
            let mut reader = domain.register(name);
            let cell = &cell;
            s.spawn(move || {
                let mut before = 0;
                for round in 0u64.. {
                    let now = cell.read(&reader);
                    assert_eq!(now.0, !now.1);
                    assert!(now.0 >= before);
                    before = now.0;
                    if before == LAST {
                        break;
                    }
                    reader.quiescent();
                    if round % 64 == 0 {
                        reader.offline();
                        std::thread::yield_now();
                        reader.online();
                    }
                }
            });
        }
        for n in 1..=LAST {
            cell.publish(&mut writer, pair(n));
            writer.reclaim();
        }
    });
    writer.reclaim();
    assert_eq!(
        (writer.pending(), drops.load(Ordering::Relaxed)),
        (0, LAST as usize)
    );
}
