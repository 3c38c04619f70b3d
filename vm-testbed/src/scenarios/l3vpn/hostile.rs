//! A neighbour that lies in VPN routes and in memberships: what can be read is judged route by route, what can't ends its
//! session, and the session of another and what it has told stay.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};

use super::super::pages;
use super::super::vrf::{VRFS, host};
use super::established;
use super::targets::{edge, reflector};
use crate::lab::wait::{eventually, secs, until};
use crate::lab::{Appliance, Host, Lab, Netns};
use crate::peers::raw::{Raw, message};
use crate::suite::Options;

/// Families by their numbers.
const VPNV4: [u8; 3] = [0, 1, 128];
const VPNV6: [u8; 3] = [0, 2, 128];
const TARGETS: [u8; 3] = [0, 1, 132];

/// An attribute, with a length of two octets.
fn attribute(flags: u8, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![flags | 0x10, code];
    out.extend((value.len() as u16).to_be_bytes());
    out.extend(value);
    out
}

/// An UPDATE with these octets as NLRI of a family, and these extended communities.
fn update(family: [u8; 3], next_hop: &[u8], communities: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut mp = family.to_vec();
    mp.push(next_hop.len() as u8);
    mp.extend(next_hop);
    mp.push(0);
    mp.extend(nlri);
    let mut attrs = attribute(0x80, 14, &mp);
    attrs.extend([0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100]);
    if !communities.is_empty() {
        attrs.extend(attribute(0xc0, 16, communities));
    }
    let mut body = vec![0, 0];
    body.extend((attrs.len() as u16).to_be_bytes());
    body.extend(attrs);
    message(2, &body)
}

/// Its own address behind a distinguisher of nothing.
fn next_hop() -> Vec<u8> {
    [&[0; 8][..], &Ipv4Addr::new(10, 9, 0, 2).octets()].concat()
}

/// A VPN prefix 10.NUMBER.0.0/16 with that label and distinguisher.
fn vpn(label: u32, rd: [u8; 8], number: u8) -> Vec<u8> {
    let mut out = vec![24 + 64 + 16];
    out.extend(&(label << 4 | 1).to_be_bytes()[1..]);
    out.extend(rd);
    out.extend([10, number]);
    out
}

/// Route targets, so many, of which the last is one that somebody wants.
fn targets(count: u16) -> Vec<u8> {
    let one = |n: u16| {
        let [a, b] = n.to_be_bytes();
        [0, 2, 0xfc, 0, 1, 0, a, b]
    };
    let mut all: Vec<u8> = (1..count).flat_map(one).collect();
    all.extend([0, 2, 0xfc, 0, 0, 0, 0, 100]);
    all
}

/// A membership of so many bits.
fn membership(bits: u8, octets: &[u8]) -> Vec<u8> {
    let mut out = vec![bits];
    let n = usize::from(bits).div_ceil(8);
    out.extend(octets.iter().copied().chain(std::iter::repeat(0)).take(n));
    out
}

