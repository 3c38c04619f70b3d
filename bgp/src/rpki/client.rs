//! A router's side of the protocol to one cache: RFC 8210 6 to 8, in the manner of `session`: time and octets in, octets
//! and changes out.
//!
//! A whole set, or an increment, counts when its End of Data is there, and not before. What a cache said counts until it
//! says otherwise or the expire interval is over, whether it can be reached or not. A cache that does not answer in
//! version 1 is asked in version 0 next (RFC 8210 7).

use std::time::{Duration, Instant};

use super::pdu::{HEADER, Pdu, Reason, VERSIONS, code_name};
use super::table::{CacheId, Changes, RoaTable, Vrp, tidy};

/// Intervals in seconds, RFC 8210 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// From one End of Data to the next query.
    pub refresh: u32,
    /// From a query that failed to the next.
    pub retry: u32,
    /// From an End of Data to the end of what it said.
    pub expire: u32,
}

impl Default for Timers {
    /// RFC 8210 6.
    fn default() -> Self {
        Self {
            refresh: 3600,
            retry: 600,
            expire: 7200,
        }
    }
}

impl Timers {
    /// Within the bounds of RFC 8210 6; expire is more than the others.
    #[must_use]
    pub fn bounded(self) -> Self {
        let refresh = self.refresh.clamp(1, 86_400);
        let retry = self.retry.clamp(1, 7200);
        Self {
            refresh,
            retry,
            expire: self
                .expire
                .clamp(600, 172_800)
                .max((refresh.max(retry) + 1).min(172_800)),
        }
    }
}

/// How a cache is dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Instead of what the cache says.
    pub refresh: Option<u32>,
    /// Instead of what the cache says.
    pub retry: Option<u32>,
    /// Instead of what the cache says.
    pub expire: Option<u32>,
}

/// What happens to a client.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The connection that was asked for is there.
    Connected,
    /// Octets of it.
    Received(&'a [u8]),
    /// It is gone, or could not be made, for this reason.
    Closed(&'a str),
    /// [`Client::poll_at`] has come.
    Tick,
    /// The client is to end; what the cache said is forgotten.
    Stop,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the cache; answer with [`Event::Connected`] or [`Event::Closed`].
    Connect,
    /// Send these octets.
    Send(Vec<u8>),
    /// Close the connection, once what was sent is out. It is not reported back.
    Close,
    /// Validate these routes again.
    Changed(Changes),
    /// Something for the log.
    Log(String),
}

/// What a client is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Waiting to connect.
    Idle,
    /// A connection is being made.
    Connecting,
    /// A query was sent.
    Asked,
    /// An answer is coming.
    Receiving,
    /// Nothing is to be done until the cache notifies, or the refresh interval is over.
    Synchronised,
}

impl State {
    /// For people and the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Connecting => "connecting",
            Self::Asked => "asked",
            Self::Receiving => "receiving",
            Self::Synchronised => "synchronised",
        }
    }
}

/// How a client is, to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// The version that is spoken.
    pub version: u8,
    /// The cache's session, and the serial that we have.
    pub session: Option<(u16, u32)>,
    /// When the last End of Data came.
    pub since: Option<Instant>,
    /// When what it said ends.
    pub expires: Option<Instant>,
    /// The intervals that hold.
    pub timers: Timers,
    /// The last thing that went wrong, if nothing went right since.
    pub error: Option<String>,
    /// So many payloads came of the answer that is coming.
    pub coming: usize,
    /// When it will connect, ask again, or give the connection up.
    pub next: Option<Instant>,
}

/// Silence in the middle of an answer, or instead of one, for which a connection is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// To the first attempt after a connection was lost; it doubles up to the retry interval.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// An answer of more payloads is not taken: several times what the whole Internet has.
const MOST_PAYLOADS: usize = 8_000_000;

