//! Received neighbour discovery.

use net::nd::{AdvertFlags, Body, advert, solicit};

use super::*;

const A: &str = "2001:db8::7";
const GROUP: &str = "ff02::1";

fn flags(solicited: bool, override_: bool) -> AdvertFlags {
    AdvertFlags {
        router: false,
        solicited,
        override_,
    }
}

/// An advertisement of A to us.
fn says(mac: MacAddr, f: AdvertFlags) -> Vec<u8> {
    advert(mac, US, v6(A), v6("fe80::1"), v6(A), f).to_vec()
}

fn neighbour() -> Lab {
    let mut lab = Lab::new();
    lab.resolve(0, A, None);
    lab.nd(0, &says(PEER, flags(true, true)));
    assert_eq!(lab.state(A), Some(State::Reachable));
    lab
}

#[test]
fn asks_the_solicited_node_group_and_releases_on_the_answer() {
    let mut lab = Lab::new();
    let acts = lab.resolve(0, A, Some(frame(1)));
    let (m, to) = nds(&acts)[0];
    assert_eq!(to, MacAddr([0x33, 0x33, 0xff, 0, 0, 7]));
    assert_eq!(
        (m.src, m.dst, m.source_mac),
        (v6("fe80::1"), v6("ff02::1:ff00:7"), Some(US))
    );
    assert_eq!(m.body, Body::NeighborSolicit { target: v6(A) });
    assert_eq!(
        resolved(&lab.nd(5, &says(PEER, flags(true, true)))),
        Some((PEER, vec![1]))
    );
    assert_eq!(lab.state(A), Some(State::Reachable));
    // Probes go to the neighbour itself.
    lab.used.insert(ip(A));
    let (_, acts) = lab.next();
    let (m, to) = nds(&acts)[0];
    assert_eq!((to, m.dst), (PEER, v6(A)));
}

#[test]
fn answers_for_global_and_link_local_addresses() {
    let mut lab = Lab::new();
    for (from, target) in [
        ("fe80::7", "fe80::1"),
        (A, "2001:db8::1"),
        ("fe80::7", "2001:db8::1"),
        (A, "fe80::1"),
    ] {
        let acts = lab.nd(0, &solicit(PEER, v6(from), v6(target), None));
        let (m, to) = nds(&acts)[0];
        assert_eq!(
            (to, m.src, m.dst, m.target_mac),
            (PEER, v6(target), v6(from), Some(US)),
            "{from} {target}"
        );
        let Body::NeighborAdvert { target: t, flags } = m.body else {
            panic!("{m:?}")
        };
        assert_eq!(
            (t, flags),
            (
                v6(target),
                AdvertFlags {
                    router: true,
                    solicited: true,
                    override_: true
                }
            )
        );
    }
    assert_eq!(
        (lab.state("fe80::7"), lab.state(A)),
        (Some(State::Stale), Some(State::Stale))
    );
    // Asked by unicast: the same.
    let acts = lab.nd(0, &solicit(PEER, v6(A), v6("2001:db8::1"), Some(US)));
    assert_eq!(nds(&acts).len(), 1);
    // Not ours, off the link, or of an interface without IPv6.
    assert_eq!(
        lab.nd(0, &solicit(PEER, v6(A), v6("2001:db8::2"), None)),
        []
    );
    assert_eq!(
        lab.nd(
            0,
            &solicit(PEER, v6("2001:db9::7"), v6("2001:db8::1"), None)
        ),
        []
    );
    assert_eq!(lab.n.stats().off_link, 1);
    lab.up(
        1,
        &IfaceCfg {
            link_local: None,
            ..cfg()
        },
    );
    assert_eq!(
        lab.nd(2, &solicit(PEER, v6(A), v6("2001:db8::1"), None)),
        []
    );
}

