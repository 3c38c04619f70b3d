//! Caches of the RPKI that nobody should run: each breaks RFC 8210 in its own ways, again and again, beside a good one. The
//! sessions and the process live, what the good one says counts, and what a bad one says does not.
//!
//! What takes hours or a minute of silence (what was said expires, who says nothing is left) is in `ctl`'s and `bgp`'s own
//! tests, whose time is theirs to set.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Around, address, around, asn, neighbor, sections, setup};
use crate::lab::Netns;
use crate::lab::wait::{eventually, millis, secs, until};
use crate::peers::{Announce, Bird, Speaker};
use crate::suite::Options;

const VALID: &str = "203.0.113.0/24";
const WRONG: &str = "198.51.100.0/24";
const UNKNOWN: &str = "192.0.2.0/24";
/// The port of the first cache; the others follow.
const FIRST: u16 = 8282;

/// A PDU's header and what follows.
fn pdu(version: u8, kind: u8, field: u16, body: &[u8]) -> Vec<u8> {
    headed(version, kind, field, 8 + body.len() as u32, body)
}

/// The same, with a length of its own.
fn headed(version: u8, kind: u8, field: u16, len: u32, body: &[u8]) -> Vec<u8> {
    let mut out = vec![version, kind];
    out.extend(field.to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend(body);
    out
}

fn response(session: u16) -> Vec<u8> {
    pdu(1, 3, session, &[])
}

fn record(version: u8, net: Ipv4Addr, len: u8, most: u8, asn: u32) -> Vec<u8> {
    let mut body = vec![1, len, most, 0];
    body.extend(net.octets());
    body.extend(asn.to_be_bytes());
    pdu(version, 4, 0, &body)
}

/// End of Data; it asks for an expire interval of a second, which is less than anybody may.
fn end(session: u16, serial: u32) -> Vec<u8> {
    let body = [serial, 60, 1, 1].map(u32::to_be_bytes).concat();
    pdu(1, 7, session, &body)
}

/// An Error Report about nothing.
fn error(code: u16, text: &str) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend((text.len() as u32).to_be_bytes());
    body.extend(text.as_bytes());
    pdu(1, 10, code, &body)
}

fn all(pdus: &[Vec<u8>]) -> Vec<u8> {
    pdus.concat()
}

const NET: Ipv4Addr = Ipv4Addr::new(10, 66, 0, 0);

/// What a cache does on a connection once it is asked, and what is said of it then.
struct Deed {
    name: &'static str,
    says: Vec<u8>,
    /// It closes the connection then.
    hangs_up: bool,
    error: &'static str,
}

fn deed(name: &'static str, says: Vec<u8>, error: &'static str) -> Deed {
    Deed {
        name,
        says,
        hangs_up: false,
        error,
    }
}

