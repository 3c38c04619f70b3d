//! One speaker, and a neighbour that says exactly what a test has it say.

mod told;

use std::net::Ipv4Addr;

use super::super::*;
use crate::types::Label;
use crate::wire::{
    Bindings, Capabilities, DEFAULT_MAX, Hello, Initialization, Mapping, Message, Pdu, Pdus,
    Request, VERSION,
};

const LINK: IfaceId = IfaceId(1);
const OTHER: IfaceId = IfaceId(2);

fn id(n: u8) -> LdpId {
    LdpId::platform(Ipv4Addr::new(10, 0, 0, n))
}

fn addr(s: &str) -> IpAddr {
    s.parse().unwrap()
}

fn net(s: &str) -> IpNet {
    s.parse().unwrap()
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Labels from 100 up; none once `left` is 0.
struct Pool {
    next: u32,
    left: usize,
    freed: Vec<Label>,
}

impl Labels for Pool {
    fn allocate(&mut self, _: IpNet) -> Option<Label> {
        self.left = self.left.checked_sub(1)?;
        self.next += 1;
        Label::new(99 + self.next)
    }

    fn release(&mut self, _: IpNet, label: Label) {
        self.freed.push(label);
    }
}

struct Rig {
    s: Speaker,
    now: Instant,
    pool: Pool,
    out: Vec<Output>,
    them: LdpId,
    conn: Option<Conn>,
    next_id: u32,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(id(5));
        change(&mut config);
        let mut rig = Self {
            s: Speaker::new(config),
            now: Instant::now(),
            pool: Pool {
                next: 0,
                left: 1000,
                freed: vec![],
            },
            out: vec![],
            them: id(2),
            conn: None,
            next_id: 500,
        };
        for iface in [LINK, OTHER] {
            rig.s
                .set_interface(rig.now, iface, Families::BOTH, &mut rig.out);
        }
        rig.s.set_address(addr("192.0.2.5"), true);
        rig.out.clear();
        rig
    }

    /// With an operational session that we opened.
    fn up(change: impl FnOnce(&mut Config)) -> Self {
        let mut rig = Self::new(|c| {
            c.hello.link_hold = 0xffff;
            change(c);
        });
        rig.hello(
            LINK,
            Hello {
                hold: 0xffff,
                ..Hello::default()
            },
        );
        rig.open(init());
        rig
    }

    fn hello(&mut self, iface: IfaceId, mut hello: Hello) {
        hello.transport_v4.get_or_insert(self.them.lsr);
        let octets = self.octets(&[Body::Hello(hello)]);
        let last = self.them.lsr.octets()[3];
        let source = IpAddr::from([192, 0, 2 + u8::from(iface == OTHER), last]);
        let d = Datagram {
            iface,
            source,
            multicast: true,
            hops: 1,
            octets: &octets,
        };
        self.s.hello(self.now, &d, &mut self.out);
        self.note();
    }

    fn note(&mut self) {
        for o in &self.out {
            match o {
                Output::Connect { conn, .. } => self.conn = Some(*conn),
                Output::Close(conn) if self.conn == Some(*conn) => self.conn = None,
                _ => {}
            }
        }
    }

    fn open(&mut self, init: Initialization) {
        let conn = self.conn.expect("it connects");
        self.s.connected(self.now, conn, &mut self.out);
        self.get(&[Body::Initialization(init), Body::KeepAlive]);
        assert_eq!(self.state(), State::Operational);
        self.drain();
    }

    fn octets(&mut self, bodies: &[Body]) -> Vec<u8> {
        let mut pdus = Pdus::new(self.them, DEFAULT_MAX);
        for body in bodies {
            self.next_id += 1;
            pdus.push(&Message {
                id: self.next_id,
                body: body.clone(),
            })
            .unwrap();
        }
        pdus.finish()
    }

    fn get(&mut self, bodies: &[Body]) {
        let octets = self.octets(bodies);
        let conn = self.conn.expect("a connection");
        self.s.received(self.now, conn, &octets, &mut self.out);
        self.note();
    }

    fn wait(&mut self, d: Duration) {
        let end = self.now + d;
        while let Some(t) = self.s.poll_at().filter(|t| *t <= end) {
            self.now = t.max(self.now);
            self.s.tick(self.now, &mut self.out);
        }
        self.now = end;
        self.note();
    }

    fn drain(&mut self) {
        while self.s.drain(self.now, 3, &mut self.pool, &mut self.out) {}
    }

    fn state(&self) -> State {
        self.s
            .neighbors()
            .find(|n| n.id == self.them)
            .map_or(State::NonExistent, |n| n.state)
    }

    /// What was sent since it was last asked, but for KeepAlives.
    fn said(&mut self) -> Vec<Body> {
        let mut all = vec![];
        for o in self.out.drain(..) {
            if let Output::Send(_, octets) = o {
                let mut rest = octets.as_slice();
                while let Ok(Some(pdu)) = Pdu::parse(rest, DEFAULT_MAX) {
                    all.extend(pdu.messages().map(|m| m.unwrap().body));
                    rest = &rest[pdu.octets..];
                }
            }
        }
        all.retain(|b| *b != Body::KeepAlive);
        all
    }

    fn installs(&self) -> Vec<Install> {
        let all = self.out.iter().filter_map(|o| match o {
            Output::Install(i) => Some(i.clone()),
            _ => None,
        });
        all.collect()
    }

    fn route(&mut self, n: &str, via: Option<&str>) {
        let hop = |a: &str| NextHop {
            addr: addr(a),
            iface: LINK,
        };
        self.s
            .set_route(net(n), via.map(|a| Route::Via(vec![hop(a)])));
        self.drain();
    }
}

