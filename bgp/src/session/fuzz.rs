//! One door to the state machine, for fuzzers: octets are a program of events, and what RFC 4271 8 promises is checked
//! after each. `cargo fuzz` sets `cfg(fuzzing)`; a property test and a seeded run are below.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{
    Budget, Conn, Event, FamilyConfig, GracefulConfig, Handler, Jitter, MaxPrefixes, Negotiated,
    Output, PeerAs, RoleConfig, Session, SessionConfig, Stage, State, Stop, Timer,
};
use crate::types::{Asn, Family, Role, RouterId};
use crate::wire::{
    Capabilities, GracefulRestart, HEADER, Header, Kind, Message, Notification, Open, Refresh,
    RouteRefresh,
};

/// Octets as a source of choices; zeroes when they are used up.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        let first = *first;
        self.0 = rest;
        first
    }

    fn below(&mut self, n: u8) -> u8 {
        self.byte() % n
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn family(&mut self) -> Family {
        [Family::Ipv4Unicast, Family::Ipv6Unicast, Family::Vpnv4][usize::from(self.below(3))]
    }
}

/// Refuses some UPDATEs: those that begin with an odd octet.
struct Picky;

impl Handler for Picky {
    fn update(&mut self, body: &[u8], agreed: &Negotiated) -> Result<(), Notification> {
        assert!(!agreed.context.families.is_empty());
        match body {
            [1, 0, ..] => Err(Notification::max_prefixes(Family::Ipv4Unicast, 1)),
            [o, ..] if o & 1 == 1 => Err(Notification::update(1, &[])),
            _ => Ok(()),
        }
    }
}

/// What is known of a connection from outside.
#[derive(Debug, PartialEq)]
enum Known {
    Asked,
    Silent,
    Opened,
    Closed,
}

struct Watch {
    session: Session,
    now: Instant,
    conns: BTreeMap<u32, Known>,
    up: Option<Conn>,
    state: State,
}

/// Runs a program, and says how often it came to be Established. Panics only when a promise is broken.
pub fn one(data: &[u8]) -> u64 {
    let mut p = Program(data);
    let session = Session::new(config(&mut p), jitter(&mut p));
    let mut w = Watch {
        session,
        now: Instant::now(),
        conns: BTreeMap::new(),
        up: None,
        state: State::Idle,
    };
    w.event(Event::Start);
    while !p.0.is_empty() {
        w.step(&mut p);
        w.check();
    }
    w.session.counters().established
}

fn jitter(p: &mut Program<'_>) -> Jitter {
    match p.byte() {
        0 => Jitter::none(),
        n => Jitter::seeded(n.into()),
    }
}

fn config(p: &mut Program<'_>) -> SessionConfig {
    let id = RouterId::new([192, 0, 2, 5].into()).expect("not zero");
    let peer_as = [PeerAs::Is(Asn(65001)), PeerAs::External, PeerAs::Any][usize::from(p.below(3))];
    let options = p.byte();
    let on = |bit: u8| options & (1 << bit) != 0;
    let secs = |s: u8| Duration::from_secs(s.into());
    SessionConfig {
        families: vec![
            FamilyConfig {
                max_prefixes: on(0).then_some(MaxPrefixes {
                    limit: 10,
                    warn_percent: 50,
                    restart: on(1).then_some(secs(60)),
                    warn_only: false,
                }),
                long_lived: secs(if on(2) { 200 } else { 0 }),
                ..FamilyConfig::new(Family::Ipv4Unicast)
            },
            FamilyConfig::new(Family::Ipv6Unicast),
        ],
        hold_time: secs([0, 3, 90, 180][usize::from(p.below(4))]),
        delay_open: secs(if on(3) { 5 } else { 0 }),
        passive: on(4),
        collide_established: on(5),
        role: on(6).then_some(RoleConfig {
            role: Role::Customer,
            strict: on(1),
        }),
        graceful: on(7).then_some(GracefulConfig::default()),
        idle_hold_max: secs(8),
        send_hold: Some(secs(20)),
        ..SessionConfig::new(Asn(65000), id, peer_as)
    }
}

fn stop(p: &mut Program<'_>) -> Stop {
    match p.below(6) {
        0 => Stop::Shutdown("gone".to_owned()),
        1 => Stop::Deconfigured,
        2 => Stop::Reset {
            text: String::new(),
            hard: p.flag(),
        },
        3 => Stop::ConfigChanged,
        4 => Stop::OutOfResources,
        _ => Stop::BfdDown,
    }
}

/// An OPEN that is mostly right.
fn open(p: &mut Program<'_>) -> Open {
    let families = [Family::Ipv4Unicast, Family::Ipv6Unicast];
    let bits = p.byte();
    let on = |bit: u8| bits & (1 << bit) != 0;
    let asn = if bits == 255 { Asn(65009) } else { Asn(65001) };
    Open {
        asn,
        hold_time: [90, 0, 9, 240][usize::from(p.below(4))],
        id: RouterId::new([192, 0, 2, if on(0) { 9 } else { 1 }].into()).expect("not zero"),
        capabilities: Capabilities {
            families: families.into_iter().take(p.below(3).into()).collect(),
            route_refresh: on(1),
            enhanced_refresh: on(2),
            extended_message: on(3),
            role: on(4).then_some(Role::Provider),
            graceful_restart: on(5).then_some(GracefulRestart {
                restarting: on(6),
                notification: on(7),
                time: 60,
                families: families.into_iter().collect(),
                forwarding: families.into_iter().collect(),
            }),
            as4: on(1).then_some(asn),
            ..Capabilities::default()
        },
    }
}

