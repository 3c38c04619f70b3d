//! What can be said about a domain from outside, and the watchdog over it. Time is passed in.

use std::time::{Duration, Instant};

/// A picture of a domain, taken from any thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The epoch that the writer has opened last.
    pub epoch: u64,
    /// Every registered reader, in the order of registration.
    pub readers: Vec<ReaderStatus>,
}

/// One reader in a [`Status`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderStatus {
    /// Identifies the reader for as long as the domain lives; never used again.
    pub id: u64,
    /// The name it registered with.
    pub name: String,
    /// Whether it may hold references now.
    pub online: bool,
    /// The epoch of its last report; while offline, the domain's epoch, since it holds nothing back.
    pub seen: u64,
    /// Epochs it is behind; what was retired in them cannot be freed. 0 while offline.
    pub lag: u64,
}

/// What a [`Watchdog`] has to say: each stall once when it begins and once when it ends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Readers that are stalled now and were not at the last look.
    pub began: Vec<Stall>,
    /// Those that were, and have reported, gone to sleep or gone away since; as they were at the last look.
    pub ended: Vec<Stall>,
}

/// A reader that holds back reclamation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// Its [`ReaderStatus::id`].
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Epochs it is behind.
    pub lag: u64,
    /// For how long it has been behind without reporting, as far as this watchdog has seen.
    pub since: Duration,
}

/// Finds readers that stopped reporting: a stuck worker pins memory, and must be told of.
///
/// A reader with nothing new to see has nothing to report; only one that lags without moving for `limit` is stalled.
#[derive(Debug)]
pub struct Watchdog {
    limit: Duration,
    behind: Vec<Behind>,
    stalled: Vec<Stall>,
}

#[derive(Debug)]
struct Behind {
    id: u64,
    seen: u64,
    since: Instant,
}

impl Watchdog {
    /// A watchdog that calls a reader stalled once it has lagged for `limit` without a report.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            behind: Vec::new(),
            stalled: Vec::new(),
        }
    }

    /// The readers that were stalled at the last look.
    pub fn stalled(&self) -> &[Stall] {
        &self.stalled
    }

    /// Takes in a picture taken at `now` and returns what has changed.
    pub fn observe(&mut self, now: Instant, status: &Status) -> Changes {
        let stalled = self.look(now, status);
        let old = std::mem::replace(&mut self.stalled, stalled);
        let not_in = |others: &[Stall], s: &Stall| !others.iter().any(|o| o.id == s.id);
        let is_new = |s: &&Stall| not_in(&old, s);
        let began = self.stalled.iter().filter(is_new).cloned().collect();
        let now = &self.stalled;
        let ended = old.iter().filter(|s| not_in(now, s)).cloned().collect();
        Changes { began, ended }
    }

    fn look(&mut self, now: Instant, status: &Status) -> Vec<Stall> {
        let old = std::mem::take(&mut self.behind);
        let mut stalls = Vec::new();
        for r in status.readers.iter().filter(|r| r.lag > 0) {
            let since = old
                .iter()
                .find(|b| b.id == r.id && b.seen == r.seen)
                .map_or(now, |b| b.since);
            self.behind.push(Behind {
                id: r.id,
                seen: r.seen,
                since,
            });
            let since = now.saturating_duration_since(since);
            if since >= self.limit {
                stalls.push(Stall {
                    id: r.id,
                    name: r.name.clone(),
                    lag: r.lag,
                    since,
                });
            }
        }
        stalls
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn status(seen: u64, epoch: u64) -> Status {
        let lag = epoch - seen;
        Status {
            epoch,
            readers: vec![ReaderStatus {
                id: 7,
                name: "w".into(),
                online: true,
                seen,
                lag,
            }],
        }
    }

    #[test]
    fn a_reader_that_lags_without_moving_is_stalled() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut dog = Watchdog::new(Duration::from_millis(100));
        let mut stalled = |ms, status| {
            dog.observe(at(ms), &status);
            dog.stalled().to_vec()
        };
        assert_eq!(stalled(0, status(5, 5)), []);
        assert_eq!(
            stalled(500, status(5, 6)),
            [],
            "behind since now only, however long ago it reported"
        );
        assert_eq!(stalled(599, status(5, 6)), []);
        let stall = Stall {
            id: 7,
            name: "w".into(),
            lag: 2,
            since: Duration::from_millis(100),
        };
        assert_eq!(stalled(600, status(5, 7)), [stall]);
        assert_eq!(stalled(700, status(6, 8)), [], "it moved: a new clock");
        assert_eq!(stalled(750, status(8, 8)), []);
        assert_eq!(stalled(900, status(8, 9)), []);
    }

    #[test]
    fn a_stall_is_told_of_once_and_its_end_once() {
        let t0 = Instant::now();
        let at = |ms| t0 + Duration::from_millis(ms);
        let mut dog = Watchdog::new(Duration::from_millis(100));
        let none = Changes::default();
        assert_eq!(dog.observe(at(0), &status(5, 6)), none);
        let first = dog.observe(at(100), &status(5, 6));
        assert_eq!((first.began.len(), first.ended.len()), (1, 0));
        assert_eq!(dog.observe(at(200), &status(5, 9)), none, "told already");
        assert_eq!(dog.stalled()[0].since, Duration::from_millis(200));
        let last = dog.observe(at(300), &status(9, 9));
        assert_eq!((last.began, last.ended.len()), (vec![], 1));
        assert_eq!(last.ended[0].since, Duration::from_millis(200));
        assert_eq!(dog.observe(at(400), &status(9, 9)), none);
        // Again, and then it goes away.
        dog.observe(at(500), &status(9, 10));
        assert_eq!(dog.observe(at(600), &status(9, 10)).began.len(), 1);
        let gone = Status {
            epoch: 10,
            readers: vec![],
        };
        assert_eq!(dog.observe(at(700), &gone).ended[0].name, "w");
    }
}
