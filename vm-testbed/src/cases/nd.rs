//! Neighbour Discovery: answering, resolving with frames held meanwhile, giving up. Read RFC 4861, 4862.

use crate::frame::{
    IPV6, Ip6, Mac, advertise, eth, ip6, lladdr, mac_of_group, solicit, solicited_node,
};
use crate::lab::wait::secs;

use super::answers::ErrorOf;
use super::{Case, Group, case, host, known_hosts, ports, router, to_host, want};

/// The table.
#[must_use]
pub fn group() -> Group {
    Group {
        name: "nd",
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

/// A check: an advertisement of `target` by the router at a port, to that MAC address and IPv6 destination.
fn advertisement(
    port: usize,
    to: Mac,
    dst: &'static str,
    target: &'static str,
) -> impl Fn(&[u8]) -> Result<(), String> {
    move |f: &[u8]| {
        want(f.len() >= 86 && f[12..14] == [0x86, 0xdd], "no IPv6")?;
        want(
            f[..6] == to && f[6..12] == router(port),
            "other MAC addresses",
        )?;
        want(
            f[14 + 7] == 255 && f[54..56] == [136, 0],
            "no advertisement with hop limit 255",
        )?;
        want(f[22..38] == ip6(target).octets(), "another source")?;
        want(f[38..54] == ip6(dst).octets(), "another destination")?;
        want(f[62..78] == ip6(target).octets(), "another target")?;
        want(f[58] & 0x80 != 0, "no router flag")?;
        let solicited = dst != "ff02::1";
        want((f[58] & 0x40 != 0) == solicited, "a wrong solicited flag")?;
        want(
            f[78..86] == lladdr(2, router(port)),
            "another link-layer address",
        )
    }
}

/// A check: a solicitation for `target` by the router at port 2.
fn solicitation(target: &'static str) -> impl Fn(&[u8]) -> Result<(), String> {
    move |f: &[u8]| {
        let group = solicited_node(ip6(target));
        want(
            f.len() >= 86 && f[..6] == mac_of_group(group) && f[6..12] == router(2),
            "other MAC addresses",
        )?;
        want(
            f[14 + 7] == 255 && f[54..56] == [135, 0],
            "no solicitation with hop limit 255",
        )?;
        want(
            f[38..54] == group.octets() && f[62..78] == ip6(target).octets(),
            "another target",
        )?;
        want(
            f[78..86] == lladdr(1, router(2)),
            "another link-layer address",
        )
    }
}

fn cases() -> Vec<Case> {
    let h = host(1, 7);
    let limit = |hops: u8| {
        let body = [&ip6("2001:db8:1::1").octets()[..], &lladdr(1, h)].concat();
        let group = solicited_node(ip6("2001:db8:1::1"));
        let p = Ip6::icmp("2001:db8:1::7", &group.to_string(), 135, 0, [0; 4], &body).hops(hops);
        eth(mac_of_group(group), h, IPV6, &p.bytes())
    };
    let mut checksum = solicit(h, "2001:db8:1::7", "2001:db8:1::1");
    checksum[56] ^= 1;
    let mut zero = solicit(h, "2001:db8:1::7", "2001:db8:1::1");
    zero[79] = 0;
    let mut all = vec![
        case("answers a solicitation")
            .send(1, solicit(h, "2001:db8:1::7", "2001:db8:1::1"))
            .like(
                1,
                "an advertisement",
                advertisement(1, h, "2001:db8:1::7", "2001:db8:1::1"),
            ),
        case("does not answer for another host")
            .send(1, solicit(h, "2001:db8:1::7", "2001:db8:1::9"))
            .any_drops(),
        case("a solicitation from beyond the link is refused")
            .send(1, limit(254))
            .dropped("p1", "bad_nd"),
        case("a wrong checksum is refused")
            .send(1, checksum)
            .dropped("p1", "bad_nd"),
        case("an option of length 0 is refused")
            .send(1, zero)
            .dropped("p1", "bad_nd"),
    ];
    all.extend(resolving());
    all
}

fn resolving() -> Vec<Case> {
    const NEW: &str = "2001:db8:2::20";
    let to = |flow: u32| Ip6::udp("2001:db8:1::2", NEW, 20).with(|p| p.flow = flow);
    let first = case("an unknown host is looked for")
        .packet(1, &to(1).bytes())
        .packet(1, &to(2).bytes())
        .like(2, "a solicitation", solicitation(NEW));
    let answer = advertise(router(2), host(2, 20), NEW, "2001:db8:2::1", NEW, 0x60);
    let held = [1, 2].iter().fold(
        case("its answer releases what was held").send(2, answer),
        |c, n| c.out(2, to_host(2, 20, &to(*n).hops(63).bytes())),
    );
    let then = case("then it is known")
        .packet(1, &to(3).bytes())
        .out(2, to_host(2, 20, &to(3).hops(63).bytes()));
    let moved = case("an override moves it")
        .send(
            2,
            advertise(
                [0x33, 0x33, 0, 0, 0, 1],
                host(2, 21),
                NEW,
                "ff02::1",
                NEW,
                0x20,
            ),
        )
        .packet(1, &to(4).bytes())
        .like(2, "to the old or the new address", |f| {
            want(f[20] == 17, "no UDP")
        });
    let after = case("and frames follow")
        .packet(1, &to(5).bytes())
        .out(2, to_host(2, 21, &to(5).hops(63).bytes()));
    vec![first, held, then, moved, after, silent()]
}

/// A host that never answers: the sender is told, of the packet as it came.
fn silent() -> Case {
    const NONE: &str = "2001:db8:2::31";
    let p = Ip6::udp("2001:db8:1::2", NONE, 20).bytes();
    let e = ErrorOf::new("2001:db8:1::1", "2001:db8:1::2", 1, 3, &p);
    let mut c = case("a host that does not answer is unreachable").packet(1, &p);
    for _ in 0..3 {
        c = c.like(2, "a solicitation", solicitation(NONE));
    }
    c.like(1, "address unreachable", e.at(1))
        .dropped("p2", "unresolved")
        .patience(secs(3))
}
