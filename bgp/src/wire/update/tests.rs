use super::*;
use crate::attrs::{AsPath, Origin};
use Action::{Discard, TreatAsWithdraw};

const WK: u8 = 0x40;
const OT: u8 = 0xc0;
const ON: u8 = 0x80;

fn ctx(relation: Relation) -> Context {
    Context::new(relation, FamilySet::from_iter(Family::ALL))
}

fn attr(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    append_attribute(flags, code, &mut out, |o| o.extend_from_slice(value));
    out
}

fn body(withdrawn: &[u8], attrs: &[Vec<u8>], nlri: &[u8]) -> Vec<u8> {
    let attrs = attrs.concat();
    let len = |o: &[u8]| (o.len() as u16).to_be_bytes();
    [&len(withdrawn), withdrawn, &len(&attrs), &attrs, nlri].concat()
}

const NET: [u8; 4] = [24, 192, 0, 2];
const PATH: [u8; 6] = [2, 1, 0, 0, 0xfd, 0xe9]; // 65001

/// ORIGIN, AS_PATH and NEXT_HOP as they should be.
fn base() -> Vec<Vec<u8>> {
    vec![
        attr(WK, 1, &[0]),
        attr(WK, 2, &PATH),
        attr(WK, 3, &[192, 0, 2, 1]),
    ]
}

/// The base with one attribute in place of its own kind, or more.
fn with(a: Vec<u8>) -> Vec<Vec<u8>> {
    let mut all = base();
    match all.iter_mut().find(|b| b[1] == a[1]) {
        Some(b) => *b = a,
        None => all.push(a),
    }
    all
}

fn errors(b: &[u8], c: &Context) -> Vec<(u8, Cause, Action)> {
    let u = Update::parse(b, c).unwrap();
    u.errors()
        .iter()
        .map(|e| (e.code, e.cause, e.action))
        .collect()
}

/// What is wrong with the base and this attribute; the routes are where the verdict puts them.
fn verdict(a: Vec<u8>, relation: Relation) -> Option<(Cause, Action)> {
    let (b, c) = (body(&[], &with(a.clone()), &NET), ctx(relation));
    let u = Update::parse(&b, &c).unwrap();
    let withdrawn = u.action() == Some(TreatAsWithdraw);
    assert_eq!(u.reach().count(), usize::from(!withdrawn));
    assert_eq!(u.unreach().count(), usize::from(withdrawn));
    let e = u.errors().first()?;
    assert_eq!(
        (e.code, u.action(), u.errors().len()),
        (a[1], Some(e.action), 1)
    );
    Some((e.cause, e.action))
}

fn canonical(b: &[u8], c: &Context) -> AttrBuf {
    let mut buf = AttrBuf::new();
    let u = Update::parse(b, c).unwrap();
    assert_eq!(u.action(), None, "{:?}", u.errors());
    u.canonical(&mut buf);
    buf.next_hop = u.reach().next().and_then(|r| r.next_hop);
    buf
}

use Relation::{Confederation, External, Internal};

#[test]
fn a_good_one_is_read_whole() {
    let mut attrs = base();
    attrs.push(attr(ON, 4, &[0, 0, 0, 9]));
    attrs.push(attr(OT, 8, &[0, 1, 0, 2]));
    let b = body(&[8, 10], &attrs, &[NET.as_slice(), &[0]].concat());
    let u = Update::parse(&b, &ctx(External)).unwrap();
    let nets: Vec<String> = u
        .reach()
        .flat_map(|r| r.nlri.unicast())
        .map(|p| p.1.to_string())
        .collect();
    assert_eq!(nets, ["192.0.2.0/24", "0.0.0.0/0"]);
    let gone: Vec<String> = u
        .unreach()
        .flat_map(|n| n.unicast())
        .map(|p| p.1.to_string())
        .collect();
    assert_eq!(gone, ["10.0.0.0/8"]);
    let buf = canonical(&b, &ctx(External));
    let v = buf.view();
    assert_eq!(v.next_hop, Some(NextHop::V4([192, 0, 2, 1].into())));
    assert_eq!((v.origin(), v.med()), (Origin::Igp, Some(9)));
    assert_eq!(v.iter().map(|a| a.code).collect::<Vec<_>>(), [1, 2, 4, 8]);
}

