//! Round trips, octets written down by hand, and what is wrong.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::types::Label;

fn net() -> impl Strategy<Value = IpNet> {
    prop_oneof![
        (any::<Ipv4Addr>(), 0u8..=32).prop_map(|(a, l)| IpNet::new(a.into(), l).unwrap().trunc()),
        (any::<Ipv6Addr>(), 0u8..=128).prop_map(|(a, l)| IpNet::new(a.into(), l).unwrap().trunc()),
    ]
}

fn label() -> impl Strategy<Value = Label> {
    (0u32..1 << 20).prop_map(|n| Label::new(n).unwrap())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..12)
}

fn fec() -> impl Strategy<Value = FecElement> {
    prop_oneof![
        net().prop_map(FecElement::Ldp),
        net().prop_map(FecElement::Bgp),
        net().prop_map(FecElement::Generic),
        (any::<[u8; 8]>(), net()).prop_map(|(rd, n)| FecElement::Vpn(rd, n)),
        label().prop_map(FecElement::Nil),
        (100u16..999, bytes()).prop_map(|(k, v)| FecElement::Other(k, v)),
    ]
}

fn hop() -> impl Strategy<Value = Hop> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, i)| Hop::V4(a, i)),
        any::<(Ipv4Addr, u32)>().prop_map(|(a, i)| Hop::V4Index(a, i)),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, i)| Hop::V6(a, i)),
        any::<(Ipv6Addr, u32)>().prop_map(|(a, i)| Hop::V6Index(a, i)),
    ]
}

fn labels() -> impl Strategy<Value = Vec<PathLabel>> {
    let one = (label(), 0u8..16, any::<u8>());
    prop::collection::vec(
        one.prop_map(|(label, rest, protocol)| PathLabel {
            label,
            rest,
            protocol,
        }),
        0..4,
    )
}

fn multipath() -> impl Strategy<Value = Multipath> {
    (any::<u8>(), bytes()).prop_map(|(kind, info)| Multipath { kind, info })
}

fn change() -> impl Strategy<Value = StackChange> {
    (
        any::<bool>(),
        any::<Option<IpAddr>>(),
        prop::option::of(fec()),
    )
        .prop_map(|(push, peer, fec)| StackChange { push, peer, fec })
}

fn tlv() -> impl Strategy<Value = Tlv> {
    let common = || (any::<(u16, bool, bool, u8, u8)>(), hop());
    let detailed = (
        common(),
        prop::option::of(multipath()),
        prop::option::of(labels()),
        prop::collection::vec(change(), 0..3),
    );
    prop_oneof![
        prop::collection::vec(fec(), 1..4).prop_map(Tlv::TargetFec),
        (common(), multipath(), labels()).prop_map(
            |((c, hop), multipath, labels)| Tlv::Downstream(Downstream {
                mtu: c.0,
                want_in_labels: c.1,
                no_ip: c.2,
                hop,
                depth_limit: c.3,
                multipath,
                labels,
            })
        ),
        detailed.prop_map(
            |((c, hop), multipath, labels, changes)| Tlv::Detailed(Detailed {
                mtu: c.0,
                want_in_labels: c.1,
                no_ip: c.2,
                hop,
                code: ReturnCode(c.3),
                subcode: c.4,
                multipath,
                labels,
                changes,
            })
        ),
        (any::<bool>(), 0usize..50)
            .prop_map(|(c, n)| Tlv::Pad(if c { Pad::Copy } else { Pad::Drop }, n)),
        (hop(), prop::collection::vec(any::<u32>(), 0..4))
            .prop_map(|(hop, stack)| Tlv::InLabels(InLabels { hop, stack })),
        prop::collection::vec((any::<u16>(), bytes()), 0..3).prop_map(Tlv::Errored),
        any::<u8>().prop_map(Tlv::ReplyTos),
        (21u16.., bytes()).prop_map(|(k, v)| Tlv::Unknown(k, v)),
    ]
}

pub(crate) fn echo() -> impl Strategy<Value = Echo> {
    (
        any::<[bool; 4]>(),
        any::<(u8, u8, u8, u32, u32, u64, u64)>(),
        prop::collection::vec(tlv(), 0..5),
    )
        .prop_map(
            |([request, validate_stack, only_if_expired, reverse], n, tlvs)| Echo {
                kind: if request { Kind::Request } else { Kind::Reply },
                validate_stack,
                only_if_expired,
                reverse,
                reply_mode: ReplyMode::from_code(n.0),
                code: ReturnCode(n.1),
                subcode: n.2,
                handle: n.3,
                sequence: n.4,
                sent: n.5,
                received: n.6,
                tlvs,
            },
        )
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(e in echo()) {
        let mut octets = vec![];
        e.emit(&mut octets);
        prop_assert_eq!(octets.len() % 4, 0);
        prop_assert_eq!(Echo::parse(&octets), Ok(e));
        prop_assert!(Echo::parse(&octets[..HEADER - 1]).is_err());
    }

    #[test]
    fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..200), kind in 0u16..24) {
        let mut framed = vec![0, 1, 0, 0, 1, 2];
        framed.resize(HEADER, 0);
        put(&mut framed, kind, |out| out.extend_from_slice(&octets));
        crate::fuzz::echo(&framed);
        crate::fuzz::echo(&octets);
    }
}

fn request(tlvs: &[u8]) -> Vec<u8> {
    let mut o = vec![
        0, 1, 0, 1, // version, V
        1, 2, 0, 0, // request, by UDP
        0, 0, 0, 7, 0, 0, 0, 9, // handle, sequence
        0, 0, 0, 1, 0x80, 0, 0, 0, // sent
        0, 0, 0, 0, 0, 0, 0, 0,
    ];
    o.extend_from_slice(tlvs);
    o
}

