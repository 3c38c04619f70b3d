//! The runtime over ports in memory: the counting law on every way through it, hand-over between workers, ports that come
//! and go, rings that are full, workers that hang or die. Each test is a process of its own (one EAL a process): nextest.

mod common;

use common::*;
use dataplane::drops::Drop as Reason;
use dataplane::punt::{Inject, PuntReason};
use dataplane::runtime::{
    CloseError, HANDOVER_RING, INJECT_RING, InjectError, PUNT_RING, WorkerError,
};
use dataplane::worker::idle::Poll;
use net::{IfaceId, PortId, WorkerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

#[test]
fn every_way_through_obeys_the_law() {
    let mut lab = Lab::new(1, &[1, 1]);
    let (a, b) = (lab.ids[0], lab.ids[1]);
    for i in 0..200u8 {
        for what in [FORWARD, PUNT, DROP, DOUBLE] {
            send(&lab.wires[0], 0, || lab.frame(what, b, &[i]));
        }
    }
    let mut sent = vec![];
    eventually("600 frames out", || {
        while let Some(m) = lab.wires[1].recv(0) {
            sent.push((m.data()[0], m.data()[2]));
        }
        (sent.len() == 600)
            .then_some(())
            .ok_or(format!("{}", sent.len()))
    });
    let c = lab.at_rest(1000); // 800 received, 200 created
    assert_eq!(
        (c.rx_packets, c.created, c.tx_packets, c.punted),
        (800, 200, 600, 200)
    );
    assert_eq!((c.rx_bytes, c.tx_bytes), (800 * 60, 600 * 60));
    assert_eq!(c.reasons().collect::<Vec<_>>(), [(Reason::NoRoute, 200)]);
    // Order is kept.
    let forwarded: Vec<u8> = sent
        .iter()
        .filter(|s| s.0 == FORWARD)
        .map(|s| s.1)
        .collect();
    assert_eq!(forwarded, (0..200).collect::<Vec<u8>>());

    // Per interface: rx where it came in, tx where it left.
    let per: BTreeMap<_, _> = lab.dp.counters().into_iter().collect();
    assert_eq!(
        (per[&IfaceId(a.0)].rx_packets, per[&IfaceId(a.0)].tx_packets),
        (800, 0)
    );
    assert_eq!(
        (per[&IfaceId(b.0)].rx_packets, per[&IfaceId(b.0)].tx_packets),
        (0, 600)
    );

    // What was punted arrives whole, and half of it is given up.
    let mut punted = 0;
    let mut give_up = vec![];
    while lab.dp.punts(64, |p| {
        assert_eq!(
            (p.reason, p.iface, p.frame.data()[0]),
            (PuntReason::Local, IfaceId(a.0), PUNT)
        );
        punted += 1;
        if punted % 2 == 0 {
            give_up.push(p.iface);
        }
    }) > 0
    {}
    assert_eq!(punted, 200);
    give_up
        .iter()
        .for_each(|&i| lab.dp.count_given_up(i, Reason::Unresolved));
    let c = lab.at_rest(1100);
    assert_eq!((c.injected, c.drops(Reason::Unresolved)), (100, 100));

    // An id that is given to another interface begins at zero; the totals remember.
    lab.dp.reset_counts(IfaceId(a.0));
    assert_eq!(lab.dp.counts(IfaceId(a.0)).entered(), 0);
    lab.at_rest(1100);
    lab.dp.shutdown().unwrap();
    lab.at_rest(1100);
    drop(sent);
    assert_eq!(lab.pool.in_use(), 0, "every frame was given back");
}

#[test]
fn a_worker_without_a_tx_queue_hands_over() {
    let mut lab = Lab::new(2, &[2]);
    lab.add(1, 8192); // room for all, however slow this thread is
    lab.publish();
    let b = lab.ids[1];
    let info = lab.dp.port_info(lab.ids[0]).unwrap();
    assert_eq!(info.queues.rx, [WorkerId(0), WorkerId(1)]);
    let out = lab.dp.port_info(b).unwrap().queues;
    assert_eq!(out.tx.len(), 1);
    let far = 1 - out.tx[0].index();
    assert_eq!(out.via[far], out.tx[0]);

    let total = 4000u32;
    let mut seen = [Vec::new(), Vec::new()];
    for i in 0..total / 2 {
        for q in 0..2 {
            let mut rest = vec![q as u8];
            rest.extend(i.to_be_bytes());
            send(&lab.wires[0], q, || lab.frame(FORWARD, b, &rest));
        }
        while let Some(m) = lab.wires[1].recv(0) {
            seen[usize::from(m.data()[2])]
                .push(u32::from_be_bytes(m.data()[3..7].try_into().unwrap()));
        }
    }
    eventually("all frames out", || {
        while let Some(m) = lab.wires[1].recv(0) {
            seen[usize::from(m.data()[2])]
                .push(u32::from_be_bytes(m.data()[3..7].try_into().unwrap()));
        }
        (seen.iter().map(Vec::len).sum::<usize>() == total as usize)
            .then_some(())
            .ok_or_else(|| format!("{:?}", lab.dp.totals()))
    });
    for s in &seen {
        assert!(
            s.is_sorted(),
            "the frames of a queue keep their order over the ring"
        );
    }
    let c = lab.at_rest(total.into());
    assert_eq!((c.tx_packets, c.dropped()), (total.into(), 0));
    let stats = lab.dp.worker_stats();
    assert_eq!(stats[far].handed_over, u64::from(total) / 2);
    assert_eq!(
        stats.iter().map(|s| s.packets).sum::<u64>(),
        u64::from(total)
    );
    assert!(
        stats
            .iter()
            .all(|s| s.alive && s.bursts > 0 && s.cycles_per_packet > 0.0)
    );
    lab.dp.shutdown().unwrap();
    assert_eq!(lab.pool.in_use(), 0);
}

/// Frames go from port 0 to port 1 while a third port comes and goes; not one of them may be missing.
fn churn(workers: usize, queues: &[u16], third: u16) {
    let mut lab = Lab::new(workers, queues);
    let (b, pool) = (lab.ids[1], lab.pool.clone());
    let (stop, sent, to_third) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(255)),
    );
    let feeder = {
        let (stop, sent, to_third) = (stop.clone(), sent.clone(), to_third.clone());
        let (from, to, n) = (lab.wires[0].clone(), lab.wires[1].clone(), queues[1]);
        std::thread::spawn(move || {
            let (mut forwarded, mut received, mut i) = (0u64, 0u64, 0u16);
            let take = move || {
                (0..n)
                    .map(|q| std::iter::from_fn(|| to.recv(q)).count() as u64)
                    .sum::<u64>()
            };
            while !stop.load(SeqCst) {
                // Not more under way than the wires hold, so that nothing is lost outside the router.
                while !stop.load(SeqCst) && forwarded.saturating_sub(received) > 512 {
                    received += take();
                    std::thread::yield_now();
                }
                let third = PortId(to_third.load(SeqCst) as u16);
                for port in [b, third] {
                    send(&from, i % 2, || frame(&pool, FORWARD, port, &[]));
                    sent.fetch_add(1, SeqCst);
                }
                forwarded += 1;
                i = i.wrapping_add(1);
            }
            (forwarded, received + take())
        })
    };
    let mut into_third = 0;
    for _ in 0..20 {
        let before = sent.load(SeqCst);
        let i = lab.add(third, 512);
        let (id, wire) = (lab.ids[i], lab.wires[i].clone());
        lab.publish();
        to_third.store(id.0.into(), SeqCst);
        send(&wire, 0, || lab.frame(FORWARD, b, b"from the third port"));
        into_third += 1;
        eventually("traffic over the third port", || {
            let frames = (0..third)
                .map(|q| std::iter::from_fn(|| wire.recv(q)).count())
                .sum::<usize>();
            (frames > 0 && sent.load(SeqCst) > before + 200)
                .then_some(())
                .ok_or(format!("{:?}", lab.dp.totals()))
        });
        // Everything received before the port goes; its frames still under way to it do not matter.
        eventually("the third port's own frame taken", || {
            let c = lab.dp.counts(IfaceId(id.0));
            (c.rx_packets == 1).then_some(()).ok_or(format!("{c:?}"))
        });
        lab.dp.publish_interfaces(table(&lab.ids[..2])).unwrap();
        lab.dp.close_port(id).unwrap();
        assert!(lab.dp.port_info(id).is_none());
        (0..third).for_each(|q| while wire.recv(q).is_some() {});
    }
    stop.store(true, SeqCst);
    let (forwarded, mut received) = feeder.join().unwrap();
    eventually("the last frames", || {
        let take = |q| std::iter::from_fn(|| lab.wires[1].recv(q)).count() as u64;
        received += (0..queues[1]).map(take).sum::<u64>();
        let all = received >= forwarded + into_third;
        all.then_some(())
            .ok_or_else(|| format!("{received} of {forwarded} + {into_third}"))
    });
    assert_eq!(received, forwarded + into_third, "a frame came twice");
    let c = lab.at_rest(sent.load(SeqCst) + into_third);
    assert_eq!(
        c.tx_packets
            + c.drops(Reason::PortRemoved)
            + c.drops(Reason::HandoverFull)
            + c.drops(Reason::NoTxRoom),
        c.rx_packets
    );
    assert!(
        c.drops(Reason::PortRemoved) > 0,
        "frames were under way to it each time"
    );
    assert_eq!(
        lab.dp.counts(IfaceId(b.0)).tx_packets,
        forwarded + into_third
    );
    assert_eq!(lab.dp.counts(IfaceId(b.0)).dropped(), 0);
    lab.dp.shutdown().unwrap();
    lab.wires.clear();
    assert_eq!(lab.pool.in_use(), 0);
}

