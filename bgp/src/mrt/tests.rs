use super::*;
use crate::attrs::{AttrBuf, Origin, SegmentKind, code, flag};
use crate::types::{Asn, Family, NextHop};
use proptest::collection::vec;
use proptest::prelude::*;
use std::net::IpAddr;

fn all(mut bytes: &[u8]) -> Vec<Record<'_>> {
    let mut found = Vec::new();
    while let Some((r, rest)) = Record::parse(bytes).unwrap() {
        found.push(r);
        bytes = rest;
    }
    assert!(bytes.is_empty());
    found
}

fn attributes(next_hop: Option<NextHop>, long: usize) -> AttrBuf {
    let mut b = AttrBuf::new();
    b.set_origin(Origin::Igp);
    b.set_as_path([(SegmentKind::Sequence, &[Asn(4_200_000_000), Asn(2)][..])]);
    b.set_med(5);
    b.set(
        flag::OPTIONAL | flag::TRANSITIVE,
        code::COMMUNITIES,
        &vec![1; long * 4],
    );
    b.set(
        flag::OPTIONAL | flag::TRANSITIVE,
        code::LARGE_COMMUNITIES,
        &[1; 12],
    );
    b.next_hop = next_hop;
    b
}

proptest! {
    #[test]
    fn a_dump_is_read_as_it_was_written(
        peers in vec((any::<[u8; 4]>(), any::<IpAddr>(), any::<u32>()), 0..9),
        view in vec(any::<u8>(), 0..20), collector: [u8; 4],
        routes in vec((0u16..9, any::<u32>(), any::<u32>(), 1usize..100), 0..9),
        which in 0usize..4, add_path: bool, time: u32, sequence: u32,
    ) {
        let four = NextHop::V4([10, 0, 0, 1].into());
        let six = |n: u128| NextHop::V6((0x2001_0db8 << 96 | n).into());
        let both = NextHop::V6Both((0x2001_0db8 << 96 | 1).into(), (0xfe80 << 112 | 1).into());
        let (family, nlri, hops): (_, &[u8], _) = [
            (Family::Ipv4Unicast, &[24, 192, 0, 2][..], [Some(four), None, Some(six(1))]),
            (Family::Ipv6Unicast, &[32, 0x20, 1, 0x0d, 0xb8], [Some(six(1)), Some(both), None]),
            (Family::Vpnv4, &[96, 0, 6, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 10], [Some(four), Some(six(3)), None]),
            (Family::Ipv4Flow, &[3, 3, 0x81, 6], [None; 3]),
        ][which];
        let table = PeerTable {
            collector,
            view,
            peers: peers.into_iter().map(|(id, address, asn)| PeerEntry { id, address, asn: Asn(asn) }).collect(),
        };
        let mut out = Vec::new();
        peer_table(time, &table, &mut out);
        let attrs: Vec<AttrBuf> = routes.iter().enumerate().map(|(i, r)| attributes(hops[i % 3], r.3)).collect();
        let entries: Vec<RibEntry<'_>> = routes.iter().zip(&attrs).map(|(r, a)| {
            RibEntry { peer: r.0, originated: r.1, path_id: if add_path { r.2 } else { 0 }, attributes: a.view() }
        }).collect();
        rib(time, sequence, (family, nlri), add_path, &entries, &mut out);

        let records = all(&out);
        prop_assert_eq!(records.len(), 2);
        prop_assert_eq!(Entry::parse(&records[0]), Ok(Entry::Peers(table)));
        let Ok(Entry::Routes(found)) = Entry::parse(&records[1]) else { panic!("{records:?}") };
        prop_assert_eq!((found.sequence, found.nlri.family, found.nlri.octets), (sequence, family, nlri));
        let mut buf = AttrBuf::new();
        let mut n = 0;
        for (r, want) in found.routes.zip(&entries) {
            let r = r.unwrap();
            prop_assert!(r.canonical(&mut buf));
            prop_assert_eq!((r.peer, r.originated, r.path_id, buf.view()), (want.peer, want.originated, want.path_id, want.attributes));
            n += 1;
        }
        prop_assert_eq!(n, entries.len());
    }

    #[test]
    fn a_message_is_read_as_it_was_written(
        (as4, add_path, sent, v6) in any::<(bool, bool, bool, bool)>(),
        peer_as: u16, local_as: u16, interface: u16, a: u128, b: u128, time: u32, octets in vec(any::<u8>(), 0..60), old: u16, new: u16,
    ) {
        let ip = |n: u128| -> IpAddr { if v6 { IpAddr::V6(n.into()) } else { IpAddr::V4((n as u32).into()) } };
        let large = u32::from(as4) << 20;
        let m = Message {
            peer_as: Asn(u32::from(peer_as) | large), local_as: Asn(u32::from(local_as) | large), interface,
            peer: ip(a), local: ip(b), as4, add_path, sent, octets: &octets,
        };
        let mut out = Vec::new();
        message(time, &m, &mut out);
        state_change(time, &m, (old, new), &mut out);
        let records = all(&out);
        prop_assert_eq!((records.len(), records[0].seconds), (2, time));
        prop_assert_eq!(Entry::parse(&records[0]), Ok(Entry::Message(m)));
        let plain = Message { as4: true, add_path: false, sent: false, octets: &[], ..m };
        prop_assert_eq!(Entry::parse(&records[1]), Ok(Entry::State(plain, old, new)));
        for n in 0..out.len() {
            let cut = &out[..n];
            prop_assert!(Record::parse(cut).is_ok());
        }
    }
}

