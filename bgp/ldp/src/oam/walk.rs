//! Pings and traces through routers that are no more than tables, in virtual time.
//!
//! ```text
//!   0 ── 1 ── 2 ── 3      router n: 192.0.2.n, 10.0.n.2 towards n-1
//! ```
//! Router 0 asks; a path of labels leads to 3, which has the prefix.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use super::probe::{Answer, Outcome, Plan, Session};
use super::respond::{ALL_ROUTERS, Entry, Received, Router, Way, respond};
use super::*;
use crate::types::Label;

const PREFIX: &str = "203.0.113.0/24";

fn prefix() -> IpNet {
    PREFIX.parse().unwrap()
}

fn label(n: u32) -> Label {
    Label::new(n).unwrap()
}

fn told(n: u32) -> PathLabel {
    PathLabel {
        label: label(n),
        rest: 0,
        protocol: 3,
    }
}

fn near(router: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, router, 2)
}

/// What a router does with a label.
#[derive(Clone)]
enum Op {
    Pop,
    /// To that router; these take its place, and those are said to.
    Swap(u8, Vec<u32>, Vec<u32>),
    /// It has lost its next hop.
    Cut,
}

fn swap(to: u8, labels: &[u32]) -> Op {
    Op::Swap(to, labels.to_vec(), labels.to_vec())
}

#[derive(Clone, Default)]
struct Lsr {
    ilm: BTreeMap<u32, Op>,
    fecs: Vec<(FecElement, u32)>,
    silent: bool,
    /// It speaks no LDP where requests come in.
    mute: bool,
    bare: bool,
}

struct At<'a>(u8, &'a Lsr);

impl Router for At<'_> {
    fn entry(&self, l: Label) -> Entry {
        match self.1.ilm.get(&l.get()) {
            None => Entry::Unknown,
            Some(Op::Pop) => Entry::Pop,
            Some(Op::Cut) => Entry::Switch(vec![]),
            Some(Op::Swap(to, _, said)) => Entry::Switch(vec![Way {
                mtu: 1500,
                hop: Hop::V4(near(*to), near(*to)),
                mpls: !self.1.bare,
                labels: match said.is_empty() {
                    true => vec![told(3)],
                    false => said.iter().map(|&l| told(l)).collect(),
                },
            }]),
        }
    }

    fn mapping(&self, fec: &FecElement, _: Label) -> Option<Label> {
        let mut all = self.1.fecs.iter();
        all.find(|(f, _)| f == fec).map(|(_, l)| label(*l))
    }

    fn tells(&self, _: &FecElement) -> bool {
        !self.1.mute
    }

    fn is_own(&self, a: IpAddr) -> bool {
        a == Ipv4Addr::new(192, 0, 2, self.0) || self.is_here(a)
    }

    fn is_here(&self, a: IpAddr) -> bool {
        a == near(self.0)
    }

    fn came_in(&self) -> Hop {
        Hop::V4(Ipv4Addr::new(192, 0, 2, self.0), near(self.0))
    }
}

#[derive(Clone)]
struct Net(Vec<Lsr>);

/// Each has a label of its own, 100 more than its number; the last one's comes off where it is.
fn line() -> Net {
    let fec = FecElement::Ldp(prefix());
    let mut all = vec![Lsr::default(); 4];
    for n in 1..4u8 {
        let own = 100 + u32::from(n);
        let op = if n == 3 {
            Op::Pop
        } else {
            swap(n + 1, &[own + 1])
        };
        all[usize::from(n)] = Lsr {
            ilm: BTreeMap::from([(own, op)]),
            fecs: vec![(fec.clone(), own)],
            ..Lsr::default()
        };
    }
    Net(all)
}

/// The last but one takes the label off.
fn penultimate() -> Net {
    let mut net = line();
    net.0[2].ilm.insert(102, swap(3, &[]));
    net.0[3] = Lsr {
        fecs: vec![(FecElement::Ldp(prefix()), 3)],
        ..Lsr::default()
    };
    net
}

