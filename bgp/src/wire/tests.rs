//! What is encoded is decoded: over generated contexts, attributes and prefixes.

use super::*;
use crate::attrs::{AttrBuf, Origin, SegmentKind, View, code, flag};
use crate::types::{Asn, Family, FamilySet, Label, NextHop, PathId, Rd};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;

fn families() -> impl Strategy<Value = FamilySet> {
    any::<u16>().prop_map(|bits| {
        let all = Family::ALL.into_iter().enumerate();
        all.filter(|(i, _)| bits & 1 << i != 0)
            .map(|(_, f)| f)
            .collect()
    })
}

prop_compose! {
    fn context()(
        relation in prop::sample::select(vec![Relation::External, Relation::Internal, Relation::Confederation]),
        (as4, extended_message) in any::<(bool, bool)>(),
        (paths, ext_next_hop, multiple_labels) in (families(), families(), families()),
    ) -> Context {
        Context {
            as4, extended_message, ext_next_hop, multiple_labels,
            add_path_receive: paths, add_path_send: paths,
            as_sets: true,
            ..Context::new(relation, FamilySet::from_iter(Family::ALL))
        }
    }
}

fn asns() -> impl Strategy<Value = Vec<Asn>> {
    vec(prop_oneof![1u32..65_536, 1u32..].prop_map(Asn), 1..20)
}

prop_compose! {
    /// Attributes that a neighbour in that relation may send.
    fn attributes(relation: Relation)(
        origin in 0u8..3, sequence in asns(), set in prop::option::of(asns()), confed in asns(),
        aggregator in prop::option::of((1u32.., any::<u32>())),
        (med, pref, atomic, otc) in any::<(Option<u32>, Option<u32>, bool, Option<u32>)>(),
        communities in vec(any::<u32>(), 0..80), extended in vec(any::<[u8; 8]>(), 0..4),
        large in prop::collection::btree_set(any::<[u8; 12]>(), 0..30), clusters in vec(any::<[u8; 4]>(), 0..4),
        unknown in vec((41u8.., vec(any::<u8>(), 0..300)), 0..3),
    ) -> AttrBuf {
        const OT: u8 = flag::OPTIONAL | flag::TRANSITIVE;
        let mut b = AttrBuf::new();
        b.set_origin(Origin::new(origin).unwrap());
        // AS4_PATH has no place for them, so they are small (RFC 6793 3).
        let confed: Vec<Asn> = confed.iter().map(|a| Asn(u32::from(a.short()))).collect();
        let inside = (relation == Relation::Confederation).then_some((SegmentKind::ConfedSequence, &confed[..]));
        let set = set.as_ref().map(|s| (SegmentKind::Set, &s[..]));
        b.set_as_path(inside.into_iter().chain([(SegmentKind::Sequence, &sequence[..])]).chain(set));
        if let Some(m) = med { b.set_med(m) }
        if let Some((asn, id)) = aggregator {
            b.set(OT, code::AGGREGATOR, &[asn.to_be_bytes(), id.to_be_bytes()].concat());
        }
        if atomic { b.set(flag::TRANSITIVE, code::ATOMIC_AGGREGATE, &[]); }
        if let Some(a) = otc { b.set(OT, code::ONLY_TO_CUSTOMER, &a.to_be_bytes()); }
        let lists = [
            (code::COMMUNITIES, communities.iter().flat_map(|c| c.to_be_bytes()).collect::<Vec<u8>>()),
            (code::EXT_COMMUNITIES, extended.concat()),
            (code::LARGE_COMMUNITIES, large.into_iter().flatten().collect()),
        ];
        for (code, value) in lists.iter().filter(|l| !l.1.is_empty()) {
            b.set(OT, *code, value);
        }
        for (code, value) in unknown { b.set(OT | flag::PARTIAL, code, &value); }
        if relation != Relation::External && let Some(p) = pref { b.set_local_pref(p); }
        if relation == Relation::Internal && !clusters.is_empty() {
            b.set(flag::OPTIONAL, code::CLUSTER_LIST, &clusters.concat());
            b.set(flag::OPTIONAL, code::ORIGINATOR_ID, &clusters[0]);
        }
        b
    }
}

