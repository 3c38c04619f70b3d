//! Asking: pings along a path, and a trace of it, RFC 8029 4.2, 4.3 and 4.6. In virtual time and without I/O: a [`Session`] says what
//! to send and when, is told what comes, and says what it found.
//!
//! A ping is one request after another with a TTL that reaches the end. A trace lets the TTL grow, and puts into each request what
//! the router before told of the next (a downstream detailed mapping), so that each router says whether that is what it sees; the
//! first such mapping is our own tables'. Where a router is silent, the next is asked without it.
//!
//! The FECs around the innermost may end before it does: where a VPN's label, or BGP's, is swapped on the way (RFC 4364 10 b). In a trace
//! who is at their end says so (3.4.1.3, 4.6.1), which holds for the requests that follow. Pings go to the end at once: where it finds the
//! inner ones right, and an outer one not to be its own, it is asked about the inner ones alone (3.2: the sender chooses).
//!
//! Left out: looking for all paths of several (of the ways that a router tells, the first is followed: ours tells the one that the
//! request itself takes first).

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::respond::ALL_ROUTERS;
use super::{
    Detailed, Echo, FecElement, Hop, InLabels, Kind, Pad, ReplyMode, ReturnCode, StackChange, Tlv,
};

/// Routers that may be silent in a row, before a trace is given up.
const SILENT: u8 = 3;
/// FECs that others may have us ask about at most.
const MAX_FECS: usize = 16;

/// What to find out, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What the labels are for, from the outermost.
    pub fecs: Vec<FecElement>,
    /// Hop by hop; `None`: pings. What our tables say of the first router.
    pub trace: Option<Detailed>,
    /// Pings to be sent; of a trace, requests to a router that is silent. At least one.
    pub count: u32,
    /// From one ping to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Of the outermost label; of a trace, of the last router asked.
    pub ttl: u8,
    /// Answers are to come with the router alert option.
    pub alert: bool,
    /// Octets of message to be sent at least.
    pub size: usize,
}

/// A request to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Send {
    /// Of the labels.
    pub ttl: u8,
    /// The message.
    pub octets: Vec<u8>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// From where.
    pub from: IpAddr,
    /// After how long.
    pub took: Duration,
    /// What it says; where it refers to what lies behind it, what that says.
    pub code: ReturnCode,
    /// What belongs to it.
    pub subcode: u8,
    /// The ways on, that of the request first.
    pub ways: Vec<Detailed>,
    /// How the request came to it.
    pub came: Option<InLabels>,
}

impl Answer {
    /// It is the end of the path, as it should be.
    #[must_use]
    pub fn is_end(&self) -> bool {
        self.code == ReturnCode::EGRESS
    }

    /// The path goes on behind it.
    #[must_use]
    pub fn goes_on(&self) -> bool {
        matches!(
            self.code,
            ReturnCode::LABEL_SWITCHED | ReturnCode::FEC_CHANGE
        )
    }
}

impl Answer {
    /// Of so many FECs, how many from the innermost are right, where an outer one is what is wrong.
    fn good_within(&self, fecs: usize) -> Option<usize> {
        let wrong = matches!(
            self.code,
            ReturnCode::NO_MAPPING | ReturnCode::OTHER_LABEL | ReturnCode::WRONG_PROTOCOL
        );
        let good = usize::from(self.subcode).checked_sub(1)?;
        (wrong && (1..fecs).contains(&good)).then_some(good)
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is waited for.
    Waiting,
    /// No answer came in time.
    Lost,
    /// One did.
    Answered(Box<Answer>),
}

/// A request that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its number.
    pub sequence: u32,
    /// That on the wire: another once it was sent again.
    number: u32,
    /// Of its labels.
    pub ttl: u8,
    /// About so many FECs, from the innermost.
    pub fecs: usize,
    /// When.
    pub sent: Instant,
    /// What became of it.
    pub outcome: Outcome,
}

/// One ping or trace.
#[derive(Clone, Debug)]
pub struct Session {
    handle: u32,
    plan: Plan,
    probes: Vec<Probe>,
    /// All before it are answered or lost.
    settled: usize,
    /// When to send the next one; `None`: none, or none before an answer.
    due: Option<Instant>,
    /// Pings that are to be sent once more, by their place among the requests.
    again: Vec<usize>,
    /// Requests that were sent.
    sent: u32,
    /// Of a trace: the next TTL, how often it was sent, the silent ones before, and what was told of the next router.
    ttl: u8,
    tries: u32,
    silent: u8,
    next: Option<Detailed>,
}