/// What is being received.
#[derive(Clone, Debug)]
enum Answer {
    /// A whole set, staged in the table.
    Whole,
    /// What changed.
    Increment(Vec<(bool, Vrp)>),
}

/// Speaks with one cache.
#[derive(Clone, Debug)]
pub struct Client {
    cache: CacheId,
    settings: Settings,
    state: State,
    version: u8,
    /// The cache has answered on this connection.
    heard: bool,
    session: Option<(u16, u32)>,
    /// The session of the answer that is coming.
    coming: u16,
    answer: Answer,
    /// So many payloads of it came.
    payloads: usize,
    input: Vec<u8>,
    timers: Timers,
    /// What the cache said of them.
    said: Option<Timers>,
    /// Connect, ask again, or give the connection up, as the state says.
    next: Option<Instant>,
    backoff: Duration,
    since: Option<Instant>,
    expires: Option<Instant>,
    error: Option<String>,
}

impl Client {
    /// For a cache; connects at the first [`Event::Tick`].
    #[must_use]
    pub fn new(cache: CacheId, settings: Settings, now: Instant) -> Self {
        let mut client = Self {
            cache,
            settings,
            state: State::Idle,
            version: *VERSIONS.end(),
            heard: false,
            session: None,
            coming: 0,
            answer: Answer::Whole,
            payloads: 0,
            input: Vec::new(),
            timers: Timers::default(),
            said: None,
            next: Some(now),
            backoff: FIRST_RETRY,
            since: None,
            expires: None,
            error: None,
        };
        client.take_timers(None);
        client
    }

