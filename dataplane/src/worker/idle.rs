//! When a worker that finds nothing to do spins, and when and how long it sleeps. Time is passed in (HABITS 4, 5).
//!
//! Adaptive: it spins for [`SPIN_NS`] after the last frame, since the next one is likely near. Then it sleeps:
//! - until one of its queues is readable, where each has a descriptor that can be relied on. That costs nothing. Devices
//!   that tell of frames by interrupts are asked to first, and looked at once more: a frame may have come before.
//! - otherwise [`FIRST_SLEEP_NS`], then twice that, and so on up to [`LONGEST_SLEEP_NS`], looking once in between; and
//!   [`QUIET_SLEEP_NS`] when there was nothing for [`QUIET_NS`]. So a ping through a sleeping router waits well below a
//!   millisecond, for a few per cent of a core: what a sleep costs is waking from it, however long it was. The queues that
//!   have a descriptor end such a sleep too.
//!
//! A descriptor can be readable before there is anything to read (vmxnet3's interrupt, which was under way when it was
//! disabled), or be so for good (a device that is gone): after [`FALSE_ALARMS`] in a row no descriptor is listened to for
//! [`DEAF_NS`].

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
/// So many sleeps in a row that a queue ended without a frame are too many.
pub const FALSE_ALARMS: u8 = 3;
/// Nanoseconds after them in which no queue can end a sleep.
pub const DEAF_NS: u64 = 50_000_000;

/// What the queues of a worker can do to end its sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Every one ends it when it has a frame; so it may last. Without queues this is true: then only the bell counts.
    pub all: bool,
    /// Some do only when they are armed.
    pub arm: bool,
}

/// What to do after a loop that found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again at once.
    Spin,
    /// Arm the queues, then look again at once.
    Arm,
    /// Sleep that many nanoseconds, whatever the queues say, then look once.
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
    armed: bool,
    /// A queue ended the last sleep, and nothing was found yet.
    alarmed: bool,
    false_alarms: u8,
    deaf_until: u64,
}

impl Idle {
    pub(crate) fn new(poll: Poll, now: u64) -> Self {
        Self {
            poll,
            last_work: now,
            step: FIRST_SLEEP_NS,
            armed: false,
            alarmed: false,
            false_alarms: 0,
            deaf_until: 0,
        }
    }

    /// A loop found something to do. True when the queues are armed, and must be disarmed: there will be no sleep.
    #[inline]
    pub(crate) fn worked(&mut self, now: u64) -> bool {
        self.last_work = now;
        self.step = FIRST_SLEEP_NS;
        self.alarmed = false;
        self.false_alarms = 0;
        std::mem::take(&mut self.armed)
    }

    /// A sleep is over, and the queues are disarmed.
    pub(crate) fn woke(&mut self, by_queue: bool) {
        self.armed = false;
        self.alarmed = by_queue;
        if !by_queue {
            self.false_alarms = 0;
        }
    }

    /// A loop found nothing; `now` in nanoseconds.
    #[inline]
    pub(crate) fn next(&mut self, now: u64, offer: Offer) -> Next {
        let without = now.saturating_sub(self.last_work);
        if self.poll == Poll::Busy || without < SPIN_NS {
            return Next::Spin;
        }
        if std::mem::take(&mut self.alarmed) {
            self.false_alarms += 1;
            if self.false_alarms >= FALSE_ALARMS {
                self.false_alarms = 0;
                self.deaf_until = now + DEAF_NS;
            }
        }
        if now < self.deaf_until {
            return Next::Sleep(self.look_after(without));
        }
        if offer.arm && !self.armed {
            self.armed = true;
            return Next::Arm;
        }
        if offer.all {
            return Next::Wait(LONGEST_WAIT_NS);
        }
        Next::Wait(self.look_after(without))
    }

