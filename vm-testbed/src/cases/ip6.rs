//! IPv6: forwarding, extension headers, scopes, hop limit, MTU, errors. Read RFC 8200, 4291, 4443, 8201, 7045.

use crate::frame::{IPV6, Ip6, eth, ip6, link_local, mac_of_group};
use crate::lab::{Config, Flavor};

use super::answers::{ErrorOf, echo_reply6};
use super::ip4::ConcatAll;
use super::{Case, Group, case, host, known_hosts, ports, router, to_router};

const SRC: &str = "2001:db8:1::2";
const FAR: &str = "2001:db8:ffff::9";

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "ip6",
        ports: 3,
        config,
        prepare: || {
            let mut lines = known_hosts(3, &[2]);
            let ll = link_local(host(1, 2));
            let mac = host(1, 2).map(|b| format!("{b:02x}")).join(":");
            lines.push(format!("neigh add {ll} lladdr {mac} dev p1"));
            for (dst, via) in [
                ("2001:db8:ffff::/48", "2001:db8:2::2"),
                ("2001:db8:ffff:8000::/49", "2001:db8:3::2"),
                ("2001:db8:ffff:0:1:2:3:4/128", "2001:db8:3::2"),
                ("2001:db8:ffff:0:1:2:3:0/125", "2001:db8:2::2"),
            ] {
                lines.push(format!("route add {dst} via {via}"));
            }
            lines.push("route add blackhole 2001:db8:dead::/48".to_owned());
            lines.push("route add unreachable 2001:db8:deae::/48".to_owned());
            lines.push("route add prohibit 2001:db8:deaf::/48".to_owned());
            lines
        },
        cases: || {
            [
                forwarding(),
                extensions(),
                chains(),
                malformed(),
                scopes(),
                errors(),
                local(),
            ]
            .concat_all()
        },
    }
}

fn config(flavor: &Flavor) -> Config {
    ports(flavor, 3, |p| if p == 3 { "mtu = 1280" } else { "" })
}

fn udp(dst: &str) -> Ip6 {
    Ip6::udp(SRC, dst, 40)
}

fn passes(name: &str, port: usize, p: &Ip6) -> Case {
    let out = p.clone().with(|p| p.hops -= 1);
    case(name)
        .packet(1, &p.bytes())
        .forwarded(port, &out.bytes())
}

fn refused(name: &str, p: &Ip6, reason: &str) -> Case {
    case(name).packet(1, &p.bytes()).dropped("p1", reason)
}

/// Refused, and the sender is told.
fn told(name: &str, p: &Ip6, (ty, code): (u8, u8), rest: [u8; 4], reason: &str) -> Case {
    let p = p.bytes();
    let e = ErrorOf::new("2001:db8:1::1", SRC, ty, code, &p).rest(rest);
    case(name)
        .packet(1, &p)
        .like(1, &format!("ICMPv6 {ty}/{code}"), e.at(1))
        .dropped("p1", reason)
}

fn forwarding() -> Vec<Case> {
    vec![
        passes("to a connected host", 2, &udp("2001:db8:2::2")),
        passes("by a route", 2, &udp(FAR)),
        passes("the longer prefix wins", 3, &udp("2001:db8:ffff:8000::1")),
        passes("a host route wins", 3, &udp("2001:db8:ffff:0:1:2:3:4")),
        passes(
            "a prefix longer than 64",
            2,
            &udp("2001:db8:ffff:0:1:2:3:5"),
        ),
        passes("hop limit 255", 2, &udp(FAR).hops(255)),
        passes("hop limit 2 is enough", 2, &udp(FAR).hops(2)),
        passes(
            "traffic class and flow label are kept",
            2,
            &udp(FAR).with(|p| (p.class, p.flow) = (0xbb, 0xabcde)),
        ),
        passes("no next header", 2, &Ip6::new(SRC, FAR, 59, vec![])),
        passes(
            "an unknown next header",
            2,
            &Ip6::new(SRC, FAR, 253, vec![1, 2, 3]),
        ),
        passes("a full frame", 2, &Ip6::udp(SRC, FAR, 1452)),
    ]
}

/// A hop-by-hop or destination options header of eight bytes: next header, length 0, these six.
fn options(p: Ip6, kind: u8, o: [u8; 6]) -> Ip6 {
    p.extension(kind, &[&[0][..], &o].concat())
}

const PAD: [u8; 6] = [1, 4, 0, 0, 0, 0];

