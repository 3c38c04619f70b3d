//! What sessions and routes can do beyond the plain: a scenario each, with the speaker that has it.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};

use super::{
    AS, Around, address, address6, around, around6, asn, neighbor, router, sections, setup,
};
use crate::lab::wait::{secs, until};
use crate::lab::{Host, Lab, signals};
use crate::peers::{Announce, Bird, Exabgp, Frr, Make, Setup, Speaker};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";

/// The appliance with one neighbour, their session established.
fn one(
    name: &str,
    o: &Options,
    make: Make,
    s: &Setup,
    more: &str,
) -> Result<(Around, Box<dyn Speaker>)> {
    let lab = around(name, &o.flavor, 1, &neighbor(1, s.asn, more))?;
    let p = lab.start(1, make, s)?;
    lab.established(p.as_ref(), s)?;
    Ok((lab, p))
}

fn contains(what: &str, text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{what}: no {part:?} in: {text}");
    Ok(())
}

/// See the list of scenarios. RFC 2385.
///
/// # Errors
/// When it fails.
pub fn md5(o: &Options) -> Result<()> {
    for make in [Make::Bird, Make::Gobgp, Make::Frr] {
        let name = format!("bb-md5-{make:?}").to_lowercase();
        let folder = signals::folder().join(&name);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("key"), "correct-horse\n")?;
        let key = "password-file = \"key\"";
        let lab = around(&name, &o.flavor, 1, &neighbor(1, asn(1), key))?;
        let mut s = setup(1).announce(Announce::new(V4));
        s.password = Some("wrong-horse".into());
        let wrong = lab.start(1, make, &s)?;
        // Segments with another key's digest are dropped by the kernels, and counted.
        until("a wrong digest is seen", secs(15), || {
            let text = lab.a.ns().run("cat /proc/net/netstat")?;
            Ok(counter(&text, "TCPMD5Failure") > 0)
        })?;
        ensure!(
            !wrong.established(s.peer)?,
            "{make:?}: a session with a wrong key"
        );
        drop(wrong);
        s.password = Some("correct-horse".into());
        let p = lab.start(1, make, &s)?;
        lab.established(p.as_ref(), &s)?;
        lab.wait_routes(V4, 1)?;
        lab.end(vec![p])?;
    }
    Ok(())
}

/// A counter of /proc/net/netstat: names on one line, values on the next.
fn counter(text: &str, name: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let value = lines.chunks(2).find_map(|pair| {
        let [names, values] = pair else { return None };
        let at = names.split(' ').position(|n| n == name)?;
        values.split(' ').nth(at)?.parse().ok()
    });
    value.unwrap_or(0)
}

/// See the list of scenarios. RFC 6793.
///
/// # Errors
/// When it fails.
pub fn two_octets(o: &Options) -> Result<()> {
    let bgp = sections(&[neighbor(1, 65_001, ""), neighbor(2, asn(2), "")]);
    let lab = around("bb-as2", &o.flavor, 2, &bgp)?;
    let mut old = setup(1).neighbor("enable as4 off;");
    old.asn = 65_001;
    let s2 = setup(2).announce(Announce::new(V4));
    let p1 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[0], &old)?;
    let p2 = lab.start(2, Make::Frr, &s2)?;
    lab.established(&p1, &old)?;
    lab.established(p2.as_ref(), &s2)?;
    let n = lab.neighbor(&address(1).to_string())?;
    ensure!(
        p1.cli("show protocols all p")?.contains("external\n"),
        "{n}"
    );
    // AS_TRANS stands for what does not fit; the numbers themselves are beside, in AS4_PATH, from which BIRD takes them.
    let seen = p1.wait_path(V4)?;
    ensure!(seen.path == format!("{AS} {}", asn(2)), "{seen:?}");
    lab.end(vec![Box::new(p1), p2])
}