/// Takes the top off; what lies under it lives no longer (RFC 3443 5.4).
fn bare(stack: &mut Vec<u32>, ttl: u32) {
    stack.remove(0);
    if let Some(next) = stack.first_mut() {
        *next = *next & !0xff | ttl.min(*next & 0xff);
    }
}

impl Net {
    /// Carries a request from router 0 to 1 under these labels. Who answers, and what.
    fn carry(&self, labels: &[u32], ttl: u8, octets: &[u8]) -> Option<(u8, Echo)> {
        let entry = |l: &u32| l << 12 | u32::from(ttl);
        let mut stack: Vec<u32> = labels.iter().map(entry).collect();
        let mut at = 1;
        loop {
            let lsr = &self.0[usize::from(at)];
            let received = Received {
                stack: stack.clone(),
                at: 77,
            };
            let answer = || {
                let a = respond(&At(at, lsr), octets, &received)?;
                (!lsr.silent).then_some((at, a.echo))
            };
            // Labels that end here go one after another.
            loop {
                let Some(&top) = stack.first() else {
                    return answer();
                };
                match lsr.ilm.get(&(top >> 12)) {
                    Some(Op::Pop) => bare(&mut stack, top & 0xff),
                    Some(Op::Swap(to, labels, _)) if top & 0xff > 1 => {
                        let ttl = (top & 0xff) - 1;
                        if labels.is_empty() {
                            bare(&mut stack, ttl);
                        } else {
                            stack.splice(..1, labels.iter().map(|l| l << 12 | ttl));
                        }
                        at = *to;
                        break;
                    }
                    _ => return answer(),
                }
            }
        }
    }

    /// Runs a session to its end under these labels; says what every request came to, and how long all took.
    fn run(&self, labels: &[u32], plan: Plan) -> (Vec<Outcome>, Duration) {
        let begun = Instant::now();
        let (mut now, mut s) = (begun, Session::new(5, plan, begun));
        while let Some(at) = s.poll_at() {
            now = now.max(at);
            while let Some(send) = s.tick(now, 9) {
                if let Some((n, echo)) = self.carry(labels, send.ttl, &send.octets) {
                    now += Duration::from_millis(1);
                    let from = Ipv4Addr::new(192, 0, 2, n).into();
                    assert!(s.reply(now, from, &echo), "{echo:?}");
                    assert!(!s.reply(now, from, &echo), "once only");
                }
            }
        }
        assert!(s.is_done() && s.settled() == s.probes().len());
        let all = s.probes().iter().map(|p| p.outcome.clone()).collect();
        (all, now - begun)
    }
}

fn ping(count: u32) -> Plan {
    Plan {
        fecs: vec![FecElement::Ldp(prefix())],
        trace: None,
        count,
        interval: Duration::from_secs(1),
        timeout: Duration::from_secs(2),
        ttl: 255,
        alert: false,
        size: 0,
    }
}

fn trace(labels: &[u32]) -> Plan {
    Plan {
        trace: Some(Detailed {
            mtu: 1500,
            want_in_labels: true,
            no_ip: false,
            hop: Hop::V4(near(1), near(1)),
            code: ReturnCode::NONE,
            subcode: 0,
            multipath: None,
            labels: Some(labels.iter().map(|&l| told(l)).collect()),
            changes: vec![],
        }),
        ttl: 30,
        ..ping(2)
    }
}

/// Who answered, with which code at which depth; 0 for nobody.
fn who(all: &[Outcome]) -> Vec<(u8, u8, u8)> {
    let one = |o: &Outcome| match o {
        Outcome::Answered(a) => match a.from {
            IpAddr::V4(from) => (from.octets()[3], a.code.0, a.subcode),
            IpAddr::V6(_) => panic!("{a:?}"),
        },
        _ => (0, 0, 0),
    };
    all.iter().map(one).collect()
}

fn answered(o: &Outcome) -> &Answer {
    match o {
        Outcome::Answered(a) => a,
        other => panic!("{other:?}"),
    }
}

