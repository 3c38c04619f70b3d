//! Who is told what BGP hears, as far as it concerns the whole driver: stations, dumps, files.

use std::time::{Duration, Instant, SystemTime};

use bgp::speaker::Dump;
use mio::Token;

use super::bmp::Station;
use super::links::Links;
use super::mrt::Log;
use super::{Driver, STATIONS, show};
use crate::config::Valid;
use crate::request::{BgpDumpQuery, Page, Refused};
use crate::rib::Rib;
use ::net::VrfId;

/// How often the speaker is told the time of day.
const CLOCK: Duration = Duration::from_secs(10);

/// Since 1970.
pub(super) fn time_of_day() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// All of them.
#[derive(Default)]
pub(super) struct Watchers {
    log: Option<Log>,
    stations: Vec<Station>,
    /// Stations that there have been.
    numbered: usize,
    /// What the router calls itself.
    name: String,
    next_clock: Option<Instant>,
}

impl Watchers {
    /// When they want to be looked at again.
    pub(super) fn poll_at(&self) -> Option<Instant> {
        let stations = self.stations.iter().map(Station::poll_at);
        stations.chain(self.log.as_ref().map(Log::poll_at)).min()
    }

    /// A station's descriptor is ready.
    pub(super) fn ready(&mut self, token: usize, readable: bool, writable: bool) {
        let mut all = self.stations.iter_mut();
        if let Some(station) = all.find(|s| s.token().0 == token) {
            station.ready(readable, writable);
        }
    }
}

impl Driver {
    /// Takes over what the configuration says of them.
    pub(super) fn apply_watch(&mut self, next: &Valid, now: Instant) {
        let Some(speaker) = &mut self.speaker else {
            return;
        };
        let w = &mut self.watchers;
        w.name = next.system.name.clone().unwrap_or_else(host_name);
        let wanted = &next.watch.bmp;
        for old in std::mem::take(&mut w.stations) {
            match wanted.iter().any(|(name, told)| old.is(name, told)) {
                true => w.stations.push(old),
                false => old.end(Some(speaker), &self.registry),
            }
        }
        for (name, told) in wanted {
            if !w.stations.iter().any(|s| s.is(name, told)) {
                speaker.set_time(now, time_of_day());
                // A token comes again long after the descriptor it was for is gone.
                let token = Token(STATIONS + w.numbered % (1 << 18));
                w.numbered += 1;
                w.stations.push(Station::new(name, told, token, now));
            }
        }
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
    pub(super) fn watch(&mut self, links: &Links<'_>, rib: &Rib, now: Instant) -> bool {
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
        let description = concat!("Trunkline ", env!("CARGO_PKG_VERSION"));
        let who = (self.watchers.name.as_str(), description);
        let source = |to| match links.is_standalone() {
            true => None,
            false => links.source(VrfId::GLOBAL, to, rib),
        };
        let mut more = false;
        for station in &mut self.watchers.stations {
            more |= station.turn(speaker, &self.registry, who, source, now);
        }
        more
    }

    /// What waits is written, and no more.
    pub(super) fn end_watch(&mut self) {
        if let Some(log) = self.watchers.log.take() {
            log.end(self.speaker.as_mut());
        }
        for station in self.watchers.stations.drain(..) {
            station.end(self.speaker.as_mut(), &self.registry);
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
    pub(crate) fn show_watch(&mut self, now: Instant) -> api::BgpWatch {
        let stations = self.watchers.stations.iter();
        api::BgpWatch {
            stations: stations
                .map(|s| s.show(self.speaker.as_ref(), now))
                .collect(),
            mrt: (self.watchers.log.as_ref()).map(|l| l.show(self.speaker.as_mut())),
        }
    }
}