/// See the list of scenarios. RFC 7911.
///
/// # Errors
/// When it fails.
pub fn add_path(o: &Options) -> Result<()> {
    let both = "add-path = { send = true, receive = true }";
    let bgp = sections(&[neighbor(1, asn(1), both), neighbor(2, asn(2), both)]);
    let lab = around("bb-add-path", &o.flavor, 2, &bgp)?;
    let s1 = setup(1).neighbor("capability { add-path send/receive; }");
    let s2 = setup(2).family("add paths on;");
    let p1 = Exabgp::start(lab.lab.folder(), "exa", &lab.spaces[0], &s1)?;
    let p2 = lab.start(2, Make::Bird, &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    let route = |id: u8, more: &str| {
        format!(
            "announce route {V4} next-hop 10.0.1.2 path-information 0.0.0.{id} as-path [ {} {more} ]",
            asn(1)
        )
    };
    p1.tell(&route(1, "65010"))?;
    p1.tell(&route(2, "65020 65021"))?;
    lab.wait_routes(V4, 2)?;
    let seen = p2.wait_paths(V4, "two paths", &|p| p.len() == 2)?;
    ensure!(seen.iter().any(|s| s.path.ends_with("65021")), "{seen:?}");
    // One is taken back: the other stays.
    p1.tell(&format!(
        "withdraw route {V4} next-hop 10.0.1.2 path-information 0.0.0.1"
    ))?;
    let left = p2.wait_path(V4)?;
    ensure!(left.path.ends_with("65020 65021"), "{left:?}");
    lab.end(vec![Box::new(p1), p2])
}

/// See the list of scenarios. RFC 4724.
///
/// # Errors
/// When it fails.
pub fn graceful(o: &Options) -> Result<()> {
    let helper = "graceful-restart = \"helper\"";
    let bgp = sections(&[neighbor(1, asn(1), helper), neighbor(2, asn(2), "")]);
    let lab = around("bb-graceful", &o.flavor, 2, &bgp)?;
    let gr = "graceful restart on; graceful restart time 60;";
    let more = "203.0.113.0/24";
    let s1 = setup(1)
        .neighbor(gr)
        .announce(Announce::new(V4))
        .announce(Announce::new(more));
    let s2 = setup(2);
    let mut p1 = lab.start(1, Make::Bird, &s1)?;
    let p2 = lab.start(2, Make::Frr, &s2)?;
    lab.established(p1.as_ref(), &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    p2.wait_path(V4)?;
    p2.wait_path(more)?;
    // It dies; what it said is kept, as stale, and nobody behind hears of it.
    p1.daemon_mut().kill()?;
    until("its route is stale", secs(10), || {
        let routes = lab.routes(V4)?;
        Ok(routes.first().is_some_and(|r| r["stale"] == "stale"))
    })?;
    ensure!(p2.paths(V4)?.len() == 1, "the stale route was taken back");
    // It comes back with one route less: that one goes with its End-of-RIB.
    drop(p1);
    let s1 = setup(1).neighbor(gr).announce(Announce::new(V4));
    let p1 = lab.start(1, Make::Bird, &s1)?;
    lab.established(p1.as_ref(), &s1)?;
    p2.wait_gone(more)?;
    until("its route is fresh", secs(10), || {
        let routes = lab.routes(V4)?;
        Ok(routes.first().is_some_and(|r| r["stale"] == ""))
    })?;
    ensure!(p2.paths(V4)?.len() == 1, "the fresh route was taken back");
    lab.end(vec![p1, p2])
}

/// See the list of scenarios. RFC 2918.
///
/// # Errors
/// When it fails.
pub fn refresh(o: &Options) -> Result<()> {
    let lab = around("bb-refresh", &o.flavor, 1, &neighbor(1, asn(1), ""))?;
    let s = setup(1).announce(Announce::new(V4));
    let frr = Frr::start(lab.lab.folder(), "frr", &lab.spaces[0], &s)?;
    lab.established(&frr, &s)?;
    lab.wait_routes(V4, 1)?;
    let stat = |key: &str| -> Result<u64> {
        let v = frr.json(&format!("show bgp neighbors {} json", s.peer))?;
        let n = &v[s.peer.to_string()]["messageStats"][key];
        n.as_u64().with_context(|| format!("messageStats.{key}"))
    };
    let before = stat("routeRefreshRecv")?;
    lab.a
        .must(&format!("bgp neighbor {} refresh in", address(1)))?;
    until("FRR is asked", secs(5), || {
        Ok(stat("routeRefreshRecv")? > before)
    })?;
    let before = stat("updatesRecv")?;
    frr.cli(&format!("clear bgp ipv4 unicast {} soft in", s.peer))?;
    until("FRR gets it all again", secs(5), || {
        Ok(stat("updatesRecv")? > before)
    })?;
    lab.end(vec![Box::new(frr)])
}

/// See the list of scenarios. RFC 8654.
///
/// # Errors
/// When it fails.
pub fn extended_messages(o: &Options) -> Result<()> {
    let bgp = sections(&[neighbor(1, asn(1), ""), neighbor(2, asn(2), "")]);
    let lab = around("bb-extended", &o.flavor, 2, &bgp)?;
    let on = "enable extended messages on;";
    let mut big = Announce::new(V4);
    big.communities = (1..=1200).map(|i| format!("65001:{i}")).collect();
    let s1 = setup(1).neighbor(on).announce(big);
    let s2 = setup(2).neighbor(on);
    let p1 = Bird::start(lab.lab.folder(), "bird1", &lab.spaces[0], &s1)?;
    let p2 = Bird::start(lab.lab.folder(), "bird2", &lab.spaces[1], &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(&p2, &s2)?;
    let said = p1.cli("show protocols all p")?;
    ensure!(
        said.matches("Extended message").count() == 2,
        "both have it: {said}"
    );
    // 4,800 octets of communities do not fit into 4,096. birdc does not print that many, but counts them.
    p2.wait_path(V4)?;
    let said = p2.cli("show route where bgp_community.len = 1200")?;
    contains("the route with all of them", &said, V4)?;
    let ours = &lab.wait_routes(V4, 1)?[0]["communities"];
    ensure!(ours.as_array().is_some_and(|c| c.len() == 1200), "{ours}");
    lab.end(vec![Box::new(p1), Box::new(p2)])
}

/// See the list of scenarios. RFC 9234.
///
/// # Errors
/// When it fails.
pub fn roles(o: &Options) -> Result<()> {
    let provider = "role = \"provider\"";
    let bgp = sections(
        &[
            neighbor(1, asn(1), provider),
            neighbor(2, asn(2), "role = \"peer\""),
            neighbor(3, asn(3), provider),
            "networks = []".into(),
        ][..3],
    );
    let lab = around("bb-roles", &o.flavor, 3, &bgp)?;
    let customer = setup(1).neighbor("local role customer;");
    let peer = setup(2)
        .neighbor("local role peer;")
        .announce(Announce::new(V4));
    let wrong = setup(3).neighbor("local role provider;");
    let p1 = Bird::start(lab.lab.folder(), "bird1", &lab.spaces[0], &customer)?;
    let p2 = lab.start(2, Make::Bird, &peer)?;
    let p3 = lab.start(3, Make::Bird, &wrong)?;
    lab.established(&p1, &customer)?;
    lab.established(p2.as_ref(), &peer)?;
    // What came from a peer goes to a customer, marked.
    p1.wait_path(V4)?;
    let said = p1.cli(&format!("show route {V4} all"))?;
    contains("the mark Only-to-Customer", &said, "BGP.otc:")?;
    // Two providers do not go together, and that is said.
    until("the mismatch is named", secs(10), || {
        let n = lab.neighbor(&address(3).to_string())?;
        Ok(n["last_error"]
            .as_str()
            .unwrap_or_default()
            .to_lowercase()
            .contains("role"))
    })?;
    ensure!(!p3.established(router(3))?, "a session of two providers");
    lab.end(vec![Box::new(p1), p2, p3])
}

/// See the list of scenarios. RFC 8950.
///
/// # Errors
/// When it fails.
pub fn ipv6_next_hops(o: &Options) -> Result<()> {
    let section = |n: u8| {
        neighbor(n, asn(n), "extended-next-hop = true")
            .replace(&address(n).to_string(), &address6(n).to_string())
    };
    // There is no IPv4 on the links, so nobody can use an IPv4 next hop.
    let lab = around6(
        "bb-8950",
        &o.flavor,
        2,
        &sections(&[section(1), section(2)]),
    )?;
    let over6 = |n: u8| {
        let mut s = setup(n).family("extended next hop on;");
        s.local = IpAddr::V6(address6(n));
        s.peer = format!("2001:db8:{n}::1").parse().unwrap_or(s.peer);
        s.id = [10, 0, n, 2].into();
        s
    };
    let (s1, s2) = (over6(1).announce(Announce::new(V4)), over6(2));
    let p1 = lab.start(1, Make::Bird, &s1)?;
    let p2 = lab.start(2, Make::Bird, &s2)?;
    lab.established(p1.as_ref(), &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    let ours = &lab.wait_routes(V4, 1)?[0];
    ensure!(ours["next_hop"] == address6(1).to_string(), "{ours}");
    let seen = p2.wait_path(V4)?;
    ensure!(seen.next_hop == "2001:db8:2::1", "{seen:?}");
    lab.end(vec![p1, p2])
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

/// See the list of scenarios. RFC 4456.
///
/// # Errors
/// When it fails.
pub fn reflection(o: &Options) -> Result<()> {
    let client = "route-reflector-client = true";
    let bgp = sections(&[
        neighbor(1, AS, client),
        neighbor(2, AS, client),
        neighbor(3, AS, ""),
    ]);
    let lab = around("bb-reflect", &o.flavor, 3, &bgp)?;
    let inside = |n: u8| {
        let mut s = setup(n);
        s.asn = AS;
        s
    };
    let (s1, s2, s3) = (
        inside(1).announce(Announce::new(V4)),
        inside(2),
        inside(3).announce(Announce::new("203.0.113.0/24")),
    );
    let p1 = lab.start(1, Make::Gobgp, &s1)?;
    let p2 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[1], &s2)?;
    let p3 = lab.start(3, Make::Frr, &s3)?;
    lab.established(p1.as_ref(), &s1)?;
    lab.established(&p2, &s2)?;
    lab.established(p3.as_ref(), &s3)?;
    let seen = p2.wait_path(V4)?;
    ensure!(
        seen.next_hop == address(1).to_string() && seen.path.is_empty(),
        "{seen:?}"
    );
    let said = p2.cli(&format!("show route {V4} all"))?;
    contains("who it is from", &said, "BGP.originator_id: 10.0.1.2")?;
    contains("who reflected it", &said, "BGP.cluster_list: 192.0.2.1")?;
    // From who is no client, to clients; and the other way.
    p2.wait_path("203.0.113.0/24")?;
    p3.wait_path(V4)?;
    lab.end(vec![p1, Box::new(p2), p3])
}

/// See the list of scenarios. RFC 5065.
///
/// # Errors
/// When it fails.
pub fn confederation(o: &Options) -> Result<()> {
    let bgp = format!(
        "confederation = {{ id = 64999, members = [64513] }}\n{}",
        sections(&[neighbor(1, 64_513, ""), neighbor(2, asn(2), "")])
    );
    let lab = around("bb-confed", &o.flavor, 2, &bgp)?;
    let mut s1 = setup(1).announce(Announce::new(V4));
    s1.asn = 64_513;
    let mut s2 = setup(2).announce(Announce::new("203.0.113.0/24"));
    s2.peer_asn = 64_999;
    let config = format!(
        "log stdout\nrouter bgp 64513\n bgp router-id 10.0.1.2\n bgp confederation identifier 64999\n bgp confederation \
         peers {AS}\n no bgp ebgp-requires-policy\n no bgp network import-check\n neighbor 10.0.1.1 remote-as {AS}\n \
         neighbor 10.0.1.1 timers connect 1\n address-family ipv4 unicast\n  network {V4}\n exit-address-family\n"
    );
    let p1 = Frr::start_text(lab.lab.folder(), "frr", &lab.spaces[0], &config)?;
    let p2 = lab.start(2, Make::Bird, &s2)?;
    lab.established(&p1, &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    let ours = &lab.wait_routes(V4, 1)?[0];
    ensure!(ours["as_path"] == "(64513)", "{ours}");
    // Outside, the confederation is one AS.
    let seen = p2.wait_path(V4)?;
    ensure!(seen.path == "64999", "{seen:?}");
    let seen = p1.wait_path("203.0.113.0/24")?;
    ensure!(seen.path == format!("({AS}) {}", asn(2)), "{seen:?}");
    lab.end(vec![Box::new(p1), p2])
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
    let lab = around("bb-dynamic", &o.flavor, 2, &any)?;
    let s1 = setup(1).announce(Announce::new(V4));
    let s2 = setup(2);
    let mut p1 = lab.start(1, Make::Bird, &s1)?;
    let p2 = lab.start(2, Make::Gobgp, &s2)?;
    lab.established(p1.as_ref(), &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    p2.wait_path(V4)?;
    let n = lab.neighbor(&address(1).to_string())?;
    ensure!(n["dynamic"] == true && n["as"] == asn(1), "{n}");
    p1.daemon_mut().stop()?;
    p2.wait_gone(V4)?;
    lab.end(vec![p1, p2])
}

/// See the list of scenarios. RFC 4486.
///
/// # Errors
/// When it fails.
pub fn max_prefix(o: &Options) -> Result<()> {
    let s = setup(1)
        .announce(Announce::new(V4))
        .announce(Announce::new("203.0.113.0/24"));
    let (lab, p) = one("bb-max", o, Make::Bird, &s, "max-prefix = 2")?;
    lab.wait_routes(V4, 1)?;
    drop(p);
    until("it is gone", secs(15), || {
        Ok(lab.neighbor(&s.local.to_string())?["state"] != "Established")
    })?;
    let s = s.announce(Announce::new("192.0.2.0/24"));
    let p = Bird::start(lab.lab.folder(), "more", &lab.spaces[0], &s)?;
    p.daemon()
        .until("it is told that it was too much", secs(20), || {
            Ok(p.cli("show protocols all p")?
                .contains("Maximum number of prefixes"))
        })?;
    lab.wait_routes("203.0.113.0/24", 0)?;
    lab.end(vec![Box::new(p)])
}

/// See the list of scenarios. RFC 8212.
///
/// # Errors
/// When it fails.
pub fn no_policy(o: &Options) -> Result<()> {
    let bare =
        neighbor(1, asn(1), "").replace("import = \"accept-all\"\nexport = \"accept-all\"\n", "");
    let bgp = sections(&[bare, neighbor(2, asn(2), "")]);
    let lab = around("bb-8212", &o.flavor, 2, &bgp)?;
    let s1 = setup(1).announce(Announce::new(V4));
    let s2 = setup(2).announce(Announce::new("203.0.113.0/24"));
    let p1 = lab.start(1, Make::Frr, &s1)?;
    let p2 = lab.start(2, Make::Bird, &s2)?;
    lab.established(p1.as_ref(), &s1)?;
    lab.established(p2.as_ref(), &s2)?;
    lab.wait_routes("203.0.113.0/24", 1)?;
    until("what it announces is received", secs(10), || {
        let n = lab.neighbor(&s1.local.to_string())?;
        Ok(n["received"] == 1 && n["accepted"] == 0)
    })?;
    ensure!(
        p1.paths("203.0.113.0/24")?.is_empty(),
        "it was told something"
    );
    ensure!(p2.paths(V4)?.is_empty(), "what it announced was passed on");
    lab.end(vec![p1, p2])
}