#[test]
fn ports_come_and_go_without_loss_on_the_others() {
    churn(2, &[2, 2], 2);
}

#[test]
fn ports_with_one_queue_come_and_go_without_loss_on_the_others() {
    churn(2, &[2, 1], 1);
}

#[test]
fn a_port_is_polled_only_with_an_interface() {
    let mut lab = Lab::new(1, &[1, 1]);
    let b = lab.ids[1];
    lab.dp.publish_interfaces(table(&[b])).unwrap();
    assert!(lab.dp.worker_stats()[0].queues.iter().all(|q| q.port == b));
    send(&lab.wires[0], 0, || lab.frame(FORWARD, b, &[]));
    send(&lab.wires[1], 0, || lab.frame(DROP, b, &[]));
    lab.at_rest(1);
    std::thread::sleep(Duration::from_millis(20));
    lab.at_rest(1);
    lab.publish();
    assert_eq!(lab.at_rest(2).tx_packets, 1);
    assert_eq!(lab.dp.worker_stats()[0].queues.len(), 2);
}

#[test]
fn forwarding_does_not_need_the_control_thread() {
    let lab = Lab::new(2, &[2, 1]);
    let (from, to, b, pool) = (
        lab.wires[0].clone(),
        lab.wires[1].clone(),
        lab.ids[1],
        lab.pool.clone(),
    );
    // From here on, for a second, this thread does nothing with the data plane: nobody takes punts, reclaims, polls.
    let t = std::thread::spawn(move || {
        let (begin, mut received) = (Instant::now(), 0u64);
        let mut sent = 0u64;
        while begin.elapsed() < Duration::from_secs(1) || received < sent {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{received} of {sent}"
            );
            if begin.elapsed() < Duration::from_secs(1) && sent - received < 500 {
                send(&from, (sent % 2) as u16, || frame(&pool, FORWARD, b, &[]));
                sent += 1;
            }
            while to.recv(0).is_some() {
                received += 1;
            }
        }
        sent
    });
    let sent = t.join().unwrap();
    assert!(sent > 1000, "only {sent} in a second");
    let c = lab.at_rest(sent);
    assert_eq!(c.tx_packets, sent);
}