impl Session {
    /// Begins at `now`. Answers are known by `handle`.
    #[must_use]
    pub fn new(handle: u32, plan: Plan, now: Instant) -> Self {
        Self {
            handle,
            ttl: if plan.trace.is_some() { 1 } else { plan.ttl },
            next: plan.trace.clone(),
            plan,
            probes: vec![],
            settled: 0,
            due: Some(now),
            again: vec![],
            sent: 0,
            tries: 0,
            silent: 0,
        }
    }

    /// What its answers are known by.
    #[must_use]
    pub const fn handle(&self) -> u32 {
        self.handle
    }

    /// The requests so far, in order.
    #[must_use]
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// How many of them, from the first, are answered or lost.
    #[must_use]
    pub const fn settled(&self) -> usize {
        self.settled
    }

    /// Nothing more will come of it.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.due.is_none() && self.settled == self.probes.len()
    }

    /// When to [`Self::tick`].
    #[must_use]
    pub fn poll_at(&self) -> Option<Instant> {
        let waiting = self.probes[self.settled..].iter();
        let ends = waiting.filter(|p| p.outcome == Outcome::Waiting);
        let ends = ends.map(|p| p.sent + self.plan.timeout);
        let again = self.again.iter().filter_map(|&at| self.probes.get(at));
        let again = again.map(|p| p.sent);
        ends.chain(again).chain(self.due).min()
    }

    /// Time has passed; `clock` is the time of day as NTP has it. A request, if one is due; more may be.
    pub fn tick(&mut self, now: Instant, clock: u64) -> Option<Send> {
        self.expire(now);
        while let Some(at) = self.again.pop() {
            if let Some(p) = self.probes.get_mut(at)
                && p.outcome == Outcome::Waiting
            {
                self.sent += 1;
                p.number = self.sent;
                let (ttl, fecs) = (p.ttl, p.fecs);
                let octets = self.request(self.sent, clock, fecs);
                return Some(Send { ttl, octets });
            }
        }
        if self.due.is_none_or(|at| at > now) {
            return None;
        }
        let sequence = u32::try_from(self.probes.len()).unwrap_or(u32::MAX) + 1;
        let (ttl, fecs) = (self.ttl, self.plan.fecs.len());
        self.sent += 1;
        self.probes.push(Probe {
            sequence,
            number: self.sent,
            ttl,
            fecs,
            sent: now,
            outcome: Outcome::Waiting,
        });
        self.tries += 1;
        let all = sequence >= self.plan.count;
        self.due = match self.plan.trace {
            None if !all => Some(now + self.plan.interval),
            _ => None,
        };
        let octets = self.request(self.sent, clock, fecs);
        Some(Send { ttl, octets })
    }

    fn request(&self, number: u32, clock: u64, fecs: usize) -> Vec<u8> {
        let mut tlvs = vec![Tlv::TargetFec(innermost(&self.plan.fecs, fecs).to_vec())];
        let tracing = self.plan.trace.is_some();
        if tracing {
            let next = self.next.clone().unwrap_or_else(unknown);
            tlvs.push(Tlv::Detailed(Detailed {
                want_in_labels: true,
                no_ip: false,
                code: ReturnCode::NONE,
                subcode: 0,
                multipath: None,
                changes: vec![],
                ..next
            }));
        }
        let mut echo = Echo::request(self.handle, number, clock, tlvs);
        echo.validate_stack = tracing;
        if self.plan.alert {
            echo.reply_mode = ReplyMode::UdpAlert;
        }
        let mut octets = vec![];
        echo.emit(&mut octets);
        // A pad has five octets beside what it is for.
        if let Some(n) = self.plan.size.checked_sub(octets.len() + 5) {
            echo.tlvs.push(Tlv::Pad(Pad::Drop, n));
            octets.clear();
            echo.emit(&mut octets);
        }
        octets
    }

    /// Gives up those that took too long.
    fn expire(&mut self, now: Instant) {
        let timeout = self.plan.timeout;
        let late = |p: &Probe| p.outcome == Outcome::Waiting && p.sent + timeout <= now;
        let mut any = false;
        for p in self.probes[self.settled..].iter_mut().filter(|p| late(p)) {
            p.outcome = Outcome::Lost;
            any = true;
        }
        self.settle();
        if any && self.plan.trace.is_some() {
            self.lost(now);
        }
    }

    /// Of a trace, a router was silent.
    fn lost(&mut self, now: Instant) {
        if self.tries < self.plan.count {
            self.due = Some(now);
            return;
        }
        self.silent += 1;
        self.next = None;
        if self.silent < SILENT {
            self.onward(now);
        }
    }

    fn onward(&mut self, now: Instant) {
        self.tries = 0;
        if self.ttl < self.plan.ttl {
            self.ttl += 1;
            self.due = Some(now);
        }
    }

    fn settle(&mut self) {
        let left = &self.probes[self.settled..];
        let done = left.iter().take_while(|p| p.outcome != Outcome::Waiting);
        self.settled += done.count();
    }

    /// Something came that has its handle. False: it is no answer to anything that is waited for.
    pub fn reply(&mut self, now: Instant, from: IpAddr, echo: &Echo) -> bool {
        if echo.kind != Kind::Reply || echo.handle != self.handle {
            return false;
        }
        self.expire(now);
        let waiting = self.probes.iter_mut().enumerate().skip(self.settled);
        let mut waiting = waiting.filter(|(_, p)| p.outcome == Outcome::Waiting);
        let Some((at, probe)) = waiting.find(|(_, p)| p.number == echo.sequence) else {
            return false;
        };
        let answer = read(echo, from, now.saturating_duration_since(probe.sent));
        if self.plan.trace.is_none()
            && let Some(good) = answer.good_within(probe.fecs)
        {
            // What else comes of the one before is nobody's.
            (probe.fecs, probe.sent, probe.number) = (good, now, 0);
            let inner = innermost(&self.plan.fecs, good);
            self.plan.fecs = inner.to_vec();
            self.again.push(at);
            return true;
        }
        let next = answer.ways.first().cloned();
        let goes_on = answer.goes_on();
        probe.outcome = Outcome::Answered(Box::new(answer));
        self.settle();
        if self.plan.trace.is_some() {
            (self.silent, self.next) = (0, next);
            if goes_on {
                let changes = self.next.iter().flat_map(|way| &way.changes);
                change(&mut self.plan.fecs, changes);
                self.onward(now);
            }
        }
        true
    }
}

