//! Workers on devices that tell of frames by interrupts, which memory ports play here: they are enabled before a sleep,
//! none is slept over, and one that does not come costs no more than a device without.

mod common;

use common::*;
use dataplane::port::{MemPort, WakesBy};
use std::time::{Duration, Instant};

/// One worker between two ports, of which those asked for have interrupts.
fn lab(interrupts: [bool; 2]) -> Lab {
    let mut lab = Lab::new(1, &[]);
    for i in interrupts {
        lab.plug(if i {
            MemPort::interrupting(1, 64)
        } else {
            MemPort::new(1, 64)
        });
    }
    lab.publish();
    lab
}

/// Sends a frame into that port, and waits for it to come out of the other. Returns how long that took.
fn through(lab: &Lab, from: usize) -> Duration {
    let to = 1 - from;
    let frame = lab.frame(FORWARD, lab.ids[to], &[]);
    let begin = Instant::now();
    assert!(lab.wires[from].send(0, frame));
    while lab.wires[to].recv(0).is_none() {
        assert!(begin.elapsed() < Duration::from_secs(10), "it is lost");
        std::thread::yield_now();
    }
    begin.elapsed()
}

/// Times of that many frames, one in 3 ms; in order of length.
fn times(lab: &Lab, from: usize, n: usize) -> Vec<Duration> {
    let time = |_| {
        std::thread::sleep(Duration::from_millis(3));
        through(lab, from)
    };
    let mut times: Vec<_> = (0..n).map(time).collect();
    times.sort();
    times
}

/// How often the worker sleeps within 0.3 s in which nothing comes.
fn sleeps(lab: &mut Lab) -> u64 {
    let mut count = || lab.dp.worker_stats()[0].sleeps;
    let before = count();
    std::thread::sleep(Duration::from_millis(300));
    count() - before
}

/// It looks by time. Once is enough: a machine that is busy lets it sleep less often.
fn looks(lab: &mut Lab) {
    eventually("looking by time", || {
        let n = sleeps(lab);
        (n > 100)
            .then_some(())
            .ok_or(format!("{n} sleeps in 0.3 s"))
    });
}

/// It waits to be woken.
fn waits(lab: &mut Lab) {
    std::thread::sleep(Duration::from_millis(1));
    let n = sleeps(lab);
    assert!(n < 60, "{n} sleeps in 0.3 s");
}

fn wakes_by(lab: &mut Lab, i: usize) -> WakesBy {
    let id = lab.ids[i];
    lab.dp.port_mut(id).unwrap().wakes_by()
}

/// Lets the first interrupt of each port come.
fn see(lab: &mut Lab) {
    for i in 0..2 {
        eventually("an interrupt", || {
            std::thread::sleep(Duration::from_millis(1)); // let it sleep again
            through(lab, i);
            (wakes_by(lab, i) == WakesBy::Interrupt)
                .then_some(())
                .ok_or(String::new())
        });
    }
}

#[test]
fn interrupts_end_sleeps_once_they_were_seen() {
    let mut lab = lab([true, true]);
    for i in 0..2 {
        assert_eq!(wakes_by(&mut lab, i), WakesBy::InterruptUnseen);
    }
    looks(&mut lab);
    see(&mut lab);
    waits(&mut lab);
    let times = times(&lab, 0, 100);
    println!("{:?} (median), {:?} (worst)", times[50], times[99]);
    assert!(times[50] < Duration::from_millis(20), "{times:?}");
    lab.dp.shutdown().unwrap();
    assert_eq!(lab.dp.totals().entered(), lab.dp.totals().left());
}

/// A frame that comes after the worker's last look and before the interrupt is enabled makes none.
#[test]
fn no_frame_is_slept_over() {
    let mut lab = lab([true, true]);
    see(&mut lab);
    let time = |_| {
        let frame = lab.frame(FORWARD, lab.ids[1], &[]);
        assert!(lab.wires[0].send_before_interrupt(0, frame));
        let begin = Instant::now();
        eventually("the frame", || {
            let out = lab.wires[1].recv(0);
            out.map(|_| begin.elapsed()).ok_or(String::new())
        })
    };
    let mut times: Vec<_> = (0..20).map(time).collect();
    times.sort();
    // It is sent when the worker goes to sleep, which is within 50 ms; slept over, it comes out 50 ms after that.
    println!("{times:?}");
    assert!(times[10] < Duration::from_millis(20), "{times:?}");
}

#[test]
fn interrupts_that_never_come_are_not_waited_for() {
    let mut lab = lab([true, true]);
    for w in &lab.wires {
        w.set_interrupts(false);
    }
    let t = times(&lab, 0, 50);
    assert!(t[25] < Duration::from_millis(20), "{t:?}");
    assert_eq!(wakes_by(&mut lab, 0), WakesBy::InterruptUnseen);
    looks(&mut lab);
}

#[test]
fn interrupts_that_come_no_more_are_waited_for_a_few_times() {
    let mut lab = lab([true, true]);
    see(&mut lab);
    lab.wires[0].set_interrupts(false);
    let slow = times(&lab, 0, 30);
    let late = slow.iter().filter(|&&t| t > Duration::from_millis(1));
    println!("{} of 30 were late", late.count());
    let t = times(&lab, 0, 50);
    assert!(t[25] < Duration::from_millis(20), "{t:?}");
    looks(&mut lab);
    // The other port's are as good as ever.
    let t = times(&lab, 1, 50);
    assert!(t[25] < Duration::from_millis(20), "{t:?}");
}

#[test]
fn a_port_without_interrupts_is_looked_at_beside_one_that_has_them() {
    let mut lab = lab([true, false]);
    assert_eq!(wakes_by(&mut lab, 1), WakesBy::Looking);
    for from in [0, 1] {
        let t = times(&lab, from, 50);
        assert!(t[25] < Duration::from_millis(20), "{t:?}");
    }
    assert_eq!(wakes_by(&mut lab, 0), WakesBy::Interrupt, "never enabled");
    looks(&mut lab);
    // Without that port, the other's interrupts are enough.
    lab.dp.publish_interfaces(table(&lab.ids[..1])).unwrap();
    waits(&mut lab);
}

#[test]
fn ports_come_and_go_while_the_worker_sleeps() {
    let mut lab = lab([true, true]);
    see(&mut lab);
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1)); // asleep
        lab.dp.publish_interfaces(table(&lab.ids[..1])).unwrap();
        std::thread::sleep(Duration::from_millis(1));
        lab.publish();
        std::thread::sleep(Duration::from_millis(1));
        for from in [0, 1] {
            through(&lab, from);
        }
    }
    std::thread::sleep(Duration::from_millis(1));
    lab.dp.publish_interfaces(table(&[])).unwrap();
    for id in lab.dp.open_ports() {
        lab.dp.close_port(id).unwrap();
    }
    waits(&mut lab);
    assert_eq!(lab.pool.in_use(), 0);
}
