//! The life of an entry.

use super::*;
use crate::neigh::resolve::{CHANGE_INTERVAL, TICK_BUDGET, reachable_time};

const A: &str = "192.0.2.7";

#[test]
fn frames_wait_for_the_answer_in_order() {
    let mut lab = Lab::new();
    let acts = lab.resolve(0, A, Some(frame(1)));
    assert_eq!(
        arps(&acts),
        [(Arp::request(US, v4("192.0.2.1"), v4(A)), MacAddr::BROADCAST)]
    );
    assert_eq!(acts.len(), 1);
    assert_eq!(lab.resolve(10, A, Some(frame(2))), []);
    assert_eq!(lab.entry(A).unwrap().held, 2);
    let acts = lab.arp_reply(20, A, PEER);
    assert_eq!(resolved(&acts), Some((PEER, vec![1, 2])));
    assert_eq!(acts.len(), 1);
    let e = lab.entry(A).unwrap();
    assert_eq!(
        (e.state, e.mac, e.held, e.confirmed),
        (State::Reachable, Some(PEER), 0, Some(lab.at(20)))
    );
    // One that was on its way to us meanwhile goes out at once.
    assert_eq!(
        resolved(&lab.resolve(30, A, Some(frame(3)))),
        Some((PEER, vec![3]))
    );
}

#[test]
fn the_oldest_frame_makes_room() {
    let mut lab = Lab::with(Params {
        queue: 2,
        ..Params::default()
    });
    lab.resolve(0, A, Some(frame(1)));
    lab.resolve(0, A, Some(frame(2)));
    assert_eq!(
        given_up(&lab.resolve(0, A, Some(frame(3)))),
        [(1, Reason::QueueFull)]
    );
    assert_eq!(
        resolved(&lab.arp_reply(1, A, PEER)),
        Some((PEER, vec![2, 3]))
    );
}

#[test]
fn bytes_held_are_bounded_over_all() {
    let mut lab = Lab::with(Params {
        max_held_bytes: 150,
        ..Params::default()
    });
    lab.resolve(0, A, Some(frame(1)));
    lab.resolve(0, "192.0.2.8", Some(frame(2)));
    assert_eq!(
        given_up(&lab.resolve(0, A, Some(frame(3)))),
        [(3, Reason::QueueFull)]
    );
    lab.arp_reply(1, "192.0.2.8", PEER);
    assert_eq!(given_up(&lab.resolve(2, A, Some(frame(4)))), []);
    let mut none = Lab::with(Params {
        queue: 0,
        ..Params::default()
    });
    assert_eq!(
        given_up(&none.resolve(0, A, Some(frame(1)))),
        [(1, Reason::QueueFull)]
    );
}

#[test]
fn asks_three_times_then_holds_down() {
    let mut lab = Lab::new();
    lab.resolve(0, A, Some(frame(1)));
    assert_eq!(lab.tick(999), []);
    assert_eq!(arps(&lab.tick(1000)).len(), 1);
    assert_eq!(arps(&lab.tick(2000)).len(), 1);
    assert_eq!(lab.tick(2999), []);
    let acts = lab.tick(3000);
    assert_eq!(
        (given_up(&acts), acts.len()),
        (vec![(1, Reason::Unresolved)], 1)
    );
    assert_eq!(lab.state(A), Some(State::Failed));
    // Three seconds of peace, then from the start.
    let acts = lab.resolve(5999, A, Some(frame(2)));
    assert_eq!(
        (given_up(&acts), acts.len()),
        (vec![(2, Reason::Unresolved)], 1)
    );
    assert_eq!(arps(&lab.resolve(6000, A, Some(frame(3)))).len(), 1);
    assert_eq!(lab.entry(A).unwrap().held, 1);
    // Nobody cares: gone after the hold-down, without a word.
    lab.tick(7000);
    lab.tick(8000);
    lab.tick(9000);
    assert_eq!(lab.tick(12_000), []);
    assert_eq!((lab.state(A), lab.n.poll_at()), (None, None));
}