fn init() -> Initialization {
    Initialization {
        version: VERSION,
        keepalive: 180,
        on_demand: false,
        loop_detection: false,
        path_vector_limit: 0,
        max_pdu: 4096,
        receiver: id(5),
        capabilities: Capabilities {
            dynamic: None,
            typed_wildcard: Some(true),
            unrecognized_notification: Some(true),
        },
    }
}

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

fn map(n: &str, l: u32) -> Body {
    Body::Mapping(Mapping::new(net(n), label(l)))
}

fn bindings(n: &str, l: u32) -> Bindings {
    Bindings {
        fecs: vec![Fec::Prefix(net(n))],
        label: Some(label(l)),
    }
}

fn status(s: Status, bodies: &[Body]) -> bool {
    bodies
        .iter()
        .any(|b| matches!(b, Body::Notification(n) if n.status == s))
}

#[test]
fn addresses_then_labels_then_the_end() {
    let mut rig = Rig::new(|_| {});
    rig.s.set_route(net("10.0.0.5/32"), Some(Route::Local));
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    rig.hello(LINK, Hello::default());
    rig.open(init());
    let said = rig.said();
    let names: Vec<&str> = said.iter().map(Body::name).collect();
    assert_eq!(
        names,
        [
            "Initialization",
            "Address",
            "Label Mapping",
            "Label Mapping",
            "Notification"
        ]
    );
    assert_eq!(said[2], map("10.0.0.5/32", 3));
    assert_eq!(said[3], map("10.0.0.7/32", 100));
    let Body::Notification(n) = &said[4] else {
        panic!()
    };
    assert_eq!(
        (n.status, n.fatal, n.fecs.as_slice()),
        (Status::EndOfLib, false, &[Fec::AllOf(Family::V4)][..])
    );
    // Who does not say that it understands is not told the end.
    let mut rig = Rig::new(|_| {});
    rig.hello(LINK, Hello::default());
    rig.open(Initialization {
        capabilities: Capabilities::default(),
        ..init()
    });
    assert!(!status(Status::EndOfLib, &rig.said()));
    // A new address is told, and that it is gone.
    rig.s.set_address(addr("192.0.2.77"), true);
    rig.drain();
    rig.s.set_address(addr("192.0.2.77"), false);
    rig.drain();
    let names: Vec<&str> = rig.said().iter().map(Body::name).collect();
    assert_eq!(names, ["Address", "Address Withdraw"]);
}