#[test]
fn a_request_is_as_in_the_rfc() {
    let stack = vec![
        FecElement::Ldp("10.0.0.7/32".parse().unwrap()),
        FecElement::Vpn(
            [0, 0, 0xfc, 0, 0, 0, 0, 1],
            "203.0.113.0/24".parse().unwrap(),
        ),
        FecElement::Nil(Label::new(16).unwrap()),
    ];
    let hop = Hop::V4([192, 0, 2, 2].into(), [192, 0, 2, 2].into());
    let three = PathLabel {
        label: Label::new(100).unwrap(),
        rest: 1,
        protocol: 3,
    };
    let detailed = Detailed {
        mtu: 1500,
        want_in_labels: true,
        no_ip: false,
        hop,
        code: ReturnCode::NONE,
        subcode: 0,
        multipath: Some(Multipath {
            kind: 8,
            info: vec![127, 0, 0, 0, 0xff, 0, 0, 0],
        }),
        labels: Some(vec![three]),
        changes: vec![StackChange {
            push: false,
            peer: None,
            fec: None,
        }],
    };
    let mut e = Echo::request(
        7,
        9,
        0x0000_0001_8000_0000,
        vec![Tlv::TargetFec(stack), Tlv::Detailed(detailed)],
    );
    e.validate_stack = true;
    let want = request(&[
        0, 1, 0, 40, // target FEC stack
        0, 1, 0, 5, 10, 0, 0, 7, 32, 0, 0, 0, // LDP IPv4
        0, 6, 0, 13, 0, 0, 0xfc, 0, 0, 0, 0, 1, 203, 0, 113, 0, 24, 0, 0, 0, // VPN IPv4
        0, 16, 0, 4, 0, 1, 0, 0, // nil
        0, 20, 0, 48, // downstream detailed mapping
        5, 0xdc, 1, 2, 192, 0, 2, 2, 192, 0, 2, 2, 0, 0, 0,
        32, // MTU, IPv4 numbered, I, addresses, code, length
        0, 1, 0, 12, 8, 0, 8, 0, 127, 0, 0, 0, 0xff, 0, 0, 0, // multipath
        0, 2, 0, 4, 0, 6, 0x41, 3, // labels
        0, 3, 0, 4, 2, 0, 0, 0, // pop
    ]);
    let mut octets = vec![];
    e.emit(&mut octets);
    assert_eq!(octets, want);
    assert_eq!(Echo::parse(&octets), Ok(e));
}

#[test]
fn what_is_wrong_is_malformed() {
    let fine = request(&[0, 10, 0, 4, 0xb8, 0, 0, 0]);
    assert_eq!(Echo::parse(&fine).unwrap().tlvs, [Tlv::ReplyTos(0xb8)]);
    for (at, octet) in [(1, 2), (4, 0), (4, 3)] {
        let mut o = fine.clone();
        o[at] = octet;
        assert!(Echo::parse(&o).is_err(), "{at}");
    }
    for tlvs in [
        &[0, 10, 0][..],
        &[0, 10, 0, 9, 1, 2, 3, 4],
        &[0, 10, 0, 3, 1, 0, 0, 0],
        &[0, 1, 0, 0],
        &[0, 1, 0, 8, 0, 1, 0, 4, 10, 0, 0, 7],
        &[0, 1, 0, 9, 0, 1, 0, 5, 10, 0, 0, 7, 33, 0, 0, 0],
        &[0, 1, 0, 9, 0, 16, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0],
        &[0, 3, 0, 0],
        &[0, 3, 0, 1, 3, 0, 0, 0],
        &[0, 7, 0, 8, 1, 0, 0, 0, 1, 2, 3, 4],
        &[0, 7, 0, 4, 9, 0, 0, 0],
        &[0, 2, 0, 4, 5, 0xdc, 1, 2],
        &[
            0, 20, 0, 16, 5, 0xdc, 1, 2, 192, 0, 2, 2, 192, 0, 2, 2, 0, 0, 0, 1,
        ],
        &[
            0, 20, 0, 20, 5, 0xdc, 1, 2, 192, 0, 2, 2, 192, 0, 2, 2, 0, 0, 0, 4, 0, 9, 0, 0,
        ],
    ] {
        assert!(Echo::parse(&request(tlvs)).is_err(), "{tlvs:?}");
    }
    // The last may come without its padding.
    assert!(Echo::parse(&request(&[0, 3, 0, 1, 1])).is_ok());
}

#[test]
fn what_is_not_understood_is_named() {
    let o = request(&[
        0, 99, 0, 1, 5, 0, 0, 0, 0x80, 1, 0, 0, 0, 3, 0, 2, 2, 0, 0, 0,
    ]);
    let e = Echo::parse(&o).unwrap();
    assert_eq!(e.not_understood(), Some(Tlv::Errored(vec![(99, vec![5])])));
    let r = e.reply(ReturnCode::NOT_UNDERSTOOD, 0, 5);
    assert_eq!(
        (r.kind, r.handle, r.sequence, r.sent, r.received),
        (Kind::Reply, 7, 9, e.sent, 5)
    );
    assert_eq!(
        r.tlvs,
        [Tlv::Pad(Pad::Copy, 1)],
        "what asks for it is copied"
    );
    assert_eq!(Echo::parse(&request(&[])).unwrap().not_understood(), None);
}

#[test]
fn codes_have_names() {
    assert_eq!(
        ReturnCode::EGRESS.to_string(),
        "replying router is an egress for the FEC"
    );
    assert_eq!(ReturnCode(99).to_string(), "return code 99");
    for (code, depth) in [(2, false), (3, true), (8, true), (13, false), (14, false)] {
        assert_eq!(ReturnCode(code).has_depth(), depth, "{code}");
    }
}