    /// How long it may be until the next look at a queue that ends no sleep, after that long without a frame.
    fn look_after(&mut self, without: u64) -> u64 {
        if without >= QUIET_NS {
            return QUIET_SLEEP_NS;
        }
        let ns = self.step;
        self.step = (ns * 2).min(LONGEST_SLEEP_NS);
        ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queues that must be looked at.
    const LOOK: Offer = Offer {
        all: false,
        arm: false,
    };
    /// Sockets.
    const SOCKETS: Offer = Offer {
        all: true,
        arm: false,
    };
    /// Interrupts.
    const INTERRUPTS: Offer = Offer {
        all: true,
        arm: true,
    };
    /// Interrupts, and queues that must be looked at.
    const MIXED: Offer = Offer {
        all: false,
        arm: true,
    };

    #[test]
    fn spins_then_sleeps_longer_and_longer() {
        let mut i = Idle::new(Poll::Adaptive, 1_000);
        i.worked(5_000);
        assert_eq!(i.next(5_000 + SPIN_NS - 1, LOOK), Next::Spin);
        let t = 5_000 + SPIN_NS;
        let steps: Vec<Next> = (0..5).map(|n| i.next(t + n, LOOK)).collect();
        assert_eq!(
            steps,
            [50_000, 100_000, 200_000, 400_000, 400_000].map(Next::Wait)
        );
        assert_eq!(
            i.next(5_000 + QUIET_NS - 1, LOOK),
            Next::Wait(LONGEST_SLEEP_NS)
        );
        assert_eq!(i.next(5_000 + QUIET_NS, LOOK), Next::Wait(QUIET_SLEEP_NS));
        i.worked(t + 9);
        assert_eq!(i.next(t + 9 + SPIN_NS / 2, LOOK), Next::Spin);
        assert_eq!(i.next(t + 9 + SPIN_NS, LOOK), Next::Wait(FIRST_SLEEP_NS));
    }

    #[test]
    fn waits_for_queues() {
        let mut i = Idle::new(Poll::Adaptive, 0);
        assert_eq!(i.next(SPIN_NS - 1, SOCKETS), Next::Spin);
        assert_eq!(i.next(SPIN_NS, SOCKETS), Next::Wait(LONGEST_WAIT_NS));
        // Frames at once: spinning, then waiting again.
        let t = 7 * QUIET_NS;
        i.woke(true);
        assert!(!i.worked(t));
        assert_eq!(i.next(t + SPIN_NS - 1, SOCKETS), Next::Spin);
        assert_eq!(i.next(t + SPIN_NS, SOCKETS), Next::Wait(LONGEST_WAIT_NS));
        // A bell is no alarm, however often it is rung.
        for _ in 0..9 {
            i.woke(false);
            assert_eq!(i.next(2 * t, SOCKETS), Next::Wait(LONGEST_WAIT_NS));
        }
    }

    #[test]
    fn a_stuck_queue_is_not_listened_to_for_a_while() {
        let (mut i, mut now) = (Idle::new(Poll::Adaptive, 0), QUIET_NS);
        for _ in 0..100 {
            for _ in 0..FALSE_ALARMS {
                assert_eq!(i.next(now, SOCKETS), Next::Wait(LONGEST_WAIT_NS));
                i.woke(true); // at once
            }
            let mut sleeps = 0;
            while let Next::Sleep(ns) = i.next(now, SOCKETS) {
                assert_eq!(ns, QUIET_SLEEP_NS);
                now += ns;
                sleeps += 1;
                i.woke(false);
            }
            assert_eq!(sleeps, DEAF_NS.div_ceil(QUIET_SLEEP_NS));
        }
        // A frame that is found meanwhile does not end the deafness, for the stuck queue is as stuck as before.
        for _ in 0..FALSE_ALARMS {
            i.next(now, SOCKETS);
            i.woke(true);
        }
        assert!(matches!(i.next(now, SOCKETS), Next::Sleep(_)));
        i.worked(now);
        assert!(matches!(i.next(now + SPIN_NS, SOCKETS), Next::Sleep(_)));
        assert_eq!(i.next(now + DEAF_NS, SOCKETS), Next::Wait(LONGEST_WAIT_NS));
    }

    #[test]
    fn a_few_false_alarms_are_nothing() {
        let (mut i, mut t) = (Idle::new(Poll::Adaptive, 0), SPIN_NS);
        for end in [true, false].repeat(50) {
            for _ in 1..FALSE_ALARMS {
                i.woke(true);
                assert_eq!(i.next(t, SOCKETS), Next::Wait(LONGEST_WAIT_NS));
            }
            // Then a frame, or a sleep that no queue ended.
            if end {
                i.woke(true);
                i.worked(t);
                t += SPIN_NS;
            } else {
                i.woke(false);
            }
        }
    }

    #[test]
    fn interrupts_are_armed_once_before_each_sleep() {
        let mut i = Idle::new(Poll::Adaptive, 0);
        let mut t = SPIN_NS;
        for (offer, ns) in [
            (INTERRUPTS, LONGEST_WAIT_NS),
            (INTERRUPTS, LONGEST_WAIT_NS),
            (MIXED, FIRST_SLEEP_NS),
            (MIXED, 2 * FIRST_SLEEP_NS),
        ] {
            assert_eq!(i.next(t, offer), Next::Arm);
            assert_eq!(i.next(t + 1, offer), Next::Wait(ns));
            t += 2;
            i.woke(false);
        }
        // The look after arming finds a frame.
        assert_eq!(i.next(t, INTERRUPTS), Next::Arm);
        assert!(i.worked(t), "armed");
        assert!(!i.worked(t), "disarmed");
        assert_eq!(i.next(t, INTERRUPTS), Next::Spin);
        t += SPIN_NS;
        assert_eq!(i.next(t, INTERRUPTS), Next::Arm);
        i.woke(true);
        for _ in 1..FALSE_ALARMS {
            assert_eq!(i.next(t, INTERRUPTS), Next::Arm);
            i.woke(true);
        }
        // In vain too often: no queue is armed for a sleep that none can end.
        assert!(matches!(i.next(t, INTERRUPTS), Next::Sleep(_)));
        assert_eq!(i.next(t + DEAF_NS, INTERRUPTS), Next::Arm);
    }

    #[test]
    fn busy_never_sleeps() {
        let mut i = Idle::new(Poll::Busy, 0);
        assert_eq!(i.next(u64::MAX, INTERRUPTS), Next::Spin);
    }
}
