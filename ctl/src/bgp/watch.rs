//! Who is told what BGP hears, as far as it concerns the whole driver: dumps, files.

use std::time::{Duration, Instant, SystemTime};

use bgp::speaker::Dump;

use super::mrt::Log;
use super::{Driver, show};
use crate::config::Valid;
use crate::request::{BgpDumpQuery, Page, Refused};

/// How often the speaker is told the time of day.
const CLOCK: Duration = Duration::from_secs(10);

/// Since 1970.
pub(super) fn time_of_day() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

/// All of them.
#[derive(Default)]
pub(super) struct Watchers {
    log: Option<Log>,
    next_clock: Option<Instant>,
}

impl Watchers {
    /// When they want to be looked at again.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        self.log.as_ref().map(Log::poll_at)
    }
}

impl Driver {
    /// Takes over what the configuration says of them.
    pub(super) fn apply_watch(&mut self, next: &Valid, now: Instant) {
        let Some(speaker) = &mut self.speaker else {
            return;
        };
        let wanted = next.watch.mrt.as_ref();
        let log = &mut self.watchers.log;
        if log
            .as_ref()
            .is_some_and(|l| wanted.is_none_or(|w| !l.is(w)))
            && let Some(old) = log.take()
        {
            old.end(Some(speaker));
        }
        if let (None, Some(wanted)) = (&log, wanted) {
            speaker.set_time(now, time_of_day());
            *log = Some(Log::begin(wanted, speaker, now));
        }
    }

    /// Their piece of a turn. True: there is more at once.
    pub(super) fn watch(&mut self, now: Instant) -> bool {
        let Some(speaker) = &mut self.speaker else {
            return false;
        };
        if self.watchers.next_clock.is_none_or(|at| at <= now) {
            self.watchers.next_clock = Some(now + CLOCK);
            speaker.set_time(now, time_of_day());
        }
        if let Some(log) = &mut self.watchers.log {
            log.turn(speaker, now);
        }
        false
    }

    /// What waits is written, and no more.
    pub(super) fn end_watch(&mut self) {
        if let Some(log) = self.watchers.log.take() {
            log.end(self.speaker.as_mut());
        }
    }

    /// The next piece of a dump.
    pub(crate) fn dump(
        &mut self,
        query: &BgpDumpQuery,
        after: Option<Box<Dump>>,
        now: Instant,
    ) -> Result<Page<u8, Box<Dump>>, Refused> {
        let Some(speaker) = &mut self.speaker else {
            return Err(show::NOT_SPOKEN.into());
        };
        let mut dump = after
            .unwrap_or_else(|| Box::new(Dump::new(&query.families, query.received, time_of_day())));
        let mut rows = Vec::new();
        let more = speaker.dump(&mut dump, now, &mut rows);
        Ok(Page {
            rows,
            next: more.then_some(dump),
        })
    }

    /// How they do.
    pub(crate) fn show_watch(&mut self, _: Instant) -> api::BgpWatch {
        let speaker = self.speaker.as_mut();
        api::BgpWatch {
            stations: Vec::new(),
            mrt: self.watchers.log.as_ref().map(|l| l.show(speaker)),
        }
    }
}
