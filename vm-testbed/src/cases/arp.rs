//! ARP: answering, resolving with frames held meanwhile, giving up, learning. Read RFC 826, 1122 2.3.2, 5227, 1812 3.3.2.

use crate::frame::{ARP, BROADCAST, Ip4, Mac, REPLY, REQUEST, arp, eth};
use crate::lab::wait::secs;

use super::answers::ErrorOf;
use super::{Case, Group, case, host, known_hosts, ports, router, soon, to_host};

/// The table. Times are short, so that giving up takes under a second.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "arp",
        ports: 2,
        config: |flavor| {
            ports(flavor, 2, |_| "").section(
                "[neighbor]\nreachable-time = 30\nretransmit-time = 0.5\nmax-probes = 3\nqueue = 4",
            )
        },
        prepare: || known_hosts(1, &[2]),
        cases,
    }
}

fn ask(sha: Mac, spa: &str, tpa: &str) -> Vec<u8> {
    eth(BROADCAST, sha, ARP, &arp(REQUEST, sha, spa, [0; 6], tpa))
}

fn answer(to: Mac, tpa: &str, from: Mac, spa: &str) -> Vec<u8> {
    eth(to, from, ARP, &arp(REPLY, from, spa, to, tpa))
}

/// The request that the router broadcasts for a host at port 2.
fn looks_for(c: Case, tpa: &str) -> Case {
    c.out(2, ask(router(2), "10.0.2.1", tpa))
}

fn cases() -> Vec<Case> {
    let h = host(1, 7);
    let mut all = vec![
        case("answers for its address")
            .send(1, ask(h, "10.0.1.7", "10.0.1.1"))
            .out(1, answer(h, "10.0.1.7", router(1), "10.0.1.1"))
            .strict(),
        case("does not answer for another host")
            .send(1, ask(h, "10.0.1.7", "10.0.1.9"))
            .patience(soon()),
        case("does not answer for its address on another link")
            .send(1, ask(h, "10.0.1.7", "10.0.2.1")),
        case("answers a probe, which claims nothing (RFC 5227)")
            .send(1, ask(h, "0.0.0.0", "10.0.1.1"))
            .out(1, answer(h, "0.0.0.0", router(1), "10.0.1.1")),
        case("a broken hardware type")
            .send(1, broken(0, 9))
            .dropped("p1", "bad_arp"),
        case("a broken protocol type")
            .send(1, broken(2, 9))
            .dropped("p1", "bad_arp"),
        case("a broken hardware length")
            .send(1, broken(4, 9))
            .dropped("p1", "bad_arp"),
        case("a broken protocol length")
            .send(1, broken(5, 9))
            .dropped("p1", "bad_arp"),
    ];
    all.extend(resolving());
    all
}

/// A request with one byte wrong.
fn broken(at: usize, value: u8) -> Vec<u8> {
    let mut f = ask(host(1, 7), "10.0.1.7", "10.0.1.1");
    f[14 + at] = value;
    f
}

fn resolving() -> Vec<Case> {
    let to = |dst: &str, id: u16| Ip4::udp("10.0.1.2", dst, 20).with(|p| p.id = id);
    let sent = |dst: &str, id: u16| to(dst, id).bytes();
    let got = |dst: &str, id: u16| to(dst, id).ttl(63).bytes();
    // Three packets wait for an unknown host; two requests go out for it at most. Its answer releases them in order.
    let first = looks_for(case("an unknown host is looked for"), "10.0.2.20")
        .packet(1, &sent("10.0.2.20", 1))
        .packet(1, &sent("10.0.2.20", 2));
    let held = [1, 2].iter().fold(
        case("its answer releases what was held")
            .send(2, answer(router(2), "10.0.2.1", host(2, 20), "10.0.2.20")),
        |c, id| c.out(2, to_host(2, 20, &got("10.0.2.20", *id))),
    );
    let then = case("then it is known")
        .packet(1, &sent("10.0.2.20", 3))
        .out(2, to_host(2, 20, &got("10.0.2.20", 3)))
        .strict();
    let moved = case("a gratuitous ARP moves it")
        .send(2, ask(host(2, 21), "10.0.2.20", "10.0.2.20"))
        .packet(1, &sent("10.0.2.20", 4));
    let after = case("and frames follow")
        .packet(1, &sent("10.0.2.20", 5))
        .out(2, to_host(2, 21, &got("10.0.2.20", 5)));
    vec![
        first,
        held,
        then,
        moved.like(2, "to the old or the new address", |f| {
            super::want(f[12..14] == [8, 0], "no IPv4")
        }),
        after,
        full(),
        silent(),
    ]
}

/// Seven packets for a host that does not answer: four fit into the queue, so three are pushed out of it; nobody is told of
/// those. The others wait until the host is given up.
fn full() -> Case {
    let mut c = looks_for(
        case("the queue for an unknown host is bounded"),
        "10.0.2.30",
    );
    for _ in 0..2 {
        c = looks_for(c, "10.0.2.30");
    }
    for id in 0..7 {
        let p = Ip4::udp("10.0.1.2", "10.0.2.30", 20).with(|p| p.id = id);
        c = c.packet(1, &p.bytes());
        if id >= 3 {
            let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 1, &p.bytes());
            c = c.like(1, &format!("host unreachable, of packet {id}"), e.at(1));
        }
    }
    c.drops("p2", "queue_full", 3)
        .drops("p2", "unresolved", 4)
        .patience(secs(3))
}

/// A host that never answers: asked for three times, then the sender is told, of the packet as it came (RFC 1812 4.3.2.3).
fn silent() -> Case {
    let p = Ip4::udp("10.0.1.2", "10.0.2.31", 20).bytes();
    let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 1, &p);
    let mut c = case("a host that does not answer is unreachable").packet(1, &p);
    for _ in 0..3 {
        c = looks_for(c, "10.0.2.31");
    }
    c.like(1, "host unreachable", e.at(1))
        .dropped("p2", "unresolved")
        .patience(secs(3))
}
