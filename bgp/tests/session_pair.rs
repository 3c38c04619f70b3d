//! Two sessions that talk to each other over wires that cut octets anywhere, in virtual time.

use std::time::{Duration, Instant};

use bgp::session::{
    Budget, Cause, Conn, Event, Handler, Jitter, Negotiated, Output, PeerAs, Session,
    SessionConfig, State, Stop, Timer,
};
use bgp::types::{Asn, Family, RouterId};
use bgp::wire::{Message, Notification, Refresh};

const A: usize = 0;
const B: usize = 1;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn config(local: u32, peer: u32) -> SessionConfig {
    let octet = u8::try_from(local % 256).unwrap();
    let id = RouterId::new([192, 0, 2, octet].into()).unwrap();
    SessionConfig::new(Asn(local), id, PeerAs::Is(Asn(peer)))
}

#[derive(Default)]
struct Updates(Vec<Vec<u8>>);

impl Handler for Updates {
    fn update(&mut self, body: &[u8], _: &Negotiated) -> Result<(), Notification> {
        self.0.push(body.to_vec());
        Ok(())
    }
}

/// A TCP connection: which end calls it what.
#[derive(Default)]
struct Wire {
    met: bool,
    ends: [Option<Conn>; 2],
    /// On their way to A and to B.
    octets: [Vec<u8>; 2],
}

struct Pair {
    now: Instant,
    sessions: [Session; 2],
    updates: [Updates; 2],
    wires: Vec<Wire>,
    logs: [Vec<Output>; 2],
    chunk: usize,
}

impl Pair {
    fn new(a: SessionConfig, b: SessionConfig, chunk: usize) -> Self {
        Self {
            now: Instant::now(),
            sessions: [
                Session::new(a, Jitter::seeded(1)),
                Session::new(b, Jitter::seeded(2)),
            ],
            updates: Default::default(),
            wires: Vec::new(),
            logs: Default::default(),
            chunk,
        }
    }

    fn event(&mut self, side: usize, event: Event) {
        let mut out = Vec::new();
        self.sessions[side].handle(self.now, event, &mut out);
        self.act(side, out);
    }

    fn wire(&mut self, side: usize, conn: Conn) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|w| w.ends[side] == Some(conn))
    }

    fn act(&mut self, side: usize, out: Vec<Output>) {
        for o in &out {
            match o {
                Output::Connect(conn) => {
                    let mut w = Wire::default();
                    w.ends[side] = Some(*conn);
                    self.wires.push(w);
                }
                Output::Send(conn, octets) => {
                    let w = self.wire(side, *conn).expect("a wire to send on");
                    w.octets[1 - side].extend(octets);
                }
                Output::Close(conn) => {
                    if let Some(w) = self.wire(side, *conn) {
                        w.ends[side] = None;
                    }
                }
                _ => {}
            }
        }
        self.logs[side].extend(out);
    }

    /// Whatever can move without time does.
    fn run(&mut self) {
        for _ in 0..200_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the two never come to rest");
    }

    fn step(&mut self) -> bool {
        for i in 0..self.wires.len() {
            for side in [A, B] {
                if self.deliver(i, side) {
                    return true;
                }
            }
        }
        self.wires.retain(|w| w.ends != [None, None]);
        false
    }

    /// To `side`, over wire `i`: the connection itself, octets, or its end.
    fn deliver(&mut self, i: usize, side: usize) -> bool {
        let other = 1 - side;
        let w = &mut self.wires[i];
        if !w.met {
            return w.ends[side].is_none() && self.meet(i, side);
        }
        let Some(conn) = w.ends[side] else {
            return false;
        };
        if w.octets[side].is_empty() {
            let ended = w.ends[other].is_none();
            if ended {
                w.ends[side] = None;
                self.event(side, Event::Failed(conn, "reset by peer".into()));
            }
            return ended;
        }
        let n = self.chunk.min(w.octets[side].len());
        let mut out = Vec::new();
        let (now, some) = (self.now, &w.octets[side][..n]);
        let handler = &mut self.updates[side];
        let taken =
            self.sessions[side].receive(now, conn, some, Budget::default(), handler, &mut out);
        assert!(taken > 0 || !out.is_empty(), "no progress");
        w.octets[side].drain(..taken);
        self.act(side, out);
        true
    }

    fn meet(&mut self, i: usize, side: usize) -> bool {
        let other = 1 - side;
        let Some(there) = self.wires[i].ends[other] else {
            self.wires.remove(i);
            return true;
        };
        let mut out = Vec::new();
        let here = self.sessions[side].accept(self.now, &mut out);
        self.wires[i].met = true;
        self.wires[i].ends[side] = here;
        self.act(side, out);
        if here.is_some() {
            self.event(other, Event::Connected(there));
        }
        true
    }

    /// Lets time pass, timer by timer.
    fn wait(&mut self, d: Duration) {
        let end = self.now + d;
        self.run();
        while let Some(at) = self.sessions.iter().filter_map(Session::poll_at).min() {
            if at > end {
                break;
            }
            self.now = at.max(self.now);
            self.event(A, Event::Tick);
            self.event(B, Event::Tick);
            self.run();
        }
        self.now = end;
    }

    fn states(&self) -> [State; 2] {
        [A, B].map(|s| self.sessions[s].state())
    }

    /// Both are up, on the same wire, and no other is left.
    fn assert_up(&self) {
        assert_eq!(self.states(), [State::Established; 2]);
        assert_eq!(self.wires.len(), 1);
        let ends = [A, B].map(|s| self.sessions[s].established().map(|(c, _)| c));
        assert_eq!(self.wires[0].ends, ends);
    }
}

