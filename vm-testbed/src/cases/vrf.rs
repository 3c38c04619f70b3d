//! VRFs: the same addresses in two of them, each with its own table, addresses, errors and kernel; labels that lead into one, and
//! labels that its routes push. Read RFC 4364 3 to 5, RFC 4659.
//!
//! Port 1 is in `red`, port 2 in `blue`; both have 10.9.0.1/24 and 2001:db8:9::1/64 beside their own, and a customer's network
//! behind host 2 that is the same too. Port 3 is the core, in the global table.

use crate::frame::{IPV4, IPV6, Ip4, Ip6, Lse, labelled, stack};
use crate::lab::{Config, Flavor};

use super::answers::ErrorOf;
use super::ip4::ConcatAll;
use super::{Case, Group, case, known_hosts};

/// The ports of the two VRFs, and the labels that lead into them: red's uniform, blue's pipe.
const VRFS: [(usize, &str, u32); 2] = [(1, "red", 700), (2, "blue", 701)];

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "vrf",
        ports: 3,
        config,
        prepare: || [known_hosts(3, &[2]), tables()].concat(),
        cases: || [own_tables(), labels(), own_addresses(), errors()].concat_all(),
    }
}

fn config(flavor: &Flavor) -> Config {
    let mut c = flavor.config("dut").dataplane("icmp-rate = 100000");
    for (p, vrf, _) in VRFS {
        let own = [
            format!("10.0.{p}.1/24"),
            format!("2001:db8:{p}::1/64"),
            "10.9.0.1/24".into(),
            "2001:db8:9::1/64".into(),
        ];
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let more = format!("vrf = \"{vrf}\"");
        c = c.interface(&format!("p{p}"), &format!("e{p}"), &own, &more);
    }
    c.interface(
        "p3",
        "e3",
        &["10.0.3.1/24", "2001:db8:3::1/64"],
        "mpls = true",
    )
    .section(
        "[vrf.red]\nrd = \"64512:1\"\nimport = [\"target:64512:1\"]\nexport = [\"target:64512:1\"]",
    )
    .section("[vrf.blue]\nrd = \"192.0.2.1:2\"\nmpls-ttl = \"pipe\"")
}

/// Routes and labels as `trunkctl` takes them.
fn tables() -> Vec<String> {
    let mut lines = vec![
        "label add 304 pop".to_owned(),
        "route add 192.0.2.9/32 via 10.0.3.2 label 100".to_owned(),
    ];
    for (p, vrf, label) in VRFS {
        lines.extend([
            format!("route add 10.8.0.0/16 via 10.0.{p}.2 vrf {vrf}"),
            format!("route add 2001:db8:8::/48 via 2001:db8:{p}::2 vrf {vrf}"),
            // Another PE, under the VPN's label and what leads there.
            format!(
                "route add 10.7.0.0/16 via 192.0.2.9 label {} vrf {vrf}",
                label + 200
            ),
            format!("label add {label} pop vrf {vrf}"),
        ]);
    }
    // By the interface of another table: a leak.
    lines.push("route add 198.51.100.0/24 via 10.0.3.2 dev p3 vrf red".into());
    lines.push("route add 198.51.101.0/24 via 10.0.1.2 dev p1".into());
    lines
}

fn l(label: u32) -> Lse {
    Lse::new(label)
}

fn far4() -> Ip4 {
    Ip4::udp("10.7.0.1", "10.8.0.9", 40)
}

fn far6() -> Ip6 {
    Ip6::udp("2001:db8:7::1", "2001:db8:8::9", 40)
}

