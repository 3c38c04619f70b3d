//! What becomes of routes between more than two: several paths of a prefix, reflection, confederations, limits; with every
//! speaker that has it ([`speakers`](super::speakers)).

use anyhow::{Context, Result, ensure};

use super::speakers::{Party, Special, makes};
use super::{AS, address, around, asn, neighbor, sections, setup};
use crate::lab::wait::{secs, until};
use crate::peers::{Announce, Make, Setup};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";

/// What guest `n` announces.
fn prefix(n: u8) -> String {
    format!("198.51.{n}.0/24")
}

/// Two paths of one prefix, in each speaker's own way, and several paths both ways.
fn two_paths(make: Make, n: u8) -> Setup {
    let net = prefix(n);
    let s = setup(n);
    match make {
        // One of its own, one of the kernel's.
        Make::Frr => s
            .announce(Announce::new(&net))
            .neighbor("bgp bestpath as-path multipath-relax")
            .family("addpath-tx-all-paths"),
        Make::Bird => s.announce(Announce::new(&net)).family("add paths on;").top(
            &format!(
                "protocol static more {{ ipv4; route {net} blackhole {{ bgp_community.add((65001,2)); preference = 100; }}; }}"
            ),
        ),
        Make::Gobgp => s.family("[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8"),
        Make::Exabgp => s.neighbor("capability { add-path send/receive; }"),
    }
}

/// See the list of scenarios. RFC 7911.
///
/// # Errors
/// When it fails.
pub fn add_path(o: &Options) -> Result<()> {
    let makes = makes("bgp/add-path", "7911");
    let both = "add-path = { send = true, receive = true }";
    let party = Party::start("bb-add-path", o, &makes, "", |make, n| Special {
        ours: both.into(),
        theirs: two_paths(make, n),
        asn: asn(n),
    })?;
    for g in &party.guests {
        let name = g.setup.local.to_string();
        let said = party.lab.neighbor(&name)?["capabilities"].to_string();
        ensure!(
            said.contains("add-path-send") && said.contains("add-path-receive"),
            "{:?}: {said}",
            g.make
        );
        second(&party, g)?;
    }
    for g in &party.guests {
        let net = prefix(g.n);
        party
            .lab
            .wait_routes(&format!("{net} received {}", g.setup.local), 2)
            .with_context(|| format!("two paths of {:?}", g.make))?;
        for p in party.guests.iter().filter(|p| p.n != g.n) {
            let seen = p.speaker.wait_paths(&net, "two paths", &|p| p.len() == 2);
            let seen = seen.with_context(|| format!("{:?} of {:?}", p.make, g.make))?;
            let right = |s: &crate::peers::Seen| s.path.starts_with(&format!("{AS} {}", asn(g.n)));
            ensure!(seen.iter().all(right), "{:?}: {seen:?}", p.make);
        }
    }
    // One is taken back: the other stays.
    for g in &party.guests {
        one_less(&party, g)?;
        for p in party.guests.iter().filter(|p| p.n != g.n) {
            p.speaker.wait_path(&prefix(g.n))?;
        }
    }
    party.end(vec![])
}

/// The second path, where it is not there from the start.
fn second(party: &Party, g: &super::speakers::Guest) -> Result<()> {
    let (net, asn) = (prefix(g.n), asn(g.n));
    match g.make {
        Make::Frr => {
            let space = &party.lab.spaces[usize::from(g.n) - 1];
            space.ip(&format!("route add blackhole {net}"))?;
            let lines: [&str; 3] = [
                &format!("router bgp {asn}"),
                "address-family ipv4 unicast",
                "redistribute kernel",
            ];
            g.speaker.tell_it(&lines)
        }
        Make::Bird => Ok(()),
        Make::Gobgp => g.speaker.tell_it(&[
            &format!("global rib add -a ipv4 {net} origin igp nexthop 10.0.{}.2 identifier 1", g.n),
            &format!("global rib add -a ipv4 {net} origin igp nexthop 10.0.{}.2 identifier 2 community 65001:2", g.n),
        ]),
        Make::Exabgp => {
            let route = |id: u8, more: &str| {
                format!(
                    "announce route {net} next-hop 10.0.{}.2 path-information 0.0.0.{id} as-path [ {asn} {more} ]",
                    g.n
                )
            };
            g.speaker.tell_it(&[&route(1, "65010"), &route(2, "65020 65021")])
        }
    }
}

