//! Lines that are understood, and lines that are not, with what is said about them.

use super::*;
use proptest::prelude::*;

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace()
}

fn hop(via: &str, dev: &str, label: &[u32], weight: u32) -> NextHopSpec {
    NextHopSpec {
        address: via.into(),
        interface: dev.into(),
        label: label.to_vec(),
        weight,
        backup: false,
    }
}

fn backup(via: &str, dev: &str, label: &[u32], weight: u32) -> NextHopSpec {
    NextHopSpec {
        backup: true,
        ..hop(via, dev, label, weight)
    }
}

fn routed_via(line: &str) -> (String, Vec<NextHopSpec>) {
    let spec = routed(words(line)).unwrap();
    (spec.prefix, spec.via)
}

#[test]
fn routes_as_iproute2_writes_them() {
    let cases: [(&str, &str, Vec<NextHopSpec>); 13] = [
        (
            "203.0.113.0/24 via 198.51.100.3",
            "203.0.113.0/24",
            vec![hop("198.51.100.3", "", &[], 0)],
        ),
        (
            "203.0.113.0/24 via 198.51.100.3 dev wan0 label 100/200",
            "203.0.113.0/24",
            vec![hop("198.51.100.3", "wan0", &[100, 200], 0)],
        ),
        (
            "203.0.113.9 dev wan0 via 198.51.100.3",
            "203.0.113.9/32",
            vec![hop("198.51.100.3", "wan0", &[], 0)],
        ),
        (
            "10.0.0.0/8 nexthop via 10.1.0.1 weight 3 nexthop via 10.2.0.1 dev b",
            "10.0.0.0/8",
            vec![hop("10.1.0.1", "", &[], 3), hop("10.2.0.1", "b", &[], 0)],
        ),
        (
            "10.0.0.0/8 via 10.1.0.1 label 16 via 10.2.0.1",
            "10.0.0.0/8",
            vec![hop("10.1.0.1", "", &[16], 0), hop("10.2.0.1", "", &[], 0)],
        ),
        (
            "default via 10.1.0.1",
            "0.0.0.0/0",
            vec![hop("10.1.0.1", "", &[], 0)],
        ),
        (
            "default via 2001:db8::1",
            "::/0",
            vec![hop("2001:db8::1", "", &[], 0)],
        ),
        (
            "10.0.0.0/8 via inet6 fe80::1 dev a",
            "10.0.0.0/8",
            vec![hop("fe80::1", "a", &[], 0)],
        ),
        (
            "unicast 2001:db8::/32 dev a",
            "2001:db8::/32",
            vec![hop("", "a", &[], 0)],
        ),
        (
            "10.0.0.0/8 via 10.1.0.1 backup 10.2.0.1",
            "10.0.0.0/8",
            vec![hop("10.1.0.1", "", &[], 0), backup("10.2.0.1", "", &[], 0)],
        ),
        (
            "10.0.0.0/8 backup fe80::2 dev b label 16 weight 2 via 10.1.0.1 dev a",
            "10.0.0.0/8",
            vec![
                backup("fe80::2", "b", &[16], 2),
                hop("10.1.0.1", "a", &[], 0),
            ],
        ),
        (
            "10.0.0.0/8 nexthop via 10.1.0.1 nexthop backup via 10.2.0.1 backup dev b",
            "10.0.0.0/8",
            vec![
                hop("10.1.0.1", "", &[], 0),
                backup("10.2.0.1", "", &[], 0),
                backup("", "b", &[], 0),
            ],
        ),
        (
            "10.0.0.0/8 dev a backup dev b",
            "10.0.0.0/8",
            vec![hop("", "a", &[], 0), backup("", "b", &[], 0)],
        ),
    ];
    for (line, prefix, via) in cases {
        assert_eq!(routed_via(line), (prefix.to_owned(), via), "{line}");
    }
    let spec = routed(words("blackhole 10.0.0.0/8")).unwrap();
    assert_eq!((spec.discard.as_str(), spec.via.len()), ("blackhole", 0));
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("route add", "a prefix is missing"),
        (
            "route add 203.0.113.5/24 via 1.1.1.1",
            "the prefix is 203.0.113.0/24",
        ),
        ("route add 203.0.113.0/33 via 1.1.1.1", "0 to 32"),
        ("route add 203.0.113.0/+24 via 1.1.1.1", "not a prefix"),
        (
            "route add 203.0.113.0/24",
            "where 203.0.113.0/24 goes is missing",
        ),
        (
            "route add 203.0.113.0/24 via",
            "an address is missing after \"via\"",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1/32",
            "an address has no length",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 labl 5",
            "did you mean \"label\"?",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 label 1048576",
            "0 to 1048575",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 label 5//6",
            "0 to 1048575",
        ),
        ("route add 203.0.113.0/24 via 1.1.1.1 weight 0", "1 to 256"),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 backup",
            "an address is missing after \"backup\"",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 backup wan0",
            "backup \"wan0\" is not an address",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 dev a dev b",
            "\"dev\" is given twice",
        ),
        (
            "route add 203.0.113.0/24 via 1.1.1.1 label 16 label 17",
            "100/200",
        ),
        ("route add 203.0.113.0/24 label 16", "needs \"via ADDRESS\""),
        (
            "route add 203.0.113.0/24 nexthop nexthop via 1.1.1.1",
            "neither",
        ),
        (
            "route add blackhole 10.0.0.0/8 via 1.1.1.1",
            "has no next hop",
        ),
        ("route ad 10.0.0.0/8", "did you mean \"add\"?"),
        ("route show", "changes nothing"),
        ("rout add 10.0.0.0/8", "did you mean \"route\"?"),
        ("bgp summary", "run it by itself"),
        ("vrf show", "unknown command"),
        ("label add 300 swap 400", "needs a next hop"),
        ("label add 300 push 400", "unknown action"),
        ("label add 300 pop via 1.1.1.1 label 7", "use \"swap\""),
        ("label del 300 via 1.1.1.1", "nothing is expected here"),
        ("neigh add 10.0.0.1 dev a", "lladdr MAC"),
        ("neigh add 10.0.0.1 lladdr 02:00:00:00:00:01", "dev NAME"),
        ("interface add wan0 mtu 67", "68 to 65535"),
        ("interface del", "a name is missing"),
    ];
    for (line, part) in cases {
        let error = change(words(line)).unwrap_err().0;
        assert!(error.contains(part), "{line}: {error}");
        assert!(!error.contains('\n'), "{line}: one line");
    }
}

