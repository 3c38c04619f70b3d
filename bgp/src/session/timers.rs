//! Timers that do not beat together: RFC 4271 10.

use std::time::{Duration, Instant};

/// Shortens timers by up to a quarter, so that a thousand sessions that start together do not stay so.
#[derive(Clone, Debug)]
pub struct Jitter(Option<u64>);

impl Jitter {
    /// The same seed gives the same numbers.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self(Some(seed))
    }

    /// Times as they are configured: for tests that are read.
    #[must_use]
    pub const fn none() -> Self {
        Self(None)
    }

    /// From three quarters of `d` up to `d`.
    pub(super) fn apply(&mut self, d: Duration) -> Duration {
        let Some(state) = &mut self.0 else {
            return d;
        };
        // SplitMix64: nobody must be unable to guess it, neighbours must only not agree.
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let steps = u32::try_from((z ^ (z >> 31)) & 0xff).unwrap_or(0);
        d - d / 1024 * steps
    }
}

/// Which timer: the names of RFC 4271 8.1.3 and RFC 9687.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Until the next attempt to connect.
    ConnectRetry,
    /// Idle until then.
    IdleHold,
    /// Until our OPEN is sent anyway.
    DelayOpen,
    /// The neighbour must be heard by then.
    Hold,
    /// The next KEEPALIVE.
    Keepalive,
    /// The neighbour must have read something by then.
    SendHold,
}

impl Timer {
    /// `connect-retry`, …
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConnectRetry => "connect-retry",
            Self::IdleHold => "idle-hold",
            Self::DelayOpen => "delay-open",
            Self::Hold => "hold",
            Self::Keepalive => "keepalive",
            Self::SendHold => "send-hold",
        }
    }
}

/// True once: the timer was running and its time has come.
pub(super) fn expire(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_up_to_a_quarter_and_nothing_else() {
        let d = Duration::from_secs(30);
        let mut jitter = Jitter::seeded(7);
        let all: Vec<_> = (0..2000).map(|_| jitter.apply(d)).collect();
        let (min, max) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert_eq!(*max, d);
        assert!(*min >= d * 3 / 4 && *min < d * 7 / 9, "{min:?}");
        assert_eq!(Jitter::none().apply(d), d);
    }
}
