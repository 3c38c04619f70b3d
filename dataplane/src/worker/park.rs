//! Sleeping and being woken: eventfd(2), ppoll(2), prctl(2) PR_SET_TIMERSLACK.
//!
//! Two kinds of bell. A worker's own ends its sleep early when the control thread has a command or a frame for it. The
//! control thread's is rung by workers that have punted, never while they have frames to forward.

use crate::eventfd::EventFd;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// What ended a sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A queue is readable.
    Queue,
    /// Somebody rang, or there was something to do already, or a signal came.
    Called,
    /// It was long enough.
    Time,
}

/// Where a worker sleeps.
#[derive(Debug)]
pub(crate) struct Bed {
    bell: EventFd,
    asleep: AtomicBool,
    dead: AtomicBool,
}

impl Bed {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            bell: EventFd::new()?,
            asleep: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        })
    }

    /// Its worker died, and takes nothing any more.
    pub(crate) fn bury(&self) {
        // Relaxed, and no partner: who looks too early fills a ring that nobody empties, and so it waits a little.
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Has its worker died?
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        // Relaxed, and no partner: as in `bury`.
        self.dead.load(Ordering::Relaxed)
    }

    /// Sleeps up to `ns`, or until one of `queues` is readable, unless `nothing_to_do` says no: it is asked after the flag
    /// that [`wake`](Self::wake) looks at is up, so whoever fills a ring and then wakes can't slip in between unnoticed.
    pub(crate) fn sleep(
        &self,
        queues: &mut WaitSet,
        ns: u64,
        nothing_to_do: impl FnOnce() -> bool,
    ) -> End {
        // Relaxed, made SeqCst by the fence, which pairs with the one in `wake`: either that sees the flag, or
        // `nothing_to_do` sees what was put into a ring before it.
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let end = if nothing_to_do() {
            queues.wait(&self.bell, ns)
        } else {
            End::Called
        };
        // AcqRel: pairs with the swap in `wake`. Down already: somebody rings, so the bell is to be cleared. He may do so
        // after that, having found the flag up before; then the next sleep is the one that finds the bell to clear.
        if !self.asleep.swap(false, Ordering::AcqRel) || end == End::Called {
            self.bell.clear();
        }
        end
    }

    /// Ends the sleep, if there is one. Costs a system call only then, otherwise a fence.
    #[inline]
    pub(crate) fn wake(&self) {
        // SeqCst: pairs with the fence in `sleep`.
        fence(Ordering::SeqCst);
        // AcqRel: pairs with the swap in `sleep`; of several who wake, one rings.
        if self.looks_asleep() && self.asleep.swap(false, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    /// Is it asleep? A hint: it may have changed by the time of the answer.
    #[inline]
    pub(crate) fn looks_asleep(&self) -> bool {
        // Relaxed, and no partner: a hint orders nothing.
        self.asleep.load(Ordering::Relaxed)
    }
}

/// The descriptors of a worker's RX queues, after its bell.
#[derive(Debug, Default)]
pub(crate) struct WaitSet(Vec<libc::pollfd>);

impl WaitSet {
    /// The queues are these from now on.
    pub(crate) fn set(&mut self, queues: impl Iterator<Item = RawFd>) {
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        self.0.clear();
        self.0.push(entry(-1));
        self.0.extend(queues.map(entry));
    }

    /// Waits until the bell is rung, a queue is readable, or `ns` nanoseconds have passed.
    fn wait(&mut self, bell: &EventFd, ns: u64) -> End {
        if self.0.is_empty() {
            self.set(std::iter::empty());
        }
        self.0[0].fd = bell.as_raw_fd();
        let time = libc::timespec {
            tv_sec: (ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        };
        let n = self.0.len() as libc::nfds_t;
        // SAFETY: `n` pollfds and one timespec, all alive over the call; no signal mask. A descriptor that was closed
        // meanwhile is reported as such (POLLNVAL), or not looked at when it is -1.
        let ready =
            unsafe { libc::ppoll(self.0.as_mut_ptr(), n, &raw const time, std::ptr::null()) };
        match ready {
            0 => End::Time,
            1.. if self.0[1..].iter().any(|q| q.revents != 0) => End::Queue,
            _ => End::Called,
        }
    }
}

/// The control thread's bell, shared by all workers.
#[derive(Debug)]
pub(crate) struct ControlBell {
    bell: EventFd,
    rung: AtomicBool,
}

impl ControlBell {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            bell: EventFd::new()?,
            rung: AtomicBool::new(false),
        })
    }

    /// Wakes the control thread, unless it has been woken and has not looked yet. True when that took a system call.
    pub(crate) fn ring(&self) -> bool {
        // AcqRel: pairs with the swap in `clear`: either this finds the flag down and rings, or `clear` comes later and
        // sees the frames that were put into the punt ring before.
        let first = !self.rung.swap(true, Ordering::AcqRel);
        if first {
            self.bell.ring();
        }
        first
    }

    /// To be called before looking at the punt rings.
    pub(crate) fn clear(&self) {
        self.bell.clear();
        // AcqRel: pairs with the swap in `ring`.
        self.rung.swap(false, Ordering::AcqRel);
    }
}

