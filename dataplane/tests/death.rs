//! Workers that die by a bug: the others go on, and every frame is counted. A process each (one EAL a process): nextest.

mod common;

use common::*;
use dataplane::drops::Drop as Reason;
use dataplane::punt::Inject;
use dataplane::runtime::{InjectError, WorkerError};
use net::{IfaceId, PortId};
use std::sync::atomic::Ordering::SeqCst;

#[test]
fn a_dead_worker_does_not_take_the_others_along() {
    let mut lab = Lab::new(2, &[1, 1, 2]);
    let queues = |lab: &Lab, i: usize| lab.dp.port_info(lab.ids[i]).unwrap().queues;
    assert_ne!(queues(&lab, 0).rx, queues(&lab, 1).rx, "a worker each");
    let dead = queues(&lab, 0).rx[0];
    send(&lab.wires[0], 0, || lab.frame(DIE, PortId(0), &[]));
    eventually("death", || {
        (!lab.dp.worker_stats()[dead.index()].alive)
            .then_some(())
            .ok_or(String::new())
    });
    send(&lab.wires[1], 0, || lab.frame(DROP, PortId(0), &[]));
    eventually("the other at work", || {
        (lab.dp.totals().drops(Reason::NoRoute) == 1)
            .then_some(())
            .ok_or(format!("{:?}", lab.dp.totals()))
    });
    // Ports can still be closed, the dead one's too.
    lab.dp.close_port(lab.ids[0]).unwrap();
    lab.dp.close_port(lab.ids[2]).unwrap();
    assert_eq!(lab.dp.shutdown(), Err(WorkerError::Died { worker: dead }));
}

/// A lab of two workers with a port each, and the number of the worker of port 0, which can't send.
fn with_a_mortal() -> (Lab, usize) {
    let lab = Lab::new(2, &[1, 1]);
    let queues = |i: usize| lab.dp.port_info(lab.ids[i]).unwrap().queues;
    let mortal = queues(0).rx[0];
    assert!(queues(0).tx == [mortal] && queues(1).rx[0] != mortal);
    lab.wires[0].set_up(false);
    lab.toy.stall.store(true, SeqCst);
    (lab, mortal.index())
}

/// Lets it go, to its death.
fn let_die(lab: &mut Lab, mortal: usize) {
    lab.toy.stall.store(false, SeqCst);
    eventually("death", || {
        let s = &lab.dp.worker_stats()[mortal];
        (!s.alive).then_some(()).ok_or(format!("{s:?}"))
    });
}

fn received(lab: &Lab, n: u64) {
    eventually("frames received", || {
        let c = lab.dp.totals();
        (c.rx_packets == n).then_some(()).ok_or(format!("{c:?}"))
    });
}

/// Before and after the deadly frame in its burst, and waiting for a driver that takes none.
#[test]
fn what_a_worker_held_when_it_died_is_counted() {
    let (mut lab, mortal) = with_a_mortal();
    send(&lab.wires[0], 0, || lab.frame(STALL, lab.ids[0], &[]));
    received(&lab, 1);
    // While it is held: its next burst. Two are never taken out of it.
    for what in [FORWARD, PUNT, DOUBLE, FORWARD, DIE, FORWARD, FORWARD] {
        send(&lab.wires[0], 0, || lab.frame(what, lab.ids[0], &[]));
    }
    let_die(&mut lab, mortal);
    let c = lab.at_rest(1 + 5 + 1);
    assert_eq!((c.punted, c.tx_packets, c.created), (0, 0, 1), "{c:?}");
    assert_eq!(c.drops(Reason::WorkerDied), 6, "{c:?}");
    assert!(lab.dp.shutdown().is_err());
    assert_eq!(lab.pool.in_use(), 0);
}

/// In the rings from the control thread and from a peer when it dies, and later.
#[test]
fn what_comes_for_a_dead_worker_is_counted() {
    let (mut lab, mortal) = with_a_mortal();
    send(&lab.wires[0], 0, || lab.frame(DIE, lab.ids[0], &[]));
    received(&lab, 1);
    let mut bytes = vec![0u8; 60];
    bytes[0] = FORWARD;
    let iface = IfaceId(lab.ids[0].0);
    for _ in 0..5 {
        lab.dp.inject(Inject::Raw { iface }, &bytes).unwrap();
    }
    for _ in 0..7 {
        send(&lab.wires[1], 0, || lab.frame(FORWARD, lab.ids[0], &[]));
    }
    eventually("frames handed over", || {
        let s = &lab.dp.worker_stats()[1 - mortal];
        (s.handed_over == 7).then_some(()).ok_or(format!("{s:?}"))
    });
    let_die(&mut lab, mortal);
    let c = lab.at_rest(1 + 5 + 7);
    assert_eq!(c.drops(Reason::WorkerDied), 13, "{c:?}");
    for _ in 0..9 {
        send(&lab.wires[1], 0, || lab.frame(FORWARD, lab.ids[0], &[]));
        let refused = lab.dp.inject(Inject::Raw { iface }, &bytes);
        assert_eq!(refused, Err(InjectError::Died));
    }
    let c = lab.at_rest(13 + 9 + 9);
    assert_eq!(c.drops(Reason::WorkerDied), 31, "{c:?}");
    assert!(lab.dp.shutdown().is_err());
    let c = lab.dp.totals();
    assert_eq!(c.entered(), c.left(), "{c:?}");
}

/// Stages may count what they drop before they count what they received.
#[test]
fn what_left_a_dead_worker_had_come_in() {
    let mut lab = Lab::new(1, &[1]);
    send(&lab.wires[0], 0, || lab.frame(DIE_LATE, PortId(0), &[]));
    let c = lab.at_rest(2);
    assert_eq!((c.rx_packets, c.drops(Reason::NoRoute)), (2, 2), "{c:?}");
    assert!(lab.dp.shutdown().is_err());
}
