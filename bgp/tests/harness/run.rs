//! Plays the events of a case and writes down what the session does.

use std::time::{Duration, Instant};

use bgp::attrs::AttrBuf;
use bgp::session::{
    Budget, Conn, Down, Event, Handler, Jitter, Keep, Negotiated, Output, Session, Stop,
};
use bgp::types::{Family, NextHop};
use bgp::wire::{Nlri, Notification, Refresh};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::octets::{self, Open, Update, attributes, framed, show, unhex};

/// A line of `events.jsonl`: `at` seconds, and one thing that happens.
#[derive(Deserialize)]
struct Line {
    at: f64,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    Start(Nothing),
    Stop(StopJson),
    Connected(u32),
    Failed(u32, String),
    Accept(Nothing),
    /// Only time passes.
    Wait(Nothing),
    Wrote(u32, usize, usize),
    UpdatesSent(u64),
    Prefixes(String, u32),
    Refresh(String, String),
    /// Another configuration, whole.
    Config(Box<Config>),
    Open(u32, Open),
    Keepalive(u32),
    Notification(u32, u8, u8, String),
    Update(u32, Update),
    RouteRefresh(u32, [u16; 2], u8),
    /// Octets as they are; may be a piece of a message, or several.
    Octets(u32, String),
    /// That type, and a body of so many zero octets: for lengths.
    Long(u32, u8, usize),
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StopJson {
    Shutdown(String),
    Deconfigured,
    Reset(String),
    HardReset(String),
    ConfigChanged,
    OutOfResources,
    BfdDown,
}

impl StopJson {
    fn real(self) -> Stop {
        match self {
            Self::Shutdown(text) => Stop::Shutdown(text),
            Self::Deconfigured => Stop::Deconfigured,
            Self::Reset(text) => Stop::Reset { text, hard: false },
            Self::HardReset(text) => Stop::Reset { text, hard: true },
            Self::ConfigChanged => Stop::ConfigChanged,
            Self::OutOfResources => Stop::OutOfResources,
            Self::BfdDown => Stop::BfdDown,
        }
    }
}

/// A line of `expect.jsonl`.
#[derive(Serialize)]
struct Did {
    at: f64,
    on: String,
    #[serde(rename = "do")]
    did: Vec<String>,
    state: String,
    timers: Vec<String>,
}

/// The last one.
#[derive(Serialize)]
struct End {
    connect_retry_counter: u32,
    established: u64,
    transitions: u64,
    received: [u64; 5],
    sent: [u64; 5],
    last_reset: Option<String>,
    last_error: Option<String>,
}

struct Routes<'a>(&'a mut Vec<String>);

impl Handler for Routes<'_> {
    /// What `wire` makes of it: errors, routes gone, routes come with their canonical attributes.
    fn update(&mut self, body: &[u8], agreed: &Negotiated) -> Result<(), Notification> {
        let update = bgp::wire::Update::parse(body, &agreed.context)?;
        let errors = update.errors().iter().map(|e| format!("error: {e}"));
        self.0.extend(errors);
        self.0.extend(
            update
                .unreach()
                .map(|n| format!("withdraw {}", prefixes(&n))),
        );
        let mut buf = AttrBuf::default();
        update.canonical(&mut buf);
        for reach in update.reach() {
            let hop = reach
                .next_hop
                .map_or_else(|| "nowhere".to_owned(), shown_hop);
            let attributes = attributes(buf.view().octets);
            self.0.push(format!(
                "announce {} by {hop}: {attributes}",
                prefixes(&reach.nlri)
            ));
        }
        self.0
            .extend(update.end_of_rib().map(|f| format!("end of {f}")));
        Ok(())
    }
}

fn prefixes(n: &Nlri<'_>) -> String {
    octets::prefixes(n.octets, n.family.code().0, n.add_path())
}

fn shown_hop(hop: NextHop) -> String {
    match hop {
        NextHop::V6Both(a, l) => format!("{a} and {l}"),
        one => one.to_string(),
    }
}

struct Case {
    t0: Instant,
    now: Instant,
    session: Session,
    lines: String,
}

