//! Round trips, each error of RFC 5036 3.5.1.2, and octets written down by hand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::types::{Family, Label};

pub(crate) fn id() -> LdpId {
    LdpId::platform(Ipv4Addr::new(192, 0, 2, 1))
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<Ipv4Addr>(), 0u8..=32).prop_map(|(a, l)| IpNet::new(a.into(), l).unwrap().trunc()),
        (any::<Ipv6Addr>(), 0u8..=128).prop_map(|(a, l)| IpNet::new(a.into(), l).unwrap().trunc()),
    ]
}

fn label() -> impl Strategy<Value = Label> {
    prop_oneof![Just(0u32), Just(2), Just(3), 16u32..1 << 20].prop_map(|n| Label::new(n).unwrap())
}

fn named() -> impl Strategy<Value = Vec<Fec>> {
    prop::collection::vec(net().prop_map(Fec::Prefix), 1..5)
}

fn typed() -> impl Strategy<Value = Vec<Fec>> {
    prop_oneof![named(), family().prop_map(|f| vec![Fec::AllOf(f)])]
}

fn some_fecs() -> impl Strategy<Value = Vec<Fec>> {
    prop_oneof![typed(), Just(vec![Fec::Wildcard])]
}

fn unknown() -> impl Strategy<Value = Vec<Unknown>> {
    let one = (0x3000u16..0x3fff, prop::collection::vec(any::<u8>(), 0..9));
    prop::collection::vec(one.prop_map(|(kind, value)| Unknown { kind, value }), 0..3)
}

fn path_vector() -> impl Strategy<Value = Option<Vec<Ipv4Addr>>> {
    prop::option::of(prop::collection::vec(any::<Ipv4Addr>(), 0..4))
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    any::<[Option<bool>; 3]>().prop_map(|[dynamic, typed_wildcard, unrecognized_notification]| {
        Capabilities {
            dynamic,
            typed_wildcard,
            unrecognized_notification,
        }
    })
}

fn notification() -> impl Strategy<Value = Body> {
    let fecs = prop_oneof![Just(vec![]), typed()];
    (
        any::<u32>(),
        any::<(bool, bool, u32, u16)>(),
        any::<Option<u32>>(),
        fecs,
        unknown(),
    )
        .prop_map(
            |(code, (fatal, forward, message_id, message_type), extended, fecs, unknown)| {
                Body::Notification(Notification {
                    status: Status::from_code(code % 0x40),
                    fatal,
                    forward,
                    message_id,
                    message_type,
                    extended,
                    fecs,
                    unknown,
                })
            },
        )
}

fn hello() -> impl Strategy<Value = Body> {
    let dual = prop_oneof![
        Just(None),
        family().prop_map(|f| Some(DualStack::Prefers(f))),
        Just(Some(DualStack::Unknown(5))),
    ];
    (
        any::<u16>(),
        any::<[bool; 3]>(),
        any::<(Option<Ipv4Addr>, Option<Ipv6Addr>, Option<u32>)>(),
        dual,
    )
        .prop_map(
            |(
                hold,
                [targeted, request, gtsm],
                (transport_v4, transport_v6, config_sequence),
                dual_stack,
            )| {
                Body::Hello(Hello {
                    hold,
                    targeted,
                    request,
                    gtsm,
                    transport_v4,
                    transport_v6,
                    config_sequence,
                    dual_stack,
                })
            },
        )
}

fn initialization() -> impl Strategy<Value = Body> {
    (
        any::<(u16, u16, bool, bool, u8, u16)>(),
        any::<[u8; 6]>(),
        capabilities(),
    )
        .prop_map(|(c, id, capabilities)| {
            Body::Initialization(Initialization {
                version: c.0,
                keepalive: c.1,
                on_demand: c.2,
                loop_detection: c.3,
                path_vector_limit: c.4,
                max_pdu: c.5,
                receiver: LdpId::from_octets(id),
                capabilities,
            })
        })
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let v4 = prop::collection::vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 0..6);
    let v6 = prop::collection::vec(any::<Ipv6Addr>().prop_map(IpAddr::V6), 0..6);
    prop_oneof![
        v4.prop_map(|list| Addresses {
            family: Family::V4,
            list
        }),
        v6.prop_map(|list| Addresses {
            family: Family::V6,
            list
        }),
    ]
}

