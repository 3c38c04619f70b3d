//! What sessions can do beyond the plain: a scenario each, with every speaker that has it ([`speakers`](super::speakers)).

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use super::speakers::{Party, Special, makes};
use super::{AS, address, address6, around, around6, asn, neighbor, router, sections, setup};
use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Host, Lab, signals};
use crate::peers::{Announce, Frr, Make, Speaker};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";

/// What guest `n` announces.
fn prefix(n: u8) -> String {
    format!("198.51.{n}.0/24")
}

fn contains(what: &str, text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{what}: no {part:?} in: {text}");
    Ok(())
}

/// Lines of a speaker's own language; none: it needs none.
fn lines(make: Make, all: [&'static str; 4]) -> &'static str {
    let at = Make::ALL.iter().position(|m| *m == make);
    at.map_or("", |at| all[at])
}

/// Every guest has what every other announces.
fn all_hear_all(party: &Party) -> Result<()> {
    for g in &party.guests {
        for from in party.guests.iter().filter(|f| f.n != g.n) {
            let seen = g.speaker.wait_path(&prefix(from.n));
            let seen = seen.with_context(|| format!("{:?} of {:?}", g.make, from.make))?;
            ensure!(seen.path.ends_with(&from.setup.asn.to_string()), "{seen:?}");
        }
    }
    Ok(())
}

/// See the list of scenarios. RFC 2385.
///
/// # Errors
/// When it fails.
pub fn md5(o: &Options) -> Result<()> {
    let makes = makes("bgp/md5", "2385");
    let folder = signals::folder().join("bb-md5");
    std::fs::create_dir_all(&folder)?;
    let key = |n: u8| format!("correct-horse-{n}");
    let mut ours = vec![];
    for n in 1..=makes.len() as u8 {
        std::fs::write(folder.join(format!("key{n}")), key(n) + "\n")?;
        let more = format!("password-file = \"key{n}\"");
        ours.push(neighbor(n, asn(n), &more));
    }
    let lab = around("bb-md5", &o.flavor, makes.len() as u8, &sections(&ours))?;
    let mut peers = vec![];
    for (make, n) in makes.iter().zip(1u8..) {
        let mut s = setup(n).announce(Announce::new(&prefix(n)));
        s.password = Some("wrong-horse".into());
        let before = failures(&lab)?;
        let wrong = lab.start(n, *make, &s)?;
        // Segments with another key's digest are dropped by the kernels, and counted.
        until("a wrong digest is seen", secs(15), || {
            Ok(failures(&lab)? > before)
        })?;
        ensure!(
            !wrong.established(s.peer)?,
            "{make:?}: a session with a wrong key"
        );
        drop(wrong);
        s.password = Some(key(n));
        let p = lab.start(n, *make, &s)?;
        lab.established(p.as_ref(), &s)?;
        lab.wait_routes(&prefix(n), 1)?;
        peers.push(p);
    }
    for (p, n) in peers.iter().zip(1u8..) {
        p.wait_path(&prefix(if n == 1 { 2 } else { 1 }))?;
    }
    lab.end(peers)
}

fn failures(lab: &super::Around) -> Result<u64> {
    let text = lab.a.ns().run("cat /proc/net/netstat")?;
    Ok(counter(&text, "TCPMD5Failure"))
}

/// A counter of /proc/net/netstat: names on one line, values on the next.
pub(super) fn counter(text: &str, name: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let value = lines.chunks(2).find_map(|pair| {
        let [names, values] = pair else { return None };
        let at = names.split(' ').position(|n| n == name)?;
        values.split(' ').nth(at)?.parse().ok()
    });
    value.unwrap_or(0)
}

/// See the list of scenarios. RFC 5082.
///
/// # Errors
/// When it fails.
pub fn ttl_security(o: &Options) -> Result<()> {
    let makes = makes("bgp/ttl-security", "5082");
    let more = makes.len() as u8 + 1;
    let far = neighbor(more, asn(more), "ttl-security = 1");
    let party = Party::start("bb-gtsm", o, &makes, &far, |make, n| {
        let theirs = lines(
            make,
            [
                "ttl-security hops 1",
                "ttl security on;",
                "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255",
                "outgoing-ttl 255; incoming-ttl 255;",
            ],
        );
        let mut s = Special::of(n, "ttl-security = 1", theirs);
        s.theirs = s.theirs.announce(Announce::new(&prefix(n)));
        s
    })?;
    all_hear_all(&party)?;
    // Who sends with another TTL, as BIRD does when it is not told otherwise, gets no session: the kernel drops it.
    let n = party.more();
    let far = party.lab.start(n, Make::Bird, &setup(n))?;
    until("packets from afar are dropped", secs(15), || {
        let text = party.lab.a.ns().run("cat /proc/net/netstat")?;
        Ok(counter(&text, "TCPMinTTLDrop") > 0)
    })?;
    ensure!(!far.established(router(n))?, "a session from afar");
    drop(far);
    party.end(vec![])
}

/// See the list of scenarios. RFC 6793.
///
/// # Errors
/// When it fails.
pub fn two_octets(o: &Options) -> Result<()> {
    let old = |n: u8| 65_000 + u32::from(n);
    let makes = makes("bgp/two-octets", "6793");
    let party = Party::start("bb-as2", o, &makes, "", |make, n| {
        let theirs = lines(
            make,
            ["", "enable as4 off;", "", "capability { asn4 disable; }"],
        );
        let mut s = Special::of(n, "", theirs);
        s.asn = old(n);
        s.theirs.asn = old(n);
        s.theirs = s.theirs.announce(Announce::new(&prefix(n)));
        s
    })?;
    let n = party.more();
    let new = setup(n).announce(Announce::new(V4));
    let frr = party.lab.start(n, Make::Frr, &new)?;
    party.lab.established(frr.as_ref(), &new)?;
    for g in &party.guests {
        let name = g.setup.local.to_string();
        let said = party.lab.neighbor(&name)?["capabilities"].to_string();
        ensure!(!said.contains("4-octet-as"), "{:?}: {said}", g.make);
        // AS_TRANS stands for what does not fit; the numbers themselves are beside, in AS4_PATH, from which it takes them.
        let seen = g.speaker.wait_path(V4)?;
        ensure!(
            seen.path == format!("{AS} {}", asn(n)),
            "{:?}: {seen:?}",
            g.make
        );
        let seen = frr.wait_path(&prefix(g.n))?;
        ensure!(seen.path == format!("{AS} {}", old(g.n)), "{seen:?}");
    }
    all_hear_all(&party)?;
    party.end(vec![frr])
}

/// See the list of scenarios. RFC 2918, RFC 7313.
///
/// # Errors
/// When it fails.
pub fn refresh(o: &Options) -> Result<()> {
    let all = makes("bgp/refresh", "2918");
    let asking = makes("bgp/refresh", "section 4 of 2918");
    let marking = makes("bgp/refresh", "7313");
    let party = Party::start("bb-refresh", o, &all, "", |make, n| {
        let mut s = Special::of(n, "", lines(make, ["", "debug { packets };", "", ""]));
        s.theirs = s.theirs.announce(Announce::new(&prefix(n)));
        if make == Make::Frr {
            s.theirs = s.theirs.top("debug bgp neighbor-events");
        }
        s
    })?;
    all_hear_all(&party)?;
    for g in &party.guests {
        let (p, peer) = (&g.speaker, g.setup.peer);
        // We ask.
        let before = p.asked(peer)?;
        let name = g.setup.local;
        party
            .lab
            .a
            .must(&format!("bgp neighbor {name} refresh in"))?;
        let what = format!("{:?} is asked", g.make);
        p.daemon()
            .until(&what, secs(10), || Ok(p.asked(peer)? > before))?;
        let query = format!("{} received {name}", prefix(g.n));
        party.lab.wait_routes(&query, 1)?;
        // It asks, and gets it all again, between marks if it knows them.
        if asking.contains(&g.make) {
            let (taken, marked) = (p.taken(peer)?, p.marked());
            p.ask_again(peer)?;
            let what = format!("{:?} gets it all again", g.make);
            p.daemon()
                .until(&what, secs(10), || Ok(p.taken(peer)? > taken))?;
            if marking.contains(&g.make) {
                let what = format!("{:?} gets the marks", g.make);
                let waited = p.daemon().until(&what, secs(10), || {
                    let now = p.marked();
                    Ok(now.0 > marked.0 && now.1 > marked.1)
                });
                waited.with_context(|| format!("they were {marked:?}, are {:?}", p.marked()))?;
            }
        }
        let one = party.lab.neighbor(&name.to_string())?;
        ensure!(one["established"] == 1, "{:?}: {one}", g.make);
    }
    all_hear_all(&party)?;
    party.end(vec![])
}

/// See the list of scenarios. RFC 8654.
///
/// # Errors
/// When it fails.
pub fn extended_messages(o: &Options) -> Result<()> {
    let makes = makes("bgp/extended-messages", "8654");
    let all: Vec<String> = (1..=1200).map(|i| format!("65001:{i}")).collect();
    let party = Party::start("bb-extended", o, &makes, "", |make, n| {
        let theirs = lines(
            make,
            [
                "",
                "enable extended messages on;",
                "",
                "capability { extended-message enable; }",
            ],
        );
        let mut s = Special::of(n, "", theirs);
        // 4,800 octets of communities do not fit into 4,096. FRR's line is not long enough for them.
        let mut big = Announce::new(&prefix(n));
        if make != Make::Frr {
            big.communities.clone_from(&all);
        }
        s.theirs = s.theirs.announce(big);
        s
    })?;
    all_hear_all(&party)?;
    for g in &party.guests {
        let said = party.lab.neighbor(&g.setup.local.to_string())?;
        contains("what both have", &said.to_string(), "extended-message")?;
        for from in party
            .guests
            .iter()
            .filter(|f| f.n != g.n && f.make != Make::Frr)
        {
            let net = prefix(from.n);
            let what = format!("{:?} has all communities of {:?}", g.make, from.make);
            eventually(&what, secs(15), || {
                // birdc does not print that many, but counts them.
                let n = match g.make {
                    Make::Bird => {
                        let said = g
                            .speaker
                            .shown(&format!("{net} where bgp_community.len = 1200"))?;
                        if said.contains(&net) { 1200 } else { 0 }
                    }
                    _ => g.speaker.wait_path(&net)?.communities.len(),
                };
                ensure!(n == 1200, "it has {n}");
                Ok(Some(()))
            })?;
        }
    }
    party.end(vec![])
}

/// See the list of scenarios. RFC 9234.
///
/// # Errors
/// When it fails.
pub fn roles(o: &Options) -> Result<()> {
    let makes = makes("bgp/roles", "9234");
    let local = |make, role: &str| match make {
        Make::Frr => format!("local-role {role}"),
        _ => format!("local role {role};"),
    };
    let wrong = makes.len() as u8 + 1;
    let provider = neighbor(wrong, asn(wrong), "role = \"provider\"");
    let more = "role = \"provider\"";
    let peer = neighbor(wrong + 1, asn(wrong + 1), "role = \"peer\"");
    let ours = makes
        .iter()
        .zip(1..)
        .map(|(_, n)| neighbor(n, asn(n), more));
    let ours: Vec<String> = ours.chain([provider, peer]).collect();
    let lab = around("bb-roles", &o.flavor, wrong + 1, &sections(&ours))?;
    let s = setup(wrong + 1)
        .neighbor("local role peer;")
        .announce(Announce::new(V4));
    let source = lab.start(wrong + 1, Make::Bird, &s)?;
    lab.established(source.as_ref(), &s)?;
    for (make, n) in makes.iter().zip(1..) {
        let s = setup(n).neighbor(&local(*make, "customer"));
        let p = lab.start(n, *make, &s)?;
        lab.established(p.as_ref(), &s)?;
        // What came from a peer goes to a customer, marked.
        p.wait_path(V4)?;
        let said = p.shown(V4)?.to_lowercase();
        contains("the mark Only-to-Customer", &said, "otc")?;
        // Two providers do not go together, and that is said.
        let s = setup(wrong).neighbor(&local(*make, "provider"));
        let p3 = lab.start(wrong, *make, &s)?;
        let name = address(wrong).to_string();
        until("the mismatch is named", secs(10), || {
            let n = lab.neighbor(&name)?;
            let error = n["last_error"].as_str().unwrap_or_default();
            Ok(error.to_lowercase().contains("role"))
        })?;
        ensure!(
            !p3.established(router(wrong))?,
            "{make:?}: a session of two providers"
        );
        drop(p);
    }
    lab.end(vec![source])
}

/// See the list of scenarios. RFC 8950.
///
/// # Errors
/// When it fails.
pub fn ipv6_next_hops(o: &Options) -> Result<()> {
    let makes = makes("bgp/ipv6-next-hops", "8950");
    let section = |n: u8| {
        neighbor(n, asn(n), "extended-next-hop = true")
            .replace(&address(n).to_string(), &address6(n).to_string())
    };
    // There is no IPv4 on the links, so nobody can use an IPv4 next hop.
    let count = makes.len() as u8;
    let ours: Vec<String> = (1..=count).map(section).collect();
    let lab = around6("bb-8950", &o.flavor, count, &sections(&ours))?;
    let mut all = vec![];
    for (make, n) in makes.iter().zip(1..) {
        let theirs = lines(
            *make,
            [
                "capability extended-nexthop",
                "",
                "",
                "capability { nexthop enable; }\nnexthop { ipv4 unicast ipv6; }",
            ],
        );
        let mut s = setup(n)
            .neighbor(theirs)
            .family(lines(*make, ["", "extended next hop on;", "", ""]))
            .announce(Announce::new(&prefix(n)));
        s.local = IpAddr::V6(address6(n));
        s.peer = format!("2001:db8:{n}::1").parse()?;
        s.id = [10, 0, n, 2].into();
        let p = lab.start(n, *make, &s)?;
        lab.established(p.as_ref(), &s)?;
        all.push(p);
    }
    for n in 1..=count {
        let query = format!("{} received {}", prefix(n), address6(n));
        let ours = &lab.wait_routes(&query, 1)?[0];
        ensure!(ours["next_hop"] == address6(n).to_string(), "{ours}");
        for (p, me) in all.iter().zip(1..).filter(|p| p.1 != n) {
            let seen = p.wait_path(&prefix(n))?;
            let want = format!("2001:db8:{me}::1");
            ensure!(seen.next_hop == want, "{}: {seen:?}", p.daemon().name());
        }
    }
    lab.end(all)
}

/// See the list of scenarios. RFC 8950 over link-local addresses: the links have no others.
///
/// # Errors
/// When it fails.
pub fn unnumbered(o: &Options) -> Result<()> {
    let mut lab = Lab::new("bb-unnumbered")?;
    let dut = lab.router("dut")?;
    let mut config = o.flavor.config("dut");
    let mut ends = vec![];
    for n in [1, 2] {
        let (port, dev) = (format!("p{n}"), format!("e{n}"));
        let host = lab.host(&Host::new(&format!("n{n}"), &[]), &dut, &dev)?;
        host.ip(&format!("addr add 192.0.2.{n}/32 dev lo"))?;
        config = config.interface(&port, &dev, &["fe80::1/64"], "").section(&format!(
            "[bgp.neighbor.{port}]\nas = \"external\"\nimport = \"accept-all\"\nexport = \"accept-all\"\nconnect-retry = 1"
        ));
        ends.push(host);
    }
    let a = lab.start(
        "dut",
        &dut,
        &config.section(&format!("[bgp]\nas = {AS}\nhold-time = 9")),
    )?;
    let frr = |n: u8| {
        let text = format!(
            "log stdout\nrouter bgp {}\n bgp router-id 192.0.2.{n}\n no bgp ebgp-requires-policy\n \
             no bgp network import-check\n neighbor eth0 interface remote-as external\n neighbor eth0 timers 3 9\n \
             neighbor eth0 timers connect 1\n address-family ipv4 unicast\n  network 192.0.2.{n}/32\n exit-address-family\n",
            asn(n)
        );
        Frr::start_text(
            lab.folder(),
            &format!("frr{n}"),
            &ends[usize::from(n) - 1],
            &text,
        )
    };
    let (one, two) = (frr(1)?, frr(2)?);
    for f in [&one, &two] {
        f.daemon()
            .until("the session over eth0 is up", secs(20), || {
                let v = f.json("show bgp neighbors eth0 json")?;
                Ok(v["eth0"]["bgpState"] == "Established")
            })?;
    }
    let seen = two.wait_path("192.0.2.1/32")?;
    ensure!(seen.path == format!("{AS} {}", asn(1)), "{seen:?}");
    let route = a.json("route show 192.0.2.1")?;
    ensure!(
        route[0]["via"][0]["address"]
            .as_str()
            .is_some_and(|a| a.starts_with("fe80:")),
        "{route}"
    );
    // IPv4 goes over links that have none.
    until(
        "an IPv4 host is reached over links without IPv4",
        secs(10),
        || {
            let done = ends[1].finish("ping -n -c 1 -W 1 -I 192.0.2.2 192.0.2.1")?;
            Ok(done.ok())
        },
    )?;
    a.stop()
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn dynamic(o: &Options) -> Result<()> {
    let any = neighbor(1, 0, "passive = true")
        .replace("\"10.0.1.2\"", "\"10.0.0.0/16\"")
        .replace("as = 0", "as = \"external\"")
        .replace("connect-retry = 1\n", "");
    let makes = makes("bgp/dynamic", "");
    let lab = around("bb-dynamic", &o.flavor, makes.len() as u8, &any)?;
    let mut all = vec![];
    for (make, n) in makes.iter().zip(1..) {
        let s = setup(n).announce(Announce::new(&prefix(n)));
        let p = lab.start(n, *make, &s)?;
        lab.established(p.as_ref(), &s)?;
        let one = lab.neighbor(&address(n).to_string())?;
        ensure!(one["dynamic"] == true && one["as"] == asn(n), "{one}");
        all.push(p);
    }
    for n in 1..=makes.len() as u8 {
        for (p, _) in all.iter().zip(1..).filter(|p| p.1 != n) {
            p.wait_path(&prefix(n))?;
        }
    }
    all[0].daemon_mut().stop()?;
    for p in &all[1..] {
        p.wait_gone(&prefix(1))?;
    }
    lab.end(all)
}

/// See the list of scenarios. RFC 9003. ExaBGP ends the session over the text before it can be asked what that was.
///
/// # Errors
/// When it fails.
pub fn shutdown(o: &Options) -> Result<()> {
    const TEXT: &str = "back-at-five";
    let makes = makes("bgp/shutdown", "9003");
    let party = Party::start("bb-shutdown", o, &makes, "", |_, n| Special::none(n))?;
    for g in &party.guests {
        let (p, name) = (&g.speaker, g.setup.local);
        let a = &party.lab.a;
        a.must(&format!("bgp neighbor {name} shutdown {TEXT}"))?;
        let what = format!("{:?} is told why", g.make);
        p.daemon().until(&what, secs(10), || {
            let told = p.told(g.setup.peer)?;
            ensure!(told.contains(TEXT), "it was told {told}");
            Ok(true)
        })?;
        let n = party.lab.neighbor(&name.to_string())?;
        ensure!(n["state"] == "Idle", "{n}");
        a.must(&format!("bgp neighbor {name} start"))?;
        party.lab.established(p.as_ref(), &g.setup)?;
    }
    party.end(vec![])
}
