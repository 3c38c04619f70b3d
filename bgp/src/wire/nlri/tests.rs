use super::*;
use crate::types::{FamilySet, Label, Relation};
use proptest::prelude::*;

fn ctx() -> Context {
    Context::new(Relation::External, FamilySet::from_iter(Family::ALL))
}

fn count(family: Family, o: &[u8]) -> Result<usize, BadNlri> {
    Nlri::parse(family, o, false, &ctx()).map(|n| n.count)
}

#[test]
fn prefixes_are_as_long_as_they_may_be_and_no_longer() {
    use Family::*;
    for (family, max) in [(Ipv4Unicast, 32), (Ipv6Unicast, 128)] {
        for bits in 0..=255u8 {
            let mut o = vec![bits];
            o.resize(1 + usize::from(bits).div_ceil(8), 0xff);
            let want = if bits <= max {
                Ok(1)
            } else {
                Err(BadNlri::Length(bits))
            };
            assert_eq!(count(family, &o), want);
            if bits > 0 {
                assert!(count(family, &o[..o.len() - 1]).is_err());
            }
        }
    }
}

#[test]
fn bits_behind_the_prefix_are_cleared() {
    let o = [9, 10, 0xff, 0, 32, 1, 2, 3, 4, 1, 0xff];
    let n = Nlri::parse(Family::Ipv4Unicast, &o, false, &ctx()).unwrap();
    let got: Vec<String> = n.ipv4().map(|(_, p)| p.to_string()).collect();
    assert_eq!(
        got,
        ["10.128.0.0/9", "0.0.0.0/0", "1.2.3.4/32", "128.0.0.0/1"]
    );
    assert_eq!((n.ipv6().count(), n.vpn().count()), (0, 0));
    let o = [35, 0x20, 1, 0x0d, 0xb8, 0xff];
    let n = Nlri::parse(Family::Ipv6Unicast, &o, true, &ctx()).unwrap();
    let got: Vec<String> = n.unicast().map(|(_, p)| p.to_string()).collect();
    assert_eq!(got, ["2001:db8:e000::/35"]);
}

#[test]
fn labels_end_at_the_bottom_only_if_several_were_agreed_on() {
    // Two labels as a sender with the capability writes them: 100, 200 and 10/8.
    let o = [56, 0, 6, 0x40, 0, 0x0c, 0x81, 10];
    let mut c = ctx();
    let one = Nlri::parse(Family::Ipv4Labeled, &o, false, &c).unwrap();
    let got = one.labeled().next().unwrap();
    assert_eq!(
        (got.1.len(), got.2.to_string()),
        (1, "0.12.129.10/32".into())
    );
    c.multiple_labels.insert(Family::Ipv4Labeled);
    let many = Nlri::parse(Family::Ipv4Labeled, &o, false, &c).unwrap();
    let (_, labels, net) = many.labeled().next().unwrap();
    assert_eq!(
        labels.iter().map(Label::get).collect::<Vec<_>>(),
        [100, 200]
    );
    assert_eq!(net.to_string(), "10.0.0.0/8");
    // A withdrawal has one, whatever it says (RFC 8277 2.4).
    let gone = [32, 0x80, 0, 0, 10];
    let n = Nlri::parse(Family::Ipv4Labeled, &gone, true, &c).unwrap();
    assert_eq!(n.labeled().next().unwrap().2.to_string(), "10.0.0.0/8");
    let parse = |o: &[u8]| Nlri::parse(Family::Ipv4Labeled, o, false, &c).map(|n| n.count);
    assert_eq!(parse(&gone), Err(BadNlri::NoBottom));
    assert_eq!(
        count(Family::Ipv4Labeled, &[16, 0, 6]),
        Err(BadNlri::Length(16))
    );
    assert_eq!(
        count(Family::Ipv4Labeled, &[23, 0, 6, 0x41]),
        Err(BadNlri::Length(23))
    );
    assert_eq!(
        count(Family::Ipv4Labeled, &[57, 0, 6, 0x41, 1, 2, 3, 4, 5]),
        Err(BadNlri::Length(57))
    );
}

#[test]
fn a_vpn_prefix_has_label_and_distinguisher_in_front() {
    let o = [104, 0, 6, 0x41, 0, 0, 0xfc, 0, 0, 0, 0, 1, 10, 9];
    let n = Nlri::parse(Family::Vpnv4, &o, false, &ctx()).unwrap();
    let (_, labels, rd, net) = n.vpn().next().unwrap();
    assert_eq!(labels.iter().next().map(Label::get), Some(100));
    assert_eq!(
        (rd.to_string(), net.to_string()),
        ("64512:1".into(), "10.9.0.0/16".into())
    );
    assert_eq!(count(Family::Vpnv4, &o[..13]), Err(BadNlri::Overrun));
    let mut short = o;
    short[0] = 87;
    assert_eq!(count(Family::Vpnv4, &short[..12]), Err(BadNlri::Length(87)));
}

