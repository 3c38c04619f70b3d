//! LSP ping where VPN labels are swapped on the way (RFC 4364 10 b): the borders have no VRF, and answer for the labels that they gave
//! for prefixes of others (RFC 8029 4.4.1). The network is that of `l3vpn/inter-as-b`, without its third ASes.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{labels, lsp, text};
use crate::lab::Appliance;
use crate::lab::wait::{secs, until};
use crate::scenarios::l3vpn::inter_as::{Row, end, far, swapping};
use crate::scenarios::{pages, vrf::apart};
use crate::suite::Options;

/// The far red site, of both families, and its distinguisher.
const FAR: [&str; 2] = ["10.0.2.0/24", "2001:db8:2::/64"];
const RD: &str = "192.0.2.2:0";

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn b(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 4)?;
    let row = Row::new("lsp-ping-inter-as-b")?;
    // Answers are packets of the global table, and the ASes have routes to each other's edges here.
    let back = [
        "10.1.2.0/24\"\nvia = [\"10.12.0.2",
        "10.1.1.0/24\"\nvia = [\"10.12.0.1",
    ];
    let borders = [1, 2].map(|n| {
        let route = back[usize::from(n) - 1];
        swapping(&o.flavor, n, &[]).section(&format!("[[route]]\nprefix = \"{route}\"]"))
    });
    let all = row.start(o, borders)?;
    let [pe1, asbr1, asbr2, pe2] = &all;
    for prefix in ["10.1.1.0/24", "10.12.0.0/24"] {
        pe2.must(&format!("route add {prefix} via 10.1.2.2"))?;
    }
    apart(&row.hosts, 10)?;
    for prefix in FAR {
        hops(&all, prefix, 8)?;
        from_the_border(&all, prefix)?;
    }
    // A tunnel to the border, below which the label of the VPN lies: it ends there, and the border says so.
    asbr1.must("label add 100 pop")?;
    pe1.must("route add 10.1.1.2/32 via 10.1.1.2 dev core0 label 100")?;
    hops(&all, FAR[0], 15)?;
    pe1.must("route del 10.1.1.2/32")?;
    hops(&all, FAR[0], 8)?;
    refused(asbr1, pe1)?;
    pinned(pe1, asbr1, asbr2)?;
    end(all)
}

/// The whole way from one edge to the other; `code` is what the first border says.
fn hops([pe1, asbr1, asbr2, pe2]: &[Appliance; 4], prefix: &str, code: u64) -> Result<()> {
    let asked = format!("{prefix} vrf red");
    let mut last = String::new();
    until(&format!("pings of {prefix} arrive"), secs(20), || {
        let (rows, why) = lsp(pe1, &format!("ping {asked} count 1 timeout 500"))?;
        last = format!("{rows:?} {why:?}");
        Ok(why.is_none())
    })
    .with_context(|| last)?;
    let (rows, why) = lsp(pe1, &format!("ping {asked} count 2 interval 20"))?;
    let vpn = json!(format!("vpn {prefix} rd {RD}"));
    let fecs = rows[0]["fec"].as_array().context("no FEC")?;
    ensure!(
        why.is_none() && rows.len() == 2 && fecs.last() == Some(&vpn),
        "{rows:?}"
    );
    let (rows, why) = lsp(pe1, &format!("trace {asked}"))?;
    let shown = || format!("{rows:#?} {why:?}");
    ensure!(why.is_none() && rows.len() == 3, "{}", shown());
    let local = |a: &Appliance| -> Result<u64> {
        let l = at(a, prefix)?["local_label"].as_u64();
        l.context("no label of its own")
    };
    let end = at(pe2, prefix)?["label"][0].as_u64();
    let all = [local(asbr1)?, local(asbr2)?, told(asbr2, prefix)?];
    ensure!(end.is_none_or(|l| l == all[2]), "{end:?} {all:?}");
    for (n, (row, (from, says))) in (rows.iter())
        .zip([("10.1.1.2", code), ("10.12.0.2", 8), ("10.1.2.1", 3)])
        .enumerate()
    {
        let tunnel: &[u64] = if n == 0 && code == 15 { &[100] } else { &[] };
        ensure!(
            text(row, "from") == from && row["code"] == says && row["subcode"] == 1,
            "hop {n}: {}",
            shown()
        );
        ensure!(
            labels(&row["in_label"]) == [tunnel, &all[n..=n]].concat(),
            "hop {n}: {}",
            shown()
        );
        let on = row["onward"][0].clone();
        ensure!(
            n == 2 && on.is_null() || labels(&on["label"]) == [all[(n + 1) % 3]],
            "hop {n}: {}",
            shown()
        );
        ensure!(n == 2 || on["protocol"] == "bgp", "hop {n}: {}", shown());
    }
    Ok(())
}

/// Red's route in the table of VPN routes.
fn at(a: &Appliance, prefix: &str) -> Result<Value> {
    if prefix == FAR[0] {
        return far(a);
    }
    let all = a.json(&format!("bgp route {prefix} family vpnv6"))?;
    let mut all = all.as_array().into_iter().flatten();
    let red = all.find(|r| r["rd"] == RD).cloned();
    red.with_context(|| format!("no route of red's far site: {all:?}"))
}