#[test]
fn pings_arrive_at_the_end() {
    for net in [line(), penultimate()] {
        let (all, took) = net.run(&[101], ping(3));
        assert_eq!(who(&all), [(3, 3, 1); 3]);
        assert!(all.iter().all(|o| answered(o).is_end()));
        assert!((2000..2010).contains(&took.as_millis()), "{took:?}");
        assert_eq!(answered(&all[0]).took, Duration::from_millis(1));
    }
}

#[test]
fn pings_that_are_lost_are_given_up_each() {
    let mut net = line();
    net.0[3].silent = true;
    let (all, took) = net.run(&[101], ping(3));
    assert_eq!(all, vec![Outcome::Lost; 3]);
    assert_eq!(took, Duration::from_secs(4));
}

#[test]
fn a_trace_shows_each_hop_with_its_labels() {
    let (all, _) = line().run(&[101], trace(&[101]));
    assert_eq!(who(&all), [(1, 8, 1), (2, 8, 1), (3, 3, 1)]);
    let onward: Vec<_> = all.iter().map(|o| answered(o).ways.clone()).collect();
    assert_eq!(onward[0][0].hop, Hop::V4(near(2), near(2)));
    let labels = onward[0][0].labels.clone().unwrap();
    assert_eq!((labels[0].label, labels[0].rest), (label(102), 1));
    assert!(onward[2].is_empty());
    let came = answered(&all[1]).came.clone().unwrap();
    assert_eq!(came.hop, Hop::V4(Ipv4Addr::new(192, 0, 2, 2), near(2)));
    assert_eq!(came.stack, [102 << 12 | 1], "as it came");
    // Where the label is taken off before the end, the last one says so, and the end has none.
    let (all, _) = penultimate().run(&[101], trace(&[101]));
    assert_eq!(who(&all), [(1, 8, 1), (2, 8, 1), (3, 3, 1)]);
    let way = &answered(&all[1]).ways[0];
    assert_eq!(way.labels.as_ref().unwrap()[0].label, Label::IMPLICIT_NULL);
    assert_eq!(answered(&all[2]).came.clone().unwrap().stack, [0; 0]);
}

/// Each way for a path to be broken, and where it is then said to be.
#[test]
fn a_broken_path_says_where_and_why() {
    // What is wrong, what a trace says of it, and what a ping does.
    type Case<'a> = (&'a str, fn(&mut Net), &'a [(u8, u8, u8)], (u8, u8));
    let cases: [Case<'_>; 8] = [
        (
            "a label is missing",
            |n| n.0[2].ilm.clear(),
            &[(1, 8, 1), (2, 11, 1)],
            (2, 11),
        ),
        (
            "the last one is",
            |n| n.0[3].ilm.clear(),
            &[(1, 8, 1), (2, 8, 1), (3, 11, 1)],
            (3, 11),
        ),
        (
            "a next hop has gone",
            |n| drop(n.0[2].ilm.insert(102, Op::Cut)),
            &[(1, 8, 1), (2, 9, 1)],
            (2, 9),
        ),
        (
            "the next hop has no MPLS",
            |n| n.0[2].bare = true,
            &[(1, 8, 1), (2, 9, 1)],
            (3, 3),
        ),
        (
            "another's label, swapped to and told",
            |n| {
                n.0[1].ilm.insert(101, swap(2, &[150]));
                n.0[2].ilm.insert(150, swap(3, &[103]));
            },
            &[(1, 8, 1), (2, 10, 1)],
            (3, 3),
        ),
        (
            "another's label, and the right one is told",
            |n| {
                n.0[1].ilm.insert(101, Op::Swap(2, vec![150], vec![102]));
                n.0[2].ilm.insert(150, swap(3, &[103]));
            },
            &[(1, 8, 1), (2, 5, 0)],
            (3, 3),
        ),
        (
            "it ends where it should not",
            |n| drop(n.0[2].ilm.insert(102, Op::Pop)),
            &[(1, 8, 1), (2, 3, 1)],
            (2, 3),
        ),
        (
            "the end does not know the prefix",
            |n| n.0[3].fecs.clear(),
            &[(1, 8, 1), (2, 8, 1), (3, 4, 1)],
            (3, 4),
        ),
    ];
    for (what, change, hops, pinged) in cases {
        let mut net = line();
        change(&mut net);
        let (all, _) = net.run(&[101], trace(&[101]));
        assert_eq!(who(&all), hops, "{what}");
        let (all, _) = net.run(&[101], ping(1));
        let (from, code, _) = who(&all)[0];
        assert_eq!((from, code), pinged, "{what}");
    }
}