fn own_tables() -> Vec<Case> {
    let mut all = vec![];
    for (p, vrf, label) in VRFS {
        let (v4, v6) = (far4(), far6());
        all.push(
            case(&format!("{vrf}: its own way to a prefix of both, IPv4"))
                .packet(p, &v4.bytes())
                .forwarded(p, &v4.clone().ttl(63).bytes()),
        );
        all.push(
            case(&format!("{vrf}: its own way to a prefix of both, IPv6"))
                .packet(p, &v6.bytes())
                .forwarded(p, &v6.clone().hops(63).bytes()),
        );
        let remote = Ip4::udp("10.8.0.9", "10.7.0.1", 40);
        let ttl = if vrf == "red" { 63 } else { 255 };
        let out = [l(100).ttl(ttl), l(label + 200).ttl(ttl)];
        all.push(
            case(&format!(
                "{vrf}: to another PE, the VPN's label under the transport's"
            ))
            .packet(p, &remote.bytes())
            .out_labelled(3, &labelled(&out, &remote.ttl(63).bytes())),
        );
        let global = Ip4::udp(&format!("10.0.{p}.2"), "192.0.2.9", 40);
        all.push(
            case(&format!("{vrf}: nothing of the global table"))
                .packet(p, &global.bytes())
                .drops(&format!("p{p}"), "no_route", 1)
                .loosely(),
        );
    }
    let stray = Ip4::udp("10.0.3.2", "10.8.0.9", 40);
    all.push(
        case("the global table has nothing of theirs")
            .packet(3, &stray.bytes())
            .drops("p3", "no_route", 1)
            .loosely(),
    );
    let leak = Ip4::udp("10.0.1.2", "198.51.100.9", 40);
    all.push(
        case("out of a VRF by an interface of the global table")
            .packet(1, &leak.bytes())
            .forwarded(3, &leak.clone().ttl(63).bytes()),
    );
    let back = Ip4::udp("10.0.3.2", "198.51.101.9", 40);
    all.push(
        case("into a VRF by its interface")
            .packet(3, &back.bytes())
            .forwarded(1, &back.clone().ttl(63).bytes()),
    );
    all
}

fn labels() -> Vec<Case> {
    let mut all = vec![];
    for (p, vrf, label) in VRFS {
        // Red's label counts the LSP's hops, blue's does not.
        let left = if vrf == "red" { 8 } else { 63 };
        let (v4, v6) = (far4(), far6());
        all.push(
            case(&format!("a label leads into {vrf}, IPv4"))
                .labelled(3, &labelled(&[l(label).ttl(9)], &v4.bytes()))
                .forwarded(p, &v4.clone().ttl(left).bytes()),
        );
        all.push(
            case(&format!("a label leads into {vrf}, IPv6"))
                .labelled(3, &labelled(&[l(label).ttl(9)], &v6.bytes()))
                .forwarded(p, &v6.clone().hops(left).bytes()),
        );
        all.push(
            case(&format!(
                "a label leads into {vrf} under one that ends here"
            ))
            .labelled(3, &labelled(&[l(304).ttl(9), l(label).ttl(9)], &v4.bytes()))
            .forwarded(p, &v4.clone().ttl(left).bytes()),
        );
        all.push(
            case(&format!("under a label into {vrf} no other leads anywhere"))
                .labelled(3, &labelled(&[l(label).ttl(9), l(304).ttl(9)], &v4.bytes()))
                .drops("p3", "vrf_label_not_last", 1),
        );
        all.push(
            case(&format!("{vrf} takes no labelled frames"))
                .labelled(p, &labelled(&[l(label)], &v4.bytes()))
                .drops(&format!("p{p}"), "mpls_disabled", 1),
        );
    }
    all
}