#[test]
fn a_full_punt_ring_is_counted() {
    let mut lab = Lab::new(1, &[1]);
    let n = PUNT_RING as u64 + 500;
    for _ in 0..n {
        send(&lab.wires[0], 0, || lab.frame(PUNT, PortId(0), &[]));
    }
    let c = lab.at_rest(n);
    assert_eq!(
        (c.punted, c.drops(Reason::PuntFull)),
        (PUNT_RING as u64, 500)
    );
    let mut got = 0;
    while lab.dp.punts(1000, |_| got += 1) > 0 {}
    assert_eq!(got, PUNT_RING);
    // There is room again.
    send(&lab.wires[0], 0, || lab.frame(PUNT, PortId(0), &[]));
    assert_eq!(lab.at_rest(n + 1).punted, PUNT_RING as u64 + 1);
    // Left in the ring at the end: punted it was, and is given back.
    lab.dp.shutdown().unwrap();
    lab.at_rest(n + 1);
    let pool = lab.pool.clone();
    assert_eq!(pool.in_use(), 1);
    lab.dp.punts(10, drop);
    assert_eq!(pool.in_use(), 0);
}

/// Two workers and a port with one TX queue, whose owner is stuck, and `n` frames for that port on the other worker.
fn behind_a_stuck_owner(n: u64) -> Lab {
    let mut lab = Lab::new(2, &[2]);
    lab.add(1, 4096);
    lab.publish();
    let b = lab.ids[1];
    let owner = lab.dp.port_info(b).unwrap().queues.tx[0].index() as u16;
    lab.toy.stall.store(true, SeqCst);
    send(&lab.wires[0], owner, || lab.frame(STALL, b, &[]));
    eventually("the owner in the stall", || {
        let c = lab.dp.totals();
        (c.rx_packets == 1).then_some(()).ok_or(format!("{c:?}"))
    });
    for _ in 0..n {
        send(&lab.wires[0], 1 - owner, || lab.frame(FORWARD, b, &[]));
    }
    eventually("the frames on the ring, or dropped", || {
        let c = lab.dp.totals();
        let on_ring = lab.dp.worker_stats()[1 - usize::from(owner)].handed_over;
        (on_ring + c.dropped() == n)
            .then_some(())
            .ok_or(format!("{on_ring} {c:?}"))
    });
    lab
}

