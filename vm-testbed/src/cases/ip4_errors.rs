//! IPv4: TTL expiry, MTU and fragmentation, and when no ICMP error may be sent. Read RFC 791 3.2, 1812 4.3.2, 1191, 1122 3.2.2.

use crate::frame::{BROADCAST, IPV4, Ip4, eth};
use crate::lab::{Config, Flavor};

use super::answers::ErrorOf;
use super::ip4::ConcatAll;
use super::{Case, Group, case, host, known_hosts, ports, to_host, to_router};

/// The MTU of port 3.
const SMALL: usize = 1000;

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "ip4-errors",
        ports: 3,
        config,
        prepare: || {
            let mut lines = known_hosts(3, &[2]);
            lines.retain(|l| !l.contains("2001:db8:3:"));
            lines.push("route add 203.0.113.0/24 via 10.0.3.2".to_owned());
            lines.push("route add 198.51.100.0/24 via 10.0.2.2".to_owned());
            lines
        },
        cases: || [expiry(), too_big(), fragments(), silence()].concat_all(),
    }
}

/// Port 3 has an MTU that IPv6 would not allow.
fn config(flavor: &Flavor) -> Config {
    ports(flavor, 2, |_| "").interface("p3", "e3", &["10.0.3.1/24"], "mtu = 1000")
}

/// The table for a router that may send ten errors a second.
#[must_use]
pub fn limited() -> Group {
    Group {
        name: "icmp-rate",
        ports: 2,
        config: |flavor| {
            let mut c = flavor.config("dut").dataplane("icmp-rate = 10");
            for p in 1..=2 {
                let a = [format!("10.0.{p}.1/24"), format!("2001:db8:{p}::1/64")];
                c = c.interface(&format!("p{p}"), &format!("e{p}"), &[&a[0], &a[1]], "");
            }
            c
        },
        prepare: || known_hosts(2, &[2]),
        cases: || vec![burst()],
    }
}

/// A hundred packets expire at once; a bucket of ten lets ten errors out, all drops are counted.
fn burst() -> Case {
    let p = Ip4::udp("10.0.1.2", "10.0.2.2", 40).ttl(1).bytes();
    let mut c = case("a burst of 100 expiries is answered 10 times");
    for _ in 0..100 {
        c = c.packet(1, &p);
    }
    for _ in 0..10 {
        c = c.like(
            1,
            "time exceeded",
            ErrorOf::new("10.0.1.1", "10.0.1.2", 11, 0, &p).at(1),
        );
    }
    c.drops("p1", "ttl_expired", 100)
}

fn expired(name: &str, p: &Ip4) -> Case {
    let p = p.bytes();
    let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 11, 0, &p).rest([0; 4]);
    case(name)
        .packet(1, &p)
        .like(1, "time exceeded", e.at(1))
        .dropped("p1", "ttl_expired")
}

fn expiry() -> Vec<Case> {
    let udp = |len| Ip4::udp("10.0.1.2", "198.51.100.9", len).ttl(1);
    let far = Ip4::udp("198.51.100.9", "10.0.1.2", 40).ttl(1).bytes();
    let back = ErrorOf::new("10.0.2.1", "198.51.100.9", 11, 0, &far);
    vec![
        expired("TTL 1 expires", &udp(40)),
        expired("TTL 0 expires", &udp(40).ttl(0)),
        expired("a long packet is quoted up to 576 bytes", &udp(1400)),
        expired(
            "an empty packet is quoted whole",
            &Ip4::new("10.0.1.2", "198.51.100.9", 253, vec![]).ttl(1),
        ),
        expired(
            "an echo request is answered",
            &Ip4::echo("10.0.1.2", "198.51.100.9", 7, 7).ttl(1),
        ),
        expired(
            "a first fragment is answered",
            &udp(40).with(|p| (p.df, p.mf) = (false, true)),
        ),
        expired(
            "options are quoted",
            &udp(40).with(|p| p.options = vec![1, 1, 1, 0]),
        ),
        case("the error goes back the way to a far sender")
            .packet(2, &far)
            .like(2, "time exceeded", back.at(2))
            .dropped("p2", "ttl_expired"),
    ]
}

fn too_big() -> Vec<Case> {
    let p = |len: usize| Ip4::udp("10.0.1.2", "203.0.113.9", len - 28);
    let tells = |name: &str, len: usize| {
        let p = p(len).bytes();
        let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 4, &p).rest([0, 0, 0x03, 0xe8]);
        case(name)
            .packet(1, &p)
            .like(1, "fragmentation needed, MTU 1000", e.at(1))
            .dropped("p1", "frag_needed")
    };
    vec![
        case("exactly the MTU passes")
            .packet(1, &p(SMALL).bytes())
            .forwarded(3, &p(SMALL).ttl(63).bytes()),
        tells("one byte more is told the MTU", SMALL + 1),
        tells("a full frame is told the MTU", 1500),
        expired("expiry comes before the MTU", &p(1500).ttl(1)),
    ]
}

