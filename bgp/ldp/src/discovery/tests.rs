//! Adjacencies, who is active, and two families.

use super::*;

fn id(n: u8) -> LdpId {
    LdpId::platform(Ipv4Addr::new(10, 0, 0, n))
}

fn v6(s: &str) -> Ipv6Addr {
    s.parse().unwrap()
}

fn dual(n: u8) -> HelloConfig {
    HelloConfig {
        transport_v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n.into())),
        ..HelloConfig::new(id(n))
    }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

const LINK: IfaceId = IfaceId(7);

struct Rig {
    d: Discovery,
    now: Instant,
}

impl Rig {
    fn new(config: HelloConfig) -> Self {
        let now = Instant::now();
        let mut d = Discovery::new(config);
        d.set_interface(now, LINK, Families::BOTH);
        Self { d, now }
    }

    fn hear(
        &mut self,
        from: LdpId,
        source: &str,
        multicast: bool,
        hops: u8,
        hello: Hello,
    ) -> Heard {
        let mut pdus = Pdus::new(from, DEFAULT_MAX);
        let body = Body::Hello(hello);
        pdus.push(&Message { id: 1, body }).unwrap();
        let octets = pdus.finish();
        let source = source.parse().unwrap();
        let datagram = Datagram {
            iface: LINK,
            source,
            multicast,
            hops,
            octets: &octets,
        };
        self.d.hear(self.now, &datagram)
    }

    fn link(&mut self, n: u8, hello: Hello) -> Heard {
        self.hear(id(n), &format!("192.0.2.{n}"), true, 1, hello)
    }
}

fn prefers(f: Family) -> Hello {
    Hello {
        dual_stack: Some(DualStack::Prefers(f)),
        ..Hello::default()
    }
}

#[test]
fn hold_times_are_the_smaller_ones() {
    for (ours, theirs, want) in [
        (15, 30, Some(15)),
        (15, 5, Some(5)),
        (15, 0, Some(15)),
        (0, 0, Some(15)),
        (60, 0, Some(15)),
        (INFINITE, 20, Some(20)),
        (15, INFINITE, Some(15)),
        (INFINITE, INFINITE, None),
    ] {
        assert_eq!(
            agreed_hold(ours, theirs, 15),
            want.map(secs),
            "{ours} {theirs}"
        );
    }
}

#[test]
fn an_adjacency_lasts_as_long_as_hellos_come() {
    let mut rig = Rig::new(HelloConfig::new(id(1)));
    let hello = Hello {
        hold: 9,
        ..Hello::default()
    };
    assert_eq!(rig.link(2, hello.clone()), Heard::New(id(2)));
    rig.now += secs(8);
    assert_eq!(rig.link(2, hello), Heard::Again(id(2)));
    let mut send = vec![];
    rig.now += secs(8);
    assert!(rig.d.tick(rig.now, &mut send).is_empty());
    rig.now += secs(1);
    assert_eq!(
        rig.d.tick(rig.now, &mut send),
        [(id(2), Via::Link(LINK), Family::V4)]
    );
    assert_eq!(rig.d.meeting(id(2)), None);
    let forever = Hello {
        hold: INFINITE,
        ..Hello::default()
    };
    rig.d.config.link_hold = INFINITE;
    rig.link(2, forever);
    rig.now += secs(1_000_000);
    assert!(rig.d.tick(rig.now, &mut send).is_empty());
}