pub(crate) fn run(name: &str, config: &str, events: &str) -> String {
    let config: Config =
        serde_json::from_str(config).unwrap_or_else(|e| panic!("{name}/config.json: {e}"));
    let now = Instant::now();
    let mut session = Session::new(config.real(), Jitter::none());
    session.set_restarting(config.restarting());
    let mut case = Case {
        t0: now,
        now,
        session,
        lines: String::new(),
    };
    for (n, line) in events.lines().enumerate() {
        let parsed: Line = serde_json::from_str(line)
            .unwrap_or_else(|e| panic!("{name}/events.jsonl, line {}: {e}", n + 1));
        case.pass(case.t0 + Duration::from_secs_f64(parsed.at));
        case.happen(parsed.what, line);
    }
    case.end();
    case.lines
}

impl Case {
    fn seconds(&self, at: Instant) -> f64 {
        at.duration_since(self.t0).as_secs_f64()
    }

    /// Timers up to `at` expire, one after the other.
    fn pass(&mut self, at: Instant) {
        assert!(at >= self.now, "time goes back");
        while let Some(next) = self.session.poll_at().filter(|t| *t <= at) {
            self.now = next;
            let due = self.session.timers();
            let due = due.iter().filter(|t| t.0 <= next);
            let names: Vec<_> = due.map(|t| t.1.name()).collect();
            let mut out = Vec::new();
            self.session.handle(next, Event::Tick, &mut out);
            let did = out.iter().map(shown).collect();
            self.write(format!("{} expires", names.join(" and ")), did);
            assert!(
                self.session.poll_at().is_none_or(|t| t > next),
                "a timer that does not go away"
            );
        }
        self.now = at;
    }

    fn happen(&mut self, what: What, line: &str) {
        let mut out = Vec::new();
        let mut did = Vec::new();
        let now = self.now;
        let event = match what {
            What::Start(_) => Event::Start,
            What::Stop(s) => Event::Stop(s.real()),
            What::Connected(c) => Event::Connected(Conn(c)),
            What::Failed(c, why) => Event::Failed(Conn(c), why),
            What::Wait(_) => Event::Tick,
            What::Wrote(c, octets, left) => Event::Wrote {
                conn: Conn(c),
                octets,
                left,
            },
            What::UpdatesSent(n) => Event::UpdatesSent(n),
            What::Prefixes(f, n) => Event::Prefixes(f.parse().unwrap(), n),
            What::Accept(_) => {
                match self.session.accept(now, &mut out) {
                    Some(c) => did.push(format!("accept {}", c.0)),
                    None => did.push("refuse".into()),
                }
                return self.note(line, did, &out);
            }
            What::Refresh(f, kind) => {
                let kind = match &*kind {
                    "request" => Refresh::Request,
                    "begin" => Refresh::Begin,
                    "end" => Refresh::End,
                    other => panic!("no refresh {other}"),
                };
                let family: Family = f.parse().unwrap();
                if let Err(e) = self.session.refresh(family, kind, &mut out) {
                    did.push(format!("error: {e}"));
                }
                return self.note(line, did, &out);
            }
            What::Config(c) => {
                self.session.set_config(c.real());
                return self.note(line, did, &out);
            }
            received => {
                let (conn, octets) = octets_of(received);
                self.receive(conn, &octets, &mut did);
                return self.note(line, did, &[]);
            }
        };
        self.session.handle(now, event, &mut out);
        self.note(line, did, &out);
    }

    fn receive(&mut self, conn: Conn, octets: &[u8], did: &mut Vec<String>) {
        let (mut at, mut out) = (0, Vec::new());
        loop {
            let rest = &octets[at..];
            let taken = self.session.receive(
                self.now,
                conn,
                rest,
                Budget::default(),
                &mut Routes(did),
                &mut out,
            );
            at += taken;
            did.extend(out.drain(..).map(|o| shown(&o)));
            if at == octets.len() {
                return;
            }
            assert!(taken > 0, "octets that nobody takes");
        }
    }

    /// The event as it stands in its file, without the time.
    fn note(&mut self, line: &str, mut did: Vec<String>, out: &[Output]) {
        did.extend(out.iter().map(shown));
        let event = line
            .split_once(", ")
            .expect("\"at\" first, then the event")
            .1;
        let event = event.strip_suffix('}').unwrap_or(event).replace('"', "");
        let event = event.strip_suffix(": {}").unwrap_or(&event).to_owned();
        self.write(event, did);
    }