#[test]
fn a_wanted_neighbour_is_asked_for_again_and_again() {
    let mut lab = Lab::new();
    assert_eq!(arps(&lab.want(0, A)).len(), 1);
    assert_eq!(lab.want(1, A), []);
    let asked: Vec<u64> = (0..8)
        .map(|_| lab.next())
        .filter(|(_, acts)| !arps(acts).is_empty())
        .map(|n| n.0)
        .collect();
    assert_eq!(asked, [1000, 2001, 6003, 7004, 8005, 12007]);
    assert!(lab.entry(A).unwrap().wanted);
    assert_eq!(
        resolved(&lab.arp_reply(13_000, A, PEER)),
        Some((PEER, vec![]))
    );
    // Then it is kept, used or not.
    let (ms, acts) = lab.next();
    assert!((13_000 + 26_250..=13_000 + 30_000).contains(&ms), "{ms}");
    assert_eq!(
        arps(&acts),
        [(Arp::request(US, v4("192.0.2.1"), v4(A)), PEER)]
    );
    assert_eq!(lab.state(A), Some(State::Probe));
    lab.arp_reply(ms + 5, A, PEER);
    assert_eq!(lab.state(A), Some(State::Reachable));
    lab.n.unwant(IF, ip(A));
    assert!(!lab.entry(A).unwrap().wanted);
    let (_, acts) = lab.next();
    assert_eq!((acts, lab.state(A)), (vec![], Some(State::Stale)));
}

#[test]
fn a_used_neighbour_is_refreshed_by_unicast() {
    let mut lab = Lab::with_neighbour(A);
    lab.used.insert(ip(A));
    let (ms, acts) = lab.next();
    let due = reachable_time(Duration::from_secs(30), (IF, ip(A)));
    assert_eq!(ms, due.as_millis() as u64);
    assert_eq!(arps(&acts)[0].1, PEER);
    assert_eq!(acts.len(), 1, "frames still go to it");
    assert_eq!(lab.arp_reply(ms + 2, A, PEER), []);
    assert_eq!(lab.state(A), Some(State::Reachable));
}

#[test]
fn an_unused_neighbour_ages_away() {
    let mut lab = Lab::with_neighbour(A);
    let (stale_at, acts) = lab.next();
    assert_eq!((acts, lab.state(A)), (vec![], Some(State::Stale)));
    let mut last;
    loop {
        last = lab.next();
        if !last.1.is_empty() {
            break;
        }
    }
    assert_eq!(
        last.1,
        [Act::Lost {
            iface: IF,
            addr: ip(A)
        }]
    );
    assert!(
        (stale_at + 300_000..=stale_at + 305_000).contains(&last.0),
        "{}",
        last.0
    );
    assert_eq!(lab.n.poll_at(), None);
}

#[test]
fn a_stale_neighbour_that_is_used_is_probed() {
    let mut lab = Lab::with_neighbour(A);
    lab.next();
    lab.used.insert(ip(A));
    let (_, acts) = lab.next();
    assert_eq!((arps(&acts)[0].1, lab.state(A)), (PEER, Some(State::Probe)));
    // A frame that comes by the slow path probes at once.
    let mut lab = Lab::with_neighbour(A);
    let (ms, _) = lab.next();
    let acts = lab.resolve(ms + 10, A, Some(frame(1)));
    assert_eq!(resolved(&acts), Some((PEER, vec![1])));
    assert_eq!((arps(&acts)[0].1, lab.state(A)), (PEER, Some(State::Probe)));
}