fn innermost(fecs: &[FecElement], n: usize) -> &[FecElement] {
    &fecs[fecs.len().saturating_sub(n)..]
}

/// What is asked about behind a router that says this of it. The innermost stays: it is what all is for.
fn change<'c>(fecs: &mut Vec<FecElement>, changes: impl Iterator<Item = &'c StackChange>) {
    for c in changes {
        match &c.fec {
            Some(fec) if c.push && fecs.len() < MAX_FECS => fecs.insert(0, fec.clone()),
            _ if !c.push && fecs.len() > 1 => drop(fecs.remove(0)),
            _ => {}
        }
    }
}

fn read(echo: &Echo, from: IpAddr, took: Duration) -> Answer {
    let mut answer = Answer {
        from,
        took,
        code: echo.code,
        subcode: echo.subcode,
        ways: vec![],
        came: None,
    };
    for t in &echo.tlvs {
        match t {
            Tlv::Detailed(d) => answer.ways.push(d.clone()),
            Tlv::Downstream(d) => answer.ways.push(Detailed {
                mtu: d.mtu,
                want_in_labels: false,
                no_ip: false,
                hop: d.hop,
                code: echo.code,
                subcode: echo.subcode,
                multipath: None,
                labels: Some(d.labels.clone()),
                changes: vec![],
            }),
            Tlv::InLabels(l) => answer.came = Some(l.clone()),
            _ => {}
        }
    }
    if echo.code == ReturnCode::SEE_DETAILED
        && let Some(first) = answer.ways.first()
    {
        (answer.code, answer.subcode) = (first.code, first.subcode);
    }
    answer
}

/// Nothing is known of the next router (3.3).
fn unknown() -> Detailed {
    Detailed {
        mtu: 0,
        want_in_labels: true,
        no_ip: false,
        hop: Hop::V4(ALL_ROUTERS, Ipv4Addr::UNSPECIFIED),
        code: ReturnCode::NONE,
        subcode: 0,
        multipath: None,
        labels: None,
        changes: vec![],
    }
}