pub(crate) fn body() -> impl Strategy<Value = Body> {
    let mapping = (
        named(),
        label(),
        any::<Option<u32>>(),
        any::<Option<u8>>(),
        path_vector(),
        unknown(),
    );
    let request = (typed(), any::<Option<u8>>(), path_vector(), unknown());
    let bindings = || {
        let b = (some_fecs(), prop::option::of(label()));
        b.prop_map(|(fecs, label)| Bindings { fecs, label })
    };
    prop_oneof![
        notification(),
        hello(),
        initialization(),
        Just(Body::KeepAlive),
        capabilities().prop_map(Body::Capability),
        addresses().prop_map(Body::Address),
        addresses().prop_map(Body::AddressWithdraw),
        (mapping, any::<bool>()).prop_map(|(mapping, entropy)| {
            let (fecs, label, request, hop_count, path_vector, unknown) = mapping;
            Body::Mapping(Mapping {
                fecs,
                label,
                request,
                hop_count,
                path_vector,
                entropy,
                unknown,
            })
        }),
        request.prop_map(|(fecs, hop_count, path_vector, unknown)| {
            Body::Request(Request {
                fecs,
                hop_count,
                path_vector,
                unknown,
            })
        }),
        bindings().prop_map(Body::Withdraw),
        bindings().prop_map(Body::Release),
        (typed(), any::<u32>()).prop_map(|(fecs, request)| Body::Abort(Abort { fecs, request })),
    ]
}

fn read_all(mut octets: &[u8], max: u16) -> Result<Vec<Message>, WireError> {
    let mut all = vec![];
    while let Some(pdu) = Pdu::parse(octets, max)? {
        assert_eq!(pdu.id, id());
        for m in pdu.messages() {
            all.push(m?);
        }
        octets = &octets[pdu.octets..];
    }
    assert!(octets.is_empty(), "a PDU is cut off");
    Ok(all)
}

proptest! {
    #[test]
    fn what_is_packed_is_what_is_read(
        bodies in prop::collection::vec(body(), 0..40),
        max in prop_oneof![Just(256u16), Just(DEFAULT_MAX), 200u16..700],
    ) {
        let all: Vec<Message> = (7..).zip(bodies).map(|(id, body)| Message { id, body }).collect();
        let mut pdus = Pdus::new(id(), max);
        let fit: Vec<Message> = all.into_iter().filter(|m| pdus.push(m).is_ok()).collect();
        let octets = pdus.finish();
        prop_assert_eq!(read_all(&octets, max), Ok(fit));
    }

    #[test]
    fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..12) {
        crate::fuzz::pdus(&octets);
        let mut framed = KINDS[kind].0.to_be_bytes().to_vec();
        framed.extend(u16::try_from(octets.len() + 4).unwrap().to_be_bytes());
        framed.extend([0, 0, 0, 9]);
        framed.extend(octets);
        crate::fuzz::pdus(&pdu(&framed));
    }
}

/// A PDU around messages.
fn pdu(messages: &[u8]) -> Vec<u8> {
    let mut o = vec![0, 1];
    o.extend(u16::try_from(messages.len() + 6).unwrap().to_be_bytes());
    o.extend(id().octets());
    o.extend(messages);
    o
}

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut o = kind.to_be_bytes().to_vec();
    o.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    o.extend([0, 0, 0, 9]);
    o.extend(body);
    o
}

fn tlv(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut o = kind.to_be_bytes().to_vec();
    o.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
    o.extend(value);
    o
}

fn first(octets: &[u8]) -> Result<Option<Message>, WireError> {
    let Some(pdu) = Pdu::parse(octets, DEFAULT_MAX)? else {
        return Ok(None);
    };
    pdu.messages().next().transpose()
}

const FEC: [u8; 8] = [2, 0, 1, 24, 203, 0, 113, 0];

fn fec() -> Vec<u8> {
    tlv(0x0100, &FEC[..7])
}

fn generic(n: u32) -> Vec<u8> {
    tlv(0x0200, &n.to_be_bytes())
}