/// The label that the far edge has told.
fn told(asbr2: &Appliance, prefix: &str) -> Result<u64> {
    let label = at(asbr2, prefix)?["label"][0].as_u64();
    label.context("no label of the far edge")
}

/// A border may ask, too: about what it passes on.
fn from_the_border([_, asbr1, asbr2, _]: &[Appliance; 4], prefix: &str) -> Result<()> {
    let mut last = String::new();
    until("the border's trace is whole", secs(15), || {
        let (rows, why) = lsp(asbr1, &format!("trace {prefix} rd {RD} timeout 500"))?;
        last = format!("{rows:#?} {why:?}");
        let told = labels(&rows[0]["label"]);
        let seen: Vec<_> = rows
            .iter()
            .map(|r| (text(r, "from"), r["code"].as_u64()))
            .collect();
        let whole = seen == [("10.12.0.2", Some(8)), ("10.1.2.1", Some(3))];
        Ok(why.is_none() && whole && Some(told[0]) == at(asbr2, prefix)?["local_label"].as_u64())
    })
    .with_context(|| last)
}

/// What can't be asked about is refused, with what would be right.
fn refused(asbr1: &Appliance, pe1: &Appliance) -> Result<()> {
    for (a, line, part) in [
        (
            asbr1,
            "10.0.2.0/24 rd 192.0.2.2:9",
            "10.0.2.0/24 with rd 192.0.2.2:9 is not passed on here",
        ),
        (
            pe1,
            "10.0.2.0/24 rd 192.0.2.2:0",
            "A prefix of a VRF is asked about with vrf NAME",
        ),
        (
            pe1,
            "10.0.2.0/24 rd 192.0.2.2:0 vrf red",
            "give one of the two",
        ),
        (
            asbr1,
            "10.0.2.0/24 rd 192.0.2.2",
            "is not ASN:NUMBER or ADDRESS:NUMBER",
        ),
        (
            asbr1,
            "10.0.2.0/24 rd 192.0.2.2:0 type ldp",
            "with rd the type is vpn, not \"ldp\"",
        ),
    ] {
        let done = a.ctl(&format!("lsp ping {line}"))?;
        ensure!(
            done.status == Some(1) && done.stderr.contains(part),
            "{line}: {}",
            done.text()
        );
    }
    Ok(())
}

/// An edge that goes on sending with a label, whatever its border has by now.
fn pinned(pe1: &Appliance, asbr1: &Appliance, asbr2: &Appliance) -> Result<()> {
    let label = far(asbr1)?["local_label"].as_u64().context("no label")?;
    let pin = format!("route add 10.0.2.0/24 via 10.1.1.2 vrf red label {label}");
    pe1.must(&pin)?;
    let trace = |more: &str| {
        lsp(
            pe1,
            &format!("trace 10.0.2.0/24 vrf red timeout 500 {more}"),
        )
    };
    let breaks = |more: &str, hops: &[(&str, u64)]| {
        let mut last = String::new();
        until(&format!("the trace has {hops:?}"), secs(15), || {
            let (rows, why) = trace(more)?;
            last = format!("{rows:#?} {why:?}");
            let seen: Vec<_> = rows
                .iter()
                .map(|r| (text(r, "from"), r["code"].as_u64().unwrap_or(0)))
                .collect();
            Ok(seen == hops)
        })
        .with_context(|| last)
    };
    let generic = "type generic";
    breaks(
        generic,
        &[("10.1.1.2", 8), ("10.12.0.2", 8), ("10.1.2.1", 3)],
    )?;
    // The route by hand is asked about by the distinguisher of the VRF here. It is told to the border, which has another label for it.
    breaks("", &[("10.1.1.2", 10)])?;
    // The second border passes nothing on any more: the first one does, by hand, and is told so.
    let second = far(asbr2)?["local_label"].as_u64().context("no label")?;
    asbr1.must(&format!("label add 900 swap {second} via 10.12.0.2"))?;
    pe1.must("route replace 10.0.2.0/24 via 10.1.1.2 vrf red label 900")?;
    breaks(
        generic,
        &[("10.1.1.2", 8), ("10.12.0.2", 8), ("10.1.2.1", 3)],
    )?;
    asbr2.must("bgp neighbor 10.1.2.1 shutdown maintenance")?;
    breaks(generic, &[("10.1.1.2", 8), ("10.12.0.2", 11)])?;
    // Nor does the first: it has withdrawn its label.
    pe1.must(&pin.replace(" add ", " replace "))?;
    breaks(generic, &[("10.1.1.2", 11)])?;
    asbr2.must("bgp neighbor 10.1.2.1 start")?;
    breaks(
        generic,
        &[("10.1.1.2", 8), ("10.12.0.2", 8), ("10.1.2.1", 3)],
    )?;
    // The wire between the borders is pulled: the one before it says so, for as long as it has a label for it.
    asbr2.ns().ip("link set border down")?;
    pe1.must("route replace 10.0.2.0/24 via 10.1.1.2 vrf red label 900")?;
    breaks(generic, &[("10.1.1.2", 9)])?;
    asbr2.ns().ip("link set border up")?;
    pe1.must("route del 10.0.2.0/24 vrf red")?;
    until("the path is whole", secs(20), || {
        let (rows, why) = trace("")?;
        Ok(why.is_none() && rows.len() == 3)
    })
}