/// Takes one of the two back.
fn one_less(party: &Party, g: &super::speakers::Guest) -> Result<()> {
    let net = prefix(g.n);
    match g.make {
        Make::Frr => {
            let space = &party.lab.spaces[usize::from(g.n) - 1];
            space.ip(&format!("route del blackhole {net}")).map(drop)
        }
        Make::Bird => g.speaker.tell_it(&["disable more"]),
        Make::Gobgp => g.speaker.tell_it(&[&format!(
            "global rib del -a ipv4 {net} origin igp nexthop 10.0.{}.2 identifier 1",
            g.n
        )]),
        Make::Exabgp => g.speaker.tell_it(&[&format!(
            "withdraw route {net} next-hop 10.0.{}.2 path-information 0.0.0.1",
            g.n
        )]),
    }
}

/// See the list of scenarios. RFC 4456.
///
/// # Errors
/// When it fails.
pub fn reflection(o: &Options) -> Result<()> {
    let makes = makes("bgp/reflection", "4456");
    let more = makes.len() as u8 + 1;
    let inside = |n: u8| {
        let mut s = setup(n).announce(Announce::new(&prefix(n)));
        s.asn = AS;
        s
    };
    let party = Party::start("bb-reflect", o, &makes, &neighbor(more, AS, ""), |_, n| {
        Special {
            asn: AS,
            ours: "route-reflector-client = true".into(),
            theirs: inside(n),
        }
    })?;
    let s = inside(more);
    let other = party.lab.start(more, Make::Frr, &s)?;
    party.lab.established(other.as_ref(), &s)?;
    for g in &party.guests {
        for from in party.guests.iter().filter(|f| f.n != g.n) {
            let seen = g.speaker.wait_path(&prefix(from.n))?;
            ensure!(
                seen.next_hop == address(from.n).to_string() && seen.path.is_empty(),
                "{:?}: {seen:?}",
                g.make
            );
            let said = g.speaker.shown(&prefix(from.n))?;
            // Who it is from, and who reflected it; and not from where BIRD and FRR would say so of any route.
            let who = format!("10.0.{}.2", from.n);
            ensure!(
                said.contains(&who) && said.contains("192.0.2.1"),
                "{:?}: no originator {who} or no cluster 192.0.2.1 in {said}",
                g.make
            );
        }
        // From who is no client, to clients; and the other way.
        g.speaker.wait_path(&prefix(more))?;
        other.wait_path(&prefix(g.n))?;
    }
    party.end(vec![other])
}

/// See the list of scenarios. RFC 5065.
///
/// # Errors
/// When it fails.
pub fn confederation(o: &Options) -> Result<()> {
    let makes = makes("bgp/confederation", "5065");
    let member = |n: u8| 64_512 + u32::from(n);
    let members: Vec<String> = (1..=makes.len() as u8)
        .map(|n| member(n).to_string())
        .collect();
    let bgp = format!(
        "confederation = {{ id = 64999, members = [{}] }}",
        members.join(", ")
    );
    let others = members.join(" ");
    let party = Party::start("bb-confed", o, &makes, &bgp, |make, n| {
        let mut s = setup(n).announce(Announce::new(&prefix(n)));
        s.asn = member(n);
        let s = match make {
            Make::Frr => s
                .neighbor("bgp confederation identifier 64999")
                .neighbor(&format!("bgp confederation peers {AS} {others}")),
            Make::Bird => s.neighbor("confederation 64999; confederation member yes;"),
            _ => s.top(&format!(
                "[global.confederation.config]\nenabled = true\nidentifier = 64999\nmember-as-list = [{AS}]"
            )),
        };
        Special {
            asn: member(n),
            // BIRD wants next hops of its link from other members, too.
            ours: "next-hop-self = true".into(),
            theirs: s,
        }
    })?;
    let n = party.more();
    let mut outside = setup(n).announce(Announce::new(V4));
    outside.peer_asn = 64_999;
    let p2 = party.lab.start(n, Make::Bird, &outside)?;
    party.lab.established(p2.as_ref(), &outside)?;
    // GoBGP does not say which segments are the confederation's.
    let shown = |make: Make, inner: String, rest: &str| match make {
        Make::Gobgp => format!("{inner} {rest}").trim_end().to_owned(),
        _ => format!("({inner}) {rest}").trim_end().to_owned(),
    };
    for g in &party.guests {
        let net = prefix(g.n);
        let query = format!("{net} received {}", g.setup.local);
        let ours = &party.lab.wait_routes(&query, 1)?[0];
        ensure!(ours["as_path"] == format!("({})", member(g.n)), "{ours}");
        // Outside, the confederation is one AS.
        let seen = p2.wait_path(&net)?;
        ensure!(seen.path == "64999", "{:?}: {seen:?}", g.make);
        let seen = g.speaker.wait_path(V4)?;
        let want = shown(g.make, AS.to_string(), &asn(n).to_string());
        ensure!(seen.path == want, "{:?}: {seen:?}", g.make);
        for from in party.guests.iter().filter(|f| f.n != g.n) {
            let seen = g.speaker.wait_path(&prefix(from.n))?;
            let want = shown(g.make, format!("{AS} {}", member(from.n)), "");
            ensure!(
                seen.path == want,
                "{:?} of {:?}: {seen:?}",
                g.make,
                from.make
            );
        }
    }
    party.end(vec![p2])
}

