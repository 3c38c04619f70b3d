//! LSP ping and traceroute (RFC 8029) among three appliances in a line; what goes over the wires is read by tshark, which nobody here
//! wrote, as no other free stack has this.
//!
//! ```text
//!   a p1 10.0.1.1 ── 10.0.1.2 p1 b p2 10.0.2.1 ── 10.0.2.2 p1 c, which has 203.0.113.0/24
//! ```

pub mod bgp;
pub mod hostile;
pub mod inter_as;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::pages;
use crate::lab::cmd;
use crate::lab::wait::{secs, until};
use crate::lab::{Appliance, Config, Driver, Flavor, Lab, Netns};
use crate::peers::Daemon;
use crate::suite::Options;

/// What lies behind the line.
const FAR: &str = "203.0.113.0/24";
/// In the VRF at both of its ends.
const VPN: &str = "10.8.0.0/16";
const B: &str = "10.0.1.2";
const C: &str = "10.0.2.2";

/// The appliances from left to right, with their namespaces.
struct Line {
    all: Vec<(Netns, Appliance)>,
    lab: Lab,
}

impl Line {
    /// Starts them; `more` adds to the configuration of each what the case is about.
    fn start(name: &str, flavor: &Flavor, more: impl Fn(usize, Config) -> Config) -> Result<Self> {
        let mut lab = Lab::new(name)?;
        let spaces = [lab.router("a")?, lab.router("b")?, lab.router("c")?];
        lab.join((&spaces[0], "e1"), (&spaces[1], "e1"))?;
        lab.join((&spaces[1], "e2"), (&spaces[2], "e1"))?;
        let mut all = vec![];
        for (n, ns) in spaces.into_iter().enumerate() {
            let own = format!("192.0.2.1{n}/32");
            let name = ["a", "b", "c"][n];
            let c = flavor.config(name);
            let mpls = "mpls = true";
            let c = match n {
                0 => c.interface("p1", "e1", &["10.0.1.1/30", &own], mpls).route(
                    "10.0.2.0/30",
                    B,
                    "",
                ),
                1 => c
                    .interface("p1", "e1", &["10.0.1.2/30", &own], mpls)
                    .interface("p2", "e2", &["10.0.2.1/30"], mpls),
                _ => c
                    .interface("p1", "e1", &["10.0.2.2/30", &own, "203.0.113.1/24"], mpls)
                    .route("10.0.1.0/30", "10.0.2.1", ""),
            };
            let a = lab.spawn(name, &ns, &more(n, c))?;
            all.push((ns, a));
        }
        for (ns, a) in &all {
            a.ready().with_context(|| ns.name().to_owned())?;
        }
        Ok(Self { all, lab })
    }

    fn at(&self, n: usize) -> &Appliance {
        &self.all[n].1
    }

    /// What a ping or trace of the left one says, and whether it found the path whole; else also why not.
    fn lsp(&self, line: &str) -> Result<(Vec<Value>, Option<String>)> {
        lsp(self.at(0), line)
    }

    /// Waits until pings arrive: addresses have to be found first.
    fn arrives(&self, fec: &str) -> Result<()> {
        let mut last = String::new();
        until(&format!("the path to {fec} is whole"), secs(20), || {
            let (rows, why) = self.lsp(&format!("ping {fec} count 1 timeout 500"))?;
            last = format!("{rows:?} {why:?}");
            Ok(why.is_none())
        })
        .with_context(|| last)
    }

    /// A trace that ends so: from each hop its verdict and who it is, and a part of what is said at the end.
    fn breaks(&self, hops: &[(&str, &str)], says: &str) -> Result<()> {
        let mut last = String::new();
        until(&format!("the trace says {says:?}"), secs(15), || {
            let (rows, why) = self.lsp(&format!("trace {FAR} timeout 300"))?;
            last = format!("{rows:#?} {why:?}");
            let seen: Vec<(&str, &str)> = rows
                .iter()
                .map(|r| (text(r, "verdict"), text(r, "from")))
                .collect();
            Ok(seen == hops && why.is_some_and(|w| w.contains(says)))
        })
        .with_context(|| last)
    }

    fn stop(self) -> Result<()> {
        for (_, a) in &self.all {
            a.law()?;
        }
        for (ns, a) in self.all {
            a.stop().with_context(|| ns.name().to_owned())?;
        }
        drop(self.lab);
        Ok(())
    }
}