/// An answer of the kernel's that belongs to the VRF, to its host 2.
fn own_addresses() -> Vec<Case> {
    let mut all = vec![];
    for (p, vrf, label) in VRFS {
        for (own, from) in [
            ("10.9.0.1".to_owned(), format!("10.0.{p}.2")),
            (format!("10.0.{p}.1"), "10.8.0.9".to_owned()),
        ] {
            let ask = Ip4::echo(&from, &own, 7, p as u16);
            let (own, from) = (own.clone(), from.clone());
            let is_reply = move |f: &[u8]| {
                let ok = f.len() >= 42
                    && f[12..14] == IPV4.to_be_bytes()
                    && f[26..30] == crate::frame::ip4(&own).octets()
                    && f[30..34] == crate::frame::ip4(&from).octets()
                    && f[34] == 0;
                super::want(ok, "no echo reply from there to there")
            };
            all.push(
                case(&format!(
                    "{vrf}: ping of the router's own address {}",
                    ask.dst
                ))
                .packet(p, &ask.bytes())
                .like(p, "an echo reply", is_reply),
            );
        }
        let ask = Ip6::echo(&format!("2001:db8:{p}::2"), "2001:db8:9::1", 7, p as u16);
        let is_reply = |f: &[u8]| {
            let ok = f.len() >= 62
                && f[12..14] == IPV6.to_be_bytes()
                && f[22..38] == crate::frame::ip6("2001:db8:9::1").octets()
                && f[54] == 129;
            super::want(ok, "no echo reply from there")
        };
        all.push(
            case(&format!("{vrf}: ping of the router's own address, IPv6"))
                .packet(p, &ask.bytes())
                .like(p, "an echo reply", is_reply),
        );
        let ask = Ip4::echo("10.8.0.9", "10.9.0.1", 7, 9);
        let is_reply = |f: &[u8]| super::want(f.len() >= 42 && f[34] == 0, "no echo reply");
        all.push(
            case(&format!(
                "{vrf}: ping of the router's own address by a label"
            ))
            .labelled(3, &labelled(&[l(label)], &ask.bytes()))
            .like(p, "an echo reply", is_reply),
        );
        let own = Ip4::udp("10.9.0.1", "10.8.0.9", 40);
        all.push(
            case(&format!("{vrf}: its own address is nobody else's source"))
                .packet(p, &own.bytes())
                .drops(&format!("p{p}"), "martian_source", 1),
        );
    }
    let other = Ip4::udp("10.0.3.1", "10.8.0.9", 40);
    all.push(
        case("an address of the global table is anybody's in a VRF")
            .packet(1, &other.bytes())
            .forwarded(1, &other.clone().ttl(63).bytes()),
    );
    all
}

fn errors() -> Vec<Case> {
    let mut all = vec![];
    for (p, vrf, label) in VRFS {
        let (from4, from6) = (format!("10.0.{p}.1"), format!("2001:db8:{p}::1"));
        let expired = Ip4::udp("10.8.0.7", "10.8.0.9", 40).ttl(1).bytes();
        let error = ErrorOf::new(&from4, "10.8.0.7", 11, 0, &expired);
        all.push(
            case(&format!("{vrf}: TTL exceeded, by its own table"))
                .packet(p, &expired)
                .drops(&format!("p{p}"), "ttl_expired", 1)
                .like(p, "TTL exceeded", move |f| error.is(&f[14..])),
        );
        let expired = Ip6::udp("2001:db8:8::7", "2001:db8:8::9", 40)
            .hops(1)
            .bytes();
        let error = ErrorOf::new(&from6, "2001:db8:8::7", 3, 0, &expired);
        all.push(
            case(&format!("{vrf}: hop limit exceeded, by its own table"))
                .packet(p, &expired)
                .drops(&format!("p{p}"), "ttl_expired", 1)
                .like(p, "hop limit exceeded", move |f| error.is(&f[14..])),
        );
        let nowhere = Ip4::udp("10.8.0.7", "203.0.113.9", 40).bytes();
        let error = ErrorOf::new(&from4, "10.8.0.7", 3, 0, &nowhere);
        all.push(
            case(&format!("{vrf}: network unreachable"))
                .packet(p, &nowhere)
                .drops(&format!("p{p}"), "no_route", 1)
                .like(p, "network unreachable", move |f| error.is(&f[14..])),
        );
        // Under the label of the VRF: the customer hears of it from an address of its own VRF, with the label it came under.
        let expired = Ip4::udp("10.8.0.7", "10.8.0.9", 40).ttl(1).bytes();
        let under = [l(label).ttl(9)];
        let error = ErrorOf::new(&from4, "10.8.0.7", 11, 0, &expired).labels(&stack(&under));
        all.push(
            case(&format!("{vrf}: TTL exceeded under its label"))
                .labelled(3, &labelled(&under, &expired))
                .drops("p3", "ttl_expired", 1)
                .like(p, "TTL exceeded", move |f| error.is(&f[14..])),
        );
    }
    // Of a pipe the label's own TTL ends at the router that takes it off.
    let packet = Ip4::udp("10.8.0.7", "10.8.0.9", 40).bytes();
    let under = [l(701).ttl(1)];
    let error = ErrorOf::new("10.0.2.1", "10.8.0.7", 11, 0, &packet).labels(&stack(&under));
    all.push(
        case("blue: the label's TTL exceeded")
            .labelled(3, &labelled(&under, &packet))
            .drops("p3", "mpls_ttl_expired", 1)
            .like(2, "TTL exceeded", move |f| error.is(&f[14..])),
    );
    all
}