fn extensions() -> Vec<Case> {
    // RFC 8200 4: a router on the way does not process them unless it is told to, and this one can't be.
    // An option type's two highest bits say what who does not know it does (RFC 8200 4.2).
    let unknown = |bits: u8| [bits << 6 | 0x1e, 4, 0, 0, 0, 0];
    let fragment = udp(FAR).extension(44, &[0, 0, 1, 0, 0, 0, 7]);
    let segments = udp(FAR).extension(
        43,
        &[
            2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
        ],
    );
    vec![
        passes("hop-by-hop padding", 2, &options(udp(FAR), 0, PAD)),
        passes(
            "hop-by-hop router alert",
            2,
            &options(udp(FAR), 0, [5, 2, 0, 0, 1, 0]),
        ),
        passes(
            "hop-by-hop: an unknown option to skip",
            2,
            &options(udp(FAR), 0, unknown(0)),
        ),
        passes(
            "hop-by-hop: an unknown option that says discard is not looked at",
            2,
            &options(udp(FAR), 0, unknown(1)),
        ),
        passes(
            "hop-by-hop: an unknown option that says tell is not looked at",
            2,
            &options(udp(FAR), 0, unknown(2)),
        ),
        passes(
            "destination options are the destination's",
            2,
            &options(udp(FAR), 60, unknown(2)),
        ),
        passes("a fragment", 2, &fragment),
        passes("a routing header", 2, &segments),
        passes(
            "a chain of all",
            2,
            &options(options(fragment.clone(), 60, PAD), 0, PAD),
        ),
    ]
}

