//! Asking: pings along a path, and a trace of it, RFC 8029 4.2, 4.3 and 4.6. In virtual time and without I/O: a [`Session`] says what
//! to send and when, is told what comes, and says what it found.
//!
//! A ping is one request after another with a TTL that reaches the end. A trace lets the TTL grow, and puts into each request what
//! the router before told of the next (a downstream detailed mapping), so that each router says whether that is what it sees; the
//! first such mapping is our own tables'. Where a router is silent, the next is asked without it.
//!
//! Left out: looking for all paths of several (of the ways that a router tells, the first is followed: ours tells the one that the
//! request itself takes first), changes of the FEC stack on the way.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use super::respond::ALL_ROUTERS;
use super::{Detailed, Echo, FecElement, Hop, InLabels, Kind, Pad, ReplyMode, ReturnCode, Tlv};

/// Routers that may be silent in a row, before a trace is given up.
const SILENT: u8 = 3;

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
    /// Of its labels.
    pub ttl: u8,
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
        ends.chain(self.due).min()
    }

    /// Time has passed; `clock` is the time of day as NTP has it. A request, if one is due; more may be.
    pub fn tick(&mut self, now: Instant, clock: u64) -> Option<Send> {
        self.expire(now);
        if self.due.is_none_or(|at| at > now) {
            return None;
        }
        let sequence = u32::try_from(self.probes.len()).unwrap_or(u32::MAX) + 1;
        let ttl = self.ttl;
        self.probes.push(Probe {
            sequence,
            ttl,
            sent: now,
            outcome: Outcome::Waiting,
        });
        self.tries += 1;
        let all = sequence >= self.plan.count;
        self.due = match self.plan.trace {
            None if !all => Some(now + self.plan.interval),
            _ => None,
        };
        let octets = self.request(sequence, clock);
        Some(Send { ttl, octets })
    }

    fn request(&self, sequence: u32, clock: u64) -> Vec<u8> {
        let mut tlvs = vec![Tlv::TargetFec(self.plan.fecs.clone())];
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
        let mut echo = Echo::request(self.handle, sequence, clock, tlvs);
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
        let waiting = self.probes[self.settled..].iter_mut();
        let mut waiting = waiting.filter(|p| p.outcome == Outcome::Waiting);
        let Some(probe) = waiting.find(|p| p.sequence == echo.sequence) else {
            return false;
        };
        let answer = read(echo, from, now.saturating_duration_since(probe.sent));
        let next = answer.ways.first().cloned();
        let goes_on = answer.goes_on();
        probe.outcome = Outcome::Answered(Box::new(answer));
        self.settle();
        if self.plan.trace.is_some() {
            (self.silent, self.next) = (0, next);
            if goes_on {
                self.onward(now);
            }
        }
        true
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
