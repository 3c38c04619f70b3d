//! When a worker that finds nothing to do spins, and when and how long it sleeps. Time is passed in (HABITS 4, 5).
//!
//! Adaptive: it spins for [`SPIN_NS`] after the last frame, since the next one is likely near. Then it sleeps:
//! - until one of its queues is readable, where the driver of each has a descriptor to wait for. That costs nothing.
//! - otherwise [`FIRST_SLEEP_NS`], then twice that, and so on up to [`LONGEST_SLEEP_NS`], looking once in between; and
//!   [`QUIET_SLEEP_NS`] when there was nothing for [`QUIET_NS`]. So a ping through a sleeping router waits well below a
//!   millisecond, for a few per cent of a core: what a sleep costs is waking from it, however long it was.
//!
//! A descriptor can be readable with nothing to read (an error on a link that went down): after such a false alarm the
//! next sleep is of the other kind.

/// How workers wait for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// Spin for a while, then sleep.
    #[default]
    Adaptive,
    /// Never sleep.
    Busy,
}

/// Nanoseconds of spinning after the last frame.
pub const SPIN_NS: u64 = 100_000;
/// The first sleep, in nanoseconds.
pub const FIRST_SLEEP_NS: u64 = 50_000;
/// The longest sleep that no queue can end while there were frames lately, in nanoseconds.
pub const LONGEST_SLEEP_NS: u64 = 400_000;
/// Nanoseconds without a frame after which sleeps become longer still.
pub const QUIET_NS: u64 = 100_000_000;
/// A sleep that no queue can end when all is quiet, in nanoseconds.
pub const QUIET_SLEEP_NS: u64 = 600_000;
/// The longest sleep that a queue can end, in nanoseconds.
pub const LONGEST_WAIT_NS: u64 = 50_000_000;

/// What to do after a loop that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again at once.
    Spin,
    /// Sleep that many nanoseconds, then look once.
    Sleep(u64),
    /// Sleep until a queue is readable, or that many nanoseconds.
    Wait(u64),
}

/// The state of waiting.
#[derive(Debug)]
pub(crate) struct Idle {
    poll: Poll,
    last_work: u64,
    step: u64,
    alarmed: bool,
}

impl Idle {
    pub(crate) fn new(poll: Poll, now: u64) -> Self {
        Self {
            poll,
            last_work: now,
            step: FIRST_SLEEP_NS,
            alarmed: false,
        }
    }

    /// A loop found something to do.
    #[inline]
    pub(crate) fn worked(&mut self, now: u64) {
        self.last_work = now;
        self.step = FIRST_SLEEP_NS;
        self.alarmed = false;
    }

    /// A queue ended the sleep.
    pub(crate) fn alarm(&mut self) {
        self.alarmed = true;
    }

    /// A loop found nothing; `now` in nanoseconds. `can_wait`: has every queue a descriptor?
    #[inline]
    pub(crate) fn next(&mut self, now: u64, can_wait: bool) -> Next {
        let without = now.saturating_sub(self.last_work);
        if self.poll == Poll::Busy || without < SPIN_NS {
            return Next::Spin;
        }
        if std::mem::take(&mut self.alarmed) {
            return Next::Sleep(LONGEST_SLEEP_NS);
        }
        if can_wait {
            return Next::Wait(LONGEST_WAIT_NS);
        }
        if without >= QUIET_NS {
            return Next::Sleep(QUIET_SLEEP_NS);
        }
        let ns = self.step;
        self.step = (ns * 2).min(LONGEST_SLEEP_NS);
        Next::Sleep(ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spins_then_sleeps_longer_and_longer() {
        let mut i = Idle::new(Poll::Adaptive, 1_000);
        i.worked(5_000);
        assert_eq!(i.next(5_000 + SPIN_NS - 1, false), Next::Spin);
        let t = 5_000 + SPIN_NS;
        let steps: Vec<Next> = (0..5).map(|n| i.next(t + n, false)).collect();
        assert_eq!(
            steps,
            [50_000, 100_000, 200_000, 400_000, 400_000].map(Next::Sleep)
        );
        assert_eq!(
            i.next(5_000 + QUIET_NS - 1, false),
            Next::Sleep(LONGEST_SLEEP_NS)
        );
        assert_eq!(i.next(5_000 + QUIET_NS, false), Next::Sleep(QUIET_SLEEP_NS));
        i.worked(t + 9);
        assert_eq!(i.next(t + 9 + SPIN_NS / 2, false), Next::Spin);
        assert_eq!(i.next(t + 9 + SPIN_NS, false), Next::Sleep(FIRST_SLEEP_NS));
    }

    #[test]
    fn waits_for_queues_but_not_for_a_stuck_one() {
        let mut i = Idle::new(Poll::Adaptive, 0);
        assert_eq!(i.next(SPIN_NS - 1, true), Next::Spin);
        assert_eq!(i.next(SPIN_NS, true), Next::Wait(LONGEST_WAIT_NS));
        // A true alarm: frames, then spinning, then waiting again.
        i.alarm();
        i.worked(SPIN_NS);
        assert_eq!(i.next(SPIN_NS, true), Next::Spin);
        assert_eq!(i.next(2 * SPIN_NS, true), Next::Wait(LONGEST_WAIT_NS));
        // False ones cost no more than timed sleeps.
        for t in 2..9 {
            i.alarm();
            assert_eq!(i.next(t * SPIN_NS, true), Next::Sleep(LONGEST_SLEEP_NS));
            assert_eq!(i.next(t * SPIN_NS, true), Next::Wait(LONGEST_WAIT_NS));
        }
    }

    #[test]
    fn busy_never_sleeps() {
        let mut i = Idle::new(Poll::Busy, 0);
        assert_eq!(i.next(u64::MAX, true), Next::Spin);
    }
}
