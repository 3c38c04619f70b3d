//! MPLS: push, swap, pop, penultimate hop popping, nulls, labels with a purpose, what is refused. Read RFC 3031, 3032, 4182,
//! 5462, 6790, 7274. TTLs are the business of `mpls_ttl`; here they are those of the uniform model.

use crate::frame::{Ip4, Ip6, Lse, MPLS, eth, labelled, stack};
use crate::lab::{Config, Flavor};

use super::answers::ErrorOf;
use super::ip4::ConcatAll;
use super::{Case, Group, case, host, known_hosts, ports, router};

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "mpls",
        ports: 3,
        config,
        prepare: || [known_hosts(3, &[2]), tables()].concat(),
        cases: || {
            [
                push(),
                swap(),
                pop(),
                nulls(),
                special(),
                refused(),
                broken_stacks(),
                sizes(),
            ]
            .concat_all()
        },
    }
}

/// Port 3 does not take labelled frames, and is narrower.
fn config(flavor: &Flavor) -> Config {
    ports(
        flavor,
        3,
        |p| {
            if p == 3 { "mtu = 1400" } else { "mpls = true" }
        },
    )
}

/// Routes and labels as `trunkctl` takes them.
#[must_use]
pub fn tables() -> Vec<String> {
    [
        "route add 198.51.100.0/24 via 10.0.2.2 label 100",
        "route add 198.51.101.0/24 via 10.0.2.2 label 100/200/300",
        "route add 198.51.102.0/24 via 10.0.2.2 label 3",
        "route add 198.51.103.0/24 via 10.0.2.2 label 0",
        "route add 198.51.104.0/24 via 10.0.2.2",
        "route add 198.51.105.0/24 via 10.0.2.2 label 101/102/103/104/105/106/107/108",
        "route add 198.51.106.0/24 via 10.0.2.2 label 1048575",
        "route add 2001:db8:100::/48 via 2001:db8:2::2 label 100",
        "route add 2001:db8:102::/48 via 2001:db8:2::2 label 2",
        "route add 2001:db8:104::/48 via 2001:db8:2::2",
        "label add 300 swap 400 via 10.0.2.2",
        "label add 301 pop via 10.0.2.2",
        "label add 302 swap 400/500/600 via 10.0.2.2",
        "label add 303 swap 3 via 10.0.2.2",
        "label add 304 pop",
        "label add 305 swap 0 via 10.0.2.2",
        "label add 306 pop via 2001:db8:2::2",
        "label add 307 pop",
        "label add 308 swap 2 via 2001:db8:2::2",
        "label add 309 swap 409 via 10.0.3.2",
        "label add 16 swap 17 via 10.0.2.2",
        "label add 1048575 swap 1048574 via 10.0.2.2",
    ]
    .map(str::to_owned)
    .into()
}

fn l(label: u32) -> Lse {
    Lse::new(label)
}

/// A label as it leaves: TTL 63.
fn o(label: u32) -> Lse {
    Lse::new(label).ttl(63)
}

fn p4(dst: &str) -> Ip4 {
    Ip4::udp("10.0.1.2", dst, 40)
}

fn p6(dst: &str) -> Ip6 {
    Ip6::udp("2001:db8:1::2", dst, 40)
}

/// An IPv4 packet goes in at port 1 and leaves at port 2 under these labels.
fn pushes(name: &str, dst: &str, labels: &[Lse]) -> Case {
    let p = p4(dst);
    case(name)
        .packet(1, &p.bytes())
        .out_labelled(2, &labelled(labels, &p.ttl(63).bytes()))
}