/// An NLRI of whatever family.
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Unicast(IpNet),
    Labeled(Vec<Label>, IpNet),
    Vpn(Vec<Label>, Rd, IpNet),
    Target(RouteTarget),
    Flow(Option<Rd>, Vec<u8>),
}

fn net(six: bool) -> impl Strategy<Value = IpNet> {
    (any::<u128>(), 0u8..=128).prop_map(move |(a, len)| {
        let n: IpNet = if six {
            Ipv6Net::new(a.into(), len).unwrap().into()
        } else {
            Ipv4Net::new((a as u32).into(), len % 33).unwrap().into()
        };
        n.trunc()
    })
}

fn items(family: Family, ctx: &Context) -> BoxedStrategy<Vec<(PathId, Item)>> {
    let six = family.code().0 == 2;
    let most = if ctx.multiple_labels.contains(family) {
        2
    } else {
        1
    };
    let labels = vec(
        (0u32..1 << 20).prop_map(|l| Label::new(l).unwrap()),
        1..=most,
    );
    let rd = any::<[u8; 8]>().prop_map(Rd);
    let flow = prop::sample::select(vec![
        vec![3, 0x81, 6],
        [&[4][..], &[0x01, 7].repeat(150), &[0x81, 9]].concat(),
    ]);
    let item = match family {
        Family::Ipv4Unicast | Family::Ipv6Unicast => net(six).prop_map(Item::Unicast).boxed(),
        Family::Ipv4Labeled | Family::Ipv6Labeled => (labels, net(six))
            .prop_map(|(l, n)| Item::Labeled(l, n))
            .boxed(),
        Family::Vpnv4 | Family::Vpnv6 => (labels, rd, net(six))
            .prop_map(|(l, r, n)| Item::Vpn(l, r, n))
            .boxed(),
        Family::RouteTarget => (any::<[u8; 12]>(), prop_oneof![Just(0u8), 32u8..=96])
            .prop_map(|(mut octets, bits)| {
                for (i, o) in octets.iter_mut().enumerate() {
                    let kept = usize::from(bits).saturating_sub(i * 8).min(8);
                    *o &= !(0xffu16 >> kept) as u8;
                }
                Item::Target(RouteTarget { octets, bits })
            })
            .boxed(),
        Family::Ipv4Flow | Family::Ipv6Flow => flow.prop_map(|f| Item::Flow(None, f)).boxed(),
        Family::Vpnv4Flow | Family::Vpnv6Flow => {
            (rd, flow).prop_map(|(r, f)| Item::Flow(Some(r), f)).boxed()
        }
    };
    let add_path = ctx.add_path_send.contains(family);
    vec(
        (
            any::<u32>().prop_map(move |id| if add_path { id } else { 0 }),
            item,
        ),
        0..400,
    )
    .boxed()
}

fn next_hop(family: Family, ctx: &Context) -> BoxedStrategy<Option<NextHop>> {
    let four = any::<[u8; 3]>().prop_map(|[b, c, d]| NextHop::V4([10, b, c, d].into()));
    let six = any::<u64>().prop_map(|n| NextHop::V6((0x2001_0db8 << 96 | u128::from(n)).into()));
    let both = any::<[u64; 2]>().prop_map(|[g, l]| {
        NextHop::V6Both(
            (0x2001_0db8 << 96 | u128::from(g)).into(),
            (0xfe80 << 112 | u128::from(l)).into(),
        )
    });
    match family {
        Family::Ipv4Flow | Family::Ipv6Flow | Family::Vpnv4Flow | Family::Vpnv6Flow => {
            Just(None).boxed()
        }
        Family::RouteTarget => prop_oneof![four, six].prop_map(Some).boxed(),
        Family::Ipv6Unicast | Family::Ipv6Labeled | Family::Vpnv6 => {
            prop_oneof![six, both].prop_map(Some).boxed()
        }
        _ if ctx.ext_next_hop.contains(family) => {
            prop_oneof![four, six, both].prop_map(Some).boxed()
        }
        _ => four.prop_map(Some).boxed(),
    }
}