fn up(chunk: usize) -> Pair {
    let mut p = Pair::new(config(64512, 64513), config(64513, 64512), chunk);
    p.event(A, Event::Start);
    p.event(B, Event::Start);
    p.wait(secs(30));
    p.assert_up();
    p
}

fn update(p: &mut Pair, side: usize, body: &[u8]) {
    let (conn, _) = p.sessions[side].established().expect("a session");
    let mut octets = Vec::new();
    Message::Update(body).emit(&mut octets);
    p.act(side, vec![Output::Send(conn, octets)]);
    p.event(side, Event::UpdatesSent(1));
}

#[test]
fn both_connect_at_once_and_one_connection_stays() {
    for chunk in [1, 2, 18, 19, 20, 64, 4096] {
        let p = up(chunk);
        for s in &p.sessions {
            assert_eq!(s.counters().established, 1, "in octets of {chunk}");
            assert_eq!(s.counters().lost, 0);
            let (_, agreed) = s.established().unwrap();
            assert!(agreed.context.as4 && agreed.context.extended_message);
            assert!(agreed.context.families.contains(Family::Ipv6Unicast));
            assert!(agreed.enhanced_refresh);
            assert_eq!(agreed.hold_time, secs(90));
        }
    }
}

#[test]
fn keepalives_keep_it_for_a_day_and_their_absence_does_not() {
    let mut p = up(4096);
    p.wait(secs(86_400));
    p.assert_up();
    for s in &p.sessions {
        assert_eq!(s.counters().established, 1);
        // Every 22.5 to 30 s.
        let n = s.counters().received.keepalive;
        assert!((2880..=3841).contains(&n), "{n}");
    }
    // B dies without a word: A hears nothing for the hold time.
    p.wires.clear();
    p.sessions[B] = Session::new(config(64513, 64512), Jitter::none());
    p.event(B, Event::Stop(Stop::Shutdown(String::new())));
    let heard = p.sessions[A].timers();
    let hold = heard.iter().find(|t| t.1 == Timer::Hold).unwrap().0;
    assert!(hold > p.now && hold <= p.now + secs(90));
    let mut out = Vec::new();
    p.sessions[A].handle(hold - Duration::from_nanos(1), Event::Tick, &mut out);
    assert_eq!(p.sessions[A].state(), State::Established);
    p.sessions[A].handle(hold, Event::Tick, &mut out);
    assert_eq!(p.sessions[A].state(), State::Idle);
    assert_eq!(
        p.sessions[A].last_reset().unwrap().to_string(),
        "hold timer expired after 90 s: nothing was received"
    );
}

#[test]
fn updates_come_whole_and_in_order_however_they_are_cut() {
    for chunk in [1, 7, 19, 23, 100, 70_000] {
        let mut p = up(chunk);
        let bodies = [vec![0; 4], vec![1; 50], vec![2; 5000], vec![3; 65_516]];
        for b in &bodies {
            update(&mut p, A, b);
        }
        p.run();
        assert_eq!(p.updates[B].0, bodies, "in octets of {chunk}");
        assert_eq!(p.sessions[B].counters().received.update, 4);
        assert_eq!(p.sessions[A].counters().sent.update, 4);
        p.assert_up();
    }
}

