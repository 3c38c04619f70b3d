//! LSP ping over what BGP has told: labelled unicast over three ASes, one each, and on it a VPN of the two outer ones (RFC 4364 10 c).
//! Each PE has a distinguisher of its own, so that what is asked about is the far one's (RFC 8029 3.2.5).

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{B, C, FAR, Line, VPN, Witness, labels, text};
use crate::lab::wait::{secs, until};
use crate::lab::{Config, Driver};
use crate::scenarios::pages;
use crate::suite::Options;

/// The loopback of the last one.
const END: &str = "192.0.2.12/32";
/// Told with a label index.
const SEGMENT: &str = "198.51.100.0/24";
/// In the VRF at both ends.
const VPN6: &str = "2001:db8:8::/48";

/// The last one tells its loopback with the implicit null, and what lies behind it with a label of its own.
fn by_bgp(n: usize, c: Config) -> Config {
    const AS: [u32; 3] = [64501, 64500, 64502];
    let own = format!("{{ prefix = \"192.0.2.1{n}/32\", label = \"implicit-null\" }}");
    let far = match n {
        2 => format!(
            ", {{ prefix = \"{FAR}\", label = \"local\" }}, {{ prefix = \"{SEGMENT}\", label = \"local\", label-index = 7 }}"
        ),
        _ => String::new(),
    };
    let mut bgp = format!(
        "[bgp]\nas = {}\nhold-time = 9\nnetworks = [{own}{far}]\n[bgp.group.all]\nimport = \"accept-all\"\nexport = \"accept-all\"\n\
         connect-retry = 1\nprefix-sid = true\n",
        AS[n]
    );
    let near: &[(&str, usize)] = [
        &[(B, 1)][..],
        &[("10.0.1.1", 0), (C, 2)],
        &[("10.0.2.1", 1)],
    ][n];
    for (address, of) in near {
        bgp += &format!(
            "[bgp.neighbor.\"{address}\"]\nas = {}\ngroup = \"all\"\nfamilies = [\"ipv4-labeled-unicast\"]\n",
            AS[*of]
        );
    }
    let c = c.router_id(&format!("192.0.2.1{n}")).section(&format!(
        "[label-range]\ndynamic = \"{0}000-{0}999\"\nsrgb = \"{0}6000-{0}6099\"",
        n + 5
    ));
    if n == 1 {
        return c.section(&bgp);
    }
    let other = 2 - n;
    bgp += &format!(
        "[bgp.neighbor.\"192.0.2.1{other}\"]\nas = {}\ngroup = \"all\"\nfamilies = [\"vpnv4\", \"vpnv6\"]\nmultihop = 3\n\
         source-address = \"192.0.2.1{n}\"\n",
        AS[other]
    );
    let c = c.section(&bgp).section(&format!(
        "[vrf.blue]\nrd = \"{}:{n}\"\nimport = [\"target:64500:7\"]\nexport = [\"target:64500:7\"]",
        AS[n]
    ));
    if n == 0 {
        return c;
    }
    [VPN, VPN6].iter().fold(c, |c, p| {
        c.section(&format!(
            "[[route]]\nprefix = \"{p}\"\ndiscard = \"blackhole\"\nvrf = \"blue\""
        ))
    })
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn bgp(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 3)?;
    let line = Line::start("lsp-ping-bgp", &o.flavor, by_bgp)?;
    let witness = match o.flavor.driver {
        Driver::AfPacket => Some([Witness::start(&line, 1)?, Witness::start(&line, 2)?]),
        Driver::AfXdp => None,
    };
    for prefix in [VPN, VPN6] {
        until(&format!("{prefix} is in the VRF"), secs(40), || {
            let routes = line.at(0).json(&format!("route show {prefix} vrf blue"))?;
            Ok(routes[0]["protocol"] == "bgp" && routes[0]["installed"] == true)
        })?;
    }
    labelled(&line)?;
    segment(&line)?;
    vpn(&line)?;
    // Asked about another sort of FEC: BGP's label is not LDP's.
    let (rows, why) = line.lsp(&format!("trace {FAR} type ldp"))?;
    ensure!(
        why.is_some() && text(&rows[0], "verdict") == "broken" && rows[0]["code"] == 4,
        "{rows:?}"
    );
    if let Some([near, far]) = witness {
        let kinds = |k: &'static str| [("mpls_echo.tlv.fec.type", k), ("mpls_echo.msg_type", "1")];
        for k in ["12", "12,6", "12,7"] {
            near.sees(&kinds(k))?;
            far.sees(&kinds(k))?;
        }
        // Nobody but the one that is asked is to look at it without its label.
        let bare = [("mpls.label", ""), ("ip.dst", "127.0.0.1"), ("ip.ttl", "1")];
        far.sees(&[&bare[..], &kinds("12")].concat())?;
    }
    gone(&line)?;
    line.stop()
}

