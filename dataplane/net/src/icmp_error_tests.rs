//! etherparse judges headers and checksums; the extension is read back here field by field (RFC 4884 7).

use etherparse::{Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;
use crate::checksum::verify;
use crate::{Label, ip6::ext};

const US4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const US6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const THEM6: u128 = 0x2001_0db8 << 96 | 9;

fn packet4(protocol: u8, src: &str, dst: &str, data: &[u8]) -> Vec<u8> {
    let mut p = vec![0; 20];
    let addr = |s: &str| s.parse::<Ipv4Addr>().unwrap().into();
    Ip4Mut::new(&mut p).unwrap().init(
        0x2b,
        20 + data.len() as u16,
        1,
        protocol,
        addr(src),
        addr(dst),
    );
    p.extend(data);
    p
}

fn udp4(len: usize) -> Vec<u8> {
    packet4(proto::UDP, "192.0.2.9", "203.0.113.1", &vec![0xa5; len])
}

fn packet6(next: u8, src: u128, dst: u128, data: &[u8]) -> Vec<u8> {
    let mut p = vec![0; 40];
    Ip6Mut::new(&mut p)
        .unwrap()
        .init(0x2b, data.len() as u16, next, 1, src, dst);
    p.extend(data);
    p
}

fn stack(n: usize) -> Vec<u8> {
    let labels: Vec<_> = (0..n)
        .map(|i| Label::new(100 + i as u32).unwrap())
        .collect();
    let mut b = vec![0; n * 4];
    mpls::write(&mut b, &labels, 5, 1, true).unwrap();
    b
}

fn build4(e: Error4, offending: &[u8], labels: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut out = vec![0xee; 2000];
    build_error4(&mut out, US4, e, offending, labels).map(|n| out[..n].to_vec())
}

fn build6(e: Error6, offending: &[u8], labels: Option<&[u8]>) -> Option<Vec<u8>> {
    let mut out = vec![0xee; 2000];
    build_error6(&mut out, US6, e, offending, labels).map(|n| out[..n].to_vec())
}

/// The extension of a message: its length field's unit is `word` bytes.
fn extension(message: &[u8], length_at: usize, word: usize) -> &[u8] {
    let original = usize::from(message[length_at]) * word;
    assert_eq!(original, 128);
    let ext = &message[8 + original..];
    assert_eq!(ext[0] >> 4, 2);
    assert!(verify(ext));
    assert_eq!(
        usize::from(u16::from_be_bytes([ext[4], ext[5]])),
        ext.len() - 4
    );
    assert_eq!((ext[6], ext[7]), (1, 1));
    &ext[8..]
}

#[test]
fn time_exceeded_quotes_the_packet() {
    let p = udp4(100);
    let e = build4(Error4::TTL_EXPIRED, &p, None).unwrap();
    let s = SlicedPacket::from_ip(&e).unwrap();
    let Some(NetSlice::Ipv4(ip)) = s.net else {
        panic!()
    };
    assert_eq!(
        (ip.header().source_addr(), ip.header().destination_addr()),
        (US4, "192.0.2.9".parse().unwrap())
    );
    assert_eq!(
        ip.header().to_header().calc_header_checksum(),
        ip.header().header_checksum()
    );
    assert_eq!((ip.header().ttl(), ip.header().dcp().value()), (TTL, 48));
    let Some(TransportSlice::Icmpv4(icmp)) = s.transport else {
        panic!()
    };
    assert!(matches!(icmp.icmp_type(), Icmpv4Type::TimeExceeded(_)));
    assert!(verify(icmp.slice()));
    assert_eq!(icmp.payload(), p);
    assert_eq!(e[24..28], [0; 4]); // no extension: no length
    // Padding of the link layer is not quoted.
    let padded = [p.clone(), vec![0; 20]].concat();
    assert_eq!(build4(Error4::TTL_EXPIRED, &padded, None).unwrap(), e);
}

#[test]
fn errors_are_bounded() {
    assert_eq!(
        build4(Error4::TTL_EXPIRED, &udp4(1400), None)
            .unwrap()
            .len(),
        576
    );
    let p = packet6(proto::UDP, THEM6, 1 << 64, &[1; 1400]);
    assert_eq!(build6(Error6::NO_ROUTE, &p, None).unwrap().len(), 1280);
    let longest = build4(Error4::TTL_EXPIRED, &udp4(1400), Some(&stack(40))).unwrap();
    assert_eq!(longest.len(), 28 + 128 + 8 + 64);
}

#[test]
fn mtu_and_pointer() {
    let e = build4(Error4::frag_needed(1400), &udp4(1480), None).unwrap();
    assert_eq!(e[20..22], [3, 4]);
    assert_eq!(e[24..28], [0, 0, 0x05, 0x78]);
    // The length of RFC 4884 and the MTU of RFC 1191 share the four bytes.
    let e = build4(Error4::frag_needed(1400), &udp4(1480), Some(&stack(1))).unwrap();
    assert_eq!(e[24..28], [0, 32, 0x05, 0x78]);
    let e = build4(Error4::parameter_problem(21), &udp4(0), None).unwrap();
    assert_eq!(e[20..28], [12, 0, e[22], e[23], 21, 0, 0, 0]);
    let p = packet6(proto::UDP, THEM6, 1 << 64, &[1; 1400]);
    let e = build6(Error6::packet_too_big(1280), &p, Some(&stack(1))).unwrap();
    assert_eq!(e.len(), 1280); // takes no extension
    let s = SlicedPacket::from_ip(&e).unwrap();
    let Some(TransportSlice::Icmpv6(icmp)) = s.transport else {
        panic!()
    };
    assert_eq!(icmp.icmp_type(), Icmpv6Type::PacketTooBig { mtu: 1280 });
}

#[test]
fn label_stacks_are_shown() {
    for (n, data) in [(1, 0), (3, 60), (16, 1400)] {
        let e = build4(Error4::TTL_EXPIRED, &udp4(data), Some(&stack(n))).unwrap();
        assert!(verify(&e[20..]));
        assert_eq!(extension(&e[20..], 5, 4), stack(n));
        let p = packet6(proto::UDP, THEM6, 1 << 64, &vec![1; data]);
        let e = build6(Error6::HOP_LIMIT_EXCEEDED, &p, Some(&stack(n))).unwrap();
        let s = SlicedPacket::from_ip(&e).unwrap();
        let Some(TransportSlice::Icmpv6(icmp)) = s.transport else {
            panic!()
        };
        assert!(icmp.is_checksum_valid(US6.octets(), THEM6.to_be_bytes()));
        assert!(matches!(icmp.icmp_type(), Icmpv6Type::TimeExceeded(_)));
        assert_eq!(extension(&e[40..], 4, 8), stack(n));
    }
    // Nothing to show: no extension, and odd bytes are cut.
    assert_eq!(
        build4(Error4::TTL_EXPIRED, &udp4(9), Some(&[])),
        build4(Error4::TTL_EXPIRED, &udp4(9), None)
    );
    let odd = [stack(1), vec![9; 3]].concat();
    assert_eq!(
        build4(Error4::TTL_EXPIRED, &udp4(9), Some(&odd)),
        build4(Error4::TTL_EXPIRED, &udp4(9), Some(&stack(1)))
    );
}

/// RFC 1812 4.3.2.7, a row a rule.
#[test]
fn packets_that_get_no_error4() {
    let ask = |p: &[u8]| build4(Error4::TTL_EXPIRED, p, None).is_some();
    for ty in 0..=40 {
        let p = packet4(
            proto::ICMP,
            "192.0.2.9",
            "203.0.113.1",
            &[ty, 0, 0, 0, 0, 0, 0, 0],
        );
        assert_eq!(ask(&p), ![3, 4, 5, 11, 12].contains(&ty), "{ty}");
    }
    assert!(!ask(&packet4(proto::ICMP, "192.0.2.9", "203.0.113.1", &[])));
    for dst in ["224.0.0.5", "239.1.1.1", "255.255.255.255"] {
        assert!(
            !ask(&packet4(proto::UDP, "192.0.2.9", dst, &[0; 8])),
            "{dst}"
        );
    }
    for src in [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ] {
        assert!(
            !ask(&packet4(proto::UDP, src, "203.0.113.1", &[0; 8])),
            "{src}"
        );
    }
    let mut later = udp4(64);
    later[7] = 1;
    assert!(!ask(&later));
    let mut first = udp4(64);
    first[6] = 0x20;
    assert!(ask(&first));
    for n in 0..20 {
        assert!(!ask(&udp4(0)[..n]));
    }
}

/// RFC 4443 2.4(e), a row a rule.
#[test]
fn packets_that_get_no_error6() {
    let too_big = Error6::packet_too_big(1280);
    let ask = |p: &[u8]| build6(Error6::HOP_LIMIT_EXCEEDED, p, None).is_some();
    let dst = 1 << 64;
    for ty in 0..=255 {
        let p = packet6(proto::ICMP6, THEM6, dst, &[ty, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(ask(&p), ty >= 128 && ty != 137, "{ty}");
        // Behind extension headers, too.
        let p = packet6(
            ext::DESTINATION,
            THEM6,
            dst,
            &[58, 0, 1, 4, 0, 0, 0, 0, ty, 0, 0, 0],
        );
        assert_eq!(ask(&p), ty >= 128 && ty != 137, "{ty}");
    }
    assert!(!ask(&packet6(proto::ICMP6, THEM6, dst, &[])));
    let group = packet6(proto::UDP, THEM6, 0xff0e << 112 | 1, &[0; 8]);
    assert!(!ask(&group));
    assert!(build6(too_big, &group, None).is_some());
    assert!(build6(Error6::parameter_problem(2, 42), &group, None).is_some());
    assert!(build6(Error6::parameter_problem(1, 42), &group, None).is_none());
    for src in [0, 1, 0xff02 << 112 | 1] {
        assert!(!ask(&packet6(proto::UDP, src, dst, &[0; 8])), "{src:x}");
        assert!(build6(too_big, &packet6(proto::UDP, src, dst, &[0; 8]), None).is_none());
    }
    // A later piece of an ICMPv6 message may be one of an error; path MTU discovery must work all the same.
    let piece = packet6(
        ext::FRAGMENT,
        THEM6,
        dst,
        &[58, 0, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0],
    );
    assert!(!ask(&piece));
    assert!(build6(too_big, &piece, None).is_some());
    for n in 0..40 {
        assert!(!ask(&packet6(proto::UDP, THEM6, dst, &[])[..n]));
    }
}

#[test]
fn a_short_buffer_is_no_error() {
    let (p4, p6) = (udp4(64), packet6(proto::UDP, THEM6, 1 << 64, &[0; 64]));
    let labels = stack(2);
    for labels in [None, Some(&labels[..])] {
        let (n4, n6) = (
            build4(Error4::TTL_EXPIRED, &p4, labels).unwrap().len(),
            build6(Error6::NO_ROUTE, &p6, labels).unwrap().len(),
        );
        for n in 0..n4 {
            assert_eq!(
                build_error4(&mut vec![0; n], US4, Error4::TTL_EXPIRED, &p4, labels),
                None
            );
        }
        for n in 0..n6 {
            assert_eq!(
                build_error6(&mut vec![0; n], US6, Error6::NO_ROUTE, &p6, labels),
                None
            );
        }
        assert_eq!(
            build_error4(&mut vec![0; n4], US4, Error4::TTL_EXPIRED, &p4, labels),
            Some(n4)
        );
    }
}

proptest! {
    #[test]
    fn any_bytes(mut p in prop::collection::vec(any::<u8>(), 0..300), labels in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
                 room in 0usize..700, ty: u8, code: u8, rest: [u8; 4]) {
        for version in [4, 6] {
            if let Some(b) = p.first_mut() {
                *b = version << 4 | *b & 0xf;
            }
            let mut out = vec![0; room];
            if let Some(n) = build_error4(&mut out, US4, Error4 { ty, code, rest }, &p, labels.as_deref()) {
                prop_assert!(n <= room && n <= MAX_LEN4 && verify(&out[20..n]) && ip4::check(&out).is_ok());
                prop_assert!(may_answer4(&p));
            }
            let error = Error6 { ty, code, rest };
            if let Some(n) = build_error6(&mut out, US6, error, &p, labels.as_deref()) {
                prop_assert!(n <= room && n <= MAX_LEN6 && ip6::check(&out).is_ok() && may_answer6(&p, error));
            }
        }
    }
}