#[test]
fn a_neighbour_that_went_silent_is_lost_and_looked_for() {
    let mut lab = Lab::with_neighbour(A);
    lab.used.insert(ip(A));
    let (ms, _) = lab.next();
    for n in 1..3 {
        assert_eq!(arps(&lab.tick(ms + 1 + 1000 * n))[0].1, PEER);
    }
    lab.used.insert(ip(A));
    let acts = lab.tick(ms + 1 + 3000);
    assert_eq!(
        acts[0],
        Act::Lost {
            iface: IF,
            addr: ip(A)
        }
    );
    assert_eq!(arps(&acts)[0].1, MacAddr::BROADCAST);
    assert_eq!(lab.entry(A).unwrap().mac, None);
    assert_eq!(
        resolved(&lab.arp_reply(ms + 3500, A, OTHER)),
        Some((OTHER, vec![]))
    );
    // Without use, it is not looked for.
    let mut lab = Lab::with_neighbour(A);
    lab.used.insert(ip(A));
    let (ms, _) = lab.next();
    lab.tick(ms + 1001);
    lab.tick(ms + 2001);
    assert_eq!(
        lab.tick(ms + 3001),
        [Act::Lost {
            iface: IF,
            addr: ip(A)
        }]
    );
    assert_eq!(lab.state(A), None);
}

#[test]
fn reachable_times_differ_by_an_eighth_at_most() {
    let base = Duration::from_secs(30);
    let times: HashSet<_> = (0..200u32)
        .map(|i| reachable_time(base, (IF, IpAddr::V4(i.into()))))
        .collect();
    assert!(times.len() > 100);
    assert!(times.iter().all(|t| (base * 7 / 8..=base).contains(t)));
}

#[test]
fn a_scan_neither_floods_the_link_nor_fills_the_table() {
    let mut lab = Lab::bare(Params {
        max_entries: 200,
        new_per_second: 100,
        ..Params::default()
    });
    let wide = IfaceCfg {
        v4: vec![(v4("10.0.0.1"), 8)],
        ..cfg()
    };
    lab.up(0, &wide);
    lab.want(0, "10.255.0.1");
    let (mut asked, mut throttled) = (0, 0);
    for ms in 0..3000u64 {
        for i in 0..3 {
            let addr = Ipv4Addr::from(0x0a01_0000 + (ms * 3 + i) as u32).to_string();
            let acts = lab.resolve(ms, &addr, Some(frame(1)));
            asked += arps(&acts).len();
            throttled += given_up(&acts)
                .iter()
                .filter(|g| g.1 == Reason::Throttled)
                .count();
        }
        lab.tick(ms);
        assert!(lab.n.cache.len() <= 200);
    }
    assert!((398..=401).contains(&asked), "{asked}"); // 100 at once and 100 a second
    assert_eq!(throttled as u64, lab.n.stats().throttled);
    assert!(
        lab.entry("10.255.0.1").is_some(),
        "a wanted neighbour is not evicted"
    );
}

#[test]
fn the_oldest_incomplete_makes_room_then_the_stale() {
    let mut lab = Lab::with(Params {
        max_entries: 3,
        ..Params::default()
    });
    lab.arp(0, Arp::request(PEER, v4("192.0.2.10"), v4("192.0.2.1")), US); // stale
    lab.resolve(1, "192.0.2.11", Some(frame(11)));
    lab.resolve(2, "192.0.2.12", Some(frame(12)));
    let acts = lab.resolve(3, "192.0.2.13", Some(frame(13)));
    assert_eq!(given_up(&acts), [(11, Reason::TableFull)]);
    lab.arp_reply(4, "192.0.2.12", PEER);
    lab.arp_reply(4, "192.0.2.13", PEER);
    let acts = lab.resolve(5, "192.0.2.14", Some(frame(14)));
    assert_eq!(
        acts[0],
        Act::Lost {
            iface: IF,
            addr: ip("192.0.2.10")
        }
    );
    lab.arp_reply(6, "192.0.2.14", PEER);
    // All in use: the newcomer is refused, and what is learned unasked makes no room at all.
    let acts = lab.resolve(7, "192.0.2.15", Some(frame(15)));
    assert_eq!(
        (given_up(&acts), acts.len()),
        (vec![(15, Reason::TableFull)], 1)
    );
    let acts = lab.arp(
        8,
        Arp::request(OTHER, v4("192.0.2.16"), v4("192.0.2.1")),
        US,
    );
    assert_eq!((arps(&acts).len(), lab.state("192.0.2.16")), (1, None));
    assert_eq!(lab.n.stats().evicted, 2);
}

