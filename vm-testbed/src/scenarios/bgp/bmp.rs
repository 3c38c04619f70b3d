//! BMP: a station hears what the appliance hears, and tshark says what it was told. RFC 7854, RFC 9069.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

use super::{AS, Around, address, around, asn, neighbor, sections, setup};
use crate::lab::cmd;
use crate::lab::wait::{eventually, secs, until};
use crate::peers::{Announce, Bird, Daemon, Setup, Speaker};
use crate::suite::Options;

const V4: &str = "198.51.100.0/24";
const HIDDEN: &str = "203.0.113.0/24";
const V6: &str = "2001:db8:aaaa::/48";
const PORT: u16 = 11_019;

/// A station that is told everything, and a policy that hides one route and marks another.
fn config() -> String {
    let first = neighbor(1, asn(1), "").replacen("\"accept-all\"", "\"some\"", 1);
    let rest = format!(
        "[bmp.near]\naddress = \"{}\"\nmonitor = [\"pre-policy\", \"post-policy\", \"loc-rib\"]\nstatistics = 1\n\
         [policy.some]\ndefault = \"accept\"\n[[policy.some.rule]]\nmatch = {{ prefix-set = \"hidden\" }}\naction = \"reject\"\n\
         [[policy.some.rule]]\nmatch = {{ prefix-set = \"marked\" }}\nset = {{ add-community = [\"64500:99\"] }}\n\
         action = \"accept\"\n[prefix-set]\nhidden = [\"{HIDDEN}\"]\nmarked = [\"{V4}\"]\n",
        address(2)
    );
    sections(&[first, rest])
}

/// What tshark makes of the capture: each BMP message by itself.
fn decoded(file: &Path) -> Result<Vec<String>> {
    let mut c = Command::new("tshark");
    c.arg("-r").arg(file);
    c.args([
        "-d",
        &format!("tcp.port=={PORT},bmp"),
        "-V",
        "-O",
        "bmp,bgp",
    ]);
    // A packet may be cut off while it is written: what is whole is said all the same.
    let text = cmd::finish(&mut c)?.stdout;
    let mut all: Vec<String> = vec![];
    for line in text.lines() {
        if line.starts_with("BGP Monitoring Protocol") {
            all.push(String::new());
        } else if line.starts_with("Frame ") {
            continue;
        }
        if let Some(last) = all.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    Ok(all)
}

/// The messages that have all of these in them.
fn with<'m>(all: &'m [String], parts: &[&str]) -> Vec<&'m String> {
    let has = |m: &&String| parts.iter().all(|p| m.contains(p));
    all.iter().filter(has).collect()
}

struct Capture {
    file: PathBuf,
    tcpdump: Daemon,
}

impl Capture {
    fn start(lab: &Around) -> Result<Self> {
        let file = lab.lab.folder().join("bmp.pcap");
        let shown = file.display().to_string();
        let port = PORT.to_string();
        let line = [
            "tcpdump", "-i", "any", "-U", "-w", &shown, "tcp", "port", &port,
        ];
        let tcpdump = Daemon::start(lab.lab.folder(), "tcpdump", &lab.spaces[1], &line)?;
        tcpdump.until("it listens", secs(10), || {
            Ok(tcpdump.log_tail().contains("listening on"))
        })?;
        Ok(Self { file, tcpdump })
    }

    /// Waits for a message with all of these in it.
    fn wait(&self, parts: &[&str]) -> Result<Vec<String>> {
        let what = format!("a message with {parts:?}");
        self.tcpdump.until("it runs", secs(1), || Ok(true))?;
        eventually(&what, secs(20), || {
            let all = decoded(&self.file)?;
            let found = !with(&all, parts).is_empty();
            ensure!(
                found,
                "there are {} messages:\n{}",
                all.len(),
                all.join("\n")
            );
            Ok(Some(all))
        })
    }
}

/// See the list of scenarios.
///
/// # Errors
/// When it fails.
pub fn bmp(o: &Options) -> Result<()> {
    let lab = around("bb-bmp", &o.flavor, 2, &config())?;
    let s1 = setup(1)
        .announce(Announce::new(V4))
        .announce(Announce::new(HIDDEN))
        .announce(Announce::new(V6));
    let mut p1 = Bird::start(lab.lab.folder(), "bird", &lab.spaces[0], &s1)?;
    lab.established(&p1, &s1)?;
    lab.wait_routes(V6, 1)?;
    // Nobody listens yet: that is said, and tried again.
    until("it is said that nobody listens", secs(10), || {
        let shown = lab.a.json("bgp bmp")?;
        Ok(shown[0]["last_error"]
            .as_str()
            .is_some_and(|e| e.contains("refused")))
    })?;
    let capture = Capture::start(&lab)?;
    let at = SocketAddr::new(address(2), PORT);
    let listener = lab.spaces[1].enter(|| Ok(TcpListener::bind(at)?))?;
    listener.set_nonblocking(true)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| station(&listener, &stop));
        let done = told(&lab, &capture, &mut p1, &s1);
        stop.store(true, Ordering::Relaxed);
        done
    })?;
    drop(p1);
    lab.end(vec![])
}

