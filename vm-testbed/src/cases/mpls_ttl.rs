//! TTL along label switched paths, in the uniform and the pipe model, and what expires on them. Read RFC 3443, 3032 2.3 and
//! 2.4, 4884, 4950.

use crate::frame::{Ip4, Ip6, Lse, MPLS, eth, labelled, stack};

use super::answers::ErrorOf;
use super::{Case, Group, case, host, known_hosts, mpls, ports, router, want};

fn prepare() -> Vec<String> {
    let mut lines = known_hosts(2, &[2]);
    lines.extend(mpls::tables());
    lines.extend(
        [
            "label add 310 pop via 10.0.2.2 ttl uniform",
            "label add 311 pop via 10.0.2.2 ttl pipe",
            "label add 312 pop ttl uniform",
            "label add 313 pop ttl pipe",
            "route add 198.51.107.0/24 via 10.0.2.2 label 100 ttl uniform",
            "route add 198.51.108.0/24 via 10.0.2.2 label 100 ttl pipe",
        ]
        .map(str::to_owned),
    );
    lines
}

/// The table for the uniform model.
#[must_use]
pub fn uniform() -> Group {
    Group {
        name: "mpls-uniform",
        ports: 2,
        config: |flavor| ports(flavor, 2, |_| "mpls = true").dataplane("mpls-ttl = \"uniform\""),
        prepare,
        cases: || {
            let mut all = through(&Model {
                push: 63,
                outer: 63,
                php: 49,
                pop: 49,
                next: 49,
                null: 49,
            });
            all.extend(overrides());
            all.extend(expiry());
            all
        },
    }
}

/// The table for the pipe model.
#[must_use]
pub fn pipe() -> Group {
    Group {
        name: "mpls-pipe",
        ports: 2,
        config: |flavor| ports(flavor, 2, |_| "mpls = true").dataplane("mpls-ttl = \"pipe\""),
        prepare,
        cases: || {
            let mut all = through(&Model {
                push: 255,
                outer: 255,
                php: 64,
                pop: 63,
                next: 63,
                null: 63,
            });
            all.extend(overrides());
            all.push(expires_at_pop());
            all
        },
    }
}

/// What TTL comes out where: labels go in with 50, what lies under them with 64.
struct Model {
    /// A label that is pushed on an IP packet.
    push: u8,
    /// Labels that a swap puts on top.
    outer: u8,
    /// IP, uncovered at the last hop but one.
    php: u8,
    /// IP, uncovered and routed.
    pop: u8,
    /// The next label, uncovered and swapped.
    next: u8,
    /// IP under explicit null.
    null: u8,
}

const IN: u8 = 50;

fn l(label: u32) -> Lse {
    Lse::new(label)
}

fn p4(dst: &str) -> Ip4 {
    Ip4::udp("10.0.1.2", dst, 40)
}

fn through(m: &Model) -> Vec<Case> {
    let (p, known) = (p4("203.0.113.9"), p4("198.51.104.9"));
    let q = Ip6::udp("2001:db8:1::2", "2001:db8:900::9", 40);
    let push = p4("198.51.100.9");
    let top = |label: u32| l(label).ttl(IN);
    let low = p.clone().ttl(5);
    vec![
        case("push").packet(1, &push.bytes()).out_labelled(
            2,
            &labelled(&[l(100).ttl(m.push)], &push.clone().ttl(63).bytes()),
        ),
        case("swap")
            .labelled(1, &labelled(&[top(300)], &p.bytes()))
            .out_labelled(2, &labelled(&[l(400).ttl(IN - 1)], &p.bytes())),
        case("swap to a stack")
            .labelled(1, &labelled(&[top(302)], &p.bytes()))
            .out_labelled(
                2,
                &labelled(
                    &[
                        l(400).ttl(if m.outer == 255 { 255 } else { IN - 1 }),
                        l(500).ttl(if m.outer == 255 { 255 } else { IN - 1 }),
                        l(600).ttl(IN - 1),
                    ],
                    &p.bytes(),
                ),
            ),
        case("the last but one, IPv4")
            .labelled(1, &labelled(&[top(301)], &p.bytes()))
            .forwarded(2, &p.clone().ttl(m.php).bytes()),
        case("the last but one, IPv6")
            .labelled(1, &labelled(&[top(306)], &q.bytes()))
            .forwarded(2, &q.clone().hops(m.php).bytes()),
        case("the last but one never raises a TTL")
            .labelled(1, &labelled(&[top(301)], &low.bytes()))
            .forwarded(2, &low.bytes()),
        case("pop and route")
            .labelled(1, &labelled(&[top(304)], &known.bytes()))
            .forwarded(2, &known.clone().ttl(m.pop).bytes()),
        case("pop to the next label")
            .labelled(1, &labelled(&[top(304), l(300)], &p.bytes()))
            .out_labelled(2, &labelled(&[l(400).ttl(m.next)], &p.bytes())),
        case("explicit null")
            .labelled(1, &labelled(&[top(0)], &known.bytes()))
            .forwarded(2, &known.clone().ttl(m.null).bytes()),
        case("TTL 2 is enough to be swapped")
            .labelled(1, &labelled(&[l(300).ttl(2)], &p.bytes()))
            .out_labelled(2, &labelled(&[l(400).ttl(1)], &p.bytes())),
        case("TTL 255 is swapped")
            .labelled(1, &labelled(&[l(300).ttl(255)], &p.bytes()))
            .out_labelled(2, &labelled(&[l(400).ttl(254)], &p.bytes())),
    ]
}

