//! Our own addresses.

use net::nd::{AdvertFlags, Body, advert, solicit};

use super::*;
use crate::neigh::address::{CONFLICT_MEMORY, DEFEND_INTERVAL};

const MEMORY: u64 = CONFLICT_MEMORY.as_millis() as u64;
const DEFENCE: u64 = DEFEND_INTERVAL.as_millis() as u64;
const GROUP: &str = "ff02::1";

fn only_v4() -> IfaceCfg {
    IfaceCfg {
        v4: vec![(v4("192.0.2.1"), 24)],
        v6: vec![],
        link_local: None,
        ..cfg()
    }
}

fn only_v6() -> IfaceCfg {
    IfaceCfg {
        v4: vec![],
        v6: vec![],
        ..cfg()
    }
}

/// The flags of the advertisements to all nodes among `acts`.
fn adverts(acts: &[Act]) -> Vec<AdvertFlags> {
    let all = nds(acts)
        .into_iter()
        .filter(|(m, to)| m.dst == v6(GROUP) && *to == MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    all.filter_map(|(m, _)| {
        if let Body::NeighborAdvert { flags, .. } = m.body {
            Some(flags)
        } else {
            None
        }
    })
    .collect()
}

const fn unsolicited(override_: bool) -> AdvertFlags {
    AdvertFlags {
        router: true,
        solicited: false,
        override_,
    }
}

/// A neighbour claims our link-local address.
fn claim(mac: MacAddr) -> Vec<u8> {
    let to = MacAddr::ipv6_multicast(v6(GROUP));
    advert(
        mac,
        to,
        v6("fe80::1"),
        v6(GROUP),
        v6("fe80::1"),
        unsolicited(true),
    )
    .to_vec()
}

#[test]
fn ipv4_is_announced_at_once_and_probed_beside() {
    let mut lab = Lab::bare(Params::default());
    let (probe, announce) = (
        Arp::probe(US, v4("192.0.2.1")),
        Arp::announcement(US, v4("192.0.2.1")),
    );
    let sent = |acts: Vec<Act>| {
        assert!(arps(&acts).iter().all(|a| a.1 == MacAddr::BROADCAST));
        arps(&acts).into_iter().map(|a| a.0).collect::<Vec<_>>()
    };
    assert_eq!(sent(lab.up(0, &only_v4())), [probe, announce]);
    assert_eq!(lab.tick(999), []);
    assert_eq!(sent(lab.tick(1000)), [probe]);
    assert_eq!(sent(lab.tick(2000)), [probe]);
    assert_eq!(sent(lab.tick(3000)), [announce]);
    assert_eq!(lab.n.poll_at(), None);
    assert_eq!(lab.up(4000, &only_v4()), [], "nothing has changed");
    // An address added is announced alone; a new Ethernet address is news for all of them.
    let mut more = only_v4();
    more.v4.push((v4("192.0.2.2"), 24));
    assert_eq!(
        sent(lab.up(5000, &more)),
        [
            Arp::probe(US, v4("192.0.2.2")),
            Arp::announcement(US, v4("192.0.2.2"))
        ]
    );
    more.mac = OTHER;
    assert_eq!(sent(lab.up(5500, &more)).len(), 4);
    // Nothing is said any more for what was taken away.
    assert_eq!(lab.up(5600, &IfaceCfg { v4: vec![], ..more }), []);
    assert_eq!(lab.n.poll_at(), None);
}

#[test]
fn ipv6_is_checked_and_advertised() {
    let mut lab = Lab::bare(Params::default());
    let acts = lab.up(0, &only_v6());
    let (m, to) = nds(&acts)[0];
    assert_eq!(
        (m.src, m.dst, m.source_mac),
        (Ipv6Addr::UNSPECIFIED, v6("ff02::1:ff00:1"), None)
    );
    assert_eq!(
        (m.body, to),
        (
            Body::NeighborSolicit {
                target: v6("fe80::1")
            },
            MacAddr([0x33, 0x33, 0xff, 0, 0, 1])
        )
    );
    assert_eq!(adverts(&acts), [unsolicited(false)]);
    assert_eq!(acts.len(), 2);
    // In use at once, but it overrides nobody (RFC 4429 3.3).
    let answer = |lab: &mut Lab, ms| {
        nds(&lab.nd(ms, &solicit(PEER, v6("fe80::7"), v6("fe80::1"), None)))[0]
            .0
            .body
    };
    let body = |override_| Body::NeighborAdvert {
        target: v6("fe80::1"),
        flags: AdvertFlags {
            router: true,
            solicited: true,
            override_,
        },
    };
    assert_eq!(answer(&mut lab, 500), body(false));
    assert_eq!(adverts(&lab.tick(1000)), [unsolicited(true)]);
    assert_eq!(answer(&mut lab, 1500), body(true));
    assert_eq!(adverts(&lab.tick(2000)), [unsolicited(true)]);
    assert_eq!(lab.up(3000, &only_v6()), []);
}

#[test]
fn an_ipv4_conflict_is_reported_and_the_address_defended() {
    let mut lab = Lab::new();
    let theirs = Arp::announcement(PEER, v4("192.0.2.1"));
    let acts = lab.arp(0, theirs, MacAddr::BROADCAST);
    assert_eq!(
        acts[0],
        Act::Duplicate {
            iface: IF,
            addr: ip("192.0.2.1"),
            by: PEER
        }
    );
    assert_eq!(
        arps(&acts),
        [(Arp::announcement(US, v4("192.0.2.1")), MacAddr::BROADCAST)]
    );
    assert_eq!(
        lab.n.duplicates().collect::<Vec<_>>(),
        [(IF, ip("192.0.2.1"), PEER)]
    );
    // No storm: once in ten seconds.
    assert_eq!(lab.arp(DEFENCE - 1, theirs, MacAddr::BROADCAST), []);
    assert_eq!(lab.arp(DEFENCE, theirs, MacAddr::BROADCAST).len(), 2);
    assert_eq!(lab.n.stats().conflicts, 3);
    // We go on answering for it; and nothing was learned.
    assert_eq!(
        arps(&lab.arp(
            DEFENCE,
            Arp::request(OTHER, v4("192.0.2.9"), v4("192.0.2.1")),
            US
        ))
        .len(),
        1
    );
    assert_eq!(lab.state("192.0.2.1"), None);
    // Forgotten after a minute of peace.
    lab.tick(DEFENCE + MEMORY - 1);
    assert_eq!(lab.n.duplicates().count(), 1);
    lab.tick(DEFENCE + MEMORY);
    assert_eq!(
        (lab.n.duplicates().count(), lab.n.poll_at().is_some()),
        (0, true)
    ); // 192.0.2.9 is stale
}

#[test]
fn a_probe_for_our_address_is_answered_and_a_conflict_only_while_we_probe_too() {
    let probe = Arp::probe(PEER, v4("192.0.2.1"));
    let answer = (probe.reply(US, v4("192.0.2.1")), PEER);
    let mut lab = Lab::new();
    assert_eq!(arps(&lab.arp(0, probe, MacAddr::BROADCAST)), [answer]);
    assert_eq!(
        (lab.n.duplicates().count(), lab.n.entries().count()),
        (0, 0)
    );
    let mut lab = Lab::bare(Params::default());
    lab.up(0, &only_v4());
    let acts = lab.arp(500, probe, MacAddr::BROADCAST);
    assert_eq!(
        acts[0],
        Act::Duplicate {
            iface: IF,
            addr: ip("192.0.2.1"),
            by: PEER
        }
    );
    assert!(arps(&acts).contains(&answer));
    // Somebody else's probe for another address is nothing to us.
    assert_eq!(
        lab.arp(600, Arp::probe(PEER, v4("192.0.2.9")), MacAddr::BROADCAST),
        []
    );
}

#[test]
fn an_answer_to_our_probe_is_a_conflict() {
    let mut lab = Lab::bare(Params::default());
    lab.up(0, &only_v4());
    let answer = Arp::probe(US, v4("192.0.2.1")).reply(PEER, v4("192.0.2.1"));
    let acts = lab.arp(1, answer, US);
    assert_eq!(
        acts[0],
        Act::Duplicate {
            iface: IF,
            addr: ip("192.0.2.1"),
            by: PEER
        }
    );
    assert_eq!(lab.tick(10_000), [], "the probing is over");
}

#[test]
fn an_ipv6_duplicate_is_given_up_and_tried_again() {
    for by_probe in [false, true] {
        let mut lab = Lab::bare(Params::default());
        lab.up(0, &only_v6());
        let theirs = if by_probe {
            solicit(PEER, Ipv6Addr::UNSPECIFIED, v6("fe80::1"), None).to_vec()
        } else {
            claim(PEER)
        };
        let acts = lab.nd(500, &theirs);
        assert_eq!(
            acts,
            [Act::Duplicate {
                iface: IF,
                addr: ip("fe80::1"),
                by: PEER
            }]
        );
        assert_eq!(lab.n.duplicates().count(), 1);
        // Silent from now on.
        assert_eq!(lab.tick(5000), []);
        assert_eq!(
            nds(&lab.nd(6000, &solicit(OTHER, v6("fe80::7"), v6("fe80::1"), None))),
            []
        );
        // A minute later it is checked again, without advertising it first.
        let acts = lab.tick(500 + MEMORY);
        let asked = nds(&acts);
        assert_eq!((asked.len(), asked[0].0.src), (1, Ipv6Addr::UNSPECIFIED));
        assert_eq!(lab.n.duplicates().count(), 1);
        let acts = lab.tick(1500 + MEMORY);
        assert_eq!(adverts(&acts), [unsolicited(true)]);
        assert_eq!(lab.n.duplicates().count(), 0);
        assert_eq!(
            nds(&lab.nd(
                1600 + MEMORY,
                &solicit(OTHER, v6("fe80::7"), v6("fe80::1"), None)
            ))
            .len(),
            1
        );
    }
}

#[test]
fn an_ipv6_address_that_passed_is_defended() {
    let mut lab = Lab::new();
    let acts = lab.nd(0, &claim(PEER));
    assert_eq!(
        acts[0],
        Act::Duplicate {
            iface: IF,
            addr: ip("fe80::1"),
            by: PEER
        }
    );
    assert_eq!(adverts(&acts), [unsolicited(true)]);
    assert_eq!(lab.nd(DEFENCE - 1, &claim(PEER)), []);
    // Another station checks the same address: told to all nodes, as it has no address yet.
    let acts = lab.nd(
        DEFENCE - 1,
        &solicit(OTHER, Ipv6Addr::UNSPECIFIED, v6("2001:db8::1"), None),
    );
    assert_eq!((adverts(&acts), acts.len()), (vec![unsolicited(true)], 1));
    // A solicitation that comes from our address is a conflict, too.
    let acts = lab.nd(
        2 * DEFENCE,
        &solicit(PEER, v6("fe80::1"), v6("2001:db8::1"), None),
    );
    assert_eq!(
        acts[0],
        Act::Duplicate {
            iface: IF,
            addr: ip("fe80::1"),
            by: PEER
        }
    );
    lab.tick(2 * DEFENCE + MEMORY);
    assert_eq!(lab.n.duplicates().count(), 0);
}
