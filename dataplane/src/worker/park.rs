//! Sleeping and being woken: eventfd(2), ppoll(2), prctl(2) PR_SET_TIMERSLACK.
//!
//! Two kinds of bell. A worker's own ends its sleep early when the control thread has a command or a frame for it. The
//! control thread's is rung by workers that have punted, never while they have frames to forward.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// An eventfd, non-blocking.
#[derive(Debug)]
pub(crate) struct EventFd(OwnedFd);

impl EventFd {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: plain system call; the descriptor it returns is ours alone.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` is open and owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub(crate) fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is 8 readable bytes. A full counter (EAGAIN) is rung already.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: `count` is 8 writable bytes. Nothing there (EAGAIN) is cleared already.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Waits until it is rung, or for `ns` nanoseconds.
    fn wait(&self, ns: u64) {
        let mut fd = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let time = libc::timespec {
            tv_sec: (ns / 1_000_000_000) as libc::time_t,
            tv_nsec: (ns % 1_000_000_000) as libc::c_long,
        };
        // SAFETY: one pollfd and one timespec, both alive over the call; no signal mask.
        unsafe { libc::ppoll(&raw mut fd, 1, &raw const time, std::ptr::null()) };
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Where a worker sleeps.
#[derive(Debug)]
pub(crate) struct Bed {
    bell: EventFd,
    asleep: AtomicBool,
}

impl Bed {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            bell: EventFd::new()?,
            asleep: AtomicBool::new(false),
        })
    }

    /// Sleeps up to `ns`, unless `nothing_to_do` says no: it is asked after the flag that [`wake`](Self::wake) looks at is
    /// up, so whoever fills a ring and then wakes can't slip in between unnoticed.
    pub(crate) fn sleep(&self, ns: u64, nothing_to_do: impl FnOnce() -> bool) {
        // AcqRel: pairs with the swap in `wake`. Of two exchanges on one word one comes first: either `wake` finds the
        // flag up and rings, or this exchange sees its write, and with it what was put into the ring before.
        self.asleep.swap(true, Ordering::AcqRel);
        if nothing_to_do() {
            self.bell.wait(ns);
        }
        // AcqRel: as above. Down already: somebody rang, so the bell is to be cleared.
        if !self.asleep.swap(false, Ordering::AcqRel) {
            self.bell.clear();
        }
    }

    /// Ends the sleep, if there is one. Costs a system call only then.
    pub(crate) fn wake(&self) {
        // AcqRel: pairs with the swaps in `sleep`.
        if self.asleep.swap(false, Ordering::AcqRel) {
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

    #[test]
    fn a_sleeper_is_woken() {
        let bed = Arc::new(Bed::new().unwrap());
        let (other, t) = (bed.clone(), Instant::now());
        let waker = std::thread::spawn(move || {
            while !other.looks_asleep() {
                std::thread::yield_now();
            }
            other.wake();
        });
        bed.sleep(LONG_NS, || true);
        assert!(t.elapsed() < Duration::from_secs(10));
        waker.join().unwrap();
        // The bell is clear again: the next sleep lasts.
        let t = Instant::now();
        bed.sleep(1_000_000, || true);
        assert!(t.elapsed() >= Duration::from_millis(1));
    }

    #[test]
    fn waking_the_awake_costs_nothing_and_leaves_nothing() {
        let bed = Bed::new().unwrap();
        bed.wake();
        let t = Instant::now();
        bed.sleep(1_000_000, || true);
        assert!(t.elapsed() >= Duration::from_millis(1));
        bed.sleep(LONG_NS, || false);
    }

    #[test]
    fn the_control_bell_is_rung_once_until_cleared() {
        let b = ControlBell::new().unwrap();
        assert!(b.ring() && !b.ring());
        b.clear();
        assert!(b.ring());
    }
}