#[test]
fn a_full_hand_over_ring_is_counted() {
    let n = HANDOVER_RING as u64 + 300;
    let lab = behind_a_stuck_owner(n);
    assert_eq!(lab.dp.totals().drops(Reason::HandoverFull), 300);
    lab.toy.stall.store(false, SeqCst);
    assert_eq!(lab.at_rest(n + 1).tx_packets, HANDOVER_RING as u64);
}

#[test]
fn punting_wakes_the_control_thread() {
    let mut lab = Lab::new(1, &[1]);
    for _ in 0..5 {
        send(&lab.wires[0], 0, || lab.frame(PUNT, PortId(0), &[]));
        let mut fd = libc::pollfd {
            fd: std::os::fd::AsRawFd::as_raw_fd(&lab.dp.wake_fd()),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd, alive over the call.
        let n = unsafe { libc::poll(&raw mut fd, 1, 10_000) };
        assert_eq!(n, 1, "the bell was not rung");
        assert_eq!(lab.dp.punts(10, drop), 1);
        // SAFETY: as above.
        let n = unsafe { libc::poll(&raw mut fd, 1, 0) };
        assert_eq!(n, 0, "and is silent again");
    }
}

#[test]
fn injected_frames_leave_and_are_counted() {
    let mut lab = Lab::new(2, &[2, 1]);
    let b = lab.ids[1];
    let mut bytes = vec![0u8; 60];
    (bytes[0], bytes[1]) = (FORWARD, b.0 as u8);
    for i in 0..100u16 {
        bytes[2] = i as u8;
        lab.dp
            .inject(
                Inject::Raw {
                    iface: IfaceId(b.0),
                },
                &bytes,
            )
            .unwrap();
    }
    let mut got = vec![];
    eventually("100 frames", || {
        got.extend(std::iter::from_fn(|| lab.wires[1].recv(0)).map(|m| m.data()[2]));
        (got.len() == 100)
            .then_some(())
            .ok_or(format!("{}", got.len()))
    });
    assert!(got.is_sorted());
    let c = lab.at_rest(100);
    assert_eq!((c.injected, c.tx_packets), (100, 100));
    assert_eq!(
        lab.dp
            .worker_stats()
            .iter()
            .map(|s| s.handed_over)
            .sum::<u64>(),
        0,
        "straight to the owner"
    );
    // Too long for any frame: refused, and counted.
    assert_eq!(
        lab.dp.inject(
            Inject::Raw {
                iface: IfaceId(b.0)
            },
            &[0; 3000]
        ),
        Err(InjectError::TooLong)
    );
    assert_eq!(lab.at_rest(101).drops(Reason::Giant), 1);
}

#[test]
fn a_full_inject_ring_is_counted() {
    let mut lab = Lab::new(1, &[1, 1]);
    let b = lab.ids[1];
    lab.toy.stall.store(true, SeqCst);
    send(&lab.wires[0], 0, || lab.frame(STALL, b, &[]));
    eventually("the worker in the stall", || {
        (lab.dp.totals().rx_packets == 1)
            .then_some(())
            .ok_or(String::new())
    });
    let mut bytes = vec![0u8; 60];
    bytes[0] = DROP;
    let n = INJECT_RING as u64 + 100;
    let what = Inject::Raw {
        iface: IfaceId(b.0),
    };
    let full = (0..n)
        .filter(|_| lab.dp.inject(what, &bytes) == Err(InjectError::Full))
        .count();
    assert_eq!(full, 100);
    lab.toy.stall.store(false, SeqCst);
    let c = lab.at_rest(n + 1);
    assert_eq!((c.injected, c.drops(Reason::InjectFull)), (n, 100));
}

#[test]
fn a_link_that_is_down_holds_nothing_up() {
    let mut lab = Lab::new(2, &[2, 2, 1]);
    let (b, c) = (lab.ids[1], lab.ids[2]);
    lab.wires[1].set_up(false);
    for i in 0..300 {
        send(&lab.wires[0], i % 2, || lab.frame(FORWARD, b, &[]));
        send(&lab.wires[0], i % 2, || lab.frame(FORWARD, c, &[]));
    }
    // All that was for the dead link is dropped by itself, with no further frame to push it.
    let t = lab.at_rest(600);
    assert_eq!((t.tx_packets, t.drops(Reason::NoTxRoom)), (300, 300));
    assert_eq!(lab.dp.counts(IfaceId(b.0)).drops(Reason::NoTxRoom), 300);
    // And it comes back.
    lab.wires[1].set_up(true);
    send(&lab.wires[0], 0, || lab.frame(FORWARD, b, &[]));
    assert_eq!(lab.at_rest(601).tx_packets, 301);
    // Closed while frames wait for it.
    lab.wires[1].set_up(false);
    for _ in 0..50 {
        send(&lab.wires[0], 0, || lab.frame(FORWARD, b, &[]));
    }
    eventually("50 taken", || {
        (lab.dp.totals().rx_packets == 651)
            .then_some(())
            .ok_or(String::new())
    });
    lab.dp.close_port(b).unwrap();
    let t = lab.at_rest(651);
    assert_eq!(
        t.drops(Reason::NoTxRoom) + t.drops(Reason::PortRemoved),
        350
    );
}

#[test]
fn a_dead_link_does_not_keep_another_port_from_closing() {
    let mut lab = Lab::new(1, &[1, 1, 1]);
    let (b, c) = (lab.ids[1], lab.ids[2]);
    lab.wires[1].set_up(false);
    // Frames wait for the dead link at any time.
    let (stop, from, pool) = (
        Arc::new(AtomicBool::new(false)),
        lab.wires[0].clone(),
        lab.pool.clone(),
    );
    let flag = stop.clone();
    let feeder = std::thread::spawn(move || {
        while !flag.load(SeqCst) {
            let _ = from.send(0, frame(&pool, FORWARD, b, &[]));
        }
    });
    eventually("frames for the dead link", || {
        let c = lab.dp.totals();
        (c.drops(Reason::NoTxRoom) > 100)
            .then_some(())
            .ok_or(format!("{c:?}"))
    });
    lab.dp.close_port(c).unwrap();
    lab.dp.close_port(b).unwrap();
    stop.store(true, SeqCst);
    feeder.join().unwrap();
    lab.dp.shutdown().unwrap();
    let c = lab.dp.totals();
    assert_eq!(c.entered(), c.left(), "{c:?}");
}

#[test]
fn frames_for_a_port_that_is_not_there_are_dropped_by_name() {
    let lab = Lab::new(1, &[1]);
    for port in [1, 200, 255] {
        send(&lab.wires[0], 0, || lab.frame(FORWARD, PortId(port), &[]));
    }
    assert_eq!(lab.at_rest(3).drops(Reason::PortRemoved), 3);
}

#[test]
fn shutdown_under_load_counts_every_frame() {
    let mut lab = Lab::new(2, &[2, 1]);
    let (from, to, b, pool) = (
        lab.wires[0].clone(),
        lab.wires[1].clone(),
        lab.ids[1],
        lab.pool.clone(),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let feeder = std::thread::spawn(move || {
        let mut i = 0;
        while !flag.load(SeqCst) {
            for what in [FORWARD, PUNT, DOUBLE, DROP] {
                let _ = from.send(i, frame(&pool, what, b, &[]));
            }
            i ^= 1;
            while to.recv(0).is_some() {}
        }
    });
    eventually("traffic", || {
        (lab.dp.totals().tx_packets > 1000)
            .then_some(())
            .ok_or(String::new())
    });
    let mut bytes = vec![0u8; 60];
    (bytes[0], bytes[1]) = (FORWARD, b.0 as u8);
    for _ in 0..300 {
        let _ = lab.dp.inject(
            Inject::Raw {
                iface: IfaceId(b.0),
            },
            &bytes,
        );
    }
    lab.dp.shutdown().unwrap();
    let c = lab.dp.totals();
    assert_eq!(c.entered(), c.left(), "{c:?}");
    assert!(c.injected == 300 && c.created > 0 && c.punted > 0);
    stop.store(true, SeqCst);
    feeder.join().unwrap();
    assert_eq!(lab.dp.totals(), c, "nothing moves any more");
    lab.dp.shutdown().unwrap();
}

#[test]
fn what_was_injected_last_is_counted_at_shutdown() {
    let mut lab = Lab::new(1, &[]);
    let what = Inject::Raw { iface: IfaceId(5) };
    lab.toy.stall.store(true, SeqCst);
    let mut bytes = vec![0u8; 60];
    bytes[0] = STALL;
    for _ in 0..500 {
        lab.dp.inject(what, &bytes).unwrap();
    }
    let stall = lab.toy.stall.clone();
    let release = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        stall.store(false, SeqCst);
    });
    lab.dp.shutdown().unwrap();
    release.join().unwrap();
    let c = lab.at_rest(500);
    assert!(c.drops(Reason::Shutdown) > 400, "{c:?}");
    assert_eq!((c.injected, lab.pool.in_use()), (500, 0));
}