#[test]
fn microseconds_are_taken_off() {
    let octets = [0, 0, 0, 9, 0, 17, 0, 99, 0, 0, 0, 5, 0, 0, 0, 7, 1];
    let r = all(&octets)[0];
    assert_eq!(
        (r.seconds, r.micros, r.kind, r.body),
        (9, 7, kind::BGP4MP, &[1][..])
    );
    assert_eq!(Entry::parse(&r), Ok(Entry::Other));
}

/// Both forms of MP_REACH_NLRI, RFC 6396 4.3.4 and as older writers had it.
#[test]
fn the_next_hop_of_a_dump_has_two_forms() {
    let hop = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let short = [&[0x80, 14, 17, 16][..], &hop].concat();
    let whole = [
        &[0x80, 14, 26, 0, 2, 1, 16][..],
        &hop,
        &[0, 32, 0x20, 1, 0x0d, 0xb8],
    ]
    .concat();
    for attrs in [short, whole] {
        let body = [
            &[0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, attrs.len() as u8][..],
            &attrs,
        ]
        .concat();
        let r = Record {
            seconds: 0,
            micros: 0,
            kind: 13,
            subtype: 4,
            body: &body,
        };
        let Ok(Entry::Routes(mut found)) = Entry::parse(&r) else {
            panic!()
        };
        let mut buf = AttrBuf::new();
        assert!(found.routes.next().unwrap().unwrap().canonical(&mut buf));
        assert_eq!(buf.next_hop, Some(NextHop::V6(hop.into())));
    }
}

#[test]
fn a_damaged_inside_is_an_error_and_a_damaged_length_the_end() {
    let mut out = Vec::new();
    let a = attributes(Some(NextHop::V4([10, 0, 0, 1].into())), 1);
    let entry = RibEntry {
        peer: 0,
        originated: 0,
        path_id: 0,
        attributes: a.view(),
    };
    rib(
        0,
        0,
        (Family::Ipv4Unicast, &[8, 10]),
        false,
        &[entry],
        &mut out,
    );
    let whole = all(&out)[0];
    for n in 0..whole.body.len() {
        let r = Record {
            body: &whole.body[..n],
            ..whole
        };
        let damaged = match Entry::parse(&r) {
            Ok(Entry::Routes(mut f)) => f.routes.any(|r| r.is_err()),
            other => other.is_err(),
        };
        assert!(damaged, "{n}");
    }
    let mut bad = whole.body.to_vec();
    bad[4] = 33;
    let r = Record {
        body: &bad,
        ..whole
    };
    assert_eq!(Entry::parse(&r), Err(MrtError::Prefix(13, 2)));
    out[8] = 0xff;
    assert!(matches!(Record::parse(&out), Err(MrtError::TooLong(_))));
}