/// Both kinds of prefix: the trace shows the label in the middle and the one at the end, or that there is none.
fn labelled(line: &Line) -> Result<()> {
    for (prefix, at_end) in [(END, None), (FAR, Some(7000..8000))] {
        line.arrives(prefix)?;
        let (rows, why) = line.lsp(&format!("trace {prefix}"))?;
        ensure!(why.is_none() && rows.len() == 2, "{rows:?} {why:?}");
        let (b, c) = (&rows[0], &rows[1]);
        let label = labels(&b["in_label"]);
        let fec = json!([format!("bgp {prefix}")]);
        ensure!(
            b["verdict"] == "onward" && b["from"] == "192.0.2.11" && b["fec"] == fec,
            "{b}"
        );
        ensure!(
            label.len() == 1 && (6000..7000).contains(&label[0]) && label == labels(&b["label"]),
            "{b}"
        );
        let way = &b["onward"][0];
        let on = labels(&way["label"]);
        let came = labels(&c["in_label"]);
        ensure!(
            way["protocol"] == "bgp" && c["verdict"] == "end" && c["from"] == "192.0.2.12",
            "{rows:?}"
        );
        match at_end {
            None => ensure!(on == [3] && came.is_empty(), "{rows:?}"),
            Some(range) => ensure!(on == came && range.contains(&came[0]), "{rows:?}"),
        }
    }
    Ok(())
}

/// A prefix with a label index (RFC 8669) has labels of each one's SRGB, which are BGP's too.
fn segment(line: &Line) -> Result<()> {
    line.arrives(SEGMENT)?;
    let (rows, why) = line.lsp(&format!("trace {SEGMENT}"))?;
    ensure!(
        why.is_none() && rows.len() == 2 && rows[0]["fec"] == json!([format!("bgp {SEGMENT}")]),
        "{rows:?} {why:?}"
    );
    let (b, c) = (&rows[0], &rows[1]);
    let on = labels(&b["onward"][0]["label"]);
    ensure!(
        labels(&b["in_label"]) == [66_007] && on == [76_007] && b["onward"][0]["protocol"] == "bgp",
        "{rows:?}"
    );
    ensure!(
        labels(&c["in_label"]) == on && c["code"] == 3 && c["subcode"] == 1,
        "{rows:?}"
    );
    Ok(())
}

/// The VPN's FEC has the distinguisher of the far end, and lies within that of its next hop.
fn vpn(line: &Line) -> Result<()> {
    for prefix in [VPN, VPN6] {
        let asked = format!("{prefix} vrf blue");
        line.arrives(&asked)?;
        let best = line.at(0).json(&format!("bgp route {prefix} vrf blue"))?;
        ensure!(best[0]["rd"] == "64502:2", "{best}");
        let label = best[0]["label"][0].as_u64().context("no label")?;
        let (rows, why) = line.lsp(&format!("trace {asked}"))?;
        ensure!(why.is_none() && rows.len() == 2, "{rows:?} {why:?}");
        let fecs = json!([format!("bgp {END}"), format!("vpn {prefix} rd 64502:2")]);
        ensure!(rows[0]["fec"] == fecs, "{rows:?}");
        let sent = labels(&rows[0]["label"]);
        ensure!(
            sent.len() == 2
                && sent[1] == label
                && labels(&rows[0]["onward"][0]["label"]) == [3, label],
            "{rows:?}"
        );
        ensure!(
            rows[1]["verdict"] == "end"
                && rows[1]["subcode"] == 2
                && labels(&rows[1]["in_label"]) == [label],
            "{rows:?}"
        );
    }
    Ok(())
}

/// The prefix is no longer in the far VRF, and for a moment still here: the end says so. Then there is nothing to ask about.
fn gone(line: &Line) -> Result<()> {
    line.at(2).must(&format!("route del {VPN} vrf blue"))?;
    let mut last: Option<Value> = None;
    until("nothing is left to ask about", secs(15), || {
        let done = line.at(0).ctl(&format!(
            "--json lsp ping {VPN} vrf blue count 1 timeout 300"
        ))?;
        last = Some(json!(done.text()));
        Ok(done.status == Some(1) && done.text().contains("no route of VRF blue"))
    })
    .with_context(|| format!("{last:?}"))?;
    line.arrives(&format!("{VPN6} vrf blue"))
}