/// What a ping or trace says, and whether it found the path whole; else also why not.
fn lsp(a: &Appliance, line: &str) -> Result<(Vec<Value>, Option<String>)> {
    let done = a.ctl(&format!("--json lsp {line}"))?;
    let whole = done.status == Some(0);
    ensure!(
        whole || done.status == Some(1),
        "lsp {line}: {}",
        done.text()
    );
    let rows: Vec<Value> = serde_json::from_str(&done.stdout)
        .with_context(|| format!("lsp {line}: {}", done.text()))?;
    Ok((rows, (!whole).then_some(done.stderr)))
}

fn text<'v>(v: &'v Value, name: &str) -> &'v str {
    v[name].as_str().unwrap_or_default()
}

fn labels(v: &Value) -> Vec<u64> {
    let all = v.as_array().into_iter().flatten();
    all.filter_map(|l| l.as_u64().or(l["label"].as_u64()))
        .collect()
}

/// What tshark reads, a packet a row.
struct Witness {
    file: PathBuf,
    tcpdump: Daemon,
}

/// The fields that are looked at.
const FIELDS: [&str; 14] = [
    "mpls.label",
    "ip.src",
    "ip.dst",
    "ip.ttl",
    "ip.opt.type",
    "udp.dstport",
    "udp.checksum.status",
    "mpls_echo.msg_type",
    "mpls_echo.return_code",
    "mpls_echo.return_subcode",
    "mpls_echo.tlv.type",
    "mpls_echo.tlv.fec.type",
    "mpls_echo.tlv.ilso_ipv4.label",
    "_ws.malformed",
];

impl Witness {
    /// Looks at what comes to one of them by e1: no capture sees what an appliance sends.
    fn start(line: &Line, n: usize) -> Result<Self> {
        let (ns, folder, dev) = (&line.all[n].0, line.lab.folder(), "e1");
        let name = format!("tcpdump-{n}");
        let file = folder.join(format!("{name}.pcap"));
        let shown = file.display().to_string();
        let words = [
            "tcpdump", "-Z", "root", "-i", dev, "-U", "-w", &shown,
            // In this order: what follows "mpls" is looked for under labels alone.
            "udp", "port", "3503", "or", "mpls",
        ];
        let tcpdump = Daemon::start(folder, &name, ns, &words)?;
        tcpdump.until("it listens", secs(10), || {
            Ok(tcpdump.log_tail().contains("listening on"))
        })?;
        Ok(Self { file, tcpdump })
    }

    fn rows(&self) -> Result<Vec<Vec<String>>> {
        read(&self.file)
    }

    /// Waits for a packet whose fields are these: name and value; none is malformed.
    fn sees(&self, wanted: &[(&str, &str)]) -> Result<()> {
        self.tcpdump.until("it runs", secs(1), || Ok(true))?;
        let mut last = String::new();
        until(&format!("tshark reads {wanted:?}"), secs(15), || {
            let rows = self.rows()?;
            last = format!(
                "{FIELDS:?}\n{}",
                rows.iter()
                    .map(|r| r.join(" | "))
                    .collect::<Vec<_>>()
                    .join("\n")
            );
            let is = |row: &Vec<String>| {
                wanted
                    .iter()
                    .all(|(name, value)| field(row, name) == *value)
            };
            Ok(rows.iter().any(is))
        })
        .with_context(|| last.clone())?;
        let wrong: Vec<_> = self
            .rows()?
            .into_iter()
            .filter(|r| !field(r, "_ws.malformed").is_empty())
            .collect();
        ensure!(wrong.is_empty(), "tshark finds malformed: {wrong:?}");
        Ok(())
    }
}

fn field<'r>(row: &'r [String], name: &str) -> &'r str {
    let at = FIELDS.iter().position(|f| *f == name);
    at.and_then(|at| row.get(at)).map_or("", String::as_str)
}

fn read(file: &Path) -> Result<Vec<Vec<String>>> {
    let mut c = Command::new("tshark");
    c.arg("-r").arg(file);
    c.args([
        "-T",
        "fields",
        "-E",
        "separator=;",
        "-o",
        "udp.check_checksum:TRUE",
    ]);
    for f in FIELDS {
        c.args(["-e", f]);
    }
    // The last packet may be cut off while it is written: what is whole is said all the same.
    let text = cmd::finish(&mut c)?.stdout;
    let row = |l: &str| l.split(';').map(str::to_owned).collect();
    Ok(text.lines().map(row).collect())
}