#[test]
fn nobody_is_asked_about_what_is_no_neighbour() {
    let mut lab = Lab::new();
    for addr in [
        "192.0.2.1",
        "192.0.2.0",
        "192.0.2.255",
        "255.255.255.255",
        "224.0.0.1",
        "0.0.0.0",
        "127.0.0.1",
        "203.0.113.1",
        "2001:db8::1",
        "fe80::1",
        "ff02::1",
        "::",
        "::1",
        "2001:db9::1",
    ] {
        let acts = lab.resolve(0, addr, Some(frame(1)));
        assert_eq!(
            (given_up(&acts), acts.len()),
            (vec![(1, Reason::Unresolved)], 1),
            "{addr}"
        );
    }
    // Both ends of a /31 are hosts (RFC 3021), and a route's next hop may be off the subnet.
    let acts = lab.resolve(0, "198.51.100.1", None);
    assert_eq!(arps(&acts)[0].0.sender, v4("198.51.100.0"));
    let acts = lab.want(0, "203.0.113.1");
    assert_eq!(arps(&acts)[0].0.sender, v4("192.0.2.1"));
    assert_eq!(
        resolved(&lab.arp_reply(1, "203.0.113.1", PEER)),
        Some((PEER, vec![]))
    );
    // An interface that is not up.
    lab.n
        .resolve(lab.at(0), IfaceId(9), ip(A), Some(frame(2)), &mut lab.out);
    assert_eq!(given_up(&lab.take()), [(2, Reason::InterfaceDown)]);
}

#[test]
fn static_neighbours_stay() {
    let mut lab = Lab::new();
    lab.resolve(0, A, Some(frame(1)));
    lab.n.add_static(lab.at(1), IF, ip(A), PEER, &mut lab.out);
    assert_eq!(resolved(&lab.take()), Some((PEER, vec![1])));
    assert_eq!(lab.arp_reply(2, A, OTHER), []);
    assert_eq!(
        (lab.n.lookup(IF, ip(A)), lab.n.stats().refused_changes),
        (Some(PEER), 1)
    );
    assert_eq!(
        (lab.tick(1_000_000), lab.state(A)),
        (vec![], Some(State::Permanent))
    );
    assert!(!lab.n.flush(lab.at(3), IF, ip(A), &mut lab.out));
    // Down and up again: still there.
    lab.n.interface_down(IF, &mut lab.out);
    assert_eq!(
        lab.take(),
        [Act::Lost {
            iface: IF,
            addr: ip(A)
        }]
    );
    assert_eq!(resolved(&lab.up(1_000_001, &cfg())), Some((PEER, vec![])));
    // No longer configured, but a route wants it: asked for.
    lab.want(1_000_002, A);
    assert!(lab.n.del_static(lab.at(1_000_003), IF, ip(A), &mut lab.out));
    let acts = lab.take();
    assert_eq!(
        (&acts[0], arps(&acts).len()),
        (
            &Act::Lost {
                iface: IF,
                addr: ip(A)
            },
            1
        )
    );
    assert!(!lab.n.del_static(lab.at(1_000_004), IF, ip(A), &mut lab.out));
}