/// The fragments that RFC 791 makes of `p` for [`SMALL`], with one hop less. `copied` is what remains of the options.
fn cut(p: &Ip4, copied: &[u8]) -> Vec<Ip4> {
    let mut out = vec![];
    let (mut at, last) = (0, p.payload.len());
    while at < last {
        let options = if at == 0 {
            p.options.clone()
        } else {
            copied.to_vec()
        };
        let room = (SMALL - 20 - options.len()) / 8 * 8;
        let end = (at + room).min(last);
        let f = p.clone().with(|f| {
            f.ttl -= 1;
            f.options = options;
            f.offset = p.offset + at;
            f.mf = p.mf || end < last;
            f.payload = p.payload[at..end].to_vec();
        });
        out.push(f);
        at = end;
    }
    out
}

fn fragmented(name: &str, p: &Ip4, copied: &[u8]) -> Case {
    let c = case(name).packet(1, &p.bytes());
    cut(p, copied)
        .iter()
        .fold(c, |c, f| c.forwarded(3, &f.bytes()))
}

fn fragments() -> Vec<Case> {
    let p = |len: usize| Ip4::udp("10.0.1.2", "203.0.113.9", len - 28).with(|p| p.df = false);
    let middle = p(1404).with(|p| (p.mf, p.offset) = (true, 2960));
    let end = p(1403).with(|p| p.offset = 2960);
    // A security option (copied, RFC 791 3.1) between two that are not.
    let options = vec![7, 3, 4, 130, 3, 9, 1, 0];
    let with = p(1400).with(|p| p.options = options);
    vec![
        case("the MTU exactly is not cut")
            .packet(1, &p(SMALL).bytes())
            .forwarded(3, &p(SMALL).ttl(63).bytes()),
        fragmented("one byte more makes two", &p(SMALL + 1), &[]),
        fragmented("a full frame makes two", &p(1500), &[]),
        fragmented("a fragment in the middle stays in the middle", &middle, &[]),
        fragmented("the last fragment keeps its end", &end, &[]),
        fragmented(
            "only copied options go into later fragments",
            &with,
            &[130, 3, 9, 0],
        ),
    ]
}

/// A packet whose TTL runs out and that must not be answered.
fn unanswered(name: &str, frame: Vec<u8>) -> Case {
    case(name).send(1, frame).dropped("p1", "ttl_expired")
}

fn silence() -> Vec<Case> {
    let udp = Ip4::udp("10.0.1.2", "198.51.100.9", 40).ttl(1);
    let quoted = Ip4::udp("198.51.100.9", "10.0.1.2", 8).bytes();
    let about = |ty: u8| Ip4::icmp("10.0.1.2", "198.51.100.9", ty, 0, [0; 4], &quoted).ttl(1);
    let later = udp.clone().with(|p| (p.df, p.offset) = (false, 1480));
    let mut all: Vec<Case> = [
        (3, "unreachable"),
        (4, "source quench"),
        (5, "redirect"),
        (11, "time exceeded"),
        (12, "parameter problem"),
    ]
    .iter()
    .map(|(ty, name)| {
        unanswered(
            &format!("no error about an error: {name}"),
            to_router(1, &about(*ty).bytes()),
        )
    })
    .collect();
    all.push(unanswered(
        "no error about a later fragment",
        to_router(1, &later.bytes()),
    ));
    all.push(
        case("no error about a link broadcast")
            .send(1, eth(BROADCAST, host(1, 2), IPV4, &udp.bytes()))
            .dropped("p1", "link_broadcast"),
    );
    all.push(
        case("no error about multicast")
            .send(
                1,
                eth(
                    [1, 0, 0x5e, 1, 1, 1],
                    host(1, 2),
                    IPV4,
                    &Ip4::udp("10.0.1.2", "239.1.1.1", 4).ttl(1).bytes(),
                ),
            )
            .dropped("p1", "multicast"),
    );
    all.push(
        case("an error itself is forwarded")
            .packet(1, &about(3).ttl(9).bytes())
            .out(2, to_host(2, 2, &about(3).ttl(8).bytes())),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_as_rfc_791_does() {
        let p = Ip4::udp("10.0.1.2", "203.0.113.9", 1472).with(|p| p.df = false);
        let f = cut(&p, &[]);
        let sizes: Vec<_> = f
            .iter()
            .map(|f| (f.offset, f.payload.len(), f.mf))
            .collect();
        assert_eq!(sizes, [(0, 976, true), (976, 504, false)]);
    }
}