#[test]
fn lengths_that_contradict_each_other_reset_the_session() {
    let good = body(&[8, 10], &base(), &NET);
    let n = |b: &[u8]| Update::parse(b, &ctx(External)).unwrap_err();
    for cut in 0..4 {
        assert_eq!((n(&good[..cut]).code, n(&good[..cut]).subcode), (3, 1));
    }
    let mut long = good.clone();
    long[1] = 200;
    assert_eq!(n(&long).subcode, 1);
    let mut long = good.clone();
    long[4] = 1;
    assert_eq!(n(&long).subcode, 1);
    // RFC 7606 5.3: prefixes that end elsewhere than their field.
    for nlri in [&[33, 1, 2, 3, 4, 5][..], &[24, 1, 2], &[8, 10, 24]] {
        assert_eq!(n(&body(&[], &base(), nlri)).subcode, 10);
        assert_eq!(n(&body(nlri, &[], &[])).subcode, 10);
    }
}

/// RFC 8669 4 and 6.
#[test]
fn a_prefix_sid_is_taken_where_it_may_come_from() {
    let sid = |value: &[u8]| attr(OT, 40, value);
    let index = [1, 0, 7, 0, 0, 0, 0, 0, 0, 7];
    let inside = |value: &[u8]| canonical(&body(&[], &with(sid(value)), &NET), &ctx(Internal));
    assert_eq!(inside(&index).view().label_index(), Some(7));
    // The first of two counts; what nobody knows is carried along.
    let mut other = index;
    other[9] = 8;
    let twice = inside(&[&index[..], &[9, 0, 1, 1], &other].concat());
    assert_eq!(
        twice.view().get(40),
        Some(&[&index[..], &[9, 0, 1, 1]].concat()[..])
    );
    // From another AS where it is configured.
    assert_eq!(
        verdict(sid(&index), External),
        Some((Cause::OutOfPlace, Discard))
    );
    let mut same_domain = ctx(External);
    same_domain.prefix_sid = true;
    let got = canonical(&body(&[], &with(sid(&index)), &NET), &same_domain);
    assert_eq!(got.view().label_index(), Some(7));
    for bad in [
        &[][..],
        &[1],
        &[1, 0, 7, 0, 0, 0, 0, 0, 0],
        &[3, 0, 0],
        &[1, 0xff, 0xff],
    ] {
        let got = verdict(sid(bad), Internal);
        assert_eq!(got, Some((Cause::Length, Discard)), "{bad:?}");
    }
    let flags = verdict(attr(ON, 40, &index), Internal);
    assert_eq!(flags, Some((Cause::Flags, TreatAsWithdraw)));
}

/// RFC 7606 7.1 to 7.10, 7.14, 7.15, RFC 8092 6, RFC 9234 5: by the lengths.
#[test]
fn each_attribute_of_a_wrong_length_does_what_its_row_says() {
    for s in TABLE {
        let bad: &[usize] = match s.length {
            Length::Exactly(0) => &[1, 4],
            Length::Exactly(1) => &[0, 2],
            Length::Exactly(4) => &[0, 3, 5, 8],
            Length::Exactly(8) => &[0, 6, 9],
            Length::Exactly(n) => panic!("{n}: add it here"),
            Length::Multiple(_) => &[0, 1, 3, 5, 7, 11, 13, 19, 21],
            Length::Aggregator => &[0, 6, 7, 9],
            Length::Own => continue,
        };
        for len in bad {
            let got = verdict(attr(s.flags, s.code, &vec![1; *len]), Internal);
            assert_eq!(got, Some((Cause::Length, s.on_error)), "{} {len}", s.name);
        }
    }
    let mut short = ctx(Internal);
    short.as4 = false;
    let aggregator = |n| errors(&body(&[], &[attr(OT, 7, &vec![1; n])], &[]), &short);
    assert_eq!(aggregator(8), [(7, Cause::Length, Discard)]);
    assert_eq!(aggregator(6), []);
}