#[test]
fn who_tells_no_labels_there_is_named() {
    let mut net = line();
    net.0[3].mute = true;
    let (all, _) = net.run(&[101], ping(1));
    assert_eq!(who(&all), [(3, 12, 1)]);
}

#[test]
fn a_silent_router_is_passed_over() {
    let mut net = line();
    net.0[2].silent = true;
    let (all, took) = net.run(&[101], trace(&[101]));
    assert_eq!(who(&all), [(1, 8, 1), (0, 0, 0), (0, 0, 0), (3, 3, 1)]);
    assert!(took >= Duration::from_secs(4), "asked twice");
    // With all of them silent it ends.
    net.0.iter_mut().for_each(|l| l.silent = true);
    let (all, _) = net.run(&[101], trace(&[101]));
    assert_eq!(all, vec![Outcome::Lost; 6]);
    // It goes no farther than it is told to.
    let plan = Plan {
        ttl: 2,
        ..trace(&[101])
    };
    let (all, _) = line().run(&[101], plan);
    assert_eq!(who(&all), [(1, 8, 1), (2, 8, 1)]);
}

/// A VPN's label under the transport's: each is held against its own FEC, with and without penultimate popping.
#[test]
fn stacks_of_fecs_are_held_against_stacks_of_labels() {
    let vpn = FecElement::Vpn([0, 0, 0xfc, 0, 0, 0, 0, 1], "10.8.0.0/16".parse().unwrap());
    let plan = |p: Plan| Plan {
        fecs: vec![FecElement::Ldp(prefix()), vpn.clone()],
        ..p
    };
    for mut net in [line(), penultimate()] {
        net.0[3].ilm.insert(700, Op::Pop);
        net.0[3].fecs.push((vpn.clone(), 700));
        let (all, _) = net.run(&[101, 700], plan(ping(1)));
        assert_eq!(who(&all), [(3, 3, 2)]);
        let (all, _) = net.run(&[101, 700], plan(trace(&[101, 700])));
        assert_eq!(who(&all), [(1, 8, 2), (2, 8, 2), (3, 3, 2)]);
        let labels = answered(&all[0]).ways[0].labels.clone().unwrap();
        let labels: Vec<(u32, u8)> = labels.iter().map(|l| (l.label.get(), l.rest)).collect();
        assert_eq!(labels, [(102, 0), (700, 1)]);
        // Explicit null and entropy label stand for no FEC.
        let (all, _) = net.run(&[101, 700, 0], plan(ping(1)));
        assert_eq!(who(&all), [(3, 3, 2)]);
        // Another VPN's, and none.
        net.0[3].ilm.insert(701, Op::Pop);
        let (all, _) = net.run(&[101, 701], plan(ping(1)));
        assert_eq!(who(&all), [(3, 10, 1)]);
        let (all, _) = net.run(&[101, 702], plan(ping(1)));
        assert_eq!(who(&all), [(3, 11, 1)]);
        net.0[3].fecs.pop();
        let (all, _) = net.run(&[101, 700], plan(ping(1)));
        assert_eq!(who(&all), [(3, 4, 1)]);
    }
}

