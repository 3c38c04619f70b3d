//! IPv4: validation in the order of RFC 1812 5.2.2, addresses (5.3.4 to 5.3.7), options, TTL, routes that discard,
//! what is for the router itself. The errors it answers with are in `ip4_errors`.

use crate::frame::{BROADCAST, IPV4, Ip4, eth};
use crate::lab::{Config, Flavor};

use super::answers::{ErrorOf, echo_reply4};
use super::{Case, Group, case, host, known_hosts, ports, soon, to_router};

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "ip4",
        ports: 3,
        config,
        prepare: || {
            let mut lines = known_hosts(3, &[2]);
            lines.extend([
                "route add 198.51.100.0/24 via 10.0.2.2".to_owned(),
                "route add 198.51.100.128/25 via 10.0.3.2".to_owned(),
                "route add 198.51.100.200/32 via 10.0.2.2".to_owned(),
                "route add blackhole 203.0.113.0/26".to_owned(),
                "route add unreachable 203.0.113.64/26".to_owned(),
                "route add prohibit 203.0.113.128/26".to_owned(),
            ]);
            lines
        },
        cases: || {
            [
                forwarding(),
                malformed(),
                martians(),
                broadcasts(),
                options(),
                local(),
                discards(),
            ]
            .concat_all()
        },
    }
}

/// Concatenates tables; cases can't be cloned.
pub(super) trait ConcatAll {
    /// All of them in one.
    fn concat_all(self) -> Vec<Case>;
}

impl<const N: usize> ConcatAll for [Vec<Case>; N] {
    fn concat_all(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
    }
}

fn config(flavor: &Flavor) -> Config {
    ports(flavor, 3, |_| "")
}

fn udp(dst: &str) -> Ip4 {
    Ip4::udp("10.0.1.2", dst, 40)
}

/// Goes in at port 1 and comes out at `port` with one hop less.
fn passes(name: &str, port: usize, p: &Ip4) -> Case {
    let out = p.clone().with(|p| p.ttl -= 1);
    case(name)
        .packet(1, &p.bytes())
        .forwarded(port, &out.bytes())
}

fn forwarding() -> Vec<Case> {
    vec![
        passes("to a connected host", 2, &udp("10.0.2.2")),
        passes("by a route", 2, &udp("198.51.100.9")),
        passes("the longer prefix wins", 3, &udp("198.51.100.129")),
        passes("a host route wins", 2, &udp("198.51.100.200")),
        passes("TTL 255", 2, &udp("198.51.100.9").ttl(255)),
        passes("TTL 2 is enough", 2, &udp("198.51.100.9").ttl(2)),
        passes(
            "DSCP and ECN are kept",
            2,
            &udp("198.51.100.9").with(|p| p.tos = 0xbb),
        ),
        passes(
            "a fragment is forwarded as it is",
            2,
            &udp("198.51.100.9").with(|p| {
                (p.df, p.mf, p.offset) = (false, true, 1480);
            }),
        ),
        passes(
            "an unknown protocol",
            2,
            &Ip4::new("10.0.1.2", "198.51.100.9", 253, vec![1, 2, 3]),
        ),
        passes(
            "nothing but a header",
            2,
            &Ip4::new("10.0.1.2", "198.51.100.9", 253, vec![]),
        ),
        passes(
            "a checksum that carries when updated",
            2,
            &udp("198.51.100.9").with(|p| {
                // Found by trying: the header sum of the outgoing packet wraps (RFC 1624 3).
                p.id = (0..=u16::MAX)
                    .find(|id| carries(&p.clone().with(|q| q.id = *id)))
                    .unwrap_or(0);
            }),
        ),
    ]
}

/// Whether taking the TTL down turns the checksum field over.
fn carries(p: &Ip4) -> bool {
    let field = |p: &Ip4| {
        let b = p.bytes();
        u16::from_be_bytes([b[10], b[11]])
    };
    field(p) > field(&p.clone().with(|p| p.ttl -= 1))
}

fn refused(name: &str, p: &Ip4, reason: &str) -> Case {
    case(name).packet(1, &p.bytes()).dropped("p1", reason)
}