/// RFC 7606 3 c.
#[test]
fn wrong_flags_withdraw_and_other_bits_do_not_matter() {
    for s in TABLE
        .iter()
        .filter(|s| !matches!(s.code, 14 | 15 | 17 | 18))
    {
        for flags in [0, 0x40, 0x80, 0xc0] {
            let value: &[u8] = match (s.code, s.length) {
                (2, _) => &PATH,
                (3, _) => &[192, 0, 2, 1],
                (40, _) => &[9, 0, 0],
                (_, Length::Exactly(n)) => &[1; 20][..n.into()],
                (_, Length::Multiple(n)) => &[1; 20][..n.into()],
                _ => &[1; 8],
            };
            let want = (flags != s.flags).then_some((Cause::Flags, TreatAsWithdraw));
            let got = verdict(attr(flags, s.code, value), Internal);
            assert_eq!(got, want, "{} {flags:#x}", s.name);
            // Partial and the unused bits.
            let got = verdict(attr(flags | 0x2f, s.code, value), Internal);
            assert_eq!(got, want, "{} {flags:#x}", s.name);
        }
    }
}

#[test]
fn values_that_cannot_be_withdraw() {
    // RFC 7606 7.1, 7.3.
    assert_eq!(
        verdict(attr(WK, 1, &[3]), External),
        Some((Cause::Value, TreatAsWithdraw))
    );
    for hop in [[0, 0, 0, 0], [0, 1, 2, 3], [224, 0, 0, 5], [255; 4]] {
        assert_eq!(
            verdict(attr(WK, 3, &hop), External),
            Some((Cause::Value, TreatAsWithdraw))
        );
    }
}

#[test]
fn a_path_is_whole_and_its_segments_are_known() {
    let path = |v: &[u8], r| verdict(attr(WK, 2, v), r).map(|v| v.0);
    for bad in [
        &[2][..],
        &[2, 1],
        &[2, 1, 0, 0, 1],
        &[2, 0],
        &[0, 1, 0, 0, 0, 1],
        &[5, 1, 0, 0, 0, 1],
        &[2, 1, 0, 0, 0, 1, 2],
        &[2, 2, 0, 0, 0, 1],
    ] {
        assert_eq!(path(bad, External), Some(Cause::Segments), "{bad:?}");
    }
    assert_eq!(path(&[], External), None);
    // RFC 7607, RFC 9774, RFC 5065 5.
    assert_eq!(
        path(&[2, 2, 0, 0, 0, 1, 0, 0, 0, 0], External),
        Some(Cause::AsZero)
    );
    assert_eq!(
        path(&[2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 0, 2], External),
        Some(Cause::AsSet)
    );
    let confed = [3, 1, 0, 0, 0, 1, 2, 1, 0, 0, 0, 2];
    assert_eq!(path(&confed, External), Some(Cause::FirstAs));
    assert_eq!(path(&confed, Confederation), None);
    assert_eq!(path(&confed, Internal), None);
    assert_eq!(path(&PATH, Confederation), Some(Cause::FirstAs));
    let mut c = ctx(External);
    c.as_sets = true;
    c.first_as = Some(Asn(65001));
    let set = [&PATH[..], &[1, 1, 0, 0, 0, 2]].concat();
    assert_eq!(errors(&body(&[], &with(attr(WK, 2, &set)), &NET), &c), []);
    let other = attr(WK, 2, &[2, 1, 0, 0, 0, 9]);
    let e = errors(&body(&[], &with(other), &NET), &c);
    assert_eq!(e, [(2, Cause::FirstAs, TreatAsWithdraw)]);
}

/// RFC 7606 3 d; RFC 4760 3: NEXT_HOP goes with NLRI only.
#[test]
fn what_must_be_there_is_missed() {
    for code in [1, 2, 3] {
        let attrs: Vec<_> = base().into_iter().filter(|a| a[1] != code).collect();
        let e = errors(&body(&[], &attrs, &NET), &ctx(External));
        assert_eq!(e, [(code, Cause::Missing, TreatAsWithdraw)]);
    }
    let mp = attr(ON, 14, &[0, 1, 1, 4, 192, 0, 2, 1, 0, 8, 10]);
    assert_eq!(
        errors(
            &body(
                &[],
                &[mp.clone(), attr(WK, 1, &[0]), attr(WK, 2, &PATH)],
                &[]
            ),
            &ctx(External)
        ),
        []
    );
    assert_eq!(errors(&body(&[], &[mp], &[]), &ctx(External)).len(), 2);
    assert_eq!(errors(&body(&[8, 10], &[], &[]), &ctx(External)), []);
}

