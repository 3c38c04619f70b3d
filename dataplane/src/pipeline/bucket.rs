//! The token bucket that limits ICMP errors (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)) and echo requests of LSP ping (RFC 8029 5).
//!
//! One a worker, so no atomics; time is passed in (HABITS 4). A bucket rather than a timer, because RFC 4443 asks that a burst
//! such as traceroute's gets all its answers. What it suppresses is not counted: the packet that was to be answered is.

/// Nanoseconds in a second.
const SECOND: u64 = 1_000_000_000;

/// Tokens at a rate, up to a burst.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Tokens a second; 0: never any.
    rate: u64,
    /// In units of one token over [`SECOND`], so that no fraction is ever lost.
    level: u64,
    full: u64,
    then: Option<u64>,
}

impl Bucket {
    /// A full bucket of `rate` tokens a second. It holds a tenth of a second's worth, but at least ten: enough for the six
    /// to sixteen probes that a traceroute has under way.
    pub(super) fn new(rate: u32) -> Self {
        let rate = u64::from(rate);
        let burst = if rate == 0 { 0 } else { (rate / 10).max(10) };
        Self {
            rate,
            level: burst * SECOND,
            full: burst * SECOND,
            then: None,
        }
    }

    /// Whether there is a token at `now` (monotonic, nanoseconds).
    pub(super) fn has(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.then.unwrap_or(now));
        self.then = Some(now);
        let grown = self.level.saturating_add(passed.saturating_mul(self.rate));
        self.level = grown.min(self.full);
        self.level >= SECOND
    }

    /// Takes the token that [`has`](Self::has) found.
    pub(super) fn take(&mut self) {
        self.level = self.level.saturating_sub(SECOND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(b: &mut Bucket, now: u64) -> u32 {
        let mut n = 0;
        while b.has(now) {
            b.take();
            n += 1;
        }
        n
    }

    #[test]
    fn a_burst_then_the_rate() {
        let mut b = Bucket::new(100);
        assert_eq!(drain(&mut b, 5), 10);
        assert_eq!(drain(&mut b, 5 + SECOND / 100 - 1), 0);
        assert_eq!(drain(&mut b, 5 + SECOND / 100), 1);
        assert_eq!(drain(&mut b, 5 + SECOND / 100 + 5 * SECOND), 10);
    }

    #[test]
    fn fractions_add_up() {
        let mut b = Bucket::new(3);
        drain(&mut b, 0);
        let n: u32 = (1..=1000).map(|ms| drain(&mut b, ms * 1_000_000)).sum();
        assert_eq!(n, 3);
    }

    #[test]
    fn a_rate_of_zero_means_never() {
        let mut b = Bucket::new(0);
        assert_eq!(drain(&mut b, 0), 0);
        assert_eq!(drain(&mut b, u64::MAX), 0);
    }

    #[test]
    fn a_clock_that_stands_or_jumps_does_no_harm() {
        let mut b = Bucket::new(u32::MAX);
        drain(&mut b, 10);
        assert!(!b.has(9));
        assert!(b.has(u64::MAX));
    }
}
