//! Several ways at once: every flow keeps to one, many flows use all, weights count; labelled packets are spread by what lies
//! under the stack, or by the entropy label. Read RFC 2992, 6790, 7325 2.4.5.

use crate::frame::{IPV4, Ip4, Ip6, Lse, MPLS, eth, labelled};

use super::{Case, Group, case, host, known_hosts, ports, router};

/// Flows in a case that spreads; a share may be off by a quarter of its size.
const FLOWS: u16 = 400;

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "ecmp",
        ports: 4,
        config: |flavor| ports(flavor, 4, |_| "mpls = true"),
        prepare: || {
            let mut lines = known_hosts(4, &[2]);
            lines.extend(
                [
                    "route add 198.51.100.0/24 via 10.0.2.2 via 10.0.3.2 via 10.0.4.2",
                    "route add 203.0.113.0/24 via 10.0.2.2 weight 3 via 10.0.3.2 weight 1",
                    "route add 2001:db8:100::/48 via 2001:db8:2::2 via 2001:db8:3::2 via 2001:db8:4::2",
                    "route add 192.0.2.0/25 via 10.0.2.2 label 100 via 10.0.3.2 label 200",
                    "label add 300 swap 400 via 10.0.2.2 via 10.0.3.2 via 10.0.4.2",
                ]
                .map(str::to_owned),
            );
            lines
        },
        cases,
    }
}

fn spread(name: &str, frames: impl Iterator<Item = Vec<u8>>, shares: &[(usize, u16)]) -> Case {
    let c = frames.fold(case(name), |c, f| c.send(1, f));
    c.spread(
        shares
            .iter()
            .map(|&(port, n)| (port, usize::from(n - n / 4)..=usize::from(n + n / 4)))
            .collect(),
    )
}

const THIRDS: [(usize, u16); 3] = [(2, FLOWS / 3), (3, FLOWS / 3), (4, FLOWS / 3)];

fn ip(p: &[u8]) -> Vec<u8> {
    super::to_router(1, p)
}

fn mpls(labels: &[Lse], p: &[u8]) -> Vec<u8> {
    eth(router(1), host(1, 2), MPLS, &labelled(labels, p))
}

fn v4(dst: &str, sport: u16) -> Ip4 {
    Ip4::udp_ports("10.0.1.2", dst, sport, 53, 20)
}

/// As many source ports as there are flows.
fn sports() -> std::ops::Range<u16> {
    1024..1024 + FLOWS
}

/// Frames that must all go the same way.
fn same(name: &str, frames: Vec<Vec<u8>>) -> Case {
    let c = frames.into_iter().fold(case(name), |c, f| c.send(1, f));
    c.together()
}

fn cases() -> Vec<Case> {
    let mut all = packets();
    all.extend(labels());
    all
}

fn packets() -> Vec<Case> {
    let v6 = |sport: u16| Ip6::udp_ports("2001:db8:1::2", "2001:db8:100::9", sport, 53, 20);
    let fragment = |id: u16| {
        v4("198.51.100.9", 7).with(|p| {
            (p.df, p.mf, p.offset, p.id) = (false, id.is_multiple_of(2), usize::from(id) * 8, id)
        })
    };
    vec![
        spread(
            "many IPv4 flows use all ways",
            sports().map(|s| ip(&v4("198.51.100.9", s).bytes())),
            &THIRDS,
        ),
        spread(
            "many IPv6 flows use all ways",
            sports().map(|s| ip(&v6(s).bytes())),
            &THIRDS,
        ),
        spread(
            "many destinations use all ways",
            (0..FLOWS).map(|i| ip(&v4(&format!("198.51.100.{}", i % 256), i / 256).bytes())),
            &THIRDS,
        ),
        spread(
            "weights 3 and 1",
            sports().map(|s| ip(&v4("203.0.113.9", s).bytes())),
            &[(2, FLOWS / 4 * 3), (3, FLOWS / 4)],
        ),
        spread(
            "each way has its own labels",
            sports().map(|s| ip(&v4("192.0.2.9", s).bytes())),
            &[(2, FLOWS / 2), (3, FLOWS / 2)],
        ),
        same(
            "one IPv4 flow keeps to one way",
            (0..50)
                .map(|i| ip(&v4("198.51.100.9", 7).with(|p| p.id = i).bytes()))
                .collect(),
        ),
        same(
            "one IPv6 flow keeps to one way",
            (0..50)
                .map(|i| ip(&v6(7).with(|p| p.flow = i).bytes()))
                .collect(),
        ),
        same(
            "fragments of one packet keep together",
            (0..50).map(|i| ip(&fragment(i).bytes())).collect(),
        ),
    ]
}

fn labels() -> Vec<Case> {
    let inner = |sport: u16| v4("192.0.2.200", sport).bytes();
    let l = Lse::new;
    vec![
        spread(
            "labelled packets: by the flow under the stack",
            sports().map(|s| mpls(&[l(300)], &inner(s))),
            &THIRDS,
        ),
        spread(
            "labelled packets: by the entropy label",
            sports().map(|s| mpls(&[l(300), l(7), l(u32::from(s) + 10_000).ttl(0)], &inner(7))),
            &THIRDS,
        ),
        same(
            "the entropy label alone decides where there is one",
            sports()
                .map(|s| mpls(&[l(300), l(7), l(77_777).ttl(0)], &inner(s)))
                .collect(),
        ),
        spread(
            "a payload that is no IP: by the labels",
            sports().map(|s| mpls(&[l(300), l(u32::from(s) + 10_000)], &[0x11; 46])),
            &THIRDS,
        ),
        same(
            "TTL and class do not count",
            (0..50u8)
                .map(|i| mpls(&[l(300).ttl(i + 10).tc(i % 8)], &inner(7)))
                .collect(),
        ),
        case("IPv4 that is none under the stack does no harm")
            .send(1, mpls(&[l(300)], &[0x4f, 0, 0, 99]))
            .together(),
        case("a broken header under the stack does no harm")
            .send(1, mpls(&[l(300)], &eth([0x45; 6], [0; 6], IPV4, &[])))
            .together(),
    ]
}