/// RFC 7606 3 g.
#[test]
fn the_first_of_two_counts_but_for_multiprotocol_ones() {
    let mut attrs = base();
    attrs.insert(1, attr(WK, 1, &[2]));
    let b = body(&[], &attrs, &NET);
    let u = Update::parse(&b, &ctx(External)).unwrap();
    assert_eq!(u.action(), Some(Discard));
    assert_eq!(u.errors()[0].cause, Cause::Duplicate);
    let mut buf = AttrBuf::new();
    u.canonical(&mut buf);
    assert_eq!(buf.view().origin(), Origin::Igp);
    for code in [14, 15] {
        let one = attr(ON, code, &[0, 1, 1]);
        let reach = attr(ON, 14, &[0, 1, 1, 4, 192, 0, 2, 1, 0, 8, 10]);
        let one = if code == 14 { reach } else { one };
        let n = Update::parse(&body(&[], &[one.clone(), one], &[]), &ctx(External)).unwrap_err();
        assert_eq!((n.code, n.subcode), (3, 1));
    }
}

/// RFC 7606 4: NLRI are still found by the total length.
#[test]
fn an_attribute_that_goes_too_far_withdraws() {
    for tail in [
        &[0x40][..],
        &[0x40, 5],
        &[0xc0, 8, 9, 1],
        &[0xd0, 8, 0],
        &[0xd0, 8, 1, 0, 1],
    ] {
        let mut attrs = base();
        attrs.push(tail.to_vec());
        let b = body(&[8, 10], &attrs, &NET);
        let u = Update::parse(&b, &ctx(External)).unwrap();
        assert_eq!(
            (u.errors()[0].cause, u.action()),
            (Cause::Overrun, Some(TreatAsWithdraw))
        );
        assert_eq!(u.unreach().map(|n| n.count).sum::<usize>(), 2);
        // RFC 7606 5.2: without routes, they may have been what was lost.
        let n = Update::parse(&body(&[8, 10], &attrs, &[]), &ctx(External)).unwrap_err();
        assert_eq!((n.code, n.subcode), (3, 1));
    }
    // Nothing but MP_UNREACH_NLRI: its routes were found.
    let wrong = attr(WK, 15, &[0, 2, 1, 0]);
    let b = body(&[], &[wrong], &[]);
    assert_eq!(
        Update::parse(&b, &ctx(External)).unwrap().unreach().count(),
        1
    );
}

/// RFC 7606 7.5, 7.9, 7.10: from outside they are nothing, right or wrong.
#[test]
fn what_belongs_inside_is_dropped_from_outside() {
    for (code, confed) in [(5, true), (9, false), (10, false)] {
        let flags = spec(code).unwrap().flags;
        for len in [3, 4] {
            let b = body(&[], &with(attr(flags, code, &vec![7; len])), &NET);
            assert!(canonical(&b, &ctx(External)).view().get(code).is_none());
            if len == 4 {
                let mut attrs = with(attr(WK, 2, &[&[3, 1, 0, 0, 0, 1][..], &PATH].concat()));
                attrs.push(attr(flags, code, &[7; 4]));
                let b = body(&[], &attrs, &NET);
                let there = |r| canonical(&b, &ctx(r)).view().get(code).is_some();
                assert_eq!((there(Confederation), there(Internal)), (confed, true));
            }
        }
    }
}

/// RFC 4271 5 and 9: optional transitive ones go on with Partial, others end here.
#[test]
fn the_unknown_is_passed_on_if_it_is_transitive() {
    let b = body(&[], &with(attr(OT, 200, &[1, 2])), &NET);
    let got: Vec<_> = canonical(&b, &ctx(External))
        .view()
        .iter()
        .map(|a| (a.code, a.flags))
        .collect();
    assert_eq!(got, [(1, 0x40), (2, 0x40), (200, 0xe0)]);
    let b = body(&[], &with(attr(ON, 26, &[1, 2])), &NET);
    assert!(canonical(&b, &ctx(External)).view().get(26).is_none());
    let e = errors(&body(&[], &with(attr(WK, 200, &[])), &NET), &ctx(External));
    assert_eq!(e, [(200, Cause::UnknownWellKnown, TreatAsWithdraw)]);
}