/// RFC 4861 7.2.5, a row a rule.
#[test]
fn the_flags_of_advertisements() {
    let rows = [
        // solicited, override, from: state and address after
        (true, true, PEER, State::Reachable, PEER),
        (true, true, OTHER, State::Reachable, OTHER),
        (false, true, OTHER, State::Stale, OTHER),
        (false, true, PEER, State::Reachable, PEER),
        (false, false, OTHER, State::Stale, PEER),
        (true, false, OTHER, State::Stale, PEER),
        (true, false, PEER, State::Reachable, PEER),
    ];
    for (s, o, from, state, mac) in rows {
        let mut lab = neighbour();
        let acts = lab.nd(1000, &says(from, flags(s, o)));
        assert_eq!(
            (lab.state(A), lab.n.lookup(IF, ip(A))),
            (Some(state), Some(mac)),
            "{s} {o} {from}"
        );
        assert_eq!(resolved(&acts).is_some(), mac != PEER);
    }
    // Stale: without override, another address changes nothing.
    let mut lab = neighbour();
    lab.nd(1, &says(OTHER, flags(false, true)));
    lab.nd(1000, &says(PEER, flags(true, false)));
    assert_eq!(
        (lab.state(A), lab.n.lookup(IF, ip(A))),
        (Some(State::Stale), Some(OTHER))
    );
    // Incomplete: any will do.
    let mut lab = Lab::new();
    lab.resolve(0, A, Some(frame(1)));
    assert_eq!(
        resolved(&lab.nd(1, &says(PEER, flags(false, false)))),
        Some((PEER, vec![1]))
    );
    assert_eq!(lab.state(A), Some(State::Stale));
    // Nobody asked: ignored.
    let mut lab = Lab::new();
    assert_eq!(
        (lab.nd(1, &says(PEER, flags(true, true))), lab.state(A)),
        (vec![], None)
    );
}

/// An advertisement of A without its option, as a unicast answer may be.
fn bare(f: AdvertFlags) -> Vec<u8> {
    let mut frame = says(PEER, f);
    frame.truncate(14 + 40 + 24);
    frame[14 + 4..][..2].copy_from_slice(&24u16.to_be_bytes());
    frame[14 + 42..][..2].fill(0);
    let h = net::ip6::Ip6::new(&frame[14..]).unwrap();
    let sum = net::icmp6::sum(h.src_bits(), h.dst_bits(), &frame[54..]).finish();
    frame[14 + 42..][..2].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn an_answer_without_an_address_confirms_but_does_not_resolve() {
    let mut lab = Lab::new();
    lab.resolve(0, A, Some(frame(1)));
    assert_eq!(
        (lab.nd(1, &bare(flags(true, true))), lab.state(A)),
        (vec![], Some(State::Incomplete))
    );
    let mut lab = neighbour();
    lab.used.insert(ip(A));
    let (ms, _) = lab.next();
    assert_eq!(lab.state(A), Some(State::Probe));
    lab.nd(ms + 2, &bare(flags(true, true)));
    assert_eq!(lab.state(A), Some(State::Reachable));
}

#[test]
fn the_router_flag_is_kept() {
    let mut lab = neighbour();
    assert!(!lab.entry(A).unwrap().router);
    lab.nd(
        1,
        &says(
            PEER,
            AdvertFlags {
                router: true,
                solicited: true,
                override_: false,
            },
        ),
    );
    assert!(lab.entry(A).unwrap().router);
}

#[test]
fn messages_that_break_a_rule_are_ignored() {
    let mut lab = Lab::new();
    let good = solicit(PEER, v6(A), v6("2001:db8::1"), None);
    let hops = {
        let mut f = good.clone();
        f[14 + 7] = 254;
        f
    };
    let sum = {
        let mut f = good.clone();
        f[14 + 60] ^= 1;
        f
    };
    let mut count = 0;
    for f in [&hops[..], &sum[..]]
        .into_iter()
        .chain((0..good.len()).map(|n| &good[..n]))
    {
        assert_eq!(lab.nd(0, f), []);
        count += 1;
    }
    assert_eq!(
        (lab.n.stats().malformed, lab.n.entries().count()),
        (count, 0)
    );
    // From ourselves, and to somebody else's Ethernet address.
    assert_eq!(
        lab.nd(0, &solicit(US, v6("fe80::1"), v6("2001:db8::1"), None)),
        []
    );
    assert_eq!(
        lab.nd(0, &solicit(PEER, v6(A), v6("2001:db8::1"), Some(OTHER))),
        []
    );
    assert_eq!((lab.n.stats().looped, lab.n.stats().not_for_us), (1, 1));
    assert_eq!(nds(&lab.nd(0, &good)).len(), 1);
}

#[test]
fn our_own_advertisement_come_back_is_no_conflict() {
    let mut lab = Lab::new();
    // A bridge that rewrites the Ethernet source leaves the option.
    let mut f = advert(
        US,
        MacAddr::ipv6_multicast(v6(GROUP)),
        v6("fe80::1"),
        v6(GROUP),
        v6("fe80::1"),
        flags(false, true),
    );
    f[6..12].copy_from_slice(&OTHER.0);
    assert_eq!(lab.nd(0, &f), []);
    assert_eq!(lab.n.stats().looped, 1);
}