#[test]
fn a_worker_that_hangs_is_reported_and_hangs_nobody() {
    let mut lab = Lab::new(1, &[1, 1]);
    let (a, b) = (lab.ids[0], lab.ids[1]);
    lab.toy.stall.store(true, SeqCst);
    send(&lab.wires[0], 0, || lab.frame(STALL, b, &[]));
    eventually("the worker in the stall", || {
        (lab.dp.totals().rx_packets == 1)
            .then_some(())
            .ok_or(String::new())
    });
    let begin = Instant::now();
    let stalled = WorkerError::Stalled {
        worker: WorkerId(0),
    };
    assert!(matches!(lab.dp.close_port(b), Err(CloseError::Worker(e)) if e == stalled));
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(lab.dp.port_info(b).is_some(), "still open");
    // What it might look at is not freed meanwhile, and the watchdog knows who it is. Time is passed in.
    let mut dog = dataplane::Watchdog::new(Duration::from_secs(2));
    let path = fib::Path::to(fib::Target::Discard(fib::Discard::Blackhole));
    let group = lab.dp.fib().add_group(&[(path, 1)]).unwrap();
    lab.dp.fib().remove_group(group).unwrap();
    lab.dp.fib().flush();
    assert!(lab.dp.fib().pending() > 0 && lab.dp.fib().pending_bytes() >= 64);
    dog.observe(begin, &lab.dp.rcu_status());
    let stalls = dog.observe(begin + Duration::from_secs(2), &lab.dp.rcu_status());
    let names: Vec<_> = stalls.began.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["worker-0"]);
    // It comes to: closing works after all, and the law holds.
    lab.toy.stall.store(false, SeqCst);
    eventually("the port closed", || {
        lab.dp.close_port(b).map_err(|e| e.to_string())
    });
    assert!(matches!(lab.dp.close_port(b), Err(CloseError::Unknown(p)) if p == b));
    lab.at_rest(1);
    eventually("all is freed", || {
        lab.dp.fib().flush();
        let left = (lab.dp.fib().pending(), lab.dp.fib().pending_bytes());
        (left == (0, 0)).then_some(()).ok_or(format!("{left:?}"))
    });
    let stalls = dog.observe(begin + Duration::from_secs(3), &lab.dp.rcu_status());
    assert_eq!((stalls.began.len(), stalls.ended.len()), (0, 1));
    // It hangs for good: the end comes all the same.
    lab.toy.stall.store(true, SeqCst);
    send(&lab.wires[0], 0, || lab.frame(STALL, a, &[]));
    eventually("the worker in the stall", || {
        (lab.dp.totals().rx_packets == 2)
            .then_some(())
            .ok_or(String::new())
    });
    let begin = Instant::now();
    assert_eq!(lab.dp.shutdown(), Err(stalled));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn idle_workers_sleep_and_busy_ones_do_not() {
    let mut lab = Lab::new(1, &[1]);
    std::thread::sleep(Duration::from_millis(50));
    eventually("sleep", || {
        let s = &lab.dp.worker_stats()[0];
        (s.sleeps > 10).then_some(()).ok_or(format!("{s:?}"))
    });
    // A sleeping worker holds nothing back, and takes a frame soon.
    send(&lab.wires[0], 0, || lab.frame(DROP, PortId(0), &[]));
    lab.at_rest(1);
    assert_eq!(lab.dp.worker_stats()[0].rcu_lag, 0);
}

