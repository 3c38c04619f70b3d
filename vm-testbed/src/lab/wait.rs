//! Waiting for a state, with a deadline and a reason; nothing here sleeps a fixed time (HABITS 22).

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Seconds, for deadlines.
#[must_use]
pub const fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Milliseconds, for deadlines.
#[must_use]
pub const fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Asks `probe` again and again until it gives a value, and returns that.
///
/// # Errors
/// When `within` has passed, with `what` and the last error that `probe` gave; an error alone does not end the wait.
pub fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(500);
    let mut last = None;
    loop {
        match probe() {
            Ok(Some(v)) => return Ok(v),
            Ok(None) => {}
            Err(e) => last = Some(e),
        }
        if start.elapsed() >= within {
            let waited = format!("waited {:.1} s for: {what}", within.as_secs_f64());
            return Err(match last {
                Some(e) => e.context(waited),
                None => anyhow!(waited),
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(millis(20));
    }
}

/// The same for a condition.
///
/// # Errors
/// As [`eventually`].
pub fn until(what: &str, within: Duration, mut cond: impl FnMut() -> Result<bool>) -> Result<()> {
    eventually(what, within, || Ok(cond()?.then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_or_the_reason() {
        let mut n = 0;
        let got = eventually("three", secs(5), || {
            n += 1;
            Ok((n == 3).then_some(n))
        });
        assert_eq!(got.unwrap(), 3);
        let e = until("never", millis(5), || Err(anyhow!("closed"))).unwrap_err();
        assert_eq!(format!("{e:#}"), "waited 0.0 s for: never: closed");
    }
}