#[test]
fn what_is_installed_follows_labels_and_routes() {
    let mut rig = Rig::up(|_| {});
    let path = |out| {
        vec![Path {
            next_hop: NextHop {
                addr: addr("192.0.2.2"),
                iface: LINK,
            },
            out,
            entropy: false,
        }]
    };
    let fec = net("10.0.0.7/32");
    rig.said();
    // A label that is told before there is a route is kept (liberal retention).
    rig.get(&[map("10.0.0.7/32", 777)]);
    rig.drain();
    assert!(rig.installs().is_empty());
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    let swap = path(OutLabel::Label(label(777)));
    let ilm = |paths| Install::Ilm {
        label: label(100),
        fec,
        paths,
    };
    assert_eq!(
        rig.installs(),
        [ilm(swap.clone()), Install::Ftn { fec, paths: swap }]
    );
    rig.out.clear();
    // Another label in place of it: the old one is released.
    rig.get(&[map("10.0.0.7/32", 3)]);
    rig.drain();
    let pop = path(OutLabel::Pop);
    assert_eq!(
        rig.installs(),
        [ilm(pop.clone()), Install::Ftn { fec, paths: pop }]
    );
    assert_eq!(rig.said(), [Body::Release(bindings("10.0.0.7/32", 777))]);
    // A withdrawal of one that is not the one: answered, and nothing else.
    rig.get(&[Body::Withdraw(bindings("10.0.0.7/32", 777))]);
    rig.drain();
    assert!(rig.installs().is_empty());
    assert_eq!(rig.said(), [Body::Release(bindings("10.0.0.7/32", 777))]);
    rig.get(&[Body::Withdraw(Bindings {
        fecs: vec![Fec::AllOf(Family::V4)],
        label: None,
    })]);
    rig.drain();
    assert_eq!(
        rig.installs(),
        [ilm(path(OutLabel::Unlabelled)), Install::NoFtn { fec }]
    );
    // A next hop that is nobody's until it is told.
    rig.out.clear();
    rig.get(&[map("10.0.0.8/32", 888)]);
    rig.route("10.0.0.8/32", Some("192.0.2.99"));
    assert!(
        !rig.installs()
            .iter()
            .any(|i| matches!(i, Install::Ftn { .. }))
    );
    let list = Addresses {
        family: Family::V4,
        list: vec![addr("192.0.2.99")],
    };
    rig.out.clear();
    rig.get(&[Body::Address(list.clone())]);
    rig.drain();
    assert!(
        rig.installs()
            .iter()
            .any(|i| matches!(i, Install::Ftn { .. }))
    );
    rig.out.clear();
    rig.get(&[Body::AddressWithdraw(list)]);
    rig.drain();
    assert!(rig.installs().contains(&Install::NoFtn {
        fec: net("10.0.0.8/32")
    }));
}

/// The neighbour from whose address Hellos come is who a next hop is, as long as it has a session; then it is who says that
/// the address is its own. The end of a session is enough for that to be found out, though no label went with it.
#[test]
fn a_next_hop_is_found_again_when_a_session_ends() {
    let mut rig = Rig::up(|_| {});
    let fec = net("10.0.0.7/32");
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    let first = rig.conn.expect("a session");
    rig.them = id(3);
    rig.hello(
        OTHER,
        Hello {
            hold: 0xffff,
            ..Hello::default()
        },
    );
    rig.open(init());
    let own = Body::Address(Addresses {
        family: Family::V4,
        list: vec![addr("192.0.2.2")],
    });
    rig.get(&[own, map("10.0.0.7/32", 33)]);
    rig.out.clear();
    rig.drain();
    assert!(rig.installs().is_empty(), "the one on the link told none");
    rig.s.closed(rig.now, first, &mut rig.out);
    rig.drain();
    let paths = vec![Path {
        next_hop: NextHop {
            addr: addr("192.0.2.2"),
            iface: LINK,
        },
        out: OutLabel::Label(label(33)),
        entropy: false,
    }];
    let label = label(100);
    let ilm = Install::Ilm {
        label,
        fec,
        paths: paths.clone(),
    };
    assert_eq!(rig.installs(), [ilm, Install::Ftn { fec, paths }]);
    // It comes back, and the next hop is its own again, which has no label for it.
    rig.out.clear();
    rig.them = id(2);
    rig.wait(RETRY);
    rig.open(init());
    let back = rig.installs();
    assert!(back.contains(&Install::NoFtn { fec }), "{back:?}");
}