/// A tunnel ends at the border of an AS, which swaps the VPN's label: the FECs of the tunnel end there too (3.4.1.3, 4.5.1).
#[test]
fn fecs_that_end_on_the_way_are_popped() {
    let vpn = FecElement::Vpn([0, 0, 0xfc, 0, 0, 0, 0, 1], "10.8.0.0/16".parse().unwrap());
    let tunnel = FecElement::Ldp(prefix());
    let plan = |p: Plan| Plan {
        fecs: vec![tunnel.clone(), vpn.clone()],
        ..p
    };
    // 1 takes the tunnel's label off, or 2 does; 2 is the border, and 3 the end.
    for own in [3, 102] {
        let mut net = line();
        if own == 3 {
            net.0[1].ilm.insert(101, swap(2, &[]));
        }
        net.0[2] = Lsr {
            ilm: BTreeMap::from([(102, Op::Pop), (500, swap(3, &[700]))]),
            fecs: vec![(tunnel.clone(), own), (vpn.clone(), 500)],
            ..Lsr::default()
        };
        net.0[3] = Lsr {
            ilm: BTreeMap::from([(700, Op::Pop)]),
            fecs: vec![(vpn.clone(), 700)],
            ..Lsr::default()
        };
        let trace = || plan(trace(&[101, 500]));
        let (all, _) = net.run(&[101, 500], trace());
        assert_eq!(who(&all), [(1, 8, 2), (2, 15, 1), (3, 3, 1)], "{own}");
        let way = &answered(&all[1]).ways[0];
        let popped = StackChange {
            push: false,
            peer: None,
            fec: Some(tunnel.clone()),
        };
        assert_eq!(way.changes, [popped]);
        assert_eq!(way.labels.as_ref().unwrap()[0].label, label(700));
        // The border has another label for it, does not know it, or nothing of the tunnel.
        net.0[2].fecs[1].1 = 501;
        let (all, _) = net.run(&[101, 500], trace());
        assert_eq!(who(&all), [(1, 8, 2), (2, 10, 1)], "{own}");
        net.0[2].fecs.pop();
        let (all, _) = net.run(&[101, 500], trace());
        assert_eq!(who(&all), [(1, 8, 2), (2, 4, 1)], "{own}");
        net.0[2].fecs = vec![(vpn.clone(), 500)];
        let (all, _) = net.run(&[101, 500], trace());
        assert_eq!(who(&all), [(1, 8, 2), (2, 4, 2)], "{own}");
        // Behind one that says nothing of it, the end has nothing to say of the tunnel. Pings find out that it ended before.
        net.0[2].silent = true;
        let (all, _) = net.run(&[101, 500], trace());
        assert_eq!(who(&all).last(), Some(&(3, 4, 2)), "{own}");
        let (all, took) = net.run(&[101, 500], plan(ping(2)));
        assert_eq!(who(&all), [(3, 3, 1); 2], "{own}");
        assert_eq!(took, Duration::from_millis(1001), "one is asked twice");
        // Wrong is what the innermost one says.
        net.0[3].fecs = vec![(vpn.clone(), 701)];
        let (all, _) = net.run(&[101, 500], plan(ping(2)));
        assert_eq!(who(&all), [(3, 10, 1); 2], "{own}");
    }
}

/// What others say of the FEC stack holds for what is asked next; the innermost stays, and there is an end to it.
#[test]
fn what_is_said_of_the_fec_stack_is_heeded() {
    let outer = FecElement::Generic("10.7.0.0/16".parse().unwrap());
    let change = |push, fec| StackChange {
        push,
        peer: None,
        fec,
    };
    let pop = change(false, None);
    let push = change(true, Some(outer.clone()));
    let (own, two) = (FecElement::Ldp(prefix()), |own: &FecElement| {
        vec![outer.clone(), own.clone()]
    });
    for (changes, want) in [
        (vec![pop.clone()], vec![own.clone()]),
        (vec![push.clone()], two(&own)),
        (vec![push.clone(), pop.clone()], vec![own.clone()]),
        (vec![pop.clone(), push.clone()], two(&own)),
        (vec![change(true, None)], vec![own.clone()]),
        (
            vec![push.clone(); 99],
            [vec![outer.clone(); 15], vec![own.clone()]].concat(),
        ),
    ] {
        let now = Instant::now();
        let mut s = Session::new(5, trace(&[101]), now);
        s.tick(now, 9).unwrap();
        let way = Detailed {
            code: ReturnCode::FEC_CHANGE,
            subcode: 1,
            changes,
            ..trace(&[101]).trace.unwrap()
        };
        let asked = Echo::request(5, 1, 9, vec![]);
        let mut reply = asked.reply(ReturnCode::SEE_DETAILED, 0, 9);
        reply.tlvs.push(Tlv::Detailed(way));
        assert!(s.reply(now, near(1).into(), &reply));
        let next = Echo::parse(&s.tick(now, 9).unwrap().octets).unwrap();
        assert_eq!(next.tlvs[0], Tlv::TargetFec(want));
    }
}

