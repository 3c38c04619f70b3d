//! The BGP neighbours of the scenarios, beside each other: what they are asked is what they answer. Without them (they are
//! installed by `cargo testbed setup`) or without root there is nothing to test here, and the test says so.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use vm_testbed::lab::{Lab, cmd};
use vm_testbed::peers::{Announce, Make, Seen, Setup, Speaker, Stayrtr};

fn ready() -> bool {
    let there = ["bird", "vtysh", "gobgpd", "exabgp", "stayrtr"]
        .iter()
        .all(|p| cmd::exists(p));
    let root = nix::unistd::geteuid().is_root();
    if !(there && root) {
        eprintln!("not root, or `cargo testbed setup` was not run: nothing was tested");
    }
    there && root
}

fn side(n: u8) -> Setup {
    let own6: Ipv6Addr = format!("2001:db8:9::{n}").parse().unwrap();
    let address = |n: u8| IpAddr::from([10, 9, 0, n]);
    let other = 3 - n;
    let asn = |n: u8| 4_200_000_000 + u32::from(n);
    Setup::new(asn(n), address(n), own6, asn(other), address(other))
        .announce(
            Announce::new(&format!("198.51.{n}.0/24"))
                .community("65001:7")
                .large("65001:8:9")
                .med(20),
        )
        .announce(Announce::new(&format!("2001:db8:10{n}::/48")))
}

fn sessions(a: Make, b: Make) {
    if !ready() {
        return;
    }
    let mut lab = Lab::new(&format!("bb-{a:?}-{b:?}").to_lowercase()).unwrap();
    let (na, nb) = (lab.space("a").unwrap(), lab.space("b").unwrap());
    lab.link(
        (&na, "eth0", &["10.9.0.1/24", "2001:db8:9::1/64"]),
        (&nb, "eth0", &["10.9.0.2/24", "2001:db8:9::2/64"]),
    )
    .unwrap();
    let (sa, sb) = (side(1), side(2));
    let a = a.start(lab.folder(), "a", &na, &sa).unwrap();
    let mut b = b.start(lab.folder(), "b", &nb, &sb).unwrap();
    a.wait_established(sa.peer).unwrap();
    b.wait_established(sb.peer).unwrap();
    for (who, from) in [(&a, 2), (&b, 1)] {
        let seen = who.wait_path(&format!("198.51.{from}.0/24")).unwrap();
        let want = Seen {
            path: (4_200_000_000 + from as u32).to_string(),
            next_hop: format!("10.9.0.{from}"),
            communities: vec!["65001:7".into()],
            large: vec!["65001:8:9".into()],
            med: Some(20),
            local_pref: seen.local_pref,
            stale: false,
        };
        assert_eq!(seen, want);
        let seen = who.wait_path(&format!("2001:db8:10{from}::/48")).unwrap();
        assert_eq!(seen.next_hop, format!("2001:db8:9::{from}"));
        assert!(seen.communities.is_empty());
    }
    // Nobody keeps what a neighbour that is gone had announced.
    b.daemon_mut().stop().unwrap();
    a.wait_gone("198.51.2.0/24").unwrap();
    assert!(!a.established(sa.peer).unwrap());
}

#[test]
fn frr_and_bird() {
    sessions(Make::Frr, Make::Bird);
}

#[test]
fn gobgp_and_exabgp() {
    sessions(Make::Gobgp, Make::Exabgp);
}

#[test]
fn exabgp_and_frr() {
    sessions(Make::Exabgp, Make::Frr);
}

#[test]
fn bird_asks_stayrtr() {
    if !ready() {
        return;
    }
    let mut lab = Lab::new("bb-rtr").unwrap();
    let ns = lab.space("a").unwrap();
    let at: SocketAddr = "127.0.0.1:8282".parse().unwrap();
    let roa = [("198.51.100.0/24", 24, 64_496)];
    let cache = Stayrtr::start(lab.folder(), "rtr", &ns, at, &roa).unwrap();
    let config = "router id 10.0.0.1;\nlog stderr all;\nroa4 table r4;\nprotocol device {}\n\
        protocol rpki { roa4 { table r4; }; remote 127.0.0.1 port 8282; retry keep 1; refresh keep 1; }\n";
    let bird = vm_testbed::peers::Bird::start_text(lab.folder(), "bird", &ns, config).unwrap();
    let has = |prefix: &str| {
        bird.daemon()
            .until(
                &format!("it has the ROA of {prefix}"),
                vm_testbed::lab::wait::secs(15),
                || Ok(bird.cli("show route table r4")?.contains(prefix)),
            )
            .unwrap();
    };
    has("198.51.100.0/24-24");
    cache.set(&[("203.0.113.0/24", 25, 64_497)]).unwrap();
    has("203.0.113.0/24-25");
}
