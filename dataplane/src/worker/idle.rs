//! When a worker that finds nothing to do spins, and when and how long it sleeps. Time is passed in (HABITS 4, 5).
//!
//! Adaptive: it spins for [`SPIN_NS`] after the last frame, since the next one is likely near; then it sleeps
//! [`FIRST_SLEEP_NS`], then twice that, and so on up to [`LONGEST_SLEEP_NS`], looking once in between. A frame sends it
//! back to spinning. So a ping through a sleeping router waits a quarter of a millisecond at most, and an idle worker
//! makes some four thousand short loops a second.

/// How workers wait for frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Poll {
    /// Spin for a while, then sleep in growing steps.
    #[default]
    Adaptive,
    /// Never sleep.
    Busy,
}

/// Nanoseconds of spinning after the last frame.
pub const SPIN_NS: u64 = 100_000;
/// The first sleep, in nanoseconds.
pub const FIRST_SLEEP_NS: u64 = 50_000;
/// The longest sleep, in nanoseconds.
pub const LONGEST_SLEEP_NS: u64 = 250_000;

/// What to do after a loop that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again at once.
    Spin,
    /// Sleep that many nanoseconds, then look once.
    Sleep(u64),
}

/// The state of waiting.
#[derive(Debug)]
pub(crate) struct Idle {
    poll: Poll,
    last_work: u64,
    step: u64,
}

impl Idle {
    pub(crate) fn new(poll: Poll, now: u64) -> Self {
        Self {
            poll,
            last_work: now,
            step: FIRST_SLEEP_NS,
        }
    }

    /// A loop found something to do.
    #[inline]
    pub(crate) fn worked(&mut self, now: u64) {
        self.last_work = now;
        self.step = FIRST_SLEEP_NS;
    }

    /// A loop found nothing; `now` in nanoseconds.
    #[inline]
    pub(crate) fn next(&mut self, now: u64) -> Next {
        if self.poll == Poll::Busy || now.saturating_sub(self.last_work) < SPIN_NS {
            return Next::Spin;
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
        assert_eq!(i.next(5_000 + SPIN_NS - 1), Next::Spin);
        let t = 5_000 + SPIN_NS;
        let steps: Vec<Next> = (0..5).map(|n| i.next(t + n)).collect();
        assert_eq!(
            steps,
            [50_000, 100_000, 200_000, 250_000, 250_000].map(Next::Sleep)
        );
        i.worked(t + 9);
        assert_eq!(i.next(t + 9 + SPIN_NS / 2), Next::Spin);
        assert_eq!(i.next(t + 9 + SPIN_NS), Next::Sleep(FIRST_SLEEP_NS));
    }

    #[test]
    fn busy_never_sleeps() {
        let mut i = Idle::new(Poll::Busy, 0);
        assert_eq!(i.next(u64::MAX), Next::Spin);
    }
}