/// Who answers can't keep a ping alive: each answer leaves fewer FECs to ask about.
#[test]
fn pings_are_asked_again_as_often_as_they_have_fecs() {
    let now = Instant::now();
    let fecs = vec![FecElement::Ldp(prefix()); 3];
    let mut s = Session::new(5, Plan { fecs, ..ping(1) }, now);
    let mut asked = vec![];
    while let Some(send) = s.tick(now, 9) {
        let echo = Echo::parse(&send.octets).unwrap();
        let Tlv::TargetFec(fecs) = &echo.tlvs[0] else {
            panic!("{echo:?}")
        };
        asked.push(fecs.len());
        let reply = echo.reply(ReturnCode::NO_MAPPING, fecs.len() as u8, 9);
        assert!(s.reply(now, near(1).into(), &reply));
    }
    assert_eq!(asked, [3, 2, 1]);
    assert!(s.is_done());
    let last = answered(&s.probes()[0].outcome);
    assert_eq!((last.code, last.subcode), (ReturnCode::NO_MAPPING, 1));
}

fn asked(tlvs: Vec<Tlv>) -> Echo {
    Echo::request(1, 2, 3, tlvs)
}

fn octets(e: &Echo) -> Vec<u8> {
    let mut out = vec![];
    e.emit(&mut out);
    out
}

fn target() -> Tlv {
    Tlv::TargetFec(vec![FecElement::Ldp(prefix())])
}

/// What router 2 answers to what came under its label with a TTL of 1.
fn second(request: &[u8]) -> Option<super::respond::Answer> {
    let net = line();
    let received = Received {
        stack: vec![102 << 12 | 0x101],
        at: 77,
    };
    respond(&At(2, &net.0[2]), request, &received)
}

#[test]
fn what_is_wrong_or_not_known_is_answered_so() {
    let code = |tlvs| {
        let a = second(&octets(&asked(tlvs))).unwrap();
        (a.echo.code.0, a.echo.subcode)
    };
    assert_eq!(code(vec![target()]), (8, 1));
    assert_eq!(code(vec![]), (1, 0), "no target");
    assert_eq!(code(vec![target(), target()]), (1, 0), "two");
    let deep = vec![FecElement::Ldp(prefix()); 17];
    assert_eq!(code(vec![Tlv::TargetFec(deep)]), (1, 0), "more than labels");
    let unknown = Tlv::Unknown(99, vec![1]);
    assert_eq!(code(vec![target(), unknown.clone()]), (2, 0));
    let a = second(&octets(&asked(vec![target(), unknown]))).unwrap();
    assert_eq!(a.echo.tlvs, [Tlv::Errored(vec![(99, vec![1])])]);
    // What is cut off in its parameters says where it comes from all the same.
    let mut cut = octets(&asked(vec![target()]));
    cut.pop();
    cut.truncate(cut.len() - 4);
    let a = second(&cut).unwrap();
    assert_eq!((a.echo.code.0, a.echo.handle, a.echo.sequence), (1, 1, 2));
    assert_eq!(second(&cut[..HEADER - 1]), None);
}