/// Each row: the message (type and parameters), and what is said of it. RFC 5036 3.5.1.2.1 and 3.5.1.2.2.
fn rows() -> Vec<(u16, Vec<u8>, Option<Status>)> {
    use Status::{
        BadMessageLength, BadTlvLength, MalformedTlv, MissingParameters, UnknownFec,
        UnknownMessage, UnknownTlv, UnsupportedFamily,
    };
    let mapping = [fec(), generic(100)].concat();
    let with = |extra: Vec<u8>| [mapping.clone(), extra].concat();
    let fec_of = |value: &[u8]| [tlv(0x0100, value), generic(100)].concat();
    let cut = |n: usize| mapping[..mapping.len() - n].to_vec();
    vec![
        (0x0400, mapping.clone(), None),
        // Messages: unknown ones, with the U bit and without.
        (0x0ff0, vec![], Some(UnknownMessage)),
        (0x8ff0, vec![1, 2, 3], None),
        // Messages too short for what they must have.
        (0x0001, tlv(0x0300, &[0; 9]), Some(BadMessageLength)),
        (0x0100, tlv(0x0400, &[0; 3]), Some(BadMessageLength)),
        (0x0200, tlv(0x0500, &[0; 13]), Some(BadMessageLength)),
        (0x0300, tlv(0x0101, &[0]), Some(BadMessageLength)),
        (0x0400, fec(), Some(BadMessageLength)),
        (0x0401, vec![], Some(BadMessageLength)),
        (0x0404, fec(), Some(BadMessageLength)),
        // Parameters: lengths that lie, wherever they stand.
        (0x0400, cut(1), Some(BadTlvLength)),
        (0x0400, with(vec![0x80]), Some(BadTlvLength)),
        (0x0400, with(vec![0x80, 0xaa, 0, 1]), Some(BadTlvLength)),
        (0x0201, vec![0x80, 0xaa, 0xff, 0xff], Some(BadTlvLength)),
        // Parameters that are unknown, or not known there.
        (0x0400, with(tlv(0x0aaa, &[1])), Some(UnknownTlv)),
        (0x0400, with(tlv(0x8aaa, &[1])), None),
        (0x0400, with(tlv(0xcaaa, &[1])), None),
        (0x0400, with(tlv(0x4aaa, &[1])), Some(UnknownTlv)),
        (0x0402, with(tlv(0x0103, &[1])), Some(UnknownTlv)),
        (0x0201, fec(), Some(UnknownTlv)),
        // Values that are wrong.
        (
            0x0400,
            [fec(), generic(1 << 20)].concat(),
            Some(MalformedTlv),
        ),
        (0x0400, [fec(), generic(1)].concat(), Some(MalformedTlv)),
        (
            0x0400,
            [fec(), tlv(0x0200, &[0; 5])].concat(),
            Some(MalformedTlv),
        ),
        (0x0400, with(tlv(0x0103, &[1, 2])), Some(MalformedTlv)),
        (0x0400, with(tlv(0xc206, &[1])), Some(MalformedTlv)),
        (0x0400, with(tlv(0x0104, &[1, 2, 3])), Some(MalformedTlv)),
        (0x0400, with(tlv(0x0600, &[1, 2, 3])), Some(MalformedTlv)),
        (
            0x0400,
            fec_of(&[2, 0, 1, 33, 1, 2, 3, 4, 5]),
            Some(MalformedTlv),
        ),
        (0x0400, fec_of(&FEC[..6]), Some(MalformedTlv)),
        (0x0400, fec_of(&[2, 0, 1]), Some(MalformedTlv)),
        (0x0401, with(vec![])[..4].to_vec(), Some(BadMessageLength)),
        (
            0x0401,
            [tlv(0x0100, &[]), tlv(0x8001, &[0])].concat(),
            Some(MalformedTlv),
        ),
        (0x0402, tlv(0x0100, &[1, 1]), Some(MalformedTlv)),
        (0x0402, tlv(0x0100, &[5, 2, 3, 0, 1, 0]), Some(MalformedTlv)),
        (0x0402, tlv(0x0100, &[5, 2, 9, 0, 1]), Some(MalformedTlv)),
        (0x0300, tlv(0x0101, &[0, 1, 1, 2, 3]), Some(MalformedTlv)),
        (0x0001, tlv(0x0300, &[0; 11]), Some(MalformedTlv)),
        (0x0100, tlv(0x0400, &[0; 5]), Some(MalformedTlv)),
        (0x0202, tlv(0x8506, &[]), Some(MalformedTlv)),
        // FECs.
        (0x0400, fec_of(&[1]), Some(UnknownFec)),
        (0x0400, fec_of(&[5, 2, 2, 0, 1]), Some(UnknownFec)),
        (0x0400, fec_of(&[0x80, 0, 5, 0]), Some(UnknownFec)),
        (0x0402, tlv(0x0100, &[5, 6, 2, 0, 1]), Some(UnknownFec)),
        (0x0402, tlv(0x0100, &[1]), None),
        (0x0401, tlv(0x0100, &[5, 2, 2, 0, 2]), None),
        // Families.
        (0x0400, fec_of(&[2, 0, 3, 8, 1]), Some(UnsupportedFamily)),
        (
            0x0402,
            tlv(0x0100, &[5, 2, 2, 0, 9]),
            Some(UnsupportedFamily),
        ),
        (
            0x0300,
            tlv(0x0101, &[0, 7, 1, 2, 3, 4]),
            Some(UnsupportedFamily),
        ),
        // What must be there.
        (
            0x0400,
            with(vec![])[11..].to_vec().repeat(3),
            Some(MissingParameters),
        ),
        (0x0400, [fec(), fec()].concat(), Some(MissingParameters)),
        (
            0x0404,
            [fec(), tlv(0x8abc, &[0; 4])].concat(),
            Some(MissingParameters),
        ),
        (0x0001, tlv(0x8abc, &[0; 10]), Some(MissingParameters)),
        (0x0100, tlv(0x8abc, &[0; 4]), Some(MissingParameters)),
        (0x0200, tlv(0x8abc, &[0; 14]), Some(MissingParameters)),
        (0x0300, tlv(0x8abc, &[0; 4]), Some(MissingParameters)),
    ]
}