/// A path by hand, and a VPN's over another: a pushes 100, b swaps it for 200, c takes that off.
fn by_hand(n: usize, c: Config) -> Config {
    let vrf = "[vrf.blue]\nrd = \"64512:7\"";
    let pop = |label: u32, more: &str| format!("[[label]]\nin = {label}\naction = \"pop\"\n{more}");
    match n {
        0 => c
            .route(FAR, B, "label = [100]")
            .route("192.0.2.12/32", B, "label = [100]")
            .route(VPN, "192.0.2.12", "label = [700]\nvrf = \"blue\"")
            .section(vrf),
        1 => c.section(&format!(
            "[[label]]\nin = 100\naction = \"swap\"\nout = [200]\nvia = \"{C}\""
        )),
        _ => c
            .section(&pop(200, ""))
            .section(&pop(700, "vrf = \"blue\""))
            .section(vrf)
            .section(&format!(
                "[[route]]\nprefix = \"{VPN}\"\ndiscard = \"blackhole\"\nvrf = \"blue\""
            )),
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn static_labels(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 3)?;
    let mut line = Line::start("lsp-ping", &o.flavor, by_hand)?;
    let witness = match o.flavor.driver {
        Driver::AfPacket => Some((Witness::start(&line, 0)?, Witness::start(&line, 1)?)),
        // What goes by XDP, no capture on the same device sees.
        Driver::AfXdp => None,
    };
    line.arrives(FAR)?;
    let (rows, why) = line.lsp(&format!("ping {FAR} count 3 interval 20 size 300"))?;
    ensure!(why.is_none() && rows.len() == 3, "{rows:?} {why:?}");
    for r in &rows {
        ensure!(
            r["verdict"] == "end" && r["from"] == C && r["code"] == 3 && r["subcode"] == 1,
            "{r}"
        );
        ensure!(
            labels(&r["label"]) == [100] && r["fec"][0] == format!("generic {FAR}"),
            "{r}"
        );
    }
    traced(&line)?;
    vpn(&line)?;
    if let Some((a, b)) = witness {
        decoded(&a, &b)?;
    }
    broken(&line)?;
    refused(line.at(0))?;
    silent(&mut line)?;
    line.stop()
}

fn traced(line: &Line) -> Result<()> {
    let (rows, why) = line.lsp(&format!("trace {FAR}"))?;
    ensure!(why.is_none() && rows.len() == 2, "{rows:?} {why:?}");
    let (b, c) = (&rows[0], &rows[1]);
    ensure!(
        b["from"] == B && b["verdict"] == "onward" && b["code"] == 8 && b["in_interface"] == B,
        "{b}"
    );
    ensure!(
        labels(&b["in_label"]) == [100] && b["in_label"][0]["ttl"] == 1,
        "{b}"
    );
    let way = &b["onward"][0];
    ensure!(
        way["router"] == C
            && labels(&way["label"]) == [200]
            && way["protocol"] == "static"
            && way["mtu"] == 1500,
        "{b}"
    );
    ensure!(
        c["from"] == C && c["verdict"] == "end" && labels(&c["in_label"]) == [200],
        "{c}"
    );
    // The same for people.
    let read = line.at(0).must(&format!("lsp trace {FAR}"))?;
    for part in [
        "label 100",
        &format!("{C} label 200"),
        "label switched (depth 1)",
        "is an egress for the FEC",
    ] {
        ensure!(read.contains(part), "no {part:?} in\n{read}");
    }
    Ok(())
}

/// The VPN's label under the transport's: both FECs are asked about, and the end says that both are its.
fn vpn(line: &Line) -> Result<()> {
    let (rows, why) = line.lsp(&format!("trace {VPN} vrf blue"))?;
    ensure!(why.is_none() && rows.len() == 2, "{rows:?} {why:?}");
    let fecs = serde_json::json!(["generic 192.0.2.12/32", format!("vpn {VPN} rd 64512:7")]);
    ensure!(
        rows[0]["fec"] == fecs && labels(&rows[0]["label"]) == [100, 700],
        "{rows:?}"
    );
    ensure!(
        labels(&rows[0]["onward"][0]["label"]) == [200, 700],
        "{rows:?}"
    );
    ensure!(
        rows[1]["verdict"] == "end" && rows[1]["subcode"] == 2,
        "{rows:?}"
    );
    // Another's label: it leads somewhere, and not into that VRF.
    line.at(2).must("label replace 700 pop")?;
    let (rows, why) = line.lsp(&format!("ping {VPN} vrf blue count 1"))?;
    ensure!(why.is_some() && rows[0]["verdict"] == "broken", "{rows:?}");
    line.at(2).must("label replace 700 pop vrf blue")?;
    line.arrives(&format!("{VPN} vrf blue"))
}

/// Requests of both sorts, as tshark reads what comes to b, and their replies, as it reads what comes to a.
fn decoded(a: &Witness, b: &Witness) -> Result<()> {
    let request = [
        ("mpls.label", "100"),
        ("ip.src", "10.0.1.1"),
        ("ip.dst", "127.0.0.1"),
        ("ip.ttl", "1"),
        ("ip.opt.type", "148"),
        ("udp.dstport", "3503"),
        ("udp.checksum.status", "1"),
        ("mpls_echo.msg_type", "1"),
        ("mpls_echo.return_code", "0"),
    ];
    // A ping with its pad, a trace with its mapping; generic FECs.
    for tlvs in ["1,3", "1,20"] {
        let more = [
            ("mpls_echo.tlv.type", tlvs),
            ("mpls_echo.tlv.fec.type", "14"),
        ];
        b.sees(&[&request[..], &more].concat())?;
    }
    // Two FECs under two labels.
    b.sees(&[
        ("mpls.label", "100,700"),
        ("mpls_echo.msg_type", "1"),
        ("mpls_echo.tlv.fec.type", "14,6"),
    ])?;
    let reply = [
        ("mpls.label", ""),
        ("ip.dst", "10.0.1.1"),
        ("udp.checksum.status", "1"),
        ("mpls_echo.msg_type", "2"),
    ];
    let more = [
        ("ip.src", C),
        ("mpls_echo.return_code", "3"),
        ("mpls_echo.return_subcode", "1"),
    ];
    a.sees(&[&reply[..], &more].concat())?;
    let more = [
        ("ip.src", B),
        ("mpls_echo.return_code", "14"),
        ("mpls_echo.tlv.type", "20,7"),
        ("mpls_echo.tlv.ilso_ipv4.label", "100"),
    ];
    a.sees(&[&reply[..], &more].concat())
}

/// The path is broken in each way, says where and why, and is mended.
fn broken(line: &Line) -> Result<()> {
    let onward = ("onward", B);
    line.at(2).must("label del 200")?;
    line.breaks(
        &[onward, ("broken", C)],
        "broken at 10.0.2.2: no label entry (depth 1)",
    )?;
    // A label that leads elsewhere.
    line.at(1)
        .must(&format!("label replace 100 swap 700 via {C}"))?;
    line.breaks(&[onward, ("broken", C)], "no mapping for the FEC (depth 1)")?;
    line.at(1).must("label del 100")?;
    line.breaks(
        &[("broken", B)],
        "broken at 10.0.1.2: no label entry (depth 1)",
    )?;
    line.at(1)
        .must(&format!("label add 100 swap 200 via {C}"))?;
    line.at(2).must("label add 200 pop")?;
    line.arrives(FAR)?;
    // The link behind b is cut: b knows, and a is told.
    let c = &line.all[2].0;
    c.ip("link set e1 down")?;
    line.breaks(
        &[("broken", B)],
        "label switched but no MPLS forwarding (depth 1)",
    )?;
    c.ip("link set e1 up")?;
    line.arrives(FAR).context("the link is back")
}

/// The last one dies: who is last known to pass packets on is named.
fn silent(line: &mut Line) -> Result<()> {
    let (_, mut c) = line.all.pop().context("three of them")?;
    c.law()?;
    c.kill()?;
    let hops = [[("onward", B)].as_slice(), &[("lost", ""); 6]].concat();
    line.breaks(&hops, "nobody answers behind 10.0.1.2")?;
    c.start_again()?;
    line.arrives(FAR).context("it is back")?;
    c.stop()
}

/// What can't be asked, and why.
fn refused(a: &Appliance) -> Result<()> {
    for (line, status, part) in [
        ("lsp ping 10.0.2.0/30", 1, "get no label here"),
        ("lsp ping 198.51.100.0/24", 1, "no route to 198.51.100.0/24"),
        ("lsp ping 203.0.113.0/24 path 2", 1, "has 1 that carry"),
        ("lsp ping 203.0.113.0/24 type vpn", 1, "vrf NAME"),
        (
            "lsp ping 203.0.113.0/24 type odd",
            1,
            "is not ldp, bgp, vpn or generic",
        ),
        (
            "lsp ping 203.0.113.0/24 to 128.0.0.1",
            1,
            "within 127.0.0.0/8",
        ),
        ("lsp ping 203.0.113.0/24 size 9000", 1, "does not fit"),
        ("lsp ping 203.0.113.0/24 vrf none", 1, "none"),
        ("lsp trace", 2, "the FEC is missing"),
    ] {
        let no = a.ctl(line)?;
        ensure!(
            no.status == Some(status) && no.text().contains(part),
            "{line}: {:?} {}",
            no.status,
            no.text()
        );
    }
    Ok(())
}

/// Three that speak LDP. The last one ends the path with implicit null, so it gets requests without a label.
fn by_ldp(n: usize, c: Config) -> Config {
    let more = if n == 1 { ", \"p2\"" } else { "" };
    let c = c
        .section(&format!("[label-range]\ndynamic = \"{}000-{}999\"", n + 5, n + 5))
        .section(&format!(
            "[ldp]\nrouter-id = \"192.0.2.1{n}\"\ninterfaces = [\"p1\"{more}]\nhello-hold-time = 3\nhold-time = 15"
        ));
    let others = |c: Config, to: &[(usize, &str)]| {
        to.iter().fold(c, |c, (n, via)| {
            c.route(&format!("192.0.2.1{n}/32"), via, "")
        })
    };
    match n {
        0 => others(c, &[(1, B), (2, B)]).route(FAR, B, ""),
        1 => others(c, &[(0, "10.0.1.1"), (2, C)]).route(FAR, C, ""),
        _ => others(c, &[(0, "10.0.2.1"), (1, "10.0.2.1")]),
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn ldp(o: &Options) -> Result<()> {
    let _pages = pages(&o.flavor, 3)?;
    let line = Line::start("lsp-ping-ldp", &o.flavor, by_ldp)?;
    let witness = match o.flavor.driver {
        Driver::AfPacket => Some([
            Witness::start(&line, 0)?,
            Witness::start(&line, 1)?,
            Witness::start(&line, 2)?,
        ]),
        Driver::AfXdp => None,
    };
    until(
        "a has a label of b's for what is behind c",
        secs(40),
        || {
            let route = line.at(0).json(&format!("route show {FAR}"))?;
            let ldp = route.as_array().into_iter().flatten();
            let mut ldp = ldp.filter(|r| r["protocol"] == "ldp" && r["installed"] == true);
            Ok(ldp.next().is_some())
        },
    )?;
    line.arrives(FAR)?;
    let mut last = String::new();
    until("the trace shows both hops", secs(15), || {
        let (rows, why) = line.lsp(&format!("trace {FAR}"))?;
        last = format!("{rows:#?} {why:?}");
        let [b, c] = &rows[..] else { return Ok(false) };
        let label = labels(&b["in_label"]);
        let way = &b["onward"][0];
        Ok(why.is_none()
            && b["from"] == B
            && b["fec"][0] == format!("ldp {FAR}")
            && label.len() == 1
            && (6000..7000).contains(&label[0])
            && labels(&way["label"]) == [3]
            && way["protocol"] == "ldp"
            && c["from"] == C
            && c["verdict"] == "end"
            && labels(&c["in_label"]).is_empty())
    })
    .with_context(|| last.clone())?;
    // Asked about another sort of FEC: LDP's label is not BGP's.
    let (rows, why) = line.lsp(&format!("trace {FAR} type bgp"))?;
    ensure!(
        why.is_some() && text(&rows[0], "verdict") == "broken",
        "{rows:?}"
    );
    if let Some([back, near, far]) = witness {
        near.sees(&[("mpls_echo.tlv.fec.type", "1"), ("mpls_echo.msg_type", "1")])?;
        // Without a label behind b, and still to be looked at by c alone.
        far.sees(&[
            ("mpls.label", ""),
            ("ip.dst", "127.0.0.1"),
            ("ip.ttl", "1"),
            ("ip.opt.type", "148"),
            ("mpls_echo.msg_type", "1"),
            ("mpls_echo.tlv.fec.type", "1"),
        ])?;
        back.sees(&[
            ("ip.src", C),
            ("mpls_echo.msg_type", "2"),
            ("mpls_echo.return_code", "3"),
        ])?;
    }
    // With an explicit null the last one gets a label.
    let file = line.at(2).config();
    let next = file.with_extension("next");
    let told = std::fs::read_to_string(file)?;
    std::fs::write(
        &next,
        told.replace(
            "hello-hold-time = 3",
            "hello-hold-time = 3\nexplicit-null = true",
        ),
    )?;
    line.at(2)
        .must(&format!("config apply {}", next.display()))?;
    until("the last one gets the explicit null", secs(20), || {
        let (rows, why) = line.lsp(&format!("trace {FAR}"))?;
        last = format!("{rows:#?} {why:?}");
        Ok(why.is_none() && rows.len() == 2 && labels(&rows[1]["in_label"]) == [0])
    })
    .with_context(|| last.clone())?;
    line.stop()
}