impl Watch {
    fn conn(&self, p: &mut Program<'_>) -> Conn {
        let open: Vec<_> = self.open().collect();
        let n = p.byte();
        if n < 240 && !open.is_empty() {
            Conn(open[usize::from(n) % open.len()])
        } else {
            Conn(u32::from(n) % 8)
        }
    }

    fn open(&self) -> impl Iterator<Item = u32> {
        let open = self.conns.iter().filter(|c| *c.1 != Known::Closed);
        open.map(|c| *c.0)
    }

    fn step(&mut self, p: &mut Program<'_>) {
        match p.below(20) {
            0 => self.event(Event::Start),
            1 => {
                let stop = stop(p);
                self.event(Event::Stop(stop));
            }
            2..=4 => {
                let conn = self.conn(p);
                self.connected(conn);
            }
            5 => {
                let conn = self.conn(p);
                self.event(Event::Failed(conn, "reset".to_owned()));
            }
            6 | 7 => self.accept(),
            8 => self.wait(Duration::from_millis(u64::from(p.byte()) * 700)),
            9 => {
                let (conn, octets, left) = (self.conn(p), p.byte().into(), p.byte().into());
                self.event(Event::Wrote { conn, octets, left });
            }
            10 => {
                let family = p.family();
                let n = p.byte().into();
                self.event(Event::Prefixes(family, n));
                self.event(Event::UpdatesSent(n.into()));
            }
            11 => self.refresh(p),
            12 | 13 => self.handshake(p),
            _ => self.message(p),
        }
    }

    /// All that it takes to be Established, from wherever this is.
    fn handshake(&mut self, p: &mut Program<'_>) {
        if self.open().next().is_none() {
            self.wait(Duration::from_secs(8));
            self.accept();
        }
        let conn = self.conn(p);
        self.connected(conn);
        for message in [Message::Open(open(p)), Message::Keepalive] {
            let mut octets = Vec::new();
            message.emit(&mut octets);
            self.octets(conn, &octets);
        }
    }

    fn message(&mut self, p: &mut Program<'_>) {
        let conn = self.conn(p);
        let body;
        let message = match p.below(12) {
            0..=2 => Message::Open(open(p)),
            3..=5 => Message::Keepalive,
            6 => {
                body = [p.byte(), p.byte(), 0, 0];
                Message::Update(&body)
            }
            7 => Message::Notification(Notification {
                code: p.below(9),
                subcode: p.below(12),
                data: vec![1; p.below(4).into()],
            }),
            8 => Message::RouteRefresh(RouteRefresh {
                family: p.family().code(),
                refresh: [Refresh::Request, Refresh::Begin, Refresh::End][usize::from(p.below(3))],
            }),
            9 => {
                // As it comes, in place of a message.
                let n = usize::from(p.below(40)).min(p.0.len());
                let (raw, rest) = p.0.split_at(n);
                p.0 = rest;
                return self.octets(conn, raw);
            }
            _ => {
                let mut framed = vec![0xff; 16];
                framed.extend([0, 19 + p.below(8), p.below(7)]);
                framed.resize(usize::from(framed[17]), p.byte());
                return self.octets(conn, &framed);
            }
        };
        let mut octets = Vec::new();
        message.emit(&mut octets);
        let cut = usize::from(p.byte());
        let cut = if cut < octets.len() { cut } else { 0 };
        let (first, second) = octets.split_at(cut);
        self.octets(conn, first);
        if p.below(8) > 0 {
            self.octets(conn, second);
        }
    }

    fn octets(&mut self, conn: Conn, octets: &[u8]) {
        let budget = Budget {
            messages: 2,
            octets: 100,
        };
        let mut at = 0;
        loop {
            let mut out = Vec::new();
            let rest = &octets[at..];
            let s = &mut self.session;
            let taken = s.receive(self.now, conn, rest, budget, &mut Picky, &mut out);
            assert!(taken <= rest.len());
            at += taken;
            self.saw(&out);
            if at == octets.len() {
                return;
            }
            assert!(taken > 0, "octets that nobody takes");
        }
    }

    fn refresh(&mut self, p: &mut Program<'_>) {
        let mut out = Vec::new();
        let family = p.family();
        let asked = self.session.refresh(family, Refresh::Request, &mut out);
        assert_eq!(asked.is_ok(), out.len() == 1);
        assert!(self.up.is_some() || asked.is_err());
        self.saw(&out);
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        self.session.handle(self.now, event, &mut out);
        self.saw(&out);
    }

    fn connected(&mut self, conn: Conn) {
        if let Some(k @ Known::Asked) = self.conns.get_mut(&conn.0) {
            *k = Known::Silent;
        }
        self.event(Event::Connected(conn));
    }