#[test]
fn a_label_is_free_when_it_is_released() {
    let mut rig = Rig::up(|_| {});
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    rig.said();
    rig.route("10.0.0.7/32", None);
    let gone = Install::NoIlm {
        label: label(100),
        fec: net("10.0.0.7/32"),
    };
    assert_eq!(rig.installs(), [gone]);
    assert_eq!(rig.said(), [Body::Withdraw(bindings("10.0.0.7/32", 100))]);
    assert!(rig.pool.freed.is_empty(), "it may still be used");
    // It is back before the release: told again only after that.
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    assert_eq!(rig.said(), []);
    rig.get(&[Body::Release(bindings("10.0.0.7/32", 100))]);
    rig.drain();
    assert_eq!(rig.said(), [map("10.0.0.7/32", 100)]);
    rig.route("10.0.0.7/32", None);
    rig.get(&[Body::Release(Bindings {
        fecs: vec![Fec::Wildcard],
        label: None,
    })]);
    rig.drain();
    assert_eq!(rig.pool.freed, [label(100)]);
    // A neighbour that is gone releases all.
    rig.route("10.0.0.8/32", Some("192.0.2.2"));
    rig.route("10.0.0.8/32", None);
    let conn = rig.conn.unwrap();
    rig.s.closed(rig.now, conn, &mut rig.out);
    rig.drain();
    assert_eq!(rig.pool.freed, [label(100), label(101)]);
    assert_eq!(rig.s.bindings().count(), 0);
}

#[test]
fn no_label_and_then_one() {
    let mut rig = Rig::up(|_| {});
    rig.said();
    rig.pool.left = 0;
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    assert_eq!(rig.said(), []);
    let request = Request {
        fecs: vec![Fec::Prefix(net("10.0.0.7/32"))],
        hop_count: None,
        path_vector: None,
        unknown: vec![],
    };
    rig.get(&[Body::Request(request)]);
    assert!(status(Status::NoLabelResources, &rig.said()));
    rig.pool.left = 1;
    rig.s.labels_available();
    rig.drain();
    assert_eq!(rig.said(), [map("10.0.0.7/32", 100)]);
}

#[test]
fn requests_are_answered() {
    let mut rig = Rig::up(|_| {});
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    rig.said();
    let request = |fec| {
        Body::Request(Request {
            fecs: vec![fec],
            hop_count: None,
            path_vector: None,
            unknown: vec![],
        })
    };
    rig.get(&[request(Fec::Prefix(net("10.0.0.7/32")))]);
    rig.drain();
    let want = Mapping {
        request: Some(rig.next_id),
        ..Mapping::new(net("10.0.0.7/32"), label(100))
    };
    assert_eq!(rig.said(), [Body::Mapping(want)]);
    rig.get(&[request(Fec::AllOf(Family::V4))]);
    rig.drain();
    assert_eq!(rig.said(), [map("10.0.0.7/32", 100)]);
    rig.get(&[request(Fec::AllOf(Family::V6))]);
    rig.drain();
    assert_eq!(rig.said(), []);
    rig.get(&[request(Fec::Prefix(net("10.0.0.9/32")))]);
    let [Body::Notification(n)] = &rig.said()[..] else {
        panic!()
    };
    assert_eq!(
        (n.status, n.message_id, n.message_type),
        (Status::NoRoute, rig.next_id, 0x0401)
    );
}

#[test]
fn who_looks_for_loops_is_told_hop_counts() {
    let mut rig = Rig::new(|_| {});
    rig.hello(LINK, Hello::default());
    rig.open(Initialization {
        loop_detection: true,
        path_vector_limit: 9,
        ..init()
    });
    rig.said();
    rig.s.set_route(net("10.0.0.5/32"), Some(Route::Local));
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    let counts: Vec<Option<u8>> = rig
        .said()
        .iter()
        .map(|b| match b {
            Body::Mapping(m) => m.hop_count,
            _ => None,
        })
        .collect();
    assert_eq!(counts, [Some(1), Some(0)]);
}