fn push() -> Vec<Case> {
    let v6 = p6("2001:db8:100::9");
    let ef = p4("198.51.100.9").with(|p| p.tos = 46 << 2);
    let af = p6("2001:db8:100::9").with(|p| p.class = 10 << 2 | 1);
    vec![
        pushes("one label", "198.51.100.9", &[o(100)]),
        pushes(
            "a stack of three, outermost first",
            "198.51.101.9",
            &[o(100), o(200), o(300)],
        ),
        pushes(
            "a stack of eight",
            "198.51.105.9",
            &(101..=108).map(o).collect::<Vec<_>>(),
        ),
        pushes(
            "the largest label is pushed",
            "198.51.106.9",
            &[o(1_048_575)],
        ),
        case("one label on IPv6")
            .packet(1, &v6.bytes())
            .out_labelled(2, &labelled(&[o(100)], &v6.clone().hops(63).bytes())),
        case("the class comes from the DSCP of IPv4")
            .packet(1, &ef.bytes())
            .out_labelled(2, &labelled(&[o(100).tc(5)], &ef.clone().ttl(63).bytes())),
        case("the class comes from the DSCP of IPv6")
            .packet(1, &af.bytes())
            .out_labelled(2, &labelled(&[o(100).tc(1)], &af.clone().hops(63).bytes())),
        case("implicit null pushes nothing")
            .packet(1, &p4("198.51.102.9").bytes())
            .forwarded(2, &p4("198.51.102.9").ttl(63).bytes()),
        pushes("explicit null for IPv4", "198.51.103.9", &[o(0)]),
        case("explicit null for IPv6")
            .packet(1, &p6("2001:db8:102::9").bytes())
            .out_labelled(
                2,
                &labelled(&[o(2)], &p6("2001:db8:102::9").hops(63).bytes()),
            ),
        case("what the router sends itself is labelled too")
            .packet(2, &Ip4::echo("198.51.100.9", "10.0.2.1", 9, 9).bytes())
            .like(2, "an echo reply under label 100", |f| {
                super::want(f[12..14] == [0x88, 0x47], "no MPLS")?;
                super::want(
                    f[14..17] == stack(&[l(100)])[..3] && f[18 + 20] == 0,
                    "no echo reply under label 100",
                )
            }),
    ]
}

/// What lies under labels is not looked at when they are swapped: any bytes do.
fn swap() -> Vec<Case> {
    let p = p4("203.0.113.9").bytes();
    let sw = |name: &str, sent: &[Lse], got: &[Lse], payload: &[u8]| {
        case(name)
            .labelled(1, &labelled(sent, payload))
            .out_labelled(2, &labelled(got, payload))
    };
    vec![
        sw("one for one", &[l(300)], &[o(400)], &p),
        sw(
            "the labels below stay as they are",
            &[l(300), l(77).ttl(9).tc(3), l(78).ttl(1)],
            &[o(400), l(77).ttl(9).tc(3), l(78).ttl(1)],
            &p,
        ),
        sw("one for three", &[l(302)], &[o(400), o(500), o(600)], &p),
        sw(
            "one for three above another",
            &[l(302), l(77)],
            &[o(400), o(500), o(600), l(77)],
            &p,
        ),
        sw("the class is kept", &[l(300).tc(6)], &[o(400).tc(6)], &p),
        sw(
            "the payload may be anything",
            &[l(300)],
            &[o(400)],
            &[0x10; 50],
        ),
        sw(
            "an Ethernet pseudowire passes",
            &[l(300), l(9000)],
            &[o(400), l(9000)],
            &[&[0; 4][..], &[0xaa; 64]].concat(),
        ),
        sw("the smallest label for use", &[l(16)], &[o(17)], &p),
        sw("the largest label", &[l(1_048_575)], &[o(1_048_574)], &p),
        sw("for explicit null", &[l(305)], &[o(0)], &p),
        sw(
            "for explicit null of IPv6",
            &[l(308)],
            &[o(2)],
            &p6("2001:db8:104::9").bytes(),
        ),
    ]
}