#[test]
fn flush_forgets_what_was_learned() {
    let mut lab = Lab::with_neighbour(A);
    assert!(lab.n.flush(lab.at(1), IF, ip(A), &mut lab.out));
    assert_eq!(
        lab.take(),
        [Act::Lost {
            iface: IF,
            addr: ip(A)
        }]
    );
    assert!(!lab.n.flush(lab.at(1), IF, ip(A), &mut lab.out));
    lab.want(2, A);
    lab.arp_reply(3, A, PEER);
    assert!(lab.n.flush(lab.at(4), IF, ip(A), &mut lab.out));
    assert_eq!(arps(&lab.take()).len(), 1);
}

#[test]
fn an_interface_that_goes_takes_its_neighbours_along() {
    let mut lab = Lab::with_neighbour(A);
    lab.resolve(1, "192.0.2.8", Some(frame(8)));
    lab.want(2, "192.0.2.9");
    lab.n.interface_down(IF, &mut lab.out);
    let acts = lab.take();
    assert_eq!(given_up(&acts), [(8, Reason::InterfaceDown)]);
    assert!(acts.contains(&Act::Lost {
        iface: IF,
        addr: ip(A)
    }));
    assert_eq!((lab.n.entries().count(), lab.n.poll_at()), (0, None));
    // Wanted neighbours are asked for when it comes back; others are not.
    let acts = lab.up(10, &cfg());
    let asked: Vec<_> = arps(&acts)
        .into_iter()
        .filter(|a| !a.0.is_gratuitous() && !a.0.is_probe())
        .collect();
    assert_eq!(
        asked.iter().map(|a| a.0.target).collect::<Vec<_>>(),
        [v4("192.0.2.9")]
    );
}

#[test]
fn a_subnet_that_goes_takes_its_neighbours_along() {
    let mut lab = Lab::with_neighbour(A);
    lab.resolve(0, "198.51.100.1", Some(frame(1)));
    let acts = lab.up(
        1,
        &IfaceCfg {
            v4: vec![(v4("192.0.2.1"), 24)],
            ..cfg()
        },
    );
    assert_eq!(given_up(&acts), [(1, Reason::Unresolved)]);
    assert_eq!((acts.len(), lab.state(A)), (1, Some(State::Reachable)));
    // A neighbour's address becomes ours.
    let acts = lab.up(
        2,
        &IfaceCfg {
            v4: vec![(v4(A), 24)],
            ..cfg()
        },
    );
    assert!(acts.contains(&Act::Lost {
        iface: IF,
        addr: ip(A)
    }));
}

#[test]
fn an_address_that_flaps_is_held() {
    let mut lab = Lab::with_neighbour(A);
    let says = |mac| Arp::announcement(mac, v4(A));
    assert_eq!(
        resolved(&lab.arp(10, says(OTHER), MacAddr::BROADCAST)),
        Some((OTHER, vec![]))
    );
    let soon = 10 + CHANGE_INTERVAL.as_millis() as u64;
    assert_eq!(lab.arp(soon - 1, says(PEER), MacAddr::BROADCAST), []);
    assert_eq!(lab.n.stats().refused_changes, 1);
    assert_eq!(
        resolved(&lab.arp(soon, says(PEER), MacAddr::BROADCAST)),
        Some((PEER, vec![]))
    );
}

#[test]
fn a_tick_is_bounded() {
    let mut lab = Lab::with(Params {
        new_per_second: 1000,
        ..Params::default()
    });
    let wide = IfaceCfg {
        v4: vec![(v4("10.0.0.1"), 8)],
        ..cfg()
    };
    lab.up(0, &wide);
    lab.tick(1000);
    lab.tick(2000);
    lab.tick(3000);
    for i in 0..600 {
        lab.resolve(4000, &Ipv4Addr::from(0x0a01_0000 + i).to_string(), None);
    }
    assert_eq!(lab.tick(5000).len(), TICK_BUDGET);
    assert!(lab.n.poll_at().unwrap() <= lab.at(5000));
    assert_eq!(
        lab.tick(5000).len() + lab.tick(5000).len(),
        600 - TICK_BUDGET
    );
    assert_eq!(lab.n.poll_at(), Some(lab.at(6000)));
}