#[test]
fn any_order_and_any_number_of_attributes_becomes_canonical() {
    let mut attrs = base();
    for code in (41..=255).rev() {
        attrs.push(attr(OT, code, &[code; 3]));
    }
    attrs.push(vec![0xd0 | 0x0f, 8, 0, 4, 1, 2, 3, 4]); // longer form than needed, unused bits set
    attrs.push(attr(OT | 0x20, 32, &[[1; 12], [2; 12], [1; 12]].concat()));
    attrs.push(attr(OT, 16, &[5; 264]));
    attrs.swap(0, 2);
    let b = body(&[], &attrs, &NET);
    let buf = canonical(&b, &ctx(External));
    let codes: Vec<u8> = buf.view().iter().map(|a| a.code).collect();
    let want: Vec<u8> = [1, 2, 8, 16, 32].into_iter().chain(41..=255).collect();
    assert_eq!(codes, want);
    let octets = buf.view().octets;
    assert_eq!(octets[..4], [0x40, 1, 1, 0]);
    assert_eq!(octets[13..20], [0xc0, 8, 4, 1, 2, 3, 4]);
    assert_eq!(octets[20..25], [0xd0, 16, 1, 8, 5]);
    let large: Vec<u32> = buf
        .view()
        .large_communities()
        .map(|c| c.global & 0xff)
        .collect();
    assert_eq!(large, [1, 2]); // RFC 8092: each once
    assert_eq!(
        buf.view().iter().find(|a| a.code == 32).unwrap().flags,
        0xe0
    );
}

#[test]
fn many_large_communities_are_told_apart_too() {
    let mut all: Vec<u8> = (0..40u8).flat_map(|i| [i; 12]).collect();
    let b = body(&[], &with(attr(OT, 32, &all)), &NET);
    assert_eq!(
        canonical(&b, &ctx(External))
            .view()
            .large_communities()
            .count(),
        40
    );
    all.extend([7; 12]);
    let b = body(&[], &with(attr(OT, 32, &all)), &NET);
    assert_eq!(
        canonical(&b, &ctx(External))
            .view()
            .large_communities()
            .count(),
        40
    );
}