#[test]
fn a_shutdown_is_told_with_its_text_and_lasts() {
    let mut p = up(5);
    p.event(A, Event::Stop(Stop::Shutdown("maintenance".into())));
    p.run();
    assert_eq!(
        p.sessions[B].last_reset().unwrap().to_string(),
        "peer sent cease: hard reset: cease: administrative shutdown: \"maintenance\""
    );
    let Some(Output::Down(down)) = p.logs[B].iter().find(|o| matches!(o, Output::Down(_))) else {
        panic!("no end of the session: {:?}", p.logs[B]);
    };
    assert!(matches!(&down.cause, Cause::Received(n) if n.communication() == Some("maintenance")));
    assert_eq!(down.keep, [], "a hard reset keeps nothing");
    p.wait(secs(3600));
    assert_eq!(p.sessions[A].state(), State::Idle);
    assert!(p.sessions[A].is_stopped());
    p.event(A, Event::Start);
    p.wait(secs(200));
    p.assert_up();
}

#[test]
fn a_refresh_is_asked_for_and_marked() {
    let mut p = up(11);
    let mut out = Vec::new();
    let family = Family::Ipv6Unicast;
    for kind in [Refresh::Request, Refresh::Begin, Refresh::End] {
        p.sessions[A].refresh(family, kind, &mut out).unwrap();
    }
    let e = p.sessions[A].refresh(Family::Vpnv4, Refresh::Request, &mut out);
    assert!(e.unwrap_err().to_string().contains("vpnv4"));
    p.act(A, out);
    p.run();
    let seen: Vec<_> = p.logs[B]
        .iter()
        .filter_map(|o| match o {
            Output::Refresh(f, r) => Some((*f, *r)),
            _ => None,
        })
        .collect();
    let want = [Refresh::Request, Refresh::Begin, Refresh::End].map(|r| (family, r));
    assert_eq!(seen, want);
    assert_eq!(p.sessions[B].counters().received.refresh, 3);
}

#[test]
fn what_was_kept_of_a_neighbour_that_vanished() {
    let mut p = up(4096);
    // The connection breaks on both sides.
    let ends = p.wires.remove(0).ends;
    p.event(A, Event::Failed(ends[A].unwrap(), "reset".into()));
    p.event(B, Event::Failed(ends[B].unwrap(), "reset".into()));
    let Some(Output::Down(down)) = p.logs[A].iter().find(|o| matches!(o, Output::Down(_))) else {
        panic!("no end of the session");
    };
    let families: Vec<_> = down.keep.iter().map(|k| (k.family, k.restart)).collect();
    let want = [Family::Ipv4Unicast, Family::Ipv6Unicast].map(|f| (f, secs(120)));
    assert_eq!(families, want);
    p.wait(secs(10));
    p.assert_up();
}

/// Ten messages of B's, and what A takes of them with so small a budget.
fn backlog(p: &mut Pair, budget: Budget) -> (Vec<u8>, usize) {
    let (conn, _) = p.sessions[A].established().expect("a session");
    let mut octets = Vec::new();
    for _ in 0..10 {
        Message::Update(&[0; 4]).emit(&mut octets);
    }
    let mut out = Vec::new();
    let handler = &mut p.updates[A];
    let taken = p.sessions[A].receive(p.now, conn, &octets, budget, handler, &mut out);
    assert_eq!(out, []);
    (octets, taken)
}

#[test]
fn a_budget_is_kept() {
    let mut p = up(4096);
    let mut budget = Budget {
        messages: 3,
        octets: 1 << 20,
    };
    assert_eq!(backlog(&mut p, budget).1, 3 * 23);
    (budget.messages, budget.octets) = (100, 100);
    // No further one after 100 octets: the fifth begins at 92.
    assert_eq!(backlog(&mut p, budget).1, 5 * 23);
    budget = Budget::default();
    assert_eq!(backlog(&mut p, budget).1, 10 * 23);
    assert_eq!(p.updates[A].0.len(), 18);
}

#[test]
fn octets_that_wait_here_count_as_heard() {
    let mut p = up(4096);
    let few = Budget {
        messages: 1,
        octets: 1,
    };
    let heard = p.now;
    let (octets, taken) = backlog(&mut p, few);
    let mut out = Vec::new();
    for late in [90, 100, 110] {
        p.sessions[A].handle(heard + secs(late), Event::Tick, &mut out);
        assert_eq!(p.sessions[A].state(), State::Established, "after {late} s");
    }
    // Once all is read, silence counts again.
    let (conn, _) = p.sessions[A].established().expect("a session");
    let (now, rest) = (heard + secs(115), &octets[taken..]);
    let handler = &mut p.updates[A];
    let all = p.sessions[A].receive(now, conn, rest, Budget::default(), handler, &mut out);
    assert_eq!(all, rest.len());
    p.sessions[A].handle(now + secs(89), Event::Tick, &mut out);
    assert_eq!(p.sessions[A].state(), State::Established);
    p.sessions[A].handle(now + secs(90), Event::Tick, &mut out);
    assert_eq!(p.sessions[A].state(), State::Idle);
}