/// What the bad ones do, each its own in turns.
fn deeds() -> Vec<Vec<Deed>> {
    let ours = || record(1, NET, 24, 24, 1);
    let whole = all(&[response(9), ours(), end(9, 1)]);
    let long = vec![0; 1 << 20];
    vec![
        vec![
            deed(
                "version 7",
                headed(7, 3, 9, 8, &[]),
                "Unsupported Protocol Version",
            ),
            deed(
                "another version half-way",
                all(&[response(9), record(0, NET, 24, 24, 1)]),
                "Unexpected Protocol Version",
            ),
            deed(
                "noise",
                b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
                "Unsupported Protocol Version",
            ),
        ],
        vec![
            deed(
                "a length of 2 GB",
                headed(1, 4, 0, 1 << 31, &long),
                "Corrupt Data",
            ),
            deed(
                "a length of nothing",
                headed(1, 4, 0, 0, &long),
                "Corrupt Data",
            ),
            deed(
                "a length within the header",
                headed(1, 4, 0, 7, &[]),
                "Corrupt Data",
            ),
            deed(
                "a record cut short",
                headed(1, 4, 0, 19, &[0; 11]),
                "Corrupt Data",
            ),
            deed(
                "a prefix of 33 bits",
                all(&[response(9), record(1, NET, 33, 33, 1)]),
                "Corrupt Data",
            ),
            deed(
                "a report whose PDU is longer than itself",
                pdu(1, 10, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
                "Corrupt Data",
            ),
        ],
        vec![
            Deed {
                hangs_up: true,
                ..deed(
                    "half a record",
                    whole[..18].to_vec(),
                    "closed the connection",
                )
            },
            deed(
                "another session at the end",
                all(&[response(9), ours(), end(10, 1)]),
                "ends in another session",
            ),
            deed(
                "the same record twice",
                all(&[response(9), ours(), ours(), end(9, 1)]),
                "Duplicate",
            ),
        ],
        vec![
            deed(
                "error reports without end",
                error(2, "").repeat(50_000),
                "the cache says",
            ),
            deed(
                "an internal error",
                error(1, "the disk is full"),
                "the disk is full",
            ),
            deed(
                "an error nobody knows",
                error(60_000, "\u{1b}[2Jboo"),
                "the cache says",
            ),
        ],
    ]
}

/// A cache's port, its connections, and what it was told in reports of errors.
struct Fake {
    listener: TcpListener,
    at: SocketAddr,
    connections: AtomicUsize,
    reports: Mutex<BTreeSet<u16>>,
}

impl Fake {
    fn new(ns: &Netns, nth: u16) -> Result<Self> {
        let at = SocketAddr::new(address(2), FIRST + nth);
        let listener = ns.enter(|| Ok(TcpListener::bind(at)?))?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            at,
            connections: AtomicUsize::new(0),
            reports: Mutex::default(),
        })
    }

    /// Serves one connection after the other, each when it is asked.
    fn run(&self, stop: &AtomicBool, mut serve: impl FnMut(usize, &mut Line<'_>) -> Result<()>) {
        // Relaxed: it only says that it is enough.
        while !stop.load(Ordering::Relaxed) {
            let Ok((stream, _)) = self.listener.accept() else {
                std::thread::sleep(millis(2));
                continue;
            };
            // Relaxed: it is only read to see that it grows.
            let n = self.connections.fetch_add(1, Ordering::Relaxed);
            let mut line = Line {
                stream,
                stop,
                fake: self,
            };
            // Whatever ends it: the next one comes.
            let _ = serve(n, &mut line);
        }
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// A connection of a cache.
struct Line<'a> {
    stream: TcpStream,
    stop: &'a AtomicBool,
    fake: &'a Fake,
}

impl Line<'_> {
    fn say(&mut self, octets: &[u8]) -> Result<()> {
        self.stream.set_nonblocking(false)?;
        self.stream
            .set_write_timeout(Some(Duration::from_secs(2)))?;
        Ok(self.stream.write_all(octets)?)
    }

    /// The next PDU's type, field and body; the codes of reports are noted.
    fn hear(&mut self) -> Result<(u8, u16, Vec<u8>)> {
        let head = self.exactly(8)?;
        let field = u16::from_be_bytes([head[2], head[3]]);
        let len = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let body = self.exactly(len - 8)?;
        if head[1] == 10
            && let Ok(mut reports) = self.fake.reports.lock()
        {
            reports.insert(field);
        }
        Ok((head[1], field, body))
    }

    fn exactly(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut out = vec![0; len];
        let mut at = 0;
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(millis(50)))?;
        while at < len {
            // Relaxed: as above.
            ensure!(!self.stop.load(Ordering::Relaxed), "it is enough");
            match self.stream.read(&mut out[at..]) {
                Ok(0) => anyhow::bail!("it closed the connection"),
                Ok(n) => at += n,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(out)
    }

    /// Listens until the other side ends it.
    fn listen(&mut self) -> Result<()> {
        loop {
            self.hear()?;
        }
    }
}

/// Right for ever.
fn good(_: usize, line: &mut Line<'_>) -> Result<()> {
    line.hear()?;
    let valid = record(1, Ipv4Addr::new(203, 0, 113, 0), 24, 24, asn(1));
    line.say(&all(&[response(7), valid, end(7, 1)]))?;
    line.listen()
}

/// Right once, and never again: what it said counts on.
fn turncoat(n: usize, line: &mut Line<'_>) -> Result<()> {
    line.hear()?;
    if n == 0 {
        let wrong = record(1, Ipv4Addr::new(198, 51, 100, 0), 24, 24, 64_999);
        line.say(&all(&[response(8), wrong, end(8, 1)]))?;
    }
    line.say(&headed(1, 4, 0, 0, &[]))?;
    line.listen()
}

/// Another session each time it is asked, and it has itself asked at once.
fn fickle(n: usize, line: &mut Line<'_>) -> Result<()> {
    let session = 2 * n as u16;
    line.hear()?;
    line.say(&all(&[
        response(session),
        record(1, NET, 24, 24, 1),
        end(session, 1),
    ]))?;
    let notify = |serial: u32| pdu(1, 0, session, &serial.to_be_bytes());
    line.say(&notify(2))?;
    line.hear()?;
    line.say(&response(session + 1))?;
    line.listen()
}

fn caches(lab: &Around) -> Result<Vec<Value>> {
    let all = lab.a.json("rpki show")?;
    Ok(all.as_array().cloned().unwrap_or_default())
}

fn one(lab: &Around, at: SocketAddr) -> Result<Value> {
    let found = caches(lab)?.into_iter().find(|c| c["port"] == at.port());
    found.with_context(|| format!("no cache {at} is shown"))
}

fn state(lab: &Around, prefix: &str) -> Result<String> {
    let routes = lab.routes(prefix)?;
    let first = routes.first().with_context(|| format!("no {prefix}"))?;
    Ok(first["rpki"].as_str().unwrap_or_default().to_owned())
}

/// See the list of scenarios. RFC 8210.
///
/// # Errors
/// When it fails.
pub fn hostile(o: &Options) -> Result<()> {
    let bad = deeds();
    let n = 3 + bad.len() as u16 + 1;
    let names: Vec<String> = (0..n)
        .map(|i| format!("{}:{}", address(2), FIRST + i))
        .collect();
    let checked = neighbor(1, asn(1), "").replace("\"accept-all\"", "\"checked\"");
    let bgp = |names: &[String]| {
        sections(&[
            checked.clone(),
            "[policy.checked]\ndefault = \"accept\"\n[[policy.checked.rule]]\nmatch = { rpki = \"invalid\" }\naction = \"reject\"\n"
                .into(),
            format!("[rpki]\ncache = {names:?}\nretry = 1"),
        ])
    };
    let lab = around("bb-caches", &o.flavor, 2, &bgp(&names))?;
    let fakes: Vec<Fake> = (0..n)
        .map(|i| Fake::new(&lab.spaces[1], i))
        .collect::<Result<_>>()?;
    let s = [VALID, WRONG, UNKNOWN]
        .iter()
        .fold(setup(1), |s, p| s.announce(Announce::new(p)));
    let bird = Bird::start(lab.lab.folder(), "bird", &lab.spaces[0], &s)?;
    lab.established(&bird, &s)?;
    let (before, stop) = (lab.a.resident()?, AtomicBool::new(false));
    let watched = std::thread::scope(|scope| {
        scope.spawn(|| fakes[0].run(&stop, good));
        scope.spawn(|| fakes[1].run(&stop, turncoat));
        scope.spawn(|| fakes[2].run(&stop, fickle));
        // It says nothing at all.
        scope.spawn(|| fakes[3].run(&stop, |_, line| line.listen()));
        for (fake, deeds) in fakes[4..].iter().zip(&bad) {
            let stop = &stop;
            scope.spawn(move || {
                fake.run(stop, |n, line| {
                    let d = &deeds[n % deeds.len()];
                    line.hear()?;
                    // Who ends it before all is said need not hear the rest.
                    let said = line.say(&d.says);
                    if d.hangs_up {
                        return said;
                    }
                    line.listen()
                });
            });
        }
        let done = watch(&lab, &fakes, &bad);
        stop.store(true, Ordering::Relaxed);
        done
    });
    watched?;
    // No session was disturbed, and the process is no larger for it than a table would make it.
    ensure!(lab.neighbor(&address(1).to_string())?["established"] == 1);
    bird.wait_established(s.peer)?;
    let more = lab.a.resident()?.saturating_sub(before) >> 20;
    ensure!(more < 64, "memory grew by {more} MiB");
    // Without the one that turned, what it said is gone.
    let file = lab.lab.folder().join("next.toml");
    let text = std::fs::read_to_string(lab.a.config())?;
    let left = text.replace(&format!("{:?}, ", names[1]), "");
    ensure!(left != text, "no {} in {text}", names[1]);
    std::fs::write(&file, left)?;
    lab.a.must(&format!("config apply {}", file.display()))?;
    until("what it said is forgotten", secs(10), || {
        Ok(state(&lab, WRONG)? == "not-found")
    })?;
    lab.end(vec![Box::new(bird)])
}

/// What holds while all of them do what they do.
fn watch(lab: &Around, fakes: &[Fake], bad: &[Vec<Deed>]) -> Result<()> {
    until("the good one has said all", secs(20), || {
        Ok(one(lab, fakes[0].at)?["state"] == "synchronised")
    })?;
    // Each deed is seen for what it is, in its turn, and the cache is asked again and again.
    let mut unseen: BTreeSet<(u16, &str)> = BTreeSet::new();
    let mut wrong = None;
    for (fake, deeds) in fakes[4..].iter().zip(bad) {
        unseen.extend(deeds.iter().map(|d| (fake.at.port(), d.name)));
    }
    eventually("each deed is seen", secs(120), || {
        let all = caches(lab)?;
        for (fake, deeds) in fakes[4..].iter().zip(bad) {
            let c = all.iter().find(|c| c["port"] == fake.at.port());
            let c = c.context("it is not shown")?;
            let said = c["error"].as_str().unwrap_or_default();
            for d in deeds.iter().filter(|d| said.contains(d.error)) {
                unseen.remove(&(fake.at.port(), d.name));
            }
            if c["ipv4"] != 0 || !c["expires_s"].is_null() || said.contains('\u{1b}') {
                wrong = Some(c.clone());
            }
        }
        let mut both = fakes[4..].iter().zip(bad);
        let again = both.all(|(f, d)| f.count() > d.len());
        ensure!(unseen.is_empty() && again, "not seen: {unseen:?}; {all:?}");
        Ok(Some(()))
    })?;
    ensure!(wrong.is_none(), "what a bad one says counts: {wrong:?}");
    // What is wrong is said to who does it; but reports are not reported on, or two would tell each other for ever.
    let told = |fake: &Fake| fake.reports.lock().map(|r| r.clone()).unwrap_or_default();
    ensure!(
        told(&fakes[4]) == BTreeSet::from([4, 8]),
        "{:?}",
        told(&fakes[4])
    );
    ensure!(
        told(&fakes[5]) == BTreeSet::from([0]),
        "{:?}",
        told(&fakes[5])
    );
    ensure!(told(&fakes[7]).is_empty(), "{:?}", told(&fakes[7]));
    // The silent one is waited for. The fickle one is not asked as often as it likes.
    let silent = one(lab, fakes[3].at)?;
    ensure!(
        silent["state"] == "asked" || silent["error"] != "",
        "{silent}"
    );
    let (fickle, others) = (fakes[2].count(), fakes[5].count());
    ensure!(
        fickle > 1 && fickle < 20 * others,
        "{fickle} connections, the others {others}"
    );
    // What was said before counts, for as long as the protocol lets it at the least, and less every moment.
    let c = one(lab, fakes[1].at)?;
    ensure!(c["ipv4"] == 1 && c["error"] != "", "{c}");
    let left = |c: &Value| c["expires_s"].as_f64().unwrap_or(0.0);
    ensure!(left(&c) > 1.0 && left(&c) <= 600.0, "{c}");
    until("its time passes", secs(5), || {
        Ok(left(&one(lab, fakes[1].at)?) < left(&c))
    })?;
    for (prefix, want) in [(VALID, "valid"), (WRONG, "invalid"), (UNKNOWN, "not-found")] {
        let found = state(lab, prefix)?;
        ensure!(found == want, "{prefix} is {found}");
    }
    Ok(())
}