#[test]
fn route_targets_are_none_or_at_least_an_as() {
    let o = [0, 96, 0, 0, 0xfc, 0, 0, 2, 0xfc, 0, 0, 0, 0, 1];
    let n = Nlri::parse(Family::RouteTarget, &o, false, &ctx()).unwrap();
    let all: Vec<_> = n.route_targets().map(|(_, t)| t.bits).collect();
    assert_eq!(all, [0, 96]);
    assert_eq!(
        count(Family::RouteTarget, &[31, 1, 2, 3, 4]),
        Err(BadNlri::Length(31))
    );
    assert_eq!(
        count(Family::RouteTarget, &[[97].as_slice(), &[0; 13]].concat()),
        Err(BadNlri::Length(97))
    );
}

#[test]
fn flows_are_checked_component_by_component() {
    // Destination 192.0.2/24, protocol 6, port 25 or 0x89.
    let good = [1, 24, 192, 0, 2, 3, 0x81, 6, 4, 0x01, 25, 0x81, 0x89];
    assert_eq!(check_flow(false, &good), Ok(()));
    for n in 1..good.len() {
        // It stays one where a component ends.
        assert_eq!(
            check_flow(false, &good[..n]).is_ok(),
            n == 5 || n == 8,
            "{n}"
        );
    }
    assert_eq!(check_flow(false, &[]), Err(BadFlow::Empty));
    assert_eq!(
        check_flow(false, &[3, 0x81, 6, 1, 0]),
        Err(BadFlow::Order(1))
    );
    assert_eq!(check_flow(false, &[13, 0x81, 6]), Err(BadFlow::Type(13)));
    assert_eq!(check_flow(true, &[13, 0x81, 6]), Ok(()));
    assert_eq!(check_flow(false, &[0, 0x81, 6]), Err(BadFlow::Order(0)));
    assert_eq!(
        check_flow(false, &[1, 33, 1, 2, 3, 4, 5]),
        Err(BadFlow::Prefix(1))
    );
    assert_eq!(check_flow(true, &[1, 64, 32, 1, 2, 3, 4]), Ok(()));
    assert_eq!(check_flow(true, &[1, 32, 32]), Err(BadFlow::Prefix(1)));
    assert_eq!(check_flow(true, &[1, 0, 0]), Ok(()));

    let run = [&[good.len() as u8][..], &good, &[0xf0, 3, 3, 0x81, 6]].concat();
    let n = Nlri::parse(Family::Ipv4Flow, &run, false, &ctx()).unwrap();
    let all: Vec<_> = n.flows().map(|(_, _, f)| f.to_vec()).collect();
    assert_eq!(all, [good.to_vec(), vec![3, 0x81, 6]]);
    assert_eq!(
        count(Family::Ipv4Flow, &run[..run.len() - 1]),
        Err(BadNlri::Overrun)
    );
}

proptest! {
    /// Every iterator gives as many as were counted, of any family and any context.
    #[test]
    fn what_was_counted_is_found(
        family in prop::sample::select(Family::ALL.to_vec()),
        o in prop::collection::vec(prop_oneof![4 => 0u8..40, 1 => any::<u8>()], 0..60),
        add_path: bool, many: bool, withdrawn: bool,
    ) {
        let mut c = ctx();
        if add_path { c.add_path_receive.insert(family) }
        if many { c.multiple_labels.insert(family) }
        if let Ok(n) = Nlri::parse(family, &o, withdrawn, &c) {
            let found = [n.unicast().count(), n.labeled().count(), n.vpn().count(), n.route_targets().count(), n.flows().count()];
            prop_assert_eq!(found.iter().sum::<usize>(), n.count);
            prop_assert_eq!(found.iter().max(), Some(&n.count));
            prop_assert!(n.unicast().all(|(_, p)| p == p.trunc()));
        }
    }
}

/// RFC 8277 2.4: what stands in place of labels in a withdrawal is three octets that nobody reads, whatever was agreed on.
#[test]
fn what_stands_for_a_label_in_a_withdrawal_is_not_read() {
    for many in [false, true] {
        let mut c = ctx();
        if many {
            c.multiple_labels.insert(Family::Ipv4Labeled);
        }
        // The Compatibility field as it is to be, as RFC 3107 had it, and as others write it: a label with and without the bottom.
        for field in [
            [0x80, 0, 0],
            [0, 0, 0],
            [0, 1, 0x41],
            [0, 1, 0x40],
            [0xff; 3],
        ] {
            let mut octets = vec![48];
            octets.extend(field);
            octets.extend([203, 0, 113]);
            let nlri = Nlri::parse(Family::Ipv4Labeled, &octets, true, &c).unwrap();
            let all: Vec<_> = nlri
                .labeled()
                .map(|(id, _, net)| (id, net.to_string()))
                .collect();
            assert_eq!(all, [(0, "203.0.113.0/24".to_owned())], "{many} {field:?}");
        }
        // Two labels are none of its forms: the second is taken for the prefix.
        let two = [72, 0, 1, 0x40, 0, 1, 0x41, 203, 0, 113];
        let nlri = Nlri::parse(Family::Ipv4Labeled, &two, true, &c);
        assert_eq!(nlri, Err(BadNlri::Length(72)), "{many}");
    }
}