fn put(p: &mut Packer<'_>, id: PathId, item: &Item) -> Result<(), EncodeError> {
    match item {
        Item::Unicast(n) => p.net(id, *n),
        Item::Labeled(l, n) => p.labeled(id, l, *n),
        Item::Vpn(l, rd, n) => p.vpn(id, l, *rd, *n),
        Item::Target(t) => p.route_target(id, *t),
        Item::Flow(rd, f) => p.flow(id, *rd, f),
    }
}

fn found(n: &Nlri<'_>) -> Vec<(PathId, Item)> {
    let labels = |l: Labels<'_>| l.iter().collect::<Vec<_>>();
    n.unicast()
        .map(|(id, n)| (id, Item::Unicast(n)))
        .chain(
            n.labeled()
                .map(|(id, l, n)| (id, Item::Labeled(labels(l), n))),
        )
        .chain(
            n.vpn()
                .map(|(id, l, rd, n)| (id, Item::Vpn(labels(l), rd, n))),
        )
        .chain(n.route_targets().map(|(id, t)| (id, Item::Target(t))))
        .chain(
            n.flows()
                .map(|(id, rd, f)| (id, Item::Flow(rd, f.to_vec()))),
        )
        .collect()
}

/// The bodies of a run of messages, each no longer than it may be.
fn messages<'a>(mut out: &'a [u8], ctx: &Context) -> Vec<&'a [u8]> {
    let mut all = Vec::new();
    while !out.is_empty() {
        let h = Header::parse(out, ctx.max_message()).unwrap().unwrap();
        assert_eq!(h.kind, Kind::Update);
        let (m, rest) = out.split_at(h.len.into());
        all.push(&m[HEADER..]);
        out = rest;
    }
    all
}

/// A withdrawal has no labels.
fn bare(item: Item) -> Item {
    match item {
        Item::Labeled(_, n) => Item::Labeled(Vec::new(), n),
        Item::Vpn(_, rd, n) => Item::Vpn(Vec::new(), rd, n),
        other => other,
    }
}

type Case = (Context, Family, AttrBuf, Vec<(PathId, Item)>);