#[test]
fn there_are_limits() {
    let mut rig = Rig::up(|c| {
        c.max_bindings = 2;
        c.max_addresses = 3;
    });
    rig.said();
    rig.get(&[
        map("10.1.0.0/16", 20),
        map("10.2.0.0/16", 21),
        map("10.3.0.0/16", 22),
    ]);
    let said = rig.said();
    assert!(status(Status::NoLabelResources, &said));
    assert!(said.contains(&Body::Release(bindings("10.3.0.0/16", 22))));
    rig.get(&[
        Body::Withdraw(bindings("10.1.0.0/16", 20)),
        map("10.3.0.0/16", 22),
    ]);
    assert!(!status(Status::NoLabelResources, &rig.said()));
    let many = (1..5).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    rig.get(&[Body::Address(Addresses {
        family: Family::V4,
        list: many,
    })]);
    assert!(status(Status::InternalError, &rig.said()));
    assert_eq!(rig.state(), State::NonExistent);
}

#[test]
fn rejections_are_followed_by_longer_and_longer_waits() {
    let mut rig = Rig::new(|c| c.hello.link_hold = 0xffff);
    rig.hello(
        LINK,
        Hello {
            hold: 0xffff,
            config_sequence: Some(1),
            ..Hello::default()
        },
    );
    for wait in [15, 30, 60, 120, 120] {
        let conn = rig.conn.expect("it connects");
        rig.s.connected(rig.now, conn, &mut rig.out);
        rig.get(&[Body::Notification(Notification::new(Status::NoHello))]);
        assert_eq!(rig.conn, None);
        rig.wait(secs(wait - 1));
        assert_eq!(rig.conn, None, "not after {} s", wait - 1);
        rig.out.clear();
        rig.wait(secs(1));
    }
    let conn = rig.conn.expect("it connects");
    rig.s.connected(rig.now, conn, &mut rig.out);
    rig.get(&[Body::Notification(Notification::new(Status::NoHello))]);
    rig.out.clear();
    // A changed configuration is tried at once.
    rig.hello(
        LINK,
        Hello {
            hold: 0xffff,
            config_sequence: Some(2),
            ..Hello::default()
        },
    );
    assert!(rig.conn.is_some());
    // A connection that can't be had is no rejection.
    for _ in 0..3 {
        rig.s.closed(rig.now, rig.conn.unwrap(), &mut rig.out);
        rig.conn = None;
        rig.out.clear();
        rig.wait(RETRY);
        assert!(rig.conn.is_some());
    }
    // Once it was up, it starts from the beginning.
    rig.open(init());
    rig.get(&[Body::Notification(Notification::new(Status::Shutdown))]);
    rig.out.clear();
    rig.wait(RETRY);
    rig.s.connected(rig.now, rig.conn.unwrap(), &mut rig.out);
    rig.get(&[Body::Notification(Notification::new(Status::NoHello))]);
    rig.out.clear();
    rig.wait(secs(15));
    assert!(rig.conn.is_some());
}

#[test]
fn one_session_for_all_adjacencies_and_none_without() {
    let mut rig = Rig::new(|_| {});
    rig.hello(LINK, Hello::default());
    rig.open(init());
    rig.wait(secs(10));
    rig.out.clear();
    rig.hello(OTHER, Hello::default());
    let new = |o: &&Output| matches!(o, Output::Adjacency(_, true));
    assert_eq!(rig.out.iter().filter(new).count(), 1);
    assert!(!rig.out.iter().any(|o| matches!(o, Output::Connect { .. })));
    rig.wait(secs(14));
    assert_eq!(rig.state(), State::Operational, "one is left");
    rig.said();
    rig.wait(secs(1));
    assert!(status(Status::HoldTimerExpired, &rig.said()));
    assert_eq!(rig.s.neighbors().count(), 0);
    // An interface that goes takes its adjacency at once.
    rig.hello(LINK, Hello::default());
    rig.open(init());
    rig.s
        .set_interface(rig.now, LINK, Families::NONE, &mut rig.out);
    assert!(status(Status::HoldTimerExpired, &rig.said()));
}

