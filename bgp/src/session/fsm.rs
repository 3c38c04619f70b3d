//! Events that are not messages: RFC 4271 8.1 and 8.2.2, in the order of their numbers; RFC 4724 5; RFC 9687 4.

use std::time::{Duration, Instant};

use super::negotiate::{self, Negotiated};
use super::timers::expire;
use super::{
    Cause, Conn, Down, Event, Keep, Lane, Output, Reset, Rest, Session, Stage, State, Stop,
};
use crate::types::Family;
use crate::wire::{Kind, Message, Open, Refresh, RouteRefresh};

/// The "large value" that RFC 4271 8.2.2 has for the hold timer before an OPEN came.
const LARGE_HOLD: Duration = Duration::from_secs(240);
/// How much longer the hold timer runs while octets of the neighbour wait to be read.
const BACKLOG_HOLD: Duration = Duration::from_secs(10);
/// A session younger than this may still see the other half of a collision.
const COLLISION_WINDOW: Duration = Duration::from_secs(5);
/// RFC 9687 5: the default of the send hold timer, if twice the hold time is not longer.
const SEND_HOLD: Duration = Duration::from_secs(480);

/// Where a session goes when it has lost a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nowhere: another connection has its place.
    Stay,
    /// Active, and to connect again when the ConnectRetryTimer expires.
    Active,
    /// Idle, and again after the IdleHoldTimer, which is longer the more failures there were.
    Damp,
    /// Likewise, without counting this as a failure.
    DampUncounted,
    /// Idle, and again soon, with all connections closed.
    Again,
    /// Idle for so long, with all connections closed.
    Hold(Duration),
    /// Idle until it is started, with all connections closed.
    Stop,
}

/// The neighbour takes no ROUTE-REFRESH, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRefresh {
    /// There is no session.
    #[error(
        "the session is not established: wait for it to come up; then everything is sent anyway"
    )]
    NotEstablished,
    /// RFC 2918 was not offered.
    #[error("the neighbour does not offer route refresh (RFC 2918): reset the session instead")]
    NotOffered,
    /// The family is not one of the session.
    #[error("{0} was not agreed on with the neighbour: configure it on both sides")]
    NotAgreed(Family),
}

impl Session {
    /// Something happened.
    pub fn handle(&mut self, now: Instant, event: Event, out: &mut Vec<Output>) {
        match event {
            Event::Start => self.start(now, out),
            Event::Stop(stop) => self.stop(now, &stop, out),
            Event::Connected(conn) => {
                let i = self.find(conn);
                let made = |i: &usize| self.stage(*i) == Some(Stage::Connecting);
                if let Some(i) = i.filter(made) {
                    self.connected(now, i, out);
                }
            }
            Event::Failed(conn, why) => self.failed(now, conn, why, out),
            Event::Tick => self.tick(now, out),
            Event::Wrote { conn, octets, left } => self.wrote(now, conn, octets, left),
            Event::UpdatesSent(n) => self.updates_sent(now, n),
            Event::Prefixes(family, count) => self.prefixes(now, family, count, out),
        }
        self.settle(now, out);
    }

    /// Events 14, 15 and 17: the neighbour has opened a connection. `None`: close it.
    pub fn accept(&mut self, now: Instant, out: &mut Vec<Output>) -> Option<Conn> {
        let conn = self.take(now, out);
        match conn {
            Some(_) => self.counters.accepted += 1,
            None => self.counters.refused += 1,
        }
        self.settle(now, out);
        conn
    }

    /// Queues a ROUTE-REFRESH: a request, or one of the marks of RFC 7313 (left out where they were not agreed on).
    ///
    /// # Errors
    /// The neighbour could not understand it.
    pub fn refresh(
        &mut self,
        family: Family,
        refresh: Refresh,
        out: &mut Vec<Output>,
    ) -> Result<(), NoRefresh> {
        let (conn, agreed) = self.established().ok_or(NoRefresh::NotEstablished)?;
        if !agreed.refresh {
            return Err(NoRefresh::NotOffered);
        }
        if !agreed.context.families.contains(family) {
            return Err(NoRefresh::NotAgreed(family));
        }
        if refresh == Refresh::Request || agreed.enhanced_refresh {
            let message = RouteRefresh::new(family, refresh);
            self.send(conn, &Message::RouteRefresh(message), out);
        }
        Ok(())
    }