    /// When to call with [`Event::Tick`].
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        [self.next, self.expires].into_iter().flatten().min()
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            state: self.state,
            version: self.version,
            session: self.session,
            since: self.since,
            expires: self.expires,
            timers: self.timers,
            error: self.error.clone(),
            coming: match self.state {
                State::Receiving => self.payloads,
                _ => 0,
            },
            next: self.next,
        }
    }

    /// Other settings: the intervals hold from the last End of Data on, as if they had been those all along.
    pub fn set(&mut self, settings: Settings, now: Instant) {
        if settings == self.settings {
            return;
        }
        self.settings = settings;
        self.take_timers(self.said);
        let Some(since) = self.since else { return };
        let after = |s: u32| Some(since + Duration::from_secs(s.into()));
        if self.expires.is_some() {
            self.expires = after(self.timers.expire);
        }
        if self.state == State::Synchronised {
            self.next = after(self.timers.refresh).max(Some(now));
        }
    }

    /// Takes an event; what is wanted is appended to `out`.
    pub fn handle(
        &mut self,
        now: Instant,
        event: Event<'_>,
        table: &mut RoaTable,
        out: &mut Vec<Output>,
    ) {
        match event {
            Event::Connected => self.connected(now, out),
            Event::Received(b) => self.received(now, b, table, out),
            Event::Closed(why) => self.closed(now, why, table),
            Event::Tick => self.tick(now, table, out),
            Event::Stop => {
                if self.state != State::Idle {
                    out.push(Output::Close);
                }
                self.drop_session(table, out);
                (self.state, self.next) = (State::Idle, None);
            }
        }
    }

    fn connected(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.state == State::Connecting {
            self.heard = false;
            self.input.clear();
            self.ask(now, out);
        }
    }

    /// Sends the query that fits what we have.
    fn ask(&mut self, now: Instant, out: &mut Vec<Output>) {
        let query = match self.session {
            Some((session, serial)) => Pdu::SerialQuery { session, serial },
            None => Pdu::ResetQuery,
        };
        let mut octets = Vec::new();
        query.encode(self.version, &mut octets);
        out.push(Output::Send(octets));
        self.state = State::Asked;
        self.next = Some(now + SILENCE);
    }

    fn closed(&mut self, now: Instant, why: &str, table: &mut RoaTable) {
        if self.state == State::Idle {
            return;
        }
        self.error = Some(why.to_owned());
        if self.state == State::Asked && !self.heard && self.session.is_some() {
            // So do caches that do not know the session, StayRTR after a new start: everything is asked for next time, and what
            // was said before counts until it is there.
            self.session = None;
        } else if self.state == State::Asked && !self.heard {
            // Caches of old hang up on what they do not know.
            self.version = if self.version == 0 {
                *VERSIONS.end()
            } else {
                0
            };
        }
        self.abandon(table);
        let retry = Duration::from_secs(self.timers.retry.into());
        let wait = self.backoff.min(retry);
        self.backoff = (wait * 2).min(retry);
        self.state = State::Idle;
        self.next = Some(now + wait);
    }

    /// What came of an answer without its end is nothing.
    fn abandon(&mut self, table: &mut RoaTable) {
        if self.state == State::Receiving && matches!(self.answer, Answer::Whole) {
            table.abort(self.cache);
        }
        self.answer = Answer::Whole;
    }

    fn drop_session(&mut self, table: &mut RoaTable, out: &mut Vec<Output>) {
        self.abandon(table);
        self.session = None;
        self.expires = None;
        let changes = table.forget(self.cache);
        if !changes.is_empty() {
            out.push(Output::Changed(changes));
        }
    }

    fn tick(&mut self, now: Instant, table: &mut RoaTable, out: &mut Vec<Output>) {
        if self.expires.is_some_and(|at| at <= now) {
            let state = self.state;
            self.drop_session(table, out);
            self.note("what the cache said is too old, and counts no more", out);
            if matches!(state, State::Asked | State::Receiving) {
                // Its answer would be about what is forgotten.
                self.give_up(now, out);
            }
        }
        if self.next.is_none_or(|at| at > now) {
            return;
        }
        match self.state {
            State::Idle => {
                self.state = State::Connecting;
                self.next = None;
                out.push(Output::Connect);
            }
            State::Synchronised => self.ask(now, out),
            State::Asked | State::Receiving => {
                self.note("the cache is silent", out);
                self.abandon(table);
                self.give_up(now, out);
            }
            State::Connecting => self.next = None,
        }
    }

    /// Closes the connection; the next is made after the retry interval.
    fn give_up(&mut self, now: Instant, out: &mut Vec<Output>) {
        out.push(Output::Close);
        self.state = State::Idle;
        self.next = Some(now + Duration::from_secs(self.timers.retry.into()));
    }

    fn note(&mut self, text: &str, out: &mut Vec<Output>) {
        self.error = Some(text.to_owned());
        out.push(Output::Log(text.to_owned()));
    }

    fn received(
        &mut self,
        now: Instant,
        octets: &[u8],
        table: &mut RoaTable,
        out: &mut Vec<Output>,
    ) {
        if matches!(self.state, State::Idle | State::Connecting) {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend_from_slice(octets);
        let mut at = 0;
        let mut failed = None;
        while failed.is_none() {
            let rest = &input[at..];
            match Pdu::decode(rest) {
                Ok(None) => break,
                Ok(Some((version, pdu, len))) => {
                    at += len;
                    if let Err(e) = self.pdu(now, version, &pdu, table, out) {
                        failed = Some((e, &rest[..len]));
                    }
                    if matches!(self.state, State::Idle | State::Connecting) {
                        return;
                    }
                }
                Err(e) => {
                    // An error report about an error report would be answered in kind: RFC 8210 5.11.
                    let about = &rest[..rest.len().min(HEADER)];
                    let report = rest.get(1) == Some(&10);
                    failed = Some((Failure::Told(e.reason, e.text, !report), about));
                }
            }
        }
        if let Some((failure, about)) = failed {
            self.fail(now, failure, about, table, out);
            return;
        }
        input.drain(..at);
        self.input = input;
        if matches!(self.state, State::Asked | State::Receiving) && !octets.is_empty() {
            self.next = Some(now + SILENCE);
        }
    }

    /// Ends the connection for something that is wrong.
    fn fail(
        &mut self,
        now: Instant,
        failure: Failure,
        about: &[u8],
        table: &mut RoaTable,
        out: &mut Vec<Output>,
    ) {
        self.abandon(table);
        match failure {
            Failure::Told(reason, text, tell) => {
                if tell {
                    let mut octets = Vec::new();
                    let report = Pdu::ErrorReport {
                        code: reason as u16,
                        pdu: about,
                        text: text.as_bytes(),
                    };
                    report.encode(self.version, &mut octets);
                    out.push(Output::Send(octets));
                }
                self.note(&format!("{}: {text}", reason.name()), out);
                // Who disagrees about what there is starts anew; what was said before counts until then.
                if reason != Reason::UnsupportedVersion {
                    self.session = None;
                }
            }
            Failure::Session => {
                // RFC 8210 5.1: all that came of another session goes.
                self.drop_session(table, out);
                self.note("the cache began a new session", out);
                out.push(Output::Close);
                self.state = State::Idle;
                // At once, as nothing that it said counts until then; but not one after the other.
                let last = self.since.map(|at| now.saturating_duration_since(at));
                let hurry = last.is_none_or(|ago| ago >= FIRST_RETRY);
                let retry = Duration::from_secs(self.timers.retry.into());
                self.next = Some(if hurry {
                    now
                } else {
                    now + FIRST_RETRY.min(retry)
                });
                return;
            }
            Failure::Downgrade => {
                self.version = *VERSIONS.start();
                out.push(Output::Close);
                self.state = State::Idle;
                self.next = Some(now);
                return;
            }
            Failure::Report(text) => {
                self.note(&text, out);
                // Mostly it is about the session or the serial (RFC 8210 5.1): everything is asked for next time.
                self.session = None;
            }
        }
        self.give_up(now, out);
    }

    fn pdu(
        &mut self,
        now: Instant,
        version: u8,
        pdu: &Pdu<'_>,
        table: &mut RoaTable,
        out: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        if let Pdu::ErrorReport { code, text, .. } = pdu {
            return self.report(now, *code, version, text, out);
        }
        if !self.heard {
            // RFC 8210 7: notifications may come before the version is agreed on, and say nothing.
            if let Pdu::SerialNotify { .. } = pdu {
                return Ok(());
            }
            // A cache that answers in an older version speaks no other.
            self.version = self.version.min(version);
            self.heard = true;
        }
        if version != self.version {
            let text = format!("version {version} after version {}", self.version);
            return Err(Failure::Told(Reason::UnexpectedVersion, text, true));
        }
        let unexpected = || {
            let text = "this was not asked for".to_owned();
            Err(Failure::Told(Reason::InvalidRequest, text, true))
        };
        match (pdu, self.state) {
            (Pdu::RouterKey, State::Receiving) => Ok(()),
            (Pdu::Prefix { announce, vrp }, State::Receiving) => self.prefix(*announce, vrp, table),
            (Pdu::SerialNotify { session, serial }, State::Synchronised) => {
                if self.session != Some((*session, *serial)) {
                    // A session that is not ours shows in the answer.
                    self.ask(now, out);
                }
                Ok(())
            }
            (Pdu::SerialNotify { .. }, _) => Ok(()),
            (Pdu::CacheResponse { session }, State::Asked) => {
                self.answer = match self.session {
                    None => Answer::Whole,
                    Some((ours, _)) if ours == *session => Answer::Increment(Vec::new()),
                    Some(_) => return Err(Failure::Session),
                };
                self.coming = *session;
                self.payloads = 0;
                self.state = State::Receiving;
                Ok(())
            }
            (Pdu::CacheReset, State::Asked) if self.session.is_some() => {
                // What it said before counts until the whole set is there.
                self.session = None;
                self.ask(now, out);
                Ok(())
            }
            (
                Pdu::EndOfData {
                    session,
                    serial,
                    timers,
                },
                State::Receiving,
            ) => {
                if *session != self.coming {
                    let text = "the answer ends in another session".to_owned();
                    return Err(Failure::Told(Reason::CorruptData, text, true));
                }
                self.session = Some((*session, *serial));
                self.take_timers(*timers);
                self.end_of_data(now, table, out);
                Ok(())
            }
            _ => unexpected(),
        }
    }

    fn report(
        &mut self,
        now: Instant,
        code: u16,
        version: u8,
        text: &[u8],
        out: &mut Vec<Output>,
    ) -> Result<(), Failure> {
        let words = format!(
            "the cache says: {}{}{}",
            code_name(code),
            if text.is_empty() { "" } else { ": " },
            String::from_utf8_lossy(&text[..text.len().min(200)]).escape_debug()
        );
        if code == Reason::UnsupportedVersion as u16 && !self.heard && version < self.version {
            return Err(Failure::Downgrade);
        }
        if code == Reason::NoData as u16 && self.state == State::Asked {
            // Not fatal: the connection stays, and the question is asked again.
            self.note(&words, out);
            self.heard = true;
            self.state = State::Synchronised;
            self.next = Some(now + Duration::from_secs(self.timers.retry.into()));
            return Ok(());
        }
        Err(Failure::Report(words))
    }

    fn prefix(&mut self, announce: bool, vrp: &Vrp, table: &mut RoaTable) -> Result<(), Failure> {
        let wrong = |reason| Err(Failure::Told(reason, format!("{vrp:?}"), true));
        self.payloads += 1;
        if self.payloads > MOST_PAYLOADS {
            let text = format!("more than {MOST_PAYLOADS} payloads in one answer");
            return Err(Failure::Told(Reason::InternalError, text, true));
        }
        match &mut self.answer {
            Answer::Whole if !announce => wrong(Reason::UnknownWithdrawal),
            Answer::Whole if !table.stage(self.cache, vrp) => wrong(Reason::Duplicate),
            Answer::Whole => Ok(()),
            Answer::Increment(all) => {
                all.push((announce, *vrp));
                Ok(())
            }
        }
    }

    fn end_of_data(&mut self, now: Instant, table: &mut RoaTable, out: &mut Vec<Output>) {
        let changes = match std::mem::replace(&mut self.answer, Answer::Whole) {
            Answer::Whole => table.commit(self.cache),
            Answer::Increment(all) => {
                let mut changes = Changes::default();
                for (announce, vrp) in &all {
                    // RFC 8210 5.6 has reports for what is announced twice or withdrawn without need. The answer is the
                    // same whichever came first, so it is taken.
                    if *announce {
                        table.announce(self.cache, vrp, &mut changes);
                    } else {
                        table.withdraw(self.cache, vrp, &mut changes);
                    }
                }
                tidy(changes)
            }
        };
        if !changes.is_empty() {
            out.push(Output::Changed(changes));
        }
        let after = |s: u32| Some(now + Duration::from_secs(s.into()));
        self.state = State::Synchronised;
        self.next = after(self.timers.refresh);
        self.expires = after(self.timers.expire);
        self.since = Some(now);
        self.backoff = FIRST_RETRY;
        self.error = None;
    }

    fn take_timers(&mut self, said: Option<Timers>) {
        self.said = said;
        let said = said.unwrap_or_default();
        self.timers = Timers {
            refresh: self.settings.refresh.unwrap_or(said.refresh),
            retry: self.settings.retry.unwrap_or(said.retry),
            expire: self.settings.expire.unwrap_or(said.expire),
        }
        .bounded();
    }
}

/// Why a connection ends.
enum Failure {
    /// For this, in these words; true: the cache is told.
    Told(Reason, String, bool),
    /// The cache has another session than we.
    Session,
    /// The cache speaks version 0 only.
    Downgrade,
    /// The cache says so.
    Report(String),
}

#[cfg(test)]
mod tests;