#[test]
fn who_comes_is_let_in_if_it_was_heard() {
    let mut rig = Rig::new(|_| {});
    rig.them = id(9);
    rig.hello(
        LINK,
        Hello {
            gtsm: true,
            ..Hello::default()
        },
    );
    assert_eq!(rig.conn, None, "it is theirs to connect");
    rig.out.clear();
    // Nobody that we know.
    let stranger = rig
        .s
        .accepted(rig.now, addr("10.0.0.5"), addr("10.0.0.3"), &mut rig.out);
    assert!(rig.out.is_empty());
    rig.conn = Some(stranger);
    rig.get(&[Body::Initialization(init())]);
    assert!(status(Status::NoHello, &rig.said()));
    let conn = rig
        .s
        .accepted(rig.now, addr("10.0.0.5"), addr("10.0.0.9"), &mut rig.out);
    assert_eq!(rig.out, [Output::Gtsm(conn)]);
    rig.conn = Some(conn);
    rig.get(&[Body::Initialization(init()), Body::KeepAlive]);
    assert_eq!(rig.state(), State::Operational);
    // A second one beside it is closed.
    rig.out.clear();
    let second = rig
        .s
        .accepted(rig.now, addr("10.0.0.5"), addr("10.0.0.9"), &mut rig.out);
    assert_eq!(rig.out, [Output::Close(second)]);
    // Those who say nothing are not waited for, and not too many of them.
    rig.out.clear();
    for n in 0..100 {
        rig.s.accepted(
            rig.now,
            addr("10.0.0.5"),
            [198, 51, 100, n].into(),
            &mut rig.out,
        );
    }
    let closed = |out: &[Output]| out.iter().filter(|o| matches!(o, Output::Close(_))).count();
    assert_eq!(closed(&rig.out), 100 - STRANGERS);
    rig.out.clear();
    rig.wait(secs(15));
    assert!(closed(&rig.out) >= STRANGERS);
}

#[test]
fn a_socket_that_takes_nothing_is_told_nothing() {
    let mut rig = Rig::up(|_| {});
    rig.said();
    rig.s.set_full(rig.conn.unwrap(), true);
    rig.route("10.0.0.7/32", Some("192.0.2.2"));
    assert_eq!(rig.said(), []);
    rig.s.set_full(rig.conn.unwrap(), false);
    rig.drain();
    assert_eq!(rig.said(), [map("10.0.0.7/32", 100)]);
}

#[test]
fn another_preference_ends_the_session() {
    use crate::wire::DualStack;
    let mut rig = Rig::new(|c| c.hello.transport_v6 = Some("2001:db8::5".parse().unwrap()));
    rig.hello(LINK, Hello::default());
    rig.open(init());
    rig.said();
    let dual_stack = Some(DualStack::Prefers(Family::V4));
    rig.hello(
        LINK,
        Hello {
            dual_stack,
            ..Hello::default()
        },
    );
    assert!(status(Status::TransportMismatch, &rig.said()));
    assert_eq!(rig.s.neighbors().count(), 0);
}

#[test]
fn what_a_neighbour_says_is_passed_on() {
    let mut rig = Rig::up(|_| {});
    rig.out.clear();
    let end = Notification {
        fecs: vec![Fec::AllOf(Family::V4)],
        ..Notification::new(Status::EndOfLib)
    };
    let other = Notification {
        fatal: false,
        ..Notification::new(Status::Other(0x99))
    };
    rig.get(&[Body::Notification(end), Body::Notification(other)]);
    assert_eq!(
        rig.out,
        [
            Output::EndOfLib(id(2), Family::V4),
            Output::Said(id(2), Status::Other(0x99))
        ]
    );
    rig.out.clear();
    rig.s.shutdown(rig.now, &mut rig.out);
    assert!(status(Status::Shutdown, &rig.said()));
}