#[test]
fn busy_workers_never_sleep() {
    let mut lab = Lab::with(config(1, Poll::Busy), &[1]);
    send(&lab.wires[0], 0, || lab.frame(PUNT, PortId(0), &[]));
    lab.at_rest(1);
    std::thread::sleep(Duration::from_millis(50));
    let s = &lab.dp.worker_stats()[0];
    assert!(s.sleeps == 0 && s.wakes == 0 && s.loops > 1000, "{s:?}");
    assert!(s.rcu_lag <= 1);
}

#[test]
fn a_worker_on_a_cpu_that_is_not_there_is_refused() {
    let mut c = config(2, Poll::Adaptive);
    c.workers[1] = 4000;
    let e = dataplane::Dataplane::start_with(&c, |_| Toy::default())
        .err()
        .expect("refused")
        .to_string();
    assert!(
        e.contains("worker 1") && e.contains("CPU 4000") && e.contains("workers"),
        "{e}"
    );
}

#[test]
fn it_starts_and_stops_again_and_again() {
    // One EAL a process: so processes.
    const INNER: &str = "TRUNKLINE_TEST_INNER";
    if std::env::var_os(INNER).is_some() {
        let mut lab = Lab::new(2, &[2, 1]);
        let b = lab.ids[1];
        send(&lab.wires[0], 0, || lab.frame(FORWARD, b, &[]));
        assert_eq!(lab.at_rest(1).tx_packets, 1);
        lab.dp.shutdown().unwrap();
        return;
    }
    for _ in 0..5 {
        let begin = Instant::now();
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "it_starts_and_stops_again_and_again"])
            .env(INNER, "1")
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stdout)
        );
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}
