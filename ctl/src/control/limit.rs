//! A token bucket: so many a second, and so many at once; and slices of work of a given time. Time is passed in.

use std::time::{Duration, Instant};

/// The bucket.
#[derive(Debug)]
pub(crate) struct Limit {
    every: Duration,
    burst: u32,
    tokens: u32,
    since: Option<Instant>,
}

impl Limit {
    /// `rate` a second, `burst` at once.
    pub(crate) fn new(rate: u32, burst: u32) -> Self {
        Self {
            every: Duration::from_secs(1) / rate.max(1),
            burst,
            tokens: burst,
            since: None,
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        let new =
            u32::try_from(passed.as_nanos() / self.every.as_nanos().max(1)).unwrap_or(u32::MAX);
        if new > 0 {
            self.tokens = self.tokens.saturating_add(new).min(self.burst);
            // What is left of an interval counts for the next; a full bucket forgets.
            let left = passed.saturating_sub(self.every.saturating_mul(new));
            self.since = Some(now.checked_sub(left).unwrap_or(now));
        }
        let any = self.tokens > 0;
        self.tokens -= u32::from(any);
        any
    }
}

/// How much of a long work to do at once, so that a slice takes about a given time: learned from the slices before.
#[derive(Debug)]
pub(crate) struct Pace {
    aim: Duration,
    least: usize,
    most: usize,
    now: usize,
}

impl Pace {
    /// Slices of about `aim`, of `least` to `most` pieces; the first has `least`.
    pub(crate) fn new(aim: Duration, least: usize, most: usize) -> Self {
        let now = least;
        Self {
            aim,
            least,
            most,
            now,
        }
    }

    /// Pieces of the next slice.
    pub(crate) fn slice(&self) -> usize {
        self.now
    }

    /// A slice of `done` pieces took so long.
    pub(crate) fn took(&mut self, done: usize, time: Duration) {
        if time > self.aim {
            self.now = (self.now / 2).max(self.least);
        } else if done >= self.now && time < self.aim / 2 {
            self.now = (self.now * 2).min(self.most);
        }
    }
}

/// Lets much of something gather for a while, and little not at all.
#[derive(Debug)]
pub(crate) struct Gathering {
    many: usize,
    most: Duration,
    since: Option<Instant>,
}

impl Gathering {
    /// From `many` on, for at most so long.
    pub(crate) fn new(many: usize, most: Duration) -> Self {
        Self {
            many,
            most,
            since: None,
        }
    }

    /// Shall `waiting` pieces wait, now that more may come? Once they have waited for long enough, not before there are few.
    pub(crate) fn hold(&mut self, waiting: usize, more: bool, now: Instant) -> bool {
        if waiting < self.many {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        more && now.saturating_duration_since(since) < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_gathers_for_a_while_and_little_does_not() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut g = Gathering::new(100, Duration::from_millis(50));
        assert!(!g.hold(99, true, at(0)));
        assert!(g.hold(100, true, at(1)) && g.hold(900, true, at(50)));
        assert!(!g.hold(900, false, at(50)), "nothing more comes");
        assert!(!g.hold(900, true, at(51)) && !g.hold(100, true, at(90)));
        assert!(!g.hold(99, true, at(91)), "few are left");
        assert!(g.hold(100, true, at(92)) && g.hold(100, true, at(141)));
        assert!(!g.hold(100, true, at(142)));
    }

    #[test]
    fn slices_grow_while_they_are_quick_and_shrink_when_they_are_not() {
        let ms = Duration::from_millis;
        let mut p = Pace::new(ms(4), 256, 2000);
        p.took(100, ms(0));
        assert_eq!(p.slice(), 256, "it was not full");
        for want in [512, 1024, 2000, 2000] {
            p.took(p.slice(), ms(1));
            assert_eq!(p.slice(), want);
        }
        p.took(2000, ms(3));
        assert_eq!(p.slice(), 2000, "about right");
        for want in [1000, 500, 256, 256] {
            p.took(7, ms(5));
            assert_eq!(p.slice(), want);
        }
    }

    #[test]
    fn as_many_as_said() {
        let t0 = Instant::now();
        let mut l = Limit::new(10, 3);
        let taken = |l: &mut Limit, at: u64| {
            (0..100)
                .filter(|_| l.take(t0 + Duration::from_millis(at)))
                .count()
        };
        assert_eq!(taken(&mut l, 0), 3);
        assert_eq!(taken(&mut l, 99), 0);
        assert_eq!(taken(&mut l, 150), 1);
        assert_eq!(taken(&mut l, 200), 1, "half an interval was kept");
        assert_eq!(taken(&mut l, 100_000), 3);
    }
}