fn case() -> impl Strategy<Value = Case> {
    let family = prop::sample::select(Family::ALL.to_vec());
    (context(), family).prop_flat_map(|(c, f)| {
        let attrs = (attributes(c.relation), next_hop(f, &c)).prop_map(|(mut b, hop)| {
            b.next_hop = hop;
            b
        });
        (Just(c), Just(f), attrs, items(f, &c))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_is_announced_is_read((ctx, family, attrs, items) in case()) {
        let mut out = vec![7; 5];
        let mut encoder = Encoder::new();
        let mut packer = encoder.announce(attrs.view(), family, &ctx, &mut out).unwrap();
        for (id, item) in &items {
            put(&mut packer, *id, item).unwrap();
        }
        let n = packer.finish();
        let mut read = Vec::new();
        let mut buf = AttrBuf::new();
        let bodies = messages(&out[5..], &ctx);
        prop_assert_eq!(bodies.len(), n);
        for body in &bodies {
            let u = Update::parse(body, &ctx).unwrap();
            prop_assert_eq!(u.errors(), &[]);
            prop_assert_eq!(u.unreach().count(), 0);
            for r in u.reach() {
                u.canonical(&mut buf);
                buf.next_hop = r.next_hop;
                prop_assert_eq!(buf.view(), attrs.view());
                read.extend(found(&r.nlri));
            }
        }
        // All but the last are as full as they can be.
        for pair in bodies.windows(2) {
            prop_assert!(pair[0].len() + HEADER + 6 + 700 > ctx.max_message());
        }
        prop_assert_eq!(read, items);
    }

    #[test]
    fn what_is_withdrawn_is_read((ctx, family, _, items) in case()) {
        let mut out = Vec::new();
        let mut encoder = Encoder::new();
        let mut packer = encoder.withdraw(family, &ctx, &mut out);
        for (id, item) in &items {
            put(&mut packer, *id, item).unwrap();
        }
        drop(packer);
        let mut read = Vec::new();
        for body in messages(&out, &ctx) {
            let u = Update::parse(body, &ctx).unwrap();
            prop_assert_eq!((u.errors(), u.reach().count(), u.end_of_rib()), (&[][..], 0, None));
            read.extend(u.unreach().flat_map(|n| found(&n)));
        }
        let bared = |all: Vec<(PathId, Item)>| all.into_iter().map(|(id, i)| (id, bare(i))).collect::<Vec<_>>();
        prop_assert_eq!(bared(read), bared(items));
    }

    /// Whatever comes, in whatever context: no panic, the verdict and the iterators agree, and the canonical form is one.
    #[test]
    fn no_update_is_a_surprise(ctx in context(), body in vec(prop_oneof![3 => 0u8..5, 1 => any::<u8>()], 0..80)) {
        crate::fuzz::update(&body, &ctx);
    }

    #[test]
    fn messages_come_back(kind in 1u8..6, body in vec(any::<u8>(), 0..60)) {
        let kind = [Kind::Open, Kind::Update, Kind::Notification, Kind::Keepalive, Kind::RouteRefresh][usize::from(kind) - 1];
        if let Ok(m) = Message::parse(kind, &body) {
            let mut out = Vec::new();
            m.emit(&mut out);
            let again = Message::parse(kind, &out[HEADER..]);
            prop_assert_eq!(again, Ok(m));
        }
    }
}

#[test]
fn what_does_not_suit_the_neighbour_is_refused() {
    let ctx = Context::new(Relation::External, FamilySet::from_iter(Family::ALL));
    let mut out = Vec::new();
    let mut e = Encoder::new();
    let six = NextHop::V6("2001:db8::1".parse().unwrap());
    let four = NextHop::V4([192, 0, 2, 1].into());
    let view = |next_hop| View {
        octets: &[],
        next_hop,
    };
    for (family, hop) in [
        (Family::Ipv4Unicast, Some(six)),
        (Family::Ipv6Unicast, Some(four)),
        (Family::Vpnv4, Some(six)),
        (Family::Vpnv4, None),
    ] {
        let got = e
            .announce(view(hop), family, &ctx, &mut out)
            .map(Packer::finish);
        assert_eq!(got, Err(EncodeError::NextHop(family)));
    }
    let long = [0xd0, 200, 0x10, 0]
        .into_iter()
        .chain([0; 0x1000])
        .collect::<Vec<u8>>();
    let v = View {
        octets: &long,
        next_hop: Some(four),
    };
    let got = e
        .announce(v, Family::Ipv4Unicast, &ctx, &mut out)
        .map(Packer::finish);
    assert!(matches!(got, Err(EncodeError::TooLong { max: 4096, .. })));
    let net: IpNet = "192.0.2.0/24".parse().unwrap();
    let label = Label::IMPLICIT_NULL;
    let mut p = e
        .announce(view(Some(four)), Family::Ipv4Labeled, &ctx, &mut out)
        .unwrap();
    assert_eq!(p.labeled(0, &[], net), Err(EncodeError::Labels(0)));
    assert_eq!(p.labeled(0, &[label; 2], net), Err(EncodeError::Labels(2)));
    assert_eq!(p.net(0, net), Err(EncodeError::Family(Family::Ipv4Labeled)));
    assert_eq!(
        p.flow(0, None, &[]),
        Err(EncodeError::Family(Family::Ipv4Labeled))
    );
    assert_eq!(p.finish(), 0);
    assert_eq!(out, []);
    // 6PE: an IPv4 next hop in its IPv6 form (RFC 4798 2).
    let mut p = e
        .announce(view(Some(four)), Family::Ipv6Labeled, &ctx, &mut out)
        .unwrap();
    p.labeled(0, &[label], "2001:db8::/32".parse().unwrap())
        .unwrap();
    assert_eq!(p.finish(), 1);
    assert!(
        out.windows(16)
            .any(|w| w[10..] == [0xff, 0xff, 192, 0, 2, 1])
    );
}