fn pop() -> Vec<Case> {
    let (p, q) = (p4("203.0.113.9"), p6("2001:db8:900::9"));
    let (down, down6) = (p.clone().ttl(63).bytes(), q.clone().hops(63).bytes());
    let known = p4("198.51.104.9");
    let inner = p4("198.51.100.9");
    let known6 = p6("2001:db8:104::9");
    let ping = Ip4::echo("10.0.1.2", "10.0.1.1", 4, 4);
    vec![
        case("the last but one pops to IPv4")
            .labelled(1, &labelled(&[l(301)], &p.bytes()))
            .forwarded(2, &down),
        case("the last but one pops to IPv6")
            .labelled(1, &labelled(&[l(306)], &q.bytes()))
            .forwarded(2, &down6),
        case("IPv6 under a label whose next hop is IPv4")
            .labelled(1, &labelled(&[l(301)], &q.bytes()))
            .forwarded(2, &down6),
        case("a swap for implicit null pops")
            .labelled(1, &labelled(&[l(303)], &p.bytes()))
            .forwarded(2, &down),
        case("the last but one uncovers another label")
            .labelled(1, &labelled(&[l(301), l(77).ttl(64)], &p.bytes()))
            .out_labelled(2, &labelled(&[l(77).ttl(63)], &p.bytes())),
        case("pops and routes IPv4")
            .labelled(1, &labelled(&[l(304)], &known.bytes()))
            .forwarded(2, &known.clone().ttl(63).bytes()),
        case("pops and routes IPv6")
            .labelled(1, &labelled(&[l(304)], &known6.bytes()))
            .forwarded(2, &known6.clone().hops(63).bytes()),
        case("pops and pushes again")
            .labelled(1, &labelled(&[l(304)], &inner.bytes()))
            .out_labelled(2, &labelled(&[o(100)], &inner.clone().ttl(63).bytes())),
        case("pops to the next label")
            .labelled(1, &labelled(&[l(304), l(300)], &p.bytes()))
            .out_labelled(2, &labelled(&[o(400)], &p.bytes())),
        case("pops two and routes")
            .labelled(1, &labelled(&[l(304), l(307)], &known.bytes()))
            .forwarded(2, &known.clone().ttl(63).bytes()),
        case("pops to the router itself")
            .labelled(1, &labelled(&[l(304)], &ping.bytes()))
            .like(1, "echo reply", super::answers::echo_reply4(1, &ping)),
        case("what was popped is checked like any packet")
            .labelled(
                1,
                &labelled(
                    &[l(304)],
                    &known.clone().with(|p| p.checksum_off_by = 1).bytes(),
                ),
            )
            .dropped("p1", "ip4_bad_checksum"),
        case("no route for what was popped")
            .labelled(1, &labelled(&[l(304)], &p.bytes()))
            .like(
                1,
                "network unreachable",
                ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 0, &p.bytes()).at(1),
            )
            .dropped("p1", "no_route"),
    ]
}

fn nulls() -> Vec<Case> {
    let (p, q) = (p4("198.51.104.9"), p6("2001:db8:104::9"));
    let (down, down6) = (p.clone().ttl(63).bytes(), q.clone().hops(63).bytes());
    vec![
        case("explicit null for IPv4 is popped")
            .labelled(1, &labelled(&[l(0)], &p.bytes()))
            .forwarded(2, &down),
        case("explicit null for IPv6 is popped")
            .labelled(1, &labelled(&[l(2)], &q.bytes()))
            .forwarded(2, &down6),
        case("explicit null above another label (RFC 4182)")
            .labelled(1, &labelled(&[l(0), l(300)], &p.bytes()))
            .out_labelled(2, &labelled(&[o(400)], &p.bytes())),
        case("explicit null below another label")
            .labelled(1, &labelled(&[l(304), l(0)], &p.bytes()))
            .forwarded(2, &down),
        case("implicit null is never on the wire")
            .labelled(1, &labelled(&[l(3)], &p.bytes()))
            .dropped("p1", "mpls_reserved_label"),
    ]
}

fn special() -> Vec<Case> {
    let p = p4("203.0.113.9").bytes();
    let known = p4("198.51.104.9");
    let mut all = vec![
        case("an entropy label below a swapped one stays")
            .labelled(1, &labelled(&[l(300), l(7), l(123_456).ttl(0)], &p))
            .out_labelled(2, &labelled(&[o(400), l(7), l(123_456).ttl(0)], &p)),
        case("an entropy label that comes to the top goes with its indicator")
            .labelled(
                1,
                &labelled(&[l(304), l(7), l(123_456).ttl(0)], &known.bytes()),
            )
            .forwarded(2, &known.clone().ttl(63).bytes()),
        case("router alert is passed over and put back")
            .labelled(1, &labelled(&[l(1), l(300)], &p))
            .out_labelled(2, &labelled(&[o(1), o(400)], &p)),
        case("router alert goes with the last label")
            .labelled(1, &labelled(&[l(1), l(301)], &p))
            .forwarded(2, &p4("203.0.113.9").ttl(63).bytes()),
        case("an entropy indicator of nothing")
            .labelled(1, &labelled(&[l(304), l(7)], &p))
            .dropped("p1", "mpls_reserved_label"),
    ];
    for reserved in [4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15] {
        all.push(
            case(&format!(
                "label {reserved} is for a purpose we do not serve"
            ))
            .labelled(1, &labelled(&[l(reserved)], &p))
            .dropped("p1", "mpls_reserved_label"),
        );
    }
    all
}