fn malformed() -> Vec<Case> {
    let p = || udp("198.51.100.9");
    let mut all = vec![
        refused(
            "a wrong checksum",
            &p().with(|p| p.checksum_off_by = 1),
            "ip4_bad_checksum",
        ),
        case("version 5")
            .send(
                1,
                eth(
                    super::router(1),
                    host(1, 2),
                    IPV4,
                    &p().with(|p| p.version = 5).bytes(),
                ),
            )
            .dropped("p1", "ip4_bad_version"),
        case("version 6 under the EtherType of IPv4")
            .send(
                1,
                eth(
                    super::router(1),
                    host(1, 2),
                    IPV4,
                    &p().with(|p| p.version = 6).bytes(),
                ),
            )
            .dropped("p1", "ip4_bad_version"),
        refused(
            "a header of 16 bytes",
            &p().with(|p| p.ihl = Some(4)),
            "ip4_bad_header_length",
        ),
        refused(
            "a header of 0 bytes",
            &p().with(|p| p.ihl = Some(0)),
            "ip4_bad_header_length",
        ),
        refused(
            "a total length beyond the frame",
            &p().with(|p| p.total = Some(2000)),
            "ip4_bad_length",
        ),
        refused(
            "a total length under the header's",
            &p().with(|p| p.total = Some(19)),
            "ip4_bad_length",
        ),
        refused(
            "a total length of 0",
            &p().with(|p| p.total = Some(0)),
            "ip4_bad_length",
        ),
    ];
    let long = p().with(|p| (p.ihl, p.payload) = (Some(15), vec![]));
    all.push(refused(
        "a header beyond the frame",
        &long,
        "ip4_bad_header_length",
    ));
    let whole = to_router(1, &Ip4::new("10.0.1.2", "198.51.100.9", 17, vec![]).bytes());
    let cut = (15..34).fold(case("truncated at every byte of the header"), |c, n| {
        c.send(1, whole[..n].to_vec())
    });
    all.push(cut.drops("p1", "ip4_truncated", 19));
    all
}

fn martians() -> Vec<Case> {
    let mut all = vec![];
    for src in [
        "127.0.0.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.5",
        "240.0.0.1",
        "255.255.255.255",
        "10.0.1.1",
        "10.0.2.1",
        "10.0.2.255",
    ] {
        let p = Ip4::udp(src, "198.51.100.9", 10);
        all.push(refused(&format!("source {src}"), &p, "martian_source"));
    }
    for dst in ["127.0.0.1", "0.0.0.0", "0.1.2.3", "240.0.0.1"] {
        all.push(refused(
            &format!("destination {dst}"),
            &udp(dst),
            "martian_destination",
        ));
    }
    all.push(refused(
        "link-local source",
        &Ip4::udp("169.254.1.1", "198.51.100.9", 10),
        "link_local_scope",
    ));
    all
}

fn broadcasts() -> Vec<Case> {
    let limited = Ip4::udp("10.0.1.2", "255.255.255.255", 10);
    let ours = Ip4::udp("10.0.1.2", "10.0.1.255", 10);
    vec![
        case("a limited broadcast is not forwarded")
            .send(1, eth(BROADCAST, host(1, 2), IPV4, &limited.bytes())),
        case("a DHCP request is not forwarded").send(
            1,
            eth(
                BROADCAST,
                host(1, 2),
                IPV4,
                &Ip4::udp_ports("0.0.0.0", "255.255.255.255", 68, 67, 240).bytes(),
            ),
        ),
        case("a broadcast to the own network is not forwarded")
            .send(1, eth(BROADCAST, host(1, 2), IPV4, &ours.bytes())),
        refused(
            "a directed broadcast is not forwarded",
            &udp("10.0.2.255"),
            "broadcast",
        ),
        refused(
            "a directed broadcast of the old form",
            &udp("10.0.2.0"),
            "broadcast",
        ),
        case("multicast is not routed")
            .send(
                1,
                eth(
                    [1, 0, 0x5e, 1, 1, 1],
                    host(1, 2),
                    IPV4,
                    &udp("239.1.1.1").bytes(),
                ),
            )
            .dropped("p1", "multicast"),
        case("a link-local group stays on its link")
            .send(
                1,
                eth(
                    [1, 0, 0x5e, 0, 0, 5],
                    host(1, 2),
                    IPV4,
                    &udp("224.0.0.5").ttl(1).bytes(),
                ),
            )
            .dropped("p1", "multicast"),
    ]
}