#[test]
fn hellos_go_out_thrice_in_their_time_and_when_somebody_is_new() {
    let mut rig = Rig::new(dual(1));
    let mut send = vec![];
    rig.d.tick(rig.now, &mut send);
    let to: Vec<IpAddr> = send.iter().map(|s| s.to).collect();
    assert_eq!(to, [IpAddr::V4(ALL_ROUTERS_V4), ALL_ROUTERS_V6.into()]);
    let pdu = Pdu::parse(&send[1].octets, DEFAULT_MAX).unwrap().unwrap();
    let Body::Hello(h) = pdu.messages().next().unwrap().unwrap().body else {
        panic!("no Hello");
    };
    // Only the transport address of the family that carries it (RFC 7552 6.1).
    assert_eq!(
        (h.transport_v4, h.transport_v6),
        (None, Some(v6("2001:db8::1")))
    );
    assert!(h.gtsm && !h.targeted && h.dual_stack == Some(DualStack::Prefers(Family::V6)));
    assert_eq!(rig.d.poll_at(), Some(rig.now + secs(5)));
    send.clear();
    rig.now += secs(1);
    rig.link(2, prefers(Family::V6));
    rig.d.tick(rig.now, &mut send);
    assert_eq!(send.len(), 2, "at once");
}

#[test]
fn what_is_ignored_and_why() {
    let mut rig = Rig::new(dual(1));
    let targeted = Hello {
        targeted: true,
        request: true,
        ..Hello::default()
    };
    let ignored = Heard::Ignored;
    assert_eq!(rig.link(1, Hello::default()), ignored(Ignored::Own));
    let space = LdpId { space: 1, ..id(2) };
    assert_eq!(
        rig.hear(space, "192.0.2.2", true, 1, Hello::default()),
        ignored(Ignored::LabelSpace)
    );
    assert_eq!(
        rig.hear(id(2), "192.0.2.2", false, 1, Hello::default()),
        ignored(Ignored::Kind)
    );
    assert_eq!(rig.link(2, targeted.clone()), ignored(Ignored::Kind));
    assert_eq!(
        rig.hear(id(2), "192.0.2.2", false, 9, targeted.clone()),
        ignored(Ignored::NotConfigured)
    );
    let unknown = Hello {
        dual_stack: Some(DualStack::Unknown(5)),
        ..Hello::default()
    };
    assert_eq!(rig.link(2, unknown), ignored(Ignored::DualStack));
    let group = Hello {
        transport_v4: Some(ALL_ROUTERS_V4),
        ..Hello::default()
    };
    assert_eq!(rig.link(2, group), ignored(Ignored::NoTransport));
    let six = Hello {
        transport_v6: Some(v6("2001:db8::2")),
        ..prefers(Family::V6)
    };
    assert_eq!(
        rig.hear(id(2), "fe80::2", true, 254, six.clone()),
        ignored(Ignored::NotOnLink)
    );
    assert_eq!(
        rig.hear(id(2), "2001:db8:1::2", true, 255, six.clone()),
        ignored(Ignored::NotOnLink)
    );
    assert_eq!(
        rig.hear(id(2), "fe80::2", true, 255, prefers(Family::V6)),
        ignored(Ignored::NoTransport)
    );
    assert_eq!(
        rig.hear(id(2), "fe80::2", true, 255, six),
        Heard::New(id(2))
    );
    let garbage = Datagram {
        iface: LINK,
        source: "192.0.2.2".parse().unwrap(),
        multicast: true,
        hops: 1,
        octets: &[0, 1, 0],
    };
    assert_eq!(rig.d.hear(rig.now, &garbage), ignored(Ignored::Malformed));
    rig.d.set_interface(rig.now, LINK, Families::NONE);
    assert_eq!(rig.link(3, Hello::default()), ignored(Ignored::NotEnabled));
}

#[test]
fn who_has_the_greater_transport_address_connects() {
    let mut rig = Rig::new(HelloConfig::new(id(5)));
    let from = |a: [u8; 4]| Hello {
        transport_v4: Some(a.into()),
        gtsm: true,
        ..Hello::default()
    };
    rig.link(2, from([10, 0, 0, 2]));
    rig.link(9, from([10, 0, 0, 9]));
    let m = rig.d.meeting(id(2)).unwrap();
    assert!(m.active && m.gtsm);
    assert_eq!(
        (m.local, m.remote),
        ([10, 0, 0, 5].into(), [10, 0, 0, 2].into())
    );
    assert!(!rig.d.meeting(id(9)).unwrap().active);
    // Without the TLV it is the address that the Hello came from.
    rig.link(3, Hello::default());
    let m = rig.d.meeting(id(3)).unwrap();
    assert_eq!(
        (m.remote, m.active, m.gtsm),
        ([192, 0, 2, 3].into(), false, false)
    );
}