/// Takes connections and reads them until it is told to stop.
fn station(listener: &TcpListener, stop: &AtomicBool) {
    let mut all = vec![];
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((stream, _)) = listener.accept()
            && stream.set_nonblocking(true).is_ok()
        {
            all.push(stream);
        }
        for stream in &mut all {
            while matches!(stream.read(&mut buffer), Ok(n) if n > 0) {}
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn told(lab: &Around, capture: &Capture, p1: &mut Bird, s1: &Setup) -> Result<()> {
    const MONITORING: &str = "Type Route Monitoring";
    let me = format!("Address: {}", address(1));
    let asn = format!("ASN: {}", asn(1));
    until("the station has all of it", secs(30), || {
        Ok(lab.a.json("bgp bmp")?[0]["complete"] == true)
    })?;
    let all = capture.wait(&["Type Statistics Report", &me])?;
    let one = |parts: &[&str]| -> Result<String> {
        let found = with(&all, parts);
        ensure!(
            found.len() == 1,
            "{} messages with {parts:?} of:\n{}",
            found.len(),
            all.join("\n")
        );
        Ok(found[0].clone())
    };
    one(&["Type Initiation Message", "Trunkline", "dut"])?;
    // Both ends' OPENs are in it as they were.
    let local = format!("Local Address: {}", s1.peer);
    let up = one(&["Type Peer Up Notification", &me, &asn, &local])?;
    ensure!(up.matches("OPEN Message").count() >= 2, "{up}");
    let loc = "Type: Loc-RIB Instance Peer (3)";
    one(&["Type Peer Up Notification", loc, &format!("ASN: {AS}")])?;
    // tshark names the flag by its bit: 0 is before the policy, 1 after it.
    let pre = "Post-policy: Not set";
    let post = "Post-policy: Set";
    one(&[MONITORING, &me, &asn, pre, HIDDEN])?;
    ensure!(
        with(&all, &[MONITORING, post, HIDDEN]).is_empty(),
        "{HIDDEN} is told after the policy"
    );
    ensure!(
        with(&all, &[MONITORING, loc, HIDDEN]).is_empty(),
        "{HIDDEN} is told as chosen"
    );
    let marked = one(&[MONITORING, &me, post, V4])?;
    ensure!(marked.contains("64500:99"), "{marked}");
    let plain = one(&[MONITORING, &me, pre, V4])?;
    ensure!(!plain.contains("64500:99"), "{plain}");
    one(&[MONITORING, loc, V4, "64500:99"])?;
    one(&[MONITORING, &me, pre, V6])?;
    one(&[MONITORING, loc, V6])?;
    // tshark 4.0 takes the name of the table behind the OPENs of Loc-RIB (RFC 9069 4.4) for one more message of BGP.
    let known = |m: &str| m.contains("Peer Up") && m.contains(loc);
    let faulty = |m: &&String| m.contains("Malformed") && !known(m);
    let faulty: Vec<_> = all.iter().filter(faulty).collect();
    ensure!(faulty.is_empty(), "tshark finds fault with {faulty:?}");
    // A route goes, then the session.
    p1.cli("disable s4")?;
    let all = capture.wait(&[MONITORING, loc, "Withdrawn Routes Length: 4", V4])?;
    let none = "Withdrawn Routes Length: 0";
    let gone = with(&all, &[MONITORING, &me, pre, V4]);
    ensure!(
        gone.iter().any(|m| !m.contains(none)),
        "it is not told that {V4} went: {}",
        all.join("\n")
    );
    p1.daemon_mut().stop()?;
    capture.wait(&[
        "Type Peer Down Notification",
        &me,
        "Remote System, Notification",
    ])?;
    let shown = lab.a.json("bgp bmp")?;
    ensure!(
        shown[0]["state"] == "connected" && shown[0]["resyncs"] == 0,
        "{shown}"
    );
    ensure!(shown[0]["connections"] == 1, "{shown}");
    Ok(())
}
