//! Frames made to hurt: cut at every byte, with lengths that lie, stacks without bottom, and thousands that chance changed.
//! Nothing malformed may come out, nothing may stop, and at the end the counters add up: each was dropped under some name.

use crate::frame::{
    ARP, BROADCAST, IPV4, IPV6, Ip4, Ip6, Lse, MPLS, REQUEST, arp, eth, labelled, solicit, tagged,
};
use crate::lab::{Config, Flavor};

use super::{Case, Group, case, host, known_hosts, mpls, ports, router, to_router};

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "hostile",
        ports: 2,
        config,
        prepare: || {
            let mut lines = known_hosts(2, &[2]);
            lines.extend(mpls::tables());
            lines
        },
        cases,
    }
}

fn config(flavor: &Flavor) -> Config {
    ports(flavor, 2, |_| "mpls = true").interface_on(
        "p1.100",
        "",
        &["10.1.100.1/24"],
        "mpls = true",
    )
}

/// Frames that are right, one of every kind: the stuff to break.
fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let h = host(1, 2);
    let v4 = Ip4::udp("10.0.1.2", "198.51.104.9", 60);
    let v6 = Ip6::udp("2001:db8:1::2", "2001:db8:104::9", 60);
    let l = Lse::new;
    let on_mpls = |labels: &[Lse], p: &[u8]| eth(router(1), h, MPLS, &labelled(labels, p));
    let with_options = v4
        .clone()
        .with(|p| p.options = vec![148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0]);
    let extended = v6
        .clone()
        .extension(60, &[0, 1, 4, 0, 0, 0, 0])
        .extension(0, &[0, 5, 2, 0, 0, 1, 0]);
    vec![
        ("IPv4", to_router(1, &v4.bytes())),
        ("IPv4 with options", to_router(1, &with_options.bytes())),
        (
            "IPv4 about to expire",
            to_router(1, &v4.clone().ttl(1).bytes()),
        ),
        (
            "a ping",
            to_router(1, &Ip4::echo("10.0.1.2", "10.0.1.1", 1, 1).bytes()),
        ),
        ("IPv6", to_router(1, &v6.bytes())),
        (
            "IPv6 with extension headers",
            to_router(1, &extended.bytes()),
        ),
        (
            "an IPv6 ping",
            to_router(
                1,
                &Ip6::echo("2001:db8:1::2", "2001:db8:1::1", 1, 1).bytes(),
            ),
        ),
        (
            "a solicitation",
            solicit(h, "2001:db8:1::2", "2001:db8:1::1"),
        ),
        (
            "ARP",
            eth(
                BROADCAST,
                h,
                ARP,
                &arp(REQUEST, h, "10.0.1.2", [0; 6], "10.0.1.1"),
            ),
        ),
        ("one label", on_mpls(&[l(300)], &v4.bytes())),
        (
            "three labels",
            on_mpls(&[l(304), l(307), l(301)], &v4.bytes()),
        ),
        (
            "labels about to expire",
            on_mpls(&[l(304), l(300).ttl(1)], &v6.bytes()),
        ),
        (
            "an entropy label",
            on_mpls(&[l(300), l(7), l(99)], &v6.bytes()),
        ),
        ("tagged IPv4", tagged(&to_router(1, &v4.bytes()), 100)),
        (
            "tagged labels",
            tagged(&on_mpls(&[l(304), l(0)], &v4.bytes()), 100),
        ),
    ]
}

fn cases() -> Vec<Case> {
    let mut all = vec![];
    for (name, seed) in seeds() {
        let c = (14..seed.len()).fold(case(&format!("{name}, cut at every byte")), |c, n| {
            c.send(1, seed[..n].to_vec())
        });
        all.push(c.any_drops().loosely());
    }
    for (name, seed) in seeds() {
        all.push(lengths(name, &seed));
    }
    all.extend(stacks());
    for (i, (name, seed)) in seeds().into_iter().enumerate() {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ i as u64);
        let c = (0..200).fold(case(&format!("{name}, changed by chance")), |c, _| {
            c.send(1, dice.mutate(&seed))
        });
        all.push(c.any_drops().loosely());
    }
    all
}

/// Every byte of the first 64 after the MAC addresses set to 0, 1, 0x7f, 0x80 and 0xff.
fn lengths(name: &str, seed: &[u8]) -> Case {
    let mut c = case(&format!("{name}, every byte at its limits"));
    for at in 12..seed.len().min(76) {
        for v in [0, 1, 0x7f, 0x80, 0xff] {
            let mut f = seed.to_vec();
            f[at] = v;
            c = c.send(1, f);
        }
    }
    c.any_drops().loosely()
}

fn stacks() -> Vec<Case> {
    let top = |label: u32| Lse::new(label).bytes(false);
    let endless = |label: u32, n: usize| eth(router(1), host(1, 2), MPLS, &top(label).repeat(n));
    vec![
        case("370 popped labels without a bottom")
            .send(1, endless(304, 370))
            .any_drops(),
        case("370 explicit nulls without a bottom")
            .send(1, endless(0, 370))
            .any_drops(),
        case("370 entropy indicators without a bottom")
            .send(1, endless(7, 370))
            .any_drops(),
        case("370 router alerts without a bottom")
            .send(1, endless(1, 370))
            .any_drops(),
        case("370 swapped labels without a bottom")
            .send(1, endless(300, 370))
            .any_drops()
            .loosely(),
        case("IPv6 with two hundred extension headers")
            .send(1, eth(router(1), host(1, 2), IPV6, &extensions(150)))
            .any_drops()
            .loosely(),
        case("IPv4 that claims to be all")
            .send(1, eth(router(1), host(1, 2), IPV4, &[0xff; 1500]))
            .dropped("p1", "ip4_bad_checksum")
            .any_drops(),
    ]
}

fn extensions(n: usize) -> Vec<u8> {
    let p = Ip6::udp("2001:db8:1::2", "2001:db8:104::9", 4);
    (0..n)
        .fold(p, |p, _| p.extension(60, &[0, 1, 4, 0, 0, 0, 0]))
        .bytes()
}

/// A small generator of chance (xorshift64), seeded, so that a failure comes again.
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.roll() % n as u64) as usize
    }

    /// The frame with one to four changes: a byte, a bit, a cut, a repetition.
    pub fn mutate(&mut self, frame: &[u8]) -> Vec<u8> {
        let mut f = frame.to_vec();
        for _ in 0..=self.below(4) {
            let at = 12 + self.below(f.len() - 12);
            match self.below(6) {
                0 => f[at] = self.roll() as u8,
                1 => f[at] ^= 1 << self.below(8),
                2 => f[at] = [0, 1, 0x45, 0x60, 0x7f, 0x80, 0xff][self.below(7)],
                3 => f.truncate(at.max(15)),
                4 => {
                    let n = self.below(40).min(f.len() - at);
                    let piece = f[at..at + n].to_vec();
                    f.splice(at..at, piece);
                }
                _ => {
                    let n = self.below(8).min(f.len() - at);
                    f.drain(at..at + n);
                    f.resize(f.len().max(15), 0);
                }
            }
        }
        f
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_repeatable_and_stays_sendable() {
        let (_, seed) = seeds().remove(0);
        let (mut a, mut b) = (Dice(7), Dice(7));
        for _ in 0..500 {
            let f = a.mutate(&seed);
            assert_eq!(f, b.mutate(&seed));
            assert!(f.len() >= 14 && f.len() < 1500);
        }
    }
}