fn refused() -> Vec<Case> {
    let p = p4("198.51.104.9").bytes();
    let send = |name: &str, port: usize, payload: &[u8], reason: &str| {
        case(name)
            .labelled(port, payload)
            .dropped(&format!("p{port}"), reason)
    };
    vec![
        send(
            "an unknown label",
            1,
            &labelled(&[l(999)], &p),
            "unknown_label",
        ),
        send(
            "an unknown label below a popped one",
            1,
            &labelled(&[l(304), l(999)], &p),
            "unknown_label",
        ),
        send(
            "an interface without MPLS",
            3,
            &labelled(&[l(300)], &p),
            "mpls_disabled",
        ),
        case("MPLS multicast is not spoken")
            .send(
                1,
                eth(router(1), host(1, 2), 0x8848, &labelled(&[l(300)], &p)),
            )
            .dropped("p1", "unknown_ethertype"),
        case("MPLS in a link broadcast")
            .send(
                1,
                eth([0xff; 6], host(1, 2), MPLS, &labelled(&[l(300)], &p)),
            )
            .dropped("p1", "link_broadcast"),
    ]
}

/// Stacks that end too soon, too late, or on nothing.
fn broken_stacks() -> Vec<Case> {
    let p = p4("198.51.104.9").bytes();
    let send = |name: &str, port: usize, payload: &[u8], reason: &str| {
        case(name)
            .labelled(port, payload)
            .dropped(&format!("p{port}"), reason)
    };
    let no_bottom = |labels: &[Lse], rest: &[u8]| -> Vec<u8> {
        [
            labels
                .iter()
                .flat_map(|l| l.bytes(false))
                .collect::<Vec<u8>>(),
            rest.to_vec(),
        ]
        .concat()
    };
    vec![
        send("no label at all", 1, &[], "mpls_truncated"),
        send(
            "three bytes of a label",
            1,
            &stack(&[l(300)])[..3],
            "mpls_truncated",
        ),
        send(
            "a popped label, no bottom, and the end",
            1,
            &no_bottom(&[l(304)], &[]),
            "mpls_no_bottom",
        ),
        send(
            "a last label but one, no bottom, and the end",
            1,
            &no_bottom(&[l(301)], &[]),
            "mpls_no_bottom",
        ),
        send(
            "a bottom and nothing under it",
            1,
            &stack(&[l(304)]),
            "mpls_truncated",
        ),
        send(
            "under the stack neither IPv4 nor IPv6",
            1,
            &labelled(&[l(304)], &[0x10; 40]),
            "mpls_unknown_payload",
        ),
        send(
            "more labels to pop than anyone stacks",
            1,
            &labelled(&[l(304); 40], &p),
            "mpls_stack_too_deep",
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let p = |len: usize| Ip4::udp("10.0.1.2", "198.51.101.9", len - 28);
    let labels = [o(100), o(200), o(300)];
    let big = p(1489).bytes();
    let need = ErrorOf::new("10.0.1.1", "10.0.1.2", 3, 4, &big).rest([0, 0, 0x05, 0xd0]);
    let big6 = Ip6::udp("2001:db8:1::2", "2001:db8:100::9", 1449);
    let need6 = ErrorOf::new("2001:db8:1::1", "2001:db8:1::2", 2, 0, &big6.bytes())
        .rest([0, 0, 0x05, 0xd8]);
    let cut = p(1489).with(|p| p.df = false);
    // 1500 less three labels and the header: 1468, of which 1464 is a multiple of eight.
    let part = |from: usize, to: usize, mf: bool| {
        let f = cut.clone().with(|f| {
            (f.ttl, f.mf, f.offset, f.payload) = (63, mf, from, cut.payload[from..to].to_vec())
        });
        labelled(&labels, &f.bytes())
    };
    vec![
        case("labels and packet just fit")
            .packet(1, &p(1488).bytes())
            .out_labelled(2, &labelled(&labels, &p(1488).ttl(63).bytes())),
        case("one byte more is told what is left for IPv4")
            .packet(1, &big)
            .like(1, "fragmentation needed, MTU 1488", need.at(1))
            .dropped("p1", "frag_needed"),
        case("one byte more is told what is left for IPv6")
            .packet(1, &big6.bytes())
            .like(1, "packet too big, MTU 1496", need6.at(1))
            .dropped("p1", "packet_too_big"),
        case("what is neither IPv4 nor IPv6 just fits")
            .labelled(1, &labelled(&[l(309)], &[0x10; 1396]))
            .out_labelled(3, &labelled(&[o(409)], &[0x10; 1396])),
        case("what is neither IPv4 nor IPv6 and too long is dropped by name")
            .labelled(1, &labelled(&[l(309)], &[0x10; 1397]))
            .dropped("p1", "mpls_too_big"),
        case("each fragment gets the labels (RFC 3032 3.4)")
            .packet(1, &cut.bytes())
            .out_labelled(2, &part(0, 1464, true))
            .out_labelled(2, &part(1464, 1469, false)),
    ]
}