#[test]
fn each_error_of_3_5_1_has_its_status() {
    for (kind, body, want) in rows() {
        let octets = pdu(&message(kind, &body));
        let got = first(&octets);
        match want {
            None => assert!(got.is_ok(), "0x{kind:04x} {body:02x?}: {got:?}"),
            Some(status) => {
                let e = got.expect_err(&format!("0x{kind:04x} {body:02x?}: {status}"));
                assert_eq!(e.status, status, "0x{kind:04x} {body:02x?}: {e}");
                assert_eq!((e.message_id, e.message_type), (9, kind & 0x7fff), "{e}");
            }
        }
    }
}

/// RFC 6790 5.1.1: it is empty, and who does not know it passes it on. It is taken whatever its flags say.
#[test]
fn the_entropy_label_capability_is_ignorable_and_passed_on() {
    let mapping = Mapping {
        entropy: true,
        ..Mapping::new("203.0.113.0/24".parse().unwrap(), Label::new(100).unwrap())
    };
    let mut octets = vec![];
    mapping.emit(&mut octets);
    let without = [fec(), generic(100)].concat();
    assert_eq!(octets, [without.clone(), tlv(0xc206, &[])].concat());
    for kind in [0x0206, 0x8206, 0x4206, 0xc206] {
        let body = [without.clone(), tlv(kind, &[])].concat();
        assert_eq!(Mapping::parse(&body), Ok(mapping.clone()), "{kind:04x}");
    }
    assert!(!Mapping::parse(&without).unwrap().entropy);
}

#[test]
fn each_error_of_a_pdu_has_its_status() {
    let right = pdu(&message(0x0201, &[]));
    for n in 0..right.len() {
        assert_eq!(Pdu::parse(&right[..n], DEFAULT_MAX), Ok(None), "{n}");
    }
    let status = |octets: &[u8], max| {
        Pdu::parse(octets, max)
            .map(|p| p.map(|p| p.octets))
            .map_err(|e| e.status)
    };
    assert!(status(&right, 14).is_ok());
    let version = [&[0, 2][..], &right[2..]].concat();
    assert_eq!(status(&version, DEFAULT_MAX), Err(Status::BadVersion));
    // At once, not when all of it has come.
    assert_eq!(
        status(&[0, 1, 0, 13], DEFAULT_MAX),
        Err(Status::BadPduLength)
    );
    assert_eq!(
        status(&[0, 1, 0x10, 1], DEFAULT_MAX),
        Err(Status::BadPduLength)
    );
    assert_eq!(status(&[0, 1, 0x10, 0], DEFAULT_MAX), Ok(None));
    // A message that ends behind its PDU, one whose length has no room for its identifier, and one without a header.
    for bad in [
        &[2, 1, 0, 5, 0, 0, 0, 9][..],
        &[2, 1, 0, 3, 0, 0, 0, 9],
        &[2, 1, 0, 4, 0, 0, 0, 9, 2, 1],
    ] {
        let octets = pdu(bad);
        let pdu = Pdu::parse(&octets, DEFAULT_MAX).unwrap().unwrap();
        let all: Vec<_> = pdu.messages().collect();
        let e = all.last().unwrap().clone().unwrap_err();
        assert_eq!(e.status, Status::BadMessageLength, "{bad:?}");
    }
}