#[test]
fn answers_go_as_they_are_asked_for_or_not_at_all() {
    let mode = |reply_mode| {
        let e = Echo {
            reply_mode,
            ..asked(vec![target(), Tlv::ReplyTos(0xb8)])
        };
        second(&octets(&e)).map(|a| (a.alert, a.tos))
    };
    assert_eq!(mode(ReplyMode::Udp), Some((false, Some(0xb8))));
    assert_eq!(mode(ReplyMode::UdpAlert), Some((true, Some(0xb8))));
    for none in [ReplyMode::None, ReplyMode::Channel, ReplyMode::Other(9)] {
        assert_eq!(mode(none), None);
    }
    let reply = asked(vec![target()]).reply(ReturnCode::EGRESS, 1, 5);
    assert_eq!(second(&octets(&reply)), None, "an answer has none");
    // The T flag: only where the TTL ran out.
    let net = line();
    let e = Echo {
        only_if_expired: true,
        ..asked(vec![target()])
    };
    for (ttl, answers) in [(1, true), (2, false)] {
        let received = Received {
            stack: vec![103 << 12 | ttl],
            at: 0,
        };
        let a = respond(&At(3, &net.0[3]), &octets(&e), &received);
        assert_eq!(a.is_some(), answers);
    }
}

#[test]
fn what_the_sender_says_of_us_is_checked() {
    let with = |hop, labels: &[u32], old: bool| {
        let labels: Vec<PathLabel> = labels.iter().map(|&l| told(l)).collect();
        let mapping = match old {
            false => Tlv::Detailed(Detailed {
                mtu: 0,
                want_in_labels: false,
                no_ip: false,
                hop,
                code: ReturnCode::NONE,
                subcode: 0,
                multipath: None,
                labels: Some(labels),
                changes: vec![],
            }),
            true => Tlv::Downstream(Downstream {
                mtu: 0,
                want_in_labels: false,
                no_ip: false,
                hop,
                depth_limit: 0,
                multipath: Multipath::default(),
                labels,
            }),
        };
        let e = second(&octets(&asked(vec![target(), mapping])))
            .unwrap()
            .echo;
        let tells_in = e.tlvs.iter().any(|t| matches!(t, Tlv::InLabels(_)));
        let ways = e
            .tlvs
            .iter()
            .filter(|t| matches!(t, Tlv::Detailed(_) | Tlv::Downstream(_)));
        (e.code.0, ways.count(), tells_in)
    };
    let own = Ipv4Addr::new(192, 0, 2, 2);
    let right = Hop::V4(own, near(2));
    for old in [false, true] {
        let good = if old { 8 } else { 14 };
        for (hop, labels, want) in [
            (right, &[102][..], (good, 1, false)),
            (right, &[3, 102], (good, 1, false)),
            (Hop::V4(near(2), near(2)), &[102], (good, 1, false)),
            (Hop::V4Index(own, 9), &[102], (good, 1, false)),
            (right, &[103], (5, 0, true)),
            (right, &[], (5, 0, true)),
            (Hop::V4(own, near(3)), &[102], (5, 0, true)),
            (Hop::V4(near(3), near(2)), &[102], (5, 0, true)),
            (Hop::V4(ALL_ROUTERS, own), &[], (good, 1, false)),
            // Only its codes differ: the way is told.
            (
                Hop::V4(Ipv4Addr::LOCALHOST, own),
                &[],
                (if old { 6 } else { 14 }, 1, true),
            ),
        ] {
            assert_eq!(with(hop, labels, old), want, "{hop:?} {labels:?} {old}");
        }
    }
}

#[test]
fn requests_are_as_long_as_they_are_to_be() {
    let mut s = Session::new(
        5,
        Plan {
            size: 200,
            ..ping(1)
        },
        Instant::now(),
    );
    let send = s.tick(Instant::now(), 9).unwrap();
    assert_eq!(send.octets.len().div_ceil(4) * 4, 200);
    let e = Echo::parse(&send.octets).unwrap();
    assert!(matches!(e.tlvs[1], Tlv::Pad(Pad::Drop, _)));
    assert_eq!((e.handle, e.sequence, e.sent), (5, 1, 9));
    let a = second(&send.octets).unwrap();
    assert!(a.echo.tlvs.is_empty(), "the pad is dropped");
}
