//! The table of RFC 5036 2.5.4, row by row, the rejections of 3.5.3, and the timers of 2.5.6.

use std::net::Ipv4Addr;

use super::*;
use crate::types::{Family, Label};
use crate::wire::{Addresses, Mapping};

fn us() -> LdpId {
    LdpId::platform(Ipv4Addr::new(10, 0, 0, 1))
}

fn them() -> LdpId {
    LdpId::platform(Ipv4Addr::new(10, 0, 0, 2))
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn init() -> Initialization {
    Initialization {
        version: VERSION,
        keepalive: 90,
        on_demand: false,
        loop_detection: false,
        path_vector_limit: 0,
        max_pdu: 1000,
        receiver: us(),
        capabilities: Capabilities::default(),
    }
}

fn octets(from: LdpId, bodies: &[Body]) -> Vec<u8> {
    let mut pdus = Pdus::new(from, DEFAULT_MAX);
    for (id, body) in (100..).zip(bodies) {
        pdus.push(&Message {
            id,
            body: body.clone(),
        })
        .unwrap();
    }
    pdus.finish()
}

/// What was sent, in words.
fn said(acts: &[Act]) -> Vec<String> {
    let mut all = vec![];
    for a in acts {
        match a {
            Act::Send(o) => {
                let mut rest = o.as_slice();
                while let Ok(Some(pdu)) = Pdu::parse(rest, DEFAULT_MAX) {
                    assert_eq!(pdu.id, us());
                    for m in pdu.messages() {
                        all.push(match m.unwrap().body {
                            Body::Notification(n) => format!("Notification {}", n.status),
                            body => body.name().to_owned(),
                        });
                    }
                    rest = &rest[pdu.octets..];
                }
            }
            Act::State(s) => all.push(format!("-> {s}")),
            Act::Got(m) => all.push(format!("got {}", m.body.name())),
            Act::Close(c) => all.push(format!("close: {c}")),
        }
    }
    all
}

struct Rig {
    s: Session,
    now: Instant,
}

impl Rig {
    fn in_state(state: State) -> Self {
        let now = Instant::now();
        let s = match state {
            State::NonExistent | State::OpenSent => {
                Session::active(Proposal::new(us()), them(), now)
            }
            _ => Session::passive(Proposal::new(us()), now),
        };
        let mut rig = Self { s, now };
        match state {
            State::NonExistent | State::Initialized => {}
            State::OpenSent => drop(rig.connected()),
            State::OpenRec => drop(rig.get(&[Body::Initialization(init())])),
            State::Operational => drop(rig.get(&[Body::Initialization(init()), Body::KeepAlive])),
        }
        assert_eq!(rig.s.state(), state);
        rig
    }

    fn connected(&mut self) -> Vec<String> {
        let mut out = vec![];
        self.s.connected(self.now, &mut out);
        said(&out)
    }

    fn octets(&mut self, octets: &[u8]) -> Vec<String> {
        let mut out = vec![];
        let mut admit = |id| {
            if id == them() {
                Ok(())
            } else {
                Err(Status::NoHello)
            }
        };
        self.s.receive(self.now, octets, &mut admit, &mut out);
        said(&out)
    }

    fn get(&mut self, bodies: &[Body]) -> Vec<String> {
        self.octets(&octets(them(), bodies))
    }

    fn wait(&mut self, d: Duration) -> Vec<String> {
        self.now += d;
        let mut out = vec![];
        self.s.tick(self.now, &mut out);
        said(&out)
    }
}

fn mapping() -> Body {
    Body::Mapping(Mapping::new(
        "10.0.0.2/32".parse().unwrap(),
        Label::IMPLICIT_NULL,
    ))
}

fn nak(status: Status) -> Vec<String> {
    vec![
        format!("Notification {status}"),
        "-> NonExistent".to_owned(),
        format!("close: we ended the session: {status}"),
    ]
}

#[test]
fn each_transition_of_2_5_4() {
    let i = || Body::Initialization(init());
    assert_eq!(
        Rig::in_state(State::NonExistent).connected(),
        ["-> Initialized", "Initialization", "-> OpenSent"]
    );
    let rows: &[(State, Body, &[&str])] = &[
        (
            State::Initialized,
            i(),
            &["Initialization", "KeepAlive", "-> OpenRec"],
        ),
        (State::OpenSent, i(), &["KeepAlive", "-> OpenRec"]),
        (State::OpenRec, Body::KeepAlive, &["-> Operational"]),
        (State::Operational, Body::KeepAlive, &[]),
        (State::Operational, i(), &[]),
        (State::Operational, mapping(), &["got Label Mapping"]),
    ];
    for (state, body, want) in rows {
        assert_eq!(
            Rig::in_state(*state).get(std::slice::from_ref(body)),
            *want,
            "{state} {}",
            body.name()
        );
    }
    // What has no place ends it.
    for (state, bodies) in [
        (State::Initialized, vec![Body::KeepAlive, mapping()]),
        (State::OpenSent, vec![Body::KeepAlive, mapping()]),
        (
            State::OpenRec,
            vec![
                i(),
                mapping(),
                Body::Notification(Notification::new(Status::NoRoute)),
            ],
        ),
    ] {
        for body in bodies {
            assert_eq!(
                Rig::in_state(state).get(std::slice::from_ref(&body)),
                nak(Status::Shutdown),
                "{state} {body:?}"
            );
        }
    }
}

#[test]
fn a_fatal_notification_ends_it_in_every_state() {
    let n = Body::Notification(Notification::new(Status::NoHello));
    for state in [
        State::Initialized,
        State::OpenSent,
        State::OpenRec,
        State::Operational,
    ] {
        assert_eq!(
            Rig::in_state(state).get(std::slice::from_ref(&n)),
            [
                "-> NonExistent",
                "close: the neighbour ended the session: session rejected: no hello"
            ],
            "{state}"
        );
    }
    // 2.5.4: Shutdown is answered by Shutdown.
    let n = Body::Notification(Notification::new(Status::Shutdown));
    assert_eq!(
        Rig::in_state(State::Operational).get(&[n]),
        [
            "Notification shutdown",
            "-> NonExistent",
            "close: the neighbour ended the session: shutdown"
        ]
    );
}

#[test]
fn each_rejection_of_3_5_3() {
    let rows = [
        (
            Initialization {
                version: 2,
                ..init()
            },
            Status::BadVersion,
        ),
        (
            Initialization {
                keepalive: 0,
                ..init()
            },
            Status::BadKeepAlive,
        ),
        (
            Initialization {
                receiver: them(),
                ..init()
            },
            Status::NoHello,
        ),
    ];
    for state in [State::Initialized, State::OpenSent] {
        for (bad, status) in &rows {
            assert_eq!(
                Rig::in_state(state).get(&[Body::Initialization(bad.clone())]),
                nak(*status),
                "{state}"
            );
        }
        // On demand: both tell unasked then. Loop detection: told.
        let fine = Initialization {
            on_demand: true,
            loop_detection: true,
            ..init()
        };
        let mut rig = Rig::in_state(state);
        rig.get(&[Body::Initialization(fine)]);
        assert_eq!(rig.s.state(), State::OpenRec);
        assert!(rig.s.wants_hop_counts());
    }
    // Nobody who was heard of.
    let stranger = LdpId::platform(Ipv4Addr::new(10, 0, 0, 9));
    let o = octets(stranger, &[Body::Initialization(init())]);
    assert_eq!(
        Rig::in_state(State::Initialized).octets(&o),
        nak(Status::NoHello)
    );
    // Somebody else than was connected to, or than it was.
    for state in [State::OpenSent, State::OpenRec, State::Operational] {
        assert_eq!(
            Rig::in_state(state).octets(&o),
            nak(Status::BadLdpId),
            "{state}"
        );
    }
}

#[test]
fn errors_of_octets_are_answered_as_3_5_1_says() {
    // Fatal: a PDU of another version, in each state.
    for state in [
        State::Initialized,
        State::OpenSent,
        State::OpenRec,
        State::Operational,
    ] {
        let got = Rig::in_state(state).octets(&[0, 9, 0, 14]);
        assert_eq!(got[0], "Notification bad protocol version", "{state}");
        assert_eq!(got[1], "-> NonExistent");
    }
    // Advisory: the session goes on, and so does the PDU.
    let mut o = octets(them(), &[mapping(), mapping()]);
    o[10] = 0x0f;
    assert_eq!(
        Rig::in_state(State::Operational).octets(&o),
        ["Notification unknown message type", "got Label Mapping"]
    );
    // Before it is operational there is nothing to go on with.
    let got = Rig::in_state(State::OpenRec).octets(&o);
    assert_eq!(
        got[..2],
        ["Notification unknown message type", "Notification shutdown"]
    );
}

#[test]
fn parameters_are_the_smaller_ones() {
    let mut rig = Rig::in_state(State::Operational);
    assert_eq!((rig.s.hold(), rig.s.max_pdu()), (secs(90), 1000));
    let mut all = vec![0, 1];
    all.extend(1001u16.to_be_bytes());
    assert_eq!(rig.octets(&all)[0], "Notification bad PDU length");
    let mut rig = Rig::in_state(State::OpenSent);
    rig.get(&[Body::Initialization(Initialization {
        keepalive: 600,
        max_pdu: 0,
        ..init()
    })]);
    assert_eq!((rig.s.hold(), rig.s.max_pdu()), (secs(180), 4096));
}

#[test]
fn reads_may_end_anywhere() {
    let list = vec![Ipv4Addr::new(10, 0, 0, 2).into()];
    let addresses = Body::Address(Addresses {
        family: Family::V4,
        list,
    });
    let o = octets(
        them(),
        &[Body::Initialization(init()), Body::KeepAlive, addresses],
    );
    let mut rig = Rig::in_state(State::Initialized);
    let all: Vec<String> = o.iter().flat_map(|b| rig.octets(&[*b])).collect();
    assert_eq!(
        all,
        [
            "Initialization",
            "KeepAlive",
            "-> OpenRec",
            "-> Operational",
            "got Address"
        ]
    );
}

#[test]
fn keepalives_go_out_and_are_waited_for() {
    let mut rig = Rig::in_state(State::Operational);
    assert_eq!(rig.s.poll_at(), Some(rig.now + secs(30)));
    assert!(rig.wait(secs(29)).is_empty());
    assert_eq!(rig.wait(secs(1)), ["KeepAlive"]);
    // What is sent does for a KeepAlive, what comes is a sign of life.
    let mut out = vec![];
    rig.now += secs(20);
    rig.s.send(rig.now, [mapping()], &mut out);
    assert!(rig.wait(secs(29)).is_empty());
    assert_eq!(rig.wait(secs(1)), ["KeepAlive"]);
    rig.get(&[mapping()]);
    assert_eq!(rig.wait(secs(30)), ["KeepAlive"]);
    assert_eq!(rig.wait(secs(59)), ["KeepAlive"]);
    assert_eq!(rig.wait(secs(1)), nak(Status::KeepAliveExpired));
    assert_eq!(rig.s.poll_at(), None);
    assert!(rig.get(&[mapping()]).is_empty(), "over");
}

#[test]
fn a_session_that_does_not_come_up_ends() {
    for state in [State::Initialized, State::OpenSent, State::OpenRec] {
        let mut rig = Rig::in_state(state);
        assert!(rig.wait(secs(14)).is_empty());
        assert_eq!(rig.wait(secs(1)), nak(Status::KeepAliveExpired), "{state}");
    }
    // Nobody is there to be told.
    let mut rig = Rig::in_state(State::NonExistent);
    assert_eq!(rig.wait(secs(15))[0], "-> NonExistent");
}

#[test]
fn capabilities_may_change() {
    let mut rig = Rig::in_state(State::Operational);
    let off = Capabilities {
        dynamic: Some(true),
        typed_wildcard: Some(true),
        ..Capabilities::default()
    };
    assert!(rig.get(&[Body::Capability(off)]).is_empty());
    let c = rig.s.capabilities();
    assert_eq!((c.dynamic, c.typed_wildcard), (None, Some(true)));
}