/// RFC 6793 4.2.3.
#[test]
fn two_octets_and_what_as4_path_knows_better() {
    let mut c = ctx(External);
    c.as4 = false;
    let merged = |path: &[u8], long: Option<&[u8]>| {
        let mut attrs = with(attr(WK, 2, path));
        attrs.extend(long.map(|p| attr(OT, 17, p)));
        let b = body(&[], &attrs, &NET);
        let mut buf = AttrBuf::new();
        Update::parse(&b, &c).unwrap().canonical(&mut buf);
        AsPath(buf.view().as_path().0).to_string()
    };
    let trans = [2, 3, 0, 100, 0x5b, 0xa0, 0x5b, 0xa0];
    let long = [2, 2, 0, 1, 0, 0, 0, 2, 0, 0];
    assert_eq!(merged(&trans, None), "100 23456 23456");
    assert_eq!(merged(&trans, Some(&long)), "100 65536 131072");
    // Longer than the path: of another one.
    let longer = [2, 4, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    assert_eq!(merged(&trans, Some(&longer)), "100 23456 23456");
    // Malformed, with AS 0, with confederation segments (RFC 6793 6, RFC 7607).
    assert_eq!(merged(&trans, Some(&long[..9])), "100 23456 23456");
    assert_eq!(merged(&trans, Some(&[2, 1, 0, 0, 0, 0])), "100 23456 23456");
    let confed = [&[3, 1, 0, 0, 0, 9][..], &long].concat();
    assert_eq!(merged(&trans, Some(&confed)), "100 65536 131072");
}

#[test]
fn an_aggregator_without_as_trans_makes_as4_attributes_void() {
    let mut c = ctx(External);
    c.as4 = false;
    let read = |asn: [u8; 2]| {
        let mut attrs = with(attr(WK, 2, &[2, 1, 0x5b, 0xa0]));
        attrs.push(attr(OT, 7, &[asn[0], asn[1], 192, 0, 2, 9]));
        attrs.push(attr(OT, 17, &[2, 1, 0, 1, 0, 0]));
        attrs.push(attr(OT, 18, &[0, 2, 0, 0, 192, 0, 2, 9]));
        let b = body(&[], &attrs, &NET);
        let buf = canonical(&b, &c);
        let v = buf.view();
        (v.as_path().to_string(), v.aggregator().unwrap().0.0)
    };
    assert_eq!(read([0x5b, 0xa0]), ("65536".into(), 131_072));
    assert_eq!(read([0, 7]), ("23456".into(), 7));
    // Both speak four octets: void as well (RFC 6793 4.1).
    let b = body(&[], &with(attr(OT, 17, &PATH)), &NET);
    assert_eq!(
        errors(&b, &ctx(External)),
        [(17, Cause::OutOfPlace, Discard)]
    );
    // RFC 7607: AS 0 in AGGREGATOR.
    let b = body(&[], &with(attr(OT, 7, &[0, 0, 0, 0, 1, 1, 1, 1])), &NET);
    assert_eq!(errors(&b, &ctx(External)), [(7, Cause::AsZero, Discard)]);
}

#[test]
fn the_end_of_a_table_is_seen() {
    let end = |b: &[u8]| Update::parse(b, &ctx(External)).unwrap().end_of_rib();
    assert_eq!(end(&[0; 4]), Some(Family::Ipv4Unicast));
    for f in Family::ALL {
        let mut out = Vec::new();
        super::super::end_of_rib(f, &mut out);
        assert_eq!(end(&out[super::super::HEADER..]), Some(f));
    }
    assert_eq!(end(&body(&[8, 10], &[], &[])), None);
    assert_eq!(end(&body(&[], &base(), &[])), None);
    assert_eq!(end(&body(&[], &[attr(ON, 15, &[0, 2, 1, 0])], &[])), None);
}

/// RFC 7606 7.11, RFC 2545, RFC 4659, RFC 8950: the lengths of next hops.
#[test]
fn a_next_hop_has_a_length_of_its_family() {
    use Family::*;
    let hops = [0usize, 4, 12, 16, 24, 32, 40, 48];
    for (family, good, extended) in [
        (Ipv4Unicast, &[4][..], &[4, 16, 32][..]),
        (Ipv6Unicast, &[16, 32], &[16, 32]),
        (Ipv4Labeled, &[4], &[4, 16, 32]),
        (Ipv6Labeled, &[16, 32], &[16, 32]),
        (Vpnv4, &[12], &[12, 24, 48]),
        (Vpnv6, &[24, 48], &[24, 48]),
        (RouteTarget, &[4, 16, 32], &[4, 16, 32]),
        (Ipv4Flow, &hops, &hops),
        (Vpnv6Flow, &hops, &hops),
    ] {
        for (ext, good) in [(false, good), (true, extended)] {
            let mut c = ctx(External);
            if ext {
                c.ext_next_hop = FamilySet::from_iter([Ipv4Unicast, Ipv4Labeled, Vpnv4]);
            }
            for len in hops {
                let (afi, safi) = family.code();
                let mut v = [&afi.to_be_bytes()[..], &[safi, len as u8]].concat();
                v.resize(v.len() + len + 1, 1);
                let b = body(
                    &[],
                    &[attr(ON, 14, &v), attr(WK, 1, &[0]), attr(WK, 2, &PATH)],
                    &[],
                );
                let got = Update::parse(&b, &c);
                assert_eq!(got.is_ok(), good.contains(&len), "{family} {len} {ext}");
                if let Err(n) = got {
                    assert_eq!((n.code, n.subcode), (3, 9));
                    assert_eq!(n.data[4..], v[..]);
                }
            }
        }
    }
}

#[test]
fn two_addresses_are_one_where_one_says_nothing() {
    let hop = |global: &str, local: &str| {
        let octets = |a: &str| a.parse::<std::net::Ipv6Addr>().unwrap().octets();
        let v = [
            &[0, 2, 1, 32][..],
            &octets(global),
            &octets(local),
            &[0, 16, 0x20, 1],
        ]
        .concat();
        let b = body(
            &[],
            &[attr(ON, 14, &v), attr(WK, 1, &[0]), attr(WK, 2, &PATH)],
            &[],
        );
        let u = Update::parse(&b, &ctx(External)).unwrap();
        u.reach().next().map(|r| {
            (
                r.next_hop.unwrap().address().to_string(),
                r.next_hop.unwrap().link_local().map(|a| a.to_string()),
            )
        })
    };
    let both = |g: &str, l: Option<&str>| Some((g.to_owned(), l.map(str::to_owned)));
    assert_eq!(
        hop("2001:db8::1", "fe80::1"),
        both("2001:db8::1", Some("fe80::1"))
    );
    assert_eq!(hop("fe80::1", "fe80::1"), both("fe80::1", Some("fe80::1")));
    assert_eq!(hop("::", "fe80::1"), both("fe80::1", Some("fe80::1")));
    assert_eq!(hop("2001:db8::1", "2001:db8::2"), both("2001:db8::1", None));
    assert_eq!(hop("::", "::"), None);
    assert_eq!(hop("ff02::1", "::"), None);
}

#[test]
fn multiprotocol_attributes_are_whole_and_of_families_agreed_on() {
    let reset = |a: Vec<u8>| {
        Update::parse(&body(&[], &[a], &[]), &ctx(External))
            .unwrap_err()
            .subcode
    };
    for v in [
        &[][..],
        &[0, 1],
        &[0, 1, 1],
        &[0, 1, 1, 4, 1, 2, 3, 4],
        &[0, 1, 1, 4, 1, 2, 3, 4, 0, 33, 1, 2, 3, 4, 5],
    ] {
        assert_eq!(reset(attr(ON, 14, v)), 9, "{v:?}");
    }
    for v in [&[][..], &[0, 1], &[0, 1, 1, 24, 1, 2]] {
        assert_eq!(reset(attr(ON, 15, v)), 9, "{v:?}");
    }
    let v6 = Context::new(External, FamilySet::from_iter([Family::Ipv6Unicast]));
    for (b, code) in [
        (body(&[], &base(), &NET), 3),
        (body(&[8, 10], &[], &[]), 3),
        (body(&[], &[attr(ON, 15, &[0, 25, 70, 9])], &[]), 15),
        (
            body(
                &[],
                &[
                    attr(ON, 14, &[0, 25, 70, 9]),
                    attr(WK, 1, &[0]),
                    attr(WK, 2, &PATH),
                ],
                &[],
            ),
            14,
        ),
    ] {
        assert_eq!(errors(&b, &v6), [(code, Cause::Family, Discard)]);
        let u = Update::parse(&b, &v6).unwrap();
        assert_eq!(
            (u.reach().count(), u.unreach().count(), u.end_of_rib()),
            (0, 0, None)
        );
    }
}

/// RFC 8955 10.
#[test]
fn a_malformed_flow_withdraws_those_beside_it() {
    let good = [3, 3, 0x81, 6];
    for (bad, n) in [
        (&[2, 3, 0x01][..], 2),
        (&[0][..], 2),
        (&[3, 3, 0x81, 7][..], 0),
    ] {
        let v = [&[0, 1, 133, 0, 0][..], &good, bad].concat();
        let b = body(
            &[],
            &[attr(ON, 14, &v), attr(WK, 1, &[0]), attr(WK, 2, &PATH)],
            &[],
        );
        let u = Update::parse(&b, &ctx(External)).unwrap();
        assert_eq!(u.unreach().map(|n| n.count).sum::<usize>(), n);
    }
}

#[test]
fn the_table_is_in_order_and_found_by_code() {
    assert!(TABLE.windows(2).all(|w| w[0].code < w[1].code));
    for code in 0..=255 {
        assert_eq!(spec(code), TABLE.iter().find(|s| s.code == code));
    }
    let e = AttrError {
        code: 7,
        cause: Cause::AsZero,
        action: Discard,
    };
    assert_eq!(
        e.to_string(),
        "AGGREGATOR: AS 0 is in it (attribute discard)"
    );
}
