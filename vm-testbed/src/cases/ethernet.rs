//! Ethernet: who a frame is for, and what is in it. Read IEEE 802.3 3.2, RFC 894, RFC 1812 3.4.

use crate::frame::{ARP, BROADCAST, IPV4, Ip4, eth};
use crate::lab::{Config, Flavor};

use super::{Case, Group, case, host, known_hosts, ports, router, to_router};

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "ethernet",
        ports: 2,
        config,
        prepare: || known_hosts(2, &[2, 3]),
        cases,
    }
}

fn config(flavor: &Flavor) -> Config {
    ports(flavor, 2, |_| "")
}

fn cases() -> Vec<Case> {
    let packet = Ip4::udp("10.0.1.2", "10.0.2.2", 60);
    let (sent, got) = (packet.bytes(), packet.clone().ttl(63).bytes());
    let short = Ip4::udp("10.0.1.2", "10.0.2.2", 2);
    let mut padded = to_router(1, &short.bytes());
    padded.resize(60, 0xee);
    let mut trailer = to_router(1, &sent);
    trailer.extend([0xee; 40]);
    let mut all = vec![
        case("forwards to its own MAC")
            .packet(1, &sent)
            .forwarded(2, &got),
        case("another host's frame is not its business")
            .send(1, eth([2, 0xaa, 0, 0, 9, 9], host(1, 2), IPV4, &sent))
            .dropped("p1", "not_for_us"),
        case("unicast IP in a link broadcast is not forwarded")
            .send(1, eth(BROADCAST, host(1, 2), IPV4, &sent))
            .dropped("p1", "link_broadcast"),
        case("unicast IP in a link multicast is not forwarded")
            .send(1, eth([1, 0, 0x5e, 1, 1, 1], host(1, 2), IPV4, &sent))
            .dropped("p1", "link_broadcast"),
        case("a group as source is refused")
            .send(1, eth(router(1), [1, 0, 0x5e, 1, 1, 1], IPV4, &sent))
            .dropped("p1", "bad_source_mac"),
        case("its own MAC as source is a loop")
            .send(1, eth(router(1), router(1), IPV4, &sent))
            .dropped("p1", "bad_source_mac"),
        case("padding is cut off")
            .send(1, padded)
            .forwarded(2, &short.clone().ttl(63).bytes()),
        case("a trailer is cut off")
            .send(1, trailer)
            .forwarded(2, &got),
        case("an 802.3 length is no EtherType")
            .send(
                1,
                eth(router(1), host(1, 2), 38, &[0x42, 0x42, 3, 0, 0, 0, 0, 0]),
            )
            .dropped("p1", "llc"),
        case("spanning tree is dropped by name")
            .send(
                1,
                eth([1, 0x80, 0xc2, 0, 0, 0], host(1, 2), 38, &[0x42; 46]),
            )
            .dropped("p1", "llc"),
        case("LLDP is dropped by name")
            .send(
                1,
                eth(
                    [1, 0x80, 0xc2, 0, 0, 14],
                    host(1, 2),
                    0x88cc,
                    &[2, 7, 4, 2, 0, 0, 0, 0, 1],
                ),
            )
            .dropped("p1", "unknown_ethertype"),
        case("nothing but an Ethernet header")
            .send(1, to_router(1, &[]))
            .dropped("p1", "ip4_truncated"),
        case("a giant does not pass")
            .packet(1, &Ip4::udp("10.0.1.2", "10.0.2.2", 1474).bytes())
            .any_drops(),
        case("the largest frame passes")
            .packet(1, &Ip4::udp("10.0.1.2", "10.0.2.2", 1472).bytes())
            .forwarded(2, &Ip4::udp("10.0.1.2", "10.0.2.2", 1472).ttl(63).bytes()),
        case("a cut-off ARP packet is dropped by name")
            .send(
                1,
                eth(BROADCAST, host(1, 2), ARP, &[0, 1, 8, 0, 6, 4, 0, 1]),
            )
            .dropped("p1", "bad_arp"),
    ];
    all.push(hairpin());
    all
}

/// Out by the interface it came in by: forwarded (a redirect would be allowed, RFC 1812 5.2.7.2; we send none).
fn hairpin() -> Case {
    let p = Ip4::udp("10.0.1.2", "10.0.1.3", 20);
    case("out by the way it came")
        .packet(1, &p.bytes())
        .out(1, super::to_host(1, 3, &p.ttl(63).bytes()))
}