/// What is for the router itself is followed to its upper layer; a chain that can't be is nobody's (RFC 8200 4.1).
fn chains() -> Vec<Case> {
    let ping = |id: u16| Ip6::echo(SRC, "2001:db8:1::1", id, 1);
    let chain = |n: usize| (0..n).fold(ping(6), |p, _| options(p, 60, PAD));
    let bad = |name: &str, p: &Ip6| refused(name, p, "ip6_bad_extension");
    let raw = |next: u8, payload: &[u8]| Ip6::new(SRC, "2001:db8:1::1", next, payload.to_vec());
    let cut = |c: Case, n: usize| {
        let whole = [&[59, 1, 1, 12][..], &[0; 12]].concat();
        c.packet(1, &raw(60, &whole[..n]).bytes())
    };
    vec![
        case("eight extension headers before a ping")
            .packet(1, &chain(8).bytes())
            .like(1, "echo reply", echo_reply6(1, &ping(6))),
        bad("nine extension headers are too many", &chain(9)),
        (0..16)
            .fold(case("an extension header cut at every byte"), cut)
            .drops("p1", "ip6_bad_extension", 16),
        bad(
            "an extension header longer than the packet",
            &raw(60, &[58, 200, 1, 4, 0, 0, 0, 0]),
        ),
        bad(
            "a fragment header cut short",
            &raw(44, &[58, 0, 0, 1, 0, 0]),
        ),
        bad(
            "an authentication header longer than the packet",
            &raw(51, &[58, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
        ),
        bad(
            "hop-by-hop options out of place",
            &options(options(ping(7), 0, PAD), 60, PAD),
        ),
        passes(
            "nine extension headers for another are passed",
            2,
            &(0..9).fold(udp(FAR), |p, _| options(p, 60, PAD)),
        ),
    ]
}

fn malformed() -> Vec<Case> {
    let whole = to_router(1, &Ip6::new(SRC, FAR, 59, vec![]).bytes());
    let cut = (14..54).fold(case("truncated at every byte of the header"), |c, n| {
        c.send(1, whole[..n].to_vec())
    });
    let wrong = |v: u8| {
        eth(
            router(1),
            host(1, 2),
            IPV6,
            &udp(FAR).with(|p| p.version = v).bytes(),
        )
    };
    let mut padded = to_router(1, &Ip6::new(SRC, FAR, 253, vec![5]).bytes());
    padded.resize(80, 0xee);
    vec![
        cut.drops("p1", "ip6_truncated", 40),
        case("version 5")
            .send(1, wrong(5))
            .dropped("p1", "ip6_bad_version"),
        case("version 4 under the EtherType of IPv6")
            .send(1, wrong(4))
            .dropped("p1", "ip6_bad_version"),
        refused(
            "a payload length beyond the frame",
            &udp(FAR).with(|p| p.length = Some(200)),
            "ip6_bad_length",
        ),
        case("a trailer is cut off")
            .send(1, padded)
            .forwarded(2, &Ip6::new(SRC, FAR, 253, vec![5]).hops(63).bytes()),
    ]
}

fn scopes() -> Vec<Case> {
    let from = |src: &str| Ip6::udp(src, FAR, 10);
    let multicast = |group: &str| {
        eth(
            mac_of_group(ip6(group)),
            host(1, 2),
            IPV6,
            &Ip6::udp(SRC, group, 10).bytes(),
        )
    };
    vec![
        refused("source ::1", &from("::1"), "martian_source"),
        refused("source ::", &from("::"), "martian_source"),
        refused("source multicast", &from("ff02::1"), "martian_source"),
        refused(
            "source is the router's own",
            &from("2001:db8:2::1"),
            "martian_source",
        ),
        refused("destination ::1", &udp("::1"), "martian_destination"),
        refused("destination ::", &udp("::"), "martian_destination"),
        refused(
            "a link-local destination is not routed",
            &udp("fe80::9"),
            "link_local_scope",
        ),
        case("global multicast is not routed")
            .send(1, multicast("ff0e::1234"))
            .dropped("p1", "multicast"),
        case("a group of the link that is not ours")
            .send(1, multicast("ff02::1234"))
            .dropped("p1", "multicast"),
    ]
}

fn errors() -> Vec<Case> {
    let big = |dst: &str, len: usize| Ip6::udp(SRC, dst, len - 48);
    let mtu = [0, 0, 5, 0];
    let from_error = Ip6::icmp(SRC, FAR, 1, 0, [0; 4], &udp(FAR).bytes()).hops(1);
    let far = Ip6::udp(FAR, "2001:db8:1::2", 10).hops(1).bytes();
    let ll = link_local(host(1, 2)).to_string();
    let scoped = Ip6::udp(&ll, FAR, 10).bytes();
    let beyond = ErrorOf::new(&link_local(router(1)).to_string(), &ll, 1, 2, &scoped);
    vec![
        told(
            "hop limit 1 expires",
            &udp(FAR).hops(1),
            (3, 0),
            [0; 4],
            "ttl_expired",
        ),
        told(
            "hop limit 0 expires",
            &udp(FAR).hops(0),
            (3, 0),
            [0; 4],
            "ttl_expired",
        ),
        told(
            "a long packet is quoted up to 1280 bytes",
            &Ip6::udp(SRC, FAR, 1400).hops(1),
            (3, 0),
            [0; 4],
            "ttl_expired",
        ),
        told("no route", &udp("2001:db9::1"), (1, 0), [0; 4], "no_route"),
        refused(
            "a blackhole is silent",
            &udp("2001:db8:dead::1"),
            "blackhole",
        ),
        told(
            "an unreachable route says so",
            &udp("2001:db8:deae::1"),
            (1, 0),
            [0; 4],
            "unreachable",
        ),
        told(
            "a prohibited route says so",
            &udp("2001:db8:deaf::1"),
            (1, 1),
            [0; 4],
            "prohibited",
        ),
        passes(
            "exactly the MTU passes",
            3,
            &big("2001:db8:ffff:8000::1", 1280),
        ),
        told(
            "one byte more is told the MTU",
            &big("2001:db8:ffff:8000::1", 1281),
            (2, 0),
            mtu,
            "packet_too_big",
        ),
        refused("no error about an error", &from_error, "ttl_expired"),
        case("the error goes back the way to a far sender")
            .packet(2, &far)
            .like(
                2,
                "time exceeded",
                ErrorOf::new("2001:db8:2::1", FAR, 3, 0, &far).at(2),
            )
            .dropped("p2", "ttl_expired"),
        case("a link-local source does not leave its link, and is told")
            .packet(1, &scoped)
            .like(1, "ICMPv6 1/2", move |f: &[u8]| {
                // From the link-local or the global address of the port: RFC 4443 2.2 leaves the choice.
                let global = ErrorOf::new("2001:db8:1::1", &ll, 1, 2, &scoped);
                beyond.clone().at(1)(f).or_else(|_| global.at(1)(f))
            })
            .dropped("p1", "link_local_scope"),
    ]
}

fn local() -> Vec<Case> {
    let own_ll = link_local(router(1)).to_string();
    let host_ll = link_local(host(1, 2)).to_string();
    let near = Ip6::echo(SRC, "2001:db8:1::1", 1, 1);
    let other = Ip6::echo(SRC, "2001:db8:2::1", 2, 1);
    let far = Ip6::echo(FAR, "2001:db8:1::1", 3, 1);
    let link = Ip6::echo(&host_ll, &own_ll, 4, 1);
    let last = Ip6::echo(SRC, "2001:db8:1::1", 5, 1).hops(1);
    vec![
        case("answers a ping").packet(1, &near.bytes()).like(
            1,
            "echo reply",
            echo_reply6(1, &near),
        ),
        case("answers a ping to its other address")
            .packet(1, &other.bytes())
            .like(1, "echo reply", echo_reply6(1, &other)),
        case("answers a ping from afar")
            .packet(2, &far.bytes())
            .like(2, "echo reply", echo_reply6(2, &far)),
        case("answers a ping to its link-local address")
            .packet(1, &link.bytes())
            .like(1, "echo reply", echo_reply6(1, &link)),
        case("hop limit 1 reaches the router itself")
            .packet(1, &last.bytes())
            .like(1, "echo reply", echo_reply6(1, &last)),
    ]
}