#[test]
fn after_an_error_that_is_no_end_the_next_message_is_read() {
    let (advisory, fine) = (message(0x0ff0, &[]), message(0x0201, &[]));
    let ignored = message(0x8ff0, &[]);
    let octets = pdu(&[advisory, ignored, fine.clone()].concat());
    let all: Vec<_> = Pdu::parse(&octets, DEFAULT_MAX)
        .unwrap()
        .unwrap()
        .messages()
        .collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].clone().unwrap_err().status, Status::UnknownMessage);
    assert_eq!(all[1].clone().unwrap().body, Body::KeepAlive);
    let octets = pdu(&[message(0x0201, &[1, 2, 3]), fine].concat());
    let all: Vec<_> = Pdu::parse(&octets, DEFAULT_MAX)
        .unwrap()
        .unwrap()
        .messages()
        .collect();
    assert_eq!(all.len(), 1, "nothing follows what ends the session");
    assert_eq!(all[0].clone().unwrap_err().status, Status::BadTlvLength);
}

#[test]
fn what_is_emitted_is_as_in_the_rfc() {
    let mut pdus = Pdus::new(id(), DEFAULT_MAX);
    let hello = Hello {
        hold: 15,
        gtsm: true,
        transport_v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        ..Hello::default()
    };
    let message = Message {
        id: 1,
        body: Body::Hello(hello),
    };
    assert_eq!(message.body.name(), "Hello");
    pdus.push(&message).unwrap();
    let want = [
        0, 1, 0, 30, 192, 0, 2, 1, 0, 0, // PDU
        1, 0, 0, 20, 0, 0, 0, 1, // Hello
        4, 0, 0, 4, 0, 15, 0x20, 0, // 15 s, G
        4, 1, 0, 4, 192, 0, 2, 1, // transport address
    ];
    assert_eq!(pdus.finish(), want);
    let mut pdus = Pdus::new(id(), DEFAULT_MAX);
    let mapping = Mapping::new("203.0.113.0/24".parse().unwrap(), Label::IMPLICIT_NULL);
    pdus.push(&Message {
        id: 2,
        body: Body::Mapping(mapping),
    })
    .unwrap();
    let want = [
        0, 1, 0, 33, 192, 0, 2, 1, 0, 0, // PDU
        4, 0, 0, 23, 0, 0, 0, 2, // Label Mapping
        1, 0, 0, 7, 2, 0, 1, 24, 203, 0, 113, // FEC
        2, 0, 0, 4, 0, 0, 0, 3, // label
    ];
    assert_eq!(pdus.finish(), want);
}

#[test]
fn a_message_longer_than_a_pdu_is_refused() {
    let list = vec![IpAddr::from([192, 0, 2, 1]); 70_000];
    let many = Addresses {
        family: Family::V4,
        list,
    };
    let mut pdus = Pdus::new(id(), u16::MAX);
    let m = Message {
        id: 1,
        body: Body::Address(many),
    };
    assert!(pdus.push(&m).is_err());
    assert!(pdus.is_empty() && pdus.finish().is_empty());
}

#[test]
fn a_maximum_of_255_or_less_is_the_default() {
    for (says, means) in [(0, 4096), (255, 4096), (256, 256), (1500, 1500)] {
        let init = Initialization {
            version: VERSION,
            keepalive: 180,
            on_demand: false,
            loop_detection: false,
            path_vector_limit: 0,
            max_pdu: says,
            receiver: id(),
            capabilities: Capabilities::default(),
        };
        assert_eq!(init.longest_pdu(), means);
    }
}