fn open(ns: &Netns) -> Result<Raw> {
    let mut caps: Vec<u8> = [VPNV4, VPNV6, TARGETS]
        .iter()
        .flat_map(|[a, b, safi]| [1, 4, *a, *b, 0, *safi])
        .collect();
    // Several labels in front of a prefix (RFC 8277 2.1): then they have an end.
    caps.extend([8, 4, 0, 1, 128, 4]);
    let from = Ipv4Addr::new(10, 9, 0, 2);
    eventually("it lets us in", secs(60), || {
        Ok(Raw::open_with(ns, from, "10.9.0.1".parse()?, 64_512, 90, &caps).ok())
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn hostile(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 2)?;
    let mut lab = Lab::new("l3vpn-hostile")?;
    let (rr, pe2) = (lab.router("rr")?, lab.router("pe2")?);
    lab.join((&rr, "core"), (&pe2, "core"))?;
    for (vrf, only) in VRFS {
        lab.host(&host(vrf, 2, only), &pe2, &format!("{vrf}-2"))?;
    }
    let third = lab.host(&Host::new("raw", &["10.9.0.2/24"]), &rr, "third")?;
    let rr = lab.start("rr", &rr, &reflector(o))?;
    let pe = lab.start("pe2", &pe2, &edge(o))?;
    until("the edge is there", secs(30), || {
        established(&rr, "10.1.0.2")
    })?;
    let mut raw = open(&third)?;
    routes(&mut raw, &rr, &pe)?;
    memberships(&mut raw, &rr, &pe)?;
    drop(raw);
    endings(&third, &rr)?;
    ensure!(established(&rr, "10.1.0.2")?, "the edge's session has gone");
    until("what the hostile one had told has gone", secs(20), || {
        let rows = rr.json("bgp route family vpnv4")?;
        Ok(rows.as_array().is_some_and(Vec::is_empty))
    })?;
    for r in [rr, pe] {
        ensure!(r.alive(), "it has died");
        r.law()?;
        r.stop()?;
    }
    Ok(())
}

/// Routes that can be read: each is kept or refused by itself.
fn routes(raw: &mut Raw, rr: &Appliance, pe: &Appliance) -> Result<()> {
    let unknown = [0xff, 0xff, 1, 2, 3, 4, 5, 6];
    let rd = [0, 0, 0xfc, 0, 0, 0, 0, 50];
    // The distinguisher of the edge's own red, with a prefix that it has itself.
    let stolen = [0, 1, 192, 0, 2, 2, 0, 0];
    let rows: [(u32, [u8; 8], u8, u16, bool); 6] = [
        (700, rd, 60, 1, true),
        (701, unknown, 61, 1, true),
        (702, stolen, 62, 1, true),
        (7, rd, 63, 1, false),
        (703, rd, 64, 0, true),
        (704, rd, 65, 400, true),
    ];
    for (label, rd, n, count, _) in rows {
        let communities = if count == 0 { vec![] } else { targets(count) };
        raw.say(&update(
            VPNV4,
            &next_hop(),
            &communities,
            &vpn(label, rd, n),
        ))?;
    }
    for (label, _, n, count, good) in rows {
        let prefix = format!("10.{n}.0.0/16");
        let row = eventually(&format!("{prefix} has come"), secs(10), || {
            let rows = rr.json(&format!("bgp route {prefix} family vpnv4"))?;
            Ok(rows.as_array().and_then(|r| r.first().cloned()))
        })?;
        ensure!(row["label"][0] == label, "{row}");
        let refused = row["problem"].as_str().unwrap_or_default();
        ensure!(refused.contains("label") != good, "{row}");
        let wanted = good && count > 0;
        until(
            &format!("{prefix} with label {label} is in red: {wanted}"),
            secs(10),
            || Ok(super::best(pe, "red", &prefix)?.is_some() == wanted),
        )?;
    }
    // A distinguisher in front of the next hop that is not nothing is not looked at; an unspecified one is nobody.
    let mut odd = next_hop();
    odd[..8].copy_from_slice(&rd);
    raw.say(&update(VPNV4, &odd, &targets(1), &vpn(710, rd, 66)))?;
    raw.say(&update(VPNV4, &[0; 12], &targets(1), &vpn(711, rd, 67)))?;
    raw.say(&update(VPNV4, &next_hop(), &targets(1), &vpn(712, rd, 68)))?;
    until("the last one is in red", secs(10), || {
        Ok(super::best(pe, "red", "10.68.0.0/16")?.is_some())
    })?;
    ensure!(
        super::best(pe, "red", "10.67.0.0/16")?.is_none(),
        "a next hop of nobody is used"
    );
    Ok(())
}

/// Memberships: of every length, many, and the same again and again; what is asked for is what comes.
fn memberships(raw: &mut Raw, rr: &Appliance, pe: &Appliance) -> Result<()> {
    let red = [0, 0, 0xfc, 0, 0, 2, 0xfc, 0, 0, 0, 0, 0];
    let mut all = vec![];
    for n in 0..4000u32 {
        let mut one = red;
        one[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_be_bytes());
        all.push(membership(96 - (n % 60) as u8, &one));
    }
    for some in all.chunks(200) {
        raw.say(&update(TARGETS, &[10, 9, 0, 2], &[], &some.concat()))?;
    }
    // Beside ours and what is alike once bits are cut off, they are all there; and the edge hears of them.
    until("they are known", secs(20), || {
        let rows = rr.json("bgp route received 10.9.0.2 family rt-constraint")?;
        Ok(rows.as_array().map_or(0, Vec::len) > 1000)
    })?;
    raw.say(&update(TARGETS, &[10, 9, 0, 2], &[], &membership(96, &red)))?;
    until("red's route is asked for, and comes", secs(20), || {
        let rows = rr.json("bgp route advertised 10.9.0.2 family vpnv4")?;
        let mut rows = rows.as_array().into_iter().flatten();
        Ok(rows.any(|r| r["rd"] == "192.0.2.2:0" && r["prefix"] == "10.0.2.0/24"))
    })
    .with_context(|| {
        pe.must("bgp route advertised 10.1.0.1 family vpnv4")
            .unwrap_or_default()
    })
}

/// What nobody can read ends the session, with the reason.
fn endings(ns: &Netns, rr: &Appliance) -> Result<()> {
    let rd = [0; 8];
    let long = {
        let mut v = vpn(700, rd, 1);
        v[0] = 24 + 64 + 33;
        v.extend([0; 3]);
        v
    };
    let endless = {
        let mut v = vpn(700, rd, 1);
        v[3] &= !1;
        v
    };
    // A few alone: each time it is waited for longer before the next session.
    let cases: [(&str, [u8; 3], Vec<u8>); 4] = [
        ("a prefix of 33 bits", VPNV4, long),
        ("labels without an end", VPNV4, endless),
        ("a membership of 97 bits", TARGETS, membership(97, &[1; 13])),
        ("one that is cut off", TARGETS, vec![96, 1, 2, 3]),
    ];
    for (what, family, nlri) in cases {
        let mut raw = open(ns)?;
        let hop = match family {
            TARGETS => vec![10, 9, 0, 2],
            _ => next_hop(),
        };
        raw.say(&update(family, &hop, &targets(1), &nlri))?;
        loop {
            match raw.hear().with_context(|| what.to_owned())? {
                (3, body) if body[0] == 3 => break,
                (3, body) => bail!("{what}: another NOTIFICATION: {body:?}"),
                _ => {}
            }
        }
        ensure!(rr.alive(), "{what}: it has died");
    }
    Ok(())
}