#[test]
fn labels_swap_and_pop() {
    let spec = label(words(
        "300 swap 400/500 via 198.51.100.3 nexthop via 198.51.100.5 label 600 weight 2",
    ))
    .unwrap();
    assert_eq!(
        spec.via,
        [
            hop("198.51.100.3", "", &[400, 500], 0),
            hop("198.51.100.5", "", &[600], 2)
        ]
    );
    let spec = label(words("301 pop via 198.51.100.3 dev a ttl pipe")).unwrap();
    assert_eq!(
        (spec.action.as_str(), spec.mpls_ttl.as_str()),
        ("pop", "pipe")
    );
    assert_eq!(spec.via, [hop("198.51.100.3", "a", &[], 0)]);
    let spec = label(words("302 pop vrf blue")).unwrap();
    assert_eq!((spec.via.len(), spec.vrf.as_str()), (0, "blue"));
}

proptest! {
    /// Any line is read or refused in one line; nothing panics.
    #[test]
    fn any_words(line in "((route|label|neigh|interface) (add|del|replace) )?[a-z0-9:./ ]{0,60}") {
        if let Err(error) = change(line.split(' ').filter(|w| !w.is_empty())) {
            prop_assert!(!error.0.is_empty() && !error.0.contains('\n'));
        }
    }
}
