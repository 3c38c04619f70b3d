//! Received ARP.

use super::*;

const A: &str = "192.0.2.7";

#[test]
fn answers_for_its_addresses_and_learns_who_asked() {
    let mut lab = Lab::new();
    let ask = Arp::request(PEER, v4(A), v4("192.0.2.1"));
    let acts = lab.arp(0, ask, MacAddr::BROADCAST);
    assert_eq!(arps(&acts), [(ask.reply(US, v4("192.0.2.1")), PEER)]);
    assert_eq!(resolved(&acts), Some((PEER, vec![])));
    assert_eq!(lab.state(A), Some(State::Stale));
    // For the other address, from the other subnet.
    let acts = lab.arp(
        0,
        Arp::request(PEER, v4("198.51.100.1"), v4("198.51.100.0")),
        MacAddr::BROADCAST,
    );
    assert_eq!(arps(&acts)[0].0.sender, v4("198.51.100.0"));
    // Nobody else's.
    assert_eq!(
        lab.arp(
            0,
            Arp::request(PEER, v4(A), v4("192.0.2.2")),
            MacAddr::BROADCAST
        ),
        []
    );
}

#[test]
fn a_question_to_others_updates_but_does_not_create() {
    let mut lab = Lab::new();
    let other = Arp::request(PEER, v4(A), v4("192.0.2.2"));
    assert_eq!(
        (lab.arp(0, other, MacAddr::BROADCAST), lab.state(A)),
        (vec![], None)
    );
    lab.resolve(0, A, Some(frame(1)));
    assert_eq!(
        resolved(&lab.arp(1, other, MacAddr::BROADCAST)),
        Some((PEER, vec![1]))
    );
    assert_eq!(lab.state(A), Some(State::Stale));
}

#[test]
fn gratuitous_arp_updates_existing_entries_only() {
    let mut lab = Lab::with_neighbour(A);
    let acts = lab.arp(500, Arp::announcement(OTHER, v4(A)), MacAddr::BROADCAST);
    assert_eq!((resolved(&acts), acts.len()), (Some((OTHER, vec![])), 1));
    assert_eq!(lab.state(A), Some(State::Stale));
    // As a reply, too; and the same address again changes nothing.
    let reply = Arp {
        op: net::arp::Op::Reply,
        ..Arp::announcement(PEER, v4(A))
    };
    assert_eq!(
        resolved(&lab.arp(1000, reply, MacAddr::BROADCAST)),
        Some((PEER, vec![]))
    );
    assert_eq!(lab.arp(2000, reply, MacAddr::BROADCAST), []);
    assert_eq!(
        lab.arp(
            2000,
            Arp::announcement(PEER, v4("192.0.2.99")),
            MacAddr::BROADCAST
        ),
        []
    );
    assert_eq!(lab.state("192.0.2.99"), None);
}

#[test]
fn a_failed_neighbour_that_speaks_up_is_back() {
    let mut lab = Lab::new();
    lab.want(0, A);
    (1..=3).for_each(|s| drop(lab.tick(s * 1000)));
    assert_eq!(lab.state(A), Some(State::Failed));
    let acts = lab.arp(3500, Arp::announcement(PEER, v4(A)), MacAddr::BROADCAST);
    assert_eq!(resolved(&acts), Some((PEER, vec![])));
}

#[test]
fn senders_off_the_link_are_ignored() {
    let mut lab = Lab::new();
    for sender in [
        "203.0.113.9",
        "192.0.2.0",
        "192.0.2.255",
        "224.0.0.1",
        "255.255.255.255",
        "127.0.0.1",
    ] {
        let acts = lab.arp(
            0,
            Arp::request(PEER, v4(sender), v4("192.0.2.1")),
            MacAddr::BROADCAST,
        );
        assert_eq!((acts, lab.state(sender)), (vec![], None), "{sender}");
    }
    assert_eq!(lab.n.stats().off_link, 6);
    assert_eq!(lab.n.entries().count(), 0);
}

#[test]
fn frames_that_are_not_for_us_or_broken_are_ignored() {
    let mut lab = Lab::new();
    let ask = Arp::request(PEER, v4(A), v4("192.0.2.1"));
    assert_eq!(lab.arp(0, ask, OTHER), []);
    assert_eq!(
        lab.arp(
            0,
            Arp::request(US, v4(A), v4("192.0.2.1")),
            MacAddr::BROADCAST
        ),
        []
    );
    let good = ask.frame(MacAddr::BROADCAST);
    for n in 0..good.len() {
        lab.n.arp_rx(lab.at(0), IF, &good[..n], &mut lab.out);
    }
    let mut tagged = good;
    tagged[12] = 0x81;
    lab.n.arp_rx(lab.at(0), IF, &tagged, &mut lab.out);
    lab.n.arp_rx(lab.at(0), IfaceId(9), &good, &mut lab.out);
    assert_eq!(lab.take(), []);
    let s = lab.n.stats();
    assert_eq!(
        (s.not_for_us, s.looped, s.malformed),
        (2, 1, good.len() as u64 + 1)
    );
    // Padded to the least frame, as switches do it.
    lab.n
        .arp_rx(lab.at(0), IF, &[&good[..], &[0; 18]].concat(), &mut lab.out);
    assert_eq!(arps(&lab.take()).len(), 1);
}

#[test]
fn only_an_answer_to_us_confirms() {
    let mut lab = Lab::with_neighbour(A);
    let before = lab.entry(A).unwrap().confirmed;
    let to_other = Arp::request(OTHER, v4("192.0.2.3"), v4(A)).reply(PEER, v4(A));
    lab.arp(5000, to_other, US);
    lab.arp(5000, Arp::request(PEER, v4(A), v4("192.0.2.1")), US);
    // A reply to everybody is no answer, either.
    let reply = Arp::request(US, v4("192.0.2.1"), v4(A)).reply(PEER, v4(A));
    lab.arp(5000, reply, MacAddr::BROADCAST);
    assert_eq!(lab.entry(A).unwrap().confirmed, before);
    lab.arp_reply(6000, A, PEER);
    assert_eq!(lab.entry(A).unwrap().confirmed, Some(lab.at(6000)));
}