    fn write(&mut self, on: String, did: Vec<String>) {
        let timers = self.session.timers();
        let timers = timers.iter().map(|(at, t, c)| {
            let conn = c.map(|c| format!(" of {}", c.0)).unwrap_or_default();
            let left = at.duration_since(self.now).as_secs_f64();
            format!("{}{conn} in {left} s", t.name())
        });
        let did = Did {
            at: self.seconds(self.now),
            on,
            did,
            state: self.session.state().to_string(),
            timers: timers.collect(),
        };
        self.lines += &serde_json::to_string(&did).unwrap();
        self.lines.push('\n');
    }

    fn end(&mut self) {
        let c = self.session.counters();
        let of =
            |m: &bgp::session::Messages| [m.open, m.update, m.notification, m.keepalive, m.refresh];
        let end = End {
            connect_retry_counter: self.session.connect_retry_counter(),
            established: c.established,
            transitions: c.transitions,
            received: of(&c.received),
            sent: of(&c.sent),
            last_reset: self.session.last_reset().map(ToString::to_string),
            last_error: self.session.last_error().map(ToString::to_string),
        };
        self.lines += &serde_json::to_string(&end).unwrap();
        self.lines.push('\n');
    }
}

fn octets_of(what: What) -> (Conn, Vec<u8>) {
    let (conn, octets) = match what {
        What::Open(c, open) => (c, open.octets()),
        What::Keepalive(c) => (c, framed(4, &[])),
        What::Notification(c, code, sub, data) => {
            (c, framed(3, &[&[code, sub][..], &unhex(&data)].concat()))
        }
        What::Update(c, update) => (c, update.octets()),
        What::RouteRefresh(c, [afi, safi], subtype) => {
            let [a0, a1] = afi.to_be_bytes();
            let safi = u8::try_from(safi).unwrap();
            (c, framed(5, &[a0, a1, subtype, safi]))
        }
        What::Octets(c, octets) => (c, unhex(&octets)),
        What::Long(c, kind, n) => (c, framed(kind, &vec![0; n])),
        _ => unreachable!("not a message"),
    };
    (Conn(conn), octets)
}

fn shown(o: &Output) -> String {
    match o {
        Output::Connect(c) => format!("connect {}", c.0),
        Output::Close(c) => format!("close {}", c.0),
        Output::Send(c, octets) => format!("send {}: {}", c.0, show(octets)),
        Output::State(s) => format!("state {s}"),
        Output::Up(c, agreed) => format!("up {}: {}", c.0, shown_agreed(agreed)),
        Output::Down(Down { cause, keep }) => {
            let keep = keep.iter().map(|k: &Keep| {
                let (short, long) = (k.restart.as_secs(), k.long_lived.as_secs());
                format!("; keep {} for {short} s, then {long} s", k.family)
            });
            format!("down: {cause}{}", keep.collect::<String>())
        }
        Output::Refresh(f, r) => format!("refresh of {f}: {r:?}"),
        Output::PrefixWarning {
            family,
            count,
            limit,
        } => format!("warn: {count} prefixes of {family}, the limit is {limit}"),
    }
}

fn shown_agreed(a: &Negotiated) -> String {
    let c = &a.context;
    let set = |s: bgp::types::FamilySet| {
        let names: Vec<_> = s.iter().map(Family::name).collect();
        names.join("+")
    };
    let mut parts = vec![
        format!("{:?} AS {} {}", c.relation, a.peer_as, a.peer_id),
        set(c.families),
        format!("hold {} s", a.hold_time.as_secs()),
    ];
    let mut more = |yes: bool, what: &str| {
        if yes {
            parts.push(what.to_owned());
        }
    };
    more(c.as4, "as4");
    more(c.extended_message, "extended-message");
    more(a.refresh, "refresh");
    more(a.enhanced_refresh, "enhanced-refresh");
    for (name, s) in [
        ("add-path-receive", c.add_path_receive),
        ("add-path-send", c.add_path_send),
        ("extended-next-hop", c.ext_next_hop),
    ] {
        more(!s.is_empty(), &format!("{name} {}", set(s)));
    }
    if let Some(r) = a.role {
        more(true, &format!("peer is {}", r.name()));
    }
    if let Some(g) = &a.graceful {
        let long = g.long_lived.iter();
        let long = long.map(|l| format!(", {} {} s long-lived", l.family, l.time));
        let text = format!(
            "graceful {} s of {} (forwarding {}){}{}{}",
            g.restart_time.as_secs(),
            set(g.families),
            set(g.forwarding),
            if g.restarting { ", restarting" } else { "" },
            if g.notification { ", notification" } else { "" },
            long.collect::<String>()
        );
        more(true, &text);
    }
    parts.join(", ")
}