impl AsFd for ControlBell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// Lets the calling thread's sleeps end on time: the kernel's default of 50 µs late would be as long as the first sleep.
pub(crate) fn sharpen_timer() {
    // SAFETY: sets a property of the calling thread; takes one integer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    const LONG_NS: u64 = 20_000_000_000;

    /// Sleeps with no queue to wait for.
    fn sleep(bed: &Bed, ns: u64, nothing_to_do: bool) -> Duration {
        let begin = Instant::now();
        let end = bed.sleep(&mut WaitSet::default(), ns, || nothing_to_do);
        let took = begin.elapsed();
        // Signals apart, of which these tests get none.
        assert_eq!(end == End::Time, took >= Duration::from_nanos(ns));
        took
    }

    #[test]
    fn a_sleeper_is_woken() {
        let bed = Arc::new(Bed::new().unwrap());
        let other = bed.clone();
        let waker = std::thread::spawn(move || {
            while !other.looks_asleep() {
                std::thread::yield_now();
            }
            other.wake();
        });
        assert!(sleep(&bed, LONG_NS, true) < Duration::from_secs(10));
        waker.join().unwrap();
        // The bell is clear again: the next sleep lasts.
        assert!(sleep(&bed, 1_000_000, true) >= Duration::from_millis(1));
    }

    /// Who found the flag up rings only when the sleep, over by itself, has cleared the bell already.
    #[test]
    fn a_ring_that_comes_late_ends_one_sleep_and_not_all() {
        let bed = Bed::new().unwrap();
        bed.bell.ring();
        assert!(sleep(&bed, LONG_NS, true) < Duration::from_secs(10));
        assert!(sleep(&bed, 1_000_000, true) >= Duration::from_millis(1));
    }

    #[test]
    fn waking_the_awake_costs_nothing_and_leaves_nothing() {
        let bed = Bed::new().unwrap();
        bed.wake();
        assert!(sleep(&bed, 1_000_000, true) >= Duration::from_millis(1));
        assert!(sleep(&bed, LONG_NS, false) < Duration::from_secs(10));
    }

    #[test]
    fn a_readable_queue_ends_the_sleep() {
        let (bed, queue) = (Bed::new().unwrap(), EventFd::new().unwrap());
        let mut set = WaitSet::default();
        set.set([queue.as_raw_fd()].into_iter());
        assert_eq!(bed.sleep(&mut set, 1_000_000, || true), End::Time);
        queue.ring();
        assert_eq!(bed.sleep(&mut set, LONG_NS, || true), End::Queue);
        queue.clear();
        assert_eq!(bed.sleep(&mut set, 1_000_000, || true), End::Time);
    }

    /// What is put into a ring before `wake` is never slept over, whoever is first.
    #[test]
    fn no_wake_is_lost() {
        let bed = Arc::new(Bed::new().unwrap());
        let (mut put, mut take) = rcu::ring::spsc::<u32>(1);
        let other = bed.clone();
        let filler = std::thread::spawn(move || {
            for i in 0..20_000 {
                let mut item = Some(i).into_iter();
                while put.push_burst(&mut item) == 0 {
                    std::hint::spin_loop();
                }
                other.wake();
            }
        });
        let (mut got, mut set) = (0, WaitSet::default());
        while got < 20_000 {
            match take.pop() {
                Some(_) => got += 1,
                None => {
                    let begin = Instant::now();
                    bed.sleep(&mut set, LONG_NS, || take.is_empty());
                    assert!(
                        begin.elapsed() < Duration::from_secs(10),
                        "slept over item {got}"
                    );
                }
            }
        }
        filler.join().unwrap();
    }

    #[test]
    fn the_control_bell_is_rung_once_until_cleared() {
        let b = ControlBell::new().unwrap();
        assert!(b.ring() && !b.ring());
        b.clear();
        assert!(b.ring());
    }
}