#[test]
fn targets_are_answered_if_they_may() {
    let mut rig = Rig::new(HelloConfig {
        accept_targeted: true,
        ..HelloConfig::new(id(1))
    });
    let hello = Hello {
        targeted: true,
        request: true,
        gtsm: true,
        ..Hello::default()
    };
    assert_eq!(
        rig.hear(id(2), "10.0.0.2", false, 60, hello.clone()),
        Heard::New(id(2))
    );
    assert!(!rig.d.meeting(id(2)).unwrap().gtsm, "it may be far");
    let mut send = vec![];
    rig.d.tick(rig.now, &mut send);
    let to: Vec<_> = send
        .iter()
        .filter(|s| s.iface.is_none())
        .map(|s| s.to)
        .collect();
    assert_eq!(to, [IpAddr::from([10, 0, 0, 2])]);
    // Not for ever: only while it asks.
    rig.now += secs(45);
    assert_eq!(rig.d.tick(rig.now, &mut send).len(), 1);
    send.clear();
    rig.now += secs(100);
    rig.d.tick(rig.now, &mut send);
    assert!(send.iter().all(|s| s.iface.is_some()));
    // One that is configured is called until it is not.
    rig.d.config.accept_targeted = false;
    rig.d.set_target(rig.now, [10, 0, 0, 2].into(), true);
    assert_eq!(
        rig.hear(id(2), "10.0.0.2", false, 60, hello),
        Heard::New(id(2))
    );
    rig.now += secs(45);
    send.clear();
    assert_eq!(rig.d.tick(rig.now, &mut send).len(), 1);
    assert!(send.iter().any(|s| s.iface.is_none()), "still called");
    rig.d.set_target(rig.now, [10, 0, 0, 2].into(), false);
    rig.now += secs(45);
    send.clear();
    rig.d.tick(rig.now, &mut send);
    assert!(send.iter().all(|s| s.iface.is_some()));
}

#[test]
fn dual_stack_neighbours_meet_in_the_preferred_family() {
    let mut rig = Rig::new(dual(5));
    rig.link(2, prefers(Family::V6));
    assert_eq!(
        rig.d.meeting(id(2)),
        None,
        "not before it is heard over IPv6"
    );
    let six = Hello {
        transport_v6: Some(v6("2001:db8::2")),
        ..prefers(Family::V6)
    };
    rig.hear(id(2), "fe80::2", true, 255, six.clone());
    let m = rig.d.meeting(id(2)).unwrap();
    assert_eq!((m.remote, m.active), (v6("2001:db8::2").into(), true));
    assert_eq!(rig.d.families(id(2)), Families::BOTH);
    // The other preference is a contradiction; none, with both families, is no better.
    assert_eq!(rig.link(3, prefers(Family::V4)), Heard::Mismatch(id(3)));
    rig.link(4, Hello::default());
    assert!(rig.d.meeting(id(4)).is_some());
    assert_eq!(rig.d.families(id(4)), Families::NONE.with(Family::V4));
    rig.hear(
        id(4),
        "fe80::4",
        true,
        255,
        Hello {
            dual_stack: None,
            ..six
        },
    );
    assert!(rig.d.is_noncompliant(id(4)) && rig.d.meeting(id(4)).is_none());
}

#[test]
fn a_changed_configuration_is_noticed() {
    let mut rig = Rig::new(HelloConfig::new(id(1)));
    let with = |n| Hello {
        config_sequence: Some(n),
        ..Hello::default()
    };
    assert_eq!(rig.link(2, with(1)), Heard::New(id(2)));
    assert_eq!(rig.link(2, with(1)), Heard::Again(id(2)));
    assert_eq!(rig.link(2, with(2)), Heard::Changed(id(2)));
}