fn options() -> Vec<Case> {
    let with = |o: &[u8]| {
        let mut o = o.to_vec();
        o.resize(o.len().next_multiple_of(4), 0);
        udp("198.51.100.9").with(|p| p.options = o)
    };
    let source_route = [131, 7, 4, 10, 0, 3, 2];
    let strict_route = [137, 7, 4, 10, 0, 3, 2];
    let bad = |name: &str, at: u8, o: &[u8]| {
        let p = with(o).bytes();
        let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 12, 0, &p).rest([at, 0, 0, 0]);
        case(name)
            .packet(1, &p)
            .like(1, "ICMP parameter problem", e.at(1))
            .dropped("p1", "ip4_bad_options")
    };
    vec![
        passes("no-operations", 2, &with(&[1, 1, 1, 0])),
        passes("router alert (RFC 2113)", 2, &with(&[148, 4, 0, 0])),
        passes("an unknown option", 2, &with(&[30, 4, 9, 9])),
        passes("forty bytes of options", 2, &with(&[1; 40])),
        refused("a loose source route", &with(&source_route), "source_route"),
        refused(
            "a strict source route",
            &with(&strict_route),
            "source_route",
        ),
        bad("an option of length 0", 21, &[148, 0, 0, 0]),
        bad("an option of length 1", 22, &[1, 148, 1, 0]),
        bad("an option beyond the header", 21, &[148, 9, 0, 0]),
    ]
}

fn local() -> Vec<Case> {
    let echo = |dst: &str, id| Ip4::echo("10.0.1.2", dst, id, 1);
    let near = echo("10.0.1.1", 1);
    let other = echo("10.0.2.1", 2);
    let far = Ip4::echo("198.51.100.9", "10.0.1.1", 3, 1);
    let last = echo("10.0.1.1", 4).ttl(1);
    let closed = Ip4::udp_ports("10.0.1.2", "10.0.1.1", 4000, 9, 10).bytes();
    let unreachable = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 3, &closed);
    vec![
        case("answers a ping").packet(1, &near.bytes()).like(
            1,
            "echo reply",
            echo_reply4(1, &near),
        ),
        case("answers a ping to its other address")
            .packet(1, &other.bytes())
            .like(1, "echo reply", echo_reply4(1, &other)),
        case("answers a ping from afar")
            .packet(2, &far.bytes())
            .like(2, "echo reply", echo_reply4(2, &far)),
        case("TTL 1 reaches the router itself")
            .packet(1, &last.bytes())
            .like(1, "echo reply", echo_reply4(1, &last)),
        case("a closed UDP port is unreachable")
            .packet(1, &closed)
            .like(1, "port unreachable", unreachable.at(1)),
        case("is not answered twice by the kernel behind the port")
            .packet(1, &echo("10.0.1.1", 5).bytes())
            .like(
                1,
                "exactly one echo reply",
                echo_reply4(1, &echo("10.0.1.1", 5)),
            )
            .patience(soon()),
    ]
}

fn discards() -> Vec<Case> {
    let told = |name: &str, dst: &str, code: u8, reason: &str| {
        let p = udp(dst).bytes();
        let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, code, &p).rest([0; 4]);
        case(name)
            .packet(1, &p)
            .like(1, "ICMP unreachable", e.at(1))
            .dropped("p1", reason)
    };
    vec![
        refused("a blackhole is silent", &udp("203.0.113.1"), "blackhole"),
        told(
            "an unreachable route says so",
            "203.0.113.65",
            1,
            "unreachable",
        ),
        told(
            "a prohibited route says so",
            "203.0.113.129",
            13,
            "prohibited",
        ),
        told("no route: network unreachable", "192.0.2.77", 0, "no_route"),
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_tables_can_be_built_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for g in super::super::groups() {
            for c in (g.cases)() {
                assert!(
                    names.insert(format!("{}/{}", g.name, c.name())),
                    "{}/{} is there twice",
                    g.name,
                    c.name()
                );
            }
        }
        assert!(names.len() > 250, "{}", names.len());
    }
}