/// See the list of scenarios. RFC 4486.
///
/// # Errors
/// When it fails.
pub fn max_prefix(o: &Options) -> Result<()> {
    let makes = makes("bgp/max-prefix", "4486");
    let count = makes.len() as u8;
    let ours: Vec<String> = (1..=count)
        .map(|n| neighbor(n, asn(n), "max-prefix = 2"))
        .collect();
    let lab = around("bb-max", &o.flavor, count, &sections(&ours))?;
    for (make, n) in makes.iter().zip(1..) {
        let few = setup(n)
            .announce(Announce::new(&prefix(n)))
            .announce(Announce::new(&prefix(100 + n)));
        let p = lab.start(n, *make, &few)?;
        lab.established(p.as_ref(), &few)?;
        lab.wait_routes(&prefix(100 + n), 1)?;
        drop(p);
        until("it is gone", secs(15), || {
            Ok(lab.neighbor(&few.local.to_string())?["state"] != "Established")
        })?;
        let many = few.announce(Announce::new(&prefix(200 + n)));
        let p = lab.start(n, *make, &many)?;
        until("it was too much", secs(20), || {
            let one = lab.neighbor(&many.local.to_string())?;
            let error = one["last_error"].as_str().unwrap_or_default();
            Ok(error.contains("prefixes"))
        })?;
        // In words, or as the codes of RFC 4486: 6 and 1.
        let what = format!("{make:?} is told that it was too much");
        p.daemon().until(&what, secs(20), || {
            let told = p.told(many.peer)?.to_lowercase();
            let said = [
                "maximum number of prefixes",
                "\"subcode\": 1",
                "\"subcode\":1",
            ];
            ensure!(said.iter().any(|s| told.contains(s)), "it was told {told}");
            Ok(true)
        })?;
        lab.wait_routes(&prefix(100 + n), 0)?;
    }
    lab.end(vec![])
}

/// See the list of scenarios. RFC 8212.
///
/// # Errors
/// When it fails.
pub fn no_policy(o: &Options) -> Result<()> {
    let makes = makes("bgp/no-policy", "8212");
    let more = makes.len() as u8 + 1;
    let bare = |n: u8| {
        let lines = "import = \"accept-all\"\nexport = \"accept-all\"\n";
        neighbor(n, asn(n), "").replace(lines, "")
    };
    let mut bgp: Vec<String> = (1..more).map(bare).collect();
    bgp.push(neighbor(more, asn(more), ""));
    let lab = around("bb-8212", &o.flavor, more, &sections(&bgp))?;
    let told = "203.0.113.0/24";
    let s = setup(more).announce(Announce::new(told));
    let witness = lab.start(more, Make::Bird, &s)?;
    lab.established(witness.as_ref(), &s)?;
    lab.wait_routes(told, 1)?;
    let mut guests = vec![];
    for (make, n) in makes.iter().zip(1u8..) {
        let s = setup(n).announce(Announce::new(&prefix(n)));
        let p = lab.start(n, *make, &s)?;
        lab.established(p.as_ref(), &s)?;
        until("what it announces is received", secs(10), || {
            let n = lab.neighbor(&s.local.to_string())?;
            Ok(n["received"] == 1 && n["accepted"] == 0)
        })
        .with_context(|| format!("{make:?}"))?;
        guests.push(p);
    }
    for (p, (make, n)) in guests.iter().zip(makes.iter().zip(1u8..)) {
        ensure!(p.paths(told)?.is_empty(), "{make:?} was told something");
        let heard = witness.paths(&prefix(n))?;
        ensure!(heard.is_empty(), "what {make:?} announced was passed on");
    }
    guests.push(witness);
    lab.end(guests)
}