    /// Tells of a change of state, once whatever happened is done.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Vec<Output>) {
        let lanes = self.lanes().map(Lane::state).max();
        let state = match self.rest {
            Rest::Stopped | Rest::Holding(_) => State::Idle,
            Rest::Running => lanes.unwrap_or(State::Active),
        };
        if state != self.state {
            self.state = state;
            self.since = Some(now);
            self.counters.transitions += 1;
            out.push(Output::State(state));
        }
        self.since.get_or_insert(now);
    }

    pub(super) fn stage(&self, i: usize) -> Option<Stage> {
        self.lanes[i].as_ref().map(|l| l.stage)
    }

    pub(super) fn send(&mut self, conn: Conn, message: &Message<'_>, out: &mut Vec<Output>) {
        self.counters.sent.hit(match message {
            Message::Open(_) => Kind::Open,
            Message::Update(_) => Kind::Update,
            Message::Notification(_) => Kind::Notification,
            Message::Keepalive => Kind::Keepalive,
            Message::RouteRefresh(_) => Kind::RouteRefresh,
        });
        let mut octets = Vec::new();
        message.emit(&mut octets);
        out.push(Output::Send(conn, octets));
    }

    fn start(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.rest == Rest::Running {
            return;
        }
        (self.connect_retry_counter, self.failures, self.drops) = (0, 0, 0);
        self.accept_at = None;
        self.bare = false;
        self.begin(now, out);
    }

    fn begin(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.rest = Rest::Running;
        if !self.config.passive {
            self.connect(now, out);
        }
    }

    fn lane(&mut self, ours: bool) -> Option<(usize, Conn)> {
        let i = self.lanes.iter().position(Option::is_none)?;
        let conn = Conn(self.next_conn);
        self.next_conn += 1;
        self.lanes[i] = Some(Lane {
            conn,
            ours,
            stage: Stage::Connecting,
            delay_at: None,
            hold_at: None,
            keepalive_at: None,
            send_hold_at: None,
            tail: Vec::new(),
            backlog: false,
            open: None,
            heard: Vec::new(),
            agreed: None,
            established_at: None,
        });
        Some((i, conn))
    }

    fn connect(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.connect_retry_at = Some(now + self.jitter.apply(self.config.connect_retry));
        if let Some((_, conn)) = self.lane(true) {
            self.counters.connects += 1;
            out.push(Output::Connect(conn));
        }
    }

    fn stop(&mut self, now: Instant, stop: &Stop, out: &mut Vec<Output>) {
        let after = match stop {
            Stop::Shutdown(_) | Stop::Deconfigured => After::Stop,
            Stop::Reset { .. } | Stop::ConfigChanged => After::Again,
            Stop::OutOfResources | Stop::BfdDown => After::Damp,
        };
        let cause = Cause::Stopped(stop.clone());
        if self.rest == Rest::Running {
            if after == After::Damp {
                self.close_all(now, &cause, out);
            }
            self.note(now, State::Active, cause.clone());
            self.leave(now, after, &cause, out);
            return;
        }
        // Ignored in Idle (RFC 4271 8.2.2), but that a shutdown is meant to last, and a reset to clear what holds it there.
        let limited = |r: &Reset| matches!(r.cause, Cause::MaxPrefixes { .. });
        match after {
            After::Stop => {
                self.rest = Rest::Stopped;
                self.note(now, State::Idle, cause);
            }
            After::Again
                if self.rest != Rest::Stopped || self.last_error.as_ref().is_some_and(limited) =>
            {
                self.start(now, out);
            }
            _ => {}
        }
    }

    /// Events 16 and 17.
    fn connected(&mut self, now: Instant, i: usize, out: &mut Vec<Output>) {
        let Some(lane) = &mut self.lanes[i] else {
            return;
        };
        if self.config.delay_open.is_zero() {
            self.send_open(now, i, out);
        } else {
            lane.stage = Stage::Delaying;
            lane.delay_at = Some(now + self.config.delay_open);
        }
        self.stop_connect_retry();
    }

    /// The ConnectRetryTimer runs only for a connection that is being made.
    pub(super) fn stop_connect_retry(&mut self) {
        if !self.lanes().any(|l| l.stage == Stage::Connecting) {
            self.connect_retry_at = None;
        }
    }

    pub(super) fn send_open(&mut self, now: Instant, i: usize, out: &mut Vec<Output>) {
        let open = self.our_open();
        let Some(lane) = &mut self.lanes[i] else {
            return;
        };
        lane.stage = Stage::OpenSent;
        lane.delay_at = None;
        lane.hold_at = Some(now + LARGE_HOLD);
        lane.open = Some(open.clone());
        let conn = lane.conn;
        self.send(conn, &Message::Open(open), out);
    }

    /// What our OPEN says. Once there was a session, the forwarding state is there whatever became of the session: without
    /// the F bits the neighbour would drop our routes just when the new session comes up (RFC 4724 4.2, RFC 8538 4).
    pub(super) fn our_open(&self) -> Open {
        let mut restarting = self.restarting;
        if self.counters.established > 0 {
            restarting.forwarding = self.config.families.iter().map(|f| f.family).collect();
        }
        negotiate::open(&self.config, restarting, self.bare)
    }

    /// Room for a connection from the neighbour, if there is to be one.
    fn take(&mut self, now: Instant, out: &mut Vec<Output>) -> Option<Conn> {
        if self.rest != Rest::Running || self.accept_at.is_some_and(|at| now < at) {
            return None;
        }
        let restarts = |l: &Lane| {
            let graceful = l.agreed.as_ref().and_then(|a| a.graceful.as_ref());
            graceful.is_some_and(|g| !g.families.is_empty())
                && l.established_at
                    .is_some_and(|at| now.duration_since(at) >= COLLISION_WINDOW)
        };
        if let Some(i) = self.position(|l| l.stage == Stage::Established && restarts(l)) {
            self.close_all_but(now, i, &Cause::Collision, out);
            self.lose(now, i, Cause::Replaced, After::Stay, out);
        } else if let Some(i) =
            self.position(|l| !l.ours && (Stage::Delaying..=Stage::OpenSent).contains(&l.stage))
        {
            // The neighbour would not open another one if it still had this one.
            self.lose(now, i, Cause::Collision, After::Stay, out);
        }
        let (i, conn) = self.lane(false)?;
        self.connected(now, i, out);
        Some(conn)
    }

    fn position(&self, want: impl Fn(&Lane) -> bool) -> Option<usize> {
        self.lanes
            .iter()
            .position(|l| l.as_ref().is_some_and(&want))
    }

    /// Event 18.
    fn failed(&mut self, now: Instant, conn: Conn, why: String, out: &mut Vec<Output>) {
        let Some(i) = self.find(conn) else {
            return;
        };
        let (cause, after) = match self.stage(i) {
            Some(Stage::Connecting) => (Cause::ConnectFailed(why), After::Active),
            Some(Stage::Delaying | Stage::OpenSent) => (Cause::Closed(why), After::Active),
            _ => (Cause::Closed(why), After::Damp),
        };
        self.lose(now, i, cause, after, out);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Rest::Holding(at) = self.rest
            && at <= now
        {
            self.begin(now, out); // event 13
        }
        if expire(&mut self.connect_retry_at, now) {
            self.connect_retry(now, out); // event 9
        }
        for i in 0..self.lanes.len() {
            self.tick_lane(now, i, out);
        }
    }

    fn connect_retry(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(i) = self.position(|l| l.stage == Stage::Connecting) {
            self.lose(now, i, Cause::ConnectTimeout, After::Stay, out);
        }
        if self.lanes().next().is_none() && !self.config.passive {
            self.connect(now, out);
        }
    }

    fn tick_lane(&mut self, now: Instant, i: usize, out: &mut Vec<Output>) {
        let Some(lane) = &mut self.lanes[i] else {
            return;
        };
        if expire(&mut lane.delay_at, now) {
            return self.send_open(now, i, out); // event 12
        }
        let hold_time = lane.agreed.as_ref().map_or(LARGE_HOLD, |a| a.hold_time);
        if expire(&mut lane.hold_at, now) {
            if !lane.backlog {
                let cause = Cause::HoldTimer(hold_time, lane.state());
                return self.lose(now, i, cause, After::Damp, out); // event 10
            }
            lane.hold_at = Some(now + BACKLOG_HOLD.min(hold_time));
        }
        if expire(&mut lane.send_hold_at, now) {
            let cause = Cause::SendHoldTimer(self.send_hold(hold_time));
            return self.lose(now, i, cause, After::Damp, out); // event 29
        }
        if expire(&mut lane.keepalive_at, now) {
            let conn = lane.conn;
            self.send(conn, &Message::Keepalive, out); // event 11
            self.restart_keepalive(now, i);
        }
    }

    pub(super) fn restart_keepalive(&mut self, now: Instant, i: usize) {
        if let Some(lane) = &mut self.lanes[i]
            && let Some(agreed) = &lane.agreed
        {
            let every = agreed.keepalive;
            lane.keepalive_at = (!every.is_zero()).then(|| now + self.jitter.apply(every));
        }
    }

    fn send_hold(&self, hold_time: Duration) -> Duration {
        let usual = SEND_HOLD.max(hold_time * 2);
        self.config.send_hold.unwrap_or(usual)
    }

    fn wrote(&mut self, now: Instant, conn: Conn, octets: usize, left: usize) {
        let Some(i) = self.find(conn) else {
            return;
        };
        let Some(lane) = &self.lanes[i] else {
            return;
        };
        let Some(agreed) = lane
            .agreed
            .as_ref()
            .filter(|_| lane.stage == Stage::Established)
        else {
            return;
        };
        let time = self.send_hold(agreed.hold_time);
        // RFC 9687 4: not where KEEPALIVEs are not sent.
        let runs = left > 0 && !time.is_zero() && !agreed.hold_time.is_zero();
        let restart = octets > 0 || lane.send_hold_at.is_none();
        if let Some(lane) = &mut self.lanes[i] {
            match (runs, restart) {
                (false, _) => lane.send_hold_at = None,
                (true, true) => lane.send_hold_at = Some(now + time),
                (true, false) => {}
            }
        }
    }

    fn updates_sent(&mut self, now: Instant, n: u64) {
        if let Some(i) = self.position(|l| l.stage == Stage::Established) {
            self.counters.sent.update += n;
            self.restart_keepalive(now, i);
        }
    }

    fn prefixes(&mut self, now: Instant, family: Family, count: u32, out: &mut Vec<Output>) {
        let limits = self.config.family(family).and_then(|f| f.max_prefixes);
        let up = self.position(|l| l.stage == Stage::Established);
        let Some((max, i)) = limits.zip(up) else {
            return;
        };
        let limit = max.limit;
        if count > limit && !max.warn_only {
            return self.limit(now, i, Some((family, limit)), out);
        }
        let near = max.warn_percent > 0
            && u64::from(count) * 100 >= u64::from(limit) * u64::from(max.warn_percent);
        for (warned, yes) in [(&mut self.warned, near), (&mut self.passed, count > limit)] {
            let before = warned.contains(family);
            match (before, yes) {
                (false, true) => {
                    warned.insert(family);
                    out.push(Output::PrefixWarning {
                        family,
                        count,
                        limit,
                    });
                }
                (true, false) => warned.remove(family),
                _ => {}
            }
        }
    }

    /// Too many prefixes, as counted here or by a handler.
    pub(super) fn limit(
        &mut self,
        now: Instant,
        i: usize,
        limit: Option<(Family, u32)>,
        out: &mut Vec<Output>,
    ) {
        let max = limit.and_then(|(f, _)| self.config.family(f)?.max_prefixes);
        let restart = max.and_then(|m| m.restart);
        let cause = Cause::MaxPrefixes { limit, restart };
        let after = restart.map_or(After::Stop, After::Hold);
        self.lose(now, i, cause, after, out);
    }

    fn close_all(&mut self, now: Instant, cause: &Cause, out: &mut Vec<Output>) {
        self.close_all_but(now, self.lanes.len(), cause, out);
    }

    pub(super) fn close_all_but(
        &mut self,
        now: Instant,
        keep: usize,
        cause: &Cause,
        out: &mut Vec<Output>,
    ) {
        for i in (0..self.lanes.len()).filter(|i| *i != keep) {
            self.lose(now, i, cause.clone(), After::Stay, out);
        }
    }

    /// Ends a connection, with the NOTIFICATION that its cause has, and goes where `after` says.
    pub(super) fn lose(
        &mut self,
        now: Instant,
        i: usize,
        cause: Cause,
        after: After,
        out: &mut Vec<Output>,
    ) {
        let Some(lane) = self.lanes[i].take() else {
            return;
        };
        let state = lane.state();
        self.say_goodbye(&lane, &cause, out);
        out.push(Output::Close(lane.conn));
        if lane.stage == Stage::Established {
            self.down(now, &lane, &cause, out);
        } else if !lane.ours && cause != Cause::Collision {
            self.drops += 1;
            let wait = self.backoff(self.drops - 1);
            self.accept_at = (self.drops > 1).then(|| now + wait);
        }
        if lane
            .open
            .is_some_and(|o| o.capabilities == Default::default())
        {
            self.bare = false;
        }
        // The other half of a collision is no error.
        if !matches!(cause, Cause::Collision) || after != After::Stay {
            self.note(now, state, cause.clone());
        }
        self.leave(now, after, &cause, out);
    }

    fn note(&mut self, at: Instant, state: State, cause: Cause) {
        self.last_error = Some(Reset { at, state, cause });
    }

    fn say_goodbye(&mut self, lane: &Lane, cause: &Cause, out: &mut Vec<Output>) {
        let told = match lane.stage {
            Stage::Connecting => false,
            // SendNOTIFICATIONwithoutOPEN of RFC 4271 8.1.1, for errors in what the neighbour sent.
            Stage::Delaying => matches!(cause, Cause::Refused { .. }),
            _ => !matches!(cause, Cause::Received(_)),
        };
        let Some(n) = cause.notification().filter(|_| told) else {
            return;
        };
        let graceful = lane.agreed.as_ref().and_then(|a| a.graceful.as_ref());
        let hard = lane.stage == Stage::Established
            && cause.is_hard()
            && graceful.is_some_and(|g| g.notification);
        let n = if hard { n.hard() } else { n };
        self.send(lane.conn, &Message::Notification(n), out);
    }

    /// Established is over.
    fn down(&mut self, now: Instant, lane: &Lane, cause: &Cause, out: &mut Vec<Output>) {
        self.counters.lost += 1;
        self.warned = Default::default();
        self.passed = Default::default();
        let long = |at| now.duration_since(at) >= self.config.idle_hold_max;
        if lane.established_at.is_some_and(long) {
            self.failures = 0;
        }
        let keep = lane.agreed.as_ref().map(|a| self.keep(a, cause));
        self.last = Some(Reset {
            at: now,
            state: State::Established,
            cause: cause.clone(),
        });
        out.push(Output::Down(Down {
            cause: cause.clone(),
            keep: keep.unwrap_or_default(),
        }));
    }

    /// RFC 4724 4.2, RFC 8538 4, RFC 9494 4.2.
    fn keep(&self, agreed: &Negotiated, cause: &Cause) -> Vec<Keep> {
        let (Some(peer), Some(config)) = (&agreed.graceful, &self.config.graceful) else {
            return Vec::new();
        };
        let silent = matches!(cause, Cause::Closed(_) | Cause::Replaced);
        if cause.is_hard() || !(silent || peer.notification) {
            return Vec::new();
        }
        let families = agreed.context.families.iter().map(|family| {
            let long = peer.long_lived.iter().find(|l| l.family == family);
            let named = peer.families.contains(family);
            Keep {
                family,
                restart: if named {
                    peer.restart_time.min(config.stale_time)
                } else {
                    Duration::ZERO
                },
                long_lived: long.map_or(Duration::ZERO, |l| Duration::from_secs(l.time.into())),
            }
        });
        let some = |k: &Keep| !(k.restart.is_zero() && k.long_lived.is_zero());
        families.filter(some).collect()
    }

    /// `n` failures in a row: the shortest time, doubled with each after the first.
    fn backoff(&self, n: u32) -> Duration {
        let doubled = 2u32.saturating_pow(n.saturating_sub(1));
        let (min, max) = (self.config.idle_hold_min, self.config.idle_hold_max);
        min.saturating_mul(doubled).min(max.max(min))
    }

    fn leave(&mut self, now: Instant, after: After, cause: &Cause, out: &mut Vec<Output>) {
        let all = matches!(after, After::Again | After::Hold(_) | After::Stop);
        if all {
            self.close_all(now, cause, out);
        }
        self.stop_connect_retry();
        if after == After::Stay || self.lanes().next().is_some() {
            return;
        }
        let hold = match after {
            After::Stay => return,
            After::Active => {
                let retry = self.jitter.apply(self.config.connect_retry);
                self.connect_retry_at = (!self.config.passive).then(|| now + retry);
                return;
            }
            After::Damp => {
                self.connect_retry_counter += 1;
                self.failures = self.failures.saturating_add(1);
                let hold = self.backoff(self.failures);
                Some(self.jitter.apply(hold))
            }
            After::DampUncounted => {
                let hold = self.backoff(self.failures);
                Some(self.jitter.apply(hold))
            }
            After::Again => {
                self.connect_retry_counter = 0;
                Some(self.jitter.apply(self.config.idle_hold_min))
            }
            After::Hold(d) => Some(d),
            After::Stop => {
                self.connect_retry_counter = 0;
                None
            }
        };
        self.connect_retry_at = None;
        self.rest = hold.map_or(Rest::Stopped, |d| Rest::Holding(now + d));
    }
}
