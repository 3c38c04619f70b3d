//! A token bucket: so many a second, and so many at once. Time is passed in.

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

#[cfg(test)]
mod tests {
    use super::*;

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