    fn accept(&mut self) {
        let mut out = Vec::new();
        let idle = self.state == State::Idle;
        if let Some(conn) = self.session.accept(self.now, &mut out) {
            assert!(!idle, "Idle refuses connections");
            assert_eq!(self.conns.insert(conn.0, Known::Silent), None);
        }
        self.saw(&out);
    }

    /// Time passes, timer by timer.
    fn wait(&mut self, d: Duration) {
        let end = self.now + d;
        while let Some(at) = self.session.poll_at().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.event(Event::Tick);
            let next = self.session.poll_at();
            assert!(next.is_none_or(|at| at > self.now), "a timer stays expired");
            self.check();
        }
        self.now = end;
    }

    fn saw(&mut self, out: &[Output]) {
        for o in out {
            match o {
                Output::Connect(c) => {
                    assert_eq!(self.conns.insert(c.0, Known::Asked), None, "a number again");
                }
                Output::Close(c) => {
                    let known = self.conns.insert(c.0, Known::Closed);
                    assert!(known.is_some_and(|k| k != Known::Closed), "closed twice");
                }
                Output::Send(c, octets) => self.sent(*c, octets),
                Output::State(s) => {
                    assert_ne!(self.state, *s, "no change");
                    self.state = *s;
                }
                Output::Up(c, _) => {
                    assert_eq!(self.up.replace(*c), None, "two Established at once");
                    assert_eq!(self.conns[&c.0], Known::Opened);
                }
                Output::Down(_) => {
                    let was = self.up.take().expect("up before it is down");
                    assert_eq!(self.conns[&was.0], Known::Closed, "closed first");
                }
                Output::Refresh(..) | Output::PrefixWarning { .. } => assert!(self.up.is_some()),
            }
        }
    }

    fn sent(&mut self, conn: Conn, octets: &[u8]) {
        let header = Header::parse(octets, 4096).expect("a header of ours");
        let header = header.expect("a whole header");
        assert_eq!(usize::from(header.len), octets.len());
        assert!(octets.len() >= HEADER);
        let known = self.conns.get_mut(&conn.0).expect("a known connection");
        match (&*known, header.kind) {
            (Known::Silent, Kind::Open) => *known = Known::Opened,
            (Known::Silent | Known::Opened, Kind::Notification) => {}
            (Known::Opened, Kind::Keepalive | Kind::RouteRefresh) => {}
            (state, kind) => panic!("{kind:?} sent to a connection that is {state:?}"),
        }
    }

    /// What holds between any two events.
    fn check(&self) {
        let s = &self.session;
        assert_eq!(s.state(), self.state, "every change is told");
        assert_eq!(s.state() == State::Established, self.up.is_some());
        assert_eq!(s.established().map(|e| e.0), self.up);
        let stages: Vec<_> = s.lanes().map(|l| (l.conn.0, l.stage)).collect();
        assert!(stages.len() <= 2);
        assert!(self.open().eq({
            let mut all: Vec<_> = stages.iter().map(|l| l.0).collect();
            all.sort_unstable();
            all
        }));
        let established = stages.iter().filter(|l| l.1 == Stage::Established);
        assert!(established.count() <= 1);
        let timers = s.timers();
        let runs =
            |t: Timer, c: Option<u32>| timers.iter().any(|r| r.1 == t && r.2.map(|c| c.0) == c);
        let connecting = stages.iter().any(|l| l.1 == Stage::Connecting);
        match s.state() {
            State::Idle => {
                assert!(stages.is_empty(), "Idle holds no connection");
                assert_eq!(runs(Timer::IdleHold, None), !s.is_stopped());
            }
            State::Active if stages.is_empty() => {
                assert_eq!(runs(Timer::ConnectRetry, None), !s.config.passive);
            }
            _ => assert_eq!(runs(Timer::ConnectRetry, None), connecting),
        }
        for lane in s.lanes() {
            let c = Some(lane.conn.0);
            let keeps = lane.agreed.as_ref().is_some_and(|a| !a.hold_time.is_zero());
            let (delay, hold, keepalive) = match lane.stage {
                Stage::Connecting => (false, false, false),
                Stage::Delaying => (true, false, false),
                Stage::OpenSent => (false, true, false),
                Stage::OpenConfirm | Stage::Established => (false, keeps, keeps),
            };
            assert_eq!(runs(Timer::DelayOpen, c), delay);
            assert_eq!(runs(Timer::Hold, c), hold);
            assert_eq!(runs(Timer::Keepalive, c), keepalive);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_events_in_any_order_keep_every_promise(program in prop::collection::vec(any::<u8>(), 0..400)) {
            one(&program);
        }
    }

    /// The programs must not all die at the door, either.
    #[test]
    fn a_seeded_run() {
        let mut seed = 7u64;
        let mut byte = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        let mut established = 0;
        for n in 0..10_000 {
            let program: Vec<u8> = (0..n % 600).map(|_| byte()).collect();
            established += one(&program);
        }
        assert!(established > 5_000, "only {established} sessions");
    }
}