/// What a route or a label says for itself goes before the general setting.
fn overrides() -> Vec<Case> {
    let (p, known) = (p4("203.0.113.9"), p4("198.51.104.9"));
    let top = |label: u32| l(label).ttl(IN);
    let push = |name: &str, dst: &str, ttl: u8| {
        let p = p4(dst);
        case(name)
            .packet(1, &p.bytes())
            .out_labelled(2, &labelled(&[l(100).ttl(ttl)], &p.clone().ttl(63).bytes()))
    };
    vec![
        case("a uniform last but one")
            .labelled(1, &labelled(&[top(310)], &p.bytes()))
            .forwarded(2, &p.clone().ttl(49).bytes()),
        case("a pipe's last but one")
            .labelled(1, &labelled(&[top(311)], &p.bytes()))
            .forwarded(2, &p.bytes()),
        case("a uniform pop")
            .labelled(1, &labelled(&[top(312)], &known.bytes()))
            .forwarded(2, &known.clone().ttl(49).bytes()),
        case("a pipe's pop")
            .labelled(1, &labelled(&[top(313)], &known.bytes()))
            .forwarded(2, &known.clone().ttl(63).bytes()),
        push("a uniform push", "198.51.107.9", 63),
        push("a pipe's push", "198.51.108.9", 255),
    ]
}

/// A labelled packet that expires at the router, which knows the way back: told directly, with the stack as received.
fn told(name: &str, labels: &[Lse], p: &Ip4, reason: &str) -> Case {
    let e = ErrorOf::new("10.0.1.1", "10.0.1.2", 11, 0, &p.bytes()).labels(&stack(labels));
    case(name)
        .labelled(1, &labelled(labels, &p.bytes()))
        .like(1, "time exceeded with the label stack", e.at(1))
        .dropped("p1", reason)
}

fn expires_at_pop() -> Case {
    told(
        "TTL 1 at a pop",
        &[l(304).ttl(1)],
        &p4("198.51.104.9"),
        "mpls_ttl_expired",
    )
}

fn expiry() -> Vec<Case> {
    let p = p4("203.0.113.9");
    let q = Ip6::udp("2001:db8:1::2", "2001:db8:900::9", 40).bytes();
    let e6 =
        ErrorOf::new("2001:db8:1::1", "2001:db8:1::2", 3, 0, &q).labels(&stack(&[l(300).ttl(1)]));
    let silent = |name: &str, payload: &[u8]| {
        case(name)
            .labelled(1, &labelled(&[l(300).ttl(1)], payload))
            .dropped("p1", "mpls_ttl_expired")
    };
    let about_error = Ip4::icmp("10.0.1.2", "203.0.113.9", 3, 1, [0; 4], &p.bytes()).bytes();
    let later = p.clone().with(|p| (p.df, p.offset) = (false, 1480)).bytes();
    let mut all = vec![
        told("TTL 1 at a swap", &[l(300).ttl(1)], &p, "mpls_ttl_expired"),
        told("TTL 0 at a swap", &[l(300).ttl(0)], &p, "mpls_ttl_expired"),
        told(
            "TTL 1 at the last but one",
            &[l(301).ttl(1)],
            &p,
            "mpls_ttl_expired",
        ),
        told(
            "the whole stack is shown",
            &[l(300).ttl(1).tc(5), l(77).ttl(9), l(78).ttl(200)],
            &p,
            "mpls_ttl_expired",
        ),
        told(
            "a long packet is cut for the extension",
            &[l(300).ttl(1)],
            &Ip4::udp("10.0.1.2", "203.0.113.9", 1300),
            "mpls_ttl_expired",
        ),
        told(
            "TTL 1 at a pop expires as IP does",
            &[l(304).ttl(1)],
            &p4("198.51.104.9"),
            "ttl_expired",
        ),
        told(
            "the IP TTL runs out under a popped label",
            &[l(304)],
            &p4("198.51.104.9").ttl(1),
            "ttl_expired",
        ),
        case("TTL 1 on IPv6")
            .labelled(1, &labelled(&[l(300).ttl(1)], &q))
            .like(1, "time exceeded with the label stack", e6.at(1))
            .dropped("p1", "mpls_ttl_expired"),
        silent("no error about what is no IP", &[0x10; 60]),
        silent("no error about an error", &about_error),
        silent("no error about a later fragment", &later),
    ];
    all.push(along());
    all
}

/// The router has no route back to the sender: the error goes on along the path, whose end knows the way (RFC 3032 2.3.2).
fn along() -> Case {
    let p = Ip4::udp("192.168.77.7", "203.0.113.9", 40).bytes();
    let e = ErrorOf::new("10.0.1.1", "192.168.77.7", 11, 0, &p).labels(&stack(&[l(300).ttl(1)]));
    let head = eth(host(2, 2), router(2), MPLS, &stack(&[l(400).ttl(255)]));
    case("a sender without a route back is told along the path")
        .labelled(1, &labelled(&[l(300).ttl(1)], &p))
        .like(2, "time exceeded under label 400", move |f: &[u8]| {
            want(f.starts_with(&head), "not under label 400 with TTL 255")?;
            e.is(&f[head.len()..])
        })
        .dropped("p1", "mpls_ttl_expired")
}
